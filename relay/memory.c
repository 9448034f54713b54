/* See memory.h.
 *
 * glibc alone gives back what is free at the end of the heap.  After an outage nothing is: changesets on their way to the disk, and the answers to
 * their clients, were allocated in turns with what lives for long, which holds all of it in its place.  200 MB of backlog from 100 devices made 150 MB
 * of holes about 10 MB in use, for ever.  malloc_trim() gives back the pages inside as well.
 *
 * That takes 15 ms for 100 MB, in which nobody is served, and pages that are wanted again have their price: so it is done once, when little has
 * moved for a while after so much has moved fast that there may be something to give back.  No allocator's figure would tell: what was given
 * back counts as free like what was not. */
#include <malloc.h>
#include <stddef.h>

#include "relay/memory.h"
#include "relay/stream.h"

#define QUIET_SAMPLES 10
#define QUIET_BYTES (1u << 20)	/* in a second: PINGs of 10,000 clients, or some devices at work */
#define MOVED_MIN (16u << 20) /* bytes, in seconds that were not quiet, since the last time */

static struct {
	uint64_t seen;	/* of stream_moved() */
	uint64_t loud;	/* bytes, since the last time */
	unsigned quiet; /* samples, up to now */
} state;

/* Messages of hundreds of KiB come and go thousands of times a second.  glibc gives what they free back to the kernel from 128 KiB on, and
 * pays for fresh pages with each of them, which costs more than the message: so this much is kept. */
void
memory_setup(void)
{
#ifdef __GLIBC__
	(void)mallopt(M_MMAP_THRESHOLD, 4 << 20);
	(void)mallopt(M_TRIM_THRESHOLD, 8 << 20);
#endif
}

void
memory_sample(void)
{
	uint64_t moved = stream_moved() - state.seen;

	state.seen += moved;
	if (moved > QUIET_BYTES) {
		state.loud += moved;
		state.quiet = 0;
		return;
	}
	if (++state.quiet < QUIET_SAMPLES || state.loud < MOVED_MIN)
		return;
	state.loud = 0;
#ifdef __GLIBC__
	(void)malloc_trim(0);
#endif
}

uint64_t
memory_used(void)
{
#ifdef __GLIBC__
#if __GLIBC_PREREQ(2, 33)
	struct mallinfo2 m = mallinfo2();

	return m.uordblks + m.hblkhd;
#endif
#endif
	return 0;
}
