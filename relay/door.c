/* One exchange of HTTP; see door.h.
 *
 * What the SDK does with answers (realm-core's object store, app.cpp, app_utils.cpp, sync_session.cpp) decides what may be said here:
 *
 *   401 or 403 to auth/session, or to the location before it, logs the user out: never said by the relay itself, and passed on only when it
 *     is upstream's own word (services_trusts);
 *   301, 308 likewise; a location that is no JSON, or lacks a member, is an error as well: a portal's page must not get through;
 *   503 is "later": a session that waits for its token goes on with the one it has, and the sync client comes again by its own back-off;
 *   an error's JSON is read only if Content-Type is exactly "application/json", and error_code must be none of the client's own
 *     ("Client..."), which log out too: MaintenanceInProgress is a service's word for "later".
 *
 * Smuggling: heads are parsed by protocol/http and written anew, bodies are taken apart and framed anew (protocol/http_body), on a
 * connection of their own; whatever is in doubt ends the connection.  I9: no path, header or body is logged. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <event2/event.h>

#include "protocol/http.h"
#include "protocol/http_body.h"

#include "relay/admit.h"
#include "relay/api.h"
#include "relay/claims.h"
#include "relay/conn.h"
#include "relay/door.h"
#include "relay/flood.h"
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
#define RETRY_AFTER_S "5"

enum kind { KIND_OTHER, KIND_LOCATION, KIND_LOGIN, KIND_SESSION, KIND_LOGOUT, KIND_PROFILE };

static const char *const kind_names[] = { "other", "location", "login", "session", "logout", "profile" };

struct door {
	struct services *services;
	const struct options *opt;
	struct conn *conn;
	struct stream *stream;
	bool tls;
	struct event *timer; /* nothing moves */
	/* the exchange under way */
	bool busy;
	enum kind kind;
	char *path, *authorization; /* the second is a secret */
	char *base;		    /* where clients find the relay: "https://gateway:7800" */
	bool head_only, close, local;
	const char *local_why; /* static */
	struct http_body in;
	uint64_t in_bytes, seen, up_seen;
	struct api_call *call; /* NULL: none, or answered */
	unsigned status;
	bool answering;		  /* the answer's head is queued to the client */
	enum http_framing framing; /* of the answer to the client */
	/* an answer that is read here */
	bool reading;
	char *head;	/* as it is passed on, without a framing */
	size_t head_len;
	uint8_t *body;	/* a secret */
	size_t len, cap;
};

static const struct api_ops api_ops;

/* ---- what is asked ---- */

#define CLIENT_API "/api/client/v2.0/"

/* Cuts prefix off path; false: it does not begin so. */
static bool
cut_prefix(struct view *path, const char *prefix)
{
	size_t n = strlen(prefix);

	if (path->len < n || memcmp(path->ptr, prefix, n) != 0)
		return false;
	*path = (struct view){ path->ptr + n, path->len - n };
	return true;
}

/* Cuts one segment and the slash behind it off path. */
static bool
cut_segment(struct view *path)
{
	const uint8_t *slash = memchr(path->ptr, '/', path->len);

	if (slash == NULL || slash == path->ptr)
		return false;
	*path = (struct view){ slash + 1, (size_t)(path->ptr + path->len - slash - 1) };
	return true;
}

static enum kind
kind_of_app(struct view rest, bool get, bool post)
{
	if (!cut_segment(&rest)) /* the app's id */
		return KIND_OTHER;
	if (get && view_eq(rest, view_of("location")))
		return KIND_LOCATION;
	return post && cut_prefix(&rest, "auth/providers/") && cut_segment(&rest) && view_eq(rest, view_of("login")) ? KIND_LOGIN : KIND_OTHER;
}

static enum kind
kind_of(const struct http_head *head)
{
	bool get = view_eq(head->method, view_of("GET")), post = view_eq(head->method, view_of("POST"));
	struct view rest = head->path;

	if (!cut_prefix(&rest, CLIENT_API))
		return KIND_OTHER;
	if (cut_prefix(&rest, "app/"))
		return kind_of_app(rest, get, post);
	if (view_eq(rest, view_of("auth/session")))
		return post ? KIND_SESSION : view_eq(head->method, view_of("DELETE")) ? KIND_LOGOUT : KIND_OTHER;
	return get && view_eq(rest, view_of("auth/profile")) ? KIND_PROFILE : KIND_OTHER;
}

static struct view
bearer(const struct door *d)
{
	static const char scheme[] = "Bearer ";
	size_t n = sizeof(scheme) - 1;

	if (strncasecmp(d->authorization, scheme, n) != 0)
		return (struct view){ NULL, 0 };
	return view_of(d->authorization + n);
}

static char *
base_of(const struct door *d, struct view host)
{
	size_t n, room = strlen(d->opt->public_url) + host.len + sizeof("https://");
	char *base = relay_alloc(room);

	if (d->opt->public_url[0] == '\0') {
		snprintf(base, room, "%s://%.*s", d->tls ? "https" : "http", (int)host.len, (const char *)host.ptr);
		return base;
	}
	snprintf(base, room, "%s", d->opt->public_url);
	n = strlen(base);
	if (base[n - 1] == '/')
		base[n - 1] = '\0';
	return base;
}

/* ---- the end of an exchange ---- */

static void
clean(struct door *d)
{
	d->services->relay->nexchanges -= d->busy;
	d->busy = false;
	if (d->timer != NULL)
		event_del(d->timer);
	free(d->path);
	relay_wipe(d->authorization);
	free(d->base);
	free(d->head);
	if (d->body != NULL)
		explicit_bzero(d->body, d->cap);
	free(d->body);
	d->path = d->authorization = d->base = d->head = NULL;
	d->body = NULL;
	d->len = d->cap = 0;
	d->reading = d->answering = d->local = false;
}

static void
log_exchange(const struct door *d)
{
	log_event(LOG_DEBUG, "http_exchange", "conn=%llu kind=%s status=%u local=%d", (unsigned long long)conn_id(d->conn), kind_names[d->kind],
		  d->status, d->local);
}

/* The answer is queued, whole. */
static void
over(struct door *d)
{
	bool keep = !d->close && http_body_done(&d->in);

	log_exchange(d);
	api_cancel(d->call);
	d->call = NULL;
	clean(d);
	conn_http_over(d->conn, keep, "the exchange is over");
}

static void
break_off(struct door *d, const char *why)
{
	api_cancel(d->call);
	d->call = NULL;
	clean(d);
	conn_http_over(d->conn, false, why);
}

static void
arm(struct door *d)
{
	if (d->busy)
		relay_after_ms(d->timer, d->answering ? d->opt->idle_timeout_ms : d->opt->exchange_timeout_ms);
}

/* ---- answers of the relay's own ---- */

void
door_error(char *out, size_t len, const char *text)
{
	snprintf(out, len, "{\"error\":\"%s\",\"error_code\":\"MaintenanceInProgress\",\"link\":\"\"}", text);
}

static void
answer(struct door *d, unsigned status, struct view body)
{
	struct http_header header[] = { { view_of("Content-Type"), view_of("application/json") }, { view_of("Retry-After"), view_of(RETRY_AFTER_S) } };
	char out[512];
	size_t n;

	d->close = d->close || !http_body_done(&d->in);
	n = http_format_answer(out, sizeof(out), status, view_of(http_reason(status)), header, status == 503 ? 2 : 1, body.len, d->close);
	stream_write(d->stream, out, n);
	if (!d->head_only)
		stream_write_secret(d->stream, body.ptr, body.len);
	d->status = status;
	over(d);
}

static void
refuse(struct door *d, unsigned status, const char *text)
{
	char json[256];

	STAT_INC(d->services->relay, http_refused);
	door_error(json, sizeof(json), text);
	answer(d, status, view_of(json));
}

static void
local_location(struct door *d)
{
	struct view kept;
	char *json = location_find(d->services->locations, view_of(d->path), &kept) ? location_rewrite(kept, d->base) : NULL;

	if (json == NULL)
		refuse(d, 503, "no link to the server, and the location of this app is not known here");
	else
		answer(d, 200, view_of(json));
	free(json);
}

static void
log_mint(const struct door *d, enum refresh_answer a)
{
	struct log_line l;

	log_begin(&l, a == REFRESH_OK ? LOG_INFO : LOG_WARN, "offline_session");
	log_u64(&l, "conn", conn_id(d->conn));
	log_str(&l, "answer", refresh_phrase(a));
	log_end(&l);
}

static void
local_session(struct door *d)
{
	static struct flood told;
	size_t room;
	char *token, *json;
	enum refresh_answer a = refresh_mint(d->services->refresh, d->opt, bearer(d), &token);

	if (a == REFRESH_OK || flood_ok(&told, FLOOD_STRANGERS, FLOOD_STRANGERS_MS))
		log_mint(d, a);
	if (a != REFRESH_OK) {
		refuse(d, 503, "no link to the server; this session cannot be renewed here");
		return;
	}
	STAT_INC(d->services->relay, tokens_minted);
	room = strlen(token) + 32;
	json = relay_alloc(room);
	snprintf(json, room, "{\"access_token\":\"%s\"}", token);
	answer(d, 201, view_of(json));
	relay_wipe(json);
	relay_wipe(token);
}

static void
local_profile(struct door *d)
{
	struct view json;

	if (refresh_profile(d->services->refresh, bearer(d), &json))
		answer(d, 200, json);
	else
		refuse(d, 503, "no link to the server, and this user's profile is not known here");
}

static void
answer_local(struct door *d)
{
	uint8_t id[REFRESH_ID];

	STAT_INC(d->services->relay, http_local);
	switch (d->kind) {
	case KIND_LOCATION:
		local_location(d);
		return;
	case KIND_SESSION:
		local_session(d);
		return;
	case KIND_PROFILE:
		local_profile(d);
		return;
	case KIND_LOGOUT: /* the SDK has forgotten its tokens by now, whatever is said */
		if (refresh_find(d->services->refresh, bearer(d), id))
			refresh_end(d->services->refresh, id);
		break;
	case KIND_LOGIN:
	case KIND_OTHER:
		break;
	}
	refuse(d, 503, "the relay has no link to the server; try again later");
}

/* From here: at once, or when the rest of the body has come. */
static void
go_local(struct door *d, const char *why)
{
	log_event(LOG_DEBUG, "http_local", "conn=%llu kind=%s reason=\"%s\"", (unsigned long long)conn_id(d->conn), kind_names[d->kind], why);
	d->local = true;
	if (http_body_done(&d->in)) {
		answer_local(d);
		return;
	}
	stream_resume(d->stream, SUSPEND_OUTBUF);
	conn_http_offer(d->conn);
	arm(d);
}

/* ---- up ---- */

static void
forward(struct door *d, const struct http_head *from)
{
	char out[HEAD_ROOM];
	struct http_change change = { .host = view_of(d->services->url.authority),
		.plain = d->kind != KIND_OTHER,
		.framing = d->in.framing,
		.length = from->content_length };
	struct api_request req = { .head_only = d->head_only, .body = !http_body_done(&d->in) };
	bool reads = view_eq(from->method, view_of("GET")) || d->head_only || view_eq(from->method, view_of("OPTIONS"));
	size_t n = http_pass_request(out, sizeof(out), from, &change);

	if (n == 0) {
		refuse(d, 431, "the request's head does not fit");
		return;
	}
	req.head = (struct view){ (const uint8_t *)out, n };
	req.repeatable = !req.body && (reads || d->kind == KIND_SESSION);
	d->call = api_call(d->services->api, &req, &api_ops, d);
	d->up_seen = api_sent_bytes(d->call);
	explicit_bzero(out, n);
	stream_suspend(d->stream, SUSPEND_OPEN); /* the body may come when it can go on; what is behind it, when this is over */
	arm(d);
}

static bool
expects_continue(const struct http_head *head, bool *known)
{
	struct view value;
	size_t at = 0;
	bool some = http_header_next(head, "Expect", &at, &value);

	*known = !some || http_name_is(value, "100-continue");
	return some;
}

static void
take(struct door *d, const struct http_head *head)
{
	d->busy = true;
	d->services->relay->nexchanges++;
	d->kind = kind_of(head);
	d->path = relay_strndup(head->path.ptr, head->path.len);
	d->authorization = relay_strndup(head->authorization.ptr, head->authorization.len);
	d->base = base_of(d, head->host);
	d->head_only = view_eq(head->method, view_of("HEAD"));
	d->close = http_connection_has(head, "close");
	http_body_of_request(&d->in, head);
	d->in_bytes = 0;
	d->status = 0;
	d->seen = stream_sent(d->stream);
}

void
door_begin(struct door *d, const struct http_head *head)
{
	bool known, expects = expects_continue(head, &known);

	STAT_INC(d->services->relay, http_exchanges);
	take(d, head);
	if (d->services->relay->nexchanges > d->opt->max_exchanges) {
		refuse(d, 503, "too many requests at a time");
		return;
	}
	if (!known || head->content_length > d->opt->max_body || view_eq(head->method, view_of("CONNECT")) ||
	    view_eq(head->method, view_of("TRACE"))) {
		refuse(d, !known ? 417 : head->content_length > d->opt->max_body ? 413 : 405, "the relay does not pass this request on");
		return;
	}
	if (expects && !http_body_done(&d->in))
		stream_write(d->stream, "HTTP/1.1 100 Continue\r\n\r\n", 25);
	if (link_down(d->services->link))
		go_local(d, "the link is down");
	else
		forward(d, head);
}

static void
pass_up(struct door *d, struct view data)
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

static void
body_complete(struct door *d)
{
	stream_suspend(d->stream, SUSPEND_OPEN);
	stream_resume(d->stream, SUSPEND_OUTBUF); /* of this body; nobody else would end it */
	if (d->call != NULL) {
		if (d->in.framing == HTTP_CHUNKED)
			api_send(d->call, view_of(HTTP_CHUNK_END));
		api_sent(d->call);
	} else if (d->local) {
		answer_local(d);
	}
}

size_t
door_data(struct door *d, const uint8_t *buf, size_t len)
{
	size_t done = 0, used;
	struct view data;
	enum proto_err err;

	while (d->busy && !http_body_done(&d->in)) {
		err = http_body_next(&d->in, buf + done, len - done, &used, &data);
		done += used;
		if (err == PROTO_MORE)
			return done;
		d->in_bytes += data.len;
		if (err != PROTO_OK || d->in_bytes > d->opt->max_body) {
			if (d->answering || d->reading) {
				break_off(d, "the request's body is malformed or too long");
				return len;
			}
			api_cancel(d->call);
			d->call = NULL;
			d->close = true;
			refuse(d, err != PROTO_OK ? 400 : 413, "the request's body is malformed or too long");
			return len;
		}
		if (data.len > 0 && d->call != NULL)
			pass_up(d, data);
		if (http_body_done(&d->in))
			body_complete(d);
		else
			arm(d);
	}
	return done;
}

static void
ready_cb(void *arg)
{
	struct door *d = arg;

	if (http_body_done(&d->in))
		return;
	stream_resume(d->stream, SUSPEND_OPEN);
	stream_resume(d->stream, SUSPEND_OUTBUF);
	arm(d);
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
		api_cancel(d->call);
		d->call = NULL;
		d->close = true;
		refuse(d, 502, "the server's answer does not fit");
		return;
	}
	stream_write_secret(d->stream, out, n);
	d->answering = true;
	arm(d);
}

/* What an answer's head says about a user. */
static void
note_status(struct door *d, unsigned status)
{
	struct services *s = d->services;
	uint8_t id[REFRESH_ID];

	if ((d->kind != KIND_SESSION && d->kind != KIND_LOGOUT) || !refresh_find(s->refresh, bearer(d), id))
		return;
	if (d->kind == KIND_SESSION && status == 401)
		services_revoke(s, id);
	else if (d->kind == KIND_LOGOUT && status < 300)
		refresh_end(s->refresh, id);
}

/* App Services may be elsewhere than the sync server, so what happens here is no evidence against the link: only a reason to look. */
static void
look_at_link(struct door *d, const char *why)
{
	if (!link_down(d->services->link))
		link_failed(d->services->link, LINK_CUT, why);
	if (d->busy) /* else the client was closed meanwhile */
		go_local(d, why);
}

static void
head_cb(void *arg, const struct http_head *head, const struct http_body *body)
{
	struct door *d = arg;
	bool success = head->status >= 200 && head->status < 300;

	d->status = head->status;
	if (d->kind != KIND_OTHER && !services_trusts(d->services, head)) {
		api_cancel(d->call);
		d->call = NULL;
		look_at_link(d, "an answer that may be a portal's");
		return;
	}
	note_status(d, head->status);
	if (success && d->kind != KIND_OTHER && d->kind != KIND_LOGOUT && body->framing != HTTP_NO_BODY)
		read_answer(d, head);
	else
		pass_head(d, head, body);
}

static void
keep_piece(struct door *d, struct view data)
{
	uint8_t *p;

	if (data.len > READ_MAX - d->len) {
		api_cancel(d->call);
		d->call = NULL;
		d->reading = false;
		d->close = true;
		refuse(d, 502, "the server's answer is too long");
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

	arm(d);
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
		break_off(d, "the client is gone");
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
	token = c[1].kind == CLAIM_STRING ? c[1].raw : bearer(d);
	if (d->kind == KIND_LOGIN && c[1].kind != CLAIM_STRING)
		return; /* a further identity for a user who is logged in: the access token in its request is no refresh token */
	if (refresh_learn(s->refresh, token, c[0].raw))
		admit_issued(s->link, c[0].raw);
}

/* The body as the client shall have it, to be freed; NULL: as it is. */
static char *
read_body(struct door *d, struct view json, bool *bad)
{
	char *own = NULL;

	if (d->kind == KIND_LOCATION) {
		own = location_rewrite(json, d->base);
		*bad = own == NULL;
		if (own != NULL)
			location_keep(d->services->locations, view_of(d->path), json);
	} else if (d->kind == KIND_PROFILE) {
		refresh_keep_profile(d->services->refresh, bearer(d), json);
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
		go_local(d, "the server's answer is no location");
		return;
	}
	if (own != NULL)
		json = view_of(own);
	n = snprintf(d->head + d->head_len - 2, 64, "Content-Length: %zu\r\n\r\n", json.len); /* in place of the empty line */
	stream_write_secret(d->stream, d->head, d->head_len - 2 + (size_t)n);
	stream_write_secret(d->stream, json.ptr, json.len);
	free(own);
	over(d);
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
	over(d);
}

static void
failed_cb(void *arg, const char *why)
{
	struct door *d = arg;

	d->call = NULL;
	if (d->answering) {
		break_off(d, "the server's answer broke off");
		return;
	}
	d->reading = false;
	look_at_link(d, why);
}

static const struct api_ops api_ops = { .ready = ready_cb, .head = head_cb, .data = data_cb, .ended = ended_cb, .failed = failed_cb };

void
door_drained(struct door *d)
{
	if (d->call != NULL)
		api_pause(d->call, false);
}

static void
timer_cb(evutil_socket_t fd, short what, void *arg)
{
	struct door *d = arg;
	uint64_t sent = stream_sent(d->stream);

	(void)fd;
	(void)what;
	if (d->answering && stream_queued(d->stream) > 0 && sent != d->seen) { /* the client reads, if slowly */
		d->seen = sent;
		arm(d);
	} else if (d->call != NULL && !d->answering && api_sent_bytes(d->call) != d->up_seen) { /* so does the server */
		d->up_seen = api_sent_bytes(d->call);
		arm(d);
	} else if (d->call != NULL && !d->answering) {
		api_cancel(d->call);
		d->call = NULL;
		d->reading = false;
		go_local(d, "the server does not answer");
	} else {
		break_off(d, "nothing moves");
	}
}

/* ---- life ---- */

struct door *
door_new(struct services *services, const struct options *opt, struct conn *conn, struct stream *stream, bool tls)
{
	struct door *d = relay_alloc(sizeof(*d));

	d->services = services;
	d->opt = opt;
	d->conn = conn;
	d->stream = stream;
	d->tls = tls;
	d->timer = relay_timer(services->relay->base, timer_cb, d);
	stream_set_low_water(stream, (size_t)opt->out_low);
	services->nconns++;
	return d;
}

void
door_close(struct door *d)
{
	if (d == NULL)
		return;
	api_cancel(d->call);
	d->call = NULL;
	clean(d);
	d->services->nconns--;
	event_free(d->timer);
	d->timer = NULL;
}

void
door_free(struct door *d)
{
	free(d);
}

uint64_t
door_held(const struct door *d)
{
	return d == NULL ? 0 : d->cap + (d->call != NULL ? api_queued(d->call) : 0);
}
