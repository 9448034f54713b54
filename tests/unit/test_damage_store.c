/* Damaged and foreign contents.  Records are spoilt through Berkeley DB itself, so that its page checksums are right and only ours
 * can tell; pages are spoilt in the files, so that only Berkeley DB's can. */
#include <sys/wait.h>

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <db.h>

#include "buffer/be.h"
#include "buffer/record.h"
#include "tests/harness.h"
#include "tests/storekit.h"

static uint8_t data[KIT_DATA_MAX];

/* A store in dir with files 0, 1, 2 of ten records each; their ids go to id.  The files take turns, so that each changeset is a record
 * of its own; with runs, each file's ten are one record. */
static void
prepare_as(const char *dir, uint64_t *id, bool runs)
{
	struct store *s = kit_open(dir);
	bool added;

	CHECK(s != NULL);
	CHECK_U64(store_begin(s), STORE_OK);
	for (uint64_t n = 0; n < 3; n++) {
		struct store_file f = kit_file(n);

		CHECK_U64(store_file_put(s, &f), STORE_OK);
		id[n] = f.id;
	}
	for (uint64_t i = 0; i < 30; i++) {
		uint64_t n = runs ? i / 10 : i % 3, v = runs ? i % 10 + 1 : i / 3 + 1;
		struct store_record r = kit_record(data, n, v, 100 + (uint32_t)v);

		CHECK_U64(store_append(s, id[n], &r, &added), STORE_OK);
	}
	CHECK_U64(store_commit(s, true), STORE_OK);
	store_close(s);
}

static void
prepare(const char *dir, uint64_t *id)
{
	prepare_as(dir, id, false);
}

/* Changes the value under a key: gets its bytes, returns their new length; 0 deletes it. */
typedef uint32_t change(uint8_t *val, uint32_t len);

static void
spoil(const char *dir, const char *table, const void *key, size_t key_len, change *how)
{
	static uint8_t val[KIT_DATA_MAX];
	DBT k = { .data = (void *)(uintptr_t)key, .size = (uint32_t)key_len };
	DBT v = { .data = val, .ulen = sizeof(val), .flags = DB_DBT_USERMEM };
	DB_ENV *env;
	DB_TXN *txn;
	DB *db;

	CHECK(db_env_create(&env, 0) == 0);
	CHECK(env->open(env, dir, DB_CREATE | DB_PRIVATE | DB_INIT_MPOOL | DB_INIT_LOG | DB_INIT_TXN | DB_RECOVER, 0600) == 0);
	CHECK(db_create(&db, env, 0) == 0);
	CHECK(db->open(db, NULL, table, NULL, DB_BTREE, DB_AUTO_COMMIT, 0600) == 0);
	CHECK(env->txn_begin(env, NULL, &txn, 0) == 0);
	CHECK(db->get(db, txn, &k, &v, 0) == 0);
	v.size = how(val, v.size);
	CHECK((v.size > 0 ? db->put(db, txn, &k, &v, 0) : db->del(db, txn, &k, 0)) == 0);
	CHECK(txn->commit(txn, 0) == 0);
	CHECK(db->close(db, 0) == 0);
	CHECK(env->close(env, 0) == 0);
}

static void
spoil_record(const char *dir, uint64_t id, uint64_t version, change *how)
{
	uint8_t key[16];

	be_put64(key, id);
	be_put64(key + 8, version);
	spoil(dir, "changesets.db", key, sizeof(key), how);
}

static uint32_t
flip_payload(uint8_t *val, uint32_t len)
{
	val[len - 1] ^= 1;
	return len;
}

static uint32_t
flip_head(uint8_t *val, uint32_t len)
{
	val[17] ^= 1;
	return len;
}

static uint32_t
cut_short(uint8_t *val, uint32_t len)
{
	(void)val;
	(void)len;
	return 5;
}

struct seen {
	uint64_t n, count, last;
	bool wrong;
};

static bool
see(void *arg, const struct store_record *r)
{
	struct seen *seen = arg;

	seen->count++;
	seen->last = r->client_version;
	seen->wrong |= !kit_same(r, seen->n, 100 + (uint32_t)r->client_version);
	return true;
}

/* A bad record ends the walk before it with its version; those behind it, other files and the store itself go on (I7). */
static void
one_bad_record(change *how)
{
	const char *dir = harness_tmpdir();
	struct store *s;
	struct store_file f;
	struct store_record r = kit_record(data, 1, 4, 104);
	struct seen seen = { .n = 1 };
	uint64_t id[3], bad = 77;
	bool added;

	prepare(dir, id);
	spoil_record(dir, id[1], 4, how);
	CHECK((s = kit_open(dir)) != NULL);
	CHECK_U64(store_read(s, id[1], 0, UINT64_MAX, see, &seen, &bad), STORE_CORRUPT);
	CHECK_U64(bad, 4);
	CHECK_U64(seen.count, 3);
	CHECK_U64(store_read(s, id[1], 0, UINT64_MAX, see, &seen, NULL), STORE_CORRUPT);
	memset(&seen, 0, sizeof(seen));
	seen.n = 1;
	CHECK_U64(store_read(s, id[1], 4, UINT64_MAX, see, &seen, &bad), STORE_OK);
	CHECK_U64(seen.count, 6);
	CHECK(!seen.wrong);
	CHECK_U64(store_compare(s, id[1], &r), STORE_CORRUPT);
	memset(&seen, 0, sizeof(seen));
	seen.n = 2;
	CHECK_U64(store_read(s, id[2], 0, UINT64_MAX, see, &seen, &bad), STORE_OK);
	CHECK_U64(seen.count, 10);
	CHECK(!seen.wrong);
	/* writes go on, to this file too; it can be trimmed away, and the counters come out right */
	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_append(s, id[1], &r, &added), STORE_CORRUPT);
	CHECK(!added);
	r = kit_record(data, 1, 11, 111);
	CHECK_U64(store_append(s, id[1], &r, &added), STORE_OK);
	CHECK_U64(store_trim(s, id[1], 10), STORE_OK);
	CHECK_U64(store_commit(s, true), STORE_OK);
	CHECK_U64(store_file_get(s, id[1], &f), STORE_OK);
	CHECK_U64(f.backlog_records, 1);
	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_trim(s, id[1], 11), STORE_OK);
	CHECK_U64(store_commit(s, true), STORE_OK);
	CHECK_U64(store_file_get(s, id[1], &f), STORE_OK);
	CHECK_U64(f.backlog_records, 0);
	CHECK_U64(f.backlog_bytes, 0);
	store_close(s);
}

TEST(record_payload_flipped)
{
	one_bad_record(flip_payload);
}

TEST(record_head_flipped)
{
	one_bad_record(flip_head);
}

TEST(record_cut_short)
{
	one_bad_record(cut_short);
}

/* Byte 20 of the payload of the fourth entry of a run: each entry has a head of 48, and the run's takes 64. */
static uint32_t
flip_fourth(uint8_t *val, uint32_t len)
{
	val[64 + 4 * 48 + 101 + 102 + 103 + 20] ^= 1;
	return len;
}

/* In a run a bad entry costs itself only; the whole can still be trimmed. */
TEST(run_entry_flipped)
{
	const char *dir = harness_tmpdir();
	struct seen seen = { .n = 1 };
	struct store_file f;
	struct store *s;
	uint64_t id[3], bad = 0;

	prepare_as(dir, id, true);
	spoil_record(dir, id[1], 1, flip_fourth);
	CHECK((s = kit_open(dir)) != NULL);
	CHECK_U64(store_read(s, id[1], 0, UINT64_MAX, see, &seen, &bad), STORE_CORRUPT);
	CHECK_U64(bad, 4);
	CHECK_U64(seen.count, 3);
	CHECK_U64(store_read(s, id[1], 4, UINT64_MAX, see, &seen, &bad), STORE_OK);
	CHECK_U64(seen.count, 9);
	CHECK(!seen.wrong);
	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_trim(s, id[1], 6), STORE_OK); /* in the middle of what cannot be trusted: it stays */
	CHECK_U64(store_file_get(s, id[1], &f), STORE_OK);
	CHECK_U64(f.backlog_records, 10);
	CHECK_U64(store_trim(s, id[1], 10), STORE_OK);
	CHECK_U64(store_commit(s, true), STORE_OK);
	CHECK_U64(store_file_get(s, id[1], &f), STORE_OK);
	CHECK_U64(f.backlog_records, 0);
	CHECK_U64(f.backlog_bytes, 0);
	store_close(s);
}

/* The head of a run: nothing of it can be had, what comes behind it can. */
TEST(run_head_flipped)
{
	const char *dir = harness_tmpdir();
	struct store_record r = kit_record(data, 1, 11, 111);
	struct seen seen = { .n = 1 };
	uint64_t id[3], bad = 0;
	struct store *s;
	bool added;

	prepare_as(dir, id, true);
	spoil_record(dir, id[1], 1, flip_head);
	CHECK((s = kit_open(dir)) != NULL);
	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_append(s, id[1], &r, &added), STORE_OK);
	CHECK_U64(store_commit(s, true), STORE_OK);
	CHECK_U64(store_read(s, id[1], 0, UINT64_MAX, see, &seen, &bad), STORE_CORRUPT);
	CHECK_U64(bad, 1);
	CHECK_U64(store_read(s, id[1], 1, UINT64_MAX, see, &seen, &bad), STORE_OK);
	CHECK_U64(seen.count, 1);
	CHECK_U64(seen.last, 11);
	store_close(s);
}

static bool
count_files(void *arg, const struct store_file *f)
{
	(void)f;
	++*(int *)arg;
	return true;
}

static void
remember_error(void *arg, const char *text)
{
	(void)snprintf(arg, 300, "%s", text);
}

/* A file whose own record is bad cannot be used; it is reported, its backlog is kept, the others go on. */
TEST(file_record_flipped)
{
	const char *dir = harness_tmpdir();
	struct store_options opt = kit_options(dir);
	struct store_file f = kit_file(1);
	struct store_record r = kit_record(data, 1, 11, 111);
	struct seen seen = { .n = 1 };
	char why[300], said[300] = "", want[64];
	struct store_stat st;
	struct store *s;
	uint64_t id[3];
	uint8_t key[8];
	int count = 0;
	bool added;

	prepare(dir, id);
	be_put64(key, id[1]);
	spoil(dir, "files.db", key, sizeof(key), flip_payload);
	opt.on_error = remember_error;
	opt.on_error_arg = said;
	CHECK_U64(store_open(&opt, &s, why, sizeof(why)), STORE_OK);
	snprintf(want, sizeof(want), "file %llu ", (unsigned long long)id[1]);
	CHECK(strstr(said, want) != NULL);
	CHECK_U64(store_file_get(s, id[1], &f), STORE_CORRUPT);
	CHECK_U64(store_file_find(s, f.endpoint, f.path, f.file_ident, f.file_ident_salt, &f), STORE_CORRUPT);
	CHECK_U64(store_file_get(s, id[2], &f), STORE_OK);
	CHECK_U64(store_file_each(s, count_files, &count), STORE_OK);
	CHECK_U64(count, 2);
	CHECK_U64(store_stat(s, &st), STORE_OK);
	CHECK_U64(st.records, 20);
	CHECK_U64(store_read(s, id[1], 0, UINT64_MAX, see, &seen, NULL), STORE_OK);
	CHECK_U64(seen.count, 10);
	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_append(s, id[1], &r, &added), STORE_CORRUPT);
	r = kit_record(data, 2, 11, 111);
	CHECK_U64(store_append(s, id[2], &r, &added), STORE_OK);
	CHECK_U64(store_commit(s, true), STORE_OK);
	store_close(s);
}

/* The record is made anew from the name and the backlog, in which a changeset may be damaged as well; of a sound one nothing is changed. */
TEST(file_record_mended)
{
	const char *dir = harness_tmpdir();
	struct store_file f = kit_file(1), named, got;
	struct store_record r = kit_record(data, 1, 11, 111);
	struct store_stat st;
	struct store *s;
	uint64_t id[3];
	uint8_t key[8];
	bool added;

	prepare(dir, id);
	be_put64(key, id[1]);
	spoil(dir, "files.db", key, sizeof(key), flip_payload);
	spoil_record(dir, id[1], 4, flip_payload);
	CHECK((s = kit_open(dir)) != NULL);
	CHECK_U64(store_stat(s, &st), STORE_OK);
	CHECK_U64(st.damaged, 1);
	CHECK_U64(st.files, 3);
	CHECK_U64(store_name_of(s, id[1], &named), STORE_OK);
	CHECK_U64(named.id, id[1]);
	CHECK_STR(named.path, f.path);
	CHECK_U64(named.file_ident_salt, f.file_ident_salt);
	CHECK_U64(store_name_of(s, 999, &got), STORE_NOTFOUND);
	named.state = STORE_FILE_LOST;
	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_file_mend(s, &named), STORE_OK);
	store_abort(s);
	CHECK_U64(store_stat(s, &st), STORE_OK);
	CHECK_U64(st.damaged, 1); /* nothing came of it */
	CHECK_U64(st.files_aside, 0);
	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_file_mend(s, &named), STORE_OK);
	CHECK_U64(store_commit(s, true), STORE_OK);
	CHECK_U64(store_stat(s, &st), STORE_OK); /* as the next open would count */
	CHECK_U64(st.damaged, 0);
	CHECK_U64(st.files_aside, 1);
	CHECK_U64(st.files, 3);
	CHECK_U64(st.records, 30);
	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_file_mend(s, &named), STORE_INVALID); /* it is not damaged any more */
	store_abort(s);
	store_close(s);

	CHECK((s = kit_open(dir)) != NULL);
	CHECK_U64(store_stat(s, &st), STORE_OK);
	CHECK_U64(st.damaged, 0);
	CHECK_U64(st.files_aside, 1);
	CHECK_U64(st.files, 3);
	CHECK_U64(st.records, 30);
	CHECK_U64(store_file_find(s, f.endpoint, f.path, f.file_ident, f.file_ident_salt, &got), STORE_OK);
	CHECK_U64(got.id, id[1]);
	CHECK_U64(got.state, STORE_FILE_LOST);
	CHECK_U64(got.backlog_records, 10);
	CHECK_U64(got.held_client_version, 10);
	CHECK_U64(got.held_server_version, 3);
	CHECK_U64(got.oldest_ms, 1700000000001u);
	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_append(s, id[1], &r, &added), STORE_OK);
	CHECK(added);
	CHECK_U64(store_trim(s, id[1], 11), STORE_OK);
	CHECK_U64(store_commit(s, true), STORE_OK);
	CHECK_U64(store_stat(s, &st), STORE_OK);
	CHECK_U64(st.records, 20);
	store_close(s);
}

static uint32_t
next_id(uint8_t *val, uint32_t len)
{
	val[len - 1]++;
	return len;
}

/* A name that leads to another file's record, which is sound and stays so. */
TEST(name_of_another)
{
	const char *dir = harness_tmpdir();
	struct store_file f = kit_file(1);
	uint8_t name[400];
	size_t e = strlen(f.endpoint) + 1, p = strlen(f.path) + 1;
	struct store *s;
	uint64_t id[3];

	prepare(dir, id);
	memcpy(name, f.endpoint, e);
	memcpy(name + e, f.path, p);
	be_put64(name + e + p, f.file_ident);
	be_put64(name + e + p + 8, f.file_ident_salt);
	spoil(dir, "names.db", name, e + p + 16, next_id);
	CHECK((s = kit_open(dir)) != NULL);
	CHECK_U64(store_file_find(s, f.endpoint, f.path, f.file_ident, f.file_ident_salt, &f), STORE_CORRUPT);
	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_file_mend(s, &f), STORE_INVALID);
	store_abort(s);
	CHECK_U64(store_file_get(s, id[2], &f), STORE_OK);
	CHECK_U64(f.file_ident, 2);
	store_close(s);
}

/* ---- versions ---- */

static uint32_t
newer_format(uint8_t *val, uint32_t len)
{
	val[len - 1]++;
	return len;
}

static uint32_t
no_format(uint8_t *val, uint32_t len)
{
	(void)val;
	(void)len;
	return 0;
}

TEST(format_version)
{
	const char *dir = harness_tmpdir();
	struct store_options opt = kit_options(dir);
	char why[300] = "";
	struct store *s;
	uint64_t id[3];

	prepare(dir, id);
	spoil(dir, "meta.db", "\0format", 7, newer_format);
	CHECK_U64(store_open(&opt, &s, why, sizeof(why)), STORE_VERSION);
	CHECK(s == NULL);
	CHECK(strstr(why, "this program knows up to") != NULL);
	/* refusing it left it as it was */
	CHECK_U64(store_open(&opt, &s, why, sizeof(why)), STORE_VERSION);
	spoil(dir, "meta.db", "\0format", 7, no_format);
	CHECK_U64(store_open(&opt, &s, why, sizeof(why)), STORE_CORRUPT);
	CHECK(strstr(why, "format") != NULL);
}

static uint32_t
newer_record(uint8_t *val, uint32_t len)
{
	val[4] = RECORD_VERSION + 1;
	return len;
}

TEST(record_version)
{
	const char *dir = harness_tmpdir();
	struct seen seen = { .n = 1 };
	uint64_t id[3], bad = 0;
	struct store *s;

	prepare(dir, id);
	spoil_record(dir, id[1], 4, newer_record);
	CHECK((s = kit_open(dir)) != NULL);
	CHECK_U64(store_read(s, id[1], 0, UINT64_MAX, see, &seen, &bad), STORE_VERSION);
	CHECK_U64(bad, 4);
	store_close(s);
}

/* ---- pages and files ---- */

/* Overwrites some bytes of a file. */
static void
scratch(const char *dir, const char *name, off_t at, size_t len)
{
	char path[600];
	uint8_t junk[64];
	int fd;

	memset(junk, 0x5c, sizeof(junk));
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	CHECK((fd = open(path, O_WRONLY)) != -1);
	CHECK(pwrite(fd, junk, len, at) == (ssize_t)len);
	CHECK(close(fd) == 0);
}

static void
read_spoilt_page(const char *dir, uint64_t id)
{
	struct seen seen = { .n = 1 };
	struct store_stat st;
	struct store *s;

	CHECK((s = kit_open(dir)) != NULL);
	CHECK_U64(store_read(s, id, 0, UINT64_MAX, see, &seen, NULL), STORE_CORRUPT);
	CHECK_U64(store_begin(s), STORE_CORRUPT);
	CHECK_U64(store_stat(s, &st), STORE_CORRUPT);
	CHECK_U64(store_checkpoint(s, true), STORE_CORRUPT);
	store_abort(s);
	store_close(s);
}

/* Page damage is found by Berkeley DB's checksum and latches the store: it cannot go on without recovery.  In a process of its
 * own, because libdb does not free all of an environment that it has declared dead. */
TEST(page_flipped)
{
	const char *dir = harness_tmpdir();
	uint64_t id[3];
	int status;
	pid_t pid;

	prepare(dir, id);
	scratch(dir, "changesets.db", 4096 + 2000, 16);
	fflush(stdout);
	if ((pid = fork()) == 0) {
		read_spoilt_page(dir, id[1]);
		fflush(stdout);
		_exit(harness_failed());
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

TEST(meta_page_flipped)
{
	const char *dir = harness_tmpdir();
	struct store_options opt = kit_options(dir);
	char why[300] = "";
	struct store *s;
	uint64_t id[3];

	prepare(dir, id);
	scratch(dir, "files.db", 300, 8); /* the page's checksum covers its first 512 bytes */
	CHECK_U64(store_open(&opt, &s, why, sizeof(why)), STORE_CORRUPT);
	CHECK(s == NULL);
	CHECK(strstr(why, "files.db") != NULL);
}

/* A table that is gone is not quietly made anew over records that are still there. */
TEST(table_missing)
{
	const char *dir = harness_tmpdir();
	struct store_options opt = kit_options(dir);
	char why[300] = "", path[600];
	struct store *s;
	uint64_t id[3];

	prepare(dir, id);
	snprintf(path, sizeof(path), "%s/meta.db", dir);
	CHECK(unlink(path) == 0);
	CHECK_U64(store_open(&opt, &s, why, sizeof(why)), STORE_CORRUPT);
	CHECK(s == NULL);
}
