/* STATE sets: which are kept, collecting one that passes through, serving one.  Their form on disk is in statedisk.c.
 *
 * Segments are kept as they came, because only the server knows how a body relates to its offsets; so a set can be served from any
 * offset at which one of its segments begins.  In memory there is an index of heads. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/be64.h"
#include "relay/log.h"
#include "relay/options.h"
#include "relay/relay.h"
#include "relay/spool.h"
#include "relay/statecache.h"
#include "relay/statedisk.h"

#define SEGMENT_MAX (1u << 20)	   /* bytes of one STATE; a set with a longer one is not kept: serving holds one in memory */
#define SET_COST 8192		   /* bytes counted for a set besides its stream, which bounds how many there are */
#define PIECE_HEAD 24		   /* bytes before each body in the stream */

struct statecache {
	struct relay *relay;
	struct stateset_list sets;
	uint64_t bytes, next_id, pending;
	bool loaded;
};

struct state_writer {
	struct statecache *cache;
	char *endpoint, *path;
	struct msg_state_request req;
	uint64_t id; /* of the set; 0: not begun */
	uint64_t next_offset;
	uint32_t chunk;
	bool given_up;
	uint8_t *buf; /* STATEDISK_STEP_BYTES */
	size_t len;
};

struct state_reader {
	struct statecache *cache;
	uint64_t id, version, salt, max_offset, offset, bytes, read;
	state_segment *segment; /* NULL: cancelled */
	void *arg;
	uint32_t chunk;
	bool reading, over, busy;
	uint8_t *buf;
	size_t len, cap;
};

/* ---- the index ---- */

static void step_done(void *arg, struct spool_op *op);

static struct statedisk_step *
step_new(struct statecache *c, enum statedisk_kind kind, uint64_t id)
{
	struct statedisk_step *st = relay_alloc(sizeof(*st));

	st->kind = kind;
	st->cache = c;
	st->id = id;
	TAILQ_INIT(&st->found);
	return st;
}

static void
step_post(struct statedisk_step *st)
{
	st->cache->pending += st->len;
	spool_call(st->cache->relay->spool, statedisk_run, step_done, st);
}

static void
step_free(struct statedisk_step *st)
{
	free(st->data);
	free(st);
}

static void
write_head(struct statecache *c, const struct stateset *set)
{
	struct statedisk_step *st = step_new(c, STEP_HEAD, set->id);

	st->data = statedisk_head(set, &st->len);
	step_post(st);
}

static void
drop(struct statecache *c, struct stateset *set)
{
	TAILQ_REMOVE(&c->sets, set, link);
	c->bytes -= set->bytes + SET_COST;
	step_post(step_new(c, STEP_DROP, set->id));
	statedisk_set_free(set);
}

static struct stateset *
find_id(const struct statecache *c, uint64_t id)
{
	struct stateset *set;

	TAILQ_FOREACH (set, &c->sets, link)
		if (set->id == id)
			return set;
	return NULL;
}

static struct stateset *
find_complete(const struct statecache *c, const char *endpoint, const char *path)
{
	struct stateset *set;

	TAILQ_FOREACH (set, &c->sets, link)
		if (set->complete && strcmp(set->path, path) == 0 && strcmp(set->endpoint, endpoint) == 0)
			return set;
	return NULL;
}

/* Makes room for more bytes of set (NULL: a new one) by dropping complete ones.  False: there is none. */
static bool
make_room(struct statecache *c, const struct stateset *grows, uint64_t more)
{
	uint64_t max = c->relay->opt->state_cache_bytes;
	struct stateset *set, *next;

	for (set = TAILQ_FIRST(&c->sets); set != NULL && c->bytes + more > max; set = next) {
		next = TAILQ_NEXT(set, link);
		if (set->complete && set != grows)
			drop(c, set);
	}
	return c->bytes + more <= max;
}

static void
loaded(struct statecache *c, struct statedisk_step *st)
{
	struct stateset *set;

	c->loaded = true;
	while ((set = TAILQ_FIRST(&st->found)) != NULL) {
		TAILQ_REMOVE(&st->found, set, link);
		TAILQ_INSERT_TAIL(&c->sets, set, link);
		c->bytes += set->bytes + SET_COST;
		if (set->id >= c->next_id)
			c->next_id = set->id + 1;
		if (!set->complete)
			drop(c, set);
	}
	(void)make_room(c, NULL, 0);
}

static void reader_got(struct state_reader *r, struct statedisk_step *st);

static void
step_done(void *arg, struct spool_op *op)
{
	struct statedisk_step *st = arg;
	struct statecache *c = st->cache;
	struct stateset *set;

	(void)op;
	c->pending -= st->kind == STEP_READ ? 0 : st->len;
	if (st->kind != STEP_READ && (st->err == STORE_IO || st->err == STORE_CORRUPT))
		log_fatal("store_failed", "reason=\"%s\"", store_strerror(st->err));
	if (st->kind == STEP_LOAD) {
		loaded(c, st);
	} else if (st->kind == STEP_READ) {
		reader_got(st->reader, st);
	} else if (st->kind == STEP_DROP && st->err == STORE_OK && st->more) {
		step_post(st);
		return;
	} else if (st->err != STORE_OK && (set = find_id(c, st->id)) != NULL) {
		log_event(LOG_WARN, "state_not_kept", "reason=\"%s\"", store_strerror(st->err));
		drop(c, set);
	}
	step_free(st);
}

struct statecache *
statecache_new(struct relay *relay)
{
	struct statecache *c = relay_alloc(sizeof(*c));

	c->relay = relay;
	c->next_id = 1;
	TAILQ_INIT(&c->sets);
	step_post(step_new(c, STEP_LOAD, 0));
	return c;
}

void
statecache_free(struct statecache *c)
{
	struct stateset *set;

	while ((set = TAILQ_FIRST(&c->sets)) != NULL) {
		TAILQ_REMOVE(&c->sets, set, link);
		statedisk_set_free(set);
	}
	free(c);
}

void
statecache_latest(struct statecache *c, const char *endpoint, const char *path, uint64_t version, uint64_t salt)
{
	struct stateset *set = TAILQ_EMPTY(&c->sets) ? NULL : find_complete(c, endpoint, path);

	if (set == NULL)
		return;
	if (version < set->version || (version == set->version && salt != set->salt) ||
	    (set->latest_salt != 0 && salt != set->latest_salt)) {
		log_event(LOG_INFO, "state_dropped", "version=%llu latest=%llu", (unsigned long long)set->version,
			  (unsigned long long)version);
		drop(c, set);
	} else if (set->latest_salt == 0) {
		set->latest_salt = salt;
		write_head(c, set);
	}
}

void
statecache_forget(struct statecache *c, const char *endpoint, const char *path)
{
	struct stateset *set;

	while ((set = find_complete(c, endpoint, path)) != NULL)
		drop(c, set);
}

/* ---- collecting ---- */

struct state_writer *
statecache_collect(struct statecache *c, const char *endpoint, const char *path, const struct msg_state_request *req)
{
	struct state_writer *w = relay_alloc(sizeof(*w));

	w->cache = c;
	w->endpoint = relay_strndup(endpoint, strlen(endpoint));
	w->path = relay_strndup(path, strlen(path));
	w->req = *req;
	return w;
}

/* The set that w writes; NULL: there is none, or it was dropped meanwhile (a failed commit). */
static struct stateset *
writing(struct state_writer *w)
{
	return w->given_up || w->id == 0 ? NULL : find_id(w->cache, w->id);
}

static void
give_up(struct state_writer *w)
{
	struct stateset *set = writing(w);

	if (set != NULL)
		drop(w->cache, set);
	w->given_up = true;
}

static void
flush(struct state_writer *w)
{
	struct statedisk_step *st;

	if (w->len == 0)
		return;
	st = step_new(w->cache, STEP_PUT, w->id);
	st->chunk = w->chunk;
	st->data = relay_alloc(w->len);
	memcpy(st->data, w->buf, w->len);
	st->len = w->len;
	w->chunk += STATEDISK_STEP_CHUNKS;
	w->len = 0;
	step_post(st);
}

static void
add(struct state_writer *w, struct stateset *set, const uint8_t *p, size_t len)
{
	if (!make_room(w->cache, set, len) || w->cache->pending > STATEDISK_PENDING_MAX) {
		give_up(w);
		return;
	}
	set->bytes += len;
	w->cache->bytes += len;
	while (len > 0) {
		size_t room = STATEDISK_STEP_BYTES - w->len, n = len < room ? len : room;

		memcpy(w->buf + w->len, p, n);
		w->len += n;
		p += n;
		len -= n;
		if (w->len == STATEDISK_STEP_BYTES)
			flush(w);
	}
}

static void
begin_set(struct state_writer *w, const struct msg_state *m)
{
	struct statecache *c = w->cache;
	const struct msg_state_request *q = &w->req;
	struct stateset *set;

	if (!c->loaded || m->begin_offset != 0 || spool_stat(c->relay->spool)->disk_free / 4 < m->max_offset ||
	    !make_room(c, NULL, SET_COST)) {
		w->given_up = true;
		return;
	}
	set = relay_alloc(sizeof(*set));
	set->id = c->next_id++;
	set->endpoint = relay_strndup(w->endpoint, strlen(w->endpoint));
	set->path = relay_strndup(w->path, strlen(w->path));
	set->version = m->server_version;
	set->salt = m->server_version_salt;
	memcpy(set->limits,
	       (const uint64_t[4]){ q->min_file_format, q->max_file_format, q->min_history_schema, q->max_history_schema },
	       sizeof(set->limits));
	TAILQ_INSERT_TAIL(&c->sets, set, link);
	c->bytes += SET_COST;
	set->max_offset = m->max_offset;
	w->id = set->id;
	w->buf = relay_alloc(STATEDISK_STEP_BYTES);
	write_head(c, set);
}

void
statecache_segment(struct state_writer *w, const struct msg_state *m)
{
	struct stateset *old = find_complete(w->cache, w->endpoint, w->path);
	uint8_t head[PIECE_HEAD];
	struct stateset *set;

	if (old != NULL && old->salt != m->server_version_salt)
		drop(w->cache, old);
	if (w->id == 0 && !w->given_up)
		begin_set(w, m);
	set = writing(w);
	if (set == NULL)
		return;
	if (set->version != m->server_version || set->salt != m->server_version_salt || set->max_offset != m->max_offset ||
	    w->next_offset != m->begin_offset || m->end_offset > m->max_offset || m->size > SEGMENT_MAX) {
		give_up(w);
		return;
	}
	w->next_offset = m->end_offset;
	be64_put(head, m->begin_offset);
	be64_put(head + 8, m->end_offset);
	be64_put(head + 16, m->size);
	add(w, set, head, sizeof(head));
}

void
statecache_data(struct state_writer *w, struct view data)
{
	struct stateset *set = writing(w);

	if (set != NULL)
		add(w, set, data.ptr, data.len);
}

void
statecache_segment_end(struct state_writer *w)
{
	struct stateset *set = writing(w), *old;

	if (set == NULL || w->next_offset != set->max_offset)
		return;
	flush(w);
	old = find_complete(w->cache, w->endpoint, w->path);
	set->complete = true;
	write_head(w->cache, set);
	if (old != NULL)
		drop(w->cache, old);
	log_event(LOG_INFO, "state_kept", "version=%llu bytes=%llu", (unsigned long long)set->version, (unsigned long long)set->bytes);
	w->given_up = true; /* nothing more belongs to it */
}

void
statecache_abandon(struct state_writer *w)
{
	if (w == NULL)
		return;
	give_up(w);
	free(w->buf);
	free(w->endpoint);
	free(w->path);
	free(w);
}

/* ---- serving ---- */

/* The set was made for a client with its own limits; whoever takes at least as much can read it. */
static bool
may_answer(const struct stateset *set, const struct msg_state_request *q)
{
	bool resumes = q->partial_version == set->version && q->partial_salt == set->salt;

	return q->need_recent == 0 && (q->offset == 0 || resumes) && q->min_file_format <= set->limits[0] &&
	       q->max_file_format >= set->limits[1] && q->min_history_schema <= set->limits[2] &&
	       q->max_history_schema >= set->limits[3];
}

static void
read_more(struct state_reader *r)
{
	struct statedisk_step *st = step_new(r->cache, STEP_READ, r->id);

	st->reader = r;
	st->chunk = r->chunk;
	r->chunk += STATEDISK_STEP_CHUNKS;
	r->reading = true;
	step_post(st);
}

struct state_reader *
statecache_serve(struct statecache *c, const char *endpoint, const char *path, const struct msg_state_request *req,
		 state_segment *segment, void *arg)
{
	struct stateset *set = find_complete(c, endpoint, path);
	struct state_reader *r;

	if (set == NULL || !may_answer(set, req))
		return NULL;
	TAILQ_REMOVE(&c->sets, set, link);
	TAILQ_INSERT_TAIL(&c->sets, set, link);
	r = relay_alloc(sizeof(*r));
	*r = (struct state_reader){ .cache = c, .id = set->id, .version = set->version, .salt = set->salt,
		.max_offset = set->max_offset, .offset = req->offset, .bytes = set->bytes, .segment = segment, .arg = arg };
	read_more(r);
	return r;
}

static void
reader_free(struct state_reader *r)
{
	free(r->buf);
	free(r);
}

/* Hands out the segments that are whole.  False: one of them may not be (it is not what was written). */
static bool
hand_out(struct state_reader *r)
{
	size_t at = 0;
	bool fast = true, sane = true;

	while (fast && sane && r->segment != NULL && r->len - at >= PIECE_HEAD) {
		const uint8_t *p = r->buf + at;
		struct msg_state m = { .server_version = r->version, .server_version_salt = r->salt, .begin_offset = be64_get(p),
			.end_offset = be64_get(p + 8), .max_offset = r->max_offset, .size = be64_get(p + 16) };

		sane = m.size <= SEGMENT_MAX;
		if (!sane || r->len - at - PIECE_HEAD < m.size)
			break;
		at += PIECE_HEAD + (size_t)m.size;
		r->read += PIECE_HEAD + m.size;
		if (m.begin_offset < r->offset)
			continue;
		sane = m.begin_offset == r->offset; /* the client's offset is where a segment begins */
		r->offset = m.end_offset;
		r->over = r->read == r->bytes;
		if (sane)
			fast = r->segment(r->arg, &m, (struct view){ p + PIECE_HEAD, (size_t)m.size });
	}
	if (at > 0)
		memmove(r->buf, r->buf + at, r->len - at);
	r->len -= at;
	return sane && (r->over || !fast || r->read + r->len < r->bytes); /* else it ends within a segment */
}

static void
reader_failed(struct state_reader *r)
{
	r->over = true;
	if (r->segment != NULL)
		r->segment(r->arg, NULL, (struct view){ NULL, 0 });
}

/* Cancelling from inside a callback is usual: then it is freed here. */
static void
reader_end_busy(struct state_reader *r)
{
	r->busy = false;
	if (r->segment == NULL && !r->reading)
		reader_free(r);
}

void
statecache_go_on(struct state_reader *r)
{
	if (r->reading || r->over || r->busy)
		return;
	r->busy = true;
	if (!hand_out(r))
		reader_failed(r);
	else if (r->segment != NULL && r->read + r->len < r->bytes && r->len < STATEDISK_STEP_BYTES + SEGMENT_MAX)
		read_more(r);
	reader_end_busy(r);
}

static void
reader_got(struct state_reader *r, struct statedisk_step *st)
{
	r->reading = false;
	if (r->segment == NULL) {
		reader_free(r);
		return;
	}
	if (st->err != STORE_OK || st->len == 0) { /* dropped meanwhile */
		r->busy = true;
		reader_failed(r);
		reader_end_busy(r);
		return;
	}
	if (r->cap < r->len + st->len) {
		r->cap = r->len + st->len;
		r->buf = realloc(r->buf, r->cap);
		if (r->buf == NULL)
			log_fatal("out_of_memory", "bytes=%zu", r->cap);
	}
	memcpy(r->buf + r->len, st->data, st->len);
	r->len += st->len;
	statecache_go_on(r);
}

void
statecache_cancel(struct state_reader *r)
{
	if (r == NULL)
		return;
	r->segment = NULL;
	if (!r->reading && !r->busy)
		reader_free(r);
}
