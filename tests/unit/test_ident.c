/* Reserved file idents (relay/ident.c): whose they are, how they are kept, and that each leaves the store once.
 *
 * The store is a real one in a fresh directory; what one step has made durable is read after it was closed and opened again. */
#include <stdio.h>
#include <string.h>

#include "relay/ident.h"
#include "tests/harness.h"
#include "tests/storekit.h"

#define DAY_MS 86400000ULL

/* ---- users ---- */

static void
base64url(const char *text, char *out)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	size_t n = strlen(text);

	for (size_t bit = 0; bit < n * 8; bit += 6) {
		unsigned v = 0;

		for (size_t k = bit; k < bit + 6; k++)
			v = v << 1 | (k < n * 8 ? (unsigned char)text[k / 8] >> (7 - k % 8) & 1u : 0);
		*out++ = digits[v];
	}
	*out = '\0';
}

static const char *
jwt(const char *payload)
{
	static char token[8192];
	char part[6000];

	base64url(payload, part);
	snprintf(token, sizeof(token), "e30.%s.c2ln", part);
	return token;
}

TEST(subject)
{
	static const struct {
		const char *payload, *want;
	} row[] = {
		{ "{\"sub\":\"u1\"}", "u1" },
		{ " { \"exp\" : 5 , \"sub\" : \"u 1\" } ", "u 1" },
		{ "{\"user_data\":{\"sub\":\"inner\"},\"aud\":[\"sub\",\"x\"],\"sub\":\"u1\",\"iat\":1}", "u1" },
		{ "{\"a\":\"\\\"sub\\\":\\\"no\\\"\",\"sub\":\"yes\"}", "yes" },
		{ "{\"a\":\"sub\",\"sub\":\"yes\"}", "yes" },
		{ "{\"sub\":\"a\\\"b\"}", "a\\\"b" }, /* as written */
		{ "{\"sub\":\"\"}", "" },
		{ "{\"sub\":5}", "" },
		{ "{\"sub\":null,\"x\":\"y\"}", "" },
		{ "{\"sub\":\"cut", "" },
		{ "{\"sub\":\"cut\\", "" },
		{ "{\"sub\"", "" },
		{ "{\"sub\":", "" },
		{ "{\"subject\":\"u1\"}", "" },
		{ "[\"sub\",\"u1\"]", "" },
		{ "\"sub\":\"u1\"", "" },
		{ "}{\"sub\":\"u1\"}", "u1" },
		{ "", "" },
	};
	uint8_t buf[IDENT_PAYLOAD_MAX];
	char got[200];

	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		struct view v = ident_subject(view_of(jwt(row[i].payload)), buf);

		snprintf(got, sizeof(got), "%.*s", (int)v.len, v.len > 0 ? (const char *)v.ptr : "");
		CHECK_STR(got, row[i].want);
	}
}

TEST(no_web_token)
{
	static const char *const row[] = { "", ".", "..", "...", "opaque", "a.b", "a.b.c.d", "a.!!!!.c", "a.A.c", "a.e30", "a.=.c", "a.====.c" };
	char payload[5000];
	uint8_t buf[IDENT_PAYLOAD_MAX];

	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++)
		CHECK_U64(ident_subject(view_of(row[i]), buf).len, 0);
	CHECK_U64(ident_subject((struct view){ NULL, 0 }, buf).len, 0);
	memset(payload, ' ', sizeof(payload));
	memcpy(payload + IDENT_PAYLOAD_MAX - 11, "{\"sub\":\"u\"}", 12);
	CHECK_U64(ident_subject(view_of(jwt(payload)), buf).len, 1);
	memset(payload, ' ', sizeof(payload));
	memcpy(payload + IDENT_PAYLOAD_MAX - 10, "{\"sub\":\"u\"}", 12);
	CHECK_U64(ident_subject(view_of(jwt(payload)), buf).len, 0); /* one byte too long */
}

/* Equal keys for the same user by another token or header; different ones for all else. */
TEST(keys)
{
	static const struct {
		const char *endpoint, *path, *payload, *token;
		int same_as; /* row, -1 = none before */
		bool subserver;
	} row[] = {
		{ "upstream/a", "/p", "{\"sub\":\"u1\",\"exp\":1}", NULL, -1, false },
		{ "upstream/a", "/p", "{\"exp\":2,\"sub\":\"u1\"}", NULL, 0, false },
		{ "upstream/a", "/p", "{\"sub\":\"u2\"}", NULL, -1, false },
		{ "upstream/b", "/p", "{\"sub\":\"u1\"}", NULL, -1, false },
		{ "upstream/a", "/q", "{\"sub\":\"u1\"}", NULL, -1, false },
		{ "upstream/a", "/p", NULL, "u1", -1, false },
		{ "upstream/a", "/p", NULL, "", -1, false },
		{ "upstream/a/", "p", NULL, "", -1, false },
		{ "upstream/a", "/p", NULL, "opaque", -1, false },
		{ "upstream/a", "/p", NULL, "Bearer opaque", 8, false },
		{ "upstream/a", "/p", NULL, "Bearer ", 6, false },
		{ "upstream/a", "/p", "{\"sub\":\"u1\"}", NULL, -1, true },
		{ "upstream/a", "/p", NULL, "opaque", -1, true },
	};
	enum { N = sizeof(row) / sizeof(row[0]) };
	uint8_t key[N][IDENT_KEY];

	for (int i = 0; i < N; i++) {
		ident_key(&(struct ident_pair){ row[i].endpoint, view_of(row[i].path), row[i].subserver },
			  view_of(row[i].token != NULL ? row[i].token : jwt(row[i].payload)), key[i]);
		for (int k = 0; k < i; k++)
			CHECK_U64(memcmp(key[i], key[k], IDENT_KEY) == 0, row[i].same_as == k);
	}
}

TEST(alloc_keys)
{
	uint8_t key[4][IDENT_KEY];

	ident_alloc_key("upstream/a", view_of("/p"), 3, 7, key[0]);
	ident_alloc_key("upstream/a", view_of("/p"), 3, 8, key[1]);
	ident_alloc_key("upstream/a", view_of("/p"), 4, 7, key[2]);
	ident_alloc_key("upstream/a", view_of("/q"), 3, 7, key[3]);
	for (int i = 0; i < 4; i++)
		for (int k = 0; k < i; k++)
			CHECK(memcmp(key[i], key[k], IDENT_KEY) != 0);
}

TEST(names)
{
	const struct ident_pair in = { "upstream/a", view_of("/p"), true };
	uint8_t name[IDENT_NAME_MAX], key[1 + IDENT_KEY] = { 'n', 1, 2, 3 }, got[IDENT_KEY];
	static char longest[STORE_ENDPOINT_MAX + 2];
	struct ident_pair out;
	size_t n = ident_format_name(&in, name);

	CHECK(ident_parse_name(&out, got, key, sizeof(key), name, n));
	CHECK_MEM(got, sizeof(got), key + 1, IDENT_KEY);
	CHECK_STR(out.endpoint, "upstream/a");
	CHECK(view_eq(out.path, in.path));
	CHECK(out.is_subserver);
	CHECK(!ident_parse_name(&out, got, key + 1, IDENT_KEY, name, n)); /* a list's key */
	CHECK(!ident_parse_name(&out, got, key, sizeof(key), name, 11));  /* no path */
	name[0] = 2;
	CHECK(!ident_parse_name(&out, got, key, sizeof(key), name, n));
	memset(longest, 'e', sizeof(longest) - 1);
	CHECK_U64(ident_format_name(&(struct ident_pair){ longest, { (const uint8_t *)longest, STORE_PATH_MAX }, false }, name), 0);
}

/* ---- lists ---- */

TEST(list_format)
{
	static const char *const bad[] = { "", "1", "x\n", "1\n2", "1\n2 3\n", "1\n2 3 4", "1\n2 3 4\n5", "1\n 2 3 4\n", "1\n0 3 4\n", "1\n2 3 4 \n",
		"1\n-2 3 4\n", "99999999999999999999\n" };
	struct ident_list l = { .seen_ms = UINT64_MAX, .n = IDENT_POOL_MAX }, m;
	char out[STORE_VALUE_MAX];
	size_t n;

	for (size_t i = 0; i < IDENT_POOL_MAX; i++)
		l.at[i] = (struct ident){ UINT64_MAX / 16 - i, UINT64_MAX / 16, UINT64_MAX / 16 };
	l.seen_ms = 17;
	n = ident_format(&l, out);
	CHECK(n < sizeof(out));
	CHECK(ident_parse(&m, out, n));
	CHECK_U64(m.n, l.n);
	CHECK_MEM(m.at, sizeof(m.at), l.at, sizeof(l.at));
	CHECK_U64(m.seen_ms, 17);
	for (size_t i = 1; i < n; i++)
		if (out[i - 1] != '\n')
			CHECK(!ident_parse(&m, out, i));
	memcpy(out + n, "5 5 5\n", 6);
	CHECK(!ident_parse(&m, out, n + 6)); /* one too many */
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK(!ident_parse(&m, bad[i], strlen(bad[i])));
}

TEST(list_ages)
{
	struct ident_list l = { .n = 3, .at = { { 1, 1, 1000 }, { 2, 2, 2000 }, { 3, 3, 9000 } } };

	CHECK_U64(ident_age(5, 3), 2);
	CHECK_U64(ident_age(3, 5), 0); /* a clock that went back */
	CHECK_U64(ident_younger(&l, 3000, 1000), 1);
	CHECK_U64(ident_younger(&l, 3000, 1001), 2);
	CHECK_U64(ident_younger(&l, 0, 1), 3);
	ident_expire(&l, 3000, 2001);
	CHECK_U64(l.n, 3);
	ident_expire(&l, 3000, 2000);
	CHECK_U64(l.n, 2);
	CHECK_U64(l.at[0].file_ident, 2);
	ident_expire(&l, 3000, 0);
	CHECK_U64(l.n, 0);
}

TEST(list_add)
{
	struct ident_list l = { 0 };

	for (uint64_t i = 1; i <= 5; i++)
		ident_add(&l, &(struct ident){ i, i, i }, 3);
	CHECK_U64(l.n, 3);
	CHECK_U64(l.at[0].file_ident, 3);
	CHECK_U64(l.at[2].file_ident, 5);
	ident_add(&l, &(struct ident){ 4, 9, 9 }, 3); /* there already */
	CHECK_U64(l.n, 3);
	CHECK_U64(l.at[1].salt, 4);
	ident_add(&l, &(struct ident){ 6, 6, 6 }, 1);
	CHECK_U64(l.n, 1);
	CHECK_U64(l.at[0].file_ident, 6);
	ident_add(&l, &(struct ident){ 7, 7, 7 }, 0);
	CHECK_U64(l.n, 0);
	for (uint64_t i = 1; i <= IDENT_POOL_MAX + 3; i++)
		ident_add(&l, &(struct ident){ i, i, i }, SIZE_MAX);
	CHECK_U64(l.n, IDENT_POOL_MAX);
	CHECK_U64(l.at[0].file_ident, 4);
}

/* ---- steps on the store ---- */

enum { OF_SHORE = 5000, OF_PORT = 6000 }; /* pairs from here on are those of named upstreams */

static struct ident_op
op_for(unsigned pair)
{
	struct ident_op op = { .now_ms = 100 * DAY_MS, .max_age_ms = 14 * DAY_MS, .keep = 4 };

	memcpy(op.key + IDENT_SCOPE, &pair, sizeof(pair));
	if (pair >= OF_SHORE)
		ident_scope(pair >= OF_PORT ? "upstream:port/x" : "upstream:shore/x", op.key);
	return op;
}

static bool
keep(struct store *s, unsigned pair, uint64_t first, size_t n, uint64_t now_ms)
{
	struct ident_op op = op_for(pair);

	op.now_ms = now_ms;
	op.add.n = n;
	for (size_t i = 0; i < n; i++)
		op.add.at[i] = (struct ident){ first + i, 7, now_ms };
	ident_keep(s, &op);
	return op.err == STORE_OK;
}

/* The ident taken, 0 for none. */
static uint64_t
take(struct store *s, unsigned pair)
{
	struct ident_op op = op_for(pair);

	ident_take(s, &op);
	return op.taken.file_ident;
}

TEST(taken_once)
{
	char dir[512];
	struct store *s;

	snprintf(dir, sizeof(dir), "%s/buffer", harness_tmpdir());
	CHECK((s = kit_open(dir)) != NULL);
	CHECK_U64(take(s, 1), 0);
	CHECK(keep(s, 1, 10, 3, 99 * DAY_MS) && keep(s, 2, 20, 1, 99 * DAY_MS));
	CHECK_U64(take(s, 1), 10); /* the oldest first */
	store_close(s);
	CHECK((s = kit_open(dir)) != NULL);
	CHECK_U64(take(s, 1), 11);
	CHECK(keep(s, 1, 12, 2, 99 * DAY_MS)); /* one of them is there */
	CHECK_U64(take(s, 1), 12);
	CHECK_U64(take(s, 1), 13);
	CHECK_U64(take(s, 1), 0);
	CHECK_U64(take(s, 2), 20);
	CHECK_U64(take(s, 2), 0);
	store_close(s);
}

TEST(too_old)
{
	struct ident_op op = op_for(1);
	char dir[512];
	struct store *s;

	snprintf(dir, sizeof(dir), "%s/buffer", harness_tmpdir());
	CHECK((s = kit_open(dir)) != NULL);
	CHECK(keep(s, 1, 10, 2, 86 * DAY_MS) && keep(s, 1, 12, 1, 87 * DAY_MS));
	ident_look(s, &op);
	CHECK_U64(op.list.n, 1);
	CHECK_U64(take(s, 1), 12);
	CHECK_U64(take(s, 1), 0);
	store_close(s);
}

static enum store_err
burn(struct store *s, unsigned pair)
{
	return ident_burn(s, op_for(pair).key);
}

TEST(drop_and_burn)
{
	char dir[512];
	struct ident_op op = op_for(1);
	struct store *s;

	snprintf(dir, sizeof(dir), "%s/buffer", harness_tmpdir());
	CHECK((s = kit_open(dir)) != NULL);
	CHECK_U64(burn(s, 1), STORE_OK); /* nothing to burn */
	ident_drop(s, &op);
	CHECK_U64(op.err, STORE_OK);
	for (unsigned i = 1; i <= 3; i++)
		CHECK(keep(s, i, 10 * i, 2, 99 * DAY_MS));
	ident_drop(s, &op);
	CHECK_U64(op.err, STORE_OK);
	CHECK_U64(take(s, 1), 0);
	CHECK_U64(take(s, 2), 20);
	CHECK_U64(burn(s, 1), STORE_OK);
	store_close(s);
	CHECK((s = kit_open(dir)) != NULL);
	CHECK_U64(take(s, 2), 0);
	CHECK_U64(take(s, 3), 0);
	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_clear(s, STORE_META), STORE_INVALID); /* the store's own values are there */
	store_abort(s);
	store_close(s);
}

/* A value that nobody can read is not given out, and is written over. */
TEST(damaged_value)
{
	struct ident_op op = op_for(1);
	char dir[512];
	struct store *s;

	snprintf(dir, sizeof(dir), "%s/buffer", harness_tmpdir());
	CHECK((s = kit_open(dir)) != NULL);
	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_put(s, STORE_IDENTS, op.key + IDENT_SCOPE, IDENT_KEY - IDENT_SCOPE, "1\n2 3", 5), STORE_OK);
	CHECK_U64(store_commit(s, true), STORE_OK);
	CHECK_U64(take(s, 1), 0);
	CHECK(keep(s, 1, 10, 1, 99 * DAY_MS));
	CHECK_U64(take(s, 1), 10);
	store_close(s);
}

static bool
count_pairs(void *arg, const void *key, size_t key_len, const void *val, size_t val_len)
{
	(void)key;
	(void)key_len;
	(void)val;
	(void)val_len;
	++*(size_t *)arg;
	return true;
}

static bool
keep_with_name(struct store *s, unsigned pair, uint64_t first)
{
	struct ident_op op = op_for(pair);

	op.add = (struct ident_list){ .n = 2, .at = { { first, 7, 99 * DAY_MS }, { first + 1, 7, 99 * DAY_MS } } };
	op.name_len = ident_format_name(&(struct ident_pair){ "upstream/a", view_of("/p"), false }, op.name);
	ident_keep(s, &op);
	return op.err == STORE_OK;
}

/* What is reserved at one upstream is burned with its names, and nothing of another's (I7). */
TEST(burned_by_upstream)
{
	static const unsigned first[] = { 1, OF_SHORE, OF_PORT };
	char dir[512];
	size_t n = 0;
	struct store *s;

	snprintf(dir, sizeof(dir), "%s/buffer", harness_tmpdir());
	CHECK((s = kit_open(dir)) != NULL);
	for (unsigned i = 0; i < 3; i++)
		for (unsigned k = 0; k < 20; k++)
			CHECK(keep_with_name(s, first[i] + k, 10 + 10 * i));
	CHECK_U64(burn(s, OF_SHORE), STORE_OK);
	CHECK_U64(store_each(s, STORE_IDENTS, count_pairs, &n), STORE_OK);
	CHECK_U64(n, 80);
	CHECK_U64(take(s, OF_SHORE), 0);
	CHECK_U64(take(s, OF_SHORE + 19), 0);
	CHECK_U64(take(s, 1), 10);
	CHECK_U64(take(s, OF_PORT), 30);
	CHECK_U64(burn(s, 1), STORE_OK); /* that of the one without a name */
	CHECK_U64(take(s, 1), 0);
	CHECK_U64(take(s, OF_PORT), 31);
	n = 0;
	CHECK_U64(store_each(s, STORE_IDENTS, count_pairs, &n), STORE_OK);
	CHECK_U64(n, 40);
	store_close(s);
}

/* The pair that was not seen for longest makes room. */
TEST(pairs_are_bounded)
{
	char dir[512];
	size_t n = 0;
	struct store *s;

	snprintf(dir, sizeof(dir), "%s/buffer", harness_tmpdir());
	CHECK((s = kit_open(dir)) != NULL);
	for (unsigned i = 1; i <= IDENT_PAIRS_MAX; i++)
		CHECK(keep(s, i, i, 1, 99 * DAY_MS + (i == 7 ? 0 : i)));
	CHECK(keep(s, IDENT_PAIRS_MAX + 1, 5000, 1, 100 * DAY_MS));
	CHECK_U64(store_each(s, STORE_IDENTS, count_pairs, &n), STORE_OK);
	CHECK_U64(n, IDENT_PAIRS_MAX);
	CHECK_U64(take(s, 7), 0);
	CHECK_U64(take(s, 1), 1);
	CHECK_U64(take(s, IDENT_PAIRS_MAX + 1), 5000);
	store_close(s);
}
