/* Sessions: their life, their file, and what the link does to them.  What the client says in them is in session_client.c and
 * session_upload.c, what upstream says in session_upstream.c, sending the backlog in replay.c.
 *
 * The one idea: a session may be ended at any moment from anywhere (session_end unhooks it everywhere at once), and the registry has at
 * most one for a client file, so that upstream never sees a file bound twice (S2): whoever comes later waits until the older has ended. */
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "relay/absent.h"
#include "relay/clock.h"
#include "relay/conn.h"
#include "relay/flxbind.h"
#include "relay/link.h"
#include "relay/log.h"
#include "relay/name.h"
#include "relay/pool.h"
#include "relay/query.h"
#include "relay/replay.h"
#include "relay/request.h"
#include "relay/session.h"
#include "relay/session_impl.h"
#include "relay/upstream.h"

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
	d = strcmp(session_key_path(a), session_key_path(b));
	return d != 0 ? d : strcmp(a->endpoint, b->endpoint);
}

struct session *
session_of_same_file(const struct session *s)
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
		free(s->pool_keys);
		name_drop(s->path);
		name_drop(s->endpoint);
		free(s);
	}
}

/* Lets go of the upstream session: UNBIND, and its UNBOUND is awaited before the file may be bound again (S2). */
void
session_unbind_upstream(struct session *s)
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
		session_unbind_upstream(s);
	else
		request_kick(s);
}

struct session *
session_new(struct link *link, const struct options *opt, const char *endpoint, struct view path)
{
	struct session *s = relay_alloc(sizeof(*s));

	s->relay = link->relay;
	s->link = link;
	s->opt = opt;
	s->path = name_take(path.ptr, path.len);
	s->path_len = (uint32_t)path.len;
	s->endpoint = name_take(endpoint, strlen(endpoint));
	STAILQ_INIT(&s->unacked);
	TAILQ_INIT(&s->requests);
	TAILQ_INIT(&s->queries);
	link->relay->nsessions++;
	return s;
}

void
session_user(const struct session *s, uint8_t user[USERID])
{
	struct view token = { NULL, 0 };

	if (s->conn != NULL)
		token = s->token_len > 0 ? (struct view){ (const uint8_t *)s->token, s->token_len } : conn_token(s->conn);
	userid_of_token(token, user);
}

void
session_take_token(struct session *s, struct view token)
{
	if (s->conn != NULL && token.len > 0)
		token = conn_real_token(s->conn, token);
	relay_wipe(s->token);
	s->token = token.len > 0 ? relay_strndup(token.ptr, token.len) : NULL;
	s->token_len = (uint32_t)token.len;
	pool_token_changed(s);
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

size_t
session_held(const struct session *s)
{
	return s->request_bytes + s->query_bytes + (s->query != NULL ? (size_t)s->ident.query_size : 0);
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
		session_unbind_upstream(s);
	if (drain && s->upside != UPSIDE_NONE)
		s->state = SESSION_GHOST;
	else
		session_end(s);
}

void
session_settled(struct session *s)
{
	if (s->state == SESSION_GHOST && session_identified(s))
		session_unbind_upstream(s);
}

/* ---- its file ---- */

/* What an absent client's BIND will have to state. */
static void
note_bind(struct session *s)
{
	char bind[STORE_BIND_MAX + 1];

	if (s->flavour == MSG_FLX && flxbind_lasting((struct view){ (const uint8_t *)s->path, s->path_len }, bind) > 0)
		file_set_bind(s->file, bind);
}

static void
file_opened_cb(void *arg, struct file *f, struct query_list *queries)
{
	struct session *s = arg;

	s->opening = NULL;
	if (f == NULL) {
		conn_close(s->conn, "the buffer cannot be read");
		return;
	}
	s->file = f;
	(void)query_opened(s, queries);
	f->is_subserver = s->is_subserver;
	note_bind(s);
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
absent_opened_cb(void *arg, struct file *f, struct query_list *queries)
{
	struct session *s = arg;

	s->opening = NULL;
	s->file = f;
	s->state = SESSION_GHOST;
	if (f != NULL)
		f->is_subserver = s->is_subserver;
	if (f != NULL && !query_opened(s, queries))
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

	s->flavour = strcmp(id->path, SESSION_FLX_PATH) == 0 ? MSG_FLX : MSG_PBS;
	s->ident.file_ident = id->file_ident;
	s->ident.file_ident_salt = id->file_ident_salt;
	s->is_subserver = id->is_subserver;
	s->state = SESSION_OPENING;
	if (session_of_same_file(s) != NULL) {
		session_end(s);
		return NULL;
	}
	s->absent = a;
	registry_add(s);
	s->opening = file_open(s->relay, s, s->endpoint, session_key_path(s), id->file_ident, id->file_ident_salt, absent_opened_cb, s);
	return s;
}

void
session_open_file(struct session *s)
{
	registry_add(s);
	absents_here(s);
	s->opening = file_open(s->relay, s, s->endpoint, session_key_path(s), s->ident.file_ident, s->ident.file_ident_salt, file_opened_cb, s);
}

void
session_forward(struct session *s, const struct message *m, struct view body)
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
	session_forward(s, &m, (struct view){ NULL, 0 });
}

/* ---- what the link does to a session ---- */

static void
send_bind(struct session *s, struct upstream *u)
{
	struct message m = { .type = MSG_C_BIND };
	size_t len = (size_t)s->path_len + s->token_len;
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
	if (s->token != NULL)
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
	session_take_token(s, token);
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
		file_unanswered(s->file);
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
	session_offline(s);
}

static struct session *
session_of(struct relay *relay, const struct store_file *f)
{
	struct session key = { .relay = relay, .path = f->path, .endpoint = f->endpoint };

	key.ident.file_ident = f->file_ident;
	key.ident.file_ident_salt = f->file_ident_salt;
	return session_of_same_file(&key);
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
