/* Random edits: a walk down the data, and at some point an instruction that fits what is there. Numbers and names are few, so that
 * edits of different clients meet. */
#include "tests/merge/random.h"

#include <string.h>

#define LIST_MAX 3

static void
add_key(struct edit *e, char key)
{
	e->path[e->n++].key[0] = key;
}

static void
add_index(struct edit *e, unsigned index)
{
	e->path[e->n].is_index = true;
	e->path[e->n++].index = index;
}

/* Something that a mixed field or element can hold. */
static void
mixed_value(struct rng *r, const struct focus *f, const struct state *s, struct edit_value *v)
{
	static const enum cs_type types[] = { CS_INT, CS_INT, CS_INT, CS_INT, CS_STRING, CS_NULL, CS_DICTIONARY, CS_DICTIONARY, CS_LIST, CS_LINK };
	static const enum cs_type moody[] = { CS_INT, CS_INT, CS_STRING, CS_NULL, CS_DICTIONARY, CS_LIST, CS_LIST, CS_LIST };

	v->type = f->moody ? moody[below(r, sizeof(moody) / sizeof(moody[0]))] : types[below(r, sizeof(types) / sizeof(types[0]))];
	if (v->type == CS_LINK && state_child(s, 0, 'T') == 0)
		v->type = CS_NULL;
	v->integer = v->type == CS_INT || v->type == CS_STRING || v->type == CS_LINK ? 1 + below(r, 40) : 0;
	if (v->type == CS_LINK)
		v->table[0] = 'T';
}

static void
update(struct edit *e, enum cs_type type, int64_t integer)
{
	e->code = CS_UPDATE;
	e->value.type = type;
	e->value.integer = integer;
}

static void
add_integer(struct rng *r, struct edit *e)
{
	e->code = CS_ADD_INTEGER;
	e->number = 100 * (1 + below(r, 4));
}

static void
clear(struct edit *e, enum cs_collection collection)
{
	e->code = CS_CLEAR;
	e->collection = collection;
}

static void in_field(struct rng *r, const struct focus *f, const struct state *s, uint16_t n, char field, struct edit *e);
static void in_list(struct rng *r, const struct focus *f, const struct state *s, uint16_t n, char field, struct edit *e);
static void in_dictionary(struct rng *r, const struct focus *f, const struct state *s, uint16_t n, char field, struct edit *e);

static void
in_embedded(struct rng *r, const struct focus *f, const struct state *s, uint16_t n, struct edit *e)
{
	char field = "nnmel"[below(r, e->n < 2 ? 5 : 3)];

	add_key(e, field);
	in_field(r, f, s, state_child(s, n, field), field, e);
}

/* Goes on into an element that is there, if it holds something and the path is not too long. */
static bool
go_into(struct rng *r, const struct focus *f, const struct state *s, uint16_t n, char field, struct edit *e)
{
	if (n == 0 || e->n > 2)
		return false;
	switch (s->node[n].kind) {
	case V_OBJECT:
		in_embedded(r, f, s, n, e);
		return true;
	case V_LIST:
		in_list(r, f, s, n, field, e);
		return true;
	case V_DICT:
		in_dictionary(r, f, s, n, field, e);
		return true;
	default:
		return false;
	}
}

static void
in_list(struct rng *r, const struct focus *f, const struct state *s, uint16_t n, char field, struct edit *e)
{
	unsigned size = state_size(s, n), index;

	if (size > 0 && chance(r, 5)) {
		clear(e, CS_OF_LIST);
		return;
	}
	if (size > 1 && chance(r, 6)) {
		index = below(r, size);
		add_index(e, index);
		e->code = CS_ARRAY_MOVE;
		e->to = (index + 1 + below(r, size - 1)) % size;
		e->prior_size = size;
		return;
	}
	if (size == 0 || (size < LIST_MAX && chance(r, 25))) {
		add_index(e, below(r, size + 1));
		e->code = CS_ARRAY_INSERT;
	} else {
		index = below(r, size);
		add_index(e, index);
		if (chance(r, 30) && go_into(r, f, s, state_item(s, n, index), field, e))
			return;
		e->code = chance(r, 20) ? CS_ARRAY_ERASE : CS_UPDATE;
	}
	e->prior_size = size;
	if (e->code != CS_ARRAY_ERASE)
		mixed_value(r, f, s, &e->value);
	if (e->code != CS_ARRAY_ERASE && field == 'q')
		e->value = (struct edit_value){ .type = CS_OBJECT };
}

static void
in_dictionary(struct rng *r, const struct focus *f, const struct state *s, uint16_t n, char field, struct edit *e)
{
	char key = "ab"[below(r, 2)];

	if (s->node[n].child != 0 && chance(r, 10)) {
		clear(e, CS_OF_DICTIONARY);
		return;
	}
	add_key(e, key);
	if (chance(r, 50) && go_into(r, f, s, state_child(s, n, key), field, e))
		return;
	e->code = CS_UPDATE;
	mixed_value(r, f, s, &e->value);
	if (field == 'g')
		e->value = (struct edit_value){ .type = chance(r, 60) ? CS_OBJECT : CS_NULL };
	if (chance(r, 15))
		e->value = (struct edit_value){ .type = CS_ERASED };
}

static void
in_mixed(struct rng *r, const struct focus *f, const struct state *s, uint16_t n, struct edit *e)
{
	enum kind kind = (enum kind)s->node[n].kind;

	if (chance(r, f->moody ? 20 : 60) && go_into(r, f, s, n, 'm', e))
		return;
	if ((kind == V_LIST || kind == V_DICT) && chance(r, 25)) {
		clear(e, kind == V_LIST ? CS_OF_LIST : CS_OF_DICTIONARY);
	} else if ((kind == V_INT || kind == V_NULL) && f->add_to_mixed && chance(r, 30)) {
		add_integer(r, e);
	} else {
		e->code = CS_UPDATE;
		mixed_value(r, f, s, &e->value);
		e->is_default = chance(r, f->moody ? 35 : 12);
	}
}

/* n is what the field holds. */
static void
in_field(struct rng *r, const struct focus *f, const struct state *s, uint16_t n, char field, struct edit *e)
{
	switch (field) {
	case 'n':
		if (chance(r, 35)) {
			add_integer(r, e);
		} else {
			update(e, CS_INT, 1 + below(r, 40));
			if (chance(r, 12))
				update(e, CS_NULL, 0);
			e->is_default = chance(r, 15);
		}
		break;
	case 'm':
		in_mixed(r, f, s, n, e);
		break;
	case 'e':
		if (!chance(r, 60) || !go_into(r, f, s, n, field, e))
			update(e, chance(r, 65) ? CS_OBJECT : CS_NULL, 0);
		break;
	case 's':
		e->code = chance(r, 60) ? CS_SET_INSERT : CS_SET_ERASE;
		e->value = (struct edit_value){ .type = CS_INT, .integer = 1 + below(r, 3) };
		if (chance(r, 15))
			clear(e, CS_OF_SET);
		break;
	default:
		(void)go_into(r, f, s, n, field, e);
	}
}

void
random_edit(struct rng *r, const struct focus *f, const struct state *s, struct edit *e)
{
	uint16_t table, object;

	memset(e, 0, sizeof(*e));
	e->table[0] = chance(r, 92) ? 'T' : 'U';
	e->key = chance(r, f->percent) ? f->key : 1 + below(r, 2);
	e->field[0] = chance(r, f->percent) ? f->field : FIELDS[below(r, sizeof(FIELDS) - 1)];
	table = state_child(s, 0, e->table[0]);
	if (table == 0) {
		e->code = CS_ADD_TABLE;
	} else if (chance(r, 1)) {
		e->code = chance(r, 50) ? CS_ERASE_TABLE : CS_ADD_COLUMN;
	} else if (f->columns && chance(r, 8)) {
		e->code = state_has_column(s, table, e->field[0]) ? CS_ERASE_COLUMN : CS_ADD_COLUMN;
	} else if ((object = state_child(s, table, (char)e->key)) == 0 || chance(r, 5)) {
		e->code = CS_CREATE_OBJECT;
	} else if (chance(r, 8)) {
		e->code = CS_ERASE_OBJECT;
	} else if (!state_has_column(s, table, e->field[0])) {
		e->code = CS_ADD_COLUMN;
	} else {
		in_field(r, f, s, state_child(s, object, e->field[0]), e->field[0], e);
		return;
	}
	e->n = 0;
	if (e->code != CS_ADD_COLUMN && e->code != CS_ERASE_COLUMN)
		e->field[0] = '\0';
	if (e->code != CS_CREATE_OBJECT && e->code != CS_ERASE_OBJECT)
		e->key = 0;
}
