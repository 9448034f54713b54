/* Who may go on while the link is DOWN: the refresh tokens that App Services honoured, and access tokens of the relay's own for them.
 *
 *   login, auth/session answered by upstream --refresh_learn--> entry: SHA-256 of the refresh token, claims of the newest access token
 *   auth/session while DOWN --refresh_mint--> a JWT with those claims, fresh iat and exp, signed with a key of the relay's own
 *   WebSocket with such a token --refresh_check--> admitted while DOWN; exchanged for a real one when the link returns (exchange.h)
 *
 * An entry is LIVE until upstream says 401 (REVOKED) or the user logs out (ENDED); then its tokens die at once, since a token is good only
 * together with its entry.  All of it is in memory, and on the disk (table tokens) if that is encrypted and store_tokens says so
 * (credential_may_store).  The refresh token itself is kept only there, and only from the time it is needed for an exchange until it is not. */
#ifndef RELAY_REFRESH_H
#define RELAY_REFRESH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/view.h"

struct options;
struct refresh;
struct services;

#define REFRESH_ID 16	       /* bytes: the begin of the SHA-256, which names an entry */
#define REFRESH_CLAIMS_MAX 3900 /* bytes of claims that are kept: with the rest they fit a value of the store; longer ones are not learnt */

struct refresh *refresh_new(struct services *services);
void refresh_free(struct refresh *r); /* after the spool is gone; NULL allowed */

/* Upstream honoured the refresh token and gave access for it.  False: they are not tokens that can be used here. */
bool refresh_learn(struct refresh *r, struct view token, struct view access);

enum refresh_answer { REFRESH_OK, REFRESH_UNKNOWN, REFRESH_EXPIRED, REFRESH_TOO_LONG, REFRESH_DEAD, REFRESH_NOBODY };
const char *refresh_phrase(enum refresh_answer a); /* static, for the log */
/* An access token of the relay's own for a refresh token, NUL terminated, to be given back with relay_wipe; NULL unless REFRESH_OK.  opt: of the
 * listener that it came to. */
enum refresh_answer refresh_mint(struct refresh *r, const struct options *opt, struct view token, char **access);

enum refresh_verdict {
	REFRESH_NOT_OURS, /* another's token: not for us to judge */
	REFRESH_GOOD,
	REFRESH_STALE, /* it is, or claims to be, one of ours and no longer good: its bearer has to refresh it */
};
/* An access token, as it is presented ("Bearer " in front or not).  id: whose it is; when STALE, whose it says to be, which proves nothing, or all
 * zero. */
enum refresh_verdict refresh_check(struct refresh *r, struct view token, uint8_t id[REFRESH_ID]);

/* A token without the scheme ("Bearer ") that a header puts in front. */
struct view refresh_bare(struct view token);

/* The entry of a refresh token; false: none. */
bool refresh_find(const struct refresh *r, struct view token, uint8_t id[REFRESH_ID]);
/* Upstream does not honour it any more: its tokens are dead. True: they were not before. */
bool refresh_revoke(struct refresh *r, const uint8_t id[REFRESH_ID]);
bool refresh_revoked(const struct refresh *r, const uint8_t id[REFRESH_ID]);
/* Its user logs out. */
void refresh_end(struct refresh *r, const uint8_t id[REFRESH_ID]);

/* For an exchange: the refresh token, NULL if it is not kept; and a real access token that is good for a while, NULL: none.  Secrets; both live
 * until the loop's next pass. */
const char *refresh_secret(const struct refresh *r, const uint8_t id[REFRESH_ID]);
const char *refresh_real(const struct refresh *r, const uint8_t id[REFRESH_ID]);

/* auth/profile: what upstream answered the bearer of an access token, and again. */
void refresh_keep_profile(struct refresh *r, struct view access, struct view json);
bool refresh_profile(struct refresh *r, struct view access, struct view *json); /* lives until the next keep */

/* Forgets all sessions of the user of that name (the claim "sub"), with their secrets and profiles; how many. */
uint64_t refresh_forget_user(struct refresh *r, struct view name);

#endif
