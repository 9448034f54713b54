/* What the tests of the stand-in upstream share: the running program, and the usual first steps of a client. */
#ifndef TESTS_PEER_UPKIT_H
#define TESTS_PEER_UPKIT_H

#include "tests/peer/child.h"
#include "tests/peer/rawclient.h"

struct upkit {
	struct child *up;
	struct event_base *base;
	unsigned port;
	const char *ca; /* NULL: plain */
};

struct upfile { /* a client file, as far as the upstream told */
	char path[64];
	uint64_t ident, salt; /* 0: to be asked for */
	struct msg_download progress; /* the last DOWNLOAD */
	unsigned nentries;	      /* of all DOWNLOADs */
	uint64_t entry_bytes;
};

/* Starts the upstream with these arguments (NULL terminated).  False: it does not run. */
bool upkit_start(struct upkit *k, const char *const args[]);
/* Ends it; true when it ended well. */
bool upkit_stop(struct upkit *k);

/* Opens a connection (version 14) and sends BIND for session 1; takes the IDENT when f has no ident yet. */
bool upkit_bind(struct upkit *k, struct rawclient *c, struct upfile *f);
/* Sends IDENT with the cursors of f->progress. */
void upkit_ident(struct rawclient *c, const struct upfile *f);
/* Sends MARK and takes everything up to its answer; DOWNLOADs are noted in f. */
bool upkit_mark(struct rawclient *c, struct upfile *f, uint64_t request);
/* All three: bound, and everything downloaded. */
bool upkit_join(struct upkit *k, struct rawclient *c, struct upfile *f);

/* Sends an UPLOAD "progress_client progress_server locked [client,server[,origin] ...]"; each entry gets a changeset of its own. */
void upkit_upload(struct rawclient *c, const char *what);

/* Sends PING and takes everything up to the PONG or the end.  Returns the code of the first ERROR or JSON_ERROR among it, 0 for
 * none; 1 when the connection ended without one.  f (may be NULL): DOWNLOADs are noted in it. */
unsigned upkit_code(struct rawclient *c, struct upfile *f);

/* The number after "name=" in the answer to a command; UINT64_MAX when it is not there. */
__attribute__((format(printf, 3, 4))) uint64_t upkit_number(struct upkit *k, const char *name, const char *fmt, ...);

#endif
