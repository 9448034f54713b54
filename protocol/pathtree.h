/* A tree of names with a bound: what pre-merge knows of tables, their objects, fields and paths.
 *
 * A node is there because something is known of it or of a node below; pathtree_prune removes what is not. Nodes are
 * found by a hash table, chained. When the bound of memory is reached the tree forgets everything, and so it does when a chain grows
 * too long, which takes a hostile device. No lookup and no step costs more than a constant; clearing a branch costs what making it did. */
#ifndef PROTOCOL_PATHTREE_H
#define PROTOCOL_PATHTREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/view.h"

struct pathnode {
	struct pathnode *parent, *child, *next, *prev; /* child: the first; next, prev: its siblings */
	struct pathnode *chain;			       /* the next one in the bucket */
	uint64_t hash;
	/* What the user knows of it. */
	bool live, drops_counters, erased, filled;
	uint64_t timestamp;

	uint8_t tag;
	size_t len;
	uint8_t name[];
};

/* The name of a node below its parent. The tag tells kinds of names apart. */
struct pathname {
	uint8_t tag;
	struct view bytes;
};

struct pathtree {
	struct pathnode *root; /* the name of the root is empty; it is never removed */
	struct pathnode **bucket;
	size_t nbuckets, nnodes;
	size_t max_bytes, bytes, peak; /* bytes of nodes and buckets */
	uint64_t forgotten;	       /* times that the bound was reached */
};

/* False: no memory; t need not be closed then. */
bool pathtree_open(struct pathtree *t, size_t max_bytes);
void pathtree_close(struct pathtree *t);

/* The child of parent with this name; NULL if there is none, or parent is NULL. */
struct pathnode *pathtree_find(const struct pathtree *t, const struct pathnode *parent, const struct pathname *name);

/* The same, made if it is missing. NULL: there was no room and everything is forgotten, parent too. */
struct pathnode *pathtree_reach(struct pathtree *t, struct pathnode *parent, const struct pathname *name);

/* Removes everything below n. */
void pathtree_clear_below(struct pathtree *t, struct pathnode *n);

/* Removes n, and what is above it, as far as nothing is known there (live, erased, filled) and no child is left. */
void pathtree_prune(struct pathtree *t, struct pathnode *n);

/* Removes everything but the root. */
void pathtree_forget(struct pathtree *t);

#endif
