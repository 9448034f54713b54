/* A disk at the moment of a power cut, made of a record (record.h).
 *
 * What is stable: writes with O_DSYNC that returned, what a sync of its file followed, names that a sync of the directory followed.  All
 * else is open: an unsynced write may be there, be missing, or be there in some of its 512-byte sectors; an unsynced file may be longer
 * or shorter; each unsynced name, rename or removal may have happened or not.  The order in which they were made means nothing. */
#ifndef TESTS_SHIM_CUT_H
#define TESTS_SHIM_CUT_H

#include "tests/shim/record.h"

enum cut_fate { CUT_LOST, CUT_KEPT, CUT_MIXED, CUT_FATES };

struct cut; /* the disk after some records */

struct cut *cut_new(void);
void cut_free(struct cut *c);

/* The disk after r too.  r must stay where it is. */
void cut_apply(struct cut *c, const struct record *r);

/* Writes into dir (which is made) what a cut now could have left.  during: the power fails in the middle of this next record, NULL: after
 * the last one.  data, names: what becomes of all that is open; CUT_MIXED draws each from *seed.  False with errno. */
bool cut_build(const struct cut *c, const struct record *during, enum cut_fate data, enum cut_fate names, uint64_t *seed,
	       const char *dir);

#endif
