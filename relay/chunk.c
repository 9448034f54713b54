/* See chunk.h.  Stacks of what was given back, by size: the next one taken was used last, so it is in the processor's caches. */
#include <stdlib.h>

#include "relay/chunk.h"
#include "relay/hot.h"

#define KINDS 25	/* 256 bytes to 16 KiB, four for each power of two */
#define LARGE UINT8_MAX /* the kind of a larger one */

_Static_assert(CHUNK_MIN << (KINDS / 4) == CHUNK_MAX && KINDS % 4 == 1, "the last kind is the largest");

struct kept {
	struct kept *next;
};

static struct kept *stored[KINDS];
static size_t bytes_of_kind[KINDS], stored_bytes;

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
	uint8_t kind = 0;

	while (chunk_bytes(kind | 3) < want && kind < KINDS - 1)
		kind += 4;
	while (chunk_bytes(kind) < want)
		kind++;
	return kind;
}

void *
chunk_take(size_t want, uint8_t *kind)
{
	struct kept *k;

	if (want > CHUNK_MAX) {
		*kind = LARGE;
		return want <= SIZE_MAX - CHUNK_HEAD ? malloc(CHUNK_HEAD + want) : NULL;
	}
	*kind = kind_of(want);
	k = stored[*kind];
	if (k == NULL)
		return malloc(CHUNK_HEAD + chunk_bytes(*kind));
	stored[*kind] = k->next;
	soon(k->next); /* the next to be taken, which was used longer ago */
	bytes_of_kind[*kind] -= whole(*kind);
	stored_bytes -= whole(*kind);
	return k;
}

void
chunk_give(void *chunk, uint8_t kind)
{
	struct kept *k = chunk;

	if (k == NULL)
		return;
	if (kind == LARGE || stored_bytes + whole(kind) > CHUNK_STORED || bytes_of_kind[kind] + whole(kind) > CHUNK_STORED / 2) {
		free(k);
		return;
	}
	bytes_of_kind[kind] += whole(kind);
	stored_bytes += whole(kind);
	k->next = stored[kind];
	stored[kind] = k;
}
