/* See sink.h.
 *
 * The one idea: it must cost far less than what it measures, so it reads the first bytes of a message only and has the kernel throw the
 * rest away, and all answers of one pass over a connection leave in one write.
 *
 * One session a connection, as the fleet has it. */
#include <err.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/queue.h>
#include <sys/socket.h>

#include <openssl/evp.h>

#include "protocol/http.h"
#include "protocol/message.h"
#include "protocol/ws.h"

#include "tests/bench/load/frames.h"
#include "tests/bench/load/pipe.h"
#include "tests/bench/load/sink.h"

#define READ_BYTES 65536
#define OUT_BYTES (READ_BYTES * 2) /* an answer is no longer than twice the UPLOAD it is for */
#define ROUNDS 8		   /* reads of one connection before the others have their turn */
#define BACKLOG 4096

struct sink_conn {
	struct pipe pipe;
	LIST_ENTRY(sink_conn) link;
	struct sink *sink;
	bool upgraded;
	struct frames frames;
	uint8_t *kept; /* of an upgrade request; then answers that the kernel did not take */
	size_t kept_len;
	uint64_t session_ident;
	unsigned file_ident;
};

struct sink {
	struct loop_fd listener;
	unsigned port;
	LIST_HEAD(, sink_conn) conns;
	struct sink_count count;
	unsigned nfiles;
	uint64_t *held; /* by file ident, as are */
	const struct sink_conn **bound; /* where its session is; NULL: nowhere */
};

static uint8_t in[READ_BYTES], out[OUT_BYTES];
static size_t out_len;

static void
conn_end(struct sink_conn *c)
{
	LIST_REMOVE(c, link);
	if (c->sink->bound[c->file_ident] == c)
		c->sink->bound[c->file_ident] = NULL;
	pipe_close(&c->pipe);
	free(c->kept);
	free(c);
}

/* ---- out ---- */

static void
keep(struct sink_conn *c, const uint8_t *bytes, size_t len)
{
	if (len > 0 && (c->kept = realloc(c->kept, c->kept_len + len)) == NULL)
		err(1, "sink");
	if (len > 0)
		memcpy(c->kept + c->kept_len, bytes, len);
	c->kept_len += len;
}

static bool
flush(struct sink_conn *c)
{
	ssize_t n = 0;

	if (c->kept_len > 0 || out_len == 0) {
		keep(c, out, out_len);
		n = pipe_write(&c->pipe, c->kept, c->kept_len);
		if (n > 0)
			memmove(c->kept, c->kept + n, c->kept_len -= (size_t)n);
	} else {
		n = pipe_write(&c->pipe, out, out_len);
		keep(c, out + (n > 0 ? n : 0), out_len - (size_t)(n > 0 ? n : 0));
	}
	out_len = 0;
	if (n > 0)
		c->sink->count.bytes_out += (uint64_t)n;
	if (n >= 0)
		loop_watch(&c->pipe.fd, c->kept_len > 0 ? EPOLLIN | EPOLLOUT : EPOLLIN);
	return n >= 0;
}

static void
say(const struct message *m)
{
	char head[MSG_HEAD_MAX];
	size_t n = msg_format_head(m, head);

	if (out_len + WS_HEAD_MAX + n > OUT_BYTES)
		errx(1, "the sink answers more than it is asked");
	out_len += ws_format_head(out + out_len, WS_SERVER, true, WS_BINARY, n, NULL);
	memcpy(out + out_len, head, n);
	out_len += n;
}

static void
acknowledge(const struct sink_conn *c)
{
	struct message m = { .type = MSG_S_DOWNLOAD, .session_ident = c->session_ident };

	m.download = (struct msg_download){ .download_server_version = 1, .latest_server_version = 1, .latest_server_version_salt = 7,
		.upload_client_version = c->sink->held[c->file_ident], .upload_server_version = 1 };
	say(&m);
}

/* ---- in ---- */

static void
message(void *arg, const uint8_t *prefix, size_t len)
{
	struct sink_conn *c = arg;
	struct message m, answer = { 0 };
	enum proto_err bad = msg_parse_head(MSG_C2S, MSG_PBS, prefix, len, &m);

	if (bad != PROTO_OK)
		errx(1, "sink: %s: %.*s", proto_strerror(bad), (int)len, (const char *)prefix);
	answer.session_ident = m.session_ident;
	switch (m.type) {
	case MSG_C_UPLOAD:
		c->sink->count.uploads++;
		if (m.upload.progress_client_version > c->sink->held[c->file_ident])
			c->sink->held[c->file_ident] = m.upload.progress_client_version;
		acknowledge(c);
		break;
	case MSG_C_IDENT:
		if (m.c_ident.file_ident == 0 || m.c_ident.file_ident > c->sink->nfiles)
			errx(1, "sink: file ident %llu", (unsigned long long)m.c_ident.file_ident);
		c->session_ident = m.session_ident;
		c->file_ident = (unsigned)m.c_ident.file_ident;
		c->sink->bound[c->file_ident] = c;
		acknowledge(c);
		break;
	case MSG_C_MARK:
		answer.type = MSG_S_MARK;
		answer.s_mark.request_ident = m.c_mark.request_ident;
		say(&answer);
		break;
	case MSG_C_PING:
		answer.type = MSG_S_PONG;
		answer.pong.timestamp = m.ping.timestamp;
		say(&answer);
		break;
	case MSG_C_UNBIND:
		answer.type = MSG_S_UNBOUND;
		say(&answer);
		break;
	default:
		break;
	}
}

/* RFC 6455 section 4.2.2. */
static size_t
accept_key(struct view key, char accept[32])
{
	static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
	uint8_t text[24 + sizeof(guid)], sum[EVP_MAX_MD_SIZE];
	unsigned n;

	memcpy(text, key.ptr, 24);
	memcpy(text + 24, guid, sizeof(guid) - 1);
	if (EVP_Digest(text, 24 + sizeof(guid) - 1, sum, &n, EVP_sha1(), NULL) != 1)
		errx(1, "SHA-1");
	return (size_t)EVP_EncodeBlock((uint8_t *)accept, sum, (int)n);
}

/* Answers the upgrade request if it is all there; false: it is none. */
static bool
upgrade(struct sink_conn *c, const uint8_t *bytes, size_t len)
{
	struct http_head head;
	struct view offers, first = { NULL, 0 };
	char accept[32];
	size_t used;
	enum proto_err bad;

	keep(c, bytes, len);
	bad = http_parse_request(c->kept, c->kept_len, &head, &used);
	if (bad == PROTO_MORE)
		return true;
	offers = head.protocol;
	if (bad != PROTO_OK || !http_list_next(&offers, &first))
		return false;
	out_len = http_format_101((char *)out, OUT_BYTES, (struct view){ (uint8_t *)accept, accept_key(head.key, accept) }, first, view_of("sink"));
	if (used != c->kept_len)
		errx(1, "sink: a message before the upgrade is done");
	c->kept_len = 0;
	c->upgraded = true;
	return flush(c);
}

static bool
take(struct sink_conn *c)
{
	for (int i = 0; i < ROUNDS; i++) {
		uint64_t skip = frames_left(&c->frames);
		ssize_t n;

		if (skip > READ_BYTES / 2) {
			n = pipe_skip(&c->pipe, (size_t)skip);
			if (n > 0)
				frames_skipped(&c->frames, (uint64_t)n);
		} else {
			n = pipe_read(&c->pipe, in, READ_BYTES);
			if (n > 0 && !(c->upgraded ? frames_feed(&c->frames, in, (size_t)n, message, c) : upgrade(c, in, (size_t)n)))
				return false;
		}
		if (n > 0)
			c->sink->count.bytes_in += (uint64_t)n;
		if (out_len > 0 && !flush(c))
			return false;
		if (n <= 0)
			return n == 0;
		if (skip <= READ_BYTES / 2 && n < READ_BYTES)
			return true;
	}
	return true;
}

static void
conn_ready(struct loop_fd *f, uint32_t events)
{
	struct sink_conn *c = (struct sink_conn *)(void *)f;

	out_len = 0;
	if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 && !take(c)) {
		conn_end(c);
		return;
	}
	if ((events & EPOLLOUT) != 0 && c->upgraded && !flush(c))
		conn_end(c);
}

static void
listener_ready(struct loop_fd *f, uint32_t events)
{
	struct sink *s = (struct sink *)(void *)f;
	int fd;

	(void)events;
	while ((fd = accept4(f->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct sink_conn *c = calloc(1, sizeof(*c));

		if (c == NULL)
			err(1, "sink");
		c->sink = s;
		c->pipe.fd.ready = conn_ready;
		frames_init(&c->frames);
		pipe_accepted(&c->pipe, fd);
		loop_watch(&c->pipe.fd, EPOLLIN);
		LIST_INSERT_HEAD(&s->conns, c, link);
		s->count.connections++;
	}
}

/* ---- life ---- */

void
sink_open(struct sink *s)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons((uint16_t)s->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);
	int one = 1;

	if ((s->listener.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) < 0)
		err(1, "socket");
	(void)setsockopt(s->listener.fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(s->listener.fd, (struct sockaddr *)&at, sizeof(at)) != 0 || listen(s->listener.fd, BACKLOG) != 0 ||
	    getsockname(s->listener.fd, (struct sockaddr *)&at, &len) != 0)
		err(1, "sink: listen");
	s->port = ntohs(at.sin_port);
	loop_watch(&s->listener, EPOLLIN);
}

void
sink_cut(struct sink *s)
{
	struct sink_conn *c;

	loop_forget(&s->listener);
	while ((c = LIST_FIRST(&s->conns)) != NULL)
		conn_end(c);
}

struct sink *
sink_new(unsigned nfiles)
{
	struct sink *s = calloc(1, sizeof(*s));

	if (s == NULL || (s->held = calloc(nfiles + 1, sizeof(*s->held))) == NULL ||
	    (s->bound = calloc(nfiles + 1, sizeof(*s->bound))) == NULL)
		err(1, "sink");
	LIST_INIT(&s->conns);
	s->listener = (struct loop_fd){ .fd = -1, .ready = listener_ready };
	s->nfiles = nfiles;
	sink_open(s);
	return s;
}

void
sink_free(struct sink *s)
{
	sink_cut(s);
	free(s->held);
	free(s->bound);
	free(s);
}

void
sink_forget(struct sink *s)
{
	memset(s->held, 0, (s->nfiles + 1) * sizeof(*s->held));
}

unsigned
sink_port(const struct sink *s)
{
	return s->port;
}

const struct sink_count *
sink_count(const struct sink *s)
{
	return &s->count;
}

uint64_t
sink_held(const struct sink *s, unsigned file_ident)
{
	return s->held[file_ident];
}

bool
sink_is_bound(const struct sink *s, unsigned file_ident)
{
	return s->bound[file_ident] != NULL;
}
