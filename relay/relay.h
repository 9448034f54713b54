/* What the parts of the daemon share: one struct relay, made by main, passed to all.
 *
 * It owns nothing by itself; main opens and closes the parts in order.  Lists here are for passes over all of a kind
 * (status, link changes); each element is owned by its own file. */
#ifndef RELAY_RELAY_H
#define RELAY_RELAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "relay/address.h"
#include "relay/file.h"
#include "relay/options.h"

struct event;
struct event_base;
struct spool;
struct statecache;
struct resolver;
struct link;
struct pool;
struct listener;
struct gate;
struct certs;
struct absents;
struct pace;
struct control;
struct walltime;
struct drain;
struct monitor;
struct reload;
struct status;
struct retention;
struct jwt_key;
struct tls_context;
struct conn;
struct upstream;
struct session;

struct stats {
#define COUNTER(name, help) uint64_t name;
#include "relay/stats.def"
#undef COUNTER
};

#define STAT_INC(relay, name) ((relay)->stats.name++)
#define STAT_ADD(relay, name, n) ((relay)->stats.name += (n))

TAILQ_HEAD(conn_list, conn);
TAILQ_HEAD(upstream_list, upstream);
TAILQ_HEAD(session_list, session);

struct relay {
	const struct options *opt;
	struct address_urls upstream_urls;
	struct event_base *base;
	struct spool *spool;
	struct resolver *resolver;
	struct link *link;
	struct pool *pool;
	struct statecache *statecache;
	struct listener *listener;
	struct gate *gate;
	struct certs *certs;
	struct absents *absents; /* NULL while starting */
	struct pace *pace;
	struct control *control; /* NULL: none */
	struct walltime *walltime;
	struct retention *retention;
	struct reload *reload;
	struct monitor *monitor; /* NULL: none */
	struct drain *drain;   /* NULL: it does not leave */
	struct status *status; /* NULL while starting and stopping */
	struct jwt_key *jwt_key; /* NULL: none given */
	struct tls_context *tls_listen, *tls_upstream; /* NULL = plain */
	struct conn_list conns;
	struct upstream_list upstreams;
	struct file_list lingering;   /* files with a tail that waits for linger, oldest first */
	struct session_list to_show;  /* sessions that owe their client an acknowledgement (ack = relay) */
	struct session_list ended_sessions;
	void *registry;		      /* sessions by file identity (session.c) */
	uint64_t nconns, nsessions, nupstreams;
	uint64_t nrefused;   /* sessions of which an UPLOAD was not taken */
	uint64_t nsuspended; /* conns that are not read because the committer is behind */
	uint64_t tail_bytes;	      /* in all tails (I6) */
	uint64_t held_sum, held_at;   /* budget.c: what was held for clients when stream_moved() was held_at */
	uint64_t next_conn_id;
	const char *recovery;	      /* how the buffer was recovered at the start; static */
	struct stats stats;
	bool stopping;
};

/* calloc that ends the process when memory is out: nothing acknowledged is lost by it, and going on half-made would lose more. */
void *relay_alloc(size_t n);
char *relay_strndup(const void *text, size_t n); /* NUL terminated copy; freed with free() */
void relay_wipe(char *secret);			 /* a NUL terminated secret: overwritten, then freed; NULL allowed */

/* Arms ev to fire once in ms milliseconds (again, if it was armed). */
void relay_after_ms(struct event *ev, uint64_t ms);

/* Whether n more payload bytes fit into the buffer (options: max_bytes, min_free); counts what is on its way to the disk. */
bool relay_room(const struct relay *relay, uint64_t n);

/* The same and, for the client file f, max_bytes_per_file. */
bool relay_room_for(const struct relay *relay, const struct file *f, uint64_t n);

/* Whether there is room again after it was full (with hysteresis: a tenth of max_bytes must be free, and a quarter more of the
 * disk than min_free). */
bool relay_has_room(const struct relay *relay);

/* Which bound has no room: "max_bytes", "disk" (min_free, or the ballast was given up), or NULL. */
const char *relay_full_by(const struct relay *relay);

/* Tells the committer whether, and how much at a time, backlogs are pre-merged now: to be called when the link or the options changed. */
void relay_merging(struct relay *relay);

#endif
