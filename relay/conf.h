/* Reads a configuration file (INI) into struct options.
 *
 * All errors of a file are collected, not only the first; each has its line.  Stricter than inih: long lines, long names,
 * control characters, indented lines, unterminated sections, duplicates, unknown sections and keys are errors (facts.md says
 * what inih does with them).  Comments are whole lines that start with ';' or '#'. */
#ifndef RELAY_CONF_H
#define RELAY_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "relay/options.h"

#define CONF_LINE_MAX 198	   /* bytes without the newline: inih as packaged has room for 200 and cuts the rest silently */
#define CONF_NAME_MAX 49	   /* section or key: inih's own limit */
#define CONF_FILE_MAX (1024 * 1024) /* nobody writes that many options: it is the wrong file */
#define CONF_ERRORS_MAX 100	   /* errors kept; a binary file would give thousands */

struct conf_error {
	unsigned line; /* 0: about the file as a whole */
	char *text;
};

struct conf_errors {
	char *path;
	size_t n, total; /* kept, found */
	struct conf_error v[CONF_ERRORS_MAX];
};

/* Reads path.  True: o holds the options (options_free it), errs is empty.  False: o is zeroed, errs has at least one entry.
 * What o and errs held before is overwritten; free errs in either case. */
bool conf_load(const char *path, struct options *o, struct conf_errors *errs);
/* The same from memory; name stands for the path in messages. */
bool conf_parse(const char *name, const void *text, size_t len, struct options *o, struct conf_errors *errs);

/* One line each, in the order of the file: "path:line: text". */
void conf_errors_print(const struct conf_errors *errs, FILE *out);
void conf_errors_free(struct conf_errors *errs);

#endif
