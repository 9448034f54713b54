/* verify: every record of the buffer is read and judged, in steps.
 *
 *   verify PHASE ID AFTER RECORDS BYTES COUNT0 BYTES0    (all 0 to begin; the answer has the next seven)
 *
 *   phase 0  the next file above ID -> 1, or 2 when there is none
 *   phase 1  records of file ID above AFTER; RECORDS and BYTES add up; at the end against the file's counters -> 0
 *   phase 2  records whose file does not exist, above ID -> 3
 *   phase 3  names -> 4, which is the end
 *
 * Between two steps the relay goes on.  So a file whose counters changed meanwhile (COUNT0, BYTES0: what they were when its walk
 * began) is not judged by them; each record still is. */
#include <string.h>

#include "relay/admin_int.h"

#define STEP_BYTES (1u << 20) /* of payload read in one step */
#define STEP_FILES 200
#define UNCOUNTED UINT64_MAX /* RECORDS: a damaged one was among them */

struct walk {
	struct admin_op *op;
	uint64_t phase, id, after, records, bytes, count0, bytes0;
	uint64_t budget, read;
};

static void
problem(struct walk *w, uint64_t id, uint64_t version, const char *text)
{
	struct json *j = &w->op->a->rows;

	json_begin(j);
	json_u64(j, "file", id);
	if (version != 0)
		json_u64(j, "client_version", version);
	json_str(j, "problem", text);
	json_end(j);
}

static bool
record_cb(void *arg, const struct store_record *r)
{
	struct walk *w = arg;

	w->after = r->client_version;
	if (w->records != UNCOUNTED)
		w->records++;
	w->bytes += r->len;
	return true;
}

static void
judge_counters(struct walk *w)
{
	struct store_file f;

	if (w->records == UNCOUNTED || store_file_get(w->op->s, w->id, &f) != STORE_OK)
		return;
	if (f.backlog_records == w->records && f.backlog_bytes == w->bytes)
		return;
	if (f.backlog_records == w->count0 && f.backlog_bytes == w->bytes0)
		problem(w, w->id, 0, "its counters differ from its records");
}

static enum store_err
next_file(struct walk *w)
{
	struct store_file f, found;
	enum store_err err = store_file_after(w->op->s, w->id, &f);

	if (err == STORE_NOTFOUND) {
		w->phase = 2;
		w->id = 0;
		return STORE_OK;
	}
	if ((err == STORE_CORRUPT || err == STORE_VERSION) && f.id != UINT64_MAX) {
		problem(w, f.id, 0, err == STORE_VERSION ? "its record was written by a newer version" : "its record is damaged");
		w->id = f.id;
		return STORE_OK;
	}
	if (err != STORE_OK)
		return err;
	if (store_file_find(w->op->s, f.endpoint, f.path, f.file_ident, f.file_ident_salt, &found) != STORE_OK || found.id != f.id)
		problem(w, f.id, 0, "its name is missing or another file's");
	w->phase = 1;
	w->id = f.id;
	w->after = w->records = w->bytes = 0;
	w->count0 = f.backlog_records;
	w->bytes0 = f.backlog_bytes;
	return STORE_OK;
}

static enum store_err
next_records(struct walk *w)
{
	uint64_t bad = 0, was = w->after, bytes = w->bytes;
	enum store_err err = store_read(w->op->s, w->id, w->after, w->budget, record_cb, w, &bad);

	w->read += w->bytes - bytes;
	w->budget -= w->bytes - bytes < w->budget ? w->bytes - bytes : w->budget;
	if (err == STORE_CORRUPT && bad != 0) {
		problem(w, w->id, bad, "the record is damaged");
		w->after = bad;
		w->records = UNCOUNTED;
		return STORE_OK;
	}
	if (err == STORE_OK && w->after == was) { /* none left */
		judge_counters(w);
		w->phase = 0;
	}
	return err;
}

static enum store_err
next_stray(struct walk *w)
{
	struct store_file f;
	uint64_t id;
	enum store_err err = store_backlog_after(w->op->s, w->id, &id);

	if (err == STORE_NOTFOUND) {
		w->phase = 3;
		return STORE_OK;
	}
	if (err != STORE_OK)
		return err;
	if (store_file_get(w->op->s, id, &f) == STORE_NOTFOUND)
		problem(w, id, 0, "records of a file that does not exist");
	w->id = id;
	return STORE_OK;
}

static void
name_cb(void *arg, uint64_t id, const char *text)
{
	problem(arg, id, 0, text);
}

static enum store_err
step(struct walk *w)
{
	switch (w->phase) {
	case 0:
		return next_file(w);
	case 1:
		return next_records(w);
	case 2:
		return next_stray(w);
	default:
		w->phase = 4;
		return store_names_check(w->op->s, name_cb, w);
	}
}

enum store_err
admin_verify(struct admin_op *op)
{
	struct walk w = { .op = op, .budget = STEP_BYTES };
	uint64_t *const v[] = { &w.phase, &w.id, &w.after, &w.records, &w.bytes, &w.count0, &w.bytes0 };
	static const char *const names[] = { "phase", "id", "after", "records", "bytes", "count0", "bytes0" };
	enum store_err err = STORE_OK;

	for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++)
		*v[i] = admin_number(op, i + 1);
	if (op->why != NULL)
		return STORE_INVALID;
	for (unsigned n = 0; n < 2 * STEP_FILES && w.budget > 0 && w.phase < 4 && err == STORE_OK; n++)
		err = step(&w);
	for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++)
		json_u64(&op->a->last, names[i], *v[i]);
	json_u64(&op->a->last, "read", w.read);
	json_bool(&op->a->last, "done", w.phase == 4);
	return err;
}
