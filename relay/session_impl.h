/* Inside of sessions, shared by session.c (their life) and session_client.c (what the client says).  Nobody else includes this. */
#ifndef RELAY_SESSION_IMPL_H
#define RELAY_SESSION_IMPL_H

#include "relay/session.h"

/* A session with no side yet; opt: of its client's front, else of the link (borrowed); path is copied. */
struct session *session_new(struct link *link, const struct options *opt, const char *endpoint, struct view path);
/* The newest token of its client, copied. */
void session_take_token(struct session *s, struct view token);

/* The registered session of the file that s names; NULL if there is none. */
struct session *session_of_same_file(const struct session *s);
/* No other session of its file is registered (any more): s is, and reads it. */
void session_open_file(struct session *s);

/* The same message to upstream, under the session ident there. */
void session_forward(struct session *s, const struct message *m, struct view body);
/* Lets go of the upstream session: UNBIND, and its UNBOUND is awaited before the file may be bound again (S2). */
void session_unbind_upstream(struct session *s);

/* The link is DOWN: what the client waits for and may be told here is told. */
void session_offline(struct session *s);

#endif
