/* Decodes a stream of WebSocket frames piece by piece and writes down what came out, in words that do not depend on how the
 * stream was cut: neighbouring pieces of payload become one.  Shared by tests/unit/test_ws.c and tests/fuzz/fuzz_ws.c.
 *
 *	text fin 5; data 48656c6c6f; end; ping 01; close 1000 627965; error 104;
 *
 * ("part" for "fin" when the first frame is not the whole message; payloads in hex; data of one message goes on after an
 * interleaved ping as a new "data".)  On the way it checks what ws.h promises of every call; the first broken promise is kept.
 * Each piece is decoded in a block of its own, so a sanitizer sees the first byte read beyond it. */
#ifndef TESTS_UNIT_WS_EVENTS_H
#define TESTS_UNIT_WS_EVENTS_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/ws.h"

struct ws_events {
	struct ws_decoder d;
	char *text; /* NUL terminated; kept over begin, for reuse */
	size_t len, cap;
	size_t used;	    /* bytes consumed so far */
	enum proto_err err; /* PROTO_MORE, or the error that ended it */
	const char *broken; /* a promise of ws.h that was not kept; NULL = none */
	bool in_message, in_data;
	uint64_t message_len;
	uint8_t rest[WS_REST_MAX]; /* not consumed: offered again with the next piece */
	size_t rest_len;
};

static inline void
ws_events_add(struct ws_events *e, const char *text, size_t len)
{
	if (e->cap - e->len <= len) {
		e->cap = 2 * (e->cap + len) + 64;
		e->text = realloc(e->text, e->cap);
		if (e->text == NULL)
			abort();
	}
	memcpy(e->text + e->len, text, len);
	e->len += len;
	e->text[e->len] = '\0';
}

static inline void
ws_events_begin(struct ws_events *e, enum ws_role role, uint64_t max_message)
{
	char *text = e->text;
	size_t cap = e->cap;

	*e = (struct ws_events){ .text = text, .cap = cap, .err = PROTO_MORE };
	ws_decoder_init(&e->d, role, max_message);
	ws_events_add(e, "", 0);
}

static inline void
ws_events_hex(struct ws_events *e, struct view v)
{
	size_t i;

	for (i = 0; i < v.len; i++) {
		char pair[2] = { "0123456789abcdef"[v.ptr[i] >> 4], "0123456789abcdef"[v.ptr[i] & 15] };

		ws_events_add(e, pair, 2);
	}
}

/* Writes "word " and the payload in hex, behind the end of a run of data. */
static inline void
ws_events_word(struct ws_events *e, const char *word, struct view payload)
{
	if (e->in_data)
		ws_events_add(e, "; ", 2);
	e->in_data = false;
	ws_events_add(e, word, strlen(word));
	if (payload.len > 0)
		ws_events_add(e, " ", 1);
	ws_events_hex(e, payload);
	ws_events_add(e, "; ", 2);
}

static inline void
ws_events_promise(struct ws_events *e, bool kept, const char *what)
{
	if (!kept && e->broken == NULL)
		e->broken = what;
}

static inline void
ws_events_data(struct ws_events *e, const struct ws_event *ev, const uint8_t *buf, size_t used)
{
	ws_events_promise(e, e->in_message, "data within a message");
	ws_events_promise(e, ev->data.len > 0 && ev->data.len <= used && ev->data.ptr == buf + used - ev->data.len,
			  "data is a view of the last bytes consumed");
	e->message_len += ev->data.len;
	ws_events_promise(e, e->message_len <= e->d.max_message, "no more payload than max_message");
	if (!e->in_data)
		ws_events_add(e, "data ", 5);
	e->in_data = true;
	ws_events_hex(e, ev->data);
}

static inline void
ws_events_event(struct ws_events *e, const struct ws_event *ev, const uint8_t *buf, size_t used)
{
	const struct view none = { NULL, 0 };
	char line[64];

	switch (ev->type) {
	case WS_EV_NONE:
		ws_events_promise(e, false, "PROTO_OK comes with an event");
		return;
	case WS_EV_BEGIN:
		ws_events_promise(e, !e->in_message, "no message within a message");
		ws_events_promise(e, ev->opcode == WS_TEXT || ev->opcode == WS_BINARY, "a message is text or binary");
		e->in_message = true;
		e->message_len = 0;
		(void)snprintf(line, sizeof(line), "%s %s %llu", ev->opcode == WS_TEXT ? "text" : "binary", ev->fin ? "fin" : "part",
			       (unsigned long long)ev->frame_len);
		ws_events_word(e, line, none);
		return;
	case WS_EV_DATA:
		ws_events_data(e, ev, buf, used);
		return;
	case WS_EV_END:
		ws_events_promise(e, e->in_message, "only a message ends");
		e->in_message = false;
		ws_events_word(e, "end", none);
		return;
	case WS_EV_PING:
		ws_events_word(e, "ping", ev->data);
		return;
	case WS_EV_PONG:
		ws_events_word(e, "pong", ev->data);
		return;
	case WS_EV_CLOSE:
		(void)snprintf(line, sizeof(line), "close %u", ev->close_code);
		ws_events_word(e, line, ev->data);
		return;
	}
}

/* What was not consumed of the last piece and the next one, in a block of their own; *len is that of both. */
static inline uint8_t *
ws_events_block(struct ws_events *e, const uint8_t *piece, size_t *len)
{
	size_t all = e->rest_len + *len;
	uint8_t *block = all > 0 ? malloc(all) : NULL;

	if (all > 0 && block == NULL)
		abort();
	if (e->rest_len > 0)
		memcpy(block, e->rest, e->rest_len);
	if (*len > 0)
		memcpy(block + e->rest_len, piece, *len);
	e->rest_len = 0;
	*len = all;
	return block;
}

/* Decodes the next piece of the stream; nothing after an error. */
static inline void
ws_events_feed(struct ws_events *e, const uint8_t *piece, size_t len)
{
	uint8_t *copy, *buf;
	struct ws_event ev;
	char line[32];
	size_t used;

	if (e->err != PROTO_MORE)
		return;
	copy = buf = ws_events_block(e, piece, &len);
	while ((e->err = ws_decode(&e->d, buf, len, &used, &ev)) == PROTO_OK) {
		ws_events_promise(e, used <= len, "no more is consumed than given");
		ws_events_event(e, &ev, buf, used);
		e->used += used;
		buf += used;
		len -= used;
	}
	e->used += used;
	ws_events_promise(e, ev.type == WS_EV_NONE, "no event but with PROTO_OK");
	if (e->err == PROTO_MORE) {
		ws_events_promise(e, len - used < WS_REST_MAX, "PROTO_MORE leaves less than WS_REST_MAX");
		e->rest_len = len - used < WS_REST_MAX ? len - used : 0;
		if (e->rest_len > 0)
			memcpy(e->rest, buf + used, e->rest_len);
	} else {
		ws_events_promise(e, ws_decode(&e->d, buf, len, &used, &ev) == e->err && used == 0, "errors are latched");
		(void)snprintf(line, sizeof(line), "error %d", (int)e->err);
		ws_events_word(e, line, (struct view){ NULL, 0 });
	}
	free(copy);
}

/* Ends the run of data that may be open; the text is complete then. */
static inline void
ws_events_end(struct ws_events *e)
{
	if (e->in_data)
		ws_events_add(e, "; ", 2);
	e->in_data = false;
}

#endif
