/* Base64url (RFC 4648 section 5) as tokens have it: no padding, no blanks, and what the last character holds beyond whole bytes is zero. */
#ifndef RELAY_BASE64URL_H
#define RELAY_BASE64URL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/view.h"

/* Decodes in into out, cap bytes; in.len bytes are always enough.  False: it is empty, not of that form, or does not fit. */
bool base64url_decode(struct view in, uint8_t *out, size_t cap, size_t *out_len);

/* BASE64URL_LEN(in.len) characters and NUL into out. */
#define BASE64URL_LEN(n) (((n) * 4 + 2) / 3)
void base64url_encode(struct view in, char *out);

#endif
