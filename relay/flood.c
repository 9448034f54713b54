/* Counting lines; see flood.h.
 *
 * Events are found by a hash of their names in a table that only grows: the names are literals of this program. */
#include <pthread.h>
#include <string.h>

#include "relay/clock.h"
#include "relay/flood.h"

static struct {
	const char *event; /* NULL: free */
	struct flood flood;
} table[FLOOD_EVENTS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

bool
flood_ok(struct flood *f, uint64_t max, uint64_t window_ms)
{
	uint64_t now = clock_ms();

	if (f->since_ms == 0 || now - f->since_ms >= window_ms) {
		f->since_ms = now;
		f->written = 0;
	}
	if (f->written < max) {
		f->written++;
		return true;
	}
	f->dropped++;
	return false;
}

uint64_t
flood_dropped(struct flood *f)
{
	uint64_t n = f->dropped;

	f->dropped = 0;
	return n;
}

/* NULL: the table is full. */
static struct flood *
find(const char *event)
{
	unsigned h = 5381;

	for (const char *p = event; *p != '\0'; p++)
		h = h * 33 + (unsigned char)*p;
	for (unsigned i = 0; i < FLOOD_EVENTS; i++) {
		unsigned at = (h + i) % FLOOD_EVENTS;

		if (table[at].event == NULL)
			table[at].event = event;
		if (strcmp(table[at].event, event) == 0)
			return &table[at].flood;
	}
	return NULL;
}

bool
flood_event(const char *event, uint64_t max, uint64_t window_ms)
{
	struct flood *f;
	bool ok;

	pthread_mutex_lock(&lock);
	f = find(event);
	ok = f == NULL || flood_ok(f, max, window_ms);
	pthread_mutex_unlock(&lock);
	return ok;
}

/* The telling itself comes here again, for its own event, so it is done unlocked. */
void
flood_ended(uint64_t window_ms, flood_tell *tell, void *arg)
{
	for (unsigned i = 0; i < FLOOD_EVENTS; i++) {
		const char *event = NULL;
		uint64_t n = 0;

		pthread_mutex_lock(&lock);
		if (table[i].event != NULL && table[i].flood.dropped > 0 && clock_ms() - table[i].flood.since_ms >= window_ms) {
			event = table[i].event;
			n = flood_dropped(&table[i].flood);
		}
		pthread_mutex_unlock(&lock);
		if (n > 0)
			tell(arg, event, n);
	}
}
