/* What the relay acknowledged itself, in the store and in the journal.  For the committer's thread. */
#ifndef RELAY_PROMISE_H
#define RELAY_PROMISE_H

#include <stdbool.h>

#include "buffer/store.h"

struct journal;

/* Does this relay owe what it acknowledged itself?  Then the journal must know, also if another gateway acknowledged it (an import). */
bool promise_is_owed(const struct store_file *f);

/* Notes f's pair shown: what is not in the journal is not acknowledged.  On a full disk the ballast makes room for it, once; STORE_NOSPACE:
 * there still is none; STORE_IO: the disk failed. */
STORE_MUSTCHECK enum store_err promise_note(struct store *store, struct journal *journal, const struct store_file *f);

/* Notes what came into the buffer while no daemon had it, and syncs it; sets aside what was damaged meanwhile (mend.h).  False: the store or the
 * disk failed. */
STORE_MUSTCHECK bool promise_adopt(struct store *store, struct journal *journal);

#endif
