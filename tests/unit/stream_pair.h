/* Two relay/stream ends in one loop, or one end against a raw socket: the stage of the stream tests.
 *
 * Every byte sent is pattern(its position), so an end can check what it gets byte by byte without keeping it.  Nothing waits
 * without a deadline:  RUN_UNTIL fails the test after 10 s. */
#ifndef TESTS_UNIT_STREAM_PAIR_H
#define TESTS_UNIT_STREAM_PAIR_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>

#include "tests/harness.h"
#include "tests/peer/cert.h"

#include "relay/clock.h"
#include "relay/outqueue.h"
#include "relay/stream.h"
#include "relay/tls.h"

#define LIMIT_MS 10000

/* One end under test: what it saw and how it shall behave. */
struct end {
	struct stream *s; /* NULL once closed */
	unsigned opens, datas, drained, ends, errors, late; /* late: callbacks after the close */
	uint64_t got;	  /* bytes consumed */
	bool bad;	  /* one of them was wrong */
	bool closed;
	char why[256];
	bool cert_failed, verified;

	size_t take;		     /* consume at most so many a callback; 0 = all */
	unsigned hold;		     /* so many callbacks suspend and consume nothing */
	bool hold_resume;	     /* ... and resume at once */
	bool deaf;		     /* never suspends nor consumes: against the rules */
	uint8_t *place;		     /* what comes is to be read to it (stream_read_into) */
	size_t place_len;
	unsigned placed;	     /* callbacks with bytes there; every third suspends */
	int close_on;		     /* close inside this event; -1 = never */
	bool close_flush;
	uint64_t to_send, sent;	     /* keeps the queue filled up to to_send bytes in all */
	unsigned random;	     /* not 0: a seed; consumes, suspends and resumes at random */
};

static struct event_base *base;
static struct event *tick; /* bounds a pass, so that conditions are looked at */

static inline uint8_t
pattern(uint64_t pos)
{
	return (uint8_t)(pos * 167 + (pos >> 8) * 13 + (pos >> 16));
}

static inline void
tick_cb(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
}

static inline void
stage_open(void)
{
	static const struct timeval tv = { 0, 5000 };

	base = event_base_new();
	tick = event_new(base, -1, EV_PERSIST, tick_cb, NULL);
	event_add(tick, &tv);
	stream_init(base);
}

static inline void
stage_close(void)
{
	stream_fini();
	event_free(tick);
	event_base_free(base);
}

static inline void
pass(void)
{
	event_base_loop(base, EVLOOP_ONCE);
	stream_flush_all();
	stream_reap();
}

#define RUN_UNTIL(cond) \
	do { \
		uint64_t give_up_ = clock_now_ms() + LIMIT_MS; \
		while (!(cond)) { \
			pass(); \
			if (clock_now_ms() > give_up_) { \
				harness_fail(__FILE__, __LINE__, "waited %d ms in vain for %s", LIMIT_MS, #cond); \
				return; \
			} \
		} \
	} while (0)

/* Runs n passes: for what must not happen. */
static inline void
run_passes(int n)
{
	while (n-- > 0)
		pass();
}

static inline unsigned
next_random(struct end *e)
{
	e->random = e->random * 1103515245U + 12345U;
	return (e->random >> 16) & 0x7fff;
}

static inline void
feed_piece(struct stream *s, const void *piece, size_t n, bool as_queue)
{
	struct outqueue q = { 0 };

	if (as_queue) {
		outqueue_add(&q, piece, n);
		stream_write_queue(s, &q);
	} else {
		stream_write(s, piece, n);
	}
}

/* Queues more of what is to be sent, in uneven pieces, up to 100 KB ahead. */
static inline void
feed(struct end *e)
{
	uint8_t piece[5000];

	while (e->s != NULL && e->sent < e->to_send && stream_queued(e->s) < 100000) {
		size_t n = 1 + (size_t)(e->sent * 7 % sizeof piece);

		if (n > e->to_send - e->sent)
			n = (size_t)(e->to_send - e->sent);
		for (size_t i = 0; i < n; i++)
			piece[i] = pattern(e->sent + i);
		feed_piece(e->s, piece, n, n % 3 == 0);
		e->sent += n;
	}
}

static inline size_t
on_data(struct end *e, struct stream *s, const uint8_t *buf, size_t len)
{
	size_t n = e->take != 0 && e->take < len ? e->take : len;

	e->datas++;
	if (e->deaf)
		return 0;
	if (e->hold > 0) {
		e->hold--;
		stream_suspend(s, SUSPEND_OPEN);
		if (e->hold_resume)
			stream_resume(s, SUSPEND_OPEN);
		return 0;
	}
	if (buf == e->place && ++e->placed % 3 == 0)
		stream_suspend(s, SUSPEND_SPOOL);
	if (e->place != NULL)
		stream_read_into(s, e->place, e->place_len);
	if (e->random != 0) {
		n = next_random(e) % 4 == 0 ? next_random(e) % (len + 1) : len;
		if (n < len || next_random(e) % 8 == 0)
			stream_suspend(s, SUSPEND_OUTBUF);
	}
	for (size_t i = 0; i < n; i++)
		if (buf[i] != pattern(e->got + i))
			e->bad = true;
	e->got += n;
	return n;
}

static inline size_t
end_cb(void *arg, struct stream *s, enum stream_event ev, uint8_t *buf, size_t len)
{
	struct end *e = arg;
	size_t used = 0;

	if (e->closed)
		e->late++;
	switch (ev) {
	case STREAM_OPEN:
		e->opens++;
		e->verified = stream_verified(s);
		feed(e);
		break;
	case STREAM_DATA:
		used = on_data(e, s, buf, len);
		break;
	case STREAM_DRAINED:
		e->drained++;
		feed(e);
		break;
	case STREAM_EOF:
		e->ends++;
		break;
	case STREAM_ERROR:
		e->errors++;
		break;
	}
	if (ev == STREAM_EOF || ev == STREAM_ERROR) {
		snprintf(e->why, sizeof e->why, "%s", stream_why(s));
		e->cert_failed = stream_cert_failed(s);
	}
	if ((int)ev == e->close_on) {
		e->closed = true;
		e->s = NULL;
		stream_close(s, e->close_flush, LIMIT_MS);
	}
	return used;
}

static inline void
end_close(struct end *e)
{
	if (e->s == NULL)
		return;
	e->closed = true;
	stream_close(e->s, false, 0);
	e->s = NULL;
}

/* A listening socket on loopback. */
static inline int
listen_loopback(struct sockaddr_in *sa)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof *sa;

	memset(sa, 0, sizeof *sa);
	sa->sin_family = AF_INET;
	sa->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || bind(fd, (struct sockaddr *)sa, len) != 0 || listen(fd, 16) != 0 ||
	    getsockname(fd, (struct sockaddr *)sa, &len) != 0)
		return -1;
	return fd;
}

/* A connection of a stream (client side) to an accepted socket; -1 if it did not even begin. */
static inline int
connect_stream(struct end *client, struct tls_context *tls, const char *host)
{
	struct sockaddr_in sa;
	int lfd = listen_loopback(&sa), fd = -1;
	struct pollfd wait = { .fd = lfd, .events = POLLIN };

	client->s = stream_connect((struct sockaddr *)&sa, sizeof sa, tls, host, end_cb, client);
	if (poll(&wait, 1, 200) == 1)
		fd = accept(lfd, NULL, NULL);
	close(lfd);
	return fd;
}

/* Contexts with throw-away certificates, made once. */
static inline struct tls_context *
tls_of(bool server)
{
	static struct tls_context *contexts[2];
	static struct cert_files files;
	struct tls_settings own = { .certificate = files.cert, .key = files.key }, trust = { .ca = files.ca, .verify = true };
	char why[256];

	if (files.ca[0] == '\0' && !cert_make(harness_tmpdir(), "stream", &files))
		return NULL;
	if (contexts[server] == NULL)
		contexts[server] = server ? tls_server_new(&own, why, sizeof why) : tls_client_new(&trust, why, sizeof why);
	return contexts[server];
}

/* Both ends as streams. */
static inline void
connect_pair(struct end *client, struct end *server, bool tls)
{
	int fd = connect_stream(client, tls ? tls_of(false) : NULL, "localhost");

	if (fd >= 0)
		server->s = stream_accept(fd, tls ? tls_of(true) : NULL, end_cb, server);
}

static inline void
small_buffers(int fd)
{
	int size = 4096;

	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
}

/* Raw peers: everything that is there now; -1 = connection reset, else whether EOF was seen is in *eof. */
static inline ssize_t
raw_read(int fd, void *buf, size_t len, bool *eof)
{
	ssize_t n = recv(fd, buf, len, MSG_DONTWAIT);

	*eof = n == 0;
	return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) ? 0 : n;
}

static inline void
raw_reset(int fd)
{
	struct linger rst = { 1, 0 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &rst, sizeof rst);
	close(fd);
}

#endif
