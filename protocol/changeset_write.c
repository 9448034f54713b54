/* Changesets: the encoder.
 *
 * It writes what it is given, in the one spelling that the decoder accepts, and never judges it. Which strings an instruction may name
 * and when they are added is the caller's business: InternString is an item like any other. */
#include "protocol/changeset.h"

#include <stdlib.h>
#include <string.h>

static void
put(struct cs_writer *w, const void *data, size_t len)
{
	if (w->failed || len == 0)
		return;
	if (w->cap - w->len < len) {
		size_t cap = w->cap * 2 > w->len + len ? w->cap * 2 : w->len + len + 64;
		uint8_t *buf = realloc(w->buf, cap);

		if (buf == NULL) {
			w->failed = true;
			return;
		}
		w->buf = buf;
		w->cap = cap;
	}
	memcpy(w->buf + w->len, data, len);
	w->len += len;
}

static void
put_magnitude(struct cs_writer *w, uint64_t u, bool negative)
{
	uint8_t bytes[10];
	size_t n = 0;

	for (; u >> 6 != 0; u >>= 7)
		bytes[n++] = (uint8_t)(0x80 | (u & 0x7f));
	bytes[n++] = (uint8_t)(u | (negative ? 0x40 : 0));
	put(w, bytes, n);
}

static void
put_int(struct cs_writer *w, int64_t value)
{
	put_magnitude(w, value < 0 ? ~(uint64_t)value : (uint64_t)value, value < 0);
}

static void
put_unsigned(struct cs_writer *w, uint64_t value)
{
	put_magnitude(w, value, false);
}

static void
put_sized(struct cs_writer *w, struct view v)
{
	put_unsigned(w, v.len);
	put(w, v.ptr, v.len);
}

static void
put_str(struct cs_writer *w, uint32_t s, const uint32_t *map)
{
	put_unsigned(w, map != NULL ? map[s] : s);
}

static void
put_key(struct cs_writer *w, const struct cs_key *key, const uint32_t *map)
{
	put_int(w, key->type);
	switch (key->type) {
	case CS_INT:
		put_int(w, key->integer);
		break;
	case CS_STRING:
		put_str(w, key->str, map);
		break;
	case CS_OBJECT_ID:
	case CS_UUID:
		put(w, key->bytes.ptr, key->bytes.len);
		break;
	case CS_GLOBAL_KEY:
		put_unsigned(w, key->global.hi);
		put_unsigned(w, key->global.lo);
		break;
	default:
		break;
	}
}

void
cs_write_element(struct cs_writer *w, const struct cs_element *e, const uint32_t *map)
{
	if (e->is_index) {
		put_unsigned(w, e->value);
	} else {
		put_int(w, -1);
		put_str(w, e->value, map);
	}
}

static void
put_path(struct cs_writer *w, const struct cs_path *path, const uint32_t *map)
{
	struct cs_path rest = *path;
	struct cs_element e;

	put_unsigned(w, path->n);
	while (cs_path_next(&rest, &e))
		cs_write_element(w, &e, map);
}

static void
put_payload(struct cs_writer *w, const struct cs_payload *v, const uint32_t *map)
{
	put_int(w, v->type);
	switch (v->type) {
	case CS_INT:
	case CS_BOOL:
		put_int(w, v->integer);
		break;
	case CS_STRING:
	case CS_BINARY:
		put_sized(w, v->bytes);
		break;
	case CS_TIMESTAMP:
		put_int(w, v->time.seconds);
		put_int(w, v->time.nanoseconds);
		break;
	case CS_FLOAT:
	case CS_DOUBLE:
	case CS_OBJECT_ID:
	case CS_UUID:
		put(w, v->bytes.ptr, v->bytes.len);
		break;
	case CS_DECIMAL:
		put(w, v->decimal.coefficient.ptr, v->decimal.coefficient.len);
		put_int(w, v->decimal.exponent);
		put_unsigned(w, v->decimal.negative);
		break;
	case CS_LINK:
		put_str(w, v->link.table, map);
		put_key(w, &v->link.key, map);
		break;
	default:
		break;
	}
}

static void
put_tail(struct cs_writer *w, const struct cs_instr *i, const uint32_t *map)
{
	if (cs_has_payload(i->code))
		put_payload(w, &i->value, map);
	switch (i->code) {
	case CS_UPDATE:
		put_unsigned(w, i->path.ends_in_index ? i->array.prior_size : i->is_default);
		break;
	case CS_ADD_INTEGER:
		put_int(w, i->number);
		break;
	case CS_ARRAY_MOVE:
		put_unsigned(w, i->array.to);
		put_unsigned(w, i->array.prior_size);
		break;
	case CS_ARRAY_INSERT:
	case CS_ARRAY_ERASE:
		put_unsigned(w, i->array.prior_size);
		break;
	case CS_CLEAR:
		put_unsigned(w, i->collection);
		break;
	default:
		break;
	}
}

static void
put_add_column(struct cs_writer *w, const struct cs_instr *i, const uint32_t *map)
{
	put_str(w, i->field, map);
	put_int(w, i->add_column.type);
	put_unsigned(w, i->add_column.nullable);
	put_unsigned(w, i->add_column.collection);
	if (i->add_column.type == CS_LINK)
		put_str(w, i->add_column.target, map);
	if (i->add_column.collection == CS_OF_DICTIONARY)
		put_int(w, i->add_column.key_type);
}

static void
put_add_table(struct cs_writer *w, const struct cs_instr *i, const uint32_t *map)
{
	put_unsigned(w, i->add_table.kind);
	if (i->add_table.kind == CS_EMBEDDED)
		return;
	put_str(w, i->add_table.pk_field, map);
	put_int(w, i->add_table.pk_type);
	put_unsigned(w, i->add_table.pk_nullable);
}

void
cs_write(struct cs_writer *w, const struct cs_instr *i, const uint32_t *map)
{
	put_unsigned(w, i->code);
	if (i->code == CS_INTERN_STRING) {
		put_unsigned(w, i->intern.index);
		put_sized(w, i->intern.string);
		return;
	}
	put_str(w, i->table, map);
	switch (i->code) {
	case CS_ADD_TABLE:
		put_add_table(w, i, map);
		break;
	case CS_ERASE_TABLE:
		break;
	case CS_CREATE_OBJECT:
	case CS_ERASE_OBJECT:
		put_key(w, &i->key, map);
		break;
	case CS_ADD_COLUMN:
		put_add_column(w, i, map);
		break;
	case CS_ERASE_COLUMN:
		put_str(w, i->field, map);
		break;
	default:
		put_key(w, &i->key, map);
		put_str(w, i->field, map);
		put_path(w, &i->path, map);
		put_tail(w, i, map);
	}
}

void
cs_writer_free(struct cs_writer *w)
{
	free(w->buf);
	memset(w, 0, sizeof(*w));
}
