/* Shared by admin.c, admin_forget.c, admin_import.c and admin_verify.c only: one operation in progress. */
#ifndef RELAY_ADMIN_INT_H
#define RELAY_ADMIN_INT_H

#include "relay/admin.h"

#define ADMIN_SLICE (256u << 10) /* bytes of payload moved in one step: some milliseconds between two groups of commits */
#define ADMIN_LEASE_LEN 32	 /* hex digits */

struct admin_op {
	struct store *s;
	const struct admin_request *q;
	struct admin_answer *a;
	const char *why; /* set with STORE_INVALID: what is wrong, in words; else the error's own */
};

/* An operation: answers with what it adds to a->rows, a->last and a->data, or with an error.  An open transaction is aborted for it. */
typedef enum store_err admin_fn(struct admin_op *op);

admin_fn admin_forget_files, admin_forget_values, admin_forget_file, admin_renew_log; /* admin_forget.c */
admin_fn admin_verify, admin_lease, admin_import_begin, admin_import_file, admin_import_records, admin_import_end, admin_import_done;

enum store_err admin_no(struct admin_op *op, const char *why); /* STORE_INVALID with that text */
uint64_t admin_number(struct admin_op *op, size_t word);       /* of a word; what is no number sets op->why */
const char *admin_lease_of(struct admin_op *op, size_t word);  /* NULL with op->why set: malformed */
/* Room for a file's record, to be freed; NULL: no memory. */
struct store_file *admin_file_room(void);
/* An object for f. */
void admin_add_file(struct json *j, const struct store_file *f);
/* Sets a state with its time. */
void admin_set_state(struct store_file *f, enum store_file_state state, uint32_t code, const char *text);
/* Writes f in the open transaction, commits durably, and has its session start anew. */
enum store_err admin_keep(struct admin_op *op, struct store_file *f);
/* The file that the request's data packs; op->why is set when it does not. */
enum store_err admin_packed_file(struct admin_op *op, struct store_file *out);

/* What became of a lease: "none", "exported", "importing" or "imported". */
enum store_err admin_lease_get(struct store *s, const char *lease, char *state, size_t state_len);
enum store_err admin_lease_put(struct store *s, const char *lease, const char *state);

#endif
