/* What upstream sends: frames, messages, and to whom each goes.
 *
 * Messages are taken apart as they arrive: the head is gathered (it is short), then the body is streamed to the client, collected, or
 * dropped, as the session says.  A session ident that is not entered here (any more) is dropped: the client has left it.
 *
 * An idle connection has no struct incoming: one is taken for each message (chunk.h, so in steady state nothing is allocated).
 *
 * Any of the calls into session, conn or owner may close u; each function here that made one says whether u is still open. */
#include <stdlib.h>
#include <string.h>

#include "relay/chunk.h"
#include "relay/conn.h"
#include "relay/hot.h"
#include "relay/log.h"
#include "relay/stream.h"
#include "relay/upstream_impl.h"
#include "relay/verdict.h"
#include "relay/wire.h"

#define COLLECT_MAX 65536 /* bytes of a collected body: error texts and JSON; longer ones are cut off at no real server */

_Static_assert(sizeof(struct incoming) <= CHUNK_HEAD, "a message that arrives is a chunk");

static struct incoming *
incoming_take(void)
{
	uint8_t chunk;
	struct incoming *in = chunk_take(0, &chunk);

	if (in == NULL)
		log_fatal("out_of_memory", "bytes=%zu", sizeof(*in));
	*in = (struct incoming){ .chunk = chunk };
	return in;
}

static void
incoming_give_back(struct incoming *in)
{
	free(in->head);
	free(in->body);
	chunk_give(in, in->chunk);
}

void
upstream_forget_incoming(struct upstream *u)
{
	if (u->in != NULL)
		incoming_give_back(u->in);
	u->in = NULL;
}

static struct session *
session_by_ident(struct upstream *u, uint64_t ident)
{
	struct session *s;

	TAILQ_FOREACH (s, &u->sessions, in_upstream)
		if (s->upstream_ident == ident)
			return s;
	return NULL;
}

static void
got_pong(struct upstream *u)
{
	u->awaiting_pong = false;
	link_succeeded(u->way);
	if (u->ops != NULL && u->ops->pong != NULL)
		u->ops->pong(u->arg);
}

/* Messages about the connection as a whole.  False: u is closed. */
static bool
connection_message(struct upstream *u, struct incoming *in)
{
	switch (in->m.type) {
	case MSG_S_PONG:
		in->route = ROUTE_DROP;
		got_pong(u);
		return u->state == UPSTREAM_OPEN;
	case MSG_S_ERROR:
	case MSG_S_JSON_ERROR:
		in->route = ROUTE_COLLECT;
		return true;
	default:
		in->route = u->conn != NULL ? ROUTE_STREAM : ROUTE_DROP;
		return true;
	}
}

/* In a session of the owner's own. */
static enum session_route
owner_route(const struct upstream *u, enum msg_type type)
{
	bool wanted = type == MSG_S_IDENT || type == MSG_S_UNBOUND || type == MSG_S_ERROR || type == MSG_S_JSON_ERROR;

	return wanted && u->ops != NULL && u->ops->message != NULL ? ROUTE_COLLECT : ROUTE_DROP;
}

/* The head is complete, and parsed from where head points; false: u is closed. */
static bool
message_begin(struct upstream *u, const uint8_t *head)
{
	struct incoming *in = u->in;
	UNWIPED struct message out;

	in->begun = true;
	in->left = in->m.body_len;
	in->session = NULL;
	in->to_client = false;
	out = in->m;
	out.head = head;
	if (in->m.session_ident == 0) {
		if (!connection_message(u, in))
			return false;
	} else {
		in->session = session_by_ident(u, in->m.session_ident);
		in->route = in->session != NULL ? session_upstream_head(in->session, &out) : owner_route(u, in->m.type);
	}
	if (in->route == ROUTE_COLLECT && in->m.body_len > COLLECT_MAX) {
		upstream_lost(u, LINK_GARBLED, "an error text is too long");
		return false;
	}
	if (in->route == ROUTE_COLLECT)
		in->body = relay_alloc((size_t)in->m.body_len);
	if (in->route == ROUTE_STREAM && u->conn != NULL) {
		in->to_client = true;
		conn_stream_begin(u->conn, &out, in->m.body_len);
	}
	return u->state == UPSTREAM_OPEN;
}

/* head is whole, where it was received or gathered; false: u is closed. */
static bool
head_complete(struct upstream *u, struct view head)
{
	struct incoming *in = u->in;
	enum proto_err err = msg_parse_head(MSG_S2C, u->flavour, head.ptr, head.len, &in->m);
	bool open;

	if (err != PROTO_OK) {
		char text[160];

		snprintf(text, sizeof(text), "bad message from upstream: %s", proto_strerror(err));
		upstream_lost(u, LINK_GARBLED, text);
		return false;
	}
	open = message_begin(u, head.ptr);
	if (in->m.type == MSG_S_DOWNLOAD)
		in->m.download.progress_estimate = (struct view){ NULL, 0 }; /* it was in the head */
	free(in->head);
	in->head = NULL;
	in->head_len = 0;
	return open;
}

/* Takes bytes of the head off *data; false: u is closed. */
static bool
gather_head(struct upstream *u, struct view *data)
{
	struct incoming *in = u->in;
	const uint8_t *lf = memchr(data->ptr, '\n', data->len);
	struct view head = { data->ptr, lf != NULL ? (size_t)(lf - data->ptr) + 1 : data->len };

	if (head.len > MSG_HEAD_MAX - in->head_len) {
		upstream_lost(u, LINK_GARBLED, proto_strerror(PROTO_MSG_HEAD_TOO_LONG));
		return false;
	}
	data->ptr += head.len;
	data->len -= head.len;
	if (lf != NULL && in->head_len == 0)
		return head_complete(u, head);
	if (in->head == NULL)
		in->head = relay_alloc(MSG_HEAD_MAX);
	memcpy(in->head + in->head_len, head.ptr, head.len);
	in->head_len += head.len;
	return lf == NULL || head_complete(u, (struct view){ in->head, in->head_len });
}

static bool
message_data(struct upstream *u, struct view data)
{
	struct incoming *in = u->in;

	while (data.len > 0 && !in->begun)
		if (!gather_head(u, &data))
			return false;
	if (data.len > in->left) {
		upstream_lost(u, LINK_GARBLED, proto_strerror(PROTO_MSG_LENGTH));
		return false;
	}
	in->left -= data.len;
	if (data.len == 0)
		return true;
	if (in->to_client) {
		conn_stream_data(u->conn, data);
		if (in->session != NULL)
			session_upstream_data(in->session, &in->m, data);
	} else if (in->route == ROUTE_COLLECT) {
		memcpy(in->body + in->body_len, data.ptr, data.len);
		in->body_len += data.len;
	}
	return u->state == UPSTREAM_OPEN;
}

/* Both sides are closed, the client comes back (design section 8); the delay that upstream names is for our own connections. */
static void
connection_error(struct upstream *u, const struct message *m, struct view body)
{
	struct verdict_error e;
	struct log_line l;

	verdict_read(m, body, false, &e);
	log_begin(&l, LOG_WARN, "upstream_error");
	log_u64(&l, "conn", u->conn != NULL ? conn_id(u->conn) : 0);
	log_u64(&l, "code", e.code);
	log_str(&l, "verdict", verdict_name(verdict_of(&e)));
	if (!u->way->stopped)
		log_u64(&l, "delay_ms", link_hold(u->way, &e));
	log_view(&l, "text", body);
	log_end(&l);
	STAT_INC(u->way->relay, upstream_errors);
	upstream_lost(u, LINK_GARBLED, "upstream ended the connection with an error");
}

static bool
message_end(struct upstream *u)
{
	struct incoming *in = u->in;
	struct view body = { in->body, in->body_len };

	if (!in->begun || in->left > 0) {
		upstream_lost(u, LINK_GARBLED, proto_strerror(PROTO_MSG_LENGTH));
		return false;
	}
	u->in = NULL; /* it is ours */
	if (in->to_client)
		conn_stream_end(u->conn);
	if (in->session != NULL)
		session_upstream_end(in->session, &in->m, body, in->to_client);
	else if (in->m.session_ident == 0 && in->route == ROUTE_COLLECT)
		connection_error(u, &in->m, body);
	else if (in->route == ROUTE_COLLECT && u->ops != NULL && u->ops->message != NULL)
		u->ops->message(u->arg, &in->m, body);
	incoming_give_back(in);
	return u->state == UPSTREAM_OPEN;
}

/* One WebSocket event; false: u is closed. */
static bool
ws_event(struct upstream *u, const struct ws_event *ev)
{
	switch (ev->type) {
	case WS_EV_BEGIN:
		if (ev->opcode != WS_BINARY) {
			upstream_lost(u, LINK_GARBLED, "a text message from upstream");
			return false;
		}
		u->in = incoming_take();
		return true;
	case WS_EV_DATA:
		return message_data(u, ev->data);
	case WS_EV_END:
		return message_end(u);
	case WS_EV_PING:
		wire_control(u->stream, WS_CLIENT, WS_PONG, ev->data.ptr, ev->data.len);
		return true;
	case WS_EV_CLOSE:
		upstream_lost(u, LINK_CUT, "upstream closed the WebSocket");
		return false;
	case WS_EV_PONG:
	case WS_EV_NONE:
		return true;
	}
	PANIC("WebSocket event");
}

size_t
upstream_frames(struct upstream *u, uint8_t *buf, size_t len)
{
	struct ws_event ev;
	enum proto_err err;
	size_t done = 0, used;

	soon(u->conn);
	soon(TAILQ_FIRST(&u->sessions));
	for (;;) {
		err = ws_decode(&u->ws, buf + done, len - done, &used, &ev);
		done += used;
		if (err == PROTO_MORE)
			return done;
		if (err != PROTO_OK) {
			upstream_lost(u, LINK_GARBLED, proto_strerror(err));
			return len;
		}
		if (!ws_event(u, &ev))
			return len;
	}
}
