/* Turns: who waits for something that one after the other gets, by rank (priority.h), and whose turn it is.
 *
 * An earlier rank goes first, within a rank whoever came first.  But nobody is passed over for ever: of TURNS_FLOOR turns that somebody has
 * waited for longest and another would get, one goes to the former.  So all ranks behind the first have at least that share together, and
 * are served in the order in which they came.
 *
 * All is done in memory of the caller's; nothing here can fail. */
#ifndef RELAY_TURNS_H
#define RELAY_TURNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "relay/priority.h"

#define TURNS_FLOOR 8 /* an eighth: enough to get on, and little of what the others need */

struct turn {
	TAILQ_ENTRY(turn) entry;
	void *owner;	/* borrowed; of the caller's */
	uint64_t since; /* its place among all who ever came */
	unsigned rank;
	bool waits;
};

TAILQ_HEAD(turn_list, turn);

struct turns {
	struct turn_list rank[PRIORITY_RANKS];
	uint64_t came;	 /* how many ever did */
	size_t n;	 /* who wait */
	unsigned passed; /* turns since one went to whoever waited longest */
};

void turns_init(struct turns *ts);
/* t is the last of its rank (< PRIORITY_RANKS); it does not wait yet, and stays where it is until it leaves. */
void turns_join(struct turns *ts, struct turn *t, void *owner, unsigned rank);
void turns_leave(struct turns *ts, struct turn *t); /* nothing, if it does not wait */
/* Takes whoever's turn it is off the line and returns its owner; NULL: nobody waits. */
void *turns_next(struct turns *ts);
/* Ranks are others now.  Everybody keeps the place that it came at. */
typedef unsigned turns_rank(const void *owner);
void turns_rank_anew(struct turns *ts, turns_rank *rank);

/* Somebody is to be passed over for another: false; or, once in TURNS_FLOOR times, it is its turn.  *passed counts, from 0. */
bool turns_floor(unsigned *passed);

#endif
