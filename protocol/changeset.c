/* Changesets: the decoder, and the check of a whole changeset. The encoder is changeset_write.c.
 *
 * cs_parse decodes every item once, only to validate it and to note where it begins; cs_get decodes one again when somebody wants it.
 * So an index costs four bytes an item instead of a decoded struct, and a changeset can be walked from its end to its beginning, which
 * is what pre-merge does. The reader latches: after the first fault it reads nothing but zeros, and the fault is asked for at the end
 * of the item.
 *
 * What is accepted has one spelling only (integers in their shortest form, booleans 0 or 1), so the encoder needs no memory of how
 * something stood. Nothing here judges what a database would say: an ArrayInsert beyond the end of its list is well formed. */
#include "protocol/changeset.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define DECIMAL_MAX 17	      /* bytes of a coefficient: 113 bits in groups of 7 */
#define NANOSECONDS 1000000000
#define FEW_STRINGS 24

/* ---- reading ---- */

struct reader {
	const uint8_t *p, *end;
	size_t nstr; /* strings that may be named */
	enum proto_err err;
};

static void
fault(struct reader *r, enum proto_err err)
{
	if (r->err == PROTO_OK)
		r->err = err;
	r->p = r->end;
}

/* An integer: *magnitude is the value, or -(value) - 1 if it is *negative. Each byte but the last gives 7 bits, the last one 6. */
static bool
get_magnitude(struct reader *r, uint64_t *magnitude, bool *negative)
{
	uint64_t u = 0, bits;
	unsigned shift = 0;
	uint8_t byte;

	for (;; shift += 7) {
		if (r->p == r->end) {
			fault(r, PROTO_CS_TRUNCATED);
			return false;
		}
		byte = *r->p++;
		bits = byte & (byte & 0x80 ? 0x7f : 0x3f);
		if (shift > 63 || (shift == 63 && bits > 1))
			break;
		u |= bits << shift;
		if ((byte & 0x80) == 0) {
			if (shift > 0 && u >> (shift - 7) >> 6 == 0)
				break; /* longer than needed: the byte before could have been the last */
			*magnitude = u;
			*negative = (byte & 0x40) != 0;
			return true;
		}
	}
	fault(r, PROTO_CS_INTEGER);
	return false;
}

static int64_t
get_int(struct reader *r)
{
	uint64_t u;
	bool negative;

	if (!get_magnitude(r, &u, &negative))
		return 0;
	if (u > INT64_MAX) {
		fault(r, PROTO_CS_INTEGER);
		return 0;
	}
	return negative ? -(int64_t)u - 1 : (int64_t)u;
}

static uint64_t
get_unsigned(struct reader *r, uint64_t max)
{
	uint64_t u;
	bool negative;

	if (!get_magnitude(r, &u, &negative))
		return 0;
	if (negative || u > max) {
		fault(r, PROTO_CS_INTEGER);
		return 0;
	}
	return u;
}

static uint32_t
get_u32(struct reader *r)
{
	return (uint32_t)get_unsigned(r, UINT32_MAX);
}

static bool
get_bool(struct reader *r)
{
	return get_unsigned(r, 1) == 1;
}

/* An enumeration: its values are min..max. */
static int
get_enum(struct reader *r, int min, int max)
{
	int64_t value = get_int(r);

	if (r->err != PROTO_OK)
		return 0;
	if (value < min || value > max) {
		fault(r, PROTO_CS_UNKNOWN);
		return 0;
	}
	return (int)value;
}

static struct view
get_bytes(struct reader *r, uint64_t len)
{
	struct view v = { r->p, (size_t)len };

	if (len > (size_t)(r->end - r->p)) {
		fault(r, PROTO_CS_TRUNCATED);
		return (struct view){ r->end, 0 };
	}
	r->p += len;
	return v;
}

static struct view
get_sized(struct reader *r)
{
	return get_bytes(r, get_unsigned(r, UINT64_MAX));
}

static uint32_t
get_str(struct reader *r)
{
	uint32_t s = get_u32(r);

	if (r->err == PROTO_OK && s >= r->nstr)
		fault(r, PROTO_CS_STRING);
	return s;
}

static void
get_key(struct reader *r, struct cs_key *key)
{
	key->type = (enum cs_type)get_enum(r, CS_GLOBAL_KEY, CS_UUID);
	switch (key->type) {
	case CS_NULL:
		break;
	case CS_INT:
		key->integer = get_int(r);
		break;
	case CS_STRING:
		key->str = get_str(r);
		break;
	case CS_OBJECT_ID:
		key->bytes = get_bytes(r, 12);
		break;
	case CS_UUID:
		key->bytes = get_bytes(r, 16);
		break;
	case CS_GLOBAL_KEY:
		key->global.hi = get_unsigned(r, UINT64_MAX);
		key->global.lo = get_unsigned(r, UINT64_MAX);
		break;
	default:
		fault(r, PROTO_CS_UNKNOWN);
	}
}

/* One element; false when there is none, or it is wrong. */
static bool
get_element(struct reader *r, struct cs_element *e)
{
	int64_t value = get_int(r);

	if (r->err == PROTO_OK && (value < -1 || value > UINT32_MAX))
		fault(r, value < 0 ? PROTO_CS_PATH : PROTO_CS_INTEGER);
	e->is_index = value >= 0;
	e->value = value >= 0 ? (uint32_t)value : get_str(r);
	return r->err == PROTO_OK;
}

static void
get_path(struct reader *r, struct cs_path *path)
{
	struct cs_element e = { false, 0 };

	path->n = get_u32(r);
	path->indexed = false;
	path->raw.ptr = r->p;
	for (uint32_t i = 0; i < path->n && get_element(r, &e); i++)
		path->indexed |= e.is_index;
	path->ends_in_index = path->n > 0 && e.is_index;
	path->raw.len = (size_t)(r->p - path->raw.ptr);
}

/* A coefficient is in plain groups of 7 bits, the last one too. Real encoders stop only at one below 64, so a last 0 is right behind
 * one of 64 or more. */
static struct view
get_coefficient(struct reader *r)
{
	struct view v = { r->p, 0 };

	do {
		if (r->p == r->end || v.len == DECIMAL_MAX) {
			fault(r, v.len == DECIMAL_MAX ? PROTO_CS_INTEGER : PROTO_CS_TRUNCATED);
			return v;
		}
		v.len++;
	} while ((*r->p++ & 0x80) != 0);
	if (v.len > 1 && v.ptr[v.len - 1] == 0 && (v.ptr[v.len - 2] & 0x40) == 0)
		fault(r, PROTO_CS_INTEGER);
	return v;
}

static void
get_decimal(struct reader *r, struct cs_payload *v)
{
	int64_t exponent;

	v->decimal.coefficient = get_coefficient(r);
	exponent = get_int(r);
	if (exponent < INT32_MIN || exponent > INT32_MAX)
		fault(r, PROTO_CS_INTEGER);
	v->decimal.exponent = (int32_t)exponent;
	v->decimal.negative = get_bool(r);
}

static void
get_timestamp(struct reader *r, struct cs_payload *v)
{
	int64_t seconds = get_int(r), nanoseconds = get_int(r);

	if (nanoseconds <= -NANOSECONDS || nanoseconds >= NANOSECONDS || (seconds > 0 && nanoseconds < 0) ||
	    (seconds < 0 && nanoseconds > 0))
		fault(r, PROTO_CS_INTEGER);
	v->time.seconds = seconds;
	v->time.nanoseconds = (int32_t)nanoseconds;
}

static void
get_payload(struct reader *r, struct cs_payload *v)
{
	v->type = (enum cs_type)get_enum(r, CS_SET, CS_UUID);
	switch (v->type) {
	case CS_SET:
	case CS_LIST:
	case CS_ERASED:
	case CS_DICTIONARY:
	case CS_OBJECT:
	case CS_NULL:
		break;
	case CS_GLOBAL_KEY:
		fault(r, PROTO_CS_UNKNOWN);
		break;
	case CS_INT:
		v->integer = get_int(r);
		break;
	case CS_BOOL:
		v->integer = get_bool(r);
		break;
	case CS_STRING:
	case CS_BINARY:
		v->bytes = get_sized(r);
		break;
	case CS_TIMESTAMP:
		get_timestamp(r, v);
		break;
	case CS_FLOAT:
		v->bytes = get_bytes(r, 4);
		break;
	case CS_DOUBLE:
		v->bytes = get_bytes(r, 8);
		break;
	case CS_DECIMAL:
		get_decimal(r, v);
		break;
	case CS_LINK:
		v->link.table = get_str(r);
		get_key(r, &v->link.key);
		break;
	case CS_OBJECT_ID:
		v->bytes = get_bytes(r, 12);
		break;
	case CS_UUID:
		v->bytes = get_bytes(r, 16);
		break;
	}
}

static void
get_add_table(struct reader *r, struct cs_instr *i)
{
	i->add_table.kind = (enum cs_table)get_enum(r, CS_TOP_LEVEL, CS_ASYMMETRIC);
	if (i->add_table.kind == CS_EMBEDDED)
		return;
	i->add_table.pk_field = get_str(r);
	i->add_table.pk_type = (enum cs_type)get_enum(r, CS_GLOBAL_KEY, CS_UUID);
	switch (i->add_table.pk_type) {
	case CS_INT:
	case CS_STRING:
	case CS_OBJECT_ID:
	case CS_UUID:
	case CS_GLOBAL_KEY:
		break;
	default:
		fault(r, PROTO_CS_UNKNOWN);
	}
	i->add_table.pk_nullable = get_bool(r);
}

static void
get_add_column(struct reader *r, struct cs_instr *i)
{
	i->field = get_str(r);
	i->add_column.type = (enum cs_type)get_enum(r, CS_NULL, CS_UUID);
	i->add_column.nullable = get_bool(r);
	i->add_column.collection = (enum cs_collection)get_enum(r, CS_SINGLE, CS_OF_SET);
	if (i->add_column.type == CS_LINK)
		i->add_column.target = get_str(r);
	if (i->add_column.collection == CS_OF_DICTIONARY)
		i->add_column.key_type = (enum cs_type)get_enum(r, CS_NULL, CS_UUID);
}

/* What follows the path of an instruction that has one. */
static void
get_tail(struct reader *r, struct cs_instr *i)
{
	if (cs_has_payload(i->code))
		get_payload(r, &i->value);
	switch (i->code) {
	case CS_UPDATE:
		if (i->path.ends_in_index)
			i->array.prior_size = get_u32(r);
		else
			i->is_default = get_bool(r);
		break;
	case CS_ADD_INTEGER:
		i->number = get_int(r);
		break;
	case CS_ARRAY_MOVE:
		i->array.to = get_u32(r);
		i->array.prior_size = get_u32(r);
		break;
	case CS_ARRAY_INSERT:
	case CS_ARRAY_ERASE:
		i->array.prior_size = get_u32(r);
		break;
	case CS_CLEAR:
		i->collection = (enum cs_collection)get_enum(r, CS_SINGLE, CS_OF_SET);
		break;
	default:
		break;
	}
}

static void
get_in_path(struct reader *r, struct cs_instr *i)
{
	get_key(r, &i->key);
	i->field = get_str(r);
	get_path(r, &i->path);
	if (r->err == PROTO_OK && !i->path.ends_in_index && i->code >= CS_ARRAY_INSERT && i->code <= CS_ARRAY_ERASE)
		fault(r, PROTO_CS_PATH);
	get_tail(r, i);
}

/* One item; what it is not is left unset. */
static void
get_item(struct reader *r, struct cs_instr *i)
{
	uint64_t code = get_unsigned(r, UINT64_MAX);

	if (code > CS_SET_ERASE && code != CS_INTERN_STRING)
		fault(r, PROTO_CS_UNKNOWN);
	if (r->err != PROTO_OK)
		return;
	i->code = (enum cs_code)code;
	if (i->code == CS_INTERN_STRING) {
		i->intern.index = get_u32(r);
		i->intern.string = get_sized(r);
		return;
	}
	i->table = get_str(r);
	switch (i->code) {
	case CS_ADD_TABLE:
		get_add_table(r, i);
		break;
	case CS_ERASE_TABLE:
		break;
	case CS_CREATE_OBJECT:
	case CS_ERASE_OBJECT:
		get_key(r, &i->key);
		break;
	case CS_ADD_COLUMN:
		get_add_column(r, i);
		break;
	case CS_ERASE_COLUMN:
		i->field = get_str(r);
		break;
	default:
		get_in_path(r, i);
	}
}

/* ---- a whole changeset ---- */

/* Makes room for one element more in an array of *cap; false: no memory. */
static bool
grow(void **array, size_t *cap, size_t n, size_t size)
{
	size_t want = *cap > 0 ? *cap * 2 : 16;
	void *p;

	if (n < *cap)
		return true;
	if (want > SIZE_MAX / size || (p = realloc(*array, want * size)) == NULL)
		return false;
	*array = p;
	*cap = want;
	return true;
}

static int
compare(const void *a, const void *b)
{
	const struct view *x = a, *y = b;
	int order = memcmp(x->ptr, y->ptr, x->len < y->len ? x->len : y->len);

	return order != 0 ? order : x->len < y->len ? -1 : x->len > y->len;
}

/* Few strings, as in nearly every changeset, are compared each with each, which mostly means their lengths. For more, sorting keeps the
 * check at n log n, whatever strings a hostile peer chooses. */
static enum proto_err
check_strings(struct cs_parsed *c)
{
	if (c->nstr <= FEW_STRINGS) {
		for (size_t i = 1; i < c->nstr; i++)
			for (size_t j = 0; j < i; j++)
				if (view_eq(c->str[i], c->str[j]))
					return PROTO_CS_STRING;
		return PROTO_OK;
	}
	memcpy(c->sorted, c->str, c->nstr * sizeof(*c->str));
	qsort(c->sorted, c->nstr, sizeof(*c->sorted), compare);
	for (size_t i = 1; i < c->nstr; i++)
		if (view_eq(c->sorted[i - 1], c->sorted[i]))
			return PROTO_CS_STRING;
	return PROTO_OK;
}

static enum proto_err
add_string(struct cs_parsed *c, const struct cs_instr *i)
{
	size_t cap = c->str_cap;

	if (i->intern.index != c->nstr)
		return PROTO_CS_STRING;
	if (!grow((void **)&c->str, &cap, c->nstr, sizeof(*c->str)))
		return PROTO_CS_MEMORY;
	if (!grow((void **)&c->sorted, &c->str_cap, c->nstr, sizeof(*c->sorted)))
		return PROTO_CS_MEMORY;
	c->str[c->nstr++] = i->intern.string;
	return PROTO_OK;
}

static enum proto_err
parse_items(struct cs_parsed *c)
{
	struct reader r = { c->bytes.ptr, c->bytes.ptr + c->bytes.len, 0, PROTO_OK };
	struct cs_instr i;

	while (r.p < r.end) {
		if (!grow((void **)&c->at, &c->cap, c->n, sizeof(*c->at)))
			return PROTO_CS_MEMORY;
		c->at[c->n++] = (uint32_t)(r.p - c->bytes.ptr);
		get_item(&r, &i);
		if (r.err == PROTO_OK && i.code == CS_INTERN_STRING)
			r.err = add_string(c, &i);
		if (r.err != PROTO_OK)
			return r.err;
		r.nstr = c->nstr;
	}
	return check_strings(c);
}

enum proto_err
cs_parse(struct cs_parsed *c, const uint8_t *bytes, size_t len)
{
	enum proto_err err = PROTO_CS_MEMORY;

	c->n = c->nstr = 0;
	c->bytes = (struct view){ bytes, len };
	if (len == 0)
		err = PROTO_OK; /* bytes may be NULL */
	else if (len <= UINT32_MAX)
		err = parse_items(c);
	if (err != PROTO_OK)
		c->n = c->nstr = 0;
	return err;
}

void
cs_get(const struct cs_parsed *c, size_t i, struct cs_instr *instr)
{
	struct reader r = { c->bytes.ptr + c->at[i], c->bytes.ptr + c->bytes.len, c->nstr, PROTO_OK };

	get_item(&r, instr);
}

void
cs_free(struct cs_parsed *c)
{
	free(c->at);
	free(c->str);
	free(c->sorted);
	memset(c, 0, sizeof(*c));
}

bool
cs_path_next(struct cs_path *rest, struct cs_element *e)
{
	struct reader r;

	if (rest->n == 0)
		return false;
	r = (struct reader){ rest->raw.ptr, rest->raw.ptr + rest->raw.len, SIZE_MAX, PROTO_OK };
	if (!get_element(&r, e))
		return false;
	rest->n--;
	rest->raw.len -= (size_t)(r.p - rest->raw.ptr);
	rest->raw.ptr = r.p;
	return true;
}

bool
cs_has_path(enum cs_code code)
{
	return code >= CS_UPDATE && code <= CS_SET_ERASE && code != CS_ADD_COLUMN && code != CS_ERASE_COLUMN;
}

bool
cs_has_payload(enum cs_code code)
{
	return code == CS_UPDATE || code == CS_ARRAY_INSERT || code == CS_SET_INSERT || code == CS_SET_ERASE;
}

/* ---- the strings that an instruction uses ---- */

static size_t
key_string(const struct cs_key *key, uint32_t *str)
{
	if (key->type != CS_STRING)
		return 0;
	*str = key->str;
	return 1;
}

size_t
cs_strings(const struct cs_instr *i, uint32_t str[CS_STRINGS_MAX])
{
	size_t n = 0;

	if (i->code == CS_INTERN_STRING)
		return 0;
	str[n++] = i->table;
	if (i->code == CS_ADD_TABLE && i->add_table.kind != CS_EMBEDDED)
		str[n++] = i->add_table.pk_field;
	if (i->code == CS_ADD_COLUMN || i->code == CS_ERASE_COLUMN || cs_has_path(i->code))
		str[n++] = i->field;
	if (i->code == CS_ADD_COLUMN && i->add_column.type == CS_LINK)
		str[n++] = i->add_column.target;
	if (i->code == CS_CREATE_OBJECT || i->code == CS_ERASE_OBJECT || cs_has_path(i->code))
		n += key_string(&i->key, &str[n]);
	if (cs_has_payload(i->code) && i->value.type == CS_LINK) {
		str[n++] = i->value.link.table;
		n += key_string(&i->value.link.key, &str[n]);
	}
	return n;
}
