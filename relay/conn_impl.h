/* Inside of a conn, shared by conn.c (its life, messages in and out) and conn_upgrade.c (the upgrade, upstream's coming and going).
 * Nobody else includes this. */
#ifndef RELAY_CONN_IMPL_H
#define RELAY_CONN_IMPL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "protocol/http.h"
#include "protocol/ws.h"

#include "relay/conn.h"
#include "relay/outqueue.h"
#include "relay/refresh.h"
#include "relay/relay.h"
#include "relay/timer.h"

struct stream;
struct admit;
struct door;
struct exchange_wait;

enum conn_state { CONN_REQUEST, CONN_HTTP, CONN_UPSTREAM, CONN_ADMIT, CONN_OPEN, CONN_CLOSED };

struct conn {
	/* what each message touches, side by side */
	struct stream *stream;
	enum conn_state state;
	enum msg_flavour flavour;
	struct ws_decoder ws;
	uint8_t *msg; /* gathered so far; NULL when nothing is */
	size_t msg_len, msg_cap;
	uint8_t *whole;	    /* a gathered message while it is dealt with, unless it was taken */
	uint64_t whole_len; /* of the message, when it is a single frame */
	struct view piece;  /* the whole message where it was received; valid until WS_EV_END, which follows in the same call */
	uint32_t usual;	    /* bytes of the last message */
	unsigned opening;   /* sessions whose file is being read */
	struct session_list sessions;
	struct outqueue after; /* what must wait for the end of the message being streamed */
	uint64_t messages_in, messages_out;
	bool streaming;
	bool secret_seen; /* among the bytes just received, perhaps */
	bool of_user;	/* it came with a token of the relay's own (refresh.h), of the entry own_id, or one came in a BIND or REFRESH */
	bool own_token; /* and that is to be exchanged before upstream is asked again */
	bool shaking; /* counted as a handshake by relay->gate */
	bool dropping; /* nothing more is sent */
	bool offline; /* admitted without upstream */
	bool opaque;  /* conn_opaque.c: none of the versions offered is known here */
	bool spool_suspended;
	uint8_t own_id[REFRESH_ID];
	/* its life */
	TAILQ_ENTRY(conn) link; /* relay->conns, or the closed list */
	struct relay *relay;
	struct front *front;
	struct upstream *upstream; /* NULL: none, see retry */
	struct admit *admit;
	struct door *door; /* NULL: no HTTP request came yet */
	struct exchange_wait *exchange; /* for a real one; NULL: none under way */
	struct timer timer; /* handshake deadline, then idle */
	struct timer *retry; /* next attempt to reach upstream; NULL until there is one */
	uint64_t id;
	uint64_t backoff_ms, opened_at;
	uint64_t received_at_check;
	struct gate_address *from;
	/* the request, kept to repeat it */
	char *target, *authorization; /* secrets; authorization NULL: it had none */
	const char *user_agent, *offers, *endpoint; /* name.h */
	char *peer;    /* "addr:port", for the log */
	char *subject; /* of the client's certificate, if it has one */
	char *key_accept; /* for the 101; NULL behind it */
	uint32_t offered; /* bit set of versions */
	unsigned version; /* agreed to; 0 = not yet */
};

/* conn.c: ends c; drain as in conn_close. */
void conn_leave(struct conn *c, const char *reason, bool drain);

/* conn.c: the handshake is over: the request is complete, or refused. */
void conn_shaken(struct conn *c);

/* conn.c: sessions on c, ghosts not counted. */
unsigned conn_count_sessions(const struct conn *c);

/* conn_opaque.c: bytes of the client's for upstream, which is open; returns len. */
size_t conn_opaque_in(struct conn *c, uint8_t *buf, size_t len);

/* conn_upgrade.c: bytes of the upgrade request; returns how many were consumed. */
size_t conn_request(struct conn *c, uint8_t *buf, size_t len);
/* conn.c: upstream is tried again in so many ms (conn_retry). */
void conn_retry_after(struct conn *c, uint64_t ms);
/* conn_upgrade.c: c->retry fired: upstream is tried again. */
void conn_retry(struct conn *c);

#endif
