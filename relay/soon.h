/* What is used in a moment: the processor is asked to fetch it meanwhile.
 *
 * With hundreds of sessions, what is known of one is in no cache when its message comes, and each struct that is looked at after another costs
 * as much time as some hundred instructions.  So each has in front what a message touches (session.h, file.h, conn_impl.h, upstream_impl.h),
 * and who knows that it is next says so here before doing something else. */
#ifndef RELAY_SOON_H
#define RELAY_SOON_H

#include <stddef.h>

#define SOON_BYTES 256 /* what they have in front */
#define SOON_LINE 64   /* bytes that most processors fetch at once; to others it is less of a help */

/* p may be NULL: nothing is read, so nothing can fail. */
static inline void
soon(const void *p)
{
	for (size_t i = 0; i < SOON_BYTES; i += SOON_LINE)
		__builtin_prefetch((const char *)p + i, 1);
}

#endif
