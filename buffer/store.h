/* The durable buffer: one Berkeley DB environment in one directory, one writer thread.
 *
 *   files        one record per client file: identity, cursors, progress, state, backlog counters
 *   changesets   the backlog: one record per buffered changeset, keyed by (file id, client version)
 *   queries      of clients of flexible sync, keyed by (file id, query version)
 *   originals    what was sent in place of changesets that were pre-merged since
 *   meta, tokens, idents, states  small named values
 *
 * Convention: functions return enum store_err, 0 is success; nothing here logs, exits or starts threads.  A struct store may be used
 * by one thread at a time; a callback may read from the store but not write to it.  After STORE_IO or STORE_CORRUPT from a write
 * the store is latched: every further call returns the same (what was committed is safe; the process should stop).
 * STORE_NOSPACE is not latched.
 * The format on disk is described in buffer/FORMAT. */
#ifndef BUFFER_STORE_H
#define BUFFER_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STORE_MUSTCHECK __attribute__((warn_unused_result))

enum store_err {
	STORE_OK = 0,
	STORE_NOTFOUND,	 /* no such file, record or value */
	STORE_DIFFERS,	 /* a record of this client version is held with other bytes */
	STORE_FULL,	 /* max_bytes, max_bytes_per_file or min_free would be passed */
	STORE_NOSPACE,	 /* the disk is full; nothing of this transaction was promised: repeat it when there is room */
	STORE_LOCKED,	 /* another process owns the directory */
	STORE_VERSION,	 /* written by a newer format */
	STORE_CORRUPT,	 /* damaged: recovery or a checksum failed */
	STORE_IO,	 /* the disk failed */
	STORE_NOMEM,
	STORE_KEY,	 /* the key is not the buffer's, or there is one where the other has none */
	STORE_INVALID,	 /* an argument out of range: the caller's bug */
};

const char *store_strerror(enum store_err err); /* static phrase */

#define STORE_KEY_BYTES 32

struct store;

struct store_options {
	const char *dir;	    /* created (0700) if missing; its parent must exist */
	uint64_t max_bytes;	    /* of payload held in changesets; 0 = no bound */
	uint64_t max_bytes_per_file;/* the same for one file; 0 = no bound */
	uint64_t min_free;	    /* appends leave this much of the disk free; 0 = no bound */
	uint64_t ballast_bytes;	    /* kept allocated in a file that is given up when recovery or a commit finds no space; 0 = none */
	uint64_t max_log_bytes;	    /* of log kept while there is a backlog (FORMAT, "The base"); 0 = no bound */
	bool rebuild;		    /* recover from all logs (DB_RECOVER_FATAL): for the ladder (ladder.h) only */
	const uint8_t *key;	    /* STORE_KEY_BYTES random bytes: the buffer is encrypted.  NULL: it is not.  Copied */
	uint32_t cache_bytes;	    /* Berkeley DB cache */
	uint32_t log_file_bytes;    /* size of one log file */
	uint32_t checkpoint_bytes;  /* checkpoint after this much log */
	/* Called (from the calling thread) with a detail in words whenever Berkeley DB reports an error; rate limited to a few a second.
	 * May be NULL.  text lives for the call only. */
	void (*on_error)(void *arg, const char *text);
	void *on_error_arg;
	/* Called when an fsync failed, just before abort(): libdb would go on (facts.md).  Must be async-safe enough to write one
	 * line.  May be NULL. */
	void (*on_fatal)(const char *text);
};

/* Takes the directory's lock, runs recovery, opens or creates the tables.
 * On failure *out is NULL and why (why_len bytes) holds a sentence for the operator. */
STORE_MUSTCHECK enum store_err store_open(const struct store_options *opt, struct store **out, char *why, size_t why_len);

/* Changes the bounds of the same names in struct store_options. */
void store_set_bounds(struct store *s, uint64_t max_bytes, uint64_t max_bytes_per_file, uint64_t min_free);

/* Checkpoints and closes; frees s.  Without a call to it nothing committed is lost.  NULL is allowed. */
void store_close(struct store *s);

/* ---- transactions: every write needs one; one at a time ---- */

STORE_MUSTCHECK enum store_err store_begin(struct store *s);

/* durable: returns after the log is on stable storage.  Not durable: the commit may be lost by a crash, but only together
 * with everything after it (used to trim: I2 allows a trimmed record to come back).
 * On error the transaction is aborted. */
STORE_MUSTCHECK enum store_err store_commit(struct store *s, bool durable);
void store_abort(struct store *s); /* also undoes the counters */

/* ---- files ---- */

#define STORE_ENDPOINT_MAX 1200 /* bytes: upstream name and request path */
#define STORE_PATH_MAX 1024	/* bytes of a server path (protocol.md section 2) */
#define STORE_TEXT_MAX 256	/* bytes of a reason */
#define STORE_BIND_MAX 1024	/* bytes of what a BIND states (flexible sync) */
#define STORE_USER 16 /* bytes */

enum store_file_state { /* stored as its number: append only */
	STORE_FILE_OK = 0,
	STORE_FILE_REJECTED = 1, /* upstream refused it (design section 8): replay stops, backlog kept */
	STORE_FILE_CONFLICT = 2,
	STORE_FILE_LOST = 3,
	STORE_FILE_DIFFERS = 4, /* a device re-sent a held version with other bytes */
	STORE_FILE_RESTORED = 5,/* upstream acknowledged less than before */
	STORE_FILE_EXPORTED = 6,/* its backlog belongs to another gateway now: nothing is stored, replayed or trimmed; state_code: the state it had */
	STORE_FILE_IMPORTING = 7, /* a backlog is being brought in: the same */
	STORE_FILE_STATE_MAX = STORE_FILE_IMPORTING,
};

enum store_ack { STORE_ACK_UPSTREAM = 0, STORE_ACK_RELAY = 1 };

struct store_file {
	uint64_t id; /* given by the store; 0 = not stored yet */
	/* identity: unique together */
	char endpoint[STORE_ENDPOINT_MAX + 1];
	char path[STORE_PATH_MAX + 1]; /* bytes as sent; may hold anything but NUL */
	uint64_t file_ident, file_ident_salt;
	/* newest DOWNLOAD cursors fully passed on to the client, or those of its IDENT */
	uint64_t download_server_version, download_client_version, latest_server_version, latest_server_version_salt;
	/* progress pairs (client_version, server_version) */
	uint64_t held_client_version, held_server_version;		   /* newest version stored or acknowledged by upstream */
	uint64_t upstream_client_version, upstream_server_version;	   /* newest that upstream acknowledged */
	uint64_t shown_client_version, shown_server_version;		   /* newest that the relay itself acknowledged (ack = relay), I4 */
	uint64_t locked_server_version;					   /* newest the client stated */
	uint64_t final_client_version, final_server_version;	/* the client's own newest progress pair, sent when nothing older is left */
	uint64_t offered_client_version; /* newest that this relay may ever have sent upstream (written before it is sent) */
	/* state */
	enum store_file_state state;
	uint32_t state_code;	/* protocol error code, 0 = none */
	uint64_t state_time_ms; /* wall clock, Unix epoch */
	char state_text[STORE_TEXT_MAX + 1];
	enum store_ack ack;
	uint8_t downloaded;  /* 1: a DOWNLOAD was passed on to this client at least once */
	uint8_t is_subserver;/* as bound */
	uint8_t user[STORE_USER]; /* whose it is: as the relay says; zeros = not known */
	char bind[STORE_BIND_MAX + 1]; /* what a BIND in its name has to state in place of a path; "" = nothing, or not known */
	uint64_t created_ms, seen_ms; /* wall clock */
	/* counters, kept by the store itself in the same transaction (ignored by store_file_put) */
	uint64_t backlog_records, backlog_bytes; /* bytes of payload */
	uint64_t oldest_ms;	/* received_ms of the oldest record; 0 = none */
};

/* Finds by identity.  On failure *out stays as it is; STORE_CORRUPT, not latched: its record is damaged (see store_file_mend), or its name
 * leads to another file.  Allowed outside a transaction. */
STORE_MUSTCHECK enum store_err store_file_find(struct store *s, const char *endpoint, const char *path, uint64_t file_ident,
					       uint64_t file_ident_salt, struct store_file *out);
STORE_MUSTCHECK enum store_err store_file_get(struct store *s, uint64_t id, struct store_file *out);

/* Writes f; f->id 0 creates it and sets the id (void again if the transaction is aborted).  STORE_INVALID if another file has this
 * identity: it never changes.  Needs a transaction. */
STORE_MUSTCHECK enum store_err store_file_put(struct store *s, struct store_file *f);

/* Calls each for every file in id order until it returns false.  The record lives for the call only. */
STORE_MUSTCHECK enum store_err store_file_each(struct store *s, bool (*each)(void *arg, const struct store_file *f), void *arg);

/* Writes f in place of the damaged record of the file that has its identity.  The id, the pair held and the counters are found from what is in
 * the tables, which takes a walk over its backlog; all else is as in f, for it is not known any more.  STORE_INVALID: the record is not
 * damaged.  Needs a transaction. */
STORE_MUSTCHECK enum store_err store_file_mend(struct store *s, struct store_file *f);

/* File id as its name alone tells of it, all but its identity 0: a walk over the names, for when the record is damaged. */
STORE_MUSTCHECK enum store_err store_name_of(struct store *s, uint64_t id, struct store_file *out);

/* Removes file id with all its records (an operator's discard).  Needs a transaction. */
STORE_MUSTCHECK enum store_err store_file_remove(struct store *s, uint64_t id);

/* ---- changesets ---- */

struct store_record {
	uint64_t client_version, server_version, origin_timestamp, origin_file_ident;
	uint64_t received_ms; /* wall clock */
	const uint8_t *data;  /* changeset bytes; borrowed */
	uint32_t len;
};

/* Adds r to the backlog of file id.  Needs a transaction.  A record of that client version that is held with equal bytes and
 * numbers, or was before it was pre-merged: STORE_OK, *added = false; with others: STORE_DIFFERS.  STORE_FULL when a bound would be
 * passed. */
STORE_MUSTCHECK enum store_err store_append(struct store *s, uint64_t id, const struct store_record *r, bool *added);

/* Compares r with what is held under its client version, or was when it came: STORE_OK equal, STORE_DIFFERS, STORE_NOTFOUND. */
STORE_MUSTCHECK enum store_err store_compare(struct store *s, uint64_t id, const struct store_record *r);

/* Removes the records of file id with client_version <= upto (I2: the caller knows that upstream acknowledged them).
 * Needs a transaction. */
STORE_MUSTCHECK enum store_err store_trim(struct store *s, uint64_t id, uint64_t upto);

/* Calls each for the records of file id with client_version > after, in order, until it returns false or max_bytes of payload
 * (at least one record) were given.  data lives for the call only.  Every record's CRC is checked: a bad one ends the walk with
 * STORE_CORRUPT (not latched) and *bad_version set (bad_version may be NULL). */
STORE_MUSTCHECK enum store_err store_read(struct store *s, uint64_t id, uint64_t after, uint64_t max_bytes,
					  bool (*each)(void *arg, const struct store_record *r), void *arg, uint64_t *bad_version);

/* ---- queries of flexible sync (store_queries.c) ---- */

#define STORE_QUERY_MAX (1u << 20) /* bytes of one */

struct store_query {
	uint64_t query_version;
	uint64_t place;	      /* the client version that it comes behind; never falls as query versions rise */
	const uint8_t *text;  /* JSON, as the client sent it; borrowed */
	uint32_t len;
};

/* Keeps q with file id, in place of what is held under its version.  Needs a transaction.  STORE_FULL as for store_append. */
STORE_MUSTCHECK enum store_err store_query_put(struct store *s, uint64_t id, const struct store_query *q);

/* Removes the queries low <= query_version <= high of file id.  Needs a transaction. */
STORE_MUSTCHECK enum store_err store_query_cut(struct store *s, uint64_t id, uint64_t low, uint64_t high);

/* Calls each for the queries of file id in rising order of version until it returns false.  text lives for the call only.  STORE_CORRUPT (not
 * latched): a damaged one; those before it were given. */
STORE_MUSTCHECK enum store_err store_query_each(struct store *s, uint64_t id, bool (*each)(void *arg, const struct store_query *q), void *arg);

/* The least place at or above client version `from`: changesets up to it and those above it have a query between them, and must not be
 * merged with each other.  *place is UINT64_MAX when there is none. */
STORE_MUSTCHECK enum store_err store_query_barrier(struct store *s, uint64_t id, uint64_t from, uint64_t *place);

/* ---- pre-merge (design section 6): who decides what may go is the caller; here it goes, and what was sent stays known ---- */

/* One record of the backlog with the changesets in it, oldest first.  All zero before the first use. */
struct store_piece {
	uint64_t id, first, last; /* file; client versions */
	uint64_t bytes;		  /* of payload, as it was read */
	size_t n;
	struct store_piece_entry {
		struct store_record r;
		uint32_t original; /* once changed: CRC of what was sent */
		bool changed, gone;
	} *entry;
	uint8_t *buf; /* r.data of all points into it */
	size_t buf_cap, entry_cap;
};

/* Reads the newest record of file id that begins below client version `below`; what p held before is overwritten.  STORE_NOTFOUND: there
 * is none.  STORE_CORRUPT, not latched: it is damaged (any of its checksums); p->first says where it begins, p->n is 0.  To be written in
 * the same transaction. */
STORE_MUSTCHECK enum store_err store_piece_read(struct store *s, uint64_t id, uint64_t below, struct store_piece *p);

/* What entry i becomes: len bytes at data, not more than it had; or nothing. */
void store_piece_replace(struct store_piece *p, size_t i, const void *data, size_t len);
void store_piece_empty(struct store_piece *p, size_t i);

/* Puts p, if anything was changed, in place of what was read. */
STORE_MUSTCHECK enum store_err store_piece_write(struct store *s, struct store_piece *p);
void store_piece_free(struct store_piece *p); /* its memory */

struct store_original {
	uint64_t client_version;
	uint32_t crc; /* of what was sent (FORMAT) */
	bool gone;    /* nothing of it is held any more */
};

/* What is known of file id under this client version: STORE_NOTFOUND if it was never pre-merged. */
STORE_MUSTCHECK enum store_err store_original_find(struct store *s, uint64_t id, uint64_t client_version, struct store_original *out);

/* ---- small values ---- */

enum store_table { STORE_META, STORE_TOKENS, STORE_IDENTS, STORE_STATES }; /* keys in STORE_META that begin with a NUL byte are the store's own */
#define STORE_KEY_MAX 1400   /* bytes */
#define STORE_VALUE_MAX 4096 /* bytes */

STORE_MUSTCHECK enum store_err store_put(struct store *s, enum store_table t, const void *key, size_t key_len, const void *val,
					 size_t val_len); /* needs a transaction */
/* *val_len: room in val on entry, length on return. */
STORE_MUSTCHECK enum store_err store_get(struct store *s, enum store_table t, const void *key, size_t key_len, void *val,
					 size_t *val_len);
STORE_MUSTCHECK enum store_err store_del(struct store *s, enum store_table t, const void *key, size_t key_len);
STORE_MUSTCHECK enum store_err store_each(struct store *s, enum store_table t,
					  bool (*each)(void *arg, const void *key, size_t key_len, const void *val, size_t val_len),
					  void *arg);
/* The same for the keys above after. */
STORE_MUSTCHECK enum store_err store_each_after(struct store *s, enum store_table t, const void *after, size_t after_len,
						bool (*each)(void *arg, const void *key, size_t key_len, const void *val, size_t val_len),
						void *arg);
/* Removes every value of t, which may not be STORE_META.  Needs a transaction.  Whoever brings an older state of the buffer back (restore,
 * import, salvage, rebuild) does so with STORE_IDENTS: an ident in it may have been given out since, and none is given twice. */
STORE_MUSTCHECK enum store_err store_clear(struct store *s, enum store_table t);

/* ---- totals ---- */

struct store_stat {
	uint64_t files, files_with_backlog;
	uint64_t files_aside;	 /* whose state is not OK */
	uint64_t files_exported; /* of these: EXPORTED */
	uint64_t records, bytes; /* of the whole backlog */
	uint64_t exported_records; /* of these: of files that are EXPORTED */
	uint64_t oldest_ms;	 /* wall clock of the oldest record, 0 = none (of the files' oldest) */
	uint64_t disk_bytes;	 /* environment on disk: tables, logs, base and ballast */
	uint64_t disk_free;	 /* what the file system has left for us, UINT64_MAX if it does not say */
	uint64_t log_bytes;	 /* of disk_bytes: write-ahead log */
	bool ballast;		 /* the ballast is there, or none is wanted */
	uint64_t damaged;	 /* files whose record could not be read at open, nor was mended since; not in the totals */
};
STORE_MUSTCHECK enum store_err store_stat(struct store *s, struct store_stat *out); /* what is committed; no disk scan but for disk_bytes */

/* The backlog in shares: which ones a file belongs to, two of them, is the caller's affair. */
#define STORE_SHARES_MAX 96
#define STORE_SHARES_OF_FILE 2
struct store_share {
	uint64_t records, bytes, files; /* files: those with a backlog */
	uint64_t oldest_ms;		/* as in struct store_stat */
};
/* of(arg, f, share), to fill in two that differ, below STORE_SHARES_MAX, is asked from now on when a file gets a backlog, of its name only, and at once of
 * all that have one.  Before, all is in shares 0 and 1.  May be called again, to share it anew; if that fails some sums are of before.  Outside a transaction. */
typedef void store_share_fn(void *arg, const struct store_file *f, unsigned share[STORE_SHARES_OF_FILE]);
STORE_MUSTCHECK enum store_err store_share_by(struct store *s, store_share_fn *of, void *arg);
void store_shares(const struct store *s, struct store_share out[STORE_SHARES_MAX]); /* what is committed */

/* Checkpoints if due by checkpoint_bytes, bounds the log, gives back space after the backlog was drained, and makes the ballast anew:
 * each a step a call.  Call from time to time; soon again, also without other work, while store_busy. */
STORE_MUSTCHECK enum store_err store_checkpoint(struct store *s, bool force);
bool store_busy(const struct store *s);

/* Begins to take out of the log, and out of the base, what was removed from the tables before: a new log file, and a copy of the tables
 * from which alone they can be rebuilt; store_checkpoint goes on with it while store_busy, then store_log_is_new says whether it came about. */
STORE_MUSTCHECK enum store_err store_renew_log(struct store *s);
bool store_log_is_new(const struct store *s);

/* The disk is full, as somebody else found out: gives the ballast up.  No record is taken until it could be made again. */
void store_give_ballast(struct store *s);

/* ---- for the operator's tools (store_admin.c); small steps, so that commits need not wait ---- */

/* The file with the least id above id; STORE_NOTFOUND: there is none.  A record that cannot be used: STORE_CORRUPT or STORE_VERSION,
 * and out->id says whose. */
STORE_MUSTCHECK enum store_err store_file_after(struct store *s, uint64_t id, struct store_file *out);

/* The least file id above id for which there is any record of the backlog, going by keys alone. */
STORE_MUSTCHECK enum store_err store_backlog_after(struct store *s, uint64_t id, uint64_t *next);

/* Walks the names of all files and calls bad for each that is damaged or names a file that does not have it. */
STORE_MUSTCHECK enum store_err store_names_check(struct store *s, void (*bad)(void *arg, uint64_t id, const char *text), void *arg);

/* A record as the tables hold it (buffer/FORMAT), for export and import.  Returns its length; writes it if it fits into cap. */
#define STORE_PACK_FILE_MAX 4096 /* bytes, at most, of a packed file */
size_t store_pack_file(uint8_t *out, size_t cap, const struct store_file *f);
size_t store_pack_record(uint8_t *out, size_t cap, uint64_t id, const struct store_record *r);

/* The first record of originals at or above (id, number): its bytes, and where it stands.  STORE_NOTFOUND: there are no more; STORE_CORRUPT,
 * not latched: the one at *at is no such record. */
#define STORE_PACK_ORIGINALS_MAX 1024
struct store_originals_place {
	uint64_t id, number;
};
STORE_MUSTCHECK enum store_err store_originals_after(struct store *s, uint64_t id, uint64_t number, uint8_t out[STORE_PACK_ORIGINALS_MAX],
						     size_t *len, struct store_originals_place *at);
/* Adds what such a record says to what is known of file id.  Needs a transaction.  STORE_INVALID: it is damaged. */
STORE_MUSTCHECK enum store_err store_originals_put(struct store *s, uint64_t id, const uint8_t *buf, size_t len);

/* The same for a query. */
size_t store_pack_query(uint8_t *out, size_t cap, uint64_t id, const struct store_query *q);

struct store_packed {
	size_t len;   /* bytes of the whole record; also when more are needed (STORE_NOTFOUND) */
	bool is_file; /* file, else record; file.id or file_id as in the store it came from */
	bool is_originals; /* neither: one for store_originals_put */
	bool is_query;	   /* neither: query */
	uint64_t file_id;
	struct store_file file;
	struct store_record record; /* data points into what was unpacked */
	struct store_query query;   /* the same of text */
};
#define STORE_PACK_HEAD 32 /* bytes that tell the length of a record */

/* Takes the record at the beginning of buf apart and checks its CRC.  STORE_NOTFOUND: out->len bytes are needed (0: not known yet). */
STORE_MUSTCHECK enum store_err store_unpack(const uint8_t *buf, size_t len, struct store_packed *out);

/* Gives space of deleted records back to the file system; begin with *c all zero, go on until done.  A call moves at most max_pages pages
 * together; but the one that cuts off the free pages at the end of a table cuts them all at once (libdb knows no less): 2 to 3 us each
 * while they are in the kernel's cache, 0.2 s after a backlog of 300 MB (tests/bench/bench_store). */
struct store_compaction {
	unsigned table;	      /* where it stands */
	uint64_t id, version; /* in changesets: the key to go on from */
	uint64_t pages_freed; /* so far, in the files of the tables */
	bool done;
};
STORE_MUSTCHECK enum store_err store_compact(struct store *s, struct store_compaction *c, uint32_t max_pages);

/* A copy of the environment while it is in use.  hold: checkpoints now, and from then on neither checkpoints nor removes log files; so
 * the tables' files, copied in any number of steps, and then the log's files make an environment that recovers to the end of that
 * log.  release: as before. */
STORE_MUSTCHECK enum store_err store_hold(struct store *s);
void store_release(struct store *s);
bool store_is_held(const struct store *s);

#define STORE_NAME_MAX 63
/* The environment's files, by name and above `after` ("" to begin): tables, or logs (all written down before).  STORE_NOTFOUND: no
 * more. */
STORE_MUSTCHECK enum store_err store_disk_next(struct store *s, bool logs, const char *after, char name[STORE_NAME_MAX + 1]);
/* Reads of that file at offset; *len 0: its end. */
STORE_MUSTCHECK enum store_err store_disk_read(struct store *s, const char *name, uint64_t offset, void *buf, size_t cap,
					       size_t *len);

#endif
