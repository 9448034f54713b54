/* The start-up ladder: each rung on damage that only it can mend.  Damage is done to the files themselves, after a clean close or a kill.
 *
 * After each rung: what may not be lost is there, every file's backlog is in order and its bytes right, and what was damaged is still to
 * be found in an aside directory. */
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include "buffer/ladder.h"
#include "tests/harness.h"
#include "tests/storekit.h"

enum { NFILES = 4, NVERSIONS = 300 };

static uint8_t data[KIT_DATA_MAX];
static const uint8_t a_key[STORE_KEY_BYTES] = "0123456789abcdef0123456789abcdef", another_key[STORE_KEY_BYTES] = "x";

static struct store_options
options(const char *dir)
{
	struct store_options opt = kit_options(dir);

	opt.log_file_bytes = 256u << 10;
	opt.checkpoint_bytes = 128u << 10;
	return opt;
}

/* Fills a store with versions 1 to NVERSIONS of each file, in commits of ten, and leaves it without closing it. */
static void
fill(const struct store_options *opt)
{
	struct store_file f[NFILES];
	struct store *s;
	char why[400];
	bool added, ok = store_open(opt, &s, why, sizeof(why)) == STORE_OK;

	for (uint64_t v = 1; ok && v <= NVERSIONS; v += 10) {
		for (uint64_t n = 0; ok && n < NFILES; n++) {
			ok = store_begin(s) == STORE_OK;
			if (v == 1)
				f[n] = kit_file(n);
			f[n].held_client_version = v + 9;
			ok = ok && store_file_put(s, &f[n]) == STORE_OK;
			for (uint64_t i = v; ok && i < v + 10; i++) {
				struct store_record r = kit_record(data, n, i, kit_len(n, i));

				ok = store_append(s, f[n].id, &r, &added) == STORE_OK;
			}
			ok = ok && store_commit(s, true) == STORE_OK && store_checkpoint(s, false) == STORE_OK;
		}
	}
	_exit(ok ? 0 : 1);
}

static void
filled(const struct store_options *opt)
{
	int status;
	pid_t pid;

	fflush(stdout);
	if ((pid = fork()) == 0)
		fill(opt);
	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

struct seen {
	uint64_t n, count, last;
	bool wrong;
};

static bool
see(void *arg, const struct store_record *r)
{
	struct seen *seen = arg;

	seen->wrong |= r->client_version <= seen->last || !kit_same(r, seen->n, kit_len(seen->n, r->client_version));
	seen->last = r->client_version;
	seen->count++;
	return true;
}

/* What a store holds after all: changesets, and files that are LOST. */
struct sum {
	uint64_t records, lost, files;
};

static struct sum
sum_up(const struct store_options *opt)
{
	struct sum sum = { 0 };
	struct store *s;
	char why[400];

	if (store_open(opt, &s, why, sizeof(why)) != STORE_OK) {
		printf("# %s\n", why);
		return (struct sum){ UINT64_MAX, 0, 0 };
	}
	for (uint64_t n = 0; n < NFILES; n++) {
		struct seen seen = { .n = n };
		struct store_file f = kit_file(n);

		if (store_file_find(s, f.endpoint, f.path, f.file_ident, f.file_ident_salt, &f) != STORE_OK)
			continue;
		sum.files++;
		sum.lost += f.state == STORE_FILE_LOST;
		if (store_read(s, f.id, 0, UINT64_MAX, see, &seen, NULL) != STORE_OK || seen.wrong || f.backlog_records != seen.count)
			sum.records = UINT64_MAX / 2;
		sum.records += seen.count;
	}
	store_close(s);
	return sum;
}

/* Climbs until a rung succeeds, each in a process of its own as the relay does. */
static enum ladder_rung
climb(const struct store_options *opt, struct ladder_result *res)
{
	int fd[2];

	for (enum ladder_rung rung = LADDER_NORMAL; rung < LADDER_RUNGS; rung++) {
		pid_t pid;

		if (pipe(fd) == -1)
			abort();
		fflush(stdout);
		if ((pid = fork()) == 0) {
			ladder_try(opt, rung, res);
			_exit(write(fd[1], res, sizeof(*res)) == sizeof(*res) ? 0 : 1);
		}
		(void)close(fd[1]);
		if (read(fd[0], res, sizeof(*res)) != sizeof(*res))
			memset(res, 0, sizeof(*res)), res->err = STORE_CORRUPT;
		(void)close(fd[0]);
		(void)waitpid(pid, NULL, 0);
		if (res->err == STORE_OK)
			return rung;
		printf("# %s: %s: %s\n", ladder_rung_name(rung), store_strerror(res->err), res->why);
		if (res->err != STORE_CORRUPT)
			break;
	}
	return LADDER_RUNGS;
}

/* ---- damage ---- */

static int
open_in(const char *dir, const char *name, int flags)
{
	char path[700];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return open(path, flags, 0600);
}

static void
overwrite(const char *dir, const char *name, off_t at, size_t len)
{
	char junk[8192];
	int fd = open_in(dir, name, O_WRONLY);

	memset(junk, 0x5a, sizeof(junk));
	CHECK(fd != -1 && len <= sizeof(junk));
	CHECK(pwrite(fd, junk, len, at) == (ssize_t)len);
	CHECK(close(fd) == 0);
}

static void
shorten(const char *dir, const char *name, off_t to)
{
	int fd = open_in(dir, name, O_WRONLY);

	CHECK(fd != -1 && ftruncate(fd, to) == 0 && close(fd) == 0);
}

/* Removes every log file but the newest. */
static void
remove_logs(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	char newest[64] = "", path[700];

	CHECK(d != NULL);
	while ((e = readdir(d)) != NULL) {
		if (strncmp(e->d_name, "log.", 4) == 0 && strcmp(e->d_name, newest) > 0)
			snprintf(newest, sizeof(newest), "%.60s", e->d_name);
	}
	rewinddir(d);
	while ((e = readdir(d)) != NULL) {
		snprintf(path, sizeof(path), "%s/%.60s", dir, e->d_name);
		if (strncmp(e->d_name, "log.", 4) == 0 && strcmp(e->d_name, newest) != 0)
			CHECK(unlink(path) == 0);
	}
	closedir(d);
}

static bool
in_aside(const char *dir, const char *aside, const char *name)
{
	char path[900];

	snprintf(path, sizeof(path), "%s/%s/%s", dir, aside, name);
	return access(path, F_OK) == 0;
}

/* ---- the rungs ---- */

TEST(sound)
{
	struct store_options opt = options(harness_tmpdir());
	struct ladder_result res;

	filled(&opt);
	CHECK_U64(climb(&opt, &res), LADDER_NORMAL);
	CHECK_STR(res.aside, "");
	CHECK_U64(sum_up(&opt).records, NFILES * NVERSIONS);
	CHECK_STR(ladder_rung_name(LADDER_NORMAL), "normal");
}

/* Damage of each table, at its first page and in the middle, with the whole log there: nothing is lost. */
static void
rebuild_after(const char *name, off_t at, size_t len, bool cut)
{
	struct store_options opt = options(harness_tmpdir());
	struct ladder_result res;
	struct store *s;
	char why[400];

	filled(&opt);
	CHECK(store_open(&opt, &s, why, sizeof(why)) == STORE_OK);
	store_close(s);
	if (cut)
		shorten(opt.dir, name, at);
	else
		overwrite(opt.dir, name, at, len);
	/* the relay comes upon it when it reads; then it ends, and the next start looks at all pages */
	CHECK(creat(strcat(strcpy(why, opt.dir), "/damaged"), 0600) != -1);
	CHECK_U64(climb(&opt, &res), LADDER_REBUILD);
	CHECK(in_aside(opt.dir, res.aside, name));
	CHECK(in_aside(opt.dir, res.aside, "damaged"));
	CHECK_U64(sum_up(&opt).records, NFILES * NVERSIONS);
	CHECK_U64(climb(&opt, &res), LADDER_NORMAL);
}

TEST(rebuild_meta_page)
{
	rebuild_after("changesets.db", 100, 8, false);
}

TEST(rebuild_middle_page)
{
	rebuild_after("changesets.db", 20 * 4096 + 1000, 512, false);
}

TEST(rebuild_files)
{
	rebuild_after("files.db", 4096 + 64, 512, false);
}

TEST(rebuild_garbage)
{
	rebuild_after("meta.db", 0, 8192, false);
}

TEST(rebuild_truncated)
{
	rebuild_after("changesets.db", 10 * 4096 + 77, 0, true);
}

TEST(rebuild_emptied)
{
	rebuild_after("files.db", 0, 0, true);
}

/* A table that is gone, without any mark. */
TEST(rebuild_missing_table)
{
	struct store_options opt = options(harness_tmpdir());
	struct ladder_result res;
	char path[700];

	filled(&opt);
	snprintf(path, sizeof(path), "%s/names.db", opt.dir);
	CHECK(unlink(path) == 0);
	CHECK_U64(climb(&opt, &res), LADDER_REBUILD);
	CHECK_U64(sum_up(&opt).records, NFILES * NVERSIONS);
}

static bool
has_base(const char *dir)
{
	char path[700];

	snprintf(path, sizeof(path), "%s/base", dir);
	return access(path, F_OK) == 0;
}

/* The log is bounded although nothing was drained, and base and log rebuild everything. */
static void
bounded_log(const uint8_t *key)
{
	struct store_options opt = options(harness_tmpdir());
	struct ladder_result res;
	struct store_stat st;
	struct store *s;
	char why[400], path[700];

	opt.key = key;
	opt.max_log_bytes = 512u << 10;
	filled(&opt);
	CHECK(has_base(opt.dir));
	snprintf(path, sizeof(path), "%s/log.0000000001", opt.dir);
	CHECK(access(path, F_OK) == -1);
	CHECK(store_open(&opt, &s, why, sizeof(why)) == STORE_OK);
	CHECK_U64(store_stat(s, &st), STORE_OK);
	CHECK_U64(st.records, NFILES * NVERSIONS);
	CHECK(st.log_bytes < 4 * st.bytes / 3 + (1u << 20));
	store_close(s);
	overwrite(opt.dir, "changesets.db", 30 * 4096 + 1000, 512);
	CHECK(creat(strcat(strcpy(why, opt.dir), "/damaged"), 0600) != -1);
	CHECK_U64(climb(&opt, &res), LADDER_REBUILD);
	CHECK_U64(sum_up(&opt).records, NFILES * NVERSIONS);
	CHECK_U64(climb(&opt, &res), LADDER_NORMAL);
}

TEST(rebuild_from_base)
{
	bounded_log(NULL);
}

TEST(rebuild_from_base_encrypted)
{
	bounded_log(a_key);
}

/* Neither a whole log nor a base: what has a right CRC is saved, the rest of the file is LOST, other files are as they were. */
static void
salvage_after(const uint8_t *key, off_t at, size_t len)
{
	struct store_options opt = options(harness_tmpdir());
	struct ladder_result res;
	struct store *s;
	struct sum sum;
	char why[400];

	opt.key = key;
	filled(&opt);
	CHECK(store_open(&opt, &s, why, sizeof(why)) == STORE_OK);
	store_close(s);
	remove_logs(opt.dir);
	overwrite(opt.dir, "changesets.db", at, len);
	CHECK(creat(strcat(strcpy(why, opt.dir), "/damaged"), 0600) != -1);
	CHECK_U64(climb(&opt, &res), LADDER_SALVAGE);
	CHECK(in_aside(opt.dir, res.aside, "changesets.db"));
	CHECK(in_aside(opt.dir, res.aside, "damaged"));
	sum = sum_up(&opt);
	printf("# %llu of %d changesets saved, %llu files lost\n", (unsigned long long)sum.records, NFILES * NVERSIONS,
	       (unsigned long long)sum.lost);
	CHECK_U64(sum.files, NFILES);
	CHECK_U64(sum.records, res.records);
	CHECK(sum.records >= NFILES * NVERSIONS - 60);
	CHECK_U64(sum.lost, res.files_lost);
	CHECK_U64(sum.lost > 0, sum.records < NFILES * NVERSIONS);
	CHECK_U64(climb(&opt, &res), LADDER_NORMAL);
}

TEST(salvage_page)
{
	salvage_after(NULL, 40 * 4096, 8192);
}

TEST(salvage_meta_page)
{
	salvage_after(NULL, 0, 4096);
}

TEST(salvage_page_encrypted)
{
	salvage_after(a_key, 40 * 4096, 8192);
}

/* Nothing of the tables is left. */
TEST(empty)
{
	struct store_options opt = options(harness_tmpdir());
	struct ladder_result res;
	struct sum sum;

	filled(&opt);
	remove_logs(opt.dir);
	for (size_t i = 0; i < 3; i++)
		shorten(opt.dir, ((const char *[]){ "files.db", "changesets.db", "meta.db" })[i], 0);
	/* A salvage that finds nothing is a success too: empty is for when even that fails. */
	CHECK_U64(climb(&opt, &res), LADDER_SALVAGE);
	CHECK_U64(res.records, 0);
	ladder_try(&opt, LADDER_EMPTY, &res);
	CHECK_U64(res.err, STORE_OK);
	CHECK(in_aside(opt.dir, res.aside, "changesets.db"));
	sum = sum_up(&opt);
	CHECK_U64(sum.records, 0);
	CHECK_U64(sum.files, 0);
	CHECK_U64(climb(&opt, &res), LADDER_NORMAL);
}

/* A rung that was interrupted after it moved the tables: the store does not open as an empty one, the ladder goes on. */
TEST(interrupted)
{
	struct store_options opt = options(harness_tmpdir());
	struct ladder_result res;
	struct store *s;
	char why[400], from[700], to[700];
	int fd;

	filled(&opt);
	snprintf(to, sizeof(to), "%s/aside-x", opt.dir);
	CHECK(mkdir(to, 0700) == 0);
	CHECK((fd = open_in(opt.dir, "damaged", O_WRONLY | O_CREAT)) != -1);
	CHECK(write(fd, "holdfast damaged 1\naside-x\n", 27) == 27 && close(fd) == 0);
	for (size_t i = 0; i < 5; i++) {
		static const char *const names[] = { "meta.db", "files.db", "names.db", "changesets.db", "tokens.db" };

		snprintf(from, sizeof(from), "%s/%s", opt.dir, names[i]);
		snprintf(to, sizeof(to), "%s/aside-x/%s", opt.dir, names[i]);
		CHECK(rename(from, to) == 0);
	}
	CHECK_U64(store_open(&opt, &s, why, sizeof(why)), STORE_CORRUPT);
	CHECK_U64(climb(&opt, &res), LADDER_REBUILD);
	CHECK_U64(sum_up(&opt).records, NFILES * NVERSIONS);
}

/* ---- keys ---- */

TEST(keys)
{
	struct store_options opt = options(harness_tmpdir()), plain = options(harness_tmpdir());
	struct ladder_result res;
	struct store *s;
	char why[400];

	opt.key = a_key;
	filled(&opt);
	CHECK_U64(climb(&opt, &res), LADDER_NORMAL);
	CHECK_U64(sum_up(&opt).records, NFILES * NVERSIONS);
	opt.key = another_key;
	CHECK_U64(climb(&opt, &res), LADDER_RUNGS);
	CHECK_U64(res.err, STORE_KEY);
	opt.key = NULL;
	CHECK_U64(store_open(&opt, &s, why, sizeof(why)), STORE_KEY);
	CHECK(strstr(why, "key_file") != NULL);
	opt.key = a_key;
	CHECK_U64(sum_up(&opt).records, NFILES * NVERSIONS);
	filled(&plain);
	plain.key = a_key;
	CHECK_U64(store_open(&plain, &s, why, sizeof(why)), STORE_KEY);
	CHECK(strstr(why, "without a key") != NULL);
	plain.key = NULL;
	CHECK_U64(sum_up(&plain).records, NFILES * NVERSIONS);
}

/* Is a text in any file of the directory? */
static bool
on_disk(const char *dir, const char *text)
{
	static uint8_t all[8u << 20];
	DIR *d = opendir(dir);
	struct dirent *e;
	bool found = false;

	while (d != NULL && (e = readdir(d)) != NULL) {
		int fd = open_in(dir, e->d_name, O_RDONLY);
		ssize_t n = fd != -1 ? read(fd, all, sizeof(all)) : 0;

		found |= n > 0 && memmem(all, (size_t)n, text, strlen(text)) != NULL;
		if (fd != -1)
			(void)close(fd);
	}
	if (d != NULL)
		(void)closedir(d);
	return found;
}

TEST(encrypted_hides)
{
	const uint8_t *keys[] = { NULL, a_key };

	for (int i = 0; i < 2; i++) {
		struct store_options opt = options(harness_tmpdir());
		struct store_record r = { .client_version = 1, .data = (const uint8_t *)"needle in the haystack", .len = 22 };
		struct store_file f = kit_file(1);
		struct store *s;
		char why[400];
		bool added;

		opt.key = keys[i];
		CHECK_U64(store_open(&opt, &s, why, sizeof(why)), STORE_OK);
		CHECK_U64(store_begin(s), STORE_OK);
		CHECK_U64(store_put(s, STORE_TOKENS, "token", 5, "bearer secret", 13), STORE_OK);
		CHECK_U64(store_file_put(s, &f), STORE_OK);
		CHECK_U64(store_append(s, f.id, &r, &added), STORE_OK);
		CHECK_U64(store_commit(s, true), STORE_OK);
		store_close(s);
		CHECK_U64(on_disk(opt.dir, "needle in"), i == 0);
		CHECK_U64(on_disk(opt.dir, "bearer secret"), i == 0);
		CHECK(!on_disk(opt.dir, "0123456789abcdef"));
	}
}

/* ---- a full disk ---- */

/* Fills the file system of dir to the last byte. */
static void
fill_disk(const char *dir)
{
	static const char zeros[4096];
	int fd = open_in(dir, "../filler", O_WRONLY | O_CREAT);
	size_t len = sizeof(zeros);

	CHECK(fd != -1);
	for (; len > 0; len /= 2) {
		while (write(fd, zeros, len) > 0)
			;
	}
	CHECK(close(fd) == 0);
}

/* On a disk that is 100 % full, after a kill: the ballast goes, recovery works, nothing is taken until there is room, and then all goes on. */
static void
start_on_full_disk(const char *volume)
{
	char dir[600], filler[600], why[400] = "";
	struct store_options opt = options(dir);
	struct store_record r = kit_record(data, 0, NVERSIONS + 1, 100);
	struct ladder_result res;
	struct store_stat st;
	struct store_file f = kit_file(0);
	struct store *s;
	bool added;

	snprintf(dir, sizeof(dir), "%s/buffer", volume);
	snprintf(filler, sizeof(filler), "%s/filler", volume);
	opt.ballast_bytes = 2u << 20;
	opt.min_free = 64u << 10;
	filled(&opt);
	fill_disk(dir);
	ladder_try(&opt, LADDER_NORMAL, &res);
	CHECK_U64(res.err, STORE_OK);
	CHECK_U64(store_open(&opt, &s, why, sizeof(why)), STORE_OK);
	fill_disk(dir); /* whatever the ballast has left */
	CHECK_U64(store_checkpoint(s, false), STORE_OK);
	CHECK_U64(store_file_find(s, f.endpoint, f.path, f.file_ident, f.file_ident_salt, &f), STORE_OK);
	CHECK_U64(f.backlog_records, NVERSIONS);
	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_append(s, f.id, &r, &added), STORE_FULL);
	store_abort(s);
	CHECK(unlink(filler) == 0);
	CHECK_U64(store_checkpoint(s, false), STORE_OK);
	CHECK_U64(store_stat(s, &st), STORE_OK);
	CHECK(st.ballast && st.disk_free > opt.min_free);
	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_append(s, f.id, &r, &added), STORE_OK);
	CHECK_U64(store_commit(s, true), STORE_OK);
	store_close(s);
	/* Without ballast a new buffer cannot even be begun, and what is said is what is wrong. */
	opt.ballast_bytes = 0;
	fill_disk(dir);
	snprintf(dir, sizeof(dir), "%s/another", volume);
	ladder_try(&opt, LADDER_NORMAL, &res);
	CHECK_U64(res.err, STORE_NOSPACE);
}

TEST(full_disk)
{
	const char *volume = harness_tmpdir();
	int status;
	pid_t pid;

	fflush(stdout);
	if ((pid = fork()) == 0) { /* its mounts are its own */
		if (unshare(CLONE_NEWNS) == -1 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == -1 ||
		    mount("none", volume, "tmpfs", 0, "size=12M,mode=0700") == -1)
			_exit(77);
		start_on_full_disk(volume);
		fflush(stdout);
		_exit(harness_failed());
	}
	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		SKIP("no tmpfs can be mounted here");
	CHECK_U64(WEXITSTATUS(status), 0);
}
