/* The stand-in upstream against all recorded traffic (../shared/data/traces): the client's side of a trace is sent to it, and what
 * it answers must be what the real server answered.
 *
 * Events are taken in the order of the recording: a client's message is sent, a server's message must come.  What differs by right:
 *  - Salts are random.  Each value of the trace stands for one of ours, found when it first appears, the same ever after; IDENTs
 *    of the client are rewritten with it.
 *  - The real server acknowledges several UPLOADs with one DOWNLOAD when it is busy.  Here the test waits for the acknowledgement of
 *    each before it sends on, so every state the real server told of is told here too; further DOWNLOADs without entries are
 *    passed over.
 *  - LOG_MESSAGEs come when the real server has time; they are compared among themselves.
 *  - The text of an ERROR is free.
 *  - The upstream does not merge.  Where the real server did (MERGED below), changesets it emptied are missing in its DOWNLOADs, and
 *    sizes and timestamps differ; the entries it did send must be there with the same versions and origin.
 * In "reset" the real server was restarted empty before the second connection; so is ours. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "protocol/zbody.h"

#include "tests/harness.h"
#include "tests/peer/child.h"
#include "tests/peer/rawclient.h"
#include "tests/peer/trace.h"

#define WAIT_MS 5000
#define SALTS_MAX 256
#define LOGS_MAX 16

static const char *const merged[] = { "conflict.jsonl" };

static struct {
	struct event_base *base;
	struct child *up;
	unsigned port;
	struct rawclient client;
	bool open;	 /* client is in use */
	uint64_t uploads; /* sent to this upstream */
	bool not_merged; /* entries are to be equal in all */
	const char *file;
	unsigned line;
	struct {
		uint64_t theirs, ours;
	} salt[SALTS_MAX];
	unsigned nsalts;
	struct {
		char want[LOGS_MAX][64], got[LOGS_MAX][64];
		unsigned nwant, ngot;
	} logs; /* heads of LOG_MESSAGE of this connection */
} t;

static unsigned nheads, nentries;

#define FAIL(...) harness_fail(t.file, (int)t.line, __VA_ARGS__)

/* ---- salts ---- */

/* Our salt in the place of theirs. */
static uint64_t
our_salt(uint64_t theirs)
{
	unsigned i;

	for (i = 0; i < t.nsalts; i++)
		if (t.salt[i].theirs == theirs)
			return t.salt[i].ours;
	return 0;
}

/* Two salts in the same place.  Does ours fit theirs? */
static bool
same_salt(uint64_t theirs, uint64_t ours)
{
	if (theirs == 0 || ours == 0)
		return theirs == ours;
	if (our_salt(theirs) != 0)
		return our_salt(theirs) == ours;
	if (t.nsalts == SALTS_MAX)
		return false;
	t.salt[t.nsalts].theirs = theirs;
	t.salt[t.nsalts++].ours = ours;
	return true;
}

/* ---- comparing ---- */

static bool
is_log(const struct message *m)
{
	return m->type == MSG_S_LOG_MESSAGE;
}

static void
note_log(char list[LOGS_MAX][64], unsigned *n, struct view head)
{
	if (*n < LOGS_MAX)
		snprintf(list[(*n)++], 64, "%.*s", (int)head.len, (const char *)head.ptr);
}

static int
compare_text(const void *a, const void *b)
{
	return strcmp(a, b);
}

static void
compare_logs(void)
{
	unsigned i;

	if (t.logs.nwant != t.logs.ngot) {
		FAIL("got %u log messages, want %u", t.logs.ngot, t.logs.nwant);
		return;
	}
	qsort(t.logs.want, t.logs.nwant, sizeof t.logs.want[0], compare_text);
	qsort(t.logs.got, t.logs.ngot, sizeof t.logs.got[0], compare_text);
	for (i = 0; i < t.logs.nwant; i++)
		CHECK_STR(t.logs.got[i], t.logs.want[i]);
}

/* The entries of a DOWNLOAD, inflated into memory that the caller frees. */
static struct view
entries_of(const struct message *m, struct view body, uint8_t **to_free)
{
	size_t len = (size_t)m->download.uncompressed_size;

	*to_free = NULL;
	if (m->download.is_compressed == 0)
		return body;
	*to_free = malloc(len + 1);
	if (zbody_inflate(body.ptr, body.len, *to_free, len) != PROTO_OK)
		FAIL("DOWNLOAD does not inflate");
	return (struct view){ *to_free, len };
}

static void
compare_entries(const struct message *wm, struct view wbody, const struct message *gm, struct view gbody)
{
	struct download_entry want, got;
	uint8_t *free_want, *free_got;
	struct view w = entries_of(wm, wbody, &free_want), g = entries_of(gm, gbody, &free_got);

	while (download_entry_next(&w, &want) == PROTO_OK) {
		do {
			if (download_entry_next(&g, &got) != PROTO_OK) {
				FAIL("entry of server version %" PRIu64 " is missing", want.server_version);
				goto out;
			}
		} while (!t.not_merged && got.server_version < want.server_version);
		if (got.server_version != want.server_version || got.client_version != want.client_version ||
		    got.origin_file_ident != want.origin_file_ident ||
		    (t.not_merged && (got.origin_timestamp != want.origin_timestamp || got.changeset.len != want.changeset.len)))
			FAIL("got entry %" PRIu64 " %" PRIu64 " from %" PRIu64 ", want %" PRIu64 " %" PRIu64 " from %" PRIu64, got.server_version,
			     got.client_version, got.origin_file_ident, want.server_version, want.client_version, want.origin_file_ident);
		nentries++;
	}
	if (t.not_merged && g.len > 0)
		FAIL("%zu bytes of entries too many", g.len);
out:
	free(free_want);
	free(free_got);
}

static bool
same_cursors(const struct msg_download *w, const struct msg_download *g)
{
	return w->download_server_version == g->download_server_version && w->download_client_version == g->download_client_version &&
	       w->latest_server_version == g->latest_server_version &&
	       same_salt(w->latest_server_version_salt, g->latest_server_version_salt) &&
	       w->upload_client_version == g->upload_client_version && w->upload_server_version == g->upload_server_version &&
	       (!t.not_merged || (w->downloadable_bytes == g->downloadable_bytes && w->uncompressed_size == g->uncompressed_size &&
				  w->is_compressed == g->is_compressed));
}

/* Is the received r what the trace has (w)? */
static bool
same_message(struct view whead, const struct message *w, const struct raw_message *r)
{
	if (r->bad || r->m.type != w->type || r->m.session_ident != w->session_ident)
		return false;
	switch (w->type) {
	case MSG_S_IDENT:
		return w->s_ident.file_ident == r->m.s_ident.file_ident &&
		       same_salt(w->s_ident.file_ident_salt, r->m.s_ident.file_ident_salt);
	case MSG_S_DOWNLOAD:
		return same_cursors(&w->download, &r->m.download);
	case MSG_S_ERROR:
		return w->error.error_code == r->m.error.error_code && w->error.try_again == r->m.error.try_again;
	default:
		return view_eq(whead, r->head);
	}
}

/* A DOWNLOAD that only acknowledges. */
static bool
is_ack(const struct raw_message *r)
{
	return r->m.type == MSG_S_DOWNLOAD && r->m.download.uncompressed_size == 0;
}

/* ---- the events of a trace ---- */

/* The server's message must come, acknowledgements before it passed over. */
static void
expect(const struct trace_event *ev)
{
	const struct raw_message *r;
	struct message want;
	struct view body;

	if (msg_parse(MSG_S2C, MSG_PBS, ev->message.ptr, ev->message.len, &want, &body) != PROTO_OK) {
		FAIL("message of the trace does not parse");
		return;
	}
	if (is_log(&want)) {
		note_log(t.logs.want, &t.logs.nwant, ev->head);
		return;
	}
	while ((r = rawclient_next(&t.client, WAIT_MS)) != NULL) {
		if (is_log(&r->m)) {
			note_log(t.logs.got, &t.logs.ngot, r->head);
		} else if (same_message(ev->head, &want, r)) {
			nheads++;
			if (want.type == MSG_S_DOWNLOAD)
				compare_entries(&want, body, &r->m, r->body);
			return;
		} else if (!is_ack(r)) {
			break;
		}
	}
	FAIL("got \"%.*s\", want \"%.*s\"", r != NULL ? (int)r->head.len : 7, r != NULL ? (const char *)r->head.ptr : "nothing",
	     (int)ev->head.len, (const char *)ev->head.ptr);
}

/* Waits until the upstream has dealt with all UPLOADs that were sent. */
static void
settle(void)
{
	const char *at;
	unsigned i;

	for (i = 0; i < WAIT_MS; i++) {
		event_base_loop(t.base, EVLOOP_NONBLOCK);
		at = child_ask(t.up, "status");
		at = at != NULL ? strstr(at, "uploads=") : NULL;
		if (at != NULL && strtoull(at + strlen("uploads="), NULL, 10) >= t.uploads)
			return;
		usleep(1000);
	}
	FAIL("UPLOAD was not dealt with");
}

/* Sends a message of the client, with our salts. */
static void
say(const struct trace_event *ev)
{
	struct message m;
	struct view body;
	char head[MSG_HEAD_MAX + 1];

	if (msg_parse(MSG_C2S, MSG_PBS, ev->message.ptr, ev->message.len, &m, &body) != PROTO_OK) {
		FAIL("message of the trace does not parse");
		return;
	}
	if (m.type == MSG_C_IDENT) {
		m.c_ident.file_ident_salt = our_salt(m.c_ident.file_ident_salt);
		m.c_ident.latest_server_version_salt = our_salt(m.c_ident.latest_server_version_salt);
	}
	head[msg_format_head(&m, head) - 1] = '\0';
	rawclient_send(&t.client, head, body.ptr, body.len);
	if (m.type == MSG_C_UPLOAD) {
		t.uploads++;
		settle();
	}
}

/* The subprotocol of an HTTP head of the trace: offers of a request, or the choice of an answer. */
static void
subprotocol_of(struct view text, char *out, size_t size)
{
	static const char name[] = "Sec-WebSocket-Protocol: ";
	const char *at = memmem(text.ptr, text.len, name, sizeof name - 1), *end;

	out[0] = '\0';
	if (at == NULL)
		return;
	at += sizeof name - 1;
	end = memchr(at, '\r', (size_t)((const char *)text.ptr + text.len - at));
	if (end != NULL)
		snprintf(out, size, "%.*s", (int)(end - at), at);
}

static void
on_http(const struct trace_event *ev)
{
	char protocol[2048];

	subprotocol_of(ev->text, protocol, sizeof protocol);
	if (!ev->from_client) {
		CHECK_U64(t.client.status, 101);
		CHECK_STR(t.client.protocol, protocol);
		return;
	}
	if (t.open) {
		FAIL("a second connection at a time");
		return;
	}
	if (ev->conn > 1 && strcmp(t.file, "reset.jsonl") == 0)
		child_ask(t.up, "reset");
	memset(&t.logs, 0, sizeof t.logs);
	rawclient_open(&t.client, t.base, t.port, "/realm-sync?baas_at=x", protocol, NULL);
	t.open = true;
}

/* The end of a connection: nothing may be left over but an UNBOUND, for which some clients of the trace did not stay.  What was
 * said is all here when the PONG comes. */
static void
hang_up(void)
{
	const struct raw_message *r;

	rawclient_send(&t.client, "ping 1 1", NULL, 0);
	while ((r = rawclient_next(&t.client, WAIT_MS)) != NULL && r->m.type != MSG_S_PONG) {
		if (is_log(&r->m))
			note_log(t.logs.got, &t.logs.ngot, r->head);
		else if (!is_ack(r) && r->m.type != MSG_S_UNBOUND)
			FAIL("got \"%.*s\", want nothing more", (int)r->head.len, (const char *)r->head.ptr);
	}
	if (r == NULL)
		FAIL("got no PONG");
	rawclient_close(&t.client);
	t.open = false;
	compare_logs();
}

static void
play(struct trace *tr)
{
	struct trace_event ev;
	int rc = 0;

	while (!harness_failed() && (rc = trace_next(tr, &ev)) == 1) {
		t.line = trace_line(tr);
		if (ev.kind == TRACE_HTTP)
			on_http(&ev);
		else if (ev.kind == TRACE_MESSAGE && ev.from_client)
			say(&ev);
		else if (ev.kind == TRACE_MESSAGE)
			expect(&ev);
		else if (!ev.from_client)
			hang_up();
	}
	if (rc < 0)
		FAIL("line of the trace is malformed");
}

static void
check_file(const char *path)
{
	static const char *const args[] = { NULL };
	struct trace *tr = trace_open(path);
	const char *line, *violations;
	size_t i;

	memset(&t, 0, sizeof t);
	t.file = strrchr(path, '/') + 1;
	t.not_merged = true;
	for (i = 0; i < sizeof merged / sizeof merged[0]; i++)
		if (strcmp(t.file, merged[i]) == 0)
			t.not_merged = false;
	t.up = child_start("upstream", args);
	CHECK(tr != NULL && t.up != NULL);
	line = child_line(t.up);
	CHECK(line != NULL && sscanf(line, "port %u", &t.port) == 1);
	child_ask(t.up, "limit batch 16777216"); /* as the real server: 16 MiB, and a first download is not cut at all */
	t.base = event_base_new();
	play(tr);
	if (t.open)
		rawclient_close(&t.client);
	violations = child_ask(t.up, "violations");
	if (violations == NULL || (strcmp(violations, "ok 0") != 0 && strcmp(t.file, "badpath.jsonl") != 0 && strcmp(t.file, "reset.jsonl") != 0))
		FAIL("violations: %s", violations != NULL ? violations : "no answer");
	if (!child_stop(t.up))
		FAIL("upstream did not end well");
	event_base_free(t.base);
	trace_close(tr);
}

TEST(upstream_traces)
{
	glob_t files;
	size_t i, n = trace_files(harness_shared(), &files);

	for (i = 0; i < n && !harness_failed(); i++)
		check_file(files.gl_pathv[i]);
	globfree(&files);
	if (n == 0)
		SKIP("no traces beside the repository");
	printf("# %zu traces, %u heads, %u entries\n", n, nheads, nentries);
	CHECK(nheads > 0 && nentries > 0);
}
