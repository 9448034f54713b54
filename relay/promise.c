/* What the relay promised: changesets that it acknowledged itself (ack = relay), which upstream has not taken over yet.
 *
 * The store's record of the file says it, and the journal says it once more outside the environment; so a promise is in both before a client
 * hears of it, and one that the store no longer knows of is noticed (design section 6, LOST).  Runs in the committer's thread. */
#include <errno.h>

#include "relay/journal.h"
#include "relay/mend.h"
#include "relay/promise.h"

bool
promise_is_owed(const struct store_file *f)
{
	return f->ack == STORE_ACK_RELAY && f->shown_client_version > f->upstream_client_version;
}

enum store_err
promise_note(struct store *store, struct journal *journal, const struct store_file *f)
{
	if (journal_note(journal, f))
		return STORE_OK;
	if (errno != ENOSPC)
		return STORE_IO;
	store_give_ballast(store);
	if (journal_note(journal, f))
		return STORE_OK;
	return errno == ENOSPC ? STORE_NOSPACE : STORE_IO;
}

static bool
adopt_cb(void *arg, const struct store_file *f)
{
	return !promise_is_owed(f) || journal_note(arg, f);
}

bool
promise_adopt(struct store *store, struct journal *journal)
{
	mend_all(store, journal);
	return store_file_each(store, adopt_cb, journal) == STORE_OK && journal_sync(journal);
}
