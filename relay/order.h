/* The order in which the operations of a group are carried out: those of one file one behind the other. */
#ifndef RELAY_ORDER_H
#define RELAY_ORDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/committer.h"

struct order_place {
	uint64_t file_ident, file_ident_salt; /* of op->file: what tells most files apart without a look at op */
	size_t part;	   /* of the group: between two FORGETs */
	size_t nth, first; /* in the list; the first of the same file and part */
	struct spool_op *op; /* the list's */
};

struct order {
	struct order_place *place;
	size_t n;
};

/* The operations of group: files in the order of their first operation, and those of a file as they were posted; nothing moves across a FORGET,
 * which names its file by id alone.  The places are to be freed by order_free; they hold as long as nothing leaves group. */
struct order order_of(const struct spool_list *group);
void order_free(struct order *o);

bool order_is_same_file(const struct store_file *a, const struct store_file *b);

/* Is place i an APPEND with another one of the same file right behind it? */
bool order_goes_on(const struct order *o, size_t i);

#endif
