/* scenario - plays scenario files: programs wired together, what is said to them, what must be seen (play.c has the language).
 *
 * usage: scenario [--bin DIR] [--keep] [--verbose] [--seed N] [--seeds N] [-j N] FILE.scn...
 *
 *	--bin DIR	where holdfast is, and upstream, linkproxy and client, there or in DIR/obj/tests/ (default:
 *			HOLDFAST_BIN, else as built beside this program)
 *	--keep		leave the directory of each scenario, with all logs, and say where it is
 *	--verbose	show every command and answer
 *	--seed N	of the scenarios' random numbers (default: from the clock; a scenario that fails shows it)
 *	--seeds N	play each file N times, with this seed and those that follow it; each is shown
 *	-j N		scenarios at a time (default 2)
 *
 * Environment: TEST_FILTER plays only the files whose name contains it; RUN_SLOWER multiplies all time limits.
 *
 * Each scenario is played by a child process, so that a failure ends no other one; what it printed is shown when it ends. Says
 * "ok NAME" or "not ok NAME" and why for each, then "N passed, N failed"; exit status 1 if any failed. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <sys/prctl.h>
#include <sys/wait.h>

#include "tests/scenario/fail.h"
#include "tests/scenario/play.h"
#include "tests/scenario/stage.h"

#define JOBS_MAX 16

struct job {
	pid_t pid; /* 0: free */
	const char *file;
	FILE *output;
	uint64_t started_ms, seed;
};

static struct {
	struct stage_options stage;
	uint64_t seed, nseeds;
	struct job job[JOBS_MAX];
	unsigned njobs, passed, failed, skipped;
} g;

static void
usage(void)
{
	fputs("usage: scenario [--bin DIR] [--keep] [--verbose] [--seed N] [--seeds N] [-j N] FILE.scn...\n", stderr);
	exit(2);
}

/* "tests/scenarios/cut-upload.scn" -> "cut-upload" */
static const char *
name_of(const char *file, char name[64])
{
	const char *slash = strrchr(file, '/');

	snprintf(name, 64, "%s", slash == NULL ? file : slash + 1);
	if (strlen(name) > 4 && strcmp(name + strlen(name) - 4, ".scn") == 0)
		name[strlen(name) - 4] = '\0';
	return name;
}

/* In the child. */
static _Noreturn void
play_file(const char *file, FILE *output, uint64_t seed)
{
	struct script s;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (dup2(fileno(output), STDOUT_FILENO) < 0)
		_exit(1);
	if (!script_read(&s, file))
		fail("%s: %s", file, strerror(errno));
	stage_open(&g.stage);
	play(&s, file, seed);
	stage_close();
	script_free(&s);
	fflush(stdout);
	exit(0);
}

static void
begin(struct job *j, const char *file, uint64_t seed)
{
	j->file = file;
	j->seed = seed;
	j->started_ms = proc_now_ms();
	j->output = tmpfile();
	if (j->output == NULL) {
		perror("tmpfile");
		exit(1);
	}
	fflush(stdout);
	j->pid = fork();
	if (j->pid < 0) {
		perror("fork");
		exit(1);
	}
	if (j->pid == 0)
		play_file(file, j->output, seed);
}

/* Shows what a scenario that has ended said. */
static void
end(struct job *j, int status)
{
	double s = (double)(proc_now_ms() - j->started_ms) / 1000;
	char name[64], buf[4096], seed[40] = "";
	size_t n;

	if (status != 0 || g.nseeds > 1)
		snprintf(seed, sizeof seed, ", --seed %llu", (unsigned long long)j->seed);
	name_of(j->file, name);
	if (status == 0) {
		g.passed++;
		printf("ok %s # %.1f s%s\n", name, s, seed);
	} else if (WIFEXITED(status) && WEXITSTATUS(status) == STAGE_SKIPPED) {
		g.skipped++;
		printf("skip %s # ", name);
	} else {
		g.failed++;
		printf("not ok %s # %.1f s%s\n", name, s, seed);
		if (WIFSIGNALED(status))
			printf("  the runner itself died of signal %d\n", WTERMSIG(status));
	}
	rewind(j->output);
	while ((n = fread(buf, 1, sizeof buf, j->output)) > 0)
		fwrite(buf, 1, n, stdout);
	fclose(j->output);
	fflush(stdout);
	j->pid = 0;
}

/* Waits for one of the running scenarios; its job is then free. */
static struct job *
wait_one(void)
{
	int status;
	pid_t pid = wait(&status);

	for (unsigned i = 0; i < g.njobs; i++) {
		if (pid > 0 && g.job[i].pid == pid) {
			end(&g.job[i], status);
			return &g.job[i];
		}
	}
	perror("wait");
	exit(1);
}

/* A job that is free, after a wait if need be. */
static struct job *
free_job(void)
{
	for (unsigned i = 0; i < g.njobs; i++) {
		if (g.job[i].pid == 0)
			return &g.job[i];
	}
	return wait_one();
}

static void
play_all(char **files)
{
	const char *filter = getenv("TEST_FILTER");

	for (; *files != NULL; files++) {
		char name[64];

		if (filter != NULL && strstr(name_of(*files, name), filter) == NULL)
			continue;
		for (uint64_t i = 0; i < g.nseeds; i++)
			begin(free_job(), *files, g.seed + i);
	}
	for (unsigned i = 0; i < g.njobs; i++) {
		while (g.job[i].pid != 0)
			(void)wait_one();
	}
}

static uint64_t
number(const char *text)
{
	uint64_t n;

	if (!text_number(text, &n) || n == 0)
		usage();
	return n;
}

static void
parse_options(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "bin", 1, NULL, 'b' },  { "keep", 0, NULL, 'k' }, { "verbose", 0, NULL, 'v' },
		{ "seed", 1, NULL, 's' }, { "seeds", 1, NULL, 'n' }, { NULL, 0, NULL, 0 },
	};
	const char *slower = getenv("RUN_SLOWER");
	int c;

	g.stage.bin = getenv("HOLDFAST_BIN");
	g.stage.self = argv[0];
	g.stage.slower = slower == NULL ? 1 : (unsigned)number(slower);
	g.seed = (uint64_t)time(NULL);
	g.nseeds = 1;
	g.njobs = 2;
	while ((c = getopt_long(argc, argv, "j:", longs, NULL)) != -1) {
		switch (c) {
		case 'b': g.stage.bin = optarg; break;
		case 'k': g.stage.keep = true; break;
		case 'v': g.stage.verbose = true; break;
		case 's': g.seed = number(optarg); break;
		case 'n': g.nseeds = number(optarg); break;
		case 'j': g.njobs = (unsigned)number(optarg); break;
		default: usage();
		}
	}
	if (optind == argc || g.njobs > JOBS_MAX)
		usage();
}

/* For the programs under test: who called, and little freed memory held back, since scenarios look at resident sizes. */
static void
set_sanitizers(void)
{
	const char *asan = getenv("ASAN_OPTIONS");
	char options[1024];

	snprintf(options, sizeof options, "%s%squarantine_size_mb=2", asan == NULL ? "" : asan,
		 asan == NULL || *asan == '\0' ? "" : ":");
	setenv("ASAN_OPTIONS", options, 1);
	setenv("UBSAN_OPTIONS", "print_stacktrace=1:halt_on_error=1", 0);
}

int
main(int argc, char **argv)
{
	parse_options(argc, argv);
	signal(SIGPIPE, SIG_IGN);
	set_sanitizers();
	play_all(argv + optind);
	printf("%u passed, %u failed", g.passed, g.failed);
	printf(g.skipped > 0 ? ", %u skipped\n" : "\n", g.skipped);
	return g.failed != 0;
}
