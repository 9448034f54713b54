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
 *   - When a new log file cannot be begun (no space, no descriptor, no memory), libdb 5.3 reports the commit as done though nothing
 *     was written (__log_flush_commit takes "another file" for "a later file").  So env_commit flushes after every durable commit;
 *     if that fails, the caller gets the error, while the transaction stands in memory and a later durable commit makes it so. */
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "buffer/base.h"
#include "buffer/dir.h"
#include "buffer/env.h"
#include "buffer/hooks.h"
#include "buffer/key.h"

#define BASE_STEP (4u << 20) /* bytes of the base copied between two groups of commits: some tens of milliseconds */
#define DRAINED_LOGS 2	     /* log files kept when nothing waits; each step further costs a copy of the tables */

#define PAGE_BYTES 4096 /* what a disk most likely writes whole; with checksums a torn page is found (facts.md) */
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
	struct dir dir;
	char *home;	     /* the directory by its full name; libdb opens files by path for ever, and the process may chdir */
	bool encrypted;
	uint32_t checkpoint_bytes, log_file_bytes;
	uint64_t max_log_bytes, min_free;
	uint32_t oldest_log; /* number of the oldest log file that may be there */
	uint32_t renewing;   /* env_renew_log: what comes before it goes; 0 = not asked for */
	struct base base;    /* the copy under way */
	uint32_t base_again; /* after a copy failed: not before the log has come to this file */
	bool dead;	     /* DB_RUNRECOVERY was seen */
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

static int
oldest_log_cb(void *arg, int dir_fd, const char *name)
{
	uint32_t *oldest = arg;
	uint32_t n = dir_log_number(name);

	(void)dir_fd;
	if (n != 0 && (*oldest == 0 || n < *oldest))
		*oldest = n;
	return 0;
}

enum store_err
env_disk_bytes(const struct env *e, uint64_t *out, uint64_t *logs)
{
	return dir_bytes(&e->dir, out, logs);
}

uint64_t
env_disk_free(const struct env *e)
{
	return dir_free(&e->dir);
}

bool
env_ballast(const struct env *e)
{
	return dir_ballast(&e->dir);
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
	uint32_t log_file = e->log_file_bytes;
	uint32_t log_buffer = log_file / 4 < LOG_BUFFER_MAX ? log_file / 4 : LOG_BUFFER_MAX;
	char phrase[KEY_PHRASE_LEN + 1];
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
	if (opt->key != NULL) {
		key_phrase(opt->key, phrase);
		ret = db->set_encrypt(db, phrase, DB_ENCRYPT_AES);
		explicit_bzero(phrase, sizeof(phrase));
		if (ret != 0)
			return ret;
	}
	return db->open(db, e->home,
			DB_CREATE | DB_PRIVATE | DB_INIT_MPOOL | DB_INIT_LOG | DB_INIT_TXN |
				(opt->rebuild ? DB_RECOVER_FATAL : DB_RECOVER),
			S_IRUSR | S_IWUSR);
}

/* Opens it; when recovery finds no space, gives the ballast up and tries once more. */
static enum store_err
db_open_with_room(struct env *e, const struct store_options *opt, char *why, size_t why_len)
{
	enum store_err err = STORE_OK;
	int ret;

	for (int attempt = 0; attempt < 2; attempt++) {
		hooks_forget();
		e->first_error[0] = '\0';
		if ((ret = db_open(e, opt)) == 0)
			return STORE_OK;
		err = env_error(e, ret);
		if (err == STORE_IO && env_full())
			err = STORE_NOSPACE; /* libdb gave up, but we know why */
		(void)snprintf(why, why_len, "cannot recover %s: %s%s%s", e->dir.path,
			       err == STORE_NOSPACE ? "disk full" : db_strerror(ret), e->first_error[0] != '\0' ? ": " : "",
			       e->first_error);
		if (err != STORE_NOSPACE || attempt > 0 || !dir_ballast_drop(&e->dir))
			return err;
		env_report(e, "disk full: the ballast is given up for recovery");
		if (e->db != NULL)
			(void)e->db->close(e->db, 0);
		e->db = NULL;
		e->dead = false;
	}
	return err;
}

/* The directory is ours and in order: opens the environment. */
static enum store_err
env_recover(struct env *e, const struct store_options *opt, char *why, size_t why_len)
{
	enum store_err err;

	if (!opt->rebuild && dir_marked(&e->dir) == DIR_MOVED) {
		(void)snprintf(why, why_len, "a recovery of %s was interrupted, its tables are in %s/aside-*", e->dir.path, e->dir.path);
		return STORE_CORRUPT;
	}
	err = key_check(&e->dir, opt->key, why, why_len);
	if (err == STORE_NOSPACE && dir_ballast_drop(&e->dir))
		err = key_check(&e->dir, opt->key, why, why_len);
	if (err != STORE_OK)
		return err;
	if ((e->home = realpath(e->dir.path, NULL)) == NULL) {
		(void)snprintf(why, why_len, "cannot find %s: %s", e->dir.path, strerror(errno));
		return STORE_IO;
	}
	if ((err = db_open_with_room(e, opt, why, why_len)) != STORE_OK)
		return err;
	if (base_clean(&e->dir, e->home) != 0 || dir_each(&e->dir, oldest_log_cb, &e->oldest_log) != 0)
		e->oldest_log = 1; /* only costs a copy */
	dir_ballast_make(&e->dir, e->min_free);
	return STORE_OK;
}

enum store_err
env_open(const struct store_options *opt, struct env **out, char *why, size_t why_len)
{
	struct env *e = calloc(1, sizeof(*e));
	enum store_err err = STORE_NOMEM;

	*out = NULL;
	(void)snprintf(why, why_len, "%s", "out of memory");
	if (e == NULL)
		return STORE_NOMEM;
	e->dir = (struct dir){ .fd = -1, .lock_fd = -1, .ballast_bytes = opt->ballast_bytes };
	e->on_error = opt->on_error;
	e->on_error_arg = opt->on_error_arg;
	e->encrypted = opt->key != NULL;
	e->log_file_bytes = at_least(opt->log_file_bytes, LOG_FILE_MIN);
	e->max_log_bytes = opt->max_log_bytes;
	e->min_free = opt->min_free;
	e->checkpoint_bytes = at_least(opt->checkpoint_bytes, CHECKPOINT_MIN);
	if ((e->dir.path = strdup(opt->dir)) == NULL)
		goto fail;
	if ((err = dir_open(&e->dir, why, why_len)) != STORE_OK || (err = dir_lock(&e->dir, why, why_len)) != STORE_OK ||
	    (err = dir_settle(&e->dir, why, why_len)) != STORE_OK)
		goto fail;
	if ((err = env_recover(e, opt, why, why_len)) != STORE_OK)
		goto fail;
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
	base_abandon(&e->base);
	if (e->db != NULL)
		(void)e->db->close(e->db, 0);
	free(e->home);
	dir_close(&e->dir);
	free(e);
}

/* ---- tables and transactions ---- */

bool
env_table_exists(const struct env *e, const char *name)
{
	char file[64];

	(void)snprintf(file, sizeof(file), "%s.db", name);
	return faccessat(e->dir.fd, file, F_OK, 0) == 0;
}

uint64_t
env_table_bytes(const struct env *e, const char *name)
{
	char file[64];
	struct stat st;

	(void)snprintf(file, sizeof(file), "%s.db", name);
	return fstatat(e->dir.fd, file, &st, 0) == 0 ? (uint64_t)st.st_size : 0;
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
	if ((ret = db->set_pagesize(db, PAGE_BYTES)) == 0 && (ret = db->set_flags(db, DB_CHKSUM)) == 0 &&
	    (!e->encrypted || (ret = db->set_flags(db, DB_ENCRYPT)) == 0))
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
	int ret = txn->commit(txn, durable ? DB_TXN_SYNC : DB_TXN_NOSYNC);

	*kept = ret == 0;
	if (ret != 0)
		return env_error(e, ret);
	/* Always: this transaction may have written nothing, and then its commit did not flush what went before; and a commit is
	 * not to be believed (see above).  It costs nothing when all is flushed. */
	if (durable)
		ret = e->db->log_flush(e->db, NULL);
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

/* Has the log grown to where it should be cut? */
static bool
log_is_long(const struct env *e, uint32_t newest, bool drained)
{
	uint64_t bytes = (uint64_t)(newest - e->oldest_log) * e->log_file_bytes, limit = e->max_log_bytes, tables;

	if (drained)
		limit = DRAINED_LOGS * (uint64_t)e->log_file_bytes;
	if (newest < e->base_again || limit == 0 || bytes < limit)
		return false;
	/* Copying the tables for less log than they have bytes would write more than it saves, and a disk without room for the copy
	 * keeps its log. */
	tables = base_table_bytes(&e->dir);
	return bytes >= tables && dir_free(&e->dir) / 2 > tables;
}

#define PADDING 1000	      /* bytes of one record */
#define PADDING_MAX (64u << 20) /* of all: more than any log file has */

static int
newest_log(struct env *e, uint32_t *newest)
{
	DB_LOG_STAT *st;
	int ret = e->db->log_stat(e->db, &st, 0);

	if (ret == 0) {
		*newest = st->st_cur_file;
		free(st);
	}
	return ret;
}

/* libdb begins a new log file only when the newest is full: so it is filled, with records that recovery passes over. */
static int
fill_log(struct env *e, uint32_t *newest)
{
	uint32_t first, n = 0;
	int ret = newest_log(e, &first);

	*newest = first;
	while (ret == 0 && *newest == first) {
		if (n++ == PADDING_MAX / PADDING)
			return ENOSPC;
		if ((ret = e->db->log_printf(e->db, NULL, "%*s", PADDING, "")) == 0 && n % 64 == 0)
			ret = newest_log(e, newest);
	}
	return ret;
}

enum store_err
env_renew_log(struct env *e)
{
	uint32_t newest;
	int ret;

	e->renewing = 0;
	if (e->base.active)
		return STORE_OK; /* one under way ends first; then again */
	if ((ret = fill_log(e, &newest)) == 0)
		ret = e->db->txn_checkpoint(e->db, 0, 0, DB_FORCE);
	if (ret != 0)
		return env_error(e, ret);
	if (dir_free(&e->dir) / 2 <= base_table_bytes(&e->dir) || base_begin(&e->base, &e->dir, e->home, newest) != 0)
		return STORE_NOSPACE;
	e->renewing = newest;
	return STORE_OK;
}

bool
env_is_renewed(const struct env *e)
{
	return e->renewing != 0 && e->oldest_log >= e->renewing;
}

/* Goes on with the copy of the tables; when it is done, the log before it goes.  A copy that fails is tried again a log file later:
 * until then the log is longer, no more. */
static void
base_go_on(struct env *e, uint32_t newest)
{
	char text[160];
	bool done;
	int err = base_step(&e->base, BASE_STEP, &done);

	if (err == 0 && done && (err = base_clean(&e->dir, e->home)) == 0)
		e->oldest_log = e->base.first_log;
	if (err == 0)
		return;
	e->base_again = newest + 1;
	(void)snprintf(text, sizeof(text), "cannot copy the tables to shorten the log: %s", strerror(err));
	env_report(e, text);
}

enum store_err
env_checkpoint(struct env *e, bool force, bool drained)
{
	DB_LOG_STAT *st;
	uint64_t since;
	uint32_t newest;
	bool shorten;
	int ret;

	if ((ret = e->db->log_stat(e->db, &st, 0)) != 0)
		return env_error(e, ret);
	since = ((uint64_t)st->st_wc_mbytes << 20) + st->st_wc_bytes;
	newest = st->st_cur_file;
	free(st);
	shorten = !e->base.active && log_is_long(e, newest, drained);
	if ((force || shorten || since >= e->checkpoint_bytes) &&
	    (ret = e->db->txn_checkpoint(e->db, 0, 0, shorten ? DB_FORCE : 0)) != 0)
		return env_error(e, ret);
	if (shorten && base_begin(&e->base, &e->dir, e->home, newest) != 0)
		e->base_again = newest + 1;
	if (e->base.active)
		base_go_on(e, newest);
	dir_ballast_make(&e->dir, e->min_free);
	return STORE_OK;
}

bool
env_busy(const struct env *e)
{
	return e->base.active;
}

void
env_set_min_free(struct env *e, uint64_t min_free)
{
	e->min_free = min_free;
}

void
env_mark_damaged(struct env *e)
{
	dir_mark(&e->dir, "");
}

void
env_give_ballast(struct env *e)
{
	if (dir_ballast_drop(&e->dir))
		env_report(e, "disk full: the ballast is given up, no new records are taken until there is room");
}
