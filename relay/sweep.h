/* Removing values from a table, a slice at a time: the walk, and the transaction that follows it, since nothing may be removed while a table
 * is walked.  Which values go is for the caller to say. */
#ifndef RELAY_SWEEP_H
#define RELAY_SWEEP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buffer/store.h"

#define SWEEP_SLICE 64 /* values looked at in one slice */

enum sweep_verdict { SWEEP_KEEP, SWEEP_REMOVE, SWEEP_END }; /* END: nothing from here on is of interest */

/* While the table is walked: may look at nothing else of the store. */
typedef enum sweep_verdict sweep_judge(void *arg, const void *key, size_t key_len, const void *val, size_t val_len);
/* After the walk, of each value that is to be removed: whether it still is.  May read all tables. */
typedef bool sweep_confirm(void *arg, struct store *s, const void *key, size_t key_len);

struct sweep { /* all zero but for table, and after to begin behind a key */
	enum store_table table;
	uint8_t after[STORE_KEY_MAX];
	size_t after_len;
	bool look; /* nothing is removed, only counted */
	bool done;
	uint64_t removed, bytes; /* so far: values, and their keys' and their own length; with look, what would be */
};

/* One slice, in a transaction of its own that is not synced.  confirm may be NULL. */
STORE_MUSTCHECK enum store_err sweep_slice(struct sweep *w, struct store *s, sweep_judge *judge, sweep_confirm *confirm, void *arg);
/* All of them. */
STORE_MUSTCHECK enum store_err sweep_all(struct sweep *w, struct store *s, sweep_judge *judge, sweep_confirm *confirm, void *arg);

#endif
