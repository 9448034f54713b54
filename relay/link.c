/* Evidence and verdict about the way to upstream.  See link.h for the states.
 *
 * A cut connection says little (a superseded session, a server restart), so every failure only asks for a probe; the probe, or
 * LINK_FAILS connections in a row that could not even be made, decide.  Whoever proves that upstream is there makes the link UP. */
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "relay/absent.h"
#include "relay/certs.h"
#include "relay/clock.h"
#include "relay/conn.h"
#include "relay/link.h"
#include "relay/log.h"
#include "relay/meter.h"
#include "relay/options.h"
#include "relay/pace.h"
#include "relay/pool.h"
#include "relay/service.h"
#include "relay/schedule.h"
#include "relay/services.h"
#include "relay/spool.h"
#include "relay/status.h"
#include "relay/tls.h"
#include "relay/upstream.h"
#include "relay/verdict.h"

#define ENDPOINT "upstream"	 /* what endpoints begin with */
#define LINK_PROOF_MS 5000	 /* how long a PONG or an accepted upgrade vouches for what upstream says over plain TCP */
#define WATCH_MS 1000
#define TIME_UNKNOWN_S 1700000000u /* November 2023: earlier is a clock that was never set */
#define LINK_FAILS 3		 /* connections in a row that were not reached, without any success between */
#define LINK_PROBE_OFFER "com.mongodb.realm-sync#14, com.mongodb.realm-sync#13, com.mongodb.realm-sync#12, com.mongodb.realm-sync#11, " \
			 "com.mongodb.realm-sync#10, com.mongodb.realm-sync#9, com.mongodb.realm-sync#8, com.mongodb.realm-sync/7, "     \
			 "com.mongodb.realm-sync/6, com.mongodb.realm-sync/5, com.mongodb.realm-sync/4, com.mongodb.realm-sync/3, "      \
			 "com.mongodb.realm-sync/2"

static const struct upstream_ops probe_ops;

static void
set_state(struct link *l, enum link_state to, const char *cause)
{
	struct conn *c, *next;
	struct log_line line;
	enum link_state from = l->state;
	uint64_t now = clock_ms();

	if (l->closed && to != LINK_DOWN)
		return;
	if (!l->closed || to != from)
		snprintf(l->cause, sizeof(l->cause), "%s", cause);
	if (from == to)
		return;
	log_begin(&line, to == LINK_DOWN ? LOG_WARN : LOG_INFO, "link");
	link_log_name(l, &line);
	log_str(&line, "state", link_state_name(to));
	log_str(&line, "was", link_state_name(from));
	log_u64(&line, "was_for_ms", now - l->since);
	if (to == LINK_DOWN)
		log_str(&line, "cause", cause);
	log_end(&line);
	l->state = to;
	l->relay->link_changes++;
	l->since = now;
	l->fails = 0;
	if (to == LINK_DOWN)
		l->at = 0; /* none works: preferences count again */
	relay_merging(l->relay);
	status_log(l->relay);
	memset(l->back, 0, sizeof(l->back));
	for (c = TAILQ_FIRST(&l->relay->conns); c != NULL; c = conn_next(c))
		if (conn_link(c) == l && conn_comes_back(c))
			l->back[conn_rank(c)]++;
	for (c = TAILQ_FIRST(&l->relay->conns); c != NULL; c = next) {
		next = conn_next(c);
		if (conn_link(c) == l)
			conn_link_changed(c);
	}
	if (l->services != NULL)
		services_link_changed(l->services);
	if (l->absents != NULL)
		absents_link_changed(l->absents);
	if (l->pool != NULL)
		pool_link_changed(l->pool);
}

/* An answer that upstream would not give has a name that helps who reads it. */
static void
go_down(struct link *l, enum link_evidence e, const char *why)
{
	char cause[sizeof(l->cause)];

	snprintf(cause, sizeof(cause), "%s%s", e == LINK_UNTRUSTED ? "a captive portal or a proxy in the way? " : "", why);
	set_state(l, LINK_DOWN, cause);
}

static void
probe_now(struct link *l)
{
	struct upstream_request req = { .target = view_of(l->path),
		.protocol = view_of(LINK_PROBE_OFFER),
		.user_agent = view_of("holdfast"),
		.flavour = MSG_PBS };

	event_del(l->timer);
	if (l->closed)
		return;
	if (link_held_ms(l) > 0)
		relay_after_ms(l->timer, link_held_ms(l));
	else if (l->probe == NULL && !l->relay->stopping && !l->stopped)
		l->probe = upstream_open(l, &req, &probe_ops, l, NULL);
}

static void
probe_opened(void *arg, struct view subprotocol, struct view server)
{
	struct link *l = arg;

	(void)subprotocol;
	(void)server;
	upstream_ping(l->probe);
}

static void
probe_ended(struct link *l)
{
	l->probe = NULL;
	relay_after_ms(l->timer, l->state == LINK_DOWN ? l->opt->probe_interval_ms : l->opt->upstream_ping_ms);
}

static void
probe_pong(void *arg)
{
	struct link *l = arg;

	upstream_close(l->probe, false, "probe succeeded");
	probe_ended(l);
}

/* Upstream speaks HTTP but wants credentials the probe does not have, or another path as long as none is known.  From a verified host, or
 * as a plain 401 or 404 (portals redirect or forbid), that is upstream. */
static void
probe_refused(void *arg, const struct http_head *head, struct view body)
{
	struct link *l = arg;
	char why[64];

	(void)body;
	l->probe = NULL;
	snprintf(why, sizeof(why), "the probe was answered %u", head->status);
	if (tls_verifies(l->tls) || head->status == 401 || head->status >= 500 ||
	    (!l->path_accepted && (head->status == 400 || head->status == 404 || head->status == 426)))
		set_state(l, LINK_UP, "");
	else
		go_down(l, LINK_UNTRUSTED, why);
	probe_ended(l);
}

static void
probe_lost(void *arg, enum link_evidence e, const char *why)
{
	struct link *l = arg;

	l->probe = NULL;
	go_down(l, e, why);
	probe_ended(l);
}

static const struct upstream_ops probe_ops = {
	.refused = probe_refused,
	.opened = probe_opened,
	.lost = probe_lost,
	.pong = probe_pong,
};

static void
timer_cb(evutil_socket_t fd, short what, void *arg)
{
	struct link *l = arg;

	(void)fd;
	(void)what;
	if (l->state != LINK_DOWN && l->nupstreams > 0)
		relay_after_ms(l->timer, l->opt->upstream_ping_ms); /* live connections ping by themselves */
	else
		probe_now(l);
}

static void
take_path(struct link *l, const void *path, size_t n)
{
	free(l->path);
	l->path = relay_strndup(path, n);
	l->path_accepted = true;
}

void
link_set_path(struct link *l, const char *path)
{
	char key[LINK_KEY_MAX];

	if (l->path_accepted && strcmp(l->path, path) == 0)
		return;
	take_path(l, path, strlen(path));
	link_meta_key(l, LINK_PATH_KEY, key);
	spool_put(l->relay->spool, STORE_META, view_of(key), view_of(l->path));
}

/* ---- by order ---- */

static void
close_link(struct link *l, const char *why)
{
	struct upstream *u;

	l->closed = true;
	event_del(l->timer);
	upstream_close(l->probe, false, why);
	l->probe = NULL;
	set_state(l, LINK_DOWN, why);
	while ((u = TAILQ_FIRST(&l->upstreams)) != NULL)
		upstream_fail(u, why); /* leaves the list; no new one is made while the link is DOWN */
}

static void
open_link(struct link *l)
{
	l->closed = false;
	snprintf(l->cause, sizeof(l->cause), "not tried yet since it was closed");
	probe_now(l);
}

/* Why it is to be closed now, in words; NULL: it is not. */
static const char *
order_to_close(const struct link *l, bool in_window)
{
	if (l->mode == LINK_OFFLINE)
		return "closed by an operator";
	if (l->mode == LINK_ONLINE)
		return NULL;
	if (!in_window)
		return "outside the windows of schedule";
	return l->opt->budget_end == BUDGET_END_OFFLINE && meter_state(l->meter) == METER_SPENT ? "the byte budget is used up" : NULL;
}

/* Opens or closes it when mode, schedule or budget say so now.  A gateway that has no idea of the time yet is open: it may well learn it by this
 * link. */
static void
judge_order(struct link *l)
{
	uint64_t wall_s = clock_wall_ms() / 1000;
	bool open = schedule_open(&l->schedule, wall_s, &l->rate) || wall_s < TIME_UNKNOWN_S;
	const char *why = order_to_close(l, open);

	if (l->mode != LINK_AUTO || wall_s < TIME_UNKNOWN_S)
		l->rate = 0;
	pace_hold(l->pace, PACE_BUDGET,
		  l->mode == LINK_AUTO && l->opt->budget_end == BUDGET_END_REPLAY && meter_state(l->meter) == METER_SPENT);
	if (why != NULL && !l->closed)
		close_link(l, why);
	else if (why != NULL)
		snprintf(l->cause, sizeof(l->cause), "%s", why); /* perhaps another one than before */
	else if (l->closed)
		open_link(l);
}

void
link_set_mode(struct link *l, enum link_mode mode)
{
	struct log_line line;

	if (mode == l->mode)
		return;
	log_begin(&line, LOG_INFO, "link_mode");
	link_log_name(l, &line);
	log_str(&line, "mode", link_mode_name(mode));
	log_str(&line, "was", link_mode_name(l->mode));
	log_end(&line);
	l->mode = mode;
	judge_order(l);
}

bool
link_closed(const struct link *l)
{
	return l->closed;
}

uint64_t
link_rate(const struct link *l)
{
	return l->rate;
}

void
link_reloaded(struct link *l)
{
	struct priority first;
	char why[200];

	if (!schedule_parse(l->opt->schedule, &l->schedule, why, sizeof(why)) || !priority_parse(l->opt->first, &first, why, sizeof(why)))
		PANIC(why); /* options_check lets none pass */
	if (!priority_same(&first, &l->priority)) {
		l->priority = first;
		pace_rank_anew(l->pace);
	}
	meter_reloaded(l->meter);
	judge_order(l);
}

void
link_metered(struct link *l)
{
	if (!l->stopped)
		judge_order(l);
}

static void
watch_cb(evutil_socket_t fd, short what, void *arg)
{
	struct link *l = arg;

	(void)fd;
	(void)what;
	link_reloaded(l);
	relay_after_ms(l->watch, WATCH_MS);
}

enum link_mode
link_mode(const struct link *l)
{
	return l->mode;
}

const char *
link_mode_name(enum link_mode mode)
{
	static const char *const names[] = { "auto", "online", "offline" };

	return names[mode];
}

/* ---- life ---- */

static void
path_read(void *arg, struct spool_op *op)
{
	struct link *l = arg;

	if (l->stopped)
		return;
	if (op->err == STORE_OK && !l->path_accepted)
		take_path(l, op->val, op->val_len);
	relay_after_ms(l->timer, 0);
}

static bool
read_keys(struct link *l)
{
	const struct options *o = l->opt;
	char why[512] = "";
	struct tls_settings up = { .certificate = o->upstream_certificate,
		.key = o->upstream_key,
		.ca = o->upstream_ca_file,
		.pin = o->upstream_pin,
		.verify = o->upstream_verify,
		.tls12 = o->upstream_tls_min == TLS_MIN_12 };
	struct log_line line;

	if (l->urls.url[0].tls)
		l->tls = tls_client_new(&up, why, sizeof(why));
	if (l->tls != NULL || !l->urls.url[0].tls)
		l->services = services_new(l, why, sizeof(why));
	if (why[0] == '\0')
		return true;
	log_begin(&line, LOG_ERROR, "tls");
	log_str(&line, "for", l->label);
	log_str(&line, "reason", why);
	log_end(&line);
	return false;
}

struct link *
link_new(struct relay *relay, const char *name, const struct options *opt)
{
	struct link *l = relay_alloc(sizeof(*l));
	char why[200];

	l->relay = relay;
	l->opt = opt;
	l->name = relay_strndup(name, strlen(name));
	snprintf(l->label, sizeof(l->label), name[0] != '\0' ? "upstream %s" : "upstream", name);
	TAILQ_INIT(&l->upstreams);
	linger_init(&l->lingering);
	l->since = clock_ms();
	l->path = relay_strndup("/realm-sync", strlen("/realm-sync"));
	if (!address_url_list(opt->upstream_url, &l->urls, why, sizeof(why)))
		PANIC(why); /* options_check lets none pass */
	l->share = (unsigned)relay->nlinks;
	l->meter = meter_new(l);
	TAILQ_INSERT_TAIL(&relay->links, l, entry);
	relay->nlinks++;
	if (read_keys(l))
		return l;
	link_free(l);
	return NULL;
}

void
link_start(struct link *l)
{
	struct relay *relay = l->relay;
	char key[LINK_KEY_MAX];

	certs_watch(relay->certs, l->tls, l->label);
	l->timer = relay_timer(relay->base, timer_cb, l);
	l->watch = relay_timer(relay->base, watch_cb, l);
	l->pace = pace_new(l);
	relay_after_ms(l->watch, 0);
	meter_start(l->meter);
	link_meta_key(l, LINK_PATH_KEY, key);
	spool_get(relay->spool, STORE_META, view_of(key), path_read, l); /* then the first probe */
	if (l->services != NULL)
		services_start(l->services);
	l->absents = absents_new(l);
	l->pool = pool_new(l);
	l->service = service_new(l);
}

void
link_stop(struct link *l)
{
	struct upstream *u;

	absents_stop(l->absents);
	services_stop(l->services);
	pool_free(l->pool);
	l->pool = NULL;
	upstream_close(l->probe, false, "stopping");
	l->probe = NULL;
	l->stopped = true;
	while ((u = TAILQ_FIRST(&l->upstreams)) != NULL)
		upstream_close(u, false, "stopping");
	service_free(l->service);
	l->service = NULL;
	event_free(l->timer);
	event_free(l->watch);
	l->timer = l->watch = NULL;
}

void
link_free(struct link *l)
{
	TAILQ_REMOVE(&l->relay->links, l, entry);
	l->relay->nlinks--;
	absents_free(l->absents);
	services_free(l->services);
	pace_free(l->pace);
	meter_free(l->meter);
	tls_free(l->tls);
	free(l->path);
	free(l->name);
	free(l);
}

/* ---- endpoints ---- */

char *
link_endpoint(const struct link *l, struct view path)
{
	size_t n = strlen(ENDPOINT) + 1 + strlen(l->name);
	char *out = relay_alloc(n + path.len + 1);

	n = (size_t)sprintf(out, l->name[0] != '\0' ? ENDPOINT ":%s" : ENDPOINT, l->name);
	memcpy(out + n, path.ptr, path.len);
	return out;
}

const char *
link_endpoint_path(const char *endpoint)
{
	return endpoint + strcspn(endpoint, "/");
}

bool
link_has_endpoint(const struct link *l, const char *endpoint)
{
	size_t n = strlen(ENDPOINT), name = strlen(l->name);

	if (strncmp(endpoint, ENDPOINT, n) != 0)
		return false;
	if (name == 0)
		return endpoint[n] != ':';
	return endpoint[n] == ':' && strncmp(endpoint + n + 1, l->name, name) == 0 && endpoint[n + 1 + name] == '/';
}

_Static_assert(SECTIONS_MAX <= LINK_SHARE_NONE + 1, "each upstream has a share, and there is a listener");

unsigned
link_share_of(const struct relay *relay, const struct store_file *f)
{
	const struct link *l;

	TAILQ_FOREACH (l, &relay->links, entry)
		if (link_has_endpoint(l, f->endpoint))
			return l->share;
	return LINK_SHARE_NONE;
}

const struct store_share *
link_backlog(const struct link *l)
{
	return &spool_shares(l->relay->spool)[l->share];
}

void
link_scope(const struct link *l, uint8_t scope[LINK_SCOPE])
{
	uint8_t hash[32];

	tls_sha256(l->label, strlen(l->label), hash);
	memcpy(scope, hash, LINK_SCOPE);
}

void
link_meta_key(const struct link *l, const char *what, char key[LINK_KEY_MAX])
{
	snprintf(key, LINK_KEY_MAX, l->name[0] != '\0' ? "%s %s" : "%s", what, l->name);
}

/* ---- all of them ---- */

struct link *
link_find(const struct relay *relay, const char *name)
{
	struct link *l;

	TAILQ_FOREACH (l, &relay->links, entry)
		if (strcmp(l->name, name) == 0)
			return l;
	return NULL;
}

uint64_t
link_count(const struct relay *relay, enum link_state state)
{
	const struct link *l;
	uint64_t n = 0;

	TAILQ_FOREACH (l, &relay->links, entry)
		n += l->state == state;
	return n;
}

uint64_t
link_all_upstreams(const struct relay *relay)
{
	const struct link *l;
	uint64_t n = 0;

	TAILQ_FOREACH (l, &relay->links, entry)
		n += l->nupstreams;
	return n;
}

/* ---- what is known ---- */

void
link_log_name(const struct link *l, struct log_line *line)
{
	if (l->name[0] != '\0')
		log_str(line, "upstream", l->name);
}

enum link_state
link_state(const struct link *l)
{
	return l->state;
}

bool
link_down(const struct link *l)
{
	return l->state == LINK_DOWN;
}

const char *
link_state_name(enum link_state state)
{
	static const char *const names[] = { "unknown", "up", "down" };

	return names[state];
}

uint64_t
link_since_ms(const struct link *l)
{
	return l->since;
}

const char *
link_cause(const struct link *l)
{
	return l->state == LINK_DOWN ? l->cause : "";
}

void
link_failed(struct link *l, enum link_evidence e, const char *why)
{
	if (l->state == LINK_DOWN)
		return;
	if (e != LINK_CUT && e != LINK_GARBLED && ++l->fails >= LINK_FAILS)
		go_down(l, e, why);
	probe_now(l);
}

void
link_succeeded(struct link *l)
{
	l->fails = 0;
	l->proved_at = clock_ms();
	set_state(l, LINK_UP, "");
}

uint64_t
link_proved_at_ms(const struct link *l)
{
	return l->proved_at;
}

uint64_t
link_hold(struct link *l, const struct verdict_error *e)
{
	uint64_t ms = verdict_delay(&l->named, e);

	if (clock_ms() + ms > l->held_until)
		l->held_until = clock_ms() + ms;
	return ms;
}

void
link_served(struct link *l)
{
	l->named = (struct verdict_delay){ 0 };
}

uint64_t
link_held_ms(const struct link *l)
{
	return l->held_until > clock_ms() ? l->held_until - clock_ms() : 0;
}

unsigned
link_first_url(const struct link *l)
{
	return l->at;
}

unsigned
link_url_count(const struct link *l)
{
	return (unsigned)l->urls.n;
}

const struct address_url *
link_url(const struct link *l, unsigned first, unsigned nth)
{
	if (nth >= link_url_count(l))
		return NULL;
	return &l->urls.url[nth == 0 ? first : nth <= first ? nth - 1 : nth];
}

void
link_reached(struct link *l, const struct address_url *url)
{
	unsigned at = (unsigned)(url - l->urls.url);
	struct log_line line;

	if (l->at == at)
		return;
	l->at = at;
	log_begin(&line, LOG_INFO, "upstream_url");
	link_log_name(l, &line);
	log_str(&line, "now", url->authority);
	log_end(&line);
}

bool
link_trusts_refusal(const struct link *l, unsigned status)
{
	if (status < 300)
		return false; /* no server answers an upgrade so */
	return tls_verifies(l->tls) || status == 401 || status >= 500 || link_proved(l);
}

bool
link_proved(const struct link *l)
{
	return l->proved_at != 0 && clock_ms() - l->proved_at < LINK_PROOF_MS;
}
