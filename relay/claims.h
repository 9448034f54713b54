/* JSON objects from strangers: the text is checked strictly and whole, and a few members of it are found.
 *
 * Only for what is small and was bounded before (a token's header and claims).  Nothing is copied or allocated: what is found are views
 * into the text. */
#ifndef RELAY_CLAIMS_H
#define RELAY_CLAIMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/view.h"

enum claim_kind { CLAIM_ABSENT, CLAIM_STRING, CLAIM_NUMBER, CLAIM_ARRAY, CLAIM_OTHER };

struct claim {
	enum claim_kind kind;
	struct view raw; /* a string without its quotes, still escaped; an array with its brackets */
};

/* Checks that json is one object (RFC 8259; UTF-8 is not looked at, nesting is bounded) and finds the n members called names.
 * False: it is not, or one of names stands in it twice. */
bool claims_find(struct view json, const char *const *names, size_t n, struct claim *found);

/* Is c the string want, or (in_array) an array of strings with want among them?  Escapes are undone. */
bool claim_is(const struct claim *c, const char *want, bool in_array);

/* A time in whole seconds since 1970: a number without exponent, whose fraction is dropped; below 0 is 0, huge is 10^15. */
bool claim_seconds(const struct claim *c, uint64_t *seconds);

#endif
