/* The tables `files` and `names`, and the counters of the backlog.
 *
 *      files   id (8 bytes)                                     -> file record (record.h)
 *      names   endpoint NUL path NUL ident (8) salt (8)         -> id (8 bytes)
 *
 * The one idea: the counters in a file's record are the store's, not the caller's.  While the store is open they live in memory
 * (store.c); on disk they are written with the file's record, in the transaction that changed them, and read only at open.  So
 * opening costs one pass over the files, whatever the backlog.
 *
 * The record that was put last (late) is a delay, as the open run is (store_run.c): changesets of one file follow each other, each puts it
 * anew, and only the last reaches the table, before anything else looks there.  A new file's is written at once: what may be
 * damaged in its place must show with it, not with the next file (I7); that of a known one was read before. */
#include <stdio.h>
#include <string.h>

#include "buffer/be.h"
#include "buffer/record.h"
#include "buffer/store_int.h"

#define ID_LEN 8
#define NAME_MAX_LEN (STORE_ENDPOINT_MAX + 1 + STORE_PATH_MAX + 1 + 8 + 8)

/* ---- the identity ---- */

/* Writes the key of an identity at out (NAME_MAX_LEN bytes); 0 if it is too long. */
static size_t
name_key(uint8_t *out, const char *endpoint, const char *path, uint64_t ident, uint64_t salt)
{
	size_t endpoint_len = strnlen(endpoint, STORE_ENDPOINT_MAX + 1), path_len = strnlen(path, STORE_PATH_MAX + 1);
	uint8_t *p = out;

	if (endpoint_len > STORE_ENDPOINT_MAX || path_len > STORE_PATH_MAX)
		return 0;
	memcpy(p, endpoint, endpoint_len + 1);
	p += endpoint_len + 1;
	memcpy(p, path, path_len + 1);
	p += path_len + 1;
	be_put64(p, ident);
	be_put64(p + 8, salt);
	return (size_t)(p - out) + 16;
}

/* The identity that a name spells; false: none. */
static bool
name_spell(const uint8_t *name, size_t len, struct store_file *out)
{
	size_t endpoint_len = strnlen((const char *)name, len), path_len;

	if (endpoint_len > STORE_ENDPOINT_MAX || len < endpoint_len + 1)
		return false;
	path_len = strnlen((const char *)name + endpoint_len + 1, len - endpoint_len - 1);
	if (path_len > STORE_PATH_MAX || len != endpoint_len + 1 + path_len + 1 + 16)
		return false;
	memset(out, 0, sizeof(*out));
	memcpy(out->endpoint, name, endpoint_len);
	memcpy(out->path, name + endpoint_len + 1, path_len);
	out->file_ident = be_get64(name + len - 16);
	out->file_ident_salt = be_get64(name + len - 8);
	return true;
}

/* The id under a name. */
static enum store_err
name_find(struct store *s, const uint8_t *name, size_t name_len, uint64_t *id)
{
	DBT key = store_dbt(name, name_len), data = { 0 };
	int ret = s->names->get(s->names, s->txn, &key, &data, 0);

	if (ret != 0)
		return store_db_error(s, ret);
	if (data.size != ID_LEN)
		return STORE_CORRUPT;
	*id = be_get64(data.data);
	return STORE_OK;
}

/* ---- reading ---- */

/* The counters that a caller sees are those in memory. */
static void
overlay(const struct store *s, struct store_file *f)
{
	const struct tally_row *row = s->txn != NULL ? tally_find(&s->changed, f->id) : NULL;

	if (row == NULL)
		row = tally_find(&s->tally, f->id);
	f->backlog_records = row != NULL ? row->records : 0;
	f->backlog_bytes = row != NULL ? row->bytes : 0;
	f->oldest_ms = row != NULL ? row->oldest_ms : 0;
}

bool
store_is_named(const struct store_file *f, const void *name, size_t name_len)
{
	uint8_t own[NAME_MAX_LEN];

	return name_key(own, f->endpoint, f->path, f->file_ident, f->file_ident_salt) == name_len && memcmp(own, name, name_len) == 0;
}

/* Writes f's record into the table. */
static enum store_err
file_write(struct store *s, const struct store_file *f)
{
	uint8_t k[ID_LEN], rec[RECORD_FILE_MAX];
	DBT key = store_dbt(k, sizeof(k)), data = store_dbt(rec, record_encode_file(rec, f));

	be_put64(k, f->id);
	return store_db_error(s, s->files->put(s->files, s->txn, &key, &data, 0));
}

/* To be called before the table is looked at. */
static enum store_err
late_flush(struct store *s)
{
	enum store_err err = s->late_dirty ? file_write(s, &s->late) : STORE_OK;

	s->late_dirty = s->late_dirty && err != STORE_OK;
	return err;
}

/* The record of file id, without its counters. */
static enum store_err
file_load(struct store *s, uint64_t id, struct store_file *out)
{
	uint8_t k[ID_LEN];
	DBT key = store_dbt(k, sizeof(k)), data = { 0 };
	int ret;

	if (s->late.id == id && id != 0) {
		*out = s->late;
		return STORE_OK;
	}
	be_put64(k, id);
	if ((ret = s->files->get(s->files, s->txn, &key, &data, 0)) != 0)
		return store_db_error(s, ret);
	return record_decode_file(data.data, data.size, id, out);
}

enum store_err
store_file_get(struct store *s, uint64_t id, struct store_file *out)
{
	struct store_file f;
	enum store_err err = store_may_read(s);

	if (err == STORE_OK && s->late.id == id && id != 0) {
		*out = s->late;
	} else {
		if (err != STORE_OK || (err = file_load(s, id, &f)) != STORE_OK)
			return err;
		*out = f;
	}
	overlay(s, out);
	return STORE_OK;
}

enum store_err
store_file_find(struct store *s, const char *endpoint, const char *path, uint64_t file_ident, uint64_t file_ident_salt,
		struct store_file *out)
{
	uint8_t name[NAME_MAX_LEN];
	size_t name_len = name_key(name, endpoint, path, file_ident, file_ident_salt);
	enum store_err err = store_may_read(s);
	struct store_file f;
	uint64_t id;

	if (err != STORE_OK)
		return err;
	if (name_len == 0)
		return STORE_INVALID;
	if ((err = name_find(s, name, name_len, &id)) != STORE_OK)
		return err;
	/* Neither a name without its file nor one of another file can come from a transaction. */
	if ((err = store_file_get(s, id, &f)) == STORE_NOTFOUND || (err == STORE_OK && !store_is_named(&f, name, name_len)))
		return STORE_CORRUPT;
	if (err == STORE_OK)
		*out = f;
	return err;
}

/* Calls each for every file record; bad ones are reported, to bad (may be NULL) too, and the walk goes on: one bad file never stops
 * another one (I7).  The id of a bad one is 0 when its key is none.  False from either ends the walk. */
static enum store_err
files_walk(struct store *s, bool (*each)(void *arg, const struct store_file *f), bool (*bad)(void *arg, uint64_t id), void *arg)
{
	DBT key = { 0 }, data = { 0 };
	struct store_file f;
	char text[128];
	enum store_err flushed = late_flush(s);
	DBC *c;
	int ret;

	if (flushed != STORE_OK)
		return flushed;
	if ((ret = s->files->cursor(s->files, s->txn, &c, 0)) != 0)
		return store_db_error(s, ret);
	s->walking++;
	while ((ret = c->get(c, &key, &data, DB_NEXT)) == 0) {
		uint64_t id = key.size == ID_LEN ? be_get64(key.data) : 0;
		enum store_err err = id == 0 ? STORE_CORRUPT : record_decode_file(data.data, data.size, id, &f);

		if (err != STORE_OK) {
			(void)snprintf(text, sizeof(text), "the record of file %llu is unusable (%s), passed over",
				       (unsigned long long)id, store_strerror(err));
			env_report(s->env, text);
			if (bad != NULL && !bad(arg, id))
				break;
		} else if (!each(arg, &f)) {
			break;
		}
	}
	s->walking--;
	(void)c->close(c);
	return ret == DB_NOTFOUND ? STORE_OK : store_db_error(s, ret);
}

struct each_arg {
	struct store *s;
	bool (*each)(void *arg, const struct store_file *f);
	void *arg;
};

static bool
each_cb(void *arg, const struct store_file *f)
{
	struct each_arg *a = arg;
	struct store_file seen = *f;

	overlay(a->s, &seen);
	return a->each(a->arg, &seen);
}

enum store_err
store_file_each(struct store *s, bool (*each)(void *arg, const struct store_file *f), void *arg)
{
	struct each_arg a = { s, each, arg };
	enum store_err err = store_may_read(s);

	return err != STORE_OK ? err : files_walk(s, each_cb, NULL, &a);
}

/* ---- counters ---- */

/* Puts row into its shares. */
static void
share_row(const struct store *s, const struct store_file *f, struct tally_row *row)
{
	unsigned share[STORE_SHARES_OF_FILE] = { 0, 1 };

	if (s->share_of != NULL)
		s->share_of(s->share_arg, f, share);
	for (unsigned k = 0; k < STORE_SHARES_OF_FILE; k++)
		row->share[k] = (uint8_t)(share[k] % STORE_SHARES_MAX);
}

enum store_err
store_share_by(struct store *s, store_share_fn *of, void *arg)
{
	struct store_file f;
	enum store_err err = store_may_read(s);

	if (err != STORE_OK || s->txn != NULL)
		return err != STORE_OK ? err : STORE_INVALID;
	s->share_of = of;
	s->share_arg = arg;
	for (size_t i = 0; i < s->tally.n; i++) {
		struct tally_row row = s->tally.rows[i];

		if (row.damaged || row.dropped)
			continue; /* nothing of it is in the totals */
		if ((err = file_load(s, row.id, &f)) != STORE_OK)
			return err;
		share_row(s, &f, &row);
		tally_put(&s->tally, &row);
	}
	return STORE_OK;
}

struct load_arg {
	struct store *s;
	bool nomem;
};

static bool
load_row(struct load_arg *a, const struct tally_row *row)
{
	if (!tally_reserve(&a->s->tally, 1)) {
		a->nomem = true;
		return false;
	}
	tally_put(&a->s->tally, row);
	return true;
}

static bool
load_cb(void *arg, const struct store_file *f)
{
	struct load_arg *a = arg;
	struct store *s = a->s;

	s->nfiles++;
	if (f->id >= s->next_id)
		s->next_id = f->id + 1;
	if (f->backlog_records == 0 && f->state == STORE_FILE_OK)
		return true;
	return load_row(a, &(struct tally_row){ .id = f->id, .records = f->backlog_records, .bytes = f->backlog_bytes,
						.oldest_ms = f->oldest_ms, .aside = f->state != STORE_FILE_OK, .share = { 0, 1 },
						     .exported = f->state == STORE_FILE_EXPORTED });
}

static bool
load_bad_cb(void *arg, uint64_t id)
{
	struct load_arg *a = arg;

	a->s->nfiles++;
	a->s->damaged++;
	return id == 0 || load_row(a, &(struct tally_row){ .id = id, .damaged = true });
}

enum store_err
store_files_load(struct store *s)
{
	struct load_arg a = { .s = s };
	enum store_err err = files_walk(s, load_cb, load_bad_cb, &a);

	return a.nomem ? STORE_NOMEM : err;
}

enum store_err
store_row_get(struct store *s, uint64_t id, struct tally_row *row)
{
	const struct tally_row *known = tally_find(&s->changed, id);
	struct store_file f;
	enum store_err err;

	if (known != NULL) {
		*row = *known;
		return known->gone ? STORE_NOTFOUND : STORE_OK;
	}
	/* The first touch in this transaction: is there such a file, and can its record be rewritten at commit? */
	if ((err = file_load(s, id, &f)) != STORE_OK)
		return err;
	known = tally_find(&s->tally, id);
	*row = known != NULL ? *known : (struct tally_row){ .id = id };
	if (known == NULL)
		share_row(s, &f, row);
	return STORE_OK;
}

enum store_err
store_row_put(struct store *s, const struct tally_row *row)
{
	if (!tally_reserve(&s->changed, 1))
		return store_fail(s, STORE_NOMEM);
	tally_put(&s->changed, row);
	return STORE_OK;
}

/* ---- writing ---- */

/* Writes f's record, now or late; its counters must be set. */
static enum store_err
file_save(struct store *s, const struct store_file *f, bool now)
{
	enum store_err err = s->late.id != f->id ? late_flush(s) : STORE_OK;

	if (err == STORE_OK && now)
		err = file_write(s, f);
	if (err != STORE_OK)
		return err;
	s->late = *f;
	s->late_dirty = !now;
	return STORE_OK;
}

enum store_err
store_rows_flush(struct store *s)
{
	struct store_file f;
	enum store_err err;

	for (size_t i = 0; i < s->changed.n; i++) {
		if (!s->changed.rows[i].dirty)
			continue;
		if ((err = file_load(s, s->changed.rows[i].id, &f)) != STORE_OK)
			return store_fail(s, err == STORE_NOTFOUND ? STORE_CORRUPT : err);
		overlay(s, &f);
		if ((err = file_save(s, &f, false)) != STORE_OK)
			return err;
	}
	return late_flush(s);
}

/* Gives f an id and enters its name. */
static enum store_err
file_create(struct store *s, struct store_file *f, const uint8_t *name, size_t name_len)
{
	uint8_t id[ID_LEN];
	DBT key = store_dbt(name, name_len), data = store_dbt(id, sizeof(id));
	struct tally_row row = { .id = s->txn_next_id };
	enum store_err err;
	int ret;

	be_put64(id, s->txn_next_id);
	share_row(s, f, &row);
	if ((ret = s->names->put(s->names, s->txn, &key, &data, DB_NOOVERWRITE)) == DB_KEYEXIST)
		return STORE_INVALID;
	if (ret != 0)
		return store_db_error(s, ret);
	err = store_own_put(s, STORE_KEY_NEXT_ID, sizeof(STORE_KEY_NEXT_ID) - 1, s->txn_next_id + 1);
	if (err == STORE_OK)
		err = store_row_put(s, &row);
	if (err != STORE_OK)
		return err;
	f->id = s->txn_next_id++;
	s->txn_nfiles++;
	return STORE_OK;
}

/* Is f fit to be stored?  Returns the length of its name, written at name, or 0. */
static size_t
file_check(const struct store_file *f, uint8_t *name)
{
	if (memchr(f->state_text, '\0', sizeof(f->state_text)) == NULL || (unsigned)f->state > STORE_FILE_STATE_MAX ||
	    (unsigned)f->ack > STORE_ACK_RELAY)
		return 0;
	return name_key(name, f->endpoint, f->path, f->file_ident, f->file_ident_salt);
}

enum store_err
store_file_put(struct store *s, struct store_file *f)
{
	uint8_t name[NAME_MAX_LEN];
	size_t name_len = file_check(f, name);
	uint64_t known;
	struct tally_row row;
	bool is_new = f->id == 0;
	enum store_err err = store_may_write(s);

	if (err != STORE_OK)
		return err;
	if (name_len == 0)
		return STORE_INVALID;
	if (is_new) {
		if ((err = file_create(s, f, name, name_len)) != STORE_OK)
			return err;
	} else if (s->late.id == f->id && store_is_named(&s->late, name, name_len)) {
		; /* it was looked up when that was put */
	} else if ((err = name_find(s, name, name_len, &known)) != STORE_OK || known != f->id) {
		return err == STORE_OK ? STORE_INVALID : err; /* the identity of a file never changes */
	}
	if ((err = store_row_get(s, f->id, &row)) != STORE_OK)
		return err;
	overlay(s, f);
	if ((err = file_save(s, f, is_new)) != STORE_OK)
		return err;
	row.dirty = false;
	row.aside = f->state != STORE_FILE_OK;
	row.exported = f->state == STORE_FILE_EXPORTED;
	return store_row_put(s, &row);
}

/* ---- a damaged record ---- */

static bool
mend_cb(void *arg, const struct store_record *r)
{
	struct store_file *f = arg;

	if (f->backlog_records++ == 0)
		f->oldest_ms = r->received_ms;
	f->backlog_bytes += r->len;
	f->held_client_version = r->client_version;
	f->held_server_version = r->server_version;
	return true;
}

/* Counts the backlog of file f->id, a damaged changeset as one, and finds its newest pair. */
static enum store_err
mend_count(struct store *s, struct store_file *f)
{
	uint64_t after, bad = 0;
	enum store_err err;

	f->backlog_records = f->backlog_bytes = f->oldest_ms = 0;
	f->held_client_version = f->held_server_version = 0;
	do {
		after = bad;
		err = store_read(s, f->id, after, UINT64_MAX, mend_cb, f, &bad);
		f->backlog_records += bad > after;
	} while (err == STORE_CORRUPT && bad > after);
	return err;
}

enum store_err
store_file_mend(struct store *s, struct store_file *f)
{
	uint8_t name[NAME_MAX_LEN];
	size_t name_len = file_check(f, name);
	enum store_err err = store_may_write(s);
	const struct tally_row *known;
	struct tally_row row;
	struct store_file old;

	if (err != STORE_OK)
		return err;
	if (name_len == 0)
		return STORE_INVALID;
	if ((err = name_find(s, name, name_len, &f->id)) != STORE_OK)
		return err;
	if ((err = file_load(s, f->id, &old)) == STORE_OK || err == STORE_VERSION)
		return STORE_INVALID; /* a sound record, be it another file's */
	if (err != STORE_CORRUPT && err != STORE_NOTFOUND)
		return err;
	s->txn_nfiles += err == STORE_NOTFOUND;
	if ((err = mend_count(s, f)) != STORE_OK || (err = file_save(s, f, true)) != STORE_OK)
		return err;
	known = tally_find(&s->tally, f->id);
	s->txn_bytes += f->backlog_bytes - (known != NULL ? known->bytes : 0);
	s->txn_damaged -= known != NULL && known->damaged;
	row = (struct tally_row){ .id = f->id, .records = f->backlog_records, .bytes = f->backlog_bytes, .oldest_ms = f->oldest_ms,
		.aside = f->state != STORE_FILE_OK, .exported = f->state == STORE_FILE_EXPORTED };
	share_row(s, f, &row);
	return store_row_put(s, &row);
}

enum store_err
store_name_of(struct store *s, uint64_t id, struct store_file *out)
{
	DBT key = { 0 }, data = { 0 };
	enum store_err err = store_may_read(s);
	DBC *c;
	int ret;

	if (err != STORE_OK)
		return err;
	if ((ret = s->names->cursor(s->names, s->txn, &c, 0)) != 0)
		return store_db_error(s, ret);
	while ((ret = c->get(c, &key, &data, DB_NEXT)) == 0)
		if (data.size == ID_LEN && be_get64(data.data) == id && name_spell(key.data, key.size, out))
			break;
	(void)c->close(c);
	if (ret == 0)
		out->id = id;
	return store_db_error(s, ret);
}

/* ---- removing ---- */

enum store_err
store_file_remove(struct store *s, uint64_t id)
{
	uint8_t name[NAME_MAX_LEN], k[ID_LEN];
	DBT key;
	struct store_file f;
	struct tally_row row;
	enum store_err err = store_may_write(s);
	int ret;

	if (err != STORE_OK || (err = store_row_get(s, id, &row)) != STORE_OK || (err = file_load(s, id, &f)) != STORE_OK ||
	    (err = store_cut(s, &row, UINT64_MAX)) != STORE_OK || (err = store_query_cut(s, id, 0, UINT64_MAX)) != STORE_OK)
		return err;
	key = store_dbt(name, name_key(name, f.endpoint, f.path, f.file_ident, f.file_ident_salt));
	if ((ret = s->names->del(s->names, s->txn, &key, 0)) != 0 && ret != DB_NOTFOUND)
		return store_db_error(s, ret);
	if (s->late.id == id) {
		s->late.id = 0;
		s->late_dirty = false;
	}
	be_put64(k, id);
	key = store_dbt(k, sizeof(k));
	if ((ret = s->files->del(s->files, s->txn, &key, 0)) != 0)
		return store_db_error(s, ret);
	s->txn_nfiles--;
	row.dirty = false;
	row.gone = true;
	return store_row_put(s, &row);
}
