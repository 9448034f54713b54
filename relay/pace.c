/* replay_rate.  See pace.h.
 *
 * The bucket may go below zero by one batch, since a changeset cannot be cut; the next waits longer for it.  A session is charged between
 * pace_ask and pace_used (s->paced), and stands in line at most once (s->turn).  With ranks one batch is under way at a time: while that of the first
 * is read, which takes a moment, it is not in line, and the last would slip in each time. */
#include <stdlib.h>

#include <event2/event.h>

#include "relay/clock.h"
#include "relay/link.h"
#include "relay/log.h"
#include "relay/options.h"
#include "relay/pace.h"
#include "relay/replay.h"
#include "relay/session.h"
#include "relay/turns.h"

struct pace {
	struct link *link;
	struct event *timer;
	struct pace_bucket bucket;
	struct turns line;
	size_t nunder_way;	/* sessions that are charged */
	struct session *served; /* whose turn it is, off the line; NULL otherwise */
	unsigned held;		/* enum pace_reason bits */
};

void
pace_fill(struct pace_bucket *b, uint64_t rate, uint64_t now_ms)
{
	uint64_t ms = now_ms > b->at_ms ? now_ms - b->at_ms : 0;
	uint64_t missing = b->bytes < (int64_t)rate ? (uint64_t)((int64_t)rate - b->bytes) : 0;

	if (ms >= missing / rate * 1000 + 1000) {
		b->bytes = (int64_t)rate;
	} else {
		b->rest += rate * ms;
		b->bytes += (int64_t)(b->rest / 1000);
		b->rest %= 1000;
	}
	if (b->bytes > (int64_t)rate)
		b->bytes = (int64_t)rate;
	b->at_ms = now_ms;
}

uint64_t
pace_wait_ms(const struct pace_bucket *b, uint64_t rate)
{
	return b->bytes > 0 ? 0 : (uint64_t)-b->bytes * 1000 / rate + 1;
}

uint64_t
pace_rate(const struct link *l)
{
	uint64_t rate = l->opt->replay_rate, window = link_rate(l);

	return rate == 0 || (window != 0 && window < rate) ? window : rate;
}

static unsigned
rank(const void *owner)
{
	const struct session *s = owner;

	return priority_rank(&s->link->priority, session_key_path(s));
}

static bool
one_at_a_time(const struct pace *p)
{
	return p->link->priority.n > 0 && p->nunder_way > 0;
}

/* As soon as there is something; the rate may have been lifted meanwhile. */
static void
serve_later(struct pace *p)
{
	uint64_t rate = pace_rate(p->link);

	relay_after_ms(p->timer, rate == 0 ? 0 : pace_wait_ms(&p->bucket, rate));
}

/* Lets those in line go on while there is something for them. */
static void
serve(struct pace *p)
{
	uint64_t rate = pace_rate(p->link);
	struct session *s;

	if (p->held != 0)
		return;
	if (rate > 0)
		pace_fill(&p->bucket, rate, clock_ms());
	while ((rate == 0 || (p->bucket.bytes > 0 && !one_at_a_time(p))) && (s = turns_next(&p->line)) != NULL) {
		free(s->turn);
		s->turn = NULL;
		p->served = s;
		replay_kick(s);
		p->served = NULL;
	}
	if (p->line.n > 0 && !one_at_a_time(p)) /* else pace_used does */
		serve_later(p);
}

static void
timer_cb(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	serve(arg);
}

struct pace *
pace_new(struct link *link)
{
	struct pace *p = relay_alloc(sizeof(*p));

	p->link = link;
	turns_init(&p->line);
	p->timer = relay_timer(link->relay->base, timer_cb, p);
	return p;
}

void
pace_free(struct pace *p)
{
	if (p == NULL)
		return;
	event_free(p->timer);
	free(p);
}

void
pace_hold(struct pace *p, enum pace_reason why, bool hold)
{
	struct log_line line;

	if (hold == ((p->held & why) != 0))
		return;
	p->held = hold ? p->held | why : p->held & ~(unsigned)why;
	log_begin(&line, LOG_INFO, "replay");
	link_log_name(p->link, &line);
	log_str(&line, "state", p->held != 0 ? "paused" : "on");
	log_str(&line, "by", why == PACE_OPERATOR ? "order" : "budget");
	log_end(&line);
	if (p->held == 0)
		relay_after_ms(p->timer, 0);
}

void
pace_rank_anew(struct pace *p)
{
	turns_rank_anew(&p->line, rank);
}

bool
pace_held(const struct pace *p)
{
	return p->held != 0;
}

static void
stand_in_line(struct pace *p, struct session *s)
{
	s->turn = relay_alloc(sizeof(*s->turn));
	turns_join(&p->line, s->turn, s, rank(s));
}

bool
pace_ask(struct session *s, uint64_t bytes)
{
	struct pace *p = s->link->pace;
	uint64_t rate = pace_rate(s->link);

	if (s->turn != NULL)
		return false;
	if (p->held != 0) {
		stand_in_line(p, s);
		return false;
	}
	if (rate == 0)
		return true;
	pace_fill(&p->bucket, rate, clock_ms());
	if (p->bucket.bytes <= 0 || one_at_a_time(p) || (p->served != s && p->line.n > 0)) {
		if (p->line.n == 0)
			serve_later(p);
		stand_in_line(p, s);
		return false;
	}
	p->served = NULL;
	p->bucket.bytes -= (int64_t)bytes;
	s->paced = bytes;
	p->nunder_way++;
	return true;
}

void
pace_used(struct session *s, uint64_t used)
{
	struct pace *p = s->link->pace;

	if (s->paced == 0)
		return;
	p->bucket.bytes += (int64_t)s->paced - (int64_t)used;
	s->paced = 0;
	p->nunder_way--;
	if (p->line.n > 0)
		serve_later(p);
}

void
pace_forget(struct session *s)
{
	struct pace *p = s->link->pace;

	pace_used(s, 0);
	if (s->turn != NULL)
		turns_leave(&p->line, s->turn);
	free(s->turn);
	s->turn = NULL;
	if (p->served == s)
		p->served = NULL;
}
