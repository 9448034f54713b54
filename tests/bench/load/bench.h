/* What the benches of this program share; each is a file with one function, named in main.c. */
#ifndef TESTS_BENCH_LOAD_BENCH_H
#define TESTS_BENCH_LOAD_BENCH_H

#include <stddef.h>

#include "tests/bench/load/args.h"
#include "tests/bench/load/fleet.h"
#include "tests/bench/load/plot.h"
#include "tests/bench/load/proxy.h"
#include "tests/bench/load/sink.h"

/* A fleet, a sink, and what is between them. */
struct stand {
	struct proxy proxy;
	struct sink *sink;
	struct fleet *fleet;
};

struct bench {
	struct args args;
	char dir[300];		 /* scratch; removed at the end */
	struct cert_files cert;
	struct ssl_ctx_st *tls; /* for fleets */
	bool spread;		 /* what is measured, and the generator, on all processors */
	unsigned ping_ms;	 /* for holdfast; 0: its default */
};

/* n devices through a proxy of this kind, live; ack_relay: holdfast acknowledges, too. */
void bench_stand(struct bench *b, struct stand *s, enum proxy_kind kind, unsigned n, bool tls, bool ack_relay);
void bench_stand_end(struct stand *s);

/* The argument `ways`; what is not installed is left out, with a message.  Returns how many there are. */
unsigned bench_ways(struct bench *b, bool way[PROXY_KINDS]);

struct numbers {
	size_t n;
	double of[ARGS_VALUES];
};

/* The argument `conns`, for so many stands at a time; what is more than can be here is cut down to that, with a message. */
void bench_conns(struct bench *b, const char *otherwise, unsigned stands, struct numbers *conns);

struct bench_meter { /* processor time between two marks */
	const struct proxy *proxy;
	uint64_t first, last; /* ns */
};
void bench_mark(void *meter);

/* The median of v[0..n), which is sorted; 0 when n is 0. */
double bench_median(double *v, size_t n);

/* Writes a plot to file, which names the command; NULL: does nothing.  unit, mark: as in plot_write. */
void bench_plot(const struct bench *b, const struct plot *p, const char *file, const char *title, const char *unit, double mark);

/* From now on generator and what is measured run where they like: for work that holdfast spreads over two threads, and others could. */
void bench_spread(struct bench *b);

/* Removes a folder and what is in it. */
void bench_remove(const char *dir);

void bench_pass(struct bench *b);
void bench_latency(struct bench *b);
void bench_memory(struct bench *b);
void bench_buffer(struct bench *b);
void bench_outage(struct bench *b);
void bench_idle(struct bench *b);
void bench_growth(struct bench *b);

#endif
