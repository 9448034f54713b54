/* One exchange of HTTP, from its request's head to its end; see door.h.
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

#include "relay/api.h"
#include "relay/conn.h"
#include "relay/door_impl.h"
#include "relay/link.h"
#include "relay/log.h"
#include "relay/options.h"
#include "relay/relay.h"
#include "relay/services.h"
#include "relay/stream.h"

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

static enum door_kind
kind_of_app(struct view rest, bool get, bool post)
{
	if (!cut_segment(&rest)) /* the app's id */
		return DOOR_API;
	if (get && view_eq(rest, view_of("location")))
		return DOOR_LOCATION;
	return post && cut_prefix(&rest, "auth/providers/") && cut_segment(&rest) && view_eq(rest, view_of("login")) ? DOOR_LOGIN : DOOR_API;
}

static enum door_kind
kind_of(const struct http_head *head)
{
	bool get = view_eq(head->method, view_of("GET")), post = view_eq(head->method, view_of("POST"));
	struct view rest = head->path;

	if (!cut_prefix(&rest, CLIENT_API))
		return DOOR_OTHER;
	if (cut_prefix(&rest, "app/"))
		return kind_of_app(rest, get, post);
	if (view_eq(rest, view_of("auth/session")))
		return post ? DOOR_SESSION : view_eq(head->method, view_of("DELETE")) ? DOOR_LOGOUT : DOOR_API;
	return get && view_eq(rest, view_of("auth/profile")) ? DOOR_PROFILE : DOOR_API;
}

struct view
door_bearer(const struct door *d)
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

const char *
door_kind_name(const struct door *d)
{
	static const char *const names[] = { [DOOR_OTHER] = "other",
		[DOOR_API] = "api",
		[DOOR_LOCATION] = "location",
		[DOOR_LOGIN] = "login",
		[DOOR_SESSION] = "session",
		[DOOR_LOGOUT] = "logout",
		[DOOR_PROFILE] = "profile" };

	return names[d->kind];
}

static void
log_exchange(const struct door *d)
{
	log_event(LOG_DEBUG, "http_exchange", "conn=%llu kind=%s status=%u local=%d", (unsigned long long)conn_id(d->conn), door_kind_name(d),
		  d->status, d->local);
}

void
door_drop_call(struct door *d)
{
	api_cancel(d->call);
	d->call = NULL;
}

void
door_over(struct door *d)
{
	bool keep = !d->close && http_body_done(&d->in);

	log_exchange(d);
	door_drop_call(d);
	clean(d);
	conn_http_over(d->conn, keep, "the exchange is over");
}

void
door_break_off(struct door *d, const char *why)
{
	door_drop_call(d);
	clean(d);
	conn_http_over(d->conn, false, why);
}

void
door_arm(struct door *d)
{
	if (d->busy)
		relay_after_ms(d->timer, d->answering ? d->opt->idle_timeout_ms : d->opt->exchange_timeout_ms);
}

/* ---- the request ---- */

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
		door_refuse(d, 503, "too many requests at a time");
		return;
	}
	if (!known || head->content_length > d->opt->max_body || view_eq(head->method, view_of("CONNECT")) ||
	    view_eq(head->method, view_of("TRACE"))) {
		door_refuse(d, !known ? 417 : head->content_length > d->opt->max_body ? 413 : 405, "the relay does not pass this request on");
		return;
	}
	if (expects && !http_body_done(&d->in))
		stream_write(d->stream, "HTTP/1.1 100 Continue\r\n\r\n", 25);
	if (link_down(d->services->link))
		door_local(d, "the link is down");
	else
		door_pass(d, head);
}

static void
body_complete(struct door *d)
{
	stream_suspend(d->stream, SUSPEND_OPEN);
	stream_resume(d->stream, SUSPEND_OUTBUF); /* of this body; nobody else would end it */
	if (d->call != NULL)
		door_pass_end(d);
	else if (d->local)
		door_local_answer(d);
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
				door_break_off(d, "the request's body is malformed or too long");
				return len;
			}
			door_drop_call(d);
			d->close = true;
			door_refuse(d, err != PROTO_OK ? 400 : 413, "the request's body is malformed or too long");
			return len;
		}
		if (data.len > 0 && d->call != NULL)
			door_pass_body(d, data);
		if (http_body_done(&d->in))
			body_complete(d);
		else
			door_arm(d);
	}
	return done;
}

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
		door_arm(d);
	} else if (d->call != NULL && !d->answering && api_sent_bytes(d->call) != d->up_seen) { /* so does the server */
		d->up_seen = api_sent_bytes(d->call);
		door_arm(d);
	} else if (d->call != NULL && !d->answering) {
		door_drop_call(d);
		d->reading = false;
		door_local(d, "the server does not answer");
	} else {
		door_break_off(d, "nothing moves");
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
	door_drop_call(d);
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
