/* One WebSocket of the client and the sessions on it: connects, reconnects with back-off, PINGs, finds the session a message is
 * for, drops the connection when a rule is broken.
 *
 *	IDLE --conn_want--> CONNECTING --101--> OPEN --conn_drop--> CLOSING
 *	  ^                     |                 |                    |
 *	  |                     +-----------------+----- on_close -----+
 *	  +-- nobody wants it, or halted <--------+--> WAITING --back-off--> CONNECTING
 */
#ifndef TESTS_CLIENT_CONN_H
#define TESTS_CLIENT_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/message.h"

struct client_rules;
struct conn;
struct session;
struct world;

struct conn *conn_new(struct world *w, const char *key);
void conn_free(struct conn *c);
const char *conn_key(const struct conn *c);

void conn_add(struct conn *c, struct session *s);
/* Before it connects: which flavour its sessions speak. */
void conn_set_flavour(struct conn *c, enum msg_flavour flavour);
void conn_set_token(struct conn *c, const char *token);

/* A session wants to be bound: connects now, whatever the back-off said. */
void conn_want(struct conn *c);
bool conn_is_open(const struct conn *c);
/* The word for the state, and what the last connection ended with. */
const char *conn_state(const struct conn *c);
const char *conn_last_close(const struct conn *c);

uint64_t conn_next_ident(struct conn *c);
/* Session ident is being unbound while its device binds anew: messages for it are still judged, by r, until its UNBOUND. */
void conn_drain(struct conn *c, uint64_t ident, const struct client_rules *r);

/* Sends m with body; s (may be NULL) is whose transcript shows it. */
void conn_send(struct conn *c, struct session *s, const struct message *m, const void *body, size_t body_len);
void conn_send_raw(struct conn *c, const void *buf, size_t len);
bool conn_is_full(const struct conn *c);
/* Pumps all sessions of the connection now, and again later while its queue is full. */
void conn_pump(struct conn *c);
void conn_ping(struct conn *c);

/* It stays open without sessions, until the next conn_want. */
void conn_keep(struct conn *c);
/* Closes politely when no session is wanted or unbinding any more. */
void conn_release(struct conn *c);
void conn_close(struct conn *c);
void conn_cut(struct conn *c);
void conn_stall(struct conn *c, bool stalled);

#endif
