/* Questions and their answers; see request.h.
 *
 * An answer names no question, so the oldest sent one of its kind is taken as answered: servers answer each kind in order.
 *
 * What is asked again after upstream was lost: only what does nothing there but answer.  A TRANSACT may have been accepted, so its client is
 * closed; so is one that has the first half of a state file. */
#include <stdlib.h>
#include <string.h>

#include "relay/conn.h"
#include "relay/link.h"
#include "relay/log.h"
#include "relay/options.h"
#include "relay/pool.h"
#include "relay/relay.h"
#include "relay/request.h"
#include "relay/session.h"
#include "relay/spool.h"
#include "relay/statecache.h"
#include "relay/upstream.h"

#define REQUESTS_MAX 16	      /* unanswered ones of a session; a real client has one of a kind */
#define BODIES_MAX (256u << 10) /* bytes of what waits in a session (I6) */

struct request {
	TAILQ_ENTRY(request) link;
	struct session *session; /* NULL: forgotten while being looked up */
	struct message m;
	uint8_t *body; /* owned; kept until it is sent */
	bool sent, begun; /* begun: STATE, a part of the answer was passed on */
	bool looking;	  /* CLIENT_VERSION_REQUEST: the store was asked */
	bool own;	  /* ALLOC of the relay's own */
	struct pool_ask *asking; /* ALLOC: the pool was asked; until it answers upstream is not (only one may answer) */
	struct state_writer *writer; /* STATE_REQUEST, sent */
	struct state_reader *reader; /* STATE_REQUEST, answered here */
};

static void
request_free(struct request *r)
{
	statecache_abandon(r->writer);
	statecache_cancel(r->reader);
	pool_cancel(r->asking);
	free(r->body);
	free(r);
}

static void
request_end(struct request *r)
{
	struct session *s = r->session;

	TAILQ_REMOVE(&s->requests, r, link);
	s->nrequests--;
	s->request_bytes -= r->body != NULL ? r->m.body_len : 0;
	r->session = NULL;
	if (!r->looking) /* else when the store has answered */
		request_free(r);
}

/* It will not be answered. */
static void
give_up(struct request *r)
{
	struct session *s = r->session;
	bool own = r->own;

	request_end(r);
	if (own)
		pool_alloc_answered(s, 0);
}

void
request_forget(struct session *s)
{
	struct request *r;

	while ((r = TAILQ_FIRST(&s->requests)) != NULL)
		give_up(r);
}

static void
tell(struct session *s, struct message *m, struct view body)
{
	m->session_ident = s->client_ident;
	m->flavour = conn_flavour(s->conn);
	STAT_INC(s->relay, requests_answered);
	conn_send(s->conn, m, body);
}

/* ---- answered here ---- */

static void
answer_try_again(struct request *r)
{
	struct message m = { .type = MSG_S_TRANSACT };

	m.s_transact.status = 2;
	tell(r->session, &m, (struct view){ NULL, 0 });
	request_end(r);
}

static void
answer_version(struct request *r, uint64_t upstream, uint64_t shown)
{
	struct message m = { .type = MSG_S_CLIENT_VERSION };

	m.client_version.client_version = upstream > shown ? upstream : shown;
	tell(r->session, &m, (struct view){ NULL, 0 });
	request_end(r);
}

static void
looked_up(void *arg, struct spool_op *op)
{
	struct request *r = arg;

	r->looking = false;
	if (r->session == NULL)
		request_free(r);
	else if (op->err == STORE_OK && !r->sent)
		answer_version(r, op->file->upstream_client_version, op->file->shown_client_version);
}

static void
answer_from_file(struct request *r)
{
	const struct msg_client_version_request *q = &r->m.client_version_request;
	const struct session *s = r->session;
	struct store_file *key;

	if (s->file != NULL && s->ident.file_ident == q->file_ident && s->ident.file_ident_salt == q->file_ident_salt) {
		if (s->file->id != 0 || s->file->upstream.client_version > 0) /* else nothing is known of it */
			answer_version(r, s->file->upstream.client_version, s->file->shown.client_version);
		return;
	}
	key = relay_alloc(sizeof(*key));
	strncpy(key->endpoint, s->endpoint, STORE_ENDPOINT_MAX);
	strncpy(key->path, session_key_path(s), STORE_PATH_MAX);
	key->file_ident = q->file_ident;
	key->file_ident_salt = q->file_ident_salt;
	r->looking = true;
	spool_find(s->relay->spool, key, looked_up, r);
	free(key);
}

static bool
kept_segment(void *arg, const struct msg_state *state, struct view body)
{
	struct request *r = arg;
	struct session *s = r->session;
	struct message m = { .type = MSG_S_STATE };

	if (state == NULL) {
		conn_close(s->conn, "the kept state cannot be read to its end");
		return false;
	}
	m.state = *state;
	r->begun = true;
	tell(s, &m, body);
	if (state->end_offset == state->max_offset) {
		request_end(r);
		return false;
	}
	return !conn_is_full(s->conn);
}

static void request_send(struct session *s);

/* With the link back meanwhile: if the pool has none, upstream is asked. */
static void
alloc_answer(void *arg, uint64_t file_ident, uint64_t salt)
{
	struct request *r = arg;
	struct session *s = r->session;
	struct message m = { .type = MSG_S_ALLOC, .s_alloc = { file_ident } };

	(void)salt; /* this message carries none */
	r->asking = NULL;
	if (file_ident != 0) {
		tell(s, &m, (struct view){ NULL, 0 });
		request_end(r);
	}
	request_send(s);
}

static void
answer_offline(struct request *r)
{
	struct session *s = r->session;

	switch (r->m.type) {
	case MSG_C_TRANSACT:
		answer_try_again(r);
		break;
	case MSG_C_CLIENT_VERSION_REQUEST:
		if (!r->looking)
			answer_from_file(r);
		break;
	case MSG_C_STATE_REQUEST:
		if (r->reader == NULL)
			r->reader = statecache_serve(s->relay->statecache, s->endpoint, s->path, &r->m.state_request, kept_segment, r);
		break;
	case MSG_C_ALLOC:
		if (r->asking == NULL && s->is_subserver && s->opt->ident_pool > 0)
			r->asking = pool_ask(s, true, alloc_answer, r);
		break;
	default: /* TEST_COMMAND: no answer is legal */
		break;
	}
}

void
request_go_on(struct session *s)
{
	struct request *r, *next;

	for (r = TAILQ_FIRST(&s->requests); r != NULL && s->conn != NULL; r = next) { /* closed: they are all forgotten */
		next = TAILQ_NEXT(r, link);
		if (r->reader != NULL)
			statecache_go_on(r->reader);
	}
}

/* ---- sent upstream ---- */

static void
ask_upstream(struct request *r, struct view body)
{
	struct session *s = r->session;
	struct message copy = r->m;

	copy.session_ident = s->upstream_ident;
	upstream_send(s->upstream, &copy, body);
	r->sent = true;
	if (r->m.type == MSG_C_STATE_REQUEST)
		r->writer = statecache_collect(s->relay->statecache, s->endpoint, s->path, &r->m.state_request);
}

static struct request *
alloc_sent(const struct session *s)
{
	struct request *r;

	TAILQ_FOREACH (r, &s->requests, link)
		if (r->sent && r->m.type == MSG_C_ALLOC)
			return r;
	return NULL;
}

bool
request_alloc_is_own(const struct session *s)
{
	const struct request *r = alloc_sent(s);

	return r != NULL && r->own;
}

static bool
may_send(const struct request *r)
{
	const struct session *s = r->session;

	if (s->upside == UPSIDE_NONE || s->upside == UPSIDE_UNBINDING || r->reader != NULL)
		return false;
	if (r->m.type == MSG_C_ALLOC)
		return session_identified(s) && r->asking == NULL && alloc_sent(s) == NULL;
	return r->m.type != MSG_C_TRANSACT || s->upside == UPSIDE_LIVE;
}

/* A backlog that nobody will drain before a client comes anew. */
static bool
never_live(const struct session *s)
{
	return s->held_back || s->no_replay;
}

/* Sends what may be. */
static void
request_send(struct session *s)
{
	struct request *r;

	TAILQ_FOREACH (r, &s->requests, link) {
		if (r->sent || !may_send(r))
			continue;
		ask_upstream(r, (struct view){ r->body, r->body != NULL ? (size_t)r->m.body_len : 0 });
		s->request_bytes -= r->body != NULL ? r->m.body_len : 0;
		free(r->body);
		r->body = NULL;
	}
}

void
request_kick(struct session *s)
{
	struct request *r, *next;

	request_send(s);
	for (r = TAILQ_FIRST(&s->requests); r != NULL && s->conn != NULL; r = next) {
		next = TAILQ_NEXT(r, link);
		if (r->sent)
			continue;
		if (s->upside == UPSIDE_NONE && link_down(s->link)) {
			answer_offline(r);
		} else if (r->m.type == MSG_C_TRANSACT && never_live(s)) {
			answer_try_again(r);
		}
	}
}

void
request_take(struct session *s, const struct message *m, struct view body)
{
	struct request *r = relay_alloc(sizeof(*r));

	r->session = s;
	r->m = *m;
	r->m.body_len = body.len;
	TAILQ_INSERT_TAIL(&s->requests, r, link);
	s->nrequests++;
	if (may_send(r)) {
		ask_upstream(r, body);
		return;
	}
	if (s->nrequests > REQUESTS_MAX || (m->type != MSG_C_TRANSACT && s->request_bytes + body.len > BODIES_MAX)) {
		conn_close(s->conn, "too many questions wait for an answer");
		return;
	}
	if (s->request_bytes + body.len > BODIES_MAX) {
		answer_try_again(r);
		return;
	}
	if (body.len > 0) {
		r->body = relay_alloc(body.len);
		memcpy(r->body, body.ptr, body.len);
		s->request_bytes += body.len;
	}
	STAT_INC(s->relay, requests_held);
	request_kick(s);
}

bool
request_alloc(struct session *s)
{
	struct request *r;

	if (s->nrequests >= REQUESTS_MAX)
		return false;
	r = relay_alloc(sizeof(*r));
	r->session = s;
	r->own = true;
	r->m.type = MSG_C_ALLOC;
	r->m.flavour = s->flavour;
	TAILQ_INSERT_TAIL(&s->requests, r, link);
	s->nrequests++;
	request_send(s);
	return true;
}

/* ---- upstream's answers ---- */

static struct request *
answered_by(const struct session *s, enum msg_type answer)
{
	static const struct {
		enum msg_type answer, question;
	} pairs[] = {
		{ MSG_S_TRANSACT, MSG_C_TRANSACT },
		{ MSG_S_STATE, MSG_C_STATE_REQUEST },
		{ MSG_S_CLIENT_VERSION, MSG_C_CLIENT_VERSION_REQUEST },
		{ MSG_S_ALLOC, MSG_C_ALLOC },
		{ MSG_S_TEST_COMMAND, MSG_C_TEST_COMMAND },
	};
	struct request *r;

	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		if (pairs[i].answer != answer)
			continue;
		TAILQ_FOREACH (r, &s->requests, link)
			if (r->sent && r->m.type == pairs[i].question)
				return r;
	}
	return NULL;
}

void
request_answer(struct session *s, const struct message *m)
{
	struct request *r = m->type == MSG_S_STATE ? answered_by(s, MSG_S_STATE) : NULL;

	if (r == NULL)
		return;
	r->begun = true;
	statecache_segment(r->writer, &m->state);
}

void
request_answer_data(struct session *s, struct view data)
{
	struct request *r = answered_by(s, MSG_S_STATE);

	if (r != NULL)
		statecache_data(r->writer, data);
}

void
request_answer_end(struct session *s, const struct message *m)
{
	struct request *r = answered_by(s, m->type);
	bool own;

	if (r == NULL)
		return;
	if (m->type == MSG_S_STATE) {
		statecache_segment_end(r->writer);
		if (m->state.end_offset != m->state.max_offset)
			return;
	}
	own = r->own;
	request_end(r);
	if (m->type != MSG_S_ALLOC)
		return;
	if (own)
		pool_alloc_answered(s, m->s_alloc.file_ident);
	else
		pool_allocated(s);
	request_send(s);
}

const char *
request_upstream_lost(struct session *s)
{
	struct request *r, *next;
	const char *why = NULL;

	for (r = TAILQ_FIRST(&s->requests); r != NULL; r = next) {
		next = TAILQ_NEXT(r, link);
		if (r->own) {
			give_up(r);
			continue;
		}
		if (!r->sent)
			continue;
		if (r->m.type == MSG_C_TRANSACT || r->m.type == MSG_C_TEST_COMMAND || r->begun)
			why = "upstream was lost before it answered";
		statecache_abandon(r->writer);
		r->writer = NULL;
		r->sent = false;
	}
	return why;
}
