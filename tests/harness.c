/* The main of every unit test program.
 *
 * Runs the tests that registered themselves, in the order of the source, in this process and thread; a crash or a hang is seen
 * by tests/run.sh, which knows the program's name and its last line. Prints one line a test and ends with
 * "N passed, N failed, N skipped", which is all that run.sh relies on. */
#include <err.h>
#include <ftw.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/harness.h"

#ifndef HARNESS_SRCDIR
#define HARNESS_SRCDIR "."
#endif

static struct harness_test *tests;
static struct harness_test **tests_end = &tests;
static bool failed;
static const char *skipped;

static char tmp_root[PATH_MAX / 2];
static pid_t tmp_owner;

void
harness_add(struct harness_test *t)
{
	*tests_end = t;
	tests_end = &t->next;
}

bool
harness_failed(void)
{
	return failed;
}

void
harness_skip(const char *why)
{
	skipped = why;
}

void
harness_fail(const char *file, int line, const char *fmt, ...)
{
	va_list ap;

	failed = true;
	printf("# %s:%d: ", file, line);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

bool
harness_u64(const char *file, int line, const char *what, uint64_t got, uint64_t want)
{
	if (got == want)
		return true;
	harness_fail(file, line, "%s: got %" PRIu64 " (0x%" PRIx64 "), want %" PRIu64 " (0x%" PRIx64 ")", what, got, got, want, want);
	return false;
}

bool
harness_str(const char *file, int line, const char *what, const char *got, const char *want)
{
	if (got == want || (got != NULL && want != NULL && strcmp(got, want) == 0))
		return true;
	harness_fail(file, line, "%s: got \"%s\", want \"%s\"", what, got != NULL ? got : "(NULL)", want != NULL ? want : "(NULL)");
	return false;
}

static void
print_bytes(const char *label, const unsigned char *p, size_t len, size_t from)
{
	printf("#   %s [%zu..]:", label, from);
	for (size_t i = from; i < len && i < from + 24; i++)
		printf(" %02x", p[i]);
	putchar('\n');
}

bool
harness_mem(const char *file, int line, const char *what, const void *got, size_t got_len, const void *want, size_t want_len)
{
	const unsigned char *g = got, *w = want;
	size_t i = 0;

	while (i < got_len && i < want_len && g[i] == w[i])
		i++;
	if (i == got_len && i == want_len)
		return true;
	harness_fail(file, line, "%s: got %zu bytes, want %zu bytes, first difference at %zu", what, got_len, want_len, i);
	i = i > 8 ? i - 8 : 0;
	print_bytes("got ", g, got_len, i);
	print_bytes("want", w, want_len, i);
	return false;
}

static int
remove_cb(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st, (void)flag, (void)ftw;
	(void)remove(path);
	return 0;
}

static void
tmp_remove(void)
{
	if (tmp_owner == getpid())
		(void)nftw(tmp_root, remove_cb, 16, FTW_DEPTH | FTW_PHYS);
}

const char *
harness_tmpdir(void)
{
	static struct dir {
		struct dir *next;	/* keeps the strings reachable for LeakSanitizer */
		char path[PATH_MAX];
	} *dirs;
	static unsigned int n;
	const char *base = getenv("TMPDIR");
	struct dir *d = calloc(1, sizeof(*d));

	if (d == NULL)
		abort();
	if (tmp_owner != getpid()) {
		(void)snprintf(tmp_root, sizeof(tmp_root), "%s/holdfast-test.XXXXXX", base != NULL && *base != '\0' ? base : "/tmp");
		if (mkdtemp(tmp_root) == NULL)
			err(1, "%s", tmp_root);
		if (tmp_owner == 0)	/* a child inherits its parent's handler */
			(void)atexit(tmp_remove);
		tmp_owner = getpid();
	}
	(void)snprintf(d->path, sizeof(d->path), "%s/%u", tmp_root, n++);
	if (mkdir(d->path, 0700) != 0)
		err(1, "%s", d->path);
	d->next = dirs;
	dirs = d;
	return d->path;
}

const char *
harness_srcdir(void)
{
	const char *dir = getenv("HOLDFAST_SRCDIR");

	return dir != NULL && *dir != '\0' ? dir : HARNESS_SRCDIR;
}

const char *
harness_shared(void)
{
	static char path[PATH_MAX];
	const char *dir = getenv("HOLDFAST_SHARED");

	if (dir != NULL && *dir != '\0')
		(void)snprintf(path, sizeof(path), "%s", dir);
	else
		(void)snprintf(path, sizeof(path), "%s/../shared", harness_srcdir());
	return access(path, R_OK | X_OK) == 0 ? path : NULL;
}

int
main(void)
{
	const char *filter = getenv("TEST_FILTER");
	unsigned int npassed = 0, nfailed = 0, nskipped = 0;

	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	for (struct harness_test *t = tests; t != NULL; t = t->next) {
		if (filter != NULL && strstr(t->name, filter) == NULL)
			continue;
		failed = false;
		skipped = NULL;
		t->run();
		if (failed) {
			nfailed++;
			printf("not ok %s\n", t->name);
		} else if (skipped != NULL) {
			nskipped++;
			printf("skip %s # %s\n", t->name, skipped);
		} else {
			npassed++;
			printf("ok %s\n", t->name);
		}
	}
	printf("%u passed, %u failed, %u skipped\n", npassed, nfailed, nskipped);
	return nfailed == 0 ? 0 : 1;
}
