/* Tests relay/chunk: every size fits and wastes little, what is given back is taken again, and no more is kept than was said. */
#include <stdlib.h>
#include <string.h>

#include "tests/harness.h"

#include "relay/chunk.h"

TEST(every_size_fits)
{
	for (size_t want = 0; want <= CHUNK_MAX + 1; want++) {
		uint8_t kind, *p = chunk_take(want, &kind);

		CHECK(p != NULL);
		if (want <= CHUNK_MAX) {
			CHECK(chunk_bytes(kind) >= want);
			CHECK(chunk_bytes(kind) <= (want < CHUNK_MIN ? CHUNK_MIN : want + want / 4));
		}
		memset(p, 0xA5, CHUNK_HEAD + want); /* a sanitizer sees what is too short */
		chunk_give(p, kind);
	}
}

TEST(the_last_one_is_the_next)
{
	uint8_t kind, other;
	void *a = chunk_take(1000, &kind), *b = chunk_take(1000, &other);

	CHECK_U64(kind, other);
	chunk_give(a, kind);
	chunk_give(b, other);
	CHECK(chunk_take(1000, &kind) == b);
	CHECK(chunk_take(1000, &other) == a);
	chunk_give(a, kind);
	chunk_give(b, other);
	chunk_give(NULL, kind);
}

/* All that are taken at once are apart from each other, also when more comes back than is kept, and when it is taken again. */
TEST(more_than_is_kept)
{
	enum { N = 2 * CHUNK_STORED / CHUNK_MAX };
	static uint8_t *p[N];
	uint8_t kind;

	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < N; i++) {
			p[i] = chunk_take(CHUNK_MAX, &kind);
			CHECK(p[i] != NULL);
			memset(p[i], (int)i, CHUNK_HEAD + CHUNK_MAX);
		}
		for (unsigned i = 0; i < N; i++)
			CHECK(p[i][0] == (uint8_t)i && p[i][CHUNK_HEAD + CHUNK_MAX - 1] == (uint8_t)i);
		for (unsigned i = 0; i < N; i++)
			chunk_give(p[i], kind);
	}
}

TEST(a_large_one)
{
	uint8_t kind, *p = chunk_take(1000000, &kind);

	CHECK(p != NULL);
	memset(p, 1, CHUNK_HEAD + 1000000);
	chunk_give(p, kind);
	CHECK(chunk_take(SIZE_MAX, &kind) == NULL);
}
