/* What the operator's tools need of the store beyond what the relay does: walking in small steps, records as bytes for export and
 * import, giving space back, and a copy of the environment while it is in use.
 *
 * The one idea of the copy: Berkeley DB's rule for a hot backup is tables first, then the log.  Between store_hold and store_release
 * no checkpoint is taken, so the last one in the copied log lies before the first copied page, and an ordinary recovery from there
 * repeats whatever the pages lack; nothing special has to be done with the copy.  A page cannot be torn: whoever reads the
 * files here is the thread that writes them.  The price is a log that grows while the copy is made. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "buffer/be.h"
#include "buffer/record.h"
#include "buffer/store_int.h"

#define ID_LEN 8
#define KEY_LEN 16

/* ---- walking ---- */

enum store_err
store_file_after(struct store *s, uint64_t id, struct store_file *out)
{
	uint8_t k[ID_LEN];
	DBT key = store_dbt(k, sizeof(k)), data = { 0 };
	enum store_err err = store_may_read(s);
	uint64_t found = 0;
	DBC *c;
	int ret;

	if (err != STORE_OK)
		return err;
	if (id == UINT64_MAX)
		return STORE_NOTFOUND;
	be_put64(k, id + 1);
	if ((ret = s->files->cursor(s->files, s->txn, &c, 0)) != 0)
		return store_db_error(s, ret);
	if ((ret = c->get(c, &key, &data, DB_SET_RANGE)) == 0)
		found = key.size == ID_LEN ? be_get64(key.data) : UINT64_MAX;
	(void)c->close(c);
	if (ret != 0)
		return store_db_error(s, ret);
	err = found == UINT64_MAX ? STORE_CORRUPT : store_file_get(s, found, out);
	if (err != STORE_OK) {
		memset(out, 0, sizeof(*out));
		out->id = found;
	}
	return err;
}

enum store_err
store_backlog_after(struct store *s, uint64_t id, uint64_t *next)
{
	uint8_t k[KEY_LEN] = { 0 };
	DBT key = store_dbt(k, sizeof(k)), data = { .flags = DB_DBT_PARTIAL };
	enum store_err err = store_may_read(s);
	DBC *c;
	int ret;

	if (err != STORE_OK)
		return err;
	if (id == UINT64_MAX)
		return STORE_NOTFOUND;
	be_put64(k, id + 1);
	if ((ret = s->changesets->cursor(s->changesets, s->txn, &c, 0)) != 0)
		return store_db_error(s, ret);
	if ((ret = c->get(c, &key, &data, DB_SET_RANGE)) == 0) {
		if (key.size == KEY_LEN)
			*next = be_get64(key.data);
		else
			err = STORE_CORRUPT;
	}
	(void)c->close(c);
	return ret != 0 ? store_db_error(s, ret) : err;
}

/* Does the file of this id have the identity that the name key spells? */
static const char *
name_fault(struct store *s, const DBT *key, uint64_t id)
{
	struct store_file f;
	enum store_err err = store_file_get(s, id, &f);

	if (err != STORE_OK) /* a damaged record is told of elsewhere */
		return err == STORE_NOTFOUND ? "a name without its file" : NULL;
	return store_is_named(&f, key->data, key->size) ? NULL : "a name that its file does not have";
}

enum store_err
store_names_check(struct store *s, void (*bad)(void *arg, uint64_t id, const char *text), void *arg)
{
	DBT key = { 0 }, data = { 0 };
	enum store_err err = store_may_read(s);
	const char *fault;
	DBC *c;
	int ret;

	if (err != STORE_OK)
		return err;
	if ((ret = s->names->cursor(s->names, s->txn, &c, 0)) != 0)
		return store_db_error(s, ret);
	s->walking++;
	while ((ret = c->get(c, &key, &data, DB_NEXT)) == 0) {
		uint64_t id = data.size == ID_LEN ? be_get64(data.data) : 0;

		if ((fault = name_fault(s, &key, id)) != NULL)
			bad(arg, id, fault);
	}
	s->walking--;
	(void)c->close(c);
	return ret == DB_NOTFOUND ? STORE_OK : store_db_error(s, ret);
}

/* ---- records as bytes ---- */

size_t
store_pack_file(uint8_t *out, size_t cap, const struct store_file *f)
{
	uint8_t rec[RECORD_FILE_MAX];
	size_t len = record_encode_file(rec, f);

	_Static_assert(RECORD_FILE_MAX <= STORE_PACK_FILE_MAX, "a packed file fits");
	if (len <= cap)
		memcpy(out, rec, len);
	return len;
}

size_t
store_pack_record(uint8_t *out, size_t cap, uint64_t id, const struct store_record *r)
{
	size_t len = record_changeset_size(r->len);

	if (len <= cap)
		record_encode_changeset(out, id, r);
	return len;
}

size_t
store_pack_query(uint8_t *out, size_t cap, uint64_t id, const struct store_query *q)
{
	size_t len = record_query_size(q->len);

	if (len <= cap)
		record_encode_query(out, id, q);
	return len;
}

enum store_err
store_unpack(const uint8_t *buf, size_t len, struct store_packed *out)
{
	struct record rec;
	enum store_err err;

	_Static_assert(RECORD_HEAD_LEN == STORE_PACK_HEAD, "the head of a record");
	memset(out, 0, sizeof(*out));
	if (len < RECORD_HEAD_LEN)
		return STORE_NOTFOUND;
	out->len = (size_t)RECORD_HEAD_LEN + be_get16(buf + 6) + be_get32(buf + 8);
	if (out->len > (size_t)RECORD_DATA_MAX + RECORD_HEAD_LEN + UINT16_MAX)
		return STORE_CORRUPT;
	if (len < out->len)
		return STORE_NOTFOUND;
	if ((err = record_decode(buf, out->len, &rec)) != STORE_OK)
		return err;
	out->file_id = rec.file_id;
	out->is_file = rec.kind == RECORD_FILE;
	out->is_originals = rec.kind == RECORD_ORIGINALS;
	out->is_query = rec.kind == RECORD_QUERY;
	if (out->is_originals)
		return STORE_OK;
	if (out->is_query)
		return record_decode_query(buf, out->len, rec.file_id, rec.sequence, &out->query);
	if (out->is_file)
		return record_decode_file(buf, out->len, rec.file_id, &out->file);
	return record_decode_changeset(buf, out->len, rec.file_id, rec.sequence, &out->record);
}

/* ---- space ---- */

enum store_err
store_compact(struct store *s, struct store_compaction *c, uint32_t max_pages)
{
	DB *const tables[] = { s->changesets, s->files,	 s->names,   s->tokens,	  s->meta,
			       s->idents,     s->states, s->queries, s->originals };
	DB_COMPACT data = { .compact_pages = max_pages };
	uint8_t k[KEY_LEN], e[KEY_LEN];
	DBT start = store_dbt(k, sizeof(k)), end = { .data = e, .ulen = sizeof(e), .flags = DB_DBT_USERMEM };
	enum store_err err = store_may_read(s);
	DB *db;
	int ret;

	if (err != STORE_OK)
		return err;
	if (s->txn != NULL || s->walking > 0 || c->table >= sizeof(tables) / sizeof(tables[0]))
		return STORE_INVALID;
	db = tables[c->table];
	be_put64(k, c->id);
	be_put64(k + 8, c->version);
	/* Only the backlog is large; the other tables go in one step. */
	ret = db->compact(db, NULL, c->table == 0 ? &start : NULL, NULL, c->table == 0 ? &data : NULL, DB_FREE_SPACE,
			  c->table == 0 ? &end : NULL);
	c->pages_freed += data.compact_pages_truncated;
	/* The end of the table, or nothing was left to do. */
	if (ret == 0 && (c->table != 0 || end.size != KEY_LEN || memcmp(e, k, KEY_LEN) <= 0)) {
		c->table++;
		c->id = c->version = 0;
	} else if (ret == 0) {
		c->id = be_get64(e);
		c->version = be_get64(e + 8);
	}
	c->done = c->table == sizeof(tables) / sizeof(tables[0]);
	if (ret == 0 && c->done)
		return store_checkpoint(s, true);
	return store_db_error(s, ret);
}

/* ---- a copy ---- */

enum store_err
store_hold(struct store *s)
{
	enum store_err err = store_checkpoint(s, true);

	if (err == STORE_OK)
		s->held = true;
	return err;
}

void
store_release(struct store *s)
{
	s->held = false;
}

bool
store_is_held(const struct store *s)
{
	return s->held;
}

/* The directory that libdb works in. */
static int
home_open(struct store *s)
{
	DB_ENV *env = s->meta->get_env(s->meta);
	const char *home;

	if (env->get_home(env, &home) != 0)
		return -1;
	return open(home, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static bool
is_wanted(const char *name, bool logs)
{
	size_t len = strlen(name);

	if (len > STORE_NAME_MAX)
		return false;
	if (logs)
		return len == 14 && strncmp(name, "log.", 4) == 0 && strspn(name + 4, "0123456789") == 10;
	if (strcmp(name, "key") == 0) /* the check value of an encrypted buffer: key.c */
		return true;
	return len > 3 && strcmp(name + len - 3, ".db") == 0 && strchr(name, '/') == NULL && name[0] != '.' && strncmp(name, "__db", 4) != 0;
}

enum store_err
store_disk_next(struct store *s, bool logs, const char *after, char name[STORE_NAME_MAX + 1])
{
	DB_ENV *env = s->meta->get_env(s->meta);
	enum store_err err = store_may_read(s);
	struct dirent *d;
	bool found = false;
	DIR *dir;
	int fd, ret;

	if (err != STORE_OK)
		return err;
	if (logs && (ret = env->log_flush(env, NULL)) != 0)
		return store_db_error(s, ret);
	if ((fd = home_open(s)) == -1)
		return STORE_IO;
	if ((dir = fdopendir(fd)) == NULL) {
		(void)close(fd);
		return STORE_IO;
	}
	while ((d = readdir(dir)) != NULL) {
		if (is_wanted(d->d_name, logs) && strcmp(d->d_name, after) > 0 && (!found || strcmp(d->d_name, name) < 0)) {
			(void)snprintf(name, STORE_NAME_MAX + 1, "%.*s", STORE_NAME_MAX, d->d_name);
			found = true;
		}
	}
	(void)closedir(dir);
	return found ? STORE_OK : STORE_NOTFOUND;
}

enum store_err
store_disk_read(struct store *s, const char *name, uint64_t offset, void *buf, size_t cap, size_t *len)
{
	enum store_err err = store_may_read(s);
	int home, fd;
	ssize_t n;

	*len = 0;
	if (err != STORE_OK)
		return err;
	if (!is_wanted(name, true) && !is_wanted(name, false))
		return STORE_INVALID;
	if ((home = home_open(s)) == -1)
		return STORE_IO;
	fd = openat(home, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	(void)close(home);
	if (fd == -1)
		return errno == ENOENT ? STORE_NOTFOUND : STORE_IO;
	do
		n = pread(fd, buf, cap, (off_t)offset);
	while (n == -1 && errno == EINTR);
	(void)close(fd);
	if (n >= 0)
		*len = (size_t)n;
	return n >= 0 ? STORE_OK : STORE_IO;
}
