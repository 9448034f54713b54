/* "forget --user ID": everything that the buffer, and the daemon if one runs, has of a user goes, with the proof.
 *
 *   count -> (backlog? refused, or discarded by --discard) -> remove -> count again, until nothing is left or nothing helps
 *
 * The second count is the proof: the same walk over all tables as the first.  A client of that user's may have been in the middle of
 * something; what comes of that is found by the count and removed in the next round.  --dry-run only counts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "relay/ctl/ctl.h"
#include "relay/word.h"

#define ROUNDS 5

typedef unsigned long long ull;

enum kind { FILES, CHANGESETS, STATES, TOKENS, IDENTS, NAMES, KINDS };

/* As in the output; the last three are tables of "forget-values" as well. */
static const char *const kind_names[KINDS] = { "files", "changesets", "states", "tokens", "idents", "names" };
static const char *const kind_words[KINDS] = {
	"device files", "changesets that wait", "kept state files", "tokens and sessions", "reserved identities", "what these are for",
};

struct tally {
	uint64_t n[KINDS], bytes[KINDS];
	uint64_t unknown; /* files of which nobody knows whose they are */
	uint64_t owed;	  /* files with changesets that only this relay has, and the device thinks uploaded */
};

struct ids {
	uint64_t *id;
	size_t n, cap;
};

static char *
escaped(const char *user)
{
	char *word = malloc(3 * strlen(user) + 2);

	if (word == NULL)
		ctl_die(CTL_FAILED, "out of memory");
	word_escape(word, user);
	return word;
}

static void
add_id(struct ids *all, uint64_t id)
{
	size_t cap = all->cap > 0 ? 2 * all->cap : 64;
	uint64_t *p;

	if (all->n == all->cap) {
		if ((p = realloc(all->id, cap * sizeof(*p))) == NULL)
			ctl_die(CTL_FAILED, "out of memory");
		all->id = p;
		all->cap = cap;
	}
	all->id[all->n++] = id;
}

/* ---- counting ---- */

static void
count_file(struct ctl *c, struct tally *t, struct ids *all, const struct json_object *row, bool show)
{
	bool owed = json_get_u64(row, "records") > 0 && json_get_u64(row, "shown_client_version") > json_get_u64(row, "upstream_client_version");

	t->n[FILES]++;
	t->n[CHANGESETS] += json_get_u64(row, "records");
	t->bytes[CHANGESETS] += json_get_u64(row, "bytes");
	t->owed += owed;
	add_id(all, json_get_u64(row, "id"));
	if (show && c->json)
		ctl_print_row(row);
	if (show && !c->json) {
		printf("file %llu, %llu changesets%s: ", (ull)json_get_u64(row, "id"), (ull)json_get_u64(row, "records"),
		       owed ? ", ACKNOWLEDGED TO THE DEVICE BY THIS RELAY ONLY" : "");
		text_print_at(json_get(row, "endpoint"), json_get(row, "path"));
		putchar('\n');
	}
}

static void
count_files(struct ctl *c, const char *user, struct tally *t, struct ids *all, bool show)
{
	struct reply r = { 0 };
	struct json_object row;
	uint64_t next = 0;

	do {
		ctl_must(c, &r, NULL, 0, "forget-files %s %llu", user, (ull)next);
		next = json_get_u64(&r.end, "next");
		t->unknown += json_get_u64(&r.end, "unknown");
		while (reply_row(&r, &row))
			count_file(c, t, all, &row, show);
	} while (next != 0);
	reply_free(&r);
}

/* Counts, or removes and counts what was removed. */
static void
walk_values(struct ctl *c, const char *user, enum kind kind, struct tally *t, bool removing)
{
	char after[4096] = "-";
	struct reply r = { 0 };
	bool done = false;

	while (!done) {
		ctl_must(c, &r, NULL, 0, removing ? "forget-values %s %s %s remove" : "forget-values %s %s %s", user, kind_names[kind], after);
		t->n[kind] += json_get_u64(&r.end, "values");
		t->bytes[kind] += json_get_u64(&r.end, "bytes");
		snprintf(after, sizeof(after), "%s", json_get(&r.end, "next") != NULL ? json_get(&r.end, "next") : "-");
		done = json_get_bool(&r.end, "done");
	}
	reply_free(&r);
}

static void
count(struct ctl *c, const char *user, struct tally *t, struct ids *all, bool show)
{
	memset(t, 0, sizeof(*t));
	all->n = 0;
	count_files(c, user, t, all, show);
	for (enum kind k = TOKENS; k < KINDS; k++)
		walk_values(c, user, k, t, false);
}

/* ---- removing ---- */

static void
discard(struct ctl *c, uint64_t id, struct reply *r)
{
	do
		ctl_must(c, r, NULL, 0, "discard %llu", (ull)id);
	while (json_get_u64(&r->end, "left") > 0);
}

/* A file that is gone since, or has a backlog again, is the next round's. */
static void
remove_file(struct ctl *c, const char *user, uint64_t id, struct tally *gone)
{
	struct reply r = { 0 };

	discard(c, id, &r);
	if (source_ask(c->src, &r, NULL, 0, "forget-file %s %llu", user, (ull)id)) {
		gone->n[FILES]++;
		gone->n[STATES] += json_get_u64(&r.end, "states");
		gone->bytes[STATES] += json_get_u64(&r.end, "states_bytes");
	}
	reply_free(&r);
}

static void
tell_daemon(struct ctl *c, const char *user)
{
	struct reply r = { 0 };
	char line[8192];

	if (!source_is_live(c->src))
		return;
	snprintf(line, sizeof(line), "forget %s", user);
	ctl_daemon(c, &r, "%s", line);
	reply_free(&r);
}

static void
remove_all(struct ctl *c, const char *user, const struct ids *all, struct tally *gone)
{
	tell_daemon(c, user);
	for (size_t i = 0; i < all->n; i++)
		remove_file(c, user, all->id[i], gone);
	for (enum kind k = TOKENS; k < KINDS; k++)
		walk_values(c, user, k, gone, true);
}

/* Takes it out of free pages, the log and the base too.  False: there was no room for that, or a backup is being made. */
static bool
scrub(struct ctl *c)
{
	struct reply r = { 0 };
	bool done = false, ok;

	(void)ctl_compact_all(c);
	for (unsigned i = 0; i < ROUNDS && !done; i++) { /* a copy that was being made anyway ends first */
		for (ok = source_ask(c->src, &r, NULL, 0, "renew-log begin"); ok && !done;) {
			ok = source_ask(c->src, &r, NULL, 0, "renew-log");
			done = ok && json_get_bool(&r.end, "done");
			ok = ok && (done || json_get_bool(&r.end, "busy"));
		}
	}
	reply_free(&r);
	return done;
}

static bool
is_empty(const struct tally *t)
{
	uint64_t n = 0;

	for (enum kind k = FILES; k < KINDS; k++)
		n += t->n[k];
	return n == 0;
}

/* ---- the words ---- */

static void
print(struct ctl *c, const struct tally *before, const struct tally *gone, const struct tally *after, bool scrubbed)
{
	char bytes[TEXT_MAX], name[64];

	if (!c->json)
		printf("%-24s %10s %10s %10s %10s\n", "", "BEFORE", "BYTES", "REMOVED", "NOW");
	for (enum kind k = FILES; k < KINDS; k++) {
		uint64_t had = k == STATES ? gone->n[k] : before->n[k], had_bytes = k == STATES ? gone->bytes[k] : before->bytes[k];
		uint64_t removed = k == CHANGESETS ? before->n[k] - (after->n[k] < before->n[k] ? after->n[k] : before->n[k]) : gone->n[k];

		snprintf(name, sizeof(name), "%s_before", kind_names[k]);
		json_u64(&c->end, name, had);
		snprintf(name, sizeof(name), "%s_bytes", kind_names[k]);
		json_u64(&c->end, name, had_bytes);
		snprintf(name, sizeof(name), "%s_removed", kind_names[k]);
		json_u64(&c->end, name, c->dry ? 0 : removed);
		snprintf(name, sizeof(name), "%s_now", kind_names[k]);
		json_u64(&c->end, name, after->n[k]);
		if (!c->json)
			printf("%-24s %10llu %10s %10llu %10llu\n", kind_words[k], (ull)had, text_bytes(bytes, had_bytes), (ull)(c->dry ? 0 : removed),
			       (ull)after->n[k]);
	}
	json_bool(&c->end, "scrubbed", scrubbed);
	json_u64(&c->end, "owed_files", before->owed);
	json_u64(&c->end, "unknown_files", after->unknown);
	if (c->json)
		return;
	if (after->unknown > 0)
		printf("of %llu device files nobody knows whose they are: their devices have not come since this version, or come without a name\n",
		       (ull)after->unknown);
	if (!c->dry && is_empty(after))
		printf("a second walk over all tables found nothing of this user; %s\n",
		       scrubbed ? "unused pages and the log were renewed as well"
				: "what was removed may stay readable in the log, for want of room to renew it, or since a backup is being made");
}

static void
may_discard(const struct ctl *c, const struct tally *t)
{
	char answer[16];

	if (t->n[CHANGESETS] > 0 && !c->discard)
		ctl_die(CTL_FAILED, "%llu changesets of this user wait here%s: let them be replayed, or throw them away with --discard",
			(ull)t->n[CHANGESETS], t->owed > 0 ? ", and the device believes them uploaded" : "");
	if (c->yes || is_empty(t))
		return;
	if (!isatty(STDIN_FILENO))
		ctl_die(CTL_FAILED, "this throws data away: confirm with --yes");
	fprintf(stderr, "Remove all of this, %llu changesets included? [y/N] ", (ull)t->n[CHANGESETS]);
	if (fgets(answer, sizeof(answer), stdin) == NULL || (answer[0] != 'y' && answer[0] != 'Y'))
		ctl_die(CTL_FAILED, "nothing was removed");
}

void
ctl_forget(struct ctl *c)
{
	struct tally before, gone = { 0 }, after;
	struct ids all = { 0 };
	bool scrubbed = false;
	char *user;

	if (c->user == NULL || c->user[0] == '\0' || strlen(c->user) > 1024)
		ctl_die(CTL_FAILED, "name the user: --user ID, the claim \"sub\" of its tokens");
	user = escaped(c->user);
	count(c, user, &before, &all, true);
	after = before;
	if (!c->dry) {
		may_discard(c, &before);
		for (unsigned i = 0; i < ROUNDS && (i == 0 || !is_empty(&after)); i++) {
			remove_all(c, user, &all, &gone);
			count(c, user, &after, &all, false);
		}
		scrubbed = scrub(c);
		ctl_raise(c, !scrubbed ? CTL_LOOK : CTL_OK);
		ctl_raise(c, is_empty(&after) ? after.unknown > 0 ? CTL_LOOK : CTL_OK : CTL_FAILED);
	}
	print(c, &before, &gone, &after, scrubbed);
	free(all.id);
	free(user);
}
