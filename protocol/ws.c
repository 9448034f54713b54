/* WebSocket frames (RFC 6455): an incremental decoder for both roles, and the writers for what goes out.
 *
 * Called by whoever owns a connection, with the bytes as they came from the socket.  It never allocates, never copies a
 * data payload and never waits for a frame to be whole: a message is handed on as BEGIN, any number of DATA, END, so a
 * 16 MB DOWNLOAD passes through a connection that holds a few KiB of it.  It does not answer pings or closes either.
 *
 * The idea needed to read it: the decoder is a state machine that takes one step at a time.  Each step either waits for
 * bytes (PROTO_MORE), moves to another state, or sets an event; ws_decode() steps until there is an event or no input.
 * A head, and a control frame whole, are taken at once or not at all: what is missing leaves the others unused, and the caller offers them
 * again.  So nothing is kept here, and events and errors do not depend on how the bytes were cut. */
#include <stdlib.h>
#include <string.h>

#include "protocol/ws.h"

/* States:
 *
 *     HEAD   head of a frame; BEGIN if a message    -> DATA, END, HEAD               [take_head]
 *            does; control frames whole: PING, ...  -> HEAD, CLOSED after a close    [take_control]
 *     DATA   payload: DATA for what there is        -> DATA, END, HEAD when left is 0 [take_data]
 *     END    takes nothing; END                     -> HEAD
 *     CLOSED any byte is an error
 *
 * In HEAD, in_message tells whether a continuation must come (control frames may stand between).  Errors are no state:
 * failed is latched and no further step is taken. */
enum ws_state { ST_HEAD, ST_DATA, ST_END, ST_CLOSED };

#define LEN16 126 /* 7-bit length: 16 bits follow (5.2) */
#define LEN64 127 /* likewise: 64 */

#define CLOSE_NO_CODE 1005 /* what a close frame without payload means; never on the wire (7.1.5) */

struct ws_input { /* what is left of the caller's buffer */
	uint8_t *ptr;
	size_t len;
};

static bool
is_control(unsigned opcode)
{
	return (opcode & 0x8) != 0;
}

/* Bytes of the longest prefix of text[0..len) that is whole and valid UTF-8 (RFC 3629: no surrogates, nothing over U+10FFFF,
 * no longer form than needed). */
static size_t
utf8_prefix(const uint8_t *text, size_t len)
{
	size_t i = 0;

	while (i < len) {
		uint8_t c = text[i], low = 0x80, high = 0xBF; /* range of the second byte */
		size_t more, k;

		if (c < 0x80)
			more = 0;
		else if (c >= 0xC2 && c <= 0xDF)
			more = 1;
		else if (c >= 0xE0 && c <= 0xEF)
			more = 2;
		else if (c >= 0xF0 && c <= 0xF4)
			more = 3;
		else
			return i;
		if (more >= len - i)
			return i;
		if (c == 0xE0)
			low = 0xA0;
		else if (c == 0xED)
			high = 0x9F;
		else if (c == 0xF0)
			low = 0x90;
		else if (c == 0xF4)
			high = 0x8F;
		for (k = 1; k <= more; k++) {
			if (text[i + k] < low || text[i + k] > high)
				return i;
			low = 0x80;
			high = 0xBF;
		}
		i += more + 1;
	}
	return i;
}

bool
ws_close_code_ok(unsigned code)
{
	return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
}

/* What most processors take at once. */
typedef uint64_t words __attribute__((vector_size(16)));

static inline words
load_words(const uint8_t *p)
{
	words w;

	memcpy(&w, p, sizeof(w));
	return w;
}

static inline void
store_words(uint8_t *p, words w)
{
	memcpy(p, &w, sizeof(w));
}

/* The key is turned so that its first byte meets from[0], and repeated.  No alignment is asked for; of 64 bytes all are read before any is written. */
void
ws_mask_copy(uint8_t *to, const uint8_t *from, size_t len, const uint8_t key[4], uint64_t offset)
{
	uint8_t twice[8], *turned = twice + offset % 4;
	uint32_t four;
	uint64_t word;
	size_t i;

	memcpy(twice, key, 4);
	memcpy(twice + 4, key, 4);
	memcpy(&four, turned, 4);
	word = (uint64_t)four << 32 | four;
	for (i = 0; len - i >= 64; i += 64) {
		words a = load_words(from + i), b = load_words(from + i + 16), c = load_words(from + i + 32), d = load_words(from + i + 48);

		store_words(to + i, a ^ word);
		store_words(to + i + 16, b ^ word);
		store_words(to + i + 32, c ^ word);
		store_words(to + i + 48, d ^ word);
	}
	for (; len - i >= 16; i += 16)
		store_words(to + i, load_words(from + i) ^ word);
	for (; i < len; i++)
		to[i] = from[i] ^ turned[i % 4];
}

void
ws_mask(uint8_t *buf, size_t len, const uint8_t key[4], uint64_t offset)
{
	ws_mask_copy(buf, buf, len, key, offset);
}

struct ws_head { /* of a frame */
	bool fin;
	uint8_t opcode;
	uint64_t len; /* of the payload */
	const uint8_t *mask;
	size_t size; /* bytes of the head itself */
};

/* What is wrong with the first two bytes, which are all that tells the size of a head. */
static enum proto_err
check_head(const struct ws_decoder *d, uint8_t first, uint8_t second)
{
	unsigned opcode = first & 0x0F;

	if ((first & 0x70) != 0 || (opcode & 0x7) > 2) /* 0, 1, 2 and 8, 9, 10 have a meaning */
		return PROTO_WS_RESERVED;
	if (((second & 0x80) != 0) != (d->role == WS_SERVER))
		return PROTO_WS_MASK;
	if (is_control(opcode))
		return (first & 0x80) == 0 || (second & 0x7F) > WS_CONTROL_MAX ? PROTO_WS_CONTROL : PROTO_OK;
	return (opcode == WS_CONTINUATION) != d->in_message ? PROTO_WS_ORDER : PROTO_OK;
}

static enum proto_err
read_head(const struct ws_decoder *d, const struct ws_input *in, struct ws_head *h)
{
	const uint8_t *p = in->ptr;
	unsigned size, mask = d->role == WS_SERVER ? 4 : 0;
	enum proto_err err;

	if (in->len < 2)
		return PROTO_MORE;
	if ((err = check_head(d, p[0], p[1])) != PROTO_OK)
		return err;
	h->fin = (p[0] & 0x80) != 0;
	h->opcode = p[0] & 0x0F;
	h->len = p[1] & 0x7F;
	size = h->len < LEN16 ? 0 : h->len == LEN16 ? 2 : 8;
	h->size = 2 + size + mask;
	h->mask = p + 2 + size;
	if (in->len < h->size)
		return PROTO_MORE;
	if (size > 0) {
		h->len = 0;
		for (unsigned i = 0; i < size; i++)
			h->len = h->len << 8 | p[2 + i];
		if (size == 2 ? h->len < LEN16 : h->len <= UINT16_MAX || h->len > INT64_MAX)
			return PROTO_WS_LENGTH;
	}
	return PROTO_OK;
}

/* The payload of a data frame is over. */
static void
finish_data(struct ws_decoder *d)
{
	d->state = d->fin ? ST_END : ST_HEAD;
}

/* The length is held against the limit before anything of the payload is taken. */
static enum proto_err
start_data(struct ws_decoder *d, const struct ws_head *h, struct ws_event *ev)
{
	if (h->len > d->max_message - d->message_len)
		return PROTO_WS_TOO_BIG;
	d->message_len += h->len;
	d->left = h->len;
	d->fin = h->fin;
	d->phase = 0;
	if (d->role == WS_SERVER)
		memcpy(d->mask, h->mask, sizeof(d->mask));
	if (h->opcode != WS_CONTINUATION) {
		d->in_message = true;
		ev->type = WS_EV_BEGIN;
		ev->opcode = (enum ws_opcode)h->opcode;
		ev->fin = h->fin;
		ev->frame_len = h->len;
	}
	if (h->len > 0)
		d->state = ST_DATA;
	else
		finish_data(d);
	return PROTO_OK;
}

static enum proto_err
take_data(struct ws_decoder *d, struct ws_input *in, struct ws_event *ev)
{
	size_t n = d->left < in->len ? (size_t)d->left : in->len;

	if (n == 0)
		return PROTO_MORE;
	if (d->role == WS_SERVER)
		ws_mask(in->ptr, n, d->mask, d->phase);
	ev->type = WS_EV_DATA;
	ev->data = (struct view){ in->ptr, n };
	in->ptr += n;
	in->len -= n;
	d->phase = (uint8_t)((d->phase + n) % 4);
	d->left -= n;
	if (d->left == 0)
		finish_data(d);
	return PROTO_OK;
}

/* A close payload is nothing, or a code and a reason (5.5.1). */
static enum proto_err
read_close(struct view payload, struct ws_event *ev)
{
	ev->type = WS_EV_CLOSE;
	ev->close_code = CLOSE_NO_CODE;
	if (payload.len == 0)
		return PROTO_OK;
	if (payload.len == 1)
		return PROTO_WS_CLOSE;
	ev->close_code = (uint16_t)(payload.ptr[0] << 8 | payload.ptr[1]);
	ev->data = (struct view){ payload.ptr + 2, payload.len - 2 };
	if (!ws_close_code_ok(ev->close_code) || utf8_prefix(ev->data.ptr, ev->data.len) != ev->data.len)
		return PROTO_WS_CLOSE;
	return PROTO_OK;
}

static enum proto_err
take_control(struct ws_decoder *d, uint8_t *bytes, const struct ws_head *h, struct ws_event *ev)
{
	struct view payload = { bytes, (size_t)h->len };

	if (d->role == WS_SERVER)
		ws_mask(bytes, payload.len, h->mask, 0);
	if (h->opcode == WS_CLOSE) {
		d->state = ST_CLOSED;
		return read_close(payload, ev);
	}
	ev->type = h->opcode == WS_PING ? WS_EV_PING : WS_EV_PONG;
	ev->data = payload;
	return PROTO_OK;
}

static enum proto_err
take_head(struct ws_decoder *d, struct ws_input *in, struct ws_event *ev)
{
	struct ws_head h;
	enum proto_err err = read_head(d, in, &h);
	size_t take;

	if (err != PROTO_OK)
		return err;
	take = h.size;
	if (is_control(h.opcode)) {
		take += (size_t)h.len;
		if (in->len < take)
			return PROTO_MORE;
		err = take_control(d, in->ptr + h.size, &h, ev);
	} else {
		err = start_data(d, &h, ev);
	}
	in->ptr += take;
	in->len -= take;
	return err;
}

static void
end_message(struct ws_decoder *d, struct ws_event *ev)
{
	d->in_message = false;
	d->message_len = 0;
	d->state = ST_HEAD;
	ev->type = WS_EV_END;
}

static enum proto_err
step(struct ws_decoder *d, struct ws_input *in, struct ws_event *ev)
{
	switch ((enum ws_state)d->state) {
	case ST_HEAD:
		return take_head(d, in, ev);
	case ST_DATA:
		return take_data(d, in, ev);
	case ST_END:
		end_message(d, ev);
		return PROTO_OK;
	case ST_CLOSED:
		return in->len == 0 ? PROTO_MORE : PROTO_WS_ORDER;
	}
	abort(); /* a decoder that was never initialised */
}

void
ws_decoder_init(struct ws_decoder *d, enum ws_role role, uint64_t max_message)
{
	memset(d, 0, sizeof(*d));
	d->role = (uint8_t)role;
	d->state = ST_HEAD;
	d->max_message = max_message;
}

enum proto_err
ws_decode(struct ws_decoder *d, uint8_t *buf, size_t len, size_t *used, struct ws_event *ev)
{
	struct ws_input in = { buf, len };
	enum proto_err err = d->failed;

	*ev = (struct ws_event){ .type = WS_EV_NONE };
	while (err == PROTO_OK && ev->type == WS_EV_NONE)
		err = step(d, &in, ev);
	if (err != PROTO_OK && err != PROTO_MORE) {
		*ev = (struct ws_event){ .type = WS_EV_NONE };
		d->failed = err;
	}
	*used = len - in.len;
	return err;
}

size_t
ws_format_head(uint8_t *out, enum ws_role role, bool fin, enum ws_opcode opcode, uint64_t len, const uint8_t *mask)
{
	size_t n = 0, size = len < LEN16 ? 0 : len <= UINT16_MAX ? 2 : 8;
	uint8_t masked = role == WS_CLIENT ? 0x80 : 0;

	out[n++] = (uint8_t)((fin ? 0x80 : 0) | opcode);
	out[n++] = (uint8_t)(masked | (size == 0 ? len : size == 2 ? LEN16 : LEN64));
	while (size-- > 0)
		out[n++] = (uint8_t)(len >> (8 * size));
	if (masked != 0) {
		memcpy(out + n, mask, 4);
		n += 4;
	}
	return n;
}

size_t
ws_format_close(uint8_t *out, uint16_t code, const char *reason)
{
	size_t len = strnlen(reason, WS_CONTROL_MAX - 2);

	if (code == CLOSE_NO_CODE)
		return 0;
	out[0] = (uint8_t)(code >> 8);
	out[1] = (uint8_t)code;
	len = utf8_prefix((const uint8_t *)reason, len);
	memcpy(out + 2, reason, len);
	return 2 + len;
}
