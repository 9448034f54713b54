/* A client's WebSocket: the upgrade, messages in and out, its sessions, and the upstream connection made for it.
 *
 *   HTTP <--a request that is no upgrade (door.h)--> REQUEST
 *
 *   REQUEST --upgrade read--> UPSTREAM --upstream's 101--> OPEN
 *                   |            | unreachable                ^
 *                   | link DOWN  v                            |
 *                   +-------> ADMIT --admitted----------------+        any --> closed
 *
 *   REQUEST: handshake_timeout since accept.   UPSTREAM: waits for upstream's answer; any answer but 101 is passed on.
 *   ADMIT: the offline policy is asked (admit.h).   OPEN: upstream may come and go; the client does not notice. */
#ifndef RELAY_CONN_H
#define RELAY_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "protocol/message.h"

#include "relay/relay.h"

struct conn;
struct front;
struct link;

/* Takes over fd, which came in by f. */
void conn_accept(struct front *f, int fd, const struct sockaddr *peer, socklen_t peer_len);

/* Ends the client's WebSocket by closing TCP, the mildest end for a client (it reconnects and loses nothing).  reason is for the log.
 * Sessions that still drain stay with the upstream connection, unless abort. */
void conn_close(struct conn *c, const char *reason);
void conn_abort(struct conn *c, const char *reason);
/* The same, and what waits to be sent is dropped: too much memory is held for c. */
void conn_overfull(struct conn *c, const char *reason);
uint64_t conn_held(const struct conn *c); /* bytes held for the client: arriving, waiting here, waiting to be sent on either side */

/* The link changed state: connect again, or answer what waits. */
void conn_link_changed(struct conn *c);
/* Whether c will then want an upstream, of which it has none. */
bool conn_comes_back(const struct conn *c);
/* The earliest rank of its sessions (priority.h); without any, the last there is. */
unsigned conn_rank(const struct conn *c);

/* Sends a message to the client (between streamed ones: it waits for the end of a message under way). */
void conn_send(struct conn *c, const struct message *m, struct view body);

/* The allocation that the message under way lies in, which is the caller's now; NULL: it lies where it was received. */
uint8_t *conn_take_whole(struct conn *c);

/* What was sent to the client and not yet taken is above the high water mark. */
bool conn_is_full(const struct conn *c);

/* conn_opaque.c: bytes of upstream's for a client that is passed through. */
void conn_opaque_out(struct conn *c, struct view data);

/* A message whose body is streamed: begin, any number of pieces that add up to body_len, end. */
void conn_stream_begin(struct conn *c, const struct message *m, uint64_t body_len);
void conn_stream_data(struct conn *c, struct view data);
void conn_stream_end(struct conn *c);
bool conn_is_streaming(const struct conn *c);

/* The client broke the protocol: sends a connection-level ERROR with code (100-199) and closes, as a server does. */
void conn_protocol_error(struct conn *c, unsigned code, const char *text);

/* Reading from the client waits until upstream's queue has drained, which conn_upstream_drained tells. */
void conn_await_upstream(struct conn *c);
void conn_upstream_drained(struct conn *c);
/* Reading from the client waits while any session of it is being opened. */
void conn_suspend_open(struct conn *c);
void conn_resume_open(struct conn *c);
/* Every client is read again when the committer has caught up. */
void conn_spool_changed(struct conn *c);

/* An HTTP exchange is over (door.h), its answer queued.  keep: another request may follow; else the connection ends. */
void conn_http_over(struct conn *c, bool keep, const char *reason);

/* What came already and was not consumed is given again. */
void conn_http_offer(struct conn *c);

/* What to present upstream for token, which the client presented in a BIND or REFRESH: itself, or, if it is one of the relay's own, the real
 * one that c has, which lives as long as c; itself as well as long as there is none: session_token_changed follows the exchange. */
struct view conn_real_token(const struct conn *c, struct view token);
/* The client tells a token in a BIND or REFRESH.  While DOWN it may have been given one of the relay's own long after its upgrade, which had a real
 * one or none: that will not do any more when the link returns, so from here it is as if c had come with the new one. */
void conn_token_told(struct conn *c, struct view token);
/* Whether c came with, or was given, a token of the relay's own of the entry id (refresh.h). */
bool conn_is_of(const struct conn *c, const uint8_t id[16]);

/* The user of the entry id (refresh.h) was revoked: if c runs on a token of its, its files are REJECTED and c ends. */
void conn_user_revoked(struct conn *c, const uint8_t id[16]);

const char *conn_endpoint(const struct conn *c); /* see link_endpoint; lives as long as c */
struct view conn_token(const struct conn *c); /* of the upgrade, empty if it had none; a secret; lives as long as c */
/* The client's own request, for another upstream connection in its name with the version agreed to.  Views live as long as c and protocol. */
struct upstream_request;
void conn_upstream_request(const struct conn *c, struct upstream_request *req, char protocol[MSG_SUBPROTOCOL_MAX]);
enum msg_flavour conn_flavour(const struct conn *c);
unsigned conn_version(const struct conn *c);
uint64_t conn_id(const struct conn *c);
struct upstream *conn_upstream(const struct conn *c); /* open, or NULL */
struct session_list *conn_sessions(struct conn *c);
struct conn_info {
	uint64_t id, age_ms;
	const char *peer; /* lives as long as c */
	unsigned version; /* 0: the upgrade is not done */
	bool offline;	  /* admitted without upstream */
};
void conn_describe(const struct conn *c, struct conn_info *out);
struct relay *conn_relay(const struct conn *c);
struct front *conn_front(const struct conn *c);
struct link *conn_link(const struct conn *c); /* of its front */
struct conn *conn_next(const struct conn *c); /* on relay->conns */
void conn_free_closed(void); /* end of pass */

#endif
