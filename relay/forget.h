/* A user is to be forgotten ("holdfastctl forget"): what the loop has of it, in memory and connected.  What is on the disk is taken out by
 * relay/admin_forget, step by step. */
#ifndef RELAY_FORGET_H
#define RELAY_FORGET_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/view.h"

struct relay;
struct store_file;

#define FORGET_SHUT_MS 60000 /* how long after each order the user stays out, so that it does not come back while it is being forgotten */

struct forget_sum {
	uint64_t conns, users, pairs; /* closed; sessions of App Services; pairs of path and user that idents are reserved for */
};

/* Closes its connections, keeps it out for FORGET_SHUT_MS, and drops what is known of it. */
void forget_user(struct relay *relay, struct view name, struct forget_sum *sum);
/* Whether the user of token is kept out now. */
bool forget_shuts_out(const struct relay *relay, struct view token);

/* f was taken out of the store: who works for it ends, the journal forgets it.  states: and so were the STATE sets of its path. */
void forget_file(struct relay *relay, const struct store_file *f, bool states);

#endif
