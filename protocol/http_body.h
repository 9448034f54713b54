/* Bodies of HTTP/1.1 messages, taken apart as they arrive (RFC 9112 sections 6 and 7).
 *
 * Strict, for what two readers could understand differently is how requests are smuggled: a chunk's size is 1 to 16 hexadecimal digits
 * and CRLF, nothing else (no extension, no blank, no bare LF); what stands behind the last chunk is checked line by line and left out.  A
 * decoder copies nothing and holds no more than a few numbers. */
#ifndef PROTOCOL_HTTP_BODY_H
#define PROTOCOL_HTTP_BODY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/err.h"
#include "protocol/http.h"
#include "protocol/view.h"

struct http_body {
	enum http_framing framing;
	/* of a chunked one: where its reader stands */
	enum { HTTP_BODY_SIZE, HTTP_BODY_SIZE_LF, HTTP_BODY_DATA, HTTP_BODY_DATA_CR, HTTP_BODY_DATA_LF, HTTP_BODY_TRAILER, HTTP_BODY_TRAILER_LF,
	       HTTP_BODY_DONE } at;
	unsigned digits;   /* of the size */
	uint64_t left;	   /* bytes of the body, or of the chunk, still to come */
	size_t trailer;	   /* bytes behind the last chunk so far */
	bool line_empty;   /* of these, the line under way */
};

/* Of a request that was parsed. */
void http_body_of_request(struct http_body *b, const struct http_head *head);
/* Of an answer; head_only: to a HEAD request. */
void http_body_of_answer(struct http_body *b, const struct http_head *head, bool head_only);

/* Nothing more belongs to the message.  (HTTP_UNTIL_CLOSE: never.) */
bool http_body_done(const struct http_body *b);

/* Takes from buf[0..len) up to the end of a piece of the body, *data, which points into buf; *used bytes are consumed.  PROTO_MORE: buf is used up
 * without a piece; PROTO_OK with data->len = 0: the body is done.  PROTO_HTTP_SYNTAX, PROTO_HTTP_TOO_BIG (what is behind the last chunk): the
 * connection is of no more use. */
MUSTCHECK enum proto_err http_body_next(struct http_body *b, const uint8_t *buf, size_t len, size_t *used, struct view *data);

#define HTTP_CHUNK_HEAD_MAX 20 /* bytes: 16 digits, CRLF, and NUL */
/* The line in front of a chunk of len > 0 bytes, behind which CRLF belongs; returns its length. */
size_t http_chunk_head(char out[HTTP_CHUNK_HEAD_MAX], uint64_t len);
#define HTTP_CHUNK_END "0\r\n\r\n" /* behind the last one */

#endif
