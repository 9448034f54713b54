/* The client's leg.  See conn.h for the states.
 *
 * A message of the client's is taken whole (it must be checked whole before any of it is stored or forwarded); one that arrives in a single
 * piece is used where it lies, others are gathered, growing with what arrives, never with what is announced.
 *
 * In doubt the client is closed, which is always safe (design section 2).  The upgrade and upstream's coming and going: conn_upgrade.c. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "relay/address.h"
#include "relay/admit.h"
#include "relay/clock.h"
#include "relay/conn_impl.h"
#include "relay/door.h"
#include "relay/exchange.h"
#include "relay/flood.h"
#include "relay/front.h"
#include "relay/gate.h"
#include "relay/hot.h"
#include "relay/log.h"
#include "relay/name.h"
#include "relay/request.h"
#include "relay/session.h"
#include "relay/spool.h"
#include "relay/stream.h"
#include "relay/upstream.h"
#include "relay/wire.h"

#define IN_PLACE_MIN 16384   /* bytes of a message that are worth a read of their own */
#define IN_PLACE_MAX 262144  /* bytes of it at once, before others have their turn */
#define LONG_MESSAGE 65536   /* bytes: a client that sent a message as long as this is read differently */
#define HEAD_READ 4096	     /* bytes of the next one that are read to be copied: the others go where it is gathered */
#define USUAL_MAX 1048576    /* bytes that are reserved at once for who sent as many before */
#define GATHER_GROWTH 4	     /* times what has arrived is reserved for a long message: each step copies what is there */
#define SECRET_MAX 4096	     /* bytes of a message that may hold a token (I9): a BIND's head, path and token are less */
#define SUBJECT_MAX 256	     /* bytes of a certificate's subject that are kept, for the log */
#define CLOSE_LINGER_MS 2000 /* for the last bytes to a client */

static struct conn_list closed = TAILQ_HEAD_INITIALIZER(closed);

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

void
conn_describe(const struct conn *c, struct conn_info *out)
{
	*out = (struct conn_info){ c->id, clock_ms() - c->opened_at, c->peer, c->version, c->offline };
}

struct relay *
conn_relay(const struct conn *c)
{
	return c->relay;
}

struct front *
conn_front(const struct conn *c)
{
	return c->front;
}

struct link *
conn_link(const struct conn *c)
{
	return c->front->link;
}

struct conn *
conn_next(const struct conn *c)
{
	return TAILQ_NEXT(c, link);
}

/* ---- the end ---- */

/* One that was never admitted says little, and whoever likes can make any number of them. */
static void
log_closed(const struct conn *c, const char *reason)
{
	static struct flood strangers;
	bool told = c->state == CONN_OPEN || flood_ok(&strangers, FLOOD_STRANGERS, FLOOD_STRANGERS_MS);
	struct log_line l;

	log_begin(&l, told ? LOG_INFO : LOG_DEBUG, "conn_closed");
	log_u64(&l, "conn", c->id);
	log_str(&l, "peer", c->peer);
	log_str(&l, "reason", reason);
	log_u64(&l, "age_ms", clock_ms() - c->opened_at);
	log_u64(&l, "messages_in", c->messages_in);
	log_u64(&l, "messages_out", c->messages_out);
	log_u64(&l, "bytes_in", stream_received(c->stream));
	log_u64(&l, "bytes_out", stream_sent(c->stream));
	if (told && c->state != CONN_OPEN && strangers.dropped > 0)
		log_u64(&l, "suppressed", flood_dropped(&strangers));
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

void
conn_shaken(struct conn *c)
{
	if (!c->shaking)
		return;
	c->shaking = false;
	gate_shaken(c->relay->gate);
	front_admission(c->relay);
}

void
conn_leave(struct conn *c, const char *reason, bool drain)
{
	bool superseded = !drain; /* its files are about to be bound elsewhere, or nothing is left to say */
	struct upstream *u = c->upstream;
	struct session *s;

	if (c->state == CONN_CLOSED)
		return;
	log_closed(c, reason);
	drain = drain && drains(c);
	c->state = CONN_CLOSED;
	stream_close(c->stream, !c->streaming && !c->dropping, CLOSE_LINGER_MS);
	while ((s = TAILQ_FIRST(&c->sessions)) != NULL)
		session_client_gone(s, drain);
	c->upstream = NULL;
	if (u != NULL && drain)
		upstream_orphan(u);
	else
		upstream_close(u, !superseded, "client gone");
	admit_cancel(c->admit);
	exchange_cancel(c->exchange);
	c->exchange = NULL;
	door_close(c->door);
	timer_stop(c->relay->timers, &c->timer);
	if (c->retry != NULL)
		timer_stop(c->relay->timers, c->retry);
	conn_shaken(c);
	gate_leave(c->relay->gate, c->from);
	TAILQ_REMOVE(&c->relay->conns, c, link);
	TAILQ_INSERT_TAIL(&closed, c, link);
	c->relay->nconns--;
	c->front->link->nconns--;
	front_release(c->front);
	c->relay->nsuspended -= c->spool_suspended;
}

void
conn_close(struct conn *c, const char *reason)
{
	STAT_INC(c->relay, clients_closed);
	conn_leave(c, reason, true);
}

void
conn_abort(struct conn *c, const char *reason)
{
	STAT_INC(c->relay, clients_closed);
	conn_leave(c, reason, false);
}

void
conn_overfull(struct conn *c, const char *reason)
{
	STAT_INC(c->relay, conns_overfull);
	c->dropping = true;
	conn_leave(c, reason, false);
}

void
conn_free_closed(void)
{
	struct conn *c;

	while ((c = TAILQ_FIRST(&closed)) != NULL) {
		TAILQ_REMOVE(&closed, c, link);
		door_free(c->door);
		relay_wipe(c->target);
		relay_wipe(c->authorization);
		name_drop(c->user_agent);
		name_drop(c->offers);
		name_drop(c->endpoint);
		free(c->peer);
		free(c->subject);
		free(c->key_accept);
		free(c->retry);
		if (c->msg != NULL)
			explicit_bzero(c->msg, c->msg_len);
		free(c->msg);
		outqueue_clear(&c->after);
		free(c);
	}
}

/* ---- out ---- */

/* A client that reads slowly: upstream is not read until it has caught up. */
static void
check_outbuf(struct conn *c)
{
	if (c->upstream != NULL && stream_queued(c->stream) > c->front->opt->out_high)
		upstream_pause(c->upstream, true);
}

static size_t
own_queue(const struct conn *c)
{
	return stream_queued(c->stream) + c->after.len;
}

/* A client that asks (PING, MARK, a WebSocket's ping) and does not read the answers is not read either. */
static void
own_queue_check(struct conn *c)
{
	if (own_queue(c) > c->front->opt->out_high)
		stream_suspend(c->stream, SUSPEND_OWN);
}

void
conn_send(struct conn *c, const struct message *m, struct view body)
{
	if (c->state != CONN_OPEN)
		return;
	c->messages_out++;
	if (!c->streaming)
		wire_send(c->stream, WS_SERVER, m, body);
	else if (!wire_message(&c->after, WS_SERVER, m, body))
		stream_fail(c->stream, "out of memory");
	own_queue_check(c);
}

uint64_t
conn_held(const struct conn *c)
{
	uint64_t sum = c->msg_cap + door_held(c->door) + stream_held(c->stream) + c->after.len;
	const struct session *s;

	TAILQ_FOREACH (s, &c->sessions, in_conn)
		sum += session_held(s);
	return c->upstream != NULL ? sum + upstream_held(c->upstream) : sum;
}

bool
conn_is_full(const struct conn *c)
{
	return own_queue(c) > c->front->opt->out_high;
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
	if (c->after.len > 0)
		stream_write_queue(c->stream, &c->after);
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
	conn_leave(c, text, true);
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
	if (c->spool_suspended && spool_queued(c->relay->spool) <= c->front->opt->spool_bytes / 2) {
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

unsigned
conn_count_sessions(const struct conn *c)
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
	UNWIPED struct message m;
	struct view body;
	struct session *s;
	enum proto_err err = msg_parse(MSG_C2S, c->flavour, buf, len, &m, &body);

	c->messages_in++;
	if (err != PROTO_OK || msg_has_token(m.type))
		c->secret_seen = true;
	if (err != PROTO_OK) {
		conn_protocol_error(c, err == PROTO_MSG_UNKNOWN ? 102 : err == PROTO_MSG_LIMIT ? 104 : 103, proto_strerror(err));
		return;
	}
	if (m.type == MSG_C_PING) {
		answer_ping(c, &m);
		return;
	}
	if (m.type == MSG_C_BIND) {
		if (conn_count_sessions(c) >= c->front->opt->max_sessions)
			conn_close(c, "too many sessions on one connection");
		else if (c->relay->nsessions >= c->front->opt->max_sessions_total)
			conn_close(c, "too many sessions in all");
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

/* realloc() of what holds len bytes, which may be a secret as long as they are few: it leaves no copy (I9). */
static uint8_t *
grow(uint8_t *old, size_t len, size_t cap)
{
	uint8_t *p;

	if (len == 0 || len > SECRET_MAX)
		return realloc(old, cap);
	if ((p = malloc(cap)) == NULL)
		return NULL;
	memcpy(p, old, len);
	explicit_bzero(old, len);
	free(old);
	return p;
}

/* Makes room for need bytes of the message, and, as far as the limit goes, for what will come.  Why that cannot be; NULL: it was. */
static const char *
reserve(struct conn *c, size_t need)
{
	uint64_t most = c->front->opt->max_queued_connection, longest, held, room, cap, least;
	uint8_t *p;

	if (need <= c->msg_cap)
		return NULL;
	held = conn_held(c);
	room = held < most ? most - held : 0;
	longest = min_u64(c->whole_len, c->front->opt->max_message > need ? c->front->opt->max_message : need);
	least = min_u64(need > SECRET_MAX ? need : SECRET_MAX, longest);
	cap = min_u64(max_u64(need > SECRET_MAX ? GATHER_GROWTH * (uint64_t)need : SECRET_MAX, c->usual), longest);
	if (cap - c->msg_cap > room)
		cap = least;
	if (cap - c->msg_cap > room)
		return "more than max_queued_connection is held for this client";
	if ((p = grow(c->msg, c->msg_len, (size_t)cap)) == NULL)
		return "out of memory";
	c->msg = p;
	c->msg_cap = (size_t)cap;
	return NULL;
}

/* Why the message cannot be gathered; NULL: it was. */
static const char *
gather(struct conn *c, struct view data)
{
	const char *why = reserve(c, c->msg_len + data.len);

	if (why != NULL)
		return why;
	if (data.ptr != c->msg + c->msg_len) /* else it was received there */
		memcpy(c->msg + c->msg_len, data.ptr, data.len);
	c->msg_len += data.len;
	return NULL;
}

/* A piece of a message.  One that says a token and is longer than such a message can be is refused before it grows (I9). */
static void
piece_in(struct conn *c, struct view data)
{
	const char *why = gather(c, data);
	bool is_long = (c->whole_len > SECRET_MAX && c->whole_len != UINT64_MAX) || c->msg_len > SECRET_MAX;

	if (why != NULL)
		conn_overfull(c, why);
	else if (!is_long || c->msg_len < MSG_TELLS_BY)
		c->secret_seen = true;
	else if (msg_tells_token(c->msg, c->msg_len))
		conn_protocol_error(c, 104, proto_strerror(PROTO_MSG_LIMIT));
}

/* The rest of a long message is received where it is gathered, as far as memory for it goes, which grows with what has arrived, or
 * what its client has sent at once before. */
static void
gather_in_place(struct conn *c)
{
	uint64_t left = c->whole_len - c->msg_len;

	if (c->msg == NULL && c->usual >= LONG_MESSAGE) /* another such one begins, likely: its head only */
		stream_read_into(c->stream, NULL, HEAD_READ);
	if (c->msg == NULL || c->whole_len == UINT64_MAX || left < IN_PLACE_MIN)
		return;
	if (c->msg_cap - c->msg_len < IN_PLACE_MIN && reserve(c, c->msg_len + IN_PLACE_MIN) != NULL)
		return;
	stream_read_into(c->stream, c->msg + c->msg_len, c->msg_cap - c->msg_len < IN_PLACE_MAX ? c->msg_cap - c->msg_len : IN_PLACE_MAX);
}

/* What came in fragments was gathered in memory that grew ahead of it: whoever takes it counts its bytes only. */
static void
give_back_spare(struct conn *c)
{
	uint8_t *p;

	if (c->msg_len <= SECRET_MAX || c->msg_cap - c->msg_len <= c->msg_cap / 4) /* a secret leaves no copy behind */
		return;
	p = realloc(c->msg, c->msg_len);
	if (p != NULL)
		c->msg = p;
}

/* The message is complete: in one piece where it was received, or gathered. */
static void
message_complete(struct conn *c)
{
	struct view whole;

	give_back_spare(c);
	whole = c->msg != NULL ? (struct view){ c->msg, c->msg_len } : c->piece;
	c->whole = c->msg;
	c->msg = NULL;
	c->msg_len = c->msg_cap = 0;
	c->piece = view_of("");
	c->usual = (uint32_t)min_u64(whole.len, USUAL_MAX);
	message_in(c, whole.ptr, whole.len);
	if (c->whole != NULL && whole.len <= SECRET_MAX)
		explicit_bzero(c->whole, whole.len);
	free(c->whole);
	c->whole = NULL;
}

uint8_t *
conn_take_whole(struct conn *c)
{
	uint8_t *whole = c->whole;

	c->whole = NULL;
	return whole;
}

/* The client closes: answer with its own code (RFC 6455 5.5.1), then TCP. */
static void
client_closes(struct conn *c, uint16_t code)
{
	uint8_t payload[WS_CONTROL_MAX];
	size_t n = code == 1005 ? 0 : ws_format_close(payload, code, "");

	if (!c->streaming)
		wire_control(c->stream, WS_SERVER, WS_CLOSE, payload, n);
	conn_leave(c, "client closed the WebSocket", true);
}

static void
ws_violation(struct conn *c, uint16_t code, const char *why)
{
	uint8_t payload[WS_CONTROL_MAX];
	size_t n = ws_format_close(payload, code, why);

	STAT_INC(c->relay, protocol_errors);
	if (!c->streaming)
		wire_control(c->stream, WS_SERVER, WS_CLOSE, payload, n);
	conn_leave(c, why, true);
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
			c->piece = ev->data; /* message_in sees what it is */
		else
			piece_in(c, ev->data);
		break;
	case WS_EV_END:
		message_complete(c);
		break;
	case WS_EV_PING:
		if (!c->streaming)
			wire_control(c->stream, WS_SERVER, WS_PONG, ev->data.ptr, ev->data.len);
		own_queue_check(c);
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
	bool in_place = c->msg != NULL && buf == c->msg + c->msg_len; /* all of it belongs to one message, and is taken */

	soon(TAILQ_FIRST(&c->sessions));
	c->secret_seen = false;
	while (c->state == CONN_OPEN && c->opening == 0 && (in_place || !spool_is_behind(c->relay))) {
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
	if (c->state == CONN_OPEN && !c->secret_seen)
		stream_harmless(c->stream);
	if (c->state == CONN_OPEN && done == len)
		gather_in_place(c);
	return done;
}

/* ---- events ---- */

static void
retry_cb(void *arg)
{
	conn_retry(arg);
}

void
conn_retry_after(struct conn *c, uint64_t ms)
{
	if (c->retry == NULL) {
		c->retry = relay_alloc(sizeof(*c->retry));
		timer_init(c->retry, retry_cb, c);
	}
	timer_set(c->relay->timers, c->retry, ms);
}

static void
timer_cb(void *arg)
{
	struct conn *c = arg;
	uint64_t received = stream_received(c->stream);

	if (c->state != CONN_OPEN) {
		conn_leave(c, c->door != NULL ? "no further request came" : "the upgrade took too long", true);
	} else if (received == c->received_at_check) {
		conn_leave(c, "idle", true);
	} else { /* S8: bytes came; look again */
		c->received_at_check = received;
		timer_set(c->relay->timers, &c->timer, c->front->opt->idle_timeout_ms);
	}
}

static void
on_drained(struct conn *c)
{
	struct session *s, *next;

	stream_resume(c->stream, SUSPEND_OWN);
	if (c->door != NULL)
		door_drained(c->door);
	if (c->upstream != NULL)
		upstream_pause(c->upstream, false);
	for (s = TAILQ_FIRST(&c->sessions); s != NULL && c->state == CONN_OPEN; s = next) {
		next = TAILQ_NEXT(s, in_conn);
		request_go_on(s);
	}
}

static void
on_open(struct conn *c)
{
	char subject[SUBJECT_MAX];

	if (stream_subject(c->stream, subject, sizeof(subject)))
		c->subject = relay_strndup(subject, strlen(subject));
}

static size_t
stream_event_cb(void *arg, struct stream *st, enum stream_event ev, uint8_t *buf, size_t len)
{
	struct conn *c = arg;

	switch (ev) {
	case STREAM_OPEN:
		on_open(c);
		return 0;
	case STREAM_DATA:
		if (c->state == CONN_REQUEST)
			return conn_request(c, buf, len);
		if (c->state == CONN_HTTP)
			return door_data(c->door, buf, len);
		if (c->state == CONN_OPEN && c->opaque)
			return conn_opaque_in(c, buf, len);
		return c->state == CONN_OPEN ? on_frames(c, buf, len) : 0;
	case STREAM_DRAINED:
		on_drained(c);
		return 0;
	case STREAM_EOF:
	case STREAM_ERROR:
		conn_leave(c, stream_why(st), true);
		return 0;
	}
	PANIC("stream event");
}

void
conn_accept(struct front *f, int fd, const struct sockaddr *peer, socklen_t peer_len)
{
	struct relay *relay = f->relay;
	struct gate_address *from = gate_enter(relay->gate, peer);
	char text[ADDRESS_TEXT_MAX];
	struct conn *c;

	if (from == NULL) {
		STAT_INC(relay, conns_turned_away);
		close(fd);
		front_release(f);
		return;
	}
	c = relay_alloc(sizeof(*c));
	c->relay = relay;
	c->front = f;
	c->from = from;
	c->shaking = true;
	c->id = ++relay->next_conn_id;
	c->opened_at = clock_ms();
	TAILQ_INIT(&c->sessions);
	c->stream = stream_accept(fd, f->tls, stream_event_cb, c);
	if (c->stream == NULL) {
		conn_shaken(c);
		gate_leave(relay->gate, from);
		front_release(f);
		free(c);
		return;
	}
	address_format(peer, peer_len, text);
	c->peer = relay_strndup(text, strlen(text));
	timer_init(&c->timer, timer_cb, c);
	timer_set(c->relay->timers, &c->timer, gate_patience_ms(relay->gate));
	TAILQ_INSERT_TAIL(&relay->conns, c, link);
	relay->nconns++;
	f->link->nconns++;
	front_admission(relay);
	STAT_INC(relay, conns_accepted);
}
