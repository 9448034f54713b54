/* The table `changesets`: the backlog.
 *
 *      file id (8 bytes) client version (8 bytes)  ->  record of one changeset, or of a run of them (record.h)
 *
 * Keys are big-endian, so the order of the table is the order of replay (I3), and a file's records lie together.  A run stands
 * under its first version, and nothing of its file lies within its versions but itself; so the record that may hold a version is the
 * one under that version or the one before it (seek).
 * A changeset is trusted only after its CRC and its own idea of file and version were checked; one that fails is an answer
 * (STORE_CORRUPT, with its version), not the end of the store (I7). */
#include <stdlib.h>
#include <string.h>

#include "buffer/be.h"
#include "buffer/record.h"
#include "buffer/store_int.h"

static DBT
key_dbt(uint8_t *k, uint64_t id, uint64_t version)
{
	be_put64(k, id);
	be_put64(k + 8, version);
	return store_dbt(k, STORE_CHANGESET_KEY);
}

static uint64_t
key_version(const DBT *key)
{
	return be_get64((const uint8_t *)key->data + 8);
}

/* Only the head and the numbers of a record are needed to count it. */
static DBT
peek_dbt(void)
{
	return (DBT){ .flags = DB_DBT_PARTIAL, .dlen = RECORD_PEEK_LEN };
}

/* What a cursor's move came to: STORE_NOTFOUND when it left file id. */
static enum store_err
arrived(struct store *s, int ret, uint64_t id, const DBT *key)
{
	if (ret != 0)
		return store_db_error(s, ret);
	if (key->size != STORE_CHANGESET_KEY)
		return STORE_CORRUPT;
	return be_get64(key->data) == id ? STORE_OK : STORE_NOTFOUND;
}

/* The next record of the same file. */
static enum store_err
next(struct store *s, DBC *c, uint64_t id, DBT *key, DBT *data)
{
	return arrived(s, c->get(c, key, data, DB_NEXT), id, key);
}

/* Moves c to the first record of file id that holds this version or a later one: STORE_NOTFOUND when there is none. */
static enum store_err
seek(struct store *s, DBC *c, uint64_t id, uint64_t version, DBT *key, DBT *data)
{
	uint8_t k[STORE_CHANGESET_KEY];
	DBT peek = peek_dbt();
	struct record_span span;
	enum store_err err;
	int ret, found;

	*key = key_dbt(k, id, version);
	if ((found = c->get(c, key, data, DB_SET_RANGE)) != 0 && found != DB_NOTFOUND)
		return store_db_error(s, found);
	/* key now points to libdb's memory */
	if (found == 0 && (err = arrived(s, 0, id, key)) == STORE_OK && key_version(key) == version)
		return STORE_OK;
	/* Does the one before it reach this far? */
	if ((ret = c->get(c, key, &peek, found == 0 ? DB_PREV : DB_LAST)) != DB_NOTFOUND &&
	    (err = arrived(s, ret, id, key)) != STORE_NOTFOUND) {
		if (err != STORE_OK)
			return err;
		if (record_peek(peek.data, peek.size, id, key_version(key), &span) == STORE_OK && span.last >= version)
			return arrived(s, c->get(c, key, data, DB_CURRENT), id, key);
	}
	if (found != 0)
		return STORE_NOTFOUND;
	return arrived(s, c->get(c, key, data, ret == 0 ? DB_NEXT : DB_FIRST), id, key);
}

/* ---- append and compare ---- */

static bool
record_sane(const struct store_record *r)
{
	return r->client_version != 0 && r->len <= RECORD_DATA_MAX && (r->len == 0 || r->data != NULL);
}

static bool
same(const struct store_record *a, const struct store_record *b)
{
	return a->server_version == b->server_version && a->origin_timestamp == b->origin_timestamp &&
	       a->origin_file_ident == b->origin_file_ident && a->len == b->len &&
	       (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

/* Replaces the run under c (whose bytes are data) by single records, so that another can stand between them. */
static enum store_err
split_run(struct store *s, DBC *c, uint64_t id, const DBT *data, uint64_t first)
{
	uint8_t *copy = malloc(data->size);
	struct record_walk w;
	struct store_record r;
	enum store_err err;
	int ret;

	if (copy == NULL)
		return store_fail(s, STORE_NOMEM);
	memcpy(copy, data->data, data->size);
	if ((err = record_walk_begin(&w, copy, data->size, id, first, 0)) == STORE_OK && !w.trusted)
		err = STORE_CORRUPT; /* an answer: nothing was changed */
	if (err == STORE_OK && (ret = c->del(c, 0)) != 0)
		err = store_db_error(s, ret);
	while (err == STORE_OK && (err = record_walk_next(&w, 0, &r)) == STORE_OK)
		err = store_single_put(s, id, &r);
	free(copy);
	return err == STORE_NOTFOUND ? STORE_OK : err;
}

/* Is r what was sent under its version before that was pre-merged?  held: something of it still is. */
static enum store_err
compare_sent(struct store *s, uint64_t id, const struct store_record *r, bool held)
{
	struct store_original sent;
	enum store_err err = store_original_find(s, id, r->client_version, &sent);

	if (err == STORE_NOTFOUND)
		return held ? STORE_DIFFERS : STORE_NOTFOUND;
	if (err == STORE_OK && !held && !sent.gone)
		return STORE_NOTFOUND; /* known by an import or a salvage, which bring the record itself later */
	if (err == STORE_OK && sent.crc != record_original_crc(r))
		return STORE_DIFFERS;
	return err;
}

/* Compares r with what is held.  split: when it is not held but lies within a run, makes room for it. */
static enum store_err
compare(struct store *s, uint64_t id, const struct store_record *r, bool split)
{
	DBT key, data = { 0 };
	struct store_record held;
	struct record_walk w;
	enum store_err err;
	uint64_t first = 0;
	bool within = false;
	DBC *c;
	int ret;

	if ((ret = s->changesets->cursor(s->changesets, s->txn, &c, 0)) != 0)
		return store_db_error(s, ret);
	err = seek(s, c, id, r->client_version, &key, &data);
	if (err == STORE_OK && (first = key_version(&key)) > r->client_version)
		err = STORE_NOTFOUND;
	if (err == STORE_OK &&
	    (err = record_walk_begin(&w, data.data, data.size, id, first, r->client_version - 1)) == STORE_OK &&
	    (err = record_walk_next(&w, r->client_version - 1, &held)) == STORE_OK) {
		within = held.client_version != r->client_version;
		if (!within && !same(&held, r))
			err = compare_sent(s, id, r, true);
	}
	if (err == STORE_NOTFOUND || within) {
		err = compare_sent(s, id, r, false);
		if (err == STORE_NOTFOUND && within && split && (err = split_run(s, c, id, &data, first)) == STORE_OK)
			err = STORE_NOTFOUND;
	}
	(void)c->close(c);
	return err;
}

enum store_err
store_compare(struct store *s, uint64_t id, const struct store_record *r)
{
	enum store_err err = store_may_read(s);

	if (err != STORE_OK)
		return err;
	if (!record_sane(r))
		return STORE_INVALID;
	if ((err = store_run_flush(s)) != STORE_OK)
		return err;
	return compare(s, id, r, false);
}

enum store_err
store_seek_below(struct store *s, DBC *c, uint64_t id, uint64_t below, DBT *data, uint64_t *first)
{
	uint8_t k[STORE_CHANGESET_KEY];
	DBT key = key_dbt(k, id, below), peek = peek_dbt();
	enum store_err err;
	int ret = c->get(c, &key, &peek, DB_SET_RANGE);

	if (ret == 0 || ret == DB_NOTFOUND)
		ret = c->get(c, &key, data, ret == 0 ? DB_PREV : DB_LAST);
	if ((err = arrived(s, ret, id, &key)) == STORE_OK)
		*first = key_version(&key);
	return err;
}

/* Finds the newest version that file row->id holds. */
static enum store_err
find_last(struct store *s, struct tally_row *row)
{
	DBT data = peek_dbt();
	struct record_span span;
	enum store_err err;
	uint64_t first;
	DBC *c;
	int ret;

	if ((ret = s->changesets->cursor(s->changesets, s->txn, &c, 0)) != 0)
		return store_db_error(s, ret);
	if ((err = store_seek_below(s, c, row->id, UINT64_MAX, &data, &first)) == STORE_OK)
		row->last = record_peek(data.data, data.size, row->id, first, &span) == STORE_OK ? span.last : first;
	(void)c->close(c);
	return err == STORE_NOTFOUND ? STORE_OK : err;
}

/* Puts r behind what the file holds, or, what the relay never needs, between.  STORE_OK and *added false: it is held. */
static enum store_err
insert(struct store *s, struct tally_row *row, const struct store_record *r, bool *added)
{
	enum store_err err;

	if (row->records > 0 && row->last == 0 && (err = store_run_flush(s)) != STORE_OK)
		return err;
	if (row->records > 0 && row->last == 0 && (err = find_last(s, row)) != STORE_OK)
		return err;
	if (row->records == 0 || r->client_version > row->last) {
		err = store_run_add(s, row->id, r);
		row->last = r->client_version;
	} else if ((err = store_run_flush(s)) == STORE_OK && (err = compare(s, row->id, r, true)) == STORE_NOTFOUND) {
		err = store_single_put(s, row->id, r);
	} else {
		return err;
	}
	*added = err == STORE_OK;
	return err;
}

enum store_err
store_append(struct store *s, uint64_t id, const struct store_record *r, bool *added)
{
	struct tally_row row;
	enum store_err err = store_may_write(s);

	*added = false;
	if (err != STORE_OK)
		return err;
	if (!record_sane(r))
		return STORE_INVALID;
	if ((err = store_row_get(s, id, &row)) != STORE_OK)
		return err;
	if (!store_has_room(s, &row, r->len)) {
		err = store_compare(s, id, r); /* what is held already needs no room */
		return err == STORE_NOTFOUND ? STORE_FULL : err;
	}
	if ((err = insert(s, &row, r, added)) != STORE_OK || !*added)
		return err;
	if (row.records++ == 0)
		row.oldest_ms = r->received_ms;
	row.bytes += r->len;
	row.dirty = true;
	s->txn_bytes += r->len;
	return store_row_put(s, &row);
}

/* ---- trim ---- */

void
store_count_out(struct store *s, struct tally_row *row, uint64_t n, uint64_t bytes)
{
	if (bytes > row->bytes)
		bytes = row->bytes;
	row->records -= n < row->records ? n : row->records;
	row->bytes -= bytes;
	s->txn_bytes -= bytes < s->txn_bytes ? bytes : s->txn_bytes;
	row->dirty = true;
}

/* Cuts the entries up to upto off the run under c, of which some are later: what is left stands under its own first version.  A run
 * whose entries cannot be told apart stays as it is. */
static enum store_err
cut_run(struct store *s, DBC *c, struct tally_row *row, uint64_t first, const struct record_span *span, uint64_t upto)
{
	DBT key = { 0 }, data = { 0 };
	struct record_walk w;
	struct store_record r;
	enum store_err err;
	int ret;

	if ((ret = c->get(c, &key, &data, DB_CURRENT)) != 0)
		return store_db_error(s, ret);
	if (record_walk_begin(&w, data.data, data.size, row->id, first, upto) != STORE_OK || !w.trusted)
		return STORE_OK;
	while ((err = record_walk_next(&w, upto, &r)) == STORE_OK) {
		if ((err = store_run_add(s, row->id, &r)) != STORE_OK)
			return err;
	}
	if (err != STORE_NOTFOUND) {
		store_run_drop(s);
		return STORE_OK;
	}
	store_count_out(s, row, span->n - s->run.span.n, span->bytes - s->run.span.bytes);
	if ((ret = c->del(c, 0)) != 0)
		return store_db_error(s, ret);
	return store_run_flush(s);
}

/* Removes the record under c, which holds nothing later than upto. */
static enum store_err
cut_one(struct store *s, DBC *c, struct tally_row *row, uint64_t n, uint64_t bytes)
{
	int ret = c->del(c, 0);

	if (ret != 0)
		return store_db_error(s, ret);
	store_count_out(s, row, n, bytes);
	return STORE_OK;
}

/* A record that does not say what it holds goes when all of it must be of what is cut: the next one begins no later, or the file
 * never held more.  *kept: it stayed. */
static enum store_err
cut_damaged(struct store *s, DBC *c, struct tally_row *row, uint64_t upto, bool *kept)
{
	DBT key = { 0 }, data = peek_dbt();
	struct store_file f;
	enum store_err err;
	uint64_t last;
	DBC *peek;
	int ret;

	if ((ret = c->dup(c, &peek, DB_POSITION)) != 0)
		return store_db_error(s, ret);
	if ((err = next(s, peek, row->id, &key, &data)) == STORE_OK)
		last = key_version(&key) - 1;
	else if (err == STORE_NOTFOUND && (err = store_file_get(s, row->id, &f)) == STORE_OK)
		last = f.held_client_version;
	else
		last = 0;
	(void)peek->close(peek);
	if (err != STORE_OK)
		return err;
	*kept = last > upto;
	return *kept ? STORE_OK : cut_one(s, c, row, 1, 0);
}

/* Removes what the walk that stands at c finds up to upto. */
static enum store_err
cut_walk(struct store *s, DBC *c, struct tally_row *row, uint64_t upto)
{
	DBT key, data = peek_dbt();
	struct record_span span;
	bool kept = false;
	enum store_err err = seek(s, c, row->id, 0, &key, &data);

	for (; err == STORE_OK; err = next(s, c, row->id, &key, &data)) {
		uint64_t first = key_version(&key);
		bool readable = record_peek(data.data, data.size, row->id, first, &span) == STORE_OK;

		if (first > upto)
			return STORE_OK;
		if (!readable)
			err = cut_damaged(s, c, row, upto, &kept);
		else if (span.last > upto)
			return cut_run(s, c, row, first, &span, upto);
		else
			err = cut_one(s, c, row, span.n, span.bytes);
		if (err != STORE_OK)
			return err;
	}
	if (err == STORE_NOTFOUND && !kept) {
		/* What is left in the counters after the last record can only be from damaged ones. */
		store_count_out(s, row, row->records, row->bytes);
	}
	return err == STORE_NOTFOUND ? STORE_OK : err;
}

/* The time of the oldest changeset that is left; one that is unreadable keeps what was known. */
static enum store_err
find_oldest(struct store *s, DBC *c, struct tally_row *row)
{
	DBT key, data = peek_dbt();
	struct record_span span;
	enum store_err err = seek(s, c, row->id, 0, &key, &data);

	if (err == STORE_NOTFOUND)
		row->oldest_ms = 0;
	else if (err == STORE_OK && record_peek(data.data, data.size, row->id, key_version(&key), &span) == STORE_OK)
		row->oldest_ms = span.oldest_ms;
	row->dirty = true;
	return err == STORE_NOTFOUND ? STORE_OK : err;
}

enum store_err
store_cut(struct store *s, struct tally_row *row, uint64_t upto)
{
	enum store_err err = store_run_flush(s);
	uint64_t before = row->records;
	bool some = false; /* of what was merged away */
	DBC *c;
	int ret;

	if (err != STORE_OK)
		return err;
	if ((ret = s->changesets->cursor(s->changesets, s->txn, &c, 0)) != 0)
		return store_db_error(s, ret);
	if ((err = cut_walk(s, c, row, upto)) == STORE_OK && (err = store_originals_cut(s, row->id, upto, &some)) == STORE_OK &&
	    (some || row->records != before))
		err = find_oldest(s, c, row);
	if ((ret = c->close(c)) != 0 && err == STORE_OK)
		err = store_db_error(s, ret);
	return err;
}

enum store_err
store_trim(struct store *s, uint64_t id, uint64_t upto)
{
	struct tally_row row;
	enum store_err err = store_may_write(s);

	if (err != STORE_OK || (err = store_row_get(s, id, &row)) != STORE_OK)
		return err;
	if (row.records == 0)
		return STORE_OK;
	if ((err = store_cut(s, &row, upto)) != STORE_OK)
		return err;
	return store_row_put(s, &row);
}

/* ---- read ---- */

struct window {
	struct store *s;
	uint64_t id, after, max_bytes, bytes;
	bool (*each)(void *arg, const struct store_record *r);
	void *arg;
	uint64_t bad_version;
	bool some, enough;
};

/* Hands on what fits of one record.  A run goes whole or not at all, but for the first: what is acknowledged later is then whole runs. */
static enum store_err
read_record(struct window *win, uint64_t first, const DBT *data)
{
	struct record_walk w;
	struct store_record r;
	enum store_err err = record_walk_begin(&w, data->data, data->size, win->id, first, win->after);

	if (err == STORE_OK && win->some && w.span.bytes > win->max_bytes - win->bytes) {
		win->enough = true;
		return STORE_OK;
	}
	while (err == STORE_OK && !win->enough && (err = record_walk_next(&w, win->after, &r)) == STORE_OK) {
		if (win->some && (win->bytes >= win->max_bytes || r.len > win->max_bytes - win->bytes)) {
			win->enough = true;
			break;
		}
		win->some = true;
		win->bytes += r.len;
		win->enough = !win->each(win->arg, &r);
	}
	if (err != STORE_OK && err != STORE_NOTFOUND)
		win->bad_version = w.bad_version;
	return err == STORE_NOTFOUND ? STORE_OK : err;
}

static enum store_err
read_window(struct window *win, DBC *c)
{
	DBT key, data = { 0 };
	enum store_err err = seek(win->s, c, win->id, win->after + 1, &key, &data);

	while (err == STORE_OK && (err = read_record(win, key_version(&key), &data)) == STORE_OK && !win->enough &&
	       win->bytes <= win->max_bytes)
		err = next(win->s, c, win->id, &key, &data);
	return err == STORE_NOTFOUND ? STORE_OK : err;
}

enum store_err
store_read(struct store *s, uint64_t id, uint64_t after, uint64_t max_bytes, bool (*each)(void *arg, const struct store_record *r),
	   void *arg, uint64_t *bad_version)
{
	struct window win = { .s = s, .id = id, .after = after, .max_bytes = max_bytes, .each = each, .arg = arg };
	enum store_err err = store_may_read(s);
	DBC *c;
	int ret;

	if (err != STORE_OK || after == UINT64_MAX)
		return err;
	if (s->walking == 0 && (err = store_run_flush(s)) != STORE_OK)
		return err;
	if ((ret = s->changesets->cursor(s->changesets, s->txn, &c, 0)) != 0)
		return store_db_error(s, ret);
	s->walking++;
	err = read_window(&win, c);
	s->walking--;
	(void)c->close(c);
	if (bad_version != NULL && win.bad_version != 0)
		*bad_version = win.bad_version;
	return err;
}
