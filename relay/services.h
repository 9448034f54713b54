/* The App Services behind one upstream: what an app asks over HTTP before and beside its WebSocket, and what the relay answers in their
 * place while it has no link (issue "the App Services door").
 *
 *   client --HTTP--> door (one exchange) --link UP--> api (HTTP connections to api_url) --> App Services
 *                      |                                 ^
 *                      |--location (where the app is)    |--exchange (a token of the relay's own becomes a real one)
 *                      `--refresh (who is known; tokens of the relay's own while DOWN)
 *
 * Exists only with the option api_url; without it HTTP requests are answered 426, as ever, and nothing here is. */
#ifndef RELAY_SERVICES_H
#define RELAY_SERVICES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/address.h"
#include "relay/refresh.h"

struct api;
struct exchanges;
struct http_head;
struct link;
struct locations;
struct options;
struct relay;
struct tls_context;

struct services {
	struct relay *relay;	   /* borrowed, and so are the next two */
	struct link *link;
	const struct options *opt;
	struct address_url url;	   /* of api_url */
	struct tls_context *tls;   /* owned; NULL: plain */
	struct api *api;
	struct locations *locations;
	struct refresh *refresh;
	struct exchanges *exchanges;
	uint64_t nconns;	   /* client connections that speak HTTP */
};

/* Reads keys and does no more; NULL when there is no api_url, or with a sentence in why (else empty) when it cannot be. */
struct services *services_new(struct link *link, char *why, size_t why_len);
/* Reads what is kept on the disk; from now on it works. */
void services_start(struct services *s);
/* The end of everything under way. */
void services_stop(struct services *s); /* NULL allowed, here and below */
void services_free(struct services *s); /* after the spool is gone */

/* The link changed its state: DOWN, nothing more goes to App Services, and who waits for an answer gets what there is here. */
void services_link_changed(struct services *s);

/* Whether an answer to one of App Services' own paths is its own word.  Over plain TCP a portal may have said it: but App Services answers
 * in JSON, errors too. */
bool services_trusts(const struct services *s, const struct http_head *head);

/* Upstream answered 401 for a refresh token: its entry is dead, and its clients are closed; what they uploaded is kept as REJECTED. */
void services_revoke(struct services *s, const uint8_t id[REFRESH_ID]);
#define SERVICES_REVOKED "the server does not accept this user any more (401 for its refresh token)"

#endif
