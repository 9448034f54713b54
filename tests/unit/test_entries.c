/* Entries in the bodies of UPLOAD and DOWNLOAD, and subprotocol names: good ones come back byte-identical, cut ones and
 * malformed ones are refused, and a failed step does not move the walk. */
#include "tests/harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/message.h"

/* One entry of either kind, for tests that treat both alike. */
struct entry {
	bool up;
	struct upload_entry u;
	struct download_entry d;
};

static enum proto_err
entry_next(struct view *rest, struct entry *e)
{
	return e->up ? upload_entry_next(rest, &e->u) : download_entry_next(rest, &e->d);
}

static struct view
entry_changeset(const struct entry *e)
{
	return e->up ? e->u.changeset : e->d.changeset;
}

static size_t
entry_format(const struct entry *e, char *out)
{
	return e->up ? upload_entry_format(&e->u, out) : download_entry_format(&e->d, out);
}

static const struct {
	bool up;
	const char *body;
	size_t len;
	size_t nentries;
} good[] = {
#define BODY(text) text, sizeof(text) - 1
	{ true, BODY(""), 0 },
	{ false, BODY(""), 0 },
	{ true, BODY("1 0 0 0 0 "), 1 },
	{ true, BODY("2 0 375321802855 0 3 \x3f\0\n"), 1 },
	{ true, BODY("2 0 375321802855 0 3 1 23 0 375321802856 0 2 \n\n5 1 375321802857 0 0 "), 3 },
	{ true, BODY("9223372036854775807 9223372036854775807 9223372036854775807 9223372036854775807 1 x"), 1 },
	{ false, BODY("1 0 0 1 0 0 "), 1 },
	{ false, BODY("7 0 375321802855 3 4096 5 1 2 3"), 1 },
	{ false, BODY("7 0 375321802855 3 4 4 1 2 8 0 375321802856 3 0 1  9 4 375321802856 5 9 0 "), 3 },
};

/* Walks a copy of body in a block of its own, formatting each entry back to where it stood. */
static enum proto_err
walk(bool up, const char *body, size_t len, size_t *nentries)
{
	uint8_t *copy = malloc(len > 0 ? len : 1);
	struct view rest = { copy, len };
	struct entry e = { .up = up };
	enum proto_err err;

	if (copy == NULL)
		abort();
	memcpy(copy, body, len);
	for (*nentries = 0;; (*nentries)++) {
		struct view before = rest;
		char head[MSG_ENTRY_HEAD_MAX];
		size_t head_len;

		err = entry_next(&rest, &e);
		if (err != PROTO_OK) {
			if (rest.ptr != before.ptr || rest.len != before.len)
				harness_fail(__FILE__, __LINE__, "a failed step moved");
			break;
		}
		head_len = entry_format(&e, head);
		if (before.ptr + head_len != entry_changeset(&e).ptr || memcmp(head, before.ptr, head_len) != 0)
			harness_fail(__FILE__, __LINE__, "entry %zu is formatted differently", *nentries);
		if (entry_changeset(&e).ptr + entry_changeset(&e).len != rest.ptr || rest.ptr + rest.len != copy + len)
			harness_fail(__FILE__, __LINE__, "entry %zu is not followed by the rest", *nentries);
		if (rest.len > before.len) { /* it ran over the end */
			harness_fail(__FILE__, __LINE__, "entry %zu is longer than the body", *nentries);
			break;
		}
	}
	free(copy);
	return err;
}

TEST(good_entries)
{
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		size_t n;

		CHECK_U64(walk(good[i].up, good[i].body, good[i].len, &n), PROTO_MORE);
		CHECK_U64(n, good[i].nentries);
	}
}

/* A body cut anywhere ends in an error, unless the cut falls between two entries. */
TEST(cut_entries)
{
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		size_t clean = 0;

		for (size_t len = 0; len < good[i].len; len++) {
			size_t n;
			enum proto_err err = walk(good[i].up, good[i].body, len, &n);

			CHECK(err == PROTO_MORE || err == PROTO_MSG_ENTRY);
			clean += err == PROTO_MORE;
		}
		CHECK_U64(clean, good[i].nentries);
	}
}

TEST(bad_entries)
{
	static const struct {
		bool up;
		const char *body;
	} bad[] = {
		{ true, " " },
		{ true, "x" },
		{ true, "01 0 0 0 0 " },
		{ true, "1 00 0 0 0 " },
		{ true, "-1 0 0 0 0 " },
		{ true, "+1 0 0 0 0 " },
		{ true, " 1 0 0 0 0 " },
		{ true, "1  0 0 0 0 " },
		{ true, "1 0 0 0 0\n" },
		{ true, "1 0 0 0 1 " },
		{ true, "1 0 0 0 5 1234" },
		{ true, "1 0 0 0 1\nx" },
		{ true, "1 0 0 0 9223372036854775807 x" },
		{ true, "1 0 0 0 9223372036854775808 x" },
		{ true, "1 0 0 0 18446744073709551615 x" },
		{ true, "1 0 0 0 18446744073709551617 x" },
		{ true, "9223372036854775808 0 0 0 0 " },
		{ true, "1 0 0 0 1 x1" },
		{ true, "1 0 0 0 0 \n" },
		{ false, "1 0 0 1 0 " },
		{ false, "1 0 0 1 0 1 " },
		{ false, "1 0 0 1 0 01 x" },
		{ false, "1 0 0 1 -5 1 x" },
		{ false, "1 0 0 1 0 9223372036854775807 x" },
		{ false, "1 0 0 1 0 0 2" },
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		size_t n;
		enum proto_err err = walk(bad[i].up, bad[i].body, strlen(bad[i].body), &n);

		if (err != PROTO_MSG_ENTRY)
			harness_fail(__FILE__, __LINE__, "got %d for \"%s\"", (int)err, bad[i].body);
	}
}

/* Distinct numbers, so that a swapped pair of members shows. */
TEST(entry_members)
{
	struct view rest = view_of("1 2 3 4 5 abcde");
	struct upload_entry u;
	struct download_entry d;

	CHECK_U64(upload_entry_next(&rest, &u), PROTO_OK);
	CHECK_U64(u.client_version, 1);
	CHECK_U64(u.server_version, 2);
	CHECK_U64(u.origin_timestamp, 3);
	CHECK_U64(u.origin_file_ident, 4);
	CHECK_MEM(u.changeset.ptr, u.changeset.len, "abcde", 5);
	rest = view_of("1 2 3 4 5 6 abcdef");
	CHECK_U64(download_entry_next(&rest, &d), PROTO_OK);
	CHECK_U64(d.server_version, 1);
	CHECK_U64(d.client_version, 2);
	CHECK_U64(d.origin_timestamp, 3);
	CHECK_U64(d.origin_file_ident, 4);
	CHECK_U64(d.original_size, 5);
	CHECK_MEM(d.changeset.ptr, d.changeset.len, "abcdef", 6);
}

TEST(longest_entry_head_fits)
{
	struct upload_entry u;
	struct download_entry d;
	char out[MSG_ENTRY_HEAD_MAX];

	memset(&u, 0xff, sizeof(u));
	memset(&d, 0xff, sizeof(d));
	CHECK(upload_entry_format(&u, out) <= sizeof(out));
	CHECK(download_entry_format(&d, out) <= sizeof(out));
}

TEST(good_subprotocols)
{
	static const struct {
		const char *text;
		enum msg_flavour flavour;
		unsigned min, max;
		bool canonical; /* what msg_format_subprotocol writes */
	} names[] = {
		{ "com.mongodb.realm-sync#14", MSG_PBS, 14, 14, true },
		{ "com.mongodb.realm-sync#8", MSG_PBS, 8, 8, true },
		{ "com.mongodb.realm-sync/7", MSG_PBS, 7, 7, true },
		{ "com.mongodb.realm-sync#7", MSG_PBS, 7, 7, false }, /* so real clients offer it */
		{ "com.mongodb.realm-sync/14", MSG_PBS, 14, 14, false },
		{ "com.mongodb.realm-sync#2-14", MSG_PBS, 2, 14, false },
		{ "com.mongodb.realm-sync/2-7", MSG_PBS, 2, 7, false },
		{ "com.mongodb.realm-sync#9-9", MSG_PBS, 9, 9, false },
		{ "com.mongodb.realm-sync#2147483647", MSG_PBS, INT32_MAX, INT32_MAX, true },
		{ "com.mongodb.realm-query-sync#12", MSG_FLX, 12, 12, true },
		{ "com.mongodb.realm-query-sync#2-14", MSG_FLX, 2, 14, false },
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct msg_subprotocol sp;
		char out[MSG_SUBPROTOCOL_MAX];
		size_t len;

		CHECK_U64(msg_parse_subprotocol(view_of(names[i].text), &sp), PROTO_OK);
		CHECK_U64(sp.flavour, names[i].flavour);
		CHECK_U64(sp.min, names[i].min);
		CHECK_U64(sp.max, names[i].max);
		if (!names[i].canonical)
			continue;
		len = msg_format_subprotocol(sp.flavour, sp.min, out);
		CHECK_STR(out, names[i].text);
		CHECK_U64(len, strlen(out));
	}
}

TEST(bad_subprotocols)
{
	static const struct {
		const char *text;
		enum proto_err err;
	} bad[] = {
		{ "", PROTO_MSG_UNKNOWN },
		{ "com", PROTO_MSG_UNKNOWN },
		{ "com.mongodb.realm-sync", PROTO_MSG_UNKNOWN },
		{ "com.mongodb.realm-sync14", PROTO_MSG_UNKNOWN },
		{ "com.mongodb.realm-syncs#14", PROTO_MSG_UNKNOWN },
		{ "com.mongodb.realm-Sync#14", PROTO_MSG_UNKNOWN },
		{ "com.mongodb.realm-query-sync", PROTO_MSG_UNKNOWN },
		{ " com.mongodb.realm-sync#14", PROTO_MSG_UNKNOWN },
		{ "chat", PROTO_MSG_UNKNOWN },
		{ "com.mongodb.realm-sync#", PROTO_MSG_SYNTAX },
		{ "com.mongodb.realm-sync#x", PROTO_MSG_SYNTAX },
		{ "com.mongodb.realm-sync#014", PROTO_MSG_SYNTAX },
		{ "com.mongodb.realm-sync#+14", PROTO_MSG_SYNTAX },
		{ "com.mongodb.realm-sync#-14", PROTO_MSG_SYNTAX },
		{ "com.mongodb.realm-sync#14-", PROTO_MSG_SYNTAX },
		{ "com.mongodb.realm-sync#14-2", PROTO_MSG_SYNTAX },
		{ "com.mongodb.realm-sync#2-14-15", PROTO_MSG_SYNTAX },
		{ "com.mongodb.realm-sync#2--14", PROTO_MSG_SYNTAX },
		{ "com.mongodb.realm-sync#14 ", PROTO_MSG_SYNTAX },
		{ "com.mongodb.realm-sync#14.5", PROTO_MSG_SYNTAX },
		{ "com.mongodb.realm-sync##14", PROTO_MSG_SYNTAX },
		{ "com.mongodb.realm-sync#2147483648", PROTO_MSG_SYNTAX },
		{ "com.mongodb.realm-sync#99999999999999999999999999", PROTO_MSG_SYNTAX },
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct msg_subprotocol sp;
		enum proto_err err = msg_parse_subprotocol(view_of(bad[i].text), &sp);

		if (err != bad[i].err)
			harness_fail(__FILE__, __LINE__, "got %d, want %d for \"%s\"", (int)err, (int)bad[i].err, bad[i].text);
	}
	CHECK_U64(msg_parse_subprotocol((struct view){ NULL, 0 }, &(struct msg_subprotocol){ .min = 0 }), PROTO_MSG_UNKNOWN);
}
