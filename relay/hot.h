/* What the path of each message tells the compiler, where it is measured to count (README, "How fast").
 *
 * soon: with hundreds of sessions, what is known of one is in no cache when its message comes, and each struct that is looked at after another
 * costs as much time as some hundred instructions.  So each has in front what a message touches (session.h, file.h, conn_impl.h,
 * upstream_impl.h), and who knows that it is next says so before doing something else.
 *
 * COLD: what a function says that is called once in a blue moon (a line of the log, an end).  The compiler puts the way to it out of the path of
 * each message, which so takes fewer pages: after each system call those are found anew.
 *
 * UNWIPED: configure has all local variables filled with zeros (-ftrivial-auto-var-init), so that a mistake shows no old bytes.  A buffer that a
 * callee fills, and of which nobody reads more than that, goes without: half a KiB to wipe costs as much as the head that is written to it. */
#ifndef RELAY_HOT_H
#define RELAY_HOT_H

#include <stddef.h>
#include <stdint.h>

#define SOON_BYTES 256 /* what they have in front */
#define SOON_LINE 64   /* bytes that most processors fetch at once; to others it is less of a help */

/* p may be NULL, or less may be there: nothing is read, so nothing can fail. */
static inline void
soon(const void *p)
{
	for (size_t i = 0; i < SOON_BYTES; i += SOON_LINE)
		__builtin_prefetch((const void *)((uintptr_t)p + i), 1);
}

#define COLD __attribute__((cold))

#ifdef __has_attribute
#if __has_attribute(uninitialized)
#define UNWIPED __attribute__((uninitialized))
#endif
#endif
#ifndef UNWIPED
#define UNWIPED
#endif

#endif
