/* Verification of signed tokens (jwt.h), by OpenSSL's EVP interface.
 *
 *   token := base64url(header) "." base64url(claims) "." base64url(signature)
 *
 * Order of the checks: length, form, algorithm, signature; only then the claims are read, so that nothing of what an unknown sender wrote
 * goes through more code than the base64 and the header's JSON.  Base64url is read strictly (no padding, no blanks, unused bits zero):
 * one token has one spelling. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/objects.h>
#include <openssl/pem.h>

#include "relay/base64url.h"
#include "relay/claims.h"
#include "relay/jwt.h"
#include "relay/same_file.h"

#define SECRET_MIN 32	     /* bytes: RFC 7518 section 3.2 */
#define KEY_FILE_MAX 16384   /* bytes: no key of this kind is longer */
#define RSA_MIN 2048	     /* bits: RFC 7518 section 3.3 */
#define SIGNATURE_MAX 1024   /* bytes: RSA of 8192 bits */
#define SKEW_MS 60000	     /* nbf: issuers and gateways are not quite of one mind */
#define P256_SIGNATURE 64    /* bytes: r and s (RFC 7518 section 3.4) */

struct jwt_key {
	enum jwt_algorithm alg;
	EVP_PKEY *pkey;
	char *file;	  /* that it was read from; NULL: none; owned */
	struct stat seen; /* of it when it was read last, with or without success */
};

static const char *const alg_names[] = { [JWT_HS256] = "HS256", [JWT_RS256] = "RS256", [JWT_ES256] = "ES256" };

const char *
jwt_phrase(enum jwt_verdict v)
{
	static const char *const phrases[] = {
		[JWT_OK] = "the token is good",
		[JWT_TOO_LONG] = "the token is too long",
		[JWT_MALFORMED] = "the token is no JSON Web Token",
		[JWT_OTHER_ALGORITHM] = "the token names another algorithm than jwt_algorithm",
		[JWT_BAD_SIGNATURE] = "the token's signature is wrong",
		[JWT_NO_EXPIRY] = "the token has no expiry time",
		[JWT_EXPIRED] = "the token expired too long ago",
		[JWT_NOT_YET] = "the token is not valid yet",
		[JWT_ISSUER] = "the token has another issuer than jwt_issuer",
		[JWT_AUDIENCE] = "the token is for another audience than jwt_audience",
	};

	return phrases[v];
}

/* ---- keys ---- */

static EVP_PKEY *
secret_key(struct view data, char *why, size_t why_len)
{
	size_t n = data.len;

	while (n > 0 && (data.ptr[n - 1] == '\n' || data.ptr[n - 1] == '\r'))
		n--;
	if (n >= 10 && memcmp(data.ptr, "-----BEGIN", 10) == 0)
		snprintf(why, why_len, "a PEM file is no secret for HS256");
	else if (n < SECRET_MIN)
		snprintf(why, why_len, "a secret for HS256 has at least %d bytes", SECRET_MIN);
	else
		return EVP_PKEY_new_raw_private_key(EVP_PKEY_HMAC, NULL, data.ptr, n);
	return NULL;
}

static bool
key_fits(enum jwt_algorithm alg, const EVP_PKEY *pkey, char *why, size_t why_len)
{
	char group[32] = "";
	size_t n = 0;

	if (alg == JWT_RS256) {
		if (EVP_PKEY_is_a(pkey, "RSA") && EVP_PKEY_get_bits(pkey) >= RSA_MIN &&
		    EVP_PKEY_get_size(pkey) <= SIGNATURE_MAX)
			return true;
		snprintf(why, why_len, "RS256 needs an RSA key of %d to %d bits", RSA_MIN, SIGNATURE_MAX * 8);
		return false;
	}
	if (EVP_PKEY_is_a(pkey, "EC") && EVP_PKEY_get_group_name(pkey, group, sizeof(group), &n) == 1 &&
	    OBJ_sn2nid(group) == NID_X9_62_prime256v1)
		return true;
	snprintf(why, why_len, "ES256 needs a key on the curve P-256");
	return false;
}

static EVP_PKEY *
public_key(enum jwt_algorithm alg, struct view data, char *why, size_t why_len)
{
	BIO *bio = BIO_new_mem_buf(data.ptr, (int)data.len);
	EVP_PKEY *pkey = bio != NULL ? PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL) : NULL;

	BIO_free(bio);
	ERR_clear_error();
	if (pkey == NULL) {
		snprintf(why, why_len, "no PEM public key (BEGIN PUBLIC KEY) in it");
	} else if (!key_fits(alg, pkey, why, why_len)) {
		EVP_PKEY_free(pkey);
		pkey = NULL;
	}
	return pkey;
}

static struct jwt_key *
key_of(enum jwt_algorithm alg, EVP_PKEY *pkey)
{
	struct jwt_key *k = pkey != NULL ? calloc(1, sizeof(*k)) : NULL;

	if (k == NULL) {
		EVP_PKEY_free(pkey);
		return NULL;
	}
	k->alg = alg;
	k->pkey = pkey;
	return k;
}

struct jwt_key *
jwt_key_new_raw(struct view secret, char *why, size_t why_len)
{
	snprintf(why, why_len, "out of memory");
	return key_of(JWT_HS256, EVP_PKEY_new_raw_private_key(EVP_PKEY_HMAC, NULL, secret.ptr, secret.len));
}

struct jwt_key *
jwt_key_new(enum jwt_algorithm alg, struct view data, char *why, size_t why_len)
{
	snprintf(why, why_len, "out of memory");
	return key_of(alg, alg == JWT_HS256 ? secret_key(data, why, why_len) : public_key(alg, data, why, why_len));
}

/* As jwt_key_new, of a file; its stat in *seen, zeros if there is none. */
static struct jwt_key *
read_file(enum jwt_algorithm alg, const char *file, struct stat *seen, char *why, size_t why_len)
{
	uint8_t data[KEY_FILE_MAX + 1];
	char text[160] = "";
	struct jwt_key *k = NULL;
	FILE *f = fopen(file, "re");
	size_t n;

	memset(seen, 0, sizeof(*seen));
	if (f == NULL) {
		snprintf(why, why_len, "%s: %s", file, strerror(errno));
		return NULL;
	}
	setvbuf(f, NULL, _IONBF, 0); /* no second copy of a secret */
	(void)fstat(fileno(f), seen);
	n = fread(data, 1, sizeof(data), f);
	if (ferror(f) != 0)
		snprintf(text, sizeof(text), "cannot be read");
	else if (n > KEY_FILE_MAX)
		snprintf(text, sizeof(text), "longer than %d bytes", KEY_FILE_MAX);
	else
		k = jwt_key_new(alg, (struct view){ data, n }, text, sizeof(text));
	fclose(f);
	explicit_bzero(data, sizeof(data));
	if (k == NULL)
		snprintf(why, why_len, "%s: %s", file, text);
	return k;
}

struct jwt_key *
jwt_key_read(enum jwt_algorithm alg, const char *file, char *why, size_t why_len)
{
	struct stat seen;
	struct jwt_key *k = read_file(alg, file, &seen, why, why_len);

	if (k == NULL)
		return NULL;
	k->seen = seen;
	k->file = strdup(file);
	if (k->file != NULL)
		return k;
	snprintf(why, why_len, "out of memory");
	jwt_key_free(k);
	return NULL;
}

bool
jwt_key_changed(const struct jwt_key *k)
{
	struct stat now = { 0 };

	(void)stat(k->file, &now); /* not there: zeros */
	return !same_file(&now, &k->seen);
}

bool
jwt_key_reload(struct jwt_key *k, char *why, size_t why_len)
{
	struct jwt_key *fresh = read_file(k->alg, k->file, &k->seen, why, why_len);
	EVP_PKEY *old = k->pkey;

	if (fresh == NULL)
		return false;
	k->pkey = fresh->pkey;
	fresh->pkey = old;
	jwt_key_free(fresh);
	return true;
}

void
jwt_key_free(struct jwt_key *k)
{
	if (k == NULL)
		return;
	EVP_PKEY_free(k->pkey);
	free(k->file);
	free(k);
}

/* ---- form ---- */

struct parts {
	struct view header, claims, signature; /* still encoded */
	struct view signed_text;
};

static bool
split(struct view token, struct parts *p)
{
	const uint8_t *end = token.ptr + token.len, *dot, *dot2;

	dot = memchr(token.ptr, '.', token.len);
	dot2 = dot != NULL ? memchr(dot + 1, '.', (size_t)(end - dot - 1)) : NULL;
	if (dot2 == NULL || memchr(dot2 + 1, '.', (size_t)(end - dot2 - 1)) != NULL)
		return false;
	p->header = (struct view){ token.ptr, (size_t)(dot - token.ptr) };
	p->claims = (struct view){ dot + 1, (size_t)(dot2 - dot - 1) };
	p->signature = (struct view){ dot2 + 1, (size_t)(end - dot2 - 1) };
	p->signed_text = (struct view){ token.ptr, (size_t)(dot2 - token.ptr) };
	return true;
}

/* The header names k's algorithm, and nothing that we would have to understand (crit, RFC 7515 section 4.1.11). */
static enum jwt_verdict
check_header(const struct jwt_key *k, struct view encoded)
{
	static const char *const names[] = { "alg", "crit" };
	uint8_t json[JWT_MAX];
	struct claim c[2];
	size_t n;

	if (!base64url_decode(encoded, json, sizeof(json), &n) || !claims_find((struct view){ json, n }, names, 2, c) || c[1].kind != CLAIM_ABSENT)
		return JWT_MALFORMED;
	return claim_is(&c[0], alg_names[k->alg], false) ? JWT_OK : JWT_OTHER_ALGORITHM;
}

/* ---- signatures ---- */

static bool
hmac_matches(EVP_MD_CTX *md, EVP_PKEY *pkey, struct view text, struct view sig)
{
	uint8_t own[EVP_MAX_MD_SIZE];
	size_t n = sizeof(own);

	return EVP_DigestSignInit(md, NULL, EVP_sha256(), NULL, pkey) == 1 && EVP_DigestSign(md, own, &n, text.ptr, text.len) == 1 &&
	       sig.len == n && CRYPTO_memcmp(own, sig.ptr, n) == 0;
}

static bool
pkey_matches(EVP_MD_CTX *md, EVP_PKEY *pkey, struct view text, struct view sig)
{
	return EVP_DigestVerifyInit(md, NULL, EVP_sha256(), NULL, pkey) == 1 &&
	       EVP_DigestVerify(md, sig.ptr, sig.len, text.ptr, text.len) == 1;
}

/* OpenSSL wants r and s in DER. */
static bool
ec_matches(EVP_MD_CTX *md, EVP_PKEY *pkey, struct view text, struct view sig)
{
	ECDSA_SIG *rs;
	BIGNUM *r, *s;
	uint8_t *der = NULL;
	bool good = false;
	int n;

	if (sig.len != P256_SIGNATURE || (rs = ECDSA_SIG_new()) == NULL)
		return false;
	r = BN_bin2bn(sig.ptr, P256_SIGNATURE / 2, NULL);
	s = BN_bin2bn(sig.ptr + P256_SIGNATURE / 2, P256_SIGNATURE / 2, NULL);
	if (r != NULL && s != NULL && ECDSA_SIG_set0(rs, r, s) == 1) {
		n = i2d_ECDSA_SIG(rs, &der);
		good = n > 0 && pkey_matches(md, pkey, text, (struct view){ der, (size_t)n });
	} else {
		BN_free(r);
		BN_free(s);
	}
	OPENSSL_free(der);
	ECDSA_SIG_free(rs);
	return good;
}

static bool
signature_matches(const struct jwt_key *k, struct view text, struct view encoded)
{
	uint8_t sig[SIGNATURE_MAX * 4 / 3 + 4];
	struct view s = { sig, 0 };
	EVP_MD_CTX *md;
	bool good;

	if (!base64url_decode(encoded, sig, sizeof(sig), &s.len))
		return false;
	md = EVP_MD_CTX_new();
	if (md == NULL)
		return false;
	if (k->alg == JWT_HS256)
		good = hmac_matches(md, k->pkey, text, s);
	else if (k->alg == JWT_RS256)
		good = pkey_matches(md, k->pkey, text, s);
	else
		good = ec_matches(md, k->pkey, text, s);
	EVP_MD_CTX_free(md);
	ERR_clear_error(); /* a failed verification leaves its reasons there */
	return good;
}

/* ---- claims ---- */

enum { EXP, NBF, ISS, AUD, NCLAIM };

static enum jwt_verdict
check_times(const struct claim *c, const struct jwt_rules *rules)
{
	uint64_t exp, nbf;

	if (c[EXP].kind == CLAIM_ABSENT)
		return JWT_NO_EXPIRY;
	if (!claim_seconds(&c[EXP], &exp))
		return JWT_MALFORMED;
	if (rules->now_ms >= exp * 1000 + rules->grace_ms)
		return JWT_EXPIRED;
	if (c[NBF].kind == CLAIM_ABSENT)
		return JWT_OK;
	if (!claim_seconds(&c[NBF], &nbf))
		return JWT_MALFORMED;
	return rules->now_exact && rules->now_ms + SKEW_MS < nbf * 1000 ? JWT_NOT_YET : JWT_OK;
}

static enum jwt_verdict
check_claims(struct view encoded, const struct jwt_rules *rules)
{
	static const char *const names[NCLAIM] = { [EXP] = "exp", [NBF] = "nbf", [ISS] = "iss", [AUD] = "aud" };
	uint8_t json[JWT_MAX];
	struct claim c[NCLAIM];
	enum jwt_verdict v;
	size_t n;

	if (!base64url_decode(encoded, json, sizeof(json), &n) || !claims_find((struct view){ json, n }, names, NCLAIM, c))
		return JWT_MALFORMED;
	v = check_times(c, rules);
	if (v != JWT_OK)
		return v;
	if (rules->issuer[0] != '\0' && !claim_is(&c[ISS], rules->issuer, false))
		return JWT_ISSUER;
	return rules->audience[0] == '\0' || claim_is(&c[AUD], rules->audience, true) ? JWT_OK : JWT_AUDIENCE;
}

enum jwt_verdict
jwt_check(const struct jwt_key *k, struct view token, const struct jwt_rules *rules)
{
	struct parts p;
	enum jwt_verdict v;

	if (token.len > JWT_MAX)
		return JWT_TOO_LONG;
	if (token.len == 0 || !split(token, &p))
		return JWT_MALFORMED;
	v = check_header(k, p.header);
	if (v != JWT_OK)
		return v;
	if (!signature_matches(k, p.signed_text, p.signature))
		return JWT_BAD_SIGNATURE;
	return check_claims(p.claims, rules);
}

/* ---- our own ---- */

static bool
decode_part(struct view token, bool header, uint8_t *out, size_t cap, size_t *len)
{
	struct parts p;

	return token.len <= JWT_MAX && token.len > 0 && split(token, &p) && base64url_decode(header ? p.header : p.claims, out, cap, len);
}

bool
jwt_claims(struct view token, uint8_t *out, size_t cap, size_t *len)
{
	return decode_part(token, false, out, cap, len);
}

bool
jwt_header(struct view token, uint8_t *out, size_t cap, size_t *len)
{
	return decode_part(token, true, out, cap, len);
}

char *
jwt_sign(const struct jwt_key *k, struct view header, struct view claims)
{
	size_t room = BASE64URL_LEN(header.len) + BASE64URL_LEN(claims.len) + BASE64URL_LEN(EVP_MAX_MD_SIZE) + 3, n, at;
	uint8_t sig[EVP_MAX_MD_SIZE];
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	char *out = room <= JWT_MAX ? calloc(1, room) : NULL;

	n = sizeof(sig);
	if (out != NULL) {
		base64url_encode(header, out);
		at = strlen(out);
		out[at] = '.';
		base64url_encode(claims, out + at + 1);
		at = strlen(out);
	}
	if (out == NULL || md == NULL || k->alg != JWT_HS256 || EVP_DigestSignInit(md, NULL, EVP_sha256(), NULL, k->pkey) != 1 ||
	    EVP_DigestSign(md, sig, &n, (const uint8_t *)out, at) != 1) {
		free(out);
		out = NULL;
	} else {
		out[at] = '.';
		base64url_encode((struct view){ sig, n }, out + at + 1);
	}
	EVP_MD_CTX_free(md);
	return out;
}
