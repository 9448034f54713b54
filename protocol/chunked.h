/* The chunked transfer coding of HTTP/1.1 (RFC 9112, 7.1), for the bodies of refusals: short, and wanted whole. */
#ifndef PROTOCOL_CHUNKED_H
#define PROTOCOL_CHUNKED_H

#include <stddef.h>
#include <stdint.h>

#include "protocol/err.h"

/* Takes the coding off the body at buf[0..len): once all of it is there, PROTO_OK, and its *body_len bytes stand at buf, in place of what
 * was there.  Until then buf is not changed: PROTO_MORE, to be called again with more, or PROTO_HTTP_SYNTAX.  Strict: CRLF line ends, sizes of
 * at most 7 digits; extensions and trailers are passed over, if they hold no control characters.  What follows the body is not looked at. */
MUSTCHECK enum proto_err chunked_decode(uint8_t *buf, size_t len, size_t *body_len);

#endif
