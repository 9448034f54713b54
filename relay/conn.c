/* The client's leg.  See conn.h for the states.
 *
 * A message of the client's is taken whole (it must be checked whole before any of it is stored or forwarded); one that arrives in a single
 * piece is used where it lies, others are gathered, growing with what arrives, never with what is announced.
 *
 * Upstream may be lost and come back while the client stays: retries are paced here (back-off with jitter; after the link returned,
 * spread by reconnect_rate).  In doubt the client is closed, which is always safe (design section 2). */
#include <stdlib.h>
#include <string.h>

#include <event2/buffer.h>
#include <event2/event.h>

#include "protocol/http.h"
#include "protocol/ws.h"

#include "relay/admit.h"
#include "relay/clock.h"
#include "relay/conn.h"
#include "relay/link.h"
#include "relay/listener.h"
#include "relay/log.h"
#include "relay/session.h"
#include "relay/spool.h"
#include "relay/stream.h"
#include "relay/tls.h"
#include "relay/upstream.h"
#include "relay/wire.h"

#define CLOSE_LINGER_MS 2000 /* for the last bytes to a client */
#define VERDICT_MS 250       /* how soon to ask again while a probe finds out whether upstream or a portal refused */
#define RETRY_AFTER_S "5"    /* seconds, in a 503: the SDK's own back-off is longer */

enum conn_state { CONN_REQUEST, CONN_UPSTREAM, CONN_ADMIT, CONN_OPEN, CONN_CLOSED };

struct conn {
	TAILQ_ENTRY(conn) link; /* relay->conns, or the closed list */
	struct relay *relay;
	struct stream *stream;
	struct upstream *upstream; /* NULL: none, see retry */
	struct admit *admit;
	struct event *timer; /* handshake deadline, then idle */
	struct event *retry; /* next attempt to reach upstream */
	enum conn_state state;
	uint64_t id;
	/* the request, kept to repeat it: secrets */
	char *target, *authorization, *user_agent, *offers, *endpoint;
	char key_accept[29];
	enum msg_flavour flavour;
	uint64_t offered; /* bit set of versions */
	unsigned version; /* agreed to; 0 = not yet */
	/* messages in */
	struct ws_decoder ws;
	uint8_t *msg; /* gathered so far; NULL when nothing is */
	size_t msg_len, msg_cap;
	uint64_t whole_len; /* of the message, when it is a single frame */
	struct view piece;  /* the whole message where it was received; valid until WS_EV_END, which follows in the same call */
	/* messages out */
	struct evbuffer *after; /* what must wait for the end of the message being streamed */
	bool streaming;
	struct session_list sessions;
	unsigned opening; /* sessions whose file is being read */
	uint64_t backoff_ms, opened_at, messages_in, messages_out;
	uint64_t received_at_check;
	bool offline; /* admitted without upstream */
	bool spool_suspended;
};

static struct conn_list closed = TAILQ_HEAD_INITIALIZER(closed);
static const struct upstream_ops upstream_ops;

/* ---- small things ---- */

const char *
conn_endpoint(const struct conn *c)
{
	return c->endpoint;
}

enum msg_flavour
conn_flavour(const struct conn *c)
{
	return c->flavour;
}

unsigned
conn_version(const struct conn *c)
{
	return c->version;
}

uint64_t
conn_id(const struct conn *c)
{
	return c->id;
}

struct upstream *
conn_upstream(const struct conn *c)
{
	return upstream_is_open(c->upstream) ? c->upstream : NULL;
}

struct session_list *
conn_sessions(struct conn *c)
{
	return &c->sessions;
}

struct relay *
conn_relay(const struct conn *c)
{
	return c->relay;
}

struct conn *
conn_next(const struct conn *c)
{
	return TAILQ_NEXT(c, link);
}

static void
after_ms(struct event *ev, uint64_t ms)
{
	struct timeval tv = { (time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000) };

	event_add(ev, &tv);
}

/* Up to ms minus a quarter of it. */
static uint64_t
jitter(uint64_t ms)
{
	uint32_t r;

	tls_random(&r, sizeof(r));
	return ms - (ms / 4) * r / UINT32_MAX;
}

static void
wipe_free(char *secret)
{
	if (secret != NULL)
		explicit_bzero(secret, strlen(secret));
	free(secret);
}

/* ---- the end ---- */

static void
log_closed(const struct conn *c, const char *reason)
{
	struct log_line l;

	log_begin(&l, LOG_INFO, "conn_closed");
	log_u64(&l, "conn", c->id);
	log_str(&l, "peer", stream_peer(c->stream));
	log_str(&l, "reason", reason);
	log_u64(&l, "age_ms", clock_ms() - c->opened_at);
	log_u64(&l, "messages_in", c->messages_in);
	log_u64(&l, "messages_out", c->messages_out);
	log_u64(&l, "bytes_in", stream_received(c->stream));
	log_u64(&l, "bytes_out", stream_sent(c->stream));
	log_end(&l);
}

static bool
drains(struct conn *c)
{
	struct session *s;

	if (!upstream_is_open(c->upstream))
		return false;
	TAILQ_FOREACH (s, &c->sessions, in_conn)
		if (session_drains(s))
			return true;
	return false;
}

static void
leave(struct conn *c, const char *reason, bool drain)
{
	bool superseded = !drain; /* its files are about to be bound elsewhere, or nothing is left to say */
	struct upstream *u = c->upstream;
	struct session *s;

	if (c->state == CONN_CLOSED)
		return;
	log_closed(c, reason);
	drain = drain && drains(c);
	c->state = CONN_CLOSED;
	stream_close(c->stream, !c->streaming, CLOSE_LINGER_MS);
	while ((s = TAILQ_FIRST(&c->sessions)) != NULL)
		session_client_gone(s, drain);
	c->upstream = NULL;
	if (u != NULL && drain)
		upstream_orphan(u);
	else
		upstream_close(u, !superseded, "client gone");
	admit_cancel(c->admit);
	event_free(c->timer);
	event_free(c->retry);
	listener_release(c->relay->listener);
	TAILQ_REMOVE(&c->relay->conns, c, link);
	TAILQ_INSERT_TAIL(&closed, c, link);
	c->relay->nconns--;
	c->relay->nsuspended -= c->spool_suspended;
}

void
conn_close(struct conn *c, const char *reason)
{
	STAT_INC(c->relay, clients_closed);
	leave(c, reason, true);
}

void
conn_abort(struct conn *c, const char *reason)
{
	STAT_INC(c->relay, clients_closed);
	leave(c, reason, false);
}

void
conn_free_closed(void)
{
	struct conn *c;

	while ((c = TAILQ_FIRST(&closed)) != NULL) {
		TAILQ_REMOVE(&closed, c, link);
		wipe_free(c->target);
		wipe_free(c->authorization);
		free(c->user_agent);
		free(c->offers);
		free(c->endpoint);
		free(c->msg);
		if (c->after != NULL)
			evbuffer_free(c->after);
		free(c);
	}
}

/* ---- out ---- */

/* A client that reads slowly: upstream is not read until it has caught up. */
static void
check_outbuf(struct conn *c)
{
	if (c->upstream != NULL && stream_queued(c->stream) > c->relay->opt->out_high)
		upstream_pause(c->upstream, true);
}

/* A client that asks (PING, MARK) and does not read the answers is not read either. */
static void
own_queue_check(struct conn *c)
{
	size_t waiting = stream_queued(c->stream) + (c->after != NULL ? evbuffer_get_length(c->after) : 0);

	if (waiting > c->relay->opt->out_high)
		stream_suspend(c->stream, SUSPEND_OWN);
}

void
conn_send(struct conn *c, const struct message *m, struct view body)
{
	if (c->state != CONN_OPEN)
		return;
	c->messages_out++;
	if (!c->streaming) {
		wire_send(c->stream, WS_SERVER, m, body);
	} else {
		if (c->after == NULL && (c->after = evbuffer_new()) == NULL)
			log_fatal("out_of_memory", "bytes=0");
		wire_message(c->after, WS_SERVER, m, body);
	}
	own_queue_check(c);
}

void
conn_stream_begin(struct conn *c, const struct message *m, uint64_t body_len)
{
	c->messages_out++;
	c->streaming = true;
	wire_send_open(c->stream, m, body_len);
}

void
conn_stream_data(struct conn *c, struct view data)
{
	stream_write(c->stream, data.ptr, data.len);
	check_outbuf(c);
}

void
conn_stream_end(struct conn *c)
{
	c->streaming = false;
	if (c->after != NULL && evbuffer_get_length(c->after) > 0)
		stream_write_buffer(c->stream, c->after);
}

bool
conn_is_streaming(const struct conn *c)
{
	return c->streaming;
}

void
conn_protocol_error(struct conn *c, unsigned code, const char *text)
{
	struct message m = { .type = MSG_S_ERROR };

	if (c->state != CONN_OPEN)
		return;
	STAT_INC(c->relay, protocol_errors);
	m.error = (struct msg_error){ .error_code = code, .size = strlen(text) };
	conn_send(c, &m, view_of(text));
	leave(c, text, true);
}

/* ---- suspending ---- */

void
conn_suspend_open(struct conn *c)
{
	if (c->opening++ == 0 && c->state == CONN_OPEN)
		stream_suspend(c->stream, SUSPEND_OPEN);
}

void
conn_resume_open(struct conn *c)
{
	if (--c->opening == 0 && c->state == CONN_OPEN)
		stream_resume(c->stream, SUSPEND_OPEN);
}

void
conn_await_upstream(struct conn *c)
{
	stream_suspend(c->stream, SUSPEND_OUTBUF);
}

void
conn_upstream_drained(struct conn *c)
{
	if (c->state == CONN_OPEN)
		stream_resume(c->stream, SUSPEND_OUTBUF);
}

static bool
spool_is_behind(const struct relay *relay)
{
	return spool_queued(relay->spool) > relay->opt->spool_bytes;
}

void
conn_spool_changed(struct conn *c)
{
	struct session *s, *next;

	if (c->state != CONN_OPEN)
		return;
	if (c->spool_suspended && spool_queued(c->relay->spool) <= c->relay->opt->spool_bytes / 2) {
		stream_resume(c->stream, SUSPEND_SPOOL);
		c->spool_suspended = false;
		c->relay->nsuspended--;
	}
	for (s = TAILQ_FIRST(&c->sessions); s != NULL && c->state == CONN_OPEN; s = next) {
		next = TAILQ_NEXT(s, in_conn);
		if (s->refused)
			session_room(s);
	}
}

/* ---- messages in ---- */

static void
answer_ping(struct conn *c, const struct message *m)
{
	struct message pong = { .type = MSG_S_PONG };

	pong.pong.timestamp = m->ping.timestamp;
	conn_send(c, &pong, (struct view){ NULL, 0 });
}

static unsigned
count_sessions(const struct conn *c)
{
	const struct session *s;
	unsigned n = 0;

	TAILQ_FOREACH (s, &c->sessions, in_conn)
		n++;
	return n;
}

static void
message_in(struct conn *c, const uint8_t *buf, size_t len)
{
	struct message m;
	struct view body;
	struct session *s;
	enum proto_err err = msg_parse(MSG_C2S, c->flavour, buf, len, &m, &body);

	c->messages_in++;
	if (err != PROTO_OK) {
		conn_protocol_error(c, err == PROTO_MSG_UNKNOWN ? 102 : err == PROTO_MSG_LIMIT ? 104 : 103, proto_strerror(err));
		return;
	}
	if (m.type == MSG_C_PING) {
		answer_ping(c, &m);
		return;
	}
	if (m.type == MSG_C_BIND) {
		if (count_sessions(c) >= c->relay->opt->max_sessions)
			conn_close(c, "too many sessions on one connection");
		else
			session_bind(c, &m, body);
		return;
	}
	s = session_find(c, m.session_ident);
	if (s == NULL)
		conn_protocol_error(c, 106, "Bad session identifier");
	else
		session_client_message(s, &m, body);
}

static bool
gather(struct conn *c, struct view data)
{
	size_t need = c->msg_len + data.len, cap = c->msg_cap ? c->msg_cap : 4096;
	uint8_t *p;

	while (cap < need)
		cap *= 2;
	if (cap != c->msg_cap) {
		p = realloc(c->msg, cap);
		if (p == NULL)
			return false;
		c->msg = p;
		c->msg_cap = cap;
	}
	memcpy(c->msg + c->msg_len, data.ptr, data.len);
	c->msg_len += data.len;
	return true;
}

/* The message is complete: in one piece where it was received, or gathered. */
static void
message_complete(struct conn *c)
{
	uint8_t *owned = c->msg;
	struct view whole = owned != NULL ? (struct view){ owned, c->msg_len } : c->piece;

	c->msg = NULL;
	c->msg_len = c->msg_cap = 0;
	c->piece = view_of("");
	message_in(c, whole.ptr, whole.len);
	free(owned);
}

/* The client closes: answer with its own code (RFC 6455 5.5.1), then TCP. */
static void
client_closes(struct conn *c, uint16_t code)
{
	uint8_t payload[WS_CONTROL_MAX];
	size_t n = code == 1005 ? 0 : ws_format_close(payload, code, "");

	if (!c->streaming)
		wire_control(c->stream, WS_SERVER, WS_CLOSE, payload, n);
	leave(c, "client closed the WebSocket", true);
}

static void
ws_violation(struct conn *c, uint16_t code, const char *why)
{
	uint8_t payload[WS_CONTROL_MAX];
	size_t n = ws_format_close(payload, code, why);

	STAT_INC(c->relay, protocol_errors);
	if (!c->streaming)
		wire_control(c->stream, WS_SERVER, WS_CLOSE, payload, n);
	leave(c, why, true);
}

static void
ws_event(struct conn *c, const struct ws_event *ev)
{
	switch (ev->type) {
	case WS_EV_BEGIN:
		c->piece = view_of("");
		c->whole_len = ev->fin ? ev->frame_len : UINT64_MAX;
		if (ev->opcode != WS_BINARY)
			ws_violation(c, 1003, "a text message");
		break;
	case WS_EV_DATA:
		if (ev->data.len == c->whole_len)
			c->piece = ev->data;
		else if (!gather(c, ev->data))
			leave(c, "out of memory", true);
		break;
	case WS_EV_END:
		message_complete(c);
		break;
	case WS_EV_PING:
		if (!c->streaming)
			wire_control(c->stream, WS_SERVER, WS_PONG, ev->data.ptr, ev->data.len);
		break;
	case WS_EV_CLOSE:
		client_closes(c, ev->close_code);
		break;
	case WS_EV_PONG:
	case WS_EV_NONE:
		break;
	}
}

static size_t
on_frames(struct conn *c, uint8_t *buf, size_t len)
{
	struct ws_event ev;
	enum proto_err err;
	size_t done = 0, used;

	while (c->state == CONN_OPEN && c->opening == 0) {
		err = ws_decode(&c->ws, buf + done, len - done, &used, &ev);
		done += used;
		if (err == PROTO_MORE)
			break;
		if (err != PROTO_OK)
			ws_violation(c, 1002, proto_strerror(err));
		else
			ws_event(c, &ev);
	}
	if (c->state == CONN_OPEN && !c->spool_suspended && spool_is_behind(c->relay)) {
		stream_suspend(c->stream, SUSPEND_SPOOL);
		c->spool_suspended = true;
		c->relay->nsuspended++;
	}
	return done;
}

/* ---- the upgrade ---- */

static void
refuse(struct conn *c, unsigned status, struct view reason, const struct http_header *header, size_t nheader, struct view body,
       const char *why)
{
	char out[HTTP_HEAD_MAX];
	size_t n = http_format_refusal(out, sizeof(out), status, reason, header, nheader, body.len);

	STAT_INC(c->relay, conns_refused);
	if (n == 0)
		n = http_format_refusal(out, sizeof(out), status, view_of(http_reason(status)), NULL, 0, body.len);
	stream_write(c->stream, out, n);
	if (body.len > 0)
		stream_write(c->stream, body.ptr, body.len);
	leave(c, why, true);
}

static void
refuse_status(struct conn *c, unsigned status, const char *why)
{
	struct http_header retry = { view_of("Retry-After"), view_of(RETRY_AFTER_S) };

	refuse(c, status, view_of(http_reason(status)), &retry, status == 503, (struct view){ NULL, 0 }, why);
}

static void
become_open(struct conn *c, unsigned version, struct view protocol, struct view server)
{
	char out[HTTP_HEAD_MAX];
	size_t n = http_format_101(out, sizeof(out), view_of(c->key_accept), protocol, server);

	c->version = version;
	if (n == 0)
		n = http_format_101(out, sizeof(out), view_of(c->key_accept), protocol, (struct view){ NULL, 0 });
	stream_write(c->stream, out, n);
	c->state = CONN_OPEN;
	ws_decoder_init(&c->ws, WS_SERVER, c->relay->opt->max_message);
	stream_set_low_water(c->stream, (size_t)c->relay->opt->out_low);
	after_ms(c->timer, c->relay->opt->idle_timeout_ms);
	log_event(LOG_INFO, "conn_open", "conn=%llu peer=%s version=%u flavour=%s offline=%d", (unsigned long long)c->id,
		  stream_peer(c->stream), version, c->flavour == MSG_FLX ? "flx" : "pbs", c->offline);
	stream_resume(c->stream, SUSPEND_OPEN);
}

static struct view
token_of(const struct conn *c)
{
	struct view target = view_of(c->target), query = { NULL, 0 }, at;
	const uint8_t *q = memchr(target.ptr, '?', target.len);

	if (q != NULL)
		query = (struct view){ q + 1, (size_t)(target.ptr + target.len - q - 1) };
	at = http_query_param(query, "baas_at");
	return at.ptr != NULL ? at : view_of(c->authorization);
}

static void
admitted_cb(void *arg, unsigned version, const char *why)
{
	struct conn *c = arg;
	char protocol[MSG_SUBPROTOCOL_MAX];

	c->admit = NULL;
	if (version == 0) {
		refuse_status(c, 503, why);
		return;
	}
	c->offline = true;
	STAT_INC(c->relay, conns_offline);
	msg_format_subprotocol(c->flavour, version, protocol);
	become_open(c, version, view_of(protocol), (struct view){ NULL, 0 });
	if (!link_down(c->relay->link)) /* it came back meanwhile, or only this connection failed */
		after_ms(c->retry, jitter(c->relay->opt->backoff_min_ms));
}

static void
ask_admission(struct conn *c)
{
	if (c->flavour != MSG_PBS) {
		refuse_status(c, 503, "flexible sync needs the link");
		return;
	}
	c->state = CONN_ADMIT;
	c->admit = admit_ask(c->relay, c->endpoint, token_of(c), c->flavour, c->offered, admitted_cb, c);
}

static void
open_upstream(struct conn *c)
{
	char protocol[MSG_SUBPROTOCOL_MAX];
	struct upstream_request req = { .target = view_of(c->target),
		.protocol = view_of(c->offers),
		.authorization = view_of(c->authorization),
		.user_agent = view_of(c->user_agent),
		.flavour = c->flavour };

	if (c->version != 0) { /* the client has its 101: only this version will do */
		msg_format_subprotocol(c->flavour, c->version, protocol);
		req.protocol = view_of(protocol);
	}
	c->upstream = upstream_open(c->relay, &req, &upstream_ops, c, c);
}

/* Reads the client's offers: the flavour of the first that we know, its versions as a bit set. */
static bool
read_offers(struct conn *c)
{
	struct view rest = view_of(c->offers), item;
	struct msg_subprotocol sp;

	while (http_list_next(&rest, &item)) {
		if (msg_parse_subprotocol(item, &sp) != PROTO_OK)
			continue;
		if (c->offered == 0)
			c->flavour = sp.flavour;
		for (unsigned v = sp.min; v <= sp.max && v < 64 && sp.flavour == c->flavour; v++)
			c->offered |= 1ULL << v;
	}
	return c->offered != 0;
}

static void
keep_request(struct conn *c, const struct http_head *head)
{
	const char *name = "upstream";
	size_t n = strlen(name) + head->path.len;
	char offers[HTTP_HEAD_MAX]; /* the lines it is made from were in a head of that size */
	size_t offers_len = 0, at = 0;
	struct view line;

	c->target = relay_strndup(head->target.ptr, head->target.len);
	c->authorization = relay_strndup(head->authorization.ptr, head->authorization.len);
	c->user_agent = relay_strndup(head->user_agent.ptr, head->user_agent.len);
	while (http_header_next(head, "Sec-WebSocket-Protocol", &at, &line)) {
		if (offers_len > 0)
			memcpy(offers + offers_len, ", ", 2);
		offers_len += offers_len > 0 ? 2 : 0;
		memcpy(offers + offers_len, line.ptr, line.len);
		offers_len += line.len;
	}
	c->offers = relay_strndup(offers, offers_len);
	c->endpoint = relay_alloc(n + 1);
	memcpy(c->endpoint, name, strlen(name));
	memcpy(c->endpoint + strlen(name), head->path.ptr, head->path.len);
	tls_ws_accept((const char *)head->key.ptr, head->key.len, c->key_accept);
}

static size_t
on_request(struct conn *c, uint8_t *buf, size_t len)
{
	struct http_head head;
	size_t used = 0;
	enum proto_err err = http_parse_request(buf, len, &head, &used);

	if (err == PROTO_MORE)
		return 0;
	if (err != PROTO_OK) {
		refuse_status(c, err == PROTO_HTTP_TOO_BIG ? 431 : err == PROTO_HTTP_NOT_UPGRADE ? 426 : 400, proto_strerror(err));
		return len;
	}
	if (head.path.len > STORE_ENDPOINT_MAX - 64) {
		refuse_status(c, 414, "the request path is too long");
		return len;
	}
	keep_request(c, &head);
	if (!read_offers(c)) {
		refuse_status(c, 400, "no known subprotocol offered");
		return len;
	}
	event_del(c->timer);
	stream_suspend(c->stream, SUSPEND_OPEN); /* nothing may follow before our 101 */
	if (link_down(c->relay->link)) {
		ask_admission(c);
	} else {
		c->state = CONN_UPSTREAM;
		open_upstream(c);
	}
	return used;
}

/* ---- upstream comes and goes ---- */

static void
schedule_retry(struct conn *c)
{
	const struct options *o = c->relay->opt;

	if (link_down(c->relay->link))
		return; /* conn_link_changed will */
	c->backoff_ms = c->backoff_ms == 0 ? o->backoff_min_ms : c->backoff_ms * 2;
	if (c->backoff_ms > o->backoff_max_ms)
		c->backoff_ms = o->backoff_max_ms;
	after_ms(c->retry, jitter(c->backoff_ms));
}

static void
upstream_opened_cb(void *arg, struct view subprotocol, struct view server)
{
	struct conn *c = arg;
	struct msg_subprotocol sp;
	struct session *s, *next;

	if (msg_parse_subprotocol(subprotocol, &sp) != PROTO_OK || sp.flavour != c->flavour || sp.min > 63 ||
	    !(c->offered & (1ULL << sp.min)) || (c->version != 0 && c->version != sp.min)) {
		if (c->state == CONN_UPSTREAM)
			refuse_status(c, 503, "upstream agrees to a protocol version that was not offered");
		else
			leave(c, "upstream agrees to another protocol version", false);
		return;
	}
	link_set_path(c->relay->link, c->endpoint + strlen("upstream"));
	link_succeeded(c->relay->link);
	admit_accepted(c->relay, c->endpoint, token_of(c), c->flavour, sp.min);
	if (c->state == CONN_UPSTREAM) {
		become_open(c, sp.min, subprotocol, server);
		return;
	}
	log_event(LOG_INFO, "conn_resumed", "conn=%llu sessions=%u", (unsigned long long)c->id, count_sessions(c));
	for (s = TAILQ_FIRST(&c->sessions); s != NULL && c->state == CONN_OPEN; s = next) {
		next = TAILQ_NEXT(s, in_conn);
		session_upstream_opened(s);
	}
}

static void
pass_refusal(struct conn *c, const struct http_head *head, struct view body)
{
	static const char *const allowed[] = { "Location", "WWW-Authenticate", "Retry-After", "Content-Type", "Server" };
	struct http_header pass[sizeof(allowed) / sizeof(allowed[0])];
	size_t n = 0;

	for (size_t k = 0; k < sizeof(allowed) / sizeof(allowed[0]); k++) {
		size_t at = 0;

		if (http_header_next(head, allowed[k], &at, &pass[n].value))
			pass[n++].name = view_of(allowed[k]);
	}
	refuse(c, head->status, head->reason, pass, n, body, "upstream refused the upgrade");
}

/* Upstream's own refusal: a new client gets it as it is; for one that has its 101 already, its next upgrade will.  But over plain TCP a
 * portal may say it, and a 403 logs users out: 3xx and 4xx (but 401) count only when upstream has just proved itself (design section 6). */
static void
upstream_refused_cb(void *arg, const struct http_head *head, struct view body)
{
	struct conn *c = arg;
	struct relay *relay = c->relay;
	bool verified = relay->tls_upstream != NULL && relay->opt->upstream_verify;

	c->upstream = NULL;
	log_event(LOG_INFO, "upstream_refused", "conn=%llu status=%u", (unsigned long long)c->id, head->status);
	if (!verified && head->status < 500 && head->status != 401 && !link_proved(relay->link)) {
		after_ms(c->retry, VERDICT_MS);
		link_failed(relay->link, LINK_UNTRUSTED, "an answer that may be a portal's");
	} else if (c->state == CONN_UPSTREAM) {
		pass_refusal(c, head, body);
	} else if (head->status >= 500) {
		schedule_retry(c);
	} else {
		conn_close(c, "upstream refused to resume"); /* 401, 403: the token expired meanwhile */
	}
}

static void
upstream_pong_cb(void *arg)
{
	struct conn *c = arg;

	c->backoff_ms = 0; /* it works; a 101 alone does not say so */
}

static void
upstream_lost_cb(void *arg, enum link_evidence e, const char *why)
{
	struct conn *c = arg;

	c->upstream = NULL;
	conn_upstream_drained(c);
	if (c->state == CONN_UPSTREAM) {
		ask_admission(c);
	} else if (c->streaming) {
		conn_close(c, "upstream was lost inside a message"); /* design section 5, Cursors */
	} else if (e == LINK_GARBLED || c->flavour != MSG_PBS) {
		conn_close(c, why);
	} else {
		schedule_retry(c);
	}
}

static const struct upstream_ops upstream_ops = {
	.refused = upstream_refused_cb,
	.opened = upstream_opened_cb,
	.lost = upstream_lost_cb,
	.pong = upstream_pong_cb,
};

static void
retry_cb(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;

	(void)fd;
	(void)what;
	if ((c->state == CONN_OPEN || c->state == CONN_UPSTREAM) && c->upstream == NULL && !link_down(c->relay->link))
		open_upstream(c);
}

static void
link_came_back(struct conn *c)
{
	uint64_t spread = c->relay->nconns * 1000 / c->relay->opt->reconnect_rate;
	uint32_t r;

	if (c->state != CONN_OPEN || c->upstream != NULL)
		return;
	tls_random(&r, sizeof(r));
	c->backoff_ms = 0;
	after_ms(c->retry, spread * r / UINT32_MAX);
}

/* Whoever is still trying to reach upstream stops; clients get what the offline rules give. */
static void
link_went_down(struct conn *c)
{
	struct session *s, *next;

	if (upstream_is_open(c->upstream))
		return; /* its own PING decides */
	upstream_close(c->upstream, false, "the link is down");
	c->upstream = NULL;
	event_del(c->retry);
	if (c->state == CONN_UPSTREAM)
		ask_admission(c);
	for (s = TAILQ_FIRST(&c->sessions); s != NULL; s = next) {
		next = TAILQ_NEXT(s, in_conn);
		session_link_down(s);
	}
}

void
conn_link_changed(struct conn *c)
{
	if (link_down(c->relay->link))
		link_went_down(c);
	else
		link_came_back(c);
}

/* ---- events ---- */

static void
timer_cb(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;
	uint64_t received = stream_received(c->stream);

	(void)fd;
	(void)what;
	if (c->state != CONN_OPEN) {
		leave(c, "the upgrade took too long", true);
	} else if (received == c->received_at_check) {
		leave(c, "idle", true);
	} else { /* S8: bytes came; look again */
		c->received_at_check = received;
		after_ms(c->timer, c->relay->opt->idle_timeout_ms);
	}
}

static size_t
stream_event_cb(void *arg, struct stream *st, enum stream_event ev, uint8_t *buf, size_t len)
{
	struct conn *c = arg;

	switch (ev) {
	case STREAM_OPEN:
		return 0;
	case STREAM_DATA:
		if (c->state == CONN_REQUEST)
			return on_request(c, buf, len);
		return c->state == CONN_OPEN ? on_frames(c, buf, len) : 0;
	case STREAM_DRAINED:
		stream_resume(st, SUSPEND_OWN);
		if (c->upstream != NULL)
			upstream_pause(c->upstream, false);
		return 0;
	case STREAM_EOF:
	case STREAM_ERROR:
		leave(c, stream_why(st), true);
		return 0;
	}
	PANIC("stream event");
}

void
conn_accept(struct relay *relay, int fd, const struct sockaddr *peer, socklen_t peer_len)
{
	struct conn *c = relay_alloc(sizeof(*c));

	(void)peer;
	(void)peer_len;
	c->relay = relay;
	c->id = ++relay->next_conn_id;
	c->opened_at = clock_ms();
	TAILQ_INIT(&c->sessions);
	c->stream = stream_accept(fd, relay->tls_listen, stream_event_cb, c);
	if (c->stream == NULL) {
		listener_release(relay->listener);
		free(c);
		return;
	}
	c->timer = event_new(relay->base, -1, 0, timer_cb, c);
	c->retry = event_new(relay->base, -1, 0, retry_cb, c);
	if (c->timer == NULL || c->retry == NULL)
		log_fatal("out_of_memory", "bytes=0");
	after_ms(c->timer, relay->opt->handshake_timeout_ms);
	TAILQ_INSERT_TAIL(&relay->conns, c, link);
	relay->nconns++;
	STAT_INC(relay, conns_accepted);
}
