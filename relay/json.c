/* Writes and reads flat JSON objects; see json.h.
 *
 * The reader is for what the writer makes, from a peer that may be another version or damaged: it accepts any flat object, refuses
 * everything else, and never looks behind the end of the line. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/hex.h"

#include "relay/json.h"

/* ---- writing ---- */

static void
put(struct json *j, const char *s, size_t n)
{
	size_t cap = j->cap != 0 ? j->cap : 512;
	char *p;

	if (j->failed)
		return;
	while (cap - j->len <= n)
		cap *= 2;
	if (cap != j->cap) {
		if ((p = realloc(j->text, cap)) == NULL) {
			j->failed = true;
			return;
		}
		j->text = p;
		j->cap = cap;
	}
	memcpy(j->text + j->len, s, n);
	j->len += n;
	j->text[j->len] = '\0';
}

/* Length of the valid UTF-8 sequence at s (of n bytes, n > 0); 0: invalid. */
static size_t
utf8_length(const unsigned char *s, size_t n)
{
	size_t len = s[0] < 0x80 ? 1 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3 : s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : 0;

	if (len == 0 || len > n)
		return 0;
	for (size_t i = 1; i < len; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] >= 0xa0) || (s[0] == 0xf0 && s[1] < 0x90) ||
	    (s[0] == 0xf4 && s[1] >= 0x90))
		return 0; /* overlong, a surrogate, beyond the end */
	return len;
}

static void
put_string(struct json *j, const char *s)
{
	size_t n = strlen(s), len;
	char esc[8];

	put(j, "\"", 1);
	for (; n > 0; s += len, n -= len) {
		unsigned char c = (unsigned char)*s;

		len = utf8_length((const unsigned char *)s, n);
		if (len == 0) {
			len = 1;
			put(j, "\xef\xbf\xbd", 3);
		} else if (c == '"' || c == '\\') {
			esc[0] = '\\';
			esc[1] = (char)c;
			put(j, esc, 2);
		} else if (c < 0x20 || c == 0x7f) {
			snprintf(esc, sizeof(esc), "\\u%04x", c);
			put(j, esc, 6);
		} else {
			put(j, s, len);
		}
	}
	put(j, "\"", 1);
}

static void
put_key(struct json *j, const char *key)
{
	if (j->some)
		put(j, ",", 1);
	j->some = true;
	put_string(j, key);
	put(j, ":", 1);
}

void
json_begin(struct json *j)
{
	j->some = false;
	put(j, "{", 1);
}

void
json_str(struct json *j, const char *key, const char *value)
{
	put_key(j, key);
	put_string(j, value);
}

void
json_u64(struct json *j, const char *key, uint64_t value)
{
	char text[24];
	int n = snprintf(text, sizeof(text), "%llu", (unsigned long long)value);

	put_key(j, key);
	put(j, text, (size_t)n);
}

void
json_bool(struct json *j, const char *key, bool value)
{
	put_key(j, key);
	put(j, value ? "true" : "false", value ? 4 : 5);
}

void
json_copy(struct json *j, const struct json_object *o, const char *except)
{
	for (size_t i = 0; i < o->n; i++) {
		if (except != NULL && strcmp(o->field[i].key, except) == 0)
			continue;
		put_key(j, o->field[i].key);
		if (o->field[i].is_string)
			put_string(j, o->field[i].value);
		else
			put(j, o->field[i].value, strlen(o->field[i].value));
	}
}

void
json_end(struct json *j)
{
	put(j, "}\n", 2);
}

void
json_free(struct json *j)
{
	free(j->text);
	memset(j, 0, sizeof(*j));
}

/* ---- reading ---- */

static char *
skip_blanks(char *p)
{
	return p + strspn(p, " \t\r\n");
}

/* Writes a code point as UTF-8 at out; returns behind it. */
static char *
put_utf8(char *out, unsigned c)
{
	if (c < 0x80) {
		*out++ = (char)c;
	} else if (c < 0x800) {
		*out++ = (char)(0xc0 | c >> 6);
		*out++ = (char)(0x80 | (c & 0x3f));
	} else {
		*out++ = (char)(0xe0 | c >> 12);
		*out++ = (char)(0x80 | (c >> 6 & 0x3f));
		*out++ = (char)(0x80 | (c & 0x3f));
	}
	return out;
}

/* The escape behind a backslash at *p; false if it is none.  A surrogate is read as U+FFFD: the writer makes none. */
static bool
unescape(char **p, char **out)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	const char *known = **p != '\0' ? strchr(from, **p) : NULL;
	unsigned c = 0;

	if (known != NULL) {
		*(*out)++ = to[known - from];
		++*p;
		return true;
	}
	if (*(*p)++ != 'u')
		return false;
	for (int i = 0; i < 4; i++, ++*p) {
		int digit = hex_digit(**p);

		if (digit < 0)
			return false;
		c = c << 4 | (unsigned)digit;
	}
	*out = put_utf8(*out, c == 0 || (c >= 0xd800 && c < 0xe000) ? 0xfffd : c);
	return true;
}

/* The string at p, which points to its first quote, unescaped in place; returns behind its last, or NULL. */
static char *
take_string(char *p, const char **value)
{
	char *out;

	if (*p++ != '"')
		return NULL;
	*value = out = p;
	while (*p != '"') {
		if ((unsigned char)*p < 0x20)
			return NULL; /* the end of the line too */
		if (*p != '\\')
			*out++ = *p++;
		else if (p++, !unescape(&p, &out))
			return NULL;
	}
	*out = '\0';
	return p + 1;
}

/* A number or a word: up to the next "," or "}", which is returned in *stop and overwritten. */
static char *
take_bare(char *p, const char **value, char *stop)
{
	size_t n = strspn(p, "-+.0123456789abcdefghijklmnopqrstuvwxyzE");
	char *end;

	if (n == 0)
		return NULL;
	*value = p;
	end = skip_blanks(p + n);
	*stop = *end;
	p[n] = '\0';
	return end;
}

bool
json_parse(char *line, struct json_object *o)
{
	char *p = skip_blanks(line), stop;

	o->n = 0;
	if (*p++ != '{')
		return false;
	p = skip_blanks(p);
	if (*p == '}')
		return *skip_blanks(p + 1) == '\0';
	do {
		if (o->n == JSON_FIELDS_MAX || (p = take_string(skip_blanks(p), &o->field[o->n].key)) == NULL ||
		    *(p = skip_blanks(p)) != ':')
			return false;
		p = skip_blanks(p + 1);
		o->field[o->n].is_string = *p == '"';
		if (*p == '"') {
			if ((p = take_string(p, &o->field[o->n].value)) == NULL)
				return false;
			p = skip_blanks(p);
			stop = *p;
		} else if ((p = take_bare(p, &o->field[o->n].value, &stop)) == NULL) {
			return false;
		}
		o->n++;
		p++;
	} while (stop == ',');
	return stop == '}' && *skip_blanks(p) == '\0';
}

const char *
json_get(const struct json_object *o, const char *key)
{
	for (size_t i = 0; i < o->n; i++)
		if (strcmp(o->field[i].key, key) == 0)
			return o->field[i].value;
	return NULL;
}

uint64_t
json_get_u64(const struct json_object *o, const char *key)
{
	const char *v = json_get(o, key);

	return v != NULL && *v >= '0' && *v <= '9' ? strtoull(v, NULL, 10) : 0;
}

bool
json_get_bool(const struct json_object *o, const char *key)
{
	const char *v = json_get(o, key);

	return v != NULL && strcmp(v, "true") == 0;
}
