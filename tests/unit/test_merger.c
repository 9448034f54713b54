/* Tests relay/merger, the passes of pre-merge over a backlog in the store: with commits in between, with queries in the way, ended by a kill
 * after each slice, in vain on a full disk. What a pass may drop is the business of test_premerge and test_merge. */
#include <errno.h>
#include <event2/event.h>
#include <stdatomic.h>
#include <unistd.h>

#include "buffer/hooks.h"
#include "tests/harness.h"
#include "tests/peer/changeset_maker.h"
#include "tests/peer/content.h"
#include "tests/storekit.h"

#include "relay/journal.h"
#include "relay/merger.h"
#include "relay/spool.h"

enum { PER_COMMIT = 100 };

static void
append(struct store *s, uint64_t id, uint64_t version, const struct changeset *c)
{
	struct store_record r = kit_record(NULL, 1, version, 0);
	bool added;

	r.server_version = 7; /* one base: one run */
	r.data = c->buf;
	r.len = (uint32_t)c->len;
	CHECK_U64(store_append(s, id, &r, &added), STORE_OK);
}

/* Of file number `file', version 1 makes an object; from then on one field of it is written again and again, a second one with every tenth
 * version. A query stands behind version `query'; 0: none. */
static void
fill(struct store *s, uint64_t file, uint64_t n, uint64_t query, uint64_t *id)
{
	struct store_file f = kit_file(file);
	struct store_query q = { .query_version = 2, .place = query, .text = (const uint8_t *)"{}", .len = 2 };

	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_file_put(s, &f), STORE_OK);
	for (uint64_t v = 1; v <= n; v++) {
		struct changeset_path p = { .table = "T", .key = 1, .field = v % 10 == 0 ? "y" : "x" };
		struct changeset_payload value = { .type = CHANGESET_INT, .integer = (int64_t)v };
		struct changeset c;

		changeset_init(&c);
		if (v == 1)
			changeset_create_object(&c, "T", 1);
		else
			changeset_update(&c, &p, &value, 0);
		append(s, f.id, v, &c);
		changeset_free(&c);
		if (v == query)
			CHECK_U64(store_query_put(s, f.id, &q), STORE_OK);
		if (v % PER_COMMIT == 0) {
			CHECK_U64(store_commit(s, false), STORE_OK);
			CHECK_U64(store_begin(s), STORE_OK);
		}
	}
	CHECK_U64(store_file_get(s, f.id, &f), STORE_OK);
	f.held_client_version = n;
	CHECK_U64(store_file_put(s, &f), STORE_OK);
	CHECK_U64(store_commit(s, true), STORE_OK);
	*id = f.id;
}

struct held {
	struct content content;
	uint64_t versions; /* their sum */
	unsigned n;
	const char *fault;
};

static bool
see(void *arg, const struct store_record *r)
{
	struct held *h = arg;
	const char *fault = content_apply(&h->content, r->data, r->len);

	h->n++;
	h->versions += r->client_version;
	if (h->fault == NULL)
		h->fault = fault;
	return true;
}

/* What the backlog comes to; *crc: all of it. */
static void
look(struct store *s, uint64_t id, struct held *h, uint32_t *crc)
{
	memset(h, 0, sizeof(*h));
	CHECK_U64(store_read(s, id, 0, UINT64_MAX, see, h, NULL), STORE_OK);
	CHECK(h->fault == NULL);
	*crc = content_crc(&h->content);
	content_free(&h->content);
}

static void
run_pass(struct store *s, uint64_t id)
{
	struct merger *m = merger_new();
	bool given_up;

	CHECK(merger_want(m, s, id));
	while (merger_busy(m)) {
		(void)merger_slice(m, s, 1000, &given_up);
		CHECK(!given_up);
	}
	merger_free(m);
}

/* A pass that is ended after so many slices, the daemon killed there and started anew: each time the backlog comes to the same, and the pass of
 * the last daemon leaves what one without any trouble leaves. */
TEST(killed_after_each_slice)
{
	struct store *s = kit_open(harness_tmpdir()), *calm = kit_open(harness_tmpdir());
	uint64_t id, calm_id;
	struct held h, calmly;
	uint32_t want, crc;

	fill(s, 1, 600, 0, &id);
	fill(calm, 1, 600, 0, &calm_id);
	look(s, id, &h, &want);
	CHECK_U64(h.n, 600);
	for (unsigned slices = 0; slices < 8; slices++) {
		struct merger *m = merger_new();
		bool given_up;

		CHECK(merger_want(m, s, id));
		for (unsigned i = 0; i < slices && merger_busy(m); i++)
			(void)merger_slice(m, s, 0, &given_up);
		merger_free(m);
		look(s, id, &h, &crc);
		CHECK_U64(crc, want);
	}
	run_pass(s, id);
	run_pass(calm, calm_id);
	look(s, id, &h, &crc);
	CHECK_U64(h.n, 3); /* the object, and the last write of each field */
	CHECK_U64(crc, want);
	look(calm, calm_id, &calmly, &crc);
	CHECK_U64(h.n, calmly.n);
	CHECK_U64(h.versions, calmly.versions);
	store_close(s);
	store_close(calm);
}

/* Upstream answers a query with what it had integrated at its place: nothing before it may count on what stands behind it. */
TEST(query_is_a_barrier)
{
	struct store *s = kit_open(harness_tmpdir());
	struct held h;
	uint32_t crc;
	uint64_t id;

	fill(s, 1, 250, 125, &id);
	run_pass(s, id);
	look(s, id, &h, &crc);
	CHECK_U64(h.n, 5);
	CHECK_U64(h.versions, 1 + 120 + 125 + 249 + 250);
	store_close(s);
}

/* ---- commits in between ---- */

struct rig {
	struct event_base *base;
	struct spool *spool;
	struct store_file file;
	unsigned done;
	bool merged;
};

static void
changed(void *arg)
{
	(void)arg;
}

static void
op_done(void *arg, struct spool_op *op)
{
	struct rig *g = arg;

	CHECK_U64(op->err, STORE_OK);
	g->file = *op->file;
	g->done++;
}

static void
note(void *arg, struct spool_op *op)
{
	(void)op;
	*(bool *)arg = true;
}

static void
await(struct rig *g)
{
	for (unsigned before = g->done; g->done == before;)
		event_base_loop(g->base, EVLOOP_ONCE);
}

static void
find(struct rig *g)
{
	spool_find(g->spool, &g->file, op_done, g);
	await(g);
}

static void
commit(struct rig *g)
{
	spool_update(g->spool, &g->file, op_done, g);
	await(g);
}

static void
rig_open(struct rig *g, struct store *s)
{
	char journal[200], why[512];

	snprintf(journal, sizeof(journal), "%s/j", harness_tmpdir());
	g->base = event_base_new();
	CHECK((g->spool = spool_new(g->base, s, journal_open(journal, why, sizeof(why)), changed, NULL)) != NULL);
}

static void
rig_close(struct rig *g)
{
	spool_free(g->spool);
	event_base_free(g->base);
}

/* A pass of 20,000 changesets, in slices of a millisecond: whoever commits meanwhile waits for a slice, not for the pass. Some ten commits, one
 * after the other, are done before the pass is; one will do on a machine that has no time for us. */
TEST(commits_go_on_during_a_pass)
{
	struct rig g = { .file = kit_file(1) };
	unsigned commits = 0;
	struct store *s;
	uint64_t id;

	CHECK((s = kit_open(harness_tmpdir())) != NULL);
	fill(s, 1, 20000, 0, &id);
	rig_open(&g, s);
	find(&g);
	CHECK_U64(g.file.backlog_records, 20000);
	spool_merging(g.spool, false, 1);
	spool_merge(g.spool, id, note, &g.merged);
	for (commit(&g); !g.merged; commit(&g))
		commits++;
	printf("# %u commits during the pass\n", commits);
	CHECK(commits >= 1);
	find(&g);
	CHECK_U64(g.file.backlog_records, 3);
	rig_close(&g);
}

/* Upstream has all of a file that waits in line for its pass: nobody waits for that any more, and the others have theirs. */
TEST(drained_while_in_line)
{
	struct rig g = { .file = kit_file(1) };
	bool others = false;
	struct store *s;
	uint64_t id, other;

	CHECK((s = kit_open(harness_tmpdir())) != NULL);
	fill(s, 1, 200, 0, &id);
	fill(s, 2, 20000, 0, &other);
	rig_open(&g, s);
	find(&g);
	spool_merging(g.spool, false, 1);
	spool_merge(g.spool, other, note, &others);
	commit(&g); /* by now that pass is under way */
	spool_merge(g.spool, id, note, &g.merged);
	commit(&g);
	g.file.upstream_client_version = 200;
	spool_trim(g.spool, &g.file, 200, op_done, &g);
	await(&g);
	while (!g.merged || !others)
		event_base_loop(g.base, EVLOOP_ONCE);
	find(&g);
	CHECK_U64(g.file.backlog_records, 0);
	rig_close(&g);
}

static atomic_bool full;

static ssize_t
full_write(int fd, const void *buf, size_t len)
{
	if (!atomic_load(&full))
		return write(fd, buf, len);
	errno = ENOSPC;
	return -1;
}

/* The disk has no room for what a pass found. It is given up, and not begun again and again: replay, which waits for it, is what frees the disk. */
TEST(given_up_on_a_full_disk)
{
	ssize_t (*real_write)(int, const void *, size_t) = hooks_io.write;
	struct rig g = { .file = kit_file(1) };
	struct store *s;
	uint64_t id;

	hooks_io.write = full_write;
	CHECK((s = kit_open(harness_tmpdir())) != NULL);
	fill(s, 1, 20000, 0, &id);
	rig_open(&g, s);
	find(&g);
	atomic_store(&full, true);
	spool_merging(g.spool, false, 10000);
	spool_merge(g.spool, id, note, &g.merged);
	while (!g.merged)
		event_base_loop(g.base, EVLOOP_ONCE);
	atomic_store(&full, false);
	find(&g);
	CHECK_U64(g.file.backlog_records, 20000);
	spool_merge(g.spool, id, note, &g.merged);
	for (g.merged = false; !g.merged;)
		event_base_loop(g.base, EVLOOP_ONCE);
	find(&g);
	CHECK_U64(g.file.backlog_records, 3);
	rig_close(&g);
	hooks_io.write = real_write;
}
