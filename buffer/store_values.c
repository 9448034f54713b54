/* The tables `meta`, `tokens`, `idents` and `states`: small named values, kept as the caller gives them, without a record head.
 *
 * The store's own few numbers live in `meta` too, under keys that begin with a NUL byte; callers can neither see nor touch them. */
#include <string.h>

#include "buffer/be.h"
#include "buffer/store_int.h"

static DB *
table(const struct store *s, enum store_table t)
{
	switch (t) {
	case STORE_META:
		return s->meta;
	case STORE_TOKENS:
		return s->tokens;
	case STORE_IDENTS:
		return s->idents;
	case STORE_STATES:
		return s->states;
	}
	return NULL;
}

static bool
key_sane(enum store_table t, const void *key, size_t key_len)
{
	if (key_len == 0 || key_len > STORE_KEY_MAX)
		return false;
	return t != STORE_META || *(const uint8_t *)key != 0;
}

enum store_err
store_put(struct store *s, enum store_table t, const void *key, size_t key_len, const void *val, size_t val_len)
{
	DBT k = store_dbt(key, key_len), v = store_dbt(val, val_len);
	DB *db = table(s, t);
	enum store_err err = store_may_write(s);

	if (err != STORE_OK)
		return err;
	if (db == NULL || !key_sane(t, key, key_len) || val_len > STORE_VALUE_MAX)
		return STORE_INVALID;
	return store_db_error(s, db->put(db, s->txn, &k, &v, 0));
}

enum store_err
store_get(struct store *s, enum store_table t, const void *key, size_t key_len, void *val, size_t *val_len)
{
	DBT k = store_dbt(key, key_len), v = { 0 };
	DB *db = table(s, t);
	size_t room = *val_len;
	enum store_err err = store_may_read(s);
	int ret;

	if (err != STORE_OK)
		return err;
	if (db == NULL || !key_sane(t, key, key_len))
		return STORE_INVALID;
	if ((ret = db->get(db, s->txn, &k, &v, 0)) != 0)
		return store_db_error(s, ret);
	*val_len = v.size;
	if (v.size > room)
		return STORE_INVALID;
	if (v.size > 0)
		memcpy(val, v.data, v.size);
	return STORE_OK;
}

enum store_err
store_del(struct store *s, enum store_table t, const void *key, size_t key_len)
{
	DBT k = store_dbt(key, key_len);
	DB *db = table(s, t);
	enum store_err err = store_may_write(s);

	if (err != STORE_OK)
		return err;
	if (db == NULL || !key_sane(t, key, key_len))
		return STORE_INVALID;
	return store_db_error(s, db->del(db, s->txn, &k, 0));
}

enum store_err
store_each_after(struct store *s, enum store_table t, const void *after, size_t after_len,
		 bool (*each)(void *arg, const void *key, size_t key_len, const void *val, size_t val_len), void *arg)
{
	DBT k = store_dbt(after, after_len), v = { 0 };
	DB *db = table(s, t);
	enum store_err err = store_may_read(s);
	DBC *c;
	int ret;

	if (err != STORE_OK)
		return err;
	if (db == NULL)
		return STORE_INVALID;
	if ((ret = db->cursor(db, s->txn, &c, 0)) != 0)
		return store_db_error(s, ret);
	s->walking++;
	ret = c->get(c, &k, &v, after_len > 0 ? DB_SET_RANGE : DB_FIRST);
	if (ret == 0 && after_len > 0 && k.size == after_len && memcmp(k.data, after, after_len) == 0)
		ret = c->get(c, &k, &v, DB_NEXT);
	for (; ret == 0; ret = c->get(c, &k, &v, DB_NEXT)) {
		if (key_sane(t, k.data, k.size) && !each(arg, k.data, k.size, v.data, v.size))
			break;
	}
	s->walking--;
	(void)c->close(c);
	return ret == DB_NOTFOUND ? STORE_OK : store_db_error(s, ret);
}

enum store_err
store_each(struct store *s, enum store_table t, bool (*each)(void *arg, const void *key, size_t key_len, const void *val, size_t val_len),
	   void *arg)
{
	return store_each_after(s, t, "", 0, each, arg);
}

enum store_err
store_clear(struct store *s, enum store_table t)
{
	enum store_err err = store_may_write(s);
	DB *db = table(s, t);
	u_int32_t n;

	if (err != STORE_OK)
		return err;
	if (db == NULL || t == STORE_META)
		return STORE_INVALID;
	return store_db_error(s, db->truncate(db, s->txn, &n, 0));
}

enum store_err
store_own_get(struct store *s, const char *key, size_t key_len, uint64_t *out)
{
	DBT k = store_dbt(key, key_len), v = { 0 };
	int ret = s->meta->get(s->meta, s->txn, &k, &v, 0);

	if (ret != 0)
		return store_db_error(s, ret);
	if (v.size != 8)
		return STORE_CORRUPT;
	*out = be_get64(v.data);
	return STORE_OK;
}

enum store_err
store_own_put(struct store *s, const char *key, size_t key_len, uint64_t val)
{
	uint8_t bytes[8];
	DBT k = store_dbt(key, key_len), v = store_dbt(bytes, sizeof(bytes));

	be_put64(bytes, val);
	return store_db_error(s, s->meta->put(s->meta, s->txn, &k, &v, 0));
}
