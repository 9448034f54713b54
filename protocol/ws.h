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
#define WS_REST_MAX (WS_HEAD_MAX + WS_CONTROL_MAX) /* bytes that may be offered again, see ws_decode */

enum ws_event_type {
	WS_EV_NONE,  /* no event yet; returned with PROTO_MORE */
	WS_EV_BEGIN, /* a data message begins: opcode, frame_len, fin are set */
	WS_EV_DATA,  /* a piece of the message's payload: data (a view into the caller's buffer, unmasked in place) */
	WS_EV_END,   /* the message is complete */
	WS_EV_PING,  /* data = whole payload (a view into the caller's buffer, unmasked in place) */
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

/* Embedded by value, one per connection and direction, so kept small (40 bytes); fields are ws.c's own, which documents the
 * state machine. */
struct ws_decoder {
	uint64_t left;	       /* payload bytes of this frame still to come */
	uint64_t message_len;  /* payload bytes of this message announced by its frames so far */
	uint64_t max_message;  /* bytes; message_len <= max_message always */
	enum proto_err failed; /* latched: after an error every call returns it */
	uint8_t mask[4];       /* key of the frame under way (WS_SERVER only) */
	uint8_t role;	       /* enum ws_role */
	uint8_t state;	       /* enum ws_state in ws.c */
	uint8_t phase;	       /* payload bytes of this frame already seen, modulo 4 */
	bool fin;	       /* of the data frame under way */
	bool in_message;       /* a data message has begun and not ended */
};

/* Prepares d.  max_message: the most payload bytes of one data message over all its frames. */
void ws_decoder_init(struct ws_decoder *d, enum ws_role role, uint64_t max_message);

/* Consumes bytes from buf[0..len) up to and including the next event.
 * buf is modified: payload is unmasked in place.  *used is the number of bytes consumed (always set).
 * Returns PROTO_OK with *ev set; PROTO_MORE when no event is complete; or an error, latched.
 * (A partial payload yields WS_EV_DATA at once, so it is never withheld.)  Zero-length payloads give no WS_EV_DATA.
 * Call again with the rest until PROTO_MORE.  What is not used then, less than WS_REST_MAX bytes, begins a head or a control frame: it is to be
 * offered again, with what comes behind it.
 * buf may be NULL when len is 0.  After WS_EV_CLOSE the peer may send nothing more: further bytes give PROTO_WS_ORDER.
 * Text is not checked to be UTF-8: this protocol has no text messages, the caller refuses them at WS_EV_BEGIN. */
MUSTCHECK enum proto_err ws_decode(struct ws_decoder *d, uint8_t *buf, size_t len, size_t *used, struct ws_event *ev);

/* Writes a frame head for a payload of len < 2^63 bytes to out (WS_HEAD_MAX bytes of room); shortest length form.
 * mask: 4 bytes, when role is WS_CLIENT; else ignored (may be NULL).  Returns bytes written. */
size_t ws_format_head(uint8_t *out, enum ws_role role, bool fin, enum ws_opcode opcode, uint64_t len, const uint8_t *mask);

/* XORs buf[0..len) with the 4-byte key, starting at payload position offset (RFC 6455 5.3).
 * Its own inverse.  Eight or more bytes at a time; any alignment. */
void ws_mask(uint8_t *buf, size_t len, const uint8_t key[4], uint64_t offset);
/* The same on the way from from[0..len) to to[0..len): the same place, or apart from it. */
void ws_mask_copy(uint8_t *to, const uint8_t *from, size_t len, const uint8_t key[4], uint64_t offset);

/* Writes a close payload (2-byte code, then reason cut to fit on a UTF-8 boundary, and before anything that is not UTF-8)
 * to out (WS_CONTROL_MAX bytes of room).  Code 1005 means "no code": nothing is written, so what WS_EV_CLOSE brought can be
 * echoed as it is.  Returns bytes written. */
size_t ws_format_close(uint8_t *out, uint16_t code, const char *reason);

/* Whether code may stand in a close frame: 1000-1003, 1007-1014 (RFC 6455 7.4.1 and IANA), 3000-4999 (7.4.2). */
bool ws_close_code_ok(unsigned code);

#endif
