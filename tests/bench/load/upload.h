/* UPLOADs of one size, ready to be sent: a row of frames in one piece of memory, of which only the client versions change. */
#ifndef TESTS_BENCH_LOAD_UPLOAD_H
#define TESTS_BENCH_LOAD_UPLOAD_H

#include <stddef.h>
#include <stdint.h>

#define UPLOAD_FIRST 1000000000ULL /* the first client version: all that are used have ten digits, so heads have one length */

struct upload_row {
	size_t changeset; /* bytes of one changeset */
	size_t frame;	  /* bytes of one frame */
	unsigned n;	  /* frames in buf */
	uint8_t *buf;
	size_t version_at[2]; /* where in a frame the client version stands */
};

/* Makes a row of frames whose changesets have `changeset` bytes, all of a session 1. */
void upload_row_make(struct upload_row *r, size_t changeset);
void upload_row_free(struct upload_row *r);

/* The first n frames carry first, first + 1 ... from now on. */
void upload_row_patch(struct upload_row *r, uint64_t first, unsigned n);

#endif
