/* Reserved client file idents on disk: what they are kept under and how (the pool decides when: pool.h).
 *
 * Upstream gives an ident for one path to one user and one kind of client (protocol.md S1, S7, error 223), so the idents of an (endpoint,
 * path, user, kind) are one value in the table STORE_IDENTS, under a hash of the four; those that a subserver allocates for its clients belong
 * to its own file, and are kept under a hash of that.  The scope of an upstream that has a name stands in front of the hash, so that one can
 * be forgotten without the others (I7); the one without a name has none.  Beside them stand the names of pairs, for who looks after them when
 * no client is connected, and to tell whose they are.  Nothing here does I/O but through the open store it is given. */
#ifndef RELAY_IDENT_H
#define RELAY_IDENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/view.h"

#include "buffer/store.h"

#define IDENT_SCOPE 8	     /* bytes of a hash of the upstream's name; zeros: it has none */
#define IDENT_KEY (IDENT_SCOPE + 32)
#define IDENT_POOL_MAX 32    /* idents of one pair; their text fits STORE_VALUE_MAX */
#define IDENT_PAIRS_MAX 1024 /* pairs of path and user kept, by recency: bounds memory, disk, and what is asked of the server */

struct ident {
	uint64_t file_ident, salt;
	uint64_t obtained_ms; /* wall clock */
};

struct ident_list { /* oldest first */
	uint64_t seen_ms; /* wall clock: when the pair was last in use */
	size_t n;
	struct ident at[IDENT_POOL_MAX];
};

/* The claim that names the user of token: "sub" of a JSON Web Token's payload, as it is written there; an empty view otherwise.  The signature
 * is not looked at: upstream accepted the token, or the admission policy knows it.  The bytes are in buf. */
#define IDENT_PAYLOAD_MAX 4096 /* bytes; a longer payload counts as none */
struct view ident_subject(struct view token, uint8_t buf[IDENT_PAYLOAD_MAX]);

/* Whom an ident is for.  path: the server path, or what a BIND of flexible sync states in its place (flxbind.h). */
struct ident_pair {
	const char *endpoint;
	struct view path;
	bool is_subserver;
};

/* The scope of the upstream that this endpoint is of: with a name, its part before the path has a ':' (link_endpoint). */
void ident_scope(const char *endpoint, uint8_t scope[IDENT_SCOPE]);
/* What the idents of this pair for the user of token are kept under.  A token without a subject is its own user. */
void ident_key(const struct ident_pair *pair, struct view token, uint8_t key[IDENT_KEY]);
/* The same for the user of that name. */
void ident_user_key(const struct ident_pair *pair, struct view name, uint8_t key[IDENT_KEY]);
/* The key of the list of idents that the table has under key; false: it is none. */
bool ident_list_key(const void *key, size_t len, uint8_t out[IDENT_KEY]);
/* Where the table has the name of that list. */
#define IDENT_NAME_KEY (1 + IDENT_KEY)
struct view ident_name_key(uint8_t out[IDENT_NAME_KEY], const uint8_t key[IDENT_KEY]);
/* What those are kept under that the subserver with this file may give to its clients (ALLOC). */
void ident_alloc_key(const char *endpoint, struct view path, uint64_t file_ident, uint64_t salt, uint8_t key[IDENT_KEY]);

/* The name of a pair, kept under "n" and its key: a byte (bits: 1 subserver), endpoint, NUL, path. */
#define IDENT_NAME_MAX (1 + STORE_ENDPOINT_MAX + 1 + STORE_PATH_MAX)
size_t ident_format_name(const struct ident_pair *pair, uint8_t out[IDENT_NAME_MAX]); /* 0: it does not fit */
/* False: this is no name.  *pair points into val. */
bool ident_parse_name(struct ident_pair *pair, uint8_t key_out[IDENT_KEY], const void *key, size_t key_len, const void *val, size_t val_len);

/* The value in the table: a line "SEEN", then one "IDENT SALT OBTAINED" for each, decimal.  Returns its length; parse: false if malformed. */
size_t ident_format(const struct ident_list *l, char out[STORE_VALUE_MAX]);
bool ident_parse(struct ident_list *l, const void *val, size_t len);

/* A clock behind the stored time counts as no time passed: gateways boot in 1970. */
uint64_t ident_age(uint64_t now_ms, uint64_t then_ms);
/* Removes those of max_age and older. */
void ident_expire(struct ident_list *l, uint64_t now_ms, uint64_t max_age_ms);
/* How many are younger than age. */
size_t ident_younger(const struct ident_list *l, uint64_t now_ms, uint64_t age_ms);
/* Adds id as the newest unless it is there; keeps the newest `keep`. */
void ident_add(struct ident_list *l, const struct ident *id, size_t keep);

/* One step on the store, in the committer's thread; each is durable when it returns. */
struct ident_op {
	uint8_t key[IDENT_KEY];
	uint64_t now_ms, max_age_ms;
	size_t keep;	       /* ADD */
	struct ident_list add; /* ADD */
	uint8_t name[IDENT_NAME_MAX]; /* ADD: of the pair, name_len bytes; none: it is not kept */
	size_t name_len;
	struct ident_list list;/* what is there now */
	struct ident taken;    /* TAKE: file_ident 0 when there was none */
	enum store_err err;
};
void ident_take(struct store *s, struct ident_op *op); /* removes the oldest that is young enough */
void ident_look(struct store *s, struct ident_op *op); /* only reads */
void ident_keep(struct store *s, struct ident_op *op); /* adds; a new pair may push out the one not seen longest */
void ident_drop(struct store *s, struct ident_op *op); /* forgets this pair's */
/* The same with their name, in the open transaction; nothing there is fine. */
enum store_err ident_remove(struct store *s, const uint8_t key[IDENT_KEY]);
/* Forgets all of one scope, with their names, in a transaction of its own. */
enum store_err ident_burn(struct store *s, const uint8_t scope[IDENT_SCOPE]);

#endif
