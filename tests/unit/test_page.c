/* The monitor's page in a real browser: headless Chromium, driven through a pipe by its DevTools protocol.  What it shows, that it keeps itself up
 * to date, both colour schemes, a phone; the screenshots are left in obj/screenshots of the build folder, for people.
 *
 * Without Chromium it is skipped.  CHROMIUM names another one. */
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "tests/harness.h"
#include "tests/peer/daemon.h"
#include "tests/storekit.h"

#include "relay/control.h"

#define DEADLINE_MS 60000
#define STEP_MS 50

static struct {
	pid_t pid; /* 0: none */
	int to, from;
	unsigned id;
	char session[128];
	char *text; /* what has arrived, NUL terminated messages; owned */
	size_t len, cap;
	char *answer; /* the last one; owned */
	unsigned faults; /* errors that the page's console has */
} b;

static void
breathe(void)
{
	nanosleep(&(struct timespec){ 0, STEP_MS * 1000000L }, NULL);
}

/* ---- the browser ---- */

static const char *
program(void)
{
	static const char *const names[] = { "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome" };
	const char *given = getenv("CHROMIUM");

	if (given != NULL)
		return given;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (access(names[i], X_OK) == 0)
			return names[i];
	return NULL;
}

static bool
browser_start(const char *path)
{
	const char *home = harness_tmpdir();
	char profile[600];
	int in[2], out[2];

	snprintf(profile, sizeof(profile), "--user-data-dir=%s", home);
	if (pipe(in) != 0 || pipe(out) != 0)
		return false;
	fflush(NULL);
	b.pid = fork();
	if (b.pid == 0) {
		int null = open("/dev/null", O_RDWR), to = fcntl(in[0], F_DUPFD, 10), from = fcntl(out[1], F_DUPFD, 10);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		setenv("HOME", home, 1);
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
		dup2(to, 3);
		dup2(from, 4);
		for (int fd = 5; fd < 64; fd++)
			close(fd);
		execl(path, path, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
		      "--disable-extensions", "--disable-background-networking", "--remote-debugging-pipe", profile, "about:blank", (char *)NULL);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	b.to = in[1];
	b.from = out[0];
	return b.pid > 0;
}

/* The next message is at b.text; false: none came in time, or it ended. */
static bool
have_message(int *left_ms)
{
	struct pollfd p = { .fd = b.from, .events = POLLIN };
	ssize_t n;

	while (b.len == 0 || memchr(b.text, '\0', b.len) == NULL) {
		if (b.cap - b.len < 65536) {
			b.cap = 2 * b.cap + 131072;
			b.text = realloc(b.text, b.cap);
			if (b.text == NULL)
				abort();
		}
		if (*left_ms <= 0)
			return false;
		if (poll(&p, 1, STEP_MS) == 0) {
			*left_ms -= STEP_MS;
			continue;
		}
		n = read(b.from, b.text + b.len, b.cap - b.len);
		if (n <= 0)
			return false;
		b.len += (size_t)n;
	}
	return true;
}

/* Asks, and returns the answer as text (until the next call), or "" and a failed test.  params: a JSON object. */
static const char *
ask(const char *method, const char *params)
{
	char head[400], mine[32];
	int left_ms = DEADLINE_MS;
	bool found = false;

	b.id++;
	snprintf(head, sizeof(head), "{\"id\":%u,%s%s%s\"method\":\"%s\",\"params\":", b.id, b.session[0] != '\0' ? "\"sessionId\":\"" : "", b.session,
		 b.session[0] != '\0' ? "\"," : "", method);
	if (write(b.to, head, strlen(head)) < 0 || write(b.to, params, strlen(params)) < 0 || write(b.to, "}", 2) < 0)
		left_ms = 0;
	snprintf(mine, sizeof(mine), "{\"id\":%u,", b.id);
	while (!found && have_message(&left_ms)) {
		size_t n = strlen(b.text) + 1;

		b.faults += strstr(b.text, "Runtime.exceptionThrown") != NULL || strstr(b.text, "\"level\":\"error\"") != NULL;
		found = strncmp(b.text, mine, strlen(mine)) == 0;
		if (found) {
			free(b.answer);
			b.answer = strdup(b.text);
		}
		memmove(b.text, b.text + n, b.len - n);
		b.len -= n;
	}
	if (!found || b.answer == NULL || strstr(b.answer, "\"error\":{") != NULL) {
		harness_fail(__FILE__, __LINE__, "%s: %.300s", method, found && b.answer != NULL ? b.answer : "no answer");
		return "";
	}
	return b.answer;
}

/* The string behind "key":" in an answer, its escapes as they are, in out. */
static void
pick(const char *answer, const char *key, char *out, size_t len)
{
	char mark[64];
	const char *p;
	size_t n;

	snprintf(mark, sizeof(mark), "\"%s\":\"", key);
	p = strstr(answer, mark);
	p = p != NULL ? p + strlen(mark) : "";
	n = strcspn(p, "\"");
	snprintf(out, len, "%.*s", (int)n, p);
}

/* A string that the page computes, without quotes in it. */
static const char *
evaluate(const char *expression)
{
	static char value[2048];
	char params[2048];

	snprintf(params, sizeof(params), "{\"expression\":\"String(%s)\",\"returnByValue\":true}", expression);
	pick(ask("Runtime.evaluate", params), "value", value, sizeof(value));
	return value;
}

/* Waits until it contains text. */
static bool
becomes(const char *expression, const char *text)
{
	const char *is = "";

	for (int waited = 0; waited < DEADLINE_MS && !harness_failed(); waited += STEP_MS) {
		is = evaluate(expression);
		if (strstr(is, text) != NULL)
			return true;
		breathe();
	}
	harness_fail(__FILE__, __LINE__, "%s: got \"%s\", want \"%s\" in it", expression, is, text);
	return false;
}

static void
open_tab(unsigned port)
{
	char params[200], target[128];

	pick(ask("Target.createTarget", "{\"url\":\"about:blank\"}"), "targetId", target, sizeof(target));
	snprintf(params, sizeof(params), "{\"targetId\":\"%s\",\"flatten\":true}", target);
	pick(ask("Target.attachToTarget", params), "sessionId", b.session, sizeof(b.session));
	ask("Runtime.enable", "{}");
	ask("Log.enable", "{}");
	snprintf(params, sizeof(params), "{\"url\":\"http://127.0.0.1:%u/\"}", port);
	ask("Page.navigate", params);
}

static void
look_like(const char *scheme, unsigned width, unsigned height)
{
	char params[300];

	snprintf(params, sizeof(params), "{\"features\":[{\"name\":\"prefers-color-scheme\",\"value\":\"%s\"}]}", scheme);
	ask("Emulation.setEmulatedMedia", params);
	snprintf(params, sizeof(params), "{\"width\":%u,\"height\":%u,\"deviceScaleFactor\":1,\"mobile\":%s}", width, height, width < 500 ? "true" : "false");
	ask("Emulation.setDeviceMetricsOverride", params);
}

static void
screenshot(const char *name)
{
	char self[PATH_MAX] = "", path[PATH_MAX + 64];
	const char *answer, *p;
	unsigned char *png;
	size_t len;
	FILE *f;
	int n;

	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		return;
	snprintf(path, sizeof(path), "%s/../../screenshots", dirname(self));
	mkdir(path, 0777);
	snprintf(path, sizeof(path), "%s/../../screenshots/%s.png", self, name); /* dirname has cut self */
	answer = ask("Page.captureScreenshot", "{\"format\":\"png\"}");
	p = strstr(answer, "\"data\":\"");
	CHECK(p != NULL);
	p += strlen("\"data\":\"");
	len = strcspn(p, "\"");
	png = malloc(len + 4);
	CHECK(png != NULL);
	n = EVP_DecodeBlock(png, (const unsigned char *)p, (int)len);
	f = fopen(path, "we");
	CHECK(n > 1000 && memcmp(png, "\x89PNG", 4) == 0);
	CHECK(f != NULL && fwrite(png, 1, (size_t)n, f) == (size_t)n && fclose(f) == 0);
	free(png);
}

/* ---- the daemon ---- */

/* Thirteen changes of two devices, and a third file that was refused. */
static bool
fill_buffer(const char *dir)
{
	struct store *s;
	struct store_file f[3];
	uint8_t data[KIT_DATA_MAX];
	bool ok, added;

	mkdir(dir, 0700);
	s = kit_open(dir);
	ok = s != NULL && store_begin(s) == STORE_OK;
	for (uint64_t n = 0; n < 3 && ok; n++) {
		f[n] = kit_file(n);
		if (n == 2)
			f[n].state = STORE_FILE_REJECTED;
		ok = store_file_put(s, &f[n]) == STORE_OK;
	}
	for (uint64_t i = 0; i < 13 && ok; i++) {
		struct store_record r = kit_record(data, i % 2, i / 2 + 1, 1000);

		ok = store_append(s, f[i % 2].id, &r, &added) == STORE_OK;
	}
	ok = ok && store_commit(s, true) == STORE_OK;
	store_close(s);
	return ok;
}

static bool
order(const char *path, const char *line)
{
	struct sockaddr_un to;
	char answer[512];
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool ok = fd >= 0 && control_address(path, &to) && connect(fd, (const struct sockaddr *)&to, sizeof(to)) == 0 &&
		  write(fd, line, strlen(line)) > 0 && read(fd, answer, sizeof(answer)) > 0;

	if (fd >= 0)
		close(fd);
	return ok;
}

static void
page_in_browser(struct daemon *d, unsigned port)
{
	char path[500];

	open_tab(port);
	look_like("light", 1100, 800);
	if (!becomes("document.title", "LINK DOWN, 13 waiting - holdfast"))
		return;
	evaluate("window.mark=1");
	CHECK_STR(evaluate("document.getElementById('link').textContent"), "DOWN");
	CHECK_STR(evaluate("document.getElementById('wait').textContent"), "13 changes");
	CHECK(strstr(evaluate("document.getElementById('wait2').textContent"), "of 2 device files") != NULL);
	CHECK(strstr(evaluate("document.getElementById('old').textContent"), " d ") != NULL);
	CHECK_STR(evaluate("document.getElementById('att').className+document.getElementById('att').textContent"), "big bad1");
	CHECK_STR(evaluate("document.getElementById('dev').textContent"), "0");
	CHECK(strstr(evaluate("document.getElementById('buf2').textContent"), " free") != NULL);
	CHECK(becomes("document.getElementById('max').textContent", "most: "));
	CHECK(strstr(evaluate("document.getElementById('line').getAttribute('points')"), "288,") != NULL);

	CHECK_STR(evaluate("getComputedStyle(document.body).backgroundColor"), "rgb(255, 255, 255)");
	screenshot("light");
	look_like("dark", 1100, 800);
	CHECK_STR(evaluate("getComputedStyle(document.body).backgroundColor"), "rgb(12, 15, 18)");
	screenshot("dark");
	look_like("dark", 360, 800);
	CHECK_STR(evaluate("document.documentElement.scrollWidth<=360"), "true");
	screenshot("phone");

	/* live: the same document, without a reload */
	snprintf(path, sizeof(path), "%s/state/control", d->dir);
	CHECK(order(path, "link offline\n"));
	CHECK(becomes("document.getElementById('link2').textContent", "(offline)"));
	CHECK_STR(evaluate("window.mark"), "1");

	/* of several links one that is down is what the title says, whichever comes first */
	CHECK_STR(evaluate("(show({'upstream.a.link':'unknown','upstream.b.link':'down',backlog_records:0,buffer:'ok'}),document.title)"),
		  "LINK DOWN - holdfast");
	CHECK_STR(evaluate("(show({'upstream.a.link':'up','upstream.b.link':'unknown',backlog_records:0,buffer:'ok'}),document.title)"),
		  "LINK UNKNOWN - holdfast");
	CHECK_STR(evaluate("(show({'upstream.a.link':'down','upstream.a.since_s':60,'upstream.a.link_mode':'auto','upstream.a.conns':3,"
			   "'upstream.a.backlog_records':7,'upstream.a.oldest_s':7200,'upstream.a.budget':'spent','upstream.a.budget_used':2097152,"
			   "'upstream.a.budget_bytes':1048576,'upstream.a.budget_ends_in_s':90000,backlog_records:7,buffer:'ok'}),"
			   "document.getElementById('list').textContent)"),
		  "a: DOWN for 1 min; 2.0 MiB of 1.0 MiB used, ALL OF IT, anew in 1 d 1 h; 3 devices; 7 changes wait, the oldest for 2 h 0 min");
	CHECK_U64(b.faults, 0);
}

static void
browser_stop(void)
{
	int status, waited = 0;

	b.session[0] = '\0';
	ask("Browser.close", "{}");
	while (waitpid(b.pid, &status, WNOHANG) == 0 && waited < DEADLINE_MS) {
		breathe();
		waited += STEP_MS;
		if (waited == DEADLINE_MS / 2)
			kill(b.pid, SIGKILL);
	}
	close(b.to);
	close(b.from);
	free(b.text);
	free(b.answer);
}

TEST(page)
{
	static struct daemon d;
	const char *dir = harness_tmpdir(), *chromium = program(), *line;
	char state[500];

	if (!daemon_is_built())
		SKIP("holdfast is not built here");
	if (chromium == NULL)
		SKIP("no chromium here");
	signal(SIGPIPE, SIG_IGN);
	snprintf(state, sizeof(state), "%s/state", dir);
	CHECK(fill_buffer(state));
	CHECK(daemon_start(&d, dir, "[upstream]\nurl = ws://127.0.0.1:1\n[monitor]\nlisten = 127.0.0.1:0\n"));
	line = daemon_logged(&d, "event=monitor address=127.0.0.1:");
	CHECK(line != NULL);
	CHECK(browser_start(chromium));
	page_in_browser(&d, (unsigned)strtoul(strstr(line, "127.0.0.1:") + strlen("127.0.0.1:"), NULL, 10));
	browser_stop();
	CHECK(daemon_stop(&d));
}
