/* Tests relay/credential: what is packed comes back, what does not fit is refused, nothing damaged is taken. */
#include <stdlib.h>
#include <string.h>

#include "tests/harness.h"

#include "relay/credential.h"
#include "relay/upstream.h"

static struct credential
sample(const char *target)
{
	struct upstream_request req = { .target = view_of(target),
		.protocol = view_of("com.mongodb.realm-sync#14"),
		.authorization = view_of("Bearer TOKEN"),
		.user_agent = view_of("") };
	struct credential k;

	credential_take(&k, &req, view_of("TOKEN"));
	return k;
}

TEST(packed_and_back)
{
	struct credential k = sample("/realm-sync?baas_at=TOKEN"), back;
	uint8_t *packed = malloc(STORE_VALUE_MAX);
	struct upstream_request req;
	size_t n = credential_pack(&k, packed);

	CHECK(n > 0 && n < STORE_VALUE_MAX);
	CHECK(credential_unpack(&back, packed, n));
	CHECK_STR(back.target, "/realm-sync?baas_at=TOKEN");
	CHECK_STR(back.authorization, "Bearer TOKEN");
	CHECK_STR(back.user_agent, "");
	CHECK_STR(back.token, "TOKEN");
	credential_request(&back, &req);
	CHECK(view_eq(req.protocol, view_of("com.mongodb.realm-sync#14")));
	credential_wipe(&back);
	CHECK(!credential_known(&back));
	for (size_t cut = 0; cut < n; cut++) {
		CHECK(!credential_unpack(&back, packed, cut));
		CHECK(!credential_known(&back));
	}
	packed[n] = 0;
	CHECK(!credential_unpack(&back, packed, n + 1));
	packed[n - 1] = 0; /* no string holds a NUL */
	CHECK(!credential_unpack(&back, packed, n));
	credential_wipe(&k);
	free(packed);
}

TEST(too_large_is_not_packed)
{
	uint8_t *packed = malloc(STORE_VALUE_MAX);
	char target[STORE_VALUE_MAX + 1];

	for (size_t len = STORE_VALUE_MAX - 100; len < STORE_VALUE_MAX; len++) {
		struct credential k, back;
		size_t n;

		memset(target, 'a', len);
		target[len] = '\0';
		k = sample(target);
		n = credential_pack(&k, packed);
		CHECK_U64(n, len + 52 <= STORE_VALUE_MAX ? len + 52 : 0);
		if (n > 0) {
			CHECK(credential_unpack(&back, packed, n));
			credential_wipe(&back);
		}
		credential_wipe(&k);
	}
	free(packed);
}

TEST(keys)
{
	uint8_t key[CREDENTIAL_KEY], hash[32] = "r";
	uint64_t id = 0;

	credential_key(key, 0x0102030405060708);
	CHECK(credential_is_key(key, sizeof(key), &id));
	CHECK_U64(id, 0x0102030405060708);
	CHECK(!credential_is_key(key, sizeof(key) - 1, &id));
	CHECK(!credential_is_key(hash, sizeof(hash), &id));
}
