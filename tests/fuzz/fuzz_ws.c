/* Fuzz target of protocol/ws.c: whatever the bytes are, how they are cut must not show.
 *
 * Input: byte 0 = role (bit 0) and the limit (bits 1-6: 2^n - 1 bytes), byte 1 = seed of the cuts, then the stream.  It is
 * decoded whole, byte by byte, in two pieces and in pieces of seeded sizes; all must give the same events and the same error at
 * the same byte (ws_events.h checks the promises of each call and over-reads).  What was accepted as a head is formatted back,
 * and masking is compared with the loop of RFC 6455 5.3. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/ws.h"

#include "tests/unit/ws_events.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct input {
	enum ws_role role;
	uint64_t max_message;
	const uint8_t *stream;
	size_t len;
};

static void
must(bool condition)
{
	if (!condition)
		abort();
}

static uint32_t
next_random(uint32_t *state)
{
	*state = *state * 1664525u + 1013904223u;
	return *state >> 8;
}

/* Decodes in: a first piece of first bytes, then pieces of up to most (seeded; 0 = the rest at once). */
static void
decode(struct ws_events *e, const struct input *in, size_t first, size_t most, uint32_t seed)
{
	size_t at, n = first;

	ws_events_begin(e, in->role, in->max_message);
	for (at = 0; at < in->len; at += n, n = most == 0 ? in->len : 1 + next_random(&seed) % most) {
		if (n > in->len - at)
			n = in->len - at;
		ws_events_feed(e, in->stream + at, n);
	}
	ws_events_end(e);
	must(e->broken == NULL);
}

static void
check_same(const struct ws_events *whole, const struct ws_events *cut)
{
	must(strcmp(whole->text, cut->text) == 0);
	must(whole->used == cut->used);
	must(whole->err == cut->err);
}

/* The first frame's head, if the decoder took it, is the one ws_format_head writes. */
static void
check_first_head(const struct input *in)
{
	uint8_t head[WS_HEAD_MAX], *copy = malloc(in->len + 1);
	struct ws_decoder d;
	struct ws_event ev;
	size_t used, n;

	must(copy != NULL);
	memcpy(copy, in->stream, in->len);
	ws_decoder_init(&d, in->role, in->max_message);
	if (ws_decode(&d, copy, in->len, &used, &ev) == PROTO_OK && ev.type == WS_EV_BEGIN) {
		n = ws_format_head(head, in->role == WS_SERVER ? WS_CLIENT : WS_SERVER, ev.fin, ev.opcode, ev.frame_len,
				   in->stream + used - (in->role == WS_SERVER ? 4 : 0));
		must(n == used && memcmp(head, in->stream, n) == 0);
	}
	free(copy);
}

static void
check_mask(const struct input *in, uint8_t seed)
{
	uint8_t *copy = malloc(in->len + 1);
	size_t i;

	must(copy != NULL);
	if (in->len >= 4) {
		memcpy(copy, in->stream, in->len);
		ws_mask(copy, in->len, in->stream, seed);
		for (i = 0; i < in->len; i++)
			must(copy[i] == (in->stream[i] ^ in->stream[(seed + i) % 4]));
	}
	free(copy);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct ws_events whole, cut; /* static: their text is used again */
	struct input in;

	if (len < 2)
		return 0;
	in = (struct input){ .role = (data[0] & 1) != 0 ? WS_CLIENT : WS_SERVER, .stream = data + 2, .len = len - 2 };
	in.max_message = (UINT64_C(1) << (data[0] >> 1 & 63)) - 1;
	decode(&whole, &in, in.len, 0, 0);
	decode(&cut, &in, 1, 1, data[1]);
	check_same(&whole, &cut);
	decode(&cut, &in, in.len > 0 ? data[1] % in.len : 0, 0, 0);
	check_same(&whole, &cut);
	decode(&cut, &in, 0, 2u + data[1] % 30, data[1]);
	check_same(&whole, &cut);
	check_first_head(&in);
	check_mask(&in, data[1]);
	return 0;
}
