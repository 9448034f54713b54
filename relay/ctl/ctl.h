/* What the parts of holdfastctl share: the command line, output, the commands. */
#ifndef RELAY_CTL_CTL_H
#define RELAY_CTL_CTL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/ctl/source.h"
#include "relay/json.h"

struct options;

struct ctl {
	const struct options *opt;
	struct source *src;
	int argc;    /* of the command, without its name */
	char **argv;
	bool json, yes, force, hex, dry, discard;
	const char *user; /* NULL: none was named */
	int status;  /* exit status so far */
	struct json end; /* with --json: the fields of the final object; each command adds its own */
};

#define CTL_NAMED "upstream." /* NAME.key: what the figures of a named upstream begin with, in the status */
/* The upstream whose key a field of the status is: its name, *len bytes, 0 for the unnamed one.  NULL: the field is none such. */
const char *ctl_upstream_of(const char *field, const char *key, int *len);

/* A command.  Returns; what fails ends the program (ctl_die). */
typedef void ctl_command(struct ctl *c);

ctl_command ctl_status, ctl_watch, ctl_sessions, ctl_config, ctl_version; /* daemon.c */
ctl_command ctl_link, ctl_pause, ctl_resume, ctl_kill, ctl_log_level, ctl_reload, ctl_rotate; /* order.c */
ctl_command ctl_drain;	 /* drain.c */
ctl_command ctl_devices; /* devices.c */

ctl_command ctl_stat, ctl_list, ctl_show, ctl_verify, ctl_discard, ctl_retry, ctl_compact; /* buffer.c */
ctl_command ctl_forget;	/* forget.c */
ctl_command ctl_export;	/* export.c */
ctl_command ctl_import;	/* import.c */
ctl_command ctl_backup;	/* backup.c */

/* At least this much is to be seen: raises c->status. */
void ctl_raise(struct ctl *c, int status);

/* Asks, and ends the program if the answer is an error. */
void ctl_must(struct ctl *c, struct reply *r, const void *data, size_t len, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));

/* The same of the daemon itself: the request is not the buffer's. */
void ctl_daemon(struct ctl *c, struct reply *r, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* With --json: a row as it came. */
void ctl_print_row(const struct json_object *row);
/* With --json: the end of the output.  Else nothing. */
void ctl_finish(struct ctl *c);

/* The file that the arguments name: an id, or endpoint, path and ident.  Its row in r; ends the program if there is none. */
void ctl_file(struct ctl *c, struct reply *r, struct json_object *row);

/* Compacts all tables; the pages freed. */
uint64_t ctl_compact_all(struct ctl *c);
/* Calls each for every file. */
void ctl_each_file(struct ctl *c, void (*each)(void *arg, const struct json_object *row), void *arg);

/* ---- text.c: words for people ---- */

#define TEXT_MAX 64
const char *text_bytes(char out[TEXT_MAX], uint64_t bytes); /* "1.5 MiB" */
const char *text_span(char out[TEXT_MAX], uint64_t s); /* seconds: "3h12m" */
const char *text_age(char out[TEXT_MAX], uint64_t since_ms); /* "3h12m"; "-" for 0 */
const char *text_time(char out[TEXT_MAX], uint64_t ms);	    /* "2026-11-23 09:55:01Z"; "-" for 0 */
/* What of a link's budget is used, by the fields of o whose keys begin with prefix, of len bytes; false: it has none, nothing is printed. */
bool text_print_budget(const char *before, const struct json_object *o, const char *prefix, size_t len);
/* A string that came from outside, on a terminal: control characters become "?". */
void text_print(const char *s);
/* The path of a file; before it the name of the upstream, if its endpoint has one. */
void text_print_at(const char *endpoint, const char *path);

/* ---- progress.c: how far a long command is, on standard error, for people ---- */

struct progress {
	const char *what; /* static */
	uint64_t done, total; /* total 0: not known */
	uint64_t began_ms, shown_ms;
	bool bytes, silent, terminal, shown;
};
/* bytes: what is counted are bytes. */
void progress_begin(struct progress *p, const struct ctl *c, const char *what, bool bytes, uint64_t total);
void progress_add(struct progress *p, uint64_t n);
void progress_end(struct progress *p);

/* ---- the directory of an export or a backup ---- */

/* Opens dir, which is made if it is missing and must be empty; its descriptor. */
int dir_make(const char *dir);
/* A new file in it, 0600. */
int dir_file(int dir, const char *name);
/* Writes all, and syncs and closes; what fails ends the program, after fail(arg) if it is not NULL. */
bool file_write(int fd, const void *data, size_t len);
bool file_done(int fd);

#endif
