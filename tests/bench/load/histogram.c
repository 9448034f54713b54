/* See histogram.h.  The bucket of a value is its leading HISTOGRAM_SUB_BITS + 1 bits and where they stand. */
#include <string.h>

#include "tests/bench/load/histogram.h"

#define SUB (1U << HISTOGRAM_SUB_BITS)

static unsigned
bucket_of(uint64_t v)
{
	unsigned shift;

	if (v < SUB)
		return (unsigned)v;
	shift = 63U - (unsigned)__builtin_clzll(v) - HISTOGRAM_SUB_BITS;
	return ((shift + 1) << HISTOGRAM_SUB_BITS) + (unsigned)(v >> shift) - SUB;
}

static uint64_t
value_of(unsigned bucket)
{
	unsigned shift = bucket >> HISTOGRAM_SUB_BITS;

	return shift == 0 ? bucket : (uint64_t)(SUB + bucket % SUB) << (shift - 1);
}

void
histogram_clear(struct histogram *h)
{
	memset(h, 0, sizeof(*h));
}

void
histogram_add(struct histogram *h, uint64_t ns)
{
	h->count[bucket_of(ns)]++;
	h->n++;
	if (ns > h->max)
		h->max = ns;
}

uint64_t
histogram_at(const struct histogram *h, double share)
{
	uint64_t want = (uint64_t)((double)h->n * share), seen = 0;

	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += h->count[i];
		if (seen > want || (seen == h->n && seen > 0))
			return value_of(i);
	}
	return 0;
}
