/* Fuzz target of relay/jwt and relay/claims.
 *
 * Input: a token; and what stands in front of its first dot, as JSON.  No token of the fuzzer's making may be good: the secret is not
 * in the corpus.  So that the claims are reached as well, the input is also wrapped as claims and signed. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "relay/claims.h"
#include "relay/jwt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const char secret[] = "the corpus does not have this secret";

static size_t
put_base64(uint8_t *out, const uint8_t *p, size_t len)
{
	size_t n = (size_t)EVP_EncodeBlock(out, p, (int)len);

	while (n > 0 && out[n - 1] == '=')
		n--;
	for (size_t i = 0; i < n; i++)
		out[i] = out[i] == '+' ? '-' : out[i] == '/' ? '_' : out[i];
	return n;
}

/* header "." claims "." signature, all in out; returns its length. */
static size_t
wrap(uint8_t *out, const uint8_t *claims, size_t len)
{
	static const char header[] = "{\"alg\":\"HS256\"}";
	EVP_PKEY *k = EVP_PKEY_new_raw_private_key(EVP_PKEY_HMAC, NULL, (const uint8_t *)secret, strlen(secret));
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	uint8_t mac[EVP_MAX_MD_SIZE];
	size_t mac_len = sizeof(mac), n;

	n = put_base64(out, (const uint8_t *)header, strlen(header));
	out[n++] = '.';
	n += put_base64(out + n, claims, len);
	if (EVP_DigestSignInit(md, NULL, EVP_sha256(), NULL, k) != 1 || EVP_DigestSign(md, mac, &mac_len, out, n) != 1)
		abort();
	out[n++] = '.';
	n += put_base64(out + n, mac, mac_len);
	EVP_MD_CTX_free(md);
	EVP_PKEY_free(k);
	return n;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const char *const names[] = { "exp", "aud" };
	const struct jwt_rules rules = { .issuer = "", .audience = "app", .now_ms = 1800000000000, .now_exact = true };
	char why[100];
	struct jwt_key *k = jwt_key_new(JWT_HS256, view_of(secret), why, sizeof(why));
	uint8_t signed_token[2 * JWT_MAX];
	enum jwt_verdict v;
	struct claim c[2];
	uint64_t seconds;

	if (k == NULL || jwt_check(k, (struct view){ data, len }, &rules) == JWT_OK)
		abort();
	if (len < JWT_MAX / 2) {
		v = jwt_check(k, (struct view){ signed_token, wrap(signed_token, data, len) }, &rules);
		if (v == JWT_OTHER_ALGORITHM || v == JWT_TOO_LONG || (v == JWT_BAD_SIGNATURE && len > 0))
			abort();
		if (v == JWT_OK && (!claims_find((struct view){ data, len }, names, 2, c) || !claim_seconds(&c[0], &seconds) ||
				    seconds <= 1800000000 || !claim_is(&c[1], "app", true)))
			abort();
	}
	jwt_key_free(k);
	return 0;
}
