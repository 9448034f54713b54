/* Edits to bytes and back, by the codec of protocol/changeset. Test code: what does not fit ends the program. */
#include "tests/merge/edit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void
edit_name(char name[EDIT_NAME_MAX], const char *text)
{
	if ((size_t)snprintf(name, EDIT_NAME_MAX, "%s", text) >= EDIT_NAME_MAX)
		abort();
}

/* ---- writing ---- */

static uint32_t
intern(struct cs_writer *w, struct edit_strings *strings, const char *name)
{
	struct cs_instr add = { .code = CS_INTERN_STRING };
	uint32_t s;

	for (s = 0; s < strings->n; s++)
		if (strcmp(strings->name[s], name) == 0)
			return s;
	if (s == EDIT_STRINGS_MAX)
		abort();
	edit_name(strings->name[s], name);
	strings->n++;
	add.intern.index = s;
	add.intern.string = view_of(name);
	cs_write(w, &add, NULL);
	return s;
}

static struct cs_path
write_path(struct cs_writer *raw, const struct edit *e, const uint32_t *str)
{
	struct cs_path path = { .n = e->n };

	for (unsigned i = 0; i < e->n; i++) {
		struct cs_element element = { e->path[i].is_index, e->path[i].is_index ? e->path[i].index : str[i] };

		cs_write_element(raw, &element, NULL);
		path.indexed |= element.is_index;
		path.ends_in_index = element.is_index;
	}
	path.raw = (struct view){ raw->buf, raw->len };
	return path;
}

static void
write_value(struct cs_instr *i, const struct edit *e, char text[24], uint32_t link_table)
{
	i->value.type = e->value.type;
	switch (e->value.type) {
	case CS_INT:
		i->value.integer = e->value.integer;
		break;
	case CS_STRING:
		(void)snprintf(text, 24, "%lld", (long long)e->value.integer);
		i->value.bytes = view_of(text);
		break;
	case CS_LINK:
		i->value.link.table = link_table;
		i->value.link.key = (struct cs_key){ .type = CS_INT, .integer = e->value.integer };
		break;
	default:
		if (e->value.type > CS_NULL)
			abort();
	}
}

static void
write_tail(struct cs_instr *i, const struct edit *e)
{
	switch (e->code) {
	case CS_ADD_INTEGER:
		i->number = e->number;
		break;
	case CS_CLEAR:
		i->collection = e->collection;
		break;
	case CS_UPDATE:
		if (!i->path.ends_in_index) {
			i->is_default = e->is_default;
			break;
		}
		/* fallthrough */
	default:
		i->array.to = e->to;
		i->array.prior_size = e->prior_size;
	}
}

void
edit_write(struct cs_writer *w, struct edit_strings *strings, const struct edit *e)
{
	struct cs_instr i = { .code = e->code, .key = { .type = CS_INT, .integer = e->key } };
	struct cs_writer raw = { 0 };
	uint32_t str[EDIT_PATH_MAX] = { 0 }, link_table = 0;
	char text[24];

	i.table = intern(w, strings, e->table);
	if (cs_has_path(e->code) || e->code == CS_ADD_COLUMN || e->code == CS_ERASE_COLUMN)
		i.field = intern(w, strings, e->field);
	for (unsigned s = 0; s < e->n; s++)
		if (!e->path[s].is_index)
			str[s] = intern(w, strings, e->path[s].key);
	if (cs_has_payload(e->code) && e->value.type == CS_LINK)
		link_table = intern(w, strings, e->value.table);
	if (cs_has_path(e->code)) {
		i.path = write_path(&raw, e, str);
		if (cs_has_payload(e->code))
			write_value(&i, e, text, link_table);
		write_tail(&i, e);
	} else if (e->code == CS_ADD_TABLE) {
		i.add_table.pk_field = intern(w, strings, "_id");
		i.add_table.pk_type = CS_INT;
	} else if (e->code == CS_ADD_COLUMN) {
		i.add_column.nullable = true;
	}
	cs_write(w, &i, NULL);
	cs_writer_free(&raw);
}

/* ---- reading ---- */

static void
read_name(char name[EDIT_NAME_MAX], const struct cs_parsed *c, uint32_t str)
{
	if (c->str[str].len >= EDIT_NAME_MAX)
		abort();
	memcpy(name, c->str[str].ptr, c->str[str].len);
	name[c->str[str].len] = '\0';
}

static void
read_value(const struct cs_parsed *c, const struct cs_payload *v, struct edit_value *value)
{
	char text[24];

	value->type = v->type;
	if (v->type == CS_INT) {
		value->integer = v->integer;
	} else if (v->type == CS_STRING) {
		(void)snprintf(text, sizeof(text), "%.*s", (int)v->bytes.len, (const char *)v->bytes.ptr);
		value->integer = atoll(text);
	} else if (v->type == CS_LINK) {
		read_name(value->table, c, v->link.table);
		value->integer = v->link.key.integer;
	} else if (v->type > CS_NULL) {
		abort();
	}
}

static void
read_path(const struct cs_parsed *c, struct cs_path path, struct edit *e)
{
	struct cs_element element;

	if (path.n > EDIT_PATH_MAX)
		abort();
	while (cs_path_next(&path, &element)) {
		struct edit_step *step = &e->path[e->n++];

		step->is_index = element.is_index;
		if (element.is_index)
			step->index = element.value;
		else
			read_name(step->key, c, element.value);
	}
}

bool
edit_read(const struct cs_parsed *c, size_t at, struct edit *e)
{
	struct cs_instr i;

	cs_get(c, at, &i);
	if (i.code == CS_INTERN_STRING)
		return false;
	memset(e, 0, sizeof(*e));
	e->code = i.code;
	read_name(e->table, c, i.table);
	if (i.code == CS_ADD_COLUMN || i.code == CS_ERASE_COLUMN || cs_has_path(i.code))
		read_name(e->field, c, i.field);
	if (i.code == CS_CREATE_OBJECT || i.code == CS_ERASE_OBJECT || cs_has_path(i.code))
		e->key = i.key.integer;
	if (!cs_has_path(i.code))
		return true;
	read_path(c, i.path, e);
	if (cs_has_payload(i.code))
		read_value(c, &i.value, &e->value);
	if (i.code == CS_ADD_INTEGER)
		e->number = i.number;
	else if (i.code == CS_CLEAR)
		e->collection = i.collection;
	else if (i.code == CS_UPDATE && !i.path.ends_in_index)
		e->is_default = i.is_default;
	else if (i.code <= CS_ARRAY_ERASE)
		e->prior_size = i.array.prior_size;
	if (i.code == CS_ARRAY_MOVE)
		e->to = i.array.to;
	return true;
}
