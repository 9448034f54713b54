/* protocol/ws: every frame of RFC 6455 that is legal, every way to be illegal, and both however the bytes arrive.
 *
 * Expected results are words (ws_events.h).  Frames are built here byte by byte, not with ws.c's own formatter, which is
 * itself compared with them.  The idea: check_stream() decodes one stream whole, byte by byte and in two pieces at every
 * boundary, and wants the same words, the same error at the same byte, each time. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/ws.h"

#include "tests/harness.h"
#include "tests/unit/ws_events.h"

#define NO_LIMIT UINT64_MAX
#define BIG 70000 /* bytes of payload, over the 16-bit length form */

static const uint8_t key[4] = { 0x37, 0xfa, 0x21, 0x3d }; /* the one of RFC 6455 5.7 */

struct stream {
	uint8_t buf[BIG + 64];
	size_t len;
};

static struct stream stream;	/* the input of the running test */
static struct ws_events events; /* what the decoder made of it */
static uint8_t payload[BIG];
static char want[4 * BIG];

static void
put_byte(struct stream *s, unsigned byte)
{
	if (s->len == sizeof(s->buf))
		abort();
	s->buf[s->len++] = (uint8_t)byte;
}

/* Appends a frame as a peer of receiver sends it; first = FIN, RSV and opcode. */
static void
put_frame(struct stream *s, enum ws_role receiver, unsigned first, const void *data, size_t len)
{
	unsigned masked = receiver == WS_SERVER ? 0x80 : 0;
	int size = len < 126 ? 0 : len < 65536 ? 2 : 8;
	size_t i;

	put_byte(s, first);
	put_byte(s, masked | (size == 0 ? (unsigned)len : size == 2 ? 126 : 127));
	while (size-- > 0)
		put_byte(s, (unsigned)((uint64_t)len >> (8 * size)) & 0xff);
	for (i = 0; masked && i < 4; i++)
		put_byte(s, key[i]);
	for (i = 0; i < len; i++)
		put_byte(s, ((const uint8_t *)data)[i] ^ (masked ? key[i % 4] : 0));
}

/* Replaces the stream by the bytes written in hex (spaces between them are skipped). */
static void
set_hex(struct stream *s, const char *hex)
{
	unsigned byte;

	for (s->len = 0; *hex != '\0'; hex += hex[0] == ' ' ? 1 : 2)
		if (hex[0] != ' ' && sscanf(hex, "%2x", &byte) == 1)
			put_byte(s, byte);
}

/* Appends to want: word, and the bytes in hex. */
static void
want_word(const char *word, const void *data, size_t len)
{
	size_t i, at = strlen(want);

	at += (size_t)sprintf(want + at, "%s", word);
	for (i = 0; i < len; i++)
		at += (size_t)sprintf(want + at, "%02x", ((const uint8_t *)data)[i]);
	(void)sprintf(want + at, "; ");
}

/* Decodes stream in pieces of piece bytes after a first one of first bytes. */
static void
decode(enum ws_role role, uint64_t max_message, size_t first, size_t piece)
{
	size_t at, n = first;

	ws_events_begin(&events, role, max_message);
	for (at = 0; at < stream.len; at += n, n = piece) {
		if (n > stream.len - at)
			n = stream.len - at;
		ws_events_feed(&events, stream.buf + at, n);
	}
	ws_events_feed(&events, NULL, 0);
	ws_events_end(&events);
}

/* See the head of this file.  Long streams are split near their ends and at some places between. */
static void
check_stream(enum ws_role role, uint64_t max_message, const char *words)
{
	size_t split, used;

	decode(role, max_message, stream.len, stream.len);
	used = events.used;
	CHECK_STR(events.text, words);
	CHECK_STR(events.broken == NULL ? "" : events.broken, "");
	decode(role, max_message, 1, 1);
	CHECK_STR(events.text, words);
	CHECK_U64(events.used, used);
	CHECK_STR(events.broken == NULL ? "" : events.broken, "");
	for (split = 0; split <= stream.len; split++) {
		if (stream.len > 1000 && split > 32 && split + 32 < stream.len && split % 16381 != 0)
			continue;
		decode(role, max_message, split, stream.len);
		CHECK_STR(events.text, words);
		CHECK_U64(events.used, used);
		CHECK_STR(events.broken == NULL ? "" : events.broken, "");
	}
}

static void
fill_payload(void)
{
	size_t i;

	for (i = 0; i < sizeof(payload); i++)
		payload[i] = (uint8_t)(i * 167 + (i >> 8));
}

TEST(ws_rfc_examples)
{
	static const struct {
		enum ws_role role;
		const char *hex, *words;
	} rows[] = { /* RFC 6455 5.7, in its order */
		{ WS_CLIENT, "81 05 48 65 6c 6c 6f", "text fin 5; data 48656c6c6f; end; " },
		{ WS_SERVER, "81 85 37 fa 21 3d 7f 9f 4d 51 58", "text fin 5; data 48656c6c6f; end; " },
		{ WS_CLIENT, "01 03 48 65 6c 80 02 6c 6f", "text part 3; data 48656c6c6f; end; " },
		{ WS_CLIENT, "89 05 48 65 6c 6c 6f", "ping 48656c6c6f; " },
		{ WS_SERVER, "8a 85 37 fa 21 3d 7f 9f 4d 51 58", "pong 48656c6c6f; " },
	};
	size_t i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		set_hex(&stream, rows[i].hex);
		check_stream(rows[i].role, NO_LIMIT, rows[i].words);
	}
	fill_payload(); /* 256 bytes and 64 KiB of binary data: the two heads, then any payload */
	set_hex(&stream, "82 7e 01 00");
	memcpy(stream.buf + stream.len, payload, 256);
	stream.len += 256;
	(void)strcpy(want, "binary fin 256; ");
	want_word("data ", payload, 256);
	want_word("end", NULL, 0);
	check_stream(WS_CLIENT, NO_LIMIT, want);
	set_hex(&stream, "82 7f 00 00 00 00 00 01 00 00");
	check_stream(WS_CLIENT, NO_LIMIT, "binary fin 65536; ");
}

TEST(ws_sizes)
{
	static const size_t sizes[] = { 0, 1, 2, 3, 4, 5, 124, 125, 126, 127, 128, 255, 256, 257, 65534, 65535, 65536, 65537, BIG };
	uint8_t head[WS_HEAD_MAX];
	size_t i, n;
	int role;

	fill_payload();
	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		for (role = WS_SERVER; role <= WS_CLIENT; role++) {
			stream.len = 0;
			put_frame(&stream, (enum ws_role)role, 0x82, payload, sizes[i]);
			(void)sprintf(want, "binary fin %zu; ", sizes[i]);
			if (sizes[i] > 0)
				want_word("data ", payload, sizes[i]);
			want_word("end", NULL, 0);
			check_stream((enum ws_role)role, sizes[i], want);

			n = ws_format_head(head, role == WS_SERVER ? WS_CLIENT : WS_SERVER, true, WS_BINARY, sizes[i], key);
			CHECK_MEM(head, n, stream.buf, stream.len - sizes[i]);
		}
	}
}

TEST(ws_head_only)
{
	static const struct {
		uint64_t len;
		const char *hex;
	} rows[] = {
		{ UINT64_C(1) << 31, "02 7f 00 00 00 00 80 00 00 00" },
		{ UINT64_C(1) << 32, "02 7f 00 00 00 01 00 00 00 00" },
		{ INT64_MAX, "02 7f 7f ff ff ff ff ff ff ff" },
	};
	uint8_t head[WS_HEAD_MAX];
	size_t i, n;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		set_hex(&stream, rows[i].hex);
		(void)sprintf(want, "binary part %llu; ", (unsigned long long)rows[i].len);
		check_stream(WS_CLIENT, NO_LIMIT, want);
		check_stream(WS_CLIENT, rows[i].len, want);
		check_stream(WS_CLIENT, rows[i].len - 1, "error 106; ");
		n = ws_format_head(head, WS_SERVER, false, WS_BINARY, rows[i].len, NULL);
		CHECK_MEM(head, n, stream.buf, stream.len);
	}
}

TEST(ws_malformed)
{
	static const struct {
		enum ws_role role;
		const char *hex, *before;
		enum proto_err err;
	} rows[] = {
		/* masked where it must not be, and the reverse; a zero key is a key */
		{ WS_SERVER, "82 00", "", PROTO_WS_MASK },
		{ WS_SERVER, "89 01 00", "", PROTO_WS_MASK },
		{ WS_CLIENT, "82 80 00 00 00 00", "", PROTO_WS_MASK },
		{ WS_CLIENT, "8a 80 37 fa 21 3d", "", PROTO_WS_MASK },
		{ WS_SERVER, "82 7e 01 00", "", PROTO_WS_MASK },
		/* not the shortest form, or over 63 bits */
		{ WS_CLIENT, "82 7e 00 00", "", PROTO_WS_LENGTH },
		{ WS_CLIENT, "82 7e 00 7d", "", PROTO_WS_LENGTH },
		{ WS_SERVER, "82 fe 00 7d 00 00 00 00", "", PROTO_WS_LENGTH },
		{ WS_CLIENT, "82 7f 00 00 00 00 00 00 00 00", "", PROTO_WS_LENGTH },
		{ WS_CLIENT, "82 7f 00 00 00 00 00 00 00 7e", "", PROTO_WS_LENGTH },
		{ WS_CLIENT, "82 7f 00 00 00 00 00 00 ff ff", "", PROTO_WS_LENGTH },
		{ WS_CLIENT, "82 7f 80 00 00 00 00 00 00 00", "", PROTO_WS_LENGTH },
		{ WS_SERVER, "82 ff 80 00 00 00 00 00 00 01 00 00 00 00", "", PROTO_WS_LENGTH },
		{ WS_CLIENT, "82 7f ff ff ff ff ff ff ff ff", "", PROTO_WS_LENGTH },
		/* control frames */
		{ WS_CLIENT, "09 00", "", PROTO_WS_CONTROL },
		{ WS_CLIENT, "0a 01 00", "", PROTO_WS_CONTROL },
		{ WS_CLIENT, "08 02 03 e8", "", PROTO_WS_CONTROL },
		{ WS_SERVER, "09 80 00 00 00 00", "", PROTO_WS_CONTROL },
		{ WS_CLIENT, "89 7e 00 7e", "", PROTO_WS_CONTROL },
		{ WS_SERVER, "88 fe 00 7e 00 00 00 00", "", PROTO_WS_CONTROL },
		{ WS_CLIENT, "8a 7f 00 00 00 00 00 01 00 00", "", PROTO_WS_CONTROL },
		{ WS_CLIENT, "02 01 aa 09 00", "binary part 1; data aa; ", PROTO_WS_CONTROL },
		/* order */
		{ WS_CLIENT, "80 00", "", PROTO_WS_ORDER },
		{ WS_CLIENT, "00 01 aa", "", PROTO_WS_ORDER },
		{ WS_SERVER, "80 80 00 00 00 00", "", PROTO_WS_ORDER },
		{ WS_CLIENT, "02 00 82 00", "binary part 0; ", PROTO_WS_ORDER },
		{ WS_CLIENT, "01 01 61 02 00", "text part 1; data 61; ", PROTO_WS_ORDER },
		{ WS_CLIENT, "02 00 00 00 81 00", "binary part 0; ", PROTO_WS_ORDER },
		{ WS_CLIENT, "82 00 80 00", "binary fin 0; end; ", PROTO_WS_ORDER },
		{ WS_CLIENT, "02 00 89 00 01 00", "binary part 0; ping; ", PROTO_WS_ORDER },
		{ WS_CLIENT, "02 00 80 00 00 00", "binary part 0; end; ", PROTO_WS_ORDER },
		/* close payloads */
		{ WS_CLIENT, "88 01 03", "", PROTO_WS_CLOSE },
		{ WS_SERVER, "88 81 00 00 00 00 03", "", PROTO_WS_CLOSE },
		{ WS_CLIENT, "88 02 00 00", "", PROTO_WS_CLOSE },
		{ WS_CLIENT, "88 02 03 ed", "", PROTO_WS_CLOSE }, /* 1005 */
		{ WS_CLIENT, "88 03 03 e8 80", "", PROTO_WS_CLOSE },
		{ WS_CLIENT, "88 05 03 e8 68 69 c3", "", PROTO_WS_CLOSE },
		{ WS_SERVER, "88 83 37 fa 21 3d 34 12 de", "", PROTO_WS_CLOSE }, /* 1000, ff */
		/* the peer's close is its last word */
		{ WS_CLIENT, "88 00 88 00", "close 1005; ", PROTO_WS_ORDER },
		{ WS_CLIENT, "88 02 03 e8 00", "close 1000; ", PROTO_WS_ORDER },
		{ WS_SERVER, "88 80 00 00 00 00 8a", "close 1005; ", PROTO_WS_ORDER },
		{ WS_CLIENT, "02 01 aa 88 00 80", "binary part 1; data aa; close 1005; ", PROTO_WS_ORDER },
	};
	size_t i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		set_hex(&stream, rows[i].hex);
		(void)sprintf(want, "%serror %d; ", rows[i].before, (int)rows[i].err);
		check_stream(rows[i].role, NO_LIMIT, want);
	}
}

TEST(ws_reserved)
{
	unsigned first;

	/* every first byte: reserved bits and opcodes are refused before anything else is looked at */
	for (first = 0; first < 256; first++) {
		unsigned opcode = first & 15;
		bool reserved = (first & 0x70) != 0 || (opcode > 2 && opcode < 8) || opcode > 10;

		stream.len = 0;
		put_frame(&stream, WS_SERVER, first, NULL, 0);
		decode(WS_SERVER, NO_LIMIT, stream.len, 1);
		CHECK_U64(events.err == PROTO_WS_RESERVED, reserved);
		stream.buf[1] = 0x7f; /* no mask, 64 bits */
		if (reserved)
			check_stream(WS_SERVER, NO_LIMIT, "error 100; ");
	}
}

/* What stands between two fragments, or no cut there at all. */
enum gap { GAP_NO_CUT, GAP_NOTHING, GAP_PING, GAP_PONG, GAP_EMPTY, GAP_KINDS };

#define FRAGMENTED 5		 /* bytes of payload */
#define GAPS (FRAGMENTED - 1)	 /* places to cut it at */

/* Builds stream and want for a message cut as gaps says (GAPS digits to the base GAP_KINDS). */
static void
build_fragments(enum ws_role role, unsigned gaps)
{
	static const char message[] = "Hello";
	size_t i, start = 0, data_start = 0;

	stream.len = 0;
	want[0] = '\0';
	for (i = 1; i <= FRAGMENTED; i++, gaps /= GAP_KINDS) {
		enum gap gap = i == FRAGMENTED ? GAP_NOTHING : (enum gap)(gaps % GAP_KINDS);

		if (gap == GAP_NO_CUT)
			continue;
		put_frame(&stream, role, (i == FRAGMENTED ? 0x80 : 0) | (start == 0 ? WS_BINARY : WS_CONTINUATION),
			  message + start, i - start);
		if (start == 0)
			(void)sprintf(want, "binary %s %zu; ", i < FRAGMENTED ? "part" : "fin", i);
		start = i;
		if (gap == GAP_EMPTY)
			put_frame(&stream, role, WS_CONTINUATION, NULL, 0);
		if (gap == GAP_PING || gap == GAP_PONG || i == FRAGMENTED) {
			want_word("data ", message + data_start, i - data_start);
			data_start = i;
		}
		if (gap == GAP_PING || gap == GAP_PONG) {
			put_frame(&stream, role, 0x80 | (gap == GAP_PING ? WS_PING : WS_PONG), "\1\2\3", 3);
			want_word(gap == GAP_PING ? "ping " : "pong ", "\1\2\3", 3);
		}
	}
	want_word("end", NULL, 0);
}

TEST(ws_every_fragmentation)
{
	unsigned gaps, all = GAP_KINDS * GAP_KINDS * GAP_KINDS * GAP_KINDS;

	for (gaps = 0; gaps < all && !harness_failed(); gaps++) {
		build_fragments(WS_SERVER, gaps);
		check_stream(WS_SERVER, FRAGMENTED, want);
		build_fragments(WS_CLIENT, gaps);
		check_stream(WS_CLIENT, FRAGMENTED, want);
	}
}

TEST(ws_empty_fragments)
{
	set_hex(&stream, "02 00 00 00 00 01 61 00 00 80 00 82 00 89 00 01 00 8a 01 07 80 00");
	check_stream(WS_CLIENT, 1, "binary part 0; data 61; end; binary fin 0; end; ping; text part 0; pong 07; end; ");
}

TEST(ws_control_payloads)
{
	size_t len;

	fill_payload();
	for (len = 0; len <= WS_CONTROL_MAX; len++) {
		stream.len = 0;
		want[0] = '\0';
		put_frame(&stream, WS_SERVER, 0x80 | WS_PING, payload, len);
		want_word(len > 0 ? "ping " : "ping", payload, len);
		put_frame(&stream, WS_SERVER, 0x80 | WS_PONG, payload + len, len);
		want_word(len > 0 ? "pong " : "pong", payload + len, len);
		check_stream(WS_SERVER, 0, want);
	}
}

TEST(ws_limit)
{
	static const struct {
		const char *hex, *words;
	} rows[] = { /* at most 4 bytes a message */
		{ "82 04 01 02 03 04 82 04 05 06 07 08", "binary fin 4; data 01020304; end; binary fin 4; data 05060708; end; " },
		{ "82 05", "error 106; " },
		{ "02 05", "error 106; " },
		{ "82 7e 00 7e", "error 106; " },
		{ "82 7f 7f ff ff ff ff ff ff ff", "error 106; " },
		{ "02 02 01 02 89 05 01 02 03 04 05 80 02 03 04", "binary part 2; data 0102; ping 0102030405; data 0304; end; " },
		{ "02 02 01 02 80 03", "binary part 2; data 0102; error 106; " },
		{ "02 02 01 02 00 02 03 04 00 00 80 01", "binary part 2; data 01020304; error 106; " },
		{ "02 04 01 02 03 04 80 7f 7f ff ff ff ff ff ff ff", "binary part 4; data 01020304; error 106; " },
	};
	size_t i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		set_hex(&stream, rows[i].hex);
		check_stream(WS_CLIENT, 4, rows[i].words);
	}
	set_hex(&stream, "82 00 82 01");
	check_stream(WS_CLIENT, 0, "binary fin 0; end; error 106; ");
}

TEST(ws_close_codes)
{
	static const struct {
		unsigned first, last;
	} legal[] = { { 1000, 1003 }, { 1007, 1014 }, { 3000, 4999 } };
	unsigned code, i;

	for (code = 0; code < 65536; code++) {
		uint8_t data[2] = { (uint8_t)(code >> 8), (uint8_t)code };
		bool ok = false;

		for (i = 0; i < 3; i++)
			ok = ok || (code >= legal[i].first && code <= legal[i].last);
		CHECK_U64(ws_close_code_ok(code), ok);
		stream.len = 0;
		put_frame(&stream, WS_CLIENT, 0x88, data, 2);
		(void)sprintf(want, ok ? "close %u; " : "error 105; ", code);
		decode(WS_CLIENT, 0, stream.len, 1);
		CHECK_STR(events.text, want);
	}
}

/* Decodes a close frame with reason; false = refused. */
static bool
reason_ok(const void *reason, size_t len)
{
	uint8_t data[WS_CONTROL_MAX] = { 0x03, 0xe8 };

	memcpy(data + 2, reason, len);
	stream.len = 0;
	put_frame(&stream, WS_CLIENT, 0x88, data, len + 2);
	decode(WS_CLIENT, 0, stream.len, 1);
	return events.err == PROTO_MORE;
}

TEST(ws_close_utf8)
{
	static const char *const bad[] = { "\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xed\xbf\xbf",
		"\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "a\xc3", "a\xe2\x82", "a\xf0\x9f\x98", "\xe2\x28\xa1",
		"\xf0\x28\x8c\xbc", "\xf0\x90\x28\xbc", "\xf0\x9f\x98\x28", "\xc3\xa4\xa4" };
	unsigned c, i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK(!reason_ok(bad[i], strlen(bad[i])));
	for (c = 0; c < 0x110000; c++) {
		size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
		uint8_t text[4];

		if (c > 0x1100 && c % 0x800 > 0x40) /* all, but for a sample where nothing changes */
			continue;
		for (i = 0; i < n; i++)
			text[i] = (uint8_t)(0x80 | (c >> (6 * (n - 1 - i)) & 0x3f));
		text[0] = (uint8_t)(n == 1 ? c : (0xf00 >> n & 0xf0) | (c >> (6 * (n - 1))));
		CHECK_U64(reason_ok(text, n), c < 0xd800 || c > 0xdfff);
	}
	for (c = 0; c < 65536; c++) { /* every pair of bytes */
		uint8_t pair[2] = { (uint8_t)(c >> 8), (uint8_t)c };
		bool ascii = pair[0] < 0x80 && pair[1] < 0x80;
		bool two = pair[0] >= 0xc2 && pair[0] <= 0xdf && (pair[1] & 0xc0) == 0x80;

		CHECK_U64(reason_ok(pair, 2), ascii || two);
	}
}

TEST(ws_close_reasons)
{
	set_hex(&stream, "88 06 03 e8 c3 a4 6f 6b");
	check_stream(WS_CLIENT, 0, "close 1000 c3a46f6b; ");
	stream.len = 0;
	memset(payload, 'x', WS_CONTROL_MAX);
	memcpy(payload, "\x0f\xa0", 2);
	put_frame(&stream, WS_SERVER, 0x88, payload, WS_CONTROL_MAX);
	want[0] = '\0';
	want_word("close 4000 ", payload + 2, WS_CONTROL_MAX - 2);
	check_stream(WS_SERVER, 0, want);
}

TEST(ws_payload_is_not_withheld)
{
	struct ws_decoder d;
	struct ws_event ev;
	uint8_t buf[] = { 0x82, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d };
	size_t used;

	ws_decoder_init(&d, WS_SERVER, 5);
	CHECK_U64(ws_decode(&d, buf, sizeof(buf), &used, &ev), PROTO_OK);
	CHECK_U64(ev.type, WS_EV_BEGIN);
	CHECK_U64(used, 6);
	CHECK_U64(ws_decode(&d, buf + 6, 3, &used, &ev), PROTO_OK);
	CHECK_U64(ev.type, WS_EV_DATA);
	CHECK(ev.data.ptr == buf + 6);
	CHECK_MEM(ev.data.ptr, ev.data.len, "Hel", 3);
	CHECK_U64(used, 3);
	CHECK_U64(ws_decode(&d, NULL, 0, &used, &ev), PROTO_MORE);
	CHECK_U64(ev.type, WS_EV_NONE);
}

TEST(ws_mask_against_bytes)
{
	static const uint64_t offsets[] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, UINT64_MAX - 5, (UINT64_C(1) << 32) - 1 };
	static uint8_t got[256], ref[256];
	size_t align, len, o, i;

	for (align = 0; align < 33; align++) {
		for (len = 0; len <= 140; len++) {
			for (o = 0; o < sizeof(offsets) / sizeof(offsets[0]); o++) {
				for (i = 0; i < sizeof(got); i++)
					got[i] = ref[i] = (uint8_t)(i * 29 + len);
				for (i = 0; i < len; i++)
					ref[align + i] ^= key[(offsets[o] + i) % 4];
				ws_mask(got + align, len, key, offsets[o]);
				CHECK_MEM(got, sizeof(got), ref, sizeof(ref));
			}
		}
	}
}

TEST(ws_mask_in_pieces)
{
	uint8_t whole[100], pieces[100];
	size_t a, b;

	for (a = 0; a <= sizeof(whole); a++) {
		for (b = a; b <= sizeof(whole); b++) {
			memset(whole, 0x5a, sizeof(whole));
			memset(pieces, 0x5a, sizeof(pieces));
			ws_mask(whole, sizeof(whole), key, 3);
			ws_mask(pieces, a, key, 3);
			ws_mask(pieces + a, b - a, key, 3 + a);
			ws_mask(pieces + b, sizeof(pieces) - b, key, 3 + b);
			CHECK_MEM(pieces, sizeof(pieces), whole, sizeof(whole));
		}
	}
}

TEST(ws_format_close)
{
	uint8_t out[WS_CONTROL_MAX];
	char reason[400];
	size_t i;

	CHECK_MEM(out, ws_format_close(out, 1000, "bye"), "\x03\xe8" "bye", 5);
	CHECK_MEM(out, ws_format_close(out, 4999, ""), "\x13\x87", 2);
	CHECK_U64(ws_format_close(out, 1005, "unused"), 0);
	CHECK_MEM(out, ws_format_close(out, 1011, "a\xff" "b"), "\x03\xf3" "a", 3);

	memset(reason, 'r', sizeof(reason) - 1);
	reason[sizeof(reason) - 1] = '\0';
	CHECK_U64(ws_format_close(out, 1001, reason), WS_CONTROL_MAX);
	CHECK_MEM(out + 2, WS_CONTROL_MAX - 2, reason, WS_CONTROL_MAX - 2);

	/* two-byte characters: 123 is odd, so the last one does not fit unless one byte stands before them */
	for (i = 0; i < 120; i++)
		memcpy(reason + 2 * i, "\xc3\xa4", 2);
	CHECK_U64(ws_format_close(out, 1001, reason), WS_CONTROL_MAX - 1);
	CHECK(reason_ok(out + 2, WS_CONTROL_MAX - 3));
	memmove(reason + 1, reason, 240);
	reason[0] = 'r';
	CHECK_U64(ws_format_close(out, 1001, reason), WS_CONTROL_MAX);
	CHECK(reason_ok(out + 2, WS_CONTROL_MAX - 2));
}
