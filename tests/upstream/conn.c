/* A connection of the stand-in upstream: upgrade, messages in and out, PING; see conn.h.
 *
 * For: main.c (accepted fds), session.c (sending), commands.c (orders).  Never: looks inside a session's messages.
 *
 * The one idea: what is sent goes straight to wsio, unless it has to wait (delay, stall, frozen).  Then it is queued in out, and
 * everything after it as well, so that order never changes.
 *
 *	out -> first ... last	messages with the time they are due; a cut or an end may be the last of them
 *
 * The end: conn_cut (RST now) and conn_error (ERROR, then the end of the stream) drop the sessions at once; the struct itself is
 * freed in on_close, which wsio calls from the loop. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include <event2/event.h>
#include <event2/util.h>

#include "protocol/http.h"

#include "tests/peer/wsio.h"
#include "tests/upstream/conn.h"
#include "tests/upstream/session.h"

enum { BAD_SYNTAX = 103 }; /* also for unknown names: the reference server has no use for 102 */

struct out {
	struct out *next;
	int64_t due_ms;
	bool end; /* after this message the connection ends */
	size_t cut;
	size_t len;
	uint8_t buf[];
};

int64_t
conn_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* ---- out ---- */

static bool
muted(const struct conn *c)
{
	return c->srv->orders.stall || c->srv->orders.frozen;
}

/* Sends what is due; arms the timer for the rest. */
static void
send_due(struct conn *c)
{
	int64_t now = conn_now_ms(), wait;
	struct timeval tv;
	struct out *o;

	while ((o = c->out) != NULL && !muted(c) && o->due_ms <= now) {
		if (o->cut != ORDERS_NO_CUT)
			wsio_send_cut(c->w, o->buf, o->len, o->cut);
		else
			wsio_send(c->w, o->buf, o->len, NULL, 0);
		if (o->end)
			wsio_end(c->w);
		c->out = o->next;
		c->out_bytes -= o->len;
		free(o);
	}
	if (c->out == NULL) {
		c->out_last = &c->out;
	} else if (!muted(c)) {
		wait = c->out->due_ms - now;
		tv = (struct timeval){ .tv_sec = wait / 1000, .tv_usec = wait % 1000 * 1000 };
		event_add(c->out_timer, &tv);
	}
}

static void
out_timer_cb(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	send_due(arg);
}

static void
enqueue(struct conn *c, const void *head, size_t head_len, const void *body, size_t len, size_t cut, bool end)
{
	struct out *o = malloc(sizeof *o + head_len + len);

	if (o == NULL)
		abort();
	o->next = NULL;
	o->due_ms = conn_now_ms() + c->srv->orders.delay_ms;
	o->end = end;
	o->cut = cut;
	o->len = head_len + len;
	memcpy(o->buf, head, head_len);
	if (len > 0)
		memcpy(o->buf + head_len, body, len);
	*c->out_last = o;
	c->out_last = &o->next;
	c->out_bytes += o->len;
	send_due(c);
}

static void
conn_put(struct conn *c, const struct message *m, const void *body, size_t len, size_t cut, bool end)
{
	char head[MSG_HEAD_MAX];
	size_t head_len = msg_format_head(m, head);

	if (c->closing)
		return;
	if (c->out == NULL && cut == ORDERS_NO_CUT && !end && c->srv->orders.delay_ms == 0 && !muted(c))
		wsio_send(c->w, head, head_len, body, len);
	else
		enqueue(c, head, head_len, body, len, cut, end);
	if (cut != ORDERS_NO_CUT || end)
		c->closing = true;
}

void
conn_send(struct conn *c, const struct message *m, const void *body, size_t len, size_t cut)
{
	conn_put(c, m, body, len, cut, false);
}

void
conn_say(struct conn *c, const void *buf, size_t len)
{
	if (!c->closing)
		wsio_send(c->w, buf, len, NULL, 0);
}

void
conn_log(struct conn *c, uint64_t session_ident, const char *level, const char *text)
{
	struct message m = { .type = MSG_S_LOG_MESSAGE, .flavour = MSG_PBS, .session_ident = session_ident };
	uint8_t id[12];
	char json[600], hex[32] = "";
	size_t i;
	int len;

	if (c->version < 10)
		return;
	if (session_ident == 0) {
		evutil_secure_rng_get_bytes(id, sizeof id);
		for (i = 0; i < sizeof id; i++)
			snprintf(hex + 2 * i, 3, "%02x", id[i]);
		len = snprintf(json, sizeof json, "{\"co_id\":\"%s\",\"level\":\"%s\",\"msg\":\"%.400s\"}", hex, level, text);
	} else {
		len = snprintf(json, sizeof json, "{\"level\":\"%s\",\"msg\":\"%.400s\"}", level, text);
	}
	m.log_message.size = (size_t)len;
	conn_send(c, &m, json, (size_t)len, ORDERS_NO_CUT);
}

/* Says m with its text and nothing after it. */
static void
last_word(struct conn *c, const struct message *m, unsigned code, const char *text)
{
	if (c->closing)
		return;
	c->srv->nerrors++;
	server_event(c->srv, "error %" PRIu64 " 0 %u %s", c->id, code, text);
	session_end_all(c);
	conn_put(c, m, text, strlen(text), ORDERS_NO_CUT, true);
}

void
conn_error(struct conn *c, unsigned code, const char *text)
{
	struct message m = { .type = MSG_S_ERROR, .flavour = MSG_PBS };

	m.error.error_code = code;
	m.error.size = strlen(text);
	m.error.try_again = code == 100;
	last_word(c, &m, code, text);
}

void
conn_json_error(struct conn *c, unsigned code, const char *json)
{
	struct message m = { .type = MSG_S_JSON_ERROR, .flavour = MSG_PBS };

	m.json_error.error_code = code;
	m.json_error.size = strlen(json);
	last_word(c, &m, code, json);
}

void
conn_cut(struct conn *c)
{
	session_end_all(c);
	c->closing = true;
	wsio_cut(c->w);
}

bool
conn_room(struct conn *c)
{
	bool room = wsio_queued(c->w) + c->out_bytes < CONN_OUT_HIGH;

	if (!room) {
		c->full = true;
		server_retry(c->srv);
	}
	return room;
}

void
conn_resume(struct conn *c)
{
	struct session *s, *next;

	wsio_stall(c->w, c->srv->orders.frozen);
	send_due(c);
	c->full = false;
	for (s = c->sessions; s != NULL; s = next) {
		next = s->next;
		session_push(s);
	}
}

/* ---- in ---- */

/* The rest of the first argument is a list of offers; returns the newest version both sides have, or 0. */
static unsigned
best_offer(const struct server *srv, struct view offers, enum msg_flavour *flavour)
{
	struct msg_subprotocol sp;
	struct view item;
	unsigned best = 0, top;

	while (http_list_next(&offers, &item)) {
		if (msg_parse_subprotocol(item, &sp) != PROTO_OK || (best != 0 && sp.flavour != *flavour))
			continue;
		top = sp.max < srv->max_version ? sp.max : srv->max_version;
		if (top >= sp.min && top >= srv->min_version && top > best) {
			best = top;
			*flavour = sp.flavour;
		}
	}
	return best;
}

static unsigned
negotiate(const struct server *srv, const struct http_head *head, enum msg_flavour *flavour)
{
	static const char name[] = "Sec-WebSocket-Protocol";
	unsigned best = 0, v;
	size_t i;

	for (i = 0; i < head->nheader; i++) {
		if (head->header[i].name.len != sizeof name - 1 ||
		    strncasecmp((const char *)head->header[i].name.ptr, name, sizeof name - 1) != 0)
			continue;
		v = best_offer(srv, head->header[i].value, flavour);
		if (v > best)
			best = v;
	}
	return best;
}

/* Checks both places where a token travels. */
static bool
token_allowed(const struct server *srv, const struct http_head *head)
{
	static const char bearer[] = "Bearer ";
	struct view token = http_query_param(head->query, "baas_at"), auth = head->authorization;

	if (token.ptr != NULL && !orders_token_allowed(&srv->orders, token))
		return false;
	if (auth.len < sizeof bearer - 1 || strncasecmp((const char *)auth.ptr, bearer, sizeof bearer - 1) != 0)
		return token.ptr != NULL || orders_token_allowed(&srv->orders, view_of(""));
	auth.ptr += sizeof bearer - 1;
	auth.len -= sizeof bearer - 1;
	return orders_token_allowed(&srv->orders, auth);
}

static void
on_request(void *arg, struct wsio *w, const struct http_head *head)
{
	struct conn *c = arg;
	const struct orders *o = &c->srv->orders;
	char protocol[MSG_SUBPROTOCOL_MAX];
	unsigned version = negotiate(c->srv, head, &c->flavour);

	server_event(c->srv, "request %" PRIu64 " %.*s", c->id, (int)(head->path.len < 200 ? head->path.len : 200),
		     (const char *)head->path.ptr);
	if (o->silent)
		return;
	if (o->raw_len != 0) {
		wsio_answer_raw(w, o->raw, o->raw_len);
	} else if (o->http_status != 0) {
		char *body = calloc(1, o->http_body + 1);

		if (body == NULL)
			abort();
		memset(body, 'b', o->http_body);
		wsio_answer_refuse(w, o->http_status, o->http_header, body);
		free(body);
	} else if (!token_allowed(c->srv, head)) {
		wsio_answer_refuse(w, 401, NULL, "token is denied");
	} else if (version == 0) {
		wsio_answer_refuse(w, 400, NULL, "no protocol version in common");
	} else {
		msg_format_subprotocol(c->flavour, version, protocol);
		c->version = version;
		c->last_ping_ms = conn_now_ms();
		wsio_answer_101(w, protocol);
		server_event(c->srv, "open %" PRIu64 " %u", c->id, version);
		conn_log(c, 0, "info", "Client connection established with server");
	}
}

/* Never called: this is the server's side. */
static void
on_answer(void *arg, struct wsio *w, unsigned status, const char *subprotocol)
{
	(void)arg, (void)w, (void)status, (void)subprotocol;
}

static void
on_ping(struct conn *c, const struct msg_ping *m)
{
	struct message pong = { .type = MSG_S_PONG, .flavour = MSG_PBS, .pong = { m->timestamp } };

	c->last_ping_ms = conn_now_ms();
	conn_send(c, &pong, NULL, 0, ORDERS_NO_CUT);
}

static void
on_message(void *arg, struct wsio *w, const uint8_t *buf, size_t len)
{
	struct conn *c = arg;
	struct message m;
	struct view body;
	enum proto_err err;

	(void)w;
	if (c->closing)
		return;
	err = msg_parse(MSG_C2S, c->flavour, buf, len, &m, &body);
	if (err != PROTO_OK) {
		server_violation(c->srv, "conn %" PRIu64 ": %u %s: %.*s", c->id, BAD_SYNTAX, proto_strerror(err), (int)(len < 40 ? len : 40),
				 (const char *)buf);
		conn_error(c, BAD_SYNTAX, proto_strerror(err));
	} else if (m.type == MSG_C_PING) {
		on_ping(c, &m.ping);
	} else {
		session_message(c, &m, body);
	}
}

/* cut-upload: part of a message is there. */
static void
on_part(void *arg, struct wsio *w, const uint8_t *buf, size_t len)
{
	static const char upload[] = "upload ";
	struct conn *c = arg;
	size_t *cut = &c->srv->orders.cut_upload;

	(void)w;
	if (*cut == ORDERS_NO_CUT || len < *cut || len < sizeof upload - 1 || memcmp(buf, upload, sizeof upload - 1) != 0)
		return;
	*cut = ORDERS_NO_CUT;
	conn_cut(c);
}

static void
on_close(void *arg, struct wsio *w, int code, const char *why, bool in_message)
{
	struct conn *c = arg;
	struct server *srv = c->srv;
	struct out *o;

	(void)w;
	if (strncmp(why, "bad ", 4) == 0)
		server_violation(srv, "conn %" PRIu64 ": %s", c->id, why);
	server_event(srv, "close %" PRIu64 " %d %s%s", c->id, code, why, in_message ? " (in a message)" : "");
	session_end_all(c);
	while ((o = c->out) != NULL) {
		c->out = o->next;
		free(o);
	}
	event_free(c->out_timer);
	if (c->prev != NULL)
		c->prev->next = c->next;
	else
		srv->conns = c->next;
	if (c->next != NULL)
		c->next->prev = c->prev;
	srv->nconns--;
	free(c);
}

static const struct wsio_ops ops = { on_request, on_answer, on_message, on_close };

void
conn_accept(struct server *srv, int fd)
{
	struct conn *c = calloc(1, sizeof *c);

	if (c == NULL || (c->out_timer = evtimer_new(srv->base, out_timer_cb, c)) == NULL)
		abort();
	c->srv = srv;
	c->id = ++srv->last_conn_id;
	c->out_last = &c->out;
	c->next = srv->conns;
	if (c->next != NULL)
		c->next->prev = c;
	srv->conns = c;
	srv->nconns++;
	c->w = wsio_accept(srv->base, fd, srv->cert, srv->key, &ops, c);
	wsio_watch(c->w, on_part);
	if (srv->orders.frozen)
		wsio_stall(c->w, true);
}
