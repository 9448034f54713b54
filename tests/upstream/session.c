/* Sessions of the stand-in upstream: BIND to UNBOUND, uploads in, downloads out; see session.h.
 *
 * For: conn.c, which hands in parsed messages.  Never: merges.  Every uploaded changeset becomes one server version as it is and
 * goes out unchanged, so clients that write to the same objects do not converge by it; the real server transforms them first.
 * Never shares code with relay/.
 *
 * The one idea: a session is a reader of its path's array of changes.  session_push() sends from where the session stands to the
 * end, stepping over what its own client made (that only moves the client version), then answers MARK.  It is called after
 * anything that may let it go on, and does nothing when there is nothing to do.  Uploads only append and mark the path dirty;
 * all its sessions are pushed once at the end of the pass, so that many uploads cost few DOWNLOADs.
 *
 * Codes are the reference server's; where it has forgotten a message of the older protocol, they are that protocol's. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zlib.h>

#include "protocol/zbody.h"

#include "tests/upstream/session.h"

enum {
	OTHER_ERROR = 101,
	BAD_SYNTAX = 103,
	LIMITS_EXCEEDED = 104,
	BAD_SESSION_IDENT = 106,
	REUSE_OF_SESSION_IDENT = 107,
	BOUND_IN_OTHER_SESSION = 108,
	BAD_MESSAGE_ORDER = 109,
	TOKEN_EXPIRED = 202,
	ILLEGAL_PATH = 204,
	BAD_FILE_IDENT = 208,
	DIVERGING = 211,
	UNSUPPORTED_FEATURE = 214,
	INVALID_SCHEMA_CHANGE = 225,
	COMPENSATING_WRITE = 231,
};

#define UPLOAD_MAX (64u << 20) /* bytes inflated: far above the 16 MB a client sends, so a longer one is a fault */
#define DEFLATE_LEVEL 1	       /* speed: hundreds of clients may get the same history */

/* A growing buffer for DOWNLOAD bodies; one for all, used within one call. */
static struct {
	uint8_t *ptr;
	size_t len, cap;
} body_buf;

static void
body_add(const void *data, size_t len)
{
	if (body_buf.cap - body_buf.len < len) {
		body_buf.cap = body_buf.cap * 2 > body_buf.len + len ? body_buf.cap * 2 : body_buf.len + len;
		body_buf.ptr = realloc(body_buf.ptr, body_buf.cap);
		if (body_buf.ptr == NULL)
			abort();
	}
	if (len > 0)
		memcpy(body_buf.ptr + body_buf.len, data, len);
	body_buf.len += len;
}

/* ---- life ---- */

static struct session *
find(struct conn *c, uint64_t ident)
{
	struct session *s;

	for (s = c->sessions; s != NULL && s->ident != ident; s = s->next)
		;
	return s;
}

/* Takes s off its path and file: nothing more is sent to it but a last word. */
static void
detach(struct session *s)
{
	if (s->file != NULL) {
		s->file->session = NULL;
		s->file = NULL;
		if (s->path_prev != NULL)
			s->path_prev->path_next = s->path_next;
		else
			s->path->sessions = s->path_next;
		if (s->path_next != NULL)
			s->path_next->path_prev = s->path_prev;
	}
	s->path = NULL;
}

static void
discard(struct session *s)
{
	struct session **at = &s->conn->sessions;

	detach(s);
	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	s->conn->srv->nsessions--;
	free(s);
}

void
session_end_all(struct conn *c)
{
	while (c->sessions != NULL)
		discard(c->sessions);
}

static void
send_simple(struct session *s, struct message m, const void *body, size_t len)
{
	m.flavour = MSG_PBS;
	m.session_ident = s->ident;
	conn_send(s->conn, &m, body, len, ORDERS_NO_CUT);
}

/* ---- refusals ---- */

/* Sends a session level ERROR: from here on only UNBIND counts, but for the one code that is a mere warning. */
static void
fail(struct session *s, unsigned code, const char *text)
{
	struct server *srv = s->conn->srv;

	server_event(srv, "error %" PRIu64 " %" PRIu64 " %u %s", s->conn->id, s->ident, code, text);
	srv->nerrors++;
	if (code != COMPENSATING_WRITE) {
		detach(s);
		s->failed = true;
	}
	send_simple(s, (struct message){ .type = MSG_S_ERROR, .error = { .error_code = code, .size = strlen(text) } }, text, strlen(text));
}

/* The client broke a rule. */
static void
violated(struct session *s, unsigned code, const char *text)
{
	server_violation(s->conn->srv, "%s ident %" PRIu64 ": %u %s", s->path != NULL ? s->path->name : "-",
			 s->file != NULL ? s->file->ident : 0, code, text);
	if (code >= 200)
		fail(s, code, text);
	else
		conn_error(s->conn, code, text);
}

static void
fail_json(struct session *s, const struct refusal *r)
{
	char json[400];
	int len;

	len = snprintf(json, sizeof json,
		       "{\"message\":\"ordered\",\"logURL\":\"\",\"shouldClientReset\":%s,\"tryAgain\":%s,\"action\":\"%s\","
		       "\"isRecoveryModeDisabled\":false}",
		       strncmp(r->action, "ClientReset", 11) == 0 ? "true" : "false", strcmp(r->action, "Transient") == 0 ? "true" : "false",
		       r->action);
	if (r->code < 200) {
		conn_json_error(s->conn, r->code, json);
		return;
	}
	server_event(s->conn->srv, "error %" PRIu64 " %" PRIu64 " %u ordered %s", s->conn->id, s->ident, r->code, r->action);
	s->conn->srv->nerrors++;
	if (r->code != COMPENSATING_WRITE) {
		detach(s);
		s->failed = true;
	}
	send_simple(s, (struct message){ .type = MSG_S_JSON_ERROR, .json_error = { .error_code = r->code, .size = (size_t)len } }, json,
		    (size_t)len);
}

/* Was an error ordered for this message?  Sends it; true: the message is not to be handled. */
static bool
ordered_refusal(struct session *s, enum msg_type when, const char *path)
{
	const struct refusal *r = orders_refusal(&s->conn->srv->orders, when, path);

	if (r == NULL)
		return false;
	if (r->json)
		fail_json(s, r);
	else if (r->code < 200)
		conn_error(s->conn, r->code, "ordered");
	else
		fail(s, r->code, "ordered");
	return r->code != COMPENSATING_WRITE;
}

/* ---- BIND, IDENT ---- */

static void
on_bind(struct conn *c, const struct message *m, struct view body)
{
	struct view name = { body.ptr, (size_t)m->bind.path_size };
	struct view token = { body.ptr + m->bind.path_size, (size_t)m->bind.token_size };
	char text[MSG_PATH_MAX + 1];
	struct session *s;
	struct file *f;

	snprintf(text, sizeof text, "%.*s", (int)name.len, (const char *)name.ptr);
	if (find(c, m->session_ident) != NULL) {
		server_violation(c->srv, "%s: %u session ident %" PRIu64 " is in use", text, REUSE_OF_SESSION_IDENT, m->session_ident);
		conn_error(c, REUSE_OF_SESSION_IDENT, "session ident is in use");
		return;
	}
	s = calloc(1, sizeof *s);
	if (s == NULL)
		abort();
	s->conn = c;
	s->ident = m->session_ident;
	s->subserver = m->bind.is_subserver != 0;
	s->next = c->sessions;
	c->sessions = s;
	c->srv->nsessions++;
	server_event(c->srv, "bind %" PRIu64 " %" PRIu64 " %s", c->id, s->ident, text);
	if (ordered_refusal(s, MSG_C_BIND, text))
		return;
	if (c->flavour == MSG_FLX) {
		name = view_of("/flx"); /* the path is a JSON object: one file for all */
		if (sscanf(text, "{\"schemaVersion\":%" SCNu64 ",\"sessionReason\":", &s->schema) != 1) {
			violated(s, ILLEGAL_PATH, "BIND states no schema version");
			return;
		}
	}
	if (!rules_path(name)) {
		violated(s, ILLEGAL_PATH, "Illegal server path");
		return;
	}
	if (token.len > 0 && !orders_token_allowed(&c->srv->orders, token)) {
		fail(s, TOKEN_EXPIRED, "token is denied");
		return;
	}
	s->path = history_path(&c->srv->history, name, true);
	if (m->bind.need_client_file_ident == 0)
		return;
	f = history_add_file(&c->srv->history, s->path, s->subserver, 0);
	f->schema = s->schema;
	f->has_schema = true;
	send_simple(s, (struct message){ .type = MSG_S_IDENT, .s_ident = { f->ident, f->salt } }, NULL, 0);
}

/* S2.  Returns false when this connection had to be ended. */
static bool
supersede(struct session *s, struct file *f)
{
	struct conn *other;

	if (f->session == NULL)
		return true;
	other = f->session->conn;
	if (other == s->conn) {
		violated(s, BOUND_IN_OTHER_SESSION, "S2 file ident is bound in another session of this connection");
		return false;
	}
	s->conn->srv->nsuperseded++;
	server_event(s->conn->srv, "superseded %" PRIu64 " %s %" PRIu64, other->id, s->path->name, f->ident);
	conn_cut(other);
	return true;
}

/* A file keeps the schema version that it was made with: clients here do not change theirs. */
static bool
schema_known(struct session *s, const struct file *f)
{
	if (!f->has_schema || f->schema == s->schema)
		return true;
	violated(s, INVALID_SCHEMA_CHANGE, "BIND states another schema version than that of the file");
	return false;
}

/* The query of an IDENT must be one whose bootstrap was sent to its end, word for word; 0 is the empty one. */
static bool
query_known(struct session *s, const struct file *f, const struct msg_c_ident *m, struct view query)
{
	bool same = m->query_version == f->query_version && (uint32_t)crc32_z(0, query.ptr, query.len) == f->query_crc;

	if (m->query_version == 0 || m->query_version < f->query_version || same)
		return true;
	violated(s, BAD_SYNTAX, "IDENT with a query that was not bootstrapped");
	return false;
}

static void
note_place(struct file *f, uint64_t query_version)
{
	size_t len = strlen(f->query_places);

	if (len > sizeof f->query_places - 45)
		len = 0;
	snprintf(f->query_places + len, sizeof f->query_places - len, "%s%" PRIu64 "@%" PRIu64, len > 0 ? "," : "", query_version,
		 f->nchanges);
}

static void
on_query(struct session *s, const struct msg_query *m, struct view query)
{
	s->conn->srv->nqueries++;
	if (m->query_version <= s->query_version) {
		violated(s, BAD_SYNTAX, "query_version does not rise");
		return;
	}
	if (s->conn->srv->orders.query_errors > 0) {
		s->conn->srv->orders.query_errors--;
		send_simple(s, (struct message){ .type = MSG_S_QUERY_ERROR, .query_error = { 300, 7, m->query_version } }, "ordered", 7);
		return;
	}
	s->query_version = m->query_version;
	s->query_crc = (uint32_t)crc32_z(0, query.ptr, query.len);
	s->boot_sent = 0;
	s->boot_left = s->conn->srv->orders.bootstrap;
	note_place(s->file, m->query_version);
	session_push(s);
}

static void
on_ident(struct session *s, const struct message *m, struct view query)
{
	struct verdict v;
	struct file *f;
	char text[80];

	if (s->file != NULL) {
		violated(s, BAD_MESSAGE_ORDER, "second IDENT");
		return;
	}
	if (ordered_refusal(s, MSG_C_IDENT, s->path->name))
		return;
	rules_ident(s->path, &m->c_ident, s->subserver, &f, &v);
	if (v.code != 0) {
		violated(s, v.code, v.text);
		return;
	}
	if (!schema_known(s, f) || !query_known(s, f, &m->c_ident, query) || !supersede(s, f))
		return;
	s->query_version = m->c_ident.query_version;
	s->query_crc = (uint32_t)crc32_z(0, query.ptr, query.len);
	s->file = f;
	f->session = s;
	s->path_next = s->path->sessions;
	if (s->path_next != NULL)
		s->path_next->path_prev = s;
	s->path->sessions = s;
	s->up.threshold = f->progress;
	s->up.locked_version = f->locked_version;
	s->up.downloaded = m->c_ident.scan_server_version;
	s->download = (struct cursor){ m->c_ident.scan_client_version, m->c_ident.scan_server_version };
	server_event(s->conn->srv, "ident %" PRIu64 " %" PRIu64 " %s %" PRIu64, s->conn->id, s->ident, s->path->name, f->ident);
	session_push(s);
	snprintf(text, sizeof text, "Session %" PRIu64 " bound to client file ident %" PRIu64, s->ident, f->ident);
	conn_log(s->conn, s->ident, "debug", text);
}

/* ---- UPLOAD ---- */

/* Makes a server version of each entry above what the file already has.  Returns how many. */
static uint64_t
integrate(struct session *s, const struct msg_upload *m, struct view body)
{
	struct server *srv = s->conn->srv;
	struct file *f = s->file;
	struct upload_entry e;
	const struct change *made;
	uint64_t n = 0;

	while (upload_entry_next(&body, &e) == PROTO_OK) {
		if (e.client_version <= s->up.threshold.client_version) /* S5 */
			continue;
		made = history_append(&srv->history, s->path,
				      (struct change){ .client_version = e.client_version,
						       .base_version = e.server_version,
						       .origin_timestamp = e.origin_timestamp,
						       .origin = e.origin_file_ident != 0 ? e.origin_file_ident : f->ident,
						       .via = f->ident,
						       .changeset = (uint8_t *)(uintptr_t)e.changeset.ptr,
						       .len = e.changeset.len });
		if (srv->dump != NULL)
			server_dump_change(srv->dump, s->path, made);
		n++;
	}
	s->up.progress = (struct cursor){ m->progress_client_version, m->progress_server_version };
	if (s->up.progress.client_version > s->up.threshold.client_version)
		f->progress = s->up.progress;
	f->locked_version = s->up.locked_version = m->locked_server_version;
	if (n > 0)
		server_dirty(srv, s->path);
	return n;
}

/* Inflates the body of an UPLOAD if it must be.  Returns false when the connection was ended.  The caller frees *to_free. */
static bool
inflate_upload(struct session *s, const struct msg_upload *m, struct view *body, uint8_t **to_free)
{
	*to_free = NULL;
	if (m->is_compressed == 0)
		return true;
	if (m->uncompressed_size > UPLOAD_MAX || !zbody_plausible(body->len, m->uncompressed_size)) {
		violated(s, LIMITS_EXCEEDED, "UPLOAD claims an impossible size");
		return false;
	}
	*to_free = malloc((size_t)m->uncompressed_size + 1);
	if (*to_free == NULL)
		abort();
	if (zbody_inflate(body->ptr, body->len, *to_free, (size_t)m->uncompressed_size) != PROTO_OK) {
		free(*to_free);
		*to_free = NULL;
		violated(s, OTHER_ERROR, "UPLOAD does not inflate");
		return false;
	}
	*body = (struct view){ *to_free, (size_t)m->uncompressed_size };
	return true;
}

static void
on_upload(struct session *s, const struct message *m, struct view body)
{
	struct server *srv = s->conn->srv;
	struct verdict v;
	uint8_t *to_free;
	uint64_t n;

	if (ordered_refusal(s, MSG_C_UPLOAD, s->path->name) || !inflate_upload(s, &m->upload, &body, &to_free))
		return;
	rules_upload(s->path, s->file, &s->up, &m->upload, body, &v);
	if (v.code != 0) {
		free(to_free);
		violated(s, v.code, v.text);
		return;
	}
	n = integrate(s, &m->upload, body);
	free(to_free);
	srv->nuploads++;
	server_event(srv, "upload %" PRIu64 " %" PRIu64 " %s %" PRIu64 " entries=%" PRIu64 " progress=%" PRIu64, s->conn->id, s->ident,
		     s->path->name, s->file->ident, n, m->upload.progress_client_version);
	if (n > 0 && srv->orders.cut_after_upload) {
		srv->orders.cut_after_upload = false;
		conn_cut(s->conn);
	}
}

/* ---- DOWNLOAD, MARK ---- */

/* Collects in body_buf what comes next for s and moves its cursor.  Returns the number of entries. */
static unsigned
collect(struct session *s)
{
	const struct path *p = s->path;
	size_t soft = s->conn->srv->batch, sum = 0;
	struct download_entry e;
	const struct change *c;
	char head[MSG_ENTRY_HEAD_MAX];
	unsigned n = 0;

	body_buf.len = 0;
	while (s->download.server_version < p->nchanges && sum <= soft) {
		c = &p->change[s->download.server_version++];
		if (c->via == s->file->ident) {
			s->download.client_version = c->client_version;
			continue;
		}
		if (c->len == 0)
			continue;
		e = (struct download_entry){ .server_version = s->download.server_version,
					     .client_version = s->download.client_version,
					     .origin_timestamp = c->origin_timestamp,
					     .origin_file_ident = c->origin,
					     .original_size = c->len,
					     .changeset = { c->changeset, c->len } };
		body_add(head, download_entry_format(&e, head));
		body_add(c->changeset, c->len);
		sum += c->len;
		n++;
	}
	return n;
}

static void
note_bootstrap(struct session *s)
{
	if (s->boot_left == 0)
		return;
	s->boot_sent++;
	if (--s->boot_left > 0)
		return;
	s->file->query_version = s->query_version;
	s->file->query_crc = s->query_crc;
}

/* Sends the next DOWNLOAD: up to the soft limit, or to the end of the history. */
static void
send_download(struct session *s)
{
	struct server *srv = s->conn->srv;
	const struct path *p = s->path;
	unsigned n = collect(s);
	struct message m = { .type = MSG_S_DOWNLOAD, .flavour = s->conn->flavour, .session_ident = s->ident };
	struct msg_download *d = &m.download;
	const uint8_t *body = body_buf.ptr;
	uint8_t *packed = NULL;
	size_t len = body_buf.len, packed_len, cut = ORDERS_NO_CUT;

	d->download_server_version = s->download.server_version;
	d->download_client_version = s->download.client_version;
	d->latest_server_version = p->nchanges;
	d->latest_server_version_salt = history_version_salt(p, p->nchanges);
	d->upload_client_version = s->file->progress.client_version;
	d->upload_server_version = s->file->progress.server_version;
	if (s->download.server_version > 0)
		d->downloadable_bytes = p->change[p->nchanges - 1].bytes - p->change[s->download.server_version - 1].bytes;
	d->query_version = s->query_version;
	d->batch_state = s->boot_left == 0 ? 2 : s->boot_left == 1;
	d->progress_estimate = view_of("1.0");
	d->uncompressed_size = len;
	if (len > ZBODY_MIN && (packed = malloc(len)) != NULL &&
	    zbody_deflate(DEFLATE_LEVEL, body, len, packed, len - 1, &packed_len) == PROTO_OK) {
		d->is_compressed = 1;
		d->compressed_size = len = packed_len;
		body = packed;
	}
	if (n > 0 && srv->orders.cut_download != ORDERS_NO_CUT) {
		cut = srv->orders.cut_download;
		srv->orders.cut_download = ORDERS_NO_CUT;
	}
	s->up.downloaded = s->download.server_version;
	s->told = d->upload_client_version;
	s->downloaded = true;
	note_bootstrap(s);
	conn_send(s->conn, &m, body, len, cut);
	free(packed);
}

void
session_push(struct session *s)
{
	const struct orders *o = &s->conn->srv->orders;

	if (s->unbinding && !o->no_unbound) {
		send_simple(s, (struct message){ .type = MSG_S_UNBOUND }, NULL, 0);
		discard(s);
		return;
	}
	while (s->file != NULL && !s->conn->closing) {
		if (!conn_room(s->conn))
			return;
		if (s->boot_left > 0 && o->stop_bootstrap != 0 && s->boot_sent == o->stop_bootstrap)
			return;
		if (s->download.server_version < s->path->nchanges || !s->downloaded || s->boot_left > 0) {
			if (o->hold_acks && s->downloaded && s->file->progress.client_version > s->told)
				return;
			send_download(s);
		} else if (s->mark != 0 && !o->hold_marks) {
			send_simple(s, (struct message){ .type = MSG_S_MARK, .s_mark = { s->mark } }, NULL, 0);
			s->mark = 0;
		} else {
			return;
		}
	}
}

/* ---- the rest ---- */

static void
on_unbind(struct session *s)
{
	server_event(s->conn->srv, "unbind %" PRIu64 " %" PRIu64, s->conn->id, s->ident);
	if (s->failed) {
		discard(s); /* the ERROR was the last word */
		return;
	}
	detach(s);
	s->unbinding = true;
	session_push(s);
}

/* Any time between BIND and UNBIND. */
static void
on_client_version_request(struct session *s, const struct msg_client_version_request *m)
{
	const struct file *f = history_file(s->path, m->file_ident);

	if (f == NULL)
		violated(s, BAD_FILE_IDENT, "CLIENT_VERSION_REQUEST: file ident was never issued");
	else if (f->salt != m->file_ident_salt)
		violated(s, DIVERGING, "CLIENT_VERSION_REQUEST: file ident has another salt");
	else
		send_simple(s, (struct message){ .type = MSG_S_CLIENT_VERSION, .client_version = { f->progress.client_version } }, NULL, 0);
}

static void
on_alloc(struct session *s)
{
	const struct file *f;

	if (!s->subserver) {
		violated(s, UNSUPPORTED_FEATURE, "ALLOC from a client that is no subserver");
		return;
	}
	f = history_add_file(&s->conn->srv->history, s->path, false, s->file->ident);
	send_simple(s, (struct message){ .type = MSG_S_ALLOC, .s_alloc = { f->ident } }, NULL, 0);
}

void
session_state_segment(const struct path *p, uint64_t n, uint8_t *buf)
{
	uint64_t seed = (p->state_version + 1) * 2654435761 + n;

	for (size_t i = 0; i < p->state_size; i++, seed = seed * 6364136223846793005 + 1442695040888963407)
		buf[i] = (uint8_t)(seed >> 56);
}

/* From where the client stands, if it has the beginning of this very file; else from its beginning. */
static void
on_state_request(struct session *s, const struct msg_state_request *m)
{
	const struct path *p = s->path;
	struct orders *o = &s->conn->srv->orders;
	uint64_t salt = history_version_salt(p, p->state_version), n = 0;
	uint8_t *buf;

	server_event(s->conn->srv, "state_request %" PRIu64 " %" PRIu64 " offset=%" PRIu64, s->conn->id, s->ident, m->offset);
	if (p->state_segments == 0) {
		fail(s, UNSUPPORTED_FEATURE, "no state file here");
		return;
	}
	if (m->partial_version == p->state_version && m->partial_salt == salt && m->offset % p->state_size == 0)
		n = m->offset / p->state_size;
	if ((buf = malloc((size_t)p->state_size)) == NULL)
		abort();
	for (size_t sent = 0; n < p->state_segments && !s->conn->closing; n++, sent++) {
		if (sent == o->stop_state) {
			o->stop_state = ORDERS_NO_CUT;
			break;
		}
		session_state_segment(p, n, buf);
		send_simple(s, (struct message){ .type = MSG_S_STATE, .state = { p->state_version, salt, n * p->state_size, (n + 1) * p->state_size,
						 p->state_segments * p->state_size, p->state_size } },
			    buf, (size_t)p->state_size);
	}
	free(buf);
}

/* Messages that are legal only after IDENT. */
static void
identified_message(struct session *s, const struct message *m, struct view body)
{
	if (s->file == NULL) {
		violated(s, BAD_MESSAGE_ORDER, "message before IDENT");
		return;
	}
	switch (m->type) {
	case MSG_C_UPLOAD:
		on_upload(s, m, body);
		break;
	case MSG_C_QUERY:
		on_query(s, &m->query, body);
		break;
	case MSG_C_MARK:
		s->mark = m->c_mark.request_ident;
		session_push(s);
		break;
	case MSG_C_TRANSACT:
		s->conn->srv->ntransacts++;
		server_event(s->conn->srv, "transact %" PRIu64 " %" PRIu64 " size=%zu", s->conn->id, s->ident, body.len);
		send_simple(s, (struct message){ .type = MSG_S_TRANSACT, .s_transact = { .status = s->conn->srv->orders.transact_status } },
			    NULL, 0);
		break;
	default:
		on_alloc(s);
		break;
	}
}

static void
bound_message(struct session *s, const struct message *m, struct view body)
{
	switch (m->type) {
	case MSG_C_IDENT:
		on_ident(s, m, body);
		break;
	case MSG_C_CLIENT_VERSION_REQUEST:
		on_client_version_request(s, &m->client_version_request);
		break;
	case MSG_C_REFRESH:
		s->conn->srv->nrefreshes++;
		server_event(s->conn->srv, "refresh %" PRIu64 " %" PRIu64 " size=%zu", s->conn->id, s->ident, body.len);
		if (!orders_token_allowed(&s->conn->srv->orders, body))
			fail(s, TOKEN_EXPIRED, "token is denied");
		break;
	case MSG_C_STATE_REQUEST:
		on_state_request(s, &m->state_request);
		break;
	case MSG_C_JSON_ERROR:
		s->conn->srv->nclient_errors++;
		server_event(s->conn->srv, "json_error %" PRIu64 " %" PRIu64 " %" PRIu64, s->conn->id, s->ident, m->json_error.error_code);
		break;
	case MSG_C_TEST_COMMAND: /* says it back */
		send_simple(s, (struct message){ .type = MSG_S_TEST_COMMAND, .test_command = m->test_command }, body.ptr, body.len);
		break;
	default:
		identified_message(s, m, body);
		break;
	}
}

void
session_message(struct conn *c, const struct message *m, struct view body)
{
	struct session *s;

	if (m->type == MSG_C_BIND) {
		on_bind(c, m, body);
		return;
	}
	s = find(c, m->session_ident);
	if (s == NULL) {
		server_violation(c->srv, "conn %" PRIu64 ": %u %s for unknown session %" PRIu64, c->id, BAD_SESSION_IDENT, msg_name(m->type),
				 m->session_ident);
		conn_error(c, BAD_SESSION_IDENT, "unknown session ident");
	} else if (s->unbinding) {
		violated(s, BAD_MESSAGE_ORDER, "message after UNBIND");
	} else if (m->type == MSG_C_UNBIND) {
		on_unbind(s);
	} else if (!s->failed) {
		bound_message(s, m, body);
	}
}
