/* Small disks; see volume.h. The scenario is a process with one thread, so it can enter a mount namespace of its own; who is not root
 * enters a user namespace with it, if the system lets him. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <sys/mount.h>
#include <sys/stat.h>

#include "tests/scenario/fail.h"
#include "tests/scenario/volume.h"

#define FILLER "filler"

static bool
say(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return ok;
}

/* Mounts are this process's own from now on. */
static bool
enter_namespace(void)
{
	static bool entered;
	unsigned uid = (unsigned)getuid();
	char map[64];

	if (entered)
		return true;
	if (unshare(CLONE_NEWNS) != 0) {
		snprintf(map, sizeof map, "%u %u 1", uid, uid);
		if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0 || !say("/proc/self/uid_map", map))
			return false;
	}
	entered = mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
	return entered;
}

bool
volume_mount(const char *dir, uint64_t mib)
{
	char options[64];

	snprintf(options, sizeof options, "mode=0700,size=%uM", (unsigned)mib);
	return (mkdir(dir, 0700) == 0 || errno == EEXIST) && enter_namespace() && mount("none", dir, "tmpfs", MS_NOSUID | MS_NODEV, options) == 0;
}

void
volume_fill(const char *dir, bool full)
{
	static const char zeros[4096];
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof path, "%s/" FILLER, dir);
	if (!full) {
		if (unlink(path) != 0 && errno != ENOENT)
			fail("%s: %s", path, strerror(errno));
		return;
	}
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (fd < 0)
		fail("%s: %s", path, strerror(errno));
	while (write(fd, zeros, sizeof zeros) > 0)
		;
	if (errno != ENOSPC)
		fail("%s: %s, want it to become full", path, strerror(errno));
	close(fd);
}
