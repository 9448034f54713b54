/* The memory budget: computed from the limits, and kept.
 *
 * Computed: what each limit costs, measured on amd64 with glibc and rounded up; tests/unit/test_budget attacks a daemon and holds its
 * peak against the sum.
 *
 * Kept: most limits bind where something is taken. max_queued is about the sum over all clients, so somebody must look at all, and
 * that must not happen in each pass.  The idea: what is held was received or queued by some stream.  So the sum at the last look and what
 * streams moved since is an upper bound, and until that bound is above the limit there is no need to look.
 *
 * Whoever holds most is closed: with many small ones and a few that stuff the memory it is one of the latter, and for a client it is always
 * safe (design section 2).  Connections for clients that left are treated alike. */
#include "relay/budget.h"
#include "relay/conn.h"
#include "relay/deflater.h"
#include "relay/link.h"
#include "relay/log.h"
#include "relay/relay.h"
#include "relay/section.h"
#include "relay/stream.h"
#include "relay/upstream.h"

#define KIB 1024ULL
#define MIB (1024ULL * 1024)

/* A leg: stream, socket, WebSocket decoder, request (HTTP_HEAD_MAX, kept at either side).  With TLS its state and, while a record is under
 * way, its buffers. */
#define LEG_PLAIN (20 * KIB)
#define LEG_TLS (60 * KIB)
#define SESSION (12 * KIB) /* session, file, path and token on either side, endpoint */
#define BASE (40 * MIB)
#define UPSTREAM (16 * MIB) /* each beyond the first: the clients that left it, with their tokens, and its reserved idents */
#define USER (3 * KIB)	     /* of App Services: tokens, claims and profile of the usual size */
#define EXCHANGE (80 * KIB)  /* heads either way, and an answer that the relay reads for itself; bodies of clients are in max_queued */
#define DATABASE (12 * MIB) /* environment, log buffer, lock tables; twice while another child recovers nothing is served */

/* A connection's two legs, of the listener where they cost most: all clients may come by that one. */
static uint64_t
dearest_legs(const struct sections *all)
{
	const struct section *s = NULL;
	uint64_t most = 0;

	while ((s = sections_next(all, s, SECTION_LISTENER)) != NULL) {
		bool tls_up = s->opt.upstream_url[0] != '\0' && s->opt.upstream_url[2] == 's'; /* wss: */
		uint64_t legs = (s->opt.tls_certificate[0] != '\0' ? LEG_TLS : LEG_PLAIN) + (tls_up ? LEG_TLS : LEG_PLAIN);

		if (legs > most)
			most = legs;
	}
	return most;
}

/* Each upstream with api_url has users of its own, and keeps its connections for a while. */
static uint64_t
services_of(const struct sections *all)
{
	const struct options *o = &sections_global(all)->opt;
	const struct section *s = NULL;
	uint64_t sum = 0;

	while ((s = sections_next(all, s, SECTION_UPSTREAM)) != NULL) {
		if (s->opt.api_url[0] == '\0')
			continue;
		sum += o->max_users * USER + (o->max_exchanges + o->max_token_exchanges) * (EXCHANGE + (s->opt.api_url[4] == 's' ? LEG_TLS : LEG_PLAIN)); /* https: */
	}
	return sum;
}

struct budget
budget_of(const struct sections *all)
{
	const struct options *o = &sections_global(all)->opt;
	const struct section *more = sections_next(all, NULL, SECTION_UPSTREAM);
	struct budget b = { .base = BASE };

	while ((more = sections_next(all, more, SECTION_UPSTREAM)) != NULL)
		b.base += UPSTREAM;
	b.connections = o->max_connections * dearest_legs(all);
	b.sessions = o->max_sessions_total * SESSION;
	b.services = services_of(all);
	b.queued = o->max_queued + o->max_message; /* the one that tips the scale */
	b.spool = o->spool_bytes + o->spool_bytes / 2 + 2 * o->max_inflated; /* half as much again lingers (file.c) */
	b.spool += (DEFLATER_PLACES + 1) * 3 * o->replay_batch;		     /* as read, in a buffer that doubles, and deflated */
	b.database = DATABASE + o->buffer_cache_bytes + o->buffer_cache_bytes / 4;
	b.total = b.base + b.connections + b.sessions + b.services + b.queued + b.spool + b.database;
	return b;
}

void
budget_log(const struct sections *all)
{
	struct budget b = budget_of(all);
	struct log_line l;

	log_begin(&l, LOG_INFO, "memory_budget");
	log_u64(&l, "total_mib", b.total / MIB);
	log_u64(&l, "base_mib", b.base / MIB);
	log_u64(&l, "connections_mib", b.connections / MIB);
	log_u64(&l, "sessions_mib", b.sessions / MIB);
	log_u64(&l, "services_mib", b.services / MIB);
	log_u64(&l, "queued_mib", b.queued / MIB);
	log_u64(&l, "spool_mib", b.spool / MIB);
	log_u64(&l, "database_mib", b.database / MIB);
	log_end(&l);
}

/* Who holds what: the sum, and the greatest of either kind. */
struct look {
	uint64_t sum, most, most_up;
	struct conn *conn;
	struct upstream *up;
};

static struct look
look_around(struct relay *relay)
{
	struct look k = { .sum = stream_lingering() };
	struct conn *c;
	struct link *l;
	struct upstream *u;
	uint64_t n;

	for (c = TAILQ_FIRST(&relay->conns); c != NULL; c = conn_next(c)) {
		n = conn_held(c);
		k.sum += n;
		if (n > k.most)
			k.most = n, k.conn = c;
	}
	TAILQ_FOREACH (l, &relay->links, entry) {
		for (u = TAILQ_FIRST(&l->upstreams); u != NULL; u = upstream_next(u)) {
			if (upstream_has_client(u))
				continue; /* counted there */
			n = upstream_held(u);
			k.sum += n;
			if (n > k.most_up)
				k.most_up = n, k.up = u;
		}
	}
	return k;
}

void
budget_pass(struct relay *relay)
{
	uint64_t max = relay->opt->max_queued;
	struct look k;

	if (relay->held_sum + (stream_moved() - relay->held_at) <= max)
		return;
	for (k = look_around(relay); k.sum > max; k = look_around(relay)) {
		if (stream_lingering() > 0)
			stream_drop_lingering(); /* to whom we only say goodbye */
		else if (k.most >= k.most_up)
			conn_overfull(k.conn, "more than max_queued is held, and most of it for this client");
		else
			upstream_fail(k.up, "more than max_queued is held, and most of it here");
	}
	relay->held_sum = k.sum;
	relay->held_at = stream_moved();
}
