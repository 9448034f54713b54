/* The ident pool: looking what is reserved for a pair that is due, and fetching what is missing.  See pool.h.
 *
 *   LOOK --enough--> NONE
 *   LOOK --> CONNECT --> (IDENT --> UNBOUND), once for each --> KEEP --> NONE          [BIND, UNBIND; written down]
 *
 * An ident counts as fetched when upstream has answered UNBIND with UNBOUND.  Whatever else happens on the way (cut, error, silence) wastes
 * the ident under way and puts the pair off, longer each time. */
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "relay/clock.h"
#include "relay/conn.h"
#include "relay/link.h"
#include "relay/log.h"
#include "relay/options.h"
#include "relay/pool_impl.h"
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

	m.bind = (struct msg_bind){ .path_size = p->path_len, .token_size = p->token_len, .need_client_file_ident = 1 };
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
got_unbound(struct pool *p)
{
	ident_add(&p->got, &p->under_way, IDENT_POOL_MAX);
	if (p->got.n < p->want) {
		bind_next(p);
		return;
	}
	log_event(LOG_INFO, "idents_reserved", "n=%zu", p->got.n);
	upstream_close(p->upstream, false, "idents reserved");
	if (p->pair != NULL) {
		p->pair->backoff_ms = 0;
		p->pair->named = (struct verdict_delay){ 0 };
	}
	fetch_end(p);
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

/* The session of that pair whose client came last, out of those that upstream accepts now. */
static struct session *
find_session(struct pool *p, const uint8_t key[IDENT_KEY])
{
	struct session *s, *found = NULL;
	struct conn *c;

	for (c = TAILQ_FIRST(&p->relay->conns); c != NULL; c = conn_next(c)) {
		if (conn_upstream(c) == NULL)
			continue;
		TAILQ_FOREACH (s, conn_sessions(c), in_conn)
			if (s->pool_keyed && session_identified(s) && memcmp(s->pool_key, key, IDENT_KEY) == 0)
				found = s;
	}
	return found;
}

static void
fetch(struct pool *p, size_t want)
{
	struct session *s = find_session(p, p->pair->key);
	char protocol[MSG_SUBPROTOCOL_MAX];
	struct upstream_request req;

	if (s == NULL || link_down(p->link)) { /* until a client of it comes */
		fetch_over(p, UINT64_MAX);
		return;
	}
	p->state = FETCH_CONNECT;
	p->want = want;
	p->got.n = 0;
	p->session_ident = 0;
	p->path = relay_strndup(s->path, s->path_len);
	p->path_len = s->path_len;
	p->token = relay_strndup(s->token, s->token_len);
	p->token_len = s->token_len;
	conn_upstream_request(s->conn, &req, protocol);
	p->upstream = upstream_open(p->link, &req, &fetch_ops, p, NULL);
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
	if (p->pair == NULL || step->op.err != STORE_OK || young >= want)
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
