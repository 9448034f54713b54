/* wsecho - a WebSocket echo made of the daemon's own streams and codec (relay/stream, protocol/ws, protocol/http), as server and as client,
 * for conformance suites: tests/unit/test_wsecho drives it, and so can an outside one.
 *
 *	wsecho				listens on a free port of 127.0.0.1, says "port N", ends at the end of its input or by "quit"
 *	wsecho ADDRESS:PORT TARGET	connects, echoes until the connection ends, says "ended: WHY"
 *
 * It sends back each message as one frame of the same type, answers pings and closes, and fails a connection with 1002 (protocol), 1007 (text
 * that is not UTF-8) or 1009 (over MESSAGE_MAX). The daemon refuses text at its beginning; that is the one thing that it adds to what runs there.
 *
 * From outside, the cases of crossbario's autobahn-testsuite 25.10.1 but those of compression, which is never agreed to: of 301, in either
 * role, 294 OK, 4 "non-strict" (6.4.x: text is judged when it is whole), 3 for information only, none failed.
 *
 * One idea: struct echo is one connection; everything is in its stream callback. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "protocol/http.h"
#include "protocol/ws.h"

#include "relay/address.h"
#include "relay/stream.h"
#include "relay/tls.h"
#include "relay/wire.h"

#define MESSAGE_MAX (32u << 20)
#define LINGER_MS 2000
#define CODE_PROTOCOL 1002 /* RFC 6455 7.4.1 */
#define CODE_NOT_UTF8 1007
#define CODE_TOO_BIG 1009

struct echo {
	LIST_ENTRY(echo) link;
	struct stream *s;
	enum ws_role role;
	bool open;
	struct ws_decoder ws;
	enum ws_opcode opcode;
	uint8_t *msg;
	size_t len, cap;
	char key[25], accept[29]; /* client */
	const char *target;
};

static struct event_base *base;
static LIST_HEAD(, echo) all = LIST_HEAD_INITIALIZER(all);

static void
end(struct echo *e, const char *why)
{
	if (e->role == WS_CLIENT)
		printf("ended: %s\n", why);
	stream_close(e->s, true, LINGER_MS);
	LIST_REMOVE(e, link);
	free(e->msg);
	free(e);
}

static void
fail(struct echo *e, uint16_t code)
{
	uint8_t payload[WS_CONTROL_MAX];

	wire_control(e->s, e->role, WS_CLOSE, payload, ws_format_close(payload, code, ""));
	end(e, "failed");
}

/* RFC 3629: shortest forms, no surrogates, up to U+10FFFF. */
static bool
is_utf8(const uint8_t *p, size_t len)
{
	static const uint32_t least[] = { 0, 0x80, 0x800, 0x10000 };

	for (size_t i = 0; i < len;) {
		unsigned more = p[i] < 0x80 ? 0 : (p[i] & 0xe0) == 0xc0 ? 1 : (p[i] & 0xf0) == 0xe0 ? 2 : (p[i] & 0xf8) == 0xf0 ? 3 : 4;
		uint32_t c = more == 0 ? p[i] : p[i] & (0x3fu >> more);

		if (more == 4 || more >= len - i)
			return false;
		for (unsigned k = 1; k <= more; k++) {
			if ((p[i + k] & 0xc0) != 0x80)
				return false;
			c = c << 6 | (p[i + k] & 0x3f);
		}
		if (c < least[more] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
			return false;
		i += more + 1;
	}
	return true;
}

static void
add(struct echo *e, struct view data)
{
	if (e->len + data.len > e->cap) {
		e->cap = 2 * (e->len + data.len);
		e->msg = realloc(e->msg, e->cap);
		if (e->msg == NULL)
			abort();
	}
	memcpy(e->msg + e->len, data.ptr, data.len);
	e->len += data.len;
}

/* False: e is gone. */
static bool
send_back(struct echo *e)
{
	uint8_t head[WS_HEAD_MAX], mask[4] = { 0 };

	if (e->opcode == WS_TEXT && !is_utf8(e->msg, e->len)) {
		fail(e, CODE_NOT_UTF8);
		return false;
	}
	tls_random(mask, sizeof mask);
	stream_write(e->s, head, ws_format_head(head, e->role, true, e->opcode, e->len, mask));
	if (e->role == WS_CLIENT)
		ws_mask(e->msg, e->len, mask, 0);
	stream_write(e->s, e->msg, e->len);
	e->len = 0;
	return true;
}

static bool
on_event(struct echo *e, const struct ws_event *ev)
{
	uint8_t payload[WS_CONTROL_MAX];

	switch (ev->type) {
	case WS_EV_BEGIN:
		e->opcode = ev->opcode;
		return true;
	case WS_EV_DATA:
		add(e, ev->data);
		return true;
	case WS_EV_END:
		return send_back(e);
	case WS_EV_PING:
		wire_control(e->s, e->role, WS_PONG, ev->data.ptr, ev->data.len);
		return true;
	case WS_EV_CLOSE: /* with its own code (5.5.1) */
		wire_control(e->s, e->role, WS_CLOSE, payload, ws_format_close(payload, ev->close_code, ""));
		end(e, "closed");
		return false;
	case WS_EV_PONG:
	case WS_EV_NONE:
		return true;
	}
	abort();
}

static size_t
on_frames(struct echo *e, uint8_t *buf, size_t len)
{
	struct ws_event ev;
	size_t done = 0, used;

	for (;;) {
		enum proto_err err = ws_decode(&e->ws, buf + done, len - done, &used, &ev);

		done += used;
		if (err == PROTO_MORE)
			return done;
		if (err != PROTO_OK) {
			fail(e, err == PROTO_WS_TOO_BIG ? CODE_TOO_BIG : CODE_PROTOCOL);
			return len;
		}
		if (!on_event(e, &ev))
			return len;
	}
}

/* The upgrade, either side; returns how much it took, and sets open. */
static size_t
on_head(struct echo *e, uint8_t *buf, size_t len)
{
	struct http_head head;
	char out[HTTP_HEAD_MAX], accept[29];
	size_t used = 0, n;
	enum proto_err err = e->role == WS_SERVER ? http_parse_request(buf, len, &head, &used) : http_parse_response(buf, len, &head, &used);

	if (err == PROTO_MORE)
		return 0;
	if (err != PROTO_OK || (e->role == WS_CLIENT && (head.status != 101 || !view_eq(head.accept, view_of(e->accept))))) {
		n = http_format_answer(out, sizeof out, 400, view_of(http_reason(400)), NULL, 0, 0, true);
		if (e->role == WS_SERVER)
			stream_write(e->s, out, n);
		end(e, "no upgrade");
		return len;
	}
	if (e->role == WS_SERVER) {
		tls_ws_accept((const char *)head.key.ptr, head.key.len, accept);
		n = http_format_101(out, sizeof out, view_of(accept), (struct view){ NULL, 0 }, (struct view){ NULL, 0 });
		stream_write(e->s, out, n);
	}
	e->open = true;
	ws_decoder_init(&e->ws, e->role, MESSAGE_MAX);
	return used + on_frames(e, buf + used, len - used);
}

static void
ask(struct echo *e)
{
	char out[HTTP_HEAD_MAX];
	struct http_upgrade up = { .target = view_of(e->target), .host = view_of("wsecho") };

	tls_ws_key(e->key);
	tls_ws_accept(e->key, strlen(e->key), e->accept);
	up.key = view_of(e->key);
	stream_write(e->s, out, http_format_request(out, sizeof out, &up));
}

static size_t
stream_cb_echo(void *arg, struct stream *s, enum stream_event ev, uint8_t *buf, size_t len)
{
	struct echo *e = arg;

	switch (ev) {
	case STREAM_OPEN:
		if (e->role == WS_CLIENT)
			ask(e);
		return 0;
	case STREAM_DATA:
		return e->open ? on_frames(e, buf, len) : on_head(e, buf, len);
	case STREAM_DRAINED:
		return 0;
	case STREAM_EOF:
	case STREAM_ERROR:
		end(e, stream_why(s));
		return 0;
	}
	abort();
}

static struct echo *
echo_new(enum ws_role role)
{
	struct echo *e = calloc(1, sizeof *e);

	if (e == NULL)
		abort();
	e->role = role;
	LIST_INSERT_HEAD(&all, e, link);
	return e;
}

static void
accept_cb(evutil_socket_t fd, short what, void *arg)
{
	int got = accept(fd, NULL, NULL);
	struct echo *e;

	(void)what;
	(void)arg;
	if (got < 0)
		return;
	e = echo_new(WS_SERVER);
	e->s = stream_accept(got, NULL, stream_cb_echo, e);
	if (e->s == NULL) {
		LIST_REMOVE(e, link);
		free(e);
	}
}

static void
input_cb(evutil_socket_t fd, short what, void *arg)
{
	char line[64];

	(void)what;
	(void)arg;
	if (read(fd, line, sizeof line) <= 0 || line[0] == 'q')
		event_base_loopbreak(base);
}

static bool
serve(struct event **events)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof sa;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, len) != 0 || listen(fd, 64) != 0 || getsockname(fd, (struct sockaddr *)&sa, &len) != 0)
		return false;
	events[0] = event_new(base, fd, EV_READ | EV_PERSIST, accept_cb, NULL);
	events[1] = event_new(base, STDIN_FILENO, EV_READ | EV_PERSIST, input_cb, NULL);
	event_add(events[0], NULL);
	event_add(events[1], NULL);
	printf("port %u\n", ntohs(sa.sin_port));
	return fflush(stdout) == 0;
}

static bool
dial(const char *address, const char *target)
{
	struct sockaddr_storage sa;
	struct echo *e;
	socklen_t len;

	if (!address_parse(address, &sa, &len))
		return false;
	e = echo_new(WS_CLIENT);
	e->target = target;
	e->s = stream_connect((struct sockaddr *)&sa, len, NULL, NULL, stream_cb_echo, e);
	return e->s != NULL;
}

int
main(int argc, char **argv)
{
	struct event *events[2] = { NULL, NULL };

	base = event_base_new();
	stream_init(base);
	if (argc == 3 ? !dial(argv[1], argv[2]) : argc != 1 || !serve(events)) {
		fprintf(stderr, "usage: wsecho [ADDRESS:PORT TARGET]\n");
		return 2;
	}
	while ((stream_any() || events[0] != NULL) && event_base_loop(base, EVLOOP_ONCE) == 0 && !event_base_got_break(base)) {
		stream_flush_all();
		stream_reap();
	}
	while (!LIST_EMPTY(&all))
		end(LIST_FIRST(&all), "quit");
	for (int i = 0; i < 2; i++)
		if (events[i] != NULL)
			event_free(events[i]);
	stream_fini();
	event_base_free(base);
	return 0;
}
