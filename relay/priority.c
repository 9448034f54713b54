/* The ranks of server paths; see priority.h.
 *
 * What is refused are patterns that would never match or never be looked at: somebody meant something else. */
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

#include "relay/priority.h"

static const char *
pattern(const struct priority *p, unsigned i)
{
	return p->text + p->at[i];
}

/* What is wrong with the last of p; NULL: nothing. */
static const char *
fault(const struct priority *p)
{
	const char *last = pattern(p, p->n - 1);

	if (strchr("/*?[{", last[0]) == NULL)
		return "no path begins so: they begin with a slash";
	if (last[strlen(last) - 1] == ',')
		return "between patterns are blanks, no commas";
	for (unsigned i = 0; i + 1 < p->n; i++)
		if (strcmp(pattern(p, i), last) == 0)
			return "it is there twice";
	return NULL;
}

bool
priority_parse(const char *text, struct priority *p, char *why, size_t why_len)
{
	size_t used = 0, len;
	const char *wrong;

	memset(p, 0, sizeof(*p));
	for (text += strspn(text, " \t"); *text != '\0'; text += len + strspn(text + len, " \t")) {
		len = strcspn(text, " \t");
		if (p->n == PRIORITY_PATTERNS || used + len > PRIORITY_TEXT_MAX) {
			snprintf(why, why_len, "more than %d patterns, or %d bytes", PRIORITY_PATTERNS, PRIORITY_TEXT_MAX);
			return false;
		}
		memcpy(p->text + used, text, len);
		p->at[p->n++] = (uint8_t)used;
		used += len + 1;
		wrong = fault(p);
		if (wrong != NULL) {
			snprintf(why, why_len, "\"%.60s\": %s", pattern(p, p->n - 1), wrong);
			return false;
		}
	}
	return true;
}

bool
priority_same(const struct priority *a, const struct priority *b)
{
	return a->n == b->n && memcmp(a->at, b->at, sizeof(a->at)) == 0 && memcmp(a->text, b->text, sizeof(a->text)) == 0;
}

unsigned
priority_rank(const struct priority *p, const char *path)
{
	unsigned i;

	for (i = 0; i < p->n && fnmatch(pattern(p, i), path, 0) != 0; i++)
		;
	return i;
}
