/* The ident pool, the event loop's side; see pool.h, and ident.h for the disk.
 *
 * The one idea: the store alone knows what is reserved.  Here are only the pairs that were seen, with the time at which each wants to be
 * looked at; a look reads the store, and when something is missing it is fetched.  So nothing here has to be right for an ident
 * to be given out once: that is ident_take's transaction. */
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include <event2/event.h>

#include "relay/clock.h"
#include "relay/conn.h"
#include "relay/flxbind.h"
#include "relay/link.h"
#include "relay/log.h"
#include "relay/options.h"
#include "relay/pool_impl.h"
#include "relay/session.h"
#include "relay/spool.h"
#include "relay/upstream.h"

#define BURN_AGAIN_MS 60000

struct pool_ask {
	struct link *link;
	pool_answer *answer; /* NULL: cancelled */
	void *arg;
	struct ident_op op;
};

/* ---- keys ---- */

/* bind: room for what stands for the path.  False: it says nothing. */
static bool
pair_of(const struct session *s, struct ident_pair *pair, char bind[STORE_BIND_MAX + 1])
{
	*pair = (struct ident_pair){ s->endpoint, { (const uint8_t *)s->path, s->path_len }, s->is_subserver };
	if (s->flavour == MSG_FLX) {
		pair->path.len = flxbind_lasting(pair->path, bind);
		pair->path.ptr = (const uint8_t *)bind;
	}
	return pair->path.len > 0;
}

static struct pool_keys *
keys_of(struct session *s)
{
	if (s->pool_keys == NULL)
		s->pool_keys = relay_alloc(sizeof(*s->pool_keys));
	return s->pool_keys;
}

const uint8_t *
pool_key(struct session *s)
{
	struct view token = s->token_len > 0 ? (struct view){ (const uint8_t *)s->token, s->token_len } : conn_token(s->conn);
	struct pool_keys *k = keys_of(s);
	char bind[STORE_BIND_MAX + 1];
	struct ident_pair pair;

	if (!k->has_own && pair_of(s, &pair, bind)) {
		ident_key(&pair, token, k->own);
		k->has_own = true;
	}
	return k->has_own ? k->own : NULL;
}

const uint8_t *
pool_alloc_key(struct session *s)
{
	struct pool_keys *k = keys_of(s);

	if (!k->has_alloc)
		ident_alloc_key(s->endpoint, view_of(session_key_path(s)), s->ident.file_ident, s->ident.file_ident_salt, k->alloc);
	k->has_alloc = true;
	return k->alloc;
}

bool
pool_has_key(const struct session *s, bool alloc, const uint8_t key[IDENT_KEY])
{
	const struct pool_keys *k = s->pool_keys;

	if (k == NULL || !(alloc ? k->has_alloc : k->has_own))
		return false;
	return memcmp(alloc ? k->alloc : k->own, key, IDENT_KEY) == 0;
}

void
pool_token_changed(struct session *s)
{
	if (s->pool_keys != NULL)
		s->pool_keys->has_own = false;
}

bool
pool_serves(const struct session *s)
{
	return s->conn != NULL && s->opt->offline_new == OFFLINE_NEW_ADMIT && s->opt->ident_pool > 0;
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
	free(pair->name);
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

void
pool_arm(struct pool *p)
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
	pool_arm(p);
}

/* It is in use: looked after before all others. */
static struct pair_seen *
see(struct pool *p, const uint8_t key[IDENT_KEY], const struct options *opt)
{
	struct pair_seen *pair = find_pair(p, key);

	if (pair != NULL)
		TAILQ_REMOVE(&p->pairs, pair, link);
	else
		pair = new_pair(p, key);
	TAILQ_INSERT_HEAD(&p->pairs, pair, link);
	pair->opt = opt;
	if (pair->due_ms == UINT64_MAX)
		pair->due_ms = clock_ms() + pair->backoff_ms;
	return pair;
}

static void
set_name(struct pair_seen *pair, const uint8_t *name, size_t len)
{
	if (pair->name != NULL || len == 0)
		return;
	pair->name = relay_alloc(len);
	memcpy(pair->name, name, len);
	pair->name_len = len;
}

static void
see_alloc(struct session *s, bool allocated)
{
	struct pair_seen *pair;

	if (s->conn == NULL || s->opt->ident_pool == 0 || s->link->pool == NULL)
		return;
	pair = see(s->link->pool, pool_alloc_key(s), s->opt);
	pair->alloc = true;
	if (allocated && !pair->allocated)
		pair->due_ms = clock_ms() + pair->backoff_ms;
	pair->allocated = pair->allocated || allocated;
	pool_arm(s->link->pool);
}

void
pool_seen(struct session *s)
{
	struct pool *p = s->link->pool;
	char bind[STORE_BIND_MAX + 1];
	uint8_t name[IDENT_NAME_MAX];
	struct ident_pair pair;
	struct pair_seen *seen;

	if (s->is_subserver)
		see_alloc(s, false);
	if (!pool_serves(s) || pool_key(s) == NULL || !pair_of(s, &pair, bind))
		return;
	seen = see(p, pool_key(s), s->opt);
	if (seen->name == NULL)
		set_name(seen, name, ident_format_name(&pair, name));
	pool_arm(p);
}

void
pool_allocated(struct session *s)
{
	see_alloc(s, true);
}

void
pool_link_changed(struct pool *p)
{
	pool_arm(p);
}

/* ---- pairs that nobody of is connected ---- */

struct named { /* on its way through the committer */
	struct link *link;
	size_t n;
	struct {
		uint8_t key[IDENT_KEY];
		uint8_t *name; /* owned */
		size_t len;
	} at[IDENT_PAIRS_MAX];
};

static bool
read_name(void *arg, const void *key, size_t key_len, const void *val, size_t val_len)
{
	struct named *n = arg;
	struct ident_pair pair;

	if (ident_parse_name(&pair, n->at[n->n].key, key, key_len, val, val_len) && link_has_endpoint(n->link, pair.endpoint)) {
		n->at[n->n].name = relay_alloc(val_len);
		memcpy(n->at[n->n].name, val, val_len);
		n->at[n->n++].len = val_len;
	}
	return n->n < IDENT_PAIRS_MAX;
}

static void
names_fn(void *arg, struct store *store)
{
	struct named *n = arg;

	if (store_each(store, STORE_IDENTS, read_name, n) != STORE_OK)
		return; /* what could be read is taken; the others are seen again */
}

static void
names_cb(void *arg, struct spool_op *op)
{
	struct named *n = arg;
	struct pool *p = n->link->pool;
	struct pair_seen *pair;

	(void)op;
	for (size_t i = 0; i < n->n; i++) {
		pair = p != NULL ? find_pair(p, n->at[i].key) : NULL;
		if (p != NULL && pair == NULL && p->npair < IDENT_PAIRS_MAX) {
			pair = new_pair(p, n->at[i].key);
			pair->opt = p->link->opt;
			TAILQ_INSERT_TAIL(&p->pairs, pair, link);
		}
		if (pair != NULL)
			set_name(pair, n->at[i].name, n->at[i].len);
		free(n->at[i].name);
	}
	free(n);
	if (p == NULL)
		return;
	TAILQ_FOREACH (pair, &p->pairs, link)
		if (pair->name != NULL)
			pair->due_ms = clock_ms();
	pool_arm(p);
}

void
pool_served_by_service(struct pool *p)
{
	struct named *n;

	if (p->link->opt->offline_new != OFFLINE_NEW_ADMIT || p->link->opt->ident_pool == 0)
		return;
	n = relay_alloc(sizeof(*n));
	n->link = p->link;
	spool_call(p->relay->spool, names_fn, names_cb, n);
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
pool_ask(struct session *s, bool alloc, pool_answer *answer, void *arg)
{
	struct pool_ask *a = relay_alloc(sizeof(*a));

	a->link = s->link;
	a->answer = answer;
	a->arg = arg;
	if (alloc)
		memcpy(a->op.key, pool_alloc_key(s), IDENT_KEY);
	else if (pool_key(s) != NULL)
		memcpy(a->op.key, pool_key(s), IDENT_KEY); /* else zeros: nothing is kept under them */
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

struct pool_step *
pool_step_new(struct pool *p, const struct options *o, const uint8_t key[IDENT_KEY])
{
	struct pool_step *step = relay_alloc(sizeof(*step));

	step->link = p->link;
	memcpy(step->op.key, key, IDENT_KEY);
	step->op.now_ms = clock_wall_ms();
	step->op.max_age_ms = o->ident_max_age_ms;
	step->op.keep = o->ident_pool;
	return step;
}

static void burn(struct pool *p);

static void
timer_cb(evutil_socket_t fd, short what, void *arg)
{
	struct pool *p = arg;

	(void)fd;
	(void)what;
	if (p->state != FETCH_NONE) {
		pool_fetch_late(p);
		return;
	}
	if (p->burn == BURN_FAILED) {
		burn(p);
		return;
	}
	p->pair = next_pair(p);
	if (p->pair == NULL || p->pair->due_ms > clock_ms() || link_down(p->link)) {
		p->pair = NULL;
		pool_arm(p);
		return;
	}
	pool_look(p);
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

static void
give_up(struct pool *p, const struct options *o, const uint8_t key[IDENT_KEY])
{
	if (p->pair != NULL && memcmp(p->pair->key, key, IDENT_KEY) == 0)
		p->pair = NULL;
	spool_call(p->relay->spool, drop_fn, dropped_cb, pool_step_new(p, o, key));
}

void
pool_doubt(struct session *s)
{
	struct pool *p = s->link->pool;

	if (p == NULL)
		return;
	if (s->is_subserver && s->opt->ident_pool > 0)
		give_up(p, s->opt, pool_alloc_key(s));
	if (pool_serves(s) && pool_key(s) != NULL)
		give_up(p, s->opt, pool_key(s));
}

static void
burn_fn(void *arg, struct store *store)
{
	struct pool_step *step = arg;

	step->op.err = ident_burn(store, step->op.key);
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
		pool_arm(p);
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
	char *endpoint = link_endpoint(p->link, view_of(""));
	uint8_t key[IDENT_KEY] = { 0 }; /* its scope is all that is looked at */

	ident_scope(endpoint, key);
	free(endpoint);
	p->burn = BURN_POSTED;
	spool_call(p->relay->spool, burn_fn, burned_cb, pool_step_new(p, p->link->opt, key));
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

uint64_t
pool_forget_user(struct pool *p, struct view name)
{
	struct pair_seen *pair, *next;
	uint8_t stored[IDENT_NAME_KEY], have[IDENT_KEY], want[IDENT_KEY];
	struct ident_pair of;
	struct view key;
	uint64_t n = 0;

	for (pair = TAILQ_FIRST(&p->pairs); pair != NULL; pair = next) {
		next = TAILQ_NEXT(pair, link);
		key = ident_name_key(stored, pair->key);
		if (pair->name == NULL || !ident_parse_name(&of, have, key.ptr, key.len, pair->name, pair->name_len))
			continue;
		ident_user_key(&of, name, want);
		if (memcmp(pair->key, want, IDENT_KEY) != 0)
			continue;
		if (p->pair == pair)
			p->pair = NULL; /* what is being fetched for it is thrown away */
		forget_pair(p, pair);
		n++;
	}
	return n;
}

/* ---- life ---- */

struct pool *
pool_new(struct link *link)
{
	struct pool *p = relay_alloc(sizeof(*p));

	p->relay = link->relay;
	p->link = link;
	TAILQ_INIT(&p->pairs);
	p->timer = relay_timer(p->relay->base, timer_cb, p);
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
