/* The test client's rules and its model of a client file against all recorded traffic (../shared/data/traces).
 *
 * Every message of the server goes to client_rules, which must accept it; every IDENT of the real client must state exactly the
 * cursors that the rules have stored by then; and every UPLOAD of the real client must be the very one that client_file builds.
 *
 * For the last, the file is rebuilt: the versions that appear as entries are local writes, and the gaps between them must be
 * filled by what else makes a version - IDENT and each DOWNLOAD, in the order received. So a first reading of the trace collects
 * both per device, and the second one checks. An UPLOAD with progress_client_version P shows what the client had at version P;
 * the model is extended up to there and asked for its UPLOAD. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/zbody.h"

#include "tests/harness.h"
#include "tests/peer/client_file.h"
#include "tests/peer/client_rules.h"
#include "tests/peer/trace.h"

#define DEVICES_MAX 16
#define SESSIONS_MAX 32
#define VERSIONS_MAX 2048

struct arrival { /* an IDENT or DOWNLOAD as the device got it */
	bool is_ident;
	struct client_progress p;
	uint64_t last_entry;
};

struct write { /* a local write, as uploaded */
	uint64_t timestamp;
	uint8_t *changeset;
	size_t len;
};

struct device {
	char path[64];
	uint64_t ident, salt;
	struct arrival arrival[VERSIONS_MAX];
	size_t narrival, next_arrival;
	struct write write[VERSIONS_MAX]; /* by client version */
	struct client_file file;
	struct client_cursor cursor;
	struct client_progress stored; /* after every message so far */
	uint64_t newest;	       /* the newest version an UPLOAD has shown */
};

struct session {
	unsigned conn;
	uint64_t ident;
	char path[64];
	struct device *device;
	struct client_rules rules;
};

struct replay {
	const char *name; /* of the trace, for messages */
	struct trace *trace;
	bool checking; /* the second reading */
	struct device *device[DEVICES_MAX];
	size_t ndevice;
	struct session session[SESSIONS_MAX];
	size_t nsession;
	size_t nchecked_idents, nchecked_uploads, nchecked_entries;
};

static void
fail_at(struct replay *r, const char *what)
{
	char where[160];

	snprintf(where, sizeof where, "%s:%u: %s", r->name, trace_line(r->trace), what);
	CHECK_STR(where, "");
}

static struct session *
session_of(struct replay *r, unsigned conn, uint64_t ident)
{
	for (size_t i = r->nsession; i-- > 0;)
		if (r->session[i].conn == conn && r->session[i].ident == ident)
			return &r->session[i];
	return NULL;
}

static struct device *
device_of(struct replay *r, const char *path, uint64_t ident, uint64_t salt)
{
	struct device *d;

	for (size_t i = 0; i < r->ndevice; i++)
		if (r->device[i]->ident == ident && strcmp(r->device[i]->path, path) == 0)
			return r->device[i];
	if (r->ndevice == DEVICES_MAX || (d = calloc(1, sizeof *d)) == NULL)
		abort();
	strcpy(d->path, path);
	d->ident = ident;
	d->salt = salt;
	client_file_init(&d->file);
	return r->device[r->ndevice++] = d;
}

static void
arrived(struct replay *r, struct device *d, bool is_ident, const struct message *m, uint64_t last_entry)
{
	struct client_progress none = { 0 };

	if (r->checking)
		return;
	if (d->narrival == VERSIONS_MAX)
		abort();
	d->arrival[d->narrival++] = (struct arrival){ is_ident, is_ident ? none : client_rules_progress(m), last_entry };
}

/* Makes the versions up to v. */
static void
extend(struct device *d, uint64_t v)
{
	for (uint64_t next; (next = client_file_newest(&d->file) + 1) <= v;) {
		const struct arrival *a = &d->arrival[d->next_arrival];

		if (d->write[next].changeset != NULL) {
			client_file_write(&d->file, d->write[next].changeset, d->write[next].len, d->write[next].timestamp);
			d->write[next].changeset = NULL;
			continue;
		}
		CHECK(d->next_arrival < d->narrival);
		d->next_arrival++;
		if (a->is_ident) {
			client_file_ident(&d->file, d->ident, d->salt);
			continue;
		}
		client_file_download(&d->file, &a->p, a->last_entry);
		if (a->p.upload_client > d->cursor.client)
			d->cursor = (struct client_cursor){ a->p.upload_client, a->p.upload_server };
	}
}

/* Body of an UPLOAD, inflated if need be; malloc'd. */
static uint8_t *
plain_body(const struct msg_upload *u, const uint8_t *body, size_t len)
{
	uint8_t *out = malloc(u->uncompressed_size + 1);

	if (out == NULL)
		abort();
	if (u->is_compressed) {
		if (zbody_inflate(body, len, out, u->uncompressed_size) != PROTO_OK)
			memset(out, 0, u->uncompressed_size);
	} else {
		memcpy(out, body, u->uncompressed_size);
	}
	return out;
}

static void
collect_writes(struct device *d, const uint8_t *body, size_t len)
{
	struct view rest = { body, len };
	struct upload_entry e;
	struct write *w;

	while (upload_entry_next(&rest, &e) == PROTO_OK) {
		CHECK(e.client_version < VERSIONS_MAX);
		w = &d->write[e.client_version];
		if (w->changeset != NULL) { /* uploaded again after a cut */
			CHECK_MEM(w->changeset, w->len, e.changeset.ptr, e.changeset.len);
			continue;
		}
		*w = (struct write){ e.origin_timestamp, malloc(e.changeset.len + 1), e.changeset.len };
		memcpy(w->changeset, e.changeset.ptr, e.changeset.len);
	}
}

static void
check_upload(struct replay *r, struct device *d, const struct msg_upload *u, const uint8_t *body)
{
	struct client_upload up;
	uint8_t *own;

	extend(d, u->progress_client_version);
	if (!client_file_next_upload(&d->file, &d->cursor, UINT64_MAX, &up)) {
		fail_at(r, "the model would send no UPLOAD here");
		return;
	}
	own = plain_body(&up.head, up.body, up.len);
	if (up.head.progress_client_version != u->progress_client_version ||
	    up.head.progress_server_version != u->progress_server_version ||
	    up.head.locked_server_version != u->locked_server_version || up.head.is_compressed != u->is_compressed)
		fail_at(r, "the model's UPLOAD has another head");
	else if (up.head.uncompressed_size != u->uncompressed_size || memcmp(own, body, u->uncompressed_size) != 0)
		fail_at(r, "the model's UPLOAD has other entries");
	r->nchecked_uploads++;
	r->nchecked_entries += up.nentry;
	free(own);
	free(up.body);
}

static void
client_ident(struct replay *r, struct session *s, const struct msg_c_ident *id)
{
	const struct client_progress *p;

	s->device = device_of(r, s->path, id->file_ident, id->file_ident_salt);
	p = &s->device->stored;
	s->rules.ident_sent = true;
	s->rules.file_ident = id->file_ident;
	s->rules.cur = *p;
	if (!r->checking)
		return;
	if (id->scan_server_version != p->download_server || id->scan_client_version != p->download_client ||
	    id->latest_server_version != p->latest || id->latest_server_version_salt != p->latest_salt)
		fail_at(r, "IDENT states other cursors than were stored");
	s->device->cursor = (struct client_cursor){ p->upload_client, p->upload_server };
	r->nchecked_idents++;
}

static void
from_client(struct replay *r, unsigned conn, const struct message *m, struct view body)
{
	struct session *s = session_of(r, conn, m->session_ident);
	uint8_t *plain;

	if (m->type == MSG_C_PING)
		return;
	if (m->type == MSG_C_BIND) {
		CHECK(r->nsession < SESSIONS_MAX);
		s = &r->session[r->nsession++];
		*s = (struct session){ .conn = conn, .ident = m->session_ident };
		snprintf(s->path, sizeof s->path, "%.*s", (int)m->bind.path_size, (const char *)body.ptr);
		client_rules_bind(&s->rules, m->bind.need_client_file_ident);
		return;
	}
	CHECK(s != NULL);
	if (m->type == MSG_C_IDENT) {
		client_ident(r, s, &m->c_ident);
	} else if (m->type == MSG_C_MARK) {
		s->rules.mark_sent = m->c_mark.request_ident;
	} else if (m->type == MSG_C_UNBIND) {
		s->rules.unbind_sent = true;
	} else if (m->type == MSG_C_UPLOAD) {
		plain = plain_body(&m->upload, body.ptr, body.len);
		if (r->checking)
			check_upload(r, s->device, &m->upload, plain);
		else
			collect_writes(s->device, plain, m->upload.uncompressed_size);
		s->device->newest = m->upload.progress_client_version;
		free(plain);
	}
}

static uint64_t
last_server_version(struct view entries)
{
	struct download_entry e = { 0 };

	while (download_entry_next(&entries, &e) == PROTO_OK)
		;
	return e.server_version;
}

static void
from_server(struct replay *r, unsigned conn, const struct message *m, struct view body)
{
	struct session *s = session_of(r, conn, m->session_ident);
	struct view entries = body;
	char why[RULES_WHY_MAX] = "";
	uint8_t *owned = NULL;
	enum rules_verdict verdict;

	if (s == NULL) {
		if (client_rules_check_conn(m, why) == RULES_BROKEN)
			fail_at(r, why);
		return;
	}
	if (s->device != NULL)
		s->rules.newest = s->device->newest;
	verdict = m->type == MSG_S_DOWNLOAD ? client_rules_inflate(m, body, &entries, &owned, why) : RULES_OK;
	if (verdict == RULES_OK)
		verdict = client_rules_check(&s->rules, m, entries, why);
	if (verdict == RULES_BROKEN)
		fail_at(r, why);
	if (verdict == RULES_OK) {
		client_rules_apply(&s->rules, m);
		if (m->type == MSG_S_IDENT)
			arrived(r, device_of(r, s->path, m->s_ident.file_ident, m->s_ident.file_ident_salt), true, m, 0);
		if (m->type == MSG_S_DOWNLOAD) {
			arrived(r, s->device, false, m, last_server_version(entries));
			s->device->stored = s->rules.cur;
		}
	}
	free(owned);
}

static void
read_trace(struct replay *r, const char *path)
{
	struct trace_event ev;
	struct message m;
	struct view body;
	int got;

	r->trace = trace_open(path);
	CHECK(r->trace != NULL);
	r->nsession = 0;
	while ((got = trace_next(r->trace, &ev)) == 1 && !harness_failed()) {
		if (ev.kind != TRACE_MESSAGE)
			continue;
		if (msg_parse(ev.from_client ? MSG_C2S : MSG_S2C, MSG_PBS, ev.message.ptr, ev.message.len, &m, &body) != PROTO_OK)
			fail_at(r, "message refused");
		else if (ev.from_client)
			from_client(r, ev.conn, &m, body);
		else
			from_server(r, ev.conn, &m, body);
	}
	trace_close(r->trace);
	CHECK(got != -1);
}

static void
restart(struct device *d)
{
	d->stored = (struct client_progress){ 0 };
	d->newest = 0;
}

static void
check_trace(const char *path, struct replay *r)
{
	r->name = strrchr(path, '/') + 1;
	read_trace(r, path);
	r->checking = true;
	for (size_t i = 0; i < r->ndevice; i++)
		restart(r->device[i]);
	if (!harness_failed())
		read_trace(r, path);
	for (size_t i = 0; i < r->ndevice; i++) {
		for (size_t v = 0; v < VERSIONS_MAX; v++)
			free(r->device[i]->write[v].changeset);
		client_file_free(&r->device[i]->file);
		free(r->device[i]);
	}
	r->ndevice = 0;
}

TEST(client_traces)
{
	const char *shared = harness_shared();
	size_t idents = 0, uploads = 0, entries = 0;
	glob_t files;

	if (trace_files(shared, &files) == 0) {
		globfree(&files);
		SKIP("no traces beside the repository");
	}
	for (size_t i = 0; i < files.gl_pathc && !harness_failed(); i++) {
		struct replay *r = calloc(1, sizeof *r);

		if (r == NULL)
			abort();
		check_trace(files.gl_pathv[i], r);
		idents += r->nchecked_idents;
		uploads += r->nchecked_uploads;
		entries += r->nchecked_entries;
		free(r);
	}
	globfree(&files);
	if (harness_failed())
		return;
	printf("# %zu IDENTs, %zu UPLOADs with %zu entries as the real client sent them\n", idents, uploads, entries);
	CHECK(idents >= 15 && uploads >= 100 && entries >= 100);
}
