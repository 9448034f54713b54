/* load latency - how long a message takes at fixed rates: from when it is due to its acknowledgement at the client (so a proxy that
 * falls behind is not forgiven), for each way in turn.
 *
 * rates=5000,20000 conns=100 size=1K ways=... legs=plain seconds=2 rounds=5 ack=upstream
 *
 * With ack=relay holdfast writes all of it to the disk as well, and ways=holdfast,slowdisk shows what a slow disk does to what passes. */
#include <stdio.h>

#include "tests/bench/load/bench.h"

#define ROUNDS_MAX 99

struct row {
	double p50[ROUNDS_MAX], p99[ROUNDS_MAX], p999[ROUNDS_MAX], rate[ROUNDS_MAX];
};

static void
measure(struct stand *s, struct fleet_load *load, struct row *row, size_t round)
{
	struct fleet_result r;

	fleet_run(s->fleet, load, NULL, NULL, &r);
	row->p50[round] = (double)histogram_at(r.latency, 0.5) / 1e3;
	row->p99[round] = (double)histogram_at(r.latency, 0.99) / 1e3;
	row->p999[round] = (double)histogram_at(r.latency, 0.999) / 1e3;
	row->rate[round] = (double)r.messages / r.seconds;
}

static void
print_rows(const bool way[PROXY_KINDS], struct row *rows, double rate, const char *leg, size_t rounds)
{
	for (int w = 0; w < PROXY_KINDS; w++)
		if (way[w])
			printf("%-6s %8.0f/s  %-10s %10.0f %10.0f %10.0f %12.0f\n", leg, rate, proxy_name((enum proxy_kind)w),
			       bench_median(rows[w].p50, rounds), bench_median(rows[w].p99, rounds), bench_median(rows[w].p999, rounds),
			       bench_median(rows[w].rate, rounds));
	fflush(stdout);
}

static void
do_leg(struct bench *b, const bool way[PROXY_KINDS], bool tls, bool ack_relay, unsigned conns, struct fleet_load *load, const double *rates, size_t nrates,
       size_t rounds)
{
	static struct row rows[PROXY_KINDS];
	struct stand stands[PROXY_KINDS];

	for (int w = 0; w < PROXY_KINDS; w++)
		if (way[w])
			bench_stand(b, &stands[w], (enum proxy_kind)w, conns, tls, ack_relay);
	for (size_t i = 0; i < nrates; i++) {
		load->rate = rates[i];
		for (size_t round = 0; round < rounds; round++)
			for (size_t k = 0; k < PROXY_KINDS; k++)
				if (way[(round + k) % PROXY_KINDS])
					measure(&stands[(round + k) % PROXY_KINDS], load, &rows[(round + k) % PROXY_KINDS], round);
		print_rows(way, rows, rates[i], tls ? "TLS" : "plain", rounds);
	}
	for (int w = 0; w < PROXY_KINDS; w++)
		if (way[w])
			bench_stand_end(&stands[w]);
}

void
bench_latency(struct bench *b)
{
	bool way[PROXY_KINDS], leg[2], ack_relay;
	double rates[ARGS_VALUES];
	size_t nrates = args_numbers(&b->args, "rates", "5000,20000", rates), rounds = (size_t)args_number(&b->args, "rounds", 5);
	struct numbers conns;
	struct fleet_load load = { .size = (size_t)args_number(&b->args, "size", 1024), .seconds = args_number(&b->args, "seconds", 2) };

	rounds = rounds > ROUNDS_MAX ? ROUNDS_MAX : rounds;
	leg[0] = args_word(&b->args, "legs", "plain,tls", "plain");
	leg[1] = args_word(&b->args, "legs", "plain,tls", "tls");
	ack_relay = args_word(&b->args, "ack", "upstream", "relay");
	bench_conns(b, "100", bench_ways(b, way), &conns);
	args_end(&b->args);
	printf("\n%zu bytes, %u connections, microseconds from due to acknowledged\n%-18s %-10s %10s %10s %10s %12s\n", load.size, (unsigned)conns.of[0], "at", "",
	       "p50", "p99", "p99.9", "messages/s");
	for (int tls = 0; tls < 2; tls++)
		if (leg[tls])
			do_leg(b, way, tls == 1, ack_relay, (unsigned)conns.of[0], &load, rates, nrates, rounds);
}
