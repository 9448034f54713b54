/* Bytes against the daemon; see rawsock.h.
 *
 * For: unit tests of limits and attacks.  Never: keeps state; a frame is read or written whole by one call. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "protocol/ws.h"
#include "tests/peer/rawsock.h"

#define DEADLINE_S 10

int
rawsock_connect(unsigned port, const char *from)
{
	struct sockaddr_in sa = { .sin_family = AF_INET }, own = { .sin_family = AF_INET };
	struct timeval tv = { DEADLINE_S, 0 };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	sa.sin_port = htons((uint16_t)port);
	sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv) == 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv) == 0 &&
	    (from == NULL || (inet_pton(AF_INET, from, &own.sin_addr) == 1 && bind(fd, (struct sockaddr *)&own, sizeof own) == 0)) &&
	    connect(fd, (struct sockaddr *)&sa, sizeof sa) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

bool
rawsock_send(int fd, const void *buf, size_t len)
{
	const char *p = buf;

	while (len > 0) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

static bool
read_all(int fd, void *buf, size_t len)
{
	return recv(fd, buf, len, MSG_WAITALL) == (ssize_t)len;
}

unsigned
rawsock_status(int fd)
{
	char head[16384];
	size_t n = 0;
	unsigned status = 0;

	while (n < sizeof head - 1 && recv(fd, head + n, 1, 0) == 1) {
		head[++n] = '\0';
		if (n >= 4 && memcmp(head + n - 4, "\r\n\r\n", 4) == 0)
			return sscanf(head, "HTTP/1.1 %u", &status) == 1 ? status : 0;
	}
	return 0;
}

static unsigned
upgrade(int fd, const char *target, const char *protocol, const char *headers)
{
	char out[32768];
	int n = snprintf(out, sizeof out,
			 "GET %s HTTP/1.1\r\nHost: edge\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
			 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: %s\r\n%s\r\n",
			 target, protocol, headers);

	return n > 0 && (size_t)n < sizeof out && rawsock_send(fd, out, (size_t)n) ? rawsock_status(fd) : 0;
}

unsigned
rawsock_upgrade(int fd, const char *target, const char *headers)
{
	return upgrade(fd, target, "com.mongodb.realm-sync#14", headers);
}

unsigned
rawsock_offer(int fd, const char *target, const char *protocol)
{
	return upgrade(fd, target, protocol, "");
}

bool
rawsock_message(int fd, const char *head, const void *body, size_t len, uint64_t whole)
{
	uint8_t out[WS_HEAD_MAX], mask[4] = { 0 }; /* a mask of zeros changes nothing */
	size_t head_len = strlen(head), n;

	n = ws_format_head(out, WS_CLIENT, true, WS_BINARY, whole > head_len + 1 + len ? whole : head_len + 1 + len, mask);
	return rawsock_send(fd, out, n) && rawsock_send(fd, head, head_len) && rawsock_send(fd, "\n", 1) && rawsock_send(fd, body, len);
}

/* Reads the payload; what fits of it into text, with a NUL. */
static bool
read_payload(int fd, uint64_t len, char *text, size_t size)
{
	char drop[4096];
	size_t n = len < size - 1 ? (size_t)len : size - 1;

	if (!read_all(fd, text, n))
		return false;
	text[n] = '\0';
	for (len -= n; len > 0; len -= n) {
		n = len < sizeof drop ? (size_t)len : sizeof drop;
		if (!read_all(fd, drop, n))
			return false;
	}
	return true;
}

bool
rawsock_await(int fd, const char *begins)
{
	uint8_t head[2], more[8];
	char text[512];

	while (read_all(fd, head, 2)) {
		uint64_t len = head[1] & 0x7f;
		size_t n = len == 126 ? 2 : len == 127 ? 8 : 0;

		if (n > 0 && !read_all(fd, more, n))
			return false;
		for (size_t i = 0; i < n; i++)
			len = (i == 0 ? 0 : len << 8) | more[i];
		if (!read_payload(fd, len, text, sizeof text))
			return false;
		if ((head[0] & 0x0f) == WS_BINARY && strncmp(text, begins, strlen(begins)) == 0)
			return true;
	}
	return false;
}

bool
rawsock_ended(int fd, unsigned ms)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	struct timespec t;
	long long end, now;
	char drop[4096];

	clock_gettime(CLOCK_MONOTONIC, &t);
	end = (long long)t.tv_sec * 1000 + t.tv_nsec / 1000000 + ms;
	for (now = end - ms; now <= end; now = (long long)t.tv_sec * 1000 + t.tv_nsec / 1000000) {
		if (poll(&pfd, 1, (int)(end - now)) == 1) {
			ssize_t n = recv(fd, drop, sizeof drop, MSG_DONTWAIT);

			if (n == 0 || (n < 0 && errno != EAGAIN))
				return true;
		}
		clock_gettime(CLOCK_MONOTONIC, &t);
	}
	return false;
}
