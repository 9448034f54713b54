/* Tests relay/spool: what an operation may change in a file's record that was changed since the operation's session read it. */
#include <semaphore.h>
#include <stdlib.h>

#include <event2/event.h>

#include "tests/harness.h"
#include "tests/storekit.h"

#include "protocol/zbody.h"

#include "buffer/store_int.h"

#include "relay/journal.h"
#include "relay/spool.h"
#include "relay/upload.h"

struct rig {
	struct event_base *base;
	struct spool *spool;
	struct store_file file; /* as the last operation left it */
	unsigned done;
	enum store_err err;
};

static void
changed(void *arg)
{
	(void)arg;
}

static void
rig_open_in(struct rig *g, const char *dir)
{
	char state[200], journal[200], why[512];
	struct store *s;

	memset(g, 0, sizeof(*g));
	snprintf(state, sizeof(state), "%s/s", dir);
	snprintf(journal, sizeof(journal), "%s/j", dir);
	CHECK((s = kit_open(state)) != NULL);
	g->base = event_base_new();
	CHECK((g->spool = spool_new(g->base, s, journal_open(journal, why, sizeof(why)), changed, NULL)) != NULL);
	g->file = kit_file(1);
}

static void
rig_open(struct rig *g)
{
	rig_open_in(g, harness_tmpdir());
}

static void
rig_close(struct rig *g)
{
	spool_free(g->spool);
	event_base_free(g->base);
}

static void
done(void *arg, struct spool_op *op)
{
	struct rig *g = arg;

	g->done++;
	g->err = op->err;
	g->file = *op->file;
}

static void
await(struct rig *g, unsigned n)
{
	while (g->done < n)
		event_base_loop(g->base, EVLOOP_ONCE);
	g->done = 0;
}

static void
look(struct rig *g)
{
	spool_find(g->spool, &g->file, done, g);
	await(g, 1);
}

static void
set_state(struct rig *g, enum store_file_state state)
{
	struct store_file rec = g->file;

	rec.state = state;
	spool_set_state(g->spool, &rec, done, g);
	await(g, 1);
	CHECK_U64(g->err, STORE_OK);
}

/* A session knows the file in a state that it is not in any more, and writes its record: a new bound of what it sends, an exact one, a
 * trim. None of them brings the old state back; IMPORTING came back that way, and with it the file was stuck. */
TEST(a_late_record_does_not_bring_a_state_back)
{
	static const enum store_file_state states[] = { STORE_FILE_OK, STORE_FILE_REJECTED, STORE_FILE_CONFLICT, STORE_FILE_IMPORTING };
	struct store_file stale;
	struct rig g;

	for (size_t i = 0; i < 16; i++) {
		rig_open(&g);
		CHECK(!harness_failed());
		g.file.state = states[i / 4];
		spool_update(g.spool, &g.file, done, &g);
		await(&g, 1);
		stale = g.file;
		stale.state = states[i % 4];
		stale.offered_client_version = 7;
		spool_update(g.spool, &stale, done, &g);
		spool_update_exact(g.spool, &stale, done, &g);
		spool_trim(g.spool, &stale, 0, done, &g);
		await(&g, 3);
		look(&g);
		CHECK_U64(g.file.state, states[i / 4]);
		CHECK_U64(g.file.offered_client_version, 7);
		rig_close(&g);
	}
}

/* What is created has the state that it is created with. */
TEST(a_new_file_has_its_state)
{
	struct rig g;

	rig_open(&g);
	CHECK(!harness_failed());
	g.file.state = STORE_FILE_DIFFERS;
	spool_update(g.spool, &g.file, done, &g);
	await(&g, 1);
	look(&g);
	CHECK_U64(g.err, STORE_OK);
	CHECK_U64(g.file.state, STORE_FILE_DIFFERS);
	rig_close(&g);
}

/* A backlog that is another gateway's stays so until upstream has acknowledged all of it. */
TEST(elsewhere_is_not_overruled)
{
	struct rig g;
	static const enum store_file_state states[] = { STORE_FILE_EXPORTED, STORE_FILE_IMPORTING };

	for (size_t i = 0; i < 2; i++) {
		rig_open(&g);
		CHECK(!harness_failed());
		g.file.held_client_version = g.file.upstream_client_version = 9;
		g.file.held_server_version = g.file.upstream_server_version = 3;
		g.file.state = states[i];
		spool_update(g.spool, &g.file, done, &g);
		await(&g, 1);
		g.file.upstream_client_version = 8; /* of 9 */
		set_state(&g, STORE_FILE_REJECTED);
		look(&g);
		CHECK_U64(g.file.state, states[i]);
		set_state(&g, STORE_FILE_OK);
		look(&g);
		CHECK_U64(g.file.state, states[i] == STORE_FILE_EXPORTED ? STORE_FILE_OK : STORE_FILE_IMPORTING);
		rig_close(&g);
	}
}

static void
note(const char *dir, const struct store_file *f)
{
	char path[200], why[512];
	struct journal *j;

	snprintf(path, sizeof(path), "%s/j", dir);
	CHECK((j = journal_open(path, why, sizeof(why))) != NULL);
	CHECK(journal_note(j, f));
	journal_close(j);
}

static void
retry(void *arg, struct store *s)
{
	struct rig *g = arg;

	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_file_get(s, g->file.id, &g->file), STORE_OK);
	CHECK_U64(g->file.state, STORE_FILE_LOST); /* what a list shows */
	g->file.state = STORE_FILE_OK;
	CHECK_U64(store_file_put(s, &g->file), STORE_OK);
	CHECK_U64(store_commit(s, true), STORE_OK);
}

static void
called(void *arg, struct spool_op *op)
{
	(void)op;
	((struct rig *)arg)->done++;
}

/* The journal knows of more than the store, which has an older record of the file, or none: LOST, until an operator decides, and no longer. */
TEST(an_operator_has_the_last_word_about_a_lost_file)
{
	struct store_file rec;
	const char *dir;
	struct rig g;

	for (int known = 0; known < 2; known++) {
		dir = harness_tmpdir();
		rec = kit_file(1);
		rec.shown_client_version = 20;
		rec.shown_server_version = 3;
		note(dir, &rec);
		rig_open_in(&g, dir);
		CHECK(!harness_failed());
		if (known) {
			spool_update(g.spool, &g.file, done, &g);
			await(&g, 1);
		}
		look(&g);
		CHECK_U64(g.err, STORE_OK);
		CHECK_U64(g.file.state, STORE_FILE_LOST);
		CHECK_U64(g.file.shown_client_version, 20);
		rec = g.file;
		spool_set_state(g.spool, &rec, done, &g);
		await(&g, 1);
		spool_call(g.spool, retry, called, &g);
		await(&g, 1);
		look(&g);
		CHECK_U64(g.file.state, STORE_FILE_OK);
		CHECK_U64(g.file.shown_client_version, 20); /* I4 */
		CHECK_U64(g.file.shown_server_version, 3);
		rig_close(&g);
	}
}

/* ---- damage (I7) ---- */

static sem_t started, posted;

/* A record goes bad while the store is in use; and the committer waits, so that what is posted meanwhile is one group. */
static void
spoil(DB *db, uint8_t *id, size_t len)
{
	uint8_t rec[4096];
	DBT key = store_dbt(id, len), val = { .data = rec, .ulen = sizeof(rec), .flags = DB_DBT_USERMEM };

	CHECK_U64(db->get(db, NULL, &key, &val, 0), 0);
	rec[val.size - 1] ^= 0x40;
	CHECK_U64(db->put(db, NULL, &key, &val, DB_AUTO_COMMIT), 0);
	sem_post(&started);
	while (sem_wait(&posted) != 0)
		;
}

/* That of file 1. */
static void
spoil_and_wait(void *arg, struct store *s)
{
	uint8_t id[8] = { 0, 0, 0, 0, 0, 0, 0, 1 };

	(void)arg;
	spoil(s->files, id, sizeof(id));
}

/* Its changeset 1. */
static void
spoil_changeset_and_wait(void *arg, struct store *s)
{
	uint8_t id[16] = { [7] = 1, [15] = 1 };

	(void)arg;
	spoil(s->changesets, id, sizeof(id));
}

struct outcome {
	enum store_err err;
	bool done, damaged;
};

static void
noted(void *arg, struct spool_op *op)
{
	*(struct outcome *)arg = (struct outcome){ op->err, true, op->damaged };
}

/* A write that meets a damaged record is left out, all others of its group are done; the next look-up sets the file aside, and the pair that
 * was shown stays shown (I4). */
TEST(a_damaged_record_concerns_its_file_alone)
{
	const char *dir = harness_tmpdir();
	struct store_file one, two = kit_file(2);
	struct outcome bad = { 0 }, good[2] = { { 0 } };
	struct rig g;

	CHECK(sem_init(&started, 0, 0) == 0 && sem_init(&posted, 0, 0) == 0);
	one = kit_file(1);
	one.shown_client_version = 20;
	one.shown_server_version = 3;
	note(dir, &one);
	rig_open_in(&g, dir);
	CHECK(!harness_failed());
	spool_update(g.spool, &g.file, done, &g);
	await(&g, 1);
	CHECK_U64(g.file.id, 1);
	one = g.file;
	spool_call(g.spool, spoil_and_wait, called, &g);
	while (sem_wait(&started) != 0)
		;
	spool_update(g.spool, &two, noted, &good[0]);
	spool_update(g.spool, &one, noted, &bad);
	two.locked_server_version = 7;
	spool_update(g.spool, &two, noted, &good[1]);
	sem_post(&posted);
	await(&g, 1);
	while (!good[1].done)
		event_base_loop(g.base, EVLOOP_ONCE);
	CHECK_U64(good[0].err, STORE_OK);
	CHECK_U64(good[1].err, STORE_OK);
	CHECK_U64(bad.err, STORE_CORRUPT);
	CHECK(bad.damaged && !good[0].damaged && !good[1].damaged);
	g.file = kit_file(2);
	look(&g);
	CHECK_U64(g.err, STORE_OK);
	CHECK_U64(g.file.locked_server_version, 7);
	g.file = kit_file(1);
	look(&g);
	CHECK_U64(g.err, STORE_OK);
	CHECK_U64(g.file.id, 1);
	CHECK_U64(g.file.state, STORE_FILE_LOST);
	CHECK(g.file.state_time_ms != 0);
	CHECK_U64(g.file.ack, STORE_ACK_RELAY);
	CHECK_U64(g.file.shown_client_version, 20);
	CHECK_U64(g.file.shown_server_version, 3);
	rig_close(&g);
	sem_destroy(&started);
	sem_destroy(&posted);
}

static _Atomic uint64_t upstream_acked; /* of every file here */

/* An upload of this one version, which follows version - 1. */
static struct upload *
make_upload(uint64_t version, const char *bytes)
{
	struct upload_entry e = { .client_version = version, .changeset = view_of(bytes) };
	struct message m = { .type = MSG_C_UPLOAD };
	char body[4096];
	size_t len = upload_entry_format(&e, body);
	struct upload *u;

	memcpy(body + len, e.changeset.ptr, e.changeset.len);
	len += e.changeset.len;
	m.upload.uncompressed_size = len;
	m.upload.progress_client_version = version;
	if (upload_parse(&m, (struct view){ (uint8_t *)body, len }, NULL, sizeof(body), 1000, 0, &u) != PROTO_OK)
		abort();
	u->acked = &upstream_acked;
	u->after = version - 1;
	return u;
}

/* Posts it alone. */
static void
post_upload(struct rig *g, const struct store_file *f, uint64_t version, spool_done *then, void *arg)
{
	struct query_list none = TAILQ_HEAD_INITIALIZER(none);
	struct upload *u = make_upload(version, "changeset");

	spool_append(g->spool, f, u, 1, false, &none, then, arg);
	upload_unref(u);
}

struct answer {
	enum store_err err;
	size_t nkept, needless;
	uint64_t held, shown, bad_version;
	bool promised, done;
};

static void
answered(void *arg, struct spool_op *op)
{
	*(struct answer *)arg = (struct answer){ op->err, op->nkept, op->needless, op->file->held_client_version, op->file->shown_client_version,
		op->bad_version, op->shown, true };
}

/* Posts uploads of n versions with these bytes as one operation, ack = relay, and waits for the answer. */
static struct answer
append_all(struct rig *g, const struct store_file *f, const uint64_t *version, const char *const *bytes, size_t n)
{
	struct query_list none = TAILQ_HEAD_INITIALIZER(none);
	struct upload_list list = TAILQ_HEAD_INITIALIZER(list);
	struct answer a = { .done = false };
	struct upload *u;

	for (size_t i = 0; i < n; i++) {
		u = make_upload(version[i], bytes[i]);
		TAILQ_INSERT_TAIL(&list, u, link);
	}
	spool_append(g->spool, f, TAILQ_FIRST(&list), n, true, &none, answered, &a);
	while (!a.done)
		event_base_loop(g->base, EVLOOP_ONCE);
	while ((u = TAILQ_FIRST(&list)) != NULL) {
		TAILQ_REMOVE(&list, u, link);
		upload_unref(u);
	}
	return a;
}

/* I1, I3: of several uploads in one operation those before the first that cannot be kept are, and no more is shown than that. */
TEST(uploads_together_are_kept_up_to_the_first_that_cannot_be)
{
	static const char *const same[] = { "a", "b", "c", "d" };
	struct store_file one = kit_file(1);
	struct answer a;
	struct rig g;

	rig_open(&g);
	CHECK(!harness_failed());
	a = append_all(&g, &one, (const uint64_t[]){ 1, 2, 3 }, same, 3);
	CHECK_U64(a.err, STORE_OK);
	CHECK_U64(a.nkept, 3);
	CHECK(a.promised);
	CHECK_U64(a.held, 3);
	CHECK_U64(a.shown, 3);
	a = append_all(&g, &one, (const uint64_t[]){ 4, 6, 7 }, same, 3); /* 5 is missing */
	CHECK_U64(a.err, STORE_FULL);
	CHECK_U64(a.nkept, 1);
	CHECK(a.promised);
	CHECK_U64(a.held, 4);
	CHECK_U64(a.shown, 4);
	a = append_all(&g, &one, (const uint64_t[]){ 6, 7 }, same, 2);
	CHECK_U64(a.err, STORE_FULL);
	CHECK_U64(a.nkept, 0);
	CHECK(!a.promised);
	CHECK_U64(a.shown, 4);
	a = append_all(&g, &one, (const uint64_t[]){ 3, 2, 5 }, (const char *const[]){ "c", "x", "e" }, 3); /* 2 is not what it was */
	CHECK_U64(a.err, STORE_DIFFERS);
	CHECK_U64(a.bad_version, 2);
	CHECK_U64(a.nkept, 1);
	CHECK_U64(a.held, 4);
	g.file = one;
	look(&g);
	CHECK_U64(g.file.held_client_version, 4);
	CHECK_U64(g.file.shown_client_version, 4);
	CHECK_U64(g.file.backlog_records, 4);
	rig_close(&g);
}

/* What upstream acknowledged of several is not written, and is not the relay's to acknowledge. */
TEST(uploads_together_of_which_some_are_needless)
{
	static const char *const bytes[] = { "a", "b", "c", "d" };
	struct store_file one = kit_file(1);
	struct answer a;
	struct rig g;

	rig_open(&g);
	CHECK(!harness_failed());
	upstream_acked = 2;
	a = append_all(&g, &one, (const uint64_t[]){ 1, 2 }, bytes, 2);
	CHECK_U64(a.err, STORE_OK);
	CHECK_U64(a.nkept, 2);
	CHECK_U64(a.needless, 2);
	CHECK(!a.promised);
	upstream_acked = 3;
	a = append_all(&g, &one, (const uint64_t[]){ 3, 4, 5 }, bytes, 3);
	CHECK_U64(a.nkept, 3);
	CHECK_U64(a.needless, 1);
	CHECK(a.promised);
	CHECK_U64(a.shown, 5);
	upstream_acked = 0;
	g.file = one;
	look(&g);
	CHECK_U64(g.file.upstream_client_version, 3);
	CHECK_U64(g.file.backlog_records, 2);
	rig_close(&g);
}

/* An upload is compared with a changeset that is damaged: those behind it are left out with it, of that file alone. */
TEST(uploads_behind_a_damaged_changeset_are_left_out)
{
	struct store_file one = kit_file(1), two = kit_file(2);
	struct outcome bad[3] = { { 0 } }, good = { 0 };
	struct rig g;

	CHECK(sem_init(&started, 0, 0) == 0 && sem_init(&posted, 0, 0) == 0);
	rig_open(&g);
	CHECK(!harness_failed());
	post_upload(&g, &one, 1, done, &g);
	await(&g, 1);
	CHECK_U64(g.err, STORE_OK);
	spool_call(g.spool, spoil_changeset_and_wait, called, &g);
	while (sem_wait(&started) != 0)
		;
	for (uint64_t v = 1; v <= 3; v++)
		post_upload(&g, &one, v, noted, &bad[v - 1]);
	post_upload(&g, &two, 1, noted, &good);
	sem_post(&posted);
	await(&g, 1);
	while (!good.done)
		event_base_loop(g.base, EVLOOP_ONCE);
	CHECK_U64(good.err, STORE_OK);
	for (int i = 0; i < 3; i++) {
		CHECK(bad[i].done && bad[i].damaged);
		CHECK_U64(bad[i].err, STORE_CORRUPT);
	}
	g.file = one;
	look(&g);
	CHECK_U64(g.file.held_client_version, 1);
	rig_close(&g);
	sem_destroy(&started);
	sem_destroy(&posted);
}

static void
just_wait(void *arg, struct store *s)
{
	(void)arg;
	(void)s;
	sem_post(&started);
	while (sem_wait(&posted) != 0)
		;
}

static void
needless(void *arg, struct spool_op *op)
{
	*(unsigned *)arg += op->err == STORE_OK && op->needless ? 1 : 0;
}

/* What upstream acknowledges while it waits for the disk is not written; what comes behind it finds no gap. */
TEST(acknowledged_uploads_are_not_written)
{
	struct store_file one = kit_file(1);
	unsigned count = 0;
	struct rig g;

	CHECK(sem_init(&started, 0, 0) == 0 && sem_init(&posted, 0, 0) == 0);
	rig_open(&g);
	CHECK(!harness_failed());
	upstream_acked = 0;
	post_upload(&g, &one, 1, done, &g);
	await(&g, 1);
	spool_call(g.spool, just_wait, called, &g);
	while (sem_wait(&started) != 0)
		;
	for (uint64_t v = 2; v <= 5; v++)
		post_upload(&g, &one, v, needless, &count);
	upstream_acked = 4;
	sem_post(&posted);
	await(&g, 1);
	g.file = one;
	look(&g);
	CHECK_U64(g.err, STORE_OK);
	CHECK_U64(count, 3);
	CHECK_U64(g.file.backlog_records, 2); /* 1, which a trim will remove, and 5 */
	CHECK_U64(g.file.upstream_client_version, 4);
	CHECK_U64(g.file.held_client_version, 5);
	upstream_acked = 0;
	rig_close(&g);
	sem_destroy(&started);
	sem_destroy(&posted);
}

struct batches {
	unsigned n;
	bool kept; /* the upload that was posted behind them */
	uint8_t *body[8];
	size_t len[8];
	uint64_t first[8], last[8];
};

struct batch_of {
	struct batches *all;
	unsigned nth;
};

static void
batch_read(void *arg, struct spool_op *op)
{
	struct batch_of *one = arg;
	struct spool_batch *b = &op->batch;

	one->all->n++;
	one->all->first[one->nth] = b->first_client_version;
	one->all->last[one->nth] = b->last_client_version;
	one->all->len[one->nth] = b->uncompressed_size;
	CHECK_U64(op->err, STORE_OK);
	CHECK(b->is_compressed);
	CHECK((one->all->body[one->nth] = malloc(b->uncompressed_size)) != NULL);
	CHECK_U64(zbody_inflate(b->body, b->len, one->all->body[one->nth], b->uncompressed_size), PROTO_OK);
}

/* Before any of the batches, though it was posted behind them: what is durable is told at once. */
static void
kept_first(void *arg, struct spool_op *op)
{
	struct batches *all = arg;

	all->kept = true;
	CHECK_U64(op->err, STORE_OK);
	CHECK_U64(all->n, 0);
}

/* More batches at once than there are hands to deflate them: each is what was asked for. */
TEST(batches_at_once)
{
	enum { N = 8, LEN = 3000 };
	static char text[N + 1][LEN + 1];
	struct store_file one = kit_file(1);
	struct batches all = { .n = 0 };
	struct batch_of of[N];
	struct answer a;
	struct rig g;

	CHECK(sem_init(&started, 0, 0) == 0 && sem_init(&posted, 0, 0) == 0);
	rig_open(&g);
	CHECK(!harness_failed());
	upstream_acked = 0;
	for (unsigned i = 0; i <= N; i++) {
		memset(text[i], (int)('a' + i), LEN);
		a = append_all(&g, &one, (const uint64_t[]){ i + 1 }, (const char *const[]){ text[i] }, 1);
		CHECK_U64(a.err, STORE_OK);
	}
	g.file = one;
	look(&g);
	spool_call(g.spool, just_wait, NULL, NULL);
	while (sem_wait(&started) != 0)
		;
	for (unsigned i = 0; i < N; i++) { /* one record, as max_bytes says */
		of[i] = (struct batch_of){ &all, i };
		spool_read(g.spool, g.file.id, i, UINT64_MAX, 1, UINT64_MAX, 9, batch_read, &of[i]);
	}
	post_upload(&g, &one, N + 2, kept_first, &all);
	sem_post(&posted);
	while (all.n < N)
		event_base_loop(g.base, EVLOOP_ONCE);
	CHECK(!harness_failed());
	CHECK(all.kept);
	for (unsigned i = 0; i < N; i++) {
		CHECK_U64(all.first[i], i + 1);
		CHECK_U64(all.last[i], i + 1);
		CHECK_MEM(all.body[i] + all.len[i] - LEN, LEN, text[i], LEN);
		free(all.body[i]);
	}
	for (unsigned i = 0; i < N; i++) /* the end comes while they are under way */
		spool_read(g.spool, g.file.id, i, UINT64_MAX, 1, UINT64_MAX, 9, NULL, NULL);
	rig_close(&g);
}
