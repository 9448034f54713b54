/* Log lines as JSON and as text; see logform.h.
 *
 * Takes apart what log.c wrote and nothing else, but never fails on it: a value ends at the first quote that the next key or the end follows, since
 * ready logfmt (log_event) may hold a message of a library with quotes of its own. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/json.h"
#include "relay/logform.h"
#include "relay/word.h"

struct field {
	char key[64], value[LOG_LINE_MAX];
	bool bare;
};

/* "\xNN", the quote and the backslash are undone, but for a byte that is no ASCII: it is not UTF-8 either, and stays as it is shown. */
static const char *
take_char(const char *p, const char *end, char *out)
{
	char hex[3] = { 0 };
	long byte;

	*out = *p;
	if (*p != '\\' || end - p < 2)
		return p + 1;
	if (p[1] == '"' || p[1] == '\\') {
		*out = p[1];
		return p + 2;
	}
	if (p[1] != 'x' || end - p < 4)
		return p + 1;
	memcpy(hex, p + 2, 2);
	byte = strtol(hex, NULL, 16);
	if (byte == 0 || byte >= 0x80)
		return p + 1;
	*out = (char)byte;
	return p + 4;
}

/* Behind a quote: nothing more, or another field. */
static bool
ends_here(const char *p, const char *end)
{
	if (p == end)
		return true;
	if (*p++ != ' ')
		return false;
	while (p < end && ((*p >= 'a' && *p <= 'z') || *p == '_' || (*p >= '0' && *p <= '9')))
		p++;
	return p < end && *p == '=';
}

static const char *
take_value(const char *p, const char *end, struct field *f)
{
	bool quoted = p < end && *p == '"';
	size_t n = 0;

	f->bare = !quoted;
	p += quoted;
	while (p < end && n < sizeof(f->value) - 1) {
		if (quoted ? *p == '"' && ends_here(p + 1, end) : *p == ' ')
			break;
		p = take_char(p, end, &f->value[n++]);
	}
	f->value[n] = '\0';
	return p + (quoted && p < end);
}

/* The field at p; returns behind it and its blank. */
static const char *
take_field(const char *p, const char *end, struct field *f)
{
	size_t n = 0;

	while (p < end && *p != '=' && *p != ' ') {
		if (n < sizeof(f->key) - 1)
			f->key[n++] = *p;
		p++;
	}
	f->key[n] = '\0';
	f->value[0] = '\0';
	f->bare = false;
	if (p < end && *p == '=')
		p = take_value(p + 1, end, f);
	while (p < end && *p == ' ')
		p++;
	return p;
}

static size_t
as_json(const char *p, const char *end, char *out)
{
	struct json j = { 0 };
	struct field f;
	size_t len = 0;
	uint64_t n;

	json_begin(&j);
	while (p < end) {
		p = take_field(p, end, &f);
		if (f.bare && word_number(f.value, &n) && (f.value[0] != '0' || f.value[1] == '\0'))
			json_u64(&j, f.key, n);
		else
			json_str(&j, f.key, f.value);
	}
	json_end(&j);
	if (!j.failed && j.len <= LOGFORM_MAX) {
		len = j.len;
		memcpy(out, j.text, len);
	}
	json_free(&j);
	return len;
}

static size_t
as_text(const char *p, const char *end, char *out)
{
	struct field ts, level, event;
	int n;

	p = take_field(p, end, &ts);
	p = take_field(p, end, &level);
	p = take_field(p, end, &event);
	n = snprintf(out, LOGFORM_MAX, "%.10s %s %-5s %s%s", ts.value, strlen(ts.value) > 11 ? ts.value + 11 : "", level.value, event.value,
		     p < end ? " " : "");
	memcpy(out + n, p, (size_t)(end - p));
	out[n + (end - p)] = '\n';
	return (size_t)n + (size_t)(end - p) + 1;
}

size_t
logform(bool json, const char *line, size_t len, char out[LOGFORM_MAX])
{
	const char *end = line + len - (len > 0 && line[len - 1] == '\n');

	return json ? as_json(line, end, out) : as_text(line, end, out);
}
