/* Carries the bytes of one connection of the link; see pair.h.
 *
 * For: main.c. Never looks into the bytes, never decides when to cut: that stands in the shape.
 *
 * The one idea: each direction is a "half": a queue of chunks, each with the time at which it may leave. pump() writes what is
 * due, what the token bucket allows, and never beyond the byte at which a cut was ordered. Nothing is freed inside a callback:
 * what has ended is moved to the dead list.
 *
 * A thin link must be felt by the sender. Loopback would take megabytes into the kernel's buffers at once, so the link's sockets
 * have the segment size of an Ethernet and a small receive buffer, and little is queued here while a rate is set. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <time.h>

#include <event2/event.h>
#include <event2/util.h>

#include "tests/linkproxy/pair.h"

#define CHUNK_MAX 16384		/* bytes read at a time */
#define QUEUE_MAX 262144	/* bytes in a half at which reading stops */
#define QUEUE_MAX_THIN 8192	/* the same while a rate is set: more would be a buffer that no thin link has */
#define RECEIVE_BUFFER 32768	/* bytes; the kernel doubles it */
#define SEGMENT 1460		/* bytes of payload in a segment */
#define TICK_US 2000
#define BURST_US 20000		/* tokens gathered at most */

struct chunk {
	STAILQ_ENTRY(chunk) next;
	uint64_t due_us;
	size_t done, len;
	uint8_t data[];
};

struct half {
	struct pair *pair;
	enum direction dir;
	int from, to; /* borrowed from the pair */
	struct event *readable, *writable;
	STAILQ_HEAD(, chunk) chunks;
	size_t queued;
	bool eof, shut; /* from has ended; to was told */
};

struct pair {
	TAILQ_ENTRY(pair) next;
	struct link_shape *link; /* borrowed */
	int fd[2];		 /* by who writes there: C2S the client's socket, S2C the target's */
	uint32_t step;		 /* of the walk; 0: none */
	uint64_t cut_in;	 /* bytes of the walk's direction until this pair is cut; CUT_NEVER */
	struct half half[2];
	bool connected, dead;
};

static uint64_t
now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* Ends a pair: what is queued is lost. rst: both sides see a reset. */
static void
pair_end(struct pair *p, bool rst)
{
	struct linger no_linger = { .l_onoff = 1, .l_linger = 0 };
	struct link_shape *l = p->link;

	if (p->dead)
		return;
	p->dead = true;
	if (p->step != 0 && p->cut_in != 0)
		l->walk.todo[l->walk.ntodo++] = p->step;
	for (int i = 0; i < 2; i++) {
		event_del(p->half[i].readable);
		event_del(p->half[i].writable);
		if (rst)
			(void)setsockopt(p->fd[i], SOL_SOCKET, SO_LINGER, &no_linger, sizeof no_linger);
		close(p->fd[i]);
	}
	TAILQ_REMOVE(&l->pairs, p, next);
	TAILQ_INSERT_TAIL(&l->dead, p, next);
	l->npair--;
}

static void
pair_free(struct pair *p)
{
	for (int i = 0; i < 2; i++) {
		struct half *h = &p->half[i];
		struct chunk *c;

		while ((c = STAILQ_FIRST(&h->chunks)) != NULL) {
			STAILQ_REMOVE_HEAD(&h->chunks, next);
			free(c);
		}
		event_free(h->readable);
		event_free(h->writable);
	}
	free(p);
}

static void
start_tick(struct link_shape *l)
{
	struct timeval tv = { .tv_usec = TICK_US };

	if (!evtimer_pending(l->tick, NULL))
		evtimer_add(l->tick, &tv);
}

static void
fill_tokens(struct link_shape *l)
{
	uint64_t now = now_us(), most = l->rate * BURST_US / 1000000 + 1, more;

	more = l->rate * (now - l->filled_us) / 1000000;
	if (more == 0)
		return;
	l->filled_us = now;
	for (int d = 0; d < 2; d++)
		l->tokens[d] = l->tokens[d] + more < most ? l->tokens[d] + more : most;
}

/* How much of chunk c may leave now; 0 starts what will ask again. */
static size_t
allowance(struct half *h, const struct chunk *c)
{
	struct link_shape *l = h->pair->link;
	uint64_t n = c->len - c->done;

	if (l->silent)
		return 0;
	if (c->due_us > now_us()) {
		start_tick(l);
		return 0;
	}
	if (l->rate != 0) {
		if (l->tokens[h->dir] == 0)
			start_tick(l);
		if (n > l->tokens[h->dir])
			n = l->tokens[h->dir];
	}
	if (h->dir == l->walk.dir && n > h->pair->cut_in)
		n = h->pair->cut_in;
	return (size_t)(n < l->cut_after[h->dir] ? n : l->cut_after[h->dir]);
}

/* n more bytes of a pair that has a step of the walk have left. */
static void
walked(struct pair *p, size_t n)
{
	struct link_shape *l = p->link;

	p->cut_in -= n;
	if (p->cut_in > 0)
		return;
	l->walk.left--;
	l->cuts++;
	pair_end(p, !l->walk.fin);
}

/* n bytes of the first chunk have left. */
static void
passed(struct half *h, struct chunk *c, size_t n)
{
	struct link_shape *l = h->pair->link;

	l->bytes[h->dir] += n;
	if (l->rate != 0)
		l->tokens[h->dir] -= n;
	c->done += n;
	h->queued -= n;
	if (c->done == c->len) {
		STAILQ_REMOVE_HEAD(&h->chunks, next);
		free(c);
	}
	if (h->pair->step != 0 && h->dir == l->walk.dir)
		walked(h->pair, n);
	if (l->cut_after[h->dir] == CUT_NEVER)
		return;
	l->cut_after[h->dir] -= n;
	if (l->cut_after[h->dir] == 0)
		link_cut(l);
}

/* Writes what may be written, then reads on or hands the end of the stream on. */
static void
pump(struct half *h)
{
	struct pair *p = h->pair;
	struct link_shape *l = p->link;
	struct chunk *c;

	while (!p->dead && p->connected && (c = STAILQ_FIRST(&h->chunks)) != NULL) {
		size_t may = allowance(h, c);
		ssize_t n;

		if (may == 0)
			break;
		n = send(h->to, c->data + c->done, may, MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN) {
			pair_end(p, true);
			return;
		}
		if (n < 0) {
			event_add(h->writable, NULL);
			break;
		}
		passed(h, c, (size_t)n);
	}
	if (p->dead || l->silent)
		return;
	if (h->eof && !h->shut && STAILQ_EMPTY(&h->chunks) && p->connected) {
		h->shut = true;
		shutdown(h->to, SHUT_WR);
		if (p->half[!h->dir].shut)
			pair_end(p, false);
	} else if (!h->eof && h->queued < (l->rate != 0 ? QUEUE_MAX_THIN : QUEUE_MAX)) {
		event_add(h->readable, NULL);
	}
}

static void
take(struct half *h)
{
	struct link_shape *l = h->pair->link;
	struct chunk *c;
	ssize_t n;

	if (l->silent)
		return;
	c = malloc(sizeof *c + CHUNK_MAX);
	if (c == NULL)
		abort();
	n = recv(h->from, c->data, CHUNK_MAX, 0);
	if (n > 0) {
		c->due_us = now_us() + l->delay_us;
		c->done = 0;
		c->len = (size_t)n;
		h->queued += c->len;
		STAILQ_INSERT_TAIL(&h->chunks, c, next);
	} else {
		free(c);
		if (n < 0 && errno != EAGAIN) {
			pair_end(h->pair, true);
			return;
		}
		h->eof = n == 0;
	}
	pump(h);
}

static void
readable_cb(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	take(arg);
}

static void
writable_cb(evutil_socket_t fd, short what, void *arg)
{
	struct half *h = arg;
	struct pair *p = h->pair;
	socklen_t len = sizeof(int);
	int err = 0;

	(void)fd;
	(void)what;
	if (!p->connected) {
		if (getsockopt(h->to, SOL_SOCKET, SO_ERROR, &err, &len) != 0 || err != 0) {
			pair_end(p, true);
			return;
		}
		p->connected = true;
		pump(&p->half[S2C]);
	}
	if (!p->dead)
		pump(h);
}

void
pair_tune(int fd)
{
	int segment = SEGMENT, buffer = RECEIVE_BUFFER;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof segment);
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
}

void
pair_open(struct link_shape *l, int fd, const struct sockaddr *target, socklen_t len)
{
	struct pair *p = calloc(1, sizeof *p);
	int to = socket(target->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1;

	if (p == NULL || to < 0)
		abort();
	pair_tune(to);
	(void)setsockopt(to, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	p->link = l;
	p->step = l->walk.ntodo > 0 ? l->walk.todo[--l->walk.ntodo] : 0;
	p->cut_in = p->step != 0 ? p->step : CUT_NEVER;
	p->fd[C2S] = fd;
	p->fd[S2C] = to;
	for (int d = 0; d < 2; d++) {
		struct half *h = &p->half[d];

		h->pair = p;
		h->dir = (enum direction)d;
		h->from = p->fd[d];
		h->to = p->fd[!d];
		STAILQ_INIT(&h->chunks);
		h->readable = event_new(l->base, h->from, EV_READ, readable_cb, h);
		h->writable = event_new(l->base, h->to, EV_WRITE, writable_cb, h);
		if (h->readable == NULL || h->writable == NULL)
			abort();
	}
	TAILQ_INSERT_TAIL(&l->pairs, p, next);
	l->npair++;
	l->opened++;
	if (connect(to, target, len) != 0 && errno != EINPROGRESS)
		pair_end(p, true);
	else
		event_add(p->half[C2S].writable, NULL);
}

/* Time has passed: tokens came, delayed chunks are due. The pairs take turns in being first at the bucket. */
static void
tick_cb(evutil_socket_t fd, short what, void *arg)
{
	struct link_shape *l = arg;
	struct pair *p, *next, *first;

	(void)fd;
	(void)what;
	if (l->rate != 0)
		fill_tokens(l);
	for (p = TAILQ_FIRST(&l->pairs); p != NULL && !p->dead; p = next) { /* dead: pump met the byte of a cut, and all ended */
		next = TAILQ_NEXT(p, next);
		pump(&p->half[C2S]);
		if (!p->dead)
			pump(&p->half[S2C]);
	}
	first = TAILQ_FIRST(&l->pairs);
	if (first != NULL) {
		TAILQ_REMOVE(&l->pairs, first, next);
		TAILQ_INSERT_TAIL(&l->pairs, first, next);
	}
}

void
link_init(struct link_shape *l, struct event_base *base)
{
	memset(l, 0, sizeof *l);
	l->base = base;
	TAILQ_INIT(&l->pairs);
	TAILQ_INIT(&l->dead);
	l->cut_after[C2S] = l->cut_after[S2C] = CUT_NEVER;
	l->tick = evtimer_new(base, tick_cb, l);
	if (l->tick == NULL)
		abort();
}

void
link_reshaped(struct link_shape *l)
{
	l->tokens[C2S] = l->tokens[S2C] = 0;
	l->filled_us = now_us();
	start_tick(l);
}

void
link_walk(struct link_shape *l, enum direction dir, uint64_t from, uint64_t to, uint64_t by, bool fin)
{
	unsigned steps = from > to ? 0 : (unsigned)((to - from) / by + 1);
	struct pair *p;

	TAILQ_FOREACH (p, &l->pairs, next) {
		p->step = 0;
		p->cut_in = CUT_NEVER;
	}
	free(l->walk.todo);
	l->walk = (struct walk){ dir, fin, calloc(steps + 1, sizeof *l->walk.todo), steps, steps };
	if (l->walk.todo == NULL)
		abort();
	for (unsigned i = 0; i < steps; i++)
		l->walk.todo[i] = (uint32_t)(from + by * (steps - 1 - i));
}

void
link_cut(struct link_shape *l)
{
	struct pair *p;

	l->cut_after[C2S] = l->cut_after[S2C] = CUT_NEVER;
	l->cuts++;
	while ((p = TAILQ_FIRST(&l->pairs)) != NULL)
		pair_end(p, true);
}

void
link_reap(struct link_shape *l)
{
	struct pair *p;

	while ((p = TAILQ_FIRST(&l->dead)) != NULL) {
		TAILQ_REMOVE(&l->dead, p, next);
		pair_free(p);
	}
}

void
link_free(struct link_shape *l)
{
	struct pair *p;

	while ((p = TAILQ_FIRST(&l->pairs)) != NULL)
		pair_end(p, true);
	link_reap(l);
	free(l->walk.todo);
	event_free(l->tick);
}
