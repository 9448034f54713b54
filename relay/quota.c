/* Bounds on what the files of one kind of path hold together.  See quota.h.
 *
 * Never: drops anything, or closes anybody.  A quota only says no to what is not taken yet (relay_room_for); who was told so comes anew as
 * when the whole buffer was full (session_room). */
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/file.h"
#include "relay/link.h"
#include "relay/log.h"
#include "relay/options.h"
#include "relay/quota.h"
#include "relay/relay.h"
#include "relay/session.h"
#include "relay/spool.h"

#define WORD_MAX (QUOTA_PATTERN_MAX + 24) /* a size is shorter */
#define LIMIT_MAX 1099511627776u	  /* as of max_bytes */

_Static_assert(QUOTA_SHARE + QUOTAS_MAX < STORE_SHARES_MAX, "each quota has a share, and so have those who fall under none");
_Static_assert(LINK_SHARE_NONE < QUOTA_SHARE, "shares of upstreams come before");

struct quota_shares { /* the committer's, until it has others */
	struct relay *relay;
	struct quotas quotas;
	struct quota_shares *before; /* to be freed when the committer has this */
	enum store_err err;
};

/* ---- the option ---- */

/* What a label, a key and a quoted string can hold as it is. */
static bool
is_pattern(const char *p)
{
	if (*p == '\0')
		return false;
	for (; *p != '\0'; p++)
		if (*p <= ' ' || *p > '~' || *p == '"' || *p == '\\')
			return false;
	return true;
}

/* The words before it are in q already.  NULL: well. */
static const char *
parse_word(struct quotas *q, char *word)
{
	char *is = strrchr(word, '=');
	struct quota *new = &q->of[q->n];

	if (q->n == QUOTAS_MAX)
		return "is one too many";
	if (is == NULL)
		return "is no quota: PATTERN=SIZE";
	*is = '\0';
	if (!is_pattern(word) || is - word > QUOTA_PATTERN_MAX)
		return "is no pattern: printable ASCII without \" and \\";
	for (unsigned i = 0; i < q->n; i++)
		if (strcmp(q->of[i].pattern, word) == 0)
			return "is there twice";
	if (!options_size(is + 1, &new->limit) || new->limit < QUOTA_MIN || new->limit > LIMIT_MAX)
		return "has no size: 64KiB to 1024GiB";
	memcpy(new->pattern, word, (size_t)(is - word) + 1);
	q->n++;
	return NULL;
}

bool
quotas_parse(const char *text, struct quotas *q, char *why, size_t why_len)
{
	static const char blanks[] = " \t";
	char word[WORD_MAX + 1];
	const char *wrong;
	size_t len;

	memset(q, 0, sizeof(*q));
	for (text += strspn(text, blanks); *text != '\0'; text += len, text += strspn(text, blanks)) {
		len = strcspn(text, blanks);
		snprintf(word, sizeof(word), "%.*s", len > WORD_MAX ? WORD_MAX : (int)len, text);
		wrong = len > WORD_MAX ? "is too long" : parse_word(q, word);
		if (wrong == NULL)
			continue;
		snprintf(why, why_len, "\"%.*s\" %s", len > 60 ? 60 : (int)len, text, wrong);
		memset(q, 0, sizeof(*q));
		return false;
	}
	return true;
}

unsigned
quota_find(const struct quotas *q, const char *endpoint, const char *path)
{
	if (strcmp(path, SESSION_FLX_PATH) == 0)
		path = link_endpoint_path(endpoint);
	for (unsigned i = 0; i < q->n; i++)
		if (fnmatch(q->of[i].pattern, path, 0) == 0)
			return i;
	return QUOTAS_MAX;
}

/* ---- the committer's numbers ---- */

void
quota_share_of(void *arg, const struct store_file *f, unsigned share[])
{
	const struct quota_shares *own = arg;

	share[0] = link_share_of(own->relay, f);
	share[1] = QUOTA_SHARE + quota_find(&own->quotas, f->endpoint, f->path);
}

static struct quota_shares *
shares_new(struct relay *relay)
{
	struct quota_shares *own = relay_alloc(sizeof(*own));
	char why[200];

	own->relay = relay;
	own->before = relay->quota_shares;
	if (!quotas_parse(relay->opt->buffer_quotas, &own->quotas, why, sizeof(why)))
		PANIC(why); /* options_check lets none pass */
	relay->quota_shares = own;
	return own;
}

bool
quota_start(struct relay *relay, struct store *store)
{
	struct quota_shares *own = shares_new(relay);

	relay->quotas = own->quotas;
	return store_share_by(store, quota_share_of, own) == STORE_OK;
}

static void
number(void *arg, struct store *store)
{
	struct quota_shares *own = arg;

	own->err = store_share_by(store, quota_share_of, own);
}

/* What is known of the quotas of before stays with those that have the same pattern. */
static void
take_over(struct relay *relay, const struct quotas *fresh)
{
	const struct quotas old = relay->quotas;
	struct file *f;

	relay->quotas = *fresh;
	for (unsigned i = 0; i < fresh->n; i++)
		for (unsigned k = 0; k < old.n; k++)
			if (strcmp(fresh->of[i].pattern, old.of[k].pattern) == 0) {
				relay->quotas.of[i].refused = old.of[k].refused;
				relay->quotas.of[i].wanted = old.of[k].wanted < fresh->of[i].limit ? old.of[k].wanted : fresh->of[i].limit;
			}
	LIST_FOREACH (f, &relay->files, in_relay) {
		f->quota = quota_find(&relay->quotas, f->endpoint, f->path);
		quota_add(f, f->tail_bytes);
	}
}

/* The sums at hand are those of the new numbers (spool.c takes them before it calls anybody back). */
static void
numbered(void *arg, struct spool_op *op)
{
	struct quota_shares *own = arg;

	(void)op;
	if (own->err != STORE_OK)
		log_fatal("store_failed", "reason=\"%s\"", store_strerror(own->err)); /* the start finds what is damaged, and goes on without */
	free(own->before);
	own->before = NULL;
	take_over(own->relay, &own->quotas);
}

static bool
same(const struct quotas *a, const struct quotas *b)
{
	for (unsigned i = 0; i < a->n && i < b->n; i++)
		if (strcmp(a->of[i].pattern, b->of[i].pattern) != 0 || a->of[i].limit != b->of[i].limit)
			return false;
	return a->n == b->n;
}

/* Each file that has a backlog is read for it, so not for nothing: commits wait meanwhile. */
void
quota_reload(struct relay *relay)
{
	struct quota_shares *last = relay->quota_shares, *own = shares_new(relay);

	if (same(&last->quotas, &own->quotas)) {
		relay->quota_shares = last;
		free(own);
		return;
	}
	spool_call(relay->spool, number, numbered, own);
}

void
quota_end(struct relay *relay)
{
	free(relay->quota_shares);
	relay->quota_shares = NULL;
}

/* ---- the loop's sums ---- */

static struct quota *
quota_of(const struct file *f)
{
	return &f->relay->quotas.of[f->quota];
}

void
quota_join(struct file *f)
{
	f->quota = quota_find(&f->relay->quotas, f->endpoint, f->path);
	LIST_INSERT_HEAD(&f->relay->files, f, in_relay);
}

void
quota_leave(struct file *f)
{
	quota_sub(f, f->tail_bytes);
	LIST_REMOVE(f, in_relay);
}

void
quota_add(struct file *f, size_t n)
{
	quota_of(f)->tail_bytes += n;
}

void
quota_sub(struct file *f, size_t n)
{
	quota_of(f)->tail_bytes -= n;
}

uint64_t
quota_held(const struct relay *relay, unsigned i)
{
	return spool_shares(relay->spool)[QUOTA_SHARE + i].bytes + relay->quotas.of[i].tail_bytes;
}

static bool
fits(const struct relay *relay, unsigned i, uint64_t n)
{
	const struct quota *q = &relay->quotas.of[i];
	uint64_t held;

	if (q->limit == 0)
		return true;
	held = quota_held(relay, i);
	return held <= q->limit && n <= q->limit - held;
}

bool
quota_room(const struct file *f, uint64_t n)
{
	return fits(f->relay, f->quota, n);
}

bool
quota_has_room(const struct file *f)
{
	return fits(f->relay, f->quota, quota_of(f)->wanted);
}

const char *
quota_full_of(const struct file *f)
{
	return quota_has_room(f) ? NULL : quota_of(f)->pattern;
}

/* "full" or "room". */
static void
tell(const struct relay *relay, unsigned i, enum log_level level, const char *now)
{
	const struct quota *q = &relay->quotas.of[i];
	struct log_line l;

	log_begin(&l, level, "quota");
	log_str(&l, "quota", q->pattern);
	log_str(&l, "now", now);
	log_u64(&l, "bytes", quota_held(relay, i));
	log_u64(&l, "limit", q->limit);
	log_end(&l);
}

void
quota_refused(struct file *f, uint64_t n)
{
	struct quota *q = quota_of(f);
	bool was_full = q->wanted > 0;

	if (quota_room(f, n))
		return;
	q->refused++;
	if (n > q->wanted)
		q->wanted = n;
	if (q->wanted < q->limit / 10)
		q->wanted = q->limit / 10;
	if (q->wanted > q->limit)
		q->wanted = q->limit;
	if (!was_full)
		tell(f->relay, f->quota, LOG_WARN, "full");
}

void
quota_settle(struct relay *relay)
{
	for (unsigned i = 0; i < relay->quotas.n; i++) {
		if (relay->quotas.of[i].wanted == 0 || !fits(relay, i, relay->quotas.of[i].wanted))
			continue;
		tell(relay, i, LOG_INFO, "room");
		relay->quotas.of[i].wanted = 0;
	}
}
