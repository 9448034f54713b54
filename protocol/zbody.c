/* Compressed bodies: zlib streams of a size known beforehand.
 *
 * The size a peer declares is a claim.  Inflating writes at most that many bytes to the caller's buffer, and then offers
 * zlib one scratch byte more: only "the stream ended, that byte was not needed, all input is used" makes the claim true.
 * So a bomb costs no more than was declared, and zbody_plausible lets the caller refuse an absurd claim before it allocates.
 *
 * zlib counts a piece in unsigned int; input and output are therefore handed over in pieces of at most CHUNK_MAX, which lets
 * a body exceed 4 GiB where size_t does.  zlib allocates its own state (about 40 KiB to inflate, 256 KiB to deflate) for the
 * length of a call; nothing else is allocated and nothing is kept. */
#include "protocol/zbody.h"

#include <limits.h>
#include <string.h>

#define ZLIB_CONST /* next_in points to const */
#include <zlib.h>

#define CHUNK_MAX UINT_MAX
#define MAX_GAIN 1032 /* deflate's bound: a match of 258 bytes takes at least 2 bits */

bool
zbody_plausible(uint64_t in_len, uint64_t out_len)
{
	return out_len / MAX_GAIN <= in_len;
}

/* Hands the next piece over when the last is used up; *left is what zlib has not been given yet. */
static void
refill(unsigned *avail, size_t *left)
{
	if (*avail > 0)
		return;
	*avail = *left < CHUNK_MAX ? (unsigned)*left : CHUNK_MAX;
	*left -= *avail;
}

static enum proto_err
run_inflate(z_stream *z, size_t in_len, size_t out_len)
{
	size_t in_left = in_len, out_left = out_len;
	uint8_t beyond; /* the byte past the declared size */
	int ret;

	do {
		refill(&z->avail_in, &in_left);
		refill(&z->avail_out, &out_left);
		if (z->avail_out == 0) {
			z->next_out = &beyond;
			z->avail_out = 1;
		}
		ret = inflate(z, Z_NO_FLUSH);
	} while (ret == Z_OK && z->total_out <= out_len);
	if (ret == Z_MEM_ERROR)
		return PROTO_Z_MEMORY;
	if (z->total_out > out_len)
		return PROTO_Z_SIZE;
	if (ret != Z_STREAM_END || z->avail_in > 0 || in_left > 0)
		return PROTO_Z_CORRUPT;
	return z->total_out == out_len ? PROTO_OK : PROTO_Z_SIZE;
}

enum proto_err
zbody_inflate(const uint8_t *in, size_t in_len, uint8_t *out, size_t out_len)
{
	z_stream z;
	enum proto_err err;

	memset(&z, 0, sizeof(z));
	z.next_in = in;
	z.next_out = out;
	if (inflateInit(&z) != Z_OK)
		return PROTO_Z_MEMORY;
	err = run_inflate(&z, in_len, out_len);
	inflateEnd(&z);
	return err;
}

static enum proto_err
run_deflate(z_stream *z, size_t in_len, size_t cap)
{
	size_t in_left = in_len, out_left = cap;
	int ret;

	do {
		refill(&z->avail_in, &in_left);
		refill(&z->avail_out, &out_left);
		if (z->avail_out == 0)
			return PROTO_Z_NO_GAIN;
		ret = deflate(z, in_left == 0 ? Z_FINISH : Z_NO_FLUSH);
	} while (ret != Z_STREAM_END);
	return PROTO_OK;
}

enum proto_err
zbody_deflate(int level, const uint8_t *in, size_t in_len, uint8_t *out, size_t cap, size_t *out_len)
{
	z_stream z;
	enum proto_err err;

	memset(&z, 0, sizeof(z));
	z.next_in = in;
	z.next_out = out;
	if (deflateInit(&z, level) != Z_OK)
		return PROTO_Z_MEMORY;
	err = run_deflate(&z, in_len, cap);
	*out_len = z.total_out;
	deflateEnd(&z);
	return err;
}
