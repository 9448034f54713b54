/* Fuzz target of protocol/zbody.c.
 *
 * Input: bytes 0 and 1 = a size (little-endian), then a body.  The body is inflated to exactly that size, and zlib's own
 * one-call inflater is asked the same question: both must agree, and an accepted size must be plausible.  Then the body is taken
 * as plain bytes: deflated into as much room as the size says it either fits and comes back, or does not. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <zlib.h>

#include "protocol/zbody.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void
must(bool condition)
{
	if (!condition)
		abort();
}

static uint8_t *
get(size_t len)
{
	uint8_t *buf = malloc(len > 0 ? len : 1);

	must(buf != NULL);
	return buf;
}

/* Does in inflate to exactly out_len bytes and nothing remain?  They are written to out (out_len + 1 bytes of room). */
static bool
zlib_says(const uint8_t *in, size_t in_len, uint8_t *out, size_t out_len)
{
	uLong used = in_len;
	uLongf written = out_len + 1;

	return uncompress2(out, &written, in, &used) == Z_OK && written == out_len && used == in_len;
}

static void
check_inflate(const uint8_t *in, size_t in_len, size_t out_len)
{
	uint8_t *ours = get(out_len), *theirs = get(out_len + 1);
	enum proto_err err = zbody_inflate(in, in_len, ours, out_len);

	must((err == PROTO_OK) == zlib_says(in, in_len, theirs, out_len));
	must(err == PROTO_OK || err == PROTO_Z_CORRUPT || err == PROTO_Z_SIZE);
	if (err == PROTO_OK) {
		must(out_len == 0 || memcmp(ours, theirs, out_len) == 0);
		must(zbody_plausible(in_len, out_len));
	}
	free(ours);
	free(theirs);
}

static void
check_deflate(const uint8_t *in, size_t in_len, size_t cap)
{
	uint8_t *packed = get(cap), *back = get(in_len);
	size_t packed_len;
	enum proto_err err = zbody_deflate(1 + (int)(cap % 9), in, in_len, packed, cap, &packed_len);

	must(err == PROTO_OK || err == PROTO_Z_NO_GAIN);
	must(err == PROTO_OK || cap < compressBound(in_len));
	if (err == PROTO_OK) {
		must(packed_len <= cap);
		must(zbody_inflate(packed, packed_len, back, in_len) == PROTO_OK);
		must(memcmp(back, in, in_len) == 0);
	}
	free(packed);
	free(back);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	size_t size;

	if (len < 2)
		return 0;
	size = (size_t)data[0] | (size_t)data[1] << 8;
	check_inflate(data + 2, len - 2, size);
	check_deflate(data + 2, len - 2, size);
	return 0;
}
