/* Fuzz target of the changeset codec (protocol/changeset.c, changeset_write.c).
 *
 * Input: a changeset. What is accepted must be encoded back byte for byte, name only strings that are there, and be refused when it is
 * cut off inside its last item; what is refused must leave an empty index. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/changeset.h"
#include "protocol/changeset_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void
must(bool condition)
{
	if (!condition)
		abort();
}

static void
check_strings(const struct cs_parsed *c, const struct cs_instr *i)
{
	uint32_t str[CS_STRINGS_MAX];
	size_t n = cs_strings(i, str);
	struct cs_path rest = i->path;
	struct cs_element e;

	must(n <= CS_STRINGS_MAX);
	while (n > 0)
		must(str[--n] < c->nstr);
	if (!cs_has_path(i->code))
		return;
	while (cs_path_next(&rest, &e))
		must(e.is_index || e.value < c->nstr);
	must(rest.n == 0 && rest.raw.len == 0);
}

static void
check_text(const struct cs_parsed *c, size_t n)
{
	char text[CS_TEXT_MAX];

	memset(text, 1, sizeof(text));
	cs_text(c, n, text);
	for (const char *p = text; *p != '\0'; p++)
		must(*p >= ' ' && *p <= '~');
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct cs_parsed c = { 0 };
	struct cs_writer w = { 0 };
	struct cs_instr i;

	if (cs_parse(&c, data, len) != PROTO_OK) {
		must(c.n == 0 && c.nstr == 0);
	} else {
		for (size_t n = 0; n < c.n; n++) {
			cs_get(&c, n, &i);
			if (i.code != CS_INTERN_STRING)
				check_strings(&c, &i);
			check_text(&c, n);
			cs_write(&w, &i, NULL);
		}
		must(!w.failed && w.len == len && (len == 0 || memcmp(w.buf, data, len) == 0));
		if (c.n > 0 && len - c.at[c.n - 1] > 1)
			must(cs_parse(&c, data, len - 1) != PROTO_OK);
	}
	cs_writer_free(&w);
	cs_free(&c);
	return 0;
}
