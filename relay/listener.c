/* Accepts connections and hands their descriptors on.
 *
 * accept(2) that fails for want of descriptors leaves the connection in the kernel's queue and the socket readable: a loop that
 * just goes on spins.  So the listener stops for a while.  And it stops early: descriptors are given out lowest first, so an
 * accepted one near the limit means that few are left, and those belong to the store and the upstream leg.
 *
 * A socket that cannot be watched is tried again likewise.
 *
 * Three reasons not to accept: pausing (a timer ends it), full (listener_release ends it), held (listener_hold). update() is the only
 * place that arms or disarms. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <event2/event.h>

#include "relay/address.h"
#include "relay/clock.h"
#include "relay/listener.h"
#include "relay/log.h"

#define TELL_MS 10000 /* the same warning at most this often: each client of a shortage would bring one */
#define BACKLOG 511 /* a power cut ends, and all devices of a site come back at once; the kernel caps it at somaxconn */

struct listener {
	int fd;
	bool armed, pausing, held;
	uint64_t max, count;
	uint64_t full_told_ms, pause_told_ms; /* when the warnings were given last */
	struct event *readable, *pause;
	listener_cb *cb;
	void *arg;
	char address[ADDRESS_TEXT_MAX];
};

static bool
may_tell(uint64_t *told_ms)
{
	uint64_t now = clock_ms();

	if (*told_ms != 0 && now - *told_ms < TELL_MS)
		return false;
	*told_ms = now;
	return true;
}

static void
pause_accepting(struct listener *l, const char *reason)
{
	static const struct timeval tv = { 0, LISTENER_PAUSE_MS * 1000 };
	struct log_line line;

	if (may_tell(&l->pause_told_ms)) {
		log_begin(&line, LOG_WARN, "accept_paused");
		log_str(&line, "reason", reason);
		log_u64(&line, "connections", l->count);
		log_end(&line);
	}
	l->pausing = evtimer_add(l->pause, &tv) == 0;
}

static void
cannot_watch(struct listener *l)
{
	l->armed = false;
	pause_accepting(l, "cannot watch the socket");
	if (!l->pausing)
		log_fatal("listen_failed", "reason=\"cannot watch the socket\"");
}

static void
update(struct listener *l)
{
	bool want = !l->pausing && !l->held && l->fd >= 0 && l->count < l->max;

	if (l->count >= l->max && l->armed && may_tell(&l->full_told_ms))
		log_event(LOG_WARN, "connections_full", "max=%llu", (unsigned long long)l->max);
	if (want == l->armed)
		return;
	l->armed = want;
	if (!want)
		event_del(l->readable);
	else if (event_add(l->readable, NULL) != 0)
		cannot_watch(l);
}

static void
pause_cb(evutil_socket_t fd, short what, void *arg)
{
	struct listener *l = arg;

	(void)fd;
	(void)what;
	l->pausing = false;
	update(l);
}

/* Only LISTENER_RESERVE descriptors left?  (Asked each time: an operator can raise the limit with prlimit.) */
static bool
in_reserve(int fd)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
	       (rlim_t)fd + LISTENER_RESERVE >= limit.rlim_cur;
}

/* Accepts one.  False: stop for this pass. */
static bool
accept_one(struct listener *l)
{
	struct sockaddr_storage peer;
	socklen_t len = sizeof peer;
	int fd = accept4(l->fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd >= 0 && in_reserve(fd)) {
		close(fd);
		pause_accepting(l, "few descriptors left");
		return false;
	}
	if (fd >= 0) {
		l->count++;
		l->cb(l->arg, fd, (struct sockaddr *)&peer, len);
		return true;
	}
	if (errno == EAGAIN || errno == EWOULDBLOCK)
		return false;
	if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
		pause_accepting(l, strerror(errno));
		return false;
	}
	return true; /* that one connection broke before it was accepted (ECONNABORTED, EPROTO, ... accept(2)) */
}

static void
readable_cb(evutil_socket_t fd, short what, void *arg)
{
	struct listener *l = arg;

	(void)fd;
	(void)what;
	for (int i = 0; i < LISTENER_BATCH && !l->held && l->count < l->max && accept_one(l); i++)
		;
	update(l);
}

/* A listening socket, or -1 with errno. */
static int
open_socket(const struct sockaddr_storage *sa, socklen_t len)
{
	int one = 1, fd = socket(sa->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), saved;

	if (fd < 0)
		return -1;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0 && bind(fd, (const struct sockaddr *)sa, len) == 0 &&
	    listen(fd, BACKLOG) == 0)
		return fd;
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

struct listener *
listener_open(struct event_base *base, const char *address, uint64_t max, listener_cb *cb, void *arg, char *why, size_t why_len)
{
	struct listener *l;
	struct sockaddr_storage sa;
	struct log_line line;
	socklen_t len;
	int fd;

	if (!address_parse(address, &sa, &len)) {
		snprintf(why, why_len, "%s: not an address and port", address);
		return NULL;
	}
	fd = open_socket(&sa, len);
	len = sizeof sa;
	if (fd < 0 || getsockname(fd, (struct sockaddr *)&sa, &len) != 0) {
		snprintf(why, why_len, "%s: %s", address, strerror(errno));
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	l = calloc(1, sizeof *l);
	if (l == NULL)
		log_fatal("out_of_memory", "what=listener");
	l->fd = fd;
	l->max = max;
	l->cb = cb;
	l->arg = arg;
	l->readable = event_new(base, fd, EV_READ | EV_PERSIST, readable_cb, l);
	l->pause = evtimer_new(base, pause_cb, l);
	if (l->readable == NULL || l->pause == NULL)
		log_fatal("out_of_memory", "what=listener");
	address_format((struct sockaddr *)&sa, len, l->address);
	update(l);
	log_begin(&line, LOG_INFO, "listening");
	log_str(&line, "address", l->address);
	log_end(&line);
	return l;
}

void
listener_close(struct listener *l)
{
	if (l == NULL)
		return;
	event_free(l->readable);
	event_free(l->pause);
	if (l->fd >= 0)
		close(l->fd);
	free(l);
}

void
listener_stop(struct listener *l)
{
	if (l->fd < 0)
		return;
	event_del(l->readable);
	close(l->fd);
	l->fd = -1;
	l->armed = false;
}

void
listener_release(struct listener *l)
{
	if (l->count == 0)
		PANIC("more connections released than accepted");
	l->count--;
	update(l);
}

void
listener_hold(struct listener *l, bool hold)
{
	if (l->held == hold)
		return;
	l->held = hold;
	update(l);
}

void
listener_set_max(struct listener *l, uint64_t max)
{
	l->max = max;
	update(l);
}

const char *
listener_address(const struct listener *l)
{
	return l->address;
}

uint64_t
listener_count(const struct listener *l)
{
	return l->count;
}
