/* A session as a real client runs it; see session.h for its states. It never touches a socket (conn does), never decides whether
 * a message is legal (client_rules does) and never keeps anything that outlives the process (device does).
 *
 * The idea: session_pump looks at what is known and sends what is due next, in the real client's order: BIND, IDENT, MARK,
 * UPLOAD. Everything that happens (connected, message received, local write, command) changes the state and then pumps. What a
 * DOWNLOAD brings is in the device's journal before anything is sent that depends on it. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>
#include <zlib.h>

#include "tests/client/conn.h"
#include "tests/client/session.h"
#include "tests/client/transcript.h"
#include "tests/client/world.h"

static void
resume_cb(evutil_socket_t fd, short what, void *arg)
{
	struct session *s = arg;

	(void)fd, (void)what;
	session_bind(s, true);
}

struct session *
session_new(struct world *w, const char *name, const char *path)
{
	struct session *s = world_grown(NULL, sizeof *s);

	memset(s, 0, sizeof *s);
	s->world = w;
	s->hold_uploads = true;
	if (!device_open(&s->dev, name, path, w->opt.seed, w->opt.state)) {
		device_close(&s->dev);
		free(s);
		return NULL;
	}
	s->resume = evtimer_new(w->base, resume_cb, s);
	session_reset(s);
	return s;
}

void
session_free(struct session *s)
{
	event_free(s->resume);
	transcript_close(s);
	device_close(&s->dev);
	free(s);
}

/* The rules' copy of the file's state; both move alike, but commands move the file alone. */
static void
sync_rules(struct session *s)
{
	s->rules.file_ident = s->dev.file.ident;
	s->rules.newest = client_file_newest(&s->dev.file);
	s->rules.cur = s->dev.file.cur;
}

void
session_reset(struct session *s)
{
	sync_rules(s);
	s->cursor = (struct client_cursor){ s->dev.file.cur.upload_client, s->dev.file.cur.upload_server };
}

/* ---- state ---- */

static bool
on_open_conn(const struct session *s)
{
	return s->conn != NULL && conn_is_open(s->conn);
}

bool
session_is_live(const struct session *s)
{
	return on_open_conn(s) && s->rules.ident_sent && !s->rules.unbind_sent && !s->rules.failed;
}

bool
session_is_uploaded(const struct session *s)
{
	return s->dev.file.cur.upload_client >= client_file_newest_write(&s->dev.file) && s->auto_left == 0;
}

bool
session_is_idle(const struct session *s)
{
	return session_is_live(s) && session_is_uploaded(s) && s->rules.mark_received == s->mark_target &&
	       s->cursor.client == client_file_newest(&s->dev.file);
}

const char *
session_state(const struct session *s)
{
	if (s->suspended)
		return "suspended";
	if (!on_open_conn(s))
		return s->wanted ? conn_state(s->conn) : "off";
	if (s->rules.unbind_sent && !s->rules.unbound && !s->rules.failed)
		return "unbinding";
	if (session_is_live(s))
		return "bound";
	return s->rules.bound && !s->rules.unbound ? "binding" : "open";
}

/* ---- out ---- */

static struct message
message_of(const struct session *s, enum msg_type type)
{
	return (struct message){ .type = type, .flavour = s->rules.flavour, .session_ident = s->ident };
}

static void
send_bind(struct session *s)
{
	struct message m;
	char json[96];
	const char *path = json;
	bool need_ident = s->dev.file.ident == 0;

	if (s->ident == 0)
		s->ident = conn_next_ident(s->conn);
	m = message_of(s, MSG_C_BIND);
	if (s->rules.flavour == MSG_FLX) /* another one in each session */
		snprintf(json, sizeof json, "{\"schemaVersion\":%" PRIu64 ",\"sessionReason\":%" PRIu64 "}", s->schema, s->reconnects);
	else
		path = s->dev.path;
	m.bind.path_size = strlen(path);
	m.bind.need_client_file_ident = need_ident;
	m.bind.is_subserver = s->subserver;
	client_rules_bind(&s->rules, need_ident);
	session_reset(s);
	conn_send(s->conn, s, &m, path, strlen(path));
}

static size_t
query_text(uint64_t version, char text[64])
{
	return (size_t)snprintf(text, 64, "{\"A\":\"value > %" PRIu64 "\"}", version);
}

static void
send_ident(struct session *s)
{
	const struct client_progress *cur = &s->dev.file.cur;
	struct message m = message_of(s, MSG_C_IDENT);
	char text[64];

	m.c_ident.file_ident = s->dev.file.ident;
	m.c_ident.file_ident_salt = s->dev.file.salt;
	m.c_ident.scan_server_version = cur->download_server;
	m.c_ident.scan_client_version = cur->download_client;
	m.c_ident.latest_server_version = cur->latest;
	m.c_ident.latest_server_version_salt = cur->latest_salt;
	s->rules.ident_sent = true;
	s->query_sent = s->query_active;
	s->boot_batches = 0;
	m.c_ident.query_version = s->query_active;
	m.c_ident.query_size = s->rules.flavour == MSG_FLX ? query_text(s->query_active, text) : 0;
	conn_send(s->conn, s, &m, text, (size_t)m.c_ident.query_size);
}

static void
send_mark(struct session *s)
{
	struct message m = message_of(s, MSG_C_MARK);

	m.c_mark.request_ident = s->mark_target;
	s->rules.mark_sent = s->mark_target;
	conn_send(s->conn, s, &m, NULL, 0);
}

static void
send_query(struct session *s)
{
	struct message m = message_of(s, MSG_C_QUERY);
	char text[64];

	s->query_sent++;
	m.query = (struct msg_query){ s->query_sent, query_text(s->query_sent, text) };
	conn_send(s->conn, s, &m, text, (size_t)m.query.query_size);
	s->mark_target++;
	send_mark(s);
}

static void
send_unbind(struct session *s)
{
	struct message m = message_of(s, MSG_C_UNBIND);

	s->rules.unbind_sent = true;
	conn_send(s->conn, s, &m, NULL, 0);
}

/* Sends every UPLOAD up to limit that is due; false when the connection's queue is full. */
static bool
send_uploads(struct session *s, uint64_t limit)
{
	struct client_upload up;
	struct message m;

	while (s->cursor.client < client_file_newest(&s->dev.file) && s->cursor.client < limit) {
		if (conn_is_full(s->conn))
			return false;
		if (!client_file_next_upload(&s->dev.file, &s->cursor, limit, &up))
			continue;
		m = message_of(s, MSG_C_UPLOAD);
		m.upload = up.head;
		conn_send(s->conn, s, &m, up.body, up.len);
		free(up.body);
	}
	return true;
}

bool
session_pump(struct session *s)
{
	if (!on_open_conn(s) || !s->wanted || s->suspended)
		return true;
	if (!s->rules.bound)
		send_bind(s);
	if (s->rules.unbind_sent)
		return true;
	if (!s->rules.ident_sent) {
		if (s->dev.file.ident == 0)
			return true;
		send_ident(s);
	}
	if (s->mark_target > s->rules.mark_sent)
		send_mark(s);
	if (s->hold_uploads)
		return true;
	while (s->query_newest > s->query_sent) {
		if (!send_uploads(s, s->query_place[s->query_sent + 1]))
			return false;
		if (s->query_errors >> s->query_sent & 1)
			s->query_sent++;
		else
			send_query(s);
	}
	return send_uploads(s, UINT64_MAX);
}

/* ---- the connection comes and goes ---- */

static void
clear_protocol_state(struct session *s)
{
	s->rules.bound = s->rules.ident_sent = s->rules.unbind_sent = s->rules.unbound = s->rules.failed = false;
	s->rules.mark_sent = s->rules.mark_received;
	memset(s->rules.asked, 0, sizeof s->rules.asked);
}

void
session_connected(struct session *s, bool fast)
{
	clear_protocol_state(s);
	s->established = true;
	if (!fast)
		s->hold_uploads = true;
	if (s->hold_uploads)
		s->mark_target++;
}

void
session_lost(struct session *s)
{
	clear_protocol_state(s);
	s->established = false;
	session_reset(s);
}

/* A session that is over makes way for a new one of the same device. */
static void
renew(struct session *s, bool same_ident)
{
	bool draining = s->rules.bound && s->rules.unbind_sent && !s->rules.unbound && !s->rules.failed;

	if (draining)
		conn_drain(s->conn, s->ident, &s->rules);
	if (draining || !same_ident)
		s->ident = 0;
	s->over = s->established = false;
	s->hold_uploads = true;
	s->rules.mark_received = s->mark_target = 0;
	clear_protocol_state(s);
}

void
session_bind(struct session *s, bool same_ident)
{
	event_del(s->resume);
	s->wanted = true;
	s->suspended = false;
	if (s->over)
		renew(s, same_ident);
	else if (s->rules.failed)
		s->rules.bound = false; /* the same session binds again */
	conn_want(s->conn);
	if (on_open_conn(s) && !s->established)
		session_connected(s, false);
	conn_pump(s->conn);
}

void
session_unbind(struct session *s)
{
	event_del(s->resume);
	s->wanted = false;
	s->suspended = false;
	s->over = true;
	if (on_open_conn(s) && s->rules.bound && !s->rules.unbind_sent)
		send_unbind(s);
}

/* ---- in ---- */

bool
session_says_try_again(const struct message *m, struct view body)
{
	static const char field[] = "\"tryAgain\"";
	const uint8_t *p;

	if (m->type == MSG_S_ERROR)
		return m->error.try_again != 0;
	if (body.len == 0 || (p = memmem(body.ptr, body.len, field, sizeof field - 1)) == NULL)
		return false;
	for (p += sizeof field - 1; p < body.ptr + body.len && (*p == ':' || *p == ' '); p++)
		;
	return p < body.ptr + body.len && *p == 't';
}

void
session_error(struct session *s, uint64_t code, const char *text, size_t len)
{
	s->error_code = code;
	snprintf(s->error_text, sizeof s->error_text, "%.*s", (int)len, text);
}

/* A session ERROR: the answer is UNBIND, nothing more is sent for it until it is bound again. */
static void
receive_error(struct session *s, const struct message *m, struct view body)
{
	uint64_t ms = s->world->opt.resume_ms;
	struct timeval after = { .tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000) };

	session_error(s, m->type == MSG_S_ERROR ? m->error.error_code : m->json_error.error_code, (const char *)body.ptr, body.len);
	if (!s->rules.failed)
		return;
	if (!s->rules.unbind_sent)
		send_unbind(s);
	s->suspended = s->wanted;
	if (s->wanted && session_says_try_again(m, body))
		event_add(s->resume, &after);
	else
		conn_release(s->conn);
}

static void
receive_download(struct session *s, const struct message *m, struct view entries)
{
	struct client_progress p = client_rules_progress(m);

	if (m->flavour == MSG_FLX && m->download.batch_state == 0) {
		s->boot_batches++; /* taken over as a whole, when it is */
		return;
	}
	s->boot_batches = 0;
	s->query_active = m->download.query_version;
	device_download(&s->dev, &p, entries);
	if (p.upload_client > s->cursor.client)
		s->cursor = (struct client_cursor){ p.upload_client, p.upload_server };
}

__attribute__((format(printf, 2, 3))) static void
note_answer(struct session *s, const char *fmt, ...)
{
	va_list ap;

	s->answers++;
	va_start(ap, fmt);
	vsnprintf(s->answer, sizeof s->answer, fmt, ap);
	va_end(ap);
}

static void
receive_state(struct session *s, const struct msg_state *m, struct view body)
{
	if (m->begin_offset == 0)
		s->state_crc = 0;
	s->state_version = m->server_version;
	s->state_salt = m->server_version_salt;
	s->state_offset = m->end_offset;
	s->state_crc = (uint32_t)crc32_z(s->state_crc, body.ptr, body.len);
	if (m->end_offset == m->max_offset) {
		note_answer(s, "state:%" PRIu64 ":%08" PRIx32, m->server_version, s->state_crc);
		s->state_version = s->state_salt = s->state_offset = 0; /* the next question is for a whole one */
	}
}

/* Carries out an accepted message. */
static void
carry_out(struct session *s, const struct message *m, struct view body)
{
	switch (m->type) {
	case MSG_S_IDENT:
		device_ident(&s->dev, m->s_ident.file_ident, m->s_ident.file_ident_salt);
		session_reset(s);
		break;
	case MSG_S_DOWNLOAD:
		receive_download(s, m, body);
		break;
	case MSG_S_MARK:
		if (s->rules.mark_received == s->mark_target) {
			s->hold_uploads = false;
			s->query_complete = s->query_active;
		}
		break;
	case MSG_S_UNBOUND:
		conn_release(s->conn);
		break;
	case MSG_S_TRANSACT:
		note_answer(s, "transact:%" PRIu64, m->s_transact.status);
		break;
	case MSG_S_CLIENT_VERSION:
		note_answer(s, "version:%" PRIu64, m->client_version.client_version);
		break;
	case MSG_S_ALLOC:
		note_answer(s, "alloc:%" PRIu64, m->s_alloc.file_ident);
		break;
	case MSG_S_TEST_COMMAND:
		note_answer(s, "test:%.*s", (int)body.len, (const char *)body.ptr);
		break;
	case MSG_S_STATE:
		receive_state(s, &m->state, body);
		break;
	case MSG_S_ERROR:
	case MSG_S_JSON_ERROR:
		receive_error(s, m, body);
		break;
	case MSG_S_QUERY_ERROR:
		if (m->query_error.query_version - 1 < SESSION_QUERIES)
			s->query_errors |= (uint64_t)1 << (m->query_error.query_version - 1);
		break;
	case MSG_S_LOG_MESSAGE:
		s->log_messages++;
		break;
	default:
		break;
	}
}

/* A bootstrap belongs to a query that was asked since the active one, or to that; the steady state to the active one. */
static enum rules_verdict
check_query(const struct session *s, const struct msg_download *d, char *why)
{
	if (d->query_version == s->query_active || (d->query_version > s->query_active && d->query_version <= s->query_newest && d->batch_state != 2))
		return RULES_OK;
	snprintf(why, RULES_WHY_MAX, "C6: DOWNLOAD of query %" PRIu64 ", batch_state %" PRIu64 "; active %" PRIu64 ", asked %" PRIu64,
		 d->query_version, d->batch_state, s->query_active, s->query_newest);
	return RULES_BROKEN;
}

bool
session_receive(struct session *s, const struct message *m, struct view body)
{
	char why[RULES_WHY_MAX];
	uint8_t *owned = NULL;
	enum rules_verdict verdict = RULES_OK;

	sync_rules(s);
	if (m->type == MSG_S_DOWNLOAD)
		verdict = client_rules_inflate(m, body, &body, &owned, why);
	if (verdict == RULES_OK)
		verdict = client_rules_check(&s->rules, m, body, why);
	if (verdict == RULES_OK && m->type == MSG_S_DOWNLOAD && m->flavour == MSG_FLX)
		verdict = check_query(s, &m->download, why);
	if (verdict == RULES_OK) {
		client_rules_apply(&s->rules, m);
		carry_out(s, m, body);
		session_pump(s);
	} else if (verdict == RULES_BROKEN) {
		world_violation(s->world, s->dev.name, why);
	}
	free(owned);
	return verdict != RULES_BROKEN;
}

/* ---- commands ---- */

void
session_mark(struct session *s)
{
	s->mark_target++;
	session_pump(s);
}

bool
session_query(struct session *s)
{
	if (s->query_newest == SESSION_QUERIES)
		return false;
	s->query_place[++s->query_newest] = client_file_newest(&s->dev.file);
	conn_pump(s->conn);
	return true;
}

void
session_ask(struct session *s, struct message *m, const void *body, size_t len)
{
	m->session_ident = s->ident;
	s->rules.asked[m->type]++;
	if (m->type == MSG_C_STATE_REQUEST)
		s->rules.state_next = m->state_request.offset;
	conn_send(s->conn, s, m, body, len);
}

void
session_write(struct session *s, enum device_write kind, uint64_t n, size_t size)
{
	for (uint64_t i = 0; i < n; i++)
		device_write(&s->dev, kind, size);
	conn_pump(s->conn);
}
