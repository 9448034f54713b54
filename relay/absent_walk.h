/* The part of absent clients' replay that touches the disk, for the committer's thread: which files have a backlog, and the service
 * token's file.  A step is small, so that commits need not wait, and is all that is shared between the threads: the loop fills in the
 * first half and posts it, the committer the second half. */
#ifndef RELAY_ABSENT_WALK_H
#define RELAY_ABSENT_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "protocol/message.h"

#include "buffer/store.h"

#define ABSENT_STEP 16 /* files a step: some 100 KiB */

struct absent_file {
	struct store_file file;
	size_t credential_len; /* 0: none is on the disk */
	uint8_t credential[STORE_VALUE_MAX]; /* packed (credential.h): a secret */
};

struct service_token {
	char path[4001];	 /* "" = none configured; a copy, for a reload may change the option meanwhile */
	struct stat seen;	 /* of the file as it was read last */
	unsigned serial;	 /* rises with each new content; 0 = never read */
	char token[MSG_TOKEN_MAX + 1];
	const char *complaint;	 /* static; NULL = fine; to be logged when it is new */
};

struct absent_step {
	void *owner;	/* the loop's */
	uint64_t after; /* in: the id to go on from; out: the last one looked at */
	struct service_token service; /* kept from step to step */
	size_t nfile;
	bool end;
	bool credentials; /* in: those on the disk are wanted */
	struct absent_file file[ABSENT_STEP]; /* with a backlog, nothing against replay */
};

/* A spool_fn; arg: struct absent_step. */
void absent_step(void *arg, struct store *store);

#endif
