/* A scripted device's own state: its file (versions, progress), what it received, the way back in time; kept in a journal so
 * that kill -9 of the client at any moment loses nothing a real device would keep. Knows no connection and no session. */
#ifndef TESTS_CLIENT_DEVICE_H
#define TESTS_CLIENT_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/peer/client_file.h"

struct received { /* a changeset that came in a DOWNLOAD */
	uint64_t server_version, client_version, timestamp, origin_file_ident, len;
	uint64_t crc; /* CRC-32 of the changeset */
};

struct snapshot { /* the device right before a DOWNLOAD */
	struct client_progress cur;
	uint64_t newest;
	size_t nreceived;
};

struct device {
	char *name, *path; /* owned; name is fit for a file name */
	uint64_t seed, life; /* life: counts restores, so that a version written anew differs from the one that was lost */
	struct client_file file;
	struct received *received;
	size_t nreceived, received_cap;
	struct snapshot *snapshot;
	size_t nsnapshot, snapshot_cap;
	int journal; /* fd, -1: in memory only */
};

enum device_write {
	DEVICE_CREATE, /* a new object with a unique name and number */
	DEVICE_UPDATE, /* a new name and number for the object that the device's first write made */
};

/* Prepares d; dir: where the journal NAME.state lives (taken up when it exists), NULL = memory only.
 * Returns false, with errno, when the journal cannot be opened or was not written by this program. */
bool device_open(struct device *d, const char *name, const char *path, uint64_t seed, const char *dir);
void device_close(struct device *d);

void device_ident(struct device *d, uint64_t ident, uint64_t salt);
/* One local write of about size bytes of text; bytes depend on seed, name and version only. */
void device_write(struct device *d, enum device_write kind, size_t size);
/* Integrates a DOWNLOAD that the rules let pass. */
void device_download(struct device *d, const struct client_progress *p, struct view entries);
/* Back to the cursors before the last k DOWNLOADs. whole: the versions made since are gone as well, as after restoring the file
 * from a copy; else they stay, as after a crash that lost the last DOWNLOADs only. False when there were fewer. */
bool device_backdate(struct device *d, uint64_t k, bool whole);
/* Forgets everything: a first-time client. */
void device_amnesia(struct device *d);

#endif
