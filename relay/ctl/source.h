/* Where answers come from: the daemon, through its control socket, or, when none is running, the buffer itself, opened here.  The
 * requests are the same (relay/CONTROL). */
#ifndef RELAY_CTL_SOURCE_H
#define RELAY_CTL_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/json.h"

struct options;
struct source;
struct store;

enum { CTL_OK = 0, CTL_LOOK = 1, CTL_FAILED = 2, CTL_NOT_RUNNING = 3 }; /* exit status */

/* Connects to the daemon of these options, or opens the buffer.  NULL with *status and a sentence. */
struct source *source_open(const struct options *o, int *status, char *why, size_t why_len);
void source_close(struct source *src);
bool source_is_live(const struct source *src);
/* The same, but only the daemon will do: CTL_NOT_RUNNING. */
struct source *source_open_live(const struct options *o, int *status, char *why, size_t why_len);
/* The daemon was asked to end: from now on ended(arg) is called, and must not return, where else the program would end because the
 * daemon went away. */
void source_ending(struct source *src, void (*ended)(void *arg), void *arg);

struct reply {
	bool ok;
	char *text;   /* all lines but the last; owned */
	char *next;   /* of these, the row that reply_row gives next */
	char *last;   /* owned; end points into it */
	struct json_object end; /* the final object */
	uint8_t *data;
	size_t len;
};

/* Asks; fmt makes the line (without "buffer "), its words escaped (word.h).  Frees what r held; zero it before the first use, and
 * reply_free it after the last.  A connection that fails ends the program. */
bool source_ask(struct source *src, struct reply *r, const void *data, size_t len, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));
/* The same of the daemon itself (relay/CONTROL, Commands); src is live. */
bool source_ask_daemon(struct source *src, struct reply *r, const char *line);
/* The next row, until false; it lives as long as r. */
bool reply_row(struct reply *r, struct json_object *row);
const char *reply_error(const struct reply *r);
void reply_free(struct reply *r);

/* Opens the store in dir as a daemon with these options would. */
struct store *source_store(const struct options *o, const char *dir, int *status, char *why, size_t why_len);

/* Ends the program with this status; the sentence goes to standard error, and with --json to standard output as an object. */
void ctl_die(int status, const char *fmt, ...) __attribute__((noreturn, format(printf, 2, 3)));

#endif
