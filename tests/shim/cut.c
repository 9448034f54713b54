/* Pictures of a disk; see cut.h.  The state is kept as a disk keeps it: what is stable, and a list of what is open.
 *
 *	file:   stable bytes  + open writes and truncations, in order   --SYNC-->      stable bytes
 *	names:  stable names  + open creations, renames and removals    --SYNC_DIR-->  stable names */
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/shim/cut.h"
#include "tests/shim/walk.h"

#define SECTOR 512 /* what a disk writes whole, at least */

struct bytes {
	uint8_t *p;
	size_t len, cap;
};

struct list {
	struct record *r;
	size_t n, cap;
};

struct file {
	struct bytes stable;
	struct list open;
};

struct names { /* by file */
	char text[RECORD_FILES_MAX][RECORD_NAME_MAX]; /* "": has none */
};

struct cut {
	struct file file[RECORD_FILES_MAX];
	uint32_t nfile;
	struct names stable;
	struct list open;
};

static void *
grown(void *p, size_t size)
{
	p = realloc(p, size);
	if (p == NULL)
		abort();
	return p;
}

static void
resize(struct bytes *b, size_t len)
{
	if (len > b->cap)
		b->p = grown(b->p, b->cap = len * 2);
	if (len > b->len)
		memset(b->p + b->len, 0, len - b->len);
	b->len = len;
}

static void
write_at(struct bytes *b, uint64_t at, const uint8_t *data, size_t len)
{
	if (at + len > b->len)
		resize(b, at + len);
	memcpy(b->p + at, data, len);
}

static void
list_add(struct list *l, const struct record *r)
{
	if (l->n == l->cap) {
		l->cap = l->cap == 0 ? 8 : l->cap * 2;
		l->r = grown(l->r, l->cap * sizeof(*l->r));
	}
	l->r[l->n++] = *r;
}

struct cut *
cut_new(void)
{
	struct cut *c = calloc(1, sizeof(*c));

	if (c == NULL)
		abort();
	return c;
}

void
cut_free(struct cut *c)
{
	for (uint32_t i = 0; i < c->nfile; i++) {
		free(c->file[i].stable.p);
		free(c->file[i].open.r);
	}
	free(c->open.r);
	free(c);
}

static void
keep_data(struct bytes *b, const struct record *r)
{
	if (r->kind == RECORD_TRUNCATE)
		resize(b, r->at);
	else
		write_at(b, r->at, r->data, r->len);
}

static void
keep_name(struct names *names, const struct record *r)
{
	const char *text = r->data;

	for (uint32_t i = 0; i < RECORD_FILES_MAX; i++) { /* a name is one file's: renaming replaces */
		if (strcmp(names->text[i], text) == 0)
			names->text[i][0] = '\0';
	}
	if (r->kind != RECORD_UNLINK)
		memcpy(names->text[r->file], text, RECORD_NAME_MAX);
}

static void
sync_file(struct file *f)
{
	for (size_t i = 0; i < f->open.n; i++)
		keep_data(&f->stable, &f->open.r[i]);
	f->open.n = 0;
}

/* A stable write: what was open in its place, such as the zeros that recovery writes behind the end of the log, does not matter any
 * more. */
static void
write_stable(struct file *f, const struct record *r)
{
	struct list old = f->open;

	f->open = (struct list){ 0 };
	for (size_t i = 0; i < old.n; i++) {
		struct record left = old.r[i], right = old.r[i];
		uint64_t end = left.at + left.len, from = r->at, to = r->at + r->len;

		if (left.kind == RECORD_TRUNCATE || end <= from || left.at >= to) {
			list_add(&f->open, &left);
			continue;
		}
		if (left.at < from) {
			left.len = (uint32_t)(from - left.at);
			list_add(&f->open, &left);
		}
		if (end > to) {
			right.data = (const uint8_t *)right.data + (to - right.at);
			right.len = (uint32_t)(end - to);
			right.at = to;
			list_add(&f->open, &right);
		}
	}
	free(old.r);
	keep_data(&f->stable, r);
}

void
cut_apply(struct cut *c, const struct record *r)
{
	struct file *f = &c->file[r->file];

	switch (r->kind) {
	case RECORD_CREATE:
		c->nfile = r->file + 1;
		list_add(&c->open, r);
		break;
	case RECORD_RENAME:
	case RECORD_UNLINK:
		list_add(&c->open, r);
		break;
	case RECORD_WRITE:
		if (r->stable)
			write_stable(f, r);
		else
			list_add(&f->open, r);
		break;
	case RECORD_TRUNCATE:
		list_add(&f->open, r);
		break;
	case RECORD_SYNC:
		sync_file(f);
		break;
	case RECORD_SYNC_DIR:
		for (size_t i = 0; i < c->open.n; i++)
			keep_name(&c->stable, &c->open.r[i]);
		c->open.n = 0;
		break;
	case RECORD_SAID:
		break;
	}
}

/* ---- building ---- */

static bool
happened(enum cut_fate fate, uint64_t *seed)
{
	return fate == CUT_KEPT || (fate == CUT_MIXED && walk_random(seed) % 2 == 0);
}

/* Some sectors of a write: any, or (the write was under way) those before the cut. */
static void
tear(struct bytes *b, const struct record *r, bool under_way, uint64_t *seed)
{
	uint64_t at = r->at, end = r->at + r->len, until = under_way ? r->at + walk_random(seed) % (r->len + 1) : end;

	while (at < end) {
		uint64_t next = (at / SECTOR + 1) * SECTOR;

		if (next > end)
			next = end;
		if (under_way ? next <= until : walk_random(seed) % 2 == 0)
			write_at(b, at, (const uint8_t *)r->data + (at - r->at), next - at);
		at = next;
	}
}

static void
maybe_data(struct bytes *b, const struct record *r, enum cut_fate fate, uint64_t *seed)
{
	if (fate == CUT_MIXED && r->kind == RECORD_WRITE && walk_random(seed) % 3 == 0)
		tear(b, r, false, seed);
	else if (happened(fate, seed))
		keep_data(b, r);
}

static bool
write_file(int dir_fd, const char *name, const struct bytes *b)
{
	int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	bool ok = fd != -1 && write(fd, b->p, b->len) == (ssize_t)b->len;

	if (fd != -1)
		(void)close(fd);
	return ok;
}

static bool
build_file(const struct cut *c, uint32_t i, const struct record *during, enum cut_fate fate, uint64_t *seed, int dir_fd,
	   const char *name)
{
	const struct file *f = &c->file[i];
	struct bytes b = { 0 };
	bool ok;

	resize(&b, f->stable.len + 1);
	b.len = f->stable.len;
	if (b.len > 0)
		memcpy(b.p, f->stable.p, b.len);
	for (size_t k = 0; k < f->open.n; k++)
		maybe_data(&b, &f->open.r[k], fate, seed);
	if (during != NULL && during->kind == RECORD_WRITE && during->file == i && fate != CUT_LOST)
		tear(&b, during, fate == CUT_KEPT, seed);
	if (fate == CUT_MIXED && f->open.n > 0 && walk_random(seed) % 4 == 0) { /* the new length came to the disk without the bytes */
		const struct record *last = &f->open.r[f->open.n - 1];

		if (last->kind == RECORD_WRITE && last->at + last->len > b.len)
			resize(&b, last->at + last->len);
	}
	ok = write_file(dir_fd, name, &b);
	free(b.p);
	return ok;
}

bool
cut_build(const struct cut *c, const struct record *during, enum cut_fate data, enum cut_fate names, uint64_t *seed, const char *dir)
{
	struct names *now = grown(NULL, sizeof(*now));
	int dir_fd = -1;
	bool ok;

	*now = c->stable;
	for (size_t i = 0; i < c->open.n; i++) {
		if (happened(names, seed))
			keep_name(now, &c->open.r[i]);
	}
	ok = mkdir(dir, 0700) == 0 && (dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) != -1;
	for (uint32_t i = 0; ok && i < c->nfile; i++) {
		if (now->text[i][0] != '\0')
			ok = build_file(c, i, during, data, seed, dir_fd, now->text[i]);
	}
	if (dir_fd != -1)
		(void)close(dir_fd);
	free(now);
	return ok;
}
