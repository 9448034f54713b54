/* Buffers of older formats open, hold what they held, and are of today's format from then on.  They lie in tests/formats, as text, made by
 * the script there with the program of that time. */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/storekit.h"

#include "buffer/ladder.h"
#include "buffer/store_int.h"

/* Writes the files that name describes into dir. */
static void
unpack(const char *dir, const char *name)
{
	char path[800], *line = NULL, file[64], hex[80];
	size_t cap = 0;
	long long at;
	FILE *in;
	int fd = -1;

	snprintf(path, sizeof(path), "%s/tests/formats/%s", harness_srcdir(), name);
	CHECK((in = fopen(path, "r")) != NULL);
	while (getline(&line, &cap, in) > 0) {
		uint8_t bytes[32];

		if (sscanf(line, "= %63s %lld", file, &at) == 2) {
			if (fd != -1)
				(void)close(fd);
			snprintf(path, sizeof(path), "%s/%s", dir, file);
			CHECK((fd = open(path, O_WRONLY | O_CREAT, 0600)) != -1 && ftruncate(fd, at) == 0);
			continue;
		}
		CHECK(sscanf(line, "@ %lld %64s", &at, hex) == 2);
		for (size_t i = 0; i < strlen(hex) / 2; i++) {
			char digits[3] = { hex[2 * i], hex[2 * i + 1], '\0' };

			bytes[i] = (uint8_t)strtoul(digits, NULL, 16);
		}
		CHECK(pwrite(fd, bytes, strlen(hex) / 2, at) == (ssize_t)(strlen(hex) / 2));
	}
	if (fd != -1)
		(void)close(fd);
	free(line);
	(void)fclose(in);
}

struct seen {
	uint64_t n, count, last;
	bool wrong;
};

static bool
see(void *arg, const struct store_record *r)
{
	struct seen *seen = arg;

	seen->wrong |= r->client_version != ++seen->last || !kit_same(r, seen->n, r->client_version == 7 ? 1500 : 40);
	seen->count++;
	return true;
}

static void
check_file(struct store *s, uint64_t n, uint64_t from, uint64_t to)
{
	struct store_file f = kit_file(n);
	struct seen seen = { .n = n, .last = from - 1 };

	CHECK_U64(store_file_find(s, f.endpoint, f.path, f.file_ident, f.file_ident_salt, &f), STORE_OK);
	CHECK_U64(f.held_client_version, 10);
	CHECK_U64(f.ack, STORE_ACK_RELAY);
	CHECK_U64(f.state, n == 2 ? STORE_FILE_REJECTED : STORE_FILE_OK);
	CHECK_U64(store_read(s, f.id, 0, UINT64_MAX, see, &seen, NULL), STORE_OK);
	CHECK(!seen.wrong);
	CHECK_U64(seen.count, to - from + 1);
	CHECK_U64(f.backlog_records, seen.count);
}

static bool
no_query(void *arg, const struct store_query *q)
{
	(void)arg;
	(void)q;
	return false;
}

static void
check_format(const char *name)
{
	static uint8_t data[KIT_DATA_MAX];
	const char *dir = harness_tmpdir();
	struct store_query q = { 7, 20, (const uint8_t *)"{}", 2 };
	uint64_t place;
	struct store *s;
	char val[8];
	size_t len = sizeof(val);
	bool added;

	unpack(dir, name);
	CHECK((s = kit_open(dir)) != NULL);
	for (uint64_t n = 0; n < 3; n++)
		check_file(s, n, 1, 10);
	CHECK_U64(store_get(s, STORE_TOKENS, "token", 5, val, &len), STORE_OK);
	CHECK_MEM(val, len, "known", 5);
	/* it goes on as one of today: runs behind the single records, one trimmed in its middle */
	CHECK_U64(store_begin(s), STORE_OK);
	for (uint64_t v = 11; v <= 20; v++) {
		struct store_record r = kit_record(data, 0, v, 40);

		CHECK_U64(store_append(s, 1, &r, &added), STORE_OK);
		CHECK(added);
	}
	CHECK_U64(store_trim(s, 1, 15), STORE_OK);
	CHECK_U64(store_query_each(s, 1, no_query, NULL), STORE_OK);
	CHECK_U64(store_query_put(s, 1, &q), STORE_OK);
	CHECK_U64(store_commit(s, true), STORE_OK);
	store_close(s);
	CHECK((s = kit_open(dir)) != NULL);
	check_file(s, 0, 16, 20);
	check_file(s, 1, 1, 10);
	CHECK_U64(store_query_barrier(s, 1, 1, &place), STORE_OK);
	CHECK_U64(place, 20);
	store_close(s);
}

TEST(format_1)
{
	check_format("1.env");
}

TEST(format_2)
{
	check_format("2.env");
}

static bool
see_query(void *arg, const struct store_query *q)
{
	static const char text[] = "{\"things\":\"TRUEPREDICATE\"}";
	uint64_t *n = arg;

	*n += q->query_version == *n + 1 && q->place == 4 * q->query_version && q->len == strlen(text) && memcmp(q->text, text, q->len) == 0;
	return true;
}

TEST(format_3)
{
	const char *dir = harness_tmpdir();
	uint64_t n = 0;
	struct store *s;

	check_format("3.env");
	unpack(dir, "3.env");
	CHECK((s = kit_open(dir)) != NULL);
	CHECK_U64(store_query_each(s, 2, see_query, &n), STORE_OK);
	CHECK_U64(n, 2);
	store_close(s);
}

/* A buffer that a newer program has raised is refused, in words, and not taken for a damaged one. */
TEST(no_way_back)
{
	const char *dir = harness_tmpdir();
	struct store_options opt = kit_options(dir);
	struct ladder_result res;
	char want[300];
	struct store *s;

	CHECK((s = kit_open(dir)) != NULL);
	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_own_put(s, STORE_KEY_FORMAT, sizeof(STORE_KEY_FORMAT) - 1, STORE_FORMAT + 1), STORE_OK);
	CHECK_U64(store_commit(s, true), STORE_OK);
	store_close(s);
	snprintf(want, sizeof(want), "the buffer has format %d, this program knows up to %d: a newer holdfast wrote it. "
				     "Start that one again, drain it (holdfastctl drain), and move the directory away before you go back",
		 STORE_FORMAT + 1, STORE_FORMAT);
	for (int i = 0; i < 2; i++) {
		ladder_try(&opt, LADDER_NORMAL, &res);
		CHECK_U64(res.err, STORE_VERSION);
		CHECK_STR(res.why, want);
		CHECK_STR(res.aside, "");
	}
}
