/* The upgrade against the whole daemon, byte for byte: as a server, what a client or something in front of it may send; as a client, what
 * a server or something in front of it may answer.  protocol/http is tested at every split in test_http.c; here is what the
 * daemon makes of it: one answer, no second one for what was smuggled behind, and nothing of a false answer to any client. */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "protocol/http.h"
#include "protocol/ws.h"

#include "tests/harness.h"
#include "tests/peer/daemon.h"
#include "tests/peer/rawsock.h"
#include "tests/peer/upkit.h"

#define HOST "Host: edge\r\n"
#define CONNECTION "Connection: Upgrade\r\n"
#define UPGRADE "Upgrade: websocket\r\n"
#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define VERSION "Sec-WebSocket-Version: 13\r\n"
#define OFFER "Sec-WebSocket-Protocol: com.mongodb.realm-sync#14\r\n"
#define GET "GET /p HTTP/1.1\r\n"
#define REST CONNECTION UPGRADE KEY VERSION OFFER "\r\n"
#define WHOLE GET HOST REST
#define SOON_MS 10000

static struct daemon d;

/* ---- the daemon as a server ---- */

static const struct {
	const char *request;
	unsigned status;
} requests[] = {
	{ WHOLE, 101 },
	{ GET "host: EDGE:7800\r\nCONNECTION: keep-alive, UPGRADE\r\nupgrade: WebSocket\r\n" KEY VERSION OFFER "\r\n", 101 },
	{ GET HOST "Content-Length: 0\r\n" REST, 101 },
	{ GET HOST "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n" REST, 101 },
	{ GET HOST "Expect: 100-continue\r\n" REST, 101 },
	{ GET HOST "X-Forwarded-For: 1.2.3.4\r\nVia: 1.1 x\r\nCookie: a\r\nCookie: b\r\n" REST, 101 },
	/* methods, versions, targets */
	{ "POST /p HTTP/1.1\r\n" HOST REST, 426 },
	{ "PUT /p HTTP/1.1\r\n" HOST REST, 426 },
	{ "CONNECT edge:443 HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "OPTIONS * HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "TRACE /p HTTP/1.1\r\n" HOST "\r\n", 426 },
	{ "GET /p HTTP/1.0\r\n" HOST REST, 400 },
	{ "GET /p HTTP/0.9\r\n" HOST REST, 400 },
	{ "GET /p HTTP/2.0\r\n" HOST REST, 400 },
	{ "GET /p\r\n\r\n", 400 },
	{ "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400 },
	{ "GET http://other/p HTTP/1.1\r\n" HOST REST, 400 },
	{ "GET //other/p HTTP/1.1\r\n" HOST REST, 101 }, /* a path */
	{ "GET p HTTP/1.1\r\n" HOST REST, 400 },
	{ "GET /p\x01 HTTP/1.1\r\n" HOST REST, 400 },
	{ "GET /p q HTTP/1.1\r\n" HOST REST, 400 },
	{ "GET /p#f HTTP/1.1\r\n" HOST REST, 400 },
	/* key, version, protocol */
	{ GET HOST CONNECTION UPGRADE VERSION OFFER "\r\n", 426 },
	{ GET HOST CONNECTION UPGRADE "Sec-WebSocket-Key: short\r\n" VERSION OFFER "\r\n", 400 },
	{ GET HOST CONNECTION UPGRADE "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ= =\r\n" VERSION OFFER "\r\n", 400 },
	{ GET HOST CONNECTION UPGRADE KEY OFFER "\r\n", 426 },
	{ GET HOST CONNECTION UPGRADE KEY "Sec-WebSocket-Version: 8\r\n" OFFER "\r\n", 426 },
	{ GET HOST CONNECTION UPGRADE KEY "Sec-WebSocket-Version: 013\r\n" OFFER "\r\n", 426 },
	{ GET HOST CONNECTION UPGRADE KEY VERSION "\r\n", 400 },
	{ GET HOST CONNECTION UPGRADE KEY VERSION "Sec-WebSocket-Protocol: chat\r\n\r\n", 400 },
	{ GET HOST UPGRADE KEY VERSION OFFER "\r\n", 426 },
	{ GET HOST CONNECTION "Upgrade: h2c\r\n" KEY VERSION OFFER "\r\n", 426 },
	/* twice */
	{ GET HOST HOST REST, 400 },
	{ GET HOST "Host: other\r\n" REST, 400 },
	{ GET HOST KEY REST, 400 },
	{ GET HOST VERSION REST, 400 },
	{ GET HOST "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n" REST, 400 },
	/* where two readers would see two requests */
	{ GET HOST "Content-Length: 5\r\n" REST "GET /x", 400 },
	{ GET HOST "Content-Length: 0\r\nContent-Length: 5\r\n" REST, 400 },
	{ GET HOST "Content-Length: 0, 5\r\n" REST, 400 },
	{ GET HOST "Content-Length: +5\r\n" REST, 400 },
	{ GET HOST "Content-Length: 0x5\r\n" REST, 400 },
	{ GET HOST "Content-Length: 18446744073709551616\r\n" REST, 400 },
	{ GET HOST "Transfer-Encoding: chunked\r\n" REST "0\r\n\r\n" WHOLE, 400 },
	{ GET HOST "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n" REST "0\r\n\r\n", 400 },
	{ GET HOST "Transfer-Encoding: xchunked\r\n" REST, 400 },
	{ GET HOST "Transfer-Encoding : chunked\r\n" REST, 400 },
	{ GET HOST "Transfer-Encoding:\x0b" "chunked\r\n" REST, 400 },
	{ GET HOST "X: a\r\n Transfer-Encoding: chunked\r\n" REST, 400 },
	{ GET "Host : edge\r\n" REST, 400 },
	{ GET "\x20" HOST REST, 400 },
	{ GET HOST "X: a\r\n\tb\r\n" REST, 400 },
	{ GET HOST "X: a\nY: b\r\n" REST, 400 },
	{ GET HOST "X: a\rY: b\r\n" REST, 400 },
	{ "GET /p HTTP/1.1\n" HOST REST, 400 },
	{ GET HOST CONNECTION UPGRADE KEY VERSION OFFER "\n", 400 },
	{ "\r\n" WHOLE, 400 },
	{ GET HOST ": nothing\r\n" REST, 400 },
	{ GET HOST "no colon\r\n" REST, 400 },
	{ GET "Host: edge, other\r\n" REST, 400 },
	{ GET "Host: user@edge\r\n" REST, 400 },
	{ GET REST, 400 },
	/* another protocol */
	{ "\x16\x03\x01\x02\x01\x01", 400 },
	{ "SSH-2.0-OpenSSH_9.2\r\n", 400 },
	{ "*1\r\n$4\r\nPING\r\n", 400 },
};

/* The link is DOWN, so that answers come from the daemon itself. */
static bool
start_alone(void)
{
	return daemon_start(&d, harness_tmpdir(), "offline_admit = any\n[upstream]\nurl = ws://127.0.0.1:1\n") &&
	       daemon_logged(&d, "state=down") != NULL;
}

TEST(requests)
{
	if (!daemon_is_built())
		SKIP("the daemon is not built");
	CHECK(start_alone());
	for (size_t i = 0; i < sizeof requests / sizeof requests[0] && !harness_failed(); i++) {
		const char *r = requests[i].request;
		int fd = rawsock_connect(d.port, NULL);

		(void)rawsock_send(fd, r, strlen(r));
		CHECK_U64(rawsock_status(fd), requests[i].status);
		if (requests[i].status != 101) /* and never a second one */
			CHECK_U64(rawsock_status(fd), 0);
		if (harness_failed())
			printf("# row %zu: %s\n", i, r);
		close(fd);
	}
	CHECK(daemon_stop(&d));
}

/* A NUL, which no row can hold: in each place of the whole request, once. */
TEST(nul_anywhere)
{
	char copy[] = WHOLE;

	if (!daemon_is_built())
		SKIP("the daemon is not built");
	CHECK(start_alone());
	for (size_t at = 0; at < strlen(WHOLE) && !harness_failed(); at++) {
		int fd = rawsock_connect(d.port, NULL);

		copy[at] = '\0';
		(void)rawsock_send(fd, copy, sizeof copy - 1);
		CHECK_U64(rawsock_status(fd), 400);
		copy[at] = WHOLE[at];
		close(fd);
	}
	CHECK(daemon_stop(&d));
}

/* Frames that come with the head, in one piece and cut anywhere, wait for the 101 and are then answered. */
TEST(frames_behind_the_head)
{
	char all[sizeof WHOLE + 32];
	static const uint8_t mask[4] = { 0 };
	size_t head = strlen(WHOLE), len;

	if (!daemon_is_built())
		SKIP("the daemon is not built");
	CHECK(start_alone());
	memcpy(all, WHOLE, head);
	len = head + ws_format_head((uint8_t *)all + head, WS_CLIENT, true, WS_BINARY, 9, mask);
	memcpy(all + len, "ping 7 0\n", 9);
	len += 9;
	for (size_t cut = head - 2; cut <= len && !harness_failed(); cut++) {
		int fd = rawsock_connect(d.port, NULL);

		CHECK(rawsock_send(fd, all, cut) && rawsock_send(fd, all + cut, len - cut));
		CHECK_U64(rawsock_status(fd), 101);
		CHECK(rawsock_await(fd, "pong 7"));
		close(fd);
	}
	CHECK(daemon_stop(&d));
}

/* ---- the daemon as a client ---- */

/* Escapes are those of the stand-in's command "raw". */
#define A101 "HTTP/1.1 101 Switching Protocols\\r\\n"
#define A_UPGRADE "Upgrade: websocket\\r\\n"
#define A_CONNECTION "Connection: Upgrade\\r\\n"
#define A_ACCEPT "Sec-WebSocket-Accept: %A\\r\\n"
#define A_PROTOCOL "Sec-WebSocket-Protocol: com.mongodb.realm-sync#14\\r\\n"
#define A_REST A_CONNECTION A_UPGRADE A_ACCEPT A_PROTOCOL "\\r\\n"
#define HELLO "\\x82\\x12log_message 0 2\\n{}"

static const struct {
	const char *answer;
	bool taken;
} answers[] = {
	{ A101 A_REST HELLO, true },
	{ "HTTP/1.1 101 \\r\\nSERVER: x\\r\\nconnection: x, upgrade\\r\\nupgrade: WebSocket\\r\\n" A_ACCEPT A_PROTOCOL "\\r\\n" HELLO, true },
	{ A101 "Content-Length: 0\\r\\n" A_REST HELLO, true },
	/* not for us, or not of this protocol */
	{ A101 A_CONNECTION A_UPGRADE A_PROTOCOL "\\r\\n", false },
	{ A101 A_CONNECTION A_UPGRADE "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\\r\\n" A_PROTOCOL "\\r\\n", false },
	{ A101 A_CONNECTION A_UPGRADE "Sec-WebSocket-Accept: %Ax\\r\\n" A_PROTOCOL "\\r\\n", false },
	{ A101 A_CONNECTION A_UPGRADE A_ACCEPT "\\r\\n", false },
	{ A101 A_CONNECTION A_UPGRADE A_ACCEPT "Sec-WebSocket-Protocol: chat\\r\\n\\r\\n", false },
	{ A101 A_CONNECTION A_UPGRADE A_ACCEPT "Sec-WebSocket-Protocol: com.mongodb.realm-query-sync#14\\r\\n\\r\\n", false },
	{ A101 A_CONNECTION A_UPGRADE A_ACCEPT "Sec-WebSocket-Protocol: com.mongodb.realm-sync#13\\r\\n\\r\\n", false },
	{ A101 A_CONNECTION A_UPGRADE A_ACCEPT "Sec-WebSocket-Protocol: com.mongodb.realm-sync#14, x\\r\\n\\r\\n", false },
	{ A101 "Sec-WebSocket-Extensions: permessage-deflate\\r\\n" A_REST, false },
	{ A101 A_UPGRADE A_ACCEPT A_PROTOCOL "\\r\\n", false },
	{ A101 A_CONNECTION A_ACCEPT A_PROTOCOL "\\r\\n", false },
	{ A101 A_CONNECTION "Upgrade: h2c\\r\\n" A_ACCEPT A_PROTOCOL "\\r\\n", false },
	/* twice, folded, bare, NUL, with a body */
	{ A101 A_ACCEPT A_REST, false },
	{ A101 A_PROTOCOL A_REST, false },
	{ A101 "X: a\\r\\n b\\r\\n" A_REST, false },
	{ A101 "X: a\\nY: b\\r\\n" A_REST, false },
	{ A101 "X: a\\x00\\r\\n" A_REST, false },
	{ A101 "X : a\\r\\n" A_REST, false },
	{ "HTTP/1.1 101 Switching\\n" A_REST, false },
	{ A101 "Content-Length: 5\\r\\n" A_REST "hello", false },
	{ A101 "Transfer-Encoding: chunked\\r\\n" A_REST "0\\r\\n\\r\\n", false },
	{ "HTTP/1.0 101 Switching\\r\\n" A_REST, false },
	{ "HTTP/2 101\\r\\n\\r\\n", false },
	{ "HTTP/1.1 100 Continue\\r\\n\\r\\n" A101 A_REST, false },
	{ "HTTP/1.1 200 OK\\r\\nContent-Length: 6\\r\\n\\r\\n<html>", false },
	{ "<html>welcome</html>", false },
	{ "\\x15\\x03\\x01\\x00\\x02\\x02\\x46", false },
	{ "\\r\\n", false },
};

static bool
rest(unsigned ms)
{
	struct timespec ts = { .tv_nsec = (long)ms * 1000000 };

	return nanosleep(&ts, NULL) == 0;
}

/* A client that is let in at last: the link is UP. */
static bool
let_in(void)
{
	for (int i = 0; i < SOON_MS / 20 && rest(20); i++) {
		int fd = rawsock_connect(d.port, NULL);
		unsigned status = rawsock_upgrade(fd, "/realm-sync", "");

		close(fd);
		if (status == 101)
			return true;
	}
	return false;
}

static void
check_answer(struct upkit *k, size_t i)
{
	int fd;

	CHECK_STR(child_ask(k->up, "raw %s", answers[i].answer), "ok");
	fd = rawsock_connect(d.port, NULL);
	CHECK_U64(rawsock_upgrade(fd, "/realm-sync", ""), answers[i].taken ? 101 : 503);
	if (answers[i].taken)
		CHECK(rawsock_await(fd, "log_message 0 2\n{}"));
	close(fd);
	CHECK_STR(child_ask(k->up, "raw off"), "ok");
	CHECK(let_in());
}

/* Nobody is admitted while the link is DOWN, so a client that is answered 101 got that from upstream. */
TEST(answers)
{
	static const char *const no_args[] = { NULL };
	char config[300];
	struct upkit k;

	if (!daemon_is_built())
		SKIP("the daemon is not built");
	CHECK(upkit_start(&k, no_args));
	snprintf(config, sizeof config,
		 "offline_admit = none\n[upstream]\nurl = ws://127.0.0.1:%u\nprobe_interval = 20ms\nbackoff_min = 20ms\nbackoff_max = 50ms\n"
		 "connect_timeout = 2s\n", k.port);
	CHECK(daemon_start(&d, harness_tmpdir(), config));
	CHECK(let_in());
	for (size_t i = 0; i < sizeof answers / sizeof answers[0] && !harness_failed(); i++) {
		check_answer(&k, i);
		if (harness_failed())
			printf("# row %zu: %s\n", i, answers[i].answer);
	}
	CHECK(daemon_stop(&d));
	CHECK(upkit_stop(&k));
}
