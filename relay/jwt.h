/* JSON Web Tokens (RFC 7519, compact JWS): is this one signed by the key we were given, and is it its time?
 *
 * The algorithm comes from the configuration, never from the token: a token whose header names another is refused before its signature
 * is looked at ("none", and a public RSA key taken for an HMAC secret, are the classic holes).  Nothing of a token is kept or logged
 * (I9); what is told is which check failed. */
#ifndef RELAY_JWT_H
#define RELAY_JWT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/view.h"

enum jwt_algorithm { JWT_HS256, JWT_RS256, JWT_ES256 }; /* in the order of the option jwt_algorithm */

enum jwt_verdict {
	JWT_OK,
	JWT_TOO_LONG,
	JWT_MALFORMED,
	JWT_OTHER_ALGORITHM,
	JWT_BAD_SIGNATURE,
	JWT_NO_EXPIRY, /* valid for ever: not what an outage should extend */
	JWT_EXPIRED,   /* by more than the grace */
	JWT_NOT_YET,
	JWT_ISSUER,
	JWT_AUDIENCE,
};

const char *jwt_phrase(enum jwt_verdict v); /* static, for the log */

#define JWT_MAX 8192 /* bytes of a token, as max_token; the protocol's own limit in a message is 2048 */

struct jwt_key;

/* From what the file holds.  HS256: the secret, at least 32 bytes (RFC 7518), a newline at its end left out.  RS256: a PEM public key of
 * 2048 bits or more; ES256: one on P-256.  NULL with a sentence in why. */
struct jwt_key *jwt_key_new(enum jwt_algorithm alg, struct view data, char *why, size_t why_len);
/* HS256, with the bytes of secret as they are. */
struct jwt_key *jwt_key_new_raw(struct view secret, char *why, size_t why_len);
struct jwt_key *jwt_key_read(enum jwt_algorithm alg, const char *file, char *why, size_t why_len);
/* Whether the file that k was read from is another by now; reading it again: when that cannot be done, false, and k stays as it was. */
bool jwt_key_changed(const struct jwt_key *k);
bool jwt_key_reload(struct jwt_key *k, char *why, size_t why_len);
void jwt_key_free(struct jwt_key *k); /* NULL allowed */

struct jwt_rules {
	const char *issuer, *audience; /* "" = any */
	uint64_t now_ms;	       /* since 1970 */
	bool now_exact;		       /* false: it is at least now_ms, and so only exp can be judged */
	uint64_t grace_ms;	       /* how long after exp a token is still good */
};

enum jwt_verdict jwt_check(const struct jwt_key *k, struct view token, const struct jwt_rules *rules);

/* What a token claims, unverified: JSON, decoded into out (cap bytes; JWT_MAX is always enough).  False: it is not of that form. */
bool jwt_claims(struct view token, uint8_t *out, size_t cap, size_t *len);
/* Likewise its header. */
bool jwt_header(struct view token, uint8_t *out, size_t cap, size_t *len);

/* A token of header and claims (JSON), signed with a key of JWT_HS256; NUL terminated, to be wiped and freed.  NULL: it would be longer than
 * JWT_MAX. */
char *jwt_sign(const struct jwt_key *k, struct view header, struct view claims);

#endif
