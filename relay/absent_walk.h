/* The part of absent clients' replay that touches the disk, for the committer's thread: which files have a backlog.  A step is small, so that commits need not wait, and is all that is shared between the threads: the loop fills in the
 * first half and posts it, the committer the second half. */
#ifndef RELAY_ABSENT_WALK_H
#define RELAY_ABSENT_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buffer/store.h"

#define ABSENT_STEP 16 /* files a step: some 100 KiB */

struct absent_file {
	struct store_file file;
	size_t credential_len; /* 0: none is on the disk */
	uint8_t credential[STORE_VALUE_MAX]; /* packed (credential.h): a secret */
};

struct absent_step {
	void *owner;	/* the loop's */
	uint64_t after; /* in: the id to go on from; out: the last one looked at */
	size_t nfile;
	bool end;
	bool credentials; /* in: those on the disk are wanted */
	struct absent_file file[ABSENT_STEP]; /* with a backlog */
};

/* A spool_fn; arg: struct absent_step. */
void absent_step(void *arg, struct store *store);

#endif
