/* Sync messages as WebSocket frames, into a queue or stream: the one place where frames are made. */
#ifndef RELAY_WIRE_H
#define RELAY_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/message.h"
#include "protocol/ws.h"

struct outqueue;
struct stream;

/* Appends one binary frame holding m's head and body to out; masked with a fresh key when role is WS_CLIENT.  False: out of memory, and
 * perhaps a part was appended: out can only be dropped.  The functions below end the stream then (stream_fail): the size of a frame is a peer's choice. */
bool wire_message(struct outqueue *out, enum ws_role role, const struct message *m, struct view body);

/* The same straight to a stream. */
void wire_send(struct stream *s, enum ws_role role, const struct message *m, struct view body);

/* A frame head and m's head only, for a body of body_len bytes that the caller writes behind it; unmasked (role server). */
void wire_send_open(struct stream *s, const struct message *m, uint64_t body_len);

/* A control frame; at most WS_CONTROL_MAX bytes. */
void wire_control(struct stream *s, enum ws_role role, enum ws_opcode opcode, const void *bytes, size_t len);

#endif
