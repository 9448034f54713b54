/* The rules S1-S8 that the stand-in upstream enforces, one row each: what a client does, and the error it must get.
 *
 * Every row has a path of its own on which another client (ident 2) made server versions 1-10; ours is ident 3 and has downloaded
 * them, so progress and locked server versions up to 10 are allowed.  Steps, of which only the last may be refused:
 *
 *	up P S L [c,s[,o]...]	UPLOAD: progress client version, progress server version, locked server version, entries
 *	back			a new connection, BIND without asking for an ident
 *	sub			the same as a subserver
 *	ident DI DS SS SC LV DL	IDENT: ident and salt with these added, scan server, scan client, latest version, its salt with this added
 *	rest			IDENT as it should be
 *	bind2			the same file in a second session of the connection
 *	send HEAD|BODY		as it stands */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tests/harness.h"
#include "tests/peer/upkit.h"
#include "tests/peer/wsio.h"

#define STEPS_MAX 6

struct rule {
	const char *name;
	unsigned code; /* 0: allowed */
	const char *step[STEPS_MAX];
};

static const struct rule rules[] = {
	{ "S1 as it should be", 0, { "back", "ident 0 0 10 0 10 0" } },
	{ "S1 from the start", 0, { "back", "ident 0 0 0 0 0 -1" } },
	{ "S1 ident not issued", 208, { "back", "ident 1 0 10 0 10 0" } },
	{ "S1 ident 0", 208, { "back", "ident -3 0 10 0 10 0" } },
	{ "S1 ident of the server", 211, { "back", "ident -2 0 10 0 10 0" } },
	{ "S1 other salt", 211, { "back", "ident 0 1 10 0 10 0" } },
	{ "S1 latest above history", 209, { "back", "ident 0 0 10 0 11 0" } },
	{ "S1 scan above history", 209, { "back", "ident 0 0 11 0 10 0" } },
	{ "S1 latest below scan", 209, { "back", "ident 0 0 10 0 9 0" } },
	{ "S1 other version salt", 211, { "back", "ident 0 0 10 0 10 1" } },
	{ "S1 scan client above integrated", 210, { "back", "ident 0 0 10 1 10 0" } },
	{ "S1 scan at the base", 0, { "up 5 4 0 2,4", "back", "ident 0 0 4 0 10 0" } },
	{ "S1 scan below the base", 209, { "up 5 4 0 2,4", "back", "ident 0 0 3 0 10 0" } },
	{ "S1 base moved by progress alone", 209, { "up 5 4 0", "back", "ident 0 0 3 0 10 0" } },
	{ "S1 other client type", 208, { "sub", "ident 0 0 10 0 10 0" } },
	{ "S1 second IDENT", 109, { "send ident 1 3 1 0 0 0 0|" } },
	{ "S2 same connection", 108, { "bind2" } },
	{ "S3 progress falls", 210, { "up 5 0 0", "up 4 0 0" } },
	{ "S3 progress stays", 0, { "up 5 0 0", "up 5 0 0" } },
	{ "S3 progress server not downloaded", 209, { "up 5 11 0" } },
	{ "S3 progress server downloaded", 0, { "up 5 10 10" } },
	{ "S3 progress server not downloaded in this session", 209, { "back", "ident 0 0 10 0 10 0", "up 5 11 0" } },
	{ "S3 locked not downloaded", 209, { "up 5 10 11" } },
	{ "S3 locked falls", 209, { "up 5 10 5", "up 6 10 4" } },
	{ "S3 locked falls over sessions", 209, { "up 5 10 5", "back", "rest", "up 6 10 4" } },
	{ "S4 entries", 0, { "up 5 3 0 2,0 3,0 5,3", "up 9 3 0 6,3 9,3" } },
	{ "S4 entry repeats", 210, { "up 5 0 0 3,0 3,0" } },
	{ "S4 entry falls", 210, { "up 5 0 0 3,0 2,0" } },
	{ "S4 entry of client version 0", 210, { "up 5 0 0 0,0" } },
	{ "S4 entry at earlier entry", 210, { "up 5 0 0 5,0", "up 6 0 0 5,0" } },
	{ "S4 entry below earlier progress", 210, { "up 5 0 0", "up 7 0 0 4,0" } },
	{ "S4 entry at earlier progress", 210, { "up 5 0 0", "up 7 0 0 5,0" } },
	{ "S4 last entry above progress", 210, { "up 2 0 0 3,0" } },
	{ "S4 server version falls", 209, { "up 5 3 0 2,3 3,2" } },
	{ "S4 server version falls over UPLOADs", 209, { "up 5 3 0 5,3", "up 6 3 0 6,2" } },
	{ "S4 progress server falls", 209, { "up 5 3 0", "up 6 2 0" } },
	{ "S4 equal client, other server version", 209, { "up 5 3 0 5,2" } },
	{ "S4 same progress, other server version", 209, { "up 5 3 0", "up 5 4 0" } },
	{ "S4 progress of client version 0", 209, { "up 0 3 0" } },
	{ "S4 progress against threshold", 209, { "up 5 3 0", "back", "rest", "up 6 2 0" } },
	{ "S4 entry against threshold", 209, { "up 5 3 0", "back", "rest", "up 6 4 0 4,4" } },
	{ "S4 foreign origin", 216, { "up 5 0 0 2,0,2" } },
	{ "S5 all sent again", 0, { "up 5 3 0 2,0 5,3", "back", "rest", "up 5 3 0 2,0 5,3" } },
	{ "S5 sent again and more", 0, { "up 5 3 0 2,0 5,3", "back", "rest", "up 7 3 0 2,0 5,3 7,3" } },
	{ "S5 progress below threshold", 0, { "up 5 3 0 2,0 5,3", "back", "rest", "up 3 2 0 2,0" } },
	{ "S7 empty segment", 204, { "send bind 2 5 0 1 0|/a//b" } },
	{ "S7 hidden segment", 204, { "send bind 2 5 0 1 0|/a/.b" } },
	{ "S7 clash with a file name", 204, { "send bind 2 8 0 1 0|/a.realm" } },
	{ "S7 other characters", 204, { "send bind 2 4 0 1 0|/a b" } },
	{ "S7 quotes", 0, { "send bind 2 6 0 1 0|/a/\"b\"" } },
	{ "order: UPLOAD before IDENT", 109, { "back", "up 5 0 0" } },
	{ "order: MARK before IDENT", 109, { "back", "send mark 1 1|" } },
	{ "order: unknown session", 106, { "send mark 2 1|" } },
	{ "order: session ident in use", 107, { "send bind 1 2 0 0 0|/x" } },
	{ "order: UNBIND twice", 106, { "send unbind 1|", "send unbind 1|" } },
	{ "syntax: unknown name", 103, { "send nonsense 1|" } },
	{ "syntax: field missing", 103, { "send mark 1|" } },
	{ "syntax: leftover bytes", 103, { "send mark 1 3|x" } },
	{ "syntax: entry", 103, { "send upload 1 0 3 0 5 0 0|2 0" } },
	{ "syntax: not zlib", 101, { "send upload 1 1 20 10 5 0 0|0123456789" } },
	{ "limits: impossible size", 104, { "send upload 1 1 9999999999 10 5 0 0|0123456789" } },
	{ "old: TRANSACT", 0, { "send transact 1 5 0 3|abc" } },
	{ "old: ALLOC", 214, { "send alloc 1|" } },
	{ "old: STATE_REQUEST", 214, { "send state_request 1 0 0 0 0 0 0 0 0|" } },
};

static struct {
	struct upkit kit;
	struct rawclient client;
	struct upfile file, start; /* start: as it was before the steps */
	bool open;
} t;

static void
hang_up(void)
{
	if (t.open)
		rawclient_close(&t.client);
	t.open = false;
}

static void
step_back(const char *bind)
{
	struct upfile f = t.start;
	char head[100];

	hang_up();
	t.open = true;
	if (bind == NULL) {
		upkit_bind(&t.kit, &t.client, &f);
		return;
	}
	rawclient_open(&t.client, t.kit.base, t.kit.port, "/", "com.mongodb.realm-sync#14", NULL);
	snprintf(head, sizeof head, bind, strlen(f.path));
	rawclient_send(&t.client, head, f.path, strlen(f.path));
}

static void
step_ident(const char *args, unsigned session)
{
	int64_t di, ds, dl, ss, sc, lv;
	char head[200];

	sscanf(args, "%" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64, &di, &ds, &ss, &sc, &lv, &dl);
	snprintf(head, sizeof head, "ident %u %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64, session,
		 (int64_t)t.start.ident + di, (int64_t)t.start.salt + ds, ss, sc, lv,
		 dl < 0 ? 0 : (int64_t)t.start.progress.latest_server_version_salt + dl);
	rawclient_send(&t.client, head, NULL, 0);
}

static void
step(const char *s)
{
	char head[200];
	const char *bar;

	if (strncmp(s, "up ", 3) == 0) {
		upkit_upload(&t.client, s + 3);
	} else if (strcmp(s, "back") == 0) {
		step_back(NULL);
	} else if (strcmp(s, "sub") == 0) {
		step_back("bind 1 %zu 0 0 1");
	} else if (strcmp(s, "bind2") == 0) {
		snprintf(head, sizeof head, "bind 2 %zu 0 0 0", strlen(t.start.path));
		rawclient_send(&t.client, head, t.start.path, strlen(t.start.path));
		step_ident("0 0 10 0 10 0", 2);
	} else if (strncmp(s, "ident ", 6) == 0) {
		step_ident(s + 6, 1);
	} else if (strcmp(s, "rest") == 0) {
		upkit_ident(&t.client, &t.start);
	} else if (strncmp(s, "send ", 5) == 0) {
		bar = strchr(s, '|');
		snprintf(head, sizeof head, "%.*s", (int)(bar - s - 5), s + 5);
		rawclient_send(&t.client, head, bar + 1, strlen(bar + 1));
	} else {
		harness_fail(__FILE__, __LINE__, "unknown step \"%s\"", s);
	}
}

static void
check_rule(const struct rule *r, unsigned n)
{
	const char *violations;
	unsigned i, code;

	memset(&t.file, 0, sizeof t.file);
	snprintf(t.file.path, sizeof t.file.path, "/case/%02u", n);
	child_ask(t.kit.up, "inject %s 10 20", t.file.path);
	child_ask(t.kit.up, "violations forget");
	t.open = true;
	CHECK(upkit_join(&t.kit, &t.client, &t.file));
	CHECK_U64(t.file.nentries, 10);
	CHECK_U64(t.file.progress.download_server_version, 10);
	t.start = t.file;
	for (i = 0; i < STEPS_MAX && r->step[i] != NULL; i++) {
		step(r->step[i]);
		code = upkit_code(&t.client, &t.file);
		if (code != (i + 1 == STEPS_MAX || r->step[i + 1] == NULL ? r->code : 0))
			harness_fail(__FILE__, __LINE__, "%s: step \"%s\": got %u, want %u", r->name, r->step[i], code, r->code);
	}
	if (r->code != 0 && r->code < 200)
		CHECK(rawclient_wait_closed(&t.client));
	violations = child_ask(t.kit.up, "violations");
	/* STATE_REQUEST is legal, only not to be had here */
	if (violations == NULL || (strcmp(violations, "ok 0") == 0) != (r->code == 0 || strstr(r->name, "STATE") != NULL))
		harness_fail(__FILE__, __LINE__, "%s: violations: %s", r->name, violations != NULL ? violations : "no answer");
	hang_up();
}

TEST(upstream_rules)
{
	static const char *const args[] = { NULL };
	unsigned i;

	CHECK(upkit_start(&t.kit, args));
	for (i = 0; i < sizeof rules / sizeof rules[0] && !harness_failed(); i++)
		check_rule(&rules[i], i);
	hang_up();
	CHECK(upkit_stop(&t.kit));
}

/* S2: another connection with the same ident ends the whole first one, silently, with all its sessions. */
TEST(upstream_zombie)
{
	static const char *const args[] = { NULL };
	struct upfile a = { .path = "/a" }, b = { .path = "/b" };
	struct rawclient first, second;
	const struct raw_message *r;
	char head[100];

	CHECK(upkit_start(&t.kit, args));
	CHECK(upkit_join(&t.kit, &first, &a));
	rawclient_send(&first, "bind 2 2 0 1 0", "/b", 2);
	CHECK_U64(upkit_code(&first, NULL), 0);
	CHECK_U64(upkit_number(&t.kit, "sessions", "status"), 2);
	CHECK(upkit_join(&t.kit, &second, &a));
	CHECK(rawclient_wait_closed(&first));
	while ((r = rawclient_next(&first, 0)) != NULL)
		CHECK(r->m.type != MSG_S_ERROR && r->m.type != MSG_S_UNBOUND);
	CHECK_U64(upkit_number(&t.kit, "sessions", "status"), 1);
	CHECK_U64(upkit_number(&t.kit, "superseded", "status"), 1);
	rawclient_close(&first);
	rawclient_close(&second);

	/* a session that was unbound is not in the way */
	CHECK(upkit_join(&t.kit, &first, &b));
	rawclient_send(&first, "unbind 1", NULL, 0);
	CHECK_U64(upkit_code(&first, NULL), 0);
	snprintf(head, sizeof head, "bind 1 2 0 0 0");
	rawclient_send(&first, head, "/b", 2);
	upkit_ident(&first, &b);
	CHECK_U64(upkit_code(&first, NULL), 0);
	CHECK_U64(upkit_number(&t.kit, "superseded", "status"), 1);
	rawclient_close(&first);
	CHECK(upkit_stop(&t.kit));
}

/* S5: what was integrated is not integrated again, and what is new is; the first DOWNLOAD of a session (S6) says how far. */
TEST(upstream_resend)
{
	static const char *const args[] = { NULL };
	struct upfile f = { .path = "/a" };
	struct rawclient c;

	CHECK(upkit_start(&t.kit, args));
	CHECK(upkit_join(&t.kit, &c, &f));
	upkit_upload(&c, "5 0 0 2,0 4,0");
	CHECK(upkit_mark(&c, &f, 2));
	CHECK_U64(f.progress.upload_client_version, 5);
	CHECK_U64(f.progress.download_server_version, 2);
	CHECK_U64(f.progress.download_client_version, 4);
	rawclient_close(&c);
	CHECK(upkit_join(&t.kit, &c, &f));
	CHECK_U64(f.progress.upload_client_version, 5);
	upkit_upload(&c, "9 0 0 2,0 4,0 5,0 8,0");
	CHECK(upkit_mark(&c, &f, 2));
	CHECK_U64(f.progress.upload_client_version, 9);
	CHECK_U64(upkit_number(&t.kit, "entries", "file /a 2"), 3);
	CHECK_U64(upkit_number(&t.kit, "last", "file /a 2"), 8);
	CHECK_U64(upkit_number(&t.kit, "progress", "file /a 2"), 9);
	CHECK_U64(upkit_number(&t.kit, "versions", "history /a"), 3);
	CHECK_STR(child_ask(t.kit.up, "order"), "ok 3");
	CHECK_STR(child_ask(t.kit.up, "files /a"), "ok 2");
	rawclient_close(&c);
	CHECK(upkit_stop(&t.kit));
}

/* After a session ERROR everything but UNBIND is ignored, and that is not answered. */
TEST(upstream_after_error)
{
	static const char *const args[] = { NULL };
	struct upfile f = { .path = "/a" };
	struct rawclient c;
	const struct raw_message *r;

	CHECK(upkit_start(&t.kit, args));
	CHECK(upkit_join(&t.kit, &c, &f));
	upkit_upload(&c, "2 0 0 3,0");
	CHECK_U64(upkit_code(&c, NULL), 210);
	rawclient_send(&c, "mark 1 2", NULL, 0);
	rawclient_send(&c, "unbind 1", NULL, 0);
	rawclient_send(&c, "ping 7 0", NULL, 0);
	r = rawclient_next(&c, 5000);
	CHECK(r != NULL && r->m.type == MSG_S_PONG && r->m.pong.timestamp == 7);
	CHECK_U64(upkit_number(&t.kit, "sessions", "status"), 0);
	rawclient_close(&c);
	CHECK(upkit_stop(&t.kit));
}

/* The reference server takes a WebSocket ping for a sync message and chokes on it: the only ping it knows is the protocol's. */
TEST(upstream_websocket_ping)
{
	static const char *const args[] = { NULL };
	struct upfile f = { .path = "/a" };
	struct rawclient c;

	CHECK(upkit_start(&t.kit, args));
	CHECK(upkit_join(&t.kit, &c, &f));
	wsio_ping(c.w);
	CHECK(rawclient_wait_closed(&c));
	CHECK(strstr(child_ask(t.kit.up, "violations"), "WebSocket ping") != NULL);
	rawclient_close(&c);
	CHECK(upkit_stop(&t.kit));
}

/* S8 */
TEST(upstream_ping_limit)
{
	static const char *const args[] = { NULL };
	struct upfile f = { .path = "/a" };
	struct rawclient c;

	CHECK(upkit_start(&t.kit, args));
	CHECK(upkit_join(&t.kit, &c, &f));
	child_ask(t.kit.up, "limit ping 1");
	CHECK(rawclient_wait_closed(&c));
	CHECK(strstr(child_ask(t.kit.up, "violations"), "S8") != NULL);
	rawclient_close(&c);
	CHECK(upkit_stop(&t.kit));
}
