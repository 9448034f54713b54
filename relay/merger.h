/* Pre-merge of backlogs (design section 6): which file, when, and how much at a time.  What may go is decided by protocol/premerge.
 *
 * Belongs to the committer and runs in its thread, between two groups of commits.  Never fails: what cannot be merged now stays as it is. */
#ifndef RELAY_MERGER_H
#define RELAY_MERGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buffer/store.h"

struct merger;

struct merger_stat { /* since the start */
	uint64_t passes;
	uint64_t instructions; /* dropped */
	uint64_t changesets;   /* of which nothing was left */
	uint64_t bytes;	       /* of changesets, saved */
};

struct merger *merger_new(void);
void merger_free(struct merger *m);

/* File id has so many bytes of backlog now: when that is much more than its last pass left, another one is due. */
void merger_grew(struct merger *m, uint64_t id, uint64_t bytes);

/* A pass over file id is wanted now, ahead of all others.  False: there is nothing to do for it; nothing has come since the last pass, say. */
bool merger_want(struct merger *m, struct store *store, uint64_t id);

/* Nothing waits for file id any more: what is known of it is forgotten. */
void merger_drained(struct merger *m, uint64_t id);

/* Is there anything to do? */
bool merger_busy(const struct merger *m);

/* Goes on for about ms milliseconds (at least one record), in one transaction of its own; returns the file whose pass has ended by that, or
 * 0.  *given_up: it ended before its time, as the disk is full or memory is out, say, and the next one might too.  No transaction may be open. */
uint64_t merger_slice(struct merger *m, struct store *store, uint64_t ms, bool *given_up);

const struct merger_stat *merger_stat(const struct merger *m); /* lives as long as m */

#endif
