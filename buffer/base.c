/* The base: what bounds the log.
 *
 *      base                    "holdfast base 1 NNNNNNNNNN": the base is valid, and needs the logs from that number on
 *      base-NNNNNNNNNN.files   copy of files.db, and so for each table
 *
 * Tables that are refused (a torn page, a flipped bit) are rebuilt from all logs since they were made.  So that those logs need not
 * be kept for ever while some backlog is never drained, the tables are copied now and then, and the rebuild begins with the copy.
 *
 * The one idea is Berkeley DB's rule for hot backups: after a checkpoint in log file N, copy the tables, in any number of steps, while
 * they are being written to; catastrophic recovery over the logs from N on then repeats whatever a copied page lacks.  A page is never
 * seen half written: whoever copies is the thread that writes.  The copy counts only when its last byte is synced and `base` has been
 * renamed to its place; older copies and logs go after that. */
#include <sys/stat.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "buffer/base.h"
#include "buffer/hooks.h"

#define MARK "base"
#define MARK_TEXT "holdfast base 1 %010u\n"
#define CHUNK (256u << 10)

static bool
is_table(const char *name)
{
	size_t len = strlen(name);

	return len > 3 && len < BASE_NAME_MAX - 20 && strcmp(name + len - 3, ".db") == 0 && strncmp(name, "__db", 4) != 0;
}

static void
path_in(char *out, size_t cap, const char *home, const char *name)
{
	(void)snprintf(out, cap, "%s/%s", home, name);
}

/* base-NNNNNNNNNN.files for files.db. */
static void
copy_name(char *out, size_t cap, uint32_t first_log, const char *table)
{
	(void)snprintf(out, cap, MARK "-%010u.%.*s", first_log, (int)(strlen(table) - 3), table);
}

static int
sync_and_close(int fd)
{
	int err = hooks_io.fsync(fd) == -1 ? errno : 0;

	if (close(fd) == -1 && err == 0)
		err = errno;
	return err;
}

static int
sync_dir(const char *home)
{
	int fd = hooks_io.open(home, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd == -1 ? errno : sync_and_close(fd);
}

static int
write_all(int fd, const uint8_t *buf, size_t len)
{
	while (len > 0) {
		ssize_t n = hooks_io.write(fd, buf, len);

		if (n == -1 && errno == EINTR)
			continue;
		if (n <= 0)
			return n == 0 ? EIO : errno;
		buf += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Copies up to max bytes from offset on; *copied: how many, less than max at the end of the file. */
static int
copy_bytes(int from, int to, uint64_t offset, uint64_t max, uint64_t *copied)
{
	uint8_t *buf = malloc(CHUNK);
	int err = buf == NULL ? ENOMEM : 0;

	for (*copied = 0; err == 0 && *copied < max;) {
		size_t want = max - *copied < CHUNK ? (size_t)(max - *copied) : CHUNK;
		ssize_t n = pread(from, buf, want, (off_t)(offset + *copied));

		if (n == 0)
			break;
		if (n < 0)
			err = errno == EINTR ? 0 : errno;
		else if ((err = write_all(to, buf, (size_t)n)) == 0)
			*copied += (uint64_t)n;
	}
	free(buf);
	return err;
}

/* ---- what is there ---- */

static int
table_bytes_cb(void *arg, int dir_fd, const char *name)
{
	struct stat st;

	if (is_table(name) && fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		*(uint64_t *)arg += (uint64_t)st.st_size;
	return 0;
}

uint64_t
base_table_bytes(const struct dir *d)
{
	uint64_t sum = 0;

	return dir_each(d, table_bytes_cb, &sum) == 0 ? sum : UINT64_MAX;
}

uint32_t
base_first_log(const struct dir *d)
{
	int fd = openat(d->fd, MARK, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	char text[64] = "", want[64];
	ssize_t n = fd != -1 ? read(fd, text, sizeof(text) - 1) : -1;
	unsigned first = 0;

	if (fd != -1)
		(void)close(fd);
	if (n <= 0 || sscanf(text, "holdfast base 1 %10u", &first) != 1)
		return 0;
	(void)snprintf(want, sizeof(want), MARK_TEXT, first);
	return strcmp(text, want) == 0 ? first : 0;
}

/* ---- copying ---- */

static int
collect_cb(void *arg, int dir_fd, const char *name)
{
	struct base *b = arg;

	(void)dir_fd;
	if (!is_table(name))
		return 0;
	if (b->ntable == BASE_TABLES_MAX)
		return ENFILE;
	(void)snprintf(b->tables[b->ntable++], BASE_NAME_MAX, "%s", name);
	return 0;
}

int
base_begin(struct base *b, const struct dir *d, const char *home, uint32_t first_log)
{
	int err;

	*b = (struct base){ .home = home, .first_log = first_log, .from = -1, .to = -1 };
	err = dir_each(d, collect_cb, b);
	b->active = err == 0;
	return err;
}

void
base_abandon(struct base *b)
{
	if (!b->active)
		return;
	if (b->from != -1)
		(void)close(b->from);
	if (b->to != -1)
		(void)close(b->to);
	for (unsigned i = 0; i < b->ntable; i++) {
		char name[BASE_NAME_MAX], path[4300];

		copy_name(name, sizeof(name), b->first_log, b->tables[i]);
		path_in(path, sizeof(path), b->home, name);
		(void)hooks_unlink(path);
	}
	b->active = false;
}

static int
next_table(struct base *b)
{
	char name[BASE_NAME_MAX], path[4300];

	path_in(path, sizeof(path), b->home, b->tables[b->at]);
	if ((b->from = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC)) == -1)
		return errno;
	copy_name(name, sizeof(name), b->first_log, b->tables[b->at]);
	path_in(path, sizeof(path), b->home, name);
	b->offset = 0;
	b->to = hooks_io.open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, S_IRUSR | S_IWUSR);
	return b->to == -1 ? errno : 0;
}

/* Writes the mark under another name, then renames it. */
static int
set_mark(const char *home, uint32_t first_log)
{
	char text[64], path[4300], fresh[4300];
	int fd, err, len = snprintf(text, sizeof(text), MARK_TEXT, first_log);

	path_in(path, sizeof(path), home, MARK);
	path_in(fresh, sizeof(fresh), home, MARK ".new");
	if ((err = sync_dir(home)) != 0) /* the copies' names before the mark that speaks of them */
		return err;
	if ((fd = hooks_io.open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, S_IRUSR | S_IWUSR)) == -1)
		return errno;
	if ((err = write_all(fd, (const uint8_t *)text, (size_t)len)) != 0) {
		(void)close(fd);
		return err;
	}
	if ((err = sync_and_close(fd)) != 0)
		return err;
	return hooks_io.rename(fresh, path) == -1 ? errno : sync_dir(home);
}

int
base_step(struct base *b, uint64_t max_bytes, bool *done)
{
	uint64_t copied;
	int err = 0;

	*done = false;
	while (err == 0 && b->at < b->ntable && max_bytes > 0) {
		if (b->from == -1 && (err = next_table(b)) != 0)
			break;
		if ((err = copy_bytes(b->from, b->to, b->offset, max_bytes, &copied)) != 0)
			break;
		b->offset += copied;
		if (copied < max_bytes) { /* its end */
			err = sync_and_close(b->to);
			(void)close(b->from);
			b->from = b->to = -1;
			b->at++;
		}
		max_bytes -= copied;
	}
	if (err == 0 && b->at == b->ntable) {
		err = set_mark(b->home, b->first_log);
		*done = err == 0;
		b->active = !*done;
	}
	if (err != 0)
		base_abandon(b);
	return err;
}

/* ---- clearing up ---- */

struct cleaning {
	const char *home;
	uint32_t first_log;
	bool removed;
};

static int
clean_cb(void *arg, int dir_fd, const char *name)
{
	struct cleaning *c = arg;
	uint32_t log = dir_log_number(name);
	unsigned n;
	char path[4300];
	bool stale = strcmp(name, MARK ".new") == 0;

	(void)dir_fd;
	if (sscanf(name, MARK "-%10u.", &n) == 1)
		stale = n != c->first_log;
	else if (log != 0)
		stale = log < c->first_log;
	if (!stale)
		return 0;
	path_in(path, sizeof(path), c->home, name);
	c->removed = true;
	return hooks_unlink(path) == -1 && errno != ENOENT ? errno : 0;
}

int
base_clean(const struct dir *d, const char *home)
{
	struct cleaning c = { .home = home, .first_log = base_first_log(d) };
	int err = dir_each(d, clean_cb, &c);

	return err == 0 && c.removed ? sync_dir(home) : err;
}

/* ---- the way back ---- */

struct restoring {
	const char *home;
	uint32_t first_log;
	unsigned n;
};

static int
restore_cb(void *arg, int dir_fd, const char *name)
{
	struct restoring *r = arg;
	char table[BASE_NAME_MAX], path[4300];
	uint64_t copied;
	unsigned n;
	int from, to, err;

	if (sscanf(name, MARK "-%10u.%40[a-z0-9_]", &n, table) != 2 || n != r->first_log)
		return 0;
	(void)strncat(table, ".db", sizeof(table) - strlen(table) - 1);
	path_in(path, sizeof(path), r->home, table);
	if ((from = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC)) == -1)
		return errno;
	if ((to = hooks_io.open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, S_IRUSR | S_IWUSR)) == -1) {
		err = errno;
		(void)close(from);
		return err;
	}
	err = copy_bytes(from, to, 0, UINT64_MAX, &copied);
	(void)close(from);
	if (err == 0)
		err = sync_and_close(to);
	else
		(void)close(to);
	r->n++;
	return err;
}

int
base_restore(const struct dir *d, const char *home)
{
	struct restoring r = { .home = home, .first_log = base_first_log(d) };
	int err = r.first_log == 0 ? ENOENT : dir_each(d, restore_cb, &r);

	if (err == 0)
		err = r.n == 0 ? ENOENT : sync_dir(home);
	return err;
}
