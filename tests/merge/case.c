/* One case, in three steps.
 *
 * First a script is made by playing it: client 0, the device behind the relay, makes its backlog; the others make changesets, upload
 * them at any time and see each other's; the device may see them too, so that its base changes, while its own changesets wait. Then the
 * relay sends the backlog in pieces, with uploads of the others and downloads of the device in between. Then the device makes a few
 * more, everybody takes everything. What an edit is was decided by the data its maker saw, so all of it can be applied.
 *
 * Then the same script is played with the pre-merged backlog: all of it; or as if upstream held a prefix already as it was made; or the
 * reverse, the device itself brings the rest as it was made; or in two passes, with some sent in between.
 *
 * At the end the server and all clients must have the same data, and the same as without pre-merge. Nobody but the device downloads
 * while the backlog is on its way: what another one would make of a half-sent backlog is not in the script. */
#include "tests/merge/case.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/premerge.h"
#include "tests/merge/random.h"
#include "tests/merge/world.h"

#define EVENTS_MAX 64
#define PREMERGE_BYTES (1 << 20)

enum what { COMMIT, UPLOAD, DOWNLOAD, SEND };
struct event {
	enum what what;
	unsigned c;	    /* who */
	struct change made; /* COMMIT */
	unsigned upto;	    /* UPLOAD, SEND: its changesets up to this version */
};

enum way { RAW, MERGED, RAW_THEN_MERGED, MERGED_THEN_RAW, TWICE };

struct script {
	struct rng rng;
	struct focus focus;
	unsigned ident[WORLD_CLIENTS];
	uint64_t clock[WORLD_CLIENTS];
	bool still; /* all clocks stand: only idents tell who is newer */
	unsigned sent[WORLD_CLIENTS]; /* while it is made: uploaded up to */
	unsigned backlog;	      /* changesets of the device up to this version go through the relay */
	unsigned unread;	      /* this one of them the relay cannot decode; 0: none */
	enum way way;
	unsigned turn; /* where the way turns from raw to merged or the reverse */
	bool late_progress; /* the progress sent with a piece is that of its last changeset that is not empty */
	struct event event[EVENTS_MAX];
	unsigned n;
};

/* A backlog as it is sent; by version - 1. */
struct backlog {
	struct change change[WORLD_OWN];
	bool empty[WORLD_OWN];
};

/* ---- playing a script ---- */

static void
send(struct world *w, const struct script *s, const struct backlog *b, unsigned from, unsigned upto)
{
	struct change piece[WORLD_OWN];
	unsigned n = 0;

	for (unsigned v = from; v < upto; v++)
		if (!b->empty[v])
			piece[n++] = b->change[v];
	if (s->late_progress && n > 0)
		upto = piece[n - 1].version;
	else if (s->late_progress)
		upto = w->server.has[0];
	world_upload(w, 0, piece, n, upto);
}

static void
play(struct world *w, const struct script *s, const struct backlog *b, const struct event *e, unsigned *at)
{
	struct change piece[WORLD_OWN];
	unsigned n = e->upto - *at;

	switch (e->what) {
	case COMMIT:
		world_commit(w, e->c, &e->made);
		return;
	case DOWNLOAD:
		world_download(w, e->c);
		return;
	case SEND:
		send(w, s, b, *at, e->upto);
		break;
	case UPLOAD:
		memcpy(piece, w->client[e->c].made + *at, n * sizeof(*piece));
		world_upload(w, e->c, piece, n, e->upto);
	}
	*at = e->upto;
}

static void
play_all(struct world *w, const struct script *s, const struct backlog *b)
{
	unsigned at[WORLD_CLIENTS] = { 0 };

	world_init(w, s->ident);
	for (unsigned i = 0; i < s->n && w->fault == NULL; i++)
		play(w, s, b, &s->event[i], &at[s->event[i].c]);
}

/* ---- making one ---- */

static void
add(struct script *s, struct world *w, const struct backlog *b, const struct event *e)
{
	if (s->n == EVENTS_MAX)
		abort();
	s->event[s->n++] = *e;
	play(w, s, b, e, &s->sent[e->c]);
}

static void
add_commit(struct script *s, struct world *w, unsigned c)
{
	static const unsigned steps[] = { 0, 1, 1, 2, 5, 9 };
	struct event e = { .what = COMMIT, .c = c };
	static struct state state;

	if (w->client[c].n == WORLD_OWN)
		return;
	if (!s->still)
		s->clock[c] += steps[below(&s->rng, 6)];
	if (!s->still && chance(&s->rng, 8) && s->clock[c] > 20)
		s->clock[c] -= 5 + below(&s->rng, 15);
	e.made.timestamp = s->clock[c];
	if (c == 0 && chance(&s->rng, s->still ? 40 : 4))
		e.made.origin = 1 + below(&s->rng, 29); /* somebody behind the device */
	state = w->client[c].state;
	for (e.made.n = 0; e.made.n < 1 + below(&s->rng, CHANGE_EDITS - 1); e.made.n++) {
		random_edit(&s->rng, &s->focus, &state, &e.made.edit[e.made.n]);
		if (state_apply(&state, &e.made.edit[e.made.n]) != NULL)
			abort(); /* random_edit makes what fits */
	}
	add(s, w, NULL, &e);
}

static void
add_upload(struct script *s, struct world *w, unsigned c)
{
	struct event e = { .what = UPLOAD, .c = c, .upto = s->sent[c] };

	if (w->client[c].n == s->sent[c])
		return;
	e.upto += 1 + below(&s->rng, w->client[c].n - s->sent[c]);
	add(s, w, NULL, &e);
}

static void
add_download(struct script *s, struct world *w, unsigned c)
{
	struct event e = { .what = DOWNLOAD, .c = c };

	add(s, w, NULL, &e);
}

/* All have what the others made. */
static void
add_settle(struct script *s, struct world *w)
{
	for (unsigned c = 0; c < WORLD_CLIENTS; c++) {
		struct event e = { .what = UPLOAD, .c = c, .upto = w->client[c].n };

		if (w->client[c].n > s->sent[c])
			add(s, w, NULL, &e);
	}
	for (unsigned c = 0; c < WORLD_CLIENTS; c++)
		add_download(s, w, c);
}

static void
make_offline_part(struct script *s, struct world *w)
{
	unsigned events = 5 + below(&s->rng, 9);

	while (events-- > 0) {
		unsigned c = 1 + below(&s->rng, WORLD_CLIENTS - 1), dice = below(&s->rng, 100);

		if (dice < 55 && w->client[0].n < WORLD_OWN - 5)
			add_commit(s, w, 0);
		else if (dice < 75)
			add_commit(s, w, c);
		else if (dice < 88)
			add_upload(s, w, c);
		else if (dice < 94)
			add_download(s, w, c);
		else
			add_download(s, w, 0);
	}
}

static void
make_replay(struct script *s, struct world *w, const struct backlog *raw)
{
	struct event e = { .what = SEND, .c = 0, .upto = s->sent[0] };

	while (e.upto < s->backlog) {
		unsigned c = 1 + below(&s->rng, WORLD_CLIENTS - 1);

		e.upto += 1 + below(&s->rng, s->backlog - e.upto);
		add(s, w, raw, &e);
		if (chance(&s->rng, 40))
			add_upload(s, w, c);
		if (chance(&s->rng, 15))
			add_download(s, w, 0);
	}
}

static void
make(struct script *s, struct world *w, struct backlog *raw, uint64_t seed)
{
	static const unsigned idents[] = { 1, 4, 9 };
	unsigned first, after;

	memset(s, 0, offsetof(struct script, event));
	s->rng.x = seed * 0x2545f4914f6cdd1du + 1;
	s->n = 0;
	s->focus = (struct focus){ 1 + below(&s->rng, 2), FIELDS[below(&s->rng, sizeof(FIELDS) - 1)], 30 + below(&s->rng, 60), true };
	s->way = (enum way)(chance(&s->rng, 60) ? MERGED : RAW_THEN_MERGED + below(&s->rng, 3));
	s->focus.add_to_mixed = s->way != MERGED_THEN_RAW;
	s->still = chance(&s->rng, 8);
	if (s->still)
		s->focus.percent = 85;
	for (unsigned c = 0; c < WORLD_CLIENTS; c++) {
		s->ident[c] = 3 * idents[(c + seed) % 3];
		s->clock[c] = s->still ? 30 : 30 + below(&s->rng, 10);
	}
	world_init(w, s->ident);
	add_commit(s, w, 1); /* what is there before */
	add_commit(s, w, 1);
	add_settle(s, w);
	first = w->client[0].n;
	make_offline_part(s, w);
	s->backlog = w->client[0].n;
	memcpy(raw->change, w->client[0].made, sizeof(raw->change));
	memset(raw->empty, 0, sizeof(raw->empty));
	s->late_progress = chance(&s->rng, 30);
	s->turn = first + below(&s->rng, s->backlog - first + 1);
	s->unread = chance(&s->rng, 8) && s->backlog > first ? first + 1 + below(&s->rng, s->backlog - first) : 0;
	make_replay(s, w, raw);
	for (after = below(&s->rng, 3); after > 0; after--) {
		if (chance(&s->rng, 50))
			add_download(s, w, 0);
		add_commit(s, w, 0);
	}
	add_settle(s, w);
}

/* ---- pre-merge ---- */

static struct view
encode(const struct change *c, struct cs_writer *w)
{
	struct edit_strings strings = { .n = 0 };

	w->len = 0;
	for (unsigned i = 0; i < c->n; i++)
		edit_write(w, &strings, &c->edit[i]);
	return (struct view){ w->buf, w->len };
}

static void
decode(struct change *c, struct view bytes)
{
	struct cs_parsed parsed = { 0 };

	if (cs_parse(&parsed, bytes.ptr, bytes.len) != PROTO_OK)
		abort();
	c->n = 0;
	for (size_t i = 0; i < parsed.n; i++)
		c->n += edit_read(&parsed, i, &c->edit[c->n]);
	cs_free(&parsed);
}

/* One pass over the changesets of b from version `from' + 1 up to version upto. */
static void
pass(const struct script *s, struct premerge *p, struct backlog *b, unsigned from, unsigned upto)
{
	struct cs_writer w = { 0 };

	for (unsigned v = upto; v-- > from;) {
		struct change *c = &b->change[v];
		struct upload_entry e = { .client_version = c->version, .server_version = c->base, .origin_timestamp = c->timestamp,
			.origin_file_ident = c->origin == s->ident[0] ? 0 : c->origin };
		struct view out;

		if (!b->empty[v])
			e.changeset = encode(c, &w);
		if (c->version == s->unread && e.changeset.len > 0)
			e.changeset.len--;
		switch (premerge_feed(p, &e, &out)) {
		case PREMERGE_KEEP:
			break;
		case PREMERGE_REPLACE:
			decode(c, out);
			break;
		case PREMERGE_EMPTY:
			b->empty[v] = true;
		}
	}
	cs_writer_free(&w);
}

/* The backlog as it is sent. */
static void
premerge(const struct script *s, const struct backlog *raw, struct backlog *b, struct case_sums *sums)
{
	struct premerge *p = premerge_new(PREMERGE_BYTES);
	struct premerge_stats stats;
	unsigned kept_from = s->way == MERGED_THEN_RAW ? s->turn : 0, kept_to = s->way == RAW_THEN_MERGED ? s->turn : s->backlog;

	*b = *raw;
	if (s->way == TWICE) { /* half of what the first pass saw is sent before the second one */
		pass(s, p, b, 0, s->turn);
		pass(s, p, b, s->turn / 2, s->backlog);
	} else {
		pass(s, p, b, 0, s->backlog);
	}
	for (unsigned v = kept_from; v < kept_to && (s->way == MERGED_THEN_RAW || s->way == RAW_THEN_MERGED); v++) {
		b->change[v] = raw->change[v];
		b->empty[v] = false;
	}
	stats = premerge_stats(p);
	sums->changesets += stats.changesets;
	sums->emptied += stats.emptied;
	sums->instructions += stats.instructions;
	sums->dropped += stats.dropped;
	premerge_free(p);
}

/* ---- printing ---- */

static void
print_edit(FILE *f, const struct edit *e)
{
	static const char *const names[] = { "AddTable", "EraseTable", "Create", "Erase", "Update", "Add", "AddColumn", "EraseColumn",
		"Insert", "Move", "Remove", "Clear", "SetInsert", "SetErase" };

	fprintf(f, "      %s %s", names[e->code], e->table);
	if (e->key != 0)
		fprintf(f, "%lld", (long long)e->key);
	if (e->field[0] != '\0')
		fprintf(f, ".%s", e->field);
	for (unsigned i = 0; i < e->n; i++) {
		if (e->path[i].is_index)
			fprintf(f, "[%u]", e->path[i].index);
		else
			fprintf(f, ".%s", e->path[i].key);
	}
	if (cs_has_payload(e->code))
		fprintf(f, " type %d %lld%s", e->value.type, (long long)e->value.integer, e->is_default ? " default" : "");
	if (e->code == CS_ADD_INTEGER)
		fprintf(f, " %+lld", (long long)e->number);
	fprintf(f, e->prior_size > 0 ? " of %u\n" : "\n", e->prior_size);
}

static void
print_change(FILE *f, const struct change *c)
{
	for (unsigned i = 0; i < c->n; i++)
		print_edit(f, &c->edit[i]);
}

static void
print_script(FILE *f, const struct script *s, const struct backlog *merged)
{
	static const char *const ways[] = { "raw", "merged", "raw, then merged", "merged, then raw", "twice" };
	unsigned version[WORLD_CLIENTS] = { 0 };

	fprintf(f, "way: %s, turn %u, unread %u, late progress %d\n", ways[s->way], s->turn, s->unread, s->late_progress);
	for (unsigned i = 0; i < s->n; i++) {
		const struct event *e = &s->event[i];

		switch (e->what) {
		case COMMIT:
			fprintf(f, "client %u commits %u at %llu, origin %u\n", e->c, ++version[e->c], (unsigned long long)e->made.timestamp,
				e->made.origin);
			print_change(f, &e->made);
			if (e->c == 0 && version[0] <= s->backlog && merged->empty[version[0] - 1])
				fprintf(f, "   emptied\n");
			else if (e->c == 0 && version[0] <= s->backlog && merged->change[version[0] - 1].n != e->made.n) {
				fprintf(f, "   sent as\n");
				print_change(f, &merged->change[version[0] - 1]);
			}
			break;
		case UPLOAD:
			fprintf(f, "client %u uploads up to %u\n", e->c, e->upto);
			break;
		case DOWNLOAD:
			fprintf(f, "client %u downloads\n", e->c);
			break;
		case SEND:
			fprintf(f, "the relay sends up to %u\n", e->upto);
		}
	}
}

static void
print_world(FILE *f, const char *name, const struct world *w)
{
	fprintf(f, "%s: %s\n   server ", name, w->fault != NULL ? w->fault : "no fault");
	state_print(f, &w->server.state);
	for (unsigned c = 0; c < WORLD_CLIENTS; c++) {
		fprintf(f, "   %u      ", c);
		state_print(f, &w->client[c].state);
	}
}

/* ---- the property ---- */

/* NULL if server and clients agree. */
static const char *
agree(const struct world *w)
{
	if (w->fault != NULL)
		return w->fault;
	for (unsigned c = 0; c < WORLD_CLIENTS; c++)
		if (!state_equal(&w->server.state, &w->client[c].state))
			return c == 0 ? "the device differs from the server" : "another client differs from the server";
	return NULL;
}

/* Do the others come to terms without the device? Two lists that meet in one mixed field may not, by the rules of the reference; if
 * something in the backlog hides that, dropping it brings it to light. */
static bool
others_agree(const struct script *s, const struct backlog *raw)
{
	static struct script others;
	static struct world w;

	others = *s;
	others.n = 0;
	for (unsigned i = 0; i < s->n; i++)
		if (s->event[i].c != 0)
			others.event[others.n++] = s->event[i];
	play_all(&w, &others, raw);
	world_download(&w, 0);
	return agree(&w) == NULL;
}

const char *
case_run(uint64_t seed, struct case_sums *sums, FILE *f)
{
	static struct world raw_world, world;
	static struct script s;
	static struct backlog raw, merged;
	const char *fault;

	sums->cases++;
	make(&s, &raw_world, &raw, seed);
	if ((fault = agree(&raw_world)) != NULL) {
		sums->unusable++;
		if (f != NULL)
			fprintf(f, "unusable: %s\n", fault);
		memset(merged.empty, 0, sizeof(merged.empty));
		memcpy(merged.change, raw.change, sizeof(merged.change));
	} else {
		premerge(&s, &raw, &merged, sums);
		play_all(&world, &s, &merged);
		if ((fault = agree(&world)) == NULL && !state_equal(&world.server.state, &raw_world.server.state))
			fault = "all agree on other data than without pre-merge";
		if (fault != NULL && !others_agree(&s, &raw)) {
			sums->unusable++;
			fault = NULL;
		}
	}
	if (f != NULL) {
		print_script(f, &s, &merged);
		print_world(f, "without pre-merge", &raw_world);
		print_world(f, "with pre-merge", &world);
	}
	for (unsigned c = 1; c < WORLD_CLIENTS; c++)
		sums->concurrent += raw_world.client[c].n;
	return agree(&raw_world) != NULL ? NULL : fault;
}
