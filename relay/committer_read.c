/* What a single operation reads from the store: a file's record, a batch to replay, a small value.
 *
 * Comes after the group's writes, outside any transaction. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/message.h"

#include "relay/committer_impl.h"
#include "relay/journal.h"
#include "relay/mend.h"
#include "relay/promise.h"

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

void
committer_read_batch(struct store *store, struct spool_op *op)
{
	struct reader r = { .op = op };

	op->err = store_read(store, op->file->id, op->after, op->max_bytes, batch_add, &r, &op->bad_version);
	if (op->err == STORE_CORRUPT && op->batch.nentry > 0)
		op->err = STORE_OK; /* send what stands before the bad record; the next read reports it */
	if (op->err == STORE_OK && r.nomem && op->batch.nentry == 0)
		op->err = STORE_NOMEM;
	op->batch.uncompressed_size = op->batch.len;
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

static void
find_aside(struct spool_op *op, enum store_file_state state)
{
	op->aside = true;
	op->file->state = state;
	op->file->state_code = 0;
	op->file->state_time_ms = 0;
}

/* I7: a damaged query concerns its file alone. */
static enum store_err
find_queries(struct store *store, struct spool_op *op)
{
	struct store_file *f = op->file;
	enum store_err err = store_query_each(store, f->id, found_query, &op->queries);

	if (err != STORE_CORRUPT || !mend_is_local(store))
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
	struct store_file *f = op->file;
	enum store_err err = store_file_find(store, f->endpoint, f->path, f->file_ident, f->file_ident_salt, f);
	uint64_t client_version, server_version;

	if (err == STORE_CORRUPT && mend_is_local(store)) {
		err = mend_file(store, journal, f);
		op->damaged = err == STORE_CORRUPT && mend_is_local(store);
	}
	if (err == STORE_OK)
		err = find_queries(store, op);
	if (err == STORE_OK && promise_is_owed(f) &&
	    !(journal_find(journal, f, &client_version, &server_version) && client_version >= f->shown_client_version) &&
	    (err = promise_note(store, journal, f)) == STORE_NOSPACE) /* brought in by an import, or there was no room for it */
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

void
committer_read(struct store *store, struct journal *journal, struct spool_op *op)
{
	if (op->kind == SPOOL_FIND)
		op->err = do_find(store, journal, op);
	else if (op->kind == SPOOL_GET)
		op->err = do_get(store, op);
	else if (op->kind == SPOOL_CALL)
		op->fn(op->arg, store);
}
