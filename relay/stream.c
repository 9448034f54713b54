/* A byte stream over TCP or TLS on libevent events: states, queues and callbacks.  What reads and writes is relay/rawio.
 *
 * The ideas needed to read it:
 *
 * - One struct event per stream, armed for what the state wants (arm()).  Reading is level-triggered and capped at READ_MAX bytes
 *   an event, so that one fast peer cannot starve the others.
 * - What no descriptor will announce - bytes kept here or inside OpenSSL, a failure found while writing - is announced by ourselves:
 *   ready() puts the stream on a list which a zero timer works off in the next pass.  Callbacks therefore never nest.
 * - Writes only queue.  stream_flush_all() sends at the end of the pass, all of a pass's messages together.
 * - Input wins over output failures: after a failed write the rest of the input is read and given first, then STREAM_ERROR.  A
 *   server says why it closes, and that may stand unread in the kernel when our next PING fails.
 * - finish() ends a stream at once but the struct stays until stream_reap(), so code that returns from a callback may look at s->state.
 *
 * Where input lies:  kept[0..kept_len) offered before and not consumed | OpenSSL | kernel.   Reading puts kept and what follows into
 * the one shared buffer.  Where output lies:  out, front first | the record OpenSSL is writing (still counted in out) | kernel.
 *
 * After the callback closed the stream nothing of it is touched but s->state.  One loop, one thread. */
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/event_struct.h>

#include "relay/address.h"
#include "relay/log.h"
#include "relay/rawio.h"
#include "relay/stream.h"
#include "relay/tls.h"

#define SHARED_BUF 65536      /* also the most input one stream can keep */
#define READ_MAX (256 * 1024) /* bytes of one stream an event: 4 fills of the buffer */
#define WRITE_MAX (256 * 1024)
#define PIECES 64 /* pieces of the queue given to the kernel or gathered into a record at once */

enum state {
	ST_OPENING,    /* accepted, plain: STREAM_OPEN is due */
	ST_CONNECTING, /* waits for the kernel */
	ST_HANDSHAKE,  /* TLS */
	ST_OPEN,
	ST_FAILED,  /* never opened, STREAM_ERROR given: waits for stream_close */
	ST_CLOSING, /* closed by its owner, still sending: no callbacks */
	ST_DEAD,    /* waits for stream_reap */
};

enum end { END_NONE, END_EOF, END_ERROR };

struct stream {
	struct event ev;
	struct rawio io;
	uint8_t state;	   /* enum state */
	uint8_t end;	   /* enum end: no more input will come */
	uint8_t told;	   /* the end the callback knows of */
	uint8_t suspended; /* enum stream_suspend bits */
	short armed;	   /* what ev waits for; 0 = not added */
	bool blocked : 1;  /* the kernel takes no more output now */
	bool above : 1;	   /* out was above low: STREAM_DRAINED is owed */
	bool offer : 1;	   /* kept is to be given again although nothing new came */
	bool write_failed : 1;
	bool read_wants_write : 1, write_wants_read : 1; /* TLS key updates */
	bool said_bye : 1;				 /* ST_CLOSING: our direction is shut */
	bool cert_failed : 1;
	bool is_dirty : 1, is_ready : 1;
	uint32_t kept_len;
	uint8_t *kept;
	struct evbuffer *out; /* NULL while empty */
	size_t low;
	uint64_t sent, received;
	stream_cb *cb;
	void *arg;
	char *peer, *why;
	struct event *linger;			  /* ST_CLOSING: the deadline */
	struct stream *next_dirty, *next_ready, *next_dead;
	struct stream *prev, *next;		  /* all streams */
};

static struct {
	struct event_base *base;
	struct event *wake; /* zero timer: there is work no descriptor announces */
	bool awake;	    /* it is set */
	struct stream *dirty, *ready, *dead, *all;
	uint8_t buf[SHARED_BUF];
} g;

static void event_cb(evutil_socket_t fd, short what, void *arg);

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

static void
ready(struct stream *s)
{
	if (s->is_ready)
		return;
	s->is_ready = true;
	s->next_ready = g.ready;
	g.ready = s;
	wake();
}

static void
dirty(struct stream *s)
{
	if (s->is_dirty)
		return;
	s->is_dirty = true;
	s->next_dirty = g.dirty;
	g.dirty = s;
	wake();
}

static void
set_why(struct stream *s, const char *text)
{
	if (s->why == NULL)
		s->why = strdup(text);
}

/* Keeps the reason of the failure rawio just reported; the first one stays. */
static void
explain(struct stream *s, const char *what)
{
	char text[256];
	bool cert;

	rawio_explain(&s->io, what, text, sizeof text, &cert);
	s->cert_failed = s->cert_failed || cert;
	set_why(s, text);
}

/* No more input and nothing to do but tell; from the loop. */
static void
fail_later(struct stream *s, const char *text)
{
	if (text != NULL)
		set_why(s, text);
	s->end = END_ERROR;
	ready(s);
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

static void
arm(struct stream *s)
{
	short want = wanted(s);

	if (want == s->armed)
		return;
	if (s->armed != 0)
		event_del(&s->ev);
	s->armed = 0;
	if (want == 0)
		return;
	if (event_assign(&s->ev, g.base, s->io.fd, (short)(want | EV_PERSIST), event_cb, s) != 0 || event_add(&s->ev, NULL) != 0) {
		fail_later(s, "cannot watch the socket");
		return;
	}
	s->armed = want;
}

static void
drop_queue(struct stream *s)
{
	if (s->out != NULL)
		evbuffer_free(s->out);
	s->out = NULL;
}

/* Ends s at once; the struct stays until stream_reap. */
static void
finish(struct stream *s)
{
	s->state = ST_DEAD;
	arm(s);
	rawio_close(&s->io);
	drop_queue(s);
	free(s->kept);
	s->kept = NULL;
	s->kept_len = 0;
	if (s->linger != NULL)
		event_free(s->linger);
	s->linger = NULL;
	s->next_dead = g.dead;
	g.dead = s;
	wake();
}

/* ---- reading ---- */

/* Tells the callback of the end once, unless it asked not to be given anything now. */
static void
tell_end(struct stream *s)
{
	if (s->state != ST_OPEN || s->end == s->told || s->suspended != 0)
		return;
	s->told = s->end;
	s->cb(s->arg, s, s->end == END_EOF ? STREAM_EOF : STREAM_ERROR, NULL, 0);
}

static void
keep(struct stream *s, const uint8_t *rest, size_t len)
{
	uint8_t *p;

	if (len == 0) {
		free(s->kept);
		s->kept = NULL;
		s->kept_len = 0;
		return;
	}
	p = realloc(s->kept, len);
	if (p == NULL) {
		fail_later(s, "out of memory");
		return;
	}
	memcpy(p, rest, len);
	s->kept = p;
	s->kept_len = (uint32_t)len;
}

/* Gives the first len bytes of the shared buffer and keeps what is not consumed.  False: s is closed. */
static bool
deliver(struct stream *s, size_t len)
{
	size_t used;

	s->offer = false;
	used = s->cb(s->arg, s, STREAM_DATA, g.buf, len);
	if (s->state != ST_OPEN)
		return false;
	if (used > len)
		PANIC("stream callback consumed more than it was given");
	keep(s, g.buf + used, len - used);
	return true;
}

/* Reads behind the kept bytes; returns how many came and sets the end. */
static size_t
fill(struct stream *s, size_t have, enum rawio_result *result)
{
	size_t got = 0;

	*result = rawio_read(&s->io, g.buf + have, SHARED_BUF - have, s->write_failed, &got);
	s->received += got;
	s->read_wants_write = *result == RAWIO_WRITE;
	if (*result == RAWIO_FAIL) {
		explain(s, "read");
		s->end = END_ERROR;
	} else if (*result == RAWIO_EOF) {
		set_why(s, "closed by peer");
		s->end = s->write_failed ? END_ERROR : END_EOF;
	} else if (*result == RAWIO_READ && s->write_failed) {
		s->end = END_ERROR; /* nothing more to save */
	}
	return got;
}

static void
read_ready(struct stream *s)
{
	enum rawio_result result = RAWIO_OK;
	size_t total = 0;

	while (s->suspended == 0 && result == RAWIO_OK) {
		size_t have = s->kept_len, got = 0;
		bool offer = s->offer && have > 0;

		if (total >= READ_MAX) {
			ready(s); /* others first; bytes may be inside OpenSSL */
			break;
		}
		if (have > 0)
			memcpy(g.buf, s->kept, have);
		if (s->end != END_NONE)
			result = RAWIO_READ;
		else if (have < SHARED_BUF)
			got = fill(s, have, &result);
		else if (!offer)
			fail_later(s, "input is not consumed");
		total += got;
		if ((got > 0 || offer) && !deliver(s, have + got))
			return;
	}
	tell_end(s);
	if (s->state == ST_OPEN)
		arm(s);
}

/* ---- writing ---- */

/* The output is lost, the input is not: what has come is given first (read_ready). */
static void
write_failed(struct stream *s)
{
	explain(s, "write");
	s->write_failed = true;
	s->blocked = false;
	drop_queue(s);
	if (s->end == END_EOF)
		s->end = END_ERROR;
	ready(s);
}

/* Sends from the queue's front until the kernel takes no more or WRITE_MAX is reached.  False: the connection is broken. */
static bool
pump(struct stream *s)
{
	size_t total = 0;

	s->blocked = s->write_wants_read = false;
	while (s->out != NULL && !s->blocked) {
		struct evbuffer_iovec iov[PIECES];
		int n = evbuffer_peek(s->out, SHARED_BUF, NULL, iov, PIECES);
		enum rawio_result result;
		size_t put;

		result = rawio_write(&s->io, iov, n < PIECES ? n : PIECES, &put);
		if (result == RAWIO_FAIL || result == RAWIO_EOF)
			return false;
		evbuffer_drain(s->out, put);
		s->sent += put;
		total += put;
		if (evbuffer_get_length(s->out) == 0)
			drop_queue(s);
		else
			s->blocked = result != RAWIO_OK || total >= WRITE_MAX;
		s->write_wants_read = result == RAWIO_READ;
	}
	return true;
}

static void
flush(struct stream *s)
{
	if (!pump(s))
		write_failed(s);
	if (s->above && stream_queued(s) <= s->low) {
		s->above = false;
		s->cb(s->arg, s, STREAM_DRAINED, NULL, 0);
	}
	if (s->state == ST_OPEN)
		arm(s);
}

static bool
takes_output(const struct stream *s)
{
	return s->state <= ST_OPEN && !s->write_failed && s->end != END_ERROR;
}

/* ---- opening ---- */

/* Failed before it was open. */
static void
fail_open(struct stream *s)
{
	s->state = ST_FAILED;
	s->end = s->told = END_ERROR;
	drop_queue(s);
	arm(s);
	s->cb(s->arg, s, STREAM_ERROR, NULL, 0);
}

static void
opened(struct stream *s)
{
	s->state = ST_OPEN;
	if (s->out != NULL)
		dirty(s);
	if (rawio_pending(&s->io))
		ready(s);
	s->cb(s->arg, s, STREAM_OPEN, NULL, 0);
	if (s->state == ST_OPEN)
		arm(s);
}

static void
handshake(struct stream *s)
{
	enum rawio_result result = rawio_handshake(&s->io);

	s->read_wants_write = result == RAWIO_WRITE;
	if (result == RAWIO_OK) {
		opened(s);
	} else if (result == RAWIO_READ || result == RAWIO_WRITE) {
		arm(s);
	} else {
		explain(s, "tls");
		fail_open(s);
	}
}

static void
connected(struct stream *s)
{
	errno = rawio_connected(&s->io);
	if (errno != 0) {
		explain(s, "connect");
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
	finish(arg);
}

/* The peer may still be sending.  Closing with unread input makes the kernel send RST, which can take away from the peer what we said
 * last; so its bytes are read and dropped until it closes as well. */
static void
closing_read(struct stream *s)
{
	enum rawio_result result;
	int rounds = READ_MAX / SHARED_BUF;

	do {
		result = rawio_discard(&s->io, g.buf, sizeof g.buf);
	} while (result == RAWIO_OK && --rounds > 0);
	if (result == RAWIO_FAIL)
		s->end = END_ERROR;
	else if (result == RAWIO_EOF)
		s->end = END_EOF;
}

static void
closing_step(struct stream *s, short what)
{
	enum rawio_result result = RAWIO_OK;

	if ((what & EV_READ) != 0)
		closing_read(s);
	if ((what & EV_WRITE) != 0 && !s->said_bye) {
		if (!pump(s) || s->write_wants_read)
			s->end = END_ERROR;
		else if (s->out == NULL)
			result = rawio_shutdown(&s->io);
		s->said_bye = s->end != END_ERROR && s->out == NULL && result == RAWIO_OK;
		s->blocked = s->blocked || result == RAWIO_WRITE;
	}
	if (s->end == END_ERROR || result == RAWIO_FAIL || (s->end == END_EOF && s->said_bye))
		finish(s);
	else
		arm(s);
}

static void
start_linger(struct stream *s, unsigned linger_ms)
{
	struct timeval tv = { (time_t)(linger_ms / 1000), (suseconds_t)(linger_ms % 1000) * 1000 };

	s->state = ST_CLOSING;
	s->suspended = 0;
	keep(s, NULL, 0);
	s->linger = evtimer_new(g.base, linger_cb, s);
	if (s->linger == NULL || evtimer_add(s->linger, &tv) != 0) {
		finish(s);
		return;
	}
	dirty(s);
	arm(s);
}

/* ---- the loop's side ---- */

static void
event_cb(evutil_socket_t fd, short what, void *arg)
{
	struct stream *s = arg;

	(void)fd;
	switch (s->state) {
	case ST_CONNECTING:
		connected(s);
		break;
	case ST_HANDSHAKE:
		handshake(s);
		break;
	case ST_OPEN:
		if ((what & EV_READ) != 0 || s->read_wants_write)
			read_ready(s);
		if (s->state == ST_OPEN && s->blocked && ((what & EV_WRITE) != 0 || s->write_wants_read))
			flush(s);
		break;
	case ST_CLOSING:
		closing_step(s, what);
		break;
	default:
		PANIC("event for a stream that waits for none");
	}
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
		read_ready(s);
		break;
	case ST_CLOSING:
		if (s->end == END_ERROR)
			finish(s);
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
	}
}

void
stream_flush_all(void)
{
	struct stream *list = g.dirty, *s;

	g.dirty = NULL;
	while ((s = list) != NULL) {
		list = s->next_dirty;
		s->is_dirty = false;
		if (s->state == ST_OPEN && !s->blocked)
			flush(s);
		else if (s->state == ST_CLOSING && !s->blocked)
			closing_step(s, EV_WRITE);
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
	memset(&g, 0, offsetof(__typeof__(g), buf));
	g.base = base;
	g.wake = evtimer_new(base, wake_cb, NULL);
	if (g.wake == NULL)
		log_fatal("out_of_memory", "what=timer");
}

void
stream_fini(void)
{
	for (struct stream *s = g.all; s != NULL; s = s->next)
		if (s->state != ST_DEAD)
			finish(s);
	stream_reap();
	event_free(g.wake);
	g.wake = NULL;
	g.base = NULL;
}

static struct stream *
stream_new(int fd, const struct sockaddr *peer, socklen_t peer_len, stream_cb *cb, void *arg)
{
	char text[ADDRESS_TEXT_MAX];
	struct stream *s = calloc(1, sizeof *s);

	if (s == NULL)
		return NULL;
	address_format(peer, peer_len, text);
	s->peer = strdup(text);
	if (s->peer == NULL) {
		free(s);
		return NULL;
	}
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
	struct sockaddr_storage peer;
	socklen_t len = sizeof peer;
	struct stream *s = NULL;

	memset(&peer, 0, sizeof peer);
	if (getpeername(fd, (struct sockaddr *)&peer, &len) != 0)
		len = 0; /* gone already: reading will say so */
	if (rawio_setup(fd))
		s = stream_new(fd, (struct sockaddr *)&peer, len, cb, arg);
	if (s == NULL) {
		close(fd);
		return NULL;
	}
	if (tls == NULL) {
		ready(s); /* ST_OPENING */
		return s;
	}
	s->io.ssl = tls_start(tls, fd, NULL);
	s->state = ST_HANDSHAKE;
	if (s->io.ssl == NULL)
		fail_later(s, "tls: out of memory");
	else
		arm(s);
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
		s = stream_new(fd, addr, addr_len, cb, arg);
	if (s == NULL) {
		close(fd);
		return NULL;
	}
	s->state = ST_CONNECTING;
	if (tls != NULL) {
		s->io.ssl = tls_start(tls, fd, host);
		if (s->io.ssl == NULL) {
			fail_later(s, "tls: out of memory, or not a possible host name");
			return s;
		}
	}
	errno = rawio_connect(&s->io, addr, addr_len);
	if (errno != 0 && errno != EINPROGRESS) {
		explain(s, "connect");
		fail_later(s, NULL);
	}
	arm(s);
	return s;
}

static void
queued(struct stream *s)
{
	if (stream_queued(s) > s->low)
		s->above = true;
	dirty(s);
}

/* ok: the bytes are in out.  A message that is missing cannot be made up for: the stream ends. */
static void
queued_or_failed(struct stream *s, bool ok)
{
	if (ok) {
		queued(s);
		return;
	}
	if (stream_queued(s) == 0)
		drop_queue(s);
	fail_later(s, "out of memory");
}

void
stream_write(struct stream *s, const void *buf, size_t len)
{
	if (!takes_output(s) || len == 0)
		return;
	if (s->out == NULL)
		s->out = evbuffer_new();
	queued_or_failed(s, s->out != NULL && evbuffer_add(s->out, buf, len) == 0);
}

void
stream_write_buffer(struct stream *s, struct evbuffer *src)
{
	size_t len = evbuffer_get_length(src);

	if (!takes_output(s)) {
		evbuffer_drain(src, len);
		return;
	}
	if (len == 0)
		return;
	if (s->out == NULL)
		s->out = evbuffer_new();
	queued_or_failed(s, s->out != NULL && evbuffer_add_buffer(s->out, src) == 0);
}

size_t
stream_queued(const struct stream *s)
{
	return s->out != NULL ? evbuffer_get_length(s->out) : 0;
}

uint64_t
stream_sent(const struct stream *s)
{
	return s->sent;
}

uint64_t
stream_received(const struct stream *s)
{
	return s->received;
}

void
stream_set_low_water(struct stream *s, size_t low)
{
	s->low = low;
	s->above = s->above || stream_queued(s) > low;
	if (s->above)
		dirty(s); /* a raised mark may lie above the queue now */
}

void
stream_suspend(struct stream *s, unsigned reason)
{
	s->suspended |= (uint8_t)reason;
	arm(s);
}

void
stream_resume(struct stream *s, unsigned reason)
{
	if ((s->suspended & reason) == 0)
		return;
	s->suspended &= (uint8_t)~reason;
	if (s->suspended != 0 || s->state != ST_OPEN)
		return;
	/* kept bytes, bytes inside OpenSSL or an end not told yet: nothing else would bring them up.  Within the callback kept is not
	 * known yet, so always. */
	s->offer = true;
	ready(s);
	arm(s);
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
		if (s->out == NULL)
			(void)rawio_shutdown(&s->io); /* else the cut must be visible */
	}
	finish(s);
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

const char *
stream_peer(const struct stream *s)
{
	return s->peer;
}

bool
stream_verified(const struct stream *s)
{
	return rawio_verified(&s->io);
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
		free(s->peer);
		free(s->why);
		free(s);
	}
	rest();
}
