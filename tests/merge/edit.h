/* An edit: one instruction with its strings spelled out, as the tests of pre-merge write, read and merge them.
 * Only what the model of tests/merge knows: integer keys, paths of up to EDIT_PATH_MAX steps, a few types of values. */
#ifndef TESTS_MERGE_EDIT_H
#define TESTS_MERGE_EDIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/changeset.h"

#define EDIT_PATH_MAX 4
#define EDIT_NAME_MAX 8 /* bytes of a name, with NUL */

struct edit_step {
	bool is_index;
	uint32_t index;
	char key[EDIT_NAME_MAX];
};

struct edit_value {
	enum cs_type type; /* null, int, string, link, and those below 0 */
	int64_t integer;   /* int; string: the text is this number; link: the key in table */
	char table[EDIT_NAME_MAX];
};

struct edit {
	enum cs_code code;
	char table[EDIT_NAME_MAX];
	int64_t key;
	char field[EDIT_NAME_MAX];
	unsigned n; /* steps */
	struct edit_step path[EDIT_PATH_MAX];
	struct edit_value value;
	bool is_default;
	int64_t number; /* AddInteger */
	uint32_t prior_size, to;
	enum cs_collection collection;
};

/* Appends InternStrings as needed and the instruction. strings is that of the changeset; start it as { 0 }. Schema instructions are
 * written with fixed details: AddTable with an integer key `_id', AddColumn a mixed one, nullable. */
#define EDIT_STRINGS_MAX 64
struct edit_strings {
	char name[EDIT_STRINGS_MAX][EDIT_NAME_MAX];
	uint32_t n;
};
void edit_write(struct cs_writer *w, struct edit_strings *strings, const struct edit *e);

/* Reads instruction i of c; false if it is an InternString. Aborts on what an edit cannot hold. */
bool edit_read(const struct cs_parsed *c, size_t i, struct edit *e);

/* A name for a table, field or key. */
void edit_name(char name[EDIT_NAME_MAX], const char *text);

#endif
