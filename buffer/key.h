/* The key of an encrypted buffer: see key.c. */
#ifndef BUFFER_KEY_H
#define BUFFER_KEY_H

#include "buffer/dir.h"

#define KEY_PHRASE_LEN (2 * STORE_KEY_BYTES) /* hexadecimal */

/* The pass phrase that Berkeley DB gets: key in hexadecimal, with a NUL behind. */
void key_phrase(const uint8_t *key, char out[KEY_PHRASE_LEN + 1]);

/* Does key (NULL: none) fit the buffer in d?  A new buffer gets its check value.  STORE_KEY with a sentence in why if not. */
STORE_MUSTCHECK enum store_err key_check(const struct dir *d, const uint8_t *key, char *why, size_t why_len);

#endif
