/* load buffer - the link is cut under the devices (ack = relay), they go on uploading: what is acknowledged and durable a second, and what of it is gone
 * after kill -9.  Beside it, in turns: mosquitto's bridge to a server that is not there, with the same clients and sizes, as it is given out and as
 * durable as it can be made; the store of holdfast alone and plain appends, with as many changesets a sync as holdfast had (of its counter commits).
 * All of them on all processors.
 *
 * clients=100 each=2000 size=1K inflight=25600 window=32 seconds=3 rounds=3 beside=store,plain,mosquitto plot=FILE */
#include <stdio.h>

#include "tests/bench/load/ask.h"
#include "tests/bench/load/broker.h"
#include "tests/bench/load/disk.h"
#include "tests/bench/load/down.h"

#define ROUNDS_MAX 99

enum way { RELAY, STORE, PLAIN, BROKER_DURABLE, BROKER, WAYS };

static const char *const names[WAYS] = { "holdfast, ack = relay", "its store alone", "plain appends, fdatasync", "mosquitto, after each change",
	"mosquitto, as given out" };
static const char *const words[WAYS] = { NULL, "store", "plain", "mosquitto", "mosquitto" }; /* of the argument */
static const double wanted[WAYS] = { [STORE] = 0.9, [BROKER_DURABLE] = 10 };

struct buffer {
	struct bench *bench;
	struct down down;
	struct broker_load broker;
	bool beside[WAYS]; /* to be measured, too */
	size_t rounds;
	double rate[WAYS][ROUNDS_MAX], lost[WAYS][ROUNDS_MAX], ratio[WAYS][ROUNDS_MAX], batch[ROUNDS_MAX];
};

static void
relay_turn(struct buffer *t, size_t round)
{
	struct down *d = &t->down;
	double commits, held;

	down_begin(t->bench, d);
	commits = ask_number(&d->stand.proxy, "status", "commits");
	t->rate[RELAY][round] = down_fill(d);
	commits = ask_number(&d->stand.proxy, "status", "commits") - commits;
	t->batch[round] = (double)d->load.messages / (commits > 0 ? commits : 1);
	proxy_stop(&d->stand.proxy); /* kill -9 */
	held = ask_number(&d->stand.proxy, "buffer stat", "records");
	t->lost[RELAY][round] = 100 * ((double)d->load.messages - held) / (double)d->load.messages;
	down_end(d);
}

/* The store alone and the plain file, with the batch of a turn of holdfast's. */
static void
disk_turn(struct buffer *t, size_t round, double batch)
{
	const struct fleet_load *load = &t->down.load;
	unsigned n = (unsigned)(batch + 0.5);

	if (t->beside[STORE])
		t->rate[STORE][round] = disk_store(t->bench->dir, load->messages, load->size, n, t->down.clients);
	if (t->beside[PLAIN])
		t->rate[PLAIN][round] = disk_plain(t->bench->dir, load->messages, load->size, n);
}

/* Holdfast and the disk alone are first in turns: a disk may be slower when it has been busy for a while. */
static void
do_round(struct buffer *t, size_t round)
{
	bool first = round % 2 == 0;

	if (!first)
		disk_turn(t, round, t->batch[round - 1]);
	relay_turn(t, round);
	if (first)
		disk_turn(t, round, t->batch[round]);
	for (enum way w = BROKER_DURABLE; w <= BROKER && t->beside[w]; w++)
		broker_turn(t->bench, &t->broker, w == BROKER_DURABLE, &t->rate[w][round], &t->lost[w][round]);
	for (enum way w = STORE; w < WAYS; w++)
		t->ratio[w][round] = t->rate[w][round] > 0 ? t->rate[RELAY][round] / t->rate[w][round] : 0;
}

static void
print(struct buffer *t, const char *file)
{
	static struct plot plot;
	double size = (double)t->down.load.size;

	printf("\n%u clients, %g changesets of %zu bytes, the link is down; holdfast had %.0f of them in a commit\n", t->down.clients,
	       (double)t->down.load.messages, t->down.load.size, bench_median(t->batch, t->rounds));
	printf("%-30s %12s %8s %16s %12s %7s\n", "", "changesets/s", "MB/s", "lost by kill -9", "holdfast's x", "wanted");
	for (enum way w = RELAY; w < WAYS; w++) {
		double rate = bench_median(t->rate[w], t->rounds), ratio = bench_median(t->ratio[w], t->rounds);

		if (rate == 0)
			continue;
		printf("%-30s %12.0f %8.1f", names[w], rate, rate * size / 1e6);
		if (w == STORE || w == PLAIN)
			printf(" %16s", "-");
		else
			printf(" %14.1f %%", bench_median(t->lost[w], t->rounds));
		if (w != RELAY)
			printf(" %12.2f", ratio);
		if (wanted[w] > 0)
			printf(" %7g", wanted[w]);
		printf("\n");
		plot_bar(&plot, names[w], "taken", rate / 1e3);
	}
	bench_plot(t->bench, &plot, file, "Changesets taken while the link is down", "thousand changesets a second", 0);
}

void
bench_buffer(struct bench *b)
{
	static struct buffer t;
	struct args *a = &b->args;
	const char *file = args_text(a, "plot", NULL);

	t.bench = b;
	t.rounds = (size_t)args_number(a, "rounds", 3);
	t.rounds = t.rounds > ROUNDS_MAX ? ROUNDS_MAX : t.rounds;
	t.down = down_of((unsigned)args_number(a, "clients", 100), (unsigned)args_number(a, "each", 2000), (size_t)args_number(a, "size", 1024),
			 (unsigned)args_number(a, "inflight", 25600));
	t.broker = (struct broker_load){ .clients = t.down.clients, .window = (unsigned)args_number(a, "window", 32), .size = t.down.load.size,
		.seconds = args_number(a, "seconds", 3) };
	for (enum way w = STORE; w < WAYS; w++)
		t.beside[w] = args_word(a, "beside", "store,plain,mosquitto", words[w]);
	args_end(a);
	if (t.beside[BROKER] && !proxy_is_there(PROXY_MOSQUITTO)) {
		printf("mosquitto is not installed: left out\n");
		t.beside[BROKER] = t.beside[BROKER_DURABLE] = false;
	}
	bench_spread(b);
	for (size_t i = 0; i < t.rounds; i++)
		do_round(&t, i);
	print(&t, file);
}
