/* load memory - resident bytes that a bound session costs which is idle: what the process has with them, less what it had with few, shared out.
 * Both of its connections are counted, the client's and the one to the server.  The few pass as many messages as the many, as many at a time,
 * so that what messages on the way cost is in both.
 *
 * conns=1000,10000 ways=bare,holdfast,haproxy,nginx legs=plain,tls */
#include <err.h>
#include <stdio.h>

#include "tests/bench/load/bench.h"

#define FEW 64	   /* so that what every process needs once is there, and so is what FEW messages on the way need */
#define SILENT_S 2 /* what is done behind the last answer is done by then */

static double
resident(struct bench *b, enum proxy_kind way, unsigned n, uint64_t messages, bool tls)
{
	struct fleet_load load = { .size = 1024, .inflight = FEW, .messages = messages };
	struct fleet_result r;
	struct stand s;
	double bytes;

	bench_stand(b, &s, way, n, tls, false);
	fleet_run(s.fleet, &load, NULL, NULL, &r);
	fleet_wait(s.fleet, SILENT_S, NULL, NULL);
	bytes = (double)proxy_resident(&s.proxy);
	bench_stand_end(&s);
	return bytes;
}

static void
measure(struct bench *b, enum proxy_kind way, unsigned n, bool tls)
{
	uint64_t messages = 2 * (uint64_t)n; /* each of the many has spoken, and is silent since */
	double many = resident(b, way, n, messages, tls), few = resident(b, way, FEW, messages, tls);

	printf("%-8s %8u %-10s %10.0f\n", tls ? "TLS" : "plain", n, proxy_name(way), (many - few) / (n - FEW));
	fflush(stdout);
}

void
bench_memory(struct bench *b)
{
	bool way[PROXY_KINDS], leg[2];
	struct numbers conns;

	leg[0] = args_word(&b->args, "legs", "plain,tls", "plain");
	leg[1] = args_word(&b->args, "legs", "plain,tls", "tls");
	bench_conns(b, "1000,10000", 1, &conns);
	(void)bench_ways(b, way);
	args_end(&b->args);
	for (size_t i = 0; i < conns.n; i++)
		if (conns.of[i] <= FEW)
			errx(2, "conns must be more than %d, which are taken off", FEW);
	printf("\nresident bytes of an idle bound session\n%-8s %8s %-10s %10s\n", "", "sessions", "", "bytes");
	for (int tls = 0; tls < 2; tls++)
		for (size_t i = 0; leg[tls] && i < conns.n; i++)
			for (int w = PROXY_BARE; w < PROXY_KINDS; w++)
				if (way[w])
					measure(b, (enum proxy_kind)w, (unsigned)conns.of[i], tls == 1);
}
