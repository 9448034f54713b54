/* Which of many has the least key, when keys come, change and go: a pairing heap.
 *
 * Nodes are elements of an array of the owner's, known by their place; place 0 is nobody's and means "none".  So the array may be moved as a whole, and
 * one array may hold the nodes of many heaps, each of which is a root.  Zeroed nodes are in no heap. */
#ifndef BUFFER_HEAP_H
#define BUFFER_HEAP_H

#include <stdint.h>

struct heap_node {
	uint64_t key;
	uint32_t child, next, prev; /* the first of those below; beside it; the one before, or, of the first, above */
};

/* The root has the least key. */
void heap_add(struct heap_node *nodes, uint32_t *root, uint32_t n, uint64_t key);
void heap_remove(struct heap_node *nodes, uint32_t *root, uint32_t n); /* n is in the heap of root */

#endif
