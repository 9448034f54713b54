/* Commands of the stand-in upstream; the language is documented at the head of main.c.
 *
 * For: main.c, one call a line.  Never: touches a session; it asks the history, changes orders, and lets server_resume() do the rest.
 *
 * The one idea: a table of names and functions.  A function takes its words off *args and answers with exactly one reply. */
#include <errno.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <zlib.h>

#include "tests/peer/content.h"
#include "tests/upstream/commands.h"
#include "tests/upstream/conn.h"
#include "tests/upstream/session.h"

/* ---- words and answers ---- */

__attribute__((format(printf, 1, 2))) static void
reply_ok(const char *fmt, ...)
{
	va_list ap;

	fputs("ok ", stdout);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

static void
reply_done(void)
{
	puts("ok");
}

__attribute__((format(printf, 1, 2))) static void
reply_fail(const char *fmt, ...)
{
	va_list ap;

	fputs("fail ", stdout);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

/* Takes the next word off *args; "" when there is none. */
static char *
word(char **args)
{
	char *w = *args + strspn(*args, " "), *end = w + strcspn(w, " ");

	*args = *end == '\0' ? end : end + 1;
	*end = '\0';
	return w;
}

static bool
number(const char *w, uint64_t *n)
{
	char *end;

	errno = 0;
	*n = strtoull(w, &end, 10);
	return w[0] >= '0' && w[0] <= '9' && *end == '\0' && errno == 0;
}

/* ---- questions ---- */

static void
cmd_status(struct server *srv, char **args)
{
	const struct history *h = &srv->history;

	(void)args;
	reply_ok("conns=%" PRIu64 " sessions=%" PRIu64 " files=%" PRIu64 " changesets=%" PRIu64 " bytes=%" PRIu64 " errors=%" PRIu64
		 " paths=%" PRIu64 " uploads=%" PRIu64 " superseded=%" PRIu64 " transacts=%" PRIu64 " refreshes=%" PRIu64 " client_errors=%" PRIu64 " queries=%" PRIu64,
		 srv->nconns, srv->nsessions, h->nfiles, h->nchanges, h->nbytes, srv->nerrors, h->npaths, srv->nuploads, srv->nsuperseded,
		 srv->ntransacts, srv->nrefreshes, srv->nclient_errors, srv->nqueries);
}

static void
cmd_violations(struct server *srv, char **args)
{
	size_t i;
	char *p;

	if (strcmp(word(args), "forget") == 0)
		server_no_violations(srv);
	printf("ok %" PRIu64, srv->nviolations);
	for (i = 0; i < SERVER_VIOLATIONS_KEPT && i < srv->nviolations; i++) {
		for (p = srv->violation[i]; *p != '\0'; p++)
			if ((unsigned char)*p < ' ')
				*p = '?';
		printf("%s %s", i == 0 ? "" : ";", srv->violation[i]);
	}
	putchar('\n');
}

/* Takes a path off *args; answers and returns NULL when it does not exist. */
static struct path *
known_path(struct server *srv, char **args)
{
	struct path *p = history_path(&srv->history, view_of(word(args)), false);

	if (p == NULL)
		reply_fail("no such path");
	return p;
}

static void
cmd_file(struct server *srv, char **args)
{
	struct path *p = known_path(srv, args);
	const struct file *f;
	uint64_t ident;

	if (p == NULL)
		return;
	f = number(word(args), &ident) ? history_file(p, ident) : NULL;
	if (f == NULL)
		reply_fail("no such ident");
	else
		reply_ok("progress=%" PRIu64 " entries=%" PRIu64 " last=%" PRIu64 " crc=%08" PRIx32 " server=%" PRIu64 " locked=%" PRIu64 " queries=%s",
			 f->progress.client_version, f->nchanges, f->last_client_version, f->crc, f->progress.server_version,
			 f->locked_version, f->query_places[0] != '\0' ? f->query_places : "none");
}

static void
cmd_files(struct server *srv, char **args)
{
	struct path *p = known_path(srv, args);
	size_t i;

	if (p == NULL)
		return;
	fputs("ok", stdout);
	for (i = 0; i < p->nfiles; i++)
		printf(" %" PRIu64, p->file[i]->ident);
	putchar('\n');
}

static void
cmd_paths(struct server *srv, char **args)
{
	const struct path *p;

	(void)args;
	fputs("ok", stdout);
	for (p = srv->history.first; p != NULL; p = p->next_all)
		printf(" %s", p->name);
	putchar('\n');
}

static void
cmd_history(struct server *srv, char **args)
{
	struct path *p = known_path(srv, args);
	uint32_t crc = 0;
	size_t i;

	if (p == NULL)
		return;
	for (i = 0; i < p->nchanges; i++)
		crc = (uint32_t)crc32(crc, p->change[i].changeset, (uInt)p->change[i].len);
	reply_ok("versions=%zu crc=%08" PRIx32, p->nchanges, crc);
}

static void
cmd_content(struct server *srv, char **args)
{
	const struct path *p = known_path(srv, args);
	uint64_t ident, newest = 0;
	struct content content = { 0 };
	const char *fault = NULL;

	if (p == NULL)
		return;
	if (!number(word(args), &ident)) {
		reply_fail("no such ident");
		return;
	}
	for (size_t i = 0; i < p->nchanges && fault == NULL; i++) {
		if (p->change[i].origin != ident)
			continue;
		newest = p->change[i].client_version;
		fault = content_apply(&content, p->change[i].changeset, p->change[i].len);
	}
	if (fault != NULL)
		reply_fail("client_version %" PRIu64 ": %s", newest, fault);
	else
		reply_ok("content=%08" PRIx32 " newest=%" PRIu64, content_crc(&content), newest);
	content_free(&content);
}

static void
cmd_dump(struct server *srv, char **args)
{
	FILE *f = fopen(word(args), "w");
	const struct path *p;
	size_t i;

	if (f == NULL) {
		reply_fail("%s", strerror(errno));
		return;
	}
	for (p = srv->history.first; p != NULL; p = p->next_all)
		for (i = 0; i < p->nchanges; i++)
			server_dump_change(f, p, &p->change[i]);
	if (fclose(f) == 0)
		reply_ok("%" PRIu64, srv->history.nchanges);
	else
		reply_fail("%s", strerror(errno));
}

static void
cmd_order(struct server *srv, char **args)
{
	const char *wrong = history_check(&srv->history);

	(void)args;
	if (wrong == NULL)
		reply_ok("%" PRIu64, srv->history.nchanges);
	else
		reply_fail("%s", wrong);
}

static void
cmd_before(struct server *srv, char **args)
{
	const char *pattern = word(args);
	const struct path *last = known_path(srv, args), *p;
	uint64_t n = 0;

	if (last == NULL)
		return;
	if (last->nchanges == 0) {
		reply_fail("nothing came yet");
		return;
	}
	for (p = srv->history.first; p != NULL; p = p->next_all)
		for (size_t i = 0; fnmatch(pattern, p->name, 0) == 0 && i < p->nchanges; i++)
			n += p->change[i].nth < last->change[last->nchanges - 1].nth;
	reply_ok("%" PRIu64, n);
}

/* ---- orders ---- */

/* One character of text with escapes; moves *at behind it. */
static char
unescape(const char **at)
{
	const char *p = *at;
	unsigned byte;

	if (p[0] == '\\' && p[1] == 'x' && sscanf(p + 2, "%2x", &byte) == 1) {
		*at += 4;
		return (char)byte;
	}
	*at += p[0] == '\\' && p[1] != '\0' ? 2 : 1;
	if (p[0] != '\\')
		return p[0];
	return p[1] == 'r' ? '\r' : p[1] == 'n' ? '\n' : p[1] == 't' ? '\t' : p[1];
}

static void
cmd_raw(struct server *srv, char **args)
{
	struct orders *o = &srv->orders;
	const char *at = *args;
	size_t n = 0;

	if (strcmp(at, "off") != 0)
		while (*at != '\0' && n < sizeof o->raw)
			o->raw[n++] = unescape(&at);
	o->raw_len = n;
	reply_done();
}

static void
cmd_http(struct server *srv, char **args)
{
	struct orders *o = &srv->orders;
	char *w = word(args);
	uint64_t status, body = 7;

	if (strncmp(*args, "body=", 5) == 0 && !number(word(args) + 5, &body))
		body = UINT64_MAX;
	if (strcmp(w, "off") == 0) {
		o->http_status = 0;
	} else if (number(w, &status) && status >= 200 && status < 600 && body < 1000000) {
		o->http_status = (unsigned)status;
		o->http_body = (size_t)body;
		snprintf(o->http_header, sizeof o->http_header, "%s%s", *args, **args != '\0' ? "\r\n" : "");
	} else {
		reply_fail("usage: http STATUS [body=BYTES] [Header: value] | http off");
		return;
	}
	reply_done();
}

static void
cmd_token(struct server *srv, char **args)
{
	char *what = word(args), *token = word(args);
	bool allow = strcmp(what, "allow") == 0;

	if ((!allow && strcmp(what, "deny") != 0) || token[0] == '\0') {
		reply_fail("usage: token allow|deny TOKEN|*");
		return;
	}
	orders_token(&srv->orders, token, allow);
	reply_done();
}

static void
order_error(struct server *srv, char **args, bool json)
{
	struct refusal r = { .json = json, .left = 1 };
	char *code = word(args), *action = json ? word(args) : code, *when = word(args), *w = word(args);
	uint64_t n;

	if (strcmp(code, "off") == 0) {
		orders_no_refusals(&srv->orders);
		reply_done();
		return;
	}
	snprintf(r.action, sizeof r.action, "%s", action);
	if (w[0] == '/') {
		snprintf(r.path, sizeof r.path, "%s", w);
		w = word(args);
	}
	r.when = strcmp(when, "bind") == 0    ? MSG_C_BIND
		 : strcmp(when, "ident") == 0 ? MSG_C_IDENT
		 : strcmp(when, "upload") == 0 ? MSG_C_UPLOAD
					       : MSG_NTYPES;
	if (w[0] != '\0')
		r.left = strcmp(w, "always") == 0 ? UINT64_MAX : number(w, &n) ? n : 0;
	if (!number(code, &n) || n < 100 || n > 299 || r.when == MSG_NTYPES || r.left == 0) {
		reply_fail("usage: error CODE bind|ident|upload [/PATH] [COUNT|always] | error off");
		return;
	}
	r.code = (unsigned)n;
	orders_refuse(&srv->orders, &r);
	reply_done();
}

static void
cmd_error(struct server *srv, char **args)
{
	order_error(srv, args, false);
}

static void
cmd_jsonerror(struct server *srv, char **args)
{
	order_error(srv, args, true);
}

/* Everything that is either on or off. */
static void
set_switch(struct server *srv, char **args, bool *value)
{
	char *w = word(args);

	if (strcmp(w, "on") != 0 && strcmp(w, "off") != 0) {
		reply_fail("on or off?");
		return;
	}
	*value = strcmp(w, "on") == 0;
	reply_done();
	server_resume(srv);
}

#define SWITCH(field) \
	static void \
	cmd_##field(struct server *srv, char **args) \
	{ \
		set_switch(srv, args, &srv->orders.field); \
	}
SWITCH(silent)
SWITCH(stall)
SWITCH(frozen)
SWITCH(hold_marks)
SWITCH(hold_acks)
SWITCH(no_unbound)
SWITCH(events)
#undef SWITCH

static void
cmd_delay(struct server *srv, char **args)
{
	uint64_t ms;

	if (!number(word(args), &ms) || ms > 3600000) {
		reply_fail("usage: delay MILLISECONDS");
		return;
	}
	srv->orders.delay_ms = (unsigned)ms;
	reply_done();
}

static void
cmd_cut(struct server *srv, char **args)
{
	(void)args;
	reply_ok("%" PRIu64, srv->nconns);
	server_cut_all(srv);
}

static void
set_cut(char **args, size_t *cut)
{
	char *w = word(args);
	uint64_t n;

	if (strcmp(w, "off") == 0) {
		*cut = ORDERS_NO_CUT;
	} else if (number(w, &n)) {
		*cut = (size_t)n;
	} else {
		reply_fail("after how many bytes?");
		return;
	}
	reply_done();
}

static void
cmd_cut_download(struct server *srv, char **args)
{
	set_cut(args, &srv->orders.cut_download);
}

static void
cmd_cut_upload(struct server *srv, char **args)
{
	set_cut(args, &srv->orders.cut_upload);
}

static void
cmd_stop_state(struct server *srv, char **args)
{
	set_cut(args, &srv->orders.stop_state);
}

static void
cmd_cut_after_upload(struct server *srv, char **args)
{
	srv->orders.cut_after_upload = strcmp(word(args), "off") != 0;
	reply_done();
}

static void
cmd_limit(struct server *srv, char **args)
{
	char *what = word(args);
	uint64_t n;

	if (strcmp(what, "ping") == 0 && number(word(args), &n) && n <= 1000000) {
		srv->ping_limit_s = (unsigned)n;
	} else if (strcmp(what, "batch") == 0 && number(word(args), &n)) {
		srv->batch = (size_t)n;
	} else {
		reply_fail("usage: limit ping SECONDS | limit batch BYTES");
		return;
	}
	reply_done();
}

/* ---- changes of the state ---- */

static void
forget_all(struct server *srv)
{
	server_cut_all(srv);
	srv->dirty = NULL;
	history_clear(&srv->history);
}

static void
cmd_reset(struct server *srv, char **args)
{
	(void)args;
	forget_all(srv);
	reply_done();
}

static void
cmd_save(struct server *srv, char **args)
{
	FILE *f = fopen(word(args), "w");
	bool ok = f != NULL && history_save(&srv->history, f);

	if (f != NULL && fclose(f) != 0)
		ok = false;
	if (ok)
		reply_done();
	else
		reply_fail("%s", strerror(errno));
}

static void
cmd_load(struct server *srv, char **args)
{
	FILE *f = fopen(word(args), "r");

	if (f == NULL) {
		reply_fail("%s", strerror(errno));
		return;
	}
	forget_all(srv);
	if (history_load(&srv->history, f)) {
		reply_ok("%" PRIu64, srv->history.nchanges);
	} else {
		history_clear(&srv->history);
		reply_fail("not a snapshot; empty now");
	}
	fclose(f);
}

/* Fills buf[0..len) with one InternString instruction (protocol.md section 7), of letters that hardly compress. len >= 4. */
static void
make_changeset(uint8_t *buf, size_t len, uint64_t seed)
{
	size_t n, text = len - 3, at = 0;

	/* the size field takes one byte for every 7 bits, the last for 6 */
	for (n = 1; text > 0 && n < 9; n++) {
		text = len - 2 - n;
		if (text < (size_t)1 << (7 * n - 1))
			break;
	}
	buf[at++] = 0x3f;
	buf[at++] = 0;
	for (; n > 1; n--, text >>= 7)
		buf[at++] = (uint8_t)(0x80 | (text & 0x7f));
	buf[at++] = (uint8_t)text;
	for (seed = seed * 2 + 1; at < len; at++) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		buf[at] = (uint8_t)('0' + (seed & 0x3f));
	}
}

static void
cmd_inject(struct server *srv, char **args)
{
	struct path *p = history_path(&srv->history, view_of(word(args)), true);
	uint64_t n, size, i;
	uint8_t *buf;

	if (!number(word(args), &n) || !number(word(args), &size) || size < 4 || size > 16u << 20 || (buf = malloc((size_t)size)) == NULL) {
		reply_fail("usage: inject PATH N SIZE (4 to 16777216)");
		return;
	}
	if (p->injector == NULL)
		p->injector = history_add_file(&srv->history, p, false, 0);
	for (i = 0; i < n; i++) {
		make_changeset(buf, (size_t)size, p->nchanges);
		history_append(&srv->history, p,
			       (struct change){ .client_version = ++p->injector->progress.client_version,
						.origin_timestamp = 375000000000 + p->nchanges,
						.origin = p->injector->ident,
						.via = p->injector->ident,
						.changeset = buf,
						.len = (size_t)size });
	}
	free(buf);
	reply_ok("ident=%" PRIu64 " versions=%zu", p->injector->ident, p->nchanges);
	server_dirty(srv, p);
}

static void
cmd_state(struct server *srv, char **args)
{
	struct path *p = history_path(&srv->history, view_of(word(args)), true);
	uint64_t n, size;
	uint32_t crc = 0;
	uint8_t *buf;

	if (!number(word(args), &n) || !number(word(args), &size) || n == 0 || size == 0 || size > 16u << 20 ||
	    (buf = malloc((size_t)size)) == NULL) {
		reply_fail("usage: state PATH N SIZE");
		return;
	}
	p->state_segments = n;
	p->state_size = size;
	p->state_version = p->nchanges;
	for (uint64_t i = 0; i < n; i++) {
		session_state_segment(p, i, buf);
		crc = (uint32_t)crc32(crc, buf, (uInt)size);
	}
	free(buf);
	reply_ok("crc=%08" PRIx32 " version=%" PRIu64, crc, p->state_version);
}

static void
cmd_bootstrap(struct server *srv, char **args)
{
	uint64_t n, stop = 0;
	char *w;

	if (!number(word(args), &n) || n == 0 || n > 1000 || (*(w = word(args)) != '\0' && !number(w, &stop))) {
		reply_fail("usage: bootstrap N [STOP]");
		return;
	}
	srv->orders.bootstrap = (unsigned)n;
	srv->orders.stop_bootstrap = (unsigned)stop;
	reply_done();
	server_resume(srv);
}

static void
cmd_query_error(struct server *srv, char **args)
{
	uint64_t n;

	if (!number(word(args), &n) || n > 1000) {
		reply_fail("usage: query-error N");
		return;
	}
	srv->orders.query_errors = (unsigned)n;
	reply_done();
}

static void
cmd_transact(struct server *srv, char **args)
{
	uint64_t n;

	if (!number(word(args), &n) || n < 1 || n > 3) {
		reply_fail("usage: transact 1|2|3");
		return;
	}
	srv->orders.transact_status = (unsigned)n;
	reply_done();
}

static void
cmd_say(struct server *srv, char **args)
{
	char *hex = word(args);
	size_t len = strlen(hex) / 2;
	uint8_t raw[1024];
	struct conn *c;
	unsigned byte;

	for (size_t i = 0; i < len; i++) {
		if (len > sizeof raw || sscanf(hex + 2 * i, "%2x", &byte) != 1) {
			reply_fail("not hexadecimal");
			return;
		}
		raw[i] = (uint8_t)byte;
	}
	for (c = srv->conns; c != NULL; c = c->next)
		conn_say(c, raw, len);
	reply_done();
}

static void
cmd_log_message(struct server *srv, char **args)
{
	struct conn *c;

	for (c = srv->conns; c != NULL; c = c->next)
		conn_log(c, 0, "info", *args);
	reply_done();
}

static void
cmd_quit(struct server *srv, char **args)
{
	(void)args;
	reply_done();
	srv->quit = true;
}

static const struct {
	const char *name;
	void (*run)(struct server *srv, char **args);
} commands[] = {
	{ "status", cmd_status },
	{ "violations", cmd_violations },
	{ "file", cmd_file },
	{ "files", cmd_files },
	{ "paths", cmd_paths },
	{ "history", cmd_history },
	{ "content", cmd_content },
	{ "dump", cmd_dump },
	{ "order", cmd_order },
	{ "before", cmd_before },
	{ "http", cmd_http },
	{ "raw", cmd_raw },
	{ "token", cmd_token },
	{ "error", cmd_error },
	{ "jsonerror", cmd_jsonerror },
	{ "silent", cmd_silent },
	{ "stall", cmd_stall },
	{ "frozen", cmd_frozen },
	{ "hold-marks", cmd_hold_marks },
	{ "hold-acks", cmd_hold_acks },
	{ "no-unbound", cmd_no_unbound },
	{ "events", cmd_events },
	{ "delay", cmd_delay },
	{ "cut", cmd_cut },
	{ "cut-download", cmd_cut_download },
	{ "cut-upload", cmd_cut_upload },
	{ "cut-after-upload", cmd_cut_after_upload },
	{ "stop-state", cmd_stop_state },
	{ "state", cmd_state },
	{ "bootstrap", cmd_bootstrap },
	{ "query-error", cmd_query_error },
	{ "transact", cmd_transact },
	{ "say", cmd_say },
	{ "limit", cmd_limit },
	{ "reset", cmd_reset },
	{ "save", cmd_save },
	{ "load", cmd_load },
	{ "inject", cmd_inject },
	{ "log-message", cmd_log_message },
	{ "quit", cmd_quit },
};

void
commands_run(struct server *srv, char *line)
{
	char *args = line, *name = word(&args);
	size_t i;

	for (i = 0; i < sizeof commands / sizeof commands[0] && strcmp(commands[i].name, name) != 0; i++)
		;
	if (i < sizeof commands / sizeof commands[0])
		commands[i].run(srv, &args);
	else
		reply_fail("unknown command");
	if (srv->dump != NULL)
		fflush(srv->dump);
	fflush(stdout);
}
