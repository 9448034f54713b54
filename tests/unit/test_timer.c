/* relay/timer against a model: whatever is set, moved and stopped, each fires once, in order, and none too early. */
#include <stdlib.h>

#include <event2/event.h>

#include "relay/clock.h"
#include "relay/timer.h"

#include "tests/harness.h"

#define ITEMS 300
#define MS_MAX 9 /* the loop really waits so long */

struct item {
	struct timer timer;
	uint64_t due; /* by the clock, when it may fire; 0: it is not set */
	unsigned fired, early;
};

static struct {
	struct event_base *base;
	struct timers *timers;
	struct item item[ITEMS];
	uint64_t last_due; /* of those that fired in this pass */
	unsigned unordered;
} g;

static void
fired(void *arg)
{
	struct item *it = arg;

	it->early += it->due == 0 || it->due > clock_now_ms();
	g.unordered += it->due < g.last_due;
	g.last_due = it->due;
	it->due = 0;
	it->fired++;
}

static void
again(void *arg)
{
	struct item *it = arg;

	it->fired++;
	timer_set(g.timers, &it->timer, 0);
}

static void
begin(void (*fn)(void *arg))
{
	g.base = event_base_new();
	g.timers = timers_new(g.base);
	clock_set(1000, 1000);
	for (int i = 0; i < ITEMS; i++) {
		g.item[i] = (struct item){ .due = 0 };
		timer_init(&g.item[i].timer, fn, &g.item[i]);
	}
	g.unordered = 0;
}

static void
end(void)
{
	timers_free(g.timers);
	event_base_free(g.base);
	clock_real();
}

static void
set(struct item *it, uint64_t ms)
{
	timer_set(g.timers, &it->timer, ms);
	it->due = clock_now_ms() + ms + 1;
}

static unsigned
overdue(void)
{
	unsigned n = 0;

	for (int i = 0; i < ITEMS; i++)
		n += g.item[i].due != 0 && g.item[i].due <= clock_now_ms();
	return n;
}

TEST(as_the_model_says)
{
	unsigned early = 0, fired_in_all = 0;

	begin(fired);
	srand(1);
	for (int round = 0; round < 40; round++) {
		for (int i = 0; i < 100; i++) {
			struct item *it = &g.item[rand() % ITEMS];

			if (rand() % 3 > 0) {
				set(it, (uint64_t)(rand() % (MS_MAX + 1)));
			} else {
				timer_stop(g.timers, &it->timer);
				it->due = 0;
			}
		}
		clock_advance((uint64_t)(rand() % 4));
		g.last_due = 0;
		while (overdue() > 0) /* a timer that got lost: for ever */
			CHECK(event_base_loop(g.base, EVLOOP_ONCE) == 0);
	}
	for (int i = 0; i < ITEMS; i++) {
		early += g.item[i].early;
		fired_in_all += g.item[i].fired;
	}
	CHECK_U64(early, 0);
	CHECK_U64(g.unordered, 0);
	CHECK(fired_in_all > 500);
	end();
}

/* One that is set anew from its own callback does not keep the loop. */
TEST(set_from_itself)
{
	begin(again);
	timer_set(g.timers, &g.item[0].timer, 0);
	for (unsigned n = 1; n <= 3; n++) {
		clock_advance(1);
		while (g.item[0].fired < n)
			CHECK(event_base_loop(g.base, EVLOOP_ONCE) == 0);
		CHECK_U64(g.item[0].fired, n);
	}
	timer_stop(g.timers, &g.item[0].timer);
	timer_stop(g.timers, &g.item[0].timer); /* nothing, if it is not set */
	end();
}

/* Those that are left when everything ends do not fire, and nothing of them is kept. */
TEST(left_over)
{
	begin(fired);
	for (int i = 0; i < ITEMS; i++)
		set(&g.item[i], 1000000);
	end();
	CHECK_U64(g.item[0].fired, 0);
	timers_free(NULL);
}
