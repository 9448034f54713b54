/* Tests relay/credential: what is packed comes back, what does not fit is refused, nothing damaged is taken; the order of orders. */
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "tests/harness.h"
#include "tests/storekit.h"

#include "relay/credential.h"
#include "relay/journal.h"
#include "relay/options.h"
#include "relay/relay.h"
#include "relay/spool.h"
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

/* ---- on the disk ---- */

struct wanted {
	bool done;
	enum store_err err;
	size_t len;
};

static void
changed(void *arg)
{
	(void)arg;
}

static void
wait_fn(void *arg, struct store *s)
{
	(void)s;
	sem_wait(arg);
}

static void
got(void *arg, struct spool_op *op)
{
	struct wanted *w = arg;

	w->done = true;
	w->err = op->err;
	w->len = op->val_len;
}

static struct wanted
look(struct relay *r, uint64_t file_id)
{
	uint8_t key[CREDENTIAL_KEY];
	struct wanted w = { 0 };

	credential_key(key, file_id);
	spool_get(r->spool, STORE_TOKENS, (struct view){ key, sizeof(key) }, got, &w);
	while (!w.done)
		event_base_loop(r->base, EVLOOP_ONCE);
	return w;
}

/* While the committer is busy a token is dropped and a newer one is stored, and the reverse: the last order holds. */
TEST(the_last_order_holds)
{
	struct options o = { .store_tokens = true, .buffer_key_file = (char *)(uintptr_t)"key" };
	struct relay r = { .opt = &o };
	struct credential k = sample("/realm-sync");
	char state[200], journal[200], why[512];
	struct store *s;
	struct wanted w;
	sem_t go;

	snprintf(state, sizeof(state), "%s/s", harness_tmpdir());
	snprintf(journal, sizeof(journal), "%s/j", harness_tmpdir());
	CHECK((s = kit_open(state)) != NULL);
	r.base = event_base_new();
	CHECK((r.spool = spool_new(r.base, s, journal_open(journal, why, sizeof(why)), changed, NULL)) != NULL);
	sem_init(&go, 0, 0);
	spool_call(r.spool, wait_fn, NULL, &go);
	credential_store(&r, 1, &k);
	credential_drop(&r, 1);
	credential_drop(&r, 2);
	credential_store(&r, 2, &k);
	sem_post(&go);
	w = look(&r, 2);
	CHECK_U64(w.err, STORE_OK);
	CHECK(w.len > 0);
	w = look(&r, 1);
	CHECK(w.err == STORE_NOTFOUND || w.len == 0);
	credential_wipe(&k);
	spool_free(r.spool);
	event_base_free(r.base);
	sem_destroy(&go);
}
