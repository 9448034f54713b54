/* The lists and small helpers that all parts of the client share; see world.h. Never sends or parses anything. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/client/conn.h"
#include "tests/client/session.h"
#include "tests/client/world.h"

uint64_t
world_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

uint64_t
world_random(struct world *w, uint64_t below)
{
	w->rng ^= w->rng << 13; /* xorshift64; the state is never 0 */
	w->rng ^= w->rng >> 7;
	w->rng ^= w->rng << 17;
	return below == 0 ? 0 : w->rng % below;
}

void *
world_grown(void *p, size_t size)
{
	p = realloc(p, size);
	if (p == NULL)
		abort();
	return p;
}

void
world_violation(struct world *w, const char *device, const char *why)
{
	char text[512];

	snprintf(text, sizeof text, "%s: %s", device, why);
	fprintf(stderr, "client: violation: %s\n", text);
	if (w->nviolation == w->violation_cap) {
		w->violation_cap = w->violation_cap * 2 + 16;
		w->violation = world_grown(w->violation, w->violation_cap * sizeof *w->violation);
	}
	if ((w->violation[w->nviolation++] = strdup(text)) == NULL)
		abort();
}

struct session *
world_find(const struct world *w, const char *name)
{
	for (size_t i = 0; i < w->nsession; i++)
		if (strcmp(w->session[i]->dev.name, name) == 0)
			return w->session[i];
	return NULL;
}

void
world_add_session(struct world *w, struct session *s)
{
	if (w->nsession == w->session_cap) {
		w->session_cap = w->session_cap * 2 + 16;
		w->session = world_grown(w->session, w->session_cap * sizeof *w->session);
	}
	w->session[w->nsession++] = s;
}

struct conn *
world_conn(struct world *w, const char *key)
{
	for (size_t i = 0; key != NULL && i < w->nconn; i++)
		if (conn_key(w->conn[i]) != NULL && strcmp(conn_key(w->conn[i]), key) == 0)
			return w->conn[i];
	if (w->nconn == w->conn_cap) {
		w->conn_cap = w->conn_cap * 2 + 16;
		w->conn = world_grown(w->conn, w->conn_cap * sizeof *w->conn);
	}
	return w->conn[w->nconn++] = conn_new(w, key);
}
