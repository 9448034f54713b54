/* App Services as a whole: what it is made of, and what concerns more than one part.  See services.h. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "protocol/http.h"

#include "relay/api.h"
#include "relay/certs.h"
#include "relay/conn.h"
#include "relay/exchange.h"
#include "relay/link.h"
#include "relay/location.h"
#include "relay/log.h"
#include "relay/options.h"
#include "relay/refresh.h"
#include "relay/relay.h"
#include "relay/services.h"
#include "relay/tls.h"

struct services *
services_new(struct link *link, char *why, size_t why_len)
{
	const struct options *opt = link->opt;
	struct tls_settings tls = { .certificate = opt->upstream_certificate,
		.key = opt->upstream_key,
		.ca = opt->upstream_ca_file,
		.pin = opt->upstream_pin,
		.verify = opt->upstream_verify,
		.tls12 = opt->upstream_tls_min == TLS_MIN_12 };
	struct services *s;

	why[0] = '\0';
	if (opt->api_url[0] == '\0')
		return NULL;
	s = relay_alloc(sizeof(*s));
	s->relay = link->relay;
	s->link = link;
	s->opt = opt;
	if (address_http_url(opt->api_url, &s->url, why, why_len) &&
	    (!s->url.tls || (s->tls = tls_client_new(&tls, why, why_len)) != NULL))
		return s;
	free(s);
	return NULL;
}

void
services_start(struct services *s)
{
	certs_watch(s->relay->certs, s->tls, s->link->label);
	s->api = api_new(s);
	s->locations = locations_new(s);
	s->refresh = refresh_new(s);
	s->exchanges = exchanges_new(s);
	log_event(LOG_INFO, "app_services", "server=%s tls=%d", s->url.authority, s->url.tls);
}

void
services_stop(struct services *s)
{
	if (s == NULL || s->api == NULL)
		return;
	exchanges_free(s->exchanges);
	s->exchanges = NULL;
	api_cut(s->api, "stopping");
}

void
services_free(struct services *s)
{
	if (s == NULL)
		return;
	api_free(s->api);
	refresh_free(s->refresh);
	locations_free(s->locations);
	tls_free(s->tls);
	free(s);
}

void
services_link_changed(struct services *s)
{
	if (link_down(s->link))
		api_cut(s->api, "the link is down");
}

bool
services_trusts(const struct services *s, const struct http_head *head)
{
	static const char json[] = "application/json";
	struct view type;
	size_t at = 0, n = sizeof(json) - 1;

	if (tls_verifies(s->tls) || head->status >= 500 || head->status == 204)
		return true;
	return http_header_next(head, "Content-Type", &at, &type) && type.len >= n && strncasecmp((const char *)type.ptr, json, n) == 0;
}

void
services_revoke(struct services *s, const uint8_t id[REFRESH_ID])
{
	struct conn *c, *next;

	if (!refresh_revoke(s->refresh, id))
		return;
	STAT_INC(s->relay, users_revoked);
	log_event(LOG_WARN, "user_revoked", "user=%02x%02x%02x%02x", id[0], id[1], id[2], id[3]);
	for (c = TAILQ_FIRST(&s->relay->conns); c != NULL; c = next) {
		next = conn_next(c);
		if (conn_link(c) == s->link)
			conn_user_revoked(c, id);
	}
}
