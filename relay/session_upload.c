/* The uploads of a session: where each goes, and what of them the client is told (ack = relay).
 *
 *   UPLOAD --> session_upload --LIVE--> forwarded, and kept until upstream acknowledges it (file.h)
 *                  |--else--> the file's tail and disk; replay.c sends it later
 *                  +--no room, set aside--> refused: not taken, no later one either, and the client is closed when it can be (session_room)
 *
 * Never: reads the disk, or decides what upstream's acknowledgement means (session_upstream.c). */
#include "relay/absent.h"
#include "relay/clock.h"
#include "relay/conn.h"
#include "relay/log.h"
#include "relay/options.h"
#include "relay/replay.h"
#include "relay/session.h"
#include "relay/upstream.h"

/* Error codes of the connection level, as the reference server gives them. */
enum {
	ERR_BAD_DECOMPRESSION = 110,
	ERR_BAD_CHANGESET_HEADER = 111,
};

static unsigned
upload_error(enum proto_err err)
{
	switch (err) {
	case PROTO_Z_CORRUPT:
	case PROTO_Z_SIZE:
		return ERR_BAD_DECOMPRESSION;
	default:
		return ERR_BAD_CHANGESET_HEADER;
	}
}

/* Whether the entries of u are to be kept here.  False with *refuse set: they can be neither stored nor forwarded. */
static bool
may_store(const struct session *s, const struct upload *u, bool live, bool *refuse)
{
	bool room = relay_room_for(s->relay, s->file, u->len);

	*refuse = (!live && (s->file->aside || s->file->gap || !room)) || file_owes(s->file);
	return !s->file->aside && !s->file->gap && room && u->last.client_version > s->file->upstream.client_version;
}

/* LIVE, but upstream takes bytes more slowly than the client sends them: the client waits a little, and if that does not help, it goes by way
 * of the disk from here on, so that the client can be read (its PINGs share the stream) while memory stays bounded (I6).  What is aside may
 * not be stored: it is read all the same, as far as max_queued_connection goes (session_upload). */
static bool
still_live(struct session *s, const struct upload *u)
{
	if (s->upside == UPSIDE_LIVE && !file_offer(s->file, u->progress_client_version))
		s->upside = UPSIDE_REPLAY;
	if (s->upside == UPSIDE_LIVE && upstream_queued(s->upstream) > s->opt->out_high) {
		if (!upstream_is_slow(s->upstream))
			upstream_hold_client(s->upstream);
		else if (!s->file->aside)
			s->upside = UPSIDE_REPLAY;
	}
	return s->upside == UPSIDE_LIVE && !s->no_replay;
}

void
session_refuse(struct session *s, size_t len)
{
	if (!s->refused)
		log_event(LOG_WARN, "upload_refused", "conn=%llu file_ident=%llu", (unsigned long long)conn_id(s->conn),
			  (unsigned long long)s->ident.file_ident);
	s->refused_len = s->refused ? s->refused_len : len;
	s->relay->nrefused += !s->refused;
	s->refused = true;
	quota_refused(s->file, len);
	STAT_INC(s->relay, uploads_refused);
}

void
session_upload(struct session *s, const struct message *m, struct view body)
{
	struct upload *u;
	const struct options *o = s->opt;
	uint8_t *whole;
	enum proto_err err;
	bool live, store, refuse, again;

	if (s->file->aside && conn_held(s->conn) > o->max_queued_connection) {
		conn_overfull(s->conn, "more than max_queued_connection is held for this client");
		return;
	}
	if (s->upside == UPSIDE_LIVE)
		upstream_soon(s->upstream);
	whole = m->upload.is_compressed ? NULL : conn_take_whole(s->conn); /* a compressed one is forwarded from there */
	err = upload_parse(m, body, whole, o->max_inflated, o->max_ratio, clock_wall_ms(), &u);
	if (err == PROTO_Z_MEMORY || err == PROTO_MSG_LIMIT) { /* ours, not the client's: never a fatal error (design section 2) */
		conn_close(s->conn, proto_strerror(err));
		return;
	}
	if (err != PROTO_OK) {
		conn_protocol_error(s->conn, upload_error(err), proto_strerror(err));
		return;
	}
	live = still_live(s, u);
	store = may_store(s, u, live, &refuse);
	if (s->refused || (refuse && (u->nentry > 0 || file_owes(s->file)))) {
		session_refuse(s, u->len);
		upload_unref(u);
		return;
	}
	STAT_ADD(s->relay, uploads_in, u->nentry);
	STAT_ADD(s->relay, uploads_in_bytes, u->len);
	file_note_progress(s->file, u);
	again = u->first.client_version <= s->file->held.client_version;
	if (store && u->nentry > 0)
		file_take(s->file, upload_ref(u), !live || again || s->file->ack == STORE_ACK_RELAY);
	else if (live && u->last.client_version > s->file->upstream.client_version)
		file_skip(s->file, u);
	if (live)
		replay_forward(s, u, m, body);
	else
		replay_kick(s);
	upload_unref(u);
}

/* ---- what became of them ---- */

void
session_room(struct session *s)
{
	bool room = !s->file->aside && relay_has_room(s->relay) && quota_has_room(s->file) && relay_room_for(s->relay, s->file, s->refused_len);

	if (s->refused && s->conn != NULL && !file_owes(s->file) && ((s->upside == UPSIDE_LIVE && !s->no_replay) || room))
		conn_close(s->conn, "an upload was not taken while the buffer was full");
}

void
session_stored(struct session *s)
{
	s->may_show = true;
	absents_stored(s);
	session_owe_show(s);
	replay_kick(s);
}

void
session_differs(struct session *s, const char *text)
{
	file_set_state(s->file, STORE_FILE_DIFFERS, 0, text);
	s->file->aside = true;
	conn_close(s->conn, text);
}

void
session_store_failed(struct session *s, enum store_err err)
{
	if (s->conn == NULL)
		return;
	if (err == STORE_DIFFERS) {
		conn_close(s->conn, "a changeset was sent again with other bytes");
	} else if (err == STORE_CORRUPT) {
		conn_close(s->conn, "what the buffer has of the file is damaged");
	} else if (s->upside != UPSIDE_LIVE) {
		s->relay->nrefused += !s->refused;
		s->refused = true; /* nothing was acknowledged; the client uploads again when there is room */
		STAT_INC(s->relay, uploads_refused);
	}
}

/* ---- ack = relay ---- */

void
session_owe_show(struct session *s)
{
	if (s->on_to_show || s->conn == NULL || s->file == NULL || !s->may_show)
		return;
	if (s->file->ack != STORE_ACK_RELAY || s->file->shown.client_version <= s->told)
		return;
	s->on_to_show = true;
	TAILQ_INSERT_TAIL(&s->relay->to_show, s, in_to_show);
}

static void
show(struct session *s)
{
	const struct file *f = s->file;
	const struct cursors *k = &f->cursors;
	struct message m = { .type = MSG_S_DOWNLOAD, .flavour = s->flavour, .session_ident = s->client_ident };

	if (f->shown.client_version <= s->told)
		return; /* upstream was faster */
	if (f->shown.client_version < k->download_client_version || f->shown.server_version > k->download_server_version)
		return; /* C4 could not hold: a restored device; upstream will tell it */
	m.download = (struct msg_download){ .download_server_version = k->download_server_version,
		.download_client_version = k->download_client_version,
		.latest_server_version = k->latest_server_version,
		.latest_server_version_salt = k->latest_server_version_salt,
		.upload_client_version = f->shown.client_version,
		.upload_server_version = f->shown.server_version,
		.query_version = s->ident.query_version,
		.batch_state = 2,		  /* steady */
		.progress_estimate = view_of("1") }; /* it takes nothing away from what was downloaded */
	s->told = f->shown.client_version;
	STAT_INC(s->relay, uploads_shown);
	conn_send(s->conn, &m, (struct view){ NULL, 0 });
}

int64_t
session_show_pass(struct relay *relay, uint64_t now_ms)
{
	struct session *s, *next;
	int64_t wait = -1, left;

	for (s = TAILQ_FIRST(&relay->to_show); s != NULL; s = next) {
		next = TAILQ_NEXT(s, in_to_show);
		if (s->conn != NULL && (conn_is_streaming(s->conn) || s->in_bootstrap))
			continue; /* a DOWNLOAD is on its way whose cursors count only when it is complete (C3) */
		left = (int64_t)(s->shown_at + relay->opt->linger_ms) - (int64_t)now_ms;
		if (s->shown_at != 0 && left > 0) {
			wait = wait < 0 || left < wait ? left : wait;
			continue;
		}
		TAILQ_REMOVE(&relay->to_show, s, in_to_show);
		s->on_to_show = false;
		s->shown_at = now_ms;
		if (s->conn != NULL && s->file != NULL && s->state == SESSION_READY)
			show(s);
	}
	return wait;
}
