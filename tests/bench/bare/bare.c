/* bare - the yardstick: the least that a WebSocket forwarder can do on epoll, in one thread, plain or TLS 1.3 towards the clients.
 *
 *	bare LISTEN-PORT UPSTREAM-PORT [CERTIFICATE KEY]
 *
 * Each client gets a connection of its own to the upstream at 127.0.0.1.  The upgrade is passed on as it is; from then on frames are taken
 * apart by the codec of protocol/ws as they arrive, and put together again: unmasked, masked with a key of our own towards the upstream, not
 * masked towards the client.  A payload is forwarded in the pieces in which it comes; nothing of it is copied but what the kernel does not
 * take.
 *
 * What it leaves out is what holdfast is for: sync messages are not known, nothing is kept, no limit is held, nothing is logged. */
#include <err.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <openssl/ssl.h>

#include "protocol/ws.h"

#define READ_BYTES 65536
#define ROUNDS 4		/* reads of one leg before the others have their turn */
#define QUEUE_HIGH (256u << 10) /* bytes that wait for a leg: its peer is not read */
#define PIECES 512		/* heads and payloads of one read */
#define RECORD 16384		/* of TLS */
#define EVENTS 256

struct leg {
	int fd;
	SSL *ssl; /* NULL: plain */
	bool shaking, connecting, upgraded, held; /* held: not read, its peer takes no more */
	uint32_t armed;
	struct leg *peer;
	enum ws_role out_role; /* of the frames written to it */
	unsigned match;	       /* bytes of the CR LF CR LF of the upgrade that were seen */
	struct ws_decoder in;
	uint8_t rest[WS_REST_MAX]; /* of what was read, offered to it again */
	unsigned rest_len;
	uint8_t *queue; /* not taken by the kernel */
	size_t queue_len, queue_cap;
	/* of the message that goes out to the peer */
	uint8_t mask[4];
	uint64_t offset;
	struct leg *next_dead;
};

static int epfd;
static unsigned upstream_port;
static SSL_CTX *tls;
static struct leg *dead;

static uint8_t buf[WS_REST_MAX + READ_BYTES];
static uint8_t heads[PIECES][WS_HEAD_MAX];
static struct iovec piece[PIECES];
static int npiece;

/* ---- legs ---- */

static void
arm(struct leg *l)
{
	struct epoll_event ev = { .data.ptr = l };

	if (l->fd < 0)
		return;
	if (l->connecting || l->queue_len > 0 || (l->shaking && SSL_want_write(l->ssl)))
		ev.events |= EPOLLOUT;
	if (!l->connecting && !l->held)
		ev.events |= EPOLLIN;
	if (ev.events == l->armed)
		return;
	if (epoll_ctl(epfd, EPOLL_CTL_MOD, l->fd, &ev) != 0)
		err(1, "epoll_ctl");
	l->armed = ev.events;
}

static struct leg *
leg_new(int fd, enum ws_role out_role)
{
	struct leg *l = calloc(1, sizeof(*l));
	struct epoll_event ev = { .data.ptr = l };
	int one = 1;

	if (l == NULL)
		err(1, "memory");
	l->fd = fd;
	l->out_role = out_role;
	ws_decoder_init(&l->in, out_role, UINT64_MAX / 2); /* what is written as a client is read as one */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &ev) != 0)
		err(1, "epoll_ctl");
	return l;
}

/* Both legs end; they are freed behind the events that are at hand. */
static void
pair_end(struct leg *l)
{
	struct leg *const both[] = { l, l->peer };

	for (int i = 0; i < 2; i++) {
		if (both[i]->fd < 0)
			continue;
		SSL_free(both[i]->ssl);
		(void)close(both[i]->fd);
		both[i]->fd = -1;
		both[i]->next_dead = dead;
		dead = both[i];
	}
}

static void
bury(void)
{
	struct leg *l;

	while ((l = dead) != NULL) {
		dead = l->next_dead;
		free(l->queue);
		free(l);
	}
}

/* ---- bytes: more than 0; 0: not now; -1: over ---- */

static ssize_t
result(ssize_t n)
{
	return n > 0 ? n : n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
}

static ssize_t
ssl_result(struct leg *l, int ret)
{
	int why = SSL_get_error(l->ssl, ret);

	return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

static ssize_t
leg_read(struct leg *l, uint8_t *bytes)
{
	size_t n, all = 0;

	if (l->ssl == NULL)
		return result(recv(l->fd, bytes, READ_BYTES, 0));
	while (all < READ_BYTES) {
		int ret = SSL_read_ex(l->ssl, bytes + all, READ_BYTES - all, &n);

		if (ret != 1)
			return all > 0 ? (ssize_t)all : ssl_result(l, ret);
		all += n;
	}
	return (ssize_t)all;
}

static ssize_t
write_record(struct leg *l, const uint8_t *bytes, size_t len)
{
	size_t n;
	int ret = SSL_write_ex(l->ssl, bytes, len, &n);

	return ret == 1 ? (ssize_t)n : ssl_result(l, ret);
}

/* Small pieces share a record. */
static ssize_t
write_tls(struct leg *l, const struct iovec *v, int n)
{
	static uint8_t record[RECORD];
	ssize_t put = 0, all = 0;

	for (int i = 0; i < n;) {
		size_t len = 0, at = 0;

		for (; i < n && len + v[i].iov_len <= RECORD; i++) {
			memcpy(record + len, v[i].iov_base, v[i].iov_len);
			len += v[i].iov_len;
		}
		if (len > 0 && (put = write_record(l, record, len)) <= 0)
			break;
		all += put;
		put = 0;
		if (len > 0 || i == n)
			continue;
		for (; at < v[i].iov_len; at += (size_t)put, all += put)
			if ((put = write_record(l, (uint8_t *)v[i].iov_base + at, v[i].iov_len - at)) <= 0)
				return put < 0 ? -1 : all;
		i++;
	}
	return put < 0 ? -1 : all;
}

static ssize_t
leg_writev(struct leg *l, const struct iovec *v, int n)
{
	return l->ssl != NULL ? write_tls(l, v, n) : result(writev(l->fd, v, n));
}

static void
keep(struct leg *l, const void *bytes, size_t len)
{
	if (l->queue_cap - l->queue_len < len) {
		while (l->queue_cap - l->queue_len < len)
			l->queue_cap = l->queue_cap == 0 ? 4096 : l->queue_cap * 2;
		if ((l->queue = realloc(l->queue, l->queue_cap)) == NULL)
			err(1, "memory");
	}
	memcpy(l->queue + l->queue_len, bytes, len);
	l->queue_len += len;
}

static bool leg_readable(struct leg *l);

/* Sends what waits for l; false: it is over. */
static bool
drain(struct leg *l)
{
	bool held = l->peer->held;
	struct iovec v = { l->queue, l->queue_len };
	ssize_t n = l->queue_len > 0 && !l->connecting ? leg_writev(l, &v, 1) : 0;

	if (n < 0)
		return false;
	l->queue_len -= (size_t)n;
	if (l->queue_len > 0)
		memmove(l->queue, l->queue + n, l->queue_len);
	else if (l->queue != NULL) {
		free(l->queue);
		l->queue = NULL;
		l->queue_cap = 0;
	}
	l->peer->held = l->queue_len > QUEUE_HIGH;
	arm(l);
	arm(l->peer);
	/* what is inside of OpenSSL no event will tell of */
	return !held || l->peer->held || l->peer->ssl == NULL || leg_readable(l->peer);
}

/* Sends the pieces at hand to l, behind what waits; false: it is over. */
static bool
forward(struct leg *l)
{
	ssize_t n = l->queue_len > 0 || l->connecting || npiece == 0 ? 0 : leg_writev(l, piece, npiece);
	size_t done = n > 0 ? (size_t)n : 0;

	if (n < 0)
		return false;
	for (int i = 0; i < npiece; i++) {
		size_t skip = done < piece[i].iov_len ? done : piece[i].iov_len;

		done -= skip;
		if (skip < piece[i].iov_len)
			keep(l, (uint8_t *)piece[i].iov_base + skip, piece[i].iov_len - skip);
	}
	npiece = 0;
	if (l->queue_len > 0) {
		l->peer->held = l->queue_len > QUEUE_HIGH;
		arm(l);
		arm(l->peer);
	}
	return true;
}

/* ---- frames ---- */

static void
add_piece(void *bytes, size_t len)
{
	piece[npiece++] = (struct iovec){ bytes, len };
}

static void
add_head(struct leg *from, enum ws_opcode opcode, bool fin, uint64_t len)
{
	static uint8_t pool[4096];
	static size_t used = sizeof(pool);
	struct leg *to = from->peer;

	if (used == sizeof(pool)) {
		if (getrandom(pool, sizeof(pool), 0) != (ssize_t)sizeof(pool))
			err(1, "getrandom");
		used = 0;
	}
	memcpy(from->mask, pool + used, 4);
	used += 4;
	from->offset = 0;
	add_piece(heads[npiece], ws_format_head(heads[npiece], to->out_role, fin, opcode, len, from->mask));
}

static bool
ws_event(struct leg *from, const struct ws_event *ev)
{
	uint8_t *bytes = (uint8_t *)(uintptr_t)ev->data.ptr;

	switch (ev->type) {
	case WS_EV_BEGIN:
		if (!ev->fin)
			return false; /* nobody here sends fragments */
		add_head(from, ev->opcode, true, ev->frame_len);
		return true;
	case WS_EV_DATA:
		if (from->peer->out_role == WS_CLIENT)
			ws_mask(bytes, ev->data.len, from->mask, from->offset);
		from->offset += ev->data.len;
		add_piece(bytes, ev->data.len);
		return true;
	case WS_EV_CLOSE:
		return false;
	default:
		return true;
	}
}

/* Takes the bytes of frames apart and sends them on; before them there is room for what was left of the last ones. */
static bool
take_frames(struct leg *from, uint8_t *bytes, size_t len)
{
	struct ws_event ev;
	size_t done = 0, used;

	bytes -= from->rest_len;
	len += from->rest_len;
	memcpy(bytes, from->rest, from->rest_len);

	for (;;) {
		enum proto_err e = ws_decode(&from->in, bytes + done, len - done, &used, &ev);

		done += used;
		if (e != PROTO_OK && e != PROTO_MORE)
			return false;
		if (e == PROTO_OK && !ws_event(from, &ev))
			return false;
		if ((e == PROTO_MORE || npiece > PIECES - 4) && !forward(from->peer))
			return false;
		if (e == PROTO_MORE)
			break;
	}
	from->rest_len = (unsigned)(len - done);
	memcpy(from->rest, bytes + done, len - done);
	return true;
}

/* The upgrade, of which only its end matters. */
static bool
take_upgrade(struct leg *from, uint8_t *bytes, size_t len)
{
	static const char end[] = "\r\n\r\n";
	size_t n = 0;

	while (n < len && from->match < 4)
		from->match = bytes[n++] == (uint8_t)end[from->match] ? from->match + 1 : 0;
	from->upgraded = from->match == 4;
	add_piece(bytes, n);
	return forward(from->peer) && (n == len || take_frames(from, bytes + n, len - n));
}

static bool
leg_readable(struct leg *l)
{
	for (int i = 0; (i < ROUNDS || l->ssl != NULL) && !l->held; i++) {
		uint8_t *bytes = buf + WS_REST_MAX;
		ssize_t n = leg_read(l, bytes);

		if (n <= 0)
			return n == 0;
		if (!(l->upgraded ? take_frames(l, bytes, (size_t)n) : take_upgrade(l, bytes, (size_t)n)))
			return false;
		if (n < READ_BYTES)
			return true;
	}
	return true;
}

/* ---- events ---- */

static bool
leg_event(struct leg *l, uint32_t events)
{
	if (l->shaking) {
		int ret = SSL_do_handshake(l->ssl);

		if (ret != 1 && ssl_result(l, ret) < 0)
			return false;
		l->shaking = ret != 1;
		arm(l);
		return true;
	}
	if (l->connecting && (events & EPOLLOUT) != 0) {
		l->connecting = false;
		return drain(l);
	}
	if ((events & EPOLLOUT) != 0 && !drain(l))
		return false;
	return (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) == 0 || leg_readable(l);
}

static void
take_client(int fd)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)upstream_port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int up = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct leg *client = leg_new(fd, WS_SERVER), *server;

	if (up < 0)
		err(1, "socket");
	server = leg_new(up, WS_CLIENT);
	client->peer = server;
	server->peer = client;
	server->connecting = connect(up, (struct sockaddr *)&to, sizeof(to)) != 0 && errno == EINPROGRESS;
	if (tls != NULL) {
		client->ssl = SSL_new(tls);
		if (client->ssl == NULL || SSL_set_fd(client->ssl, fd) != 1)
			errx(1, "TLS");
		SSL_set_accept_state(client->ssl);
		client->shaking = true;
	}
	arm(client);
	arm(server);
}

static void
set_up_tls(const char *cert, const char *key)
{
	if ((tls = SSL_CTX_new(TLS_server_method())) == NULL || SSL_CTX_use_certificate_chain_file(tls, cert) != 1 ||
	    SSL_CTX_use_PrivateKey_file(tls, key, SSL_FILETYPE_PEM) != 1 || SSL_CTX_set_min_proto_version(tls, TLS1_3_VERSION) != 1)
		errx(1, "TLS: %s, %s", cert, key);
	SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
}

static int
listen_at(unsigned port)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
	struct epoll_event ev = { .events = EPOLLIN };

	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) != 0 || listen(fd, 4096) != 0 || epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &ev) != 0)
		err(1, "listen");
	return fd;
}

int
main(int argc, char **argv)
{
	struct epoll_event ev[EVENTS];
	struct rlimit files;
	int listener, fd, n;

	if (argc != 3 && argc != 5)
		errx(2, "usage: bare LISTEN-PORT UPSTREAM-PORT [CERTIFICATE KEY]");
	signal(SIGPIPE, SIG_IGN);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
	if ((epfd = epoll_create1(EPOLL_CLOEXEC)) < 0)
		err(1, "epoll_create1");
	upstream_port = (unsigned)atoi(argv[2]);
	if (argc == 5)
		set_up_tls(argv[3], argv[4]);
	listener = listen_at((unsigned)atoi(argv[1]));
	for (;;) {
		n = epoll_wait(epfd, ev, EVENTS, -1);
		for (int i = 0; i < n; i++) {
			struct leg *l = ev[i].data.ptr;

			if (l == NULL)
				while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
					take_client(fd);
			else if (l->fd >= 0 && !leg_event(l, ev[i].events))
				pair_end(l);
		}
		bury();
	}
}
