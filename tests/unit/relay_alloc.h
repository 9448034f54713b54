/* What relay/relay.c gives to all parts, for a test that stands in for the rest of that file: to be included once, in place of linking it. */
#ifndef TESTS_UNIT_RELAY_ALLOC_H
#define TESTS_UNIT_RELAY_ALLOC_H

#include <stdlib.h>
#include <string.h>

#include "relay/relay.h"

void *
relay_alloc(size_t n)
{
	void *p = calloc(1, n != 0 ? n : 1);

	if (p == NULL)
		abort();
	return p;
}

char *
relay_strndup(const void *text, size_t n)
{
	char *p = relay_alloc(n + 1);

	if (n > 0)
		memcpy(p, text, n);
	return p;
}

#endif
