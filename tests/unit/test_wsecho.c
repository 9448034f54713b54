/* RFC 6455 cases against tests/wsecho, which is the daemon's stream and WebSocket code: as server and, where the role matters, as client.
 *
 * A case is a row: what is sent, as a list of frames in a small language, and what must come back, in the same language.
 *
 *	F OP LEN	a whole frame, OP in hexadecimal (with FIN and reserved bits: 81 is text, 82 binary, 89 ping), LEN bytes of 'a'
 *	X HEX		bytes as they are, no frame about them; role server: HEX is unmasked
 *
 * What comes back is told as "OP LEN" for each frame, "88 CODE" for a close, then "end" when TCP ends. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <sys/socket.h>

#include "protocol/ws.h"

#include "tests/harness.h"
#include "tests/peer/child.h"
#include "tests/peer/rawsock.h"

#define BIG 200000
#define OUT_MAX 400000

static const struct frame_case {
	const char *name, *sent, *back;
} cases[] = {
	/* sizes, with every form of length (5.2) */
	{ "text 0", "F 81 0", "81 0" }, { "binary 0", "F 82 0", "82 0" }, { "text 1", "F 81 1", "81 1" },
	{ "125", "F 82 125", "82 125" }, { "126", "F 82 126", "82 126" }, { "127", "F 82 127", "82 127" },
	{ "65535", "F 82 65535", "82 65535" }, { "65536", "F 82 65536", "82 65536" }, { "65537", "F 81 65537", "81 65537" },
	{ "2^63", "X 82ff8000000000000000", "88 1002 end" }, { "2^63-1", "X 82ff7fffffffffffffff", "88 1009 end" },
	{ "2^64-1", "X 82ffffffffffffffffff", "88 1002 end" }, { "126 in the long form", "X 82ff000000000000007e", "88 1002 end" },
	{ "125 in the middle form", "X 82fe007d", "88 1002 end" }, { "65535 in the long form", "X 82ff000000000000ffff", "88 1002 end" },
	/* control frames (5.5) */
	{ "ping 0", "F 89 0", "8a 0" }, { "ping 125", "F 89 125", "8a 125" }, { "ping 126", "F 89 126", "88 1002 end" },
	{ "pong is not answered", "F 8a 5 F 82 3", "82 3" }, { "pings", "F 89 1 F 89 2 F 89 3", "8a 1 8a 2 8a 3" },
	{ "fragmented ping", "F 09 1", "88 1002 end" }, { "fragmented close", "X 088203e8", "88 1002 end" },
	{ "ping inside a message", "F 01 3 F 89 2 F 80 4", "8a 2 81 7" },
	/* reserved bits and opcodes (5.2) */
	{ "RSV1", "F c1 1", "88 1002 end" }, { "RSV2", "F a1 1", "88 1002 end" }, { "RSV3", "F 91 1", "88 1002 end" },
	{ "RSV1 of a ping", "F c9 0", "88 1002 end" }, { "RSV2 of a close", "F a8 0", "88 1002 end" },
	{ "opcode 3", "F 83 1", "88 1002 end" }, { "opcode 4", "F 84 1", "88 1002 end" }, { "opcode 5", "F 85 1", "88 1002 end" },
	{ "opcode 6", "F 86 1", "88 1002 end" }, { "opcode 7", "F 87 1", "88 1002 end" }, { "opcode b", "F 8b 1", "88 1002 end" },
	{ "opcode c", "F 8c 1", "88 1002 end" }, { "opcode d", "F 8d 1", "88 1002 end" }, { "opcode e", "F 8e 1", "88 1002 end" },
	{ "opcode f", "F 8f 1", "88 1002 end" },
	/* fragmentation (5.4) */
	{ "two fragments", "F 01 10 F 80 20", "81 30" }, { "three", "F 02 1 F 00 1 F 80 1", "82 3" },
	{ "empty fragments", "F 02 0 F 00 0 F 80 0", "82 0" }, { "large ones", "F 02 65535 F 80 65536", "82 131071" },
	{ "continuation first", "F 80 1", "88 1002 end" }, { "unfinished continuation first", "F 00 1", "88 1002 end" },
	{ "text inside a message", "F 01 1 F 81 1", "88 1002 end" }, { "another beginning", "F 01 1 F 02 1", "88 1002 end" },
	{ "continuation after the end", "F 01 1 F 80 1 F 80 1", "81 2 88 1002 end" },
	/* text (8.1) */
	{ "not UTF-8", "X 8181ff", "88 1007 end" }, { "overlong", "X 8182c080", "88 1007 end" },
	{ "surrogate", "X 8183eda080", "88 1007 end" }, { "over U+10FFFF", "X 8184f4908080", "88 1007 end" },
	{ "cut in a character", "X 8182e282", "88 1007 end" }, { "a character in two fragments", "X 0182e282 X 8081ac", "81 3" },
	{ "binary need not be", "X 8281ff", "82 1" },
	/* closes (5.5.1, 7.4) */
	{ "close", "X 888203e8", "88 1000 end" }, { "close without a code", "X 8880", "88 0 end" },
	{ "close of one byte", "X 888103", "88 1002 end" }, { "close with a reason", "X 888503e9627965", "88 1001 end" },
	{ "reason that is not UTF-8", "X 888303e8ff", "88 1002 end" }, { "code 999", "X 888203e7", "88 1002 end" },
	{ "code 1004", "X 888203ec", "88 1002 end" }, { "code 1005", "X 888203ed", "88 1002 end" }, { "code 1006", "X 888203ee", "88 1002 end" },
	{ "code 1007", "X 888203ef", "88 1007 end" }, { "code 1014", "X 888203f6", "88 1014 end" }, { "code 1015", "X 888203f7", "88 1002 end" },
	{ "code 1016", "X 888203f8", "88 1002 end" }, { "code 2999", "X 88820bb7", "88 1002 end" }, { "code 3000", "X 88820bb8", "88 3000 end" },
	{ "code 4999", "X 88821387", "88 4999 end" }, { "code 5000", "X 88821388", "88 1002 end" },
	{ "nothing after a close", "X 888203e8 F 82 1", "88 1000 end" }, { "a message, then close", "F 82 2 X 888203e8", "82 2 88 1000 end" },
	{ "126 of a close", "F 88 126", "88 1002 end" },
};

/* ---- what is sent ---- */

struct bytes {
	uint8_t data[OUT_MAX];
	size_t len;
};

static void
put_masked(struct bytes *b, const uint8_t *p, size_t len)
{
	static const uint8_t key[4] = { 0x12, 0x34, 0x56, 0x78 };

	memcpy(b->data + b->len, p, len);
	ws_mask(b->data + b->len, len, key, 0);
	b->len += len;
}

/* A frame of len bytes of payload; to a server it is masked. */
static void
put_frame(struct bytes *b, bool to_server, unsigned first, const uint8_t *payload, size_t len)
{
	static const uint8_t key[4] = { 0x12, 0x34, 0x56, 0x78 };
	size_t at = b->len;

	b->len += ws_format_head(b->data + at, to_server ? WS_CLIENT : WS_SERVER, true, WS_BINARY, len, key);
	b->data[at] = (uint8_t)first;
	if (to_server) {
		put_masked(b, payload, len);
	} else {
		memcpy(b->data + b->len, payload, len);
		b->len += len;
	}
}

/* Two bytes of head as if masked, then what follows them: a short frame is made right for the role, a longer head is left as it is. */
static void
put_hex(struct bytes *b, bool to_server, const char *hex)
{
	uint8_t raw[32];
	size_t n = 0;

	for (; hex[0] != '\0' && hex[0] != ' '; hex += 2) {
		unsigned byte;

		sscanf(hex, "%2x", &byte);
		raw[n++] = (uint8_t)byte;
	}
	if ((raw[1] & 0x7f) < 126) {
		put_frame(b, to_server, raw[0], raw + 2, n - 2);
		return;
	}
	if (!to_server)
		raw[1] &= 0x7f;
	memcpy(b->data + b->len, raw, n);
	b->len += n;
	if (to_server) /* the key */
		b->len += 4;
}

static void
make(struct bytes *b, bool to_server, const char *sent)
{
	static uint8_t payload[BIG];
	unsigned first;
	size_t len;

	memset(payload, 'a', sizeof payload);
	memset(b, 0, sizeof *b);
	for (const char *p = sent; p != NULL; p = strpbrk(p + 1, "FX")) {
		if (*p == 'X')
			put_hex(b, to_server, p + 2);
		else if (sscanf(p, "F %x %zu", &first, &len) == 2)
			put_frame(b, to_server, first, payload, len);
	}
}

/* ---- what comes back ---- */

static bool
take(int fd, void *buf, size_t len)
{
	return len == 0 || recv(fd, buf, len, MSG_WAITALL) == (ssize_t)len;
}

/* Tells the next frame, or "end", behind text; false after the end.  masked: as frames of a client must be. */
static bool
tell_frame(int fd, bool masked, char *text, size_t size)
{
	static uint8_t payload[OUT_MAX];
	uint8_t head[2], more[8], key[4] = { 0 };
	size_t at = strlen(text), n;
	uint64_t len;

	if (at > 0)
		at += (size_t)snprintf(text + at, size - at, " ");
	if (!take(fd, head, 2)) {
		snprintf(text + at, size - at, "end");
		return false;
	}
	len = head[1] & 0x7f;
	n = len == 126 ? 2 : len == 127 ? 8 : 0;
	if ((head[1] & 0x80) != (masked ? 0x80 : 0) || !take(fd, more, n)) {
		snprintf(text + at, size - at, "bad mask");
		return false;
	}
	for (size_t i = 0; i < n; i++)
		len = (i == 0 ? 0 : len << 8) | more[i];
	if (len > sizeof payload || !take(fd, key, masked ? 4 : 0) || !take(fd, payload, (size_t)len)) {
		snprintf(text + at, size - at, "cut");
		return false;
	}
	ws_mask(payload, (size_t)len, key, 0);
	if ((head[0] & 0x0f) == WS_CLOSE && len >= 2)
		len = (uint64_t)payload[0] << 8 | payload[1];
	snprintf(text + at, size - at, "%02x %llu", head[0], (unsigned long long)len);
	return true;
}

static void
judge(int fd, bool to_server, const struct frame_case *k, size_t step)
{
	static struct bytes b;
	char text[256] = "";

	make(&b, to_server, k->sent);
	for (size_t at = 0; at < b.len; at += step)
		if (!rawsock_send(fd, b.data + at, b.len - at < step ? b.len - at : step))
			break; /* it has failed the connection already */
	do {
		if (!tell_frame(fd, !to_server, text, sizeof text))
			break;
	} while (strlen(text) < strlen(k->back));
	if (strcmp(text, k->back) != 0)
		harness_fail(__FILE__, __LINE__, "%s, in pieces of %zu: got %s, want %s", k->name, step, text, k->back);
}

/* ---- both roles ---- */

TEST(as_server)
{
	const char *const none[] = { NULL }, *line;
	struct child *c = child_start("wsecho", none);
	unsigned port = 0;

	if (c == NULL)
		SKIP("wsecho is not built");
	line = child_line(c);
	CHECK(line != NULL && sscanf(line, "port %u", &port) == 1);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		static const size_t steps[] = { SIZE_MAX / 2, 1, 7 };

		for (size_t s = 0; s < (strlen(cases[i].sent) > 30 || strstr(cases[i].sent, " 65") != NULL ? 1 : 3); s++) {
			int fd = rawsock_connect(port, NULL);

			CHECK_U64(rawsock_upgrade(fd, "/", ""), 101);
			judge(fd, true, &cases[i], steps[s]);
			close(fd);
		}
	}
	CHECK(child_stop(c));
}

TEST(unmasked_frames_of_a_client)
{
	static const uint8_t frame[] = { 0x82, 1, 'a' };
	const char *const none[] = { NULL };
	struct child *c = child_start("wsecho", none);
	char text[64] = "";
	unsigned port = 0;
	int fd;

	if (c == NULL)
		SKIP("wsecho is not built");
	CHECK(sscanf(child_line(c), "port %u", &port) == 1);
	fd = rawsock_connect(port, NULL);
	CHECK_U64(rawsock_upgrade(fd, "/", ""), 101);
	CHECK(rawsock_send(fd, frame, sizeof frame));
	while (tell_frame(fd, false, text, sizeof text))
		;
	CHECK_STR(text, "88 1002 end");
	close(fd);
	CHECK(child_stop(c));
}

/* Takes the connection of a wsecho that was started as client, and answers its upgrade. */
static int
take_client(int lfd)
{
	static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
	struct pollfd pfd = { .fd = lfd, .events = POLLIN };
	int fd = poll(&pfd, 1, 10000) == 1 ? accept(lfd, NULL, NULL) : -1;
	char head[4096], key[128], out[512], *at;
	unsigned char digest[20], accept_key[32];
	size_t n = 0;

	while (n < sizeof head - 1 && recv(fd, head + n, 1, 0) == 1) {
		head[++n] = '\0';
		if (n >= 4 && memcmp(head + n - 4, "\r\n\r\n", 4) == 0)
			break;
	}
	at = strstr(head, "Sec-WebSocket-Key: ");
	if (fd < 0 || at == NULL)
		return -1;
	snprintf(key, sizeof key, "%.24s%s", at + strlen("Sec-WebSocket-Key: "), guid);
	EVP_Digest(key, strlen(key), digest, NULL, EVP_sha1(), NULL);
	EVP_EncodeBlock(accept_key, digest, sizeof digest);
	snprintf(out, sizeof out, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		 (const char *)accept_key);
	return rawsock_send(fd, out, strlen(out)) ? fd : -1;
}

/* Listens for one; false if it cannot. */
static bool
listen_here(int *lfd, char address[64])
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof sa;

	*lfd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(*lfd, (struct sockaddr *)&sa, len) != 0 || listen(*lfd, 4) != 0 || getsockname(*lfd, (struct sockaddr *)&sa, &len) != 0)
		return false;
	snprintf(address, 64, "127.0.0.1:%u", ntohs(sa.sin_port));
	return true;
}

TEST(masked_frames_of_a_server)
{
	static const uint8_t frame[] = { 0x82, 0x81, 1, 2, 3, 4, 'a' ^ 1 };
	char address[64], text[64] = "";
	const char *const args[] = { address, "/", NULL };
	struct timeval tv = { 10, 0 };
	struct child *c;
	int lfd, fd;

	CHECK(listen_here(&lfd, address));
	c = child_start("wsecho", args);
	if (c == NULL)
		SKIP("wsecho is not built");
	fd = take_client(lfd);
	CHECK(fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv) == 0);
	CHECK(rawsock_send(fd, frame, sizeof frame));
	while (tell_frame(fd, true, text, sizeof text))
		;
	CHECK_STR(text, "88 1002 end");
	close(fd), close(lfd);
	CHECK(child_stop(c));
}

TEST(as_client)
{
	struct timeval tv = { 10, 0 };
	char address[64];
	const char *const args[] = { address, "/run?case=1", NULL };
	int lfd;

	CHECK(listen_here(&lfd, address));
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct child *c = child_start("wsecho", args);
		int fd;

		if (c == NULL)
			SKIP("wsecho is not built");
		fd = take_client(lfd);
		CHECK(fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv) == 0);
		judge(fd, false, &cases[i], SIZE_MAX / 2);
		close(fd);
		CHECK(child_stop(c));
	}
	close(lfd);
}
