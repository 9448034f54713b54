/* One UPLOAD taken from a client: its inflated body and its three progress fields, checked once on arrival.
 *
 * Shared between the event loop (the file's tail, see file.h) and the committer (while it writes it); the body is
 * immutable from upload_parse on.  The reference count is touched by the event loop's thread only. */
#ifndef RELAY_UPLOAD_H
#define RELAY_UPLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "protocol/err.h"
#include "protocol/message.h"

struct upload {
	TAILQ_ENTRY(upload) link;
	unsigned refs;
	uint8_t *whole; /* owned, body lies in it; NULL: it lies behind this struct, in its chunk */
	const uint8_t *body; /* entries as in the message, inflated */
	size_t len;    /* bytes of body */
	size_t nentry;
	struct upload_entry first, last; /* views into body; all zero when nentry is 0 */
	uint64_t progress_client_version, progress_server_version, locked_server_version;
	uint64_t received_ms; /* wall clock */
	uint64_t taken_ms;    /* clock_ms when its file took it */
	uint64_t after;	      /* newest client_version the file had taken before this one */
	const _Atomic uint64_t *acked; /* newest client_version of the file that upstream acknowledged; lives while u is in its tail */
	bool posted;	      /* given to the committer */
	uint8_t chunk;	      /* its kind (chunk.h) */
};

TAILQ_HEAD(upload_list, upload);

/* Parses and checks the UPLOAD m with its body: inflates (at most max_inflated bytes, and max_ratio times its own size), walks the entries, checks that
 * client_version strictly rises, server_version never falls, and that the progress pair is not behind the last entry (S4).
 * whole: the allocation that a body which is not compressed lies in, taken over (freed also on failure); NULL: body is copied, or inflated,
 * and need not outlive the call.
 * On success *out has one reference.
 * Errors: PROTO_MSG_ENTRY, PROTO_MSG_LIMIT, PROTO_Z_*. */
MUSTCHECK enum proto_err upload_parse(const struct message *m, struct view body, uint8_t *whole, uint64_t max_inflated, uint64_t max_ratio,
				      uint64_t now_wall_ms, struct upload **out);

struct upload *upload_ref(struct upload *u); /* returns u */
void upload_unref(struct upload *u);	     /* frees at zero */

/* The part of u's body from the first entry with client_version > after on (empty when there is none); *nentry counts it.
 * Points into u. */
struct view upload_after(const struct upload *u, uint64_t after, size_t *nentry);

#endif
