/* A record of the backlog, taken apart and put back with less in it: the store's part of pre-merge (design section 6).
 *
 * The one idea: the unit is the record as it lies in the table, a run or a single changeset, so that a pass over a backlog costs one read of
 * it, and a write of what changes only.  All of a piece is one transaction: what goes from `changesets`, what is kept of it in
 * `originals`, and the file's counters.  A piece that is not written is as it was.
 *
 * A record is trusted whole or not at all here: with a wrong checksum anywhere in it, nothing of it may justify anything. */
#include <stdlib.h>
#include <string.h>

#include "buffer/be.h"
#include "buffer/record.h"
#include "buffer/store_int.h"

void
store_piece_free(struct store_piece *p)
{
	free(p->entry);
	free(p->buf);
	memset(p, 0, sizeof(*p));
}

static bool
make_room(struct store_piece *p, size_t bytes, size_t entries)
{
	void *q;

	if (bytes > p->buf_cap) {
		if ((q = realloc(p->buf, bytes)) == NULL)
			return false;
		p->buf = q;
		p->buf_cap = bytes;
	}
	if (entries > p->entry_cap) {
		if ((q = realloc(p->entry, entries * sizeof(*p->entry))) == NULL)
			return false;
		p->entry = q;
		p->entry_cap = entries;
	}
	return true;
}

/* Takes the record in p->buf apart. */
static enum store_err
take_apart(struct store *s, struct store_piece *p, size_t len)
{
	struct record_walk w;
	struct store_record r;
	enum store_err err = record_walk_begin(&w, p->buf, len, p->id, p->first, 0);

	if (err != STORE_OK || !w.trusted)
		return STORE_CORRUPT;
	/* The record's checksum is right; what it says of itself may be believed. */
	if (!make_room(p, 0, w.span.n))
		return store_fail(s, STORE_NOMEM);
	p->last = w.span.last;
	p->bytes = 0;
	while ((err = record_walk_next(&w, 0, &r)) == STORE_OK) {
		p->entry[p->n++] = (struct store_piece_entry){ .r = r };
		p->bytes += r.len;
	}
	if (err == STORE_NOTFOUND && p->n == w.span.n)
		return STORE_OK;
	p->n = 0;
	return STORE_CORRUPT;
}

enum store_err
store_piece_read(struct store *s, uint64_t id, uint64_t below, struct store_piece *p)
{
	enum store_err err = store_may_write(s);
	DBT data = { 0 };
	size_t len = 0;
	DBC *c;
	int ret;

	p->n = 0;
	p->id = id;
	p->first = 0;
	if (err != STORE_OK || (err = store_run_flush(s)) != STORE_OK)
		return err;
	if ((ret = s->changesets->cursor(s->changesets, s->txn, &c, 0)) != 0)
		return store_db_error(s, ret);
	if ((err = store_seek_below(s, c, id, below, &data, &p->first)) == STORE_OK) {
		len = data.size;
		if (make_room(p, len > 0 ? len : 1, 0))
			memcpy(p->buf, data.data, len);
		else
			err = store_fail(s, STORE_NOMEM);
	}
	(void)c->close(c);
	return err == STORE_OK ? take_apart(s, p, len) : err;
}

static struct store_piece_entry *
entry_change(struct store_piece *p, size_t i)
{
	struct store_piece_entry *e = &p->entry[i];

	if (!e->changed)
		e->original = record_original_crc(&e->r);
	e->changed = true;
	return e;
}

void
store_piece_replace(struct store_piece *p, size_t i, const void *data, size_t len)
{
	struct store_piece_entry *e = entry_change(p, i);

	/* Its place in p->buf, which is p's to write. */
	memcpy(p->buf + (e->r.data - p->buf), data, len);
	e->r.len = (uint32_t)len;
}

void
store_piece_empty(struct store_piece *p, size_t i)
{
	struct store_piece_entry *e = entry_change(p, i);

	e->r.len = 0;
	e->gone = true;
}

/* Keeps what was sent, a bounded number at a time. */
static enum store_err
note_originals(struct store *s, const struct store_piece *p)
{
	struct store_original o[RECORD_CHUNK];
	size_t n = 0;
	enum store_err err = STORE_OK;

	for (size_t i = 0; i < p->n && err == STORE_OK; i++) {
		const struct store_piece_entry *e = &p->entry[i];

		if (!e->changed)
			continue;
		o[n++] = (struct store_original){ e->r.client_version, e->original, e->gone };
		if (n == RECORD_CHUNK) {
			err = store_originals_note(s, p->id, o, n);
			n = 0;
		}
	}
	return err == STORE_OK ? store_originals_note(s, p->id, o, n) : err;
}

/* Removes the record that was read, and writes what is left of it. */
static enum store_err
put_back(struct store *s, const struct store_piece *p)
{
	uint8_t k[STORE_CHANGESET_KEY];
	DBT key = store_dbt(k, sizeof(k));
	enum store_err err = STORE_OK;
	int ret;

	be_put64(k, p->id);
	be_put64(k + 8, p->first);
	if ((ret = s->changesets->del(s->changesets, s->txn, &key, 0)) != 0)
		return store_fail(s, ret == DB_NOTFOUND ? STORE_CORRUPT : store_db_error(s, ret));
	for (size_t i = 0; i < p->n && err == STORE_OK; i++) {
		if (!p->entry[i].gone)
			err = store_run_add(s, p->id, &p->entry[i].r);
	}
	return err == STORE_OK ? store_run_flush(s) : err;
}

enum store_err
store_piece_write(struct store *s, struct store_piece *p)
{
	struct tally_row row;
	uint64_t after = 0, ngone = 0, nchanged = 0;
	enum store_err err = store_may_write(s);

	for (size_t i = 0; i < p->n; i++) {
		nchanged += p->entry[i].changed;
		ngone += p->entry[i].gone;
		after += p->entry[i].r.len;
	}
	if (err != STORE_OK || nchanged == 0)
		return err;
	if ((err = store_row_get(s, p->id, &row)) != STORE_OK || (err = note_originals(s, p)) != STORE_OK ||
	    (err = put_back(s, p)) != STORE_OK)
		return err;
	store_count_out(s, &row, ngone, p->bytes - after);
	if (p->entry[p->n - 1].gone)
		row.last = 0; /* to be looked up */
	p->n = 0; /* it is not what is in the table any more */
	return store_row_put(s, &row);
}
