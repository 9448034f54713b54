/* Reads recorded traffic (shared/data/traces, one JSON object a line) as a sequence of events.
 *
 * One event is one line: {"t": seconds, "conn": n, "dir": "c2s"|"s2c", "kind": ..., then by kind:
 *   "http"     "text": an HTTP head as sent
 *   "message"  "head": a message head without its LF, "body_b64": its body
 *   "closed"   "code": the reason as text; that direction of the connection ended */
#ifndef TESTS_PEER_TRACE_H
#define TESTS_PEER_TRACE_H

#include <glob.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/view.h"

enum trace_kind { TRACE_HTTP, TRACE_MESSAGE, TRACE_CLOSED };

struct trace_event {
	double t; /* seconds since the recording began */
	unsigned conn;
	bool from_client; /* dir is "c2s" */
	enum trace_kind kind;
	/* The views live until the next trace_next or trace_close. */
	struct view message; /* TRACE_MESSAGE: head LF body, contiguous, as it stood in the WebSocket message */
	struct view head;    /* TRACE_MESSAGE: the part of message before the LF */
	struct view body;    /* TRACE_MESSAGE: the part of message after the LF */
	struct view text;    /* TRACE_HTTP: the HTTP head; TRACE_CLOSED: the reason */
};

struct trace;

/* Opens a trace file; NULL with errno set when that fails.  The caller ends it with trace_close. */
struct trace *trace_open(const char *path);

/* Reads the next event.  1: *ev is set.  0: end of file.  -1: the line is not as described above (trace_line names it). */
int trace_next(struct trace *tr, struct trace_event *ev);

/* Number of the line read last, from 1. */
unsigned trace_line(const struct trace *tr);

/* Frees tr and all views given out; NULL is legal. */
void trace_close(struct trace *tr);

/* Lists the trace files below the shared folder (harness_shared(); NULL is legal) in the order of their names.
 * Returns how many there are; 0 when the folder is absent.  The caller always ends with globfree(files). */
size_t trace_files(const char *shared, glob_t *files);

#endif
