/* The changeset encoder against bytes that a real client sent (../shared/data/traces: one, offline, conflict) and against the
 * integer code of protocol.md section 7. The bytes stand here as hex, so this test needs no trace. */
#include <stdio.h>
#include <string.h>

#include "tests/harness.h"
#include "tests/peer/changeset_maker.h"

#define ITEM(k, f) { .table = "Item", .key = (k), .field = (f) }

static void
check_hex(struct changeset *c, const char *want)
{
	char got[1024];

	for (size_t i = 0; i < c->len; i++)
		sprintf(got + 2 * i, "%02x", c->buf[i]);
	changeset_free(c);
	CHECK_STR(got, want);
}

static struct changeset_payload
text(const char *s)
{
	return (struct changeset_payload){ .type = CHANGESET_STRING, .data = s, .len = strlen(s) };
}

static struct changeset_payload
integer(int64_t i)
{
	return (struct changeset_payload){ .type = CHANGESET_INT, .integer = i };
}

TEST(changeset_maker_schema)
{
	static const struct changeset_column columns[] = {
		{ "name", CHANGESET_STRING, true, CHANGESET_SINGLE, NULL },   { "n", CHANGESET_INT, false, CHANGESET_SINGLE, NULL },
		{ "d", CHANGESET_DOUBLE, false, CHANGESET_SINGLE, NULL },     { "list", CHANGESET_INT, false, CHANGESET_LIST, NULL },
		{ "set", CHANGESET_INT, false, CHANGESET_SET, NULL },	      { "dict", CHANGESET_INT, false, CHANGESET_DICTIONARY, NULL },
		{ "link", CHANGESET_LINK, true, CHANGESET_SINGLE, "Item" },   { "mixed", CHANGESET_NULL, true, CHANGESET_SINGLE, NULL },
	};
	struct changeset c;

	changeset_init(&c);
	changeset_add_table(&c, "Item", "_id");
	for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++)
		changeset_add_column(&c, "Item", &columns[i]);
	check_hex(&c, "3f00044974656d3f01035f69640000000101003f02046e616d653f030006000203010"
		      "03f04016e0600040100003f0501640600050700003f06046c6973740600060100013f"
		      "07037365740600070100033f080464696374060008010002033f09046c696e6b06000"
		      "9090100003f0a056d697865640600" "0a000100");
}

TEST(changeset_maker_create_and_update)
{
	struct changeset_path p = ITEM(1, "name");
	struct changeset_payload v = text("one");
	struct changeset c;

	changeset_init(&c);
	changeset_create_object(&c, "Item", 1);
	changeset_update(&c, &p, &v, 0);
	check_hex(&c, "3f00044974656d020001013f01046e616d6504000101010003036f6e6500");
}

TEST(changeset_maker_two_fields)
{
	struct changeset_path n = ITEM(3, "n"), d = ITEM(3, "d");
	struct changeset_payload i = integer(1), r = { .type = CHANGESET_DOUBLE, .real = 0.5 };
	struct changeset c;

	changeset_init(&c);
	changeset_update(&c, &n, &i, 0);
	changeset_update(&c, &d, &r, 0);
	check_hex(&c, "3f00044974656d3f01016e0400010301000101003f02016404000103020007000000000000e03f00");
}

TEST(changeset_maker_add_integer)
{
	struct changeset_path p = ITEM(2, "n");
	struct changeset c;

	changeset_init(&c);
	changeset_add_integer(&c, &p, -2); /* recorded: 65 = -(1) - 1 */
	check_hex(&c, "3f00044974656d3f01016e05000102010041");
}

TEST(changeset_maker_lists)
{
	struct changeset_path p = ITEM(1, "list");
	struct changeset_payload v = integer(200);
	struct changeset c;

	p.indexed = true;
	p.index = 2;
	changeset_init(&c);
	changeset_array_insert(&c, &p, &v, 2);
	check_hex(&c, "3f00044974656d3f01046c6973740800010101010201c80102");
	p.index = 1;
	changeset_array_erase(&c, &p, 3);
	check_hex(&c, "3f00044974656d3f01046c6973740a00010101010103");
}

TEST(changeset_maker_set_and_dictionary)
{
	struct changeset_path set = ITEM(1, "set"), dict = ITEM(1, "dict");
	struct changeset_payload four = integer(4), nine = integer(9);
	struct changeset c;

	changeset_init(&c);
	changeset_set_insert(&c, &set, &four);
	check_hex(&c, "3f00044974656d3f01037365740c00010101000104");
	dict.dict_key = "k";
	changeset_update(&c, &dict, &nine, 0);
	check_hex(&c, "3f00044974656d3f0104646963743f02016b0400010101014002010900");
}

TEST(changeset_maker_erase)
{
	struct changeset c;

	changeset_init(&c);
	changeset_erase_object(&c, "Item", 1);
	check_hex(&c, "3f00044974656d03000101");
}

TEST(changeset_maker_integers)
{
	static const struct {
		int64_t value;
		const char *hex;
	} rows[] = {
		{ 0, "00" },	    { 1, "01" },	{ 63, "3f" },	      { 64, "c000" },	   { 100, "e400" },
		{ 461, "cd03" },    { -1, "40" },	{ -2, "41" },	      { -64, "7f" },	   { -65, "c040" },
		{ 8191, "ff3f" },   { 8192, "80c000" }, { INT64_MAX, "ffffffffffffffffff00" }, { INT64_MIN, "ffffffffffffffffff40" },
	};
	struct changeset_path p = ITEM(0, "n");
	char want[128];
	struct changeset c;

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		changeset_init(&c);
		changeset_add_integer(&c, &p, rows[i].value);
		snprintf(want, sizeof want, "3f00044974656d3f01016e050001000100%s", rows[i].hex);
		check_hex(&c, want);
	}
}
