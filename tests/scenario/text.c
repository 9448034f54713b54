/* Words, fields and conditions; see text.h. Pure: strings in, values out. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/scenario/text.h"

char *
text_word(char **rest)
{
	char *word = *rest + strspn(*rest, " \t"), *end = word + strcspn(word, " \t");

	*rest = end + (*end != '\0');
	*end = '\0';
	return *word == '\0' ? NULL : word;
}

bool
text_number(const char *s, uint64_t *n)
{
	char *end;

	if (s == NULL || !isdigit((unsigned char)*s))
		return false;
	errno = 0;
	*n = strtoull(s, &end, 10);
	return *end == '\0' && errno == 0;
}

bool
text_field(const char *answer, const char *key, char value[TEXT_MAX])
{
	size_t key_len = strlen(key);
	char copy[TEXT_MAX], *rest = copy, *word;
	uint64_t at, n = 0;
	bool positional = text_number(key, &at);

	snprintf(copy, sizeof copy, "%s", answer);
	for (word = text_word(&rest); word != NULL; word = text_word(&rest)) {
		const char *found = NULL;

		if (positional && n++ == at)
			found = word;
		else if (!positional && strncmp(word, key, key_len) == 0 && word[key_len] == '=')
			found = word + key_len + 1;
		if (found != NULL) {
			snprintf(value, TEXT_MAX, "%s", found);
			return true;
		}
	}
	return false;
}

static bool
compare(const char *got, const char *op, const char *want)
{
	uint64_t a, b;
	int order;

	if (strcmp(op, "~") == 0)
		return strstr(got, want) != NULL;
	if (text_number(got, &a) && text_number(want, &b))
		order = (a > b) - (a < b);
	else if (*op == '=' || *op == '!')
		order = strcmp(got, want);
	else
		return false;
	if (*op == '=')
		return order == 0;
	if (*op == '!')
		return order != 0;
	return (op[1] == '=' && order == 0) || (*op == '<' ? order < 0 : order > 0);
}

/* One condition; cond is changed. */
static bool
holds(const char *answer, char *cond, char why[TEXT_MAX])
{
	size_t key = strcspn(cond, "=!<>~"), op_len = strspn(cond + key, "=!<>~");
	char op[3] = "", got[TEXT_MAX];
	const char *want = cond + key + op_len;

	memcpy(op, cond + key, op_len < 2 ? op_len : 2);
	if (key == 0 || op_len == 0 || op_len > 2 || strcmp(op, "!") == 0) {
		snprintf(why, TEXT_MAX, "not a condition: %.1000s", cond);
		return false;
	}
	cond[key] = '\0';
	if (!text_field(answer, cond, got)) {
		snprintf(why, TEXT_MAX, "want %.1000s%s%.1000s, got no such field", cond, op, want);
		return false;
	}
	if (compare(got, op, want))
		return true;
	snprintf(why, TEXT_MAX, "want %.1000s%s%.1000s, got %.1000s", cond, op, want, got);
	return false;
}

bool
text_holds(const char *answer, const char *conds, char why[TEXT_MAX])
{
	char copy[TEXT_MAX], *rest = copy, *word;

	snprintf(copy, sizeof copy, "%s", conds);
	for (word = text_word(&rest); word != NULL; word = text_word(&rest)) {
		if (!holds(answer, word, why))
			return false;
	}
	return true;
}
