/* Pre-merge (design.md section 6): drops from a backlog what a later changeset of the same backlog makes irrelevant, whatever the
 * server or other devices did meanwhile. A pure function over the changesets of one client file, handed in one at a time.
 *
 *	p = premerge_new(16 << 20);
 *	for each changeset of the file, from the newest to the oldest
 *		switch (premerge_feed(p, &entry, &out)) ...
 *	premerge_free(p);
 *
 * Order matters: each verdict rests on the newer changesets fed before it, as they are after pre-merge. So the caller must really put
 * the verdict into effect, or call premerge_forget. Between a feed and the next, and for ever after the last, what was replaced already
 * is right as it stands: a pass may stop anywhere. Newer changesets that arrive meanwhile do no harm. */
#ifndef PROTOCOL_PREMERGE_H
#define PROTOCOL_PREMERGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/message.h"
#include "protocol/view.h"

enum premerge_verdict {
	PREMERGE_KEEP,	  /* leave it as it is */
	PREMERGE_REPLACE, /* its changeset shrinks to *out; everything else of the entry stays */
	PREMERGE_EMPTY,	  /* nothing of it is left: it is not sent (S5), but its client_version still counts as progress */
};

struct premerge_stats { /* sums over all feeds */
	uint64_t changesets, replaced, emptied;
	uint64_t unread;	  /* kept because they do not decode, are too large, or were made by somebody else */
	uint64_t instructions;	  /* in the changesets that were read */
	uint64_t dropped;	  /* of these */
	uint64_t bytes_in, bytes_out;
	uint64_t forgotten;	  /* times that the bound was reached */
	size_t state_bytes;	  /* held now for what is known of later changesets */
	size_t state_peak;	  /* the most so far */
};

struct premerge;

/* max_bytes bounds what is remembered of later changesets (about 120 bytes and its name for each property that is written to). When
 * it is reached, everything is forgotten: fewer drops, never a wrong one. A changeset over max_bytes / 8 is kept unread; the work
 * space for one stays below twice max_bytes. NULL: no memory. */
struct premerge *premerge_new(size_t max_bytes);
void premerge_free(struct premerge *p); /* NULL is legal */

/* The next older changeset of the file. out is set with PREMERGE_REPLACE only, is never longer than e->changeset, and lives until the
 * next call with p. When memory is out, the changeset is kept and everything is forgotten.
 *
 * A run ends, that is everything is forgotten, where server_version changes, at an origin_file_ident other than 0 (kept as it is), at a
 * changeset that does not decode (kept as it is), and where client_version does not fall (the start of another file or pass).
 * A changeset of 0 bytes, that is one that was emptied in an earlier pass, is PREMERGE_KEEP and has no effect. */
MUSTCHECK enum premerge_verdict premerge_feed(struct premerge *p, const struct upload_entry *e, struct view *out);

/* Forgets all that is known of later changesets: a barrier, for example where a QUERY stands between two changesets, and when a
 * verdict could not be put into effect. */
void premerge_forget(struct premerge *p);

struct premerge_stats premerge_stats(const struct premerge *p);

#ifdef PREMERGE_MUTANTS
/* Test builds only: the rules of premerge.def that are switched off, a bit each. */
enum premerge_rule {
#define RULE(id, words) PREMERGE_##id,
#define CAUTION(id, words, why) PREMERGE_##id,
#define PROVEN(id, words, why) PREMERGE_##id,
#include "protocol/premerge.def"
#undef RULE
#undef CAUTION
#undef PROVEN
	PREMERGE_NRULES
};
extern uint64_t premerge_off;
#endif

#endif
