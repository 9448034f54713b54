/* A JSON object from outside with a few of its members changed, the rest byte by byte as it was. */
#ifndef RELAY_SPLICE_H
#define RELAY_SPLICE_H

#include <stdbool.h>
#include <stddef.h>

#include "protocol/view.h"

#define SPLICE_MAX 8 /* members changed at once */

struct splice {
	const char *name;
	const char *text; /* the new value: of a string, without quotes and in need of no escape (URLs, hexadecimal); or a number.  NULL: as it is */
	bool string;	  /* it is a string, and so must be what it replaces */
	bool add;	  /* where there is none it is added */
};

/* A new object, NUL terminated, to be freed; NULL: json is not one object (claims.h), a string is to take the place of something else, or
 * text would need escapes. */
char *splice_json(struct view json, const struct splice *s, size_t n);

#endif
