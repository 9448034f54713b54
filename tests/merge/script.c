/* Making, playing and printing scripts. */
#include "tests/merge/script.h"

#include <stdlib.h>
#include <string.h>

/* ---- playing ---- */

static void
send(struct world *w, const struct script *s, const struct backlog *b, unsigned from, unsigned upto)
{
	struct change piece[WORLD_OWN];
	unsigned n = 0;

	for (unsigned v = from; v < upto; v++) {
		if (b->empty[v])
			continue;
		piece[n] = b->change[v];
		piece[n++].base = w->client[0].made[v].base; /* what is not sent gets no version of the server's */
	}
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

/* The device makes its next changeset as it is sent. */
static void
play_as_sent(struct world *w, const struct script *s, const struct backlog *b, const struct event *e)
{
	unsigned v = w->client[0].n;
	struct change made = e->made;

	if (v >= s->first && v < s->backlog) {
		made = b->change[v];
		made.origin = e->made.origin;
		if (b->empty[v])
			made.n = 0;
	}
	world_commit(w, 0, &made);
}

const struct event *
script_play(const struct script *s, struct world *w, const struct backlog *sent, bool made, unsigned held)
{
	unsigned at[WORLD_CLIENTS] = { 0 };

	world_init(w, s->ident);
	for (unsigned i = 0; i < s->n; i++) {
		const struct event *e = &s->event[i];

		if (e->what == SEND && held > 0)
			held--;
		else if (made && e->what == COMMIT && e->c == 0)
			play_as_sent(w, s, sent, e);
		else
			play(w, s, sent, e, &at[e->c]);
		if (w->fault != NULL)
			return e;
	}
	return NULL;
}

/* ---- making ---- */

static void
add(struct script *s, struct world *w, const struct backlog *b, const struct event *e)
{
	if (w->fault != NULL)
		return;
	if (s->n == SCRIPT_EVENTS)
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
	for (e.made.n = 0; e.made.n < 1 + below(&s->rng, s->brief ? 3 : CHANGE_EDITS - 1); e.made.n++) {
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

static unsigned
another(struct script *s)
{
	return 1 + below(&s->rng, WORLD_CLIENTS - 1);
}

static void
make_offline_part(struct script *s, struct world *w)
{
	unsigned events = s->brief ? 2 + below(&s->rng, 4) : 5 + below(&s->rng, 9);

	while (events-- > 0) {
		unsigned c = another(s), dice = below(&s->rng, 100);

		if (dice < (s->restless ? 45 : 55) && w->client[0].n < WORLD_OWN - 5)
			add_commit(s, w, 0);
		else if (dice < (s->restless ? 60 : 75))
			add_commit(s, w, c);
		else if (dice < (s->restless ? 78 : 88))
			add_upload(s, w, c);
		else if (dice < (s->restless ? 82 : 94))
			add_download(s, w, c);
		else
			add_download(s, w, 0);
	}
}

/* The link is back for a while: some of the backlog is sent, and the device sees what others did. */
static void
make_interlude(struct script *s, struct world *w)
{
	struct event e = { .what = SEND, .c = 0 };
	static struct backlog raw;

	s->turn = w->client[0].n;
	s->second = e.upto = s->sent[0] + below(&s->rng, s->turn - s->sent[0] + 1);
	if (e.upto > s->sent[0]) {
		memcpy(raw.change, w->client[0].made, sizeof(raw.change));
		add(s, w, &raw, &e);
		s->pieces++;
	}
	for (unsigned c = 1; c < WORLD_CLIENTS; c++) {
		if (chance(&s->rng, 50))
			add_upload(s, w, c);
		if (chance(&s->rng, 30))
			add_download(s, w, c);
	}
	if (chance(&s->rng, 70))
		add_download(s, w, 0);
}

static void
make_replay(struct script *s, struct world *w, const struct backlog *b)
{
	struct event e = { .what = SEND, .c = 0, .upto = s->sent[0] };

	while (e.upto < s->backlog) {
		e.upto += 1 + below(&s->rng, s->backlog - e.upto);
		add(s, w, b, &e);
		s->pieces++;
		if (s->live && chance(&s->rng, 50)) {
			unsigned c = another(s);

			add_download(s, w, c);
			if (chance(&s->rng, 60))
				add_commit(s, w, c);
		}
		if (chance(&s->rng, 40))
			add_upload(s, w, another(s));
		if (chance(&s->rng, 15))
			add_download(s, w, 0);
	}
}

static void
draw(struct script *s, uint64_t seed)
{
	static const unsigned idents[] = { 1, 4, 9 };

	memset(s, 0, offsetof(struct script, event));
	s->rng.x = seed * 0x2545f4914f6cdd1du + 1;
	s->n = 0;
	s->focus = (struct focus){ 1 + below(&s->rng, 2), FIELDS[below(&s->rng, sizeof(FIELDS) - 1)], 30 + below(&s->rng, 60), true, false, false };
	s->way = (enum way)(chance(&s->rng, 60) ? MERGED : RAW_THEN_MERGED + below(&s->rng, 3));
	s->again = s->way == TWICE && chance(&s->rng, 50);
	s->focus.add_to_mixed = s->way != MERGED_THEN_RAW;
	s->focus.columns = chance(&s->rng, 5);
	s->brief = chance(&s->rng, 30);
	s->focus.moody = chance(&s->rng, 20);
	if (s->focus.moody) {
		s->focus.field = 'm';
		s->focus.percent = 85;
	}
	s->still = chance(&s->rng, 8);
	s->restless = s->again || chance(&s->rng, 30);
	s->live = !s->again && chance(&s->rng, 40);
	if (s->still)
		s->focus.percent = 85;
	for (unsigned c = 0; c < WORLD_CLIENTS; c++) {
		s->ident[c] = 3 * idents[(c + seed) % 3];
		s->clock[c] = s->still ? 30 : 30 + below(&s->rng, 10);
	}
}

void
script_begin(struct script *s, struct world *w, uint64_t seed)
{
	draw(s, seed);
	world_init(w, s->ident);
	add_commit(s, w, 1); /* what is there before */
	add_commit(s, w, 1);
	add_settle(s, w);
	s->first = w->client[0].n;
	s->late_progress = chance(&s->rng, 30);
	make_offline_part(s, w);
	if (s->again) {
		make_interlude(s, w);
		make_offline_part(s, w);
	}
	s->backlog = w->client[0].n;
	if (!s->again) {
		s->turn = s->first + below(&s->rng, s->backlog - s->first + 1);
		s->second = s->turn / 2;
	}
	s->unread = chance(&s->rng, 8) && s->backlog > s->first ? s->first + 1 + below(&s->rng, s->backlog - s->first) : 0;
}

void
script_end(struct script *s, struct world *w, const struct backlog *sent)
{
	make_replay(s, w, sent);
	for (unsigned after = s->brief ? 0 : below(&s->rng, 3); after > 0; after--) {
		if (chance(&s->rng, 50))
			add_download(s, w, 0);
		add_commit(s, w, 0);
	}
	add_settle(s, w);
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

/* Version v + 1 as it is sent, if that is not all of the n edits that were made. */
static void
print_sent(FILE *f, const struct backlog *sent, unsigned v, unsigned n)
{
	if (sent->empty[v]) {
		fprintf(f, "   emptied\n");
	} else if (sent->change[v].n != n) {
		fprintf(f, "   sent as\n");
		print_change(f, &sent->change[v]);
	}
}

void
script_print(FILE *f, const struct script *s, const struct backlog *sent)
{
	static const char *const ways[] = { "merged", "raw, then merged", "merged, then raw", "twice" };
	unsigned version[WORLD_CLIENTS] = { 0 };

	fprintf(f, "way: %s, turn %u, second from %u, unread %u, late progress %d, live %d\n", ways[s->way], s->turn, s->second, s->unread,
		s->late_progress, s->live);
	for (unsigned i = 0; i < s->n; i++) {
		const struct event *e = &s->event[i];

		switch (e->what) {
		case COMMIT:
			fprintf(f, "client %u commits %u at %llu, origin %u\n", e->c, ++version[e->c], (unsigned long long)e->made.timestamp,
				e->made.origin);
			print_change(f, &e->made);
			if (e->c == 0 && version[0] > s->first && version[0] <= s->backlog && sent != NULL)
				print_sent(f, sent, version[0] - 1, e->made.n);
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
