/* The stage of what is tested of the App Services door: the daemon between an app (app.h) and the stand-ins for App Services and the sync server,
 * whose link can be cut.  With a badhost daemon its clocks can be set (door_stage.orders). */
#ifndef TESTS_PEER_DOORSTAGE_H
#define TESTS_PEER_DOORSTAGE_H

#include <stdbool.h>
#include <stddef.h>

#include "tests/peer/appservices.h"
#include "tests/peer/daemon.h"

struct child;
struct orders;

struct doorstage {
	struct appservices api;
	struct child *up, *link;
	unsigned link_port;
	struct daemon d;
	struct orders *orders; /* NULL: an ordinary daemon */
	char dir[400];
	char config[4096];
};

extern struct doorstage stage;

struct doorstage_plan {
	bool key;	      /* [buffer] key_file: sessions outlive a restart */
	bool clocks;	      /* the daemon is badhost's */
	const char *listener; /* lines of configuration; NULL: none, as below */
	const char *upstream;
	const char *more; /* behind [limits], other sections may follow */
	const char *absent_quiet; /* NULL: 300ms */
	const char *certificate, *certificate_key; /* of the stand-in; NULL: it speaks plain HTTP */
};

/* Starts all of them, the link UP.  False: something cannot be started. */
bool doorstage_start(const struct doorstage_plan *plan);
/* The same in a test, with members of the plan (of tests/harness.h). */
#define START(...) \
	do { \
		if (!daemon_is_built()) \
			SKIP("the daemon is not built"); \
		CHECK(doorstage_start(&(struct doorstage_plan){ __VA_ARGS__ })); \
	} while (0)
/* Ends all of them.  False: the daemon did not end well, or a secret stands in what it wrote: all of the stand-in's contain the word SECRET, and
 * all tokens begin with "eyJ" (I9). */
bool doorstage_stop(void);
/* Whether there is such a secret in the log, in what the status page, the metrics and the control socket say, or in the status file. */
bool doorstage_tells(void);

/* The badhost daemon's clocks, from now on so much ahead of the true ones (orders.h). */
void doorstage_clocks(long long wall_s, long long boot_s);

/* The link goes DOWN, and the daemon has seen it; comes back (and somebody may have to wait for that). */
bool doorstage_cut(void);
bool doorstage_heal(void);
/* The daemon ends, or is killed, and starts again with another log. */
bool doorstage_restart(void);
/* The same with another configuration: each old in it is new. */
bool doorstage_change(const char *old, const char *new);
bool doorstage_crash(void);

/* A device that syncs /p with token, from the state that an earlier one left; connected.  NULL: it cannot. */
struct child *doorstage_device(const char *token);
/* Whether an answer of such a device, or of a stand-in, says ok; else it is printed. */
bool doorstage_ok(const char *answer);
/* Logs in, works (two changesets), loses the link, renews, goes on with a token of the relay's (three more, which wait in the buffer);
 * upstream will not take that token. */
struct child *doorstage_go_offline(void);
/* Whether upstream has so many changesets, now or within 10 s. */
bool doorstage_has(unsigned changesets);
/* Whether the metrics hold text within 10 s. */
bool doorstage_measured(const char *text);
/* Whether holdfastctl buffer list says text within 10 s. */
bool doorstage_listed(const char *text);

#endif
