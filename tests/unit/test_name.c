/* relay/name: one text, one place, as long as anybody has it. */
#include <stdio.h>
#include <string.h>

#include "relay/name.h"

#include "tests/harness.h"

TEST(kept_once)
{
	const char *a = name_take("/a/bc", 4), *b = name_take("/a/b", 4), *other = name_take("/a/c", 4), *none = name_take(NULL, 0);

	CHECK_STR(a, "/a/b");
	CHECK(a == b && a != other);
	CHECK_STR(none, "");
	name_drop(a);
	CHECK_STR(b, "/a/b"); /* still somebody's */
	CHECK(name_take("/a/b", 4) == b);
	name_drop(b);
	name_drop(b);
	name_drop(other);
	name_drop(none);
	name_drop(NULL);
}

/* Thousands, taken and dropped in another order. */
TEST(many)
{
	const char *name[2000];
	char text[32];

	for (int i = 0; i < 2000; i++) {
		snprintf(text, sizeof(text), "/user/%d", i % 1000);
		name[i] = name_take(text, strlen(text));
	}
	for (int i = 0; i < 1000; i++)
		CHECK(name[i] == name[i + 1000]);
	for (int i = 0; i < 2000; i += 2)
		name_drop(name[i]);
	CHECK_STR(name[1999], "/user/999");
	for (int i = 1; i < 2000; i += 2)
		name_drop(name[i]);
}
