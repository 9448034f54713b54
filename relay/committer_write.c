/* What a single write does to the store, inside the group's transaction.
 *
 * The one idea: an operation carries the file's record as its session knew it, and others have written since.  So each first brings it to the
 * stored record in all that only the committer may raise (record_resolve), and what went stale meanwhile takes nothing back. */
#include <string.h>

#include "protocol/message.h"

#include "relay/committer_impl.h"
#include "relay/log.h"
#include "relay/upload.h"
#include "relay/userid.h"

/* A late operation of the session before must not take back what a newer one has learnt. */
static void
record_keep_newer(struct spool_op *op, const struct store_file *cur)
{
	struct store_file *f = op->file;

	if (cur->upstream_client_version > f->upstream_client_version) {
		f->upstream_client_version = cur->upstream_client_version;
		f->upstream_server_version = cur->upstream_server_version;
	}
	if (cur->locked_server_version > f->locked_server_version)
		f->locked_server_version = cur->locked_server_version;
	if (!op->exact && cur->offered_client_version > f->offered_client_version)
		f->offered_client_version = cur->offered_client_version;
	f->downloaded |= cur->downloaded;
	if (!userid_known(f->user))
		memcpy(f->user, cur->user, STORE_USER);
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
	struct store_file *f = op->file;

	if (op->set_state &&
	    (!is_elsewhere(cur->state) ||
	     (cur->state == STORE_FILE_EXPORTED && f->upstream_client_version >= cur->held_client_version)))
		return;
	f->state = cur->state;
	f->state_code = cur->state_code;
	f->state_time_ms = cur->state_time_ms;
	memcpy(f->state_text, cur->state_text, sizeof(f->state_text));
}

/* What upstream has counts as held. */
static void
hold_acknowledged(struct store_file *f)
{
	if (f->upstream_client_version > f->held_client_version) {
		f->held_client_version = f->upstream_client_version;
		f->held_server_version = f->upstream_server_version;
	}
}

/* Brings op->file to the file's stored record in what only the committer may raise: the pairs held, shown and final go up when
 * entries were stored, never because the loop believes they will be (I5).  Creates the record at the first use. */
static enum store_err
record_resolve(struct store *store, struct spool_op *op, struct store_file *cur)
{
	struct store_file *f = op->file;
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
	hold_acknowledged(f);
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
			err = store_query_cut(store, op->file->id, q->version, q->version);
		else if (q->low < q->version)
			err = store_query_cut(store, op->file->id, q->low, q->version - 1);
		if (err == STORE_OK && !q->gone)
			err = store_query_put(store, op->file->id, &rec);
		if (err != STORE_OK)
			return err;
	}
	return STORE_OK;
}

static enum store_err
append_entries(struct store *store, struct spool_op *op, const struct upload *u)
{
	struct view rest = { u->body, u->len };
	struct upload_entry e;
	enum store_err err = STORE_OK;

	/* I3: an upload whose predecessor was not kept would leave a gap that a later IDENT could not see. */
	if (u->after > op->file->held_client_version || is_elsewhere(op->file->state))
		return STORE_FULL;
	while (err == STORE_OK && upload_entry_next(&rest, &e) == PROTO_OK) {
		struct store_record r = { .client_version = e.client_version,
			.server_version = e.server_version,
			.origin_timestamp = e.origin_timestamp,
			.origin_file_ident = e.origin_file_ident,
			.received_ms = u->received_ms,
			.data = e.changeset.ptr,
			.len = (uint32_t)e.changeset.len };
		bool added;

		op->bad_version = e.client_version;
		if (e.client_version <= op->file->held_client_version) {
			err = store_compare(store, op->file->id, &r);
			if (err == STORE_NOTFOUND)
				err = STORE_OK; /* acknowledged by upstream, or merged away */
			continue;
		}
		err = store_append(store, op->file->id, &r, &added);
		if (err == STORE_OK) {
			op->file->held_client_version = e.client_version;
			op->file->held_server_version = e.server_version;
		}
	}
	return err;
}

/* Whether upstream was faster than the disk.  Then the record says so, or what follows would find a gap (I3), and there is nothing left for
 * the relay to acknowledge. */
static bool
is_needless(struct store_file *f, const struct upload *u)
{
	if (*u->acked < u->last.client_version)
		return false;
	if (u->last.client_version > f->upstream_client_version) {
		f->upstream_client_version = u->last.client_version;
		f->upstream_server_version = u->last.server_version;
	}
	hold_acknowledged(f);
	return true;
}

static enum store_err
append_upload(struct store *store, struct spool_op *op, const struct upload *u)
{
	struct store_file *f = op->file;
	bool needless = is_needless(f, u);
	enum store_err err = needless ? STORE_OK : append_entries(store, op, u);

	if (err != STORE_OK)
		return err;
	op->nkept++;
	op->needless += needless ? u->nentry : 0;
	if (u->progress_client_version > f->final_client_version) {
		f->final_client_version = u->progress_client_version;
		f->final_server_version = u->progress_server_version;
	}
	if (!op->show || needless)
		return STORE_OK;
	op->shown = true;
	if (f->final_client_version > f->shown_client_version) {
		f->shown_client_version = f->final_client_version;
		f->shown_server_version = f->final_server_version;
	}
	return STORE_OK;
}

static enum store_err
do_append(struct store *store, struct spool_op *op)
{
	struct store_file cur;
	struct store_file *f = op->file;
	enum store_err err = record_resolve(store, op, &cur), put;

	op->nkept = op->needless = 0; /* this may be the second time: group_write */
	op->shown = false;
	if (err != STORE_OK)
		return err;
	err = keep_queries(store, op);
	for (size_t i = 0; err == STORE_OK && i < op->nupload; i++)
		err = append_upload(store, op, op->upload[i]);
	if (err != STORE_OK && err != STORE_DIFFERS && err != STORE_FULL) {
		op->nkept = 0;
		return err;
	}
	put = store_file_put(store, f);
	if (put == STORE_OK)
		return err;
	op->nkept = 0; /* the entries may stay, but no record tells of them */
	return put;
}

static enum store_err
do_queries(struct store *store, struct spool_op *op)
{
	struct store_file cur;
	enum store_err err = record_resolve(store, op, &cur), put;

	if (err != STORE_OK || (put = store_file_put(store, op->file)) != STORE_OK)
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
	uint64_t version = UINT64_MAX, sent = op->file->offered_client_version;

	if (op->file->ack != STORE_ACK_RELAY || op->upto <= sent)
		return false;
	return store_read(store, op->file->id, sent, 1, first_version, &version, NULL) == STORE_OK && version <= op->upto;
}

static enum store_err
do_record(struct store *store, struct spool_op *op)
{
	struct store_file cur;
	enum store_err err = record_resolve(store, op, &cur);

	op->conflict = err == STORE_OK && op->kind == SPOOL_TRIM && is_conflict(store, op);
	if (err == STORE_OK && op->kind == SPOOL_TRIM && !op->conflict && !is_elsewhere(op->file->state)) {
		op->nrecord = cur.backlog_records;
		err = store_trim(store, op->file->id, op->upto);
		if (err == STORE_OK)
			err = store_file_get(store, op->file->id, &cur);
		op->nrecord -= err == STORE_OK ? cur.backlog_records : 0;
	}
	return err == STORE_OK ? store_file_put(store, op->file) : err;
}

static enum store_err
do_forget(struct store *store, struct spool_op *op)
{
	enum store_err err = store_file_get(store, op->file->id, op->file);

	if (err == STORE_CORRUPT || (err == STORE_OK && !op->may_forget(op->arg, op->file)))
		err = STORE_INVALID; /* not this one; nothing else of the group is wrong */
	return err == STORE_OK ? store_file_remove(store, op->file->id) : err;
}

enum store_err
committer_write(struct store *store, struct spool_op *op)
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
	case SPOOL_DISOWN:
	case SPOOL_MERGE:
		break;
	}
	PANIC("not a write");
}
