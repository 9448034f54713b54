/* The last good wall time (walltime.h).
 *
 * On disk, meta "good time": "MS BOOT_MS BOOT_ID": the wall time, how long the machine was up then, and in which boot.  In another boot
 * all of the new one's up time came after it.  Read once at the start, before anybody asks: the spool answers in order. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "relay/clock.h"
#include "relay/link.h"
#include "relay/log.h"
#include "relay/options.h"
#include "relay/relay.h"
#include "relay/spool.h"
#include "relay/walltime.h"

#define KEEP_MS 300000 /* a few minutes of an outage may be lost at a power cut; one small commit each */
#define KEY "good time"
#define BOOT_ID_MAX 40 /* a UUID and NUL */

struct walltime {
	struct relay *relay; /* borrowed */
	struct event *timer;
	uint64_t good_ms, good_boot_ms;
	char boot_id[BOOT_ID_MAX];
	bool told; /* that the clock is behind */
};

uint64_t
walltime_judge(uint64_t good_ms, uint64_t good_boot_ms, uint64_t wall_ms, uint64_t boot_ms, bool *exact)
{
	*exact = wall_ms >= good_ms && wall_ms >= WALLTIME_FLOOR_MS;
	if (*exact || good_ms == 0)
		return wall_ms;
	return good_ms + (boot_ms > good_boot_ms ? boot_ms - good_boot_ms : 0);
}

uint64_t
walltime_ms(const struct walltime *w, bool *exact)
{
	return walltime_judge(w->good_ms, w->good_boot_ms, clock_wall_ms(), clock_boot_ms(), exact);
}

/* Without one every start counts as a boot, and only its own up time as passed: still no more than the truth. */
static void
read_boot_id(char out[BOOT_ID_MAX])
{
	FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");

	if (f == NULL || fgets(out, BOOT_ID_MAX, f) == NULL)
		snprintf(out, BOOT_ID_MAX, "-");
	out[strcspn(out, " \n")] = '\0';
	if (f != NULL)
		fclose(f);
}

static bool
upstream_vouches(const struct relay *r)
{
	const struct link *l;

	TAILQ_FOREACH (l, &r->links, entry)
		if (l->tls != NULL && l->opt->upstream_verify && link_proved(l))
			return true;
	return false;
}

static void
keep(struct walltime *w)
{
	uint64_t wall = clock_wall_ms();
	char text[96];
	bool exact;

	walltime_judge(w->good_ms, w->good_boot_ms, wall, clock_boot_ms(), &exact);
	if (!exact && (wall < WALLTIME_FLOOR_MS || !upstream_vouches(w->relay))) {
		if (!w->told)
			log_event(LOG_WARN, "clock_behind", "wall_s=%llu last_good_s=%llu", (unsigned long long)(wall / 1000),
				  (unsigned long long)(w->good_ms / 1000));
		w->told = true;
		return;
	}
	w->told = false;
	w->good_ms = wall;
	w->good_boot_ms = clock_boot_ms();
	snprintf(text, sizeof(text), "%llu %llu %s", (unsigned long long)w->good_ms, (unsigned long long)w->good_boot_ms, w->boot_id);
	spool_put(w->relay->spool, STORE_META, view_of(KEY), view_of(text));
}

static void
timer_cb(evutil_socket_t fd, short what, void *arg)
{
	struct walltime *w = arg;

	(void)fd;
	(void)what;
	keep(w);
	relay_after_ms(w->timer, KEEP_MS);
}

static void
read_cb(void *arg, struct spool_op *op)
{
	struct walltime *w = arg;
	char text[96] = "", boot_id[BOOT_ID_MAX] = "";
	unsigned long long ms, boot_ms;

	if (op->err == STORE_OK && op->val_len < sizeof(text)) {
		memcpy(text, op->val, op->val_len);
		text[op->val_len] = '\0';
	}
	if (sscanf(text, "%llu %llu %39s", &ms, &boot_ms, boot_id) == 3) {
		w->good_ms = ms;
		w->good_boot_ms = strcmp(boot_id, w->boot_id) == 0 ? boot_ms : 0;
	}
	relay_after_ms(w->timer, 0);
}

struct walltime *
walltime_new(struct relay *relay)
{
	struct walltime *w = relay_alloc(sizeof(*w));

	w->relay = relay;
	read_boot_id(w->boot_id);
	w->timer = relay_timer(relay->base, timer_cb, w);
	spool_get(relay->spool, STORE_META, view_of(KEY), read_cb, w);
	return w;
}

void
walltime_free(struct walltime *w)
{
	event_free(w->timer);
	free(w);
}
