/* Attacks a daemon with everything that costs memory at once, and holds its peak against the budget that it printed at its start.
 *
 * Meanwhile a good client is served: who reads or writes slowly hurts only itself. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/socket.h>

#include "tests/harness.h"
#include "tests/peer/daemon.h"
#include "tests/peer/rawsock.h"

#define SILENT 60
#define HALF 60
#define DEAF 40

static const char config[] = "offline_admit = any\n[upstream]\nurl = ws://127.0.0.1:1\n[buffer]\nspool_bytes = 1MiB\n[limits]\n"
			     "max_connections = 250\nmax_handshakes = 64\nmax_message = 1MiB\nmax_inflated = 1MiB\nmax_queued = 8MiB\n"
			     "max_sessions_total = 300\n";

static struct daemon d;

/* The number of MiB of a field of the line. */
static size_t
field(const char *line, const char *name)
{
	char key[64];
	const char *at;

	snprintf(key, sizeof key, " %s=", name);
	at = strstr(line, key);
	return at != NULL ? strtoul(at + strlen(key), NULL, 10) : 0;
}

static size_t
parts_of(const char *line)
{
	return field(line, "base_mib") + field(line, "connections_mib") + field(line, "sessions_mib") + field(line, "services_mib") +
	       field(line, "queued_mib") + field(line, "spool_mib") + field(line, "database_mib");
}

static int
client(void)
{
	int fd = rawsock_connect(d.port, NULL);

	return rawsock_upgrade(fd, "/p", "") == 101 ? fd : -1;
}

static bool
answers(int fd)
{
	return rawsock_message(fd, "ping 7 0", "", 0, 0) && rawsock_await(fd, "pong 7");
}

/* A message of 1 MiB of which the last byte never comes. */
static void
half(int fd)
{
	static char zeros[1 << 20];

	(void)rawsock_message(fd, "nonsense", zeros, sizeof zeros - 100, sizeof zeros);
}

/* Asks and asks, and never reads an answer, until the daemon does not read either. */
static void
deaf(int fd)
{
	char pings[4096];
	size_t n = 0;

	while (n + 32 < sizeof pings) { /* "ping 7 0" as a masked frame */
		static const uint8_t head[] = { 0x82, 0x80 | 9, 0, 0, 0, 0 };

		memcpy(pings + n, head, sizeof head);
		memcpy(pings + n + sizeof head, "ping 7 0\n", 9);
		n += sizeof head + 9;
	}
	for (int i = 0; i < 2000; i++) {
		ssize_t sent = send(fd, pings, n, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent != (ssize_t)n)
			break;
	}
}

TEST(attack_stays_below_the_budget)
{
	int fd[SILENT + HALF + DEAF], good, n = 0;
	const char *line;
	size_t budget, parts, peak;

	if (!daemon_is_built())
		SKIP("the daemon is not built");
	CHECK(daemon_start(&d, harness_tmpdir(), config));
	line = daemon_logged(&d, "event=memory_budget ");
	CHECK(line != NULL);
	budget = field(line, "total_mib");
	parts = parts_of(line);
	CHECK(parts <= budget && budget <= parts + 7); /* each is rounded down */
	CHECK_U64(field(line, "services_mib"), 0);
	CHECK(daemon_logged(&d, "state=down") != NULL);
	good = client();
	for (int i = 0; i < DEAF; i++)
		deaf(fd[n++] = client());
	for (int i = 0; i < HALF; i++)
		half(fd[n++] = client());
	for (int i = 0; i < SILENT; i++)
		fd[n++] = rawsock_connect(d.port, NULL);
	for (int i = 0; i < 20; i++)
		CHECK(answers(good));
	peak = daemon_peak(&d) / (1024 * 1024);
	printf("# peak %zu MiB, budget %zu MiB\n", peak, budget);
	CHECK(peak > 0 && (HARNESS_SANITIZED || peak <= budget));
	CHECK(daemon_logged(&d, "reason=\"more than max_queued is held") != NULL); /* the attack was one */
	CHECK(daemon_count(&d, "event=conn_closed") >= HALF - 8);
	while (n > 0)
		close(fd[--n]);
	CHECK(answers(good));
	close(good);
	CHECK(daemon_stop(&d));
}

/* What the App Services door costs: users and requests, those of apps and its own, for each upstream that has one. */
TEST(services_are_counted)
{
	static const char apps[] = "[upstream]\nurl = ws://127.0.0.1:1\napi_url = http://127.0.0.1:1\n[upstream b]\nurl = ws://127.0.0.1:1\n"
				   "api_url = https://127.0.0.1:1\n[upstream c]\nurl = ws://127.0.0.1:1\n[listener b]\naddress = 127.0.0.1:0\n"
				   "upstream = b\n[listener c]\naddress = 127.0.0.1:0\nupstream = c\n"
				   "[limits]\nmax_users = 2048\nmax_exchanges = 1016\nmax_token_exchanges = 8\n";
	const char *line;
	size_t budget;

	if (!daemon_is_built())
		SKIP("the daemon is not built");
	CHECK(daemon_start(&d, harness_tmpdir(), apps));
	line = daemon_logged(&d, "event=memory_budget ");
	CHECK(line != NULL);
	budget = field(line, "total_mib");
	CHECK_U64(field(line, "services_mib"), 2 * 6 + 100 + 140);
	CHECK(parts_of(line) <= budget && budget <= parts_of(line) + 7);
	CHECK(daemon_stop(&d));
}
