/* UPLOADs of one size, ready to be sent: a row of frames in one piece of memory, of which only the client versions change; or, where it matters
 * what a compressor makes of them, the changesets too. */
#ifndef TESTS_BENCH_LOAD_UPLOAD_H
#define TESTS_BENCH_LOAD_UPLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UPLOAD_FIRST 1000000000ULL /* the first client version: all that are used have ten digits, so heads have one length */

struct upload_row {
	size_t changeset; /* bytes of one changeset */
	size_t frame;	  /* bytes of one frame */
	unsigned n;	  /* frames in buf */
	uint8_t *buf;
	size_t version_at[2]; /* where in a frame the client version stands */
	bool varied;
};

/* Makes a row of frames whose changesets have `changeset` bytes, all of a session 1.  varied: what upload_digits says, else all are the same. */
void upload_row_make(struct upload_row *r, size_t changeset, bool varied);
void upload_row_free(struct upload_row *r);

/* The first n frames carry first, first + 1 ... from now on. */
void upload_row_patch(struct upload_row *r, uint64_t first, unsigned n);

/* The changeset of a version: hexadecimal digits that do not repeat within what deflate can see, so it can take half of them away and no more. */
void upload_digits(uint8_t *out, size_t len, uint64_t version);

#endif
