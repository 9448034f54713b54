/* How fast the store is, as ratios to what the same disk does in the same minutes without it.
 *
 *   raw    records appended to a plain file, one write and one fdatasync a commit
 *   bare   the same records put into a bare Berkeley DB with the store's settings: no counters, no checksum, no file record
 *   store  store_append and a durable store_commit
 *
 * The three take turns in short slices, so that a disk that others use at the same time disturbs them alike.  Then: reading for
 * replay, bytes written for a byte of payload, and the time to open a store that holds many records.
 * Environment: BENCH_SECONDS a measurement (default 2; 0: none), BENCH_RECORDS waiting at most (default 1000000), BENCH_DRAIN records
 * drained (default 100000), TMPDIR (default
 * /var/tmp: it must be a real disk). */
#include <sys/stat.h>
#include <sys/wait.h>

#include <dirent.h>
#include <err.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <db.h>

#include "buffer/be.h"
#include "tests/storekit.h"

#define RECORD_LEN 1024
#define SLICE 0.05 /* seconds that one of the three works before the next one's turn */

static char root[512];
static uint8_t data[256][RECORD_LEN];

static double
now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double
env_number(const char *name, double otherwise)
{
	const char *v = getenv(name);

	return v != NULL ? atof(v) : otherwise;
}

static void
must(enum store_err err, const char *what)
{
	if (err != STORE_OK)
		errx(1, "%s: %s", what, store_strerror(err));
}

static void
must_db(int ret, const char *what)
{
	if (ret != 0)
		errx(1, "%s: %s", what, db_strerror(ret));
}

static void
path_of(char *out, size_t len, const char *name)
{
	if ((size_t)snprintf(out, len, "%s/%s", root, name) >= len)
		errx(1, "TMPDIR is too long");
}

/* Removes a directory of plain files. */
static void
remove_dir(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;

	while (d != NULL && (e = readdir(d)) != NULL)
		(void)unlinkat(dirfd(d), e->d_name, 0);
	if (d != NULL)
		(void)closedir(d);
	(void)rmdir(dir);
}

/* Bytes that this process caused to be written to disks so far; 0 if the kernel does not say. */
static unsigned long long
bytes_written(void)
{
	unsigned long long n = 0;
	char line[80];
	FILE *f = fopen("/proc/self/io", "re");

	while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
		if (sscanf(line, "write_bytes: %llu", &n) == 1)
			break;
	}
	if (f != NULL)
		(void)fclose(f);
	return n;
}

/* ---- the three ways; each commits a batch of n records ---- */

struct bench {
	int fd; /* raw */
	DB_ENV *env;
	DB *db;
	uint64_t bare_version;
	struct store *store;
	struct store_file file;
};

static void
raw_batch(struct bench *b, unsigned n)
{
	if (write(b->fd, data, (size_t)n * RECORD_LEN) != (ssize_t)n * RECORD_LEN || fdatasync(b->fd) == -1)
		err(1, "raw append");
}

static void
bare_batch(struct bench *b, unsigned n)
{
	DB_TXN *txn;

	must_db(b->env->txn_begin(b->env, NULL, &txn, 0), "txn_begin");
	for (unsigned i = 0; i < n; i++) {
		uint8_t key[16];
		DBT k = { .data = key, .size = sizeof(key) }, v = { .data = data[i], .size = RECORD_LEN };

		be_put64(key, 1);
		be_put64(key + 8, ++b->bare_version);
		must_db(b->db->put(b->db, txn, &k, &v, 0), "put");
	}
	must_db(txn->commit(txn, DB_TXN_SYNC), "commit");
	must_db(b->env->txn_checkpoint(b->env, 4096, 0, 0), "checkpoint");
}

static void
store_batch(struct bench *b, unsigned n)
{
	must(store_begin(b->store), "begin");
	for (unsigned i = 0; i < n; i++) {
		struct store_record r = { .client_version = ++b->file.held_client_version, .received_ms = 1, .data = data[i],
			.len = RECORD_LEN };
		bool added;

		must(store_append(b->store, b->file.id, &r, &added), "append");
	}
	must(store_commit(b->store, true), "commit");
	must(store_checkpoint(b->store, false), "checkpoint");
}

static struct store_options
options(const char *dir)
{
	return (struct store_options){ .dir = dir, .cache_bytes = 4u << 20, .log_file_bytes = 4u << 20, .checkpoint_bytes = 4u << 20,
		.max_log_bytes = 64u << 20 }; /* the defaults of the relay */
}

static struct store *
store_at(const char *dir)
{
	struct store_options opt = options(dir);
	char why[400];
	struct store *s;

	if (store_open(&opt, &s, why, sizeof(why)) != STORE_OK)
		errx(1, "%s", why);
	return s;
}

static void
bench_open(struct bench *b)
{
	char path[600];

	memset(b, 0, sizeof(*b));
	path_of(path, sizeof(path), "raw");
	if ((b->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)) == -1)
		err(1, "%s", path);
	path_of(path, sizeof(path), "store");
	b->store = store_at(path);
	b->file = kit_file(1);
	must(store_begin(b->store), "begin");
	must(store_file_put(b->store, &b->file), "file");
	must(store_commit(b->store, true), "commit");
	path_of(path, sizeof(path), "bare");
	if (mkdir(path, 0700) == -1)
		err(1, "%s", path);
	must_db(db_env_create(&b->env, 0), "env");
	must_db(b->env->set_cachesize(b->env, 0, 4u << 20, 1), "cache");
	must_db(b->env->set_lg_max(b->env, 4u << 20), "log");
	must_db(b->env->set_lg_bsize(b->env, 1u << 20), "log buffer");
	must_db(b->env->log_set_config(b->env, DB_LOG_DSYNC, 1), "dsync");
	must_db(b->env->open(b->env, path, DB_CREATE | DB_PRIVATE | DB_INIT_MPOOL | DB_INIT_LOG | DB_INIT_TXN, 0600), "env");
	must_db(db_create(&b->db, b->env, 0), "db");
	must_db(b->db->set_pagesize(b->db, 4096), "page size");
	must_db(b->db->set_flags(b->db, DB_CHKSUM), "checksums");
	must_db(b->db->open(b->db, NULL, "bare.db", NULL, DB_BTREE, DB_CREATE | DB_AUTO_COMMIT, 0600), "db");
}

static void
bench_close(struct bench *b)
{
	static const char *const dirs[] = { "store", "bare" };
	char path[600];

	(void)close(b->fd);
	must_db(b->db->close(b->db, 0), "close");
	must_db(b->env->close(b->env, 0), "close");
	store_close(b->store);
	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
		path_of(path, sizeof(path), dirs[i]);
		remove_dir(path);
	}
}

/* ---- measurements ---- */

struct sum {
	double records;
	unsigned long long written;
};

/* One of the three, for one slice: records a second. */
static double
slice(struct bench *b, void (*way)(struct bench *b, unsigned n), unsigned n, struct sum *sum)
{
	unsigned long long before = bytes_written();
	double start = now(), records = 0, spent;

	do {
		way(b, n);
		records += n;
		spent = now() - start;
	} while (spent < SLICE);
	sum->written += bytes_written() - before;
	sum->records += records;
	return records / spent;
}

static double
bytes_a_byte(const struct sum *sum)
{
	return (double)sum->written / (sum->records * RECORD_LEN);
}

static int
by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double
median(double *v, size_t n)
{
	qsort(v, n, sizeof(*v), by_value);
	return v[n / 2];
}

/* Each ratio is the median over rounds, in which all three have had their slice: what else the disk had to do for a while spoils a few of
 * them, not the result. */
static void
bench_commits(unsigned n, double seconds)
{
	static void (*const ways[])(struct bench *b, unsigned n) = { raw_batch, bare_batch, store_batch };
	enum { ROUNDS = 400 };
	static double rate[3][ROUNDS], to_raw[ROUNDS], to_bare[ROUNDS];
	struct sum sum[3] = { 0 };
	double start = now();
	struct bench b;
	size_t round = 0;

	bench_open(&b);
	for (; round < ROUNDS && (round < 5 || now() - start < 3 * seconds); round++) {
		for (size_t i = 0; i < 3; i++) {
			size_t way = (round + i) % 3; /* each is first as often as the others */

			rate[way][round] = slice(&b, ways[way], n, &sum[way]);
		}
		to_raw[round] = rate[2][round] / rate[0][round];
		to_bare[round] = rate[2][round] / rate[1][round];
	}
	bench_close(&b);
	printf("%5u %10.0f %10.0f %10.0f %9.2f %9.2f %9.2f %9.2f %9.2f\n", n, median(rate[0], round), median(rate[1], round),
	       median(rate[2], round), median(to_raw, round), median(to_bare, round), bytes_a_byte(&sum[0]), bytes_a_byte(&sum[1]),
	       bytes_a_byte(&sum[2]));
}

static bool
count_bytes(void *arg, const struct store_record *r)
{
	*(uint64_t *)arg += r->len;
	return true;
}

enum { FILES = 100, BATCH = 200 };

/* Fills a store with n records over a hundred files. */
static void
fill(const char *path, unsigned n)
{
	struct store_file f[FILES];
	struct store *s = store_at(path);

	for (unsigned i = 0; i < n; i += BATCH) {
		struct store_file *file = &f[i / BATCH % FILES];

		must(store_begin(s), "begin");
		if (i / BATCH < FILES) {
			*file = kit_file(i / BATCH);
			must(store_file_put(s, file), "file");
		}
		for (unsigned k = 0; k < BATCH; k++) {
			struct store_record r = { .client_version = ++file->held_client_version, .received_ms = 1, .data = data[k],
				.len = RECORD_LEN };
			bool added;

			must(store_append(s, file->id, &r, &added), "append");
		}
		must(store_commit(s, i + BATCH >= n), "commit");
		must(store_checkpoint(s, false), "checkpoint");
	}
}

/* The same in a process that ends without closing it. */
static void
fill_and_crash(const char *path, unsigned n)
{
	pid_t pid;

	fflush(stdout);
	if ((pid = fork()) == 0) {
		fill(path, n);
		_exit(0);
	}
	if (pid == -1 || waitpid(pid, NULL, 0) != pid)
		err(1, "fork");
}

/* Opens the store at path; *ms says how long that took. */
static struct store *
open_timed(const char *path, double *ms)
{
	double start = now();
	struct store *s = store_at(path);

	*ms = (now() - start) * 1e3;
	return s;
}

/* Fills a store in a process that ends without closing it; opens it after that, and after clean closes (the median counts), and reads it
 * all. */
static void
bench_waiting(unsigned n)
{
	enum { OPENS = 7 };
	char path[600];
	struct store_stat st;
	struct store *s;
	uint64_t bytes = 0;
	double start, read_s, crash_ms, open_ms[OPENS];

	path_of(path, sizeof(path), "waiting");
	fill_and_crash(path, n);
	s = open_timed(path, &crash_ms);
	for (size_t i = 0; i < OPENS; i++) {
		store_close(s);
		s = open_timed(path, &open_ms[i]);
	}
	must(store_stat(s, &st), "stat");
	start = now();
	for (uint64_t id = 1; id <= st.files; id++)
		must(store_read(s, id, 0, UINT64_MAX, count_bytes, &bytes, NULL), "read");
	read_s = now() - start;
	store_close(s);
	printf("%7llu records waiting: open %.1f ms, after a crash %.1f ms, read %.0f MB/s, disk %.2f bytes a byte of payload\n",
	       (unsigned long long)st.records, median(open_ms, OPENS), crash_ms, (double)bytes / read_s / 1e6,
	       (double)st.disk_bytes / (double)st.bytes);
	remove_dir(path);
}

/* The backlog of bench_waiting's kind is drained as upstream would acknowledge it; then the store is called until it has nothing to do. */
static void
bench_drain(unsigned n)
{
	char path[600];
	struct store_stat st;
	struct store *s;
	double start, drain_s, longest = 0, step;
	uint64_t disk;
	unsigned steps = 0;

	path_of(path, sizeof(path), "drain");
	fill_and_crash(path, n);
	s = store_at(path);
	must(store_stat(s, &st), "stat");
	disk = st.disk_bytes;
	start = now();
	for (uint64_t id = 1; id <= st.files; id++) {
		for (uint64_t upto = 100; upto <= n; upto += 100) {
			must(store_begin(s), "begin");
			must(store_trim(s, id, upto), "trim");
			must(store_commit(s, false), "commit");
			if (upto > n / FILES + BATCH)
				break;
		}
		must(store_checkpoint(s, false), "checkpoint");
	}
	drain_s = now() - start;
	start = now();
	while (steps++ == 0 || store_busy(s)) {
		step = now();
		must(store_checkpoint(s, false), "checkpoint");
		step = now() - step;
		longest = step > longest ? step : longest;
	}
	must(store_stat(s, &st), "stat");
	printf("%u records drained in %.2f s; %.1f MB on disk given back down to %.1f MB in %.2f s, %u steps, longest %.0f ms\n", n,
	       drain_s, (double)disk / 1e6, (double)st.disk_bytes / 1e6, now() - start, steps, longest * 1e3);
	store_close(s);
	remove_dir(path);
}

int
main(void)
{
	static const unsigned per_commit[] = { 1, 16, 64, 256 };
	const char *tmp = getenv("TMPDIR");
	double seconds = env_number("BENCH_SECONDS", 2), records = env_number("BENCH_RECORDS", 1000000);
	char path[600];

	if (snprintf(root, sizeof(root), "%s/holdfast-bench.XXXXXX", tmp != NULL ? tmp : "/var/tmp") >= (int)sizeof(root) ||
	    mkdtemp(root) == NULL)
		err(1, "%s", root);
	for (unsigned i = 0; i < 256; i++)
		kit_fill(data[i], RECORD_LEN, 1, i);
	printf("durable records of %d bytes a second; bytes written to disk a byte of payload\n", RECORD_LEN);
	printf("%5s %10s %10s %10s %9s %9s %9s %9s %9s\n", "batch", "raw", "bare", "store", "/raw", "/bare", "raw B/B", "bare B/B",
	       "store B/B");
	for (size_t i = 0; i < sizeof(per_commit) / sizeof(per_commit[0]) && seconds > 0; i++)
		bench_commits(per_commit[i], seconds);
	for (unsigned n = 1000; n <= records; n *= n == 1000 ? 100 : 10)
		bench_waiting(n);
	bench_drain((unsigned)env_number("BENCH_DRAIN", 100000));
	path_of(path, sizeof(path), "raw");
	(void)unlink(path);
	(void)rmdir(root);
	return 0;
}
