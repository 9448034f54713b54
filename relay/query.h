/* Flexible sync: which query a session stands on, and which ones were asked since.
 *
 *   active    the query of the newest bootstrap that was passed on to its end: what the relay's own IDENT states
 *   pending   QUERYs of the client that are not bootstrapped yet, in order; each has its place among the uploads of its file, and
 *             goes up there (replay.c): behind what was uploaded before it, and with its bootstrap before what came later
 *
 *   taken --[stored: ack = relay, or not LIVE]--> durable --[its place]--> sent --[bootstrap passed on]--> active
 *         \--[LIVE: at once]--> sent
 *
 * The active one lives in session.ident.query_version and session.query.  On disk the active one is the least of a file (buffer/FORMAT). */
#ifndef RELAY_QUERY_H
#define RELAY_QUERY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "protocol/message.h"

struct session;

struct query {
	TAILQ_ENTRY(query) link;
	uint64_t version;
	uint64_t low;	/* the versions from here to its own were asked in the same place before it: it stands for them */
	uint64_t place; /* the client version that it comes behind */
	bool durable;	/* in the store */
	bool gone;	/* to the store: remove it */
	size_t len;
	uint8_t text[];
};

TAILQ_HEAD(query_list, query);

struct query *query_new(uint64_t version, uint64_t place, struct view text);
void query_list_free(struct query_list *list); /* its queries */

/* The file of s was read, with the queries that the store has of it, which are taken from stored: s has its IDENT, or (for an absent client)
 * gets it from there.  False: an absent client of which no query is known. */
bool query_opened(struct session *s, struct query_list *stored);

/* A QUERY of the client's.  May end its connection. */
void query_take(struct session *s, const struct message *m, struct view body);

/* Copies to list what the store does not have yet of the queries of s, active and pending; before anything that comes behind them is
 * stored, they must be. */
void query_to_keep(const struct session *s, struct query_list *list);
/* They are durable. */
void query_kept(struct session *s, const struct query_list *list);

/* The next one to send in this upstream session (of several with nothing between them the last), NULL if there is none. */
const struct query *query_next(const struct session *s);
/* Sends it, and the MARK that the client sent behind it. */
void query_send(struct session *s, const struct query *q);

/* A DOWNLOAD came; passed: on to the client.  A QUERY_ERROR did. */
void query_downloaded(struct session *s, const struct msg_download *d, bool passed);
void query_failed(struct session *s, uint64_t query_version);

/* Whether the relay may resume s: not in the middle of a bootstrap, of which the client has stored nothing that an IDENT could state. */
bool query_may_resume(const struct session *s);

void query_forget(struct session *s);

#endif
