/* The committer thread and its two queues: what is posted, and what comes back done.  What is done with it: committer.c.
 *
 * Why one thread: a commit is an fsync, and what arrives during one fsync is committed by the next in a single transaction;
 * that beats any number of committing threads (facts.md) and needs no deadlock handling.  Why the reads are here too: the
 * store may be used by one thread at a time.  Batches for replay are deflated by it as well, and by a helper (deflater.h).
 *
 * Ownership: an op belongs to the queue it is on.  Payload bodies are shared read-only with the loop; reference counts are
 * touched by the loop only (spool_append takes one, op_free gives it back after the callback). */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <event2/event.h>

#include "relay/clock.h"
#include "relay/committer.h"
#include "relay/deflater.h"
#include "relay/journal.h"
#include "relay/log.h"
#include "relay/merger.h"
#include "relay/privilege.h"
#include "relay/promise.h"
#include "relay/spool.h"
#include "relay/upload.h"

#define JOURNAL_SYNC_S 1     /* design section 6 */
#define IDLE_CHECK_S 5	     /* how soon room on the disk that others made, or took, is noticed */
#define GROUP_BYTES (8u << 20) /* of payload in one transaction, and of what each operation takes: bounds log and cache use of a group */
#define READS_TURN 4	     /* batches that are read before what was posted meanwhile has its turn */
#define MERGE_TURN 16	     /* turns of others, of which more wait, for one slice of pre-merge that nobody waits for */

struct spool {
	struct committer committer; /* the thread's, as are: */
	unsigned turns;		/* since the last slice of pre-merge */
	struct spool_list reads; /* READs, whose group is done */
	struct deflater *deflater;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	/* under lock */
	struct spool_list todo, finished;
	bool stop, growing;
	uint64_t slice_ms;
	struct merger_stat merged_shared;
	uint64_t commits_shared;
	uint64_t busy_since; /* clock_now_ms when the committer took up what it is doing; 0: it waits */
	struct store_stat stat_shared;
	struct store_share shares_shared[STORE_SHARES_MAX];
	/* the loop's */
	int fd; /* eventfd: finished is not empty */
	struct event *event;
	void (*changed)(void *arg);
	void *arg;
	size_t queued;
	struct store_stat stat;
	struct store_share shares[STORE_SHARES_MAX];
	struct merger_stat merged;
	uint64_t commits;
};

static void *
must_alloc(size_t n)
{
	void *p = calloc(1, n ? n : 1);

	if (p == NULL)
		log_fatal("out_of_memory", "bytes=%zu", n);
	return p;
}

static void
op_free(struct spool_op *op)
{
	for (size_t i = 0; i < op->nupload; i++)
		upload_unref(op->upload[i]);
	query_list_free(&op->queries);
	free(op->batch.body);
	free(op->file);
	free(op->key);
	if (op->val != NULL)
		explicit_bzero(op->val, op->val_len); /* it may be a client's token */
	free(op->val);
	free(op);
}

/* ---- the committer's thread ---- */

static bool
has_work(const struct spool *sp)
{
	return !STAILQ_EMPTY(&sp->todo) || !STAILQ_EMPTY(&sp->reads);
}

/* Whether pre-merge is next, which gives way to what clients wait for, but not for ever. */
static bool
is_merge_turn(struct spool *sp)
{
	unsigned most = committer_is_awaited(&sp->committer) ? 1 : MERGE_TURN;

	if (has_work(sp) && (!committer_may_merge(&sp->committer, sp->slice_ms) || sp->turns < most)) {
		sp->turns++;
		return false;
	}
	sp->turns = 0;
	return true;
}

/* Moves ops from todo to group, up to GROUP_BYTES (at least one), and READs behind the others, where each sees all writes of the group. */
static void
group_take(struct spool *sp, struct spool_list *group)
{
	struct spool_op *op;
	size_t bytes = 0;

	while ((op = STAILQ_FIRST(&sp->todo)) != NULL && (bytes == 0 || bytes + op->cost <= GROUP_BYTES)) {
		STAILQ_REMOVE_HEAD(&sp->todo, link);
		if (op->kind == SPOOL_READ)
			STAILQ_INSERT_TAIL(&sp->reads, op, link);
		else
			STAILQ_INSERT_TAIL(group, op, link);
		bytes += op->cost;
	}
}

static void
signal_loop(struct spool *sp)
{
	uint64_t one = 1;

	while (write(sp->fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

/* Waits until something is posted, or it is time to look after the store without that.  The journal is synced a second after it was
 * written, at the latest. */
static void
wait_for_work(struct spool *sp)
{
	bool dirty = journal_dirty(sp->committer.journal);
	struct timespec until;

	if (committer_busy(&sp->committer, sp->slice_ms))
		return;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += dirty ? JOURNAL_SYNC_S : IDLE_CHECK_S;
	while (!has_work(sp) && !sp->stop) {
		if (pthread_cond_timedwait(&sp->wake, &sp->lock, &until) != ETIMEDOUT)
			continue;
		if (dirty && !journal_sync(sp->committer.journal))
			log_fatal("journal_failed", "errno=%d", errno);
		return;
	}
}

/* The loop gets op; from either thread. */
static void
finish_one(void *arg, struct spool_op *op)
{
	struct spool *sp = arg;

	pthread_mutex_lock(&sp->lock);
	STAILQ_INSERT_TAIL(&sp->finished, op, link);
	signal_loop(sp);
	pthread_mutex_unlock(&sp->lock);
}

/* Some batches, one by one: no more of them are in memory than threads deflate (I6). */
static void
read_some(struct spool *sp)
{
	struct spool_op *op;

	for (unsigned n = 0; n < READS_TURN && (op = STAILQ_FIRST(&sp->reads)) != NULL; n++) {
		STAILQ_REMOVE_HEAD(&sp->reads, link);
		if (committer_batch(&sp->committer, op))
			finish_one(sp, op);
	}
}

static void *
committer_main(void *arg)
{
	struct spool *sp = arg;

	privilege_end();
	pthread_mutex_lock(&sp->lock);
	for (;;) {
		struct spool_list group = STAILQ_HEAD_INITIALIZER(group);
		struct store_stat st = { 0 };
		uint64_t slice_ms;
		enum store_err err;
		bool growing, merges;

		sp->busy_since = 0;
		if (!has_work(sp) && !sp->stop)
			wait_for_work(sp);
		if (!has_work(sp) && sp->stop)
			break;
		merges = is_merge_turn(sp);
		if (!merges)
			group_take(sp, &group);
		sp->busy_since = clock_now_ms();
		growing = sp->growing;
		slice_ms = sp->slice_ms;
		pthread_mutex_unlock(&sp->lock);

		err = merges ? committer_rest(&sp->committer, &group, slice_ms, &st)
			     : committer_run(&sp->committer, &group, growing, slice_ms > 0, &st);

		pthread_mutex_lock(&sp->lock);
		if (err == STORE_OK) {
			sp->stat_shared = st;
			store_shares(sp->committer.store, sp->shares_shared);
		}
		sp->merged_shared = *merger_stat(sp->committer.merger);
		sp->commits_shared = sp->committer.commits;
		STAILQ_CONCAT(&sp->finished, &group);
		signal_loop(sp);
		if (STAILQ_EMPTY(&sp->reads))
			continue;
		pthread_mutex_unlock(&sp->lock);
		read_some(sp);
		pthread_mutex_lock(&sp->lock);
	}
	pthread_mutex_unlock(&sp->lock);
	return NULL;
}

/* ---- the loop's side ---- */

static void
finished_cb(evutil_socket_t fd, short what, void *arg)
{
	struct spool *sp = arg;
	struct spool_list done = STAILQ_HEAD_INITIALIZER(done);
	struct spool_op *op;
	uint64_t n;

	(void)what;
	if (read(fd, &n, sizeof(n)) < 0 && errno != EAGAIN && errno != EINTR)
		log_fatal("spool_failed", "errno=%d", errno);
	pthread_mutex_lock(&sp->lock);
	STAILQ_CONCAT(&done, &sp->finished);
	sp->stat = sp->stat_shared;
	memcpy(sp->shares, sp->shares_shared, sizeof(sp->shares));
	sp->merged = sp->merged_shared;
	sp->commits = sp->commits_shared;
	pthread_mutex_unlock(&sp->lock);
	while ((op = STAILQ_FIRST(&done)) != NULL) {
		STAILQ_REMOVE_HEAD(&done, link);
		sp->queued -= op->cost;
		if (op->done != NULL)
			op->done(op->arg, op);
		op_free(op);
	}
	sp->changed(sp->arg);
}

struct spool *
spool_new(struct event_base *base, struct store *store, struct journal *journal, void (*changed)(void *arg), void *arg)
{
	struct spool *sp = must_alloc(sizeof(*sp));
	sigset_t all, old;
	pthread_condattr_t attr;
	bool started;

	sp->changed = changed;
	sp->arg = arg;
	STAILQ_INIT(&sp->todo);
	STAILQ_INIT(&sp->reads);
	STAILQ_INIT(&sp->finished);
	pthread_mutex_init(&sp->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&sp->wake, &attr);
	pthread_condattr_destroy(&attr);
	if (!promise_adopt(store, journal) || store_stat(store, &sp->stat) != STORE_OK)
		goto fail;
	sp->stat_shared = sp->stat;
	store_shares(store, sp->shares_shared);
	memcpy(sp->shares, sp->shares_shared, sizeof(sp->shares));
	sp->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (sp->fd < 0)
		goto fail;
	sp->event = event_new(base, sp->fd, EV_READ | EV_PERSIST, finished_cb, sp);
	if (sp->event == NULL || event_add(sp->event, NULL) != 0)
		goto fail;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old); /* signals are the loop's */
	sp->deflater = deflater_new(finish_one, sp);
	committer_init(&sp->committer, store, journal, sp->deflater);
	started = sp->deflater != NULL && pthread_create(&sp->thread, NULL, committer_main, sp) == 0;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (started)
		return sp;
	deflater_free(sp->deflater);
	merger_free(sp->committer.merger);
fail:
	if (sp->event != NULL)
		event_free(sp->event);
	if (sp->fd > 0)
		close(sp->fd);
	free(sp);
	return NULL;
}

void
spool_free(struct spool *sp)
{
	struct spool_op *op;

	if (sp == NULL)
		return;
	pthread_mutex_lock(&sp->lock);
	sp->stop = true;
	pthread_cond_signal(&sp->wake);
	pthread_mutex_unlock(&sp->lock);
	pthread_join(sp->thread, NULL);
	deflater_free(sp->deflater);
	STAILQ_CONCAT(&sp->finished, &sp->committer.merging);
	while ((op = STAILQ_FIRST(&sp->finished)) != NULL) {
		STAILQ_REMOVE_HEAD(&sp->finished, link);
		op_free(op);
	}
	event_free(sp->event);
	close(sp->fd);
	merger_free(sp->committer.merger);
	store_close(sp->committer.store);
	journal_close(sp->committer.journal);
	pthread_mutex_destroy(&sp->lock);
	pthread_cond_destroy(&sp->wake);
	free(sp);
}

/* With room for n uploads. */
static struct spool_op *
op_new(enum spool_kind kind, size_t n, spool_done *done, void *arg)
{
	struct spool_op *op = must_alloc(sizeof(*op) + n * sizeof(struct upload *));

	op->kind = kind;
	op->done = done;
	op->arg = arg;
	op->cost = sizeof(*op) + n * sizeof(struct upload *);
	TAILQ_INIT(&op->queries);
	return op;
}

/* op is about a file: others are a tenth of its size, and when hundreds of clients come at once, thousands wait. */
static struct spool_op *
op_with_file(struct spool_op *op)
{
	op->file = must_alloc(sizeof(*op->file));
	return op;
}

static struct spool_op *
op_new_file(enum spool_kind kind, spool_done *done, void *arg)
{
	return op_with_file(op_new(kind, 0, done, arg));
}

static void
op_post(struct spool *sp, struct spool_op *op)
{
	sp->queued += op->cost;
	pthread_mutex_lock(&sp->lock);
	STAILQ_INSERT_TAIL(&sp->todo, op, link);
	pthread_cond_signal(&sp->wake);
	pthread_mutex_unlock(&sp->lock);
}

void
spool_find(struct spool *sp, const struct store_file *key, spool_done *done, void *arg)
{
	struct spool_op *op = op_new_file(SPOOL_FIND, done, arg);

	*op->file = *key;
	op_post(sp, op);
}

static void
take_queries(struct spool_op *op, struct query_list *queries)
{
	const struct query *q;

	TAILQ_CONCAT(&op->queries, queries, link);
	TAILQ_FOREACH (q, &op->queries, link)
		op->cost += q->len;
}

void
spool_append(struct spool *sp, const struct store_file *rec, struct upload *u, size_t n, bool show, struct query_list *queries, spool_done *done, void *arg)
{
	struct spool_op *op = op_with_file(op_new(SPOOL_APPEND, n, done, arg));

	*op->file = *rec;
	op->show = show;
	for (; op->nupload < n; u = TAILQ_NEXT(u, link)) {
		op->upload[op->nupload++] = upload_ref(u);
		op->cost += u->len;
	}
	take_queries(op, queries);
	op_post(sp, op);
}

void
spool_keep_queries(struct spool *sp, const struct store_file *rec, struct query_list *queries, spool_done *done, void *arg)
{
	struct spool_op *op = op_new_file(SPOOL_QUERIES, done, arg);

	*op->file = *rec;
	take_queries(op, queries);
	op_post(sp, op);
}

static struct spool_op *
update_new(const struct store_file *rec, spool_done *done, void *arg)
{
	struct spool_op *op = op_new_file(SPOOL_UPDATE, done, arg);

	*op->file = *rec;
	return op;
}

void
spool_update(struct spool *sp, const struct store_file *rec, spool_done *done, void *arg)
{
	op_post(sp, update_new(rec, done, arg));
}

void
spool_update_exact(struct spool *sp, const struct store_file *rec, spool_done *done, void *arg)
{
	struct spool_op *op = update_new(rec, done, arg);

	op->exact = true;
	op_post(sp, op);
}

void
spool_set_state(struct spool *sp, const struct store_file *rec, spool_done *done, void *arg)
{
	struct spool_op *op = update_new(rec, done, arg);

	op->set_state = true;
	op_post(sp, op);
}

void
spool_trim(struct spool *sp, const struct store_file *rec, uint64_t upto, spool_done *done, void *arg)
{
	struct spool_op *op = op_new_file(SPOOL_TRIM, done, arg);

	*op->file = *rec;
	op->upto = upto;
	op_post(sp, op);
}

void
spool_read(struct spool *sp, uint64_t id, uint64_t after, uint64_t upto, uint64_t max_bytes, uint64_t max_server_version, int level,
	   spool_done *done, void *arg)
{
	struct spool_op *op = op_new_file(SPOOL_READ, done, arg);

	op->file->id = id;
	op->after = after;
	op->upto = upto;
	op->max_bytes = max_bytes;
	op->max_server_version = max_server_version;
	op->level = level;
	op_post(sp, op);
}

static void
copy_bytes(struct view from, uint8_t **to, size_t *to_len)
{
	*to = must_alloc(from.len);
	*to_len = from.len;
	if (from.len > 0)
		memcpy(*to, from.ptr, from.len);
}

void
spool_put(struct spool *sp, enum store_table t, struct view key, struct view val)
{
	struct spool_op *op = op_new(SPOOL_PUT, 0, NULL, NULL);

	op->table = t;
	copy_bytes(key, &op->key, &op->key_len);
	copy_bytes(val, &op->val, &op->val_len);
	op_post(sp, op);
}

void
spool_get(struct spool *sp, enum store_table t, struct view key, spool_done *done, void *arg)
{
	struct spool_op *op = op_new(SPOOL_GET, 0, done, arg);

	op->table = t;
	copy_bytes(key, &op->key, &op->key_len);
	op_post(sp, op);
}

void
spool_call(struct spool *sp, spool_fn *fn, spool_done *done, void *arg)
{
	struct spool_op *op = op_new(SPOOL_CALL, 0, done, arg);

	op->fn = fn;
	op_post(sp, op);
}

void
spool_forget(struct spool *sp, uint64_t id, spool_may_forget *may, spool_done *done, void *arg)
{
	struct spool_op *op = op_new_file(SPOOL_FORGET, done, arg);

	op->file->id = id;
	op->may_forget = may;
	op_post(sp, op);
}

void
spool_disown(struct spool *sp, const struct store_file *f)
{
	struct spool_op *op = op_new_file(SPOOL_DISOWN, NULL, NULL);

	*op->file = *f;
	op_post(sp, op);
}

void
spool_merge(struct spool *sp, uint64_t id, spool_done *done, void *arg)
{
	struct spool_op *op = op_new_file(SPOOL_MERGE, done, arg);

	op->file->id = id;
	op_post(sp, op);
}

void
spool_merging(struct spool *sp, bool growing, uint64_t slice_ms)
{
	pthread_mutex_lock(&sp->lock);
	sp->growing = growing;
	sp->slice_ms = slice_ms;
	pthread_cond_signal(&sp->wake);
	pthread_mutex_unlock(&sp->lock);
}

const struct merger_stat *
spool_merged(const struct spool *sp)
{
	return &sp->merged;
}

uint64_t
spool_commits(const struct spool *sp)
{
	return sp->commits;
}

size_t
spool_queued(const struct spool *sp)
{
	return sp->queued;
}

const struct store_share *
spool_shares(const struct spool *sp)
{
	return sp->shares;
}

const struct store_stat *
spool_stat(const struct spool *sp)
{
	return &sp->stat;
}

uint64_t
spool_busy_ms(struct spool *sp)
{
	uint64_t since;

	pthread_mutex_lock(&sp->lock);
	since = sp->busy_since;
	pthread_mutex_unlock(&sp->lock);
	return since != 0 ? clock_now_ms() - since : 0;
}
