/* Tests relay/outqueue: bytes come out as they went in, however they are appended, moved and drained. */
#include <stdlib.h>
#include <string.h>

#include "tests/harness.h"

#include "relay/outqueue.h"
#include "relay/wire.h"

static uint8_t
pattern(uint64_t pos)
{
	return (uint8_t)(pos * 2654435761U >> 13);
}

static void
append(struct outqueue *q, uint64_t *pos, size_t len)
{
	uint8_t buf[40000];

	for (size_t i = 0; i < len; i++)
		buf[i] = pattern(*pos + i);
	CHECK(outqueue_add(q, buf, len));
	*pos += len;
}

/* The first len bytes are those from pos on; they are drained. */
static void
take(struct outqueue *q, uint64_t *pos, size_t len)
{
	size_t left = len;

	while (left > 0) {
		struct iovec iov[3];
		int n = outqueue_peek(q, iov, 3);
		size_t some = 0;

		CHECK(n > 0);
		for (int i = 0; i < n && some < left; i++) {
			for (size_t k = 0; k < iov[i].iov_len && some < left; k++, some++)
				CHECK_U64(((uint8_t *)iov[i].iov_base)[k], pattern(*pos + some));
		}
		outqueue_drain(q, some);
		*pos += some;
		left -= some;
	}
}

TEST(keeps_bytes_in_order)
{
	struct outqueue q = { 0 };
	uint64_t in = 0, out = 0;

	srandom(7);
	for (int i = 0; i < 3000 && !harness_failed(); i++) {
		append(&q, &in, (size_t)random() % (i % 10 == 0 ? 40000 : 300));
		take(&q, &out, (size_t)random() % (q.len + 1));
		CHECK_U64(q.len, in - out);
	}
	take(&q, &out, q.len);
	CHECK_U64(q.len, 0);
	CHECK(q.first == NULL && q.last == NULL);
}

TEST(moves_short_and_long_ones)
{
	static const size_t lens[] = { 0, 1, 512, 513, 30000 };
	struct outqueue q = { 0 }, src = { 0 };
	uint64_t in = 0, out = 0;

	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		append(&q, &in, 100);
		append(&src, &in, lens[i]);
		CHECK(outqueue_move(&q, &src));
		CHECK_U64(src.len, 0);
		CHECK(src.first == NULL && src.last == NULL);
	}
	append(&q, &in, 5);
	take(&q, &out, q.len);
	CHECK_U64(out, in);
}

TEST(room_is_never_more_than_asked_for)
{
	struct outqueue q = { 0 };
	size_t room;

	CHECK(outqueue_room(&q, 3, &room) != NULL);
	CHECK_U64(room, 3);
	outqueue_commit(&q, 3);
	CHECK(outqueue_room(&q, 100000, &room) != NULL);
	CHECK_U64(room, OUTQUEUE_MIN - 3);
	outqueue_commit(&q, room);
	CHECK(outqueue_room(&q, 100000, &room) != NULL);
	CHECK_U64(room, OUTQUEUE_MAX);
	outqueue_clear(&q);
	CHECK_U64(q.len, 0);
}

/* A short message that waits costs little: a queue is not much larger than what is in it (I6). */
TEST(many_short_ones_share_a_piece)
{
	struct outqueue q = { 0 };
	struct iovec iov[4];
	uint64_t in = 0;

	for (int i = 0; i < 50; i++)
		append(&q, &in, 20);
	CHECK_U64(outqueue_peek(&q, iov, 4), 1);
	outqueue_clear(&q);
}

/* Parts in which len bytes wait that were appended ten at a time. */
static int
parts(struct outqueue *q, size_t len)
{
	struct iovec iov[64];
	uint64_t pos = 0;

	for (size_t i = 0; i < len; i += 10)
		append(q, &pos, 10);
	return outqueue_peek(q, iov, 64);
}

TEST(what_left_together_is_expected_again)
{
	struct outqueue q = { 0 };

	CHECK(parts(&q, 3000) > 1);
	outqueue_drain(&q, q.len);
	CHECK_U64(parts(&q, 3000), 1);
	outqueue_drain(&q, 2990);
	outqueue_drain(&q, 10); /* only these left last */
	CHECK(parts(&q, 3000) > 1);
	outqueue_clear(&q);
}

TEST(no_more_than_usual_is_expected)
{
	struct outqueue q = { 0 };
	size_t room;

	(void)parts(&q, 100000);
	outqueue_drain(&q, q.len);
	CHECK(outqueue_room(&q, 10, &room) != NULL);
	outqueue_commit(&q, room);
	CHECK(outqueue_room(&q, 100000, &room) != NULL);
	CHECK_U64(room, OUTQUEUE_USUAL - 10);
	outqueue_clear(&q);
}

TEST(secrets_are_wiped)
{
	struct outqueue q = { 0 };
	uint8_t *where;
	size_t room;

	CHECK(outqueue_add_secret(&q, "token", 5));
	CHECK(outqueue_room(&q, 1, &room) != NULL);
	where = outqueue_room(&q, 1, &room) - 5;
	CHECK_MEM(where, 5, "token", 5);
	outqueue_clear(&q); /* its memory is stored for the next */
	CHECK_MEM(where, 5, "\0\0\0\0\0", 5);
}

/* The messages that hold a token. */
TEST(tokens_are_wiped)
{
	static const enum msg_type types[] = { MSG_C_BIND, MSG_C_REFRESH };
	uint8_t token[200], zero[300] = { 0 };
	struct message m = { 0 };
	struct outqueue q = { 0 };
	struct iovec iov;

	memset(token, 't', sizeof(token));
	for (size_t i = 0; i < 2; i++) {
		m.type = types[i];
		if (m.type == MSG_C_BIND)
			m.bind.token_size = sizeof(token);
		else
			m.refresh.token_size = sizeof(token);
		CHECK(wire_message(&q, WS_CLIENT, &m, (struct view){ token, sizeof(token) }));
		CHECK_U64(outqueue_peek(&q, &iov, 1), 1);
		CHECK(iov.iov_len > 200 && iov.iov_len <= sizeof(zero));
		outqueue_clear(&q);
		CHECK_MEM(iov.iov_base, iov.iov_len, zero, iov.iov_len);
	}
}
