/* Tests relay/monitor on a daemon of its own: what each path answers, and what it refuses. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/peer/daemon.h"

#include "relay/json.h"
#include "relay/monitor.h"

static struct daemon d;
static unsigned port;

static void
start(const char *handshake_timeout)
{
	const char *line;
	char config[200];

	snprintf(config, sizeof(config), "[upstream]\nurl = ws://127.0.0.1:1\n[monitor]\nlisten = 127.0.0.1:0\n[limits]\nhandshake_timeout = %s\n",
		 handshake_timeout);
	CHECK(daemon_start(&d, harness_tmpdir(), config));
	line = daemon_logged(&d, "event=monitor address=127.0.0.1:");
	CHECK(line != NULL);
	port = (unsigned)strtoul(strstr(line, "127.0.0.1:") + strlen("127.0.0.1:"), NULL, 10);
}

/* Says request, in pieces of step bytes, and reads until the end.  False: no connection, or no end within 10 s. */
static bool
say(const char *request, size_t step, char *answer, size_t len)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct timeval limit = { 10, 0 };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	size_t have = 0, left = strlen(request);
	ssize_t n = -1;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) != 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0)
		return false;
	for (; left > 0; request += step, left -= step) {
		if (step > left)
			step = left;
		if (send(fd, request, step, MSG_NOSIGNAL) < 0)
			break; /* refused before its end */
	}
	while (have < len - 1 && (n = recv(fd, answer + have, len - 1 - have, 0)) > 0)
		have += (size_t)n;
	answer[have] = '\0';
	close(fd);
	return n <= 0;
}

static const char *
get(const char *path)
{
	static char answer[65536];
	char request[300];

	snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path);
	return say(request, 1000, answer, sizeof(answer)) ? answer : "";
}

TEST(monitor)
{
	static char answer[65536];
	struct json_object o;
	const char *a, *body;
	char *copy;

	if (!daemon_is_built())
		SKIP("the daemon is not built");
	start("30s");
	if (harness_failed())
		return;
	a = get("/metrics");
	CHECK(strncmp(a, "HTTP/1.1 200 OK\r\n", 17) == 0);
	CHECK(strstr(a, "\nholdfast_link_up 0\n") != NULL);
	CHECK(strstr(a, "\n# TYPE holdfast_backlog_bytes gauge\nholdfast_backlog_bytes 0\n") != NULL);
	CHECK(strstr(a, "\n# TYPE holdfast_conns_accepted_total counter\nholdfast_conns_accepted_total 0\n") != NULL);
	CHECK(strstr(a, "\nholdfast_oldest_seconds 0\n") != NULL);
	CHECK(strstr(a, "\n# TYPE holdfast_link_backlog_records gauge\nholdfast_link_backlog_records 0\n") != NULL);
	CHECK(strstr(a, "\n# TYPE holdfast_link_sent_bytes_total counter\nholdfast_link_sent_bytes_total 0\n") != NULL);
	CHECK(strstr(a, "\nholdfast_link_budget_bytes ") == NULL); /* there is none */
	a = get("/status.json?x=y");
	body = strstr(a, "\r\n\r\n");
	CHECK(body != NULL);
	copy = strdup(body + 4);
	CHECK(json_parse(copy, &o));
	CHECK_STR(json_get(&o, "name"), "holdfast");
	CHECK_STR(json_get(&o, "buffer"), "ok");
	CHECK(json_get(&o, "uploads_in") != NULL);
	free(copy);
	CHECK(strstr(get("/history.json"), "\r\n\r\n{\"step_s\":300,\"backlog_bytes\":[") != NULL);
	CHECK(strstr(get("/healthz"), " 200 OK\r\n") != NULL);
	CHECK(strstr(get("/readyz"), "\r\n\r\nok\n") != NULL);
	a = get("/");
	CHECK(strstr(a, "Content-Type: text/html") != NULL);
	CHECK(strstr(a, "Content-Security-Policy: default-src 'none'") != NULL);
	CHECK(strstr(a, "</html>\n") != NULL && strstr(a, "//") == NULL); /* whole, and nothing from elsewhere */
	CHECK(strstr(get("/nothing"), "HTTP/1.1 404 ") != NULL);
	CHECK(say("POST / HTTP/1.1\r\n\r\n", 1000, answer, sizeof(answer)) && strncmp(answer, "HTTP/1.1 405 ", 13) == 0);
	CHECK(say("GET /healthz HTTP/1.0\r\n\r\n", 1, answer, sizeof(answer)) && strncmp(answer, "HTTP/1.1 200 ", 13) == 0);
	CHECK(say("\r\n\r\n", 1000, answer, sizeof(answer)) && strncmp(answer, "HTTP/1.1 400 ", 13) == 0);
	CHECK(say("GET /\r\n\r\n", 1000, answer, sizeof(answer)) && strncmp(answer, "HTTP/1.1 400 ", 13) == 0);
	CHECK(daemon_stop(&d));
}

/* A request that is too large is cut off; one that never ends does not hold up the others. */
TEST(greedy)
{
	static char large[2 * MONITOR_REQUEST_MAX], answer[1000];
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd[MONITOR_CONNS / 2];

	if (!daemon_is_built())
		SKIP("the daemon is not built");
	start("30s");
	if (harness_failed())
		return;
	memset(large, 'x', sizeof(large) - 1);
	memcpy(large, "GET / HTTP/1.1\r\nA: ", 19);
	CHECK(say(large, 1000, answer, sizeof(answer)));
	CHECK_STR(answer, "");
	to.sin_port = htons((uint16_t)port);
	for (size_t i = 0; i < MONITOR_CONNS / 2; i++) {
		fd[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		CHECK(fd[i] >= 0 && connect(fd[i], (struct sockaddr *)&to, sizeof(to)) == 0 && send(fd[i], "GET", 3, MSG_NOSIGNAL) == 3);
	}
	CHECK(strstr(get("/healthz"), " 200 OK\r\n") != NULL);
	for (size_t i = 0; i < MONITOR_CONNS / 2; i++)
		close(fd[i]);
	CHECK(daemon_stop(&d));
}

/* The deadline counts from the accept: a request that comes in drips is cut off in its middle. */
TEST(drips)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct timeval rest = { 0, 20000 };
	bool ended = false;
	char byte;
	int fd;

	if (!daemon_is_built())
		SKIP("the daemon is not built");
	start("300ms");
	if (harness_failed())
		return;
	to.sin_port = htons((uint16_t)port);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0);
	CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &rest, sizeof(rest)) == 0);
	for (int i = 0; i < 500 && !ended; i++) {
		ssize_t n = send(fd, "G", 1, MSG_NOSIGNAL) == 1 ? recv(fd, &byte, 1, 0) : 0;

		ended = n == 0 || (n < 0 && errno != EAGAIN);
	}
	CHECK(ended);
	CHECK(strstr(get("/healthz"), " 200 OK\r\n") != NULL);
	close(fd);
	CHECK(daemon_stop(&d));
}
