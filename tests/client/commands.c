/* The command language; main.c documents it for its users. Knows the words and the names; what a command does is done by session,
 * conn, device, wait and report.
 *
 * The idea: a table row per command. Its function gets the devices that NAME matches (one, PREFIX*, or *) and the words after it,
 * and writes its answer into c->answer; commands_run prints that line. A wait prints nothing then: commands_poll does, later. */
#include <errno.h>
#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/client/auto.h"
#include "tests/client/commands.h"
#include "tests/client/conn.h"
#include "tests/client/report.h"
#include "tests/client/session.h"
#include "tests/client/transcript.h"
#include "tests/client/wait.h"

#define WORDS_MAX 16
#define NAME_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
#define WRITE_SIZE 40 /* bytes of text in a local write that names no size */

struct commands {
	struct world *world;
	char *word[WORDS_MAX + 1]; /* of the line under way; word[nword] is NULL */
	size_t nword;
	struct session **match; /* the devices that word[1] matches */
	size_t nmatch;
	char answer[REPORT_LINE_MAX + 512];
	char versions[256]; /* what the versions command set */
	bool quit;
	struct wait *wait;
};

static void say(struct commands *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void
say(struct commands *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(c->answer, sizeof c->answer, fmt, ap);
	va_end(ap);
}

/* ---- words ---- */

/* The value of key=value among the words, or otherwise. */
static const char *
value_of(const struct commands *c, const char *key, const char *otherwise)
{
	size_t len = strlen(key);

	for (size_t i = 2; i < c->nword; i++)
		if (strncmp(c->word[i], key, len) == 0 && c->word[i][len] == '=')
			return c->word[i] + len + 1;
	return otherwise;
}

static bool
has_word(const struct commands *c, const char *word)
{
	for (size_t i = 2; i < c->nword; i++)
		if (strcmp(c->word[i], word) == 0)
			return true;
	return false;
}

static bool
number(const char *text, uint64_t *value)
{
	char *end;

	errno = 0;
	*value = strtoull(text, &end, 10);
	return *text >= '0' && *text <= '9' && *end == '\0' && errno == 0;
}

/* word[i] as a number; otherwise when there is no such word or it is none. */
static uint64_t
number_at(const struct commands *c, size_t i, uint64_t otherwise)
{
	uint64_t value;

	return i < c->nword && number(c->word[i], &value) ? value : otherwise;
}

static uint64_t
number_of(const struct commands *c, const char *key, uint64_t otherwise)
{
	const char *text = value_of(c, key, NULL);
	uint64_t value;

	return text != NULL && number(text, &value) ? value : otherwise;
}

static enum device_write
kind_of(const struct commands *c)
{
	return strcmp(value_of(c, "mode", "create"), "update") == 0 ? DEVICE_UPDATE : DEVICE_CREATE;
}

/* Fills match[] with the devices that pattern means, in the order they were made. */
static void
find_matches(struct commands *c, const char *pattern)
{
	struct world *w = c->world;

	c->nmatch = 0;
	c->match = world_grown(c->match, (w->nsession + 1) * sizeof *c->match);
	for (size_t i = 0; i < w->nsession; i++)
		if (fnmatch(pattern, w->session[i]->dev.name, 0) == 0)
			c->match[c->nmatch++] = w->session[i];
}

/* ---- devices ---- */

/* Writes text to out with the first %d replaced by i. */
static void
expand(const char *text, size_t i, char *out, size_t cap)
{
	const char *at = strstr(text, "%d");

	if (at == NULL)
		snprintf(out, cap, "%s", text);
	else
		snprintf(out, cap, "%.*s%zu%s", (int)(at - text), text, i, at + 2);
}

static bool
add_device(struct commands *c, const char *name, size_t i)
{
	char path[MSG_PATH_MAX], key[256], token[MSG_TOKEN_MAX];
	const char *given_key = value_of(c, "conn", NULL), *given_token = value_of(c, "token", NULL);
	struct session *s;

	if (strspn(name, NAME_CHARACTERS) != strlen(name)) {
		say(c, "fail a name is made of letters, digits, and ._-");
		return false;
	}
	if (world_find(c->world, name) != NULL) {
		say(c, "fail %s exists", name);
		return false;
	}
	expand(value_of(c, "path", "/default"), i, path, sizeof path);
	expand(given_key != NULL ? given_key : "", i, key, sizeof key);
	expand(given_token != NULL ? given_token : "", i, token, sizeof token);
	if ((s = session_new(c->world, name, path)) == NULL) {
		say(c, "fail %s: %s", name, strerror(errno));
		return false;
	}
	s->write_size = number_of(c, "size", WRITE_SIZE);
	s->subserver = has_word(c, "subserver");
	s->schema = number_of(c, "schema", 0);
	s->rules.flavour = has_word(c, "flx") ? MSG_FLX : MSG_PBS;
	world_add_session(c->world, s);
	conn_add(world_conn(c->world, given_key != NULL ? key : NULL), s);
	conn_set_flavour(s->conn, s->rules.flavour);
	if (given_token != NULL)
		conn_set_token(s->conn, token);
	return true;
}

static void
do_device(struct commands *c)
{
	add_device(c, c->word[1], 0);
}

static void
do_fleet(struct commands *c)
{
	uint64_t n = number_at(c, 2, 0);
	char name[256];

	for (size_t i = 0; i < n; i++) {
		snprintf(name, sizeof name, "%s%zu", c->word[1], i);
		if (!add_device(c, name, i))
			return;
	}
}

/* ---- connections ---- */

static void
do_connect(struct commands *c)
{
	for (size_t i = 0; i < c->nmatch; i++) {
		c->match[i]->error_code = 0;
		session_bind(c->match[i], has_word(c, "same"));
	}
}

static void
do_leave(struct commands *c)
{
	for (size_t i = 0; i < c->nmatch; i++)
		session_unbind(c->match[i]);
	for (size_t i = 0; i < c->nmatch; i++)
		conn_release(c->match[i]->conn);
}

static void
do_unbind(struct commands *c)
{
	for (size_t i = 0; i < c->nmatch; i++) {
		conn_keep(c->match[i]->conn);
		session_unbind(c->match[i]);
	}
}

static void
do_cut(struct commands *c)
{
	for (size_t i = 0; i < c->nmatch; i++) {
		if (has_word(c, "away"))
			c->match[i]->wanted = false;
		conn_cut(c->match[i]->conn);
	}
}

static void
do_stall(struct commands *c)
{
	for (size_t i = 0; i < c->nmatch; i++)
		conn_stall(c->match[i]->conn, strcmp(c->word[2], "off") != 0);
}

static void
do_ping(struct commands *c)
{
	for (size_t i = 0; i < c->nmatch; i++)
		conn_ping(c->match[i]->conn);
}

static void
do_bad(struct commands *c)
{
	size_t len = strlen(c->word[2]) / 2;
	uint8_t *raw = world_grown(NULL, len + 1);
	unsigned byte;

	for (size_t i = 0; i < len; i++) {
		if (sscanf(c->word[2] + 2 * i, "%2x", &byte) != 1)
			say(c, "fail not hexadecimal");
		raw[i] = (uint8_t)byte;
	}
	for (size_t i = 0; i < c->nmatch; i++)
		conn_send_raw(c->match[i]->conn, raw, len);
	free(raw);
}

static void
do_versions(struct commands *c)
{
	snprintf(c->versions, sizeof c->versions, "%s", c->word[1]);
	c->world->opt.versions = c->versions;
}

/* ---- changes ---- */

static void
do_write(struct commands *c)
{
	uint64_t n = number_at(c, 2, 1);

	for (size_t i = 0; i < c->nmatch; i++)
		session_write(c->match[i], kind_of(c), n, number_of(c, "size", c->match[i]->write_size));
}

static void
do_auto(struct commands *c)
{
	double rate = strtod(c->word[2], NULL);
	uint64_t count = strcmp(c->word[3], "endless") == 0 ? AUTO_ENDLESS : number_at(c, 3, 0);

	for (size_t i = 0; i < c->nmatch; i++)
		auto_start(c->match[i], rate, count, kind_of(c));
}

static void
do_mark(struct commands *c)
{
	for (size_t i = 0; i < c->nmatch; i++)
		session_mark(c->match[i]);
}

static void
do_query(struct commands *c)
{
	for (size_t i = 0; i < c->nmatch; i++)
		if (!session_query(c->match[i]))
			say(c, "fail %s asked %d already", c->match[i]->dev.name, SESSION_QUERIES);
}

static void
do_backdate(struct commands *c)
{
	for (size_t i = 0; i < c->nmatch; i++) {
		if (session_is_live(c->match[i]))
			say(c, "fail %s is bound", c->match[i]->dev.name);
		else if (!device_backdate(&c->match[i]->dev, number_at(c, 2, 0), has_word(c, "whole")))
			say(c, "fail %s had fewer DOWNLOADs", c->match[i]->dev.name);
		session_reset(c->match[i]);
	}
}

static void
do_amnesia(struct commands *c)
{
	for (size_t i = 0; i < c->nmatch; i++) {
		if (session_is_live(c->match[i])) {
			say(c, "fail %s is bound", c->match[i]->dev.name);
			return;
		}
		device_amnesia(&c->match[i]->dev);
		session_reset(c->match[i]);
		c->match[i]->over = true;
	}
}

/* ---- questions ---- */

static bool
make_question(const struct commands *c, const struct session *s, struct message *m)
{
	const char *what = c->word[2], *formats = value_of(c, "formats", "0-100"), *dash = strchr(formats, '-');

	memset(m, 0, sizeof *m);
	if (strcmp(what, "transact") == 0) {
		m->type = MSG_C_TRANSACT;
		m->c_transact = (struct msg_c_transact){ client_file_newest(&s->dev.file) + 1, s->dev.file.cur.download_server,
							 number_at(c, 3, 10) };
	} else if (strcmp(what, "state") == 0) {
		m->type = MSG_C_STATE_REQUEST;
		m->state_request = (struct msg_state_request){ .partial_version = s->state_version, .partial_salt = s->state_salt,
							       .offset = s->state_offset, .need_recent = has_word(c, "recent"),
							       .min_file_format = strtoul(formats, NULL, 10),
							       .max_file_format = dash != NULL ? strtoul(dash + 1, NULL, 10) : 0,
							       .max_history_schema = 10 };
	} else if (strcmp(what, "version") == 0) {
		m->type = MSG_C_CLIENT_VERSION_REQUEST;
		m->client_version_request = (struct msg_client_version_request){ number_at(c, 3, s->dev.file.ident),
										 number_at(c, 4, s->dev.file.salt) };
	} else if (strcmp(what, "alloc") == 0) {
		m->type = MSG_C_ALLOC;
	} else if (strcmp(what, "test") == 0 && c->nword > 3) {
		m->type = MSG_C_TEST_COMMAND;
		m->test_command = (struct msg_test_command){ s->answers + 1, strlen(c->word[3]) };
	} else if (strcmp(what, "refresh") == 0 && c->nword > 3) {
		m->type = MSG_C_REFRESH;
		m->refresh.token_size = strlen(c->word[3]);
	} else if (strcmp(what, "json-error") == 0) {
		m->type = MSG_C_JSON_ERROR;
		m->json_error = (struct msg_json_error){ number_at(c, 3, 100), 2 };
	} else {
		return false;
	}
	return true;
}

static void
do_ask(struct commands *c)
{
	static const uint8_t changeset[65536];
	struct message m;

	for (size_t i = 0; i < c->nmatch; i++) {
		struct session *s = c->match[i];
		size_t len;

		if (!make_question(c, s, &m) || (len = (size_t)msg_body_len(&m)) > sizeof changeset) {
			say(c, "fail ask what?");
			return;
		}
		if (!conn_is_open(s->conn) || !s->rules.bound || s->rules.unbind_sent) {
			say(c, "fail %s is not bound", s->dev.name);
			return;
		}
		session_ask(s, &m, m.type == MSG_C_TRANSACT ? (const void *)changeset : m.type == MSG_C_JSON_ERROR ? "{}" : c->word[3], len);
	}
}

/* ---- reports ---- */

static void
do_status(struct commands *c)
{
	char line[REPORT_LINE_MAX];

	if (c->nmatch == 1)
		report_status(c->match[0], line);
	else
		report_totals(c->match, c->nmatch, line);
	say(c, "ok %s", line);
}

static void
do_content(struct commands *c)
{
	char line[REPORT_LINE_MAX];

	report_content(c->match[0], line);
	say(c, "ok %s", line);
}

/* The file for device s: word[2], or NAME inside that folder when several devices are meant. */
static const char *
file_for(const struct commands *c, const struct session *s, char *buf, size_t cap)
{
	bool several = strpbrk(c->word[1], "*?[") != NULL;

	snprintf(buf, cap, "%s%s%s", c->word[2], several ? "/" : "", several ? s->dev.name : "");
	return buf;
}

static void
do_acked(struct commands *c)
{
	char path[4096];

	for (size_t i = 0; i < c->nmatch; i++)
		if (!report_acked(c->match[i], file_for(c, c->match[i], path, sizeof path), has_word(c, "all")))
			say(c, "fail %s: %s", path, strerror(errno));
}

static void
do_received(struct commands *c)
{
	char path[4096];

	for (size_t i = 0; i < c->nmatch; i++)
		if (!report_received(c->match[i], file_for(c, c->match[i], path, sizeof path)))
			say(c, "fail %s: %s", path, strerror(errno));
}

static void
do_transcript(struct commands *c)
{
	char path[4096];

	for (size_t i = 0; i < c->nmatch; i++) {
		if (strcmp(c->word[2], "off") == 0)
			transcript_close(c->match[i]);
		else if (!transcript_open(c->match[i], file_for(c, c->match[i], path, sizeof path)))
			say(c, "fail %s: %s", path, strerror(errno));
	}
}

static void
do_violations(struct commands *c)
{
	size_t len = (size_t)snprintf(c->answer, sizeof c->answer, "ok %zu", c->world->nviolation);

	for (size_t i = 0; i < c->world->nviolation && len < sizeof c->answer; i++)
		len += (size_t)snprintf(c->answer + len, sizeof c->answer - len, "%s %s", i > 0 ? ";" : "", c->world->violation[i]);
}

static void
do_quit(struct commands *c)
{
	c->quit = true;
}

static void
do_wait(struct commands *c)
{
	if (!wait_begin(c->wait, c->match, c->nmatch, c->word[2], number_at(c, 3, 0)))
		say(c, "fail wait for what? %s", c->word[2]);
}

bool
commands_waiting(const struct commands *c)
{
	return wait_is_on(c->wait);
}

static void
print_answer(const struct commands *c)
{
	puts(c->answer);
	fflush(stdout);
}

void
commands_poll(struct commands *c)
{
	if (wait_is_on(c->wait) && wait_poll(c->wait, c->answer, sizeof c->answer))
		print_answer(c);
}

/* ---- the table ---- */

static const struct {
	const char *name;
	size_t nwords;	/* at least, with the name */
	bool on_devices; /* word[1] names devices, and at least one must match */
	void (*run)(struct commands *c);
} table[] = {
	{ "device", 2, false, do_device },	{ "fleet", 3, false, do_fleet },
	{ "connect", 2, true, do_connect },	{ "bind", 2, true, do_connect },
	{ "leave", 2, true, do_leave },		{ "unbind", 2, true, do_unbind },
	{ "cut", 2, true, do_cut },		{ "stall", 3, true, do_stall },
	{ "write", 2, true, do_write },		{ "auto", 4, true, do_auto },
	{ "wait", 4, true, do_wait },		{ "mark", 2, true, do_mark },
	{ "ping", 2, true, do_ping },		{ "backdate", 3, true, do_backdate },
	{ "amnesia", 2, true, do_amnesia },	{ "status", 2, true, do_status },
	{ "content", 2, true, do_content },	{ "acked", 3, true, do_acked },		{ "received", 3, true, do_received },
	{ "transcript", 3, true, do_transcript }, { "violations", 1, false, do_violations },
	{ "versions", 2, false, do_versions },	{ "bad", 3, true, do_bad },
	{ "query", 2, true, do_query },		{ "ask", 3, true, do_ask },		{ "quit", 1, false, do_quit },
};

static void
run_words(struct commands *c)
{
	for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
		if (strcmp(table[i].name, c->word[0]) != 0)
			continue;
		if (c->nword < table[i].nwords) {
			say(c, "fail %s needs %zu words", c->word[0], table[i].nwords - 1);
			return;
		}
		if (table[i].on_devices) {
			find_matches(c, c->word[1]);
			if (c->nmatch == 0) {
				say(c, "fail no device %s", c->word[1]);
				return;
			}
		}
		table[i].run(c);
		return;
	}
	say(c, "fail unknown command %s", c->word[0]);
}

bool
commands_run(struct commands *c, char *line)
{
	char *rest = line, *word;

	c->nword = 0;
	while (c->nword < WORDS_MAX && (word = strsep(&rest, " \t\r")) != NULL)
		if (*word != '\0')
			c->word[c->nword++] = word;
	c->word[c->nword] = NULL;
	if (c->nword == 0 || c->word[0][0] == '#')
		return true;
	say(c, "ok");
	run_words(c);
	if (!wait_is_on(c->wait))
		print_answer(c);
	return !c->quit;
}

struct commands *
commands_new(struct world *w)
{
	struct commands *c = world_grown(NULL, sizeof *c);

	memset(c, 0, sizeof *c);
	c->world = w;
	c->wait = wait_new(w->base);
	return c;
}

void
commands_free(struct commands *c)
{
	wait_free(c->wait);
	free(c->match);
	free(c);
}
