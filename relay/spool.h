/* The spool: the way to the committer, the one thread that owns every use of the store (design section 5).
 *
 * The event loop posts operations and gets each back, done, through its callback, in the order of posting (a READ
 * and a MERGE may come later); it never waits for a disk.  The committer takes whatever was posted while it was busy with the last fsync as one transaction (group commit).
 * Within such a group writes come before reads, so a read sees every write posted before it.  Between two groups backlogs are
 * pre-merged, a slice at a time (merger.h).
 *
 *   loop:      spool_find/append/update/trim/read/put/get --> queue ==eventfd==> done(op)
 *   committer:                                                queue --> store transaction --> done list
 *
 * All functions here are for the event loop's thread. */
#ifndef RELAY_SPOOL_H
#define RELAY_SPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "protocol/view.h"

#include "buffer/store.h"

#include "relay/merger.h"
#include "relay/query.h"

struct event_base;
struct journal;
struct spool;
struct spool_op;
struct upload;

/* Called on the event loop when op is done; op->err says how.  op and what it owns are freed afterwards. */
typedef void spool_done(void *arg, struct spool_op *op);

enum spool_kind { SPOOL_FIND, SPOOL_APPEND, SPOOL_UPDATE, SPOOL_TRIM, SPOOL_PUT, SPOOL_QUERIES, SPOOL_READ, SPOOL_GET,
		  SPOOL_CALL, SPOOL_FORGET, SPOOL_DISOWN, SPOOL_MERGE };

/* Anything else, in the committer's thread, between two groups of commits: may open a transaction of its own, must end it, and must be
 * a small step, for commits wait meanwhile. */
typedef void spool_fn(void *arg, struct store *store);

/* Whether f, as it is now, may be forgotten. */
typedef bool spool_may_forget(void *arg, const struct store_file *f);

struct spool_batch { /* answer to spool_read: the body of an UPLOAD, ready to send */
	uint8_t *body;	  /* owned by the op; a callback may take it (set it NULL) and free() it itself */
	size_t len;	  /* bytes of body as it stands: compressed_size when is_compressed */
	size_t uncompressed_size;
	bool is_compressed;
	size_t nentry;	  /* 0: nothing is left after `after` */
	uint64_t first_client_version, last_client_version, last_server_version;
	bool held_back;	  /* more exists, but its server_version is above max_server_version */
};

struct spool_op {
	STAILQ_ENTRY(spool_op) link;
	enum spool_kind kind;
	enum store_err err;
	spool_done *done; /* may be NULL */
	void *arg;
	struct store_file *file; /* FIND: the key, then the record; APPEND, UPDATE, TRIM: the record to keep; READ, FORGET, MERGE: its id.  Owned;
				  * NULL: PUT, GET, CALL */
	uint64_t after;		/* READ: records above */
	bool show;		/* APPEND: ack = relay */
	bool shown;		/* APPEND: something that it kept is to be acknowledged */
	uint64_t upto;		/* TRIM; READ: records up to it */
	struct query_list queries; /* FIND: those of the file; APPEND, QUERIES: to keep.  Owned */
	uint64_t max_bytes, max_server_version; /* READ */
	int level;		/* READ: deflate level, 0 = plain */
	bool exact;		/* UPDATE: offered_client_version may fall */
	bool set_state;		/* UPDATE: the state is part of it */
	bool aside;		/* FIND: the state is not the record's: it follows from the journal, or from what is damaged */
	bool damaged;		/* err is STORE_CORRUPT, and about this op's file alone (I7): nothing was written for it */
	size_t nkept;		/* APPEND: uploads, from the first on, that are durable; the others are not, for err */
	size_t needless;	/* APPEND: entries of those that upstream had acknowledged before they were written: they were not */
	bool conflict;		/* TRIM: nothing was removed, see is_conflict */
	uint64_t nrecord;	/* TRIM: records removed */
	uint64_t bad_version;	/* READ, APPEND: the record of STORE_CORRUPT or STORE_DIFFERS */
	struct spool_batch batch;
	enum store_table table; /* PUT, GET */
	uint8_t *key, *val;	/* owned */
	size_t key_len, val_len;
	spool_fn *fn;		/* CALL */
	spool_may_forget *may_forget; /* FORGET */
	size_t cost;		/* bytes counted in spool_queued */
	size_t nupload;
	struct upload *upload[]; /* APPEND: nupload references */
};

/* Starts the committer on an open store and journal (both its own from now on).  changed: called on the loop after each group, when
 * spool_stat or spool_queued may have changed.  NULL when out of resources. */
struct spool *spool_new(struct event_base *base, struct store *store, struct journal *journal, void (*changed)(void *arg),
			void *arg);

/* Waits for everything posted to be done (callbacks are not called any more), stops the thread, closes the store. */
void spool_free(struct spool *sp);

/* Looks up key->{endpoint,path,file_ident,file_ident_salt}; the answer is op->file with op->queries, or STORE_NOTFOUND. */
void spool_find(struct spool *sp, const struct store_file *key, spool_done *done, void *arg);

/* One transaction: of the n uploads from u on (as their list links them) the entries that the file does not hold yet are appended, those it holds
 * are compared, and rec is written.  rec->id 0 finds or creates the file; op->file is the answer.  When the store holds less than was taken
 * before an upload (u->after), something before it was not kept and it is refused with STORE_FULL (I3).  The pairs held, shown and final of the
 * record are raised here, with what was stored, and never taken from rec (I5); show: what is stored will be acknowledged (ack = relay).
 * What upstream has acknowledged meanwhile (u->acked) is not written, only the record that says so: op->needless.
 * STORE_DIFFERS, STORE_FULL: the uploads before the one that failed are kept (op->nkept), and of that one the entries before.  queries (moved to
 * op->queries): kept first, else no upload is. */
void spool_append(struct spool *sp, const struct store_file *rec, struct upload *u, size_t n, bool show, struct query_list *queries, spool_done *done,
		  void *arg);

/* The same with queries (moved to op->queries) alone: each in place of those from its `low` on, or removed when it is gone. */
void spool_keep_queries(struct spool *sp, const struct store_file *rec, struct query_list *queries, spool_done *done, void *arg);

/* Writes rec (durably), but for its pairs held, shown and final, and its state.  rec->id 0 finds or creates; what is created has
 * the state of rec. */
void spool_update(struct spool *sp, const struct store_file *rec, spool_done *done, void *arg);

/* The same, and offered_client_version may fall: nothing above it was sent. */
void spool_update_exact(struct spool *sp, const struct store_file *rec, spool_done *done, void *arg);

/* The same as spool_update, and the file has the state of rec from now on (with LOST also its pair shown, when that is higher); not while
 * its backlog is another gateway's (EXPORTED, until upstream has acknowledged all of it) or is being brought in (IMPORTING). */
void spool_set_state(struct spool *sp, const struct store_file *rec, spool_done *done, void *arg);

/* Removes the records of rec->id up to a client_version that upstream acknowledged (I2), and writes rec.  Not synced on its
 * own: a record that comes back is sent again and skipped (S5). */
void spool_trim(struct spool *sp, const struct store_file *rec, uint64_t upto, spool_done *done, void *arg);

/* Reads the records of file id above after and up to upto into one UPLOAD body of at most max_bytes uncompressed (at least one record),
 * ending before the first whose server_version is above max_server_version; deflates it at level when that makes it smaller.
 * The answer is op->batch.  STORE_CORRUPT with op->bad_version: nothing usable before it was left. */
void spool_read(struct spool *sp, uint64_t id, uint64_t after, uint64_t upto, uint64_t max_bytes, uint64_t max_server_version, int level,
		spool_done *done, void *arg);

/* Pre-merge: while growing (the link is DOWN), backlogs are merged as they grow; slice_ms bounds how long a group of commits waits for
 * it.  slice_ms 0: never, and whoever waits for a pass waits no longer. */
void spool_merging(struct spool *sp, bool growing, uint64_t slice_ms);

/* Pre-merges what file id has, all that was posted before; done when that has ended, one way or the other. */
void spool_merge(struct spool *sp, uint64_t id, spool_done *done, void *arg);
const struct merger_stat *spool_merged(const struct spool *sp); /* after the last group; lives as long as sp */
uint64_t spool_commits(const struct spool *sp); /* durable ones so far */

/* Small values; key and val are copied.  done may be NULL for put. */
void spool_put(struct spool *sp, enum store_table t, struct view key, struct view val);
void spool_get(struct spool *sp, enum store_table t, struct view key, spool_done *done, void *arg); /* op->val, op->val_len */
void spool_call(struct spool *sp, spool_fn *fn, spool_done *done, void *arg); /* both with arg; sees every write posted before it */

/* Removes file id, with what the journal says of it, if may (in the committer's thread, with arg) still agrees: else op->err is
 * STORE_INVALID.  No session may have it open. */
void spool_forget(struct spool *sp, uint64_t id, spool_may_forget *may, spool_done *done, void *arg);

/* The journal forgets what it says of f, which was taken out of the store.  f is copied. */
void spool_disown(struct spool *sp, const struct store_file *f);

size_t spool_queued(const struct spool *sp);		    /* bytes posted and not yet done: payload and the operations themselves */
#define SPOOL_STUCK_MS 60000 /* no disk that still works takes so long for one group */
uint64_t spool_busy_ms(struct spool *sp); /* how long the committer has been at what it is doing; 0: it waits */
const struct store_share *spool_shares(const struct spool *sp); /* likewise, STORE_SHARES_MAX of them */
const struct store_stat *spool_stat(const struct spool *sp); /* totals after the last group; lives as long as sp */

#endif
