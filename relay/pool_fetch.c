/* The ident pool: looking what is reserved for a pair that is due, and fetching what is missing.  See pool.h.
 *
 *   LOOK --enough--> NONE
 *   LOOK --> CONNECT --> (IDENT --> UNBOUND), once for each --> KEEP --> NONE          [BIND, UNBIND; written down]
 *   LOOK --> ALLOC, once for each --> KEEP --> NONE                                    [for a subserver's clients, in its own session]
 *
 * An ident counts as fetched when upstream has answered UNBIND with UNBOUND.  Whatever else happens on the way (cut, error, silence) wastes
 * the ident under way and puts the pair off, longer each time. */
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "relay/clock.h"
#include "relay/conn.h"
#include "relay/flxbind.h"
#include "relay/link.h"
#include "relay/log.h"
#include "relay/options.h"
#include "relay/pool_impl.h"
#include "relay/request.h"
#include "relay/service.h"
#include "relay/session.h"
#include "relay/spool.h"
#include "relay/upstream.h"

#define LOOK_MAX_MS 600000
#define BACKOFF_MAX_MS 3600000 /* for a pair whose fetching fails */

static const struct upstream_ops fetch_ops;

/* ---- its end ---- */

/* A pair that has enough is looked at again, for idents that have grown old. */
static uint64_t
look_ms(const struct pool *p)
{
	uint64_t age = (p->pair != NULL ? p->pair->opt : p->link->opt)->ident_max_age_ms / 4;

	return age < LOOK_MAX_MS ? age : LOOK_MAX_MS;
}

/* How long the pair of the fetch under way rests. */
static uint64_t
rest_ms(const struct pool *p)
{
	if (p->pair == NULL || p->pair->backoff_ms == 0)
		return look_ms(p);
	return p->pair->refused ? UINT64_MAX : p->pair->backoff_ms;
}

/* Over, for better or worse: the pair is due again in ms. */
static void
fetch_over(struct pool *p, uint64_t ms)
{
	relay_wipe(p->token);
	free(p->path);
	p->token = p->path = NULL;
	if (p->pair != NULL)
		p->pair->due_ms = ms == UINT64_MAX ? ms : clock_ms() + ms;
	p->pair = NULL;
	p->state = FETCH_NONE;
	event_del(p->timer);
	pool_arm(p);
}

static void
keep_fn(void *arg, struct store *store)
{
	struct pool_step *step = arg;

	ident_keep(store, &step->op);
}

static void
kept_cb(void *arg, struct spool_op *op)
{
	struct pool_step *step = arg;
	struct pool *p = step->link->pool;

	(void)op;
	if (step->op.err == STORE_OK)
		STAT_ADD(step->link->relay, idents_reserved, step->op.add.n);
	if (p != NULL)
		fetch_over(p, rest_ms(p));
	free(step);
}

/* Fetching for it failed. What would only be refused again waits until the pair is seen again: another client, or another token. */
static void
put_off(const struct pool *p, enum verdict v, uint64_t delay_ms)
{
	struct pair_seen *pair = p->pair;

	if (pair == NULL)
		return;
	if (pair->backoff_ms == 0)
		pair->backoff_ms = p->link->opt->backoff_max_ms;
	else if (pair->backoff_ms < BACKOFF_MAX_MS)
		pair->backoff_ms *= 2;
	if (pair->backoff_ms < delay_ms)
		pair->backoff_ms = delay_ms;
	pair->refused = v == VERDICT_TOKEN || v == VERDICT_CLIENT || v == VERDICT_REJECT;
}

/* The connection is not needed any more, or of no use: what came over it is kept. */
static void
fetch_end(struct pool *p)
{
	struct pool_step *step;

	p->upstream = NULL;
	if (p->pair == NULL) { /* burned: what was fetched before counts as reserved before */
		fetch_over(p, 0);
		return;
	}
	if (p->got.n == 0) {
		fetch_over(p, rest_ms(p));
		return;
	}
	p->state = FETCH_KEEP;
	p->burn = BURN_NOT;
	event_del(p->timer);
	step = pool_step_new(p, p->pair->opt, p->pair->key);
	step->op.add = p->got;
	if (p->pair->name != NULL) {
		memcpy(step->op.name, p->pair->name, p->pair->name_len);
		step->op.name_len = p->pair->name_len;
	}
	spool_call(p->relay->spool, keep_fn, kept_cb, step);
}

static void
fetch_failed(struct pool *p, const char *why, enum verdict v, uint64_t delay_ms)
{
	log_event(LOG_INFO, "idents_not_reserved", "reason=\"%s\"", why);
	upstream_close(p->upstream, false, why);
	put_off(p, v, delay_ms);
	fetch_end(p);
}

/* ---- its course ---- */

static void
step_deadline(struct pool *p)
{
	relay_after_ms(p->timer, p->link->opt->handshake_timeout_ms);
}

static void
bind_next(struct pool *p)
{
	struct message m = { .type = MSG_C_BIND, .session_ident = ++p->session_ident };
	size_t len = p->path_len + p->token_len;
	uint8_t *body = relay_alloc(len);

	m.bind = (struct msg_bind){ .path_size = p->path_len,
		.token_size = p->token_len,
		.need_client_file_ident = 1,
		.is_subserver = p->is_subserver };
	memcpy(body, p->path, p->path_len);
	memcpy(body + p->path_len, p->token, p->token_len);
	upstream_send(p->upstream, &m, (struct view){ body, len });
	explicit_bzero(body, len);
	free(body);
	p->state = FETCH_IDENT;
	step_deadline(p);
}

static void
got_ident(struct pool *p, const struct msg_s_ident *id)
{
	struct message m = { .type = MSG_C_UNBIND, .session_ident = p->session_ident };

	p->under_way = (struct ident){ id->file_ident, id->file_ident_salt, clock_wall_ms() };
	upstream_send(p->upstream, &m, (struct view){ NULL, 0 });
	p->state = FETCH_UNBOUND;
	step_deadline(p);
}

static void
fetched(struct pool *p)
{
	log_event(LOG_INFO, "idents_reserved", "n=%zu", p->got.n);
	upstream_close(p->upstream, false, "idents reserved");
	if (p->pair != NULL) {
		p->pair->backoff_ms = 0;
		p->pair->named = (struct verdict_delay){ 0 };
	}
	fetch_end(p);
}

static void
got_unbound(struct pool *p)
{
	ident_add(&p->got, &p->under_way, IDENT_POOL_MAX);
	if (p->got.n < p->want)
		bind_next(p);
	else
		fetched(p);
}

static void
fetch_error(struct pool *p, const struct message *m, struct view body)
{
	struct verdict_error e;

	verdict_read(m, body, false, &e);
	if (verdict_of(&e) != VERDICT_GO_ON)
		fetch_failed(p, verdict_name(verdict_of(&e)), verdict_of(&e), p->pair != NULL ? verdict_delay(&p->pair->named, &e) : 0);
}

static void
fetch_message(void *arg, const struct message *m, struct view body)
{
	struct pool *p = arg;

	if (m->session_ident != p->session_ident)
		return;
	if (m->type == MSG_S_IDENT && p->state == FETCH_IDENT && m->s_ident.file_ident != 0)
		got_ident(p, &m->s_ident);
	else if (m->type == MSG_S_UNBOUND && p->state == FETCH_UNBOUND)
		got_unbound(p);
	else if (m->type == MSG_S_ERROR || m->type == MSG_S_JSON_ERROR)
		fetch_error(p, m, body);
	else
		fetch_failed(p, "upstream gives none", VERDICT_UNKNOWN, 0);
}

static void
fetch_opened(void *arg, struct view subprotocol, struct view server)
{
	(void)subprotocol; /* one was offered */
	(void)server;
	bind_next(arg);
}

static void
fetch_refused(void *arg, const struct http_head *head, struct view body)
{
	struct pool *p = arg;

	(void)body;
	put_off(p, verdict_of_status(head->status), 0);
	fetch_end(p);
}

static void
fetch_lost(void *arg, enum link_evidence e, const char *why)
{
	struct pool *p = arg;

	(void)e;
	(void)why;
	put_off(p, VERDICT_RETRY, 0);
	fetch_end(p);
}

static const struct upstream_ops fetch_ops = {
	.refused = fetch_refused,
	.opened = fetch_opened,
	.lost = fetch_lost,
	.message = fetch_message,
};

/* The session of the pair under way whose client came last, out of those that upstream accepts now. */
static struct session *
find_session(const struct pool *p)
{
	struct session *s, *found = NULL;
	struct conn *c;

	for (c = TAILQ_FIRST(&p->relay->conns); c != NULL; c = conn_next(c)) {
		if (conn_upstream(c) == NULL)
			continue;
		TAILQ_FOREACH (s, conn_sessions(c), in_conn)
			if (session_identified(s) && pool_has_key(s, p->pair->alloc, p->pair->key))
				found = s;
	}
	return found;
}

/* BIND with what stands for the path and the token, which may be empty. */
static void
will_bind(struct pool *p, struct view path, struct view token, bool is_subserver)
{
	p->state = FETCH_CONNECT;
	p->session_ident = 0;
	p->path = relay_strndup(path.ptr, path.len);
	p->path_len = path.len;
	p->token = relay_strndup(token.ptr, token.len);
	p->token_len = token.len;
	p->is_subserver = is_subserver;
}

static void
fetch_as_client(struct pool *p, struct session *s)
{
	char protocol[MSG_SUBPROTOCOL_MAX], bind[STORE_BIND_MAX + 1];
	struct view path = { (const uint8_t *)s->path, s->path_len };
	struct upstream_request req;

	if (s->flavour == MSG_FLX)
		path = (struct view){ (const uint8_t *)bind, flxbind_lasting(path, bind) };
	will_bind(p, path, (struct view){ (const uint8_t *)s->token, s->token_len }, s->is_subserver);
	conn_upstream_request(s->conn, &req, protocol);
	p->upstream = upstream_open(p->link, &req, &fetch_ops, p, NULL);
}

/* An ident belongs to the user who asked for it, so the service token is good for the pairs of its own user only. */
static bool
fetch_by_service(struct pool *p)
{
	struct service *sv = p->link->service;
	uint8_t key[IDENT_KEY], stored[1 + IDENT_KEY] = { 'n' };
	struct ident_pair pair;
	struct view token;

	if (p->pair->name == NULL || sv == NULL || service_serial(sv) == 0)
		return false;
	if (!ident_parse_name(&pair, key, stored, sizeof(stored), p->pair->name, p->pair->name_len))
		return false;
	token = view_of(service_token(sv));
	ident_key(&pair, token, key);
	if (memcmp(key, p->pair->key, IDENT_KEY) != 0)
		return false;
	will_bind(p, pair.path, token, pair.is_subserver);
	p->upstream = service_connect(sv, pair.endpoint, pair.path.ptr[0] == '{' ? MSG_FLX : MSG_PBS, &fetch_ops, p);
	return true;
}

static void
alloc_next(struct pool *p, struct session *s)
{
	p->state = FETCH_ALLOC;
	if (request_alloc(s))
		step_deadline(p);
	else
		fetch_failed(p, "its subserver asks too much", VERDICT_RETRY, 0);
}

void
pool_alloc_answered(struct session *s, uint64_t file_ident)
{
	struct pool *p = s->link->pool;

	if (p == NULL || p->state != FETCH_ALLOC || (p->pair != NULL && memcmp(p->pair->key, pool_alloc_key(s), IDENT_KEY) != 0))
		return; /* too late: it is wasted */
	if (file_ident == 0) {
		fetch_failed(p, "the subserver's session ended", VERDICT_RETRY, 0);
		return;
	}
	ident_add(&p->got, &(struct ident){ file_ident, 0, clock_wall_ms() }, IDENT_POOL_MAX);
	if (p->got.n < p->want)
		alloc_next(p, s);
	else
		fetched(p);
}

static void
fetch(struct pool *p, size_t want)
{
	struct session *s = link_down(p->link) ? NULL : find_session(p);

	p->want = want;
	p->got.n = 0;
	if (s != NULL && p->pair->alloc)
		alloc_next(p, s);
	else if (s != NULL)
		fetch_as_client(p, s);
	else if (link_down(p->link) || !fetch_by_service(p))
		fetch_over(p, UINT64_MAX); /* until a client of it comes */
}

static void
look_fn(void *arg, struct store *store)
{
	struct pool_step *step = arg;

	ident_look(store, &step->op);
}

/* Those of half the age are replaced, so that an outage begins with idents that last. */
static void
looked_cb(void *arg, struct spool_op *op)
{
	struct pool_step *step = arg;
	struct pool *p = step->link->pool;
	size_t young = ident_younger(&step->op.list, step->op.now_ms, step->op.max_age_ms / 2), want = step->op.keep;

	(void)op;
	if (p == NULL) {
		free(step);
		return;
	}
	if (p->pair != NULL && p->pair->alloc && !p->pair->allocated && step->op.list.seen_ms == 0)
		fetch_over(p, UINT64_MAX); /* not known to be answered by this server */
	else if (p->pair == NULL || step->op.err != STORE_OK || young >= want)
		fetch_over(p, look_ms(p));
	else
		fetch(p, want - young);
	free(step);
}

void
pool_look(struct pool *p)
{
	p->state = FETCH_LOOK;
	p->started_ms = clock_ms();
	spool_call(p->relay->spool, look_fn, looked_cb, pool_step_new(p, p->pair->opt, p->pair->key));
}

void
pool_fetch_late(struct pool *p)
{
	fetch_failed(p, "no answer", VERDICT_RETRY, 0);
}
