/* Tests relay/jwt and relay/claims with keys made here: what is good, and every way of not being it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "tests/harness.h"

#include "relay/claims.h"
#include "relay/jwt.h"

#define SECRET "0123456789abcdef0123456789abcdef"
#define NOW_S 1800000000u

/* ---- making tokens ---- */

static EVP_PKEY *
rsa(void)
{
	static EVP_PKEY *k;

	return k != NULL ? k : (k = EVP_RSA_gen(2048));
}

static EVP_PKEY *
ec(void)
{
	static EVP_PKEY *k;

	return k != NULL ? k : (k = EVP_EC_gen("P-256"));
}

static EVP_PKEY *
hmac(const void *secret, size_t len)
{
	return EVP_PKEY_new_raw_private_key(EVP_PKEY_HMAC, NULL, secret, len);
}

static void
put_base64(char *out, const void *data, size_t n)
{
	static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	const uint8_t *p = data;
	uint32_t bits = 0;
	unsigned have = 0;

	out += strlen(out);
	while (n > 0 || have > 0) {
		if (have < 6 && n > 0) {
			bits = bits << 8 | *p++;
			have += 8;
			n--;
		} else if (have < 6) {
			bits <<= 6 - have;
			have = 6;
		}
		have -= 6;
		*out++ = set[bits >> have & 63];
	}
	*out = '\0';
}

static size_t
pem_of(EVP_PKEY *k, char *out, size_t cap)
{
	BIO *b = BIO_new(BIO_s_mem());
	int n;

	PEM_write_bio_PUBKEY(b, k);
	n = BIO_read(b, out, (int)cap);
	BIO_free(b);
	return (size_t)n;
}

/* Signs what stands in out, as alg (HS, RS, ES) does. */
static void
sign(char *out, EVP_PKEY *k, bool is_ec)
{
	uint8_t sig[1024], raw[64];
	const uint8_t *p = sig;
	size_t n = sizeof(sig);
	EVP_MD_CTX *md = EVP_MD_CTX_new();

	if (EVP_DigestSignInit(md, NULL, EVP_sha256(), NULL, k) != 1 ||
	    EVP_DigestSign(md, sig, &n, (const uint8_t *)out, strlen(out)) != 1)
		abort();
	EVP_MD_CTX_free(md);
	strcat(out, ".");
	if (is_ec) {
		ECDSA_SIG *rs = d2i_ECDSA_SIG(NULL, &p, (long)n);

		BN_bn2binpad(ECDSA_SIG_get0_r(rs), raw, 32);
		BN_bn2binpad(ECDSA_SIG_get0_s(rs), raw + 32, 32);
		ECDSA_SIG_free(rs);
		put_base64(out, raw, 64);
	} else {
		put_base64(out, sig, n);
	}
}

static const char *
token(const char *header, const char *claims, EVP_PKEY *k, bool is_ec)
{
	static char out[16384];

	out[0] = '\0';
	put_base64(out, header, strlen(header));
	strcat(out, ".");
	put_base64(out, claims, strlen(claims));
	sign(out, k, is_ec);
	return out;
}

static const char *
hs_token(const char *header, const char *claims)
{
	EVP_PKEY *k = hmac(SECRET, strlen(SECRET));
	const char *t = token(header, claims, k, false);

	EVP_PKEY_free(k);
	return t;
}

static struct jwt_rules
rules(void)
{
	return (struct jwt_rules){ .issuer = "", .audience = "", .now_ms = NOW_S * 1000ull, .now_exact = true, .grace_ms = 3600000 };
}

static struct jwt_key *
hs_key(void)
{
	char why[200];

	return jwt_key_new(JWT_HS256, view_of(SECRET "\n"), why, sizeof(why));
}

static enum jwt_verdict
check_hs(const char *t, const struct jwt_rules *r)
{
	struct jwt_key *k = hs_key();
	enum jwt_verdict v = jwt_check(k, view_of(t), r);

	jwt_key_free(k);
	return v;
}

#define HS "{\"alg\":\"HS256\",\"typ\":\"JWT\"}"
#define RS "{\"typ\":\"JWT\",\"alg\":\"RS256\"}"
#define ES "{\"alg\":\"ES256\"}"
#define GOOD "{\"sub\":\"u\",\"exp\":1800000100}"

/* ---- tests ---- */

TEST(each_algorithm)
{
	struct jwt_rules r = rules();
	char pem[2000], why[200] = "";
	size_t n = pem_of(rsa(), pem, sizeof(pem));
	struct jwt_key *k = jwt_key_new(JWT_RS256, (struct view){ (uint8_t *)pem, n }, why, sizeof(why));

	CHECK_U64(check_hs(hs_token(HS, GOOD), &r), JWT_OK);
	CHECK(k != NULL);
	CHECK_U64(jwt_check(k, view_of(token(RS, GOOD, rsa(), false)), &r), JWT_OK);
	CHECK_U64(jwt_check(k, view_of(token(ES, GOOD, ec(), true)), &r), JWT_OTHER_ALGORITHM);
	jwt_key_free(k);
	n = pem_of(ec(), pem, sizeof(pem));
	k = jwt_key_new(JWT_ES256, (struct view){ (uint8_t *)pem, n }, why, sizeof(why));
	CHECK(k != NULL);
	CHECK_U64(jwt_check(k, view_of(token(ES, GOOD, ec(), true)), &r), JWT_OK);
	CHECK_U64(jwt_check(k, view_of(token(ES, GOOD, ec(), false)), &r), JWT_BAD_SIGNATURE); /* DER is not the form */
	jwt_key_free(k);
}

/* The public key as an HMAC secret, "none", and other names: the key alone says which algorithm. */
TEST(algorithm_confusion)
{
	struct jwt_rules r = rules();
	char pem[2000], why[200], unsigned_token[400];
	size_t n = pem_of(rsa(), pem, sizeof(pem));
	struct jwt_key *k = jwt_key_new(JWT_RS256, (struct view){ (uint8_t *)pem, n }, why, sizeof(why));
	EVP_PKEY *fake = hmac(pem, n);

	CHECK(k != NULL && fake != NULL);
	CHECK_U64(jwt_check(k, view_of(token(HS, GOOD, fake, false)), &r), JWT_OTHER_ALGORITHM);
	CHECK_U64(jwt_check(k, view_of(token(RS, GOOD, fake, false)), &r), JWT_BAD_SIGNATURE);
	CHECK_U64(jwt_check(k, view_of(token("{\"alg\":\"none\"}", GOOD, fake, false)), &r), JWT_OTHER_ALGORITHM);
	EVP_PKEY_free(fake);
	jwt_key_free(k);
	CHECK(jwt_key_new(JWT_HS256, (struct view){ (uint8_t *)pem, n }, why, sizeof(why)) == NULL);
	CHECK_U64(check_hs(token(RS, GOOD, rsa(), false), &r), JWT_OTHER_ALGORITHM);
	unsigned_token[0] = '\0';
	put_base64(unsigned_token, "{\"alg\":\"none\"}", 14);
	strcat(unsigned_token, ".");
	put_base64(unsigned_token, GOOD, strlen(GOOD));
	strcat(unsigned_token, ".");
	CHECK_U64(check_hs(unsigned_token, &r), JWT_OTHER_ALGORITHM);
}

TEST(headers)
{
	static const struct {
		const char *header;
		enum jwt_verdict want;
	} rows[] = {
		{ "{\"alg\":\"HS256\",\"kid\":\"a\",\"x\":{\"alg\":\"none\"}}", JWT_OK },
		{ "{\"\\u0061lg\":\"HS\\u0032\\u0035\\u0036\"}", JWT_OK },
		{ "{\"alg\":\"HS256\",\"alg\":\"none\"}", JWT_MALFORMED },
		{ "{\"alg\":\"HS256\",\"\\u0061lg\":\"HS256\"}", JWT_MALFORMED },
		{ "{\"alg\":\"HS256\",\"crit\":[\"exp\"]}", JWT_MALFORMED },
		{ "{\"alg\":\"hs256\"}", JWT_OTHER_ALGORITHM },
		{ "{\"alg\":[\"HS256\"]}", JWT_OTHER_ALGORITHM },
		{ "{\"alg\":null}", JWT_OTHER_ALGORITHM },
		{ "{}", JWT_OTHER_ALGORITHM },
		{ "[]", JWT_MALFORMED },
		{ "{\"alg\":\"HS256\"} x", JWT_MALFORMED },
		{ "{\"alg\":\"HS256\",}", JWT_MALFORMED },
	};
	struct jwt_rules r = rules();

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		CHECK_U64(check_hs(hs_token(rows[i].header, GOOD), &r), rows[i].want);
}

TEST(claims_and_times)
{
	static const struct {
		const char *claims;
		enum jwt_verdict want;
	} rows[] = {
		{ "{\"exp\":1800000001}", JWT_OK },
		{ "{\"exp\":1799999000.75}", JWT_OK },		 /* expired, within the grace */
		{ "{\"exp\":1799996401}", JWT_OK },
		{ "{\"exp\":1799996400}", JWT_EXPIRED },	 /* the grace is over */
		{ "{\"exp\":0}", JWT_EXPIRED },
		{ "{\"exp\":-5}", JWT_EXPIRED },
		{ "{\"exp\":99999999999999999999999999}", JWT_OK },
		{ "{\"exp\":1.8e9}", JWT_MALFORMED },
		{ "{\"exp\":\"1800000001\"}", JWT_MALFORMED },
		{ "{\"exp\":01800000001}", JWT_MALFORMED },
		{ "{\"exp\":1800000001,\"exp\":1}", JWT_MALFORMED },
		{ "{\"sub\":\"u\"}", JWT_NO_EXPIRY },
		{ "{\"exp\":1800000001,\"nbf\":1800000060}", JWT_OK }, /* clocks differ by a minute */
		{ "{\"exp\":1800000900,\"nbf\":1800000061}", JWT_NOT_YET },
		{ "{\"exp\":1800000900,\"nbf\":\"x\"}", JWT_MALFORMED },
		{ "{\"exp\":1800000900,\"data\":{\"a\":[1,{\"exp\":1}]},\"n\":null,\"t\":true}", JWT_OK },
		{ "{\"exp\":1800000900,\"d\":[[[[[[[[[1]]]]]]]]]}", JWT_MALFORMED }, /* too deep */
	};
	struct jwt_rules r = rules();

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		CHECK_U64(check_hs(hs_token(HS, rows[i].claims), &r), rows[i].want);
	r.now_exact = false; /* at least now: not yet cannot be known, expired can */
	CHECK_U64(check_hs(hs_token(HS, "{\"exp\":1800000900,\"nbf\":1800000800}"), &r), JWT_OK);
	CHECK_U64(check_hs(hs_token(HS, "{\"exp\":1799996400}"), &r), JWT_EXPIRED);
}

TEST(issuer_and_audience)
{
	static const struct {
		const char *claims;
		enum jwt_verdict want;
	} rows[] = {
		{ "{\"exp\":1800000001,\"iss\":\"me\",\"aud\":\"app\"}", JWT_OK },
		{ "{\"exp\":1800000001,\"iss\":\"me\",\"aud\":[\"x\" , \"app\"]}", JWT_OK },
		{ "{\"exp\":1800000001,\"iss\":\"\\u006de\",\"aud\":\"app\"}", JWT_OK },
		{ "{\"exp\":1800000001,\"iss\":\"me2\",\"aud\":\"app\"}", JWT_ISSUER },
		{ "{\"exp\":1800000001,\"iss\":[\"me\"],\"aud\":\"app\"}", JWT_ISSUER },
		{ "{\"exp\":1800000001,\"aud\":\"app\"}", JWT_ISSUER },
		{ "{\"exp\":1800000001,\"iss\":\"me\"}", JWT_AUDIENCE },
		{ "{\"exp\":1800000001,\"iss\":\"me\",\"aud\":[]}", JWT_AUDIENCE },
		{ "{\"exp\":1800000001,\"iss\":\"me\",\"aud\":[1,\"app\"]}", JWT_AUDIENCE },
		{ "{\"exp\":1800000001,\"iss\":\"me\",\"aud\":\"ap\"}", JWT_AUDIENCE },
	};
	struct jwt_rules r = rules();

	r.issuer = "me";
	r.audience = "app";
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		CHECK_U64(check_hs(hs_token(HS, rows[i].claims), &r), rows[i].want);
}

/* Every byte changed, every length: never good. */
TEST(tampered_and_truncated)
{
	struct jwt_rules r = rules();
	struct jwt_key *k = hs_key();
	char good[1000], bad[1000];
	size_t n;

	snprintf(good, sizeof(good), "%s", hs_token(HS, GOOD));
	n = strlen(good);
	for (size_t i = 0; i < n; i++) {
		CHECK(jwt_check(k, (struct view){ (uint8_t *)good, i }, &r) != JWT_OK);
		for (unsigned bit = 0; bit < 8; bit++) {
			memcpy(bad, good, n + 1);
			bad[i] = (char)(bad[i] ^ 1u << bit);
			CHECK(jwt_check(k, (struct view){ (uint8_t *)bad, n }, &r) != JWT_OK);
		}
	}
	CHECK_U64(jwt_check(k, (struct view){ (uint8_t *)good, n }, &r), JWT_OK);
	strcat(good, "=");
	CHECK_U64(jwt_check(k, view_of(good), &r), JWT_BAD_SIGNATURE);
	jwt_key_free(k);
}

TEST(forms)
{
	static const char *const rows[] = { "", ".", "..", "...", "a.b", "a.b.c.d", "e30.e30.", "=.=.=", "e30 .e30.e30", "\xff.\xff.\xff" };
	static char claims[9000];
	struct jwt_rules r = rules();

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		CHECK(check_hs(rows[i], &r) != JWT_OK);
	snprintf(claims, sizeof(claims), "{\"exp\":1800000001,\"x\":\"%08000d\"}", 0);
	CHECK_U64(check_hs(hs_token(HS, claims), &r), JWT_TOO_LONG);
	snprintf(claims, sizeof(claims), "{\"exp\":1800000001,\"x\":\"%02900d\"}", 0);
	CHECK_U64(check_hs(hs_token(HS, claims), &r), JWT_OK);
}

TEST(keys)
{
	char pem[2000], why[200];
	EVP_PKEY *small = EVP_RSA_gen(1024), *p384 = EVP_EC_gen("P-384");
	size_t n;

	CHECK(jwt_key_new(JWT_HS256, view_of("0123456789abcdef0123456789abcde"), why, sizeof(why)) == NULL);
	CHECK(strstr(why, "32 bytes") != NULL);
	CHECK(jwt_key_new(JWT_RS256, view_of(SECRET), why, sizeof(why)) == NULL);
	CHECK(jwt_key_new(JWT_RS256, view_of(""), why, sizeof(why)) == NULL);
	n = pem_of(ec(), pem, sizeof(pem));
	CHECK(jwt_key_new(JWT_RS256, (struct view){ (uint8_t *)pem, n }, why, sizeof(why)) == NULL);
	n = pem_of(rsa(), pem, sizeof(pem));
	CHECK(jwt_key_new(JWT_ES256, (struct view){ (uint8_t *)pem, n }, why, sizeof(why)) == NULL);
	n = pem_of(small, pem, sizeof(pem));
	CHECK(jwt_key_new(JWT_RS256, (struct view){ (uint8_t *)pem, n }, why, sizeof(why)) == NULL);
	CHECK(strstr(why, "2048") != NULL);
	n = pem_of(p384, pem, sizeof(pem));
	CHECK(jwt_key_new(JWT_ES256, (struct view){ (uint8_t *)pem, n }, why, sizeof(why)) == NULL);
	CHECK(jwt_key_read(JWT_HS256, "/nonexistent", why, sizeof(why)) == NULL);
	CHECK(strstr(why, "/nonexistent") != NULL);
	EVP_PKEY_free(small);
	EVP_PKEY_free(p384);
}

TEST(json_is_strict)
{
	static const char *const bad[] = { "", " ", "{", "{}}", "{a:1}", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{,}", "{\"a\":+1}", "{\"a\":1.}",
		"{\"a\":.5}", "{\"a\":1e}", "{\"a\":-}", "{\"a\":tru}", "{\"a\":'b'}", "{\"a\":\"\n\"}", "{\"a\":\"\\x\"}", "{\"a\":\"\\u12g4\"}",
		"{\"a\":\"\\u12", "{\"a\":\"", "{\"a\":[1 2]}", "{\"a\":[1,]}", "{\"a\":1}{}", "\xef\xbb\xbf{}" };
	static const char *const names[] = { "a" };
	struct claim c;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK(!claims_find(view_of(bad[i]), names, 1, &c));
	CHECK(claims_find(view_of(" { \"b\" : [ ] , \"a\" : -0.5E+3 } \n"), names, 1, &c));
	CHECK_U64(c.kind, CLAIM_NUMBER);
	CHECK(claims_find(view_of("{\"b\":{}}"), names, 1, &c));
	CHECK_U64(c.kind, CLAIM_ABSENT);
}
