/* Paths, client files and changesets of the stand-in upstream; see history.h.
 *
 * For: session.c and commands.c.  Never: judges what a client may do (rules.c) or sends anything.
 *
 * The one idea: a path's history is an array that only grows; server version v is element v - 1.  Everything that is asked for
 * often (progress, counts, CRC of a file) is kept up while appending, so nothing walks a history but a download and the checks.
 * Idents count up from 2 per path and are never reused. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <event2/util.h>
#include <zlib.h>

#include "tests/upstream/history.h"

static void *
must(void *p)
{
	if (p == NULL) {
		fprintf(stderr, "upstream: out of memory\n");
		abort();
	}
	return p;
}

void
history_init(struct history *h)
{
	memset(h, 0, sizeof *h);
	h->last = &h->first;
}

void
history_clear(struct history *h)
{
	struct path *p, *next;
	size_t i;

	for (p = h->first; p != NULL; p = next) {
		next = p->next_all;
		for (i = 0; i < p->nchanges; i++)
			free(p->change[i].changeset);
		for (i = 0; i < p->nfiles; i++)
			free(p->file[i]);
		free(p->change);
		free(p->file);
		free(p->name);
		free(p);
	}
	history_init(h);
}

uint64_t
history_salt(void)
{
	uint64_t salt;

	do {
		evutil_secure_rng_get_bytes(&salt, sizeof salt);
		salt &= INT64_MAX;
	} while (salt == 0);
	return salt;
}

struct path *
history_path(struct history *h, struct view name, bool create)
{
	struct path **chain = &h->bucket[crc32(0, name.ptr, (uInt)name.len) % HISTORY_BUCKETS], *p;

	for (p = *chain; p != NULL; p = p->next)
		if (view_eq(view_of(p->name), name))
			return p;
	if (!create)
		return NULL;
	p = must(calloc(1, sizeof *p));
	p->name = must(strndup((const char *)name.ptr, name.len));
	p->salt = history_salt();
	p->next = *chain;
	*chain = p;
	*h->last = p;
	h->last = &p->next_all;
	h->npaths++;
	return p;
}

struct file *
history_add_file(struct history *h, struct path *p, bool subserver, uint64_t proxy)
{
	struct file *f = must(calloc(1, sizeof *f));

	if (p->nfiles == p->file_cap) {
		p->file_cap = p->file_cap * 2 + 4;
		p->file = must(realloc(p->file, p->file_cap * sizeof *p->file));
	}
	f->ident = p->nfiles + HISTORY_FIRST_IDENT;
	f->salt = history_salt();
	f->subserver = subserver;
	f->proxy = proxy;
	p->file[p->nfiles++] = f;
	h->nfiles++;
	return f;
}

struct file *
history_file(const struct path *p, uint64_t ident)
{
	return ident >= HISTORY_FIRST_IDENT && ident - HISTORY_FIRST_IDENT < p->nfiles ? p->file[ident - HISTORY_FIRST_IDENT] : NULL;
}

/* Keeps up what is told about the file that uploaded c. */
static void
count_change(struct file *f, const struct change *c)
{
	uint8_t version[8];
	unsigned i;

	for (i = 0; i < 8; i++)
		version[i] = (uint8_t)(c->client_version >> (56 - 8 * i));
	f->nchanges++;
	f->last_client_version = c->client_version;
	f->crc = (uint32_t)crc32(f->crc, version, sizeof version);
	f->crc = (uint32_t)crc32(f->crc, c->changeset, (uInt)c->len);
}

const struct change *
history_append(struct history *h, struct path *p, struct change c)
{
	struct file *f = history_file(p, c.via);
	uint8_t *copy = must(malloc(c.len + 1));

	if (c.len > 0)
		memcpy(copy, c.changeset, c.len);
	c.changeset = copy;
	c.crc = (uint32_t)crc32(0, copy, (uInt)c.len);
	c.nth = h->nchanges;
	c.bytes = (p->nchanges > 0 ? p->change[p->nchanges - 1].bytes : 0) + c.len;
	if (c.salt == 0)
		c.salt = p->salt;
	if (p->nchanges == p->change_cap) {
		p->change_cap = p->change_cap * 2 + 16;
		p->change = must(realloc(p->change, p->change_cap * sizeof *p->change));
	}
	p->change[p->nchanges++] = c;
	h->nchanges++;
	h->nbytes += c.len;
	if (f != NULL)
		count_change(f, &c);
	return &p->change[p->nchanges - 1];
}

uint64_t
history_version_salt(const struct path *p, uint64_t version)
{
	return version == 0 ? 0 : p->change[version - 1].salt;
}

const char *
history_check(const struct history *h)
{
	static char wrong[256];
	const struct path *p;
	const struct change *c;
	uint64_t *last;
	size_t i, n;

	for (p = h->first; p != NULL; p = p->next_all) {
		last = must(calloc(p->nfiles + 1, sizeof *last));
		for (i = 0; i < p->nchanges; i++) {
			c = &p->change[i];
			n = (size_t)(c->via - HISTORY_FIRST_IDENT);
			if (c->client_version <= last[n]) {
				snprintf(wrong, sizeof wrong, "%.100s ident %" PRIu64 ": client version %" PRIu64 " after %" PRIu64, p->name, c->via,
					 c->client_version, last[n]);
				free(last);
				return wrong;
			}
			last[n] = c->client_version;
		}
		free(last);
	}
	return NULL;
}

/* ---- snapshots: lines of numbers, changesets follow theirs as they are ---- */

#define MAGIC "upstream-snapshot 1\n"

static void
save_path(const struct path *p, FILE *f)
{
	const struct change *c;
	const struct file *x;
	size_t i;

	fprintf(f, "%zu %zu %zu\n%s\n", strlen(p->name), p->nfiles, p->nchanges, p->name);
	for (i = 0; i < p->nfiles; i++) {
		x = p->file[i];
		fprintf(f, "%" PRIu64 " %" PRIu64 " %d %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", x->salt, x->proxy, x->subserver,
			x->progress.client_version, x->progress.server_version, x->locked_version);
	}
	for (i = 0; i < p->nchanges; i++) {
		c = &p->change[i];
		fprintf(f, "%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %zu\n", c->client_version,
			c->base_version, c->origin_timestamp, c->origin, c->via, c->salt, c->len);
		fwrite(c->changeset, 1, c->len, f);
	}
}

bool
history_save(const struct history *h, FILE *f)
{
	const struct path *p;

	fprintf(f, MAGIC "%" PRIu64 "\n", h->npaths);
	for (p = h->first; p != NULL; p = p->next_all)
		save_path(p, f);
	return ferror(f) == 0;
}

static bool
load_file(struct history *h, struct path *p, FILE *f)
{
	struct file *x = history_add_file(h, p, false, 0);
	int subserver;

	if (fscanf(f, "%" SCNu64 " %" SCNu64 " %d %" SCNu64 " %" SCNu64 " %" SCNu64, &x->salt, &x->proxy, &subserver,
		   &x->progress.client_version, &x->progress.server_version, &x->locked_version) != 6)
		return false;
	x->subserver = subserver != 0;
	return true;
}

static bool
load_change(struct history *h, struct path *p, FILE *f)
{
	struct change c = { 0 };
	uint8_t *buf;
	bool ok;

	if (fscanf(f, "%" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %zu", &c.client_version, &c.base_version,
		   &c.origin_timestamp, &c.origin, &c.via, &c.salt, &c.len) != 7 ||
	    fgetc(f) != '\n')
		return false;
	buf = malloc(c.len + 1);
	ok = buf != NULL && fread(buf, 1, c.len, f) == c.len && history_file(p, c.via) != NULL;
	if (ok) {
		c.changeset = buf;
		history_append(h, p, c);
	}
	free(buf);
	return ok;
}

static bool
load_path(struct history *h, FILE *f)
{
	size_t name_len, nfiles, nchanges, i;
	struct path *p;
	char name[2048];

	if (fscanf(f, "%zu %zu %zu", &name_len, &nfiles, &nchanges) != 3 || name_len >= sizeof name || fgetc(f) != '\n' ||
	    fread(name, 1, name_len, f) != name_len)
		return false;
	p = history_path(h, (struct view){ (const uint8_t *)name, name_len }, true);
	for (i = 0; i < nfiles; i++)
		if (!load_file(h, p, f))
			return false;
	for (i = 0; i < nchanges; i++)
		if (!load_change(h, p, f))
			return false;
	return true;
}

bool
history_load(struct history *h, FILE *f)
{
	char magic[sizeof MAGIC] = "";
	uint64_t npaths;

	if (fread(magic, 1, sizeof MAGIC - 1, f) != sizeof MAGIC - 1 || strcmp(magic, MAGIC) != 0 || fscanf(f, "%" SCNu64, &npaths) != 1)
		return false;
	for (; npaths > 0; npaths--)
		if (!load_path(h, f))
			return false;
	return true;
}
