/* Tests relay/order: files in the order of their first operation, a file's own as they were posted, nothing across a FORGET. */
#include <stdlib.h>

#include "tests/harness.h"
#include "tests/storekit.h"

#include "relay/order.h"

enum { OPS = 600, FILES = 7 };

static void
post(struct spool_list *group, enum spool_kind kind, uint64_t file, uint64_t after)
{
	struct spool_op *op = calloc(1, sizeof(*op));

	op->kind = kind;
	op->file = calloc(1, sizeof(*op->file));
	*op->file = kit_file(file);
	op->file->file_ident_salt = op->file->file_ident = file / 2; /* so that paths and endpoints tell some of them apart */
	snprintf(op->file->endpoint, sizeof(op->file->endpoint), "e%llu", (unsigned long long)(file % 2));
	op->after = after;
	STAILQ_INSERT_TAIL(group, op, link);
}

static void
drop(struct spool_list *group)
{
	struct spool_op *op;

	while ((op = STAILQ_FIRST(group)) != NULL) {
		STAILQ_REMOVE_HEAD(group, link);
		free(op->file);
		free(op);
	}
}

TEST(those_of_a_file_follow_each_other)
{
	struct spool_list group = STAILQ_HEAD_INITIALIZER(group);
	size_t runs = 0;
	struct order o;

	for (uint64_t i = 0; i < OPS; i++)
		post(&group, SPOOL_APPEND, (i * 5 + i / 11) % FILES, i);
	o = order_of(&group);
	CHECK_U64(o.n, OPS);
	for (size_t i = 0; i < o.n; i++) {
		bool same = i > 0 && order_is_same_file(o.place[i - 1].op->file, o.place[i].op->file);

		runs += !same;
		CHECK(same || i == 0 || o.place[i].first > o.place[i - 1].first);
		CHECK(!same || o.place[i].op->after > o.place[i - 1].op->after);
		CHECK(i == 0 || order_goes_on(&o, i - 1) == same);
	}
	CHECK_U64(runs, FILES);
	order_free(&o);
	drop(&group);
}

TEST(nothing_moves_across_a_forget)
{
	struct spool_list group = STAILQ_HEAD_INITIALIZER(group);
	struct order o;

	for (uint64_t i = 0; i < 30; i++)
		post(&group, i % 10 == 9 ? SPOOL_FORGET : SPOOL_APPEND, i % 3, i);
	o = order_of(&group);
	for (size_t i = 0; i < o.n; i++) {
		CHECK_U64(o.place[i].op->after / 10, i / 10);
		CHECK((o.place[i].op->kind == SPOOL_FORGET) == (i % 10 == 9));
	}
	CHECK(!order_goes_on(&o, o.n - 1));
	order_free(&o);
	drop(&group);
}

TEST(an_empty_group_has_no_places)
{
	struct spool_list group = STAILQ_HEAD_INITIALIZER(group);
	struct order o = order_of(&group);

	CHECK_U64(o.n, 0);
	order_free(&o);
}
