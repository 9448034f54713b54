/* Base64url to bytes and back.  See base64url.h.  Pure. */
#include "relay/base64url.h"

static int
sextet(uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '-' ? 62 : c == '_' ? 63 : -1;
}

bool
base64url_decode(struct view in, uint8_t *out, size_t cap, size_t *out_len)
{
	uint32_t bits = 0;
	unsigned n = 0;

	*out_len = 0;
	if (in.len == 0 || in.len % 4 == 1)
		return false;
	for (size_t i = 0; i < in.len; i++) {
		int v = sextet(in.ptr[i]);

		if (v < 0)
			return false;
		bits = bits << 6 | (uint32_t)v;
		n += 6;
		if (n < 8)
			continue;
		if (*out_len == cap)
			return false;
		n -= 8;
		out[(*out_len)++] = (uint8_t)(bits >> n);
		bits &= (1u << n) - 1;
	}
	return bits == 0;
}

void
base64url_encode(struct view in, char *out)
{
	static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	uint32_t bits = 0;
	unsigned n = 0;

	for (size_t i = 0; i < in.len; i++) {
		bits = bits << 8 | in.ptr[i];
		for (n += 8; n >= 6; bits &= (1u << n) - 1) {
			n -= 6;
			*out++ = digit[bits >> n];
		}
	}
	if (n > 0)
		*out++ = digit[bits << (6 - n)];
	*out = '\0';
}
