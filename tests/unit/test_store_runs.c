/* Runs: several changesets in one record must look like as many records.  Random walks of appends, trims, reads and compares over a few
 * files, commits and aborts between, against a model that is an array. */
#include <stdlib.h>

#include "tests/harness.h"
#include "tests/storekit.h"

enum { NFILES = 3, NVERSIONS = 400, STEPS = 1500 };

static uint8_t data[KIT_DATA_MAX];

struct model {
	bool held[NFILES][NVERSIONS];
};

static uint64_t
rnd(uint64_t *state, uint64_t below)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return (*state >> 33) % below;
}

struct walk {
	const struct model *m;
	uint64_t n, last, bytes, count;
	bool wrong;
};

/* The next one that the model holds must be this. */
static bool
see(void *arg, const struct store_record *r)
{
	struct walk *w = arg;

	for (uint64_t v = w->last + 1; v < r->client_version && v < NVERSIONS; v++)
		w->wrong |= w->m->held[w->n][v];
	if (r->client_version >= NVERSIONS || r->client_version <= w->last || !w->m->held[w->n][r->client_version] ||
	    !kit_same(r, w->n, kit_len(w->n, r->client_version)))
		w->wrong = true;
	w->last = r->client_version;
	w->bytes += r->len;
	w->count++;
	return !w->wrong;
}

/* All of file n, read in windows, is what the model holds, and so are its counters. */
static void
check_file(struct store *s, uint64_t id, const struct model *m, uint64_t n, uint64_t max_bytes)
{
	struct walk w = { .m = m, .n = n };
	struct store_file f;
	uint64_t before;

	do {
		before = w.count;
		CHECK_U64(store_read(s, id, w.last, max_bytes, see, &w, NULL), STORE_OK);
		CHECK(!w.wrong);
	} while (w.count > before);
	for (uint64_t v = w.last + 1; v < NVERSIONS; v++)
		CHECK(!m->held[n][v]);
	CHECK_U64(store_file_get(s, id, &f), STORE_OK);
	CHECK_U64(f.backlog_records, w.count);
	CHECK_U64(f.backlog_bytes, w.bytes);
}

static void
append(struct store *s, uint64_t id, struct model *m, uint64_t n, uint64_t v)
{
	struct store_record r = kit_record(data, n, v, kit_len(n, v));
	bool added;

	CHECK_U64(store_append(s, id, &r, &added), STORE_OK);
	CHECK(added == !m->held[n][v]);
	m->held[n][v] = true;
}

static void
step(struct store *s, const uint64_t *id, struct model *m, uint64_t *seed)
{
	uint64_t n = rnd(seed, NFILES), v = rnd(seed, NVERSIONS - 1) + 1, what = rnd(seed, 10), newest = NVERSIONS - 1;
	struct store_record r = kit_record(data, n, v, kit_len(n, v));

	while (newest > 0 && !m->held[n][newest])
		newest--;
	if (what < 5) { /* as the relay does: a few behind the newest */
		for (uint64_t i = newest + 1 + rnd(seed, 3); i < NVERSIONS && i < newest + 20; i += 1 + rnd(seed, 2))
			append(s, id[n], m, n, i);
	} else if (what == 5) { /* anywhere */
		append(s, id[n], m, n, v);
	} else if (what == 6) {
		CHECK_U64(store_compare(s, id[n], &r), m->held[n][v] ? STORE_OK : STORE_NOTFOUND);
	} else if (what == 7) {
		v = newest > 30 ? newest - rnd(seed, 30) : v;
		CHECK_U64(store_trim(s, id[n], v), STORE_OK);
		memset(m->held[n], 0, v + 1);
	} else {
		check_file(s, id[n], m, n, what == 8 ? UINT64_MAX : rnd(seed, 5000));
	}
}

static void
random_walk(uint64_t seed)
{
	const char *dir = harness_tmpdir();
	static struct model now, kept;
	struct store *s = kit_open(dir);
	uint64_t id[NFILES];

	memset(&kept, 0, sizeof(kept));
	CHECK(s != NULL);
	CHECK_U64(store_begin(s), STORE_OK);
	for (uint64_t n = 0; n < NFILES; n++) {
		struct store_file f = kit_file(n);

		CHECK_U64(store_file_put(s, &f), STORE_OK);
		id[n] = f.id;
	}
	CHECK_U64(store_commit(s, true), STORE_OK);
	CHECK_U64(store_begin(s), STORE_OK);
	now = kept;
	for (int i = 0; i < STEPS && !harness_failed(); i++) {
		uint64_t end = rnd(&seed, 12);

		step(s, id, &now, &seed);
		if (end > 2)
			continue;
		if (end > 0) {
			CHECK_U64(store_commit(s, false), STORE_OK);
			kept = now;
		} else {
			store_abort(s);
			now = kept;
		}
		if (rnd(&seed, 20) == 0) {
			store_close(s);
			CHECK((s = kit_open(dir)) != NULL);
		}
		for (uint64_t n = 0; n < NFILES; n++)
			check_file(s, id[n], &kept, n, UINT64_MAX);
		CHECK_U64(store_begin(s), STORE_OK);
	}
	store_close(s);
}

TEST(random_walk_1)
{
	random_walk(1);
}

TEST(random_walk_2)
{
	random_walk(2);
}

TEST(random_walk_3)
{
	random_walk(3);
}

/* A window ends between runs if it can, so that what upstream acknowledges is whole records. */
TEST(windows_end_at_runs)
{
	struct store *s = kit_open(harness_tmpdir());
	static struct model m;
	struct walk w = { .m = &m };
	struct store_file f = kit_file(0);

	CHECK(s != NULL);
	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_file_put(s, &f), STORE_OK);
	for (uint64_t v = 1; v <= 200; v++) {
		append(s, f.id, &m, 0, v);
		if (v % 10 == 0) {
			CHECK_U64(store_commit(s, false), STORE_OK);
			CHECK_U64(store_begin(s), STORE_OK);
		}
	}
	CHECK_U64(store_read(s, f.id, 0, 50000, see, &w, NULL), STORE_OK);
	CHECK(!w.wrong);
	CHECK(w.count > 10 && w.count < 200);
	CHECK_U64(w.last % 10, 0);
	store_abort(s);
	store_close(s);
}

/* A file's bound stops that file only. */
TEST(bound_per_file)
{
	struct store_options opt = kit_options(harness_tmpdir());
	struct store_record r = kit_record(data, 0, 1, 600);
	struct store_file a = kit_file(0), b = kit_file(1);
	struct store *s;
	char why[256];
	bool added;

	opt.max_bytes_per_file = 1000;
	CHECK_U64(store_open(&opt, &s, why, sizeof(why)), STORE_OK);
	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_file_put(s, &a), STORE_OK);
	CHECK_U64(store_file_put(s, &b), STORE_OK);
	CHECK_U64(store_append(s, a.id, &r, &added), STORE_OK);
	r.client_version = 2;
	CHECK_U64(store_append(s, a.id, &r, &added), STORE_FULL);
	CHECK_U64(store_append(s, b.id, &r, &added), STORE_OK);
	store_set_bounds(s, 1200, 0, 0);
	CHECK_U64(store_append(s, a.id, &r, &added), STORE_FULL);
	store_set_bounds(s, 0, 1200, 0);
	CHECK_U64(store_append(s, a.id, &r, &added), STORE_OK);
	/* no disk has that much room */
	store_set_bounds(s, 0, 0, UINT64_MAX / 4);
	r.client_version = 3;
	CHECK_U64(store_append(s, a.id, &r, &added), STORE_FULL);
	CHECK_U64(store_commit(s, true), STORE_OK);
	store_close(s);
}
