/* See sign.h.
 *
 * On the disk, table tokens, numbers big-endian: 'k' 0 scope, 'k' 1 scope: the keys, the newer first.  A rotation writes the older one first, so a
 * crash between the two leaves one key twice, and is made up for at the next start.
 *
 * A secret lives in a struct jwt_key and, packed for the disk, nowhere longer than it takes to hand it to the committer. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/be64.h"
#include "relay/claims.h"
#include "relay/credential.h"
#include "relay/jwt.h"
#include "relay/link.h"
#include "relay/log.h"
#include "relay/relay.h"
#include "relay/services.h"
#include "relay/sign.h"
#include "relay/spool.h"
#include "relay/tls.h"
#include "relay/walltime.h"

#define PREFIX "holdfast-"
#define KID_LEN (sizeof(PREFIX) - 1 + 16)
#define SECRET_AT 16
#define KEYS 2	  /* the one in use and the one before */
#define PACKED 48 /* bytes: when it was made (8), kid (8), the secret (32) */
#define NAME (2 + LINK_SCOPE) /* bytes of a key's name in the store */
#define AGE_MS (SIGN_KEY_DAYS * 86400000ULL)

struct key {
	uint64_t made_ms;
	char kid[KID_LEN + 1];
	uint8_t packed[PACKED]; /* to be moved on the disk when it is replaced; a secret */
	struct jwt_key *jwt;		 /* NULL: none */
};

struct signer {
	const struct services *services;
	struct key key[KEYS];
};

static void
drop(struct key *k)
{
	jwt_key_free(k->jwt);
	explicit_bzero(k, sizeof(*k));
}

static void
unpack(struct key *k, const uint8_t packed[PACKED])
{
	char why[160];

	memcpy(k->packed, packed, PACKED);
	k->made_ms = be64_get(packed);
	snprintf(k->kid, sizeof(k->kid), PREFIX "%016llx", (unsigned long long)be64_get(packed + 8));
	k->jwt = jwt_key_new_raw((struct view){ packed + SECRET_AT, PACKED - SECRET_AT }, why, sizeof(why));
	if (k->jwt == NULL)
		log_fatal("signing_key", "reason=\"%s\"", why);
}

static void
name_of(const struct signer *s, uint8_t n, uint8_t name[NAME])
{
	name[0] = 'k';
	name[1] = n;
	link_scope(s->services->link, name + 2);
}

static void
store(const struct signer *s, uint8_t n)
{
	uint8_t name[NAME];

	name_of(s, n, name);
	if (credential_may_store(s->services->relay) && s->key[n].jwt != NULL)
		spool_put(s->services->relay->spool, STORE_TOKENS, (struct view){ name, NAME },
			  (struct view){ s->key[n].packed, PACKED });
}

bool
sign_is_key(const void *key, size_t len)
{
	const uint8_t *k = key;

	return len == NAME && k[0] == 'k' && k[1] < KEYS;
}

static void
make(struct signer *s)
{
	uint8_t packed[PACKED];
	bool exact;

	tls_random(packed, sizeof(packed));
	be64_put(packed, walltime_ms(s->services->relay->walltime, &exact));
	unpack(&s->key[0], packed);
	explicit_bzero(packed, sizeof(packed));
	store(s, 0);
	log_event(LOG_INFO, "signing_key", "kid=%s kept=%s", s->key[0].kid, credential_may_store(s->services->relay) ? "yes" : "no");
}

void
sign_free(struct signer *s)
{
	if (s == NULL)
		return;
	for (int i = 0; i < KEYS; i++)
		drop(&s->key[i]);
	free(s);
}

void
sign_rotate(struct signer *s)
{
	bool exact;
	uint64_t now = walltime_ms(s->services->relay->walltime, &exact);

	if (s->key[0].jwt == NULL || !exact || now < s->key[0].made_ms + AGE_MS)
		return;
	drop(&s->key[1]);
	s->key[1] = s->key[0];
	memset(&s->key[0], 0, sizeof(s->key[0]));
	store(s, 1);
	make(s);
}

static void
take(struct key *k, const struct spool_op *op)
{
	if (op->err == STORE_OK && op->val_len == PACKED)
		unpack(k, op->val);
}

/* The last of them: makes one when there is none. */
static void
newer_read(void *arg, struct spool_op *op)
{
	struct signer *s = arg;

	take(&s->key[0], op);
	if (s->key[0].jwt == NULL)
		make(s);
	else
		sign_rotate(s);
}

static void
older_read(void *arg, struct spool_op *op)
{
	struct signer *s = arg;

	take(&s->key[1], op);
}

struct signer *
sign_new(const struct services *services)
{
	struct spool *spool = services->relay->spool;
	struct signer *s = relay_alloc(sizeof(*s));
	uint8_t name[NAME];

	s->services = services;
	if (!credential_may_store(services->relay)) {
		make(s);
		return s;
	}
	name_of(s, 1, name);
	spool_get(spool, STORE_TOKENS, (struct view){ name, NAME }, older_read, s);
	name_of(s, 0, name);
	spool_get(spool, STORE_TOKENS, (struct view){ name, NAME }, newer_read, s);
	return s;
}

char *
sign_token(const struct signer *s, struct view claims)
{
	char header[96];

	if (s->key[0].jwt == NULL)
		return NULL;
	snprintf(header, sizeof(header), "{\"alg\":\"HS256\",\"kid\":\"%s\",\"typ\":\"JWT\"}", s->key[0].kid);
	return jwt_sign(s->key[0].jwt, view_of(header), claims);
}

bool
sign_is_ours(const struct signer *s, struct view token, const struct jwt_key **key)
{
	static const char *const names[] = { "kid" };
	uint8_t json[JWT_MAX];
	struct claim kid;
	size_t n;

	*key = NULL;
	if (!jwt_header(token, json, sizeof(json), &n) || !claims_find((struct view){ json, n }, names, 1, &kid) ||
	    kid.kind != CLAIM_STRING || kid.raw.len != KID_LEN || memcmp(kid.raw.ptr, PREFIX, sizeof(PREFIX) - 1) != 0)
		return false;
	for (int i = 0; i < KEYS; i++)
		if (s->key[i].jwt != NULL && view_eq(kid.raw, view_of(s->key[i].kid)))
			*key = s->key[i].jwt;
	return true;
}
