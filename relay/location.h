/* Where an app finds what: the answers to /api/client/v2.0/app/<app id>/location, made to name the relay, and the last good one of each
 * app for when the link is DOWN (STORE_META "location <endpoint>", as upstream gave it; see link_endpoint).
 *
 * The SDK takes from it `hostname`, the base of its further HTTP calls, `ws_hostname`, that of its WebSocket, and, when there is one,
 * `sync_route`, the whole WebSocket URL. */
#ifndef RELAY_LOCATION_H
#define RELAY_LOCATION_H

#include <stdbool.h>
#include <stddef.h>

#include "protocol/view.h"

struct locations;
struct services;

#define LOCATION_KEY "location " /* begins the keys in STORE_META */
#define LOCATION_APPS 64	 /* apps whose answer is kept; a site has a handful */

struct locations *locations_new(struct services *services);
void locations_free(struct locations *l); /* NULL allowed */

/* json with hostname, ws_hostname and sync_route at base ("https://gateway:7800"): NUL terminated, to be freed; NULL: it is no such answer, and an
 * app must not see it (without hostname and ws_hostname it gives up). */
char *location_rewrite(struct view json, const char *base);

/* Upstream gave json, which location_rewrite takes, for path. */
void location_keep(struct locations *l, struct view path, struct view json);
/* The last one; lives until the next location_keep.  False: none is known. */
bool location_find(const struct locations *l, struct view path, struct view *json);

/* A redirect's Location that leads to authority ("host:port", in any case, by HTTP or WebSocket) led to base instead: NUL terminated, to be
 * freed; NULL: it leads elsewhere, or is relative. */
char *location_redirect(struct view url, const char *authority, const char *base);

#endif
