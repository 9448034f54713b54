/* What pre-merge is worth and what it costs, for four kinds of work that a device does while the link is down.
 *
 *   telemetry   1 Hz for three days: 259,200 changesets that each set 20 properties of one object
 *   inserts     an object with 5 properties for each reading: nothing to drop, the honest ratio
 *   orders      an order book: orders come, change some times, and most go again
 *   texts       lists of strings that grow and shrink: nothing to drop either
 *
 * Changesets are made by the encoder of the test peers, newest first, and handed over in lots, so that only pre-merge's own memory and
 * one lot are held; making them is not timed. Bytes on the wire are the bodies of UPLOADs: as the device would send them (128 KiB before
 * deflate at level 1, as its SDK does), deflated at level 9 in the same batches, and pre-merged at level 9.
 *
 * And whether one large changeset costs more an instruction than a small one: objects whose keys are strings are written to twice, so that each
 * brings a string of its own, and half of it is dropped.
 *
 * What grows, and what does not.  Instructions of the processor for a changeset, by callgrind --toggle-collect=premerge_feed, with BENCH_WORK and
 * BENCH_CHANGESETS:
 *
 *	             10,000	100,000
 *	telemetry    51,648	51,647 (30,000)
 *	inserts      20,420	20,566
 *	orders	      5,639	 5,671, with 259,200: 5,704
 *	texts	      3,007	 3,025
 *
 * So the work is linear.  That orders take up to twice the time by the end is what is known of the newer ones, which outgrows the caches: 113 KiB with
 * 10,000, 1.1 MiB with 100,000.  A changeset's strings are sorted, to see that none is there twice: n log n, and caches again, make the largest one
 * cost twice as much an instruction as the smallest.
 *
 * Environment: BENCH_CHANGESETS (default 259200) for each; BENCH_WORK: this kind alone (large: the last part). */
#include <sys/resource.h>

#include <err.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "protocol/changeset.h"
#include "protocol/premerge.h"
#include "protocol/zbody.h"
#include "tests/peer/changeset_maker.h"

#define CHANGESETS 259200
#define LOT 4096
#define BATCH (128 << 10)   /* bytes of entries in an UPLOAD */
#define STATE_MAX (16 << 20)
#define DEVICE_LEVEL 1
#define REPLAY_LEVEL 9
#define T0 375000000000 /* ms */

typedef unsigned long long ull;

static double
now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* The same number for the same n, whatever came before. */
static uint64_t
noise(uint64_t n)
{
	n = (n ^ n >> 30) * 0xbf58476d1ce4e5b9u;
	n = (n ^ n >> 27) * 0x94d049bb133111ebu;
	return n ^ n >> 31;
}

/* ---- four kinds of work ---- */

static void
set_double(struct changeset *c, const char *table, int64_t key, const char *field, double value)
{
	struct changeset_path p = { .table = table, .key = key, .field = field };
	struct changeset_payload v = { .type = CHANGESET_DOUBLE, .real = value };

	changeset_update(c, &p, &v, 0);
}

static void
telemetry(struct changeset *c, uint64_t n)
{
	static const char *const fields[] = { "latitude", "longitude", "altitude", "speed", "course", "heading", "pitch", "roll", "draft",
		"rpm1", "rpm2", "oil1", "oil2", "fuel1", "fuel2", "cooling", "exhaust", "windSpeed", "windAngle", "seaTemp" };

	for (size_t f = 0; f < sizeof(fields) / sizeof(fields[0]); f++)
		set_double(c, "Vessel", 1, fields[f], (double)(noise(n * 32 + f) % 100000) / 100);
}

static void
inserts(struct changeset *c, uint64_t n)
{
	static const char *const fields[] = { "at", "temperature", "pressure", "humidity", "voltage" };

	changeset_create_object(c, "Reading", (int64_t)n);
	for (size_t f = 0; f < sizeof(fields) / sizeof(fields[0]); f++)
		set_double(c, "Reading", (int64_t)n, fields[f], (double)(noise(n * 8 + f) % 100000) / 100);
}

/* Order n / 8 comes, has its price and amount changed six times, and is erased unless it is one of ten. */
static void
orders(struct changeset *c, uint64_t n)
{
	int64_t order = (int64_t)(n / 8);

	if (n % 8 == 0)
		changeset_create_object(c, "Order", order);
	if (n % 8 == 7 && order % 10 != 0) {
		changeset_erase_object(c, "Order", order);
		return;
	}
	set_double(c, "Order", order, "price", (double)(noise(n) % 100000) / 100);
	set_double(c, "Order", order, "amount", (double)(noise(~n) % 1000));
}

static void
texts(struct changeset *c, uint64_t n)
{
	struct changeset_path p = { .table = "Log", .key = (int64_t)(n / 1000), .field = "lines", .indexed = true, .index = n % 1000 / 2 };
	struct changeset_payload v = { .type = CHANGESET_STRING };
	char text[64];

	v.len = (size_t)snprintf(text, sizeof(text), "watch %llu: bearing %llu, all well", (ull)n, (ull)(noise(n) % 360));
	v.data = text;
	if (n % 4 == 3) {
		p.index = 0;
		changeset_array_erase(c, &p, n % 1000 / 4 * 2 + 3);
	} else {
		changeset_array_insert(c, &p, &v, n % 1000 / 2);
	}
}

static const struct {
	const char *name;
	void (*make)(struct changeset *c, uint64_t n);
} works[] = { { "telemetry", telemetry }, { "inserts", inserts }, { "orders", orders }, { "texts", texts } };

/* ---- bytes on the wire ---- */

struct wire { /* UPLOADs at one level */
	int level;
	uint8_t *buf; /* of BATCH and one changeset more */
	size_t len, cap;
	uint64_t bytes, changesets;
};

static void
flush(struct wire *w)
{
	static uint8_t out[4 * BATCH];
	size_t len = w->len;

	if (w->len > ZBODY_MIN && zbody_deflate(w->level, w->buf, w->len, out, w->len < sizeof(out) ? w->len : sizeof(out), &len) != PROTO_OK)
		len = w->len;
	w->bytes += len;
	w->len = 0;
}

static void
add(struct wire *w, const struct upload_entry *e)
{
	size_t most = MSG_ENTRY_HEAD_MAX + e->changeset.len;

	if (w->cap - w->len < most && (w->buf = realloc(w->buf, w->cap += BATCH + most)) == NULL)
		err(1, "realloc");
	w->len += upload_entry_format(e, (char *)w->buf + w->len);
	memcpy(w->buf + w->len, e->changeset.ptr, e->changeset.len);
	w->len += e->changeset.len;
	w->changesets++;
	if (w->len >= BATCH)
		flush(w);
}

/* ---- one kind ---- */

struct result {
	double decode_s, premerge_s;
	struct wire device, deflated, merged;
	struct premerge_stats stats;
};

/* The next lot of older changesets: entries lo .. hi - 1, in lot[0] the oldest. */
static void
make_lot(size_t work, uint64_t lo, uint64_t hi, struct upload_entry *lot, struct changeset *made)
{
	for (uint64_t n = lo; n < hi; n++) {
		struct changeset *c = &made[n - lo];

		changeset_init(c);
		works[work].make(c, n);
		lot[n - lo] = (struct upload_entry){ .client_version = n + 2, .server_version = 1, .origin_timestamp = T0 + n * 1000,
			.changeset = { c->buf, c->len } };
	}
}

static void
decode(const struct upload_entry *lot, uint64_t n, struct cs_parsed *parsed)
{
	struct cs_instr i;

	while (n-- > 0) {
		if (cs_parse(parsed, lot[n].changeset.ptr, lot[n].changeset.len) != PROTO_OK)
			errx(1, "a changeset does not decode");
		for (size_t at = 0; at < parsed->n; at++)
			cs_get(parsed, at, &i);
	}
}

/* As the committer does it: what a changeset is replaced by is copied out. Sending it is not timed. */
static void
merge(struct premerge *p, struct upload_entry *lot, uint64_t n, struct result *r)
{
	static uint8_t space[4 << 20]; /* a lot is at most LOT times 600 bytes */
	static bool gone[LOT];
	double start = now();
	size_t used = 0;
	struct view out;

	for (uint64_t i = n; i-- > 0;) {
		enum premerge_verdict verdict = premerge_feed(p, &lot[i], &out);

		gone[i] = verdict == PREMERGE_EMPTY;
		if (verdict != PREMERGE_REPLACE)
			continue;
		if (out.len > sizeof(space) - used)
			errx(1, "a lot is larger than it can be");
		memcpy(space + used, out.ptr, out.len);
		lot[i].changeset = (struct view){ space + used, out.len };
		used += out.len;
	}
	r->premerge_s += now() - start;
	for (uint64_t i = 0; i < n; i++)
		if (!gone[i])
			add(&r->merged, &lot[i]);
}

static void
run(size_t work, uint64_t changesets, struct result *r)
{
	static struct upload_entry lot[LOT];
	static struct changeset made[LOT];
	struct premerge *p = premerge_new(STATE_MAX);
	struct cs_parsed parsed = { 0 };

	r->device.level = DEVICE_LEVEL;
	r->deflated.level = r->merged.level = REPLAY_LEVEL;
	for (uint64_t hi = changesets; hi > 0;) {
		uint64_t lo = hi > LOT ? hi - LOT : 0;
		double start;

		make_lot(work, lo, hi, lot, made);
		start = now();
		decode(lot, hi - lo, &parsed);
		r->decode_s += now() - start;
		for (uint64_t n = 0; n < hi - lo; n++) {
			add(&r->device, &lot[n]);
			add(&r->deflated, &lot[n]);
		}
		merge(p, lot, hi - lo, r);
		for (uint64_t n = 0; n < hi - lo; n++)
			changeset_free(&made[n]);
		hi = lo;
	}
	flush(&r->device);
	flush(&r->deflated);
	flush(&r->merged);
	r->stats = premerge_stats(p);
	premerge_free(p);
	cs_free(&parsed);
	free(r->device.buf);
	free(r->deflated.buf);
	free(r->merged.buf);
}

static void
report(const char *name, uint64_t changesets, const struct result *r)
{
	const struct premerge_stats *s = &r->stats;
	struct rusage usage;

	(void)getrusage(RUSAGE_SELF, &usage);
	printf("%s: %llu changesets, %llu instructions, %.1f MB\n", name, (ull)changesets, (ull)s->instructions, (double)s->bytes_in / 1e6);
	printf("  decoded     %9.0f changesets/s, %.2f M instructions/s\n", (double)changesets / r->decode_s,
	       (double)s->instructions / r->decode_s / 1e6);
	printf("  pre-merged  %9.0f changesets/s, %.2f M instructions/s, %.2f s; state %.1f KiB, %llu times full; process %.1f MiB\n",
	       (double)changesets / r->premerge_s, (double)s->instructions / r->premerge_s / 1e6, r->premerge_s,
	       (double)s->state_peak / 1024, (ull)s->forgotten, (double)usage.ru_maxrss / 1024);
	printf("  left        %llu changesets, %llu instructions, %.3f MB\n", (ull)r->merged.changesets, (ull)(s->instructions - s->dropped),
	       (double)s->bytes_out / 1e6);
	printf("  on the wire %.3f MB as the device sends it, %.3f MB deflated at level %d, %.4f MB pre-merged: 1/%.1f\n",
	       (double)r->device.bytes / 1e6, (double)r->deflated.bytes / 1e6, REPLAY_LEVEL, (double)r->merged.bytes / 1e6,
	       (double)r->device.bytes / (double)r->merged.bytes);
}

/* ---- one changeset of many instructions ---- */

static void
write_one(struct cs_writer *w, const struct cs_instr *i)
{
	cs_write(w, i, NULL);
	if (w->failed)
		errx(1, "no memory");
}

/* n instructions, and n / 2 strings: so many objects are written to, twice. */
static void
make_large(struct cs_writer *w, size_t n)
{
	struct cs_instr intern = { .code = CS_INTERN_STRING };
	struct cs_instr update = { .code = CS_UPDATE, .key.type = CS_STRING, .field = 1, .value = { .type = CS_INT, .integer = 1 } };
	char name[32];

	w->len = 0;
	for (uint32_t s = 0; s < n / 2 + 2; s++) {
		int len = s == 0 ? snprintf(name, sizeof(name), "Pump") : snprintf(name, sizeof(name), s == 1 ? "hours" : "pump-%016llx", (ull)noise(s));

		intern.intern.index = s;
		intern.intern.string = (struct view){ (const uint8_t *)name, (size_t)len };
		write_one(w, &intern);
		update.key.str = s;
		for (int twice = 0; s > 1 && twice < 2; twice++)
			write_one(w, &update);
	}
}

static void
large(size_t n)
{
	struct cs_writer w = { 0 };
	struct cs_parsed parsed = { 0 };
	struct premerge *p = premerge_new(8 * STATE_MAX);
	size_t times = 1000000 / n;
	double start, decode_s, premerge_s;
	struct view out;

	make_large(&w, n);
	start = now();
	for (size_t i = 0; i < times; i++)
		decode(&(struct upload_entry){ .changeset = { w.buf, w.len } }, 1, &parsed);
	decode_s = now() - start;
	start = now();
	for (size_t i = 0; i < times; i++) {
		struct upload_entry e = { .client_version = 2, .server_version = 1, .changeset = { w.buf, w.len } };

		if (premerge_feed(p, &e, &out) != PREMERGE_REPLACE)
			errx(1, "nothing is dropped of a large changeset");
		premerge_forget(p);
	}
	premerge_s = now() - start;
	printf("large: a changeset of %6zu instructions, %4.0f KiB: decoded %.2f M instructions/s, pre-merged %.2f M instructions/s\n", n,
	       (double)w.len / 1024, (double)(times * n) / decode_s / 1e6, (double)(times * n) / premerge_s / 1e6);
	premerge_free(p);
	cs_free(&parsed);
	cs_writer_free(&w);
}

int
main(void)
{
	static const size_t sizes[] = { 100, 1000, 10000, 100000 };
	const char *work = getenv("BENCH_WORK");
	const char *env = getenv("BENCH_CHANGESETS");
	uint64_t changesets = env != NULL ? strtoull(env, NULL, 10) : CHANGESETS;

	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	if (changesets == 0)
		errx(1, "BENCH_CHANGESETS is no number");
	for (size_t w = 0; w < sizeof(works) / sizeof(works[0]); w++) {
		struct result r = { 0 };

		if (work != NULL && strcmp(work, works[w].name) != 0)
			continue;
		run(w, changesets, &r);
		report(works[w].name, changesets, &r);
	}
	for (size_t i = 0; (work == NULL || strcmp(work, "large") == 0) && i < sizeof(sizes) / sizeof(sizes[0]); i++)
		large(sizes[i]);
	return 0;
}
