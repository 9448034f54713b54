/* The entries and their tokens; see refresh.h.
 *
 * Never: a refresh token in memory longer than its request, but where it may be on the disk, too; a refusal that logs a user out (all that is
 * said here is for the log, the answer is the door's 503); a lifetime judged by a clock that may be wrong (relay/walltime).
 *
 * On the disk, table tokens, numbers big-endian; scope: 8 bytes of the SHA-256 of the upstream's label.  'u' id scope: an entry;  's' id scope:
 * its refresh token;  'f' id scope: its profile;  'k' 0 scope, 'k' 1 scope: the signing keys, the newer first.  An empty value is none. */
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>

#include <event2/event.h>

#include "relay/absent.h"
#include "relay/base64url.h"
#include "relay/be64.h"
#include "relay/claims.h"
#include "relay/credential.h"
#include "relay/front.h"
#include "relay/jwt.h"
#include "relay/link.h"
#include "relay/log.h"
#include "relay/options.h"
#include "relay/refresh.h"
#include "relay/relay.h"
#include "relay/services.h"
#include "relay/sign.h"
#include "relay/splice.h"
#include "relay/spool.h"
#include "relay/tls.h"
#include "relay/walltime.h"

#define HASH 32
#define SCOPE 8		       /* bytes of a hash of the upstream's label: users of one are unknown to another */
#define KEY_LEN (1 + REFRESH_ID + SCOPE)
#define FORM 1		       /* of an entry's value: raise it when the layout changes */
#define HEAD (2 + 3 * 8 + 2 * HASH)
#define PASS_MS 3600000	       /* what ages by days need not be seen sooner */
#define DAY_MS 86400000ULL
#define REAL_MARGIN_S 60       /* a real token that ends sooner is not begun with */
#define CLAIM_ID "holdfast"    /* the claim that names the entry */

enum entry_state { ENTRY_LIVE, ENTRY_REVOKED, ENTRY_ENDED };

struct user {
	TAILQ_ENTRY(user) link;
	uint8_t hash[HASH];   /* of the refresh token; its begin is the id */
	uint8_t access[HASH]; /* of the newest access token of upstream's */
	enum entry_state state;
	uint64_t exp_s;	      /* of the refresh token; 0 = it does not say */
	uint64_t honoured_ms; /* by upstream, last */
	uint64_t minted_s;    /* exp of the newest token of ours; 0 = none */
	char *claims;
	char *profile; /* NULL: not known */
	char *secret;  /* the refresh token; NULL: not kept */
	char *real;    /* an access token of upstream's, in memory only; NULL: none */
	uint64_t real_exp_s;
};

TAILQ_HEAD(user_list, user);

struct refresh {
	struct services *services;
	uint8_t scope[SCOPE];
	struct user_list list; /* the one honoured last in front */
	void *tree;		/* by id */
	size_t n;
	struct signer *signer;
	struct event *timer;
	/* while the disk is read: filled in the committer's thread */
	struct user_list read;
	void *read_tree;
	uint8_t key[SIGN_KEYS][SIGN_KEY_PACKED];
	size_t key_len[SIGN_KEYS];
};

/* ---- time ---- */

static uint64_t
now_ms(const struct refresh *r, bool *exact)
{
	return walltime_ms(r->services->relay->walltime, exact);
}

/* Have more than so many days passed since upstream honoured e? */
static bool
too_long(const struct refresh *r, const struct user *e, uint64_t days)
{
	bool exact;
	uint64_t now = now_ms(r, &exact);

	return e->honoured_ms >= WALLTIME_FLOOR_MS && now > e->honoured_ms && now - e->honoured_ms > days * DAY_MS;
}

static bool
expired(const struct refresh *r, const struct user *e)
{
	bool exact;

	return e->exp_s != 0 && now_ms(r, &exact) / 1000 >= e->exp_s;
}

/* ---- the disk ---- */

static void
store_value(const struct refresh *r, uint8_t tag, const uint8_t *id, struct view val)
{
	struct relay *relay = r->services->relay;
	uint8_t key[KEY_LEN];

	if (!credential_may_store(r->services->relay) || val.len > STORE_VALUE_MAX)
		return;
	key[0] = tag;
	memcpy(key + 1, id, REFRESH_ID);
	memcpy(key + 1 + REFRESH_ID, r->scope, SCOPE);
	spool_put(relay->spool, STORE_TOKENS, (struct view){ key, sizeof(key) }, val);
}

bool
refresh_is_key(const void *key, size_t len)
{
	return len == KEY_LEN && memchr("usf", *(const uint8_t *)key, 3) != NULL;
}

static void
store_entry(const struct refresh *r, const struct user *e)
{
	uint8_t val[HEAD + REFRESH_CLAIMS_MAX];
	size_t n = strlen(e->claims);

	val[0] = FORM;
	val[1] = (uint8_t)e->state;
	be64_put(val + 2, e->exp_s);
	be64_put(val + 10, e->honoured_ms);
	be64_put(val + 18, e->minted_s);
	memcpy(val + 26, e->hash, HASH);
	memcpy(val + 26 + HASH, e->access, HASH);
	memcpy(val + HEAD, e->claims, n);
	store_value(r, 'u', e->hash, (struct view){ val, HEAD + n });
}

/* False: it is not of that form. */
static bool
unpack_entry(struct user *e, struct view val)
{
	if (val.len < HEAD || val.ptr[0] != FORM || val.ptr[1] > ENTRY_ENDED || memcmp(val.ptr + 26, e->hash, REFRESH_ID) != 0 ||
	    memchr(val.ptr + HEAD, '\0', val.len - HEAD) != NULL)
		return false;
	e->state = (enum entry_state)val.ptr[1];
	e->exp_s = be64_get(val.ptr + 2);
	e->honoured_ms = be64_get(val.ptr + 10);
	e->minted_s = be64_get(val.ptr + 18);
	memcpy(e->hash, val.ptr + 26, HASH);
	memcpy(e->access, val.ptr + 26 + HASH, HASH);
	free(e->claims);
	e->claims = relay_strndup(val.ptr + HEAD, val.len - HEAD);
	return true;
}

/* ---- entries ---- */

static int
id_cmp(const void *a, const void *b)
{
	return memcmp(((const struct user *)a)->hash, ((const struct user *)b)->hash, REFRESH_ID);
}

static struct user *
find(const struct refresh *r, const uint8_t id[REFRESH_ID])
{
	struct user key;
	struct user *const *found;

	memcpy(key.hash, id, REFRESH_ID);
	found = tfind(&key, &r->tree, id_cmp);
	return found != NULL ? *found : NULL;
}

static struct user *
find_token(const struct refresh *r, struct view token)
{
	uint8_t hash[HASH];
	struct user *e;

	if (token.len == 0)
		return NULL;
	tls_sha256(token.ptr, token.len, hash);
	e = find(r, hash);
	return e != NULL && memcmp(e->hash, hash, HASH) == 0 ? e : NULL;
}

static void
entry_free(struct user *e)
{
	free(e->claims);
	free(e->profile);
	relay_wipe(e->secret);
	relay_wipe(e->real);
	free(e);
}

static void
drop_secret(struct refresh *r, struct user *e)
{
	if (e->secret != NULL)
		store_value(r, 's', e->hash, (struct view){ NULL, 0 });
	relay_wipe(e->secret);
	e->secret = NULL;
}

static void
forget(struct refresh *r, struct user *e)
{
	drop_secret(r, e);
	if (e->profile != NULL)
		store_value(r, 'f', e->hash, (struct view){ NULL, 0 });
	store_value(r, 'u', e->hash, (struct view){ NULL, 0 });
	tdelete(e, &r->tree, id_cmp);
	TAILQ_REMOVE(&r->list, e, link);
	r->n--;
	entry_free(e);
}

static void
enter(struct refresh *r, struct user *e)
{
	if (tsearch(e, &r->tree, id_cmp) == NULL)
		log_fatal("out_of_memory", "bytes=0");
	TAILQ_INSERT_HEAD(&r->list, e, link);
	r->n++;
	while (r->n > r->services->opt->max_users)
		forget(r, TAILQ_LAST(&r->list, user_list));
}

/* ---- tokens ---- */

struct view
refresh_bare(struct view token)
{
	static const char scheme[] = "Bearer ";
	size_t n = sizeof(scheme) - 1;

	if (token.len >= n && strncasecmp((const char *)token.ptr, scheme, n) == 0)
		return (struct view){ token.ptr + n, token.len - n };
	return token;
}

/* When a JWT ends; 0: it is none, or does not say. */
static uint64_t
expiry_of(struct view token)
{
	static const char *const names[] = { "exp" };
	uint8_t json[JWT_MAX];
	struct claim c;
	uint64_t s = 0;
	size_t n;

	if (!jwt_claims(token, json, sizeof(json), &n) || !claims_find((struct view){ json, n }, names, 1, &c) || !claim_seconds(&c, &s))
		return 0;
	return s;
}

bool
refresh_learn(struct refresh *r, struct view token, struct view access)
{
	uint8_t claims[JWT_MAX], hash[HASH];
	static const char *const names[] = { "exp" };
	struct claim exp;
	struct user *e;
	bool exact;
	size_t n;

	if (token.len == 0 || r->services->opt->max_users == 0 || !jwt_claims(access, claims, sizeof(claims), &n) || n > REFRESH_CLAIMS_MAX ||
	    memchr(claims, '\0', n) != NULL || !claims_find((struct view){ claims, n }, names, 1, &exp) || exp.kind != CLAIM_NUMBER)
		return false;
	tls_sha256(token.ptr, token.len, hash);
	e = find(r, hash);
	if (e == NULL) {
		e = relay_alloc(sizeof(*e));
		memcpy(e->hash, hash, HASH);
		enter(r, e);
	} else {
		TAILQ_REMOVE(&r->list, e, link);
		TAILQ_INSERT_HEAD(&r->list, e, link);
	}
	if (e->state == ENTRY_REVOKED)
		e->state = ENTRY_LIVE; /* but who logged out stays so */
	e->exp_s = expiry_of(token);
	e->honoured_ms = now_ms(r, &exact);
	tls_sha256(access.ptr, access.len, e->access);
	free(e->claims);
	e->claims = relay_strndup(claims, n);
	relay_wipe(e->real);
	e->real = NULL;
	if (e->minted_s != 0) {
		e->real = relay_strndup(access.ptr, access.len);
		(void)claim_seconds(&exp, &e->real_exp_s);
	}
	store_entry(r, e);
	explicit_bzero(claims, n);
	return true;
}

const char *
refresh_phrase(enum refresh_answer a)
{
	static const char *const phrases[] = {
		[REFRESH_OK] = "the relay's own token",
		[REFRESH_UNKNOWN] = "the server never honoured this refresh token here",
		[REFRESH_EXPIRED] = "the refresh token has expired",
		[REFRESH_TOO_LONG] = "offline for longer than offline_session_days",
		[REFRESH_DEAD] = "the user was revoked or logged out",
		[REFRESH_NOBODY] = "offline_admit = none",
	};

	return phrases[a];
}

static enum refresh_answer
judge(struct refresh *r, const struct options *opt, struct user *e)
{
	bool exact;
	uint64_t now = now_ms(r, &exact);

	if (opt->offline_admit == ADMIT_NONE || opt->offline_session_days == 0)
		return REFRESH_NOBODY;
	if (e == NULL)
		return REFRESH_UNKNOWN;
	if (e->state != ENTRY_LIVE)
		return REFRESH_DEAD;
	if (expired(r, e))
		return REFRESH_EXPIRED;
	if (too_long(r, e, opt->offline_session_days))
		return REFRESH_TOO_LONG;
	if (exact && (e->honoured_ms < WALLTIME_FLOOR_MS || e->honoured_ms > now))
		e->honoured_ms = now; /* by a clock that knew nothing, or ran ahead: it ages from now on */
	return REFRESH_OK;
}

static void
id_text(const uint8_t *id, char text[2 * REFRESH_ID + 1])
{
	for (size_t i = 0; i < REFRESH_ID; i++)
		snprintf(text + 2 * i, 3, "%02x", id[i]);
}

enum refresh_answer
refresh_mint(struct refresh *r, const struct options *opt, struct view token, char **access)
{
	struct user *e = find_token(r, token);
	enum refresh_answer a = judge(r, opt, e);
	char iat[24], exp[24], id[2 * REFRESH_ID + 1], *claims;
	uint64_t now;
	bool exact;

	*access = NULL;
	if (a != REFRESH_OK)
		return a;
	now = now_ms(r, &exact) / 1000;
	e->minted_s = now + opt->offline_token_minutes * 60;
	if (e->exp_s != 0 && e->minted_s > e->exp_s)
		e->minted_s = e->exp_s;
	snprintf(iat, sizeof(iat), "%llu", (unsigned long long)now);
	snprintf(exp, sizeof(exp), "%llu", (unsigned long long)e->minted_s);
	id_text(e->hash, id);
	claims = splice_json(view_of(e->claims), (struct splice[]){ { "iat", iat, false, true }, { "exp", exp, false, true },
			     { "nbf", iat, false, false }, { CLAIM_ID, id, true, true } }, 4);
	*access = claims != NULL ? sign_token(r->signer, view_of(claims)) : NULL;
	free(claims);
	if (*access == NULL)
		return REFRESH_UNKNOWN;
	if (e->secret == NULL && credential_may_store(r->services->relay) && token.len <= STORE_VALUE_MAX) {
		e->secret = relay_strndup(token.ptr, token.len);
		store_value(r, 's', e->hash, token);
	}
	store_entry(r, e);
	return REFRESH_OK;
}

static bool
parse_id(const struct claim *c, uint8_t id[REFRESH_ID])
{
	char text[2 * REFRESH_ID + 1] = "";

	if (c->kind != CLAIM_STRING || c->raw.len != 2 * REFRESH_ID)
		return false;
	memcpy(text, c->raw.ptr, c->raw.len);
	for (size_t i = 0; i < REFRESH_ID; i++) {
		unsigned byte;

		if (sscanf(text + 2 * i, "%2x", &byte) != 1)
			return false;
		id[i] = (uint8_t)byte;
	}
	return true;
}

enum refresh_verdict
refresh_check(struct refresh *r, struct view presented, uint8_t id[REFRESH_ID])
{
	static const char *const names[] = { CLAIM_ID };
	struct view token = refresh_bare(presented);
	struct jwt_rules rules = { .issuer = "", .audience = "" };
	const struct jwt_key *key;
	const struct user *e;
	uint8_t json[JWT_MAX];
	enum jwt_verdict v;
	struct claim c;
	size_t n;

	memset(id, 0, REFRESH_ID);
	if (!sign_is_ours(r->signer, token, &key))
		return REFRESH_NOT_OURS;
	if (key == NULL)
		return REFRESH_STALE;
	rules.now_ms = now_ms(r, &rules.now_exact);
	v = jwt_check(key, token, &rules);
	if (v != JWT_OK && v != JWT_EXPIRED)
		return REFRESH_STALE; /* forged, as far as we know */
	if (!jwt_claims(token, json, sizeof(json), &n) || !claims_find((struct view){ json, n }, names, 1, &c) || !parse_id(&c, id))
		return REFRESH_STALE;
	e = find(r, id);
	return v == JWT_OK && e != NULL && e->state == ENTRY_LIVE ? REFRESH_GOOD : REFRESH_STALE;
}

/* ---- what becomes of an entry ---- */

bool
refresh_find(const struct refresh *r, struct view token, uint8_t id[REFRESH_ID])
{
	const struct user *e = find_token(r, refresh_bare(token));

	if (e != NULL)
		memcpy(id, e->hash, REFRESH_ID);
	return e != NULL;
}

/* No token of it is good any more, of ours or to be had.  It stays known as what it is, until it would have been forgotten anyway. */
static void
kill_entry(struct refresh *r, struct user *e, enum entry_state state)
{
	e->state = state;
	relay_wipe(e->real);
	e->real = NULL;
	if (state == ENTRY_REVOKED)
		drop_secret(r, e); /* who logged out may still have a backlog that goes up with it */
	store_entry(r, e);
}

bool
refresh_revoke(struct refresh *r, const uint8_t id[REFRESH_ID])
{
	struct user *e = find(r, id);

	if (e == NULL || e->state == ENTRY_REVOKED)
		return false;
	kill_entry(r, e, ENTRY_REVOKED);
	return true;
}

bool
refresh_revoked(const struct refresh *r, const uint8_t id[REFRESH_ID])
{
	const struct user *e = find(r, id);

	return e != NULL && e->state == ENTRY_REVOKED;
}

void
refresh_end(struct refresh *r, const uint8_t id[REFRESH_ID])
{
	struct user *e = find(r, id);

	if (e != NULL && e->state == ENTRY_LIVE)
		kill_entry(r, e, ENTRY_ENDED);
}

const char *
refresh_secret(const struct refresh *r, const uint8_t id[REFRESH_ID])
{
	const struct user *e = find(r, id);

	return e != NULL ? e->secret : NULL;
}

const char *
refresh_real(const struct refresh *r, const uint8_t id[REFRESH_ID])
{
	const struct user *e = find(r, id);
	bool exact;

	return e != NULL && e->real != NULL && now_ms(r, &exact) / 1000 + REAL_MARGIN_S < e->real_exp_s ? e->real : NULL;
}

/* ---- profiles ---- */

/* Whose access token is this?  A pass over all, for profiles are asked for once a login. */
static struct user *
find_access(struct refresh *r, struct view access)
{
	uint8_t id[REFRESH_ID], hash[HASH];
	struct user *e;

	access = refresh_bare(access);
	switch (refresh_check(r, access, id)) {
	case REFRESH_GOOD:
		return find(r, id);
	case REFRESH_STALE:
		return NULL;
	case REFRESH_NOT_OURS:
		break;
	}
	tls_sha256(access.ptr, access.len, hash);
	TAILQ_FOREACH (e, &r->list, link)
		if (e->state == ENTRY_LIVE && memcmp(e->access, hash, HASH) == 0)
			return e;
	return NULL;
}

void
refresh_keep_profile(struct refresh *r, struct view access, struct view json)
{
	struct user *e = find_access(r, access);

	if (e == NULL || json.len > STORE_VALUE_MAX || memchr(json.ptr, '\0', json.len) != NULL)
		return;
	if (e->profile != NULL && view_eq(view_of(e->profile), json))
		return;
	free(e->profile);
	e->profile = relay_strndup(json.ptr, json.len);
	store_value(r, 'f', e->hash, json);
}

bool
refresh_profile(struct refresh *r, struct view access, struct view *json)
{
	const struct user *e = find_access(r, access);

	if (e == NULL || e->profile == NULL)
		return false;
	*json = view_of(e->profile);
	return true;
}

/* ---- ageing ---- */

/* Its tokens of ours have ended, upstream has given a new one since, and no client that left waits with one. */
static bool
secret_needed(const struct refresh *r, const struct user *e)
{
	bool exact;
	uint64_t now_s = now_ms(r, &exact) / 1000;

	return e->minted_s >= now_s || e->honoured_ms / 1000 < e->minted_s || absents_use_token(r->services->link->absents, e->hash);
}

/* A user is known to the upstream, and may come to any listener that names it. */
static uint64_t
longest_days(const struct refresh *r)
{
	const struct front *f;
	uint64_t days = 0;

	TAILQ_FOREACH (f, &r->services->relay->fronts, entry)
		if (f->link == r->services->link && f->opt->offline_session_days > days)
			days = f->opt->offline_session_days;
	return days;
}

static void
pass_cb(evutil_socket_t fd, short what, void *arg)
{
	struct refresh *r = arg;
	struct user *e, *next;
	uint64_t days = longest_days(r);

	(void)fd;
	(void)what;
	for (e = TAILQ_FIRST(&r->list); e != NULL; e = next) {
		next = TAILQ_NEXT(e, link);
		if (expired(r, e) || (too_long(r, e, days) && !(e->secret != NULL && secret_needed(r, e))))
			forget(r, e);
		else if (e->secret != NULL && !secret_needed(r, e))
			drop_secret(r, e);
	}
	sign_rotate(r->signer);
	relay_after_ms(r->timer, PASS_MS);
}

/* ---- the start ---- */

static struct user *
read_entry(struct refresh *r, const uint8_t *id)
{
	struct user key, *e;
	struct user *const *found;

	memcpy(key.hash, id, REFRESH_ID);
	found = tfind(&key, &r->read_tree, id_cmp);
	if (found != NULL)
		return *found;
	e = relay_alloc(sizeof(*e));
	memcpy(e->hash, id, REFRESH_ID);
	if (tsearch(e, &r->read_tree, id_cmp) == NULL)
		log_fatal("out_of_memory", "bytes=0");
	TAILQ_INSERT_TAIL(&r->read, e, link);
	return e;
}

static void
take_part(struct user *e, uint8_t tag, struct view val)
{
	char **part = tag == 's' ? &e->secret : &e->profile;

	if (tag == 'u')
		(void)unpack_entry(e, val); /* without claims it is none: read_done */
	else if (*part == NULL)
		*part = relay_strndup(val.ptr, val.len);
}

static bool
read_one(void *arg, const void *key, size_t key_len, const void *val, size_t val_len)
{
	struct refresh *r = arg;
	const uint8_t *k = key;

	if (val_len > 0 && refresh_is_key(key, key_len) && memcmp(k + 1 + REFRESH_ID, r->scope, SCOPE) == 0) {
		take_part(read_entry(r, k + 1), k[0], (struct view){ val, val_len });
	} else if (key_len == SIGN_NAME && k[0] == 'k' && k[1] < SIGN_KEYS && val_len == SIGN_KEY_PACKED &&
		   memcmp(k + 2, r->scope, SCOPE) == 0) {
		memcpy(r->key[k[1]], val, val_len);
		r->key_len[k[1]] = val_len;
	}
	return true;
}

/* In the committer's thread. */
static void
read_all(void *arg, struct store *store)
{
	struct refresh *r = arg;

	if (store_each(store, STORE_TOKENS, read_one, r) != STORE_OK)
		return; /* who is not known is learnt again */
}

static void
read_done(void *arg, struct spool_op *op)
{
	struct refresh *r = arg;
	struct user *e, *known;

	(void)op;
	sign_start(r->signer, r->key, r->key_len);
	explicit_bzero(r->key, sizeof(r->key));
	while ((e = TAILQ_FIRST(&r->read)) != NULL) {
		tdelete(e, &r->read_tree, id_cmp);
		TAILQ_REMOVE(&r->read, e, link);
		known = find(r, e->hash);
		if (known != NULL && known->secret == NULL) { /* learnt again meanwhile */
			known->secret = e->secret;
			e->secret = NULL;
			known->minted_s = known->minted_s > e->minted_s ? known->minted_s : e->minted_s;
		}
		if (e->claims == NULL || known != NULL)
			entry_free(e);
		else
			enter(r, e);
	}
	relay_after_ms(r->timer, PASS_MS);
}

struct refresh *
refresh_new(struct services *services)
{
	struct refresh *r = relay_alloc(sizeof(*r));
	struct relay *relay = services->relay;
	uint8_t hash[HASH];

	r->services = services;
	tls_sha256(services->link->label, strlen(services->link->label), hash);
	memcpy(r->scope, hash, SCOPE);
	TAILQ_INIT(&r->list);
	TAILQ_INIT(&r->read);
	r->signer = sign_new(relay, r->scope);
	r->timer = relay_timer(relay->base, pass_cb, r);
	if (credential_may_store(relay))
		spool_call(relay->spool, read_all, read_done, r);
	else
		read_done(r, NULL);
	return r;
}

void
refresh_free(struct refresh *r)
{
	struct user *e;

	if (r == NULL)
		return;
	while ((e = TAILQ_FIRST(&r->list)) != NULL) {
		tdelete(e, &r->tree, id_cmp);
		TAILQ_REMOVE(&r->list, e, link);
		entry_free(e);
	}
	while ((e = TAILQ_FIRST(&r->read)) != NULL) {
		tdelete(e, &r->read_tree, id_cmp);
		TAILQ_REMOVE(&r->read, e, link);
		entry_free(e);
	}
	sign_free(r->signer);
	event_free(r->timer);
	free(r);
}
