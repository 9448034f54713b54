/* See heap.h.  Adding takes a step; removing takes log n of them on average over any sequence (Fredman, Sedgewick, Sleator and Tarjan 1986). */
#include "buffer/heap.h"

/* Makes one heap of two, either of which may be none; returns its root. */
static uint32_t
meld(struct heap_node *nodes, uint32_t a, uint32_t b)
{
	uint32_t above = b == 0 || (a != 0 && nodes[a].key <= nodes[b].key) ? a : b, below = above == a ? b : a;

	if (below == 0)
		return above;
	nodes[below].next = nodes[above].child;
	nodes[below].prev = above;
	if (nodes[below].next != 0)
		nodes[nodes[below].next].prev = below;
	nodes[above].child = below;
	return above;
}

/* Takes n out of its row; returns what stood behind it. */
static uint32_t
single_out(struct heap_node *nodes, uint32_t n)
{
	uint32_t next = nodes[n].next;

	nodes[n].next = nodes[n].prev = 0;
	return next;
}

/* Makes one heap of a row: in pairs as they stand, and then each of these to what is behind it. */
static uint32_t
meld_row(struct heap_node *nodes, uint32_t n)
{
	uint32_t pairs = 0, root = 0, next, pair;

	for (; n != 0; n = next) {
		uint32_t second = single_out(nodes, n);

		next = second != 0 ? single_out(nodes, second) : 0;
		pair = meld(nodes, n, second);
		nodes[pair].next = pairs;
		pairs = pair;
	}
	for (; pairs != 0; pairs = next) {
		next = single_out(nodes, pairs);
		root = meld(nodes, root, pairs);
	}
	return root;
}

void
heap_add(struct heap_node *nodes, uint32_t *root, uint32_t n, uint64_t key)
{
	nodes[n] = (struct heap_node){ .key = key };
	*root = meld(nodes, *root, n);
}

void
heap_remove(struct heap_node *nodes, uint32_t *root, uint32_t n)
{
	uint32_t prev = nodes[n].prev, below = meld_row(nodes, nodes[n].child);

	nodes[n].child = 0;
	if (n == *root) {
		*root = below;
		return;
	}
	if (nodes[prev].child == n)
		nodes[prev].child = nodes[n].next;
	else
		nodes[prev].next = nodes[n].next;
	if (nodes[n].next != 0)
		nodes[nodes[n].next].prev = prev;
	(void)single_out(nodes, n);
	*root = meld(nodes, *root, below);
}
