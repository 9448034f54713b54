/* Texts that many have: an endpoint, a path, what an SDK calls itself.  Each is kept once, however many sessions name it.
 *
 * A name is a NUL terminated text that never changes and lives until as many have dropped it as have taken it.  No secrets (I9): nothing here
 * is wiped.  One thread, the loop's. */
#ifndef RELAY_NAME_H
#define RELAY_NAME_H

#include <stddef.h>

/* The name that reads text[0..len), which holds no NUL; to be given back with name_drop.  Ends the process when memory is out. */
const char *name_take(const void *text, size_t len);
void name_drop(const char *name); /* NULL allowed */

#endif
