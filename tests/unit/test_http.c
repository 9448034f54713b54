/* protocol/http: the two heads as real clients and servers send them, every way a head can be wrong, and what the formatters
 * make of values from outside.
 *
 * The idea: check_head() parses a text at every length from nothing to all of it, each in a block of its own size.  Until the
 * verdict the parser must ask for more, from then on it must keep to the verdict, whatever follows. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/http.h"

#include "tests/harness.h"
#include "tests/peer/trace.h"

#define HOST "Host: localhost:17920\r\n"
#define CONNECTION "Connection: Upgrade\r\n"
#define KEY "Sec-WebSocket-Key: 8XLbTQ7VFqCn9z2rh0KTYQ==\r\n"
#define VERSION "Sec-WebSocket-Version: 13\r\n"
#define UPGRADE "Upgrade: websocket\r\n"
#define GET "GET /realm-sync HTTP/1.1\r\n"
#define REST CONNECTION KEY VERSION UPGRADE "\r\n" /* of a request, after its Host */
#define SWITCHING "HTTP/1.1 101 Switching Protocols\r\n"
#define LEN(array) (sizeof(array) / sizeof((array)[0]))

typedef enum proto_err parse_fn(const uint8_t *buf, size_t len, struct http_head *head, size_t *used);

static struct http_head head; /* of the text parsed last */
static size_t used;
static char text[2 * HTTP_HEAD_MAX]; /* a head that a test puts together */

/* Parses text[0..len) at every length.  verdict_at: the length at which the verdict must be known, 0 = do not ask. */
static void
check_head(parse_fn *parse, const char *in, size_t len, enum proto_err want, size_t verdict_at)
{
	enum proto_err err = PROTO_MORE;
	size_t n, at = 0;

	for (n = 0; n <= len; n++) {
		uint8_t *copy = malloc(n);
		enum proto_err now;

		if (n > 0)
			memcpy(copy, in, n);
		now = parse(copy, n, &head, &used);
		free(copy);
		if (err == PROTO_MORE && now != PROTO_MORE)
			at = n;
		else
			CHECK_U64(now, err);
		err = now;
		if (err == PROTO_OK)
			CHECK_U64(used, at);
	}
	CHECK_U64(err, want);
	if (verdict_at > 0)
		CHECK_U64(at, verdict_at);
	CHECK_U64(parse((const uint8_t *)in, len, &head, &used), want); /* leaves head with views that live */
}

static void
check_view(struct view got, const char *want)
{
	CHECK_MEM(got.ptr, got.len, want, strlen(want));
}

static const char real_request[] = /* as recorded, shorter */
	"GET /realm-sync?baas_at=dG9rZW4=:c2ln HTTP/1.1\r\n" HOST CONNECTION KEY
	"Sec-WebSocket-Protocol: com.mongodb.realm-sync#14, com.mongodb.realm-sync#13\r\n" VERSION UPGRADE
	"User-Agent: peer-harness\r\n\r\n";

static const char real_answer[] =
	SWITCHING CONNECTION "Sec-WebSocket-Accept: aXqad2hbDgmNQOwQEj1oA2Yn980=\r\n"
	"Sec-WebSocket-Protocol: com.mongodb.realm-sync#14\r\nServer: RealmSync/14.14.0\r\n" UPGRADE "\r\n";

TEST(http_real_request)
{
	size_t len = strlen(real_request);

	check_head(http_parse_request, real_request, len, PROTO_OK, len);
	check_view(head.target, "/realm-sync?baas_at=dG9rZW4=:c2ln");
	check_view(head.path, "/realm-sync");
	check_view(head.query, "baas_at=dG9rZW4=:c2ln");
	check_view(head.host, "localhost:17920");
	check_view(head.key, "8XLbTQ7VFqCn9z2rh0KTYQ==");
	check_view(head.protocol, "com.mongodb.realm-sync#14, com.mongodb.realm-sync#13");
	check_view(head.user_agent, "peer-harness");
	check_view(head.authorization, "");
	check_view(head.extensions, "");
	CHECK_U64(head.nheader, 7);
	check_view(head.header[6].name, "User-Agent");
	check_view(head.header[6].value, "peer-harness");

	(void)snprintf(text, sizeof(text), "%s\x82\x05GET \n\n", real_request); /* frames behind it, in the same read */
	check_head(http_parse_request, text, strlen(text), PROTO_OK, len);
	CHECK_U64(used, len);
}

TEST(http_real_answer)
{
	size_t len = strlen(real_answer);

	check_head(http_parse_response, real_answer, len, PROTO_OK, len);
	CHECK_U64(head.status, 101);
	check_view(head.reason, "Switching Protocols");
	check_view(head.accept, "aXqad2hbDgmNQOwQEj1oA2Yn980=");
	check_view(head.protocol, "com.mongodb.realm-sync#14");
	CHECK(!head.has_content_length && !head.chunked);
	CHECK_U64(head.nheader, 5);
	(void)snprintf(text, sizeof(text), "%s%c%c", real_answer, 0x82, 0);
	check_head(http_parse_response, text, len + 2, PROTO_OK, len);
	CHECK_U64(used, len);
}

TEST(http_traces_both_ways)
{
	static uint8_t out[HTTP_HEAD_MAX];
	struct trace_event ev;
	char pattern[4096];
	size_t i, n, heads = 0;
	glob_t found;

	if (harness_shared() == NULL)
		SKIP("no traces beside the repository");
	(void)snprintf(pattern, sizeof(pattern), "%s/data/traces/*.jsonl", harness_shared());
	if (glob(pattern, 0, NULL, &found) != 0)
		SKIP("no traces beside the repository");
	for (i = 0; i < found.gl_pathc; i++) {
		struct trace *tr = trace_open(found.gl_pathv[i]);

		CHECK(tr != NULL);
		while (trace_next(tr, &ev) == 1) {
			if (ev.kind != TRACE_HTTP)
				continue;
			heads++;
			check_head(ev.from_client ? http_parse_request : http_parse_response, (const char *)ev.text.ptr,
				   ev.text.len, PROTO_OK, ev.text.len);
			if (ev.from_client) {
				n = http_format_request((char *)out, sizeof(out),
							&(struct http_upgrade){ head.target, head.host, head.key, head.protocol,
										head.authorization, head.user_agent });
			} else {
				struct view server = { NULL, 0 };
				size_t at = 0;

				(void)http_header_next(&head, "server", &at, &server);
				n = http_format_101((char *)out, sizeof(out), head.accept, head.protocol, server);
			}
			CHECK_MEM(out, n, ev.text.ptr, ev.text.len);
		}
		trace_close(tr);
	}
	globfree(&found);
	CHECK(heads > 0);
}

TEST(http_request_accepted)
{
	static const char *const rows[] = {
		GET HOST REST,
		"GET / HTTP/1.1\r\n" HOST REST,
		"GET /a?b=c?d&e=%20/~ HTTP/1.1\r\n" HOST REST,
		GET UPGRADE VERSION KEY CONNECTION HOST "\r\n",
		GET "hOST:localhost\r\ncONNECTION:\tupgrade \t\r\nSEC-WEBSOCKET-KEY:8XLbTQ7VFqCn9z2rh0KTYQ==\r\n"
		    "sec-websocket-version:13\r\nUPGRADE:WebSocket\r\n\r\n",
		GET "Host: [2001:db8::1]:7800\r\n" REST,
		GET HOST "Connection: keep-alive, ,Upgrade\r\n" KEY VERSION UPGRADE "\r\n",
		GET HOST "Connection: keep-alive\r\nConnection: close , upgrade\r\n" KEY VERSION UPGRADE "\r\n",
		GET HOST CONNECTION KEY VERSION "Upgrade: h2c, websocket\r\n\r\n",
		GET HOST "Content-Length: 0\r\n" REST,
		GET HOST "X:\r\nX: \r\nX: \t a\tb \xe4\xff~\r\n!#$%&'*+-.^_`|~09azAZ: x\r\n" REST,
		GET HOST "Sec-WebSocket-Extensions: a\r\nSec-WebSocket-Extensions: b\r\n" REST,
		GET HOST "Cookie: a\r\nCookie: b\r\nVia: 1.1 x\r\nVia: 1.1 y\r\n" REST,
	};
	size_t i;

	for (i = 0; i < LEN(rows); i++)
		check_head(http_parse_request, rows[i], strlen(rows[i]), PROTO_OK, strlen(rows[i]));
}

TEST(http_request_refused)
{
	static const struct {
		const char *in;
		enum proto_err err;
	} rows[] = {
		/* request line */
		{ "GET  / HTTP/1.1\r\n" HOST REST, PROTO_HTTP_SYNTAX },
		{ "GET /  HTTP/1.1\r\n" HOST REST, PROTO_HTTP_SYNTAX },
		{ "GET / HTTP/1.1 \r\n" HOST REST, PROTO_HTTP_SYNTAX },
		{ "GET\t/ HTTP/1.1\r\n" HOST REST, PROTO_HTTP_SYNTAX },
		{ "GET /\tHTTP/1.1\r\n" HOST REST, PROTO_HTTP_SYNTAX },
		{ "GET /\r\n" HOST REST, PROTO_HTTP_SYNTAX },
		{ "GET / HTTP/1.0\r\n" HOST REST, PROTO_HTTP_SYNTAX },
		{ "GET / HTTP/2.0\r\n" HOST REST, PROTO_HTTP_SYNTAX },
		{ "GET / HTTP/1.11\r\n" HOST REST, PROTO_HTTP_SYNTAX },
		{ "GET / http/1.1\r\n" HOST REST, PROTO_HTTP_SYNTAX },
		{ "GET http://h/ HTTP/1.1\r\n" HOST REST, PROTO_HTTP_SYNTAX },
		{ "GET * HTTP/1.1\r\n" HOST REST, PROTO_HTTP_SYNTAX },
		{ "GET /a#b HTTP/1.1\r\n" HOST REST, PROTO_HTTP_SYNTAX },
		{ "GET /\xc3\xa4 HTTP/1.1\r\n" HOST REST, PROTO_HTTP_SYNTAX },
		{ "G(T / HTTP/1.1\r\n" HOST REST, PROTO_HTTP_SYNTAX },
		{ "\r\n" GET HOST REST, PROTO_HTTP_SYNTAX },
		{ "HTTP/1.1 200 OK\r\n\r\n", PROTO_HTTP_SYNTAX },
		/* lines */
		{ "GET / HTTP/1.1\n" HOST REST, PROTO_HTTP_SYNTAX },
		{ GET "Host: a\n" REST, PROTO_HTTP_SYNTAX },
		{ GET "Host: a\r\r\n" REST, PROTO_HTTP_SYNTAX },
		{ GET "Host: a\rX: b\r\n" REST, PROTO_HTTP_SYNTAX },
		{ GET HOST CONNECTION KEY VERSION UPGRADE "\n", PROTO_HTTP_SYNTAX },
		{ GET HOST "X: a\r\n b\r\n" REST, PROTO_HTTP_SYNTAX },
		{ GET HOST "X: a\r\n\tb: c\r\n" REST, PROTO_HTTP_SYNTAX },
		{ GET " " HOST REST, PROTO_HTTP_SYNTAX },
		{ GET HOST "X : a\r\n" REST, PROTO_HTTP_SYNTAX },
		{ GET "Host : a\r\n" REST, PROTO_HTTP_SYNTAX },
		{ GET HOST "Transfer-Encoding\t: chunked\r\n" REST, PROTO_HTTP_SYNTAX },
		{ GET HOST ": a\r\n" REST, PROTO_HTTP_SYNTAX },
		{ GET HOST "no colon\r\n" REST, PROTO_HTTP_SYNTAX },
		{ GET HOST "X\xe4: a\r\n" REST, PROTO_HTTP_SYNTAX },
		{ GET HOST "X: a\x01\r\n" REST, PROTO_HTTP_SYNTAX },
		{ GET HOST "X: a\x7f\r\n" REST, PROTO_HTTP_SYNTAX },
		{ GET HOST "X: a\x0b\r\n" REST, PROTO_HTTP_SYNTAX },
		{ GET HOST "X\x1b[1m: a\r\n" REST, PROTO_HTTP_SYNTAX },
		/* values */
		{ GET REST, PROTO_HTTP_SYNTAX },
		{ GET "Host:\r\n" REST, PROTO_HTTP_SYNTAX },
		{ GET "Host: a b\r\n" REST, PROTO_HTTP_SYNTAX },
		{ GET "Host: a,b\r\n" REST, PROTO_HTTP_SYNTAX },
		{ GET "Host: a/b\r\n" REST, PROTO_HTTP_SYNTAX },
		{ GET "Host: u@a\r\n" REST, PROTO_HTTP_SYNTAX },
		{ GET HOST CONNECTION VERSION UPGRADE "Sec-WebSocket-Key:\r\n\r\n", PROTO_HTTP_SYNTAX },
		{ GET HOST CONNECTION VERSION UPGRADE "Sec-WebSocket-Key: 8XLbTQ7VFqCn9z2rh0KTY===\r\n\r\n", PROTO_HTTP_SYNTAX },
		{ GET HOST CONNECTION VERSION UPGRADE "Sec-WebSocket-Key: 8XLbTQ7VFqCn9z2rh0KTYQA=\r\n\r\n", PROTO_HTTP_SYNTAX },
		{ GET HOST CONNECTION VERSION UPGRADE "Sec-WebSocket-Key: 8XLbTQ7VFqCn9z2rh0KTYQ=\r\n\r\n", PROTO_HTTP_SYNTAX },
		{ GET HOST CONNECTION VERSION UPGRADE "Sec-WebSocket-Key: 8XLbTQ7VFqCn9z2rh0KTYQQ==\r\n\r\n", PROTO_HTTP_SYNTAX },
		{ GET HOST CONNECTION VERSION UPGRADE "Sec-WebSocket-Key: 8XLbTQ7VFqCn-z2rh0KTYQ==\r\n\r\n", PROTO_HTTP_SYNTAX },
		{ GET HOST CONNECTION VERSION UPGRADE "Sec-WebSocket-Key: 8XLbTQ7VFqCn9z2rh0KTYQ=a\r\n\r\n", PROTO_HTTP_SYNTAX },
		{ GET HOST CONNECTION VERSION UPGRADE "Sec-WebSocket-Key: 8XLbTQ7VFqCn9z2rh0KTYQ===\r\n\r\n", PROTO_HTTP_SYNTAX },
		/* twice */
		{ GET HOST HOST REST, PROTO_HTTP_DUPLICATE },
		{ GET HOST "hOsT: other\r\n" REST, PROTO_HTTP_DUPLICATE },
		{ GET "Host:\r\n" HOST REST, PROTO_HTTP_DUPLICATE },
		{ GET HOST KEY REST, PROTO_HTTP_DUPLICATE },
		{ GET HOST VERSION REST, PROTO_HTTP_DUPLICATE },
		{ GET HOST UPGRADE REST, PROTO_HTTP_DUPLICATE },
		{ GET HOST "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n" REST, PROTO_HTTP_DUPLICATE },
		{ GET HOST "User-Agent: a\r\nuser-agent: b\r\n" REST, PROTO_HTTP_DUPLICATE },
		{ GET HOST "Sec-WebSocket-Accept: a\r\nSec-WebSocket-Accept: b\r\n" REST, PROTO_HTTP_DUPLICATE },
		{ GET HOST "Content-Length: 0\r\nContent-Length: 0\r\n" REST, PROTO_HTTP_DUPLICATE },
		{ GET HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n" REST, PROTO_HTTP_DUPLICATE },
		/* bodies */
		{ GET HOST "Content-Length: 5\r\n" REST, PROTO_HTTP_BODY },
		{ GET HOST "Transfer-Encoding: chunked\r\n" REST, PROTO_HTTP_BODY },
		{ GET HOST "Transfer-Encoding:\r\n" REST, PROTO_HTTP_BODY },
		{ GET HOST "Transfer-Encoding: identity\r\nContent-Length: 0\r\n" REST, PROTO_HTTP_BODY },
		{ "POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello", PROTO_HTTP_BODY },
		{ GET HOST "Content-Length: -1\r\n" REST, PROTO_HTTP_SYNTAX },
		{ GET HOST "Content-Length: +0\r\n" REST, PROTO_HTTP_SYNTAX },
		{ GET HOST "Content-Length: 0, 0\r\n" REST, PROTO_HTTP_SYNTAX },
		{ GET HOST "Content-Length:\r\n" REST, PROTO_HTTP_SYNTAX },
		{ GET HOST "Content-Length: 0x0\r\n" REST, PROTO_HTTP_SYNTAX },
		/* well-formed, another wish */
		{ GET HOST "\r\n", PROTO_HTTP_NOT_UPGRADE },
		{ "POST / HTTP/1.1\r\n" HOST REST, PROTO_HTTP_NOT_UPGRADE },
		{ "get / HTTP/1.1\r\n" HOST REST, PROTO_HTTP_NOT_UPGRADE },
		{ "HEAD / HTTP/1.1\r\n" HOST "\r\n", PROTO_HTTP_NOT_UPGRADE },
		{ GET HOST KEY VERSION UPGRADE "\r\n", PROTO_HTTP_NOT_UPGRADE },
		{ GET HOST "Connection: upgraded\r\n" KEY VERSION UPGRADE "\r\n", PROTO_HTTP_NOT_UPGRADE },
		{ GET HOST CONNECTION VERSION UPGRADE "\r\n", PROTO_HTTP_NOT_UPGRADE },
		{ GET HOST CONNECTION KEY UPGRADE "\r\n", PROTO_HTTP_NOT_UPGRADE },
		{ GET HOST CONNECTION KEY UPGRADE "Sec-WebSocket-Version: 8\r\n\r\n", PROTO_HTTP_NOT_UPGRADE },
		{ GET HOST CONNECTION KEY UPGRADE "Sec-WebSocket-Version: 13, 8\r\n\r\n", PROTO_HTTP_NOT_UPGRADE },
		{ GET HOST CONNECTION KEY VERSION "\r\n", PROTO_HTTP_NOT_UPGRADE },
		{ GET HOST CONNECTION KEY VERSION "Upgrade: h2c\r\n\r\n", PROTO_HTTP_NOT_UPGRADE },
		{ GET HOST CONNECTION KEY VERSION "Upgrade: websocket/1\r\n\r\n", PROTO_HTTP_NOT_UPGRADE },
	};
	size_t i;

	for (i = 0; i < LEN(rows); i++) {
		check_head(http_parse_request, rows[i].in, strlen(rows[i].in), rows[i].err, 0);
		if (harness_failed())
			harness_fail(__FILE__, __LINE__, "in row %zu: %.120s", i, rows[i].in);
		if (harness_failed())
			return;
	}
	check_head(http_parse_request, GET "X: a\0b\r\n" HOST REST, sizeof(GET "X: a\0b\r\n" HOST REST) - 1, PROTO_HTTP_SYNTAX,
		   sizeof(GET) + 4);
}

TEST(http_not_upgrade_fills_head)
{
	static const char in[] = "GET /status?x HTTP/1.1\r\n" HOST "User-Agent: curl\r\n\r\n";

	check_head(http_parse_request, in, strlen(in), PROTO_HTTP_NOT_UPGRADE, strlen(in));
	check_view(head.path, "/status");
	check_view(head.user_agent, "curl");
	CHECK_U64(used, strlen(in));
}

TEST(http_refused_early)
{
	static const struct {
		parse_fn *parse;
		const char *in;
		size_t at; /* bytes after which it must be refused */
	} rows[] = {
		{ http_parse_request, "\x16\x03\x01\x02", 1 }, /* TLS on a plain port */
		{ http_parse_request, "\r\n", 2 },
		{ http_parse_request, " GET", 1 },
		{ http_parse_request, "GET\t", 4 },
		{ http_parse_request, "GET x", 5 },
		{ http_parse_request, "GET / HTTP/1.1\n", 15 },
		{ http_parse_request, "GET / HTTP/1.1\rX", 16 },
		{ http_parse_request, "GET / HTTP/1.1\r\nX\x02", 18 },
		{ http_parse_request, "GET / HTTP/1.2\r\nX", 16 },
		{ http_parse_request, "aaaaaaaaaaaaaaaaaaaaaaaa", 21 },
		{ http_parse_request, "SSH-2.0-OpenSSH_9.2\r\n", 21 },
		{ http_parse_response, "\x15\x03", 1 },
		{ http_parse_response, "<html>", 1 },
		{ http_parse_response, "HTTP/2 200", 6 },
		{ http_parse_response, "HTTP/1.0 200", 8 },
		{ http_parse_response, "HTTP/1.1x", 9 },
		{ http_parse_response, "HTTP/1.1 200 OK\n", 16 },
	};
	size_t i;

	for (i = 0; i < LEN(rows); i++)
		check_head(rows[i].parse, rows[i].in, strlen(rows[i].in), PROTO_HTTP_SYNTAX, rows[i].at);
}

/* Puts a request together whose head has len bytes, filled up by one header. */
static void
request_of(size_t len)
{
	size_t n = (size_t)sprintf(text, "%sX: ", GET HOST), end = strlen("\r\n" REST);

	memset(text + n, 'x', len - n - end);
	(void)strcpy(text + len - end, "\r\n" REST);
}

TEST(http_limits)
{
	size_t i, n;

	request_of(HTTP_HEAD_MAX);
	check_head(http_parse_request, text, HTTP_HEAD_MAX, PROTO_OK, HTTP_HEAD_MAX);
	request_of(HTTP_HEAD_MAX + 1);
	check_head(http_parse_request, text, HTTP_HEAD_MAX + 1, PROTO_HTTP_TOO_BIG, HTTP_HEAD_MAX);
	n = (size_t)sprintf(text, "HTTP/1.1 200 ");
	memset(text + n, 'x', HTTP_HEAD_MAX + 10);
	check_head(http_parse_response, text, HTTP_HEAD_MAX + 10, PROTO_HTTP_TOO_BIG, HTTP_HEAD_MAX);

	n = (size_t)sprintf(text, "%s", GET HOST);
	for (i = 1 + 4; i < HTTP_HEADERS_MAX; i++) /* Host, and the four of REST */
		n += (size_t)sprintf(text + n, "X:\r\n");
	(void)strcpy(text + n, REST);
	check_head(http_parse_request, text, strlen(text), PROTO_OK, strlen(text));
	CHECK_U64(head.nheader, HTTP_HEADERS_MAX);
	(void)strcpy(text + n, "X:\r\n" REST);
	check_head(http_parse_request, text, strlen(text), PROTO_HTTP_TOO_BIG, strlen(text) - 2);
}

TEST(http_answers)
{
	static const struct {
		const char *in;
		enum proto_err err;
		unsigned status;
	} rows[] = {
		{ "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno", PROTO_OK, 401 },
		{ "HTTP/1.1 503 \r\nRetry-After: 5\r\n\r\n", PROTO_OK, 503 },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", PROTO_OK, 200 },
		{ "HTTP/1.1 100 Continue\r\n\r\n", PROTO_OK, 100 },
		{ "HTTP/1.1 599 \xe4 \t x\r\n\r\n", PROTO_OK, 599 },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\n\r\n", PROTO_OK, 200 },
		{ "HTTP/1.1 426 Upgrade Required\r\n" VERSION "Sec-WebSocket-Version: 8\r\n\r\n", PROTO_OK, 426 },
		{ SWITCHING "Upgrade: WEBSOCKET\r\nConnection: x,UPGRADE\r\nContent-Length: 0\r\n\r\n", PROTO_OK, 101 },
		{ SWITCHING CONNECTION "\r\n", PROTO_HTTP_SYNTAX, 0 },
		{ SWITCHING UPGRADE "\r\n", PROTO_HTTP_SYNTAX, 0 },
		{ SWITCHING UPGRADE "Connection: close\r\n\r\n", PROTO_HTTP_SYNTAX, 0 },
		{ SWITCHING CONNECTION "Upgrade: h2c, websocket\r\n\r\n", PROTO_HTTP_SYNTAX, 0 },
		{ SWITCHING CONNECTION UPGRADE "Content-Length: 1\r\n\r\n", PROTO_HTTP_BODY, 0 },
		{ SWITCHING CONNECTION UPGRADE "Transfer-Encoding: chunked\r\n\r\n", PROTO_HTTP_BODY, 0 },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", PROTO_HTTP_BODY, 0 },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", PROTO_HTTP_BODY, 0 },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775808\r\n\r\n", PROTO_HTTP_SYNTAX, 0 },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551617\r\n\r\n", PROTO_HTTP_SYNTAX, 0 },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", PROTO_HTTP_DUPLICATE, 0 },
		{ SWITCHING CONNECTION UPGRADE "Sec-WebSocket-Accept: a\r\nSec-WebSocket-Accept: a\r\n\r\n",
		  PROTO_HTTP_DUPLICATE, 0 },
		{ SWITCHING CONNECTION UPGRADE "Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: b\r\n\r\n",
		  PROTO_HTTP_DUPLICATE, 0 },
		{ SWITCHING CONNECTION UPGRADE "Sec-WebSocket-Extensions: a\r\nSec-WebSocket-Extensions: b\r\n\r\n",
		  PROTO_HTTP_DUPLICATE, 0 },
		{ SWITCHING CONNECTION UPGRADE UPGRADE "\r\n", PROTO_HTTP_DUPLICATE, 0 },
		{ "HTTP/1.1 302 Found\r\nLocation: /a\r\nLocation: /b\r\n\r\n", PROTO_HTTP_DUPLICATE, 0 },
		{ "HTTP/1.1 200\r\n\r\n", PROTO_HTTP_SYNTAX, 0 },
		{ "HTTP/1.1  200 OK\r\n\r\n", PROTO_HTTP_SYNTAX, 0 },
		{ "HTTP/1.1 20 OK\r\n\r\n", PROTO_HTTP_SYNTAX, 0 },
		{ "HTTP/1.1 2000 OK\r\n\r\n", PROTO_HTTP_SYNTAX, 0 },
		{ "HTTP/1.1 099 OK\r\n\r\n", PROTO_HTTP_SYNTAX, 0 },
		{ "HTTP/1.1 600 OK\r\n\r\n", PROTO_HTTP_SYNTAX, 0 },
		{ "HTTP/1.1 2x0 OK\r\n\r\n", PROTO_HTTP_SYNTAX, 0 },
		{ "HTTP/1.1 200 OK\r\n folded: x\r\n\r\n", PROTO_HTTP_SYNTAX, 0 },
	};
	size_t i;

	for (i = 0; i < LEN(rows); i++) {
		check_head(http_parse_response, rows[i].in, strlen(rows[i].in), rows[i].err, 0);
		if (rows[i].err == PROTO_OK)
			CHECK_U64(head.status, rows[i].status);
	}
}

TEST(http_answer_values)
{
	static const char in[] = "HTTP/1.1 308 Permanent Redirect\r\nLocation: https://eu.example/x\r\nRetry-After: 7\r\n"
				 "Content-Length: 12\r\n\r\n";
	static const char chunked[] = "HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n";

	check_head(http_parse_response, in, strlen(in), PROTO_OK, strlen(in));
	check_view(head.location, "https://eu.example/x");
	check_view(head.retry_after, "7");
	CHECK(head.has_content_length && !head.chunked);
	CHECK_U64(head.content_length, 12);
	check_head(http_parse_response, chunked, strlen(chunked), PROTO_OK, strlen(chunked));
	CHECK(!head.has_content_length && head.chunked);
}

TEST(http_lists)
{
	static const struct {
		const char *in, *items; /* each followed by '|' */
	} rows[] = {
		{ "", "" },
		{ "a", "a|" },
		{ "a,b", "a|b|" },
		{ " a\t,\tb ,c d", "a|b|c d|" },
		{ ",, ,a,,", "a|" },
		{ " , ", "" },
		{ "com.mongodb.realm-sync#14, com.mongodb.realm-sync/7", "com.mongodb.realm-sync#14|com.mongodb.realm-sync/7|" },
	};
	struct view rest, item;
	size_t i, n;

	for (i = 0; i < LEN(rows); i++) {
		rest = view_of(rows[i].in);
		for (n = 0, text[0] = '\0'; http_list_next(&rest, &item);)
			n += (size_t)sprintf(text + n, "%.*s|", (int)item.len, (const char *)item.ptr);
		CHECK_STR(text, rows[i].items);
	}
	rest = (struct view){ NULL, 0 };
	CHECK(!http_list_next(&rest, &item));
}

TEST(http_protocols_on_several_lines)
{
	static const char in[] = GET HOST "Sec-WebSocket-Protocol: a, b\r\nX: y\r\nSEC-WEBSOCKET-PROTOCOL:\r\n"
					  "sec-websocket-protocol: c\r\n" REST;
	struct view line, item;
	size_t at = 0, n = 0;

	check_head(http_parse_request, in, strlen(in), PROTO_OK, strlen(in));
	check_view(head.protocol, "a, b");
	while (http_header_next(&head, "Sec-WebSocket-Protocol", &at, &line))
		while (http_list_next(&line, &item))
			n += (size_t)sprintf(text + n, "%.*s|", (int)item.len, (const char *)item.ptr);
	CHECK_STR(text, "a|b|c|");
	at = 0;
	CHECK(!http_header_next(&head, "Sec-WebSocket", &at, &line));
}

TEST(http_query_params)
{
	static const struct {
		const char *query, *name, *value; /* value NULL = absent */
	} rows[] = {
		{ "baas_at=tok", "baas_at", "tok" },
		{ "a=b&baas_at=t=o=k", "baas_at", "t=o=k" },
		{ "a=b&baas_at=", "baas_at", "" },
		{ "a=b&baas_at", "baas_at", "" },
		{ "baas_at&a=b", "baas_at", "" },
		{ "baas_at=1&baas_at=2", "baas_at", "1" },
		{ "xbaas_at=1&baas_atx=2&BAAS_AT=3&baas%5fat=4", "baas_at", NULL },
		{ "a=baas_at&b=baas_at=3", "baas_at", NULL },
		{ "&&x=1&", "x", "1" },
		{ "", "baas_at", NULL },
	};
	size_t i;

	for (i = 0; i < LEN(rows); i++) {
		struct view v = http_query_param(view_of(rows[i].query), rows[i].name);

		CHECK_U64(v.ptr != NULL, rows[i].value != NULL);
		if (v.ptr != NULL)
			check_view(v, rows[i].value);
	}
	CHECK(http_query_param((struct view){ NULL, 0 }, "x").ptr == NULL);
}

TEST(http_format_request_bytes)
{
	struct http_upgrade up = { view_of("/x?baas_at=t"),	view_of("h:1"),	     view_of("8XLbTQ7VFqCn9z2rh0KTYQ=="),
				   view_of("p#1, p#2"), view_of("Bearer t"), view_of("agent") };
	static const char all[] = "GET /x?baas_at=t HTTP/1.1\r\nHost: h:1\r\nAuthorization: Bearer t\r\n" CONNECTION KEY
				  "Sec-WebSocket-Protocol: p#1, p#2\r\n" VERSION UPGRADE "User-Agent: agent\r\n\r\n";
	static const char least[] = "GET /x?baas_at=t HTTP/1.1\r\nHost: h:1\r\n" CONNECTION KEY VERSION UPGRADE "\r\n";
	size_t cap;

	CHECK_MEM(text, http_format_request(text, sizeof(text), &up), all, strlen(all));
	for (cap = 0; cap <= strlen(all); cap++) {
		char *out = malloc(cap);
		size_t n = http_format_request(out, cap, &up);

		free(out);
		CHECK_U64(n, cap < strlen(all) ? 0 : cap);
	}
	up.protocol = up.authorization = up.user_agent = (struct view){ NULL, 0 };
	CHECK_MEM(text, http_format_request(text, sizeof(text), &up), least, strlen(least));
}

TEST(http_format_answers_bytes)
{
	static const struct http_header headers[] = {
		{ { (const uint8_t *)"Retry-After", 11 }, { (const uint8_t *)"5", 1 } },
		{ { (const uint8_t *)"CONTENT-LENGTH", 14 }, { (const uint8_t *)"77", 2 } },
		{ { (const uint8_t *)"Connection", 10 }, { (const uint8_t *)"keep-alive", 10 } },
		{ { (const uint8_t *)"transfer-encoding", 17 }, { (const uint8_t *)"chunked", 7 } },
		{ { (const uint8_t *)"Upgrade", 7 }, { (const uint8_t *)"websocket", 9 } },
		{ { (const uint8_t *)"sec-websocket-accept", 20 }, { (const uint8_t *)"a=", 2 } },
		{ { (const uint8_t *)"Keep-Alive", 10 }, { (const uint8_t *)"timeout=5", 9 } },
		{ { (const uint8_t *)"X", 1 }, { NULL, 0 } },
	};
	static const char refusal[] =
		"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nX: \r\nConnection: close\r\nContent-Length: 12\r\n\r\n";
	static const char least[] = SWITCHING CONNECTION "Sec-WebSocket-Accept: a=\r\n" UPGRADE "\r\n";
	struct view none = { NULL, 0 };
	size_t cap, n;

	CHECK_MEM(text, http_format_101(text, sizeof(text), view_of("a="), none, none), least, strlen(least));
	n = http_format_101(text, sizeof(text), view_of("aXqad2hbDgmNQOwQEj1oA2Yn980="), view_of("com.mongodb.realm-sync#14"),
			    view_of("RealmSync/14.14.0"));
	CHECK_MEM(text, n, real_answer, strlen(real_answer));
	n = http_format_answer(text, sizeof(text), 503, view_of(http_reason(503)), headers, LEN(headers), 12, true);
	CHECK_MEM(text, n, refusal, strlen(refusal));
	for (cap = 0; cap <= strlen(refusal); cap++)
		CHECK_U64(http_format_answer(text, cap, 503, view_of("Service Unavailable"), headers, LEN(headers), 12, true),
			  cap < strlen(refusal) ? 0 : cap);
	CHECK_U64(http_format_answer(text, sizeof(text), 101, none, NULL, 0, 0, true), 0);
	CHECK_U64(http_format_answer(text, sizeof(text), 600, none, NULL, 0, 0, true), 0);
}

TEST(http_format_no_injection)
{
	static const struct {
		const char *bytes;
		size_t len;
	} bad[] = { { "a\r\nX: y", 7 }, { "a\n", 2 }, { "\r", 1 }, { "a\0b", 3 }, { "\x7f", 1 }, { "\x1b[0m", 4 } };
	static const char *const targets[] = { "/ HTTP/1.1", "x", "/#", "/\xe4", "/\t", "" };
	struct view ok = view_of("/fine"), none = { NULL, 0 };
	size_t i, field;

	for (i = 0; i < LEN(bad); i++) {
		struct view evil = { (const uint8_t *)bad[i].bytes, bad[i].len };
		struct http_header named = { evil, none }, valued = { view_of("X"), evil };

		for (field = 0; field < 6; field++) {
			struct view v[6] = { ok, ok, ok, ok, ok, ok };
			struct http_upgrade up;

			v[field] = evil;
			up = (struct http_upgrade){ v[0], v[1], v[2], v[3], v[4], v[5] };
			CHECK_U64(http_format_request(text, sizeof(text), &up), 0);
		}
		CHECK_U64(http_format_101(text, sizeof(text), evil, none, none), 0);
		CHECK_U64(http_format_101(text, sizeof(text), ok, evil, none), 0);
		CHECK_U64(http_format_101(text, sizeof(text), ok, none, evil), 0);
		CHECK_U64(http_format_answer(text, sizeof(text), 503, evil, NULL, 0, 0, true), 0);
		CHECK_U64(http_format_answer(text, sizeof(text), 503, none, &valued, 1, 0, true), 0);
		CHECK_U64(http_format_answer(text, sizeof(text), 503, none, &named, 1, 0, true), 0);
	}
	for (i = 0; i < LEN(targets); i++) {
		struct http_upgrade up = { .target = view_of(targets[i]), .host = ok, .key = ok };

		CHECK_U64(http_format_request(text, sizeof(text), &up), 0);
	}
	CHECK_U64(http_format_answer(text, sizeof(text), 503, none, &(struct http_header){ view_of("X:"), ok }, 1, 0, true), 0);
	CHECK_U64(http_format_answer(text, sizeof(text), 503, none, &(struct http_header){ none, ok }, 1, 0, true), 0);
}

TEST(http_reasons)
{
	CHECK_STR(http_reason(101), "Switching Protocols");
	CHECK_STR(http_reason(503), "Service Unavailable");
	CHECK_STR(http_reason(299), "");
	CHECK_STR(http_reason(0), "");
}
