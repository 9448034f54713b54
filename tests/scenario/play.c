/* The language of scenarios: what each line does.
 *
 *	topology default|direct		up, link, relay, edge, dev as in stage.h; direct: up, link and dev, no relay
 *	program NAME KIND [TARGET [TARGET]]	another upstream, linkproxy, holdfast or client, which connects to TARGET; a daemon may
 *					have a second one, which its upstream's second URL names
 *	program NAME listener DAEMON	[listener NAME] of a daemon, with what [listener] has so far: whom others may connect to
 *	upstream DAEMON NAME TARGET	[upstream NAME] of a daemon, which is TARGET, with what [upstream] has so far
 *	args NAME WORD...		further arguments for a program, before its start
 *	tls NAME [foreign]		this server (up, relay) speaks TLS, and whoever reaches it as well; before start. foreign: its
 *					certificate is of an authority that nobody trusts
 *	config SECTION.KEY VALUE	of the daemons (SECTION.NAME.KEY: of [SECTION NAME]); takes effect at the next start, or reload
 *	start [NAME...]			all that are not running, or these; sets $NAME_port
 *	stop NAME			a daemon by SIGTERM, which must end it with exit 0; others by "quit"
 *	kill NAME			kill -9
 *	restart NAME			stop and start
 *	ended NAME			a daemon ends by itself, with exit 0
 *	refused NAME			a daemon that does not run is started, and must end with exit 1 by itself
 *	target NAME PROGRAM [UPSTREAM]	whom a program, or [upstream UPSTREAM] of a daemon, connects to from its next start, or reload, on
 *	reload NAME			a daemon by SIGHUP, with the configuration as it is now
 *	lose NAME			the state of a daemon that does not run is gone, but for its journal of acknowledgements
 *	damage NAME FILE...		files in the state of a daemon that does not run are overwritten from 64 bytes on
 *	spoil NAME ID [TABLE]		the oldest record of this file in the state of a daemon that does not run goes bad; its page does not.
 *					TABLE is changesets, queries or files
 *	disk NAME small MIB [real]	a daemon has its state on a disk of this size; before its first start. Where there can be none
 *					baddisk stands in; real: the scenario is skipped
 *	disk NAME hold|full|ok		writes to it do not return; it has no space left; all is well. hold, and full without small, want
 *					an order (ok) before its first start as well
 *
 *	fault NAME CALL N TIMES [ERROR]	the Nth CALL of a daemon from now on fails, and TIMES - 1 after it; CALL: badhost/orders.h. A daemon that
 *					shall be given faults is given one (off) before its first start
 *	fault NAME pieces N		its reads and writes of TCP take N bytes at most; 0: any number
 *	fault NAME clock real|mono MS	its clock goes MS ahead of the true one; -MS: behind
 *	fault NAME off			calls go through again. $calls is how many there were under the order before, $failed how many of them failed
 *	mortal NAME			from now on this daemon may end with exit 1 and "out_of_memory" or "crypto_failed" as its last word: it is started again
 *					within any step that waits. $deaths is how often that was, as of the last fault
 *
 *	NAME COMMAND [-> COND...]	says COMMAND to a program; the answer must be "ok", and the conditions hold (text.h)
 *	NAME ! COMMAND [-> COND...]	the answer must be "fail"
 *					of a daemon, running or not: a command of holdfastctl, "relay buffer list -> files==1"; exit
 *					status 0 or 1 is "ok", and the fields are those of its JSON, the last object's first
 *	until MS NAME COMMAND -> COND...	again and again, until they hold
 *	let VAR VALUE			$VAR in later lines
 *	let VAR FIELD of NAME COMMAND	a field of the answer
 *	rand VAR LOW HIGH		a number in LOW..HIGH from the scenario's seed
 *	calc VAR A +|-|*|/ B		whole numbers
 *	file VAR TEXT			$VAR is the path of a file that only its owner may open and that holds TEXT from now on, at once
 *					$here is the folder of the scenario
 *	repeat N ... end		$i counts from 1 (in the innermost block)
 *	include FILE			the lines of FILE, which lies beside this one; its name may hold variables, so that rand can choose
 *
 *	expect NAME /REGEX/ MS		a line of the log of NAME that was not read by an expect before; waits
 *	fresh NAME			what the log holds now is read
 *	logged NAME /REGEX/ OP N	how many lines of the whole log match
 *	never NAME /REGEX/		no line may match, up to the end of the scenario
 *	same FILE FILE			equal but for salts: see compare.h
 *	check delivered|acked|merged [NAME [DEVICE]]	of all devices of all clients, or only of these: see ledger.h
 *	rss NAME			sets $rss to the resident KiB of a program
 *	written NAME			sets $written to the bytes that it gave to write(2) so far: to files; to sockets it uses send and sendmsg
 *	want A OP B			of two values, which are words
 *	print WORDS			in the output of the scenario
 *	tolerate NAME			violations that this client or upstream counts are part of the scenario
 *
 * One line is one step; what fails ends the scenario. No line sleeps. At the end stage_finish() looks at everybody. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/scenario/compare.h"
#include "tests/scenario/fail.h"
#include "tests/scenario/ledger.h"
#include "tests/scenario/play.h"
#include "tests/scenario/stage.h"

#define NEVER_MAX 16

static struct {
	uint64_t rng;
	struct {
		struct member *m;
		regex_t re;
		char text[256];
	} never[NEVER_MAX];
	unsigned nnever;
} pl;

/* ---- parts of lines ---- */

/* The next word, or the scenario is wrong. */
static char *
need(char **rest, const char *what)
{
	char *word = text_word(rest);

	if (word == NULL)
		fail("want %s", what);
	return word;
}

static uint64_t
need_number(char **rest, const char *what)
{
	uint64_t n;

	if (!text_number(need(rest, what), &n))
		fail("want a number: %s", what);
	return n;
}

/* Cuts "/REGEX/" off rest; what follows is left. */
static void
need_regex(char **rest, regex_t *re, char text[256])
{
	char *start = *rest + strspn(*rest, " \t"), *end = strrchr(start, '/');
	int rc;

	if (*start != '/' || end == start || end - start > 255)
		fail("want /REGEX/");
	*end = '\0';
	snprintf(text, 256, "%s", start + 1);
	*rest = end + 1;
	rc = regcomp(re, text, REG_EXTENDED | REG_NOSUB);
	if (rc != 0) {
		char why[200];

		regerror(rc, re, why, sizeof why);
		fail("/%s/: %s", text, why);
	}
}

/* Cuts "-> COND..." off a command; the conditions, or an empty string. */
static char *
split_conds(char *command)
{
	char *arrow = strstr(command, " -> "), *end;

	if (arrow == NULL)
		return command + strlen(command);
	for (end = arrow; end > command && (end[-1] == ' ' || end[-1] == '\t'); end--)
		;
	*end = '\0';
	return arrow + 4;
}

static void
set(const char *name, const char *value)
{
	if (!script_set(name, value))
		fail("too many variables, or too long: %s=%s", name, value);
}

static void
set_number(const char *name, uint64_t n)
{
	char value[32];

	snprintf(value, sizeof value, "%llu", (unsigned long long)n);
	set(name, value);
}

/* ---- the stage ---- */

static void
do_topology(char *rest)
{
	static const char *const whole[][3] = {
		{ "up", "upstream", NULL },	   { "link", "linkproxy", "up" }, { "relay", "holdfast", "link" },
		{ "edge", "linkproxy", "relay" }, { "dev", "client", "edge" },
	};
	const char *name = need(&rest, "a topology");

	if (strcmp(name, "default") != 0 && strcmp(name, "direct") != 0)
		fail("no such topology: %s", name);
	for (unsigned i = 0; i < sizeof whole / sizeof *whole; i++) {
		if (strcmp(name, "default") == 0 || i < 2)
			stage_add(whole[i][0], whole[i][1], whole[i][2], NULL);
	}
	if (strcmp(name, "direct") == 0)
		stage_add("dev", "client", "link", NULL);
}

static void
do_program(char *rest)
{
	const char *name = need(&rest, "a name"), *kind = need(&rest, "a kind"), *target = text_word(&rest);

	stage_add(name, kind, target, text_word(&rest));
}

static void
do_upstream(char *rest)
{
	struct member *m = stage_find(need(&rest, "a daemon"));
	const char *name = need(&rest, "a name");

	stage_way(m, name, stage_find(need(&rest, "a target")));
}

static void
do_args(char *rest)
{
	struct member *m = stage_find(need(&rest, "a name"));

	snprintf(m->args, sizeof m->args, "%s", rest);
}

static void
do_tls(char *rest)
{
	struct member *m = stage_find(need(&rest, "a name"));

	m->tls = true;
	m->foreign = text_word(&rest) != NULL;
}

static void
do_config(char *rest)
{
	const char *key = need(&rest, "section.key");

	stage_config(key, rest);
}

/* $up_port and so on */
static void
set_ports(void)
{
	struct member *m;
	char name[64];

	for (unsigned i = 0; (m = stage_member(i)) != NULL; i++) {
		snprintf(name, sizeof name, "%s_port", m->proc.name);
		set_number(name, m->port);
	}
}

static void
do_start(char *rest)
{
	const char *name = text_word(&rest);

	if (name == NULL)
		stage_start_all();
	for (; name != NULL; name = text_word(&rest))
		stage_start(stage_find(name));
	set_ports();
}

static void
do_stop(char *rest)
{
	stage_stop(stage_find(need(&rest, "a name")));
}

static void
do_ended(char *rest)
{
	stage_ended(stage_find(need(&rest, "a name")));
}

static void
do_damage(char *rest)
{
	struct member *m = stage_find(need(&rest, "a name"));
	char *file;

	while ((file = text_word(&rest)) != NULL)
		stage_damage(m, file);
}

static void
do_spoil(char *rest)
{
	struct member *m = stage_find(need(&rest, "a name"));
	uint64_t id = need_number(&rest, "the id of a file");
	const char *table = text_word(&rest);

	stage_spoil(m, id, table != NULL ? table : "changesets");
}

static void
do_lose(char *rest)
{
	stage_lose(stage_find(need(&rest, "a name")));
}

static void
do_kill(char *rest)
{
	stage_kill(stage_find(need(&rest, "a name")));
}

static void
do_reload(char *rest)
{
	stage_reload(stage_find(need(&rest, "a name")));
}

static void
do_refused(char *rest)
{
	stage_refused(stage_find(need(&rest, "a name")));
}

static void
do_target(char *rest)
{
	struct member *m = stage_find(need(&rest, "a name")), *target = stage_find(need(&rest, "a program"));
	const char *way = text_word(&rest);
	unsigned i = 0;

	while (way != NULL && i < WAYS_MAX && (m->way[i].target == NULL || strcmp(m->way[i].name, way) != 0))
		i++;
	if (way == NULL)
		m->target = target;
	else if (i < WAYS_MAX)
		m->way[i].target = target;
	else
		fail("%s has no [upstream %s]", m->proc.name, way);
}

static void
do_restart(char *rest)
{
	struct member *m = stage_find(need(&rest, "a name"));

	stage_stop(m);
	stage_start(m);
	set_ports();
}

static void
do_file(char *rest)
{
	char *var = need(&rest, "a variable"), fresh[128], dir[256], path[400];
	int fd;
	FILE *f;

	snprintf(fresh, sizeof fresh, "%.64s.fresh", var);
	fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	f = fd < 0 ? NULL : fdopen(fd, "w");
	if (f == NULL || fprintf(f, "%s\n", rest + strspn(rest, " \t")) < 0 || fclose(f) != 0 || rename(fresh, var) != 0 ||
	    getcwd(dir, sizeof dir) == NULL)
		fail("file %s: %s", var, strerror(errno));
	snprintf(path, sizeof path, "%s/%s", dir, var);
	set(var, path);
}

static void
do_disk(char *rest)
{
	struct member *m = stage_find(need(&rest, "a name"));
	const char *order = need(&rest, "an order");
	uint64_t mib = 0;
	bool real = false;

	if (strcmp(order, "small") == 0) {
		mib = need_number(&rest, "MiB");
		real = text_word(&rest) != NULL;
	} else if (strcmp(order, "hold") != 0 && strcmp(order, "full") != 0 && strcmp(order, "ok") != 0) {
		fail("no such order for a disk: %s", order);
	}
	stage_disk(m, order, mib, real);
}

static void
do_fault(char *rest)
{
	struct member *m = stage_find(need(&rest, "a name"));
	struct fault_count before = stage_fault(m, rest);

	set_number("calls", before.calls);
	set_number("failed", before.failed);
	set_number("deaths", m->deaths);
}

static void
do_mortal(char *rest)
{
	stage_find(need(&rest, "a name"))->mortal = true;
}

static void
do_tolerate(char *rest)
{
	stage_find(need(&rest, "a name"))->may_violate = true;
}

/* ---- asking ---- */

static void
say(struct member *m, char *command)
{
	const char *conds = split_conds(command);
	bool want_ok = true;
	char answer[TEXT_MAX], why[TEXT_MAX];

	if (command[0] == '!') {
		want_ok = false;
		command += 1 + strspn(command + 1, " \t");
	}
	if (stage_ask(m, command, answer) != want_ok)
		fail("want %s, got: %s", want_ok ? "ok" : "fail", answer);
	if (want_ok && m->kind == CLIENT)
		ledger_note(m, command);
	if (!text_holds(answer, conds, why))
		fail("%s: %s", why, answer);
}

static void
do_until(char *rest)
{
	uint64_t end = proc_now_ms() + stage_ms(need_number(&rest, "milliseconds"));
	struct member *m = stage_find(need(&rest, "a name"));
	const char *conds = split_conds(rest);
	char answer[TEXT_MAX], why[TEXT_MAX];

	if (*conds == '\0')
		fail("want -> and a condition");
	while (!stage_ask(m, rest, answer) || !text_holds(answer, conds, why)) {
		if (strncmp(answer, "fail", 4) == 0)
			snprintf(why, sizeof why, "want ok");
		if (proc_now_ms() >= end)
			fail("time is up; %s: %s", why, answer);
		proc_breathe();
	}
}

static void
do_let(char *rest)
{
	const char *name = need(&rest, "a name"), *value = need(&rest, "a value"), *of = text_word(&rest);
	char answer[TEXT_MAX], field[TEXT_MAX];
	struct member *m;

	if (of == NULL) {
		set(name, value);
		return;
	}
	if (strcmp(of, "of") != 0)
		fail("want: let VAR VALUE, or let VAR FIELD of NAME COMMAND");
	m = stage_find(need(&rest, "a program"));
	if (!stage_ask(m, rest, answer) || !text_field(answer, value, field))
		fail("no field %s: %s", value, answer);
	set(name, field);
}

/* xorshift: the same numbers for the same seed on every machine. */
static void
do_rand(char *rest)
{
	const char *name = need(&rest, "a name");
	uint64_t low = need_number(&rest, "low"), high = need_number(&rest, "high");

	if (high < low)
		fail("low > high");
	pl.rng ^= pl.rng << 13;
	pl.rng ^= pl.rng >> 7;
	pl.rng ^= pl.rng << 17;
	set_number(name, low + pl.rng % (high - low + 1));
}

static void
do_calc(char *rest)
{
	const char *name = need(&rest, "a name");
	uint64_t a = need_number(&rest, "A"), b, result = 0;
	const char *op = need(&rest, "an operator");

	b = need_number(&rest, "B");
	switch (*op) {
	case '+': result = a + b; break;
	case '-': result = a < b ? 0 : a - b; break;
	case '*': result = a * b; break;
	case '/': result = b == 0 ? 0 : a / b; break;
	default: fail("want + - * or /");
	}
	set_number(name, result);
}

/* ---- logs and files ---- */

static void
do_expect(char *rest)
{
	struct member *m = stage_find(need(&rest, "a name"));
	char text[256], line[TEXT_MAX];
	regex_t re;
	uint64_t ms;

	need_regex(&rest, &re, text);
	ms = need_number(&rest, "milliseconds");
	if (!proc_expect(&m->proc, &re, stage_ms(ms), line))
		fail("time is up; %s logged nothing new like /%s/", m->proc.name, text);
	regfree(&re);
}

static void
do_fresh(char *rest)
{
	proc_skip_log(&stage_find(need(&rest, "a name"))->proc);
}

static void
do_logged(char *rest)
{
	struct member *m = stage_find(need(&rest, "a name"));
	char text[256], answer[64], cond[TEXT_MAX], why[TEXT_MAX];
	const char *op;
	regex_t re;

	need_regex(&rest, &re, text);
	op = need(&rest, "an operator");
	snprintf(cond, sizeof cond, "lines%s%s", op, need(&rest, "a number"));
	snprintf(answer, sizeof answer, "ok lines=%llu", (unsigned long long)proc_logged(&m->proc, &re, NULL));
	regfree(&re);
	if (!text_holds(answer, cond, why))
		fail("/%s/: %s", text, why);
}

static void
do_never(char *rest)
{
	unsigned n = pl.nnever;

	if (n == NEVER_MAX)
		fail("more than %d lines of never", NEVER_MAX);
	pl.never[n].m = stage_find(need(&rest, "a name"));
	need_regex(&rest, &pl.never[n].re, pl.never[n].text);
	pl.nnever++;
}

static void
check_never(void)
{
	char first[TEXT_MAX];

	for (unsigned i = 0; i < pl.nnever; i++) {
		if (proc_logged(&pl.never[i].m->proc, &pl.never[i].re, first) != 0)
			fail("never %s /%s/: %s", pl.never[i].m->proc.name, pl.never[i].text, first);
		regfree(&pl.never[i].re);
	}
}

static void
do_same(char *rest)
{
	const char *a = need(&rest, "two files"), *b = need(&rest, "two files");

	compare_files(a, b);
}

static void
do_check(char *rest)
{
	static const char *const claims[] = { [LEDGER_ACKED] = "acked", [LEDGER_DELIVERED] = "delivered", [LEDGER_MERGED] = "merged" };
	const char *what = need(&rest, "delivered, acked or merged"), *name = text_word(&rest), *device = text_word(&rest);
	size_t claim = 0;

	while (claim < sizeof claims / sizeof claims[0] && strcmp(what, claims[claim]) != 0)
		claim++;
	if (claim == sizeof claims / sizeof claims[0])
		fail("check delivered, acked or merged");
	ledger_check(name == NULL ? NULL : stage_find(name), device, (enum ledger_claim)claim);
}

static void
set_from_proc(const char *var, const char *name, const char *file, const char *label)
{
	struct member *m = stage_find(name);
	char path[64], line[256], value[32] = "";
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/%s", (int)m->proc.pid, file);
	f = fopen(path, "re");
	if (f == NULL)
		fail("%s: %s", path, strerror(errno));
	while (fgets(line, sizeof line, f) != NULL)
		if (strncmp(line, label, strlen(label)) == 0)
			(void)sscanf(line + strlen(label), "%31s", value);
	fclose(f);
	set(var, value);
}

static void
do_rss(char *rest)
{
	set_from_proc("rss", need(&rest, "a name"), "status", "VmRSS:");
}

static void
do_written(char *rest)
{
	set_from_proc("written", need(&rest, "a name"), "io", "wchar:");
}

static void
do_want(char *rest)
{
	char answer[TEXT_MAX], cond[TEXT_MAX], why[TEXT_MAX];
	const char *op;

	snprintf(answer, sizeof answer, "ok value=%.1000s", need(&rest, "A"));
	op = need(&rest, "an operator");
	snprintf(cond, sizeof cond, "value%.10s%.1000s", op, need(&rest, "B"));
	if (!text_holds(answer, cond, why))
		fail("%s", why);
}

static void
do_print(char *rest)
{
	printf("  %s\n", rest);
}

/* ---- lines ---- */

static const struct step {
	const char *name;
	void (*run)(char *rest);
} steps[] = {
	{ "topology", do_topology }, { "program", do_program }, { "upstream", do_upstream }, { "args", do_args }, { "tls", do_tls },
	{ "config", do_config }, { "start", do_start }, { "stop", do_stop }, { "ended", do_ended }, { "kill", do_kill }, { "lose", do_lose }, { "damage", do_damage },
	{ "spoil", do_spoil },
	{ "restart", do_restart }, { "reload", do_reload }, { "refused", do_refused }, { "target", do_target }, { "tolerate", do_tolerate }, { "until", do_until }, { "let", do_let },
	{ "rand", do_rand }, { "calc", do_calc }, { "expect", do_expect }, { "fresh", do_fresh },
	{ "logged", do_logged }, { "never", do_never }, { "same", do_same }, { "check", do_check },
	{ "disk", do_disk }, { "fault", do_fault }, { "mortal", do_mortal }, { "file", do_file }, { "rss", do_rss }, { "written", do_written },
	{ "print", do_print }, { "want", do_want },
};

static void play_block(const struct script *s, const char *file, unsigned from, unsigned to);

/* The line with the values of its variables. */
static char *
expand(const char *text, char line[TEXT_MAX])
{
	const char *unknown = script_expand(text, line);

	if (unknown != NULL)
		fail("no variable %s, or the line becomes too long", unknown);
	return line;
}

static void
play_line(const char *text)
{
	char line[TEXT_MAX], *rest = expand(text, line), *first;

	first = need(&rest, "a word");
	for (unsigned i = 0; i < sizeof steps / sizeof *steps; i++) {
		if (strcmp(steps[i].name, first) == 0) {
			steps[i].run(rest);
			return;
		}
	}
	say(stage_find(first), rest);
}

/* The lines of another file of the same folder. */
static void
play_include(const char *file, const char *name)
{
	const char *slash = strrchr(file, '/');
	char path[TEXT_MAX];
	struct script s;
	int len = snprintf(path, sizeof path, "%.*s%s", slash == NULL ? 0 : (int)(slash - file) + 1, file, name);

	if (len < 0 || len >= (int)sizeof path)
		fail("%s: the name is too long", name);
	if (!stage_read(&s, path))
		fail("%s: %s", path, strerror(errno));
	play_block(&s, path, 0, s.n);
	script_free(&s);
}

static void
play_repeat(const struct script *s, const char *file, unsigned from, unsigned to, const char *count)
{
	uint64_t n;

	if (to == s->n || !text_number(count, &n))
		fail("want repeat N ... end");
	for (uint64_t i = 1; i <= n; i++) {
		set_number("i", i);
		play_block(s, file, from, to);
	}
}

static void
play_block(const struct script *s, const char *file, unsigned from, unsigned to)
{
	for (unsigned at = from; at < to; at++) {
		const char *text = s->line[at].text;
		char line[TEXT_MAX];

		fail_at(file, s->line[at].number, text);
		if (strncmp(text, "repeat ", 7) == 0) {
			unsigned end = script_end(s, at);

			play_repeat(s, file, at + 1, end, expand(text + 7, line));
			at = end;
		} else if (strncmp(text, "include ", 8) == 0) {
			play_include(file, expand(text + 8, line));
		} else {
			play_line(text);
		}
	}
}

static void
set_here(const char *file)
{
	char *path = stage_full_path(file), *slash = path != NULL ? strrchr(path, '/') : NULL;

	if (slash != NULL)
		*slash = '\0';
	set("here", path != NULL ? path : ".");
	free(path);
}

void
play(const struct script *s, const char *file, uint64_t seed)
{
	pl.rng = seed * 2 + 1;
	set_here(file);
	play_block(s, file, 0, s->n);
	fail_at(file, 0, "(what must hold at the end)");
	stage_finish();
	check_never();
	ledger_free();
}
