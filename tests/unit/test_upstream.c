/* The stand-in upstream as a program: that it distributes changes, obeys every command, and copes with volume.
 * The rules it enforces are in test_upstream_rules.c, the recorded traffic in test_upstream_traces.c. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <event2/event.h>

#include "tests/harness.h"
#include "tests/peer/cert.h"
#include "tests/peer/upkit.h"

#define QUIET_MS 150 /* how long nothing has to come, where nothing may come */

static const char *const no_args[] = { NULL };
static struct upkit k;

/* Begins a test: an upstream and one client on /a that has everything. */
static bool
begin(struct rawclient *c, struct upfile *f)
{
	*f = (struct upfile){ .path = "/a" };
	return upkit_start(&k, no_args) && upkit_join(&k, c, f);
}

static void
end(struct rawclient *c)
{
	rawclient_close(c);
	CHECK_STR(child_ask(k.up, "violations"), "ok 0");
	CHECK(upkit_stop(&k));
}

static bool
ask_ok(const char *command)
{
	const char *answer = child_ask(k.up, "%s", command);

	return answer != NULL && strncmp(answer, "ok", 2) == 0;
}

/* Sends all that is queued and takes what is there, until the upstream has dealt with n UPLOADs in all. */
static bool
uploads_reach(uint64_t n)
{
	time_t limit = time(NULL) + 10;

	while (upkit_number(&k, "uploads", "status") < n) {
		event_base_loop(k.base, EVLOOP_NONBLOCK);
		if (time(NULL) > limit)
			return false;
	}
	return true;
}

TEST(upstream_distributes)
{
	struct upfile a, b = { .path = "/a" }, other = { .path = "/other" };
	struct rawclient ca, cb, co;

	CHECK(begin(&ca, &a));
	CHECK(upkit_join(&k, &cb, &b));
	CHECK(upkit_join(&k, &co, &other));
	CHECK_U64(a.ident, 2);
	CHECK_U64(b.ident, 3);
	CHECK_U64(other.ident, 2);
	upkit_upload(&ca, "5 0 0 2,0 3,0");
	CHECK(upkit_mark(&ca, &a, 2));
	CHECK(upkit_mark(&cb, &b, 2));
	CHECK(upkit_mark(&co, &other, 2));
	CHECK_U64(a.nentries, 0);
	CHECK_U64(b.nentries, 2);
	CHECK_U64(b.entry_bytes, strlen("change 2") + strlen("change 3"));
	CHECK_U64(other.nentries, 0);
	upkit_upload(&cb, "4 2 2 4,2");
	CHECK(upkit_mark(&cb, &b, 3));
	CHECK(upkit_mark(&ca, &a, 3));
	CHECK_U64(a.nentries, 1);
	CHECK_U64(a.progress.download_server_version, 3);
	CHECK_U64(a.progress.download_client_version, 3);
	CHECK_U64(b.progress.download_client_version, 4);
	CHECK_U64(b.progress.upload_server_version, 2);
	rawclient_close(&cb);
	rawclient_close(&co);
	end(&ca);
}

TEST(upstream_versions)
{
	static const char *const args[] = { "--versions", "3-9", NULL };
	static const struct {
		const char *offer, *want;
		unsigned status;
	} table[] = {
		{ "com.mongodb.realm-sync#14, com.mongodb.realm-sync#9, com.mongodb.realm-sync#8", "com.mongodb.realm-sync#9", 101 },
		{ "com.mongodb.realm-sync#4-8", "com.mongodb.realm-sync#8", 101 },
		{ "com.mongodb.realm-sync#2-20", "com.mongodb.realm-sync#9", 101 },
		{ "com.mongodb.realm-sync/5", "com.mongodb.realm-sync/5", 101 },
		{ "com.mongodb.realm-sync#14", "", 400 },
		{ "com.mongodb.realm-sync/2", "", 400 },
		{ "com.mongodb.realm-query-sync#9", "com.mongodb.realm-query-sync#9", 101 },
		{ "com.mongodb.realm-query-sync#14", "", 400 },
	};
	struct rawclient c;
	size_t i;

	CHECK(upkit_start(&k, args));
	for (i = 0; i < sizeof table / sizeof table[0]; i++) {
		rawclient_open(&c, k.base, k.port, "/realm-sync", table[i].offer, NULL);
		CHECK_U64(c.status, table[i].status);
		CHECK_STR(c.protocol, table[i].want);
		CHECK(rawclient_next(&c, table[i].status == 101 && i == 0 ? QUIET_MS : 0) == NULL); /* no LOG_MESSAGE before 10 */
		rawclient_close(&c);
	}
	CHECK(upkit_stop(&k));
}

TEST(upstream_tls)
{
	struct cert_files files;
	struct upfile f = { .path = "/a" };
	struct rawclient c;

	CHECK(cert_make(harness_tmpdir(), "up", &files));
	CHECK(upkit_start(&k, (const char *const[]){ "--tls", files.cert, files.key, NULL }));
	k.ca = files.ca;
	CHECK(ask_ok("inject /a 3 1000000"));
	CHECK(upkit_join(&k, &c, &f));
	CHECK_U64(f.entry_bytes, 3000000);
	end(&c);
}

TEST(upstream_upgrade_orders)
{
	static const struct {
		const char *order;
		unsigned status;
	} table[] = {
		{ "http 503 Retry-After: 7", 503 },
		{ "http 301 Location: http://x/", 301 },
		{ "http off", 101 },
		{ "token deny t", 401 },
		{ "token allow t", 101 },
		{ "token deny *", 101 },
		{ "token allow other", 101 },
	};
	struct rawclient c;
	size_t i;

	CHECK(upkit_start(&k, no_args));
	for (i = 0; i < sizeof table / sizeof table[0]; i++) {
		CHECK(ask_ok(table[i].order));
		rawclient_open(&c, k.base, k.port, "/realm-sync?baas_at=t", "com.mongodb.realm-sync#14", NULL);
		CHECK_U64(c.status, table[i].status);
		rawclient_close(&c);
	}
	rawclient_open(&c, k.base, k.port, "/realm-sync?baas_at=unknown", "com.mongodb.realm-sync#14", NULL);
	CHECK_U64(c.status, 401);
	rawclient_close(&c);
	CHECK(!ask_ok("http 700"));
	CHECK(!ask_ok("token forbid x"));
	CHECK(!ask_ok("nonsense"));
	CHECK(!ask_ok("stall perhaps"));
	CHECK(upkit_stop(&k));
}

TEST(upstream_error_orders)
{
	struct upfile f;
	struct rawclient c;
	unsigned i;

	CHECK(begin(&c, &f));
	CHECK(ask_ok("error 230 upload /other always"));
	CHECK(ask_ok("error 212 upload /a 2"));
	for (i = 0; i < 2; i++) {
		upkit_upload(&c, "2 0 0 2,0");
		CHECK_U64(upkit_code(&c, NULL), 212);
		rawclient_close(&c);
		CHECK(upkit_join(&k, &c, &f));
	}
	upkit_upload(&c, "2 0 0 2,0");
	CHECK_U64(upkit_code(&c, NULL), 0);
	CHECK(ask_ok("jsonerror 231 Warning upload"));
	upkit_upload(&c, "3 0 0 3,0");
	CHECK_U64(upkit_code(&c, NULL), 231);
	CHECK(ask_ok("error 231 upload"));
	upkit_upload(&c, "4 0 0 4,0");
	CHECK_U64(upkit_code(&c, NULL), 231);
	CHECK_U64(upkit_number(&k, "entries", "file /a 2"), 3);
	CHECK(ask_ok("jsonerror 217 ClientReset ident"));
	rawclient_close(&c);
	CHECK(upkit_bind(&k, &c, &f));
	upkit_ident(&c, &f);
	CHECK_U64(upkit_code(&c, NULL), 217);
	CHECK(ask_ok("error 101 bind"));
	rawclient_send(&c, "bind 2 2 0 0 0", "/a", 2);
	CHECK_U64(upkit_code(&c, NULL), 101);
	CHECK(rawclient_wait_closed(&c));
	rawclient_close(&c);
	CHECK(ask_ok("jsonerror 100 Transient bind"));
	CHECK(upkit_bind(&k, &c, &f));
	CHECK_U64(upkit_code(&c, NULL), 100);
	CHECK(rawclient_wait_closed(&c));
	CHECK(ask_ok("error 201 bind always"));
	CHECK(ask_ok("error off"));
	rawclient_close(&c);
	CHECK(upkit_join(&k, &c, &f));
	CHECK(!ask_ok("error 500 bind"));
	CHECK(!ask_ok("error 201 mark"));
	end(&c);
}

/* stall: it acts, but says nothing until it may; frozen: it does not even act. */
TEST(upstream_stall)
{
	struct upfile f;
	struct rawclient c;

	CHECK(begin(&c, &f));
	CHECK(ask_ok("stall on"));
	upkit_upload(&c, "2 0 0 2,0");
	rawclient_send(&c, "ping 5 0", NULL, 0);
	CHECK(uploads_reach(1));
	CHECK(rawclient_next(&c, QUIET_MS) == NULL && !c.closed);
	CHECK(ask_ok("stall off"));
	CHECK(upkit_mark(&c, &f, 2));
	CHECK_U64(f.progress.upload_client_version, 2);
	CHECK(ask_ok("frozen on"));
	upkit_upload(&c, "3 0 0 3,0");
	CHECK(rawclient_next(&c, QUIET_MS) == NULL && !c.closed);
	CHECK_U64(upkit_number(&k, "uploads", "status"), 1);
	CHECK(ask_ok("frozen off"));
	CHECK(upkit_mark(&c, &f, 3));
	CHECK_U64(f.progress.upload_client_version, 3);
	end(&c);
}

TEST(upstream_silent)
{
	struct rawclient c;

	CHECK(upkit_start(&k, no_args));
	CHECK(ask_ok("silent on"));
	rawclient_start(&c, k.base, k.port, "/realm-sync", "com.mongodb.realm-sync#14", NULL);
	CHECK(rawclient_next(&c, QUIET_MS) == NULL);
	CHECK_U64(c.status, 0);
	CHECK(!c.closed);
	CHECK(ask_ok("silent off"));
	CHECK(rawclient_next(&c, QUIET_MS) == NULL);
	CHECK_U64(c.status, 0);
	rawclient_close(&c);
	CHECK(upkit_stop(&k));
}

TEST(upstream_holds)
{
	struct upfile f;
	struct rawclient c;
	const struct raw_message *r;

	CHECK(begin(&c, &f));
	CHECK(ask_ok("hold-acks on"));
	CHECK(ask_ok("no-unbound on"));
	upkit_upload(&c, "2 0 0 2,0");
	CHECK(uploads_reach(1));
	CHECK(rawclient_next(&c, QUIET_MS) == NULL);
	CHECK(ask_ok("hold-marks on"));
	CHECK(ask_ok("hold-acks off"));
	rawclient_send(&c, "mark 1 2", NULL, 0);
	r = rawclient_next(&c, 5000);
	CHECK(r != NULL && r->m.type == MSG_S_DOWNLOAD && r->m.download.upload_client_version == 2);
	CHECK(rawclient_next(&c, QUIET_MS) == NULL);
	CHECK(ask_ok("hold-marks off"));
	r = rawclient_next(&c, 5000);
	CHECK(r != NULL && r->m.type == MSG_S_MARK);
	rawclient_send(&c, "unbind 1", NULL, 0);
	CHECK(rawclient_next(&c, QUIET_MS) == NULL);
	CHECK(ask_ok("no-unbound off"));
	r = rawclient_next(&c, 5000);
	CHECK(r != NULL && r->m.type == MSG_S_UNBOUND);
	CHECK_U64(upkit_number(&k, "sessions", "status"), 0);
	end(&c);
}

TEST(upstream_delay)
{
	struct upfile f;
	struct rawclient c;
	struct timespec before, after;

	CHECK(begin(&c, &f));
	CHECK(ask_ok("delay 100"));
	clock_gettime(CLOCK_MONOTONIC, &before);
	CHECK(upkit_mark(&c, &f, 2));
	clock_gettime(CLOCK_MONOTONIC, &after);
	CHECK((after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000 >= 99);
	CHECK(ask_ok("delay 0"));
	CHECK(upkit_mark(&c, &f, 3));
	end(&c);
}

TEST(upstream_cuts)
{
	struct upfile f, g = { .path = "/a" };
	struct rawclient c, d;

	CHECK(begin(&c, &f));
	/* in the middle of an UPLOAD: nothing of it is integrated */
	CHECK(ask_ok("cut-upload 30"));
	upkit_upload(&c, "5 0 0 2,0 3,0 4,0");
	CHECK(rawclient_wait_closed(&c));
	CHECK_U64(upkit_number(&k, "versions", "history /a"), 0);
	CHECK_U64(upkit_number(&k, "progress", "file /a 2"), 0);
	rawclient_close(&c);
	/* after it was integrated, before the answer */
	CHECK(upkit_join(&k, &c, &f));
	CHECK(ask_ok("cut-after-upload"));
	upkit_upload(&c, "5 0 0 2,0 3,0 4,0");
	CHECK(rawclient_wait_closed(&c));
	CHECK(rawclient_next(&c, 0) == NULL);
	CHECK_U64(upkit_number(&k, "progress", "file /a 2"), 5);
	rawclient_close(&c);
	CHECK(upkit_join(&k, &c, &f));
	CHECK_U64(f.progress.upload_client_version, 5);
	/* in the middle of a DOWNLOAD */
	CHECK(ask_ok("cut-download 50"));
	CHECK(upkit_bind(&k, &d, &g));
	upkit_ident(&d, &g);
	CHECK(rawclient_wait_closed(&d));
	CHECK(d.in_message);
	CHECK(d.code == 0);
	rawclient_close(&d);
	CHECK(upkit_join(&k, &d, &g));
	CHECK_U64(g.nentries, 3);
	/* all */
	CHECK_STR(child_ask(k.up, "cut"), "ok 2");
	CHECK(rawclient_wait_closed(&c));
	CHECK(rawclient_wait_closed(&d));
	CHECK_U64(upkit_number(&k, "sessions", "status"), 0);
	rawclient_close(&d);
	end(&c);
}

/* Restarted empty: 209.  Gone back in time: 209 above the old end, 211 where other versions have taken the numbers. */
TEST(upstream_back_in_time)
{
	char snapshot[600];
	struct upfile f;
	struct rawclient c;

	CHECK(begin(&c, &f));
	upkit_upload(&c, "3 0 0 2,0 3,0");
	CHECK(upkit_mark(&c, &f, 2));
	snprintf(snapshot, sizeof snapshot, "save %s/snapshot", harness_tmpdir());
	CHECK(ask_ok(snapshot));
	upkit_upload(&c, "5 2 2 4,2");
	CHECK(upkit_mark(&c, &f, 3));
	memcpy(snapshot, "load", 4);
	CHECK(ask_ok(snapshot));
	CHECK(rawclient_wait_closed(&c));
	CHECK_U64(upkit_number(&k, "versions", "history /a"), 2);
	CHECK_U64(upkit_number(&k, "progress", "file /a 2"), 3);
	rawclient_close(&c);
	CHECK(upkit_bind(&k, &c, &f));
	upkit_ident(&c, &f);
	CHECK_U64(upkit_code(&c, NULL), 209);
	rawclient_close(&c);
	f.progress.download_client_version = 3;
	CHECK(ask_ok("inject /a 1 10"));
	CHECK(upkit_bind(&k, &c, &f));
	upkit_ident(&c, &f);
	CHECK_U64(upkit_code(&c, NULL), 211);
	rawclient_close(&c);
	CHECK(ask_ok("reset"));
	CHECK(upkit_bind(&k, &c, &f));
	upkit_ident(&c, &f);
	CHECK_U64(upkit_code(&c, NULL), 209);
	CHECK_U64(upkit_number(&k, "files", "status"), 0);
	CHECK(ask_ok("violations forget"));
	end(&c);
}

/* DOWNLOADs are bounded by the soft limit, a long changeset goes alone, and MARK comes after all of them. */
TEST(upstream_batches)
{
	struct upfile f = { .path = "/a" };
	struct rawclient c;
	const struct raw_message *r;
	unsigned ndownloads = 0, npacked = 0;

	CHECK(upkit_start(&k, no_args));
	CHECK_STR(child_ask(k.up, "inject /a 1000 1000"), "ok ident=2 versions=1000");
	CHECK(ask_ok("inject /a 1 16777216"));
	CHECK(upkit_bind(&k, &c, &f));
	upkit_ident(&c, &f);
	rawclient_send(&c, "mark 1 1", NULL, 0);
	while ((r = rawclient_next(&c, 10000)) != NULL && r->m.type != MSG_S_MARK) {
		if (r->m.type != MSG_S_DOWNLOAD)
			continue;
		ndownloads++;
		npacked += r->m.download.is_compressed != 0;
		CHECK(r->m.download.uncompressed_size < 200000 || ndownloads == 8);
		CHECK((r->m.download.downloadable_bytes == 0) == (r->m.download.download_server_version == 1001));
	}
	CHECK(r != NULL);
	CHECK_U64(ndownloads, 8);
	CHECK(npacked > 0);
	end(&c);
}

TEST(upstream_log_message_and_events)
{
	struct upfile f;
	struct rawclient c;
	const struct raw_message *r;

	CHECK(begin(&c, &f));
	CHECK(ask_ok("log-message hello there"));
	r = rawclient_next(&c, 5000);
	CHECK(r != NULL && r->m.type == MSG_S_LOG_MESSAGE);
	CHECK(memmem(r->body.ptr, r->body.len, "hello there", 11) != NULL);
	CHECK(ask_ok("events on"));
	upkit_upload(&c, "2 0 0 2,0");
	CHECK_U64(upkit_code(&c, NULL), 0);
	CHECK_STR(child_line(k.up), "* upload 1 1 /a 2 entries=1 progress=2");
	CHECK(ask_ok("events off"));
	end(&c);
}

TEST(upstream_dump)
{
	char live[600], name[600], line[200];
	struct upfile f = { .path = "/a" };
	struct rawclient c;
	FILE *in;

	snprintf(live, sizeof live, "%s/live", harness_tmpdir());
	snprintf(name, sizeof name, "%s/dump", harness_tmpdir());
	CHECK(upkit_start(&k, (const char *const[]){ "--dump", live, NULL }));
	CHECK(upkit_join(&k, &c, &f));
	upkit_upload(&c, "5 0 0 2,0 5,0");
	CHECK(upkit_mark(&c, &f, 2));
	CHECK_STR(child_ask(k.up, "dump %s", name), "ok 2");
	in = fopen(name, "r");
	CHECK(in != NULL && fgets(line, sizeof line, in) != NULL);
	CHECK_STR(line, "/a 2 2 0 375000000002 8 d30bdc33\n");
	fclose(in);
	in = fopen(live, "r");
	CHECK(in != NULL && fgets(line, sizeof line, in) != NULL);
	CHECK_STR(line, "/a 2 2 0 375000000002 8 d30bdc33\n");
	fclose(in);
	end(&c);
}

/* 20,000 changesets of one client and 100 clients that want them: no step may cost what grows with their product. */
TEST(upstream_volume)
{
	static struct rawclient c[100];
	static struct upfile f[100];
	char what[4096];
	unsigned i, j, version = 1;
	size_t n;

	CHECK(begin(&c[0], &f[0]));
	for (i = 0; i < 200; i++) {
		n = (size_t)snprintf(what, sizeof what, "%u 0 0", version + 100);
		for (j = 0; j < 100; j++)
			n += (size_t)snprintf(what + n, sizeof what - n, " %u,0", ++version);
		upkit_upload(&c[0], what);
	}
	CHECK(upkit_mark(&c[0], &f[0], 2));
	CHECK_U64(f[0].progress.upload_client_version, version);
	CHECK_STR(child_ask(k.up, "order"), "ok 20000");
	for (i = 1; i < 100; i++) {
		f[i] = (struct upfile){ .path = "/a" };
		CHECK(upkit_join(&k, &c[i], &f[i]));
		CHECK_U64(f[i].nentries, 20000);
	}
	CHECK_U64(upkit_number(&k, "conns", "status"), 100);
	snprintf(what, sizeof what, "%u 0 0 %u,0", version + 1, version + 1);
	upkit_upload(&c[0], what);
	for (i = 0; i < 100; i++)
		CHECK(upkit_mark(&c[i], &f[i], 3));
	for (i = 1; i < 100; i++) {
		CHECK_U64(f[i].nentries, 20001);
		rawclient_close(&c[i]);
	}
	end(&c[0]);
}
