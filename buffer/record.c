/* Encodes and decodes the records of the tables `files`, `changesets` and `queries`.  Called by the store only, which owns the bytes.
 *
 *      0         4       5    6           8        12    16      24       32
 *     | magic   | vers. | kind| fields len| data len| CRC | file  | seq.  | fields ... | data ... |
 *
 * The one idea: a record may grow at the end of its fields without a new version.  A reader takes the fields it knows and
 * ignores the rest up to fields_len; data begins where fields_len says.  Whatever would change the meaning of known fields
 * needs a new version, and an older reader refuses it (STORE_VERSION) instead of guessing.
 *
 * A run holds several changesets of one file, so that an UPLOAD of many small ones fills its pages instead of leaving most of each
 * empty: the fewer bytes, the more records a second.  Each entry has a CRC too: one bad entry costs itself, not its neighbours.
 *
 * The CRC covers every byte but its own four.  It is there for what Berkeley DB's page checksums cannot see: a page that
 * is whole but stale, a record under a wrong key, a salvaged or exported record. */
#include <string.h>

#include "buffer/be.h"
#include "buffer/crc32c.h"
#include "buffer/record.h"

#define MAGIC 0x48467263u /* "HFrc" */

enum { AT_MAGIC = 0, AT_VERSION = 4, AT_KIND = 5, AT_FIELDS_LEN = 6, AT_DATA_LEN = 8, AT_CRC = 12, AT_FILE = 16, AT_SEQUENCE = 24 };

static uint32_t
record_crc(const uint8_t *buf, size_t len)
{
	return crc32c(crc32c(0, buf, AT_CRC), buf + AT_FILE, len - AT_FILE);
}

/* Writes the head in front of fields and data that already stand in their place. */
static void
head_put(uint8_t *buf, const struct record *r)
{
	be_put32(buf + AT_MAGIC, MAGIC);
	buf[AT_VERSION] = RECORD_VERSION;
	buf[AT_KIND] = (uint8_t)r->kind;
	be_put16(buf + AT_FIELDS_LEN, (uint16_t)r->fields_len);
	be_put32(buf + AT_DATA_LEN, r->data_len);
	be_put64(buf + AT_FILE, r->file_id);
	be_put64(buf + AT_SEQUENCE, r->sequence);
	be_put32(buf + AT_CRC, record_crc(buf, RECORD_HEAD_LEN + (size_t)r->fields_len + r->data_len));
}

/* The same, and the data is put in its place unless it stands there already. */
static void
record_put(uint8_t *out, const struct record *r)
{
	uint8_t *data = out + RECORD_HEAD_LEN + r->fields_len;

	if (r->data_len > 0 && r->data != data)
		memcpy(data, r->data, r->data_len);
	head_put(out, r);
}

/* Reads the head: everything but the lengths against len, and the CRC. */
static enum store_err
head_get(const uint8_t *buf, size_t len, struct record *r)
{
	if (len < RECORD_HEAD_LEN || be_get32(buf + AT_MAGIC) != MAGIC || buf[AT_VERSION] == 0)
		return STORE_CORRUPT;
	if (buf[AT_VERSION] > RECORD_VERSION)
		return STORE_VERSION;
	if (buf[AT_KIND] < RECORD_CHANGESET || buf[AT_KIND] > RECORD_ORIGINALS)
		return STORE_CORRUPT;
	r->kind = (enum record_kind)buf[AT_KIND];
	r->fields_len = be_get16(buf + AT_FIELDS_LEN);
	r->data_len = be_get32(buf + AT_DATA_LEN);
	r->file_id = be_get64(buf + AT_FILE);
	r->sequence = be_get64(buf + AT_SEQUENCE);
	r->fields = buf + RECORD_HEAD_LEN;
	r->data = r->fields + r->fields_len;
	return r->data_len > RECORD_DATA_MAX ? STORE_CORRUPT : STORE_OK;
}

enum store_err
record_decode(const uint8_t *buf, size_t len, struct record *out)
{
	struct record r;
	enum store_err err;

	if ((err = head_get(buf, len, &r)) != STORE_OK)
		return err;
	if (len - RECORD_HEAD_LEN != (size_t)r.fields_len + r.data_len || be_get32(buf + AT_CRC) != record_crc(buf, len))
		return STORE_CORRUPT;
	*out = r;
	return STORE_OK;
}

/* ---- changesets ---- */

size_t
record_changeset_size(uint32_t len)
{
	return (size_t)RECORD_HEAD_LEN + RECORD_CHANGESET_FIELDS + len;
}

void
record_encode_changeset(uint8_t *out, uint64_t file_id, const struct store_record *r)
{
	uint8_t *fields = out + RECORD_HEAD_LEN;
	struct record head = { .kind = RECORD_CHANGESET, .file_id = file_id, .sequence = r->client_version,
		.fields_len = RECORD_CHANGESET_FIELDS, .data = r->data, .data_len = r->len };

	be_put64(fields, r->server_version);
	be_put64(fields + 8, r->origin_timestamp);
	be_put64(fields + 16, r->origin_file_ident);
	be_put64(fields + 24, r->received_ms);
	record_put(out, &head);
}

static enum store_err
changeset_fields(const struct record *rec, uint64_t file_id, uint64_t client_version, struct store_record *out)
{
	if (rec->kind != RECORD_CHANGESET || rec->file_id != file_id || rec->sequence != client_version ||
	    rec->fields_len < RECORD_CHANGESET_FIELDS)
		return STORE_CORRUPT;
	out->client_version = client_version;
	out->server_version = be_get64(rec->fields);
	out->origin_timestamp = be_get64(rec->fields + 8);
	out->origin_file_ident = be_get64(rec->fields + 16);
	out->received_ms = be_get64(rec->fields + 24);
	out->len = rec->data_len;
	return STORE_OK;
}

enum store_err
record_decode_changeset(const uint8_t *buf, size_t len, uint64_t file_id, uint64_t client_version, struct store_record *out)
{
	struct record rec;
	enum store_err err;

	if ((err = record_decode(buf, len, &rec)) != STORE_OK)
		return err;
	out->data = rec.data;
	return changeset_fields(&rec, file_id, client_version, out);
}

/* ---- queries ---- */

size_t
record_query_size(uint32_t len)
{
	return (size_t)RECORD_HEAD_LEN + RECORD_QUERY_FIELDS + len;
}

void
record_encode_query(uint8_t *out, uint64_t file_id, const struct store_query *q)
{
	struct record head = { .kind = RECORD_QUERY, .file_id = file_id, .sequence = q->query_version,
		.fields_len = RECORD_QUERY_FIELDS, .data = q->text, .data_len = q->len };

	be_put64(out + RECORD_HEAD_LEN, q->place);
	record_put(out, &head);
}

enum store_err
record_decode_query(const uint8_t *buf, size_t len, uint64_t file_id, uint64_t query_version, struct store_query *out)
{
	struct record rec;
	enum store_err err;

	if ((err = record_decode(buf, len, &rec)) != STORE_OK)
		return err;
	if (rec.kind != RECORD_QUERY || rec.file_id != file_id || rec.sequence != query_version ||
	    rec.fields_len < RECORD_QUERY_FIELDS)
		return STORE_CORRUPT;
	*out = (struct store_query){ query_version, be_get64(rec.fields), rec.data, rec.data_len };
	return STORE_OK;
}

/* ---- runs ---- */

/* Places in the fields of a run. */
enum { RUN_LAST = 0, RUN_BYTES = 8, RUN_OLDEST = 16, RUN_COUNT = 24, RUN_HEAD_CRC = 28 };

/* Places in the head of an entry. */
enum { ENTRY_CLIENT = 0, ENTRY_SERVER = 8, ENTRY_TIMESTAMP = 16, ENTRY_ORIGIN = 24, ENTRY_RECEIVED = 32, ENTRY_LEN = 40, ENTRY_CRC = 44 };

static uint32_t
run_head_crc(const uint8_t *buf)
{
	return crc32c(crc32c(0, buf, AT_CRC), buf + AT_FILE, RECORD_HEAD_LEN + RUN_HEAD_CRC - AT_FILE);
}

/* Also over the file's id, so that an entry can be told from one of another file wherever it is found. */
static uint32_t
entry_crc(const uint8_t *entry, uint64_t file_id, uint32_t len)
{
	uint8_t id[8];

	be_put64(id, file_id);
	return crc32c(crc32c(crc32c(0, id, sizeof(id)), entry, ENTRY_CRC), entry + RECORD_ENTRY_HEAD, len);
}

void
record_encode_entry(uint8_t *out, uint64_t file_id, const struct store_record *r)
{
	be_put64(out + ENTRY_CLIENT, r->client_version);
	be_put64(out + ENTRY_SERVER, r->server_version);
	be_put64(out + ENTRY_TIMESTAMP, r->origin_timestamp);
	be_put64(out + ENTRY_ORIGIN, r->origin_file_ident);
	be_put64(out + ENTRY_RECEIVED, r->received_ms);
	be_put32(out + ENTRY_LEN, r->len);
	if (r->len > 0)
		memcpy(out + RECORD_ENTRY_HEAD, r->data, r->len);
	be_put32(out + ENTRY_CRC, entry_crc(out, file_id, r->len));
}

void
record_seal_run(uint8_t *buf, size_t len, uint64_t file_id, const struct record_span *span)
{
	uint8_t *fields = buf + RECORD_HEAD_LEN;
	struct record head = { .kind = RECORD_RUN, .file_id = file_id, .sequence = span->first, .fields_len = RECORD_RUN_FIELDS,
		.data_len = (uint32_t)(len - RECORD_HEAD_LEN - RECORD_RUN_FIELDS) };

	be_put64(fields + RUN_LAST, span->last);
	be_put64(fields + RUN_BYTES, span->bytes);
	be_put64(fields + RUN_OLDEST, span->oldest_ms);
	be_put32(fields + RUN_COUNT, span->n);
	head_put(buf, &head); /* the head but for its CRC, which covers the field that comes now */
	be_put32(fields + RUN_HEAD_CRC, run_head_crc(buf));
	be_put32(buf + AT_CRC, record_crc(buf, len));
}

enum store_err
record_peek(const uint8_t *buf, size_t len, uint64_t file_id, uint64_t first, struct record_span *out)
{
	struct store_record one;
	struct record rec;
	enum store_err err;

	if (len < RECORD_PEEK_LEN)
		return STORE_CORRUPT;
	if ((err = head_get(buf, len, &rec)) != STORE_OK)
		return err;
	if (rec.kind == RECORD_CHANGESET) {
		err = changeset_fields(&rec, file_id, first, &one);
		*out = (struct record_span){ first, first, rec.data_len, err == STORE_OK ? one.received_ms : 0, 1 };
		return err;
	}
	if (rec.kind != RECORD_RUN || rec.file_id != file_id || rec.sequence != first || rec.fields_len < RECORD_RUN_FIELDS ||
	    be_get32(rec.fields + RUN_HEAD_CRC) != run_head_crc(buf))
		return STORE_CORRUPT;
	*out = (struct record_span){ first, be_get64(rec.fields + RUN_LAST), be_get64(rec.fields + RUN_BYTES),
		be_get64(rec.fields + RUN_OLDEST), be_get32(rec.fields + RUN_COUNT) };
	return out->last < first || out->n == 0 ? STORE_CORRUPT : STORE_OK;
}

enum store_err
record_walk_begin(struct record_walk *w, const uint8_t *buf, size_t len, uint64_t file_id, uint64_t first, uint64_t after)
{
	struct record rec;
	enum store_err err;

	memset(w, 0, sizeof(*w));
	w->file_id = file_id;
	w->bad_version = first;
	w->prev = first - 1;
	if ((err = record_peek(buf, len, file_id, first, &w->span)) != STORE_OK || (err = head_get(buf, len, &rec)) != STORE_OK)
		return err;
	w->trusted = len - RECORD_HEAD_LEN == (size_t)rec.fields_len + rec.data_len && be_get32(buf + AT_CRC) == record_crc(buf, len);
	w->single = rec.kind == RECORD_CHANGESET;
	w->left = w->span.last > after ? w->span.n : 0;
	w->pos = w->single ? buf : rec.data;
	w->end = buf + len;
	if (w->single && !w->trusted && w->left > 0)
		return STORE_CORRUPT;
	if ((size_t)(w->end - buf) < RECORD_HEAD_LEN + (size_t)rec.fields_len) {
		w->bad_version = w->span.last;
		return STORE_CORRUPT;
	}
	return STORE_OK;
}

/* The version of the entry at w->pos: what it says if that can be, else the least that it may have. */
static uint64_t
entry_version(const struct record_walk *w)
{
	uint64_t v = be_get64(w->pos + ENTRY_CLIENT);

	return v > w->prev && v <= w->span.last ? v : w->prev + 1;
}

enum store_err
record_walk_next(struct record_walk *w, uint64_t after, struct store_record *out)
{
	while (w->left > 0) {
		const uint8_t *entry = w->pos;
		uint64_t version;
		uint32_t len;

		w->left--;
		if (w->single)
			return record_decode_changeset(entry, (size_t)(w->end - entry), w->file_id, w->span.first, out);
		if ((size_t)(w->end - entry) < RECORD_ENTRY_HEAD ||
		    (len = be_get32(entry + ENTRY_LEN)) > (size_t)(w->end - entry) - RECORD_ENTRY_HEAD) {
			w->bad_version = w->span.last; /* where the next one begins cannot be known */
			return STORE_CORRUPT;
		}
		version = entry_version(w);
		w->pos = entry + RECORD_ENTRY_HEAD + len;
		w->prev = version;
		if (version <= after)
			continue;
		if (version != be_get64(entry + ENTRY_CLIENT) ||
		    (!w->trusted && be_get32(entry + ENTRY_CRC) != entry_crc(entry, w->file_id, len))) {
			w->bad_version = version;
			return STORE_CORRUPT;
		}
		*out = (struct store_record){ version, be_get64(entry + ENTRY_SERVER), be_get64(entry + ENTRY_TIMESTAMP),
			be_get64(entry + ENTRY_ORIGIN), be_get64(entry + ENTRY_RECEIVED), entry + RECORD_ENTRY_HEAD, len };
		return STORE_OK;
	}
	return STORE_NOTFOUND;
}

/* ---- originals ---- */

#define ORIGINAL_GONE 0x80 /* in the byte that has the version's place in the chunk: nothing of it is left in changesets */

uint32_t
record_original_crc(const struct store_record *r)
{
	uint8_t head[28];

	be_put64(head, r->server_version);
	be_put64(head + 8, r->origin_timestamp);
	be_put64(head + 16, r->origin_file_ident);
	be_put32(head + 24, r->len);
	return crc32c(crc32c(0, head, sizeof(head)), r->data, r->len);
}

size_t
record_encode_originals(uint8_t *out, uint64_t file_id, uint64_t chunk, const struct store_original *o, size_t n)
{
	struct record head = { .kind = RECORD_ORIGINALS, .file_id = file_id, .sequence = chunk,
		.data_len = (uint32_t)(n * RECORD_ORIGINAL_LEN) };
	uint8_t *p = out + RECORD_HEAD_LEN;

	for (size_t i = 0; i < n; i++, p += RECORD_ORIGINAL_LEN) {
		p[0] = (uint8_t)(o[i].client_version % RECORD_CHUNK) | (o[i].gone ? ORIGINAL_GONE : 0);
		be_put32(p + 1, o[i].crc);
	}
	head_put(out, &head);
	return (size_t)(p - out);
}

enum store_err
record_decode_originals(const uint8_t *buf, size_t len, uint64_t file_id, uint64_t chunk, struct store_original *out, size_t *n)
{
	struct record rec;
	enum store_err err = record_decode(buf, len, &rec);
	const uint8_t *p;

	if (err != STORE_OK)
		return err;
	if (rec.kind != RECORD_ORIGINALS || rec.file_id != file_id || rec.sequence != chunk || chunk > UINT64_MAX / RECORD_CHUNK ||
	    rec.data_len % RECORD_ORIGINAL_LEN != 0 || (*n = rec.data_len / RECORD_ORIGINAL_LEN) > RECORD_CHUNK)
		return STORE_CORRUPT;
	p = rec.data;
	for (size_t i = 0; i < *n; i++, p += RECORD_ORIGINAL_LEN) {
		out[i] = (struct store_original){ chunk * RECORD_CHUNK + (p[0] & ~ORIGINAL_GONE & 0xff), be_get32(p + 1),
			(p[0] & ORIGINAL_GONE) != 0 };
		if (i > 0 && out[i].client_version <= out[i - 1].client_version)
			return STORE_CORRUPT;
	}
	return STORE_OK;
}

/* ---- files ---- */

/* A cursor over the fields of a file record; it serves encoding and decoding, so that there is one list of the fields.
 * Latches: after the first field that does not fit, nothing more is read. */
struct cursor {
	uint8_t *out;	   /* encoding; NULL when decoding */
	const uint8_t *in; /* decoding */
	size_t pos, len;
	bool bad;
};

/* Takes n bytes of the fields; false if they are not there. */
static bool
cursor_take(struct cursor *c, size_t n)
{
	if (c->bad || n > c->len - c->pos) {
		c->bad = true;
		return false;
	}
	c->pos += n;
	return true;
}

static void
field_u64(struct cursor *c, uint64_t *v)
{
	if (!cursor_take(c, 8))
		return;
	if (c->out != NULL)
		be_put64(c->out + c->pos - 8, *v);
	else
		*v = be_get64(c->in + c->pos - 8);
}

static void
field_u32(struct cursor *c, uint32_t *v)
{
	if (!cursor_take(c, 4))
		return;
	if (c->out != NULL)
		be_put32(c->out + c->pos - 4, *v);
	else
		*v = be_get32(c->in + c->pos - 4);
}

static void
field_u8(struct cursor *c, uint8_t *v)
{
	if (!cursor_take(c, 1))
		return;
	if (c->out != NULL)
		c->out[c->pos - 1] = *v;
	else
		*v = c->in[c->pos - 1];
}

/* A string of at most max bytes: its length in two bytes, then the bytes, none of them NUL. */
static void
field_text(struct cursor *c, char *s, size_t max)
{
	size_t n;

	if (!cursor_take(c, 2))
		return;
	n = c->out != NULL ? strlen(s) : be_get16(c->in + c->pos - 2);
	if (n > max || !cursor_take(c, n)) {
		c->bad = true;
		return;
	}
	if (c->out != NULL) {
		be_put16(c->out + c->pos - n - 2, (uint16_t)n);
		memcpy(c->out + c->pos - n, s, n);
	} else {
		memcpy(s, c->in + c->pos - n, n);
		s[n] = '\0';
		c->bad = strlen(s) != n;
	}
}

/* The fields in their order on disk: those that change with every commit first, strings last, so that Berkeley DB, which logs what
 * lies between the first and the last changed byte, logs little.  Append only: see FORMAT. */
static void
file_fields(struct cursor *c, struct store_file *f)
{
	uint32_t state = (uint32_t)f->state;
	uint8_t ack = (uint8_t)f->ack;

	field_u64(c, &f->backlog_records);
	field_u64(c, &f->backlog_bytes);
	field_u64(c, &f->oldest_ms);
	field_u64(c, &f->held_client_version);
	field_u64(c, &f->held_server_version);
	field_u64(c, &f->final_client_version);
	field_u64(c, &f->final_server_version);
	field_u64(c, &f->shown_client_version);
	field_u64(c, &f->shown_server_version);
	field_u64(c, &f->upstream_client_version);
	field_u64(c, &f->upstream_server_version);
	field_u64(c, &f->locked_server_version);
	field_u64(c, &f->download_server_version);
	field_u64(c, &f->download_client_version);
	field_u64(c, &f->latest_server_version);
	field_u64(c, &f->latest_server_version_salt);
	field_u64(c, &f->seen_ms);
	field_u64(c, &f->created_ms);
	field_u64(c, &f->file_ident);
	field_u64(c, &f->file_ident_salt);
	field_u64(c, &f->state_time_ms);
	field_u32(c, &state);
	field_u32(c, &f->state_code);
	field_u8(c, &ack);
	field_u8(c, &f->downloaded);
	field_u8(c, &f->is_subserver);
	field_text(c, f->endpoint, STORE_ENDPOINT_MAX);
	field_text(c, f->path, STORE_PATH_MAX);
	field_text(c, f->state_text, STORE_TEXT_MAX);
	if (c->out != NULL || c->pos < c->len) /* added later: a record without it means 0 */
		field_u64(c, &f->offered_client_version);
	if (c->out != NULL || c->pos < c->len) /* the same */
		field_text(c, f->bind, STORE_BIND_MAX);
	if (c->out != NULL || c->pos < c->len) /* the same */
		for (size_t i = 0; i < STORE_USER; i++)
			field_u8(c, &f->user[i]);
	f->state = (enum store_file_state)state;
	f->ack = (enum store_ack)ack;
}

size_t
record_encode_file(uint8_t *out, const struct store_file *f)
{
	struct store_file copy = *f;
	struct cursor c = { .out = out + RECORD_HEAD_LEN, .len = RECORD_FILE_MAX - RECORD_HEAD_LEN };
	struct record head = { .kind = RECORD_FILE, .file_id = f->id };

	file_fields(&c, &copy);
	head.fields_len = (uint32_t)c.pos;
	head_put(out, &head);
	return RECORD_HEAD_LEN + c.pos;
}

enum store_err
record_decode_file(const uint8_t *buf, size_t len, uint64_t file_id, struct store_file *out)
{
	struct record rec;
	struct cursor c = { 0 };
	enum store_err err;

	if ((err = record_decode(buf, len, &rec)) != STORE_OK)
		return err;
	if (rec.kind != RECORD_FILE || rec.file_id != file_id || rec.sequence != 0)
		return STORE_CORRUPT;
	memset(out, 0, sizeof(*out));
	c.in = rec.fields;
	c.len = rec.fields_len;
	file_fields(&c, out);
	out->id = file_id;
	if (c.bad)
		return STORE_CORRUPT;
	/* A state or mode that a newer program added: not ours to interpret. */
	if ((uint32_t)out->state > STORE_FILE_STATE_MAX || (uint32_t)out->ack > STORE_ACK_RELAY)
		return STORE_VERSION;
	return STORE_OK;
}
