/* How many lines may be written of what can happen as often as somebody likes: so many in a window, the others are only counted. */
#ifndef RELAY_FLOOD_H
#define RELAY_FLOOD_H

#include <stdbool.h>
#include <stdint.h>

/* One kind of line.  Zeroed at the start; of one thread. */
struct flood {
	uint64_t since_ms, written, dropped;
};

/* May one more be written, of at most max (> 0) in a window?  Else it is counted. */
bool flood_ok(struct flood *f, uint64_t max, uint64_t window_ms);
uint64_t flood_dropped(struct flood *f); /* how many were not, since this was asked last */

/* What strangers can cause: few, since a stranger has no limit to his patience. */
#define FLOOD_STRANGERS 10
#define FLOOD_STRANGERS_MS 10000

/* The same for every event by its name (static), from any thread.  Beyond FLOOD_EVENTS names there is no bound. */
#define FLOOD_EVENTS 256
bool flood_event(const char *event, uint64_t max, uint64_t window_ms);
/* Tells each event of which lines were not written in a window that is over. */
typedef void flood_tell(void *arg, const char *event, uint64_t lines);
void flood_ended(uint64_t window_ms, flood_tell *tell, void *arg);

#endif
