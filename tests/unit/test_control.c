/* Tests relay/control, json and word: the language of the socket, its bounds, and what a broken or greedy tool cannot do. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <event2/event.h>

#include "tests/harness.h"
#include "tests/storekit.h"

#include "relay/admin.h"
#include "relay/clock.h"
#include "relay/control.h"
#include "relay/journal.h"
#include "relay/json.h"
#include "relay/options.h"
#include "relay/relay.h"
#include "relay/spool.h"
#include "relay/word.h"

/* ---- words and JSON ---- */

TEST(words)
{
	static const struct {
		const char *line;
		int n;
		const char *last;
	} rows[] = {
		{ "a", 1, "a" },	   { "a b c", 3, "c" },	 { "a %", 2, "" },	{ "%20%25%0a", 1, " %\n" }, { "a  b", -1, NULL },
		{ "", -1, NULL },	   { " a", -1, NULL },	 { "a ", -1, NULL },	{ "%2", -1, NULL },	    { "%zz", -1, NULL },
		{ "a%00b", -1, NULL },	   { "a\tb", -1, NULL }, { "\xc3\xa4", -1, NULL }, { "%C3%a4", 1, "\xc3\xa4" }, { "1 2 3 4 5", -1, NULL },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char line[64], again[256];
		const char *w[4];
		int n;

		snprintf(line, sizeof(line), "%s", rows[i].line);
		n = word_split(line, w, 4);
		CHECK(n == rows[i].n);
		if (n > 0) {
			CHECK_STR(w[n - 1], rows[i].last);
			word_escape(again, rows[i].last);
			CHECK_U64(word_split(again, w, 4), 1);
			CHECK_STR(w[0], rows[i].last);
		}
	}
}

TEST(word_numbers)
{
	uint64_t n;

	CHECK(word_number("18446744073709551615", &n) && n == UINT64_MAX);
	CHECK(word_number("0", &n) && n == 0);
	CHECK(!word_number("18446744073709551616", &n));
	CHECK(!word_number("", &n));
	CHECK(!word_number("-1", &n));
	CHECK(!word_number("1x", &n));
}

TEST(json_there_and_back)
{
	static const char *const strings[] = { "", "plain", "q\"b\\s/", "\n\t\x01\x7f", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80" };
	struct json j = { 0 };
	struct json_object o;

	json_begin(&j);
	for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++)
		json_str(&j, strings[i], strings[i]);
	json_u64(&j, "n", UINT64_MAX);
	json_bool(&j, "b", true);
	json_end(&j);
	CHECK(!j.failed);
	CHECK(strchr(j.text, '\n') == j.text + j.len - 1);
	CHECK(json_parse(j.text, &o));
	for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++) {
		CHECK_STR(o.field[i].key, strings[i]);
		CHECK_STR(o.field[i].value, strings[i]);
		CHECK(o.field[i].is_string);
	}
	CHECK_U64(json_get_u64(&o, "n"), UINT64_MAX);
	CHECK(json_get_bool(&o, "b"));
	CHECK(json_get(&o, "none") == NULL);
	CHECK_U64(json_get_u64(&o, "plain"), 0);
	json_free(&j);
}

TEST(json_is_always_utf8)
{
	static const char *const bad[] = { "\xff", "a\xc3", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\x80x", "\xe2\x82" };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct json j = { 0 };

		json_begin(&j);
		json_str(&j, "k", bad[i]);
		json_end(&j);
		CHECK(strstr(j.text, "\xef\xbf\xbd") != NULL);
		CHECK(strchr(j.text, '\xff') == NULL && strchr(j.text, '\xc0') == NULL);
		json_free(&j);
	}
}

TEST(json_refused)
{
	static const char *const bad[] = { "", "{", "}", "[]", "{\"a\"}", "{\"a\":}", "{\"a\":1", "{\"a\":\"b}", "{\"a\":1}x", "{a:1}", "{\"a\":1,}",
		"{\"a\":\"\\", "{\"a\":\"\\u12\"}", "{\"a\":\"\\x\"}", "{\"a\":{}}", "{\"a\":1 \"b\":2}", "{\"a\":\"\x01\"}" };
	struct json_object o;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char *copy = strdup(bad[i]); /* so that a sanitizer sees a step too far */

		CHECK(!json_parse(copy, &o));
		free(copy);
	}
	for (size_t cut = 0; cut < 40; cut++) {
		char *copy = strndup("{ \"a\" : \"x\\u00e4\\n\" , \"b\" : 12, \"c\":true }", cut);

		CHECK(!json_parse(copy, &o));
		free(copy);
	}
}

/* ---- the socket ---- */

struct rig {
	struct relay relay;
	struct options opt;
	char path[256];
};

static void
changed(void *arg)
{
	(void)arg;
}

static void
rig_open(struct rig *g)
{
	const char *dir = harness_tmpdir();
	char state[200], file[256], why[512];
	struct store *s;

	signal(SIGPIPE, SIG_IGN); /* as the daemon does: a client may be gone when it is answered */
	memset(g, 0, sizeof(*g));
	options_defaults(&g->opt);
	g->relay.opt = &g->opt;
	TAILQ_INIT(&g->relay.conns);
	snprintf(state, sizeof(state), "%s/s", dir);
	snprintf(file, sizeof(file), "%s/j", dir);
	snprintf(g->path, sizeof(g->path), "%s/control", dir);
	s = kit_open(state);
	CHECK(s != NULL);
	g->relay.base = event_base_new();
	g->relay.spool = spool_new(g->relay.base, s, journal_open(file, why, sizeof(why)), changed, NULL);
	CHECK(g->relay.spool != NULL);
	g->relay.control = control_open(&g->relay, g->path, "", why, sizeof(why));
	CHECK(g->relay.control != NULL);
}

static void
rig_close(struct rig *g)
{
	struct stat st;

	g->relay.stopping = true;
	control_close(g->relay.control);
	while (spool_queued(g->relay.spool) > 0)
		event_base_loop(g->relay.base, EVLOOP_ONCE);
	spool_free(g->relay.spool);
	event_base_free(g->relay.base);
	options_free(&g->opt);
	CHECK(lstat(g->path, &st) != 0);
}

static int
dial(const struct rig *g)
{
	struct sockaddr_un sun;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || !control_address(g->path, &sun) || connect(fd, (struct sockaddr *)&sun, sizeof(sun)) != 0)
		return -1;
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

/* Lets the loop run until the connection has said upto (or ended, upto NULL); what it said so far is in out. */
static bool
hear(struct rig *g, int fd, const char *upto, char *out, size_t out_len)
{
	uint64_t end = clock_now_ms() + 10000;
	size_t len = 0;

	out[0] = '\0';
	while (clock_now_ms() < end) {
		ssize_t n;

		event_base_loop(g->relay.base, EVLOOP_NONBLOCK);
		n = recv(fd, out + len, out_len - 1 - len, 0);
		if (n > 0) {
			len += (size_t)n;
			out[len] = '\0';
		}
		if (upto != NULL && strstr(out, upto) != NULL)
			return true;
		if (n == 0 || (n < 0 && errno == ECONNRESET))
			return upto == NULL;
		if (n < 0) {
			struct pollfd p = { .fd = fd, .events = POLLIN };

			poll(&p, 1, 1);
		}
	}
	printf("# heard: %s\n", out);
	return false;
}

/* Sends all, with the loop running. */
static void
tell(struct rig *g, int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len > 0) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

		event_base_loop(g->relay.base, EVLOOP_NONBLOCK);
		if (n < 0 && errno != EAGAIN)
			return;
		if (n > 0) {
			p += n;
			len -= (size_t)n;
		}
	}
}

static const char dialogue[] = "version\nbuffer stat\nfrobnicate\nbuffer frobnicate\nbuffer files x\nbuffer files 0\nbuffer file 7\nbuffer\n";
static const char *const answers[] = { "\"name\":\"holdfast\"", "\"files\":0,", "unknown command", "unknown buffer command", "a number is malformed",
	"{\"next\":0,\"status\":\"ok\"}\n", "no such file", "unknown buffer command\"}\n" };

static void
check_dialogue(struct rig *g, int fd)
{
	static char out[65536];
	const char *at = out;

	CHECK(hear(g, fd, "no such file\"}\n{\"status\":\"error\",\"error\":\"unknown buffer command\"}\n", out, sizeof(out)));
	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		at = strstr(at, answers[i]);
		CHECK(at != NULL);
	}
}

TEST(dialogue_whole_bytewise_and_split)
{
	struct rig g;
	size_t len = sizeof(dialogue) - 1;
	int fd;

	rig_open(&g);
	CHECK(!harness_failed());
	fd = dial(&g);
	tell(&g, fd, dialogue, len);
	check_dialogue(&g, fd);
	for (size_t i = 0; i < len; i++)
		tell(&g, fd, dialogue + i, 1);
	check_dialogue(&g, fd);
	for (size_t at = 1; at < len; at++) {
		tell(&g, fd, dialogue, at);
		tell(&g, fd, dialogue + at, len - at);
		check_dialogue(&g, fd);
		CHECK(!harness_failed());
	}
	close(fd);
	rig_close(&g);
}

TEST(socket_is_private)
{
	struct rig g;
	struct stat st;

	rig_open(&g);
	CHECK(!harness_failed());
	CHECK_U64(lstat(g.path, &st), 0);
	CHECK(S_ISSOCK(st.st_mode));
	CHECK_U64(st.st_mode & 07777, 0600);
	rig_close(&g);
}

TEST(overlong_and_malformed)
{
	static const char *const lines[] = { "version %\n%zz\n", "a\tb\n", "\n", "version +0\n", "+5\n", "buffer unmark 1 2 +99999999999\n", "a\x80\n",
		"1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n" };
	char *line = malloc(2 * CONTROL_LINE_MAX), out[4096];
	struct rig g;
	int fd;

	rig_open(&g);
	CHECK(!harness_failed());
	memset(line, 'a', 2 * CONTROL_LINE_MAX);
	fd = dial(&g);
	tell(&g, fd, line, CONTROL_LINE_MAX + 1); /* no newline in sight */
	CHECK(hear(&g, fd, NULL, out, sizeof(out)));
	CHECK(strstr(out, "the line is too long") != NULL);
	close(fd);
	free(line);
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		fd = dial(&g);
		tell(&g, fd, lines[i], strlen(lines[i]));
		CHECK(hear(&g, fd, NULL, out, sizeof(out)));
		CHECK(strstr(out, "\"status\":\"error\",\"error\":\"malformed") != NULL);
		close(fd);
	}
	rig_close(&g);
}

TEST(many_connections)
{
	struct rig g;
	int fd[CONTROL_CONNS + 1];
	char out[4096];

	rig_open(&g);
	CHECK(!harness_failed());
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < CONTROL_CONNS; i++) {
			fd[i] = dial(&g);
			tell(&g, fd[i], "version\n", 8);
			CHECK(hear(&g, fd[i], "\"ok\"}\n", out, sizeof(out)));
		}
		fd[CONTROL_CONNS] = dial(&g);
		CHECK(hear(&g, fd[CONTROL_CONNS], NULL, out, sizeof(out)));
		CHECK(strstr(out, "too many connections") != NULL);
		close(fd[CONTROL_CONNS]);
		for (int i = 0; i < CONTROL_CONNS; i++)
			tell(&g, fd[i], "buffer stat\n", 12);
		for (int i = 0; i < CONTROL_CONNS; i++) {
			CHECK(hear(&g, fd[i], "\"ok\"}\n", out, sizeof(out)));
			close(fd[i]);
		}
		for (int i = 0; i < 20; i++)
			event_base_loop(g.relay.base, EVLOOP_NONBLOCK);
	}
	rig_close(&g);
}

/* A tool that goes away while the committer is at its request. */
TEST(gone_while_busy)
{
	struct rig g;

	rig_open(&g);
	CHECK(!harness_failed());
	for (int i = 0; i < 50; i++) {
		int fd = dial(&g);

		tell(&g, fd, "buffer backup-begin\n", 20);
		close(fd);
		event_base_loop(g.relay.base, EVLOOP_NONBLOCK);
	}
	rig_close(&g);
}

TEST(one_backup_and_it_ends_with_its_connection)
{
	struct rig g;
	char out[4096];
	int a, b;

	rig_open(&g);
	CHECK(!harness_failed());
	a = dial(&g);
	b = dial(&g);
	tell(&g, a, "buffer backup-begin\n", 20);
	CHECK(hear(&g, a, "\"ok\"}\n", out, sizeof(out)));
	tell(&g, b, "buffer backup-begin\n", 20);
	CHECK(hear(&g, b, "another backup is being made", out, sizeof(out)));
	tell(&g, b, "buffer backup-end\n", 18);
	CHECK(hear(&g, b, "begin a backup first", out, sizeof(out)));
	tell(&g, a, "buffer backup-read ../meta.db 0\n", 32);
	CHECK(hear(&g, a, "\"error\"", out, sizeof(out)));
	close(a);
	for (int i = 0; i < 20; i++)
		event_base_loop(g.relay.base, EVLOOP_NONBLOCK);
	tell(&g, b, "buffer backup-begin\n", 20);
	CHECK(hear(&g, b, "\"ok\"}\n", out, sizeof(out)));
	close(b);
	rig_close(&g);
}

/* Data: arrives in pieces; only one connection may send any; what is no record is refused. */
TEST(data)
{
	static const char lease[] = "00112233445566778899aabbccddeeff";
	uint8_t packed[STORE_PACK_FILE_MAX];
	struct store_file f = kit_file(1);
	size_t len;
	struct rig g;
	char line[128], out[4096];
	int a, b;

	rig_open(&g);
	CHECK(!harness_failed());
	f.id = 1;
	len = store_pack_file(packed, sizeof(packed), &f);
	a = dial(&g);
	b = dial(&g);
	snprintf(line, sizeof(line), "buffer import-begin %s\n", lease);
	tell(&g, a, line, strlen(line));
	CHECK(hear(&g, a, "\"ok\"}\n", out, sizeof(out)));
	snprintf(line, sizeof(line), "buffer import-file %s +%zu\n", lease, len);
	tell(&g, a, line, strlen(line));
	for (size_t i = 0; i + 1 < len; i++)
		tell(&g, a, packed + i, 1);
	for (int i = 0; i < 20; i++)
		event_base_loop(g.relay.base, EVLOOP_NONBLOCK);
	tell(&g, b, line, strlen(line));
	CHECK(hear(&g, b, NULL, out, sizeof(out)));
	CHECK(strstr(out, "busy") != NULL);
	close(b);
	tell(&g, a, packed + len - 1, 1);
	CHECK(hear(&g, a, "{\"id\":1,\"status\":\"ok\"}\n", out, sizeof(out)));
	packed[20] ^= 1;
	tell(&g, a, line, strlen(line));
	tell(&g, a, packed, len);
	CHECK(hear(&g, a, "not one file record, or damaged", out, sizeof(out)));
	tell(&g, a, "buffer stat +3\nabc", 18);
	CHECK(hear(&g, a, "wrong number of arguments", out, sizeof(out)));
	/* it may go away in the middle */
	tell(&g, a, line, strlen(line));
	close(a);
	for (int i = 0; i < 20; i++)
		event_base_loop(g.relay.base, EVLOOP_NONBLOCK);
	a = dial(&g);
	snprintf(line, sizeof(line), "buffer import-done %s\n", lease);
	tell(&g, a, line, strlen(line));
	CHECK(hear(&g, a, "\"ok\"}\n", out, sizeof(out)));
	snprintf(line, sizeof(line), "buffer import-begin %s\n", lease);
	tell(&g, a, line, strlen(line));
	CHECK(hear(&g, a, "imported here before", out, sizeof(out)));
	close(a);
	rig_close(&g);
}

/* A socket that a killed process left is replaced; one that lives is not, nor is a file. */
TEST(left_behind)
{
	struct rig g, other;
	char why[512], stale[300];
	struct sockaddr_un sun;
	struct control *ct;
	int fd;

	rig_open(&g);
	CHECK(!harness_failed());
	other = g;
	CHECK(control_open(&other.relay, g.path, "", why, sizeof(why)) == NULL);
	CHECK(strstr(why, "another process listens") != NULL);
	snprintf(stale, sizeof(stale), "%s.stale", g.path);
	CHECK(control_address(stale, &sun));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK_U64(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	close(fd);
	ct = control_open(&g.relay, stale, "", why, sizeof(why));
	CHECK(ct != NULL);
	control_close(ct);
	fd = open(stale, O_WRONLY | O_CREAT, 0600);
	close(fd);
	CHECK(control_open(&g.relay, stale, "", why, sizeof(why)) == NULL);
	CHECK(strstr(why, "no socket") != NULL);
	memset(stale, 'x', sizeof(stale) - 1);
	stale[sizeof(stale) - 1] = '\0';
	CHECK(control_open(&g.relay, stale, "", why, sizeof(why)) == NULL);
	rig_close(&g);
}
