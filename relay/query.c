/* Queries of flexible sync; see query.h.
 *
 * A bootstrap comes in DOWNLOADs with batch_state 0, the last with 1; what comes in steady state has 2.  The client takes a bootstrap over
 * as a whole, at its last DOWNLOAD.  So a session can be resumed by the relay only when the last DOWNLOAD passed on had 1 or 2.
 *
 * A client that comes anew states its active query in IDENT, and sends again all that it asked since (the SDK does so once its first MARK is
 * answered): those that are known here by their version are passed over, and their place stays. */
#include <stdlib.h>
#include <string.h>

#include "relay/clock.h"
#include "relay/conn.h"
#include "relay/file.h"
#include "relay/query.h"
#include "relay/relay.h"
#include "relay/replay.h"
#include "relay/session.h"
#include "relay/upstream.h"

#define QUERIES_MAX 64		   /* pending ones with something between them: far above what an application asks while it writes */
#define QUERY_BYTES_MAX (1u << 20) /* of all pending ones in a session (I6) */

struct query *
query_new(uint64_t version, uint64_t place, struct view text)
{
	struct query *q = relay_alloc(sizeof(*q) + text.len);

	q->version = q->low = version;
	q->place = place;
	q->len = text.len;
	if (text.len > 0)
		memcpy(q->text, text.ptr, text.len);
	return q;
}

void
query_list_free(struct query_list *list)
{
	struct query *q;

	while ((q = TAILQ_FIRST(list)) != NULL) {
		TAILQ_REMOVE(list, q, link);
		free(q);
	}
}

/* ---- the list of a session ---- */

static struct query *
find(const struct session *s, uint64_t version)
{
	struct query *q;

	TAILQ_FOREACH (q, &s->queries, link)
		if (q->version == version)
			return q;
	return NULL;
}

static void
add(struct session *s, struct query *q)
{
	TAILQ_INSERT_TAIL(&s->queries, q, link);
	s->nqueries++;
	s->query_bytes += q->len;
}

static void
drop(struct session *s, struct query *q)
{
	TAILQ_REMOVE(&s->queries, q, link);
	s->nqueries--;
	s->query_bytes -= q->len;
	free(q);
}

static void
set_active(struct session *s, const struct query *q)
{
	free(s->query);
	s->query = relay_strndup(q->text, q->len);
	s->ident.query_version = q->version;
	s->ident.query_size = q->len;
	s->query_place = q->place;
}

static bool
same_text(const struct query *q, const void *text, size_t len)
{
	return q->len == len && (len == 0 || memcmp(q->text, text, len) == 0);
}

bool
query_opened(struct session *s, struct query_list *stored)
{
	struct query *q = TAILQ_FIRST(stored);

	if (s->flavour != MSG_FLX)
		return true;
	if (s->conn == NULL) {
		if (q == NULL)
			return false;
		set_active(s, q);
	}
	s->active_durable = q != NULL && q->version == s->ident.query_version && same_text(q, s->query, (size_t)s->ident.query_size);
	while ((q = TAILQ_FIRST(stored)) != NULL) {
		TAILQ_REMOVE(stored, q, link);
		if (q->version > s->ident.query_version) {
			add(s, q);
			continue;
		}
		if (q->version == s->ident.query_version)
			s->query_place = q->place;
		free(q);
	}
	s->query_taken = s->ident.query_version;
	return true;
}

void
query_forget(struct session *s)
{
	while (!TAILQ_EMPTY(&s->queries))
		drop(s, TAILQ_FIRST(&s->queries));
}

/* ---- from the client ---- */

/* It is known: from before the client came anew.  One that is not in the list was replaced by a later one in the same place. */
static void
taken_again(struct session *s, uint64_t version, struct view body)
{
	const struct query *q = find(s, version);

	if (q == NULL || same_text(q, body.ptr, body.len))
		return;
	session_differs(s, "a query was sent again with other bytes");
}

void
query_take(struct session *s, const struct message *m, struct view body)
{
	struct file *f = s->file;
	struct query *q, *last = TAILQ_LAST(&s->queries, query_list);
	uint64_t version = m->query.query_version;
	bool live = s->upside == UPSIDE_LIVE && !s->no_replay;

	if (version <= s->query_taken) {
		conn_protocol_error(s->conn, 103, "Bad query version (QUERY)");
		return;
	}
	if (s->refused) /* an UPLOAD before it is missing: the client will come anew */
		return;
	s->query_taken = version;
	if (last != NULL && version <= last->version) {
		taken_again(s, version, body);
		return;
	}
	if (s->nqueries >= QUERIES_MAX || s->query_bytes + body.len > QUERY_BYTES_MAX || (!live && f->aside)) {
		session_refuse(s, body.len);
		return;
	}
	q = query_new(version, f->held.client_version, body);
	q->low = (last != NULL ? last->version : s->ident.query_version) + 1;
	if (last != NULL && last->place == q->place && last->version > s->query_sent) {
		q->low = last->low;
		drop(s, last);
	}
	add(s, q);
	if (!f->aside && !f->gap && (!live || f->ack == STORE_ACK_RELAY))
		file_keep_queries(f);
	if (live)
		query_send(s, q);
	else
		replay_kick(s);
}

/* ---- to the store ---- */

static struct query *
copy(const struct query *q)
{
	struct query *c = query_new(q->version, q->place, (struct view){ q->text, q->len });

	c->low = q->low;
	c->gone = q->gone;
	return c;
}

void
query_to_keep(const struct session *s, struct query_list *list)
{
	const struct query *q;

	if (s->flavour != MSG_FLX)
		return;
	if (!s->active_durable) {
		struct query *active = query_new(s->ident.query_version, s->query_place,
						 (struct view){ (const uint8_t *)s->query, (size_t)s->ident.query_size });

		active->low = 0;
		TAILQ_INSERT_TAIL(list, active, link);
	}
	TAILQ_FOREACH (q, &s->queries, link) {
		if (!q->durable) {
			struct query *c = copy(q);

			TAILQ_INSERT_TAIL(list, c, link);
		}
	}
}

void
query_kept(struct session *s, const struct query_list *list)
{
	const struct query *kept;
	struct query *q, *next;

	TAILQ_FOREACH (kept, list, link) {
		if (kept->version == s->ident.query_version)
			s->active_durable = kept->low == 0;
		for (q = TAILQ_FIRST(&s->queries); q != NULL; q = next) {
			next = TAILQ_NEXT(q, link);
			if (q->version == kept->version && q->gone == kept->gone)
				q->durable = true;
			if (q->durable && q->gone)
				drop(s, q);
		}
	}
}

/* ---- to upstream ---- */

const struct query *
query_next(const struct session *s)
{
	const struct query *q, *best = NULL;

	TAILQ_FOREACH (q, &s->queries, link) {
		if (q->version <= s->query_sent || q->gone)
			continue;
		if (best != NULL && q->place > best->place)
			break;
		best = q;
	}
	return best;
}

void
query_send(struct session *s, const struct query *q)
{
	struct message m = { .type = MSG_C_QUERY, .flavour = MSG_FLX, .session_ident = s->upstream_ident };
	uint64_t before = s->query_sent;

	m.query = (struct msg_query){ q->version, q->len };
	upstream_send(s->upstream, &m, (struct view){ q->text, q->len });
	s->query_sent = q->version;
	if (s->mark != 0 && s->mark_behind > before && s->mark_behind <= q->version)
		session_ask_mark(s);
}

/* ---- from upstream ---- */

void
query_downloaded(struct session *s, const struct msg_download *d, bool passed)
{
	struct query *q;

	if (d->batch_state != 0 && d->query_version >= s->query_sent)
		s->query_awaited = false;
	if (d->batch_state != 2)
		s->unacked_since = clock_ms(); /* a bootstrap may take long, and what was uploaded is acknowledged behind it */
	if (!passed) /* nothing is claimed for a client that is not there */
		return;
	s->in_bootstrap = d->batch_state == 0;
	if (s->in_bootstrap)
		return;
	while ((q = TAILQ_FIRST(&s->queries)) != NULL && q->version <= d->query_version) {
		if (q->version == d->query_version) {
			set_active(s, q);
			s->active_durable = false; /* those below it are to be removed */
		}
		drop(s, q);
	}
}

void
query_failed(struct session *s, uint64_t query_version)
{
	struct query *q = find(s, query_version);

	if (query_version >= s->query_sent)
		s->query_awaited = false;
	if (q == NULL)
		return;
	if (q->durable && s->conn != NULL) {
		q->gone = true;
		q->durable = false;
		file_keep_queries(s->file);
	} else {
		drop(s, q);
	}
}

bool
query_may_resume(const struct session *s)
{
	return !s->in_bootstrap;
}
