/* Backlog counters of files, in memory.  Does no I/O and knows nothing of transactions: the store decides what goes in when.
 *
 * Rows stay where they are until they are dropped, and their places are used again; a hash table (open addressing, places are looked for one behind
 * the other) says where each is.  The oldest of each share is on top of a heap, whose nodes stand beside the rows.  So a group of commits costs
 * what it changes, however many files wait. */
#include <stdlib.h>
#include <string.h>

#include "buffer/tally.h"

#define KEEP_ROWS 256 /* rows whose room tally_reset keeps: 32 KiB, a usual transaction */
#define ROWS_MIN 16

/* ---- where a row is ---- */

static size_t
hash(const struct tally *t, uint64_t id)
{
	return (size_t)(id * 0x9e3779b97f4a7c15u >> (64 - t->bits)); /* Knuth's, by the golden ratio */
}

static size_t
mask(const struct tally *t)
{
	return ((size_t)1 << t->bits) - 1;
}

/* Where id is in the index, or where it belongs. */
static size_t
index_of(const struct tally *t, uint64_t id)
{
	size_t i = hash(t, id);

	while (t->index[i] != 0 && t->rows[t->index[i] - 1].id != id)
		i = (i + 1) & mask(t);
	return i;
}

/* Empties place i of the index: what stands behind it and would not be found any more moves up. */
static void
index_clear(struct tally *t, size_t i)
{
	size_t hole = i;

	while (t->index[i = (i + 1) & mask(t)] != 0) {
		size_t home = hash(t, t->rows[t->index[i] - 1].id);

		if (((i - home) & mask(t)) < ((i - hole) & mask(t)))
			continue;
		t->index[hole] = t->index[i];
		hole = i;
	}
	t->index[hole] = 0;
}

const struct tally_row *
tally_find(const struct tally *t, uint64_t id)
{
	uint32_t place = t->cap > 0 ? t->index[index_of(t, id)] : 0;

	return place != 0 ? &t->rows[place - 1] : NULL;
}

/* ---- room ---- */

static bool
grow(struct tally *t, size_t cap, unsigned bits)
{
	struct tally_row *rows = realloc(t->rows, cap * sizeof(*rows));
	struct heap_node *node;
	uint32_t *index;

	if (rows == NULL)
		return false;
	t->rows = rows;
	if ((node = realloc(t->node, (1 + STORE_SHARES_OF_FILE * cap) * sizeof(*node))) == NULL)
		return false;
	t->node = node;
	if ((index = calloc((size_t)1 << bits, sizeof(*index))) == NULL)
		return false;
	free(t->index);
	t->index = index;
	t->bits = bits;
	t->cap = cap;
	for (size_t i = 0; i < t->n; i++)
		if (!t->rows[i].dropped)
			t->index[index_of(t, t->rows[i].id)] = (uint32_t)i + 1;
	return true;
}

bool
tally_reserve(struct tally *t, size_t extra)
{
	size_t rows = t->n - t->dropped + extra, cap = t->cap > 0 ? t->cap : ROWS_MIN;
	unsigned bits = 1;

	if (rows <= t->cap)
		return true;
	while (cap < rows)
		cap *= 2;
	while ((size_t)1 << bits < 2 * cap)
		bits++;
	return cap < UINT32_MAX / STORE_SHARES_OF_FILE && grow(t, cap, bits);
}

/* ---- the sums ---- */

static void
count_in(struct tally *t, const struct tally_row *row)
{
	t->records += row->records;
	t->bytes += row->bytes;
	t->with_backlog += row->records > 0;
	t->aside += row->aside;
	t->exported += row->exported;
	t->exported_records += row->exported ? row->records : 0;
	for (unsigned k = 0; k < STORE_SHARES_OF_FILE; k++) {
		t->share[row->share[k]].records += row->records;
		t->share[row->share[k]].bytes += row->bytes;
		t->share[row->share[k]].files += row->records > 0;
	}
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
	for (unsigned k = 0; k < STORE_SHARES_OF_FILE; k++) {
		t->share[row->share[k]].records -= row->records;
		t->share[row->share[k]].bytes -= row->bytes;
		t->share[row->share[k]].files -= row->records > 0;
	}
}

/* ---- the oldest ---- */

static uint32_t
node_of(size_t place, unsigned k)
{
	return (uint32_t)(1 + STORE_SHARES_OF_FILE * place + k);
}

static void
age_in(struct tally *t, size_t place)
{
	const struct tally_row *row = &t->rows[place];

	for (unsigned k = 0; row->oldest_ms != 0 && k < STORE_SHARES_OF_FILE; k++)
		heap_add(t->node, &t->oldest[row->share[k]], node_of(place, k), row->oldest_ms);
}

static void
age_out(struct tally *t, size_t place)
{
	const struct tally_row *row = &t->rows[place];

	for (unsigned k = 0; row->oldest_ms != 0 && k < STORE_SHARES_OF_FILE; k++)
		heap_remove(t->node, &t->oldest[row->share[k]], node_of(place, k));
}

static bool
is_as_old(const struct tally_row *a, const struct tally_row *b)
{
	return a->oldest_ms == b->oldest_ms && memcmp(a->share, b->share, sizeof(a->share)) == 0;
}

static uint64_t
oldest_of(const struct tally *t, size_t share)
{
	return t->oldest[share] != 0 ? t->node[t->oldest[share]].key : 0;
}

uint64_t
tally_oldest(const struct tally *t)
{
	uint64_t oldest = 0;

	for (size_t i = 0; i < STORE_SHARES_MAX; i++)
		if (oldest_of(t, i) != 0 && (oldest == 0 || oldest_of(t, i) < oldest))
			oldest = oldest_of(t, i);
	return oldest;
}

void
tally_shares(const struct tally *t, struct store_share out[STORE_SHARES_MAX])
{
	memcpy(out, t->share, sizeof(t->share));
	for (size_t i = 0; i < STORE_SHARES_MAX; i++)
		out[i].oldest_ms = oldest_of(t, i);
}

/* ---- rows come and go ---- */

/* A place for a new row. */
static size_t
place_new(struct tally *t)
{
	size_t place = t->dropped_first;

	if (place == 0)
		return t->n++;
	t->dropped_first = (size_t)t->rows[place - 1].records;
	t->dropped--;
	return place - 1;
}

void
tally_put(struct tally *t, const struct tally_row *row)
{
	size_t i = index_of(t, row->id), place = t->index[i];
	bool known = place != 0, as_old = known && is_as_old(&t->rows[place - 1], row);

	place = known ? place - 1 : place_new(t);
	if (known)
		count_out(t, &t->rows[place]);
	if (known && !as_old)
		age_out(t, place);
	t->rows[place] = *row;
	t->index[i] = (uint32_t)place + 1;
	count_in(t, row);
	if (!as_old)
		age_in(t, place);
}

void
tally_drop(struct tally *t, uint64_t id)
{
	size_t i = t->cap > 0 ? index_of(t, id) : 0, place;

	if (t->cap == 0 || t->index[i] == 0)
		return;
	place = t->index[i] - 1;
	count_out(t, &t->rows[place]);
	age_out(t, place);
	index_clear(t, i);
	t->rows[place] = (struct tally_row){ .records = t->dropped_first, .dropped = true };
	t->dropped_first = place + 1;
	t->dropped++;
}

/* ---- the end ---- */

void
tally_reset(struct tally *t)
{
	struct tally kept = { .rows = t->rows, .cap = t->cap, .index = t->index, .bits = t->bits, .node = t->node };

	if (t->cap > KEEP_ROWS) {
		tally_free(t);
		return;
	}
	if (t->cap > 0)
		memset(t->index, 0, sizeof(*t->index) << t->bits);
	*t = kept;
}

void
tally_free(struct tally *t)
{
	free(t->rows);
	free(t->index);
	free(t->node);
	memset(t, 0, sizeof(*t));
}
