/* What the files of one kind of path may hold in the buffer, all together (option quotas), so that one chatty app cannot fill it for all (I7).
 *
 *   quotas = word *( blank word )
 *   word   = PATTERN=SIZE        an fnmatch(3) pattern, in which * passes slashes too
 *
 * A file falls under the first that matches its path; one whose path is nowhere told (flexible sync), by the path of its request.  How much
 * that is: what the store has in the share of the quota (QUOTA_SHARE), and the tails (file.h), which are counted here.
 *
 * Where: the loop has relay->quotas.  The committer has a copy of its own, for it numbers the shares; after a reload it takes the new one first,
 * and the loop when it is told so: numbers and sums always belong together. */
#ifndef RELAY_QUOTA_H
#define RELAY_QUOTA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QUOTAS_MAX 16	       /* nobody has more by hand, and each file is matched with all */
#define QUOTA_PATTERN_MAX 255 /* bytes */
#define QUOTA_MIN 65536	       /* as max_bytes: less than one ordinary UPLOAD helps nobody */
#define QUOTA_SHARE 64	       /* of the store's: the first quota's; before it are those of the upstreams (link.h) */

struct file;
struct quota_shares;
struct relay;
struct store;
struct store_file;

struct quota {
	char pattern[QUOTA_PATTERN_MAX + 1];
	uint64_t limit;	     /* bytes; 0: no bound */
	uint64_t tail_bytes; /* in tails of its files */
	uint64_t refused;    /* UPLOADs that were not taken for want of room in it */
	uint64_t wanted;     /* bytes that must be free before it counts as full no longer; 0: it is not full */
};

struct quotas { /* all 0: there are none */
	unsigned n;
	struct quota of[QUOTAS_MAX + 1]; /* the last one, without bound, is that of all who fall under none */
};

/* text: "" is none.  False with a sentence in why; then *q has none. */
bool quotas_parse(const char *text, struct quotas *q, char *why, size_t why_len);

/* Which of q->of a file falls under, by its endpoint and path (store.h); QUOTAS_MAX: none. */
unsigned quota_find(const struct quotas *q, const char *endpoint, const char *path);

/* The committer's side, for store_share_by: the shares of a file by upstream and by quota.  arg: struct quota_shares. */
void quota_share_of(void *arg, const struct store_file *f, unsigned share[]);

/* At the start, before there is a committer: numbers the shares of store by the options.  False: its files cannot be read. */
bool quota_start(struct relay *relay, struct store *store);
/* The options have changed: numbers them anew. */
void quota_reload(struct relay *relay);
void quota_end(struct relay *relay); /* when the spool is gone */

/* A file is opened, is freed; n bytes come into its tail, leave it. */
void quota_join(struct file *f);
void quota_leave(struct file *f);
void quota_add(struct file *f, size_t n);
void quota_sub(struct file *f, size_t n);

uint64_t quota_held(const struct relay *relay, unsigned i); /* bytes, of relay->quotas.of[i] */
/* Whether n more bytes fit. */
bool quota_room(const struct file *f, uint64_t n);
/* Whether it is not full, or so no more (with hysteresis: a tenth must be free, and what was refused must fit). */
bool quota_has_room(const struct file *f);
/* n bytes of f were refused; if it was for want of room here, that is counted, and said once. */
void quota_refused(struct file *f, uint64_t n);
/* Something was written or removed: who has room again is not full any more, and that is said. */
void quota_settle(struct relay *relay);
/* The pattern of the full quota that keeps f from being taken; NULL: none does. */
const char *quota_full_of(const struct file *f);

#endif
