/* What a client says in its sessions, and what it is told here: BIND, IDENT, MARK, UNBIND and the rest.  Their life is in session.c, uploads
 * in session_upload.c, questions in request.c, what upstream says in session_upstream.c.
 *
 * The rule behind every branch (design section 2): the client's IDENT is the truth about that client and starts a new upstream
 * session; the old one of the same file is ended first (S2).  Whatever cannot be done with certainty ends the client's
 * connection instead, which is always safe. */
#include <stdlib.h>
#include <string.h>

#include "relay/absent.h"
#include "relay/conn.h"
#include "relay/front.h"
#include "relay/hot.h"
#include "relay/link.h"
#include "relay/log.h"
#include "relay/options.h"
#include "relay/pool.h"
#include "relay/query.h"
#include "relay/request.h"
#include "relay/session.h"
#include "relay/session_impl.h"
#include "relay/upstream.h"

/* Error codes of the connection level, as the reference server gives them. */
enum {
	ERR_BAD_SYNTAX = 103,
	ERR_BAD_SESSION_IDENT = 106,
	ERR_SESSION_IDENT_REUSED = 107,
	ERR_BOUND_IN_OTHER_SESSION = 108,
	ERR_BAD_MESSAGE_ORDER = 109,
};

/* ---- BIND ---- */

/* Upstream is not asked while the pool is (session_upstream_opened), so only one of them gives this client an ident (C8).  What it gave
 * is the client's for good: if the link is back by now, upstream is told the session with no need of another. */
static void
pool_answer_cb(void *arg, uint64_t file_ident, uint64_t salt)
{
	struct session *s = arg;
	struct message m = { .type = MSG_S_IDENT, .session_ident = s->client_ident };

	s->asking = NULL;
	if (file_ident != 0) {
		m.s_ident = (struct msg_s_ident){ file_ident, salt };
		s->state = SESSION_BOUND;
		conn_send(s->conn, &m, (struct view){ NULL, 0 });
		log_event(LOG_INFO, "ident_given", "conn=%llu file_ident=%llu", (unsigned long long)conn_id(s->conn),
			  (unsigned long long)file_ident);
	}
	if (conn_upstream(s->conn) != NULL)
		session_upstream_opened(s);
}

/* A first-time client while the link is DOWN: one of the reserved idents, or it waits, which is legal. */
static void
offline_ident(struct session *s)
{
	if (s->state == SESSION_WAIT_IDENT && s->upside == UPSIDE_NONE && s->asking == NULL && link_down(s->link) &&
	    pool_serves(s))
		s->asking = pool_ask(s, false, pool_answer_cb, s);
}

void
session_bind(struct conn *c, const struct message *m, struct view body)
{
	const char *endpoint = conn_endpoint(c);
	struct session *s;
	size_t path_len = (size_t)m->bind.path_size;

	if (session_find(c, m->session_ident) != NULL) {
		conn_protocol_error(c, ERR_SESSION_IDENT_REUSED, "Overlapping reuse of session identifier (BIND)");
		return;
	}
	if (memchr(body.ptr, 0, path_len) != NULL) {
		conn_protocol_error(c, ERR_BAD_SYNTAX, "Bad syntax in path (BIND)");
		return;
	}
	s = session_new(conn_link(c), conn_front(c)->opt, endpoint, (struct view){ body.ptr, path_len });
	s->conn = c;
	s->client_ident = m->session_ident;
	s->flavour = conn_flavour(c);
	conn_token_told(s->conn, (struct view){ body.ptr + path_len, (size_t)m->bind.token_size });
	session_take_token(s, (struct view){ body.ptr + path_len, (size_t)m->bind.token_size });
	s->is_subserver = m->bind.is_subserver != 0;
	s->state = m->bind.need_client_file_ident != 0 ? SESSION_WAIT_IDENT : SESSION_BOUND;
	TAILQ_INSERT_TAIL(conn_sessions(c), s, in_conn);
	if (conn_upstream(c) != NULL)
		session_upstream_opened(s);
	else
		offline_ident(s);
}

/* ---- IDENT ---- */

/* The older session of the same file must end before this one may identify itself (design section 2, S2). */
static void
supersede(struct session *old, struct session *s)
{
	struct session *middle;

	if (old->conn == s->conn && old->state != SESSION_UNBINDING) {
		conn_protocol_error(s->conn, ERR_BOUND_IN_OTHER_SESSION, "Client file bound in other session (IDENT)");
		return;
	}
	middle = old->successor;
	old->successor = s;
	s->waits_for = old;
	if (middle != NULL) { /* the one between never gets anywhere */
		middle->waits_for = NULL;
		conn_abort(middle->conn, "superseded");
	}
	if (old->ended)
		return; /* with its connection; s goes on already */
	if (old->conn != NULL && old->conn != s->conn) {
		conn_abort(old->conn, "superseded");
	} else if (old->upstream != NULL && upstream_is_orphan(old->upstream)) {
		upstream_close(old->upstream, false, "superseded");
	} else if (old->upside == UPSIDE_NONE) {
		session_end(old);
	} else {
		session_unbind_upstream(old);
	}
}

static void
session_ident(struct session *s, const struct message *m, struct view query)
{
	struct session *old;

	if (s->state != SESSION_BOUND) {
		conn_protocol_error(s->conn, ERR_BAD_MESSAGE_ORDER, "Bad message order (IDENT)");
		return;
	}
	if (conn_held(s->conn) + query.len > conn_front(s->conn)->opt->max_queued_connection) {
		conn_overfull(s->conn, "more than max_queued_connection is held for this client");
		return;
	}
	if (query.len > 0) {
		s->query = malloc(query.len);
		if (s->query == NULL) {
			conn_overfull(s->conn, "out of memory");
			return;
		}
		memcpy(s->query, query.ptr, query.len);
	}
	s->ident = m->c_ident;
	s->state = SESSION_OPENING;
	conn_suspend_open(s->conn);
	old = session_of_same_file(s);
	if (old != NULL)
		supersede(old, s);
	else
		session_open_file(s);
}

/* ---- MARK ---- */

static void
answer_mark(struct session *s)
{
	struct message m = { .type = MSG_S_MARK, .session_ident = s->client_ident };

	m.s_mark.request_ident = s->mark;
	s->mark = 0;
	STAT_INC(s->relay, marks_answered);
	conn_send(s->conn, &m, (struct view){ NULL, 0 });
}

/* A file with a past: the client has a state of its own to work on.  A first-time one waits for its first download, or begins with an
 * empty file (offline_new). */
static bool
has_past(const struct session *s)
{
	return s->file->downloaded || s->ident.latest_server_version > 0 || s->ident.scan_server_version > 0;
}

static void
offline_mark(struct session *s)
{
	const struct options *o = s->opt;

	if (s->mark != 0 && s->state == SESSION_READY && s->upside == UPSIDE_NONE && link_down(s->link) &&
	    s->mark_behind <= s->ident.query_version &&
	    (has_past(s) ? o->offline_mark == OFFLINE_MARK_ANSWER : o->offline_new == OFFLINE_NEW_ADMIT))
		answer_mark(s);
}

static void
session_mark(struct session *s, const struct message *m)
{
	if (m->c_mark.request_ident <= s->mark) {
		conn_protocol_error(s->conn, ERR_BAD_SYNTAX, "Bad request identifier (MARK)");
		return;
	}
	s->mark = m->c_mark.request_ident;
	s->mark_behind = s->query_taken;
	if (session_identified(s) && s->mark_behind <= s->query_sent)
		session_ask_mark(s);
	else
		offline_mark(s);
}

/* ---- UNBIND, the rest ---- */

void
session_tell_unbound(struct session *s)
{
	struct message m = { .type = MSG_S_UNBOUND, .session_ident = s->client_ident };

	conn_send(s->conn, &m, (struct view){ NULL, 0 });
}

static void
session_unbind(struct session *s)
{
	if (s->state == SESSION_ERROR) { /* C8: no UNBOUND after an ERROR; upstream was told when the ERROR came */
		session_end(s);
		return;
	}
	if (s->state == SESSION_UNBINDING) {
		conn_protocol_error(s->conn, ERR_BAD_SESSION_IDENT, "Bad session identifier (UNBIND)");
		return;
	}
	if (s->upside != UPSIDE_NONE && s->upside != UPSIDE_UNBINDING && (s->file == NULL || !file_waiting(s->file))) {
		s->state = SESSION_UNBINDING; /* upstream's own UNBOUND will be passed on */
		request_forget(s);
		session_unbind_upstream(s);
		return;
	}
	session_tell_unbound(s);
	session_client_gone(s, true);
}

void
session_token_changed(struct session *s)
{
	char *old = s->token;

	s->credential_stored = false;
	if (s->token_len == 0)
		return;
	s->token = NULL;
	session_take_token(s, (struct view){ (const uint8_t *)old, s->token_len });
	relay_wipe(old);
}

/* The token is for whoever binds the file next, upstream now or the relay later. */
static void
session_refresh(struct session *s, const struct message *m, struct view body)
{
	struct message real = *m;

	conn_token_told(s->conn, body);
	session_take_token(s, body);
	s->credential_stored = false;
	real.refresh.token_size = s->token_len; /* of upstream's, if the client's is one of the relay's own */
	if (s->upside != UPSIDE_NONE && s->upside != UPSIDE_UNBINDING)
		session_forward(s, &real, (struct view){ (const uint8_t *)s->token, s->token_len });
}

/* The client could not integrate a DOWNLOAD. */
static void
session_json_error(struct session *s, const struct message *m, struct view body)
{
	STAT_INC(s->relay, client_errors);
	log_event(LOG_WARN, "client_error", "conn=%llu session=%llu file_ident=%llu code=%llu", (unsigned long long)conn_id(s->conn),
		  (unsigned long long)s->client_ident, (unsigned long long)s->ident.file_ident,
		  (unsigned long long)m->json_error.error_code);
	if (s->upside != UPSIDE_NONE && s->upside != UPSIDE_UNBINDING)
		session_forward(s, m, body);
}

/* UPLOAD, MARK, TRANSACT, QUERY and ALLOC need an identified session; the others only a bound one. */
static bool
needs_ident(enum msg_type type)
{
	return type == MSG_C_UPLOAD || type == MSG_C_MARK || type == MSG_C_TRANSACT || type == MSG_C_QUERY ||
	       type == MSG_C_ALLOC;
}

void
session_client_message(struct session *s, const struct message *m, struct view body)
{
	soon(s->file);
	soon(s->upstream);
	if (m->type == MSG_C_UNBIND) {
		session_unbind(s);
		return;
	}
	if (s->state == SESSION_ERROR) /* crossed with the ERROR on the way: ignored, as a server does */
		return;
	if (s->state == SESSION_UNBINDING) {
		conn_protocol_error(s->conn, ERR_BAD_SESSION_IDENT, "Bad session identifier");
		return;
	}
	if (needs_ident(m->type) && s->state != SESSION_READY) {
		conn_protocol_error(s->conn, ERR_BAD_MESSAGE_ORDER, "Bad message order");
		return;
	}
	switch (m->type) {
	case MSG_C_IDENT:
		session_ident(s, m, body);
		break;
	case MSG_C_UPLOAD:
		session_upload(s, m, body);
		break;
	case MSG_C_MARK:
		session_mark(s, m);
		break;
	case MSG_C_QUERY:
		query_take(s, m, body);
		break;
	case MSG_C_REFRESH:
		session_refresh(s, m, body);
		break;
	case MSG_C_JSON_ERROR:
		session_json_error(s, m, body);
		break;
	default:
		request_take(s, m, body);
		break;
	}
}

void
session_offline(struct session *s)
{
	offline_mark(s);
	offline_ident(s);
	request_kick(s);
}
