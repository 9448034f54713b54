/* The merge rules of the reference implementation for all 14 instructions, written anew from its transform.cpp as read in
 * realm/realm-core v14.14.0 (but for the columns of links, which the model does not have): each instruction of the one side meets each of the other, in order, and every meeting may
 * change both.
 *
 * First the nested rule, if one path is longer: `outer' has the shorter one. Then, if both are still there, the rule of the pair.
 * Left is always the side whose instruction has the higher code. */
#include "tests/merge/transform.h"

#include <string.h>

struct side {
	struct edit *e;
	bool *gone;
	uint64_t timestamp;
	unsigned origin;
};

static const char *bad; /* of the transform under way */

static void
refuse(const char *why)
{
	if (bad == NULL)
		bad = why;
}

static bool
is_older(const struct side *a, const struct side *b)
{
	return a->timestamp != b->timestamp ? a->timestamp < b->timestamp : a->origin < b->origin;
}

static void
drop(const struct side *s)
{
	*s->gone = true;
}

static void
drop_older(const struct side *left, const struct side *right)
{
	drop(is_older(left, right) ? left : right);
}

/* ---- what points where ---- */

static bool
same_table(const struct edit *a, const struct edit *b)
{
	return strcmp(a->table, b->table) == 0;
}

static bool
same_column(const struct edit *a, const struct edit *b)
{
	return same_table(a, b) && strcmp(a->field, b->field) == 0;
}

static bool
same_object(const struct edit *a, const struct edit *b)
{
	return same_table(a, b) && a->key == b->key;
}

static bool
same_step(const struct edit_step *a, const struct edit_step *b)
{
	return a->is_index == b->is_index && (a->is_index ? a->index == b->index : strcmp(a->key, b->key) == 0);
}

/* Same field and the same first n steps. */
static bool
same_steps(const struct edit *a, const struct edit *b, unsigned n)
{
	if (!cs_has_path(a->code) || !cs_has_path(b->code) || !same_object(a, b) || strcmp(a->field, b->field) != 0)
		return false;
	for (unsigned i = 0; i < n; i++)
		if (!same_step(&a->path[i], &b->path[i]))
			return false;
	return true;
}

static bool
same_path(const struct edit *a, const struct edit *b)
{
	return a->n == b->n && same_steps(a, b, a->n);
}

static bool
same_container(const struct edit *a, const struct edit *b)
{
	return a->n == b->n && same_steps(a, b, a->n > 0 ? a->n - 1 : 0);
}

static bool
is_prefix(const struct edit *outer, const struct edit *inner)
{
	return outer->n < inner->n && same_steps(outer, inner, outer->n);
}

static bool
is_container_prefix(const struct edit *outer, const struct edit *inner)
{
	return outer->n > 0 && outer->n < inner->n && same_steps(outer, inner, outer->n - 1);
}

static unsigned
depth(const struct edit *e)
{
	return cs_has_path(e->code) ? 3 + e->n : e->code == CS_CREATE_OBJECT || e->code == CS_ERASE_OBJECT ? 2 : 1;
}

static bool
is_array_update(const struct edit *e)
{
	return e->n > 0 && e->path[e->n - 1].is_index;
}

static uint32_t *
index_of(struct edit *e)
{
	return &e->path[e->n - 1].index;
}

/* ---- nested rules ---- */

static void
nested_update(const struct edit *outer, const struct side *inner)
{
	const struct edit_step *next;

	if (outer->value.type == CS_OBJECT || !is_prefix(outer, inner->e))
		return;
	next = &inner->e->path[outer->n];
	if ((outer->value.type == CS_LIST && next->is_index) || (outer->value.type == CS_DICTIONARY && !next->is_index))
		return;
	drop(inner);
}

static void
nested_array(struct edit *outer, const struct side *inner)
{
	uint32_t *at;

	if (outer->code == CS_ARRAY_ERASE && is_prefix(outer, inner->e)) {
		drop(inner);
		return;
	}
	if (!is_container_prefix(outer, inner->e))
		return;
	if (!inner->e->path[outer->n - 1].is_index) {
		refuse("inconsistent paths");
		return;
	}
	at = &inner->e->path[outer->n - 1].index;
	if (outer->code == CS_ARRAY_INSERT)
		*at += *at >= *index_of(outer);
	else
		*at -= *at > *index_of(outer);
}

/* Where element `at' of a list is after a move. */
static void
follow_move(uint32_t *at, uint32_t from, uint32_t to)
{
	if (*at == from) {
		*at = to;
		return;
	}
	*at -= *at > from;
	*at += *at >= to;
}

/* As it stands in the reference: it is the move that is changed, not what is inside the list. */
static void
nested_move(struct edit *outer, const struct side *inner)
{
	if (!is_container_prefix(outer, inner->e))
		return;
	if (!inner->e->path[outer->n - 1].is_index)
		refuse("inconsistent paths");
	else
		follow_move(index_of(outer), inner->e->path[outer->n - 1].index, outer->to);
}

static void
nested(const struct side *outer, const struct side *inner)
{
	struct edit *e = outer->e;

	switch (e->code) {
	case CS_ERASE_TABLE:
		if (same_table(e, inner->e))
			drop(inner);
		break;
	case CS_ERASE_OBJECT:
		if (cs_has_path(inner->e->code) && same_object(e, inner->e))
			drop(inner);
		break;
	case CS_UPDATE:
		nested_update(e, inner);
		break;
	case CS_ADD_INTEGER:
	case CS_CLEAR:
		if (is_prefix(e, inner->e))
			drop(inner);
		break;
	case CS_ARRAY_INSERT:
	case CS_ARRAY_ERASE:
		nested_array(e, inner);
		break;
	case CS_ARRAY_MOVE:
		nested_move(e, inner);
		break;
	default:
		break;
	}
}

/* ---- rules of pairs ---- */

static void
update_update(const struct side *left, const struct side *right)
{
	const struct edit_value *l = &left->e->value, *r = &right->e->value;

	if (!same_path(left->e, right->e))
		return;
	if (is_array_update(left->e) && left->e->prior_size != right->e->prior_size)
		refuse("Update and Update: prior_size");
	if (l->type != r->type && (l->type == CS_OBJECT || r->type == CS_OBJECT)) {
		drop(l->type == CS_OBJECT ? left : right);
		return;
	}
	if (l->type == r->type && (l->type == CS_LIST || l->type == CS_DICTIONARY))
		return;
	if (!is_array_update(left->e) && left->e->is_default != right->e->is_default)
		drop(left->e->is_default ? left : right);
	else
		drop_older(left, right);
}

static void
add_update(const struct side *add, const struct side *update)
{
	struct edit *u = update->e;

	if (!same_path(add->e, u))
		return;
	if (!is_older(update, add) && !(u->is_default && !is_array_update(u)))
		drop(add);
	else if (u->value.type == CS_NULL)
		return;
	else if (u->value.type != CS_INT)
		drop(add);
	else
		u->value.integer += add->e->number;
}

/* Indexes must fit what both say of the size. */
static bool
check_sizes(const struct edit *a, const struct edit *b)
{
	if (!is_array_update(a) || !is_array_update(b)) {
		refuse("an index meets a key");
		return false;
	}
	if (a->prior_size != b->prior_size) {
		refuse("array: prior_size");
		return false;
	}
	return true;
}

static void
array_update(const struct side *array, const struct side *update)
{
	struct edit *a = array->e, *u = update->e;

	if (!same_container(a, u) || !check_sizes(a, u))
		return;
	if (a->code == CS_ARRAY_INSERT) {
		u->prior_size++;
		*index_of(u) += *index_of(u) >= *index_of(a);
	} else {
		u->prior_size--;
		if (*index_of(u) == *index_of(a))
			drop(update);
		else
			*index_of(u) -= *index_of(u) > *index_of(a);
	}
}

static void
clear_update(const struct side *clear, const struct side *update)
{
	enum cs_type type = update->e->value.type;

	if (!same_path(clear->e, update->e))
		return;
	if ((clear->e->collection == CS_OF_LIST && type == CS_LIST) || (clear->e->collection == CS_OF_DICTIONARY && type == CS_DICTIONARY))
		return;
	drop_older(clear, update);
}

static void
insert_insert(const struct side *left, const struct side *right)
{
	uint32_t *l = index_of(left->e), *r = index_of(right->e);

	if (!same_container(left->e, right->e) || !check_sizes(left->e, right->e))
		return;
	left->e->prior_size++;
	right->e->prior_size++;
	if (*l > *r || (*l == *r && !is_older(left, right)))
		*l += 1;
	else
		*r += 1;
}

static void
erase_insert(const struct side *erase, const struct side *insert)
{
	uint32_t *e = index_of(erase->e), *i = index_of(insert->e);

	if (!same_container(erase->e, insert->e) || !check_sizes(erase->e, insert->e))
		return;
	erase->e->prior_size++;
	insert->e->prior_size--;
	if (*i <= *e)
		*e += 1;
	else
		*i -= 1;
}

static void
erase_erase(const struct side *left, const struct side *right)
{
	uint32_t *l = index_of(left->e), *r = index_of(right->e);

	if (!same_container(left->e, right->e) || !check_sizes(left->e, right->e))
		return;
	left->e->prior_size--;
	right->e->prior_size--;
	if (*l == *r) {
		drop(left);
		drop(right);
	} else if (*l > *r) {
		*l -= 1;
	} else {
		*r -= 1;
	}
}

static void
move_update(const struct side *move, const struct side *update)
{
	if (!same_container(move->e, update->e))
		return;
	if (!is_array_update(update->e))
		refuse("an index meets a key");
	else
		follow_move(index_of(update->e), *index_of(move->e), move->e->to);
}

static void
move_insert(const struct side *move, const struct side *insert)
{
	uint32_t *from = index_of(move->e), *to = &move->e->to, *i = index_of(insert->e);

	if (!same_container(move->e, insert->e))
		return;
	move->e->prior_size++;
	if (*i > *from)
		*i -= 1;
	else
		*from += 1;
	if (*i < *to || (*i == *to && is_older(move, insert)))
		*to += 1;
	else
		*i += 1;
}

/* Two moves of the same element: the newer one, from where the older one brought it. */
static void
move_again(const struct side *older, const struct side *newer)
{
	*index_of(newer->e) = older->e->to;
	drop(older);
	if (*index_of(newer->e) == newer->e->to)
		drop(newer);
}

static void
move_move(const struct side *left, const struct side *right)
{
	uint32_t *l = index_of(left->e), *lto = &left->e->to, *r = index_of(right->e), *rto = &right->e->to;

	if (!same_container(left->e, right->e) || !check_sizes(left->e, right->e))
		return;
	if (*l == *r) {
		bool left_older = is_older(left, right);

		move_again(left_older ? left : right, left_older ? right : left);
		return;
	}
	if (*l < *r)
		*r -= 1;
	else
		*l -= 1;
	if (*lto > *r)
		*lto -= 1;
	else
		*r += 1;
	if (*l < *rto)
		*rto -= 1;
	else
		*l += 1;
	if (*lto < *rto || (*lto == *rto && is_older(left, right)))
		*rto += 1;
	else
		*lto += 1;
	if (*l == *lto)
		drop(left);
	if (*r == *rto)
		drop(right);
}

static void
erase_move(const struct side *erase, const struct side *move)
{
	uint32_t *e = index_of(erase->e), *from = index_of(move->e), *to = &move->e->to;

	if (!same_container(erase->e, move->e) || !check_sizes(erase->e, move->e))
		return;
	move->e->prior_size--;
	if (*e == *from) {
		*e = *to;
		drop(move);
		return;
	}
	if (*e > *from)
		*e -= 1;
	else
		*from -= 1;
	if (*e >= *to)
		*e += 1;
	else
		*to -= 1;
	if (*from == *to)
		drop(move);
}

static void
set_set(const struct side *left, const struct side *right)
{
	if (same_path(left->e, right->e) && left->e->value.integer == right->e->value.integer)
		drop_older(left, right);
}

static void
both(const struct side *left, const struct side *right)
{
	drop(left);
	drop(right);
}

#define PAIR(l, r) ((l) << 4 | (r))

/* Pairs that are not here do not touch each other. */
static void
pair(const struct side *left, const struct side *right)
{
	const struct edit *l = left->e, *r = right->e;

	switch (PAIR(l->code, r->code)) {
	case PAIR(CS_ADD_TABLE, CS_ADD_TABLE):
	case PAIR(CS_ERASE_TABLE, CS_ERASE_TABLE):
		if (same_table(l, r))
			both(left, right);
		break;
	case PAIR(CS_ADD_COLUMN, CS_ADD_COLUMN):
	case PAIR(CS_ERASE_COLUMN, CS_ERASE_COLUMN):
		if (same_column(l, r))
			both(left, right);
		break;
	case PAIR(CS_ERASE_COLUMN, CS_UPDATE):
	case PAIR(CS_ERASE_COLUMN, CS_ADD_COLUMN):
		if (same_column(l, r))
			drop(right);
		break;
	case PAIR(CS_ERASE_COLUMN, CS_ADD_INTEGER):
	case PAIR(CS_ARRAY_INSERT, CS_ERASE_COLUMN):
	case PAIR(CS_ARRAY_MOVE, CS_ERASE_COLUMN):
	case PAIR(CS_ARRAY_ERASE, CS_ERASE_COLUMN):
	case PAIR(CS_CLEAR, CS_ERASE_COLUMN):
	case PAIR(CS_SET_INSERT, CS_ERASE_COLUMN):
	case PAIR(CS_SET_ERASE, CS_ERASE_COLUMN):
		/* They leave each other alone, so what is applied later is refused, but for the luck that the column has come back. */
		if (same_column(l, r))
			refuse("no rule for what an erased column holds");
		break;
	case PAIR(CS_ERASE_TABLE, CS_ADD_TABLE):
		if (same_table(l, r))
			drop(right);
		break;
	case PAIR(CS_ERASE_OBJECT, CS_CREATE_OBJECT):
		if (same_object(l, r))
			drop(right);
		break;
	case PAIR(CS_ERASE_OBJECT, CS_ERASE_OBJECT):
		if (same_object(l, r))
			drop(is_older(right, left) ? right : left);
		break;
	case PAIR(CS_UPDATE, CS_UPDATE):
		update_update(left, right);
		break;
	case PAIR(CS_ADD_INTEGER, CS_UPDATE):
		add_update(left, right);
		break;
	case PAIR(CS_ARRAY_INSERT, CS_UPDATE):
	case PAIR(CS_ARRAY_ERASE, CS_UPDATE):
		array_update(left, right);
		break;
	case PAIR(CS_CLEAR, CS_UPDATE):
		clear_update(left, right);
		break;
	case PAIR(CS_CLEAR, CS_ADD_INTEGER):
		if (same_path(l, r))
			drop(right);
		break;
	case PAIR(CS_ARRAY_INSERT, CS_ARRAY_INSERT):
		insert_insert(left, right);
		break;
	case PAIR(CS_ARRAY_MOVE, CS_UPDATE):
		move_update(left, right);
		break;
	case PAIR(CS_ARRAY_MOVE, CS_ARRAY_INSERT):
		move_insert(left, right);
		break;
	case PAIR(CS_ARRAY_MOVE, CS_ARRAY_MOVE):
		move_move(left, right);
		break;
	case PAIR(CS_ARRAY_ERASE, CS_ARRAY_MOVE):
		erase_move(left, right);
		break;
	case PAIR(CS_ARRAY_ERASE, CS_ARRAY_INSERT):
		erase_insert(left, right);
		break;
	case PAIR(CS_ARRAY_ERASE, CS_ARRAY_ERASE):
		erase_erase(left, right);
		break;
	case PAIR(CS_CLEAR, CS_CLEAR):
		if (same_path(l, r))
			drop_older(left, right);
		break;
	case PAIR(CS_SET_INSERT, CS_CLEAR):
	case PAIR(CS_SET_ERASE, CS_CLEAR):
		if (same_path(l, r))
			drop(left);
		break;
	case PAIR(CS_SET_INSERT, CS_SET_INSERT):
	case PAIR(CS_SET_ERASE, CS_SET_INSERT):
	case PAIR(CS_SET_ERASE, CS_SET_ERASE):
		set_set(left, right);
		break;
	default:
		break;
	}
}

/* ---- all of them ---- */

static void
meet(const struct side *ours, const struct side *theirs)
{
	if (depth(theirs->e) < depth(ours->e))
		nested(theirs, ours);
	else if (depth(theirs->e) > depth(ours->e))
		nested(ours, theirs);
	if (*ours->gone || *theirs->gone)
		return;
	if (ours->e->code >= theirs->e->code)
		pair(ours, theirs);
	else
		pair(theirs, ours);
}

static struct side
side_of(struct change *c, unsigned i)
{
	return (struct side){ &c->edit[i], &c->gone[i], c->timestamp, c->origin };
}

static void
meet_all(const struct side *ours, struct change *theirs, unsigned ntheirs)
{
	for (unsigned t = 0; t < ntheirs; t++) {
		for (unsigned i = 0; i < theirs[t].n; i++) {
			struct side side = side_of(&theirs[t], i);

			if (*ours->gone)
				return;
			if (!*side.gone)
				meet(ours, &side);
		}
	}
}

const char *
transform(struct change *theirs, unsigned ntheirs, struct change *const *ours, unsigned nours)
{
	bad = NULL;
	for (unsigned o = 0; o < nours; o++) {
		for (unsigned i = 0; i < ours[o]->n; i++) {
			struct side side = side_of(ours[o], i);

			meet_all(&side, theirs, ntheirs);
		}
	}
	return bad;
}
