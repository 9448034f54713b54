/* See location.h.
 *
 * What is rewritten is only where to: the path of sync_route stays, since the relay passes on the paths that clients use. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>

#include "relay/claims.h"
#include "relay/link.h"
#include "relay/location.h"
#include "relay/log.h"
#include "relay/relay.h"
#include "relay/services.h"
#include "relay/splice.h"
#include "relay/spool.h"

struct location {
	TAILQ_ENTRY(location) link; /* the one kept last in front */
	char *path, *json;
};

struct locations {
	struct services *services;
	TAILQ_HEAD(location_list_head, location) list;
	size_t n;
	/* while the disk is read, in the committer's thread */
	struct location_list_head read;
};

/* ---- rewriting ---- */

/* Splits "scheme://authority/rest"; rest begins with the slash, or is empty.  False: it is not of that form. */
static bool
split_url(struct view url, struct view *scheme, struct view *authority, struct view *rest)
{
	size_t n = 0, m;

	while (n < url.len && url.ptr[n] != ':' && url.ptr[n] != '/')
		n++;
	if (url.len - n < 3 || memcmp(url.ptr + n, "://", 3) != 0)
		return false;
	*scheme = (struct view){ url.ptr, n };
	for (m = n + 3; m < url.len && url.ptr[m] != '/' && url.ptr[m] != '?' && url.ptr[m] != '#'; m++)
		;
	*authority = (struct view){ url.ptr + n + 3, m - n - 3 };
	*rest = (struct view){ url.ptr + m, url.len - m };
	return authority->len > 0;
}

static bool
is_scheme(struct view scheme, const char *name)
{
	return scheme.len == strlen(name) && strncasecmp((const char *)scheme.ptr, name, scheme.len) == 0;
}

/* url at base, as HTTP or as WebSocket; NULL: it is no URL. */
static char *
at_base(struct view url, const char *base, bool websocket)
{
	struct view scheme, authority, rest;
	size_t room = strlen(base) + url.len + 2;
	char *out;

	if (!split_url(url, &scheme, &authority, &rest))
		return NULL;
	out = relay_alloc(room);
	snprintf(out, room, "%s%s%.*s", websocket ? "ws" : "", websocket ? base + strlen("http") : base, (int)rest.len, (const char *)rest.ptr);
	return out;
}

enum { HOSTNAME, WS_HOSTNAME, SYNC_ROUTE, NMEMBER };

char *
location_rewrite(struct view json, const char *base)
{
	static const char *const names[NMEMBER] = { [HOSTNAME] = "hostname", [WS_HOSTNAME] = "ws_hostname", [SYNC_ROUTE] = "sync_route" };
	struct splice s[NMEMBER];
	struct claim c[NMEMBER];
	char *text[NMEMBER] = { NULL }, *out = NULL;
	bool good = claims_find(json, names, NMEMBER, c);

	for (int i = 0; good && i < NMEMBER; i++) {
		if (c[i].kind == CLAIM_STRING)
			text[i] = at_base(c[i].raw, base, i != HOSTNAME);
		good = text[i] != NULL || (i == SYNC_ROUTE && c[i].kind == CLAIM_ABSENT);
		s[i] = (struct splice){ .name = names[i], .text = text[i], .string = true };
	}
	if (good)
		out = splice_json(json, s, NMEMBER);
	for (int i = 0; i < NMEMBER; i++)
		free(text[i]);
	return out;
}

char *
location_redirect(struct view url, const char *authority, const char *base)
{
	struct view scheme, where, rest;
	bool websocket;

	if (!split_url(url, &scheme, &where, &rest) || where.len != strlen(authority) ||
	    strncasecmp((const char *)where.ptr, authority, where.len) != 0)
		return NULL;
	websocket = is_scheme(scheme, "ws") || is_scheme(scheme, "wss");
	if (!websocket && !is_scheme(scheme, "http") && !is_scheme(scheme, "https"))
		return NULL;
	return at_base(url, base, websocket);
}

/* ---- what is kept ---- */

static void
location_free(struct location *e)
{
	free(e->path);
	free(e->json);
	free(e);
}

static struct location *
find(const struct locations *l, struct view path)
{
	struct location *e;

	TAILQ_FOREACH (e, &l->list, link)
		if (view_eq(view_of(e->path), path))
			return e;
	return NULL;
}

static struct location *
entry(struct view path, struct view json)
{
	struct location *e = relay_alloc(sizeof(*e));

	e->path = relay_strndup(path.ptr, path.len);
	e->json = relay_strndup(json.ptr, json.len);
	return e;
}

static void
store(struct locations *l, struct view path, struct view json)
{
	char key[STORE_KEY_MAX], *endpoint = link_endpoint(l->services->link, path);
	int n = snprintf(key, sizeof(key), LOCATION_KEY "%s", endpoint);

	free(endpoint);
	if (n < (int)sizeof(key) && json.len <= STORE_VALUE_MAX)
		spool_put(l->services->relay->spool, STORE_META, (struct view){ (const uint8_t *)key, (size_t)n }, json);
}

void
location_keep(struct locations *l, struct view path, struct view json)
{
	struct location *e = find(l, path), *last;

	if (json.len > STORE_VALUE_MAX || memchr(json.ptr, '\0', json.len) != NULL)
		return;
	if (e != NULL && view_eq(view_of(e->json), json))
		return;
	if (e != NULL) {
		free(e->json);
		e->json = relay_strndup(json.ptr, json.len);
		TAILQ_REMOVE(&l->list, e, link);
	} else {
		if (l->n == LOCATION_APPS) {
			last = TAILQ_LAST(&l->list, location_list_head);
			TAILQ_REMOVE(&l->list, last, link);
			store(l, view_of(last->path), (struct view){ NULL, 0 }); /* an empty one is none */
			location_free(last);
			l->n--;
		}
		e = entry(path, json);
		l->n++;
	}
	TAILQ_INSERT_HEAD(&l->list, e, link);
	store(l, path, json);
}

bool
location_find(const struct locations *l, struct view path, struct view *json)
{
	const struct location *e = find(l, path);

	if (e != NULL)
		*json = view_of(e->json);
	return e != NULL;
}

/* ---- the disk ---- */

static bool
read_one(void *arg, const void *key, size_t key_len, const void *val, size_t val_len)
{
	static const char prefix[] = LOCATION_KEY;
	struct locations *l = arg;
	size_t n = sizeof(prefix) - 1;
	struct location *e;
	char *endpoint;

	if (key_len <= n || memcmp(key, prefix, n) != 0)
		return false;
	endpoint = relay_strndup((const char *)key + n, key_len - n);
	if (val_len > 0 && link_has_endpoint(l->services->link, endpoint)) {
		e = entry(view_of(link_endpoint_path(endpoint)), (struct view){ val, val_len });
		TAILQ_INSERT_TAIL(&l->read, e, link);
	}
	free(endpoint);
	return true;
}

/* In the committer's thread. */
static void
read_all(void *arg, struct store *store)
{
	struct locations *l = arg;

	if (store_each_after(store, STORE_META, LOCATION_KEY, strlen(LOCATION_KEY), read_one, l) != STORE_OK)
		return; /* they are learnt again */
}

static void
read_done(void *arg, struct spool_op *op)
{
	struct locations *l = arg;
	struct location *e;

	(void)op;
	while ((e = TAILQ_FIRST(&l->read)) != NULL) {
		TAILQ_REMOVE(&l->read, e, link);
		if (l->n == LOCATION_APPS || find(l, view_of(e->path)) != NULL) {
			location_free(e);
			continue;
		}
		TAILQ_INSERT_TAIL(&l->list, e, link);
		l->n++;
	}
}

struct locations *
locations_new(struct services *services)
{
	struct locations *l = relay_alloc(sizeof(*l));

	l->services = services;
	TAILQ_INIT(&l->list);
	TAILQ_INIT(&l->read);
	spool_call(services->relay->spool, read_all, read_done, l);
	return l;
}

void
locations_free(struct locations *l)
{
	struct location *e;

	if (l == NULL)
		return;
	TAILQ_CONCAT(&l->list, &l->read, link);
	while ((e = TAILQ_FIRST(&l->list)) != NULL) {
		TAILQ_REMOVE(&l->list, e, link);
		location_free(e);
	}
	free(l);
}
