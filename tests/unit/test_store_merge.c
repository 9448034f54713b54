/* Pieces of the backlog, and what is remembered of changesets that were pre-merged: by hand and at random, against a model. */
#include <stdlib.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/storekit.h"

static uint8_t data[KIT_DATA_MAX];

enum { LEN = 100, NMAX = 2000 };

/* What version v was sent as, and what may be held of it: whole, its first half, or nothing. */
enum held { WHOLE, HALF, GONE };

static void
fill(struct store *s, struct store_file *f, uint64_t n, uint64_t per_commit)
{
	bool added;

	CHECK(s != NULL);
	*f = kit_file(1);
	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_file_put(s, f), STORE_OK);
	for (uint64_t v = 1; v <= n; v++) {
		struct store_record r = kit_record(data, 1, v, LEN);

		CHECK_U64(store_append(s, f->id, &r, &added), STORE_OK);
		if (v % per_commit == 0) {
			CHECK_U64(store_commit(s, true), STORE_OK);
			CHECK_U64(store_begin(s), STORE_OK);
		}
	}
	CHECK_U64(store_commit(s, true), STORE_OK);
}

static struct store *
filled(const char *dir, struct store_file *f, uint64_t n, uint64_t per_commit)
{
	struct store *s = kit_open(dir);

	fill(s, f, n, per_commit);
	return s;
}

/* A pass from the newest to the oldest that makes of each version what become says. */
static void
pass(struct store *s, uint64_t id, enum held (*become)(uint64_t v, void *arg), void *arg)
{
	struct store_piece p = { 0 };
	uint64_t below = UINT64_MAX;
	enum store_err err;

	CHECK_U64(store_begin(s), STORE_OK);
	while ((err = store_piece_read(s, id, below, &p)) == STORE_OK) {
		for (size_t i = p.n; i-- > 0;) {
			enum held h = become(p.entry[i].r.client_version, arg);

			if (h == GONE)
				store_piece_empty(&p, i);
			else if (h == HALF && p.entry[i].r.len == LEN)
				store_piece_replace(&p, i, p.entry[i].r.data, LEN / 2);
		}
		below = p.first;
		CHECK_U64(store_piece_write(s, &p), STORE_OK);
	}
	CHECK_U64(err, STORE_NOTFOUND);
	CHECK_U64(store_commit(s, false), STORE_OK);
	store_piece_free(&p);
}

struct model {
	enum held held[NMAX + 1];
	uint64_t first, n; /* versions first..n are not trimmed */
	uint64_t oldest;   /* whose time the file has: the first that was held after the last trim */
	uint64_t seen, last;
	bool wrong;
};

static bool
see(void *arg, const struct store_record *r)
{
	struct model *m = arg;

	while (++m->last < r->client_version)
		m->wrong |= m->last >= m->first && m->held[m->last] != GONE;
	m->wrong |= r->client_version < m->first || m->held[r->client_version] == GONE ||
		    r->len != (m->held[r->client_version] == WHOLE ? LEN : LEN / 2);
	m->seen += r->len;
	return true;
}

/* The store holds what the model says, counts it, and knows everything that was sent. */
static void
check(struct store *s, uint64_t id, struct model *m)
{
	struct store_file f;
	struct store_record r;
	uint64_t records = 0, bytes = 0;

	m->seen = m->last = 0;
	CHECK_U64(store_read(s, id, 0, UINT64_MAX, see, m, NULL), STORE_OK);
	for (uint64_t v = m->first; v <= m->n; v++) {
		records += m->held[v] != GONE;
		bytes += m->held[v] == WHOLE ? LEN : m->held[v] == HALF ? LEN / 2 : 0;
		r = kit_record(data, 1, v, LEN);
		CHECK_U64(store_compare(s, id, &r), STORE_OK);
		r.origin_timestamp++;
		CHECK_U64(store_compare(s, id, &r), STORE_DIFFERS);
	}
	CHECK(!m->wrong);
	CHECK_U64(m->seen, bytes);
	CHECK_U64(store_file_get(s, id, &f), STORE_OK);
	CHECK_U64(f.backlog_records, records);
	CHECK_U64(f.backlog_bytes, bytes);
	CHECK_U64(f.oldest_ms, 1700000000000u + m->oldest);
}

static enum held
by_model(uint64_t v, void *arg)
{
	return ((struct model *)arg)->held[v];
}

static void
model_is(struct model *m, uint64_t n)
{
	memset(m, 0, sizeof(*m));
	m->first = m->oldest = 1;
	m->n = n;
}

/* Runs and single ones; all, some and none of a record go. */
TEST(passes)
{
	static struct model m;

	for (uint64_t per_commit = 1; per_commit <= 1000; per_commit *= 10) {
		const char *dir = harness_tmpdir();
		struct store_file f;
		struct store *s = filled(dir, &f, 1000, per_commit);

		model_is(&m, 1000);
		for (uint64_t v = 1; v < 1000; v++)
			m.held[v] = v % 3 == 0 ? HALF : v % 3 == 1 || v < 300 ? GONE : WHOLE;
		pass(s, f.id, by_model, &m);
		check(s, f.id, &m);
		for (uint64_t v = 1; v < 1000; v++)
			m.held[v] = m.held[v] == HALF && v % 2 == 0 ? GONE : m.held[v];
		pass(s, f.id, by_model, &m);
		store_close(s);
		CHECK((s = kit_open(dir)) != NULL);
		check(s, f.id, &m);
		store_close(s);
	}
}

static uint64_t
rnd(uint64_t *state, uint64_t n)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return (*state >> 33) % n;
}

/* Appends, passes, trims and reopening in any order. */
TEST(random)
{
	static struct model m;

	for (uint64_t seed = 1; seed <= 20; seed++) {
		const char *dir = harness_tmpdir();
		uint64_t state = seed;
		struct store_file f;
		struct store *s = filled(dir, &f, 10, 3);
		bool added;

		model_is(&m, 10);
		for (int step = 0; step < 30; step++) {
			uint64_t more = rnd(&state, 60), upto;

			CHECK_U64(store_begin(s), STORE_OK);
			for (; more > 0 && m.n < NMAX; more--) {
				struct store_record r = kit_record(data, 1, ++m.n, LEN);

				CHECK_U64(store_append(s, f.id, &r, &added), STORE_OK);
				CHECK(added);
				/* and once more, what may be merged already */
				r = kit_record(data, 1, m.first + rnd(&state, m.n - m.first + 1), LEN);
				CHECK_U64(store_append(s, f.id, &r, &added), STORE_OK);
				CHECK(!added);
			}
			CHECK_U64(store_commit(s, true), STORE_OK);
			for (uint64_t v = m.first; v < m.n; v++)
				m.held[v] += m.held[v] < GONE && rnd(&state, 5) == 0;
			pass(s, f.id, by_model, &m);
			if (rnd(&state, 3) == 0) {
				upto = m.first + rnd(&state, (m.n - m.first) / 2 + 1);
				CHECK_U64(store_begin(s), STORE_OK);
				CHECK_U64(store_trim(s, f.id, upto), STORE_OK);
				CHECK_U64(store_commit(s, false), STORE_OK);
				m.first = m.oldest = upto + 1;
				while (m.held[m.oldest] == GONE)
					m.oldest++;
			}
			if (rnd(&state, 4) == 0) {
				store_close(s);
				CHECK((s = kit_open(dir)) != NULL);
			}
			check(s, f.id, &m);
		}
		store_close(s);
		if (harness_failed())
			printf("# seed %llu\n", (unsigned long long)seed);
	}
}

/* What was trimmed is forgotten, to the version: a device may use such a number again after its backlog was discarded. */
TEST(forgotten)
{
	struct store_file f;
	struct store *s = filled(harness_tmpdir(), &f, 300, 100);
	struct store_originals_place at;
	struct store_original o;
	uint8_t rec[STORE_PACK_ORIGINALS_MAX];
	static struct model m;
	size_t len;

	model_is(&m, 300);
	for (uint64_t v = 1; v < 300; v++)
		m.held[v] = GONE;
	pass(s, f.id, by_model, &m);
	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_trim(s, f.id, 200), STORE_OK);
	CHECK_U64(store_original_find(s, f.id, 200, &o), STORE_NOTFOUND);
	CHECK_U64(store_original_find(s, f.id, 201, &o), STORE_OK);
	CHECK(o.gone);
	CHECK_U64(store_trim(s, f.id, 300), STORE_OK);
	CHECK_U64(store_commit(s, true), STORE_OK);
	CHECK_U64(store_originals_after(s, 0, 0, rec, &len, &at), STORE_NOTFOUND);
	store_close(s);
}

/* Upstream has acknowledged the oldest change, which had been merged away, so there was nothing to remove: its time goes all the same. */
TEST(oldest_was_merged_away)
{
	struct store_file f;
	struct store *s = filled(harness_tmpdir(), &f, 10, 10);
	static struct model m;

	model_is(&m, 10);
	m.held[1] = m.held[2] = GONE;
	pass(s, f.id, by_model, &m);
	check(s, f.id, &m);
	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_trim(s, f.id, 1), STORE_OK);
	CHECK_U64(store_commit(s, false), STORE_OK);
	m.first = 2;
	m.oldest = 3;
	check(s, f.id, &m);
	store_close(s);
}

/* An aborted pass was none. */
TEST(aborted)
{
	struct store_file f;
	struct store *s = filled(harness_tmpdir(), &f, 50, 10);
	struct store_piece p = { 0 };
	static struct model m;

	model_is(&m, 50);
	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_piece_read(s, f.id, UINT64_MAX, &p), STORE_OK);
	CHECK_U64(p.n, 10);
	CHECK_U64(p.first, 41);
	CHECK_U64(p.last, 50);
	store_piece_empty(&p, 3);
	CHECK_U64(store_piece_write(s, &p), STORE_OK);
	store_abort(s);
	store_piece_free(&p);
	check(s, f.id, &m);
	store_close(s);
}
