/* See timer.h.
 *
 * The one idea: a binary heap of pointers, earliest first, in which each timer knows its place; and one event of libevent's, for the first of
 * them.  When the first is taken away or moved the event stays as it is: it fires for nothing, and is set anew. */
#include <stdlib.h>

#include <event2/event.h>

#include "relay/clock.h"
#include "relay/log.h"
#include "relay/relay.h"
#include "relay/timer.h"

#define SIZE_MIN 64

struct timers {
	struct event *wake;
	uint64_t wakes_ms;   /* when it does; 0: it is not set */
	struct timer **heap; /* [1..n]: heap[i] is not later than heap[2 * i] and heap[2 * i + 1] */
	uint32_t n, size;
};

static void
put(struct timers *ts, uint32_t place, struct timer *t)
{
	ts->heap[place] = t;
	t->place = place;
}

/* t belongs at place or towards the first. */
static void
rise(struct timers *ts, uint32_t place, struct timer *t)
{
	for (; place > 1 && ts->heap[place / 2]->due_ms > t->due_ms; place /= 2)
		put(ts, place, ts->heap[place / 2]);
	put(ts, place, t);
}

/* t belongs at place or away from the first. */
static void
sink(struct timers *ts, uint32_t place, struct timer *t)
{
	uint32_t child;

	for (; (child = 2 * place) <= ts->n; place = child) {
		if (child < ts->n && ts->heap[child + 1]->due_ms < ts->heap[child]->due_ms)
			child++;
		if (ts->heap[child]->due_ms >= t->due_ms)
			break;
		put(ts, place, ts->heap[child]);
	}
	put(ts, place, t);
}

static void
wake_for_first(struct timers *ts, uint64_t now)
{
	uint64_t due = ts->heap[1]->due_ms, ms = due > now ? due - now : 0;

	if (ts->wakes_ms != 0 && ts->wakes_ms <= due)
		return;
	relay_after_ms(ts->wake, ms);
	ts->wakes_ms = due;
}

static void
wake_cb(evutil_socket_t fd, short what, void *arg)
{
	struct timers *ts = arg;
	uint64_t now = clock_now_ms();

	(void)fd;
	(void)what;
	ts->wakes_ms = 0;
	while (ts->n > 0 && ts->heap[1]->due_ms <= now) { /* one that is set meanwhile is due later */
		struct timer *t = ts->heap[1];

		timer_stop(ts, t);
		t->fn(t->arg);
	}
	if (ts->n > 0)
		wake_for_first(ts, now);
}

struct timers *
timers_new(struct event_base *base)
{
	struct timers *ts = relay_alloc(sizeof(*ts));

	ts->wake = relay_timer(base, wake_cb, ts);
	return ts;
}

void
timers_free(struct timers *ts)
{
	if (ts == NULL)
		return;
	event_free(ts->wake);
	free(ts->heap);
	free(ts);
}

void
timer_init(struct timer *t, void (*fn)(void *arg), void *arg)
{
	*t = (struct timer){ .fn = fn, .arg = arg };
}

static void
grow(struct timers *ts)
{
	uint32_t size = ts->size == 0 ? SIZE_MIN : 2 * ts->size;
	struct timer **heap = realloc(ts->heap, (size + 1) * sizeof(*heap)); /* heap[0] is not used */

	if (heap == NULL)
		log_fatal("out_of_memory", "what=timers");
	ts->heap = heap;
	ts->size = size;
}

void
timer_set(struct timers *ts, struct timer *t, uint64_t ms)
{
	uint64_t now = clock_now_ms();

	timer_stop(ts, t);
	if (ts->n == ts->size)
		grow(ts);
	t->due_ms = now + ms + 1; /* the clock is cut to whole milliseconds: never early */
	rise(ts, ++ts->n, t);
	wake_for_first(ts, now);
}

uint64_t
timer_due_ms(const struct timer *t)
{
	return t->due_ms;
}

void
timer_stop(struct timers *ts, struct timer *t)
{
	uint32_t place = t->place;
	struct timer *last;

	if (place == 0)
		return;
	t->place = 0;
	last = ts->heap[ts->n--];
	if (last == t)
		return;
	if (place > 1 && ts->heap[place / 2]->due_ms > last->due_ms)
		rise(ts, place, last);
	else
		sink(ts, place, last);
}
