/* Tests relay/memory: what a burst leaves free inside the heap stays resident until it is quiet, and no longer. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/harness.h"

#include "relay/memory.h"
#include "relay/stream_impl.h"

#define BURSTS 20000
#define BURST 1800 /* bytes: a changeset on its way */
#define ALL ((uint64_t)BURSTS * BURST)
#define EACH 16 /* of them one that stays */
#define SAMPLES 10

static char *stays[BURSTS / EACH];

/* Resident bytes of no file. */
static uint64_t
resident(void)
{
	unsigned long size = 0, all = 0, shared = 0;
	FILE *f = fopen("/proc/self/statm", "re");

	if (f != NULL) {
		if (fscanf(f, "%lu %lu %lu", &size, &all, &shared) != 3)
			all = shared = 0;
		fclose(f);
	}
	return (uint64_t)(all - shared) * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Allocates a burst with some that stay in between, and frees it; 36 MB are free then, and resident. */
static void
make_holes(void)
{
	static char *burst[BURSTS];

	for (size_t i = 0; i < BURSTS; i++) {
		CHECK((burst[i] = malloc(BURST)) != NULL);
		memset(burst[i], 1, BURST);
		if (i % EACH == 0)
			CHECK((stays[i / EACH] = malloc(32)) != NULL);
	}
	CHECK(memory_used() > ALL);
	for (size_t i = 0; i < BURSTS; i++)
		free(burst[i]);
	CHECK(memory_used() < ALL / 4);
}

static void
forget_stays(void)
{
	for (size_t i = 0; i < BURSTS / EACH; i++)
		free(stays[i]);
}

TEST(given_back_when_quiet)
{
	uint64_t before = resident(), full;

	if (HARNESS_SANITIZED)
		SKIP("a sanitizer has another allocator");
	if (memory_used() == 0 || before == 0)
		SKIP("this C library does not tell");
	memory_setup();
	make_holes();
	stream_count_moved(ALL);
	for (int i = 0; i < SAMPLES; i++) /* the first sees what moved; the others are not enough */
		memory_sample();
	full = resident();
	CHECK(full - before > ALL / 4 * 3);
	stream_count_moved(2 << 20);
	for (int i = 0; i < SAMPLES; i++) /* not quiet again */
		memory_sample();
	CHECK(resident() - before > ALL / 4 * 3);
	memory_sample();
	CHECK(resident() < before + ALL / 4);
	forget_stays();
}

/* With little moved since the last time there is nothing to give back: it is not looked for. */
TEST(not_again_for_nothing)
{
	uint64_t before = resident();

	if (HARNESS_SANITIZED)
		SKIP("a sanitizer has another allocator");
	if (memory_used() == 0 || before == 0)
		SKIP("this C library does not tell");
	make_holes();
	for (int i = 0; i < 3 * SAMPLES; i++)
		memory_sample();
	CHECK(resident() > ALL / 4 * 3);
	forget_stays();
}
