/* A WebSocket to the sync server: connects, upgrades, pings, takes messages apart and gives them to sessions.
 *
 *   RESOLVING -> CONNECTING -> UPGRADING -> OPEN -> (closed)      [each arrow: on_resolved, on_stream, on_answer]
 *
 *   any state before OPEN is bounded by connect_timeout; OPEN is kept alive by PING/PONG (pong_timeout without a PONG and
 *   without any byte moving = dead).
 *
 * Owner: a conn (client WebSocket), nobody (orphan: the client left, its sessions drain), the link's probe, or the ident pool.  The
 * owner learns through struct upstream_ops; after `refused` or `lost` the upstream is closed and must not be used. */
#ifndef RELAY_UPSTREAM_H
#define RELAY_UPSTREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "protocol/http.h"
#include "protocol/message.h"

#include "relay/link.h"
#include "relay/relay.h"

struct stream;

struct upstream_ops {
	/* Upstream answered the upgrade with something else than 101; head and body live for the call. */
	void (*refused)(void *arg, const struct http_head *head, struct view body);
	/* 101: subprotocol is upstream's choice, server its Server header (may be empty). */
	void (*opened)(void *arg, struct view subprotocol, struct view server);
	/* It ended, before or after it was open. */
	void (*lost)(void *arg, enum link_evidence e, const char *why);
	/* A PONG came (may be NULL). */
	void (*pong)(void *arg);
	/* IDENT, UNBOUND or an ERROR in a session that the owner runs by itself, without struct session (may be NULL).  body: of an ERROR,
	 * for the call. */
	void (*message)(void *arg, const struct message *m, struct view body);
};

struct upstream_request { /* views are copied */
	struct view target;	   /* with query: a secret */
	struct view protocol;	   /* offers */
	struct view authorization; /* a secret */
	struct view user_agent;
	enum msg_flavour flavour;
	bool opaque; /* bytes are passed through (conn_opaque.c) */
};

/* Starts, by way of this link; never calls back from inside.  conn: the client that connection-level messages go to, NULL for none (borrowed, until
 * upstream_orphan or _close). */
struct upstream *upstream_open(struct link *way, const struct upstream_request *req, const struct upstream_ops *ops, void *arg,
			       struct conn *conn);

/* Ends u at once (TCP close; the reference server ignores WebSocket close frames).  Its sessions are told (session_upstream_lost).
 * No callback to the owner.  NULL allowed.  flush: what is queued may still go out. */
void upstream_close(struct upstream *u, bool flush, const char *reason);

/* Ends u as if it had been cut: owner, link and sessions are told why. */
void upstream_fail(struct upstream *u, const char *why);

/* The owner leaves; u stays while sessions drain on it and closes itself afterwards. */
void upstream_orphan(struct upstream *u);

bool upstream_is_open(const struct upstream *u); /* NULL: false */
bool upstream_is_orphan(const struct upstream *u);

/* A new session ident on u, never used before on it; s is entered there until upstream_drop. */
uint64_t upstream_enter(struct upstream *u, struct session *s);
void upstream_drop(struct upstream *u, struct session *s);

void upstream_send(struct upstream *u, const struct message *m, struct view body);
void upstream_send_raw(struct upstream *u, struct view data); /* opaque */
/* Sends a PING now (the link's probe does, as soon as it is open). */
void upstream_ping(struct upstream *u);
/* It will be written to (hot.h). */
void upstream_soon(const struct upstream *u);
size_t upstream_queued(const struct upstream *u); /* bytes not yet taken by the kernel */
/* Too much is queued: the client is not read until that has drained, or, if it takes long, until u counts as slow. */
void upstream_hold_client(struct upstream *u);
bool upstream_is_slow(const struct upstream *u);
uint64_t upstream_rate(const struct upstream *u); /* bytes per second while it was busy; 0 = not measured yet */

/* For passes over the upstreams of a link: memory held for u (bytes), and whether a client is behind it. */
struct upstream *upstream_next(const struct upstream *u);
uint64_t upstream_held(const struct upstream *u);
bool upstream_has_client(const struct upstream *u);

/* The client is slow: stop or go on reading upstream. */
void upstream_pause(struct upstream *u, bool pause);

void upstream_free_closed(void); /* end of pass */

#endif
