/* The end of a scenario that failed; see fail.h. Prints to standard output, which main.c has turned into a file. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/scenario/fail.h"

static struct {
	const char *file, *text;
	unsigned line;
	void (*cleanup)(void);
} where;

void
fail_at(const char *file, unsigned line, const char *text)
{
	where.file = file;
	where.line = line;
	where.text = text;
}

void
fail_set_cleanup(void (*cleanup)(void))
{
	where.cleanup = cleanup;
}

_Noreturn void
fail(const char *fmt, ...)
{
	void (*cleanup)(void) = where.cleanup;
	va_list ap;

	if (where.file != NULL)
		printf("  %s:%u: %s\n", where.file, where.line, where.text);
	printf("  ");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	where.cleanup = NULL;
	if (cleanup != NULL)
		cleanup();
	fflush(stdout);
	_exit(1);
}
