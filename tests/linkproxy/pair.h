/* One TCP connection through the link: two sockets and the bytes between them, and the shape of the link that all of them share.
 *
 * A pair is owned by its shape. Pairs end by themselves (end of both streams, an error, a cut) and are freed by link_reap. */
#ifndef TESTS_LINKPROXY_PAIR_H
#define TESTS_LINKPROXY_PAIR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/socket.h>

struct event;
struct event_base;

enum direction { C2S, S2C }; /* from who connected to the target, and back */

#define CUT_NEVER UINT64_MAX

struct pair;
TAILQ_HEAD(pair_list, pair);

/* A walk: each new connection is cut after another number of its own bytes in one direction.  One that ends before has its step done by
 * a later one. */
struct walk {
	enum direction dir;
	bool fin;	 /* ends with FIN; else RST */
	uint32_t *todo;	 /* steps that nobody has, the next one last */
	unsigned ntodo, left; /* left: steps not done, those under way among them */
};

struct link_shape {
	struct event_base *base;
	struct pair_list pairs, dead;
	struct event *tick; /* pending while something waits for its time or for tokens */
	bool silent;	    /* nothing is read or written */
	uint64_t rate;	    /* bytes a second in each direction, all pairs together; 0 = no limit */
	uint64_t delay_us;  /* from the arrival of a byte to its earliest departure */
	uint64_t tokens[2]; /* bytes that may leave now, if rate != 0 */
	uint64_t filled_us; /* when tokens were last added */
	uint64_t cut_after[2]; /* bytes until everything is cut; CUT_NEVER */
	struct walk walk;
	uint64_t bytes[2];     /* passed on so far */
	unsigned npair, opened, cuts; /* living, ever, and times that everything was cut */
};

void link_init(struct link_shape *l, struct event_base *base);
void link_free(struct link_shape *l);
/* After silent, rate or delay_us was changed. */
void link_reshaped(struct link_shape *l);
/* Begins a walk for the connections that will come: cuts after from, from + by, from + 2 by ... up to `to` bytes (below 2^32). */
void link_walk(struct link_shape *l, enum direction dir, uint64_t from, uint64_t to, uint64_t by, bool fin);
/* Ends all pairs with RST. */
void link_cut(struct link_shape *l);
/* Frees what has ended; to be called between passes of the event loop. */
void link_reap(struct link_shape *l);

/* Takes over fd, a connection just accepted, and connects to the target; a target that refuses ends it with RST. */
void pair_open(struct link_shape *l, int fd, const struct sockaddr *target, socklen_t len);

/* What every socket of the link is given before it listens or connects. */
void pair_tune(int fd);

#endif
