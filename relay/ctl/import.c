/* import DIR: takes the export of another gateway in.
 *
 * Everything is checked before the first thing is changed: the manifest, the hash of each file, the CRC of each record.  Then file by
 * file, in slices; what is interrupted is repeated as a whole and ends the same (relay/admin_import.c).  A file on which the two
 * gateways disagree becomes CONFLICT and stops no other one (I7). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/stat.h>

#include "buffer/store.h"

#include "relay/ctl/ctl.h"
#include "relay/ctl/manifest.h"

typedef unsigned long long ull;

#define SLICE (256u << 10)

struct reader {
	const char *name;
	int fd;
	uint8_t *buf; /* 0 .. pos -- taken, pos .. len -- read; owned */
	size_t pos, len, cap;
	struct manifest_hash *hash; /* NULL: not wanted */
	uint64_t size;
	bool end;
};

struct importing {
	struct ctl *c;
	struct manifest m;
	int dir;
	uint64_t files, records, conflicts, passed;
	struct progress progress;
};

static void
reader_open(struct reader *rd, int dir, const char *name, bool hash)
{
	memset(rd, 0, sizeof(*rd));
	rd->name = name;
	rd->fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (rd->fd < 0)
		ctl_die(CTL_FAILED, "%s: %s", name, strerror(errno));
	rd->hash = hash ? hash_new() : NULL;
}

static void
reader_close(struct reader *rd)
{
	close(rd->fd);
	free(rd->buf);
}

/* Reads until there are want_len bytes, or the end. */
static void
fill(struct reader *rd, size_t want_len)
{
	if (rd->len - rd->pos >= want_len)
		return;
	if (rd->pos > 0)
		memmove(rd->buf, rd->buf + rd->pos, rd->len - rd->pos);
	rd->len -= rd->pos;
	rd->pos = 0;
	if (want_len > rd->cap) {
		uint8_t *p = realloc(rd->buf, want_len);

		if (p == NULL)
			ctl_die(CTL_FAILED, "out of memory");
		rd->buf = p;
		rd->cap = want_len;
	}
	while (!rd->end && rd->len < want_len) {
		ssize_t n = read(rd->fd, rd->buf + rd->len, rd->cap - rd->len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			ctl_die(CTL_FAILED, "%s: %s", rd->name, strerror(errno));
		rd->end = n == 0;
		if (rd->hash != NULL)
			hash_add(rd->hash, rd->buf + rd->len, (size_t)n);
		rd->size += (uint64_t)n;
		rd->len += (size_t)n;
	}
}

/* The first record whole in buf, its length; 0 at the end. */
static size_t
peek(struct reader *rd, struct store_packed *p)
{
	enum store_err err;

	fill(rd, STORE_PACK_HEAD);
	if (rd->len == rd->pos)
		return 0;
	err = store_unpack(rd->buf + rd->pos, rd->len - rd->pos, p);
	if (err == STORE_NOTFOUND && p->len > rd->len - rd->pos && !rd->end) {
		fill(rd, p->len > SLICE ? p->len : SLICE);
		err = store_unpack(rd->buf + rd->pos, rd->len - rd->pos, p);
	}
	if (err != STORE_OK)
		ctl_die(CTL_FAILED, "%s: a record is damaged or cut", rd->name);
	return p->len;
}

static void
take(struct reader *rd, size_t n)
{
	rd->pos += n;
}

/* The whole records at the front, up to a slice, at least one; 0 at the end. */
static size_t
peek_slice(struct reader *rd)
{
	struct store_packed p;
	size_t n;

	fill(rd, SLICE);
	n = peek(rd, &p);
	while (n > 0 && store_unpack(rd->buf + rd->pos + n, rd->len - rd->pos - n, &p) == STORE_OK && n + p.len <= SLICE)
		n += p.len;
	return n;
}

/* ---- checking ---- */

static void
check_file(struct importing *x, const struct manifest_file *f)
{
	char hex[MANIFEST_HASH + 1];
	struct reader rd;
	struct store_packed p;
	uint64_t records = 0, last = 0, last_query = 0;
	bool originals = false, out_of_order;
	size_t n;

	reader_open(&rd, x->dir, f->name, true);
	if (peek(&rd, &p) == 0 || !p.is_file)
		ctl_die(CTL_FAILED, "%s does not begin with its file", f->name);
	take(&rd, p.len);
	while ((n = peek(&rd, &p)) > 0) {
		if (p.is_query)
			out_of_order = !x->m.queries || originals || last > 0 || (last_query > 0 && p.query.query_version <= last_query);
		else
			out_of_order = !p.is_originals && (originals || p.record.client_version <= last);
		if (p.is_file || p.file_id != f->id || out_of_order)
			ctl_die(CTL_FAILED, "%s: a record is out of order", f->name);
		originals = p.is_originals;
		last = p.record.client_version;
		last_query = p.query.query_version;
		records += !p.is_originals && !p.is_query;
		take(&rd, n);
		progress_add(&x->progress, n);
	}
	hash_end(rd.hash, hex);
	if (rd.size != f->size || records != f->records || strcmp(hex, f->hash) != 0)
		ctl_die(CTL_FAILED, "%s is not what the manifest says", f->name);
	reader_close(&rd);
}

static uint64_t
whole(const struct importing *x)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < x->m.n; i++)
		bytes += x->m.file[i].size;
	return bytes;
}

static void
check(struct importing *x)
{
	char why[256];

	x->dir = open(x->c->argv[0], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (x->dir < 0)
		ctl_die(CTL_FAILED, "%s: %s", x->c->argv[0], strerror(errno));
	if (faccessat(x->dir, MANIFEST_IMPORTED, F_OK, 0) == 0)
		ctl_die(CTL_FAILED, "this export was imported already: see %s/" MANIFEST_IMPORTED, x->c->argv[0]);
	if (!manifest_read(&x->m, x->dir, why, sizeof(why)))
		ctl_die(CTL_FAILED, "%s: %s", x->c->argv[0], why);
	progress_begin(&x->progress, x->c, "check", true, whole(x));
	for (size_t i = 0; i < x->m.n; i++)
		check_file(x, &x->m.file[i]);
	progress_end(&x->progress);
}

/* ---- bringing in ---- */

static void
import_records(struct importing *x, struct reader *rd, uint64_t id, bool *conflict)
{
	struct reply r = { 0 };
	size_t n;

	while ((n = peek_slice(rd)) > 0) {
		if (!source_ask(x->c->src, &r, rd->buf + rd->pos, n, "import-records %s %llu", x->m.lease, (ull)id))
			ctl_die(CTL_FAILED, "%s: %s; put it right and repeat the import", rd->name, reply_error(&r));
		x->records += json_get_u64(&r.end, "added");
		*conflict = *conflict || json_get_bool(&r.end, "conflict");
		take(rd, n);
		progress_add(&x->progress, n);
	}
	reply_free(&r);
}

static void
import_file(struct importing *x, const struct manifest_file *f)
{
	uint8_t packed[STORE_PACK_FILE_MAX];
	char query[24] = "";
	struct reply r = { 0 };
	struct reader rd;
	struct store_packed p;
	const char *state;
	bool conflict = false;
	uint64_t id;
	size_t len;

	reader_open(&rd, x->dir, f->name, false);
	len = peek(&rd, &p);
	if (len == 0 || len > sizeof(packed))
		ctl_die(CTL_FAILED, "%s: its file record is too long", f->name);
	memcpy(packed, rd.buf + rd.pos, len);
	take(&rd, len);
	if (peek(&rd, &p) > 0 && p.is_query) /* what its client stood on */
		snprintf(query, sizeof(query), " %llu", (ull)p.query.query_version);
	if (!source_ask(x->c->src, &r, packed, len, "import-file %s%s", x->m.lease, query)) {
		fprintf(stderr, "holdfastctl: %s is passed over: %s\n", f->name, reply_error(&r));
		x->passed++;
	} else if (!json_get_bool(&r.end, "done")) {
		id = json_get_u64(&r.end, "id");
		import_records(x, &rd, id, &conflict);
		ctl_must(x->c, &r, packed, len, conflict ? "import-end %s %llu conflict" : "import-end %s %llu", x->m.lease, (ull)id);
		state = json_get(&r.end, "state");
		if (state != NULL && strcmp(state, "ok") != 0) {
			fprintf(stderr, "holdfastctl: file %llu is %s\n", (ull)id, state);
			x->conflicts++;
		}
	}
	x->files++;
	reply_free(&r);
	reader_close(&rd);
}

/* A second gateway that is given the same directory is warned by it; the lease in the store guards this one. */
static void
leave_mark(const struct importing *x)
{
	char text[128];
	int fd = dir_file(x->dir, MANIFEST_IMPORTED), n;

	n = snprintf(text, sizeof(text), "lease %s was imported\n", x->m.lease);
	if (fd < 0 || !file_write(fd, text, (size_t)n) || !file_done(fd))
		fprintf(stderr, "holdfastctl: cannot note in %s that it was imported: do not import it elsewhere\n", x->c->argv[0]);
}

void
ctl_import(struct ctl *c)
{
	struct importing x = { .c = c };
	struct reply r = { 0 };

	check(&x);
	ctl_must(c, &r, NULL, 0, "import-begin %s", x.m.lease);
	progress_begin(&x.progress, c, "import", true, whole(&x));
	for (size_t i = 0; i < x.m.n; i++)
		import_file(&x, &x.m.file[i]);
	progress_end(&x.progress);
	ctl_must(c, &r, NULL, 0, "import-done %s", x.m.lease);
	leave_mark(&x);
	json_str(&c->end, "lease", x.m.lease);
	json_u64(&c->end, "files", x.files);
	json_u64(&c->end, "added", x.records);
	json_u64(&c->end, "conflicts", x.conflicts);
	json_u64(&c->end, "passed_over", x.passed);
	ctl_raise(c, x.conflicts + x.passed > 0 ? CTL_LOOK : CTL_OK);
	if (!c->json)
		printf("%llu files, %llu changesets brought in; %llu need attention\n", (ull)(x.files - x.passed), (ull)x.records,
		       (ull)(x.conflicts + x.passed));
	close(x.dir);
	manifest_free(&x.m);
	reply_free(&r);
}
