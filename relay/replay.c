/* The backlog on its way up.
 *
 * A batch is read by the committer as the body of one UPLOAD, deflated there or beside it, and sent here.  At most replay_window bytes are
 * unacknowledged, at most one batch waits in the connection's queue (so the relay's PING never waits behind more), and on a thin link a batch
 * is no larger than what leaves in REPLAY_BATCH_S seconds.  Where upstream has acknowledged everything before the next batch is ready, it is the
 * deflating that holds it up, and a low level does.
 *
 * Progress (S3, S4, S5): each UPLOAD carries the pair of its own last entry.  Anything higher would make upstream skip the
 * entries still to come.  The client's own progress, which may be higher, goes when nothing older is left.
 *
 * Order (I3): `sent` only rises within an upstream session, everything is taken from just above it: first the disk, then the tail
 * in memory that is not on disk yet.  A query of flexible sync goes in its place among them (query.h).  When all is exhausted the session is
 * LIVE. */
#include <stdlib.h>

#include "relay/absent.h"
#include "relay/clock.h"
#include "relay/conn.h"
#include "relay/log.h"
#include "relay/options.h"
#include "relay/pace.h"
#include "relay/replay.h"
#include "relay/request.h"
#include "relay/spool.h"
#include "relay/upstream.h"

#define REPLAY_BATCH_S 30 /* seconds of the measured rate in one batch: bounds how long a PING or another session waits */
#define STALLS_MAX 10	  /* so often replay_stalled doubles its patience */

#define HURRY_LEVEL 1	  /* of deflate: six times as fast as 9 */

struct out_upload {
	struct view body;
	size_t uncompressed_size;
	bool is_compressed;
	struct pair progress;
	uint64_t locked_server_version;
};

static void
note_sent(struct session *s, struct pair progress)
{
	s->sent = progress;
	if (progress.client_version > s->file->sent_max)
		s->file->sent_max = progress.client_version;
}

static void
send_upload(struct session *s, const struct out_upload *o)
{
	struct message m = { .type = MSG_C_UPLOAD, .session_ident = s->upstream_ident };

	m.upload = (struct msg_upload){ .is_compressed = o->is_compressed,
		.uncompressed_size = o->uncompressed_size,
		.compressed_size = o->is_compressed ? o->body.len : 0,
		.progress_client_version = o->progress.client_version,
		.progress_server_version = o->progress.server_version,
		.locked_server_version = o->locked_server_version };
	upstream_send(s->upstream, &m, o->body);
	note_sent(s, o->progress);
}

/* Only what the client itself stated may be locked (it never falls over the life of the file), within what this session reached. */
static uint64_t
locked_version(const struct session *s)
{
	uint64_t locked = s->file->locked_server_version;

	return locked < s->reached ? locked : s->reached;
}

static void
note_unacked(struct session *s, uint64_t last_client_version, size_t bytes)
{
	struct sent_batch *b = relay_alloc(sizeof(*b));

	b->last_client_version = last_client_version;
	b->bytes = bytes;
	if (STAILQ_EMPTY(&s->unacked))
		s->unacked_since = clock_ms();
	STAILQ_INSERT_TAIL(&s->unacked, b, link);
	s->unacked_bytes += bytes;
}

void
replay_acked(struct session *s, uint64_t client_version)
{
	struct sent_batch *b;

	while ((b = STAILQ_FIRST(&s->unacked)) != NULL && b->last_client_version <= client_version) {
		STAILQ_REMOVE_HEAD(&s->unacked, link);
		s->unacked_since = clock_ms();
		s->unacked_bytes -= b->bytes;
		free(b);
	}
	s->underfed = s->underfed || (s->reading && STAILQ_EMPTY(&s->unacked));
}

bool
replay_stalled(struct session *s, uint64_t now_ms, uint64_t patience_ms)
{
	uint64_t patience = patience_ms << s->stalls;

	if (STAILQ_EMPTY(&s->unacked) || now_ms - s->unacked_since < patience)
		return false;
	if (s->stalls < STALLS_MAX)
		s->stalls++;
	return true;
}

void
replay_reset(struct session *s)
{
	replay_acked(s, UINT64_MAX);
	pace_forget(s);
	s->reading = s->underfed = false;
	s->disk_end = 0;
	if (s->file != NULL)
		s->file->merged = false;
	s->sent = (struct pair){ 0, 0 };
}

/* The next upload of the tail that holds something not sent yet; NULL when there is none that begins within limit. */
static struct upload *
tail_next(const struct session *s, uint64_t limit)
{
	struct upload *u = file_tail_next(s->file, s->sent.client_version);

	return u != NULL && u->first.client_version <= limit ? u : NULL;
}

/* False: upstream has not been brought to the version that u builds on (a restored device); a DOWNLOAD will. */
static bool
send_from_tail(struct session *s, const struct upload *u)
{
	size_t n;
	struct view body = upload_after(u, s->sent.client_version, &n);
	struct out_upload o = { .body = body,
		.uncompressed_size = body.len,
		.progress = { u->last.client_version, u->last.server_version },
		.locked_server_version = locked_version(s) };

	if (u->last.server_version > s->reached)
		return false;
	send_upload(s, &o);
	STAT_ADD(s->relay, replayed, n);
	STAT_ADD(s->relay, replayed_bytes, body.len);
	STAT_ADD(s->relay, replayed_sent, body.len);
	note_unacked(s, u->last.client_version, body.len);
	pace_used(s, body.len);
	return true;
}

static void
become_live(struct session *s)
{
	const struct file *f = s->file;
	struct out_upload o = { .progress = f->final, .locked_server_version = locked_version(s) };

	/* Never past something that was not kept: upstream would take it as integrated (S4). */
	if (!f->gap && !s->refused && f->final.client_version > s->sent.client_version && f->final.client_version > f->upstream.client_version &&
	    f->final.server_version <= s->reached && f->final.server_version >= s->sent.server_version)
		send_upload(s, &o);
	s->upside = UPSIDE_LIVE;
	session_room(s);
	request_kick(s);
}

/* Whether the disk may hold records not sent yet up to limit. */
static bool
disk_next(const struct session *s, uint64_t limit)
{
	uint64_t stored = s->file->stored.client_version < limit ? s->file->stored.client_version : limit;

	return s->file->on_disk && !s->file->aside && stored > s->sent.client_version && stored > s->file->upstream.client_version &&
	       stored > s->disk_end;
}

static uint64_t
batch_bytes(const struct session *s)
{
	uint64_t rate = upstream_rate(s->upstream), max = s->opt->replay_batch, cap = pace_rate(s->link);

	if (cap != 0 && cap < max)
		max = cap; /* so that the others in line wait for a second at most */
	return rate != 0 && rate * REPLAY_BATCH_S < max ? rate * REPLAY_BATCH_S : max;
}

static uint64_t
max_version(struct pair a, struct pair b)
{
	return a.client_version > b.client_version ? a.client_version : b.client_version;
}

/* What the last levels of deflate save is worth waiting for where the link is slow, or bytes are counted; where upstream waits for us, it is not. */
static int
level(const struct session *s)
{
	const struct options *o = s->opt;
	bool hurry = s->underfed && s->link->opt->budget == 0 && pace_rate(s->link) == 0;

	return hurry && o->replay_level > HURRY_LEVEL ? HURRY_LEVEL : (int)o->replay_level;
}

/* Asks for the next batch. */
static void
read_disk(struct session *s, uint64_t limit)
{
	uint64_t after = s->sent.client_version > s->file->upstream.client_version ? s->sent.client_version
										   : s->file->upstream.client_version;

	if (!file_premerge(s->file) || !pace_ask(s, batch_bytes(s)))
		return;
	s->reading = true;
	file_read(s->file, after, limit, batch_bytes(s), s->reached, level(s), s->generation);
}

/* Sends what comes next; false: nothing can be for now.  What lies behind a query waits for its bootstrap. */
static bool
send_next(struct session *s)
{
	const struct query *q = s->file->gap ? NULL : query_next(s);
	uint64_t limit = q != NULL ? q->place : UINT64_MAX;
	bool disk = disk_next(s, limit);
	struct upload *u = s->file->gap ? NULL : tail_next(s, limit); /* I3: never past an upload that could not be kept */

	if (s->query_awaited && (disk || u != NULL || q != NULL))
		return false;
	if (disk) {
		read_disk(s, limit);
		return false;
	}
	if (u != NULL) {
		if (pace_ask(s, u->len) && send_from_tail(s, u))
			return true;
		pace_used(s, 0);
		return false;
	}
	if (q != NULL) {
		query_send(s, q);
		s->query_awaited = true;
	} else {
		become_live(s);
	}
	return true;
}

void
replay_kick(struct session *s)
{
	const struct options *opt = s->opt;

	while (s->upside == UPSIDE_REPLAY && !s->reading && !s->no_replay && !absent_yields(s)) {
		if (upstream_queued(s->upstream) > opt->out_low || s->unacked_bytes >= opt->replay_window)
			return;
		if (!file_offer(s->file, max_version(s->file->held, s->file->final)) || !send_next(s))
			return;
	}
}

static bool
is_set_aside(const struct session *s)
{
	return s->no_replay || s->file->aside;
}

void
replay_batch(struct session *s, struct spool_op *op)
{
	struct spool_batch *b = &op->batch;
	struct out_upload o = { .body = { b->body, b->len },
		.uncompressed_size = b->uncompressed_size,
		.is_compressed = b->is_compressed,
		.progress = { b->last_client_version, b->last_server_version },
		.locked_server_version = 0 };

	s->reading = false;
	s->underfed = s->underfed && STAILQ_EMPTY(&s->unacked);
	pace_used(s, op->err == STORE_OK && b->nentry > 0 && s->upside == UPSIDE_REPLAY && !is_set_aside(s) ? b->len : 0);
	if (s->upside != UPSIDE_REPLAY)
		return;
	if (is_set_aside(s)) { /* while it was read */
		replay_kick(s);
		return;
	}
	if (op->err == STORE_CORRUPT) {
		char text[96];

		snprintf(text, sizeof(text), "record of client_version %llu is damaged", (unsigned long long)op->bad_version);
		session_stop(s, STORE_FILE_LOST, 0, text);
		return;
	}
	if (op->err != STORE_OK) {
		log_event(LOG_ERROR, "replay_read_failed", "reason=\"%s\"", store_strerror(op->err));
		session_settled(s); /* a client is served again at its next upload; nobody would kick a ghost */
		return;
	}
	if (b->nentry == 0) {
		if (!b->held_back) { /* the disk is exhausted: go on with the tail */
			s->disk_end = op->upto;
			replay_kick(s);
		}
		return;
	}
	o.locked_server_version = locked_version(s);
	send_upload(s, &o);
	STAT_ADD(s->relay, replayed, b->nentry);
	STAT_ADD(s->relay, replayed_bytes, b->uncompressed_size);
	STAT_ADD(s->relay, replayed_sent, b->len);
	note_unacked(s, b->last_client_version, b->uncompressed_size);
	replay_kick(s);
}

void
replay_forward(struct session *s, const struct upload *u, const struct message *m, struct view body)
{
	struct out_upload o = { .progress = { u->progress_client_version, u->progress_server_version },
		.locked_server_version = u->locked_server_version };
	size_t n = 0;

	if (u->nentry == 0 ? u->progress_client_version >= s->sent.client_version : u->first.client_version > s->sent.client_version) {
		struct message copy = *m;

		copy.session_ident = s->upstream_ident;
		copy.head = body.ptr - m->head_len;
		upstream_send(s->upstream, &copy, body);
		note_sent(s, o.progress);
		return;
	}
	o.body = upload_after(u, s->sent.client_version, &n);
	o.uncompressed_size = o.body.len;
	if (n > 0 || u->progress_client_version > s->sent.client_version)
		send_upload(s, &o);
}
