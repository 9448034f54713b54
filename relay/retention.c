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
#define HASH_LEN 32	/* keys of tokens; others in that table are not ours */

/* ---- on the store ---- */

bool
retention_may_forget(const struct store_file *f, uint64_t before_ms)
{
	return f->state == STORE_FILE_OK && f->backlog_records == 0 && f->seen_ms >= WALLTIME_FLOOR_MS && f->seen_ms < before_ms &&
	       f->shown_client_version <= f->upstream_client_version;
}

struct doomed { /* values of one slice */
	struct retention_pass *pass;
	unsigned looked_at;
	bool more;
	size_t n;
	struct { uint8_t key[STORE_KEY_MAX]; size_t len; } v[RETENTION_SLICE];
};

static bool
is_old(const struct retention_pass *p, const void *key, size_t key_len, const void *val, size_t val_len)
{
	uint64_t at;

	if (p->phase == RETENTION_TOKENS) {
		if (credential_is_key(key, key_len, &at))
			return true; /* perhaps: sift */
		if (users_is_key(key, key_len))
			return val_len == 0; /* they age there */
		at = key_len == HASH_LEN ? admit_token_time(val, val_len) : 0;
		return at >= WALLTIME_FLOOR_MS && at < p->tokens_before_ms;
	}
	at = admit_agreed_time(val, val_len);
	return at >= WALLTIME_FLOOR_MS && at < p->seen_before_ms;
}

static bool
look_at_value(void *arg, const void *key, size_t key_len, const void *val, size_t val_len)
{
	static const char agreed[] = ADMIT_AGREED;
	struct doomed *d = arg;
	struct retention_pass *p = d->pass;

	if (p->phase == RETENTION_AGREED &&
	    (key_len < sizeof(agreed) - 1 || memcmp(key, agreed, sizeof(agreed) - 1) != 0))
		return false;
	memcpy(p->after, key, key_len);
	p->after_len = key_len;
	if (is_old(p, key, key_len, val, val_len)) {
		memcpy(d->v[d->n].key, key, key_len);
		d->v[d->n++].len = key_len;
	}
	d->more = ++d->looked_at == RETENTION_SLICE;
	return !d->more;
}

/* Whether a client's token is still good for something: while its file has a backlog, and the operator wants it (credential.h). */
static bool
is_needed(const struct retention_pass *p, struct store *s, uint64_t file_id)
{
	struct store_file *f = relay_alloc(sizeof(*f));
	bool needed = !p->drop_credentials && store_file_get(s, file_id, f) == STORE_OK && f->backlog_records > 0;

	free(f);
	return needed;
}

/* Of the values listed, those that go. */
static void
sift(struct doomed *d, struct store *s)
{
	size_t n = 0;
	uint64_t id;

	for (size_t i = 0; i < d->n; i++)
		if (d->pass->phase != RETENTION_TOKENS || !credential_is_key(d->v[i].key, d->v[i].len, &id) || !is_needed(d->pass, s, id))
			d->v[n++] = d->v[i];
	d->n = n;
}

static enum store_err
remove_values(struct store *s, enum store_table t, const struct doomed *d)
{
	enum store_err err = store_begin(s);

	if (err != STORE_OK)
		return err;
	for (size_t i = 0; i < d->n; i++) {
		err = store_del(s, t, d->v[i].key, d->v[i].len);
		if (err != STORE_OK && err != STORE_NOTFOUND) {
			store_abort(s);
			return err;
		}
	}
	return store_commit(s, false); /* what a crash brings back is old next time as well */
}

static void
slice_values(struct retention_pass *p, struct store *s)
{
	enum store_table t = p->phase == RETENTION_TOKENS ? STORE_TOKENS : STORE_META;
	struct doomed *d = relay_alloc(sizeof(*d));

	if (p->phase == RETENTION_AGREED && p->after_len == 0) {
		p->after_len = sizeof(ADMIT_AGREED) - 1;
		memcpy(p->after, ADMIT_AGREED, p->after_len);
	}
	d->pass = p;
	p->err = store_each_after(s, t, p->after, p->after_len, look_at_value, d);
	if (p->err == STORE_OK)
		sift(d, s);
	if (p->err == STORE_OK && d->n > 0)
		p->err = remove_values(s, t, d);
	if (p->err == STORE_OK)
		*(p->phase == RETENTION_TOKENS ? &p->tokens : &p->agreed) += d->n;
	if (!d->more) {
		p->phase++;
		p->after_len = 0;
	}
	free(d);
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
	if (p->tokens + p->agreed + r->forgotten > 0 || p->err != STORE_OK) {
		log_begin(&l, LOG_INFO, "forgotten");
		log_u64(&l, "tokens", p->tokens);
		log_u64(&l, "versions", p->agreed);
		log_u64(&l, "files", r->forgotten);
		log_str(&l, "end", p->err == STORE_OK ? "complete" : store_strerror(p->err));
		log_end(&l);
	}
	STAT_ADD(r->relay, tokens_forgotten, p->tokens);
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
	free(r);
}
