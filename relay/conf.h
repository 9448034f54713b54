/* Reads the configuration (INI files) into its sections: the file that is named, then the files conf.d/NAME.ini beside it in the order of
 * their names.  What a later file sets takes the place of what an earlier one set in the section of that name.
 *
 * All errors of all files are collected, not only the first; each has its file and line.  Stricter than inih: long lines, long names,
 * control characters, indented lines, unterminated sections, duplicates, unknown sections and keys are errors (facts.md says
 * what inih does with them).  Comments are whole lines that start with ';' or '#'. */
#ifndef RELAY_CONF_H
#define RELAY_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "relay/section.h"

#define CONF_LINE_MAX 198	   /* bytes without the newline: inih as packaged has room for 200 and cuts the rest silently */
#define CONF_NAME_MAX 49	   /* section or key: inih's own limit */
#define CONF_FILE_MAX (1024 * 1024) /* nobody writes that many options: it is the wrong file */
#define CONF_FILES_MAX 64	   /* the file and those of conf.d: fragments by hand or by packages, not a database */
#define CONF_ERRORS_MAX 100	   /* errors kept; a binary file would give thousands */

struct conf_error {
	size_t file;   /* index into path[] */
	unsigned line; /* 0: about the file as a whole */
	char *text;
};

struct conf_errors {
	size_t npath;
	char *path[CONF_FILES_MAX]; /* the files read, in order */
	size_t n, total;	    /* kept, found */
	struct conf_error v[CONF_ERRORS_MAX];
};

/* Reads path and its conf.d.  True: out holds the sections (sections_free it), errs is empty.  False: out is zeroed, errs has at least one entry.
 * What they held before is overwritten; free errs in either case. */
bool conf_load(const char *path, struct sections *out, struct conf_errors *errs);
/* The same of one file in memory; name stands for the path in messages. */
bool conf_parse(const char *name, const void *text, size_t len, struct sections *out, struct conf_errors *errs);

/* One line each, in the order of the files: "path:line: text". */
void conf_errors_print(const struct conf_errors *errs, FILE *out);
void conf_errors_free(struct conf_errors *errs);

#endif
