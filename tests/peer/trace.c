/* Recorded traffic as events.  See trace.h for the format.
 *
 * This is no general JSON reader: a line is one flat object whose values are strings or numbers, which is all that the
 * recorder writes; anything else is refused, so a trace that changes its form is noticed instead of skipped.
 *
 * The one idea: a line is read into a buffer of our own and its strings are unescaped in place (text only shrinks), so a
 * member's value is a view into the line.  The body's base64 is decoded to a second buffer, behind the head and an LF. */
#include "tests/peer/trace.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

struct trace {
	FILE *file;
	char *line; /* getline's */
	size_t line_cap;
	unsigned line_number;
	uint8_t *message; /* head LF body of the last event */
	size_t message_cap;
};

/* The values of one line, as they stand; ptr NULL when the member is absent. */
struct members {
	struct view t, conn, dir, kind, head, body_b64, text, code;
};

struct trace *
trace_open(const char *path)
{
	struct trace *tr = calloc(1, sizeof(*tr));

	if (tr == NULL)
		return NULL;
	tr->file = fopen(path, "re");
	if (tr->file == NULL) {
		int saved = errno;

		free(tr);
		errno = saved;
		return NULL;
	}
	return tr;
}

void
trace_close(struct trace *tr)
{
	if (tr == NULL)
		return;
	fclose(tr->file);
	free(tr->line);
	free(tr->message);
	free(tr);
}

unsigned
trace_line(const struct trace *tr)
{
	return tr->line_number;
}

size_t
trace_files(const char *shared, glob_t *files)
{
	char pattern[4096];

	memset(files, 0, sizeof(*files));
	if (shared == NULL)
		return 0;
	if ((size_t)snprintf(pattern, sizeof(pattern), "%s/data/traces/*.jsonl", shared) >= sizeof(pattern))
		return 0;
	return glob(pattern, 0, NULL, files) == 0 ? files->gl_pathc : 0;
}

static void
skip_space(char **p)
{
	while (**p == ' ' || **p == '\t' || **p == '\r' || **p == '\n')
		(*p)++;
}

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* Reads the four hex digits of a \u escape. */
static bool
read_unit(const char *p, uint32_t *unit)
{
	*unit = 0;
	for (int i = 0; i < 4; i++) {
		int digit = hex_digit(p[i]);

		if (digit < 0)
			return false;
		*unit = *unit << 4 | (uint32_t)digit;
	}
	return true;
}

static char *
put_utf8(char *out, uint32_t cp)
{
	if (cp < 0x80) {
		*out++ = (char)cp;
	} else if (cp < 0x800) {
		*out++ = (char)(0xc0 | cp >> 6);
		*out++ = (char)(0x80 | (cp & 0x3f));
	} else if (cp < 0x10000) {
		*out++ = (char)(0xe0 | cp >> 12);
		*out++ = (char)(0x80 | (cp >> 6 & 0x3f));
		*out++ = (char)(0x80 | (cp & 0x3f));
	} else {
		*out++ = (char)(0xf0 | cp >> 18);
		*out++ = (char)(0x80 | (cp >> 12 & 0x3f));
		*out++ = (char)(0x80 | (cp >> 6 & 0x3f));
		*out++ = (char)(0x80 | (cp & 0x3f));
	}
	return out;
}

/* Unescapes what follows a backslash at *in to *out; both advance. */
static bool
unescape(char **in, char **out)
{
	static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
	char c = *(*in)++;
	const char *at;
	uint32_t cp, low;

	if (c != 'u') {
		if (c == '\0' || (at = strchr(names, c)) == NULL)
			return false;
		*(*out)++ = values[at - names];
		return true;
	}
	if (!read_unit(*in, &cp))
		return false;
	*in += 4;
	if (cp >= 0xd800 && cp < 0xdc00) { /* a surrogate pair makes one code point */
		if ((*in)[0] != '\\' || (*in)[1] != 'u' || !read_unit(*in + 2, &low) || low < 0xdc00 || low > 0xdfff)
			return false;
		*in += 6;
		cp = 0x10000 + ((cp - 0xd800) << 10) + (low - 0xdc00);
	}
	*out = put_utf8(*out, cp);
	return true;
}

/* Takes a string off *p, unescaping it in place. */
static bool
take_string(char **p, struct view *value)
{
	char *in = *p, *out, *start;

	if (*in++ != '"')
		return false;
	out = start = in;
	while (*in != '"') {
		if (*in == '\0')
			return false;
		if (*in != '\\') {
			*out++ = *in++;
			continue;
		}
		in++;
		if (!unescape(&in, &out))
			return false;
	}
	*value = (struct view){ (uint8_t *)start, (size_t)(out - start) };
	*p = in + 1;
	return true;
}

/* Takes a string or a number off *p. */
static bool
take_value(char **p, struct view *value)
{
	size_t len;

	if (**p == '"')
		return take_string(p, value);
	len = strspn(*p, "0123456789+-.eE");
	*value = (struct view){ (uint8_t *)*p, len };
	*p += len;
	return len > 0;
}

static struct view *
member_slot(struct members *m, struct view name)
{
	const struct {
		const char *name;
		struct view *slot;
	} slots[] = {
		{ "t", &m->t }, { "conn", &m->conn }, { "dir", &m->dir }, { "kind", &m->kind },
		{ "head", &m->head }, { "body_b64", &m->body_b64 }, { "text", &m->text }, { "code", &m->code },
	};

	for (size_t i = 0; i < sizeof(slots) / sizeof(slots[0]); i++)
		if (view_eq(name, view_of(slots[i].name)))
			return slots[i].slot;
	return NULL;
}

static bool
parse_line(char *p, struct members *m)
{
	struct view name, value, *slot;

	memset(m, 0, sizeof(*m));
	skip_space(&p);
	if (*p++ != '{')
		return false;
	for (;;) {
		skip_space(&p);
		if (!take_string(&p, &name))
			return false;
		skip_space(&p);
		if (*p++ != ':')
			return false;
		skip_space(&p);
		if (!take_value(&p, &value))
			return false;
		slot = member_slot(m, name);
		if (slot == NULL || slot->ptr != NULL)
			return false;
		*slot = value;
		skip_space(&p);
		if (*p == '}')
			break;
		if (*p++ != ',')
			return false;
	}
	p++;
	skip_space(&p);
	return *p == '\0';
}

static int
base64_value(uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Decodes padded base64 to out (room for 3 bytes of each 4); strict. */
static bool
base64_decode(struct view in, uint8_t *out, size_t *out_len)
{
	size_t pad = 0, n = 0;

	if (in.len % 4 != 0)
		return false;
	while (pad < 2 && in.len > 0 && in.ptr[in.len - 1] == '=') {
		in.len--;
		pad++;
	}
	for (size_t i = 0, bits = 0, acc = 0; i < in.len; i++) {
		int v = base64_value(in.ptr[i]);

		if (v < 0)
			return false;
		acc = (acc << 6 | (size_t)v) & 0xffffff;
		bits += 6;
		if (bits >= 8) {
			bits -= 8;
			out[n++] = (uint8_t)(acc >> bits);
		}
	}
	*out_len = n;
	return true;
}

/* Lays head, LF and the decoded body out in tr->message. */
static bool
build_message(struct trace *tr, const struct members *m, struct trace_event *ev)
{
	size_t head_len = m->head.len, need = head_len + 1 + m->body_b64.len / 4 * 3, body_len;
	uint8_t *body;

	if (m->head.ptr == NULL || m->body_b64.ptr == NULL)
		return false;
	if (need > tr->message_cap) {
		uint8_t *grown = realloc(tr->message, need);

		if (grown == NULL)
			return false;
		tr->message = grown;
		tr->message_cap = need;
	}
	memcpy(tr->message, m->head.ptr, head_len);
	tr->message[head_len] = '\n';
	body = tr->message + head_len + 1;
	if (!base64_decode(m->body_b64, body, &body_len))
		return false;
	ev->head = (struct view){ tr->message, head_len };
	ev->body = (struct view){ body, body_len };
	ev->message = (struct view){ tr->message, head_len + 1 + body_len };
	return true;
}

/* A number's view is followed by a comma, brace or space in the line, so strtod and strtoul stop at its end. */
static bool
build_event(struct trace *tr, const struct members *m, struct trace_event *ev)
{
	memset(ev, 0, sizeof(*ev));
	if (m->t.ptr == NULL || m->conn.ptr == NULL)
		return false;
	ev->t = strtod((const char *)m->t.ptr, NULL);
	ev->conn = (unsigned)strtoul((const char *)m->conn.ptr, NULL, 10);
	ev->from_client = view_eq(m->dir, view_of("c2s"));
	if (!ev->from_client && !view_eq(m->dir, view_of("s2c")))
		return false;
	if (view_eq(m->kind, view_of("message"))) {
		ev->kind = TRACE_MESSAGE;
		return build_message(tr, m, ev);
	}
	if (view_eq(m->kind, view_of("http"))) {
		ev->kind = TRACE_HTTP;
		ev->text = m->text;
	} else if (view_eq(m->kind, view_of("closed"))) {
		ev->kind = TRACE_CLOSED;
		ev->text = m->code;
	}
	return ev->text.ptr != NULL;
}

int
trace_next(struct trace *tr, struct trace_event *ev)
{
	struct members m;
	ssize_t len = getline(&tr->line, &tr->line_cap, tr->file);

	if (len < 0)
		return feof(tr->file) ? 0 : -1;
	tr->line_number++;
	if (strlen(tr->line) != (size_t)len) /* a NUL would hide the rest */
		return -1;
	return parse_line(tr->line, &m) && build_event(tr, &m, ev) ? 1 : -1;
}
