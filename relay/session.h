/* A session: one Realm file bound on one client connection, joined to at most one upstream session at a time.
 *
 * Two sides, two states.  The client's side (enum session_state):
 *
 *   WAIT_IDENT --upstream's IDENT, or link DOWN: one of the pool's--> BOUND --client's IDENT--> OPENING --file read--> READY
 *   READY --UNBIND--> UNBINDING (UNBIND passed on; UNBOUND awaited) or GHOST (UNBOUND told; the backlog still drains) --> freed
 *   any --session ERROR passed on--> ERROR --UNBIND--> freed
 *   any --client gone--> GHOST or freed
 *
 * Upstream's side (enum session_upside):
 *
 *   NONE --BIND--> BOUND --IDENT, something waits here--> IDENTED --first DOWNLOAD--> REPLAY --nothing older left--> LIVE
 *                    \--------IDENT, nothing waits--------------------------------------------------------------^
 *   LIVE --upstream slower than the client--> REPLAY       (uploads go by way of the disk until it is drained)
 *   any --UNBIND--> UNBINDING --UNBOUND--> NONE;   any --connection lost or session ERROR--> NONE
 *
 *   - IDENTED: the first DOWNLOAD tells what upstream holds (S6); nothing is uploaded before.
 *   - REPLAY: I3, nothing overtakes a backlog: the client's uploads join it.
 *   - LIVE: uploads are forwarded as they come, unchanged but for the session ident. */
#ifndef RELAY_SESSION_H
#define RELAY_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "protocol/message.h"

#include "buffer/store.h"

#include "relay/file.h"
#include "relay/query.h"
#include "relay/relay.h"
#include "relay/userid.h"

struct absent;
struct pool_ask;
struct pool_keys;
struct request;
struct spool_op;
struct turn;

TAILQ_HEAD(request_list, request);

enum session_state {
	SESSION_WAIT_IDENT,
	SESSION_BOUND,
	SESSION_OPENING,
	SESSION_READY,
	SESSION_ERROR,
	SESSION_UNBINDING,
	SESSION_GHOST,
};

enum session_upside {
	UPSIDE_NONE,
	UPSIDE_BOUND,
	UPSIDE_IDENTED,
	UPSIDE_REPLAY,
	UPSIDE_LIVE,
	UPSIDE_UNBINDING,
};

/* The path of a flexible sync BIND is a JSON object (schema version, reason of the session ...) that changes from bind to bind, so it
 * names no file: there the endpoint, the file ident and its salt do, and this stands in for the path.  No server path begins so. */
#define SESSION_FLX_PATH "{}"

struct sent_batch { /* replayed and not yet acknowledged */
	STAILQ_ENTRY(sent_batch) link;
	uint64_t last_client_version;
	size_t bytes;
};

struct session {
	/* what each message touches, side by side: the processor fetches 64 bytes at a time, and with many sessions from far away */
	struct relay *relay;
	struct link *link;	   /* the way to its upstream */
	const struct options *opt; /* of its client's front; without one, of the link */
	struct conn *conn;	   /* NULL: GHOST, or opened for an absent client */
	struct upstream *upstream; /* NULL: UPSIDE_NONE */
	struct file *file;	   /* from READY on */
	uint64_t client_ident, upstream_ident; /* session idents on either side */
	enum session_state state;
	enum session_upside upside;
	enum msg_flavour flavour;
	unsigned generation; /* of upstream sessions, so that a late read is recognised */
	const char *path, *endpoint; /* name.h */
	uint64_t told;	      /* newest upload_client_version in any DOWNLOAD given to this client (I4) */
	struct pair sent;     /* newest pair sent in an UPLOAD of this upstream session, entries or progress */
	uint64_t reached;     /* download_server_version reached in it (S3) */
	STAILQ_HEAD(, sent_batch) unacked;
	/* flags, side by side: there are thousands of sessions */
	bool credential_stored; /* path and token are on the disk (absent.c) */
	bool is_subserver;
	bool active_durable; /* the query is in the store, as the least of the file */
	bool query_awaited;  /* what comes behind query_sent waits for its bootstrap */
	bool in_bootstrap;   /* the last DOWNLOAD passed on had batch_state 0 */
	bool registered;     /* in relay->registry */
	bool by_relay;	     /* this upstream session was opened by the relay (resume), not for an IDENT of the client's */
	bool clean;	     /* a DOWNLOAD came in this upstream session */
	bool refused;	     /* an UPLOAD was not taken: no later one is, until the client is closed and starts afresh */
	bool held_back;	     /* a reset error is held back (on_reset): not bound upstream again, uploads are stored */
	bool no_replay;	     /* upstream was restored from a backup: stop (design section 6) */
	bool may_show;	     /* something of this session was committed: what may be shown is no older than what the client knows (C2) */
	bool on_to_show;
	bool reading; /* a batch is being read for replay */
	bool underfed; /* upstream had acknowledged all before the batch under way was there */
	bool ended;   /* unhooked; freed at the end of the pass */
	uint8_t stalls; /* see replay_stalled */
	/* its places */
	TAILQ_ENTRY(session) in_conn;	  /* on conn_sessions, unless GHOST */
	TAILQ_ENTRY(session) in_upstream; /* on the upstream's list while upstream is set */
	TAILQ_ENTRY(session) in_to_show;
	struct absent *absent; /* without a client: OPENING, then GHOST */
	struct file_opening *opening;
	struct session *waits_for; /* the older session of the same file that must end first */
	struct session *successor; /* the reverse */
	/* from BIND */
	char *token; /* the newest; NULL: none; a secret */
	uint32_t path_len, token_len;
	struct pool_keys *pool_keys; /* pool.c; NULL: none was needed yet */
	struct pool_ask *asking; /* an answer of the pool is on its way: until then no BIND goes upstream (only one may give an ident) */
	/* from IDENT */
	struct msg_c_ident ident;
	/* FLX (query.h) */
	char *query; /* the active one, ident.query_size bytes; NULL: none */
	uint64_t query_place;
	struct query_list queries; /* pending */
	size_t query_bytes;
	uint64_t query_taken; /* newest that the client sent in this session: that of its IDENT, or of a QUERY */
	uint64_t query_sent;  /* newest sent in this upstream session, likewise */
	struct request_list requests; /* not answered yet (request.h) */
	size_t request_bytes;
	unsigned nqueries, nrequests;
	uint64_t mark;	   /* newest request_ident not answered yet, 0 = none (a server too answers only the newest) */
	uint64_t mark_behind; /* query_taken when it came: an answer before that query's bootstrap would be wrong */
	uint64_t shown_at; /* clock_ms of the last acknowledgement of our own */
	size_t refused_len;/* bytes of an UPLOAD that was not taken: it is uploaded again when so much fits */
	/* this upstream session */
	uint64_t disk_end;    /* the store holds no more records up to this client_version than were sent */
	size_t unacked_bytes;
	uint64_t paced;	      /* bytes that the batch under way was charged (pace.c) */
	struct turn *turn;    /* there; NULL: it does not wait for it */
	uint64_t unacked_since; /* clock_ms of the last progress */
	uint64_t unbinding_since; /* clock_ms */
};

/* What stands for the path in the identity of its file. */
static inline const char *
session_key_path(const struct session *s)
{
	return s->flavour == MSG_FLX ? SESSION_FLX_PATH : s->path;
}

const char *session_state_name(enum session_state state);
const char *session_upside_name(enum session_upside upside);

/* A BIND on c.  body: path, token. */
void session_bind(struct conn *c, const struct message *m, struct view body);

struct session_identity {
	const char *endpoint, *path;
	const char *bind_path; /* what BIND states: the path, or, if that is SESSION_FLX_PATH, a JSON object */
	uint64_t file_ident, file_ident_salt;
	bool is_subserver;
};

/* A session of the relay's own for a client that left (absent.h): reads its file, then calls absent_file_read, or ends.  NULL: the file has
 * a session. */
struct session *session_open_absent(struct link *link, struct absent *a, const struct session_identity *id);
/* Its connection is open: BIND, IDENT with the kept cursors. */
void session_bind_absent(struct session *s, struct upstream *u, struct view token);

/* Any other session-level message of the client. */
void session_client_message(struct session *s, const struct message *m, struct view body);

/* session_upload.c: an UPLOAD of the client's, READY.  May end its connection. */
void session_upload(struct session *s, const struct message *m, struct view body);

/* The session of c with the client's ident; NULL if there is none. */
struct session *session_find(struct conn *c, uint64_t client_ident);

/* The conn of s has an upstream (again): bind there, identify with the kept cursors, replay, repeat what waits. */
void session_upstream_opened(struct session *s);
/* The upstream connection of s ended.  May free s. */
void session_upstream_lost(struct session *s);
/* The link went DOWN while s has no upstream. */
void session_link_down(struct session *s);
/* Whether a session has file f open, or is about to. */
bool session_has_open(struct relay *relay, const struct store_file *f);
/* An operator changed what is kept of file f: its session, if there is one, ends, so that the next reads the file afresh. */
void session_start_anew(struct relay *relay, const struct store_file *f);
/* Asks upstream the MARK that is unanswered. */
void session_ask_mark(struct session *s);
/* len bytes of the client's are not taken, nor is anything later: it will be closed and come anew when there is room (session_room). */
void session_refuse(struct session *s, size_t len);
/* The client sent something again that is held here with other bytes, a device restored from its own backup: its file is set aside, and it
 * is closed. */
void session_differs(struct session *s, const char *text);
/* Sends IDENT upstream with the kept cursors; by_relay: not for an IDENT of the client's. */
void session_identify(struct session *s, bool by_relay);
/* Whether upstream knows which file this is (IDENT sent, session alive). */
bool session_identified(const struct session *s);
/* Whether something of s is worth keeping its upstream connection for when the client leaves. */
bool session_drains(const struct session *s);
/* Bytes kept in s in a size that its client chose (I6). */
size_t session_held(const struct session *s);
/* The client's connection ends; s becomes a GHOST or ends.  drain: the upstream connection goes on. */
void session_client_gone(struct session *s, bool drain);
/* Whose s is, by the token its client came with; zeros when that is not known, or it is an absent client's. */
void session_user(const struct session *s, uint8_t user[USERID]);
/* The conn of s has a real token in place of one of the relay's own: s and what is kept of it likewise. */
void session_token_changed(struct session *s);
/* The user of s was revoked: its backlog is REJECTED. */
void session_user_revoked(struct session *s);
/* There is room in the buffer again, or s has become LIVE: whoever was refused starts afresh. */
void session_room(struct session *s);

/* What to do with a message of upstream's for s. */
enum session_route {
	ROUTE_STREAM,  /* pass on as it arrives, with the head as changed */
	ROUTE_COLLECT, /* wanted whole: its body decides */
	ROUTE_DROP,
};
enum session_route session_upstream_head(struct session *s, struct message *m);
/* A piece of the body of a message that is streamed. */
void session_upstream_data(struct session *s, const struct message *m, struct view data);
/* That message is complete.  m: as it came.  body: of a collected one.  passed: its last byte was queued to the client. */
void session_upstream_end(struct session *s, const struct message *m, struct view body, bool passed);

/* No file will be opened for s any more (its client left, or upstream refused the session meanwhile). */
void session_stop_opening(struct session *s);

/* Forgets the upstream session (its connection ended, or it did); unsent state of it is dropped. */
void session_leave_upstream(struct session *s);
void session_tell_unbound(struct session *s); /* UNBOUND to the client */

/* Ends s at once, everywhere; whoever waited for it goes on. */
void session_end(struct session *s);
void session_free_ended(struct relay *relay); /* end of pass */

/* From file.c: nothing of the file waits any more. */
void session_settled(struct session *s);

/* Sets the file's state, lets go of the upstream session, goes on storing. */
void session_stop(struct session *s, enum store_file_state state, unsigned code, const char *text);

/* From file.c: something was committed; something could not be. */
void session_stored(struct session *s);
void session_store_failed(struct session *s, enum store_err err);
/* From file.c: it is durable that everything held may be sent. */
void session_offered(struct session *s);
/* From file.c: a batch for replay was read; op->batch may be taken. */
void session_batch(struct session *s, struct spool_op *op);

/* ack = relay: what is durable here may be acknowledged, whatever the link does: s is told by the next session_show_pass. */
void session_owe_show(struct session *s);
/* Tells the clients on relay->to_show what is durable (ack = relay, I1): at once, then at most every `linger`, since each DOWNLOAD is a
 * commit on the device.  Returns ms until the next one is due, or -1. */
int64_t session_show_pass(struct relay *relay, uint64_t now_ms);

#endif
