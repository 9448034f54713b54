/* The life of a byte stream over TCP or TLS: opening, what wakes it, closing.  Its bytes are relay/stream_data, its system calls
 * relay/rawio.
 *
 * The ideas needed to read it:
 *
 * - All streams are watched by one epoll instance of ours, for what the state wants; stream_arm() is the only place that says so.  The kernel is
 *   told at once: a stream that it has no memory to watch must fail, not sleep.  To libevent that instance is one descriptor; an event of its
 *   own for each stream, with what it keeps of the descriptor, is 400 bytes of a session and more of the processor's caches.
 * - What no descriptor will announce - bytes kept here or inside OpenSSL, a failure found while writing - is announced by
 *   ourselves: stream_ready() puts the stream on a list which a zero timer works off in the next pass.  Callbacks therefore
 *   never nest.
 * - What can be read, and what is to be sent, of several streams is, with one system call for up to RING_MAX of them (burst, stream_flush_all).
 * - What the events of a burst made others write is flushed behind it; what the pass itself writes, at its end.
 * - stream_finish() ends a stream at once but the struct stays until stream_reap(), so code that returns from a callback may
 *   look at s->state.
 *
 * One loop, one thread. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/epoll.h>

#include "relay/hot.h"
#include "relay/log.h"
#include "relay/stream_impl.h"
#include "relay/tls.h"

#define BURST_BYTES 524288 /* received and queued by a burst, at which what is queued leaves before all have had their turn */
#define EVENTS 64 /* at a time: what the kernel says of more would be out of the caches when their turn comes */

static struct {
	struct event_base *base;
	int epoll;
	struct event *polled; /* epoll has something */
	struct event *wake; /* zero timer: there is work no descriptor announces */
	bool awake;	    /* it is set */
	bool in_event;	    /* what gets dirty is flushed behind the event */
	struct stream *dirty, *ready, *dead, *all;
	uint64_t moved;
} g;

/* ---- lists, events, ends ---- */

/* Something is on a list: the loop must not wait for the kernel before it is worked off. */
static void
wake(void)
{
	static const struct timeval now = { 0, 0 };

	if (!g.awake && evtimer_add(g.wake, &now) != 0)
		log_fatal("out_of_memory", "what=timer");
	g.awake = true;
}

/* Nothing is left: the loop may wait. */
static void
rest(void)
{
	if (!g.awake || g.dirty != NULL || g.ready != NULL || g.dead != NULL)
		return;
	evtimer_del(g.wake);
	g.awake = false;
}

void
stream_ready(struct stream *s)
{
	if (s->is_ready)
		return;
	s->is_ready = true;
	s->next_ready = g.ready;
	g.ready = s;
	wake();
}

void
stream_dirty(struct stream *s)
{
	if (s->is_dirty)
		return;
	s->is_dirty = true;
	s->next_dirty = g.dirty;
	g.dirty = s;
	if (!g.in_event)
		wake();
}

void
stream_set_why(struct stream *s, const char *text)
{
	if (s->why == NULL)
		s->why = strdup(text);
}

/* Keeps the reason of the failure rawio just reported; the first one stays. */
void
stream_explain(struct stream *s, const char *what)
{
	char text[256];
	bool cert;

	rawio_explain(&s->io, what, text, sizeof text, &cert);
	s->cert_failed = s->cert_failed || cert;
	stream_set_why(s, text);
}

/* No more input and nothing to do but tell; from the loop. */
void
stream_fail_later(struct stream *s, const char *text)
{
	if (text != NULL)
		stream_set_why(s, text);
	s->end = END_ERROR;
	stream_ready(s);
}

static short
wanted(const struct stream *s)
{
	short want = 0;

	switch (s->state) {
	case ST_CONNECTING:
		return s->end == END_NONE ? EV_WRITE : 0;
	case ST_HANDSHAKE:
		return s->read_wants_write ? EV_WRITE : EV_READ;
	case ST_OPEN:
		if (s->end == END_NONE && s->suspended == 0)
			want = s->read_wants_write ? EV_READ | EV_WRITE : EV_READ;
		if (s->blocked)
			want |= s->write_wants_read ? EV_READ : EV_WRITE;
		return want;
	case ST_CLOSING:
		return (short)((s->end == END_NONE ? EV_READ : 0) | (s->blocked ? EV_WRITE : 0));
	case ST_OPENING:
	case ST_FAILED:
	case ST_DEAD:
		return 0;
	default:
		PANIC("stream state");
	}
}

/* False when the kernel could not; what is dead is closed next, which ends it as well. */
static bool
watch(struct stream *s, short want)
{
	struct epoll_event ev = { .data.ptr = s };
	int op = s->watched == 0 ? EPOLL_CTL_ADD : want == 0 ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;

	if (want == s->watched)
		return true;
	ev.events = ((want & EV_READ) != 0 ? EPOLLIN : 0u) | ((want & EV_WRITE) != 0 ? EPOLLOUT : 0u);
	if (epoll_ctl(g.epoll, op, s->io.fd, &ev) != 0 && s->state != ST_DEAD)
		return false;
	s->watched = (uint8_t)want;
	return true;
}

/* Nobody would tell when it takes output again, so what is queued is lost as if a write had failed, and whoever waits for it is told. */
static void
unwatched(struct stream *s)
{
	s->write_failed = true;
	s->blocked = false;
	outqueue_clear(&s->out);
	stream_dirty(s);
	stream_fail_later(s, "cannot watch the socket");
}

void
stream_arm(struct stream *s)
{
	if (!watch(s, wanted(s)))
		unwatched(s);
}

/* To be called after whatever may have moved bytes. */
static void
count_wire(struct stream *s)
{
	struct stream_wire now;

	if (s->wire == NULL)
		return;
	rawio_wire(&s->io, &now.received, &now.sent);
	s->wire->received += now.received - s->counted.received;
	s->wire->sent += now.sent - s->counted.sent;
	s->counted = now;
}

/* Ends s at once; the struct stays until stream_reap. */
void
stream_finish(struct stream *s)
{
	s->state = ST_DEAD;
	stream_arm(s);
	stream_drop_input(s);
	rawio_close(&s->io);
	count_wire(s);
	outqueue_clear(&s->out);
	if (s->linger != NULL)
		event_free(s->linger);
	s->linger = NULL;
	s->next_dead = g.dead;
	g.dead = s;
	wake();
}

/* ---- opening ---- */

/* Failed before it was open. */
static void
fail_open(struct stream *s)
{
	s->state = ST_FAILED;
	s->end = s->told = END_ERROR;
	outqueue_clear(&s->out);
	stream_arm(s);
	s->cb(s->arg, s, STREAM_ERROR, NULL, 0);
}

static void
opened(struct stream *s)
{
	s->state = ST_OPEN;
	if (s->out.len > 0)
		stream_dirty(s);
	if (rawio_pending(&s->io))
		stream_ready(s);
	s->cb(s->arg, s, STREAM_OPEN, NULL, 0);
	if (s->state == ST_OPEN)
		stream_arm(s);
}

static void
handshake(struct stream *s)
{
	enum rawio_result result = rawio_handshake(&s->io);

	s->read_wants_write = result == RAWIO_WRITE;
	if (result == RAWIO_OK) {
		opened(s);
	} else if (result == RAWIO_READ || result == RAWIO_WRITE) {
		stream_arm(s);
	} else {
		stream_explain(s, "tls");
		fail_open(s);
	}
}

static void
connected(struct stream *s)
{
	errno = rawio_connected(&s->io);
	if (errno != 0) {
		stream_explain(s, "connect");
		fail_open(s);
	} else if (s->io.ssl != NULL) {
		s->state = ST_HANDSHAKE;
		handshake(s);
	} else {
		opened(s);
	}
}

/* ---- closing with output left ---- */

static void
linger_cb(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	stream_finish(arg);
}

static void
start_linger(struct stream *s, unsigned linger_ms)
{
	struct timeval tv = { (time_t)(linger_ms / 1000), (suseconds_t)(linger_ms % 1000) * 1000 };

	s->state = ST_CLOSING;
	s->suspended = 0;
	stream_drop_input(s);
	s->linger = evtimer_new(g.base, linger_cb, s);
	if (s->linger == NULL || evtimer_add(s->linger, &tv) != 0) {
		stream_finish(s);
		return;
	}
	stream_dirty(s);
	stream_arm(s);
}

/* ---- the loop's side ---- */

static void
event_step(struct stream *s, short what)
{
	switch (s->state) {
	case ST_CONNECTING:
		connected(s);
		break;
	case ST_HANDSHAKE:
		handshake(s);
		break;
	case ST_OPEN:
		if ((what & EV_READ) != 0 || s->read_wants_write || s->early != NULL)
			stream_read_ready(s);
		if (s->state == ST_OPEN && s->blocked && ((what & EV_WRITE) != 0 || s->write_wants_read))
			stream_flush(s);
		break;
	case ST_CLOSING:
		stream_closing_step(s, what);
		break;
	default:
		PANIC("event for a stream that waits for none");
	}
	count_wire(s);
}

/* What the kernel says of s, as far as it was asked. */
static short
what_of(const struct stream *s, uint32_t events)
{
	bool both = (events & (EPOLLERR | EPOLLHUP)) != 0;

	return s->watched & ((both || (events & EPOLLIN) != 0 ? EV_READ : 0) | (both || (events & EPOLLOUT) != 0 ? EV_WRITE : 0));
}

/* With a ring, what several of them can read is read with one system call, and what they write because of it is sent with one; else each has its turn
 * and what came of it is sent, while it is in the processor's caches.  One that was finished by an event before its own has none any more; what another's
 * did to one that has been read: stream_read_ready. */
static void
burst(const struct epoll_event *ev, int n)
{
	struct stream *reading[RING_MAX];
	bool together = ring_there();
	int reads = 0;
	uint64_t moved;

	for (int i = 0; i < n; i++) {
		struct stream *s = ev[i].data.ptr;

		if (i + 1 < n)
			soon(ev[i + 1].data.ptr);
		if ((what_of(s, ev[i].events) & EV_READ) != 0)
			reading[reads++] = s;
	}
	if (together && reads > 1)
		stream_read_early(reading, reads);
	moved = g.moved;
	for (int i = 0; i < n; i++) {
		struct stream *s = ev[i].data.ptr;
		short what = what_of(s, ev[i].events);

		if (i + 1 < n)
			soon(((struct stream *)ev[i + 1].data.ptr)->arg);
		if (what != 0 || s->early != NULL)
			event_step(s, what);
		if (!together || g.moved - moved > BURST_BYTES) {
			stream_flush_all();
			moved = g.moved;
		}
	}
	stream_flush_all();
}

/* Some of the streams that can go on; if there are more, the next pass comes at once. */
static void
poll_cb(evutil_socket_t fd, short ready, void *arg)
{
	UNWIPED struct epoll_event ev[EVENTS];
	int n = epoll_wait(fd, ev, EVENTS, 0);

	(void)ready;
	(void)arg;
	if (n < 0 && errno != EINTR)
		log_fatal("streams", "errno=%d", errno);
	g.in_event = true;
	for (int i = 0; i < n; i += RING_MAX)
		burst(ev + i, n - i < RING_MAX ? n - i : RING_MAX);
	g.in_event = false;
	if (g.dirty != NULL)
		wake();
}

static void
ready_step(struct stream *s)
{
	switch (s->state) {
	case ST_OPENING:
		if (s->end != END_NONE)
			fail_open(s);
		else
			opened(s);
		break;
	case ST_CONNECTING:
	case ST_HANDSHAKE:
		if (s->end != END_NONE)
			fail_open(s);
		break;
	case ST_OPEN:
		stream_read_ready(s);
		break;
	case ST_CLOSING:
		if (s->end == END_ERROR)
			stream_finish(s);
		break;
	case ST_FAILED:
	case ST_DEAD:
		break;
	default:
		PANIC("stream state");
	}
}

static void
wake_cb(evutil_socket_t fd, short what, void *arg)
{
	struct stream *list = g.ready, *s;

	(void)fd;
	(void)what;
	(void)arg;
	g.awake = false;
	g.ready = NULL;
	while ((s = list) != NULL) {
		list = s->next_ready;
		s->is_ready = false;
		ready_step(s);
		count_wire(s);
	}
}

static bool
can_flush(const struct stream *s)
{
	return s->state == ST_OPEN && !s->blocked;
}

/* All of them could be; what those did that were flushed since may have changed that. */
static void
flush_many(struct stream **many, int n)
{
	int left = 0;

	for (int i = 0; i < n; i++)
		if (can_flush(many[i]) && many[i]->out.len > 0)
			many[left++] = many[i];
	if (left > 1)
		stream_flush_many(many, left);
	else if (left == 1)
		stream_flush(many[0]);
	for (int i = 0; i < left; i++)
		count_wire(many[i]);
}

void
stream_flush_all(void)
{
	struct stream *list = g.dirty, *s, *many[RING_MAX];
	int n = 0;

	g.dirty = NULL;
	while ((s = list) != NULL) {
		list = s->next_dirty;
		s->is_dirty = false;
		if (can_flush(s) && s->io.ssl == NULL && s->out.len > 0)
			many[n++] = s;
		else if (can_flush(s))
			stream_flush(s);
		else if (s->state == ST_CLOSING && !s->blocked)
			stream_closing_step(s, EV_WRITE);
		count_wire(s);
		if (n == RING_MAX || (list == NULL && n > 0)) {
			flush_many(many, n);
			n = 0;
		}
	}
	rest(); /* unless a STREAM_DRAINED wrote just now: then the next pass comes at once */
}

static void
unlink_dead(void)
{
	struct stream **at;

	for (at = &g.dirty; *at != NULL;)
		if ((*at)->state == ST_DEAD)
			*at = (*at)->next_dirty;
		else
			at = &(*at)->next_dirty;
	for (at = &g.ready; *at != NULL;)
		if ((*at)->state == ST_DEAD)
			*at = (*at)->next_ready;
		else
			at = &(*at)->next_ready;
}

/* ---- public ---- */

void
stream_init(struct event_base *base)
{
	signal(SIGPIPE, SIG_IGN); /* OpenSSL writes without MSG_NOSIGNAL */
	memset(&g, 0, sizeof(g));
	g.base = base;
	g.wake = evtimer_new(base, wake_cb, NULL);
	g.epoll = epoll_create1(EPOLL_CLOEXEC);
	g.polled = g.epoll >= 0 ? event_new(base, g.epoll, EV_READ | EV_PERSIST, poll_cb, NULL) : NULL;
	if (g.wake == NULL || g.polled == NULL || event_add(g.polled, NULL) != 0)
		log_fatal("streams", "errno=%d", errno);
}

void
stream_fini(void)
{
	for (struct stream *s = g.all; s != NULL; s = s->next)
		if (s->state != ST_DEAD)
			stream_finish(s);
	stream_reap();
	event_free(g.wake);
	event_free(g.polled);
	close(g.epoll);
	g.wake = NULL;
	g.base = NULL;
}

static struct stream *
stream_new(int fd, stream_cb *cb, void *arg)
{
	struct stream *s = calloc(1, sizeof *s);

	if (s == NULL)
		return NULL;
	s->io.fd = fd;
	s->cb = cb;
	s->arg = arg;
	s->next = g.all;
	if (g.all != NULL)
		g.all->prev = s;
	g.all = s;
	return s;
}

struct stream *
stream_accept(int fd, struct tls_context *tls, stream_cb *cb, void *arg)
{
	struct stream *s = NULL;

	if (rawio_setup(fd))
		s = stream_new(fd, cb, arg);
	if (s == NULL) {
		close(fd);
		return NULL;
	}
	if (tls == NULL) {
		stream_ready(s); /* ST_OPENING */
		return s;
	}
	s->io.ssl = tls_start(tls, fd, NULL);
	s->state = ST_HANDSHAKE;
	if (s->io.ssl == NULL)
		stream_fail_later(s, "tls: out of memory");
	else
		stream_arm(s);
	return s;
}

struct stream *
stream_connect(const struct sockaddr *addr, socklen_t addr_len, struct tls_context *tls, const char *host, stream_cb *cb, void *arg)
{
	int fd = socket(addr->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct stream *s = NULL;

	if (fd < 0)
		return NULL;
	if (rawio_setup(fd))
		s = stream_new(fd, cb, arg);
	if (s == NULL) {
		close(fd);
		return NULL;
	}
	s->state = ST_CONNECTING;
	if (tls != NULL) {
		s->io.ssl = tls_start(tls, fd, host);
		if (s->io.ssl == NULL) {
			stream_fail_later(s, "tls: out of memory, or not a possible host name");
			return s;
		}
	}
	errno = rawio_connect(&s->io, addr, addr_len);
	if (errno != 0 && errno != EINPROGRESS) {
		stream_explain(s, "connect");
		stream_fail_later(s, NULL);
	}
	stream_arm(s);
	return s;
}

void
stream_close(struct stream *s, bool flush_first, unsigned linger_ms)
{
	if (s->state == ST_CLOSING || s->state == ST_DEAD)
		PANIC("stream closed twice");
	s->cb = NULL;
	if (s->state == ST_OPEN && s->end != END_ERROR && !s->write_failed) {
		if (flush_first) {
			start_linger(s, linger_ms);
			return;
		}
		if (s->out.len == 0)
			(void)rawio_shutdown(&s->io);
		else
			rawio_cut(&s->io);
	}
	stream_finish(s);
}

const char *
stream_why(const struct stream *s)
{
	return s->why != NULL ? s->why : "";
}

bool
stream_cert_failed(const struct stream *s)
{
	return s->cert_failed;
}

bool
stream_verified(const struct stream *s)
{
	return rawio_verified(&s->io);
}

bool
stream_subject(const struct stream *s, char *text, size_t size)
{
	return rawio_subject(&s->io, text, size);
}

bool
stream_resumed(const struct stream *s)
{
	return rawio_resumed(&s->io);
}

void
stream_count_wire(struct stream *s, struct stream_wire *w)
{
	s->wire = w;
}

void
stream_count_moved(size_t n)
{
	g.moved += n;
}

uint64_t
stream_moved(void)
{
	return g.moved;
}

void
stream_move_low_water(size_t low)
{
	for (struct stream *s = g.all; s != NULL; s = s->next)
		if (s->low > 0 && s->state == ST_OPEN)
			stream_set_low_water(s, low);
}

bool
stream_any(void)
{
	return g.all != NULL;
}

uint64_t
stream_lingering(void)
{
	uint64_t sum = 0;

	for (const struct stream *s = g.all; s != NULL; s = s->next)
		sum += s->state == ST_CLOSING ? stream_queued(s) : 0;
	return sum;
}

void
stream_drop_lingering(void)
{
	for (struct stream *s = g.all; s != NULL; s = s->next)
		if (s->state == ST_CLOSING && s->out.len > 0)
			stream_finish(s);
}

void
stream_reap(void)
{
	struct stream *s;

	if (g.dead == NULL)
		return;
	unlink_dead();
	while ((s = g.dead) != NULL) {
		g.dead = s->next_dead;
		if (s->prev != NULL)
			s->prev->next = s->next;
		else
			g.all = s->next;
		if (s->next != NULL)
			s->next->prev = s->prev;
		free(s->why);
		free(s);
	}
	rest();
}
