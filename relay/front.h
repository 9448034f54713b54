/* Where clients come in: one for each [listener] section, with its socket, its keys, its rules and the link that its clients are for.
 *
 * A client keeps its front until it leaves.  The struct lives as long as the daemon, also when its section went away in a reload. */
#ifndef RELAY_FRONT_H
#define RELAY_FRONT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>

#include "relay/link.h"
#include "relay/relay.h"

struct jwt_key;
struct listener;
struct options;
struct tls_context;

struct front {
	TAILQ_ENTRY(front) entry; /* relay->fronts, or retired_fronts */
	struct relay *relay;
	char *name;		       /* of its section; "" for the unnamed one; owned */
	char label[SECTION_TITLE_MAX]; /* "listener", or "listener NAME" */
	const struct options *opt;     /* borrowed: as they hold for its clients, those of the upstream included */
	struct link *link;	       /* to that upstream */
	struct listener *listener;     /* NULL: closed */
	struct tls_context *tls;       /* NULL: plain */
	struct jwt_key *jwt_key;       /* NULL: none given */
	bool retired;
};

/* Adds the front of [listener name] to relay->fronts: reads its keys, and does no more.  opt is borrowed, and may change its values but not its
 * place.  NULL: it cannot be, and the log says why. */
struct front *front_new(struct relay *relay, const char *name, const struct options *opt, struct link *link);
/* Opens the socket.  False with a sentence in why. */
bool front_listen(struct front *f, char *why, size_t why_len);
/* No further client is accepted: who connects is refused. */
void front_close(struct front *f);
/* Its section is gone: its clients are closed and it is off the list.  What is left of it stays until the end, for sessions that drain. */
void front_retire(struct front *f);
void front_free(struct front *f); /* its clients are gone; off its list */

/* A connection or a handshake of some front has begun or ended, or the limits changed: all fronts accept, or none does. */
void front_admission(struct relay *relay);
/* A connection that was handed on by f has ended. */
void front_release(struct front *f);

#endif
