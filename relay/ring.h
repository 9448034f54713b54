/* Sends and receives of many sockets in one system call, by the kernel's io_uring.
 *
 * Most of what it takes to relay a short message is what a system call costs by itself (with the mitigations of today's kernels up to 2 us, more than
 * the kernel's work with the message), and when several sessions have something to do at the same time it need not be paid for each.  Nothing else
 * of io_uring is used: every operation is over when ring_run() returns, as if each had been a call of its own.  And where there is no ring, for
 * the kernel is older than 5.12 or forbids it, or nobody called ring_init(), each is.
 *
 * One ring, one thread. */
#ifndef RELAY_RING_H
#define RELAY_RING_H

#include <stdbool.h>
#include <stddef.h>

#include <sys/types.h>
#include <sys/uio.h>

#define RING_MAX 16 /* operations at a time; more would save little, as these share one system call */

struct ring_op {
	int fd; /* a socket that does not block */
	bool send;		 /* else receive */
	int n;			 /* of iov: 1 or more; to receive, 1 */
	const struct iovec *iov; /* borrowed, as are the bytes, until ring_run returns */
	ssize_t result;		 /* bytes sent or received, 0 received: the peer closed; or -errno, which is never EINTR */
};

/* Makes the ring, and tries it; false: there will be none, with the reason in errno (ENOSYS: the kernel is too old). */
bool ring_init(void);
void ring_fini(void); /* also when there is none */
bool ring_there(void);

/* Does all n <= RING_MAX operations, in any order, and sets their results.  MSG_DONTWAIT and MSG_NOSIGNAL are implied. */
void ring_run(struct ring_op *op, int n);

#endif
