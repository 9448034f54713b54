/* Tests relay/log (and the clock it reads): the exact bytes on stderr. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/harness.h"

#include "relay/clock.h"
#include "relay/log.h"

#define T0 1795422960123ULL /* 2026-11-23 08:36:00.123 UTC */
#define HEAD "ts=2026-11-23T08:36:00.123Z level=info event=test"

/* What was written to stderr between capture_begin and capture_end. */
static int saved_stderr, captured;
static char text[3 * LOG_LINE_MAX];

static void
capture_begin(void)
{
	char path[600];

	snprintf(path, sizeof(path), "%s/log", harness_tmpdir());
	captured = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	saved_stderr = dup(STDERR_FILENO);
	dup2(captured, STDERR_FILENO);
	clock_set(1, T0);
}

static const char *
capture_end(void)
{
	const off_t most = sizeof(text) - 1;
	struct stat st;
	ssize_t n;

	dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
	n = fstat(captured, &st) == 0 ? pread(captured, text, (size_t)most, st.st_size > most ? st.st_size - most : 0) : 0; /* its end */
	close(captured);
	text[n > 0 ? n : 0] = '\0';
	clock_real();
	return text;
}

TEST(fields)
{
	struct log_line l;

	capture_begin();
	log_begin(&l, LOG_INFO, "test");
	log_str(&l, "a", "127.0.0.1:7800");
	log_u64(&l, "b", UINT64_MAX);
	log_fmt(&l, "c", "%d of %d", 1, 2);
	log_view(&l, "d", view_of("x=y"));
	log_str(&l, "e", "");
	log_str(&l, "f", "007");
	log_end(&l);
	CHECK_STR(capture_end(), HEAD " a=127.0.0.1:7800 b=18446744073709551615 c=\"1 of 2\" d=\"x=y\" e=\"\" f=\"007\"\n");
}

/* The same line in the other formats: every escape, a quote within ready logfmt, a number, a text of digits, a line that was cut. */
static void
write_lines(void)
{
	struct log_line l;

	log_begin(&l, LOG_WARN, "test");
	log_str(&l, "a", "say \"hi\"\\ a=b\n\x01\x7f \xc3\xa4 \xff");
	log_str(&l, "b", "12");
	log_u64(&l, "c", UINT64_MAX);
	log_str(&l, "d", "");
	log_end(&l);
	log_event(LOG_INFO, "ready", "n=-5 reason=\"he said \"no\" twice\" m=007");
	log_begin(&l, LOG_INFO, "none");
	log_end(&l);
}

TEST(as_json)
{
	capture_begin();
	log_set_format(LOG_JSON);
	write_lines();
	log_set_format(LOG_LOGFMT);
	CHECK_STR(capture_end(),
		  "{\"ts\":\"2026-11-23T08:36:00.123Z\",\"level\":\"warn\",\"event\":\"test\","
		  "\"a\":\"say \\\"hi\\\"\\\\ a=b\\u000a\\u0001\\u007f \xc3\xa4 \\\\xff\",\"b\":\"12\",\"c\":18446744073709551615,\"d\":\"\"}\n"
		  "{\"ts\":\"2026-11-23T08:36:00.123Z\",\"level\":\"info\",\"event\":\"ready\",\"n\":\"-5\","
		  "\"reason\":\"he said \\\"no\\\" twice\",\"m\":\"007\"}\n"
		  "{\"ts\":\"2026-11-23T08:36:00.123Z\",\"level\":\"info\",\"event\":\"none\"}\n");
}

TEST(as_text)
{
	capture_begin();
	log_set_format(LOG_TEXT);
	write_lines();
	log_set_format(LOG_LOGFMT);
	CHECK_STR(capture_end(),
		  "2026-11-23 08:36:00.123Z warn  test a=\"say \\\"hi\\\"\\\\ a=b\\x0a\\x01\\x7f \xc3\xa4 \\xff\" b=\"12\" c=18446744073709551615 d=\"\"\n"
		  "2026-11-23 08:36:00.123Z info  ready n=-5 reason=\"he said \"no\" twice\" m=007\n"
		  "2026-11-23 08:36:00.123Z info  none\n");
}

/* The longest line that there can be, of the bytes that grow most. */
TEST(long_lines_in_other_formats)
{
	static char value[LOG_LINE_MAX];

	for (int json = 0; json < 2; json++) {
		struct log_line l;
		const char *line;

		memset(value, json ? 1 : 'v', sizeof(value) - 1);
		capture_begin();
		log_set_format(json ? LOG_JSON : LOG_TEXT);
		log_begin(&l, LOG_INFO, "test");
		log_view(&l, "long", (struct view){ (const uint8_t *)value, json ? 480 : LOG_LINE_MAX - 100 });
		while (!l.cut)
			log_u64(&l, "n", 1);
		log_end(&l);
		log_set_format(LOG_LOGFMT);
		line = capture_end();
		CHECK(strstr(line, json ? ",\"cut\":1}\n" : " cut=1\n") != NULL);
	}
}

static const struct escape_case {
	const char *in, *out;
} escapes[] = {
	{ "plain-text_1.2/3", "plain-text_1.2/3" },
	{ "two words", "\"two words\"" },
	{ "say \"hi\"\\", "\"say \\\"hi\\\"\\\\\"" },
	{ "a\nlevel=error\r\t\x1b[2J", "\"a\\x0alevel=error\\x0d\\x09\\x1b[2J\"" },
	{ "\x7f\x01", "\"\\x7f\\x01\"" },
	{ "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\"" },
	{ "\xc2\x85\xc2\x9b", "\"\\xc2\\x85\\xc2\\x9b\"" },	     /* C1: NEL, CSI */
	{ "\xc2\xa0", "\"\xc2\xa0\"" },
	{ "\xff\xfe\x80", "\"\\xff\\xfe\\x80\"" },
	{ "\xc0\xaf\xe0\x80\xaf", "\"\\xc0\\xaf\\xe0\\x80\\xaf\"" }, /* not the shortest form */
	{ "\xed\xa0\x80", "\"\\xed\\xa0\\x80\"" },		     /* a surrogate */
	{ "\xf4\x90\x80\x80", "\"\\xf4\\x90\\x80\\x80\"" },	     /* over U+10FFFF */
	{ "cut\xe2\x82", "\"cut\\xe2\\x82\"" },
};

TEST(escapes)
{
	for (size_t i = 0; i < sizeof(escapes) / sizeof(escapes[0]); i++) {
		char want[300];
		struct log_line l;

		capture_begin();
		log_begin(&l, LOG_INFO, "test");
		log_str(&l, "v", escapes[i].in);
		log_end(&l);
		snprintf(want, sizeof(want), HEAD " v=%s\n", escapes[i].out);
		CHECK_STR(capture_end(), want);
	}
}

TEST(levels)
{
	struct log_line l;

	capture_begin();
	log_set_level(LOG_WARN);
	log_event(LOG_INFO, "no", "a=1");
	log_event(LOG_WARN, "yes", "a=%d", 1);
	log_begin(&l, LOG_DEBUG, "no");
	log_str(&l, "a", "b");
	log_end(&l);
	CHECK(!log_enabled(LOG_INFO) && log_enabled(LOG_ERROR));
	log_set_level(LOG_DEBUG);
	log_event(LOG_DEBUG, "deep", "a=%s", "x\ny");
	log_set_level(LOG_INFO);
	CHECK_STR(capture_end(), "ts=2026-11-23T08:36:00.123Z level=warn event=yes a=1\n"
				 "ts=2026-11-23T08:36:00.123Z level=debug event=deep a=x?y\n");
}

/* A line is cut between fields, never within one, whatever the length. */
TEST(long_lines_are_cut_at_a_field)
{
	static char value[LOG_LINE_MAX + 100];

	memset(value, 'v', sizeof(value) - 1);
	for (size_t len = LOG_LINE_MAX - 150; len < sizeof(value); len++) {
		struct log_line l;
		const char *line;
		size_t n;
		bool cut;

		capture_begin();
		log_begin(&l, LOG_INFO, "test");
		log_view(&l, "long", (struct view){ (const uint8_t *)value, len });
		log_str(&l, "last", "1");
		log_end(&l);
		line = capture_end();
		n = strlen(line);
		cut = strstr(line, " cut=1\n") != NULL;
		CHECK(n <= LOG_LINE_MAX && line[n - 1] == '\n');
		CHECK(cut || strstr(line, "v last=\"1\"\n") != NULL);
		CHECK(strstr(line, " long=v") == NULL || strstr(line, "v cut=1\n") != NULL || !cut);
		if (len >= LOG_LINE_MAX)
			CHECK_STR(line, HEAD " cut=1\n");
	}
}

TEST(errno_is_kept)
{
	capture_begin();
	errno = EPERM;
	log_event(LOG_INFO, "test", "a=1");
	close(STDERR_FILENO); /* writing fails */
	log_event(LOG_INFO, "test", "a=2");
	CHECK_U64(errno, EPERM);
	capture_end();
}

/* Runs PANIC or log_fatal in a child; returns its wait status. */
static int
in_child(bool panic)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		if (panic)
			log_panic("x.c", 7, "two and two is five");
		log_fatal("cannot_start", "reason=%d", 5);
	}
	waitpid(pid, &status, 0);
	return status;
}

TEST(panic_aborts)
{
	int status;

	capture_begin();
	status = in_child(true);
	CHECK_STR(capture_end(), "ts=2026-11-23T08:36:00.123Z level=error event=panic at=x.c:7 what=\"two and two is five\"\n");
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

TEST(fatal_exits_with_1)
{
	int status;

	capture_begin();
	status = in_child(false);
	CHECK_STR(capture_end(), "ts=2026-11-23T08:36:00.123Z level=error event=cannot_start reason=5\n");
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 1);
}

static atomic_uint chatted;

static void *
chatter(void *arg)
{
	(void)arg;
	for (;; chatted++)
		log_event(LOG_INFO, "test", "a=1");
	return NULL;
}

/* Whoever looks for the reason of an end finds it in the last line. */
TEST(nothing_is_said_after_a_fatal)
{
	const char *said, *last;
	pthread_t thread;
	int status = 0;
	pid_t pid;

	capture_begin();
	pid = fork();
	if (pid == 0) {
		if (pthread_create(&thread, NULL, chatter, NULL) == 0)
			while (chatted < 10)
				sched_yield();
		log_fatal("cannot_go_on", "reason=%d", 5);
	}
	waitpid(pid, &status, 0);
	said = capture_end();
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 1);
	last = strstr(said, "event=cannot_go_on");
	CHECK(last != NULL && last - said > 200); /* the other one had been at it */
	CHECK_STR(strchr(last, '\n'), "\n");
}

/* The other half of journal_prefix: this program once more, with its stderr announced as the journal. */
TEST(journal_child)
{
	if (getenv("JOURNAL_STREAM") == NULL)
		return;
	clock_set(1, T0);
	log_event(LOG_WARN, "test", "a=1");
	log_event(LOG_ERROR, "test", "a=2");
	clock_real();
}

/* Under systemd the level is at the front, for the journal. */
TEST(journal_prefix)
{
	char env[100];
	struct stat st;
	pid_t pid;

	if (getenv("JOURNAL_STREAM") != NULL)
		return;
	capture_begin();
	fstat(STDERR_FILENO, &st);
	snprintf(env, sizeof(env), "%llu:%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
	pid = fork();
	if (pid == 0) {
		setenv("JOURNAL_STREAM", env, 1);
		setenv("TEST_FILTER", "journal_child", 1);
		dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), STDOUT_FILENO);
		execl("/proc/self/exe", "test_log", (char *)NULL);
		_exit(1);
	}
	waitpid(pid, NULL, 0);
	CHECK_STR(capture_end(), "<4>ts=2026-11-23T08:36:00.123Z level=warn event=test a=1\n"
				 "<3>ts=2026-11-23T08:36:00.123Z level=error event=test a=2\n");
}

/* Three of an event in a window, the rest are counted and told; errors, debug lines and other events are not touched. */
TEST(flood)
{
	capture_begin();
	log_tick(); /* what errno_is_kept lost */
	capture_end();
	capture_begin();
	log_set_burst(3);
	log_set_level(LOG_DEBUG);
	for (int i = 0; i < 5; i++) {
		log_event(LOG_INFO, "often", "i=%d", i);
		log_event(LOG_DEBUG, "often", "d=%d", i);
	}
	log_event(LOG_ERROR, "often", "a=1");
	log_event(LOG_INFO, "other", "a=1");
	log_tick();
	clock_advance(LOG_WINDOW_MS);
	log_tick();
	log_event(LOG_INFO, "often", "i=9");
	log_tick();
	log_set_burst(0);
	log_set_level(LOG_INFO);
#define AT(s) "ts=2026-11-23T08:36:" s "Z level="
	CHECK_STR(capture_end(),
		  AT("00.123") "info event=often i=0\n" AT("00.123") "debug event=often d=0\n" AT("00.123") "info event=often i=1\n"
		  AT("00.123") "debug event=often d=1\n" AT("00.123") "info event=often i=2\n" AT("00.123") "debug event=often d=2\n"
		  AT("00.123") "debug event=often d=3\n" AT("00.123") "debug event=often d=4\n" AT("00.123") "error event=often a=1\n"
		  AT("00.123") "info event=other a=1\n" AT("10.123") "warn event=suppressed of=often lines=2\n" AT("10.123") "info event=often i=9\n");
}

TEST(clock_stands_still_when_set)
{
	clock_set(1000, 5000);
	CHECK_U64(clock_ms(), 1000);
	CHECK_U64(clock_wall_ms(), 5000);
	clock_advance(250);
	CHECK_U64(clock_ms(), 1250);
	CHECK_U64(clock_now_ms(), 1250);
	CHECK_U64(clock_wall_now_ms(), 5250);
	clock_real();
	CHECK(clock_wall_ms() > 1600000000000ULL);
}

/* The last test, for there is no way back.  Rotation: moved away, opened anew; errors go to both; what cannot be opened changes nothing. */
TEST(file)
{
	char path[600], old[610], text2[600];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/a.log", harness_tmpdir());
	snprintf(old, sizeof(old), "%s.1", path);
	CHECK(log_reopen() && !log_has_file());
	CHECK(!log_to_file("/nonexistent/a.log") && !log_has_file());
	CHECK(log_to_file(path) && log_has_file());
	capture_begin();
	log_event(LOG_INFO, "one", "a=1");
	CHECK(rename(path, old) == 0);
	log_event(LOG_INFO, "two", "a=2");
	CHECK(log_reopen());
	log_event(LOG_ERROR, "three", "a=3");
	CHECK_STR(capture_end(), "ts=2026-11-23T08:36:00.123Z level=error event=three a=3\n");
	fd = open(old, O_RDONLY | O_CLOEXEC);
	n = read(fd, text2, sizeof(text2) - 1);
	close(fd);
	text2[n > 0 ? n : 0] = '\0';
	CHECK_STR(text2, "ts=2026-11-23T08:36:00.123Z level=info event=one a=1\nts=2026-11-23T08:36:00.123Z level=info event=two a=2\n");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = read(fd, text2, sizeof(text2) - 1);
	close(fd);
	text2[n > 0 ? n : 0] = '\0';
	CHECK_STR(text2, "ts=2026-11-23T08:36:00.123Z level=error event=three a=3\n");
}
