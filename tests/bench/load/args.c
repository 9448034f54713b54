/* See args.h. */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/load/args.h"

const char *
args_text(struct args *a, const char *name, const char *otherwise)
{
	size_t len = strlen(name);

	for (int i = 0; i < a->argc && i < 64; i++) {
		if (strncmp(a->argv[i], name, len) != 0 || a->argv[i][len] != '=')
			continue;
		a->used[i] = true;
		return a->argv[i] + len + 1;
	}
	return otherwise;
}

static double
number(const char *text, size_t len, const char *name)
{
	static const char units[] = "KMG";
	char *end;
	double v = strtod(text, &end);
	const char *unit = *end != '\0' ? strchr(units, *end) : NULL;

	for (; unit != NULL && unit >= units; unit--)
		v *= 1024;
	if (end == text || (size_t)(end - text) + (v > 0 && *end != '\0' && *end != ',') != len)
		errx(2, "%s: not a number: %.*s", name, (int)len, text);
	return v;
}

size_t
args_numbers(struct args *a, const char *name, const char *otherwise, double out[ARGS_VALUES])
{
	const char *v = args_text(a, name, otherwise);
	size_t n = 0, len;

	for (; *v != '\0' && n < ARGS_VALUES; v += len + (v[len] == ',')) {
		len = strcspn(v, ",");
		out[n++] = number(v, len, name);
	}
	return n;
}

double
args_number(struct args *a, const char *name, double otherwise)
{
	const char *v = args_text(a, name, NULL);

	return v != NULL ? number(v, strlen(v), name) : otherwise;
}

bool
args_word(struct args *a, const char *name, const char *otherwise, const char *word)
{
	const char *v = args_text(a, name, otherwise);
	size_t len, want = strlen(word);

	for (; *v != '\0'; v += len + (v[len] == ',')) {
		len = strcspn(v, ",");
		if (len == want && strncmp(v, word, len) == 0)
			return true;
	}
	return false;
}

void
args_command(const struct args *a, char *out, size_t size)
{
	size_t len = (size_t)snprintf(out, size, "load %s", a->bench);

	for (int i = 0; i < a->argc && len < size; i++)
		len += (size_t)snprintf(out + len, size - len, " %s", a->argv[i]);
}

void
args_end(const struct args *a)
{
	for (int i = 0; i < a->argc; i++)
		if (i >= 64 || !a->used[i])
			errx(2, "what is %s?", a->argv[i]);
}
