/* See chunk.h.  Stacks of what was given back, by size: the next one taken was used last, so it is likely in the processor's caches.  They are
 * stacks of pointers, not lists through the chunks: with hundreds of messages on the way those are far away, and none is read to take one. */
#include <stdlib.h>

#include "relay/chunk.h"
#include "relay/hot.h"

#define KINDS 25	/* 256 bytes to 16 KiB, four for each power of two */
#define LARGE UINT8_MAX /* the kind of a larger one */
#define DEPTH (CHUNK_STORED / 2 / (CHUNK_HEAD + CHUNK_MIN)) /* of the smallest; of these pages memory is taken only where something is kept */

_Static_assert(CHUNK_MIN << (KINDS / 4) == CHUNK_MAX && KINDS % 4 == 1, "the last kind is the largest");

static size_t kept[KINDS]; /* how many; together, for each page that a message touches counts */
static void *stack[KINDS][DEPTH];
static size_t stored_bytes;

size_t
chunk_bytes(uint8_t kind)
{
	return (size_t)CHUNK_MIN / 4 * (4 + kind % 4) << kind / 4;
}

static size_t
whole(uint8_t kind)
{
	return CHUNK_HEAD + chunk_bytes(kind);
}

static uint8_t
kind_of(size_t want)
{
	size_t last = want - 1; /* the byte that must still be there */
	unsigned power;

	if (want <= CHUNK_MIN)
		return 0;
	power = (unsigned)__builtin_clzll(CHUNK_MIN) - (unsigned)__builtin_clzll(last);
	return (uint8_t)(4 * power + (last / (CHUNK_MIN / 4) >> power) - 3);
}

void *
chunk_take(size_t want, uint8_t *kind)
{
	size_t n;

	if (want > CHUNK_MAX) {
		*kind = LARGE;
		return want <= SIZE_MAX - CHUNK_HEAD ? malloc(CHUNK_HEAD + want) : NULL;
	}
	*kind = kind_of(want);
	n = kept[*kind];
	if (n == 0)
		return malloc(whole(*kind));
	if (n > 1)
		soon(stack[*kind][n - 2]); /* the next to be taken, which was used longer ago */
	kept[*kind] = n - 1;
	stored_bytes -= whole(*kind);
	return stack[*kind][n - 1];
}

void
chunk_give(void *chunk, uint8_t kind)
{
	if (chunk == NULL)
		return;
	if (kind == LARGE || stored_bytes + whole(kind) > CHUNK_STORED || (kept[kind] + 1) * whole(kind) > CHUNK_STORED / 2) {
		free(chunk);
		return;
	}
	stored_bytes += whole(kind);
	stack[kind][kept[kind]++] = chunk;
}
