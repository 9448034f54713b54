/* The monitor's HTTP; see monitor.h.
 *
 * As small as HTTP can be: the first line of a request decides, the rest of its head is only waited for, and every answer says
 * Connection: close.  Each answer is made whole in memory (some kilobytes) and MONITOR_CONNS bounds how many there are. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>

#include "relay/clock.h"
#include "relay/json.h"
#include "relay/link.h"
#include "relay/listener.h"
#include "relay/log.h"
#include "relay/meter.h"
#include "relay/monitor.h"
#include "relay/pace.h"
#include "relay/relay.h"
#include "relay/services.h"
#include "relay/spool.h"
#include "relay/status.h"

struct visit {
	TAILQ_ENTRY(visit) link;
	struct monitor *monitor;
	struct bufferevent *bev;
	struct event *deadline; /* absolute: neither drips of a request nor of an answer that is read move it */
	bool answered;
};

struct monitor {
	struct relay *relay;
	struct listener *listener;
	TAILQ_HEAD(, visit) visits;
};

static void
visit_end(struct visit *v)
{
	bufferevent_free(v->bev);
	event_free(v->deadline);
	TAILQ_REMOVE(&v->monitor->visits, v, link);
	listener_release(v->monitor->listener);
	free(v);
}

/* ---- answers ---- */

struct answer {
	unsigned code;
	const char *type;
	struct evbuffer *body;
};

static void
metric_text(void *arg, const char *key, const char *value)
{
	(void)arg;
	(void)key;
	(void)value; /* words are no numbers; metrics() says those that matter as 0 or 1 */
}

static bool
is_counter(const char *key)
{
	static const char *const names[] = {
#define COUNTER(name, help) #name,
#include "relay/stats.def"
#undef COUNTER
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(names[i], key) == 0)
			return true;
	return false;
}

static void
gauge(struct evbuffer *out, const char *name, uint64_t value)
{
	evbuffer_add_printf(out, "# TYPE holdfast_%s gauge\nholdfast_%s %llu\n", name, name, (unsigned long long)value);
}

static void
metric_number(void *arg, const char *key, uint64_t value)
{
	char name[80];
	size_t len = strlen(key);

	if (is_counter(key) || strchr(key, '.') != NULL || strcmp(key, "since_s") == 0 || strncmp(key, "link_", 5) == 0 ||
	    strncmp(key, "budget_", 7) == 0)
		return; /* metrics() has them, with their help, or with the upstream they are of */
	if (len > 2 && strcmp(key + len - 2, "_s") == 0)
		snprintf(name, sizeof(name), "%.*s_seconds", (int)len - 2, key); /* Prometheus spells units out */
	else
		snprintf(name, sizeof(name), "%s", key);
	gauge(arg, name, value);
}

/* The figures of each upstream, and their values in the same order. */
static const struct link_figure {
	const char *name, *type;
	bool budget; /* only with one */
} link_figures[] = {
	{ "link_up", "gauge", false },
	{ "link_closed_by_order", "gauge", false },
	{ "replay_paused", "gauge", false },
	{ "since_seconds", "gauge", false },
	{ "link_clients", "gauge", false },
	{ "link_http_clients", "gauge", false }, /* those that have only spoken HTTP so far (relay/door) */
	{ "link_backlog_records", "gauge", false },
	{ "link_backlog_bytes", "gauge", false },
	{ "link_backlog_files", "gauge", false },
	{ "link_oldest_seconds", "gauge", false },
	{ "link_received_bytes_total", "counter", false },
	{ "link_sent_bytes_total", "counter", false },
	{ "link_budget_bytes", "gauge", true },
	{ "link_budget_used_bytes", "gauge", true },
	{ "link_budget_ends_in_seconds", "gauge", true },
};

#define LINK_FIGURES (sizeof(link_figures) / sizeof(link_figures[0]))

static void
link_values(const struct link *l, uint64_t v[LINK_FIGURES])
{
	const struct store_share *b = link_backlog(l);
	struct meter_figures m = meter_figures(l->meter);
	const uint64_t all[LINK_FIGURES] = { link_state(l) == LINK_UP, link_closed(l), pace_held(l->pace), (clock_ms() - link_since_ms(l)) / 1000,
		l->nconns, l->services != NULL ? l->services->nconns : 0, b->records, b->bytes, b->files, status_age_s(b->oldest_ms), m.received, m.sent, m.budget, m.used, m.ends_in_s };

	memcpy(v, all, sizeof(all));
}

/* Figure i of each upstream that has it: that of a named one has a label. */
static void
link_metric(struct evbuffer *out, const struct relay *r, size_t i)
{
	const struct link_figure *f = &link_figures[i];
	uint64_t v[LINK_FIGURES];
	const struct link *l;

	evbuffer_add_printf(out, "# TYPE holdfast_%s %s\n", f->name, f->type);
	TAILQ_FOREACH (l, &r->links, entry) {
		if (f->budget && l->opt->budget == 0)
			continue;
		link_values(l, v);
		evbuffer_add_printf(out, "holdfast_%s", f->name);
		if (l->name[0] != '\0')
			evbuffer_add_printf(out, "{upstream=\"%s\"}", l->name);
		evbuffer_add_printf(out, " %llu\n", (unsigned long long)v[i]);
	}
}

static void
quota_metrics(struct evbuffer *out, const struct relay *r)
{
	static const char *const types[][2] = { { "quota_bytes", "gauge" }, { "quota_limit_bytes", "gauge" }, { "quota_refused_total", "counter" } };

	for (size_t k = 0; k < 3 && r->quotas.n > 0; k++) {
		evbuffer_add_printf(out, "# TYPE holdfast_%s %s\n", types[k][0], types[k][1]);
		for (unsigned i = 0; i < r->quotas.n; i++) {
			const struct quota *q = &r->quotas.of[i];
			const uint64_t v[] = { quota_held(r, i), q->limit, q->refused };

			evbuffer_add_printf(out, "holdfast_%s{quota=\"%s\"} %llu\n", types[k][0], q->pattern, (unsigned long long)v[k]);
		}
	}
}

static void
metrics(struct relay *r, struct answer *a)
{
	static const struct status_sink sink = { metric_text, metric_number };
	struct evbuffer *out = a->body;

	a->type = "text/plain; version=0.0.4; charset=utf-8";
	evbuffer_add_printf(out, "# TYPE holdfast_info gauge\nholdfast_info{version=\"" HOLDFAST_VERSION "\"} 1\n");
	for (size_t i = 0; i < LINK_FIGURES; i++)
		link_metric(out, r, i);
	quota_metrics(out, r);
	gauge(out, "draining", r->drain != NULL);
	gauge(out, "buffer_full", relay_full_by(r) != NULL);
	status_each(r, &sink, out);
#define COUNTER(name, help) \
	evbuffer_add_printf(out, "# HELP holdfast_" #name "_total %s\n# TYPE holdfast_" #name "_total counter\nholdfast_" #name "_total %llu\n", \
			    help, (unsigned long long)r->stats.name);
#include "relay/stats.def"
#undef COUNTER
}

static void
healthz(struct relay *r, struct answer *a)
{
	bool ok = spool_busy_ms(r->spool) < SPOOL_STUCK_MS;

	a->code = ok ? 200 : 503;
	evbuffer_add_printf(a->body, "%s\n", ok ? "ok" : "the committer is stuck");
}

static void
readyz(struct relay *r, struct answer *a)
{
	const char *why = r->drain != NULL ? "draining" : relay_full_by(r) != NULL ? "the buffer is full" : NULL;

	a->code = why == NULL ? 200 : 503;
	evbuffer_add_printf(a->body, "%s\n", why == NULL ? "ok" : why);
}

static void
figures(struct relay *r, struct answer *a)
{
	struct json j = { 0 };

	a->type = "application/json";
	json_begin(&j);
	status_json(r, &j);
	json_end(&j);
	if (!j.failed)
		evbuffer_add(a->body, j.text, j.len);
	json_free(&j);
}

static void
history_json(struct relay *r, struct answer *a)
{
	uint64_t bytes[STATUS_HISTORY];
	unsigned n = status_history(r, bytes);

	a->type = "application/json";
	evbuffer_add_printf(a->body, "{\"step_s\":%d,\"backlog_bytes\":[", STATUS_STEP_S);
	for (unsigned i = 0; i < n; i++)
		evbuffer_add_printf(a->body, "%s%llu", i > 0 ? "," : "", (unsigned long long)bytes[i]);
	evbuffer_add_printf(a->body, "]}\n");
}

static void
page(struct relay *r, struct answer *a)
{
	(void)r;
	a->type = "text/html; charset=utf-8";
	evbuffer_add_reference(a->body, monitor_page, strlen(monitor_page), NULL, NULL);
}

static const struct {
	const char *path;
	void (*make)(struct relay *r, struct answer *a);
} paths[] = {
	{ "/", page },	       { "/metrics", metrics },	      { "/healthz", healthz },
	{ "/readyz", readyz }, { "/status.json", figures }, { "/history.json", history_json },
};

static const char *
phrase(unsigned code)
{
	switch (code) {
	case 200:
		return "OK";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 503:
		return "Service Unavailable";
	default:
		return "Bad Request";
	}
}

/* The page needs nothing from anywhere else, so it may have nothing. */
static void
send_answer(struct visit *v, struct answer *a)
{
	struct evbuffer *out = bufferevent_get_output(v->bev);

	evbuffer_add_printf(out,
			    "HTTP/1.1 %u %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
			    "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
			    "connect-src 'self'; img-src data:; frame-ancestors 'none'\r\n%sConnection: close\r\n\r\n",
			    a->code, phrase(a->code), a->type, evbuffer_get_length(a->body), a->code == 405 ? "Allow: GET\r\n" : "");
	evbuffer_add_buffer(out, a->body);
	v->answered = true;
	bufferevent_disable(v->bev, EV_READ);
}

/* line: "GET /path HTTP/1.1"; changed. */
static void
answer_to(struct visit *v, char *line)
{
	struct answer a = { 400, "text/plain; charset=utf-8", evbuffer_new() };
	char *rest = NULL, *method = strtok_r(line, " ", &rest), *target = strtok_r(NULL, " ", &rest), *version = strtok_r(NULL, " ", &rest);

	if (a.body == NULL)
		log_fatal("out_of_memory", "bytes=0");
	if (version != NULL && strncmp(version, "HTTP/1.", 7) == 0) {
		target[strcspn(target, "?")] = '\0';
		a.code = strcmp(method, "GET") == 0 ? 404 : 405;
		for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]) && a.code == 404; i++) {
			if (strcmp(paths[i].path, target) == 0) {
				a.code = 200;
				paths[i].make(v->monitor->relay, &a);
			}
		}
	}
	if (evbuffer_get_length(a.body) == 0)
		evbuffer_add_printf(a.body, "%s\n", phrase(a.code));
	send_answer(v, &a);
	evbuffer_free(a.body);
}

/* ---- connections ---- */

static void
read_cb(struct bufferevent *bev, void *arg)
{
	struct visit *v = arg;
	struct evbuffer *in = bufferevent_get_input(bev);
	char *line;

	if (v->answered)
		return;
	if (evbuffer_search(in, "\r\n\r\n", 4, NULL).pos < 0) {
		if (evbuffer_get_length(in) >= MONITOR_REQUEST_MAX)
			visit_end(v);
		return;
	}
	line = evbuffer_readln(in, NULL, EVBUFFER_EOL_CRLF_STRICT);
	if (line == NULL) {
		visit_end(v);
		return;
	}
	answer_to(v, line);
	free(line);
}

static void
written_cb(struct bufferevent *bev, void *arg)
{
	struct visit *v = arg;

	(void)bev;
	if (v->answered)
		visit_end(v);
}

static void
event_cb(struct bufferevent *bev, short what, void *arg)
{
	(void)bev;
	(void)what; /* its end or an error: the same */
	visit_end(arg);
}

static void
deadline_cb(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	visit_end(arg);
}

static void
accepted_cb(void *arg, int fd, const struct sockaddr *peer, socklen_t peer_len)
{
	struct monitor *m = arg;
	struct visit *v = relay_alloc(sizeof(*v));

	(void)peer;
	(void)peer_len;
	v->monitor = m;
	v->bev = bufferevent_socket_new(m->relay->base, fd, BEV_OPT_CLOSE_ON_FREE);
	v->deadline = event_new(m->relay->base, -1, 0, deadline_cb, v);
	if (v->bev == NULL || v->deadline == NULL)
		log_fatal("out_of_memory", "bytes=0");
	TAILQ_INSERT_TAIL(&m->visits, v, link);
	bufferevent_setcb(v->bev, read_cb, written_cb, event_cb, v);
	bufferevent_setwatermark(v->bev, EV_READ, 0, MONITOR_REQUEST_MAX);
	relay_after_ms(v->deadline, m->relay->opt->handshake_timeout_ms);
	bufferevent_enable(v->bev, EV_READ | EV_WRITE);
}

struct monitor *
monitor_open(struct relay *relay, const char *address, char *why, size_t why_len)
{
	struct monitor *m = relay_alloc(sizeof(*m));

	m->relay = relay;
	TAILQ_INIT(&m->visits);
	m->listener = listener_open(relay->base, address, MONITOR_CONNS, accepted_cb, m, why, why_len);
	if (m->listener == NULL) {
		free(m);
		return NULL;
	}
	log_event(LOG_INFO, "monitor", "address=%s", listener_address(m->listener));
	return m;
}

void
monitor_close(struct monitor *m)
{
	struct visit *v;

	if (m == NULL)
		return;
	while ((v = TAILQ_FIRST(&m->visits)) != NULL)
		visit_end(v);
	listener_close(m->listener);
	free(m);
}
