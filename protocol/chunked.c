/* The chunked transfer coding; see chunked.h.
 *
 *   body := *( hex size [";" extension] CRLF data CRLF )  "0" [";" extension] CRLF *( trailer CRLF ) CRLF
 *
 * Two walks over the same bytes: the first finds out whether all is there and right, the second moves the data together.  So a caller that
 * has to wait keeps the bytes as they came. */
#include <string.h>

#include "protocol/chunked.h"
#include "protocol/hex.h"
#include "protocol/view.h"

#define DIGITS_MAX 7 /* of a size: below 256 MiB, far above what anybody waits for whole */

/* Takes a line off rest, without its CRLF. */
static enum proto_err
next_line(struct view *rest, struct view *line)
{
	for (size_t i = 0; i < rest->len; i++) {
		uint8_t c = rest->ptr[i];

		if (c == '\r') {
			if (i + 1 == rest->len)
				return PROTO_MORE;
			if (rest->ptr[i + 1] != '\n')
				return PROTO_HTTP_SYNTAX;
			*line = (struct view){ rest->ptr, i };
			*rest = (struct view){ rest->ptr + i + 2, rest->len - i - 2 };
			return PROTO_OK;
		}
		if ((c < ' ' && c != '\t') || c == 0x7f)
			return PROTO_HTTP_SYNTAX;
	}
	return PROTO_MORE;
}

static enum proto_err
parse_size(struct view line, size_t *size)
{
	size_t i = 0;

	*size = 0;
	for (; i < line.len && hex_digit(line.ptr[i]) >= 0; i++)
		*size = *size * 16 + (size_t)hex_digit(line.ptr[i]);
	if (i == 0 || i > DIGITS_MAX)
		return PROTO_HTTP_SYNTAX;
	while (i < line.len && (line.ptr[i] == ' ' || line.ptr[i] == '\t'))
		i++;
	return i == line.len || line.ptr[i] == ';' ? PROTO_OK : PROTO_HTTP_SYNTAX;
}

/* Takes a chunk off rest; the last one has no data. */
static enum proto_err
next_chunk(struct view *rest, struct view *data)
{
	struct view line;
	size_t size;
	enum proto_err err = next_line(rest, &line);

	if (err == PROTO_OK)
		err = parse_size(line, &size);
	if (err != PROTO_OK)
		return err;
	*data = (struct view){ rest->ptr, size };
	if (size == 0)
		return PROTO_OK;
	if (rest->len > size && rest->ptr[size] != '\r')
		return PROTO_HTTP_SYNTAX;
	if (rest->len < size + 2)
		return PROTO_MORE;
	if (rest->ptr[size + 1] != '\n')
		return PROTO_HTTP_SYNTAX;
	*rest = (struct view){ rest->ptr + size + 2, rest->len - size - 2 };
	return PROTO_OK;
}

static enum proto_err
skip_trailers(struct view *rest)
{
	struct view line = { NULL, 1 };
	enum proto_err err = PROTO_OK;

	while (err == PROTO_OK && line.len > 0)
		err = next_line(rest, &line);
	return err;
}

enum proto_err
chunked_decode(uint8_t *buf, size_t len, size_t *body_len)
{
	struct view rest = { buf, len }, data = { NULL, 1 };
	enum proto_err err = PROTO_OK;

	while (err == PROTO_OK && data.len > 0)
		err = next_chunk(&rest, &data);
	if (err == PROTO_OK)
		err = skip_trailers(&rest);
	*body_len = 0;
	if (err != PROTO_OK)
		return err;
	rest = (struct view){ buf, len };
	while (next_chunk(&rest, &data) == PROTO_OK && data.len > 0) {
		memmove(buf + *body_len, data.ptr, data.len);
		*body_len += data.len;
	}
	return PROTO_OK;
}
