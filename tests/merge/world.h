/* A server and its clients, each with its data, its history and its view of the others: how changesets travel, and when they merge.
 * As in the protocol: an upload is merged with what the server took from others since its base, a download with what the client made
 * since the version that the server had of it. Both sides keep what they hold of the other up to date (reciprocal transforms). */
#ifndef TESTS_MERGE_WORLD_H
#define TESTS_MERGE_WORLD_H

#include "tests/merge/state.h"
#include "tests/merge/transform.h"

#define WORLD_CLIENTS 3
#define WORLD_OWN 16	 /* changesets of a client */
#define WORLD_HISTORY 48 /* of the server */

struct client {
	unsigned ident;
	struct state state;
	unsigned cursor; /* newest server version that it has */
	unsigned n;
	struct change made[WORLD_OWN];	 /* as made; version is 1, 2, ... */
	struct change merged[WORLD_OWN]; /* the same, transformed by what was downloaded since */
};

struct server {
	struct state state;
	unsigned n;
	struct change history[WORLD_HISTORY];
	unsigned by[WORLD_HISTORY];				/* which client uploaded it */
	unsigned progress[WORLD_HISTORY][WORLD_CLIENTS];	/* of each client, when this was appended */
	struct change merged[WORLD_CLIENTS][WORLD_HISTORY];	/* as client i's uploads left them */
	unsigned has[WORLD_CLIENTS];				/* of each client: up to this version */
};

struct world {
	struct server server;
	struct client client[WORLD_CLIENTS];
	const char *fault; /* why something could not be merged or applied; nothing is right any more */
};

void world_init(struct world *w, const unsigned ident[WORLD_CLIENTS]);

/* Client c makes a changeset: its edits are applied at once. c->origin is 0 or the ident of somebody behind c. */
void world_commit(struct world *w, unsigned c, const struct change *change);

/* The server takes changesets of client c (changed in the course of it); has is the progress that came with them. */
void world_upload(struct world *w, unsigned c, struct change *changes, unsigned n, unsigned has);

/* Client c takes everything new. */
void world_download(struct world *w, unsigned c);

#endif
