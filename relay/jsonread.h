/* Reads single fields of a JSON object that came from outside (the body of a JSON_ERROR).  Strict: RFC 8259 as far as it goes, objects and
 * arrays nested up to JSONREAD_DEPTH; anything else is no JSON and has no fields.  Allocates nothing, changes nothing. */
#ifndef RELAY_JSONREAD_H
#define RELAY_JSONREAD_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/view.h"

#define JSONREAD_DEPTH 16 /* upstream's own nest three deep (compensating writes) */

enum jsonread_kind { JSONREAD_STRING, JSONREAD_NUMBER, JSONREAD_TRUE, JSONREAD_FALSE, JSONREAD_NULL, JSONREAD_NESTED };

struct jsonread_value {
	enum jsonread_kind kind;
	struct view text; /* into the document: a string without its quotes, its escapes left as they are; else the bytes of the value */
};

/* The value of key (which holds no character that JSON would escape) in the outermost object.  False: doc is not one object with nothing
 * behind, or it has no such key, or twice. */
bool jsonread_get(struct view doc, const char *key, struct jsonread_value *out);

/* The same as a whole number not below 0 (false as well when it is none or does not fit), and as true or false. */
bool jsonread_get_u64(struct view doc, const char *key, uint64_t *out);
bool jsonread_get_bool(struct view doc, const char *key, bool *out);

#endif
