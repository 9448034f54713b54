/* Drain; see drain.h.  The end is looked for on a timer: the last acknowledgement comes by a way of its own, and a second more or less
 * does not matter to whoever waits for the last byte. */
#include <stdlib.h>

#include <event2/event.h>

#include "relay/absent.h"
#include "relay/drain.h"
#include "relay/front.h"
#include "relay/log.h"
#include "relay/relay.h"
#include "relay/spool.h"

#define LOOK_MS 250

struct drain {
	struct relay *relay;
	struct event *timer;
};

static void
look_cb(evutil_socket_t fd, short what, void *arg)
{
	struct drain *d = arg;
	struct relay *r = d->relay;

	(void)fd;
	(void)what;
	if (spool_stat(r->spool)->records > 0 || r->tail_bytes > 0 || spool_queued(r->spool) > 0) {
		relay_after_ms(d->timer, LOOK_MS);
		return;
	}
	log_event(LOG_INFO, "drained", "uploads_acked=%llu", (unsigned long long)r->stats.uploads_acked);
	r->stopping = true;
}

void
drain_begin(struct relay *relay)
{
	struct drain *d;
	struct front *f;
	struct link *l;
	const struct store_stat *st = spool_stat(relay->spool);

	if (relay->drain != NULL)
		return;
	d = relay_alloc(sizeof(*d));
	d->relay = relay;
	d->timer = relay_timer(relay->base, look_cb, d);
	relay->drain = d;
	log_event(LOG_INFO, "drain", "records=%llu bytes=%llu", (unsigned long long)st->records, (unsigned long long)st->bytes);
	TAILQ_FOREACH (f, &relay->fronts, entry)
		front_close(f);
	TAILQ_FOREACH (l, &relay->links, entry)
		absents_hurry(l->absents);
	relay_after_ms(d->timer, LOOK_MS);
}

void
drain_free(struct drain *d)
{
	if (d == NULL)
		return;
	event_free(d->timer);
	free(d);
}
