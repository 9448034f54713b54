/* An operator's commands to the daemon itself; see command.h.
 *
 * A command writes rows, fields of the final object, or an error; run_row() begins and ends the final object.  Nothing here decides anything:
 * the parts do, and log what they do. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "relay/absent.h"
#include "relay/clock.h"
#include "relay/command.h"
#include "relay/conn.h"
#include "relay/drain.h"
#include "relay/forget.h"
#include "relay/front.h"
#include "relay/link.h"
#include "relay/log.h"
#include "relay/meter.h"
#include "relay/options.h"
#include "relay/pace.h"
#include "relay/quota.h"
#include "relay/reload.h"
#include "relay/session.h"
#include "relay/spool.h"
#include "relay/status.h"
#include "relay/word.h"

struct command {
	struct relay *relay;
	size_t nword;
	const char *const *word; /* the arguments */
	struct json *rows, *last;
};

/* NULL: done.  Else what is wrong, static. */
typedef const char *command_fn(struct command *c);

/* ---- how it is ---- */

static const char *
do_version(struct command *c)
{
	json_str(c->last, "name", "holdfast");
	json_str(c->last, "version", HOLDFAST_VERSION);
	json_u64(c->last, "pid", (uint64_t)getpid());
	return NULL;
}

static const char *
do_status(struct command *c)
{
	status_json(c->relay, c->last);
	return NULL;
}

static void
session_row(struct json *j, const struct conn_info *info, const struct session *s)
{
	const struct file *f = s->file;

	json_begin(j);
	json_u64(j, "conn", info->id);
	json_u64(j, "session", s->client_ident);
	json_str(j, "peer", info->peer);
	json_str(j, "endpoint", s->endpoint);
	json_str(j, "link", s->link->name);
	json_str(j, "listener", conn_front(s->conn)->name);
	json_str(j, "path", session_key_path(s));
	json_u64(j, "version", info->version);
	json_bool(j, "offline", info->offline);
	json_u64(j, "age_s", info->age_ms / 1000);
	json_str(j, "state", session_state_name(s->state));
	json_str(j, "upstream", session_upside_name(s->upside));
	json_bool(j, "refused", s->refused);
	if (f != NULL && s->refused && quota_full_of(f) != NULL)
		json_str(j, "full_quota", quota_full_of(f));
	if (f != NULL) {
		json_u64(j, "file", f->id);
		json_u64(j, "ident", f->file_ident);
		json_u64(j, "unwritten_bytes", f->tail_bytes);
		json_bool(j, "waiting", file_waiting(f));
		json_bool(j, "kept", !f->aside && !f->gap);
		json_u64(j, "held_client_version", f->held.client_version);
		json_u64(j, "upstream_client_version", f->upstream.client_version);
	}
	json_end(j);
}

static const char *
do_sessions(struct command *c)
{
	struct conn_info info;
	struct conn *conn;
	struct session *s;
	uint64_t n = 0;

	for (conn = TAILQ_FIRST(&c->relay->conns); conn != NULL; conn = conn_next(conn)) {
		conn_describe(conn, &info);
		TAILQ_FOREACH (s, conn_sessions(conn), in_conn) {
			session_row(c->rows, &info, s);
			n++;
		}
	}
	json_u64(c->last, "conns", c->relay->nconns);
	json_u64(c->last, "sessions", n);
	return NULL;
}

static const char *
do_config(struct command *c)
{
	reload_describe(c->relay->reload, c->rows);
	json_str(c->last, "file", reload_path(c->relay->reload));
	return NULL;
}

/* ---- what it should do ---- */

/* The upstreams that a command is about: that of the name in word 0, or all.  A single word that is an order is no name. */
struct ways {
	const char *name; /* NULL: all */
	const char *order; /* NULL: only shows */
	uint64_t n;
};

/* Takes the words apart. NULL: well. */
static const char *
read_ways(const struct command *c, const char *const *orders, const char *wrong, struct ways *w)
{
	const char *last = c->nword > 0 ? c->word[c->nword - 1] : NULL;
	bool ordered = false;

	for (size_t i = 0; last != NULL && orders[i] != NULL; i++)
		ordered = ordered || strcmp(last, orders[i]) == 0;
	*w = (struct ways){ .order = ordered ? last : NULL };
	if (c->nword == 2 && !ordered)
		return wrong;
	if (c->nword == 2 || (c->nword == 1 && !ordered))
		w->name = c->word[0];
	if (w->name != NULL && link_find(c->relay, w->name) == NULL)
		return c->relay->nlinks == 1 && TAILQ_FIRST(&c->relay->links)->name[0] == '\0' ? wrong : "no such upstream";
	return NULL;
}

/* The next one behind l (NULL: the first); NULL at the end. */
static struct link *
next_way(const struct command *c, const struct ways *w, struct link *l)
{
	do
		l = l == NULL ? TAILQ_FIRST(&c->relay->links) : TAILQ_NEXT(l, entry);
	while (l != NULL && w->name != NULL && strcmp(l->name, w->name) != 0);
	return l;
}

static void
link_fields(struct json *j, const struct link *l)
{
	struct meter_figures f = meter_figures(l->meter);

	json_str(j, "link", link_state_name(link_state(l)));
	json_str(j, "link_mode", link_mode_name(link_mode(l)));
	json_str(j, "cause", link_cause(l));
	json_str(j, "replay", pace_held(l->pace) ? "paused" : "on");
	if (f.budget == 0)
		return;
	json_str(j, "budget", meter_state_name(meter_state(l->meter)));
	json_u64(j, "budget_bytes", f.budget);
	json_u64(j, "budget_used", f.used);
	json_u64(j, "budget_ends_in_s", f.ends_in_s);
}

/* One upstream is told in the last object, several in one each. */
static void
tell_ways(struct command *c, const struct ways *w)
{
	struct link *l = next_way(c, w, NULL);

	if (next_way(c, w, l) == NULL) {
		link_fields(c->last, l);
		return;
	}
	for (; l != NULL; l = next_way(c, w, l)) {
		json_begin(c->rows);
		json_str(c->rows, "upstream", l->name);
		link_fields(c->rows, l);
		json_end(c->rows);
	}
}

/* "[NAME] budget add SIZE": c->nword is 3 or 4. */
static const char *
do_budget(struct command *c)
{
	static const char *const none[] = { NULL };
	const char *const *word = c->word + c->nword - 3;
	struct ways w;
	const char *wrong;
	uint64_t bytes;
	bool added = false;

	if (strcmp(word[0], "budget") != 0 || strcmp(word[1], "add") != 0 || !options_size(word[2], &bytes) || bytes == 0 || bytes > METER_ADD_MAX)
		return "want budget add and a size, such as 10MiB";
	c->nword -= 3;
	wrong = read_ways(c, none, "no such upstream", &w);
	for (struct link *l = NULL; wrong == NULL && (l = next_way(c, &w, l)) != NULL;)
		added = meter_add(l->meter, bytes) || added;
	if (wrong == NULL && !added)
		return "there is no budget";
	if (wrong == NULL)
		tell_ways(c, &w);
	return wrong;
}

static const char *
do_link(struct command *c)
{
	static const enum link_mode modes[] = { LINK_AUTO, LINK_ONLINE, LINK_OFFLINE };
	const char *orders[] = { link_mode_name(modes[0]), link_mode_name(modes[1]), link_mode_name(modes[2]), NULL };
	struct ways w;
	const char *wrong;

	if (c->nword > 2)
		return do_budget(c);
	wrong = read_ways(c, orders, "want online, offline or auto", &w);
	for (size_t i = 0; wrong == NULL && w.order != NULL && i < sizeof(modes) / sizeof(modes[0]); i++)
		if (strcmp(w.order, orders[i]) == 0)
			for (struct link *l = next_way(c, &w, NULL); l != NULL; l = next_way(c, &w, l))
				link_set_mode(l, modes[i]);
	if (wrong == NULL)
		tell_ways(c, &w);
	return wrong;
}

static const char *
do_replay(struct command *c)
{
	static const char *const orders[] = { "pause", "resume", NULL };
	struct ways w;
	const char *wrong = read_ways(c, orders, "want pause or resume", &w);

	for (struct link *l = NULL; wrong == NULL && w.order != NULL && (l = next_way(c, &w, l)) != NULL;)
		pace_hold(l->pace, PACE_OPERATOR, strcmp(w.order, orders[0]) == 0);
	if (wrong == NULL)
		tell_ways(c, &w);
	return wrong;
}

static const char *
do_drain(struct command *c)
{
	const struct store_stat *st = spool_stat(c->relay->spool);

	drain_begin(c->relay);
	json_u64(c->last, "backlog_records", st->records);
	json_u64(c->last, "backlog_bytes", st->bytes);
	return NULL;
}

static const char *
do_kill(struct command *c)
{
	struct conn_info info;
	struct conn *conn;
	uint64_t id;

	if (c->nword != 1 || !word_number(c->word[0], &id))
		return "name a connection by its number";
	for (conn = TAILQ_FIRST(&c->relay->conns); conn != NULL; conn = conn_next(conn)) {
		conn_describe(conn, &info);
		if (info.id != id)
			continue;
		json_u64(c->last, "conn", id);
		json_str(c->last, "peer", info.peer);
		conn_close(conn, "killed by an operator");
		return NULL;
	}
	return "no such connection";
}

static const char *
do_forget(struct command *c)
{
	struct forget_sum sum;

	if (c->nword != 1 || c->word[0][0] == '\0')
		return "name a user";
	forget_user(c->relay, view_of(c->word[0]), &sum);
	json_u64(c->last, "conns", sum.conns);
	json_u64(c->last, "users", sum.users);
	json_u64(c->last, "pairs", sum.pairs);
	return NULL;
}

static const char *
do_log_level(struct command *c)
{
	enum log_level level;

	if (c->nword == 1) {
		if (!log_level_find(c->word[0], &level))
			return "want error, warn, info or debug";
		log_set_level(level);
		log_event(LOG_INFO, "log_level", "now=%s", log_level_name(level));
	}
	json_str(c->last, "log_level", log_level_name(log_get_level()));
	return NULL;
}

static const char *
do_rotate(struct command *c)
{
	if (!log_has_file())
		return "the log goes to standard error, not to a file";
	if (!log_reopen())
		return "the log file cannot be opened; the old one stays in use";
	log_event(LOG_INFO, "log_opened", "by=order");
	json_str(c->last, "log_file", c->relay->opt->log_file);
	return NULL;
}

static const char *
do_reload(struct command *c)
{
	struct reload_sum sum;
	bool ok = reload_run(c->relay->reload, c->rows, &sum);

	json_u64(c->last, "changed", sum.changed);
	json_u64(c->last, "restart", sum.restart);
	json_u64(c->last, "errors", sum.errors);
	return ok ? NULL : "the configuration has errors; nothing was changed";
}

static const struct {
	const char *name;
	size_t max; /* arguments */
	command_fn *run;
} commands[] = {
	{ "version", 0, do_version }, { "status", 0, do_status }, { "sessions", 0, do_sessions }, { "config", 0, do_config },
	{ "link", 4, do_link },	      { "replay", 2, do_replay }, { "drain", 0, do_drain },	  { "kill", 1, do_kill },
	{ "forget", 1, do_forget },
	{ "log-level", 1, do_log_level }, { "reload", 0, do_reload }, { "rotate", 0, do_rotate },
};

bool
command_run(struct relay *relay, const struct admin_request *q, struct admin_answer *a)
{
	struct command c = { relay, q->nword - 1, q->word + 1, &a->rows, &a->last };
	const char *error;

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(commands[i].name, q->word[0]) != 0)
			continue;
		json_begin(&a->last);
		error = c.nword > commands[i].max ? "too many arguments" : commands[i].run(&c);
		json_str(&a->last, "status", error == NULL ? "ok" : "error");
		if (error != NULL)
			json_str(&a->last, "error", error);
		json_end(&a->last);
		a->ok = error == NULL;
		return true;
	}
	return false;
}
