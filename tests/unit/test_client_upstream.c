/* The two peers against each other, without a relay between: devices of the client program exchange changesets through the
 * stand-in upstream, over cuts and kill -9, and both agree on every byte. What fails here would fail in any scenario. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/harness.h"
#include "tests/peer/child.h"

#define CHANGES_MAX 4096

struct change { /* one line of a report, whatever the report */
	uint64_t origin, client_version, len;
	char crc[16];
};

static struct child *upstream, *client;
static const char *dir;
static char url[64];

static void
start_client(void)
{
	const char *args[] = { "--url", url, "--state", dir, "--backoff-ms", "10-100", NULL };

	client = child_start("client", args);
}

/* Starts both; false: skipped. */
static bool
start(void)
{
	const char *line, *args[] = { NULL };

	dir = harness_tmpdir();
	if ((upstream = child_start("upstream", args)) == NULL || (line = child_line(upstream)) == NULL) {
		harness_skip("the peer programs are not built");
		return false;
	}
	snprintf(url, sizeof url, "ws://127.0.0.1:%s/realm-sync", line + strlen("port "));
	start_client();
	if (client == NULL)
		harness_skip("the client program is not built");
	return client != NULL;
}

static void
ask(struct child *c, const char *line, const char *want)
{
	const char *answer = child_ask(c, "%s", line);

	CHECK(answer != NULL);
	if (strncmp(answer, want, strlen(want)) != 0)
		CHECK_STR(answer, want);
}

static void
ask_all(const char *const *lines)
{
	for (; *lines != NULL && !harness_failed(); lines++)
		ask(client, *lines, "ok");
}

#define CLIENT(...) ask_all((const char *const[]){ __VA_ARGS__, NULL })

static void
stop(void)
{
	ask(client, "violations", "ok 0");
	ask(upstream, "violations", "ok 0");
	CHECK(child_stop(client));
	CHECK(child_stop(upstream));
}

/* Asks c for a report into a file and reads it: fields are the places (from 0) of origin, client version, length and CRC on a
 * line, -1 where the report has none. Returns the number of lines. */
static size_t
report(struct child *c, const char *command, const int fields[4], struct change *out)
{
	char path[512], line[1024], *word[8], *save, *p;
	size_t n = 0, i;
	FILE *f;

	snprintf(path, sizeof path, "%s/report", dir);
	if (child_ask(c, command, path) == NULL || (f = fopen(path, "r")) == NULL)
		return 0;
	for (; n < CHANGES_MAX && fgets(line, sizeof line, f) != NULL; n++) {
		memset(word, 0, sizeof word);
		for (i = 0, p = line; i < 8 && (word[i] = strtok_r(p, " \n", &save)) != NULL; i++, p = NULL)
			;
		out[n].origin = fields[0] >= 0 ? strtoull(word[fields[0]], NULL, 10) : 0;
		out[n].client_version = fields[1] >= 0 ? strtoull(word[fields[1]], NULL, 10) : 0;
		out[n].len = strtoull(word[fields[2]], NULL, 10);
		snprintf(out[n].crc, sizeof out[n].crc, "%s", word[fields[3]]);
	}
	fclose(f);
	return n;
}

/* What device `name` (file ident) wrote is what upstream has of it, and what the others wrote is what it received. */
static void
check_device(const char *name, uint64_t ident)
{
	static struct change dump[CHANGES_MAX], own[CHANGES_MAX], other[CHANGES_MAX];
	char command[64];
	size_t n, nown, nother, o = 0, r = 0;

	n = report(upstream, "dump %s", (const int[]){ 1, 2, 5, 6 }, dump);
	snprintf(command, sizeof command, "acked %s %%s", name);
	nown = report(client, command, (const int[]){ -1, 0, 1, 2 }, own);
	snprintf(command, sizeof command, "received %s %%s", name);
	nother = report(client, command, (const int[]){ 1, -1, 3, 2 }, other);
	for (size_t i = 0; i < n; i++) {
		const struct change *c = dump[i].origin == ident ? &own[o++] : &other[r++];

		CHECK(o <= nown && r <= nother);
		CHECK_U64(c->len, dump[i].len);
		CHECK_STR(c->crc, dump[i].crc);
		if (dump[i].origin == ident)
			CHECK_U64(c->client_version, dump[i].client_version);
		else
			CHECK_U64(c->origin, dump[i].origin);
	}
	CHECK_U64(o, nown);
	CHECK_U64(r, nother);
}

#define SETTLE "wait * idle 8000", "wait * downloaded 8000", "wait * idle 8000"

TEST(client_and_upstream_agree_on_every_byte)
{
	if (!start())
		return;
	CLIENT("device a path=/p", "connect a", "wait a bound 8000", "device b path=/p conn=two size=3000", "connect b", "write a 20",
	       "write b 20", SETTLE, "auto * 500 100", "cut *", "write * 10", SETTLE, "write a 1 size=1000000", "write b 3 mode=update",
	       "cut *", SETTLE);
	check_device("a", 2);
	check_device("b", 3);
	ask(upstream, "order", "ok 264");
	stop();
}

TEST(client_and_upstream_after_kill_9)
{
	if (!start())
		return;
	CLIENT("device a path=/p", "device b path=/p", "connect a", "wait a bound 8000", "connect b", "write * 20", SETTLE, "leave *",
	       "wait * disconnected 8000", "write * 30", "connect *", "wait * bound 8000");
	child_kill(client);
	start_client();
	CLIENT("device a path=/p", "device b path=/p", "connect *", "write * 5", SETTLE);
	check_device("a", 2);
	check_device("b", 3);
	ask(upstream, "order", "ok 110");
	stop();
}

TEST(client_and_upstream_reset)
{
	if (!start())
		return;
	CLIENT("device a path=/p", "connect a", "write a 3", SETTLE);
	ask(upstream, "reset", "ok");
	ask(client, "wait a error 8000", "ok");
	CHECK(strstr(child_ask(client, "status a"), " error=20") != NULL); /* 208 or 209 */
	ask(upstream, "violations forget", "ok");
	CLIENT("amnesia a", "connect a", "write a 3", SETTLE);
	stop();
}

TEST(client_and_upstream_fleet_through_cuts)
{
	if (!start())
		return;
	CLIENT("fleet d 100 path=/fleet/%d size=200", "connect *", "auto * 300 30");
	for (int i = 0; i < 10; i++) {
		ask(upstream, "cut all", "ok");
		ask(client, "wait * bound 8000", "ok");
	}
	CLIENT("wait * idle 10000");
	ask(client, "status *", "ok devices=100 bound=100 idle=100 writes=3000 acked=3000");
	ask(upstream, "order", "ok 3000");
	stop();
}
