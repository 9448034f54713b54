/* What a client enforces on everything a server sends it: rules C1-C9 of protocol.md section 5. Pure: state and message in, verdict
 * and words out; no I/O, no clock, no allocation. Written from protocol.md and the traces, independent of relay/.
 *
 * One struct client_rules per session. The owner calls client_rules_bind, _sent_* as it sends, and for each message received
 * client_rules_check (which changes nothing), then - when the verdict is RULES_OK - client_rules_apply. */
#ifndef TESTS_PEER_CLIENT_RULES_H
#define TESTS_PEER_CLIENT_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/message.h"

/* The progress that a client stores with its file and states in IDENT and UPLOAD. */
struct client_progress {
	uint64_t download_server, download_client; /* the download cursor */
	uint64_t latest, latest_salt;		   /* latest_server_version and its salt */
	uint64_t upload_client, upload_server;	   /* the upload cursor */
};

struct client_rules {
	enum msg_flavour flavour;
	/* since the last bind */
	bool bound, asked_ident, ident_sent, unbind_sent;
	bool failed;  /* a session ERROR came that ends the session */
	bool unbound; /* UNBOUND came */
	uint64_t mark_sent, mark_received; /* newest request_idents */
	unsigned asked[MSG_NTYPES];	   /* questions sent and not answered, by their type (TRANSACT, STATE_REQUEST ...) */
	uint64_t state_next;		   /* offset at which the next STATE of this answer may begin */
	/* of the file */
	uint64_t file_ident;	    /* 0: not known yet */
	uint64_t newest;	    /* the newest client version in existence */
	struct client_progress cur; /* stored */
};

enum rules_verdict {
	RULES_OK,
	RULES_IGNORE, /* legal, and to be left alone: the session is unbinding (C9) */
	RULES_BROKEN, /* why says which rule and how */
};

#define RULES_WHY_MAX 256 /* bytes of words with NUL */

/* Parses a whole message from the server (C9). On RULES_BROKEN why is set. Views point into buf. */
enum rules_verdict client_rules_parse(enum msg_flavour flavour, const uint8_t *buf, size_t len, struct message *m, struct view *body,
				      char *why);

/* The body of a DOWNLOAD as entries: body itself, or inflated into *owned (to be freed by the caller; NULL else). C9. */
enum rules_verdict client_rules_inflate(const struct message *m, struct view body, struct view *entries, uint8_t **owned, char *why);

/* A new session begins (BIND is sent): forgets what belongs to the old one, keeps the file's part and the marks received. */
void client_rules_bind(struct client_rules *r, bool need_ident);

/* Judges a message that names this session. entries: what client_rules_inflate gave, for a DOWNLOAD; else ignored. */
enum rules_verdict client_rules_check(const struct client_rules *r, const struct message *m, struct view entries, char *why);

/* Takes over what an accepted message says: file ident, progress (a new client version with each IDENT and DOWNLOAD), marks, the
 * end of the session. */
void client_rules_apply(struct client_rules *r, const struct message *m);

/* Judges a message that names no living session of the connection (session_ident 0, or one not in use). */
enum rules_verdict client_rules_check_conn(const struct message *m, char *why);

/* The progress that DOWNLOAD m carries. */
struct client_progress client_rules_progress(const struct message *m);

/* Does a session error with this code leave the session alive? (231 compensating write, 236 schema version changed) */
bool client_rules_survives(uint64_t error_code);

#endif
