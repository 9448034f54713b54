/* The table `changesets`: the backlog.
 *
 *      file id (8 bytes) client version (8 bytes)  ->  changeset record (record.h)
 *
 * Keys are big-endian, so the order of the table is the order of replay (I3), and a file's records lie together.
 * A record is trusted only after its CRC and its own idea of file and version were checked; one that fails is an answer
 * (STORE_CORRUPT, with its version), not the end of the store (I7). */
#include <errno.h>
#include <string.h>

#include "buffer/be.h"
#include "buffer/record.h"
#include "buffer/store_int.h"

#define KEY_LEN 16

static void
key_put(uint8_t *k, uint64_t id, uint64_t version)
{
	be_put64(k, id);
	be_put64(k + 8, version);
}

/* Moves c to the first record of file id with at least this version: STORE_NOTFOUND when there is none. */
static enum store_err
seek(struct store *s, DBC *c, uint64_t id, uint64_t version, DBT *key, DBT *data)
{
	uint8_t k[KEY_LEN];
	int ret;

	key_put(k, id, version);
	*key = store_dbt(k, sizeof(k));
	if ((ret = c->get(c, key, data, DB_SET_RANGE)) != 0)
		return store_db_error(s, ret);
	/* key now points to libdb's memory */
	if (key->size != KEY_LEN)
		return STORE_CORRUPT;
	return be_get64(key->data) == id ? STORE_OK : STORE_NOTFOUND;
}

/* The next record of the same file. */
static enum store_err
next(struct store *s, DBC *c, uint64_t id, DBT *key, DBT *data)
{
	int ret = c->get(c, key, data, DB_NEXT);

	if (ret != 0)
		return store_db_error(s, ret);
	if (key->size != KEY_LEN)
		return STORE_CORRUPT;
	return be_get64(key->data) == id ? STORE_OK : STORE_NOTFOUND;
}

static uint64_t
key_version(const DBT *key)
{
	return be_get64((const uint8_t *)key->data + 8);
}

/* ---- append and compare ---- */

static bool
record_sane(const struct store_record *r)
{
	return r->client_version != 0 && r->len <= RECORD_DATA_MAX && (r->len == 0 || r->data != NULL);
}

enum store_err
store_compare(struct store *s, uint64_t id, const struct store_record *r)
{
	uint8_t k[KEY_LEN];
	DBT key = store_dbt(k, sizeof(k)), data = { 0 };
	struct store_record held;
	enum store_err err = store_may_read(s);
	int ret;

	if (err != STORE_OK)
		return err;
	if (!record_sane(r))
		return STORE_INVALID;
	key_put(k, id, r->client_version);
	if ((ret = s->changesets->get(s->changesets, s->txn, &key, &data, 0)) != 0)
		return store_db_error(s, ret);
	if ((err = record_decode_changeset(data.data, data.size, id, r->client_version, &held)) != STORE_OK)
		return err;
	if (held.server_version != r->server_version || held.origin_timestamp != r->origin_timestamp ||
	    held.origin_file_ident != r->origin_file_ident || held.len != r->len ||
	    (r->len > 0 && memcmp(held.data, r->data, r->len) != 0))
		return STORE_DIFFERS;
	return STORE_OK;
}

/* Writes the record; DB_KEYEXIST if there is one of this version. */
static int
insert(struct store *s, uint64_t id, const struct store_record *r)
{
	size_t len = record_changeset_size(r->len);
	uint8_t k[KEY_LEN], *buf = store_scratch(s, len);
	DBT key = store_dbt(k, sizeof(k)), data;

	if (buf == NULL)
		return ENOMEM;
	key_put(k, id, r->client_version);
	record_encode_changeset(buf, id, r);
	data = store_dbt(buf, len);
	return s->changesets->put(s->changesets, s->txn, &key, &data, DB_NOOVERWRITE);
}

enum store_err
store_append(struct store *s, uint64_t id, const struct store_record *r, bool *added)
{
	struct tally_row row;
	enum store_err err = store_may_write(s);
	int ret;

	*added = false;
	if (err != STORE_OK)
		return err;
	if (!record_sane(r))
		return STORE_INVALID;
	if ((err = store_row_get(s, id, &row)) != STORE_OK)
		return err;
	if (s->max_bytes > 0 && (r->len > s->max_bytes || s->txn_bytes > s->max_bytes - r->len)) {
		err = store_compare(s, id, r); /* what is held already needs no room */
		return err == STORE_NOTFOUND ? STORE_FULL : err;
	}
	if ((ret = insert(s, id, r)) == DB_KEYEXIST)
		return store_compare(s, id, r);
	if (ret != 0)
		return store_db_error(s, ret);
	if (row.records++ == 0)
		row.oldest_ms = r->received_ms;
	row.bytes += r->len;
	row.dirty = true;
	s->txn_bytes += r->len;
	*added = true;
	return store_row_put(s, &row);
}

/* ---- trim ---- */

/* Only the head and the numbers of a record are needed to count it. */
static DBT
peek_dbt(void)
{
	return (DBT){ .flags = DB_DBT_PARTIAL, .dlen = RECORD_PEEK_LEN };
}

/* Deletes the record under c and takes it out of row.  A damaged one goes too: its key says enough. */
static enum store_err
cut_one(struct store *s, DBC *c, struct tally_row *row, const DBT *key, const DBT *data)
{
	struct store_record r;
	uint64_t bytes = 0;
	int ret;

	if (record_peek_changeset(data->data, data->size, row->id, key_version(key), &r) == STORE_OK)
		bytes = r.len < row->bytes ? r.len : row->bytes;
	if ((ret = c->del(c, 0)) != 0)
		return store_db_error(s, ret);
	if (row->records > 0)
		row->records--;
	if (row->records == 0)
		bytes = row->bytes; /* what is left after the last one can only be from damaged ones */
	row->bytes -= bytes;
	s->txn_bytes -= bytes < s->txn_bytes ? bytes : s->txn_bytes;
	row->dirty = true;
	return STORE_OK;
}

enum store_err
store_cut(struct store *s, struct tally_row *row, uint64_t upto)
{
	DBT key, data = peek_dbt();
	struct store_record first;
	enum store_err err;
	DBC *c;
	int ret;

	if ((ret = s->changesets->cursor(s->changesets, s->txn, &c, 0)) != 0)
		return store_db_error(s, ret);
	err = seek(s, c, row->id, 0, &key, &data);
	while (err == STORE_OK && key_version(&key) <= upto && (err = cut_one(s, c, row, &key, &data)) == STORE_OK)
		err = next(s, c, row->id, &key, &data);
	if (err == STORE_NOTFOUND) {
		row->oldest_ms = 0;
		err = STORE_OK;
	} else if (err == STORE_OK && row->dirty &&
		   record_peek_changeset(data.data, data.size, row->id, key_version(&key), &first) == STORE_OK) {
		row->oldest_ms = first.received_ms;
	}
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

/* Hands records on from where c stands.  key and data hold the first. */
static enum store_err
read_window(struct store *s, DBC *c, uint64_t id, DBT *key, DBT *data, uint64_t max_bytes,
	    bool (*each)(void *arg, const struct store_record *r), void *arg, uint64_t *bad_version)
{
	struct store_record r;
	uint64_t bytes = 0;
	bool some = false;
	enum store_err err;

	do {
		err = record_decode_changeset(data->data, data->size, id, key_version(key), &r);
		if (err != STORE_OK) {
			*bad_version = key_version(key);
			return err;
		}
		if (some && (bytes >= max_bytes || r.len > max_bytes - bytes))
			return STORE_OK;
		some = true;
		bytes += r.len;
		if (!each(arg, &r))
			return STORE_OK;
	} while ((err = next(s, c, id, key, data)) == STORE_OK);
	return err == STORE_NOTFOUND ? STORE_OK : err;
}

enum store_err
store_read(struct store *s, uint64_t id, uint64_t after, uint64_t max_bytes, bool (*each)(void *arg, const struct store_record *r),
	   void *arg, uint64_t *bad_version)
{
	DBT key, data = { 0 };
	enum store_err err = store_may_read(s);
	uint64_t bad = 0;
	DBC *c;
	int ret;

	if (err != STORE_OK || after == UINT64_MAX)
		return err;
	if ((ret = s->changesets->cursor(s->changesets, s->txn, &c, 0)) != 0)
		return store_db_error(s, ret);
	s->walking++;
	if ((err = seek(s, c, id, after + 1, &key, &data)) == STORE_OK)
		err = read_window(s, c, id, &key, &data, max_bytes, each, arg, &bad);
	s->walking--;
	(void)c->close(c);
	if (bad_version != NULL && bad != 0)
		*bad_version = bad;
	return err == STORE_NOTFOUND ? STORE_OK : err;
}
