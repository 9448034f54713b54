/* Reading of bodies; see http_body.h.
 *
 * Chunked: one byte at a time through a small machine, except for the data itself, which is given on where it lies.
 *
 *   SIZE --CR--> SIZE_LF --LF--> DATA --all of it--> DATA_CR --CR--> DATA_LF --LF--> SIZE
 *                            \--size 0--> TRAILER --CR--> TRAILER_LF --LF behind an empty line--> DONE
 *
 * The size is kept below 2^63 by its 16 digits and a check, so no sum here can overflow. */
#include <stdio.h>
#include <string.h>

#include "protocol/hex.h"
#include "protocol/http_body.h"
#include "protocol/http_impl.h"

#define SIZE_DIGITS 16

static void
begin(struct http_body *b, enum http_framing framing, uint64_t length)
{
	*b = (struct http_body){ .framing = framing, .at = HTTP_BODY_SIZE, .left = framing == HTTP_LENGTH ? length : 0, .line_empty = true };
}

void
http_body_of_request(struct http_body *b, const struct http_head *head)
{
	if (head->chunked)
		begin(b, HTTP_CHUNKED, 0);
	else if (head->has_content_length)
		begin(b, HTTP_LENGTH, head->content_length);
	else
		begin(b, HTTP_NO_BODY, 0);
}

void
http_body_of_answer(struct http_body *b, const struct http_head *head, bool head_only)
{
	if (head_only || head->status < 200 || head->status == 204 || head->status == 304)
		begin(b, HTTP_NO_BODY, 0);
	else if (head->chunked)
		begin(b, HTTP_CHUNKED, 0);
	else if (head->has_content_length)
		begin(b, HTTP_LENGTH, head->content_length);
	else
		begin(b, HTTP_UNTIL_CLOSE, 0);
}

bool
http_body_done(const struct http_body *b)
{
	switch (b->framing) {
	case HTTP_NO_BODY:
		return true;
	case HTTP_LENGTH:
		return b->left == 0;
	case HTTP_CHUNKED:
		return b->at == HTTP_BODY_DONE;
	case HTTP_UNTIL_CLOSE:
		return false;
	}
	return true;
}

static enum proto_err
size_byte(struct http_body *b, uint8_t c)
{
	int d = hex_digit(c);

	if (c == '\r' && b->digits > 0) {
		b->at = HTTP_BODY_SIZE_LF;
		return PROTO_OK;
	}
	if (d < 0 || b->digits == SIZE_DIGITS || b->left > (INT64_MAX - (uint64_t)d) / 16)
		return PROTO_HTTP_SYNTAX;
	b->digits++;
	b->left = b->left * 16 + (uint64_t)d;
	return PROTO_OK;
}

static enum proto_err
trailer_byte(struct http_body *b, uint8_t c)
{
	if (++b->trailer > HTTP_HEAD_MAX)
		return PROTO_HTTP_TOO_BIG;
	if (c == '\r')
		b->at = HTTP_BODY_TRAILER_LF;
	else if (!http_is_line_char(c))
		return PROTO_HTTP_SYNTAX;
	else
		b->line_empty = false;
	return PROTO_OK;
}

/* The LF behind an empty line is the end. */
static void
trailer_line(struct http_body *b)
{
	b->at = b->line_empty ? HTTP_BODY_DONE : HTTP_BODY_TRAILER;
	b->line_empty = true;
}

static enum proto_err
expect(struct http_body *b, uint8_t c, uint8_t want)
{
	if (c != want)
		return PROTO_HTTP_SYNTAX;
	switch (b->at) {
	case HTTP_BODY_SIZE_LF:
		b->at = b->left == 0 ? HTTP_BODY_TRAILER : HTTP_BODY_DATA;
		break;
	case HTTP_BODY_DATA_CR:
		b->at = HTTP_BODY_DATA_LF;
		break;
	case HTTP_BODY_DATA_LF:
		b->at = HTTP_BODY_SIZE;
		b->digits = 0;
		break;
	default:
		trailer_line(b);
		break;
	}
	return PROTO_OK;
}

/* One byte that is not data. */
static enum proto_err
frame_byte(struct http_body *b, uint8_t c)
{
	switch (b->at) {
	case HTTP_BODY_SIZE:
		return size_byte(b, c);
	case HTTP_BODY_TRAILER:
		return trailer_byte(b, c);
	case HTTP_BODY_DATA_CR:
		return expect(b, c, '\r');
	default:
		return expect(b, c, '\n');
	}
}

/* As many of the bytes as belong to the piece that is under way. */
static struct view
take(struct http_body *b, const uint8_t *buf, size_t len)
{
	struct view v = { buf, len };

	if (b->framing == HTTP_UNTIL_CLOSE)
		return v;
	if (v.len > b->left)
		v.len = (size_t)b->left;
	b->left -= v.len;
	return v;
}

enum proto_err
http_body_next(struct http_body *b, const uint8_t *buf, size_t len, size_t *used, struct view *data)
{
	enum proto_err err;
	size_t at = 0;

	*used = 0;
	*data = (struct view){ buf, 0 };
	while (b->framing == HTTP_CHUNKED && at < len && b->at != HTTP_BODY_DATA && b->at != HTTP_BODY_DONE) {
		err = frame_byte(b, buf[at++]);
		*used = at;
		if (err != PROTO_OK)
			return err;
	}
	if (http_body_done(b))
		return PROTO_OK;
	if (at == len)
		return PROTO_MORE;
	*data = take(b, buf + at, len - at);
	*used = at + data->len;
	if (b->framing == HTTP_CHUNKED && b->left == 0)
		b->at = HTTP_BODY_DATA_CR;
	return PROTO_OK;
}

size_t
http_chunk_head(char out[HTTP_CHUNK_HEAD_MAX], uint64_t len)
{
	return (size_t)snprintf(out, HTTP_CHUNK_HEAD_MAX, "%llx\r\n", (unsigned long long)len);
}
