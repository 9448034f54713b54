/* The merge of two rows of changesets with the same base (protocol.md section 8), as server and client both do it. */
#ifndef TESTS_MERGE_TRANSFORM_H
#define TESTS_MERGE_TRANSFORM_H

#include "tests/merge/edit.h"

#define CHANGE_EDITS 6
struct change { /* a changeset with what goes with it */
	uint64_t timestamp;
	unsigned origin;   /* file ident */
	unsigned version;  /* in the history it stands in */
	unsigned base;	   /* the newest version of the other side that it knows */
	unsigned n;
	struct edit edit[CHANGE_EDITS];
	bool gone[CHANGE_EDITS]; /* dropped by a merge */
};

/* Transforms both rows, so that ours then theirs, and theirs then ours, come to the same. NULL, or why a real peer would refuse. */
const char *transform(struct change *theirs, unsigned ntheirs, struct change *const *ours, unsigned nours);

#endif
