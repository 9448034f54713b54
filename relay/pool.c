/* The ident pool, the event loop's side; see pool.h, and ident.h for the disk.
 *
 * The one idea: the store alone knows what is reserved.  Here are only the pairs that were seen, with the time at which each wants to be
 * looked at; a look reads the store, and when something is missing it is fetched.  So nothing here has to be right for an ident
 * to be given out once: that is ident_take's transaction.
 *
 * An ident counts as fetched when upstream has answered UNBIND with UNBOUND.  Whatever else happens on the way (cut, error, silence) wastes
 * the ident under way and puts the pair off, longer each time. */
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include <event2/event.h>

#include "relay/clock.h"
#include "relay/conn.h"
#include "relay/ident.h"
#include "relay/link.h"
#include "relay/log.h"
#include "relay/pool.h"
#include "relay/session.h"
#include "relay/spool.h"
#include "relay/upstream.h"
#include "relay/verdict.h"

#define LOOK_MAX_MS 600000
#define BURN_AGAIN_MS 60000
#define BACKOFF_MAX_MS 3600000 /* for a pair whose fetching fails */

struct pair_seen {
	TAILQ_ENTRY(pair_seen) link; /* on pool->pairs, newest first */
	uint8_t key[IDENT_KEY];
	const struct options *opt; /* of the front of the client that was seen last */
	uint64_t due_ms; /* clock_ms; UINT64_MAX: when it is seen again */
	uint64_t backoff_ms;
	bool refused; /* with backoff_ms: only when it is seen again */
	struct verdict_delay named;
};

TAILQ_HEAD(pair_seen_list, pair_seen);

enum fetch_state { FETCH_NONE, FETCH_LOOK, FETCH_CONNECT, FETCH_IDENT, FETCH_UNBOUND, FETCH_KEEP };

enum burn_state { BURN_NOT, BURN_POSTED, BURN_FAILED, BURN_DONE };

struct pool {
	struct relay *relay;
	struct link *link;
	enum burn_state burn; /* DONE: nothing was reserved since */
	struct pair_seen_list pairs;
	size_t npair;
	struct event *timer; /* the next pair is due; while fetching: the deadline of this step */
	/* the fetch under way */
	enum fetch_state state;
	struct pair_seen *pair; /* NULL: was burned meanwhile */
	struct upstream *upstream;
	char *path, *token; /* for BIND */
	size_t path_len, token_len, want;
	uint64_t session_ident, started_ms;
	struct ident under_way;
	struct ident_list got;
};

struct pool_ask {
	struct link *link;
	pool_answer *answer; /* NULL: cancelled */
	void *arg;
	struct ident_op op;
};

struct pool_step { /* on its way through the committer; p is looked up again, for the daemon may be stopping */
	struct link *link;
	struct ident_op op;
};

static const struct upstream_ops fetch_ops;

static void
key_of(struct session *s)
{
	struct view token = s->token_len > 0 ? (struct view){ (const uint8_t *)s->token, s->token_len } : conn_token(s->conn);

	if (!s->pool_keyed)
		ident_key(s->endpoint, (struct view){ (const uint8_t *)s->path, s->path_len }, token, s->pool_key);
	s->pool_keyed = true;
}

bool
pool_serves(const struct session *s)
{
	return s->conn != NULL && !s->is_subserver && s->opt->offline_new == OFFLINE_NEW_ADMIT &&
	       s->opt->ident_pool > 0 && conn_flavour(s->conn) == MSG_PBS;
}

/* ---- pairs ---- */

static struct pair_seen *
find_pair(struct pool *p, const uint8_t key[IDENT_KEY])
{
	struct pair_seen *pair;

	TAILQ_FOREACH (pair, &p->pairs, link)
		if (memcmp(pair->key, key, IDENT_KEY) == 0)
			return pair;
	return NULL;
}

static void
forget_pair(struct pool *p, struct pair_seen *pair)
{
	TAILQ_REMOVE(&p->pairs, pair, link);
	p->npair--;
	free(pair);
}

static struct pair_seen *
new_pair(struct pool *p, const uint8_t key[IDENT_KEY])
{
	struct pair_seen *pair = relay_alloc(sizeof(*pair)), *last = TAILQ_LAST(&p->pairs, pair_seen_list);

	memcpy(pair->key, key, IDENT_KEY);
	if (p->npair >= IDENT_PAIRS_MAX && last == p->pair)
		last = TAILQ_PREV(last, pair_seen_list, link);
	if (p->npair >= IDENT_PAIRS_MAX)
		forget_pair(p, last);
	p->npair++;
	return pair;
}

/* The pair that is due first. */
static struct pair_seen *
next_pair(struct pool *p)
{
	struct pair_seen *pair, *first = NULL;

	TAILQ_FOREACH (pair, &p->pairs, link)
		if (pair->due_ms != UINT64_MAX && (first == NULL || pair->due_ms < first->due_ms))
			first = pair;
	return first;
}

static void
arm(struct pool *p)
{
	uint64_t now = clock_ms(), at = p->started_ms + 10000 / p->link->opt->reconnect_rate;
	struct pair_seen *pair;

	if (p->state != FETCH_NONE || p->burn == BURN_POSTED || p->burn == BURN_FAILED || p->relay->stopping || link_down(p->link) || (pair = next_pair(p)) == NULL)
		return;
	at = pair->due_ms > at ? pair->due_ms : at;
	relay_after_ms(p->timer, at > now ? at - now : 0);
}

static void
pair_due(struct pool *p, const uint8_t key[IDENT_KEY])
{
	struct pair_seen *pair = find_pair(p, key);

	if (pair != NULL)
		pair->due_ms = clock_ms() + pair->backoff_ms;
	arm(p);
}

void
pool_seen(struct session *s)
{
	struct pool *p = s->link->pool;
	struct pair_seen *pair;

	if (!pool_serves(s))
		return;
	key_of(s);
	pair = find_pair(p, s->pool_key);
	if (pair != NULL)
		TAILQ_REMOVE(&p->pairs, pair, link);
	else
		pair = new_pair(p, s->pool_key);
	TAILQ_INSERT_HEAD(&p->pairs, pair, link);
	pair->opt = s->opt;
	if (pair->due_ms == UINT64_MAX)
		pair->due_ms = clock_ms() + pair->backoff_ms;
	arm(p);
}

/* ---- asking ---- */

static void
take_fn(void *arg, struct store *store)
{
	struct pool_ask *a = arg;

	ident_take(store, &a->op);
}

static void
taken_cb(void *arg, struct spool_op *op)
{
	struct pool_ask *a = arg;
	const struct ident *id = &a->op.taken;

	(void)op;
	if (a->answer != NULL) {
		STAT_ADD(a->link->relay, idents_given, id->file_ident != 0);
		a->answer(a->arg, id->file_ident, id->salt);
	}
	if (a->link->pool != NULL)
		pair_due(a->link->pool, a->op.key);
	free(a);
}

struct pool_ask *
pool_ask(struct session *s, pool_answer *answer, void *arg)
{
	struct pool_ask *a = relay_alloc(sizeof(*a));

	key_of(s);
	a->link = s->link;
	a->answer = answer;
	a->arg = arg;
	memcpy(a->op.key, s->pool_key, IDENT_KEY);
	a->op.now_ms = clock_wall_ms();
	a->op.max_age_ms = s->link->pool->burn == BURN_FAILED ? 0 : s->opt->ident_max_age_ms; /* 0: all are too old */
	spool_call(s->relay->spool, take_fn, taken_cb, a);
	return a;
}

void
pool_cancel(struct pool_ask *a)
{
	if (a != NULL)
		a->answer = NULL;
}

/* ---- fetching ---- */

static struct pool_step *
new_step(struct pool *p, const struct options *o, const uint8_t key[IDENT_KEY])
{
	struct pool_step *step = relay_alloc(sizeof(*step));

	step->link = p->link;
	memcpy(step->op.key, key, IDENT_KEY);
	step->op.now_ms = clock_wall_ms();
	step->op.max_age_ms = o->ident_max_age_ms;
	step->op.keep = o->ident_pool;
	return step;
}

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
	arm(p);
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
	step = new_step(p, p->pair->opt, p->pair->key);
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

static void burn(struct pool *p);

static void
timer_cb(evutil_socket_t fd, short what, void *arg)
{
	struct pool *p = arg;

	(void)fd;
	(void)what;
	if (p->state != FETCH_NONE) {
		fetch_failed(p, "no answer", VERDICT_RETRY, 0);
		return;
	}
	if (p->burn == BURN_FAILED) {
		burn(p);
		return;
	}
	p->pair = next_pair(p);
	if (p->pair == NULL || p->pair->due_ms > clock_ms() || link_down(p->link)) {
		p->pair = NULL;
		arm(p);
		return;
	}
	p->state = FETCH_LOOK;
	p->started_ms = clock_ms();
	spool_call(p->relay->spool, look_fn, looked_cb, new_step(p, p->pair->opt, p->pair->key));
}

/* ---- giving up what is reserved ---- */

static void
drop_fn(void *arg, struct store *store)
{
	struct pool_step *step = arg;

	ident_drop(store, &step->op);
}

static void
dropped_cb(void *arg, struct spool_op *op)
{
	struct pool_step *step = arg;

	(void)op;
	if (step->link->pool != NULL)
		pair_due(step->link->pool, step->op.key);
	free(step);
}

void
pool_doubt(struct session *s)
{
	struct pool *p = s->link->pool;

	if (!pool_serves(s))
		return;
	key_of(s);
	if (p->pair != NULL && memcmp(p->pair->key, s->pool_key, IDENT_KEY) == 0)
		p->pair = NULL;
	spool_call(s->relay->spool, drop_fn, dropped_cb, new_step(p, s->opt, s->pool_key));
}

static void
burn_fn(void *arg, struct store *store)
{
	struct pool_step *step = arg;

	step->op.err = ident_burn(store);
}

/* Until it is done nothing is given out; on a full disk that may take some tries. */
static void
burned_cb(void *arg, struct spool_op *op)
{
	struct pool_step *step = arg;
	struct pool *p = step->link->pool;

	(void)op;
	log_event(step->op.err == STORE_OK ? LOG_INFO : LOG_ERROR, "idents_burned", "result=\"%s\"", store_strerror(step->op.err));
	if (p != NULL && step->op.err == STORE_OK) {
		p->burn = BURN_DONE;
		arm(p);
	} else if (p != NULL) {
		p->burn = BURN_FAILED;
		if (p->state == FETCH_NONE)
			relay_after_ms(p->timer, BURN_AGAIN_MS);
	}
	free(step);
}

static void
burn(struct pool *p)
{
	static const uint8_t all[IDENT_KEY];

	p->burn = BURN_POSTED;
	spool_call(p->relay->spool, burn_fn, burned_cb, new_step(p, p->link->opt, all));
}

void
pool_burn(struct pool *p)
{
	struct pair_seen *pair;

	if (p->burn != BURN_NOT)
		return; /* nothing was reserved since */
	p->pair = NULL;
	TAILQ_FOREACH (pair, &p->pairs, link)
		pair->due_ms = clock_ms();
	burn(p);
}

/* ---- life ---- */

struct pool *
pool_new(struct link *link)
{
	struct pool *p = relay_alloc(sizeof(*p));

	p->relay = link->relay;
	p->link = link;
	TAILQ_INIT(&p->pairs);
	p->timer = event_new(p->relay->base, -1, 0, timer_cb, p);
	if (p->timer == NULL)
		log_fatal("out_of_memory", "bytes=0");
	return p;
}

void
pool_free(struct pool *p)
{
	struct pair_seen *pair;

	if (p == NULL)
		return;
	upstream_close(p->upstream, false, "stopping");
	while ((pair = TAILQ_FIRST(&p->pairs)) != NULL)
		forget_pair(p, pair);
	relay_wipe(p->token);
	free(p->path);
	event_free(p->timer);
	free(p);
}
