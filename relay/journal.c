/* The journal's file and its table.
 *
 *   file   := record*                      appended, rewritten when most of it is out of date
 *   record := identity client_version server_version crc     (24 + 8 + 8 + 4 bytes, numbers big-endian)
 *   identity := the first 24 bytes of SHA-256(endpoint NUL path NUL file_ident salt)
 *   crc := zlib's CRC-32 of the 40 bytes before it
 *
 * Later records of an identity replace earlier ones; client_version 0 forgets it.  A record whose CRC is wrong ends the file: what
 * follows a torn write was never synced.  The format may grow only under another file name. */
#include <errno.h>
#include <fcntl.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zlib.h>

#include "buffer/store.h"

#include "relay/be64.h"
#include "relay/journal.h"
#include "relay/relay.h"
#include "relay/tls.h"

#define ID_LEN 24
#define RECORD_LEN (ID_LEN + 8 + 8 + 4)
#define REWRITE_MIN 1024 /* records: a smaller file is not worth rewriting */

struct promise {
	uint8_t id[ID_LEN];
	uint64_t client_version, server_version;
};

struct journal {
	char *path;
	int fd;
	void *table; /* tsearch tree of struct promise */
	size_t live, written; /* promises kept; records in the file */
	bool dirty, failed;
};

static void
identity(const struct store_file *f, uint8_t id[ID_LEN])
{
	unsigned char hash[32];
	size_t e = strlen(f->endpoint) + 1, p = strlen(f->path) + 1;
	uint8_t *text = relay_alloc(e + p + 16);

	memcpy(text, f->endpoint, e);
	memcpy(text + e, f->path, p);
	be64_put(text + e + p, f->file_ident);
	be64_put(text + e + p + 8, f->file_ident_salt);
	tls_sha256(text, e + p + 16, hash);
	memcpy(id, hash, ID_LEN);
	free(text);
}

static int
promise_cmp(const void *a, const void *b)
{
	return memcmp(((const struct promise *)a)->id, ((const struct promise *)b)->id, ID_LEN);
}

static struct promise *
lookup(const struct journal *j, const uint8_t id[ID_LEN])
{
	struct promise key;
	struct promise *const *found;

	memcpy(key.id, id, ID_LEN);
	found = tfind(&key, &j->table, promise_cmp);
	return found != NULL ? *found : NULL;
}

static void
remember(struct journal *j, const struct promise *p)
{
	struct promise *old = lookup(j, p->id);

	if (old == NULL) {
		old = relay_alloc(sizeof(*old));
		*old = *p;
		if (tsearch(old, &j->table, promise_cmp) == NULL)
			abort(); /* out of memory, as relay_alloc */
		j->live += p->client_version != 0;
		return;
	}
	j->live += (p->client_version != 0) - (size_t)(old->client_version != 0);
	*old = *p;
}

static void
encode(const struct promise *p, uint8_t out[RECORD_LEN])
{
	uint32_t crc;

	memcpy(out, p->id, ID_LEN);
	be64_put(out + ID_LEN, p->client_version);
	be64_put(out + ID_LEN + 8, p->server_version);
	crc = (uint32_t)crc32(0, out, RECORD_LEN - 4);
	for (int i = 0; i < 4; i++)
		out[RECORD_LEN - 4 + i] = (uint8_t)(crc >> (24 - 8 * i));
}

static bool
decode(const uint8_t in[RECORD_LEN], struct promise *p)
{
	uint8_t again[RECORD_LEN];

	memcpy(p->id, in, ID_LEN);
	p->client_version = be64_get(in + ID_LEN);
	p->server_version = be64_get(in + ID_LEN + 8);
	encode(p, again);
	return memcmp(in, again, RECORD_LEN) == 0;
}

static bool
write_all(int fd, const uint8_t *p, size_t n)
{
	while (n > 0) {
		ssize_t w = write(fd, p, n);

		if (w < 0 && errno == EINTR)
			continue;
		if (w <= 0)
			return false;
		p += w;
		n -= (size_t)w;
	}
	return true;
}

/* A full disk is no failure of the journal: what was written of the record is taken back, and the caller makes room. */
static bool
append(struct journal *j, const struct promise *p)
{
	uint8_t out[RECORD_LEN];
	off_t end;

	if (j->failed)
		return false;
	encode(p, out);
	end = lseek(j->fd, 0, SEEK_END);
	j->failed = !write_all(j->fd, out, sizeof(out));
	if (j->failed && (errno == ENOSPC || errno == EDQUOT) && end >= 0 && ftruncate(j->fd, end) == 0) {
		j->failed = false;
		errno = ENOSPC;
		return false;
	}
	j->dirty = true;
	j->written++;
	return !j->failed;
}

static bool
load(struct journal *j)
{
	uint8_t in[RECORD_LEN];
	struct promise p;
	off_t good = 0;
	FILE *f = fdopen(dup(j->fd), "rb");

	if (f == NULL)
		return false;
	while (fread(in, 1, sizeof(in), f) == sizeof(in) && decode(in, &p)) {
		remember(j, &p);
		j->written++;
		good += RECORD_LEN;
	}
	fclose(f);
	return ftruncate(j->fd, good) == 0 && lseek(j->fd, good, SEEK_SET) == good;
}

/* twalk has no argument of its own */
static struct journal *rewriting;
static int rewriting_fd;
static bool rewriting_ok;

static void
rewrite_one(const void *node, VISIT which, int depth)
{
	const struct promise *p = *(struct promise *const *)node;
	uint8_t out[RECORD_LEN];

	(void)depth;
	if ((which != postorder && which != leaf) || p->client_version == 0)
		return;
	encode(p, out);
	rewriting_ok = rewriting_ok && write_all(rewriting_fd, out, sizeof(out));
	rewriting->written++;
}

static bool
sync_folder(const char *path)
{
	char *folder = relay_strndup(path, strlen(path)), *slash = strrchr(folder, '/');
	int fd;
	bool ok;

	if (slash != NULL)
		*slash = '\0';
	fd = open(slash != NULL ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ok = fd >= 0 && fsync(fd) == 0;
	if (fd >= 0)
		close(fd);
	free(folder);
	return ok;
}

/* Writes what is live to a new file and puts it in the old one's place.  A failure leaves the old one as it is. */
static void
rewrite(struct journal *j)
{
	size_t n = strlen(j->path) + 5, written = j->written;
	char *temp = relay_alloc(n);

	snprintf(temp, n, "%s.new", j->path);
	rewriting_fd = open(temp, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	rewriting_ok = rewriting_fd >= 0;
	rewriting = j;
	j->written = 0;
	if (rewriting_ok)
		twalk(j->table, rewrite_one);
	rewriting_ok = rewriting_ok && fdatasync(rewriting_fd) == 0 && rename(temp, j->path) == 0;
	if (rewriting_ok) {
		close(j->fd);
		j->fd = rewriting_fd;
		j->dirty = !sync_folder(j->path);
	} else {
		if (rewriting_fd >= 0)
			close(rewriting_fd);
		unlink(temp);
		j->written = written;
	}
	free(temp);
}

struct journal *
journal_open(const char *path, char *why, size_t why_len)
{
	struct journal *j = relay_alloc(sizeof(*j));

	j->path = relay_strndup(path, strlen(path));
	j->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (j->fd < 0 || fchmod(j->fd, 0600) != 0 || !load(j) || !sync_folder(path)) {
		snprintf(why, why_len, "%s: %s", path, strerror(errno));
		journal_close(j);
		return NULL;
	}
	if (j->written > REWRITE_MIN && j->written / 2 > j->live)
		rewrite(j);
	return j;
}

void
journal_close(struct journal *j)
{
	if (j == NULL)
		return;
	(void)journal_sync(j);
	if (j->fd >= 0)
		close(j->fd);
	tdestroy(j->table, free);
	free(j->path);
	free(j);
}

bool
journal_note(struct journal *j, const struct store_file *f)
{
	struct promise p = { .client_version = f->shown_client_version, .server_version = f->shown_server_version };
	const struct promise *old;

	identity(f, p.id);
	old = lookup(j, p.id);
	if (old != NULL && old->client_version >= p.client_version)
		return !j->failed;
	if (!append(j, &p))
		return false;
	remember(j, &p);
	return true;
}

bool
journal_find(const struct journal *j, const struct store_file *f, uint64_t *client_version, uint64_t *server_version)
{
	uint8_t id[ID_LEN];
	const struct promise *p;

	identity(f, id);
	p = lookup(j, id);
	if (p == NULL || p->client_version == 0)
		return false;
	*client_version = p->client_version;
	*server_version = p->server_version;
	return true;
}

size_t
journal_count(const struct journal *j)
{
	return j->live;
}

void
journal_forget(struct journal *j, const struct store_file *f)
{
	struct promise p = { .client_version = 0 };
	const struct promise *old;

	identity(f, p.id);
	old = lookup(j, p.id);
	if (old == NULL || old->client_version == 0)
		return;
	remember(j, &p);
	if (append(j, &p) && j->written > REWRITE_MIN && j->written / 2 > j->live)
		rewrite(j);
}

bool
journal_sync(struct journal *j)
{
	if (!j->dirty || j->failed)
		return !j->failed;
	j->failed = fdatasync(j->fd) != 0;
	j->dirty = false;
	return !j->failed;
}

bool
journal_dirty(const struct journal *j)
{
	return j->dirty;
}
