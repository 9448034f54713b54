/* Fuzz target of the JSON field reader (relay/jsonread.c).
 *
 * Input: byte 0 = length of a key, the key, then a document.  Whatever is found must lie inside the document, and the document with one
 * byte less at its end must not have the field any more, unless that byte was a blank. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "relay/jsonread.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void
must(bool condition)
{
	if (!condition)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char key[256] = { 0 };
	struct jsonread_value v, shorter;
	struct view doc;
	uint64_t n;
	bool b;

	if (len < 1 || len - 1 < data[0])
		return 0;
	memcpy(key, data + 1, data[0]);
	doc = (struct view){ data + 1 + data[0], len - 1 - data[0] };
	if (!jsonread_get(doc, key, &v)) {
		must(!jsonread_get_u64(doc, key, &n) && !jsonread_get_bool(doc, key, &b));
		return 0;
	}
	must(v.text.ptr > doc.ptr && v.text.ptr + v.text.len < doc.ptr + doc.len);
	must(!jsonread_get_bool(doc, key, &b) || v.kind == (b ? JSONREAD_TRUE : JSONREAD_FALSE));
	must(!jsonread_get_u64(doc, key, &n) || v.kind == JSONREAD_NUMBER);
	must(memchr(" \t\r\n", doc.ptr[doc.len - 1], 4) != NULL || doc.ptr[doc.len - 1] == '}');
	if (doc.ptr[doc.len - 1] == '}')
		must(!jsonread_get((struct view){ doc.ptr, doc.len - 1 }, key, &shorter));
	return 0;
}
