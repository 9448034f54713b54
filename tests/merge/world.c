/* The server and its clients. Histories hold what was applied; what a merge dropped stays in them, marked. */
#include "tests/merge/world.h"

#include <stdlib.h>
#include <string.h>

void
world_init(struct world *w, const unsigned ident[WORLD_CLIENTS])
{
	w->fault = NULL;
	state_init(&w->server.state);
	w->server.n = 0;
	memset(w->server.has, 0, sizeof(w->server.has));
	for (unsigned c = 0; c < WORLD_CLIENTS; c++) {
		w->client[c].ident = ident[c];
		w->client[c].cursor = w->client[c].n = 0;
		state_init(&w->client[c].state);
	}
}

static void
note(struct world *w, const char *fault)
{
	if (w->fault == NULL)
		w->fault = fault;
}

static void
apply(struct world *w, struct state *s, const struct change *c)
{
	const char *fault;

	for (unsigned i = 0; i < c->n && w->fault == NULL; i++)
		if (!c->gone[i] && (fault = state_apply(s, &c->edit[i])) != NULL)
			note(w, fault);
}

void
world_commit(struct world *w, unsigned c, const struct change *change)
{
	struct client *k = &w->client[c];
	struct change *made = &k->made[k->n];

	if (k->n == WORLD_OWN)
		abort();
	*made = *change;
	made->version = ++k->n;
	made->base = k->cursor;
	if (made->origin == 0)
		made->origin = k->ident;
	k->merged[k->n - 1] = *made;
	apply(w, &k->state, made);
}

static void
append(struct server *s, unsigned c, const struct change *change)
{
	if (s->n == WORLD_HISTORY)
		abort();
	s->history[s->n] = *change;
	s->by[s->n] = c;
	for (unsigned k = 0; k < WORLD_CLIENTS; k++)
		s->merged[k][s->n] = *change;
	memcpy(s->progress[s->n], s->has, sizeof(s->has));
	s->n++;
}

/* Changesets with one base. */
static void
upload_group(struct world *w, unsigned c, struct change *changes, unsigned n)
{
	struct server *s = &w->server;
	struct change *ours[WORLD_HISTORY];
	unsigned nours = 0;
	const char *fault;

	for (unsigned v = changes->base; v < s->n; v++)
		if (s->by[v] != c)
			ours[nours++] = &s->merged[c][v];
	if ((fault = transform(changes, n, ours, nours)) != NULL)
		note(w, fault);
	for (unsigned i = 0; i < n && w->fault == NULL; i++) {
		apply(w, &s->state, &changes[i]);
		s->has[c] = changes[i].version;
		append(s, c, &changes[i]);
	}
}

void
world_upload(struct world *w, unsigned c, struct change *changes, unsigned n, unsigned has)
{
	unsigned first = 0, end;

	for (; first < n && w->fault == NULL; first = end) {
		for (end = first + 1; end < n && changes[end].base == changes[first].base;)
			end++;
		upload_group(w, c, changes + first, end - first);
	}
	w->server.has[c] = has;
}

void
world_download(struct world *w, unsigned c)
{
	struct server *s = &w->server;
	struct client *k = &w->client[c];
	const char *fault;

	for (; k->cursor < s->n && w->fault == NULL; k->cursor++) {
		unsigned v = k->cursor, nours = 0;
		struct change theirs = s->history[v], *ours[WORLD_OWN];

		if (s->by[v] == c)
			continue;
		for (unsigned i = s->progress[v][c]; i < k->n; i++)
			ours[nours++] = &k->merged[i];
		if ((fault = transform(&theirs, 1, ours, nours)) != NULL)
			note(w, fault);
		apply(w, &k->state, &theirs);
	}
}
