/* One case of the property test: a device's backlog, what others do meanwhile, and how it all reaches the server, from one seed. */
#ifndef TESTS_MERGE_CASE_H
#define TESTS_MERGE_CASE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct case_sums {
	uint64_t cases, unusable; /* unusable: even without pre-merge the peers do not agree, or something cannot be applied */
	uint64_t changesets, emptied, instructions, dropped; /* of the backlogs of usable cases */
	uint64_t concurrent;				       /* changesets of others */
};

/* Plays the case twice: the backlog as it is, and pre-merged. Returns NULL when server and clients come to the same data, in both, or
 * the case is unusable; else a word for what went wrong. sums is added to. If f is not NULL, the case is printed to it. */
const char *case_run(uint64_t seed, struct case_sums *sums, FILE *f);

#endif
