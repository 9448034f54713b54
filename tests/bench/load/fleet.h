/* The devices of the bench: n connections, each with one session, that upload as fast as they are answered, or at a rate. */
#ifndef TESTS_BENCH_LOAD_FLEET_H
#define TESTS_BENCH_LOAD_FLEET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/bench/load/histogram.h"

struct ssl_ctx_st;
struct fleet;

/* n devices with the file idents 1 to n connect to 127.0.0.1:port (tls NULL: plain), bind, and wait for their first DOWNLOAD and MARK.  The
 * program ends when they do not get that far. */
struct fleet *fleet_new(unsigned n, unsigned port, struct ssl_ctx_st *tls);
void fleet_free(struct fleet *f);

struct fleet_load {
	size_t size;	   /* bytes of a changeset */
	unsigned inflight; /* not acknowledged at most, all devices together */
	double rate;	   /* messages a second in an open loop; 0: closed */
	double seconds;	   /* that are measured, after a tenth of them to get warm */
	uint64_t messages; /* 0, or: ends after so many, without getting warm */
	bool varied;	   /* no two changesets are the same (upload.h) */
};

struct fleet_result {
	uint64_t messages; /* acknowledged in the time measured */
	double seconds;
	struct histogram *latency; /* from when it was sent (closed loop) or due (open), to its acknowledgement; the fleet's own */
};

/* Uploads.  mark, if not NULL, is called where the time measured begins and where it ends.  Then what is under way is waited for. */
void fleet_run(struct fleet *f, const struct fleet_load *load, void (*mark)(void *arg), void *arg, struct fleet_result *result);

/* The newest client version that a device has sent. */
uint64_t fleet_last(const struct fleet *f, unsigned file_ident);

/* Takes what comes for so long, or until done says so; sends nothing. */
void fleet_wait(struct fleet *f, double seconds, bool (*done)(void *arg), void *arg);

#endif
