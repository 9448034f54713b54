/* export DIR [FILE...]: moves backlogs into a directory that can be carried to another gateway.
 *
 * Ownership moves first: each file is marked EXPORTED before its records are read, so that nothing changes under the reader and nothing is
 * replayed from here any more.  The manifest, written last, makes the directory an export.  If anything fails before, the files are
 * unmarked and everything is as it was. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "buffer/store.h"

#include "relay/clock.h"
#include "relay/ctl/ctl.h"
#include "relay/ctl/manifest.h"
#include "relay/word.h"

typedef unsigned long long ull;

struct marked { /* a file that is EXPORTED for us */
	uint64_t id;
	uint8_t *was; /* packed; owned */
	size_t len;
};

struct exporting {
	struct ctl *c;
	struct manifest m;
	int dir;
	uint64_t *want; /* ids; owned */
	size_t nwant;
	struct marked *marked; /* owned, as many as want */
	size_t nmarked;
	struct manifest_hash *hash; /* of the file under way */
	uint64_t damaged, bytes; /* of the files that are wanted */
	struct progress progress;
};

static void
want(struct exporting *x, uint64_t id, uint64_t bytes)
{
	uint64_t *p = realloc(x->want, (x->nwant + 1) * sizeof(*p));

	if (p == NULL)
		ctl_die(CTL_FAILED, "out of memory");
	x->want = p;
	p[x->nwant++] = id;
	x->bytes += bytes;
}

/* Without arguments: every file with a backlog that is here. */
static void
want_row(void *arg, const struct json_object *row)
{
	const char *state = json_get(row, "state");

	if (json_get_u64(row, "records") > 0 && state != NULL && strcmp(state, "exported") != 0 && strcmp(state, "importing") != 0)
		want(arg, json_get_u64(row, "id"), json_get_u64(row, "bytes"));
}

static void
choose(struct exporting *x)
{
	struct ctl *c = x->c;
	struct reply r = { 0 };
	struct json_object row;
	uint64_t id;

	if (c->argc == 1)
		ctl_each_file(c, want_row, x);
	for (int i = 1; i < c->argc; i++) {
		if (!word_number(c->argv[i], &id))
			ctl_die(CTL_FAILED, "name the files to export by their ids");
		want(x, id, source_ask(c->src, &r, NULL, 0, "file %llu", (ull)id) && reply_row(&r, &row) ? json_get_u64(&row, "bytes") : 0);
	}
	reply_free(&r);
	x->marked = calloc(x->nwant + 1, sizeof(*x->marked));
	if (x->marked == NULL)
		ctl_die(CTL_FAILED, "out of memory");
}

/* Takes everything back: the files are the relay's again, the directory is empty. */
static void
take_back(struct exporting *x)
{
	struct reply r = { 0 };

	for (size_t i = 0; i < x->nmarked; i++) {
		if (!source_ask(x->c->src, &r, x->marked[i].was, x->marked[i].len, "unmark %llu %s", (ull)x->marked[i].id, x->m.lease))
			fprintf(stderr, "holdfastctl: file %llu stays exported: %s\n", (ull)x->marked[i].id, reply_error(&r));
	}
	for (size_t i = 0; i < x->m.n; i++)
		unlinkat(x->dir, x->m.file[i].name, 0);
	unlinkat(x->dir, MANIFEST_NAME ".new", 0);
	reply_free(&r);
}

static void __attribute__((noreturn, format(printf, 2, 3)))
give_up(struct exporting *x, const char *what, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, what);
	vsnprintf(text, sizeof(text), what, ap);
	va_end(ap);
	take_back(x);
	ctl_die(CTL_FAILED, "%s; nothing was exported", text);
}

static void
put(struct exporting *x, struct manifest_file *f, int fd, const struct reply *r)
{
	if (!file_write(fd, r->data, r->len))
		give_up(x, "%s: %s", f->name, strerror(errno));
	hash_add(x->hash, r->data, r->len);
	f->size += r->len;
}

/* Sums of one slice. */
static void
count(struct exporting *x, struct manifest_file *f, const struct reply *r)
{
	struct store_packed p;

	for (size_t at = 0; at < r->len; at += p.len) {
		if (store_unpack(r->data + at, r->len - at, &p) != STORE_OK)
			give_up(x, "file %llu: a record is malformed", (ull)f->id);
		f->records++;
		f->bytes += p.record.len;
		progress_add(&x->progress, p.record.len);
	}
}

static void
export_records(struct exporting *x, struct manifest_file *f, int fd)
{
	struct reply r = { 0 };
	uint64_t after = 0, bad;

	do {
		if (!source_ask(x->c->src, &r, NULL, 0, "read %llu %llu", (ull)f->id, (ull)after))
			give_up(x, "file %llu: %s", (ull)f->id, reply_error(&r));
		put(x, f, fd, &r);
		count(x, f, &r);
		if (r.len > 0)
			after = json_get_u64(&r.end, "last");
		if ((bad = json_get_u64(&r.end, "bad")) != 0) {
			fprintf(stderr, "holdfastctl: file %llu: the record of client_version %llu is damaged and left out\n", (ull)f->id,
				(ull)bad);
			x->damaged++;
			after = bad;
		}
	} while (r.len > 0 || bad != 0);
	reply_free(&r);
}

/* All that "verb ID FROM" gives, from 0 on. */
static void
export_all(struct exporting *x, struct manifest_file *f, int fd, const char *verb)
{
	struct reply r = { 0 };
	uint64_t next = 0;

	do {
		if (!source_ask(x->c->src, &r, NULL, 0, "%s %llu %llu", verb, (ull)f->id, (ull)next))
			give_up(x, "file %llu: %s", (ull)f->id, reply_error(&r));
		put(x, f, fd, &r);
		next = json_get_u64(&r.end, "next");
	} while (next != 0);
	reply_free(&r);
}

static void
export_file(struct exporting *x, uint64_t id)
{
	struct reply r = { 0 };
	struct marked *m = &x->marked[x->nmarked];
	struct manifest_file *f;
	uint64_t size;
	int fd;

	if (!source_ask(x->c->src, &r, NULL, 0, "mark %llu %s", (ull)id, x->m.lease))
		give_up(x, "file %llu: %s", (ull)id, reply_error(&r));
	*m = (struct marked){ id, malloc(r.len + 1), r.len };
	if (m->was == NULL)
		give_up(x, "out of memory");
	memcpy(m->was, r.data, r.len);
	x->nmarked++;
	f = manifest_add(&x->m);
	f->id = id;
	snprintf(f->name, sizeof(f->name), "file-%llu", (ull)id);
	if ((fd = dir_file(x->dir, f->name)) < 0)
		give_up(x, "%s: %s", f->name, strerror(errno));
	x->hash = hash_new();
	put(x, f, fd, &r);
	size = f->size;
	export_all(x, f, fd, "queries");
	x->m.queries = x->m.queries || f->size > size;
	export_records(x, f, fd);
	export_all(x, f, fd, "originals"); /* what pre-merge changed: the other gateway too knows a device that sends it again */
	if (!file_done(fd))
		give_up(x, "%s: %s", f->name, strerror(errno));
	hash_end(x->hash, f->hash);
	reply_free(&r);
}

static void
tell(struct exporting *x)
{
	struct ctl *c = x->c;
	uint64_t records = 0, bytes = 0;
	char text[TEXT_MAX];

	for (size_t i = 0; i < x->m.n; i++) {
		records += x->m.file[i].records;
		bytes += x->m.file[i].bytes;
	}
	json_str(&c->end, "lease", x->m.lease);
	json_u64(&c->end, "files", x->m.n);
	json_u64(&c->end, "records", records);
	json_u64(&c->end, "bytes", bytes);
	json_u64(&c->end, "damaged", x->damaged);
	if (c->json)
		return;
	if (x->m.n == 0)
		printf("nothing to export\n");
	else
		printf("%zu files, %llu changesets, %s; lease %s\nThis relay will not replay them any more. Import them once, on one gateway.\n",
		       x->m.n, (ull)records, text_bytes(text, bytes), x->m.lease);
}

void
ctl_export(struct ctl *c)
{
	struct exporting x = { .c = c };

	choose(&x);
	if (x.nwant > 0) {
		x.dir = dir_make(c->argv[0]);
		manifest_lease(x.m.lease);
		x.m.created_ms = clock_wall_now_ms();
		progress_begin(&x.progress, c, "export", true, x.bytes);
		for (size_t i = 0; i < x.nwant; i++)
			export_file(&x, x.want[i]);
		progress_end(&x.progress);
		if (!manifest_write(&x.m, x.dir))
			give_up(&x, "%s: %s", c->argv[0], strerror(errno));
		close(x.dir);
	}
	ctl_raise(c, x.damaged > 0 ? CTL_LOOK : CTL_OK);
	tell(&x);
	for (size_t i = 0; i < x.nmarked; i++)
		free(x.marked[i].was);
	free(x.marked);
	free(x.want);
	manifest_free(&x.m);
}
