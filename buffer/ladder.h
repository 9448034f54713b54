/* The start-up ladder: what is tried, rung by rung, until the buffer opens.  Each rung is one call, meant for a child process with limits
 * of time and memory, because recovery of damaged files can hang, crash or eat memory (facts.md); relay/recover.c is the driver.
 *
 *   NORMAL    ordinary recovery.  After damage was found in pages: and a look at all of them
 *   REBUILD   the tables are moved aside and made anew from the base and the logs (FORMAT, "The base"): nothing is lost
 *   SALVAGE   everything is moved aside; records that can be trusted by their own CRC are taken from the tables into a new buffer
 *   EMPTY     everything is moved aside, a new buffer is begun
 *
 * Nothing is ever deleted: what is moved aside is in aside-YYYYMMDD-HHMMSS below the buffer, for the operator.  A rung that was
 * interrupted is begun again: a mark in the directory says so (dir.h). */
#ifndef BUFFER_LADDER_H
#define BUFFER_LADDER_H

#include "buffer/store.h"

enum ladder_rung { LADDER_NORMAL, LADDER_REBUILD, LADDER_SALVAGE, LADDER_EMPTY };
#define LADDER_RUNGS 4

struct ladder_result {
	enum store_err err; /* STORE_OK: store_open will succeed.  STORE_CORRUPT: the next rung.  Others: no rung helps */
	char why[400];	    /* of err */
	char aside[64];	    /* the last directory that something was moved to; "": nothing was */
	/* SALVAGE */
	uint64_t files, records; /* taken over */
	uint64_t files_lost;	 /* of files: set LOST, because changesets are missing */
	uint64_t orphans;	 /* changesets whose file's record is gone; they are in aside only */
};

const char *ladder_rung_name(enum ladder_rung rung); /* "normal", "rebuilt", "salvaged", "empty": how the buffer was recovered */

/* Tries one rung. */
void ladder_try(const struct store_options *opt, enum ladder_rung rung, struct ladder_result *out);

#endif
