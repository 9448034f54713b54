/* A scenario file in memory: lines, without comments and empty ones, each with its number. */
#ifndef TESTS_SCENARIO_SCRIPT_H
#define TESTS_SCENARIO_SCRIPT_H

#include <stdbool.h>

#include "tests/scenario/text.h"

struct script_line {
	unsigned number;
	char *text; /* owned */
};

struct script {
	struct script_line *line; /* owned */
	unsigned n;
};

/* Reads a file; false with errno (EMSGSIZE: a line is too long). */
bool script_read(struct script *s, const char *path);
void script_free(struct script *s);

/* The line that closes the block opened by line at: "end" on the same level; s->n when there is none. */
unsigned script_end(const struct script *s, unsigned at);

/* Variables, one set in a process. */
bool script_set(const char *name, const char *value);
/* Copies text with $NAME and ${NAME} replaced; a $ that no letter or brace follows stays. Returns NULL, or the unknown name. */
const char *script_expand(const char *text, char out[TEXT_MAX]);

#endif
