/* Keeps TLS contexts and keys of tokens up to date with their files.
 *
 * Looks with stat(2) every CERTS_LOOK_MS, which follows links and works on every file system; whoever renews certificates need not know of the
 * daemon.  What cannot be read stays as it is (the last good one), and is tried again when its files change again: certificate and
 * key are mostly replaced one after the other, and between them they do not fit.  So the failure is a warning, once for each change.
 *
 * Connections keep the context they began with.  Never ends the process. */
#include <stdlib.h>
#include <sys/queue.h>

#include <event2/event.h>

#include "relay/certs.h"
#include "relay/jwt.h"
#include "relay/log.h"
#include "relay/relay.h"
#include "relay/tls.h"

#define CERTS_LOOK_MS 1000 /* a handful of stat(2) calls */

struct watched {
	SLIST_ENTRY(watched) link;
	struct tls_context *tls; /* or */
	struct jwt_key *jwt;
	const char *what;
};

struct certs {
	SLIST_HEAD(, watched) all;
	struct event *timer;
};

static bool
has_changed(const struct watched *w)
{
	return w->tls != NULL ? tls_changed(w->tls) : jwt_key_changed(w->jwt);
}

static void
read_again(const struct watched *w)
{
	static const char *const events[2][2] = { { "certificates_kept", "certificates_read" }, { "jwt_key_kept", "jwt_key_read" } };
	char why[4300] = ""; /* with the name of a file */
	struct log_line l;
	bool ok = w->tls != NULL ? tls_reload(w->tls, why, sizeof(why)) : jwt_key_reload(w->jwt, why, sizeof(why));

	log_begin(&l, ok ? LOG_INFO : LOG_WARN, events[w->jwt != NULL][ok]);
	log_str(&l, "for", w->what);
	if (!ok)
		log_str(&l, "reason", why);
	log_end(&l);
}

static void
look_cb(evutil_socket_t fd, short what, void *arg)
{
	struct certs *c = arg;
	struct watched *w;

	(void)fd;
	(void)what;
	SLIST_FOREACH (w, &c->all, link)
		if (has_changed(w))
			read_again(w);
	relay_after_ms(c->timer, CERTS_LOOK_MS);
}

struct certs *
certs_new(struct event_base *base)
{
	struct certs *c = relay_alloc(sizeof(*c));

	SLIST_INIT(&c->all);
	c->timer = evtimer_new(base, look_cb, c);
	if (c->timer == NULL)
		log_fatal("out_of_memory", "what=timer");
	relay_after_ms(c->timer, CERTS_LOOK_MS);
	return c;
}

void
certs_free(struct certs *c)
{
	struct watched *w;

	if (c == NULL)
		return;
	while ((w = SLIST_FIRST(&c->all)) != NULL) {
		SLIST_REMOVE_HEAD(&c->all, link);
		free(w);
	}
	event_free(c->timer);
	free(c);
}

static void
watch(struct certs *c, struct watched what)
{
	struct watched *w;

	if (what.tls == NULL && what.jwt == NULL)
		return;
	w = relay_alloc(sizeof(*w));
	*w = what;
	SLIST_INSERT_HEAD(&c->all, w, link);
}

void
certs_watch(struct certs *c, struct tls_context *t, const char *what)
{
	watch(c, (struct watched){ .tls = t, .what = what });
}

void
certs_watch_jwt(struct certs *c, struct jwt_key *k, const char *what)
{
	watch(c, (struct watched){ .jwt = k, .what = what });
}

void
certs_forget(struct certs *c, const void *t)
{
	struct watched *w;

	SLIST_FOREACH (w, &c->all, link)
		if (w->tls == t || w->jwt == t)
			break;
	if (t == NULL || w == NULL)
		return;
	SLIST_REMOVE(&c->all, w, watched, link);
	free(w);
}

void
certs_reload(struct certs *c)
{
	struct watched *w;

	SLIST_FOREACH (w, &c->all, link)
		read_again(w);
}
