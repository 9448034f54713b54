/* Frames out.  Head and payload are written once, into the queue where they wait to be sent, and masked (client role) on the way. */
#include <string.h>

#include "relay/hot.h"
#include "relay/outqueue.h"
#include "relay/stream.h"
#include "relay/tls.h"
#include "relay/wire.h"

/* Bytes of a payload, from its position offset on; mask NULL: unmasked. */
static void
put(uint8_t *to, struct view data, const uint8_t *mask, uint64_t offset)
{
	if (mask != NULL)
		ws_mask_copy(to, data.ptr, data.len, mask, offset);
	else if (data.len > 0) /* ptr may be NULL */
		memcpy(to, data.ptr, data.len);
}

/* Appends them.  secret: they are wiped once they were sent (I9).  False, here and below: out of memory. */
static bool
payload(struct outqueue *out, struct view data, const uint8_t *mask, uint64_t offset, bool secret)
{
	size_t room;

	for (; data.len > 0; data.ptr += room, data.len -= room, offset += room) {
		uint8_t *to = outqueue_room(out, data.len, &room);

		if (to == NULL)
			return false;
		put(to, (struct view){ data.ptr, room }, mask, offset);
		outqueue_commit(out, room);
		if (secret)
			outqueue_mark_secret(out);
	}
	return true;
}

/* Appends a frame whose payload is a, b, and more bytes that the caller appends (role server). */
static bool
frame(struct outqueue *out, enum ws_role role, enum ws_opcode opcode, struct view a, struct view b, uint64_t more, bool secret)
{
	uint8_t head[WS_HEAD_MAX], mask[4];
	const uint8_t *key = role == WS_CLIENT ? mask : NULL;
	struct view h = { head, 0 };
	size_t all, room;
	uint8_t *to;

	if (key != NULL)
		tls_mask(mask);
	h.len = ws_format_head(head, role, true, opcode, a.len + b.len + more, mask);
	all = h.len + a.len + b.len;
	if ((to = outqueue_room(out, all, &room)) == NULL)
		return false;
	if (room < all)
		return payload(out, h, NULL, 0, secret) && payload(out, a, key, 0, secret) && payload(out, b, key, a.len, secret);
	put(to, h, NULL, 0);
	put(to + h.len, a, key, 0);
	put(to + h.len + a.len, b, key, a.len);
	outqueue_commit(out, all);
	if (secret)
		outqueue_mark_secret(out);
	return true;
}

bool
wire_message(struct outqueue *out, enum ws_role role, const struct message *m, struct view body)
{
	UNWIPED char head[MSG_HEAD_MAX];
	size_t n = msg_format_head(m, head);

	return frame(out, role, WS_BINARY, (struct view){ (uint8_t *)head, n }, body, 0, msg_has_token(m->type));
}

/* The frame is in the stream's queue, behind the bytes that were there before; or not. */
static void
sent(struct stream *s, size_t before, bool ok)
{
	if (ok)
		stream_appended(s, stream_queued(s) - before);
	else
		stream_fail(s, "out of memory");
}

void
wire_send(struct stream *s, enum ws_role role, const struct message *m, struct view body)
{
	struct outqueue *out = stream_output(s);
	size_t before = stream_queued(s);

	if (out != NULL)
		sent(s, before, wire_message(out, role, m, body));
}

void
wire_send_open(struct stream *s, const struct message *m, uint64_t body_len)
{
	UNWIPED char head[MSG_HEAD_MAX];
	struct outqueue *out = stream_output(s);
	size_t before = stream_queued(s), n = msg_format_head(m, head);

	if (out != NULL)
		sent(s, before, frame(out, WS_SERVER, WS_BINARY, (struct view){ (uint8_t *)head, n }, (struct view){ NULL, 0 }, body_len, false));
}

void
wire_control(struct stream *s, enum ws_role role, enum ws_opcode opcode, const void *bytes, size_t len)
{
	struct outqueue *out = stream_output(s);
	size_t before = stream_queued(s);

	if (out != NULL)
		sent(s, before, frame(out, role, opcode, (struct view){ bytes, len }, (struct view){ NULL, 0 }, 0, false));
}
