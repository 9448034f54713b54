/* load - measures what passes through holdfast, and beside it, in the same run, what passes through others.
 *
 *	load pass	messages a second and processor time a message, against a bare forwarder, HAProxy and nginx
 *	load latency	p50 and p99 at fixed rates
 *	load memory	resident bytes of a bound session that is idle
 *	load buffer	what is taken in while the link is down, against mosquitto's bridge and the bare disk, and what each loses when it is killed
 *	load outage	the return of the link
 *	load idle	what an idle hour costs on the link
 *	load growth	the same work with ever more sessions and files
 *
 * Arguments are NAME=VALUE[,VALUE...]; each file tells its own.  The generator is one thread on the last processor, what is measured has
 * the first to itself.  Everything is on loopback, in a network namespace of its own (net.h); folders are made in TMPDIR (default /var/tmp: a real
 * disk). */
#include <err.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/ssl.h>

#include "tests/bench/load/bench.h"
#include "tests/bench/load/loop.h"
#include "tests/bench/load/net.h"


static const struct {
	const char *name;
	void (*run)(struct bench *b);
} benches[] = { { "pass", bench_pass }, { "latency", bench_latency }, { "memory", bench_memory },
	{ "buffer", bench_buffer }, { "outage", bench_outage }, { "idle", bench_idle }, { "growth", bench_growth } };

/* ---- shared ---- */

void
bench_stand(struct bench *b, struct stand *s, enum proxy_kind kind, unsigned n, bool tls, bool ack_relay)
{
	struct proxy_setup setup = { .dir = b->dir, .cert = tls ? &b->cert : NULL, .ack_relay = ack_relay, .spread = b->spread, .ping_ms = b->ping_ms };

	s->sink = sink_new(n);
	setup.upstream_port = sink_port(s->sink);
	proxy_start(&s->proxy, kind, &setup);
	s->fleet = fleet_new(n, s->proxy.port, tls && kind != PROXY_DIRECT ? b->tls : NULL);
}

void
bench_stand_end(struct stand *s)
{
	fleet_free(s->fleet);
	proxy_stop(&s->proxy);
	sink_free(s->sink);
}

unsigned
bench_ways(struct bench *b, bool way[PROXY_KINDS])
{
	unsigned n = 0;

	for (int w = 0; w < PROXY_KINDS; w++) {
		const char *name = proxy_name((enum proxy_kind)w);

		way[w] = args_word(&b->args, "ways", "direct,bare,holdfast,haproxy,nginx", name);
		if (way[w] && !proxy_is_there((enum proxy_kind)w)) {
			printf("%s is not installed: left out\n", name);
			way[w] = false;
		}
		n += way[w];
	}
	return n;
}

void
bench_conns(struct bench *b, const char *otherwise, unsigned stands, struct numbers *conns)
{
	unsigned most = proxy_most_conns() / (stands > 0 ? stands : 1);

	conns->n = args_numbers(&b->args, "conns", otherwise, conns->of);
	for (size_t i = 0; i < conns->n; i++)
		if (conns->of[i] > most) {
			printf("%.0f connections take %.0f descriptors of a process, more than it is granted here: %u instead\n", conns->of[i],
			       2 * stands * conns->of[i], most);
			conns->of[i] = most;
		}
}

void
bench_mark(void *meter)
{
	struct bench_meter *m = meter;

	m->first = m->last;
	m->last = proxy_cpu_ns(m->proxy);
}

static int
by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double
bench_median(double *v, size_t n)
{
	if (n == 0)
		return 0;
	qsort(v, n, sizeof(*v), by_value);
	return n % 2 == 1 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

void
bench_plot(const struct bench *b, const struct plot *p, const char *file, const char *title, const char *unit, double mark)
{
	char command[200];
	struct plot_words words = { .title = title, .unit = unit, .command = command, .mark = mark };

	args_command(&b->args, command, sizeof(command));
	if (file != NULL)
		plot_write(p, file, &words);
}

void
bench_spread(struct bench *b)
{
	b->spread = true;
	proxy_spread();
}

/* ---- start and end ---- */

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

void
bench_remove(const char *dir)
{
	(void)nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void
prepare(struct bench *b)
{
	const char *tmp = getenv("TMPDIR");

	if ((size_t)snprintf(b->dir, sizeof(b->dir), "%s/holdfast-load.XXXXXX", tmp != NULL ? tmp : "/var/tmp") >= sizeof(b->dir) ||
	    mkdtemp(b->dir) == NULL)
		err(1, "%s", b->dir);
	if (!cert_make(b->dir, "bench", &b->cert) || (b->tls = SSL_CTX_new(TLS_client_method())) == NULL ||
	    SSL_CTX_set_min_proto_version(b->tls, TLS1_3_VERSION) != 1)
		errx(1, "TLS");
	proxy_allow_files();
	signal(SIGPIPE, SIG_IGN);
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	proxy_pin(-1);
	net_enter();
	loop_open();
}

int
main(int argc, char **argv)
{
	struct bench b = { .args = { .bench = argv[1], .argc = argc - 2, .argv = argv + 2 } };

	for (size_t i = 0; argc > 1 && i < sizeof(benches) / sizeof(benches[0]); i++) {
		if (strcmp(argv[1], benches[i].name) != 0)
			continue;
		prepare(&b);
		benches[i].run(&b);
		SSL_CTX_free(b.tls);
		loop_close();
		bench_remove(b.dir);
		return 0;
	}
	fprintf(stderr, "usage: load pass|latency|memory|buffer|outage|idle|growth [NAME=VALUE...]\n");
	return 2;
}
