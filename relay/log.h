/* Log lines: `ts=... level=info event=listening address="127.0.0.1:7800"`, or the same keys and values as JSON or as text for people.
 *
 * On stderr, or in a file once log_to_file has been called.  Four severities and no more (style 22).  Values that came from outside are escaped (C0, C1, DEL, quotes, backslash, invalid
 * UTF-8).  Never pass a token, an Authorization value or a request target with its query (I9). */
#ifndef RELAY_LOG_H
#define RELAY_LOG_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/view.h"

#include "relay/hot.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_LOGFMT, LOG_JSON, LOG_TEXT }; /* of options.def's log_format */

void log_set_level(enum log_level level);
enum log_level log_get_level(void);
bool log_enabled(enum log_level level);
const char *log_level_name(enum log_level level);
bool log_level_find(const char *name, enum log_level *level); /* false: none is called so */

void log_set_format(enum log_format format);
/* From now on no more than `lines` lines of one event in LOG_WINDOW_MS (0: any number); the others are counted, and log_tick says how
 * many they were.  Errors and debug lines are not counted: the first are few, the others were asked for. */
#define LOG_WINDOW_MS 10000
void log_set_burst(uint64_t lines);
/* To be called about every second, in the loop: writes what was suppressed in windows that have ended. */
void log_tick(void);

/* Writes to the end of this file (made 0640) instead of stderr; errors, which end the process, go to both.  False with errno: as before.
 * log_reopen opens the same path again, which rotation wants; if that fails the old file stays in use.  Not by two threads at once. */
bool log_to_file(const char *path);
bool log_reopen(void); /* true and nothing done when there is no file */
bool log_has_file(void);

/* A line under construction: begin, any number of fields, end.  On the stack; no allocation; a line over LOG_LINE_MAX is cut at
 * a field and marked `cut=1`.  Fields of a line below the level cost one test. */
#define LOG_LINE_MAX 2048
struct log_line {
	bool on;
	bool cut;
	enum log_level level;
	size_t len;
	char text[LOG_LINE_MAX];
};

void log_begin(struct log_line *l, enum log_level level, const char *event) COLD;
void log_str(struct log_line *l, const char *key, const char *value); /* escaped and quoted where needed */
void log_view(struct log_line *l, const char *key, struct view value);
void log_u64(struct log_line *l, const char *key, uint64_t value);
void log_fmt(struct log_line *l, const char *key, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void log_end(struct log_line *l); /* writes it with one writev(2); errno is kept */

/* The common case in one call: log_event(LOG_WARN, "accept_failed", "reason=%s", ...): fmt must already be logfmt and safe. */
void log_event(enum log_level level, const char *event, const char *fmt, ...) COLD __attribute__((format(printf, 3, 4)));

/* Our own bug: logs level=error event=panic and aborts.  A peer can never cause it. */
void log_panic(const char *file, int line, const char *what) COLD __attribute__((noreturn));
#define PANIC(what) log_panic(__FILE__, __LINE__, what)
/* Cannot start or cannot go on: logs and exits with status 1.  Its line is the last, whatever other threads do. */
void log_fatal(const char *event, const char *fmt, ...) COLD __attribute__((noreturn, format(printf, 2, 3)));

#endif
