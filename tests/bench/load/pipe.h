/* One non-blocking connection, plain or TLS 1.3, on the loop. */
#ifndef TESTS_BENCH_LOAD_PIPE_H
#define TESTS_BENCH_LOAD_PIPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sys/types.h>

#include "tests/bench/load/loop.h"

struct ssl_st;
struct ssl_ctx_st;

struct pipe {
	struct loop_fd fd; /* first: a pipe is what its descriptor belongs to */
	struct ssl_st *ssl; /* NULL: plain */
};

/* Starts to connect to 127.0.0.1:port; tls NULL = plain.  Ends the program when that cannot be. */
void pipe_connect(struct pipe *p, unsigned port, struct ssl_ctx_st *tls);
/* Takes over an accepted, non-blocking fd. */
void pipe_accepted(struct pipe *p, int fd);
void pipe_close(struct pipe *p);

/* The handshake is over; false: the loop will say when to ask again. */
bool pipe_shaken(struct pipe *p);

/* Bytes read or written; 0: none now; -1: the connection has ended. */
ssize_t pipe_read(struct pipe *p, void *buf, size_t len);
ssize_t pipe_write(struct pipe *p, const void *buf, size_t len);

/* Throws up to len received bytes away unread, where that is cheaper than reading (plain); as above. */
ssize_t pipe_skip(struct pipe *p, size_t len);

#endif
