/* Records and their checksum: known values, round trips of every field, every cut and every flipped bit refused, and the rule of
 * growth (fields that a later version adds are passed over). */
#include <stdlib.h>
#include <string.h>

#include "buffer/be.h"
#include "buffer/crc32c.h"
#include "buffer/record.h"
#include "tests/harness.h"
#include "tests/storekit.h"

TEST(crc32c_known)
{
	static const struct {
		const char *data;
		size_t len;
		uint32_t crc;
	} rows[] = {
		{ "", 0, 0 },
		{ "123456789", 9, 0xe3069283 },
		{ "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 32, 0x8a9136aa }, /* RFC 3720 B.4 */
		{ "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"
		  "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 32, 0x62a8ab43 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		CHECK_U64(crc32c(0, rows[i].data, rows[i].len), rows[i].crc);
		CHECK_U64(crc32c_tables(0, rows[i].data, rows[i].len), rows[i].crc);
	}
}

/* Both ways agree at every alignment and length, and a checksum may be taken in pieces. */
TEST(crc32c_pieces)
{
	uint8_t buf[96];

	kit_fill(buf, sizeof(buf), 1, 1);
	for (size_t from = 0; from < 9; from++) {
		for (size_t len = 0; from + len <= sizeof(buf); len++) {
			uint32_t whole = crc32c(0, buf + from, len), split = crc32c(0, buf + from, len / 3);

			CHECK_U64(crc32c_tables(0, buf + from, len), whole);
			CHECK_U64(crc32c(split, buf + from + len / 3, len - len / 3), whole);
		}
	}
}

TEST(changeset_round_trip)
{
	static const uint32_t lens[] = { 0, 1, 31, 1024, 4096, 60000 };
	static uint8_t data[KIT_DATA_MAX], buf[KIT_DATA_MAX + RECORD_PEEK_LEN];

	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		struct store_record r = { .client_version = UINT64_MAX - i, .server_version = 0x0102030405060708u, .origin_timestamp = 3,
			.origin_file_ident = 1u << 31, .received_ms = UINT64_MAX, .data = data, .len = lens[i] };
		struct store_record got = { 0 };
		struct record_span span;
		size_t len = record_changeset_size(r.len);

		kit_fill(data, r.len, i, 7);
		record_encode_changeset(buf, 42, &r);
		CHECK_U64(record_decode_changeset(buf, len, 42, r.client_version, &got), STORE_OK);
		CHECK_U64(got.client_version, r.client_version);
		CHECK_U64(got.server_version, r.server_version);
		CHECK_U64(got.origin_timestamp, r.origin_timestamp);
		CHECK_U64(got.origin_file_ident, r.origin_file_ident);
		CHECK_U64(got.received_ms, r.received_ms);
		CHECK_MEM(got.data, got.len, data, r.len);
		CHECK_U64(record_peek(buf, RECORD_PEEK_LEN, 42, r.client_version, &span), STORE_OK);
		CHECK_U64(span.first, r.client_version);
		CHECK_U64(span.last, r.client_version);
		CHECK_U64(span.n, 1);
		CHECK_U64(span.bytes, r.len);
		CHECK_U64(span.oldest_ms, r.received_ms);
		/* found under another key */
		CHECK_U64(record_decode_changeset(buf, len, 43, r.client_version, &got), STORE_CORRUPT);
		CHECK_U64(record_decode_changeset(buf, len, 42, 1, &got), STORE_CORRUPT);
		CHECK_U64(record_peek(buf, RECORD_PEEK_LEN, 42, 1, &span), STORE_CORRUPT);
	}
}

/* The layout is a promise: these are the bytes of FORMAT's example. */
TEST(changeset_bytes)
{
	static const uint8_t want[] = {
		0x48, 0x46, 0x72, 0x63, 1, 1, 0, 32, 0, 0, 0, 3, 0xd2, 0xa7, 0xdb, 0x9f, /* head: magic, version, kind, lengths, CRC */
		0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 9,				/* file 5, client version 9 */
		0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 7,				/* server version 8, origin timestamp 7 */
		0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 1, 0x8b, 0xcf, 0xe5, 0x68, 0,		/* origin file 6, received */
		'a', 'b', 'c',
	};
	struct store_record r = { .client_version = 9, .server_version = 8, .origin_timestamp = 7, .origin_file_ident = 6,
		.received_ms = 1700000000000u, .data = (const uint8_t *)"abc", .len = 3 };
	uint8_t got[sizeof(want)];

	CHECK_U64(record_changeset_size(3), sizeof(want));
	record_encode_changeset(got, 5, &r);
	CHECK_MEM(got, sizeof(got), want, sizeof(want));
}

/* Every cut and every single flipped bit is noticed.  The copy is malloced to the byte, so that a sanitizer sees an overrun. */
TEST(changeset_damage)
{
	uint8_t data[40], whole[RECORD_PEEK_LEN + sizeof(data)];
	struct store_record r = kit_record(data, 1, 2, sizeof(data)), got;

	record_encode_changeset(whole, 1, &r);
	for (size_t len = 0; len < sizeof(whole); len++) {
		uint8_t *cut = malloc(len > 0 ? len : 1);

		memcpy(cut, whole, len);
		CHECK_U64(record_decode_changeset(cut, len, 1, 2, &got), STORE_CORRUPT);
		free(cut);
	}
	for (size_t bit = 0; bit < sizeof(whole) * 8; bit++) {
		whole[bit / 8] ^= (uint8_t)(1u << bit % 8);
		CHECK(record_decode_changeset(whole, sizeof(whole), 1, 2, &got) != STORE_OK);
		whole[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	CHECK_U64(record_decode_changeset(whole, sizeof(whole), 1, 2, &got), STORE_OK);
}

/* Puts the checksum right after a change. */
static void
reseal(uint8_t *buf, size_t len)
{
	be_put32(buf + 12, crc32c(crc32c(0, buf, 12), buf + 16, len - 16));
}

/* A later version may add fields behind ours: we pass over them.  It may not take any away, and a higher version number is not
 * ours to read. */
TEST(growth)
{
	uint8_t data[40], buf[RECORD_PEEK_LEN + 24 + sizeof(data)], *fields_len = buf + 6;
	struct store_record r = kit_record(data, 1, 2, sizeof(data)), got = { 0 };
	struct record_span span;
	size_t len = record_changeset_size(r.len);

	record_encode_changeset(buf, 1, &r);
	memmove(buf + RECORD_PEEK_LEN + 24, buf + RECORD_PEEK_LEN, r.len);
	memset(buf + RECORD_PEEK_LEN, 0xee, 24);
	be_put16(fields_len, RECORD_CHANGESET_FIELDS + 24);
	reseal(buf, len + 24);
	CHECK_U64(record_decode_changeset(buf, len + 24, 1, 2, &got), STORE_OK);
	CHECK_MEM(got.data, got.len, data, sizeof(data));
	CHECK_U64(record_peek(buf, RECORD_PEEK_LEN, 1, 2, &span), STORE_OK);
	CHECK_U64(span.bytes, sizeof(data));

	record_encode_changeset(buf, 1, &r);
	be_put16(fields_len, RECORD_CHANGESET_FIELDS - 8);
	be_put32(buf + 8, r.len + 8);
	reseal(buf, len);
	CHECK_U64(record_decode_changeset(buf, len, 1, 2, &got), STORE_CORRUPT);

	record_encode_changeset(buf, 1, &r);
	buf[4] = RECORD_VERSION + 1;
	reseal(buf, len);
	CHECK_U64(record_decode_changeset(buf, len, 1, 2, &got), STORE_VERSION);
	CHECK_U64(record_peek(buf, len, 1, 2, &span), STORE_VERSION);
}

/* ---- runs ---- */

enum { RUN_N = 5 };

/* A run of file 1 with versions 10, 20 ... 50 of the given lengths, at out; returns its length. */
static size_t
make_run(uint8_t *out, const uint32_t *lens)
{
	static uint8_t data[KIT_DATA_MAX];
	struct record_span span = { .first = 10, .n = RUN_N, .oldest_ms = 1700000000010u };
	size_t len = RECORD_HEAD_LEN + RECORD_RUN_FIELDS;

	for (uint64_t i = 0; i < RUN_N; i++) {
		struct store_record r = kit_record(data, 1, 10 * (i + 1), lens[i]);

		record_encode_entry(out + len, 1, &r);
		len += RECORD_ENTRY_HEAD + r.len;
		span.last = r.client_version;
		span.bytes += r.len;
	}
	record_seal_run(out, len, 1, &span);
	return len;
}

/* Walks as a reader does: from behind each bad one again.  Counts the good ones, in order and right; bad ones go to *nbad. */
static unsigned
walk_around(const uint8_t *buf, size_t len, const uint32_t *lens, uint64_t after, unsigned *nbad)
{
	struct store_record r;
	struct record_walk w;
	enum store_err err;
	unsigned good = 0;

	*nbad = 0;
	for (;;) {
		err = record_walk_begin(&w, buf, len, 1, 10, after);
		while (err == STORE_OK && (err = record_walk_next(&w, after, &r)) == STORE_OK) {
			if (r.client_version % 10 != 0 || r.client_version < 10 || r.client_version > 10 * RUN_N || r.client_version <= after ||
			    !kit_same(&r, 1, lens[r.client_version / 10 - 1]))
				return 1000; /* a wrong one was taken for good */
			after = r.client_version;
			good++;
		}
		if (err == STORE_NOTFOUND)
			return good;
		if (w.bad_version <= after) /* its head is bad: the store does not come to it a second time */
			return w.bad_version == 10 && good == 0 ? 0 : 2000;
		after = w.bad_version;
		++*nbad;
	}
}

TEST(run_round_trip)
{
	static const uint32_t lens[RUN_N] = { 5, 0, 1000, 1, 30000 };
	static uint8_t buf[40000];
	size_t len = make_run(buf, lens);
	struct record_span span;
	unsigned nbad;

	CHECK_U64(record_peek(buf, RECORD_PEEK_LEN, 1, 10, &span), STORE_OK);
	CHECK_U64(span.first, 10);
	CHECK_U64(span.last, 50);
	CHECK_U64(span.n, RUN_N);
	CHECK_U64(span.bytes, 31006);
	CHECK_U64(span.oldest_ms, 1700000000010u);
	for (uint64_t after = 0; after <= 60; after++) {
		CHECK_U64(walk_around(buf, len, lens, after, &nbad), after >= 50 ? 0 : RUN_N - after / 10);
		CHECK_U64(nbad, 0);
	}
	CHECK_U64(record_peek(buf, RECORD_PEEK_LEN, 2, 10, &span), STORE_CORRUPT);
	CHECK_U64(record_peek(buf, RECORD_PEEK_LEN, 1, 11, &span), STORE_CORRUPT);
}

/* A flipped bit costs one entry at most, unless it is in a head that tells where things are; nothing wrong is ever taken for right. */
TEST(run_damage)
{
	static const uint32_t lens[RUN_N] = { 5, 0, 40, 1, 60 };
	uint8_t whole[RECORD_HEAD_LEN + RECORD_RUN_FIELDS + RUN_N * RECORD_ENTRY_HEAD + 106];
	size_t len = make_run(whole, lens), first_entry = RECORD_HEAD_LEN + RECORD_RUN_FIELDS;
	unsigned good, nbad, whole_lost = 0;

	CHECK_U64(len, sizeof(whole));
	for (size_t bit = 0; bit < len * 8; bit++) {
		whole[bit / 8] ^= (uint8_t)(1u << bit % 8);
		good = walk_around(whole, len, lens, 0, &nbad);
		CHECK(good <= RUN_N);
		CHECK(good == RUN_N || nbad > 0);
		if (bit / 8 >= first_entry && good + 1 < RUN_N)
			whole_lost++;
		whole[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	CHECK(whole_lost <= RUN_N * 32); /* only the 32 bits of a length can cost more than their own entry */
	for (size_t cut = 0; cut < len; cut++) {
		uint8_t *copy = malloc(cut > 0 ? cut : 1);

		memcpy(copy, whole, cut);
		good = walk_around(copy, cut, lens, 0, &nbad);
		free(copy);
		CHECK(good < RUN_N && nbad > 0);
	}
}

/* A file in which every field has another value, and the strings their greatest length. */
static struct store_file
full_file(void)
{
	struct store_file f = { .id = 77, .file_ident = 1, .file_ident_salt = 2, .download_server_version = 3,
		.download_client_version = 4, .latest_server_version = 5, .latest_server_version_salt = 6, .held_client_version = 7,
		.held_server_version = 8, .upstream_client_version = 9, .upstream_server_version = 10, .shown_client_version = 11,
		.shown_server_version = 12, .locked_server_version = 13, .final_client_version = 14, .final_server_version = 15,
		.state = STORE_FILE_LOST, .state_code = 208, .state_time_ms = 16, .ack = STORE_ACK_RELAY, .downloaded = 1,
		.offered_client_version = 21, .is_subserver = 1, .created_ms = 17, .seen_ms = UINT64_MAX, .backlog_records = 18, .backlog_bytes = 19, .oldest_ms = 20 };

	memset(f.endpoint, 'e', STORE_ENDPOINT_MAX);
	memset(f.path, 0xff, STORE_PATH_MAX);
	memset(f.state_text, '\n', STORE_TEXT_MAX);
	memset(f.bind, '{', STORE_BIND_MAX);
	return f;
}

TEST(file_round_trip)
{
	struct store_file f = full_file(), got;
	uint8_t buf[RECORD_FILE_MAX];
	size_t len = record_encode_file(buf, &f);

	CHECK_U64(len, RECORD_FILE_MAX);
	memset(&got, 0xa5, sizeof(got));
	CHECK_U64(record_decode_file(buf, len, 77, &got), STORE_OK);
	/* field by field through the encoding: padding is not ours to compare */
	{
		uint8_t again[RECORD_FILE_MAX];

		CHECK_MEM(again, record_encode_file(again, &got), buf, len);
	}
	CHECK_STR(got.endpoint, f.endpoint);
	CHECK_STR(got.path, f.path);
	CHECK_STR(got.state_text, f.state_text);
	CHECK_STR(got.bind, f.bind);
	CHECK_U64(got.id, 77);
	CHECK_U64(got.file_ident, 1);
	CHECK_U64(got.final_server_version, 15);
	CHECK_U64(got.state, STORE_FILE_LOST);
	CHECK_U64(got.state_code, 208);
	CHECK_U64(got.ack, STORE_ACK_RELAY);
	CHECK_U64(got.downloaded, 1);
	CHECK_U64(got.is_subserver, 1);
	CHECK_U64(got.offered_client_version, 21);
	CHECK_U64(got.seen_ms, UINT64_MAX);
	CHECK_U64(got.oldest_ms, 20);
	CHECK_U64(record_decode_file(buf, len, 78, &got), STORE_CORRUPT);
}

TEST(file_damage)
{
	struct store_file f = kit_file(3), got;
	uint8_t buf[RECORD_FILE_MAX];
	size_t len;

	f.id = 3;
	len = record_encode_file(buf, &f);
	for (size_t cut = 0; cut < len; cut++) {
		uint8_t *copy = malloc(cut > 0 ? cut : 1);

		memcpy(copy, buf, cut);
		CHECK_U64(record_decode_file(copy, cut, 3, &got), STORE_CORRUPT);
		free(copy);
	}
	/* A sealed record whose fields end too early, at every place but before the fields that were added later. */
	for (size_t cut = RECORD_HEAD_LEN; cut < len; cut++) {
		size_t left = len - cut; /* of these: user (16), bind (2), offered (8) */
		enum store_err want = left == 16 || left == 16 + 2 || left == 16 + 2 + 8 ? STORE_OK : STORE_CORRUPT;
		uint8_t *copy = malloc(cut);

		memcpy(copy, buf, cut);
		be_put16(copy + 6, (uint16_t)(cut - RECORD_HEAD_LEN));
		reseal(copy, cut);
		CHECK_U64(record_decode_file(copy, cut, 3, &got), want);
		CHECK_U64(got.offered_client_version, 0);
		free(copy);
	}
	/* A NUL inside a string would make two identities look the same. */
	buf[RECORD_HEAD_LEN + 21 * 8 + 2 * 4 + 3 + 2] = '\0';
	reseal(buf, len);
	CHECK_U64(record_decode_file(buf, len, 3, &got), STORE_CORRUPT);
}

TEST(file_growth)
{
	struct store_file f = kit_file(3), got;
	uint8_t buf[RECORD_FILE_MAX + 50];
	size_t len;

	f.id = 3;
	len = record_encode_file(buf, &f);
	memset(buf + len, 0x5a, 50);
	be_put16(buf + 6, (uint16_t)(len + 50 - RECORD_HEAD_LEN));
	reseal(buf, len + 50);
	CHECK_U64(record_decode_file(buf, len + 50, 3, &got), STORE_OK);
	CHECK_U64(got.created_ms, f.created_ms);

	/* a state of a later program */
	len = record_encode_file(buf, &f);
	be_put32(buf + RECORD_HEAD_LEN + 21 * 8, STORE_FILE_STATE_MAX + 1);
	reseal(buf, len);
	CHECK_U64(record_decode_file(buf, len, 3, &got), STORE_VERSION);
}
