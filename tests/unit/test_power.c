/* Power cuts: what was promised is there whatever a cut left of the rest.
 *
 * A child walks over a store (shim/walk.h) through several lives: it is closed, or ends as if killed, between two steps or in a log
 * write, and is opened again.  All that it does to the disk is recorded (shim/record.h), with what it reports in its place.  Then, for
 * moments all over the record, a directory is built as a cut at that moment could have left it (shim/cut.h), a store is opened on it and
 * compared with the reports up to there, goes on working, is closed, opened and compared again.  It is opened by the start-up ladder: a
 * torn page takes it to the second rung, which rebuilds the tables from base and logs; no cut may take it further.
 *
 * Environment: POWER_STATES (default 500; `make check-power` 5000) directories are tried, 500 of one walk; TEST_SEED repeats a run. */
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "buffer/ladder.h"
#include "tests/harness.h"
#include "tests/shim/cut.h"
#include "tests/shim/record.h"
#include "tests/shim/walk.h"

#define STATES_PER_WALK 500
#define RUNG_SECONDS 20	 /* an opening takes some hundredths: this is a hang */
#define STATE_SECONDS 60
#define JOBS 2
#define LIVES 6
#define STEPS 45 /* of a life */

/* How the check of one state ended: the exit status of its child. */
enum { HOLDS, BROKEN, HOLDS_REBUILT, HOLDS_NOTHING };

struct state {
	unsigned number;
	size_t at; /* position in the record: it is cut before this one, or during it */
	enum cut_fate data, names;
	bool under_way;
	uint64_t seed;
};

struct tally {
	unsigned hold, rebuilt;
};

__attribute__((constructor)) static void
use_memory(void)
{
	if (access("/dev/shm", W_OK | X_OK) == 0)
		(void)setenv("TMPDIR", "/dev/shm", 0);
}

static uint64_t
from_env(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text != NULL ? strtoull(text, NULL, 10) : otherwise;
}

static uint64_t
base_seed(void)
{
	return from_env("TEST_SEED", (uint64_t)time(NULL) ^ (uint64_t)getpid() << 32);
}

static int
remove_cb(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st, (void)flag, (void)ftw;
	(void)remove(path);
	return 0;
}

static void
remove_dir(const char *dir)
{
	(void)nftw(dir, remove_cb, 8, FTW_DEPTH | FTW_PHYS);
}

/* ---- the walk that is recorded ---- */

static void
say_to_record(const struct walk_report *r)
{
	record_say(r, sizeof(*r));
}

static void
walk_lives(const char *dir, uint64_t seed)
{
	for (unsigned life = 0; life < LIVES; life++) {
		struct walk_plan plan = { dir, seed + life, STEPS, life % 3 == 1, say_to_record };
		pid_t pid;
		int status;

		fflush(stdout);
		if ((pid = fork()) == 0) {
			if (life % 3 == 2)
				record_die(5 + (unsigned)(seed % 50));
			walk(&plan);
			_exit(0);
		}
		CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
		CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	}
}

/* Nothing but promises may be in the reports of a disk that never failed. */
static void
check_reports(const struct walk_model *m)
{
	CHECK_U64(m->fatals, 0);
	for (unsigned i = 0; i <= STORE_INVALID; i++)
		CHECK_U64(m->errors[i], 0);
}

/* ---- one state ---- */

/* The reports up to the position at. */
static void
reports_until(struct walk_model *m, size_t at)
{
	struct walk_report said;
	struct record r;

	for (size_t p = 0; p < at && record_get(p, &r); p = r.next) {
		if (r.kind != RECORD_SAID)
			continue;
		memcpy(&said, r.data, sizeof(said));
		walk_take(m, &said);
	}
}

static struct walk_model *model; /* of the state that this child checks */

static void
say_to_model(const struct walk_report *r)
{
	walk_take(model, r);
}

/* One rung in a child of its own: did it succeed?  Damage and whatever ends the child lead to the next; other errors do not. */
static bool
try_rung(const struct store_options *opt, enum ladder_rung rung, bool *next)
{
	struct ladder_result result;
	int status;
	pid_t pid;

	fflush(stdout);
	if ((pid = fork()) == 0) {
		(void)alarm(RUNG_SECONDS);
		ladder_try(opt, rung, &result);
		if (result.err != STORE_OK && (rung == LADDER_REBUILD || result.err != STORE_CORRUPT))
			printf("# rung %s: %s: %s\n", ladder_rung_name(rung), store_strerror(result.err), result.why);
		fflush(stdout);
		_exit(result.err == STORE_OK ? 0 : result.err == STORE_CORRUPT ? 1 : 2);
	}
	if (pid == -1 || waitpid(pid, &status, 0) != pid)
		return false;
	*next = WIFSIGNALED(status) || WEXITSTATUS(status) == 1;
	if (WIFSIGNALED(status))
		printf("# rung %s: signal %d\n", ladder_rung_name(rung), WTERMSIG(status));
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool
promised(void)
{
	for (size_t i = 0; i < model->nop; i++)
		if (model->op[i].said == WALK_APPEND && model->op[i].serial <= model->durable)
			return true;
	return false;
}

/* Opens what is in dir and compares. */
static int
compare(const char *dir, const char *when)
{
	struct store_options opt = walk_options(dir);
	/* While no changes of a device were promised there may be nothing to rebuild (values alone are not taken for a sound log); then every
	 * rung will do, and whatever of an attempt it finds. */
	const int last = promised() ? LADDER_REBUILD : LADDER_EMPTY;
	int rung = LADDER_NORMAL;
	char why[512] = "";
	struct store *s;
	bool next = false, open, holds;

	while (!(open = try_rung(&opt, (enum ladder_rung)rung, &next)) && next && rung < last)
		rung++;
	if (!open || store_open(&opt, &s, why, sizeof(why)) != STORE_OK) {
		printf("# %s: not recovered: %s\n", when, why);
		return BROKEN;
	}
	holds = walk_holds(s, model, why, sizeof(why));
	store_close(s);
	if (rung > LADDER_REBUILD)
		return HOLDS_NOTHING;
	if (!holds)
		printf("# %s (%s): %s\n", when, ladder_rung_name((enum ladder_rung)rung), why);
	return !holds ? BROKEN : rung == LADDER_REBUILD ? HOLDS_REBUILT : HOLDS;
}

/* In a child. */
static int
check_state(const struct cut *c, const struct state *st, const char *dir)
{
	uint64_t seed = st->seed;
	struct walk_model m = { 0 };
	struct walk_plan more = { dir, st->seed, 4, true, say_to_model };
	struct record r, *during = st->under_way && record_get(st->at, &r) ? &r : NULL;
	int ret;

	model = &m;
	reports_until(&m, st->at);
	if (!cut_build(c, during, st->data, st->names, &seed, dir)) {
		printf("# %s: %s\n", dir, strerror(errno));
		return BROKEN;
	}
	ret = compare(dir, "after the cut");
	if (ret != BROKEN && ret != HOLDS_NOTHING && st->number % 4 == 0) {
		walk(&more);
		check_reports(&m);
		if (harness_failed() || compare(dir, "after going on") != HOLDS)
			ret = BROKEN;
	}
	walk_free(&m);
	return ret;
}

static pid_t
start_state(const struct cut *c, const struct state *st, const char *dir)
{
	const struct rlimit no_core = { 0, 0 };
	pid_t pid;

	fflush(stdout);
	if ((pid = fork()) != 0)
		return pid;
	(void)setrlimit(RLIMIT_CORE, &no_core);
	(void)alarm(STATE_SECONDS);
	record_stop();
	pid = check_state(c, st, dir);
	fflush(stdout);
	_exit(pid);
}

static void
judge(struct tally *t, const struct state *st, int status, const char *dir)
{
	static const char *const fates[] = { "lost", "kept", "mixed" };
	bool exited = WIFEXITED(status);

	remove_dir(dir);
	if (exited && WEXITSTATUS(status) != BROKEN) {
		t->hold++;
		t->rebuilt += WEXITSTATUS(status) == HOLDS_REBUILT;
		return;
	}
	printf("# state %u at %zu%s, data %s, names %s: %s\n", st->number, st->at, st->under_way ? " (under way)" : "", fates[st->data],
	       fates[st->names], exited ? "broken" : WTERMSIG(status) == SIGALRM ? "hangs" : "crashes");
	harness_fail(__FILE__, __LINE__, "a cut took away what was promised");
}

/* ---- all states of one walk ---- */

struct runner {
	struct job {
		pid_t pid; /* 0: free */
		struct state st;
		char dir[4096];
	} job[JOBS];
	struct tally tally;
	const char *tmp;
};

/* Waits until at most `most` children are left. */
static void
wait_for(struct runner *run, unsigned most)
{
	unsigned running = 0;

	for (unsigned i = 0; i < JOBS; i++)
		running += run->job[i].pid != 0;
	while (running > most) {
		int status;
		pid_t pid = waitpid(-1, &status, 0);

		for (unsigned i = 0; i < JOBS; i++) {
			if (pid > 0 && run->job[i].pid == pid) {
				run->job[i].pid = 0;
				running--;
				judge(&run->tally, &run->job[i].st, status, run->job[i].dir);
			}
		}
	}
}

static void
try_state(struct runner *run, const struct cut *c, const struct state *st)
{
	unsigned i = 0;

	wait_for(run, JOBS - 1);
	while (run->job[i].pid != 0)
		i++;
	run->job[i].st = *st;
	(void)snprintf(run->job[i].dir, sizeof(run->job[i].dir), "%s/%u", run->tmp, st->number);
	run->job[i].pid = start_state(c, st, run->job[i].dir);
	if (run->job[i].pid == -1) {
		run->job[i].pid = 0;
		harness_fail(__FILE__, __LINE__, "fork: %s", strerror(errno));
	}
}

static size_t
count_records(void)
{
	struct record r;
	size_t n = 0;

	for (size_t p = 0; record_get(p, &r); p = r.next)
		n += r.kind != RECORD_SAID;
	return n;
}

static void
try_states(struct runner *run, uint64_t seed, unsigned states)
{
	size_t records = count_records(), n = 0;
	struct cut *c = cut_new();
	struct state st = { .seed = seed };
	struct record r;

	for (size_t p = 0; record_get(p, &r); p = r.next) {
		if (r.kind == RECORD_SAID)
			continue;
		/* The moments are spread evenly; more than one of the same moment differ in what was lost. */
		for (n++; st.number < n * states / records && !harness_failed(); st.number++) {
			st.at = p;
			st.seed = walk_random(&seed);
			st.data = (enum cut_fate)(walk_random(&seed) % 4 % CUT_FATES);
			st.names = (enum cut_fate)(walk_random(&seed) % CUT_FATES);
			st.under_way = walk_random(&seed) % 2 == 0;
			try_state(run, c, &st);
		}
		cut_apply(c, &r);
	}
	wait_for(run, 0);
	cut_free(c);
}

static void
cut_one_walk(struct tally *sum, uint64_t seed, unsigned states)
{
	const char *dir = harness_tmpdir();
	struct runner run = { .tmp = harness_tmpdir() };
	struct walk_model m = { 0 };

	record_start(dir);
	walk_lives(dir, seed);
	record_stop();
	remove_dir(dir);
	reports_until(&m, SIZE_MAX);
	check_reports(&m);
	walk_free(&m);
	if (!harness_failed())
		try_states(&run, seed, states);
	sum->hold += run.tally.hold;
	sum->rebuilt += run.tally.rebuilt;
	printf("# %zu records, %u states: %u hold, %u of them rebuilt\n", count_records(), states, run.tally.hold, run.tally.rebuilt);
}

TEST(power_cuts)
{
	uint64_t seed = base_seed();
	unsigned states = (unsigned)from_env("POWER_STATES", 500);
	struct tally sum = { 0 };

	for (unsigned done = 0; done < states && !harness_failed(); done += STATES_PER_WALK)
		cut_one_walk(&sum, seed + done, states - done < STATES_PER_WALK ? states - done : STATES_PER_WALK);
	printf("# %u states hold, %u of them rebuilt; TEST_SEED=%llu\n", sum.hold, sum.rebuilt, (unsigned long long)seed);
	if (!harness_failed())
		CHECK_U64(sum.hold, states);
}

/* ---- the record itself ---- */

static void
compare_files(const char *dir, const char *picture)
{
	static char text[2][16 << 20];
	struct dirent *e;
	DIR *d = opendir(dir);
	unsigned n = 0;

	CHECK(d != NULL);
	while ((e = readdir(d)) != NULL && !harness_failed()) {
		const char *dirs[2] = { dir, picture };
		ssize_t len[2];

		if (e->d_name[0] == '.' || strcmp(e->d_name, "lock") == 0)
			continue;
		for (int i = 0; i < 2; i++) {
			char path[8192];
			int fd;

			(void)snprintf(path, sizeof(path), "%s/%s", dirs[i], e->d_name);
			fd = open(path, O_RDONLY | O_CLOEXEC);
			len[i] = fd == -1 ? -1 : read(fd, text[i], sizeof(text[i]));
			(void)close(fd);
		}
		n++;
		if (len[0] != len[1] || memcmp(text[0], text[1], len[0] > 0 ? (size_t)len[0] : 0) != 0)
			harness_fail(__FILE__, __LINE__, "%s: the picture differs (%zd bytes, want %zd)", e->d_name, len[1], len[0]);
	}
	(void)closedir(d);
	CHECK(n >= 6); /* five tables and a log */
}

/* Nothing goes past the recorder: with nothing lost, the picture is the directory. */
TEST(picture_is_complete)
{
	const char *dir = harness_tmpdir();
	char picture[4200];
	uint64_t seed = base_seed();
	struct cut *c = cut_new();
	struct record r;

	(void)snprintf(picture, sizeof(picture), "%s/picture", harness_tmpdir());
	record_start(dir);
	walk_lives(dir, seed);
	record_stop();
	for (size_t p = 0; record_get(p, &r); p = r.next)
		cut_apply(c, &r);
	CHECK(cut_build(c, NULL, CUT_KEPT, CUT_KEPT, &seed, picture));
	compare_files(dir, picture);
	cut_free(c);
}
