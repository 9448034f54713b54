/* The store's directory: who may open it, its modes, its files. */
#include <sys/stat.h>

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/storekit.h"

/* Adds a hundred records to f, after those it has. */
static void
add_hundred(struct store *s, struct store_file *f)
{
	static uint8_t data[KIT_DATA_MAX];
	bool added;

	CHECK_U64(store_begin(s), STORE_OK);
	if (f->id == 0) {
		*f = kit_file(1);
		CHECK_U64(store_file_put(s, f), STORE_OK);
	}
	for (int i = 0; i < 100; i++) {
		struct store_record r = kit_record(data, 1, ++f->held_client_version, 1000);

		CHECK_U64(store_append(s, f->id, &r, &added), STORE_OK);
	}
	CHECK_U64(store_commit(s, true), STORE_OK);
}

TEST(second_opener)
{
	const char *dir = harness_tmpdir();
	struct store_options opt = kit_options(dir);
	struct store *s = kit_open(dir), *second = s;
	char why[300] = "", pid[32];

	CHECK(s != NULL);
	CHECK_U64(store_open(&opt, &second, why, sizeof(why)), STORE_LOCKED);
	CHECK(second == NULL);
	snprintf(pid, sizeof(pid), "process %ld", (long)getpid());
	CHECK(strstr(why, pid) != NULL);
	CHECK(strstr(why, dir) != NULL);
	store_close(s);
	CHECK_U64(store_open(&opt, &s, why, sizeof(why)), STORE_OK);
	store_close(s);
}

static unsigned
mode_of(const char *dir, const char *name)
{
	char path[600];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return stat(path, &st) == 0 ? (unsigned)st.st_mode & 07777 : 0;
}

/* Whatever the umask, the directory is 0700 and each file 0600; wrong ones are tightened. */
TEST(modes)
{
	static const char *const names[] = { "files.db", "names.db", "changesets.db", "meta.db", "tokens.db", "log.0000000001", "lock" };
	static const mode_t masks[] = { 0, 022, 0777 };
	char dir[512];

	for (size_t m = 0; m < sizeof(masks) / sizeof(masks[0]); m++) {
		mode_t old = umask(masks[m]);
		struct store *s;

		snprintf(dir, sizeof(dir), "%s/buffer", harness_tmpdir());
		s = kit_open(dir);
		(void)umask(old);
		if (m == 2 && s == NULL && getuid() != 0)
			continue; /* a directory made with mode 0 can be opened by root only */
		CHECK(s != NULL);
		CHECK_U64(mode_of(dir, "."), 0700);
		for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
			CHECK_U64(mode_of(dir, names[i]), 0600);
		store_close(s);
	}
	CHECK(chmod(dir, 0755) == 0);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char path[600];

		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		CHECK(chmod(path, 0666) == 0);
	}
	store_close(kit_open(dir));
	CHECK_U64(mode_of(dir, "."), 0700);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		CHECK_U64(mode_of(dir, names[i]), 0600);
}

TEST(unusable_directory)
{
	char path[512], why[400] = "";
	struct store_options opt = kit_options(path);
	struct store *s;
	int fd;

	snprintf(path, sizeof(path), "%s/no/such", harness_tmpdir());
	CHECK_U64(store_open(&opt, &s, why, sizeof(why)), STORE_IO);
	CHECK(strstr(why, path) != NULL);
	snprintf(path, sizeof(path), "%s/file", harness_tmpdir());
	CHECK((fd = open(path, O_CREAT | O_WRONLY, 0600)) != -1);
	(void)close(fd);
	CHECK_U64(store_open(&opt, &s, why, sizeof(why)), STORE_IO);
	CHECK(strstr(why, path) != NULL);
	CHECK(s == NULL);
}

/* The state directory is where a file system is mounted: lost+found is root's, as what an administrator left there may be. */
TEST(what_is_not_ours_is_left_alone)
{
	char *old = getcwd(NULL, 0);
	struct store *s;
	int fd;

	if (geteuid() != 0)
		SKIP("only root can make a file that is somebody else's");
	CHECK(old != NULL && chdir(harness_tmpdir()) == 0);
	CHECK(chmod(".", 0711) == 0 && chmod("..", 0711) == 0);
	CHECK(mkdir("s", 0700) == 0 && mkdir("s/lost+found", 0700) == 0 && chown("s", 12345, 12345) == 0);
	CHECK((fd = open("s/note", O_WRONLY | O_CREAT | O_CLOEXEC, 0644)) != -1);
	(void)close(fd);
	CHECK(setegid(12345) == 0 && seteuid(12345) == 0);
	s = kit_open("s");
	if (s != NULL)
		store_close(s);
	CHECK(seteuid(0) == 0 && setegid(0) == 0);
	CHECK(s != NULL);
	CHECK_U64(mode_of("s", "note"), 0644);
	CHECK(chdir(old) == 0);
	free(old);
}

/* The process may change its directory after the store was opened by a relative path. */
TEST(relative_path)
{
	struct store *s;
	struct store_file f = { 0 };
	char *old = getcwd(NULL, 0);
	const char *dir = harness_tmpdir();

	CHECK(old != NULL && chdir(dir) == 0);
	s = kit_open("buffer");
	CHECK(chdir("/") == 0);
	CHECK(s != NULL);
	for (int i = 0; i < 20; i++) /* enough for a second log file */
		add_hundred(s, &f);
	CHECK_U64(store_checkpoint(s, true), STORE_OK);
	store_close(s);
	CHECK(chdir(old) == 0);
	free(old);
}

/* Logs stay until the backlog is drained, and go then. */
TEST(log_files)
{
	const char *dir = harness_tmpdir();
	struct store *s = kit_open(dir);
	struct store_file f = { 0 };
	struct store_stat st;

	CHECK(s != NULL);
	for (int i = 0; i < 30; i++) {
		add_hundred(s, &f);
		CHECK_U64(store_checkpoint(s, false), STORE_OK);
	}
	CHECK(mode_of(dir, "log.0000000003") != 0);
	CHECK(mode_of(dir, "log.0000000001") != 0);
	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_trim(s, f.id, UINT64_MAX), STORE_OK);
	CHECK_U64(store_commit(s, false), STORE_OK);
	CHECK_U64(store_checkpoint(s, false), STORE_OK);
	CHECK_U64(mode_of(dir, "log.0000000001"), 0);
	CHECK_U64(mode_of(dir, "log.0000000003"), 0);
	store_close(s);
	CHECK((s = kit_open(dir)) != NULL);
	CHECK_U64(store_stat(s, &st), STORE_OK);
	CHECK_U64(st.files, 1);
	CHECK_U64(st.records, 0);
	CHECK_U64(st.bytes, 0);
	store_close(s);
}
