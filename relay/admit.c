/* Admission while the link is DOWN: two look-ups in the store, one after the other, then the decision.
 *
 * Keys: tokens: SHA-256 of the token as presented (of nothing, when none was); for a named upstream token_key makes another of it.  meta: "agreed " endpoint " " flavour.
 * Values: tokens: the time upstream accepted it, milliseconds since 1970, decimal; then, each behind a blank, whose it is: the upstream's scope
 * (link_scope) and the user (userid.h), in hex; an older program wrote the time alone.  meta: the version, a blank, and when it was last agreed to or
 * used; both decimal.  relay/retention removes either when it is old.
 *
 * Ages are judged by relay/walltime: a gateway that boots in 1970 must not lock everybody out, so of a clock that lost its battery only
 * what has surely passed counts.  A refusal is always the caller's 503: with 401 or 403 an SDK would log its user out. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/hex.h"

#include "relay/admit.h"
#include "relay/front.h"
#include "relay/jwt.h"
#include "relay/options.h"
#include "relay/refresh.h"
#include "relay/spool.h"
#include "relay/tls.h"
#include "relay/walltime.h"

#define TOUCH_MS 86400000 /* a version in use is noted as such once a day: nothing is worn out by it */

struct admit {
	struct relay *relay;
	const struct front *front;
	char *agreed_key;
	enum msg_flavour flavour;
	uint64_t offers;
	struct view token; /* borrowed, until answer or cancel */
	admit_answer *answer; /* NULL: cancelled */
	void *arg;
};

static char *
agreed_key(const char *endpoint, enum msg_flavour flavour)
{
	size_t n = strlen(endpoint) + 16;
	char *key = relay_alloc(n);

	snprintf(key, n, ADMIT_AGREED "%s %s", endpoint, flavour == MSG_FLX ? "flx" : "pbs");
	return key;
}

/* What one upstream accepted says nothing to another. */
static void
token_key(const struct link *l, struct view token, uint8_t key[ADMIT_TOKEN_KEY])
{
	uint8_t part[2][ADMIT_TOKEN_KEY];

	tls_sha256(token.ptr, token.len, key);
	if (l->name[0] == '\0')
		return;
	tls_sha256(l->name, strlen(l->name), part[0]);
	memcpy(part[1], key, ADMIT_TOKEN_KEY);
	tls_sha256(part, sizeof(part), key);
}

static void
note_agreed(struct relay *relay, const char *key, unsigned version)
{
	char text[48];
	bool exact;

	snprintf(text, sizeof(text), "%u %llu", version, (unsigned long long)walltime_ms(relay->walltime, &exact));
	spool_put(relay->spool, STORE_META, view_of(key), view_of(text));
}

#define OWNER_LEN (1 + 2 * LINK_SCOPE + 1 + 2 * USERID) /* of " SCOPE USER" */

static void
owner_of(const struct link *l, struct view token, char owner[OWNER_LEN + 1])
{
	uint8_t scope[LINK_SCOPE], user[USERID];

	link_scope(l, scope);
	userid_of_token(token, user);
	owner[0] = ' ';
	hex_text(scope, LINK_SCOPE, owner + 1);
	owner[1 + 2 * LINK_SCOPE] = ' ';
	userid_text(user, owner + 2 + 2 * LINK_SCOPE);
}

/* owner: as owner_of made it, or as it was. */
static void
note_token(struct relay *relay, const uint8_t *hash, uint64_t at_ms, struct view owner)
{
	char text[32 + OWNER_LEN];

	snprintf(text, sizeof(text), "%llu%.*s", (unsigned long long)at_ms, (int)owner.len, (const char *)owner.ptr);
	spool_put(relay->spool, STORE_TOKENS, (struct view){ hash, ADMIT_TOKEN_KEY }, view_of(text));
}

void
admit_accepted(const struct link *l, const char *endpoint, struct view token, enum msg_flavour flavour, unsigned version)
{
	struct relay *relay = l->relay;
	unsigned char hash[ADMIT_TOKEN_KEY];
	char *key = agreed_key(endpoint, flavour), owner[OWNER_LEN + 1];
	bool exact;

	token_key(l, token, hash);
	owner_of(l, token, owner);
	note_token(relay, hash, walltime_ms(relay->walltime, &exact), view_of(owner));
	note_agreed(relay, key, version);
	free(key);
}

/* As a query has it, and as a header has it. */
void
admit_issued(const struct link *l, struct view access)
{
	static const char scheme[] = "Bearer ";
	size_t n = sizeof(scheme) - 1, len = n + access.len;
	uint8_t *text = relay_alloc(len);
	unsigned char hash[ADMIT_TOKEN_KEY];
	char owner[OWNER_LEN + 1];
	bool exact;
	uint64_t now = walltime_ms(l->relay->walltime, &exact);

	memcpy(text, scheme, n);
	memcpy(text + n, access.ptr, access.len);
	owner_of(l, access, owner);
	token_key(l, access, hash);
	note_token(l->relay, hash, now, view_of(owner));
	token_key(l, (struct view){ text, len }, hash);
	note_token(l->relay, hash, now, view_of(owner));
	explicit_bzero(text, len);
	free(text);
}

static uint64_t
decimal(const uint8_t *p, size_t n)
{
	uint64_t v = 0;

	for (size_t i = 0; i < n && p[i] >= '0' && p[i] <= '9'; i++)
		v = v * 10 + (uint64_t)(p[i] - '0');
	return v;
}

uint64_t
admit_token_time(const void *val, size_t len)
{
	return decimal(val, len);
}

bool
admit_token_owner(const void *val, size_t len, uint8_t scope[LINK_SCOPE], uint8_t user[USERID])
{
	const uint8_t *blank = memchr(val, ' ', len);
	size_t n = blank != NULL ? (size_t)((const uint8_t *)val + len - blank) : 0;

	return n == OWNER_LEN && blank[1 + 2 * LINK_SCOPE] == ' ' && hex_bytes(blank + 1, LINK_SCOPE, scope) &&
	       userid_parse((struct view){ blank + 2 + 2 * LINK_SCOPE, USERID_TEXT - 1 }, user);
}

uint64_t
admit_agreed_time(const void *val, size_t len)
{
	const uint8_t *blank = memchr(val, ' ', len);

	return blank != NULL ? decimal(blank + 1, (size_t)((const uint8_t *)val + len - blank - 1)) : 0;
}

static void
finish(struct admit *a, unsigned version, const char *why)
{
	if (a->answer != NULL)
		a->answer(a->arg, version, why);
	free(a->agreed_key);
	free(a);
}

/* The newest offer not above what upstream agreed to before; without such knowledge, the newest within offline_versions. */
static unsigned
choose(const struct admit *a, unsigned agreed)
{
	unsigned low = 0, high = 0;

	if (agreed > 0)
		high = agreed;
	else if (!options_versions(a->front->opt->offline_versions, &low, &high))
		return 0;
	for (unsigned v = high < 63 ? high : 63; v > 0 && v >= low; v--)
		if (a->offers & (1ULL << v))
			return v;
	return 0;
}

static void
agreed_cb(void *arg, struct spool_op *op)
{
	struct admit *a = arg;
	unsigned agreed = op->err == STORE_OK ? (unsigned)decimal(op->val, op->val_len) : 0;
	unsigned version = choose(a, agreed);
	bool exact;

	if (version != 0 && agreed != 0 &&
	    walltime_ms(a->relay->walltime, &exact) > admit_agreed_time(op->val, op->val_len) + TOUCH_MS)
		note_agreed(a->relay, a->agreed_key, agreed);
	finish(a, version, version != 0 ? "" : "no offered protocol version is known to upstream");
}

static void
ask_agreed(struct admit *a)
{
	spool_get(a->relay->spool, STORE_META, view_of(a->agreed_key), agreed_cb, a);
}

static void
token_cb(void *arg, struct spool_op *op)
{
	struct admit *a = arg;
	uint64_t accepted, now;
	struct view owner = { NULL, 0 };
	bool exact;

	if (op->err != STORE_OK) {
		finish(a, 0, "upstream never accepted this token");
		return;
	}
	if ((owner.ptr = memchr(op->val, ' ', op->val_len)) != NULL)
		owner.len = (size_t)(op->val + op->val_len - owner.ptr);
	now = walltime_ms(a->relay->walltime, &exact);
	accepted = admit_token_time(op->val, op->val_len);
	if (accepted < WALLTIME_FLOOR_MS) { /* by a clock that knew nothing: it ages from now on */
		if (exact)
			note_token(a->relay, op->key, now, owner);
	} else if (now > accepted && now - accepted > a->front->opt->token_grace_ms) {
		finish(a, 0, "upstream accepted this token too long ago");
		return;
	}
	ask_agreed(a);
}

/* NULL: it is signed. */
static const char *
check_signed(const struct front *f, struct view token)
{
	const struct options *o = f->opt;
	struct jwt_rules rules = { .issuer = o->jwt_issuer, .audience = o->jwt_audience, .grace_ms = o->token_grace_ms };
	enum jwt_verdict v;

	rules.now_ms = walltime_ms(f->relay->walltime, &rules.now_exact);
	v = jwt_check(f->jwt_key, refresh_bare(token), &rules);
	return v == JWT_OK ? NULL : jwt_phrase(v);
}

static void
signed_cb(void *arg, struct spool_op *op)
{
	struct admit *a = arg;
	const char *refusal = a->answer != NULL ? check_signed(a->front, a->token) : "";

	if (refusal != NULL)
		finish(a, 0, refusal);
	else
		agreed_cb(a, op);
}

/* The answer must come from the loop in every case, so a refusal without look-up still goes through the spool. */
static void
none_cb(void *arg, struct spool_op *op)
{
	(void)op;
	finish(arg, 0, "offline_admit = none");
}

static void
uncertified_cb(void *arg, struct spool_op *op)
{
	(void)op;
	finish(arg, 0, "the client has no certificate");
}

struct admit *
admit_ask(const struct front *f, const char *endpoint, struct view token, bool own, bool certified, enum msg_flavour flavour, uint64_t offers,
	  admit_answer *answer, void *arg)
{
	struct relay *relay = f->relay;
	struct admit *a = relay_alloc(sizeof(*a));
	unsigned char hash[ADMIT_TOKEN_KEY];

	a->relay = relay;
	a->front = f;
	a->agreed_key = agreed_key(endpoint, flavour);
	token_key(f->link, token, hash);
	a->flavour = flavour;
	a->token = token;
	a->offers = offers;
	a->answer = answer;
	a->arg = arg;
	if (own && (f->opt->offline_admit == ADMIT_KNOWN || f->opt->offline_admit == ADMIT_SIGNED)) {
		ask_agreed(a);
		return a;
	}
	switch (f->opt->offline_admit) {
	case ADMIT_ANY:
		ask_agreed(a);
		break;
	case ADMIT_CERTIFICATE:
		if (certified)
			ask_agreed(a);
		else
			spool_get(relay->spool, STORE_META, view_of(a->agreed_key), uncertified_cb, a);
		break;
	case ADMIT_KNOWN:
		spool_get(relay->spool, STORE_TOKENS, (struct view){ hash, sizeof(hash) }, token_cb, a);
		break;
	case ADMIT_SIGNED:
		spool_get(relay->spool, STORE_META, view_of(a->agreed_key), signed_cb, a);
		break;
	default:
		spool_get(relay->spool, STORE_META, view_of(a->agreed_key), none_cb, a);
		break;
	}
	return a;
}

void
admit_cancel(struct admit *a)
{
	if (a != NULL)
		a->answer = NULL;
}
