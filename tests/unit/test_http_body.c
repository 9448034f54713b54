/* protocol/http_body: bodies as they may be cut, and what is refused; and heads that are passed on. */
#include <stdio.h>
#include <string.h>

#include "protocol/http.h"
#include "protocol/http_body.h"

#include "tests/harness.h"

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

/* Reads text in pieces of `step` bytes; what came in out. */
static enum proto_err
read_body(struct http_body b, const char *text, size_t step, char *out, size_t *used_all)
{
	size_t len = strlen(text), at = 0, end = 0, used, n = 0;
	struct view data;
	enum proto_err err = PROTO_MORE;

	while (!http_body_done(&b) && end < len) {
		end = end + step < len ? end + step : len;
		do {
			err = http_body_next(&b, (const uint8_t *)text + at, end - at, &used, &data);
			at += used;
			if (err != PROTO_OK && err != PROTO_MORE)
				return err;
			memcpy(out + n, data.ptr, data.len);
			n += data.len;
		} while (err == PROTO_OK && !http_body_done(&b));
	}
	out[n] = '\0';
	*used_all = at;
	return http_body_done(&b) ? PROTO_OK : PROTO_MORE;
}

static struct http_body
chunked(void)
{
	struct http_head head = { .status = 200, .chunked = true };
	struct http_body b;

	http_body_of_answer(&b, &head, false);
	return b;
}

TEST(chunked_in_any_pieces)
{
	static const struct {
		const char *in, *out;
		size_t left; /* bytes behind it */
	} rows[] = {
		{ "5\r\nhello\r\n0\r\n\r\n", "hello", 0 },
		{ "5\r\nhello\r\n00006\r\n world\r\n0\r\n\r\nGET /", "hello world", 5 },
		{ "a\r\n0123456789\r\nA\r\n0123456789\r\n000\r\n\r\n", "01234567890123456789", 0 },
		{ "0\r\nX-Sum: 1\r\nY: 2\r\n\r\nZ", "", 1 },
	};
	char out[128];
	size_t used;

	for (size_t i = 0; i < LEN(rows); i++)
		for (size_t step = 1; step <= strlen(rows[i].in); step++) {
			CHECK_U64(read_body(chunked(), rows[i].in, step, out, &used), PROTO_OK);
			CHECK_STR(out, rows[i].out);
			if (step == strlen(rows[i].in))
				CHECK_U64(strlen(rows[i].in) - used, rows[i].left);
		}
}

TEST(chunked_refused)
{
	static const char *const rows[] = { "\r\n", "x\r\n", "5 \r\nhello", " 5\r\nhello", "5;a=b\r\nhello", "5\nhello", "+5\r\nhello", "0x5\r\nhello",
		"-1\r\n", "5\r\nhellox", "5\r\nhello\n", "5\r\nhello\rx", "fffffffffffffffff\r\n", "ffffffffffffffff\r\n", "8000000000000000\r\n",
		"0\r\nX\nY: 1\r\n\r\n", "0\r\n\rx", "00000000000000000\r\n" };
	char out[128];
	size_t used;

	for (size_t i = 0; i < LEN(rows); i++)
		for (size_t step = 1; step <= strlen(rows[i]); step++)
			if (read_body(chunked(), rows[i], step, out, &used) != PROTO_HTTP_SYNTAX)
				harness_fail(__FILE__, __LINE__, "row %zu step %zu was not refused", i, step);
}

TEST(trailers_are_bounded)
{
	struct http_body b = chunked();
	uint8_t piece[100];
	struct view data;
	size_t used;
	enum proto_err err;

	memset(piece, 'x', sizeof(piece));
	CHECK_U64(http_body_next(&b, (const uint8_t *)"0\r\n", 3, &used, &data), PROTO_MORE);
	for (size_t n = 0; (err = http_body_next(&b, piece, sizeof(piece), &used, &data)) == PROTO_MORE; n += used)
		CHECK(n <= HTTP_HEAD_MAX);
	CHECK_U64(err, PROTO_HTTP_TOO_BIG);
}

TEST(what_a_message_has)
{
	struct http_head none = { .status = 200 }, length = { .status = 200, .has_content_length = true, .content_length = 3 };
	struct http_body b;
	char out[16];
	size_t used;

	http_body_of_request(&b, &none);
	CHECK(http_body_done(&b));
	http_body_of_answer(&b, &none, false);
	CHECK_U64(b.framing, HTTP_UNTIL_CLOSE);
	CHECK(!http_body_done(&b));
	http_body_of_answer(&b, &length, true);
	CHECK(http_body_done(&b)); /* to HEAD */
	http_body_of_request(&b, &length);
	CHECK_U64(read_body(b, "abcdef", 2, out, &used), PROTO_OK);
	CHECK_STR(out, "abc");
	CHECK_U64(used, 3);
	length.status = 304;
	http_body_of_answer(&b, &length, false);
	CHECK(http_body_done(&b));
	length.content_length = 0;
	length.status = 200;
	http_body_of_answer(&b, &length, false);
	CHECK(http_body_done(&b));
}

/* ---- heads ---- */

static enum proto_err
parse(const char *text, struct http_head *head)
{
	size_t used;

	return http_parse_any((const uint8_t *)text, strlen(text), head, &used);
}

TEST(any_request)
{
	static const struct {
		const char *text;
		enum proto_err err;
	} rows[] = {
		{ "POST /a?b HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n", PROTO_OK },
		{ "DELETE /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", PROTO_OK },
		{ "GET http://h/a HTTP/1.1\r\nHost: h\r\n\r\n", PROTO_HTTP_SYNTAX },
		{ "GET * HTTP/1.1\r\nHost: h\r\n\r\n", PROTO_HTTP_SYNTAX },
		{ "POST /a HTTP/1.1\r\nContent-Length: 3\r\n\r\n", PROTO_HTTP_SYNTAX },
		{ "POST /a HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n", PROTO_HTTP_DUPLICATE },
		{ "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", PROTO_HTTP_BODY },
		{ "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n", PROTO_HTTP_DUPLICATE },
		{ "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3, 3\r\n\r\n", PROTO_HTTP_SYNTAX },
		{ "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: +3\r\n\r\n", PROTO_HTTP_SYNTAX },
		{ "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", PROTO_HTTP_BODY },
		{ "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n", PROTO_HTTP_BODY },
		{ "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\n\r\n", PROTO_HTTP_SYNTAX },
		{ "POST /a HTTP/1.1\r\nHost: h\r\nA: b\r\n c\r\n\r\n", PROTO_HTTP_SYNTAX },
		{ "POST /a HTTP/1.0\r\nHost: h\r\n\r\n", PROTO_HTTP_SYNTAX },
		{ "POST /a HTTP/1.1\nHost: h\n\n", PROTO_HTTP_SYNTAX },
		{ "GET /a HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\n", PROTO_HTTP_BODY },
	};
	struct http_head head;

	for (size_t i = 0; i < LEN(rows); i++)
		if (parse(rows[i].text, &head) != rows[i].err)
			harness_fail(__FILE__, __LINE__, "row %zu: got %d, want %d", i, (int)parse(rows[i].text, &head), (int)rows[i].err);
	CHECK_U64(parse(rows[0].text, &head), PROTO_OK);
	CHECK(!head.is_upgrade && view_eq(head.method, view_of("POST")) && head.content_length == 3);
}

TEST(passed_on)
{
	struct http_head head;
	struct http_change change = { .host = view_of("api"), .plain = true, .framing = HTTP_LENGTH, .length = 3 };
	char out[1024];
	size_t n;

	CHECK_U64(parse("POST /a?b=c HTTP/1.1\r\nHost: edge\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\nExpect: 100-continue\r\n"
			"Accept-Encoding: gzip\r\nProxy-Authorization: p\r\nAuthorization: Bearer t\r\nContent-Length: 3\r\nX-Own: y\r\n\r\n",
			&head), PROTO_OK);
	n = http_pass_request(out, sizeof(out), &head, &change);
	out[n] = '\0';
	CHECK_STR(out, "POST /a?b=c HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer t\r\nX-Own: y\r\nContent-Length: 3\r\n\r\n");
	for (size_t cap = 0; cap < n; cap++)
		CHECK_U64(http_pass_request(out, cap, &head, &change), 0);
	change.framing = HTTP_CHUNKED;
	change.plain = false;
	n = http_pass_request(out, sizeof(out), &head, &change);
	out[n] = '\0';
	CHECK(strstr(out, "Transfer-Encoding: chunked\r\n") != NULL && strstr(out, "Content-Length") == NULL && strstr(out, "Accept-Encoding: gzip") != NULL);
}

TEST(answers_passed_on)
{
	static const char text[] = "HTTP/1.1 302 Found\r\nLocation: http://api/x\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n";
	struct http_change change = { .location = view_of("https://edge/x"), .framing = HTTP_CHUNKED, .close = true };
	struct http_head head;
	char out[1024];
	size_t n, used;

	CHECK_U64(http_parse_response((const uint8_t *)text, strlen(text), &head, &used), PROTO_OK);
	n = http_pass_answer(out, sizeof(out), &head, &change);
	out[n] = '\0';
	CHECK_STR(out, "HTTP/1.1 302 Found\r\nLocation: https://edge/x\r\nX: y\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n");
}
