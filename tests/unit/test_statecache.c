/* Tests relay/statecache on a store: what is kept, whom it answers and from where, its bounds, and what a restart finds.  In place of the spool a
 * queue that is run when the test says so. */
#include <stdlib.h>

#include "relay/options.h"
#include "relay/relay.h"
#include "relay/spool.h"
#include "relay/statecache.h"

#include "tests/harness.h"
#include "tests/storekit.h"

#define SEGMENT 100000 /* bytes of one STATE: some are not whole in one step of the cache */
#define SEGMENTS 4

/* ---- instead of the daemon ---- */

static struct {
	struct store *store;
	struct {
		spool_fn *fn;
		spool_done *done;
		void *arg;
	} call[64];
	unsigned n;
	struct store_stat stat;
} spool;

void
spool_call(struct spool *sp, spool_fn *fn, spool_done *done, void *arg)
{
	(void)sp;
	if (spool.n == 64)
		abort();
	spool.call[spool.n].fn = fn;
	spool.call[spool.n].done = done;
	spool.call[spool.n++].arg = arg;
}

const struct store_stat *
spool_stat(const struct spool *sp)
{
	(void)sp;
	return &spool.stat;
}

static void
settle(void)
{
	while (spool.n > 0) {
		spool_fn *fn = spool.call[0].fn;
		spool_done *done = spool.call[0].done;
		void *arg = spool.call[0].arg;

		spool.n--;
		memmove(spool.call, spool.call + 1, spool.n * sizeof(spool.call[0]));
		fn(arg, spool.store);
		done(arg, NULL);
	}
}

static struct options options;
static struct relay relay = { .opt = &options };

static void
open_cache(const char *dir, struct statecache **c)
{
	spool.n = 0;
	spool.stat.disk_free = UINT64_MAX;
	CHECK((spool.store = kit_open(dir)) != NULL);
	*c = statecache_new(&relay);
	settle();
}

static void
close_cache(struct statecache *c)
{
	settle();
	statecache_free(c);
	store_close(spool.store);
}

/* ---- a state file as upstream sends it ---- */

static const struct msg_state_request wanted = { .min_file_format = 1, .max_file_format = 24, .max_history_schema = 10 };

/* Sends the first n segments of version of the path's file. */
static struct state_writer *
send_state(struct statecache *c, const char *path, uint64_t version, unsigned n)
{
	struct state_writer *w = statecache_collect(c, "e", path, &wanted);
	static uint8_t body[SEGMENT];

	for (uint64_t i = 0; i < n; i++) {
		struct msg_state m = { .server_version = version, .server_version_salt = 1000 + version, .begin_offset = i * SEGMENT,
			.end_offset = (i + 1) * SEGMENT, .max_offset = SEGMENTS * SEGMENT, .size = SEGMENT };

		kit_fill(body, SEGMENT, version, i);
		statecache_segment(w, &m);
		statecache_data(w, (struct view){ body, 77 });
		statecache_data(w, (struct view){ body + 77, SEGMENT - 77 });
		statecache_segment_end(w);
		settle();
	}
	return w;
}

static void
keep(struct statecache *c, const char *path, uint64_t version)
{
	statecache_abandon(send_state(c, path, version, SEGMENTS));
	settle();
}

/* ---- a client ---- */

struct reading {
	uint64_t offset, version;
	unsigned segments;
	bool failed, wrong, slow;
};

static bool
segment_cb(void *arg, const struct msg_state *m, struct view body)
{
	static uint8_t want[SEGMENT];
	struct reading *r = arg;

	if (m == NULL) {
		r->failed = true;
		return false;
	}
	kit_fill(want, SEGMENT, m->server_version, m->begin_offset / SEGMENT);
	r->wrong |= m->begin_offset != r->offset || m->max_offset != SEGMENTS * SEGMENT || m->server_version_salt != 1000 + m->server_version ||
		    body.len != SEGMENT || memcmp(body.ptr, want, SEGMENT) != 0;
	r->offset = m->end_offset;
	r->version = m->server_version;
	r->segments++;
	return !r->slow;
}

/* Asks, and reads all that comes; *r says how it went.  version 0: no answer. */
static void
read_all(struct statecache *c, const char *path, struct msg_state_request q, struct reading *r)
{
	struct state_reader *reader;

	*r = (struct reading){ .offset = q.offset };
	reader = statecache_serve(c, "e", path, &q, segment_cb, r);
	if (reader == NULL)
		return;
	settle();
	statecache_cancel(reader);
	settle();
}

static void
check_served(struct statecache *c, const char *path, uint64_t version)
{
	struct reading r;

	read_all(c, path, wanted, &r);
	CHECK_U64(r.version, version);
	CHECK(!r.wrong && !r.failed);
	CHECK_U64(r.segments, version != 0 ? SEGMENTS : 0);
}

/* ---- the tests ---- */

TEST(kept_over_a_restart)
{
	const char *dir = harness_tmpdir();
	struct statecache *c;

	options.state_cache_bytes = 64u << 20;
	open_cache(dir, &c);
	check_served(c, "/p", 0);
	keep(c, "/p", 5);
	check_served(c, "/p", 5);
	check_served(c, "/q", 0);
	close_cache(c);
	open_cache(dir, &c);
	check_served(c, "/p", 5);
	keep(c, "/p", 9); /* in place of the older one */
	check_served(c, "/p", 9);
	close_cache(c);
}

/* What did not come to its end is not kept, and a crash in the middle leaves nothing behind that counts. */
TEST(incomplete)
{
	const char *dir = harness_tmpdir();
	struct statecache *c;
	struct state_writer *w;

	options.state_cache_bytes = 64u << 20;
	open_cache(dir, &c);
	keep(c, "/p", 5);
	w = send_state(c, "/p", 6, SEGMENTS - 1);
	check_served(c, "/p", 0); /* another salt: the old one is of no use */
	settle();
	statecache_abandon(w);
	while (spool.n > 0) /* the process is gone before that reached the disk */
		free(spool.call[--spool.n].arg);
	statecache_free(c);
	store_close(spool.store);
	open_cache(dir, &c);
	check_served(c, "/p", 0);
	keep(c, "/p", 7);
	check_served(c, "/p", 7);
	close_cache(c);
}

TEST(limits_and_offsets)
{
	struct msg_state_request q = wanted;
	struct statecache *c;
	struct reading r;

	options.state_cache_bytes = 64u << 20;
	open_cache(harness_tmpdir(), &c);
	keep(c, "/p", 5);
	q.need_recent = 1;
	read_all(c, "/p", q, &r);
	CHECK_U64(r.version, 0);
	q = wanted;
	q.max_file_format = 23; /* the set may hold a 24 */
	read_all(c, "/p", q, &r);
	CHECK_U64(r.version, 0);
	q.max_file_format = 30;
	q.min_file_format = 0;
	read_all(c, "/p", q, &r);
	CHECK_U64(r.segments, SEGMENTS);
	/* the rest of this very file */
	q.offset = 2 * SEGMENT;
	read_all(c, "/p", q, &r);
	CHECK_U64(r.version, 0);
	q.partial_version = 5;
	q.partial_salt = 1005;
	read_all(c, "/p", q, &r);
	CHECK_U64(r.segments, SEGMENTS - 2);
	CHECK(!r.wrong);
	/* no segment begins there */
	q.offset = SEGMENT + 1;
	read_all(c, "/p", q, &r);
	CHECK(r.failed);
	close_cache(c);
}

/* A client that reads slowly gets one after the other, also when the set is dropped meanwhile. */
TEST(slow_client)
{
	struct reading r = { .slow = true };
	struct state_reader *reader;
	struct statecache *c;

	options.state_cache_bytes = 64u << 20;
	open_cache(harness_tmpdir(), &c);
	keep(c, "/p", 5);
	CHECK((reader = statecache_serve(c, "e", "/p", &wanted, segment_cb, &r)) != NULL);
	for (unsigned i = 0; i < 20 && r.segments < SEGMENTS; i++) {
		settle();
		statecache_go_on(reader);
	}
	CHECK_U64(r.segments, SEGMENTS);
	CHECK(!r.wrong && !r.failed);
	statecache_cancel(reader);
	settle();
	close_cache(c);
}

/* Upstream has another history: what is kept of the old one is of no use. */
TEST(latest)
{
	struct statecache *c;

	options.state_cache_bytes = 64u << 20;
	open_cache(harness_tmpdir(), &c);
	keep(c, "/p", 5);
	statecache_latest(c, "e", "/p", 7, 4711);
	settle();
	check_served(c, "/p", 5);
	statecache_latest(c, "e", "/p", 8, 4711);
	check_served(c, "/p", 5);
	statecache_latest(c, "e", "/p", 9, 4712);
	settle();
	check_served(c, "/p", 0);
	keep(c, "/p", 5);
	statecache_latest(c, "e", "/p", 4, 1); /* older than the file */
	settle();
	check_served(c, "/p", 0);
	close_cache(c);
}

/* The least recently used goes first; what is larger than all is not kept. */
TEST(bounds)
{
	struct statecache *c;

	options.state_cache_bytes = 2 * (SEGMENTS * SEGMENT + 20000);
	open_cache(harness_tmpdir(), &c);
	keep(c, "/a", 1);
	keep(c, "/b", 2);
	check_served(c, "/a", 1);
	keep(c, "/c", 3);
	check_served(c, "/b", 0);
	check_served(c, "/a", 1);
	check_served(c, "/c", 3);
	close_cache(c);
	options.state_cache_bytes = 2 * SEGMENT;
	open_cache(harness_tmpdir(), &c);
	keep(c, "/a", 1);
	check_served(c, "/a", 0);
	spool.stat.disk_free = SEGMENT;
	options.state_cache_bytes = 64u << 20;
	keep(c, "/a", 1);
	check_served(c, "/a", 0);
	close_cache(c);
}
