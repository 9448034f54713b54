/* Queries of flexible sync; see query.h.
 *
 * A bootstrap comes in DOWNLOADs with batch_state 0, the last with 1; what comes in steady state has 2.  The client takes a bootstrap over
 * as a whole, at its last DOWNLOAD.  So a session can be resumed by the relay only when the last DOWNLOAD passed on had 1 or 2. */
#include <stdlib.h>
#include <string.h>

#include "relay/conn.h"
#include "relay/query.h"
#include "relay/relay.h"
#include "relay/session.h"
#include "relay/upstream.h"

#define QUERIES_MAX 16		/* pending ones: a real client waits for one before it asks the next */
#define QUERY_BYTES_MAX (1u << 20) /* of all pending ones in a session (I6) */

struct query {
	TAILQ_ENTRY(query) link;
	uint64_t version;
	size_t len;
	uint8_t text[];
};

static void
drop_first(struct session *s)
{
	struct query *q = TAILQ_FIRST(&s->queries);

	TAILQ_REMOVE(&s->queries, q, link);
	s->nqueries--;
	s->query_bytes -= q->len;
	free(q);
}

static void
send_query(struct session *s, const struct query *q)
{
	struct message m = { .type = MSG_C_QUERY, .flavour = MSG_FLX, .session_ident = s->upstream_ident };

	m.query = (struct msg_query){ q->version, q->len };
	upstream_send(s->upstream, &m, (struct view){ q->text, q->len });
}

void
query_take(struct session *s, const struct message *m, struct view body)
{
	struct query *q;

	if (s->nqueries >= QUERIES_MAX || s->query_bytes + body.len > QUERY_BYTES_MAX) {
		conn_close(s->conn, "too many queries wait for their bootstrap");
		return;
	}
	q = relay_alloc(sizeof(*q) + body.len);
	q->version = m->query.query_version;
	q->len = body.len;
	if (body.len > 0)
		memcpy(q->text, body.ptr, body.len);
	TAILQ_INSERT_TAIL(&s->queries, q, link);
	s->nqueries++;
	s->query_bytes += q->len;
	if (session_identified(s) && !s->refused) /* refused: an UPLOAD before it is missing, the client will come anew */
		send_query(s, q);
}

void
query_resume(struct session *s)
{
	const struct query *q = TAILQ_LAST(&s->queries, query_list);

	if (q != NULL && !s->refused)
		send_query(s, q);
}

void
query_downloaded(struct session *s, const struct msg_download *d)
{
	struct query *q;

	s->in_bootstrap = d->batch_state == 0;
	if (s->in_bootstrap)
		return;
	while ((q = TAILQ_FIRST(&s->queries)) != NULL && q->version <= d->query_version) {
		if (q->version == d->query_version) {
			free(s->query);
			s->query = relay_strndup(q->text, q->len);
			s->ident.query_version = q->version;
			s->ident.query_size = q->len;
		}
		drop_first(s);
	}
}

void
query_failed(struct session *s, uint64_t query_version)
{
	struct query *q;

	TAILQ_FOREACH (q, &s->queries, link)
		if (q->version == query_version)
			break;
	if (q == NULL)
		return;
	TAILQ_REMOVE(&s->queries, q, link);
	s->nqueries--;
	s->query_bytes -= q->len;
	free(q);
}

bool
query_may_resume(const struct session *s)
{
	return !s->in_bootstrap;
}

void
query_forget(struct session *s)
{
	while (!TAILQ_EMPTY(&s->queries))
		drop_first(s);
}
