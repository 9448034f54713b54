/* Compares transcripts; see compare.h. */
#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/scenario/compare.h"
#include "tests/scenario/fail.h"
#include "tests/scenario/text.h"

#define SALT_MIN ((uint64_t)1 << 40)
#define SALTS_MAX 4096

struct text_file {
	const char *name;
	FILE *f;
	uint64_t salt[SALTS_MAX]; /* by order of appearance */
	unsigned nsalts;
	char line[TEXT_MAX];
	char plain[2 * TEXT_MAX]; /* line with salts named */
};

static unsigned
name_salt(struct text_file *t, uint64_t salt)
{
	unsigned i = 0;

	while (i < t->nsalts && t->salt[i] != salt)
		i++;
	if (i == SALTS_MAX)
		fail("%s: more than %d salts", t->name, SALTS_MAX);
	t->salt[i] = salt;
	t->nsalts += i == t->nsalts;
	return i;
}

/* Reads a line and names its salts; the end of the file reads as "(end)". */
static bool
next_line(struct text_file *t)
{
	size_t used = 0;
	char *p = t->line;
	uint64_t n;

	if (fgets(t->line, sizeof t->line, t->f) == NULL) {
		strcpy(t->line, "(end)\n");
		strcpy(t->plain, t->line);
		return false;
	}
	while (*p != '\0') {
		bool starts = isdigit((unsigned char)*p) && (p == t->line || !isalnum((unsigned char)p[-1]));
		char *end = p + 1;

		n = starts ? strtoull(p, &end, 10) : 0;
		if (n >= SALT_MIN && !isalnum((unsigned char)*end))
			used += (size_t)snprintf(t->plain + used, sizeof t->plain - used, "SALT%u", name_salt(t, n));
		else
			used += (size_t)snprintf(t->plain + used, sizeof t->plain - used, "%.*s", (int)(end - p), p);
		p = end;
	}
	return true;
}

static struct text_file *
open_file(const char *name)
{
	struct text_file *t = calloc(1, sizeof *t);

	if (t == NULL)
		abort();
	t->name = name;
	t->f = fopen(name, "re");
	if (t->f == NULL)
		fail("%s: %s", name, strerror(errno));
	return t;
}

static void
close_file(struct text_file *t)
{
	fclose(t->f);
	free(t);
}

void
compare_files(const char *a, const char *b)
{
	struct text_file *ta = open_file(a), *tb = open_file(b);
	unsigned line = 0;
	bool more;

	do {
		bool more_b;

		line++;
		more = next_line(ta);
		more_b = next_line(tb);
		if (more != more_b || strcmp(ta->plain, tb->plain) != 0)
			fail("line %u differs\n    %s: %s    %s: %s", line, a, ta->line, b, tb->line);
	} while (more);
	close_file(ta);
	close_file(tb);
	if (line == 1)
		fail("both files are empty, which proves nothing");
}
