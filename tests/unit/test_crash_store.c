/* What was promised survives: a process killed at a random moment, and calls that fail.
 *
 * A child walks over a store (shim/walk.h) and reports through a pipe what it is about to do and what was promised.  However it ends,
 * the parent then opens the store, which must hold exactly the transactions up to some point between the newest durable and the
 * newest tried one: that is I1 to I5 at the level of the store, in order, with the right bytes and counters.
 *
 * The calls that fail are those of libdb through hooks_io, the mallocs of libdb, and every malloc, calloc, realloc, strdup and strndup of
 * buffer/: the linker puts __wrap_* in their place in this program (Makefile.in).
 * The walk is random but follows from a seed, which is printed; TEST_SEED sets it. */
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <db.h>

#include "buffer/hooks.h"
#include "tests/harness.h"
#include "tests/shim/walk.h"

enum { KILL_ROUNDS = 10, FAULT_STEPS = 25 };

/* Nothing here depends on a real disk, and memory is much faster: hundreds of stores are made and recovered. */
__attribute__((constructor)) static void
use_memory(void)
{
	if (access("/dev/shm", W_OK | X_OK) == 0)
		(void)setenv("TMPDIR", "/dev/shm", 0);
}

static int report_fd;
static bool (*fault_happened)(void); /* NULL: no faults in this test */

static void
say(const struct walk_report *r)
{
	if (write(report_fd, r, sizeof(*r)) != sizeof(*r))
		_exit(9);
}

/* In the child.  It ends without closing the store, as a crash would. */
static _Noreturn void
work(const char *dir, uint64_t seed, unsigned steps)
{
	const struct walk_plan plan = { .dir = dir, .seed = seed, .steps = steps, .say = say };
	const struct rlimit no_core = { 0, 0 };

	(void)setrlimit(RLIMIT_CORE, &no_core);
	(void)signal(SIGSEGV, SIG_DFL); /* not the sanitizer's: see fault_round */
	walk(&plan);
	_exit(fault_happened != NULL && fault_happened());
}

/* ---- the parent ---- */

static void
check_store(const char *dir, struct walk_model *m)
{
	struct store_options opt = walk_options(dir);
	char why[512];
	struct store *s;

	if (store_open(&opt, &s, why, sizeof(why)) != STORE_OK) {
		harness_fail(__FILE__, __LINE__, "%s", why);
		return;
	}
	if (!walk_holds(s, m, why, sizeof(why)))
		harness_fail(__FILE__, __LINE__, "%s", why);
	store_close(s);
}

/* Starts a child; its reports come from *fd. */
static pid_t
start(const char *dir, uint64_t seed, unsigned steps, int *fd)
{
	int fds[2];
	pid_t pid;

	if (pipe(fds) == -1)
		return -1;
	fflush(stdout);
	if ((pid = fork()) == 0) {
		(void)close(fds[0]);
		report_fd = fds[1];
		work(dir, seed, steps);
	}
	(void)close(fds[1]);
	*fd = fds[0];
	return pid;
}

/* Takes reports until there are no more, or `most` of them.  False if the child fell silent for a minute. */
static bool
listen_to(struct walk_model *m, int fd, unsigned most)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	struct walk_report r;

	while (most-- > 0) {
		if (poll(&p, 1, 60000) != 1)
			return false;
		if (read(fd, &r, sizeof(r)) != sizeof(r))
			return true; /* reports are far below PIPE_BUF, so they come whole */
		walk_take(m, &r);
	}
	return true;
}

static uint64_t
base_seed(void)
{
	const char *env = getenv("TEST_SEED");

	return env != NULL ? strtoull(env, NULL, 10) : (uint64_t)time(NULL) ^ (uint64_t)getpid() << 32;
}

TEST(kill_at_random_moments)
{
	uint64_t seed = base_seed(), moment = seed;
	const char *dir = harness_tmpdir();
	struct walk_model m = { 0 };

	for (int round = 0; round < KILL_ROUNDS && !harness_failed(); round++) {
		struct timespec pause = { .tv_nsec = (long)(walk_random(&moment) % 2000000) }; /* between two reports, too */
		int fd, status;
		pid_t pid = start(dir, seed + (uint64_t)round, UINT32_MAX, &fd);

		CHECK(pid > 0);
		CHECK(listen_to(&m, fd, (unsigned)(walk_random(&moment) % 300)));
		(void)nanosleep(&pause, NULL);
		CHECK(kill(pid, SIGKILL) == 0);
		CHECK(listen_to(&m, fd, UINT32_MAX));
		(void)close(fd);
		CHECK(waitpid(pid, &status, 0) == pid);
		CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		check_store(dir, &m);
		if (harness_failed())
			printf("# round %d, TEST_SEED=%llu\n", round, (unsigned long long)seed);
	}
	CHECK_U64(m.errors[STORE_CORRUPT] + m.errors[STORE_IO] + m.errors[STORE_NOSPACE], 0);
	walk_free(&m);
}

/* ---- calls that fail ---- */

enum call { CALL_NONE, CALL_OPEN, CALL_WRITE, CALL_FSYNC, CALL_RENAME, CALL_MALLOC, CALL_DB_MALLOC };
static struct {
	enum call call;
	int err;
	unsigned from, count; /* calls number from .. from + count - 1 fail */
	bool half;	      /* a failing write first takes some of its bytes */
	unsigned calls, failed;
} fault;

static bool
happened(void)
{
	return fault.failed > 0;
}

static bool
fails(enum call call)
{
	if (call != fault.call)
		return false;
	fault.calls++;
	if (fault.calls < fault.from || fault.calls - fault.from >= fault.count)
		return false;
	fault.failed++;
	errno = fault.err;
	return true;
}

static int
fault_open(const char *path, int flags, ...)
{
	int mode = 0;

	if (flags & O_CREAT) {
		va_list ap;

		va_start(ap, flags);
		mode = va_arg(ap, int);
		va_end(ap);
	}
	if ((fault.err != ENOSPC || (flags & O_CREAT) != 0) && fails(CALL_OPEN)) /* only names that are new need space */
		return -1;
	return open(path, flags, mode);
}

/* Does a write of len bytes at the file's position go beyond its end or into a hole?  What has its place needs no space. */
static bool
needs_space(int fd, size_t len)
{
	off_t at = lseek(fd, 0, SEEK_CUR), hole = lseek(fd, at, SEEK_HOLE);

	(void)lseek(fd, at, SEEK_SET);
	return hole == -1 || hole < at + (off_t)len;
}

/* How many of len bytes find room when space runs out: at the end of a file any part, in a hole whole blocks. */
static size_t
some_of(int fd, size_t len)
{
	struct stat st;

	if (fstat(fd, &st) == 0 && lseek(fd, 0, SEEK_CUR) >= st.st_size)
		return len / 2;
	return len / 2 / 4096 * 4096;
}

static ssize_t
fault_write(int fd, const void *buf, size_t len)
{
	static bool again;

	if (!again && (fault.err != ENOSPC || needs_space(fd, len)) && fails(CALL_WRITE)) {
		again = fault.half && some_of(fd, len) > 0;
		return again ? write(fd, buf, some_of(fd, len)) : -1;
	}
	if (!again)
		return write(fd, buf, len);
	again = false;
	errno = fault.err;
	return -1;
}

static int
fault_fsync(int fd)
{
	return fails(CALL_FSYNC) ? -1 : fdatasync(fd);
}

static int
fault_rename(const char *from, const char *to)
{
	return fails(CALL_RENAME) ? -1 : rename(from, to);
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t len);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t len);

void *
__wrap_malloc(size_t size)
{
	return fails(CALL_MALLOC) ? NULL : __real_malloc(size);
}

void *
__wrap_calloc(size_t n, size_t size)
{
	return fails(CALL_MALLOC) ? NULL : __real_calloc(n, size);
}

void *
__wrap_realloc(void *p, size_t size)
{
	return fails(CALL_MALLOC) ? NULL : __real_realloc(p, size);
}

char *
__wrap_strdup(const char *text)
{
	return fails(CALL_MALLOC) ? NULL : __real_strdup(text);
}

char *
__wrap_strndup(const char *text, size_t len)
{
	return fails(CALL_MALLOC) ? NULL : __real_strndup(text, len);
}

static void *
db_malloc(size_t size)
{
	return fails(CALL_DB_MALLOC) ? NULL : __real_malloc(size);
}

static void *
db_realloc(void *p, size_t size)
{
	return fails(CALL_DB_MALLOC) ? NULL : __real_realloc(p, size);
}

/* Runs one child with the fault set; adds to m.  *hit: whether the fault happened. */
static void
fault_round(const char *dir, struct walk_model *m, uint64_t seed, bool *hit)
{
	/* libdb without memory crashes in some places, and says "run recovery" in others, which looks like damage.  Either way the process
	 * has to start again, and nothing is lost. */
	const bool libdb_may_crash = fault.call == CALL_DB_MALLOC;
	static const struct hooks_io faulty = { fault_open, fault_write, fault_fsync, fault_rename };
	static const struct hooks_io real = { open, write, fdatasync, rename };
	int fd, status;
	pid_t pid;

	hooks_io = faulty;
	fault_happened = happened;
	pid = start(dir, seed, FAULT_STEPS, &fd);
	hooks_io = real;
	fault.call = CALL_NONE;
	fault_happened = NULL;
	CHECK(pid > 0);
	CHECK(listen_to(m, fd, UINT32_MAX));
	(void)close(fd);
	CHECK(waitpid(pid, &status, 0) == pid);
	*hit = true;
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV && libdb_may_crash) {
		m->fatals++;
	} else if (WIFSIGNALED(status)) {
		CHECK_U64(WTERMSIG(status), SIGABRT);
		CHECK_U64(m->fatals, 1); /* it said so before */
	} else {
		CHECK(WIFEXITED(status));
		CHECK_U64(m->fatals, 0);
		CHECK(WEXITSTATUS(status) <= 1);
		*hit = WEXITSTATUS(status) == 1;
	}
	/* A failing call is never taken for damage. */
	CHECK(m->errors[STORE_CORRUPT] == 0 || libdb_may_crash);
	CHECK_U64(m->errors[STORE_INVALID] + m->errors[STORE_DIFFERS], 0);
}

static void
empty(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;

	while (d != NULL && (e = readdir(d)) != NULL)
		(void)unlinkat(dirfd(d), e->d_name, 0);
	if (d != NULL)
		(void)closedir(d);
}

/* The N-th call fails, N = 1, 2, 3 ... (later in steps that grow, and another seed each time) until a whole run passes without it;
 * after each the store must hold what it promised. */
static void
fault_loop(enum call call, int err, unsigned count, bool half)
{
	const char *dir = harness_tmpdir();
	uint64_t seed = base_seed();
	unsigned n, rounds = 0, full = 0, io = 0, nomem = 0, fatals = 0;
	bool hit = true;

	for (n = 1; hit && !harness_failed(); n += 1 + n / 50) {
		struct walk_model m = { 0 };

		memset(&fault, 0, sizeof(fault));
		fault.call = call;
		fault.err = err;
		fault.from = n;
		fault.count = count;
		fault.half = half;
		fault_round(dir, &m, seed, &hit);
		if (!harness_failed())
			check_store(dir, &m);
		full += m.errors[STORE_NOSPACE];
		io += m.errors[STORE_IO];
		nomem += m.errors[STORE_NOMEM];
		fatals += m.fatals;
		rounds += hit;
		if (harness_failed())
			printf("# call %u\n", n);
		walk_free(&m);
		empty(dir);
	}
	printf("# %u faults: %u times no space, %u times disk error, %u times no memory, %u times stopped; TEST_SEED=%llu\n", rounds, full, io,
	       nomem, fatals, (unsigned long long)seed);
}

/* Space is short for a moment, for longer (and a part of the bytes finds room), for good. */
TEST(no_space_once)
{
	fault_loop(CALL_WRITE, ENOSPC, 1, false);
}

TEST(no_space_for_a_while)
{
	fault_loop(CALL_WRITE, ENOSPC, 6, true);
}

TEST(no_space_for_good)
{
	fault_loop(CALL_WRITE, ENOSPC, UINT32_MAX, false);
}

TEST(no_space_for_a_file)
{
	fault_loop(CALL_OPEN, ENOSPC, 1, false);
}

TEST(no_descriptor)
{
	fault_loop(CALL_OPEN, EMFILE, 1, false);
}

TEST(no_descriptor_for_a_while)
{
	fault_loop(CALL_OPEN, EMFILE, 3, false);
}

TEST(write_fails)
{
	fault_loop(CALL_WRITE, EIO, 1, false);
}

TEST(fsync_fails)
{
	fault_loop(CALL_FSYNC, EIO, 1, false);
}

TEST(rename_fails)
{
	fault_loop(CALL_RENAME, EIO, 1, false);
}

TEST(no_memory)
{
	fault_loop(CALL_MALLOC, ENOMEM, 1, false);
}

TEST(no_memory_in_libdb)
{
	(void)db_env_set_func_malloc(db_malloc);
	(void)db_env_set_func_realloc(db_realloc);
	fault_loop(CALL_DB_MALLOC, ENOMEM, 1, false);
	fault_loop(CALL_DB_MALLOC, ENOMEM, 20, false);
}
