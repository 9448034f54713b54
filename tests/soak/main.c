/* soak: hours of bad weather in a row, and what the daemon has grown by in them.
 *
 * usage: soak [MINUTES [CLIENTS]]		default: 30 minutes, 500 clients
 *
 *	clients -> edge (linkproxy) -> holdfast -> link (linkproxy) -> upstream
 *
 * All the time clients write, connections are cut on either side, the link goes away and comes back, and strangers connect: with noise, halves
 * of requests, other protocols, requests that are refused.  In the first third the daemon is also killed and restarted; the rest is one
 * life of it, in which memory, descriptors and the log are watched.  Prints a line every ten seconds; fails when something grows, when
 * a client or the upstream saw a rule broken, or when not all arrives.
 *
 * Memory is what the daemon says is in use (heap_bytes); where its C library does not tell, what is resident and of no file.  Resident memory
 * also grows when more than ever is needed at once, ever more seldom, and by whole steps, which says nothing of leaks.  The slope is that of a
 * line through the means of a minute each (two outages long, so that what comes and goes with them is in every one) over the second half of the
 * long life; the first half is for what fills to a bound, which is why the buffer's cache is small here.  It is noise below what the
 * scatter about that line can explain, with 99 % certainty, and, for resident memory, one step of the heap.  So a longer soak sees smaller
 * leaks; all of it is printed. */
#include <dirent.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/peer/child.h"
#include "tests/peer/daemon.h"
#include "tests/peer/rawsock.h"

#define STRANGERS 16	/* at a time */
#define CUT_EVERY_S 5
#define OUTAGE_EVERY_S 30
#define SAMPLES_MAX 100000
#define BLOCK_S 60 /* two outages */
#define BLOCKS_MAX 1000
#define HEAP_STEP_KIB 128.0 /* glibc takes so much more than it needs (M_TOP_PAD) */
#define LOG_PER_CONN 2000     /* bytes: opened, closed, what upstream did, resumed */
#define LOG_PER_MINUTE 131072 /* bytes: the status lines, the link's, and strangers, who are told of ten times in ten seconds */

static struct {
	struct child *up, *link, *edge, *dev;
	struct daemon d;
	unsigned up_port, link_port, nclient;
	char dir[300], config[700];
	int stranger[STRANGERS];
	double seconds[SAMPLES_MAX], kib[SAMPLES_MAX]; /* of the long life */
	unsigned nsample, fds_before;
	bool told; /* kib is what the daemon says that is in use */
	uint64_t log_from, opened_from, rng;
	double long_from;
} s;

static void
die(const char *what)
{
	fprintf(stderr, "soak: %s\n", what);
	exit(1);
}

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint64_t
draw(uint64_t n)
{
	s.rng ^= s.rng << 13;
	s.rng ^= s.rng >> 7;
	s.rng ^= s.rng << 17;
	return s.rng % n;
}

/* Says it; anything but "ok" ends the soak. */
#define TELL(child, ...) (void)told(child_ask(child, __VA_ARGS__))

static const char *
told(const char *answer)
{
	if (answer == NULL || strncmp(answer, "ok", 2) != 0)
		die(answer != NULL ? answer : "a program does not answer");
	return answer;
}

static uint64_t
field(const char *answer, const char *name)
{
	const char *at = strstr(told(answer), name);

	return at != NULL ? strtoull(at + strlen(name), NULL, 10) : 0;
}

static unsigned
begin(struct child **c, const char *name, const char *const args[])
{
	const char *line;
	unsigned port = 0;

	*c = child_start(name, args);
	line = *c != NULL ? child_line(*c) : NULL;
	if (line == NULL || sscanf(line, "port %u", &port) != 1)
		die("a program does not start");
	return port;
}

/* ---- the daemon ---- */

static uint64_t
log_bytes(void)
{
	char path[400];
	struct stat st;

	snprintf(path, sizeof path, "%s/log", s.dir);
	return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

static void
start_daemon(void)
{
	char path[400];

	snprintf(path, sizeof path, "%s/log", s.dir); /* its port is read from the log, so each life has its own */
	(void)unlink(path);
	if (!daemon_start(&s.d, s.dir, s.config))
		die("the daemon does not start");
	TELL(s.edge, "target 127.0.0.1:%u", s.d.port);
}

static void
end_daemon(bool murder)
{
	if (murder) {
		kill(s.d.pid, SIGKILL);
		waitpid(s.d.pid, NULL, 0);
		s.d.pid = -1;
	} else if (!daemon_stop(&s.d)) {
		die("the daemon does not end well");
	}
}

/* Resident, and the part that is of no file. */
static double
resident_kib(double *own)
{
	char path[64], line[256];
	unsigned long kib = 0, anon = 0;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/status", (int)s.d.pid);
	f = fopen(path, "re");
	if (f == NULL)
		die("the daemon is gone");
	while (fgets(line, sizeof line, f) != NULL) {
		(void)sscanf(line, "VmRSS: %lu", &kib);
		(void)sscanf(line, "RssAnon: %lu", &anon);
	}
	fclose(f);
	*own = (double)anon;
	return (double)kib;
}

/* The newest heap_bytes in the log, in KiB; 0: there is none. */
static double
heap_kib(void)
{
	static char tail[1 << 20];
	static const char key[] = " heap_bytes=";
	char path[400], *at, *last = NULL;
	size_t n = 0;
	FILE *f;

	snprintf(path, sizeof path, "%s/log", s.dir);
	f = fopen(path, "re");
	if (f != NULL) {
		(void)(fseek(f, -(long)sizeof tail + 1, SEEK_END) != 0 && fseek(f, 0, SEEK_SET)); /* it may be shorter */
		n = fread(tail, 1, sizeof tail - 1, f);
		fclose(f);
	}
	tail[n] = '\0';
	for (at = tail; (at = strstr(at, key)) != NULL; at++)
		last = at;
	return last != NULL ? strtod(last + sizeof key - 1, NULL) / 1024 : 0;
}

static unsigned
descriptors(void)
{
	char path[64];
	unsigned n = 0;
	DIR *dir;

	snprintf(path, sizeof path, "/proc/%d/fd", (int)s.d.pid);
	dir = opendir(path);
	if (dir == NULL)
		die("the daemon is gone");
	while (readdir(dir) != NULL)
		n++;
	closedir(dir);
	return n;
}

/* ---- the weather ---- */

static void
strangers_leave(void)
{
	for (unsigned i = 0; i < STRANGERS; i++) {
		if (s.stranger[i] >= 0)
			close(s.stranger[i]);
		s.stranger[i] = -1;
	}
}

static void
strangers_come(void)
{
	static const char *const words[] = {
		"GET /realm-sync HTTP/1.1\r\nHost: x\r\n", "GET / HTTP/1.0\r\n\r\n", "\x16\x03\x01\x02\x01\x01\xfc\x03\x03", "SSH-2.0-x\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n", "", "GET /realm-sync HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
	};
	uint8_t noise[3000];

	strangers_leave();
	for (unsigned i = 0; i < STRANGERS; i++) {
		const char *w = words[draw(sizeof words / sizeof words[0])];

		s.stranger[i] = rawsock_connect(s.d.port, NULL);
		if (s.stranger[i] < 0)
			continue;
		for (size_t n = 0; n < sizeof noise; n++)
			noise[n] = (uint8_t)draw(256);
		if (draw(3) == 0)
			(void)rawsock_send(s.stranger[i], noise, draw(sizeof noise) + 1);
		else
			(void)rawsock_send(s.stranger[i], w, strlen(w));
	}
}

static void
bad_weather(unsigned second)
{
	strangers_come();
	for (unsigned i = 0; i < 20; i++)
		TELL(s.dev, "write d%" PRIu64 " 1 size=%" PRIu64, draw(s.nclient), draw(3000) + 1);
	if (second % OUTAGE_EVERY_S == OUTAGE_EVERY_S - 5)
		TELL(s.link, "refuse");
	else if (second % OUTAGE_EVERY_S == 0)
		TELL(s.link, "up");
	else if (second % CUT_EVERY_S == 0)
		TELL(draw(2) == 0 ? s.link : s.edge, "cut-after %s %" PRIu64, draw(2) == 0 ? "c2s" : "s2c", draw(20000) + 1);
}

/* ---- what comes of it ---- */

/* Everybody is here, upstream too, and at rest; nobody else is. */
static void
settle(void)
{
	const struct timespec rest = { .tv_sec = 1 };

	TELL(s.link, "up");
	strangers_leave();
	for (int i = 0; i < 60; i++) {
		const char *answer = child_ask(s.dev, "wait * idle 5000");
		bool idle = answer != NULL && strcmp(answer, "ok") == 0;

		(void)nanosleep(&rest, NULL); /* who was replayed for an absent client leaves */
		if (idle && field(child_ask(s.up, "status"), " sessions=") == s.nclient)
			return;
	}
	die("not all arrives");
}

static void
begin_long_life(double at)
{
	settle();
	s.long_from = at;
	s.log_from = log_bytes();
	s.opened_from = field(child_ask(s.edge, "status"), " opened=");
	s.fds_before = descriptors();
}

static void
sample(double at)
{
	double own, kib = resident_kib(&own), heap = heap_kib();

	printf("%5.0f s: resident %.0f KiB, of no file %.0f KiB, in use %.0f KiB, %u descriptors, log %" PRIu64 " KiB\n", at, kib, own, heap,
	       descriptors(), log_bytes() / 1024);
	fflush(stdout);
	if (s.long_from > 0 && s.nsample < SAMPLES_MAX) {
		s.seconds[s.nsample] = at;
		s.kib[s.nsample++] = heap > 0 ? heap : own;
		s.told = heap > 0;
	}
}

/* Of memory, a minute: the slope, and what is noise. */
struct trend {
	double slope, scatter, step, minutes;
	unsigned blocks;
};

/* The mean of each whole block of the second half; returns how many. */
static unsigned
blocks(double minute[BLOCKS_MAX], double kib[BLOCKS_MAX])
{
	unsigned n = 0, in = 0;
	double from = s.nsample > 0 ? s.seconds[s.nsample / 2] : 0;

	for (unsigned i = s.nsample / 2; i < s.nsample && n < BLOCKS_MAX; i++) {
		kib[n] = in == 0 ? s.kib[i] : kib[n] + s.kib[i];
		in++;
		if (s.seconds[i] - from < BLOCK_S * (n + 1) - 10)
			continue;
		kib[n] /= in;
		minute[n] = (double)n * BLOCK_S / 60;
		n++;
		in = 0;
	}
	return n;
}

/* How many standard errors 99 of 100 slopes of nothing but noise stay below, where there are so many degrees of freedom (Student's t by the
 * series of Cornish and Fisher; good from 3 on). */
static double
certain(double dof)
{
	const double z = 2.326, z3 = z * z * z, z5 = z3 * z * z;

	return z + (z3 + z) / (4 * dof) + (5 * z5 + 16 * z3 + 3 * z) / (96 * dof * dof);
}

static struct trend
trend(void)
{
	static double minute[BLOCKS_MAX], kib[BLOCKS_MAX];
	unsigned n = blocks(minute, kib);
	struct trend t = { .blocks = n, .minutes = n * BLOCK_S / 60.0 };
	double mx = 0, my = 0, xx = 0, xy = 0, rest = 0;

	for (unsigned i = 0; i < n; i++) {
		mx += minute[i] / n;
		my += kib[i] / n;
	}
	for (unsigned i = 0; i < n; i++) {
		xx += (minute[i] - mx) * (minute[i] - mx);
		xy += (minute[i] - mx) * (kib[i] - my);
	}
	if (n < 5)
		return t; /* too short to tell */
	t.slope = xy / xx;
	for (unsigned i = 0; i < n; i++) {
		double off = kib[i] - my - t.slope * (minute[i] - mx);

		rest += off * off;
	}
	t.scatter = certain(n - 2) * sqrt(rest / (n - 2) / xx);
	t.step = s.told ? 0 : 1.5 * HEAP_STEP_KIB / t.minutes; /* the slope of a line through one step in the middle */
	return t;
}

static bool
judge(double at)
{
	uint64_t opened, log;
	struct trend t = trend();
	unsigned fds;
	bool ok = true;

	settle();
	fds = descriptors();
	opened = field(child_ask(s.edge, "status"), " opened=") - s.opened_from;
	log = log_bytes() - s.log_from;
	if (t.blocks < 5)
		printf("memory: the soak is too short for a slope\n");
	else
		printf("memory %s: %+.1f KiB a minute over the last %.0f minutes; noise: up to %.1f by scatter, %.1f by a step of the heap\n",
		       s.told ? "in use" : "resident", t.slope, t.minutes, t.scatter, t.step);
	printf("descriptors: %u, before %u; log: %" PRIu64 " KiB for %" PRIu64 " connections in %.1f minutes\n", fds, s.fds_before, log / 1024,
	       opened, (at - s.long_from) / 60);
	if (t.slope > t.scatter + t.step)
		ok = false, printf("FAILED: memory grows\n");
	if (fds > s.fds_before + 8)
		ok = false, printf("FAILED: descriptors are lost\n");
	if ((double)log > (double)opened * LOG_PER_CONN + ((at - s.long_from) / 60 + 1) * LOG_PER_MINUTE)
		ok = false, printf("FAILED: the log is too long\n");
	if (strcmp(told(child_ask(s.dev, "violations")), "ok 0") != 0 || strcmp(told(child_ask(s.up, "violations")), "ok 0") != 0)
		ok = false, printf("FAILED: a rule was broken\n");
	return ok;
}

static void
set_up(void)
{
	static const char *const none[] = { NULL };
	char url[64];
	const char *dev_args[] = { "--url", url, "--backoff-ms", "100-2000", "--ping-ms", "5000", NULL };
	unsigned edge_port;

	snprintf(s.dir, sizeof s.dir, "/tmp/soak.XXXXXX");
	if (mkdtemp(s.dir) == NULL)
		die("no folder");
	for (unsigned i = 0; i < STRANGERS; i++)
		s.stranger[i] = -1;
	s.rng = (uint64_t)time(NULL) * 2 + 1;
	s.up_port = begin(&s.up, "upstream", none);
	s.link_port = begin(&s.link, "linkproxy", none);
	edge_port = begin(&s.edge, "linkproxy", none);
	TELL(s.link, "target 127.0.0.1:%u", s.up_port);
	snprintf(s.config, sizeof s.config,
		 "offline_admit = any\nack = relay\n[upstream]\nurl = ws://127.0.0.1:%u\nprobe_interval = 500ms\nbackoff_min = 100ms\n"
		 "backoff_max = 2s\nreconnect_rate = 500\n[buffer]\ncache_bytes = 256KiB\nmax_log_bytes = 1MiB\n[limits]\nhandshake_timeout = 3s\n",
		 s.link_port);
	if (!daemon_also(s.dir, "[holdfast]\nstatus_interval = 5s\n"))
		die("no configuration");
	start_daemon();
	snprintf(url, sizeof url, "ws://127.0.0.1:%u", edge_port);
	s.dev = child_start("client", dev_args);
	if (s.dev == NULL)
		die("the client does not start");
	TELL(s.dev, "fleet d %u path=/f%%d", s.nclient);
	TELL(s.dev, "connect *");
	settle();
}

static bool
tear_down(void)
{
	char command[400];
	bool ok = child_stop(s.dev);

	ok = daemon_stop(&s.d) && ok;
	ok = child_stop(s.edge) && child_stop(s.link) && child_stop(s.up) && ok;
	snprintf(command, sizeof command, "rm -rf %s", s.dir);
	return system(command) == 0 && ok;
}

int
main(int argc, char **argv)
{
	double minutes = argc > 1 ? atof(argv[1]) : 30, from, end;
	unsigned second = 0, restarts = 0;
	bool ok;

	s.nclient = argc > 2 ? (unsigned)atoi(argv[2]) : 500;
	if (minutes <= 0 || s.nclient == 0 || !daemon_is_built())
		die("usage: soak [MINUTES [CLIENTS]], where holdfast is built");
	set_up();
	from = now();
	end = from + minutes * 60;
	while (now() < end) {
		double next = from + ++second, third = from + minutes * 20, rest;

		bad_weather(second);
		if (restarts < 3 && now() > from + (third - from) * (restarts + 1) / 4) {
			end_daemon(restarts++ % 2 == 1);
			start_daemon();
		}
		if (s.long_from == 0 && now() > third)
			begin_long_life(now() - from);
		if (second % 10 == 0)
			sample(now() - from);
		rest = next - now();
		if (rest > 0)
			nanosleep(&(struct timespec){ .tv_nsec = (long)(rest < 0.999 ? rest * 1e9 : 999000000) }, NULL);
	}
	ok = judge(now() - from);
	ok = tear_down() && ok;
	printf("%d passed, %d failed\n", ok, !ok);
	return !ok;
}
