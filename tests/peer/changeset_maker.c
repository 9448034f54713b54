/* The encoder of test changesets. It never reads a changeset and never decides what to write: callers name each instruction.
 *
 * The one idea: the real encoder interns the strings of an instruction (table, field, then dictionary key or link target) before
 * it writes the instruction's code, so an InternString stands between two instructions, never inside one. Every function here
 * therefore interns first and writes second; test_changeset_maker.c compares the bytes with recorded ones. */
#include <stdlib.h>
#include <string.h>

#include "tests/peer/changeset_maker.h"

enum {
	CODE_ADD_TABLE = 0,
	CODE_CREATE_OBJECT = 2,
	CODE_ERASE_OBJECT = 3,
	CODE_UPDATE = 4,
	CODE_ADD_INTEGER = 5,
	CODE_ADD_COLUMN = 6,
	CODE_ARRAY_INSERT = 8,
	CODE_ARRAY_ERASE = 10,
	CODE_SET_INSERT = 12,
	CODE_INTERN = 0x3f,
};

static void
put(struct changeset *c, const void *data, size_t len)
{
	if (c->cap - c->len < len) {
		size_t cap = (c->len + len) * 2 + 64;
		uint8_t *buf = realloc(c->buf, cap);

		if (buf == NULL)
			abort();
		c->buf = buf;
		c->cap = cap;
	}
	if (len > 0)
		memcpy(c->buf + c->len, data, len);
	c->len += len;
}

static void
put_int(struct changeset *c, int64_t value)
{
	uint64_t u = value < 0 ? ~(uint64_t)value : (uint64_t)value;
	uint8_t byte;

	for (; u >> 6 != 0; u >>= 7) {
		byte = (uint8_t)(0x80 | (u & 0x7f));
		put(c, &byte, 1);
	}
	byte = (uint8_t)(u | (value < 0 ? 0x40 : 0));
	put(c, &byte, 1);
}

static void
put_sized(struct changeset *c, const void *data, size_t len)
{
	put_int(c, (int64_t)len);
	put(c, data, len);
}

/* Returns the index of text, interning it first when it is new. */
static int64_t
intern(struct changeset *c, const char *text)
{
	size_t i;

	for (i = 0; i < c->nstr; i++)
		if (strcmp(c->str[i], text) == 0)
			return (int64_t)i;
	if (c->nstr == CHANGESET_STRINGS_MAX || (c->str[i] = strdup(text)) == NULL)
		abort();
	c->nstr++;
	put_int(c, CODE_INTERN);
	put_int(c, (int64_t)i);
	put_sized(c, text, strlen(text));
	return (int64_t)i;
}

static void
put_key(struct changeset *c, int64_t key)
{
	put_int(c, CHANGESET_INT);
	put_int(c, key);
}

static void
put_payload(struct changeset *c, const struct changeset_payload *v)
{
	uint64_t bits;
	uint8_t le[8];

	put_int(c, v->type);
	switch (v->type) {
	case CHANGESET_NULL:
		break;
	case CHANGESET_INT:
	case CHANGESET_BOOL:
		put_int(c, v->integer);
		break;
	case CHANGESET_STRING:
	case CHANGESET_BINARY:
		put_sized(c, v->data, v->len);
		break;
	case CHANGESET_DOUBLE:
		memcpy(&bits, &v->real, sizeof bits);
		for (size_t i = 0; i < sizeof le; i++)
			le[i] = (uint8_t)(bits >> (8 * i));
		put(c, le, sizeof le);
		break;
	case CHANGESET_LINK:
	default:
		abort();
	}
}

/* Interns all strings of p, then writes code and p. */
static void
put_path(struct changeset *c, int code, const struct changeset_path *p)
{
	int64_t table = intern(c, p->table), field = intern(c, p->field);
	int64_t dict_key = p->dict_key != NULL ? intern(c, p->dict_key) : 0;

	put_int(c, code);
	put_int(c, table);
	put_key(c, p->key);
	put_int(c, field);
	put_int(c, p->dict_key != NULL || p->indexed);
	if (p->dict_key != NULL) {
		put_int(c, -1);
		put_int(c, dict_key);
	} else if (p->indexed) {
		put_int(c, (int64_t)p->index);
	}
}

void
changeset_init(struct changeset *c)
{
	memset(c, 0, sizeof *c);
}

void
changeset_free(struct changeset *c)
{
	for (size_t i = 0; i < c->nstr; i++)
		free(c->str[i]);
	free(c->buf);
	changeset_init(c);
}

void
changeset_add_table(struct changeset *c, const char *table, const char *pk_field)
{
	int64_t t = intern(c, table), pk = intern(c, pk_field);

	put_int(c, CODE_ADD_TABLE);
	put_int(c, t);
	put_int(c, 0); /* top level */
	put_int(c, pk);
	put_int(c, CHANGESET_INT);
	put_int(c, 0); /* not nullable */
}

void
changeset_add_column(struct changeset *c, const char *table, const struct changeset_column *col)
{
	int64_t t = intern(c, table), field = intern(c, col->field);
	int64_t target = intern(c, col->target != NULL ? col->target : ""); /* the real encoder interns it unused as well */

	put_int(c, CODE_ADD_COLUMN);
	put_int(c, t);
	put_int(c, field);
	put_int(c, col->type);
	put_int(c, col->nullable);
	put_int(c, col->collection);
	if (col->type == CHANGESET_LINK)
		put_int(c, target);
	if (col->collection == CHANGESET_DICTIONARY)
		put_int(c, CHANGESET_STRING);
}

static void
object(struct changeset *c, int code, const char *table, int64_t key)
{
	int64_t t = intern(c, table);

	put_int(c, code);
	put_int(c, t);
	put_key(c, key);
}

void
changeset_create_object(struct changeset *c, const char *table, int64_t key)
{
	object(c, CODE_CREATE_OBJECT, table, key);
}

void
changeset_erase_object(struct changeset *c, const char *table, int64_t key)
{
	object(c, CODE_ERASE_OBJECT, table, key);
}

void
changeset_update(struct changeset *c, const struct changeset_path *p, const struct changeset_payload *v, uint64_t prior_size)
{
	put_path(c, CODE_UPDATE, p);
	put_payload(c, v);
	put_int(c, p->indexed ? (int64_t)prior_size : 0);
}

void
changeset_add_integer(struct changeset *c, const struct changeset_path *p, int64_t value)
{
	put_path(c, CODE_ADD_INTEGER, p);
	put_int(c, value);
}

void
changeset_array_insert(struct changeset *c, const struct changeset_path *p, const struct changeset_payload *v, uint64_t prior_size)
{
	put_path(c, CODE_ARRAY_INSERT, p);
	put_payload(c, v);
	put_int(c, (int64_t)prior_size);
}

void
changeset_array_erase(struct changeset *c, const struct changeset_path *p, uint64_t prior_size)
{
	put_path(c, CODE_ARRAY_ERASE, p);
	put_int(c, (int64_t)prior_size);
}

void
changeset_set_insert(struct changeset *c, const struct changeset_path *p, const struct changeset_payload *v)
{
	put_path(c, CODE_SET_INSERT, p);
	put_payload(c, v);
}
