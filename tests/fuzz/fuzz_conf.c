/* Fuzz target of the configuration reader (relay/conf, relay/options) and, with it, of the packaged inih.
 *
 * Input: a configuration file.  A refused one must have complaints, printable, in the order of the file, and leave nothing behind.  An
 * accepted one must survive being dumped and read again with the same options. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void
must(bool condition)
{
	if (!condition)
		abort();
}

static char *
dump(const struct sections *all, size_t *len)
{
	char *text = NULL;
	FILE *f = open_memstream(&text, len);

	must(f != NULL);
	sections_dump(all, false, f);
	fclose(f);
	return text;
}

static void
check_errors(const struct conf_errors *errs)
{
	unsigned line = 0;

	must(errs->n > 0 && errs->n <= errs->total);
	for (size_t i = 0; i < errs->n; i++) {
		must(errs->v[i].line >= line);
		line = errs->v[i].line;
		must(errs->v[i].text[0] != '\0');
		for (const char *p = errs->v[i].text; *p != '\0'; p++)
			must((unsigned char)*p >= ' ' && (unsigned char)*p < 0x7f);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct sections all, again;
	struct conf_errors errs;
	size_t first_len, second_len;
	char *first, *second;

	if (!conf_parse("fuzz", data, len, &all, &errs)) {
		must(all.n == 0);
		check_errors(&errs);
		conf_errors_free(&errs);
		return 0;
	}
	must(errs.n == 0);
	conf_errors_free(&errs);
	first = dump(&all, &first_len);
	must(conf_parse("dump", first, first_len, &again, &errs));
	second = dump(&again, &second_len);
	must(first_len == second_len && memcmp(first, second, first_len) == 0);
	free(first);
	free(second);
	conf_errors_free(&errs);
	sections_free(&all);
	sections_free(&again);
	return 0;
}
