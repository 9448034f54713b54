/* Memory of short life, used again: in steady state a message that passes allocates nothing.
 *
 * A chunk is CHUNK_HEAD bytes for its owner's struct, and behind them from CHUNK_MIN to CHUNK_MAX bytes: a power of two, or one and a quarter,
 * a half, three quarters of it, so that a fifth of it is waste at most.  What is given back is kept for the next of its size, all together up to
 * CHUNK_STORED bytes, and half of that of one size, so that no burst takes the place of all others; what is more, or larger, goes back to
 * the allocator.  One thread. */
#ifndef RELAY_CHUNK_H
#define RELAY_CHUNK_H

#include <stddef.h>
#include <stdint.h>

#define CHUNK_HEAD 224		  /* bytes; the larger of struct upload and what outqueue has before its bytes */
#define CHUNK_MIN 256		  /* bytes behind it, in the smallest: a changeset of one field */
#define CHUNK_MAX 16384		  /* in the largest that is kept: a TLS record */
#define CHUNK_STORED (2u << 20)	  /* bytes: what a burst of a few hundred connections in one pass needs */

/* A chunk with at least want bytes behind its head; *kind is for chunk_give and chunk_bytes.  NULL: out of memory. */
void *chunk_take(size_t want, uint8_t *kind);
/* Ends the life of one.  NULL is let alone. */
void chunk_give(void *chunk, uint8_t kind);
/* The bytes behind the head of one with want <= CHUNK_MAX. */
size_t chunk_bytes(uint8_t kind);

#endif
