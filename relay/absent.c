/* Which absent client's file is replayed when, with which token, and what its end means.  See absent.h for the course of one.
 *
 * Never: more than `absent_sessions` at once; anything in a client's name but what it uploaded (its cursors stay as it stated
 * them); a token in a log, or on a disk that is not encrypted (I9): without a key tokens live in memory, and after a restart there is the
 * service token, or the client.
 *
 * Live elsewhere (S2): our IDENT cuts the client that is connected to upstream directly, and when it comes back upstream cuts us.  A cut
 * soon after our IDENT is taken as that, once upstream has proved that it is there; then the file is left alone for
 * `absent_hold`, and twice as long each time it happens again. */
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "protocol/http.h"

#include "relay/absent_impl.h"
#include "relay/clock.h"
#include "relay/conn.h"
#include "relay/credential.h"
#include "relay/exchange.h"
#include "relay/link.h"
#include "relay/log.h"
#include "relay/pace.h"
#include "relay/options.h"
#include "relay/refresh.h"
#include "relay/replay.h"
#include "relay/service.h"
#include "relay/services.h"
#include "relay/session.h"
#include "relay/spool.h"
#include "relay/tls.h"
#include "relay/turns.h"
#include "relay/upstream.h"

#define KNOWN_MAX 4096		  /* files remembered here, with their tokens, some KiB each (I6); the oldest are forgotten */
#define TICK_MAX_MS 1000
#define GENERAL_MS 2000		  /* clients that are cut within this time as well: upstream restarted */
#define VERDICT_MAX_MS 30000	  /* for upstream to prove itself after a cut */
#define YIELD_MAX_MS 600000	  /* absent clients wait for connected ones no longer: one that never drains must not stop the rest (I7) */
#define HOLD_MAX_MS (24 * 3600000ULL)
#define FLX_BIND "{\"schemaVersion\":0,\"sessionReason\":0}" /* of a client without versions of its schema */

/* How long a client must be gone. */
uint64_t
absent_quiet_ms(const struct absents *as)
{
	return as->hurry ? 0 : as->link->opt->absent_quiet_ms;
}

/* ---- the files known here ---- */

static int
identity_cmp(const void *pa, const void *pb)
{
	const struct absent *a = pa, *b = pb;
	int d;

	if (a->file_ident != b->file_ident)
		return a->file_ident < b->file_ident ? -1 : 1;
	if (a->file_ident_salt != b->file_ident_salt)
		return a->file_ident_salt < b->file_ident_salt ? -1 : 1;
	d = strcmp(a->path, b->path);
	return d != 0 ? d : strcmp(a->endpoint, b->endpoint);
}

static struct absent *
find(const struct absents *as, const char *endpoint, const char *path, uint64_t file_ident, uint64_t salt)
{
	struct absent key = { .file_ident = file_ident, .file_ident_salt = salt };
	struct absent *const *found;

	key.endpoint = (char *)(uintptr_t)endpoint;
	key.path = (char *)(uintptr_t)path;
	found = tfind(&key, &as->tree, identity_cmp);
	return found == NULL ? NULL : *found;
}

static struct absent *
find_session(const struct session *s)
{
	return find(s->link->absents, s->endpoint, session_key_path(s), s->ident.file_ident, s->ident.file_ident_salt);
}

void
absent_forget(struct absent *a)
{
	struct absents *as = a->all;

	tdelete(a, &as->tree, identity_cmp);
	TAILQ_REMOVE(&as->list, a, link);
	as->n--;
	credential_wipe(&a->own);
	free(a->endpoint);
	free(a->path);
	free(a->bind_path);
	free(a);
}

static void
make_room(struct absents *as)
{
	struct absent *a, *next;

	for (a = TAILQ_FIRST(&as->list); a != NULL && as->n >= KNOWN_MAX; a = next) {
		next = TAILQ_NEXT(a, link);
		if (a->session == NULL)
			absent_forget(a);
	}
}

static unsigned
rank_of(const struct absent *a)
{
	return priority_rank(&a->all->link->priority, a->path);
}

enum msg_flavour
absent_flavour(const struct absent *a)
{
	return strcmp(a->path, SESSION_FLX_PATH) == 0 ? MSG_FLX : MSG_PBS;
}

static void
set_bind(struct absent *a, const char *bind_path)
{
	free(a->bind_path);
	a->bind_path = relay_strndup(bind_path, strlen(bind_path));
}

/* What its BIND states is the path, or, of a client of flexible sync that is not known better, FLX_BIND. */
static struct absent *
remember(struct absents *as, const char *endpoint, const char *path, uint64_t file_ident, uint64_t salt, bool is_subserver)
{
	struct absent *a = relay_alloc(sizeof(*a));

	make_room(as);
	a->all = as;
	a->endpoint = relay_strndup(endpoint, strlen(endpoint));
	a->path = relay_strndup(path, strlen(path));
	set_bind(a, absent_flavour(a) == MSG_FLX ? FLX_BIND : path);
	a->file_ident = file_ident;
	a->file_ident_salt = salt;
	a->is_subserver = is_subserver;
	a->known_at = clock_ms();
	a->due_at = a->known_at + absent_quiet_ms(as);
	if (tsearch(a, &as->tree, identity_cmp) == NULL)
		log_fatal("out_of_memory", "bytes=0");
	TAILQ_INSERT_TAIL(&as->list, a, link);
	as->n++;
	return a;
}

void
absents_left(const struct session *s)
{
	struct absents *as = s->link->absents;
	char protocol[MSG_SUBPROTOCOL_MAX];
	struct upstream_request req;
	struct absent *a;

	if (as == NULL || as->stopping || !s->registered)
		return;
	a = find_session(s);
	if (a != NULL)
		absent_forget(a);
	if (s->file != NULL && !file_holds(s->file)) {
		if (s->credential_stored)
			credential_drop(s->relay, s->file->id);
		return;
	}
	a = remember(as, s->endpoint, session_key_path(s), s->ident.file_ident, s->ident.file_ident_salt, s->is_subserver);
	if (s->file != NULL && s->file->bind != NULL)
		set_bind(a, s->file->bind);
	if (!s->opt->store_tokens)
		return;
	conn_upstream_request(s->conn, &req, protocol);
	credential_take(&a->own, &req, (struct view){ (const uint8_t *)s->token, s->token_len });
	a->id = s->file != NULL ? s->file->id : 0;
	if (credential_may_store(s->relay) && a->id != 0 && !s->credential_stored)
		credential_store(s->relay, a->id, &a->own);
}

void
absents_stored(struct session *s)
{
	char protocol[MSG_SUBPROTOCOL_MAX];
	struct upstream_request req;
	struct credential own = { 0 };

	if (s->credential_stored || s->conn == NULL || s->file->id == 0 ||
	    !credential_may_store(s->relay))
		return;
	conn_upstream_request(s->conn, &req, protocol);
	credential_take(&own, &req, (struct view){ (const uint8_t *)s->token, s->token_len });
	credential_store(s->relay, s->file->id, &own);
	credential_wipe(&own);
	s->credential_stored = true;
}

void
absents_here(const struct session *s)
{
	struct absent *a = s->link->absents != NULL ? find_session(s) : NULL;

	if (a != NULL && a->session == NULL)
		absent_forget(a);
}

void
absents_forget(struct absents *as, const struct store_file *f)
{
	struct absent *a = as != NULL ? find(as, f->endpoint, f->path, f->file_ident, f->file_ident_salt) : NULL;

	if (a != NULL && a->session != NULL)
		session_end(a->session); /* which may be the end of a */
	a = a != NULL ? find(as, f->endpoint, f->path, f->file_ident, f->file_ident_salt) : NULL;
	if (a != NULL && a->session == NULL)
		absent_forget(a);
}

bool
absent_own_token(const struct absent *a, uint8_t id[REFRESH_ID])
{
	const struct services *sv = a->all->link->services;
	struct view token = view_of(""), query;
	const char *q;

	if (sv == NULL || !credential_known(&a->own))
		return false;
	q = strchr(a->own.target, '?');
	query = view_of(q != NULL ? q + 1 : "");
	token = http_query_param(query, "baas_at");
	if (token.ptr == NULL)
		token = view_of(a->own.authorization);
	return refresh_check(sv->refresh, token, id) != REFRESH_NOT_OURS;
}

bool
absents_use_token(const struct absents *as, const uint8_t id[REFRESH_ID])
{
	uint8_t own[REFRESH_ID];
	const struct absent *a;

	if (as == NULL)
		return false;
	TAILQ_FOREACH (a, &as->list, link)
		if (absent_own_token(a, own) && memcmp(own, id, REFRESH_ID) == 0)
			return true;
	return false;
}

void
absents_client_cut(struct absents *as)
{
	if (as != NULL)
		as->client_cut_at = clock_ms();
}

/* ---- when ---- */

static uint64_t
random_below(uint64_t ms)
{
	uint32_t r;

	tls_random(&r, sizeof(r));
	return ms * r / UINT32_MAX;
}

static uint64_t
at_most(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

void
absent_try_again(struct absent *a)
{
	const struct options *o = a->all->link->opt;

	a->retry_ms = a->retry_ms == 0 ? o->backoff_min_ms : at_most(a->retry_ms * 2, o->absent_hold_ms);
	if (a->retry_ms < o->absent_quiet_ms)
		a->retry_ms = o->absent_quiet_ms;
	a->due_at = clock_ms() + a->retry_ms - random_below(a->retry_ms / 4);
	if (a->due_at < clock_ms() + a->asked_ms)
		a->due_at = clock_ms() + a->asked_ms;
}

static void
leave_alone(struct absent *a)
{
	uint64_t max = a->all->link->opt->absent_hold_ms;

	max = max > HOLD_MAX_MS ? max : HOLD_MAX_MS;
	a->hold_ms = a->hold_ms == 0 ? a->all->link->opt->absent_hold_ms : at_most(a->hold_ms * 2, max);
	a->due_at = clock_ms() + a->hold_ms;
	log_event(LOG_WARN, "absent_elsewhere", "file_ident=%llu hold_s=%llu", (unsigned long long)a->file_ident,
		  (unsigned long long)(a->hold_ms / 1000));
}

/* A cut: what it meant is clear when upstream has proved since that it is there, or the link went DOWN. */
static void
judge_cut(struct absent *a)
{
	struct absents *as = a->all;
	const struct link *l = as->link;
	bool proved = link_proved_at_ms(l) > a->cut_at || clock_ms() - a->cut_at > VERDICT_MAX_MS;
	bool general = as->client_cut_at != 0 && as->client_cut_at + GENERAL_MS >= a->cut_at && as->client_cut_at <= a->cut_at + GENERAL_MS;

	if (!proved)
		return;
	a->cut_at = 0;
	if (!general && (a->cut_soon || a->was_cut)) {
		a->was_cut = false;
		leave_alone(a);
	} else {
		a->was_cut = !general;
		absent_try_again(a);
	}
}

void
absents_link_changed(struct absents *as)
{
	const struct options *o = as->link->opt;
	uint64_t spread = (as->link->nconns + as->n) * 1000 / o->reconnect_rate + absent_quiet_ms(as) / 4, at, part;
	struct absent *a, *next;

	as->client_cut_at = 0; /* that was the link, too */
	TAILQ_FOREACH (a, &as->list, link) {
		part = spread / (as->link->priority.n + 1); /* earlier ranks get theirs first */
		at = clock_ms() + rank_of(a) * part + random_below(part);
		a->cut_at = 0; /* it was the link */
		a->was_cut = false;
		if (a->hold_ms == 0 && a->retry_ms > 0) {
			a->retry_ms = 0;
			a->due_at = at;
		}
		if (a->due_at < at)
			a->due_at = at;
	}
	for (a = TAILQ_FIRST(&as->list); a != NULL && link_down(as->link); a = next) {
		next = TAILQ_NEXT(a, link);
		if (a->session != NULL && a->ident_at == 0)
			session_end(a->session);
	}
	if (!link_down(as->link))
		as->walk_at = 0; /* what is to be done is looked up afresh */
}

/* ---- the walk ---- */

static void
walk_found(struct absents *as, const struct absent_file *found)
{
	const struct store_file *f = &found->file;
	struct absent *a;

	if (!link_has_endpoint(as->link, f->endpoint))
		return;
	a = find(as, f->endpoint, f->path, f->file_ident, f->file_ident_salt);
	if (f->state != STORE_FILE_OK) { /* an operator decides; until then its token is kept, and then it is tried afresh */
		if (a != NULL) {
			a->walk = as->walk;
			a->backlog = 0;
			a->waits = false;
		}
		return;
	}
	if (a == NULL && ((service_serial(as->link->service) == 0 && found->credential_len == 0) || as->n >= KNOWN_MAX))
		return; /* nothing to do it with */
	if (a == NULL) {
		a = remember(as, f->endpoint, f->path, f->file_ident, f->file_ident_salt, f->is_subserver != 0);
		if (found->credential_len > 0)
			(void)credential_unpack(&a->own, found->credential, found->credential_len);
	}
	if (f->bind[0] != '\0' && a->session == NULL)
		set_bind(a, f->bind);
	a->id = f->id;
	a->backlog = f->backlog_bytes;
	a->walk = as->walk;
}

/* What was known before the walk began and has not been seen in it has no backlog. */
static void
walk_ended(struct absents *as)
{
	struct absent *a, *next;

	for (a = TAILQ_FIRST(&as->list); a != NULL; a = next) {
		next = TAILQ_NEXT(a, link);
		if (a->session == NULL && a->walk != as->walk && a->known_at < as->walk_began)
			absent_forget(a);
	}
	as->walk_began = 0;
	as->walk_at = clock_ms() + absent_quiet_ms(as);
}

static void
stepped(void *arg, struct spool_op *op)
{
	struct absents *as = ((struct absent_step *)arg)->owner;

	(void)op;
	as->stepping = false;
	if (as->stopping)
		return;
	for (size_t i = 0; i < as->step->nfile; i++)
		walk_found(as, &as->step->file[i]);
	explicit_bzero(as->step->file, sizeof(as->step->file));
	if (as->step->end)
		walk_ended(as);
}

static void
walk_on(struct absents *as)
{
	if (as->stepping || clock_ms() < as->walk_at || (as->n == 0 && spool_stat(as->relay->spool)->files_with_backlog == 0))
		return;
	if (as->walk_began == 0) {
		as->walk_began = clock_ms();
		as->walk++;
		as->step->after = 0;
	}
	as->step->end = false;
	as->step->credentials = credential_may_store(as->relay);
	as->stepping = true;
	spool_call(as->relay->spool, absent_step, stepped, as->step);
}

/* ---- pacing ---- */

static bool
client_waits(const struct session *s)
{
	return s->state == SESSION_READY && s->upside != UPSIDE_LIVE && !s->no_replay && !s->held_back && file_waiting(s->file);
}

/* The earliest rank of a connected client with a backlog; PRIORITY_RANKS: there is none. */
static unsigned
rank_waiting(const struct link *l)
{
	unsigned best = PRIORITY_RANKS, rank;
	struct conn *c;
	struct session *s;

	for (c = TAILQ_FIRST(&l->relay->conns); c != NULL && best > 0; c = conn_next(c)) {
		TAILQ_FOREACH (s, conn_sessions(c), in_conn) {
			if (s->link != l || !client_waits(s))
				continue;
			rank = priority_rank(&l->priority, session_key_path(s));
			best = rank < best ? rank : best;
		}
	}
	return best;
}

static void
notice_clients(struct absents *as)
{
	uint64_t now = clock_ms();
	struct absent *a, *next;

	as->busy_rank = rank_waiting(as->link);
	if (as->busy_rank == PRIORITY_RANKS)
		as->busy_since = 0;
	else if (as->busy_since == 0)
		as->busy_since = now;
	if (as->busy_since != 0 && now - as->busy_since >= YIELD_MAX_MS)
		as->busy_rank = PRIORITY_RANKS;
	for (a = TAILQ_FIRST(&as->list); a != NULL; a = next) {
		next = TAILQ_NEXT(a, link);
		if (a->session != NULL)
			replay_kick(a->session);
	}
}

bool
absent_yields(const struct session *s)
{
	return s->absent != NULL && s->absent->all->busy_rank != PRIORITY_RANKS && rank_of(s->absent) >= s->absent->all->busy_rank;
}

/* The earliest rank of those that are due, and of these the smallest backlog; but of TURNS_FLOOR turns one is for whoever is due for longest. */
static struct absent *
next_due(struct absents *as)
{
	struct absent *a, *best = NULL, *oldest = NULL;
	uint64_t now = clock_ms();
	unsigned rank, best_rank = 0, oldest_rank = 0;

	TAILQ_FOREACH (a, &as->list, link) {
		if (a->session != NULL || a->waits || a->cut_at != 0 || a->due_at > now || a->backlog == 0)
			continue;
		if (!credential_known(&a->own) && !absent_service_usable(a))
			continue;
		rank = rank_of(a);
		if (rank >= as->busy_rank)
			continue;
		if (best == NULL || rank < best_rank || (rank == best_rank && a->backlog < best->backlog)) {
			best = a;
			best_rank = rank;
		}
		if (oldest == NULL || a->due_at < oldest->due_at) {
			oldest = a;
			oldest_rank = rank;
		}
	}
	return best_rank != oldest_rank && turns_floor(&as->passed) ? oldest : best;
}

static void
tick_cb(evutil_socket_t fd, short what, void *arg)
{
	struct absents *as = arg;
	const struct options *o = as->link->opt;
	struct absent *a;

	(void)fd;
	(void)what;
	relay_after_ms(as->timer, as->walk_began != 0 ? 20 : at_most(absent_quiet_ms(as) / 4 + (as->hurry ? 250 : 10), TICK_MAX_MS));
	if (!o->replay_absent || pace_held(as->link->pace) || link_state(as->link) != LINK_UP || link_held_ms(as->link) > 0)
		return;
	notice_clients(as);
	TAILQ_FOREACH (a, &as->list, link)
		if (a->cut_at != 0)
			judge_cut(a);
	walk_on(as);
	while (as->running < o->absent_sessions && (a = next_due(as)) != NULL)
		absent_start(a);
}

void
absents_hurry(struct absents *as)
{
	uint64_t now = clock_ms();
	struct absent *a;

	as->hurry = true;
	as->walk_at = now;
	TAILQ_FOREACH (a, &as->list, link)
		if (a->hold_ms == 0 && a->retry_ms == 0 && a->due_at > now)
			a->due_at = now;
	relay_after_ms(as->timer, 0);
}

/* ---- all of them ---- */

struct absents *
absents_new(struct link *link)
{
	struct absents *as = relay_alloc(sizeof(*as));

	as->relay = link->relay;
	as->link = link;
	as->busy_rank = PRIORITY_RANKS;
	as->step = relay_alloc(sizeof(*as->step));
	as->step->owner = as;
	TAILQ_INIT(&as->list);
	as->timer = relay_timer(as->relay->base, tick_cb, as);
	relay_after_ms(as->timer, 0);
	return as;
}

void
absents_stop(struct absents *as)
{
	struct absent *a, *next;

	as->stopping = true;
	event_free(as->timer);
	as->timer = NULL;
	for (a = TAILQ_FIRST(&as->list); a != NULL; a = next) {
		next = TAILQ_NEXT(a, link);
		if (a->session != NULL)
			session_end(a->session);
	}
}

void
absents_free(struct absents *as)
{
	struct absent *a;

	if (as == NULL)
		return;
	while ((a = TAILQ_FIRST(&as->list)) != NULL)
		absent_forget(a);
	explicit_bzero(as->step, sizeof(*as->step));
	free(as->step);
	free(as);
}
