/* Single operations of a group, for committer.c. */
#ifndef RELAY_COMMITTER_IMPL_H
#define RELAY_COMMITTER_IMPL_H

#include "relay/spool.h"

/* committer_write.c: a write (spool.h names the kinds), in the open transaction; op->file is the answer. */
STORE_MUSTCHECK enum store_err committer_write(struct store *store, struct spool_op *op);

/* committer_read.c: FIND, GET or CALL; others are left alone.  op->err says how it went. */
void committer_read(struct store *store, struct journal *journal, struct spool_op *op);
/* READ, as it is in the store. */
void committer_read_batch(struct store *store, struct spool_op *op);

#endif
