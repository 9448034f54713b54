/* badhost: the daemon on a machine that does as it is told.  The whole of holdfast, main included, is linked to this file, which puts
 * itself between it and memory, TCP, epoll and the clocks; nothing else differs.  The disk is baddisk's.
 *
 * The environment variable BADHOST names a file with struct orders, which is mapped, so that an order counts from its next call on, in
 * the recovery process as well, and the count goes on when the daemon is started again.
 *
 * The allocations of relay/, protocol/ and buffer/ are caught by the linker (--wrap, Makefile.in), those of libevent and OpenSSL by
 * their own hooks; system calls by functions of the same name, which the shared libraries find first.  These make the system
 * calls themselves. */
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <event2/event.h>
#include <openssl/crypto.h>
#include <zlib.h>

#include "tests/badhost/orders.h"

#define IOV_MAX_HERE 64

static struct orders none, *orders = &none;

/* Is this one to fail? */
static bool
fails(enum call call)
{
	unsigned n;

	if (atomic_load(&orders->call) != call)
		return false;
	n = atomic_fetch_add(&orders->seen, 1) + 1;
	if (n < orders->from || n - orders->from >= orders->count)
		return false;
	atomic_fetch_add(&orders->failed, 1);
	errno = (int)orders->error;
	return true;
}

/* ---- memory ---- */

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
char *__real_strdup(const char *text);
int __real_inflateInit_(z_streamp z, const char *version, int size);
int __real_deflateInit_(z_streamp z, int level, const char *version, int size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
char *__wrap_strdup(const char *text);
int __wrap_inflateInit_(z_streamp z, const char *version, int size);
int __wrap_deflateInit_(z_streamp z, int level, const char *version, int size);

void *
__wrap_malloc(size_t size)
{
	return fails(CALL_MALLOC) ? NULL : __real_malloc(size);
}

void *
__wrap_calloc(size_t n, size_t size)
{
	return fails(CALL_MALLOC) ? NULL : __real_calloc(n, size);
}

void *
__wrap_realloc(void *p, size_t size)
{
	return fails(CALL_MALLOC) ? NULL : __real_realloc(p, size);
}

char *
__wrap_strdup(const char *text)
{
	return fails(CALL_MALLOC) ? NULL : __real_strdup(text);
}

int
__wrap_inflateInit_(z_streamp z, const char *version, int size)
{
	return fails(CALL_MALLOC) ? Z_MEM_ERROR : __real_inflateInit_(z, version, size);
}

int
__wrap_deflateInit_(z_streamp z, int level, const char *version, int size)
{
	return fails(CALL_MALLOC) ? Z_MEM_ERROR : __real_deflateInit_(z, level, version, size);
}

static void *
tls_malloc(size_t size, const char *file, int line)
{
	(void)file;
	(void)line;
	return size == 0 || fails(CALL_TLS_MALLOC) ? NULL : __real_malloc(size);
}

static void *
tls_realloc(void *p, size_t size, const char *file, int line)
{
	(void)file;
	(void)line;
	if (size == 0) {
		free(p);
		return NULL;
	}
	return fails(CALL_TLS_MALLOC) ? NULL : __real_realloc(p, size);
}

static void
tls_free(void *p, const char *file, int line)
{
	(void)file;
	(void)line;
	free(p);
}

/* ---- TCP ---- */

/* Files, pipes and the notify socket are let alone. */
static bool
is_tcp(int fd)
{
	int domain, saved = errno;
	socklen_t len = sizeof domain;
	bool is = getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && (domain == AF_INET || domain == AF_INET6);

	errno = saved;
	return is;
}

static bool
watched(void)
{
	return orders->call != CALL_NONE || orders->piece != 0;
}

static size_t
bounded(size_t len)
{
	return orders->piece != 0 && len > orders->piece ? orders->piece : len;
}

int
accept4(int fd, __SOCKADDR_ARG addr, socklen_t *restrict len, int flags)
{
	return fails(CALL_ACCEPT) ? -1 : (int)syscall(SYS_accept4, fd, addr, len, flags);
}

int
socket(int domain, int type, int protocol)
{
	return domain != AF_UNIX && fails(CALL_SOCKET) ? -1 : (int)syscall(SYS_socket, domain, type, protocol);
}

int
connect(int fd, __CONST_SOCKADDR_ARG addr, socklen_t len)
{
	return is_tcp(fd) && fails(CALL_CONNECT) ? -1 : (int)syscall(SYS_connect, fd, addr, len);
}

ssize_t
recv(int fd, void *buf, size_t len, int flags)
{
	return fails(CALL_READ) ? -1 : syscall(SYS_recvfrom, fd, buf, bounded(len), flags, NULL, NULL);
}

ssize_t
read(int fd, void *buf, size_t len)
{
	if (!watched() || !is_tcp(fd))
		return syscall(SYS_read, fd, buf, len);
	return fails(CALL_READ) ? -1 : syscall(SYS_read, fd, buf, bounded(len));
}

ssize_t
write(int fd, const void *buf, size_t len)
{
	if (!watched() || !is_tcp(fd))
		return syscall(SYS_write, fd, buf, len);
	return fails(CALL_WRITE) ? -1 : syscall(SYS_write, fd, buf, bounded(len));
}

ssize_t
send(int fd, const void *buf, size_t len, int flags)
{
	if (!watched() || !is_tcp(fd))
		return syscall(SYS_sendto, fd, buf, len, flags, NULL, 0);
	return fails(CALL_WRITE) ? -1 : syscall(SYS_sendto, fd, buf, bounded(len), flags, NULL, 0);
}

ssize_t
sendmsg(int fd, const struct msghdr *msg, int flags)
{
	struct iovec iov[IOV_MAX_HERE];
	struct msghdr less = *msg;
	size_t room = orders->piece;

	if (!watched() || !is_tcp(fd))
		return syscall(SYS_sendmsg, fd, msg, flags);
	if (fails(CALL_WRITE))
		return -1;
	if (room == 0 || msg->msg_iovlen > IOV_MAX_HERE)
		return syscall(SYS_sendmsg, fd, msg, flags);
	less.msg_iov = iov;
	less.msg_iovlen = 0;
	for (size_t i = 0; i < msg->msg_iovlen && room > 0; i++) {
		iov[i] = msg->msg_iov[i];
		if (iov[i].iov_len > room)
			iov[i].iov_len = room;
		room -= iov[i].iov_len;
		less.msg_iovlen++;
	}
	return syscall(SYS_sendmsg, fd, &less, flags);
}

/* ---- events, clocks ---- */

int
epoll_wait(int fd, struct epoll_event *events, int max, int timeout)
{
	return fails(CALL_EPOLL_WAIT) ? -1 : (int)syscall(SYS_epoll_pwait, fd, events, max, timeout, NULL, 0);
}

int
epoll_ctl(int fd, int op, int other, struct epoll_event *event)
{
	return fails(CALL_EPOLL_CTL) ? -1 : (int)syscall(SYS_epoll_ctl, fd, op, other, event);
}

int
clock_gettime(clockid_t id, struct timespec *ts)
{
	int rc = (int)syscall(SYS_clock_gettime, id, ts);
	bool real = id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE;
	long long ms = real ? orders->real_ms : orders->mono_ms;

	if (rc != 0 || ms == 0 || id == CLOCK_PROCESS_CPUTIME_ID || id == CLOCK_THREAD_CPUTIME_ID)
		return rc;
	ts->tv_sec += (time_t)(ms / 1000);
	ts->tv_nsec += (long)(ms % 1000) * 1000000;
	if (ts->tv_nsec < 0 || ts->tv_nsec >= 1000000000) {
		ts->tv_sec += ts->tv_nsec < 0 ? -1 : 1;
		ts->tv_nsec += ts->tv_nsec < 0 ? 1000000000 : -1000000000;
	}
	return 0;
}

int
gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
	struct timespec ts;

	(void)zone;
	(void)clock_gettime(CLOCK_REALTIME, &ts);
	tv->tv_sec = ts.tv_sec;
	tv->tv_usec = ts.tv_nsec / 1000;
	return 0;
}

time_t
time(time_t *out)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	if (out != NULL)
		*out = ts.tv_sec;
	return ts.tv_sec;
}

__attribute__((constructor)) static void
install(void)
{
	const char *path = getenv("BADHOST");
	int fd = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *map = fd >= 0 ? mmap(NULL, sizeof *orders, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;

	if (map == MAP_FAILED || CRYPTO_set_mem_functions(tls_malloc, tls_realloc, tls_free) != 1)
		_exit(126);
	(void)close(fd);
	orders = map;
	event_set_mem_functions(__wrap_malloc, __wrap_realloc, free);
}
