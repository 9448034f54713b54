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
#include "relay/link.h"
#include "relay/log.h"
#include "relay/pace.h"
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
	json_str(j, "path", s->key_path);
	json_u64(j, "version", info->version);
	json_bool(j, "offline", info->offline);
	json_u64(j, "age_s", info->age_ms / 1000);
	json_str(j, "state", session_state_name(s->state));
	json_str(j, "upstream", session_upside_name(s->upside));
	json_bool(j, "refused", s->refused);
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
	for (int i = 0; i < OPTION_COUNT; i++)
		reload_describe(c->relay->reload, (enum option_id)i, c->rows);
	json_str(c->last, "file", reload_path(c->relay->reload));
	return NULL;
}

/* ---- what it should do ---- */

static const char *
do_link(struct command *c)
{
	static const enum link_mode modes[] = { LINK_AUTO, LINK_ONLINE, LINK_OFFLINE };
	struct link *l = TAILQ_FIRST(&c->relay->links);
	bool known = c->nword == 0;

	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]) && !known; i++) {
		known = strcmp(c->word[0], link_mode_name(modes[i])) == 0;
		if (known)
			link_set_mode(l, modes[i]);
	}
	if (!known)
		return "want online, offline or auto";
	json_str(c->last, "link", link_state_name(link_state(l)));
	json_str(c->last, "link_mode", link_mode_name(link_mode(l)));
	json_str(c->last, "cause", link_cause(l));
	return NULL;
}

static const char *
do_replay(struct command *c)
{
	struct pace *pace = TAILQ_FIRST(&c->relay->links)->pace;
	bool pause = c->nword == 1 && strcmp(c->word[0], "pause") == 0;

	if (c->nword > 0 && !pause && strcmp(c->word[0], "resume") != 0)
		return "want pause or resume";
	if (c->nword > 0)
		pace_hold(pace, pause);
	json_str(c->last, "replay", pace_held(pace) ? "paused" : "on");
	return NULL;
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
	{ "link", 1, do_link },	      { "replay", 1, do_replay }, { "drain", 0, do_drain },	  { "kill", 1, do_kill },
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
