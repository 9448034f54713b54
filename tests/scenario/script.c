/* Reads scenario files and knows their variables; see script.h. Knows nothing of what the lines mean, but that "repeat" opens a
 * block and "end" closes one. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/scenario/script.h"

#define VARIABLES_MAX 64

static struct {
	char name[32], value[512];
} variable[VARIABLES_MAX];
static unsigned nvariables;

static void
add_line(struct script *s, unsigned number, const char *text)
{
	s->line = realloc(s->line, (s->n + 1) * sizeof *s->line);
	if (s->line == NULL)
		abort();
	s->line[s->n].number = number;
	s->line[s->n].text = strdup(text);
	if (s->line[s->n].text == NULL)
		abort();
	s->n++;
}

bool
script_read(struct script *s, const char *path)
{
	FILE *f = fopen(path, "re");
	char buf[TEXT_MAX];
	unsigned number = 0;

	s->line = NULL;
	s->n = 0;
	if (f == NULL)
		return false;
	while (fgets(buf, sizeof buf, f) != NULL) {
		char *text = buf + strspn(buf, " \t"), *end = text + strlen(text);

		number++;
		if (strlen(buf) + 1 == sizeof buf) {
			fclose(f);
			errno = EMSGSIZE;
			return false;
		}
		while (end > text && isspace((unsigned char)end[-1]))
			*--end = '\0';
		if (*text != '\0' && *text != '#')
			add_line(s, number, text);
	}
	fclose(f);
	return true;
}

void
script_free(struct script *s)
{
	for (unsigned i = 0; i < s->n; i++)
		free(s->line[i].text);
	free(s->line);
	s->line = NULL;
	s->n = 0;
}

unsigned
script_end(const struct script *s, unsigned at)
{
	unsigned depth = 1, i;

	for (i = at + 1; i < s->n; i++) {
		if (strncmp(s->line[i].text, "repeat ", 7) == 0)
			depth++;
		else if (strcmp(s->line[i].text, "end") == 0 && --depth == 0)
			break;
	}
	return i;
}

static const char *
value_of(const char *name)
{
	for (unsigned i = 0; i < nvariables; i++) {
		if (strcmp(variable[i].name, name) == 0)
			return variable[i].value;
	}
	return NULL;
}

bool
script_set(const char *name, const char *value)
{
	unsigned i = 0;

	while (i < nvariables && strcmp(variable[i].name, name) != 0)
		i++;
	if (i == VARIABLES_MAX || strlen(name) >= sizeof variable[i].name || strlen(value) >= sizeof variable[i].value)
		return false;
	strcpy(variable[i].name, name);
	strcpy(variable[i].value, value);
	nvariables += i == nvariables;
	return true;
}

const char *
script_expand(const char *text, char out[TEXT_MAX])
{
	static char name[64];
	size_t used = 0;

	while (*text != '\0' && used + 1 < TEXT_MAX) {
		bool brace = text[0] == '$' && text[1] == '{';
		const char *start = text + 1 + brace, *end = start, *value;

		if (*text != '$' || (!brace && !isalpha((unsigned char)text[1]))) {
			out[used++] = *text++;
			continue;
		}
		while (isalnum((unsigned char)*end) || *end == '_')
			end++;
		snprintf(name, sizeof name, "%.*s", (int)(end - start), start);
		value = value_of(name);
		if (value == NULL || (brace && *end != '}') || used + strlen(value) + 1 >= TEXT_MAX)
			return name;
		memcpy(out + used, value, strlen(value));
		used += strlen(value);
		text = end + brace;
	}
	out[used] = '\0';
	return NULL;
}
