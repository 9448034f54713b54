/* Tests relay/priority and relay/turns: which patterns are taken, the rank of a path, and whose turn it is. */
#include <stdio.h>
#include <string.h>

#include "tests/harness.h"

#include "relay/priority.h"
#include "relay/turns.h"

TEST(ranks)
{
	static const struct {
		const char *first, *path;
		unsigned rank;
	} t[] = {
		{ "", "/a", 0 },
		{ "  ", "/a", 0 },
		{ "/alarms/*", "/alarms/1", 0 },
		{ "/alarms/*", "/alarms/deck/1", 0 }, /* "*" goes over slashes */
		{ "/alarms/*", "/alarms", 1 },
		{ "/alarms/* /orders", "/orders", 1 },
		{ "  /alarms/*\t /orders ", "/orders", 1 },
		{ "/alarms/* /orders", "/orders/1", 2 },
		{ "/alarms/* /orders", "/bulk", 2 },
		{ "/a/b /a/*", "/a/b", 0 }, /* the first that matches */
		{ "/a/* /a/b", "/a/b", 0 },
		{ "* /a", "/a", 0 },
		{ "/[ab] {}", "{}", 1 }, /* all of flexible sync */
		{ "/[ab] {}", "/b", 0 },
		{ "/p?", "/p1", 0 },
		{ "/p?", "/p12", 1 },
		{ "/p?", "", 1 },
		{ "/1 /2 /3 /4 /5 /6 /7 /8 /9 /10 /11 /12 /13 /14 /15 /16", "/16", 15 },
		{ "/1 /2 /3 /4 /5 /6 /7 /8 /9 /10 /11 /12 /13 /14 /15 /16", "/17", 16 },
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct priority p, copy;
		char why[200];

		CHECK(priority_parse(t[i].first, &p, why, sizeof(why)));
		copy = p; /* may be copied */
		memset(&p, 'x', sizeof(p));
		if (priority_rank(&copy, t[i].path) != t[i].rank)
			harness_fail(__FILE__, __LINE__, "got %u, want %u: row %zu", priority_rank(&copy, t[i].path), t[i].rank, i);
	}
}

TEST(refused)
{
	static const struct {
		const char *first, *why;
	} t[] = {
		{ "alarms/*", "\"alarms/*\": no path begins so" },
		{ "/a, /b", "\"/a,\": between patterns are blanks" },
		{ "/a /b /a", "\"/a\": it is there twice" },
		{ "/1 /2 /3 /4 /5 /6 /7 /8 /9 /10 /11 /12 /13 /14 /15 /16 /17", "more than 16 patterns" },
	};
	char text[PRIORITY_TEXT_MAX + 20], why[200];
	struct priority p;

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		why[0] = '\0';
		if (priority_parse(t[i].first, &p, why, sizeof(why)))
			harness_fail(__FILE__, __LINE__, "got accepted, want refused: %s", t[i].first);
		CHECK(strstr(why, t[i].why) == why);
	}
	for (size_t len = PRIORITY_TEXT_MAX - 3; len < PRIORITY_TEXT_MAX + 10; len++) {
		memset(text, 'a', len);
		memcpy(text, "/b /", 4);
		text[len] = '\0';
		CHECK(priority_parse(text, &p, why, sizeof(why)) == (len <= PRIORITY_TEXT_MAX));
	}
}

TEST(same)
{
	struct priority a, b;
	char why[200];

	CHECK(priority_parse("/a /b", &a, why, sizeof(why)) && priority_parse(" /a   /b", &b, why, sizeof(why)));
	CHECK(priority_same(&a, &b));
	CHECK(priority_parse("/b /a", &b, why, sizeof(why)));
	CHECK(!priority_same(&a, &b));
	CHECK(priority_parse("/a", &b, why, sizeof(why)));
	CHECK(!priority_same(&a, &b));
}

/* ---- turns ---- */

struct one {
	struct turn turn;
	unsigned rank;
	char name;
};

static struct one a = { .rank = 0, .name = 'a' }, b = { .rank = 1, .name = 'b' }, c = { .rank = 1, .name = 'c' }, d = { .rank = 2, .name = 'd' };
static struct turns ts;

static void
join(struct one *o)
{
	turns_join(&ts, &o->turn, o, o->rank);
}

/* The names of the next n; each stands in line again when it has had its turn, if again. */
static const char *
next(unsigned n, bool again)
{
	static char names[64];

	memset(names, 0, sizeof(names));
	for (unsigned i = 0; i < n; i++) {
		struct one *o = turns_next(&ts);

		if (o == NULL)
			break;
		names[i] = o->name;
		if (again)
			join(o);
	}
	return names;
}

TEST(turns_by_rank)
{
	turns_init(&ts);
	CHECK(turns_next(&ts) == NULL);
	join(&d);
	join(&c);
	join(&b);
	join(&a);
	CHECK_U64(ts.n, 4);
	CHECK_STR(next(9, false), "acbd"); /* within a rank in order */
	CHECK_U64(ts.n, 0);
	CHECK(!a.turn.waits && !b.turn.waits && !c.turn.waits && !d.turn.waits);
}

TEST(turns_without_ranks_are_in_order)
{
	turns_init(&ts);
	turns_join(&ts, &d.turn, &d, 0);
	turns_join(&ts, &a.turn, &a, 0);
	turns_join(&ts, &c.turn, &c, 0);
	for (unsigned i = 0; i < 40; i++) {
		struct one *o = turns_next(&ts);

		CHECK(o == (i % 3 == 0 ? &d : i % 3 == 1 ? &a : &c));
		turns_join(&ts, &o->turn, o, 0);
	}
}

TEST(turns_have_a_floor)
{
	turns_init(&ts);
	join(&d);
	join(&b);
	join(&a);
	CHECK_STR(next(32, true), "aaaaaaadaaaaaaabaaaaaaadaaaaaaab");
	turns_leave(&ts, &a.turn); /* what is between has the rest, not only its eighth */
	CHECK_STR(next(17, true), "bbbbbbbdbbbbbbbbd"); /* after d's turn the first b has waited longer than d: it passes nobody over */
	turns_leave(&ts, &b.turn);
	CHECK_STR(next(3, true), "ddd");
}

TEST(turns_left)
{
	turns_init(&ts);
	join(&b);
	join(&c);
	turns_leave(&ts, &b.turn);
	turns_leave(&ts, &b.turn); /* nothing */
	CHECK_STR(next(9, false), "c");
	join(&b);
	CHECK_STR(next(9, false), "b");
}

static unsigned
reversed(const void *owner)
{
	return 2 - ((const struct one *)owner)->rank;
}

TEST(turns_rank_anew)
{
	turns_init(&ts);
	join(&a);
	join(&c);
	join(&d);
	join(&b);
	turns_rank_anew(&ts, reversed);
	CHECK_U64(ts.n, 4);
	CHECK_STR(next(9, false), "dcba");
}
