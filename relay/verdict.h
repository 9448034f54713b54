/* What an ERROR or JSON_ERROR of upstream's means for what is kept here (design section 8).  Pure: a table and two functions; who acts is
 * the caller.
 *
 * Order of judgement: codes that only inform; the JSON action, where it says what to do; try_again; the code. */
#ifndef RELAY_VERDICT_H
#define RELAY_VERDICT_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/message.h"

enum verdict {
	VERDICT_GO_ON,	/* it only informs: pass it on, the session lives */
	VERDICT_RETRY,	/* again later; nothing is wrong with the file */
	VERDICT_TOKEN,	/* the backlog waits for a new token */
	VERDICT_CLIENT, /* the backlog waits for the client, which has to act (migration) */
	VERDICT_REJECT, /* the file's replay stops, its backlog is kept */
	VERDICT_UNKNOWN, /* as RETRY; as REJECT once it has come for VERDICT_PATIENCE_MS without any progress */
};

struct verdict_error {
	uint64_t code;
	bool try_again;
	bool clean;	     /* a DOWNLOAD had come in this session: not the IDENT was refused, but an UPLOAD */
	struct view action;  /* JSON, into the body; empty: none */
	uint64_t delay_ms;   /* that upstream named, 0 = none; at most VERDICT_DELAY_MAX_MS */
	uint64_t delay_max_ms, delay_factor; /* how it grows while the error comes again: at least delay_ms, at least 1 */
};

struct verdict_delay { /* of one party; zeroed when upstream does its work again */
	uint64_t code, ms;
};

#define VERDICT_DELAY_MAX_MS 3600000ULL /* no server can switch a relay off for longer */
#define VERDICT_PATIENCE_MS 3600000ULL	/* the server's fault may be repaired in an hour, by then an operator should know */

/* m: an ERROR or JSON_ERROR, body: its body. */
void verdict_read(const struct message *m, struct view body, bool clean, struct verdict_error *e);

enum verdict verdict_of(const struct verdict_error *e);

/* An answer to an upgrade that is not 101, from upstream itself. TOKEN: the token is not accepted; RETRY: the server has a problem;
 * UNKNOWN: something that whoever made the request has to hear. */
enum verdict verdict_of_status(unsigned status);

/* How long upstream asks to be left alone, 0 = it does not say: backoffIntervalSec the first time, each further time the same code comes
 * backoffMultiplier times the delay before, up to backoffMaxDelaySec. */
uint64_t verdict_delay(struct verdict_delay *d, const struct verdict_error *e);

/* Whether a client that is told this resets its file: what it believes to be uploaded is lost, if only the relay has it. */
bool verdict_resets_client(const struct verdict_error *e);

const char *verdict_name(enum verdict v); /* for the log */

#endif
