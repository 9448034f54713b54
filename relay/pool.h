/* The ident pool (design section 6): client file idents reserved while the link is UP, given out while it is DOWN.
 *
 *   a client's session works --pool_seen--> pair (endpoint, path, user) --look--> enough / fetch --BIND IDENT UNBIND UNBOUND ...--> kept
 *   first-time client, DOWN  --pool_ask---> taken out of the store, durably ----> answer: an ident, or none (the client waits)
 *
 * An ident is good for one path, one user and one kind of client (protocol.md S1).  What stands for the path of a client of flexible sync is
 * what its BIND states of it (flxbind.h).  First-time clients are served with offline_new = admit.
 *
 * Fetching uses an upstream connection of the relay's own with the request of a client that is connected at that time; nothing of it is
 * kept longer than that.  Of a user without a connected client nothing is fetched, unless the service token is that user's: then by it.  One
 * connection at a time, at most a tenth of reconnect_rate a second.
 *
 * A subserver's ALLOC is answered in the same way.  Such idents belong to the subserver's own file (the server notes for whom it allocated),
 * so the pair is (endpoint, path, file), and they are fetched by ALLOCs of the relay's own in the subserver's upstream session, one at a time
 * as the protocol wants it (request.h).  Only servers that have answered an ALLOC of that file are asked: others do not know the message. */
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

/* Upstream accepted s: a DOWNLOAD came.  Its pair is looked after from now on, as long as some client of it is connected; so is what was
 * allocated for its clients. */
void pool_seen(struct session *s);

/* The link is UP or DOWN. */
void pool_link_changed(struct pool *p);

/* There is another service token: the pairs of its user are looked after from now on. */
void pool_served_by_service(struct pool *p);

/* The pairs of the user of that name are not looked after any more, until they are seen again; how many. */
uint64_t pool_forget_user(struct pool *p, struct view name);

/* s has another token, and so, perhaps, another user. */
void pool_token_changed(struct session *s);

/* Upstream does not know the file of s any more (wiped or restored): what is reserved for its pair is given up. */
void pool_doubt(struct session *s);

/* Whether first-time clients of the kind of s are given idents while the link is DOWN. */
bool pool_serves(const struct session *s);

/* An ident for s, or (alloc) for a client of s; file_ident 0: there is none.  The answer comes from the loop, later; not at all after
 * pool_cancel (the ident is wasted). */
typedef void pool_answer(void *arg, uint64_t file_ident, uint64_t salt);
struct pool_ask *pool_ask(struct session *s, bool alloc, pool_answer *answer, void *arg);
void pool_cancel(struct pool_ask *a); /* NULL allowed */

/* Upstream answered an ALLOC of s's client: it knows that message, so a reserve is kept. */
void pool_allocated(struct session *s);
/* Upstream answered an ALLOC of the relay's own in s; 0: it will not, for s or its upstream session is over. */
void pool_alloc_answered(struct session *s, uint64_t file_ident);

/* Upstream went back in time and will give the same idents once more: none that is reserved at it may be given out any more. */
void pool_burn(struct pool *p);

#endif
