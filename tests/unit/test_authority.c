/* Tests relay/authority and relay/purge: whose backlog it is, what is refused, what another server makes worthless, and that a crash in the
 * middle of forgetting costs nothing. */
#include <sys/wait.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/shim/record.h"
#include "tests/storekit.h"

#include "relay/admit.h"
#include "relay/authority.h"
#include "relay/conf.h"
#include "relay/credential.h"
#include "relay/ident.h"
#include "relay/journal.h"
#include "relay/link.h"
#include "relay/log.h"
#include "relay/relay.h"
#include "relay/statedisk.h"

/* ---- a daemon's configuration, as far as it matters here ---- */

struct site {
	struct sections all;
	struct relay relay;
};

static bool
site_open(struct site *x, const char *text)
{
	struct conf_errors errs;
	struct section *s = NULL;
	bool ok = conf_parse("f", text, strlen(text), &x->all, &errs);

	if (!ok)
		conf_errors_print(&errs, stdout);
	conf_errors_free(&errs);
	memset(&x->relay, 0, sizeof(x->relay));
	TAILQ_INIT(&x->relay.links);
	while (ok && (s = sections_next(&x->all, s, SECTION_UPSTREAM)) != NULL)
		ok = link_new(&x->relay, s->name, &s->opt) != NULL;
	return ok;
}

static void
site_close(struct site *x)
{
	while (!TAILQ_EMPTY(&x->relay.links))
		link_free(TAILQ_FIRST(&x->relay.links));
	sections_free(&x->all);
}

/* Starts on dir with that configuration: is it accepted? */
static bool
starts(const char *dir, const char *text)
{
	struct store *s = kit_open(dir);
	char path[4096], why[200];
	struct journal *j;
	struct site x;
	bool good;

	snprintf(path, sizeof(path), "%s/acknowledged", dir);
	j = journal_open(path, why, sizeof(why));
	good = s != NULL && j != NULL && site_open(&x, text) && authority_settle(&x.relay, s, j);
	site_close(&x);
	journal_close(j);
	store_close(s);
	return good;
}

#define ONE "[holdfast]\nstate_dir=/nowhere\n[upstream]\nurl=ws://old.example:90\n"
#define TWO ONE "[upstream shore]\nurl=ws://shore.example\n[listener]\nupstream=shore\n"
#define OTHER "[holdfast]\nstate_dir=/nowhere\n[upstream]\nurl=ws://new.example\n"
#define SHORE_MOVED ONE "[upstream shore]\nurl=ws://beach.example\n[listener]\nupstream=shore\n"

/* ---- what a buffer may hold of an upstream ---- */

static uint64_t
add_file(struct store *s, const char *endpoint, uint64_t ident, unsigned records, enum store_file_state state)
{
	struct store_file f = kit_file(ident);
	static uint8_t buf[KIT_DATA_MAX];
	struct store_record r;
	bool added;

	snprintf(f.endpoint, sizeof(f.endpoint), "%s/realm-sync", endpoint);
	f.shown_client_version = 5;
	f.upstream_client_version = 5;
	f.state = state;
	if (store_begin(s) != STORE_OK || store_file_put(s, &f) != STORE_OK)
		abort();
	for (unsigned v = 1; v <= records; v++) {
		r = kit_record(buf, ident, 5 + v, 40);
		if (store_append(s, f.id, &r, &added) != STORE_OK)
			abort();
	}
	if (store_commit(s, true) != STORE_OK)
		abort();
	return f.id;
}

static void
put(struct store *s, enum store_table t, const void *key, size_t key_len, const char *val)
{
	if (store_begin(s) != STORE_OK || store_put(s, t, key, key_len, val, strlen(val)) != STORE_OK || store_commit(s, true) != STORE_OK)
		abort();
}

static void
add_token(struct store *s, uint8_t first, const char *label)
{
	struct link l = { 0 };
	uint8_t key[32] = { first }, scope[LINK_SCOPE];
	char val[128];
	size_t n;

	snprintf(l.label, sizeof(l.label), "%s", label);
	link_scope(&l, scope);
	n = (size_t)snprintf(val, sizeof(val), "1800000000000 ");
	for (size_t i = 0; i < LINK_SCOPE; i++)
		n += (size_t)snprintf(val + n, sizeof(val) - n, "%02x", scope[i]);
	snprintf(val + n, sizeof(val) - n, " 000102030405060708090a0b0c0d0e0f");
	put(s, STORE_TOKENS, key, sizeof(key), val);
}

static void
add_idents(struct store *s, const char *endpoint)
{
	struct ident_pair pair = { endpoint, view_of("/p"), false };
	struct ident_op op = { .now_ms = 1, .max_age_ms = 100, .keep = 4, .add = { .n = 1, .at = { { 7, 8, 1 } } } };

	ident_key(&pair, view_of("token"), op.key);
	op.name_len = ident_format_name(&pair, op.name);
	ident_keep(s, &op);
	if (op.err != STORE_OK)
		abort();
}

static void
add_state(struct store *s, const char *endpoint, uint64_t id)
{
	struct stateset set = { .id = id, .endpoint = (char *)(uintptr_t)endpoint, .path = (char *)(uintptr_t)"/p", .bytes = 5000, .complete = true };
	struct statedisk_step head = { .kind = STEP_HEAD, .id = id }, chunks = { .kind = STEP_PUT, .id = id, .len = 5000 };

	head.data = statedisk_head(&set, &head.len);
	chunks.data = calloc(1, chunks.len);
	statedisk_run(&head, s);
	statedisk_run(&chunks, s);
	if (head.err != STORE_OK || chunks.err != STORE_OK)
		abort();
	free(head.data);
	free(chunks.data);
}

static void
fill_one(struct store *s, const char *endpoint, const char *name, uint64_t number)
{
	char full[64], key[128];
	uint8_t credential[CREDENTIAL_KEY];

	snprintf(full, sizeof(full), "%s/realm-sync", endpoint);
	credential_key(credential, add_file(s, endpoint, number, 0, STORE_FILE_OK));
	put(s, STORE_TOKENS, credential, sizeof(credential), "secret");
	add_token(s, (uint8_t)number, name[0] != '\0' ? "upstream shore" : "upstream");
	add_idents(s, full);
	add_state(s, full, number);
	snprintf(key, sizeof(key), ADMIT_AGREED "%s pbs", full);
	put(s, STORE_META, key, strlen(key), "14 1800000000000");
	snprintf(key, sizeof(key), "location %s", full);
	put(s, STORE_META, key, strlen(key), "{}");
	snprintf(key, sizeof(key), LINK_PATH_KEY "%s%s", name[0] != '\0' ? " " : "", name);
	put(s, STORE_META, key, strlen(key), "/realm-sync");
}

static bool
count_cb(void *arg, const void *key, size_t key_len, const void *val, size_t val_len)
{
	(void)key;
	(void)key_len;
	(void)val;
	(void)val_len;
	++*(unsigned *)arg;
	return true;
}

static unsigned
values(struct store *s, enum store_table t)
{
	unsigned n = 0;

	return store_each(s, t, count_cb, &n) == STORE_OK ? n : 9999;
}

/* What fill_one made, so many times; more: values in meta besides. */
static void
check_kept(const char *dir, unsigned times, unsigned more)
{
	struct store *s = kit_open(dir);
	struct store_stat st;

	CHECK(s != NULL && store_stat(s, &st) == STORE_OK);
	CHECK_U64(st.files, times);
	CHECK_U64(values(s, STORE_TOKENS), 2 * times);
	CHECK_U64(values(s, STORE_IDENTS), 2 * times);
	CHECK_U64(values(s, STORE_STATES), 3 * times);
	CHECK_U64(values(s, STORE_META), 3 * times + more);
	store_close(s);
}

static struct store *
fill(const char *dir)
{
	struct store *s = kit_open(dir);

	if (s != NULL) {
		fill_one(s, "upstream", "", 1);
		fill_one(s, "upstream:shore", "shore", 2);
	}
	return s;
}

/* ---- tests ---- */

TEST(places)
{
	static const struct {
		const char *before, *api_before, *now, *api_now, *formerly;
		unsigned moved;
	} rows[] = {
		{ "a:80", "", "a:80", "", "", 0 },
		{ "a:80", "", "A:80", "", "", 0 },
		{ "a:80", "", "a:81", "", "", AUTHORITY_URL },
		{ "a:80 b:80", "", "b:80", "", "", 0 },
		{ "a:80", "", "b:80 a:80", "", "", 0 },
		{ "a:80 b:80", "", "c:80", "", "", AUTHORITY_URL },
		{ "a:80 b:80", "", "c:80", "", "B:80", 0 },
		{ "a:80", "", "c:80", "", "d:80", AUTHORITY_URL },
		{ "a:80", "", "c:80", "", "d:80 a:80", 0 },
		{ "a:80", "x:443", "a:80", "x:443", "", 0 },
		{ "a:80", "x:443", "a:80", "", "", 0 },
		{ "a:80", "", "a:80", "x:443", "", 0 },
		{ "a:80", "x:443", "a:80", "y:443", "", AUTHORITY_API_URL },
		{ "a:80", "x:443", "b:80", "y:443", "a:80", AUTHORITY_API_URL },
		{ "a:80", "x:443", "b:80", "y:443", "a:80 x:443", 0 },
		{ "[::1]:80", "", "[::1]:80", "", "", 0 },
	};
	struct authority before, now, again;
	char text[STORE_VALUE_MAX];
	size_t n;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		memset(&before, 0, sizeof(before));
		memset(&now, 0, sizeof(now));
		snprintf(before.url, sizeof(before.url), "%s", rows[i].before);
		snprintf(before.api_url, sizeof(before.api_url), "%s", rows[i].api_before);
		snprintf(now.url, sizeof(now.url), "%s", rows[i].now);
		snprintf(now.api_url, sizeof(now.api_url), "%s", rows[i].api_now);
		CHECK_U64(authority_moved(&before, &now, rows[i].formerly), rows[i].moved);
		n = authority_format(&before, text);
		CHECK(n > 0 && authority_parse(&again, (struct view){ (uint8_t *)text, n }));
		CHECK_STR(again.url, before.url);
		CHECK_STR(again.api_url, before.api_url);
		for (size_t cut = 0; cut < n; cut++)
			CHECK(!authority_parse(&again, (struct view){ (uint8_t *)text, cut }));
	}
}

TEST(canonical)
{
	struct site x;
	struct authority a;

	CHECK(site_open(&x, "[holdfast]\nstate_dir=/nowhere\n[upstream]\nurl=WSS://Host.Example wss://[::1]:8443\napi_url=https://API.example\n"));
	authority_of(TAILQ_FIRST(&x.relay.links)->opt, &a);
	CHECK_STR(a.url, "host.example:443 [::1]:8443");
	CHECK_STR(a.api_url, "api.example:443");
	site_close(&x);
}

TEST(refused_with_a_backlog)
{
	const char *dir = harness_tmpdir();
	struct store *s;

	log_set_level(LOG_ERROR);
	CHECK(starts(dir, TWO)); /* adopts: nothing was noted before */
	s = fill(dir);
	CHECK(s != NULL);
	add_file(s, "upstream", 10, 3, STORE_FILE_OK);
	store_close(s);
	CHECK(starts(dir, TWO));
	CHECK(!starts(dir, OTHER));
	CHECK(!starts(dir, OTHER "formerly = shore.example:80\n"));
	CHECK(!starts(dir, OTHER "formerly = old.example:91\n"));
	CHECK(starts(dir, ONE));	 /* shore has no backlog: it may be missing */
	CHECK(starts(dir, SHORE_MOVED)); /* nor does the other one's stop shore from moving */
	CHECK(starts(dir, OTHER "formerly = other.example:1 OLD.example:90\n"));
	CHECK(starts(dir, OTHER)); /* where it belongs now */
	CHECK(!starts(dir, ONE));
	s = kit_open(dir);
	CHECK(s != NULL);
	CHECK_U64(values(s, STORE_TOKENS), 2); /* shore's are gone, the other's are not */
	CHECK_U64(values(s, STORE_IDENTS), 2);
	store_close(s);
}

TEST(set_aside_waits_too)
{
	const char *dir = harness_tmpdir();
	struct store_file f;
	struct store *s;

	log_set_level(LOG_ERROR);
	CHECK(starts(dir, ONE));
	s = kit_open(dir);
	CHECK(s != NULL);
	add_file(s, "upstream", 10, 0, STORE_FILE_LOST);
	store_close(s);
	CHECK(!starts(dir, OTHER));
	dir = harness_tmpdir();
	CHECK(starts(dir, ONE));
	s = kit_open(dir);
	CHECK(s != NULL);
	add_file(s, "upstream", 10, 2, STORE_FILE_EXPORTED); /* somebody else's, and stays */
	store_close(s);
	CHECK(starts(dir, OTHER));
	s = kit_open(dir);
	CHECK(s != NULL);
	CHECK(store_file_get(s, 1, &f) == STORE_OK && f.backlog_records == 2);
	store_close(s);
}

TEST(missing_upstream)
{
	const char *dir = harness_tmpdir();
	struct store *s;

	log_set_level(LOG_ERROR);
	s = kit_open(dir);
	CHECK(s != NULL);
	add_file(s, "upstream:shore", 10, 2, STORE_FILE_OK); /* of an import: it was never used here */
	store_close(s);
	CHECK(starts(dir, ONE));
	CHECK(starts(dir, TWO));
	CHECK(!starts(dir, ONE)); /* now it was */
	CHECK(!starts(dir, OTHER));
	CHECK(starts(dir, TWO));
}

TEST(another_server)
{
	const char *dir = harness_tmpdir();
	struct store *s;

	log_set_level(LOG_ERROR);
	CHECK(starts(dir, TWO));
	s = fill(dir);
	CHECK(s != NULL);
	store_close(s);
	check_kept(dir, 2, 2);
	CHECK(starts(dir, SHORE_MOVED));
	check_kept(dir, 1, 2);
	CHECK(starts(dir, SHORE_MOVED));
	check_kept(dir, 1, 2);
	CHECK(starts(dir, OTHER));
	check_kept(dir, 0, 2);
}

/* A token of an older program, which does not say whose it is, goes with the first server that goes. */
TEST(unowned_token)
{
	const char *dir = harness_tmpdir();
	struct store *s;
	uint8_t key[32] = { 9 };

	log_set_level(LOG_ERROR);
	CHECK(starts(dir, ONE));
	s = kit_open(dir);
	CHECK(s != NULL);
	put(s, STORE_TOKENS, key, sizeof(key), "1800000000000");
	store_close(s);
	CHECK(starts(dir, ONE "formerly = x.example:1\n"));
	s = kit_open(dir);
	CHECK_U64(values(s, STORE_TOKENS), 1);
	store_close(s);
	CHECK(starts(dir, OTHER));
	s = kit_open(dir);
	CHECK_U64(values(s, STORE_TOKENS), 0);
	store_close(s);
}

/* Killed in its nth log write, n = 1, 2, 3, ...: what is left is as before, or is forgotten at the next start. */
TEST(killed_while_forgetting)
{
	unsigned deaths = 0, last = 0;

	log_set_level(LOG_ERROR);
	for (unsigned n = 1; last == 0; n++) {
		const char *dir = harness_tmpdir();
		int status;
		pid_t pid;

		record_start(dir);
		CHECK(starts(dir, TWO));
		store_close(fill(dir));
		fflush(stdout);
		if ((pid = fork()) == 0) {
			record_die(n);
			_exit(starts(dir, SHORE_MOVED) ? 7 : 8);
		}
		CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status));
		record_stop(); /* in both: the child may have come to its end before */
		if (WEXITSTATUS(status) == 7)
			last = n;
		else
			deaths++;
		CHECK(WEXITSTATUS(status) != 8);
		CHECK(starts(dir, SHORE_MOVED));
		check_kept(dir, 1, 2);
		CHECK(n < 200);
	}
	CHECK(deaths >= 3);
}
