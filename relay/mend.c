/* What is known of a file without its record: its name, its backlog, its queries; and the journal knows what the relay acknowledged.
 *
 * From that the record is written anew, and the file is LOST: no replay and no trim until an operator decides, or upstream says that it
 * has all of the backlog (session_upstream.c).  Why that is safe: what the client is shown comes from the journal, or from upstream when
 * this relay owes nothing (I4).  Nothing is known to be acknowledged by upstream or to have been sent, so nothing of the backlog goes
 * without that word (I2), and after it what upstream acknowledges unexpectedly is a CONFLICT.  The cursors are gone; the client's next
 * IDENT states them. */
#include <stdio.h>
#include <string.h>

#include "relay/clock.h"
#include "relay/journal.h"
#include "relay/log.h"
#include "relay/mend.h"

bool
mend_is_local(struct store *store)
{
	struct store_stat st;

	return store_stat(store, &st) == STORE_OK;
}

enum store_err
mend_file(struct store *store, const struct journal *journal, struct store_file *f)
{
	enum store_err err;

	if (journal_find(journal, f, &f->shown_client_version, &f->shown_server_version))
		f->ack = STORE_ACK_RELAY;
	f->state = STORE_FILE_LOST;
	f->state_time_ms = f->created_ms = f->seen_ms = clock_wall_ms();
	snprintf(f->state_text, sizeof(f->state_text), "its record was damaged, and made anew from its backlog; whether that was exported is not known");
	if ((err = store_begin(store)) != STORE_OK)
		return err;
	if ((err = store_file_mend(store, f)) == STORE_OK)
		err = store_commit(store, true);
	else
		store_abort(store);
	if (err == STORE_OK)
		log_event(LOG_ERROR, "file_damaged", "id=%llu file_ident=%llu records=%llu", (unsigned long long)f->id,
			  (unsigned long long)f->file_ident, (unsigned long long)f->backlog_records);
	return err == STORE_INVALID ? STORE_CORRUPT : err;
}

void
mend_all(struct store *store, const struct journal *journal)
{
	struct store_stat st;
	struct store_file f = { .id = 0 };
	uint64_t id;
	enum store_err err;

	if (store_stat(store, &st) != STORE_OK || st.damaged == 0)
		return;
	do {
		id = f.id;
		err = store_file_after(store, id, &f);
		if (err == STORE_CORRUPT && f.id > id && store_name_of(store, f.id, &f) == STORE_OK)
			err = mend_file(store, journal, &f);
	} while (err != STORE_NOTFOUND && f.id > id && mend_is_local(store));
}
