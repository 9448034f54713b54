/* Deflates batches for replay in a thread of its own, beside the committer's: at the low levels that replay uses on a fast link, deflating takes as
 * long as reading the batch and removing it afterwards.
 *
 *   committer: READ --> deflater_take --place free--> this thread --> done(op)
 *                            +--none--> the committer deflates it itself
 *
 * So both are busy while there is much to do, and no more than DEFLATER_PLACES batches wait (I6). */
#ifndef RELAY_DEFLATER_H
#define RELAY_DEFLATER_H

#include <stdbool.h>

struct deflater;
struct spool_op;

#define DEFLATER_PLACES 2 /* one that is deflated and one behind it: what is missing while the other thread reads the next */

/* Called in the deflater's thread. */
typedef void deflater_done(void *arg, struct spool_op *op);

/* Starts the thread; NULL when out of resources.  Signals are not blocked here. */
struct deflater *deflater_new(deflater_done *done, void *arg);

/* Waits until everything taken is done, and ends the thread.  NULL is let alone. */
void deflater_free(struct deflater *d);

/* Whether there is anything to deflate in the answer to a READ.  If not, it is as it is to be sent. */
bool deflater_wants(const struct spool_op *op);

/* op is the deflater's until done gives it back, in the order of taking.  False: there is no place, op stays the caller's. */
bool deflater_take(struct deflater *d, struct spool_op *op);

/* Deflates op->batch here and now, at op->level.  What that would make larger, or there is no memory for, stays as it is. */
void deflater_run(struct spool_op *op);

#endif
