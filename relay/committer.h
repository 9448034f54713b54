/* What the committer's thread does with the operations that spool.c queues for it.
 *
 *   group --> writes, one transaction --> reads --> journal --> done, or merging, until a pass over the file has ended --> done
 *   READ  --> batch, deflated here --> done, or deflated by the helper, which says itself when it is done
 *
 * All functions here are for that thread. */
#ifndef RELAY_COMMITTER_H
#define RELAY_COMMITTER_H

#include "relay/spool.h"

STAILQ_HEAD(spool_list, spool_op);

struct committer {
	struct store *store;	   /* borrowed, as the journal is */
	struct journal *journal;
	struct merger *merger;	   /* its own: merger_free */
	struct deflater *deflater; /* borrowed */
	uint64_t commits;	   /* durable ones */
	struct spool_list merging; /* MERGE ops that wait for a pass; its owner frees what is left */
};

void committer_init(struct committer *c, struct store *store, struct journal *journal, struct deflater *deflater);

/* Is there anything to do without a group?  slice_ms as for committer_rest. */
bool committer_busy(const struct committer *c, uint64_t slice_ms);

/* Would a slice do anything?  And does an op wait for one? */
bool committer_may_merge(const struct committer *c, uint64_t slice_ms);
bool committer_is_awaited(const struct committer *c);

/* Does what is in group (each op->err says how that went), and looks after the store.  growing: see spool_merging; merging: pre-merge is on.  On
 * return group holds what is done: ops that must wait for a merge have left it, those that waited may have come.  *stat: the store's totals,
 * when STORE_OK is returned. */
STORE_MUSTCHECK enum store_err committer_run(struct committer *c, struct spool_list *group, bool growing, bool merging, struct store_stat *stat);

/* A READ, behind the group that it was posted with.  True: op is done; false: the deflater has it, and gives it back. */
bool committer_batch(struct committer *c, struct spool_op *op);

/* What there is to do without a group: merges for up to slice_ms (0: pre-merge is off), and looks after the store.  Ops that waited for the
 * merge that has ended go to done. */
STORE_MUSTCHECK enum store_err committer_rest(struct committer *c, struct spool_list *done, uint64_t slice_ms, struct store_stat *stat);

#endif
