/* Reserved client file idents on disk; see ident.h.
 *
 * The one idea: an ident leaves the table in a durable transaction of its own before anybody is told about it.  What fails, is cut off or
 * killed after that wastes an ident, which costs nothing; it can never give one to two clients, which the server would take for one
 * device that went back in time. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/base64url.h"
#include "relay/be64.h"
#include "relay/ident.h"
#include "relay/tls.h"

/* ---- the user of a token ---- */

/* The middle one of exactly three parts. */
static struct view
payload_of(struct view token)
{
	struct view none = { NULL, 0 };
	const uint8_t *end, *a, *b;

	if (token.len == 0 || (a = memchr(token.ptr, '.', token.len)) == NULL)
		return none;
	end = token.ptr + token.len;
	b = memchr(a + 1, '.', (size_t)(end - a - 1));
	if (b == NULL || memchr(b + 1, '.', (size_t)(end - b - 1)) != NULL)
		return none;
	return (struct view){ a + 1, (size_t)(b - a - 1) };
}

/* p is behind an opening quote; returns the closing one, or NULL. */
static const uint8_t *
string_end(const uint8_t *p, const uint8_t *end)
{
	for (; p < end && *p != '"'; p++)
		if (*p == '\\')
			p++;
	return p < end ? p : NULL;
}

static const uint8_t *
skip_space(const uint8_t *p, const uint8_t *end)
{
	while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'))
		p++;
	return p;
}

/* The string value of "sub" in the outermost object; other values may be of any kind. */
static struct view
find_subject(struct view json)
{
	const uint8_t *p = json.ptr, *end = json.ptr + json.len, *from, *q;
	unsigned depth = 0;

	for (; p < end; p++) {
		if (*p == '{' || *p == '[')
			depth++;
		else if (*p == '}' || *p == ']')
			depth -= depth > 0;
		if (*p != '"')
			continue;
		from = p + 1;
		if ((p = string_end(from, end)) == NULL)
			break;
		q = skip_space(p + 1, end);
		if (depth != 1 || q == end || *q != ':' || !view_eq((struct view){ from, (size_t)(p - from) }, view_of("sub")))
			continue;
		q = skip_space(q + 1, end);
		if (q == end || *q != '"' || (p = string_end(q + 1, end)) == NULL)
			break;
		return (struct view){ q + 1, (size_t)(p - q - 1) };
	}
	return (struct view){ NULL, 0 };
}

struct view
ident_subject(struct view token, uint8_t buf[IDENT_PAYLOAD_MAX])
{
	struct view payload = payload_of(token);
	size_t n;

	while (payload.len > 0 && payload.ptr[payload.len - 1] == '=')
		payload.len--; /* some pad */
	if (!base64url_decode(payload, buf, IDENT_PAYLOAD_MAX, &n))
		n = 0;
	return find_subject((struct view){ buf, n });
}

static struct view
without_scheme(struct view token)
{
	static const char scheme[] = "Bearer ";
	const size_t n = sizeof(scheme) - 1;

	if (token.len >= n && memcmp(token.ptr, scheme, n) == 0)
		return (struct view){ token.ptr + n, token.len - n };
	return token;
}

#define HASH (IDENT_KEY - IDENT_SCOPE)

static const uint8_t no_scope[IDENT_SCOPE];

void
ident_scope(const char *endpoint, uint8_t scope[IDENT_SCOPE])
{
	size_t n = strcspn(endpoint, "/");
	uint8_t hash[32];

	memcpy(scope, no_scope, IDENT_SCOPE);
	if (memchr(endpoint, ':', n) == NULL)
		return;
	tls_sha256(endpoint, n, hash);
	memcpy(scope, hash, IDENT_SCOPE);
}

enum { BY_SUBJECT = 1, OF_SUBSERVER = 2, BY_ALLOC = 4 }; /* kinds of keys: one is never taken for another */

/* who: a subject, or the whole token of a user that has none. */
static void
make_key(const struct ident_pair *pair, struct view who, bool by_subject, uint8_t key[IDENT_KEY])
{
	uint8_t part[4][32];

	memset(part[3], (by_subject ? BY_SUBJECT : 0) | (pair->is_subserver ? OF_SUBSERVER : 0), sizeof(part[3]));
	tls_sha256(pair->endpoint, strlen(pair->endpoint), part[0]);
	tls_sha256(pair->path.ptr, pair->path.len, part[1]);
	tls_sha256(who.ptr, who.len, part[2]);
	ident_scope(pair->endpoint, key);
	tls_sha256(part, sizeof(part), key + IDENT_SCOPE);
}

void
ident_key(const struct ident_pair *pair, struct view token, uint8_t key[IDENT_KEY])
{
	uint8_t payload[IDENT_PAYLOAD_MAX];
	struct view subject;

	token = without_scheme(token);
	subject = ident_subject(token, payload);
	make_key(pair, subject.len > 0 ? subject : token, subject.len > 0, key);
	explicit_bzero(payload, sizeof(payload));
}

void
ident_user_key(const struct ident_pair *pair, struct view name, uint8_t key[IDENT_KEY])
{
	make_key(pair, name, true, key);
}

void
ident_alloc_key(const char *endpoint, struct view path, uint64_t file_ident, uint64_t salt, uint8_t key[IDENT_KEY])
{
	uint8_t part[4][32], file[16];

	be64_put(file, file_ident);
	be64_put(file + 8, salt);
	tls_sha256(endpoint, strlen(endpoint), part[0]);
	tls_sha256(path.ptr, path.len, part[1]);
	tls_sha256(file, sizeof(file), part[2]);
	memset(part[3], BY_ALLOC, sizeof(part[3]));
	ident_scope(endpoint, key);
	tls_sha256(part, sizeof(part), key + IDENT_SCOPE);
}

/* ---- keys in the table ---- */

/* As it stands there: without a scope of zeros. */
static struct view
stored_key(const uint8_t key[IDENT_KEY])
{
	size_t skip = memcmp(key, no_scope, IDENT_SCOPE) == 0 ? IDENT_SCOPE : 0;

	return (struct view){ key + skip, IDENT_KEY - skip };
}

/* False: this is no key of a list. */
static bool
read_key(struct view stored, uint8_t key[IDENT_KEY])
{
	if (stored.len != IDENT_KEY && stored.len != HASH)
		return false;
	memset(key, 0, IDENT_KEY);
	memcpy(key + IDENT_KEY - stored.len, stored.ptr, stored.len);
	return true;
}

bool
ident_list_key(const void *key, size_t len, uint8_t out[IDENT_KEY])
{
	return read_key((struct view){ key, len }, out);
}

struct view
ident_name_key(uint8_t out[IDENT_NAME_KEY], const uint8_t key[IDENT_KEY])
{
	struct view stored = stored_key(key);

	out[0] = 'n';
	memcpy(out + 1, stored.ptr, stored.len);
	return (struct view){ out, 1 + stored.len };
}

static bool
read_name_key(struct view stored, uint8_t key[IDENT_KEY])
{
	return stored.len > 0 && stored.ptr[0] == 'n' && read_key((struct view){ stored.ptr + 1, stored.len - 1 }, key);
}

/* ---- names ---- */

size_t
ident_format_name(const struct ident_pair *pair, uint8_t out[IDENT_NAME_MAX])
{
	size_t n = strlen(pair->endpoint) + 1;

	if (1 + n + pair->path.len > IDENT_NAME_MAX)
		return 0;
	out[0] = pair->is_subserver;
	memcpy(out + 1, pair->endpoint, n);
	memcpy(out + 1 + n, pair->path.ptr, pair->path.len);
	return 1 + n + pair->path.len;
}

bool
ident_parse_name(struct ident_pair *pair, uint8_t key_out[IDENT_KEY], const void *key, size_t key_len, const void *val, size_t val_len)
{
	const uint8_t *v = val, *nul;

	if (!read_name_key((struct view){ key, key_len }, key_out) || val_len < 3 || val_len > IDENT_NAME_MAX || v[0] > 1 ||
	    (nul = memchr(v + 1, '\0', val_len - 1)) == NULL)
		return false;
	*pair = (struct ident_pair){ (const char *)v + 1, { nul + 1, (size_t)(v + val_len - nul - 1) }, v[0] == 1 };
	return true;
}

/* ---- the list ---- */

size_t
ident_format(const struct ident_list *l, char out[STORE_VALUE_MAX])
{
	size_t n = (size_t)snprintf(out, STORE_VALUE_MAX, "%llu\n", (unsigned long long)l->seen_ms);

	for (size_t i = 0; i < l->n; i++)
		n += (size_t)snprintf(out + n, STORE_VALUE_MAX - n, "%llu %llu %llu\n", (unsigned long long)l->at[i].file_ident,
				      (unsigned long long)l->at[i].salt, (unsigned long long)l->at[i].obtained_ms);
	return n;
}

/* Takes a decimal number and the byte `after` behind it. */
static bool
number(struct view *v, char after, uint64_t *out)
{
	size_t i = 0;

	*out = 0;
	for (; i < v->len && v->ptr[i] >= '0' && v->ptr[i] <= '9'; i++) {
		if (*out > (UINT64_MAX - 9) / 10)
			return false;
		*out = *out * 10 + (uint64_t)(v->ptr[i] - '0');
	}
	if (i == 0 || i == v->len || v->ptr[i] != after)
		return false;
	v->ptr += i + 1;
	v->len -= i + 1;
	return true;
}

bool
ident_parse(struct ident_list *l, const void *val, size_t len)
{
	struct view v = { val, len };

	memset(l, 0, sizeof(*l));
	if (!number(&v, '\n', &l->seen_ms))
		return false;
	while (v.len > 0) {
		struct ident *id = &l->at[l->n];

		if (l->n == IDENT_POOL_MAX || !number(&v, ' ', &id->file_ident) || !number(&v, ' ', &id->salt) ||
		    !number(&v, '\n', &id->obtained_ms) || id->file_ident == 0)
			return false;
		l->n++;
	}
	return true;
}

uint64_t
ident_age(uint64_t now_ms, uint64_t then_ms)
{
	return now_ms > then_ms ? now_ms - then_ms : 0;
}

static void
remove_first(struct ident_list *l, size_t n)
{
	l->n -= n;
	memmove(l->at, l->at + n, l->n * sizeof(l->at[0]));
}

void
ident_expire(struct ident_list *l, uint64_t now_ms, uint64_t max_age_ms)
{
	size_t kept = 0;

	for (size_t i = 0; i < l->n; i++)
		if (ident_age(now_ms, l->at[i].obtained_ms) < max_age_ms)
			l->at[kept++] = l->at[i];
	l->n = kept;
}

size_t
ident_younger(const struct ident_list *l, uint64_t now_ms, uint64_t age_ms)
{
	size_t n = 0;

	for (size_t i = 0; i < l->n; i++)
		n += ident_age(now_ms, l->at[i].obtained_ms) < age_ms;
	return n;
}

void
ident_add(struct ident_list *l, const struct ident *id, size_t keep)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->at[i].file_ident == id->file_ident)
			return;
	if (keep > IDENT_POOL_MAX)
		keep = IDENT_POOL_MAX;
	if (l->n >= keep)
		remove_first(l, l->n - keep + (keep > 0));
	if (keep > 0)
		l->at[l->n++] = *id;
}

/* ---- steps on the store ---- */

/* A value that cannot be read is no reason to stop: what is in it is not given out. */
static enum store_err
load(struct store *s, struct ident_op *op)
{
	char val[STORE_VALUE_MAX];
	size_t len = sizeof(val);
	struct view key = stored_key(op->key);
	enum store_err err = store_get(s, STORE_IDENTS, key.ptr, key.len, val, &len);

	if (err == STORE_OK && !ident_parse(&op->list, val, len))
		err = STORE_NOTFOUND;
	if (err != STORE_OK)
		memset(&op->list, 0, sizeof(op->list));
	ident_expire(&op->list, op->now_ms, op->max_age_ms);
	return err;
}

static enum store_err
write_list(struct store *s, const struct ident_op *op)
{
	char val[STORE_VALUE_MAX];
	struct view key = stored_key(op->key);

	return store_put(s, STORE_IDENTS, key.ptr, key.len, val, ident_format(&op->list, val));
}

static enum store_err
write_name(struct store *s, const struct ident_op *op)
{
	uint8_t buf[IDENT_NAME_KEY];
	struct view key = ident_name_key(buf, op->key);

	return op->name_len > 0 ? store_put(s, STORE_IDENTS, key.ptr, key.len, op->name, op->name_len) : STORE_OK;
}

static enum store_err
remove_key(struct store *s, struct view key)
{
	enum store_err err = store_del(s, STORE_IDENTS, key.ptr, key.len);

	return err == STORE_NOTFOUND ? STORE_OK : err;
}

enum store_err
ident_remove(struct store *s, const uint8_t key[IDENT_KEY])
{
	uint8_t name[IDENT_NAME_KEY];
	enum store_err err = remove_key(s, ident_name_key(name, key));

	return err == STORE_OK ? remove_key(s, stored_key(key)) : err;
}

/* Ends the transaction: err, or what became of the commit. */
static enum store_err
finish(struct store *s, enum store_err err)
{
	if (err == STORE_OK)
		return store_commit(s, true);
	store_abort(s);
	return err;
}

void
ident_take(struct store *s, struct ident_op *op)
{
	struct ident first;

	op->taken = (struct ident){ 0 };
	op->err = load(s, op);
	if (op->err != STORE_OK || op->list.n == 0)
		return;
	first = op->list.at[0];
	remove_first(&op->list, 1);
	op->list.seen_ms = op->now_ms;
	if ((op->err = store_begin(s)) == STORE_OK && (op->err = finish(s, write_list(s, op))) == STORE_OK)
		op->taken = first;
}

void
ident_look(struct store *s, struct ident_op *op)
{
	op->err = load(s, op);
	if (op->err == STORE_NOTFOUND)
		op->err = STORE_OK;
}

struct oldest {
	size_t n;
	uint64_t seen_ms;
	uint8_t key[IDENT_KEY];
};

static bool
look_for_oldest(void *arg, const void *key, size_t key_len, const void *val, size_t val_len)
{
	struct oldest *o = arg;
	uint8_t pair[IDENT_KEY];
	struct ident_list l;

	if (!read_key((struct view){ key, key_len }, pair))
		return true;
	if (!ident_parse(&l, val, val_len))
		l.seen_ms = 0;
	if (o->n++ == 0 || l.seen_ms < o->seen_ms) {
		o->seen_ms = l.seen_ms;
		memcpy(o->key, pair, IDENT_KEY);
	}
	return true;
}

void
ident_keep(struct store *s, struct ident_op *op)
{
	enum store_err found = load(s, op), err = STORE_OK;
	struct oldest o = { 0 };

	if (found == STORE_NOTFOUND)
		err = store_each(s, STORE_IDENTS, look_for_oldest, &o);
	else if (found != STORE_OK)
		err = found;
	op->list.seen_ms = op->now_ms;
	for (size_t i = 0; i < op->add.n; i++)
		ident_add(&op->list, &op->add.at[i], op->keep);
	if (err == STORE_OK && (err = store_begin(s)) == STORE_OK) {
		if (o.n >= IDENT_PAIRS_MAX)
			err = ident_remove(s, o.key);
		if (err == STORE_OK)
			err = write_name(s, op);
		err = finish(s, err == STORE_OK ? write_list(s, op) : err);
	}
	op->err = err;
}

void
ident_drop(struct store *s, struct ident_op *op)
{
	memset(&op->list, 0, sizeof(op->list));
	if ((op->err = store_begin(s)) != STORE_OK)
		return;
	op->err = finish(s, remove_key(s, stored_key(op->key)));
}

struct burning {
	const uint8_t *scope;
	uint8_t key[IDENT_NAME_KEY]; /* the one found last */
	size_t len;
	bool found;
};

static bool
look_for_scope(void *arg, const void *key, size_t key_len, const void *val, size_t val_len)
{
	struct burning *b = arg;
	struct view stored = { key, key_len };
	uint8_t pair[IDENT_KEY];

	(void)val;
	(void)val_len;
	b->found = (read_key(stored, pair) || read_name_key(stored, pair)) && memcmp(pair, b->scope, IDENT_SCOPE) == 0;
	if (b->found) {
		memcpy(b->key, key, key_len);
		b->len = key_len;
	}
	return !b->found;
}

/* One by one, for nothing may be removed while the table is walked. */
enum store_err
ident_burn(struct store *s, const uint8_t scope[IDENT_SCOPE])
{
	struct burning b = { .scope = scope, .found = true };
	enum store_err err = store_begin(s);

	if (err != STORE_OK)
		return err;
	while (err == STORE_OK && b.found) {
		b.found = false;
		err = store_each_after(s, STORE_IDENTS, b.key, b.len, look_for_scope, &b);
		if (err == STORE_OK && b.found)
			err = remove_key(s, (struct view){ b.key, b.len });
	}
	return finish(s, err);
}
