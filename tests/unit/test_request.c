/* Tests relay/request: which question goes where in which state of the link, what is answered here, what waits, and what becomes of a question
 * when upstream is lost.  What it calls stands here instead of the daemon's own; what it says is written down as text. */
#include <stdlib.h>

#include "relay/conn.h"
#include "relay/link.h"
#include "relay/options.h"
#include "relay/pool.h"
#include "relay/request.h"
#include "relay/session.h"
#include "relay/spool.h"
#include "relay/statecache.h"
#include "relay/upstream.h"

#include "tests/harness.h"

/* ---- instead of the daemon ---- */

static struct {
	char up[512], down[512]; /* said to upstream, to the client */
	bool link_down, conn_full, kept, damaged;
	struct session *leaves;	  /* closing its conn forgets its requests, as it does in the daemon */
	unsigned writers;	  /* sets being collected */
	state_segment *segment;	  /* of the set being served */
	void *segment_arg;
	uint64_t allocated, own;  /* ALLOCs that upstream answered the client; what it answered the relay, the sum */
	bool own_lost, asked_wrongly;
	pool_answer *asked;	  /* the pool */
	void *asked_arg;
	spool_done *found;	  /* of the look-up under way */
	void *found_arg;
} seen;

static void
note(char *out, const char *what, uint64_t n)
{
	size_t len = strlen(out);

	snprintf(out + len, sizeof(seen.up) - len, "%s:%llu ", what, (unsigned long long)n);
}

bool
link_down(const struct link *l)
{
	(void)l;
	return seen.link_down;
}

void
upstream_send(struct upstream *u, const struct message *m, struct view body)
{
	(void)u;
	note(seen.up, msg_name(m->type), body.len);
}

enum msg_flavour
conn_flavour(const struct conn *c)
{
	(void)c;
	return MSG_PBS;
}

void
conn_send(struct conn *c, const struct message *m, struct view body)
{
	(void)c;
	note(seen.down, msg_name(m->type),
	     m->type == MSG_S_TRANSACT	       ? m->s_transact.status
	     : m->type == MSG_S_CLIENT_VERSION ? m->client_version.client_version
	     : m->type == MSG_S_ALLOC	       ? m->s_alloc.file_ident
					       : body.len);
}

void
conn_close(struct conn *c, const char *reason)
{
	(void)c;
	(void)reason;
	note(seen.down, "closed", 0);
	if (seen.leaves != NULL) {
		seen.leaves->conn = NULL;
		request_forget(seen.leaves);
	}
}

bool
conn_is_full(const struct conn *c)
{
	(void)c;
	return seen.conn_full;
}

void
spool_find(struct spool *sp, const struct store_file *key, spool_done *done, void *arg)
{
	(void)sp;
	(void)key;
	seen.found = done;
	seen.found_arg = arg;
}

struct state_writer *
statecache_collect(struct statecache *c, const char *endpoint, const char *path, const struct msg_state_request *req)
{
	(void)c, (void)endpoint, (void)path, (void)req;
	seen.writers++;
	return (struct state_writer *)&seen;
}

void
statecache_abandon(struct state_writer *w)
{
	seen.writers -= w != NULL;
}

void
statecache_segment(struct state_writer *w, const struct msg_state *m)
{
	(void)w, (void)m;
}

void
statecache_data(struct state_writer *w, struct view data)
{
	(void)w, (void)data;
}

void
statecache_segment_end(struct state_writer *w)
{
	(void)w;
}

struct state_reader *
statecache_serve(struct statecache *c, const char *endpoint, const char *path, const struct msg_state_request *req, state_segment *segment,
		 void *arg)
{
	(void)c, (void)endpoint, (void)path, (void)req;
	if (!seen.kept)
		return NULL;
	seen.segment = segment;
	seen.segment_arg = arg;
	return (struct state_reader *)&seen;
}

void
statecache_go_on(struct state_reader *r)
{
	(void)r;
	note(seen.down, "go-on", 0);
	if (seen.damaged)
		seen.segment(seen.segment_arg, NULL, (struct view){ NULL, 0 });
}

void
statecache_cancel(struct state_reader *r)
{
	if (r != NULL)
		seen.segment = NULL;
}

bool
session_identified(const struct session *s)
{
	return s->upside == UPSIDE_IDENTED || s->upside == UPSIDE_REPLAY || s->upside == UPSIDE_LIVE;
}

struct pool_ask *
pool_ask(struct session *s, bool alloc, pool_answer *answer, void *arg)
{
	seen.asked_wrongly = !s->is_subserver || !alloc;
	seen.asked = answer;
	seen.asked_arg = arg;
	return (struct pool_ask *)&seen;
}

void
pool_cancel(struct pool_ask *a)
{
	if (a != NULL)
		seen.asked = NULL;
}

void
pool_allocated(struct session *s)
{
	(void)s;
	seen.allocated++;
}

void
pool_alloc_answered(struct session *s, uint64_t file_ident)
{
	(void)s;
	seen.own += file_ident;
	seen.own_lost = seen.own_lost || file_ident == 0;
}

/* ---- a session ---- */

static struct options opt = { .ident_pool = 4 };
static struct relay relay;
static struct file file;
static struct session session;

static struct session *
begin(enum session_upside upside, bool down)
{
	struct session *s = &session;

	memset(&seen, 0, sizeof(seen));
	memset(&file, 0, sizeof(file));
	memset(s, 0, sizeof(*s));
	TAILQ_INIT(&s->requests);
	seen.link_down = down;
	s->relay = &relay;
	s->opt = &opt;
	s->conn = (struct conn *)&file; /* there is one; nobody looks into it */
	s->file = &file;
	s->endpoint = s->path = (char *)(uintptr_t)"/p";
	s->upside = upside;
	s->ident.file_ident = 2;
	s->ident.file_ident_salt = 77;
	return s;
}

static void
ask(struct session *s, enum msg_type type, size_t body_len)
{
	static const uint8_t body[300000];
	struct message m = { .type = type };

	if (type == MSG_C_CLIENT_VERSION_REQUEST)
		m.client_version_request = (struct msg_client_version_request){ 2, 77 };
	request_take(s, &m, (struct view){ body, body_len });
}

static void
answer(struct session *s, enum msg_type type, uint64_t end, uint64_t max)
{
	struct message m = { .type = type };

	if (type == MSG_S_STATE)
		m.state = (struct msg_state){ .end_offset = end, .max_offset = max };
	if (type == MSG_S_ALLOC)
		m.s_alloc.file_ident = end;
	request_answer(s, &m);
	request_answer_data(s, view_of("x"));
	request_answer_end(s, &m);
}

/* Upstream is there: at once, but a TRANSACT waits for the backlog. */
TEST(up)
{
	struct session *s = begin(UPSIDE_REPLAY, false);

	ask(s, MSG_C_CLIENT_VERSION_REQUEST, 0);
	ask(s, MSG_C_ALLOC, 0);
	ask(s, MSG_C_TEST_COMMAND, 5);
	ask(s, MSG_C_TRANSACT, 40);
	CHECK_STR(seen.up, "client_version_request:0 alloc:0 test_command:5 ");
	CHECK_U64(s->nrequests, 4);
	s->upside = UPSIDE_LIVE;
	request_kick(s);
	CHECK_STR(seen.up, "client_version_request:0 alloc:0 test_command:5 transact:40 ");
	CHECK_U64(s->request_bytes, 0);
	answer(s, MSG_S_TRANSACT, 0, 0);
	answer(s, MSG_S_ALLOC, 0, 0);
	answer(s, MSG_S_ALLOC, 0, 0); /* nobody asked: upstream's business */
	answer(s, MSG_S_CLIENT_VERSION, 0, 0);
	answer(s, MSG_S_TEST_COMMAND, 0, 0);
	CHECK_U64(s->nrequests, 0);
	CHECK_STR(seen.down, "");
}

/* A backlog that nobody will drain: "try again later", not never. */
TEST(never_live)
{
	struct session *s = begin(UPSIDE_REPLAY, false);

	s->no_replay = true;
	ask(s, MSG_C_TRANSACT, 40);
	CHECK_STR(seen.down, "transact:2 ");
	CHECK_U64(s->nrequests, 0);
}

TEST(down)
{
	struct session *s = begin(UPSIDE_NONE, true);

	ask(s, MSG_C_TRANSACT, 40);
	CHECK_STR(seen.down, "transact:2 ");
	file.id = 1;
	file.upstream.client_version = 3;
	file.shown.client_version = 9;
	ask(s, MSG_C_CLIENT_VERSION_REQUEST, 0);
	CHECK_STR(seen.down, "transact:2 client_version:9 ");
	ask(s, MSG_C_ALLOC, 0);
	ask(s, MSG_C_STATE_REQUEST, 0);
	ask(s, MSG_C_TEST_COMMAND, 3);
	CHECK_U64(s->nrequests, 3);
	CHECK_STR(seen.up, "");
	/* the link is back */
	seen.link_down = false;
	s->upside = UPSIDE_LIVE;
	request_kick(s);
	CHECK_STR(seen.up, "alloc:0 state_request:0 test_command:3 ");
	CHECK_U64(seen.writers, 1);
	request_forget(s);
	CHECK_U64(seen.writers, 0);
	CHECK_U64(s->nrequests + s->request_bytes, 0);
}

/* One ALLOC at a time is with upstream, whosever it is; the relay's own answer is not for the client. */
TEST(alloc_up)
{
	struct session *s = begin(UPSIDE_LIVE, false);

	s->is_subserver = true;
	CHECK(request_alloc(s));
	CHECK(request_alloc_is_own(s));
	ask(s, MSG_C_ALLOC, 0);
	CHECK_STR(seen.up, "alloc:0 ");
	answer(s, MSG_S_ALLOC, 41, 0);
	CHECK_U64(seen.own, 41);
	CHECK_U64(seen.allocated, 0);
	CHECK_STR(seen.up, "alloc:0 alloc:0 ");
	CHECK(!request_alloc_is_own(s));
	CHECK(request_alloc(s));
	CHECK_STR(seen.up, "alloc:0 alloc:0 ");
	answer(s, MSG_S_ALLOC, 42, 0);
	CHECK_U64(seen.own, 41);
	CHECK_U64(seen.allocated, 1);
	CHECK_STR(seen.up, "alloc:0 alloc:0 alloc:0 ");
	ask(s, MSG_C_ALLOC, 0);
	/* upstream is lost: the client's is asked again, the relay's is not */
	CHECK(!seen.own_lost);
	CHECK(request_upstream_lost(s) == NULL);
	CHECK(seen.own_lost);
	CHECK_U64(s->nrequests, 1);
	request_kick(s);
	CHECK_STR(seen.up, "alloc:0 alloc:0 alloc:0 alloc:0 ");
	CHECK(!request_alloc_is_own(s));
	request_forget(s);
}

/* Only one of pool and upstream answers, whatever the link does meanwhile. */
TEST(alloc_down)
{
	struct session *s = begin(UPSIDE_NONE, true);

	s->is_subserver = true;
	ask(s, MSG_C_ALLOC, 0);
	CHECK(seen.asked != NULL && !seen.asked_wrongly);
	s->upside = UPSIDE_LIVE;
	seen.link_down = false;
	request_kick(s);
	CHECK_STR(seen.up, "");
	seen.asked(seen.asked_arg, 43, 0);
	CHECK_STR(seen.down, "alloc:43 ");
	CHECK_STR(seen.up, "");
	CHECK_U64(s->nrequests, 0);
	/* none left: it waits for upstream */
	s->upside = UPSIDE_NONE;
	seen.link_down = true;
	ask(s, MSG_C_ALLOC, 0);
	seen.asked(seen.asked_arg, 0, 0);
	CHECK_U64(s->nrequests, 1);
	CHECK_STR(seen.up, "");
	request_kick(s);
	s->upside = UPSIDE_LIVE;
	seen.link_down = false;
	seen.asked(seen.asked_arg, 0, 0);
	CHECK_STR(seen.up, "alloc:0 ");
	request_forget(s);
	/* the session ends while the pool is asked */
	s->upside = UPSIDE_NONE;
	seen.link_down = true;
	ask(s, MSG_C_ALLOC, 0);
	CHECK(seen.asked != NULL);
	request_forget(s);
	CHECK(seen.asked == NULL);
	/* who is no subserver has none */
	s->is_subserver = false;
	ask(s, MSG_C_ALLOC, 0);
	CHECK(seen.asked == NULL);
	request_forget(s);
}

/* Of another file: the store is asked, and may answer after the session has forgotten the question, or sent it. */
TEST(looked_up)
{
	struct session *s = begin(UPSIDE_NONE, true);
	struct store_file found = { .upstream_client_version = 5 };
	struct spool_op op = { .err = STORE_OK, .file = &found };

	s->ident.file_ident_salt = 1;
	ask(s, MSG_C_CLIENT_VERSION_REQUEST, 0);
	CHECK(seen.found != NULL);
	seen.found(seen.found_arg, &op);
	CHECK_STR(seen.down, "client_version:5 ");
	ask(s, MSG_C_CLIENT_VERSION_REQUEST, 0);
	op.err = STORE_NOTFOUND;
	seen.found(seen.found_arg, &op);
	CHECK_U64(s->nrequests, 1); /* it waits */
	request_forget(s);
	ask(s, MSG_C_CLIENT_VERSION_REQUEST, 0);
	request_forget(s);
	op.err = STORE_OK;
	seen.found(seen.found_arg, &op);
	ask(s, MSG_C_CLIENT_VERSION_REQUEST, 0);
	s->upside = UPSIDE_LIVE;
	request_kick(s);
	seen.found(seen.found_arg, &op);
	CHECK_STR(seen.down, "client_version:5 ");
	CHECK_STR(seen.up, "client_version_request:0 ");
	request_forget(s);
}

TEST(kept_state)
{
	struct session *s = begin(UPSIDE_NONE, true);
	struct msg_state m = { .end_offset = 5, .max_offset = 10 };

	seen.kept = true;
	ask(s, MSG_C_STATE_REQUEST, 0);
	CHECK(seen.segment != NULL);
	CHECK(seen.segment(seen.segment_arg, &m, view_of("hello")));
	seen.conn_full = true;
	m.begin_offset = 5;
	CHECK(!seen.segment(seen.segment_arg, &m, view_of("hello")));
	request_go_on(s);
	/* upstream is there in the middle of it: the answer goes on from here */
	s->upside = UPSIDE_LIVE;
	request_kick(s);
	CHECK_STR(seen.up, "");
	m.end_offset = 10;
	CHECK(!seen.segment(seen.segment_arg, &m, view_of("hello")));
	CHECK_STR(seen.down, "state:5 state:5 go-on:0 state:5 ");
	CHECK_U64(s->nrequests, 0);
	/* it cannot be read to its end */
	s = begin(UPSIDE_NONE, true);
	seen.kept = true;
	ask(s, MSG_C_STATE_REQUEST, 0);
	CHECK(!seen.segment(seen.segment_arg, NULL, view_of("")));
	CHECK_STR(seen.down, "closed:0 ");
	request_forget(s);
}

/* Upstream is lost: asked again what does nothing there but answer; else the client must be closed. */
TEST(lost)
{
	static const struct {
		enum msg_type question, part; /* part of its answer was passed on */
		bool closed;
	} rows[] = {
		{ MSG_C_ALLOC, MSG_NTYPES, false },
		{ MSG_C_CLIENT_VERSION_REQUEST, MSG_NTYPES, false },
		{ MSG_C_STATE_REQUEST, MSG_NTYPES, false },
		{ MSG_C_STATE_REQUEST, MSG_S_STATE, true },
		{ MSG_C_TRANSACT, MSG_NTYPES, true },
		{ MSG_C_TEST_COMMAND, MSG_NTYPES, true },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct session *s = begin(UPSIDE_LIVE, false);
		char before[sizeof(seen.up)];

		ask(s, rows[i].question, 0);
		snprintf(before, sizeof(before), "%s", seen.up);
		if (rows[i].part != MSG_NTYPES)
			answer(s, rows[i].part, 5, 10);
		CHECK_U64(request_upstream_lost(s) != NULL, rows[i].closed);
		CHECK_U64(seen.writers, 0);
		if (!rows[i].closed) {
			seen.up[0] = '\0';
			request_kick(s);
			CHECK_STR(seen.up, before);
		}
		request_forget(s);
	}
}

TEST(bounds)
{
	struct session *s = begin(UPSIDE_NONE, false);

	ask(s, MSG_C_TEST_COMMAND, 200000);
	ask(s, MSG_C_TRANSACT, 100000); /* no room to keep it: later */
	CHECK_STR(seen.down, "transact:2 ");
	ask(s, MSG_C_TEST_COMMAND, 100000);
	CHECK_STR(seen.down, "transact:2 closed:0 ");
	request_forget(s);
	s = begin(UPSIDE_NONE, false);
	for (unsigned i = 0; i < 16; i++)
		ask(s, MSG_C_ALLOC, 0);
	CHECK_STR(seen.down, "");
	ask(s, MSG_C_ALLOC, 0);
	CHECK_STR(seen.down, "closed:0 ");
	request_forget(s);
}

/* The first of two kept states cannot be read to its end: the client is closed, and with it the second question is gone. */
TEST(damaged_state)
{
	struct session *s = begin(UPSIDE_NONE, true);

	seen.kept = true;
	ask(s, MSG_C_STATE_REQUEST, 0);
	ask(s, MSG_C_STATE_REQUEST, 0);
	seen.damaged = true;
	seen.leaves = s;
	request_go_on(s);
	CHECK_STR(seen.down, "go-on:0 closed:0 ");
	CHECK(TAILQ_EMPTY(&s->requests));
}
