/* baddisk: the daemon on a disk that does as it is told.  The whole of holdfast, main included, is linked to this file, which puts itself
 * between Berkeley DB and the system calls (buffer/hooks.h); nothing else differs.
 *
 * The file that the environment variable BADDISK names holds one word, and is read before each call:
 *
 *	hold	log writes and syncs do not return, until the word is another one
 *	slow	a log write or sync takes 100 ms more
 *	full	what needs new blocks fails with ENOSPC, and statvfs says that none is free; an empty file can be made
 *	other	calls go through
 *
 * hold makes the order of things visible: whatever the daemon says while its disk is held, it says without the disk. */
#include <sys/statfs.h>
#include <sys/statvfs.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "buffer/hooks.h"

static const char *control;

static bool
told(const char *word)
{
	char text[16] = "";
	int fd = open(control, O_RDONLY | O_CLOEXEC);

	if (fd == -1 || read(fd, text, sizeof(text) - 1) < 0)
		text[0] = '\0';
	if (fd != -1)
		(void)close(fd);
	return strcmp(text, word) == 0;
}

static void
held(void)
{
	const struct timespec rest = { .tv_nsec = 2000000 }, slow = { .tv_nsec = 100000000 };

	while (told("hold"))
		(void)nanosleep(&rest, NULL);
	if (told("slow"))
		(void)nanosleep(&slow, NULL);
}

/* Does a write of len bytes at the file's position go beyond its end or into a hole?  What has its place needs no space. */
static bool
needs_space(int fd, size_t len)
{
	off_t at = lseek(fd, 0, SEEK_CUR), hole = lseek(fd, at, SEEK_HOLE);

	(void)lseek(fd, at, SEEK_SET);
	return hole == -1 || hole < at + (off_t)len;
}

static ssize_t
bad_write(int fd, const void *buf, size_t len)
{
	if (fcntl(fd, F_GETFL) & O_DSYNC)
		held();
	if (told("full") && needs_space(fd, len)) {
		errno = ENOSPC;
		return -1;
	}
	return write(fd, buf, len);
}

static int
bad_fsync(int fd)
{
	held();
	return fdatasync(fd);
}

/* In place of the C library's: the two fields that the store reads. */
int
fstatvfs(int fd, struct statvfs *out)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) == -1)
		return -1;
	memset(out, 0, sizeof(*out));
	out->f_frsize = (unsigned long)fs.f_bsize;
	out->f_bavail = control != NULL && told("full") ? 0 : fs.f_bavail;
	return 0;
}

__attribute__((constructor)) static void
install(void)
{
	control = getenv("BADDISK");
	if (control == NULL)
		return;
	hooks_io.write = bad_write;
	hooks_io.fsync = bad_fsync;
}
