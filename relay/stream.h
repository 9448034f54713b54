/* A byte stream over TCP or TLS on libevent events.  Nothing outside of stream*.c and relay/rawio sees an fd, SSL*, EV_READ or
 * errno of a socket.
 *
 *   NEW --stream_connect--> CONNECTING --> (TLS) HANDSHAKE --> OPEN --> CLOSED
 *   NEW --stream_accept-------------------> HANDSHAKE ------> OPEN
 *
 * Events are given to one callback.  Nothing is freed inside it: stream_close() unhooks everything at once, no callback follows,
 * and the struct is freed by stream_reap() at the end of the loop pass (style 32).
 *
 * Reading: received bytes go from the kernel into buffers shared by all streams (or where stream_read_into says) and from there to STREAM_DATA; what the
 * callback does not consume is kept by the stream and given again after stream_resume (or with the next bytes). Writing: bytes
 * are queued (outqueue.h) and flushed behind the events that made them or at the end of the pass (stream_flush_all), coalesced into TLS records of up to
 * 16 KiB; TCP_NODELAY is on.  With a ring (ring_init), several plain streams are read, or sent to, with one system call. */
#ifndef RELAY_STREAM_H
#define RELAY_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct event_base;
struct outqueue;
struct sockaddr;
struct stream;
struct tls_context; /* relay/tls.h */

enum stream_event {
	STREAM_OPEN,	/* connected, TLS handshake (if any) done and verified */
	STREAM_DATA,	/* buf, len: bytes to read; return how many were consumed */
	STREAM_DRAINED, /* the output queue fell to or below the low water mark after having been above it; once per rise */
	STREAM_EOF,	/* the peer closed; writing may still work, and may still end in STREAM_ERROR */
	STREAM_ERROR,	/* connecting, TLS or I/O failed: stream_why() says what.  After a failed write the input is given first */
};

/* Returns bytes consumed for STREAM_DATA (ignored otherwise).  May call any function here, stream_close included
 * (then the return value is ignored).  buf may be modified in place and lives for the call only. */
typedef size_t stream_cb(void *arg, struct stream *s, enum stream_event ev, uint8_t *buf, size_t len);

/* Reasons to stop reading; reading goes on when all are cleared (style 34). */
enum stream_suspend {
	SUSPEND_OUTBUF = 1 << 0, /* the other side's output queue is above its high water mark */
	SUSPEND_SPOOL = 1 << 1,	 /* the committer is behind: spool above its high water mark */
	SUSPEND_OPEN = 1 << 2,	 /* waiting for the answer to something asked of spool or upstream */
	SUSPEND_DRAIN = 1 << 3,	 /* closing: only flushing output */
	SUSPEND_OWN = 1 << 4,	 /* its own output queue is above its high water mark: it asks and does not read */
};

/* Call once before any stream.  base is borrowed and outlives all streams. */
void stream_init(struct event_base *base);
void stream_fini(void);

/* Takes over fd (non-blocking is set here; closed on failure too).  tls NULL = plain.  NULL when out of memory. */
struct stream *stream_accept(int fd, struct tls_context *tls, stream_cb *cb, void *arg);

/* Starts connecting to addr.  host: name for SNI and certificate verification (copied), only used with tls.
 * Failure comes as STREAM_ERROR from the loop, never from inside this call; NULL when out of memory or descriptors. */
struct stream *stream_connect(const struct sockaddr *addr, socklen_t addr_len, struct tls_context *tls, const char *host,
			      stream_cb *cb, void *arg);

/* Queues len bytes (copied). */
void stream_write(struct stream *s, const void *buf, size_t len);
/* The same with bytes that hold a secret: the copy is wiped when it has been sent or is dropped (I9). */
void stream_write_secret(struct stream *s, const void *buf, size_t len);
/* Queues and empties src (moved, not copied). */
void stream_write_queue(struct stream *s, struct outqueue *src);
/* To write into the queue itself: NULL, it takes nothing any more; else all that was appended is told by stream_appended. */
struct outqueue *stream_output(struct stream *s);
void stream_appended(struct stream *s, size_t len);
/* Something that had to be written could not be made: no more is, and STREAM_ERROR follows from the loop. */
void stream_fail(struct stream *s, const char *why);

/* Within STREAM_DATA, when all is consumed: the next bytes, up to len < 2^32, are read to buf, and given there, where all of
 * them must be consumed.  Once; buf must live until then, or until another call.
 * buf NULL: to where all is read, but no more than len. */
void stream_read_into(struct stream *s, uint8_t *buf, size_t len);
/* Within STREAM_DATA: what is consumed of the bytes at hand holds no secret, so it need not be wiped (I9). */
void stream_harmless(struct stream *s);

struct stream_wire { /* bytes on the wire: of TLS its handshake and records, too; not what TCP and IP add */
	uint64_t received, sent;
};
/* What s puts on the wire and takes from it is added to *w (borrowed until s is freed), that before this call, too. */
void stream_count_wire(struct stream *s, struct stream_wire *w);

size_t stream_queued(const struct stream *s);	   /* bytes not yet taken by the kernel */
size_t stream_held(const struct stream *s);	   /* the same, and bytes received and not yet consumed */
uint64_t stream_sent(const struct stream *s);	   /* bytes the kernel has accepted since open */
/* Bytes on the wire that the peer's kernel has acknowledged (life on a thin link), and those that it has not.  A system call. */
uint64_t stream_delivered(const struct stream *s, uint64_t *unacknowledged);
uint64_t stream_received(const struct stream *s);  /* bytes received since open */

/* When the queue falls to low bytes, STREAM_DRAINED is given (once per rise above it).  Default 0. */
void stream_set_low_water(struct stream *s, size_t low);
/* The mark has changed: for all streams that were given one. */
void stream_move_low_water(size_t low);

void stream_suspend(struct stream *s, unsigned reason);
void stream_resume(struct stream *s, unsigned reason); /* kept bytes are given from the loop, not from inside this call */

/* Ends s: queued output is dropped unless flush, in which case it is sent first (at most linger_ms, then cut) with no further
 * callbacks.  s must not be used afterwards. */
void stream_close(struct stream *s, bool flush, unsigned linger_ms);

const char *stream_why(const struct stream *s); /* reason of the last STREAM_ERROR or STREAM_EOF; lives as long as s */
bool stream_cert_failed(const struct stream *s); /* STREAM_ERROR because the peer's certificate did not verify (captive portal?) */
bool stream_verified(const struct stream *s);	 /* the peer's certificate was verified */
/* The subject of the peer's verified certificate (RFC 4514; a peer's own words) into text, cut off at size; false: there is none. */
bool stream_subject(const struct stream *s, char *text, size_t size);
bool stream_resumed(const struct stream *s); /* the TLS session was resumed */

/* Of all streams together: bytes received or queued since stream_init; bytes queued on those that are closing, which
 * stream_drop_lingering gives up. */
uint64_t stream_moved(void);
uint64_t stream_lingering(void);
void stream_drop_lingering(void);

/* Whether there is a stream, closed ones included until they are reaped.  (libevent always has something to wait for: ours, for all of them.) */
bool stream_any(void);

/* End-of-pass work, called by the main loop: send what was queued, then free what was closed. */
void stream_flush_all(void);
void stream_reap(void);

#endif
