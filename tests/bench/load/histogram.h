/* Latencies: how many were how long, to three digits, in fixed room (after the idea of HdrHistogram: buckets whose width doubles with the value).
 * All values in nanoseconds. */
#ifndef TESTS_BENCH_LOAD_HISTOGRAM_H
#define TESTS_BENCH_LOAD_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_SUB_BITS 8 /* 256 steps for each doubling: an error of at most 0.4 % */
#define HISTOGRAM_BUCKETS ((64 - HISTOGRAM_SUB_BITS + 1) << HISTOGRAM_SUB_BITS)

struct histogram {
	uint64_t count[HISTOGRAM_BUCKETS];
	uint64_t n, max;
};

void histogram_clear(struct histogram *h);
void histogram_add(struct histogram *h, uint64_t ns);

/* The value that `share` (0 to 1) of all are at most; 0 when there are none. */
uint64_t histogram_at(const struct histogram *h, double share);

#endif
