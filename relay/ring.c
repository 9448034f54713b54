/* io_uring without its library: of what that does, only three arrays that are shared with the kernel are needed here.
 *
 *   sqes[]  operations, written by us       sq_tail: how many we put there; sq_head: how many the kernel took
 *   cqes[]  results, written by the kernel  cq_tail: how many it put there; cq_head: how many we took
 *
 * The counts run on; modulo the size they are places.  All operations run to their end within io_uring_enter: none waits (MSG_DONTWAIT), and the call
 * itself waits for as many results as it takes operations.  What it does not take, or has no memory for, becomes a system call of its own. */
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "relay/log.h"
#include "relay/ring.h"

#ifndef IORING_FEAT_NATIVE_WORKERS
#define IORING_FEAT_NATIVE_WORKERS (1U << 9) /* newer than the headers of Debian 11 */
#endif

static struct {
	int fd;
	void *rings;
	size_t rings_size;
	struct io_uring_sqe *sqes; /* NULL: there is no ring */
	struct io_uring_cqe *cqes;
	unsigned *sq_head, *sq_tail, *cq_head, *cq_tail;
	unsigned mask, cq_mask;
	struct msghdr msg[RING_MAX]; /* of operations with several parts */
} g = { .fd = -1 };

/* ---- one at a time ---- */

static void
run_one(struct ring_op *op)
{
	struct msghdr msg = { .msg_iov = (struct iovec *)(uintptr_t)op->iov, .msg_iovlen = (size_t)op->n };

	do {
		if (!op->send)
			op->result = recv(op->fd, op->iov->iov_base, op->iov->iov_len, MSG_DONTWAIT);
		else if (op->n == 1) /* as mostly: it costs the kernel less */
			op->result = send(op->fd, op->iov->iov_base, op->iov->iov_len, MSG_DONTWAIT | MSG_NOSIGNAL);
		else
			op->result = sendmsg(op->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (op->result < 0 && errno == EINTR);
	if (op->result < 0)
		op->result = -errno;
}

/* ---- together ---- */

static void
put_op(unsigned at, const struct ring_op *op, int index)
{
	struct io_uring_sqe *sqe = &g.sqes[at & g.mask];

	memset(sqe, 0, sizeof(*sqe));
	sqe->fd = op->fd;
	sqe->user_data = (uint64_t)index;
	sqe->msg_flags = op->send ? MSG_DONTWAIT | MSG_NOSIGNAL : MSG_DONTWAIT;
	if (op->n > 1) {
		struct msghdr *msg = &g.msg[index];

		msg->msg_iov = (struct iovec *)(uintptr_t)op->iov; /* the rest stays 0 */
		msg->msg_iovlen = (size_t)op->n;
		sqe->opcode = IORING_OP_SENDMSG;
		sqe->addr = (uintptr_t)msg;
		sqe->len = 1;
	} else {
		sqe->opcode = op->send ? IORING_OP_SEND : IORING_OP_RECV;
		sqe->addr = (uintptr_t)op->iov->iov_base;
		sqe->len = (uint32_t)op->iov->iov_len;
	}
}

/* Takes the results that are there; returns how many. */
static int
take_results(struct ring_op *op)
{
	unsigned head = *g.cq_head, tail = __atomic_load_n(g.cq_tail, __ATOMIC_ACQUIRE);
	int n = (int)(tail - head);

	for (; head != tail; head++)
		op[g.cqes[head & g.cq_mask].user_data].result = g.cqes[head & g.cq_mask].res;
	__atomic_store_n(g.cq_head, head, __ATOMIC_RELEASE);
	return n;
}

static bool
enter(int submit, int results)
{
	return syscall(SYS_io_uring_enter, g.fd, (unsigned)submit, (unsigned)results, IORING_ENTER_GETEVENTS, NULL, (size_t)0) >= 0;
}

/* Returns how many the kernel took, the first ones of them: they are done. */
static int
run_together(struct ring_op *op, int n)
{
	unsigned tail = *g.sq_tail;
	int taken, done;

	for (int i = 0; i < n; i++)
		put_op(tail + (unsigned)i, &op[i], i);
	__atomic_store_n(g.sq_tail, tail + (unsigned)n, __ATOMIC_RELEASE);
	(void)enter(n, n); /* whatever it says: what counts is what it took */
	taken = (int)(__atomic_load_n(g.sq_head, __ATOMIC_ACQUIRE) - tail);
	__atomic_store_n(g.sq_tail, tail + (unsigned)taken, __ATOMIC_RELEASE); /* the others are taken back */
	done = take_results(op);
	while (done < taken) {
		if (!enter(0, taken - done) && errno != EINTR)
			log_fatal("ring", "errno=%d", errno); /* they may still touch memory that is not ours to lend any more */
		done += take_results(op);
	}
	return taken;
}

void
ring_run(struct ring_op *op, int n)
{
	int done = g.sqes != NULL && n > 1 ? run_together(op, n) : 0;

	for (int i = 0; i < n; i++)
		if (i >= done || op[i].result == -EINTR || op[i].result == -ENOMEM) /* of sockets only io_uring says that */
			run_one(&op[i]);
}

/* ---- its life ---- */

bool
ring_there(void)
{
	return g.sqes != NULL;
}

static bool
map(const struct io_uring_params *p)
{
	size_t sq = p->sq_off.array + p->sq_entries * sizeof(uint32_t), cq = p->cq_off.cqes + p->cq_entries * sizeof(*g.cqes);
	char *rings;
	void *sqes;

	g.rings_size = sq > cq ? sq : cq;
	rings = mmap(NULL, g.rings_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, g.fd, IORING_OFF_SQ_RING);
	if (rings == MAP_FAILED)
		return false;
	g.rings = rings;
	g.mask = p->sq_entries - 1;
	g.cq_mask = p->cq_entries - 1;
	sqes = mmap(NULL, p->sq_entries * sizeof(*g.sqes), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, g.fd, IORING_OFF_SQES);
	if (sqes == MAP_FAILED)
		return false;
	g.sq_head = (unsigned *)(void *)(rings + p->sq_off.head);
	g.sq_tail = (unsigned *)(void *)(rings + p->sq_off.tail);
	g.cq_head = (unsigned *)(void *)(rings + p->cq_off.head);
	g.cq_tail = (unsigned *)(void *)(rings + p->cq_off.tail);
	g.cqes = (struct io_uring_cqe *)(void *)(rings + p->cq_off.cqes);
	for (unsigned i = 0; i < p->sq_entries; i++) /* the place of an operation is that of its number */
		((unsigned *)(void *)(rings + p->sq_off.array))[i] = i;
	g.sqes = sqes;
	return true;
}

/* A filter of system calls may let the ring be made and not be used, or not for all that we do with it. */
static bool
try_it(void)
{
	char out[] = "abc", in[2][4];
	struct iovec part[] = { { out, 1 }, { out + 1, 2 } }, to[] = { { in[0], 4 }, { in[1], 4 } };
	int a[2] = { -1, -1 }, b[2] = { -1, -1 }, why;
	bool works = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, a) == 0 && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, b) == 0;

	if (works) {
		struct ring_op send[] = { { .fd = a[0], .send = true, .n = 1, .iov = part }, { .fd = b[0], .send = true, .n = 2, .iov = part } };
		struct ring_op receive[] = { { .fd = a[1], .n = 1, .iov = &to[0] }, { .fd = b[1], .n = 1, .iov = &to[1] } };

		works = run_together(send, 2) == 2 && run_together(receive, 2) == 2 && receive[0].result == 1 && receive[1].result == 3;
	}
	why = errno;
	for (int i = 0; i < 2; i++) {
		(void)close(a[i]);
		(void)close(b[i]);
	}
	errno = why;
	return works;
}

bool
ring_init(void)
{
	const uint32_t needed = IORING_FEAT_SINGLE_MMAP | IORING_FEAT_NATIVE_WORKERS; /* 5.4; 5.12, where it grew up */
	struct io_uring_params p = { 0 };
	int why;

	g.fd = (int)syscall(SYS_io_uring_setup, RING_MAX, &p);
	if (g.fd < 0)
		return false;
	errno = ENOSYS;
	if ((p.features & needed) == needed && map(&p) && try_it())
		return true;
	why = errno;
	ring_fini();
	errno = why;
	return false;
}

void
ring_fini(void)
{
	if (g.sqes != NULL)
		munmap(g.sqes, (g.mask + 1) * sizeof(*g.sqes));
	if (g.rings != NULL)
		munmap(g.rings, g.rings_size);
	if (g.fd >= 0)
		close(g.fd);
	memset(&g, 0, sizeof(g));
	g.fd = -1;
}
