/* Log lines in logfmt on stderr: `ts=... level=info event=listening address="127.0.0.1:7800"`.
 *
 * Four severities and no more (style 22).  Values that came from outside are escaped (C0, C1, DEL, quotes, backslash, invalid
 * UTF-8).  Never pass a token, an Authorization value or a request target with its query (I9). */
#ifndef RELAY_LOG_H
#define RELAY_LOG_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/view.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

void log_set_level(enum log_level level);
enum log_level log_get_level(void);
bool log_enabled(enum log_level level);
const char *log_level_name(enum log_level level);
bool log_level_find(const char *name, enum log_level *level); /* false: none is called so */

/* A line under construction: begin, any number of fields, end.  On the stack; no allocation; a line over LOG_LINE_MAX is cut at
 * a field and marked `cut=1`.  Fields of a line below the level cost one test. */
#define LOG_LINE_MAX 2048
struct log_line {
	bool on;
	bool cut;
	size_t len;
	char text[LOG_LINE_MAX];
};

void log_begin(struct log_line *l, enum log_level level, const char *event);
void log_str(struct log_line *l, const char *key, const char *value); /* escaped and quoted where needed */
void log_view(struct log_line *l, const char *key, struct view value);
void log_u64(struct log_line *l, const char *key, uint64_t value);
void log_fmt(struct log_line *l, const char *key, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void log_end(struct log_line *l); /* writes it with one write(2); errno is kept */

/* The common case in one call: log_event(LOG_WARN, "accept_failed", "reason=%s", ...): fmt must already be logfmt and safe. */
void log_event(enum log_level level, const char *event, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* For a line that peers can cause as often as they like: LOG_QUOTA of them in LOG_QUOTA_MS, the others are only counted.  Zeroed at the start.
 * log_quota: may it be written?  log_quota_dropped: how many were not, since this was asked last. */
#define LOG_QUOTA 10
#define LOG_QUOTA_MS 10000
struct log_quota {
	uint64_t since_ms, written, dropped;
};
bool log_quota(struct log_quota *q);
uint64_t log_quota_dropped(struct log_quota *q);

/* Our own bug: logs level=error event=panic and aborts.  A peer can never cause it. */
void log_panic(const char *file, int line, const char *what) __attribute__((noreturn));
#define PANIC(what) log_panic(__FILE__, __LINE__, what)
/* Cannot start or cannot go on: logs and exits with status 1. */
void log_fatal(const char *event, const char *fmt, ...) __attribute__((noreturn, format(printf, 2, 3)));

#endif
