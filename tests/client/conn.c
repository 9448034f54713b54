/* A connection of the client; see conn.h for its states. It never knows what a session sends or why.
 *
 * The idea: wanted sessions pull. Whenever something ends, leave_or_retry looks whether any session still wants the connection,
 * and either lets it rest or arms the one timer that brings it back. wsio calls back from the loop only, so nothing is freed
 * or re-entered behind the caller. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "protocol/message.h"

#include "tests/peer/client_rules.h"
#include "tests/peer/wsio.h"

#include "tests/client/conn.h"
#include "tests/client/session.h"
#include "tests/client/transcript.h"
#include "tests/client/world.h"

#define QUEUE_HIGH (1u << 20) /* bytes queued above which no further UPLOAD is made: eight full batches */
#define PUMP_AGAIN_MS 5
#define WS_MESSAGE_TOO_BIG 1009

enum conn_phase { IDLE, WAITING, CONNECTING, OPEN, CLOSING };

struct drained { /* a session that waits for its UNBOUND only */
	uint64_t ident;
	struct client_rules rules;
};

struct conn {
	enum conn_phase phase;
	struct world *world; /* borrowed */
	char *key;	     /* owned; NULL: of one device alone */
	char *token;	     /* owned */
	enum msg_flavour flavour;
	struct session **session; /* borrowed */
	size_t nsession, session_cap;
	struct drained *drained;
	size_t ndrained, drained_cap;
	struct wsio *w;	       /* CONNECTING, OPEN, CLOSING */
	struct event *timer;   /* WAITING: back-off; CONNECTING: time-out; CLOSING: the UNBOUNDs do not come */
	struct event *beat;    /* OPEN: the next PING, or the PONG's time-out */
	struct event *again;   /* OPEN: pump again */
	uint64_t next_ident, backoff_ms;
	uint64_t ended_at;     /* when the last connection ended; 0: there was none */
	bool halted;	       /* an error that no retry will cure */
	bool keep;	       /* stays open without sessions (unbind) */
	bool leaving;	       /* closes as soon as the sessions are unbound */
	bool was_open;
	bool waiting_pong, no_pong;
	uint64_t ping_at, rtt;
	char last_close[128];
};

static void open_conn(struct conn *c);
static void timer_cb(evutil_socket_t fd, short what, void *arg);
static void beat_cb(evutil_socket_t fd, short what, void *arg);
static void again_cb(evutil_socket_t fd, short what, void *arg);

static void
arm(struct event *ev, uint64_t ms)
{
	struct timeval tv = { .tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000) };

	event_add(ev, &tv);
}

static const char *
first_name(const struct conn *c)
{
	return c->nsession > 0 ? c->session[0]->dev.name : "?";
}

struct conn *
conn_new(struct world *w, const char *key)
{
	struct conn *c = world_grown(NULL, sizeof *c);

	memset(c, 0, sizeof *c);
	c->world = w;
	if (key != NULL && (c->key = strdup(key)) == NULL)
		abort();
	c->timer = evtimer_new(w->base, timer_cb, c);
	c->beat = evtimer_new(w->base, beat_cb, c);
	c->again = evtimer_new(w->base, again_cb, c);
	snprintf(c->last_close, sizeof c->last_close, "none");
	conn_set_token(c, w->opt.token);
	return c;
}

void
conn_free(struct conn *c)
{
	event_free(c->timer);
	event_free(c->beat);
	event_free(c->again);
	free(c->session);
	free(c->drained);
	free(c->token);
	free(c->key);
	free(c);
}

const char *
conn_key(const struct conn *c)
{
	return c->key;
}

void
conn_add(struct conn *c, struct session *s)
{
	if (c->nsession == c->session_cap) {
		c->session_cap = c->session_cap * 2 + 1;
		c->session = world_grown(c->session, c->session_cap * sizeof *c->session);
	}
	c->session[c->nsession++] = s;
	s->conn = c;
}

void
conn_set_flavour(struct conn *c, enum msg_flavour flavour)
{
	c->flavour = flavour;
}

void
conn_set_token(struct conn *c, const char *token)
{
	free(c->token);
	if ((c->token = strdup(token)) == NULL)
		abort();
}

bool
conn_is_open(const struct conn *c)
{
	return c->phase == OPEN;
}

bool
conn_is_full(const struct conn *c)
{
	return c->w != NULL && wsio_queued(c->w) > QUEUE_HIGH;
}

const char *
conn_state(const struct conn *c)
{
	static const char *const words[] = { "idle", "waiting", "connecting", "open", "closing" };

	return c->halted ? "halted" : words[c->phase];
}

const char *
conn_last_close(const struct conn *c)
{
	return c->last_close;
}

uint64_t
conn_next_ident(struct conn *c)
{
	return ++c->next_ident;
}

void
conn_drain(struct conn *c, uint64_t ident, const struct client_rules *r)
{
	if (c->ndrained == c->drained_cap) {
		c->drained_cap = c->drained_cap * 2 + 1;
		c->drained = world_grown(c->drained, c->drained_cap * sizeof *c->drained);
	}
	c->drained[c->ndrained++] = (struct drained){ ident, *r };
}

/* ---- coming and going ---- */

static bool
is_wanted(const struct conn *c)
{
	for (size_t i = 0; i < c->nsession; i++)
		if (c->session[i]->wanted && (!c->session[i]->suspended || evtimer_pending(c->session[i]->resume, NULL)))
			return true;
	return false;
}

static bool
is_unbinding(const struct conn *c)
{
	for (size_t i = 0; i < c->nsession; i++) {
		const struct client_rules *r = &c->session[i]->rules;

		if (r->bound && r->unbind_sent && !r->unbound && !r->failed)
			return true;
	}
	return c->ndrained > 0;
}

/* The connection is gone (or was never there): rest, or come back later. Real clients double the delay and take up to a quarter
 * off it at random. */
static void
leave_or_retry(struct conn *c)
{
	uint64_t delay = c->backoff_ms;

	c->phase = IDLE;
	if (!is_wanted(c) || c->halted)
		return;
	if (delay < c->world->opt.backoff_min_ms)
		delay = c->world->opt.backoff_min_ms;
	c->backoff_ms = delay * 2 < c->world->opt.backoff_max_ms ? delay * 2 : c->world->opt.backoff_max_ms;
	c->phase = WAITING;
	arm(c->timer, delay - world_random(c->world, delay / 4 + 1));
}

static void
error_to_all(struct conn *c, uint64_t code, const char *text, size_t len)
{
	for (size_t i = 0; i < c->nsession; i++)
		session_error(c->session[i], code, text, len);
}

static void
closing(struct conn *c)
{
	c->phase = CLOSING;
	event_del(c->timer);
	event_del(c->beat);
	event_del(c->again);
}

void
conn_close(struct conn *c)
{
	if (c->phase == OPEN || c->phase == CONNECTING) {
		wsio_close(c->w, 1000);
		closing(c);
	} else if (c->phase == WAITING) {
		event_del(c->timer);
		c->phase = IDLE;
	}
}

void
conn_cut(struct conn *c)
{
	if (c->w == NULL) {
		if (!is_wanted(c)) /* else there is nothing to cut, and it comes back as it was about to */
			conn_close(c);
		return;
	}
	wsio_cut(c->w);
	closing(c);
}

void
conn_release(struct conn *c)
{
	if (is_wanted(c) || (c->keep && c->phase == OPEN))
		return;
	if (c->phase != OPEN || !is_unbinding(c)) {
		conn_close(c);
	} else if (!c->leaving) {
		c->leaving = true;
		arm(c->timer, c->world->opt.leave_ms);
	}
}

void
conn_keep(struct conn *c)
{
	c->keep = true;
}

void
conn_want(struct conn *c)
{
	c->halted = c->keep = c->leaving = false;
	c->backoff_ms = 0;
	if (c->phase == OPEN)
		event_del(c->timer);
	if (c->phase == IDLE || c->phase == WAITING)
		open_conn(c);
}

void
conn_stall(struct conn *c, bool stalled)
{
	if (c->w != NULL)
		wsio_stall(c->w, stalled);
}

static void
timer_cb(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;

	(void)fd, (void)what;
	if (c->phase == WAITING) {
		open_conn(c);
	} else if (c->phase == CONNECTING) {
		wsio_cut(c->w);
		closing(c);
	} else {
		conn_close(c);
	}
}

/* ---- PING ---- */

static void
schedule_ping(struct conn *c, bool first)
{
	uint64_t ms = c->world->opt.ping_ms;

	arm(c->beat, ms - world_random(c->world, first ? ms : ms / 10 + 1));
}

void
conn_ping(struct conn *c)
{
	struct message m = { .type = MSG_C_PING };

	if (c->phase != OPEN || c->waiting_pong)
		return;
	c->ping_at = world_now_ms();
	m.ping.timestamp = c->ping_at;
	m.ping.rtt = c->rtt;
	c->waiting_pong = true;
	arm(c->beat, c->world->opt.pong_ms);
	conn_send(c, NULL, &m, NULL, 0);
}

static void
beat_cb(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;

	(void)fd, (void)what;
	if (!c->waiting_pong) {
		conn_ping(c);
		return;
	}
	wsio_cut(c->w);
	closing(c);
	c->no_pong = true;
}

static bool
receive_pong(struct conn *c, const struct message *m)
{
	char why[RULES_WHY_MAX];

	if (!c->waiting_pong || m->pong.timestamp != c->ping_at) {
		snprintf(why, sizeof why, "C8: PONG %" PRIu64 "%s", m->pong.timestamp,
			 c->waiting_pong ? " is not the PING's timestamp" : " without PING");
		world_violation(c->world, first_name(c), why);
		return false;
	}
	c->waiting_pong = false;
	c->rtt = world_now_ms() - c->ping_at;
	schedule_ping(c, false);
	return true;
}

/* ---- out ---- */

void
conn_send(struct conn *c, struct session *s, const struct message *m, const void *body, size_t body_len)
{
	char head[MSG_HEAD_MAX];

	if (s != NULL)
		transcript_add(s, '>', m, body, body_len);
	wsio_send(c->w, head, msg_format_head(m, head), body, body_len);
}

void
conn_send_raw(struct conn *c, const void *buf, size_t len)
{
	if (c->phase == OPEN)
		wsio_send(c->w, buf, len, NULL, 0);
}

void
conn_pump(struct conn *c)
{
	bool all = true;

	for (size_t i = 0; i < c->nsession && c->phase == OPEN; i++)
		all = session_pump(c->session[i]) && all;
	if (!all && c->phase == OPEN)
		arm(c->again, PUMP_AGAIN_MS);
}

static void
again_cb(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;

	(void)fd, (void)what;
	conn_pump(c);
}

/* ---- in ---- */

static struct session *
session_of(const struct conn *c, uint64_t ident)
{
	for (size_t i = 0; i < c->nsession; i++)
		if (c->session[i]->ident == ident)
			return c->session[i];
	return NULL;
}

/* The connection's own ERROR: the server is about to close; without try_again no retry follows. */
static void
receive_error(struct conn *c, const struct message *m, struct view body)
{

	error_to_all(c, m->type == MSG_S_ERROR ? m->error.error_code : m->json_error.error_code, (const char *)body.ptr, body.len);
	c->halted = !session_says_try_again(m, body);
	conn_close(c);
}

/* A message for a session that waits for its UNBOUND only. */
static bool
receive_drained(struct conn *c, struct drained *d, const struct message *m)
{
	char why[RULES_WHY_MAX];
	enum rules_verdict verdict = client_rules_check(&d->rules, m, (struct view){ NULL, 0 }, why);

	if (verdict == RULES_BROKEN)
		world_violation(c->world, first_name(c), why);
	if (verdict == RULES_OK)
		client_rules_apply(&d->rules, m);
	if (d->rules.unbound || d->rules.failed) {
		*d = c->drained[--c->ndrained];
		conn_release(c);
	}
	return verdict != RULES_BROKEN;
}

static bool
receive_no_session(struct conn *c, const struct message *m, struct view body)
{
	char why[RULES_WHY_MAX];

	for (size_t i = 0; m->session_ident != 0 && i < c->ndrained; i++)
		if (c->drained[i].ident == m->session_ident)
			return receive_drained(c, &c->drained[i], m);
	if (client_rules_check_conn(m, why) == RULES_BROKEN) {
		world_violation(c->world, first_name(c), why);
		return false;
	}
	if (m->type == MSG_S_ERROR || m->type == MSG_S_JSON_ERROR)
		receive_error(c, m, body);
	return true;
}

/* False: a rule is broken. */
static bool
receive(struct conn *c, const uint8_t *buf, size_t len)
{
	char why[RULES_WHY_MAX];
	struct message m;
	struct view body;
	struct session *s;

	if (client_rules_parse(c->flavour, buf, len, &m, &body, why) != RULES_OK) {
		world_violation(c->world, first_name(c), why);
		return false;
	}
	if (m.type == MSG_S_PONG)
		return receive_pong(c, &m);
	if (m.type == MSG_S_DOWNLOAD)
		c->backoff_ms = 0; /* the server does its work */
	s = m.session_ident != 0 ? session_of(c, m.session_ident) : NULL;
	for (size_t i = 0; i < c->nsession; i++)
		if (s == NULL ? m.session_ident == 0 : s == c->session[i])
			transcript_add(c->session[i], '<', &m, body.ptr, body.len);
	return s != NULL ? session_receive(s, &m, body) : receive_no_session(c, &m, body);
}

static void
on_message(void *arg, struct wsio *w, const uint8_t *buf, size_t len)
{
	struct conn *c = arg;

	if (c->phase != OPEN || receive(c, buf, len))
		return;
	wsio_close(w, 1002);
	closing(c);
}

/* ---- connecting ---- */

static bool
was_offered(const struct world *w, enum msg_flavour flavour, const char *subprotocol)
{
	struct msg_subprotocol sp;
	const char *p = w->opt.versions;

	if (msg_parse_subprotocol(view_of(subprotocol), &sp) != PROTO_OK || sp.flavour != flavour || sp.min != sp.max)
		return false;
	for (; *p != '\0'; p += strcspn(p, ","), p += *p == ',') {
		char *end;
		unsigned long low = strtoul(p, &end, 10), high = *end == '-' ? strtoul(end + 1, NULL, 10) : low;

		if (low <= sp.min && sp.min <= high)
			return true;
	}
	return false;
}

static void
on_answer(void *arg, struct wsio *w, unsigned status, const char *subprotocol)
{
	struct conn *c = arg;
	uint64_t now = world_now_ms();
	bool fast = c->ended_at != 0 && now - c->ended_at <= c->world->opt.fast_ms;

	if (status != 101) {
		error_to_all(c, status, "refused", strlen("refused"));
		c->halted = status != 401 && status >= 400 && status < 500;
		return;
	}
	if (!was_offered(c->world, c->flavour, subprotocol)) {
		world_violation(c->world, first_name(c), "subprotocol that was not offered");
		wsio_close(w, 1002);
		closing(c);
		return;
	}
	c->phase = OPEN;
	event_del(c->timer);
	c->waiting_pong = c->no_pong = false;
	schedule_ping(c, true);
	for (size_t i = 0; i < c->nsession; i++) {
		c->session[i]->reconnects += c->was_open;
		if (c->session[i]->wanted)
			session_connected(c->session[i], fast);
	}
	c->was_open = true;
	conn_pump(c);
}

static void
on_close(void *arg, struct wsio *w, int code, const char *why, bool in_message)
{
	struct conn *c = arg;

	(void)w;
	if (code == WS_MESSAGE_TOO_BIG) {
		world_violation(c->world, first_name(c), "closed with 1009: a real client resets itself");
		c->halted = true;
	}
	if (strncmp(why, "refused:", 8) == 0)
		fprintf(stderr, "client: %s %s\n", first_name(c), why);
	snprintf(c->last_close, sizeof c->last_close, "%d%s %.80s", code, in_message ? " in-message" : "", c->no_pong ? "no PONG" : why);
	closing(c);
	c->w = NULL;
	c->ndrained = 0;
	c->leaving = false;
	if (code != -1)
		c->ended_at = world_now_ms();
	for (size_t i = 0; i < c->nsession; i++)
		session_lost(c->session[i]);
	leave_or_retry(c);
}

static const struct wsio_ops ops = { .on_answer = on_answer, .on_message = on_message, .on_close = on_close };

/* "com.mongodb.realm-sync#14, ...": as a real client offers them, newest first as listed; a range as "com.mongodb.realm-sync#8-14". */
static void
format_offers(const struct world *w, enum msg_flavour flavour, char *out, size_t cap)
{
	char name[MSG_SUBPROTOCOL_MAX];
	const char *p = w->opt.versions;
	size_t len = 0;

	out[0] = '\0';
	for (; *p != '\0' && len < cap; p += strcspn(p, ","), p += *p == ',') {
		char *end;

		msg_format_subprotocol(flavour, (unsigned)strtoul(p, &end, 10), name);
		len += (size_t)snprintf(out + len, cap - len, "%s%s%.*s", len > 0 ? ", " : "", name, (int)strcspn(end, ","), end);
	}
}

static void
open_conn(struct conn *c)
{
	const struct options *o = &c->world->opt;
	char target[4096], offers[1024], headers[4096];

	event_del(c->timer);
	snprintf(target, sizeof target, "%s%cbaas_at=%s", o->target, strchr(o->target, '?') != NULL ? '&' : '?', c->token);
	snprintf(headers, sizeof headers, "Authorization: Bearer %s\r\n", c->token);
	format_offers(c->world, c->flavour, offers, sizeof offers);
	c->w = wsio_connect(c->world->base, o->host, o->port, target, offers, o->auth_header ? headers : NULL, o->tls_ca, &ops, c);
	c->phase = CONNECTING;
	arm(c->timer, o->connect_ms);
}
