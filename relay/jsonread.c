/* JSON from outside, a field at a time.  See jsonread.h.
 *
 * One walk over the whole document for each field asked for: bodies are small and rare, and a walk that must reach the end is a proof
 * that the document is well formed.  p is advanced by every take_ function, which returns false at the first fault; nothing
 * is read at or beyond end. */
#include <string.h>

#include "relay/jsonread.h"

struct walk {
	const uint8_t *p, *end;
	unsigned depth;
};

static bool take_value(struct walk *w, struct jsonread_value *out);

static void
skip_blanks(struct walk *w)
{
	while (w->p < w->end && (*w->p == ' ' || *w->p == '\t' || *w->p == '\r' || *w->p == '\n'))
		w->p++;
}

static bool
take(struct walk *w, char c)
{
	skip_blanks(w);
	if (w->p == w->end || *w->p != (uint8_t)c)
		return false;
	w->p++;
	return true;
}

static bool
is_hex(uint8_t c)
{
	return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}

/* What follows a backslash. */
static bool
take_escape(struct walk *w)
{
	if (w->p == w->end || *w->p == '\0' || strchr("\"\\/bfnrtu", *w->p) == NULL)
		return false;
	if (*w->p++ != 'u')
		return true;
	for (int i = 0; i < 4; i++, w->p++)
		if (w->p == w->end || !is_hex(*w->p))
			return false;
	return true;
}

static bool
take_string(struct walk *w, struct view *out)
{
	const uint8_t *start;

	if (!take(w, '"'))
		return false;
	for (start = w->p; w->p < w->end && *w->p != '"';) {
		if (*w->p < 0x20)
			return false;
		if (*w->p++ == '\\' && !take_escape(w))
			return false;
	}
	if (w->p == w->end)
		return false;
	*out = (struct view){ start, (size_t)(w->p++ - start) };
	return true;
}

static bool
take_digits(struct walk *w)
{
	const uint8_t *start = w->p;

	while (w->p < w->end && *w->p >= '0' && *w->p <= '9')
		w->p++;
	return w->p > start;
}

static bool
take_number(struct walk *w)
{
	if (w->p < w->end && *w->p == '-')
		w->p++;
	if (w->p < w->end && *w->p == '0')
		w->p++;
	else if (!take_digits(w))
		return false;
	if (w->p < w->end && *w->p == '.') {
		w->p++;
		if (!take_digits(w))
			return false;
	}
	if (w->p < w->end && (*w->p | 0x20) == 'e') {
		w->p++;
		if (w->p < w->end && (*w->p == '+' || *w->p == '-'))
			w->p++;
		return take_digits(w);
	}
	return true;
}

static bool
take_word(struct walk *w, const char *word)
{
	size_t n = strlen(word);

	if ((size_t)(w->end - w->p) < n || memcmp(w->p, word, n) != 0)
		return false;
	w->p += n;
	return true;
}

/* The rest of an object or array behind its bracket. */
static bool
take_nested(struct walk *w, char close)
{
	struct jsonread_value ignored;
	struct view name;
	bool ok = true;

	if (++w->depth > JSONREAD_DEPTH)
		return false;
	if (!take(w, close)) {
		do
			ok = (close == ']' || (take_string(w, &name) && take(w, ':'))) && take_value(w, &ignored);
		while (ok && take(w, ','));
		ok = ok && take(w, close);
	}
	w->depth--;
	return ok;
}

static bool
take_value(struct walk *w, struct jsonread_value *out)
{
	static const struct {
		const char *word;
		enum jsonread_kind kind;
	} words[] = { { "true", JSONREAD_TRUE }, { "false", JSONREAD_FALSE }, { "null", JSONREAD_NULL } };
	const uint8_t *start;
	bool ok = false;

	skip_blanks(w);
	start = w->p;
	if (w->p == w->end)
		return false;
	if (*w->p == '"') {
		out->kind = JSONREAD_STRING;
		return take_string(w, &out->text);
	}
	if (*w->p == '{' || *w->p == '[') {
		out->kind = JSONREAD_NESTED;
		ok = take_nested(w, *w->p++ == '{' ? '}' : ']');
	} else if (*w->p == '-' || (*w->p >= '0' && *w->p <= '9')) {
		out->kind = JSONREAD_NUMBER;
		ok = take_number(w);
	}
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]) && w->p == start; i++) {
		out->kind = words[i].kind;
		ok = take_word(w, words[i].word);
	}
	out->text = (struct view){ start, (size_t)(w->p - start) };
	return ok;
}

bool
jsonread_get(struct view doc, const char *key, struct jsonread_value *out)
{
	struct walk w = { doc.ptr, doc.ptr + doc.len, 1 };
	struct jsonread_value value;
	struct view name;
	unsigned found = 0;

	if (doc.len == 0 || !take(&w, '{'))
		return false;
	if (take(&w, '}'))
		return false;
	do {
		if (!take_string(&w, &name) || !take(&w, ':') || !take_value(&w, &value))
			return false;
		if (view_eq(name, view_of(key))) {
			*out = value;
			found++;
		}
	} while (take(&w, ','));
	if (!take(&w, '}'))
		return false;
	skip_blanks(&w);
	return found == 1 && w.p == w.end;
}

bool
jsonread_get_u64(struct view doc, const char *key, uint64_t *out)
{
	struct jsonread_value v;
	uint64_t n = 0;

	if (!jsonread_get(doc, key, &v) || v.kind != JSONREAD_NUMBER)
		return false;
	for (size_t i = 0; i < v.text.len; i++) {
		unsigned digit = (unsigned)v.text.ptr[i] - '0';

		if (digit > 9 || n > (UINT64_MAX - digit) / 10)
			return false;
		n = n * 10 + digit;
	}
	*out = n;
	return true;
}

bool
jsonread_get_bool(struct view doc, const char *key, bool *out)
{
	struct jsonread_value v;

	if (!jsonread_get(doc, key, &v) || (v.kind != JSONREAD_TRUE && v.kind != JSONREAD_FALSE))
		return false;
	*out = v.kind == JSONREAD_TRUE;
	return true;
}
