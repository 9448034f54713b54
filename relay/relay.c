/* The little that all parts share: timers, room in the buffer. */
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "relay/link.h"
#include "relay/log.h"
#include "relay/relay.h"
#include "relay/spool.h"

struct event *
relay_timer(struct event_base *base, void (*fn)(int fd, short what, void *arg), void *arg)
{
	struct event *ev = event_new(base, -1, 0, fn, arg);

	if (ev == NULL)
		log_fatal("out_of_memory", "bytes=0");
	return ev;
}

void
relay_after_ms(struct event *ev, uint64_t ms)
{
	struct timeval tv = { (time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000) };

	event_add(ev, &tv);
}

static bool
below_max(const struct relay *relay, uint64_t n)
{
	uint64_t max = relay->opt->buffer_max_bytes, used = spool_stat(relay->spool)->bytes + relay->tail_bytes;

	return used <= max && n <= max - used;
}

/* Does the disk keep min_free and extra when n and what is on its way are written?  A byte of payload takes about two (its page and
 * the log). */
static bool
disk_has(const struct relay *relay, uint64_t n, uint64_t extra)
{
	const struct store_stat *st = spool_stat(relay->spool);
	uint64_t keep = relay->opt->buffer_min_free;

	if (!st->ballast)
		return false;
	return keep == 0 || st->disk_free == UINT64_MAX || st->disk_free >= keep + extra + 2 * (n + relay->tail_bytes);
}

bool
relay_room(const struct relay *relay, uint64_t n)
{
	return below_max(relay, n) && disk_has(relay, n, 0);
}

bool
relay_room_for(const struct relay *relay, const struct file *f, uint64_t n)
{
	uint64_t max = relay->opt->buffer_max_file_bytes, used = f->backlog_bytes + f->tail_bytes;

	return (max == 0 || (used <= max && n <= max - used)) && quota_room(f, n) && relay_room(relay, n);
}

bool
relay_has_room(const struct relay *relay)
{
	return below_max(relay, relay->opt->buffer_max_bytes / 10) && disk_has(relay, 0, relay->opt->buffer_min_free / 4);
}

const char *
relay_full_by(const struct relay *relay)
{
	if (!disk_has(relay, 0, relay->opt->buffer_min_free / 4))
		return "disk";
	return relay_has_room(relay) ? NULL : "max_bytes";
}

void
relay_merging(struct relay *relay)
{
	spool_merging(relay->spool, link_count(relay, LINK_DOWN) > 0, relay->opt->premerge && !relay->stopping ? relay->opt->premerge_slice_ms : 0);
}
