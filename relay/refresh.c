/* What a refresh token, and an access token of the relay's own, are good for; see refresh.h.
 *
 * Never: a refusal that logs a user out (all that is said here is for the log, the answer is the door's 503); a lifetime judged by a clock that
 * may be wrong (relay/walltime). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <event2/event.h>

#include "protocol/hex.h"

#include "relay/absent.h"
#include "relay/claims.h"
#include "relay/front.h"
#include "relay/jwt.h"
#include "relay/link.h"
#include "relay/options.h"
#include "relay/refresh.h"
#include "relay/relay.h"
#include "relay/services.h"
#include "relay/sign.h"
#include "relay/splice.h"
#include "relay/tls.h"
#include "relay/users.h"
#include "relay/walltime.h"

#define PASS_MS 3600000	   /* what ages by days need not be seen sooner */
#define DAY_MS 86400000ULL
#define REAL_MARGIN_S 60   /* a real token that ends sooner is not begun with */
#define CLAIM_ID "holdfast" /* the claim that names the entry */

struct refresh {
	struct services *services;
	struct users *users;
	struct signer *signer;
	struct event *timer;
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
	uint8_t claims[JWT_MAX], hash[USERS_HASH];
	static const char *const names[] = { "exp" };
	struct claim exp;
	struct user *e;
	bool exact;
	size_t n;

	if (token.len == 0 || r->services->opt->max_users == 0 || !jwt_claims(access, claims, sizeof(claims), &n) || n > REFRESH_CLAIMS_MAX ||
	    memchr(claims, '\0', n) != NULL || !claims_find((struct view){ claims, n }, names, 1, &exp) || exp.kind != CLAIM_NUMBER)
		return false;
	tls_sha256(token.ptr, token.len, hash);
	e = users_honoured(r->users, hash);
	if (e == NULL)
		return false;
	if (e->state == USER_REVOKED)
		e->state = USER_LIVE; /* but who logged out stays so */
	e->exp_s = expiry_of(token);
	e->honoured_ms = now_ms(r, &exact);
	tls_sha256(access.ptr, access.len, e->access);
	free(e->claims);
	e->claims = relay_strndup(claims, n);
	relay_wipe(e->real);
	e->real = NULL;
	if (e->minted_s != 0) { /* tokens of ours may still come, and this is what they are exchanged for */
		e->real = relay_strndup(access.ptr, access.len);
		(void)claim_seconds(&exp, &e->real_exp_s);
		if (e->minted_s > e->honoured_ms / 1000)
			e->minted_s = e->honoured_ms / 1000;
	}
	users_store(r->users, e);
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
	if (e->state != USER_LIVE)
		return REFRESH_DEAD;
	if (expired(r, e))
		return REFRESH_EXPIRED;
	if (too_long(r, e, opt->offline_session_days))
		return REFRESH_TOO_LONG;
	if (exact && (e->honoured_ms < WALLTIME_FLOOR_MS || e->honoured_ms > now))
		e->honoured_ms = now; /* by a clock that knew nothing, or ran ahead: it ages from now on */
	return REFRESH_OK;
}

enum refresh_answer
refresh_mint(struct refresh *r, const struct options *opt, struct view token, char **access)
{
	struct user *e = users_find_token(r->users, token);
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
	hex_text(e->hash, REFRESH_ID, id);
	claims = splice_json(view_of(e->claims), (struct splice[]){ { "iat", iat, false, true }, { "exp", exp, false, true },
			     { "nbf", iat, false, false }, { CLAIM_ID, id, true, true } }, 4);
	*access = claims != NULL ? sign_token(r->signer, view_of(claims)) : NULL;
	free(claims);
	if (*access == NULL)
		return REFRESH_UNKNOWN;
	users_keep_secret(r->users, e, token);
	users_store(r->users, e);
	return REFRESH_OK;
}

static bool
parse_id(const struct claim *c, uint8_t id[REFRESH_ID])
{
	return c->kind == CLAIM_STRING && c->raw.len == 2 * REFRESH_ID && hex_bytes(c->raw.ptr, REFRESH_ID, id);
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
	if (!jwt_claims(token, json, sizeof(json), &n) || !claims_find((struct view){ json, n }, names, 1, &c) || !parse_id(&c, id) || key == NULL)
		return REFRESH_STALE;
	rules.now_ms = now_ms(r, &rules.now_exact);
	v = jwt_check(key, token, &rules);
	e = users_find(r->users, id);
	return v == JWT_OK && e != NULL && e->state == USER_LIVE ? REFRESH_GOOD : REFRESH_STALE;
}

/* ---- what becomes of an entry ---- */

bool
refresh_find(const struct refresh *r, struct view token, uint8_t id[REFRESH_ID])
{
	const struct user *e = users_find_token(r->users, refresh_bare(token));

	if (e != NULL)
		memcpy(id, e->hash, REFRESH_ID);
	return e != NULL;
}

/* No token of it is good any more, of ours or to be had.  It stays known as what it is, until it would have been forgotten anyway. */
static void
kill_entry(struct refresh *r, struct user *e, enum user_state state)
{
	e->state = state;
	relay_wipe(e->real);
	e->real = NULL;
	if (state == USER_REVOKED)
		users_drop_secret(r->users, e); /* who logged out may still have a backlog that goes up with it */
	users_store(r->users, e);
}

bool
refresh_revoke(struct refresh *r, const uint8_t id[REFRESH_ID])
{
	struct user *e = users_find(r->users, id);

	if (e == NULL || e->state == USER_REVOKED)
		return false;
	kill_entry(r, e, USER_REVOKED);
	return true;
}

bool
refresh_revoked(const struct refresh *r, const uint8_t id[REFRESH_ID])
{
	const struct user *e = users_find(r->users, id);

	return e != NULL && e->state == USER_REVOKED;
}

void
refresh_end(struct refresh *r, const uint8_t id[REFRESH_ID])
{
	struct user *e = users_find(r->users, id);

	if (e != NULL && e->state == USER_LIVE)
		kill_entry(r, e, USER_ENDED);
}

const char *
refresh_secret(const struct refresh *r, const uint8_t id[REFRESH_ID])
{
	const struct user *e = users_find(r->users, id);

	return e != NULL ? e->secret : NULL;
}

const char *
refresh_real(const struct refresh *r, const uint8_t id[REFRESH_ID])
{
	const struct user *e = users_find(r->users, id);
	bool exact;

	return e != NULL && e->real != NULL && now_ms(r, &exact) / 1000 + REAL_MARGIN_S < e->real_exp_s ? e->real : NULL;
}

/* ---- profiles ---- */

/* Whose access token is this? */
static struct user *
find_access(struct refresh *r, struct view access)
{
	uint8_t id[REFRESH_ID], hash[USERS_HASH];

	access = refresh_bare(access);
	switch (refresh_check(r, access, id)) {
	case REFRESH_GOOD:
		return users_find(r->users, id);
	case REFRESH_STALE:
		return NULL;
	case REFRESH_NOT_OURS:
		break;
	}
	tls_sha256(access.ptr, access.len, hash);
	return users_find_access(r->users, hash);
}

void
refresh_keep_profile(struct refresh *r, struct view access, struct view json)
{
	struct user *e = find_access(r, access);

	if (e != NULL)
		users_keep_profile(r->users, e, json);
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

static bool
has_backlog(const struct refresh *r, const struct user *e)
{
	return e->secret != NULL && absents_use_token(r->services->link->absents, e->hash);
}

/* Upstream has given a token since we last did (refresh_learn), and no client that left waits with one of ours. */
static bool
secret_needed(const struct refresh *r, const struct user *e)
{
	return e->honoured_ms / 1000 < e->minted_s || has_backlog(r, e);
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
	bool certain = !link_down(r->services->link); /* else whom a clock that is wrong makes old could not be learnt again */

	(void)fd;
	(void)what;
	for (e = users_first(r->users); e != NULL; e = next) {
		next = users_next(e);
		if (certain && (expired(r, e) || (too_long(r, e, days) && !has_backlog(r, e))))
			users_forget(r->users, e);
		else if (e->secret != NULL && !secret_needed(r, e))
			users_drop_secret(r->users, e);
	}
	sign_rotate(r->signer);
	relay_after_ms(r->timer, PASS_MS);
}

uint64_t
refresh_forget_user(struct refresh *r, struct view name)
{
	static const char *const names[] = { "sub" };
	struct user *e, *next;
	struct claim sub;
	uint64_t n = 0;

	for (e = users_first(r->users); e != NULL; e = next) {
		next = users_next(e);
		if (e->claims == NULL || !claims_find(view_of(e->claims), names, 1, &sub) || sub.kind != CLAIM_STRING || !view_eq(sub.raw, name))
			continue;
		users_forget(r->users, e);
		n++;
	}
	return n;
}

/* ---- life ---- */

struct refresh *
refresh_new(struct services *services)
{
	struct refresh *r = relay_alloc(sizeof(*r));

	r->services = services;
	r->signer = sign_new(services);
	r->users = users_new(services);
	r->timer = relay_timer(services->relay->base, pass_cb, r);
	relay_after_ms(r->timer, PASS_MS);
	return r;
}

void
refresh_free(struct refresh *r)
{
	if (r == NULL)
		return;
	users_free(r->users);
	sign_free(r->signer);
	event_free(r->timer);
	free(r);
}
