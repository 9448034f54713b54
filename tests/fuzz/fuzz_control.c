/* The lines of the control socket, in both directions: words (relay/word), flat JSON (relay/json). What was understood comes back the same
 * when it is written and read again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "relay/json.h"
#include "relay/word.h"

#define WORDS 16

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
words(const char *text)
{
	char *line = strdup(text), *again = malloc(3 * strlen(text) + 3 * WORDS + 3), *end = again;
	const char *w[WORDS], *v[WORDS];
	int n = word_split(line, w, WORDS);

	if (n > WORDS || n == 0)
		abort();
	for (int i = 0; i < n; i++) {
		if (i > 0)
			*end++ = ' ';
		end = word_escape(end, w[i]);
	}
	if (n > 0 && word_split(again, v, WORDS) != n)
		abort();
	for (int i = 0; i < n; i++)
		if (strcmp(w[i], v[i]) != 0)
			abort();
	free(again);
	free(line);
}

/* Writes any bytes as a string; what is read back is written the same. */
static void
strings(const char *text)
{
	struct json a = { 0 }, b = { 0 };
	char *copy;
	struct json_object o;

	json_begin(&a);
	json_str(&a, text, text);
	json_end(&a);
	if (a.failed || memchr(a.text, '\n', a.len) != a.text + a.len - 1)
		abort();

	copy = strdup(a.text);
	if (!json_parse(copy, &o) || o.n != 1)
		abort();
	json_begin(&b);
	json_str(&b, o.field[0].key, o.field[0].value);
	json_end(&b);
	if (strcmp(a.text, b.text) != 0)
		abort();
	free(copy);
	json_free(&a);
	json_free(&b);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1), *copy;
	struct json_object o;

	memcpy(text, data, size);
	text[size] = '\0';
	words(text);
	strings(text);
	copy = strdup(text);
	if (json_parse(copy, &o) && o.n > JSON_FIELDS_MAX)
		abort();
	free(copy);
	free(text);
	return 0;
}
