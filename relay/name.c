/* See name.h.  A balanced tree (tsearch, as for the sessions of files): nobody can choose texts that make it slow. */
#include <search.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "relay/log.h"
#include "relay/name.h"
#include "relay/relay.h"

struct name {
	size_t users;
	char text[];
};

static void *names; /* by text */

static int
by_text(const void *a, const void *b)
{
	return strcmp(((const struct name *)a)->text, ((const struct name *)b)->text);
}

const char *
name_take(const void *text, size_t len)
{
	struct name *n = relay_alloc(sizeof(*n) + len + 1), **known;

	if (len > 0)
		memcpy(n->text, text, len);
	known = tsearch(n, &names, by_text);
	if (known == NULL)
		log_fatal("out_of_memory", "what=name");
	if (*known != n)
		free(n);
	n = *known;
	n->users++;
	return n->text;
}

void
name_drop(const char *name)
{
	struct name *n;

	if (name == NULL)
		return;
	n = (struct name *)(uintptr_t)(name - offsetof(struct name, text));
	if (--n->users > 0)
		return;
	tdelete(n, &names, by_text);
	free(n);
}
