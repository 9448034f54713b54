/* See outqueue.h.
 *
 * Pieces come in sizes of powers of two.  One that is empty goes to a store of its size, from which the next is taken; the stores together
 * keep STORED_MAX bytes, what is more goes back to the allocator. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "relay/outqueue.h"

#define COPY_MAX 512		/* bytes: see outqueue_move */
#define SIZES 5			/* 1, 2, 4, 8, 16 KiB */
#define STORED_MAX (1u << 20)	/* bytes: what a burst of a few hundred connections in one pass needs */

struct outqueue_piece {
	struct outqueue_piece *next;
	uint32_t start, end;
	uint8_t size; /* OUTQUEUE_MIN << size bytes */
	bool secret;
	uint8_t data[];
};

_Static_assert(OUTQUEUE_MIN << (SIZES - 1) == OUTQUEUE_MAX, "the last size is the largest");

static struct outqueue_piece *stored[SIZES];
static size_t stored_bytes;

static size_t
bytes_of(uint8_t size)
{
	return (size_t)OUTQUEUE_MIN << size;
}

static struct outqueue_piece *
piece_new(size_t want)
{
	struct outqueue_piece *p;
	uint8_t size = 0;

	while (size < SIZES - 1 && bytes_of(size) < want)
		size++;
	p = stored[size];
	if (p != NULL) {
		stored[size] = p->next;
		stored_bytes -= bytes_of(size);
	} else if ((p = malloc(sizeof(*p) + bytes_of(size))) == NULL) {
		return NULL;
	}
	p->next = NULL;
	p->start = p->end = 0;
	p->size = size;
	p->secret = false;
	return p;
}

static void
piece_free(struct outqueue_piece *p)
{
	if (p->secret)
		explicit_bzero(p->data, bytes_of(p->size));
	if (stored_bytes + bytes_of(p->size) > STORED_MAX) {
		free(p);
		return;
	}
	stored_bytes += bytes_of(p->size);
	p->next = stored[p->size];
	stored[p->size] = p;
}

uint8_t *
outqueue_room(struct outqueue *q, size_t want, size_t *room)
{
	struct outqueue_piece *p = q->last;
	size_t free_bytes = p != NULL ? bytes_of(p->size) - p->end : 0;

	if (free_bytes == 0) {
		p = piece_new(want > q->len ? want : q->len);
		if (p == NULL)
			return NULL;
		if (q->last != NULL)
			q->last->next = p;
		else
			q->first = p;
		q->last = p;
		free_bytes = bytes_of(p->size);
	}
	*room = want < free_bytes ? want : free_bytes;
	return p->data + p->end;
}

void
outqueue_commit(struct outqueue *q, size_t len)
{
	q->last->end += (uint32_t)len;
	q->len += len;
}

void
outqueue_mark_secret(struct outqueue *q)
{
	q->last->secret = true;
}

static bool
add(struct outqueue *q, const uint8_t *from, size_t len, bool secret)
{
	size_t room;

	for (; len > 0; from += room, len -= room) {
		uint8_t *to = outqueue_room(q, len, &room);

		if (to == NULL)
			return false;
		memcpy(to, from, room);
		outqueue_commit(q, room);
		if (secret)
			outqueue_mark_secret(q);
	}
	return true;
}

bool
outqueue_add(struct outqueue *q, const void *buf, size_t len)
{
	return add(q, buf, len, false);
}

bool
outqueue_add_secret(struct outqueue *q, const void *buf, size_t len)
{
	return add(q, buf, len, true);
}

int
outqueue_peek(const struct outqueue *q, struct iovec *iov, int n)
{
	int used = 0;

	for (struct outqueue_piece *p = q->first; p != NULL && used < n; p = p->next)
		iov[used++] = (struct iovec){ p->data + p->start, p->end - p->start };
	return used;
}

void
outqueue_drain(struct outqueue *q, size_t len)
{
	struct outqueue_piece *p;

	q->len -= len;
	while ((p = q->first) != NULL && len >= p->end - p->start) {
		len -= p->end - p->start;
		q->first = p->next;
		piece_free(p);
	}
	if (p == NULL)
		q->last = NULL;
	else
		p->start += (uint32_t)len;
}

void
outqueue_clear(struct outqueue *q)
{
	outqueue_drain(q, q->len);
}

bool
outqueue_move(struct outqueue *q, struct outqueue *src)
{
	bool ok = true;

	if (src->len <= COPY_MAX) {
		for (struct outqueue_piece *p = src->first; p != NULL && ok; p = p->next)
			ok = add(q, p->data + p->start, p->end - p->start, p->secret);
		outqueue_clear(src);
		return ok;
	}
	if (q->last != NULL)
		q->last->next = src->first;
	else
		q->first = src->first;
	q->last = src->last;
	q->len += src->len;
	*src = (struct outqueue){ 0 };
	return true;
}
