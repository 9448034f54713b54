/* Absent clients: what a client that left has not yet got upstream goes up on a connection of the relay's own (design section 6).
 *
 *   client leaves --absents_left--> waits `absent_quiet` --> session without a conn (session_open_absent) --file read-->
 *   connects with that file's newest token --> BIND, IDENT with the kept cursors --> replays like a GHOST --> UNBIND
 *
 * One connection per file, so that S2 can only ever hit that one.  How such a session ended says what comes next
 * (absent_ended): done, again later, another token, or nothing before the client itself is here.  A client that identifies
 * itself takes its file back at once (session.c, supersede). */
#ifndef RELAY_ABSENT_H
#define RELAY_ABSENT_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/relay.h"
#include "relay/verdict.h"

struct absents;
struct store_file;

struct absents *absents_new(struct link *link); /* of each upstream */
/* Ends what runs; nothing new begins. */
void absents_stop(struct absents *as);
/* Only when the spool is gone: a step of the walk may be there.  NULL allowed. */
void absents_free(struct absents *as);

void absents_link_changed(struct absents *as);
/* From now on nobody waits for absent_quiet. */
void absents_hurry(struct absents *as);

/* The client of s leaves: its token and its request are kept (options: store_tokens) while its file has a backlog, also one that waits
 * for an operator's decision.  s->conn is
 * still set. */
void absents_left(const struct session *s);
/* What the client of s uploaded is on the disk: its token and its request are kept there too, where that is allowed (credential.h). */
void absents_stored(struct session *s);
/* The client of s identified itself: it replays by itself, and whatever was wrong with its file is to be found out anew. */
void absents_here(const struct session *s);
/* f was taken out of the store: whatever is known of its client, or under way for it, ends.  NULL allowed. */
void absents_forget(struct absents *as, const struct store_file *f);
/* Whether what is kept of a client that left holds an access token of the relay's own, of the entry id (refresh.h).  NULL: no. */
bool absents_use_token(const struct absents *as, const uint8_t id[16]);
/* A client was thrown off by upstream: so it is not the relay's own session that upstream has something against. */
void absents_client_cut(struct absents *as);

/* For sessions with s->absent set. */
void absent_file_read(struct session *s); /* something waits: connect */
void absent_waits(struct session *s);	  /* nothing can be done without the client: ends s */
void absent_error(struct session *s, const struct verdict_error *e); /* upstream ends it, and says why */
void absent_cut(struct session *s); /* its connection was lost */
void absent_ended(struct session *s); /* called by session_end, while file and upside are still known */
/* Connected clients have a backlog themselves, and of no later rank (priority.h): theirs goes first. */
bool absent_yields(const struct session *s);

#endif
