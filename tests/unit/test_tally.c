/* Tests buffer/tally against the plainest thing that does the same: an array by id. */
#include <stdlib.h>
#include <string.h>

#include "tests/harness.h"

#include "buffer/tally.h"

enum { IDS = 400, STEPS = 40000 };

static struct tally_row model[IDS + 1]; /* id 0: there is none */

static void
check_all(const struct tally *t)
{
	uint64_t records = 0, bytes = 0, oldest = 0, with_backlog = 0;
	size_t n = 0;

	for (uint64_t id = 1; id <= IDS; id++) {
		const struct tally_row *row = tally_find(t, id), *m = &model[id];

		CHECK((row != NULL) == (m->id != 0));
		if (m->id == 0)
			continue;
		CHECK_U64(row->records, m->records);
		n++;
		records += m->records;
		bytes += m->bytes;
		with_backlog += m->records > 0;
		oldest = m->oldest_ms != 0 && (oldest == 0 || m->oldest_ms < oldest) ? m->oldest_ms : oldest;
	}
	CHECK_U64(t->records, records);
	CHECK_U64(t->bytes, bytes);
	CHECK_U64(t->with_backlog, with_backlog);
	CHECK_U64(tally_oldest(t), oldest);
	CHECK_U64(t->n - t->dropped, n);
	CHECK(t->dropped <= 64 || t->dropped <= t->n / 2);
}

TEST(rows_come_and_go)
{
	struct tally t = { 0 };

	srand(1);
	memset(model, 0, sizeof(model));
	for (unsigned i = 0; i < STEPS; i++) {
		uint64_t id = 1 + (uint64_t)rand() % IDS;

		/* there are times when most of them go */
		if (rand() % 8 < (i / 5000 % 2 == 0 ? 2 : 7)) {
			tally_drop(&t, id);
			model[id] = (struct tally_row){ 0 };
		} else {
			model[id] = (struct tally_row){ .id = id, .records = (uint64_t)rand() % 5, .bytes = 100, .oldest_ms = 1 + (uint64_t)rand() };
			CHECK(tally_reserve(&t, 1));
			tally_put(&t, &model[id]);
		}
		if (i % 97 == 0)
			check_all(&t);
	}
	check_all(&t);
	tally_free(&t);
}
