/* The store through its public interface: files and their identity, the backlog, counters, windows, small values, misuse.  Its
 * directory is in test_store_dir.c, damage in test_damage_store.c, crashes and failing disks in test_crash_store.c. */
#include <stdlib.h>

#include "tests/harness.h"
#include "tests/storekit.h"

static uint8_t data[KIT_DATA_MAX];

/* Stores file number n with versions from..to, each of its usual length, in one transaction. */
static void
add(struct store *s, struct store_file *f, uint64_t n, uint64_t from, uint64_t to)
{
	bool added;

	CHECK_U64(store_begin(s), STORE_OK);
	if (f->id == 0) {
		*f = kit_file(n);
		CHECK_U64(store_file_put(s, f), STORE_OK);
	}
	for (uint64_t v = from; v <= to; v++) {
		struct store_record r = kit_record(data, n, v, kit_len(n, v));

		CHECK_U64(store_append(s, f->id, &r, &added), STORE_OK);
		CHECK(added);
	}
	CHECK_U64(store_commit(s, true), STORE_OK);
}

/* What a walk over a backlog saw. */
struct seen {
	uint64_t n, count, first, last, bytes;
	uint64_t stop_after; /* 0: never */
	bool wrong;
};

static bool
see(void *arg, const struct store_record *r)
{
	struct seen *seen = arg;

	if (seen->count++ == 0)
		seen->first = r->client_version;
	else if (r->client_version <= seen->last)
		seen->wrong = true;
	seen->last = r->client_version;
	seen->bytes += r->len;
	if (!kit_same(r, seen->n, kit_len(seen->n, r->client_version)))
		seen->wrong = true;
	return seen->count != seen->stop_after;
}

/* The counters of file id agree with its records, and their first received_ms. */
static void
check_counters(struct store *s, uint64_t id, uint64_t n)
{
	struct seen seen = { .n = n };
	struct store_file f;

	CHECK_U64(store_read(s, id, 0, UINT64_MAX, see, &seen, NULL), STORE_OK);
	CHECK(!seen.wrong);
	CHECK_U64(store_file_get(s, id, &f), STORE_OK);
	CHECK_U64(f.backlog_records, seen.count);
	CHECK_U64(f.backlog_bytes, seen.bytes);
	CHECK_U64(f.oldest_ms, seen.count == 0 ? 0 : 1700000000000u + seen.first);
}

/* ---- files ---- */

static void
check_same_file(const struct store_file *got, const struct store_file *want)
{
	CHECK_U64(got->id, want->id);
	CHECK_STR(got->endpoint, want->endpoint);
	CHECK_STR(got->path, want->path);
	CHECK_STR(got->state_text, want->state_text);
#define SAME(field) CHECK_U64(got->field, want->field)
	SAME(file_ident);
	SAME(file_ident_salt);
	SAME(download_server_version);
	SAME(download_client_version);
	SAME(latest_server_version);
	SAME(latest_server_version_salt);
	SAME(held_client_version);
	SAME(held_server_version);
	SAME(upstream_client_version);
	SAME(upstream_server_version);
	SAME(shown_client_version);
	SAME(shown_server_version);
	SAME(locked_server_version);
	SAME(final_client_version);
	SAME(final_server_version);
	SAME(state);
	SAME(state_code);
	SAME(state_time_ms);
	SAME(ack);
	SAME(downloaded);
	SAME(is_subserver);
	SAME(created_ms);
	SAME(seen_ms);
	SAME(backlog_records);
	SAME(backlog_bytes);
	SAME(oldest_ms);
#undef SAME
}

TEST(file_fields)
{
	const char *dir = harness_tmpdir();
	struct store *s = kit_open(dir);
	struct store_file f = kit_file(9), got;

	f.download_server_version = 3;
	f.download_client_version = 4;
	f.latest_server_version = 5;
	f.latest_server_version_salt = 1ull << 62;
	f.held_client_version = 7;
	f.held_server_version = 8;
	f.upstream_client_version = 9;
	f.upstream_server_version = 10;
	f.shown_client_version = 11;
	f.shown_server_version = 12;
	f.locked_server_version = 13;
	f.final_client_version = 14;
	f.final_server_version = 15;
	f.state = STORE_FILE_REJECTED;
	f.state_code = 212;
	f.state_time_ms = 16;
	strcpy(f.state_text, "bad changeset");
	f.ack = STORE_ACK_RELAY;
	f.downloaded = f.is_subserver = 1;
	f.seen_ms = 17;
	f.backlog_records = f.backlog_bytes = f.oldest_ms = 99; /* not the caller's to set */

	CHECK(s != NULL);
	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_file_put(s, &f), STORE_OK);
	CHECK(f.id != 0);
	CHECK_U64(f.backlog_records, 0);
	CHECK_U64(store_commit(s, true), STORE_OK);
	for (int round = 0; round < 2; round++) {
		memset(&got, 0xa5, sizeof(got));
		CHECK_U64(store_file_get(s, f.id, &got), STORE_OK);
		check_same_file(&got, &f);
		memset(&got, 0xa5, sizeof(got));
		CHECK_U64(store_file_find(s, f.endpoint, f.path, f.file_ident, f.file_ident_salt, &got), STORE_OK);
		check_same_file(&got, &f);
		/* and again after a change, and after the store was closed */
		f.state = STORE_FILE_OK;
		f.seen_ms = UINT64_MAX;
		CHECK_U64(store_begin(s), STORE_OK);
		CHECK_U64(store_file_put(s, &f), STORE_OK);
		CHECK_U64(store_commit(s, true), STORE_OK);
		store_close(s);
		CHECK((s = kit_open(dir)) != NULL);
	}
	store_close(s);
}

TEST(file_longest)
{
	struct store *s = kit_open(harness_tmpdir());
	struct store_file f = { 0 }, got;

	memset(f.endpoint, 'e', STORE_ENDPOINT_MAX);
	memset(f.path, 0xfe, STORE_PATH_MAX);
	memset(f.state_text, 't', STORE_TEXT_MAX);
	f.file_ident = f.file_ident_salt = UINT64_MAX;
	CHECK(s != NULL);
	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_file_put(s, &f), STORE_OK);
	CHECK_U64(store_commit(s, true), STORE_OK);
	CHECK_U64(store_file_find(s, f.endpoint, f.path, UINT64_MAX, UINT64_MAX, &got), STORE_OK);
	check_same_file(&got, &f);
	/* a string that does not end is refused */
	f.id = 0;
	f.path[STORE_PATH_MAX] = 'x';
	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_file_put(s, &f), STORE_INVALID);
	store_abort(s);
	store_close(s);
}

/* Every part of the identity counts, also where one string ends and the next begins. */
TEST(file_identity)
{
	static const struct {
		const char *endpoint, *path;
		uint64_t ident, salt;
	} rows[] = {
		{ "a", "/p", 1, 1 }, { "b", "/p", 1, 1 }, { "a", "/q", 1, 1 }, { "a", "/p", 2, 1 }, { "a", "/p", 1, 2 },
		{ "a/", "p", 1, 1 }, { "", "a/p", 1, 1 }, { "", "", 1, 1 }, { "a", "", 1, 1 },
	};
	enum { N = sizeof(rows) / sizeof(rows[0]) };
	struct store *s = kit_open(harness_tmpdir());
	struct store_file f[N], got;
	uint64_t id;

	CHECK(s != NULL);
	CHECK_U64(store_begin(s), STORE_OK);
	for (int i = 0; i < N; i++) {
		f[i] = (struct store_file){ .file_ident = rows[i].ident, .file_ident_salt = rows[i].salt };
		strcpy(f[i].endpoint, rows[i].endpoint);
		strcpy(f[i].path, rows[i].path);
		got.id = 4711;
		CHECK_U64(store_file_find(s, rows[i].endpoint, rows[i].path, rows[i].ident, rows[i].salt, &got), STORE_NOTFOUND);
		CHECK_U64(got.id, 4711);
		CHECK_U64(store_file_put(s, &f[i]), STORE_OK);
	}
	for (int i = 0; i < N; i++) {
		CHECK_U64(store_file_find(s, rows[i].endpoint, rows[i].path, rows[i].ident, rows[i].salt, &got), STORE_OK);
		CHECK_U64(got.id, f[i].id);
	}
	/* an identity is stored once, and a file keeps the one it has */
	id = f[2].id;
	f[2].id = 0;
	CHECK_U64(store_file_put(s, &f[2]), STORE_INVALID);
	f[2].id = f[3].id;
	CHECK_U64(store_file_put(s, &f[2]), STORE_INVALID);
	f[2].id = id;
	f[2].file_ident = 99;
	CHECK_U64(store_file_put(s, &f[2]), STORE_NOTFOUND);
	/* those were answers: the transaction goes on */
	CHECK_U64(store_commit(s, true), STORE_OK);
	CHECK_U64(store_file_get(s, id, &got), STORE_OK);
	CHECK_U64(store_file_get(s, 999, &got), STORE_NOTFOUND);
	store_close(s);
}

static bool
count_files(void *arg, const struct store_file *f)
{
	uint64_t *last = arg;

	if (f->id <= last[0])
		last[2]++; /* out of order */
	last[0] = f->id;
	last[1]++;
	return last[1] != last[3];
}

TEST(file_each_and_remove)
{
	const char *dir = harness_tmpdir();
	struct store *s = kit_open(dir);
	struct store_file f[5] = { 0 }, got;
	uint64_t walk[4] = { 0 };
	struct seen seen = { .n = 2 };
	struct store_stat st;

	CHECK(s != NULL);
	for (uint64_t n = 0; n < 5; n++)
		add(s, &f[n], n, 1, 3);
	CHECK_U64(store_file_each(s, count_files, walk), STORE_OK);
	CHECK_U64(walk[1], 5);
	CHECK_U64(walk[2], 0);
	memset(walk, 0, sizeof(walk));
	walk[3] = 2; /* stops after two */
	CHECK_U64(store_file_each(s, count_files, walk), STORE_OK);
	CHECK_U64(walk[1], 2);

	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_file_remove(s, f[4].id), STORE_OK);
	CHECK_U64(store_file_remove(s, f[4].id), STORE_NOTFOUND);
	CHECK_U64(store_file_remove(s, 999), STORE_NOTFOUND);
	CHECK_U64(store_commit(s, true), STORE_OK);
	CHECK_U64(store_file_get(s, f[4].id, &got), STORE_NOTFOUND);
	CHECK_U64(store_file_find(s, f[4].endpoint, f[4].path, f[4].file_ident, f[4].file_ident_salt, &got), STORE_NOTFOUND);
	CHECK_U64(store_read(s, f[4].id, 0, UINT64_MAX, see, &seen, NULL), STORE_OK);
	CHECK_U64(seen.count, 0);
	CHECK_U64(store_stat(s, &st), STORE_OK);
	CHECK_U64(st.files, 4);
	CHECK_U64(st.records, 12);
	check_counters(s, f[3].id, 3);
	/* its id is not given out again, not even after a restart */
	store_close(s);
	CHECK((s = kit_open(dir)) != NULL);
	CHECK_U64(store_begin(s), STORE_OK);
	got = kit_file(77);
	CHECK_U64(store_file_put(s, &got), STORE_OK);
	CHECK(got.id > f[4].id);
	CHECK_U64(store_commit(s, true), STORE_OK);
	store_close(s);
}

/* ---- the backlog ---- */

TEST(append_equal_and_different)
{
	struct store *s = kit_open(harness_tmpdir());
	struct store_file f = { 0 };
	struct store_record r, other;
	bool added = true;

	CHECK(s != NULL);
	add(s, &f, 1, 5, 5);
	r = kit_record(data, 1, 5, kit_len(1, 5));
	CHECK(r.len > 0);
	CHECK_U64(store_begin(s), STORE_OK);
	r.received_ms++; /* when it came is not part of what it is */
	CHECK_U64(store_append(s, f.id, &r, &added), STORE_OK);
	CHECK(!added);
	CHECK_U64(store_compare(s, f.id, &r), STORE_OK);
#define OTHER(change) \
	do { \
		other = r; \
		other.change; \
		added = true; \
		CHECK_U64(store_append(s, f.id, &other, &added), STORE_DIFFERS); \
		CHECK(!added); \
		CHECK_U64(store_compare(s, f.id, &other), STORE_DIFFERS); \
	} while (0)
	OTHER(len--);
	OTHER(len++);
	OTHER(server_version++);
	OTHER(origin_timestamp++);
	OTHER(origin_file_ident++);
	data[r.len / 2] ^= 1;
	OTHER(len += 0);
#undef OTHER
	other = r;
	other.client_version = 6;
	CHECK_U64(store_compare(s, f.id, &other), STORE_NOTFOUND);
	CHECK_U64(store_compare(s, 999, &r), STORE_NOTFOUND);
	CHECK_U64(store_append(s, 999, &r, &added), STORE_NOTFOUND);
	CHECK_U64(store_commit(s, true), STORE_OK);
	check_counters(s, f.id, 1);
	store_close(s);
}

/* Versions may have gaps and come in any order: they are read in theirs. */
TEST(order_and_gaps)
{
	static const uint64_t versions[] = { 1000, 3, 70000, 256, 255, 1u << 31, 1ull << 62, 1ull << 33, 4 };
	struct store *s = kit_open(harness_tmpdir());
	struct store_file f = { 0 }, neighbour = { 0 };
	struct seen seen = { .n = 1 };
	bool added;

	CHECK(s != NULL);
	add(s, &f, 1, 1, 1);
	add(s, &neighbour, 2, 1, 20);
	CHECK_U64(store_begin(s), STORE_OK);
	for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
		struct store_record r = kit_record(data, 1, versions[i], kit_len(1, versions[i]));

		CHECK_U64(store_append(s, f.id, &r, &added), STORE_OK);
	}
	/* a transaction sees what it wrote */
	CHECK_U64(store_read(s, f.id, 0, UINT64_MAX, see, &seen, NULL), STORE_OK);
	CHECK_U64(seen.count, 1 + sizeof(versions) / sizeof(versions[0]));
	CHECK(!seen.wrong);
	CHECK_U64(seen.last, 1ull << 62);
	CHECK_U64(store_commit(s, true), STORE_OK);
	memset(&seen, 0, sizeof(seen));
	seen.n = 1;
	CHECK_U64(store_read(s, f.id, 256, UINT64_MAX, see, &seen, NULL), STORE_OK);
	CHECK_U64(seen.first, 1000);
	CHECK_U64(seen.count, 5);
	memset(&seen, 0, sizeof(seen));
	CHECK_U64(store_read(s, f.id, 1ull << 62, UINT64_MAX, see, &seen, NULL), STORE_OK);
	CHECK_U64(store_read(s, f.id, UINT64_MAX, UINT64_MAX, see, &seen, NULL), STORE_OK);
	CHECK_U64(seen.count, 0);
	check_counters(s, f.id, 1);
	check_counters(s, neighbour.id, 2);
	store_close(s);
}

TEST(read_windows)
{
	struct store *s = kit_open(harness_tmpdir());
	struct store_file f = { 0 };
	uint64_t len1 = kit_len(1, 1), len2 = kit_len(1, 2), len3 = kit_len(1, 3);
	const struct {
		uint64_t after, max_bytes, stop_after, first, count;
	} rows[] = {
		{ 0, 0, 0, 1, 1 },		      /* at least one */
		{ 0, 1, 0, 1, 1 },
		{ 0, len1 + len2 - 1, 0, 1, 1 },
		{ 0, len1 + len2, 0, 1, 2 },	      /* just fits */
		{ 0, len1 + len2 + len3 - 1, 0, 1, 2 },
		{ 1, len2 + len3, 0, 2, 2 },
		{ 0, UINT64_MAX, 3, 1, 3 },	      /* the callback has enough */
		{ 49, UINT64_MAX, 0, 50, 1 },
		{ 50, UINT64_MAX, 0, 0, 0 },
	};

	CHECK(s != NULL);
	CHECK(len1 > 0 && len2 > 0 && len3 > 0);
	add(s, &f, 1, 1, 50);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct seen seen = { .n = 1, .stop_after = rows[i].stop_after };

		CHECK_U64(store_read(s, f.id, rows[i].after, rows[i].max_bytes, see, &seen, NULL), STORE_OK);
		CHECK(!seen.wrong);
		CHECK_U64(seen.first, rows[i].first);
		CHECK_U64(seen.count, rows[i].count);
	}
	store_close(s);
}

/* Sizes around the page and the overflow limit, and one of the protocol's greatest. */
TEST(sizes)
{
	static const uint32_t lens[] = { 0, 1, 900, 950, 1000, 1024, 4000, 4096, 5000, 65536 };
	struct store *s = kit_open(harness_tmpdir());
	struct store_file f = kit_file(1);
	struct store_record big = { .client_version = 100, .len = 16u << 20 };
	uint8_t *bytes = malloc(big.len);
	bool added;

	CHECK(s != NULL && bytes != NULL);
	kit_fill(bytes, big.len, 1, 100);
	big.data = bytes;
	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_file_put(s, &f), STORE_OK);
	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		struct store_record r = kit_record(data, 1, i + 1, lens[i]);

		CHECK_U64(store_append(s, f.id, &r, &added), STORE_OK);
		CHECK_U64(store_compare(s, f.id, &r), STORE_OK);
	}
	CHECK_U64(store_append(s, f.id, &big, &added), STORE_OK);
	CHECK_U64(store_commit(s, true), STORE_OK);
	CHECK_U64(store_compare(s, f.id, &big), STORE_OK);
	bytes[big.len - 1] ^= 1;
	CHECK_U64(store_compare(s, f.id, &big), STORE_DIFFERS);
	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_trim(s, f.id, 100), STORE_OK);
	CHECK_U64(store_commit(s, true), STORE_OK);
	check_counters(s, f.id, 1);
	free(bytes);
	store_close(s);
}

TEST(trim_ranges)
{
	static const struct {
		uint64_t upto, left;
	} rows[] = { { 0, 30 }, { 9, 30 }, { 10, 29 }, { 10, 29 }, { 25, 14 }, { 38, 1 }, { 39, 0 }, { UINT64_MAX, 0 } };
	struct store *s = kit_open(harness_tmpdir());
	struct store_file f = { 0 }, before = { 0 }, after = { 0 }, got;

	CHECK(s != NULL);
	add(s, &before, 1, 1, 40);
	add(s, &f, 2, 10, 39);
	add(s, &after, 3, 1, 40);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		CHECK_U64(store_begin(s), STORE_OK);
		CHECK_U64(store_trim(s, f.id, rows[i].upto), STORE_OK);
		CHECK_U64(store_commit(s, i % 2 == 0), STORE_OK);
		CHECK_U64(store_file_get(s, f.id, &got), STORE_OK);
		CHECK_U64(got.backlog_records, rows[i].left);
		check_counters(s, f.id, 2);
	}
	check_counters(s, before.id, 1);
	check_counters(s, after.id, 3);
	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_trim(s, 999, 1), STORE_NOTFOUND);
	/* trimmed, appended and put in one transaction: the counters of all three meet */
	CHECK_U64(store_trim(s, before.id, 39), STORE_OK);
	CHECK_U64(store_file_get(s, before.id, &before), STORE_OK);
	CHECK_U64(before.backlog_records, 1);
	before.seen_ms = 5;
	CHECK_U64(store_file_put(s, &before), STORE_OK);
	CHECK_U64(store_trim(s, before.id, 40), STORE_OK);
	CHECK_U64(store_commit(s, true), STORE_OK);
	check_counters(s, before.id, 1);
	store_close(s);
}

TEST(full)
{
	const char *dir = harness_tmpdir();
	struct store_options opt = kit_options(dir);
	struct store *s;
	struct store_file f = kit_file(1);
	struct store_record r;
	char why[256];
	bool added;

	opt.max_bytes = 1000;
	CHECK_U64(store_open(&opt, &s, why, sizeof(why)), STORE_OK);
	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_file_put(s, &f), STORE_OK);
	r = kit_record(data, 1, 1, 600);
	CHECK_U64(store_append(s, f.id, &r, &added), STORE_OK);
	r = kit_record(data, 1, 2, 401);
	CHECK_U64(store_append(s, f.id, &r, &added), STORE_FULL);
	CHECK(!added);
	r = kit_record(data, 1, 2, 400);
	CHECK_U64(store_append(s, f.id, &r, &added), STORE_OK);
	r = kit_record(data, 1, 3, 1);
	CHECK_U64(store_append(s, f.id, &r, &added), STORE_FULL);
	r = kit_record(data, 1, 4, 4000); /* more than ever fits */
	CHECK_U64(store_append(s, f.id, &r, &added), STORE_FULL);
	r = kit_record(data, 1, 1, 600); /* held already: needs no room */
	CHECK_U64(store_append(s, f.id, &r, &added), STORE_OK);
	CHECK(!added);
	r = kit_record(data, 1, 1, 601);
	CHECK_U64(store_append(s, f.id, &r, &added), STORE_DIFFERS);
	CHECK_U64(store_commit(s, true), STORE_OK);
	/* room that a trim makes counts at once; what an abort takes back does not */
	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_trim(s, f.id, 1), STORE_OK);
	r = kit_record(data, 1, 5, 600);
	CHECK_U64(store_append(s, f.id, &r, &added), STORE_OK);
	store_abort(s);
	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_append(s, f.id, &r, &added), STORE_FULL);
	CHECK_U64(store_commit(s, true), STORE_OK);
	/* the bound is not forgotten over a restart */
	store_close(s);
	CHECK_U64(store_open(&opt, &s, why, sizeof(why)), STORE_OK);
	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_append(s, f.id, &r, &added), STORE_FULL);
	store_abort(s);
	store_close(s);
}

/* ---- transactions and totals ---- */

static void
check_stat(struct store *s, uint64_t files, uint64_t with, uint64_t records, uint64_t oldest)
{
	struct store_stat st;

	CHECK_U64(store_stat(s, &st), STORE_OK);
	CHECK_U64(st.files, files);
	CHECK_U64(st.files_with_backlog, with);
	CHECK_U64(st.records, records);
	CHECK_U64(st.oldest_ms, oldest);
	CHECK(st.disk_bytes > 4096);
}

TEST(abort_undoes_all)
{
	struct store *s = kit_open(harness_tmpdir());
	struct store_file f[3] = { 0 }, got;
	struct store_record r;
	size_t len;
	bool added;
	char val[8];

	CHECK(s != NULL);
	add(s, &f[0], 0, 11, 20);
	add(s, &f[1], 1, 21, 30);
	check_stat(s, 2, 2, 20, 1700000000011u);
	CHECK_U64(store_begin(s), STORE_OK);
	f[2] = kit_file(2);
	CHECK_U64(store_file_put(s, &f[2]), STORE_OK);
	r = kit_record(data, 2, 1, 100);
	CHECK_U64(store_append(s, f[2].id, &r, &added), STORE_OK);
	CHECK_U64(store_trim(s, f[0].id, 15), STORE_OK);
	CHECK_U64(store_file_remove(s, f[1].id), STORE_OK);
	CHECK_U64(store_put(s, STORE_META, "k", 1, "v", 1), STORE_OK);
	CHECK_U64(store_file_get(s, f[0].id, &got), STORE_OK);
	CHECK_U64(got.backlog_records, 5);
	store_abort(s);
	check_stat(s, 2, 2, 20, 1700000000011u);
	check_counters(s, f[0].id, 0);
	check_counters(s, f[1].id, 1);
	CHECK_U64(store_file_get(s, f[2].id, &got), STORE_NOTFOUND);
	len = sizeof(val);
	CHECK_U64(store_get(s, STORE_META, "k", 1, val, &len), STORE_NOTFOUND);
	/* the oldest follows what is trimmed */
	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_trim(s, f[0].id, 20), STORE_OK);
	CHECK_U64(store_commit(s, false), STORE_OK);
	check_stat(s, 2, 1, 10, 1700000000021u);
	store_close(s);
}

/* Files of an odd number are share 3. */
/* arg: the second share of the odd ones, NULL: the last. */
static void
odd_share(void *arg, const struct store_file *f, unsigned share[STORE_SHARES_OF_FILE])
{
	bool odd = f->file_ident % 2 == 1;

	share[0] = odd ? 3 : 0;
	share[1] = odd && arg != NULL ? *(const unsigned *)arg : STORE_SHARES_MAX - 1;
}

static void
check_share(struct store *s, unsigned share, uint64_t files, uint64_t records, uint64_t oldest)
{
	struct store_share all[STORE_SHARES_MAX];

	store_shares(s, all);
	CHECK_U64(all[share].files, files);
	CHECK_U64(all[share].records, records);
	CHECK_U64(all[share].oldest_ms, oldest);
	CHECK((all[share].bytes > 0) == (records > 0));
}

/* What was there when shares were made, what comes, what goes, what an abort undoes, and what is found again. */
TEST(shares)
{
	const char *dir = harness_tmpdir();
	struct store *s = kit_open(dir);
	struct store_file f[3] = { 0 };
	unsigned other = 70;

	CHECK(s != NULL);
	add(s, &f[0], 0, 11, 20);
	add(s, &f[1], 1, 21, 25);
	check_share(s, 0, 2, 15, 1700000000011u);
	check_share(s, 1, 2, 15, 1700000000011u);
	CHECK_U64(store_share_by(s, odd_share, NULL), STORE_OK);
	check_share(s, 0, 1, 10, 1700000000011u);
	check_share(s, 3, 1, 5, 1700000000021u);
	check_share(s, STORE_SHARES_MAX - 1, 2, 15, 1700000000011u);
	check_share(s, 1, 0, 0, 0);
	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_share_by(s, odd_share, NULL), STORE_INVALID);
	CHECK_U64(store_trim(s, f[1].id, 100), STORE_OK);
	store_abort(s);
	check_share(s, 3, 1, 5, 1700000000021u);
	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_trim(s, f[1].id, 100), STORE_OK);
	CHECK_U64(store_commit(s, false), STORE_OK);
	check_share(s, 3, 0, 0, 0);
	check_share(s, 0, 1, 10, 1700000000011u);
	add(s, &f[1], 1, 26, 27); /* one that had none left */
	check_share(s, 3, 1, 2, 1700000000026u);
	add(s, &f[2], 3, 31, 33);
	check_share(s, 3, 2, 5, 1700000000026u);
	store_close(s);
	s = kit_open(dir);
	CHECK(s != NULL);
	CHECK_U64(store_share_by(s, odd_share, NULL), STORE_OK);
	check_share(s, 3, 2, 5, 1700000000026u);
	check_share(s, 0, 1, 10, 1700000000011u);
	check_share(s, other, 0, 0, 0);
	CHECK_U64(store_share_by(s, odd_share, &other), STORE_OK); /* shared anew */
	check_share(s, other, 2, 5, 1700000000026u);
	check_share(s, 3, 2, 5, 1700000000026u);
	check_share(s, STORE_SHARES_MAX - 1, 1, 10, 1700000000011u);
	store_close(s);
}

static uint64_t
aside(struct store *s)
{
	struct store_stat st;

	return store_stat(s, &st) == STORE_OK ? st.files_aside : UINT64_MAX;
}

/* With a backlog and without, over an abort, a reopening, a removal. */
TEST(files_set_aside_are_counted)
{
	const char *dir = harness_tmpdir();
	struct store *s = kit_open(dir);
	struct store_file f[2] = { 0 };

	CHECK(s != NULL);
	add(s, &f[0], 0, 11, 20);
	f[1] = kit_file(1);
	f[1].state = STORE_FILE_REJECTED;
	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_file_put(s, &f[1]), STORE_OK);
	CHECK_U64(store_commit(s, true), STORE_OK);
	CHECK_U64(aside(s), 1);
	check_stat(s, 2, 1, 10, 1700000000011u);
	CHECK_U64(store_begin(s), STORE_OK);
	f[0].state = STORE_FILE_LOST;
	CHECK_U64(store_file_put(s, &f[0]), STORE_OK);
	store_abort(s);
	CHECK_U64(aside(s), 1);
	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_file_put(s, &f[0]), STORE_OK);
	CHECK_U64(store_trim(s, f[0].id, 20), STORE_OK);
	CHECK_U64(store_commit(s, true), STORE_OK);
	CHECK_U64(aside(s), 2);
	store_close(s);
	CHECK((s = kit_open(dir)) != NULL);
	CHECK_U64(aside(s), 2);
	CHECK_U64(store_begin(s), STORE_OK);
	f[0].state = STORE_FILE_OK;
	CHECK_U64(store_file_put(s, &f[0]), STORE_OK);
	CHECK_U64(store_file_remove(s, f[1].id), STORE_OK);
	CHECK_U64(store_commit(s, true), STORE_OK);
	CHECK_U64(aside(s), 0);
	check_stat(s, 1, 0, 0, 0);
	store_close(s);
}

TEST(reopen)
{
	const char *dir = harness_tmpdir();
	struct store *s;
	struct store_file f[4] = { 0 };

	for (uint64_t round = 0; round < 4; round++) {
		CHECK((s = kit_open(dir)) != NULL);
		for (uint64_t n = 0; n < 4; n++) {
			if (round > 0)
				check_counters(s, f[n].id, n);
			add(s, &f[n], n, round * 25 + 1, round * 25 + 25);
		}
		check_stat(s, 4, 4, 100 * (round + 1), 1700000000001u);
		if (round == 2) {
			/* a transaction left open is as good as never begun */
			CHECK_U64(store_begin(s), STORE_OK);
			CHECK_U64(store_trim(s, f[0].id, 50), STORE_OK);
		}
		store_close(s);
	}
}

static bool
write_inside(void *arg, const struct store_record *r)
{
	struct {
		struct store *s;
		uint64_t id;
	} *a = arg;
	struct store_file f;
	bool added, ok;

	ok = store_append(a->s, a->id, r, &added) == STORE_INVALID && store_trim(a->s, a->id, 1) == STORE_INVALID &&
	     store_begin(a->s) == STORE_INVALID && store_commit(a->s, true) == STORE_INVALID &&
	     store_checkpoint(a->s, true) == STORE_INVALID && store_file_get(a->s, a->id, &f) == STORE_OK;
	if (!ok)
		a->s = NULL;
	return ok;
}

TEST(misuse)
{
	struct store *s = kit_open(harness_tmpdir());
	struct store_file f = { 0 }, g = kit_file(5);
	struct store_record r = kit_record(data, 1, 2, 10);
	struct {
		struct store *s;
		uint64_t id;
	} inside;
	struct store_options none = { 0 };
	struct store *no;
	char why[8];
	bool added;

	CHECK_U64(store_open(&none, &no, why, sizeof(why)), STORE_INVALID);
	CHECK(no == NULL);
	CHECK(s != NULL);
	add(s, &f, 1, 1, 1);
	/* without a transaction */
	CHECK_U64(store_append(s, f.id, &r, &added), STORE_INVALID);
	CHECK_U64(store_trim(s, f.id, 1), STORE_INVALID);
	CHECK_U64(store_file_put(s, &g), STORE_INVALID);
	CHECK_U64(store_file_remove(s, f.id), STORE_INVALID);
	CHECK_U64(store_put(s, STORE_META, "a", 1, "b", 1), STORE_INVALID);
	CHECK_U64(store_del(s, STORE_META, "a", 1), STORE_INVALID);
	CHECK_U64(store_commit(s, true), STORE_INVALID);
	store_abort(s); /* nothing to do */
	/* one in another, a checkpoint in one */
	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_begin(s), STORE_INVALID);
	CHECK_U64(store_checkpoint(s, true), STORE_INVALID);
	/* bad arguments */
	r.client_version = 0;
	CHECK_U64(store_append(s, f.id, &r, &added), STORE_INVALID);
	r.client_version = 2;
	r.data = NULL;
	CHECK_U64(store_append(s, f.id, &r, &added), STORE_INVALID);
	g.state = (enum store_file_state)99;
	CHECK_U64(store_file_put(s, &g), STORE_INVALID);
	/* writing under a walk */
	inside.s = s;
	inside.id = f.id;
	CHECK_U64(store_read(s, f.id, 0, UINT64_MAX, write_inside, &inside, NULL), STORE_OK);
	CHECK(inside.s == s);
	CHECK_U64(store_commit(s, true), STORE_OK);
	store_close(s);
	store_close(NULL);
	for (int err = STORE_OK; err <= STORE_INVALID; err++)
		CHECK(store_strerror((enum store_err)err)[0] != '\0');
}

/* ---- small values ---- */

static bool
join_values(void *arg, const void *key, size_t key_len, const void *val, size_t val_len)
{
	char *out = arg;

	sprintf(out + strlen(out), "%.*s=%.*s;", (int)key_len, (const char *)key, (int)val_len, (const char *)val);
	return true;
}

TEST(values)
{
	const char *dir = harness_tmpdir();
	struct store *s = kit_open(dir);
	static uint8_t big[STORE_VALUE_MAX + 1], got[STORE_VALUE_MAX];
	char all[256] = "";
	size_t len;

	CHECK(s != NULL);
	memset(big, 'v', sizeof(big));
	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_put(s, STORE_META, "b", 1, "2", 1), STORE_OK);
	CHECK_U64(store_put(s, STORE_META, "a", 1, "one", 3), STORE_OK);
	CHECK_U64(store_put(s, STORE_META, "b", 1, "two", 3), STORE_OK);
	CHECK_U64(store_put(s, STORE_META, "c", 1, "", 0), STORE_OK);
	CHECK_U64(store_put(s, STORE_TOKENS, "\0a", 2, "token", 5), STORE_OK);
	CHECK_U64(store_put(s, STORE_TOKENS, big, STORE_KEY_MAX, big, STORE_VALUE_MAX), STORE_OK);
	CHECK_U64(store_put(s, STORE_META, "\0format", 7, "x", 1), STORE_INVALID);
	CHECK_U64(store_put(s, STORE_META, "", 0, "x", 1), STORE_INVALID);
	CHECK_U64(store_put(s, STORE_META, big, STORE_KEY_MAX + 1, "x", 1), STORE_INVALID);
	CHECK_U64(store_put(s, STORE_META, "d", 1, big, STORE_VALUE_MAX + 1), STORE_INVALID);
	CHECK_U64(store_put(s, (enum store_table)7, "d", 1, "x", 1), STORE_INVALID);
	CHECK_U64(store_commit(s, true), STORE_OK);
	store_close(s);
	CHECK((s = kit_open(dir)) != NULL);
	/* only the caller's own, in the order of keys */
	CHECK_U64(store_each(s, STORE_META, join_values, all), STORE_OK);
	CHECK_STR(all, "a=one;b=two;c=;");
	len = sizeof(got);
	CHECK_U64(store_get(s, STORE_TOKENS, big, STORE_KEY_MAX, got, &len), STORE_OK);
	CHECK_MEM(got, len, big, STORE_VALUE_MAX);
	len = 2; /* too little room: the length is told */
	CHECK_U64(store_get(s, STORE_META, "a", 1, got, &len), STORE_INVALID);
	CHECK_U64(len, 3);
	len = sizeof(got);
	CHECK_U64(store_get(s, STORE_META, "\0format", 7, got, &len), STORE_INVALID);
	CHECK_U64(store_get(s, STORE_META, "zz", 2, got, &len), STORE_NOTFOUND);
	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_del(s, STORE_META, "a", 1), STORE_OK);
	CHECK_U64(store_del(s, STORE_META, "a", 1), STORE_NOTFOUND);
	CHECK_U64(store_commit(s, true), STORE_OK);
	len = sizeof(got);
	CHECK_U64(store_get(s, STORE_META, "a", 1, got, &len), STORE_NOTFOUND);
	store_close(s);
}
