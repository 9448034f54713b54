/* The recovery process of the start-up ladder when it misbehaves: hangs, crashes, eats memory, is killed, finds no memory.  The first two
 * rungs are played here (ladder_try is wrapped by the linker); those below are real, on a real buffer.
 *
 * Each start is a process of its own, as the daemon is, for recover_open may end it; what it logs and what it tells the service manager is
 * read here. */
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "buffer/ladder.h"

#include "relay/options.h"
#include "relay/recover.h"

#include "tests/harness.h"
#include "tests/storekit.h"

enum play { REAL, HANG, CRASH, EAT, KILLED, NO_MEMORY, QUIET };

static enum play first, second; /* what rung NORMAL and rung REBUILD do */

void __real_ladder_try(const struct store_options *opt, enum ladder_rung rung, struct ladder_result *out);
void __wrap_ladder_try(const struct store_options *opt, enum ladder_rung rung, struct ladder_result *out);

/* Takes memory until there is none. */
static void
eat(void)
{
	size_t n = 16u << 20;
	volatile char *p;

	while ((p = malloc(n)) != NULL)
		p[0] = 1;
}

void
__wrap_ladder_try(const struct store_options *opt, enum ladder_rung rung, struct ladder_result *out)
{
	enum play play = rung == LADDER_NORMAL ? first : rung == LADDER_REBUILD ? second : REAL;

	memset(out, 0, sizeof(*out));
	switch (play) {
	case REAL:
		__real_ladder_try(opt, rung, out);
		return;
	case HANG:
		for (;;)
			pause();
	case CRASH:
		signal(SIGSEGV, SIG_DFL);
		raise(SIGSEGV);
		break;
	case KILLED:
		raise(SIGKILL);
		break;
	case QUIET:
		_exit(0);
	case EAT:
		eat();
		break;
	case NO_MEMORY:
		break;
	}
	out->err = STORE_NOMEM;
	snprintf(out->why, sizeof(out->why), "%s", "out of memory");
}

static char logged[16384], told[4096];

/* What the daemon would have sent to the service manager so far. */
static void
hear_manager(int fd)
{
	size_t len = 0;
	ssize_t n;

	while (len < sizeof(told) - 1 && (n = recv(fd, told + len, sizeof(told) - 1 - len, MSG_DONTWAIT)) > 0) {
		len += (size_t)n;
		told[len++] = '\n';
	}
	told[len] = '\0';
}

static int
manager_listen(const char *dir)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	snprintf(at.sun_path, sizeof(at.sun_path), "%.90s/notify", dir);
	if (fd == -1 || bind(fd, (struct sockaddr *)&at, sizeof(at)) == -1 || setenv("NOTIFY_SOCKET", at.sun_path, 1) == -1)
		abort();
	return fd;
}

/* Starts on the buffer in dir/buffer; returns the exit status: 0 and the way it was recovered in how, 1 with the reason logged. */
static int
start(const char *dir, char how[16])
{
	char log[700], state[700];
	struct options o;
	const char *word = "";
	int fd[2], out, status = -1;
	ssize_t n;
	pid_t pid;

	snprintf(log, sizeof(log), "%s/log", dir);
	snprintf(state, sizeof(state), "%s/buffer", dir);
	if (pipe(fd) == -1)
		abort();
	fflush(stdout);
	if ((pid = fork()) == 0) {
		if ((out = open(log, O_WRONLY | O_CREAT | O_TRUNC, 0600)) == -1 || dup2(out, STDERR_FILENO) == -1)
			abort();
		options_defaults(&o);
		o.state_dir = state;
		o.recovery_timeout_ms = 1500;
		o.buffer_min_free = o.buffer_ballast = 0;
		store_close(recover_open(&o, &word));
		_exit(write(fd[1], word, strlen(word)) == (ssize_t)strlen(word) ? 0 : 2);
	}
	(void)close(fd[1]);
	n = read(fd[0], how, 15);
	how[n > 0 ? n : 0] = '\0';
	(void)close(fd[0]);
	if (waitpid(pid, &status, 0) != pid)
		abort();
	out = open(log, O_RDONLY);
	n = read(out, logged, sizeof(logged) - 1);
	logged[n > 0 ? n : 0] = '\0';
	(void)close(out);
	printf("# %s\n", logged);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* A buffer with one file and ten changesets, closed. */
static void
fill(const char *dir)
{
	static uint8_t data[KIT_DATA_MAX];
	char state[700];
	struct store_file f = kit_file(1);
	struct store *s;
	bool added;

	snprintf(state, sizeof(state), "%s/buffer", dir);
	CHECK((s = kit_open(state)) != NULL);
	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_file_put(s, &f), STORE_OK);
	for (uint64_t v = 1; v <= 10; v++) {
		struct store_record r = kit_record(data, 1, v, 100);

		CHECK_U64(store_append(s, f.id, &r, &added), STORE_OK);
	}
	CHECK_U64(store_commit(s, true), STORE_OK);
	store_close(s);
}

static uint64_t
records(const char *dir)
{
	char state[700];
	struct store_stat st = { 0 };
	struct store *s;

	snprintf(state, sizeof(state), "%s/buffer", dir);
	if ((s = kit_open(state)) == NULL || store_stat(s, &st) != STORE_OK)
		return UINT64_MAX;
	store_close(s);
	return st.records;
}

static bool
any_aside(const char *dir)
{
	char command[800];

	snprintf(command, sizeof(command), "ls -d '%s'/buffer/aside-* >/dev/null 2>&1", dir);
	return system(command) == 0;
}

/* The first rung fails as play says, and the next one saves everything. */
static void
next_rung_after(enum play play, const char *words)
{
	const char *dir = harness_tmpdir();
	char how[16];

	fill(dir);
	first = play;
	second = REAL;
	CHECK_U64(start(dir, how), 0);
	CHECK_STR(how, "rebuilt");
	CHECK(strstr(logged, "recovery=normal result=failed") != NULL);
	CHECK(strstr(logged, words) != NULL);
	CHECK(strstr(logged, "recovery=rebuilt result=ok") != NULL);
	CHECK_U64(records(dir), 10);
}

/* The machine has no memory: nothing is called damaged, nothing is moved, the process ends and may be started again. */
static void
gives_up_after(enum play play, const char *words)
{
	const char *dir = harness_tmpdir();
	char how[16];

	fill(dir);
	first = play;
	CHECK_U64(start(dir, how), 1);
	CHECK(strstr(logged, "store_open_failed") != NULL);
	CHECK(strstr(logged, "error=\"out of memory\"") != NULL);
	CHECK(strstr(logged, words) != NULL);
	CHECK(strstr(logged, "damaged") == NULL);
	CHECK(!any_aside(dir));
	first = REAL;
	CHECK_U64(start(dir, how), 0);
	CHECK_STR(how, "normal");
	CHECK_U64(records(dir), 10);
}

TEST(sound)
{
	const char *dir = harness_tmpdir();
	char how[16];

	fill(dir);
	first = second = REAL;
	CHECK_U64(start(dir, how), 0);
	CHECK_STR(how, "normal");
	CHECK_U64(records(dir), 10);
}

/* It is ended in time, and the service manager is told meanwhile to be patient. */
TEST(hangs)
{
	int fd = manager_listen(harness_tmpdir());

	next_rung_after(HANG, "took longer than recovery_timeout");
	hear_manager(fd);
	CHECK(strstr(told, "EXTEND_TIMEOUT_USEC=30000000") != NULL);
	(void)close(fd);
	CHECK(unsetenv("NOTIFY_SOCKET") == 0);
}

TEST(crashes)
{
	next_rung_after(CRASH, "ended by signal 11");
}

TEST(says_nothing)
{
	next_rung_after(QUIET, "ended without a word");
}

TEST(eats_memory)
{
	if (!recover_limits_memory())
		SKIP("a sanitizer reserves more addresses than any limit");
	next_rung_after(EAT, "wanted more memory than a recovery may have");
}

TEST(killed)
{
	gives_up_after(KILLED, "killed, as the kernel does when memory is out");
}

TEST(no_memory)
{
	gives_up_after(NO_MEMORY, "out of memory");
}

/* Two rungs in a row. */
TEST(hangs_and_crashes)
{
	const char *dir = harness_tmpdir();
	char how[16];

	fill(dir);
	first = CRASH;
	second = HANG;
	CHECK_U64(start(dir, how), 0);
	CHECK_STR(how, "salvaged");
	CHECK(strstr(logged, "recovery=rebuilt result=failed") != NULL);
	CHECK_U64(records(dir), 10);
}
