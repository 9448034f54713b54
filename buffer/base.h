/* The base: a copy of the tables from which, with the logs since, they can be rebuilt.  See base.c. */
#ifndef BUFFER_BASE_H
#define BUFFER_BASE_H

#include <stdbool.h>
#include <stdint.h>

#include "buffer/dir.h"

#define BASE_TABLES_MAX 16
#define BASE_NAME_MAX 64

/* A copy under way. */
struct base {
	const char *home; /* borrowed */
	uint32_t first_log;
	char tables[BASE_TABLES_MAX][BASE_NAME_MAX]; /* "files.db" ... */
	unsigned ntable, at; /* how many, and which is being copied */
	int from, to;
	uint64_t offset;
	bool active;
};

/* Bytes of the tables that d holds now. */
uint64_t base_table_bytes(const struct dir *d);

/* The number of the first log file that the base in d needs; 0: there is no base. */
uint32_t base_first_log(const struct dir *d);

/* Begins to copy the tables of the directory home, open as d.  A checkpoint must have been made since first_log was the newest log file.
 * Functions that return int return an error number. */
int base_begin(struct base *b, const struct dir *d, const char *home, uint32_t first_log);

/* Copies max_bytes more; *done: the copy has taken the place of the old base.  On error the copy is given up. */
int base_step(struct base *b, uint64_t max_bytes, bool *done);
void base_abandon(struct base *b);

/* Removes what copies that were not finished, or are superseded, have left, and log files before the base. */
int base_clean(const struct dir *d, const char *home);

/* Puts the tables of the base in place of those in home, which must be out of the way. */
int base_restore(const struct dir *d, const char *home);

#endif
