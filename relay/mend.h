/* Files whose record in the store is damaged: set aside, so that nobody else is stopped (I7).  For the committer's thread. */
#ifndef RELAY_MEND_H
#define RELAY_MEND_H

#include "buffer/store.h"

struct journal;

/* Writes a record in place of the damaged one of the file with f's identity, in a transaction of its own; *f becomes it.  STORE_CORRUPT: it is
 * not the record that is wrong, but the name, and the file stays as it is. */
STORE_MUSTCHECK enum store_err mend_file(struct store *store, const struct journal *journal, struct store_file *f);

/* The same for every file, when the store found damaged ones as it was opened.  What cannot be mended now stays for verify to tell of. */
void mend_all(struct store *store, const struct journal *journal);

/* Is STORE_CORRUPT, just answered, about one file alone?  False: the store has ended. */
bool mend_is_local(struct store *store);

#endif
