/* Sessions: their life, and what the client says in them.  Its uploads are in session_upload.c, what upstream says in session_upstream.c,
 * sending the backlog in replay.c.
 *
 * The rule behind every branch here (design section 2): the client's IDENT is the truth about that client and starts a new upstream
 * session; the old one of the same file is ended first (S2).  Whatever cannot be done with certainty ends the client's
 * connection instead, which is always safe. */
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "relay/absent.h"
#include "relay/clock.h"
#include "relay/front.h"
#include "relay/conn.h"
#include "relay/link.h"
#include "relay/log.h"
#include "relay/pool.h"
#include "relay/query.h"
#include "relay/replay.h"
#include "relay/request.h"
#include "relay/session.h"
#include "relay/upstream.h"

/* Error codes of the connection level, as the reference server gives them. */
enum {
	ERR_UNKNOWN_MESSAGE = 102,
	ERR_BAD_SYNTAX = 103,
	ERR_BAD_SESSION_IDENT = 106,
	ERR_SESSION_IDENT_REUSED = 107,
	ERR_BOUND_IN_OTHER_SESSION = 108,
	ERR_BAD_MESSAGE_ORDER = 109,
};

/* ---- registry: at most one session per client file ---- */

static int
identity_cmp(const void *pa, const void *pb)
{
	const struct session *a = pa, *b = pb;
	int d;

	if (a->ident.file_ident != b->ident.file_ident)
		return a->ident.file_ident < b->ident.file_ident ? -1 : 1;
	if (a->ident.file_ident_salt != b->ident.file_ident_salt)
		return a->ident.file_ident_salt < b->ident.file_ident_salt ? -1 : 1;
	d = strcmp(a->key_path, b->key_path);
	return d != 0 ? d : strcmp(a->endpoint, b->endpoint);
}

static struct session *
registry_find(const struct session *s)
{
	struct session *const *found = tfind(s, &s->relay->registry, identity_cmp);

	return found == NULL ? NULL : *found;
}

static void
registry_add(struct session *s)
{
	if (tsearch(s, &s->relay->registry, identity_cmp) == NULL)
		log_fatal("out_of_memory", "bytes=0");
	s->registered = true;
}

static void
registry_remove(struct session *s)
{
	if (s->registered)
		tdelete(s, &s->relay->registry, identity_cmp);
	s->registered = false;
}

/* ---- life ---- */

struct session *
session_find(struct conn *c, uint64_t client_ident)
{
	struct session *s;

	TAILQ_FOREACH (s, conn_sessions(c), in_conn)
		if (s->client_ident == client_ident)
			return s;
	return NULL;
}

static void session_open_file(struct session *s);

void
session_leave_upstream(struct session *s)
{
	if (s->upstream != NULL) {
		upstream_drop(s->upstream, s);
		if (s->file != NULL)
			file_offer_end(s->file);
	}
	s->upstream = NULL;
	s->upstream_ident = 0;
	s->upside = UPSIDE_NONE;
	s->by_relay = s->clean = false;
	s->generation++;
	replay_reset(s);
}

void
session_stop_opening(struct session *s)
{
	if (s->state == SESSION_OPENING && s->conn != NULL)
		conn_resume_open(s->conn);
	file_open_cancel(s->opening);
	s->opening = NULL;
	pool_cancel(s->asking);
	s->asking = NULL;
	if (s->waits_for != NULL)
		s->waits_for->successor = NULL;
	s->waits_for = NULL;
}

static void
leave_conn(struct session *s)
{
	session_stop_opening(s);
	request_forget(s);
	if (s->conn != NULL)
		TAILQ_REMOVE(conn_sessions(s->conn), s, in_conn);
	s->conn = NULL;
}

/* Unhooks s from everything at once; the memory goes at the end of the pass, so callers further up may still look at s
 * (its upside is NONE, its conn and file are NULL). */
void
session_end(struct session *s)
{
	struct session *next = s->successor;

	if (s->ended)
		return;
	s->ended = true;
	if (s->absent != NULL)
		absent_ended(s);
	leave_conn(s);
	session_leave_upstream(s);
	registry_remove(s);
	if (s->on_to_show)
		TAILQ_REMOVE(&s->relay->to_show, s, in_to_show);
	if (s->file != NULL)
		file_detach(s->file);
	s->file = NULL;
	query_forget(s);
	s->relay->nsessions--;
	s->relay->nrefused -= s->refused;
	TAILQ_INSERT_TAIL(&s->relay->ended_sessions, s, in_to_show);
	if (next != NULL) {
		next->waits_for = NULL;
		session_open_file(next);
	}
}

void
session_free_ended(struct relay *relay)
{
	struct session *s;

	while ((s = TAILQ_FIRST(&relay->ended_sessions)) != NULL) {
		TAILQ_REMOVE(&relay->ended_sessions, s, in_to_show);
		relay_wipe(s->token);
		free(s->query);
		free(s->path);
		free(s->endpoint);
		free(s);
	}
}

/* Lets go of the upstream session: UNBIND, and its UNBOUND is awaited before the file may be bound again (S2). */
static void
unbind_upstream(struct session *s)
{
	struct message m = { .type = MSG_C_UNBIND, .session_ident = s->upstream_ident };

	if (s->upside == UPSIDE_NONE || s->upside == UPSIDE_UNBINDING)
		return;
	upstream_send(s->upstream, &m, (struct view){ NULL, 0 });
	s->upside = UPSIDE_UNBINDING;
	s->unbinding_since = clock_ms();
	s->generation++;
}

void
session_stop(struct session *s, enum store_file_state state, unsigned code, const char *text)
{
	file_set_state(s->file, state, code, text);
	log_event(LOG_WARN, "file_stopped", "conn=%llu file_ident=%llu state=%d code=%u",
		  (unsigned long long)(s->conn != NULL ? conn_id(s->conn) : 0), (unsigned long long)s->ident.file_ident, (int)state,
		  code);
	s->no_replay = true;
	if (s->state == SESSION_GHOST)
		unbind_upstream(s);
	else
		request_kick(s);
}

static struct session *
session_new(struct link *link, const struct options *opt, const char *endpoint, struct view path)
{
	struct session *s = relay_alloc(sizeof(*s));

	s->relay = link->relay;
	s->link = link;
	s->opt = opt;
	s->path = relay_strndup(path.ptr, path.len);
	s->path_len = path.len;
	s->endpoint = relay_strndup(endpoint, strlen(endpoint));
	STAILQ_INIT(&s->unacked);
	s->key_path = s->path;
	TAILQ_INIT(&s->requests);
	TAILQ_INIT(&s->queries);
	s->relay->nsessions++;
	return s;
}

static void
set_flavour(struct session *s, enum msg_flavour flavour)
{
	s->flavour = flavour;
	s->key_path = flavour == MSG_FLX ? SESSION_FLX_PATH : s->path;
}

static void
take_token(struct session *s, struct view token)
{
	relay_wipe(s->token);
	s->token = relay_strndup(token.ptr, token.len);
	s->token_len = token.len;
	s->pool_keyed = false;
}

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
		s->asking = pool_ask(s, pool_answer_cb, s);
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
	set_flavour(s, conn_flavour(c));
	take_token(s, (struct view){ body.ptr + path_len, (size_t)m->bind.token_size });
	s->need_client_file_ident = m->bind.need_client_file_ident != 0;
	s->is_subserver = m->bind.is_subserver != 0;
	s->state = s->need_client_file_ident ? SESSION_WAIT_IDENT : SESSION_BOUND;
	TAILQ_INSERT_TAIL(conn_sessions(c), s, in_conn);
	if (conn_upstream(c) != NULL)
		session_upstream_opened(s);
	else
		offline_ident(s);
}

bool
session_identified(const struct session *s)
{
	return s->upside == UPSIDE_IDENTED || s->upside == UPSIDE_REPLAY || s->upside == UPSIDE_LIVE;
}

const char *
session_state_name(enum session_state state)
{
	static const char *const names[] = { "wait_ident", "bound", "opening", "ready", "error", "unbinding", "ghost" };

	return names[state];
}

const char *
session_upside_name(enum session_upside upside)
{
	static const char *const names[] = { "none", "bound", "identified", "replay", "live", "unbinding" };

	return names[upside];
}

bool
session_drains(const struct session *s)
{
	return s->state == SESSION_READY && session_identified(s) && !s->no_replay && file_waiting(s->file);
}

void
session_client_gone(struct session *s, bool drain)
{
	bool drains = drain && session_drains(s);

	absents_left(s);
	leave_conn(s);
	if (drains)
		file_post(s->file);
	else if (drain)
		unbind_upstream(s);
	if (drain && s->upside != UPSIDE_NONE)
		s->state = SESSION_GHOST;
	else
		session_end(s);
}

void
session_settled(struct session *s)
{
	if (s->state == SESSION_GHOST && session_identified(s))
		unbind_upstream(s);
}

/* ---- the client's IDENT ---- */

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
		unbind_upstream(old);
	}
}

static void
file_opened_cb(void *arg, struct file *f)
{
	struct session *s = arg;

	s->opening = NULL;
	if (f == NULL) {
		conn_close(s->conn, "the buffer cannot be read");
		return;
	}
	s->file = f;
	(void)query_opened(s);
	f->is_subserver = s->is_subserver;
	f->cursors = (struct cursors){ s->ident.scan_server_version, s->ident.scan_client_version, s->ident.latest_server_version,
		s->ident.latest_server_version_salt };
	if (s->ident.scan_server_version > f->locked_server_version)
		f->locked_server_version = s->ident.scan_server_version; /* what the client would state now (its download progress) */
	if (f->state != STORE_FILE_OK)
		log_event(LOG_WARN, "file_state", "conn=%llu file_ident=%llu state=%d code=%u", (unsigned long long)conn_id(s->conn),
			  (unsigned long long)f->file_ident, (int)f->state, f->state_code);
	/* Live uploads would carry the progress past records that only the relay has acknowledged: an operator decides first. */
	s->no_replay = file_owes(f);
	s->state = SESSION_READY;
	if (conn_upstream(s->conn) != NULL)
		session_identify(s, false);
	conn_resume_open(s->conn);
}

/* The cursors stay as they were kept: they are what the client stated last. */
static void
absent_opened_cb(void *arg, struct file *f)
{
	struct session *s = arg;

	s->opening = NULL;
	s->file = f;
	s->state = SESSION_GHOST;
	if (f != NULL)
		f->is_subserver = s->is_subserver;
	if (f != NULL && !query_opened(s))
		absent_waits(s);
	else if (f != NULL && f->state == STORE_FILE_OK && file_waiting(f))
		absent_file_read(s);
	else
		session_end(s);
}

struct session *
session_open_absent(struct link *link, struct absent *a, const struct session_identity *id)
{
	struct session *s = session_new(link, link->opt, id->endpoint, view_of(id->bind_path));

	set_flavour(s, strcmp(id->path, SESSION_FLX_PATH) == 0 ? MSG_FLX : MSG_PBS);
	s->ident.file_ident = id->file_ident;
	s->ident.file_ident_salt = id->file_ident_salt;
	s->is_subserver = id->is_subserver;
	s->state = SESSION_OPENING;
	if (registry_find(s) != NULL) {
		session_end(s);
		return NULL;
	}
	s->absent = a;
	registry_add(s);
	s->opening = file_open(s->relay, s, s->endpoint, s->key_path, id->file_ident, id->file_ident_salt, absent_opened_cb, s);
	return s;
}

static void
session_open_file(struct session *s)
{
	registry_add(s);
	absents_here(s);
	s->opening = file_open(s->relay, s, s->endpoint, s->key_path, s->ident.file_ident, s->ident.file_ident_salt, file_opened_cb, s);
}

static void
session_ident(struct session *s, const struct message *m, struct view query)
{
	struct session *old;

	if (s->state != SESSION_BOUND) {
		conn_protocol_error(s->conn, ERR_BAD_MESSAGE_ORDER, "Bad message order (IDENT)");
		return;
	}
	s->ident = m->c_ident;
	s->query = relay_strndup(query.ptr, query.len);
	s->state = SESSION_OPENING;
	conn_suspend_open(s->conn);
	old = registry_find(s);
	if (old != NULL)
		supersede(old, s);
	else
		session_open_file(s);
}

/* ---- MARK, UNBIND, the rest ---- */

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
forward(struct session *s, const struct message *m, struct view body)
{
	struct message copy = *m;

	copy.session_ident = s->upstream_ident;
	upstream_send(s->upstream, &copy, body);
}

void
session_ask_mark(struct session *s)
{
	struct message m = { .type = MSG_C_MARK };

	m.c_mark.request_ident = s->mark;
	forward(s, &m, (struct view){ NULL, 0 });
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
		unbind_upstream(s);
		return;
	}
	session_tell_unbound(s);
	session_client_gone(s, true);
}

/* The token is for whoever binds the file next, upstream now or the relay later. */
static void
session_refresh(struct session *s, const struct message *m, struct view body)
{
	take_token(s, body);
	s->credential_stored = false;
	if (s->upside != UPSIDE_NONE && s->upside != UPSIDE_UNBINDING)
		forward(s, m, body);
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
		forward(s, m, body);
}

/* UPLOAD, MARK, TRANSACT and QUERY need an identified session; the others only a bound one. */
static bool
needs_ident(enum msg_type type)
{
	return type == MSG_C_UPLOAD || type == MSG_C_MARK || type == MSG_C_TRANSACT || type == MSG_C_QUERY;
}

void
session_client_message(struct session *s, const struct message *m, struct view body)
{
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

/* ---- what the link does to a session ---- */

static void
send_bind(struct session *s, struct upstream *u)
{
	struct message m = { .type = MSG_C_BIND };
	size_t len = s->path_len + s->token_len;
	uint8_t *body = relay_alloc(len);

	s->upstream = u;
	s->upstream_ident = upstream_enter(u, s);
	s->upside = UPSIDE_BOUND;
	m.session_ident = s->upstream_ident;
	m.bind = (struct msg_bind){ .path_size = s->path_len,
		.token_size = s->token_len,
		.need_client_file_ident = s->state == SESSION_WAIT_IDENT,
		.is_subserver = s->is_subserver };
	memcpy(body, s->path, s->path_len);
	memcpy(body + s->path_len, s->token, s->token_len);
	upstream_send(u, &m, (struct view){ body, len });
	explicit_bzero(body, len);
	free(body);
}

void
session_upstream_opened(struct session *s)
{
	if (s->state == SESSION_ERROR || s->state == SESSION_UNBINDING || s->held_back || s->asking != NULL)
		return;
	send_bind(s, conn_upstream(s->conn));
	if (s->state == SESSION_READY)
		session_identify(s, true);
	else
		request_kick(s);
}

void
session_bind_absent(struct session *s, struct upstream *u, struct view token)
{
	take_token(s, token);
	send_bind(s, u);
	session_identify(s, true);
}

void
session_identify(struct session *s, bool by_relay)
{
	const struct cursors *k = &s->file->cursors;
	struct message m = { .type = MSG_C_IDENT, .flavour = s->flavour, .session_ident = s->upstream_ident };

	m.c_ident = s->ident;
	m.c_ident.scan_server_version = k->download_server_version;
	m.c_ident.scan_client_version = k->download_client_version;
	m.c_ident.latest_server_version = k->latest_server_version;
	m.c_ident.latest_server_version_salt = k->latest_server_version_salt;
	upstream_send(s->upstream, &m, (struct view){ (uint8_t *)s->query, (size_t)s->ident.query_size });
	s->by_relay = by_relay;
	s->reached = k->download_server_version;
	s->query_sent = s->ident.query_version;
	s->query_awaited = false;
	s->upside = file_waiting(s->file) || query_next(s) != NULL ? UPSIDE_IDENTED : UPSIDE_LIVE;
	if (s->mark != 0 && s->mark_behind <= s->query_sent) /* unanswered: ask again; behind a query, query_send will */
		session_ask_mark(s);
	request_kick(s);
}

void
session_upstream_lost(struct session *s)
{
	const char *why = request_upstream_lost(s);

	if (s->absent != NULL)
		absent_cut(s);
	else if (s->conn != NULL)
		absents_client_cut(s->link->absents);
	session_leave_upstream(s);
	switch (s->state) {
	case SESSION_UNBINDING:
		session_tell_unbound(s);
		session_end(s);
		return;
	case SESSION_GHOST:
		session_end(s);
		return;
	case SESSION_READY:
		file_post(s->file); /* no linger while nobody can acknowledge */
		if (s->file->gap) {
			conn_close(s->conn, "an upload could not be stored");
			return;
		}
		session_owe_show(s);
		break;
	case SESSION_WAIT_IDENT:
	case SESSION_BOUND:
	case SESSION_OPENING:
	case SESSION_ERROR:
		break;
	}
	if (why != NULL)
		conn_close(s->conn, why);
	else
		session_link_down(s);
}

void
session_link_down(struct session *s)
{
	if (s->conn == NULL)
		return;
	offline_mark(s);
	offline_ident(s);
	request_kick(s);
}

static struct session *
session_of(struct relay *relay, const struct store_file *f)
{
	struct session key = { .relay = relay, .key_path = f->path, .endpoint = (char *)(uintptr_t)f->endpoint };

	key.ident.file_ident = f->file_ident;
	key.ident.file_ident_salt = f->file_ident_salt;
	return registry_find(&key);
}

bool
session_has_open(struct relay *relay, const struct store_file *f)
{
	return session_of(relay, f) != NULL;
}

void
session_start_anew(struct relay *relay, const struct store_file *f)
{
	struct session *s = session_of(relay, f);

	if (s == NULL)
		return;
	if (s->conn != NULL)
		conn_abort(s->conn, "an operator changed what is kept of its file");
	else if (s->absent == NULL && s->upstream != NULL && upstream_is_orphan(s->upstream))
		upstream_close(s->upstream, false, "an operator changed what is kept of its file");
	else
		session_end(s);
}

void
session_batch(struct session *s, struct spool_op *op)
{
	replay_batch(s, op);
}
