/* Pre-merge, rule by rule (design.md section 6): what is dropped, what is kept and why, what a run is, what comes out. That it is
 * right whatever others do is test_merge's part. */
#include "tests/harness.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/premerge.h"
#include "tests/merge/edit.h"

#define MAX_BYTES (1 << 20)

/* ---- edits in short ---- */

static struct edit
at(enum cs_code code, int64_t key, const char *field)
{
	struct edit e = { .code = code, .key = key };

	edit_name(e.table, "T");
	edit_name(e.field, field);
	return e;
}

static struct edit
step(struct edit e, const char *key)
{
	edit_name(e.path[e.n++].key, key);
	e.prior_size = 0;
	return e;
}

static struct edit
item(struct edit e, uint32_t index)
{
	e.path[e.n++] = (struct edit_step){ .is_index = true, .index = index };
	e.prior_size = index + 1;
	return e;
}

static struct edit
type(struct edit e, enum cs_type t)
{
	e.value.type = t;
	return e;
}

static struct edit
is_default(struct edit e)
{
	e.is_default = true;
	return e;
}

static struct edit
set(int64_t key, const char *field)
{
	return type(at(CS_UPDATE, key, field), CS_INT);
}

#define ADD(key, field) at(CS_ADD_INTEGER, key, field)
#define CREATE(key) at(CS_CREATE_OBJECT, key, "")
#define ERASE(key) at(CS_ERASE_OBJECT, key, "")

/* ---- a backlog ---- */

#define NCHANGESETS 8
#define NEDITS 8
struct changeset_of_edits {
	uint64_t timestamp, server_version, origin;
	struct edit edit[NEDITS];
	unsigned n;
	uint8_t *bytes; /* owned, if not NULL */
	size_t len;
};

static struct changeset_of_edits backlog[NCHANGESETS];
static unsigned nbacklog;

static void
begin(void)
{
	for (unsigned i = 0; i < NCHANGESETS; i++)
		free(backlog[i].bytes);
	memset(backlog, 0, sizeof(backlog));
	nbacklog = 0;
}

/* A newer changeset. Every number in it is another one, so that edits can be told apart. */
static void
commit(uint64_t timestamp, unsigned n, ...)
{
	static int64_t number;
	struct changeset_of_edits *c = &backlog[nbacklog++];
	struct cs_writer w = { 0 };
	struct edit_strings strings = { .n = 0 };
	va_list ap;

	c->timestamp = timestamp;
	va_start(ap, n);
	for (c->n = 0; c->n < n; c->n++) {
		c->edit[c->n] = va_arg(ap, struct edit);
		if (c->edit[c->n].code == CS_ADD_INTEGER)
			c->edit[c->n].number = ++number % 50;
		if (c->edit[c->n].value.type == CS_INT)
			c->edit[c->n].value.integer = ++number % 50;
		edit_write(&w, &strings, &c->edit[c->n]);
	}
	va_end(ap);
	c->bytes = w.buf;
	c->len = w.len;
}

static struct upload_entry
entry(unsigned i)
{
	return (struct upload_entry){ .client_version = i + 1, .server_version = backlog[i].server_version,
		.origin_timestamp = backlog[i].timestamp, .origin_file_ident = backlog[i].origin,
		.changeset = { backlog[i].bytes, backlog[i].len } };
}

/* Tells which edits of changeset i are in bytes: a letter each, '-' where one is not. */
static void
spell(unsigned i, struct view bytes, char *out)
{
	struct cs_parsed c = { 0 };
	struct edit e;
	unsigned next = 0;

	if (cs_parse(&c, bytes.ptr, bytes.len) != PROTO_OK) {
		strcpy(out, "?");
		cs_free(&c);
		return;
	}
	for (unsigned n = 0; n < backlog[i].n; n++) {
		while (next < c.n && !edit_read(&c, next, &e))
			next++;
		if (next < c.n && memcmp(&e, &backlog[i].edit[n], sizeof(e)) == 0) {
			*out++ = 'x';
			next++;
		} else {
			*out++ = '-';
		}
	}
	*out = '\0';
	cs_free(&c);
}

/* Pre-merges the backlog. The result has a word for each changeset, oldest first, and in it an x for each edit that is kept, a - for
 * each that is dropped; a changeset that comes out empty is "0". */
static const char *
premerged_within(size_t max_bytes)
{
	static char text[NCHANGESETS * (NEDITS + 2)];
	char word[NCHANGESETS][NEDITS + 2];
	struct premerge *p = premerge_new(max_bytes);

	for (unsigned i = nbacklog; i-- > 0;) {
		struct upload_entry e = entry(i);
		struct view out = { NULL, 0 };

		switch (premerge_feed(p, &e, &out)) {
		case PREMERGE_KEEP:
			spell(i, e.changeset, word[i]);
			break;
		case PREMERGE_REPLACE:
			spell(i, out, word[i]);
			break;
		case PREMERGE_EMPTY:
			strcpy(word[i], "0");
		}
	}
	premerge_free(p);
	text[0] = '\0';
	for (unsigned i = 0; i < nbacklog; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s", i > 0 ? " " : "", word[i]);
	return text;
}

static const char *
premerged(void)
{
	return premerged_within(MAX_BYTES);
}

/* ---- rule (a) ---- */

TEST(premerge_later_update_drops_earlier_writes)
{
	begin();
	commit(1, 2, set(1, "a"), set(1, "b"));
	commit(2, 2, ADD(1, "a"), set(2, "a"));
	commit(2, 1, set(1, "a"));
	CHECK_STR(premerged(), "-x -x x");
}

TEST(premerge_within_one_changeset)
{
	begin();
	commit(1, 3, set(1, "a"), set(1, "a"), set(1, "a"));
	CHECK_STR(premerged(), "--x");
}

TEST(premerge_emptied)
{
	begin();
	commit(1, 1, set(1, "a"));
	commit(2, 1, set(1, "a"));
	CHECK_STR(premerged(), "0 x");
}

TEST(premerge_paths_into_dictionaries_and_embedded_objects)
{
	begin();
	commit(1, 3, step(set(1, "d"), "k"), step(set(1, "d"), "l"), step(step(set(1, "e"), "a"), "b"));
	commit(2, 2, step(type(set(1, "d"), CS_ERASED), "k"), step(step(type(set(1, "e"), CS_NULL), "a"), "b"));
	CHECK_STR(premerged(), "-x- xx");
}

TEST(premerge_only_by_a_timestamp_that_is_not_lower)
{
	begin();
	commit(5, 1, set(1, "a"));
	commit(9, 1, set(1, "a"));
	commit(7, 1, set(1, "a"));
	CHECK_STR(premerged(), "0 x x"); /* the clock went back: 9 is kept, and it drops 5 */
}

TEST(premerge_only_plain_values_that_are_not_default)
{
	static const enum cs_type types[] = { CS_OBJECT, CS_LIST, CS_DICTIONARY, CS_SET };

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		begin();
		commit(1, 1, type(set(1, "a"), types[i]));
		commit(2, 1, set(1, "a"));
		CHECK_STR(premerged(), "x x");
		begin();
		commit(1, 1, set(1, "a"));
		commit(2, 1, type(set(1, "a"), types[i]));
		CHECK_STR(premerged(), "x x");
	}
	begin();
	commit(1, 1, set(1, "a"));
	commit(2, 1, is_default(set(1, "a")));
	CHECK_STR(premerged(), "x x");
	begin();
	commit(1, 1, is_default(set(1, "a")));
	commit(2, 1, set(1, "a"));
	CHECK_STR(premerged(), "x x");
}

/* A newer AddInteger of another device is dropped by the string, but added to the integer. */
TEST(premerge_only_by_a_value_that_does_the_same_to_counters)
{
	begin();
	commit(1, 3, type(set(1, "m"), CS_LIST), set(1, "i"), type(set(1, "e"), CS_ERASED));
	commit(2, 3, type(set(1, "m"), CS_NULL), type(set(1, "i"), CS_NULL), type(set(1, "e"), CS_INT));
	commit(3, 3, set(1, "m"), type(set(1, "i"), CS_ERASED), type(set(1, "e"), CS_NULL));
	CHECK_STR(premerged(), "x-x 0 xxx");
}

TEST(premerge_not_by_an_add_integer_nor_what_has_an_index)
{
	begin();
	commit(1, 3, set(1, "a"), ADD(1, "a"), item(set(1, "l"), 0));
	commit(2, 3, ADD(1, "a"), ADD(1, "a"), item(set(1, "l"), 0));
	CHECK_STR(premerged(), "xxx xxx");
	begin();
	commit(1, 1, step(item(set(1, "l"), 0), "x"));
	commit(2, 1, step(item(set(1, "l"), 0), "x"));
	CHECK_STR(premerged(), "x x");
}

/* ---- rule (b) ---- */

TEST(premerge_erase_drops_what_is_inside)
{
	begin();
	commit(9, 5, CREATE(1), set(1, "a"), ADD(1, "n"), is_default(set(1, "n")), set(2, "a"));
	commit(8, 4, at(CS_CLEAR, 1, "d"), at(CS_SET_INSERT, 1, "s"), at(CS_SET_ERASE, 1, "s"), step(set(1, "d"), "k"));
	commit(1, 2, ERASE(1), set(2, "b")); /* age does not count */
	CHECK_STR(premerged(), "x---x 0 xx");
}

/* The device merges what comes down with the changesets that upstream does not have yet, as it made them: what those count on stays. */
TEST(premerge_erase_keeps_what_others_stand_on)
{
	begin();
	commit(1, 4, CREATE(1), set(1, "m"), set(1, "a"), type(set(1, "m"), CS_LIST));
	commit(2, 4, item(at(CS_ARRAY_INSERT, 1, "m"), 0), set(1, "a"), item(at(CS_ARRAY_ERASE, 1, "m"), 0), at(CS_CLEAR, 1, "m"));
	commit(3, 4, type(set(1, "e"), CS_OBJECT), step(set(1, "e"), "x"), set(1, "m"), ERASE(1));
	CHECK_STR(premerged(), "xx-x x-x- x--x");
}

TEST(premerge_create_and_erase_are_kept)
{
	begin();
	commit(1, 4, CREATE(1), set(1, "a"), ERASE(1), CREATE(1));
	commit(2, 3, set(1, "b"), ERASE(1), ERASE(1));
	CHECK_STR(premerged(), "x-xx -xx");
}

TEST(premerge_after_the_erase_all_is_kept)
{
	begin();
	commit(1, 3, ERASE(1), CREATE(1), set(1, "a"));
	CHECK_STR(premerged(), "xxx");
}

/* ---- barriers ---- */

TEST(premerge_create_and_erase_bar_their_object)
{
	begin();
	commit(1, 2, set(1, "a"), set(2, "a"));
	commit(2, 3, CREATE(1), set(1, "a"), set(2, "a"));
	CHECK_STR(premerged(), "x- xxx");
	begin();
	commit(1, 1, set(1, "a"));
	commit(2, 3, ERASE(1), CREATE(1), set(1, "a"));
	CHECK_STR(premerged(), "0 xxx"); /* by rule (b) */
}

TEST(premerge_schema_bars_its_table)
{
	static const enum cs_code codes[] = { CS_ADD_TABLE, CS_ADD_COLUMN, CS_ERASE_COLUMN };
	struct edit other = set(1, "a"), schema;

	edit_name(other.table, "U");
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		schema = at(codes[i], 0, codes[i] == CS_ADD_TABLE ? "" : "c");
		begin();
		commit(1, 3, set(1, "a"), set(2, "a"), other);
		commit(2, 4, schema, set(1, "a"), ERASE(2), other);
		CHECK_STR(premerged(), "xx- xxxx");
	}
	schema = at(CS_ERASE_TABLE, 0, "");
	begin();
	commit(1, 2, set(1, "a"), other);
	commit(2, 3, schema, set(1, "a"), other);
	CHECK_STR(premerged(), "xx xxx");
}

TEST(premerge_arrays_sets_and_clear_bar_their_field)
{
	struct edit between[] = { item(at(CS_ARRAY_INSERT, 1, "a"), 0), item(at(CS_ARRAY_ERASE, 1, "a"), 0),
		item(at(CS_ARRAY_MOVE, 1, "a"), 0), at(CS_SET_INSERT, 1, "a"), at(CS_SET_ERASE, 1, "a"), at(CS_CLEAR, 1, "a"),
		item(set(1, "a"), 0), step(item(set(1, "a"), 0), "x"), step(at(CS_CLEAR, 1, "a"), "k") };

	for (size_t i = 0; i < sizeof(between) / sizeof(between[0]); i++) {
		begin();
		commit(1, 3, set(1, "a"), set(1, "b"), step(set(1, "a"), "d"));
		commit(2, 1, between[i]);
		commit(3, 3, set(1, "a"), set(1, "b"), step(set(1, "a"), "d"));
		CHECK_STR(premerged(), "x-x x xxx");
	}
}

TEST(premerge_update_bars_what_is_below)
{
	begin();
	commit(1, 2, step(set(1, "a"), "k"), step(step(set(1, "a"), "k"), "x"));
	commit(2, 1, step(type(set(1, "a"), CS_OBJECT), "k"));
	commit(3, 2, step(set(1, "a"), "k"), step(step(set(1, "a"), "k"), "x"));
	CHECK_STR(premerged(), "xx x xx");
	begin();
	commit(1, 2, step(set(1, "a"), "k"), step(set(1, "b"), "k"));
	commit(2, 1, set(1, "a"));
	commit(3, 2, step(set(1, "a"), "k"), step(set(1, "b"), "k"));
	CHECK_STR(premerged(), "x- x xx");
}

TEST(premerge_what_is_kept_bars_its_path_and_prefixes)
{
	begin();
	commit(1, 1, set(1, "a"));
	commit(9, 1, ADD(1, "a")); /* newer than 3: kept, and it needs the value */
	commit(3, 1, set(1, "a"));
	CHECK_STR(premerged(), "x x x");
	begin();
	commit(1, 2, set(1, "a"), step(set(1, "a"), "k"));
	commit(2, 1, step(step(set(1, "a"), "k"), "x"));
	commit(3, 1, set(1, "a"));
	CHECK_STR(premerged(), "xx x x");
	begin();
	commit(1, 1, set(1, "a"));
	commit(2, 1, step(item(ADD(1, "a"), 0), "x"));
	commit(3, 1, set(1, "a"));
	CHECK_STR(premerged(), "x x x");
}

/* ---- runs ---- */

TEST(premerge_a_run_has_one_base)
{
	begin();
	commit(1, 1, set(1, "a"));
	commit(2, 2, set(1, "a"), set(1, "b"));
	commit(3, 1, set(1, "b"));
	backlog[1].server_version = backlog[2].server_version = 7;
	CHECK_STR(premerged(), "x x- x");
}

TEST(premerge_what_somebody_else_made_ends_a_run)
{
	begin();
	commit(1, 2, set(1, "a"), set(1, "b"));
	commit(2, 2, set(1, "c"), set(1, "c"));
	commit(3, 1, set(1, "a"));
	backlog[1].origin = 5;
	CHECK_STR(premerged(), "xx xx x");
}

TEST(premerge_what_does_not_decode_is_kept_and_bars)
{
	begin();
	commit(1, 1, set(1, "a"));
	commit(2, 1, set(1, "a"));
	commit(3, 1, set(1, "a"));
	backlog[1].len--;
	CHECK_STR(premerged(), "x ? x");
}

TEST(premerge_what_is_fed_out_of_order_starts_anew)
{
	struct premerge *p = premerge_new(MAX_BYTES);
	struct upload_entry e;
	struct view out;

	begin();
	commit(1, 1, set(1, "a"));
	e = entry(0);
	CHECK_U64(premerge_feed(p, &e, &out), PREMERGE_KEEP);
	CHECK_U64(premerge_feed(p, &e, &out), PREMERGE_KEEP);
	e.client_version = 0;
	CHECK_U64(premerge_feed(p, &e, &out), PREMERGE_EMPTY);
	premerge_forget(p);
	e.client_version = 1;
	CHECK_U64(premerge_feed(p, &e, &out), PREMERGE_KEEP);
	premerge_free(p);
}

/* ---- what comes out ---- */

TEST(premerge_output_has_the_strings_it_uses_renumbered)
{
	static const uint8_t want[] = "\x3f\x00\x01" "T" "\x3f\x01\x01" "b" "\x04\x00\x01\x01\x01\x00\x00\x00";
	struct premerge *p = premerge_new(MAX_BYTES);
	struct upload_entry e;
	struct view out;
	struct premerge_stats s;

	begin();
	commit(1, 3, set(1, "a"), type(set(1, "b"), CS_NULL), step(set(1, "d"), "k"));
	commit(2, 2, set(1, "a"), step(set(1, "d"), "k"));
	e = entry(1);
	CHECK_U64(premerge_feed(p, &e, &out), PREMERGE_KEEP);
	e = entry(0);
	CHECK_U64(premerge_feed(p, &e, &out), PREMERGE_REPLACE);
	CHECK_MEM(out.ptr, out.len, want, sizeof(want) - 1);
	s = premerge_stats(p);
	CHECK_U64(s.changesets, 2);
	CHECK_U64(s.dropped, 2);
	CHECK_U64(s.replaced, 1);
	premerge_free(p);
}

TEST(premerge_nothing_comes_to_nothing)
{
	struct premerge *p = premerge_new(MAX_BYTES);
	struct upload_entry e = { .client_version = 9, .changeset = { (const uint8_t *)"", 0 } };
	struct view out;

	CHECK_U64(premerge_feed(p, &e, &out), PREMERGE_KEEP);
	e.client_version = 8;
	e.changeset = view_of("\x3f");
	e.changeset = (struct view){ (const uint8_t *)"\x3f\x00\x01T", 4 }; /* strings only */
	CHECK_U64(premerge_feed(p, &e, &out), PREMERGE_EMPTY);
	premerge_free(p);
}

/* ---- bounds ---- */

TEST(premerge_forgets_at_its_bound_and_stays_right)
{
	begin();
	commit(1, 1, set(1, "a"));
	commit(2, 4, set(1, "a"), set(2, "a"), set(3, "a"), set(4, "a"));
	commit(3, 1, set(1, "a"));
	CHECK_STR(premerged(), "0 -xxx x");
	CHECK_STR(premerged_within(1100), "0 xxxx x"); /* room for two objects; the third makes it forget */
	CHECK_STR(premerged_within(700), "x xxxx x");	/* for none */
	CHECK_STR(premerged_within(8), "x xxxx x");	/* all are too large to be read */
}

TEST(premerge_state_is_bounded_by_live_keys)
{
	struct premerge *p = premerge_new(MAX_BYTES);
	struct premerge_stats s;
	struct view out;
	size_t one = 0;

	for (uint64_t n = 0; n < 20000; n++) {
		struct upload_entry e;

		begin();
		commit(1, 5, set(1, "a"), set(1, "b"), CREATE((int64_t)n + 5), step(set((int64_t)n + 5, "x"), "y"), ADD((int64_t)n + 5, "z"));
		e = entry(0);
		e.client_version = 20000 - n;
		CHECK(premerge_feed(p, &e, &out) != PREMERGE_EMPTY);
		s = premerge_stats(p);
		if (n == 0)
			one = s.state_bytes;
		CHECK_U64(s.state_bytes, one);
	}
	CHECK_U64(s.dropped, 2 * 19999);
	CHECK_U64(s.forgotten, 0);
	premerge_free(p);
}

TEST(premerge_end)
{
	begin(); /* frees */
	premerge_free(NULL);
	CHECK(true);
}
