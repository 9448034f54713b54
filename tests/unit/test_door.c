/* The App Services door in parts: the daemon between an app's HTTP and the stand-ins for App Services and the sync server, whose link can be
 * cut.  The whole way of an app and its device: test_door_way.c; clocks, keys and TLS: test_door_time.c, test_door_tls.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "relay/location.h"
#include "relay/splice.h"

#include "tests/harness.h"
#include "tests/peer/app.h"
#include "tests/peer/child.h"
#include "tests/peer/doorstage.h"
#include "tests/peer/rawsock.h"

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

/* ---- tests: the link is UP ---- */

TEST(closed_door)
{
	int fd;

	if (!daemon_is_built())
		SKIP("the daemon is not built");
	CHECK(daemon_start(&stage.d, harness_tmpdir(), "[upstream]\nurl = ws://127.0.0.1:1\n"));
	fd = rawsock_connect(stage.d.port, NULL);
	CHECK_U64(app_ask_on(fd, "GET", APP_LOCATION, NULL, ""), 426);
	close(fd);
	CHECK(daemon_stop(&stage.d));
}

TEST(passed_through)
{
	int fd;

	START(.key = true);
	fd = rawsock_connect(app.port, NULL);
	CHECK_U64(app_ask_on(fd, "GET", APP_LOCATION, NULL, ""), 200);
	CHECK(strstr(app.body, "\"hostname\":\"http://edge:1\",\"ws_hostname\":\"ws://edge:1\"") != NULL);
	CHECK(app_header("X-Server") != NULL);
	CHECK_U64(app_ask_on(fd, "POST", "/echo?x=y", NULL, "hello"), 200); /* the same connection */
	CHECK_STR(app.body, "hello");
	CHECK_U64(app_ask_on(fd, "GET", "/big/2000000", NULL, ""), 200);
	CHECK_U64(app.len, 2000000);
	CHECK_U64(app_ask_on(fd, "GET", "/until-close", NULL, ""), 200);
	CHECK_U64(app.len, 10000);
	CHECK_U64(app_ask_on(fd, "GET", "/redirect", NULL, ""), 302);
	CHECK(app_header_is("Location", "http://edge:1/there\r\n"));
	CHECK_U64(app_ask_on(fd, "GET", "/elsewhere", NULL, ""), 302);
	CHECK(app_header_is("Location", "https://example.com/there"));
	CHECK_U64(app_ask_on(fd, "GET", "/both", NULL, ""), 503);
	CHECK_U64(app_ask_on(fd, "DELETE", APP_SESSION, "nobody's", ""), 204);
	CHECK(app_log_in());
	CHECK_U64(app_ask_on(fd, "GET", APP_PROFILE, app.access, ""), 200);
	CHECK_U64(app_renew(), 201);
	CHECK_STR(app.own, stage.api.state->access);
	CHECK_U64(app_ask_on(fd, "GET", "/broken", NULL, ""), 0); /* what is cut off there is cut off here */
	close(fd);
	CHECK(doorstage_stop());
}

TEST(a_public_url)
{
	START(.key = true, .listener = "public_url = https://edge.example.com/\n");
	CHECK_U64(app_ask("GET", APP_LOCATION, NULL, ""), 200);
	CHECK(strstr(app.body, "\"hostname\":\"https://edge.example.com\",\"ws_hostname\":\"wss://edge.example.com\"") != NULL);
	CHECK(doorstage_stop());
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
		"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
		"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5, 5\r\n\r\nhello",
		"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: +5\r\n\r\nhello",
		"POST /echo HTTP/1.1\r\nHost: h\r\nX: y\r\n folded\r\nContent-Length: 0\r\n\r\n",
		"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length : 5\r\n\r\nhello",
		"POST /echo HTTP/1.1\nHost: h\nContent-Length: 0\n\n",
		"POST /echo HTTP/1.1\r\nHost: h\nContent-Length: 0\r\n\r\n",
		"POST /echo HTTP/1.1\r\nHost: h\r\nHost: i\r\nContent-Length: 0\r\n\r\n",
		"CONNECT elsewhere:443 HTTP/1.1\r\nHost: elsewhere:443\r\n\r\n",
	};
	static const char three[] = "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\noneGET /big/10 HTTP/1.1\r\nHost: h\r\n\r\n"
				    "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nthree\r\n0\r\n\r\n";
	static const char chunked[] = "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
	static const char *const bad_chunks[] = { "5;x\n\r\nhello\r\n0\r\n\r\n", "5;x=y\r\nhello\r\n0\r\n\r\n", "5 \r\nhello\r\n0\r\n\r\n",
		"0x5\r\nhello\r\n0\r\n\r\n", "5\nhello\r\n0\r\n\r\n", "5\r\nhello\n0\r\n\r\n", "5\r\nhellogo\r\n0\r\n\r\n", "-5\r\nhello\r\n0\r\n\r\n",
		"00000000000000005\r\nhello\r\n0\r\n\r\n", "0\r\nX: y\nZ: z\r\n\r\n" };
	static const char nul[] = "GET /echo HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n";
	static const char longer[] = "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 999999\r\n\r\n";
	unsigned before;
	int fd;

	START(.key = true, .more = "max_body = 100KiB\n");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		fd = rawsock_connect(app.port, NULL);
		CHECK(rawsock_send(fd, bad[i], strlen(bad[i])));
		CHECK_U64(rawsock_status(fd), 400);
		CHECK(rawsock_ended(fd, 10000));
		close(fd);
	}
	fd = rawsock_connect(app.port, NULL);
	CHECK(rawsock_send(fd, nul, sizeof(nul) - 1));
	CHECK_U64(rawsock_status(fd), 400);
	close(fd);
	CHECK_U64(stage.api.state->requests, 0);
	fd = rawsock_connect(app.port, NULL);
	CHECK(rawsock_send(fd, three, strlen(three)));
	CHECK(app_read(fd) && strcmp(app.body, "one") == 0);
	CHECK(app_read(fd) && app.len == 10);
	CHECK(app_read(fd) && strcmp(app.body, "three") == 0 && app_header("Transfer-Encoding") != NULL);
	CHECK_U64(stage.api.state->requests, 3);
	close(fd);
	before = stage.api.state->requests;
	for (size_t i = 0; i < sizeof(bad_chunks) / sizeof(bad_chunks[0]); i++) {
		fd = rawsock_connect(app.port, NULL);
		CHECK(rawsock_send(fd, chunked, strlen(chunked)) && rawsock_send(fd, bad_chunks[i], strlen(bad_chunks[i])));
		CHECK_U64(rawsock_status(fd), 400);
		close(fd);
	}
	CHECK_U64(stage.api.state->requests, before);
	fd = rawsock_connect(app.port, NULL); /* longer than max_body: told before it is sent, and found out while it comes */
	CHECK(rawsock_send(fd, longer, strlen(longer)));
	CHECK_U64(rawsock_status(fd), 413);
	close(fd);
	CHECK(doorstage_stop());
}

TEST(large_bodies)
{
	size_t len = 3 << 19;
	char *body = malloc(len + 1), head[128];
	int fd, n;

	START(.key = true, .more = "out_high = 32KiB\nout_low = 8KiB\n");
	memset(body, 'b', len);
	n = snprintf(head, sizeof(head), "POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: %zu\r\n\r\n", len);
	fd = rawsock_connect(app.port, NULL);
	CHECK(rawsock_send(fd, head, (size_t)n));
	CHECK_U64(rawsock_status(fd), 100);
	CHECK(rawsock_send(fd, body, len));
	CHECK(app_read(fd) && app.status == 200 && app.len == len && memcmp(app.body, body, len) == 0);
	CHECK_U64(app_ask_on(fd, "POST", "/echo", NULL, "x"), 200); /* the connection is read again */
	close(fd);
	free(body);
	CHECK(doorstage_stop());
}

/* Whether the App Services get to so many bytes of answers in ten seconds. */
static bool
has_written(size_t bytes)
{
	for (int i = 0; i < 1000 && stage.api.state->written < bytes; i++)
		usleep(10000);
	return stage.api.state->written >= bytes;
}

/* A hundred MiB each way, the answer to a client that at first does not read: what is held stays bounded (I6). */
TEST(streamed_bodies)
{
	enum { LEN = 100 << 20, PIECE = 1 << 16, ROOM = 8 << 20, WRITTEN = 1 << 19 };
	char head[160], *piece = calloc(1, PIECE);
	size_t before, got = 0;
	ssize_t n = 1;
	int fd;

	START(.key = true, .more = "max_body = 200MiB\n");
	CHECK_U64(app_ask("POST", "/echo", NULL, "x"), 200);
	before = daemon_peak(&stage.d);
	fd = rawsock_connect(app.port, NULL);
	snprintf(head, sizeof(head), "POST /sink HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", LEN);
	CHECK(rawsock_send(fd, head, strlen(head)));
	for (int sent = 0; sent < LEN; sent += PIECE)
		CHECK(rawsock_send(fd, piece, PIECE));
	CHECK(app_read(fd) && app.status == 200);
	CHECK_U64(strtoul(app.body, NULL, 10), LEN);
	snprintf(head, sizeof(head), "GET /big/%d HTTP/1.1\r\nHost: h\r\n\r\n", LEN);
	CHECK(rawsock_send(fd, head, strlen(head)));
	CHECK(has_written(WRITTEN));
	while (got < LEN && (n = recv(fd, piece, PIECE, 0)) > 0)
		got += (size_t)n;
	CHECK(n > 0);
	CHECK(has_written(LEN)); /* the other process counts a piece when it is out, so we may be first */
	close(fd);
	free(piece);
	printf("# peak %zu KiB more\n", (daemon_peak(&stage.d) - before) / 1024);
	CHECK(HARNESS_SANITIZED || daemon_peak(&stage.d) - before < ROOM);
	CHECK(doorstage_stop());
}

/* Upstream closes a connection that was kept just as the next request goes out on it: what may be repeated is, once; the rest is not. */
TEST(kept_connections)
{
	int fd;

	START(.key = true);
	CHECK(app_log_in());
	fd = rawsock_connect(app.port, NULL);
	CHECK_U64(app_ask_on(fd, "POST", "/echo", NULL, "x"), 200);
	stage.api.state->closes = true; /* its connection thread is past this; the one of the next request is not */
	CHECK_U64(app_ask_on(fd, "POST", "/echo", NULL, "once"), 503);
	CHECK_U64(stage.api.state->requests, 3);
	stage.api.state->closes = false;
	CHECK_U64(app_ask_on(fd, "GET", "/big/10", NULL, ""), 200);
	stage.api.state->closes = true;
	CHECK_U64(app_ask_on(fd, "GET", "/big/10", NULL, ""), 503);
	CHECK_U64(stage.api.state->requests, 6);
	stage.api.state->closes = false;
	CHECK_U64(app_renew(), 201);
	CHECK_STR(app.own, stage.api.state->access);
	close(fd);
	CHECK(doorstage_stop());
}

TEST(many_connections)
{
	enum { N = 500 };
	static int fd[N];

	START(.key = true, .more = "max_exchanges = 64\nmax_per_address = 1000\n");
	for (int i = 0; i < N; i++) {
		fd[i] = rawsock_connect(app.port, NULL);
		CHECK_U64(app_ask_on(fd[i], "POST", "/echo", NULL, "x"), 200);
	}
	for (int i = 0; i < N; i += 7)
		CHECK_U64(app_ask_on(fd[i], "GET", APP_LOCATION, NULL, ""), 200);
	for (int i = 0; i < N; i++)
		close(fd[i]);
	CHECK(doorstage_stop());
}

/* Adds [upstream b] to the same servers, and two listeners for it, whose ports are set: one that renews no session, one that does. */
static bool
add_upstream(unsigned port[2])
{
	size_t n = strlen(stage.config), seen = 0;
	char path[512], line[2048];
	FILE *f;

	snprintf(stage.config + n, sizeof(stage.config) - n,
		 "[listener b]\naddress = 127.0.0.1:0\nupstream = b\noffline_session_days = 0\n[listener c]\naddress = 127.0.0.1:0\nupstream = b\n"
		 "[upstream b]\nurl = ws://127.0.0.1:%u\napi_url = http://127.0.0.1:%u\nprobe_interval = 100ms\nping_interval = 300ms\n",
		 stage.link_port, stage.api.port);
	if (!doorstage_restart() || daemon_logged(&stage.d, "event=memory_budget ") == NULL) /* all of them listen */
		return false;
	snprintf(path, sizeof(path), "%s/log", stage.dir);
	f = fopen(path, "re");
	while (f != NULL && seen < 3 && fgets(line, sizeof(line), f) != NULL)
		if (strstr(line, "event=listening ") != NULL && seen++ > 0)
			port[seen - 2] = (unsigned)strtoul(strrchr(line, ':') + 1, NULL, 10);
	if (f != NULL)
		fclose(f);
	return seen == 3;
}

TEST(limits)
{
	static const char silent[] = "GET /silent HTTP/1.1\r\nHost: h\r\n\r\n";
	unsigned named[2];
	int a, b, c;

	START(.key = true, .more = "max_exchanges = 1\nexchange_timeout = 1s\nkeep_alive = 100ms\n");
	CHECK(add_upstream(named));
	a = rawsock_connect(app.port, NULL);
	b = rawsock_connect(app.port, NULL);
	c = rawsock_connect(named[1], NULL);
	CHECK(rawsock_send(a, silent, strlen(silent)));
	for (int i = 0; stage.api.state->requests == 0; i++) {
		CHECK(i < 1000);
		usleep(10000);
	}
	CHECK_U64(app_ask_on(b, "GET", "/big/1", NULL, ""), 503);
	CHECK_U64(app_ask_on(c, "GET", "/big/1", NULL, ""), 503); /* limits are for all listeners together */
	CHECK_U64(rawsock_status(a), 503); /* no answer in time */
	CHECK(rawsock_ended(b, 10000));	   /* keep_alive */
	close(a), close(b), close(c);
	CHECK(doorstage_stop());
}

/* A portal in the way, over plain TCP: nothing of what it says reaches an app, for a 403 logs the user out. */
TEST(portals)
{
	START(.key = true);
	CHECK(app_log_in());
	CHECK(app_ask("GET", APP_LOCATION, NULL, "") == 200 && app_ask("GET", APP_PROFILE, app.access, "") == 200);
	for (unsigned p = PORTAL_NONE + 1; p < PORTALS; p++) {
		stage.api.state->portal = p;
		CHECK_U64(app_renew(), 201);
		CHECK(strcmp(app.own, stage.api.state->access) != 0); /* it is the relay's own */
		CHECK_U64(app_ask("GET", APP_LOCATION, NULL, ""), 200);
		CHECK(strstr(app.body, "ws://edge:1") != NULL);
		CHECK_U64(app_ask("GET", APP_PROFILE, app.access, ""), 200);
		CHECK_U64(app_ask("POST", APP_PATH "/auth/providers/anon-user/login", NULL, "{}"), 503);
		CHECK_U64(app_ask("POST", APP_PATH "/functions/call", app.access, "{}"), 503);
		CHECK_U64(app_ask("DELETE", APP_SESSION, "nobody's", ""), 503);
	}
	stage.api.state->portal = PORTAL_NONE;
	CHECK_U64(app_renew(), 201);
	CHECK_STR(app.own, stage.api.state->access);
	CHECK_U64(app_upgrade(app.own), 101);
	CHECK(daemon_count(&stage.d, "event=user_revoked") == 0);
	CHECK(doorstage_stop());
}

/* ---- the link is DOWN ---- */

TEST(answers_while_down)
{
	char real[APP_TOKEN_MAX];

	START(.key = true);
	CHECK(app_ask("GET", APP_LOCATION, NULL, "") == 200 && app_log_in());
	strcpy(real, app.access);
	CHECK(app_ask("GET", APP_PROFILE, app.access, "") == 200);
	CHECK(doorstage_cut());
	CHECK_U64(app_ask("GET", APP_LOCATION, NULL, ""), 200);
	CHECK(strstr(app.body, "ws://edge:1") != NULL);
	CHECK_U64(app_ask("GET", "/api/client/v2.0/app/other/location", NULL, ""), 503);
	CHECK(app_header_is("Content-Type", "application/json\r\n") && strstr(app.body, "\"error_code\"") != NULL);
	CHECK_U64(app_renew(), 201);
	CHECK(strcmp(app.own, app.access) != 0);
	CHECK_U64(app_ask("GET", APP_PROFILE, app.own, ""), 200);
	CHECK(strstr(app.body, "SECRET-name") != NULL);
	CHECK_U64(app_ask("GET", APP_PROFILE, real, ""), 200);
	CHECK_U64(app_ask("GET", APP_PROFILE, "eyJhIjoxfQ.eyJhIjoxfQ.c2ln", ""), 503);
	CHECK_U64(app_ask("POST", APP_PATH "/auth/providers/anon-user/login", NULL, "{}"), 503);
	CHECK_U64(app_ask("POST", APP_SESSION, "unknown", ""), 503);
	CHECK_U64(app_ask("POST", "/echo", NULL, "hello"), 503);
	CHECK(doorstage_restart()); /* with a key all of it is there after it */
	CHECK(daemon_logged(&stage.d, "event=link state=down") != NULL);
	CHECK_U64(app_renew(), 201);
	CHECK_U64(app_ask("GET", APP_PROFILE, app.own, ""), 200);
	CHECK_U64(app_ask("GET", APP_LOCATION, NULL, ""), 200);
	CHECK_U64(app_ask("DELETE", APP_SESSION, app.refresh, ""), 503); /* but who logs out is out */
	CHECK_U64(app_ask("GET", APP_PROFILE, app.own, ""), 503);
	CHECK_U64(app_renew(), 503);
	CHECK(doorstage_stop());
}

TEST(refresh_token_past_its_time)
{
	START(.key = true);
	stage.api.state->refresh_life_s = -5;
	CHECK(app_log_in());
	CHECK(doorstage_cut());
	CHECK_U64(app_renew(), 503);
	CHECK(daemon_logged(&stage.d, "the refresh token has expired") != NULL);
	CHECK(doorstage_stop());
}

TEST(forged_and_foreign_tokens)
{
	char forged[APP_TOKEN_MAX], *dot;

	START(.key = true);
	CHECK(app_log_in());
	CHECK_U64(app_upgrade(app.access), 101);
	CHECK(doorstage_cut());
	CHECK_U64(app_upgrade(app.access), 101); /* known */
	CHECK_U64(app_renew(), 201);
	CHECK_U64(app_upgrade(app.own), 101);
	strcpy(forged, app.own);
	dot = strrchr(forged, '.');
	dot[1] = dot[1] == 'A' ? 'B' : 'A';
	CHECK_U64(app_upgrade(forged), 401); /* its bearer has to get another; the relay itself answers that */
	strcpy(forged, app.own);
	strcpy(strchr(forged, '.') + 1, strchr(app.access, '.') + 1);
	CHECK_U64(app_upgrade(forged), 401); /* another's claims under our header */
	snprintf(forged, sizeof(forged), "eyJhbGciOiJub25lIn0%.*s.", (int)(strrchr(app.own, '.') - strchr(app.own, '.')), strchr(app.own, '.'));
	CHECK_U64(app_upgrade(forged), 503); /* our claims under {"alg":"none"}: nobody's token */
	CHECK_U64(app_upgrade("SECRET-unknown"), 503);
	CHECK_U64(app_ask("DELETE", APP_SESSION, app.refresh, ""), 503);
	CHECK_U64(app_upgrade(app.own), 401); /* replayed after its user logged out */
	CHECK(doorstage_stop());
}

/* What one upstream gave is good for that one alone, and each listener keeps its own rules. */
TEST(a_named_upstream)
{
	unsigned unnamed, named[2];

	START(.key = true);
	CHECK(add_upstream(named));
	unnamed = app.port;
	app.port = named[1];
	CHECK(app_log_in());
	CHECK(doorstage_cut());
	CHECK(daemon_logged(&stage.d, "event=link upstream=b state=down") != NULL);
	CHECK_U64(app_upgrade(app.access), 101); /* never seen at an upgrade before */
	CHECK_U64(app_renew(), 201);
	CHECK_U64(app_upgrade(app.own), 101);
	app.port = named[0];
	CHECK_U64(app_upgrade(app.access), 101);
	CHECK_U64(app_renew(), 503);
	CHECK(daemon_logged(&stage.d, "offline_admit = none") != NULL);
	app.port = unnamed;
	CHECK(daemon_logged(&stage.d, "event=link state=down") != NULL);
	CHECK_U64(app_upgrade(app.access), 503);
	CHECK_U64(app_renew(), 503);
	CHECK(doorstage_stop());
}
