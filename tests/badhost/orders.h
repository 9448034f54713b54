/* What badhost is told: a file that it and whoever gives the orders have mapped.  Both are of the same build, so the layout may change. */
#ifndef TESTS_BADHOST_ORDERS_H
#define TESTS_BADHOST_ORDERS_H

#include <stdatomic.h>

enum call {
	CALL_NONE,
	CALL_MALLOC,	 /* of the daemon itself, libevent's, and the beginning of a zlib stream */
	CALL_TLS_MALLOC, /* OpenSSL's */
	CALL_ACCEPT,
	CALL_SOCKET,
	CALL_CONNECT,
	CALL_READ, /* reads and writes of TCP, the library's too */
	CALL_WRITE,
	CALL_EPOLL_CTL,
	CALL_EPOLL_WAIT,
	CALLS
};

#define CALL_NAMES { "none", "malloc", "tls-malloc", "accept", "socket", "connect", "read", "write", "epoll-ctl", "epoll-wait" }

struct orders {
	atomic_uint call, error; /* enum call; the errno it fails with (malloc: NULL) */
	atomic_uint from, count; /* calls number from .. from + count - 1 after the order fail */
	atomic_uint seen, failed;
	atomic_uint piece;		 /* TCP reads and writes take so many bytes at most; 0: no bound */
	atomic_llong real_ms, mono_ms; /* the clocks go so much ahead of the true ones */
};

#endif
