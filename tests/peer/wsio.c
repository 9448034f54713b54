/* WebSocket I/O for the test peers; see wsio.h.
 *
 * For: tests/upstream, tests/client and the unit tests, as either end of a connection, plain or TLS 1.3.
 * Never: shares code with relay/, knows a sync message, or hides a fault (no retry, no time-out but the one of the close handshake).
 *
 * The one idea: pump() is the only place that touches the socket.  Everything else appends to `out` or moves `state`, and the loop
 * calls pump() later, so no public function ever calls back from inside.  An end is likewise only noted by finish(); the loop
 * then calls on_close and frees.
 *
 * States, and what moves them:
 *	CONNECTING -> HEAD	[pump: the socket connected]
 *	HEAD -> ASKED		[feed_head: server, the request is complete and on_request was called]
 *	HEAD -> OPEN		[feed_head: client, a right 101]
 *	ASKED -> OPEN		[wsio_answer_101]
 *	ASKED -> LAST		[wsio_answer_refuse]
 *	OPEN -> LAST		[wsio_close, wsio_end, or the peer's close frame: nothing but close is read, `out` is flushed]
 *	OPEN -> CUT		[wsio_send_cut: nothing is read, `out` is flushed, then RST]
 *	any -> DEAD		[finish]
 * Bytes that come while ASKED wait in head[].
 *
 * A cut has to wait until the peer's kernel has the bytes (SIOCOUTQ 0), because RST drops what is still queued here.
 * on_close gives -1 whenever the WebSocket was never open, so also after a refusal.  Below is sockio: plain and TLS look the same here. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <netinet/in.h>
#include <sys/socket.h>

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/util.h>
#include <openssl/evp.h>
#include <openssl/sha.h>

#include "protocol/http.h"
#include "protocol/ws.h"

#include "tests/peer/sockio.h"
#include "tests/peer/wsio.h"

#define MESSAGE_MAX (64u << 20) /* bytes: four times what the protocol allows, so that a peer can also judge too long ones */
#define READ_SIZE 65536		/* bytes a read */
#define READS_A_PASS 16		/* then the other connections get their turn */
#define EARLY_MAX 65536		/* bytes kept of a client that talks before its 101; it is cut beyond */
#define CLOSE_WAIT_S 2		/* seconds the peer has to answer a close frame */
#define OUTQ_POLL_US 1000

enum wsio_state { CONNECTING, HEAD, ASKED, OPEN, LAST, CUT, DEAD };

struct wsio {
	enum wsio_state state;
	enum ws_role role;
	const struct wsio_ops *ops; /* borrowed, as is arg */
	void *arg;
	void (*part)(void *arg, struct wsio *w, const uint8_t *buf, size_t len); /* wsio_watch */
	struct sockio sock;
	struct event *ev_read, *ev_write, *ev_end;
	struct evbuffer *out;
	bool stalled;		/* wsio_stall */
	bool write_failed;	/* the connection ends when nothing more can be read */
	bool opened;		/* a 101 went through */
	bool last_word;		/* LAST: nothing more is awaited once out is flushed */
	uint8_t *head;		/* HTTP head and early bytes: head[0..head_len) */
	size_t head_len, head_cap;
	size_t early;		/* ASKED: where head[] ends and early bytes begin */
	char key[32];		/* Sec-WebSocket-Key, sent or received */
	struct ws_decoder decoder;
	uint8_t *msg;		/* the message under way: msg[0..msg_len) */
	size_t msg_len, msg_cap;
	bool in_message;
	unsigned pinged; /* WebSocket pings received */
	int code;		/* for on_close */
	char why[300];
};

static void pump_cb(evutil_socket_t fd, short what, void *arg);
static void end_cb(evutil_socket_t fd, short what, void *arg);

static void *
must(void *p)
{
	if (p == NULL) {
		fprintf(stderr, "wsio: out of memory\n");
		abort();
	}
	return p;
}

/* ---- ends ---- */

/* Notes the end; on_close follows from the loop.  rst: throw the connection away instead of closing it. */
static void
finish(struct wsio *w, int code, bool rst, const char *why)
{
	if (w->state == DEAD)
		return;
	w->state = DEAD;
	w->code = w->opened ? code : -1;
	if (why != w->why)
		snprintf(w->why, sizeof w->why, "%s", why);
	event_del(w->ev_read);
	event_del(w->ev_write);
	sockio_close(&w->sock, rst);
	event_del(w->ev_end);
	event_active(w->ev_end, EV_TIMEOUT, 0);
}

static void
end_cb(evutil_socket_t fd, short what, void *arg)
{
	struct wsio *w = arg;
	struct timeval again = { .tv_usec = OUTQ_POLL_US };

	(void)fd, (void)what;
	if (w->state == CUT) { /* all is written; has it left? */
		if (sockio_unsent(&w->sock) > 0)
			event_add(w->ev_end, &again);
		else
			finish(w, 0, true, "cut as asked");
		return;
	}
	if (w->state == LAST) { /* the close handshake took too long */
		finish(w, w->code, false, w->why);
		return;
	}
	w->ops->on_close(w->arg, w, w->code, w->why, w->in_message);
	event_free(w->ev_read);
	event_free(w->ev_write);
	event_free(w->ev_end);
	evbuffer_free(w->out);
	sockio_free(&w->sock);
	free(w->head);
	free(w->msg);
	free(w);
}

/* ---- out ---- */

static void
set_events(struct wsio *w)
{
	bool want_read, want_write;

	if (w->state == DEAD)
		return;
	want_write = (evbuffer_get_length(w->out) > 0 && !w->sock.write_wants_read) || w->sock.read_wants_write || w->state == CONNECTING;
	want_read = (!w->stalled && w->state != CUT && w->state != CONNECTING) || w->sock.write_wants_read;
	if (want_write)
		event_add(w->ev_write, NULL);
	else
		event_del(w->ev_write);
	if (want_read)
		event_add(w->ev_read, NULL);
	else
		event_del(w->ev_read);
}

/* Room for len more bytes at the end of out; evbuffer_commit_space follows. */
static uint8_t *
out_room(struct wsio *w, size_t len, struct evbuffer_iovec *vec)
{
	if (evbuffer_reserve_space(w->out, (ev_ssize_t)len, vec, 1) != 1)
		must(NULL);
	return vec->iov_base;
}

/* Queues a frame announcing all of a and b, but only the first part bytes of the two together. */
static void
queue_frame(struct wsio *w, enum ws_opcode op, const void *a, size_t a_len, const void *b, size_t b_len, size_t part)
{
	struct evbuffer_iovec vec;
	uint8_t mask[4] = { 0 };
	uint8_t *p;
	size_t n;

	if (w->role == WS_CLIENT)
		evutil_secure_rng_get_bytes(mask, sizeof mask);
	if (part > a_len + b_len)
		part = a_len + b_len;
	p = out_room(w, WS_HEAD_MAX + part, &vec);
	n = ws_format_head(p, w->role, true, op, a_len + b_len, mask);
	if (part < a_len) {
		a_len = part;
		b_len = 0;
	} else if (part < a_len + b_len) {
		b_len = part - a_len;
	}
	if (a_len > 0)
		memcpy(p + n, a, a_len);
	if (b_len > 0)
		memcpy(p + n + a_len, b, b_len);
	if (w->role == WS_CLIENT)
		ws_mask(p + n, a_len + b_len, mask, 0);
	vec.iov_len = n + a_len + b_len;
	evbuffer_commit_space(w->out, &vec, 1);
	set_events(w);
}

/* What follows when everything queued is written. */
static void
flushed(struct wsio *w)
{
	struct timeval wait = { .tv_sec = CLOSE_WAIT_S };

	if (w->state == CUT) {
		event_active(w->ev_end, EV_TIMEOUT, 0);
	} else if (w->state == LAST) {
		if (w->last_word)
			finish(w, w->code, false, w->why);
		else if (!event_pending(w->ev_end, EV_TIMEOUT, NULL))
			event_add(w->ev_end, &wait);
	}
}

/* ---- in ---- */

static void
append(uint8_t **buf, size_t *len, size_t *cap, const void *data, size_t n)
{
	if (*cap - *len < n) {
		*cap = *cap * 2 > *len + n ? *cap * 2 : *len + n;
		*buf = must(realloc(*buf, *cap));
	}
	memcpy(*buf + *len, data, n);
	*len += n;
}

/* The peer's close frame: answered when it is the first, then the connection ends. */
static void
peer_closed(struct wsio *w, const struct ws_event *ev)
{
	uint8_t payload[WS_CONTROL_MAX];
	size_t n;

	if (w->state == LAST) { /* the answer to ours */
		finish(w, w->code, false, w->why);
		return;
	}
	w->state = LAST;
	w->last_word = true;
	w->code = ev->close_code;
	snprintf(w->why, sizeof w->why, "closed by the peer: %.*s", (int)ev->data.len, (const char *)ev->data.ptr);
	n = ev->close_code == 1005 ? 0 : ws_format_close(payload, ev->close_code, "");
	queue_frame(w, WS_CLOSE, payload, n, NULL, 0, n);
}

/* One event of the decoder. */
static void
on_ws_event(struct wsio *w, const struct ws_event *ev)
{
	switch (ev->type) {
	case WS_EV_BEGIN:
		w->in_message = true;
		w->msg_len = 0;
		if (ev->opcode != WS_BINARY)
			wsio_close(w, 1003);
		break;
	case WS_EV_DATA:
		append(&w->msg, &w->msg_len, &w->msg_cap, ev->data.ptr, ev->data.len);
		if (w->part != NULL && w->state == OPEN)
			w->part(w->arg, w, w->msg, w->msg_len);
		break;
	case WS_EV_END:
		w->in_message = false;
		if (w->state == OPEN)
			w->ops->on_message(w->arg, w, w->msg, w->msg_len);
		break;
	case WS_EV_PING:
		w->pinged++;
		if (w->state == OPEN)
			queue_frame(w, WS_PONG, ev->data.ptr, ev->data.len, NULL, 0, ev->data.len);
		break;
	case WS_EV_CLOSE:
		peer_closed(w, ev);
		break;
	case WS_EV_PONG:
	case WS_EV_NONE:
		break;
	}
}

static void
feed_frames(struct wsio *w, uint8_t *buf, size_t len)
{
	struct ws_event ev;
	enum proto_err err;
	char why[96];
	size_t used;

	while (w->state == OPEN || (w->state == LAST && w->opened && !w->last_word)) {
		err = ws_decode(&w->decoder, buf, len, &used, &ev);
		if (err != PROTO_OK && err != PROTO_MORE) {
			snprintf(why, sizeof why, "bad frame: %s", proto_strerror(err));
			finish(w, 0, true, why);
			return;
		}
		on_ws_event(w, &ev);
		buf += used;
		len -= used;
		if (err == PROTO_MORE) {
			if (len > 0) /* half a head: offered again with what comes */
				append(&w->head, &w->head_len, &w->head_cap, buf, len);
			return;
		}
	}
}

static void
websocket_open(struct wsio *w)
{
	w->state = OPEN;
	w->opened = true;
	ws_decoder_init(&w->decoder, w->role, MESSAGE_MAX);
}

/* Drops the first used bytes of head[] and hands the rest to the decoder. */
static void
feed_early(struct wsio *w, size_t used)
{
	uint8_t *head = w->head;
	size_t len = w->head_len;

	w->head = NULL;
	w->head_len = w->head_cap = 0;
	w->early = 0;
	if (len > used)
		feed_frames(w, head + used, len - used);
	free(head);
}

/* Writes the Sec-WebSocket-Accept that belongs to key (RFC 6455 4.2.2) to out: 28 characters and NUL. */
static void
accept_of(const char *key, char out[32])
{
	unsigned char digest[SHA_DIGEST_LENGTH];
	char text[80];

	snprintf(text, sizeof text, "%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
	SHA1((const unsigned char *)text, strlen(text), digest);
	EVP_EncodeBlock((unsigned char *)out, digest, SHA_DIGEST_LENGTH);
}

/* "refused: NAME: VALUE, ... body=BYTES" as the reason of the end. */
static void
say_refused(struct wsio *w, const struct http_head *head, size_t body)
{
	int n = snprintf(w->why, sizeof w->why, "refused:");

	for (size_t i = 0; i < head->nheader && n < (int)sizeof w->why; i++)
		n += snprintf(w->why + n, sizeof w->why - (size_t)n, " %.*s: %.*s,", (int)head->header[i].name.len,
			      (const char *)head->header[i].name.ptr, (int)head->header[i].value.len,
			      (const char *)head->header[i].value.ptr);
	if (n < (int)sizeof w->why)
		snprintf(w->why + n, sizeof w->why - (size_t)n, " body=%zu", body);
}

static void
feed_answer(struct wsio *w, const struct http_head *head, size_t used)
{
	char want[32], protocol[256];

	if (head->status != 101) {
		if (head->has_content_length && w->head_len - used < head->content_length)
			return; /* its body is still coming */
		w->ops->on_answer(w->arg, w, head->status, NULL);
		say_refused(w, head, w->head_len - used);
		finish(w, -1, false, w->why);
		return;
	}
	accept_of(w->key, want);
	if (!view_eq(head->accept, view_of(want))) {
		finish(w, -1, true, "wrong Sec-WebSocket-Accept");
		return;
	}
	if (head->extensions.len > 0) {
		finish(w, -1, true, "extension that was not offered");
		return;
	}
	snprintf(protocol, sizeof protocol, "%.*s", (int)head->protocol.len, (const char *)head->protocol.ptr);
	websocket_open(w);
	w->ops->on_answer(w->arg, w, 101, protocol);
	feed_early(w, used);
}

/* HTTP bytes came; head[] holds all there are. */
static void
feed_head(struct wsio *w)
{
	struct http_head head;
	enum proto_err err;
	size_t used;

	err = w->role == WS_SERVER ? http_parse_request(w->head, w->head_len, &head, &used)
				   : http_parse_response(w->head, w->head_len, &head, &used);
	if (err == PROTO_MORE)
		return;
	if (err != PROTO_OK) {
		snprintf(w->why, sizeof w->why, "bad HTTP head: %s", proto_strerror(err));
		if (w->role == WS_SERVER) {
			w->state = ASKED;
			wsio_answer_refuse(w, 400, NULL, w->why);
		} else {
			finish(w, -1, true, w->why);
		}
		return;
	}
	if (w->role == WS_CLIENT) {
		feed_answer(w, &head, used);
		return;
	}
	snprintf(w->key, sizeof w->key, "%.*s", (int)head.key.len, (const char *)head.key.ptr);
	w->state = ASKED;
	w->early = used;
	w->ops->on_request(w->arg, w, &head);
}

static void
feed(struct wsio *w, uint8_t *buf, size_t len)
{
	switch (w->state) {
	case HEAD:
		append(&w->head, &w->head_len, &w->head_cap, buf, len);
		feed_head(w);
		break;
	case ASKED:
		append(&w->head, &w->head_len, &w->head_cap, buf, len);
		if (w->head_len > HTTP_HEAD_MAX + EARLY_MAX)
			finish(w, -1, true, "talks before its 101");
		break;
	default:
		if (w->head != NULL) { /* early bytes, or half a head, go first */
			append(&w->head, &w->head_len, &w->head_cap, buf, len);
			feed_early(w, w->early);
		} else {
			feed_frames(w, buf, len);
		}
		break;
	}
}

/* Writes what it can.  A failure does not end the connection yet: the peer's last words may still wait to be read. */
static void
write_all(struct wsio *w)
{
	if (w->write_failed || sockio_write(&w->sock, w->out) != SOCKIO_FAILED)
		return;
	w->write_failed = true;
	evbuffer_drain(w->out, evbuffer_get_length(w->out));
}

/* One read.  Returns false when there is no more for now or the connection ended. */
static bool
read_some(struct wsio *w)
{
	static uint8_t buf[READ_SIZE];
	size_t len;

	switch (sockio_read(&w->sock, buf, sizeof buf, &len)) {
	case SOCKIO_OK:
		feed(w, buf, len);
		return true;
	case SOCKIO_EOF:
		finish(w, 0, false, w->sock.why);
		return false;
	case SOCKIO_FAILED:
		finish(w, 0, true, w->sock.why);
		return false;
	default:
		if (w->write_failed)
			finish(w, 0, true, w->sock.why);
		return false;
	}
}

/* ---- the loop's side ---- */

static void
pump(struct wsio *w)
{
	int i;

	if (w->state == CONNECTING) {
		if (sockio_connected(&w->sock) != SOCKIO_OK) {
			finish(w, -1, true, w->sock.why);
			return;
		}
		w->state = HEAD;
	}
	if (w->state == OPEN && w->head != NULL && !w->stalled) /* early bytes of a client, after wsio_answer_101 */
		feed_early(w, w->early);
	write_all(w);
	for (i = 0; i < READS_A_PASS && w->state != DEAD && w->state != CUT && !w->stalled; i++) {
		if (!read_some(w))
			break;
	}
	if (w->state == DEAD)
		return;
	if (i == READS_A_PASS && sockio_pending(&w->sock))
		event_active(w->ev_read, EV_READ, 0);
	if (evbuffer_get_length(w->out) == 0)
		flushed(w);
	set_events(w);
}

static void
pump_cb(evutil_socket_t fd, short what, void *arg)
{
	struct wsio *w = arg;

	(void)fd, (void)what;
	if (w->state != DEAD)
		pump(w);
}

/* ---- opening ---- */

static struct wsio *
wsio_new(struct event_base *base, const struct sockio *sock, enum ws_role role, const struct wsio_ops *ops, void *arg)
{
	struct wsio *w = must(calloc(1, sizeof *w));

	w->role = role;
	w->ops = ops;
	w->arg = arg;
	w->sock = *sock;
	w->out = must(evbuffer_new());
	w->ev_read = must(event_new(base, sock->fd, EV_READ, pump_cb, w));
	w->ev_write = must(event_new(base, sock->fd, EV_WRITE, pump_cb, w));
	w->ev_end = must(evtimer_new(base, end_cb, w));
	return w;
}

struct wsio *
wsio_connect(struct event_base *base, const char *host, unsigned port, const char *target, const char *subprotocols, const char *headers,
	     const char *tls_ca, const struct wsio_ops *ops, void *arg)
{
	struct sockio sock;
	enum sockio_result started = sockio_connect(&sock, host, port, tls_ca);
	struct wsio *w = wsio_new(base, &sock, WS_CLIENT, ops, arg);
	unsigned char nonce[16];

	w->state = CONNECTING;
	if (started != SOCKIO_OK) {
		finish(w, -1, false, sock.why);
		return w;
	}
	evutil_secure_rng_get_bytes(nonce, sizeof nonce);
	EVP_EncodeBlock((unsigned char *)w->key, nonce, sizeof nonce);
	evbuffer_add_printf(w->out,
			    "GET %s HTTP/1.1\r\nHost: %s:%u\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: %s\r\n"
			    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: %s\r\n%s\r\n",
			    target, host, port, w->key, subprotocols, headers != NULL ? headers : "");
	set_events(w);
	return w;
}

struct wsio *
wsio_accept(struct event_base *base, int fd, const char *cert, const char *key, const struct wsio_ops *ops, void *arg)
{
	struct sockio sock;
	struct wsio *w;

	sockio_accept(&sock, fd, cert, key);
	w = wsio_new(base, &sock, WS_SERVER, ops, arg);
	w->state = HEAD;
	set_events(w);
	return w;
}

void
wsio_answer_101(struct wsio *w, const char *subprotocol)
{
	char accept[32];

	if (w->state != ASKED)
		return;
	accept_of(w->key, accept);
	evbuffer_add_printf(w->out,
			    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n"
			    "Sec-WebSocket-Protocol: %s\r\n\r\n",
			    accept, subprotocol);
	websocket_open(w);
	set_events(w);
	event_active(w->ev_read, EV_READ, 0); /* pump() feeds what came early */
}

#define CHUNK 1000 /* bytes */

/* The body in chunks, with all that may stand between them. */
static void
add_chunked(struct wsio *w, const char *body)
{
	for (size_t n, left = strlen(body); left > 0; left -= n, body += n) {
		n = left < CHUNK ? left : CHUNK;
		evbuffer_add_printf(w->out, "%zX;of=%zu\r\n%.*s\r\n", n, left, (int)n, body);
	}
	evbuffer_add_printf(w->out, "0\r\nX-Trailer: t\r\n\r\n");
}

void
wsio_answer_refuse(struct wsio *w, unsigned status, const char *headers, const char *body)
{
	if (w->state != ASKED)
		return;
	if (headers == NULL)
		headers = "";
	if (body == NULL)
		body = "";
	evbuffer_add_printf(w->out, "HTTP/1.1 %u %s\r\nConnection: close\r\n%s", status, http_reason(status), headers);
	if (strstr(headers, "Transfer-Encoding: chunked\r\n") != NULL) {
		evbuffer_add_printf(w->out, "\r\n");
		add_chunked(w, body);
	} else {
		evbuffer_add_printf(w->out, "Content-Length: %zu\r\n\r\n%s", strlen(body), body);
	}
	w->state = LAST;
	w->last_word = true;
	snprintf(w->why, sizeof w->why, "refused with %u", status);
	set_events(w);
}

void
wsio_answer_raw(struct wsio *w, const void *bytes, size_t len)
{
	const char *at = memmem(bytes, len, "%A", 2);
	size_t before = at != NULL ? (size_t)(at - (const char *)bytes) : len;
	char accept[32];

	if (w->state != ASKED)
		return;
	evbuffer_add(w->out, bytes, before);
	if (at != NULL) {
		accept_of(w->key, accept);
		evbuffer_add(w->out, accept, strlen(accept));
		evbuffer_add(w->out, at + 2, len - before - 2);
	}
	w->state = LAST;
	w->last_word = true;
	snprintf(w->why, sizeof w->why, "answered as ordered");
	set_events(w);
}

/* ---- the rest of the interface ---- */

void
wsio_send(struct wsio *w, const void *head, size_t head_len, const void *body, size_t body_len)
{
	if (w->state == OPEN)
		queue_frame(w, WS_BINARY, head, head_len, body, body_len, SIZE_MAX);
}

void
wsio_send_cut(struct wsio *w, const void *buf, size_t len, size_t part)
{
	if (w->state != OPEN)
		return;
	queue_frame(w, WS_BINARY, buf, len, NULL, 0, part);
	w->state = CUT;
	set_events(w);
}

void
wsio_stall(struct wsio *w, bool stalled)
{
	w->stalled = stalled;
	set_events(w);
	if (!stalled && w->state != DEAD && w->state != CONNECTING) /* TLS may hold bytes that the socket does not announce */
		event_active(w->ev_read, EV_READ, 0);
}

void
wsio_close(struct wsio *w, int code)
{
	uint8_t payload[WS_CONTROL_MAX];
	size_t n;

	if (w->state != OPEN) {
		if (w->state != LAST && w->state != CUT)
			finish(w, -1, true, "closed before it was open");
		return;
	}
	n = ws_format_close(payload, (uint16_t)code, "");
	queue_frame(w, WS_CLOSE, payload, n, NULL, 0, n);
	w->state = LAST;
	w->code = code;
	snprintf(w->why, sizeof w->why, "closed here");
	set_events(w);
}

void
wsio_end(struct wsio *w)
{
	if (w->state == CONNECTING || w->state == HEAD || w->state == ASKED) {
		finish(w, -1, true, "ended before it was open");
	} else if (w->state == OPEN) {
		w->state = LAST;
		w->last_word = true;
		w->code = 0;
		snprintf(w->why, sizeof w->why, "ended here");
		event_active(w->ev_write, EV_WRITE, 0);
	}
}

void
wsio_watch(struct wsio *w, void (*part)(void *arg, struct wsio *w, const uint8_t *buf, size_t len))
{
	w->part = part;
}

void
wsio_cut(struct wsio *w)
{
	finish(w, 0, true, "cut here");
}

size_t
wsio_queued(const struct wsio *w)
{
	return evbuffer_get_length(w->out);
}

void
wsio_ping(struct wsio *w)
{
	if (w->state == OPEN)
		queue_frame(w, WS_PING, NULL, 0, NULL, 0, 0);
}

unsigned
wsio_pinged(const struct wsio *w)
{
	return w->pinged;
}

int
wsio_listen(unsigned *port)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons((uint16_t)*port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof addr;
	int one = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(fd, (struct sockaddr *)&addr, sizeof addr) != 0 || listen(fd, SOMAXCONN) != 0 ||
	    getsockname(fd, (struct sockaddr *)&addr, &len) != 0) {
		close(fd);
		return -1;
	}
	*port = ntohs(addr.sin_port);
	return fd;
}
