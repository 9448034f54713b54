/* A strict JSON reader that walks over the text and keeps nothing but views (claims.h).
 *
 * Strict because a token is read by others too: whatever two readers could understand differently (a member that stands there twice, a
 * name hidden behind escapes, something after the end) is refused, not guessed.  relay/json reads what our own tool writes, flat and
 * in place; this reads nested text that must not be changed.
 *
 * Every skip_ function takes *p to the first byte behind what it names, or returns false. */
#include <string.h>

#include "protocol/hex.h"

#include "relay/claims.h"

#define DEPTH_MAX 8
#define SECONDS_DIGITS 15 /* of 10^15 seconds, 30 million years: milliseconds of it fit 64 bits */

struct text {
	const uint8_t *p, *end;
	unsigned depth;
};

static bool skip_value(struct text *t);

static void
skip_blanks(struct text *t)
{
	while (t->p < t->end && (*t->p == ' ' || *t->p == '\t' || *t->p == '\n' || *t->p == '\r'))
		t->p++;
}

static bool
skip_byte(struct text *t, char c)
{
	skip_blanks(t);
	if (t->p == t->end || *t->p != (uint8_t)c)
		return false;
	t->p++;
	return true;
}

/* One character of a string, escaped or not, from *p; the code of an ASCII one, 128 for any other (no name we look for has such), or
 * -1 where it is none. */
static int
take_char(const uint8_t **p, const uint8_t *end)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	const char *known;
	unsigned code = 0;

	if (*p == end || **p < 0x20 || **p == '"')
		return -1;
	if (**p != '\\')
		return *(*p)++ < 0x80 ? (*p)[-1] : 128;
	if (++*p == end)
		return -1;
	known = **p != 0 ? strchr(from, **p) : NULL;
	if (known != NULL) {
		++*p;
		return to[known - from];
	}
	if (*(*p)++ != 'u' || end - *p < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		int d = hex_digit(*(*p)++);

		if (d < 0)
			return -1;
		code = code << 4 | (unsigned)d;
	}
	return code < 0x80 ? (int)code : 128;
}

static bool
skip_string(struct text *t, struct view *raw)
{
	const uint8_t *start;

	if (!skip_byte(t, '"'))
		return false;
	start = t->p;
	while (t->p < t->end && *t->p != '"')
		if (take_char(&t->p, t->end) < 0)
			return false;
	if (t->p == t->end)
		return false;
	*raw = (struct view){ start, (size_t)(t->p - start) };
	t->p++;
	return true;
}

static bool
string_is(struct view raw, const char *want)
{
	const uint8_t *p = raw.ptr, *end = raw.ptr + raw.len;

	while (p < end && *want != '\0')
		if (take_char(&p, end) != *want++)
			return false;
	return p == end && *want == '\0';
}

static size_t
skip_digits(struct text *t)
{
	const uint8_t *start = t->p;

	while (t->p < t->end && *t->p >= '0' && *t->p <= '9')
		t->p++;
	return (size_t)(t->p - start);
}

static bool
skip_number(struct text *t)
{
	const uint8_t *first;
	size_t n;

	t->p += *t->p == '-';
	first = t->p;
	n = skip_digits(t);
	if (n == 0 || (n > 1 && *first == '0'))
		return false;
	if (t->p < t->end && *t->p == '.') {
		t->p++;
		if (skip_digits(t) == 0)
			return false;
	}
	if (t->p < t->end && (*t->p | 0x20) == 'e') {
		t->p++;
		t->p += t->p < t->end && (*t->p == '+' || *t->p == '-');
		return skip_digits(t) > 0;
	}
	return true;
}

static bool
skip_word(struct text *t)
{
	static const char *const words[] = { "true", "false", "null" };

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		size_t n = strlen(words[i]);

		if ((size_t)(t->end - t->p) >= n && memcmp(t->p, words[i], n) == 0) {
			t->p += n;
			return true;
		}
	}
	return false;
}

/* The elements of an array or the members of an object, behind its opening bracket. */
static bool
skip_elements(struct text *t, bool named, char close)
{
	struct view name;

	if (skip_byte(t, close))
		return true;
	do {
		if (named && (!skip_string(t, &name) || !skip_byte(t, ':')))
			return false;
		if (!skip_value(t))
			return false;
	} while (skip_byte(t, ','));
	return skip_byte(t, close);
}

static bool
skip_value(struct text *t)
{
	struct view raw;
	bool good;

	skip_blanks(t);
	if (t->p == t->end)
		return false;
	switch (*t->p) {
	case '"':
		return skip_string(t, &raw);
	case '{':
	case '[':
		if (++t->depth > DEPTH_MAX)
			return false;
		good = *t->p++ == '{' ? skip_elements(t, true, '}') : skip_elements(t, false, ']');
		t->depth--;
		return good;
	case 't':
	case 'f':
	case 'n':
		return skip_word(t);
	default:
		return skip_number(t);
	}
}

static bool
keep_value(struct text *t, struct claim *c)
{
	const uint8_t *start;

	skip_blanks(t);
	start = t->p;
	if (c->kind != CLAIM_ABSENT || !skip_value(t))
		return false;
	c->raw = (struct view){ start, (size_t)(t->p - start) };
	c->kind = CLAIM_OTHER;
	if (*start == '[')
		c->kind = CLAIM_ARRAY;
	else if (*start == '-' || (*start >= '0' && *start <= '9'))
		c->kind = CLAIM_NUMBER;
	if (*start == '"') {
		c->kind = CLAIM_STRING;
		c->raw = (struct view){ start + 1, c->raw.len - 2 };
	}
	return true;
}

static bool
find_member(struct text *t, const char *const *names, size_t n, struct claim *found)
{
	struct view name;

	if (!skip_string(t, &name) || !skip_byte(t, ':'))
		return false;
	for (size_t i = 0; i < n; i++)
		if (string_is(name, names[i]))
			return keep_value(t, &found[i]);
	return skip_value(t);
}

bool
claims_find(struct view json, const char *const *names, size_t n, struct claim *found)
{
	struct text t = { json.ptr, json.ptr + json.len, 1 };

	for (size_t i = 0; i < n; i++)
		found[i] = (struct claim){ .kind = CLAIM_ABSENT };
	if (json.len == 0 || !skip_byte(&t, '{'))
		return false;
	if (!skip_byte(&t, '}')) {
		do {
			if (!find_member(&t, names, n, found))
				return false;
		} while (skip_byte(&t, ','));
		if (!skip_byte(&t, '}'))
			return false;
	}
	skip_blanks(&t);
	return t.p == t.end;
}

bool
claim_is(const struct claim *c, const char *want, bool in_array)
{
	struct text t;
	struct view raw;

	if (c->kind == CLAIM_STRING)
		return string_is(c->raw, want);
	if (c->kind != CLAIM_ARRAY || !in_array)
		return false;
	t = (struct text){ c->raw.ptr + 1, c->raw.ptr + c->raw.len, 1 };
	while (skip_string(&t, &raw)) {
		if (string_is(raw, want))
			return true;
		if (!skip_byte(&t, ','))
			return false;
	}
	return false;
}

bool
claim_seconds(const struct claim *c, uint64_t *seconds)
{
	const uint8_t *p = c->raw.ptr, *end = c->kind == CLAIM_NUMBER ? p + c->raw.len : p;
	size_t digits = 0;

	if (c->kind != CLAIM_NUMBER || memchr(p, 'e', c->raw.len) != NULL || memchr(p, 'E', c->raw.len) != NULL)
		return false;
	*seconds = 0;
	if (*p == '-')
		return true;
	for (; p < end && *p != '.'; p++, digits++)
		if (digits < SECONDS_DIGITS)
			*seconds = *seconds * 10 + (uint64_t)(*p - '0');
	if (digits > SECONDS_DIGITS)
		*seconds = 1000000000000000;
	return true;
}
