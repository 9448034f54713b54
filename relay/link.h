/* The way to an upstream: UP or DOWN, decided by evidence with hysteresis (design section 6).  One for each [upstream] section, and
 * whatever is done for one upstream hangs here: an outage of one stops no other (I7).
 *
 *             probe or connection succeeded
 *      +---------------------------------------+
 *      v                                       |
 *   UNKNOWN/UP --failed probe, or LINK_FAILS connections failing in a row--> DOWN
 *
 *   UNKNOWN (start): treated as UP, so the first client is tried upstream.
 *   UP:    a failure starts a probe at once; a cut alone never makes the link DOWN.  With no connection open it is probed from time
 *          to time, so that the status tells the truth.
 *   DOWN:  probed every probe_interval; nobody else connects.
 *   Closed by order, an operator's (LINK_OFFLINE), that of the schedule or of a budget that is used up (meter.h): DOWN, not even probed; what
 *   was open is cut.
 *
 * A probe is a connection of the relay's own: TCP, TLS, an upgrade without credentials to the path last accepted, and PING/PONG. */
#ifndef RELAY_LINK_H
#define RELAY_LINK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "relay/address.h"
#include "relay/linger.h"
#include "relay/relay.h"
#include "relay/priority.h"
#include "relay/schedule.h"
#include "relay/section.h"
#include "relay/verdict.h"

struct absents;
struct event;
struct store_file;
struct store_share;
struct log_line;
struct meter;
struct options;
struct pace;
struct pool;
struct service;
struct services;
struct tls_context;
struct upstream;

TAILQ_HEAD(upstream_list, upstream);

enum link_state { LINK_UNKNOWN, LINK_UP, LINK_DOWN };

enum link_evidence {
	LINK_CUT,	/* an open connection ended: says little */
	LINK_UNREACHED, /* TCP, TLS or upgrade did not come about, or took too long */
	LINK_GARBLED,	/* an open connection sent what is no message */
	LINK_SILENT,	/* no PONG */
	LINK_UNTRUSTED, /* certificate, or an answer that is not this protocol: portal or proxy */
};

enum link_mode {
	LINK_AUTO,    /* open in the windows of the schedule (option schedule) and within the budget, and evidence decides */
	LINK_ONLINE,  /* open at all times */
	LINK_OFFLINE, /* closed */
};

/* All may read what is above the line; below it is link.c's own. */
struct link {
	TAILQ_ENTRY(link) entry; /* relay->links */
	struct relay *relay;
	char *name;		   /* of its section; "" for the unnamed one; owned */
	unsigned share;		   /* of the store's: its place among the links */
	char label[SECTION_TITLE_MAX]; /* "upstream", or "upstream NAME" */
	const struct options *opt; /* borrowed: as they hold for this upstream; of a listener's, those of the first that names it */
	struct tls_context *tls;   /* NULL: plain */
	struct absents *absents;   /* NULL while starting */
	struct pool *pool;	   /* NULL while starting and stopping */
	struct service *service;   /* likewise */
	struct priority priority;  /* option first */
	uint64_t back[PRIORITY_RANKS]; /* clients that come back when the link does, by rank */
	struct pace *pace;
	struct meter *meter;
	struct services *services; /* NULL: no api_url */
	struct lingering lingering; /* uploads that are not written yet */
	struct upstream_list upstreams; /* connections on it */
	uint64_t nupstreams;
	uint64_t nconns; /* clients whose listener names it */
	bool stopped;	 /* the daemon ends */
	/* ---- */
	struct address_urls urls;
	enum link_state state;
	uint64_t since; /* clock_ms */
	char cause[256];
	unsigned at; /* the URL that worked last */
	char *path;
	unsigned fails;
	uint64_t proved_at; /* clock_ms; 0 = never */
	struct verdict_delay named; /* the delay upstream named last */
	uint64_t held_until; /* clock_ms: upstream asked to be left alone */
	enum link_mode mode;
	bool closed;	     /* DOWN by order */
	struct schedule schedule;
	uint64_t rate;	     /* of the window that is open; 0 = no bound */
	struct event *watch; /* of the schedule */
	bool path_accepted; /* path is one that upstream accepted once */
	struct upstream *probe;
	struct event *timer; /* the next probe */
};

/* Adds the link of [upstream name] to relay->links: reads URLs and keys, and does no more.  opt is borrowed, and may change its values but not
 * its place.  NULL: it cannot be, and the log says why. */
struct link *link_new(struct relay *relay, const char *name, const struct options *opt);
/* Begins to probe, and all that is done for it. */
void link_start(struct link *l);
/* The end of everything that is under way on it.  What the committer has still to answer finds it stopped. */
void link_stop(struct link *l);
void link_free(struct link *l); /* off the list */

/* The endpoint of a request path on l, to be freed: what the keys of its files, idents, versions and kept states on the disk begin with
 * (buffer/FORMAT).  Another name is another endpoint, so nothing of two upstreams ever mixes. */
char *link_endpoint(const struct link *l, struct view path);
/* The request path in an endpoint. */
const char *link_endpoint_path(const char *endpoint);
/* Whether an endpoint is one of l's. */
bool link_has_endpoint(const struct link *l, const char *endpoint);

/* Whose backlog a file belongs to: a share of the store's (quota_share_of).  In the committer's thread, too: links and their names stay. */
unsigned link_share_of(const struct relay *relay, const struct store_file *f);
#define LINK_SHARE_NONE 63 /* of an upstream that is not configured any more; behind it are those of quotas */
/* What waits for l; lives as long as the spool. */
const struct store_share *link_backlog(const struct link *l);

/* What stands for l in values and keys on the disk whose owner is not told by an endpoint: the begin of a hash of its label. */
#define LINK_SCOPE 8 /* bytes */
void link_scope(const struct link *l, uint8_t scope[LINK_SCOPE]);
/* The key in STORE_META of what is kept of l alone: what, and a named link's name behind. */
#define LINK_KEY_MAX (32 + SECTION_NAME_MAX)
void link_meta_key(const struct link *l, const char *what, char key[LINK_KEY_MAX]);
/* The request path upstream accepted last is kept under this. */
#define LINK_PATH_KEY "probe path"

/* The link of [upstream name]; NULL: there is none. */
struct link *link_find(const struct relay *relay, const char *name);
uint64_t link_count(const struct relay *relay, enum link_state state); /* how many are so */
uint64_t link_all_upstreams(const struct relay *relay); /* connections on all links */

/* Adds upstream=NAME, if it has one. */
void link_log_name(const struct link *l, struct log_line *line);

enum link_state link_state(const struct link *l);
bool link_down(const struct link *l);
const char *link_state_name(enum link_state state);
uint64_t link_since_ms(const struct link *l);	/* clock_ms of the last change */
const char *link_cause(const struct link *l);	/* why it is DOWN, in words; "" otherwise */

/* The operator's wish, until the process ends.  Logged. */
void link_set_mode(struct link *l, enum link_mode mode);
enum link_mode link_mode(const struct link *l);
bool link_closed(const struct link *l); /* by order: the operator's, the schedule's or the budget's */
/* What the schedule allows replay now, in bytes a second; 0 = it does not say. */
uint64_t link_rate(const struct link *l);
/* The options have changed. */
void link_reloaded(struct link *l);
/* The meter came to another state. */
void link_metered(struct link *l);
const char *link_mode_name(enum link_mode mode);

/* A connection that ought to have worked did not; why in words (copied). */
void link_failed(struct link *l, enum link_evidence e, const char *why);
/* A connection proved that upstream is there. */
void link_succeeded(struct link *l);
/* Whether upstream has just proved itself (PONG, accepted upgrade), so that what comes over plain TCP may be taken as its own words. */
bool link_proved(const struct link *l);
/* Whether an answer to an upgrade that is not 101 is upstream's own word and not a portal's (design section 6): it came over verified TLS,
 * is a 401 or 5xx (portals redirect or forbid), or upstream has just proved itself.  A 1xx or 2xx is nobody's answer to an upgrade. */
bool link_trusts_refusal(const struct link *l, unsigned status);
uint64_t link_proved_at_ms(const struct link *l); /* clock_ms of that; 0 = never */
/* Upstream ended a connection with e: if it named a delay, the relay connects to it again of its own accord only after so long.
 * Returns that, in ms. */
uint64_t link_hold(struct link *l, const struct verdict_error *e);
/* Upstream does its work (a DOWNLOAD came): what it names next is a first delay again. */
void link_served(struct link *l);
uint64_t link_held_ms(const struct link *l); /* how long that still is */
/* Upstream has several URLs (option url): a connection tries first the one that worked last, then the others in the order of preference.
 * first: link_first_url() when the attempt began; nth counts from 0.  NULL: there are no more.  Lives as long as l. */
unsigned link_first_url(const struct link *l);
const struct address_url *link_url(const struct link *l, unsigned first, unsigned nth);
unsigned link_url_count(const struct link *l);
/* What is at url answered: it is the first one to be tried from now on, until it fails or the link is DOWN. */
void link_reached(struct link *l, const struct address_url *url);
/* The request path that upstream last accepted (copied), for probes; kept in the store. */
void link_set_path(struct link *l, const char *path);

#endif
