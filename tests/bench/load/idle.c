/* load idle - what an idle hour costs on the link: connections that are made and bytes, with every session bound and nobody saying anything.
 *
 * An hour is not waited for: every interval by which holdfast speaks of its own accord (ping_interval, 30s) is made `times` shorter, and an hour's
 * worth of them is counted in as much less time.  What the devices say themselves goes to holdfast, not over the link.
 *
 * sessions=100 times=120 */
#include <stdio.h>

#include "tests/bench/load/bench.h"

#define HOUR_S 3600.0
#define PING_MS 30000 /* holdfast's default */

void
bench_idle(struct bench *b)
{
	unsigned sessions = (unsigned)args_number(&b->args, "sessions", 100);
	double times = args_number(&b->args, "times", 120);
	struct sink_count was;
	const struct sink_count *is;
	struct stand s;

	args_end(&b->args);
	b->ping_ms = (unsigned)(PING_MS / times);
	bench_stand(b, &s, PROXY_HOLDFAST, sessions, false, true);
	was = *sink_count(s.sink);
	fleet_wait(s.fleet, HOUR_S / times, NULL, NULL);
	is = sink_count(s.sink);
	printf("\n%u sessions, an hour in which nothing happens (in %.0f s, intervals %g times shorter)\n", sessions, HOUR_S / times, times);
	printf("on the link: %llu connections made, %.1f KiB to the server, %.1f KiB from it; %.1f bytes a session and minute\n",
	       (unsigned long long)(is->connections - was.connections), (double)(is->bytes_in - was.bytes_in) / 1024,
	       (double)(is->bytes_out - was.bytes_out) / 1024, (double)(is->bytes_in - was.bytes_in + is->bytes_out - was.bytes_out) / 60 / sessions);
	bench_stand_end(&s);
}
