/* The bytes of a record: what the tables `files`, `changesets` and `queries` hold.  Layout and rules of change: buffer/FORMAT.
 *
 * Every record opens with the same head (magic, version, kind, lengths, CRC, file id, sequence), so that a salvage can judge a
 * single record without its key or its page.  Pure: bytes in, values out. */
#ifndef BUFFER_RECORD_H
#define BUFFER_RECORD_H

#include <stddef.h>
#include <stdint.h>

#include "buffer/store.h"

#define RECORD_VERSION 1
#define RECORD_HEAD_LEN 32
#define RECORD_CHANGESET_FIELDS 32
#define RECORD_RUN_FIELDS 32
#define RECORD_QUERY_FIELDS 8
#define RECORD_ENTRY_HEAD 48 /* before the data of each entry of a run */
#define RECORD_PEEK_LEN (RECORD_HEAD_LEN + RECORD_CHANGESET_FIELDS) /* what record_peek needs of a record */

/* Payload of one changeset at most.  The protocol's messages end at some 16 MB; this bound only keeps every sum of lengths far
 * below 2^32. */
#define RECORD_DATA_MAX (1u << 30)

/* The longest file record that this version writes: four strings, 22 numbers of 8 bytes, two of 4, three of 1. */
#define RECORD_FILE_MAX (RECORD_HEAD_LEN + 8 + STORE_ENDPOINT_MAX + STORE_PATH_MAX + STORE_TEXT_MAX + STORE_BIND_MAX + STORE_USER + 22 * 8 + 2 * 4 + 3)

enum record_kind { RECORD_CHANGESET = 1, RECORD_FILE = 2, RECORD_RUN = 3, RECORD_QUERY = 4, RECORD_ORIGINALS = 5 };

/* A record taken apart; fields and data point into the bytes it was decoded from. */
struct record {
	enum record_kind kind;
	uint64_t file_id;
	uint64_t sequence; /* client version of a changeset, the first one of a run, 0 of a file, query version of a query, number of the
			    * chunk of originals */
	const uint8_t *fields, *data;
	uint32_t fields_len, data_len;
};

/* Takes any record apart and checks all of it, the CRC too.  STORE_CORRUPT, or STORE_VERSION if a newer program wrote it. */
STORE_MUSTCHECK enum store_err record_decode(const uint8_t *buf, size_t len, struct record *out);

/* Bytes that record_encode_changeset writes for len bytes of payload. */
size_t record_changeset_size(uint32_t len);
void record_encode_changeset(uint8_t *out, uint64_t file_id, const struct store_record *r);

/* The record must be a changeset of exactly this file and version (the key it was found under).  out->data points into buf. */
STORE_MUSTCHECK enum store_err record_decode_changeset(const uint8_t *buf, size_t len, uint64_t file_id, uint64_t client_version,
						       struct store_record *out);

/* ---- queries ---- */

size_t record_query_size(uint32_t len);
void record_encode_query(uint8_t *out, uint64_t file_id, const struct store_query *q);
/* The record must be a query of exactly this file and version.  out->text points into buf. */
STORE_MUSTCHECK enum store_err record_decode_query(const uint8_t *buf, size_t len, uint64_t file_id, uint64_t query_version,
						   struct store_query *out);

/* ---- runs: several changesets of one file in one record ---- */

/* What a record holds, by its head alone. */
struct record_span {
	uint64_t first, last; /* client versions */
	uint64_t bytes;	      /* of payload */
	uint64_t oldest_ms;   /* received_ms of the first */
	uint32_t n;
};

/* From the first RECORD_PEEK_LEN bytes of a changeset or a run, found under this key.  The head of a run has a checksum of its own; of a
 * single changeset's it is not checked. */
STORE_MUSTCHECK enum store_err record_peek(const uint8_t *buf, size_t len, uint64_t file_id, uint64_t first, struct record_span *out);

/* Writes one entry of a run of file_id: RECORD_ENTRY_HEAD + r->len bytes at out. */
void record_encode_entry(uint8_t *out, uint64_t file_id, const struct store_record *r);

/* Writes head and fields of a run at buf, where its entries already stand behind them; len bytes in all. */
void record_seal_run(uint8_t *buf, size_t len, uint64_t file_id, const struct record_span *span);

/* A walk over the changesets of one record, single or run.  Where the record's checksum is wrong each entry is judged by its own. */
struct record_walk {
	struct record_span span;
	uint64_t file_id;
	const uint8_t *pos, *end;
	uint64_t prev;	      /* the newest version passed so far */
	uint64_t bad_version; /* after an error: the changeset concerned; what follows it may be readable */
	uint32_t left;	      /* entries */
	bool single, trusted;
};

/* Begins a walk over entries above `after`. */
STORE_MUSTCHECK enum store_err record_walk_begin(struct record_walk *w, const uint8_t *buf, size_t len, uint64_t file_id, uint64_t first,
						 uint64_t after);

/* The next entry above after, its data within the record; STORE_NOTFOUND at the end.  After an error only a new walk makes sense. */
STORE_MUSTCHECK enum store_err record_walk_next(struct record_walk *w, uint64_t after, struct store_record *out);

/* ---- originals: by what a changeset that was pre-merged is recognised when its device sends it again ---- */

#define RECORD_CHUNK 128 /* client versions that share a record: about two thirds of a kilobyte, so it stays within its page */
#define RECORD_ORIGINAL_LEN 5 /* bytes of each in it */
#define RECORD_ORIGINALS_MAX (RECORD_HEAD_LEN + RECORD_CHUNK * RECORD_ORIGINAL_LEN)

/* CRC-32C of what the device sent: its numbers, its length and its bytes. */
uint32_t record_original_crc(const struct store_record *r);

/* Writes the record of n originals of one chunk, in rising order, at out (RECORD_ORIGINALS_MAX bytes); returns its length. */
size_t record_encode_originals(uint8_t *out, uint64_t file_id, uint64_t chunk, const struct store_original *o, size_t n);

/* out: room for RECORD_CHUNK. */
STORE_MUSTCHECK enum store_err record_decode_originals(const uint8_t *buf, size_t len, uint64_t file_id, uint64_t chunk,
						       struct store_original *out, size_t *n);

/* ---- files ---- */

/* Writes the record of f at out, which has room for RECORD_FILE_MAX bytes; returns its length.  The strings of f must end within
 * their arrays. */
size_t record_encode_file(uint8_t *out, const struct store_file *f);
STORE_MUSTCHECK enum store_err record_decode_file(const uint8_t *buf, size_t len, uint64_t file_id, struct store_file *out);

#endif
