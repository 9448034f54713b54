/* Taking everything of one upstream out of the buffer: for when there is another server behind its name, to which none of it means anything.
 *
 * Idents and cursors of one server are wrong at another, and so are its STATE sets, the versions it agreed to, the tokens it accepted, and
 * what its App Services said.  Only for when nobody else uses the store; each step may be repeated, so a crash in between costs nothing. */
#ifndef RELAY_PURGE_H
#define RELAY_PURGE_H

#include <stdbool.h>
#include <stdint.h>

#include "buffer/store.h"

struct journal;
struct link;

struct purge_sum { /* removed: */
	uint64_t files, states, tokens, versions, locations;
};

/* sync: all of l's that is listed above, with files that have no backlog and are not set aside, and what the journal says of them; those with
 * one stay.  Else only what App Services said and gave: users' sessions, where apps are, tokens. */
STORE_MUSTCHECK enum store_err purge_upstream(struct store *s, struct journal *j, const struct link *l, bool sync, struct purge_sum *sum);

#endif
