/* Objects and their values in a flat list of names; see content.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zlib.h>

#include "protocol/changeset.h"

#include "tests/peer/content.h"

static struct content_value *
find(const struct content *c, const char *name)
{
	for (size_t i = c->n; i-- > 0;) {
		if (strcmp(c->value[i].name, name) == 0)
			return &c->value[i];
	}
	return NULL;
}

static void
set(struct content *c, const char *name, uint32_t crc)
{
	struct content_value *v = find(c, name);

	if (v != NULL) {
		v->crc = crc;
		return;
	}
	if (c->n == c->cap) {
		c->cap = c->cap * 2 + 64;
		if ((c->value = realloc(c->value, c->cap * sizeof *c->value)) == NULL)
			abort();
	}
	if ((c->value[c->n++] = (struct content_value){ strdup(name), crc }).name == NULL)
		abort();
}

static void
erase(struct content *c, const char *object)
{
	size_t len = strlen(object), kept = 0;

	for (size_t i = 0; i < c->n; i++) {
		const char *name = c->value[i].name;

		if (strncmp(name, object, len) == 0 && (name[len] == '\0' || name[len] == '/'))
			free(c->value[i].name);
		else
			c->value[kept++] = c->value[i];
	}
	c->n = kept;
}

static uint32_t
value_crc(const struct cs_payload *v)
{
	uint32_t crc = (uint32_t)crc32(0, (const Bytef *)&v->type, sizeof v->type);

	if (v->type == CS_INT || v->type == CS_BOOL)
		return (uint32_t)crc32(crc, (const Bytef *)&v->integer, sizeof v->integer);
	if (v->type == CS_STRING || v->type == CS_BINARY || v->type == CS_DOUBLE)
		return (uint32_t)crc32(crc, v->bytes.ptr, (uInt)v->bytes.len);
	return crc;
}

static const char *
apply_one(struct content *c, const struct cs_parsed *p, const struct cs_instr *i)
{
	char object[512], name[700];

	if (i->code == CS_INTERN_STRING || i->code == CS_ADD_TABLE || i->code == CS_ADD_COLUMN)
		return NULL;
	if (i->key.type != CS_INT)
		return "a key that no test client makes";
	snprintf(object, sizeof object, "%.*s/%lld", (int)p->str[i->table].len, (const char *)p->str[i->table].ptr, (long long)i->key.integer);
	switch (i->code) {
	case CS_CREATE_OBJECT:
		if (find(c, object) != NULL)
			return "an object is created twice";
		set(c, object, 0);
		return NULL;
	case CS_ERASE_OBJECT:
		if (find(c, object) == NULL)
			return "an object is erased that does not exist";
		erase(c, object);
		return NULL;
	case CS_UPDATE:
		if (find(c, object) == NULL)
			return "an update of an object that does not exist";
		if (i->path.n != 0)
			return "a path that no test client writes to";
		snprintf(name, sizeof name, "%s/%.*s", object, (int)p->str[i->field].len, (const char *)p->str[i->field].ptr);
		set(c, name, value_crc(&i->value));
		return NULL;
	default:
		return "an instruction that no test client writes";
	}
}

const char *
content_apply(struct content *c, const uint8_t *changeset, size_t len)
{
	struct cs_parsed p = { 0 };
	struct cs_instr instr;
	const char *fault = cs_parse(&p, changeset, len) == PROTO_OK ? NULL : "not a changeset";

	for (size_t i = 0; i < p.n && fault == NULL; i++) {
		cs_get(&p, i, &instr);
		fault = apply_one(c, &p, &instr);
	}
	cs_free(&p);
	return fault;
}

uint32_t
content_crc(const struct content *c)
{
	uint32_t sum = (uint32_t)c->n;

	for (size_t i = 0; i < c->n; i++)
		sum += (uint32_t)crc32(c->value[i].crc, (const Bytef *)c->value[i].name, (uInt)strlen(c->value[i].name));
	return sum;
}

void
content_free(struct content *c)
{
	for (size_t i = 0; i < c->n; i++)
		free(c->value[i].name);
	free(c->value);
	*c = (struct content){ 0 };
}
