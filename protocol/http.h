/* HTTP/1.1 heads, both roles: a strict parser for one request or answer head, and formatters that build a new one (nothing raw is
 * ever forwarded).  RFC 9112 for the syntax, RFC 9110 for what belongs to one connection only, RFC 6455 section 4 for the upgrade to
 * WebSocket.  Bodies: protocol/http_body. */
#ifndef PROTOCOL_HTTP_H
#define PROTOCOL_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/err.h"
#include "protocol/view.h"

#define HTTP_HEAD_MAX 8192   /* bytes of a whole head (facts.md, limits); longer is PROTO_HTTP_TOO_BIG */
#define HTTP_HEADERS_MAX 64  /* header lines */

struct http_header {
	struct view name, value; /* value without surrounding white space */
};

/* All views point into the buffer that was parsed. */
struct http_head {
	/* request */
	struct view method;
	bool is_upgrade;     /* to WebSocket, as http_parse_request wants it */
	bool offers_upgrade; /* names WebSocket in Upgrade, well or not */
	struct view target; /* as sent: path, optionally '?' query; visible ASCII only, starts with '/', holds no '#' */
	struct view path;   /* target up to '?' */
	struct view query;  /* target after '?', without it; empty when there is none */
	/* answer */
	unsigned status; /* 100-599 */
	struct view reason;
	/* both: headers the upgrade needs, empty when absent */
	struct view host;
	struct view key;	   /* Sec-WebSocket-Key, checked to be 24 base64 characters */
	struct view accept;	   /* Sec-WebSocket-Accept */
	struct view protocol;	   /* Sec-WebSocket-Protocol; a request may have more lines of it: http_header_next gives all */
	struct view extensions;	   /* Sec-WebSocket-Extensions; likewise */
	struct view authorization;
	struct view user_agent;
	struct view location;
	struct view retry_after;
	bool has_content_length;
	uint64_t content_length;   /* < 2^63 */
	bool chunked;		   /* Transfer-Encoding: chunked (any other coding is refused, and so are both together) */
	/* every header line in order; header[nheader] and up are not set */
	size_t nheader;
	struct http_header header[HTTP_HEADERS_MAX];
};

/* Parses the request head at buf[0..len).  PROTO_MORE until the empty line is there (also PROTO_HTTP_TOO_BIG as soon as
 * HTTP_HEAD_MAX bytes hold none; obviously wrong input is refused early).  PROTO_OK: *head is set and *used bytes belong to it;
 * what follows is not looked at.  Feed the same bytes and more after PROTO_MORE: a head that is refused is refused with the same
 * error at every longer prefix, so the answer does not depend on how the bytes arrived.
 * Strict: GET, HTTP/1.1, exact one Host, Upgrade: websocket, Connection with upgrade, one Key, Version 13, no body, no
 * Transfer-Encoding, no obs-fold, tokens only in names, no control characters, CRLF line ends; a header that may stand once
 * and stands twice is PROTO_HTTP_DUPLICATE (Connection, and in a request Protocol and Extensions, may repeat).
 * Well-formed but not an upgrade (another method or version 8, say): PROTO_HTTP_NOT_UPGRADE; *head and *used are set.
 * After any other error *head is not to be used. */
MUSTCHECK enum proto_err http_parse_request(const uint8_t *buf, size_t len, struct http_head *head, size_t *used);

/* The same for any request: another method, with a body, not an upgrade (head->is_upgrade).  What only offers an upgrade may have no body
 * either. */
MUSTCHECK enum proto_err http_parse_any(const uint8_t *buf, size_t len, struct http_head *head, size_t *used);

/* Likewise for an answer head.  Any status from 100 to 599 is accepted; for 101 Upgrade and Connection must be right
 * (else PROTO_HTTP_SYNTAX) and there may be no body.  The caller compares accept, protocol and extensions, and parses again
 * behind a 1xx other than 101. */
MUSTCHECK enum proto_err http_parse_response(const uint8_t *buf, size_t len, struct http_head *head, size_t *used);

/* Walks the lines of head called name (any case).  *at starts at 0 and is advanced; returns false at the end, else true with
 * *value = that line's value.  All offered subprotocols: http_list_next over each line of "Sec-WebSocket-Protocol". */
bool http_header_next(const struct http_head *head, const char *name, size_t *at, struct view *value);

/* Walks a comma separated header value (Sec-WebSocket-Protocol).  *rest starts as the whole value and is advanced;
 * returns false at the end, else true with *item = next non-empty element, trimmed.  For lists of tokens: knows no quotes. */
bool http_list_next(struct view *rest, struct view *item);

/* Finds query parameter name ("baas_at") in query, as spelt (an encoded name is another one); returns the raw (still encoded)
 * value of the first; ptr NULL when absent, not NULL when it is there and empty. */
struct view http_query_param(struct view query, const char *name);

/* Whether name is text, in any case (ASCII). */
bool http_name_is(struct view name, const char *text);

struct http_upgrade { /* what a new upgrade request is built from; empty views are left out */
	struct view target, host, key, protocol, authorization, user_agent;
};

enum http_framing { HTTP_NO_BODY, HTTP_LENGTH, HTTP_CHUNKED, HTTP_UNTIL_CLOSE }; /* the last: answers only, RFC 9112 section 6.3 */

/* How a head that is passed on differs from the one that came. */
struct http_change {
	struct view host;	/* request: Host */
	struct view location;	/* answer: in place of its Location; empty: as it is */
	bool plain;		/* request: without Accept-Encoding, so that the answer can be read here */
	enum http_framing framing; /* of the body that follows; an answer HTTP_UNTIL_CLOSE has to say close */
	uint64_t length;	/* HTTP_LENGTH */
	bool close;		/* answer: Connection: close */
};

/* The formatters return the length of the head written to out, which is not NUL-terminated; or 0 when cap (bytes) does
 * not suffice or a view holds what would not stand in one header line: CR, LF, NUL or another control character but tab. */

/* Writes a request head.  0 also when up->target is not one that http_parse_request takes. */
size_t http_format_request(char *out, size_t cap, const struct http_upgrade *up);

/* Writes a 101 answer.  protocol and server may be empty. */
size_t http_format_101(char *out, size_t cap, struct view accept, struct view protocol, struct view server);

/* Writes a head for a body of body_len bytes, which the caller sends after it, with the given headers; close: the connection ends behind
 * it.  Headers that would contradict these, or are about one connection only (Transfer-Encoding, Upgrade, Keep-Alive, Sec-WebSocket-*
 * and the like), are left out, so headers of another answer may be passed.  0 also when status is not 200-599 or a header's name is not a token. */
size_t http_format_answer(char *out, size_t cap, unsigned status, struct view reason, const struct http_header *header, size_t nheader,
			  uint64_t body_len, bool close);

/* Write the head of a request, or an answer, that came from one side, for the other: all its headers but those about one connection only
 * (RFC 9110 section 7.6.1, those that Connection names included), Expect, and what change replaces. */
size_t http_pass_request(char *out, size_t cap, const struct http_head *from, const struct http_change *change);
size_t http_pass_answer(char *out, size_t cap, const struct http_head *from, const struct http_change *change);

/* Whether one of the lines of "Connection" has option ("close"). */
bool http_connection_has(const struct http_head *head, const char *option);

/* Returns the standard phrase of status ("Service Unavailable"), "" when unknown. */
const char *http_reason(unsigned status);

#endif
