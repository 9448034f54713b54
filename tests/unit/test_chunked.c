/* Tests protocol/chunked: every body whole, at every length before that, and what is none. */
#include <stdlib.h>
#include <string.h>

#include "protocol/chunked.h"

#include "tests/harness.h"

static const struct {
	const char *in, *out; /* out NULL: refused */
} rows[] = {
	{ "0\r\n\r\n", "" },
	{ "5\r\nhello\r\n0\r\n\r\n", "hello" },
	{ "5;name=\"value\"\r\nhello\r\n7 ; x\r\n, world\r\n00\r\nTrailer: t\r\nOther: o\r\n\r\n", "hello, world" },
	{ "1a\r\nabcdefghijklmnopqrstuvwxyz\r\nA\r\n0123456789\r\n0\r\n\r\n", "abcdefghijklmnopqrstuvwxyz0123456789" },
	{ "2\r\n\r\n\r\n0\r\n\r\n", "\r\n" },
	{ "0000001\r\nx\r\n0\r\n\r\n", "x" },
	{ "00000001\r\nx\r\n0\r\n\r\n", NULL }, /* too many digits */
	{ "\r\n", NULL },
	{ "x\r\n", NULL },
	{ "-1\r\n", NULL },
	{ "0x1\r\n", NULL },
	{ "5 6\r\n", NULL },
	{ "5\nhello\r\n0\r\n\r\n", NULL },
	{ "5\r\nhelloX\r\n0\r\n\r\n", NULL },
	{ "5\r\nhello\rX0\r\n\r\n", NULL },
	{ "5;\001\r\nhello\r\n", NULL },
	{ "0\r\nTrailer\rx\r\n\r\n", NULL },
};

static bool changed; /* bytes of what waits, or was refused */

/* The bytes lie in a block of their own size. */
static enum proto_err
decode(const char *in, size_t len, char *out, size_t *out_len)
{
	uint8_t *buf = malloc(len > 0 ? len : 1);
	enum proto_err err;

	memcpy(buf, in, len);
	err = chunked_decode(buf, len, out_len);
	if (err == PROTO_OK)
		memcpy(out, buf, *out_len);
	else
		changed = changed || memcmp(buf, in, len) != 0;
	free(buf);
	return err;
}

TEST(at_every_length)
{
	char out[200];
	size_t n;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t len = strlen(rows[i].in);
		enum proto_err last = PROTO_MORE;

		for (size_t k = 0; k <= len; k++) {
			enum proto_err err = decode(rows[i].in, k, out, &n);

			CHECK(last == PROTO_MORE || err == last);
			last = err;
			if (rows[i].out != NULL)
				CHECK_U64(err, k < len ? PROTO_MORE : PROTO_OK);
		}
		if (rows[i].out == NULL)
			CHECK_U64(last, PROTO_HTTP_SYNTAX);
		else
			CHECK_MEM(out, n, rows[i].out, strlen(rows[i].out));
	}
	CHECK(!changed);
}

TEST(what_follows)
{
	char out[20];
	size_t n;

	CHECK_U64(decode("1\r\nx\r\n0\r\n\r\nHTTP/1.1", 19, out, &n), PROTO_OK);
	CHECK_MEM(out, n, "x", 1);
}
