/* Listeners and what belongs to each; see front.h.
 *
 * Never looks into a connection: relay/conn does, which each accepted descriptor is given to.
 *
 * The idea: limits are the process's and not a listener's (I6), so when one is reached no front accepts, whichever its clients came by; those
 * who wait do so in the kernel's queue. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "relay/certs.h"
#include "relay/conn.h"
#include "relay/flood.h"
#include "relay/front.h"
#include "relay/gate.h"
#include "relay/jwt.h"
#include "relay/listener.h"
#include "relay/log.h"
#include "relay/options.h"
#include "relay/tls.h"

static void
log_bad_key(const struct front *f, const char *event, const char *why)
{
	struct log_line l;

	log_begin(&l, LOG_ERROR, event);
	log_str(&l, "for", f->label);
	log_str(&l, "reason", why);
	log_end(&l);
}

static bool
read_tls(struct front *f)
{
	const struct options *o = f->opt;
	char why[512] = "";
	struct tls_settings own = { .certificate = o->tls_certificate,
		.key = o->tls_key,
		.ca = o->client_ca,
		.verify = o->client_certificate,
		.tls12 = o->listen_tls_min == TLS_MIN_12 };

	if (o->tls_certificate[0] == '\0')
		return true;
	f->tls = tls_server_new(&own, why, sizeof(why));
	if (f->tls == NULL)
		log_bad_key(f, "tls", why);
	return f->tls != NULL;
}

/* Read also when it is not used now, so that a bad file does not come to light in an outage. */
static bool
read_jwt(struct front *f)
{
	const struct options *o = f->opt;
	char why[4300] = "";

	if (o->jwt_key_file[0] == '\0')
		return true;
	f->jwt_key = jwt_key_read((enum jwt_algorithm)o->jwt_algorithm, o->jwt_key_file, why, sizeof(why));
	if (f->jwt_key == NULL)
		log_bad_key(f, "jwt_key", why);
	return f->jwt_key != NULL;
}

struct front *
front_new(struct relay *relay, const char *name, const struct options *opt, struct link *link)
{
	struct front *f = relay_alloc(sizeof(*f));

	f->relay = relay;
	f->opt = opt;
	f->link = link;
	f->name = relay_strndup(name, strlen(name));
	snprintf(f->label, sizeof(f->label), name[0] != '\0' ? "listener %s" : "listener", name);
	TAILQ_INSERT_TAIL(&relay->fronts, f, entry);
	if (read_tls(f) && read_jwt(f))
		return f;
	front_free(f);
	return NULL;
}

static void
accepted(void *arg, int fd, const struct sockaddr *peer, socklen_t peer_len)
{
	conn_accept(arg, fd, peer, peer_len);
}

bool
front_listen(struct front *f, char *why, size_t why_len)
{
	f->listener = listener_open(f->relay->base, f->opt->listen_address, UINT64_MAX, accepted, f, why, why_len);
	if (f->listener == NULL)
		return false;
	if (f->name[0] != '\0')
		log_event(LOG_INFO, "listener", "name=%s address=%s", f->name, listener_address(f->listener));
	certs_watch(f->relay->certs, f->tls, f->label);
	certs_watch_jwt(f->relay->certs, f->jwt_key, f->label);
	front_admission(f->relay);
	return true;
}

void
front_close(struct front *f)
{
	if (f->listener != NULL)
		listener_stop(f->listener);
}

void
front_retire(struct front *f)
{
	struct conn *c, *next;

	for (c = TAILQ_FIRST(&f->relay->conns); c != NULL; c = next) {
		next = conn_next(c);
		if (conn_front(c) == f)
			conn_close(c, "its listener is configured no more");
	}
	listener_close(f->listener);
	f->listener = NULL;
	certs_forget(f->relay->certs, f->tls);
	certs_forget(f->relay->certs, f->jwt_key);
	TAILQ_REMOVE(&f->relay->fronts, f, entry);
	TAILQ_INSERT_TAIL(&f->relay->retired_fronts, f, entry);
	f->retired = true;
}

void
front_free(struct front *f)
{
	if (f->retired)
		TAILQ_REMOVE(&f->relay->retired_fronts, f, entry);
	else
		TAILQ_REMOVE(&f->relay->fronts, f, entry);
	listener_close(f->listener);
	tls_free(f->tls);
	jwt_key_free(f->jwt_key);
	free(f->name);
	free(f);
}

void
front_admission(struct relay *relay)
{
	static struct flood told;
	bool full = relay->nconns >= relay->opt->max_connections;
	struct front *f;

	if (full && !relay->full && flood_ok(&told, FLOOD_STRANGERS, FLOOD_STRANGERS_MS))
		log_event(LOG_WARN, "connections_full", "max=%llu", (unsigned long long)relay->opt->max_connections);
	relay->full = full;
	TAILQ_FOREACH (f, &relay->fronts, entry)
		if (f->listener != NULL)
			listener_hold(f->listener, full || gate_is_shut(relay->gate));
}

void
front_release(struct front *f)
{
	listener_release(f->listener);
	front_admission(f->relay);
}
