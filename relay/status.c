/* The figures, the status line and file, and how fast the backlog shrinks.  See status.h.
 *
 * The rate is the net loss of backlog over the last SAMPLES * SAMPLE_MS at most, for what people want to know is when it will be over,
 * not how fast the link is.  It begins anew whenever the link comes or goes: what was lost before says nothing about now. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <event2/event.h>

#include "relay/clock.h"
#include "relay/json.h"
#include "relay/link.h"
#include "relay/log.h"
#include "relay/memory.h"
#include "relay/meter.h"
#include "relay/notify.h"
#include "relay/pace.h"
#include "relay/relay.h"
#include "relay/section.h"
#include "relay/spool.h"
#include "relay/status.h"

#define SAMPLE_MS 1000
#define TELL_SAMPLES 5 /* how often the service manager is told */
#define SAMPLES 60 /* a minute: long enough for a satellite's stutter, short enough to notice a change */

struct status {
	struct relay *relay;
	struct event *line, *sample;
	struct {
		uint64_t at_ms, bytes;
	} ring[SAMPLES]; /* the last n, the newest at (next - 1) % SAMPLES */
	unsigned n, next;
	uint64_t link_changes; /* of the samples */
	uint64_t history[STATUS_HISTORY]; /* as a ring: the current step is the last of nhistory, at (step - 1) % STATUS_HISTORY */
	unsigned nhistory, step;
	uint64_t step_ends_ms;
	uint64_t started_ms, samples;
	bool file_failed; /* said once */
};

/* ---- the rate ---- */

static void
take_sample(struct status *st)
{
	if (st->link_changes != st->relay->link_changes)
		st->n = 0;
	st->link_changes = st->relay->link_changes;
	st->ring[st->next].at_ms = clock_ms();
	st->ring[st->next].bytes = spool_stat(st->relay->spool)->bytes;
	st->next = (st->next + 1) % SAMPLES;
	if (st->n < SAMPLES)
		st->n++;
}

static void
keep_history(struct status *st)
{
	uint64_t now = clock_ms(), bytes = spool_stat(st->relay->spool)->bytes, *at;

	if (now >= st->step_ends_ms) {
		st->step_ends_ms = now + STATUS_STEP_S * 1000;
		st->history[st->step % STATUS_HISTORY] = 0;
		st->step++;
		if (st->nhistory < STATUS_HISTORY)
			st->nhistory++;
	}
	at = &st->history[(st->step - 1) % STATUS_HISTORY];
	if (bytes > *at)
		*at = bytes;
}

unsigned
status_history(const struct relay *relay, uint64_t bytes[STATUS_HISTORY])
{
	const struct status *st = relay->status;
	unsigned n = st != NULL ? st->nhistory : 0;

	for (unsigned i = 0; i < n; i++)
		bytes[i] = st->history[(st->step - n + i) % STATUS_HISTORY];
	return n;
}

uint64_t
status_drain_rate(const struct relay *relay)
{
	const struct status *st = relay->status;
	unsigned first, last;
	uint64_t ms;

	if (st == NULL || st->n < 2 || link_count(relay, LINK_DOWN) == relay->nlinks)
		return 0;
	first = (st->next + SAMPLES - st->n) % SAMPLES;
	last = (st->next + SAMPLES - 1) % SAMPLES;
	ms = st->ring[last].at_ms - st->ring[first].at_ms;
	if (ms == 0 || st->ring[first].bytes <= st->ring[last].bytes)
		return 0;
	return (st->ring[first].bytes - st->ring[last].bytes) * 1000 / ms;
}

/* ---- the list ---- */

/* A sink whose keys get a prefix. */
struct prefixed {
	const struct status_sink *sink;
	void *arg;
	char prefix[SECTION_TITLE_MAX + 2];
};

static void
prefixed_text(void *arg, const char *key, const char *value)
{
	const struct prefixed *p = arg;
	char name[SECTION_TITLE_MAX + 40];

	snprintf(name, sizeof(name), "%s%s", p->prefix, key);
	p->sink->text(p->arg, name, value);
}

static void
prefixed_number(void *arg, const char *key, uint64_t value)
{
	const struct prefixed *p = arg;
	char name[SECTION_TITLE_MAX + 40];

	snprintf(name, sizeof(name), "%s%s", p->prefix, key);
	p->sink->number(p->arg, name, value);
}

uint64_t
status_age_s(uint64_t since_ms)
{
	uint64_t wall = clock_wall_ms();

	return since_ms != 0 && wall > since_ms ? (wall - since_ms) / 1000 : 0;
}

/* What waits for one upstream of several. */
static void
share_figures(const struct link *l, const struct status_sink *sink, void *arg)
{
	static const char *const keys[][4] = { { "link_backlog_records", "link_backlog_bytes", "link_backlog_files", "link_oldest_s" },
		{ "backlog_records", "backlog_bytes", "backlog_files", "oldest_s" } };
	const char *const *key = keys[l->name[0] != '\0']; /* without a prefix those are the totals */
	const struct store_share *b = link_backlog(l);

	sink->number(arg, key[0], b->records);
	sink->number(arg, key[1], b->bytes);
	sink->number(arg, key[2], b->files);
	sink->number(arg, key[3], status_age_s(b->oldest_ms));
}

/* What went over the wire since the start, and the budget if there is one. */
static void
meter_figures_of(const struct link *l, const struct status_sink *sink, void *arg)
{
	struct meter_figures f = meter_figures(l->meter);

	sink->number(arg, "link_received", f.received);
	sink->number(arg, "link_sent", f.sent);
	if (f.budget == 0)
		return;
	sink->text(arg, "budget", meter_state_name(meter_state(l->meter)));
	sink->number(arg, "budget_bytes", f.budget);
	sink->number(arg, "budget_used", f.used);
	if (f.ends_in_s > 0)
		sink->number(arg, "budget_ends_in_s", f.ends_in_s);
}

static void
link_figures(const struct link *l, const struct status_sink *sink, void *arg)
{
	sink->text(arg, "link", link_state_name(link_state(l)));
	sink->number(arg, "since_s", (clock_ms() - link_since_ms(l)) / 1000);
	if (link_down(l))
		sink->text(arg, "cause", link_cause(l));
	sink->text(arg, "server", link_url(l, link_first_url(l), 0)->authority);
	sink->text(arg, "link_mode", link_mode_name(link_mode(l)));
	sink->text(arg, "replay", pace_held(l->pace) ? "paused" : "on");
	meter_figures_of(l, sink, arg);
}

/* Of a named one, without prefix. */
static void
named_link_figures(const struct link *l, const struct status_sink *sink, void *arg)
{
	link_figures(l, sink, arg);
	sink->number(arg, "conns", l->nconns);
	sink->number(arg, "upstreams", l->nupstreams);
	share_figures(l, sink, arg);
}

static void
backlog_figures(const struct relay *relay, const struct status_sink *sink, void *arg)
{
	const struct store_stat *st = spool_stat(relay->spool);
	uint64_t rate = status_drain_rate(relay);

	sink->number(arg, "backlog_records", st->records);
	sink->number(arg, "backlog_bytes", st->bytes);
	sink->number(arg, "backlog_files", st->files_with_backlog);
	sink->number(arg, "oldest_s", status_age_s(st->oldest_ms));
	if (rate > 0) {
		sink->number(arg, "drain_rate", rate);
		sink->number(arg, "drained_in_s", st->bytes / rate);
	}
	sink->number(arg, "unwritten_bytes", relay->tail_bytes);
	sink->text(arg, "buffer", spool_busy_ms(relay->spool) >= SPOOL_STUCK_MS ? "stuck" : relay_full_by(relay) != NULL ? "full" : "ok");
	if (relay_full_by(relay) != NULL)
		sink->text(arg, "full_by", relay_full_by(relay));
	sink->number(arg, "attention", st->files_aside + st->damaged);
	sink->number(arg, "disk_bytes", st->disk_bytes);
	if (st->disk_free != UINT64_MAX)
		sink->number(arg, "disk_free", st->disk_free);
}

/* Of one quota, without prefix. */
static void
quota_figures(const struct relay *relay, unsigned i, const struct status_sink *sink, void *arg)
{
	const struct quota *q = &relay->quotas.of[i];

	sink->text(arg, "pattern", q->pattern);
	sink->text(arg, "state", q->wanted > 0 ? "full" : "ok");
	sink->number(arg, "bytes", quota_held(relay, i));
	sink->number(arg, "limit", q->limit);
	sink->number(arg, "refused", q->refused);
}

/* What is not of one named upstream. */
static void
own_figures(const struct relay *relay, const struct status_sink *sink, void *arg)
{
	const struct link *unnamed = link_find(relay, "");
	uint64_t heap = memory_used();

	if (unnamed != NULL)
		link_figures(unnamed, sink, arg);
	if (unnamed != NULL && relay->nlinks > 1)
		share_figures(unnamed, sink, arg);
	sink->text(arg, "draining", relay->drain != NULL ? "yes" : "no");
	sink->number(arg, "conns", relay->nconns);
	sink->number(arg, "sessions", relay->nsessions);
	sink->number(arg, "upstreams", link_all_upstreams(relay));
	backlog_figures(relay, sink, arg);
	sink->text(arg, "recovery", relay->recovery);
	if (relay->status != NULL)
		sink->number(arg, "uptime_s", (clock_ms() - relay->status->started_ms) / 1000);
	if (heap > 0)
		sink->number(arg, "heap_bytes", heap);
#define COUNTER(name, help) sink->number(arg, #name, relay->stats.name);
#include "relay/stats.def"
#undef COUNTER
}

void
status_each(const struct relay *relay, const struct status_sink *sink, void *arg)
{
	static const struct status_sink with_prefix = { prefixed_text, prefixed_number };
	struct prefixed p = { .sink = sink, .arg = arg };
	const struct link *l;

	own_figures(relay, sink, arg);
	TAILQ_FOREACH (l, &relay->links, entry) {
		if (l->name[0] == '\0')
			continue;
		snprintf(p.prefix, sizeof(p.prefix), "upstream.%s.", l->name);
		named_link_figures(l, &with_prefix, &p);
	}
	for (unsigned i = 0; i < relay->quotas.n; i++) {
		snprintf(p.prefix, sizeof(p.prefix), "quota.%u.", i + 1);
		quota_figures(relay, i, &with_prefix, &p);
	}
}

/* ---- the line ---- */

static void
line_text(void *arg, const char *key, const char *value)
{
	log_str(arg, key, value);
}

static void
line_number(void *arg, const char *key, uint64_t value)
{
	log_u64(arg, key, value);
}

/* ---- as JSON ---- */

static void
json_text(void *arg, const char *key, const char *value)
{
	json_str(arg, key, value);
}

static void
json_number(void *arg, const char *key, uint64_t value)
{
	json_u64(arg, key, value);
}

void
status_json(const struct relay *relay, struct json *j)
{
	static const struct status_sink sink = { json_text, json_number };

	json_str(j, "name", "holdfast");
	json_str(j, "version", HOLDFAST_VERSION);
	json_u64(j, "pid", (uint64_t)getpid());
	status_each(relay, &sink, j);
}

/* In place of path, as a whole; 0 or an errno.  Not synced: it says how it is now. */
static int
replace_file(const char *path, const struct json *j)
{
	char temp[PATH_MAX];
	int fd, err = 0;

	snprintf(temp, sizeof(temp), "%s.new", path);
	fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, S_IRUSR | S_IWUSR);
	if (fd < 0)
		return errno;
	errno = ENOSPC; /* of a short write */
	if (write(fd, j->text, j->len) != (ssize_t)j->len || fchmod(fd, S_IRUSR | S_IWUSR | S_IRGRP | S_IROTH) != 0)
		err = errno;
	if (close(fd) != 0 && err == 0)
		err = errno;
	if (err == 0 && rename(temp, path) != 0)
		err = errno;
	if (err != 0)
		unlink(temp);
	return err;
}

static void
write_file(struct status *st)
{
	const char *path = st->relay->opt->status_file;
	struct json j = { 0 };
	struct log_line l;
	int err;

	if (path[0] == '\0')
		return;
	json_begin(&j);
	json_u64(&j, "time_ms", clock_wall_ms());
	status_json(st->relay, &j);
	json_end(&j);
	err = j.failed ? ENOMEM : replace_file(path, &j);
	json_free(&j);
	if (err != 0 && !st->file_failed) {
		log_begin(&l, LOG_WARN, "status_file");
		log_str(&l, "path", path);
		log_str(&l, "reason", strerror(err));
		log_end(&l);
	}
	st->file_failed = err != 0;
}

/* A named upstream has a line of its own, and so has a quota, so that no number of them makes one too long. */
void
status_log(struct relay *relay)
{
	static const struct status_sink sink = { line_text, line_number };
	const struct link *link;
	struct log_line l;

	log_begin(&l, LOG_INFO, "status");
	own_figures(relay, &sink, &l);
	log_end(&l);
	TAILQ_FOREACH (link, &relay->links, entry) {
		if (link->name[0] == '\0')
			continue;
		log_begin(&l, LOG_INFO, "status_upstream");
		log_str(&l, "upstream", link->name);
		named_link_figures(link, &sink, &l);
		log_end(&l);
	}
	for (unsigned i = 0; i < relay->quotas.n; i++) {
		log_begin(&l, LOG_INFO, "status_quota");
		quota_figures(relay, i, &sink, &l);
		log_end(&l);
	}
	if (relay->status != NULL)
		write_file(relay->status);
}

static void
line_cb(evutil_socket_t fd, short what, void *arg)
{
	struct status *st = arg;

	(void)fd;
	(void)what;
	status_log(st->relay);
	status_reloaded(st);
}

/* What systemctl status shows: the three numbers people ask for. */
static void
tell_manager(const struct relay *r)
{
	const struct store_stat *st = spool_stat(r->spool);
	const struct link *l = TAILQ_FIRST(&r->links);
	char text[256], links[64];

	if (r->nlinks == 1)
		snprintf(links, sizeof(links), "link %s%s", link_state_name(link_state(l)), link_closed(l) ? " (closed by order)" : "");
	else
		snprintf(links, sizeof(links), "%llu of %llu links up", (unsigned long long)link_count(r, LINK_UP),
			 (unsigned long long)r->nlinks);
	snprintf(text, sizeof(text), "STATUS=%s; %llu changesets waiting%s; %llu clients", links, (unsigned long long)st->records,
		 relay_full_by(r) != NULL ? ", the buffer is full" : "", (unsigned long long)r->nconns);
	notify_send(text);
}

static void
sample_cb(evutil_socket_t fd, short what, void *arg)
{
	struct status *st = arg;

	(void)fd;
	(void)what;
	take_sample(st);
	keep_history(st);
	memory_sample();
	log_tick();
	if (st->samples++ % TELL_SAMPLES == 0)
		tell_manager(st->relay);
	relay_after_ms(st->sample, SAMPLE_MS);
}

void
status_reloaded(struct status *st)
{
	relay_after_ms(st->line, st->relay->opt->status_interval_ms);
}

struct status *
status_new(struct relay *relay)
{
	struct status *st = relay_alloc(sizeof(*st));

	st->relay = relay;
	st->started_ms = clock_ms();
	st->line = relay_timer(relay->base, line_cb, st);
	st->sample = relay_timer(relay->base, sample_cb, st);
	relay_after_ms(st->line, 0);
	relay_after_ms(st->sample, 0);
	return st;
}

void
status_free(struct status *st)
{
	if (st == NULL)
		return;
	if (st->relay->opt->status_file[0] != '\0')
		unlink(st->relay->opt->status_file);
	event_free(st->line);
	event_free(st->sample);
	free(st);
}
