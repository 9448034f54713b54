/* The App Services door, whole: the daemon between an app's HTTP and WebSocket and the stand-ins for App Services and the sync server, whose link
 * can be cut. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "relay/location.h"
#include "relay/splice.h"

#include "tests/harness.h"
#include "tests/peer/appservices.h"
#include "tests/peer/child.h"
#include "tests/peer/daemon.h"
#include "tests/peer/rawsock.h"

#define APP "/api/client/v2.0/app/app-1"
#define SESSION "/api/client/v2.0/auth/session"
#define PROFILE "/api/client/v2.0/auth/profile"
#define REPLY_MAX (3 << 20)
#define TOKEN_MAX 4096

/* ---- pure ---- */

TEST(splicing)
{
	static const struct {
		const char *in, *out;
	} rows[] = {
		{ "{}", "{\"b\":2}" },
		{ " { } ", " { \"b\":2}" },
		{ "{\"a\":\"x\",\"c\":[1,{\"a\":3}]}", "{\"a\":\"new\",\"c\":[1,{\"a\":3}],\"b\":2}" },
		{ "{\"b\" : 77, \"a\" : \"\\u0041\"}", "{\"b\" : 2, \"a\" : \"new\"}" },
		{ "{\"a\":3}", NULL },	       /* no string */
		{ "{\"a\":\"x\",\"a\":\"y\"}", NULL }, /* twice */
		{ "[]", NULL },
		{ "{\"a\":\"x\"} x", NULL },
	};
	const struct splice s[] = { { "a", "new", true, false }, { "b", "2", false, true }, { "z", NULL, false, true } };

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *got = splice_json(view_of(rows[i].in), s, 3);

		CHECK_STR(got != NULL ? got : "none", rows[i].out != NULL ? rows[i].out : "none");
		free(got);
	}
	CHECK(splice_json(view_of("{\"a\":\"x\"}"), (struct splice[]){ { "a", "q\"", true, false } }, 1) == NULL);
}

TEST(locations)
{
	static const struct {
		const char *in, *out;
	} rows[] = {
		{ "{\"hostname\":\"https://eu.example.com\",\"ws_hostname\":\"wss://ws.eu.example.com\",\"x\":1}",
		  "{\"hostname\":\"http://edge:78\",\"ws_hostname\":\"ws://edge:78\",\"x\":1}" },
		{ "{\"ws_hostname\":\"wss://w/p\",\"sync_route\":\"wss://w/api/realm-sync?x\",\"hostname\":\"https://h/\"}",
		  "{\"ws_hostname\":\"ws://edge:78/p\",\"sync_route\":\"ws://edge:78/api/realm-sync?x\",\"hostname\":\"http://edge:78/\"}" },
		{ "{\"hostname\":\"https://h\"}", NULL },
		{ "{\"hostname\":\"h\",\"ws_hostname\":\"wss://w\"}", NULL },
		{ "{\"hostname\":\"https://h\",\"ws_hostname\":\"wss://w\",\"sync_route\":7}", NULL },
		{ "<html>", NULL },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *got = location_rewrite(view_of(rows[i].in), "http://edge:78");

		CHECK_STR(got != NULL ? got : "none", rows[i].out != NULL ? rows[i].out : "none");
		free(got);
	}
	CHECK(location_redirect(view_of("https://other/x"), "api:9", "http://edge") == NULL);
	CHECK(location_redirect(view_of("/x"), "api:9", "http://edge") == NULL);
	CHECK(location_redirect(view_of("https://api:9.evil/x"), "api:9", "http://edge") == NULL);
}

/* ---- the stage ---- */

static struct {
	struct appservices api;
	struct child *up, *link;
	unsigned link_port;
	struct daemon d;
	char dir[400];
	char config[2048];
} st;

static unsigned
port_of(struct child *c)
{
	unsigned port = 0;
	const char *line = c != NULL ? child_line(c) : NULL;

	return line != NULL && sscanf(line, "port %u", &port) == 1 ? port : 0;
}

/* A file that only its owner can read. */
static bool
put_file(const char *name, const char *text)
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", st.dir, name);
	f = fopen(path, "we");
	return f != NULL && fchmod(fileno(f), 0600) == 0 && fputs(text, f) >= 0 && fclose(f) == 0;
}

/* more: lines of the configuration, behind [limits]. */
static bool
start(bool key, const char *listener, const char *more)
{
	char target[64], path[512];
	unsigned up;

	memset(&st, 0, sizeof(st));
	snprintf(st.dir, sizeof(st.dir), "%s", harness_tmpdir());
	snprintf(path, sizeof(path), "%s/conf.d", st.dir);
	if (mkdir(path, 0700) != 0 || !put_file("conf.d/status.ini", "[holdfast]\nstatus_interval = 100ms\n") ||
	    !put_file("key", "0123456789abcdef0123456789abcdef") || !appservices_start(&st.api))
		return false;
	snprintf(path, sizeof(path), "%s/key", st.dir);
	st.up = child_start("upstream", (const char *const[]){ NULL });
	up = port_of(st.up);
	snprintf(target, sizeof(target), "127.0.0.1:%u", up);
	st.link = child_start("linkproxy", (const char *const[]){ target, NULL });
	st.link_port = port_of(st.link);
	snprintf(st.config, sizeof(st.config),
		 "%s[upstream]\nurl = ws://127.0.0.1:%u\napi_url = http://127.0.0.1:%u\nprobe_interval = 100ms\nping_interval = 300ms\nbackoff_min = 50ms\n"
		 "connect_timeout = 3s\n[replay]\nabsent_quiet = 300ms\n[buffer]\n%s%s\n[limits]\n%s",
		 listener, st.link_port, st.api.port, key ? "key_file = " : "", key ? path : "", more);
	return up != 0 && st.link_port != 0 && daemon_start(&st.d, st.dir, st.config);
}

#define START(key, listener, more) \
	do { \
		if (!daemon_is_built()) \
			SKIP("the daemon is not built"); \
		CHECK(start(key, listener, more)); \
	} while (0)

/* Ends everybody; the log must hold no secret (I9): those of the stand-in's tokens all contain this word. */
#define FINISH() \
	do { \
		CHECK(daemon_stop(&st.d)); \
		CHECK_U64(daemon_count(&st.d, "SECRET"), 0); \
		CHECK_U64(daemon_count(&st.d, "eyJ"), 0); \
		CHECK_U64(daemon_count(&st.d, "event=panic"), 0); \
		child_stop(st.link); \
		child_stop(st.up); \
		appservices_stop(&st.api); \
	} while (0)

static bool
cut_link(void)
{
	unsigned before = daemon_count(&st.d, "event=link state=down");

	if (child_ask(st.link, "refuse") == NULL)
		return false;
	for (int i = 0; i < 1000 && daemon_count(&st.d, "event=link state=down") == before; i++)
		usleep(10000);
	return daemon_count(&st.d, "event=link state=down") > before;
}

/* With a log of its own. */
static bool
start_again(void)
{
	char from[512], to[512];

	if (!daemon_stop(&st.d) || daemon_count(&st.d, "SECRET") != 0)
		return false;
	snprintf(from, sizeof(from), "%s/log", st.dir);
	snprintf(to, sizeof(to), "%s/log.before", st.dir);
	return rename(from, to) == 0 && daemon_start(&st.d, st.dir, st.config);
}

/* The link is DOWN then. */
static bool
restart(void)
{
	return start_again() && daemon_logged(&st.d, "event=link state=down") != NULL;
}

/* Adds [upstream b] to the same servers, and two listeners for it, whose ports are set: one that renews no session, one that does. */
static bool
add_upstream(unsigned port[2])
{
	size_t n = strlen(st.config), seen = 0;
	char path[512], line[2048];
	FILE *f;

	snprintf(st.config + n, sizeof(st.config) - n,
		 "[listener b]\naddress = 127.0.0.1:0\nupstream = b\noffline_session_days = 0\n[listener c]\naddress = 127.0.0.1:0\nupstream = b\n"
		 "[upstream b]\nurl = ws://127.0.0.1:%u\napi_url = http://127.0.0.1:%u\nprobe_interval = 100ms\nping_interval = 300ms\n",
		 st.link_port, st.api.port);
	if (!start_again() || daemon_logged(&st.d, "event=memory_budget ") == NULL) /* all of them listen */
		return false;
	snprintf(path, sizeof(path), "%s/log", st.dir);
	f = fopen(path, "re");
	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		if (strstr(line, "event=listening ") != NULL && seen++ > 0 && (seen > 3 || sscanf(strrchr(line, ':'), ":%u", &port[seen - 2]) != 1))
			seen = 4;
	if (f != NULL)
		fclose(f);
	return seen == 3;
}

/* ---- an app's HTTP ---- */

struct reply {
	unsigned status;
	char head[16384];
	char *body;
	size_t len;
};

static struct reply reply;

static const char *
header_of(const char *name)
{
	const char *line = reply.head;
	size_t n = strlen(name);

	while ((line = strstr(line, "\r\n")) != NULL) {
		line += 2;
		if (strncasecmp(line, name, n) == 0 && line[n] == ':')
			return line + n + 1 + strspn(line + n + 1, " ");
	}
	return NULL;
}

static bool
read_line(int fd, char *line, size_t size)
{
	for (size_t n = 0; n < size - 1 && recv(fd, line + n, 1, 0) == 1; n++)
		if (line[n] == '\n') {
			line[n + 1] = '\0';
			return true;
		}
	return false;
}

static bool
read_reply(int fd)
{
	const char *length;
	char line[64];
	size_t n = 0, size;

	if (reply.body == NULL)
		reply.body = malloc(REPLY_MAX);
	reply.status = 0;
	reply.len = 0;
	reply.head[0] = '\0';
	while (n < sizeof(reply.head) - 1 && recv(fd, reply.head + n, 1, 0) == 1) {
		reply.head[++n] = '\0';
		if (n >= 4 && memcmp(reply.head + n - 4, "\r\n\r\n", 4) == 0)
			break;
	}
	if (sscanf(reply.head, "HTTP/1.1 %u", &reply.status) != 1)
		return false;
	length = header_of("Content-Length");
	if (length != NULL) {
		reply.len = strtoul(length, NULL, 10);
		if (reply.len >= REPLY_MAX || (reply.len > 0 && recv(fd, reply.body, reply.len, MSG_WAITALL) != (ssize_t)reply.len))
			return false;
	}
	while (header_of("Transfer-Encoding") != NULL) {
		if (!read_line(fd, line, sizeof(line)))
			return false;
		size = strtoul(line, NULL, 16);
		if (reply.len + size >= REPLY_MAX || (size > 0 && recv(fd, reply.body + reply.len, size, MSG_WAITALL) != (ssize_t)size) ||
		    !read_line(fd, line, sizeof(line)))
			return false;
		reply.len += size;
		if (size == 0)
			break;
	}
	reply.body[reply.len] = '\0';
	return true;
}

/* One request on fd: its status, 0 when there was no whole answer. */
static unsigned
ask_on(int fd, const char *method, const char *path, const char *token, const char *body)
{
	char head[8192];
	int n = snprintf(head, sizeof(head), "%s %s HTTP/1.1\r\nHost: edge:1\r\n%s%s%sContent-Length: %zu\r\n\r\n", method, path,
			 token != NULL ? "Authorization: Bearer " : "", token != NULL ? token : "", token != NULL ? "\r\n" : "", strlen(body));

	return rawsock_send(fd, head, (size_t)n) && rawsock_send(fd, body, strlen(body)) && read_reply(fd) ? reply.status : 0;
}

static unsigned
ask(const char *method, const char *path, const char *token, const char *body)
{
	int fd = rawsock_connect(st.d.port, NULL);
	unsigned status = fd >= 0 ? ask_on(fd, method, path, token, body) : 0;

	close(fd);
	return status;
}

/* The value of a string member of the reply. */
static bool
member(const char *name, char *out)
{
	char key[64];
	const char *at;
	size_t n;

	snprintf(key, sizeof(key), "\"%s\":\"", name);
	at = strstr(reply.body, key);
	n = at != NULL ? strcspn(at + strlen(key), "\"") : TOKEN_MAX;
	if (n >= TOKEN_MAX)
		return false;
	memcpy(out, at + strlen(key), n);
	out[n] = '\0';
	return true;
}

static char access_token[TOKEN_MAX], refresh_token[TOKEN_MAX], own_token[TOKEN_MAX];

static bool
log_in(void)
{
	return ask("POST", APP "/auth/providers/local-userpass/login", NULL, "{\"username\":\"a\",\"password\":\"SECRET-password\"}") == 201 &&
	       member("access_token", access_token) && member("refresh_token", refresh_token);
}

/* auth/session: its status, the token in token. */
static unsigned
renew(char *token)
{
	unsigned status = ask("POST", SESSION, refresh_token, "");

	return status == 201 && !member("access_token", token) ? 0 : status;
}

/* ---- an app's device ---- */

static struct child *
device(const char *token)
{
	char url[128], state[512];
	struct child *c;

	snprintf(url, sizeof(url), "ws://127.0.0.1:%u%s/realm-sync", st.d.port, APP);
	snprintf(state, sizeof(state), "%s/device", st.dir);
	c = child_start("client", (const char *const[]){ "--url", url, "--state", state, "--token", token, NULL });
	if (c == NULL || child_ask(c, "device a path=/p") == NULL || child_ask(c, "connect a") == NULL)
		return NULL;
	return c;
}

static bool
ok(const char *answer)
{
	if (answer != NULL && strncmp(answer, "ok", 2) == 0)
		return true;
	printf("# %s\n", answer != NULL ? answer : "no answer");
	return false;
}

/* ---- tests: the link is UP ---- */

TEST(closed_door)
{
	int fd;

	if (!daemon_is_built())
		SKIP("the daemon is not built");
	memset(&st, 0, sizeof(st));
	CHECK(daemon_start(&st.d, harness_tmpdir(), "[upstream]\nurl = ws://127.0.0.1:1\n"));
	fd = rawsock_connect(st.d.port, NULL);
	CHECK_U64(ask_on(fd, "GET", APP "/location", NULL, ""), 426);
	close(fd);
	CHECK(daemon_stop(&st.d));
}

TEST(passed_through)
{
	char text[64];
	int fd;

	START(true, "", "");
	fd = rawsock_connect(st.d.port, NULL);
	CHECK_U64(ask_on(fd, "GET", APP "/location", NULL, ""), 200);
	CHECK(strstr(reply.body, "\"hostname\":\"http://edge:1\",\"ws_hostname\":\"ws://edge:1\"") != NULL);
	CHECK(header_of("X-Server") != NULL);
	CHECK_U64(ask_on(fd, "POST", "/echo?x=y", NULL, "hello"), 200); /* the same connection */
	CHECK_STR(reply.body, "hello");
	CHECK_U64(ask_on(fd, "GET", "/big/2000000", NULL, ""), 200);
	CHECK_U64(reply.len, 2000000);
	CHECK_U64(ask_on(fd, "GET", "/until-close", NULL, ""), 200);
	CHECK_U64(reply.len, 10000);
	CHECK_U64(ask_on(fd, "GET", "/redirect", NULL, ""), 302);
	snprintf(text, sizeof(text), "http://edge:1/there\r\n");
	CHECK(strncmp(header_of("Location"), text, strlen(text)) == 0);
	CHECK_U64(ask_on(fd, "GET", "/elsewhere", NULL, ""), 302);
	CHECK(strncmp(header_of("Location"), "https://example.com/there", 25) == 0);
	CHECK_U64(ask_on(fd, "GET", "/both", NULL, ""), 503);
	CHECK_U64(ask_on(fd, "DELETE", SESSION, "nobody's", ""), 204);
	CHECK(log_in());
	CHECK_U64(ask_on(fd, "GET", PROFILE, access_token, ""), 200);
	CHECK_U64(renew(own_token), 201);
	CHECK_STR(own_token, st.api.state->access);
	CHECK_U64(ask_on(fd, "GET", "/broken", NULL, ""), 0); /* what is cut off there is cut off here */
	close(fd);
	FINISH();
}

TEST(a_public_url)
{
	START(true, "public_url = https://edge.example.com/\n", "");
	CHECK_U64(ask("GET", APP "/location", NULL, ""), 200);
	CHECK(strstr(reply.body, "\"hostname\":\"https://edge.example.com\",\"ws_hostname\":\"wss://edge.example.com\"") != NULL);
	FINISH();
}

/* What a request and the next are must be the same for us and for upstream. */
TEST(smuggling_and_pipelining)
{
	static const char *const bad[] = {
		"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n",
		"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 50\r\n\r\nhello",
		"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: x, chunked\r\n\r\n0\r\n\r\n",
		"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
		"GET /echo HTTP/1.1\r\nHost: h\r\nX: y\nTransfer-Encoding: chunked\r\n\r\n",
		"GET http://elsewhere/ HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET / HTTP/1.0\r\nHost: h\r\n\r\n",
	};
	static const char three[] = "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\noneGET /big/10 HTTP/1.1\r\nHost: h\r\n\r\n"
				    "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nthree\r\n0\r\n\r\n";
	static const char ext[] = "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5;x\n\r\nhello\r\n0\r\n\r\n";
	static const char longer[] = "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 999999\r\n\r\n";
	unsigned before;
	int fd;

	START(true, "", "max_body = 100KiB\n");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		fd = rawsock_connect(st.d.port, NULL);
		CHECK(rawsock_send(fd, bad[i], strlen(bad[i])));
		CHECK_U64(rawsock_status(fd), 400);
		CHECK(rawsock_ended(fd, 10000));
		close(fd);
	}
	CHECK_U64(st.api.state->requests, 0);
	fd = rawsock_connect(st.d.port, NULL);
	CHECK(rawsock_send(fd, three, strlen(three)));
	CHECK(read_reply(fd) && strcmp(reply.body, "one") == 0);
	CHECK(read_reply(fd) && reply.len == 10);
	CHECK(read_reply(fd) && strcmp(reply.body, "three") == 0 && header_of("Transfer-Encoding") != NULL);
	CHECK_U64(st.api.state->requests, 3);
	close(fd);
	before = st.api.state->requests;
	fd = rawsock_connect(st.d.port, NULL);
	CHECK(rawsock_send(fd, ext, strlen(ext)));
	CHECK_U64(rawsock_status(fd), 400);
	close(fd);
	CHECK_U64(st.api.state->requests, before);
	fd = rawsock_connect(st.d.port, NULL); /* longer than max_body: told before it is sent, and found out while it comes */
	CHECK(rawsock_send(fd, longer, strlen(longer)));
	CHECK_U64(rawsock_status(fd), 413);
	close(fd);
	FINISH();
}

TEST(large_bodies)
{
	size_t len = 3 << 19;
	char *body = malloc(len + 1), head[128];
	int fd, n;

	START(true, "", "out_high = 32KiB\nout_low = 8KiB\n");
	memset(body, 'b', len);
	n = snprintf(head, sizeof(head), "POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: %zu\r\n\r\n", len);
	fd = rawsock_connect(st.d.port, NULL);
	CHECK(rawsock_send(fd, head, (size_t)n));
	CHECK_U64(rawsock_status(fd), 100);
	CHECK(rawsock_send(fd, body, len));
	CHECK(read_reply(fd) && reply.status == 200 && reply.len == len && memcmp(reply.body, body, len) == 0);
	CHECK_U64(ask_on(fd, "POST", "/echo", NULL, "x"), 200); /* the connection is read again */
	close(fd);
	free(body);
	FINISH();
}

TEST(many_connections)
{
	enum { N = 500 };
	static int fd[N];

	START(true, "", "max_exchanges = 64\nmax_per_address = 1000\n");
	for (int i = 0; i < N; i++) {
		fd[i] = rawsock_connect(st.d.port, NULL);
		CHECK_U64(ask_on(fd[i], "POST", "/echo", NULL, "x"), 200);
	}
	for (int i = 0; i < N; i += 7)
		CHECK_U64(ask_on(fd[i], "GET", APP "/location", NULL, ""), 200);
	for (int i = 0; i < N; i++)
		close(fd[i]);
	FINISH();
}

TEST(limits)
{
	static const char silent[] = "GET /silent HTTP/1.1\r\nHost: h\r\n\r\n";
	unsigned named[2];
	int a, b, c;

	START(true, "", "max_exchanges = 1\nexchange_timeout = 1s\nkeep_alive = 100ms\n");
	CHECK(add_upstream(named));
	a = rawsock_connect(st.d.port, NULL);
	b = rawsock_connect(st.d.port, NULL);
	c = rawsock_connect(named[1], NULL);
	CHECK(rawsock_send(a, silent, strlen(silent)));
	for (int i = 0; st.api.state->requests == 0; i++) {
		CHECK(i < 1000);
		usleep(10000);
	}
	CHECK_U64(ask_on(b, "GET", "/big/1", NULL, ""), 503);
	CHECK_U64(ask_on(c, "GET", "/big/1", NULL, ""), 503); /* limits are for all listeners together */
	CHECK_U64(rawsock_status(a), 503); /* no answer in time */
	CHECK(rawsock_ended(b, 10000));	   /* keep_alive */
	close(a), close(b), close(c);
	FINISH();
}

/* A portal in the way, over plain TCP: its 403 would log the user out. */
TEST(portal)
{
	START(true, "", "");
	CHECK(log_in());
	CHECK(ask("GET", APP "/location", NULL, "") == 200);
	st.api.state->portal = true;
	CHECK_U64(renew(own_token), 201);
	CHECK(strcmp(own_token, st.api.state->access) != 0);
	CHECK_U64(ask("GET", APP "/location", NULL, ""), 200);
	CHECK_U64(ask("POST", APP "/auth/providers/anon-user/login", NULL, "{}"), 503);
	st.api.state->portal = false;
	CHECK_U64(renew(own_token), 201);
	CHECK_STR(own_token, st.api.state->access);
	FINISH();
}

/* ---- the link is DOWN ---- */

TEST(answers_while_down)
{
	char real[TOKEN_MAX];

	START(true, "", "");
	CHECK(ask("GET", APP "/location", NULL, "") == 200 && log_in());
	strcpy(real, access_token);
	CHECK(ask("GET", PROFILE, access_token, "") == 200);
	CHECK(cut_link());
	CHECK_U64(ask("GET", APP "/location", NULL, ""), 200);
	CHECK(strstr(reply.body, "ws://edge:1") != NULL);
	CHECK_U64(ask("GET", "/api/client/v2.0/app/other/location", NULL, ""), 503);
	CHECK(strncmp(header_of("Content-Type"), "application/json\r\n", 18) == 0 && strstr(reply.body, "\"error_code\"") != NULL);
	CHECK_U64(renew(own_token), 201);
	CHECK(strcmp(own_token, access_token) != 0);
	CHECK_U64(ask("GET", PROFILE, own_token, ""), 200);
	CHECK(strstr(reply.body, "SECRET-name") != NULL);
	CHECK_U64(ask("GET", PROFILE, real, ""), 200);
	CHECK_U64(ask("GET", PROFILE, "eyJhIjoxfQ.eyJhIjoxfQ.c2ln", ""), 503);
	CHECK_U64(ask("POST", APP "/auth/providers/anon-user/login", NULL, "{}"), 503);
	CHECK_U64(ask("POST", SESSION, "unknown", ""), 503);
	CHECK_U64(ask("POST", "/echo", NULL, "hello"), 503);
	CHECK(restart()); /* with a key all of it is there after it */
	CHECK_U64(renew(own_token), 201);
	CHECK_U64(ask("GET", PROFILE, own_token, ""), 200);
	CHECK_U64(ask("GET", APP "/location", NULL, ""), 200);
	CHECK_U64(ask("DELETE", SESSION, refresh_token, ""), 503); /* but who logs out is out */
	CHECK_U64(ask("GET", PROFILE, own_token, ""), 503);
	CHECK_U64(renew(own_token), 503);
	FINISH();
}

/* max_users = 2, three users: the one honoured longest ago is not known any more; the others are. */
TEST(users_that_are_known)
{
	char refresh[3][TOKEN_MAX];

	START(true, "", "max_users = 2\n");
	for (int i = 0; i < 3; i++) {
		CHECK(log_in());
		strcpy(refresh[i], refresh_token);
	}
	CHECK(cut_link());
	for (int i = 0; i < 3; i++) {
		strcpy(refresh_token, refresh[i]);
		CHECK_U64(renew(own_token), i == 0 ? 503 : 201);
	}
	FINISH();
}

TEST(refresh_token_past_its_time)
{
	START(true, "", "");
	st.api.state->refresh_life_s = -5;
	CHECK(log_in());
	CHECK(cut_link());
	CHECK_U64(renew(own_token), 503);
	CHECK(daemon_logged(&st.d, "the refresh token has expired") != NULL);
	FINISH();
}

/* Presents a token at an upgrade. */
static unsigned
upgrade(const char *token)
{
	char headers[TOKEN_MAX + 64];
	int fd = rawsock_connect(st.d.port, NULL);
	unsigned status;

	snprintf(headers, sizeof(headers), "Authorization: Bearer %s\r\n", token);
	status = rawsock_upgrade(fd, APP "/realm-sync", headers);
	close(fd);
	return status;
}

TEST(forged_and_foreign_tokens)
{
	char forged[TOKEN_MAX], *dot;

	START(true, "", "");
	CHECK(log_in());
	CHECK_U64(upgrade(access_token), 101);
	CHECK(cut_link());
	CHECK_U64(upgrade(access_token), 101); /* known */
	CHECK_U64(renew(own_token), 201);
	CHECK_U64(upgrade(own_token), 101);
	strcpy(forged, own_token);
	dot = strrchr(forged, '.');
	dot[1] = dot[1] == 'A' ? 'B' : 'A';
	CHECK_U64(upgrade(forged), 401); /* its bearer has to get another; the relay itself answers that */
	strcpy(forged, own_token);
	strcpy(strchr(forged, '.') + 1, strchr(access_token, '.') + 1);
	CHECK_U64(upgrade(forged), 401); /* another's claims under our header */
	CHECK_U64(upgrade("SECRET-unknown"), 503);
	CHECK_U64(ask("DELETE", SESSION, refresh_token, ""), 503);
	CHECK_U64(upgrade(own_token), 401); /* replayed after its user logged out */
	FINISH();
}

/* What one upstream gave is good for that one alone, and each listener keeps its own rules. */
TEST(a_named_upstream)
{
	unsigned unnamed, named[2];

	START(true, "", "");
	CHECK(add_upstream(named));
	unnamed = st.d.port;
	st.d.port = named[1];
	CHECK(log_in());
	CHECK(cut_link());
	CHECK(daemon_logged(&st.d, "event=link upstream=b state=down") != NULL);
	CHECK_U64(upgrade(access_token), 101); /* never seen at an upgrade before */
	CHECK_U64(renew(own_token), 201);
	CHECK_U64(upgrade(own_token), 101);
	st.d.port = named[0];
	CHECK_U64(upgrade(access_token), 101);
	CHECK_U64(renew(own_token), 503);
	CHECK(daemon_logged(&st.d, "offline_admit = none") != NULL);
	st.d.port = unnamed;
	CHECK(daemon_logged(&st.d, "event=link state=down") != NULL);
	CHECK_U64(upgrade(access_token), 503);
	CHECK_U64(renew(own_token), 503);
	FINISH();
}

/* ---- the whole way ---- */

/* Logs in, works, loses the link, renews, goes on with a token of the relay's; upstream will not take that one. */
static struct child *
go_offline(void)
{
	struct child *c;

	if (!log_in() || (c = device(access_token)) == NULL || !ok(child_ask(c, "write a 2")) || !ok(child_ask(c, "wait a idle 10000")) ||
	    !cut_link() || !child_stop(c) || renew(own_token) != 201 || !ok(child_ask(st.up, "token deny %s", own_token)))
		return NULL;
	c = device(own_token);
	if (c == NULL || !ok(child_ask(c, "wait a bound 10000")) || !ok(child_ask(c, "write a 3")) || !ok(child_ask(c, "wait a downloaded 10000")))
		return NULL;
	return daemon_logged(&st.d, "backlog_records=3") != NULL ? c : NULL;
}

TEST(exchanged_when_the_link_returns)
{
	struct child *c;

	START(true, "", "");
	CHECK((c = go_offline()) != NULL);
	CHECK(ok(child_ask(st.link, "up")));
	CHECK(ok(child_ask(c, "wait a idle 15000")));
	CHECK(daemon_logged(&st.d, "event=token_exchange") != NULL);
	CHECK(strstr(st.d.line, "result=ok") != NULL);
	CHECK(strstr(child_ask(st.up, "status"), "changesets=5") != NULL);
	CHECK(child_stop(c));
	CHECK_U64(st.api.state->sessions, 1);
	FINISH();
}

/* Without a key the refresh token is not kept: the client is closed, and asks itself. */
TEST(the_client_asks_itself)
{
	struct child *c;

	START(false, "", "");
	CHECK((c = go_offline()) != NULL);
	CHECK(ok(child_ask(st.link, "up")));
	CHECK(daemon_logged(&st.d, "it needs a token of upstream's") != NULL);
	CHECK_U64(upgrade(own_token), 401);
	CHECK_U64(renew(own_token), 201);
	CHECK(child_stop(c));
	CHECK((c = device(own_token)) != NULL);
	CHECK(ok(child_ask(c, "wait a idle 15000")));
	CHECK(strstr(child_ask(st.up, "status"), "changesets=5") != NULL);
	CHECK(child_stop(c));
	FINISH();
}

/* A line of holdfastctl buffer list. */
static bool
listed(const char *text)
{
	char run[1200], line[2048];
	bool found = false;
	FILE *f;

	snprintf(run, sizeof(run), "'%s/holdfastctl' -d '%s/state' --json buffer list 2>/dev/null",
		 getenv("HOLDFAST_BIN") != NULL ? getenv("HOLDFAST_BIN") : ".", st.dir);
	f = popen(run, "re");
	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		found = found || strstr(line, text) != NULL;
	if (f != NULL)
		pclose(f);
	return found;
}

TEST(revoked)
{
	struct child *c;

	START(true, "", "");
	CHECK((c = go_offline()) != NULL);
	st.api.state->revoked = true;
	CHECK(ok(child_ask(st.link, "up")));
	CHECK(daemon_logged(&st.d, "event=user_revoked") != NULL);
	CHECK(daemon_logged(&st.d, "does not accept this user any more") != NULL);
	CHECK_U64(upgrade(own_token), 401);
	CHECK_U64(renew(own_token), 401); /* upstream's own word */
	CHECK(strstr(child_ask(st.up, "status"), "changesets=2") != NULL);
	CHECK(child_stop(c));
	if (getenv("HOLDFAST_BIN") != NULL)
		for (int i = 0; !listed("rejected"); i++) {
			CHECK(i < 100);
			usleep(50000);
		}
	CHECK(cut_link());
	CHECK_U64(upgrade(own_token), 401);
	CHECK_U64(ask("POST", SESSION, refresh_token, ""), 503);
	FINISH();
}

/* The device left before the link came back. */
TEST(absent)
{
	struct child *c;

	START(true, "", "");
	CHECK((c = go_offline()) != NULL);
	CHECK(child_stop(c));
	CHECK(ok(child_ask(st.link, "up")));
	CHECK(daemon_logged(&st.d, "how=drained") != NULL);
	CHECK(strstr(child_ask(st.up, "status"), "changesets=5") != NULL);
	FINISH();
}
