/* Bytes over one non-blocking TCP socket, plain or TLS 1.3: the layer under wsio.  No events, no buffers of its own. */
#ifndef TESTS_PEER_SOCKIO_H
#define TESTS_PEER_SOCKIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/err.h"

struct evbuffer;
struct ssl_st;

struct sockio {
	int fd;		       /* -1: none */
	struct ssl_st *ssl;    /* NULL: plain */
	bool read_wants_write; /* TLS: the last read waits for the socket to be writable */
	bool write_wants_read; /* TLS: the last write waits for bytes to read */
	char why[160];	       /* words for SOCKIO_EOF and SOCKIO_FAILED */
};

enum sockio_result {
	SOCKIO_OK,
	SOCKIO_AGAIN, /* nothing can be done now */
	SOCKIO_EOF,
	SOCKIO_FAILED,
};

/* Resolves host (blocking: tests use loopback) and starts to connect; tls_ca NULL = plain.  When the socket is writable,
 * sockio_connected tells whether it worked.  Certificates are verified against tls_ca and host. */
MUSTCHECK enum sockio_result sockio_connect(struct sockio *s, const char *host, unsigned port, const char *tls_ca);
MUSTCHECK enum sockio_result sockio_connected(struct sockio *s);

/* Takes over an accepted fd; cert NULL = plain. */
void sockio_accept(struct sockio *s, int fd, const char *cert, const char *key);

/* Reads up to cap bytes; *len is set on SOCKIO_OK. */
MUSTCHECK enum sockio_result sockio_read(struct sockio *s, uint8_t *buf, size_t cap, size_t *len);

/* Writes and drains what it can of out.  SOCKIO_OK: all of it. */
MUSTCHECK enum sockio_result sockio_write(struct sockio *s, struct evbuffer *out);

/* Are there bytes to read that the socket will not announce? */
bool sockio_pending(const struct sockio *s);

/* Bytes written that the peer's kernel has not yet confirmed. */
size_t sockio_unsent(const struct sockio *s);

/* Closes; rst: throws the connection away, with whatever is unsent. */
void sockio_close(struct sockio *s, bool rst);

/* Frees what sockio_close left (the TLS state). */
void sockio_free(struct sockio *s);

#endif
