/* What one would otherwise buffer with: mosquitto's bridge to a server that is not there, clients publishing at QoS 1. */
#ifndef TESTS_BENCH_LOAD_BROKER_H
#define TESTS_BENCH_LOAD_BROKER_H

#include "tests/bench/load/bench.h"

struct broker_load {
	unsigned clients, window; /* window: messages of a client that are not acknowledged */
	size_t size;		  /* bytes of a message */
	double seconds;
};

/* Messages a second that mosquitto has acknowledged, and how many of a hundred are gone after it was killed and started again.  durable: it writes
 * after each change; else as it is given out. */
void broker_turn(struct bench *bench, const struct broker_load *load, bool durable, double *rate, double *lost);

#endif
