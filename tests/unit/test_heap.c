/* Tests buffer/heap against a look at all of them. */
#include <stdlib.h>

#include "tests/harness.h"

#include "buffer/heap.h"

enum { NODES = 300, HEAPS = 3, STEPS = 30000 };

TEST(the_root_has_the_least_key)
{
	static struct heap_node nodes[1 + NODES];
	static unsigned in[1 + NODES]; /* 1 + the heap that it is in; 0: none */
	uint32_t root[HEAPS] = { 0 };

	srand(7);
	for (unsigned i = 0; i < STEPS; i++) {
		uint32_t n = 1 + (uint32_t)rand() % NODES;

		if (in[n] != 0) {
			heap_remove(nodes, &root[in[n] - 1], n);
			in[n] = 0;
		} else if (i % 6000 < 4000 || rand() % 8 == 0) { /* there are times when they become few */
			in[n] = 1 + (unsigned)rand() % HEAPS;
			heap_add(nodes, &root[in[n] - 1], n, (uint64_t)rand() % 50);
		}
		for (unsigned h = 0; h < HEAPS; h++) {
			uint64_t least = UINT64_MAX;

			for (uint32_t k = 1; k <= NODES; k++)
				least = in[k] == h + 1 && nodes[k].key < least ? nodes[k].key : least;
			CHECK_U64(root[h] != 0 ? nodes[root[h]].key : UINT64_MAX, least);
			CHECK(root[h] == 0 || in[root[h]] == h + 1);
		}
	}
}
