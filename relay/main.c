/* holdfast: start, the loop, the end.
 *
 * The loop is ours (style 33): one pass of libevent, then, in this order, what the pass left to do: tails whose linger is over are
 * posted, clients are told what the committer made durable, what is queued then is sent, and what was closed is freed.  Persist-before-reply is
 * this order and nothing else: an acknowledgement is made only from a completed commit (session_show_pass), I1. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "buffer/store.h"

#include "relay/authority.h"
#include "relay/budget.h"
#include "relay/certs.h"
#include "relay/clock.h"
#include "relay/conf.h"
#include "relay/conn.h"
#include "relay/control.h"
#include "relay/drain.h"
#include "relay/front.h"
#include "relay/gate.h"
#include "relay/journal.h"
#include "relay/link.h"
#include "relay/log.h"
#include "relay/memory.h"
#include "relay/meter.h"
#include "relay/monitor.h"
#include "relay/notify.h"
#include "relay/privilege.h"
#include "relay/quota.h"
#include "relay/recover.h"
#include "relay/relay.h"
#include "relay/reload.h"
#include "relay/resolver.h"
#include "relay/retention.h"
#include "relay/ring.h"
#include "relay/session.h"
#include "relay/spool.h"
#include "relay/statecache.h"
#include "relay/status.h"
#include "relay/stop.h"
#include "relay/stream.h"
#include "relay/timer.h"
#include "relay/upstream.h"
#include "relay/walltime.h"

static void
usage(FILE *out)
{
	fputs("usage: holdfast -c FILE [-t | -T] [-v]\n"
	      "  -c FILE  configuration (see holdfast.ini(5))\n"
	      "  -t       check the configuration and exit\n"
	      "  -T       print the configuration as it is understood, with the file and line each value comes from, and exit\n"
	      "  -v       log at level debug\n",
	      out);
}

/* ---- the parts, in order ---- */

/* As the user that will open it again, at rotation. */
static void
open_log(const struct options *o)
{
	if (o->log_file[0] != '\0' && !log_to_file(o->log_file))
		log_fatal("log_file", "path=\"%s\" reason=\"%s\"", o->log_file, strerror(errno));
}

static struct journal *
open_journal(const struct options *o)
{
	char path[4096], why[512];
	struct journal *j;

	snprintf(path, sizeof(path), "%s/" JOURNAL_NAME, o->state_dir);
	j = journal_open(path, why, sizeof(why));
	if (j == NULL)
		log_fatal("journal", "reason=\"%s\"", why);
	return j;
}

/* A buffer that lost something, or all: does that touch anything that a device was told?  In its first moments a buffer may end so, with
 * nothing in it yet. */
static void
tell_promises(const char *recovery, const struct journal *j)
{
	size_t n = journal_count(j);
	struct log_line l;

	if (strcmp(recovery, "salvaged") != 0 && strcmp(recovery, "empty") != 0)
		return;
	log_begin(&l, n > 0 ? LOG_WARN : LOG_INFO, "recovery_promises");
	log_str(&l, "recovery", recovery);
	log_u64(&l, "promises", n);
	log_str(&l, "text",
		n > 0 ? "of these files this relay acknowledged changes; those that it lost become LOST when their devices come back"
		      : "nothing that this relay acknowledged is missing");
	log_end(&l);
}

/* Links and fronts with their keys, which may be read by root only.  The program ends if that cannot be; the log says why. */
static void
open_ways(struct relay *r)
{
	const struct section *s = NULL;
	bool ok = true;

	TAILQ_INIT(&r->links);
	TAILQ_INIT(&r->fronts);
	TAILQ_INIT(&r->retired_fronts);
	while ((s = sections_next(r->sections, s, SECTION_UPSTREAM)) != NULL)
		ok = link_new(r, s->name, &s->opt) != NULL && ok;
	while (ok && (s = sections_next(r->sections, s, SECTION_LISTENER)) != NULL)
		ok = front_new(r, s->name, &s->opt, link_find(r, s->upstream->name)) != NULL && ok;
	if (!ok)
		exit(1);
}

static void
close_ways(struct relay *r)
{
	while (!TAILQ_EMPTY(&r->fronts))
		front_free(TAILQ_FIRST(&r->fronts));
	while (!TAILQ_EMPTY(&r->retired_fronts))
		front_free(TAILQ_FIRST(&r->retired_fronts));
	while (!TAILQ_EMPTY(&r->links))
		link_free(TAILQ_FIRST(&r->links));
}

static void
listen_all(struct relay *r)
{
	struct front *f;
	char why[512];

	TAILQ_FOREACH (f, &r->fronts, entry)
		if (!front_listen(f, why, sizeof(why)))
			log_fatal("listen", "address=%s reason=\"%s\"", f->opt->listen_address, why);
}

static void
spool_changed(void *arg)
{
	struct relay *r = arg;
	const struct merger_stat *merged = spool_merged(r->spool);
	struct conn *c, *next;

	r->stats.merged_instructions = merged->instructions;
	r->stats.merged_changesets = merged->changesets;
	r->stats.merged_bytes = merged->bytes;
	r->stats.commits = spool_commits(r->spool);
	quota_settle(r);
	if (r->nsuspended == 0 && r->nrefused == 0)
		return;
	for (c = TAILQ_FIRST(&r->conns); c != NULL; c = next) {
		next = conn_next(c);
		conn_spool_changed(c);
	}
}

/* Without it the relay still does its work: no reason not to start. */
static void
open_control(struct relay *r)
{
	char path[4200], why[4400];
	struct log_line l;

	control_path(r->opt->state_dir, r->opt->control, path, sizeof(path));
	r->control = control_open(r, path, r->opt->control_group, why, sizeof(why));
	if (r->control != NULL)
		return;
	log_begin(&l, LOG_WARN, "no_control_socket");
	log_str(&l, "reason", why);
	log_end(&l);
}

/* Nor without this. */
static void
open_monitor(struct relay *r)
{
	char why[512];
	struct log_line l;

	if (r->opt->monitor_listen[0] == '\0')
		return;
	r->monitor = monitor_open(r, r->opt->monitor_listen, why, sizeof(why));
	if (r->monitor != NULL)
		return;
	log_begin(&l, LOG_WARN, "no_monitor");
	log_str(&l, "reason", why);
	log_end(&l);
}

/* Its warnings come when a system call failed. */
static void
libevent_cb(int severity, const char *text)
{
	struct log_line l;

	if (severity < EVENT_LOG_WARN)
		return;
	log_begin(&l, LOG_WARN, "libevent");
	log_str(&l, "text", text);
	log_end(&l);
}

static struct event_base *
base_new(void)
{
	struct event_base *base = event_base_new();

	if (base == NULL)
		log_fatal("out_of_memory", "bytes=0");
	event_set_log_callback(libevent_cb);
	return base;
}

/* Without it each operation is a system call of its own: no reason not to start. */
static void
open_ring(const struct options *opt)
{
	if (opt->io_uring && !ring_init())
		log_event(LOG_INFO, "no_io_uring", "reason=\"%s\"", strerror(errno));
}

static void
reload_cb(evutil_socket_t sig, short what, void *arg)
{
	struct relay *r = arg;
	struct reload_sum sum;

	(void)sig;
	(void)what;
	if (!r->stopping) /* what it would change is being closed */
		reload_run(r->reload, NULL, &sum);
}

static void
stop_cb(evutil_socket_t sig, short what, void *arg)
{
	struct relay *r = arg;

	(void)what;
	log_event(LOG_INFO, "stopping", "signal=%d", (int)sig);
	r->stopping = true;
}

static void
rotate_cb(evutil_socket_t sig, short what, void *arg)
{
	(void)sig;
	(void)what;
	(void)arg;
	if (log_reopen())
		log_event(LOG_INFO, "log_opened", "by=signal");
	else
		log_event(LOG_WARN, "log_not_opened", "reason=\"%s\"", strerror(errno));
}

/* From before the first line that says that it listens: whoever reads that may stop it, and it ends as it should. */
static void
watch_signals(struct relay *r)
{
	static const struct {
		int number;
		event_callback_fn take;
	} signals[RELAY_SIGNALS] = { { SIGTERM, stop_cb }, { SIGINT, stop_cb }, { SIGHUP, reload_cb }, { SIGUSR1, rotate_cb } };

	for (size_t i = 0; i < RELAY_SIGNALS; i++) {
		r->signal[i] = evsignal_new(r->base, signals[i].number, signals[i].take, r);
		if (r->signal[i] == NULL || event_add(r->signal[i], NULL) != 0)
			log_fatal("signals", "errno=%d", errno);
	}
}

static int64_t end_of_pass(struct relay *r);

static void
read_nothing(void *arg, struct store *store)
{
	(void)arg;
	(void)store;
}

static void
read_cb(void *arg, struct spool_op *op)
{
	(void)op;
	*(bool *)arg = true;
}

/* Whoever comes is judged by what is kept on the disk (users, signing keys, locations, the last good time), and that has been asked for by now:
 * the committer answers in order. */
static void
wait_for_disk(struct relay *r)
{
	bool answered = false;

	spool_call(r->spool, read_nothing, read_cb, &answered);
	while (!answered && event_base_loop(r->base, EVLOOP_ONCE) >= 0)
		end_of_pass(r);
}

static void
relay_open(struct relay *r)
{
	struct store *store;
	struct journal *journal;
	struct link *l;

	TAILQ_INIT(&r->conns);
	TAILQ_INIT(&r->to_show);
	TAILQ_INIT(&r->ended_sessions);
	open_ways(r);
	privilege_drop(r->sections, reload_path(r->reload));
	open_log(r->opt);
	r->base = base_new();
	open_ring(r->opt);
	stream_init(r->base);
	r->gate = gate_new(r->opt);
	r->certs = certs_new(r->base);
	store = recover_open(r->opt, &r->recovery);
	if (!quota_start(r, store))
		log_fatal("store", "reason=\"the files of the backlog cannot be read\"");
	journal = open_journal(r->opt);
	tell_promises(r->recovery, journal);
	if (!authority_settle(r, store, journal)) {
		journal_close(journal);
		store_close(store);
		exit(1);
	}
	r->spool = spool_new(r->base, store, journal, spool_changed, r);
	r->timers = timers_new(r->base);
	r->resolver = resolver_new(r->base, NULL);
	if (r->spool == NULL || r->resolver == NULL)
		log_fatal("threads", "errno=%d", errno);
	r->statecache = statecache_new(r);
	r->walltime = walltime_new(r);
	TAILQ_FOREACH (l, &r->links, entry)
		link_start(l);
	relay_merging(r);
	r->retention = retention_new(r);
	watch_signals(r);
	open_control(r);
	wait_for_disk(r);
	listen_all(r);
	open_monitor(r);
	privilege_end();
}

static void
relay_close(struct relay *r)
{
	struct front *f;
	struct link *l;
	struct conn *c;

	r->stopping = true;
	stop_within(r->opt->stop_timeout_ms);
	control_close(r->control);
	monitor_close(r->monitor);
	drain_free(r->drain);
	retention_stop(r->retention);
	while ((c = TAILQ_FIRST(&r->conns)) != NULL)
		conn_abort(c, "stopping");
	TAILQ_FOREACH (l, &r->links, entry)
		link_stop(l);
	relay_merging(r); /* none any more */
	TAILQ_FOREACH (f, &r->fronts, entry)
		front_close(f);
	while (spool_queued(r->spool) > 0 && event_base_loop(r->base, EVLOOP_ONCE) >= 0)
		end_of_pass(r); /* what the sessions posted on their way out is committed */
	end_of_pass(r);
	TAILQ_FOREACH (l, &r->links, entry)
		meter_keep(l->meter);
	spool_free(r->spool);
	quota_end(r);
	retention_free(r->retention);
	walltime_free(r->walltime);
	statecache_free(r->statecache);
	resolver_free(r->resolver);
	certs_free(r->certs);
	stream_fini();
	ring_fini();
	close_ways(r);
	for (size_t i = 0; i < RELAY_SIGNALS; i++)
		event_free(r->signal[i]);
	timers_free(r->timers);
	event_base_free(r->base);
	gate_free(r->gate);
}

/* ---- the loop ---- */

static struct timeval
from_ms(uint64_t ms)
{
	return (struct timeval){ (time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000) };
}

static void
wake_cb(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg; /* the pass itself does the work */
}

/* Returns ms until a pass is due by itself, or -1. */
static int64_t
end_of_pass(struct relay *r)
{
	uint64_t now = clock_ms();
	int64_t linger = file_post_pass(r, now), show = session_show_pass(r, now);

	r->pass_ms = now;
	stream_flush_all();
	meter_pass(r);
	budget_pass(r);
	stream_reap();
	session_free_ended(r);
	conn_free_closed();
	upstream_free_closed();
	return linger < 0 || (show >= 0 && show < linger) ? show : linger;
}

/* The loop is alive, or it would not come here; and so is the committer, or a commit would not have taken so little. */
static void
watchdog_cb(evutil_socket_t fd, short what, void *arg)
{
	struct relay *r = arg;

	(void)fd;
	(void)what;
	if (spool_busy_ms(r->spool) < notify_watchdog_ms())
		notify_send("WATCHDOG=1");
}

static void
loop(struct relay *r)
{
	struct event *wake = event_new(r->base, -1, 0, wake_cb, r);
	struct event *watchdog = event_new(r->base, -1, EV_PERSIST, watchdog_cb, r);
	struct timeval tv;

	r->status = status_new(r);
	if (wake == NULL || watchdog == NULL)
		log_fatal("out_of_memory", "bytes=0");
	if (notify_watchdog_ms() > 0) {
		tv = from_ms(notify_watchdog_ms() / 3);
		event_add(watchdog, &tv);
	}
	notify_send("READY=1");
	budget_log(r->sections);
	while (!r->stopping) {
		int64_t wait;

		if (event_base_loop(r->base, EVLOOP_ONCE) < 0)
			log_fatal("loop", "errno=%d", errno);
		wait = end_of_pass(r);
		if (wait >= 0) {
			tv = from_ms((uint64_t)wait);
			event_add(wake, &tv);
		}
	}
	notify_send("STOPPING=1");
	event_free(watchdog);
	event_free(wake);
	status_free(r->status);
	r->status = NULL;
}

/* ---- start ---- */

static bool
check_only(const struct sections *all)
{
	struct relay r = { .sections = all };

	open_ways(&r);
	close_ways(&r);
	return true;
}

static void
read_sections(const char *path, struct sections *all)
{
	struct conf_errors errs;

	if (!conf_load(path, all, &errs)) {
		conf_errors_print(&errs, stderr);
		conf_errors_free(&errs);
		exit(1);
	}
	conf_errors_free(&errs);
}

/* What the command line asks for. */
struct order {
	const char *path;
	bool check, print, verbose;
};

/* Returns the status to exit with, or -1 to go on. */
static int
read_order(int argc, char **argv, struct order *order)
{
	int ch;

	while ((ch = getopt(argc, argv, "c:tTvh")) != -1) {
		switch (ch) {
		case 'c':
			order->path = optarg;
			break;
		case 't':
			order->check = true;
			break;
		case 'T':
			order->print = true;
			break;
		case 'v':
			order->verbose = true;
			break;
		case 'h':
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return 2;
		}
	}
	if (order->path == NULL || optind != argc) {
		usage(stderr);
		return 2;
	}
	return -1;
}

static void
run(struct sections *all, const struct order *order)
{
	struct relay r = { .sections = all, .opt = &sections_global(all)->opt };

	r.reload = reload_new(&r, order->path, all, order->verbose);
	relay_open(&r);
	loop(&r);
	relay_close(&r);
	reload_free(r.reload);
	log_event(LOG_INFO, "stopped", "reason=%s", r.drain != NULL ? "drained" : "signal");
}

int
main(int argc, char **argv)
{
	struct order order = { 0 };
	struct sections all;
	int status = read_order(argc, argv, &order);

	if (status >= 0)
		return status;
	memory_setup();
	privilege_begin();
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN); /* until watch_signals */
	signal(SIGUSR1, SIG_IGN);
	read_sections(order.path, &all);
	log_set_level(order.verbose ? LOG_DEBUG : (enum log_level)sections_global(&all)->opt.log_level);
	log_set_format((enum log_format)sections_global(&all)->opt.log_format);
	log_set_burst(sections_global(&all)->opt.log_burst);
	if (order.print) {
		sections_dump(&all, true, stdout);
		status = fflush(stdout) == 0 ? 0 : 1;
	} else if (order.check) {
		check_only(&all);
		status = 0;
	}
	if (status < 0)
		run(&all, &order);
	sections_free(&all);
	return status < 0 ? 0 : status;
}
