/* HTTP/1.1 heads that are written: built from single values, each of them checked again.  Nothing of an input is copied as a whole.
 *
 * Two kinds: heads of the relay's own (an upgrade, its answer, a refusal), from an allow-list; and heads that are passed on between a
 * client and upstream, from which all is taken out that is about one connection only, and the framing of the body, which is the writer's
 * own: the two connections are never told apart by what a header says (request smuggling). */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "protocol/http.h"
#include "protocol/http_impl.h"

static const char version[] = "HTTP/1.1";

/* A writer that latches: after the first failure it writes no more, and the head comes out as 0. */
struct writer {
	char *out;
	size_t cap, len;
	bool failed;
};

static void
put_view(struct writer *w, struct view v)
{
	size_t i;

	for (i = 0; i < v.len; i++)
		w->failed |= !http_is_line_char(v.ptr[i]);
	w->failed |= v.len > w->cap - w->len;
	if (w->failed || v.len == 0)
		return;
	memcpy(w->out + w->len, v.ptr, v.len);
	w->len += v.len;
}

static void
put_text(struct writer *w, const char *text)
{
	put_view(w, view_of(text));
}

static void
put_crlf(struct writer *w)
{
	w->failed |= w->cap - w->len < 2;
	if (w->failed)
		return;
	w->out[w->len++] = '\r';
	w->out[w->len++] = '\n';
}

static void
put_number(struct writer *w, uint64_t number)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)number);
	put_text(w, text);
}

static void
put_header(struct writer *w, struct view name, struct view value)
{
	put_view(w, name);
	put_text(w, ": ");
	put_view(w, value);
	put_crlf(w);
}

/* Left out when it has no value. */
static void
put_some(struct writer *w, const char *name, struct view value)
{
	if (value.len > 0)
		put_header(w, view_of(name), value);
}

static void
put_length(struct writer *w, uint64_t length)
{
	put_text(w, "Content-Length: ");
	put_number(w, length);
	put_crlf(w);
}

static size_t
finish_head(struct writer *w)
{
	put_crlf(w);
	return w->failed ? 0 : w->len;
}

size_t
http_format_request(char *out, size_t cap, const struct http_upgrade *up)
{
	struct writer w = { .out = out, .cap = cap, .failed = !http_is_target(up->target) };

	put_text(&w, "GET ");
	put_view(&w, up->target);
	put_text(&w, " ");
	put_text(&w, version);
	put_crlf(&w);
	put_some(&w, "Host", up->host);
	put_some(&w, "Authorization", up->authorization);
	put_some(&w, "Connection", view_of("Upgrade"));
	put_some(&w, "Sec-WebSocket-Key", up->key);
	put_some(&w, "Sec-WebSocket-Protocol", up->protocol);
	put_some(&w, "Sec-WebSocket-Version", view_of("13"));
	put_some(&w, "Upgrade", view_of("websocket"));
	put_some(&w, "User-Agent", up->user_agent);
	return finish_head(&w);
}

static void
put_status_line(struct writer *w, unsigned status, struct view reason)
{
	put_text(w, version);
	put_text(w, " ");
	put_number(w, status);
	put_text(w, " ");
	put_view(w, reason);
	put_crlf(w);
}

size_t
http_format_101(char *out, size_t cap, struct view accept, struct view protocol, struct view server)
{
	struct writer w = { .out = out, .cap = cap };

	put_status_line(&w, 101, view_of(http_reason(101)));
	put_some(&w, "Connection", view_of("Upgrade"));
	put_some(&w, "Sec-WebSocket-Accept", accept);
	put_some(&w, "Sec-WebSocket-Protocol", protocol);
	if (server.len > 0)
		put_header(&w, view_of("Server"), server);
	put_some(&w, "Upgrade", view_of("websocket"));
	return finish_head(&w);
}

/* Headers that are about a connection or the framing on it, not about the answer (RFC 9110 7.6.1, RFC 6455 11.3). */
static bool
of_one_connection(struct view name)
{
	static const char *const names[] = { "Connection", "Content-Length", "Transfer-Encoding", "Keep-Alive", "Proxy-Connection", "TE",
		"Trailer", "Upgrade" };
	static const char websocket[] = "Sec-WebSocket-";

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (http_name_is(name, names[i]))
			return true;
	return name.len >= sizeof(websocket) - 1 && http_name_is((struct view){ name.ptr, sizeof(websocket) - 1 }, websocket);
}

size_t
http_format_answer(char *out, size_t cap, unsigned status, struct view reason, const struct http_header *header, size_t nheader,
		   uint64_t body_len, bool close)
{
	struct writer w = { .out = out, .cap = cap, .failed = status < 200 || status > 599 };
	size_t i;

	put_status_line(&w, status, reason);
	for (i = 0; i < nheader; i++) {
		if (of_one_connection(header[i].name))
			continue;
		w.failed |= !http_is_token(header[i].name);
		put_header(&w, header[i].name, header[i].value);
	}
	put_some(&w, "Connection", view_of(close ? "close" : ""));
	put_length(&w, body_len);
	return finish_head(&w);
}

/* ---- heads that are passed on ---- */

static void
put_framing(struct writer *w, const struct http_change *change)
{
	if (change->framing == HTTP_LENGTH)
		put_length(w, change->length);
	else if (change->framing == HTTP_CHUNKED)
		put_some(w, "Transfer-Encoding", view_of("chunked"));
}

static bool
named_in_connection(const struct http_head *head, struct view name)
{
	struct view value, item;
	size_t at = 0;

	while (http_header_next(head, "Connection", &at, &value))
		while (http_list_next(&value, &item))
			if (item.len == name.len && strncasecmp((const char *)item.ptr, (const char *)name.ptr, name.len) == 0)
				return true;
	return false;
}

/* All headers of from that may be passed on, but those in the list left_out, which ends with NULL. */
static void
put_passed(struct writer *w, const struct http_head *from, const char *const *left_out)
{
	for (size_t i = 0; i < from->nheader; i++) {
		struct view name = from->header[i].name;
		const char *const *l = left_out;

		while (*l != NULL && !http_name_is(name, *l))
			l++;
		if (*l == NULL && !of_one_connection(name) && !named_in_connection(from, name))
			put_header(w, name, from->header[i].value);
	}
}

size_t
http_pass_request(char *out, size_t cap, const struct http_head *from, const struct http_change *change)
{
	const char *const left_out[] = { "Host", "Expect", "Proxy-Authorization", change->plain ? "Accept-Encoding" : NULL, NULL };
	struct writer w = { .out = out, .cap = cap, .failed = !http_is_target(from->target) || !http_is_token(from->method) };

	put_view(&w, from->method);
	put_text(&w, " ");
	put_view(&w, from->target);
	put_text(&w, " ");
	put_text(&w, version);
	put_crlf(&w);
	put_some(&w, "Host", change->host);
	put_passed(&w, from, left_out);
	put_framing(&w, change);
	return finish_head(&w);
}

size_t
http_pass_answer(char *out, size_t cap, const struct http_head *from, const struct http_change *change)
{
	const char *const left_out[] = { "Proxy-Authenticate", change->location.len > 0 ? "Location" : NULL, NULL };
	struct writer w = { .out = out, .cap = cap };

	put_status_line(&w, from->status, from->reason);
	put_some(&w, "Location", change->location);
	put_passed(&w, from, left_out);
	put_some(&w, "Connection", view_of(change->close ? "close" : ""));
	put_framing(&w, change);
	return finish_head(&w);
}

/* ---- phrases ---- */

const char *
http_reason(unsigned status)
{
	static const struct {
		unsigned status;
		const char *phrase;
	} phrases[] = {
		{ 100, "Continue" },
		{ 101, "Switching Protocols" },
		{ 200, "OK" },
		{ 301, "Moved Permanently" },
		{ 302, "Found" },
		{ 303, "See Other" },
		{ 307, "Temporary Redirect" },
		{ 308, "Permanent Redirect" },
		{ 400, "Bad Request" },
		{ 401, "Unauthorized" },
		{ 403, "Forbidden" },
		{ 404, "Not Found" },
		{ 405, "Method Not Allowed" },
		{ 408, "Request Timeout" },
		{ 413, "Content Too Large" },
		{ 414, "URI Too Long" },
		{ 417, "Expectation Failed" },
		{ 426, "Upgrade Required" },
		{ 429, "Too Many Requests" },
		{ 431, "Request Header Fields Too Large" },
		{ 500, "Internal Server Error" },
		{ 501, "Not Implemented" },
		{ 502, "Bad Gateway" },
		{ 503, "Service Unavailable" },
		{ 504, "Gateway Timeout" },
	};
	size_t i;

	for (i = 0; i < sizeof(phrases) / sizeof(phrases[0]); i++)
		if (phrases[i].status == status)
			return phrases[i].phrase;
	return "";
}
