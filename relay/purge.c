/* What is taken out of which table; see purge.h.  Never logs. */
#include <stdlib.h>
#include <string.h>

#include "relay/admit.h"
#include "relay/credential.h"
#include "relay/ident.h"
#include "relay/journal.h"
#include "relay/link.h"
#include "relay/location.h"
#include "relay/purge.h"
#include "relay/relay.h"
#include "relay/sign.h"
#include "relay/statedisk.h"
#include "relay/sweep.h"
#include "relay/users.h"

#define FILES_A_STEP 64 /* files removed in one transaction */

struct purge {
	struct store *s;
	struct journal *j;
	const struct link *l;
	uint8_t scope[LINK_SCOPE];
	struct purge_sum *sum;
};

/* ---- files ---- */

static bool
may_go(const struct purge *p, const struct store_file *f)
{
	return link_has_endpoint(p->l, f->endpoint) && f->backlog_records == 0 && f->state == STORE_FILE_OK;
}

static enum store_err
remove_file(const struct purge *p, const struct store_file *f)
{
	uint8_t key[CREDENTIAL_KEY];
	enum store_err err = store_file_remove(p->s, f->id);

	credential_key(key, f->id);
	if (err == STORE_OK && (err = store_del(p->s, STORE_TOKENS, key, sizeof(key))) == STORE_NOTFOUND)
		err = STORE_OK;
	return err;
}

/* Up to FILES_A_STEP behind *after; *after 0: there are no more. */
static enum store_err
files_step(struct purge *p, uint64_t *after, struct store_file *f)
{
	enum store_err err = store_begin(p->s);

	for (unsigned n = 0; n < FILES_A_STEP && err == STORE_OK;) {
		enum store_err found = store_file_after(p->s, *after, f);

		if (found == STORE_NOTFOUND || ((found == STORE_CORRUPT || found == STORE_VERSION) && f->id <= *after)) {
			*after = 0;
			break;
		}
		if (found != STORE_OK && found != STORE_CORRUPT && found != STORE_VERSION) {
			err = found;
			break;
		}
		*after = f->id;
		if (found != STORE_OK || !may_go(p, f))
			continue;
		err = remove_file(p, f);
		journal_forget(p->j, f); /* before the row is gone for good: at the next start it is noted anew if it is still owed */
		p->sum->files++;
		n++;
	}
	if (err == STORE_OK)
		return store_commit(p->s, false);
	store_abort(p->s);
	return err;
}

static enum store_err
purge_files(struct purge *p)
{
	struct store_file *f = relay_alloc(sizeof(*f));
	enum store_err err = STORE_OK;
	uint64_t after = 0;

	do
		err = files_step(p, &after, f);
	while (err == STORE_OK && after != 0);
	free(f);
	return err;
}

/* ---- states ---- */

static bool
is_state_of(void *arg, const struct stateset *set)
{
	const struct purge *p = arg;

	return link_has_endpoint(p->l, set->endpoint);
}

static enum store_err
purge_states(struct purge *p)
{
	uint64_t bytes = 0;

	return statedisk_drop_if(p->s, is_state_of, p, &p->sum->states, &bytes);
}

/* ---- tokens ---- */

/* A token of which nobody knows whose it is goes as well: to be admitted by it where it was never accepted would be worse. */
static enum sweep_verdict
judge_token(void *arg, const void *key, size_t key_len, const void *val, size_t val_len)
{
	const struct purge *p = arg;
	uint8_t scope[LINK_SCOPE], user[USERID];
	const uint8_t *k = key;
	bool ours = false;

	if (key_len == ADMIT_TOKEN_KEY)
		ours = !admit_token_owner(val, val_len, scope, user) || memcmp(scope, p->scope, LINK_SCOPE) == 0;
	else if (users_is_key(key, key_len) || sign_is_key(key, key_len))
		ours = memcmp(k + key_len - LINK_SCOPE, p->scope, LINK_SCOPE) == 0;
	return ours ? SWEEP_REMOVE : SWEEP_KEEP;
}

static enum store_err
purge_tokens(struct purge *p)
{
	struct sweep w = { .table = STORE_TOKENS };
	enum store_err err = sweep_all(&w, p->s, judge_token, NULL, p);

	p->sum->tokens = w.removed;
	return err;
}

/* ---- meta ---- */

/* Values by endpoint, behind a prefix. */
struct named {
	const struct purge *p;
	const char *prefix;
};

static enum sweep_verdict
judge_named(void *arg, const void *key, size_t key_len, const void *val, size_t val_len)
{
	const struct named *x = arg;
	size_t n = strlen(x->prefix);
	char *endpoint;
	bool ours;

	(void)val;
	(void)val_len;
	if (key_len < n || memcmp(key, x->prefix, n) != 0)
		return SWEEP_END;
	endpoint = relay_strndup((const char *)key + n, key_len - n);
	ours = link_has_endpoint(x->p->l, endpoint);
	free(endpoint);
	return ours ? SWEEP_REMOVE : SWEEP_KEEP;
}

static enum store_err
purge_named(const struct purge *p, const char *prefix, uint64_t *removed)
{
	struct sweep w = { .table = STORE_META, .after_len = strlen(prefix) };
	struct named x = { p, prefix };
	enum store_err err;

	memcpy(w.after, prefix, w.after_len);
	err = sweep_all(&w, p->s, judge_named, NULL, &x);
	*removed = w.removed;
	return err;
}

static enum store_err
purge_path(struct purge *p)
{
	char key[LINK_KEY_MAX];
	enum store_err err = store_begin(p->s);

	link_meta_key(p->l, LINK_PATH_KEY, key);
	if (err == STORE_OK)
		err = store_del(p->s, STORE_META, key, strlen(key));
	if (err == STORE_OK)
		return store_commit(p->s, false);
	store_abort(p->s);
	return err == STORE_NOTFOUND ? STORE_OK : err;
}

static enum store_err
purge_idents(struct purge *p)
{
	char *endpoint = link_endpoint(p->l, view_of(""));
	uint8_t scope[IDENT_SCOPE];

	ident_scope(endpoint, scope);
	free(endpoint);
	return ident_burn(p->s, scope);
}

enum store_err
purge_upstream(struct store *s, struct journal *j, const struct link *l, bool sync, struct purge_sum *sum)
{
	struct purge p = { .s = s, .j = j, .l = l, .sum = sum };
	enum store_err err = STORE_OK;

	memset(sum, 0, sizeof(*sum));
	link_scope(l, p.scope);
	if (sync && ((err = purge_idents(&p)) != STORE_OK || (err = purge_states(&p)) != STORE_OK ||
		     (err = purge_named(&p, ADMIT_AGREED, &sum->versions)) != STORE_OK ||
		     (err = purge_path(&p)) != STORE_OK || (err = purge_files(&p)) != STORE_OK))
		return err;
	if ((err = purge_named(&p, LOCATION_KEY, &sum->locations)) != STORE_OK)
		return err;
	return purge_tokens(&p);
}
