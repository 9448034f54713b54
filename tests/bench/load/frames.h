/* What a peer sent, as far as the bench must know it: where WebSocket frames begin, and their first bytes.
 *
 * Far cheaper than protocol/ws, which unmasks and checks every byte: the rest of a payload is only counted, and frames_left says how much
 * of it may be thrown away in the kernel without being read. */
#ifndef TESTS_BENCH_LOAD_FRAMES_H
#define TESTS_BENCH_LOAD_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAMES_PREFIX 256 /* bytes of a payload that are shown: the longest head of a message here, and then some */

struct frames {
	uint8_t head[14], need, have; /* of a frame head: bytes wanted, and there */
	bool in_payload;
	uint64_t left; /* of the payload, to come */
	size_t len;    /* in prefix */
	uint8_t prefix[FRAMES_PREFIX];
};

/* A binary frame is complete: the first len bytes of its payload, unmasked. */
typedef void frames_cb(void *arg, const uint8_t *prefix, size_t len);

void frames_init(struct frames *f);

/* Takes all of buf; calls cb for each binary frame that ends in it.  False: a close frame, or a fragment: nothing here sends those. */
bool frames_feed(struct frames *f, const uint8_t *buf, size_t len, frames_cb *cb, void *arg);

/* Bytes that may be skipped unread now (at least one byte of the frame is left to be fed). */
uint64_t frames_left(const struct frames *f);
void frames_skipped(struct frames *f, uint64_t n);

#endif
