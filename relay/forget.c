/* Forgetting a user, the loop's side; see forget.h. */
#include <string.h>

#include "relay/absent.h"
#include "relay/claims.h"
#include "relay/clock.h"
#include "relay/conn.h"
#include "relay/forget.h"
#include "relay/link.h"
#include "relay/log.h"
#include "relay/pool.h"
#include "relay/refresh.h"
#include "relay/relay.h"
#include "relay/services.h"
#include "relay/session.h"
#include "relay/spool.h"
#include "relay/statecache.h"
#include "relay/userid.h"

static bool
is_of(struct conn *c, const uint8_t id[USERID])
{
	uint8_t user[USERID];
	struct session *s;

	userid_of_token(conn_token(c), user);
	if (userid_same(user, id))
		return true;
	TAILQ_FOREACH (s, conn_sessions(c), in_conn) {
		session_user(s, user);
		if (userid_same(user, id))
			return true;
	}
	return false;
}

static uint64_t
close_conns(struct relay *relay, const uint8_t id[USERID])
{
	struct conn *c, *next;
	uint64_t n = 0;

	for (c = TAILQ_FIRST(&relay->conns); c != NULL; c = next) {
		next = conn_next(c);
		if (!is_of(c, id))
			continue;
		conn_abort(c, "its user is being forgotten");
		n++;
	}
	return n;
}

void
forget_user(struct relay *relay, struct view name, struct forget_sum *sum)
{
	struct link *l;

	memset(sum, 0, sizeof(*sum));
	userid_of_name(name, relay->shut_out);
	relay->shut_out_until = clock_ms() + FORGET_SHUT_MS;
	sum->conns = close_conns(relay, relay->shut_out);
	TAILQ_FOREACH (l, &relay->links, entry) {
		if (l->services != NULL)
			sum->users += refresh_forget_user(l->services->refresh, name);
		if (l->pool != NULL)
			sum->pairs += pool_forget_user(l->pool, name);
	}
	log_event(LOG_WARN, "user_forgotten", "conns=%llu sessions=%llu", (unsigned long long)sum->conns, (unsigned long long)sum->users);
}

bool
forget_shuts_out(const struct relay *relay, struct view token)
{
	uint8_t user[USERID];

	if (clock_ms() >= relay->shut_out_until)
		return false;
	userid_of_token(token, user);
	return userid_same(user, relay->shut_out);
}

void
forget_file(struct relay *relay, const struct store_file *f, bool states)
{
	struct link *l;

	session_start_anew(relay, f);
	TAILQ_FOREACH (l, &relay->links, entry)
		if (link_has_endpoint(l, f->endpoint))
			absents_forget(l->absents, f);
	if (states)
		statecache_forget(relay->statecache, f->endpoint, f->path);
	spool_disown(relay->spool, f);
}
