/* Inside the store: shared by store.c and the store_*.c, and by nobody else. */
#ifndef BUFFER_STORE_INT_H
#define BUFFER_STORE_INT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <db.h>

#include "buffer/env.h"
#include "buffer/record.h"
#include "buffer/store.h"
#include "buffer/tally.h"

#define STORE_FORMAT 4 /* of the whole environment: buffer/FORMAT, "Versions" */

/* Keys of the store's own values in the meta table begin with a NUL byte; a caller's may not. */
#define STORE_KEY_FORMAT "\0format"
#define STORE_KEY_NEXT_ID "\0next-id"
#define STORE_KEY_TABLES "\0tables"

#define STORE_CHANGESET_KEY 16 /* bytes of a key in changesets: file id, client version */

/* A run at most.  Larger ones gain nothing (a page chain is full but for its last page), and a reader holds a whole one in memory. */
#define STORE_RUN_MAX (64u << 10)

/* The run that the open transaction is gathering; span.n 0: none. */
struct run {
	uint64_t id; /* of the file */
	struct record_span span;
	struct store_record only; /* the first entry, for the case that it stays alone; its data is in buf */
	uint8_t *buf;		  /* STORE_RUN_MAX bytes, or NULL */
	size_t len;
};

struct store {
	struct env *env;
	DB *files, *names, *changesets, *meta, *tokens, *idents, *states, *queries, *originals;
	uint64_t max_bytes, max_bytes_per_file, min_free; /* 0 = no bound */
	uint64_t disk_free;	/* when the transaction first asked; 0: it has not */
	enum store_err latched; /* STORE_OK: healthy */
	unsigned walking;	/* depth of walks with a callback: no write may happen under them */
	bool held;		/* store_hold: no checkpoint, no log removed */
	bool compacting;	/* space is being given back, a step a checkpoint */
	bool shrunk;		/* the backlog has: there may be space to give back */
	bool settle;		/* it has just been; the log may be shortened now */
	struct store_compaction compaction;
	uint64_t compacted_bytes; /* what changesets.db had after the last time */
	uint64_t residue;	  /* bytes of the backlog, while it is waited for whether they go: as of residue_s, monotonic; 0: it is not */
	time_t residue_s, quiet_s;
	uint64_t damaged;	/* file records that could not be read at open: never take the backlog for empty */
	uint8_t *scratch;	/* for encoding; grows to the largest record of a transaction */
	size_t scratch_cap;
	/* what is committed */
	struct tally tally;
	store_share_fn *share_of; /* NULL: all is in shares 0 and 1 */
	void *share_arg;
	uint64_t nfiles, next_id;
	/* the open transaction */
	DB_TXN *txn;		/* NULL: none */
	enum store_err txn_err; /* the first failure in it: it can only be aborted */
	struct tally changed;	/* rows of the files it touched, as they will be */
	uint64_t txn_bytes;	/* payload held, as it will be */
	uint64_t txn_nfiles, txn_next_id, txn_damaged;
	struct run run;		/* appended and not in the table yet */
	struct store_file late; /* put last; id 0: none */
	bool late_dirty;	/* it is not in the table yet */
};

/* ---- store.c ---- */

/* May a read, or a write, happen now?  STORE_OK, or what the public function must return. */
STORE_MUSTCHECK enum store_err store_may_read(const struct store *s);
STORE_MUSTCHECK enum store_err store_may_write(const struct store *s);

/* Turns a return value of Berkeley DB into an error, latching the store or dooming the transaction as the error demands. */
enum store_err store_db_error(struct store *s, int ret);
enum store_err store_fail(struct store *s, enum store_err err); /* the same for an error of our own */

/* Do len bytes more for the file of row keep within the bounds? */
bool store_has_room(struct store *s, const struct tally_row *row, uint32_t len);

/* At least len bytes of scratch memory, or NULL with the transaction doomed.  They live until the next call. */
uint8_t *store_scratch(struct store *s, size_t len);

static inline DBT
store_dbt(const void *p, size_t len)
{
	DBT t = { .size = (uint32_t)len };

	t.data = (void *)(uintptr_t)p; /* libdb does not write through it */
	return t;
}

/* ---- store_files.c ---- */

/* The backlog of file id as this transaction sees it.  STORE_NOTFOUND if there is no such file. */
STORE_MUSTCHECK enum store_err store_row_get(struct store *s, uint64_t id, struct tally_row *row);

/* Keeps row; commit writes it into the file's record.  Needs a transaction. */
STORE_MUSTCHECK enum store_err store_row_put(struct store *s, const struct tally_row *row);

/* Is this name (the key in names) f's? */
bool store_is_named(const struct store_file *f, const void *name, size_t name_len);

/* Writes all changed rows into their files' records, and the record that was put last.  Called by commit. */
STORE_MUSTCHECK enum store_err store_rows_flush(struct store *s);

/* Fills tally and nfiles from the files table.  Called by open. */
STORE_MUSTCHECK enum store_err store_files_load(struct store *s);

/* ---- store_changesets.c ---- */

/* Removes the records of file id up to and with client version upto; updates row. */
STORE_MUSTCHECK enum store_err store_cut(struct store *s, struct tally_row *row, uint64_t upto);

/* Takes n entries of bytes in all out of row. */
void store_count_out(struct store *s, struct tally_row *row, uint64_t n, uint64_t bytes);

/* Moves c to the newest record of file id under a key below this version; *first is its key's version.  STORE_NOTFOUND: there is none. */
STORE_MUSTCHECK enum store_err store_seek_below(struct store *s, DBC *c, uint64_t id, uint64_t below, DBT *data, uint64_t *first);

/* ---- store_originals.c ---- */

/* Keeps n originals of file id, in rising order; one that is known stays as it is, but may be gone now. */
STORE_MUSTCHECK enum store_err store_originals_note(struct store *s, uint64_t id, const struct store_original *o, size_t n);

/* Forgets those up to client version upto; *some becomes true if there were any. */
STORE_MUSTCHECK enum store_err store_originals_cut(struct store *s, uint64_t id, uint64_t upto, bool *some);

/* ---- store_run.c ---- */

/* Appends r to the file's run; its version must be above all that the file holds. */
STORE_MUSTCHECK enum store_err store_run_add(struct store *s, uint64_t id, const struct store_record *r);

/* Writes the open run into the table.  To be called before the table is looked at. */
STORE_MUSTCHECK enum store_err store_run_flush(struct store *s);
void store_run_drop(struct store *s);

/* Writes a record under a key that must be new; the same for one changeset alone. */
STORE_MUSTCHECK enum store_err store_record_put(struct store *s, uint64_t id, uint64_t version, const uint8_t *rec, size_t len);
STORE_MUSTCHECK enum store_err store_single_put(struct store *s, uint64_t id, const struct store_record *r);

/* ---- store_values.c ---- */

/* The store's own values: big-endian numbers of 8 bytes. */
STORE_MUSTCHECK enum store_err store_own_get(struct store *s, const char *key, size_t key_len, uint64_t *v);
STORE_MUSTCHECK enum store_err store_own_put(struct store *s, const char *key, size_t key_len, uint64_t v);

#endif
