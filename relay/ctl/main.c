/* holdfastctl: looks after a holdfast, and after its buffer also when it does not run.  See holdfastctl(8).
 *
 * Here: the command line, and what all commands need.  Each command asks for small steps (source.h) and strings them together; with
 * --json every row of an answer is printed as it came, one object a line, and at the end one object with "status" and "exit". */
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "relay/conf.h"
#include "relay/ctl/ctl.h"
#include "relay/word.h"

/* For ctl_die, which knows no struct ctl. */
static bool json_output;
static struct source *open_source; /* closed before the program ends, whatever happens: it may be the store */

static void
usage(FILE *out)
{
	fputs("usage: holdfastctl [-c FILE | -d STATE_DIR] [--json] COMMAND\n"
	      "  status                      link, backlog, clients, what needs attention\n"
	      "  watch [SECONDS]             the same again and again\n"
	      "  devices                     per device file: what waits here, and whether the device may leave\n"
	      "  sessions                    who is connected\n"
	      "  files                       every client file (buffer list)\n"
	      "  link [NAME] [online|offline|auto]\n"
	      "                              shows, opens or closes the way to a server\n"
	      "  link [NAME] budget add SIZE so many bytes more in this budget_period\n"
	      "  pause, resume [NAME]        replay of backlogs stops, goes on\n"
	      "  drain                       no new clients; when all is replayed the daemon ends\n"
	      "  kill CONN                   disconnects a client, which loses nothing\n"
	      "  forget --user ID [--dry-run] [--discard]\n"
	      "                              all that is kept of a user goes, with the proof\n"
	      "  log-level [LEVEL]           shows or sets it, until the next reload\n"
	      "  reload                      reads the configuration again\n"
	      "  rotate                      opens the log file anew\n"
	      "  config                      every option, its value and where it comes from\n"
	      "  version\n"
	      "  buffer stat                 totals, and how many files need attention\n"
	      "  buffer list                 every client file\n"
	      "  buffer show [-x] FILE       one file and its records; -x: their bytes\n"
	      "  buffer verify               reads and checks everything\n"
	      "  buffer export DIR [FILE...] moves backlogs to DIR, for another gateway\n"
	      "  buffer import DIR           takes an export in\n"
	      "  buffer discard [--yes] FILE throws the records of a file away\n"
	      "  buffer retry [--force] FILE lets a file that was set aside go on\n"
	      "  buffer backup DIR           a copy of the whole buffer\n"
	      "  buffer compact              gives free space back to the file system\n"
	      "FILE is an id, or: ENDPOINT PATH IDENT\n"
	      "exit status: 0 fine, 1 degraded or something to see, 2 failing or failed, 3 not running\n",
	      out);
}

void
ctl_die(int status, const char *fmt, ...)
{
	struct json j = { 0 };
	struct source *source;
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fflush(stdout);
	fprintf(stderr, "holdfastctl: %s\n", text);
	source = open_source;
	open_source = NULL; /* what fails in closing it comes here again */
	source_close(source);
	if (json_output) {
		json_begin(&j);
		json_str(&j, "error", text);
		json_str(&j, "status", "error");
		json_u64(&j, "exit", (uint64_t)status);
		json_end(&j);
		if (!j.failed)
			fputs(j.text, stdout);
		json_free(&j);
	}
	exit(status);
}

void
ctl_raise(struct ctl *c, int status)
{
	if (status > c->status)
		c->status = status;
}

void
ctl_must(struct ctl *c, struct reply *r, const void *data, size_t len, const char *fmt, ...)
{
	char line[16384];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (!source_ask(c->src, r, data, len, "%s", line))
		ctl_die(CTL_FAILED, "%s", reply_error(r));
}

void
ctl_daemon(struct ctl *c, struct reply *r, const char *fmt, ...)
{
	char line[16384];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (!source_ask_daemon(c->src, r, line))
		ctl_die(CTL_FAILED, "%s", reply_error(r));
}

void
ctl_print_row(const struct json_object *row)
{
	struct json j = { 0 };

	json_begin(&j);
	json_copy(&j, row, NULL);
	json_end(&j);
	if (!j.failed)
		fputs(j.text, stdout);
	json_free(&j);
}

void
ctl_file(struct ctl *c, struct reply *r, struct json_object *row)
{
	char words[16384], *p = words;

	if (c->argc != 1 && c->argc != 3)
		ctl_die(CTL_FAILED, "name a file by its id, or by endpoint, path and ident");
	for (int i = 0; i < c->argc; i++) {
		if (strlen(c->argv[i]) > 2048)
			ctl_die(CTL_FAILED, "no such file");
		*p++ = ' ';
		p = word_escape(p, c->argv[i]);
	}
	ctl_must(c, r, NULL, 0, "file%s", words);
	if (!reply_row(r, row))
		ctl_die(CTL_FAILED, "no such file");
}

void
ctl_each_file(struct ctl *c, void (*each)(void *arg, const struct json_object *row), void *arg)
{
	struct reply r = { 0 };
	struct json_object row;
	uint64_t next = 0;

	do {
		ctl_must(c, &r, NULL, 0, "files %llu", (unsigned long long)next);
		next = json_get_u64(&r.end, "next");
		while (reply_row(&r, &row))
			each(arg, &row);
	} while (next != 0);
	reply_free(&r);
}

struct command {
	const char *group, *name; /* group NULL: of the daemon */
	int min, max;		  /* arguments */
	ctl_command *run;
	bool stopped; /* does without the daemon */
};

static const struct command commands[] = {
	{ NULL, "status", 0, 0, ctl_status, false },
	{ NULL, "watch", 0, 1, ctl_watch, false },
	{ NULL, "devices", 0, 0, ctl_devices, false },
	{ NULL, "sessions", 0, 0, ctl_sessions, false },
	{ NULL, "files", 0, 0, ctl_list, true },
	{ NULL, "link", 0, 4, ctl_link, false },
	{ NULL, "pause", 0, 1, ctl_pause, false },
	{ NULL, "resume", 0, 1, ctl_resume, false },
	{ NULL, "drain", 0, 0, ctl_drain, false },
	{ NULL, "kill", 1, 1, ctl_kill, false },
	{ NULL, "forget", 0, 0, ctl_forget, true },
	{ NULL, "log-level", 0, 1, ctl_log_level, false },
	{ NULL, "reload", 0, 0, ctl_reload, false },
	{ NULL, "rotate", 0, 0, ctl_rotate, false },
	{ NULL, "config", 0, 0, ctl_config, false },
	{ NULL, "version", 0, 0, ctl_version, false },
	{ "buffer", "stat", 0, 0, ctl_stat, true },
	{ "buffer", "list", 0, 0, ctl_list, true },
	{ "buffer", "show", 1, 3, ctl_show, true },
	{ "buffer", "verify", 0, 0, ctl_verify, true },
	{ "buffer", "export", 1, 1000, ctl_export, true },
	{ "buffer", "import", 1, 1, ctl_import, true },
	{ "buffer", "discard", 1, 3, ctl_discard, true },
	{ "buffer", "retry", 1, 3, ctl_retry, true },
	{ "buffer", "backup", 1, 1, ctl_backup, true },
	{ "buffer", "compact", 0, 0, ctl_compact, true },
};

/* Which command the words are; *words becomes the number of them that name it.  NULL: none. */
static const struct command *
find_command(int argc, char **argv, int *words)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		const struct command *k = &commands[i];
		int n = k->group != NULL ? 2 : 1;

		if (argc < n || (n == 2 && strcmp(k->group, argv[0]) != 0) || strcmp(k->name, argv[n - 1]) != 0)
			continue;
		*words = n;
		return argc - n >= k->min && argc - n <= k->max ? k : NULL;
	}
	return NULL;
}

/* The options of the daemon: from its file, or its defaults but for the directory. */
static void
read_options(const char *config, const char *dir, struct options *o)
{
	struct conf_errors errs;
	struct sections all;

	if (dir != NULL) {
		options_defaults(o);
		free(o->state_dir);
		o->state_dir = strdup(dir);
		o->buffer_max_bytes = o->buffer_max_file_bytes = o->buffer_min_free = o->buffer_ballast = 0; /* not known: not ours to enforce */
		if (o->state_dir == NULL)
			ctl_die(CTL_FAILED, "out of memory");
		return;
	}
	if (!conf_load(config, &all, &errs)) {
		conf_errors_print(&errs, stderr);
		conf_errors_free(&errs);
		ctl_die(CTL_FAILED, "the configuration cannot be used: %s", config);
	}
	conf_errors_free(&errs);
	*o = sections_global(&all)->opt;
	memset(&sections_global(&all)->opt, 0, sizeof(*o)); /* moved */
	sections_free(&all);
}

void
ctl_finish(struct ctl *c)
{
	json_str(&c->end, "status", "ok");
	json_u64(&c->end, "exit", (uint64_t)c->status);
	json_end(&c->end);
	if (c->json && !c->end.failed)
		fputs(c->end.text, stdout);
	json_free(&c->end);
}

static void
run(struct ctl *c, const struct command *command)
{
	char why[4400];
	int status;

	c->src = (command->stopped ? source_open : source_open_live)(c->opt, &status, why, sizeof(why));
	if (c->src == NULL)
		ctl_die(status, "%s", why);
	open_source = c->src;
	json_begin(&c->end);
	json_bool(&c->end, "live", source_is_live(c->src));
	command->run(c);
	open_source = NULL;
	source_close(c->src);
	ctl_finish(c);
}

static const struct option longs[] = {
	{ "json", 0, NULL, 'j' }, { "yes", 0, NULL, 'y' }, { "force", 0, NULL, 'f' }, { "user", 1, NULL, 'u' }, { "dry-run", 0, NULL, 'n' },
	{ "discard", 0, NULL, 'D' }, { "help", 0, NULL, 'h' }, { "version", 0, NULL, 'V' }, { NULL, 0, NULL, 0 },
};

int
main(int argc, char **argv)
{
	const char *config = HOLDFAST_CONFIG, *dir = NULL;
	struct ctl c = { 0 };
	struct options o;
	const struct command *command;
	int ch, words = 0;

	while ((ch = getopt_long(argc, argv, "c:d:xh", longs, NULL)) != -1) {
		switch (ch) {
		case 'c':
			config = optarg;
			break;
		case 'd':
			dir = optarg;
			break;
		case 'x':
			c.hex = true;
			break;
		case 'j':
			c.json = json_output = true;
			break;
		case 'y':
			c.yes = true;
			break;
		case 'f':
			c.force = true;
			break;
		case 'u':
			c.user = optarg;
			break;
		case 'n':
			c.dry = true;
			break;
		case 'D':
			c.discard = true;
			break;
		case 'h':
			usage(stdout);
			return CTL_OK;
		case 'V':
			puts("holdfastctl " HOLDFAST_VERSION);
			return CTL_OK;
		default:
			usage(stderr);
			return CTL_FAILED;
		}
	}
	command = find_command(argc - optind, argv + optind, &words);
	if (command == NULL) {
		usage(stderr);
		return CTL_FAILED;
	}
	umask(077);
	signal(SIGPIPE, SIG_IGN);
	c.argc = argc - optind - words;
	c.argv = argv + optind + words;
	read_options(config, dir, &o);
	c.opt = &o;
	run(&c, command);
	options_free(&o);
	return fflush(stdout) == 0 ? c.status : CTL_FAILED;
}
