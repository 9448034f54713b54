/* The codec of changesets: recorded ones come back byte for byte, each instruction is read as its writer meant it, and what is not
 * well formed is refused with the right reason. */
#include "tests/harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/changeset.h"
#include "protocol/changeset_text.h"
#include "protocol/message.h"
#include "protocol/zbody.h"
#include "tests/peer/trace.h"

static struct cs_parsed parsed;

/* Hex digits, spaces ignored, to bytes of exactly that size on the heap, so that a sanitizer sees a read past the end. */
static uint8_t *
from_hex(const char *hex, size_t *len)
{
	uint8_t *bytes = malloc(strlen(hex) / 2 + 1), *exact;
	unsigned byte;

	for (*len = 0; *hex != '\0'; hex += 2) {
		while (*hex == ' ')
			hex++;
		if (*hex == '\0' || sscanf(hex, "%2x", &byte) != 1)
			break;
		bytes[(*len)++] = (uint8_t)byte;
	}
	exact = malloc(*len > 0 ? *len : 1);
	memcpy(exact, bytes, *len);
	free(bytes);
	return exact;
}

/* Parses bytes, encodes every item, compares. */
static void
check_round_trip(const uint8_t *bytes, size_t len)
{
	struct cs_writer w = { 0 };
	struct cs_instr i;

	CHECK_U64(cs_parse(&parsed, bytes, len), PROTO_OK);
	for (size_t n = 0; n < parsed.n; n++) {
		cs_get(&parsed, n, &i);
		cs_write(&w, &i, NULL);
	}
	CHECK(!w.failed);
	CHECK_MEM(w.buf, w.len, bytes, len);
	cs_writer_free(&w);
}

/* ---- recorded changesets ---- */

static size_t nchangesets, ninstructions, by_code[64];

static void
check_changeset(struct view changeset)
{
	struct cs_instr i;

	check_round_trip(changeset.ptr, changeset.len);
	for (size_t n = 0; n < parsed.n; n++) {
		cs_get(&parsed, n, &i);
		by_code[i.code]++;
	}
	nchangesets++;
	ninstructions += parsed.n;
}

static void
check_entries(bool up, struct view rest)
{
	struct upload_entry u;
	struct download_entry d;

	while (!harness_failed() && (up ? upload_entry_next(&rest, &u) : download_entry_next(&rest, &d)) == PROTO_OK)
		check_changeset(up ? u.changeset : d.changeset);
	CHECK_U64(rest.len, 0);
}

static void
check_message(const struct trace_event *ev)
{
	struct message m;
	struct view body;
	uint64_t plain_len;
	uint8_t *plain;
	bool up;

	CHECK_U64(msg_parse(ev->from_client ? MSG_C2S : MSG_S2C, MSG_PBS, ev->message.ptr, ev->message.len, &m, &body), PROTO_OK);
	if (m.type != MSG_C_UPLOAD && m.type != MSG_S_DOWNLOAD)
		return;
	up = m.type == MSG_C_UPLOAD;
	if ((up ? m.upload.is_compressed : m.download.is_compressed) == 0) {
		check_entries(up, body);
		return;
	}
	plain_len = up ? m.upload.uncompressed_size : m.download.uncompressed_size;
	CHECK(zbody_plausible(body.len, plain_len));
	plain = malloc(plain_len);
	CHECK(plain != NULL);
	CHECK_U64(zbody_inflate(body.ptr, body.len, plain, plain_len), PROTO_OK);
	check_entries(up, (struct view){ plain, plain_len });
	free(plain);
}

TEST(changeset_recorded_ones_come_back_byte_identical)
{
	glob_t files;
	size_t nfiles = trace_files(harness_shared(), &files);

	for (size_t i = 0; i < nfiles && !harness_failed(); i++) {
		struct trace *tr = trace_open(files.gl_pathv[i]);
		struct trace_event ev;

		while (tr != NULL && trace_next(tr, &ev) == 1 && !harness_failed())
			if (ev.kind == TRACE_MESSAGE)
				check_message(&ev);
		if (harness_failed())
			harness_fail(files.gl_pathv[i], (int)trace_line(tr), "failed at this line");
		trace_close(tr);
	}
	globfree(&files);
	if (nfiles == 0)
		SKIP("no recorded traffic beside the repository");
	CHECK(nchangesets > 100);
	printf("# %zu changesets, %zu items\n", nchangesets, ninstructions);
	for (unsigned code = 0; code < 64; code++)
		if (by_code[code] > 0)
			printf("# code %2u: %zu\n", code, by_code[code]);
}

/* ---- every instruction, key and value ---- */

#define STRINGS "3f0001 54 3f0101 66 3f0201 6b " /* 0 "T", 1 "f", 2 "k" */

static const char *const good[] = {
	"",
	"3f0000", /* the empty string */
	STRINGS "00 00 01",
	STRINGS "00 00 00 01 01 00",
	STRINGS "00 00 02 01 03 01",
	STRINGS "00 00 00 01 40 00", /* GlobalKey: no key of one's own */
	STRINGS "01 00",
	STRINGS "02 00 00",				    /* null */
	STRINGS "02 00 01 ffffffffffffffffff40",	    /* the smallest integer */
	STRINGS "02 00 03 02",				    /* str */
	STRINGS "02 00 0a 000102030405060708090a0b",
	STRINGS "03 00 0b 000102030405060708090a0b0c0d0e0f",
	STRINGS "03 00 40 ffffffffffffffffff01 00", /* GlobalKey: two unsigned */
	STRINGS "04 00 01 07 01 00 00 01",	    /* Update: null, default */
	STRINGS "04 00 01 07 01 01 05 01 c000 01",  /* [5] = 64, of 1 */
	STRINGS "04 00 01 07 01 02 40 02 00 02 01 09",
	STRINGS "04 00 01 07 01 01 40 02 03 03616263 00",
	STRINGS "04 00 01 07 01 00 04 0400ff0001 00",
	STRINGS "04 00 01 07 01 00 05 808001 ff93ebdc03 00", /* 16384 s, 999999999 ns */
	STRINGS "04 00 01 07 01 00 05 7f 40 00",		  /* -64 s, -1 ns */
	STRINGS "04 00 01 07 01 00 06 0000803f 00",
	STRINGS "04 00 01 07 01 00 07 000000000000f03f 00",
	STRINGS "04 00 01 07 01 00 08 e400 45 01 00", /* decimal as real encoders write it: 100 */
	STRINGS "04 00 01 07 01 00 08 64 45 01 00",   /* and as plain groups */
	STRINGS "04 00 01 07 01 00 08 ffffffffffffffffffffffffffffffff01 00 00 00",
	STRINGS "04 00 01 07 01 00 09 00 01 08 00",
	STRINGS "04 00 01 07 01 00 09 00 03 02 00",
	STRINGS "04 00 01 07 01 00 0a 000102030405060708090a0b 00",
	STRINGS "04 00 01 07 01 00 0b 000102030405060708090a0b0c0d0e0f 00",
	STRINGS "04 00 01 07 01 00 41 00 04 00 01 07 01 00 42 00 04 00 01 07 01 00 43 00 04 00 01 07 01 00 44 00 04 00 01 07 01 00 45 00",
	STRINGS "05 00 01 07 01 00 41",
	STRINGS "06 00 01 00 01 00",
	STRINGS "06 00 01 09 01 01 00",
	STRINGS "06 00 01 01 00 02 03 06 00 02 0b 00 03",
	STRINGS "07 00 01",
	STRINGS "08 00 01 07 01 01 00 01 01 00",
	STRINGS "09 00 01 07 01 01 00 03 04",
	STRINGS "0a 00 01 07 01 02 40 02 03 04",
	STRINGS "0b 00 01 07 01 00 00 0b 00 01 07 01 00 01",
	STRINGS "0c 00 01 07 01 00 01 05",
	STRINGS "0d 00 01 07 01 00 01 05",
};

TEST(changeset_every_form_comes_back_byte_identical)
{
	for (size_t n = 0; n < sizeof(good) / sizeof(good[0]) && !harness_failed(); n++) {
		size_t len;
		uint8_t *bytes = from_hex(good[n], &len);

		check_round_trip(bytes, len);
		if (harness_failed())
			printf("# in %s\n", good[n]);
		free(bytes);
	}
}

/* Whatever is cut off behind the strings is refused as cut off: no instruction here is the beginning of another one. */
TEST(changeset_every_cut_is_refused)
{
	for (size_t n = 2; n < sizeof(good) / sizeof(good[0]); n++) {
		size_t len, ends;
		uint8_t *bytes = from_hex(good[n], &len);

		CHECK_U64(cs_parse(&parsed, bytes, len), PROTO_OK);
		for (size_t cut = 1; cut < len; cut++) {
			uint8_t *part = malloc(cut);
			enum proto_err err;

			memcpy(part, bytes, cut);
			CHECK_U64(cs_parse(&parsed, bytes, len), PROTO_OK);
			for (ends = 0; ends < parsed.n && parsed.at[ends] != cut; ends++)
				;
			err = ends < parsed.n ? PROTO_OK : PROTO_CS_TRUNCATED;
			CHECK_U64(cs_parse(&parsed, part, cut), err);
			free(part);
		}
		free(bytes);
	}
}

static const struct {
	const char *hex;
	enum proto_err err;
} bad[] = {
	{ "0e", PROTO_CS_UNKNOWN },
	{ "3e", PROTO_CS_UNKNOWN },
	{ "c000", PROTO_CS_UNKNOWN },		/* 64 */
	{ "40", PROTO_CS_INTEGER },		/* a negative code */
	{ "bf00", PROTO_CS_INTEGER },		/* 63 in two bytes */
	{ "3f0101 54", PROTO_CS_STRING },	/* the first has index 0 */
	{ "3f0001 54 3f0001 55", PROTO_CS_STRING },
	{ "3f0001 54 3f0101 54", PROTO_CS_STRING }, /* twice */
	{ "3f0001 54 3f0101 55 3f0201 56 3f0301 54 0103", PROTO_CS_STRING },
	{ "3f0000 3f0100", PROTO_CS_STRING },
	{ "3f000554", PROTO_CS_TRUNCATED },
	{ "3f00ffffffffffffffffff01", PROTO_CS_TRUNCATED },	 /* 2^64 - 1 bytes */
	{ "3f00ffffffffffffffffff02", PROTO_CS_INTEGER },	 /* over 64 bits */
	{ "3f00ffffffffffffffffffff01", PROTO_CS_INTEGER },	 /* 11 bytes */
	{ "3f0040", PROTO_CS_INTEGER },				 /* negative size */
	{ "3f ffffffff8f01 00", PROTO_CS_INTEGER },		 /* index over 32 bits */
	{ "0100", PROTO_CS_STRING },				 /* no such string */
	{ "0101 3f0001 54", PROTO_CS_STRING },
	{ STRINGS "0103", PROTO_CS_STRING },
	{ STRINGS "00 00 03", PROTO_CS_UNKNOWN },		 /* kind of table */
	{ STRINGS "00 00 00 01 00 00", PROTO_CS_UNKNOWN },	 /* null is no type of keys */
	{ STRINGS "00 00 00 01 04 00", PROTO_CS_UNKNOWN },
	{ STRINGS "00 00 00 01 01 02", PROTO_CS_INTEGER },	 /* a boolean */
	{ STRINGS "02 00 02 01", PROTO_CS_UNKNOWN },		 /* bool is no key */
	{ STRINGS "02 00 0c 01", PROTO_CS_UNKNOWN },
	{ STRINGS "02 00 41 01", PROTO_CS_UNKNOWN },
	{ STRINGS "02 00 03 03", PROTO_CS_STRING },
	{ STRINGS "02 00 01 ffffffffffffffffff01", PROTO_CS_INTEGER }, /* 2^64 - 1 is not signed */
	{ STRINGS "04 00 01 07 01 01 41 02 00 00", PROTO_CS_PATH },    /* -2 */
	{ STRINGS "04 00 01 07 01 01 8080808010 00 00", PROTO_CS_INTEGER }, /* index 2^32 */
	{ STRINGS "04 00 01 07 01 01 40 03 00 00", PROTO_CS_STRING },
	{ STRINGS "04 00 01 07 01 00 00 02", PROTO_CS_INTEGER },       /* is_default */
	{ STRINGS "04 00 01 07 01 00 40 00", PROTO_CS_UNKNOWN },       /* a GlobalKey is no value */
	{ STRINGS "04 00 01 07 01 00 46 00", PROTO_CS_UNKNOWN },       /* -7 */
	{ STRINGS "04 00 01 07 01 00 0c 00", PROTO_CS_UNKNOWN },
	{ STRINGS "04 00 01 07 01 00 02 02 00", PROTO_CS_INTEGER },    /* neither false nor true */
	{ STRINGS "04 00 01 07 01 00 05 01 8094ebdc03 00", PROTO_CS_INTEGER }, /* 10^9 ns */
	{ STRINGS "04 00 01 07 01 00 05 01 40 00", PROTO_CS_INTEGER },	       /* 1 s, -1 ns */
	{ STRINGS "04 00 01 07 01 00 08 8000 00 00 00", PROTO_CS_INTEGER },    /* longer than needed */
	{ STRINGS "04 00 01 07 01 00 08 ffffffffffffffffffffffffffffffffff01 00 00 00", PROTO_CS_INTEGER },
	{ STRINGS "04 00 01 07 01 00 08 01 8080808020 00 00", PROTO_CS_INTEGER },
	{ STRINGS "04 00 01 07 01 00 08 01 00 02 00", PROTO_CS_INTEGER },
	{ STRINGS "08 00 01 07 01 00 01 01 00", PROTO_CS_PATH }, /* no index where one is due */
	{ STRINGS "08 00 01 07 01 02 00 40 02 01 01 00", PROTO_CS_PATH },
	{ STRINGS "09 00 01 07 01 01 40 02 01 02", PROTO_CS_PATH },
	{ STRINGS "0a 00 01 07 01 00 02", PROTO_CS_PATH },
	{ STRINGS "0b 00 01 07 01 00 04", PROTO_CS_UNKNOWN },	 /* collection */
	{ STRINGS "06 00 01 41 01 00", PROTO_CS_UNKNOWN },	 /* type of column */
	{ STRINGS "06 00 01 01 01 04", PROTO_CS_UNKNOWN },
	{ STRINGS "06 00 01 09 01 00 03", PROTO_CS_STRING },
	{ STRINGS "06 00 01 01 01 02 0c", PROTO_CS_UNKNOWN },
	{ STRINGS "04 00 01 07 01 ffffffff0f 00", PROTO_CS_TRUNCATED }, /* 2^32 - 1 elements announced */
};

TEST(changeset_what_is_malformed_is_refused)
{
	for (size_t n = 0; n < sizeof(bad) / sizeof(bad[0]); n++) {
		size_t len;
		uint8_t *bytes = from_hex(bad[n].hex, &len);
		enum proto_err err = cs_parse(&parsed, bytes, len);

		if (err != bad[n].err)
			printf("# %s: %s\n", bad[n].hex, proto_strerror(err));
		CHECK_U64(err, bad[n].err);
		CHECK_U64(parsed.n, 0);
		CHECK_U64(parsed.nstr, 0);
		free(bytes);
	}
}

/* Many strings are compared in another way than few. */
TEST(changeset_many_strings_are_told_apart)
{
	for (unsigned twice = 0; twice < 2; twice++) {
		struct cs_writer w = { 0 };

		for (uint32_t i = 0; i < 300; i++) {
			struct cs_instr add = { .code = CS_INTERN_STRING };
			char text[16];

			add.intern.index = i;
			(void)snprintf(text, sizeof(text), "%u", twice && i == 299 ? 0 : i * 7919 % 1000);
			add.intern.string = view_of(text);
			cs_write(&w, &add, NULL);
		}
		CHECK_U64(cs_parse(&parsed, w.buf, w.len), twice ? PROTO_CS_STRING : PROTO_OK);
		CHECK_U64(parsed.nstr, twice ? 0 : 300);
		cs_writer_free(&w);
	}
}

/* ---- values ---- */

static struct cs_instr
one(const char *hex, uint8_t **bytes)
{
	struct cs_instr i = { .code = CS_INTERN_STRING };
	size_t len;

	*bytes = from_hex(hex, &len);
	if (cs_parse(&parsed, *bytes, len) != PROTO_OK)
		harness_fail(__FILE__, __LINE__, "%s does not parse", hex);
	else
		cs_get(&parsed, parsed.n - 1, &i);
	return i;
}

TEST(changeset_update_is_read_as_meant)
{
	struct cs_element e;
	uint8_t *bytes;
	struct cs_instr i = one(STRINGS "04 00 01 c000 01 03 40 02 e400 40 01 07 000000000000f03f 01", &bytes);
	uint32_t str[CS_STRINGS_MAX];

	CHECK_U64(i.code, CS_UPDATE);
	CHECK_MEM(parsed.str[i.table].ptr, parsed.str[i.table].len, "T", 1);
	CHECK_U64(i.key.type, CS_INT);
	CHECK_U64(i.key.integer, 64);
	CHECK_U64(i.field, 1);
	CHECK_U64(i.path.n, 3);
	CHECK(i.path.indexed && !i.path.ends_in_index && i.is_default);
	CHECK(cs_path_next(&i.path, &e) && !e.is_index);
	CHECK_U64(e.value, 2);
	CHECK(cs_path_next(&i.path, &e) && e.is_index);
	CHECK_U64(e.value, 100);
	CHECK(cs_path_next(&i.path, &e) && !e.is_index);
	CHECK(!cs_path_next(&i.path, &e));
	CHECK_U64(i.value.type, CS_DOUBLE);
	CHECK_MEM(i.value.bytes.ptr, i.value.bytes.len, "\0\0\0\0\0\0\xf0\x3f", 8);
	CHECK_U64(cs_strings(&i, str), 2);
	free(bytes);
}

TEST(changeset_strings_are_told)
{
	static const struct {
		const char *hex;
		size_t n;
	} rows[] = {
		{ STRINGS, 0 },
		{ STRINGS "00 00 01", 1 },
		{ STRINGS "00 00 00 02 01 00", 2 },
		{ STRINGS "01 00", 1 },
		{ STRINGS "02 00 03 02", 2 },
		{ STRINGS "04 00 03 02 01 00 09 00 03 02 00", 5 },
		{ STRINGS "05 00 01 07 01 00 41", 2 },
		{ STRINGS "06 00 01 09 01 01 02", 3 },
		{ STRINGS "07 00 01", 2 },
	};

	for (size_t n = 0; n < sizeof(rows) / sizeof(rows[0]); n++) {
		uint32_t str[CS_STRINGS_MAX];
		uint8_t *bytes;
		struct cs_instr i = one(rows[n].hex, &bytes);

		CHECK_U64(cs_strings(&i, str), rows[n].n);
		free(bytes);
	}
}

TEST(changeset_strings_are_renumbered)
{
	static const uint32_t map[] = { 70, 64, 1 };
	struct cs_writer w = { 0 };
	uint8_t *bytes;
	struct cs_instr i = one(STRINGS "04 00 03 02 01 01 40 02 09 00 03 01 00", &bytes);

	cs_write(&w, &i, map);
	CHECK_MEM(w.buf, w.len, "\x04\xc6\x00\x03\x01\xc0\x00\x01\x40\x01\x09\xc6\x00\x03\xc0\x00\x00", 17);
	cs_writer_free(&w);
	free(bytes);
}

/* ---- text ---- */

TEST(changeset_text_for_people)
{
	static const struct {
		const char *hex, *want;
	} rows[] = {
		{ STRINGS "00 00 01", "AddTable T (embedded)" },
		{ STRINGS "00 00 02 01 01 01", "AddTable T (asymmetric) key f int nullable" },
		{ STRINGS "01 00", "EraseTable T" },
		{ STRINGS "02 00 03 02", "CreateObject T[\"k\"]" },
		{ STRINGS "03 00 40 2a 0b", "EraseObject T[2a-b]" },
		{ STRINGS "04 00 01 41 01 03 40 02 e400 40 01 01 07 01", "Update T[-2].f.k[100].f = 7 default" },
		{ STRINGS "04 00 01 07 01 01 05 03 04610a221b 06", "Update T[7].f[5] = \"a\\x0a\\\"\\x1b\" of 6" },
		{ STRINGS "04 00 01 07 01 00 04 0400ff0001 00", "Update T[7].f = binary 00ff0001" },
		{ STRINGS "04 00 01 07 01 00 05 7f 40 00", "Update T[7].f = timestamp -64 s -1 ns" },
		{ STRINGS "04 00 01 07 01 00 06 0000c03f 00", "Update T[7].f = 1.5" },
		{ STRINGS "04 00 01 07 01 00 07 000000000000f8bf 00", "Update T[7].f = -1.5" },
		{ STRINGS "04 00 01 07 01 00 08 e400 41 01 00", "Update T[7].f = decimal -0x64 * 10^-2" },
		{ STRINGS "04 00 01 07 01 00 08 ffffffffffffffffffff01 00 00 00", "Update T[7].f = decimal 0x7fffffffffffffffff * 10^0" },
		{ STRINGS "04 00 01 07 01 00 09 00 00 00", "Update T[7].f = link T[null]" },
		{ STRINGS "04 00 01 07 01 00 41 00", "Update T[7].f = (object)" },
		{ STRINGS "05 00 01 07 01 00 41", "AddInteger T[7].f += -2" },
		{ STRINGS "06 00 01 09 01 01 00", "AddColumn T.f link to T nullable (list)" },
		{ STRINGS "06 00 01 00 01 00", "AddColumn T.f mixed nullable (single)" },
		{ STRINGS "07 00 01", "EraseColumn T.f" },
		{ STRINGS "08 00 01 07 01 01 00 02 01 00", "ArrayInsert T[7].f[0] = true of 0" },
		{ STRINGS "09 00 01 07 01 01 00 03 04", "ArrayMove T[7].f[0] to 3 of 4" },
		{ STRINGS "0a 00 01 07 01 01 02 03", "ArrayErase T[7].f[2] of 3" },
		{ STRINGS "0b 00 01 07 01 00 03", "Clear T[7].f (set)" },
		{ STRINGS "0c 00 01 07 01 00 01 05", "SetInsert T[7].f 5" },
		{ "3f00025b00 01 00", "EraseTable \"[\\x00\"" },
	};
	char text[CS_TEXT_MAX];

	for (size_t n = 0; n < sizeof(rows) / sizeof(rows[0]); n++) {
		uint8_t *bytes;

		(void)one(rows[n].hex, &bytes);
		cs_text(&parsed, parsed.n - 1, text);
		CHECK_STR(text, rows[n].want);
		cs_text(&parsed, 0, text);
		CHECK_STR(text, ""); /* InternString */
		free(bytes);
	}
}

/* A long string is cut, a long path ends the line. */
TEST(changeset_text_is_bounded)
{
	char hex[8192], text[CS_TEXT_MAX];
	uint8_t *bytes;

	strcpy(hex, "3f00c802");
	for (unsigned i = 0; i < 328; i++)
		strcat(hex, "1b");
	strcat(hex, "02 00 03 00");
	(void)one(hex, &bytes);
	cs_text(&parsed, 1, text);
	CHECK(strlen(text) < CS_TEXT_MAX);
	CHECK(strstr(text, "(328 bytes)") != NULL);
	free(bytes);
	strcpy(hex, STRINGS "05 00 01 07 01 e807");
	for (unsigned i = 0; i < 1000; i++)
		strcat(hex, "2a");
	strcat(hex, "00");
	(void)one(hex, &bytes);
	cs_text(&parsed, 3, text);
	CHECK_U64(strlen(text), CS_TEXT_MAX - 1);
	CHECK_STR(text + CS_TEXT_MAX - 4, "...");
	free(bytes);
}

TEST(changeset_memory_is_given_back)
{
	cs_free(&parsed);
	CHECK(parsed.at == NULL && parsed.str == NULL);
}
