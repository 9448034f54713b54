/* Passes of pre-merge over the backlogs in the store.
 *
 * A pass goes from the newest changeset that its file has at the beginning (top) to the oldest, a record at a time, and stops after each
 * slice so that commits can go on.  Each slice is one transaction, and the passes are right at every point between two: a drop is justified by
 * an instruction that stands further up in the same backlog, which the store keeps, or has replaced by one that justifies it as well.  So a crash
 * leaves a backlog that is merged from the top down to somewhere; what arrives meanwhile stands above top; what upstream acknowledges
 * meanwhile goes at the other end.  Nothing needs to be synced: the slices reach the disk in order, with whatever is committed next.
 *
 * What a pass would rest on can go only when the whole backlog goes (discarded, exported, forgotten), or when the file was set aside.  So
 * each slice begins by looking whether the file is in order and still has its top.
 *
 * When: while the link is DOWN, whenever a backlog has doubled since its last pass (and MERGE_MIN more): so the work for n changesets
 * is O(n log n) at most.  And once more before it is replayed. */
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "protocol/message.h"
#include "protocol/premerge.h"

#include "relay/clock.h"
#include "relay/merger.h"
#include "relay/relay.h"

#define MERGE_MIN (32u << 10)	/* bytes that must have come before a pass is worth its while; a UPLOAD or less on the link */
#define MERGE_STATE (16u << 20) /* memory for what is known of later changesets: 100,000 properties */
#define SLICE_BYTES (4u << 20)	/* of payload read in one slice: bounds its log */

struct known { /* of a file with a backlog */
	TAILQ_ENTRY(known) link; /* while queued */
	uint64_t id;
	uint64_t top;	/* of the last complete pass */
	uint64_t bytes; /* that it left */
	bool queued;
};

struct merger {
	TAILQ_HEAD(, known) queue;
	void *known; /* by id */
	/* the pass under way; NULL: none */
	struct known *at;
	struct premerge *state;
	struct premerge_stats before; /* what state had counted before the slice */
	uint64_t top, below;
	uint64_t fed; /* the version that state was given last; 0: none */
	struct store_piece piece;
	struct merger_stat stat;
};

static int
by_id(const void *a, const void *b)
{
	uint64_t x = ((const struct known *)a)->id, y = ((const struct known *)b)->id;

	return x < y ? -1 : x > y;
}

static struct known *
lookup(const struct merger *m, uint64_t id)
{
	struct known key = { .id = id }, *const *found = tfind(&key, &m->known, by_id);

	return found != NULL ? *found : NULL;
}

static struct known *
know(struct merger *m, uint64_t id)
{
	struct known *k = lookup(m, id);

	if (k != NULL)
		return k;
	k = relay_alloc(sizeof(*k));
	k->id = id;
	if (tsearch(k, &m->known, by_id) == NULL)
		abort(); /* out of memory, as relay_alloc */
	return k;
}

struct merger *
merger_new(void)
{
	struct merger *m = relay_alloc(sizeof(*m));

	TAILQ_INIT(&m->queue);
	return m;
}

void
merger_free(struct merger *m)
{
	if (m == NULL)
		return;
	premerge_free(m->state);
	store_piece_free(&m->piece);
	tdestroy(m->known, free);
	free(m);
}

static void
enqueue(struct merger *m, struct known *k, bool first)
{
	if (k->queued)
		TAILQ_REMOVE(&m->queue, k, link);
	if (first)
		TAILQ_INSERT_HEAD(&m->queue, k, link);
	else
		TAILQ_INSERT_TAIL(&m->queue, k, link);
	k->queued = true;
}

void
merger_grew(struct merger *m, uint64_t id, uint64_t bytes)
{
	struct known *k = know(m, id);

	if (k != m->at && !k->queued && bytes >= 2 * k->bytes + MERGE_MIN)
		enqueue(m, k, false);
}

/* May the backlog of f be merged? */
static bool
is_mergeable(const struct store_file *f)
{
	return f->state == STORE_FILE_OK && f->backlog_records > 1;
}

bool
merger_want(struct merger *m, struct store *store, uint64_t id)
{
	struct store_file f;
	struct known *k;

	if (store_file_get(store, id, &f) != STORE_OK || !is_mergeable(&f))
		return false;
	k = know(m, id);
	if (k == m->at)
		return true;
	if (f.held_client_version <= k->top)
		return false;
	enqueue(m, k, true);
	return true;
}

void
merger_drained(struct merger *m, uint64_t id)
{
	struct known *k = lookup(m, id);

	if (k == NULL || k == m->at)
		return;
	if (k->queued)
		TAILQ_REMOVE(&m->queue, k, link);
	(void)tdelete(k, &m->known, by_id);
	free(k);
}

bool
merger_busy(const struct merger *m)
{
	return m->at != NULL || !TAILQ_EMPTY(&m->queue);
}

const struct merger_stat *
merger_stat(const struct merger *m)
{
	return &m->stat;
}

/* ---- a pass ---- */

static uint64_t
pass_end(struct merger *m)
{
	uint64_t id = m->at->id;

	premerge_free(m->state);
	m->state = NULL;
	m->at = NULL;
	store_piece_free(&m->piece);
	return id;
}

static bool
pass_begin(struct merger *m)
{
	struct known *k = TAILQ_FIRST(&m->queue);

	TAILQ_REMOVE(&m->queue, k, link);
	k->queued = false;
	m->at = k;
	m->top = m->below = m->fed = 0;
	memset(&m->before, 0, sizeof(m->before));
	m->state = premerge_new(MERGE_STATE);
	return m->state != NULL;
}

/* Is the file as the pass knows it?  At its beginning finds out where it begins. */
static bool
pass_stands(struct merger *m, struct store *store, struct store_file *f)
{
	if (store_file_get(store, m->at->id, f) != STORE_OK || !is_mergeable(f))
		return false;
	if (store_piece_read(store, f->id, m->top != 0 ? m->top + 1 : UINT64_MAX, &m->piece) != STORE_OK)
		return false;
	if (m->top == 0) {
		m->top = m->piece.last;
		m->below = m->top + 1;
	}
	return m->piece.last == m->top;
}

/* A query of flexible sync between this version and the one before is a barrier. */
static enum store_err
mind_queries(struct merger *m, struct store *store, uint64_t version)
{
	uint64_t place = UINT64_MAX;
	enum store_err err = store_query_barrier(store, m->at->id, version, &place);

	if (m->fed != 0 && (err != STORE_OK || place < m->fed))
		premerge_forget(m->state);
	m->fed = version;
	return err == STORE_CORRUPT ? STORE_OK : err;
}

/* Feeds what the piece holds, newest first, and makes of each what it should be. */
static enum store_err
merge_piece(struct merger *m, struct store *store)
{
	struct store_piece *p = &m->piece;
	enum store_err err = STORE_OK;
	struct view out;

	for (size_t i = p->n; i-- > 0 && (err = mind_queries(m, store, p->entry[i].r.client_version)) == STORE_OK;) {
		const struct store_record *r = &p->entry[i].r;
		struct upload_entry e = { r->client_version, r->server_version, r->origin_timestamp, r->origin_file_ident, { r->data, r->len } };

		switch (premerge_feed(m->state, &e, &out)) {
		case PREMERGE_KEEP:
			break;
		case PREMERGE_REPLACE:
			store_piece_replace(p, i, out.ptr, out.len);
			break;
		case PREMERGE_EMPTY:
			/* The last one stays: its version is what the file's progress ends with. */
			if (r->client_version == m->top)
				premerge_forget(m->state);
			else
				store_piece_empty(p, i);
			break;
		}
	}
	return err;
}

/* Merges records until the time or the bytes are used up: STORE_NOTFOUND when the oldest is done. */
static enum store_err
merge_for(struct merger *m, struct store *store, uint64_t id, uint64_t ms)
{
	uint64_t until = clock_now_ms() + ms, bytes = 0;
	enum store_err err;

	do {
		err = store_piece_read(store, id, m->below, &m->piece);
		if (err == STORE_CORRUPT && m->piece.first != 0) {
			premerge_forget(m->state); /* nothing below may rest on what is above it */
			m->below = m->piece.first;
			err = STORE_OK;
			continue;
		}
		if (err != STORE_OK)
			return err;
		bytes += m->piece.bytes;
		m->below = m->piece.first;
		if ((err = merge_piece(m, store)) == STORE_OK)
			err = store_piece_write(store, &m->piece);
	} while (err == STORE_OK && bytes < SLICE_BYTES && clock_now_ms() < until);
	return err;
}

static void
count(struct merger *m)
{
	struct premerge_stats now = premerge_stats(m->state);

	m->stat.instructions += now.dropped - m->before.dropped;
	m->stat.changesets += now.emptied - m->before.emptied;
	m->stat.bytes += (now.bytes_in - now.bytes_out) - (m->before.bytes_in - m->before.bytes_out);
	m->before = now;
}

uint64_t
merger_slice(struct merger *m, struct store *store, uint64_t ms, bool *given_up)
{
	struct store_file f;
	enum store_err err;
	bool done = false;

	*given_up = true;
	if (m->at == NULL && !pass_begin(m))
		return pass_end(m);
	if (store_begin(store) != STORE_OK)
		return pass_end(m);
	if (!pass_stands(m, store, &f)) {
		store_abort(store);
		return pass_end(m);
	}
	err = merge_for(m, store, f.id, ms);
	done = err == STORE_NOTFOUND;
	if ((err == STORE_OK || done) && (!done || store_file_get(store, f.id, &f) == STORE_OK) && store_commit(store, false) == STORE_OK) {
		*given_up = false;
		count(m);
		if (!done)
			return 0;
		m->at->top = m->top;
		m->at->bytes = f.backlog_bytes;
		m->stat.passes++;
		return pass_end(m);
	}
	store_abort(store); /* what state knows was not put into effect, so it goes with the pass */
	return pass_end(m);
}
