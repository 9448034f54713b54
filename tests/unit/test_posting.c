/* Tests relay/file: which uploads go to the committer together, when, and what becomes of each.  The spool and the session stand here instead of the
 * daemon's own. */
#include <stdlib.h>

#include "relay/clock.h"
#include "relay/link.h"
#include "relay/options.h"
#include "relay/session.h"
#include "relay/quota.h"
#include "relay/spool.h"
#include "relay/userid.h"
#include "relay/walltime.h"

#include "tests/harness.h"

/* ---- instead of the daemon ---- */

enum { OPS = 8, UPLOADS = 8 };

static struct {
	struct {
		char kind; /* a: append, q: queries */
		size_t n;
		struct upload *upload[UPLOADS];
		struct store_file rec;
		bool show;
	} op[OPS];
	size_t nop;
	spool_done *done, *found;
	void *arg, *found_arg;
	unsigned stored, failed;
} seen;

void
spool_append(struct spool *sp, const struct store_file *rec, struct upload *u, size_t n, bool show, struct query_list *queries, spool_done *done,
	     void *arg)
{
	(void)sp;
	(void)queries;
	seen.op[seen.nop].kind = 'a';
	seen.op[seen.nop].n = n;
	seen.op[seen.nop].rec = *rec;
	seen.op[seen.nop].show = show;
	for (size_t i = 0; i < n && i < UPLOADS; i++, u = TAILQ_NEXT(u, link))
		seen.op[seen.nop].upload[i] = upload_ref(u);
	seen.nop++;
	seen.done = done;
	seen.arg = arg;
}

void
spool_keep_queries(struct spool *sp, const struct store_file *rec, struct query_list *queries, spool_done *done, void *arg)
{
	(void)sp;
	(void)rec;
	(void)queries;
	(void)done;
	(void)arg;
	seen.op[seen.nop++].kind = 'q';
}

void
spool_find(struct spool *sp, const struct store_file *key, spool_done *done, void *arg)
{
	(void)sp;
	(void)key;
	seen.found = done;
	seen.found_arg = arg;
}

void
spool_update(struct spool *sp, const struct store_file *rec, spool_done *done, void *arg)
{
	(void)sp;
	(void)rec;
	(void)done;
	(void)arg;
}

void
spool_update_exact(struct spool *sp, const struct store_file *rec, spool_done *done, void *arg)
{
	spool_update(sp, rec, done, arg);
}

void
spool_set_state(struct spool *sp, const struct store_file *rec, spool_done *done, void *arg)
{
	spool_update(sp, rec, done, arg);
}

void
spool_trim(struct spool *sp, const struct store_file *rec, uint64_t upto, spool_done *done, void *arg)
{
	(void)upto;
	spool_update(sp, rec, done, arg);
}

void
spool_read(struct spool *sp, uint64_t id, uint64_t after, uint64_t upto, uint64_t max_bytes, uint64_t max_server_version, int level, spool_done *done,
	   void *arg)
{
	(void)sp;
	(void)id;
	(void)after;
	(void)upto;
	(void)max_bytes;
	(void)max_server_version;
	(void)level;
	(void)done;
	(void)arg;
}

void
spool_merge(struct spool *sp, uint64_t id, spool_done *done, void *arg)
{
	(void)sp;
	(void)id;
	(void)done;
	(void)arg;
}

void
session_stored(struct session *s)
{
	(void)s;
	seen.stored++;
}

void
session_store_failed(struct session *s, enum store_err err)
{
	(void)s;
	(void)err;
	seen.failed++;
}

void
session_batch(struct session *s, struct spool_op *op)
{
	(void)s;
	(void)op;
}

void
session_offered(struct session *s)
{
	(void)s;
}

void
session_settled(struct session *s)
{
	(void)s;
}

void
session_user(const struct session *s, uint8_t user[STORE_USER])
{
	(void)s;
	memset(user, 0, STORE_USER);
}

void
query_to_keep(const struct session *s, struct query_list *list)
{
	(void)s;
	(void)list;
}

void
query_kept(struct session *s, const struct query_list *list)
{
	(void)s;
	(void)list;
}

void
quota_join(struct file *f)
{
	(void)f;
}

void
quota_leave(struct file *f)
{
	(void)f;
}

void
quota_add(struct file *f, size_t bytes)
{
	(void)f;
	(void)bytes;
}

void
quota_sub(struct file *f, size_t bytes)
{
	(void)f;
	(void)bytes;
}

bool
userid_known(const uint8_t user[STORE_USER])
{
	(void)user;
	return false;
}

uint64_t
walltime_ms(const struct walltime *w, bool *exact)
{
	(void)w;
	*exact = true;
	return 1;
}

/* ---- a file ---- */

static struct relay relay;
static struct link up;
static struct options options;
static struct session session;
static struct file *file;

static void
opened(void *arg, struct file *f, struct query_list *queries)
{
	(void)arg;
	(void)queries;
	file = f;
}

static void
begin(int ack)
{
	struct spool_op op = { .err = STORE_NOTFOUND, .file = relay_alloc(sizeof(*op.file)) };

	memset(&seen, 0, sizeof(seen));
	memset(&relay, 0, sizeof(relay));
	options = (struct options){ .spool_bytes = 32u << 20, .linger_ms = 60000, .linger_max_ms = 60000, .ack = (unsigned)ack };
	relay.opt = &options;
	TAILQ_INIT(&relay.links);
	linger_init(&up.lingering);
	TAILQ_INSERT_TAIL(&relay.links, &up, entry);
	session = (struct session){ .relay = &relay, .opt = &options, .link = &up };
	file_open(&relay, &session, "e", "/p", 1, 2, opened, NULL);
	seen.found(seen.found_arg, &op);
	free(op.file);
	CHECK(file != NULL);
}

static void
end(void)
{
	file_post(file); /* as file_detach would, whose operation nobody would end */
	for (size_t i = 0; i < seen.nop; i++)
		for (size_t k = 0; k < seen.op[i].n; k++)
			upload_unref(seen.op[i].upload[k]);
	file->inflight = 0;
	file_detach(file);
}

/* Takes an upload of this one version. */
static void
take(uint64_t version, size_t size, bool now)
{
	struct upload_entry e = { .client_version = version };
	struct message m = { .type = MSG_C_UPLOAD };
	char *body = relay_alloc(MSG_ENTRY_HEAD_MAX + size);
	size_t len;
	struct upload *u;

	e.changeset.len = size;
	len = upload_entry_format(&e, body) + size;
	m.upload.uncompressed_size = len;
	m.upload.progress_client_version = version;
	CHECK_U64(upload_parse(&m, (struct view){ (uint8_t *)body, len }, NULL, len, 1000, 0, &u), PROTO_OK);
	file_take(file, u, now);
	free(body);
}

/* The committer has kept the first `kept` of the n that were posted last, which were all. */
static void
answer(size_t n, size_t kept, enum store_err err)
{
	struct spool_op *op = relay_alloc(sizeof(*op) + n * sizeof(op->upload[0]));
	struct store_file rec = seen.op[seen.nop - 1].rec;

	op->err = err;
	op->nkept = kept;
	op->nupload = n;
	op->file = &rec;
	TAILQ_INIT(&op->queries);
	for (size_t i = 0; i < n; i++)
		op->upload[i] = seen.op[seen.nop - 1].upload[i];
	if (kept > 0)
		rec.held_client_version = rec.shown_client_version = op->upload[kept - 1]->last.client_version;
	seen.done(seen.arg, op);
	free(op);
}

static void
check_op(size_t i, char kind, uint64_t first, size_t n)
{
	CHECK(i < seen.nop && seen.op[i].kind == kind);
	CHECK_U64(seen.op[i].n, n);
	for (size_t k = 0; k < n; k++)
		CHECK_U64(seen.op[i].upload[k]->first.client_version, first + k);
}

TEST(what_comes_in_a_pass_is_one_operation)
{
	begin(ACK_RELAY);
	for (uint64_t v = 1; v <= 3; v++)
		take(v, 100, true);
	CHECK_U64(seen.nop, 0);
	CHECK(file_post_pass(&relay, clock_ms()) == -1);
	CHECK_U64(seen.nop, 1);
	check_op(0, 'a', 1, 3);
	CHECK(seen.op[0].show);
	take(4, 100, true);
	(void)file_post_pass(&relay, clock_ms());
	(void)file_post_pass(&relay, clock_ms());
	CHECK_U64(seen.nop, 2);
	check_op(1, 'a', 4, 1);
	CHECK_U64(relay.lingering_bytes, 0);
	end();
}

TEST(an_operation_has_its_size)
{
	begin(ACK_RELAY);
	take(1, 600000, true);
	take(2, 600000, true);
	take(3, 100, true);
	take(4, 2000000, true);
	take(5, 100, true);
	(void)file_post_pass(&relay, clock_ms());
	CHECK_U64(seen.nop, 4);
	check_op(0, 'a', 1, 1);
	check_op(1, 'a', 2, 2);
	check_op(2, 'a', 4, 1);
	check_op(3, 'a', 5, 1);
	end();
}

TEST(what_lingers_goes_with_what_does_not)
{
	begin(ACK_UPSTREAM);
	take(1, 100, false);
	(void)file_post_pass(&relay, clock_ms());
	CHECK_U64(seen.nop, 0);
	take(2, 100, true);
	take(3, 100, false);
	CHECK_U64(seen.nop, 0);
	(void)file_post_pass(&relay, clock_ms());
	CHECK_U64(seen.nop, 1);
	check_op(0, 'a', 1, 3);
	take(4, 100, false); /* it lingers again */
	(void)file_post_pass(&relay, clock_ms());
	CHECK_U64(seen.nop, 1);
	end();
}

TEST(a_query_stays_behind_what_was_taken_before)
{
	begin(ACK_RELAY);
	take(1, 100, true);
	file_keep_queries(file);
	take(2, 100, true);
	(void)file_post_pass(&relay, clock_ms());
	CHECK_U64(seen.nop, 3);
	check_op(0, 'a', 1, 1);
	check_op(1, 'q', 0, 0);
	check_op(2, 'a', 2, 1);
	end();
}

TEST(what_upstream_acknowledged_is_not_posted)
{
	begin(ACK_UPSTREAM);
	take(1, 100, true);
	file_acked(file, (struct pair){ 1, 1 });
	(void)file_post_pass(&relay, clock_ms());
	CHECK_U64(seen.nop, 0);
	CHECK(!file_waiting(file));
	end();
}

/* I1, I3: what was kept is shown, the rest leaves a gap. */
TEST(some_are_kept_and_some_are_not)
{
	begin(ACK_RELAY);
	for (uint64_t v = 1; v <= 5; v++)
		take(v, 100, true);
	(void)file_post_pass(&relay, clock_ms());
	answer(5, 2, STORE_FULL);
	CHECK_U64(seen.stored, 1);
	CHECK_U64(seen.failed, 3);
	CHECK_U64(file->stored.client_version, 2);
	CHECK_U64(file->shown.client_version, 2);
	CHECK(file->on_disk && file->gap);
	CHECK_U64(file->gap_end.client_version, 5);
	CHECK(TAILQ_EMPTY(&file->tail));
	end();
}

TEST(none_is_kept)
{
	begin(ACK_RELAY);
	take(1, 100, true);
	take(2, 100, true);
	(void)file_post_pass(&relay, clock_ms());
	answer(2, 0, STORE_NOSPACE);
	CHECK_U64(seen.stored, 0);
	CHECK_U64(seen.failed, 2);
	CHECK_U64(file->shown.client_version, 0);
	CHECK(!file->on_disk && file->gap);
	end();
}
