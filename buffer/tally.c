/* Backlog counters of files, in memory.  Does no I/O and knows nothing of transactions: the store decides what goes in when.
 *
 * A sorted array with binary search: files come with rising ids, so that a new row is nearly always the last one, and the
 * sums and the scan for the oldest record stay simple.  A row that goes stays in its place, empty, until half of all are so: moving those behind
 * it each time would make a drain of many files quadratic. */
#include <stdlib.h>
#include <string.h>

#include "buffer/tally.h"

#define DROPPED_MIN 64 /* rows that may be empty in any case */
#define KEEP_ROWS 256 /* rows whose room tally_reset keeps: 12 KiB, a usual transaction */

/* Where id is, or where it belongs. */
static size_t
tally_place(const struct tally *t, uint64_t id)
{
	size_t lo = 0, hi = t->n;

	if (hi > 0 && t->rows[hi - 1].id < id)
		return hi;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (t->rows[mid].id < id)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

const struct tally_row *
tally_find(const struct tally *t, uint64_t id)
{
	size_t i = tally_place(t, id);

	return i < t->n && t->rows[i].id == id && !t->rows[i].dropped ? &t->rows[i] : NULL;
}

bool
tally_reserve(struct tally *t, size_t extra)
{
	size_t cap = t->cap > 0 ? t->cap : 16;
	struct tally_row *rows;

	if (extra <= t->cap - t->n)
		return true;
	while (cap - t->n < extra)
		cap *= 2;
	if ((rows = realloc(t->rows, cap * sizeof(*rows))) == NULL)
		return false;
	t->rows = rows;
	t->cap = cap;
	return true;
}

/* row comes into the sums, or goes out of them. */
static void
count_in(struct tally *t, const struct tally_row *row)
{
	t->records += row->records;
	t->bytes += row->bytes;
	t->with_backlog += row->records > 0;
	t->aside += row->aside;
	t->exported += row->exported;
	t->exported_records += row->exported ? row->records : 0;
}

static void
count_out(struct tally *t, const struct tally_row *row)
{
	t->records -= row->records;
	t->bytes -= row->bytes;
	t->with_backlog -= row->records > 0;
	t->aside -= row->aside;
	t->exported -= row->exported;
	t->exported_records -= row->exported ? row->records : 0;
}

void
tally_put(struct tally *t, const struct tally_row *row)
{
	size_t i = tally_place(t, row->id);

	if (i < t->n && t->rows[i].id == row->id) {
		t->dropped -= t->rows[i].dropped;
		count_out(t, &t->rows[i]);
	} else {
		memmove(t->rows + i + 1, t->rows + i, (t->n - i) * sizeof(*t->rows));
		t->n++;
	}
	t->rows[i] = *row;
	count_in(t, row);
}

static void
remove_dropped(struct tally *t)
{
	size_t n = 0;

	for (size_t i = 0; i < t->n; i++)
		if (!t->rows[i].dropped)
			t->rows[n++] = t->rows[i];
	t->n = n;
	t->dropped = 0;
}

void
tally_drop(struct tally *t, uint64_t id)
{
	size_t i = tally_place(t, id);

	if (i == t->n || t->rows[i].id != id || t->rows[i].dropped)
		return;
	count_out(t, &t->rows[i]);
	t->rows[i] = (struct tally_row){ .id = id, .dropped = true };
	if (++t->dropped >= DROPPED_MIN && t->dropped > t->n / 2)
		remove_dropped(t);
}

uint64_t
tally_oldest(const struct tally *t)
{
	uint64_t oldest = 0;

	for (size_t i = 0; i < t->n; i++) {
		if (t->rows[i].oldest_ms != 0 && (oldest == 0 || t->rows[i].oldest_ms < oldest))
			oldest = t->rows[i].oldest_ms;
	}
	return oldest;
}

void
tally_reset(struct tally *t)
{
	if (t->cap > KEEP_ROWS)
		tally_free(t);
	t->n = t->dropped = 0;
	t->records = t->bytes = 0;
	t->with_backlog = t->aside = t->exported = 0;
	t->exported_records = 0;
}

void
tally_free(struct tally *t)
{
	free(t->rows);
	memset(t, 0, sizeof(*t));
}
