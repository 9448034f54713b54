/* The stand-in upstream as a whole; see server.h.
 *
 * For: main.c.  Never: reads commands (commands.c) or messages (conn.c, session.c).
 *
 * The one idea: three events of its own.  flush runs once after the reads of a pass and pushes the sessions of each path that
 * grew; retry goes on with connections that were too full; tick looks now and then at what nobody reports: PINGs that do not come,
 * and WebSocket pings that do (the reference server ends the connection). */
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "tests/peer/wsio.h"
#include "tests/upstream/conn.h"
#include "tests/upstream/server.h"
#include "tests/upstream/session.h"

static void
flush_cb(evutil_socket_t fd, short what, void *arg)
{
	struct server *srv = arg;
	struct session *s;
	struct path *p;

	(void)fd, (void)what;
	while ((p = srv->dirty) != NULL) {
		srv->dirty = p->next_dirty;
		p->dirty = false;
		for (s = p->sessions; s != NULL; s = s->path_next)
			session_push(s);
	}
}

static void
retry_cb(evutil_socket_t fd, short what, void *arg)
{
	struct server *srv = arg;
	struct conn *c;

	(void)fd, (void)what;
	for (c = srv->conns; c != NULL; c = c->next)
		if (c->full && !c->closing)
			conn_resume(c);
}

static void
tick_cb(evutil_socket_t fd, short what, void *arg)
{
	struct server *srv = arg;
	int64_t limit_ms = (int64_t)srv->ping_limit_s * 1000, now = conn_now_ms();
	struct conn *c, *next;

	(void)fd, (void)what;
	for (c = srv->conns; c != NULL; c = next) {
		next = c->next;
		if (!c->closing && wsio_pinged(c->w) > 0) {
			server_violation(srv, "conn %" PRIu64 ": 103 WebSocket ping", c->id);
			conn_error(c, 103, "WebSocket ping");
		}
		if (c->version != 0 && !c->closing && limit_ms != 0 && now - c->last_ping_ms > limit_ms) {
			server_violation(srv, "conn %" PRIu64 ": S8 no PING for %u s", c->id, srv->ping_limit_s);
			conn_cut(c);
		}
	}
}

void
server_init(struct server *srv, struct event_base *base)
{
	struct timeval every = { .tv_usec = SERVER_TICK_MS * 1000 };

	memset(srv, 0, sizeof *srv);
	srv->base = base;
	history_init(&srv->history);
	orders_init(&srv->orders);
	srv->flush = evtimer_new(base, flush_cb, srv);
	srv->retry = evtimer_new(base, retry_cb, srv);
	srv->tick = event_new(base, -1, EV_PERSIST, tick_cb, srv);
	if (srv->flush == NULL || srv->retry == NULL || srv->tick == NULL)
		abort();
	event_add(srv->tick, &every);
}

void
server_clear(struct server *srv)
{
	server_cut_all(srv);
	while (srv->conns != NULL)
		event_base_loop(srv->base, EVLOOP_ONCE);
	event_free(srv->flush);
	event_free(srv->retry);
	event_free(srv->tick);
	history_clear(&srv->history);
	orders_clear(&srv->orders);
	server_no_violations(srv);
}

void
server_cut_all(struct server *srv)
{
	struct conn *c;

	for (c = srv->conns; c != NULL; c = c->next)
		conn_cut(c);
}

void
server_resume(struct server *srv)
{
	struct conn *c;

	for (c = srv->conns; c != NULL; c = c->next)
		if (!c->closing || c->out != NULL)
			conn_resume(c);
}

void
server_retry(struct server *srv)
{
	struct timeval soon = { .tv_usec = SERVER_RETRY_MS * 1000 };

	if (!event_pending(srv->retry, EV_TIMEOUT, NULL))
		event_add(srv->retry, &soon);
}

void
server_dirty(struct server *srv, struct path *p)
{
	if (p->dirty)
		return;
	p->dirty = true;
	p->next_dirty = srv->dirty;
	srv->dirty = p;
	event_active(srv->flush, EV_TIMEOUT, 0);
}

void
server_violation(struct server *srv, const char *fmt, ...)
{
	char text[400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (srv->nviolations < SERVER_VIOLATIONS_KEPT)
		srv->violation[srv->nviolations] = strdup(text);
	srv->nviolations++;
	server_event(srv, "violation %s", text);
}

void
server_no_violations(struct server *srv)
{
	size_t i;

	for (i = 0; i < SERVER_VIOLATIONS_KEPT && i < srv->nviolations; i++)
		free(srv->violation[i]);
	srv->nviolations = 0;
}

void
server_event(struct server *srv, const char *fmt, ...)
{
	char text[600], *p;
	va_list ap;

	if (!srv->orders.events)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	for (p = text; *p != '\0'; p++)
		if ((unsigned char)*p < ' ')
			*p = '?';
	printf("* %s\n", text);
	fflush(stdout);
}

void
server_dump_change(FILE *f, const struct path *p, const struct change *c)
{
	fprintf(f, "%s %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %zu %08" PRIx32 "\n", p->name, c->via, c->client_version, c->base_version,
		c->origin_timestamp, c->len, c->crc);
}
