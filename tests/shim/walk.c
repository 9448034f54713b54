/* The random walk over a store; see walk.h.  The walk and its judge share nothing but the reports.
 *
 * The one idea: a record's bytes follow from its file and version (storekit.h), its length from the same, so a model of five pairs of
 * numbers tells all that the store must hold. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/shim/walk.h"
#include "tests/storekit.h"

#define SERIAL_KEY "serial"
#define BIG_RECORD 9000 /* bytes: overflow pages */

struct walker {
	const struct walk_plan *plan;
	struct store *s;
	uint64_t seed, serial; /* of the transaction that is open, or was last */
	uint64_t kept;	       /* of the last that stands */
};

uint64_t
walk_random(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return *state >> 33;
}

struct store_options
walk_options(const char *dir)
{
	struct store_options opt = kit_options(dir);

	opt.log_file_bytes = 256u << 10;
	opt.cache_bytes = 256u << 10;
	opt.checkpoint_bytes = 128u << 10;
	opt.max_log_bytes = 1u << 20;
	return opt;
}

static uint32_t
record_len(uint64_t n, uint64_t version)
{
	return (n + version) % 8 == 0 ? BIG_RECORD : kit_len(n, version);
}

/* What the merge that found version newest makes of an older one. */
enum fate { WHOLE, HALF, GONE };

static enum fate
merge_fate(uint64_t version, uint64_t newest)
{
	return version >= newest ? WHOLE : (enum fate)((version * 2654435761u + newest * 40503u) >> 7) % 3;
}

/* ---- the walk ---- */

static uint64_t
rnd(struct walker *w)
{
	return walk_random(&w->seed);
}

static void
say(const struct walker *w, enum walk_said said, uint64_t n, uint64_t value)
{
	struct walk_report r = { said, (uint32_t)n, w->serial, value };

	w->plan->say(&r);
}

static const struct walk_plan *walking; /* on_fatal has no argument */

static void
say_fatal(const char *text)
{
	const struct walk_report r = { .said = WALK_FATAL };

	(void)text;
	walking->say(&r);
}

static enum store_err
find(struct walker *w, uint64_t n, struct store_file *f)
{
	*f = kit_file(n);
	return store_file_find(w->s, f->endpoint, f->path, f->file_ident, f->file_ident_salt, f);
}

static enum store_err
serial_read(struct store *s, uint64_t *serial)
{
	size_t len = sizeof(*serial);
	enum store_err err = store_get(s, STORE_META, SERIAL_KEY, strlen(SERIAL_KEY), serial, &len);

	if (err == STORE_NOTFOUND)
		*serial = 0;
	return err == STORE_NOTFOUND ? STORE_OK : err;
}

static enum store_err
append(struct walker *w, uint64_t n, uint64_t count)
{
	static uint8_t data[KIT_DATA_MAX];
	struct store_file f;
	enum store_err err = find(w, n, &f);
	bool added;

	if (err == STORE_NOTFOUND)
		err = store_file_put(w->s, &f);
	if (err != STORE_OK)
		return err;
	say(w, WALK_APPEND, n, f.held_client_version + count);
	while (err == STORE_OK && count-- > 0) {
		uint64_t v = f.held_client_version + 1;
		struct store_record r = kit_record(data, n, v, record_len(n, v));

		if ((err = store_append(w->s, f.id, &r, &added)) == STORE_OK)
			f.held_client_version = v;
	}
	f.seen_ms = w->serial;
	return err == STORE_OK ? store_file_put(w->s, &f) : err;
}

static enum store_err
trim(struct walker *w, uint64_t n, uint64_t back)
{
	struct store_file f;
	enum store_err err = find(w, n, &f);

	if (err != STORE_OK || f.held_client_version <= back)
		return err == STORE_NOTFOUND ? STORE_OK : err;
	say(w, WALK_TRIM, n, f.held_client_version - back);
	return store_trim(w->s, f.id, f.held_client_version - back);
}

static enum store_err
merge(struct walker *w, uint64_t n)
{
	struct store_piece p = { 0 };
	struct store_file f;
	enum store_err err = find(w, n, &f);
	uint64_t below = UINT64_MAX;

	if (err != STORE_OK)
		return err == STORE_NOTFOUND ? STORE_OK : err;
	say(w, WALK_MERGE, n, f.held_client_version);
	while (err == STORE_OK && (err = store_piece_read(w->s, f.id, below, &p)) == STORE_OK) {
		for (size_t i = p.n; i-- > 0;) {
			const struct store_record *r = &p.entry[i].r;
			enum fate fate = merge_fate(r->client_version, f.held_client_version);
			uint32_t half = record_len(n, r->client_version) / 2;

			if (fate == GONE)
				store_piece_empty(&p, i);
			else if (fate == HALF && r->len > half)
				store_piece_replace(&p, i, r->data, half);
		}
		below = p.first;
		err = store_piece_write(w->s, &p);
	}
	store_piece_free(&p);
	return err == STORE_NOTFOUND ? STORE_OK : err;
}

static enum store_err
touch(struct walker *w, uint64_t n)
{
	struct store_file f;
	enum store_err err = find(w, n, &f);

	if (err != STORE_OK)
		return err == STORE_NOTFOUND ? STORE_OK : err;
	say(w, WALK_TOUCH, n, 0);
	f.seen_ms = w->serial;
	return store_file_put(w->s, &f);
}

static enum store_err
discard(struct walker *w, uint64_t n)
{
	struct store_file f;
	enum store_err err = find(w, n, &f);

	if (err != STORE_OK)
		return err == STORE_NOTFOUND ? STORE_OK : err;
	say(w, WALK_REMOVE, n, 0);
	return store_file_remove(w->s, f.id);
}

/* What one transaction does, by lot: mostly what a relay does most. */
static enum store_err
fill(struct walker *w, uint64_t lot, bool *durable)
{
	uint64_t first = rnd(w) % WALK_NFILES, count = 1 + rnd(w) % 3;
	enum store_err err = STORE_OK;

	*durable = lot >= 30;
	if (lot < 24)
		return trim(w, first, rnd(w) % 20);
	if (lot < 30) { /* everything was acknowledged: logs may go */
		for (uint64_t n = 0; n < WALK_NFILES && err == STORE_OK; n++)
			err = trim(w, n, 0);
		return err;
	}
	if (lot < 40)
		return touch(w, first);
	if (lot < 42)
		return discard(w, first);
	if (lot >= 94) { /* as the relay does it: whatever is committed next makes it durable */
		*durable = false;
		return merge(w, first);
	}
	if (lot < 44) /* more than the log buffer and the cache hold: pages are written before the commit */
		return append(w, first, 200 + rnd(w) % 100);
	for (uint64_t i = 0; i < count && err == STORE_OK; i++)
		err = append(w, (first + i) % WALK_NFILES, 1 + rnd(w) % 12);
	if (err == STORE_OK && lot < 52)
		err = trim(w, (first + count) % WALK_NFILES, rnd(w) % 5);
	return err;
}

/* What stands in memory is on stable storage. */
static void
say_durable(const struct walker *w)
{
	struct walk_report r = { .said = WALK_DURABLE, .serial = w->kept };

	w->plan->say(&r);
}

/* Was the transaction that failed undone?  A latched store cannot tell. */
static void
find_out(struct walker *w)
{
	if (serial_read(w->s, &w->kept) == STORE_OK && w->kept != w->serial)
		say(w, WALK_VOID, 0, 0);
}

static enum store_err
step_transaction(struct walker *w, uint64_t lot)
{
	enum store_err err = store_begin(w->s);
	bool durable = false;

	if (err != STORE_OK)
		return err;
	w->serial++;
	say(w, WALK_TOUCH, WALK_NFILES, 0); /* of no file: only that it is tried */
	err = store_put(w->s, STORE_META, SERIAL_KEY, strlen(SERIAL_KEY), &w->serial, sizeof(w->serial));
	if (err == STORE_OK)
		err = fill(w, lot, &durable);
	if (err == STORE_OK)
		err = store_commit(w->s, durable);
	else
		store_abort(w->s);
	if (err != STORE_OK) {
		find_out(w);
		return err;
	}
	w->kept = w->serial;
	if (durable)
		say_durable(w);
	return err;
}

static enum store_err
step_checkpoint(struct walker *w)
{
	bool force = rnd(w) % 2 == 0;
	enum store_err err = store_checkpoint(w->s, force);

	if (err == STORE_OK && force)
		say_durable(w);
	return err;
}

void
walk(const struct walk_plan *plan)
{
	struct walker w = { .plan = plan, .seed = plan->seed };
	struct store_options opt = walk_options(plan->dir);
	char why[400];
	enum store_err err;

	walking = plan;
	opt.on_fatal = say_fatal;
	err = store_open(&opt, &w.s, why, sizeof(why));
	if (err == STORE_OK)
		err = serial_read(w.s, &w.serial);
	w.kept = w.serial;
	if (err != STORE_OK) {
		say(&w, WALK_ERROR, err, 0);
		return;
	}
	say(&w, WALK_OPENED, 0, 0);
	for (unsigned i = 0; i < plan->steps; i++) {
		uint64_t lot = rnd(&w) % 120;

		err = lot < 100 ? step_transaction(&w, lot) : step_checkpoint(&w);
		if (err != STORE_OK)
			say(&w, WALK_ERROR, err, 0);
		if (err == STORE_IO || err == STORE_CORRUPT || err == STORE_NOMEM)
			return; /* latched, or libdb has no memory and cannot be relied on: the process should stop */
	}
	if (plan->close) {
		store_close(w.s);
		say_durable(&w);
	}
}

/* ---- the judge ---- */

static void
add_op(struct walk_model *m, const struct walk_report *r)
{
	if (m->nop == m->cap) {
		m->cap = m->cap == 0 ? 64 : m->cap * 2;
		m->op = realloc(m->op, m->cap * sizeof(*m->op));
		if (m->op == NULL)
			abort();
	}
	m->op[m->nop++] = *r;
	if (r->serial > m->tried)
		m->tried = r->serial;
}

/* Forgets the transactions for which lost() holds: serial == only, or serial > above. */
static void
drop_ops(struct walk_model *m, uint64_t only, uint64_t above)
{
	size_t kept = 0;

	for (size_t i = 0; i < m->nop; i++) {
		if (m->op[i].serial != only && m->op[i].serial <= above)
			m->op[kept++] = m->op[i];
	}
	m->nop = kept;
}

void
walk_take(struct walk_model *m, const struct walk_report *r)
{
	switch (r->said) {
	case WALK_APPEND:
	case WALK_TRIM:
	case WALK_TOUCH:
	case WALK_REMOVE:
	case WALK_MERGE:
		add_op(m, r);
		break;
	case WALK_OPENED: /* what a crash took away does not come back, and its numbers are used again */
		drop_ops(m, 0, r->serial);
		m->durable = m->tried = r->serial;
		break;
	case WALK_VOID:
		drop_ops(m, r->serial, UINT64_MAX);
		break;
	case WALK_DURABLE:
		m->durable = r->serial;
		break;
	case WALK_FATAL:
		m->fatals++;
		break;
	case WALK_ERROR:
		m->errors[r->n]++;
		break;
	}
}

void
walk_free(struct walk_model *m)
{
	free(m->op);
	*m = (struct walk_model){ 0 };
}

enum { MERGES = 256 };

/* What a file must be: versions trimmed + 1 .. newest, less what its merges took, its record written last by transaction touched. */
struct want {
	bool exists;
	uint64_t trimmed, newest, touched;
	uint64_t merge[MERGES]; /* the newest version that each of them found */
	size_t nmerge;
};

static void
want_file(const struct walk_model *m, uint64_t n, uint64_t serial, struct want *w)
{
	*w = (struct want){ 0 };
	for (size_t i = 0; i < m->nop; i++) {
		const struct walk_report *r = &m->op[i];

		if (r->n != n || r->serial > serial)
			continue;
		if (r->said == WALK_REMOVE)
			*w = (struct want){ 0 };
		if (r->said == WALK_TRIM && r->value > w->trimmed)
			w->trimmed = r->value;
		if (r->said == WALK_APPEND) {
			w->exists = true;
			w->newest = r->value;
		}
		if (r->said == WALK_MERGE && w->nmerge < MERGES)
			w->merge[w->nmerge++] = r->value;
		if (r->said == WALK_APPEND || r->said == WALK_TOUCH)
			w->touched = r->serial;
	}
}

static enum fate
want_fate(const struct want *w, uint64_t version)
{
	enum fate fate = version > w->trimmed && version <= w->newest ? WHOLE : GONE;

	for (size_t i = 0; i < w->nmerge; i++) {
		if (merge_fate(version, w->merge[i]) > fate)
			fate = merge_fate(version, w->merge[i]);
	}
	return fate;
}

struct seen {
	const struct want *want;
	uint64_t n, first, last, count, bytes;
	bool wrong;
};

static bool
see_cb(void *arg, const struct store_record *r)
{
	struct seen *seen = arg;
	uint32_t len = record_len(seen->n, r->client_version);
	enum fate fate = want_fate(seen->want, r->client_version);

	for (uint64_t v = (seen->count > 0 ? seen->last : seen->want->trimmed) + 1; v < r->client_version; v++)
		seen->wrong |= want_fate(seen->want, v) != GONE;
	if (seen->count++ == 0)
		seen->first = r->client_version;
	seen->last = r->client_version;
	seen->bytes += r->len;
	if (fate == GONE || r->len != (fate == HALF ? len / 2 : len) || !kit_same(r, seen->n, r->len))
		seen->wrong = true;
	return true;
}

/* Every version that upstream does not have is recognised when its device sends it again, and another one is told from it. */
static bool
all_known(struct store *s, uint64_t id, uint64_t n, const struct want *w)
{
	static uint8_t data[KIT_DATA_MAX];

	for (uint64_t v = w->trimmed + 1; v <= w->newest; v += 5) {
		struct store_record r = kit_record(data, n, v, record_len(n, v));

		if (store_compare(s, id, &r) != STORE_OK)
			return false;
		r.origin_timestamp++;
		if (store_compare(s, id, &r) != STORE_DIFFERS)
			return false;
	}
	return true;
}

#define U(x) ((unsigned long long)(x))

static bool
file_holds(struct store *s, uint64_t n, const struct want *w, struct store_stat *sum, char *why, size_t why_len)
{
	struct store_file f = kit_file(n);
	struct seen seen = { .want = w, .n = n };
	bool any = w->newest > w->trimmed;
	enum store_err err = store_file_find(s, f.endpoint, f.path, f.file_ident, f.file_ident_salt, &f);

	if (err == STORE_NOTFOUND && !w->exists)
		return true;
	if (err == STORE_OK)
		err = store_read(s, f.id, 0, UINT64_MAX, see_cb, &seen, NULL);
	sum->files++;
	sum->records += seen.count;
	sum->bytes += seen.bytes;
	if (err != STORE_OK || !w->exists)
		(void)snprintf(why, why_len, "file %llu: %s, want %s", U(n), store_strerror(err), w->exists ? "it" : "none");
	else if (seen.wrong)
		(void)snprintf(why, why_len, "file %llu: a gap, or wrong bytes, in %llu .. %llu", U(n), U(seen.first), U(seen.last));
	else if ((seen.count > 0) != any || (any && seen.last != w->newest))
		(void)snprintf(why, why_len, "file %llu: %llu records, %llu .. %llu, want %llu .. %llu", U(n), U(seen.count), U(seen.first),
			       U(seen.last), U(w->trimmed + 1), U(w->newest));
	else if (f.held_client_version != w->newest || f.seen_ms != w->touched)
		(void)snprintf(why, why_len, "file %llu: record has %llu of transaction %llu, want %llu of %llu", U(n),
			       U(f.held_client_version), U(f.seen_ms), U(w->newest), U(w->touched));
	else if (f.backlog_records != seen.count || f.backlog_bytes != seen.bytes ||
		 (any ? f.oldest_ms > 1700000000000u + seen.first : f.oldest_ms != 0)) /* earlier: of one that was merged away (FORMAT) */
		(void)snprintf(why, why_len, "file %llu: counters %llu, %llu, %llu do not fit its %llu records, %llu bytes", U(n),
			       U(f.backlog_records), U(f.backlog_bytes), U(f.oldest_ms), U(seen.count), U(seen.bytes));
	else if (!all_known(s, f.id, n, w))
		(void)snprintf(why, why_len, "file %llu: what was sent is not recognised", U(n));
	else
		return true;
	return false;
}

bool
walk_holds(struct store *s, const struct walk_model *m, char *why, size_t why_len)
{
	struct store_stat got, sum = { 0 };
	enum store_err err;
	uint64_t serial;

	if ((err = serial_read(s, &serial)) != STORE_OK || (err = store_stat(s, &got)) != STORE_OK) {
		(void)snprintf(why, why_len, "cannot read: %s", store_strerror(err));
		return false;
	}
	if (serial < m->durable || serial > m->tried) {
		(void)snprintf(why, why_len, "transaction %llu is the newest, want %llu (durable) .. %llu (tried)", U(serial), U(m->durable),
			       U(m->tried));
		return false;
	}
	for (uint64_t n = 0; n < WALK_NFILES; n++) {
		struct want w;

		want_file(m, n, serial, &w);
		if (!file_holds(s, n, &w, &sum, why, why_len))
			return false;
	}
	if (got.files != sum.files || got.records != sum.records || got.bytes != sum.bytes) {
		(void)snprintf(why, why_len, "totals: %llu files, %llu records, %llu bytes, want %llu, %llu, %llu", U(got.files),
			       U(got.records), U(got.bytes), U(sum.files), U(sum.records), U(sum.bytes));
		return false;
	}
	return true;
}
