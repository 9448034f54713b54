/* Background writes of many devices by one tick; see auto.h. The one idea: each tick credits every busy device with its rate
 * times the time passed, and whole credits become writes. A tick that comes late credits no more than CREDIT_MAX_S: on a machine
 * that cannot keep up the load falls with it, in place of a flood. */
#include <stdlib.h>

#include <event2/event.h>

#include "tests/client/auto.h"
#include "tests/client/session.h"
#include "tests/client/world.h"

#define TICK_US 10000
#define CREDIT_MAX_S 0.1

static void
write_due(struct session *s, double seconds)
{
	uint64_t n;

	if (s->auto_left == 0)
		return;
	s->auto_credit += s->auto_rate * seconds;
	n = (uint64_t)s->auto_credit;
	if (n > s->auto_left)
		n = s->auto_left;
	if (n == 0)
		return;
	s->auto_credit -= (double)n;
	if (s->auto_left != AUTO_ENDLESS)
		s->auto_left -= n;
	session_write(s, s->auto_kind, n, s->write_size);
}

static void
tick_cb(evutil_socket_t fd, short what, void *arg)
{
	struct world *w = arg;
	uint64_t now = world_now_ms();
	double seconds = (double)(now - w->tick_ms) / 1000;

	(void)fd, (void)what;
	if (seconds > CREDIT_MAX_S)
		seconds = CREDIT_MAX_S;
	w->tick_ms = now;
	for (size_t i = 0; i < w->nsession; i++)
		write_due(w->session[i], seconds);
}

void
auto_open(struct world *w)
{
	struct timeval tv = { .tv_usec = TICK_US };

	w->tick_ms = world_now_ms();
	w->tick = event_new(w->base, -1, EV_PERSIST, tick_cb, w);
	event_add(w->tick, &tv);
}

void
auto_close(struct world *w)
{
	event_free(w->tick);
}

void
auto_start(struct session *s, double rate, uint64_t count, enum device_write kind)
{
	s->auto_rate = rate;
	s->auto_left = count;
	s->auto_credit = 0;
	s->auto_kind = kind;
}
