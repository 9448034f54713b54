/* What upstream says in a session, and what of it the client gets.
 *
 * Nothing of upstream's is changed but the session ident, and in a DOWNLOAD the upload pair, which is raised to what the relay
 * acknowledged itself (design section 2).  A DOWNLOAD is streamed: its head decides before its body is here; cursors count as
 * passed on when the last byte was queued to the client.
 *
 * Errors are classified by verdict.h after design section 8; session_error() acts on it. */
#include <string.h>

#include "relay/absent.h"
#include "relay/clock.h"
#include "relay/conn.h"
#include "relay/hot.h"
#include "relay/log.h"
#include "relay/options.h"
#include "relay/pool.h"
#include "relay/query.h"
#include "relay/replay.h"
#include "relay/request.h"
#include "relay/services.h"
#include "relay/session.h"
#include "relay/statecache.h"
#include "relay/upstream.h"
#include "relay/verdict.h"

/* C2, C4, I4: never less than the client was told, never beyond what the DOWNLOAD itself allows. */
static void
raise_upload_pair(struct session *s, struct message *m)
{
	const struct pair *shown = &s->file->shown;
	struct msg_download *d = &m->download;

	if (shown->client_version > d->upload_client_version) {
		m->head = NULL; /* it says something else */
		d->upload_client_version = shown->client_version;
		d->upload_server_version = shown->server_version < d->download_server_version ? shown->server_version
											      : d->download_server_version;
	}
	s->told = max_u64(s->told, d->upload_client_version);
}

enum session_route
session_upstream_head(struct session *s, struct message *m)
{
	bool there = s->conn != NULL && s->state != SESSION_ERROR;

	soon(s->file);
	m->session_ident = s->client_ident;
	switch (m->type) {
	case MSG_S_ERROR:
	case MSG_S_JSON_ERROR:
	case MSG_S_UNBOUND:
	case MSG_S_MARK:
	case MSG_S_IDENT:
		return ROUTE_COLLECT;
	case MSG_S_DOWNLOAD:
		if (!there || !session_identified(s) || s->file == NULL)
			return ROUTE_DROP;
		raise_upload_pair(s, m);
		soon(TAILQ_FIRST(&s->file->tail)); /* acknowledged, likely */
		return ROUTE_STREAM;
	case MSG_S_STATE:
		if (there)
			request_answer(s, m);
		return there ? ROUTE_STREAM : ROUTE_DROP;
	case MSG_S_ALLOC:
		return there && !request_alloc_is_own(s) ? ROUTE_STREAM : ROUTE_DROP;
	default:
		return there ? ROUTE_STREAM : ROUTE_DROP;
	}
}

void
session_upstream_data(struct session *s, const struct message *m, struct view data)
{
	if (m->type == MSG_S_STATE)
		request_answer_data(s, data);
}

/* ---- DOWNLOAD ---- */

/* The first DOWNLOAD of an upstream session tells what upstream holds (S6). */
static void
first_download(struct session *s, struct pair acked)
{
	struct file *f = s->file;

	s->clean = true;
	if (acked.client_version < f->upstream.client_version) {
		session_stop(s, STORE_FILE_RESTORED, 0, "upstream acknowledges less than it did before");
		pool_burn(s->link->pool); /* upstream will give the idents of that time once more */
		return;
	}
	/* It had arrived after all, what was acknowledged here and what is kept: there is nothing left to replay. */
	if (f->state == STORE_FILE_LOST && acked.client_version >= f->shown.client_version &&
	    acked.client_version >= f->stored.client_version) {
		f->aside = false;
		s->no_replay = false;
		file_set_state(f, STORE_FILE_OK, 0, "");
	}
	if (f->state == STORE_FILE_REJECTED || f->state == STORE_FILE_RESTORED)
		file_set_state(f, STORE_FILE_OK, 0, ""); /* upstream takes it again */
}

static void
session_download(struct session *s, const struct message *m, bool passed)
{
	const struct msg_download *d = &m->download;
	struct file *f = s->file;
	struct pair acked = { d->upload_client_version, d->upload_server_version };
	bool first = !s->clean;

	if (!session_identified(s) || f == NULL)
		return;
	if (passed) {
		f->cursors = (struct cursors){ d->download_server_version, d->download_client_version, d->latest_server_version,
			d->latest_server_version_salt };
		f->downloaded = true;
		statecache_latest(s->relay->statecache, s->endpoint, s->path, d->latest_server_version,
				  d->latest_server_version_salt);
		STAT_INC(s->relay, downloads);
	}
	if (m->flavour == MSG_FLX)
		query_downloaded(s, d, passed);
	s->reached = max_u64(s->reached, d->download_server_version);
	if (first) {
		link_served(s->link);
		first_download(s, acked);
		pool_seen(s);
	}
	replay_acked(s, acked.client_version);
	if (f->state == STORE_FILE_OK && f->state_code != 0 && acked.client_version > f->upstream.client_version)
		file_set_state(f, STORE_FILE_OK, 0, ""); /* whatever it was, it goes on (judge_file) */
	file_acked(f, acked);
	if (first) /* behind the trim, which tells a CONFLICT by what was offered before; done by the time of the first live upload */
		(void)file_offer(f, f->held.client_version + 1);
	if (s->upside == UPSIDE_IDENTED)
		s->upside = UPSIDE_REPLAY;
	if (file_take_back(f))
		s->no_replay = false;
	replay_kick(s);
	if (s->refused && s->file == f)
		session_room(s);
}

void
session_offered(struct session *s)
{
	replay_kick(s);
}

/* ---- ERROR ---- */

/* Errors of what is kept of a client: for an absent one, the client's own IDENT will tell. */
static bool
client_knows(uint64_t code)
{
	return code >= 208 && code <= 211;
}

static void
pass(struct session *s, const struct message *m, struct view body)
{
	struct message copy = *m;

	copy.session_ident = s->client_ident;
	conn_send(s->conn, &copy, body);
}

/* UNBIND is the required answer to a session ERROR; nothing more comes for that session ident. */
static void
answer_error(struct session *s)
{
	struct message m = { .type = MSG_C_UNBIND, .session_ident = s->upstream_ident };

	if (s->upside != UPSIDE_UNBINDING)
		upstream_send(s->upstream, &m, (struct view){ NULL, 0 });
	session_leave_upstream(s);
}

/* A client that resets recovers only what it believes not to be uploaded: what the relay alone acknowledged would be lost. */
static bool
hold_back(const struct session *s, const struct verdict_error *e)
{
	return s->opt->on_reset == ON_RESET_HOLD && s->file != NULL && verdict_resets_client(e) &&
	       (file_waiting(s->file) || s->file->aside) && s->file->shown.client_version > s->file->upstream.client_version;
}

/* What an error means for the backlog.  An unknown one is noted in the record (state ok, its code and time), so that its patience outlives
 * sessions and restarts; any progress takes the note away.  A clock that jumps only makes the state be REJECTED early: the backlog is kept,
 * and the next session that upstream accepts ends it. */
static void
judge_file(struct file *f, const struct verdict_error *e, enum verdict v, struct view body)
{
	bool noted = f->state == STORE_FILE_OK && f->state_code == e->code;
	char text[STORE_TEXT_MAX];

	snprintf(text, sizeof(text), "%.*s", (int)(body.len < 200 ? body.len : 200), (const char *)body.ptr);
	if (v == VERDICT_UNKNOWN && noted && clock_wall_ms() - f->state_time_ms >= VERDICT_PATIENCE_MS)
		v = VERDICT_REJECT;
	if (v == VERDICT_REJECT)
		file_set_state(f, STORE_FILE_REJECTED, (unsigned)e->code, text);
	else if (v == VERDICT_UNKNOWN && f->state == STORE_FILE_OK && file_waiting(f))
		file_set_state(f, STORE_FILE_OK, (unsigned)e->code, text);
}

void
session_user_revoked(struct session *s)
{
	if (s->file != NULL && file_waiting(s->file))
		file_set_state(s->file, STORE_FILE_REJECTED, 401, SERVICES_REVOKED);
}

static void
session_error(struct session *s, const struct message *m, struct view body)
{
	bool clean = s->clean, by_relay = s->by_relay, hold;
	const char *lost;
	struct verdict_error e;
	enum verdict v;
	struct log_line l;

	verdict_read(m, body, clean, &e);
	v = verdict_of(&e);
	STAT_INC(s->relay, upstream_errors);
	log_begin(&l, LOG_WARN, "upstream_error");
	log_u64(&l, "conn", s->conn != NULL ? conn_id(s->conn) : 0);
	log_u64(&l, "session", s->client_ident);
	log_u64(&l, "code", e.code);
	log_str(&l, "verdict", verdict_name(v));
	log_view(&l, "text", body);
	log_end(&l);

	if (v == VERDICT_GO_ON) {
		if (s->conn != NULL)
			pass(s, m, body);
		return;
	}
	if (verdict_resets_client(&e) && !clean)
		pool_doubt(s); /* it forgot this file: it may have been wiped */
	hold = hold_back(s, &e);
	if (s->absent != NULL)
		absent_error(s, &e);
	lost = request_upstream_lost(s);
	answer_error(s);
	if (s->file != NULL && (clean || !by_relay) && (s->absent == NULL || !client_knows(e.code)))
		judge_file(s->file, &e, v, body);
	if (s->conn == NULL) {
		session_end(s);
	} else if (hold) {
		s->held_back = true;
		if (lost == NULL && !query_may_resume(s))
			lost = "an error in the middle of a bootstrap";
		if (lost != NULL)
			conn_close(s->conn, lost);
		else
			request_kick(s);
	} else if (by_relay && !clean) { /* not the answer to anything the client did: its own IDENT will tell */
		conn_close(s->conn, "upstream refused to resume the session");
	} else if (s->state == SESSION_UNBINDING) { /* the client's UNBIND crossed it: that was its last word */
		pass(s, m, body);
		session_end(s);
	} else {
		session_stop_opening(s);
		request_forget(s);
		s->state = SESSION_ERROR;
		pass(s, m, body);
	}
}

/* ---- the others ---- */

static void
session_unbound(struct session *s)
{
	bool tell = s->state == SESSION_UNBINDING;

	if (s->upside != UPSIDE_UNBINDING)
		log_event(LOG_WARN, "unbound_unasked", "session=%llu", (unsigned long long)s->client_ident);
	session_leave_upstream(s);
	if (tell || s->state == SESSION_GHOST) {
		if (tell)
			session_tell_unbound(s);
		session_end(s);
	} else {
		conn_close(s->conn, "upstream ended the session");
	}
}

static void
session_got_mark(struct session *s, const struct message *m)
{
	if (s->conn == NULL || s->mark == 0 || m->s_mark.request_ident > s->mark || s->state != SESSION_READY) {
		STAT_INC(s->relay, upstream_ignored); /* answered already, by the relay (C7) */
		return;
	}
	if (m->s_mark.request_ident == s->mark)
		s->mark = 0;
	pass(s, m, (struct view){ NULL, 0 });
}

static void
session_got_ident(struct session *s, const struct message *m)
{
	if (s->conn == NULL || s->state != SESSION_WAIT_IDENT) {
		STAT_INC(s->relay, upstream_ignored); /* C8: once */
		return;
	}
	s->state = SESSION_BOUND;
	pass(s, m, (struct view){ NULL, 0 });
}

void
session_upstream_end(struct session *s, const struct message *m, struct view body, bool passed)
{
	switch (m->type) {
	case MSG_S_DOWNLOAD:
		session_download(s, m, passed);
		break;
	case MSG_S_ERROR:
	case MSG_S_JSON_ERROR:
		session_error(s, m, body);
		break;
	case MSG_S_UNBOUND:
		session_unbound(s);
		break;
	case MSG_S_MARK:
		session_got_mark(s, m);
		break;
	case MSG_S_IDENT:
		session_got_ident(s, m);
		break;
	case MSG_S_QUERY_ERROR:
		query_failed(s, m->query_error.query_version);
		replay_kick(s);
		break;
	default:
		request_answer_end(s, m);
		break;
	}
}
