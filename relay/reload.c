/* Reload: parse, check, swap, tell.  See reload.h.
 *
 * Most options are read where they are used, each time; to change them is to change the struct.  apply() is for the few that somebody
 * keeps a copy of.  The options live where they always lived, only their values change, so nobody may keep a pointer to a string of
 * theirs from one pass of the loop to the next.
 *
 * The check comes twice: of the files, as at the start, and of what would hold afterwards, for an option that may change now can lean on
 * one that may not (offline_admit = signed on jwt_key).  Then a third: nothing that waits here may come to another server (authority.h).
 *
 * Sections are known by kind and name. A listener comes and goes without a restart; an upstream does not, for its way has to be opened, and
 * its files allowed, before privileges are dropped. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/authority.h"
#include "relay/budget.h"
#include "relay/certs.h"
#include "relay/conf.h"
#include "relay/front.h"
#include "relay/json.h"
#include "relay/link.h"
#include "relay/log.h"
#include "relay/notify.h"
#include "relay/quota.h"
#include "relay/relay.h"
#include "relay/reload.h"
#include "relay/spool.h"
#include "relay/status.h"
#include "relay/stream.h"

#define VALUE_MAX 4096

struct reload {
	struct relay *relay;
	const char *path;
	struct sections *now;
	struct section_list gone; /* listeners of before: their last clients may still look at the options */
	struct options defaults;
	bool level_fixed;
};

/* One run. */
struct run {
	struct sections fresh, next; /* what the files say; what will hold in the sections of now */
	struct json *rows;	     /* NULL: nobody asks */
	struct reload_sum *sum;
};

struct reload *
reload_new(struct relay *relay, const char *path, struct sections *now, bool level_fixed)
{
	struct reload *rl = relay_alloc(sizeof(*rl));

	rl->relay = relay;
	rl->path = path;
	rl->now = now;
	TAILQ_INIT(&rl->gone);
	options_defaults(&rl->defaults);
	rl->level_fixed = level_fixed;
	return rl;
}

void
reload_free(struct reload *rl)
{
	struct section *s;

	while ((s = TAILQ_FIRST(&rl->gone)) != NULL) {
		TAILQ_REMOVE(&rl->gone, s, entry);
		section_free(s);
	}
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
	bool ok = conf_load(rl->path, &u->fresh, &errs);

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
complain(void *arg, const struct section *section, enum option_id id, enum option_id other, const char *text)
{
	const struct complainant *c = arg;
	char why[400];

	(void)section;
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
	const struct section *s;

	sections_init(&u->next);
	TAILQ_FOREACH (s, &rl->now->list, entry) {
		const struct section *fresh = sections_find(&u->fresh, s->kind, s->name);
		struct section *n = s->kind == SECTION_GLOBAL ? sections_global(&u->next) : sections_add(&u->next, s->kind, s->name);

		section_take(n, &s->opt, false);
		if (fresh != NULL)
			section_take(n, &fresh->opt, true);
	}
	for (s = NULL; (s = sections_next(rl->now, s, SECTION_LISTENER)) != NULL;)
		sections_find(&u->next, SECTION_LISTENER, s->name)->upstream =
			sections_find(&u->next, SECTION_UPSTREAM, s->upstream->name);
	sections_combine(&u->next);
	sections_check(&u->next, complain, &c);
	return u->sum->errors == 0;
}

/* An upstream that leads to another server than before, or is not there any more, while changes wait here for the old one. */
static bool
keeps_servers(const struct reload *rl, struct run *u)
{
	const struct store_stat *st = spool_stat(rl->relay->spool);
	const struct section *s = NULL;

	while ((s = sections_next(rl->now, s, SECTION_UPSTREAM)) != NULL) {
		const struct section *fresh = sections_find(&u->fresh, SECTION_UPSTREAM, s->name), *at = fresh != NULL ? fresh : s;
		char why[2048];

		if (authority_refuses(s, fresh, st, why, sizeof(why)))
			tell_error(u, at->origin[OPTION_upstream_url].path, at->origin[OPTION_upstream_url].line, why);
	}
	return u->sum->errors == 0;
}

/* ---- differences ---- */

#define NAME_MAX_FULL (2 * CONF_NAME_MAX + SECTION_NAME_MAX + 3)

/* section.name, or section.NAME.name */
static void
full_name(const struct section *s, enum option_id id, char name[NAME_MAX_FULL])
{
	snprintf(name, NAME_MAX_FULL, "%s%s%s.%s", options_section(id), s->name[0] != '\0' ? "." : "", s->name, options_name(id));
}

static void
tell_difference(struct run *u, const struct section *s, enum option_id id, const struct options *now, bool applied)
{
	char name[NAME_MAX_FULL], old[VALUE_MAX], new[VALUE_MAX];
	struct log_line l;

	full_name(s, id, name);
	options_text(&s->opt, id, old, sizeof(old));
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
	const struct section *s;

	TAILQ_FOREACH (s, &rl->now->list, entry) {
		const struct section *fresh = sections_find(&u->fresh, s->kind, s->name);

		for (int i = 0; fresh != NULL && i < OPTION_COUNT; i++) {
			enum option_id id = (enum option_id)i;
			bool applied = options_reloadable(id);

			if (section_owner(id) != s->kind || options_same(&s->opt, &fresh->opt, id))
				continue;
			tell_difference(u, s, id, &fresh->opt, applied);
			if (applied)
				u->sum->changed++;
			else
				u->sum->restart++;
		}
	}
}

/* A section that came or went. */
static void
tell_section(struct run *u, const struct section *s, const char *what, bool applied)
{
	char title[SECTION_TITLE_MAX];
	struct log_line l;

	section_title(s, 0, title);
	log_begin(&l, applied ? LOG_INFO : LOG_WARN, applied ? "section_changed" : "section_needs_restart");
	log_str(&l, "section", title);
	log_str(&l, "now", what);
	log_end(&l);
	if (applied)
		u->sum->changed++;
	else
		u->sum->restart++;
	if (u->rows == NULL)
		return;
	json_begin(u->rows);
	json_str(u->rows, "section", title);
	json_str(u->rows, "now", what);
	json_bool(u->rows, "applied", applied);
	json_end(u->rows);
}

static void
describe(const struct reload *rl, const struct section *s, enum option_id id, struct json *rows)
{
	char name[NAME_MAX_FULL], value[VALUE_MAX], standard[VALUE_MAX];

	full_name(s, id, name);
	options_text(&s->opt, id, value, sizeof(value));
	options_text(&rl->defaults, id, standard, sizeof(standard));
	json_begin(rows);
	json_str(rows, "option", name);
	json_str(rows, "value", value);
	json_str(rows, "default", standard);
	json_bool(rows, "reloadable", options_reloadable(id));
	json_str(rows, "file", s->origin[id].path != NULL ? s->origin[id].path : "");
	json_u64(rows, "line", s->origin[id].line);
	json_end(rows);
}

void
reload_describe(const struct reload *rl, struct json *rows)
{
	const struct section *s;

	TAILQ_FOREACH (s, &rl->now->list, entry)
		for (int i = 0; i < OPTION_COUNT; i++)
			if (section_owner((enum option_id)i) == s->kind)
				describe(rl, s, (enum option_id)i, rows);
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
	struct relay *r = rl->relay;
	const struct options *o = r->opt;
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
	budget_log(rl->now);
	*b = (struct bounds){ o->buffer_max_bytes, o->buffer_max_file_bytes, o->buffer_min_free };
	spool_call(r->spool, set_bounds, bounds_set, b);
	quota_reload(r);
	relay_merging(r);
}

/* s gets its options of next.  Where those that hold come from: of what waits for a restart, as before. */
static void
swap_section(struct section *s, struct section *next, struct section *fresh)
{
	for (int i = 0; fresh != NULL && i < OPTION_COUNT; i++) {
		if (section_owner((enum option_id)i) != s->kind ||
		    (!options_reloadable((enum option_id)i) && !options_same(&s->opt, &fresh->opt, (enum option_id)i)))
			continue;
		free(s->origin[i].path);
		s->origin[i] = fresh->origin[i];
		fresh->origin[i].path = NULL;
	}
	options_free(&s->opt);
	s->opt = next->opt;
	memset(&next->opt, 0, sizeof(next->opt));
}

static void
swap(struct reload *rl, struct run *u)
{
	struct section *s;

	TAILQ_FOREACH (s, &rl->now->list, entry)
		swap_section(s, sections_find(&u->next, s->kind, s->name), sections_find(&u->fresh, s->kind, s->name));
}

/* ---- listeners that come and go ---- */

static void
close_listener(struct reload *rl, struct section *s)
{
	struct front *f;

	TAILQ_FOREACH (f, &rl->relay->fronts, entry)
		if (f->opt == &s->opt)
			break;
	if (f != NULL)
		front_retire(f);
	sections_remove(rl->now, s);
	TAILQ_INSERT_TAIL(&rl->gone, s, entry);
}

static bool
open_front(struct relay *r, const struct section *s)
{
	char why[512];
	struct log_line line;
	struct front *f = front_new(r, s->name, &s->opt, link_find(r, s->upstream->name));

	if (f == NULL)
		return false;
	if (front_listen(f, why, sizeof(why)))
		return true;
	log_begin(&line, LOG_ERROR, "listen");
	log_str(&line, "address", s->opt.listen_address);
	log_str(&line, "reason", why);
	log_end(&line);
	front_free(f);
	return false;
}

/* Whether a listener of another name is, or is to be, where s is. */
static bool
another_there(const struct sections *all, const struct section *s)
{
	const struct section *other = NULL;

	while ((other = sections_next(all, other, SECTION_LISTENER)) != NULL)
		if (strcmp(other->name, s->name) != 0 && section_same_address(other, s))
			return true;
	return false;
}

/* False: it takes a restart, and nothing was changed. */
static bool
open_listener(struct reload *rl, struct section *fresh)
{
	struct section *upstream = sections_find(rl->now, SECTION_UPSTREAM, fresh->upstream->name), *s;

	if (upstream == NULL || rl->relay->drain != NULL || another_there(rl->now, fresh))
		return false;
	s = sections_add(rl->now, SECTION_LISTENER, fresh->name);
	section_take(s, &fresh->opt, false);
	s->upstream = upstream;
	sections_combine(rl->now);
	if (!open_front(rl->relay, s)) {
		sections_remove(rl->now, s);
		section_free(s);
		return false;
	}
	for (int i = 0; i < OPTION_COUNT; i++) {
		s->origin[i] = fresh->origin[i];
		fresh->origin[i].path = NULL;
	}
	return true;
}

/* A listener whose place another one is to have stays until a restart: without the privileges of the start that one could fail to get the
 * port or its key, and nobody would listen there. */
static void
come_and_go(struct reload *rl, struct run *u)
{
	struct section *s, *next;
	bool goes;

	for (s = TAILQ_FIRST(&rl->now->list); s != NULL; s = next) {
		next = TAILQ_NEXT(s, entry);
		if (sections_find(&u->fresh, s->kind, s->name) != NULL)
			continue;
		goes = s->kind == SECTION_LISTENER && !another_there(&u->fresh, s);
		tell_section(u, s, "removed", goes);
		if (goes)
			close_listener(rl, s);
	}
	TAILQ_FOREACH (s, &u->fresh.list, entry)
		if (sections_find(rl->now, s->kind, s->name) == NULL)
			tell_section(u, s, "added", s->kind == SECTION_LISTENER && open_listener(rl, s));
	sections_combine(rl->now);
}

bool
reload_run(struct reload *rl, struct json *rows, struct reload_sum *sum)
{
	struct run u = { .rows = rows, .sum = sum };
	bool ok;

	memset(sum, 0, sizeof(*sum));
	notify_send("RELOADING=1");
	ok = read_files(rl, &u) && make_next(rl, &u) && keeps_servers(rl, &u);
	if (ok) {
		tell_differences(rl, &u);
		swap(rl, &u);
		come_and_go(rl, &u);
		apply(rl);
		log_event(LOG_INFO, "reloaded", "changed=%zu restart=%zu", sum->changed, sum->restart);
	} else {
		log_event(LOG_WARN, "reload_refused", "errors=%zu", sum->errors);
	}
	sections_free(&u.fresh);
	sections_free(&u.next);
	certs_reload(rl->relay->certs); /* the names of the files stay, what is in them need not */
	notify_send("READY=1");
	return ok;
}
