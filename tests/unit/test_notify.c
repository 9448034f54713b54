/* Tests relay/notify and what the daemon tells the service manager: ready, the three numbers of its status, that it is alive, stopping. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/peer/daemon.h"
#include "tests/peer/rawsock.h"

#define SOON_MS 10000	/* for what must come */
#define SILENT_MS 1500	/* more than a watchdog's period: none comes any more */
#define NOWHERE "offline_admit = any\n[upstream]\nurl = ws://127.0.0.1:1\n"

static struct daemon d;
static int manager; /* the socket that NOTIFY_SOCKET names */
static char text[1024];

/* Tells baddisk, which reads it where it reads its configuration; returns the path. */
static const char *
disk_says(const char *dir, const char *word)
{
	static char path[400];
	FILE *f;

	snprintf(path, sizeof(path), "%s/disk", dir);
	f = fopen(path, "we");
	if (f == NULL || fputs(word, f) < 0 || fclose(f) != 0)
		harness_fail(__FILE__, __LINE__, "%s cannot be written", path);
	return path;
}

/* Waits for a datagram that begins with start; it is in text.  False when none comes for so long, or one first that begins with before (NULL: any may
 * come). */
static bool
hear(const char *start, const char *before, int silent_ms)
{
	struct timeval limit = { silent_ms / 1000, silent_ms % 1000 * 1000 };
	ssize_t n;

	if (setsockopt(manager, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) != 0)
		return false;
	while ((n = recv(manager, text, sizeof(text) - 1, 0)) >= 0) {
		text[n] = '\0';
		if (strncmp(text, start, strlen(start)) == 0)
			return true;
		if (before != NULL && strncmp(text, before, strlen(before)) == 0)
			return false;
	}
	return false;
}

/* Where NOTIFY_SOCKET is, with these two in the environment too, when they are not NULL. */
static void
listen_as_manager(const char *watchdog_usec, const char *watchdog_pid)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };

	manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%.90s/notify", harness_tmpdir());
	CHECK(manager >= 0 && bind(manager, (struct sockaddr *)&sun, sizeof(sun)) == 0);
	setenv("NOTIFY_SOCKET", sun.sun_path, 1);
	if (watchdog_usec != NULL)
		setenv("WATCHDOG_USEC", watchdog_usec, 1);
	if (watchdog_pid != NULL)
		setenv("WATCHDOG_PID", watchdog_pid, 1);
}

/* Its environment is the daemon's by now. */
static void
forget_environment(void)
{
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
}

TEST(told)
{
	if (!daemon_is_built())
		SKIP("the daemon is not built");
	listen_as_manager(NULL, NULL);
	CHECK(daemon_start(&d, harness_tmpdir(), NOWHERE));
	forget_environment();
	CHECK(hear("READY=1", "WATCHDOG", SOON_MS));
	CHECK(hear("STATUS=link ", "WATCHDOG", SOON_MS));
	CHECK(strstr(text, "; 0 changesets waiting; 0 clients") != NULL);
	CHECK(daemon_stop(&d));
	CHECK(hear("STOPPING=1", "WATCHDOG", SOON_MS));
	close(manager);
}

/* A watchdog of another process, which left its environment behind. */
TEST(watchdog_of_somebody_else)
{
	if (!daemon_is_built())
		SKIP("the daemon is not built");
	listen_as_manager("3000", "1");
	CHECK(daemon_start(&d, harness_tmpdir(), NOWHERE));
	forget_environment();
	CHECK(daemon_logged(&d, "state=down") != NULL);
	CHECK(daemon_stop(&d));
	CHECK(hear("STOPPING=1", "WATCHDOG", SOON_MS));
	close(manager);
}

/* A changeset of a device, which is to be committed. */
static bool
upload(int fd)
{
	static const char entry[] = "2 0 375321802856 0 4 \1\2\3\4";

	return rawsock_upgrade(fd, "/p", "") == 101 && rawsock_message(fd, "bind 1 2 0 0 0", "/p", 2, 0) &&
	       rawsock_message(fd, "ident 1 5 7 0 0 0 0", "", 0, 0) &&
	       rawsock_message(fd, "upload 1 0 25 0 2 0 0", entry, sizeof(entry) - 1, 0) && rawsock_message(fd, "ping 7 0", "", 0, 0) &&
	       rawsock_await(fd, "pong 7");
}

/* The loop goes on and the committer does not, as its disk does not answer: then nobody says that all is well, until it does. */
TEST(watchdog)
{
	const char *dir = harness_tmpdir();
	int fd, said = 0;

	if (!daemon_is_built())
		SKIP("the daemon is not built");
	listen_as_manager("900000", NULL);
	CHECK(daemon_start_on(&d, dir, NOWHERE, disk_says(dir, "ok")));
	forget_environment();
	CHECK(daemon_logged(&d, "state=down") != NULL);
	CHECK(hear("WATCHDOG=1", NULL, SOON_MS) && hear("WATCHDOG=1", NULL, SOON_MS));
	disk_says(dir, "hold");
	fd = rawsock_connect(d.port, NULL);
	CHECK(upload(fd));
	while (hear("WATCHDOG=1", NULL, SILENT_MS)) /* some are under way, and the commit is young */
		CHECK(++said < 30);
	CHECK(rawsock_message(fd, "ping 8 0", "", 0, 0) && rawsock_await(fd, "pong 8"));
	disk_says(dir, "ok");
	CHECK(hear("WATCHDOG=1", NULL, SOON_MS));
	close(fd);
	CHECK(daemon_stop(&d));
	close(manager);
}
