/* The programs of a scenario; see stage.h. Knows how each kind is started, asked and ended, and nothing of what is tested.
 *
 * The one idea: links make restarts possible. A program that is started again has another port; the runner tells the linkproxies
 * in front of it, and those that connect keep the address they know. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/peer/cert.h"

#include "tests/scenario/config.h"
#include "tests/scenario/ctl.h"
#include "tests/scenario/fail.h"
#include "tests/scenario/spoil.h"
#include "tests/scenario/stage.h"
#include "tests/scenario/volume.h"

#define MEMBERS_MAX 16
#define START_MS 10000	/* from exec to "I listen"; recovery of a store included */
#define STOP_MS 10000	/* from SIGTERM to the end */
#define ANSWER_MS 15000 /* beyond the time that a "wait" itself names */
#define TEND_MS 20	/* between two looks at daemons that may end */
#define TAIL_LINES 40
#define REPORT_LINES 30 /* of a sanitizer */

static const char *const kinds[] = { "upstream", "linkproxy", "holdfast", "client", "listener" };

static struct {
	struct stage_options opt;
	char dir[256], home[4096];
	struct member member[MEMBERS_MAX];
	unsigned n;
	struct cert_files cert, foreign;
	bool has_cert;
} st;

uint64_t
stage_ms(uint64_t ms)
{
	return ms * st.opt.slower;
}

/* ---- the directory ---- */

static int
remove_entry(const char *path, const struct stat *sb, int flag, struct FTW *ftw)
{
	(void)sb;
	(void)flag;
	(void)ftw;
	return remove(path);
}

/* The words of a sanitizer, or of an assertion. */
static void
compile_report(regex_t *re)
{
	if (regcomp(re, "ERROR: (Address|Leak)Sanitizer|WARNING: ThreadSanitizer|runtime error:|Assertion .* failed", REG_EXTENDED | REG_NOSUB) != 0)
		abort();
}

/* After a failure: what the programs said last, and what a sanitizer said first. */
static void
show_and_close(void)
{
	char state[64];
	regex_t re;

	compile_report(&re);

	for (unsigned i = 0; i < st.n; i++) {
		struct member *m = &st.member[i];

		proc_alive(&m->proc);
		if (m->proc.log == NULL || access(m->proc.log, F_OK) != 0)
			continue;
		printf("  | %s: %s\n", m->proc.name, proc_state(&m->proc, state));
		if (proc_show(&m->proc, &re, REPORT_LINES))
			printf("  | ...\n");
		proc_tail(&m->proc, TAIL_LINES, "event=status ");
	}
	regfree(&re);
	stage_close();
}

void
stage_open(const struct stage_options *o)
{
	const char *tmp = getenv("TMPDIR");

	st.opt = *o;
	if (getcwd(st.home, sizeof st.home) == NULL)
		fail("getcwd: %s", strerror(errno));
	snprintf(st.dir, sizeof st.dir, "%s/scenario.XXXXXX", tmp != NULL && strlen(tmp) < 200 ? tmp : "/tmp");
	if (mkdtemp(st.dir) == NULL || chdir(st.dir) != 0)
		fail("%s: %s", st.dir, strerror(errno));
	fail_set_cleanup(show_and_close);
}

void
stage_close(void)
{
	for (unsigned i = 0; i < st.n; i++) {
		proc_kill(&st.member[i].proc);
		free(st.member[i].proc.log);
	}
	st.n = 0;
	if (chdir(st.home) != 0)
		return;
	if (st.opt.keep)
		printf("  kept: %s\n", st.dir);
	else
		nftw(st.dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* Goes back to where the runner was started, or to the scenario's directory. */
static void
go(const char *dir)
{
	if (chdir(dir) != 0)
		fail("%s: %s", dir, strerror(errno));
}

bool
stage_read(struct script *s, const char *path)
{
	bool ok;
	int err;

	go(st.home);
	ok = script_read(s, path);
	err = errno;
	go(st.dir);
	errno = err;
	return ok;
}

char *
stage_full_path(const char *path)
{
	char *full;

	go(st.home);
	full = realpath(path, NULL);
	go(st.dir);
	return full;
}

/* ---- who is there ---- */

struct member *
stage_member(unsigned n)
{
	return n < st.n ? &st.member[n] : NULL;
}

static struct member *
find(const char *name)
{
	for (unsigned i = 0; i < st.n; i++) {
		if (strcmp(st.member[i].proc.name, name) == 0)
			return &st.member[i];
	}
	return NULL;
}

struct member *
stage_find(const char *name)
{
	struct member *m = find(name);

	if (m == NULL)
		fail("no program is called %s", name);
	return m;
}

struct member *
stage_add(const char *name, const char *kind, const char *target, const char *second)
{
	struct member *m = &st.member[st.n];
	unsigned k = 0;

	while (k < sizeof kinds / sizeof *kinds && strcmp(kinds[k], kind) != 0)
		k++;
	if (k == sizeof kinds / sizeof *kinds)
		fail("no such kind of program: %s", kind);
	if (st.n == MEMBERS_MAX || find(name) != NULL || strlen(name) >= sizeof m->proc.name)
		fail("cannot add %s: name is taken or too long, or there are %d already", name, MEMBERS_MAX);
	if ((target == NULL) != (k == UPSTREAM))
		fail("%s: every program but an upstream names the one it connects to", name);
	if (second != NULL && k != HOLDFAST)
		fail("%s: only a daemon has more than one target", name);
	memset(m, 0, sizeof *m);
	proc_init(&m->proc, name, st.dir);
	m->kind = (enum member_kind)k;
	m->target = target == NULL ? NULL : stage_find(target);
	m->second = second == NULL ? NULL : stage_find(second);
	if (m->kind == LISTENER && (m->target->kind != HOLDFAST || !config_inherit("listener", name)))
		fail("%s: only a daemon has listeners", name);
	st.n++;
	return m;
}

/* Who answers in the end: t, or whoever is behind all links. */
static const struct member *
server_behind(const struct member *t)
{
	while (t->kind == LINKPROXY)
		t = t->target;
	return t;
}

static const struct member *
server_of(const struct member *m)
{
	return server_behind(m->target);
}

void
stage_way(struct member *m, const char *name, struct member *target)
{
	unsigned i = 0;

	while (i < WAYS_MAX && m->way[i].target != NULL)
		i++;
	if (m->kind != HOLDFAST || i == WAYS_MAX || strlen(name) >= sizeof m->way[i].name || !config_inherit("upstream", name))
		fail("%s: no further upstream can be had", m->proc.name);
	snprintf(m->way[i].name, sizeof m->way[i].name, "%s", name);
	m->way[i].target = target;
}

struct member *
stage_behind(const struct member *m)
{
	char key[128];
	const char *name;

	if (m->kind != LISTENER)
		return m->target;
	snprintf(key, sizeof key, "listener.%s.upstream", m->proc.name);
	name = config_get(key);
	for (unsigned i = 0; i < WAYS_MAX && m->target->way[i].target != NULL; i++)
		if (strcmp(m->target->way[i].name, name) == 0)
			return m->target->way[i].target;
	return m->target->target;
}

void
stage_config(const char *key, const char *value)
{
	if (!config_set(key, value))
		fail("want section.name, got %s", key);
}

/* ---- asking ---- */

/* A command that waits says how long in its last word. */
static uint64_t
answer_ms(const char *command)
{
	const char *last = strrchr(command, ' ');
	uint64_t ms;

	if (strncmp(command, "wait ", 5) == 0 && last != NULL && text_number(last + 1, &ms))
		return ANSWER_MS + ms;
	return ANSWER_MS;
}

static bool ask_daemon(const struct member *m, const char *command, char answer[TEXT_MAX]);

/* Daemons that ended for want of memory, which is how they are made (relay/relay.h), are started again, as systemd would. */
static void
tend(void)
{
	char last[TEXT_MAX], state[64];

	for (unsigned i = 0; i < st.n; i++) {
		struct member *m = &st.member[i];

		if (!m->mortal || !m->wanted || proc_alive(&m->proc))
			continue;
		if (!WIFEXITED(m->proc.status) || WEXITSTATUS(m->proc.status) != 1 || !proc_last(&m->proc, last) ||
		    (strstr(last, "out_of_memory") == NULL && strstr(last, "crypto_failed") == NULL)) /* the latter: OpenSSL had none */
			fail("%s ended (%s), and said last: %s", m->proc.name, proc_state(&m->proc, state), last);
		m->deaths++;
		stage_start(m);
	}
}

/* As proc_line; who waits for a client looks after the daemons. */
static int
await_answer(struct member *m, char answer[TEXT_MAX], uint64_t ms)
{
	uint64_t end = proc_now_ms() + ms, now;
	int got;

	if (m->kind != CLIENT)
		return proc_line(&m->proc, answer, ms);
	do {
		tend();
		got = proc_line(&m->proc, answer, TEND_MS);
		now = proc_now_ms();
	} while (got == PROC_TIMEOUT && now < end);
	return got;
}

bool
stage_ask(struct member *m, const char *command, char answer[TEXT_MAX])
{
	char state[64];
	int got;

	if (m->kind == HOLDFAST) {
		tend();
		return ask_daemon(m, command, answer);
	}
	if (!proc_alive(&m->proc))
		fail("%s is not running: %s", m->proc.name, proc_state(&m->proc, state));
	if (!proc_say(&m->proc, command))
		fail("%s does not read: %s", m->proc.name, command);
	while ((got = await_answer(m, answer, stage_ms(answer_ms(command)))) > 0 && *answer == '*') {
		if (st.opt.verbose) /* an event, which nobody waits for here */
			printf("  %s: %s\n", m->proc.name, answer);
	}
	switch (got) {
	case PROC_GONE:
		(void)proc_wait(&m->proc, stage_ms(1000));
		fail("%s ended (%s) instead of answering: %s", m->proc.name, proc_state(&m->proc, state), command);
	case PROC_TIMEOUT:
		fail("%s gave no answer in time: %s", m->proc.name, command);
	default:
		break;
	}
	if (st.opt.verbose)
		printf("  %s: %s => %s\n", m->proc.name, command, answer);
	if (strncmp(answer, "ok", 2) == 0 && (answer[2] == '\0' || answer[2] == ' '))
		return true;
	if (strncmp(answer, "fail", 4) != 0)
		fail("%s answered neither ok nor fail: %s", m->proc.name, answer);
	return false;
}

static void
must(struct member *m, const char *command)
{
	char answer[TEXT_MAX];

	if (!stage_ask(m, command, answer))
		fail("%s: %s: %s", m->proc.name, command, answer);
}

/* ---- starting ---- */

/* Is there a program at this path, seen from where the runner was started? path: absolute then. */
static bool __attribute__((format(printf, 2, 3)))
program_at(char path[PATH_MAX], const char *fmt, ...)
{
	char candidate[2 * TEXT_MAX];
	struct stat sb;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(candidate, sizeof candidate, fmt, ap);
	va_end(ap);
	return stat(candidate, &sb) == 0 && S_ISREG(sb.st_mode) && access(candidate, X_OK) == 0 &&
	       realpath(candidate, path) != NULL;
}

/* Where a program is: as installed or built (--bin), else beside the runner in the build folder. */
static void
find_program(const char *name, char path[PATH_MAX])
{
	const char *slash = strrchr(st.opt.self, '/');
	int self_len = slash == NULL ? 0 : (int)(slash - st.opt.self);
	bool found;

	go(st.home);
	if (st.opt.bin != NULL)
		found = program_at(path, "%s/%s", st.opt.bin, name) ||
			program_at(path, "%s/obj/tests/%s/%s", st.opt.bin, name, name);
	else
		found = program_at(path, "%.*s/../%s/%s", self_len, st.opt.self, name, name) ||
			program_at(path, "%.*s/../../../%s", self_len, st.opt.self, name);
	go(st.dir);
	if (!found)
		fail("no program %s: give --bin, or build it", name);
}

static const struct cert_files *
certificates(void)
{
	if (!st.has_cert && (!cert_make(st.dir, "test", &st.cert) || !cert_make(st.dir, "foreign", &st.foreign)))
		fail("cannot make certificates");
	st.has_cert = true;
	return &st.cert;
}

struct argument_list {
	char *v[PROC_ARGS_MAX + 1];
	unsigned n;
	char text[2 * TEXT_MAX]; /* what v points to */
	size_t used;
};

static void __attribute__((format(printf, 2, 3)))
add_arg(struct argument_list *a, const char *fmt, ...)
{
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = vsnprintf(a->text + a->used, sizeof a->text - a->used, fmt, ap);
	va_end(ap);
	if (a->n == PROC_ARGS_MAX || len < 0 || a->used + (size_t)len >= sizeof a->text)
		fail("too many arguments");
	a->v[a->n++] = a->text + a->used;
	a->used += (size_t)len + 1;
}

static void
client_args(struct argument_list *a, const struct member *m)
{
	static const char *const quick[] = { "--backoff-ms", "20-200", "--resume-ms", "100",
					     "--ping-ms",    "500",    "--pong-ms",   "10000" };

	add_arg(a, "--url");
	add_arg(a, "%s://127.0.0.1:%u", server_of(m)->tls ? "wss" : "ws", m->target->port);
	for (unsigned i = 0; i < sizeof quick / sizeof *quick; i++)
		add_arg(a, "%s", quick[i]);
	if (server_of(m)->tls) {
		add_arg(a, "--tls-ca");
		add_arg(a, "%s", certificates()->ca);
	}
}

static void
state_folder(const struct member *m, char path[TEXT_MAX])
{
	snprintf(path, TEXT_MAX, "%.300s/%s.%s", st.dir, m->proc.name, m->has_volume ? "volume/state" : "state");
}

/* A daemon is asked through holdfastctl, which lies beside it. */
static bool
ask_daemon(const struct member *m, const char *command, char answer[TEXT_MAX])
{
	char path[PATH_MAX], state[TEXT_MAX];
	bool ok;

	find_program("holdfastctl", path);
	state_folder(m, state);
	ok = ctl_ask(path, state, command, answer);
	if (st.opt.verbose)
		printf("  %s: %s\n  %s\n", m->proc.name, command, answer);
	return ok;
}

/* "url" and "ca_file" of [upstream name], or of the unnamed one. */
static void
config_way(const char *name, const struct member *target, const struct member *second)
{
	const char *scheme = server_behind(target)->tls ? "wss" : "ws", *dot = name[0] != '\0' ? "." : "";
	char key[160], url[128];
	int n = snprintf(url, sizeof url, "%s://127.0.0.1:%u", scheme, target->port);

	if (second != NULL)
		snprintf(url + n, sizeof url - (size_t)n, " %s://127.0.0.1:%u", scheme, second->port);
	snprintf(key, sizeof key, "upstream%s%s.url", dot, name);
	stage_config(key, url);
	snprintf(key, sizeof key, "upstream%s%s.ca_file", dot, name);
	stage_config(key, server_behind(target)->tls ? certificates()->ca : "");
}

/* The keys of [listener name], or of the unnamed one. */
static void
config_listener(const char *name, const struct member *m)
{
	const char *dot = name[0] != '\0' ? "." : "";
	char key[160];

	snprintf(key, sizeof key, "listener%s%s.tls_certificate", dot, name);
	stage_config(key, m->tls ? certificates()->cert : "");
	snprintf(key, sizeof key, "listener%s%s.tls_key", dot, name);
	stage_config(key, m->tls ? certificates()->key : "");
}

/* Writes what the script has configured so far. */
static void
write_config(const struct member *m, char path[TEXT_MAX])
{
	char state[TEXT_MAX];

	snprintf(path, TEXT_MAX, "%.300s/%s.ini", st.dir, m->proc.name);
	state_folder(m, state);
	stage_config("holdfast.state_dir", state);
	config_way("", m->target, m->second);
	config_listener("", m);
	for (unsigned i = 0; i < WAYS_MAX && m->way[i].target != NULL; i++)
		config_way(m->way[i].name, m->way[i].target, NULL);
	for (unsigned i = 0; i < st.n; i++)
		if (st.member[i].kind == LISTENER && st.member[i].target == m)
			config_listener(st.member[i].proc.name, &st.member[i]);
	if (!config_write(path))
		fail("%s: %s", path, strerror(errno));
}

static void
daemon_args(struct argument_list *a, const struct member *m)
{
	char path[TEXT_MAX];

	write_config(m, path);
	add_arg(a, "-c");
	add_arg(a, "%s", path);
}

static void
program_args(struct argument_list *a, const struct member *m)
{
	char path[PATH_MAX], more[TEXT_MAX], *rest = more, *word;

	find_program(m->bad_disk ? "baddisk" : m->faults != NULL ? "badhost" : kinds[m->kind], path);
	add_arg(a, "%s", path);
	switch (m->kind) {
	case UPSTREAM:
		if (m->tls) {
			add_arg(a, "--tls");
			const struct cert_files *all = certificates(), *own = m->foreign ? &st.foreign : all;

			add_arg(a, "%s", own->cert);
			add_arg(a, "%s", own->key);
		}
		break;
	case LINKPROXY:
		break; /* told below: its target may start later */
	case HOLDFAST:
		daemon_args(a, m);
		break;
	case CLIENT:
		client_args(a, m);
		break;
	case LISTENER:
		break; /* no program */
	}
	snprintf(more, sizeof more, "%s", m->args);
	while ((word = text_word(&rest)) != NULL)
		add_arg(a, "%s", word);
	a->v[a->n] = NULL;
}

/* The port at the end of a line like regex, in the log of daemon d behind before. */
static unsigned
logged_port(struct member *d, const char *regex, off_t before)
{
	char line[TEXT_MAX], state[64];
	off_t seen = d->proc.seen;
	unsigned port = 0;
	regex_t re;
	bool found;

	if (regcomp(&re, regex, REG_EXTENDED | REG_NOSUB) != 0)
		abort();
	d->proc.seen = before;
	found = proc_expect(&d->proc, &re, stage_ms(START_MS), line);
	regfree(&re);
	d->proc.seen = seen;
	if (!found || strstr(line, "address=") == NULL || sscanf(strrchr(line, ':'), ":%u", &port) != 1) {
		proc_alive(&d->proc);
		fail("%s does not listen (%s)", d->proc.name, proc_state(&d->proc, state));
	}
	return port;
}

/* The port that a program says it listens on: "port N" first on its standard output; a daemon logs it, behind before. */
static void
learn_port(struct member *m, off_t before)
{
	char line[TEXT_MAX], regex[80];

	switch (m->kind) {
	case HOLDFAST:
		m->port = logged_port(m, "event=listening ", before);
		break;
	case LISTENER:
		snprintf(regex, sizeof regex, "event=listener name=%s ", m->proc.name);
		m->port = logged_port(m->target, regex, before);
		break;
	default:
		if (proc_line(&m->proc, line, stage_ms(START_MS)) < 0 || sscanf(line, "port %u", &m->port) != 1)
			fail("%s did not say its port", m->proc.name);
	}
}

static void
tell_target(struct member *l)
{
	char command[64];

	if (l->kind != LINKPROXY || !l->wanted || l->target->port == 0)
		return;
	snprintf(command, sizeof command, "target 127.0.0.1:%u", l->target->port);
	must(l, command);
}

/* The file that baddisk reads. */
static void
disk_orders(const struct member *m, char path[TEXT_MAX])
{
	snprintf(path, TEXT_MAX, "%.300s/%s.disk", st.dir, m->proc.name);
}

static void
order_bad_disk(struct member *m, const char *order)
{
	char path[TEXT_MAX], new[TEXT_MAX + 8];
	FILE *f;

	if (!m->bad_disk && proc_alive(&m->proc))
		fail("%s runs already, and has a disk that takes no orders", m->proc.name);
	m->bad_disk = true;
	disk_orders(m, path);
	snprintf(new, sizeof new, "%s.new", path);
	f = fopen(new, "we");
	if (f == NULL || fputs(order, f) < 0 || fclose(f) != 0 || rename(new, path) != 0)
		fail("%s: %s", path, strerror(errno));
}

void
stage_disk(struct member *m, const char *order, uint64_t mib, bool real)
{
	char dir[TEXT_MAX];

	if (m->kind != HOLDFAST)
		fail("%s is no daemon", m->proc.name);
	snprintf(dir, sizeof dir, "%.300s/%s.volume", st.dir, m->proc.name);
	if (strcmp(order, "small") == 0) {
		if (proc_alive(&m->proc))
			fail("%s runs already", m->proc.name);
		m->has_volume = volume_mount(dir, mib);
		if (m->has_volume)
			return;
		printf("  no tmpfs for %s (%s)%s\n", m->proc.name, strerror(errno), real ? "" : ": baddisk stands in");
		if (real) {
			stage_close();
			exit(STAGE_SKIPPED);
		}
		order = "ok";
	}
	if (m->has_volume && (strcmp(order, "full") == 0 || strcmp(order, "ok") == 0))
		volume_fill(dir, order[0] == 'f');
	else
		order_bad_disk(m, order);
}

/* The file that badhost has mapped. */
static void
fault_orders(const struct member *m, char path[TEXT_MAX])
{
	snprintf(path, TEXT_MAX, "%.300s/%s.faults", st.dir, m->proc.name);
}

struct fault_count
stage_fault(struct member *m, char *order)
{
	char path[TEXT_MAX];

	if (m->kind != HOLDFAST || (m->faults == NULL && proc_alive(&m->proc)))
		fail("%s is no daemon, or runs already and takes no orders", m->proc.name);
	fault_orders(m, path);
	if (m->faults == NULL)
		m->faults = fault_open(path);
	tend();
	return fault_give(m->faults, order);
}

/* Starts its program; returns the end of its log before. */
static off_t
launch(struct member *m)
{
	off_t seen = m->proc.seen, before;
	struct argument_list *a;
	char orders[TEXT_MAX];

	if (proc_alive(&m->proc))
		fail("%s is running already", m->proc.name);
	if (m->target != NULL && m->target->port == 0)
		fail("%s: start %s first", m->proc.name, m->target->proc.name);
	a = calloc(1, sizeof *a);
	if (a == NULL)
		abort();
	program_args(a, m);
	proc_skip_log(&m->proc);
	before = m->proc.seen;
	m->proc.seen = seen;
	disk_orders(m, orders);
	setenv("BADDISK", orders, 1);
	fault_orders(m, orders);
	setenv("BADHOST", orders, 1);
	if (!proc_start(&m->proc, a->v))
		fail("%s: %s", a->v[0], strerror(errno));
	free(a);
	return before;
}

void
stage_start(struct member *m)
{
	off_t before;

	if (m->kind == LISTENER) { /* a reload has opened it */
		learn_port(m, 0);
		return;
	}
	before = launch(m);
	m->wanted = true;
	if (m->kind != CLIENT)
		learn_port(m, before);
	tell_target(m);
	for (unsigned i = 0; i < st.n; i++) {
		if (st.member[i].target == m && st.member[i].kind == LISTENER)
			learn_port(&st.member[i], before);
		else if (st.member[i].target == m || (st.member[i].target != NULL && st.member[i].target->target == m))
			tell_target(&st.member[i]); /* also the links to its listeners, which it has learnt by now */
	}
}

void
stage_refused(struct member *m)
{
	char state[64];

	if (m->kind != HOLDFAST)
		fail("%s is no daemon", m->proc.name);
	(void)launch(m);
	if (proc_wait(&m->proc, stage_ms(START_MS)) != 0)
		fail("%s did not refuse to start", m->proc.name);
	if (!WIFEXITED(m->proc.status) || WEXITSTATUS(m->proc.status) != 1)
		fail("%s ended otherwise than with exit 1: %s", m->proc.name, proc_state(&m->proc, state));
}

void
stage_start_all(void)
{
	for (unsigned i = 0; i < st.n; i++) {
		if (st.member[i].kind != LISTENER && !proc_alive(&st.member[i].proc))
			stage_start(&st.member[i]);
	}
}

/* ---- ending ---- */

void
stage_ended(struct member *m)
{
	char state[64];

	if (proc_wait(&m->proc, stage_ms(STOP_MS)) != 0)
		fail("%s did not end in %d ms", m->proc.name, STOP_MS);
	if (m->proc.status != 0)
		fail("%s ended badly: %s", m->proc.name, proc_state(&m->proc, state));
	m->wanted = false;
}

void
stage_stop(struct member *m)
{
	char state[64];

	tend();
	if (!proc_alive(&m->proc))
		fail("%s is not running: %s", m->proc.name, proc_state(&m->proc, state));
	if (m->kind == HOLDFAST)
		kill(m->proc.pid, SIGTERM);
	else
		must(m, "quit");
	stage_ended(m);
}

void
stage_reload(struct member *m)
{
	char path[TEXT_MAX];

	if (m->kind != HOLDFAST || !proc_alive(&m->proc))
		fail("%s is no daemon that runs", m->proc.name);
	write_config(m, path);
	kill(m->proc.pid, SIGHUP);
}

void
stage_damage(struct member *m, const char *file)
{
	char folder[TEXT_MAX], path[TEXT_MAX + 300], junk[4096];
	struct stat info;
	int fd;

	state_folder(m, folder);
	snprintf(path, sizeof path, "%s/%.255s", folder, file);
	memset(junk, 0x5a, sizeof junk);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &info) != 0)
		fail("%s: %s", path, strerror(errno));
	for (off_t at = 64; at < info.st_size; at += (off_t)sizeof junk) {
		size_t n = info.st_size - at < (off_t)sizeof junk ? (size_t)(info.st_size - at) : sizeof junk;

		if (pwrite(fd, junk, n, at) != (ssize_t)n)
			fail("%s: %s", path, strerror(errno));
	}
	close(fd);
}

void
stage_spoil(struct member *m, uint64_t file_id, const char *table)
{
	char folder[TEXT_MAX];

	state_folder(m, folder);
	spoil_record(folder, file_id, table);
}

void
stage_lose(struct member *m)
{
	char folder[TEXT_MAX];
	struct dirent *e;
	DIR *d;

	state_folder(m, folder);
	d = opendir(folder);
	if (d == NULL)
		fail("%s: %s", folder, strerror(errno));
	while ((e = readdir(d)) != NULL)
		if (e->d_name[0] != '.' && strcmp(e->d_name, "acknowledged") != 0)
			(void)unlinkat(dirfd(d), e->d_name, 0); /* folders stay: not the environment's */
	closedir(d);
}

void
stage_kill(struct member *m)
{
	char state[64];

	if (!proc_alive(&m->proc))
		fail("%s is not running: %s", m->proc.name, proc_state(&m->proc, state));
	proc_kill(&m->proc);
	m->wanted = false;
}

static void
finish_kind(enum member_kind kind)
{
	for (unsigned i = 0; i < st.n; i++) {
		if (st.member[i].kind == kind && st.member[i].wanted)
			stage_stop(&st.member[i]);
	}
}

void
stage_finish(void)
{
	char first[TEXT_MAX];
	regex_t re;

	finish_kind(HOLDFAST);
	for (unsigned i = 0; i < st.n; i++) {
		struct member *m = &st.member[i];

		if ((m->kind == CLIENT || m->kind == UPSTREAM) && m->wanted && !m->may_violate &&
		    (!stage_ask(m, "violations", first) || (strcmp(first, "ok 0") != 0 && strncmp(first, "ok 0 ", 5) != 0)))
			fail("%s saw its peer break the protocol: %s", m->proc.name, first);
	}
	finish_kind(CLIENT);
	finish_kind(LINKPROXY);
	finish_kind(UPSTREAM);
	compile_report(&re);
	for (unsigned i = 0; i < st.n; i++) {
		if (proc_logged(&st.member[i].proc, &re, first) != 0)
			fail("%s: %s", st.member[i].proc.name, first);
	}
	regfree(&re);
}
