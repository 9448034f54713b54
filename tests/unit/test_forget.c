/* Tests relay/admin_forget on a store: whose is taken out and whose is not, what is known of whose it is, and what stays readable on the disk. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/harness.h"
#include "tests/storekit.h"

#include "relay/admin.h"
#include "relay/credential.h"
#include "relay/ident.h"
#include "relay/log.h"
#include "relay/statedisk.h"
#include "relay/userid.h"

#define MARK "thesewordsarenobodyelses"
/* sub u1, sub u2 */
#define TOKEN_1 "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1MSJ9.sig"
#define TOKEN_2 "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1MiJ9.sig"

static bool
ask(struct store *s, struct admin_answer *a, size_t nword, const char *const *words)
{
	struct admin_request q = { .nword = nword };

	memcpy(q.word, words, nword * sizeof(words[0]));
	admin_run(s, &q, a);
	return a->ok;
}

#define ASK(s, a, ...) ask(s, a, sizeof((const char *[]){ __VA_ARGS__ }) / sizeof(char *), (const char *[]){ __VA_ARGS__ })

/* A number in the last object of the answer; frees it. */
static uint64_t
answer(struct admin_answer *a, const char *field)
{
	struct json_object o;
	uint64_t n = UINT64_MAX;

	if (json_parse(a->last.text, &o) && json_get(&o, field) != NULL)
		n = json_get_u64(&o, field);
	admin_free(a);
	return n;
}

static uint64_t
add_file(struct store *s, const char *user, const char *path, uint64_t ident, unsigned records)
{
	struct store_file f = kit_file(ident);
	char text[4000];
	bool added;

	snprintf(f.path, sizeof(f.path), "%s", path);
	if (user != NULL)
		userid_of_name(view_of(user), f.user);
	if (store_begin(s) != STORE_OK || store_file_put(s, &f) != STORE_OK)
		abort();
	for (unsigned v = 1; v <= records; v++) {
		snprintf(text, sizeof(text), "%u %s %3000u", v, MARK, v);
		struct store_record r = { .client_version = v, .data = (uint8_t *)text, .len = (uint32_t)strlen(text) };

		if (store_append(s, f.id, &r, &added) != STORE_OK)
			abort();
	}
	if (store_commit(s, true) != STORE_OK)
		abort();
	return f.id;
}

static void
put(struct store *s, enum store_table t, const void *key, size_t len, const void *val, size_t val_len)
{
	if (store_begin(s) != STORE_OK || store_put(s, t, key, len, val, val_len) != STORE_OK || store_commit(s, true) != STORE_OK)
		abort();
}

static void
add_token(struct store *s, const char *user, uint8_t first)
{
	uint8_t key[32] = { first }, id[USERID];
	char val[128], hex[USERID_TEXT];

	userid_of_name(view_of(user), id);
	userid_text(id, hex);
	snprintf(val, sizeof(val), "1800000000000 0001020304050607 %s", hex);
	put(s, STORE_TOKENS, key, sizeof(key), val, strlen(val));
}

static void
add_credential(struct store *s, uint64_t file_id, const char *token)
{
	uint8_t key[CREDENTIAL_KEY], val[STORE_VALUE_MAX];
	struct credential k = { (char *)(uintptr_t)"/realm-sync", (char *)(uintptr_t)"x", (char *)(uintptr_t)"Bearer opaque", (char *)(uintptr_t)"sdk",
				(char *)(uintptr_t)token };
	size_t n = credential_pack(&k, val);

	credential_key(key, file_id);
	put(s, STORE_TOKENS, key, sizeof(key), val, n);
}

static void
add_idents(struct store *s, const char *path, const char *token)
{
	struct ident_pair pair = { "upstream/realm-sync", view_of(path), false };
	struct ident_op op = { .now_ms = 1, .max_age_ms = 100, .keep = 4, .add = { .n = 1, .at = { { 7, 8, 1 } } } };

	ident_key(&pair, view_of(token), op.key);
	op.name_len = ident_format_name(&pair, op.name);
	ident_keep(s, &op);
	if (op.err != STORE_OK)
		abort();
}

static void
add_state(struct store *s, const char *path, uint64_t id)
{
	struct store_file f = kit_file(1);
	struct stateset set = { .id = id, .endpoint = f.endpoint, .path = (char *)(uintptr_t)path, .bytes = 5000, .complete = true };
	struct statedisk_step head = { .kind = STEP_HEAD, .id = id };

	head.data = statedisk_head(&set, &head.len);
	statedisk_run(&head, s);
	if (head.err != STORE_OK)
		abort();
	free(head.data);
}

/* What a walk over a table finds of the user; removing: and removes. */
static uint64_t
values(struct store *s, const char *user, const char *table, bool removing)
{
	struct admin_answer a;
	char after[2 * STORE_KEY_MAX + 1] = "-";
	uint64_t sum = 0;
	bool done = false;

	while (!done) {
		struct json_object o;

		if (removing ? !ASK(s, &a, "forget-values", user, table, after, "remove") : !ASK(s, &a, "forget-values", user, table, after))
			abort();
		if (!json_parse(a.last.text, &o))
			abort();
		sum += json_get_u64(&o, "values");
		done = json_get_bool(&o, "done");
		snprintf(after, sizeof(after), "%s", json_get(&o, "next"));
		admin_free(&a);
	}
	return sum;
}

TEST(whose)
{
	struct store *s = kit_open(harness_tmpdir());
	struct admin_answer a;
	uint64_t mine, shared, other;
	char id[24];

	log_set_level(LOG_ERROR);
	CHECK(s != NULL);
	mine = add_file(s, "u1", "/mine", 1, 0);
	shared = add_file(s, "u1", "/shared", 2, 0);
	other = add_file(s, "u2", "/shared", 3, 0);
	(void)add_file(s, NULL, "/mine/not", 4, 0);
	add_credential(s, mine, TOKEN_1);
	add_credential(s, other, TOKEN_2);
	for (uint8_t i = 0; i < 200; i++)
		add_token(s, i % 2 == 0 ? "u1" : "u2", i);
	add_idents(s, "/mine", TOKEN_1);
	add_idents(s, "/shared", TOKEN_1);
	add_idents(s, "/shared", TOKEN_2);
	add_state(s, "/mine", 1);
	add_state(s, "/shared", 2);
	CHECK(ASK(s, &a, "forget-files", "u1", "0"));
	CHECK_U64(answer(&a, "unknown"), 1);
	CHECK_U64(values(s, "u1", "tokens", false), 101);
	CHECK_U64(values(s, "u1", "idents", false), 2);
	CHECK_U64(values(s, "u1", "names", false), 2);
	CHECK_U64(values(s, "u3", "tokens", false), 0);
	CHECK(!ASK(s, &a, "forget-values", "u1", "meta", "-"));
	admin_free(&a);
	CHECK(!ASK(s, &a, "forget-values", "u1", "tokens", "xy"));
	admin_free(&a);
	CHECK(!ASK(s, &a, "forget-files", "", "0"));
	admin_free(&a);

	snprintf(id, sizeof(id), "%llu", (unsigned long long)other);
	CHECK(!ASK(s, &a, "forget-file", "u1", id));
	admin_free(&a);
	snprintf(id, sizeof(id), "%llu", (unsigned long long)mine);
	CHECK(ASK(s, &a, "forget-file", "u1", id));
	CHECK_U64(a.forgotten.id, mine);
	CHECK_U64(answer(&a, "states"), 1);
	snprintf(id, sizeof(id), "%llu", (unsigned long long)shared);
	CHECK(ASK(s, &a, "forget-file", "u1", id));
	CHECK_U64(answer(&a, "states"), 0); /* u2 has that path too */
	CHECK_U64(values(s, "u1", "tokens", true), 100);
	CHECK_U64(values(s, "u1", "idents", true), 2);
	CHECK_U64(values(s, "u1", "names", true), 2);
	for (int i = 0; i < 3; i++)
		CHECK_U64(values(s, "u1", (const char *[]){ "tokens", "idents", "names" }[i], false), 0);
	CHECK_U64(values(s, "u2", "tokens", false), 101);
	CHECK_U64(values(s, "u2", "idents", false), 1);
	CHECK_U64(values(s, "u2", "names", false), 1);
	CHECK(ASK(s, &a, "stat"));
	CHECK_U64(answer(&a, "files"), 2);
	store_close(s);
}

TEST(backlog_first)
{
	struct store *s = kit_open(harness_tmpdir());
	struct admin_answer a;

	log_set_level(LOG_ERROR);
	CHECK(s != NULL);
	CHECK_U64(add_file(s, "u1", "/mine", 1, 3), 1);
	CHECK(!ASK(s, &a, "forget-file", "u1", "1"));
	CHECK_U64(a.forgotten.id, 0);
	admin_free(&a);
	CHECK(ASK(s, &a, "discard", "1"));
	admin_free(&a);
	CHECK(ASK(s, &a, "forget-file", "u1", "1"));
	admin_free(&a);
	CHECK(!ASK(s, &a, "forget-file", "u1", "1"));
	admin_free(&a);
	store_close(s);
}

/* How often MARK stands in the files of dir whose names begin with prefix. */
static unsigned
marks(const char *dir, const char *prefix)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	unsigned n = 0;

	while (d != NULL && (e = readdir(d)) != NULL) {
		char path[4096];
		size_t len, mark = strlen(MARK);
		char *text;
		FILE *f;

		if (strncmp(e->d_name, prefix, strlen(prefix)) != 0)
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		f = fopen(path, "re");
		text = malloc(64u << 20);
		len = f != NULL && text != NULL ? fread(text, 1, 64u << 20, f) : 0;
		for (char *p = text; (p = memmem(p, len - (size_t)(p - text), MARK, mark)) != NULL; p += mark)
			n++;
		free(text);
		if (f != NULL)
			fclose(f);
	}
	if (d != NULL)
		closedir(d);
	return n;
}

/* Removed is not gone: it stays in unused pages and in the log until those are made anew. */
TEST(what_stays_on_the_disk)
{
	const char *dir = harness_tmpdir();
	struct store *s = kit_open(dir);
	struct admin_answer a;

	log_set_level(LOG_ERROR);
	CHECK(s != NULL);
	CHECK_U64(add_file(s, "u1", "/mine", 1, 50), 1);
	CHECK_U64(add_file(s, "u2", "/other", 2, 0), 2);
	for (uint8_t i = 0; i < 40; i++) { /* of the two in turns, so that pages stay in use */
		uint8_t key[CREDENTIAL_KEY], val[STORE_VALUE_MAX];
		struct credential k = { (char *)(uintptr_t)(i % 2 == 0 ? "/" MARK : "/"), (char *)(uintptr_t)"x", (char *)(uintptr_t)"y",
					(char *)(uintptr_t)"z", (char *)(uintptr_t)(i % 2 == 0 ? TOKEN_1 : TOKEN_2) };

		credential_key(key, 100 + i);
		put(s, STORE_TOKENS, key, sizeof(key), val, credential_pack(&k, val));
	}
	CHECK_U64(store_checkpoint(s, true), STORE_OK);
	CHECK(marks(dir, "tokens") == 20);
	CHECK(marks(dir, "changesets") >= 50 && marks(dir, "log.") >= 50);
	CHECK(ASK(s, &a, "discard", "1"));
	admin_free(&a);
	CHECK(ASK(s, &a, "forget-file", "u1", "1"));
	admin_free(&a);
	CHECK_U64(values(s, "u1", "tokens", true), 20);
	CHECK_U64(store_checkpoint(s, true), STORE_OK);
	CHECK(marks(dir, "log.") >= 50);
	for (struct store_compaction c = { 0 }; !c.done;)
		CHECK_U64(store_compact(s, &c, 256), STORE_OK);
	CHECK(ASK(s, &a, "renew-log", "begin"));
	CHECK_U64(answer(&a, "done"), 0);
	for (bool done = false; !done;) {
		CHECK(ASK(s, &a, "renew-log"));
		done = strstr(a.last.text, "\"done\":true") != NULL;
		CHECK(done || strstr(a.last.text, "\"busy\":true") != NULL);
		admin_free(&a);
	}
	CHECK_U64(marks(dir, ""), 0);
	store_close(s);
	CHECK_U64(marks(dir, ""), 0);
	s = kit_open(dir);
	CHECK(s != NULL);
	CHECK(ASK(s, &a, "stat"));
	CHECK_U64(answer(&a, "files"), 1);
	store_close(s);
}
