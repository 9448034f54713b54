/* One device's session on its connection: what is sent when (BIND, IDENT, MARK, UPLOAD, UNBIND), what a message from the server
 * changes.
 *
 *	 (off) --connect/bind--> wanted --[conn open: BIND]--> bound --[ident known: IDENT]--> live --[UNBIND]--> unbinding --> (off)
 *
 *	session_connected   conn open            -> BIND, and on
 *	session_lost        conn gone            -> wanted (or off), all that belonged to the connection forgotten
 *	session_receive     a session ERROR      -> suspended: UNBIND is sent; with try_again it is bound again after resume_ms
 *	session_unbind      live                 -> unbinding; the UNBOUND ends it
 *
 * live: MARKs are sent as they are asked for; UPLOADs are held while hold_uploads, which is lifted when every MARK that was asked
 * for is answered. */
#ifndef TESTS_CLIENT_SESSION_H
#define TESTS_CLIENT_SESSION_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "tests/peer/client_rules.h"

#include "tests/client/device.h"

#define SESSION_QUERIES 64

struct conn;
struct event;
struct world;

struct session {
	struct device dev;
	struct world *world; /* borrowed, as is conn */
	struct conn *conn;
	uint64_t ident; /* session ident; 0 until first bound */
	struct client_rules rules;
	struct client_cursor cursor;
	uint64_t mark_target;	/* newest MARK asked for */
	uint64_t mark_awaited;	/* the one that the wait command looks for */
	bool wanted;		/* the device wants to be bound */
	bool hold_uploads;
	bool subserver;
	uint64_t schema; /* flexible sync: version of its schema, which each BIND states */
	/* flexible sync; versions of queries */
	uint64_t query_active, query_newest, query_sent;
	uint64_t query_complete; /* the active one, once a MARK was answered after its bootstrap, as the SDK counts it */
	uint64_t query_place[SESSION_QUERIES + 1]; /* by version: the client version that existed when it was asked */
	uint64_t query_errors;	/* bit version - 1: a QUERY_ERROR came for it; such a one is not sent again */
	uint64_t log_messages;
	unsigned boot_batches; /* DOWNLOADs of a bootstrap that is not complete */
	bool suspended;		/* after a session error; bound again by resume or by command */
	bool over;		/* unbound by command: the next bind is a new session, which shares nothing with this one */
	bool established;	/* told of the connection it is on */
	struct event *resume;
	uint64_t error_code;	/* newest error: session's, connection's, or HTTP status; 0 = none since connect */
	char error_text[160];
	uint64_t reconnects;
	size_t write_size;	/* bytes of text in a write that names no size */
	/* answers to `ask` */
	uint64_t answers;
	char answer[48];	/* of the newest */
	uint64_t state_version, state_salt, state_offset; /* how much of a state file it has */
	uint32_t state_crc;
	/* background writes */
	double auto_rate, auto_credit; /* per second; writes due */
	uint64_t auto_left;
	enum device_write auto_kind;
	FILE *transcript;
};

/* Returns NULL, with errno, when the device's journal cannot be opened. */
struct session *session_new(struct world *w, const char *name, const char *path);
void session_free(struct session *s);

/* For conn.c. */
void session_connected(struct session *s, bool fast);
void session_lost(struct session *s);
/* Sends all that is due; false when the connection's queue is full and it has to be called again. */
bool session_pump(struct session *s);
/* A message that names this session. False: it broke a rule, which is recorded; the connection is to be dropped. */
bool session_receive(struct session *s, const struct message *m, struct view body);
void session_error(struct session *s, uint64_t code, const char *text, size_t len);

/* What an ERROR says, or the tryAgain of a JSON_ERROR. */
bool session_says_try_again(const struct message *m, struct view body);

/* For commands. */
void session_bind(struct session *s, bool same_ident);
void session_unbind(struct session *s);
void session_mark(struct session *s);
/* Flexible sync: asks the next query, which is sent when what was written before is uploaded; false: SESSION_QUERIES were asked. */
bool session_query(struct session *s);
/* Sends m, which needs only its own fields, and its body: a question, REFRESH, JSON_ERROR. */
void session_ask(struct session *s, struct message *m, const void *body, size_t len);
void session_write(struct session *s, enum device_write kind, uint64_t n, size_t size);
/* The device's progress was changed behind the session's back (backdate, amnesia): the next bind starts from it. */
void session_reset(struct session *s);

bool session_is_live(const struct session *s);		/* IDENT sent on this connection, nothing ended */
bool session_is_uploaded(const struct session *s);	/* every local write is acknowledged */
bool session_is_idle(const struct session *s);		/* live, uploaded, nothing left to send, no MARK unanswered */
const char *session_state(const struct session *s);	/* a word */

#endif
