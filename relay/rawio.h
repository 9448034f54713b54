/* Non-blocking bytes over a socket, plain or TLS: the private lower half of relay/stream.
 *
 * Knows errno and SSL*, nothing of events, queues or callbacks.  Every call returns enum rawio_result; after RAWIO_FAIL,
 * rawio_explain makes the sentence and must be called before anything else that sets errno or uses OpenSSL. */
#ifndef RELAY_RAWIO_H
#define RELAY_RAWIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define RAWIO_RECORD 16384 /* payload of one TLS record at most (RFC 8446 5.1) */

struct ring_op;
struct ssl_st;

enum rawio_result {
	RAWIO_OK,    /* done; there may be more */
	RAWIO_READ,  /* nothing more until the socket is readable */
	RAWIO_WRITE, /* nothing more until it is writable */
	RAWIO_EOF,   /* the peer closed */
	RAWIO_FAIL,
};

struct rawio {
	int fd;
	uint32_t retry;	    /* length of the record OpenSSL is in the middle of writing; it must be offered again, exactly */
	struct ssl_st *ssl; /* NULL: plain */
	uint64_t received, sent; /* bytes that did not go through ssl; all, once it is closed */
};

/* Sets what every socket here has (non-blocking, no delay, little unsent data in the kernel); false with errno. */
bool rawio_setup(int fd);
/* Lets the kernel hold more bytes unsent on a fast link, or, as rawio_setup does, few. */
void rawio_unsent(const struct rawio *io, bool fast);
/* 0, EINPROGRESS or another errno. */
int rawio_connect(struct rawio *io, const struct sockaddr *addr, socklen_t len);
/* After the socket became writable: the connect's outcome, 0 or an errno. */
int rawio_connected(struct rawio *io);
enum rawio_result rawio_handshake(struct rawio *io);

/* Fills buf as far as it goes; *got bytes were read whatever the result.  all: go on until the socket is really empty (a short
 * read, or less than a TLS record has, is otherwise taken as the end, saving a system call: the descriptor tells of more). */
enum rawio_result rawio_read(struct rawio *io, uint8_t *buf, size_t len, bool all, size_t *got);
/* Writes from the front of iov, TLS one record at a time; *put bytes are gone whatever the result. */
enum rawio_result rawio_write(struct rawio *io, const struct iovec *iov, int n, size_t *put);
/* The same for one that is plain, in two steps, so that the system calls of many are made together (relay/ring): the operation for iov, which is
 * borrowed until it was run; and what it came to, *moved bytes. */
struct ring_op rawio_op(const struct rawio *io, bool send, const struct iovec *iov, int n);
enum rawio_result rawio_op_result(struct rawio *io, const struct ring_op *op, size_t *moved);
/* Reads and drops what is there, undecrypted: the peer's last words while we are closing. */
enum rawio_result rawio_discard(struct rawio *io, uint8_t *buf, size_t len);
/* Bytes may wait inside OpenSSL although the socket is empty. */
bool rawio_pending(const struct rawio *io);
/* What went over the wire so far: the bytes that the kernel took and gave, so of TLS its handshake and records, too.  Also after rawio_close. */
void rawio_wire(const struct rawio *io, uint64_t *received, uint64_t *sent);
/* Of the bytes sent, TLS counted: those that the peer's kernel has acknowledged, and those that it has not. */
uint64_t rawio_delivered(const struct rawio *io, uint64_t *unacknowledged);
/* Says goodbye in our direction (close_notify, FIN). */
enum rawio_result rawio_shutdown(struct rawio *io);
/* The next rawio_close is a reset: what is sent of a message then is no whole one to the peer. */
void rawio_cut(const struct rawio *io);
void rawio_close(struct rawio *io);

/* "what: reason" for the failure that just happened; *cert: because the peer's certificate did not verify. */
void rawio_explain(const struct rawio *io, const char *what, char *why, size_t why_len, bool *cert);
bool rawio_verified(const struct rawio *io);
/* The subject of the peer's certificate (RFC 4514), cut off at size, when it has one and it was verified. */
bool rawio_subject(const struct rawio *io, char *text, size_t size);
bool rawio_resumed(const struct rawio *io); /* the TLS handshake was a short one */

#endif
