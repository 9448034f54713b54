/* Random numbers and random edits. */
#ifndef TESTS_MERGE_RANDOM_H
#define TESTS_MERGE_RANDOM_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/merge/state.h"

struct rng {
	uint64_t x;
};

/* 0 .. n - 1. */
static inline unsigned
below(struct rng *r, unsigned n)
{
	uint64_t z = (r->x += 0x9e3779b97f4a7c15u);

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return (unsigned)((z ^ z >> 31) % n);
}

static inline bool
chance(struct rng *r, unsigned percent)
{
	return below(r, 100) < percent;
}

#define FIELDS "nnmmmeelllqdgs" /* some are more interesting than others */

/* Where most edits of a case go, so that they meet. */
struct focus {
	int64_t key;
	char field;
	unsigned percent;  /* of edits that stay in it */
	bool add_to_mixed; /* AddInteger to mixed fields, too */
	bool moody;	   /* mixed fields become lists, and defaults, more often */
	bool columns;	   /* columns go away, and come back */
};

/* An edit that a device with this data could make. */
void random_edit(struct rng *r, const struct focus *f, const struct state *s, struct edit *e);

#endif
