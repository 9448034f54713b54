/* The client's upgrade, and the coming and going of the upstream connection made for it.
 *
 * With the link up the client's request is repeated upstream and the client gets upstream's own answer; with the link down the offline
 * policy answers.  Once the client has its 101 upstream may be lost and come back: retries are paced here (back-off with
 * jitter; after the link returned, spread by reconnect_rate). */
#include <stdlib.h>
#include <string.h>

#include "relay/admit.h"
#include "relay/conn_impl.h"
#include "relay/door.h"
#include "relay/exchange.h"
#include "relay/forget.h"
#include "relay/front.h"
#include "relay/link.h"
#include "relay/log.h"
#include "relay/name.h"
#include "relay/options.h"
#include "relay/query.h"
#include "relay/services.h"
#include "relay/session.h"
#include "relay/stream.h"
#include "relay/tls.h"
#include "relay/upstream.h"
#include "relay/verdict.h"

#define VERDICT_MS 250    /* how soon to ask again while a probe finds out whether upstream or a portal refused */
#define VERSION_OLDEST 2  /* of the protocol, in both flavours (protocol/PROTOCOL) */
#define VERSION_NEWEST 14
#define RETRY_AFTER_S "5" /* seconds, in a 503: the SDK's own back-off is longer */

static const struct upstream_ops upstream_ops;

/* NULL: the door is closed. */
static struct services *
services_of(const struct conn *c)
{
	return c->front->link->services;
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
refuse(struct conn *c, unsigned status, struct view reason, const struct http_header *header, size_t nheader, struct view body,
       const char *why)
{
	char out[HTTP_HEAD_MAX + 128]; /* upstream's head, and our two headers */
	size_t n = http_format_answer(out, sizeof(out), status, reason, header, nheader, body.len, true);

	STAT_INC(c->relay, conns_refused);
	if (n == 0)
		n = http_format_answer(out, sizeof(out), status, view_of(http_reason(status)), NULL, 0, body.len, true);
	stream_write(c->stream, out, n);
	if (body.len > 0)
		stream_write(c->stream, body.ptr, body.len);
	conn_leave(c, why, true);
}

static void
refuse_status(struct conn *c, unsigned status, const char *why)
{
	struct http_header retry = { view_of("Retry-After"), view_of(RETRY_AFTER_S) };

	refuse(c, status, view_of(http_reason(status)), &retry, status == 503, (struct view){ NULL, 0 }, why);
}

static void
log_open(const struct conn *c)
{
	struct log_line l;

	log_begin(&l, LOG_INFO, "conn_open");
	log_u64(&l, "conn", c->id);
	log_str(&l, "peer", c->peer);
	log_u64(&l, "version", c->version);
	log_str(&l, "flavour", c->flavour == MSG_FLX ? "flx" : "pbs");
	log_u64(&l, "offline", c->offline);
	if (c->opaque)
		log_u64(&l, "opaque", 1);
	if (c->subject != NULL)
		log_str(&l, "subject", c->subject);
	log_end(&l);
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
	free(c->key_accept);
	c->key_accept = NULL;
	c->state = CONN_OPEN;
	ws_decoder_init(&c->ws, WS_SERVER, c->front->opt->max_message);
	stream_set_low_water(c->stream, (size_t)c->front->opt->out_low);
	timer_set(c->relay->timers, &c->timer, c->front->opt->idle_timeout_ms);
	log_open(c);
	stream_resume(c->stream, SUSPEND_OPEN);
}

static struct view
authorization(const struct conn *c)
{
	return c->authorization != NULL ? view_of(c->authorization) : (struct view){ NULL, 0 };
}

struct view
conn_token(const struct conn *c)
{
	struct view target = view_of(c->target != NULL ? c->target : ""), query = { NULL, 0 }, at; /* NULL: it has not asked yet */
	const uint8_t *q = memchr(target.ptr, '?', target.len);

	if (q != NULL)
		query = (struct view){ q + 1, (size_t)(target.ptr + target.len - q - 1) };
	at = http_query_param(query, "baas_at");
	return at.ptr != NULL ? at : authorization(c);
}

/* The name of version as the client spelled it when it offered it: clients of today write "#7", which a server would answer "/7". */
static void
spell(const struct conn *c, unsigned version, char out[MSG_SUBPROTOCOL_MAX])
{
	struct view rest = view_of(c->offers), item;
	struct msg_subprotocol sp;
	msg_format_subprotocol(c->flavour, version, out);
	while (http_list_next(&rest, &item))
		if (msg_parse_subprotocol(item, &sp) == PROTO_OK && sp.flavour == c->flavour && sp.min <= version &&
		    version <= sp.max) {
			out[strcspn(out, "#/")] = memchr(item.ptr, '#', item.len) != NULL ? '#' : '/';
			return;
		}
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
	spell(c, version, protocol);
	become_open(c, version, view_of(protocol), (struct view){ NULL, 0 });
	if (!link_down(c->front->link)) /* it came back meanwhile, or only this connection failed */
		conn_retry_after(c, jitter(c->front->opt->backoff_min_ms));
}

static void
ask_admission(struct conn *c)
{
	if (c->opaque) {
		refuse_status(c, 503, "no version of the protocol that is known here");
		return;
	}
	c->state = CONN_ADMIT;
	c->admit = admit_ask(c->front, c->endpoint, conn_token(c), c->own_token, c->subject != NULL, c->flavour, c->offered, admitted_cb, c);
}

void
conn_upstream_request(const struct conn *c, struct upstream_request *req, char protocol[MSG_SUBPROTOCOL_MAX])
{
	*req = (struct upstream_request){ .target = view_of(c->target),
		.protocol = view_of(c->offers),
		.authorization = authorization(c),
		.user_agent = view_of(c->user_agent),
		.flavour = c->flavour,
		.opaque = c->opaque };
	if (c->version != 0) { /* the client has its 101: only this version will do */
		spell(c, c->version, protocol);
		req->protocol = view_of(protocol);
	}
}

static void schedule_retry(struct conn *c);

/* A client that runs on a token of the relay's own cannot go on upstream: it is closed, and gets 401 when it comes back with that token, upon
 * which an SDK asks for a new one by itself. */
static void
need_real_token(struct conn *c)
{
	if (c->state == CONN_UPSTREAM)
		refuse_status(c, 401, "a token of the relay's own is nothing to upstream");
	else
		conn_close(c, "it needs a token of upstream's");
}

/* Puts token in the place of the one that the client's request had, as if it had come with it. */
static void
set_token(struct conn *c, const char *token)
{
	bool in_header = c->authorization != NULL || conn_token(c).len == 0;
	char *target = exchange_target(c->target, token);

	relay_wipe(c->target);
	c->target = target;
	if (in_header) {
		relay_wipe(c->authorization);
		c->authorization = exchange_authorization(token);
	}
}

static void
exchanged_cb(void *arg, enum exchange_result result, const char *token)
{
	struct conn *c = arg;
	struct session *s;

	c->exchange = NULL;
	switch (result) {
	case EXCHANGE_OK:
		STAT_INC(c->relay, tokens_exchanged);
		set_token(c, token);
		c->own_token = false;
		TAILQ_FOREACH (s, &c->sessions, in_conn)
			session_token_changed(s);
		conn_retry(c);
		break;
	case EXCHANGE_UNREACHED:
		if (c->state == CONN_UPSTREAM)
			refuse_status(c, 503, "upstream does not answer the exchange of its token");
		else
			schedule_retry(c);
		break;
	case EXCHANGE_IMPOSSIBLE:
		need_real_token(c);
		break;
	case EXCHANGE_REVOKED:
		conn_user_revoked(c, c->own_id);
		if (c->state == CONN_UPSTREAM)
			need_real_token(c);
		break;
	}
}

/* Whose token of the relay's own it is; NOT_OURS: it is none, or the door is closed. */
static enum refresh_verdict
check_own(const struct conn *c, struct view token, uint8_t id[REFRESH_ID])
{
	return services_of(c) != NULL ? refresh_check(services_of(c)->refresh, token, id) : REFRESH_NOT_OURS;
}

void
conn_token_told(struct conn *c, struct view token)
{
	uint8_t id[REFRESH_ID];
	char *copy;

	if (c->own_token || c->upstream != NULL || check_own(c, token, id) != REFRESH_GOOD)
		return;
	token = refresh_bare(token);
	copy = relay_strndup(token.ptr, token.len);
	set_token(c, copy);
	relay_wipe(copy);
	c->of_user = c->own_token = true;
	memcpy(c->own_id, id, REFRESH_ID);
}

struct view
conn_real_token(const struct conn *c, struct view token)
{
	uint8_t id[REFRESH_ID];

	if (c->own_token || conn_token(c).len == 0 || check_own(c, token, id) == REFRESH_NOT_OURS)
		return token;
	return refresh_bare(conn_token(c));
}

bool
conn_is_of(const struct conn *c, const uint8_t id[REFRESH_ID])
{
	return c->of_user && memcmp(c->own_id, id, REFRESH_ID) == 0;
}

void
conn_user_revoked(struct conn *c, const uint8_t id[REFRESH_ID])
{
	struct session *s;

	if (!conn_is_of(c, id) || c->state == CONN_UPSTREAM)
		return;
	TAILQ_FOREACH (s, &c->sessions, in_conn)
		session_user_revoked(s);
	conn_close(c, SERVICES_REVOKED);
}

/* Is the token of this upgrade one of the relay's own?  Then it has to be good. */
static bool
own_token_good(struct conn *c)
{
	switch (check_own(c, conn_token(c), c->own_id)) {
	case REFRESH_NOT_OURS:
		return true;
	case REFRESH_GOOD:
		c->own_token = c->of_user = true;
		return true;
	case REFRESH_STALE:
		break;
	}
	return false;
}

static void
open_upstream(struct conn *c)
{
	char protocol[MSG_SUBPROTOCOL_MAX];
	struct upstream_request req;

	if (c->own_token) {
		if (c->exchange == NULL)
			c->exchange = exchange_ask(services_of(c)->exchanges, c->own_id, exchanged_cb, c);
		return;
	}

	conn_upstream_request(c, &req, protocol);
	c->upstream = upstream_open(c->front->link, &req, &upstream_ops, c, c);
}

/* Adds an offer to out, which has room: as it was spelled, but for versions that are beyond us. */
static void
keep_offer(char *out, struct view item, const struct msg_subprotocol *sp, unsigned low, unsigned high)
{
	size_t at = strlen(out), name = 0;

	while (item.ptr[name] != '#' && item.ptr[name] != '/')
		name++;
	if (at > 0)
		at += (size_t)sprintf(out + at, ", ");
	if (low == sp->min && high == sp->max)
		sprintf(out + at, "%.*s", (int)item.len, (const char *)item.ptr);
	else
		sprintf(out + at, "%.*s%u-%u", (int)name + 1, (const char *)item.ptr, low, high);
}

/* Reads the client's offers: the flavour of the first that we know, its versions as a bit set.  Upstream shall see no others, for only what is
 * understood here carries a client over an outage.  A client that offers nothing but versions that are not known yet is passed through
 * (opaque), all its offers with it. */
static bool
read_offers(struct conn *c)
{
	struct view rest = view_of(c->offers), item;
	char *known = relay_alloc(2 * rest.len + 1); /* no name grows; a blank may come behind each comma */
	struct msg_subprotocol sp;
	bool beyond = false;

	while (http_list_next(&rest, &item)) {
		unsigned low, high;

		if (msg_parse_subprotocol(item, &sp) != PROTO_OK)
			continue;
		low = sp.min < VERSION_OLDEST ? VERSION_OLDEST : sp.min;
		high = sp.max > VERSION_NEWEST ? VERSION_NEWEST : sp.max;
		if (low > high && !beyond && c->offered == 0)
			c->flavour = sp.flavour;
		beyond = beyond || low > high;
		if (low > high || (c->offered != 0 && sp.flavour != c->flavour))
			continue;
		c->flavour = sp.flavour;
		for (unsigned v = low; v <= high; v++)
			c->offered |= 1U << v;
		keep_offer(known, item, &sp, low, high);
	}
	c->opaque = c->offered == 0 && beyond;
	if (c->opaque) {
		free(known);
		return true;
	}
	name_drop(c->offers);
	c->offers = name_take(known, strlen(known));
	free(known);
	return c->offered != 0;
}

static void
keep_request(struct conn *c, const struct http_head *head)
{
	char offers[HTTP_HEAD_MAX]; /* the lines it is made from were in a head of that size */
	size_t offers_len = 0, at = 0;
	struct view line;
	char *endpoint = link_endpoint(c->front->link, head->path);

	c->target = relay_strndup(head->target.ptr, head->target.len);
	if (head->authorization.len > 0)
		c->authorization = relay_strndup(head->authorization.ptr, head->authorization.len);
	c->user_agent = name_take(head->user_agent.ptr, head->user_agent.len);
	while (http_header_next(head, "Sec-WebSocket-Protocol", &at, &line)) {
		if (offers_len > 0)
			memcpy(offers + offers_len, ", ", 2);
		offers_len += offers_len > 0 ? 2 : 0;
		memcpy(offers + offers_len, line.ptr, line.len);
		offers_len += line.len;
	}
	c->offers = name_take(offers, offers_len);
	c->endpoint = name_take(endpoint, strlen(endpoint));
	free(endpoint);
	c->key_accept = relay_alloc(29);
	tls_ws_accept((const char *)head->key.ptr, head->key.len, c->key_accept);
}

void
conn_http_offer(struct conn *c)
{
	stream_suspend(c->stream, SUSPEND_OPEN); /* so that the next has something to end */
	stream_resume(c->stream, SUSPEND_OPEN);
}

void
conn_http_over(struct conn *c, bool keep, const char *reason)
{
	if (c->state != CONN_HTTP)
		return;
	if (!keep || c->relay->stopping) {
		conn_leave(c, reason, true);
		return;
	}
	c->state = CONN_REQUEST;
	timer_set(c->relay->timers, &c->timer, c->front->opt->keep_alive_ms);
	conn_http_offer(c);
}

/* A request that is no upgrade. */
static void
begin_http(struct conn *c, const struct http_head *head)
{
	timer_stop(c->relay->timers, &c->timer);
	if (c->door == NULL)
		c->door = door_new(services_of(c), c->front->opt, c, c->stream, c->front->tls != NULL);
	c->state = CONN_HTTP;
	door_begin(c->door, head);
}

/* No request will follow on this connection any more. */
static void
close_door(struct conn *c)
{
	door_close(c->door);
	door_free(c->door);
	c->door = NULL;
}

/* Parses what may be asked here: an upgrade only, or anything when the door is open. */
static enum proto_err
parse_head(const struct conn *c, const uint8_t *buf, size_t len, struct http_head *head, size_t *used)
{
	enum proto_err err;

	if (services_of(c) == NULL)
		return http_parse_request(buf, len, head, used);
	err = http_parse_any(buf, len, head, used);
	return err == PROTO_OK && head->offers_upgrade && !head->is_upgrade ? PROTO_HTTP_NOT_UPGRADE : err;
}

size_t
conn_request(struct conn *c, uint8_t *buf, size_t len)
{
	struct http_head head;
	size_t used = 0;
	enum proto_err err = parse_head(c, buf, len, &head, &used);

	if ((err == PROTO_MORE && len >= c->front->opt->max_head) || (err == PROTO_OK && used > c->front->opt->max_head))
		err = PROTO_HTTP_TOO_BIG;
	if (err == PROTO_MORE)
		return 0;
	conn_shaken(c);
	if (err != PROTO_OK) {
		refuse_status(c, err == PROTO_HTTP_TOO_BIG ? 431 : err == PROTO_HTTP_NOT_UPGRADE ? 426 : 400, proto_strerror(err));
		return len;
	}
	if (head.path.len > c->front->opt->max_path) {
		refuse_status(c, 414, "the request path is too long");
		return len;
	}
	if (!head.is_upgrade) {
		begin_http(c, &head);
		return used;
	}
	close_door(c);
	keep_request(c, &head);
	if (conn_token(c).len > c->front->opt->max_token) {
		refuse_status(c, 431, "the token is too long");
		return len;
	}
	if (forget_shuts_out(c->relay, conn_token(c))) {
		refuse_status(c, 503, "its user is being forgotten");
		return len;
	}
	if (!read_offers(c)) {
		refuse_status(c, 400, "no known subprotocol offered");
		return len;
	}
	timer_stop(c->relay->timers, &c->timer);
	stream_suspend(c->stream, SUSPEND_OPEN); /* nothing may follow before our 101 */
	if (!own_token_good(c)) {
		refuse_status(c, 401, "a token of the relay's own that is no longer good");
	} else if (link_down(c->front->link)) {
		ask_admission(c);
	} else {
		c->state = CONN_UPSTREAM;
		open_upstream(c);
	}
	return used;
}

/* ---- upstream comes and goes ---- */

/* At random within the time that n connections take at reconnect_rate. */
static uint64_t
spread_ms(const struct link *l, uint64_t n)
{
	uint32_t r;

	tls_random(&r, sizeof(r));
	return n * 1000 / l->opt->reconnect_rate * r / UINT32_MAX;
}

/* Connections that are, or may become, WebSockets. */
static uint64_t
sync_clients(const struct link *l)
{
	return l->nconns - (l->services != NULL ? l->services->nconns : 0);
}

/* A server that restarts loses all connections at once, and need not be DOWN for it: so those who miss theirs come back spread, too. */
static void
schedule_retry(struct conn *c)
{
	const struct options *o = c->front->opt;
	const struct link *l = c->front->link;
	uint64_t clients = sync_clients(l), missing = clients > l->nupstreams ? clients - l->nupstreams : 0;

	if (link_down(l))
		return; /* conn_link_changed will */
	c->backoff_ms = c->backoff_ms == 0 ? o->backoff_min_ms : c->backoff_ms * 2;
	if (c->backoff_ms > o->backoff_max_ms)
		c->backoff_ms = o->backoff_max_ms;
	conn_retry_after(c, link_held_ms(l) + jitter(c->backoff_ms) + spread_ms(l, missing));
}

static bool
was_offered(const struct conn *c, const struct msg_subprotocol *chosen)
{
	struct view rest = view_of(c->offers), item;
	struct msg_subprotocol sp;

	while (http_list_next(&rest, &item))
		if (msg_parse_subprotocol(item, &sp) == PROTO_OK && sp.flavour == c->flavour && sp.flavour == chosen->flavour &&
		    sp.min <= chosen->min && chosen->min <= sp.max)
			return true;
	return false;
}

static void
upstream_opened_cb(void *arg, struct view subprotocol, struct view server)
{
	struct conn *c = arg;
	struct msg_subprotocol sp;
	struct session *s, *next;

	if (msg_parse_subprotocol(subprotocol, &sp) != PROTO_OK || !was_offered(c, &sp) || (c->version != 0 && c->version != sp.min)) {
		if (c->state == CONN_UPSTREAM)
			refuse_status(c, 503, "upstream agrees to a protocol version that was not offered");
		else
			conn_leave(c, "upstream agrees to another protocol version", false);
		return;
	}
	link_set_path(c->front->link, link_endpoint_path(c->endpoint));
	link_succeeded(c->front->link);
	if (!c->opaque)
		admit_accepted(c->front->link, c->endpoint, conn_token(c), c->flavour, sp.min);
	if (c->state == CONN_UPSTREAM) {
		become_open(c, sp.min, subprotocol, server);
		return;
	}
	log_event(LOG_INFO, "conn_resumed", "conn=%llu sessions=%u", (unsigned long long)c->id, conn_count_sessions(c));
	for (s = TAILQ_FIRST(&c->sessions); s != NULL && c->state == CONN_OPEN; s = next) {
		next = TAILQ_NEXT(s, in_conn);
		session_upstream_opened(s);
	}
}

/* Upstream's own refusal: a new client gets it as it is; for one that has its 101 already, its next upgrade will.  But over plain TCP a
 * portal may say it, and a 403 logs users out: 3xx and 4xx (but 401) count only when upstream has just proved itself (design section 6). */
static void
upstream_refused_cb(void *arg, const struct http_head *head, struct view body)
{
	struct conn *c = arg;
	struct link *l = c->front->link;

	c->upstream = NULL;
	log_event(LOG_INFO, "upstream_refused", "conn=%llu status=%u", (unsigned long long)c->id, head->status);
	if (!link_trusts_refusal(l, head->status)) {
		conn_retry_after(c, VERDICT_MS);
		link_failed(l, LINK_UNTRUSTED, "an answer that may be a portal's");
	} else if (c->state == CONN_UPSTREAM) {
		refuse(c, head->status, head->reason, head->header, head->nheader, body, "upstream refused the upgrade");
	} else if (verdict_of_status(head->status) == VERDICT_RETRY) {
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

static bool
may_resume(const struct conn *c)
{
	const struct session *s;

	TAILQ_FOREACH (s, &c->sessions, in_conn)
		if (!query_may_resume(s))
			return false;
	return true;
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
	} else if (e == LINK_GARBLED || c->opaque || !may_resume(c)) {
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

void
conn_retry(struct conn *c)
{
	if ((c->state == CONN_OPEN || c->state == CONN_UPSTREAM) && c->upstream == NULL && !link_down(c->front->link))
		open_upstream(c);
}

bool
conn_comes_back(const struct conn *c)
{
	return c->state == CONN_OPEN && c->upstream == NULL;
}

unsigned
conn_rank(const struct conn *c)
{
	const struct priority *p = &c->front->link->priority;
	const struct session *s;
	unsigned best = p->n, rank;

	TAILQ_FOREACH (s, &c->sessions, in_conn) {
		rank = priority_rank(p, session_key_path(s));
		best = rank < best ? rank : best;
	}
	return best;
}

/* Earlier ranks come back before later ones, and all together at reconnect_rate. */
static void
link_came_back(struct conn *c)
{
	const struct link *l = c->front->link;
	unsigned rank;
	uint64_t before = 0;

	if (!conn_comes_back(c))
		return;
	rank = conn_rank(c);
	for (unsigned i = 0; i < rank; i++)
		before += l->back[i];
	c->backoff_ms = 0;
	conn_retry_after(c, link_held_ms(l) + before * 1000 / l->opt->reconnect_rate + spread_ms(l, l->back[rank]));
}

/* Whoever is still trying to reach upstream stops; clients get what the offline rules give. */
static void
link_went_down(struct conn *c)
{
	struct session *s, *next;

	if (c->opaque && c->state == CONN_OPEN) {
		conn_close(c, "the link is down");
		return;
	}
	if (upstream_is_open(c->upstream))
		return; /* its own PING decides */
	upstream_close(c->upstream, false, "the link is down");
	c->upstream = NULL;
	exchange_cancel(c->exchange);
	c->exchange = NULL;
	if (c->retry != NULL)
		timer_stop(c->relay->timers, c->retry);
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
	if (link_down(c->front->link))
		link_went_down(c);
	else
		link_came_back(c);
}

