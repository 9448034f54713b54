/* The committer thread and its two queues.
 *
 * Why one thread: a commit is an fsync, and what arrives during one fsync is committed by the next in a single transaction;
 * that beats any number of committing threads (facts.md) and needs no deadlock handling.  Why the reads are here too: the
 * store may be used by one thread at a time.  Deflating replay batches is done here as well, off the event loop.
 *
 * Ownership: an op belongs to the queue it is on.  Payload bodies are shared read-only with the loop; reference counts are
 * touched by the loop only (spool_append takes one, op_free gives it back after the callback).
 *
 * A store that fails for good (STORE_IO, STORE_CORRUPT on a write) is reported to the callbacks like any error; the loop ends
 * the process (relay.c), because a relay that cannot write must not take uploads. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <event2/event.h>

#include "protocol/message.h"
#include "protocol/zbody.h"

#include "relay/clock.h"
#include "relay/journal.h"
#include "relay/log.h"
#include "relay/privilege.h"
#include "relay/spool.h"
#include "relay/upload.h"

#define JOURNAL_SYNC_S 1     /* design section 6 */
#define IDLE_CHECK_S 5	     /* how soon room on the disk that others made, or took, is noticed */
#define GROUP_BYTES (8u << 20) /* of payload in one transaction: bounds log and cache use of a group */

STAILQ_HEAD(op_list, spool_op);

struct spool {
	/* the committer's */
	struct store *store;
	struct journal *journal;
	struct merger *merger;
	struct op_list merging; /* MERGE ops that wait for a pass */
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	/* under lock */
	struct op_list todo, finished;
	bool stop, growing;
	uint64_t slice_ms;
	struct merger_stat merged_shared;
	uint64_t busy_since; /* clock_now_ms when the committer took up what it is doing; 0: it waits */
	struct store_stat stat_shared;
	/* the loop's */
	int fd; /* eventfd: finished is not empty */
	struct event *event;
	void (*changed)(void *arg);
	void *arg;
	size_t queued;
	struct store_stat stat;
	struct merger_stat merged;
};

static void *
must_alloc(size_t n)
{
	void *p = calloc(1, n ? n : 1);

	if (p == NULL)
		log_fatal("out_of_memory", "bytes=%zu", n);
	return p;
}

static void
op_free(struct spool_op *op)
{
	upload_unref(op->upload);
	query_list_free(&op->queries);
	free(op->batch.body);
	free(op->key);
	if (op->val != NULL)
		explicit_bzero(op->val, op->val_len); /* it may be a client's token */
	free(op->val);
	free(op);
}

/* ---- the committer's side ---- */

struct reader {
	struct spool_op *op;
	size_t cap;
	bool nomem;
};

static bool
batch_room(struct reader *r, size_t need)
{
	struct spool_batch *b = &r->op->batch;
	size_t cap = r->cap ? r->cap : 4096;
	uint8_t *p;

	if (need <= r->cap - b->len)
		return true;
	while (cap - b->len < need)
		cap *= 2;
	p = realloc(b->body, cap);
	if (p == NULL)
		return false;
	b->body = p;
	r->cap = cap;
	return true;
}

static bool
batch_add(void *arg, const struct store_record *rec)
{
	struct reader *r = arg;
	struct spool_batch *b = &r->op->batch;
	struct upload_entry e = { .client_version = rec->client_version,
		.server_version = rec->server_version,
		.origin_timestamp = rec->origin_timestamp,
		.origin_file_ident = rec->origin_file_ident,
		.changeset = { rec->data, rec->len } };

	if (rec->client_version > r->op->upto)
		return false;
	if (rec->server_version > r->op->max_server_version) {
		b->held_back = true;
		return false;
	}
	if (!batch_room(r, MSG_ENTRY_HEAD_MAX + rec->len)) {
		r->nomem = true;
		return false;
	}
	b->len += upload_entry_format(&e, (char *)b->body + b->len);
	if (rec->len > 0)
		memcpy(b->body + b->len, rec->data, rec->len);
	b->len += rec->len;
	if (b->nentry++ == 0)
		b->first_client_version = rec->client_version;
	b->last_client_version = rec->client_version;
	b->last_server_version = rec->server_version;
	return true;
}

static void
batch_deflate(struct spool_op *op)
{
	struct spool_batch *b = &op->batch;
	uint8_t *z;
	size_t z_len;

	b->uncompressed_size = b->len;
	if (op->level == 0 || b->len <= ZBODY_MIN || (z = malloc(b->len)) == NULL)
		return;
	if (zbody_deflate(op->level, b->body, b->len, z, b->len - 1, &z_len) != PROTO_OK) {
		free(z);
		return;
	}
	free(b->body);
	b->body = z;
	b->len = z_len;
	b->is_compressed = true;
}

static enum store_err
do_read(struct store *store, struct spool_op *op)
{
	struct reader r = { .op = op };
	enum store_err err;

	err = store_read(store, op->file.id, op->after, op->max_bytes, batch_add, &r, &op->bad_version);
	if (err == STORE_CORRUPT && op->batch.nentry > 0)
		err = STORE_OK; /* send what stands before the bad record; the next read reports it */
	if (err == STORE_OK && r.nomem && op->batch.nentry == 0)
		err = STORE_NOMEM;
	if (err == STORE_OK)
		batch_deflate(op);
	return err;
}

/* A late operation of the session before must not take back what a newer one has learnt. */
static void
record_keep_newer(struct spool_op *op, const struct store_file *cur)
{
	struct store_file *f = &op->file;

	if (cur->upstream_client_version > f->upstream_client_version) {
		f->upstream_client_version = cur->upstream_client_version;
		f->upstream_server_version = cur->upstream_server_version;
	}
	if (cur->locked_server_version > f->locked_server_version)
		f->locked_server_version = cur->locked_server_version;
	if (!op->exact && cur->offered_client_version > f->offered_client_version)
		f->offered_client_version = cur->offered_client_version;
	f->downloaded |= cur->downloaded;
}

/* The backlog is not this relay's, or not yet. */
static bool
is_elsewhere(enum store_file_state state)
{
	return state == STORE_FILE_EXPORTED || state == STORE_FILE_IMPORTING;
}

/* Only spool_set_state changes the state: any other operation may carry one that is out of date, for an operator may have decided
 * since its session read the file.  An exported backlog belongs to another gateway until upstream has acknowledged all of it. */
static void
keep_state(struct spool_op *op, const struct store_file *cur)
{
	struct store_file *f = &op->file;

	if (op->set_state &&
	    (!is_elsewhere(cur->state) ||
	     (cur->state == STORE_FILE_EXPORTED && f->upstream_client_version >= cur->held_client_version)))
		return;
	f->state = cur->state;
	f->state_code = cur->state_code;
	f->state_time_ms = cur->state_time_ms;
	memcpy(f->state_text, cur->state_text, sizeof(f->state_text));
}

/* Brings op->file to the file's stored record in what only the committer may raise: the pairs held, shown and final go up when
 * entries were stored, never because the loop believes they will be (I5).  Creates the record at the first use. */
static enum store_err
record_resolve(struct store *store, struct spool_op *op, struct store_file *cur)
{
	struct store_file *f = &op->file;
	uint64_t lost_client = op->set_state && f->state == STORE_FILE_LOST ? f->shown_client_version : 0;
	uint64_t lost_server = f->shown_server_version;
	enum store_err err;

	err = f->id != 0 ? store_file_get(store, f->id, cur)
			 : store_file_find(store, f->endpoint, f->path, f->file_ident, f->file_ident_salt, cur);
	if (err == STORE_NOTFOUND) {
		f->id = 0;
		f->held_client_version = f->upstream_client_version;
		f->held_server_version = f->upstream_server_version;
		f->shown_client_version = lost_client;
		f->shown_server_version = lost_client != 0 ? lost_server : 0;
		f->final_client_version = f->final_server_version = 0;
		err = store_file_put(store, f);
		*cur = *f;
		return err;
	}
	if (err != STORE_OK)
		return err;
	f->id = cur->id;
	f->created_ms = cur->created_ms;
	keep_state(op, cur);
	f->held_client_version = cur->held_client_version;
	f->held_server_version = cur->held_server_version;
	f->shown_client_version = cur->shown_client_version;
	f->shown_server_version = cur->shown_server_version;
	if (lost_client > f->shown_client_version) { /* with it an operator's decision stands: see do_find */
		f->shown_client_version = lost_client;
		f->shown_server_version = lost_server;
	}
	f->final_client_version = cur->final_client_version;
	f->final_server_version = cur->final_server_version;
	record_keep_newer(op, cur);
	if (f->upstream_client_version > f->held_client_version) {
		f->held_client_version = f->upstream_client_version;
		f->held_server_version = f->upstream_server_version;
	}
	return STORE_OK;
}

static enum store_err
keep_queries(struct store *store, struct spool_op *op)
{
	const struct query *q;
	enum store_err err = STORE_OK;

	TAILQ_FOREACH (q, &op->queries, link) {
		struct store_query rec = { q->version, q->place, q->text, (uint32_t)q->len };

		if (q->gone)
			err = store_query_cut(store, op->file.id, q->version, q->version);
		else if (q->low < q->version)
			err = store_query_cut(store, op->file.id, q->low, q->version - 1);
		if (err == STORE_OK && !q->gone)
			err = store_query_put(store, op->file.id, &rec);
		if (err != STORE_OK)
			return err;
	}
	return STORE_OK;
}

static enum store_err
append_entries(struct store *store, struct spool_op *op)
{
	struct view rest = { op->upload->body, op->upload->len };
	struct upload_entry e;
	enum store_err err = STORE_OK;

	/* I3: an upload whose predecessor was not kept would leave a gap that a later IDENT could not see. */
	if (op->after > op->file.held_client_version || is_elsewhere(op->file.state))
		return STORE_FULL;
	while (err == STORE_OK && upload_entry_next(&rest, &e) == PROTO_OK) {
		struct store_record r = { .client_version = e.client_version,
			.server_version = e.server_version,
			.origin_timestamp = e.origin_timestamp,
			.origin_file_ident = e.origin_file_ident,
			.received_ms = op->upload->received_ms,
			.data = e.changeset.ptr,
			.len = (uint32_t)e.changeset.len };
		bool added;

		op->bad_version = e.client_version;
		if (e.client_version <= op->file.held_client_version) {
			err = store_compare(store, op->file.id, &r);
			if (err == STORE_NOTFOUND)
				err = STORE_OK; /* acknowledged by upstream, or merged away */
			continue;
		}
		err = store_append(store, op->file.id, &r, &added);
		if (err == STORE_OK) {
			op->file.held_client_version = e.client_version;
			op->file.held_server_version = e.server_version;
		}
	}
	return err;
}

static enum store_err
do_append(struct store *store, struct spool_op *op)
{
	struct store_file cur;
	struct store_file *f = &op->file;
	enum store_err err, put;

	err = record_resolve(store, op, &cur);
	if (err != STORE_OK)
		return err;
	err = keep_queries(store, op);
	if (err == STORE_OK)
		err = append_entries(store, op);
	if (err == STORE_OK && op->upload->progress_client_version > f->final_client_version) {
		f->final_client_version = op->upload->progress_client_version;
		f->final_server_version = op->upload->progress_server_version;
	}
	if (err == STORE_OK && op->show && f->final_client_version > f->shown_client_version) {
		f->shown_client_version = f->final_client_version;
		f->shown_server_version = f->final_server_version;
	}
	if (err != STORE_OK && err != STORE_DIFFERS && err != STORE_FULL)
		return err;
	put = store_file_put(store, f);
	return put != STORE_OK ? put : err;
}

static enum store_err
do_queries(struct store *store, struct spool_op *op)
{
	struct store_file cur;
	enum store_err err = record_resolve(store, op, &cur), put;

	if (err != STORE_OK || (put = store_file_put(store, &op->file)) != STORE_OK)
		return err != STORE_OK ? err : put;
	return keep_queries(store, op);
}

static bool
first_version(void *arg, const struct store_record *r)
{
	*(uint64_t *)arg = r->client_version;
	return false;
}

/* Upstream acknowledges a record that this relay acknowledged but never sent: the device reached upstream by another way, and the
 * record may never have been integrated (design section 6, CONFLICT). */
static bool
is_conflict(struct store *store, const struct spool_op *op)
{
	uint64_t version = UINT64_MAX, sent = op->file.offered_client_version;

	if (op->file.ack != STORE_ACK_RELAY || op->upto <= sent)
		return false;
	return store_read(store, op->file.id, sent, 1, first_version, &version, NULL) == STORE_OK && version <= op->upto;
}

static enum store_err
do_record(struct store *store, struct spool_op *op)
{
	struct store_file cur;
	enum store_err err = record_resolve(store, op, &cur);

	op->conflict = err == STORE_OK && op->kind == SPOOL_TRIM && is_conflict(store, op);
	if (err == STORE_OK && op->kind == SPOOL_TRIM && !op->conflict && !is_elsewhere(op->file.state)) {
		op->nrecord = cur.backlog_records;
		err = store_trim(store, op->file.id, op->upto);
		if (err == STORE_OK)
			err = store_file_get(store, op->file.id, &cur);
		op->nrecord -= err == STORE_OK ? cur.backlog_records : 0;
	}
	return err == STORE_OK ? store_file_put(store, &op->file) : err;
}

static enum store_err
do_forget(struct store *store, struct spool_op *op)
{
	enum store_err err = store_file_get(store, op->file.id, &op->file);

	if (err == STORE_CORRUPT || (err == STORE_OK && !op->may_forget(op->arg, &op->file)))
		err = STORE_INVALID; /* not this one; nothing else of the group is wrong */
	return err == STORE_OK ? store_file_remove(store, op->file.id) : err;
}

static enum store_err
do_write(struct store *store, struct spool_op *op)
{
	switch (op->kind) {
	case SPOOL_APPEND:
		return do_append(store, op);
	case SPOOL_UPDATE:
	case SPOOL_TRIM:
		return do_record(store, op);
	case SPOOL_PUT:
		return store_put(store, op->table, op->key, op->key_len, op->val, op->val_len);
	case SPOOL_QUERIES:
		return do_queries(store, op);
	case SPOOL_FORGET:
		return do_forget(store, op);
	case SPOOL_FIND:
	case SPOOL_READ:
	case SPOOL_GET:
	case SPOOL_CALL:
	case SPOOL_MERGE:
		break;
	}
	PANIC("not a write");
}

static enum store_err
do_get(struct store *store, struct spool_op *op)
{
	op->val_len = STORE_VALUE_MAX;
	op->val = malloc(op->val_len);
	if (op->val == NULL)
		return STORE_NOMEM;
	return store_get(store, op->table, op->key, op->key_len, op->val, &op->val_len);
}

static bool
found_query(void *arg, const struct store_query *rec)
{
	struct query *q = query_new(rec->query_version, rec->place, (struct view){ rec->text, rec->len });

	q->durable = true;
	TAILQ_INSERT_TAIL((struct query_list *)arg, q, link);
	return true;
}

/* What is not in the journal is not acknowledged.  On a full disk the ballast makes room for it, once. */
static enum store_err
note_shown(struct store *store, struct journal *journal, const struct store_file *f)
{
	if (journal_note(journal, f))
		return STORE_OK;
	if (errno != ENOSPC)
		return STORE_IO;
	store_give_ballast(store);
	if (journal_note(journal, f))
		return STORE_OK;
	return errno == ENOSPC ? STORE_NOSPACE : STORE_IO;
}

/* Does this relay owe what it acknowledged itself?  Then the journal must know, also if another gateway acknowledged it (an import). */
static bool
owes(const struct store_file *f)
{
	return f->ack == STORE_ACK_RELAY && f->shown_client_version > f->upstream_client_version;
}

static void
find_aside(struct spool_op *op, enum store_file_state state)
{
	op->aside = true;
	op->file.state = state;
	op->file.state_code = 0;
	op->file.state_time_ms = 0;
}

/* I7: a damaged query concerns its file alone, as long as the store itself is well. */
static enum store_err
find_queries(struct store *store, struct spool_op *op)
{
	struct store_file *f = &op->file;
	enum store_err err = store_query_each(store, f->id, found_query, &op->queries);
	struct store_stat st;

	if (err != STORE_CORRUPT || store_stat(store, &st) != STORE_OK)
		return err;
	if (f->state == STORE_FILE_OK) {
		find_aside(op, STORE_FILE_REJECTED);
		snprintf(f->state_text, sizeof(f->state_text), "a query of it is damaged");
	}
	return STORE_OK;
}

/* The store knows less than the relay once acknowledged (the environment was lost): the file is LOST, and what was shown stays shown. */
static enum store_err
do_find(struct store *store, struct journal *journal, struct spool_op *op)
{
	struct store_file *f = &op->file;
	enum store_err err = store_file_find(store, f->endpoint, f->path, f->file_ident, f->file_ident_salt, f);
	uint64_t client_version, server_version;

	if (err == STORE_OK)
		err = find_queries(store, op);
	if (err == STORE_OK && owes(f) &&
	    !(journal_find(journal, f, &client_version, &server_version) && client_version >= f->shown_client_version) &&
	    (err = note_shown(store, journal, f)) == STORE_NOSPACE) /* brought in by an import, or there was no room for it */
		err = STORE_OK; /* there still is none: until the next find the store alone knows of it, which nobody must wait for */
	if ((err != STORE_OK && err != STORE_NOTFOUND) || !journal_find(journal, f, &client_version, &server_version) ||
	    client_version <= f->shown_client_version || client_version <= f->upstream_client_version)
		return err;
	f->shown_client_version = client_version;
	f->shown_server_version = server_version;
	find_aside(op, STORE_FILE_LOST);
	snprintf(f->state_text, sizeof(f->state_text), "acknowledged up to %llu, which the buffer does not hold any more",
		 (unsigned long long)client_version);
	return STORE_OK;
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

/* All writes of group in one transaction; when that fails, every one of them failed. */
static void
group_write(struct store *store, struct op_list *group)
{
	struct spool_op *op;
	enum store_err err = STORE_OK;
	bool any = false, durable = false;

	STAILQ_FOREACH (op, group, link) {
		any = any || is_write(op);
		durable = durable || (is_write(op) && op->kind != SPOOL_TRIM);
	}
	if (!any)
		return;
	err = store_begin(store);
	STAILQ_FOREACH (op, group, link) {
		if (!is_write(op) || !is_local(err))
			continue;
		op->err = do_write(store, op);
		if (!is_local(op->err)) {
			err = op->err;
			store_abort(store);
		}
	}
	if (is_local(err))
		err = store_commit(store, durable);
	if (err == STORE_OK)
		return;
	STAILQ_FOREACH (op, group, link)
		if (is_write(op))
			op->err = err;
}

static void
group_read(struct store *store, struct journal *journal, struct op_list *group)
{
	struct spool_op *op;

	STAILQ_FOREACH (op, group, link) {
		if (op->kind == SPOOL_READ)
			op->err = do_read(store, op);
		else if (op->kind == SPOOL_FIND)
			op->err = do_find(store, journal, op);
		else if (op->kind == SPOOL_GET)
			op->err = do_get(store, op);
		else if (op->kind == SPOOL_CALL)
			op->fn(op->arg, store);
	}
}

/* What is durable now and will be acknowledged is noted outside the environment as well, before the loop hears of it; a promise that upstream
 * has taken over is forgotten. */
static void
group_journal(struct store *store, struct journal *journal, const struct op_list *group)
{
	struct spool_op *op;

	STAILQ_FOREACH (op, group, link) {
		if (op->err != STORE_OK)
			continue;
		if (op->kind == SPOOL_APPEND && op->show)
			op->err = note_shown(store, journal, &op->file);
		if (op->kind == SPOOL_FORGET ||
		    (op->kind == SPOOL_TRIM && !op->conflict && op->file.upstream_client_version >= op->file.shown_client_version))
			journal_forget(journal, &op->file);
	}
}

/* ---- pre-merge ---- */

/* Tells the merger what the group did.  MERGE ops for which there is work leave it, and wait. */
static void
group_merge(struct spool *sp, struct op_list *group, bool growing, bool on)
{
	struct op_list rest = STAILQ_HEAD_INITIALIZER(rest);
	struct spool_op *op;

	while ((op = STAILQ_FIRST(group)) != NULL) {
		STAILQ_REMOVE_HEAD(group, link);
		if (op->kind == SPOOL_MERGE && on && merger_want(sp->merger, sp->store, op->file.id)) {
			STAILQ_INSERT_TAIL(&sp->merging, op, link);
			continue;
		}
		if (op->kind == SPOOL_APPEND && op->err == STORE_OK && growing && on)
			merger_grew(sp->merger, op->file.id, op->file.backlog_bytes);
		if ((op->kind == SPOOL_TRIM && op->err == STORE_OK && op->file.backlog_records == 0) || op->kind == SPOOL_FORGET)
			merger_drained(sp->merger, op->file.id);
		STAILQ_INSERT_TAIL(&rest, op, link);
	}
	STAILQ_CONCAT(group, &rest);
}

/* A slice; ops that waited for the pass that ends with it (or, when nothing is merged any more, all) go to done. */
static void
merge_on(struct spool *sp, struct op_list *done, uint64_t slice_ms)
{
	uint64_t ended = slice_ms > 0 && merger_busy(sp->merger) ? merger_slice(sp->merger, sp->store, slice_ms) : 0;
	struct op_list rest = STAILQ_HEAD_INITIALIZER(rest);
	struct spool_op *op;

	if (ended == 0 && slice_ms > 0)
		return;
	while ((op = STAILQ_FIRST(&sp->merging)) != NULL) {
		STAILQ_REMOVE_HEAD(&sp->merging, link);
		/* What came while the pass was under way wants another. */
		if (slice_ms > 0 && (op->file.id != ended || merger_want(sp->merger, sp->store, ended)))
			STAILQ_INSERT_TAIL(&rest, op, link);
		else
			STAILQ_INSERT_TAIL(done, op, link);
	}
	STAILQ_CONCAT(&sp->merging, &rest);
}

/* Moves ops from todo to group, up to GROUP_BYTES of payload (at least one). */
static void
group_take(struct spool *sp, struct op_list *group)
{
	struct spool_op *op;
	size_t bytes = 0;

	while ((op = STAILQ_FIRST(&sp->todo)) != NULL && (bytes == 0 || bytes + op->cost <= GROUP_BYTES)) {
		STAILQ_REMOVE_HEAD(&sp->todo, link);
		STAILQ_INSERT_TAIL(group, op, link);
		bytes += op->cost;
	}
}

static void
signal_loop(struct spool *sp)
{
	uint64_t one = 1;

	while (write(sp->fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

/* Waits until something is posted, or it is time to look after the store without that.  The journal is synced a second after it was
 * written, at the latest. */
static void
wait_for_work(struct spool *sp)
{
	bool dirty = journal_dirty(sp->journal);
	struct timespec until;

	if (store_busy(sp->store) || (sp->slice_ms > 0 ? merger_busy(sp->merger) : !STAILQ_EMPTY(&sp->merging)))
		return;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += dirty ? JOURNAL_SYNC_S : IDLE_CHECK_S;
	while (STAILQ_EMPTY(&sp->todo) && !sp->stop) {
		if (pthread_cond_timedwait(&sp->wake, &sp->lock, &until) != ETIMEDOUT)
			continue;
		if (dirty && !journal_sync(sp->journal))
			log_fatal("journal_failed", "errno=%d", errno);
		return;
	}
}

static void *
committer_main(void *arg)
{
	struct spool *sp = arg;

	privilege_end();
	pthread_mutex_lock(&sp->lock);
	for (;;) {
		struct op_list group = STAILQ_HEAD_INITIALIZER(group);
		struct store_stat st = { 0 };
		uint64_t slice_ms;
		enum store_err err;
		bool growing;

		sp->busy_since = 0;
		if (STAILQ_EMPTY(&sp->todo) && !sp->stop)
			wait_for_work(sp);
		if (STAILQ_EMPTY(&sp->todo) && sp->stop)
			break;
		group_take(sp, &group);
		sp->busy_since = clock_now_ms();
		growing = sp->growing;
		slice_ms = sp->slice_ms;
		pthread_mutex_unlock(&sp->lock);

		group_write(sp->store, &group);
		group_read(sp->store, sp->journal, &group);
		group_journal(sp->store, sp->journal, &group);
		group_merge(sp, &group, growing, slice_ms > 0);
		merge_on(sp, &group, slice_ms);
		err = store_checkpoint(sp->store, false);
		if (err == STORE_OK || err == STORE_NOSPACE)
			err = store_stat(sp->store, &st);

		pthread_mutex_lock(&sp->lock);
		if (err == STORE_OK)
			sp->stat_shared = st;
		sp->merged_shared = *merger_stat(sp->merger);
		STAILQ_CONCAT(&sp->finished, &group);
		signal_loop(sp);
	}
	pthread_mutex_unlock(&sp->lock);
	return NULL;
}

/* ---- the loop's side ---- */

static void
finished_cb(evutil_socket_t fd, short what, void *arg)
{
	struct spool *sp = arg;
	struct op_list done = STAILQ_HEAD_INITIALIZER(done);
	struct spool_op *op;
	uint64_t n;

	(void)what;
	if (read(fd, &n, sizeof(n)) < 0 && errno != EAGAIN && errno != EINTR)
		log_fatal("spool_failed", "errno=%d", errno);
	pthread_mutex_lock(&sp->lock);
	STAILQ_CONCAT(&done, &sp->finished);
	sp->stat = sp->stat_shared;
	sp->merged = sp->merged_shared;
	pthread_mutex_unlock(&sp->lock);
	while ((op = STAILQ_FIRST(&done)) != NULL) {
		STAILQ_REMOVE_HEAD(&done, link);
		sp->queued -= op->cost;
		if (op->done != NULL)
			op->done(op->arg, op);
		op_free(op);
	}
	sp->changed(sp->arg);
}

static bool
adopt_cb(void *arg, const struct store_file *f)
{
	return !owes(f) || journal_note(arg, f);
}

/* What came into the buffer while no daemon had it. */
static bool
adopt(struct store *store, struct journal *journal)
{
	return store_file_each(store, adopt_cb, journal) == STORE_OK && journal_sync(journal);
}

struct spool *
spool_new(struct event_base *base, struct store *store, struct journal *journal, void (*changed)(void *arg), void *arg)
{
	struct spool *sp = must_alloc(sizeof(*sp));
	sigset_t all, old;
	pthread_condattr_t attr;
	int rc;

	sp->store = store;
	sp->journal = journal;
	sp->changed = changed;
	sp->arg = arg;
	STAILQ_INIT(&sp->todo);
	STAILQ_INIT(&sp->finished);
	STAILQ_INIT(&sp->merging);
	sp->merger = merger_new();
	pthread_mutex_init(&sp->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&sp->wake, &attr);
	pthread_condattr_destroy(&attr);
	if (!adopt(store, journal) || store_stat(store, &sp->stat) != STORE_OK)
		goto fail;
	sp->stat_shared = sp->stat;
	sp->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (sp->fd < 0)
		goto fail;
	sp->event = event_new(base, sp->fd, EV_READ | EV_PERSIST, finished_cb, sp);
	if (sp->event == NULL || event_add(sp->event, NULL) != 0)
		goto fail;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old); /* signals are the loop's */
	rc = pthread_create(&sp->thread, NULL, committer_main, sp);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc == 0)
		return sp;
fail:
	if (sp->event != NULL)
		event_free(sp->event);
	if (sp->fd > 0)
		close(sp->fd);
	merger_free(sp->merger);
	free(sp);
	return NULL;
}

void
spool_free(struct spool *sp)
{
	struct spool_op *op;

	if (sp == NULL)
		return;
	pthread_mutex_lock(&sp->lock);
	sp->stop = true;
	pthread_cond_signal(&sp->wake);
	pthread_mutex_unlock(&sp->lock);
	pthread_join(sp->thread, NULL);
	STAILQ_CONCAT(&sp->finished, &sp->merging);
	while ((op = STAILQ_FIRST(&sp->finished)) != NULL) {
		STAILQ_REMOVE_HEAD(&sp->finished, link);
		op_free(op);
	}
	event_free(sp->event);
	close(sp->fd);
	merger_free(sp->merger);
	store_close(sp->store);
	journal_close(sp->journal);
	pthread_mutex_destroy(&sp->lock);
	pthread_cond_destroy(&sp->wake);
	free(sp);
}

static struct spool_op *
op_new(enum spool_kind kind, spool_done *done, void *arg)
{
	struct spool_op *op = must_alloc(sizeof(*op));

	op->kind = kind;
	op->done = done;
	op->arg = arg;
	op->cost = 1;
	TAILQ_INIT(&op->queries);
	return op;
}

static void
op_post(struct spool *sp, struct spool_op *op)
{
	sp->queued += op->cost;
	pthread_mutex_lock(&sp->lock);
	STAILQ_INSERT_TAIL(&sp->todo, op, link);
	pthread_cond_signal(&sp->wake);
	pthread_mutex_unlock(&sp->lock);
}

void
spool_find(struct spool *sp, const struct store_file *key, spool_done *done, void *arg)
{
	struct spool_op *op = op_new(SPOOL_FIND, done, arg);

	op->file = *key;
	op_post(sp, op);
}

static void
take_queries(struct spool_op *op, struct query_list *queries)
{
	const struct query *q;

	TAILQ_CONCAT(&op->queries, queries, link);
	TAILQ_FOREACH (q, &op->queries, link)
		op->cost += q->len;
}

void
spool_append(struct spool *sp, const struct store_file *rec, struct upload *u, uint64_t after, bool show,
	     struct query_list *queries, spool_done *done, void *arg)
{
	struct spool_op *op = op_new(SPOOL_APPEND, done, arg);

	op->file = *rec;
	op->upload = upload_ref(u);
	op->after = after;
	op->show = show;
	op->cost += u->len;
	take_queries(op, queries);
	op_post(sp, op);
}

void
spool_keep_queries(struct spool *sp, const struct store_file *rec, struct query_list *queries, spool_done *done, void *arg)
{
	struct spool_op *op = op_new(SPOOL_QUERIES, done, arg);

	op->file = *rec;
	take_queries(op, queries);
	op_post(sp, op);
}

static struct spool_op *
update_new(const struct store_file *rec, spool_done *done, void *arg)
{
	struct spool_op *op = op_new(SPOOL_UPDATE, done, arg);

	op->file = *rec;
	return op;
}

void
spool_update(struct spool *sp, const struct store_file *rec, spool_done *done, void *arg)
{
	op_post(sp, update_new(rec, done, arg));
}

void
spool_update_exact(struct spool *sp, const struct store_file *rec, spool_done *done, void *arg)
{
	struct spool_op *op = update_new(rec, done, arg);

	op->exact = true;
	op_post(sp, op);
}

void
spool_set_state(struct spool *sp, const struct store_file *rec, spool_done *done, void *arg)
{
	struct spool_op *op = update_new(rec, done, arg);

	op->set_state = true;
	op_post(sp, op);
}

void
spool_trim(struct spool *sp, const struct store_file *rec, uint64_t upto, spool_done *done, void *arg)
{
	struct spool_op *op = op_new(SPOOL_TRIM, done, arg);

	op->file = *rec;
	op->upto = upto;
	op_post(sp, op);
}

void
spool_read(struct spool *sp, uint64_t id, uint64_t after, uint64_t upto, uint64_t max_bytes, uint64_t max_server_version, int level,
	   spool_done *done, void *arg)
{
	struct spool_op *op = op_new(SPOOL_READ, done, arg);

	op->file.id = id;
	op->after = after;
	op->upto = upto;
	op->max_bytes = max_bytes;
	op->max_server_version = max_server_version;
	op->level = level;
	op_post(sp, op);
}

static void
copy_bytes(struct view from, uint8_t **to, size_t *to_len)
{
	*to = must_alloc(from.len);
	*to_len = from.len;
	if (from.len > 0)
		memcpy(*to, from.ptr, from.len);
}

void
spool_put(struct spool *sp, enum store_table t, struct view key, struct view val)
{
	struct spool_op *op = op_new(SPOOL_PUT, NULL, NULL);

	op->table = t;
	copy_bytes(key, &op->key, &op->key_len);
	copy_bytes(val, &op->val, &op->val_len);
	op_post(sp, op);
}

void
spool_get(struct spool *sp, enum store_table t, struct view key, spool_done *done, void *arg)
{
	struct spool_op *op = op_new(SPOOL_GET, done, arg);

	op->table = t;
	copy_bytes(key, &op->key, &op->key_len);
	op_post(sp, op);
}

void
spool_call(struct spool *sp, spool_fn *fn, spool_done *done, void *arg)
{
	struct spool_op *op = op_new(SPOOL_CALL, done, arg);

	op->fn = fn;
	op_post(sp, op);
}

void
spool_forget(struct spool *sp, uint64_t id, spool_may_forget *may, spool_done *done, void *arg)
{
	struct spool_op *op = op_new(SPOOL_FORGET, done, arg);

	op->file.id = id;
	op->may_forget = may;
	op_post(sp, op);
}

void
spool_merge(struct spool *sp, uint64_t id, spool_done *done, void *arg)
{
	struct spool_op *op = op_new(SPOOL_MERGE, done, arg);

	op->file.id = id;
	op_post(sp, op);
}

void
spool_merging(struct spool *sp, bool growing, uint64_t slice_ms)
{
	pthread_mutex_lock(&sp->lock);
	sp->growing = growing;
	sp->slice_ms = slice_ms;
	pthread_cond_signal(&sp->wake);
	pthread_mutex_unlock(&sp->lock);
}

const struct merger_stat *
spool_merged(const struct spool *sp)
{
	return &sp->merged;
}

size_t
spool_queued(const struct spool *sp)
{
	return sp->queued;
}

const struct store_stat *
spool_stat(const struct spool *sp)
{
	return &sp->stat;
}

uint64_t
spool_busy_ms(struct spool *sp)
{
	uint64_t since;

	pthread_mutex_lock(&sp->lock);
	since = sp->busy_since;
	pthread_mutex_unlock(&sp->lock);
	return since != 0 ? clock_now_ms() - since : 0;
}
