/* Every limit of [limits], below it, at it, and above it: against the whole daemon, with its link DOWN and everybody admitted.  All limits are
 * the process's: several listeners share them (limits_of_all_listeners).
 *
 *	what				option			test (here, where nothing else is said)
 *	connections in all		max_connections		connections, limits_of_all_listeners
 *	connections of an address	max_per_address		connections_per_address, what_an_address_is, limits_of_all_listeners
 *	handshakes in flight		max_handshakes		handshakes_in_flight, handshakes_of_all_listeners, patience_is_short_when_many_wait
 *	handshake deadline		handshake_timeout	handshake_deadline; handshake_deadline_of_tls
 *	head size			max_head		head_size
 *	path length			max_path		path_length
 *	token length			max_token		token_length
 *	message size			max_message		message_size
 *	inflated size			max_inflated		inflated_size
 *	ratio				max_ratio		inflated_ratio
 *	sessions of a connection	max_sessions		sessions_on_a_connection
 *	sessions in all			max_sessions_total	sessions_in_all, limits_of_all_listeners
 *	bytes held for a connection	max_queued_connection	bytes_held_for_a_connection, queries_held
 *	bytes held in all		max_queued		bytes_held_in_all; all at once: tests/unit/test_budget
 *	output a slow reader leaves	out_high, out_low	pings_without_reading; tests/scenarios/slow-client, slow-upstream
 *	idle				idle_timeout		idle
 *	a refusal's body		max_refusal		tests/scenarios/refused-upgrade
 *	lines of the log		log_burst		tests/unit/test_log, tests/scenarios/logs
 *	HTTP requests under way		max_exchanges		tests/unit/test_door
 *	tokens exchanged at once	max_token_exchanges	tests/unit/test_door_way
 *	body of an HTTP request		max_body		tests/unit/test_door
 *	HTTP's deadlines		exchange_timeout, keep_alive	tests/unit/test_door
 *	users of App Services		max_users		tests/unit/test_door_time */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <zlib.h>

#include "tests/harness.h"
#include "tests/peer/cert.h"
#include "tests/peer/daemon.h"
#include "tests/peer/rawsock.h"

#include "protocol/ws.h"

#include "relay/gate.h"
#include "relay/log.h"
#include "relay/options.h"
#include "relay/upload.h"

#define SOON_MS 10000 /* for what must happen */
#define A_WHILE_MS 200 /* for what must not */

static struct daemon d;

/* Runs the daemon with these lines in [limits]. */
static bool
start(const char *limits)
{
	char config[1024];

	/* port 1 is nobody's: connecting is refused at once, and the link is DOWN */
	snprintf(config, sizeof config, "offline_admit = any\n[upstream]\nurl = ws://127.0.0.1:1\n[limits]\n%s", limits);
	return daemon_start(&d, harness_tmpdir(), config) && daemon_logged(&d, "state=down") != NULL;
}

#define START(limits) \
	do { \
		if (!daemon_is_built()) \
			SKIP("the daemon is not built"); \
		CHECK(start(limits)); \
	} while (0)

/* A client with its 101. */
static int
client(void)
{
	int fd = rawsock_connect(d.port, NULL);

	if (rawsock_upgrade(fd, "/p", "") != 101)
		harness_fail(__FILE__, __LINE__, "a client is not admitted");
	return fd;
}

/* Lives the connection, and has everything before been handled? */
static bool
answers(int fd)
{
	return rawsock_message(fd, "ping 7 0", "", 0, 0) && rawsock_await(fd, "pong 7");
}

static bool
bind_session(int fd, unsigned ident)
{
	char head[64];

	snprintf(head, sizeof head, "bind %u 2 0 0 0", ident);
	return rawsock_message(fd, head, "/p", 2, 0);
}

/* ---- connections ---- */

TEST(connections)
{
	int a, b, c;

	START("max_connections = 2\n");
	a = client();
	b = client();
	CHECK(answers(a) && answers(b));
	c = rawsock_connect(d.port, NULL); /* waits in the kernel's queue */
	CHECK(c >= 0 && rawsock_send(c, "GET / HTTP/1.0\r\n\r\n", 18));
	CHECK(!rawsock_ended(c, A_WHILE_MS));
	close(a);
	CHECK_U64(rawsock_status(c), 400);
	close(b), close(c);
	CHECK(daemon_stop(&d));
}

TEST(connections_per_address)
{
	int a, b, c, other;

	START("max_per_address = 2\n");
	a = client();
	b = client();
	CHECK(answers(a) && answers(b));
	c = rawsock_connect(d.port, NULL);
	CHECK(rawsock_ended(c, SOON_MS));
	CHECK(daemon_logged(&d, "event=address_full max=2") != NULL);
	other = rawsock_connect(d.port, "127.0.0.2");
	CHECK(rawsock_upgrade(other, "/p", "") == 101);
	close(c), close(b);
	do { /* the daemon may not have seen b's end yet */
		close(c);
		c = rawsock_connect(d.port, NULL);
	} while (rawsock_upgrade(c, "/p", "") != 101 && !harness_failed());
	CHECK(answers(a) && answers(c) && answers(other));
	close(a), close(c), close(other);
	CHECK(daemon_stop(&d));
}

/* 2001:db8:0:1:: and 2001:db8:0:1::2 are one place, 2001:db8:0:2:: is another; ::ffff:10.0.0.1 is 10.0.0.1. */
/* holdfastctl looks at all connections, also at those that have not asked for anything yet. */
TEST(commands_and_who_has_not_asked)
{
	static const char *const commands[] = { "status", "sessions", "devices", "forget --user nobody --yes" };
	char run[1200];
	int a, b;

	START("");
	a = client();
	b = rawsock_connect(d.port, NULL);
	CHECK(b >= 0 && answers(a)); /* by now b is accepted, too, or will be before the next one asks */
	for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
		snprintf(run, sizeof run, "'%s' -d '%s/state' %s >/dev/null 2>&1", daemon_ctl(), d.dir, commands[i]);
		if (system(run) == -1)
			harness_fail(__FILE__, __LINE__, "%s", commands[i]);
		CHECK(answers(a));
	}
	close(a), close(b);
	CHECK(daemon_stop(&d));
}

TEST(what_an_address_is)
{
	static const struct {
		const char *text;
		bool enters;
	} steps[] = {
		{ "2001:db8:0:1::", true }, { "2001:db8:0:1::2", false }, { "2001:db8:0:2::", true },
		{ "::ffff:10.0.0.1", true }, { "10.0.0.1", false }, { "10.0.0.2", true },
	};
	struct options o = { .max_per_address = 1, .max_handshakes = 100 };
	struct gate *g = gate_new(&o);
	struct gate_address *entered[6];

	log_set_level(LOG_ERROR);
	for (size_t i = 0; i < 6; i++) {
		struct sockaddr_in6 six = { .sin6_family = AF_INET6 };
		struct sockaddr_in four = { .sin_family = AF_INET };
		bool is_six = inet_pton(AF_INET6, steps[i].text, &six.sin6_addr) == 1;

		CHECK(is_six || inet_pton(AF_INET, steps[i].text, &four.sin_addr) == 1);
		entered[i] = gate_enter(g, is_six ? (struct sockaddr *)&six : (struct sockaddr *)&four);
		CHECK((entered[i] != NULL) == steps[i].enters);
	}
	for (size_t i = 0; i < 6; i++)
		if (entered[i] != NULL)
			gate_leave(g, entered[i]), gate_shaken(g);
	gate_free(g);
	log_set_level(LOG_INFO);
}

/* ---- the handshake ---- */

TEST(handshakes_in_flight)
{
	int idle[4], good;

	START("max_handshakes = 4\n");
	for (int i = 0; i < 3; i++)
		idle[i] = rawsock_connect(d.port, NULL);
	good = client(); /* the fourth, and then no handshake any more */
	idle[3] = rawsock_connect(d.port, NULL);
	close(good);
	good = rawsock_connect(d.port, NULL);
	CHECK(rawsock_send(good, "GET / HTTP/1.0\r\n\r\n", 18));
	CHECK(!rawsock_ended(good, A_WHILE_MS));
	close(idle[0]);
	CHECK_U64(rawsock_status(good), 400);
	for (int i = 1; i < 4; i++)
		close(idle[i]);
	close(good);
	CHECK(daemon_stop(&d));
}

TEST(patience_is_short_when_many_wait)
{
	struct options o = { .max_per_address = 100, .max_handshakes = 4, .handshake_timeout_ms = 30000 };
	struct sockaddr_in peer = { .sin_family = AF_INET };
	struct gate *g = gate_new(&o);
	struct gate_address *from[4];
	static const uint64_t want[4] = { 30000, 30000, 10000, 10000 };

	for (int i = 0; i < 4; i++) {
		CHECK(!gate_is_shut(g));
		from[i] = gate_enter(g, (struct sockaddr *)&peer);
		CHECK_U64(gate_patience_ms(g), want[i]);
	}
	CHECK(gate_is_shut(g));
	gate_shaken(g);
	CHECK(!gate_is_shut(g));
	for (int i = 0; i < 4; i++)
		gate_leave(g, from[i]);
	for (int i = 0; i < 3; i++)
		gate_shaken(g);
	gate_free(g);
}

/* The deadline counts from the accept, and no byte moves it: a request that comes in drips is cut off in its middle. */
TEST(handshake_deadline)
{
	int fd, good;

	START("handshake_timeout = 300ms\n");
	good = client();
	fd = rawsock_connect(d.port, NULL);
	CHECK(rawsock_send(fd, "GET /", 5));
	for (int i = 0; i < 500 && !rawsock_ended(fd, 20); i++)
		(void)rawsock_send(fd, "a", 1);
	CHECK(rawsock_ended(fd, 0));
	CHECK(daemon_logged(&d, "reason=\"the upgrade took too long\"") != NULL);
	CHECK(answers(good));
	close(fd), close(good);
	CHECK(daemon_stop(&d));
}

/* Before TLS is through no request could be: the same deadline. */
TEST(handshake_deadline_of_tls)
{
	static const char hello[] = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
	struct cert_files files;
	char config[2048];
	int fd;

	if (!daemon_is_built())
		SKIP("the daemon is not built");
	CHECK(cert_make(harness_tmpdir(), "edge", &files));
	snprintf(config, sizeof config, "tls_certificate = %s\ntls_key = %s\n[upstream]\nurl = ws://127.0.0.1:1\n[limits]\nhandshake_timeout = 300ms\n",
		 files.cert, files.key);
	CHECK(daemon_start(&d, harness_tmpdir(), config));
	fd = rawsock_connect(d.port, NULL);
	CHECK(rawsock_send(fd, hello, sizeof hello - 1));
	for (int i = 0; i < 400 && !rawsock_ended(fd, 20); i++) /* less than the record that was promised */
		(void)rawsock_send(fd, "a", 1);
	CHECK(rawsock_ended(fd, 0));
	CHECK(daemon_logged(&d, "reason=\"the upgrade took too long\"") != NULL);
	close(fd);
	CHECK(daemon_stop(&d));
}

/* An upgrade request of exactly len bytes. */
static unsigned
request_of(size_t len)
{
	char pad[8400] = "", header[8500];
	size_t bare = strlen("GET /p HTTP/1.1\r\nHost: edge\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
			     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: com.mongodb.realm-sync#14\r\nX: \r\n\r\n");
	int fd = rawsock_connect(d.port, NULL);
	unsigned status;

	memset(pad, 'x', len - bare);
	snprintf(header, sizeof header, "X: %s\r\n", pad);
	status = rawsock_upgrade(fd, "/p", header);
	close(fd);
	return status;
}

TEST(head_size)
{
	char endless[600];
	int fd;

	START("max_head = 512\n");
	CHECK_U64(request_of(511), 101);
	CHECK_U64(request_of(512), 101);
	CHECK_U64(request_of(513), 431);
	memset(endless, 'a', sizeof endless);
	memcpy(endless, "GET /", 5);
	fd = rawsock_connect(d.port, NULL);
	CHECK(rawsock_send(fd, endless, 511));
	CHECK(!rawsock_ended(fd, A_WHILE_MS));
	CHECK(rawsock_send(fd, endless + 511, 1)); /* whatever follows, it would be too long */
	CHECK_U64(rawsock_status(fd), 431);
	close(fd);
	CHECK(daemon_stop(&d));
}

static unsigned
status_for(const char *target, const char *headers)
{
	int fd = rawsock_connect(d.port, NULL);
	unsigned status = rawsock_upgrade(fd, target, headers);

	close(fd);
	return status;
}

TEST(path_length)
{
	static const char path[] = "/2345678901234567890";

	START("max_path = 18\n");
	for (int len = 17; len <= 19; len++) {
		char target[64];

		snprintf(target, sizeof target, "%.*s?query=does-not-count", len, path);
		CHECK_U64(status_for(target, ""), len <= 18 ? 101 : 414);
	}
	CHECK(daemon_stop(&d));
}

TEST(token_length)
{
	static const char token[] = "12345678901234567890";

	START("max_token = 18\n");
	for (int len = 17; len <= 19; len++) {
		char text[64];

		snprintf(text, sizeof text, "/p?baas_at=%.*s", len, token);
		CHECK_U64(status_for(text, ""), len <= 18 ? 101 : 431);
		snprintf(text, sizeof text, "Authorization: %.*s\r\n", len, token);
		CHECK_U64(status_for("/p", text), len <= 18 ? 101 : 431);
	}
	CHECK_U64(daemon_count(&d, "123456"), 0); /* I9 */
	CHECK(daemon_stop(&d));
}

/* Clients of two listeners are counted together, and who does not fit by one does not by the other. */
TEST(limits_of_all_listeners)
{
	unsigned other = 0;
	const char *line;
	int a, b, c[2];

	START("max_connections = 3\nmax_per_address = 2\nmax_sessions_total = 2\n[listener b]\naddress = 127.0.0.1:0\noffline_admit = any\n");
	line = daemon_logged(&d, "event=listener name=b ");
	CHECK(line != NULL && sscanf(strrchr(line, ':'), ":%u", &other) == 1);
	a = client();
	b = rawsock_connect(other, NULL);
	CHECK(rawsock_upgrade(b, "/p", "") == 101);
	CHECK(bind_session(a, 1) && answers(a));
	CHECK(bind_session(b, 1) && answers(b));
	for (int i = 0; i < 2; i++) { /* max_per_address */
		c[i] = rawsock_connect(i == 0 ? d.port : other, NULL);
		CHECK(rawsock_ended(c[i], SOON_MS));
		close(c[i]);
	}
	c[0] = rawsock_connect(other, "127.0.0.2"); /* the third: max_connections */
	CHECK(rawsock_upgrade(c[0], "/p", "") == 101);
	CHECK(bind_session(c[0], 1) && rawsock_ended(c[0], SOON_MS)); /* max_sessions_total */
	close(c[0]);
	c[0] = rawsock_connect(other, "127.0.0.2");
	CHECK(rawsock_upgrade(c[0], "/p", "") == 101 && answers(c[0]));
	c[1] = rawsock_connect(d.port, "127.0.0.3");
	CHECK(rawsock_send(c[1], "GET / HTTP/1.0\r\n\r\n", 18));
	CHECK(!rawsock_ended(c[1], A_WHILE_MS));
	close(b);
	CHECK_U64(rawsock_status(c[1]), 400);
	close(a), close(c[0]), close(c[1]);
	CHECK(daemon_stop(&d));
}

TEST(handshakes_of_all_listeners)
{
	unsigned other = 0;
	const char *line;
	int idle[2], good;

	START("max_handshakes = 2\n[listener b]\naddress = 127.0.0.1:0\n");
	line = daemon_logged(&d, "event=listener name=b ");
	CHECK(line != NULL && sscanf(strrchr(line, ':'), ":%u", &other) == 1);
	idle[0] = rawsock_connect(d.port, NULL);
	idle[1] = rawsock_connect(other, NULL);
	good = rawsock_connect(other, NULL);
	CHECK(rawsock_send(good, "GET / HTTP/1.0\r\n\r\n", 18));
	CHECK(!rawsock_ended(good, A_WHILE_MS));
	close(idle[0]);
	CHECK_U64(rawsock_status(good), 400);
	close(idle[1]), close(good);
	CHECK(daemon_stop(&d));
}

/* ---- messages ---- */

/* A message of exactly len bytes that is read whole is answered with an error, since nobody knows it; a longer one is not read. */
TEST(message_size)
{
	static char body[65537];

	START("max_message = 64KiB\n");
	for (size_t len = 65535; len <= 65537; len++) {
		int fd = client();

		(void)rawsock_message(fd, "nonsense", body, len - strlen("nonsense\n"), 0);
		CHECK(rawsock_await(fd, "error 102 ") == (len <= 65536));
		CHECK(rawsock_ended(fd, SOON_MS));
		close(fd);
	}
	CHECK(daemon_stop(&d));
}

/* An UPLOAD without entries but with so many bytes of zeros, as a zlib stream; whatever else is wrong with it, PROTO_MSG_LIMIT comes first. */
static enum proto_err
parse_zeros(size_t plain_len, uint64_t max_inflated, uint64_t max_ratio, size_t *z_len)
{
	uint8_t *plain = calloc(1, plain_len), *z = malloc(compressBound(plain_len));
	struct message m = { .type = MSG_C_UPLOAD };
	struct upload *u = NULL;
	uLongf len = compressBound(plain_len);
	enum proto_err err;

	compress2(z, &len, plain, plain_len, 9);
	m.upload.is_compressed = true;
	m.upload.uncompressed_size = plain_len;
	m.upload.compressed_size = len;
	*z_len = len;
	err = upload_parse(&m, (struct view){ z, len }, NULL, max_inflated, max_ratio, 0, &u);
	upload_unref(u);
	free(plain);
	free(z);
	return err;
}

TEST(inflated_size)
{
	size_t z_len;

	CHECK(parse_zeros(99999, 100000, 1032, &z_len) != PROTO_MSG_LIMIT);
	CHECK(parse_zeros(100000, 100000, 1032, &z_len) != PROTO_MSG_LIMIT);
	CHECK_U64(parse_zeros(100001, 100000, 1032, &z_len), PROTO_MSG_LIMIT);
}

TEST(inflated_ratio)
{
	size_t z_len, ratio;

	CHECK(parse_zeros(100000, 1000000, 1032, &z_len) != PROTO_MSG_LIMIT);
	ratio = 100000 / z_len; /* rounded down: it does not hold */
	CHECK(100000 % z_len != 0);
	CHECK(parse_zeros(100000, 1000000, ratio + 2, &z_len) != PROTO_MSG_LIMIT);
	CHECK(parse_zeros(100000, 1000000, ratio + 1, &z_len) != PROTO_MSG_LIMIT);
	CHECK_U64(parse_zeros(100000, 1000000, ratio, &z_len), PROTO_MSG_LIMIT);
}

TEST(sessions_on_a_connection)
{
	int fd;

	START("max_sessions = 2\n");
	fd = client();
	CHECK(bind_session(fd, 1) && answers(fd));
	CHECK(bind_session(fd, 2) && answers(fd));
	CHECK(bind_session(fd, 3) && rawsock_ended(fd, SOON_MS));
	CHECK(daemon_logged(&d, "reason=\"too many sessions on one connection\"") != NULL);
	close(fd);
	CHECK(daemon_stop(&d));
}

TEST(sessions_in_all)
{
	int a, b;

	START("max_sessions_total = 3\n");
	a = client();
	b = client();
	CHECK(bind_session(a, 1) && answers(a));
	CHECK(bind_session(a, 2) && answers(a));
	CHECK(bind_session(b, 1) && answers(b));
	CHECK(bind_session(b, 2) && rawsock_ended(b, SOON_MS));
	CHECK(daemon_logged(&d, "reason=\"too many sessions in all\"") != NULL);
	CHECK(answers(a));
	close(a), close(b);
	CHECK(daemon_stop(&d));
}

/* ---- bytes that are held ---- */

/* Sends len bytes of a message that is one byte longer. */
static bool
hold(int fd, size_t len)
{
	static char zeros[200000];

	return rawsock_message(fd, "nonsense", zeros, len - strlen("nonsense\n"), len + 1);
}

TEST(bytes_held_for_a_connection)
{
	static const size_t size[3] = { 65535, 65536, 65537 };

	START("max_queued_connection = 64KiB\n");
	for (int i = 0; i < 3; i++) {
		int fd = client();

		(void)hold(fd, size[i]);
		CHECK(rawsock_ended(fd, size[i] <= 65536 ? A_WHILE_MS : SOON_MS) == (size[i] > 65536));
		if (size[i] < 65536) /* and with the last byte it is just full */
			CHECK(rawsock_send(fd, "", 1) && rawsock_await(fd, "error 102 "));
		close(fd);
	}
	CHECK(daemon_logged(&d, "reason=\"more than max_queued_connection is held for this client\"") != NULL);
	CHECK(daemon_stop(&d));
}

TEST(bytes_held_in_all)
{
	int a, b, c;

	START("max_queued = 200000\n");
	a = client();
	b = client();
	c = client();
	CHECK(hold(a, 79999) && hold(b, 119999)); /* at: room for a last byte is held, too */
	CHECK(!rawsock_ended(a, A_WHILE_MS) && !rawsock_ended(b, 0));
	CHECK(hold(c, 5000)); /* above: whoever holds most makes room */
	CHECK(rawsock_ended(b, SOON_MS));
	CHECK(!rawsock_ended(a, A_WHILE_MS) && !rawsock_ended(c, 0));
	CHECK(daemon_count(&d, "reason=\"more than max_queued is held") == 1);
	CHECK(rawsock_send(c, "", 1) && rawsock_await(c, "error 102 "));
	close(a), close(b), close(c);
	CHECK(daemon_stop(&d));
}

/* A client that sends WebSocket pings and does not read the answers is not read either, long before memory is short. */
TEST(pings_without_reading)
{
	static uint8_t pings[131 * 500];
	static const uint8_t mask[4] = { 0 };
	const size_t most = 64u << 20; /* what the kernel takes on the way is a tenth of it */
	int fd, other;
	size_t sent = 0;
	bool taken = true;

	START("out_high = 64KiB\nout_low = 1KiB\n");
	fd = client();
	other = client();
	for (size_t at = 0; at < sizeof pings; at += 131)
		CHECK_U64(ws_format_head(pings + at, WS_CLIENT, true, WS_PING, 125, mask), 6);
	for (; taken && sent < most; sent += sizeof pings) {
		struct timeval limit = { .tv_usec = A_WHILE_MS * 1000 };

		CHECK(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) == 0);
		taken = send(fd, pings, sizeof pings, MSG_NOSIGNAL) == (ssize_t)sizeof pings;
	}
	CHECK(!taken);
	CHECK(answers(other));
	close(fd), close(other);
	CHECK(daemon_stop(&d));
}

/* IDENT of flexible sync, with a query of len bytes. */
static bool
ident_with_query(int fd, unsigned session, size_t len)
{
	static char query[70000];
	char head[64];

	snprintf(head, sizeof head, "ident %u %u 7 0 0 0 0 0 %zu", session, session + 1, len);
	return bind_session(fd, session) && rawsock_message(fd, head, query, len, 0);
}

/* The query of an IDENT is kept for as long as its session lives: it is among what is held for the client. */
TEST(queries_held)
{
	int fd;

	START("max_queued_connection = 64KiB\n");
	fd = rawsock_connect(d.port, NULL);
	CHECK(rawsock_offer(fd, "/p", "com.mongodb.realm-query-sync#14") == 101);
	CHECK(ident_with_query(fd, 1, 30000) && answers(fd));
	CHECK(ident_with_query(fd, 2, 20000) && answers(fd));
	CHECK(ident_with_query(fd, 3, 15000) && answers(fd));
	CHECK(ident_with_query(fd, 4, 1000) && rawsock_ended(fd, SOON_MS));
	CHECK(daemon_logged(&d, "reason=\"more than max_queued_connection is held for this client\"") != NULL);
	close(fd);
	CHECK(daemon_stop(&d));
}

TEST(idle)
{
	int silent, good;

	START("idle_timeout = 1s\n");
	silent = client();
	good = client();
	for (int i = 0; i < 100 && !rawsock_ended(silent, 50); i++)
		CHECK(answers(good));
	CHECK(rawsock_ended(silent, 0));
	CHECK(answers(good));
	CHECK(daemon_logged(&d, "reason=idle") != NULL);
	close(silent), close(good);
	CHECK(daemon_stop(&d));
}
