/* What was acknowledged survives: a process killed at a random moment, and system calls that fail.
 *
 * A child works on a store: it appends to a few files, trims and checkpoints, and reports through a pipe, before it trims and after
 * each durable commit.  However it ends, the parent then opens the store and compares it with what was reported:
 *   - every acknowledged version is there unless its trim was asked for (I1, I2), in order and without a gap (I3), its bytes right;
 *   - the progress in the file's record is that of its newest record, as both were written in one transaction (I5);
 *   - the counters are those of the records.
 * The child's walk is random but follows from a seed, which is printed when a round fails; TEST_SEED sets it. */
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "buffer/hooks.h"
#include "tests/harness.h"
#include "tests/storekit.h"

enum { NFILES = 5, KILL_ROUNDS = 10, FAULT_STEPS = 25 };

/* What the child reports. */
enum said { SAID_ACK, SAID_TRIM, SAID_FATAL, SAID_ERROR };
struct report {
	enum said said;
	uint32_t n;	  /* number of the file, or an enum store_err */
	uint64_t version; /* newest acknowledged; newest to be trimmed */
};

/* What the parent knows of all children so far. */
struct model {
	uint64_t acked[NFILES], trimmed[NFILES];
	unsigned reports, fatals, errors[STORE_INVALID + 1];
};

/* Nothing here depends on a real disk, and memory is much faster: hundreds of stores are made and recovered. */
__attribute__((constructor)) static void
use_memory(void)
{
	if (access("/dev/shm", W_OK | X_OK) == 0)
		(void)setenv("TMPDIR", "/dev/shm", 0);
}

static uint64_t
rnd(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return *state >> 33;
}

/* ---- the child ---- */

static int report_fd;
static bool (*fault_happened)(void); /* NULL: no faults in this test */

static void
say(enum said said, uint32_t n, uint64_t version)
{
	struct report r = { said, n, version };

	if (write(report_fd, &r, sizeof(r)) != sizeof(r))
		_exit(9);
}

static void
say_fatal(const char *text)
{
	(void)text;
	say(SAID_FATAL, 0, 0);
}

/* Adds up to a dozen records to file number n and its progress, in the open transaction. */
static enum store_err
append_some(struct store *s, uint64_t n, uint64_t *seed, uint64_t *newest)
{
	static uint8_t data[KIT_DATA_MAX];
	struct store_file f = kit_file(n);
	uint64_t count = 1 + rnd(seed) % 12;
	enum store_err err = store_file_find(s, f.endpoint, f.path, f.file_ident, f.file_ident_salt, &f);
	bool added;

	if (err == STORE_NOTFOUND)
		err = store_file_put(s, &f);
	while (err == STORE_OK && count-- > 0) {
		uint64_t v = f.held_client_version + 1;
		struct store_record r = kit_record(data, n, v, rnd(seed) % 8 == 0 ? 9000 : kit_len(n, v));

		if ((err = store_append(s, f.id, &r, &added)) == STORE_OK)
			f.held_client_version = v;
	}
	*newest = f.held_client_version;
	return err == STORE_OK ? store_file_put(s, &f) : err;
}

static enum store_err
step_append(struct store *s, uint64_t *seed)
{
	uint64_t first = rnd(seed) % NFILES, count = 1 + rnd(seed) % 3, newest[NFILES];
	enum store_err err = store_begin(s);

	if (err != STORE_OK)
		return err;
	for (uint64_t i = 0; i < count && err == STORE_OK; i++)
		err = append_some(s, (first + i) % NFILES, seed, &newest[i]);
	if (err != STORE_OK) {
		store_abort(s);
		return err;
	}
	if ((err = store_commit(s, true)) != STORE_OK)
		return err;
	for (uint64_t i = 0; i < count; i++)
		say(SAID_ACK, (uint32_t)((first + i) % NFILES), newest[i]);
	return STORE_OK;
}

static enum store_err
step_trim(struct store *s, uint64_t *seed)
{
	uint64_t n = rnd(seed) % NFILES, back = rnd(seed) % 20;
	struct store_file f = kit_file(n);
	enum store_err err = store_file_find(s, f.endpoint, f.path, f.file_ident, f.file_ident_salt, &f);

	if (err != STORE_OK || f.held_client_version <= back)
		return err == STORE_NOTFOUND ? STORE_OK : err;
	if ((err = store_begin(s)) != STORE_OK)
		return err;
	say(SAID_TRIM, (uint32_t)n, f.held_client_version - back);
	if ((err = store_trim(s, f.id, f.held_client_version - back)) == STORE_OK)
		return store_commit(s, false);
	store_abort(s);
	return err;
}

/* Works for so many steps; steps that fail for want of space are simply followed by others.  Ends without closing the store, as
 * a crash would. */
static _Noreturn void
work(const char *dir, uint64_t seed, unsigned steps)
{
	struct store_options opt = kit_options(dir);
	struct rlimit no_core = { 0, 0 };
	struct store *s;
	char why[400];
	enum store_err err;

	(void)setrlimit(RLIMIT_CORE, &no_core);
	opt.log_file_bytes = 256u << 10;
	opt.cache_bytes = 256u << 10;
	opt.checkpoint_bytes = 128u << 10;
	opt.on_fatal = say_fatal;
	if ((err = store_open(&opt, &s, why, sizeof(why))) != STORE_OK) {
		say(SAID_ERROR, err, 0);
		_exit(fault_happened != NULL && fault_happened());
	}
	for (unsigned i = 0; i < steps; i++) {
		switch (rnd(&seed) % 8) {
		case 0:
		case 1:
			err = step_trim(s, &seed);
			break;
		case 2:
			err = store_checkpoint(s, rnd(&seed) % 2 == 0);
			break;
		default:
			err = step_append(s, &seed);
			break;
		}
		if (err != STORE_OK)
			say(SAID_ERROR, err, 0);
		if (err == STORE_IO || err == STORE_CORRUPT)
			break; /* latched: the process should stop */
	}
	_exit(fault_happened != NULL && fault_happened());
}

/* ---- the parent ---- */

static void
take(struct model *m, const struct report *r)
{
	m->reports++;
	switch (r->said) {
	case SAID_ACK:
		if (r->version > m->acked[r->n])
			m->acked[r->n] = r->version;
		break;
	case SAID_TRIM:
		if (r->version > m->trimmed[r->n])
			m->trimmed[r->n] = r->version;
		break;
	case SAID_FATAL:
		m->fatals++;
		break;
	case SAID_ERROR:
		m->errors[r->n]++;
		break;
	}
}

struct seen {
	uint64_t n, first, last, count, bytes;
	bool wrong;
};

static bool
see(void *arg, const struct store_record *r)
{
	struct seen *seen = arg;

	if (seen->count++ == 0)
		seen->first = r->client_version;
	else if (r->client_version != seen->last + 1)
		seen->wrong = true;
	seen->last = r->client_version;
	seen->bytes += r->len;
	if (!kit_same(r, seen->n, r->len))
		seen->wrong = true;
	return true;
}

/* Is file number n as the reports demand? */
static void
check_file(struct store *s, const struct model *m, uint64_t n)
{
	struct store_file f = kit_file(n);
	struct seen seen = { .n = n };
	enum store_err err = store_file_find(s, f.endpoint, f.path, f.file_ident, f.file_ident_salt, &f);

	if (err == STORE_NOTFOUND) {
		CHECK_U64(m->acked[n], 0);
		return;
	}
	CHECK_U64(err, STORE_OK);
	CHECK(f.held_client_version >= m->acked[n]);
	CHECK_U64(store_read(s, f.id, 0, UINT64_MAX, see, &seen, NULL), STORE_OK);
	CHECK(!seen.wrong);
	CHECK_U64(f.backlog_records, seen.count);
	CHECK_U64(f.backlog_bytes, seen.bytes);
	CHECK_U64(f.oldest_ms, seen.count > 0 ? 1700000000000u + seen.first : 0);
	if (seen.count == 0) {
		CHECK(f.held_client_version <= m->trimmed[n]);
		return;
	}
	CHECK_U64(seen.last, f.held_client_version);
	CHECK(seen.first <= m->trimmed[n] + 1);
}

static void
check_store(const char *dir, struct model *m)
{
	struct store *s = kit_open(dir);

	CHECK(s != NULL);
	for (uint64_t n = 0; n < NFILES; n++)
		check_file(s, m, n);
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

/* Takes reports until there are no more, or `until` of them.  False if the child fell silent for a minute. */
static bool
listen_to(struct model *m, int fd, unsigned until)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	struct report r;

	until += m->reports;
	while (m->reports != until) {
		if (poll(&p, 1, 60000) != 1)
			return false;
		if (read(fd, &r, sizeof(r)) != sizeof(r))
			return true; /* reports are far below PIPE_BUF, so they come whole */
		take(m, &r);
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
	struct model m = { 0 };

	for (int round = 0; round < KILL_ROUNDS && !harness_failed(); round++) {
		struct timespec pause = { .tv_nsec = (long)(rnd(&moment) % 2000000) }; /* the moment lies between two reports, too */
		int fd, status;
		pid_t pid = start(dir, seed + (uint64_t)round, UINT32_MAX, &fd);

		CHECK(pid > 0);
		CHECK(listen_to(&m, fd, (unsigned)(rnd(&moment) % 120)));
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
}

/* ---- system calls that fail ---- */

enum call { CALL_OPEN, CALL_WRITE, CALL_FSYNC, CALL_RENAME };
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
		if (fails(CALL_OPEN)) /* only names that are new need the disk */
			return -1;
	}
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

/* Runs one child with the fault set; adds to m.  *hit: whether the fault happened. */
static void
fault_round(const char *dir, struct model *m, uint64_t seed, bool *hit)
{
	static const struct hooks_io faulty = { fault_open, fault_write, fault_fsync, fault_rename };
	static const struct hooks_io real = { open, write, fdatasync, rename };
	int fd, status;
	pid_t pid;

	hooks_io = faulty;
	fault_happened = happened;
	pid = start(dir, seed, FAULT_STEPS, &fd);
	hooks_io = real;
	fault_happened = NULL;
	CHECK(pid > 0);
	CHECK(listen_to(m, fd, UINT32_MAX));
	(void)close(fd);
	CHECK(waitpid(pid, &status, 0) == pid);
	*hit = true;
	if (WIFSIGNALED(status)) {
		CHECK_U64(WTERMSIG(status), SIGABRT);
		CHECK_U64(m->fatals, 1); /* it said so before */
	} else {
		CHECK(WIFEXITED(status));
		CHECK_U64(m->fatals, 0);
		CHECK(WEXITSTATUS(status) <= 1);
		*hit = WEXITSTATUS(status) == 1;
	}
	/* A failing call is never taken for damage. */
	CHECK_U64(m->errors[STORE_CORRUPT] + m->errors[STORE_INVALID] + m->errors[STORE_DIFFERS], 0);
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
	unsigned n, rounds = 0, full = 0, io = 0, fatals = 0;
	bool hit = true;

	for (n = 1; hit && !harness_failed(); n += 1 + n / 24) {
		struct model m = { 0 };

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
		fatals += m.fatals;
		rounds += hit;
		empty(dir);
	}
	printf("# %u faults: %u times no space, %u times disk error, %u times stopped; TEST_SEED=%llu\n", rounds, full, io, fatals,
	       (unsigned long long)seed);
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
