/* STATE sets on disk: their form in the table STORE_STATES, and the steps that write, read and remove them in the committer's thread.
 *
 *   'H' id(8)            head: what it answers and whether it is complete     one per set
 *   'S' id(8) chunk(4)   piece of at most STATEDISK_CHUNK bytes of its stream
 *
 *   stream of a set:  begin_offset(8) end_offset(8) size(8) body, for each STATE as it came; numbers big-endian
 *
 * A step is small, not synced (a lost set is only a set less), and all that is shared between the threads: the loop fills it in and posts
 * it, the committer does it, the loop looks what came of it. */
#ifndef RELAY_STATEDISK_H
#define RELAY_STATEDISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "buffer/store.h"

struct state_reader;
struct statecache;

#define STATEDISK_CHUNK 3840	   /* bytes: with its key and record head within one 4 KiB page */
#define STATEDISK_STEP_CHUNKS 64   /* of one step: some milliseconds of the committer */
#define STATEDISK_STEP_BYTES ((size_t)STATEDISK_STEP_CHUNKS * STATEDISK_CHUNK)
#define STATEDISK_PENDING_MAX (8u << 20) /* bytes on their way to the disk; a set that comes faster is not kept */

struct stateset {
	TAILQ_ENTRY(stateset) link; /* least recently used first */
	uint64_t id;
	char *endpoint, *path;
	uint64_t version, salt;	   /* as the STATEs said */
	uint64_t latest_salt;	   /* of upstream, as the first DOWNLOAD after it said; 0 = not known */
	uint64_t max_offset;
	uint64_t limits[4];	   /* of the request: min and max file format, min and max history schema */
	uint64_t bytes;		   /* of the stream */
	bool complete;
};

TAILQ_HEAD(stateset_list, stateset);

void statedisk_set_free(struct stateset *set);

enum statedisk_kind { STEP_LOAD, STEP_HEAD, STEP_PUT, STEP_DROP, STEP_READ };

struct statedisk_step {
	enum statedisk_kind kind;
	struct statecache *cache;
	struct state_reader *reader; /* READ */
	uint64_t id;
	uint32_t chunk, missing; /* missing: DROP, chunks in a row */
	uint8_t *data;
	size_t len;
	struct stateset_list found; /* LOAD */
	enum store_err err;
	bool more; /* DROP, READ: there may be more */
};

/* What a step of STEP_HEAD writes, for set: allocated; its length in *len. */
uint8_t *statedisk_head(const struct stateset *set, size_t *len);

/* A spool_fn; arg: struct statedisk_step. */
void statedisk_run(void *arg, struct store *store);

/* Removes all sets that match says are to go, each in transactions of its own; adds up how many those were, and bytes of their streams.  In
 * the committer's thread, or before there is one. */
STORE_MUSTCHECK enum store_err statedisk_drop_if(struct store *s, bool (*match)(void *arg, const struct stateset *set), void *arg,
						 uint64_t *sets, uint64_t *bytes);

#endif
