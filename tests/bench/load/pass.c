/* load pass - how much passes, and what a message costs.
 *
 * For each number of connections, plain and TLS 1.3 (the clients' leg), all ways are set up at once and take turns, round by round, so that
 * what else the machine does disturbs them alike.  Two tables: messages a second of a closed loop, where the slower of generator and proxy
 * sets the pace; and the processor time of the proxy for a message, which a slow generator cannot hide.
 *
 * sizes=1K,16K,256K conns=1,100,1000 ways=direct,bare,holdfast,haproxy,nginx legs=plain,tls seconds=1 rounds=5 plot=FILE */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/load/bench.h"

#define INFLIGHT_BYTES (4u << 20) /* of all connections together: more would measure queues */
#define INFLIGHT_MIN 256
#define ROUNDS_MAX 99

struct pass {
	struct bench *bench;
	double sizes[ARGS_VALUES], seconds;
	struct numbers conns;
	size_t nsizes, rounds;
	bool way[PROXY_KINDS];
	struct plot plot;
};

/* One row of the tables, by way and round. */
struct row {
	double rate[PROXY_KINDS][ROUNDS_MAX]; /* messages a second */
	double cpu[PROXY_KINDS][ROUNDS_MAX];  /* microseconds a message */
	double to_bare[PROXY_KINDS][ROUNDS_MAX], cpu_to_bare[PROXY_KINDS][ROUNDS_MAX];
};

static unsigned
inflight(unsigned conns, size_t size)
{
	size_t most = INFLIGHT_BYTES / size, n = conns > INFLIGHT_MIN ? conns : INFLIGHT_MIN;

	return (unsigned)(n < most ? n : most);
}

static void
measure(const struct pass *p, struct stand *s, unsigned conns, size_t size, double *rate, double *cpu)
{
	struct fleet_load load = { .size = size, .seconds = p->seconds, .inflight = inflight(conns, size) };
	struct bench_meter meter = { .proxy = &s->proxy };
	struct fleet_result r;

	fleet_run(s->fleet, &load, bench_mark, &meter, &r);
	*rate = (double)r.messages / r.seconds;
	*cpu = r.messages > 0 ? (double)(meter.last - meter.first) / 1e3 / (double)r.messages : 0;
}

/* ---- the tables ---- */

static void
print_head(const struct pass *p)
{
	printf("\n%-22s", "messages/s");
	for (int w = 0; w < PROXY_KINDS; w++)
		if (p->way[w])
			printf("%10s", proxy_name((enum proxy_kind)w));
	printf(" |");
	for (int w = PROXY_HOLDFAST; w < PROXY_KINDS; w++)
		if (p->way[w] && p->way[PROXY_BARE])
			printf(" %8s", proxy_name((enum proxy_kind)w));
	printf("  /bare | us/msg:");
	for (int w = PROXY_BARE; w < PROXY_KINDS; w++)
		if (p->way[w])
			printf("%9s", proxy_name((enum proxy_kind)w));
	printf(" | bare's/holdfast's\n");
}

static void
print_row(struct pass *p, const char *leg, unsigned conns, size_t size, struct row *r)
{
	char name[40];

	snprintf(name, sizeof(name), "%s %u x %g KiB", leg, conns, (double)size / 1024);
	printf("%-22s", name);
	for (int w = 0; w < PROXY_KINDS; w++)
		if (p->way[w])
			printf("%10.0f", bench_median(r->rate[w], p->rounds));
	printf(" |");
	for (int w = PROXY_HOLDFAST; w < PROXY_KINDS; w++)
		if (p->way[w] && p->way[PROXY_BARE])
			printf(" %8.2f", bench_median(r->to_bare[w], p->rounds));
	printf("        |        ");
	for (int w = PROXY_BARE; w < PROXY_KINDS; w++)
		if (p->way[w])
			printf("%9.1f", bench_median(r->cpu[w], p->rounds));
	printf(" | %.2f\n", bench_median(r->cpu_to_bare[PROXY_HOLDFAST], p->rounds));
	fflush(stdout);
	for (int w = PROXY_HOLDFAST; w < PROXY_KINDS; w++)
		if (p->way[w])
			plot_bar(&p->plot, name, proxy_name((enum proxy_kind)w), bench_median(r->to_bare[w], p->rounds));
}

/* ---- rounds ---- */

static void
do_round(const struct pass *p, struct stand *stands, unsigned conns, size_t size, size_t round, struct row *r)
{
	for (size_t i = 0; i < PROXY_KINDS; i++) {
		size_t w = (round + i) % PROXY_KINDS; /* each is first as often as the others */

		if (p->way[w])
			measure(p, &stands[w], conns, size, &r->rate[w][round], &r->cpu[w][round]);
	}
	for (size_t w = 0; w < PROXY_KINDS; w++) {
		r->to_bare[w][round] = r->rate[PROXY_BARE][round] > 0 ? r->rate[w][round] / r->rate[PROXY_BARE][round] : 0;
		r->cpu_to_bare[w][round] = r->cpu[w][round] > 0 ? r->cpu[PROXY_BARE][round] / r->cpu[w][round] : 0;
	}
}

static void
do_connections(struct pass *p, unsigned conns, bool tls)
{
	struct stand stands[PROXY_KINDS];
	static struct row row;

	for (int w = 0; w < PROXY_KINDS; w++)
		if (p->way[w])
			bench_stand(p->bench, &stands[w], (enum proxy_kind)w, conns, tls, false);
	for (size_t i = 0; i < p->nsizes; i++) {
		memset(&row, 0, sizeof(row));
		for (size_t round = 0; round < p->rounds; round++)
			do_round(p, stands, conns, (size_t)p->sizes[i], round, &row);
		print_row(p, tls ? "TLS" : "plain", conns, (size_t)p->sizes[i], &row);
	}
	for (int w = 0; w < PROXY_KINDS; w++)
		if (p->way[w])
			bench_stand_end(&stands[w]);
}

void
bench_pass(struct bench *b)
{
	struct pass p = { .bench = b };
	const char *file;
	bool leg[2];

	p.nsizes = args_numbers(&b->args, "sizes", "1K,16K,256K", p.sizes);
	p.seconds = args_number(&b->args, "seconds", 1);
	p.rounds = (size_t)args_number(&b->args, "rounds", 5);
	p.rounds = p.rounds > ROUNDS_MAX ? ROUNDS_MAX : p.rounds;
	leg[0] = args_word(&b->args, "legs", "plain,tls", "plain");
	leg[1] = args_word(&b->args, "legs", "plain,tls", "tls");
	file = args_text(&b->args, "plot", NULL);
	bench_conns(b, "1,100,1000", bench_ways(b, p.way), &p.conns);
	args_end(&b->args);
	print_head(&p);
	for (int tls = 0; tls < 2; tls++)
		for (size_t i = 0; leg[tls] && i < p.conns.n; i++)
			do_connections(&p, (unsigned)p.conns.of[i], tls == 1);
	bench_plot(b, &p.plot, file, "Messages a second that pass, by connections and size", "times the bare forwarder's", 1);
}
