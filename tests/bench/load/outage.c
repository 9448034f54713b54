/* load outage - the return of the link: the devices (ack = relay) have uploaded while it was down, the server listens again, and then?
 *
 * Until it has everything, beside the time in which it takes the same from the same devices directly.  What went over the link, beside what the
 * devices would have sent: each changeset as it was made, had there been no outage; or, had they kept them, in UPLOADs of 128 KiB deflated at level
 * 1 as their SDK does (this one is reckoned).  The changesets are digits that a compressor can halve, and pre-merge can leave nothing out:
 * bench_premerge tells what it is worth.
 *
 * And what memory holdfast has for it: before, when all is in the buffer, when all is gone, and after some seconds of rest.
 *
 * clients=100 each=2000 size=1K inflight=25600 rounds=3 rest=2 */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/message.h"
#include "protocol/zbody.h"

#include "tests/bench/load/down.h"
#include "tests/bench/load/upload.h"

#define ROUNDS_MAX 99
#define SDK_BATCH (128u << 10)
#define SDK_LEVEL 1
#define KIB(n) ((double)(n) / 1024)

enum moment { BEFORE, FULL, GONE, RESTED, MOMENTS };

struct outage {
	struct bench *bench;
	struct down down;
	double rest; /* seconds */
	double fill[ROUNDS_MAX], all_ms[ROUNDS_MAX], to_direct[ROUNDS_MAX]; /* changesets a second; until the server has all; of the time it takes directly */
	double direct_ms[ROUNDS_MAX];
	double link_bytes, direct_bytes, connections, idle_ms; /* of the last round; idle_ms: with nothing waiting */
	double resident[MOMENTS];				 /* bytes, likewise */
};

/* Bytes that an SDK sends for a byte of changesets which it kept. */
static double
sdk_bytes(size_t size)
{
	size_t n = SDK_BATCH / size > 0 ? SDK_BATCH / size : 1, len = 0, z_len = 0;
	uint8_t *body = malloc(n * (MSG_ENTRY_HEAD_MAX + size)), *z = malloc(n * (MSG_ENTRY_HEAD_MAX + size));

	if (body == NULL || z == NULL)
		err(1, "outage");
	for (size_t i = 0; i < n; i++) {
		struct upload_entry e = { .client_version = UPLOAD_FIRST + i, .server_version = 1, .origin_timestamp = 300000000000 };

		e.changeset.len = size;
		len += upload_entry_format(&e, (char *)body + len);
		upload_digits(body + len, size, UPLOAD_FIRST + i);
		len += size;
	}
	if (zbody_deflate(SDK_LEVEL, body, len, z, len, &z_len) != PROTO_OK)
		z_len = len;
	free(body);
	free(z);
	return (double)z_len / (double)(n * size);
}

static void
direct_turn(struct outage *o, size_t round)
{
	struct fleet_result r;
	struct stand s;
	uint64_t was;

	bench_stand(o->bench, &s, PROXY_DIRECT, o->down.clients, false, false);
	was = sink_count(s.sink)->bytes_in;
	fleet_run(s.fleet, &o->down.load, NULL, NULL, &r);
	o->direct_ms[round] = r.seconds * 1e3;
	o->direct_bytes = (double)(sink_count(s.sink)->bytes_in - was);
	bench_stand_end(&s);
}

static void
look(struct outage *o, enum moment m)
{
	o->resident[m] = (double)proxy_resident(&o->down.stand.proxy);
}

static void
do_round(struct outage *o, size_t round)
{
	struct sink_count was;
	struct down *d = &o->down;

	direct_turn(o, round);
	down_begin(o->bench, d);
	o->idle_ms = down_return(d);
	down_end(d);
	down_begin(o->bench, d);
	look(o, BEFORE);
	o->fill[round] = down_fill(d);
	look(o, FULL);
	was = *sink_count(d->stand.sink);
	o->all_ms[round] = down_return(d);
	o->to_direct[round] = o->direct_ms[round] / o->all_ms[round];
	o->link_bytes = (double)(sink_count(d->stand.sink)->bytes_in - was.bytes_in);
	o->connections = (double)(sink_count(d->stand.sink)->connections - was.connections);
	look(o, GONE);
	fleet_wait(d->stand.fleet, o->rest, NULL, NULL);
	look(o, RESTED);
	down_end(d);
}

static void
print(struct outage *o, size_t rounds)
{
	const struct down *d = &o->down;
	double payload = (double)d->load.messages * (double)d->load.size, all_ms = bench_median(o->all_ms, rounds);

	printf("\n%u clients, %g changesets of %zu bytes in all (%.0f KiB), taken in at %.0f a second while the link was down\n", d->clients,
	       (double)d->load.messages, d->load.size, KIB(payload), bench_median(o->fill, rounds));
	printf("%-62s %10.0f ms  %8.1f MB/s\n", "from the link's return until the server has acknowledged all", all_ms, payload / 1e3 / all_ms);
	printf("%-62s %10.0f ms  %8.1f MB/s\n", "the same devices, the same server, nothing between", bench_median(o->direct_ms, rounds),
	       payload / 1e3 / bench_median(o->direct_ms, rounds));
	printf("%-62s %10.2f\n", "its speed of the server's own", bench_median(o->to_direct, rounds));
	printf("%-62s %10.0f ms\n", "the return with nothing waiting, until every client is bound again", o->idle_ms);
	printf("bytes on the link for a byte of payload: %.3f, %.0f connections; the devices, each change as it comes: %.3f;\n"
	       "the devices, kept and then sent as an SDK does (reckoned): %.3f\n",
	       o->link_bytes / payload, o->connections, o->direct_bytes / payload, sdk_bytes(d->load.size));
	printf("resident KiB of holdfast: %.0f before, %.0f with all in the buffer, %.0f when it is gone, %.0f after %g s of rest\n", KIB(o->resident[BEFORE]),
	       KIB(o->resident[FULL]), KIB(o->resident[GONE]), KIB(o->resident[RESTED]), o->rest);
}

void
bench_outage(struct bench *b)
{
	static struct outage o;
	struct args *a = &b->args;
	size_t rounds = (size_t)args_number(a, "rounds", 3);

	o.bench = b;
	o.rest = args_number(a, "rest", 2);
	o.down = down_of((unsigned)args_number(a, "clients", 100), (unsigned)args_number(a, "each", 2000), (size_t)args_number(a, "size", 1024),
			 (unsigned)args_number(a, "inflight", 25600));
	args_end(a);
	rounds = rounds > ROUNDS_MAX ? ROUNDS_MAX : rounds;
	bench_spread(b);
	for (size_t i = 0; i < rounds; i++)
		do_round(&o, i);
	print(&o, rounds);
}
