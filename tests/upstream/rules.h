/* The rules S1, S3 and S4 of protocol.md section 6 as pure functions: what a client said against what the history holds. */
#ifndef TESTS_UPSTREAM_RULES_H
#define TESTS_UPSTREAM_RULES_H

#include "protocol/message.h"

#include "tests/upstream/history.h"

struct verdict {
	unsigned code; /* 0: allowed; else the protocol error */
	char text[240]; /* the rule and the numbers */
};

/* What rule S3 and S4 compare an UPLOAD with; kept by the session. */
struct upload_state {
	struct cursor threshold; /* upload progress of the file when the session was identified; fixed */
	struct cursor progress;	 /* of the last UPLOAD of this session; 0, 0 before */
	uint64_t locked_version;
	uint64_t downloaded; /* the server version that this session has reached */
};

/* Is name a legal server path?  Segments of letters, digits, '_', '-', '.', '"', not beginning with a dot. */
bool rules_path(struct view name);

/* S1.  *f is the client file when allowed. */
void rules_ident(const struct path *p, const struct msg_c_ident *m, bool subserver, struct file **f, struct verdict *v);

/* S3 and S4 for an UPLOAD of f with the inflated body. */
void rules_upload(const struct path *p, const struct file *f, const struct upload_state *st, const struct msg_upload *m, struct view body,
		  struct verdict *v);

#endif
