/* Compressed message bodies (protocol.md section 2: a zlib stream, RFC 1950), bounded in both directions. */
#ifndef PROTOCOL_ZBODY_H
#define PROTOCOL_ZBODY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/err.h"

#define ZBODY_MIN 1024 /* bytes: a sender compresses bodies over this size (protocol.md section 2) */

/* Whether in_len compressed bytes can possibly inflate to out_len (deflate gains at most 1032:1).
 * To be asked before allocating out_len bytes for a claim. */
bool zbody_plausible(uint64_t in_len, uint64_t out_len);

/* Inflates in[0..in_len) into out, which must come out at exactly out_len bytes with no input left.
 * PROTO_Z_CORRUPT, PROTO_Z_SIZE, PROTO_Z_MEMORY. */
MUSTCHECK enum proto_err zbody_inflate(const uint8_t *in, size_t in_len, uint8_t *out, size_t out_len);

/* Deflates in[0..in_len) at level 1-9 into out[0..cap); *out_len is set on success.
 * PROTO_Z_NO_GAIN when the result would not fit in cap bytes (pass cap < in_len to demand a gain). */
MUSTCHECK enum proto_err zbody_deflate(int level, const uint8_t *in, size_t in_len, uint8_t *out, size_t cap, size_t *out_len);

#endif
