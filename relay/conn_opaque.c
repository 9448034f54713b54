/* A client whose protocol versions are all unknown here: passed through.
 *
 * Once both sides are upgraded its bytes go to upstream as they are, and back: WebSocket frames and all, for nothing of what is in them
 * is known.  So nothing is parsed, translated, answered or kept, no PING of ours is put in between, and when upstream or the link is lost
 * the client is closed: its own patience and its own history carry it over.  While DOWN it is refused (conn_upgrade.c). */
#include "relay/conn_impl.h"
#include "relay/front.h"
#include "relay/options.h"
#include "relay/stream.h"
#include "relay/upstream.h"

size_t
conn_opaque_in(struct conn *c, uint8_t *buf, size_t len)
{
	upstream_send_raw(c->upstream, (struct view){ buf, len });
	if (upstream_queued(c->upstream) > c->front->opt->out_high)
		conn_await_upstream(c);
	return len;
}

void
conn_opaque_out(struct conn *c, struct view data)
{
	stream_write(c->stream, data.ptr, data.len);
	if (conn_is_full(c))
		upstream_pause(c->upstream, true);
}
