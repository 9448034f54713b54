/* A session of the relay's own for a client that left: connects with its request, or with the service token; and what its end means.
 * See absent.h for the course of one, absent.c for when it begins.
 *
 * Never: anything in a client's name but what it uploaded (its cursors stay as it stated them). */
#include <string.h>

#include "protocol/http.h"

#include "relay/absent_impl.h"
#include "relay/clock.h"
#include "relay/exchange.h"
#include "relay/link.h"
#include "relay/log.h"
#include "relay/refresh.h"
#include "relay/service.h"
#include "relay/services.h"
#include "relay/session.h"
#include "relay/upstream.h"

#define SOON_MS 30000 /* a cut that comes no later after IDENT is a live client's; its back-off begins at a second or so */

static const struct upstream_ops upstream_ops;

/* ---- its end ---- */

/* In memory and on the disk. */
static void
forget_own(struct absent *a)
{
	credential_wipe(&a->own);
	credential_drop(a->all->relay, a->id);
}

/* The token that was used is no good (any more): the other one, or the client. */
static void
token_refused(struct absent *a)
{
	if (a->by_service)
		a->service_refused = service_serial(a->all->link->service);
	else
		forget_own(a);
	a->due_at = clock_ms();
}

static void
refused(struct absent *a)
{
	switch (a->verdict) {
	case VERDICT_TOKEN:
		token_refused(a);
		break;
	case VERDICT_CLIENT:
	case VERDICT_REJECT: /* what is kept of the client is not what upstream expects of it: its own IDENT will tell */
		a->waits = true;
		break;
	default:
		absent_try_again(a);
		break;
	}
}

static void
log_ended(const struct absent *a, const char *how)
{
	struct log_line l;

	log_begin(&l, LOG_INFO, "absent_end");
	log_u64(&l, "file_ident", a->file_ident);
	log_str(&l, "how", how);
	if (a->error != 0)
		log_u64(&l, "code", a->error);
	log_end(&l);
}

void
absent_error(struct session *s, const struct verdict_error *e)
{
	struct absent *a = s->absent;

	a->error = e->code;
	a->verdict = verdict_of(e);
	a->asked_ms = verdict_delay(&a->named, e);
}

void
absent_cut(struct session *s)
{
	s->absent->cut = true;
}

void
absent_ended(struct session *s)
{
	struct absent *a = s->absent;
	uint64_t ident_at = a->ident_at;

	s->absent = NULL;
	a->session = NULL;
	a->all->running--;
	upstream_close(a->upstream, false, "the absent client's session ended");
	a->upstream = NULL;
	exchange_cancel(a->exchange);
	a->exchange = NULL;
	relay_wipe(a->real);
	a->real = NULL;
	a->ident_at = 0;
	a->due_at = clock_ms() + absent_quiet_ms(a->all);
	if (s->successor != NULL) {
		log_ended(a, "the client is back"); /* absents_here follows */
	} else if (s->file != NULL && s->file->state != STORE_FILE_OK) {
		log_ended(a, a->error != 0 ? "refused" : "stopped");
		a->backlog = 0; /* until a walk finds that an operator decided */
	} else if (a->error != 0) {
		log_ended(a, "refused");
		refused(a);
	} else if (s->file != NULL && !file_waiting(s->file)) {
		log_ended(a, "drained");
		forget_own(a);
		absent_forget(a);
	} else if (a->cut) {
		log_ended(a, "cut");
		a->cut_at = clock_ms();
		a->cut_soon = a->cut_at - ident_at < SOON_MS;
	} else {
		log_ended(a, "later");
		absent_try_again(a);
	}
}

/* ---- its course ---- */

static struct upstream *
connect_as_client(struct absent *a)
{
	char *target = NULL, *authorization = NULL;
	struct upstream_request req;
	struct upstream *u;

	credential_request(&a->own, &req);
	req.flavour = absent_flavour(a);
	if (a->real != NULL) { /* for this session only: it ends soon, and can be had again */
		target = exchange_target(a->own.target, a->real);
		authorization = exchange_authorization(a->real);
		req.target = view_of(target);
		req.authorization = view_of(a->own.authorization[0] != '\0' ? authorization : "");
	}
	u = upstream_open(a->all->link, &req, &upstream_ops, a, NULL);
	relay_wipe(target);
	relay_wipe(authorization);
	return u;
}

static void
exchanged_cb(void *arg, enum exchange_result result, const char *token)
{
	struct absent *a = arg;
	struct session *s = a->session;

	a->exchange = NULL;
	switch (result) {
	case EXCHANGE_OK:
		a->real = relay_strndup(token, strlen(token));
		a->upstream = connect_as_client(a);
		return;
	case EXCHANGE_UNREACHED:
		break;
	case EXCHANGE_IMPOSSIBLE:
		a->error = 401;
		a->verdict = VERDICT_TOKEN;
		break;
	case EXCHANGE_REVOKED:
		session_user_revoked(s);
		break;
	}
	session_end(s);
}

bool
absent_service_usable(const struct absent *a)
{
	unsigned serial = service_serial(a->all->link->service);

	return serial != 0 && a->service_refused != serial;
}

void
absent_waits(struct session *s)
{
	s->absent->waits = true;
	session_end(s);
}

void
absent_file_read(struct session *s)
{
	struct absent *a = s->absent;
	uint8_t id[REFRESH_ID];

	a->by_service = !credential_known(&a->own);
	if (!a->by_service && absent_own_token(a, id))
		a->exchange = exchange_ask(a->all->link->services->exchanges, id, exchanged_cb, a);
	else if (!a->by_service)
		a->upstream = connect_as_client(a);
	else if (absent_service_usable(a))
		a->upstream = service_connect(a->all->link->service, a->endpoint, absent_flavour(a), &upstream_ops, a);
	else
		session_end(s);
}

static void
opened_cb(void *arg, struct view subprotocol, struct view server)
{
	struct absent *a = arg;
	const char *own = a->real != NULL && a->own.token[0] != '\0' ? a->real : a->own.token;
	const char *token = a->by_service ? service_token(a->all->link->service) : own;
	struct upstream *u = a->upstream;

	(void)subprotocol;
	(void)server;
	a->upstream = NULL;
	a->ident_at = clock_ms();
	link_succeeded(a->all->link);
	session_bind_absent(a->session, u, view_of(token));
	upstream_orphan(u);
}

/* As for a conn: over plain TCP a portal may have said it. */
static void
refused_cb(void *arg, const struct http_head *head, struct view body)
{
	struct absent *a = arg;
	struct link *l = a->all->link;

	(void)body;
	a->upstream = NULL;
	a->verdict = verdict_of_status(head->status);
	if (link_trusts_refusal(l, head->status))
		a->error = head->status;
	else
		link_failed(l, LINK_UNTRUSTED, "an answer that may be a portal's");
	if (a->session != NULL) /* the link, DOWN by now, may have ended it */
		session_end(a->session);
}

static void
lost_cb(void *arg, enum link_evidence e, const char *why)
{
	struct absent *a = arg;

	(void)e;
	(void)why;
	a->upstream = NULL;
	session_end(a->session);
}

static const struct upstream_ops upstream_ops = {
	.refused = refused_cb,
	.opened = opened_cb,
	.lost = lost_cb,
};

void
absent_start(struct absent *a)
{
	struct absents *as = a->all;
	struct session_identity id = { .endpoint = a->endpoint,
		.path = a->path,
		.bind_path = a->bind_path,
		.file_ident = a->file_ident,
		.file_ident_salt = a->file_ident_salt,
		.is_subserver = a->is_subserver };

	a->error = 0;
	a->asked_ms = 0;
	a->cut = false;
	a->due_at = clock_ms() + absent_quiet_ms(as);
	a->session = session_open_absent(as->link, a, &id);
	if (a->session == NULL)
		return; /* its client is here, or drains on its own connection */
	as->running++;
	STAT_INC(as->relay, absent_sessions);
	log_event(LOG_INFO, "absent_start", "file_ident=%llu backlog_bytes=%llu token=%s", (unsigned long long)a->file_ident,
		  (unsigned long long)a->backlog, credential_known(&a->own) ? "client" : "service");
}
