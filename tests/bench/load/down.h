/* A fleet behind holdfast (ack = relay) whose link is down: what `load buffer`, `load outage` and `load growth` begin with. */
#ifndef TESTS_BENCH_LOAD_DOWN_H
#define TESTS_BENCH_LOAD_DOWN_H

#include "tests/bench/load/bench.h"

struct down {
	struct stand stand;
	unsigned clients;
	struct fleet_load load; /* of all clients together; varied */
};

/* each: changesets of every client. */
struct down down_of(unsigned clients, unsigned each, size_t size, unsigned inflight);

/* Connects the fleet; cuts the link and waits until holdfast has noticed; both.  down_end as bench_stand_end. */
void down_stand(struct bench *b, struct down *d);
void down_cut(struct down *d);
void down_begin(struct bench *b, struct down *d);
void down_end(struct down *d);

/* What the clients upload is taken in: changesets a second that were acknowledged, so were durable. */
double down_fill(struct down *d);

/* Opens the link and waits until the server has all and has said so: ms; 0: there was nothing, it only came back.  Ends the bench when it takes more than
 * some minutes. */
double down_return(struct down *d);

#endif
