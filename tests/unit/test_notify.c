/* Tests relay/notify and what the daemon tells the service manager: ready, the three numbers of its status, stopping. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/peer/daemon.h"

/* The next datagram that begins with start, in text; false when none comes for 10 s. */
static bool
hear(int fd, const char *start, char *text, size_t len)
{
	ssize_t n;

	while ((n = recv(fd, text, len - 1, 0)) >= 0) {
		text[n] = '\0';
		if (strncmp(text, start, strlen(start)) == 0)
			return true;
	}
	return false;
}

TEST(told)
{
	const char *dir = harness_tmpdir();
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	struct timeval limit = { 10, 0 };
	struct daemon d;
	char text[1024];
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (!daemon_is_built())
		SKIP("the daemon is not built");
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%.90s/notify", dir);
	CHECK(fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) == 0);
	CHECK(bind(fd, (struct sockaddr *)&sun, sizeof(sun)) == 0);
	setenv("NOTIFY_SOCKET", sun.sun_path, 1);
	CHECK(daemon_start(&d, harness_tmpdir(), "[upstream]\nurl = ws://127.0.0.1:1\n"));
	unsetenv("NOTIFY_SOCKET");
	CHECK(hear(fd, "READY=1", text, sizeof(text)));
	CHECK(hear(fd, "STATUS=link ", text, sizeof(text)));
	CHECK(strstr(text, "; 0 changesets waiting; 0 clients") != NULL);
	CHECK(daemon_stop(&d));
	CHECK(hear(fd, "STOPPING=1", text, sizeof(text)));
	close(fd);
}
