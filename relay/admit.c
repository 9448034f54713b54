/* Admission while the link is DOWN: two look-ups in the store, one after the other, then the decision.
 *
 * Keys: tokens: SHA-256 of the token as presented (of nothing, when none was).  meta: "agreed " endpoint " " flavour.
 * Values: tokens: the time upstream accepted it, milliseconds since 1970, decimal.  meta: the version, decimal.
 *
 * A token's age is judged by the wall clock, and only when that is plausible: a gateway that boots in 1970 must not lock
 * everybody out, so a clock behind the stored time counts as no time passed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/admit.h"
#include "relay/clock.h"
#include "relay/options.h"
#include "relay/spool.h"
#include "relay/tls.h"

struct admit {
	struct relay *relay;
	char *agreed_key;
	enum msg_flavour flavour;
	uint64_t offers;
	admit_answer *answer; /* NULL: cancelled */
	void *arg;
};

static char *
agreed_key(const char *endpoint, enum msg_flavour flavour)
{
	size_t n = strlen(endpoint) + 16;
	char *key = relay_alloc(n);

	snprintf(key, n, "agreed %s %s", endpoint, flavour == MSG_FLX ? "flx" : "pbs");
	return key;
}

void
admit_accepted(struct relay *relay, const char *endpoint, struct view token, enum msg_flavour flavour, unsigned version)
{
	unsigned char hash[32];
	char text[32];
	char *key = agreed_key(endpoint, flavour);

	tls_sha256(token.ptr, token.len, hash);
	snprintf(text, sizeof(text), "%llu", (unsigned long long)clock_wall_ms());
	spool_put(relay->spool, STORE_TOKENS, (struct view){ hash, sizeof(hash) }, view_of(text));
	snprintf(text, sizeof(text), "%u", version);
	spool_put(relay->spool, STORE_META, view_of(key), view_of(text));
	free(key);
}

static uint64_t
decimal(const uint8_t *p, size_t n)
{
	uint64_t v = 0;

	for (size_t i = 0; i < n && p[i] >= '0' && p[i] <= '9'; i++)
		v = v * 10 + (uint64_t)(p[i] - '0');
	return v;
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
	else if (!options_versions(a->relay->opt->offline_versions, &low, &high))
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
	uint64_t accepted, now = clock_wall_ms();

	if (op->err != STORE_OK) {
		finish(a, 0, "upstream never accepted this token");
		return;
	}
	accepted = decimal(op->val, op->val_len);
	if (now > accepted && now - accepted > a->relay->opt->token_grace_ms) {
		finish(a, 0, "upstream accepted this token too long ago");
		return;
	}
	ask_agreed(a);
}

/* The answer must come from the loop in every case, so a refusal without look-up still goes through the spool. */
static void
none_cb(void *arg, struct spool_op *op)
{
	(void)op;
	finish(arg, 0, "offline_admit = none");
}

struct admit *
admit_ask(struct relay *relay, const char *endpoint, struct view token, enum msg_flavour flavour, uint64_t offers,
	  admit_answer *answer, void *arg)
{
	struct admit *a = relay_alloc(sizeof(*a));
	unsigned char hash[32];

	a->relay = relay;
	a->agreed_key = agreed_key(endpoint, flavour);
	tls_sha256(token.ptr, token.len, hash);
	a->flavour = flavour;
	a->offers = offers;
	a->answer = answer;
	a->arg = arg;
	switch (relay->opt->offline_admit) {
	case ADMIT_ANY:
		ask_agreed(a);
		break;
	case ADMIT_KNOWN:
		spool_get(relay->spool, STORE_TOKENS, (struct view){ hash, sizeof(hash) }, token_cb, a);
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
