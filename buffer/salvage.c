/* Salvage: records out of tables that Berkeley DB refuses.
 *
 * The one idea: a record says by itself what it is (kind, file, version, CRC), so neither keys nor the tree above it are needed.  Every
 * page that looks like a leaf is searched for its items, every page that looks like the first of an overflow chain is followed; what
 * comes out and begins with the magic is judged by the record's own checks.  Page checksums are not looked at: of a torn page, the
 * items in its sound sectors are as good as ever.
 *
 * The layout of the pages is that of Berkeley DB 5.3 (little-endian machines; its dbinc/db_page.h).  Encrypted tables are walked by
 * Berkeley DB itself (DB->verify with DB_SALVAGE), which leaves out whatever does not decrypt.
 *
 * What is only in the log is not found; for it there is the rung above.  Free pages and deleted items are not looked at, so what
 * was trimmed does not come back. */
#include <sys/stat.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <db.h>

#include "buffer/be.h"
#include "buffer/hooks.h"
#include "buffer/key.h"
#include "buffer/record.h"
#include "buffer/salvage.h"
#include "buffer/store_int.h"

/* ---- pages ---- */

#define PAGE 4096
#define PAGE_HEAD 32 /* with a checksum: 26 bytes, 2 unused, 4 of checksum; then the index of a leaf, or the bytes of an overflow page */
enum { AT_PREV = 12, AT_NEXT = 16, AT_ENTRIES = 20, AT_HIGH = 22, AT_TYPE = 25 };
enum { TYPE_LEAF = 5, TYPE_OVERFLOW = 7 }; /* of pages */
enum { ITEM_DATA = 1 };			   /* of items: inline, not deleted */

static uint16_t
le16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t
le32(const uint8_t *p)
{
	return (uint32_t)le16(p) | (uint32_t)le16(p + 2) << 16;
}

static bool
looks_like_record(const uint8_t *p, size_t len)
{
	return len >= RECORD_HEAD_LEN && memcmp(p, "HFrc", 4) == 0;
}

struct scan {
	int fd;
	uint32_t npage;
	bool (*each)(void *arg, const uint8_t *buf, size_t len);
	void *arg;
};

static bool
page_read(const struct scan *sc, uint32_t pgno, uint8_t *page)
{
	return pread(sc->fd, page, PAGE, (off_t)pgno * PAGE) == PAGE;
}

static bool
scan_leaf(struct scan *sc, const uint8_t *page)
{
	size_t n = le16(page + AT_ENTRIES);

	for (size_t i = 0; i < n && PAGE_HEAD + 2 * i + 2 <= PAGE; i++) {
		size_t at = le16(page + PAGE_HEAD + 2 * i), len;

		if (at < PAGE_HEAD || at + 3 > PAGE || page[at + 2] != ITEM_DATA)
			continue;
		len = le16(page + at);
		if (len <= PAGE - at - 3 && looks_like_record(page + at + 3, len) && !sc->each(sc->arg, page + at + 3, len))
			return false;
	}
	return true;
}

/* page is the first of a chain; gathers as many bytes as the record says it has. */
static bool
scan_chain(struct scan *sc, uint8_t *page)
{
	const uint8_t *head = page + PAGE_HEAD;
	size_t want, have = 0, n = le16(page + AT_HIGH);
	uint32_t next = 0;
	uint8_t *buf;
	bool go_on = true;

	if (n > PAGE - PAGE_HEAD || !looks_like_record(head, n))
		return true;
	want = (size_t)RECORD_HEAD_LEN + be_get16(head + 6) + be_get32(head + 8);
	if (want > (size_t)sc->npage * PAGE || (buf = malloc(want)) == NULL)
		return true;
	for (;;) {
		n = le16(page + AT_HIGH);
		if (page[AT_TYPE] != TYPE_OVERFLOW || n > PAGE - PAGE_HEAD || n > want - have || n == 0)
			break;
		memcpy(buf + have, page + PAGE_HEAD, n);
		have += n;
		next = le32(page + AT_NEXT);
		if (have == want || next == 0 || next >= sc->npage || !page_read(sc, next, page))
			break;
	}
	/* A run of which the end is missing still has entries. */
	if (have > RECORD_HEAD_LEN)
		go_on = sc->each(sc->arg, buf, have);
	free(buf);
	return go_on;
}

static enum store_err
scan_pages(const char *path, bool (*each)(void *arg, const uint8_t *buf, size_t len), void *arg)
{
	struct scan sc = { .fd = open(path, O_RDONLY | O_CLOEXEC), .each = each, .arg = arg };
	uint8_t page[PAGE];
	struct stat st;
	bool go_on = true;

	if (sc.fd == -1)
		return errno == ENOENT ? STORE_NOTFOUND : STORE_IO;
	if (fstat(sc.fd, &st) == 0)
		sc.npage = (uint32_t)((uint64_t)st.st_size / PAGE);
	for (uint32_t i = 0; go_on && i < sc.npage; i++) {
		if (!page_read(&sc, i, page))
			continue;
		if (page[AT_TYPE] == TYPE_LEAF)
			go_on = scan_leaf(&sc, page);
		else if (page[AT_TYPE] == TYPE_OVERFLOW && le32(page + AT_PREV) == 0)
			go_on = scan_chain(&sc, page);
	}
	(void)close(sc.fd);
	return STORE_OK;
}

/* ---- encrypted tables ---- */

#define BAD_PAGES_MAX 1000 /* each costs a walk over the table; with more there is little to save */

static int
digit(int c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Turns a line of the dump, blank and hexadecimal, into bytes in place; 0 if it is no such line. */
static size_t
unhex(char *line, size_t len)
{
	size_t n = 0;

	if (len < 3 || line[0] != ' ')
		return 0;
	for (size_t i = 1; i + 1 < len && digit(line[i]) >= 0 && digit(line[i + 1]) >= 0; i += 2)
		line[n++] = (char)(digit(line[i]) << 4 | digit(line[i + 1]));
	return n;
}

/* The page of which Berkeley DB says that its checksum is wrong. */
static void
errcall_cb(const DB_ENV *env, const char *prefix, const char *text)
{
	const char *at = strstr(text, "checksum error: page ");

	(void)prefix;
	if (at != NULL)
		*(uint32_t *)env->app_private = (uint32_t)strtoul(at + strlen("checksum error: page "), NULL, 10);
}

/* Writes what can be read of the table to dump.  *bad: the page that could not be, 0 if none: there it ends. */
static int
dump_table(const char *path, const char *phrase, FILE *dump, uint32_t *bad)
{
	DB_ENV *env;
	DB *db;
	int ret;

	*bad = 0;
	if ((ret = db_env_create(&env, 0)) != 0)
		return ret;
	env->app_private = bad;
	env->set_errcall(env, errcall_cb);
	if ((ret = env->set_encrypt(env, phrase, DB_ENCRYPT_AES)) == 0 &&
	    (ret = env->open(env, NULL, DB_CREATE | DB_PRIVATE | DB_INIT_MPOOL, 0)) == 0 && (ret = db_create(&db, env, 0)) == 0) {
		if ((ret = db->set_flags(db, DB_ENCRYPT)) == 0)
			(void)db->verify(db, path, NULL, dump, DB_SALVAGE); /* which frees db; an error is no news here */
		else
			(void)db->close(db, 0);
	}
	(void)env->close(env, 0);
	return ret;
}

static int
copy_file(const char *from, const char *to)
{
	int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, S_IRUSR | S_IWUSR);
	uint8_t buf[16 * PAGE];
	ssize_t n = -1;

	while (in != -1 && out != -1 && (n = read(in, buf, sizeof(buf))) > 0) {
		if (write(out, buf, (size_t)n) != n)
			n = -1;
		if (n == -1)
			break;
	}
	if (in != -1)
		(void)close(in);
	if (n == 0)
		return out;
	if (out != -1)
		(void)close(out);
	return -1;
}

/* A dump on its way from Berkeley DB to each: no file, for it holds in plain what the table hides. */
struct dump {
	char *line;
	size_t len, cap;
	bool (*each)(void *arg, const uint8_t *buf, size_t len); /* NULL: only to see which pages are bad */
	void *arg;
	bool stop;
};

static bool
dump_line(struct dump *du)
{
	size_t n = unhex(du->line, du->len);

	du->len = 0;
	return !looks_like_record((const uint8_t *)du->line, n) || du->each(du->arg, (const uint8_t *)du->line, n);
}

static ssize_t
dump_write(void *cookie, const char *buf, size_t len)
{
	struct dump *du = cookie;

	for (size_t i = 0; i < len && !du->stop && du->each != NULL; i++) {
		if (buf[i] == '\n') {
			du->stop = !dump_line(du);
			continue;
		}
		if (du->len == du->cap) {
			char *p = realloc(du->line, du->cap > 0 ? 2 * du->cap : 4096);

			if (p == NULL)
				return 0;
			du->line = p;
			du->cap = du->cap > 0 ? 2 * du->cap : 4096;
		}
		du->line[du->len++] = buf[i];
	}
	return (ssize_t)len;
}

static int
dump_once(const char *path, const char *phrase, struct dump *du, uint32_t *bad)
{
	FILE *f = fopencookie(du, "w", (cookie_io_functions_t){ .write = dump_write });
	int ret;

	if (f == NULL)
		return ENOMEM;
	ret = dump_table(path, phrase, f, bad);
	(void)fclose(f);
	free(du->line);
	du->line = NULL;
	du->len = du->cap = 0;
	return ret;
}

/* A page that does not decrypt ends Berkeley DB's walk.  So it walks a copy, in which such pages are cleared, one a walk. */
static enum store_err
scan_dump(const char *path, const uint8_t *key, bool (*each)(void *arg, const uint8_t *buf, size_t len), void *arg)
{
	static const uint8_t empty[PAGE];
	char copy[4500], phrase[KEY_PHRASE_LEN + 1];
	struct dump du = { .arg = arg };
	uint32_t bad = 1;
	int fd, ret = 0;

	if (access(path, F_OK) == -1)
		return STORE_NOTFOUND;
	(void)snprintf(copy, sizeof(copy), "%s.copy", path);
	(void)unlink(copy); /* of a salvage that was interrupted */
	if ((fd = copy_file(path, copy)) == -1)
		return hooks_is_full(errno) ? STORE_NOSPACE : STORE_IO;
	key_phrase(key, phrase);
	for (unsigned i = 0; ret == 0 && bad != 0 && i < BAD_PAGES_MAX; i++) {
		ret = dump_once(copy, phrase, &du, &bad);
		if (bad != 0 && pwrite(fd, empty, PAGE, (off_t)bad * PAGE) != PAGE)
			break;
	}
	du.each = each;
	if (ret == 0)
		ret = dump_once(copy, phrase, &du, &bad);
	explicit_bzero(phrase, sizeof(phrase));
	(void)close(fd);
	(void)unlink(copy);
	return ret == 0 ? STORE_OK : STORE_IO;
}

enum store_err
salvage_walk(const char *path, const uint8_t *key, bool (*each)(void *arg, const uint8_t *buf, size_t len), void *arg)
{
	return key != NULL ? scan_dump(path, key, each, arg) : scan_pages(path, each, arg);
}

/* ---- into a new store ---- */

#define GROUP_RECORDS 256 /* changesets in one transaction */

/* One file that was found: its id there, here, and what became of its backlog. */
struct found {
	uint64_t old_id, new_id;
	uint64_t expected, taken; /* changesets */
	uint64_t acked;		  /* by upstream: such changesets are not taken */
	enum store_file_state state;
};

struct salvage {
	struct store *s;
	struct found *files; /* by rising old id, once sorted */
	size_t n, cap;
	unsigned pending; /* changesets in the open transaction */
	uint64_t orphans, records;
	enum store_err err;
};

static int
by_old_id(const void *a, const void *b)
{
	uint64_t x = ((const struct found *)a)->old_id, y = ((const struct found *)b)->old_id;

	return x < y ? -1 : x > y;
}

static bool
found_add(struct salvage *sv, const struct found *f)
{
	if (sv->n == sv->cap) {
		size_t cap = sv->cap > 0 ? 2 * sv->cap : 64;
		struct found *p = realloc(sv->files, cap * sizeof(*p));

		if (p == NULL)
			return false;
		sv->files = p;
		sv->cap = cap;
	}
	sv->files[sv->n++] = *f;
	return true;
}

/* A file may be found more than once (a base, a page that was split): what tells of more progress replaces the other. */
static enum store_err
file_merge(struct salvage *sv, struct store_file *f)
{
	struct found now = { .old_id = f->id, .expected = f->backlog_records };
	struct found *before;
	struct store_file known;
	enum store_err err = store_file_find(sv->s, f->endpoint, f->path, f->file_ident, f->file_ident_salt, &known);

	if (err == STORE_NOTFOUND) {
		f->id = 0;
		if ((err = store_file_put(sv->s, f)) != STORE_OK)
			return err;
		now.new_id = f->id;
		return found_add(sv, &now) ? STORE_OK : STORE_NOMEM;
	}
	if (err != STORE_OK)
		return err;
	if (f->held_client_version < known.held_client_version ||
	    (f->held_client_version == known.held_client_version && f->upstream_client_version <= known.upstream_client_version))
		return STORE_OK;
	f->id = known.id;
	before = sv->files;
	while (before->new_id != known.id)
		before++;
	before->expected = now.expected;
	return store_file_put(sv->s, f);
}

static bool
file_cb(void *arg, const uint8_t *buf, size_t len)
{
	struct salvage *sv = arg;
	struct store_file f;

	if (record_decode_file(buf, len, be_get64(buf + 16), &f) == STORE_OK)
		sv->err = file_merge(sv, &f);
	return sv->err == STORE_OK;
}

/* Commits what was taken so far, and begins anew. */
static enum store_err
group_end(struct salvage *sv)
{
	enum store_err err = store_commit(sv->s, false);

	sv->pending = 0;
	if (err == STORE_OK)
		err = store_checkpoint(sv->s, false);
	return err == STORE_OK ? store_begin(sv->s) : err;
}

static enum store_err
take(struct salvage *sv, struct found *f, const struct store_record *r)
{
	struct store_original sent;
	enum store_err err;
	bool added;

	if (r->client_version <= f->acked)
		return STORE_OK;
	/* What was merged away may still stand in an older copy of the table. */
	if ((err = store_original_find(sv->s, f->new_id, r->client_version, &sent)) != STORE_NOTFOUND && (err != STORE_OK || sent.gone))
		return err;
	err = store_append(sv->s, f->new_id, r, &added);
	if (err == STORE_DIFFERS) /* the first one found stands */
		return STORE_OK;
	if (err == STORE_OK && added) {
		f->taken++;
		sv->records++;
		if (++sv->pending == GROUP_RECORDS)
			err = group_end(sv);
	}
	return err;
}

static bool
originals_cb(void *arg, const uint8_t *buf, size_t len)
{
	struct salvage *sv = arg;
	struct found want = { .old_id = be_get64(buf + 16) };
	const struct found *f = bsearch(&want, sv->files, sv->n, sizeof(want), by_old_id);
	enum store_err err = f != NULL ? store_originals_put(sv->s, f->new_id, buf, len) : STORE_OK;

	sv->err = err == STORE_INVALID ? STORE_OK : err; /* a damaged one */
	return sv->err == STORE_OK;
}

static bool
changeset_cb(void *arg, const uint8_t *buf, size_t len)
{
	struct salvage *sv = arg;
	struct found want = { .old_id = be_get64(buf + 16) };
	struct found *f = bsearch(&want, sv->files, sv->n, sizeof(want), by_old_id);
	uint64_t first = be_get64(buf + 24), after = 0;
	struct store_record r;
	struct record_walk w;
	enum store_err err;

	do {
		err = record_walk_begin(&w, buf, len, want.old_id, first, after);
		while (err == STORE_OK && (err = record_walk_next(&w, after, &r)) == STORE_OK && sv->err == STORE_OK) {
			if (f == NULL)
				sv->orphans++;
			else
				sv->err = take(sv, f, &r);
			after = r.client_version;
		}
		if (sv->err != STORE_OK || err == STORE_NOTFOUND || w.bad_version <= after)
			break;
		after = w.bad_version;
	} while (true);
	return sv->err == STORE_OK;
}

/* Of a query that is found twice the last stands, for its text is the same.  Which ones are missing nobody can tell. */
static bool
query_cb(void *arg, const uint8_t *buf, size_t len)
{
	struct salvage *sv = arg;
	struct found want = { .old_id = be_get64(buf + 16) };
	struct found *f = bsearch(&want, sv->files, sv->n, sizeof(want), by_old_id);
	struct store_query q;

	if (f != NULL && record_decode_query(buf, len, want.old_id, be_get64(buf + 24), &q) == STORE_OK)
		sv->err = store_query_put(sv->s, f->new_id, &q);
	return sv->err == STORE_OK;
}

/* Is name the table, or a copy of it in a base? */
static bool
is_copy(const char *name, const char *table)
{
	size_t len = strlen(name), table_len = strlen(table);

	if (strncmp(name, "base-", 5) == 0)
		return len > table_len && name[len - table_len - 1] == '.' && strcmp(name + len - table_len, table) == 0;
	return len == table_len + 3 && strncmp(name, table, table_len) == 0 && strcmp(name + table_len, ".db") == 0;
}

/* Walks all copies of a table in one directory. */
static enum store_err
walk_dir(struct salvage *sv, const char *dir, const char *table, const uint8_t *key,
	 bool (*each)(void *arg, const uint8_t *buf, size_t len))
{
	enum store_err err = STORE_OK;
	DIR *d = opendir(dir);
	struct dirent *ent;
	char path[4400];

	if (d == NULL)
		return errno == ENOENT ? STORE_OK : STORE_IO;
	while (err == STORE_OK && sv->err == STORE_OK && (ent = readdir(d)) != NULL) {
		if (!is_copy(ent->d_name, table))
			continue;
		(void)snprintf(path, sizeof(path), "%s/%s", dir, ent->d_name);
		err = salvage_walk(path, key, each, sv);
	}
	(void)closedir(d);
	return err != STORE_OK ? err : sv->err;
}

static enum store_err
walk_dirs(struct salvage *sv, const char *const *dirs, unsigned n, const char *table, const uint8_t *key,
	  bool (*each)(void *arg, const uint8_t *buf, size_t len))
{
	enum store_err err = STORE_OK;

	for (unsigned i = 0; err == STORE_OK && i < n; i++)
		err = walk_dir(sv, dirs[i], table, key, each);
	return err;
}

/* What each file should have, from its record as it was taken over; the record itself then has nothing yet. */
static enum store_err
expect(struct salvage *sv)
{
	for (size_t i = 0; i < sv->n; i++) {
		struct store_file f;
		enum store_err err = store_file_get(sv->s, sv->files[i].new_id, &f);

		if (err != STORE_OK)
			return err;
		sv->files[i].acked = f.upstream_client_version;
		sv->files[i].state = f.state;
	}
	return STORE_OK;
}

/* A file of which changesets are missing may not be replayed past them: LOST, with the numbers. */
static enum store_err
judge(struct salvage *sv, struct ladder_result *out)
{
	for (size_t i = 0; i < sv->n; i++) {
		struct found *w = &sv->files[i];
		struct store_file f;
		enum store_err err;

		if (w->taken >= w->expected || w->state != STORE_FILE_OK)
			continue;
		if ((err = store_file_get(sv->s, w->new_id, &f)) != STORE_OK)
			return err;
		f.state = STORE_FILE_LOST;
		f.state_code = 0;
		f.state_time_ms = 0;
		(void)snprintf(f.state_text, sizeof(f.state_text), "the buffer was damaged: %llu of %llu changesets could be saved",
			       (unsigned long long)w->taken, (unsigned long long)w->expected);
		if ((err = store_file_put(sv->s, &f)) != STORE_OK)
			return err;
		out->files_lost++;
	}
	return STORE_OK;
}

enum store_err
salvage_into(struct store *s, const char *const *dirs, unsigned n, const uint8_t *key, struct ladder_result *out)
{
	struct salvage sv = { .s = s };
	enum store_err err = store_begin(s);

	if (err == STORE_OK && (err = walk_dirs(&sv, dirs, n, "files", key, file_cb)) == STORE_OK && (err = expect(&sv)) == STORE_OK) {
		if (sv.n > 0)
			qsort(sv.files, sv.n, sizeof(*sv.files), by_old_id);
		if ((err = walk_dirs(&sv, dirs, n, "originals", key, originals_cb)) == STORE_OK &&
		    (err = walk_dirs(&sv, dirs, n, "changesets", key, changeset_cb)) == STORE_OK &&
		    (err = walk_dirs(&sv, dirs, n, "queries", key, query_cb)) == STORE_OK && (err = judge(&sv, out)) == STORE_OK)
			err = store_commit(s, true);
	}
	if (err != STORE_OK)
		store_abort(s);
	out->files = sv.n;
	out->records = sv.records;
	out->orphans = sv.orphans;
	free(sv.files);
	return err;
}
