/* The acknowledgement journal: remembers over reopening, the newest wins, forgets, survives a torn end, rewrites itself. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "buffer/store.h"

#include "relay/journal.h"

#include "tests/harness.h"

static char path[512];
static char why[256];

static struct journal *
open_fresh(void)
{
	snprintf(path, sizeof(path), "%s/acknowledged", harness_tmpdir());
	return journal_open(path, why, sizeof(why));
}

static struct journal *
reopen(struct journal *j)
{
	journal_close(j);
	return journal_open(path, why, sizeof(why));
}

static struct store_file
file(const char *name, uint64_t ident, uint64_t client_version)
{
	struct store_file f = { .file_ident = ident, .file_ident_salt = 7, .shown_client_version = client_version,
		.shown_server_version = client_version / 2 };

	snprintf(f.endpoint, sizeof(f.endpoint), "upstream/realm-sync");
	snprintf(f.path, sizeof(f.path), "%s", name);
	return f;
}

static bool
holds(const struct journal *j, const struct store_file *f, uint64_t want)
{
	uint64_t cv = 0, sv = 0;
	bool found = journal_find(j, f, &cv, &sv);

	return want == 0 ? !found : found && cv == want && sv == want / 2;
}

static off_t
size_of(const char *p)
{
	struct stat st;

	return stat(p, &st) == 0 ? st.st_size : -1;
}

TEST(remembers_over_reopening)
{
	struct journal *j = open_fresh();
	struct store_file a = file("/a", 2, 10), b = file("/a", 3, 20), c = file("/c", 2, 30);

	CHECK(j != NULL);
	CHECK(holds(j, &a, 0));
	CHECK(journal_note(j, &a) && journal_note(j, &b) && journal_note(j, &c));
	CHECK(journal_dirty(j) && journal_sync(j) && !journal_dirty(j));
	j = reopen(j);
	CHECK(j != NULL);
	CHECK(holds(j, &a, 10));
	CHECK(holds(j, &b, 20));
	CHECK(holds(j, &c, 30));
	journal_close(j);
}

TEST(the_newest_wins_and_never_falls)
{
	struct journal *j = open_fresh();
	struct store_file a = file("/a", 2, 10);

	CHECK(journal_note(j, &a));
	a = file("/a", 2, 12);
	CHECK(journal_note(j, &a));
	a = file("/a", 2, 11);
	CHECK(journal_note(j, &a));
	CHECK(holds(j, &a, 12));
	j = reopen(j);
	CHECK(holds(j, &a, 12));
	journal_close(j);
}

TEST(forgets)
{
	struct journal *j = open_fresh();
	struct store_file a = file("/a", 2, 10), b = file("/b", 2, 10);

	CHECK(journal_note(j, &a) && journal_note(j, &b));
	journal_forget(j, &a);
	CHECK(holds(j, &a, 0));
	j = reopen(j);
	CHECK(holds(j, &a, 0));
	CHECK(holds(j, &b, 10));
	a = file("/a", 2, 5);
	CHECK(journal_note(j, &a));
	CHECK(holds(j, &a, 5));
	journal_close(j);
}

TEST(a_torn_end_is_dropped_at_every_length)
{
	struct journal *j = open_fresh();
	struct store_file a = file("/a", 2, 10), b = file("/b", 2, 20);
	off_t one, two;

	CHECK(journal_note(j, &a));
	one = size_of(path);
	CHECK(journal_note(j, &b));
	two = size_of(path);
	for (off_t n = two - 1; n >= one; n--) {
		journal_close(j);
		CHECK(truncate(path, n) == 0);
		j = journal_open(path, why, sizeof(why));
		CHECK(j != NULL);
		CHECK(holds(j, &a, 10));
		CHECK(holds(j, &b, 0));
		CHECK_U64(size_of(path), one);
		CHECK(journal_note(j, &b));
		j = reopen(j);
		CHECK(holds(j, &b, 20));
	}
	journal_close(j);
}

TEST(a_flipped_bit_ends_the_file)
{
	struct journal *j = open_fresh();
	struct store_file a = file("/a", 2, 10), b = file("/b", 2, 20);
	uint8_t byte;
	int fd;

	CHECK(journal_note(j, &a) && journal_note(j, &b));
	journal_close(j);
	fd = open(path, O_RDWR);
	CHECK(pread(fd, &byte, 1, 60) == 1);
	byte ^= 4;
	CHECK(pwrite(fd, &byte, 1, 60) == 1);
	close(fd);
	j = journal_open(path, why, sizeof(why));
	CHECK(holds(j, &a, 10));
	CHECK(holds(j, &b, 0));
	journal_close(j);
}

TEST(rewrites_itself_small)
{
	struct journal *j = open_fresh();
	struct store_file a, b = file("/b", 9, 5);

	CHECK(journal_note(j, &b));
	for (uint64_t v = 1; v <= 3000; v++) {
		a = file("/a", 2, v);
		CHECK(journal_note(j, &a));
	}
	j = reopen(j);
	CHECK(size_of(path) < 1000);
	CHECK(holds(j, &a, 3000));
	CHECK(holds(j, &b, 5));
	a = file("/a", 2, 3001);
	CHECK(journal_note(j, &a));
	j = reopen(j);
	CHECK(holds(j, &a, 3001));
	journal_close(j);
}

TEST(a_path_that_cannot_be_is_said)
{
	CHECK(journal_open("/nonexistent/folder/acknowledged", why, sizeof(why)) == NULL);
	CHECK(strstr(why, "/nonexistent/folder") != NULL);
}
