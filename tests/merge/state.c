/* The model database. An edit is applied by walking from the root to its place and changing that; every step that a real database
 * would refuse (212) is refused: no such object or element, a parent that is null, a prior_size that is not the size. */
#include "tests/merge/state.h"

#include <stdlib.h>
#include <string.h>

static const char object_fields[] = "nmelqdgs", embedded_fields[] = "nmel";

/* ---- nodes ---- */

static uint16_t
new_node(struct state *s, enum kind kind, char key)
{
	uint16_t n = s->free;

	if (n == 0)
		abort(); /* the generator keeps everything small */
	s->free = s->node[n].next;
	s->node[n] = (struct node){ .kind = (uint8_t)kind, .key = key };
	return n;
}

static void
clear(struct state *s, uint16_t n)
{
	uint16_t c, next;

	for (c = s->node[n].child; c != 0; c = next) {
		next = s->node[c].next;
		clear(s, c);
		s->node[c].next = s->free;
		s->free = c;
	}
	s->node[n].child = 0;
}

static void
become(struct state *s, uint16_t n, enum kind kind, int64_t integer)
{
	clear(s, n);
	s->node[n].kind = (uint8_t)kind;
	s->node[n].integer = integer;
}

/* Where the link to the i-th child stands. */
static uint16_t *
link_at(struct state *s, uint16_t n, unsigned i)
{
	uint16_t *at = &s->node[n].child;

	while (i-- > 0)
		at = &s->node[*at].next;
	return at;
}

static void
insert_at(struct state *s, uint16_t *at, uint16_t child)
{
	s->node[child].next = *at;
	*at = child;
}

static void
remove_at(struct state *s, uint16_t *at)
{
	uint16_t n = *at;

	clear(s, n);
	*at = s->node[n].next;
	s->node[n].next = s->free;
	s->free = n;
}

/* Where the child with this name stands, or would stand: names are in order, so that equal states are equal trees. */
static uint16_t *
link_of(struct state *s, uint16_t n, char key)
{
	uint16_t *at = &s->node[n].child;

	while (*at != 0 && s->node[*at].key < key)
		at = &s->node[*at].next;
	return at;
}

static bool
is_there(const struct state *s, const uint16_t *at, char key)
{
	return *at != 0 && s->node[*at].key == key;
}

uint16_t
state_child(const struct state *s, uint16_t n, char key)
{
	uint16_t c = s->node[n].child;

	while (c != 0 && s->node[c].key != key)
		c = s->node[c].next;
	return c;
}

unsigned
state_size(const struct state *s, uint16_t n)
{
	unsigned size = 0;

	for (uint16_t c = s->node[n].child; c != 0; c = s->node[c].next)
		size++;
	return size;
}

uint16_t
state_item(const struct state *s, uint16_t n, unsigned i)
{
	uint16_t c = s->node[n].child;

	while (c != 0 && i-- > 0)
		c = s->node[c].next;
	return c;
}

static void
add_field(struct state *s, uint16_t n, char f)
{
	enum kind kind = f == 'n' ? V_INT : f == 'l' || f == 'q' ? V_LIST : f == 'd' || f == 'g' ? V_DICT : f == 's' ? V_SET : V_NULL;

	insert_at(s, link_of(s, n, f), new_node(s, kind, f));
}

/* The number of a table says which of its columns are erased: a bit for each of object_fields. */
static int64_t
column_bit(char field)
{
	return (int64_t)1 << (strchr(object_fields, field) - object_fields);
}

bool
state_has_column(const struct state *s, uint16_t table, char field)
{
	return (s->node[table].integer & column_bit(field)) == 0;
}

/* All but those that are erased. */
static void
add_fields(struct state *s, uint16_t n, const char *fields, int64_t erased)
{
	for (; *fields != '\0'; fields++)
		if ((erased & column_bit(*fields)) == 0)
			add_field(s, n, *fields);
}

void
state_init(struct state *s)
{
	memset(s, 0, sizeof(*s));
	s->node[0].kind = V_DICT;
	for (uint16_t n = STATE_NODES - 1; n > 0; n--) {
		s->node[n].next = s->free;
		s->free = n;
	}
	insert_at(s, link_of(s, 0, 'T'), new_node(s, V_DICT, 'T'));
	insert_at(s, link_of(s, 0, 'U'), new_node(s, V_DICT, 'U'));
}

/* ---- the place of an edit ---- */

struct place {
	enum { PROPERTY, ITEM, ENTRY } what;
	char field;  /* the last field on the way */
	uint16_t in; /* PROPERTY: the node itself; ITEM: the list; ENTRY: the dictionary */
	unsigned index;
	char key;
};

/* One step into node n, which holds what the field (or an element below it) holds. NULL, or why not. */
static const char *
step_into(const struct state *s, struct place *p, uint16_t n, const struct edit_step *step)
{
	switch (s->node[n].kind) {
	case V_OBJECT:
		if (step->is_index || (n = state_child(s, n, step->key[0])) == 0)
			return "no such field in an embedded object";
		*p = (struct place){ .what = PROPERTY, .field = step->key[0], .in = n };
		return NULL;
	case V_LIST:
		if (!step->is_index)
			return "index of a list is no number";
		*p = (struct place){ .what = ITEM, .field = p->field, .in = n, .index = step->index };
		return NULL;
	case V_DICT:
		if (step->is_index)
			return "key of a dictionary is no string";
		*p = (struct place){ .what = ENTRY, .field = p->field, .in = n, .key = step->key[0] };
		return NULL;
	default:
		return "path through what is no object, list or dictionary";
	}
}

/* The node at a place, 0 if there is none. */
static uint16_t
node_at(const struct state *s, const struct place *p)
{
	return p->what == PROPERTY ? p->in : p->what == ITEM ? state_item(s, p->in, p->index) : state_child(s, p->in, p->key);
}

static const char *
find_place(const struct state *s, const struct edit *e, struct place *p)
{
	uint16_t n = state_child(s, 0, e->table[0]);
	const char *why;

	if (n == 0)
		return "no such table";
	if ((n = state_child(s, n, (char)e->key)) == 0)
		return "no such object";
	if ((n = state_child(s, n, e->field[0])) == 0)
		return "no such field";
	*p = (struct place){ .what = PROPERTY, .field = e->field[0], .in = n };
	for (unsigned i = 0; i < e->n; i++) {
		if ((n = node_at(s, p)) == 0)
			return "path through a missing element";
		if ((why = step_into(s, p, n, &e->path[i])) != NULL)
			return why;
	}
	return NULL;
}

/* ---- edits ---- */

/* Makes node n hold v. A collection that is there already stays as it is. */
static void
assign(struct state *s, uint16_t n, const struct edit_value *v)
{
	enum kind collection = v->type == CS_LIST ? V_LIST : V_DICT;

	switch (v->type) {
	case CS_NULL:
		become(s, n, V_NULL, 0);
		break;
	case CS_INT:
		become(s, n, V_INT, v->integer);
		break;
	case CS_STRING:
		become(s, n, V_STR, v->integer);
		break;
	case CS_LINK:
		become(s, n, V_LINK, v->integer);
		break;
	case CS_OBJECT:
		become(s, n, V_OBJECT, 0);
		add_fields(s, n, embedded_fields, 0);
		break;
	case CS_LIST:
	case CS_DICTIONARY:
		if (s->node[n].kind != collection)
			become(s, n, collection, 0);
		break;
	default:
		abort();
	}
}

static const char *
check_type(const struct state *s, const struct place *p, const struct edit_value *v)
{
	bool ok;

	if (v->type == CS_LINK && state_child(s, 0, v->table[0]) == 0)
		return "link into a missing table";
	switch (p->field) {
	case 'n':
		ok = v->type == CS_INT || v->type == CS_NULL;
		break;
	case 'e':
		ok = v->type == CS_OBJECT || v->type == CS_NULL;
		break;
	case 'q':
		ok = v->type == CS_OBJECT;
		break;
	case 'g':
		ok = v->type == CS_OBJECT || v->type == CS_NULL || v->type == CS_ERASED;
		break;
	case 's':
		ok = false;
		break;
	default:
		ok = v->type != CS_OBJECT && v->type != CS_SET;
	}
	if (v->type == CS_ERASED && p->what != ENTRY)
		ok = false;
	return ok ? NULL : "value of a type that the field does not hold";
}

static const char *
apply_update(struct state *s, const struct place *p, const struct edit_value *v)
{
	const char *why = check_type(s, p, v);
	uint16_t n = node_at(s, p), *at;

	if (why != NULL)
		return why;
	switch (p->what) {
	case PROPERTY:
		if (s->node[n].kind == V_SET || p->field == 'l' || p->field == 'q' || p->field == 'd' || p->field == 'g')
			return "update of a whole collection";
		if (v->type != CS_OBJECT || s->node[n].kind == V_NULL) /* idempotent */
			assign(s, n, v);
		return NULL;
	case ITEM:
		if (n == 0)
			return "update beyond the end of a list";
		if (v->type != CS_OBJECT)
			assign(s, n, v);
		return NULL;
	default:
		at = link_of(s, p->in, p->key);
		if (v->type == CS_ERASED) {
			if (is_there(s, at, p->key))
				remove_at(s, at);
			return NULL;
		}
		if (!is_there(s, at, p->key))
			insert_at(s, at, new_node(s, V_NULL, p->key));
		if (v->type != CS_OBJECT || s->node[*at].kind != V_OBJECT) /* idempotent, as the merge rules have it */
			assign(s, *at, v);
		return NULL;
	}
}

static const char *
apply_add_integer(struct state *s, const struct place *p, int64_t number)
{
	struct node *n = &s->node[p->in];

	if (p->what != PROPERTY)
		return "addition to an element";
	if (n->kind == V_NULL)
		return NULL;
	if (n->kind != V_INT)
		return "addition to what is no integer";
	n->integer += number;
	return NULL;
}

static void
move_item(struct state *s, uint16_t list, unsigned from, unsigned to)
{
	uint16_t *at = link_at(s, list, from), n = *at;

	*at = s->node[n].next;
	insert_at(s, link_at(s, list, to), n);
}

static const char *
apply_array(struct state *s, const struct place *p, const struct edit *e)
{
	unsigned size = state_size(s, p->in), limit = e->code == CS_ARRAY_INSERT ? size : size - 1;
	const char *why;
	uint16_t n;

	if (p->what != ITEM)
		return "array instruction outside a list";
	if (e->prior_size != size)
		return "prior_size is not the size";
	if (size == 0 && e->code != CS_ARRAY_INSERT)
		return "the list is empty";
	if (p->index > limit)
		return "index out of bounds";
	if (e->code == CS_ARRAY_ERASE) {
		remove_at(s, link_at(s, p->in, p->index));
	} else if (e->code == CS_ARRAY_MOVE) {
		if (e->to >= size || e->to == p->index)
			return "move out of bounds, or to where it is";
		move_item(s, p->in, p->index, e->to);
	} else {
		if ((why = check_type(s, p, &e->value)) != NULL)
			return why;
		n = new_node(s, V_NULL, 0);
		assign(s, n, &e->value);
		insert_at(s, link_at(s, p->in, p->index), n);
	}
	return NULL;
}

static const char *
apply_clear(struct state *s, const struct place *p, enum cs_collection collection)
{
	enum kind kind = collection == CS_OF_LIST ? V_LIST : collection == CS_OF_DICTIONARY ? V_DICT : V_SET;
	uint16_t n = node_at(s, p);

	if (n == 0)
		return "clear of a missing element";
	if (p->what == PROPERTY && p->field != 'm' && s->node[n].kind != kind)
		return "clear of another collection";
	if ((p->field == 'm' || p->what != PROPERTY) && kind == V_SET)
		return "clear of a set in mixed";
	become(s, n, kind, 0);
	return NULL;
}

/* The members of a set are in order. */
static const char *
apply_set(struct state *s, const struct place *p, const struct edit *e)
{
	uint16_t *at = &s->node[p->in].child;
	bool there;

	if (p->what != PROPERTY || s->node[p->in].kind != V_SET)
		return "set instruction outside a set";
	while (*at != 0 && s->node[*at].integer < e->value.integer)
		at = &s->node[*at].next;
	there = *at != 0 && s->node[*at].integer == e->value.integer;
	if (e->code == CS_SET_ERASE && there)
		remove_at(s, at);
	if (e->code == CS_SET_INSERT && !there) {
		uint16_t n = new_node(s, V_INT, 0);

		s->node[n].integer = e->value.integer;
		insert_at(s, at, n);
	}
	return NULL;
}

static const char *
apply_column(struct state *s, uint16_t table, const struct edit *e)
{
	char field = e->field[0];
	bool add = e->code == CS_ADD_COLUMN, there = state_has_column(s, table, field);

	if (add && there)
		return NULL;
	if (!add && !there)
		return "no such column";
	s->node[table].integer ^= column_bit(field);
	for (uint16_t object = s->node[table].child; object != 0; object = s->node[object].next) {
		if (add)
			add_field(s, object, field);
		else
			remove_at(s, link_of(s, object, field));
	}
	return NULL;
}

static const char *
apply_above(struct state *s, const struct edit *e)
{
	uint16_t table = state_child(s, 0, e->table[0]), *at;

	if (e->code == CS_ADD_TABLE) {
		if (table == 0)
			insert_at(s, link_of(s, 0, e->table[0]), new_node(s, V_DICT, e->table[0]));
		return NULL;
	}
	if (table == 0)
		return "no such table";
	if (e->code == CS_ERASE_TABLE) {
		remove_at(s, link_of(s, 0, e->table[0]));
		return NULL;
	}
	if (e->code == CS_ADD_COLUMN || e->code == CS_ERASE_COLUMN)
		return apply_column(s, table, e);
	at = link_of(s, table, (char)e->key);
	if (e->code == CS_ERASE_OBJECT && is_there(s, at, (char)e->key))
		remove_at(s, at);
	if (e->code == CS_CREATE_OBJECT && !is_there(s, at, (char)e->key)) {
		uint16_t n = new_node(s, V_OBJECT, (char)e->key);

		insert_at(s, at, n);
		add_fields(s, n, object_fields, s->node[table].integer);
	}
	return NULL;
}

const char *
state_apply(struct state *s, const struct edit *e)
{
	struct place p;
	const char *why;

	if (!cs_has_path(e->code))
		return apply_above(s, e);
	if ((why = find_place(s, e, &p)) != NULL)
		return why;
	switch (e->code) {
	case CS_UPDATE:
		return apply_update(s, &p, &e->value);
	case CS_ADD_INTEGER:
		return apply_add_integer(s, &p, e->number);
	case CS_CLEAR:
		return apply_clear(s, &p, e->collection);
	case CS_SET_INSERT:
	case CS_SET_ERASE:
		return apply_set(s, &p, e);
	case CS_ARRAY_INSERT:
	case CS_ARRAY_MOVE:
	case CS_ARRAY_ERASE:
		return apply_array(s, &p, e);
	default:
		abort();
	}
}

/* ---- comparing ---- */

static bool
equal(const struct state *a, uint16_t x, const struct state *b, uint16_t y)
{
	const struct node *n = &a->node[x], *m = &b->node[y];

	if (n->kind != m->kind || n->key != m->key || n->integer != m->integer)
		return false;
	for (x = n->child, y = m->child; x != 0 && y != 0; x = a->node[x].next, y = b->node[y].next)
		if (!equal(a, x, b, y))
			return false;
	return x == y;
}

bool
state_equal(const struct state *a, const struct state *b)
{
	return equal(a, 0, b, 0);
}

static void
print(FILE *f, const struct state *s, uint16_t n)
{
	static const char open[] = "    {[{<", close[] = "    }]}>";
	const struct node *node = &s->node[n];

	if (node->key != 0)
		fprintf(f, node->key < 32 ? "%d:" : "%c:", node->key);
	if (node->kind == V_NULL)
		fputs("null", f);
	else if (node->kind < V_OBJECT)
		fprintf(f, "%s%lld", node->kind == V_STR ? "'" : node->kind == V_LINK ? "->" : "", (long long)node->integer);
	else
		putc(open[node->kind], f);
	for (uint16_t c = node->child; c != 0; c = s->node[c].next) {
		print(f, s, c);
		if (s->node[c].next != 0)
			putc(' ', f);
	}
	if (node->kind >= V_OBJECT)
		putc(close[node->kind], f);
}

void
state_print(FILE *f, const struct state *s)
{
	print(f, s, 0);
	putc('\n', f);
}
