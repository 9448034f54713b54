/* What may be forgotten when: tokens, protocol versions, client files (issue: "a buffer one can trust", 7).
 *
 *   tokens        accepted longer than token_grace ago: nobody is admitted by them any more
 *                 and what is kept of a client's request (credential.h) when its file has no backlog
 *                 and the users of App Services (users.h) that no [upstream] of today has: honoured longer ago than forget_after
 *   "agreed ..."  not agreed to and not used for forget_after
 *   files         unseen for forget_after, and nothing of them is owed to anybody: retention_may_forget
 *
 * At the start and then hourly, in slices on the committer, between which commits go on.  Reserved idents are looked after by
 * relay/pool. */
#ifndef RELAY_RETENTION_H
#define RELAY_RETENTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buffer/store.h"

#include "relay/sweep.h"

struct relay;
struct retention;

struct retention *retention_new(struct relay *relay);
void retention_stop(struct retention *r); /* nothing new is begun */
void retention_free(struct retention *r); /* after the spool is gone */

/* ---- the work itself, on a store; for retention.c and its test ---- */

#define RETENTION_SLICE 64 /* values or files looked at in one slice */

enum retention_phase { RETENTION_TOKENS, RETENTION_AGREED, RETENTION_FILES, RETENTION_DONE };

struct retention_pass {
	/* what is old: times since 1970; 0 = nothing is */
	uint64_t tokens_before_ms, seen_before_ms;
	bool drop_credentials; /* all of them, not only those of files without a backlog */
	const uint8_t *scopes; /* of the users whose upstream looks after them itself (link_scope), one behind the other; borrowed */
	size_t nscope;
	/* where it stands; all zero to begin */
	enum retention_phase phase;
	struct sweep tokens, agreed;
	uint64_t after_id;
	/* of this slice: files that may be forgotten */
	struct { uint64_t id; struct store_file *file; } old[RETENTION_SLICE]; /* file owned: retention_drop */
	size_t nold;
	enum store_err err; /* of the slice */
};

/* One slice: removes values, lists files.  Opens and ends its own transaction.  At RETENTION_DONE there is nothing left to do. */
void retention_slice(struct retention_pass *p, struct store *s);
/* Forgets the list. */
void retention_drop(struct retention_pass *p);

/* Unseen since before before_ms, no backlog, in no special state, nothing acknowledged here that upstream lacks (I4). */
bool retention_may_forget(const struct store_file *f, uint64_t before_ms);

#endif
