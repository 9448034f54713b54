/* Out of memory, the convention of this folder.  What is small, or bounded by a constant, ends the process (log_fatal, "out_of_memory" is its
 * last word) and a supervisor starts it again: nothing acknowledged is lost by it (I5), and going on half-made would lose more.  What has a
 * size that a peer chose - messages, bodies, queries, what is queued - ends that peer's connection instead.
 * tests/scenarios/fault-*malloc walk through both. */
#ifndef RELAY_ALLOC_H
#define RELAY_ALLOC_H

#include <stddef.h>

/* calloc that ends the process when memory is out. */
void *relay_alloc(size_t n);
char *relay_strndup(const void *text, size_t n); /* NUL terminated copy; freed with free() */
void relay_wipe(char *secret);			 /* a NUL terminated secret: overwritten, then freed; NULL allowed */

#endif
