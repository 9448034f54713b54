/* Leaving for good: no new clients, everything that is held goes up, then the daemon ends (holdfastctl drain).
 *
 * Clients that are there stay: their sessions carry the replay.  What belongs to clients that left goes up without them (absent.h), without
 * waiting for absent_quiet.  While the link is DOWN nothing moves, and the drain waits.  A drain ends with the process; to give it up,
 * stop the daemon and start it again. */
#ifndef RELAY_DRAIN_H
#define RELAY_DRAIN_H

struct relay;
struct drain;

/* Once; further calls do nothing. */
void drain_begin(struct relay *relay);
void drain_free(struct drain *d); /* NULL allowed */

#endif
