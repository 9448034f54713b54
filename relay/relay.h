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

#include "relay/alloc.h"
#include "relay/file.h"
#include "relay/options.h"
#include "relay/quota.h"
#include "relay/userid.h"

struct event;
struct event_base;
struct spool;
struct statecache;
struct timers;
struct resolver;
struct link;
struct front;
struct sections;
struct gate;
struct certs;
struct control;
struct walltime;
struct drain;
struct monitor;
struct reload;
struct status;
struct retention;
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
TAILQ_HEAD(link_list, link);
TAILQ_HEAD(front_list, front);
TAILQ_HEAD(session_list, session);
LIST_HEAD(file_list, file);

#define RELAY_SIGNALS 4 /* TERM, INT, HUP, USR1 */

struct relay {
	const struct sections *sections; /* the configuration */
	const struct options *opt;	 /* as they hold everywhere; those of a listener or an upstream are its front's or link's */
	struct event_base *base;
	struct spool *spool;
	struct timers *timers; /* of conns and upstreams */
	struct resolver *resolver;
	struct statecache *statecache;
	struct gate *gate;
	struct certs *certs;
	struct control *control; /* NULL: none */
	struct walltime *walltime;
	struct retention *retention;
	struct reload *reload;
	struct monitor *monitor; /* NULL: none */
	struct drain *drain;   /* NULL: it does not leave */
	struct status *status; /* NULL while starting and stopping */
	struct link_list links;	  /* to each upstream; never empty, the first is that of the unnamed one if there is such */
	uint64_t nlinks, link_changes; /* how often any of them came or went */
	struct front_list fronts; /* listeners */
	struct front_list retired_fronts;
	struct conn_list conns;
	struct session_list to_show;  /* sessions that owe their client an acknowledgement (ack = relay) */
	struct session_list ended_sessions;
	struct file_list files; /* all that are open, and those that still have something at the spool */
	struct quotas quotas;
	struct quota_shares *quota_shares; /* those that the committer has, or will have */
	void *registry;		      /* sessions by file identity (session.c) */
	uint64_t nconns, nsessions;
	uint64_t nexchanges; /* HTTP requests of clients, under way (door.c) */
	uint64_t nrefused;   /* sessions of which an UPLOAD was not taken */
	uint64_t nsuspended; /* conns that are not read because the committer is behind */
	uint64_t tail_bytes;	      /* in all tails (I6) */
	uint64_t pass_ms;	      /* clock_ms when the last pass of the loop ended */
	uint64_t lingering_bytes;     /* of these, not posted to the spool */
	uint64_t held_sum, held_at;   /* budget.c: what was held for clients when stream_moved() was held_at */
	uint64_t next_conn_id;
	struct event *signal[RELAY_SIGNALS]; /* main's own; they are taken until everything is closed */
	const char *recovery;	      /* how the buffer was recovered at the start; static */
	struct stats stats;
	uint8_t shut_out[USERID]; /* forget.c: a user that is being forgotten, until clock_ms() is */
	uint64_t shut_out_until;
	bool full; /* max_connections are open */
	bool stopping;
};

/* A timer, not armed, that calls fn(-1, EV_TIMEOUT, arg) in base's loop; event_free() ends it.  Ends the process when memory is out. */
struct event *relay_timer(struct event_base *base, void (*fn)(int fd, short what, void *arg), void *arg);

/* Arms ev to fire once in ms milliseconds (again, if it was armed). */
void relay_after_ms(struct event *ev, uint64_t ms);

static inline uint64_t
min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t
max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* Whether n more payload bytes fit into the buffer (options: max_bytes, min_free); counts what is on its way to the disk. */
bool relay_room(const struct relay *relay, uint64_t n);

/* The same and, for the client file f, max_bytes_per_file and its quota. */
bool relay_room_for(const struct relay *relay, const struct file *f, uint64_t n);

/* Whether there is room again after it was full (with hysteresis: a tenth of max_bytes must be free, and a quarter more of the
 * disk than min_free). */
bool relay_has_room(const struct relay *relay);

/* Which bound has no room: "max_bytes", "disk" (min_free, or the ballast was given up), or NULL. */
const char *relay_full_by(const struct relay *relay);

/* Tells the committer whether, and how much at a time, backlogs are pre-merged now: to be called when the link or the options changed. */
void relay_merging(struct relay *relay);

#endif
