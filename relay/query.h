/* Flexible sync: which query a session stands on, and which ones were asked since.
 *
 *   active    the query of the newest bootstrap that was passed on to its end: what the relay's own IDENT states
 *   pending   QUERYs of the client that are not bootstrapped yet, in order; after the relay's own IDENT the newest is sent again
 *
 * The active one lives in session.ident.query_version and session.query. */
#ifndef RELAY_QUERY_H
#define RELAY_QUERY_H

#include <stdbool.h>

#include "protocol/message.h"

struct session;

/* A QUERY of the client's: forwarded, or remembered until upstream is there.  May end its connection. */
void query_take(struct session *s, const struct message *m, struct view body);

/* The relay identified s upstream by itself. */
void query_resume(struct session *s);

/* A DOWNLOAD was passed on; a QUERY_ERROR was. */
void query_downloaded(struct session *s, const struct msg_download *d);
void query_failed(struct session *s, uint64_t query_version);

/* Whether the relay may resume s: not in the middle of a bootstrap, of which the client has stored nothing that an IDENT could state. */
bool query_may_resume(const struct session *s);

void query_forget(struct session *s);

#endif
