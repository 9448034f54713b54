/* The driver of the start-up ladder.
 *
 * Recovery of damaged files can hang, crash or eat memory (facts.md), so a child does it, under limits, and tells the result through a
 * pipe; a child that ends without a word, or not in time, has failed its rung.  The parent waits, tells the service manager that it
 * is at work, and opens the store when a rung has succeeded: then there is nothing left to recover, and opening is quick.
 *
 * The ladder is for damage only.  A full disk, a wrong key, another process in the directory, a newer format, a machine without memory: no
 * rung helps, the process ends with a line that says which.  A recovery that took all the memory it may have is another matter: a sound
 * buffer needs a small part of that. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "buffer/ladder.h"

#include "relay/clock.h"
#include "relay/log.h"
#include "relay/notify.h"
#include "relay/options.h"
#include "relay/recover.h"

#define LOG_FILE_BYTES (4u << 20)   /* one Berkeley DB log file; the default of 10 MB is much for small flash */
#define CHECKPOINT_BYTES (4u << 20) /* recovery replays at most about this much: well under a second (facts.md) */

/* What a rung may take beyond the cache: the largest record three times (16 MiB each), a list of all files, libdb's own. */
#define CHILD_MEMORY ((rlim_t)1 << 30)

#define BEAT_MS 1000	     /* how often the parent looks up while it waits */
#define BEAT_EXTEND_MS 30000 /* and how much time it asks for each time */

/* A sanitizer reserves terabytes of addresses. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LIMIT_MEMORY 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define LIMIT_MEMORY 0
#endif
#endif
#ifndef LIMIT_MEMORY
#define LIMIT_MEMORY 1
#endif

/* ---- what the store reports ---- */

static void
store_error(void *arg, const char *text)
{
	struct log_line l;

	(void)arg;
	log_begin(&l, LOG_WARN, "store");
	log_str(&l, "text", text);
	log_end(&l);
}

static void
store_fatal(const char *text)
{
	struct log_line l;

	log_begin(&l, LOG_ERROR, "store_fatal");
	log_str(&l, "text", text);
	log_end(&l);
}

static void __attribute__((noreturn))
give_up(const char *dir, enum store_err err, const char *why)
{
	struct log_line l;

	log_begin(&l, LOG_ERROR, "store_open_failed");
	log_str(&l, "dir", dir);
	log_str(&l, "error", store_strerror(err));
	log_str(&l, "reason", why);
	log_end(&l);
	exit(1);
}

bool
recover_key(const char *path, uint8_t key[STORE_KEY_BYTES], char *why, size_t why_len)
{
	uint8_t bytes[STORE_KEY_BYTES + 1];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, bytes, sizeof(bytes)) : -1;
	struct stat st = { 0 };

	if (n < 0 || fstat(fd, &st) != 0) {
		snprintf(why, why_len, "cannot read the key file %s: %s", path, strerror(errno));
	} else if ((st.st_mode & S_IRWXO) != 0) {
		snprintf(why, why_len, "the key file %s can be read by others: chmod o= it", path);
		n = -1;
	} else if (n != STORE_KEY_BYTES) {
		snprintf(why, why_len, "the key file %s must hold exactly %d bytes", path, STORE_KEY_BYTES);
		n = -1;
	} else {
		memcpy(key, bytes, STORE_KEY_BYTES);
	}
	explicit_bzero(bytes, sizeof(bytes));
	if (fd >= 0)
		close(fd);
	return n == STORE_KEY_BYTES;
}

/* ---- the child ---- */

static void
limit(int what, rlim_t value)
{
	struct rlimit r;

	if (getrlimit(what, &r) == 0 && (r.rlim_cur == RLIM_INFINITY || r.rlim_cur > value)) {
		r.rlim_cur = value;
		(void)setrlimit(what, &r);
	}
}

bool
recover_limits_memory(void)
{
	return LIMIT_MEMORY;
}

/* Bytes of addresses that this process has had at most. */
static rlim_t
peak_memory(void)
{
	FILE *f = fopen("/proc/self/status", "re");
	unsigned long long kib = 0;
	char line[128];

	while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
		if (sscanf(line, "VmPeak: %llu", &kib) == 1)
			break;
	}
	if (f != NULL)
		fclose(f);
	return (rlim_t)kib << 10;
}

static void __attribute__((noreturn))
child(const struct store_options *so, enum ladder_rung rung, uint64_t timeout_ms, int fd)
{
	rlim_t memory = CHILD_MEMORY + 2 * (rlim_t)so->cache_bytes;
	struct ladder_result res;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	limit(RLIMIT_CPU, timeout_ms / 1000 + 1);
	if (LIMIT_MEMORY)
		limit(RLIMIT_AS, memory);
	ladder_try(so, rung, &res);
	if (res.err == STORE_NOMEM && LIMIT_MEMORY && peak_memory() >= memory / 2) {
		res.err = STORE_CORRUPT;
		snprintf(res.why, sizeof(res.why), "wanted more memory than a recovery may have, %llu MiB", (unsigned long long)memory >> 20);
	}
	_exit(write(fd, &res, sizeof(res)) == (ssize_t)sizeof(res) ? 0 : 1);
}

/* Waits for the child's word: false if it ended, or was ended, without one; res->why is set if it was ended here. */
static bool
hear(int fd, pid_t pid, uint64_t timeout_ms, struct ladder_result *res)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint64_t until = clock_now_ms() + timeout_ms;

	while (poll(&p, 1, BEAT_MS) <= 0) {
		notify_extend_ms(BEAT_EXTEND_MS);
		if (clock_now_ms() >= until) {
			kill(pid, SIGKILL);
			snprintf(res->why, sizeof(res->why), "took longer than recovery_timeout");
			return false;
		}
	}
	return read(fd, res, sizeof(*res)) == (ssize_t)sizeof(*res);
}

/* Tries one rung in a child. */
static void
try_rung(const struct store_options *so, enum ladder_rung rung, uint64_t timeout_ms, struct ladder_result *res)
{
	int fd[2], status = 0;
	bool heard;
	pid_t pid;

	memset(res, 0, sizeof(*res));
	if (pipe2(fd, O_CLOEXEC) != 0 || (pid = fork()) < 0)
		log_fatal("recovery", "errno=%d", errno);
	if (pid == 0)
		child(so, rung, timeout_ms, fd[1]);
	close(fd[1]);
	heard = hear(fd[0], pid, timeout_ms, res);
	close(fd[0]);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (heard)
		return;
	res->err = STORE_CORRUPT;
	if (res->why[0] != '\0')
		return;
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) { /* not by us */
		res->err = STORE_NOMEM;
		snprintf(res->why, sizeof(res->why), "the recovery process was killed, as the kernel does when memory is out");
	} else if (WIFSIGNALED(status)) {
		snprintf(res->why, sizeof(res->why), "the recovery process was ended by signal %d", WTERMSIG(status));
	} else {
		snprintf(res->why, sizeof(res->why), "the recovery process ended without a word");
	}
}

/* ---- the ladder ---- */

static void
log_rung(const struct store_options *so, enum ladder_rung rung, const struct ladder_result *res, uint64_t ms)
{
	bool ok = res->err == STORE_OK;
	struct log_line l;
	char path[4200];

	log_begin(&l, !ok ? LOG_ERROR : rung == LADDER_NORMAL ? LOG_INFO : LOG_WARN, "recovery");
	log_str(&l, "recovery", ladder_rung_name(rung));
	log_str(&l, "result", ok ? "ok" : "failed");
	log_u64(&l, "ms", ms);
	if (!ok)
		log_str(&l, "reason", res->why);
	if (res->aside[0] != '\0') {
		snprintf(path, sizeof(path), "%s/%s", so->dir, res->aside);
		log_str(&l, "aside", path);
	}
	if (ok && rung == LADDER_SALVAGE) {
		log_u64(&l, "files", res->files);
		log_u64(&l, "records", res->records);
		log_u64(&l, "files_lost", res->files_lost);
		log_u64(&l, "orphans", res->orphans);
	}
	log_end(&l);
}

static struct store *
climb(const struct options *o, const struct store_options *so, const char **how)
{
	struct ladder_result res;
	struct store *store;
	uint64_t start;

	for (enum ladder_rung rung = LADDER_NORMAL; rung < LADDER_RUNGS; rung++) {
		start = clock_now_ms();
		try_rung(so, rung, o->recovery_timeout_ms, &res);
		log_rung(so, rung, &res, clock_now_ms() - start);
		if (res.err != STORE_OK && res.err != STORE_CORRUPT)
			give_up(so->dir, res.err, res.why);
		if (res.err != STORE_OK)
			continue;
		*how = ladder_rung_name(rung);
		res.err = store_open(so, &store, res.why, sizeof(res.why));
		if (res.err == STORE_OK)
			return store;
		if (res.err != STORE_CORRUPT)
			break;
	}
	give_up(so->dir, res.err, res.why);
}

struct store *
recover_open(const struct options *o, const char **how)
{
	uint8_t key[STORE_KEY_BYTES];
	struct store_options so = { .dir = o->state_dir,
		.max_bytes = o->buffer_max_bytes,
		.max_bytes_per_file = o->buffer_max_file_bytes,
		.min_free = o->buffer_min_free,
		.ballast_bytes = o->buffer_ballast,
		.max_log_bytes = o->buffer_max_log_bytes,
		.cache_bytes = (uint32_t)o->buffer_cache_bytes,
		.log_file_bytes = LOG_FILE_BYTES,
		.checkpoint_bytes = CHECKPOINT_BYTES,
		.on_error = store_error,
		.on_fatal = store_fatal };
	struct store *store;
	char why[512];

	if (o->buffer_key_file[0] != '\0') {
		if (!recover_key(o->buffer_key_file, key, why, sizeof(why)))
			give_up(o->state_dir, STORE_KEY, why);
		so.key = key;
	}
	store = climb(o, &so, how);
	explicit_bzero(key, sizeof(key));
	return store;
}
