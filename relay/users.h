/* The users that App Services honoured: an entry for each refresh token, by the begin of its SHA-256, in memory and on the disk.  What an entry
 * is good for is refresh.h's to say; here they are kept.
 *
 * Never more than max_users of one upstream: the one honoured longest ago gives way, but none with whose refresh token a backlog goes up when
 * the link returns. */
#ifndef RELAY_USERS_H
#define RELAY_USERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "protocol/view.h"

#include "relay/refresh.h"
#include "relay/link.h"

struct users;

#define USERS_HASH 32 /* bytes of a SHA-256 */

enum user_state { USER_LIVE, USER_REVOKED, USER_ENDED };

struct user { /* whoever changes what is on the disk calls users_store behind it */
	TAILQ_ENTRY(user) link;
	uint8_t hash[USERS_HASH];   /* of the refresh token; its begin is the id */
	uint8_t access[USERS_HASH]; /* of the newest access token of upstream's */
	enum user_state state;
	uint64_t exp_s;	      /* of the refresh token; 0 = it does not say */
	uint64_t honoured_ms; /* by upstream, last */
	uint64_t minted_s;    /* exp of the newest token of ours; 0 = none */
	char *claims;	      /* of the newest access token of upstream's, at most REFRESH_CLAIMS_MAX */
	char *profile;	      /* NULL: not known */
	char *secret;	      /* the refresh token; NULL: not kept */
	char *real;	      /* an access token of upstream's, in memory only; NULL: none */
	uint64_t real_exp_s;
};

/* Reads what is kept on the disk from the loop: whoever is not known yet is learnt again. */
struct users *users_new(struct services *services);
void users_free(struct users *us); /* after the spool is gone */

struct user *users_find(const struct users *us, const uint8_t id[REFRESH_ID]); /* NULL: none */
struct user *users_find_token(const struct users *us, struct view token);      /* by its refresh token */
/* By the hash of its newest access token: a pass over all, for profiles are asked for once a login. */
struct user *users_find_access(const struct users *us, const uint8_t hash[USERS_HASH]);

/* The entry of a token that upstream honours right now, as the one honoured last: a new one, or that of before.  Others may be gone behind it.
 * NULL: there are max_users that cannot go. */
struct user *users_honoured(struct users *us, const uint8_t hash[USERS_HASH]);
void users_store(const struct users *us, const struct user *u);
void users_forget(struct users *us, struct user *u);

/* The refresh token and the profile are kept only here and on the disk (the first only if there, too). */
void users_keep_secret(const struct users *us, struct user *u, struct view token);
void users_drop_secret(const struct users *us, struct user *u);
void users_keep_profile(const struct users *us, struct user *u, struct view json);

/* All of them, the one honoured last first. */
struct user *users_first(const struct users *us);
struct user *users_next(const struct user *u);

/* The claims in an entry as it is on the disk; they point into val.  False: it is none. */
bool users_claims(struct view val, struct view *claims);

/* Of the table tokens, for relay/retention. */
#define USERS_KEY (1 + REFRESH_ID + LINK_SCOPE) /* bytes of a key */
/* Whether it is a key of an entry, or of what belongs to one. */
bool users_is_key(const void *key, size_t len);
/* Of which upstream: points into the key. */
const uint8_t *users_key_scope(const void *key);
/* The key of the entry that it belongs to. */
void users_key_entry(const void *key, uint8_t entry[USERS_KEY]);
/* When the entry was honoured last; 0: val is none. */
uint64_t users_honoured_at(const void *val, size_t len);

#endif
