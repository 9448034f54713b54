/* load growth - the same work with ever more sessions and files: what it costs for one must not depend on how many others there are.
 *
 * Sessions: processor time of a message that passes (the bare forwarder beside it, for caches grow cold for anybody), of the loss and of the return
 * of the link for a session (ack = relay, each with a changeset waiting), and how long status and devices of holdfastctl take.  Files: the time
 * until holdfast listens, with a changeset waiting in each, and again those two of holdfastctl.
 *
 * conns=10,100,1000,10000 files=1000,10000,100000 seconds=1 plot=FILE (10,000 take 20,200 descriptors a process; with fewer, fewer are measured) */
#include <err.h>
#include <stdio.h>
#include <string.h>

#include <sys/stat.h>

#include "buffer/store.h"

#include "tests/bench/load/ask.h"
#include "tests/bench/load/disk.h"
#include "tests/bench/load/down.h"
#include "tests/bench/load/loop.h"

#define SIZE 1024
#define UNDER_WAY 500 /* messages: 15 ms at 30,000 a second */
#define SETTLE_S 0.3 /* after what is counted by processor time has happened */

enum curve { BARE, PASS, LOSS, RETURN, CURVES };

struct curves {
	struct plot plot;
	double first[CURVES];
};

/* us a message; each session has one under way at most, so that nothing is saved by taking several at once.  All together have no more under way
 * than is acknowledged well before holdfast would write it to the disk (linger): that would be another work. */
static double
pass_cost(struct bench *b, enum proxy_kind kind, unsigned n, double seconds)
{
	struct fleet_load load = { .size = SIZE, .seconds = seconds, .inflight = n < UNDER_WAY ? n : UNDER_WAY };
	struct fleet_result r;
	struct stand s;
	struct bench_meter meter = { .proxy = &s.proxy };

	bench_stand(b, &s, kind, n, false, false);
	fleet_run(s.fleet, &load, bench_mark, &meter, &r);
	bench_stand_end(&s);
	return r.messages > 0 ? (double)(meter.last - meter.first) / 1e3 / (double)r.messages : 0;
}

/* us a session since the last call. */
static double
session_cost(struct bench_meter *m, struct down *d)
{
	fleet_wait(d->stand.fleet, SETTLE_S, NULL, NULL);
	bench_mark(m);
	return (double)(m->last - m->first) / 1e3 / d->clients;
}

/* Adds the cost of one when they are n, in parts of what it was with those that came first. */
static void
draw(struct curves *c, unsigned n, enum curve of, double cost)
{
	static const char *const names[CURVES] = { "bare: a message", "holdfast: a message", "link's loss: a session", "link's return: a session" };
	char group[40];

	if (c->first[of] == 0)
		c->first[of] = cost;
	snprintf(group, sizeof(group), "%u sessions", n);
	plot_bar(&c->plot, group, names[of], c->first[of] > 0 ? cost / c->first[of] : 0);
}

static void
do_sessions(struct bench *b, unsigned n, double seconds, struct curves *curves)
{
	struct down d = down_of(n, 1, SIZE, n);
	struct bench_meter meter = { .proxy = &d.stand.proxy };
	double bare = pass_cost(b, PROXY_BARE, n, seconds), pass = pass_cost(b, PROXY_HOLDFAST, n, seconds), lost, returned, status, devices, all_ms;

	down_stand(b, &d);
	(void)session_cost(&meter, &d);
	down_cut(&d);
	lost = session_cost(&meter, &d);
	(void)down_fill(&d);
	status = ask_ms(&d.stand.proxy, "status");
	devices = ask_ms(&d.stand.proxy, "devices");
	(void)session_cost(&meter, &d);
	all_ms = down_return(&d);
	returned = session_cost(&meter, &d);
	down_end(&d);
	printf("%8u %10.1f %10.1f %12.1f %12.1f %12.0f %10.1f %10.1f\n", n, bare, pass, lost, returned, all_ms, status, devices);
	draw(curves, n, BARE, bare);
	draw(curves, n, PASS, pass);
	draw(curves, n, LOSS, lost);
	draw(curves, n, RETURN, returned);
}

/* ---- files ---- */

static void
do_files(struct bench *b, unsigned n)
{
	struct proxy_setup setup = { .dir = b->dir, .ack_relay = true, .spread = true };
	struct proxy p;
	double fresh, full;
	int fd = proxy_reserve_port(&setup.upstream_port); /* nobody listens there */

	proxy_start(&p, PROXY_HOLDFAST, &setup);
	proxy_stop(&p);
	fresh = proxy_start_ms(&p, &setup);
	proxy_stop(&p);
	disk_fill_store(p.dir, n, SIZE);
	full = proxy_start_ms(&p, &setup);
	printf("%8u %12.0f %12.0f", n, fresh, full);
	printf(" %10.1f", ask_ms(&p, "status"));
	printf(" %10.1f\n", ask_ms(&p, "devices"));
	proxy_stop(&p);
	bench_remove(p.dir);
	(void)fd;
}

void
bench_growth(struct bench *b)
{
	static struct curves curves;
	const char *file;
	struct numbers conns;
	double files[ARGS_VALUES], seconds = args_number(&b->args, "seconds", 1);
	size_t nfiles = args_numbers(&b->args, "files", "1000,10000,100000", files);

	file = args_text(&b->args, "plot", NULL);
	bench_conns(b, "10,100,1000,10000", 1, &conns);
	args_end(&b->args);
	printf("\n%8s %21s %25s %12s %21s\n", "", "us a message passed", "us a session, of the link's", "return,", "ms, of holdfastctl's");
	printf("%8s %10s %10s %12s %12s %12s %10s %10s\n", "sessions", "bare", "holdfast", "loss", "return", "ms in all", "status", "devices");
	for (size_t i = 0; i < conns.n; i++)
		do_sessions(b, (unsigned)conns.of[i], seconds, &curves);
	printf("\n%8s %25s %21s\n%8s %12s %12s %10s %10s\n", "", "ms until it listens", "ms, of holdfastctl's", "files", "with none", "with all", "status",
	       "devices");
	for (size_t i = 0; i < nfiles; i++)
		do_files(b, (unsigned)files[i]);
	bench_plot(b, &curves.plot, file, "Processor time of one, the more there are", "times that with the fewest", 1);
}
