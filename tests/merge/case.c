/* One case. Its script (script.h) is played as it is and with the backlog pre-merged: at the end the server and all clients must have the
 * same data, and the same as without pre-merge. While the backlog of a live case is on its way the others make more of what they see of it, so
 * there is nothing to compare with; but the device has made all of the backlog, so that it agrees with the server says as much.
 *
 * What the reference makes of a backlog can depend on when it comes: a write that is there already drops what arrives from others, and what was
 * dropped drops nothing more. So the same data may also be what it comes to, without pre-merge, when the first pieces come later.
 *
 * Nothing may be refused on the way (a path, a value, a size that does not fit): that is a failure of the case too.
 *
 * The rules of the reference do not always converge (test_merge.c shows how), and what pre-merge drops may have hidden that. So a case that
 * fails is played once more without pre-merge, with a device that makes just what is sent and nothing else. If its edits can be made, and
 * the peers still do not come to terms, then it is not pre-merge that keeps them apart, and the case is of no use. */
#include "tests/merge/case.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/premerge.h"
#include "tests/merge/script.h"

#define PREMERGE_BYTES (1 << 20)

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
	if (s->way == TWICE) { /* some of what the first pass saw is sent before the second one */
		pass(s, p, b, 0, s->turn);
		pass(s, p, b, s->second, s->backlog);
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

/* Would the peers come to terms if the device had made what is sent? */
static bool
reference_converges(const struct script *s, const struct backlog *sent)
{
	static struct world w;
	const struct event *e = script_play(s, &w, sent, true, 0);

	return agree(&w) == NULL || (e != NULL && e->what == COMMIT && e->c == 0);
}

/* Without pre-merge, as far as there is such a thing; false: they do not come to terms. */
static bool
run_raw(struct script *s, struct world *w, const struct backlog *raw)
{
	if (s->live)
		return w->fault == NULL;
	script_end(s, w, raw);
	return agree(w) == NULL;
}

/* Does all come to this, without pre-merge, when the first pieces come a little later? */
static bool
is_reached_later(const struct script *s, const struct backlog *raw, const struct state *server)
{
	static struct world w;

	for (unsigned held = 1; held < s->pieces; held++) {
		(void)script_play(s, &w, raw, false, held);
		if (agree(&w) == NULL && state_equal(&w.server.state, server))
			return true;
	}
	return false;
}

static const char *
run_merged(struct script *s, struct world *w, const struct world *raw, const struct backlog *made, const struct backlog *sent)
{
	const char *fault;

	if (s->live)
		script_end(s, w, sent);
	else
		(void)script_play(s, w, sent, false, 0);
	fault = agree(w);
	if (fault == NULL && !s->live && !state_equal(&w->server.state, &raw->server.state) && !is_reached_later(s, made, &w->server.state))
		fault = "all agree on other data than without pre-merge";
	return fault;
}

const char *
case_run(uint64_t seed, struct case_sums *sums, FILE *f)
{
	static struct world raw_world, world;
	static struct script s;
	static struct backlog raw, sent;
	const char *fault = NULL;

	sums->cases++;
	script_begin(&s, &raw_world, seed);
	memcpy(raw.change, raw_world.client[0].made, sizeof(raw.change));
	memset(raw.empty, 0, sizeof(raw.empty));
	sent = raw;
	world = raw_world;
	if (!run_raw(&s, &raw_world, &raw)) {
		sums->unusable++;
	} else {
		premerge(&s, &raw, &sent, sums);
		fault = run_merged(&s, &world, &raw_world, &raw, &sent);
		if (fault != NULL && !reference_converges(&s, &sent)) {
			sums->unusable++;
			fault = NULL;
		}
	}
	if (f != NULL) {
		script_print(f, &s, &sent);
		print_world(f, "without pre-merge", &raw_world);
		print_world(f, "with pre-merge", &world);
	}
	for (unsigned c = 1; c < WORLD_CLIENTS; c++)
		sums->concurrent += raw_world.client[c].n;
	return fault;
}
