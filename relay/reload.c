/* Reload: parse, check, swap, tell.  See reload.h.
 *
 * Most options are read where they are used, each time; to change them is to change the struct.  apply() is for the few that somebody
 * keeps a copy of.  The options live where they always lived, only their values change, so nobody may keep a pointer to a string of
 * theirs from one pass of the loop to the next.
 *
 * The check comes twice: of the files, as at the start, and of what would hold afterwards, for an option that may change now can lean on
 * one that may not (offline_admit = signed on jwt_key). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/budget.h"
#include "relay/certs.h"
#include "relay/conf.h"
#include "relay/front.h"
#include "relay/json.h"
#include "relay/link.h"
#include "relay/log.h"
#include "relay/notify.h"
#include "relay/relay.h"
#include "relay/reload.h"
#include "relay/spool.h"
#include "relay/status.h"
#include "relay/stream.h"

#define VALUE_MAX 4096

struct reload {
	struct relay *relay;
	const char *path;
	struct options *options, defaults;
	struct conf_origins *origins;
	bool level_fixed;
};

/* One run. */
struct run {
	struct options fresh, next; /* what the files say; what will hold */
	struct conf_origins origins;
	struct json *rows;	    /* NULL: nobody asks */
	struct reload_sum *sum;
};

struct reload *
reload_new(struct relay *relay, const char *path, struct options *o, struct conf_origins *origins, bool level_fixed)
{
	struct reload *rl = relay_alloc(sizeof(*rl));

	rl->relay = relay;
	rl->path = path;
	rl->options = o;
	rl->origins = origins;
	options_defaults(&rl->defaults);
	rl->level_fixed = level_fixed;
	return rl;
}

void
reload_free(struct reload *rl)
{
	options_free(&rl->defaults);
	free(rl);
}

const char *
reload_path(const struct reload *rl)
{
	return rl->path;
}

/* ---- errors ---- */

static void
tell_error(struct run *u, const char *file, unsigned line, const char *text)
{
	struct log_line l;

	u->sum->errors++;
	log_begin(&l, LOG_WARN, "config_error");
	log_str(&l, "file", file);
	log_u64(&l, "line", line);
	log_str(&l, "reason", text);
	log_end(&l);
	if (u->rows == NULL)
		return;
	json_begin(u->rows);
	json_str(u->rows, "file", file);
	json_u64(u->rows, "line", line);
	json_str(u->rows, "error", text);
	json_end(u->rows);
}

static bool
read_files(const struct reload *rl, struct run *u)
{
	struct conf_errors errs;
	bool ok = conf_load(rl->path, &u->fresh, &u->origins, &errs);

	for (size_t i = 0; i < errs.n; i++)
		tell_error(u, errs.path[errs.v[i].file], errs.v[i].line, errs.v[i].text);
	conf_errors_free(&errs);
	return ok;
}

struct complainant {
	const struct reload *reload;
	struct run *run;
};

static void
complain(void *arg, enum option_id id, enum option_id other, const char *text)
{
	const struct complainant *c = arg;
	char why[300];

	(void)id;
	(void)other;
	snprintf(why, sizeof(why), "%s, which takes a restart", text);
	tell_error(c->run, c->reload->path, 0, why);
}

/* What would hold: the files, but for what stays until a restart.  False: that does not fit together. */
static bool
make_next(const struct reload *rl, struct run *u)
{
	struct complainant c = { rl, u };

	options_defaults(&u->next);
	for (int i = 0; i < OPTION_COUNT; i++) {
		enum option_id id = (enum option_id)i;

		options_copy(&u->next, options_reloadable(id) ? &u->fresh : rl->options, id);
	}
	options_check(&u->next, complain, &c);
	return u->sum->errors == 0;
}

/* ---- differences ---- */

static void
full_name(enum option_id id, char *name, size_t len)
{
	snprintf(name, len, "%s.%s", options_section(id), options_name(id));
}

static void
tell_difference(struct run *u, enum option_id id, const struct options *was, const struct options *now, bool applied)
{
	char name[2 * CONF_NAME_MAX + 2], old[VALUE_MAX], new[VALUE_MAX];
	struct log_line l;

	full_name(id, name, sizeof(name));
	options_text(was, id, old, sizeof(old));
	options_text(now, id, new, sizeof(new));
	log_begin(&l, applied ? LOG_INFO : LOG_WARN, applied ? "option_changed" : "option_needs_restart");
	log_str(&l, "option", name);
	log_str(&l, "was", old);
	log_str(&l, "now", new);
	log_end(&l);
	if (u->rows == NULL)
		return;
	json_begin(u->rows);
	json_str(u->rows, "option", name);
	json_str(u->rows, "was", old);
	json_str(u->rows, "now", new);
	json_bool(u->rows, "applied", applied);
	json_end(u->rows);
}

static void
tell_differences(const struct reload *rl, struct run *u)
{
	for (int i = 0; i < OPTION_COUNT; i++) {
		enum option_id id = (enum option_id)i;
		bool applied = options_reloadable(id);

		if (options_same(rl->options, &u->fresh, id))
			continue;
		tell_difference(u, id, rl->options, &u->fresh, applied);
		if (applied)
			u->sum->changed++;
		else
			u->sum->restart++;
	}
}

void
reload_describe(const struct reload *rl, enum option_id id, struct json *rows)
{
	char name[2 * CONF_NAME_MAX + 2], value[VALUE_MAX], standard[VALUE_MAX];

	full_name(id, name, sizeof(name));
	options_text(rl->options, id, value, sizeof(value));
	options_text(&rl->defaults, id, standard, sizeof(standard));
	json_begin(rows);
	json_str(rows, "option", name);
	json_str(rows, "value", value);
	json_str(rows, "default", standard);
	json_bool(rows, "reloadable", options_reloadable(id));
	json_str(rows, "file", rl->origins->of[id].path != NULL ? rl->origins->of[id].path : "");
	json_u64(rows, "line", rl->origins->of[id].line);
	json_end(rows);
}

/* ---- the swap ---- */

struct bounds {
	uint64_t max_bytes, max_file_bytes, min_free;
};

static void
set_bounds(void *arg, struct store *store)
{
	const struct bounds *b = arg;

	store_set_bounds(store, b->max_bytes, b->max_file_bytes, b->min_free);
}

static void
bounds_set(void *arg, struct spool_op *op)
{
	(void)op;
	free(arg);
}

/* The options that somebody has a copy of. */
static void
apply(struct reload *rl)
{
	const struct options *o = rl->options;
	struct relay *r = rl->relay;
	struct link *l;
	struct bounds *b = relay_alloc(sizeof(*b));

	if (!rl->level_fixed)
		log_set_level((enum log_level)o->log_level);
	log_set_format((enum log_format)o->log_format);
	log_set_burst(o->log_burst);
	status_reloaded(r->status);
	TAILQ_FOREACH (l, &r->links, entry)
		link_reloaded(l);
	front_admission(r);
	stream_move_low_water((size_t)o->out_low);
	budget_log(o);
	*b = (struct bounds){ o->buffer_max_bytes, o->buffer_max_file_bytes, o->buffer_min_free };
	spool_call(r->spool, set_bounds, bounds_set, b);
	relay_merging(r);
}

/* Where the values that hold come from: of what waits for a restart, as before. */
static void
swap_origins(struct reload *rl, struct run *u)
{
	for (int i = 0; i < OPTION_COUNT; i++) {
		if (options_reloadable((enum option_id)i) || options_same(rl->options, &u->fresh, (enum option_id)i)) {
			free(rl->origins->of[i].path);
			rl->origins->of[i] = u->origins.of[i];
			u->origins.of[i].path = NULL;
		}
	}
}

bool
reload_run(struct reload *rl, struct json *rows, struct reload_sum *sum)
{
	struct run u = { .rows = rows, .sum = sum };
	bool ok;

	memset(sum, 0, sizeof(*sum));
	notify_send("RELOADING=1");
	ok = read_files(rl, &u) && make_next(rl, &u);
	if (ok) {
		tell_differences(rl, &u);
		options_free(rl->options);
		*rl->options = u.next;
		memset(&u.next, 0, sizeof(u.next));
		swap_origins(rl, &u);
		apply(rl);
		log_event(LOG_INFO, "reloaded", "changed=%zu restart=%zu", sum->changed, sum->restart);
	} else {
		log_event(LOG_WARN, "reload_refused", "errors=%zu", sum->errors);
	}
	options_free(&u.fresh);
	options_free(&u.next);
	conf_origins_free(&u.origins);
	certs_reload(rl->relay->certs); /* the names of the files stay, what is in them need not */
	notify_send("READY=1");
	return ok;
}
