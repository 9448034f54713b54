/* The entries and where they are kept; see users.h.
 *
 * On the disk, table tokens, numbers big-endian, scope: link_scope. 'u' id scope: an entry;  's' id scope: its refresh token;  'f' id scope: its profile.  An empty
 * value is none. */
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "relay/absent.h"
#include "relay/be64.h"
#include "relay/conn.h"
#include "relay/credential.h"
#include "relay/link.h"
#include "relay/log.h"
#include "relay/options.h"
#include "relay/relay.h"
#include "relay/services.h"
#include "relay/spool.h"
#include "relay/tls.h"
#include "relay/users.h"

#define FORM 1 /* of an entry's value: raise it when the layout changes */
#define HEAD (2 + 3 * 8 + 2 * USERS_HASH)

TAILQ_HEAD(user_list, user);

struct users {
	struct services *services;
	uint8_t scope[LINK_SCOPE];
	struct user_list list; /* the one honoured last in front */
	void *tree;	       /* by id */
	size_t n;
	/* while the disk is read: filled in the committer's thread */
	struct user_list read;
	void *read_tree;
};

/* ---- the disk ---- */

static void
store_value(const struct users *us, uint8_t tag, const uint8_t *id, struct view val)
{
	struct relay *relay = us->services->relay;
	uint8_t key[USERS_KEY];

	if (!credential_may_store(relay) || val.len > STORE_VALUE_MAX)
		return;
	key[0] = tag;
	memcpy(key + 1, id, REFRESH_ID);
	memcpy(key + 1 + REFRESH_ID, us->scope, LINK_SCOPE);
	spool_put(relay->spool, STORE_TOKENS, (struct view){ key, sizeof(key) }, val);
}

bool
users_is_key(const void *key, size_t len)
{
	return len == USERS_KEY && memchr("usf", *(const uint8_t *)key, 3) != NULL;
}

const uint8_t *
users_key_scope(const void *key)
{
	return (const uint8_t *)key + 1 + REFRESH_ID;
}

void
users_key_entry(const void *key, uint8_t entry[USERS_KEY])
{
	memcpy(entry, key, USERS_KEY);
	entry[0] = 'u';
}

uint64_t
users_honoured_at(const void *val, size_t len)
{
	const uint8_t *v = val;

	return len >= HEAD && v[0] == FORM ? be64_get(v + 10) : 0;
}

void
users_store(const struct users *us, const struct user *e)
{
	uint8_t val[HEAD + REFRESH_CLAIMS_MAX];
	size_t n = strlen(e->claims);

	val[0] = FORM;
	val[1] = (uint8_t)e->state;
	be64_put(val + 2, e->exp_s);
	be64_put(val + 10, e->honoured_ms);
	be64_put(val + 18, e->minted_s);
	memcpy(val + 26, e->hash, USERS_HASH);
	memcpy(val + 26 + USERS_HASH, e->access, USERS_HASH);
	memcpy(val + HEAD, e->claims, n);
	store_value(us, 'u', e->hash, (struct view){ val, HEAD + n });
}

/* False: it is not of that form. */
static bool
unpack_entry(struct user *e, struct view val)
{
	if (val.len < HEAD || val.ptr[0] != FORM || val.ptr[1] > USER_ENDED || memcmp(val.ptr + 26, e->hash, REFRESH_ID) != 0 ||
	    memchr(val.ptr + HEAD, '\0', val.len - HEAD) != NULL)
		return false;
	e->state = (enum user_state)val.ptr[1];
	e->exp_s = be64_get(val.ptr + 2);
	e->honoured_ms = be64_get(val.ptr + 10);
	e->minted_s = be64_get(val.ptr + 18);
	memcpy(e->hash, val.ptr + 26, USERS_HASH);
	memcpy(e->access, val.ptr + 26 + USERS_HASH, USERS_HASH);
	free(e->claims);
	e->claims = relay_strndup(val.ptr + HEAD, val.len - HEAD);
	return true;
}

bool
users_claims(struct view val, struct view *claims)
{
	if (val.len < HEAD || val.ptr[0] != FORM)
		return false;
	*claims = (struct view){ val.ptr + HEAD, val.len - HEAD };
	return true;
}

/* ---- entries ---- */

static int
id_cmp(const void *a, const void *b)
{
	return memcmp(((const struct user *)a)->hash, ((const struct user *)b)->hash, REFRESH_ID);
}

struct user *
users_find(const struct users *us, const uint8_t id[REFRESH_ID])
{
	struct user key;
	struct user *const *found;

	memcpy(key.hash, id, REFRESH_ID);
	found = tfind(&key, &us->tree, id_cmp);
	return found != NULL ? *found : NULL;
}

struct user *
users_find_token(const struct users *us, struct view token)
{
	uint8_t hash[USERS_HASH];
	struct user *e;

	if (token.len == 0)
		return NULL;
	tls_sha256(token.ptr, token.len, hash);
	e = users_find(us, hash);
	return e != NULL && memcmp(e->hash, hash, USERS_HASH) == 0 ? e : NULL;
}

struct user *
users_find_access(const struct users *us, const uint8_t hash[USERS_HASH])
{
	struct user *e;

	TAILQ_FOREACH (e, &us->list, link)
		if (e->state == USER_LIVE && memcmp(e->access, hash, USERS_HASH) == 0)
			return e;
	return NULL;
}

struct user *
users_first(const struct users *us)
{
	return TAILQ_FIRST(&us->list);
}

struct user *
users_next(const struct user *e)
{
	return TAILQ_NEXT(e, link);
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

void
users_drop_secret(const struct users *us, struct user *e)
{
	if (e->secret != NULL)
		store_value(us, 's', e->hash, (struct view){ NULL, 0 });
	relay_wipe(e->secret);
	e->secret = NULL;
}

void
users_keep_secret(const struct users *us, struct user *e, struct view token)
{
	if (e->secret != NULL || !credential_may_store(us->services->relay) || token.len > STORE_VALUE_MAX)
		return;
	e->secret = relay_strndup(token.ptr, token.len);
	store_value(us, 's', e->hash, token);
}

void
users_keep_profile(const struct users *us, struct user *e, struct view json)
{
	if (json.len > STORE_VALUE_MAX || memchr(json.ptr, '\0', json.len) != NULL)
		return;
	if (e->profile != NULL && view_eq(view_of(e->profile), json))
		return;
	free(e->profile);
	e->profile = relay_strndup(json.ptr, json.len);
	store_value(us, 'f', e->hash, json);
}

void
users_forget(struct users *us, struct user *e)
{
	users_drop_secret(us, e);
	if (e->profile != NULL)
		store_value(us, 'f', e->hash, (struct view){ NULL, 0 });
	store_value(us, 'u', e->hash, (struct view){ NULL, 0 });
	tdelete(e, &us->tree, id_cmp);
	TAILQ_REMOVE(&us->list, e, link);
	us->n--;
	entry_free(e);
}

/* Whether something waits to go up with its refresh token: the backlog of a client that left, or a client. */
static bool
is_needed(const struct users *us, const struct user *e)
{
	const struct link *l = us->services->link;
	const struct conn *c;

	if (e->secret == NULL)
		return false;
	if (l->absents == NULL || absents_use_token(l->absents, e->hash)) /* NULL: they are not known yet */
		return true;
	for (c = TAILQ_FIRST(&l->relay->conns); c != NULL; c = conn_next(c))
		if (conn_is_of(c, e->hash))
			return true;
	return false;
}

/* Makes room for one more.  False: all that are there are needed. */
static bool
make_room(struct users *us)
{
	struct user *e = TAILQ_LAST(&us->list, user_list), *before;

	for (; e != NULL && us->n >= us->services->opt->max_users; e = before) {
		before = TAILQ_PREV(e, user_list, link);
		if (!is_needed(us, e))
			users_forget(us, e);
	}
	return us->n < us->services->opt->max_users;
}

static void
enter(struct users *us, struct user *e)
{
	if (tsearch(e, &us->tree, id_cmp) == NULL)
		log_fatal("out_of_memory", "bytes=0");
	TAILQ_INSERT_HEAD(&us->list, e, link);
	us->n++;
}

struct user *
users_honoured(struct users *us, const uint8_t hash[USERS_HASH])
{
	struct user *e = users_find(us, hash);

	if (e != NULL) {
		TAILQ_REMOVE(&us->list, e, link);
		TAILQ_INSERT_HEAD(&us->list, e, link);
	} else if (make_room(us)) {
		e = relay_alloc(sizeof(*e));
		memcpy(e->hash, hash, USERS_HASH);
		enter(us, e);
	}
	return e;
}

/* ---- the start ---- */

static struct user *
read_entry(struct users *us, const uint8_t *id)
{
	struct user key, *e;
	struct user *const *found;

	memcpy(key.hash, id, REFRESH_ID);
	found = tfind(&key, &us->read_tree, id_cmp);
	if (found != NULL)
		return *found;
	e = relay_alloc(sizeof(*e));
	memcpy(e->hash, id, REFRESH_ID);
	if (tsearch(e, &us->read_tree, id_cmp) == NULL)
		log_fatal("out_of_memory", "bytes=0");
	TAILQ_INSERT_TAIL(&us->read, e, link);
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
	struct users *us = arg;
	const uint8_t *k = key;

	if (val_len > 0 && users_is_key(key, key_len) && memcmp(k + 1 + REFRESH_ID, us->scope, LINK_SCOPE) == 0)
		take_part(read_entry(us, k + 1), k[0], (struct view){ val, val_len });
	return true;
}

/* In the committer's thread. */
static void
read_all(void *arg, struct store *store)
{
	struct users *us = arg;

	if (store_each(store, STORE_TOKENS, read_one, us) != STORE_OK)
		return; /* who is not known is learnt again */
}

/* What was read of one that was learnt again meanwhile. */
static void
merge(struct user *known, struct user *e)
{
	if (known->secret == NULL) {
		known->secret = e->secret;
		e->secret = NULL;
		known->minted_s = known->minted_s > e->minted_s ? known->minted_s : e->minted_s;
	}
	entry_free(e);
}

static void
take_read(struct users *us, struct user *e)
{
	struct user *known = users_find(us, e->hash);
	bool room;

	if (known != NULL) {
		merge(known, e);
		return;
	}
	room = make_room(us) || e->secret != NULL; /* more than max_users were kept: it was lowered */
	enter(us, e);
	if (!room || e->claims == NULL)
		users_forget(us, e);
}

static int
honoured_cmp(const void *a, const void *b)
{
	uint64_t x = (*(struct user *const *)a)->honoured_ms, y = (*(struct user *const *)b)->honoured_ms;

	return x < y ? -1 : x > y;
}

/* The one honoured last comes last, as if they had been learnt in that order. */
static void
read_done(void *arg, struct spool_op *op)
{
	struct users *us = arg;
	struct user **all, *e;
	size_t n = 0;

	(void)op;
	TAILQ_FOREACH (e, &us->read, link)
		n++;
	all = relay_alloc((n + 1) * sizeof(*all));
	n = 0;
	while ((e = TAILQ_FIRST(&us->read)) != NULL) {
		tdelete(e, &us->read_tree, id_cmp);
		TAILQ_REMOVE(&us->read, e, link);
		all[n++] = e;
	}
	qsort(all, n, sizeof(struct user *), honoured_cmp);
	for (size_t i = 0; i < n; i++)
		take_read(us, all[i]);
	free(all);
}

struct users *
users_new(struct services *services)
{
	struct users *us = relay_alloc(sizeof(*us));

	us->services = services;
	link_scope(services->link, us->scope);
	TAILQ_INIT(&us->list);
	TAILQ_INIT(&us->read);
	if (credential_may_store(services->relay))
		spool_call(services->relay->spool, read_all, read_done, us);
	return us;
}

static void
free_list(struct user_list *list, void **tree)
{
	struct user *e;

	while ((e = TAILQ_FIRST(list)) != NULL) {
		tdelete(e, tree, id_cmp);
		TAILQ_REMOVE(list, e, link);
		entry_free(e);
	}
}

void
users_free(struct users *us)
{
	free_list(&us->list, &us->tree);
	free_list(&us->read, &us->read_tree);
	free(us);
}
