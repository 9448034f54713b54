/* The file of a test client: its versions and its progress, moved exactly as a real client moves them, and the UPLOADs that follow
 * from them. In memory and pure (no I/O, no clock); tests/client keeps it on disk.
 *
 * Client versions: a new file is at version 1. Each local write, each IDENT and each DOWNLOAD (with or without entries) makes the
 * next one. Only local writes carry a changeset. Each version remembers the server version its file had reached. */
#ifndef TESTS_PEER_CLIENT_FILE_H
#define TESTS_PEER_CLIENT_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/message.h"

#include "tests/peer/client_rules.h"

#define CLIENT_UPLOAD_SOFT 131072   /* bytes uncompressed: an UPLOAD takes no further changeset once it holds as many */
#define CLIENT_UPLOAD_HARD 16777216 /* bytes: an UPLOAD takes no second changeset that would make it longer */

struct client_version {
	uint64_t server_version; /* what the file had integrated when this version was made */
	uint64_t timestamp;	 /* of a local write */
	uint8_t *changeset;	 /* owned; NULL: not a local write */
	size_t len;
};

struct client_file {
	uint64_t ident, salt; /* 0 until the server gave them */
	struct client_progress cur;
	struct client_version *version; /* version[v - 2] is version v */
	size_t nversion, cap;
};

/* How far this session has uploaded: starts as the stored upload cursor. */
struct client_cursor {
	uint64_t client, server;
};

struct client_upload {
	struct msg_upload head;
	uint8_t *body; /* owned: free it */
	size_t len;    /* bytes of body, compressed or not */
	size_t nentry;
};

void client_file_init(struct client_file *f);
void client_file_free(struct client_file *f);

/* The newest version in existence. */
uint64_t client_file_newest(const struct client_file *f);
/* The newest version with a changeset, 0 if there is none. */
uint64_t client_file_newest_write(const struct client_file *f);
/* Version v, which exists and is not 1; borrowed until the file changes. */
const struct client_version *client_file_version(const struct client_file *f, uint64_t v);

/* An IDENT was received. */
void client_file_ident(struct client_file *f, uint64_t ident, uint64_t salt);
/* A local write: takes over changeset (malloc'd). Returns its version. */
uint64_t client_file_write(struct client_file *f, uint8_t *changeset, size_t len, uint64_t timestamp);
/* A DOWNLOAD was integrated; last_entry: server_version of its last entry, 0 when it had none. */
void client_file_download(struct client_file *f, const struct client_progress *p, uint64_t last_entry);
/* Forgets the versions above v. */
void client_file_truncate(struct client_file *f, uint64_t v);

/* Advances *cursor over the next versions up to limit and, when that needs an UPLOAD (changesets, or server versions to acknowledge), fills
 * *up and returns true.  With a limit (else UINT64_MAX: a query of flexible sync comes behind it) nothing is merely acknowledged. */
bool client_file_next_upload(const struct client_file *f, struct client_cursor *cursor, uint64_t limit, struct client_upload *up);

#endif
