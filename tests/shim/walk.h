/* A random walk over a store, and what must be left of it whenever and however it ended.
 *
 * Each transaction of the walk has a serial number, which it also writes into the store.  The walk reports what it is about to
 * do and what was promised; whoever opens the store later reads the serial in it, P, and knows exactly what must be there:
 *
 *	newest durable <= P <= newest tried	(what was promised is there)
 *	the store = transactions 1 .. P, no more and no less
 *
 * The second line is I1-I5 at the level of the store: no acknowledged record is missing, order and counters are right, a record that was
 * trimmed or merged away is back only with everything after that undone (so never, once a durable commit followed), nothing is there by
 * halves. */
#ifndef TESTS_SHIM_WALK_H
#define TESTS_SHIM_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buffer/store.h"

enum { WALK_NFILES = 5 };

enum walk_said {
	WALK_OPENED,  /* serial: what the store held; from now on that is promised */
	WALK_APPEND,  /* transaction serial makes value the newest version of file n */
	WALK_TRIM,    /* ... removes the versions up to value of file n */
	WALK_TOUCH,   /* ... writes the record of file n */
	WALK_REMOVE,  /* ... removes file n */
	WALK_MERGE,   /* ... pre-merges file n, of which value is the newest version */
	WALK_VOID,    /* transaction serial failed and was undone */
	WALK_DURABLE, /* everything up to serial is promised */
	WALK_FATAL,   /* the store is about to abort the process */
	WALK_ERROR,   /* n: an enum store_err */
};

struct walk_report {
	enum walk_said said;
	uint32_t n;
	uint64_t serial, value;
};

struct walk_plan {
	const char *dir;
	uint64_t seed;
	unsigned steps;	   /* transactions and checkpoints */
	bool close;	   /* close the store at the end; else leave it as a crash would */
	void (*say)(const struct walk_report *r);
};

/* Opens the store and walks.  Steps that fail for want of space are followed by others; when the store is latched, memory is out, or
 * it cannot be opened, the walk ends.  The store is not closed then. */
void walk(const struct walk_plan *plan);

/* Options of a small store: many checkpoints, log files and bases in little time. */
struct store_options walk_options(const char *dir);

struct walk_model {
	struct walk_report *op; /* what is, or may be, in the store, in order */
	size_t nop, cap;
	uint64_t durable, tried;
	unsigned fatals, errors[STORE_INVALID + 1];
};

void walk_take(struct walk_model *m, const struct walk_report *r);
void walk_free(struct walk_model *m);

/* Is s what the reports demand?  If not, why says what is wrong. */
bool walk_holds(struct store *s, const struct walk_model *m, char *why, size_t why_len);

uint64_t walk_random(uint64_t *state);

#endif
