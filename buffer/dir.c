/* The directory of a buffer: private, locked, its files synced before recovery builds on them, its use of the disk, the ballast.
 *
 * The ballast is a file of plain zeros whose blocks are allocated.  Recovery needs space for a log file and a checkpoint, and so does
 * giving space back; on a disk that is 100 % full neither could begin.  Giving the ballast up makes that room, and as long as it is
 * missing the store takes no new records (store_has_room), so the room is not eaten by them. */
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "buffer/dir.h"
#include "buffer/hooks.h"

#define LOCK_NAME "lock"
#define BALLAST_NAME "ballast"
#define MARK_NAME "damaged"
#define MARK_HEAD "holdfast damaged 1\n"
#define MARK_MAX 8192 /* a hundred names; more than that nobody lets happen */

/* ---- the directory ---- */

/* Says what failed, for the operator; the errno decides the result. */
static enum store_err
fail_dir(const struct dir *d, const char *what, const char *name, int err, char *why, size_t why_len)
{
	(void)snprintf(why, why_len, "cannot %s %s%s%s: %s", what, d->path, name != NULL ? "/" : "", name != NULL ? name : "",
		       strerror(err));
	if (hooks_is_full(err))
		return STORE_NOSPACE;
	return err == ENOMEM ? STORE_NOMEM : STORE_IO;
}

/* Creates the directory if it is missing, and closes it to everybody else. */
enum store_err
dir_open(struct dir *d, char *why, size_t why_len)
{
	bool made = mkdir(d->path, S_IRWXU) == 0;
	struct stat st;
	int parent;

	if (!made && errno != EEXIST)
		return fail_dir(d, "create", NULL, errno, why, why_len);
	if ((d->fd = open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) == -1 || fstat(d->fd, &st) == -1)
		return fail_dir(d, "open", NULL, errno, why, why_len);
	if ((st.st_mode & 07777) != S_IRWXU && fchmod(d->fd, S_IRWXU) == -1)
		return fail_dir(d, "close to others (chmod 0700)", NULL, errno, why, why_len);
	if (made) {
		parent = openat(d->fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (parent == -1 || fsync(parent) == -1) {
			int err = errno;

			if (parent != -1)
				(void)close(parent);
			return fail_dir(d, "sync the parent of", NULL, err, why, why_len);
		}
		(void)close(parent);
	}
	return STORE_OK;
}

/* Takes the lock and leaves our process id in it for whoever comes too late. */
enum store_err
dir_lock(struct dir *d, char *why, size_t why_len)
{
	char pid[24] = "";
	ssize_t n;

	d->lock_fd = openat(d->fd, LOCK_NAME, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, S_IRUSR | S_IWUSR);
	if (d->lock_fd == -1)
		return fail_dir(d, "open", LOCK_NAME, errno, why, why_len);
	if (flock(d->lock_fd, LOCK_EX | LOCK_NB) == -1) {
		if (errno != EWOULDBLOCK)
			return fail_dir(d, "lock", LOCK_NAME, errno, why, why_len);
		n = pread(d->lock_fd, pid, sizeof(pid) - 1, 0);
		pid[n > 0 ? n : 0] = '\0';
		if (atol(pid) > 0)
			(void)snprintf(why, why_len, "%s is in use by process %ld", d->path, atol(pid));
		else
			(void)snprintf(why, why_len, "%s is in use by another process", d->path);
		return STORE_LOCKED;
	}
	n = snprintf(pid, sizeof(pid), "%ld\n", (long)getpid());
	/* Only a courtesy: a disk that is full must not keep the store from opening. */
	if (ftruncate(d->lock_fd, 0) == -1 || pwrite(d->lock_fd, pid, (size_t)n, 0) != n)
		(void)snprintf(pid, sizeof(pid), "%s", "");
	return STORE_OK;
}

/* Whether it may be of the buffer: a file of our own.  The rest is somebody else's: lost+found, where a file system is mounted. */
static bool
is_ours(int dir_fd, const char *name)
{
	struct stat st;

	return fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) && (st.st_uid == geteuid() || geteuid() == 0);
}

/* One file of the directory, before recovery: private, and what is visible of it also on stable storage. */
static int
settle_file(int dir_fd, const char *name)
{
	struct stat st;
	int fd, err = 0;

	if (!is_ours(dir_fd, name))
		return 0;
	if ((fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)) == -1)
		return errno == ENOENT || errno == ELOOP || errno == ENXIO ? 0 : errno; /* ENXIO: a socket */
	if (fstat(fd, &st) == -1)
		err = errno;
	else if (S_ISREG(st.st_mode) &&
		 (((st.st_mode & 07777) != (S_IRUSR | S_IWUSR) && fchmod(fd, S_IRUSR | S_IWUSR) == -1) || fdatasync(fd) == -1))
		err = errno;
	(void)close(fd);
	return err;
}

/* Calls each for every name in the directory until it returns non-zero (an error number). */
int
dir_each(const struct dir *d, int (*each)(void *arg, int dir_fd, const char *name), void *arg)
{
	int fd = openat(d->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), ret = 0;
	struct dirent *ent;
	DIR *dir;

	if (fd == -1)
		return errno;
	if ((dir = fdopendir(fd)) == NULL) {
		ret = errno;
		(void)close(fd);
		return ret;
	}
	while (ret == 0 && (errno = 0, ent = readdir(dir)) != NULL) {
		if (strcmp(ent->d_name, ".") != 0 && strcmp(ent->d_name, "..") != 0)
			ret = each(arg, fd, ent->d_name);
	}
	if (ret == 0 && ent == NULL)
		ret = errno;
	(void)closedir(dir);
	return ret;
}

struct settling {
	uint32_t newest_log;
	char *failed; /* the name, to be freed, or NULL */
};

static int
newest_log_cb(void *arg, int dir_fd, const char *name)
{
	struct settling *s = arg;
	uint32_t n = dir_log_number(name);

	(void)dir_fd;
	if (n > s->newest_log)
		s->newest_log = n;
	return 0;
}

/* A log file that others follow: each of its bytes was on stable storage (O_DSYNC) before the next file was begun.  There may be
 * hundreds, and the start would wait for every one. */
static bool
is_settled(int dir_fd, const char *name, uint32_t newest_log)
{
	uint32_t n = dir_log_number(name);
	struct stat st;

	return n != 0 && newest_log - n >= 2 && fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       (st.st_mode & 07777) == (S_IRUSR | S_IWUSR);
}

static int
settle_cb(void *arg, int dir_fd, const char *name)
{
	struct settling *s = arg;
	int err = is_settled(dir_fd, name, s->newest_log) ? 0 : settle_file(dir_fd, name);

	if (err != 0)
		s->failed = strdup(name);
	return err;
}

enum store_err
dir_settle(struct dir *d, char *why, size_t why_len)
{
	struct settling s = { 0 };
	int err = dir_each(d, newest_log_cb, &s);
	enum store_err ret;

	if (err == 0)
		err = dir_each(d, settle_cb, &s);
	if (err == 0 && fsync(d->fd) == -1)
		err = errno;
	ret = err != 0 ? fail_dir(d, "sync", s.failed, err, why, why_len) : STORE_OK;
	free(s.failed);
	return ret;
}

void
dir_close(struct dir *d)
{
	if (d->lock_fd != -1)
		(void)close(d->lock_fd); /* which unlocks */
	if (d->fd != -1)
		(void)close(d->fd);
	free(d->path);
}

/* ---- its use of the disk ---- */

static int
disk_bytes_cb(void *arg, int dir_fd, const char *name)
{
	uint64_t *sum = arg;
	struct stat st;

	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		sum[0] += (uint64_t)st.st_blocks * 512;
		sum[1] += dir_log_number(name) != 0 ? (uint64_t)st.st_blocks * 512 : 0;
	}
	return 0;
}

enum store_err
dir_bytes(const struct dir *d, uint64_t *all, uint64_t *logs)
{
	uint64_t sum[2] = { 0, 0 };

	if (dir_each(d, disk_bytes_cb, sum) != 0)
		return STORE_IO;
	*all = sum[0];
	*logs = sum[1];
	return STORE_OK;
}

uint32_t
dir_log_number(const char *name)
{
	return strncmp(name, "log.", 4) == 0 && strlen(name) == 14 ? (uint32_t)strtoul(name + 4, NULL, 10) : 0;
}

uint64_t
dir_free(const struct dir *d)
{
	struct statvfs v;

	return fstatvfs(d->fd, &v) == 0 ? (uint64_t)v.f_bavail * v.f_frsize : UINT64_MAX;
}

/* ---- the ballast ---- */

bool
dir_ballast(const struct dir *d)
{
	return d->ballast_there || d->ballast_bytes == 0;
}

bool
dir_ballast_drop(struct dir *d)
{
	bool dropped = unlinkat(d->fd, BALLAST_NAME, 0) == 0;

	d->ballast_there = false;
	return dropped;
}

void
dir_ballast_make(struct dir *d, uint64_t keep_free)
{
	uint64_t room;
	struct stat st;
	int fd;

	if (dir_ballast(d))
		return;
	if (fstatat(d->fd, BALLAST_NAME, &st, AT_SYMLINK_NOFOLLOW) == 0 && (uint64_t)st.st_blocks * 512 >= d->ballast_bytes) {
		d->ballast_there = true;
		return;
	}
	room = dir_free(d);
	/* Twice, so that one that was just given up is not taken back while the disk is still as good as full. */
	if (room < keep_free || room - keep_free < 2 * d->ballast_bytes)
		return;
	if ((fd = openat(d->fd, BALLAST_NAME, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, S_IRUSR | S_IWUSR)) == -1)
		return;
	d->ballast_there = posix_fallocate(fd, 0, (off_t)d->ballast_bytes) == 0;
	(void)close(fd);
	if (!d->ballast_there)
		(void)unlinkat(d->fd, BALLAST_NAME, 0);
}

/* ---- the mark of damage ---- */

/* Reads it; the length, 0 if there is none. */
static size_t
mark_read(const struct dir *d, char text[MARK_MAX])
{
	int fd = openat(d->fd, MARK_NAME, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	ssize_t n = fd != -1 ? read(fd, text, MARK_MAX - 1) : -1;

	if (fd != -1)
		(void)close(fd);
	text[n > 0 ? n : 0] = '\0';
	return fd != -1 && n <= 0 ? 1 : (size_t)(n > 0 ? n : 0); /* an empty one counts */
}

enum dir_mark
dir_marked(const struct dir *d)
{
	char text[MARK_MAX], name[2];

	if (mark_read(d, text) == 0)
		return DIR_SOUND;
	return dir_mark_aside(d, 0, name, sizeof(name)) ? DIR_MOVED : DIR_DAMAGED;
}

bool
dir_mark(const struct dir *d, const char *aside)
{
	char text[MARK_MAX];
	int fd = openat(d->fd, MARK_NAME, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, S_IRUSR | S_IWUSR), len;
	struct stat st;
	bool ok;

	if (fd == -1)
		return false;
	if (fstat(fd, &st) == -1)
		st.st_size = 0;
	len = snprintf(text, sizeof(text), "%s%s%s", st.st_size == 0 ? MARK_HEAD : "", aside, aside[0] != '\0' ? "\n" : "");
	ok = (len == 0 || write(fd, text, (size_t)len) == len) && fdatasync(fd) == 0;
	return close(fd) == 0 && fsync(d->fd) == 0 && ok;
}

bool
dir_mark_aside(const struct dir *d, unsigned i, char *out, size_t cap)
{
	char text[MARK_MAX], *line, *rest = text;

	(void)mark_read(d, text);
	(void)strsep(&rest, "\n"); /* the head */
	while ((line = strsep(&rest, "\n")) != NULL && rest != NULL) {
		if (i-- == 0) {
			(void)snprintf(out, cap, "%s", line);
			return true;
		}
	}
	return false;
}

bool
dir_unmark(const struct dir *d, const char *aside)
{
	char to[300];

	(void)snprintf(to, sizeof(to), "%s/" MARK_NAME, aside);
	if (aside[0] == '\0' ? unlinkat(d->fd, MARK_NAME, 0) == -1 : renameat(d->fd, MARK_NAME, d->fd, to) == -1)
		return errno == ENOENT;
	return fsync(d->fd) == 0;
}
