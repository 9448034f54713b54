/* See outqueue.h.  Pieces are chunks (chunk.h): what one connection sent is where the next one writes. */
#include <stdbool.h>
#include <string.h>

#include "relay/chunk.h"
#include "relay/outqueue.h"

#define COPY_MAX 512 /* bytes: see outqueue_move */

struct outqueue_piece {
	struct outqueue_piece *next;
	uint32_t start, end, size;
	uint8_t kind; /* of the chunk */
	bool secret;
	uint8_t data[]; /* size */
};

_Static_assert(sizeof(struct outqueue_piece) <= CHUNK_HEAD && OUTQUEUE_MAX <= CHUNK_MAX, "a piece is a chunk");

static struct outqueue_piece *
piece_new(size_t want)
{
	struct outqueue_piece *p;
	uint8_t kind;

	want = want < OUTQUEUE_MIN ? OUTQUEUE_MIN : want > OUTQUEUE_MAX ? OUTQUEUE_MAX : want;
	p = chunk_take(want, &kind);
	if (p != NULL)
		*p = (struct outqueue_piece){ .size = (uint32_t)chunk_bytes(kind), .kind = kind };
	return p;
}

static void
piece_free(struct outqueue_piece *p)
{
	if (p->secret)
		explicit_bzero(p->data, p->size);
	chunk_give(p, p->kind);
}

uint8_t *
outqueue_room(struct outqueue *q, size_t want, size_t *room)
{
	struct outqueue_piece *p = q->last;
	size_t free_bytes = p != NULL ? p->size - p->end : 0;

	if (free_bytes == 0) {
		size_t before = q->len > 0 ? q->len : q->usual;

		p = piece_new(want > before ? want : before);
		if (p == NULL)
			return NULL;
		if (q->last != NULL)
			q->last->next = p;
		else
			q->first = p;
		q->last = p;
		free_bytes = p->size;
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

	if (len == q->len)
		q->usual = len < OUTQUEUE_USUAL ? (uint32_t)len : OUTQUEUE_USUAL;
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
