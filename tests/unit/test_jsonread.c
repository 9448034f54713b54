/* Tests relay/jsonread: what is JSON, what is not, and which fields are found. */
#include <stdlib.h>
#include <string.h>

#include "tests/harness.h"

#include "relay/jsonread.h"

TEST(jsonread_accepts)
{
	static const struct {
		const char *doc;
		enum jsonread_kind kind;
		const char *text; /* of "k"; NULL: not found */
	} t[] = {
		{ "{\"k\":\"v\"}", JSONREAD_STRING, "v" },
		{ " \t\r\n{ \"a\" : [1,{\"k\":2}, []], \"k\" : -1.5e+3 , \"z\":{} } \n", JSONREAD_NUMBER, "-1.5e+3" },
		{ "{\"k\":true}", JSONREAD_TRUE, "true" },
		{ "{\"k\":false,\"l\":null}", JSONREAD_FALSE, "false" },
		{ "{\"l\":0,\"k\":null}", JSONREAD_NULL, "null" },
		{ "{\"k\":[ {\"a\":\"]\"} ]}", JSONREAD_NESTED, "[ {\"a\":\"]\"} ]" },
		{ "{\"k\":\"a\\\"b\\u00e9\\\\\"}", JSONREAD_STRING, "a\\\"b\\u00e9\\\\" },
		{ "{\"x\":\"\\\"k\\\":1\",\"k\":0}", JSONREAD_NUMBER, "0" },
		{ "{\"k\":[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]}", JSONREAD_NESTED, "[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]" },
		{ "{}", 0, NULL }, { "", 0, NULL }, { "{", 0, NULL }, { "[]", 0, NULL }, { "\"k\"", 0, NULL }, { "{\"K\":1}", 0, NULL },
		{ "{\"k\":1,\"k\":1}", 0, NULL }, { "{\"k\":1}x", 0, NULL }, { "{\"k\":1,}", 0, NULL }, { "{\"k\":}", 0, NULL },
		{ "{\"k\" 1}", 0, NULL }, { "{k:1}", 0, NULL }, { "{\"k\":01}", 0, NULL }, { "{\"k\":+1}", 0, NULL },
		{ "{\"k\":1.}", 0, NULL }, { "{\"k\":.5}", 0, NULL }, { "{\"k\":1e}", 0, NULL }, { "{\"k\":-}", 0, NULL },
		{ "{\"k\":tru}", 0, NULL }, { "{\"k\":truex}", 0, NULL }, { "{\"k\":\"a\nb\"}", 0, NULL }, { "{\"k\":\"\\x\"}", 0, NULL },
		{ "{\"k\":\"\\u12g4\"}", 0, NULL }, { "{\"k\":\"\\", 0, NULL }, { "{\"k\":\"v", 0, NULL }, { "{\"k\":[1 2]}", 0, NULL },
		{ "{\"k\":[1,]}", 0, NULL }, { "{\"k\":{\"a\"}}", 0, NULL }, { "{\"k\":1,\"z\":[}", 0, NULL },
		{ "{\"k\":[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]}", 0, NULL }, /* one level too deep */
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		size_t n = strlen(t[i].doc);
		char *copy = malloc(n > 0 ? n : 1); /* exactly so long: a sanitizer sees a byte too many */
		struct jsonread_value v;
		bool ok;

		memcpy(copy, t[i].doc, n);
		ok = jsonread_get((struct view){ (const uint8_t *)copy, n }, "k", &v);
		if (ok != (t[i].text != NULL) || (ok && (v.kind != t[i].kind || !view_eq(v.text, view_of(t[i].text)))))
			harness_fail(__FILE__, __LINE__, "got %d for %s", ok, t[i].doc);
		for (size_t cut = 0; cut + 1 < n; cut++) /* no proper prefix of a document is one (but for blanks at its end) */
			if (strchr(t[i].doc + cut, '}') != NULL && jsonread_get((struct view){ (const uint8_t *)copy, cut }, "k", &v) &&
			    t[i].text != NULL)
				harness_fail(__FILE__, __LINE__, "%zu bytes suffice of %s", cut, t[i].doc);
		free(copy);
	}
}

TEST(jsonread_numbers_and_truth)
{
	struct view doc = view_of("{\"a\":18446744073709551615,\"b\":18446744073709551616,\"c\":-1,\"d\":1.0,\"e\":\"1\",\"f\":true,\"g\":0}");
	uint64_t n = 7;
	bool b = false;

	CHECK(jsonread_get_u64(doc, "a", &n));
	CHECK_U64(n, UINT64_MAX);
	for (const char *key = "bcdefz"; *key != '\0'; key++) {
		char name[2] = { *key, '\0' };

		if (jsonread_get_u64(doc, name, &n))
			harness_fail(__FILE__, __LINE__, "%s is taken for a number", name);
	}
	CHECK(jsonread_get_u64(doc, "g", &n));
	CHECK_U64(n, 0);
	CHECK(jsonread_get_bool(doc, "f", &b) && b);
	CHECK(!jsonread_get_bool(doc, "g", &b));
}
