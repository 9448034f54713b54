/* See order.h.
 *
 * Why: changesets of a file that follow each other in a transaction share a record in the store (a run) and write the file's own record once
 * (buffer/store_run.c, store_files.c).  A hundred devices that upload at the same time come mixed; sorted, each has one run a group.  Between
 * files there is no order to keep: the group is one transaction, and its callbacks come as they were posted. */
#include <stdlib.h>
#include <string.h>

#include "relay/order.h"
#include "relay/relay.h"

static int
by_number(uint64_t a, uint64_t b)
{
	return (a > b) - (a < b);
}

/* Those that are about no file follow each other likewise. */
static const struct store_file *
file_of(const struct spool_op *op)
{
	static const struct store_file none;

	return op->file != NULL ? op->file : &none;
}

static int
by_name(const struct store_file *a, const struct store_file *b)
{
	int d = strcmp(a->path, b->path);

	return d != 0 ? d : strcmp(a->endpoint, b->endpoint);
}

static int
by_file(const struct order_place *a, const struct order_place *b)
{
	int d = by_number(a->part, b->part);

	d = d != 0 ? d : by_number(a->file_ident, b->file_ident);
	d = d != 0 ? d : by_number(a->file_ident_salt, b->file_ident_salt);
	return d != 0 ? d : by_name(file_of(a->op), file_of(b->op));
}

static int
by_file_and_nth(const void *pa, const void *pb)
{
	const struct order_place *a = pa, *b = pb;
	int d = by_file(a, b);

	return d != 0 ? d : by_number(a->nth, b->nth);
}

static int
by_first_and_nth(const void *pa, const void *pb)
{
	const struct order_place *a = pa, *b = pb;
	int d = by_number(a->first, b->first);

	return d != 0 ? d : by_number(a->nth, b->nth);
}

struct order
order_of(const struct spool_list *group)
{
	struct order o = { .n = 0 };
	struct spool_op *op;
	size_t part = 0, n = 0;

	STAILQ_FOREACH (op, group, link)
		n++;
	o.place = relay_alloc((n > 0 ? n : 1) * sizeof(*o.place));
	STAILQ_FOREACH (op, group, link) {
		part += op->kind == SPOOL_FORGET;
		o.place[o.n] = (struct order_place){ file_of(op)->file_ident, file_of(op)->file_ident_salt, part, o.n, o.n, op };
		part += op->kind == SPOOL_FORGET;
		o.n++;
	}
	qsort(o.place, o.n, sizeof(*o.place), by_file_and_nth);
	for (size_t i = 1; i < o.n; i++)
		if (by_file(&o.place[i - 1], &o.place[i]) == 0)
			o.place[i].first = o.place[i - 1].first;
	qsort(o.place, o.n, sizeof(*o.place), by_first_and_nth);
	return o;
}

void
order_free(struct order *o)
{
	free(o->place);
	*o = (struct order){ .n = 0 };
}

bool
order_is_same_file(const struct store_file *a, const struct store_file *b)
{
	return a->file_ident == b->file_ident && a->file_ident_salt == b->file_ident_salt && by_name(a, b) == 0;
}

bool
order_goes_on(const struct order *o, size_t i)
{
	const struct spool_op *op = o->place[i].op, *next = i + 1 < o->n ? o->place[i + 1].op : NULL;

	return next != NULL && op->kind == SPOOL_APPEND && next->kind == SPOOL_APPEND && order_is_same_file(op->file, next->file);
}
