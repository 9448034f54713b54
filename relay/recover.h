/* Opening the buffer at the start: the ladder of buffer/ladder.h, each rung in a child process. */
#ifndef RELAY_RECOVER_H
#define RELAY_RECOVER_H

#include <stdbool.h>

#include "buffer/store.h"

struct options;

/* Opens the store that the options describe, recovering it by whatever rung helps; logs event=recovery.  *how: "normal", "rebuilt",
 * "salvaged" or "empty", static.  Ends the process if it cannot be opened.  To be called while there is one thread only: it forks. */
struct store *recover_open(const struct options *o, const char **how);

/* Is the memory of the recovery process bounded?  Not in a build with a sanitizer, which reserves terabytes of addresses. */
bool recover_limits_memory(void);

/* Reads the 32 bytes of a key file into key.  False with a sentence in why. */
bool recover_key(const char *path, uint8_t key[STORE_KEY_BYTES], char *why, size_t why_len);

#endif
