/* A client without any rules: sends heads as they are written in a test and keeps whatever comes back. */
#ifndef TESTS_PEER_RAWCLIENT_H
#define TESTS_PEER_RAWCLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/message.h"

struct event;
struct event_base;
struct wsio;

struct raw_message { /* one received message; the views point behind the struct */
	struct raw_message *next;
	struct message m;
	struct view head; /* without LF */
	struct view body;
	bool bad; /* does not parse */
	uint8_t bytes[];
};

struct rawclient {
	struct event_base *base; /* borrowed */
	struct wsio *w;		 /* NULL: closed */
	struct event *tick;
	unsigned status;	 /* of the answer to the upgrade; 0: none yet */
	char protocol[64];
	bool closed, in_message;
	int code; /* as wsio's on_close */
	struct raw_message *first, **last;
	struct raw_message *given; /* lent by rawclient_next */
};

/* Starts to connect to 127.0.0.1:port; tls_ca NULL: plain. */
void rawclient_start(struct rawclient *c, struct event_base *base, unsigned port, const char *target, const char *protocols,
		     const char *tls_ca);

/* The same, and waits for the answer to the upgrade (status) or the end (closed). */
void rawclient_open(struct rawclient *c, struct event_base *base, unsigned port, const char *target, const char *protocols,
		    const char *tls_ca);

/* Sends head, LF, body. */
void rawclient_send(struct rawclient *c, const char *head, const void *body, size_t len);

/* The next message, waiting for it; lives until the next call.  NULL: the connection ended, or nothing came for wait_ms. */
const struct raw_message *rawclient_next(struct rawclient *c, unsigned wait_ms);

/* Waits for the end of the connection, keeping what comes. */
bool rawclient_wait_closed(struct rawclient *c);

/* Cuts, waits for the end, frees what c holds. */
void rawclient_close(struct rawclient *c);

#endif
