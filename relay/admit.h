/* Who may connect while the link is DOWN, and with which protocol version (design sections 4 and 7).
 *
 * While UP, admit_accepted remembers what upstream accepted: the SHA-256 of the token and, per endpoint and flavour, the version agreed
 * to.  Both are kept in the store.  A token itself is never kept (I9). */
#ifndef RELAY_ADMIT_H
#define RELAY_ADMIT_H

#include <stdbool.h>

#include "protocol/message.h"

#include "relay/relay.h"

/* Upstream answered 101 for this token (empty view: none presented). */
void admit_accepted(struct relay *relay, const char *endpoint, struct view token, enum msg_flavour flavour, unsigned version);

/* version: the one to answer with; 0 = refused (why in words, for the log). */
typedef void admit_answer(void *arg, unsigned version, const char *why);

struct admit;

/* Asks the policy.  offers: the client's Sec-WebSocket-Protocol values of flavour, as a bit set of versions (bit N).  The answer comes from the loop, later. */
struct admit *admit_ask(struct relay *relay, const char *endpoint, struct view token, enum msg_flavour flavour, uint64_t offers,
			admit_answer *answer, void *arg);
void admit_cancel(struct admit *a); /* NULL allowed; no answer follows */

#endif
