/* Reads the configuration again while the daemon runs (SIGHUP, holdfastctl reload).
 *
 * The whole file and its conf.d are read and checked first, together with what stays as it is until a restart; only if there is no
 * error is anything changed.  What changed, and what would only change at the next start, is logged and reported. */
#ifndef RELAY_RELOAD_H
#define RELAY_RELOAD_H

#include <stdbool.h>
#include <stddef.h>

struct json;
struct relay;
struct reload;
struct sections;

struct reload_sum {
	size_t changed; /* options that have a new value now, listeners that came or went */
	size_t restart; /* that would have one after a restart */
	size_t errors;  /* of the file: if any, nothing was changed */
};

/* now: the configuration as it holds, whose options are changed in place and whose listeners come and go; borrowed like path and relay.  level_fixed: log_level was
 * overruled when the daemon was started, and stays. */
struct reload *reload_new(struct relay *relay, const char *path, struct sections *now, bool level_fixed);
void reload_free(struct reload *rl);

/* True: done.  False: the file has errors and nothing was changed.  rows (may be NULL) gets an object for each difference
 * (option, was, now, applied; or section, now, applied) or error (file, line, error); see relay/CONTROL. */
bool reload_run(struct reload *rl, struct json *rows, struct reload_sum *sum);

/* Adds a row about each option of each section as it holds: option, value, default, reloadable, file and line ("" and 0: not set). */
void reload_describe(const struct reload *rl, struct json *rows);
const char *reload_path(const struct reload *rl);

#endif
