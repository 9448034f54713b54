/* What a store does to its directory, recorded: every write, sync, new name, rename, removal and cut to length, in order, and between
 * them what the test says.  cut.h makes of it what a power cut could have left.
 *
 * The record lies in memory that is shared with children made by fork(), so a child may work and the parent judge.  Only one process
 * writes to it at a time, one thread of it at a time. */
#ifndef TESTS_SHIM_RECORD_H
#define TESTS_SHIM_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RECORD_FILES_MAX = 512, RECORD_NAME_MAX = 64 };

enum record_kind {
	RECORD_CREATE,	 /* file under a new name, text */
	RECORD_RENAME,	 /* file gets the name text, its old one is text2 */
	RECORD_UNLINK,	 /* text */
	RECORD_WRITE,	 /* len bytes of file at `at` */
	RECORD_TRUNCATE, /* file has `at` bytes */
	RECORD_SYNC,	 /* all that was done to file is on stable storage */
	RECORD_SYNC_DIR, /* all names are */
	RECORD_SAID,	 /* len bytes of the test's own */
};

struct record {
	enum record_kind kind;
	bool stable; /* WRITE: with O_DSYNC, so on stable storage when it had returned */
	uint32_t file, len;
	uint64_t at;
	const void *data;	  /* len bytes; text is RECORD_NAME_MAX bytes with its NUL, text2 lies behind it */
	size_t next;		  /* where the next record begins */
};

/* From now on what happens in dir, which must be empty, is recorded; replaces hooks_io and more of libdb's hooks. */
void record_start(const char *dir);

/* The process ends in the n-th log write (O_DSYNC) from now, as if killed: the bytes can be read, but are not on stable storage. */
void record_die(unsigned n);

/* From now on nothing is. */
void record_stop(void);

void record_say(const void *data, uint32_t len);

/* Reads the record at position at, from 0.  False at the end. */
bool record_get(size_t at, struct record *out);

#endif
