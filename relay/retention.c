/* Forgetting (retention.h): when a pass is due, and its slices.
 *
 *   loop:      start, hourly --> slice --+--> for each old file that no session has open: spool_forget --> counts
 *   committer:                   ^-------+    (checks once more, what was written meanwhile included)
 *
 * Whatever is in doubt is kept: a time that is in the future or from before this program was, a state that an operator should see, a value in an unknown form.
 * Times are relay/walltime's, so a clock that was lost makes nothing old. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "relay/admit.h"
#include "relay/credential.h"
#include "relay/front.h"
#include "relay/link.h"
#include "relay/log.h"
#include "relay/options.h"
#include "relay/relay.h"
#include "relay/retention.h"
#include "relay/session.h"
#include "relay/spool.h"
#include "relay/users.h"
#include "relay/walltime.h"

#define PASS_MS 3600000 /* hourly: what ages by days need not be seen sooner */
#define START_MS 1000	/* first by then what waits is on its way, and walltime has read its own */

/* ---- on the store ---- */

bool
retention_may_forget(const struct store_file *f, uint64_t before_ms)
{
	return f->state == STORE_FILE_OK && f->backlog_records == 0 && f->seen_ms >= WALLTIME_FLOOR_MS && f->seen_ms < before_ms &&
	       f->shown_client_version <= f->upstream_client_version;
}

/* Users of an upstream that is configured age there (refresh.c). */
static bool
is_looked_after(const struct retention_pass *p, const void *key)
{
	for (size_t i = 0; i < p->nscope; i++)
		if (memcmp(users_key_scope(key), p->scopes + i * LINK_SCOPE, LINK_SCOPE) == 0)
			return true;
	return false;
}

static enum sweep_verdict
judge_token(void *arg, const void *key, size_t key_len, const void *val, size_t val_len)
{
	const struct retention_pass *p = arg;
	uint64_t at;

	if (credential_is_key(key, key_len, &at))
		return SWEEP_REMOVE; /* perhaps: is_over */
	if (users_is_key(key, key_len))
		return val_len == 0 || p->drop_credentials || !is_looked_after(p, key) ? SWEEP_REMOVE : SWEEP_KEEP; /* perhaps: is_over */
	at = key_len == ADMIT_TOKEN_KEY ? admit_token_time(val, val_len) : 0;
	return at >= WALLTIME_FLOOR_MS && at < p->tokens_before_ms ? SWEEP_REMOVE : SWEEP_KEEP;
}

/* The length of a value; its bytes are in val, which has room for any.  0: there is none. */
static size_t
value_of(struct store *s, const uint8_t *key, uint8_t *val)
{
	size_t len = STORE_VALUE_MAX;

	return store_get(s, STORE_TOKENS, key, USERS_KEY, val, &len) == STORE_OK ? len : 0;
}

/* A value of a user that nobody looks after goes when the user's entry is old, or gone; an empty one in any case. */
static bool
user_remains(const struct retention_pass *p, struct store *s, const uint8_t *key)
{
	uint8_t entry[USERS_KEY], *val = relay_alloc(STORE_VALUE_MAX);
	uint64_t at = 0;

	users_key_entry(key, entry);
	if (!p->drop_credentials && value_of(s, key, val) > 0)
		at = users_honoured_at(val, value_of(s, entry, val));
	explicit_bzero(val, STORE_VALUE_MAX);
	free(val);
	return at != 0 && (at < WALLTIME_FLOOR_MS || at >= p->seen_before_ms);
}

/* Of a client's token: it is good for nothing any more when its file has no backlog, or the operator does not want it (credential.h). */
static bool
is_over(void *arg, struct store *s, const void *key, size_t key_len)
{
	const struct retention_pass *p = arg;
	struct store_file *f;
	uint64_t id;
	bool needed;

	if (users_is_key(key, key_len))
		return !user_remains(p, s, key);
	if (!credential_is_key(key, key_len, &id))
		return true;
	f = relay_alloc(sizeof(*f));
	needed = !p->drop_credentials && store_file_get(s, id, f) == STORE_OK && f->backlog_records > 0;
	free(f);
	return !needed;
}

static enum sweep_verdict
judge_agreed(void *arg, const void *key, size_t key_len, const void *val, size_t val_len)
{
	static const char agreed[] = ADMIT_AGREED;
	const struct retention_pass *p = arg;
	uint64_t at = admit_agreed_time(val, val_len);

	if (key_len < sizeof(agreed) - 1 || memcmp(key, agreed, sizeof(agreed) - 1) != 0)
		return SWEEP_END;
	return at >= WALLTIME_FLOOR_MS && at < p->seen_before_ms ? SWEEP_REMOVE : SWEEP_KEEP;
}

static void
slice_values(struct retention_pass *p, struct store *s)
{
	bool tokens = p->phase == RETENTION_TOKENS;
	struct sweep *w = tokens ? &p->tokens : &p->agreed;

	w->table = tokens ? STORE_TOKENS : STORE_META;
	if (!tokens && w->after_len == 0) {
		w->after_len = sizeof(ADMIT_AGREED) - 1;
		memcpy(w->after, ADMIT_AGREED, w->after_len);
	}
	p->err = sweep_slice(w, s, tokens ? judge_token : judge_agreed, tokens ? is_over : NULL, p);
	if (w->done)
		p->phase++;
}

static void
slice_files(struct retention_pass *p, struct store *s)
{
	struct store_file *f = relay_alloc(sizeof(*f));

	for (unsigned i = 0; i < RETENTION_SLICE; i++) {
		p->err = store_file_after(s, p->after_id, f);
		if (p->err == STORE_NOTFOUND)
			p->phase = RETENTION_DONE;
		if (p->err != STORE_OK && ((p->err != STORE_CORRUPT && p->err != STORE_VERSION) || f->id <= p->after_id))
			break;
		p->after_id = f->id;
		if (p->err != STORE_OK || !retention_may_forget(f, p->seen_before_ms))
			continue;
		p->old[p->nold].id = f->id;
		p->old[p->nold++].file = f;
		f = relay_alloc(sizeof(*f));
	}
	if (p->err == STORE_NOTFOUND || p->err == STORE_CORRUPT || p->err == STORE_VERSION)
		p->err = STORE_OK; /* the end; or a record that holdfastctl verify tells of */
	free(f);
}

void
retention_slice(struct retention_pass *p, struct store *s)
{
	p->err = STORE_OK;
	if (p->phase == RETENTION_FILES)
		slice_files(p, s);
	else if (p->phase != RETENTION_DONE)
		slice_values(p, s);
	if (p->err != STORE_OK)
		p->phase = RETENTION_DONE; /* the next pass tries again */
}

void
retention_drop(struct retention_pass *p)
{
	while (p->nold > 0)
		free(p->old[--p->nold].file);
}

/* ---- in the daemon ---- */

struct retention {
	struct relay *relay; /* borrowed */
	struct event *timer;
	struct retention_pass *pass; /* NULL: none under way */
	uint8_t *scopes;	     /* of the pass */
	uint64_t forgotten, asked; /* files of this pass; of them at the committer */
	bool stopped;
};

static void
pass_ended(struct retention *r)
{
	struct retention_pass *p = r->pass;
	struct log_line l;

	if (p->phase != RETENTION_DONE || r->asked > 0)
		return;
	if (p->tokens.removed + p->agreed.removed + r->forgotten > 0 || p->err != STORE_OK) {
		log_begin(&l, LOG_INFO, "forgotten");
		log_u64(&l, "tokens", p->tokens.removed);
		log_u64(&l, "versions", p->agreed.removed);
		log_u64(&l, "files", r->forgotten);
		log_str(&l, "end", p->err == STORE_OK ? "complete" : store_strerror(p->err));
		log_end(&l);
	}
	STAT_ADD(r->relay, tokens_forgotten, p->tokens.removed);
	STAT_ADD(r->relay, files_forgotten, r->forgotten);
	free(p);
	r->pass = NULL;
	if (!r->stopped)
		relay_after_ms(r->timer, PASS_MS);
}

/* In the committer's thread. */
static void
slice_cb(void *arg, struct store *store)
{
	struct retention *r = arg;

	retention_slice(r->pass, store);
}

static bool
may_forget_cb(void *arg, const struct store_file *f)
{
	struct retention *r = arg;

	return retention_may_forget(f, r->pass->seen_before_ms); /* the pass lives while r->asked */
}

static void
forgot_cb(void *arg, struct spool_op *op)
{
	struct retention *r = arg;

	r->asked--;
	r->forgotten += op->err == STORE_OK;
	pass_ended(r);
}

static void
slice_done(void *arg, struct spool_op *op)
{
	struct retention *r = arg;
	struct retention_pass *p = r->pass;

	(void)op;
	for (size_t i = 0; i < p->nold && !r->stopped; i++) {
		if (session_has_open(r->relay, p->old[i].file))
			continue;
		r->asked++;
		spool_forget(r->relay->spool, p->old[i].id, may_forget_cb, forgot_cb, r);
	}
	retention_drop(p);
	if (r->stopped)
		p->phase = RETENTION_DONE;
	if (p->phase != RETENTION_DONE)
		spool_call(r->relay->spool, slice_cb, slice_done, r);
	else
		pass_ended(r);
}

/* A token is known by itself, not by the listener it came to. */
static uint64_t
longest_grace(const struct relay *relay)
{
	const struct front *f;
	uint64_t ms = 0;

	TAILQ_FOREACH (f, &relay->fronts, entry)
		if (f->opt->token_grace_ms > ms)
			ms = f->opt->token_grace_ms;
	return ms;
}

/* Whose users are looked after. */
static void
list_scopes(struct retention *r, struct retention_pass *p)
{
	const struct link *l;
	size_t n = 0;

	TAILQ_FOREACH (l, &r->relay->links, entry)
		n += l->services != NULL;
	free(r->scopes);
	r->scopes = relay_alloc((n + 1) * LINK_SCOPE);
	TAILQ_FOREACH (l, &r->relay->links, entry)
		if (l->services != NULL)
			link_scope(l, r->scopes + p->nscope++ * LINK_SCOPE);
	p->scopes = r->scopes;
}

static void
timer_cb(evutil_socket_t fd, short what, void *arg)
{
	struct retention *r = arg;
	const struct options *o = r->relay->opt;
	struct retention_pass *p = relay_alloc(sizeof(*p));
	bool exact;
	uint64_t now = walltime_ms(r->relay->walltime, &exact), grace = longest_grace(r->relay);

	(void)fd;
	(void)what;
	p->tokens_before_ms = now > grace ? now - grace : 0;
	p->seen_before_ms = now > o->forget_after_ms ? now - o->forget_after_ms : 0;
	p->drop_credentials = !credential_may_store(r->relay);
	list_scopes(r, p);
	r->pass = p;
	r->forgotten = 0;
	spool_call(r->relay->spool, slice_cb, slice_done, r);
}

struct retention *
retention_new(struct relay *relay)
{
	struct retention *r = relay_alloc(sizeof(*r));

	r->relay = relay;
	r->timer = relay_timer(relay->base, timer_cb, r);
	relay_after_ms(r->timer, START_MS);
	return r;
}

void
retention_stop(struct retention *r)
{
	r->stopped = true;
	event_del(r->timer);
}

void
retention_free(struct retention *r)
{
	if (r->pass != NULL) {
		retention_drop(r->pass);
		free(r->pass);
	}
	event_free(r->timer);
	free(r->scopes);
	free(r);
}
