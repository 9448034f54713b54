/* Tests holdfastctl on a stopped buffer: each command, for people and as JSON, and its exit status.  The same on a live one,
 * once; what the sessions of a live relay do meanwhile is tested by tests/scenarios/ctl-*.scn. */
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/storekit.h"

#include "tests/peer/daemon.h"

#define OUT_MAX 65536

static char out[OUT_MAX]; /* of the last command, standard output and error */

/* Runs holdfastctl; its exit status, and what it said in out. */
static int __attribute__((format(printf, 1, 2)))
ctl(const char *fmt, ...)
{
	char args[2048], command[PATH_MAX + 4096];
	va_list ap;
	size_t n;
	FILE *f;
	int status;

	va_start(ap, fmt);
	vsnprintf(args, sizeof(args), fmt, ap);
	va_end(ap);
	snprintf(command, sizeof(command), "'%s' %s 2>&1 </dev/null", daemon_ctl(), args);
	f = popen(command, "r");
	n = f != NULL ? fread(out, 1, sizeof(out) - 1, f) : 0;
	out[n] = '\0';
	status = f != NULL ? pclose(f) : -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static bool
said(const char *text)
{
	if (strstr(out, text) != NULL)
		return true;
	printf("# not there: %s\n# %s\n", text, out);
	return false;
}

/* Files 1 .. nfile with nrec records each; the states as given. */
static void
fill(const char *dir, unsigned nfile, unsigned nrec, enum store_ack ack)
{
	static uint8_t buf[KIT_DATA_MAX];
	struct store *s = kit_open(dir);

	CHECK(s != NULL);
	CHECK_U64(store_begin(s), STORE_OK);
	for (unsigned n = 1; n <= nfile; n++) {
		struct store_file f = kit_file(n);
		bool added;

		f.ack = ack;
		CHECK_U64(store_file_put(s, &f), STORE_OK);
		for (unsigned v = 1; v <= nrec; v++) {
			struct store_record r = kit_record(buf, n, v, kit_len(n, v));

			CHECK_U64(store_append(s, f.id, &r, &added), STORE_OK);
		}
		f.held_client_version = f.final_client_version = nrec;
		f.held_server_version = f.final_server_version = nrec / 3;
		f.shown_client_version = ack == STORE_ACK_RELAY ? nrec : 0;
		f.shown_server_version = ack == STORE_ACK_RELAY ? nrec / 3 : 0;
		CHECK_U64(store_file_put(s, &f), STORE_OK);
	}
	CHECK_U64(store_commit(s, true), STORE_OK);
	store_close(s);
}

static void
set_state(const char *dir, uint64_t id, enum store_file_state state, const char *text)
{
	struct store *s = kit_open(dir);
	struct store_file f;

	CHECK(s != NULL);
	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_file_get(s, id, &f), STORE_OK);
	f.state = state;
	f.state_code = 212;
	snprintf(f.state_text, sizeof(f.state_text), "%s", text);
	CHECK_U64(store_file_put(s, &f), STORE_OK);
	CHECK_U64(store_commit(s, true), STORE_OK);
	store_close(s);
}

static struct store_file
get(const char *dir, uint64_t id)
{
	struct store *s = kit_open(dir);
	struct store_file f = { .id = 0 };

	if (s == NULL || store_file_get(s, id, &f) != STORE_OK)
		printf("# file %llu is not there\n", (unsigned long long)id);
	store_close(s);
	return f;
}

/* How many records are as kit_record made them. */
static bool
same_cb(void *arg, const struct store_record *r)
{
	uint64_t *n = arg;

	n[1] += kit_same(r, n[0], kit_len(n[0], r->client_version));
	return true;
}

static uint64_t
same_records(const char *dir, uint64_t id, uint64_t number)
{
	struct store *s = kit_open(dir);
	uint64_t n[2] = { number, 0 };

	if (s == NULL || store_read(s, id, 0, UINT64_MAX, same_cb, n, NULL) != STORE_OK)
		n[1] = 0;
	store_close(s);
	return n[1];
}

static const char *
sub(const char *dir, const char *name)
{
	static char path[16][512];
	static unsigned turn;
	char *p = path[turn++ % 16], text[512];

	snprintf(text, sizeof(text), "%s/%s", dir, name); /* dir may be one of path */
	return memcpy(p, text, sizeof(text));
}

TEST(no_buffer)
{
	const char *dir = harness_tmpdir();
	struct stat st;

	CHECK_U64(ctl("-d %s/none buffer stat", dir), 3);
	CHECK(said("not running, and there is no buffer in"));
	CHECK(stat(sub(dir, "none"), &st) != 0);
	CHECK_U64(ctl("-d %s buffer stat", dir), 3);
	CHECK_U64(ctl("-d %s --json buffer list", dir), 3);
	CHECK(said("\"status\":\"error\",\"exit\":3}"));
}

TEST(usage)
{
	CHECK_U64(ctl("buffer"), 2);
	CHECK(said("usage:"));
	CHECK_U64(ctl("buffer frobnicate"), 2);
	CHECK_U64(ctl("-d x buffer stat too many"), 2);
	CHECK_U64(ctl("--nonsense"), 2);
	CHECK_U64(ctl("--help"), 0);
	CHECK_U64(ctl("-c /nonexistent buffer stat"), 2);
}

TEST(in_use)
{
	const char *dir = sub(harness_tmpdir(), "s");
	struct store *s = kit_open(dir);

	CHECK(s != NULL);
	CHECK_U64(ctl("-d %s buffer stat", dir), 2);
	CHECK(said("in use by process"));
	CHECK(said("does not answer on its control socket"));
	store_close(s);
}

TEST(looking)
{
	const char *dir = sub(harness_tmpdir(), "s");

	fill(dir, 3, 10, STORE_ACK_UPSTREAM);
	CHECK(!harness_failed());
	CHECK_U64(ctl("-d %s buffer stat", dir), 0);
	CHECK(said("daemon         stopped"));
	CHECK(said("backlog        30 changesets"));
	CHECK_U64(ctl("-d %s --json buffer stat", dir), 0);
	CHECK(said("{\"live\":false,\"files\":3,\"files_with_backlog\":3,\"records\":30,"));
	CHECK(said("\"attention\":0,\"status\":\"ok\",\"exit\":0}"));
	CHECK_U64(ctl("-d %s buffer list", dir), 0);
	CHECK(said("3 files, 30 changesets"));
	set_state(dir, 2, STORE_FILE_REJECTED, "bad \"changeset\"\n\x1b[2J");
	CHECK_U64(ctl("-d %s buffer list", dir), 1);
	CHECK(said("rejected"));
	CHECK_U64(ctl("-d %s --json buffer list", dir), 1);
	CHECK(said("\"id\":2,\"state\":\"rejected\",\"code\":212,\"reason\":\"bad \\\"changeset\\\"\\u000a\\u001b[2J\""));
	CHECK(said("\"files\":3,\"records\":30,"));
	CHECK_U64(ctl("-d %s buffer show 2", dir), 1);
	CHECK(said("reason           bad \"changeset\"??[2J"));
	CHECK_U64(ctl("-d %s --json buffer show 1", dir), 0);
	CHECK(said("{\"client_version\":10,\"server_version\":3,\"origin_timestamp\":10000,\"origin_file_ident\":0,\"received_ms\":1700000000010,"));
	CHECK(said("\"records\":10,\"damaged\":0,\"status\":\"ok\",\"exit\":0}"));
	CHECK(said("\"unreadable\":\"changeset ")); /* what fill writes are no instructions */
	CHECK_U64(ctl("-d %s --json buffer show -x upstream/api/client/v2.0/app/demo/realm-sync /plant/line-1 1", dir), 0);
	CHECK(said("\"hex\":\""));
	CHECK_U64(ctl("-d %s buffer show -x 1", dir), 0);
	CHECK_U64(ctl("-d %s buffer show 99", dir), 2);
	CHECK(said("no such file"));
	CHECK_U64(ctl("-d %s buffer show up '/no where%%' 1", dir), 2);
	CHECK(said("no such file"));
	CHECK_U64(ctl("-d %s buffer show x", dir), 2);
}

TEST(verify_sound)
{
	const char *dir = sub(harness_tmpdir(), "s");

	fill(dir, 70, 40, STORE_ACK_UPSTREAM);
	CHECK(!harness_failed());
	CHECK_U64(ctl("-d %s buffer verify", dir), 0);
	CHECK(said("70 files, 2800 changesets: 0 problems"));
	CHECK_U64(ctl("-d %s --json buffer list", dir), 0);
	CHECK(said("\"files\":70,\"records\":2800,"));
}

TEST(discard_upstream)
{
	const char *dir = sub(harness_tmpdir(), "s");
	struct store_file f;

	fill(dir, 2, 20, STORE_ACK_UPSTREAM);
	CHECK(!harness_failed());
	CHECK_U64(ctl("-d %s buffer discard 1", dir), 2);
	CHECK(said("--yes"));
	CHECK_U64(get(dir, 1).backlog_records, 20);
	CHECK_U64(ctl("-d %s --json buffer discard --yes 1", dir), 0);
	CHECK(said("\"removed\":20,"));
	f = get(dir, 1);
	CHECK_U64(f.backlog_records, 0);
	CHECK_U64(f.held_client_version, 0); /* nobody acknowledged them: the device may upload them again */
	CHECK_U64(f.final_client_version, 0);
	CHECK_U64(get(dir, 2).backlog_records, 20);
	CHECK_U64(ctl("-d %s buffer verify", dir), 0);
}

TEST(discard_relay)
{
	const char *dir = sub(harness_tmpdir(), "s");
	struct store_file f;

	fill(dir, 1, 20, STORE_ACK_RELAY);
	set_state(dir, 1, STORE_FILE_CONFLICT, "why");
	CHECK(!harness_failed());
	CHECK_U64(ctl("-d %s buffer discard --yes 1", dir), 0);
	CHECK(said("uploaded up to 20"));
	f = get(dir, 1);
	CHECK_U64(f.state, STORE_FILE_OK);
	CHECK_U64(f.shown_client_version, 20); /* I4 */
	CHECK_U64(f.held_client_version, 20);
	CHECK_U64(f.final_client_version, 20);
}

TEST(retry)
{
	const char *dir = sub(harness_tmpdir(), "s");
	struct store_file f;

	fill(dir, 1, 5, STORE_ACK_UPSTREAM);
	set_state(dir, 1, STORE_FILE_REJECTED, "why");
	CHECK(!harness_failed());
	CHECK_U64(ctl("-d %s --json buffer retry 1", dir), 0);
	CHECK(said("\"was\":\"rejected\""));
	f = get(dir, 1);
	CHECK_U64(f.state, STORE_FILE_OK);
	CHECK_STR(f.state_text, "");
	CHECK_U64(f.backlog_records, 5);
	CHECK_U64(ctl("-d %s buffer retry 1", dir), 0);
	CHECK(said("was ok"));
}

TEST(compact)
{
	const char *dir = sub(harness_tmpdir(), "s");

	fill(dir, 20, 200, STORE_ACK_UPSTREAM);
	CHECK(!harness_failed());
	for (int i = 1; i <= 19; i++)
		CHECK_U64(ctl("-d %s buffer discard --yes %d", dir, i), 0);
	CHECK_U64(ctl("-d %s --json buffer compact", dir), 0);
	CHECK(strstr(out, "\"pages_freed\":0,") == NULL);
	CHECK_U64(same_records(dir, 20, 20), 200);
	CHECK_U64(ctl("-d %s buffer verify", dir), 0);
}

TEST(backup)
{
	const char *dir = sub(harness_tmpdir(), "s"), *copy = sub(harness_tmpdir(), "copy");

	fill(dir, 5, 100, STORE_ACK_RELAY);
	CHECK(!harness_failed());
	CHECK_U64(ctl("-d %s buffer backup %s", dir, copy), 0);
	CHECK(said("500 changesets of 5 files are in the copy"));
	CHECK_U64(ctl("-d %s buffer verify", copy), 0);
	CHECK(said("5 files, 500 changesets: 0 problems"));
	CHECK_U64(same_records(copy, 3, 3), 100);
	CHECK_U64(ctl("-d %s buffer backup %s", dir, copy), 2);
	CHECK(said("is not empty"));
}

/* ---- every command of the buffer, stopped and live, for people and as JSON ---- */

/* One after the other on a buffer of three files with ten records each, of which the last was rejected.  %s in args: a folder. */
static const struct step {
	const char *args;
	int status;
	const char *text, *json;
} steps[] = {
	{ "stat", 1, "backlog        30 changesets", "\"files\":3,\"files_with_backlog\":3,\"records\":30," },
	{ "stat", 1, "need attention 1\n", "\"attention\":1,\"status\":\"ok\",\"exit\":1}" },
	{ "list", 1, "     3 rejected         10 ", "{\"id\":3,\"state\":\"rejected\",\"code\":212,\"reason\":\"why\"," },
	{ "list", 1, "3 files, 30 changesets, ", "\"files\":3,\"records\":30," },
	{ "show 1", 0, "\nbacklog          10\n", "\"id\":1,\"records\":10,\"damaged\":0," },
	{ "show 3", 1, "\nreason           why\n", "\"reason\":\"why\"," },
	{ "show upstream/api/client/v2.0/app/demo/realm-sync /plant/line-2 2", 0, "id               2\n", "{\"id\":2," },
	{ "show 4", 2, "no such file", "{\"error\":\"no such file\",\"status\":\"error\",\"exit\":2}" },
	{ "verify", 0, "3 files, 30 changesets: 0 problems", "\"files\":3,\"records\":30,\"problems\":0," },
	{ "export %s/x 1", 0, "1 files, 10 changesets, ", "\"files\":1,\"records\":10," },
	{ "list", 1, "     1 exported         10 ", "{\"id\":1,\"state\":\"exported\"," },
	{ "retry 1", 2, "import that export here", "\"status\":\"error\"" },
	{ "export %s/x 2", 2, "is not empty", "\"status\":\"error\"" },
	{ "import %s/x", 0, "1 files, 0 changesets brought in; 0 need attention", "\"files\":1,\"added\":0,\"conflicts\":0," },
	{ "import %s/none", 2, "none", "\"status\":\"error\"" },
	{ "discard 2", 2, "--yes", "\"status\":\"error\"" },
	{ "discard --yes 2", 0, "file 2: 10 changesets discarded", "\"id\":2,\"removed\":10," },
	{ "discard --yes 2", 0, "file 2: 0 changesets discarded", "\"id\":2,\"removed\":0," },
	{ "retry 3", 0, "file 3: was rejected, is ok", "\"id\":3,\"was\":\"rejected\"," },
	{ "retry 4", 2, "no such file", "\"status\":\"error\"" },
	{ "backup %s/copy", 0, "20 changesets of 3 files are in the copy", "\"records\":20," },
	{ "backup %s/copy", 2, "is not empty", "\"status\":\"error\"" },
	{ "compact", 0, "on disk ", "\"disk_bytes\":" },
	{ "stat", 0, "3, 2 with a backlog", "\"files_with_backlog\":2,\"records\":20," },
	{ "verify", 0, "3 files, 20 changesets: 0 problems", "\"problems\":0," },
};

static void
walk(const char *dir, bool live, bool json)
{
	char args[600];
	int status;
	bool right;

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		const struct step *s = &steps[i];
		const char *at = strstr(s->args, "%s");

		snprintf(args, sizeof(args), "%.*s%s%s", at != NULL ? (int)(at - s->args) : 200, s->args, at != NULL ? dir : "",
			 at != NULL ? at + 2 : "");
		status = ctl("-d %s/state %s buffer %s", dir, json ? "--json" : "", args);
		right = status == s->status && said(json ? s->json : s->text) &&
			(!json || status == 2 || said(live ? "\"live\":true," : "\"live\":false,"));
		if (!right)
			printf("# buffer %s, %s: exit %d, want %d: %s\n", s->args, live ? "live" : "stopped", status, s->status, out);
		CHECK(right);
	}
}

static const char *
fill_to_walk(void)
{
	const char *dir = harness_tmpdir();

	fill(sub(dir, "state"), 3, 10, STORE_ACK_UPSTREAM);
	set_state(sub(dir, "state"), 3, STORE_FILE_REJECTED, "why");
	return dir;
}

TEST(every_command_stopped)
{
	walk(fill_to_walk(), false, false);
	walk(fill_to_walk(), false, true);
}

TEST(every_command_live)
{
	struct daemon d;

	if (!daemon_is_built())
		SKIP("the daemon is not built");
	for (int json = 0; json < 2; json++) {
		const char *dir = fill_to_walk();

		CHECK(!harness_failed());
		CHECK(daemon_start(&d, dir, "[upstream]\nurl = ws://127.0.0.1:1\n"));
		walk(dir, true, json);
		CHECK(daemon_stop(&d));
	}
}

/* The status for people: one line for each quota. */
TEST(quotas)
{
	const char *dir = harness_tmpdir();
	struct daemon d;

	if (!daemon_is_built())
		SKIP("the daemon is not built");
	CHECK(daemon_start(&d, dir, "[upstream]\nurl = ws://127.0.0.1:1\n[buffer]\nquotas = /tele/*=64KiB *=3MiB\n"));
	CHECK_U64(ctl("-d %s/state status", dir), 1);
	CHECK(said("\nquotas     0 B of 64.0 KiB, ok: /tele/*\n           0 B of 3.0 MiB, ok: *\nclients "));
	CHECK(daemon_stop(&d));
}

TEST(export_and_import)
{
	const char *a = sub(harness_tmpdir(), "a"), *b = sub(harness_tmpdir(), "b"), *stick = sub(harness_tmpdir(), "stick");
	struct store_file f;

	fill(a, 3, 700, STORE_ACK_RELAY);
	set_state(a, 2, STORE_FILE_REJECTED, "why");
	fill(b, 0, 0, STORE_ACK_UPSTREAM);
	CHECK(!harness_failed());
	CHECK_U64(ctl("-d %s --json buffer export %s", a, stick), 0);
	CHECK(said("\"files\":3,\"records\":2100,"));
	f = get(a, 1);
	CHECK_U64(f.state, STORE_FILE_EXPORTED);
	CHECK_U64(f.backlog_records, 700);
	CHECK_U64(ctl("-d %s buffer export %s/again", a, stick), 0);
	CHECK(said("nothing to export"));
	CHECK_U64(ctl("-d %s buffer export %s/again 1", a, stick), 2);
	CHECK(said("exported already"));
	CHECK_U64(ctl("-d %s buffer retry 1", a), 2);
	CHECK(said("import that export here"));

	CHECK_U64(ctl("-d %s --json buffer import %s", b, stick), 1); /* the rejected one stays rejected */
	CHECK(said("\"files\":3,\"added\":2100,\"conflicts\":1,"));
	CHECK_U64(same_records(b, 1, 1), 700);
	CHECK_U64(same_records(b, 3, 3), 700);
	f = get(b, 1);
	CHECK_U64(f.state, STORE_FILE_OK);
	CHECK_U64(f.held_client_version, 700);
	CHECK_U64(f.shown_client_version, 700);
	CHECK_U64(f.ack, STORE_ACK_RELAY);
	CHECK_U64(get(b, 2).state, STORE_FILE_REJECTED);
	CHECK_U64(ctl("-d %s buffer verify", b), 0);

	/* once */
	CHECK_U64(ctl("-d %s buffer import %s", b, stick), 2);
	CHECK(said("imported already"));
	CHECK_U64(unlink(sub(stick, "IMPORTED")), 0);
	CHECK_U64(ctl("-d %s buffer import %s", b, stick), 2);
	CHECK(said("was imported here before"));

	/* a discard on the source leaves the file exported: its device may not overtake what is on its way */
	CHECK_U64(ctl("-d %s buffer discard --yes 1", a), 0);
	f = get(a, 1);
	CHECK_U64(f.state, STORE_FILE_EXPORTED);
	CHECK_U64(f.backlog_records, 0);
	CHECK_U64(f.shown_client_version, 700);
}

static void
put_query(const char *dir, uint64_t id, uint64_t version, uint64_t place, uint32_t len)
{
	static uint8_t text[STORE_QUERY_MAX];
	struct store *s = kit_open(dir);
	struct store_query q = { version, place, text, len };

	memset(text, (int)('a' + version), len);
	CHECK(s != NULL);
	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_query_put(s, id, &q), STORE_OK);
	CHECK_U64(store_commit(s, true), STORE_OK);
	store_close(s);
}

static bool
add_query(void *arg, const struct store_query *q)
{
	char *text = arg;
	size_t n = strlen(text);

	bool right = q->len > 0 && q->text[0] == 'a' + q->query_version && q->text[q->len - 1] == 'a' + q->query_version;

	snprintf(text + n, 200 - n, right ? "%llu@%llu:%u " : "wrong text of %llu@%llu:%u ", (unsigned long long)q->query_version, (unsigned long long)q->place, (unsigned)q->len);
	return true;
}

/* "VERSION@PLACE:BYTES " of each */
static const char *
queries(const char *dir, uint64_t id)
{
	static char text[200];
	struct store *s = kit_open(dir);

	text[0] = '\0';
	if (s == NULL || store_query_each(s, id, add_query, text) != STORE_OK)
		snprintf(text, sizeof(text), "cannot be read");
	store_close(s);
	return text;
}

/* An export carries queries, and says that it does; of two gateways' queries those count that are not older than what the client stood on
 * last. */
TEST(queries_are_exported)
{
	const char *a = sub(harness_tmpdir(), "a"), *b = sub(harness_tmpdir(), "b"), *c = sub(harness_tmpdir(), "c"),
		   *stick = sub(harness_tmpdir(), "stick");
	char first[32] = "";
	FILE *f;

	fill(a, 2, 50, STORE_ACK_UPSTREAM);
	put_query(a, 1, 3, 0, 300);
	put_query(a, 1, 5, 20, 200000);
	put_query(a, 1, 6, 50, 200000);
	fill(b, 1, 0, STORE_ACK_UPSTREAM);
	put_query(b, 1, 2, 0, 100);
	fill(c, 1, 0, STORE_ACK_UPSTREAM);
	put_query(c, 1, 6, 50, 200000);
	put_query(c, 1, 7, 50, 10);
	CHECK(!harness_failed());
	CHECK_U64(ctl("-d %s --json buffer export %s", a, stick), 0);
	CHECK(said("\"files\":2,\"records\":100,"));
	CHECK((f = fopen(sub(stick, "MANIFEST"), "r")) != NULL && fgets(first, sizeof(first), f) != NULL);
	fclose(f);
	CHECK_STR(first, "holdfast-export 2\n");
	CHECK_U64(ctl("-d %s --json buffer import %s", b, stick), 0);
	CHECK_U64(same_records(b, 1, 1), 50);
	CHECK_STR(queries(b, 1), "3@0:300 5@20:200000 6@50:200000 ");
	CHECK_U64(unlink(sub(stick, "IMPORTED")), 0);
	CHECK_U64(ctl("-d %s --json buffer import %s", c, stick), 0);
	CHECK_STR(queries(c, 1), "6@50:200000 7@50:10 ");
	CHECK_U64(unlink(sub(stick, "IMPORTED")), 0);
	CHECK_U64(ctl("-d %s --json buffer import %s", a, stick), 0); /* taken back */
	CHECK_STR(queries(a, 1), "3@0:300 5@20:200000 6@50:200000 ");
}

TEST(take_back)
{
	const char *a = sub(harness_tmpdir(), "a"), *stick = sub(harness_tmpdir(), "stick");

	fill(a, 2, 50, STORE_ACK_UPSTREAM);
	CHECK(!harness_failed());
	CHECK_U64(ctl("-d %s buffer export %s 2", a, stick), 0);
	CHECK_U64(get(a, 1).state, STORE_FILE_OK);
	CHECK_U64(get(a, 2).state, STORE_FILE_EXPORTED);
	CHECK_U64(ctl("-d %s --json buffer import %s", a, stick), 0);
	CHECK(said("\"files\":1,\"added\":0,"));
	CHECK_U64(get(a, 2).state, STORE_FILE_OK);
	CHECK_U64(same_records(a, 2, 2), 50);
}

TEST(export_that_fails_leaves_everything)
{
	const char *a = sub(harness_tmpdir(), "a"), *stick = sub(harness_tmpdir(), "stick");

	fill(a, 2, 50, STORE_ACK_UPSTREAM);
	CHECK(!harness_failed());
	CHECK_U64(ctl("-d %s buffer export %s 1 99", a, stick), 2);
	CHECK(said("nothing was exported"));
	CHECK_U64(get(a, 1).state, STORE_FILE_OK);
	CHECK_U64(rmdir(stick), 0); /* it is empty */
}

/* Changes one byte in the middle of a file. */
static void
spoil(const char *path)
{
	FILE *f = fopen(path, "r+");
	long size;
	int ch;

	CHECK(f != NULL);
	fseek(f, 0, SEEK_END);
	size = ftell(f);
	fseek(f, size / 2, SEEK_SET);
	ch = getc(f);
	fseek(f, size / 2, SEEK_SET);
	putc(ch ^ 1, f);
	fclose(f);
}

TEST(damaged_export)
{
	const char *a = sub(harness_tmpdir(), "a"), *stick = sub(harness_tmpdir(), "stick");

	fill(a, 2, 50, STORE_ACK_UPSTREAM);
	CHECK(!harness_failed());
	CHECK_U64(ctl("-d %s buffer export %s", a, stick), 0);
	spoil(sub(stick, "file-2"));
	CHECK_U64(ctl("-d %s buffer import %s", a, stick), 2);
	CHECK_U64(get(a, 1).state, STORE_FILE_EXPORTED); /* nothing was changed */
	spoil(sub(stick, "file-2"));
	spoil(sub(stick, "MANIFEST"));
	CHECK_U64(ctl("-d %s buffer import %s", a, stick), 2);
	CHECK(said("MANIFEST is damaged"));
	spoil(sub(stick, "MANIFEST"));
	CHECK_U64(ctl("-d %s buffer import %s", a, stick), 0);
}

TEST(import_conflict)
{
	const char *a = sub(harness_tmpdir(), "a"), *b = sub(harness_tmpdir(), "b"), *stick = sub(harness_tmpdir(), "stick");
	static uint8_t buf[KIT_DATA_MAX];
	struct store_record r = kit_record(buf, 77, 5, 10);
	struct store_file f = kit_file(1);
	struct store *s;
	bool added;

	fill(a, 2, 10, STORE_ACK_UPSTREAM);
	CHECK(!harness_failed());
	s = kit_open(b);
	CHECK(s != NULL);
	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_file_put(s, &f), STORE_OK);
	CHECK_U64(store_append(s, f.id, &r, &added), STORE_OK);
	CHECK_U64(store_commit(s, true), STORE_OK);
	store_close(s);
	CHECK_U64(ctl("-d %s buffer export %s", a, stick), 0);
	CHECK_U64(ctl("-d %s buffer import %s", b, stick), 1);
	CHECK_U64(get(b, 1).state, STORE_FILE_CONFLICT);
	CHECK_U64(get(b, 2).state, STORE_FILE_OK);
	CHECK_U64(get(b, 2).backlog_records, 10);
}

/* A changeset larger than a slice, and than what the socket's buffers hold. */
TEST(large_record)
{
	const char *a = sub(harness_tmpdir(), "a"), *b = sub(harness_tmpdir(), "b"), *stick = sub(harness_tmpdir(), "stick");
	size_t len = 3u << 20;
	uint8_t *buf = malloc(len);
	struct store_file f = kit_file(1);
	struct store_record r = { .client_version = 7, .server_version = 1, .received_ms = 5, .data = buf, .len = (uint32_t)len };
	struct store *s = kit_open(a);
	bool added;

	CHECK(s != NULL && buf != NULL);
	memset(buf, 'x', len);
	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_file_put(s, &f), STORE_OK);
	CHECK_U64(store_append(s, f.id, &r, &added), STORE_OK);
	CHECK_U64(store_commit(s, true), STORE_OK);
	store_close(s);
	free(buf);
	fill(b, 0, 0, STORE_ACK_UPSTREAM);
	CHECK_U64(ctl("-d %s buffer export %s", a, stick), 0);
	CHECK_U64(ctl("-d %s buffer import %s", b, stick), 0);
	CHECK_U64(get(b, 1).backlog_bytes, len);
}

/* The configuration names the key; without it the tool says what is missing, and a copy stays encrypted. */
TEST(encrypted)
{
	const char *top = harness_tmpdir(), *dir = sub(top, "s"), *key_path = sub(top, "k"), *ini = sub(top, "c.ini"), *copy = sub(top, "copy");
	uint8_t key[STORE_KEY_BYTES];
	struct store_options opt = kit_options(dir);
	struct store_file f = kit_file(1);
	struct store *s;
	char why[512];
	FILE *file;

	memset(key, 0x5a, sizeof(key));
	opt.key = key;
	file = fopen(key_path, "w");
	CHECK(file != NULL && fwrite(key, sizeof(key), 1, file) == 1 && fclose(file) == 0 && chmod(key_path, 0600) == 0);
	file = fopen(ini, "w");
	CHECK(file != NULL);
	fprintf(file, "[holdfast]\nstate_dir = %s\n[upstream]\nurl = ws://h:1\n[buffer]\nkey_file = %s\nballast = 0\n", dir, key_path);
	fclose(file);
	CHECK_U64(store_open(&opt, &s, why, sizeof(why)), STORE_OK);
	CHECK_U64(store_begin(s), STORE_OK);
	CHECK_U64(store_file_put(s, &f), STORE_OK);
	CHECK_U64(store_put(s, STORE_IDENTS, "k", 1, "v", 1), STORE_OK);
	CHECK_U64(store_commit(s, true), STORE_OK);
	store_close(s);
	CHECK_U64(ctl("-c %s --json buffer stat", ini), 0);
	CHECK(said("\"files\":1,"));
	CHECK_U64(ctl("-d %s buffer stat", dir), 2);
	CHECK(said("is encrypted"));
	CHECK_U64(ctl("-c %s buffer backup %s", ini, copy), 0);
	CHECK_U64(ctl("-d %s buffer stat", copy), 2);
	CHECK(said("is encrypted"));
	opt.dir = copy;
	CHECK_U64(store_open(&opt, &s, why, sizeof(why)), STORE_OK);
	CHECK_U64(store_get(s, STORE_IDENTS, "k", 1, why, &(size_t){ sizeof(why) }), STORE_NOTFOUND); /* burnt */
	store_close(s);
}
