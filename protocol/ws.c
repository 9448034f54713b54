/* WebSocket frames (RFC 6455): an incremental decoder for both roles, and the writers for what goes out.
 *
 * Called by whoever owns a connection, with the bytes as they came from the socket.  It never allocates, never copies a
 * data payload and never waits for a frame to be whole: a message is handed on as BEGIN, any number of DATA, END, so a
 * 16 MB DOWNLOAD passes through a connection that holds a few KiB of it.  It does not answer pings or closes either.
 *
 * The idea needed to read it: the decoder is a state machine that takes one step at a time.  Each step either waits for
 * bytes (PROTO_MORE), moves to another state, or sets an event; ws_decode() steps until there is an event or no input.
 * Every decision is taken at a fixed byte of the stream, so events and errors do not depend on how the bytes were cut. */
#include <stdlib.h>
#include <string.h>

#include "protocol/ws.h"

/* States.  In the first three, bytes are collected in gather[] until the number in brackets is there.
 *
 *     HEAD [2] --------> LENGTH [2 or 8] -----> MASK [4] -----> FRAME -----> DATA -----> END
 *        |  length < 126                          ^               | |          |          |
 *        +--------------------------------------->+               | +----------+--------> HEAD
 *                                                 (WS_CLIENT      |  empty, or more frames follow
 *                                                  skips MASK)    v
 *                                                              CONTROL [payload] -------> HEAD, or CLOSED after a close
 *
 *     HEAD    first two bytes                   -> LENGTH, MASK, FRAME            [read_head]
 *     LENGTH  extended length; left is 126/127  -> MASK, FRAME                    [read_length, announce]
 *     MASK    key                               -> FRAME
 *     FRAME   takes nothing; BEGIN if a message -> DATA, CONTROL, END, HEAD       [start_frame]
 *     DATA    payload: DATA for what there is   -> DATA, END, HEAD when left is 0 [take_data]
 *     CONTROL payload: PING, PONG, CLOSE        -> HEAD, CLOSED                   [take_control]
 *     END     takes nothing; END                -> HEAD
 *     CLOSED  any byte is an error
 *
 * In HEAD, in_message tells whether a continuation must come (control frames may stand between).  Errors are no state:
 * failed is latched and no further step is taken. */
enum ws_state { ST_HEAD, ST_LENGTH, ST_MASK, ST_FRAME, ST_DATA, ST_CONTROL, ST_END, ST_CLOSED };

#define LEN16 126 /* 7-bit length: 16 bits follow (5.2) */
#define LEN64 127 /* 7-bit length: 64 bits follow */

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

/* The key is turned so that its first byte meets buf[0], and doubled to a word.  Words go through memcpy, so no alignment is
 * asked for and the compiler may use its widest moves; four of them a step let it do so at -O2 as well. */
void
ws_mask(uint8_t *buf, size_t len, const uint8_t key[4], uint64_t offset)
{
	uint8_t turned[8];
	uint64_t word, v[4];
	size_t i, k;

	for (i = 0; i < sizeof(turned); i++)
		turned[i] = key[(offset + i) % 4];
	memcpy(&word, turned, sizeof(word));
	for (i = 0; len - i >= sizeof(v); i += sizeof(v)) {
		memcpy(v, buf + i, sizeof(v));
		for (k = 0; k < 4; k++)
			v[k] ^= word;
		memcpy(buf + i, v, sizeof(v));
	}
	for (; i < len; i++)
		buf[i] ^= turned[i % 4];
}

/* Collects until gather[] holds need bytes; true when it does, and the next collection starts afresh. */
static bool
gather(struct ws_decoder *d, struct ws_input *in, size_t need)
{
	size_t n = need - d->gathered;

	if (n > in->len)
		n = in->len;
	if (n > 0) {
		memcpy(d->gather + d->gathered, in->ptr, n);
		in->ptr += n;
		in->len -= n;
		d->gathered = (uint8_t)(d->gathered + n);
	}
	if (d->gathered < need)
		return false;
	d->gathered = 0;
	return true;
}

/* The length of the frame is known (left): holds it against the limit before anything of it is taken. */
static enum proto_err
announce(struct ws_decoder *d)
{
	if (!is_control(d->opcode)) {
		if (d->left > d->max_message - d->message_len)
			return PROTO_WS_TOO_BIG;
		d->message_len += d->left;
	}
	d->phase = 0;
	d->state = d->role == WS_SERVER ? ST_MASK : ST_FRAME;
	return PROTO_OK;
}

static enum proto_err
read_head(struct ws_decoder *d)
{
	uint8_t first = d->gather[0], second = d->gather[1];

	d->fin = (first & 0x80) != 0;
	d->opcode = first & 0x0F;
	d->left = second & 0x7F;
	if ((first & 0x70) != 0 || (d->opcode & 0x7) > 2) /* 0, 1, 2 and 8, 9, 10 have a meaning */
		return PROTO_WS_RESERVED;
	if (((second & 0x80) != 0) != (d->role == WS_SERVER))
		return PROTO_WS_MASK;
	if (is_control(d->opcode)) {
		if (!d->fin || d->left > WS_CONTROL_MAX)
			return PROTO_WS_CONTROL;
	} else if ((d->opcode == WS_CONTINUATION) != d->in_message) {
		return PROTO_WS_ORDER;
	}
	if (d->left >= LEN16) {
		d->state = ST_LENGTH;
		return PROTO_OK;
	}
	return announce(d);
}

static size_t
length_size(const struct ws_decoder *d)
{
	return d->left == LEN16 ? 2 : 8;
}

static enum proto_err
read_length(struct ws_decoder *d)
{
	size_t size = length_size(d), i;
	uint64_t len = 0;

	for (i = 0; i < size; i++)
		len = len << 8 | d->gather[i];
	if (size == 2 ? len < LEN16 : len <= UINT16_MAX || len > INT64_MAX)
		return PROTO_WS_LENGTH;
	d->left = len;
	return announce(d);
}

/* The payload of a data frame is over. */
static void
finish_data(struct ws_decoder *d)
{
	d->state = d->fin ? ST_END : ST_HEAD;
}

static void
start_frame(struct ws_decoder *d, struct ws_event *ev)
{
	if (is_control(d->opcode)) {
		d->state = ST_CONTROL;
		return;
	}
	if (d->opcode != WS_CONTINUATION) {
		d->in_message = true;
		ev->type = WS_EV_BEGIN;
		ev->opcode = (enum ws_opcode)d->opcode;
		ev->fin = d->fin;
		ev->frame_len = d->left;
	}
	if (d->left > 0)
		d->state = ST_DATA;
	else
		finish_data(d);
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

/* The whole payload of a control frame is in gather[]. */
static enum proto_err
take_control(struct ws_decoder *d, struct ws_event *ev)
{
	struct view payload = { d->gather, (size_t)d->left };

	if (d->role == WS_SERVER)
		ws_mask(d->gather, payload.len, d->mask, 0);
	if (d->opcode == WS_CLOSE) {
		d->state = ST_CLOSED;
		return read_close(payload, ev);
	}
	d->state = ST_HEAD;
	ev->type = d->opcode == WS_PING ? WS_EV_PING : WS_EV_PONG;
	ev->data = payload;
	return PROTO_OK;
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
		return gather(d, in, 2) ? read_head(d) : PROTO_MORE;
	case ST_LENGTH:
		return gather(d, in, length_size(d)) ? read_length(d) : PROTO_MORE;
	case ST_MASK:
		if (!gather(d, in, sizeof(d->mask)))
			return PROTO_MORE;
		memcpy(d->mask, d->gather, sizeof(d->mask));
		d->state = ST_FRAME;
		return PROTO_OK;
	case ST_FRAME:
		start_frame(d, ev);
		return PROTO_OK;
	case ST_DATA:
		return take_data(d, in, ev);
	case ST_CONTROL:
		return gather(d, in, (size_t)d->left) ? take_control(d, ev) : PROTO_MORE;
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
