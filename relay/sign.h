/* The relay's own signing keys: HMAC secrets that nobody else needs to know, since what they sign is only ever shown to the relay itself.
 *
 * Made at the first start, replaced after SIGN_KEY_DAYS; the one before stays good for what it signed.  A token says which by its header's kid,
 * "holdfast-" and 16 digits.  On the disk only where that is encrypted (credential_may_store); else each start has new ones. */
#ifndef RELAY_SIGN_H
#define RELAY_SIGN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/view.h"

struct jwt_key;
struct services;
struct signer;

/* Whether key (of the table tokens) is the name of one; its end is the scope (link_scope). */
bool sign_is_key(const void *key, size_t len);

#define SIGN_KEY_DAYS 30     /* longer than any token of the relay's lives */

/* Those kept on the disk are read from the loop; until then nothing is signed, and no token is known. */
struct signer *sign_new(const struct services *services);
void sign_free(struct signer *s); /* after the spool is gone; NULL allowed */

/* Replaces the one in use if it is old. */
void sign_rotate(struct signer *s);

/* A signed token, NUL terminated, to be given back with relay_wipe; NULL: too long, or not started yet. */
char *sign_token(const struct signer *s, struct view claims);

/* Whether token says that it is signed by the relay; *key: by which key, NULL when that is not known (any more). */
bool sign_is_ours(const struct signer *s, struct view token, const struct jwt_key **key);

#endif
