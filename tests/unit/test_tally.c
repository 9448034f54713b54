/* Tests buffer/tally against the plainest thing that does the same: an array by id. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/harness.h"

#include "buffer/tally.h"

enum { IDS = 400, STEPS = 40000 };

static struct tally_row model[IDS + 1]; /* id 0: there is none */

static uint64_t
older(uint64_t a, uint64_t b)
{
	return b != 0 && (a == 0 || b < a) ? b : a;
}

static void
check_shares(const struct tally *t)
{
	struct store_share want[STORE_SHARES_MAX] = { { 0 } }, got[STORE_SHARES_MAX];

	for (uint64_t id = 1; id <= IDS; id++) {
		for (unsigned k = 0; model[id].id != 0 && k < STORE_SHARES_OF_FILE; k++) {
			struct store_share *w = &want[model[id].share[k]];

			w->records += model[id].records;
			w->bytes += model[id].bytes;
			w->files += model[id].records > 0;
			w->oldest_ms = older(w->oldest_ms, model[id].oldest_ms);
		}
	}
	tally_shares(t, got);
	for (unsigned i = 0; i < STORE_SHARES_MAX; i++) {
		CHECK_U64(got[i].records, want[i].records);
		CHECK_U64(got[i].bytes, want[i].bytes);
		CHECK_U64(got[i].files, want[i].files);
		CHECK_U64(got[i].oldest_ms, want[i].oldest_ms);
	}
}

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
		oldest = older(oldest, m->oldest_ms);
	}
	CHECK_U64(t->records, records);
	CHECK_U64(t->bytes, bytes);
	CHECK_U64(t->with_backlog, with_backlog);
	CHECK_U64(tally_oldest(t), oldest);
	CHECK_U64(t->n - t->dropped, n);
	CHECK(t->n <= IDS); /* places of what was dropped are used again */
	check_shares(t);
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
			model[id] = (struct tally_row){ .id = id, .records = (uint64_t)rand() % 5, .bytes = 100, .oldest_ms = (uint64_t)rand() % 1000,
				.share = { (uint8_t)(rand() % 3), (uint8_t)(STORE_SHARES_MAX - 1 - rand() % 3) } };
			if (tally_find(&t, id) != NULL && rand() % 2 == 0) { /* more of what there is */
				model[id].oldest_ms = tally_find(&t, id)->oldest_ms;
				memcpy(model[id].share, tally_find(&t, id)->share, sizeof(model[id].share));
			}
			CHECK(tally_reserve(&t, 1));
			tally_put(&t, &model[id]);
		}
		if (i % 97 == 0)
			check_all(&t);
	}
	check_all(&t);
	tally_free(&t);
}

/* Files come in any order, and the oldest is asked for after each change, as a group of commits does: were it a walk over all rows, this would take
 * minutes of the processor. */
TEST(many_rows_cost_no_more)
{
	enum { ROWS = 200000, STEP = 77777 }; /* the latter shares no factor with the former: it comes by all of them */
	struct tally t = { 0 };
	struct store_share shares[STORE_SHARES_MAX];
	uint64_t id = 0;
	clock_t start = clock();

	for (unsigned i = 0; i < ROWS; i++) {
		id = (id + STEP) % ROWS;
		CHECK(tally_reserve(&t, 1));
		tally_put(&t, &(struct tally_row){ .id = id + 1, .records = 1, .bytes = 1, .oldest_ms = id + 1, .share = { 0, 1 } });
		CHECK(tally_oldest(&t) != 0);
	}
	CHECK_U64(tally_oldest(&t), 1);
	for (id = 1; id <= ROWS; id++) { /* the oldest first */
		tally_shares(&t, shares);
		CHECK_U64(shares[0].oldest_ms, id);
		CHECK_U64(shares[1].files, ROWS - id + 1);
		tally_drop(&t, id);
	}
	CHECK_U64(t.dropped, ROWS);
	CHECK((clock() - start) / CLOCKS_PER_SEC < 20);
	tally_free(&t);
}
