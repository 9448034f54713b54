/* Rules C1-C9 as a real client applies them; see client_rules.h for how to use it. It never repairs or guesses: the first rule
 * that a message breaks is named, with both values, and the caller drops the connection.
 *
 * The idea needed to read it: a session lives through bind - (ident) - ident sent - unbind sent - unbound, and may fail at any
 * point after bind. Which messages are legal depends on that; what a DOWNLOAD may say depends on the stored progress cur, which
 * outlives sessions and connections. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/zbody.h"

#include "tests/peer/client_rules.h"

static enum rules_verdict broken(char *why, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static enum rules_verdict
broken(char *why, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, RULES_WHY_MAX, fmt, ap);
	va_end(ap);
	return RULES_BROKEN;
}

bool
client_rules_survives(uint64_t error_code)
{
	return error_code == 231 || error_code == 236;
}

struct client_progress
client_rules_progress(const struct message *m)
{
	const struct msg_download *d = &m->download;

	return (struct client_progress){ d->download_server_version, d->download_client_version, d->latest_server_version,
					 d->latest_server_version_salt, d->upload_client_version, d->upload_server_version };
}

enum rules_verdict
client_rules_parse(enum msg_flavour flavour, const uint8_t *buf, size_t len, struct message *m, struct view *body, char *why)
{
	enum proto_err err = msg_parse(MSG_S2C, flavour, buf, len, m, body);

	if (err == PROTO_OK)
		return RULES_OK;
	return broken(why, "C9: message of %zu bytes refused: %s", len, proto_strerror(err));
}

enum rules_verdict
client_rules_inflate(const struct message *m, struct view body, struct view *entries, uint8_t **owned, char *why)
{
	const struct msg_download *d = &m->download;
	enum proto_err err;

	*owned = NULL;
	*entries = body;
	if (!d->is_compressed)
		return RULES_OK;
	if (!zbody_plausible(d->compressed_size, d->uncompressed_size))
		return broken(why, "C9: DOWNLOAD claims %" PRIu64 " bytes out of %" PRIu64, d->uncompressed_size, d->compressed_size);
	if ((*owned = malloc(d->uncompressed_size + 1)) == NULL)
		abort();
	err = zbody_inflate(body.ptr, body.len, *owned, d->uncompressed_size);
	if (err != PROTO_OK) {
		free(*owned);
		*owned = NULL;
		return broken(why, "C9: DOWNLOAD body: %s", proto_strerror(err));
	}
	*entries = (struct view){ *owned, d->uncompressed_size };
	return RULES_OK;
}

void
client_rules_bind(struct client_rules *r, bool need_ident)
{
	r->bound = true;
	r->asked_ident = need_ident;
	r->ident_sent = r->unbind_sent = r->failed = r->unbound = false;
	r->mark_sent = r->mark_received;
	memset(r->asked, 0, sizeof r->asked);
	r->state_next = 0;
}

/* The question that an answer of this type belongs to; MSG_NTYPES: it is no answer. */
static enum msg_type
question_of(enum msg_type answer)
{
	switch (answer) {
	case MSG_S_TRANSACT:
		return MSG_C_TRANSACT;
	case MSG_S_STATE:
		return MSG_C_STATE_REQUEST;
	case MSG_S_CLIENT_VERSION:
		return MSG_C_CLIENT_VERSION_REQUEST;
	case MSG_S_ALLOC:
		return MSG_C_ALLOC;
	case MSG_S_TEST_COMMAND:
		return MSG_C_TEST_COMMAND;
	default:
		return MSG_NTYPES;
	}
}

/* An answer must have been asked for; STATEs follow on each other, or begin anew. */
static enum rules_verdict
check_answer(const struct client_rules *r, const struct message *m, char *why)
{
	const struct msg_state *st = &m->state;

	if (r->asked[question_of(m->type)] == 0)
		return broken(why, "C9: %s was not asked for", msg_name(m->type));
	if (m->type == MSG_S_STATE && ((st->begin_offset != 0 && st->begin_offset != r->state_next) || st->end_offset <= st->begin_offset ||
				       st->end_offset > st->max_offset))
		return broken(why, "C9: STATE %" PRIu64 " - %" PRIu64 " of %" PRIu64 " after %" PRIu64, st->begin_offset, st->end_offset,
			      st->max_offset, r->state_next);
	return RULES_OK;
}

static enum rules_verdict
check_ident(const struct client_rules *r, const struct message *m, char *why)
{
	if (!r->asked_ident)
		return broken(why, "C8: IDENT, but the BIND asked for none");
	if (r->file_ident != 0)
		return broken(why, "C8: a second IDENT (file ident %" PRIu64 " is known)", r->file_ident);
	if (m->s_ident.file_ident == 0 || m->s_ident.file_ident_salt == 0)
		return broken(why, "C8: IDENT with file ident %" PRIu64 ", salt %" PRIu64, m->s_ident.file_ident,
			      m->s_ident.file_ident_salt);
	return RULES_OK;
}

/* C1-C4: the head of a DOWNLOAD against the stored progress and in itself. */
static enum rules_verdict
check_progress(const struct client_rules *r, const struct client_progress *p, char *why)
{
	const struct client_progress *cur = &r->cur;
	const struct {
		const char *rule;
		uint64_t low, high; /* broken when low > high */
		const char *low_name, *high_name;
	} order[] = {
		{ "C1", cur->latest, p->latest, "stored latest_server_version", "latest_server_version" },
		{ "C1", p->download_server, p->latest, "download_server_version", "latest_server_version" },
		{ "C2", cur->upload_client, p->upload_client, "stored upload_client_version", "upload_client_version" },
		{ "C2", p->upload_client, r->newest, "upload_client_version", "newest client version" },
		{ "C2", p->upload_server > 0 ? cur->upload_server : 0, p->upload_server, "stored upload_server_version",
		  "upload_server_version" },
		{ "C3", cur->download_server, p->download_server, "stored download_server_version", "download_server_version" },
		{ "C3", cur->download_client, p->download_client, "stored download_client_version", "download_client_version" },
		{ "C4", p->download_client, p->upload_client, "download_client_version", "upload_client_version" },
		{ "C4", p->upload_server, p->download_server, "upload_server_version", "download_server_version" },
	};

	for (size_t i = 0; i < sizeof order / sizeof order[0]; i++)
		if (order[i].low > order[i].high)
			return broken(why, "%s: %s %" PRIu64 " > %s %" PRIu64, order[i].rule, order[i].low_name, order[i].low,
				      order[i].high_name, order[i].high);
	return RULES_OK;
}

static enum rules_verdict
check_entry(const struct client_rules *r, const struct client_progress *p, const struct download_entry *e, uint64_t last_server,
	    uint64_t last_client, char *why)
{
	const char *rule = r->flavour == MSG_FLX ? "C6" : "C5";
	bool rises = r->flavour == MSG_FLX ? e->server_version >= last_server : e->server_version > last_server;

	if (!rises || e->server_version > p->download_server || e->server_version == 0)
		return broken(why, "%s: entry with server_version %" PRIu64 " after %" PRIu64 ", download_server_version %" PRIu64, rule,
			      e->server_version, last_server, p->download_server);
	if (e->client_version < last_client || e->client_version > p->download_client)
		return broken(why, "%s: entry with client_version %" PRIu64 " after %" PRIu64 ", download_client_version %" PRIu64, rule,
			      e->client_version, last_client, p->download_client);
	if (e->origin_file_ident == 0 || e->origin_file_ident == r->file_ident)
		return broken(why, "%s: entry with origin_file_ident %" PRIu64 " sent to client file %" PRIu64, rule,
			      e->origin_file_ident, r->file_ident);
	return RULES_OK;
}

static enum rules_verdict
check_download(const struct client_rules *r, const struct message *m, struct view entries, char *why)
{
	struct client_progress p = client_rules_progress(m);
	uint64_t last_server = r->cur.download_server, last_client = r->cur.download_client;
	struct download_entry e;
	enum proto_err err;

	if (r->flavour == MSG_FLX && m->download.batch_state > 2)
		return broken(why, "C9: batch_state %" PRIu64, m->download.batch_state);
	if (check_progress(r, &p, why) != RULES_OK)
		return RULES_BROKEN;
	while ((err = download_entry_next(&entries, &e)) == PROTO_OK) {
		if (check_entry(r, &p, &e, last_server, last_client, why) != RULES_OK)
			return RULES_BROKEN;
		last_server = e.server_version;
		last_client = e.client_version;
	}
	if (err != PROTO_MORE)
		return broken(why, "C9: DOWNLOAD entry refused: %s", proto_strerror(err));
	return RULES_OK;
}

static enum rules_verdict
check_error(const struct client_rules *r, uint64_t error_code, char *why)
{
	if (r->failed || r->unbound)
		return broken(why, "C8: a session error (%" PRIu64 ") after the session's end", error_code);
	if (error_code >= 100 && error_code < 200)
		return broken(why, "C8: session error with the connection's code %" PRIu64, error_code);
	return RULES_OK;
}

enum rules_verdict
client_rules_check(const struct client_rules *r, const struct message *m, struct view entries, char *why)
{
	if (m->type == MSG_S_LOG_MESSAGE)
		return RULES_OK;
	if (!r->bound)
		return broken(why, "C8: %s before BIND", msg_name(m->type));
	if (m->type == MSG_S_ERROR)
		return check_error(r, m->error.error_code, why);
	if (m->type == MSG_S_JSON_ERROR)
		return check_error(r, m->json_error.error_code, why);
	if (r->failed || r->unbound)
		return broken(why, "C8: %s after %s", msg_name(m->type), r->failed ? "a session ERROR" : "UNBOUND");
	if (m->type == MSG_S_UNBOUND)
		return r->unbind_sent ? RULES_OK : broken(why, "C8: UNBOUND without UNBIND");
	if (r->unbind_sent)
		return RULES_IGNORE;
	if (m->type == MSG_S_IDENT)
		return check_ident(r, m, why);
	if (question_of(m->type) != MSG_NTYPES)
		return check_answer(r, m, why);
	if (!r->ident_sent)
		return broken(why, "C8: %s before the client's IDENT", msg_name(m->type));
	switch (m->type) {
	case MSG_S_DOWNLOAD:
		return check_download(r, m, entries, why);
	case MSG_S_MARK:
		if (m->s_mark.request_ident > r->mark_sent || m->s_mark.request_ident <= r->mark_received)
			return broken(why, "C7: MARK %" PRIu64 ", sent %" PRIu64 ", answered %" PRIu64, m->s_mark.request_ident,
				      r->mark_sent, r->mark_received);
		return RULES_OK;
	case MSG_S_QUERY_ERROR: /* parsed on FLX connections only */
		return RULES_OK;
	default:
		return broken(why, "C9: %s is not expected", msg_name(m->type));
	}
}

void
client_rules_apply(struct client_rules *r, const struct message *m)
{
	switch (m->type) {
	case MSG_S_IDENT:
		r->file_ident = m->s_ident.file_ident;
		r->cur.download_client = r->cur.upload_client = 0;
		r->newest++;
		break;
	case MSG_S_DOWNLOAD:
		r->cur = client_rules_progress(m);
		r->newest++;
		break;
	case MSG_S_MARK:
		r->mark_received = m->s_mark.request_ident;
		break;
	case MSG_S_UNBOUND:
		r->unbound = true;
		break;
	case MSG_S_ERROR:
		r->failed = !client_rules_survives(m->error.error_code);
		break;
	case MSG_S_JSON_ERROR:
		r->failed = !client_rules_survives(m->json_error.error_code);
		break;
	case MSG_S_STATE:
		r->state_next = m->state.end_offset;
		if (m->state.end_offset == m->state.max_offset)
			r->asked[MSG_C_STATE_REQUEST] = 0;
		break;
	case MSG_S_TRANSACT:
	case MSG_S_CLIENT_VERSION:
	case MSG_S_ALLOC:
	case MSG_S_TEST_COMMAND:
		r->asked[question_of(m->type)]--;
		break;
	default:
		break;
	}
}

enum rules_verdict
client_rules_check_conn(const struct message *m, char *why)
{
	uint64_t code = m->type == MSG_S_JSON_ERROR ? m->json_error.error_code : m->error.error_code;

	if (m->type == MSG_S_PONG || m->type == MSG_S_LOG_MESSAGE)
		return RULES_OK;
	if (m->session_ident != 0)
		return broken(why, "C8: %s for session %" PRIu64 ", which does not exist", msg_name(m->type), m->session_ident);
	if (m->type != MSG_S_ERROR && m->type != MSG_S_JSON_ERROR)
		return broken(why, "C8: %s for session 0", msg_name(m->type));
	if (code >= 200 && code < 300)
		return broken(why, "C8: session error %" PRIu64 " without a session", code);
	return RULES_OK;
}
