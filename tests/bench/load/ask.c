/* See ask.h.  The daemon goes on meanwhile; fleet and sink do not, so nothing may be under way that must not wait. */
#include <err.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/load/ask.h"
#include "tests/bench/load/loop.h"

#define LINE_MAX_BYTES 65536

static FILE *
run(const struct proxy *p, const char *options, const char *command)
{
	char path[PATH_MAX], line[PATH_MAX + 1024];
	FILE *f;

	proxy_build_path(path, sizeof(path), "holdfastctl");
	snprintf(line, sizeof(line), "'%s' -c '%s/holdfast.ini' %s %s", path, p->dir, options, command);
	if ((f = popen(line, "re")) == NULL)
		err(1, "holdfastctl");
	return f;
}

double
ask_number(const struct proxy *p, const char *command, const char *field)
{
	static char line[LINE_MAX_BYTES], last[LINE_MAX_BYTES];
	char name[64];
	const char *at;
	FILE *f = run(p, "--json", command);

	last[0] = '\0';
	while (fgets(line, sizeof(line), f) != NULL)
		memcpy(last, line, strlen(line) + 1);
	(void)pclose(f);
	snprintf(name, sizeof(name), "\"%s\":", field);
	if ((at = strstr(last, name)) == NULL)
		errx(1, "holdfastctl %s says no %s: %s", command, field, last);
	return strtod(at + strlen(name), NULL);
}

double
ask_ms(const struct proxy *p, const char *command)
{
	uint64_t start = loop_now_ns();
	char buf[4096];
	FILE *f = run(p, "", command);
	size_t n, bytes = 0;

	while ((n = fread(buf, 1, sizeof(buf), f)) > 0)
		bytes += n;
	(void)pclose(f); /* its exit code tells of the link */
	if (bytes == 0)
		errx(1, "holdfastctl %s says nothing", command);
	return (double)(loop_now_ns() - start) / 1e6;
}
