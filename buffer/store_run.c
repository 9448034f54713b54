/* Gathers the changesets that a transaction appends into runs: records that hold several entries of one file (record.h).
 *
 * A record of a kilobyte takes a page of four, written when it is appended and again when it is removed; sixteen of them in one record
 * take four and a bit.  That is most of what separates the store from a plain file (tests/bench/bench_store), so entries that
 * follow each other in one file within one transaction go to the disk together, whatever UPLOADs they came in.
 *
 * The one idea: the open run is nothing but a delay.  It is written before anything else looks at the table (store_run_flush: reads,
 * trims, another file's entries, commit), and forgotten by abort. */
#include <stdlib.h>
#include <string.h>

#include "buffer/be.h"
#include "buffer/record.h"
#include "buffer/store_int.h"

#define RUN_ENTRIES (RECORD_HEAD_LEN + RECORD_RUN_FIELDS) /* where the entries begin */

/* A single changeset is written where it stands in the run: its head ends where its data begins. */
_Static_assert(RUN_ENTRIES + RECORD_ENTRY_HEAD >= RECORD_HEAD_LEN + RECORD_CHANGESET_FIELDS, "no room for the head of a single one");

enum store_err
store_record_put(struct store *s, uint64_t id, uint64_t version, const uint8_t *rec, size_t len)
{
	uint8_t k[STORE_CHANGESET_KEY];
	DBT key = store_dbt(k, sizeof(k)), data = store_dbt(rec, len);
	int ret;

	be_put64(k, id);
	be_put64(k + 8, version);
	ret = s->changesets->put(s->changesets, s->txn, &key, &data, DB_NOOVERWRITE);
	return ret == DB_KEYEXIST ? store_fail(s, STORE_CORRUPT) : store_db_error(s, ret);
}

enum store_err
store_single_put(struct store *s, uint64_t id, const struct store_record *r)
{
	size_t len = record_changeset_size(r->len);
	uint8_t *buf = store_scratch(s, len);

	if (buf == NULL)
		return STORE_NOMEM;
	record_encode_changeset(buf, id, r);
	return store_record_put(s, id, r->client_version, buf, len);
}

/* The only entry of the run as a record of its own kind, which has the smaller head. */
static enum store_err
flush_single(struct store *s, struct run *run)
{
	uint8_t *entry = run->buf + RUN_ENTRIES, *rec = entry + RECORD_ENTRY_HEAD - RECORD_HEAD_LEN - RECORD_CHANGESET_FIELDS;
	struct store_record r = run->only;

	r.data = entry + RECORD_ENTRY_HEAD;
	record_encode_changeset(rec, run->id, &r);
	return store_record_put(s, run->id, r.client_version, rec, record_changeset_size(r.len));
}

enum store_err
store_run_flush(struct store *s)
{
	struct run *run = &s->run;
	enum store_err err;

	if (run->span.n == 0)
		return STORE_OK;
	if (run->span.n == 1) {
		err = flush_single(s, run);
	} else {
		record_seal_run(run->buf, run->len, run->id, &run->span);
		err = store_record_put(s, run->id, run->span.first, run->buf, run->len);
	}
	run->span.n = 0;
	return err;
}

void
store_run_drop(struct store *s)
{
	s->run.span.n = 0;
}

enum store_err
store_run_add(struct store *s, uint64_t id, const struct store_record *r)
{
	struct run *run = &s->run;
	size_t need = RECORD_ENTRY_HEAD + (size_t)r->len;
	enum store_err err;

	if (run->span.n > 0 && (run->id != id || need > STORE_RUN_MAX - run->len) && (err = store_run_flush(s)) != STORE_OK)
		return err;
	if (need > STORE_RUN_MAX - RUN_ENTRIES)
		return store_single_put(s, id, r);
	if (run->buf == NULL && (run->buf = malloc(STORE_RUN_MAX)) == NULL)
		return store_fail(s, STORE_NOMEM);
	if (run->span.n == 0) {
		run->id = id;
		run->len = RUN_ENTRIES;
		run->only = *r;
		run->span = (struct record_span){ .first = r->client_version, .oldest_ms = r->received_ms };
	}
	record_encode_entry(run->buf + run->len, id, r);
	run->len += need;
	run->span.last = r->client_version;
	run->span.bytes += r->len;
	run->span.n++;
	return STORE_OK;
}
