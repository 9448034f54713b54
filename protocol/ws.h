/* RFC 6455 frames, both roles, incremental.  Pure: bytes in, events out. */
#ifndef PROTOCOL_WS_H
#define PROTOCOL_WS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/err.h"
#include "protocol/view.h"

enum ws_role {
	WS_SERVER, /* we are the server: received frames are masked, sent ones are not */
	WS_CLIENT, /* the reverse */
};

enum ws_opcode {
	WS_CONTINUATION = 0x0,
	WS_TEXT = 0x1,
	WS_BINARY = 0x2,
	WS_CLOSE = 0x8,
	WS_PING = 0x9,
	WS_PONG = 0xA,
};

#define WS_HEAD_MAX 14	  /* bytes: 2 + 8 length + 4 mask (5.2) */
#define WS_CONTROL_MAX 125 /* bytes of payload in a control frame (5.5) */

enum ws_event_type {
	WS_EV_NONE,  /* no event yet; returned with PROTO_MORE */
	WS_EV_BEGIN, /* a data message begins: opcode, frame_len, fin are set */
	WS_EV_DATA,  /* a piece of the message's payload: data (a view into the caller's buffer, unmasked in place) */
	WS_EV_END,   /* the message is complete */
	WS_EV_PING,  /* data = whole payload (a view into the decoder, until the next call) */
	WS_EV_PONG,  /* likewise */
	WS_EV_CLOSE, /* close_code (1005 when the frame carried none), data = reason */
};

struct ws_event {
	enum ws_event_type type;
	enum ws_opcode opcode; /* WS_EV_BEGIN: WS_TEXT or WS_BINARY */
	bool fin;	       /* WS_EV_BEGIN: the first frame is the whole message */
	uint64_t frame_len;    /* WS_EV_BEGIN: payload bytes of the first frame */
	uint16_t close_code;
	struct view data;
};

/* Embedded by value; fields are ws.c's own.  ws.c documents the state machine. */
struct ws_decoder {
	enum ws_role role;
	uint8_t state;
	uint8_t head[WS_HEAD_MAX];
	uint8_t head_len, head_need;
	uint8_t mask[4];
	uint8_t opcode;	     /* of the frame under way */
	bool fin;	     /* of the frame under way */
	bool in_message;     /* a data message has begun and not ended */
	uint8_t control_len; /* bytes gathered in control[] */
	uint64_t left;	     /* payload bytes of this frame still to come */
	uint64_t offset;     /* payload bytes of this frame already seen (mask phase) */
	uint64_t message_len;/* payload bytes of this message announced by its frames so far */
	uint64_t max_message;/* bytes */
	enum proto_err failed; /* latched: after an error every call returns it */
	uint8_t control[WS_CONTROL_MAX];
};

/* Prepares d.  max_message: the most payload bytes of one data message over all its frames. */
void ws_decoder_init(struct ws_decoder *d, enum ws_role role, uint64_t max_message);

/* Consumes bytes from buf[0..len) up to and including the next event.
 * buf is modified: payload is unmasked in place.  *used is the number of bytes consumed (always set).
 * Returns PROTO_OK with *ev set; PROTO_MORE when all bytes are used and no event is complete
 * (a partial payload yields WS_EV_DATA at once, so it is never withheld); or an error, latched.
 * Zero-length payloads give no WS_EV_DATA.  Call again with the rest until PROTO_MORE.
 * After WS_EV_CLOSE the peer may send nothing more: further bytes give PROTO_WS_ORDER. */
MUSTCHECK enum proto_err ws_decode(struct ws_decoder *d, uint8_t *buf, size_t len, size_t *used, struct ws_event *ev);

/* Writes a frame head for a payload of len bytes to out (WS_HEAD_MAX bytes of room); shortest length form.
 * mask: 4 bytes, when role is WS_CLIENT; else ignored (may be NULL).  Returns bytes written. */
size_t ws_format_head(uint8_t *out, enum ws_role role, bool fin, enum ws_opcode opcode, uint64_t len, const uint8_t *mask);

/* XORs buf[0..len) with the 4-byte key, starting at payload position offset (RFC 6455 5.3).
 * Its own inverse.  Eight or more bytes at a time; any alignment. */
void ws_mask(uint8_t *buf, size_t len, const uint8_t key[4], uint64_t offset);

/* Writes a close payload (2-byte code, then reason cut to fit on a UTF-8 boundary) to out
 * (WS_CONTROL_MAX bytes of room).  Returns bytes written. */
size_t ws_format_close(uint8_t *out, uint16_t code, const char *reason);

#endif
