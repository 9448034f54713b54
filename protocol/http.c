/* HTTP/1.1 heads: a strict parser for both roles.  What is written: http_format.c; bodies: http_body.c.
 *
 * The parser is all that stands between the port and the relay before anything is authenticated, and between a device and
 * another reading of the same bytes upstream.  So it accepts one spelling of everything and repairs nothing: no bare LF, no
 * folded lines, no space before a colon, no header twice that means something here, one way to tell how long the body is, and
 * none around an upgrade.  It never copies (all results are views into the caller's buffer) and never looks past the empty line.
 * Nothing of an input is passed on as it came: the formatters build a new head from single values and check each of them again.
 *
 * The idea needed to read it: there is no state between calls.  Each call reads the head from its start, line by line, and
 * stops at the first wrong byte or where the input ends.  Bytes are judged in the order in which they came, so what is refused
 * is refused alike however it was cut; and 8 KiB arriving byte by byte cost 32 million byte steps at the worst. */
#include <string.h>

#include "protocol/http.h"
#include "protocol/http_impl.h"

#define METHOD_MAX 20 /* bytes: the longest registered method has 17; tells a TLS or other hello from a request early */
#define KEY_LEN 24    /* Sec-WebSocket-Key: 16 bytes in base64 (RFC 6455 4.1) */

static const char version[] = "HTTP/1.1";

/* Headers that mean something here.  Each may stand once, but where repeats says otherwise; the first value counts. */
enum known {
	K_HOST, K_UPGRADE, K_CONNECTION, K_KEY, K_ACCEPT, K_VERSION, K_PROTOCOL, K_EXTENSIONS, K_AUTHORIZATION, K_USER_AGENT,
	K_LOCATION, K_RETRY_AFTER, K_CONTENT_LENGTH, K_TRANSFER_ENCODING,
	K_COUNT
};

static const struct {
	const char *name;
	bool repeats_in_request, repeats_in_answer;
} known[K_COUNT] = {
	[K_HOST] = { "Host", false, false },
	[K_UPGRADE] = { "Upgrade", false, false },
	[K_CONNECTION] = { "Connection", true, true },
	[K_KEY] = { "Sec-WebSocket-Key", false, false },
	[K_ACCEPT] = { "Sec-WebSocket-Accept", false, false },
	[K_VERSION] = { "Sec-WebSocket-Version", false, true },	      /* RFC 6455 11.3.5 */
	[K_PROTOCOL] = { "Sec-WebSocket-Protocol", true, false },     /* 11.3.4 */
	[K_EXTENSIONS] = { "Sec-WebSocket-Extensions", true, false }, /* 11.3.2 */
	[K_AUTHORIZATION] = { "Authorization", false, false },
	[K_USER_AGENT] = { "User-Agent", false, false },
	[K_LOCATION] = { "Location", false, false },
	[K_RETRY_AFTER] = { "Retry-After", false, false },
	[K_CONTENT_LENGTH] = { "Content-Length", false, false },
	[K_TRANSFER_ENCODING] = { "Transfer-Encoding", false, false },
};

struct parser {
	const uint8_t *buf;
	size_t len, pos; /* buf[0..pos) is parsed */
	bool request;
	bool seen[K_COUNT];
	struct view value[K_COUNT];
	struct http_head *head;
};

static uint8_t
lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
}

static bool
is_alnum(uint8_t c)
{
	return (lower(c) >= 'a' && lower(c) <= 'z') || (c >= '0' && c <= '9');
}

/* Whether v is text in any case (ASCII only, whatever the locale). */
bool
http_name_is(struct view v, const char *text)
{
	size_t i;

	for (i = 0; i < v.len && text[i] != '\0'; i++)
		if (lower(v.ptr[i]) != lower((uint8_t)text[i]))
			return false;
	return i == v.len && text[i] == '\0';
}

static bool
is_token_char(uint8_t c)
{
	return is_alnum(c) || (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

bool
http_is_token(struct view v)
{
	size_t i;

	for (i = 0; i < v.len; i++)
		if (!is_token_char(v.ptr[i]))
			return false;
	return v.len > 0;
}

/* A byte that may stand inside a line: all but the control characters, of which only the tab is allowed (RFC 9110 5.5). */
bool
http_is_line_char(uint8_t c)
{
	return c == '\t' || (c >= 0x20 && c != 0x7F);
}

bool
http_is_target(struct view v)
{
	size_t i;

	for (i = 0; i < v.len; i++)
		if (v.ptr[i] <= 0x20 || v.ptr[i] >= 0x7F || v.ptr[i] == '#')
			return false;
	return v.len > 0 && v.ptr[0] == '/';
}

/* uri-host [ ":" port ] by its characters (RFC 3986 3.2.2), without the comma, which would be two values made one. */
static bool
is_host(struct view v)
{
	size_t i;

	for (i = 0; i < v.len; i++)
		if (!is_alnum(v.ptr[i]) && (v.ptr[i] == '\0' || strchr("-._~%!$&'()*+;=:[]", v.ptr[i]) == NULL))
			return false;
	return v.len > 0;
}

static bool
is_key(struct view v)
{
	size_t i;

	if (v.len != KEY_LEN || v.ptr[KEY_LEN - 2] != '=' || v.ptr[KEY_LEN - 1] != '=')
		return false;
	for (i = 0; i < KEY_LEN - 2; i++)
		if (!is_alnum(v.ptr[i]) && v.ptr[i] != '+' && v.ptr[i] != '/')
			return false;
	return true;
}

static struct view
trim(struct view v)
{
	while (v.len > 0 && (v.ptr[0] == ' ' || v.ptr[0] == '\t')) {
		v.ptr++;
		v.len--;
	}
	while (v.len > 0 && (v.ptr[v.len - 1] == ' ' || v.ptr[v.len - 1] == '\t'))
		v.len--;
	return v;
}

/* Cuts *rest at the first sep: returns what stands before it, leaves in *rest what stands behind.  Without a sep all is
 * returned and *rest is empty. */
static struct view
cut(struct view *rest, uint8_t sep)
{
	struct view piece = *rest;
	const uint8_t *at = rest->len > 0 ? memchr(rest->ptr, sep, rest->len) : NULL;

	if (at == NULL) {
		*rest = (struct view){ rest->ptr + rest->len, 0 };
		return piece;
	}
	piece.len = (size_t)(at - rest->ptr);
	*rest = (struct view){ at + 1, rest->len - piece.len - 1 };
	return piece;
}

bool
http_list_next(struct view *rest, struct view *item)
{
	while (rest->len > 0) {
		*item = trim(cut(rest, ','));
		if (item->len > 0)
			return true;
	}
	return false;
}

bool
http_header_next(const struct http_head *head, const char *name, size_t *at, struct view *value)
{
	while (*at < head->nheader) {
		const struct http_header *h = &head->header[(*at)++];

		if (http_name_is(h->name, name)) {
			*value = h->value;
			return true;
		}
	}
	return false;
}

struct view
http_query_param(struct view query, const char *name)
{
	while (query.len > 0) {
		struct view value = cut(&query, '&');

		if (view_eq(cut(&value, '='), view_of(name)))
			return value;
	}
	return (struct view){ NULL, 0 };
}

bool
http_list_has(struct view list, const char *token)
{
	struct view item;

	while (http_list_next(&list, &item))
		if (http_name_is(item, token))
			return true;
	return false;
}

/* Takes the next line, without its CRLF.  PROTO_MORE: *line is what there is of it. */
static enum proto_err
next_line(struct parser *p, struct view *line)
{
	size_t i = p->pos;

	while (i < p->len && http_is_line_char(p->buf[i]))
		i++;
	*line = (struct view){ p->buf + p->pos, i - p->pos };
	if (i < p->len && p->buf[i] != '\r')
		return PROTO_HTTP_SYNTAX;
	if (p->len - i < 2)
		return PROTO_MORE;
	if (p->buf[i + 1] != '\n')
		return PROTO_HTTP_SYNTAX;
	p->pos = i + 2;
	return PROTO_OK;
}

/* Whether part, which may end anywhere, can become a request line: method, space, slash. */
static bool
begins_request(struct view part)
{
	size_t n = 0;

	while (n < part.len && is_token_char(part.ptr[n]))
		n++;
	if (n > METHOD_MAX)
		return false;
	if (n == part.len)
		return true;
	return n > 0 && part.ptr[n] == ' ' && (n + 1 == part.len || part.ptr[n + 1] == '/');
}

static bool
begins_answer(struct view part)
{
	size_t n = sizeof(version) - 1;

	if (part.len <= n)
		return part.len == 0 || memcmp(part.ptr, version, part.len) == 0;
	return memcmp(part.ptr, version, n) == 0 && part.ptr[n] == ' ';
}

static enum proto_err
request_line(struct parser *p, struct view line)
{
	struct http_head *head = p->head;
	struct view query;

	head->method = cut(&line, ' ');
	head->target = cut(&line, ' ');
	if (!http_is_target(head->target) || !view_eq(line, view_of(version)))
		return PROTO_HTTP_SYNTAX;
	query = head->target;
	head->path = cut(&query, '?');
	head->query = query;
	return PROTO_OK;
}

static enum proto_err
status_line(struct parser *p, struct view line)
{
	size_t i;

	(void)cut(&line, ' ');
	if (line.len < 4 || line.ptr[0] < '1' || line.ptr[0] > '5' || line.ptr[3] != ' ')
		return PROTO_HTTP_SYNTAX;
	for (i = 0; i < 3; i++) {
		if (line.ptr[i] < '0' || line.ptr[i] > '9')
			return PROTO_HTTP_SYNTAX;
		p->head->status = p->head->status * 10 + (line.ptr[i] - '0');
	}
	p->head->reason = (struct view){ line.ptr + 4, line.len - 4 };
	return PROTO_OK;
}

static enum proto_err
start_line(struct parser *p)
{
	struct view line;
	enum proto_err err = next_line(p, &line);

	if (!(p->request ? begins_request(line) : begins_answer(line)))
		return PROTO_HTTP_SYNTAX;
	if (err != PROTO_OK)
		return err;
	return p->request ? request_line(p, line) : status_line(p, line);
}

static enum proto_err
header_line(struct parser *p, struct view line)
{
	struct http_header h;
	size_t k;

	if (p->head->nheader == HTTP_HEADERS_MAX)
		return PROTO_HTTP_TOO_BIG;
	if (memchr(line.ptr, ':', line.len) == NULL)
		return PROTO_HTTP_SYNTAX;
	h.name = cut(&line, ':');
	h.value = trim(line);
	if (!http_is_token(h.name)) /* also a folded line, and a space before the colon */
		return PROTO_HTTP_SYNTAX;
	p->head->header[p->head->nheader++] = h;

	for (k = 0; k < K_COUNT && !http_name_is(h.name, known[k].name); k++)
		;
	if (k == K_COUNT)
		return PROTO_OK;
	if (p->seen[k])
		return (p->request ? known[k].repeats_in_request : known[k].repeats_in_answer) ? PROTO_OK : PROTO_HTTP_DUPLICATE;
	p->seen[k] = true;
	p->value[k] = h.value;
	return PROTO_OK;
}

static void
fill_head(struct parser *p)
{
	struct http_head *head = p->head;

	head->host = p->value[K_HOST];
	head->key = p->value[K_KEY];
	head->accept = p->value[K_ACCEPT];
	head->protocol = p->value[K_PROTOCOL];
	head->extensions = p->value[K_EXTENSIONS];
	head->authorization = p->value[K_AUTHORIZATION];
	head->user_agent = p->value[K_USER_AGENT];
	head->location = p->value[K_LOCATION];
	head->retry_after = p->value[K_RETRY_AFTER];
}

static enum proto_err
parse_length(struct view v, uint64_t *length)
{
	size_t i;

	*length = 0;
	for (i = 0; i < v.len; i++) {
		uint64_t digit = (uint64_t)v.ptr[i] - '0';

		if (digit > 9 || *length > (INT64_MAX - digit) / 10)
			return PROTO_HTTP_SYNTAX;
		*length = *length * 10 + digit;
	}
	return v.len > 0 ? PROTO_OK : PROTO_HTTP_SYNTAX;
}

/* One way to tell how long the body is, or none (RFC 9112 6.3); and no body around an upgrade. */
static enum proto_err
check_body(struct parser *p)
{
	struct http_head *head = p->head;
	enum proto_err err = PROTO_OK;

	head->has_content_length = p->seen[K_CONTENT_LENGTH];
	head->chunked = p->seen[K_TRANSFER_ENCODING];
	if (head->has_content_length)
		err = parse_length(p->value[K_CONTENT_LENGTH], &head->content_length);
	if (err != PROTO_OK)
		return err;
	if (head->chunked && (head->has_content_length || !http_name_is(p->value[K_TRANSFER_ENCODING], "chunked")))
		return PROTO_HTTP_BODY;
	if (head->status == 101 && (head->chunked || head->content_length > 0))
		return PROTO_HTTP_BODY;
	return PROTO_OK;
}

bool
http_connection_has(const struct http_head *head, const char *option)
{
	struct view value;
	size_t at = 0;

	while (http_header_next(head, known[K_CONNECTION].name, &at, &value))
		if (http_list_has(value, option))
			return true;
	return false;
}

static enum proto_err
check_request(struct parser *p)
{
	struct http_head *head = p->head;

	if (!is_host(p->value[K_HOST]) || (p->seen[K_KEY] && !is_key(p->value[K_KEY])))
		return PROTO_HTTP_SYNTAX;
	head->offers_upgrade = http_list_has(p->value[K_UPGRADE], "websocket");
	head->is_upgrade = head->offers_upgrade && view_eq(head->method, view_of("GET")) && p->seen[K_KEY] &&
			   http_name_is(p->value[K_VERSION], "13") && http_connection_has(head, "upgrade");
	return head->offers_upgrade && (head->chunked || head->content_length > 0) ? PROTO_HTTP_BODY : PROTO_OK;
}

static enum proto_err
check_answer(struct parser *p)
{
	if (p->head->status == 101 && (!http_name_is(p->value[K_UPGRADE], "websocket") || !http_connection_has(p->head, "upgrade")))
		return PROTO_HTTP_SYNTAX;
	return PROTO_OK;
}

static enum proto_err
parse_lines(struct parser *p)
{
	enum proto_err err = start_line(p);
	struct view line;

	while (err == PROTO_OK) {
		err = next_line(p, &line);
		if (err == PROTO_OK && line.len == 0)
			return PROTO_OK;
		if (err == PROTO_OK)
			err = header_line(p, line);
	}
	return err;
}

static enum proto_err
parse_head(bool request, const uint8_t *buf, size_t len, struct http_head *head, size_t *used)
{
	struct parser p = { .buf = buf, .len = len, .request = request, .head = head };
	enum proto_err err;

	*used = 0;
	if (len == 0)
		return PROTO_MORE;
	if (p.len > HTTP_HEAD_MAX)
		p.len = HTTP_HEAD_MAX;
	memset(head, 0, offsetof(struct http_head, header));
	err = parse_lines(&p);
	if (err == PROTO_MORE && p.len == HTTP_HEAD_MAX)
		return PROTO_HTTP_TOO_BIG;
	if (err != PROTO_OK)
		return err;
	fill_head(&p);
	*used = p.pos;
	err = check_body(&p);
	if (err != PROTO_OK)
		return err;
	return request ? check_request(&p) : check_answer(&p);
}

enum proto_err
http_parse_any(const uint8_t *buf, size_t len, struct http_head *head, size_t *used)
{
	return parse_head(true, buf, len, head, used);
}

enum proto_err
http_parse_request(const uint8_t *buf, size_t len, struct http_head *head, size_t *used)
{
	enum proto_err err = parse_head(true, buf, len, head, used);

	if (err == PROTO_OK && (head->chunked || head->content_length > 0))
		return PROTO_HTTP_BODY;
	return err == PROTO_OK && !head->is_upgrade ? PROTO_HTTP_NOT_UPGRADE : err;
}

enum proto_err
http_parse_response(const uint8_t *buf, size_t len, struct http_head *head, size_t *used)
{
	return parse_head(false, buf, len, head, used);
}
