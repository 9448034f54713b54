/* Private to relay/stream.c (a stream's life) and relay/stream_data.c (its bytes): what both see of it.
 *
 * Where input lies:   kept[0..kept_len), offered before and not consumed | early | inside OpenSSL | in the kernel.
 * Where output lies:  out, front first; the record OpenSSL is in the middle of writing is still in out | in the kernel. */
#ifndef RELAY_STREAM_IMPL_H
#define RELAY_STREAM_IMPL_H

#include <event2/event.h>

#include "relay/outqueue.h"
#include "relay/rawio.h"
#include "relay/ring.h"
#include "relay/stream.h"

/*   OPENING -> OPEN                    plain, accepted [opened, in the next pass]
 *   CONNECTING -> HANDSHAKE | OPEN     the kernel has connected [connected]
 *   HANDSHAKE -> OPEN                  [handshake]
 *   any of these -> FAILED             STREAM_ERROR is given [fail_open]
 *   OPEN -> CLOSING                    stream_close with flush [start_linger]
 *   any but DEAD -> DEAD               stream_close, or CLOSING is through or late [stream_finish] */
enum stream_state {
	ST_OPENING,    /* STREAM_OPEN is due; no event is armed */
	ST_CONNECTING, /* waits for the kernel */
	ST_HANDSHAKE,  /* TLS */
	ST_OPEN,       /* reads unless suspended or at its end; until `told`, an end that came is not given */
	ST_FAILED,     /* never was open; waits for stream_close; no event is armed */
	ST_CLOSING,    /* no callbacks; sends, drops what comes, waits for the peer's end; the linger timer runs */
	ST_DEAD,       /* fd and buffers are gone; waits for stream_reap */
};

enum stream_end { END_NONE, END_EOF, END_ERROR };

struct stream {
	struct rawio io;
	uint8_t state;	   /* enum stream_state */
	uint8_t end;	   /* enum stream_end: no more input will come */
	uint8_t told;	   /* the end the callback knows of */
	uint8_t suspended; /* enum stream_suspend bits */
	uint8_t watched;   /* EV_READ, EV_WRITE: the kernel tells when that can be */
	bool blocked : 1;  /* the kernel takes no more output now */
	bool fast : 1;	   /* the kernel may hold more (rawio_unsent) */
	bool above : 1;	   /* out was above low: STREAM_DRAINED is owed */
	bool offer : 1;	   /* kept is to be given again although nothing new came */
	bool write_failed : 1;
	bool read_wants_write : 1, write_wants_read : 1; /* TLS key updates */
	bool said_bye : 1;				 /* ST_CLOSING: our direction is shut */
	bool cert_failed : 1;
	bool harmless : 1; /* what is being given holds no secret */
	bool is_dirty : 1, is_ready : 1;
	uint32_t kept_len, into_len;
	uint32_t blocked_at; /* ms of clock_ms, modulo 2^32 */
	uint8_t *kept;
	const struct ring_op *early; /* what was read before its turn came, until it does (stream_read_early); NULL: nothing */
	uint8_t *into; /* the owner's: the next bytes are read there; NULL: to the shared buffer */
	struct outqueue out;
	size_t low;
	uint64_t sent, received;
	struct stream_wire counted, *wire; /* what of the wire is in *wire, which is the owner's; NULL: nobody asks */
	stream_cb *cb;
	void *arg;
	struct stream *next_dirty, *next_ready, *next_dead;
	char *why;
	struct event *linger;			  /* ST_CLOSING: the deadline */
	struct stream *prev, *next;		  /* all streams */
};

/* stream.c */
void stream_count_moved(size_t n); /* for stream_moved */
void stream_arm(struct stream *s);   /* waits for what the state wants */
void stream_ready(struct stream *s); /* a step is due that no descriptor will announce */
void stream_dirty(struct stream *s); /* stream_flush_all has work with it */
void stream_explain(struct stream *s, const char *what); /* keeps the reason of what rawio just reported; the first one stays */
void stream_set_why(struct stream *s, const char *text);
void stream_fail_later(struct stream *s, const char *why); /* no more input; STREAM_ERROR from the loop */
void stream_finish(struct stream *s);			   /* ends s at once; the struct stays until stream_reap */

/* stream_data.c.  Those marked * call back: s may be closed (not freed) when they return. */
void stream_read_early(struct stream *const *s, int n);	 /* reads those of up to RING_MAX that are plain at once: for the next stream_read_ready of each */
void stream_read_ready(struct stream *s);		 /* * reads and gives what there is, then the end */
void stream_flush(struct stream *s);			 /* * sends what the kernel takes */
void stream_flush_many(struct stream *const *s, int n);	 /* * the same for up to RING_MAX at once: plain ones, ST_OPEN, not blocked, with output */
void stream_closing_step(struct stream *s, short what);	 /* * ST_CLOSING: EV_READ, EV_WRITE */
void stream_drop_input(struct stream *s);

#endif
