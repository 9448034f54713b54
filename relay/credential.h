/* A client's own request to upstream with its tokens, kept so that the relay can make it again for a client that left (design section 6).
 * All of it is secret (I9): strings are wiped when they are given up, and on the disk it is only in an encrypted buffer. */
#ifndef RELAY_CREDENTIAL_H
#define RELAY_CREDENTIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/view.h"

#include "buffer/store.h"

struct relay;
struct upstream_request;

struct credential { /* strings owned; all NULL: there is none */
	char *target, *protocol, *authorization, *user_agent, *token;
};

/* Copies req and the token of the BIND.  k holds none before. */
void credential_take(struct credential *k, const struct upstream_request *req, struct view token);
void credential_wipe(struct credential *k); /* k holds none afterwards */
bool credential_known(const struct credential *k);
/* The request; views live as long as k is unchanged. */
void credential_request(const struct credential *k, struct upstream_request *req);

/* ---- on the disk: table tokens, one value per client file, the newest ---- */

#define CREDENTIAL_KEY 9 /* bytes: 'r', file id of the store (other keys of that table have 32) */

void credential_key(uint8_t key[CREDENTIAL_KEY], uint64_t file_id);
/* Whether key is one, and of which file. */
bool credential_is_key(const void *key, size_t len, uint64_t *file_id);

/* As five lengths (2 bytes each, most significant first) and texts; 0: it does not fit. */
size_t credential_pack(const struct credential *k, uint8_t out[STORE_VALUE_MAX]);
/* False: it is not of that form; k then holds none. */
bool credential_unpack(struct credential *k, const uint8_t *in, size_t len);

/* Whether tokens may be on the disk: options store_tokens and key_file. */
bool credential_may_store(const struct relay *relay);
/* Writes k for a file, or removes what is there; in the background. */
void credential_store(struct relay *relay, uint64_t file_id, const struct credential *k);
void credential_drop(struct relay *relay, uint64_t file_id);

#endif
