/* Kept STATE sets: the last complete state file per (endpoint, path) that passed through, so that a first-time client (async open)
 * can be served while the link is DOWN (design section 4, STATE_REQUEST).
 *
 *   collecting: statecache_collect -> (_segment -> _data... -> _segment_end)... -> the last segment makes the set complete
 *   serving:    statecache_serve -> segment callbacks in order -> the last one, or a failure
 *
 * It is a cache: what cannot be kept (too large, disk behind or short of room) is not, and a client only waits longer.  The sets are bounded
 * together by state_cache_bytes; the least recently used goes first.  A set is dropped when upstream's salt changes. */
#ifndef RELAY_STATECACHE_H
#define RELAY_STATECACHE_H

#include <stdbool.h>

#include "protocol/message.h"

struct relay;
struct state_reader;
struct state_writer;
struct statecache;

/* Reads what is kept from relay->spool. */
struct statecache *statecache_new(struct relay *relay);
/* After the spool has done all that was posted. */
void statecache_free(struct statecache *c);

/* What is kept of this path goes. */
void statecache_forget(struct statecache *c, const char *endpoint, const char *path);

/* A STATE_REQUEST was forwarded: its answer may be kept.  The writer is the caller's until statecache_abandon. */
struct state_writer *statecache_collect(struct statecache *c, const char *endpoint, const char *path,
					const struct msg_state_request *req);
void statecache_segment(struct state_writer *w, const struct msg_state *m);
void statecache_data(struct state_writer *w, struct view data);
void statecache_segment_end(struct state_writer *w);
/* Ends w; an incomplete set is forgotten.  NULL allowed. */
void statecache_abandon(struct state_writer *w);

/* A DOWNLOAD for this path said so: a kept set of another salt, or newer than what upstream has, is dropped. */
void statecache_latest(struct statecache *c, const char *endpoint, const char *path, uint64_t version, uint64_t salt);

/* A segment to be sent (m is whole but for the session ident); NULL: the set cannot be read to its end.  Ends with the segment whose
 * end_offset is max_offset.  Returns false: the client is slow, statecache_go_on follows. */
typedef bool state_segment(void *arg, const struct msg_state *m, struct view body);

/* Whether a kept set may answer req; then it is read, and segment is called from the loop, later.  NULL: none may. */
struct state_reader *statecache_serve(struct statecache *c, const char *endpoint, const char *path, const struct msg_state_request *req,
				      state_segment *segment, void *arg);
void statecache_go_on(struct state_reader *r);
/* No callback any more.  NULL allowed. */
void statecache_cancel(struct state_reader *r);

#endif
