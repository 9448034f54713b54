/* The acknowledgement journal: what the relay itself acknowledged (ack = relay), kept outside the Berkeley DB environment.
 *
 * A client that was told "uploaded" does not send it again.  If the environment is damaged and set aside, the store no longer knows
 * what it promised; this small file does, so that such a file is called LOST instead of being served as if nothing had happened
 * (design section 6, I4).  Used by the committer's thread only.
 *
 * Errors: functions that can fail return false with a sentence; after a failed write the journal is latched and journal_note returns
 * false (the acknowledgement must then not be made). */
#ifndef RELAY_JOURNAL_H
#define RELAY_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JOURNAL_NAME "acknowledged" /* in state_dir */

struct journal;
struct store_file;

/* Opens or creates path (0600), reads it and drops a torn end.  NULL with a sentence in why. */
struct journal *journal_open(const char *path, char *why, size_t why_len);
void journal_close(struct journal *j); /* syncs; NULL allowed */

/* f's pair shown is about to be told to its client.  Written at once, synced by journal_sync. */
bool journal_note(struct journal *j, const struct store_file *f);

/* The newest noted pair of f's identity; false if there is none. */
bool journal_find(const struct journal *j, const struct store_file *f, uint64_t *client_version, uint64_t *server_version);

/* Of how many files something is promised. */
size_t journal_count(const struct journal *j);

/* Upstream holds everything that was noted for f: the promise is kept.  Forgotten at the next rewrite. */
void journal_forget(struct journal *j, const struct store_file *f);

/* fdatasync, if something was written since; false when the disk failed. */
bool journal_sync(struct journal *j);
bool journal_dirty(const struct journal *j);

#endif
