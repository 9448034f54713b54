/* The Berkeley DB environment under the store: directory, lock, recovery, transactions, logs, checkpoints, errors.
 *
 * Used by the store only, by one thread at a time; the thread may change between calls (the environment is opened without
 * DB_THREAD, and libdb keeps nothing per thread), as long as the hand-over orders memory, as pthread_create and a mutex do. */
#ifndef BUFFER_ENV_H
#define BUFFER_ENV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <db.h>

#include "buffer/store.h"

struct env;

/* Makes the directory private, takes its lock, recovers.  See store_open for opt, out and why; callbacks and their argument are
 * kept until env_close. */
STORE_MUSTCHECK enum store_err env_open(const struct store_options *opt, struct env **out, char *why, size_t why_len);

/* Frees e, which may be NULL, and releases the lock; all tables must be closed before. */
void env_close(struct env *e);

/* Is there a table `name` (file name.db)? */
bool env_table_exists(const struct env *e, const char *name);

/* Opens it, or creates it. */
STORE_MUSTCHECK enum store_err env_table(struct env *e, const char *name, DB **out);

STORE_MUSTCHECK enum store_err env_begin(struct env *e, DB_TXN **out);

/* Ends txn in every case.  *kept: whether the transaction stands (in memory at least); only in the case described in env.c it
 * does although the result is an error. */
STORE_MUSTCHECK enum store_err env_commit(struct env *e, DB_TXN *txn, bool durable, bool *kept);
STORE_MUSTCHECK enum store_err env_abort(struct env *e, DB_TXN *txn);

/* What a return value of Berkeley DB means. */
enum store_err env_error(struct env *e, int ret);

/* Was the last system call that failed refused for want of space? */
bool env_full(void);

/* Has Berkeley DB given up (DB_RUNRECOVERY)?  Then nothing but env_close is of use. */
bool env_dead(const struct env *e);

/* Checkpoints if forced or if checkpoint_bytes of log were written since the last one; bounds the log, to max_log_bytes or, with
 * nothing waiting (drained), to a few files, by copying the tables a piece a call (base.h); makes the ballast if it is missing and there
 * is room.  No transaction may be open. */
STORE_MUSTCHECK enum store_err env_checkpoint(struct env *e, bool force, bool drained);

/* Is a copy of the tables under way, so that env_checkpoint should be called again soon? */
bool env_busy(const struct env *e);

/* A new log file begins, and a base from which alone the tables can be rebuilt: when env_checkpoint is not busy any more, and
 * env_is_renewed, nothing that was removed before is in the log.  STORE_NOSPACE: there is no room for the copy. */
STORE_MUSTCHECK enum store_err env_renew_log(struct env *e);
bool env_is_renewed(const struct env *e);

/* Bytes of the file of a table; 0 if there is none. */
uint64_t env_table_bytes(const struct env *e, const char *name);

/* Bytes of disk that the directory's files take, and its logs of them. */
STORE_MUSTCHECK enum store_err env_disk_bytes(const struct env *e, uint64_t *out, uint64_t *logs);

/* Bytes that the file system has left for this user; UINT64_MAX if that cannot be told. */
uint64_t env_disk_free(const struct env *e);

void env_set_min_free(struct env *e, uint64_t min_free);

/* Leaves word that pages are damaged: the next start begins with a look at all of them (ladder.h). */
void env_mark_damaged(struct env *e);

/* The disk is full: gives the ballast up. */
void env_give_ballast(struct env *e);

/* Is the ballast in its place, or none wanted? */
bool env_ballast(const struct env *e);

/* Reports text to on_error, within the rate limit. */
void env_report(struct env *e, const char *text);

/* The first error that Berkeley DB described since env_open began; "" if none. */
const char *env_first_error(const struct env *e);

#endif
