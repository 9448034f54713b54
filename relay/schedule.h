/* When the link is open: windows in the week, each with a rate for replay if it wants one (option schedule).
 *
 *   windows = window *( "," window )
 *   window  = DAYS HH:MM-HH:MM [ RATE/s ]      UTC; an end at or before its beginning is on the next day
 *   DAYS    = daily | day | day-day            mon tue wed thu fri sat sun; fri-mon goes over the weekend
 *
 * Pure: no clock, no log. */
#ifndef RELAY_SCHEDULE_H
#define RELAY_SCHEDULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SCHEDULE_WINDOWS 16 /* more do not fit into a line of the configuration */

struct schedule {
	size_t n; /* 0: always open */
	struct {
		unsigned days;	     /* bit 0 = Monday */
		unsigned begin, end; /* minutes since midnight; end may be beyond 24 h */
		uint64_t rate;	     /* bytes a second; 0 = no bound of its own */
	} window[SCHEDULE_WINDOWS];
};

/* text: "" is no schedule.  False with a sentence in why. */
bool schedule_parse(const char *text, struct schedule *s, char *why, size_t why_len);

/* "HH:MM" as minutes since midnight, up to 24:00; what follows is not looked at. */
bool schedule_time(const char *text, unsigned *min);

/* At this time (seconds since 1970, UTC).  *rate: the largest of the windows that are open, 0 if one has no bound. */
bool schedule_open(const struct schedule *s, uint64_t wall_s, uint64_t *rate);

#endif
