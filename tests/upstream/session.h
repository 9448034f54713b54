/* One bound Realm file on a connection of the stand-in upstream. */
#ifndef TESTS_UPSTREAM_SESSION_H
#define TESTS_UPSTREAM_SESSION_H

#include "protocol/message.h"

#include "tests/upstream/conn.h"
#include "tests/upstream/rules.h"

/* What is known of a session, in the order it happens:
 *	bound		path is set		[BIND]
 *	identified	file is set		[IDENT; then DOWNLOADs flow]
 *	failed		an ERROR was sent; all but UNBIND is ignored, and that is not answered
 *	unbinding	UNBIND came, UNBOUND is held back by order
 */
struct session {
	struct conn *conn;
	uint64_t ident;
	struct path *path; /* NULL: failed or unbinding */
	struct file *file;
	bool subserver, failed, unbinding;
	uint64_t schema;	  /* flexible sync: as BIND stated it */
	struct upload_state up;
	struct cursor download;	  /* server version reached, and the client version integrated by then */
	bool downloaded;	  /* S6: a DOWNLOAD was sent */
	uint64_t told;		  /* upload client version in the last DOWNLOAD */
	/* flexible sync */
	uint64_t query_version;	  /* of what is sent now */
	uint32_t query_crc;
	unsigned boot_sent, boot_left; /* DOWNLOADs of the bootstrap under way */
	uint64_t mark;		  /* request to answer, 0 none; a newer MARK replaces it, as with the real server */
	struct session *next;		       /* of the connection */
	struct session *path_prev, *path_next; /* of the path's identified ones */
};

/* A parsed message from the client. */
void session_message(struct conn *c, const struct message *m, struct view body);

/* Sends what there is to send: DOWNLOADs, then MARK; an UNBOUND held back. */
void session_push(struct session *s);

/* Bytes of segment n of p's state file into buf (p->state_size of room). */
void session_state_segment(const struct path *p, uint64_t n, uint8_t *buf);

/* Ends all sessions of c without a word. */
void session_end_all(struct conn *c);

#endif
