/* The operations on the buffer, but for verify and import, which have files of their own.
 *
 * Who owns a backlog: a file in the state EXPORTED is left alone by the relay (no storing, replaying or trimming), so its records
 * stand still while they are read.  "mark" sets it before the first record is read, "unmark" takes it back when the export
 * could not be completed; state_code keeps the state that it had.
 *
 * What a discard must not forget (I4): the file's row stays, and with it the newest version that the relay acknowledged.  What
 * neither upstream nor the relay acknowledged is forgotten as if it had never come, so that the device, which still has it, may
 * upload it again. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/admin_int.h"
#include "relay/clock.h"
#include "relay/word.h"

#define PAGE_ROWS 64			 /* files in one answer */
#define DISCARD_BYTES (4u << 20)	 /* of payload removed in one transaction */
#define BACKUP_BYTES (1u << 20)		 /* read in one step */
#define COMPACT_PAGES 256		 /* in one step: 1 MiB */

const char *
admin_state_name(enum store_file_state state)
{
	switch (state) {
	case STORE_FILE_OK:
		return "ok";
	case STORE_FILE_REJECTED:
		return "rejected";
	case STORE_FILE_CONFLICT:
		return "conflict";
	case STORE_FILE_LOST:
		return "lost";
	case STORE_FILE_DIFFERS:
		return "differs";
	case STORE_FILE_RESTORED:
		return "restored";
	case STORE_FILE_EXPORTED:
		return "exported";
	case STORE_FILE_IMPORTING:
		return "importing";
	}
	return "unknown";
}

/* ---- parts of operations ---- */

enum store_err
admin_no(struct admin_op *op, const char *why)
{
	op->why = why;
	return STORE_INVALID;
}

uint64_t
admin_number(struct admin_op *op, size_t word)
{
	uint64_t n;

	if (word_number(op->q->word[word], &n))
		return n;
	op->why = "a number is malformed";
	return 0;
}

const char *
admin_lease_of(struct admin_op *op, size_t word)
{
	const char *lease = op->q->word[word];

	if (strlen(lease) == ADMIN_LEASE_LEN && strspn(lease, "0123456789abcdef") == ADMIN_LEASE_LEN)
		return lease;
	op->why = "a lease is 32 hex digits";
	return NULL;
}

void
admin_set_state(struct store_file *f, enum store_file_state state, uint32_t code, const char *text)
{
	f->state = state;
	f->state_code = code;
	f->state_time_ms = clock_wall_now_ms();
	snprintf(f->state_text, sizeof(f->state_text), "%s", text);
}

enum store_err
admin_keep(struct admin_op *op, struct store_file *f)
{
	enum store_err err = store_file_put(op->s, f);

	if (err == STORE_OK)
		err = store_commit(op->s, true);
	if (err == STORE_OK)
		op->a->touched = *f;
	return err;
}

struct store_file *
admin_file_room(void)
{
	return calloc(1, sizeof(struct store_file));
}

void
admin_add_file(struct json *j, const struct store_file *f)
{
	json_begin(j);
	json_u64(j, "id", f->id);
	json_str(j, "state", admin_state_name(f->state));
	json_u64(j, "code", f->state_code);
	json_str(j, "reason", f->state_text);
	json_u64(j, "state_time_ms", f->state_time_ms);
	json_str(j, "ack", f->ack == STORE_ACK_RELAY ? "relay" : "upstream");
	json_u64(j, "records", f->backlog_records);
	json_u64(j, "bytes", f->backlog_bytes);
	json_u64(j, "oldest_ms", f->oldest_ms);
	json_str(j, "endpoint", f->endpoint);
	json_str(j, "path", f->path);
	json_u64(j, "ident", f->file_ident);
	json_u64(j, "salt", f->file_ident_salt);
	json_u64(j, "held_client_version", f->held_client_version);
	json_u64(j, "held_server_version", f->held_server_version);
	json_u64(j, "upstream_client_version", f->upstream_client_version);
	json_u64(j, "upstream_server_version", f->upstream_server_version);
	json_u64(j, "shown_client_version", f->shown_client_version);
	json_u64(j, "shown_server_version", f->shown_server_version);
	json_u64(j, "download_server_version", f->download_server_version);
	json_u64(j, "created_ms", f->created_ms);
	json_u64(j, "seen_ms", f->seen_ms);
	json_end(j);
}

struct search {
	const char *endpoint, *path;
	uint64_t ident;
	uint64_t id;
	unsigned found;
};

static bool
search_cb(void *arg, const struct store_file *f)
{
	struct search *x = arg;

	if (f->file_ident == x->ident && strcmp(f->path, x->path) == 0 && strcmp(f->endpoint, x->endpoint) == 0) {
		x->id = f->id;
		x->found++;
	}
	return true;
}

/* The file that the words from `word` on name: an id, or endpoint, path and ident. */
static enum store_err
get_file(struct admin_op *op, size_t word, struct store_file *out)
{
	struct search x = { .id = 0 };
	enum store_err err;

	if (op->q->nword - word >= 3) {
		x.endpoint = op->q->word[word];
		x.path = op->q->word[word + 1];
		x.ident = admin_number(op, word + 2);
		if (op->why == NULL && (err = store_file_each(op->s, search_cb, &x)) != STORE_OK)
			return err;
		if (x.found > 1)
			return admin_no(op, "several files are so: name one by its id");
	} else {
		x.id = admin_number(op, word);
	}
	if (op->why != NULL)
		return STORE_INVALID;
	err = x.id == 0 ? STORE_NOTFOUND : store_file_get(op->s, x.id, out);
	if (err == STORE_NOTFOUND)
		op->why = "no such file";
	else if (err == STORE_CORRUPT)
		op->why = "its record is damaged: the daemon sets it aside when it starts, and then it can be decided upon";
	return err;
}

/* n more bytes of data; NULL: no memory. */
static uint8_t *
data_room(struct admin_answer *a, size_t n)
{
	size_t cap = a->cap != 0 ? a->cap : 4096;
	uint8_t *p;

	while (cap - a->len < n)
		cap *= 2;
	if (cap != a->cap) {
		if ((p = realloc(a->data, cap)) == NULL)
			return NULL;
		a->data = p;
		a->cap = cap;
	}
	return a->data + a->len;
}

static enum store_err
add_packed_file(struct admin_answer *a, const struct store_file *f)
{
	uint8_t *p = data_room(a, STORE_PACK_FILE_MAX);

	if (p == NULL)
		return STORE_NOMEM;
	a->len += store_pack_file(p, STORE_PACK_FILE_MAX, f);
	return STORE_OK;
}

enum store_err
admin_packed_file(struct admin_op *op, struct store_file *out)
{
	struct store_packed p;

	if (store_unpack(op->q->data, op->q->len, &p) != STORE_OK || !p.is_file || p.len != op->q->len)
		return admin_no(op, "the data is not one file record, or damaged");
	*out = p.file;
	return STORE_OK;
}

/* ---- looking ---- */

static enum store_err
do_stat(struct admin_op *op)
{
	struct json *j = &op->a->last;
	struct store_stat st;
	enum store_err err = store_stat(op->s, &st);

	if (err != STORE_OK)
		return err;
	json_u64(j, "files", st.files);
	json_u64(j, "files_with_backlog", st.files_with_backlog);
	json_u64(j, "records", st.records);
	json_u64(j, "bytes", st.bytes);
	json_u64(j, "oldest_ms", st.oldest_ms);
	json_u64(j, "disk_bytes", st.disk_bytes);
	return STORE_OK;
}

/* files AFTER: a damaged record of a file is a row of its own, for its neighbours must be seen (I7). */
static enum store_err
do_files(struct admin_op *op)
{
	struct json *rows = &op->a->rows;
	uint64_t id = admin_number(op, 1);
	enum store_err err = STORE_OK;
	struct store_file f;

	for (unsigned n = 0; n < PAGE_ROWS && op->why == NULL; n++) {
		err = store_file_after(op->s, id, &f);
		if (err == STORE_OK) {
			admin_add_file(rows, &f);
		} else if ((err == STORE_CORRUPT || err == STORE_VERSION) && f.id > id && f.id != UINT64_MAX) {
			json_begin(rows);
			json_u64(rows, "id", f.id);
			json_str(rows, "state", "damaged");
			json_str(rows, "reason", store_strerror(err));
			json_end(rows);
		} else {
			break;
		}
		id = f.id;
		err = STORE_OK;
	}
	json_u64(&op->a->last, "next", err == STORE_NOTFOUND ? 0 : id);
	return op->why != NULL ? STORE_INVALID : err == STORE_NOTFOUND ? STORE_OK : err;
}

static enum store_err
do_file(struct admin_op *op)
{
	struct store_file f;
	enum store_err err = get_file(op, 1, &f);

	if (err == STORE_OK)
		admin_add_file(&op->a->rows, &f);
	return err;
}

struct reading {
	struct admin_answer *a;
	uint64_t id, records, last;
	bool nomem;
};

static bool
read_cb(void *arg, const struct store_record *r)
{
	struct reading *x = arg;
	size_t len = store_pack_record(NULL, 0, x->id, r);
	uint8_t *p = data_room(x->a, len);

	x->nomem = p == NULL;
	if (p == NULL)
		return false;
	x->a->len += store_pack_record(p, len, x->id, r);
	x->records++;
	x->last = r->client_version;
	return true;
}

/* originals ID NUMBER: packed records of what pre-merge changed, from NUMBER on; next: where to go on, 0 at the end.  One that is damaged is
 * left out: it is as good as none. */
static enum store_err
do_originals(struct admin_op *op)
{
	uint64_t id = admin_number(op, 1), number = admin_number(op, 2), next = 0;
	uint8_t rec[STORE_PACK_ORIGINALS_MAX], *p;
	struct store_originals_place at = { 0 };
	size_t len;
	enum store_err err;

	if (op->why != NULL)
		return STORE_INVALID;
	while ((err = store_originals_after(op->s, id, number, rec, &len, &at)) == STORE_OK || err == STORE_CORRUPT) {
		if (at.id != id)
			break;
		next = number = at.number + 1;
		if (err == STORE_OK && (p = data_room(op->a, len)) == NULL)
			return STORE_NOMEM;
		if (err == STORE_OK) {
			memcpy(p, rec, len);
			op->a->len += len;
		}
		if (op->a->len >= ADMIN_SLICE)
			break;
	}
	if (err == STORE_NOTFOUND || at.id != id)
		next = 0;
	json_u64(&op->a->last, "next", next);
	return err == STORE_NOTFOUND || err == STORE_CORRUPT ? STORE_OK : err;
}

struct asking {
	struct admin_answer *a;
	uint64_t id, from, next;
	bool nomem;
};

static bool
query_cb(void *arg, const struct store_query *q)
{
	struct asking *x = arg;
	size_t len = store_pack_query(NULL, 0, x->id, q);
	uint8_t *p;

	if (q->query_version < x->from)
		return true;
	if (x->a->len > 0 && x->a->len + len > ADMIN_SLICE) {
		x->next = q->query_version;
		return false;
	}
	p = data_room(x->a, len);
	x->nomem = p == NULL;
	if (p != NULL)
		x->a->len += store_pack_query(p, len, x->id, q);
	return p != NULL;
}

/* queries ID VERSION: packed queries from VERSION on; next: where to go on, 0 at the end. */
static enum store_err
do_queries(struct admin_op *op)
{
	struct asking x = { .a = op->a, .id = admin_number(op, 1), .from = admin_number(op, 2) };
	enum store_err err;

	if (op->why != NULL)
		return STORE_INVALID;
	err = store_query_each(op->s, x.id, query_cb, &x);
	json_u64(&op->a->last, "next", x.next);
	return x.nomem ? STORE_NOMEM : err;
}

/* read ID AFTER: packed records; bad: the version of a damaged one that stands behind them. */
static enum store_err
do_read(struct admin_op *op)
{
	struct reading x = { .a = op->a, .id = admin_number(op, 1) };
	uint64_t after = admin_number(op, 2), bad = 0;
	enum store_err err;

	if (op->why != NULL)
		return STORE_INVALID;
	err = store_read(op->s, x.id, after, ADMIN_SLICE, read_cb, &x, &bad);
	if (x.nomem)
		return STORE_NOMEM;
	if (err == STORE_CORRUPT && bad != 0)
		err = STORE_OK;
	json_u64(&op->a->last, "records", x.records);
	json_u64(&op->a->last, "last", x.last);
	json_u64(&op->a->last, "bad", bad);
	return err;
}

/* ---- deciding ---- */

/* retry ID [force] */
static enum store_err
do_retry(struct admin_op *op)
{
	bool force = op->q->nword > 2 && strcmp(op->q->word[2], "force") == 0;
	struct store_file f;
	enum store_err err;

	if ((err = store_begin(op->s)) != STORE_OK || (err = get_file(op, 1, &f)) != STORE_OK)
		return err;
	if (f.state == STORE_FILE_IMPORTING && !force)
		return admin_no(op, "it is being imported: repeat the import, or force it to go on with what has come");
	if (f.state == STORE_FILE_EXPORTED && !force)
		return admin_no(op, "its backlog was exported; import that export here, or force it if the export is destroyed");
	json_str(&op->a->last, "was", admin_state_name(f.state));
	if (f.state == STORE_FILE_OK) {
		store_abort(op->s);
		return STORE_OK;
	}
	admin_set_state(&f, STORE_FILE_OK, 0, "");
	return admin_keep(op, &f);
}

struct head {
	uint64_t upto, bytes;
};

static bool
head_cb(void *arg, const struct store_record *r)
{
	struct head *h = arg;

	h->upto = r->client_version;
	return (h->bytes += r->len) < DISCARD_BYTES;
}

/* What the file knows when its records are gone; see the head of this file. */
static void
forget_pairs(struct store_file *f)
{
	bool shown = f->shown_client_version > f->upstream_client_version;

	f->held_client_version = shown ? f->shown_client_version : f->upstream_client_version;
	f->held_server_version = shown ? f->shown_server_version : f->upstream_server_version;
	if (f->final_client_version > f->held_client_version) {
		f->final_client_version = f->held_client_version;
		f->final_server_version = f->held_server_version;
	}
}

/* A file of which a part is gone stays set aside until the last.  An exported one stays exported: its device must not overtake what the other
 * gateway has. */
static enum store_err
discarded(struct admin_op *op, struct store_file *f)
{
	enum store_err err;

	if (f->state == STORE_FILE_EXPORTED)
		return STORE_OK;
	if (f->backlog_records > 0) {
		admin_set_state(f, STORE_FILE_LOST, 0, "a part of the backlog was discarded; discard it again for the rest");
		return STORE_OK;
	}
	/* Queries that wait, or are damaged, go with the last of it; the client asks again. */
	if ((err = store_query_cut(op->s, f->id, 0, UINT64_MAX)) != STORE_OK)
		return err;
	admin_set_state(f, STORE_FILE_OK, 0, "");
	forget_pairs(f);
	return STORE_OK;
}

/* discard ID: one step. */
static enum store_err
do_discard(struct admin_op *op)
{
	struct store_file f;
	struct head h = { 0 };
	uint64_t before, bad = 0;
	enum store_err err;

	if ((err = store_begin(op->s)) != STORE_OK || (err = get_file(op, 1, &f)) != STORE_OK)
		return err;
	before = f.backlog_records;
	err = store_read(op->s, f.id, 0, DISCARD_BYTES, head_cb, &h, &bad);
	if (bad != 0)
		h.upto = bad;
	else if (err != STORE_OK)
		return err;
	if ((err = store_trim(op->s, f.id, h.upto)) != STORE_OK || (err = store_file_get(op->s, f.id, &f)) != STORE_OK ||
	    (err = discarded(op, &f)) != STORE_OK)
		return err;
	json_u64(&op->a->last, "id", f.id);
	json_u64(&op->a->last, "removed", before - f.backlog_records);
	json_u64(&op->a->last, "left", f.backlog_records);
	json_u64(&op->a->last, "shown_client_version", f.shown_client_version);
	return admin_keep(op, &f);
}

/* ---- export ---- */

/* mark ID LEASE: data is the file as it was. */
static enum store_err
do_mark(struct admin_op *op)
{
	const char *lease = admin_lease_of(op, 2);
	struct store_file f;
	char text[64];
	enum store_err err;

	if (lease == NULL)
		return STORE_INVALID;
	if ((err = store_begin(op->s)) != STORE_OK || (err = get_file(op, 1, &f)) != STORE_OK)
		return err;
	if (f.state == STORE_FILE_EXPORTED || f.state == STORE_FILE_IMPORTING)
		return admin_no(op, "exported already, or being imported");
	if ((err = add_packed_file(op->a, &f)) != STORE_OK || (err = admin_lease_put(op->s, lease, "exported")) != STORE_OK)
		return err;
	snprintf(text, sizeof(text), "export %s", lease);
	admin_set_state(&f, STORE_FILE_EXPORTED, (uint32_t)f.state, text);
	return admin_keep(op, &f);
}

/* unmark ID LEASE +file: as if it had not been marked. */
static enum store_err
do_unmark(struct admin_op *op)
{
	const char *lease = admin_lease_of(op, 2);
	struct store_file f, was;
	char text[64];
	enum store_err err;

	if (lease == NULL || (err = admin_packed_file(op, &was)) != STORE_OK)
		return STORE_INVALID;
	if ((err = store_begin(op->s)) != STORE_OK || (err = get_file(op, 1, &f)) != STORE_OK)
		return err;
	snprintf(text, sizeof(text), "export %s", lease);
	if (f.state != STORE_FILE_EXPORTED || strcmp(f.state_text, text) != 0 || was.id != f.id)
		return admin_no(op, "not exported under this lease");
	admin_set_state(&f, was.state, was.state_code, was.state_text);
	f.state_time_ms = was.state_time_ms;
	return admin_keep(op, &f);
}

/* ---- backup, compact ---- */

static enum store_err
do_backup_begin(struct admin_op *op)
{
	return store_is_held(op->s) ? admin_no(op, "another backup is being made") : store_hold(op->s);
}

static enum store_err
do_backup_end(struct admin_op *op)
{
	store_release(op->s);
	return STORE_OK;
}

/* backup-next tables|logs AFTER, where AFTER is "-" to begin */
static enum store_err
do_backup_next(struct admin_op *op)
{
	const char *after = strcmp(op->q->word[2], "-") == 0 ? "" : op->q->word[2];
	char name[STORE_NAME_MAX + 1];
	enum store_err err;

	if (!store_is_held(op->s))
		return admin_no(op, "begin a backup first");
	err = store_disk_next(op->s, strcmp(op->q->word[1], "logs") == 0, after, name);
	json_str(&op->a->last, "name", err == STORE_OK ? name : "");
	return err == STORE_NOTFOUND ? STORE_OK : err;
}

/* backup-read NAME OFFSET */
static enum store_err
do_backup_read(struct admin_op *op)
{
	uint64_t offset = admin_number(op, 2);
	uint8_t *p = data_room(op->a, BACKUP_BYTES);

	if (op->why != NULL)
		return STORE_INVALID;
	if (!store_is_held(op->s))
		return admin_no(op, "begin a backup first");
	return p == NULL ? STORE_NOMEM : store_disk_read(op->s, op->q->word[1], offset, p, BACKUP_BYTES, &op->a->len);
}

/* compact TABLE ID VERSION */
static enum store_err
do_compact(struct admin_op *op)
{
	struct store_compaction c = { .table = (unsigned)admin_number(op, 1), .id = admin_number(op, 2), .version = admin_number(op, 3) };
	enum store_err err;

	if (op->why != NULL)
		return STORE_INVALID;
	if (store_is_held(op->s))
		return admin_no(op, "a backup is being made");
	err = store_compact(op->s, &c, COMPACT_PAGES);
	json_u64(&op->a->last, "table", c.table);
	json_u64(&op->a->last, "id", c.id);
	json_u64(&op->a->last, "version", c.version);
	json_u64(&op->a->last, "pages_freed", c.pages_freed);
	json_bool(&op->a->last, "done", c.done);
	return err;
}

/* ---- all of them ---- */

static const struct admin_verb {
	const char *name;
	size_t min, max; /* words behind it */
	bool data;	 /* comes with data */
	admin_fn *run;
} verbs[] = {
	{ "stat", 0, 0, false, do_stat },
	{ "files", 1, 1, false, do_files },
	{ "file", 1, 3, false, do_file },
	{ "read", 2, 2, false, do_read },
	{ "originals", 2, 2, false, do_originals },
	{ "queries", 2, 2, false, do_queries },
	{ "verify", 7, 7, false, admin_verify },
	{ "retry", 1, 2, false, do_retry },
	{ "discard", 1, 1, false, do_discard },
	{ "forget-files", 2, 2, false, admin_forget_files },
	{ "forget-values", 3, 4, false, admin_forget_values },
	{ "forget-file", 2, 2, false, admin_forget_file },
	{ "renew-log", 0, 1, false, admin_renew_log },
	{ "mark", 2, 2, false, do_mark },
	{ "unmark", 2, 2, true, do_unmark },
	{ "lease", 1, 1, false, admin_lease },
	{ "import-begin", 1, 1, false, admin_import_begin },
	{ "import-file", 1, 2, true, admin_import_file },
	{ "import-records", 2, 2, true, admin_import_records },
	{ "import-end", 2, 3, true, admin_import_end },
	{ "import-done", 1, 1, false, admin_import_done },
	{ "backup-begin", 0, 0, false, do_backup_begin },
	{ "backup-next", 2, 2, false, do_backup_next },
	{ "backup-read", 2, 2, false, do_backup_read },
	{ "backup-end", 0, 0, false, do_backup_end },
	{ "compact", 3, 3, false, do_compact },
};

static const struct admin_verb *
find_verb(struct admin_op *op)
{
	const struct admin_request *q = op->q;

	for (size_t i = 0; q->nword > 0 && i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		if (strcmp(verbs[i].name, q->word[0]) != 0)
			continue;
		if (q->nword - 1 < verbs[i].min || q->nword - 1 > verbs[i].max || (q->len > 0) != verbs[i].data)
			op->why = "wrong number of arguments";
		return op->why == NULL ? &verbs[i] : NULL;
	}
	op->why = "unknown buffer command";
	return NULL;
}

void
admin_run(struct store *s, const struct admin_request *q, struct admin_answer *a)
{
	struct admin_op op = { .s = s, .q = q, .a = a };
	const struct admin_verb *v;
	enum store_err err = STORE_INVALID;

	memset(a, 0, sizeof(*a));
	json_begin(&a->last);
	if ((v = find_verb(&op)) != NULL) {
		err = v->run(&op);
		if (err != STORE_OK)
			store_abort(s); /* if one is open */
	}
	a->ok = err == STORE_OK;
	json_str(&a->last, "status", a->ok ? "ok" : "error");
	if (!a->ok) {
		json_str(&a->last, "error", op.why != NULL ? op.why : store_strerror(err));
		a->len = 0;
	}
	if (a->len > 0)
		json_u64(&a->last, "data", a->len);
	json_end(&a->last);
	if (a->rows.failed || a->last.failed) {
		admin_free(a);
		admin_refuse(a, store_strerror(STORE_NOMEM));
	}
}

void
admin_refuse(struct admin_answer *a, const char *why)
{
	memset(a, 0, sizeof(*a));
	json_begin(&a->last);
	json_str(&a->last, "status", "error");
	json_str(&a->last, "error", why);
	json_end(&a->last);
}

void
admin_free(struct admin_answer *a)
{
	json_free(&a->rows);
	json_free(&a->last);
	free(a->data);
	a->data = NULL;
	a->len = a->cap = 0;
}
