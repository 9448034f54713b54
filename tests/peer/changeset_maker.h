/* Makes changesets (protocol.md section 7) as a real SDK encodes them: instruction by instruction, strings interned right before
 * their first use. For test peers only; the encoder knows nothing of protocol/changeset, so that one misreading is not shared. */
#ifndef TESTS_PEER_CHANGESET_MAKER_H
#define TESTS_PEER_CHANGESET_MAKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHANGESET_STRINGS_MAX 32 /* interned strings in one changeset: the widest schema made here has 12 */

struct changeset {
	uint8_t *buf; /* the bytes so far; owned, grows */
	size_t len, cap;
	char *str[CHANGESET_STRINGS_MAX]; /* interned, by index; owned */
	size_t nstr;
};

/* Types as they stand in keys, payloads and AddColumn. */
enum changeset_type {
	CHANGESET_NULL = 0,
	CHANGESET_INT = 1,
	CHANGESET_BOOL = 2,
	CHANGESET_STRING = 3,
	CHANGESET_BINARY = 4,
	CHANGESET_DOUBLE = 7,
	CHANGESET_LINK = 9,
};

enum changeset_collection { CHANGESET_SINGLE, CHANGESET_LIST, CHANGESET_DICTIONARY, CHANGESET_SET };

struct changeset_payload {
	enum changeset_type type;
	int64_t integer; /* INT and BOOL */
	double real;	 /* DOUBLE */
	const void *data; /* STRING and BINARY; borrowed for the call */
	size_t len;
};

/* Where an instruction points: the object with integer key in table, its field, and at most one element inside it. */
struct changeset_path {
	const char *table;
	int64_t key;
	const char *field;
	const char *dict_key; /* an element of a dictionary; NULL = none */
	bool indexed;	      /* an element of a list: index */
	uint64_t index;
};

struct changeset_column {
	const char *field;
	enum changeset_type type; /* NULL = mixed */
	bool nullable;
	enum changeset_collection collection;
	const char *target; /* LINK: the table */
};

void changeset_init(struct changeset *c);
/* Releases all; c may be initialised again. */
void changeset_free(struct changeset *c);

/* AddTable: top level, primary key pk_field of type int, not nullable. */
void changeset_add_table(struct changeset *c, const char *table, const char *pk_field);
/* AddColumn; the key type of a dictionary is string. */
void changeset_add_column(struct changeset *c, const char *table, const struct changeset_column *col);
void changeset_create_object(struct changeset *c, const char *table, int64_t key);
void changeset_erase_object(struct changeset *c, const char *table, int64_t key);
/* Update; prior_size is used when p is indexed, else is_default = false is written. */
void changeset_update(struct changeset *c, const struct changeset_path *p, const struct changeset_payload *v, uint64_t prior_size);
void changeset_add_integer(struct changeset *c, const struct changeset_path *p, int64_t value);
/* p is indexed in the next two. */
void changeset_array_insert(struct changeset *c, const struct changeset_path *p, const struct changeset_payload *v, uint64_t prior_size);
void changeset_array_erase(struct changeset *c, const struct changeset_path *p, uint64_t prior_size);
void changeset_set_insert(struct changeset *c, const struct changeset_path *p, const struct changeset_payload *v);

#endif
