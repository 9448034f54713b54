/* Inside of an upstream, shared by upstream.c (its life, liveness, connecting) and upstream_in.c (what it sends us).  Nobody else includes
 * this. */
#ifndef RELAY_UPSTREAM_IMPL_H
#define RELAY_UPSTREAM_IMPL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "protocol/message.h"
#include "protocol/ws.h"

#include "relay/relay.h"
#include "relay/session.h"
#include "relay/timer.h"
#include "relay/upstream.h"

struct resolver_query;
struct resolver_result;
struct stream;

enum upstream_state { UPSTREAM_RESOLVING, UPSTREAM_CONNECTING, UPSTREAM_UPGRADING, UPSTREAM_OPEN, UPSTREAM_CLOSED };

struct opening { /* what is needed until it is OPEN */
	unsigned first_url, nth_url; /* of those that link_url gives */
	struct resolver_query *query;
	struct resolver_result *addresses; /* while CONNECTING */
	size_t next_address;
	char *target, *protocol, *authorization, *user_agent;
	char key[25], accept[29];
};

struct incoming { /* a message that is arriving */
	uint8_t *head; /* MSG_HEAD_MAX bytes; NULL unless it arrives in parts */
	size_t head_len;
	uint8_t chunk; /* its kind (chunk.h) */
	bool begun;    /* the head is complete; m and what follows are valid */
	bool to_client; /* being streamed to u->conn */
	enum session_route route;
	struct message m;
	struct session *session; /* borrowed; NULL: connection level, or gone */
	uint64_t left;		 /* body bytes still to come */
	uint8_t *body;		 /* ROUTE_COLLECT */
	size_t body_len;
};

struct upstream {
	/* what each message touches, side by side */
	struct conn *conn;
	struct stream *stream;
	enum upstream_state state;
	enum msg_flavour flavour;
	struct ws_decoder ws;
	struct incoming *in; /* NULL: no message is arriving */
	struct session_list sessions;
	bool awaiting_pong, was_busy, paused, opaque;
	bool slow; /* the client was not read for too long: until the queue has drained its uploads go by way of the disk */
	/* its life */
	TAILQ_ENTRY(upstream) link; /* way->upstreams, or the closed list */
	struct link *way; /* that it goes by */
	const struct upstream_ops *ops; /* NULL: orphan */
	void *arg;
	const struct address_url *url; /* the one that is tried or worked; borrowed from the link */
	struct opening *opening;       /* NULL: it is OPEN, or was */
	struct timer timer; /* connect_timeout, then the tick */
	uint64_t next_ident;
	/* liveness, all clock_ms */
	uint64_t ping_at, ping_left_at, life_at;
	uint64_t ping_pos;		    /* stream position behind the PING */
	uint64_t seen_delivered, seen_received; /* as of the last tick */
	uint64_t busy_at;		    /* the last tick at which something was queued */
	uint64_t tick_at, rate;
	uint64_t client_waits_at;  /* since when the client is not read because too much is queued here; 0: it is read */
};

/* upstream.c: it ended by itself or by our judgement: link and owner are told, then the sessions.  Before it is OPEN it may go on with the
 * next URL instead. */
void upstream_lost(struct upstream *u, enum link_evidence e, const char *why);

/* upstream_in.c: forgets what has arrived of a message that will not be complete. */
void upstream_forget_incoming(struct upstream *u);

/* upstream_in.c: bytes of an OPEN connection; returns how many were consumed, all when u is closed. */
size_t upstream_frames(struct upstream *u, uint8_t *buf, size_t len);

#endif
