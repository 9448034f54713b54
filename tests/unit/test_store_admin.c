/* Tests buffer/store_admin.c: walking, packing, compacting step by step, and a copy made while the store goes on. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/storekit.h"

#include "buffer/store_int.h"

static uint8_t buf[KIT_DATA_MAX];

/* Appends records from .. to of file number n, which is made if needed, in one transaction; its id. */
static uint64_t
add(struct store *s, uint64_t n, uint64_t from, uint64_t to)
{
	struct store_file f = kit_file(n), found;
	bool added;

	if (store_begin(s) != STORE_OK)
		return 0;
	if (store_file_find(s, f.endpoint, f.path, f.file_ident, f.file_ident_salt, &found) == STORE_OK)
		f.id = found.id;
	else if (store_file_put(s, &f) != STORE_OK)
		return 0;
	for (uint64_t v = from; v <= to; v++) {
		struct store_record r = kit_record(buf, n, v, kit_len(n, v));

		if (store_append(s, f.id, &r, &added) != STORE_OK)
			return 0;
	}
	return store_commit(s, true) == STORE_OK ? f.id : 0;
}

static bool
trim(struct store *s, uint64_t id, uint64_t upto)
{
	return store_begin(s) == STORE_OK && store_trim(s, id, upto) == STORE_OK && store_commit(s, false) == STORE_OK;
}

TEST(walking)
{
	struct store *s = kit_open(harness_tmpdir());
	struct store_file f;
	uint64_t id = 0, n = 0;

	CHECK(s != NULL);
	CHECK_U64(store_file_after(s, 0, &f), STORE_NOTFOUND);
	CHECK_U64(store_backlog_after(s, 0, &id), STORE_NOTFOUND);
	for (uint64_t i = 1; i <= 5; i++)
		CHECK_U64(add(s, i, 1, i == 3 ? 0 : i), i);
	while (store_file_after(s, id, &f) == STORE_OK) {
		id = f.id;
		CHECK_U64(id, ++n);
		CHECK_U64(f.backlog_records, id == 3 ? 0 : id);
	}
	CHECK_U64(n, 5);
	CHECK_U64(store_backlog_after(s, 2, &id), STORE_OK);
	CHECK_U64(id, 4);
	CHECK_U64(store_backlog_after(s, 5, &id), STORE_NOTFOUND);
	CHECK_U64(store_file_after(s, UINT64_MAX, &f), STORE_NOTFOUND);
	store_close(s);
}

TEST(packing)
{
	static uint8_t packed[KIT_DATA_MAX + STORE_PACK_FILE_MAX];
	struct store_file f = kit_file(9);
	struct store_record r = kit_record(buf, 9, 4, 1000);
	struct store_packed p;
	size_t flen, rlen;

	f.id = 33;
	f.state = STORE_FILE_EXPORTED;
	flen = store_pack_file(packed, sizeof(packed), &f);
	rlen = store_pack_record(packed + flen, sizeof(packed) - flen, 33, &r);
	CHECK_U64(store_pack_record(NULL, 0, 33, &r), rlen);
	CHECK_U64(store_unpack(packed, flen + rlen, &p), STORE_OK);
	CHECK(p.is_file && p.len == flen && p.file.id == 33 && p.file.state == STORE_FILE_EXPORTED);
	CHECK_STR(p.file.path, f.path);
	CHECK_U64(store_unpack(packed + flen, rlen, &p), STORE_OK);
	CHECK(!p.is_file && p.len == rlen && p.file_id == 33);
	CHECK(kit_same(&p.record, 9, 1000));
	for (size_t cut = 0; cut < rlen; cut++) {
		CHECK_U64(store_unpack(packed + flen, cut, &p), STORE_NOTFOUND);
		CHECK_U64(p.len, cut < STORE_PACK_HEAD ? 0 : rlen);
	}
	for (size_t at = 0; at < rlen; at++) {
		packed[flen + at] ^= 0x40;
		CHECK(store_unpack(packed + flen, rlen, &p) != STORE_OK);
		packed[flen + at] ^= 0x40;
	}
}

TEST(compact_step_by_step)
{
	const char *dir = harness_tmpdir();
	struct store_compaction c = { 0 };
	struct store *s = kit_open(dir);
	unsigned steps = 0;
	uint64_t id[8], version = 1;

	CHECK(s != NULL);
	for (uint64_t n = 1; n <= 8; n++)
		CHECK((id[n - 1] = add(s, n, 1, 600)) != 0);
	for (uint64_t n = 1; n <= 8; n++)
		CHECK(trim(s, id[n - 1], n == 8 ? 0 : 590));
	while (!c.done) {
		CHECK_U64(store_compact(s, &c, 16), STORE_OK);
		CHECK_U64(add(s, 20, version, version), 9); /* the relay goes on */
		version++;
		CHECK(++steps < 10000);
	}
	CHECK(c.pages_freed > 500);
	for (uint64_t n = 1; n <= 8; n++) {
		struct store_file f;

		CHECK_U64(store_file_get(s, id[n - 1], &f), STORE_OK);
		CHECK_U64(f.backlog_records, n == 8 ? 600 : 10);
	}
	store_close(s);
	CHECK((s = kit_open(dir)) != NULL);
	store_close(s);
}

/* Lets it do what there is to do. */
static void
settle(struct store *s)
{
	unsigned steps = 0;

	do
		CHECK_U64(store_checkpoint(s, false), STORE_OK);
	while (store_busy(s) && ++steps < 10000);
	CHECK(steps < 10000);
}

/* While a backlog drains, what is left of it is not moved about; once it stays, or hardly anything is left, its space is given back. */
TEST(space_is_given_back_when_a_drain_is_over)
{
	struct store *s = kit_open(harness_tmpdir());
	uint64_t id[3], full;

	CHECK(s != NULL);
	CHECK((id[0] = add(s, 1, 1, 8000)) != 0 && (id[1] = add(s, 2, 1, 900)) != 0 && (id[2] = add(s, 3, 1, 900)) != 0);
	CHECK_U64(store_checkpoint(s, true), STORE_OK);
	settle(s);
	full = env_table_bytes(s->env, "changesets");
	CHECK(trim(s, id[0], 8000) && s->tally.bytes > 1u << 20 && s->tally.bytes < full / 4);
	settle(s);
	CHECK(!s->compacting && s->shrunk);
	CHECK_U64(env_table_bytes(s->env, "changesets"), full);
	CHECK(trim(s, id[1], 450)); /* still an eighth and more */
	s->quiet_s = 1;
	s->residue_s -= 2;
	CHECK_U64(store_checkpoint(s, false), STORE_OK);
	CHECK(!s->compacting);
	s->residue_s -= 2; /* and now it stays */
	settle(s);
	CHECK(!s->shrunk);
	CHECK(env_table_bytes(s->env, "changesets") < full / 2);
	CHECK((id[0] = add(s, 1, 8001, 16000)) != 0);
	CHECK_U64(store_checkpoint(s, true), STORE_OK);
	CHECK(env_table_bytes(s->env, "changesets") > full / 2);
	CHECK(trim(s, id[0], 16000) && trim(s, id[1], 900) && trim(s, id[2], 900)); /* nothing is left: at once */
	settle(s);
	CHECK(env_table_bytes(s->env, "changesets") < full / 8);
	store_close(s);
}

/* Copies the file `name` in small pieces; between two of them the store goes on. */
static void
copy(struct store *s, const char *to, const char *name, uint64_t *version)
{
	static uint8_t piece[8192];
	char path[512];
	uint64_t offset = 0;
	size_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", to, name);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	CHECK(fd >= 0);
	do {
		CHECK_U64(store_disk_read(s, name, offset, piece, sizeof(piece), &n), STORE_OK);
		CHECK(write(fd, piece, n) == (ssize_t)n);
		offset += n;
		if (*version % 4 == 0)
			CHECK(trim(s, 1, *version / 4));
		CHECK_U64(add(s, 50, *version, *version), 1);
		CHECK_U64(store_checkpoint(s, true), STORE_OK);
		++*version;
	} while (n > 0);
	close(fd);
}

static void
copy_kind(struct store *s, const char *to, bool logs, uint64_t *version)
{
	char name[STORE_NAME_MAX + 1] = "", next[STORE_NAME_MAX + 1];

	while (store_disk_next(s, logs, name, next) == STORE_OK && !harness_failed()) {
		memcpy(name, next, sizeof(name));
		copy(s, to, name, version);
	}
}

struct seen {
	uint64_t first, last, n;
	bool ok;
};

static bool
seen_cb(void *arg, const struct store_record *r)
{
	struct seen *x = arg;

	x->ok = x->ok && kit_same(r, 50, kit_len(50, r->client_version)) && (x->n == 0 || r->client_version == x->last + 1);
	x->first = x->n++ == 0 ? r->client_version : x->first;
	x->last = r->client_version;
	return true;
}

TEST(copy_while_in_use)
{
	const char *dir = harness_tmpdir(), *to = harness_tmpdir();
	struct store *s = kit_open(dir), *t;
	struct seen x = { .ok = true };
	struct store_file f;
	uint64_t version = 101, at_hold;

	CHECK(s != NULL);
	CHECK_U64(add(s, 50, 1, 100), 1);
	for (uint64_t n = 2; n <= 20; n++)
		CHECK(add(s, n, 1, 100) != 0);
	CHECK_U64(store_hold(s), STORE_OK);
	CHECK(store_is_held(s));
	at_hold = version - 1;
	copy_kind(s, to, false, &version);
	copy_kind(s, to, true, &version);
	CHECK(!harness_failed());
	store_release(s);
	CHECK_U64(store_checkpoint(s, true), STORE_OK);
	store_close(s);

	CHECK((t = kit_open(to)) != NULL);
	CHECK_U64(store_file_get(t, 1, &f), STORE_OK);
	CHECK_U64(store_read(t, 1, 0, UINT64_MAX, seen_cb, &x, NULL), STORE_OK);
	CHECK(x.ok);
	CHECK(x.last > at_hold && x.last < version);
	CHECK_U64(f.backlog_records, x.n);
	for (uint64_t n = 2; n <= 20; n++) {
		CHECK_U64(store_file_get(t, n, &f), STORE_OK);
		CHECK_U64(f.backlog_records, 100);
	}
	store_close(t);
}

TEST(only_its_own_files_are_read)
{
	static const char *const names[] = { "../meta.db", "lock", "/etc/passwd", "log.1", "log.000000000x", ".db", "acknowledged", "" };
	struct store *s = kit_open(harness_tmpdir());
	uint8_t b[16];
	size_t n;

	CHECK(s != NULL);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		CHECK_U64(store_disk_read(s, names[i], 0, b, sizeof(b), &n), STORE_INVALID);
	CHECK_U64(store_disk_read(s, "log.9999999999", 0, b, sizeof(b), &n), STORE_NOTFOUND);
	CHECK_U64(store_disk_read(s, "meta.db", 0, b, sizeof(b), &n), STORE_OK);
	CHECK_U64(n, sizeof(b));
	store_close(s);
}
