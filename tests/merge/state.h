/* The data of a model database: two tables of objects, strict about what can be applied to it. Small enough to be copied.
 *
 * What a field may hold is told by its name:
 *   n int or null    m mixed, also a list or a dictionary    e an embedded object or null
 *   l a list of mixed    q a list of embedded objects    d a dictionary of mixed    g a dictionary of embedded objects    s a set
 * A table has all of these columns until one is erased. Embedded objects have the fields n, m, e and l. Tables, keys of objects and of dictionaries have names of one letter. */
#ifndef TESTS_MERGE_STATE_H
#define TESTS_MERGE_STATE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "tests/merge/edit.h"

enum kind { V_NULL, V_INT, V_STR, V_LINK, V_OBJECT, V_LIST, V_DICT, V_SET };

struct node {
	uint8_t kind;
	char key; /* its name in an object or dictionary, 0 in a list or set */
	uint16_t child, next; /* the first child, the next sibling; 0 is none */
	int64_t integer;
};

#define STATE_NODES 768
struct state {
	struct node node[STATE_NODES]; /* 0 is the root: a dictionary of tables */
	uint16_t free;		       /* the first of the unused ones, chained by next; 0 is none */
};

/* Empty tables "T" and "U". */
void state_init(struct state *s);

/* Applies e. Returns NULL, or the reason why it cannot be applied; s is then not to be used. */
const char *state_apply(struct state *s, const struct edit *e);

bool state_equal(const struct state *a, const struct state *b);
void state_print(FILE *f, const struct state *s);

/* For whoever makes edits: does the table have this column; the child of node n with this name, 0 if there is none; the number of its
 * children; the i-th. */
bool state_has_column(const struct state *s, uint16_t table, char field);
uint16_t state_child(const struct state *s, uint16_t n, char key);
unsigned state_size(const struct state *s, uint16_t n);
uint16_t state_item(const struct state *s, uint16_t n, unsigned i);

#endif
