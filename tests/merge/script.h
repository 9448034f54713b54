/* The script of a case: who makes what, who uploads and who downloads, in which order. It is made by playing it: what an edit is was decided
 * by the data that its maker saw, so all of it can be applied.
 *
 *	script_begin(&s, &w, seed)	what was there before, and the time in which the device is off-line and makes its backlog
 *	script_end(&s, &w, &sent)	the relay sends the backlog in pieces, all goes on, and in the end everybody takes everything
 *	script_play(&s, &w, &sent, ...)	the same again, with another backlog
 */
#ifndef TESTS_MERGE_SCRIPT_H
#define TESTS_MERGE_SCRIPT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "tests/merge/random.h"
#include "tests/merge/world.h"

#define SCRIPT_EVENTS 96

enum what { COMMIT, UPLOAD, DOWNLOAD, SEND };
struct event {
	enum what what;
	unsigned c;	    /* who; 0 is the device behind the relay */
	struct change made; /* COMMIT */
	unsigned upto;	    /* UPLOAD, SEND: its changesets up to this version */
};

/* How the backlog reaches the server: pre-merged; upstream held a prefix as it was made already; the reverse, the device itself brings
 * the rest as it was made; pre-merged in two passes, with some sent in between, before or after the device made the rest of it. */
enum way { MERGED, RAW_THEN_MERGED, MERGED_THEN_RAW, TWICE };

struct script {
	struct rng rng;
	struct focus focus;
	unsigned ident[WORLD_CLIENTS];
	uint64_t clock[WORLD_CLIENTS];
	bool still;    /* all clocks stand: only idents tell who is newer */
	bool again;    /* two times off-line: the link was back for a while, and the device made the rest on top of what it saw */
	bool restless; /* others upload much while the device makes its backlog, and the device sees it: its base changes */
	bool brief;    /* few edits, so that little hides what comes of one */
	bool live;     /* while the backlog is on its way the others see it, and make more of what they see */
	unsigned sent[WORLD_CLIENTS]; /* while it is made: uploaded up to */
	unsigned pieces;	      /* that the backlog is sent in */
	unsigned first, backlog;      /* the device's changesets above first, up to version backlog, go through the relay */
	unsigned unread;	      /* this one of them the relay cannot decode; 0: none */
	enum way way;
	unsigned turn;	    /* where the way turns */
	unsigned second;    /* TWICE: the second pass begins above it */
	bool late_progress; /* the progress sent with a piece is that of its last changeset that is not empty */
	struct event event[SCRIPT_EVENTS];
	unsigned n;
};

/* A backlog as it is sent; by version - 1. */
struct backlog {
	struct change change[WORLD_OWN];
	bool empty[WORLD_OWN];
};

void script_begin(struct script *s, struct world *w, uint64_t seed);
void script_end(struct script *s, struct world *w, const struct backlog *sent);

/* Plays it from the beginning. With made, the device makes what is sent, instead of what it made. The first `held' pieces of the backlog
 * come together with the one behind them. Returns the event at which w got its fault, NULL if there is none. */
const struct event *script_play(const struct script *s, struct world *w, const struct backlog *sent, bool made, unsigned held);

/* sent may be NULL. */
void script_print(FILE *f, const struct script *s, const struct backlog *sent);

#endif
