/* Tests relay/wire: a message as the peer's frame decoder sees it, short and long. */
#include <stdlib.h>

#include "tests/unit/stream_pair.h"

#include "protocol/message.h"
#include "protocol/ws.h"

#include "relay/wire.h"

#define NEVER .close_on = -1
#define BODY_MAX 1500000

/* What a raw peer has got. */
struct peer {
	int fd;
	struct ws_decoder ws;
	uint8_t rest[WS_REST_MAX];
	size_t rest_len;
	uint8_t *payload;
	size_t len;
	unsigned messages;
	bool bad;
};

static void
take(struct peer *p, uint8_t *buf, size_t len)
{
	struct ws_event ev;
	size_t done = 0, used;
	enum proto_err err;

	for (;; done += used) {
		err = ws_decode(&p->ws, buf + done, len - done, &used, &ev);
		if (err != PROTO_OK)
			break;
		if (ev.type == WS_EV_DATA) {
			memcpy(p->payload + p->len, ev.data.ptr, ev.data.len);
			p->len += ev.data.len;
		}
		p->messages += ev.type == WS_EV_END;
	}
	p->bad = p->bad || err != PROTO_MORE;
	p->rest_len = len - done;
	memcpy(p->rest, buf + done, p->rest_len);
}

/* Everything that is there now; bytes. */
static size_t
peer_read(struct peer *p)
{
	static uint8_t buf[65536];
	size_t all = 0;
	ssize_t n;
	bool eof;

	do {
		memcpy(buf, p->rest, p->rest_len);
		n = raw_read(p->fd, buf + p->rest_len, sizeof buf - p->rest_len, &eof);
		if (n > 0)
			take(p, buf, p->rest_len + (size_t)n);
		all += n > 0 ? (size_t)n : 0;
	} while (n > 0);
	return all;
}

static void
peer_open(struct peer *p, struct end *c, enum ws_role role)
{
	*p = (struct peer){ .fd = connect_stream(c, NULL, NULL), .payload = malloc(BODY_MAX + MSG_HEAD_MAX) };
	ws_decoder_init(&p->ws, role == WS_CLIENT ? WS_SERVER : WS_CLIENT, UINT64_MAX / 2);
}

static void
peer_close(struct peer *p)
{
	close(p->fd);
	free(p->payload);
}

/* An UPLOAD (role client) or a DOWNLOAD of len bytes. */
static struct message
message_of(enum ws_role role, size_t len)
{
	struct message m = { .type = role == WS_CLIENT ? MSG_C_UPLOAD : MSG_S_DOWNLOAD, .session_ident = 7 };

	if (role == WS_CLIENT)
		m.upload.uncompressed_size = len;
	else
		m.download.uncompressed_size = len;
	return m;
}

static const uint8_t *
body(void)
{
	static uint8_t bytes[BODY_MAX];

	for (size_t i = 0; i < sizeof bytes && bytes[1] == 0; i++)
		bytes[i] = pattern(i);
	return bytes;
}

static void
check_got(const struct peer *p, const struct message *m, size_t len)
{
	char head[MSG_HEAD_MAX];
	size_t n = msg_format_head(m, head);

	CHECK(!p->bad);
	CHECK_U64(p->messages, 1);
	CHECK_U64(p->len, n + len);
	CHECK(p->len == n + len && memcmp(p->payload, head, n) == 0 && memcmp(p->payload + n, body(), len) == 0);
}

static void
comes_whole(enum ws_role role, size_t len, bool late)
{
	struct message m = message_of(role, len);
	struct end c = { NEVER };
	struct peer p;

	stage_open();
	peer_open(&p, &c, role);
	RUN_UNTIL(c.opens == 1);
	wire_send(c.s, role, &m, (struct view){ body(), len });
	if (late) {
		run_passes(5);
		CHECK(stream_queued(c.s) > 0);
	}
	RUN_UNTIL(peer_read(&p) == 0 && p.messages == 1);
	check_got(&p, &m, len);
	CHECK_U64(c.errors, 0);
	CHECK_U64(stream_queued(c.s), 0);
	end_close(&c);
	peer_close(&p);
	stage_close();
}

TEST(messages_of_all_lengths)
{
	static const size_t lens[] = { 0, 1, 1000, 16384, 65535, 65536, 65537, 131072, 131073, 200000, BODY_MAX };

	for (size_t i = 0; i < sizeof lens / sizeof lens[0] && !harness_failed(); i++) {
		comes_whole(WS_CLIENT, lens[i], false);
		comes_whole(WS_SERVER, lens[i], false);
	}
}

TEST(a_peer_that_does_not_read_at_once)
{
	comes_whole(WS_CLIENT, BODY_MAX, true);
	comes_whole(WS_SERVER, BODY_MAX, true);
}
