/* load outage - the link is cut under the devices (ack = relay), they go on uploading, the link comes back.
 *
 * Buffering: changesets and bytes a second that were acknowledged, so were durable, beside appends of the same bytes to a plain file on the same
 * disk, each so many at a time followed by one fdatasync, in turns with it.  Return: from the moment in which the server listens again until it
 * has everything, and what went over the link for it.
 *
 * clients=100 each=2000 size=1K inflight=25600 batch=256 rounds=3 */
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/bench/load/bench.h"
#include "tests/bench/load/loop.h"

#define ROUNDS_MAX 99
#define NOTICE_S 60 /* the most that holdfast may take to notice a cut, or to send all */

struct outage {
	struct bench *bench;
	struct stand stand;
	unsigned clients, each, batch;
	size_t size;
};

/* Appends the same bytes to a file, `batch` messages at a time: messages a second. */
static double
raw(const struct outage *o)
{
	char path[512];
	size_t len = o->batch * (o->size + 64); /* a record has a head, too */
	uint8_t *bytes = calloc(1, len);
	uint64_t n = (uint64_t)o->clients * o->each, start, done = 0;
	int fd;

	snprintf(path, sizeof(path), "%s/raw", o->bench->dir);
	if (bytes == NULL || (fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)) < 0)
		err(1, "%s", path);
	start = loop_now_ns();
	for (; done < n; done += o->batch)
		if (write(fd, bytes, len) != (ssize_t)len || fdatasync(fd) != 0)
			err(1, "%s", path);
	close(fd);
	unlink(path);
	free(bytes);
	return (double)done * 1e9 / (double)(loop_now_ns() - start);
}

static bool
has_all(void *arg)
{
	const struct outage *o = arg;

	for (unsigned i = 1; i <= o->clients; i++)
		if (sink_held(o->stand.sink, i) < fleet_last(o->stand.fleet, i))
			return false;
	return true;
}

static bool
is_down(void *arg)
{
	const struct outage *o = arg;

	return proxy_logged(&o->stand.proxy, "event=link state=down");
}

struct turn {
	double buffered, raw, drained, all_ms; /* messages a second; bytes a second; until the server has all */
	double link_bytes, connections;
};

static void
do_turn(struct outage *o, const struct fleet_load *load, struct turn *t)
{
	struct sink_count was;
	struct fleet_result r;
	uint64_t start;

	bench_stand(o->bench, &o->stand, PROXY_HOLDFAST, o->clients, false, true);
	sink_cut(o->stand.sink);
	fleet_wait(o->stand.fleet, NOTICE_S, is_down, o);
	t->raw = raw(o);
	fleet_run(o->stand.fleet, load, NULL, NULL, &r);
	t->buffered = (double)r.messages / r.seconds;
	was = *sink_count(o->stand.sink);
	start = loop_now_ns();
	sink_open(o->stand.sink);
	fleet_wait(o->stand.fleet, NOTICE_S, has_all, o);
	if (!has_all(o))
		errx(1, "the backlog did not arrive");
	t->all_ms = (double)(loop_now_ns() - start) / 1e6;
	t->link_bytes = (double)(sink_count(o->stand.sink)->bytes_in - was.bytes_in);
	t->connections = (double)(sink_count(o->stand.sink)->connections - was.connections);
	bench_stand_end(&o->stand);
}

void
bench_outage(struct bench *b)
{
	struct outage o = { .bench = b };
	double buffered[ROUNDS_MAX], raws[ROUNDS_MAX], ratio[ROUNDS_MAX], all_ms[ROUNDS_MAX];
	size_t rounds = (size_t)args_number(&b->args, "rounds", 3);
	struct fleet_load load = { .seconds = 0 };
	struct turn t = { 0 };
	double payload;

	o.clients = (unsigned)args_number(&b->args, "clients", 100);
	o.each = (unsigned)args_number(&b->args, "each", 2000);
	o.size = load.size = (size_t)args_number(&b->args, "size", 1024);
	o.batch = (unsigned)args_number(&b->args, "batch", 256);
	load.inflight = (unsigned)args_number(&b->args, "inflight", 25600);
	args_end(&b->args);
	load.messages = (uint64_t)o.clients * o.each;
	rounds = rounds > ROUNDS_MAX ? ROUNDS_MAX : rounds;
	for (size_t i = 0; i < rounds; i++) {
		do_turn(&o, &load, &t);
		buffered[i] = t.buffered;
		raws[i] = t.raw;
		ratio[i] = t.buffered / t.raw;
		all_ms[i] = t.all_ms;
	}
	payload = (double)load.messages * (double)o.size;
	printf("\n%u clients, %u changesets of %zu bytes each\n", o.clients, o.each, o.size);
	printf("buffered and durable: %.0f changesets/s, %.1f MB/s; plain appends, %u at a time: %.0f/s; ratio %.2f\n", bench_median(buffered, rounds),
	       bench_median(buffered, rounds) * (double)o.size / 1e6, o.batch, bench_median(raws, rounds), bench_median(ratio, rounds));
	printf("return: %.0f ms until the server has all, %.1f MB/s; %.3f bytes on the link for a byte of payload, %.0f connections\n",
	       bench_median(all_ms, rounds), payload / 1e3 / bench_median(all_ms, rounds), t.link_bytes / payload, t.connections);
}
