/* How fast backlogs go up to an upstream, all together (option replay_rate), or not at all: a token bucket, and the line of those who wait for it.
 *
 * Who asks is charged at once for the batch that it may send; what the batch did not need is given back.  Nobody is given a second batch
 * while others wait as long and matter as much: the line is served by rank (option first, priority.h) with a floor for the last (turns.h), and
 * within a rank in order, a batch each, so no backlog waits behind another's.  Without rate and hold there is no line, and no order.
 * Live uploads never ask. */
#ifndef RELAY_PACE_H
#define RELAY_PACE_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/relay.h"

struct link;
struct session;
struct pace;

struct pace_bucket {
	int64_t bytes;	/* that may go now; at most a second's worth.  Below 0: a batch was larger than what there was */
	uint64_t rest;	/* thousandths of a byte, beyond bytes */
	uint64_t at_ms; /* when that was true */
};

/* Brings b up to now_ms at rate bytes a second (> 0). */
void pace_fill(struct pace_bucket *b, uint64_t rate, uint64_t now_ms);
/* Milliseconds until b holds anything again; 0: it does. */
uint64_t pace_wait_ms(const struct pace_bucket *b, uint64_t rate);

struct pace *pace_new(struct link *link); /* of each upstream */
void pace_free(struct pace *p); /* NULL allowed; no session waits any more */

/* Reasons to pause replay: until the last is cleared everybody waits in line (style 34). */
enum pace_reason {
	PACE_OPERATOR = 1 << 0,
	PACE_BUDGET = 1 << 1, /* budget_end = replay, and the budget of the link is used up */
};
void pace_hold(struct pace *p, enum pace_reason why, bool hold); /* logged */
bool pace_held(const struct pace *p);

/* The ranks of paths have changed. */
void pace_rank_anew(struct pace *p);

/* Bytes a second that hold now: replay_rate, or that of the schedule if it is less; 0 = no bound. */
uint64_t pace_rate(const struct link *l);

/* May s send a batch of at most bytes (> 0)?  False: it waits in line, and replay_kick(s) is called when it is its turn. */
bool pace_ask(struct session *s, uint64_t bytes);
/* The batch came to used bytes (0: none). */
void pace_used(struct session *s, uint64_t used);
/* s sends nothing more in this upstream session. */
void pace_forget(struct session *s);

#endif
