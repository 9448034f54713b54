/* One client connection of the stand-in upstream. */
#ifndef TESTS_UPSTREAM_CONN_H
#define TESTS_UPSTREAM_CONN_H

#include "protocol/message.h"

#include "tests/upstream/server.h"

struct session;
struct wsio;
struct out;

/* Bytes queued, from which on no further DOWNLOAD is made for this connection: a PONG must not wait long behind them on a thin link. */
#define CONN_OUT_HIGH (256u << 10)

struct conn {
	struct server *srv;
	struct wsio *w;
	uint64_t id;
	enum msg_flavour flavour;
	unsigned version;	   /* agreed protocol version; 0: no 101 yet */
	bool closing;		   /* its end is under way: says and hears nothing more */
	bool full;		   /* a session has more to say than CONN_OUT_HIGH allows */
	struct session *sessions;
	struct out *out, **out_last; /* messages that wait for their time, or for the end of stall */
	size_t out_bytes;
	struct event *out_timer;
	int64_t last_ping_ms; /* S8; the time of the 101 before the first */
	struct conn *prev, *next;
};

/* Takes over an accepted fd. */
void conn_accept(struct server *srv, int fd);

/* Sends m with its body.  cut: only this many bytes of the message, then RST; ORDERS_NO_CUT: all. */
void conn_send(struct conn *c, const struct message *m, const void *body, size_t len, size_t cut);

/* Sends bytes that need not be a message. */
void conn_say(struct conn *c, const void *buf, size_t len);

/* Sends a LOG_MESSAGE, if the protocol version has it.  session_ident 0: about the connection, then with its request id. */
void conn_log(struct conn *c, uint64_t session_ident, const char *level, const char *text);

/* Sends a connection level ERROR, or JSON_ERROR, and ends the connection. */
void conn_error(struct conn *c, unsigned code, const char *text);
void conn_json_error(struct conn *c, unsigned code, const char *json);

/* RST at once; its sessions are gone when this returns. */
void conn_cut(struct conn *c);

/* Is there room for another DOWNLOAD?  Else the sessions are asked again later. */
bool conn_room(struct conn *c);

/* Goes on after an order was changed. */
void conn_resume(struct conn *c);

int64_t conn_now_ms(void);

#endif
