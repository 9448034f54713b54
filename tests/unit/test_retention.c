/* Tests relay/retention on a store, and relay/walltime's judgement of clocks. */
#include <stdlib.h>
#include <string.h>

#include "tests/harness.h"
#include "tests/storekit.h"

#include "relay/admit.h"
#include "relay/be64.h"
#include "relay/credential.h"
#include "relay/retention.h"
#include "relay/users.h"
#include "relay/walltime.h"

#define NOW_MS 1800000000000u
#define DAY_MS 86400000u

static const char *
put_text(struct store *s, enum store_table t, const void *key, size_t key_len, const char *val)
{
	return store_put(s, t, key, key_len, val, strlen(val)) == STORE_OK ? "" : "store_put failed";
}

static bool
has(struct store *s, enum store_table t, const void *key, size_t key_len)
{
	char val[STORE_VALUE_MAX];
	size_t n = sizeof(val);

	return store_get(s, t, key, key_len, val, &n) == STORE_OK;
}

/* A whole pass as the daemon makes it, but for sessions; the number of slices. */
static unsigned
pass(struct store *s, struct retention_pass *p, uint64_t *files)
{
	unsigned n = 0;

	*files = 0;
	while (p->phase != RETENTION_DONE) {
		retention_slice(p, s);
		n++;
		for (size_t i = 0; i < p->nold; i++) {
			if (store_begin(s) != STORE_OK || store_file_remove(s, p->old[i].id) != STORE_OK || store_commit(s, true) != STORE_OK)
				abort();
			++*files;
		}
		retention_drop(p);
	}
	return n;
}

/* Of the entry of user n. */
static void
user_key(uint8_t key[USERS_KEY], unsigned n, const uint8_t *scope)
{
	memset(key, 0, USERS_KEY);
	key[0] = 'u';
	key[1] = (uint8_t)n;
	memcpy(key + USERS_KEY - LINK_SCOPE, scope, LINK_SCOPE);
}

static struct retention_pass *
pass_new(void)
{
	struct retention_pass *p = calloc(1, sizeof(*p));

	p->tokens_before_ms = NOW_MS - 30ull * DAY_MS;
	p->seen_before_ms = NOW_MS - 180ull * DAY_MS;
	return p;
}

static void
token_key(uint8_t key[32], unsigned n)
{
	memset(key, (int)(n * 37 % 251), 32);
	key[3] = (uint8_t)n;
	key[4] = (uint8_t)(n >> 8);
}

TEST(tokens)
{
	struct store *s = kit_open(harness_tmpdir());
	struct retention_pass *p = pass_new();
	uint8_t key[32];
	uint64_t files;
	char val[32];

	CHECK(s != NULL);
	CHECK_U64(store_begin(s), STORE_OK);
	for (unsigned n = 0; n < 300; n++) { /* n days old */
		token_key(key, n);
		snprintf(val, sizeof(val), "%llu", (unsigned long long)NOW_MS - (unsigned long long)n * DAY_MS);
		CHECK_STR(put_text(s, STORE_TOKENS, key, 32, val), "");
	}
	CHECK_STR(put_text(s, STORE_TOKENS, "other", 5, "1"), ""); /* not ours */
	token_key(key, 1000);
	CHECK_STR(put_text(s, STORE_TOKENS, key, 32, "86400000"), ""); /* accepted in 1970: when that was nobody knows */
	CHECK_U64(store_commit(s, true), STORE_OK);
	CHECK(pass(s, p, &files) >= 302 / RETENTION_SLICE + 2);
	CHECK_U64(p->tokens.removed, 269);
	CHECK(has(s, STORE_TOKENS, "other", 5));
	CHECK(has(s, STORE_TOKENS, key, 32));
	for (unsigned n = 0; n < 300; n++) {
		token_key(key, n);
		CHECK_U64(has(s, STORE_TOKENS, key, 32), n <= 30);
	}
	free(p);
	store_close(s);
}

/* Users of App Services: those of an upstream that is configured are looked after there, whatever their age; the others go by it, and with an
 * entry all that belongs to it. */
TEST(users)
{
	static const uint8_t scopes[2][LINK_SCOPE] = { "today", "before" };
	static const uint64_t ages[] = { 0, 179, 181 };
	struct store *s = kit_open(harness_tmpdir());
	struct retention_pass *p = pass_new();
	uint8_t key[USERS_KEY], entry[200] = { 1 };
	uint64_t files;

	CHECK(s != NULL);
	p->scopes = scopes[0];
	p->nscope = 1;
	CHECK_U64(store_begin(s), STORE_OK);
	for (unsigned scope = 0; scope < 2; scope++)
		for (unsigned n = 0; n < 4; n++) { /* the last one has no entry */
			user_key(key, n, scopes[scope]);
			be64_put(entry + 10, NOW_MS - ages[n % 3] * DAY_MS);
			if (n < 3)
				CHECK_U64(store_put(s, STORE_TOKENS, key, sizeof(key), entry, sizeof(entry)), STORE_OK);
			key[0] = 's';
			CHECK_STR(put_text(s, STORE_TOKENS, key, sizeof(key), n == 1 ? "" : "x"), ""); /* an empty value is none */
		}
	CHECK_U64(store_commit(s, true), STORE_OK);
	pass(s, p, &files);
	for (unsigned scope = 0; scope < 2; scope++)
		for (unsigned n = 0; n < 4; n++) {
			user_key(key, n, scopes[scope]);
			CHECK_U64(has(s, STORE_TOKENS, key, sizeof(key)), scope == 0 ? n < 3 : n < 2);
			key[0] = 's';
			CHECK_U64(has(s, STORE_TOKENS, key, sizeof(key)), n != 1 && (scope == 0 || n == 0));
		}
	free(p);
	p = pass_new(); /* secrets are not to be kept any more */
	p->scopes = scopes[0];
	p->nscope = 1;
	p->drop_credentials = true;
	pass(s, p, &files);
	user_key(key, 0, scopes[0]);
	CHECK(!has(s, STORE_TOKENS, key, sizeof(key)));
	key[0] = 's';
	CHECK(!has(s, STORE_TOKENS, key, sizeof(key)));
	free(p);
	store_close(s);
}

TEST(versions)
{
	static const struct {
		const char *key, *val;
		bool stays;
	} rows[] = {
		{ "agreed upstream/a pbs", "14 1799999999999", true },
		{ "agreed upstream/b pbs", "14 1780000000000", false },
		{ "agreed upstream/c flx", "10", true }, /* of a version before, which noted no time */
		{ "agree", "14 1780000000000", true },
		{ "agreee", "14 1780000000000", true },
		{ "good time", "1780000000000 1 x", true },
		{ "probe path", "14 1780000000000", true },
	};
	struct store *s = kit_open(harness_tmpdir());
	struct retention_pass *p = pass_new();
	uint64_t files;

	CHECK(s != NULL);
	CHECK_U64(store_begin(s), STORE_OK);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		CHECK_STR(put_text(s, STORE_META, rows[i].key, strlen(rows[i].key), rows[i].val), "");
	CHECK_U64(store_commit(s, true), STORE_OK);
	pass(s, p, &files);
	CHECK_U64(p->agreed.removed, 1);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		CHECK_U64(has(s, STORE_META, rows[i].key, strlen(rows[i].key)), rows[i].stays);
	free(p);
	store_close(s);
}

/* Files by number: which of them may go. */
static struct store_file
file_row(unsigned n, bool *goes)
{
	struct store_file f = kit_file(n + 1);

	f.seen_ms = NOW_MS - 200ull * DAY_MS;
	*goes = false;
	switch (n % 8) {
	case 0: /* nothing speaks for it */
		*goes = true;
		break;
	case 1: /* all that was acknowledged here arrived */
		f.shown_client_version = f.upstream_client_version = f.held_client_version = 9;
		*goes = true;
		break;
	case 2: /* I4 */
		f.shown_client_version = f.held_client_version = 10;
		f.upstream_client_version = 9;
		break;
	case 3: /* seen lately */
		f.seen_ms = NOW_MS - 100ull * DAY_MS;
		break;
	case 4:
		f.state = (n / 8) % 2 == 0 ? STORE_FILE_REJECTED : STORE_FILE_LOST;
		break;
	case 5: /* a clock that was lost */
		f.seen_ms = (n / 8) % 2 == 0 ? 0 : 5 * DAY_MS;
		break;
	case 6: /* a clock that ran ahead */
		f.seen_ms = NOW_MS + 1000ull * DAY_MS;
		break;
	default: /* a backlog: see the caller */
		break;
	}
	return f;
}

TEST(files)
{
	static uint8_t data[KIT_DATA_MAX];
	struct store *s = kit_open(harness_tmpdir());
	struct retention_pass *p = pass_new();
	uint64_t id[200], files, want = 0;
	bool goes[200], added;

	CHECK(s != NULL);
	CHECK_U64(store_begin(s), STORE_OK);
	for (unsigned n = 0; n < 200; n++) {
		struct store_file f = file_row(n, &goes[n]);

		CHECK_U64(store_file_put(s, &f), STORE_OK);
		id[n] = f.id;
		want += goes[n];
		if (n % 8 == 7) {
			struct store_record r = kit_record(data, n, 1, 10);

			CHECK_U64(store_append(s, f.id, &r, &added), STORE_OK);
		}
	}
	CHECK_U64(store_commit(s, true), STORE_OK);
	CHECK(pass(s, p, &files) >= 200 / RETENTION_SLICE + 2);
	CHECK_U64(files, want);
	for (unsigned n = 0; n < 200; n++) {
		struct store_file f;

		CHECK_U64(store_file_get(s, id[n], &f), goes[n] ? STORE_NOTFOUND : STORE_OK);
	}
	memset(p, 0, sizeof(*p)); /* a clock of 1970: nothing is old */
	pass(s, p, &files);
	CHECK_U64(files + p->tokens.removed + p->agreed.removed, 0);
	free(p);
	store_close(s);
}

TEST(clocks)
{
	static const struct {
		uint64_t good, good_boot, wall, boot, want;
		bool exact;
	} rows[] = {
		{ 0, 0, NOW_MS, 5000, NOW_MS, true },		   /* the first start */
		{ 0, 0, 60000, 60000, 60000, false },		   /* in 1970 */
		{ NOW_MS, 100, NOW_MS + 7, 107, NOW_MS + 7, true },
		{ NOW_MS, 0, 60000, 90000, NOW_MS + 90000, false }, /* booted in 1970: up for 90 s since */
		{ NOW_MS, 50000, 60000, 90000, NOW_MS + 40000, false }, /* set back within a boot */
		{ NOW_MS, 90000, 60000, 80000, NOW_MS, false },
		{ NOW_MS, 0, NOW_MS - 1, 0, NOW_MS, false },
	};
	bool exact;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		CHECK_U64(walltime_judge(rows[i].good, rows[i].good_boot, rows[i].wall, rows[i].boot, &exact), rows[i].want);
		CHECK_U64(exact, rows[i].exact);
	}
}

TEST(times_in_values)
{
	CHECK_U64(admit_token_time("123", 3), 123);
	CHECK_U64(admit_token_time("", 0), 0);
	CHECK_U64(admit_agreed_time("14 99", 5), 99);
	CHECK_U64(admit_agreed_time("14 ", 3), 0);
	CHECK_U64(admit_agreed_time("14", 2), 0);
}

/* What is kept of a client's request goes with the backlog of its file, or when tokens are not to be kept at all. */
TEST(credentials)
{
	static uint8_t data[KIT_DATA_MAX];
	struct store *s = kit_open(harness_tmpdir());
	uint8_t key[CREDENTIAL_KEY];
	uint64_t id[100], files;
	bool goes, added;

	CHECK(s != NULL);
	CHECK_U64(store_begin(s), STORE_OK);
	for (unsigned n = 0; n < 100; n++) {
		struct store_file f = file_row(n, &goes);
		struct store_record r = kit_record(data, n, 1, 10);

		CHECK_U64(store_file_put(s, &f), STORE_OK);
		id[n] = f.id;
		if (n % 2 == 0)
			CHECK_U64(store_append(s, f.id, &r, &added), STORE_OK);
		credential_key(key, f.id);
		CHECK_STR(put_text(s, STORE_TOKENS, key, sizeof(key), "secret"), "");
	}
	credential_key(key, 1000000); /* of no file */
	CHECK_STR(put_text(s, STORE_TOKENS, key, sizeof(key), "secret"), "");
	CHECK_U64(store_commit(s, true), STORE_OK);
	for (int drop = 0; drop <= 1; drop++) {
		struct retention_pass *p = pass_new();

		p->seen_before_ms = 0;
		p->drop_credentials = drop;
		(void)pass(s, p, &files);
		CHECK(!has(s, STORE_TOKENS, key, sizeof(key)));
		for (unsigned n = 0; n < 100; n++) {
			uint8_t k[CREDENTIAL_KEY];

			credential_key(k, id[n]);
			CHECK_U64(has(s, STORE_TOKENS, k, sizeof(k)), n % 2 == 0 && !drop);
		}
		free(p);
	}
	store_close(s);
}
