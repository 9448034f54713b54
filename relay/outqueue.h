/* Bytes that wait to be sent, in pieces of memory that are used again: in steady state nothing is allocated for a message.
 *
 *   first -> [ start..end ) -> ... -> last [ start..end .... size )
 *             sent first                            ^ the next byte goes here
 *
 * A piece is as large as what waits before it, from OUTQUEUE_MIN to OUTQUEUE_MAX bytes, so a long queue is a row of whole TLS records.  The first
 * one is as large as what left together the last time, to OUTQUEUE_USUAL: the three messages that came in one read are sent from one piece, by
 * the cheaper call, and none of them is cut in two.  So a queue never holds more than about twice its bytes and OUTQUEUE_USUAL, and thousands
 * of short ones cost little more than what they count (I6).
 *
 * What returns false or NULL has no memory; a part of what it was given may stand in the queue by then, so whoever owns it gives up.  One
 * thread. */
#ifndef RELAY_OUTQUEUE_H
#define RELAY_OUTQUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sys/uio.h>

#define OUTQUEUE_MIN 1024  /* bytes of the smallest piece */
#define OUTQUEUE_MAX 16384 /* of the largest: a TLS record */
#define OUTQUEUE_USUAL 4096 /* of one that is expected to be filled */

struct outqueue_piece;

struct outqueue { /* all zero: empty */
	struct outqueue_piece *first, *last;
	size_t len; /* bytes */
	uint32_t usual; /* bytes that left together when it was last emptied, to OUTQUEUE_USUAL */
};

/* Appends a copy. */
bool outqueue_add(struct outqueue *q, const void *buf, size_t len);
/* The same with bytes that are a secret: wiped when they were sent or dropped (I9). */
bool outqueue_add_secret(struct outqueue *q, const void *buf, size_t len);

/* Room for some of the want bytes that are to be appended; *room says for how many (at least one).  outqueue_commit tells how many were
 * written there, before q is used otherwise. */
uint8_t *outqueue_room(struct outqueue *q, size_t want, size_t *room);
void outqueue_commit(struct outqueue *q, size_t len);
/* What was committed last is a secret, as with outqueue_add_secret. */
void outqueue_mark_secret(struct outqueue *q);

/* What is sent first, in up to n parts; returns how many.  Valid until q is changed. */
int outqueue_peek(const struct outqueue *q, struct iovec *iov, int n);
/* Takes len bytes off the front, all at once: outqueue_clear. */
void outqueue_drain(struct outqueue *q, size_t len);
void outqueue_clear(struct outqueue *q);

/* Everything of src goes behind what q has: moved, or, when it is short, copied, for a piece that is moved is not filled any more.  src is
 * empty then, also on failure. */
bool outqueue_move(struct outqueue *q, struct outqueue *src);

#endif
