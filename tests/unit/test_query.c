/* Tests relay/query: what is pending, what is active, what goes up when, and what is to be stored.  What it calls stands here instead of the
 * daemon's own: what goes up is written down as text. */
#include <stdlib.h>

#include "relay/clock.h"
#include "relay/conn.h"
#include "relay/query.h"
#include "relay/replay.h"
#include "relay/session.h"
#include "relay/upstream.h"

#include "tests/harness.h"

/* ---- instead of the daemon ---- */

static struct {
	char said[512]; /* to upstream, and about the client */
	unsigned keeps, kicks;
} seen;

static void
note(const char *what, uint64_t n)
{
	size_t len = strlen(seen.said);

	snprintf(seen.said + len, sizeof(seen.said) - len, "%s%llu ", what, (unsigned long long)n);
}

void
upstream_send(struct upstream *u, const struct message *m, struct view body)
{
	(void)u;
	(void)body;
	note("query", m->query.query_version);
}

void
session_ask_mark(struct session *s)
{
	note("mark", s->mark);
}

void
session_refuse(struct session *s, size_t len)
{
	s->refused = true;
	note("refused", len);
}

void
session_differs(struct session *s, const char *text)
{
	(void)s;
	(void)text;
	note("differs", 0);
}

void
conn_protocol_error(struct conn *c, unsigned code, const char *text)
{
	(void)c;
	(void)text;
	note("error", code);
}

void
file_keep_queries(struct file *f)
{
	(void)f;
	seen.keeps++;
}

void
replay_kick(struct session *s)
{
	(void)s;
	seen.kicks++;
}

/* ---- a session ---- */

static struct file file;
static struct query_list of_file; /* as the store has them */
static struct session session;

/* A session of a client that stands on query `active`, and in the store what stored names: "VERSION@PLACE ..." */
static struct session *
begin(uint64_t active, const char *stored, enum session_upside upside)
{
	struct session *s = &session;
	unsigned long long version, place;
	int n;

	memset(&seen, 0, sizeof(seen));
	memset(&file, 0, sizeof(file));
	memset(s, 0, sizeof(*s));
	TAILQ_INIT(&of_file);
	TAILQ_INIT(&s->queries);
	for (; sscanf(stored, "%llu@%llu %n", &version, &place, &n) == 2; stored += n) {
		struct query *q = query_new(version, place, view_of("text"));

		q->durable = true;
		TAILQ_INSERT_TAIL(&of_file, q, link);
	}
	s->file = &file;
	s->flavour = MSG_FLX;
	s->conn = (struct conn *)&file; /* there is one; nobody looks into it */
	s->upside = upside;
	s->ident.query_version = s->query_sent = active;
	s->query = relay_strndup("text", 4);
	s->ident.query_size = 4;
	return s;
}

static void
end(struct session *s)
{
	query_forget(s);
	query_list_free(&of_file);
	free(s->query);
}

static void
take(struct session *s, uint64_t version, const char *text)
{
	struct message m = { .type = MSG_C_QUERY, .flavour = MSG_FLX };

	m.query = (struct msg_query){ version, strlen(text) };
	query_take(s, &m, view_of(text));
}

static void
download(struct session *s, uint64_t version, unsigned batch_state, bool passed)
{
	query_downloaded(s, &(struct msg_download){ .query_version = version, .batch_state = batch_state }, passed);
}

/* "LOW-VERSION@PLACE ..." of a list, with ! behind those to remove */
static const char *
listed(const struct query_list *list)
{
	static char out[512];
	const struct query *q;
	size_t len = 0;

	out[0] = '\0';
	TAILQ_FOREACH (q, list, link)
		len += (size_t)snprintf(out + len, sizeof(out) - len, "%llu-%llu@%llu%s ", (unsigned long long)q->low,
					(unsigned long long)q->version, (unsigned long long)q->place, q->gone ? "!" : "");
	return out;
}

static void
check_to_keep(struct session *s, const char *want, bool kept)
{
	struct query_list list = TAILQ_HEAD_INITIALIZER(list);

	query_to_keep(s, &list);
	CHECK_STR(listed(&list), want);
	if (kept)
		query_kept(s, &list);
	query_list_free(&list);
}

/* ---- the tests ---- */

/* LIVE: forwarded as they come, each its own; the MARK behind one is the session's business. */
TEST(live)
{
	struct session *s = begin(0, "", UPSIDE_LIVE);

	CHECK(query_opened(s, &of_file));
	take(s, 1, "a");
	take(s, 2, "b");
	CHECK_STR(seen.said, "query1 query2 ");
	CHECK_U64(seen.keeps, 0);
	CHECK_U64(s->nqueries, 2);
	download(s, 1, 0, true);
	CHECK(!query_may_resume(s));
	CHECK_U64(s->ident.query_version, 0);
	download(s, 1, 1, true);
	CHECK(query_may_resume(s));
	CHECK_U64(s->ident.query_version, 1);
	CHECK_MEM(s->query, s->ident.query_size, "a", 1);
	download(s, 1, 2, true);
	download(s, 2, 1, true);
	CHECK_U64(s->ident.query_version, 2);
	CHECK_U64(s->nqueries + s->query_bytes, 0);
	/* ack = relay: what comes behind it may not be acknowledged before it is stored */
	file.ack = STORE_ACK_RELAY;
	file.held.client_version = 9;
	take(s, 3, "ccc");
	CHECK_U64(seen.keeps, 1);
	check_to_keep(s, "0-2@0 3-3@9 ", true);
	check_to_keep(s, "", false);
	end(s);
}

/* While DOWN: each in its place; of several in one place the last stands for all. */
TEST(down)
{
	struct session *s = begin(1, "", UPSIDE_NONE);

	CHECK(query_opened(s, &of_file));
	file.held.client_version = 4;
	take(s, 2, "a");
	file.held.client_version = 6;
	take(s, 3, "b");
	take(s, 5, "c");
	CHECK_U64(seen.keeps, 3);
	CHECK_STR(seen.said, "");
	CHECK_STR(listed(&s->queries), "2-2@4 3-5@6 ");
	check_to_keep(s, "0-1@0 2-2@4 3-5@6 ", true);
	file.held.client_version = 8;
	take(s, 6, "d");
	check_to_keep(s, "6-6@8 ", false);
	CHECK_U64(query_next(s)->version, 2);
	end(s);
}

/* Replay: one after the other, and of those with nothing between them the last. */
TEST(replay)
{
	struct session *s = begin(1, "1@0 2@4 3@4 7@9 ", UPSIDE_REPLAY);

	CHECK(query_opened(s, &of_file));
	check_to_keep(s, "", false); /* the active one is there, as the least */
	CHECK_STR(listed(&s->queries), "2-2@4 3-3@4 7-7@9 ");
	s->mark = 5;
	s->mark_behind = 3;
	query_send(s, query_next(s));
	CHECK_STR(seen.said, "query3 mark5 ");
	s->query_awaited = true;
	download(s, 1, 2, true); /* the steady state of the old one */
	CHECK(s->query_awaited);
	download(s, 3, 0, true);
	CHECK(s->query_awaited);
	download(s, 3, 1, true);
	CHECK(!s->query_awaited);
	CHECK_STR(listed(&s->queries), "7-7@9 ");
	check_to_keep(s, "0-3@4 ", false); /* those below it are to go */
	query_send(s, query_next(s));
	CHECK(query_next(s) == NULL);
	CHECK_STR(seen.said, "query3 mark5 query7 ");
	end(s);
}

/* The client comes anew and sends again what it asked: known by its version, its place stays. */
TEST(taken_again)
{
	struct session *s = begin(2, "1@0 2@3 4@5 6@8 ", UPSIDE_NONE);

	CHECK(query_opened(s, &of_file));
	check_to_keep(s, "0-2@3 ", false);
	file.held.client_version = 9;
	take(s, 3, "gone"); /* replaced by 4 */
	take(s, 4, "text");
	take(s, 6, "text");
	CHECK_STR(listed(&s->queries), "4-4@5 6-6@8 ");
	CHECK_STR(seen.said, "");
	take(s, 7, "new");
	CHECK_STR(listed(&s->queries), "4-4@5 6-6@8 7-7@9 ");
	take(s, 7, "new");
	CHECK_STR(seen.said, "error103 ");
	end(s);
	s = begin(2, "2@3 4@5 ", UPSIDE_NONE);
	CHECK(query_opened(s, &of_file));
	take(s, 4, "other");
	CHECK_STR(seen.said, "differs0 ");
	end(s);
}

/* An absent client: what it stood on is the least of what is stored; its bootstraps go to nobody. */
TEST(absent)
{
	struct session *s = begin(0, "", UPSIDE_NONE);

	s->conn = NULL;
	CHECK(!query_opened(s, &of_file));
	end(s);
	s = begin(0, "3@0 4@5 ", UPSIDE_NONE);
	s->conn = NULL;
	CHECK(query_opened(s, &of_file));
	CHECK_U64(s->ident.query_version, 3);
	s->query_sent = 3;
	query_send(s, query_next(s));
	s->query_awaited = true;
	download(s, 4, 1, false);
	CHECK(!s->query_awaited);
	CHECK_U64(s->ident.query_version, 3);
	CHECK_STR(listed(&s->queries), "4-4@5 ");
	end(s);
}

/* A QUERY_ERROR: the query is no one's any more, on disk neither. */
TEST(query_error)
{
	struct session *s = begin(1, "1@0 2@4 5@6 ", UPSIDE_REPLAY);

	CHECK(query_opened(s, &of_file));
	query_send(s, query_next(s));
	s->query_awaited = true;
	query_failed(s, 2);
	CHECK(!s->query_awaited);
	CHECK_U64(seen.keeps, 1);
	CHECK_U64(query_next(s)->version, 5);
	check_to_keep(s, "2-2@4! ", true);
	CHECK_STR(listed(&s->queries), "5-5@6 ");
	query_failed(s, 77);
	take(s, 6, "x");
	query_failed(s, 6); /* it was not stored yet */
	CHECK_STR(listed(&s->queries), "5-5@6 ");
	end(s);
}

TEST(bounds)
{
	struct session *s = begin(0, "", UPSIDE_NONE);
	static char text[(1u << 20) + 1];

	CHECK(query_opened(s, &of_file));
	memset(text, 'x', sizeof(text) - 1);
	take(s, 1, text);
	CHECK_STR(seen.said, "");
	file.held.client_version++;
	take(s, 2, "y");
	CHECK_STR(seen.said, "refused1 ");
	take(s, 3, "z"); /* nothing behind what was refused */
	CHECK_STR(seen.said, "refused1 ");
	CHECK_U64(s->nqueries, 1);
	end(s);
	s = begin(0, "", UPSIDE_NONE);
	CHECK(query_opened(s, &of_file));
	for (uint64_t v = 1; v <= 64; v++) {
		file.held.client_version = v;
		take(s, v, "q");
	}
	CHECK_STR(seen.said, "");
	file.held.client_version = 65;
	take(s, 65, "q");
	CHECK_STR(seen.said, "refused1 ");
	end(s);
	/* set aside: only LIVE */
	s = begin(0, "", UPSIDE_NONE);
	CHECK(query_opened(s, &of_file));
	file.aside = true;
	take(s, 1, "q");
	CHECK_STR(seen.said, "refused1 ");
	end(s);
}

/* Partition-based sync has none of this. */
TEST(partition_based)
{
	struct session *s = begin(0, "", UPSIDE_LIVE);

	s->flavour = MSG_PBS;
	CHECK(query_opened(s, &of_file));
	check_to_keep(s, "", false);
	CHECK(query_next(s) == NULL);
	CHECK(query_may_resume(s));
	end(s);
}
