/* See exchange.h.
 *
 * An exchange whose request is under way lives until it is answered, even if all who asked have left: what upstream says of the user is
 * worth knowing in any case.
 *
 * When the link returns everybody asks at once, and on a thin link hundreds of requests would all be late: so max_token_exchanges are under
 * way at a time, and the others wait for their turn.  If one gets no answer, or "later", none of those that wait is sent: who
 * asked comes again by his own back-off. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include <event2/event.h>

#include "relay/api.h"
#include "relay/claims.h"
#include "relay/exchange.h"
#include "relay/link.h"
#include "relay/log.h"
#include "relay/options.h"
#include "relay/relay.h"
#include "relay/services.h"

#define ANSWER_MAX 65536 /* bytes: an access token with its user's data */

struct exchange_wait {
	TAILQ_ENTRY(exchange_wait) link;
	struct exchange *exchange;
	exchange_done *done;
	void *arg;
};

struct exchange {
	TAILQ_ENTRY(exchange) link;
	struct exchanges *all;
	uint8_t id[REFRESH_ID];
	struct api_call *call; /* NULL: it waits for its turn, is answered, or there is nothing to ask */
	bool waits_turn;
	struct event *timer; /* deadline; or what is known without asking */
	unsigned status;
	uint8_t *body; /* a secret */
	size_t len;
	TAILQ_HEAD(wait_list, exchange_wait) waits; /* empty while it waits for its turn: nobody wants it any more */
};

struct exchanges {
	struct services *services;
	TAILQ_HEAD(, exchange) list; /* who asked first in front */
	uint64_t nasking;	     /* requests under way */
};

/* The call is over, or is given up. */
static void
drop_call(struct exchange *e)
{
	e->all->nasking -= e->call != NULL;
	api_cancel(e->call);
	e->call = NULL;
}

static void
exchange_free(struct exchange *e)
{
	struct exchange_wait *w;

	drop_call(e);
	while ((w = TAILQ_FIRST(&e->waits)) != NULL) {
		TAILQ_REMOVE(&e->waits, w, link);
		free(w);
	}
	if (e->body != NULL)
		explicit_bzero(e->body, ANSWER_MAX);
	free(e->body);
	event_free(e->timer);
	TAILQ_REMOVE(&e->all->list, e, link);
	free(e);
}

/* Tells all who wait. Any of them may cancel others' waits, or ask anew. */
static void
tell(struct exchange *e, enum exchange_result result)
{
	const char *real = result == EXCHANGE_OK ? refresh_real(e->all->services->refresh, e->id) : NULL;
	char *token = real != NULL ? relay_strndup(real, strlen(real)) : NULL;
	struct exchange_wait *w;

	if (result == EXCHANGE_OK && token == NULL)
		result = EXCHANGE_IMPOSSIBLE;
	if (result == EXCHANGE_REVOKED)
		services_revoke(e->all->services, e->id);
	while ((w = TAILQ_FIRST(&e->waits)) != NULL) {
		exchange_done *done = w->done;
		void *arg = w->arg;

		TAILQ_REMOVE(&e->waits, w, link);
		free(w);
		done(arg, result, token);
	}
	relay_wipe(token);
	exchange_free(e);
}

static struct exchange *
first_that_waits(const struct exchanges *es)
{
	struct exchange *e;

	TAILQ_FOREACH (e, &es->list, link)
		if (e->waits_turn)
			return e;
	return NULL;
}

static void take_turn(struct exchange *e);

static void
finish(struct exchange *e, enum exchange_result result)
{
	struct exchanges *es = e->all;

	tell(e, result);
	while ((e = first_that_waits(es)) != NULL && (result == EXCHANGE_UNREACHED || es->nasking < es->services->opt->max_token_exchanges)) {
		e->waits_turn = false;
		if (TAILQ_EMPTY(&e->waits))
			exchange_free(e);
		else if (result == EXCHANGE_UNREACHED)
			tell(e, result);
		else
			take_turn(e);
	}
}

static enum exchange_result
judge(struct exchange *e)
{
	static const char *const names[] = { "access_token" };
	struct services *s = e->all->services;
	const char *secret = refresh_secret(s->refresh, e->id);
	struct claim token;

	if (e->status == 401)
		return EXCHANGE_REVOKED;
	if (e->status >= 500 || e->status == 429 || e->status == 408)
		return EXCHANGE_UNREACHED;
	if (e->status < 200 || e->status > 299 || secret == NULL || e->body == NULL)
		return EXCHANGE_IMPOSSIBLE;
	if (!claims_find((struct view){ e->body, e->len }, names, 1, &token) || token.kind != CLAIM_STRING ||
	    !refresh_learn(s->refresh, view_of(secret), token.raw))
		return EXCHANGE_IMPOSSIBLE;
	return EXCHANGE_OK;
}

static void
log_exchange(const struct exchange *e, enum exchange_result result)
{
	static const char *const names[] = { "ok", "unreached", "impossible", "revoked" };

	log_event(result == EXCHANGE_OK ? LOG_INFO : LOG_WARN, "token_exchange", "user=%02x%02x%02x%02x result=%s status=%u", e->id[0], e->id[1],
		  e->id[2], e->id[3], names[result], e->status);
}

static void
head_cb(void *arg, const struct http_head *head, const struct http_body *body)
{
	struct exchange *e = arg;

	(void)body;
	e->status = services_trusts(e->all->services, head) ? head->status : 503;
	e->body = relay_alloc(ANSWER_MAX);
}

static void
data_cb(void *arg, struct view data)
{
	struct exchange *e = arg;

	if (data.len > ANSWER_MAX - e->len)
		data.len = ANSWER_MAX - e->len; /* cut off, it is no JSON */
	memcpy(e->body + e->len, data.ptr, data.len);
	e->len += data.len;
}

static void
ended_cb(void *arg)
{
	struct exchange *e = arg;
	enum exchange_result result = judge(e);

	e->all->nasking--;
	e->call = NULL;
	log_exchange(e, result);
	finish(e, result);
}

static void
failed_cb(void *arg, const char *why)
{
	struct exchange *e = arg;

	e->all->nasking--;
	e->call = NULL;
	link_failed(e->all->services->link, LINK_CUT, why); /* only a reason to look */
	finish(e, EXCHANGE_UNREACHED);
}

static const struct api_ops ops = { .head = head_cb, .data = data_cb, .ended = ended_cb, .failed = failed_cb };

/* The deadline; or there is no need, or no way, to ask. */
static void
timer_cb(evutil_socket_t fd, short what, void *arg)
{
	struct exchange *e = arg;
	struct refresh *r = e->all->services->refresh;

	(void)fd;
	(void)what;
	if (e->call != NULL) {
		drop_call(e);
		finish(e, EXCHANGE_UNREACHED);
	} else if (refresh_revoked(r, e->id)) {
		finish(e, EXCHANGE_REVOKED);
	} else {
		finish(e, refresh_real(r, e->id) != NULL ? EXCHANGE_OK : EXCHANGE_IMPOSSIBLE);
	}
}

static void
request(struct exchange *e, const char *secret)
{
	const struct services *s = e->all->services;
	size_t room = strlen(secret) + strlen(s->url.authority) + 256;
	char *head = relay_alloc(room);
	int n = snprintf(head, room,
			 "POST /api/client/v2.0/auth/session HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nAccept: application/json\r\n"
			 "User-Agent: holdfast\r\nContent-Length: 0\r\n\r\n",
			 s->url.authority, secret);
	struct api_request req = { .head = { (const uint8_t *)head, (size_t)n }, .repeatable = true };

	e->call = api_call(s->api, &req, &ops, e);
	e->all->nasking++;
	relay_wipe(head);
	relay_after_ms(e->timer, s->opt->exchange_timeout_ms);
}

/* Asks, if that is needed and can be done. */
static void
take_turn(struct exchange *e)
{
	const struct refresh *r = e->all->services->refresh;
	const char *secret = refresh_secret(r, e->id);

	if (secret == NULL || refresh_real(r, e->id) != NULL)
		relay_after_ms(e->timer, 0);
	else if (e->all->nasking < e->all->services->opt->max_token_exchanges)
		request(e, secret);
	else
		e->waits_turn = true;
}

static struct exchange *
begin(struct exchanges *es, const uint8_t id[REFRESH_ID])
{
	struct exchange *e = relay_alloc(sizeof(*e));

	e->all = es;
	memcpy(e->id, id, REFRESH_ID);
	TAILQ_INIT(&e->waits);
	TAILQ_INSERT_TAIL(&es->list, e, link);
	e->timer = relay_timer(es->services->relay->base, timer_cb, e);
	take_turn(e);
	return e;
}

struct exchange_wait *
exchange_ask(struct exchanges *es, const uint8_t id[REFRESH_ID], exchange_done *done, void *arg)
{
	struct exchange_wait *w = relay_alloc(sizeof(*w));
	struct exchange *e;

	TAILQ_FOREACH (e, &es->list, link)
		if (memcmp(e->id, id, REFRESH_ID) == 0)
			break;
	w->exchange = e != NULL ? e : begin(es, id);
	w->done = done;
	w->arg = arg;
	TAILQ_INSERT_TAIL(&w->exchange->waits, w, link);
	return w;
}

void
exchange_cancel(struct exchange_wait *w)
{
	if (w == NULL)
		return;
	TAILQ_REMOVE(&w->exchange->waits, w, link);
	free(w);
}

struct exchanges *
exchanges_new(struct services *services)
{
	struct exchanges *es = relay_alloc(sizeof(*es));

	es->services = services;
	TAILQ_INIT(&es->list);
	return es;
}

void
exchanges_free(struct exchanges *es)
{
	struct exchange *e;

	if (es == NULL)
		return;
	while ((e = TAILQ_FIRST(&es->list)) != NULL)
		exchange_free(e);
	free(es);
}

/* ---- in a request ---- */

char *
exchange_target(const char *target, const char *token)
{
	static const char name[] = "baas_at=";
	const char *q = strchr(target, '?'), *at = q != NULL ? q + 1 : NULL, *end;
	size_t room = strlen(target) + strlen(token) + 1;
	char *out = relay_alloc(room);

	while (at != NULL && strncmp(at, name, sizeof(name) - 1) != 0) {
		at = strchr(at, '&');
		at = at != NULL ? at + 1 : NULL;
	}
	if (at == NULL) {
		snprintf(out, room, "%s", target);
		return out;
	}
	at += sizeof(name) - 1;
	end = at + strcspn(at, "&");
	snprintf(out, room, "%.*s%s%s", (int)(at - target), target, token, end);
	return out;
}

char *
exchange_authorization(const char *token)
{
	size_t room = strlen(token) + sizeof("Bearer ");
	char *out = relay_alloc(room);

	snprintf(out, room, "Bearer %s", token);
	return out;
}
