/* HTTP to the App Services (api_url): requests that go up one at a time on connections that are kept and used again.
 *
 *   api_call --> idle connection, or RESOLVING -> CONNECTING -> BUSY --answer complete--> IDLE (API_IDLE_MS) -> closed
 *
 * A call is one request and its answer, both streamed.  It ends with exactly one of ended and failed, or by api_cancel, and is gone
 * then; nothing calls back from inside api_call.  A connection that upstream closed while it was idle, before any byte of an answer, is
 * replaced once where that is harmless (repeatable). */
#ifndef RELAY_API_H
#define RELAY_API_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/http.h"
#include "protocol/http_body.h"
#include "protocol/view.h"

struct api;
struct api_call;
struct services;

#define API_IDLE_MS 15000 /* servers keep theirs a minute or so: ours go first, so that a request seldom meets a connection that is being closed */

struct api_ops {
	/* Connected, and what was queued has left to a low mark: the body may be sent, or more of it (may be NULL). */
	void (*ready)(void *arg);
	void (*head)(void *arg, const struct http_head *head, const struct http_body *body); /* for the call only */
	void (*data)(void *arg, struct view data);
	void (*ended)(void *arg);
	/* There is no answer, or only a part of one. */
	void (*failed)(void *arg, const char *why);
};

struct api_request {
	struct view head;	 /* complete, a secret; copied */
	bool head_only;		 /* method HEAD */
	bool repeatable;	 /* harmless when it arrives twice, and without a body */
	bool body;		 /* api_send, then api_sent follow */
};

struct api *api_new(struct services *services);
void api_free(struct api *a); /* cut before; NULL allowed */
/* Ends all connections; calls fail. */
void api_cut(struct api *a, const char *why);

struct api_call *api_call(struct api *a, const struct api_request *req, const struct api_ops *ops, void *arg);
/* Bytes of the body, framed as the head says; only after ready. */
void api_send(struct api_call *c, struct view data);
void api_sent(struct api_call *c); /* that was the last */
size_t api_queued(const struct api_call *c);
uint64_t api_sent_bytes(const struct api_call *c); /* that the kernel has taken on its connection, earlier calls' too; 0: it connects */
/* Whether the answer is not read for now: whoever it is for reads slowly. */
void api_pause(struct api_call *c, bool pause);
void api_cancel(struct api_call *c); /* no callback follows; NULL allowed */

#endif
