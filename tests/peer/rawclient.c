/* A client without any rules; see rawclient.h.
 *
 * For: tests of the stand-in upstream, and of the relay where a real client would not misbehave enough.
 * Never: answers, checks or remembers anything about the protocol.
 *
 * The one idea: it blocks for its user by turning the event loop until there is a message; several clients may share a loop. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "tests/peer/rawclient.h"
#include "tests/peer/wsio.h"

#define DEADLINE_MS 10000
#define TICK_US 10000 /* the finest time that a wait can end at */

static void
on_request(void *arg, struct wsio *w, const struct http_head *head)
{
	(void)arg, (void)w, (void)head;
}

static void
on_answer(void *arg, struct wsio *w, unsigned status, const char *subprotocol)
{
	struct rawclient *c = arg;

	(void)w;
	c->status = status;
	snprintf(c->protocol, sizeof c->protocol, "%s", subprotocol != NULL ? subprotocol : "");
}

static void
on_message(void *arg, struct wsio *w, const uint8_t *buf, size_t len)
{
	struct rawclient *c = arg;
	struct raw_message *r = calloc(1, sizeof *r + len + 1);
	const uint8_t *lf;

	(void)w;
	if (r == NULL)
		abort();
	if (len > 0)
		memcpy(r->bytes, buf, len);
	lf = memchr(r->bytes, '\n', len);
	r->head = (struct view){ r->bytes, lf != NULL ? (size_t)(lf - r->bytes) : len };
	r->bad = msg_parse(MSG_S2C, MSG_PBS, r->bytes, len, &r->m, &r->body) != PROTO_OK;
	*c->last = r;
	c->last = &r->next;
}

static void
on_close(void *arg, struct wsio *w, int code, const char *why, bool in_message)
{
	struct rawclient *c = arg;

	(void)w, (void)why;
	c->w = NULL;
	c->closed = true;
	c->code = code;
	c->in_message = in_message;
}

static const struct wsio_ops ops = { on_request, on_answer, on_message, on_close };

static void
tick_cb(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what, (void)arg; /* only wakes the loop */
}

/* Turns the loop until there is an answer to the upgrade (opening), a message (not closing), the end, or wait_ms are over. */
static void
turn(struct rawclient *c, bool opening, bool closing, unsigned wait_ms)
{
	struct timeval now, end, wait = { .tv_sec = wait_ms / 1000, .tv_usec = wait_ms % 1000 * 1000 };

	gettimeofday(&now, NULL);
	timeradd(&now, &wait, &end);
	while (!c->closed && (opening ? c->status == 0 : closing || c->first == NULL) && timercmp(&now, &end, <)) {
		event_base_loop(c->base, EVLOOP_ONCE);
		gettimeofday(&now, NULL);
	}
}

void
rawclient_start(struct rawclient *c, struct event_base *base, unsigned port, const char *target, const char *protocols, const char *tls_ca)
{
	struct timeval tick = { .tv_usec = TICK_US };

	memset(c, 0, sizeof *c);
	c->base = base;
	c->last = &c->first;
	c->tick = event_new(base, -1, EV_PERSIST, tick_cb, NULL);
	event_add(c->tick, &tick);
	c->w = wsio_connect(base, "127.0.0.1", port, target, protocols, NULL, tls_ca, &ops, c);
}

void
rawclient_open(struct rawclient *c, struct event_base *base, unsigned port, const char *target, const char *protocols, const char *tls_ca)
{
	rawclient_start(c, base, port, target, protocols, tls_ca);
	turn(c, true, false, DEADLINE_MS);
}

void
rawclient_send(struct rawclient *c, const char *head, const void *body, size_t len)
{
	uint8_t *buf;
	size_t n = strlen(head) + 1;

	if (c->w == NULL)
		return;
	buf = malloc(n + len);
	if (buf == NULL)
		abort();
	memcpy(buf, head, n - 1);
	buf[n - 1] = '\n';
	if (len > 0)
		memcpy(buf + n, body, len);
	wsio_send(c->w, buf, n + len, NULL, 0);
	free(buf);
}

const struct raw_message *
rawclient_next(struct rawclient *c, unsigned wait_ms)
{
	free(c->given);
	c->given = NULL;
	if (c->first == NULL)
		turn(c, false, false, wait_ms);
	if (c->first == NULL)
		return NULL;
	c->given = c->first;
	c->first = c->given->next;
	if (c->first == NULL)
		c->last = &c->first;
	return c->given;
}

bool
rawclient_wait_closed(struct rawclient *c)
{
	turn(c, false, true, DEADLINE_MS);
	return c->closed;
}

void
rawclient_close(struct rawclient *c)
{
	if (c->w != NULL)
		wsio_cut(c->w);
	rawclient_wait_closed(c);
	while (rawclient_next(c, 0) != NULL)
		;
	event_free(c->tick);
}
