/* One epoll loop for fleet and sink: descriptors with a function each, and the clock. */
#ifndef TESTS_BENCH_LOAD_LOOP_H
#define TESTS_BENCH_LOAD_LOOP_H

#include <stdint.h>

#include <sys/epoll.h>

struct loop_fd {
	int fd;		/* -1: none */
	uint32_t armed; /* what epoll watches for; 0 = not at all */
	void (*ready)(struct loop_fd *f, uint32_t events);
};

void loop_open(void);
void loop_close(void);

/* Watches f for these events from now on (0: for none).  Levels, not edges. */
void loop_watch(struct loop_fd *f, uint32_t events);

/* Ends the watch and closes the descriptor. */
void loop_forget(struct loop_fd *f);

/* Waits up to wait_ns for something to happen and calls what is ready.  A ready() may forget its own f, no other. */
void loop_step(int64_t wait_ns);

uint64_t loop_now_ns(void); /* CLOCK_MONOTONIC */

#endif
