/* linkproxy - a TCP proxy that plays the link between two programs under test.
 *
 * usage: linkproxy [HOST:PORT]
 *
 * Listens on a free port of 127.0.0.1, says "port N" on standard output, and carries each connection to the target. Commands come
 * on standard input, one a line; each is answered with one line, "ok ..." or "fail WHY":
 *
 *	target HOST:PORT	where new connections go (numeric host)
 *	up			carry on; also ends refuse and blackhole
 *	refuse			reset all connections; new ones are refused (ECONNREFUSED)
 *	blackhole		carry nothing: connections stay open and silent, new ones are not accepted (they hang)
 *	cut			reset all connections; new ones are carried
 *	cut-after c2s|s2c N	cut once N more bytes have passed in that direction, over all connections
 *	walk c2s|s2c FROM TO BY [fin]	each new connection is cut (reset, or ended) after another number of its own bytes in that
 *				direction: FROM, FROM + BY ... TO
 *	rate N|off		at most N bytes a second in each direction, all connections together
 *	delay MS		each byte arrives so much later
 *	status			ok connections=N opened=N cuts=N walk=LEFT c2s=BYTES s2c=BYTES
 *	quit
 *
 * End of input ends it as well. It never looks into the bytes; see pair.c for how they are carried.
 *
 * A port that refuses must stay ours, so a second socket is bound to it that never listens. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/in.h>

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/util.h>

#include "tests/linkproxy/pair.h"

#define LINE_MAX_LEN 1024
#define WORDS_MAX 5

static struct {
	struct link_shape link;
	struct sockaddr_in address, target;
	bool has_target, quit;
	int keeper, listener; /* listener: -1 while refusing */
	struct event *accepting;
	struct evbuffer *input;
} g = { .keeper = -1, .listener = -1 };

static void
die(const char *what)
{
	perror(what);
	exit(1);
}

/* ---- the listening side ---- */

static int
bound_socket(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) != 0)
		die("socket");
	pair_tune(fd);
	if (bind(fd, (const struct sockaddr *)&g.address, sizeof g.address) != 0)
		die("bind");
	return fd;
}

static void
accept_cb(evutil_socket_t fd, short what, void *arg)
{
	int conn = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)what;
	(void)arg;
	if (conn < 0)
		return;
	if (g.has_target)
		pair_open(&g.link, conn, (const struct sockaddr *)&g.target, sizeof g.target);
	else
		close(conn);
}

static void
listen_start(void)
{
	if (g.listener >= 0)
		return;
	g.listener = bound_socket();
	if (listen(g.listener, 1024) != 0)
		die("listen");
	g.accepting = event_new(g.link.base, g.listener, EV_READ | EV_PERSIST, accept_cb, NULL);
	if (g.accepting == NULL || event_add(g.accepting, NULL) != 0)
		die("event");
}

static void
listen_stop(void)
{
	if (g.listener < 0)
		return;
	event_free(g.accepting);
	close(g.listener);
	g.listener = -1;
}

/* ---- commands ---- */

static bool
number(const char *s, uint64_t *n)
{
	char *end;

	errno = 0;
	*n = s != NULL && *s >= '0' && *s <= '9' ? strtoull(s, &end, 10) : (end = NULL, 0);
	return end != NULL && *end == '\0' && errno == 0;
}

static const char *
cmd_target(char *arg)
{
	struct sockaddr_in sin = { .sin_family = AF_INET };
	char *colon = arg == NULL ? NULL : strrchr(arg, ':');
	uint64_t port;

	if (colon == NULL || !number(colon + 1, &port) || port == 0 || port > 65535)
		return "want HOST:PORT";
	*colon = '\0';
	if (inet_pton(AF_INET, arg, &sin.sin_addr) != 1)
		return "want a numeric host";
	sin.sin_port = htons((uint16_t)port);
	g.target = sin;
	g.has_target = true;
	return NULL;
}

static const char *
cmd_mode(const char *name)
{
	bool blackhole = strcmp(name, "blackhole") == 0;

	g.link.silent = blackhole;
	if (strcmp(name, "refuse") == 0) {
		listen_stop();
		link_cut(&g.link);
		return NULL;
	}
	listen_start();
	if (blackhole)
		event_del(g.accepting);
	else
		event_add(g.accepting, NULL);
	link_reshaped(&g.link);
	return NULL;
}

static const char *
cmd_cut_after(const char *dir, const char *count)
{
	uint64_t n;

	if (dir == NULL || (strcmp(dir, "c2s") != 0 && strcmp(dir, "s2c") != 0) || !number(count, &n) || n == 0)
		return "want c2s|s2c N";
	g.link.cut_after[strcmp(dir, "c2s") == 0 ? C2S : S2C] = n;
	return NULL;
}

static const char *
cmd_walk(char *word[])
{
	uint64_t from, to, by;

	if (word[0] == NULL || (strcmp(word[0], "c2s") != 0 && strcmp(word[0], "s2c") != 0) || !number(word[1], &from) ||
	    !number(word[2], &to) || !number(word[3], &by) || from == 0 || to > 1000000 || by == 0)
		return "want c2s|s2c FROM TO BY [fin]";
	link_walk(&g.link, strcmp(word[0], "c2s") == 0 ? C2S : S2C, from, to, by, word[4] != NULL && strcmp(word[4], "fin") == 0);
	return NULL;
}

static const char *
cmd_rate(const char *arg)
{
	uint64_t n = 0;

	if (arg == NULL || (strcmp(arg, "off") != 0 && (!number(arg, &n) || n < 1000 || n > 1000000000)))
		return "want 1000..1000000000 or off";
	g.link.rate = n;
	link_reshaped(&g.link);
	return NULL;
}

static const char *
cmd_delay(const char *arg)
{
	uint64_t n;

	if (!number(arg, &n) || n > 60000)
		return "want 0..60000";
	g.link.delay_us = n * 1000;
	link_reshaped(&g.link);
	return NULL;
}

static void
command(char *line)
{
	static const char space[] = " \t\r";
	char *save, *name = strtok_r(line, space, &save), *word[WORDS_MAX + 1] = { NULL };
	const char *a, *b, *why = NULL;
	char more[200] = "";

	for (unsigned i = 0; name != NULL && i < WORDS_MAX && (word[i] = strtok_r(NULL, space, &save)) != NULL; i++)
		;
	a = word[0];
	b = word[1];
	if (name == NULL)
		why = "empty";
	else if (strcmp(name, "target") == 0)
		why = cmd_target(word[0]);
	else if (strcmp(name, "up") == 0 || strcmp(name, "refuse") == 0 || strcmp(name, "blackhole") == 0)
		why = cmd_mode(name);
	else if (strcmp(name, "cut") == 0)
		link_cut(&g.link);
	else if (strcmp(name, "cut-after") == 0)
		why = cmd_cut_after(a, b);
	else if (strcmp(name, "walk") == 0)
		why = cmd_walk(word);
	else if (strcmp(name, "rate") == 0)
		why = cmd_rate(a);
	else if (strcmp(name, "delay") == 0)
		why = cmd_delay(a);
	else if (strcmp(name, "status") == 0)
		snprintf(more, sizeof more, " connections=%u opened=%u cuts=%u walk=%u c2s=%llu s2c=%llu", g.link.npair, g.link.opened,
			 g.link.cuts, g.link.walk.left, (unsigned long long)g.link.bytes[C2S], (unsigned long long)g.link.bytes[S2C]);
	else if (strcmp(name, "quit") == 0)
		g.quit = true;
	else
		why = "unknown command";
	if (why != NULL)
		printf("fail %s\n", why);
	else
		printf("ok%s\n", more);
	fflush(stdout);
}

static void
input_cb(evutil_socket_t fd, short what, void *arg)
{
	char *line;
	int n;

	(void)what;
	(void)arg;
	n = evbuffer_read(g.input, fd, LINE_MAX_LEN);
	while ((line = evbuffer_readln(g.input, NULL, EVBUFFER_EOL_LF)) != NULL) {
		command(line);
		free(line);
	}
	if (n == 0 || (n < 0 && errno != EAGAIN) || evbuffer_get_length(g.input) > LINE_MAX_LEN)
		g.quit = true;
}

int
main(int argc, char **argv)
{
	struct event_base *base = event_base_new();
	socklen_t len = sizeof g.address;
	struct event *input;

	if (argc > 2 || (argc == 2 && cmd_target(argv[1]) != NULL)) {
		fprintf(stderr, "usage: linkproxy [HOST:PORT]\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	link_init(&g.link, base);
	g.address.sin_family = AF_INET;
	g.address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	g.keeper = bound_socket();
	if (getsockname(g.keeper, (struct sockaddr *)&g.address, &len) != 0)
		die("getsockname");
	listen_start();
	printf("port %u\n", ntohs(g.address.sin_port));
	fflush(stdout);

	g.input = evbuffer_new();
	input = event_new(base, 0, EV_READ | EV_PERSIST, input_cb, NULL);
	if (g.input == NULL || input == NULL || event_add(input, NULL) != 0)
		die("input");
	while (!g.quit && event_base_loop(base, EVLOOP_ONCE) == 0)
		link_reap(&g.link);

	event_free(input);
	evbuffer_free(g.input);
	link_free(&g.link);
	listen_stop();
	close(g.keeper);
	event_base_free(base);
	return 0;
}
