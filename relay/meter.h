/* What goes over the link to an upstream, byte by byte, and the budget for it (options budget, budget_period, budget_end).
 *
 *   OPEN --four fifths are used--> LOW --all is used--> SPENT
 *     ^----- the next period, budget add, a larger budget ----'      [judge, in meter_count]
 *
 *   OPEN, LOW: the meter only counts; LOW is said once in the log.
 *   SPENT: what budget_end says: a warning, no replay of backlogs, or the link is closed as outside of its schedule.  An operator who sets
 *          the link online overrules that, as with the schedule.
 *
 * Counted is what the kernel takes and gives on every connection to the upstream and to its App Services: TLS handshakes and records,
 * upgrades, PINGs, probes, replay, live traffic both ways.  Not what TCP, IP and the name server add.
 *
 * The count outlives restarts and power cuts (meter.c, "on the disk") and is never less than the truth by more than what one commit takes. */
#ifndef RELAY_METER_H
#define RELAY_METER_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/period.h"
#include "relay/stream.h"

struct link;
struct meter;
struct relay;

enum meter_state { METER_OPEN, METER_LOW, METER_SPENT };

struct meter *meter_new(struct link *link); /* of each upstream */
void meter_free(struct meter *m);	    /* NULL allowed; no stream counts into it any more */
/* Asks for what was counted before the start.  Once walltime exists. */
void meter_start(struct meter *m);
/* The options have changed. */
void meter_reloaded(struct meter *m);

/* Where a stream is to count (stream_count_wire). */
struct stream_wire *meter_wire(struct meter *m);
/* Takes in what was counted since, and what time it is: each second. */
void meter_count(struct meter *m);
/* End of pass: the same for the meters of all links on which something moved. */
void meter_pass(const struct relay *relay);
/* Keeps the exact count: the last word before the store is closed. */
void meter_keep(struct meter *m);

#define METER_ADD_MAX (1ULL << 40) /* as large as a budget */
/* So many bytes more in this period.  False: there is no budget. */
bool meter_add(struct meter *m, uint64_t bytes);

enum meter_state meter_state(const struct meter *m); /* OPEN without a budget */
const char *meter_state_name(enum meter_state state);

struct meter_figures {
	uint64_t received, sent; /* bytes since the start */
	uint64_t budget;	 /* of this period, with what was added; 0: none, and what follows is void */
	uint64_t used;
	uint64_t ends_in_s; /* until the next period; 0: nobody knows what time it is */
};
struct meter_figures meter_figures(const struct meter *m);

/* ---- the ledger, without clock and disk ---- */

struct meter_use { /* of one period, seconds since 1970; end 0: what period it is was never known */
	uint64_t begin, end;
	uint64_t used, added;
};

/* The period at hand and the one before it. */
struct meter_ledger {
	struct meter_use now, before;
};

/* It is wall_s: true if another period began, with nothing used in it. */
bool meter_ledger_turn(struct meter_ledger *l, const struct period *p, uint64_t wall_s);

/* As text on the disk; used is what it says of the period at hand. */
#define METER_TEXT_MAX 192
void meter_ledger_format(const struct meter_ledger *l, uint64_t used, char out[METER_TEXT_MAX]);
bool meter_ledger_parse(const char *text, struct meter_ledger *l);

/* How many bytes the record on the disk is ahead of the count at most: a 256th of the budget, or of what was used if that is more, within
 * bounds. */
uint64_t meter_step(uint64_t bytes);

#endif
