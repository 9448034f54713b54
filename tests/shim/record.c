/* The recorder; see record.h.  It sees what goes through hooks_io, hooks_unlink, libdb's hooks for unlink and ftruncate, which the store
 * leaves alone, and fsync and fdatasync, which stand here in place of the C library's: the store syncs by itself before it recovers.
 * What it does not see (the file lock) is in no picture that is made of it; test_power.c checks that the tables and logs are.
 *
 * A record in memory is a struct head and its data, padded.  Files are told apart by inode, as a name may be given twice. */
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <db.h>

#include "buffer/hooks.h"
#include "tests/shim/record.h"

#define ARENA_BYTES ((size_t)256 << 20) /* reserved, not used: a walk of test_power.c takes some 30 MB */

struct head {
	uint32_t len, file;
	uint64_t at;
	uint16_t kind, stable;
	uint32_t pad;
};

static struct arena {
	bool on;
	char dir[PATH_MAX];
	uint64_t dir_ino;
	unsigned dies; /* after so many log writes; 0 = it does not */
	uint32_t nfile;
	uint64_t ino[RECORD_FILES_MAX]; /* of file number i, until another file gets it */
	size_t used;
	_Alignas(16) uint8_t bytes[];
} *a;

static void
put(enum record_kind kind, uint32_t file, uint64_t at, const void *data, uint32_t len, bool stable)
{
	struct head h = { .len = len, .file = file, .at = at, .kind = (uint16_t)kind, .stable = stable };
	size_t size = (sizeof(h) + len + 15) / 16 * 16;

	if (size > ARENA_BYTES - sizeof(*a) - a->used)
		errx(1, "record: too much to remember");
	memcpy(a->bytes + a->used, &h, sizeof(h));
	if (len > 0)
		memcpy(a->bytes + a->used + sizeof(h), data, len);
	a->used += size;
}

bool
record_get(size_t at, struct record *out)
{
	struct head h;

	if (at >= a->used)
		return false;
	memcpy(&h, a->bytes + at, sizeof(h));
	*out = (struct record){ .kind = (enum record_kind)h.kind, .stable = h.stable, .file = h.file, .len = h.len, .at = h.at,
		.data = a->bytes + at + sizeof(h), .next = at + (sizeof(h) + h.len + 15) / 16 * 16 };
	return true;
}

void
record_say(const void *data, uint32_t len)
{
	put(RECORD_SAID, 0, 0, data, len, false);
}

/* The name of path in the directory that is recorded; NULL if it lies elsewhere. */
static const char *
name_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	size_t len = strlen(a->dir);

	if (slash == NULL || (size_t)(slash - path) != len || strncmp(path, a->dir, len) != 0)
		return NULL;
	if (strlen(slash + 1) >= RECORD_NAME_MAX)
		errx(1, "record: long name %s", slash + 1);
	return slash + 1;
}

static bool
file_of_ino(uint64_t ino, uint32_t *file)
{
	for (uint32_t i = a->nfile; i-- > 0;) {
		if (a->ino[i] == ino) {
			*file = i;
			return true;
		}
	}
	return false;
}

static bool
file_of_fd(int fd, uint32_t *file)
{
	struct stat st;

	return a != NULL && a->on && fstat(fd, &st) == 0 && file_of_ino(st.st_ino, file);
}

static void
put_names(enum record_kind kind, uint32_t file, const char *name, const char *old)
{
	char text[2][RECORD_NAME_MAX] = { "", "" };

	memcpy(text[0], name, strlen(name) + 1);
	memcpy(text[1], old, strlen(old) + 1);
	put(kind, file, 0, text, sizeof(text), false);
}

static void
created(int fd, const char *name)
{
	struct stat st;

	if (fstat(fd, &st) == -1 || a->nfile == RECORD_FILES_MAX)
		errx(1, "record: too many files");
	for (uint32_t i = 0; i < a->nfile; i++) {
		if (a->ino[i] == st.st_ino)
			a->ino[i] = 0;
	}
	a->ino[a->nfile] = st.st_ino;
	put_names(RECORD_CREATE, a->nfile++, name, "");
}

static int
shim_open(const char *path, int flags, ...)
{
	const char *name = a->on ? name_of(path) : NULL;
	bool is_new = name != NULL && (flags & O_CREAT) != 0 && access(path, F_OK) == -1;
	uint32_t file;
	va_list ap;
	int mode = 0, fd;

	if (flags & O_CREAT) {
		va_start(ap, flags);
		mode = va_arg(ap, int);
		va_end(ap);
	}
	fd = open(path, flags, mode);
	if (fd != -1 && is_new)
		created(fd, name);
	else if (fd != -1 && (flags & O_TRUNC) != 0 && file_of_fd(fd, &file))
		put(RECORD_TRUNCATE, file, 0, NULL, 0, false);
	return fd;
}

static ssize_t
shim_write(int fd, const void *buf, size_t len)
{
	off_t at = lseek(fd, 0, SEEK_CUR);
	bool stable = (fcntl(fd, F_GETFL) & O_DSYNC) != 0, dies = stable && a->on && a->dies > 0 && --a->dies == 0;
	ssize_t n = write(fd, buf, len);
	uint32_t file;

	if (n > 0 && at != -1 && file_of_fd(fd, &file))
		put(RECORD_WRITE, file, (uint64_t)at, buf, (uint32_t)n, stable && !dies);
	if (dies)
		_exit(0);
	return n;
}

static int
shim_rename(const char *from, const char *to)
{
	const char *old = a->on ? name_of(from) : NULL, *name = a->on ? name_of(to) : NULL;
	struct stat st;
	uint32_t file = 0;
	int ret;

	if (name != NULL && (stat(from, &st) == -1 || !file_of_ino(st.st_ino, &file)))
		name = NULL;
	ret = rename(from, to);
	if (ret == 0 && name != NULL)
		put_names(RECORD_RENAME, file, name, old != NULL ? old : "");
	else if (ret == 0 && old != NULL)
		put_names(RECORD_UNLINK, 0, old, "");
	return ret;
}

static int
shim_unlink(const char *path)
{
	const char *name = a->on ? name_of(path) : NULL;
	int ret = unlink(path);

	if (ret == 0 && name != NULL)
		put_names(RECORD_UNLINK, 0, name, "");
	return ret;
}

/* libdb's hooks return an error number. */
static int
shim_db_unlink(const char *path)
{
	return shim_unlink(path) == -1 ? errno : 0;
}

static int
shim_db_ftruncate(int fd, off_t len)
{
	int ret = ftruncate(fd, len);
	uint32_t file;

	if (ret == 0 && file_of_fd(fd, &file))
		put(RECORD_TRUNCATE, file, (uint64_t)len, NULL, 0, false);
	return ret == -1 ? errno : 0;
}

static int
synced(int fd, int ret)
{
	struct stat st;
	uint32_t file;

	if (ret == -1 || a == NULL || !a->on)
		return ret;
	if (file_of_fd(fd, &file))
		put(RECORD_SYNC, file, 0, NULL, 0, false);
	else if (fstat(fd, &st) == 0 && st.st_ino == a->dir_ino)
		put(RECORD_SYNC_DIR, 0, 0, NULL, 0, false);
	return ret;
}

int
fdatasync(int fd)
{
	return synced(fd, (int)syscall(SYS_fdatasync, fd));
}

int
fsync(int fd)
{
	return synced(fd, (int)syscall(SYS_fsync, fd));
}

void
record_start(const char *dir)
{
	struct stat st;

	if (a == NULL) {
		a = mmap(NULL, ARENA_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (a == MAP_FAILED)
			err(1, "mmap");
		hooks_io = (struct hooks_io){ shim_open, shim_write, fdatasync, shim_rename };
		hooks_unlink = shim_unlink;
		(void)db_env_set_func_unlink(shim_db_unlink);
		(void)db_env_set_func_ftruncate(shim_db_ftruncate);
	}
	if (realpath(dir, a->dir) == NULL || stat(dir, &st) == -1)
		err(1, "%s", dir);
	a->dir_ino = st.st_ino;
	a->nfile = 0;
	a->used = 0;
	a->dies = 0;
	a->on = true;
}

void
record_die(unsigned n)
{
	a->dies = n;
}

void
record_stop(void)
{
	a->on = false;
}
