/* Progress of one client file, and the way of its uploads to the committer.
 *
 * The tail exists so that a healthy link costs no flash wear: with ack = upstream an upload lingers here (options: linger), and
 * what upstream acknowledges meanwhile is never written.  Everything else is posted at the end of the pass of the loop it came in, with what
 * else came of the file: an operation costs the committer more than an upload in it.
 *
 * What can go wrong at the disk does not end here: a commit that failed for want of room marks the file with a gap; the session
 * then goes on live (upstream holds the truth), and must close its client as soon as upstream is lost. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/clock.h"
#include "relay/file.h"
#include "relay/link.h"
#include "relay/log.h"
#include "relay/name.h"
#include "relay/relay.h"
#include "relay/session.h"
#include "relay/spool.h"
#include "relay/userid.h"
#include "relay/walltime.h"

#define SEEN_MS 86400000 /* days are all that forget_after counts */
#define POST_BYTES (1u << 20) /* of uploads in one operation, unless one alone is larger: a group of commits is made of whole ones */

/* Versions offered ahead: after a crash so many may wrongly count as sent, which only blunts the recognition of a CONFLICT. */
#define FILE_OFFER_AHEAD 1024

struct file_opening {
	struct relay *relay;
	struct session *session;
	file_opened *opened; /* NULL: cancelled */
	void *arg;
};

/* The record to keep, from what is known now; the committer adds what only it may raise (committer_write.c). */
static void
fill_record(const struct file *f, struct store_file *r)
{
	bool exact;

	memset(r, 0, sizeof(*r));
	r->id = f->id;
	snprintf(r->endpoint, sizeof(r->endpoint), "%s", f->endpoint);
	snprintf(r->path, sizeof(r->path), "%s", f->path);
	r->file_ident = f->file_ident;
	r->file_ident_salt = f->file_ident_salt;
	r->download_server_version = f->cursors.download_server_version;
	r->download_client_version = f->cursors.download_client_version;
	r->latest_server_version = f->cursors.latest_server_version;
	r->latest_server_version_salt = f->cursors.latest_server_version_salt;
	r->upstream_client_version = f->upstream.client_version;
	r->upstream_server_version = f->upstream.server_version;
	r->locked_server_version = f->locked_server_version;
	r->offered_client_version = f->offered;
	r->state = f->state;
	if (f->state == STORE_FILE_LOST) { /* as the journal says: the committer does not take it from here else (I5) */
		r->shown_client_version = f->shown.client_version;
		r->shown_server_version = f->shown.server_version;
	}
	r->state_code = f->state_code;
	r->state_time_ms = f->state_time_ms;
	if (f->state_text != NULL)
		snprintf(r->state_text, sizeof(r->state_text), "%s", f->state_text);
	r->ack = f->ack;
	r->downloaded = f->downloaded;
	r->is_subserver = f->is_subserver;
	memcpy(r->user, f->user, STORE_USER);
	if (f->bind != NULL)
		snprintf(r->bind, sizeof(r->bind), "%s", f->bind);
	r->created_ms = f->created_ms;
	r->seen_ms = walltime_ms(f->relay->walltime, &exact);
}

static void
file_free(struct file *f)
{
	struct upload *u;

	quota_leave(f);
	while ((u = TAILQ_FIRST(&f->tail)) != NULL) {
		TAILQ_REMOVE(&f->tail, u, link);
		upload_unref(u);
	}
	name_drop(f->endpoint);
	name_drop(f->path);
	free(f->state_text);
	free(f->bind);
	free(f);
}

/* Every operation ends here: counts it, and frees a file that nobody needs any more. */
static void
op_ended(struct file *f)
{
	f->inflight--;
	if (f->session == NULL && f->inflight == 0)
		file_free(f);
}

void
file_set_bind(struct file *f, const char *bind)
{
	free(f->bind);
	f->bind = bind[0] != '\0' ? relay_strndup(bind, strlen(bind)) : NULL;
}

static struct file *
file_new(struct relay *relay, struct session *s, const struct store_file *rec, bool known)
{
	struct file *f = relay_alloc(sizeof(*f));

	TAILQ_INIT(&f->tail);
	f->relay = relay;
	f->session = s;
	f->endpoint = name_take(rec->endpoint, strlen(rec->endpoint));
	f->path = name_take(rec->path, strlen(rec->path));
	quota_join(f);
	f->id = rec->id;
	f->file_ident = rec->file_ident;
	f->file_ident_salt = rec->file_ident_salt;
	f->created_ms = known ? rec->created_ms : clock_wall_ms();
	f->state = rec->state;
	f->state_code = rec->state_code;
	f->state_time_ms = rec->state_time_ms;
	if (rec->state_text[0] != '\0')
		f->state_text = relay_strndup(rec->state_text, strlen(rec->state_text));
	file_set_bind(f, rec->bind);
	session_user(s, f->user);
	if (!userid_known(f->user))
		memcpy(f->user, rec->user, STORE_USER);
	f->is_new = !known;
	f->cursors = (struct cursors){ rec->download_server_version, rec->download_client_version, rec->latest_server_version,
		rec->latest_server_version_salt };
	f->upstream = (struct pair){ rec->upstream_client_version, rec->upstream_server_version };
	f->acked = f->upstream.client_version;
	f->shown = (struct pair){ rec->shown_client_version, rec->shown_server_version };
	f->held = f->stored = (struct pair){ rec->held_client_version, rec->held_server_version };
	f->final = (struct pair){ rec->final_client_version, rec->final_server_version };
	f->locked_server_version = rec->locked_server_version;
	f->offered = f->sent_max = rec->offered_client_version;
	f->downloaded = rec->downloaded;
	f->on_disk = rec->backlog_records > 0;
	f->backlog_bytes = rec->backlog_bytes;
	f->aside = rec->state != STORE_FILE_OK && rec->state != STORE_FILE_REJECTED && rec->state != STORE_FILE_RESTORED;
	/* ack sticks to the file until its backlog is drained (design section 5) */
	f->ack = f->on_disk ? rec->ack : (s->opt->ack == ACK_RELAY ? STORE_ACK_RELAY : STORE_ACK_UPSTREAM);
	return f;
}

/* A file that is in use is known to be, though nothing of it may be written for months. */
static void
note_seen(struct relay *relay, struct store_file *f)
{
	bool exact;
	uint64_t now = walltime_ms(relay->walltime, &exact);

	if (f->seen_ms + SEEN_MS > now || f->state != STORE_FILE_OK)
		return;
	f->seen_ms = now;
	spool_update(relay->spool, f, NULL, NULL);
}

/* A store that has failed ends the process (relay.c). */
static void
end_if_failed(const struct spool_op *op)
{
	if (op->err == STORE_IO || (op->err == STORE_CORRUPT && !op->damaged))
		log_fatal("store_failed", "reason=\"%s\"", store_strerror(op->err));
}

/* Something of the file's own turned out to be damaged (I7).  Nothing is kept of it any more; its client is closed, and finds the file set
 * aside when it comes back: by this, or if it is the file's record, by mend.h. */
static void
file_damaged(struct file *f)
{
	if (f->aside)
		return;
	f->aside = true;
	file_set_state(f, STORE_FILE_LOST, 0, "a record of it in the buffer is damaged");
	log_event(LOG_ERROR, "file_record_damaged", "id=%llu file_ident=%llu", (unsigned long long)f->id, (unsigned long long)f->file_ident);
	if (f->session != NULL)
		session_settled(f->session); /* nobody would go on with a ghost */
	if (f->session != NULL)
		session_store_failed(f->session, STORE_CORRUPT);
}

static void
updated(void *arg, struct spool_op *op)
{
	struct file *f = arg;

	if (op->err == STORE_OK)
		f->id = op->file->id;
	else if (op->damaged)
		file_damaged(f);
	else
		log_event(LOG_ERROR, "file_state_not_stored", "reason=\"%s\"", store_strerror(op->err));
	op_ended(f);
}

static void
store_state(struct file *f)
{
	struct store_file rec;

	f->inflight++;
	fill_record(f, &rec);
	spool_set_state(f->relay->spool, &rec, updated, f);
}

static void
found(void *arg, struct spool_op *op)
{
	struct file_opening *o = arg;
	struct file *f = NULL;

	if (o->opened != NULL) {
		if (op->err == STORE_OK)
			note_seen(o->relay, op->file);
		if (op->err == STORE_OK || op->err == STORE_NOTFOUND)
			f = file_new(o->relay, o->session, op->file, op->err == STORE_OK);
		end_if_failed(op);
		if (f == NULL)
			log_event(LOG_ERROR, "file_open_failed", "reason=\"%s\"", store_strerror(op->err));
		if (op->aside)
			store_state(f); /* an operator must see it, and decide */
		o->opened(o->arg, f, &op->queries);
	}
	free(o);
}

struct file_opening *
file_open(struct relay *relay, struct session *s, const char *endpoint, const char *path, uint64_t file_ident,
	  uint64_t file_ident_salt, file_opened *opened, void *arg)
{
	struct file_opening *o = relay_alloc(sizeof(*o));
	struct store_file *key = relay_alloc(sizeof(*key));

	*o = (struct file_opening){ relay, s, opened, arg };
	strncpy(key->endpoint, endpoint, STORE_ENDPOINT_MAX);
	strncpy(key->path, path, STORE_PATH_MAX);
	key->file_ident = file_ident;
	key->file_ident_salt = file_ident_salt;
	spool_find(relay->spool, key, found, o);
	free(key);
	return o;
}

void
file_open_cancel(struct file_opening *o)
{
	if (o != NULL)
		o->opened = NULL;
}

static void
linger_stop(struct file *f)
{
	if (f->is_lingering)
		TAILQ_REMOVE(&f->session->link->lingering.files, f, lingering);
	if (f->is_due)
		TAILQ_REMOVE(&f->session->link->lingering.due, f, lingering);
	f->is_lingering = f->is_due = false;
}

void
file_detach(struct file *f)
{
	file_post(f);
	f->session = NULL;
	if (f->inflight == 0)
		file_free(f);
}

struct upload *
file_tail_next(struct file *f, uint64_t sent)
{
	struct upload *next;

	if (f->passed != NULL && f->passed->last.client_version > sent)
		f->passed = NULL; /* a new upstream session */
	while ((next = f->passed != NULL ? TAILQ_NEXT(f->passed, link) : TAILQ_FIRST(&f->tail)) != NULL &&
	       next->last.client_version <= sent)
		f->passed = next;
	return next;
}

static void
tail_remove(struct file *f, struct upload *u)
{
	if (f->passed == u)
		f->passed = TAILQ_PREV(u, upload_list, link);
	if (f->unposted == u)
		f->unposted = TAILQ_NEXT(u, link);
	f->relay->lingering_bytes -= u->posted ? 0 : u->len;
	TAILQ_REMOVE(&f->tail, u, link);
	quota_sub(f, u->len);
	f->tail_bytes -= u->len;
	f->relay->tail_bytes -= u->len;
	upload_unref(u);
}

/* Something up to last is not on the disk. */
static void
note_gap(struct file *f, struct pair last)
{
	f->gap = true;
	if (last.client_version > f->gap_end.client_version)
		f->gap_end = last;
}

/* u of op did not get to the disk.  What lies behind it in the tail will be refused too (spool_append). */
static void
append_failed(struct file *f, struct spool_op *op, struct upload *u)
{
	char text[96];

	STAT_INC(f->relay, store_errors);
	end_if_failed(op);
	if (op->err == STORE_DIFFERS) {
		snprintf(text, sizeof(text), "client_version %llu was sent again with other bytes",
			 (unsigned long long)op->bad_version);
		file_set_state(f, STORE_FILE_DIFFERS, 0, text);
		f->aside = true;
	} else if (op->damaged && op->bad_version != 0) { /* it was to be compared with that one */
		snprintf(text, sizeof(text), "record of client_version %llu is damaged", (unsigned long long)op->bad_version);
		file_set_state(f, STORE_FILE_LOST, 0, text);
		f->aside = true;
	} else if (op->damaged) {
		file_damaged(f);
	}
	file_skip(f, u);
	if (f->session != NULL)
		session_store_failed(f->session, op->err);
}

/* The first of op's uploads are on the disk. */
static void
append_kept(struct file *f, struct spool_op *op)
{
	size_t entries = 0;

	for (size_t i = 0; i < op->nkept; i++) {
		entries += op->upload[i]->nentry;
		tail_remove(f, op->upload[i]);
	}
	f->on_disk = f->on_disk || entries > op->needless;
	STAT_ADD(f->relay, uploads_acked, op->needless);
	f->backlog_bytes = op->file->backlog_bytes;
	if (op->file->held_client_version > f->stored.client_version)
		f->stored = (struct pair){ op->file->held_client_version, op->file->held_server_version };
	if (op->file->shown_client_version > f->shown.client_version)
		f->shown = (struct pair){ op->file->shown_client_version, op->file->shown_server_version };
	if (f->session != NULL)
		query_kept(f->session, &op->queries);
	if (f->session != NULL)
		session_stored(f->session);
}

static void
appended(void *arg, struct spool_op *op)
{
	struct file *f = arg;

	f->appending--;
	if (op->err == STORE_OK || op->err == STORE_DIFFERS || op->err == STORE_FULL)
		f->id = op->file->id; /* the record was committed */
	if (op->nkept > 0)
		append_kept(f, op);
	for (size_t i = op->nkept; i < op->nupload; i++) {
		tail_remove(f, op->upload[i]);
		append_failed(f, op, op->upload[i]);
	}
	file_acked(f, f->upstream); /* what came to the disk may have been acknowledged meanwhile */
	op_ended(f);
}

/* Posts the first that was not yet, and with it, of those behind it that were taken at taken_ms or before, what goes into one operation. */
static void
post_some(struct file *f, uint64_t taken_ms)
{
	struct query_list queries = TAILQ_HEAD_INITIALIZER(queries);
	struct upload *first = f->unposted, *u = first;
	struct store_file rec;
	size_t n = 0, bytes = 0;

	for (; u != NULL && u->taken_ms <= taken_ms && (n == 0 || bytes + u->len <= POST_BYTES); u = TAILQ_NEXT(u, link)) {
		u->posted = true;
		n++;
		bytes += u->len;
	}
	f->unposted = u;
	f->relay->lingering_bytes -= bytes;
	f->inflight++;
	f->appending++;
	fill_record(f, &rec);
	query_to_keep(f->session, &queries);
	spool_append(f->relay->spool, &rec, first, n, f->ack == STORE_ACK_RELAY, &queries, appended, f);
}

static void
queries_kept(void *arg, struct spool_op *op)
{
	struct file *f = arg;

	end_if_failed(op);
	if (op->err == STORE_OK) {
		f->id = op->file->id;
		if (f->session != NULL)
			query_kept(f->session, &op->queries);
	} else if (op->damaged) {
		file_damaged(f);
	} else {
		STAT_INC(f->relay, store_errors);
		note_gap(f, f->held);
		if (f->session != NULL)
			session_store_failed(f->session, op->err);
	}
	op_ended(f);
}

void
file_keep_queries(struct file *f)
{
	struct query_list queries = TAILQ_HEAD_INITIALIZER(queries);
	struct store_file rec;

	if (f->unposted != NULL)
		file_post(f);
	f->inflight++;
	fill_record(f, &rec);
	query_to_keep(f->session, &queries);
	spool_keep_queries(f->relay->spool, &rec, &queries, queries_kept, f);
}

/* Posts what was taken at taken_ms or before. */
static void
post_older(struct file *f, uint64_t taken_ms)
{
	while (f->unposted != NULL && f->unposted->taken_ms <= taken_ms)
		post_some(f, taken_ms);
	if (f->unposted == NULL)
		linger_stop(f);
}

void
file_post(struct file *f)
{
	post_older(f, UINT64_MAX);
}

void
file_unanswered(struct file *f)
{
	f->timed = 0;
	file_post(f);
}

void
file_note_progress(struct file *f, const struct upload *u)
{
	if (u->progress_client_version > f->final.client_version)
		f->final = (struct pair){ u->progress_client_version, u->progress_server_version };
	if (u->locked_server_version > f->locked_server_version)
		f->locked_server_version = u->locked_server_version;
}

/* u may linger.  Times one upload at a time, as TCP does. */
static void
linger_start(struct file *f, const struct upload *u)
{
	if (f->timed == 0) {
		f->timed = u->last.client_version;
		f->timed_at = u->taken_ms;
	}
	if (f->is_lingering || f->is_due)
		return;
	TAILQ_INSERT_TAIL(&f->session->link->lingering.files, f, lingering);
	f->is_lingering = true;
}

/* All of the tail is to be posted at the end of this pass. */
static void
linger_no_more(struct file *f)
{
	if (f->is_due)
		return;
	linger_stop(f);
	TAILQ_INSERT_TAIL(&f->session->link->lingering.due, f, lingering);
	f->is_due = true;
}

void
file_take(struct file *f, struct upload *u, bool now)
{
	TAILQ_INSERT_TAIL(&f->tail, u, link);
	if (f->unposted == NULL)
		f->unposted = u;
	u->after = f->held.client_version;
	u->acked = &f->acked;
	u->taken_ms = clock_ms();
	quota_add(f, u->len);
	f->tail_bytes += u->len;
	f->relay->tail_bytes += u->len;
	f->relay->lingering_bytes += u->len;
	if (u->last.client_version > f->held.client_version)
		f->held = (struct pair){ u->last.client_version, u->last.server_version };
	if (f->relay->lingering_bytes > f->relay->opt->spool_bytes / 2) /* a long linger must not gather more than the spool may (I6) */
		file_post(f);
	else if (now)
		linger_no_more(f);
	else
		linger_start(f, u);
}

void
file_skip(struct file *f, const struct upload *u)
{
	struct pair last = { u->last.client_version, u->last.server_version };

	note_gap(f, last);
	if (last.client_version > f->held.client_version)
		f->held = last;
}

static void
trimmed(void *arg, struct spool_op *op)
{
	struct file *f = arg;

	f->trimming = false;
	end_if_failed(op);
	if (op->err == STORE_OK && op->conflict) {
		f->aside = true;
		file_set_state(f, STORE_FILE_CONFLICT, 0, "upstream acknowledges changesets that were acknowledged here and never sent");
		log_event(LOG_ERROR, "file_conflict", "file_ident=%llu upto=%llu sent=%llu", (unsigned long long)f->file_ident,
			  (unsigned long long)op->upto, (unsigned long long)op->file->offered_client_version);
	} else if (op->err == STORE_OK) {
		f->trimmed = op->upto;
		f->backlog_bytes = op->file->backlog_bytes;
		STAT_ADD(f->relay, uploads_acked, op->nrecord);
		if (op->upto >= f->stored.client_version && f->appending == 0)
			f->on_disk = false;
		file_acked(f, f->upstream);
	} else if (op->damaged) {
		file_damaged(f);
	}
	op_ended(f);
}

static void
trim(struct file *f, uint64_t upto)
{
	struct store_file rec;

	f->trimming = true;
	f->inflight++;
	fill_record(f, &rec);
	spool_trim(f->relay->spool, &rec, upto, trimmed, f);
}

void
file_acked(struct file *f, struct pair p)
{
	struct upload *u;

	if (p.client_version > f->upstream.client_version) {
		f->upstream = p;
		atomic_store_explicit(&f->acked, p.client_version, memory_order_relaxed); /* nothing else goes with it */
	}
	if (p.client_version > f->held.client_version)
		f->held = p;
	if (f->timed != 0 && f->timed <= p.client_version && f->session != NULL) {
		linger_learn(&f->session->link->lingering, clock_ms() - f->timed_at);
		f->timed = 0;
	}
	while ((u = f->unposted) != NULL && u->last.client_version <= p.client_version) {
		STAT_ADD(f->relay, uploads_acked, u->nentry);
		tail_remove(f, u);
	}
	if (f->unposted == NULL)
		linger_stop(f);
	if (f->gap && f->gap_end.client_version <= p.client_version && f->appending == 0)
		f->gap = false;
	if (f->session != NULL && f->on_disk && !f->aside && !f->trimming && f->id != 0 && p.client_version > f->trimmed)
		trim(f, p.client_version);
	if (f->session != NULL && !file_waiting(f))
		session_settled(f->session);
}

static void
offered(void *arg, struct spool_op *op)
{
	struct file *f = arg;

	f->offering = false;
	if (op->err == STORE_OK) {
		f->offered = op->file->offered_client_version;
		if (f->session != NULL)
			session_offered(f->session);
	} else if (op->damaged) {
		file_damaged(f);
	}
	op_ended(f);
}

static void
offer(struct file *f, uint64_t client_version)
{
	struct store_file rec;

	f->offering = true;
	f->inflight++;
	fill_record(f, &rec);
	rec.offered_client_version = client_version;
	spool_update(f->relay->spool, &rec, offered, f);
}

bool
file_offer(struct file *f, uint64_t client_version)
{
	if (f->ack != STORE_ACK_RELAY || client_version <= f->offered)
		return true;
	if (!f->offering)
		offer(f, client_version + FILE_OFFER_AHEAD);
	return false;
}

void
file_offer_end(struct file *f)
{
	struct store_file rec;

	if (f->ack != STORE_ACK_RELAY || f->sent_max >= f->offered)
		return;
	f->offered = f->sent_max;
	f->inflight++;
	fill_record(f, &rec);
	spool_update_exact(f->relay->spool, &rec, updated, f);
}

static void
premerged(void *arg, struct spool_op *op)
{
	struct file *f = arg;

	(void)op; /* what could not be merged goes as it is */
	f->merging = false;
	f->merged = true;
	if (f->session != NULL)
		session_offered(f->session);
	op_ended(f);
}

bool
file_premerge(struct file *f)
{
	if (!f->relay->opt->premerge || f->merged)
		return true;
	if (f->merging)
		return false;
	f->merging = true;
	f->inflight++;
	spool_merge(f->relay->spool, f->id, premerged, f);
	return false;
}

struct reading {
	struct file *file;
	unsigned generation;
};

static void
was_read(void *arg, struct spool_op *op)
{
	struct reading *r = arg;
	struct file *f = r->file;

	if (f->session != NULL && f->session->generation == r->generation)
		session_batch(f->session, op);
	free(r);
	op_ended(f);
}

void
file_read(struct file *f, uint64_t after, uint64_t upto, uint64_t max_bytes, uint64_t max_server_version, int level, unsigned generation)
{
	struct reading *r = relay_alloc(sizeof(*r));

	*r = (struct reading){ f, generation };
	if (f->stored.client_version < upto)
		upto = f->stored.client_version;
	f->inflight++;
	spool_read(f->relay->spool, f->id, after, upto, max_bytes, max_server_version, level, was_read, r);
}

void
file_set_state(struct file *f, enum store_file_state state, unsigned code, const char *text)
{
	if (f->state == state && f->state_code == code)
		return;
	f->state = state;
	f->state_code = code;
	f->state_time_ms = clock_wall_ms();
	free(f->state_text);
	f->state_text = relay_strndup(text, strlen(text));
	store_state(f);
}

bool
file_waiting(const struct file *f)
{
	return !f->aside && file_holds(f);
}

bool
file_holds(const struct file *f)
{
	return f->on_disk || !TAILQ_EMPTY(&f->tail);
}

bool
file_owes(const struct file *f)
{
	return f->aside && f->shown.client_version > f->upstream.client_version;
}

bool
file_take_back(struct file *f)
{
	if (f->state != STORE_FILE_EXPORTED || f->upstream.client_version < f->stored.client_version || file_owes(f))
		return false;
	if (f->stored.client_version > f->offered)
		f->offered = f->stored.client_version; /* by whoever imported it */
	file_set_state(f, STORE_FILE_OK, 0, "");
	f->aside = false;
	file_acked(f, f->upstream);
	return true;
}

int64_t
file_post_pass(const struct relay *relay, uint64_t now_ms)
{
	struct link *l;
	struct file *f;
	int64_t wait = -1;

	TAILQ_FOREACH (l, &relay->links, entry) {
		uint64_t patience = linger_ms(&l->lingering, relay->opt);

		while ((f = TAILQ_FIRST(&l->lingering.due)) != NULL)
			file_post(f);
		while ((f = TAILQ_FIRST(&l->lingering.files)) != NULL) {
			uint64_t due = f->unposted->taken_ms + patience;

			if (due > relay->pass_ms) {
				int64_t left = due > now_ms ? (int64_t)(due - now_ms) : 0;

				wait = wait < 0 || left < wait ? left : wait;
				break;
			}
			TAILQ_REMOVE(&l->lingering.files, f, lingering);
			TAILQ_INSERT_TAIL(&l->lingering.files, f, lingering);
			post_older(f, relay->pass_ms - patience);
		}
	}
	return wait;
}
