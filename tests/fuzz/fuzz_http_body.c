/* Fuzz target of protocol/http_body.
 *
 * Input: byte 0 = where it is cut (a second time at twice that); then a chunked body.  However it is cut, the same bytes come out, the same
 * number is consumed, and the same is said of it; what comes out of a good one, framed anew, is read back. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/http_body.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct outcome {
	enum proto_err err;
	size_t used, len;
	uint8_t *out;
};

static void
feed(struct http_body *b, struct outcome *o, const uint8_t *buf, size_t end)
{
	struct view piece;
	size_t used;

	while ((o->err == PROTO_OK || o->err == PROTO_MORE) && !http_body_done(b)) {
		o->err = http_body_next(b, buf + o->used, end - o->used, &used, &piece);
		if (used > end - o->used || (o->err == PROTO_OK && piece.len == 0 && !http_body_done(b)))
			abort();
		o->used += used;
		if (o->err == PROTO_OK && piece.len > 0) {
			memcpy(o->out + o->len, piece.ptr, piece.len);
			o->len += piece.len;
		}
		if (o->err == PROTO_MORE)
			return;
	}
}

static struct outcome
run(const uint8_t *buf, size_t len, size_t cut)
{
	struct http_head head = { .chunked = true };
	struct outcome o = { .err = PROTO_MORE, .out = malloc(len + 1) };
	struct http_body b;

	if (o.out == NULL)
		abort();
	http_body_of_request(&b, &head);
	if (cut > 0 && cut < len)
		feed(&b, &o, buf, cut);
	if (cut > 0 && 2 * cut < len)
		feed(&b, &o, buf, 2 * cut);
	feed(&b, &o, buf, len);
	if (http_body_done(&b) != (o.err == PROTO_OK))
		abort();
	return o;
}

static void
check_again(const struct outcome *o)
{
	char head[HTTP_CHUNK_HEAD_MAX];
	size_t n = o->len > 0 ? http_chunk_head(head, o->len) : 0, at = 0;
	uint8_t *framed = malloc(o->len + sizeof(head) + 16);
	struct outcome again;

	if (framed == NULL)
		abort();
	memcpy(framed, head, n);
	at += n;
	memcpy(framed + at, o->out, o->len);
	at += o->len;
	if (o->len > 0)
		memcpy(framed + at, "\r\n", 2), at += 2;
	memcpy(framed + at, HTTP_CHUNK_END, 5);
	at += 5;
	again = run(framed, at, 1);
	if (again.err != PROTO_OK || again.used != at || again.len != o->len || memcmp(again.out, o->out, o->len) != 0)
		abort();
	free(again.out);
	free(framed);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct outcome whole, cut;

	if (len < 1)
		return 0;
	whole = run(data + 1, len - 1, 0);
	cut = run(data + 1, len - 1, data[0]);
	if (whole.err != cut.err || whole.len != cut.len || memcmp(whole.out, cut.out, whole.len) != 0 ||
	    (whole.err == PROTO_OK && whole.used != cut.used))
		abort();
	if (whole.err == PROTO_OK)
		check_again(&whole);
	free(whole.out);
	free(cut.out);
	return 0;
}
