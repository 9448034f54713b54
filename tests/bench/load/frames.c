/* See frames.h.  RFC 6455 section 5.2: two bytes, then 0, 2 or 8 of length, then 4 of mask if the second byte says so. */
#include <string.h>

#include "protocol/ws.h"

#include "tests/bench/load/frames.h"

static uint8_t
head_size(const uint8_t *head)
{
	unsigned size = head[1] & 0x7F;

	return (uint8_t)(2 + (size == 126 ? 2 : size == 127 ? 8 : 0) + ((head[1] & 0x80) != 0 ? 4 : 0));
}

static void
begin_payload(struct frames *f)
{
	unsigned size = f->head[1] & 0x7F, n = size == 126 ? 2 : size == 127 ? 8 : 0;

	f->left = n == 0 ? size : 0;
	for (unsigned i = 0; i < n; i++)
		f->left = f->left << 8 | f->head[2 + i];
	f->in_payload = true;
	f->len = 0;
}

static bool
end_payload(struct frames *f, frames_cb *cb, void *arg)
{
	unsigned opcode = f->head[0] & 0x0F;

	if (opcode == WS_BINARY && (f->head[1] & 0x80) != 0)
		ws_mask(f->prefix, f->len, f->head + f->need - 4, 0);
	f->in_payload = false;
	f->have = 0;
	f->need = 2;
	if (opcode == WS_CLOSE || (f->head[0] & 0x80) == 0)
		return false;
	if (opcode == WS_BINARY)
		cb(arg, f->prefix, f->len);
	return true;
}

void
frames_init(struct frames *f)
{
	memset(f, 0, sizeof(*f));
	f->need = 2;
}

static size_t
least(uint64_t a, size_t b)
{
	return a < b ? (size_t)a : b;
}

/* Returns how many of the bytes belong to the frame under way. */
static size_t
take_payload(struct frames *f, const uint8_t *buf, size_t len)
{
	size_t n = least(f->left, len), shown = least(FRAMES_PREFIX - f->len, n);

	memcpy(f->prefix + f->len, buf, shown);
	f->len += shown;
	f->left -= n;
	return n;
}

static size_t
take_head(struct frames *f, const uint8_t *buf, size_t len)
{
	size_t n = least((uint64_t)f->need - f->have, len);

	memcpy(f->head + f->have, buf, n);
	f->have = (uint8_t)(f->have + n);
	if (f->have == 2)
		f->need = head_size(f->head);
	if (f->have == f->need)
		begin_payload(f);
	return n;
}

bool
frames_feed(struct frames *f, const uint8_t *buf, size_t len, frames_cb *cb, void *arg)
{
	while (len > 0) {
		size_t n = f->in_payload ? take_payload(f, buf, len) : take_head(f, buf, len);

		buf += n;
		len -= n;
		if (f->in_payload && f->left == 0 && !end_payload(f, cb, arg))
			return false;
	}
	return true;
}

uint64_t
frames_left(const struct frames *f)
{
	return f->in_payload && f->len == FRAMES_PREFIX && f->left > 0 ? f->left - 1 : 0;
}

void
frames_skipped(struct frames *f, uint64_t n)
{
	f->left -= n;
}
