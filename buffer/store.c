/* The store: opening and closing, transactions, totals.  Its tables are in store_files.c, store_changesets.c, store_originals.c,
 * store_queries.c and store_values.c; the disk is env.c.  Called by the committer
 * thread only; never logs, exits or starts a thread.
 *
 * The one idea: what is in memory changes only when the transaction has committed.  An open transaction collects the new
 * counters of the files it touched in `changed`; commit writes them into the files' records, commits, and only then folds them into
 * `tally`.  Abort forgets `changed`, and nothing else has to be undone.
 *
 *      begin ---> append, trim, put ... ---> commit --ok--> tally := tally + changed
 *                        |                      |
 *                      fails: doomed            fails
 *                        +------> abort <-------+           changed := nothing
 *
 * A failure inside a transaction other than an answer (NOTFOUND, DIFFERS, FULL, INVALID, a bad record) dooms it: commit then
 * aborts and returns the first failure, so a caller that overlooks one cannot commit half of what it meant. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "buffer/store_int.h"

#define COMPACT_MIN (4u << 20) /* bytes of changesets.db below which giving space back is not worth its log */
#define COMPACT_PAGES 256      /* a step: some tens of milliseconds.  But libdb moves long records without counting them: the backlog as a whole, */
#define COMPACT_MOVE (1u << 20) /* so one of more bytes than this is left alone */
#define COMPACT_QUIET_S 60      /* as long as an eighth of it goes in this time */

#define SCRATCH_KEEP (256u << 10) /* scratch memory kept between transactions: a usual UPLOAD is 128 KiB */

const char *
store_strerror(enum store_err err)
{
	switch (err) {
	case STORE_OK:
		return "ok";
	case STORE_NOTFOUND:
		return "not found";
	case STORE_DIFFERS:
		return "held with other bytes";
	case STORE_FULL:
		return "buffer full";
	case STORE_NOSPACE:
		return "no space left on the disk";
	case STORE_LOCKED:
		return "in use by another process";
	case STORE_VERSION:
		return "written by a newer version";
	case STORE_CORRUPT:
		return "damaged";
	case STORE_IO:
		return "disk error";
	case STORE_NOMEM:
		return "out of memory";
	case STORE_KEY:
		return "wrong key";
	case STORE_INVALID:
		return "invalid use of the store";
	}
	return "unknown error";
}

/* ---- errors ---- */

enum store_err
store_may_read(const struct store *s)
{
	return s->latched;
}

enum store_err
store_may_write(const struct store *s)
{
	if (s->latched != STORE_OK)
		return s->latched;
	if (s->txn == NULL || s->walking > 0)
		return STORE_INVALID;
	return s->txn_err;
}

enum store_err
store_fail(struct store *s, enum store_err err)
{
	if (err == STORE_OK || err == STORE_NOTFOUND)
		return err;
	if (err == STORE_NOSPACE)
		env_give_ballast(s->env);
	if (env_dead(s->env) || (s->txn != NULL && (err == STORE_IO || err == STORE_CORRUPT))) {
		if (s->latched == STORE_OK && err == STORE_CORRUPT)
			env_mark_damaged(s->env);
		s->latched = err;
	}
	if (s->txn != NULL && s->txn_err == STORE_OK)
		s->txn_err = err;
	return err;
}

enum store_err
store_db_error(struct store *s, int ret)
{
	return store_fail(s, env_error(s->env, ret));
}

/* Is n more than what is left of max?  0: no bound. */
static bool
passes(uint64_t used, uint64_t n, uint64_t max)
{
	return max > 0 && (n > max || used > max - n);
}

/* Does the disk keep min_free when so many bytes more are written?  It is asked once a transaction, and only when that matters: asking costs a few
 * per cent of a small commit. */
static bool
disk_has_room(struct store *s, uint64_t bytes)
{
	if (s->min_free == 0)
		return true;
	if (s->disk_free == 0)
		s->disk_free = env_disk_free(s->env);
	return s->disk_free == UINT64_MAX || s->disk_free >= s->min_free + bytes;
}

bool
store_has_room(struct store *s, const struct tally_row *row, uint32_t len)
{
	uint64_t added = s->txn_bytes > s->tally.bytes ? s->txn_bytes - s->tally.bytes : 0;

	if (passes(s->txn_bytes, len, s->max_bytes) || passes(row->bytes, len, s->max_bytes_per_file))
		return false;
	/* A page and the log of it: twice the bytes. */
	return env_ballast(s->env) && disk_has_room(s, 2 * (added + len));
}

void
store_set_bounds(struct store *s, uint64_t max_bytes, uint64_t max_bytes_per_file, uint64_t min_free)
{
	s->max_bytes = max_bytes;
	s->max_bytes_per_file = max_bytes_per_file;
	s->min_free = min_free;
	if (s->env != NULL)
		env_set_min_free(s->env, min_free);
}

uint8_t *
store_scratch(struct store *s, size_t len)
{
	uint8_t *p;

	if (len <= s->scratch_cap)
		return s->scratch;
	if ((p = realloc(s->scratch, len)) == NULL) {
		(void)store_fail(s, STORE_NOMEM);
		return NULL;
	}
	s->scratch = p;
	s->scratch_cap = len;
	return p;
}

/* ---- open and close ---- */

/* One of the store's own values, in a transaction of its own. */
static enum store_err
write_own(struct store *s, const char *key, size_t key_len, uint64_t val)
{
	enum store_err err = store_begin(s);

	if (err == STORE_OK && (err = store_own_put(s, key, key_len, val)) == STORE_OK)
		return store_commit(s, true);
	store_abort(s);
	return err;
}

/* The format is the first thing written into a new environment, before any other table exists. */
static enum store_err
check_format(struct store *s, char *why, size_t why_len)
{
	uint64_t format;
	enum store_err err = store_own_get(s, STORE_KEY_FORMAT, sizeof(STORE_KEY_FORMAT) - 1, &format);

	if (err == STORE_NOTFOUND) {
		if (env_table_exists(s->env, "changesets")) {
			(void)snprintf(why, why_len, "%s", "the buffer has records but its meta table names no format");
			return STORE_CORRUPT;
		}
		return write_own(s, STORE_KEY_FORMAT, sizeof(STORE_KEY_FORMAT) - 1, STORE_FORMAT);
	}
	if (err == STORE_OK && (format == 0 || format > STORE_FORMAT)) {
		(void)snprintf(why, why_len, "the buffer has format %llu, this program knows up to %d: a newer holdfast wrote it. "
					    "Start that one again, drain it (holdfastctl drain), and move the directory away before you go back",
			       (unsigned long long)format, STORE_FORMAT);
		return STORE_VERSION;
	}
	/* Format 2 added runs, 3 queries, 4 originals: the old records stay as they are; who knows the older only must not open it. */
	if (err == STORE_OK && format < STORE_FORMAT)
		return write_own(s, STORE_KEY_FORMAT, sizeof(STORE_KEY_FORMAT) - 1, STORE_FORMAT);
	return err;
}

static enum store_err
open_table(struct store *s, const char *name, DB **out, char *why, size_t why_len)
{
	enum store_err err = env_table(s->env, name, out);

	if (err != STORE_OK)
		(void)snprintf(why, why_len, "cannot open the table %s.db: %s%s%s", name, store_strerror(err),
			       env_first_error(s->env)[0] != '\0' ? ": " : "", env_first_error(s->env));
	return err;
}

static enum store_err
open_tables(struct store *s, char *why, size_t why_len)
{
	static const char *const names[] = { "files", "names", "changesets", "tokens", "idents", "states", "queries", "originals" };
	DB **const tables[] = { &s->files,  &s->names,	&s->changesets, &s->tokens,
				&s->idents, &s->states, &s->queries,	&s->originals };
	const size_t ntable = sizeof(names) / sizeof(names[0]);
	uint64_t made = 0;
	enum store_err err;

	if ((err = open_table(s, "meta", &s->meta, why, why_len)) != STORE_OK || (err = check_format(s, why, why_len)) != STORE_OK)
		return err;
	err = store_own_get(s, STORE_KEY_TABLES, sizeof(STORE_KEY_TABLES) - 1, &made);
	if (err != STORE_OK && err != STORE_NOTFOUND)
		return err;
	for (size_t i = 0; i < ntable; i++) {
		/* A table that is gone is not quietly made anew. */
		if (i < made && !env_table_exists(s->env, names[i])) {
			(void)snprintf(why, why_len, "the table %s.db is missing", names[i]);
			return STORE_CORRUPT;
		}
		if ((err = open_table(s, names[i], tables[i], why, why_len)) != STORE_OK)
			return err;
	}
	if (made < ntable && (err = write_own(s, STORE_KEY_TABLES, sizeof(STORE_KEY_TABLES) - 1, ntable)) != STORE_OK)
		return err;
	err = store_own_get(s, STORE_KEY_NEXT_ID, sizeof(STORE_KEY_NEXT_ID) - 1, &s->next_id);
	if (err == STORE_NOTFOUND)
		s->next_id = 1;
	else if (err != STORE_OK)
		return err;
	return store_files_load(s);
}

enum store_err
store_open(const struct store_options *opt, struct store **out, char *why, size_t why_len)
{
	struct store *s;
	enum store_err err;

	*out = NULL;
	if (why_len > 0)
		why[0] = '\0';
	if (opt->dir == NULL || opt->dir[0] == '\0')
		return STORE_INVALID;
	if ((s = calloc(1, sizeof(*s))) == NULL)
		return STORE_NOMEM;
	store_set_bounds(s, opt->max_bytes, opt->max_bytes_per_file, opt->min_free);
	s->shrunk = true;
	s->quiet_s = COMPACT_QUIET_S;
	if ((err = env_open(opt, &s->env, why, why_len)) == STORE_OK && (err = open_tables(s, why, why_len)) != STORE_OK &&
	    why_len > 0 && why[0] == '\0')
		(void)snprintf(why, why_len, "cannot read the tables: %s%s%s", store_strerror(err),
			       env_first_error(s->env)[0] != '\0' ? ": " : "", env_first_error(s->env));
	if (err == STORE_OK) {
		*out = s;
		return STORE_OK;
	}
	if (err == STORE_IO && env_full())
		err = STORE_NOSPACE; /* libdb gave up, but we know why */
	if (s->latched == STORE_OK)
		s->latched = err; /* no checkpoint of a store that could not be opened */
	store_close(s);
	return err;
}

void
store_close(struct store *s)
{
	DB *tables[9];
	bool healthy;

	if (s == NULL)
		return;
	if (s->txn != NULL)
		store_abort(s);
	/* A last checkpoint, so that the next start has nothing to redo.  If it fails, the log has it all. */
	healthy = s->latched == STORE_OK && store_checkpoint(s, true) == STORE_OK;
	tables[0] = s->files;
	tables[1] = s->names;
	tables[2] = s->changesets;
	tables[3] = s->tokens;
	tables[4] = s->meta;
	tables[5] = s->idents;
	tables[6] = s->states;
	tables[7] = s->queries;
	tables[8] = s->originals;
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		if (tables[i] != NULL)
			(void)tables[i]->close(tables[i], healthy ? 0 : DB_NOSYNC);
	}
	env_close(s->env);
	tally_free(&s->tally);
	tally_free(&s->changed);
	free(s->scratch);
	free(s->run.buf);
	free(s);
}

/* ---- transactions ---- */

enum store_err
store_begin(struct store *s)
{
	enum store_err err;

	if (s->latched != STORE_OK)
		return s->latched;
	if (s->txn != NULL || s->walking > 0)
		return STORE_INVALID;
	if ((err = env_begin(s->env, &s->txn)) != STORE_OK) {
		s->txn = NULL;
		return store_fail(s, err);
	}
	s->txn_err = STORE_OK;
	s->txn_bytes = s->tally.bytes;
	s->disk_free = 0;
	s->txn_nfiles = s->nfiles;
	s->txn_damaged = s->damaged;
	s->txn_next_id = s->next_id;
	return STORE_OK;
}

/* The transaction is over, one way or the other. */
static void
txn_forget(struct store *s)
{
	s->txn = NULL;
	s->txn_err = STORE_OK;
	store_run_drop(s);
	s->late.id = 0;
	s->late_dirty = false;
	tally_reset(&s->changed);
	if (s->scratch_cap > SCRATCH_KEEP) {
		free(s->scratch);
		s->scratch = NULL;
		s->scratch_cap = 0;
	}
}

void
store_abort(struct store *s)
{
	DB_TXN *txn = s->txn;
	enum store_err err;

	if (txn == NULL || s->walking > 0)
		return;
	txn_forget(s);
	/* Undoing cannot be refused: if it fails, libdb has declared the environment dead. */
	if ((err = env_abort(s->env, txn)) != STORE_OK && s->latched == STORE_OK)
		s->latched = err;
}

/* What the transaction changed becomes what is. */
static void
txn_keep(struct store *s)
{
	uint64_t before = s->tally.bytes;

	for (size_t i = 0; i < s->changed.n; i++) {
		if (!s->changed.rows[i].gone && (s->changed.rows[i].records > 0 || s->changed.rows[i].aside))
			tally_put(&s->tally, &s->changed.rows[i]);
		else
			tally_drop(&s->tally, s->changed.rows[i].id);
	}
	s->nfiles = s->txn_nfiles;
	s->damaged = s->txn_damaged;
	s->next_id = s->txn_next_id;
	s->shrunk = s->shrunk || s->tally.bytes < before;
	if (s->tally.n > 0 && s->tally.dropped == s->tally.n)
		tally_reset(&s->tally); /* an outage is over: so is the need for the memory */
}

enum store_err
store_commit(struct store *s, bool durable)
{
	enum store_err err = store_may_write(s);
	DB_TXN *txn = s->txn;
	bool kept;

	if (err == STORE_INVALID && (txn == NULL || s->walking > 0))
		return err;
	if (err == STORE_OK && (err = store_run_flush(s)) == STORE_OK)
		err = store_rows_flush(s);
	if (err == STORE_OK && !tally_reserve(&s->tally, s->changed.n))
		err = STORE_NOMEM;
	if (err != STORE_OK) {
		store_abort(s);
		return err;
	}
	err = env_commit(s->env, txn, durable, &kept);
	if (kept)
		txn_keep(s);
	if (err != STORE_OK)
		err = store_fail(s, err);
	txn_forget(s);
	return err;
}

/* ---- totals and checkpoints ---- */

enum store_err
store_stat(struct store *s, struct store_stat *out)
{
	enum store_err err = store_may_read(s);

	if (err != STORE_OK)
		return err;
	*out = (struct store_stat){ .files = s->nfiles, .files_with_backlog = s->tally.with_backlog, .files_aside = s->tally.aside,
		.files_exported = s->tally.exported, .exported_records = s->tally.exported_records,
		.records = s->tally.records, .bytes = s->tally.bytes, .oldest_ms = tally_oldest(&s->tally), .disk_free = env_disk_free(s->env),
		.ballast = env_ballast(s->env), .damaged = s->damaged };
	return env_disk_bytes(s->env, &out->disk_bytes, &out->log_bytes);
}

void
store_shares(const struct store *s, struct store_share out[STORE_SHARES_MAX])
{
	tally_shares(&s->tally, out);
}

/* Is what is left of the backlog about to go as well?  To move it would hold up the drain, for nothing. */
static bool
is_draining(struct store *s)
{
	struct timespec now = { 0 };

	if (s->tally.bytes <= COMPACT_MOVE)
		return false;
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	if (s->residue == 0 || s->tally.bytes < s->residue - s->residue / 8) {
		s->residue = s->tally.bytes;
		s->residue_s = now.tv_sec;
	}
	return now.tv_sec - s->residue_s < s->quiet_s;
}

/* Most of the table is free pages: gives them back to the file system, a step a call.  Not again before it has grown well beyond
 * what the last time left. */
static enum store_err
give_back(struct store *s)
{
	uint64_t bytes;
	enum store_err err;

	if (!s->compacting) {
		if (!s->shrunk)
			return STORE_OK;
		bytes = env_table_bytes(s->env, "changesets");
		if (bytes < COMPACT_MIN || s->tally.bytes > bytes / 4 || bytes < 2 * s->compacted_bytes) {
			s->shrunk = false;
			s->residue = 0;
			return STORE_OK;
		}
		if (is_draining(s))
			return STORE_OK; /* asked again behind the next group, or when there has been none for a while */
		s->shrunk = false;
		s->residue = 0;
		s->compaction = (struct store_compaction){ 0 };
		s->compacting = true;
	}
	err = store_compact(s, &s->compaction, COMPACT_PAGES);
	if (err != STORE_OK || s->compaction.done) {
		s->compacting = false;
		s->settle = true;
		s->compacted_bytes = env_table_bytes(s->env, "changesets");
	}
	return err == STORE_NOSPACE ? STORE_OK : err; /* later */
}

bool
store_busy(const struct store *s)
{
	return s->latched == STORE_OK && !s->held && (s->compacting || s->settle || env_busy(s->env));
}

enum store_err
store_renew_log(struct store *s)
{
	if (s->latched != STORE_OK)
		return s->latched;
	return s->txn != NULL || s->walking > 0 || s->held ? STORE_INVALID : env_renew_log(s->env);
}

bool
store_log_is_new(const struct store *s)
{
	return env_is_renewed(s->env);
}

void
store_give_ballast(struct store *s)
{
	env_give_ballast(s->env);
}

enum store_err
store_checkpoint(struct store *s, bool force)
{
	enum store_err err;

	if (s->latched != STORE_OK)
		return s->latched;
	if (s->txn != NULL || s->walking > 0)
		return STORE_INVALID;
	if (s->held)
		return STORE_OK;
	s->settle = false;
	err = env_checkpoint(s->env, force, s->tally.with_backlog == 0 && s->damaged == 0);
	if (err == STORE_OK && !force)
		err = give_back(s);
	if (err == STORE_NOSPACE)
		env_give_ballast(s->env);
	if (err == STORE_CORRUPT && s->latched == STORE_OK)
		env_mark_damaged(s->env);
	if (err == STORE_IO || err == STORE_CORRUPT)
		s->latched = err;
	return err;
}
