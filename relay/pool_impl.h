/* Inside of the ident pool, shared by pool.c (which pairs there are, giving out, giving up) and pool_fetch.c (looking, and fetching what is
 * missing).  Nobody else includes this. */
#ifndef RELAY_POOL_IMPL_H
#define RELAY_POOL_IMPL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "relay/ident.h"
#include "relay/pool.h"
#include "relay/verdict.h"

struct event;
struct upstream;

struct pair_seen {
	TAILQ_ENTRY(pair_seen) link; /* on pool->pairs, newest first */
	uint8_t key[IDENT_KEY];
	const struct options *opt; /* of the front of the client that was seen last */
	bool alloc;	 /* of a subserver's file */
	bool allocated;	 /* with alloc: upstream is known to answer ALLOC */
	uint8_t *name;	 /* ident_format_name, name_len bytes; NULL: alloc, or it does not fit; owned */
	size_t name_len;
	uint64_t due_ms; /* clock_ms; UINT64_MAX: when it is seen again */
	uint64_t backoff_ms;
	bool refused; /* with backoff_ms: only when it is seen again */
	struct verdict_delay named;
};

TAILQ_HEAD(pair_seen_list, pair_seen);

enum fetch_state { FETCH_NONE, FETCH_LOOK, FETCH_CONNECT, FETCH_IDENT, FETCH_UNBOUND, FETCH_ALLOC, FETCH_KEEP };

enum burn_state { BURN_NOT, BURN_POSTED, BURN_FAILED, BURN_DONE };

struct pool {
	struct relay *relay;
	struct link *link;
	enum burn_state burn; /* DONE: nothing was reserved since */
	struct pair_seen_list pairs;
	size_t npair;
	struct event *timer; /* the next pair is due; while fetching: the deadline of this step */
	/* the fetch under way */
	enum fetch_state state;
	struct pair_seen *pair; /* NULL: was burned meanwhile */
	struct upstream *upstream;
	char *path, *token; /* for BIND */
	size_t path_len, token_len, want;
	bool is_subserver;
	uint64_t session_ident, started_ms;
	struct ident under_way;
	struct ident_list got;
};

struct pool_step { /* on its way through the committer; p is looked up again, for the daemon may be stopping */
	struct link *link;
	struct ident_op op;
};

struct pool_keys { /* of a session */
	bool has_own, has_alloc;
	uint8_t own[IDENT_KEY]; /* of its endpoint, path and token */
	uint8_t alloc[IDENT_KEY]; /* of its file */
};

/* The key of s as a first-time client; NULL: there is none (a BIND of flexible sync that says nothing). */
const uint8_t *pool_key(struct session *s);
/* That of what is allocated for its clients. */
const uint8_t *pool_alloc_key(struct session *s);
/* Whether either, of those that were asked for so far, is key. */
bool pool_has_key(const struct session *s, bool alloc, const uint8_t key[IDENT_KEY]);

struct pool_step *pool_step_new(struct pool *p, const struct options *o, const uint8_t key[IDENT_KEY]);
/* Sets the timer for the pair that is due first, if something may be done. */
void pool_arm(struct pool *p);

/* pool_fetch.c: the pair p->pair is due: what is missing of it is fetched, in state FETCH_LOOK. */
void pool_look(struct pool *p);
/* The deadline of the step under way has passed. */
void pool_fetch_late(struct pool *p);

#endif
