/* The relay's HTTP client; see api.h.
 *
 * Never: a request on a connection whose last answer was not read to its exact end (its framing was that of the end, or bytes came behind
 * it), or that upstream said it would close; more than one request at a time on one; a time of its own that it gives up after: how
 * long an answer may take is the caller's to say, only connecting has connect_timeout here. */
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include <event2/event.h>

#include "relay/api.h"
#include "relay/link.h"
#include "relay/log.h"
#include "relay/meter.h"
#include "relay/options.h"
#include "relay/relay.h"
#include "relay/resolver.h"
#include "relay/services.h"
#include "relay/stream.h"
#include "relay/tls.h"

enum wire_state { WIRE_RESOLVING, WIRE_CONNECTING, WIRE_STARTING, WIRE_BUSY, WIRE_IDLE, WIRE_CLOSED };

struct api_wire { /* a connection */
	TAILQ_ENTRY(api_wire) link;
	struct api *api;
	struct api_call *call; /* NULL: IDLE */
	enum wire_state state;
	struct resolver_query *query;
	struct resolver_result *addresses;
	size_t next_address;
	struct stream *stream;
	struct event *timer; /* connect_timeout; the idle time; STARTING */
	bool used;	     /* an answer came on it */
};

struct api_call {
	struct api_wire *wire;
	const struct api_ops *ops;
	void *arg;
	char *head; /* a secret; NULL once it has been sent and will not be again */
	size_t head_len;
	bool head_only, repeatable, sending; /* sending: the body is not complete */
	bool begun;   /* bytes of an answer came */
	bool headed;  /* its head */
	bool last;    /* upstream closes behind it */
	struct http_body body;
};

TAILQ_HEAD(wire_list, api_wire);

struct api {
	struct services *services;
	struct wire_list wires; /* those that are idle in front, the last used first */
	struct wire_list closed;
	struct event *reap;
	bool closed_down; /* no call is begun again */
};

/* ---- the life of a connection ---- */

static void
wire_close(struct api_wire *w)
{
	struct api *a = w->api;

	if (w->state == WIRE_CLOSED)
		return;
	w->state = WIRE_CLOSED;
	if (w->query != NULL)
		resolver_cancel(w->query);
	free(w->addresses);
	w->addresses = NULL;
	if (w->stream != NULL)
		stream_close(w->stream, false, 0);
	event_free(w->timer);
	TAILQ_REMOVE(&a->wires, w, link);
	TAILQ_INSERT_TAIL(&a->closed, w, link);
	relay_after_ms(a->reap, 0);
}

static void
reap_cb(evutil_socket_t fd, short what, void *arg)
{
	struct api *a = arg;
	struct api_wire *w;

	(void)fd;
	(void)what;
	while ((w = TAILQ_FIRST(&a->closed)) != NULL) {
		TAILQ_REMOVE(&a->closed, w, link);
		free(w);
	}
}

static void
call_free(struct api_call *c)
{
	if (c->head != NULL)
		explicit_bzero(c->head, c->head_len);
	free(c->head);
	free(c);
}

/* Takes c off its connection. */
static void
detach(struct api_call *c)
{
	if (c->wire != NULL)
		c->wire->call = NULL;
	c->wire = NULL;
}

static void
fail(struct api_call *c, const char *why)
{
	const struct api_ops *ops = c->ops;
	void *arg = c->arg;
	char text[200];

	snprintf(text, sizeof(text), "%s", why);
	detach(c);
	call_free(c);
	ops->failed(arg, text);
}

static struct api_wire *connect_for(struct api *a, struct api_call *c);

/* The connection of w is of no use any more. */
static void
lost(struct api_wire *w, const char *why)
{
	struct api_call *c = w->call;
	struct api *a = w->api;
	bool unsent = w->state == WIRE_STARTING;
	char text[200];

	snprintf(text, sizeof(text), "%s", why); /* of the stream, which goes */
	if (c == NULL) {
		wire_close(w);
		return;
	}
	detach(c);
	wire_close(w);
	if ((unsent || (w->used && !c->begun && c->repeatable)) && c->head != NULL && !a->closed_down)
		c->wire = connect_for(a, c);
	else
		fail(c, text);
}

/* ---- a call ---- */

static void
send_head(struct api_wire *w)
{
	struct api_call *c = w->call;

	w->state = WIRE_BUSY;
	event_del(w->timer);
	stream_write_secret(w->stream, c->head, c->head_len);
	if (!c->repeatable) {
		explicit_bzero(c->head, c->head_len);
		free(c->head);
		c->head = NULL;
	}
	if (c->sending && c->ops->ready != NULL)
		c->ops->ready(c->arg);
}

static void
answer_complete(struct api_wire *w, bool reusable)
{
	struct api_call *c = w->call;
	const struct api_ops *ops = c->ops;
	void *arg = c->arg;

	reusable = reusable && !c->sending && stream_queued(w->stream) == 0 && !c->last && c->body.framing != HTTP_UNTIL_CLOSE && !w->api->closed_down;
	detach(c);
	call_free(c);
	if (reusable) {
		w->state = WIRE_IDLE;
		w->used = true;
		stream_resume(w->stream, SUSPEND_OUTBUF);
		relay_after_ms(w->timer, API_IDLE_MS);
		TAILQ_REMOVE(&w->api->wires, w, link);
		TAILQ_INSERT_HEAD(&w->api->wires, w, link);
	} else {
		wire_close(w);
	}
	ops->ended(arg);
}

/* The head of the answer, if it is complete.  False: it is not yet, or all is over. */
static bool
take_head(struct api_wire *w, const uint8_t *buf, size_t len, size_t *used)
{
	struct api_call *c = w->call;
	struct http_head head;
	enum proto_err err = http_parse_response(buf, len, &head, used);

	c->begun = true;
	if (err == PROTO_MORE)
		return false;
	if (err != PROTO_OK || head.status == 101) {
		lost(w, err != PROTO_OK ? "the answer is not HTTP" : "an upgrade that nobody asked for");
		return false;
	}
	if (head.status < 200)
		return true; /* 100, 103: the real one follows */
	c->headed = true;
	c->last = http_connection_has(&head, "close");
	http_body_of_answer(&c->body, &head, c->head_only);
	c->ops->head(c->arg, &head, &c->body);
	return true;
}

static size_t
on_answer(struct api_wire *w, uint8_t *buf, size_t len)
{
	struct api_call *c = w->call;
	size_t done = 0, used;
	struct view data;
	enum proto_err err;

	while (w->call == c && !c->headed) {
		if (!take_head(w, buf + done, len - done, &used))
			return w->state == WIRE_CLOSED ? len : done;
		done += used;
	}
	while (w->call == c && !http_body_done(&c->body)) {
		err = http_body_next(&c->body, buf + done, len - done, &used, &data);
		done += used;
		if (err == PROTO_MORE)
			return done;
		if (err != PROTO_OK) {
			lost(w, "the answer's body is malformed");
			return len;
		}
		if (data.len > 0)
			c->ops->data(c->arg, data);
	}
	if (w->call == c)
		answer_complete(w, done == len);
	return len;
}

static void
on_end(struct api_wire *w, const char *why)
{
	struct api_call *c = w->call;

	if (c != NULL && c->headed && c->body.framing == HTTP_UNTIL_CLOSE)
		answer_complete(w, false);
	else
		lost(w, why);
}

/* ---- connecting ---- */

static bool connect_next(struct api_wire *w);

static size_t
stream_event_cb(void *arg, struct stream *st, enum stream_event ev, uint8_t *buf, size_t len)
{
	struct api_wire *w = arg;

	switch (ev) {
	case STREAM_OPEN:
		free(w->addresses);
		w->addresses = NULL;
		stream_set_low_water(st, (size_t)w->api->services->opt->out_low);
		send_head(w);
		return 0;
	case STREAM_DATA:
		if (w->state == WIRE_BUSY)
			return on_answer(w, buf, len);
		lost(w, "bytes that nobody asked for");
		return len;
	case STREAM_DRAINED:
		if (w->state == WIRE_BUSY && w->call != NULL && w->call->sending && w->call->ops->ready != NULL)
			w->call->ops->ready(w->call->arg);
		return 0;
	case STREAM_EOF:
		on_end(w, stream_why(st));
		return 0;
	case STREAM_ERROR:
		if (w->state != WIRE_CONNECTING || stream_cert_failed(st) || !connect_next(w))
			lost(w, stream_why(st));
		return 0;
	}
	PANIC("stream event");
}

/* To the next address of the name; false when there is none left. */
static bool
connect_next(struct api_wire *w)
{
	const struct services *s = w->api->services;
	const struct resolver_address *a;

	if (w->addresses == NULL || w->next_address >= w->addresses->n)
		return false;
	a = &w->addresses->addr[w->next_address++];
	if (w->stream != NULL)
		stream_close(w->stream, false, 0);
	relay_after_ms(w->timer, s->opt->connect_timeout_ms / w->addresses->n + 1);
	w->stream = stream_connect((const struct sockaddr *)&a->addr, a->len, s->tls, s->url.host, stream_event_cb, w);
	if (w->stream == NULL)
		lost(w, "out of descriptors");
	else
		stream_count_wire(w->stream, meter_wire(s->link->meter));
	return true;
}

static void
resolved_cb(void *arg, const struct resolver_result *r)
{
	struct api_wire *w = arg;

	w->query = NULL;
	if (r->why != NULL) {
		lost(w, r->why);
		return;
	}
	w->state = WIRE_CONNECTING;
	w->addresses = relay_alloc(sizeof(*w->addresses));
	*w->addresses = *r;
	(void)connect_next(w);
}

static void
timer_cb(evutil_socket_t fd, short what, void *arg)
{
	struct api_wire *w = arg;

	(void)fd;
	(void)what;
	if (w->state == WIRE_STARTING)
		send_head(w);
	else if (w->state == WIRE_IDLE)
		wire_close(w);
	else if (w->state != WIRE_CONNECTING || !connect_next(w))
		lost(w, "connecting took too long");
}

static struct api_wire *
connect_for(struct api *a, struct api_call *c)
{
	const struct services *s = a->services;
	struct api_wire *w = relay_alloc(sizeof(*w));

	w->api = a;
	w->call = c;
	w->state = WIRE_RESOLVING;
	w->timer = relay_timer(s->relay->base, timer_cb, w);
	TAILQ_INSERT_TAIL(&a->wires, w, link);
	relay_after_ms(w->timer, s->opt->connect_timeout_ms);
	w->query = resolver_ask(s->relay->resolver, s->url.host, s->url.port, resolved_cb, w);
	return w;
}

/* An idle connection for c: it is sent from the loop, as nothing may call back from inside api_call. */
static struct api_wire *
take_idle(struct api *a, struct api_call *c)
{
	struct api_wire *w = TAILQ_FIRST(&a->wires);

	if (w == NULL || w->state != WIRE_IDLE)
		return NULL;
	TAILQ_REMOVE(&a->wires, w, link);
	TAILQ_INSERT_TAIL(&a->wires, w, link);
	w->state = WIRE_STARTING;
	w->call = c;
	relay_after_ms(w->timer, 0);
	return w;
}

struct api_call *
api_call(struct api *a, const struct api_request *req, const struct api_ops *ops, void *arg)
{
	struct api_call *c = relay_alloc(sizeof(*c));

	c->ops = ops;
	c->arg = arg;
	c->head = relay_alloc(req->head.len);
	memcpy(c->head, req->head.ptr, req->head.len);
	c->head_len = req->head.len;
	c->head_only = req->head_only;
	c->repeatable = req->repeatable;
	c->sending = req->body;
	c->wire = take_idle(a, c);
	if (c->wire == NULL)
		c->wire = connect_for(a, c);
	return c;
}

void
api_send(struct api_call *c, struct view data)
{
	stream_write_secret(c->wire->stream, data.ptr, data.len); /* passwords, too */
}

void
api_sent(struct api_call *c)
{
	c->sending = false;
}

size_t
api_queued(const struct api_call *c)
{
	return c->wire->stream != NULL ? stream_queued(c->wire->stream) : 0;
}

uint64_t
api_sent_bytes(const struct api_call *c)
{
	return c->wire->stream != NULL ? stream_sent(c->wire->stream) : 0;
}

void
api_pause(struct api_call *c, bool pause)
{
	if (c->wire->stream == NULL)
		return;
	if (pause)
		stream_suspend(c->wire->stream, SUSPEND_OUTBUF);
	else
		stream_resume(c->wire->stream, SUSPEND_OUTBUF);
}

void
api_cancel(struct api_call *c)
{
	struct api_wire *w;

	if (c == NULL)
		return;
	w = c->wire;
	detach(c);
	call_free(c);
	wire_close(w);
}

/* ---- all of them ---- */

struct api *
api_new(struct services *services)
{
	struct api *a = relay_alloc(sizeof(*a));

	a->services = services;
	TAILQ_INIT(&a->wires);
	TAILQ_INIT(&a->closed);
	a->reap = relay_timer(services->relay->base, reap_cb, a);
	return a;
}

void
api_cut(struct api *a, const char *why)
{
	struct api_wire *w;

	a->closed_down = true;
	while ((w = TAILQ_FIRST(&a->wires)) != NULL)
		lost(w, why);
	a->closed_down = false;
}

void
api_free(struct api *a)
{
	if (a == NULL)
		return;
	reap_cb(-1, 0, a);
	event_free(a->reap);
	free(a);
}
