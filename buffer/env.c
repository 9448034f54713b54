/* The Berkeley DB environment under the store.  It knows nothing of records, never logs (errors go to on_error) and starts no
 * thread.
 *
 * The one idea: whatever recovery finds must be a prefix of what was committed, and at least all that was promised.
 *   - The log is written with O_DSYNC: one write is one sync.
 *   - A commit that is not durable uses DB_TXN_NOSYNC: its log records wait in memory and leave with the next durable commit or
 *     checkpoint, in order.  (DB_TXN_WRITE_NOSYNC would write them at once, on an O_DSYNC log a full sync.)  So a transaction is
 *     never there without those before it: I2, I5 - after a crash a trimmed record may come back, counters and all.
 *   - A process that was killed may leave data that is visible but not on stable storage, and O_DSYNC covers only what is
 *     written through it, so all files are synced before recovery builds on them.
 *   - Regions are private memory (DB_PRIVATE): nothing stale to join, and an flock keeps other processes out.
 *   - No lock subsystem: one thread, and reads inside a transaction use it.  So a transaction's size costs no memory.
 *   - When the write that starts a new log file finds no space, libdb 5.3 reports the commit as done though nothing was written
 *     (__log_flush_commit takes "another file" for "a later file").  env_commit sees that a write failed and flushes again; if that
 *     fails too, the caller gets the error, while the transaction stands in memory and a later durable commit makes it so. */
#include <sys/file.h>
#include <sys/stat.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "buffer/env.h"
#include "buffer/hooks.h"

#define PAGE_BYTES 4096 /* what a disk most likely writes whole; with checksums a torn page is found (facts.md) */
#define LOCK_NAME "lock"
#define ERRORS_PER_SECOND 5 /* one full disk made libdb say 15,000 lines */

/* The log buffer: a commit that fits leaves in one write, so one sync.  A quarter of a log file, within these. */
#define LOG_BUFFER_MIN (64u << 10)
#define LOG_BUFFER_MAX (1u << 20)

/* Least values that make sense: a transaction touches dozens of pages; a log file must hold several buffers. */
#define CACHE_MIN (256u << 10)
#define LOG_FILE_MIN (4 * LOG_BUFFER_MIN)
#define CHECKPOINT_MIN (64u << 10)

struct env {
	DB_ENV *db;
	char *dir;
	int dir_fd, lock_fd;
	uint32_t checkpoint_bytes;
	uint32_t oldest_log; /* number of the oldest log file that may be there */
	bool dead;	     /* DB_RUNRECOVERY was seen */
	bool lag;	     /* something committed may not be on stable storage */
	/* reports */
	void (*on_error)(void *arg, const char *text);
	void *on_error_arg;
	time_t error_second; /* monotonic: the second that error_count counts in */
	unsigned error_count, error_dropped;
	char first_error[256];
};

/* ---- errors ---- */

bool
env_full(void)
{
	return hooks_is_full(hooks_last_error());
}

enum store_err
env_error(struct env *e, int ret)
{
	if (ret == DB_RUNRECOVERY)
		e->dead = true;
	if (hooks_is_full(ret))
		return STORE_NOSPACE;
	switch (ret) {
	case 0:
		return STORE_OK;
	case DB_NOTFOUND:
		return STORE_NOTFOUND;
	case ENOMEM: /* also: no room in the cache, because its pages cannot be written */
		return env_full() ? STORE_NOSPACE : STORE_NOMEM;
	case DB_RUNRECOVERY: /* if it gave up over a failed call, nothing need be damaged: the next start recovers */
		return hooks_last_error() != 0 ? STORE_IO : STORE_CORRUPT;
	case DB_CHKSUM_FAIL:
	case DB_PAGE_NOTFOUND:
	case DB_VERIFY_BAD:
	case EINVAL: /* our arguments are fixed, so libdb means what it read from the disk */
		return STORE_CORRUPT;
	default:
		return STORE_IO;
	}
}

bool
env_dead(const struct env *e)
{
	return e->dead;
}

const char *
env_first_error(const struct env *e)
{
	return e->first_error;
}

void
env_report(struct env *e, const char *text)
{
	struct timespec now = { 0 };
	char line[512];

	if (e->first_error[0] == '\0')
		(void)snprintf(e->first_error, sizeof(e->first_error), "%s", text);
	if (e->on_error == NULL)
		return;
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	if (now.tv_sec != e->error_second) {
		e->error_second = now.tv_sec;
		e->error_count = 0;
	}
	if (e->error_count == ERRORS_PER_SECOND) {
		e->error_dropped++;
		return;
	}
	e->error_count++;
	if (e->error_dropped > 0) {
		(void)snprintf(line, sizeof(line), "%s (%u more not shown)", text, e->error_dropped);
		e->error_dropped = 0;
		text = line;
	}
	e->on_error(e->on_error_arg, text);
}

static void
errcall_cb(const DB_ENV *db, const char *prefix, const char *text)
{
	(void)prefix;
	env_report(db->app_private, text);
}

/* ---- the directory ---- */

/* Says what failed, for the operator; the errno decides the result. */
static enum store_err
fail_dir(const struct env *e, const char *what, const char *name, int err, char *why, size_t why_len)
{
	(void)snprintf(why, why_len, "cannot %s %s%s%s: %s", what, e->dir, name != NULL ? "/" : "", name != NULL ? name : "",
		       strerror(err));
	if (hooks_is_full(err))
		return STORE_NOSPACE;
	return err == ENOMEM ? STORE_NOMEM : STORE_IO;
}

/* Creates the directory if it is missing, and closes it to everybody else. */
static enum store_err
dir_open(struct env *e, char *why, size_t why_len)
{
	bool made = mkdir(e->dir, S_IRWXU) == 0;
	struct stat st;
	int parent;

	if (!made && errno != EEXIST)
		return fail_dir(e, "create", NULL, errno, why, why_len);
	if ((e->dir_fd = open(e->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) == -1 || fstat(e->dir_fd, &st) == -1)
		return fail_dir(e, "open", NULL, errno, why, why_len);
	if ((st.st_mode & 07777) != S_IRWXU && fchmod(e->dir_fd, S_IRWXU) == -1)
		return fail_dir(e, "close to others (chmod 0700)", NULL, errno, why, why_len);
	if (made) {
		parent = openat(e->dir_fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (parent == -1 || fsync(parent) == -1) {
			int err = errno;

			if (parent != -1)
				(void)close(parent);
			return fail_dir(e, "sync the parent of", NULL, err, why, why_len);
		}
		(void)close(parent);
	}
	return STORE_OK;
}

/* Takes the lock and leaves our process id in it for whoever comes too late. */
static enum store_err
dir_lock(struct env *e, char *why, size_t why_len)
{
	char pid[24] = "";
	ssize_t n;

	e->lock_fd = openat(e->dir_fd, LOCK_NAME, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, S_IRUSR | S_IWUSR);
	if (e->lock_fd == -1)
		return fail_dir(e, "open", LOCK_NAME, errno, why, why_len);
	if (flock(e->lock_fd, LOCK_EX | LOCK_NB) == -1) {
		if (errno != EWOULDBLOCK)
			return fail_dir(e, "lock", LOCK_NAME, errno, why, why_len);
		n = pread(e->lock_fd, pid, sizeof(pid) - 1, 0);
		pid[n > 0 ? n : 0] = '\0';
		if (atol(pid) > 0)
			(void)snprintf(why, why_len, "%s is in use by process %ld", e->dir, atol(pid));
		else
			(void)snprintf(why, why_len, "%s is in use by another process", e->dir);
		return STORE_LOCKED;
	}
	n = snprintf(pid, sizeof(pid), "%ld\n", (long)getpid());
	/* Only a courtesy: a disk that is full must not keep the store from opening. */
	if (ftruncate(e->lock_fd, 0) == -1 || pwrite(e->lock_fd, pid, (size_t)n, 0) != n)
		(void)snprintf(pid, sizeof(pid), "%s", "");
	return STORE_OK;
}

/* One file of the directory, before recovery: private, and what is visible of it also on stable storage. */
static int
settle_file(int dir_fd, const char *name)
{
	struct stat st;
	int fd, err = 0;

	if ((fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)) == -1)
		return errno == ENOENT || errno == ELOOP ? 0 : errno;
	if (fstat(fd, &st) == -1)
		err = errno;
	else if (S_ISREG(st.st_mode) &&
		 (((st.st_mode & 07777) != (S_IRUSR | S_IWUSR) && fchmod(fd, S_IRUSR | S_IWUSR) == -1) || fdatasync(fd) == -1))
		err = errno;
	(void)close(fd);
	return err;
}

/* Calls each for every name in the directory until it returns non-zero (an error number). */
static int
dir_each(const struct env *e, int (*each)(void *arg, int dir_fd, const char *name), void *arg)
{
	int fd = openat(e->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), ret = 0;
	struct dirent *d;
	DIR *dir;

	if (fd == -1)
		return errno;
	if ((dir = fdopendir(fd)) == NULL) {
		ret = errno;
		(void)close(fd);
		return ret;
	}
	while (ret == 0 && (errno = 0, d = readdir(dir)) != NULL) {
		if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
			ret = each(arg, fd, d->d_name);
	}
	if (ret == 0 && d == NULL)
		ret = errno;
	(void)closedir(dir);
	return ret;
}

/* arg is the name that failed, to be freed, or stays NULL. */
static int
settle_cb(void *arg, int dir_fd, const char *name)
{
	char **failed = arg;
	int err = settle_file(dir_fd, name);

	if (err != 0)
		*failed = strdup(name);
	return err;
}

static enum store_err
dir_settle(struct env *e, char *why, size_t why_len)
{
	char *name = NULL;
	int err = dir_each(e, settle_cb, &name);
	enum store_err ret;

	if (err == 0 && fsync(e->dir_fd) == -1)
		err = errno;
	ret = err != 0 ? fail_dir(e, "sync", name, err, why, why_len) : STORE_OK;
	free(name);
	return ret;
}

static int
oldest_log_cb(void *arg, int dir_fd, const char *name)
{
	uint32_t *oldest = arg;
	unsigned long n;

	(void)dir_fd;
	if (strncmp(name, "log.", 4) != 0 || (n = strtoul(name + 4, NULL, 10)) == 0)
		return 0;
	if (*oldest == 0 || n < *oldest)
		*oldest = (uint32_t)n;
	return 0;
}

static int
disk_bytes_cb(void *arg, int dir_fd, const char *name)
{
	uint64_t *sum = arg;
	struct stat st;

	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		*sum += (uint64_t)st.st_blocks * 512;
	return 0;
}

enum store_err
env_disk_bytes(const struct env *e, uint64_t *out)
{
	*out = 0;
	return dir_each(e, disk_bytes_cb, out) == 0 ? STORE_OK : STORE_IO;
}

/* ---- open and close ---- */

static uint32_t
at_least(uint32_t v, uint32_t min)
{
	return v > min ? v : min;
}

/* Opens the environment, which runs recovery. */
static int
db_open(struct env *e, const struct store_options *opt)
{
	uint32_t log_file = at_least(opt->log_file_bytes, LOG_FILE_MIN);
	uint32_t log_buffer = log_file / 4 < LOG_BUFFER_MAX ? log_file / 4 : LOG_BUFFER_MAX;
	char *home;
	DB_ENV *db;
	int ret;

	hooks_install(opt->on_fatal);
	if ((ret = db_env_create(&db, 0)) != 0)
		return ret;
	e->db = db;
	db->app_private = e;
	db->set_errcall(db, errcall_cb);
	if ((ret = db->set_cachesize(db, 0, at_least(opt->cache_bytes, CACHE_MIN), 1)) != 0 ||
	    (ret = db->set_lg_max(db, log_file)) != 0 || (ret = db->set_lg_bsize(db, log_buffer)) != 0 ||
	    (ret = db->set_lg_filemode(db, S_IRUSR | S_IWUSR)) != 0 || (ret = db->log_set_config(db, DB_LOG_DSYNC, 1)) != 0)
		return ret;
	if ((home = realpath(e->dir, NULL)) == NULL) /* libdb opens files by path for ever; the process may chdir */
		return errno;
	ret = db->open(db, home, DB_CREATE | DB_PRIVATE | DB_INIT_MPOOL | DB_INIT_LOG | DB_INIT_TXN | DB_RECOVER,
		       S_IRUSR | S_IWUSR);
	free(home);
	return ret;
}

enum store_err
env_open(const struct store_options *opt, struct env **out, char *why, size_t why_len)
{
	struct env *e = calloc(1, sizeof(*e));
	enum store_err err = STORE_NOMEM;
	int ret;

	*out = NULL;
	(void)snprintf(why, why_len, "%s", "out of memory");
	if (e == NULL)
		return STORE_NOMEM;
	e->dir_fd = e->lock_fd = -1;
	e->on_error = opt->on_error;
	e->on_error_arg = opt->on_error_arg;
	e->checkpoint_bytes = at_least(opt->checkpoint_bytes, CHECKPOINT_MIN);
	if ((e->dir = strdup(opt->dir)) == NULL)
		goto fail;
	if ((err = dir_open(e, why, why_len)) != STORE_OK || (err = dir_lock(e, why, why_len)) != STORE_OK ||
	    (err = dir_settle(e, why, why_len)) != STORE_OK)
		goto fail;
	hooks_forget();
	if ((ret = db_open(e, opt)) != 0) {
		err = env_error(e, ret);
		(void)snprintf(why, why_len, "cannot recover %s: %s%s%s", e->dir, db_strerror(ret),
			       e->first_error[0] != '\0' ? ": " : "", e->first_error);
		goto fail;
	}
	if (dir_each(e, oldest_log_cb, &e->oldest_log) != 0)
		e->oldest_log = 1; /* only costs a checkpoint */
	(void)snprintf(why, why_len, "%s", "");
	*out = e;
	return STORE_OK;
fail:
	env_close(e);
	return err;
}

void
env_close(struct env *e)
{
	if (e == NULL)
		return;
	if (e->db != NULL)
		(void)e->db->close(e->db, 0);
	if (e->lock_fd != -1)
		(void)close(e->lock_fd); /* which unlocks */
	if (e->dir_fd != -1)
		(void)close(e->dir_fd);
	free(e->dir);
	free(e);
}

/* ---- tables and transactions ---- */

bool
env_table_exists(const struct env *e, const char *name)
{
	char file[64];

	(void)snprintf(file, sizeof(file), "%s.db", name);
	return faccessat(e->dir_fd, file, F_OK, 0) == 0;
}

enum store_err
env_table(struct env *e, const char *name, DB **out)
{
	char file[64];
	DB *db;
	int ret;

	*out = NULL;
	(void)snprintf(file, sizeof(file), "%s.db", name);
	if ((ret = db_create(&db, e->db, 0)) != 0)
		return env_error(e, ret);
	if ((ret = db->set_pagesize(db, PAGE_BYTES)) == 0 && (ret = db->set_flags(db, DB_CHKSUM)) == 0)
		ret = db->open(db, NULL, file, NULL, DB_BTREE, DB_CREATE | DB_AUTO_COMMIT, S_IRUSR | S_IWUSR);
	if (ret != 0)
		(void)db->close(db, 0);
	else
		*out = db;
	return env_error(e, ret);
}

enum store_err
env_begin(struct env *e, DB_TXN **out)
{
	return env_error(e, e->db->txn_begin(e->db, NULL, out, 0));
}

enum store_err
env_commit(struct env *e, DB_TXN *txn, bool durable, bool *kept)
{
	unsigned failures = hooks_failures();
	int ret = txn->commit(txn, durable ? DB_TXN_SYNC : DB_TXN_NOSYNC);

	*kept = ret == 0;
	if (ret != 0)
		return env_error(e, ret);
	if (!durable || hooks_failures() != failures)
		e->lag = true;
	/* Also when this transaction wrote nothing: then its commit did not flush what went before. */
	if (durable && e->lag && (ret = e->db->log_flush(e->db, NULL)) == 0)
		e->lag = false;
	if (ret == 0)
		hooks_forget();
	return env_error(e, ret);
}

enum store_err
env_abort(struct env *e, DB_TXN *txn)
{
	return env_error(e, txn->abort(txn));
}

/* ---- log and checkpoints ---- */

/* Removes the log files that a checkpoint just made superfluous, and makes sure they do not come back. */
static int
remove_logs(struct env *e, uint32_t newest)
{
	int ret = e->db->log_archive(e->db, NULL, DB_ARCH_REMOVE);

	if (ret == 0 && hooks_io.fsync(e->dir_fd) == -1)
		ret = errno;
	if (ret == 0)
		e->oldest_log = newest;
	return ret;
}

enum store_err
env_checkpoint(struct env *e, bool force, bool drained)
{
	DB_LOG_STAT *st;
	uint64_t since;
	uint32_t newest;
	bool remove;
	int ret;

	if ((ret = e->db->log_stat(e->db, &st, 0)) != 0)
		return env_error(e, ret);
	since = ((uint64_t)st->st_wc_mbytes << 20) + st->st_wc_bytes;
	newest = st->st_cur_file;
	free(st);
	remove = drained && newest > e->oldest_log;
	if (!force && !remove && since < e->checkpoint_bytes)
		return STORE_OK;
	ret = e->db->txn_checkpoint(e->db, 0, 0, remove ? DB_FORCE : 0);
	if (ret == 0)
		e->lag = false;
	if (ret == 0 && remove)
		ret = remove_logs(e, newest);
	return env_error(e, ret);
}
