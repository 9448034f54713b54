/* The figures of the daemon: one list, under the same names in the status line, on the control socket and wherever else they are shown.
 * holdfast(8) says what each means; names do not change, new ones may be added. */
#ifndef RELAY_STATUS_H
#define RELAY_STATUS_H

#include <stdbool.h>
#include <stdint.h>

struct relay;
struct status;

/* Samples the backlog from now on, and writes the status line and status_file every status_interval.  relay: as far as main has opened it. */
struct status *status_new(struct relay *relay);
void status_free(struct status *st); /* removes status_file; NULL allowed */

/* One status line, and one for each named upstream, now.  While starting and stopping too. */
void status_log(struct relay *relay);
/* status_interval has changed. */
void status_reloaded(struct status *st);

struct json;
/* The figures as one object: name, version, pid, then status_each. */
void status_json(const struct relay *relay, struct json *j);

/* Calls text or number for each figure, in order; the values live for the call.  Figures of a named upstream have keys "upstream.NAME.key"; those
 * of the unnamed one have none before theirs. */
struct status_sink {
	void (*text)(void *arg, const char *key, const char *value);
	void (*number)(void *arg, const char *key, uint64_t value);
};
void status_each(const struct relay *relay, const struct status_sink *sink, void *arg);

#define STATUS_HISTORY 288 /* five-minute steps of a day */
#define STATUS_STEP_S 300
/* The backlog of the last 24 hours in bytes, the oldest first: the largest of each step; the last is the current one.  Returns how many. */
unsigned status_history(const struct relay *relay, uint64_t bytes[STATUS_HISTORY]);

/* Seconds since this wall clock time in ms; 0 = none, or it lies ahead. */
uint64_t status_age_s(uint64_t since_ms);

/* Bytes a second by which the backlog has shrunk lately; 0 = it has not, or nobody knows yet. */
uint64_t status_drain_rate(const struct relay *relay);

#endif
