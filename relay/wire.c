/* Frames out.  Masking (client role) needs a copy of the payload anyway, so head and body go into one contiguous piece,
 * which also makes one TLS record of a small message. */
#include <string.h>

#include <event2/buffer.h>

#include "relay/log.h"
#include "relay/stream.h"
#include "relay/tls.h"
#include "relay/wire.h"

/* False: out of memory. */
static bool
frame(struct evbuffer *out, enum ws_role role, enum ws_opcode opcode, struct view a, struct view b)
{
	size_t need = WS_HEAD_MAX + a.len + b.len, n;
	struct evbuffer_iovec v;
	uint8_t mask[4] = { 0 };
	uint8_t *p;

	if (evbuffer_reserve_space(out, (ev_ssize_t)need, &v, 1) != 1)
		return false;
	if (role == WS_CLIENT)
		tls_random(mask, sizeof(mask));
	p = v.iov_base;
	n = ws_format_head(p, role, true, opcode, a.len + b.len, mask);
	memcpy(p + n, a.ptr, a.len);
	if (b.len > 0)
		memcpy(p + n + a.len, b.ptr, b.len);
	if (role == WS_CLIENT)
		ws_mask(p + n, a.len + b.len, mask, 0);
	v.iov_len = n + a.len + b.len;
	return evbuffer_commit_space(out, &v, 1) == 0;
}

bool
wire_message(struct evbuffer *out, enum ws_role role, const struct message *m, struct view body)
{
	char head[MSG_HEAD_MAX];
	size_t n = msg_format_head(m, head);

	return frame(out, role, WS_BINARY, (struct view){ (uint8_t *)head, n }, body);
}

/* A scratch evbuffer for frames on their way to a stream; always empty between calls. */
static struct evbuffer *
scratch(void)
{
	static struct evbuffer *buf;

	if (buf == NULL && (buf = evbuffer_new()) == NULL)
		log_fatal("out_of_memory", "bytes=0");
	return buf;
}

/* ok: scratch holds the frame. */
static void
send_scratch(struct stream *s, bool ok)
{
	if (ok)
		stream_write_buffer(s, scratch());
	else
		stream_fail(s, "out of memory");
}

void
wire_send(struct stream *s, enum ws_role role, const struct message *m, struct view body)
{
	send_scratch(s, wire_message(scratch(), role, m, body));
}

void
wire_send_open(struct stream *s, const struct message *m, uint64_t body_len)
{
	uint8_t buf[WS_HEAD_MAX + MSG_HEAD_MAX];
	char head[MSG_HEAD_MAX];
	size_t head_len = msg_format_head(m, head);
	size_t n = ws_format_head(buf, WS_SERVER, true, WS_BINARY, head_len + body_len, NULL);

	memcpy(buf + n, head, head_len);
	stream_write(s, buf, n + head_len);
}

void
wire_control(struct stream *s, enum ws_role role, enum ws_opcode opcode, const void *payload, size_t len)
{
	send_scratch(s, frame(scratch(), role, opcode, (struct view){ payload, len }, (struct view){ NULL, 0 }));
}
