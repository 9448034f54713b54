/* What a client says is text: whatever it puts into paths, headers, queries and messages becomes no name of a file, no format and no line or
 * field of the log.  Against the whole daemon, with its log at level debug, its link DOWN and everybody admitted. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/peer/daemon.h"
#include "tests/peer/rawsock.h"

#define FORGED "\nts=2000-01-01T00:00:00.000Z level=error event=forged"
#define QUOTES "\" event=forged \\\" event=forged x=\""
#define FORMAT "%s%n%99999d%*s"
#define CLIMB "../../../../tmp/holdfast-forged"

static struct daemon d;

/* ---- what is in the folder ---- */

static int
by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names in the folder of the state, and those beside it, sorted, as one text. */
static void
names_here(char *text, size_t size)
{
	char path[500], *name[200];
	size_t n = 0, len = 0;

	for (int i = 0; i < 2; i++) {
		struct dirent *e;
		DIR *dir;

		snprintf(path, sizeof path, "%s%s", d.dir, i == 0 ? "" : "/state");
		dir = opendir(path);
		while (dir != NULL && n < sizeof name / sizeof name[0] && (e = readdir(dir)) != NULL)
			name[n++] = strdup(e->d_name);
		if (dir != NULL)
			closedir(dir);
	}
	qsort(name, n, sizeof name[0], by_name);
	for (size_t i = 0; i < n; free(name[i++]))
		len += (size_t)snprintf(text + len, size - len, "%s ", name[i]);
}

/* ---- what is in the log ---- */

/* A line that is ours begins with its time and has one event outside of quotes, and that is none of the client's making. */
static bool
line_is_ours(const char *line)
{
	unsigned events = 0;
	bool quoted = false;

	for (const char *p = line; *p != '\0'; p++) {
		if (quoted && *p == '\\' && p[1] != '\0')
			p++;
		else if (*p == '"')
			quoted = !quoted;
		else if (!quoted && strncmp(p, " event=", 7) == 0)
			events++;
		if (!quoted && strncmp(p, " event=forged", 13) == 0)
			return false;
	}
	return strncmp(line, "ts=", 3) == 0 && events == 1 && !quoted;
}

static unsigned
foreign_lines(void)
{
	char path[500], line[16384];
	unsigned n = 0, all = 0;
	FILE *f;

	snprintf(path, sizeof path, "%s/log", d.dir);
	f = fopen(path, "re");
	for (; f != NULL && fgets(line, sizeof line, f) != NULL; all++) {
		line[strcspn(line, "\n")] = '\0';
		if (line_is_ours(line))
			continue;
		n++;
		printf("# %s\n", line);
	}
	if (f != NULL)
		fclose(f);
	return all > 0 ? n : 1;
}

/* ---- what is said ---- */

static void
say(int fd, const char *head, const char *body)
{
	(void)rawsock_message(fd, head, body, strlen(body), 0);
}

/* A session for this path, and all that has a body; each message after one that ends the connection goes nowhere, so in several. */
static void
talk(const char *target, const char *headers, const char *path)
{
	static const struct {
		const char *before, *after;
	} last[] = { { "json_error 112 ", " 1" }, { "query 1 1 ", "" }, { "test_command 1 1 ", "" }, { FORMAT QUOTES, "" }, { "upload 1 0 ", " 0 0 0 0" } };
	char head[200];

	for (size_t i = 0; i < sizeof last / sizeof last[0]; i++) {
		int fd = rawsock_connect(d.port, NULL);

		(void)rawsock_upgrade(fd, target, headers);
		snprintf(head, sizeof head, "bind 1 %zu 0 0 0", strlen(path));
		say(fd, head, path);
		say(fd, "ident 1 7 7 0 0 0 0", "");
		say(fd, "mark 1 1", "");
		snprintf(head, sizeof head, "%s%zu%s", last[i].before, strlen(QUOTES FORGED), last[i].after);
		say(fd, head, QUOTES FORGED);
		say(fd, "ping 7 0", "");
		(void)rawsock_await(fd, "pong 7"); /* or it is closed: all is read */
		close(fd);
	}
}

TEST(what_a_client_says_is_text)
{
	static const char *const targets[] = { "/realm-sync", "/../../../etc/passwd", "/..%2f..%2f" FORMAT, "/a?x=" FORMAT "&baas_at=" FORMAT, "/\"event=forged" };
	static const char *const headers[] = { "", "User-Agent: " QUOTES FORMAT "\r\n", "Authorization: Bearer " FORMAT "\r\n", "X-" FORMAT ": " CLIMB "\r\n" };
	static const char *const paths[] = { "/p", CLIMB, "/" FORMAT, "/a" FORGED, "/" QUOTES, "/\x1b[2J\xff\x01" };
	char before[8192], after[8192];
	const char *dir;
	int fd;

	if (!daemon_is_built())
		SKIP("the daemon is not built");
	dir = harness_tmpdir();
	CHECK(daemon_also(dir, "[holdfast]\nlog_level = debug\nlog_burst = 0\n"));
	CHECK(daemon_start(&d, dir, "offline_admit = any\nack = relay\n[upstream]\nurl = ws://127.0.0.1:1\n"));
	CHECK(daemon_logged(&d, "state=down") != NULL);
	names_here(before, sizeof before);
	for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++)
		talk(targets[i], headers[i % (sizeof headers / sizeof headers[0])], paths[0]);
	for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++)
		talk(targets[0], headers[0], paths[i]);
	fd = rawsock_connect(d.port, NULL);
	CHECK_U64(rawsock_upgrade(fd, "/p", ""), 101);
	CHECK(rawsock_message(fd, "ping 7 0", "", 0, 0) && rawsock_await(fd, "pong 7"));
	close(fd);
	names_here(after, sizeof after);
	CHECK_STR(after, before);
	CHECK(access("/tmp/holdfast-forged", F_OK) != 0);
	CHECK_U64(foreign_lines(), 0);
	CHECK(daemon_stop(&d));
}
