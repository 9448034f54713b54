/* See linger.h. */
#include "relay/linger.h"
#include "relay/options.h"

#define SAMPLE_MAX 3600000 /* ms; more says nothing, and the sums stay small */

void
linger_init(struct lingering *l)
{
	*l = (struct lingering){ .measured = false };
	TAILQ_INIT(&l->files);
	TAILQ_INIT(&l->due);
}

void
linger_learn(struct lingering *l, uint64_t took_ms)
{
	uint64_t took = took_ms < SAMPLE_MAX ? took_ms : SAMPLE_MAX, smoothed = l->smoothed8 / 8;

	if (!l->measured) {
		l->measured = true;
		l->smoothed8 = took * 8;
		l->deviation4 = took * 2;
		return;
	}
	l->deviation4 += (took > smoothed ? took - smoothed : smoothed - took) - l->deviation4 / 4;
	l->smoothed8 += took - smoothed;
}

uint64_t
linger_ms(const struct lingering *l, const struct options *o)
{
	uint64_t ms = l->smoothed8 / 8 + l->deviation4, most = o->linger_max_ms > o->linger_ms ? o->linger_max_ms : o->linger_ms;

	if (ms < o->linger_ms)
		return o->linger_ms;
	return ms < most ? ms : most;
}
