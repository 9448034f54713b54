/* Waiting for devices; see wait.h. Looks only, but for the MARKs of "downloaded".
 *
 * The idea: it is asked after every pass of the loop, hundreds of times a second with hundreds of devices, so it remembers one
 * device for which the condition did not hold and looks at the others only when that one is there. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "tests/client/conn.h"
#include "tests/client/report.h"
#include "tests/client/session.h"
#include "tests/client/wait.h"
#include "tests/client/world.h"

struct condition {
	const char *name;
	bool (*holds)(const struct session *s);
};

struct wait {
	const struct condition *until; /* NULL: no wait is under way */
	struct session *const *session; /* borrowed */
	size_t n, unmet;
	uint64_t deadline_ms;
	struct event *timer; /* wakes the loop at the deadline; that is all it does */
};

static bool
is_connected(const struct session *s)
{
	return conn_is_open(s->conn);
}

static bool
is_disconnected(const struct session *s)
{
	return !conn_is_open(s->conn);
}

static bool
is_downloaded(const struct session *s)
{
	return s->rules.mark_received >= s->mark_awaited;
}

static bool
is_in_error(const struct session *s)
{
	return s->error_code != 0;
}

static const struct condition conditions[] = {
	{ "connected", is_connected },	     { "bound", session_is_live }, { "uploaded", session_is_uploaded },
	{ "downloaded", is_downloaded },     { "idle", session_is_idle },  { "disconnected", is_disconnected },
	{ "error", is_in_error },
};

static void
deadline_cb(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what, (void)arg;
}

struct wait *
wait_new(struct event_base *base)
{
	struct wait *w = world_grown(NULL, sizeof *w);

	memset(w, 0, sizeof *w);
	w->timer = evtimer_new(base, deadline_cb, NULL);
	return w;
}

void
wait_free(struct wait *w)
{
	event_free(w->timer);
	free(w);
}

bool
wait_is_on(const struct wait *w)
{
	return w->until != NULL;
}

bool
wait_begin(struct wait *w, struct session *const *session, size_t n, const char *condition, uint64_t ms)
{
	struct timeval tv = { .tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000) };

	for (size_t i = 0; i < sizeof conditions / sizeof conditions[0]; i++)
		if (strcmp(condition, conditions[i].name) == 0)
			w->until = &conditions[i];
	if (w->until == NULL)
		return false;
	for (size_t i = 0; w->until->holds == is_downloaded && i < n; i++) {
		session_mark(session[i]);
		session[i]->mark_awaited = session[i]->mark_target;
	}
	w->session = session;
	w->n = n;
	w->unmet = 0;
	w->deadline_ms = world_now_ms() + ms;
	event_add(w->timer, &tv);
	return true;
}

static bool
all_hold(struct wait *w)
{
	if (!w->until->holds(w->session[w->unmet]))
		return false;
	for (w->unmet = 0; w->unmet < w->n; w->unmet++)
		if (!w->until->holds(w->session[w->unmet]))
			return false;
	return true;
}

/* Says how many are missing, and all about the first of them. */
static void
describe(const struct wait *w, char *answer, size_t cap)
{
	char line[REPORT_LINE_MAX];
	size_t unmet = 0, first = 0;

	for (size_t i = w->n; i-- > 0;) {
		if (!w->until->holds(w->session[i])) {
			unmet++;
			first = i;
		}
	}
	report_status(w->session[first], line);
	snprintf(answer, cap, "fail %zu of %zu not %s; %s: %s", unmet, w->n, w->until->name, w->session[first]->dev.name, line);
}

bool
wait_poll(struct wait *w, char *answer, size_t cap)
{
	if (all_hold(w))
		snprintf(answer, cap, "ok");
	else if (world_now_ms() >= w->deadline_ms)
		describe(w, answer, cap);
	else
		return false;
	w->until = NULL;
	event_del(w->timer);
	return true;
}
