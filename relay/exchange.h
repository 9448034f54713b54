/* A token of the relay's own for a real one: POST auth/session upstream with the refresh token that is kept for it (refresh.h).
 *
 * All who ask for the same user at a time wait for one request. */
#ifndef RELAY_EXCHANGE_H
#define RELAY_EXCHANGE_H

#include <stdint.h>

#include "relay/refresh.h"

struct exchanges;
struct exchange_wait;
struct services;

enum exchange_result {
	EXCHANGE_OK,
	EXCHANGE_UNREACHED,  /* no answer, or one that says later: try again */
	EXCHANGE_IMPOSSIBLE, /* the refresh token is not kept, or upstream does not understand: the client has to */
	EXCHANGE_REVOKED,    /* 401: services_revoke was told */
};

/* token: an access token of upstream's, for the call (EXCHANGE_OK; else NULL).  w is gone. */
typedef void exchange_done(void *arg, enum exchange_result result, const char *token);

struct exchanges *exchanges_new(struct services *services);
void exchanges_free(struct exchanges *es); /* nobody is answered any more; NULL allowed */

/* Never calls back from inside. */
struct exchange_wait *exchange_ask(struct exchanges *es, const uint8_t id[REFRESH_ID], exchange_done *done, void *arg);
void exchange_cancel(struct exchange_wait *w); /* NULL allowed */

/* target (path and query) with token as the value of baas_at, and an Authorization value: as a client with that token would send them, to be
 * given back with relay_wipe. */
char *exchange_target(const char *target, const char *token);
char *exchange_authorization(const char *token);

#endif
