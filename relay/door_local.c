/* What the door answers in App Services' place: while the link is DOWN, and when what answers there is not them.  See door.h.
 *
 * Never: 401, 403 or a redirect, which log users out (door.c); an answer before the request's body has come whole, unless the connection ends
 * with it.  location comes from the last good answer, a session from the refresh token (refresh.h), a profile from the last one seen; all
 * else is 503, and the SDK or its user tries again. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/http.h"
#include "protocol/http_body.h"

#include "relay/conn.h"
#include "relay/door_impl.h"
#include "relay/flood.h"
#include "relay/location.h"
#include "relay/log.h"
#include "relay/refresh.h"
#include "relay/relay.h"
#include "relay/services.h"
#include "relay/stream.h"

#define RETRY_AFTER_S "5"

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
	door_over(d);
}

void
door_refuse(struct door *d, unsigned status, const char *text)
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
		door_refuse(d, 503, "no link to the server, and the location of this app is not known here");
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
	enum refresh_answer a = refresh_mint(d->services->refresh, d->opt, door_bearer(d), &token);

	if (a == REFRESH_OK || flood_ok(&told, FLOOD_STRANGERS, FLOOD_STRANGERS_MS))
		log_mint(d, a);
	if (a != REFRESH_OK) {
		door_refuse(d, 503, "no link to the server; this session cannot be renewed here");
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

	if (refresh_profile(d->services->refresh, door_bearer(d), &json))
		answer(d, 200, json);
	else
		door_refuse(d, 503, "no link to the server, and this user's profile is not known here");
}

void
door_local_answer(struct door *d)
{
	uint8_t id[REFRESH_ID];

	STAT_INC(d->services->relay, http_local);
	switch (d->kind) {
	case DOOR_LOCATION:
		local_location(d);
		return;
	case DOOR_SESSION:
		local_session(d);
		return;
	case DOOR_PROFILE:
		local_profile(d);
		return;
	case DOOR_LOGOUT: /* the SDK has forgotten its tokens by now, whatever is said */
		if (refresh_find(d->services->refresh, door_bearer(d), id))
			refresh_end(d->services->refresh, id);
		break;
	case DOOR_LOGIN:
	case DOOR_API:
	case DOOR_OTHER:
		break;
	}
	door_refuse(d, 503, "the relay has no link to the server; try again later");
}

void
door_local(struct door *d, const char *why)
{
	log_event(LOG_DEBUG, "http_local", "conn=%llu kind=%s reason=\"%s\"", (unsigned long long)conn_id(d->conn), door_kind_name(d), why);
	d->local = true;
	if (http_body_done(&d->in)) {
		door_local_answer(d);
		return;
	}
	stream_resume(d->stream, SUSPEND_OUTBUF);
	conn_http_offer(d->conn);
	door_arm(d);
}
