/* A group of operations, done: writes in one transaction, file by file (order.h), then reads, then the journal; and slices of pre-merge.
 *
 * Payload bodies are shared read-only with the loop; what an operation owns stays the queue's (spool.c).  A store that fails for good
 * (STORE_IO, STORE_CORRUPT on a write) is reported to the callbacks like any error; the loop ends the process (relay.c), because a relay that
 * cannot write must not take uploads. */
#include <string.h>

#include "relay/committer.h"
#include "relay/committer_impl.h"
#include "relay/deflater.h"
#include "relay/journal.h"
#include "relay/mend.h"
#include "relay/merger.h"
#include "relay/order.h"
#include "relay/promise.h"

void
committer_init(struct committer *c, struct store *store, struct journal *journal, struct deflater *deflater)
{
	c->store = store;
	c->journal = journal;
	c->deflater = deflater;
	c->merger = merger_new();
	STAILQ_INIT(&c->merging);
}

static bool
is_write(const struct spool_op *op)
{
	return op->kind == SPOOL_APPEND || op->kind == SPOOL_UPDATE || op->kind == SPOOL_TRIM || op->kind == SPOOL_PUT ||
	       op->kind == SPOOL_QUERIES || op->kind == SPOOL_FORGET;
}

/* An error that leaves the open transaction usable: it concerns this op's record, not the environment. */
static bool
is_local(enum store_err err)
{
	return err == STORE_OK || err == STORE_NOTFOUND || err == STORE_DIFFERS || err == STORE_FULL || err == STORE_INVALID;
}

/* All writes of group in one transaction, but for those that are damaged.  *culprit: the one that it failed with; NULL: the commit did. */
static enum store_err
write_all(struct store *store, const struct order *order, bool durable, struct spool_op **culprit)
{
	enum store_err err = store_begin(store);

	*culprit = NULL;
	for (size_t i = 0; i < order->n; i++) {
		struct spool_op *op = order->place[i].op;

		if (err != STORE_OK)
			return err;
		if (!is_write(op) || op->damaged)
			continue;
		op->err = committer_write(store, op);
		if (is_local(op->err))
			continue;
		*culprit = op;
		err = op->err;
		store_abort(store);
	}
	return err == STORE_OK ? store_commit(store, durable) : err;
}

/* op is left out.  With an upload go those behind it: nothing is kept of the file any more, and were each to find that out, a long tail would
 * begin the group anew as often. */
static void
leave_out(struct spool_op *op)
{
	struct spool_op *next;

	op->damaged = true;
	op->nkept = 0;
	if (op->kind != SPOOL_APPEND)
		return;
	for (next = STAILQ_NEXT(op, link); next != NULL; next = STAILQ_NEXT(next, link))
		if (next->kind == SPOOL_APPEND && order_is_same_file(next->file, op->file)) {
			next->damaged = true;
			next->nkept = 0;
			next->err = STORE_CORRUPT;
		}
}

/* All writes of group in one transaction; when that fails, every one of them failed.  I7: one that meets damage in what its own file has is
 * left out, and the others are begun anew without it. */
static void
group_write(struct committer *c, struct spool_list *group, const struct order *order)
{
	struct spool_op *op, *culprit;
	enum store_err err;
	bool any = false, durable = false;

	STAILQ_FOREACH (op, group, link) {
		any = any || is_write(op);
		durable = durable || (is_write(op) && op->kind != SPOOL_TRIM);
	}
	if (!any)
		return;
	while ((err = write_all(c->store, order, durable, &culprit)) == STORE_CORRUPT && culprit != NULL && mend_is_local(c->store))
		leave_out(culprit);
	c->commits += err == STORE_OK && durable;
	if (err == STORE_OK)
		return;
	STAILQ_FOREACH (op, group, link) {
		op->nkept = 0;
		if (is_write(op) && !op->damaged)
			op->err = err;
	}
}

/* Notes what the uploads of one file at places first to last promise.  The last that does promises what those before it do, so one record says it. */
static void
promise_all(struct store *store, struct journal *journal, const struct order *order, size_t first, size_t last)
{
	enum store_err noted = STORE_OK;
	bool some = false;

	for (size_t i = last + 1; i-- > first;) {
		struct spool_op *op = order->place[i].op;

		if (op->nkept == 0 || !op->shown)
			continue;
		if (!some)
			noted = promise_note(store, journal, op->file);
		some = true;
		if (noted != STORE_OK) {
			op->err = noted;
			op->nkept = 0;
		}
	}
}

/* What is durable now and will be acknowledged is noted outside the environment as well, before the loop hears of it; a promise that upstream
 * has taken over is forgotten. */
static void
group_journal(struct store *store, struct journal *journal, const struct order *order)
{
	size_t first;

	for (size_t i = 0; i < order->n; i++) {
		const struct spool_op *op = order->place[i].op;

		if (op->kind == SPOOL_APPEND) {
			for (first = i; order_goes_on(order, i);)
				i++;
			promise_all(store, journal, order, first, i);
		} else if (op->err == STORE_OK &&
			   (op->kind == SPOOL_FORGET || op->kind == SPOOL_DISOWN ||
			    (op->kind == SPOOL_TRIM && !op->conflict && op->file->upstream_client_version >= op->file->shown_client_version))) {
			journal_forget(journal, op->file);
		}
	}
}

/* Ops that waited for a pass over file id (0: any) go to done: it has ended, or will not come. */
static void
merge_release(struct committer *c, uint64_t id, struct spool_list *done)
{
	struct spool_list rest = STAILQ_HEAD_INITIALIZER(rest);
	struct spool_op *op;

	while ((op = STAILQ_FIRST(&c->merging)) != NULL) {
		STAILQ_REMOVE_HEAD(&c->merging, link);
		if (id == 0 || op->file->id == id)
			STAILQ_INSERT_TAIL(done, op, link);
		else
			STAILQ_INSERT_TAIL(&rest, op, link);
	}
	STAILQ_CONCAT(&c->merging, &rest);
}

static bool
is_awaited(const struct committer *c, uint64_t id)
{
	const struct spool_op *op;

	STAILQ_FOREACH (op, &c->merging, link)
		if (op->file->id == id)
			return true;
	return false;
}

static bool
is_drained(const struct spool_op *op)
{
	return op->err == STORE_OK &&
	       (op->kind == SPOOL_FORGET || op->kind == SPOOL_DISOWN || (op->kind == SPOOL_TRIM && op->file->backlog_records == 0));
}

/* Tells the merger what the group did.  MERGE ops for which there is work leave it, and wait. */
static void
group_merge(struct committer *c, struct spool_list *group, bool growing, bool on)
{
	struct spool_list rest = STAILQ_HEAD_INITIALIZER(rest);
	struct spool_op *op;

	while ((op = STAILQ_FIRST(group)) != NULL) {
		STAILQ_REMOVE_HEAD(group, link);
		if (op->kind == SPOOL_MERGE && on && merger_want(c->merger, c->store, op->file->id)) {
			STAILQ_INSERT_TAIL(&c->merging, op, link);
			continue;
		}
		if (op->kind == SPOOL_APPEND && op->nkept > 0 && growing && on)
			merger_grew(c->merger, op->file->id, op->file->backlog_bytes);
		if (is_drained(op)) {
			merger_drained(c->merger, op->file->id);
			merge_release(c, op->file->id, &rest);
		}
		STAILQ_INSERT_TAIL(&rest, op, link);
	}
	STAILQ_CONCAT(group, &rest);
}

/* A slice; ops that waited for the pass that ends with it (or, when nothing is merged any more, all) go to done.  What came while the pass was
 * under way wants another; but a pass that was given up is not tried again for them, or a full disk would hold up replay, which frees it. */
static void
merge_on(struct committer *c, struct spool_list *done, uint64_t slice_ms)
{
	bool given_up = false;
	uint64_t ended;

	if (slice_ms == 0) {
		merge_release(c, 0, done);
		return;
	}
	ended = merger_busy(c->merger) ? merger_slice(c->merger, c->store, slice_ms, &given_up) : 0;
	if (ended != 0 && is_awaited(c, ended) && (given_up || !merger_want(c->merger, c->store, ended)))
		merge_release(c, ended, done);
}

bool
committer_may_merge(const struct committer *c, uint64_t slice_ms)
{
	return slice_ms > 0 ? merger_busy(c->merger) : !STAILQ_EMPTY(&c->merging);
}

bool
committer_is_awaited(const struct committer *c)
{
	return !STAILQ_EMPTY(&c->merging);
}

bool
committer_busy(const struct committer *c, uint64_t slice_ms)
{
	return store_busy(c->store) || committer_may_merge(c, slice_ms);
}

static enum store_err
look_after(struct committer *c, struct store_stat *stat)
{
	enum store_err err = store_checkpoint(c->store, false);

	if (err != STORE_OK && err != STORE_NOSPACE)
		return err;
	return store_stat(c->store, stat);
}

enum store_err
committer_run(struct committer *c, struct spool_list *group, bool growing, bool merging, struct store_stat *stat)
{
	struct order order = order_of(group);
	struct spool_op *op;

	group_write(c, group, &order);
	STAILQ_FOREACH (op, group, link)
		committer_read(c->store, c->journal, op);
	group_journal(c->store, c->journal, &order);
	order_free(&order);
	group_merge(c, group, growing, merging);
	return look_after(c, stat);
}

enum store_err
committer_rest(struct committer *c, struct spool_list *done, uint64_t slice_ms, struct store_stat *stat)
{
	merge_on(c, done, slice_ms);
	return look_after(c, stat);
}

bool
committer_batch(struct committer *c, struct spool_op *op)
{
	committer_read_batch(c->store, op);
	if (!deflater_wants(op))
		return true;
	if (deflater_take(c->deflater, op))
		return false;
	deflater_run(op);
	return true;
}
