/* The printer of instructions.
 *
 * Everything goes through put_text and put_bytes, which stop at the end of the line's room and escape what is not printable ASCII; so a
 * terminal or a log gets nothing from a device but letters, and a path of a million elements costs one line. */
#include "protocol/changeset_text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define STRING_MAX 64 /* bytes shown of a string */
#define BINARY_MAX 24

struct line {
	char *out;
	size_t len;
	bool full;
};

static void __attribute__((format(printf, 2, 3)))
put_text(struct line *l, const char *fmt, ...)
{
	size_t room = CS_TEXT_MAX - l->len;
	va_list ap;
	int n;

	if (l->full)
		return;
	va_start(ap, fmt);
	n = vsnprintf(l->out + l->len, room, fmt, ap);
	va_end(ap);
	l->full = n < 0 || (size_t)n >= room;
	l->len = l->full ? CS_TEXT_MAX - 1 : l->len + (size_t)n;
}

static void
put_hex(struct line *l, struct view v)
{
	for (size_t i = 0; i < v.len && i < BINARY_MAX; i++)
		put_text(l, "%02x", v.ptr[i]);
	if (v.len > BINARY_MAX)
		put_text(l, "... (%zu bytes)", v.len);
}

static void
put_string(struct line *l, struct view v)
{
	put_text(l, "\"");
	for (size_t i = 0; i < v.len && i < STRING_MAX; i++) {
		uint8_t c = v.ptr[i];

		if (c == '"' || c == '\\')
			put_text(l, "\\%c", c);
		else if (c < 0x20 || c > 0x7e)
			put_text(l, "\\x%02x", c);
		else
			put_text(l, "%c", c);
	}
	put_text(l, "\"");
	if (v.len > STRING_MAX)
		put_text(l, "... (%zu bytes)", v.len);
}

/* The name of a table, a field or a type's field: quoted only if it is no plain word. */
static void
put_name(struct line *l, struct view v)
{
	bool plain = v.len > 0 && v.len <= STRING_MAX;

	for (size_t i = 0; i < v.len && plain; i++) {
		uint8_t c = v.ptr[i];

		plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
	}
	if (plain)
		put_text(l, "%.*s", (int)v.len, (const char *)v.ptr);
	else
		put_string(l, v);
}

static void
put_key(struct line *l, const struct cs_parsed *c, const struct cs_key *key)
{
	put_text(l, "[");
	switch (key->type) {
	case CS_INT:
		put_text(l, "%lld", (long long)key->integer);
		break;
	case CS_STRING:
		put_string(l, c->str[key->str]);
		break;
	case CS_GLOBAL_KEY:
		put_text(l, "%llx-%llx", (unsigned long long)key->global.hi, (unsigned long long)key->global.lo);
		break;
	case CS_OBJECT_ID:
	case CS_UUID:
		put_hex(l, key->bytes);
		break;
	default:
		put_text(l, "null");
	}
	put_text(l, "]");
}

static void
put_path(struct line *l, const struct cs_parsed *c, const struct cs_instr *i)
{
	struct cs_path rest = i->path;
	struct cs_element e;

	put_name(l, c->str[i->table]);
	put_key(l, c, &i->key);
	put_text(l, ".");
	put_name(l, c->str[i->field]);
	while (!l->full && cs_path_next(&rest, &e)) {
		if (e.is_index) {
			put_text(l, "[%lu]", (unsigned long)e.value);
		} else {
			put_text(l, ".");
			put_name(l, c->str[e.value]);
		}
	}
}

static const char *
type_name(enum cs_type type)
{
	static const char *const names[] = { "set", "list", "erased", "dictionary", "object", "global key", "mixed", "int", "bool", "string",
		"binary", "timestamp", "float", "double", "decimal", "link", "ObjectId", "UUID" };

	return names[type - CS_SET];
}

static double
real(struct view v)
{
	uint64_t bits = 0;
	uint32_t bits32;
	float f;
	double d;

	for (size_t i = v.len; i > 0; i--)
		bits = bits << 8 | v.ptr[i - 1];
	bits32 = (uint32_t)bits;
	memcpy(&f, &bits32, sizeof(f));
	memcpy(&d, &bits, sizeof(d));
	return v.len == sizeof(f) ? (double)f : d;
}

/* The coefficient as hexadecimal digits: it has up to 119 bits. */
static void
put_decimal(struct line *l, const struct cs_payload *v)
{
	struct view groups = v->decimal.coefficient;
	uint64_t hi = 0, lo = 0;

	for (size_t i = groups.len; i > 0; i--) {
		hi = hi << 7 | lo >> 57;
		lo = lo << 7 | (groups.ptr[i - 1] & 0x7f);
	}
	put_text(l, v->decimal.negative ? "decimal -0x" : "decimal 0x");
	put_text(l, hi > 0 ? "%llx%016llx" : "%.0llx%llx", (unsigned long long)hi, (unsigned long long)lo);
	put_text(l, " * 10^%ld", (long)v->decimal.exponent);
}

static void
put_payload(struct line *l, const struct cs_parsed *c, const struct cs_payload *v)
{
	switch (v->type) {
	case CS_NULL:
		put_text(l, "null");
		break;
	case CS_INT:
		put_text(l, "%lld", (long long)v->integer);
		break;
	case CS_BOOL:
		put_text(l, v->integer != 0 ? "true" : "false");
		break;
	case CS_STRING:
		put_string(l, v->bytes);
		break;
	case CS_TIMESTAMP:
		put_text(l, "timestamp %lld s %ld ns", (long long)v->time.seconds, (long)v->time.nanoseconds);
		break;
	case CS_FLOAT:
		put_text(l, "%.9g", real(v->bytes));
		break;
	case CS_DOUBLE:
		put_text(l, "%.17g", real(v->bytes));
		break;
	case CS_DECIMAL:
		put_decimal(l, v);
		break;
	case CS_LINK:
		put_text(l, "link ");
		put_name(l, c->str[v->link.table]);
		put_key(l, c, &v->link.key);
		break;
	case CS_BINARY:
	case CS_OBJECT_ID:
	case CS_UUID:
		put_text(l, "%s ", type_name(v->type));
		put_hex(l, v->bytes);
		break;
	default:
		put_text(l, "(%s)", type_name(v->type));
	}
}

static void
put_schema(struct line *l, const struct cs_parsed *c, const struct cs_instr *i)
{
	static const char *const kinds[] = { "", " (embedded)", " (asymmetric)" };

	put_name(l, c->str[i->table]);
	if (i->code == CS_ADD_TABLE) {
		put_text(l, "%s", kinds[i->add_table.kind]);
		if (i->add_table.kind == CS_EMBEDDED)
			return;
		put_text(l, " key ");
		put_name(l, c->str[i->add_table.pk_field]);
		put_text(l, " %s%s", type_name(i->add_table.pk_type), i->add_table.pk_nullable ? " nullable" : "");
	}
	if (i->code != CS_ADD_COLUMN && i->code != CS_ERASE_COLUMN)
		return;
	put_text(l, ".");
	put_name(l, c->str[i->field]);
	if (i->code == CS_ERASE_COLUMN)
		return;
	put_text(l, " %s", type_name(i->add_column.type));
	if (i->add_column.type == CS_LINK) {
		put_text(l, " to ");
		put_name(l, c->str[i->add_column.target]);
	}
	put_text(l, "%s", i->add_column.nullable ? " nullable" : "");
}

static const char *const collections[] = { " (single)", " (list)", " (dictionary)", " (set)" };

/* What follows the path. */
static void
put_tail(struct line *l, const struct cs_parsed *c, const struct cs_instr *i)
{
	if (cs_has_payload(i->code)) {
		put_text(l, i->code == CS_SET_INSERT || i->code == CS_SET_ERASE ? " " : " = ");
		put_payload(l, c, &i->value);
	}
	switch (i->code) {
	case CS_UPDATE:
		if (i->path.ends_in_index)
			put_text(l, " of %lu", (unsigned long)i->array.prior_size);
		else if (i->is_default)
			put_text(l, " default");
		break;
	case CS_ADD_INTEGER:
		put_text(l, " += %lld", (long long)i->number);
		break;
	case CS_ARRAY_MOVE:
		put_text(l, " to %lu of %lu", (unsigned long)i->array.to, (unsigned long)i->array.prior_size);
		break;
	case CS_ARRAY_INSERT:
	case CS_ARRAY_ERASE:
		put_text(l, " of %lu", (unsigned long)i->array.prior_size);
		break;
	case CS_CLEAR:
		put_text(l, "%s", collections[i->collection]);
		break;
	default:
		break;
	}
}

void
cs_text(const struct cs_parsed *c, size_t at, char out[CS_TEXT_MAX])
{
	static const char *const names[] = { "AddTable", "EraseTable", "CreateObject", "EraseObject", "Update", "AddInteger", "AddColumn",
		"EraseColumn", "ArrayInsert", "ArrayMove", "ArrayErase", "Clear", "SetInsert", "SetErase" };
	struct line l = { out, 0, false };
	struct cs_instr i;

	out[0] = '\0';
	cs_get(c, at, &i);
	if (i.code == CS_INTERN_STRING)
		return;
	put_text(&l, "%s ", names[i.code]);
	if (cs_has_path(i.code)) {
		put_path(&l, c, &i);
		put_tail(&l, c, &i);
	} else {
		put_schema(&l, c, &i);
		if (i.code == CS_CREATE_OBJECT || i.code == CS_ERASE_OBJECT)
			put_key(&l, c, &i.key);
		if (i.code == CS_ADD_COLUMN)
			put_text(&l, "%s", collections[i.add_column.collection]);
	}
	if (l.full)
		memcpy(out + CS_TEXT_MAX - 4, "...", 4);
}
