/* See disk.h. */
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "buffer/store.h"

#include "tests/bench/load/bench.h"
#include "tests/bench/load/disk.h"
#include "tests/bench/load/loop.h"
#include "tests/bench/load/upload.h"
#include "tests/storekit.h"

#define RECORD_HEAD 64 /* a record has a head, too */
#define FILL_BATCH 1000
#define LOAD_BYTES (32u << 20) /* what is stored lies in so much memory, more than a processor's cache, as what is received does */

static double
per_second(uint64_t n, uint64_t start)
{
	return (double)n * 1e9 / (double)(loop_now_ns() - start);
}

double
disk_plain(const char *dir, uint64_t n, size_t size, unsigned batch)
{
	char path[512];
	size_t len = batch * (size + RECORD_HEAD);
	uint8_t *bytes = calloc(1, len);
	uint64_t start, done = 0;
	double rate;
	int fd;

	snprintf(path, sizeof(path), "%s/plain", dir);
	if (bytes == NULL || (fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)) < 0)
		err(1, "%s", path);
	for (start = loop_now_ns(); done < n; done += batch)
		if (write(fd, bytes, len) != (ssize_t)len || fdatasync(fd) != 0)
			err(1, "%s", path);
	rate = per_second(done, start);
	close(fd);
	unlink(path);
	free(bytes);
	return rate;
}

static void
must(enum store_err e)
{
	if (e != STORE_OK)
		errx(1, "store: %s", store_strerror(e));
}

struct load {
	struct store *store;
	struct store_file *file;
	unsigned files, batch;
	uint8_t *bytes; /* of LOAD_BYTES */
	size_t size, at;
};

/* n changesets of one file. */
static void
append_some(struct load *l, struct store_file *f, unsigned n)
{
	bool added;

	for (unsigned i = 0; i < n; i++, l->at = (l->at + l->size) % (LOAD_BYTES - l->size)) {
		struct store_record r = { .client_version = ++f->held_client_version, .received_ms = 1, .data = l->bytes + l->at,
			.len = (uint32_t)l->size };

		must(store_append(l->store, f->id, &r, &added));
	}
	must(store_file_put(l->store, f));
}

static void
commit_batch(struct load *l)
{
	struct store *s = l->store;

	must(store_begin(s));
	for (unsigned i = 0; i < l->files; i++)
		append_some(l, &l->file[i], l->batch / l->files + (i < l->batch % l->files));
	must(store_commit(s, true));
	must(store_checkpoint(s, false));
}

/* The store in dir, set up as the relay does it; its path in path. */
static struct store *
open_store(const char *dir, const char *name, char *path, size_t path_len)
{
	struct store_options opt = { .dir = path, .cache_bytes = 4u << 20, .log_file_bytes = 4u << 20, .checkpoint_bytes = 4u << 20,
		.max_log_bytes = 64u << 20 };
	char why[400];
	struct store *s;

	snprintf(path, path_len, "%s/%s", dir, name);
	if (store_open(&opt, &s, why, sizeof(why)) != STORE_OK)
		errx(1, "%s: %s", path, why);
	return s;
}

static double
store_rate(const char *dir, uint64_t n, size_t size, unsigned batch, unsigned files)
{
	char path[512];
	struct load l = { open_store(dir, "store", path, sizeof(path)), calloc(files, sizeof(struct store_file)), files, batch, malloc(LOAD_BYTES), size, 0 };
	uint64_t start, done = 0;
	double rate;

	if (l.bytes == NULL || l.file == NULL)
		err(1, "store");
	upload_digits(l.bytes, LOAD_BYTES, 0);
	must(store_begin(l.store));
	for (unsigned i = 0; i < files; i++) {
		l.file[i] = kit_file(i + 1);
		must(store_file_put(l.store, &l.file[i]));
	}
	must(store_commit(l.store, true));
	for (start = loop_now_ns(); done < n; done += batch)
		commit_batch(&l);
	rate = per_second(done, start);
	store_close(l.store);
	bench_remove(path);
	free(l.file);
	free(l.bytes);
	return rate;
}

/* In a process of its own, as a relay is one: ours has a past. */
double
disk_store(const char *dir, uint64_t n, size_t size, unsigned batch, unsigned files)
{
	double *rate = mmap(NULL, sizeof(*rate), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0), result;
	int status;
	pid_t pid;

	if (rate == MAP_FAILED || (pid = fork()) == -1)
		err(1, "store");
	if (pid == 0) {
		*rate = store_rate(dir, n, size, batch, files);
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid || status != 0)
		errx(1, "the store alone failed");
	result = *rate;
	(void)munmap(rate, sizeof(*rate));
	return result;
}

void
disk_fill_store(const char *dir, unsigned n, size_t size)
{
	char path[512];
	struct store *s = open_store(dir, "state", path, sizeof(path));
	uint8_t *bytes = calloc(1, size);

	for (unsigned i = 0; i < n; i++) {
		struct store_file f = kit_file(i + 1);
		struct store_record r = { .client_version = 1, .received_ms = 1, .data = bytes, .len = (uint32_t)size };
		bool added;

		f.held_client_version = 1;
		if (i % FILL_BATCH == 0)
			must(store_begin(s));
		must(store_file_put(s, &f));
		must(store_append(s, f.id, &r, &added));
		if (i % FILL_BATCH != FILL_BATCH - 1 && i != n - 1)
			continue;
		must(store_commit(s, true));
		must(store_checkpoint(s, false));
	}
	store_close(s);
	free(bytes);
}
