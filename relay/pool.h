/* The ident pool (design section 6): client file idents reserved while the link is UP, given to first-time clients while it is DOWN.
 *
 *   a client's session works --pool_seen--> pair (endpoint, path, user) --look--> enough / fetch --BIND IDENT UNBIND UNBOUND ...--> kept
 *   first-time client, DOWN  --pool_ask---> taken out of the store, durably ----> answer: an ident, or none (the client waits)
 *
 * Only with offline_new = admit, only for partition-based sync and only for clients that are no subservers: an ident is good for one path,
 * one user and one kind of client (protocol.md S1).  ALLOC is not answered from here: its ident must belong to the subserver that asks.
 *
 * Fetching uses an upstream connection of the relay's own with the request of a client that is connected at that time; nothing of it is
 * kept longer than that.  One connection at a time, at most a tenth of reconnect_rate a second. */
#ifndef RELAY_POOL_H
#define RELAY_POOL_H

#include <stdbool.h>
#include <stdint.h>

struct link;
struct session;
struct pool;
struct pool_ask;

struct pool *pool_new(struct link *link); /* of each upstream */
void pool_free(struct pool *p);

/* Upstream accepted s: a DOWNLOAD came.  Its pair is looked after from now on, as long as some client of it is connected. */
void pool_seen(struct session *s);

/* Upstream does not know the file of s any more (wiped or restored): what is reserved for its pair is given up. */
void pool_doubt(struct session *s);

/* Whether first-time clients of the kind of s are given idents while the link is DOWN. */
bool pool_serves(const struct session *s);

/* An ident for s; file_ident 0: there is none.  The answer comes from the loop, later; not at all after pool_cancel (the ident is wasted). */
typedef void pool_answer(void *arg, uint64_t file_ident, uint64_t salt);
struct pool_ask *pool_ask(struct session *s, pool_answer *answer, void *arg);
void pool_cancel(struct pool_ask *a); /* NULL allowed */

/* An older state of the buffer came back, or another one: no ident that is reserved may be given out any more. */
void pool_burn(struct pool *p);

#endif
