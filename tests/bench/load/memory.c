/* load memory - resident bytes that a bound session costs which is idle: what the process has with them, less what it had with few, shared out.
 * Both of its connections are counted, the client's and the one to the server.
 *
 * conns=1000,9900 ways=bare,holdfast,haproxy,nginx legs=plain,tls */
#include <stdio.h>

#include "tests/bench/load/bench.h"

#define FEW 10	   /* so that what every process needs once is there */
#define SILENT_S 2 /* what is done behind the last answer is done by then */

static double
resident(struct bench *b, enum proxy_kind way, unsigned n, bool tls)
{
	struct fleet_load load = { .size = 1024, .inflight = 64, .messages = 2 * (uint64_t)n }; /* each has spoken, and is silent since */
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

void
bench_memory(struct bench *b)
{
	bool way[PROXY_KINDS], leg[2];
	double conns[ARGS_VALUES];
	size_t nconns = args_numbers(&b->args, "conns", "1000,9900", conns);

	leg[0] = args_word(&b->args, "legs", "plain,tls", "plain");
	leg[1] = args_word(&b->args, "legs", "plain,tls", "tls");
	bench_ways(b, way);
	args_end(&b->args);
	printf("\nresident bytes of an idle bound session\n%-8s %8s %-10s %10s\n", "", "sessions", "", "bytes");
	for (int tls = 0; tls < 2; tls++)
		for (size_t i = 0; leg[tls] && i < nconns; i++)
			for (int w = PROXY_BARE; w < PROXY_KINDS; w++) {
				if (!way[w])
					continue;
				printf("%-8s %8.0f %-10s %10.0f\n", tls ? "TLS" : "plain", conns[i], proxy_name((enum proxy_kind)w),
				       (resident(b, (enum proxy_kind)w, (unsigned)conns[i], tls == 1) - resident(b, (enum proxy_kind)w, FEW, tls == 1)) /
					       (conns[i] - FEW));
				fflush(stdout);
			}
}
