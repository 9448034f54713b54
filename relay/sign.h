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
struct relay;
struct signer;

#define SIGN_KEYS 2	     /* the one in use and the one before */
#define SIGN_KEY_PACKED 48   /* bytes: when it was made (8), kid (8), the secret (32) */
#define SIGN_SCOPE 8
#define SIGN_NAME (2 + SIGN_SCOPE) /* bytes of a key's name in the store: 'k', 0 or 1, scope */
#define SIGN_KEY_DAYS 30     /* longer than any token of the relay's lives */

/* scope: SIGN_SCOPE bytes, whose keys they are on the disk. */
struct signer *sign_new(struct relay *relay, const uint8_t *scope);
void sign_free(struct signer *s); /* NULL allowed */

/* The keys as they were kept, the newer first (len 0: none); makes one when there is none. */
void sign_start(struct signer *s, uint8_t key[SIGN_KEYS][SIGN_KEY_PACKED], const size_t len[SIGN_KEYS]);
/* Replaces the one in use if it is old. */
void sign_rotate(struct signer *s);

/* A signed token, NUL terminated, to be given back with relay_wipe; NULL: too long, or not started yet. */
char *sign_token(const struct signer *s, struct view claims);

/* Whether token says that it is signed by the relay; *key: by which key, NULL when that is not known (any more). */
bool sign_is_ours(const struct signer *s, struct view token, const struct jwt_key **key);

#endif
