/* To which server belongs what the buffer holds for an upstream?
 *
 * Changesets, idents, cursors, STATE sets and tokens mean something to one server only.  So the buffer remembers for each upstream where its
 * url and api_url led when it was last used (STORE_META "authority", with the name of a named one behind), and a configuration that leads
 * elsewhere is looked at before anything is sent there:
 *
 *   one place in common                              the same server: another of its addresses, or one more
 *   formerly names a place of before                 the same server under a new name: all is kept, and goes there
 *   else, and nothing waits here for the old one     another server: what was the old one's is forgotten (purge.h)
 *   else                                             refused, at the start and at a reload (I2, I3)
 *
 * What waits: changesets, and files that were set aside; but not those that were exported.  Queries of flexible sync do not: their
 * clients ask again. */
#ifndef RELAY_AUTHORITY_H
#define RELAY_AUTHORITY_H

#include <stdbool.h>
#include <stddef.h>

#include "protocol/view.h"

#include "buffer/store.h"

#include "relay/address.h"

struct journal;
struct options;
struct relay;
struct section;

#define AUTHORITY_LIST_MAX (ADDRESS_URLS_MAX * ADDRESS_PLACE_MAX)

struct authority { /* places (address_place), a blank between; "": none */
	char url[AUTHORITY_LIST_MAX], api_url[ADDRESS_PLACE_MAX];
};

/* Where o leads. */
void authority_of(const struct options *o, struct authority *out);

/* As it is kept: two lines.  Returns the length, or 0: it does not fit a value of the store; parse: false if malformed. */
size_t authority_format(const struct authority *a, char out[STORE_VALUE_MAX]);
bool authority_parse(struct authority *a, struct view val);

#define AUTHORITY_URL 1	    /* another sync server */
#define AUTHORITY_API_URL 2 /* other App Services */
/* What of `now` is neither the same as before nor confirmed by formerly: bits; 0: nothing. */
unsigned authority_moved(const struct authority *before, const struct authority *now, const char *formerly);

/* At the start, when nothing else uses the store yet: judges all upstreams, and only if none is refused forgets what is to be forgotten and
 * notes what holds from now on, durably.  False: refused, or the store failed, and the log says why. */
bool authority_settle(struct relay *relay, struct store *s, struct journal *j);

/* At a reload: what is wrong with fresh (NULL: it is not there any more) in the place of the upstream s, in words; false: nothing, by what st says of
 * the whole buffer. */
bool authority_refuses(const struct section *s, const struct section *fresh, const struct store_stat *st, char *why, size_t why_len);

#endif
