/* Steps of the walk over the files with a backlog.  See absent_walk.h.
 *
 * The walk goes by the keys of the records (store_backlog_after), so files without a backlog cost nothing. */
#include "relay/absent_walk.h"
#include "relay/credential.h"

static void
read_credential(struct absent_file *f, struct store *store)
{
	uint8_t key[CREDENTIAL_KEY];
	size_t len = sizeof(f->credential);

	credential_key(key, f->file.id);
	f->credential_len = store_get(store, STORE_TOKENS, key, sizeof(key), f->credential, &len) == STORE_OK ? len : 0;
}

void
absent_step(void *arg, struct store *store)
{
	struct absent_step *w = arg;
	struct absent_file *f;
	uint64_t id;

	w->nfile = 0;
	for (unsigned i = 0; i < ABSENT_STEP; i++) {
		f = &w->file[w->nfile];
		if (store_backlog_after(store, w->after, &id) != STORE_OK) {
			w->end = true;
			return;
		}
		w->after = id;
		f->credential_len = 0;
		if (store_file_get(store, id, &f->file) != STORE_OK || f->file.backlog_records == 0)
			continue;
		if (w->credentials && f->file.state == STORE_FILE_OK)
			read_credential(f, store);
		w->nfile++;
	}
}
