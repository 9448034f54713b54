/* Compressed bodies: what deflates inflates again; a size that is not true, a stream that is cut, continued or damaged, and a
 * bomb are refused without a byte written past the room that was given. */
#include "tests/harness.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/zbody.h"

#define GUARD 16 /* bytes behind the room given, to see a write too far without a sanitizer as well */

/* Repeatable content: kind 0 zeros, 1 text-like, 2 noise that does not compress. */
static void
fill(uint8_t *buf, size_t len, unsigned kind)
{
	uint32_t x = 2463534242U;

	for (size_t i = 0; i < len; i++) {
		x ^= x << 13;
		x ^= x >> 17;
		x ^= x << 5;
		buf[i] = kind == 0 ? 0 : kind == 1 ? (uint8_t)("abcdefgh"[x & 7]) : (uint8_t)(x >> 11);
	}
}

static uint8_t *
get(size_t len)
{
	uint8_t *buf = malloc(len > 0 ? len : 1);

	if (buf == NULL)
		abort();
	return buf;
}

/* Inflates a copy of in (in a block of its own) into out_len bytes; *clean is false if anything behind them was touched. */
static enum proto_err
inflate_guarded(const uint8_t *in, size_t in_len, uint8_t *out, size_t out_len, bool *clean)
{
	uint8_t *copy = get(in_len), *room = get(out_len + GUARD);
	enum proto_err err;

	memcpy(copy, in, in_len);
	memset(room, 0xa5, out_len + GUARD);
	err = zbody_inflate(copy, in_len, room, out_len);
	*clean = true;
	for (size_t i = 0; i < GUARD; i++)
		*clean &= room[out_len + i] == 0xa5;
	if (err == PROTO_OK && out != NULL)
		memcpy(out, room, out_len);
	free(copy);
	free(room);
	return err;
}

static void
check_round_trip(size_t len, unsigned kind, int level)
{
	const size_t cap = len + len / 100 + 64;
	uint8_t *plain = get(len), *z = get(cap), *back = get(len);
	size_t z_len;
	bool clean;
	enum proto_err err;

	fill(plain, len, kind);
	err = zbody_deflate(level, plain, len, z, cap, &z_len);
	if (err == PROTO_OK)
		err = inflate_guarded(z, z_len, back, len, &clean);
	if (err != PROTO_OK || !clean || memcmp(plain, back, len) != 0 || !zbody_plausible(z_len, len))
		harness_fail(__FILE__, __LINE__, "%zu bytes of kind %u at level %d: error %d", len, kind, level, (int)err);
	free(plain);
	free(z);
	free(back);
}

TEST(round_trips)
{
	static const size_t lens[] = { 0, 1, 2, 1023, 1024, 1025, 32768, 100000, 1000003 };

	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++)
		for (unsigned kind = 0; kind < 3; kind++)
			for (int level = 1; level <= 9; level += 4)
				check_round_trip(lens[i], kind, level);
}

/* A small stream and its plain text for the tests below. */
static uint8_t plain[2000], packed[2000];
static size_t packed_len;

static void
setup(void)
{
	fill(plain, sizeof(plain), 1);
	CHECK_U64(zbody_deflate(6, plain, sizeof(plain), packed, sizeof(packed), &packed_len), PROTO_OK);
}

TEST(declared_size_must_be_true)
{
	bool clean;

	setup();
	CHECK_U64(inflate_guarded(packed, packed_len, NULL, sizeof(plain), &clean), PROTO_OK);
	for (size_t len = 0; len < sizeof(plain) + 40; len++) {
		if (len == sizeof(plain))
			continue;
		CHECK_U64(inflate_guarded(packed, packed_len, NULL, len, &clean), PROTO_Z_SIZE);
		CHECK(clean);
	}
}

TEST(cut_streams)
{
	bool clean;

	setup();
	for (size_t len = 0; len < packed_len; len++) {
		CHECK_U64(inflate_guarded(packed, len, NULL, sizeof(plain), &clean), PROTO_Z_CORRUPT);
		CHECK(clean);
	}
}

TEST(bytes_after_the_end)
{
	bool clean;

	setup();
	packed[packed_len] = 0;
	CHECK_U64(inflate_guarded(packed, packed_len + 1, NULL, sizeof(plain), &clean), PROTO_Z_CORRUPT);
	memcpy(packed + packed_len, packed, 100); /* a second stream */
	CHECK_U64(inflate_guarded(packed, packed_len + 100, NULL, sizeof(plain), &clean), PROTO_Z_CORRUPT);
}

/* A flipped bit is found by the format, the size or the checksum, or at least does no harm.  A few go unnoticed: the up to 7
 * bits that pad the last byte before the checksum, and a copy from a near-by place with the same Adler-32, which is weak. */
TEST(damaged_streams)
{
	unsigned unnoticed = 0;

	setup();
	for (size_t bit = 0; bit < packed_len * 8; bit++) {
		enum proto_err err;
		bool clean;

		packed[bit / 8] ^= (uint8_t)(1U << bit % 8);
		err = inflate_guarded(packed, packed_len, NULL, sizeof(plain), &clean);
		packed[bit / 8] ^= (uint8_t)(1U << bit % 8);
		CHECK(clean);
		CHECK(err == PROTO_OK || err == PROTO_Z_CORRUPT || err == PROTO_Z_SIZE);
		unnoticed += err == PROTO_OK;
	}
	CHECK(unnoticed < 20);
}

TEST(not_a_zlib_stream)
{
	static const uint8_t gzip[] = { 0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0 };
	static const uint8_t raw[] = { 3, 0 };			       /* deflate without head */
	static const uint8_t dictionary[] = { 0x78, 0xbb, 0, 0, 0, 1, 3, 0 }; /* wants a preset dictionary */
	bool clean;

	CHECK_U64(inflate_guarded(gzip, sizeof(gzip), NULL, 0, &clean), PROTO_Z_CORRUPT);
	CHECK_U64(inflate_guarded(raw, sizeof(raw), NULL, 0, &clean), PROTO_Z_CORRUPT);
	CHECK_U64(inflate_guarded(dictionary, sizeof(dictionary), NULL, 10, &clean), PROTO_Z_CORRUPT);
	CHECK_U64(zbody_inflate(NULL, 0, NULL, 0), PROTO_Z_CORRUPT);
}

/* A bomb declared small costs no more than declared; declared as large as it is, it is implausible only above the bound. */
TEST(bombs)
{
	const size_t len = 8 << 20;
	uint8_t *zeros = get(len), *z = get(len);
	size_t z_len;
	bool clean;

	fill(zeros, len, 0);
	CHECK_U64(zbody_deflate(9, zeros, len, z, len, &z_len), PROTO_OK);
	CHECK(z_len < 16384);
	CHECK(zbody_plausible(z_len, len));
	CHECK(!zbody_plausible(z_len, (uint64_t)len * 2));
	CHECK_U64(inflate_guarded(z, z_len, NULL, 1000, &clean), PROTO_Z_SIZE);
	CHECK(clean);
	free(zeros);
	free(z);
}

TEST(plausible)
{
	CHECK(zbody_plausible(0, 0));
	CHECK(zbody_plausible(0, 1031));
	CHECK(!zbody_plausible(0, 1032));
	CHECK(zbody_plausible(100, 100 * 1032));
	CHECK(!zbody_plausible(100, 101 * 1032));
	CHECK(!zbody_plausible(1000, UINT64_MAX));
	CHECK(zbody_plausible(UINT64_MAX, UINT64_MAX));
}

/* The result fits exactly, or there is no gain; nothing is written past cap. */
TEST(deflate_respects_the_room)
{
	uint8_t out[sizeof(packed)];
	size_t len;

	setup();
	for (size_t cap = 0; cap <= packed_len; cap++) {
		uint8_t *room = get(cap);
		enum proto_err err = zbody_deflate(6, plain, sizeof(plain), room, cap, &len);

		free(room);
		CHECK_U64(err, cap < packed_len ? PROTO_Z_NO_GAIN : PROTO_OK);
	}
	CHECK_U64(len, packed_len);
	fill(plain, sizeof(plain), 2);
	CHECK_U64(zbody_deflate(9, plain, sizeof(plain), out, sizeof(plain) - 1, &len), PROTO_Z_NO_GAIN);
	CHECK_U64(zbody_deflate(9, plain, 0, NULL, 0, &len), PROTO_Z_NO_GAIN);
}
