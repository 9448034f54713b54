/* Inside of the door, shared by door.c (an exchange's begin, its request's body, its end), door_pass.c (to App Services and back while the link
 * is UP) and door_local.c (the relay's own answers).  Nobody else includes this. */
#ifndef RELAY_DOOR_IMPL_H
#define RELAY_DOOR_IMPL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/http.h"
#include "protocol/http_body.h"
#include "protocol/view.h"

#include "relay/door.h"

struct api_call;
struct event;

/* OTHER: not of App Services' client API (hosting and the like); API: of it, but none of those that are known by name. */
enum door_kind { DOOR_OTHER, DOOR_API, DOOR_LOCATION, DOOR_LOGIN, DOOR_SESSION, DOOR_LOGOUT, DOOR_PROFILE };

struct door {
	struct services *services;
	const struct options *opt;
	struct conn *conn;
	struct stream *stream;
	bool tls;
	struct event *timer; /* nothing moves */
	/* the exchange under way */
	bool busy;
	enum door_kind kind;
	char *path, *authorization; /* the second is a secret */
	char *base;		    /* where clients find the relay: "https://gateway:7800" */
	bool head_only, close, local;
	struct http_body in;
	uint64_t in_bytes, seen, up_seen;
	struct api_call *call; /* NULL: none, or answered */
	unsigned status;
	bool answering;		   /* the answer's head is queued to the client */
	enum http_framing framing; /* of the answer to the client */
	/* an answer that is read here */
	bool reading;
	char *head; /* as it is passed on, without a framing */
	size_t head_len;
	uint8_t *body; /* a secret */
	size_t len, cap;
};

/* Each of these may end the exchange, and with it the connection: d stays, but nothing of the exchange is to be touched behind them. */

/* door.c: the answer is queued, whole. */
void door_over(struct door *d);
/* door.c: ... or will never be: the connection ends. */
void door_break_off(struct door *d, const char *why);

/* door_pass.c: the request goes up; its body follows by door_pass_body, and by door_pass_end when that was all. */
void door_pass(struct door *d, const struct http_head *head);
void door_pass_body(struct door *d, struct view data);
void door_pass_end(struct door *d);

/* door_local.c: the answer is the relay's own from here on, at once, or when the rest of the request's body has come (door_local_answer). */
void door_local(struct door *d, const char *why);
void door_local_answer(struct door *d);
void door_refuse(struct door *d, unsigned status, const char *text);

/* door.c, small things. */
void door_arm(struct door *d); /* something moved: the timer begins anew */
void door_drop_call(struct door *d);
struct view door_bearer(const struct door *d); /* the token of the request; a secret; lives as long as the exchange */
const char *door_kind_name(const struct door *d);

#endif
