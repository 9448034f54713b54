/* The meter of a link; see meter.h.
 *
 * On the disk: meta "meter" (a named link's name behind): the period at hand and the one before, each "BEGIN END USED ADDED".  To write each
 * byte would wear the flash out, so the record runs ahead: it says a step more than was used, and is written anew when half of that is
 * gone.  Whoever reads it after a crash counts too much by a step at most, and too little never, but for what moves while a commit
 * takes longer than half a step.  An orderly end writes the exact count.
 *
 * Clocks: which period it is comes from walltime, which is never ahead of the truth when the clock was lost; so a gateway that boots in 1970
 * goes on in the period that it had.  A clock that ran ahead and was put right finds the period before still there, and what was used
 * meanwhile belongs to it.  Another budget_period under way does not make a new one: what was used stays used. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/link.h"
#include "relay/log.h"
#include "relay/meter.h"
#include "relay/options.h"
#include "relay/spool.h"
#include "relay/walltime.h"

#define KEY "meter"
#define STEPS 256		    /* in a budget, or in what was used if that is more: a crash costs no more than this part, a period some 512 small commits */
#define STEP_MIN 4096		    /* what a handshake takes */
#define STEP_MAX (16u * 1024 * 1024) /* at 100 Mbit/s a commit in half a second or so */

struct meter {
	struct link *link; /* borrowed */
	struct stream_wire wire;
	uint64_t counted; /* of wire, in ledger.now.used */
	struct period period;
	struct meter_ledger ledger;
	uint64_t kept; /* what the record says of ledger.now.used; 0: there is none */
	bool read;     /* what was counted before the start is in it */
	enum meter_state state;
};

/* ---- the ledger ---- */

bool
meter_ledger_turn(struct meter_ledger *l, const struct period *p, uint64_t wall_s)
{
	struct meter_use next = { 0 };
	bool ahead = l->now.end != 0 && wall_s >= l->now.end, back = wall_s < l->now.begin;

	period_at(p, wall_s, &next.begin, &next.end);
	if (ahead) {
		l->before = l->now;
		l->now = next;
		return true;
	}
	if (back && wall_s >= l->before.begin && wall_s < l->before.end) {
		l->now.used += l->before.used;
		l->now.added += l->before.added;
	}
	if (back)
		memset(&l->before, 0, sizeof(l->before));
	l->now.begin = next.begin;
	l->now.end = next.end;
	return false;
}

void
meter_ledger_format(const struct meter_ledger *l, uint64_t used, char out[METER_TEXT_MAX])
{
	const struct meter_use *n = &l->now, *b = &l->before;

	snprintf(out, METER_TEXT_MAX, "%llu %llu %llu %llu %llu %llu %llu %llu", (unsigned long long)n->begin, (unsigned long long)n->end,
		 (unsigned long long)used, (unsigned long long)n->added, (unsigned long long)b->begin, (unsigned long long)b->end,
		 (unsigned long long)b->used, (unsigned long long)b->added);
}

bool
meter_ledger_parse(const char *text, struct meter_ledger *l)
{
	unsigned long long v[8];

	if (sscanf(text, "%llu %llu %llu %llu %llu %llu %llu %llu", &v[0], &v[1], &v[2], &v[3], &v[4], &v[5], &v[6], &v[7]) != 8)
		return false;
	*l = (struct meter_ledger){ { v[0], v[1], v[2], v[3] }, { v[4], v[5], v[6], v[7] } };
	return true;
}

uint64_t
meter_step(uint64_t bytes)
{
	uint64_t step = bytes / STEPS;

	return step < STEP_MIN ? STEP_MIN : step > STEP_MAX ? STEP_MAX : step;
}

/* ---- on the disk ---- */

static void
write_record(struct meter *m, uint64_t used)
{
	char key[LINK_KEY_MAX], text[METER_TEXT_MAX];

	m->kept = used;
	link_meta_key(m->link, KEY, key);
	meter_ledger_format(&m->ledger, used, text);
	spool_put(m->link->relay->spool, STORE_META, view_of(key), view_of(text));
}

/* Writes a record that is ahead again, if it is not by enough. */
static void
run_ahead(struct meter *m)
{
	uint64_t budget = m->link->opt->budget, used = m->ledger.now.used, step = meter_step(used > budget ? used : budget);

	if (m->read && budget != 0 && used + step / 2 > m->kept)
		write_record(m, used + step);
}

void
meter_keep(struct meter *m)
{
	meter_count(m);
	if (m->read && m->link->opt->budget != 0 && m->kept != m->ledger.now.used)
		write_record(m, m->ledger.now.used);
}

/* What was used since the start belongs to the period that the record is of, until the time says otherwise. */
static void
record_read(void *arg, struct spool_op *op)
{
	struct meter *m = arg;
	struct meter_ledger old;
	char text[METER_TEXT_MAX] = "";

	if (op->err == STORE_OK && op->val_len < sizeof(text)) {
		memcpy(text, op->val, op->val_len);
		text[op->val_len] = '\0';
	}
	if (meter_ledger_parse(text, &old)) {
		m->kept = old.now.used;
		old.now.used += m->ledger.now.used;
		m->ledger = old;
	}
	m->read = true;
	meter_count(m);
}

/* ---- what follows ---- */

static uint64_t
allowed(const struct meter *m)
{
	return m->link->opt->budget + m->ledger.now.added;
}

static enum meter_state
state_now(const struct meter *m)
{
	uint64_t max = allowed(m), used = m->ledger.now.used;

	if (m->link->opt->budget == 0)
		return METER_OPEN;
	return used >= max ? METER_SPENT : used >= max - max / 5 ? METER_LOW : METER_OPEN;
}

static void
tell(const struct meter *m, enum log_level level)
{
	char end[32];
	struct log_line l;

	options_text(m->link->opt, OPTION_budget_end, end, sizeof(end));

	log_begin(&l, level, "budget");
	link_log_name(m->link, &l);
	log_str(&l, "state", meter_state_name(m->state));
	log_u64(&l, "used", m->ledger.now.used);
	log_u64(&l, "budget", allowed(m));
	if (m->state == METER_SPENT)
		log_str(&l, "then", end);
	log_end(&l);
}

static void
judge(struct meter *m)
{
	enum meter_state to = state_now(m);

	if (to == m->state)
		return;
	m->state = to;
	tell(m, to == METER_OPEN ? LOG_INFO : LOG_WARN);
	link_metered(m->link);
}

void
meter_count(struct meter *m)
{
	uint64_t sum = m->wire.received + m->wire.sent, now_ms;
	bool exact;

	m->ledger.now.used += sum - m->counted;
	m->counted = sum;
	if (!m->read)
		return;
	now_ms = walltime_ms(m->link->relay->walltime, &exact);
	if (now_ms >= WALLTIME_FLOOR_MS && meter_ledger_turn(&m->ledger, &m->period, now_ms / 1000))
		m->kept = 0; /* the record is of another period */
	run_ahead(m);
	judge(m);
}

void
meter_pass(const struct relay *relay)
{
	struct link *l;

	TAILQ_FOREACH (l, &relay->links, entry)
		if (l->meter->wire.received + l->meter->wire.sent != l->meter->counted)
			meter_count(l->meter);
}

bool
meter_add(struct meter *m, uint64_t bytes)
{
	struct log_line l;

	if (m->link->opt->budget == 0 || !m->read)
		return false;
	m->ledger.now.added += bytes;
	log_begin(&l, LOG_INFO, "budget_added");
	link_log_name(m->link, &l);
	log_u64(&l, "bytes", bytes);
	log_u64(&l, "budget", allowed(m));
	log_end(&l);
	m->kept = 0;
	meter_count(m);
	return true;
}

/* ---- life ---- */

struct meter *
meter_new(struct link *link)
{
	struct meter *m = relay_alloc(sizeof(*m));

	m->link = link;
	return m;
}

static void
read_period(struct meter *m)
{
	char why[100];

	if (!period_parse(m->link->opt->budget_period, &m->period, why, sizeof(why)))
		PANIC(why); /* options_check lets none pass */
}

void
meter_start(struct meter *m)
{
	char key[LINK_KEY_MAX];

	read_period(m);
	link_meta_key(m->link, KEY, key);
	spool_get(m->link->relay->spool, STORE_META, view_of(key), record_read, m);
}

void
meter_free(struct meter *m)
{
	free(m);
}

void
meter_reloaded(struct meter *m)
{
	read_period(m);
	meter_count(m);
}

/* ---- what is known ---- */

struct stream_wire *
meter_wire(struct meter *m)
{
	return &m->wire;
}

enum meter_state
meter_state(const struct meter *m)
{
	return m->state;
}

const char *
meter_state_name(enum meter_state state)
{
	static const char *const names[] = { "ok", "low", "spent" };

	return names[state];
}

struct meter_figures
meter_figures(const struct meter *m)
{
	struct meter_figures f = { .received = m->wire.received, .sent = m->wire.sent };
	uint64_t now_s;
	bool exact;

	if (m->link->opt->budget == 0)
		return f;
	now_s = walltime_ms(m->link->relay->walltime, &exact) / 1000;
	f.budget = allowed(m);
	f.used = m->ledger.now.used;
	f.ends_in_s = m->ledger.now.end > now_s ? m->ledger.now.end - now_s : 0;
	return f;
}
