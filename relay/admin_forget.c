/* What the buffer holds of one user, and taking it out: the steps of "holdfastctl forget".
 *
 *   forget-files USER AFTER             files above id AFTER that are USER's, an object each; unknown: of how many nobody knows whose they are
 *   forget-values USER TABLE AFTER [remove]   one slice of tokens, idents or names: those that are USER's are counted, or removed
 *   renew-log [begin]                   a step of taking what was removed out of the log and the base; done
 *   forget-file USER ID                 removes a file that has no backlog any more, with its tokens; and the STATE sets of its path, if
 *                                       no other user's file has that path
 *
 * A user is known by the claim "sub" of its tokens.  tokens: those that upstream accepted, requests that are kept for who left, and sessions of
 * App Services with their secrets and profiles.  Names of idents go after the idents, since they say whose those are. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/hex.h"

#include "relay/admin_int.h"
#include "relay/admit.h"
#include "relay/claims.h"
#include "relay/credential.h"
#include "relay/ident.h"
#include "relay/statedisk.h"
#include "relay/sweep.h"
#include "relay/userid.h"
#include "relay/users.h"

#define PAGE_FILES 64 /* looked at in one step */

struct who {
	struct view name;
	uint8_t id[USERID];
};

static bool
read_who(struct admin_op *op, struct who *w)
{
	w->name = view_of(op->q->word[1]);
	userid_of_name(w->name, w->id);
	if (w->name.len == 0)
		op->why = "name a user";
	return w->name.len > 0;
}

/* ---- files ---- */

enum store_err
admin_forget_files(struct admin_op *op)
{
	struct store_file *f = admin_file_room();
	uint64_t id = admin_number(op, 2), unknown = 0, damaged = 0;
	enum store_err err = STORE_OK;
	struct who w;

	if (f == NULL || !read_who(op, &w) || op->why != NULL) {
		free(f);
		return op->why != NULL ? STORE_INVALID : STORE_NOMEM;
	}
	for (unsigned n = 0; n < PAGE_FILES; n++) {
		err = store_file_after(op->s, id, f);
		if (err != STORE_OK && ((err != STORE_CORRUPT && err != STORE_VERSION) || f->id <= id))
			break;
		id = f->id;
		damaged += err != STORE_OK;
		unknown += err == STORE_OK && !userid_known(f->user);
		if (err == STORE_OK && userid_same(f->user, w.id))
			admin_add_file(&op->a->rows, f);
		err = STORE_OK;
	}
	free(f);
	json_u64(&op->a->last, "next", err == STORE_NOTFOUND ? 0 : id);
	json_u64(&op->a->last, "unknown", unknown + damaged);
	return err == STORE_NOTFOUND ? STORE_OK : err;
}

/* Is there another file, not `but`, of that path? */
static enum store_err
is_shared(struct store *s, const struct store_file *but, bool *shared)
{
	struct store_file *f = admin_file_room();
	enum store_err err = f == NULL ? STORE_NOMEM : STORE_OK;
	uint64_t id = 0;

	*shared = false;
	while (err == STORE_OK && !*shared) {
		err = store_file_after(s, id, f);
		if ((err == STORE_CORRUPT || err == STORE_VERSION) && f->id > id) {
			id = f->id;
			*shared = true; /* nobody knows whose it is */
			err = STORE_OK;
			continue;
		}
		id = f->id;
		*shared = err == STORE_OK && id != but->id && strcmp(f->path, but->path) == 0 && strcmp(f->endpoint, but->endpoint) == 0;
	}
	free(f);
	return err == STORE_NOTFOUND ? STORE_OK : err;
}

static bool
is_state_of(void *arg, const struct stateset *set)
{
	const struct store_file *f = arg;

	return strcmp(set->endpoint, f->endpoint) == 0 && strcmp(set->path, f->path) == 0;
}

/* The row, its request and tokens, and the idents that it allocated. */
static enum store_err
remove_row(struct store *s, const struct store_file *f)
{
	uint8_t credential[CREDENTIAL_KEY], alloc[IDENT_KEY];
	enum store_err err = store_begin(s);

	credential_key(credential, f->id);
	ident_alloc_key(f->endpoint, view_of(f->path), f->file_ident, f->file_ident_salt, alloc);
	if (err == STORE_OK && (err = store_file_remove(s, f->id)) == STORE_OK)
		err = store_del(s, STORE_TOKENS, credential, sizeof(credential));
	if (err == STORE_OK || err == STORE_NOTFOUND)
		err = ident_remove(s, alloc);
	return err == STORE_OK ? store_commit(s, true) : err;
}

enum store_err
admin_forget_file(struct admin_op *op)
{
	struct store_file *f = &op->a->forgotten;
	uint64_t id = admin_number(op, 2), states = 0, bytes = 0;
	bool shared = false;
	enum store_err err;
	struct who w;

	if (!read_who(op, &w) || op->why != NULL)
		return STORE_INVALID;
	if ((err = store_file_get(op->s, id, f)) != STORE_OK || !userid_same(f->user, w.id) || f->backlog_records > 0) {
		f->id = 0;
		return err == STORE_NOTFOUND ? admin_no(op, "no such file") : err != STORE_OK ? err
		       : admin_no(op, "it is not that user's, or has a backlog: discard that first");
	}
	if ((err = is_shared(op->s, f, &shared)) == STORE_OK && !shared)
		err = statedisk_drop_if(op->s, is_state_of, f, &states, &bytes);
	if (err == STORE_OK)
		err = remove_row(op->s, f);
	if (err != STORE_OK)
		f->id = 0;
	op->a->states_gone = !shared;
	json_u64(&op->a->last, "states", states);
	json_u64(&op->a->last, "states_bytes", bytes);
	json_bool(&op->a->last, "shared", shared);
	return err;
}

/* ---- tokens ---- */

/* Whether a JSON text has that user's name as the member `name`. */
static bool
says(struct view json, const char *name, const struct who *w)
{
	struct claim c;
	uint8_t id[USERID];

	if (!claims_find(json, &name, 1, &c) || c.kind != CLAIM_STRING)
		return false;
	userid_of_name(c.raw, id);
	return userid_same(id, w->id);
}

static bool
is_of_credential(const struct who *w, const void *val, size_t val_len)
{
	uint8_t bind[USERID] = { 0 }, head[USERID] = { 0 };
	struct credential k;

	if (!credential_unpack(&k, val, val_len))
		return false;
	userid_of_token(view_of(k.token), bind);
	userid_of_token(view_of(k.authorization), head);
	credential_wipe(&k);
	return userid_same(bind, w->id) || userid_same(head, w->id);
}

static enum sweep_verdict
judge_token(void *arg, const void *key, size_t key_len, const void *val, size_t val_len)
{
	const struct who *w = arg;
	uint8_t scope[LINK_SCOPE], user[USERID];
	uint64_t file;

	if (key_len == ADMIT_TOKEN_KEY)
		return admit_token_owner(val, val_len, scope, user) && userid_same(user, w->id) ? SWEEP_REMOVE : SWEEP_KEEP;
	if (credential_is_key(key, key_len, &file))
		return is_of_credential(w, val, val_len) ? SWEEP_REMOVE : SWEEP_KEEP;
	return users_is_key(key, key_len) && val_len > 0 ? SWEEP_REMOVE : SWEEP_KEEP; /* perhaps: confirm_token */
}

/* Of a user's session the entry says whose it is; it stands behind its profile and its secret, and goes last. */
static bool
confirm_token(void *arg, struct store *s, const void *key, size_t key_len)
{
	uint8_t entry[64], val[STORE_VALUE_MAX];
	size_t n = sizeof(val);
	struct view claims;

	if (!users_is_key(key, key_len))
		return true;
	memcpy(entry, key, key_len);
	entry[0] = 'u';
	return store_get(s, STORE_TOKENS, entry, key_len, val, &n) == STORE_OK && users_claims((struct view){ val, n }, &claims) &&
	       says(claims, "sub", arg);
}

/* ---- idents ---- */

static bool
is_of_name(const struct who *w, const void *key, size_t key_len, const void *val, size_t val_len)
{
	uint8_t have[IDENT_KEY], want[IDENT_KEY];
	struct ident_pair pair;

	if (!ident_parse_name(&pair, have, key, key_len, val, val_len))
		return false;
	ident_user_key(&pair, w->name, want);
	return memcmp(have, want, IDENT_KEY) == 0;
}

static enum sweep_verdict
judge_name(void *arg, const void *key, size_t key_len, const void *val, size_t val_len)
{
	return is_of_name(arg, key, key_len, val, val_len) ? SWEEP_REMOVE : SWEEP_KEEP;
}

static enum sweep_verdict
judge_list(void *arg, const void *key, size_t key_len, const void *val, size_t val_len)
{
	uint8_t list[IDENT_KEY];

	(void)arg;
	(void)val;
	(void)val_len;
	return ident_list_key(key, key_len, list) ? SWEEP_REMOVE : SWEEP_KEEP; /* perhaps: confirm_list */
}

static bool
confirm_list(void *arg, struct store *s, const void *key, size_t key_len)
{
	uint8_t list[IDENT_KEY], buf[IDENT_NAME_KEY], val[STORE_VALUE_MAX];
	size_t n = sizeof(val);
	struct view name;

	if (!ident_list_key(key, key_len, list))
		return false;
	name = ident_name_key(buf, list);
	return store_get(s, STORE_IDENTS, name.ptr, name.len, val, &n) == STORE_OK && is_of_name(arg, name.ptr, name.len, val, n);
}

/* ---- a slice of any ---- */

static const struct {
	const char *name;
	enum store_table table;
	sweep_judge *judge;
	sweep_confirm *confirm;
} tables[] = {
	{ "tokens", STORE_TOKENS, judge_token, confirm_token },
	{ "idents", STORE_IDENTS, judge_list, confirm_list },
	{ "names", STORE_IDENTS, judge_name, NULL },
};

enum store_err
admin_forget_values(struct admin_op *op)
{
	const char *after = op->q->word[3];
	struct sweep *s = calloc(1, sizeof(*s));
	char next[2 * STORE_KEY_MAX + 1];
	enum store_err err;
	struct who w;
	size_t i = 0, n = strlen(after) / 2;

	if (s == NULL)
		return STORE_NOMEM;
	while (i < sizeof(tables) / sizeof(tables[0]) && strcmp(tables[i].name, op->q->word[2]) != 0)
		i++;
	s->look = op->q->nword < 5 || strcmp(op->q->word[4], "remove") != 0;
	if (strcmp(after, "-") == 0)
		n = 0;
	if (i == sizeof(tables) / sizeof(tables[0]) || n > STORE_KEY_MAX || !hex_bytes((const uint8_t *)after, n, s->after) || !read_who(op, &w)) {
		free(s);
		return admin_no(op, "want a user, a table and a key");
	}
	s->table = tables[i].table;
	s->after_len = n;
	err = sweep_slice(s, op->s, tables[i].judge, tables[i].confirm, &w);
	hex_text(s->after, s->after_len, next);
	json_u64(&op->a->last, "values", s->removed);
	json_u64(&op->a->last, "bytes", s->bytes);
	json_bool(&op->a->last, "done", s->done);
	json_str(&op->a->last, "next", s->after_len > 0 ? next : "-");
	free(s);
	return err;
}

enum store_err
admin_renew_log(struct admin_op *op)
{
	bool begin = op->q->nword > 1 && strcmp(op->q->word[1], "begin") == 0;
	enum store_err err = begin ? store_renew_log(op->s) : store_checkpoint(op->s, false);

	json_bool(&op->a->last, "done", !begin && store_log_is_new(op->s));
	json_bool(&op->a->last, "busy", store_busy(op->s));
	return err;
}
