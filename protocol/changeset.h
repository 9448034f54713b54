/* Changesets (protocol.md section 7): the bytes inside the entries of UPLOAD and DOWNLOAD, as instructions and back to bytes.
 *
 * A changeset is validated whole by cs_parse, which makes an index of it; cs_get then takes single instructions out, in any order.
 * Nothing is copied: all views point into the bytes that were parsed. Strings (tables, fields, keys of dictionaries, string keys)
 * are numbers of the changeset's own table of strings: two changesets give the same string different numbers. */
#ifndef PROTOCOL_CHANGESET_H
#define PROTOCOL_CHANGESET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/err.h"
#include "protocol/view.h"

enum cs_code {
	CS_ADD_TABLE = 0,
	CS_ERASE_TABLE = 1,
	CS_CREATE_OBJECT = 2,
	CS_ERASE_OBJECT = 3,
	CS_UPDATE = 4,
	CS_ADD_INTEGER = 5,
	CS_ADD_COLUMN = 6,
	CS_ERASE_COLUMN = 7,
	CS_ARRAY_INSERT = 8,
	CS_ARRAY_MOVE = 9,
	CS_ARRAY_ERASE = 10,
	CS_CLEAR = 11,
	CS_SET_INSERT = 12,
	CS_SET_ERASE = 13,
	CS_INTERN_STRING = 0x3f, /* adds to the table of strings; not an instruction to the database */
};

/* Types of keys, payloads and columns. Those below 0 carry no value in a payload. */
enum cs_type {
	CS_SET = -6,
	CS_LIST = -5,
	CS_ERASED = -4, /* an entry of a dictionary goes away */
	CS_DICTIONARY = -3,
	CS_OBJECT = -2, /* an embedded object is created */
	CS_GLOBAL_KEY = -1,
	CS_NULL = 0, /* of a column: mixed */
	CS_INT = 1,
	CS_BOOL = 2,
	CS_STRING = 3,
	CS_BINARY = 4,
	CS_TIMESTAMP = 5,
	CS_FLOAT = 6,
	CS_DOUBLE = 7,
	CS_DECIMAL = 8,
	CS_LINK = 9,
	CS_OBJECT_ID = 10,
	CS_UUID = 11,
};

enum cs_collection { CS_SINGLE, CS_OF_LIST, CS_OF_DICTIONARY, CS_OF_SET };

enum cs_table { CS_TOP_LEVEL, CS_EMBEDDED, CS_ASYMMETRIC };

struct cs_key { /* which object of a table */
	enum cs_type type;
	union {
		int64_t integer;
		uint32_t str;
		struct view bytes; /* ObjectId: 12, UUID: 16 */
		struct {
			uint64_t hi, lo;
		} global;
	};
};

/* The way from a field down to an element; n = 0: the field itself. */
struct cs_path {
	uint32_t n;	    /* elements */
	bool indexed;	    /* one of them is an array index */
	bool ends_in_index; /* the last one is */
	struct view raw;    /* the elements as they stand, for cs_path_next */
};

struct cs_element {
	bool is_index;
	uint32_t value; /* the index into the array, or a str */
};

struct cs_payload {
	enum cs_type type;
	union {
		int64_t integer;   /* int; bool: 0 or 1 */
		struct view bytes; /* string, binary; float 4, double 8, ObjectId 12, UUID 16 as they stand */
		struct {
			int64_t seconds;
			int32_t nanoseconds;
		} time;
		struct {
			struct view coefficient; /* 7-bit groups as they stand */
			int32_t exponent;
			bool negative;
		} decimal;
		struct {
			uint32_t table;
			struct cs_key key;
		} link;
	};
};

struct cs_instr {
	enum cs_code code;
	uint32_t table;		 /* all but InternString */
	struct cs_key key;	 /* CreateObject, EraseObject and those with a path */
	uint32_t field;		 /* AddColumn, EraseColumn and those with a path */
	struct cs_path path;	 /* Update, AddInteger, Array*, Clear, Set* (cs_has_path) */
	struct cs_payload value; /* Update, ArrayInsert, SetInsert, SetErase */
	union {
		bool is_default;	       /* Update, unless path.ends_in_index */
		int64_t number;		       /* AddInteger */
		enum cs_collection collection; /* Clear */
		struct {
			uint32_t to, prior_size; /* Array*, and Update if path.ends_in_index; to: ArrayMove */
		} array;
		struct {
			enum cs_table kind;
			uint32_t pk_field; /* this and the next two unless kind is CS_EMBEDDED */
			enum cs_type pk_type;
			bool pk_nullable;
		} add_table;
		struct {
			enum cs_type type;
			bool nullable;
			enum cs_collection collection;
			uint32_t target;       /* if type is CS_LINK: a table */
			enum cs_type key_type; /* if collection is CS_OF_DICTIONARY */
		} add_column;
		struct {
			uint32_t index;
			struct view string;
		} intern;
	};
};

/* An index of one changeset. Start it as { 0 }; it may be used for one changeset after the other, and keeps its memory (8 to 10 times
 * the bytes of the largest changeset at the worst, less than once for usual ones) until cs_free. */
struct cs_parsed {
	struct view bytes;
	size_t n;	  /* items: instructions and InternStrings */
	uint32_t *at;	  /* where each begins in bytes */
	size_t nstr;	  /* strings in the table */
	struct view *str; /* each, by its number */
	struct view *sorted;
	size_t cap, str_cap;
};

/* Validates bytes[0..len) whole and indexes it; bytes must outlive the use of c and of what cs_get gives.
 * No instruction at all is valid. On an error (PROTO_CS_*) c is empty: n and nstr are 0.
 * Stricter than a server where one value has two spellings: every integer must be in its shortest form, booleans 0 or 1, so what is
 * accepted is encoded back byte for byte. Over 4 GiB is PROTO_CS_MEMORY. */
MUSTCHECK enum proto_err cs_parse(struct cs_parsed *c, const uint8_t *bytes, size_t len);

/* Item i (< c->n) of a changeset that was parsed. Strings in it are numbers below c->nstr. */
void cs_get(const struct cs_parsed *c, size_t i, struct cs_instr *instr);

/* Releases what c holds; c is { 0 } afterwards. */
void cs_free(struct cs_parsed *c);

/* Takes the first element off rest (a copy of an instruction's path); false at the end. */
bool cs_path_next(struct cs_path *rest, struct cs_element *e);

/* Does this instruction point inside an object: has it key, field and path? */
bool cs_has_path(enum cs_code code);

/* Does it carry a value? */
bool cs_has_payload(enum cs_code code);

/* The numbers of all strings that instr uses, table first; those of its path are left to cs_path_next.
 * Fills str and returns how many (at most CS_STRINGS_MAX). */
#define CS_STRINGS_MAX 5
size_t cs_strings(const struct cs_instr *instr, uint32_t str[CS_STRINGS_MAX]);

/* Bytes under construction. Start it as { 0 }. Latches: when memory is out, failed is set and nothing more is written. */
struct cs_writer {
	uint8_t *buf; /* owned */
	size_t len, cap;
	bool failed;
};

/* Appends instr. A str s is written as map[s], or as s if map is NULL; InternString is written with the index it has.
 * What cs_get gave is written as it stood when map is NULL. */
void cs_write(struct cs_writer *w, const struct cs_instr *instr, const uint32_t *map);

/* Appends one element of a path: what a program that builds a path calls for each, to make the raw of a struct cs_path. */
void cs_write_element(struct cs_writer *w, const struct cs_element *e, const uint32_t *map);

/* Releases what w holds; w is { 0 } afterwards. */
void cs_writer_free(struct cs_writer *w);

#endif
