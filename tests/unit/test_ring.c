/* Tests relay/ring: each operation comes to the same with a ring and without, whatever the kernel takes of them.
 *
 * syscall(2) is ours, so that the kernel can be told to refuse, or to take a part only. */
#include "tests/harness.h"

#include <errno.h>
#include <dlfcn.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/io_uring.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "relay/ring.h"

/* ---- a kernel that is told what to do ---- */

static unsigned entered;	  /* calls of io_uring_enter */
static unsigned take_at_most;	  /* operations that one of them takes */
static int refuse;		  /* errno of all of them; 0: none is refused */
static bool interrupted;	  /* it does not wait */
static unsigned features_missing; /* IORING_FEAT_* */

static unsigned
least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/* io_uring_enter, as a kernel does it that takes less than it is given, or has not waited for what it took. */
static long
enter(long (*real)(long, ...), int ring, unsigned submit, unsigned wait, unsigned flags)
{
	entered++;
	errno = refuse;
	if (refuse != 0)
		return -1;
	submit = least(submit, take_at_most);
	return real(SYS_io_uring_enter, ring, submit, interrupted ? 0 : least(wait, submit), interrupted ? 0 : flags, NULL, 0ul);
}

long
syscall(long number, ...)
{
	long (*real)(long, ...) = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
	struct io_uring_params *p;
	unsigned entries;
	va_list args;
	long result;

	va_start(args, number);
	if (number == SYS_io_uring_enter) {
		int ring = va_arg(args, int);
		unsigned submit = va_arg(args, unsigned), wait = va_arg(args, unsigned), flags = va_arg(args, unsigned);

		result = enter(real, ring, submit, wait, flags);
	} else {
		entries = va_arg(args, unsigned);
		p = va_arg(args, struct io_uring_params *);
		result = real(number, entries, p);
		p->features &= ~features_missing;
	}
	va_end(args);
	return result;
}

static bool
start(bool ring)
{
	bool there;

	features_missing = 0;
	refuse = 0;
	interrupted = false;
	take_at_most = RING_MAX;
	there = !ring || ring_init();
	entered = 0;
	return there;
}

#define NO_RING "this kernel has no io_uring for us"

/* Runs body(false), then body(true). */
#define BOTH(name) \
	static void both_##name(bool ring); \
	TEST(name##_one_by_one) \
	{ \
		both_##name(false); \
	} \
	TEST(name##_together) \
	{ \
		both_##name(true); \
	} \
	static void both_##name(bool ring)

/* ---- operations ---- */

static struct ring_op
send_op(int fd, struct iovec *iov, int n)
{
	return (struct ring_op){ .fd = fd, .send = true, .iov = iov, .n = n, .result = 12345 };
}

static struct ring_op
receive_op(int fd, struct iovec *iov)
{
	return (struct ring_op){ .fd = fd, .iov = iov, .n = 1, .result = 12345 };
}

static void
pair(int fd[2])
{
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd) == 0);
}

static void
close_pairs(int fd[][2], int n)
{
	for (int i = 0; i < n; i++) {
		close(fd[i][0]);
		close(fd[i][1]);
	}
}

static size_t
fill_up(int fd)
{
	static uint8_t block[4096];
	size_t sum = 0;
	ssize_t n;

	while ((n = send(fd, block, sizeof(block), MSG_DONTWAIT)) > 0)
		sum += (size_t)n;
	return sum;
}

BOTH(each_kind)
{
	enum { SHORT, FULL, NOTHING, CLOSED, ONE_PART, PARTS, BROKEN, FILLED, NO_SOCKET, KINDS };
	uint8_t got[4][8] = { { 0 } }, back[16];
	char word[] = "one", parts[] = "abcdef";
	struct iovec to[4], one = { word, 3 }, three[3] = { { parts, 1 }, { parts + 1, 2 }, { parts + 3, 3 } };
	struct ring_op op[KINDS];
	int fd[KINDS][2];

	if (!start(ring))
		SKIP(NO_RING);
	for (int i = 0; i < KINDS; i++)
		pair(fd[i]);
	for (int i = 0; i < 4; i++) {
		to[i] = (struct iovec){ got[i], sizeof(got[i]) };
		op[i] = receive_op(fd[i][0], &to[i]);
	}
	CHECK(send(fd[SHORT][1], "five.", 5, 0) == 5);
	CHECK(send(fd[FULL][1], "more than eight", 15, 0) == 15);
	CHECK(shutdown(fd[CLOSED][1], SHUT_WR) == 0);
	op[ONE_PART] = send_op(fd[ONE_PART][0], &one, 1);
	op[PARTS] = send_op(fd[PARTS][0], three, 3);
	CHECK(shutdown(fd[BROKEN][0], SHUT_WR) == 0);
	op[BROKEN] = send_op(fd[BROKEN][0], &one, 1); /* SIGPIPE would end us */
	CHECK(fill_up(fd[FILLED][0]) > 0);
	op[FILLED] = send_op(fd[FILLED][0], three, 3);
	op[NO_SOCKET] = receive_op(STDIN_FILENO, &to[0]);
	op[NO_SOCKET].fd = -1;

	ring_run(op, KINDS);
	CHECK_U64(op[SHORT].result, 5);
	CHECK_MEM(got[SHORT], 5, "five.", 5);
	CHECK_U64(op[FULL].result, 8);
	CHECK_MEM(got[FULL], 8, "more tha", 8);
	CHECK_U64(-op[NOTHING].result, EAGAIN);
	CHECK_U64(op[CLOSED].result, 0);
	CHECK_U64(op[ONE_PART].result, 3);
	CHECK_MEM(back, recv(fd[ONE_PART][1], back, sizeof(back), 0), "one", 3);
	CHECK_U64(op[PARTS].result, 6);
	CHECK_MEM(back, recv(fd[PARTS][1], back, sizeof(back), 0), "abcdef", 6);
	CHECK_U64(-op[BROKEN].result, EPIPE);
	CHECK_U64(-op[FILLED].result, EAGAIN);
	CHECK_U64(-op[NO_SOCKET].result, EBADF);
	CHECK_U64(entered, ring ? 1 : 0);
	close_pairs(fd, KINDS);
	ring_fini();
}

/* What goes through n pairs at once, n at random, in pieces at random; the kernel has its moods, too. */
static void
stream_through(bool moods)
{
	enum { BYTES = 100000 };
	uint64_t sent[RING_MAX] = { 0 }, got[RING_MAX] = { 0 }, left = RING_MAX;
	static uint8_t out[RING_MAX][3000], in[RING_MAX][5000];
	struct iovec part[RING_MAX][2], to[RING_MAX];
	int fd[RING_MAX][2];

	for (int i = 0; i < RING_MAX; i++)
		pair(fd[i]);
	for (unsigned round = 0; left > 0; round++) {
		struct ring_op op[RING_MAX];
		int at[RING_MAX], n = 0;

		CHECK(round < 100000);
		if (moods) {
			take_at_most = (unsigned)rand() % (RING_MAX + 1);
			refuse = rand() % 10 == 0 ? EAGAIN : 0;
			interrupted = rand() % 2 == 0;
		}
		for (int i = 0; i < RING_MAX; i++) {
			size_t len = 1 + (size_t)rand() % sizeof(out[i]), first = (size_t)rand() % len;

			if (rand() % 3 == 0 || got[i] == BYTES)
				continue;
			at[n] = i;
			if (rand() % 2 == 0) {
				to[n] = (struct iovec){ in[n], 1 + (size_t)rand() % sizeof(in[n]) };
				op[n] = receive_op(fd[i][1], &to[n]);
				n++;
			} else if (sent[i] < BYTES) {
				len = len < BYTES - sent[i] ? len : BYTES - sent[i];
				first = first < len ? first : 0;
				for (size_t b = 0; b < len; b++)
					out[n][b] = (uint8_t)((sent[i] + b) * 31 + (sent[i] + b) / 256 + (unsigned)i);
				part[n][0] = (struct iovec){ out[n], first > 0 ? first : len };
				part[n][1] = (struct iovec){ out[n] + first, len - first };
				op[n] = send_op(fd[i][0], part[n], first > 0 ? 2 : 1);
				n++;
			}
		}
		ring_run(op, n);
		for (int k = 0; k < n; k++) {
			int i = at[k];

			if (op[k].result < 0) {
				CHECK_U64(-op[k].result, EAGAIN);
				continue;
			}
			if (op[k].send) {
				sent[i] += (uint64_t)op[k].result;
				continue;
			}
			CHECK(op[k].result > 0);
			for (ssize_t b = 0; b < op[k].result; b++)
				CHECK(in[k][b] == (uint8_t)((got[i] + (uint64_t)b) * 31 + (got[i] + (uint64_t)b) / 256 + (unsigned)i));
			got[i] += (uint64_t)op[k].result;
			left -= got[i] == BYTES ? 1 : 0;
		}
	}
	close_pairs(fd, RING_MAX);
}

BOTH(streams)
{
	if (!start(ring))
		SKIP(NO_RING);
	srand(1);
	stream_through(false);
	CHECK(ring ? entered > 10 : entered == 0);
	ring_fini();
}

/* The kernel takes some operations only, or none, or has not done them when it returns: the rest is made up for. */
TEST(a_kernel_with_moods)
{
	if (!start(true))
		SKIP(NO_RING);
	srand(2);
	stream_through(true);
	CHECK(entered > 10);
	ring_fini();
}

/* ---- its life ---- */

TEST(no_descriptor_left)
{
	struct rlimit was, none = { 0, 0 };

	if (!start(true))
		SKIP(NO_RING);
	ring_fini();
	CHECK(!ring_there());
	CHECK(getrlimit(RLIMIT_NOFILE, &was) == 0);
	none.rlim_max = was.rlim_max;
	CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
	CHECK(!ring_init() && errno == EMFILE);
	CHECK(setrlimit(RLIMIT_NOFILE, &was) == 0);
	CHECK(!ring_there());
	ring_fini();
	CHECK(ring_init() && ring_there());
	ring_fini();
}

/* The ring can be made, but a filter of system calls does not let it be used. */
TEST(a_filter)
{
	if (!start(true))
		SKIP(NO_RING);
	ring_fini();
	refuse = EPERM;
	CHECK(!ring_init() && errno == EPERM);
	CHECK(!ring_there());
	refuse = 0;
	take_at_most = 1;
	CHECK(!ring_init());
	take_at_most = RING_MAX;
	CHECK(ring_init());
	ring_fini();
}

/* A kernel that is too old: nothing of the ring is left, and all goes on without. */
TEST(an_old_kernel)
{
	int before, after;

	if (!start(true))
		SKIP(NO_RING);
	ring_fini();
	before = dup(STDERR_FILENO);
	features_missing = IORING_FEAT_NATIVE_WORKERS;
	CHECK(!ring_init() && errno == ENOSYS);
	CHECK(!ring_there());
	after = dup(STDERR_FILENO);
	CHECK_U64(after, before + 1);
	close(before);
	close(after);
	srand(3);
	stream_through(false);
	CHECK_U64(entered, 0);
}
