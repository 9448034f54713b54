/* The manifest of an export: buffer/EXPORT describes it.  Written by export.c, read by import.c. */
#ifndef RELAY_CTL_MANIFEST_H
#define RELAY_CTL_MANIFEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MANIFEST_NAME "MANIFEST"
#define MANIFEST_IMPORTED "IMPORTED" /* left in the directory by an import, if it can be written */
#define MANIFEST_LEASE 32	     /* hex digits */
#define MANIFEST_HASH 64	     /* hex digits of a SHA-256 */

struct manifest_file {
	char name[32]; /* "file-17" */
	uint64_t id;   /* in the store it came from */
	uint64_t records, bytes, size; /* payload; of the file on the stick */
	char hash[MANIFEST_HASH + 1];
};

struct manifest {
	char lease[MANIFEST_LEASE + 1];
	uint64_t created_ms;
	bool queries; /* there are queries in it: version 2 */
	struct manifest_file *file; /* owned */
	size_t n;
};

/* A new random lease. */
void manifest_lease(char lease[MANIFEST_LEASE + 1]);
struct manifest_file *manifest_add(struct manifest *m); /* zeroed; lives until the next */

/* Writes it into the directory, durably and last; false with errno. */
bool manifest_write(const struct manifest *m, int dir);
/* Reads and checks it.  False with a sentence. */
bool manifest_read(struct manifest *m, int dir, char *why, size_t why_len);
void manifest_free(struct manifest *m);

/* SHA-256 as it goes. */
struct manifest_hash;
struct manifest_hash *hash_new(void);
void hash_add(struct manifest_hash *h, const void *data, size_t len);
void hash_end(struct manifest_hash *h, char hex[MANIFEST_HASH + 1]); /* frees h; hex may be NULL */

#endif
