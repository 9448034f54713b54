/* What libdb calls instead of open, write, fsync, rename and sleeping (db_env_set_func_*, set here and nowhere else).
 *
 * libdb is trusted with pages and transactions, not with the file system.  Two things it leaves out are added here:
 *   - it never syncs a directory.  The open and rename hooks do when a name is new: else a power cut can take a log file away
 *     whose bytes are safe on the disk.
 *   - it goes on after a failed fsync, although the kernel may have dropped the data and will report success the next time.  Here
 *     a failed fsync stops the process: the next start recovers from what is really on the disk.  The log is written with
 *     O_DSYNC, so a failed log write is a failed fsync too - unless it was refused for want of space, which loses nothing.
 * Return values are those that libdb's own code wants (an error number from fsync and rename), not those of its manual. */
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <db.h>

#include "buffer/hooks.h"

struct hooks_io hooks_io = { open, write, fdatasync, rename };
int (*hooks_unlink)(const char *path) = unlink;

static void (*fatal_cb)(const char *text);
static _Atomic int last_error;

static _Noreturn void
fatal(const char *what, int err)
{
	char text[160];

	(void)snprintf(text, sizeof(text), "%s failed (%s): stopping at once, nothing more can be promised", what, strerror(err));
	if (fatal_cb != NULL)
		fatal_cb(text);
	abort();
}

/* Remembers a failure that libdb will hear of, and may report as something else. */
static void
note(int err)
{
	atomic_store(&last_error, err);
	errno = err;
}

bool
hooks_is_full(int err)
{
	return err == ENOSPC || err == EDQUOT;
}

static int
open_retry(const char *path, int flags, int mode)
{
	int fd;

	do
		fd = hooks_io.open(path, flags | O_CLOEXEC, mode);
	while (fd == -1 && errno == EINTR);
	return fd;
}

/* As open_retry; a failure other than an answer is remembered. */
static int
open_noted(const char *path, int flags, int mode)
{
	int fd = open_retry(path, flags, mode);

	if (fd == -1 && errno != ENOENT && errno != EEXIST)
		note(errno);
	return fd;
}

/* Syncs the directory that path lies in: 0, or an error number when that could not be tried. */
static int
sync_parent(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *dir = slash == NULL ? strdup(".") : strndup(path, slash == path ? 1 : (size_t)(slash - path));
	int fd, err;

	if (dir == NULL)
		return ENOMEM;
	fd = open_retry(dir, O_RDONLY | O_DIRECTORY, 0);
	err = errno;
	free(dir);
	if (fd == -1)
		return err;
	while (hooks_io.fsync(fd) == -1) {
		if (errno != EINTR)
			fatal("fsync of the buffer's directory", errno);
	}
	(void)close(fd);
	return 0;
}

/* As open(2).  A new file is private whatever the umask, and its name is on stable storage before it is used. */
static int
hook_open(const char *path, int flags, ...)
{
	int fd, err, mode;
	va_list ap;

	if ((flags & O_CREAT) == 0)
		return open_noted(path, flags, 0);
	va_start(ap, flags);
	mode = va_arg(ap, int);
	va_end(ap);
	if ((flags & O_EXCL) == 0) {
		fd = open_noted(path, flags & ~O_CREAT, 0);
		if (fd != -1 || errno != ENOENT)
			return fd;
	}
	if ((fd = open_noted(path, flags, mode)) == -1)
		return -1;
	err = fchmod(fd, S_IRUSR | S_IWUSR) == -1 ? errno : sync_parent(path);
	if (err == 0)
		return fd;
	(void)close(fd);
	note(err);
	return -1;
}

static int
hook_rename(const char *from, const char *to)
{
	int err = hooks_io.rename(from, to) == -1 ? errno : sync_parent(to);

	if (err != 0)
		note(err);
	return err;
}

static int
hook_fsync(int fd)
{
	while (hooks_io.fsync(fd) == -1) {
		if (errno != EINTR)
			fatal("fsync of the buffer", errno);
	}
	return 0;
}

/* Part of a page or log record found room at the end of a file, the rest did not: gives the part back, for half a page is a
 * damaged one to whoever opens the file next. */
static void
take_back(int fd, size_t done)
{
	off_t end = lseek(fd, 0, SEEK_CUR);
	struct stat st;

	if (done == 0 || end == -1 || fstat(fd, &st) == -1 || st.st_size != end)
		return;
	if (ftruncate(fd, end - (off_t)done) == -1)
		return; /* then recovery has to deal with it */
}

/* Writes all of buf (libdb takes a short count for a failure), or returns -1 with errno. */
static ssize_t
hook_write(int fd, const void *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = hooks_io.write(fd, (const uint8_t *)buf + done, len - done);
		int err = n == 0 ? EIO : errno;

		if (n > 0) {
			done += (size_t)n;
		} else if (err != EINTR) {
			if (!hooks_is_full(err) && (fcntl(fd, F_GETFL) & O_DSYNC) != 0)
				fatal("write to the buffer's log", err);
			take_back(fd, done);
			note(err);
			return -1;
		}
	}
	return (ssize_t)len;
}

/* libdb sleeps for seconds when no page of its cache can be written, for another thread to help.  There is none. */
static int
hook_yield(unsigned long seconds, unsigned long microseconds)
{
	(void)seconds;
	(void)microseconds;
	return sched_yield();
}

static void
install(void)
{
	(void)db_env_set_func_open(hook_open);
	(void)db_env_set_func_rename(hook_rename);
	(void)db_env_set_func_fsync(hook_fsync);
	(void)db_env_set_func_write(hook_write);
	(void)db_env_set_func_yield(hook_yield);
}

void
hooks_install(void (*on_fatal)(const char *text))
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	fatal_cb = on_fatal;
	(void)pthread_once(&once, install);
}

int
hooks_last_error(void)
{
	return atomic_load(&last_error);
}

void
hooks_forget(void)
{
	atomic_store(&last_error, 0);
}
