/* Ordered misbehaviour of the stand-in upstream; see orders.h.
 *
 * For: commands.c, which gives the orders, and conn.c and session.c, which carry them out.
 * Never: acts itself.
 *
 * The one idea: everything a test can ask for is data in one struct, looked at where the thing would otherwise happen. */
#include <stdlib.h>
#include <string.h>

#include "tests/upstream/orders.h"

void
orders_init(struct orders *o)
{
	memset(o, 0, sizeof *o);
	o->cut_download = o->cut_upload = o->stop_state = ORDERS_NO_CUT;
	o->transact_status = 3;
	o->bootstrap = 1;
}

void
orders_no_refusals(struct orders *o)
{
	struct refusal *r;

	while ((r = o->refusals) != NULL) {
		o->refusals = r->next;
		free(r);
	}
}

void
orders_clear(struct orders *o)
{
	struct token_rule *t;

	orders_no_refusals(o);
	while ((t = o->tokens) != NULL) {
		o->tokens = t->next;
		free(t->token);
		free(t);
	}
	orders_init(o);
}

void
orders_refuse(struct orders *o, const struct refusal *r)
{
	struct refusal **end = &o->refusals, *copy = malloc(sizeof *copy);

	if (copy == NULL)
		abort();
	*copy = *r;
	copy->next = NULL;
	while (*end != NULL)
		end = &(*end)->next;
	*end = copy;
}

const struct refusal *
orders_refusal(struct orders *o, enum msg_type when, const char *path)
{
	static struct refusal last;
	struct refusal **at, *r;

	for (at = &o->refusals; (r = *at) != NULL; at = &r->next) {
		if (r->when != when || (r->path[0] != '\0' && strcmp(r->path, path) != 0))
			continue;
		last = *r;
		if (r->left != UINT64_MAX && --r->left == 0) {
			*at = r->next;
			free(r);
		}
		return &last;
	}
	return NULL;
}

void
orders_token(struct orders *o, const char *token, bool allow)
{
	struct token_rule *t;

	for (t = o->tokens; t != NULL && strcmp(t->token, token) != 0; t = t->next)
		;
	if (t == NULL) {
		t = calloc(1, sizeof *t);
		if (t == NULL || (t->token = strdup(token)) == NULL)
			abort();
		t->next = o->tokens;
		o->tokens = t;
	}
	t->allow = allow;
}

bool
orders_token_allowed(const struct orders *o, struct view token)
{
	const struct token_rule *t;
	bool allowed = true;

	for (t = o->tokens; t != NULL; t = t->next) {
		if (view_eq(view_of(t->token), token))
			return t->allow;
		if (strcmp(t->token, "*") == 0)
			allowed = t->allow;
	}
	return allowed;
}
