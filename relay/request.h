/* Questions of a client that only upstream can answer: TRANSACT, STATE_REQUEST, CLIENT_VERSION_REQUEST, ALLOC, TEST_COMMAND.
 *
 *   taken --[upstream session there; TRANSACT: LIVE]--> sent --answer passed on--> gone
 *     |  ^                                               |
 *     |  +--upstream lost: asked again, where that is safe; else the client is closed
 *     +--[link DOWN]--> answered here (TRANSACT: 2, STATE, CLIENT_VERSION and ALLOC: from what is kept), or it waits (no answer is legal)
 *
 * Each session has a short list of them.  The ident pool's own ALLOCs stand in it as well: one ALLOC at a time is with upstream, whosever it
 * is. */
#ifndef RELAY_REQUEST_H
#define RELAY_REQUEST_H

#include <stdbool.h>

#include "protocol/message.h"

struct session;

/* A question of the client's; may end its connection. */
void request_take(struct session *s, const struct message *m, struct view body);

/* An ALLOC of the relay's own, for the pool: pool_alloc_answered follows.  False: too much waits already. */
bool request_alloc(struct session *s);
/* Whether the next ALLOC of upstream's answers that one, and is not for the client. */
bool request_alloc_is_own(const struct session *s);

/* Something that they may have waited for: upstream bound or LIVE, the link DOWN. */
void request_kick(struct session *s);

/* The upstream session ended.  Returns why the client must be closed, NULL if it need not. */
const char *request_upstream_lost(struct session *s);

/* An answer of upstream's to the client: its head, a piece of its body, its end. */
void request_answer(struct session *s, const struct message *m);
void request_answer_data(struct session *s, struct view data);
void request_answer_end(struct session *s, const struct message *m);

/* The client's queue has drained. */
void request_go_on(struct session *s);

/* s ends. */
void request_forget(struct session *s);

#endif
