/* The upstream leg.  See upstream.h for the states.
 *
 * Liveness (design section 5, thin links): the relay sends its own PING; the clock for the PONG starts when the PING has left the queue, and
 * any byte that arrives on either side counts as life.  While a slow client keeps us from reading, silence is our own doing.
 *
 * Before it is OPEN, a URL that fails is followed by the next one of the list (link_url), so that whoever asked for the connection waits
 * for one outcome only; connect_timeout is shared out among them. */
#include <stdlib.h>
#include <string.h>

#include "protocol/chunked.h"

#include "relay/clock.h"
#include "relay/conn.h"
#include "relay/hot.h"
#include "relay/log.h"
#include "relay/meter.h"
#include "relay/replay.h"
#include "relay/resolver.h"
#include "relay/session.h"
#include "relay/stream.h"
#include "relay/tls.h"
#include "relay/upstream_impl.h"
#include "relay/wire.h"

#define CLOSE_LINGER_MS 5000  /* for what was forwarded and not yet sent when the client leaves */
#define BUSY_MIN 4096		      /* bytes under way that are more than a PING and what else idle sessions say */
#define CLIENT_WAITS_MS 1000	      /* for which the client may not be read: its PING has two minutes */
#define MAX_MESSAGE (1ULL << 40) /* messages are streamed, so their length costs nothing here */

static struct upstream_list closed = TAILQ_HEAD_INITIALIZER(closed);

/* ---- life ---- */

static char *
copy_view(struct view v)
{
	return relay_strndup(v.ptr, v.len);
}

/* The way to a server as far as it has come. */
static void
disconnect(struct upstream *u, bool flush)
{
	struct opening *o = u->opening;

	if (o != NULL && o->query != NULL)
		resolver_cancel(o->query);
	if (o != NULL) {
		o->query = NULL;
		free(o->addresses);
		o->addresses = NULL;
		o->next_address = 0;
	}
	if (u->stream != NULL)
		stream_close(u->stream, flush, CLOSE_LINGER_MS);
	u->stream = NULL;
}

/* Everything unhooked; the struct goes at the end of the pass.  flush: what was forwarded for a client that left still goes out; else
 * nothing more may reach upstream, where the same files are perhaps bound anew by then (S2). */
static void
shut(struct upstream *u, bool flush)
{
	disconnect(u, flush);
	timer_stop(u->way->relay->timers, &u->timer);
	if (u->state == UPSTREAM_OPEN)
		log_event(LOG_DEBUG, "upstream_closed", "conn=%llu", (unsigned long long)(u->conn ? conn_id(u->conn) : 0));
	u->state = UPSTREAM_CLOSED;
	TAILQ_REMOVE(&u->way->upstreams, u, link);
	TAILQ_INSERT_TAIL(&closed, u, link);
	u->way->nupstreams--;
}

static void
sessions_lost(struct upstream *u)
{
	struct session *s;

	while ((s = TAILQ_FIRST(&u->sessions)) != NULL)
		session_upstream_lost(s); /* leaves the list */
}

static bool next_url(struct upstream *u);

void
upstream_lost(struct upstream *u, enum link_evidence e, const char *why)
{
	const struct upstream_ops *ops = u->ops;
	char text[256];
	struct log_line l;

	if (u->state == UPSTREAM_CLOSED)
		return;
	if ((e == LINK_UNREACHED || e == LINK_UNTRUSTED) && next_url(u))
		return;
	snprintf(text, sizeof(text), "%s", why);
	log_begin(&l, u->conn != NULL ? LOG_INFO : LOG_DEBUG, "upstream_lost"); /* a probe's outcome is the link's line */
	log_u64(&l, "conn", u->conn != NULL ? conn_id(u->conn) : 0);
	log_str(&l, "reason", text);
	log_end(&l);
	STAT_INC(u->way->relay, upstream_lost);
	shut(u, false);
	if (ops != NULL)
		ops->lost(u->arg, e, text);
	sessions_lost(u);
	if (!u->way->stopped)
		link_failed(u->way, e, text);
}

void
upstream_close(struct upstream *u, bool flush, const char *reason)
{
	if (u == NULL || u->state == UPSTREAM_CLOSED)
		return;
	log_event(LOG_DEBUG, "upstream_close", "reason=\"%s\"", reason);
	u->ops = NULL;
	shut(u, flush);
	u->conn = NULL;
	sessions_lost(u);
}

void
upstream_fail(struct upstream *u, const char *why)
{
	upstream_lost(u, LINK_CUT, why);
}

static void
forget_opening(struct upstream *u)
{
	struct opening *o = u->opening;

	if (o == NULL)
		return;
	relay_wipe(o->target);
	relay_wipe(o->authorization);
	free(o->protocol);
	free(o->user_agent);
	free(o->addresses);
	free(o);
	u->opening = NULL;
}

void
upstream_free_closed(void)
{
	struct upstream *u;

	while ((u = TAILQ_FIRST(&closed)) != NULL) {
		TAILQ_REMOVE(&closed, u, link);
		forget_opening(u);
		upstream_forget_incoming(u);
		free(u);
	}
}

void
upstream_orphan(struct upstream *u)
{
	u->ops = NULL;
	u->conn = NULL;
	upstream_pause(u, false); /* the slow client is gone */
	if (u->in != NULL && u->in->to_client) {
		u->in->to_client = false;
		u->in->route = ROUTE_DROP;
	}
	if (TAILQ_EMPTY(&u->sessions))
		upstream_close(u, true, "nothing to drain");
}

bool
upstream_is_orphan(const struct upstream *u)
{
	return u->ops == NULL;
}

bool
upstream_is_open(const struct upstream *u)
{
	return u != NULL && u->state == UPSTREAM_OPEN;
}

uint64_t
upstream_enter(struct upstream *u, struct session *s)
{
	TAILQ_INSERT_TAIL(&u->sessions, s, in_upstream);
	return ++u->next_ident;
}

void
upstream_drop(struct upstream *u, struct session *s)
{
	TAILQ_REMOVE(&u->sessions, s, in_upstream);
	if (u->in != NULL && u->in->session == s) {
		u->in->session = NULL;
		if (u->in->route == ROUTE_COLLECT)
			u->in->route = ROUTE_DROP;
	}
	if (u->ops == NULL && TAILQ_EMPTY(&u->sessions))
		upstream_close(u, true, "drained");
}

static bool connect_next(struct upstream *u);

/* ---- liveness ---- */

static uint64_t
tick_ms(const struct upstream *u)
{
	const struct options *o = u->way->opt;
	uint64_t ms = (o->upstream_ping_ms < o->pong_timeout_ms ? o->upstream_ping_ms : o->pong_timeout_ms) / 3;

	return ms < 10 ? 10 : ms;
}

static void
set_timer(struct upstream *u, uint64_t ms)
{
	timer_set(u->way->relay->timers, &u->timer, ms);
}

void
upstream_hold_client(struct upstream *u)
{
	if (u->conn == NULL || u->client_waits_at != 0)
		return;
	u->client_waits_at = clock_ms();
	conn_await_upstream(u->conn);
	if (timer_due_ms(&u->timer) > u->client_waits_at + CLIENT_WAITS_MS)
		set_timer(u, CLIENT_WAITS_MS + 1);
}

bool
upstream_is_slow(const struct upstream *u)
{
	return u->slow;
}

static void
release_client(struct upstream *u, bool slow)
{
	u->client_waits_at = 0;
	u->slow = slow;
	if (u->conn != NULL)
		conn_upstream_drained(u->conn);
}

void
upstream_ping(struct upstream *u)
{
	struct message m = { .type = MSG_C_PING };

	m.ping.timestamp = clock_ms();
	upstream_send(u, &m, (struct view){ NULL, 0 });
	u->ping_at = clock_ms();
	u->ping_left_at = 0;
	u->awaiting_pong = true;
	u->ping_pos = stream_sent(u->stream) + stream_queued(u->stream);
}

static void
measure(struct upstream *u, uint64_t now)
{
	uint64_t unacknowledged, delivered = stream_delivered(u->stream, &unacknowledged), received = stream_received(u->stream);
	bool busy = stream_queued(u->stream) > 0;

	if (u->was_busy && busy && now > u->tick_at) { /* busy at both ends, so most likely all the time */
		uint64_t rate = (delivered - u->seen_delivered) * 1000 / (now - u->tick_at) + 1;

		u->rate = u->rate == 0 ? rate : (3 * u->rate + rate) / 4;
	}
	if (delivered != u->seen_delivered || received != u->seen_received)
		u->life_at = now;
	u->seen_delivered = delivered;
	u->seen_received = received;
	u->tick_at = now;
	u->was_busy = busy;
	if (busy || unacknowledged >= BUSY_MIN)
		u->busy_at = now;
	if (u->awaiting_pong && u->ping_left_at == 0 && stream_sent(u->stream) >= u->ping_pos)
		u->ping_left_at = now;
}

/* Why a new connection is needed although this one lives; NULL when it is not. */
static const char *
sessions_stuck(const struct upstream *u, uint64_t now)
{
	const struct options *o = u->way->opt;
	struct session *s;

	TAILQ_FOREACH (s, &u->sessions, in_upstream) {
		if (s->upside == UPSIDE_UNBINDING && now - s->unbinding_since > o->handshake_timeout_ms)
			return "no UNBOUND";
		if (!u->paused && now - u->busy_at > 2 * o->pong_timeout_ms && replay_stalled(s, now, 2 * o->pong_timeout_ms))
			return "replayed changesets are not acknowledged";
	}
	return NULL;
}

static void
tick(struct upstream *u)
{
	const struct options *o = u->way->opt;
	uint64_t now = clock_ms(), since, next = tick_ms(u), released;
	const char *stuck;

	measure(u, now);
	since = u->ping_left_at > u->life_at ? u->ping_left_at : u->life_at;
	if (u->awaiting_pong && !u->paused && now - since > o->pong_timeout_ms) {
		upstream_lost(u, LINK_SILENT, "no PONG");
		return;
	}
	stuck = sessions_stuck(u, now);
	if (stuck != NULL) {
		upstream_lost(u, LINK_CUT, stuck);
		return;
	}
	if (u->client_waits_at != 0 && now - u->client_waits_at >= CLIENT_WAITS_MS)
		release_client(u, true);
	if (!u->awaiting_pong && now - u->ping_at >= o->upstream_ping_ms)
		upstream_ping(u);
	released = u->client_waits_at + CLIENT_WAITS_MS + 1; /* a timer may come a little early */
	if (u->client_waits_at != 0 && released < now + next)
		next = released - now;
	set_timer(u, next);
}

static void
timer_cb(void *arg)
{
	struct upstream *u = arg;

	if (u->state == UPSTREAM_OPEN)
		tick(u);
	else if (u->state != UPSTREAM_CONNECTING || !connect_next(u))
		upstream_lost(u, LINK_UNREACHED, "connecting took too long");
}

/* ---- connecting ---- */

static void
send_request(struct upstream *u)
{
	char out[HTTP_HEAD_MAX];
	struct opening *o = u->opening;
	struct http_upgrade up = { .target = view_of(o->target),
		.host = view_of(u->url->authority),
		.protocol = view_of(o->protocol),
		.authorization = view_of(o->authorization),
		.user_agent = view_of(o->user_agent) };
	size_t n;

	tls_ws_key(o->key);
	tls_ws_accept(o->key, strlen(o->key), o->accept);
	up.key = view_of(o->key);
	n = http_format_request(out, sizeof(out), &up);
	if (n == 0) {
		upstream_lost(u, LINK_CUT, "the upgrade request does not fit");
		return;
	}
	free(o->addresses);
	o->addresses = NULL;
	stream_write_secret(u->stream, out, n);
	explicit_bzero(out, sizeof(out));
	u->state = UPSTREAM_UPGRADING;
}

static void
on_101(struct upstream *u, const struct http_head *head)
{
	struct msg_subprotocol sp;
	struct view server = { NULL, 0 };
	size_t at = 0;

	if (!view_eq(head->accept, view_of(u->opening->accept)) || head->extensions.len > 0 ||
	    msg_parse_subprotocol(head->protocol, &sp) != PROTO_OK || sp.flavour != u->flavour || sp.min != sp.max) {
		upstream_lost(u, LINK_UNTRUSTED, "the answer to the upgrade is not the sync protocol's");
		return;
	}
	u->state = UPSTREAM_OPEN;
	forget_opening(u);
	link_reached(u->way, u->url);
	u->ping_at = u->life_at = u->tick_at = clock_ms();
	stream_set_low_water(u->stream, (size_t)u->way->opt->out_low);
	if (u->opaque)
		timer_stop(u->way->relay->timers, &u->timer); /* no PING of ours */
	else
		set_timer(u, tick_ms(u));
	STAT_INC(u->way->relay, upstream_opened);
	if (!http_header_next(head, "Server", &at, &server))
		server = (struct view){ NULL, 0 };
	u->ops->opened(u->arg, head->protocol, server);
}

/* An answer that is not 101.  Over plain TCP anybody may have said it (a portal); the owner decides what it is worth.  Perhaps the next URL
 * does better, unless this is upstream's own word about the request. */
static void
on_refusal(struct upstream *u, const struct http_head *head, struct view body)
{
	const struct upstream_ops *ops = u->ops;

	if ((head->status >= 500 || !link_trusts_refusal(u->way, head->status)) && next_url(u))
		return;
	if (head->status == 401)
		link_reached(u->way, u->url);
	shut(u, false);
	if (ops != NULL)
		ops->refused(u->arg, head, body);
}

/* The body of a refusal, as far as it is wanted: one that is longer than max_refusal, or malformed, is left out.  False: more of it must
 * come; the stream keeps what is here, since with its head it fits there. */
static bool
take_body(const struct upstream *u, const struct http_head *head, uint8_t *buf, size_t len, struct view *body)
{
	uint64_t max = u->way->opt->max_refusal;
	size_t n = 0;

	*body = (struct view){ NULL, 0 };
	if (head->has_content_length && head->content_length <= max) {
		n = (size_t)head->content_length;
		if (len < n)
			return false;
	} else if (head->chunked && max > 0) {
		enum proto_err err = chunked_decode(buf, len, &n);

		if (err == PROTO_MORE && len <= max)
			return false;
		if (err != PROTO_OK || n > max)
			n = 0;
	}
	*body = (struct view){ buf, n };
	return true;
}

static size_t
on_answer(struct upstream *u, uint8_t *buf, size_t len)
{
	struct http_head head;
	struct view body;
	size_t used;
	enum proto_err err = http_parse_response(buf, len, &head, &used);

	if (err == PROTO_MORE)
		return 0;
	if (err != PROTO_OK) {
		upstream_lost(u, LINK_UNTRUSTED, "the answer to the upgrade is not HTTP");
		return len;
	}
	if (head.status == 101) {
		on_101(u, &head);
		return used;
	}
	if (!take_body(u, &head, buf + used, len - used, &body))
		return 0;
	on_refusal(u, &head, body);
	return len;
}

static size_t
on_data(struct upstream *u, uint8_t *buf, size_t len)
{
	size_t n = 0;

	if (u->state == UPSTREAM_UPGRADING)
		n = on_answer(u, buf, len);
	if (u->state == UPSTREAM_OPEN && u->opaque) {
		conn_opaque_out(u->conn, (struct view){ buf + n, len - n });
		return len;
	}
	if (u->state == UPSTREAM_OPEN) {
		if (n == 0)
			stream_harmless(u->stream); /* a server says no token */
		n += upstream_frames(u, buf + n, len - n);
	}
	return n;
}

static void
on_drained(struct upstream *u)
{
	struct session *s, *next;

	release_client(u, false);
	for (s = TAILQ_FIRST(&u->sessions); s != NULL && u->state == UPSTREAM_OPEN; s = next) {
		next = TAILQ_NEXT(s, in_upstream);
		replay_kick(s);
	}
}

static size_t stream_event_cb(void *arg, struct stream *st, enum stream_event ev, uint8_t *buf, size_t len);

static uint64_t
connect_ms(const struct upstream *u)
{
	return u->way->opt->connect_timeout_ms / link_url_count(u->way) + 1; /* a silent server leaves time for the others */
}

/* Connects to the next address of the name; false when there is none left. */
static bool
connect_next(struct upstream *u)
{
	struct opening *o = u->opening;
	const struct resolver_address *a;

	if (o->addresses == NULL || o->next_address >= o->addresses->n)
		return false;
	a = &o->addresses->addr[o->next_address++];
	set_timer(u, connect_ms(u) / o->addresses->n + 1);
	if (u->stream != NULL)
		stream_close(u->stream, false, 0);
	u->stream = stream_connect((const struct sockaddr *)&a->addr, a->len, u->way->tls, u->url->host,
				   stream_event_cb, u);
	if (u->stream == NULL)
		upstream_lost(u, LINK_CUT, "out of descriptors");
	else
		stream_count_wire(u->stream, meter_wire(u->way->meter));
	return true;
}

static void
resolved_cb(void *arg, const struct resolver_result *r)
{
	struct upstream *u = arg;

	u->opening->query = NULL;
	if (r->why != NULL) {
		upstream_lost(u, LINK_UNREACHED, r->why);
		return;
	}
	u->state = UPSTREAM_CONNECTING;
	u->opening->addresses = relay_alloc(sizeof(*r));
	*u->opening->addresses = *r;
	(void)connect_next(u);
}

static void
resolve(struct upstream *u)
{
	u->state = UPSTREAM_RESOLVING;
	set_timer(u, connect_ms(u));
	u->opening->query = resolver_ask(u->way->relay->resolver, u->url->host, u->url->port, resolved_cb, u);
}

static size_t
stream_event_cb(void *arg, struct stream *st, enum stream_event ev, uint8_t *buf, size_t len)
{
	struct upstream *u = arg;

	switch (ev) {
	case STREAM_OPEN:
		STAT_ADD(u->way->relay, upstream_resumed, stream_resumed(st));
		send_request(u);
		return 0;
	case STREAM_DATA:
		return on_data(u, buf, len);
	case STREAM_DRAINED:
		on_drained(u);
		return 0;
	case STREAM_EOF:
		upstream_lost(u, u->state == UPSTREAM_OPEN ? LINK_CUT : LINK_UNREACHED, stream_why(st));
		return 0;
	case STREAM_ERROR:
		if (u->state == UPSTREAM_CONNECTING && !stream_cert_failed(st) && connect_next(u))
			return 0;
		upstream_lost(u,
		     stream_cert_failed(st)	      ? LINK_UNTRUSTED
		     : u->state == UPSTREAM_OPEN ? LINK_CUT
						 : LINK_UNREACHED,
		     stream_why(st));
		return 0;
	}
	PANIC("stream event");
}

/* Starts on the next URL, if there is one and the way to it can still be chosen: not once upstream is OPEN, nor when the link is
 * stopping. */
static bool
next_url(struct upstream *u)
{
	struct opening *o = u->opening;
	const struct address_url *url = NULL;

	if (u->state != UPSTREAM_OPEN && !u->way->stopped)
		url = link_url(u->way, o->first_url, o->nth_url + 1);
	if (url == NULL)
		return false;
	log_event(LOG_DEBUG, "upstream_next_url", "failed=%s next=%s", u->url->authority, url->authority);
	u->url = url;
	o->nth_url++;
	disconnect(u, false);
	resolve(u);
	return true;
}

struct upstream *
upstream_open(struct link *way, const struct upstream_request *req, const struct upstream_ops *ops, void *arg, struct conn *conn)
{
	struct upstream *u = relay_alloc(sizeof(*u));
	struct opening *o = relay_alloc(sizeof(*o));

	u->way = way;
	u->ops = ops;
	u->arg = arg;
	u->conn = conn;
	u->opening = o;
	o->target = copy_view(req->target);
	o->protocol = copy_view(req->protocol);
	o->authorization = copy_view(req->authorization);
	o->user_agent = copy_view(req->user_agent);
	u->flavour = req->flavour;
	u->opaque = req->opaque;
	TAILQ_INIT(&u->sessions);
	TAILQ_INSERT_TAIL(&way->upstreams, u, link);
	way->nupstreams++;
	ws_decoder_init(&u->ws, WS_CLIENT, MAX_MESSAGE);
	timer_init(&u->timer, timer_cb, u);
	o->first_url = link_first_url(way);
	u->url = link_url(way, o->first_url, 0);
	resolve(u);
	return u;
}

/* ---- sending ---- */

void
upstream_send(struct upstream *u, const struct message *m, struct view body)
{
	if (u->state == UPSTREAM_OPEN)
		wire_send(u->stream, WS_CLIENT, m, body);
}

void
upstream_send_raw(struct upstream *u, struct view data)
{
	stream_write(u->stream, data.ptr, data.len);
}

void
upstream_soon(const struct upstream *u)
{
	soon(u->stream);
}

size_t
upstream_queued(const struct upstream *u)
{
	return u->stream != NULL ? stream_queued(u->stream) : 0;
}

struct upstream *
upstream_next(const struct upstream *u)
{
	return TAILQ_NEXT(u, link);
}

uint64_t
upstream_held(const struct upstream *u)
{
	uint64_t sum = (u->stream != NULL ? stream_held(u->stream) : 0) + (u->in != NULL && u->in->body != NULL ? u->in->m.body_len : 0);
	const struct session *s;

	TAILQ_FOREACH (s, &u->sessions, in_upstream)
		if (s->conn == NULL) /* else it counts for its client */
			sum += session_held(s);
	return sum;
}

bool
upstream_has_client(const struct upstream *u)
{
	return u->conn != NULL;
}

uint64_t
upstream_rate(const struct upstream *u)
{
	return u->rate;
}

void
upstream_pause(struct upstream *u, bool pause)
{
	if (u->stream == NULL || u->paused == pause)
		return;
	u->paused = pause;
	if (pause)
		stream_suspend(u->stream, SUSPEND_OUTBUF);
	else
		stream_resume(u->stream, SUSPEND_OUTBUF);
	u->life_at = clock_ms();
}
