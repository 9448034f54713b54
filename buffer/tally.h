/* Backlog counters of files, in memory: rows by id, the sums over them, and those of the shares they belong to.
 *
 * The store keeps two: one of what is committed, with a row for every file that has a backlog, was set aside or is damaged (so its size follows the number of
 * such files, not the length of an outage: I6), and one of what the open transaction changed.  Opened and filled from the files
 * table only.  Nothing here but tally_reserve takes the longer the more rows there are. */
#ifndef BUFFER_TALLY_H
#define BUFFER_TALLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buffer/heap.h"
#include "buffer/store.h"

struct tally_row {
	uint64_t id; /* of the file */
	uint64_t records, bytes, oldest_ms;
	bool aside; /* its state is not OK */
	uint8_t share[STORE_SHARES_OF_FILE]; /* below STORE_SHARES_MAX.  In memory only */
	bool exported; /* it is EXPORTED: its records are another gateway's */
	bool damaged; /* its record could not be read at open; the counters are not known */
	uint64_t last; /* newest client version held; 0: not looked up yet.  In memory only */
	bool dropped; /* there is no such row any more (tally_drop) */
	/* Only in the transaction's tally: */
	bool dirty; /* the file's record does not say this yet */
	bool gone;  /* the file was removed */
};

struct tally {
	struct tally_row *rows; /* in no order, those that were dropped among them */
	size_t n, cap;
	size_t dropped;		/* of the n, */
	size_t dropped_first;	/* a list of them, through their `records`: the place, from 1; 0 ends it */
	uint32_t *index;	/* 2^bits places of rows, from 1, by hash; 0: none */
	unsigned bits;
	struct heap_node *node; /* of the row at place i its shares' k: 1 + STORE_SHARES_OF_FILE * i + k */
	uint64_t records, bytes; /* sums */
	size_t with_backlog, aside; /* rows with records, rows that are aside */
	uint64_t exported_records;  /* of records */
	size_t exported;	    /* of the rows that are aside */
	struct store_share share[STORE_SHARES_MAX]; /* but for oldest_ms */
	uint32_t oldest[STORE_SHARES_MAX];	    /* roots of heaps */
};

/* NULL if id has no row.  The pointer lives until the next tally_put, tally_drop or tally_reset; rows are changed by
 * tally_put only, which keeps the sums. */
const struct tally_row *tally_find(const struct tally *t, uint64_t id);

/* Makes room for extra more rows, so that as many tally_put cannot fail.  False: no memory. */
bool tally_reserve(struct tally *t, size_t extra);

/* Adds or replaces the row of row->id.  There must be room (tally_reserve). */
void tally_put(struct tally *t, const struct tally_row *row);
void tally_drop(struct tally *t, uint64_t id); /* removes the row, if there is one */

uint64_t tally_oldest(const struct tally *t); /* least oldest_ms that is not 0; 0 = none */
void tally_shares(const struct tally *t, struct store_share out[STORE_SHARES_MAX]);

void tally_reset(struct tally *t); /* removes all rows, keeps a moderate room */
void tally_free(struct tally *t);

#endif
