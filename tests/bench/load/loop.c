/* See loop.h.  Waits are exact to microseconds (epoll_pwait2), so that an open loop sends when it is due. */
#include <err.h>
#include <time.h>
#include <unistd.h>

#include <sys/prctl.h>

#include "tests/bench/load/loop.h"

#define EVENTS 512 /* taken from the kernel at once */

static int epfd = -1;

void
loop_open(void)
{
	if ((epfd = epoll_create1(EPOLL_CLOEXEC)) < 0)
		err(1, "epoll_create1");
	(void)prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
}

void
loop_close(void)
{
	(void)close(epfd);
	epfd = -1;
}

void
loop_watch(struct loop_fd *f, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = f };
	int op = f->armed == 0 ? EPOLL_CTL_ADD : events == 0 ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;

	if (f->armed == events)
		return;
	if (epoll_ctl(epfd, op, f->fd, &ev) != 0)
		err(1, "epoll_ctl");
	f->armed = events;
}

void
loop_forget(struct loop_fd *f)
{
	if (f->fd < 0)
		return;
	loop_watch(f, 0);
	(void)close(f->fd);
	f->fd = -1;
}

void
loop_step(int64_t wait_ns)
{
	struct epoll_event ev[EVENTS];
	struct timespec ts = { wait_ns / 1000000000, wait_ns % 1000000000 };
	int n = epoll_pwait2(epfd, ev, EVENTS, &ts, NULL);

	for (int i = 0; i < n; i++) {
		struct loop_fd *f = ev[i].data.ptr;

		if (f->fd >= 0)
			f->ready(f, ev[i].events);
	}
}

uint64_t
loop_now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}
