/* What the stand-in upstream knows: per server path one linear history of changesets and the client files that belong to it. */
#ifndef TESTS_UPSTREAM_HISTORY_H
#define TESTS_UPSTREAM_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "protocol/view.h"

struct session;

struct cursor { /* a place in a client's history: after client_version, which was made when server_version was known */
	uint64_t client_version, server_version;
};

struct change { /* one server version */
	uint64_t client_version, base_version; /* as uploaded */
	uint64_t origin_timestamp;
	uint64_t origin; /* file ident that made it */
	uint64_t via;	 /* file ident that uploaded it: origin, or the subserver in front of it */
	uint64_t salt;	 /* of this server version */
	uint64_t nth;	 /* how many came before it, on all paths */
	uint64_t bytes;	 /* changeset bytes of the path up to and including this one */
	uint8_t *changeset;
	size_t len;
	uint32_t crc; /* CRC-32 of the changeset */
};

struct file {
	uint64_t ident, salt;
	uint64_t proxy; /* ident of the subserver that asked for it by ALLOC, or 0 */
	bool subserver;
	bool has_schema; /* flexible sync: schema is what its first BIND stated; each one must */
	uint64_t schema;
	uint64_t query_version; /* flexible sync: of the newest bootstrap that was sent to its end */
	uint32_t query_crc;
	char query_places[80];	/* "1@4,2@9": each QUERY, and how many changesets had come before it; the newest that have room */
	struct cursor progress; /* S5: what lies at or below is never integrated */
	uint64_t locked_version;
	uint64_t nchanges, last_client_version; /* of the changes uploaded by it */
	uint32_t crc;				/* over all of them in order: client_version as 8 bytes big-endian, then the changeset */
	struct session *session;		/* the live one, borrowed */
};

struct path {
	char *name;
	uint64_t salt; /* for new server versions; another one after load */
	struct change *change; /* server version v is change[v - 1] */
	size_t nchanges, change_cap;
	struct file **file; /* ident i is file[i - HISTORY_FIRST_IDENT] */
	size_t nfiles, file_cap;
	struct session *sessions; /* identified ones; linked by session.c */
	bool dirty;		  /* on the server's list of paths whose sessions are to be told of new versions */
	struct path *next_dirty;
	uint64_t state_segments, state_size; /* its state file in STATEs of this many bytes; 0: it has none */
	uint64_t state_version;
	struct file *injector;	  /* the file that `inject` writes as, NULL before */
	struct path *next;	  /* in its hash chain */
	struct path *next_all;	  /* in the order of creation */
};

#define HISTORY_FIRST_IDENT 2 /* as the real server: 1 is the server's own */
#define HISTORY_BUCKETS 4096

struct history {
	struct path *bucket[HISTORY_BUCKETS];
	struct path *first, **last;
	uint64_t npaths, nfiles, nchanges, nbytes;
};

void history_init(struct history *h);
void history_clear(struct history *h);

/* Finds the path; create: makes it when it is new. */
struct path *history_path(struct history *h, struct view name, bool create);

/* A random number that is not 0 and below 2^63. */
uint64_t history_salt(void);

/* Issues a new file ident with a salt. */
struct file *history_add_file(struct history *h, struct path *p, bool subserver, uint64_t proxy);

/* Returns the file with this ident, or NULL. */
struct file *history_file(const struct path *p, uint64_t ident);

/* Makes the next server version of p from c, whose changeset is copied; salt, bytes and crc of c are filled in here. */
const struct change *history_append(struct history *h, struct path *p, struct change c);

/* The salt of a server version: 0 for version 0; the version must exist. */
uint64_t history_version_salt(const struct path *p, uint64_t version);

/* Writes everything but live sessions.  Returns false on a write error. */
bool history_save(const struct history *h, FILE *f);

/* Reads what history_save wrote into an empty history; versions made from now on get new salts, so that a client which saw others
 * under the same numbers is found out (S1).  Returns false when the file is not such a one. */
bool history_load(struct history *h, FILE *f);

/* Checks that the client versions of every file rise strictly, in the order of integration.  Returns NULL or what is wrong (static). */
const char *history_check(const struct history *h);

#endif
