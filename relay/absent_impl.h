/* Inside of absent clients' replay, shared by absent.c (which file, when) and absent_session.c (one session, and what its end means).
 * Nobody else includes this. */
#ifndef RELAY_ABSENT_IMPL_H
#define RELAY_ABSENT_IMPL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "protocol/message.h"

#include "relay/absent.h"
#include "relay/absent_walk.h"
#include "relay/credential.h"
#include "relay/verdict.h"

struct event;
struct exchange_wait;

struct absent {
	TAILQ_ENTRY(absent) link; /* oldest first */
	struct absents *all;
	/* identity; strings owned */
	char *endpoint, *path, *bind_path; /* bind_path: what its BIND states */
	uint64_t file_ident, file_ident_salt;
	bool is_subserver;
	uint64_t id; /* of the file in the store; 0 = not known yet */
	struct credential own; /* the client's own request */
	unsigned service_refused; /* the serial of the service token that was refused for this file */
	bool by_service;	  /* this session uses the service token */
	/* when; all clock_ms */
	uint64_t due_at, known_at, retry_ms, hold_ms;
	bool waits;	   /* for the client: nothing of ours will do */
	uint64_t backlog;  /* bytes, as of the last walk; 0 = not known */
	unsigned walk;	   /* the last that saw it */
	/* the session under way */
	struct session *session;
	struct upstream *upstream; /* while connecting; then the session has it */
	struct exchange_wait *exchange; /* before that: its token is one of the relay's own */
	char *real;		   /* the token it was exchanged for, a secret; NULL: none */
	uint64_t ident_at;	   /* 0 = not identified */
	uint64_t error;		   /* what upstream said, as a code or HTTP status; 0 = nothing */
	enum verdict verdict;
	struct verdict_delay named;
	uint64_t asked_ms;	   /* upstream asks to be left alone for so long */
	bool cut;
	/* after a cut, until it is clear what it was */
	uint64_t cut_at;
	bool cut_soon, was_cut; /* was_cut: the one before it too */
};

TAILQ_HEAD(absent_list, absent);

struct absents {
	struct relay *relay;
	struct link *link;
	struct event *timer;
	struct absent_list list;
	void *tree; /* by identity */
	size_t n, running;
	uint64_t client_cut_at, busy_since;
	bool stopping;
	unsigned busy_rank; /* sessions of this rank and later ones wait for connected clients; PRIORITY_RANKS: none does */
	unsigned passed;    /* see turns_floor */
	bool hurry; /* no quiet time any more */
	/* the walk */
	struct absent_step *step;
	bool stepping; /* the committer has it */
	unsigned walk;
	uint64_t walk_at, walk_began;
};

/* How long a client must be gone. */
uint64_t absent_quiet_ms(const struct absents *as);
enum msg_flavour absent_flavour(const struct absent *a);
/* Takes a off the list of those known, and frees it. */
void absent_forget(struct absent *a);
/* Its next turn is due later, and each time later. */
void absent_try_again(struct absent *a);

/* The entry of refresh.h, if the token of a's own request is one of the relay's. */
bool absent_own_token(const struct absent *a, uint8_t id[16]);

/* absent_session.c: begins a session for a, if nobody has its file. */
void absent_start(struct absent *a);
/* Whether the service token may be tried for a. */
bool absent_service_usable(const struct absent *a);

#endif
