/* A client file as one session sees it: identity, cursors, progress, and the tail of uploads that are not on disk yet.
 *
 *   client versions   0 ........ upstream ........ stored ........ held
 *                      acknowledged    on disk      tail (memory)
 *                      by upstream     (backlog)
 *
 * A struct file belongs to exactly one session and is read afresh from the store for each (the store is the truth; the spool's order
 * makes every write of the last session visible to the next).  When the session ends, file_detach posts what is left of the tail;
 * the struct goes away when its last operation is done. */
#ifndef RELAY_FILE_H
#define RELAY_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "buffer/store.h"

#include "relay/query.h"
#include "relay/upload.h"

struct relay;
struct session;

struct pair { /* a progress pair: versions that belong together */
	uint64_t client_version, server_version;
};

struct cursors {
	uint64_t download_server_version, download_client_version, latest_server_version, latest_server_version_salt;
};

struct file {
	/* what each message touches, side by side */
	TAILQ_ENTRY(file) lingering; /* on its link's lingering.files while is_lingering, on lingering.due while is_due */
	struct relay *relay;	     /* borrowed */
	struct session *session;     /* borrowed; NULL once detached */
	enum store_file_state state;
	enum store_ack ack;
	struct cursors cursors;	     /* newest fully passed on, or the client's IDENT */
	struct pair upstream, shown, held, final;
	_Atomic uint64_t acked; /* upstream.client_version, for the committer */
	uint64_t locked_server_version;
	uint64_t sent_max;	 /* newest client_version that was sent upstream */
	struct upload_list tail; /* not durable, oldest first */
	struct upload *unposted; /* of tail: from it on nothing was given to the committer; NULL: all was */
	struct upload *passed;	 /* of tail; all up to it were sent when file_tail_next was last asked; NULL: none */
	size_t tail_bytes;
	uint64_t backlog_bytes; /* on disk, as of the last operation that changed it */
	uint64_t timed, timed_at; /* the client_version whose acknowledgement is waited for with a watch (linger.h), since; 0 = none */
	/* flags, side by side: there are thousands of files */
	bool is_subserver;
	bool is_new;	     /* the store knew nothing of it when it was opened */
	bool downloaded;     /* a DOWNLOAD was passed on to this client once */
	bool on_disk;	     /* records may be on disk */
	bool aside;	     /* its records are set aside: nothing is stored or replayed */
	bool gap;	     /* an upload could not be stored: only upstream's acknowledgement heals it */
	bool is_lingering;   /* unposted is to be posted when its time comes, */
	bool is_due;	     /* or at the end of this pass.  Never both */
	bool offering, trimming;
	bool merged, merging; /* for the replay under way: pre-merge is done; has been asked for */
	/* its place, identity and record */
	LIST_ENTRY(file) in_relay;
	const char *endpoint, *path; /* name.h */
	char *state_text;	     /* NULL: none */
	char *bind; /* what a BIND in its name states (flexible sync, flxbind.h); NULL: not known */
	uint8_t user[STORE_USER]; /* userid.h */
	uint64_t id, file_ident, file_ident_salt, created_ms; /* id 0: not stored yet */
	uint64_t state_time_ms;
	uint32_t state_code;
	unsigned quota;		     /* of relay->quotas, see quota_find */
	struct pair stored;
	uint64_t offered;  /* newest client_version that may be sent upstream: durable before anything is (ack = relay) */
	struct pair gap_end; /* the newest upload that could not be stored */
	uint64_t trimmed;    /* client_version */
	unsigned inflight;   /* operations at the spool */
	unsigned appending;  /* of these, appends */
};

/* What became of the store's answer for a session's IDENT; f is NULL on failure (the store refused: close the client).  queries: those that
 * the store has of it; what is left of them is freed behind the call. */
typedef void file_opened(void *arg, struct file *f, struct query_list *queries);

/* Reads the file (relay->spool).  opened is called from the loop, later; s becomes f->session.  To give up before: file_open_cancel. */
struct file_opening *file_open(struct relay *relay, struct session *s, const char *endpoint, const char *path, uint64_t file_ident,
			       uint64_t file_ident_salt, file_opened *opened, void *arg);
void file_open_cancel(struct file_opening *o);

/* The session is done with f: the rest of the tail is posted, f frees itself later. */
void file_detach(struct file *f);

/* What the client's BIND stated, copied; kept with the next write of the file. */
void file_set_bind(struct file *f, const char *bind);

/* The client stated the progress and the locked version of u: the pair final, and what may be locked in its name. */
void file_note_progress(struct file *f, const struct upload *u);

/* Takes u (its reference; at least one entry) as the newest of the file.  now: post at the end of this pass, with all that comes in it, else it
 * may linger.  Raises held. */
void file_take(struct file *f, struct upload *u, bool now);

/* u was forwarded but cannot be kept here: a gap until upstream acknowledges it. */
void file_skip(struct file *f, const struct upload *u);

/* The first of the tail that holds something above client version `sent`; NULL when there is none.  Goes on from the last answer, so that
 * a long tail costs one walk. */
struct upload *file_tail_next(struct file *f, uint64_t sent);

/* Posts everything of the tail that was not posted yet. */
void file_post(struct file *f);
/* The same, for nobody can acknowledge it now. */
void file_unanswered(struct file *f);

/* Upstream acknowledged up to p: forgets the tail up to it, trims the disk (I2). */
void file_acked(struct file *f, struct pair p);

/* Whether everything up to client_version may be sent.  False: that must be made durable first (ack = relay); it is on its way and
 * session_offered follows.  Asked for ahead, so that a live client waits once in FILE_OFFER_AHEAD versions. */
bool file_offer(struct file *f, uint64_t client_version);
/* Nothing more will be sent for now: what was really sent is kept in place of what was offered. */
void file_offer_end(struct file *f);

/* Whether the backlog was pre-merged for this replay.  False: it is being merged, session_offered follows. */
bool file_premerge(struct file *f);

/* Posts the queries of its session that are not durable (query_to_keep), behind what was taken before.  What comes behind them does so by itself. */
void file_keep_queries(struct file *f);

/* Asks for the next batch to replay (spool_read), up to client version upto; session_batch gets it, unless the session's generation is another by then. */
void file_read(struct file *f, uint64_t after, uint64_t upto, uint64_t max_bytes, uint64_t max_server_version, int level, unsigned generation);

/* Sets the state durably (design section 8), with reason text (cut at STORE_TEXT_MAX). */
void file_set_state(struct file *f, enum store_file_state state, unsigned code, const char *text);

/* Whether anything waits here that upstream has not acknowledged. */
bool file_waiting(const struct file *f);

/* Whether there is anything of it here, set aside or not. */
bool file_holds(const struct file *f);

/* Set aside while upstream lacks what the relay acknowledged: nothing of the client's may overtake that (I3), not even its progress. */
bool file_owes(const struct file *f);

/* An exported file whose backlog upstream has acknowledged, from wherever it came, is an ordinary one again: then true. */
bool file_take_back(struct file *f);

/* At the end of a pass of the loop: posts what is due now, and of the lingering tails what was due when the pass before ended (relay->pass_ms), for
 * until this pass its acknowledgement may have lain unread in a socket.  Returns ms until the next is due, or -1. */
int64_t file_post_pass(const struct relay *relay, uint64_t now_ms);

#endif
