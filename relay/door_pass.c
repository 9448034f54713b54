/* The door while the link is UP: a request to App Services, and their answer to the client.  See door.h.
 *
 * Bodies are streamed both ways, between two water marks.  An answer is read here, whole, only where something of it has to be known or changed:
 * a location, tokens, a profile.  What may be a portal's answer never reaches the client: the relay's own does (door_local.c). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "protocol/http.h"
#include "protocol/http_body.h"

#include "relay/admit.h"
#include "relay/api.h"
#include "relay/claims.h"
#include "relay/conn.h"
#include "relay/door_impl.h"
#include "relay/link.h"
#include "relay/location.h"
#include "relay/log.h"
#include "relay/options.h"
#include "relay/refresh.h"
#include "relay/relay.h"
#include "relay/services.h"
#include "relay/stream.h"

#define HEAD_ROOM (HTTP_HEAD_MAX + 1024) /* a head that is passed on: the one that came, another Host or Location, our framing */
#define READ_MAX 262144 /* bytes of an answer that is read here: a location has some 300, tokens and a profile some thousand */

static const struct api_ops api_ops;

/* One of those that are answered while DOWN, and whose answers are read here. */
static bool
is_known(const struct door *d)
{
	return d->kind != DOOR_OTHER && d->kind != DOOR_API;
}

static bool
is_success(const struct http_head *head)
{
	return head->status >= 200 && head->status < 300;
}

/* ---- up ---- */

void
door_pass(struct door *d, const struct http_head *from)
{
	char out[HEAD_ROOM];
	struct http_change change = { .host = view_of(d->services->url.authority),
		.plain = is_known(d),
		.framing = d->in.framing,
		.length = from->content_length };
	struct api_request req = { .head_only = d->head_only, .body = !http_body_done(&d->in) };
	bool reads = view_eq(from->method, view_of("GET")) || d->head_only || view_eq(from->method, view_of("OPTIONS"));
	size_t n = http_pass_request(out, sizeof(out), from, &change);

	if (n == 0) {
		door_refuse(d, 431, "the request's head does not fit");
		return;
	}
	req.head = (struct view){ (const uint8_t *)out, n };
	req.repeatable = !req.body && (reads || d->kind == DOOR_SESSION);
	d->call = api_call(d->services->api, &req, &api_ops, d);
	d->up_seen = api_sent_bytes(d->call);
	explicit_bzero(out, n);
	stream_suspend(d->stream, SUSPEND_OPEN); /* the body may come when it can go on; what is behind it, when this is over */
	door_arm(d);
}

void
door_pass_body(struct door *d, struct view data)
{
	char chunk[HTTP_CHUNK_HEAD_MAX];

	if (d->in.framing == HTTP_CHUNKED)
		api_send(d->call, (struct view){ (const uint8_t *)chunk, http_chunk_head(chunk, data.len) });
	api_send(d->call, data);
	if (d->in.framing == HTTP_CHUNKED)
		api_send(d->call, view_of("\r\n"));
	if (api_queued(d->call) > d->opt->out_high)
		stream_suspend(d->stream, SUSPEND_OUTBUF);
}

void
door_pass_end(struct door *d)
{
	if (d->in.framing == HTTP_CHUNKED)
		api_send(d->call, view_of(HTTP_CHUNK_END));
	api_sent(d->call);
}

static void
ready_cb(void *arg)
{
	struct door *d = arg;

	if (http_body_done(&d->in))
		return;
	stream_resume(d->stream, SUSPEND_OPEN);
	stream_resume(d->stream, SUSPEND_OUTBUF);
	door_arm(d);
}

/* ---- down ---- */

static void
read_answer(struct door *d, const struct http_head *head)
{
	struct http_change change = { .framing = HTTP_NO_BODY, .close = d->close };

	d->head = relay_alloc(HEAD_ROOM + 64);
	d->head_len = http_pass_answer(d->head, HEAD_ROOM, head, &change);
	d->reading = true;
}

/* How the answer's body goes to the client. */
static void
choose_framing(struct door *d, const struct http_head *head, const struct http_body *body, struct http_change *change)
{
	change->framing = body->framing;
	change->length = head->content_length;
	if (body->framing == HTTP_UNTIL_CLOSE)
		change->framing = HTTP_CHUNKED;
	if (body->framing == HTTP_NO_BODY && head->has_content_length && (d->head_only || head->status == 304))
		change->framing = HTTP_LENGTH; /* what a GET would get */
	d->framing = body->framing == HTTP_NO_BODY ? HTTP_NO_BODY : change->framing;
}

static void
pass_head(struct door *d, const struct http_head *head, const struct http_body *body)
{
	struct http_change change = { .close = d->close };
	char out[HEAD_ROOM], *redirect = NULL;
	size_t n;

	if (head->location.len > 0)
		redirect = location_redirect(head->location, d->services->url.authority, d->base);
	if (redirect != NULL)
		change.location = view_of(redirect);
	choose_framing(d, head, body, &change);
	n = http_pass_answer(out, sizeof(out), head, &change);
	free(redirect);
	if (n == 0) {
		door_drop_call(d);
		d->close = true;
		door_refuse(d, 502, "the server's answer does not fit");
		return;
	}
	stream_write_secret(d->stream, out, n);
	d->answering = true;
	door_arm(d);
}

/* What an answer's head says about a user. */
static void
note_status(struct door *d, unsigned status)
{
	struct services *s = d->services;
	uint8_t id[REFRESH_ID];

	if ((d->kind != DOOR_SESSION && d->kind != DOOR_LOGOUT) || !refresh_find(s->refresh, door_bearer(d), id))
		return;
	if (d->kind == DOOR_SESSION && status == 401)
		services_revoke(s, id);
	else if (d->kind == DOOR_LOGOUT && status < 300)
		refresh_end(s->refresh, id);
}

/* App Services may be elsewhere than the sync server, so what happens here is no evidence against the link: only a reason to look. */
static void
look_at_link(struct door *d, const char *why)
{
	if (!link_down(d->services->link))
		link_failed(d->services->link, LINK_CUT, why);
	if (d->busy) /* else the client was closed meanwhile */
		door_local(d, why);
}

/* Over plain TCP.  Of the client's API every refusal is JSON, and no answer is a page; elsewhere, pages are what is asked for. */
static bool
may_be_portals(const struct door *d, const struct http_head *head)
{
	static const char page[] = "text/html";
	struct view type;
	size_t at = 0;

	if (d->kind == DOOR_OTHER || services_trusts(d->services, head))
		return false;
	return is_known(d) || !is_success(head) ||
	       (http_header_next(head, "Content-Type", &at, &type) && type.len >= sizeof(page) - 1 &&
		strncasecmp((const char *)type.ptr, page, sizeof(page) - 1) == 0);
}

static void
head_cb(void *arg, const struct http_head *head, const struct http_body *body)
{
	struct door *d = arg;
	bool success = is_success(head);

	d->status = head->status;
	if (may_be_portals(d, head)) {
		door_drop_call(d);
		look_at_link(d, "an answer that may be a portal's");
		return;
	}
	note_status(d, head->status);
	if (success && is_known(d) && d->kind != DOOR_LOGOUT && body->framing != HTTP_NO_BODY)
		read_answer(d, head);
	else
		pass_head(d, head, body);
}

static void
keep_piece(struct door *d, struct view data)
{
	uint8_t *p;

	if (data.len > READ_MAX - d->len) {
		door_drop_call(d);
		d->reading = false;
		d->close = true;
		door_refuse(d, 502, "the server's answer is too long");
		return;
	}
	if (d->len + data.len > d->cap) {
		size_t cap = d->cap == 0 ? 4096 : d->cap;

		while (cap < d->len + data.len)
			cap *= 2;
		p = relay_alloc(cap);
		if (d->body != NULL) {
			memcpy(p, d->body, d->len);
			explicit_bzero(d->body, d->cap);
		}
		free(d->body);
		d->body = p;
		d->cap = cap;
	}
	memcpy(d->body + d->len, data.ptr, data.len);
	d->len += data.len;
}

static void
data_cb(void *arg, struct view data)
{
	struct door *d = arg;
	char chunk[HTTP_CHUNK_HEAD_MAX];

	door_arm(d);
	if (d->reading) {
		keep_piece(d, data);
		return;
	}
	if (d->framing == HTTP_CHUNKED)
		stream_write(d->stream, chunk, http_chunk_head(chunk, data.len));
	stream_write_secret(d->stream, data.ptr, data.len); /* a key that was made, too */
	if (d->framing == HTTP_CHUNKED)
		stream_write(d->stream, "\r\n", 2);
	if (stream_output(d->stream) == NULL) { /* it takes nothing any more, and while it is not read nobody else says so */
		door_break_off(d, "the client is gone");
		return;
	}
	if (stream_queued(d->stream) > d->opt->out_high)
		api_pause(d->call, true);
}

/* The tokens that upstream gives are known here from now on. */
static void
learn(struct door *d, struct view json)
{
	static const char *const names[] = { "access_token", "refresh_token" };
	struct services *s = d->services;
	struct claim c[2];
	struct view token;

	if (!claims_find(json, names, 2, c) || c[0].kind != CLAIM_STRING)
		return;
	token = c[1].kind == CLAIM_STRING ? c[1].raw : door_bearer(d);
	if (d->kind == DOOR_LOGIN && c[1].kind != CLAIM_STRING)
		return; /* a further identity for a user who is logged in: the access token in its request is no refresh token */
	if (refresh_learn(s->refresh, token, c[0].raw))
		admit_issued(s->link, c[0].raw);
}

/* The body as the client shall have it, to be freed; NULL: as it is. */
static char *
read_body(struct door *d, struct view json, bool *bad)
{
	char *own = NULL;

	if (d->kind == DOOR_LOCATION) {
		own = location_rewrite(json, d->base);
		*bad = own == NULL;
		if (own != NULL)
			location_keep(d->services->locations, view_of(d->path), json);
	} else if (d->kind == DOOR_PROFILE) {
		refresh_keep_profile(d->services->refresh, door_bearer(d), json);
	} else {
		learn(d, json);
	}
	return own;
}

static void
pass_read(struct door *d)
{
	struct view json = { d->body != NULL ? d->body : (const uint8_t *)"", d->len };
	bool bad = false;
	char *own = read_body(d, json, &bad);
	int n;

	if (bad || d->head_len < 2) {
		log_event(LOG_WARN, "location_unknown", "conn=%llu", (unsigned long long)conn_id(d->conn));
		d->reading = false;
		door_local(d, "the server's answer is no location");
		return;
	}
	if (own != NULL)
		json = view_of(own);
	n = snprintf(d->head + d->head_len - 2, 64, "Content-Length: %zu\r\n\r\n", json.len); /* in place of the empty line */
	stream_write_secret(d->stream, d->head, d->head_len - 2 + (size_t)n);
	stream_write_secret(d->stream, json.ptr, json.len);
	free(own);
	door_over(d);
}

static void
ended_cb(void *arg)
{
	struct door *d = arg;

	d->call = NULL;
	if (d->reading) {
		pass_read(d);
		return;
	}
	if (d->framing == HTTP_CHUNKED)
		stream_write(d->stream, HTTP_CHUNK_END, strlen(HTTP_CHUNK_END));
	door_over(d);
}

static void
failed_cb(void *arg, const char *why)
{
	struct door *d = arg;

	d->call = NULL;
	if (d->answering) {
		door_break_off(d, "the server's answer broke off");
		return;
	}
	d->reading = false;
	look_at_link(d, why);
}

static const struct api_ops api_ops = { .ready = ready_cb, .head = head_cb, .data = data_cb, .ended = ended_cb, .failed = failed_cb };
