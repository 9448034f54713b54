/* The stand-in upstream as a whole: what its connections, sessions and commands share. */
#ifndef TESTS_UPSTREAM_SERVER_H
#define TESTS_UPSTREAM_SERVER_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "tests/upstream/history.h"
#include "tests/upstream/orders.h"

struct conn;
struct event;
struct event_base;

#define SERVER_VIOLATIONS_KEPT 200 /* texts; more are only counted */

struct server {
	struct event_base *base;
	struct event *flush;	/* tells the sessions of dirty paths, once at the end of a pass */
	struct event *retry;	/* resumes conns that were full; runs only while there are such */
	struct event *tick;	/* every SERVER_TICK_MS: S8, WebSocket pings */
	struct history history;
	struct orders orders;
	struct conn *conns;
	struct path *dirty;	/* list of paths that grew since the last flush */
	uint64_t nconns, nsessions, nuploads, nerrors, nsuperseded, ntransacts, nrefreshes, nclient_errors, nqueries, last_conn_id;
	uint64_t nviolations;
	char *violation[SERVER_VIOLATIONS_KEPT];
	const char *cert, *key; /* NULL: plain */
	unsigned min_version, max_version;
	unsigned ping_limit_s; /* S8 */
	size_t batch;	       /* soft limit of changeset bytes in a DOWNLOAD */
	FILE *dump;	       /* NULL: none */
	bool quit;
};

#define SERVER_TICK_MS 20
#define SERVER_RETRY_MS 2 /* with CONN_OUT_HIGH this still allows over 100 MB/s */

void server_init(struct server *srv, struct event_base *base);
void server_clear(struct server *srv);

/* Cuts every connection. */
void server_cut_all(struct server *srv);

/* Sends what stall, hold-marks and the like held back, after an order was changed. */
void server_resume(struct server *srv);

/* A conn is full: it is resumed soon. */
void server_retry(struct server *srv);

/* p has new versions: its sessions are told at the end of this pass of the loop. */
void server_dirty(struct server *srv, struct path *p);

/* A client broke a rule. */
__attribute__((format(printf, 2, 3))) void server_violation(struct server *srv, const char *fmt, ...);
void server_no_violations(struct server *srv);

/* An event line ("* ..."), when they are on. */
__attribute__((format(printf, 2, 3))) void server_event(struct server *srv, const char *fmt, ...);

/* One line about an integrated changeset (the `dump` format). */
void server_dump_change(FILE *f, const struct path *p, const struct change *c);

#endif
