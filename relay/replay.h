/* Sends what waits for a file to upstream, in client-version order, in windows (design section 5, Replay and Progress at replay). */
#ifndef RELAY_REPLAY_H
#define RELAY_REPLAY_H

#include "relay/session.h"

/* Sends whatever may be sent now.  To be called whenever something changed: state, acknowledgement, queue drained, new uploads. */
void replay_kick(struct session *s);

/* A batch asked for was read. */
void replay_batch(struct session *s, struct spool_op *op);

/* Upstream acknowledged up to client_version. */
void replay_acked(struct session *s, uint64_t client_version);

/* Whether what was replayed has not been acknowledged for too long, although upstream lives: it swallows entries that it holds already
 * (S5) without a word, and only the first DOWNLOAD of a new session tells.  Each time the patience doubles. */
bool replay_stalled(struct session *s, uint64_t now_ms, uint64_t patience_ms);

/* Forgets what was sent in the upstream session that ended. */
void replay_reset(struct session *s);

/* A live UPLOAD (nothing older waits): forwarded unchanged where the session allows it, else without what was sent already. */
void replay_forward(struct session *s, const struct upload *u, const struct message *m, struct view body);

#endif
