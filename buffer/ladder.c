/* The rungs of the start-up ladder (ladder.h).  Runs in a child process; never logs, never deletes.
 *
 * Every rung but the first moves files before it makes new ones.  The mark in the directory is written, with the name of where they
 * go, before the first is moved, and taken away when the rung has succeeded; until then store_open refuses, so that a start that was
 * interrupted halfway cannot take missing tables for an empty buffer. */
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
#include "buffer/ladder.h"
#include "buffer/salvage.h"

#define ASIDES_MAX 16 /* directories that a salvage looks into */

const char *
ladder_rung_name(enum ladder_rung rung)
{
	static const char *const names[LADDER_RUNGS] = { "normal", "rebuilt", "salvaged", "empty" };

	return (unsigned)rung < LADDER_RUNGS ? names[rung] : "?";
}

/* Says what could not be done; space and memory are causes that a rung further down cannot help. */
static bool
fail(struct ladder_result *out, const char *what, int err)
{
	out->err = err == ENOSPC || err == EDQUOT ? STORE_NOSPACE : err == ENOMEM ? STORE_NOMEM : STORE_IO;
	(void)snprintf(out->why, sizeof(out->why), "%s: %s", what, strerror(err));
	return false;
}

/* ---- the directory ---- */

static bool
dir_take(struct dir *d, const struct store_options *opt, struct ladder_result *out)
{
	*d = (struct dir){ .fd = -1, .lock_fd = -1, .path = strdup(opt->dir) };
	if (d->path == NULL)
		return fail(out, "memory", ENOMEM);
	out->err = dir_open(d, out->why, sizeof(out->why));
	if (out->err == STORE_OK)
		out->err = dir_lock(d, out->why, sizeof(out->why));
	return out->err == STORE_OK;
}

/* Makes the directory that things are moved to, and marks d with its name. */
static bool
aside_make(const struct dir *d, struct ladder_result *out)
{
	time_t now = time(NULL);
	struct tm tm;
	char date[32];

	(void)gmtime_r(&now, &tm);
	(void)strftime(date, sizeof(date), "%Y%m%d-%H%M%S", &tm);
	for (unsigned i = 1; i < 1000; i++) {
		if (i == 1)
			(void)snprintf(out->aside, sizeof(out->aside), "aside-%s", date);
		else
			(void)snprintf(out->aside, sizeof(out->aside), "aside-%s-%u", date, i);
		if (mkdirat(d->fd, out->aside, S_IRWXU) == 0)
			return dir_mark(d, out->aside) || fail(out, "cannot mark the directory", errno);
		if (errno != EEXIST)
			break;
	}
	return fail(out, "cannot make a directory to set the tables aside in", errno);
}

struct moving {
	const char *aside;
	bool all; /* logs and base too, not only tables */
};

static int
move_cb(void *arg, int dir_fd, const char *name)
{
	struct moving *m = arg;
	size_t len = strlen(name);
	bool table = len > 3 && strcmp(name + len - 3, ".db") == 0;
	char to[400];

	if (!table && !(m->all && (dir_log_number(name) != 0 || strncmp(name, "base", 4) == 0)))
		return 0;
	(void)snprintf(to, sizeof(to), "%s/%.300s", m->aside, name);
	return renameat(dir_fd, name, dir_fd, to) == -1 ? errno : 0;
}

/* Moves the tables, or all of the environment, aside. */
static bool
set_aside(const struct dir *d, bool all, struct ladder_result *out)
{
	struct moving m = { out->aside, all };
	char to[400];
	int err, fd;

	if ((err = dir_each(d, move_cb, &m)) != 0)
		return fail(out, "cannot move the tables aside", err);
	(void)snprintf(to, sizeof(to), "%s/key", out->aside);
	if (linkat(d->fd, "key", d->fd, to, 0) == -1 && errno != ENOENT) /* so that what is aside is complete */
		return fail(out, "cannot link the key check value", errno);
	if ((fd = openat(d->fd, out->aside, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) == -1 || fsync(fd) == -1 || fsync(d->fd) == -1)
		err = errno;
	if (fd != -1)
		(void)close(fd);
	return err == 0 || fail(out, "cannot sync what was moved aside", err);
}

/* ---- opening, and looking at all ---- */

static bool
pass_record(void *arg, const struct store_record *r)
{
	(void)r;
	++*(uint64_t *)arg;
	return true;
}

static bool
pass_value(void *arg, const void *key, size_t key_len, const void *val, size_t val_len)
{
	(void)key;
	(void)key_len;
	(void)val;
	(void)val_len;
	++*(uint64_t *)arg;
	return true;
}

static void
ignore_bad(void *arg, uint64_t id, const char *text)
{
	(void)arg;
	(void)id;
	(void)text;
}

static enum store_err
look_at_originals(struct store *s)
{
	struct store_originals_place at = { 0, 0 };
	uint8_t rec[STORE_PACK_ORIGINALS_MAX];
	struct store_stat st;
	enum store_err err;
	size_t len;

	while ((err = store_originals_after(s, at.id, at.number, rec, &len, &at)) == STORE_OK ||
	       (err == STORE_CORRUPT && store_stat(s, &st) == STORE_OK)) {
		if (at.number++ == UINT64_MAX)
			break;
	}
	return err == STORE_NOTFOUND ? STORE_OK : err;
}

/* Reads every page in use.  Single bad records are the relay's business (I7); only what makes the environment unusable counts. */
static enum store_err
look_at_all(struct store *s)
{
	struct store_stat st;
	uint64_t id = 0, n = 0, bad;
	enum store_err err = store_names_check(s, ignore_bad, NULL);

	if (err == STORE_OK && (err = store_each(s, STORE_META, pass_value, &n)) == STORE_OK &&
	    (err = store_each(s, STORE_TOKENS, pass_value, &n)) == STORE_OK && (err = store_each(s, STORE_IDENTS, pass_value, &n)) == STORE_OK &&
	    (err = store_each(s, STORE_STATES, pass_value, &n)) == STORE_OK)
		err = look_at_originals(s);
	while (err == STORE_OK && (err = store_backlog_after(s, id, &id)) == STORE_OK) {
		uint64_t after = 0;

		do {
			bad = 0;
			err = store_read(s, id, after, UINT64_MAX, pass_record, &n, &bad);
			after = bad;
		} while (err != STORE_OK && bad != 0 && store_stat(s, &st) == STORE_OK);
		err = store_stat(s, &st);
	}
	return err == STORE_NOTFOUND ? STORE_OK : err;
}

/* An ident in a table that was made anew may have been given out since; none is given twice. */
static enum store_err
burn_idents(struct store *s)
{
	enum store_err err = store_begin(s);

	if (err == STORE_OK && (err = store_clear(s, STORE_IDENTS)) == STORE_OK)
		return store_commit(s, true);
	store_abort(s);
	return err;
}

/* A log whose beginning is damaged ends there, for libdb, and rebuilds to nothing without a word. */
static bool
gives_files(struct store *s)
{
	struct store_stat st;

	return store_stat(s, &st) == STORE_OK && st.files > 0;
}

static bool
open_and_close(const struct store_options *opt, bool look, struct ladder_result *out)
{
	struct store *s;

	out->err = store_open(opt, &s, out->why, sizeof(out->why));
	if (out->err != STORE_OK)
		return false;
	if (look && (out->err = look_at_all(s)) != STORE_OK)
		(void)snprintf(out->why, sizeof(out->why), "pages of the tables are damaged (%s)", store_strerror(out->err));
	if (out->err == STORE_OK && look && opt->rebuild && !gives_files(s)) {
		out->err = STORE_CORRUPT;
		(void)snprintf(out->why, sizeof(out->why), "the log gives back no file");
	}
	if (out->err == STORE_OK && opt->rebuild && (out->err = burn_idents(s)) != STORE_OK)
		(void)snprintf(out->why, sizeof(out->why), "cannot empty the table of idents: %s", store_strerror(out->err));
	store_close(s);
	return out->err == STORE_OK;
}

/* ---- the rungs ---- */

static void
try_normal(const struct store_options *opt, struct ladder_result *out)
{
	struct dir d;
	enum dir_mark mark = DIR_SOUND;

	if (dir_take(&d, opt, out))
		mark = dir_marked(&d);
	dir_close(&d);
	if (out->err != STORE_OK || !open_and_close(opt, mark != DIR_SOUND, out) || mark == DIR_SOUND)
		return;
	if (dir_take(&d, opt, out) && !dir_unmark(&d, ""))
		(void)fail(out, "cannot take the mark away", errno);
	dir_close(&d);
}

/* Is there what a rebuild needs? */
static int
first_log_cb(void *arg, int dir_fd, const char *name)
{
	(void)dir_fd;
	*(bool *)arg |= dir_log_number(name) == 1;
	return 0;
}

static bool
rebuild_prepare(struct dir *d, struct ladder_result *out)
{
	bool whole_log = false;
	char *home;
	int err;

	(void)dir_each(d, first_log_cb, &whole_log);
	if (!whole_log && base_first_log(d) == 0) {
		out->err = STORE_CORRUPT;
		(void)snprintf(out->why, sizeof(out->why), "the log does not go back to the beginning, and there is no base");
		return false;
	}
	if (!aside_make(d, out) || !set_aside(d, false, out))
		return false;
	if (base_first_log(d) == 0)
		return true;
	if ((home = realpath(d->path, NULL)) == NULL)
		return fail(out, d->path, errno);
	err = base_restore(d, home);
	if (err == ENOSPC && dir_ballast_drop(d) && aside_make(d, out) && set_aside(d, false, out))
		err = base_restore(d, home);
	free(home);
	return err == 0 || fail(out, "cannot restore the base", err);
}

/* The rung has succeeded: the mark goes where the damaged tables are. */
static void
finish(const struct store_options *opt, struct ladder_result *out)
{
	struct dir d;
	char why[sizeof(out->why)];

	(void)snprintf(why, sizeof(why), "%s", out->why);
	if (dir_take(&d, opt, out) && !dir_unmark(&d, out->aside))
		(void)fail(out, "cannot take the mark away", errno);
	dir_close(&d);
	if (out->err == STORE_OK)
		(void)snprintf(out->why, sizeof(out->why), "%s", why);
}

static void
try_rebuild(const struct store_options *opt, struct ladder_result *out)
{
	struct store_options fatal = *opt;
	struct dir d;
	bool ready;

	fatal.rebuild = true;
	ready = dir_take(&d, opt, out) && rebuild_prepare(&d, out);
	dir_close(&d);
	if (ready && open_and_close(&fatal, true, out))
		finish(opt, out);
}

static void
try_salvage(const struct store_options *opt, struct ladder_result *out)
{
	char *dirs[ASIDES_MAX], name[64];
	struct store_options fresh = *opt;
	struct store *s;
	struct dir d;
	unsigned n = 0;
	bool ready;

	fresh.rebuild = true; /* which also means: the mark is known */
	fresh.max_bytes = fresh.max_bytes_per_file = fresh.min_free = 0;
	ready = dir_take(&d, opt, out) && aside_make(&d, out) && set_aside(&d, true, out);
	while (ready && n < ASIDES_MAX && dir_mark_aside(&d, n, name, sizeof(name))) {
		if (asprintf(&dirs[n], "%s/%s", opt->dir, name) == -1)
			break;
		n++;
	}
	dir_close(&d);
	if (ready && (out->err = store_open(&fresh, &s, out->why, sizeof(out->why))) == STORE_OK) {
		out->err = salvage_into(s, (const char *const *)dirs, n, opt->key, out);
		if (out->err != STORE_OK)
			(void)snprintf(out->why, sizeof(out->why), "cannot take the records over: %s", store_strerror(out->err));
		store_close(s);
		if (out->err == STORE_OK)
			finish(opt, out);
	}
	while (n > 0)
		free(dirs[--n]);
}

static void
try_empty(const struct store_options *opt, struct ladder_result *out)
{
	struct store_options fresh = *opt;
	struct dir d;
	bool ready;

	fresh.rebuild = true;
	ready = dir_take(&d, opt, out) && aside_make(&d, out) && set_aside(&d, true, out);
	dir_close(&d);
	if (ready && open_and_close(&fresh, false, out))
		finish(opt, out);
}

void
ladder_try(const struct store_options *opt, enum ladder_rung rung, struct ladder_result *out)
{
	static void (*const rungs[LADDER_RUNGS])(const struct store_options *opt, struct ladder_result *out) = { try_normal, try_rebuild,
														 try_salvage, try_empty };

	memset(out, 0, sizeof(*out));
	rungs[rung](opt, out);
}
