/* Turns by rank; see turns.h.  A list for each rank, so that to come, to leave and to be next take the same time however many wait. */
#include "relay/turns.h"

void
turns_init(struct turns *ts)
{
	*ts = (struct turns){ .n = 0 };
	for (unsigned i = 0; i < PRIORITY_RANKS; i++)
		TAILQ_INIT(&ts->rank[i]);
}

void
turns_join(struct turns *ts, struct turn *t, void *owner, unsigned rank)
{
	*t = (struct turn){ .owner = owner, .since = ts->came++, .rank = rank, .waits = true };
	TAILQ_INSERT_TAIL(&ts->rank[rank], t, entry);
	ts->n++;
}

void
turns_leave(struct turns *ts, struct turn *t)
{
	if (!t->waits)
		return;
	TAILQ_REMOVE(&ts->rank[t->rank], t, entry);
	t->waits = false;
	ts->n--;
}

/* Of all who wait; NULL: nobody does. */
static struct turn *
longest(const struct turns *ts)
{
	struct turn *found = NULL, *t;

	for (unsigned i = 0; i < PRIORITY_RANKS; i++) {
		t = TAILQ_FIRST(&ts->rank[i]);
		if (t != NULL && (found == NULL || t->since < found->since))
			found = t;
	}
	return found;
}

static struct turn *
most_important(const struct turns *ts)
{
	struct turn *t = NULL;

	for (unsigned i = 0; i < PRIORITY_RANKS && t == NULL; i++)
		t = TAILQ_FIRST(&ts->rank[i]);
	return t;
}

bool
turns_floor(unsigned *passed)
{
	if (++*passed < TURNS_FLOOR)
		return false;
	*passed = 0;
	return true;
}

void *
turns_next(struct turns *ts)
{
	struct turn *first = most_important(ts), *oldest = longest(ts), *t = first;

	if (t == NULL)
		return NULL;
	if (first->rank != oldest->rank && turns_floor(&ts->passed))
		t = oldest;
	turns_leave(ts, t);
	return t->owner;
}

void
turns_rank_anew(struct turns *ts, turns_rank *rank)
{
	struct turn_list all = TAILQ_HEAD_INITIALIZER(all);
	struct turn *t;

	while ((t = longest(ts)) != NULL) {
		TAILQ_REMOVE(&ts->rank[t->rank], t, entry);
		TAILQ_INSERT_TAIL(&all, t, entry);
	}
	while ((t = TAILQ_FIRST(&all)) != NULL) {
		TAILQ_REMOVE(&all, t, entry);
		t->rank = rank(t->owner);
		TAILQ_INSERT_TAIL(&ts->rank[t->rank], t, entry);
	}
}
