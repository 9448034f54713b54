/* See down.h. */
#include <err.h>

#include "tests/bench/load/down.h"
#include "tests/bench/load/loop.h"
#include "tests/bench/load/upload.h"

#define NOTICE_S 60   /* the most that holdfast may take to notice a cut */
#define RETURN_S 240 /* and to send all */

struct down
down_of(unsigned clients, unsigned each, size_t size, unsigned inflight)
{
	return (struct down){ .clients = clients,
		.load = { .size = size, .inflight = inflight, .messages = (uint64_t)clients * each, .varied = true } };
}

static bool
is_down(void *arg)
{
	const struct down *d = arg;

	return proxy_logged(&d->stand.proxy, "event=link state=down");
}

void
down_stand(struct bench *b, struct down *d)
{
	bench_stand(b, &d->stand, PROXY_HOLDFAST, d->clients, false, true);
}

void
down_cut(struct down *d)
{
	sink_cut(d->stand.sink);
	fleet_wait(d->stand.fleet, NOTICE_S, is_down, d);
	if (!is_down(d))
		errx(1, "the link does not go down");
}

void
down_begin(struct bench *b, struct down *d)
{
	down_stand(b, d);
	down_cut(d);
}

void
down_end(struct down *d)
{
	bench_stand_end(&d->stand);
}

double
down_fill(struct down *d)
{
	struct fleet_result r;

	fleet_run(d->stand.fleet, &d->load, NULL, NULL, &r);
	return (double)r.messages / r.seconds;
}

static bool
has_all(void *arg)
{
	const struct down *d = arg;

	for (unsigned i = 1; i <= d->clients; i++) {
		uint64_t last = fleet_last(d->stand.fleet, i);

		if (!sink_is_bound(d->stand.sink, i) || (last >= UPLOAD_FIRST && sink_held(d->stand.sink, i) < last))
			return false;
	}
	return true;
}

double
down_return(struct down *d)
{
	uint64_t start = loop_now_ns();

	sink_open(d->stand.sink);
	fleet_wait(d->stand.fleet, RETURN_S, has_all, d);
	if (!has_all(d))
		errx(1, "the backlog did not arrive");
	return (double)(loop_now_ns() - start) / 1e6;
}
