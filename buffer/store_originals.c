/* The table `originals`: what devices sent, of changesets that were pre-merged since.
 *
 *      file id (8 bytes) client version / 128 (8 bytes)  ->  record of originals (record.h)
 *
 * A device that was not acknowledged sends everything again.  What is held under such a version is then no longer what it sent, or
 * nothing at all; but a device that was restored from its own backup, and goes on under versions that it used before, must still be told
 * from one that only repeats itself (design section 5, Re-sent entries).  So of each changeset that changes or goes, the version and a
 * checksum stay here: five bytes, until upstream has acknowledged it.
 *
 * Versions share records by their number, not by when they came, so that none has to be split, joined or searched for. */
#include <string.h>

#include "buffer/be.h"
#include "buffer/record.h"
#include "buffer/store_int.h"

struct chunk {
	size_t n;
	struct store_original o[RECORD_CHUNK];
};

static DBT
key_dbt(uint8_t *k, uint64_t id, uint64_t number)
{
	be_put64(k, id);
	be_put64(k + 8, number);
	return store_dbt(k, STORE_CHANGESET_KEY);
}

/* A damaged one is as good as none: then the device's word is taken for what it is worth, as for any version that is not held. */
static enum store_err
chunk_get(struct store *s, uint64_t id, uint64_t number, struct chunk *c)
{
	uint8_t k[STORE_CHANGESET_KEY];
	DBT key = key_dbt(k, id, number), data = { 0 };
	int ret = s->originals->get(s->originals, s->txn, &key, &data, 0);

	c->n = 0;
	if (ret != 0)
		return store_db_error(s, ret);
	if (record_decode_originals(data.data, data.size, id, number, c->o, &c->n) == STORE_OK)
		return STORE_OK;
	c->n = 0;
	return STORE_NOTFOUND;
}

static enum store_err
chunk_put(struct store *s, uint64_t id, uint64_t number, const struct chunk *c)
{
	uint8_t k[STORE_CHANGESET_KEY], rec[RECORD_ORIGINALS_MAX];
	DBT key = key_dbt(k, id, number), data = store_dbt(rec, record_encode_originals(rec, id, number, c->o, c->n));

	return store_db_error(s, s->originals->put(s->originals, s->txn, &key, &data, 0));
}

/* Where client_version is in c, or belongs. */
static size_t
chunk_place(const struct chunk *c, uint64_t client_version)
{
	size_t i = 0;

	while (i < c->n && c->o[i].client_version < client_version)
		i++;
	return i;
}

static void
chunk_add(struct chunk *c, const struct store_original *o)
{
	size_t i = chunk_place(c, o->client_version);

	if (i < c->n && c->o[i].client_version == o->client_version) {
		c->o[i].gone |= o->gone;
		return;
	}
	memmove(&c->o[i + 1], &c->o[i], (c->n - i) * sizeof(c->o[0]));
	c->o[i] = *o;
	c->n++;
}

enum store_err
store_originals_note(struct store *s, uint64_t id, const struct store_original *o, size_t n)
{
	struct chunk c;
	enum store_err err;

	for (size_t i = 0; i < n;) {
		uint64_t number = o[i].client_version / RECORD_CHUNK;

		if ((err = chunk_get(s, id, number, &c)) != STORE_OK && err != STORE_NOTFOUND)
			return err;
		for (; i < n && o[i].client_version / RECORD_CHUNK == number; i++)
			chunk_add(&c, &o[i]);
		if ((err = chunk_put(s, id, number, &c)) != STORE_OK)
			return err;
	}
	return STORE_OK;
}

enum store_err
store_original_find(struct store *s, uint64_t id, uint64_t client_version, struct store_original *out)
{
	struct chunk c;
	enum store_err err = store_may_read(s);
	size_t i;

	if (err != STORE_OK || (err = chunk_get(s, id, client_version / RECORD_CHUNK, &c)) != STORE_OK)
		return err;
	i = chunk_place(&c, client_version);
	if (i == c.n || c.o[i].client_version != client_version)
		return STORE_NOTFOUND;
	*out = c.o[i];
	return STORE_OK;
}

/* Takes those up to upto out of one record. */
static enum store_err
chunk_cut(struct store *s, uint64_t id, uint64_t number, uint64_t upto, bool *some)
{
	uint8_t k[STORE_CHANGESET_KEY];
	struct chunk c;
	enum store_err err = chunk_get(s, id, number, &c);
	size_t n;
	DBT key;

	if (err != STORE_OK)
		return err == STORE_NOTFOUND ? STORE_OK : err;
	if ((n = chunk_place(&c, upto + 1)) == 0)
		return STORE_OK;
	*some = true;
	c.n -= n;
	memmove(&c.o[0], &c.o[n], c.n * sizeof(c.o[0]));
	if (c.n > 0)
		return chunk_put(s, id, number, &c);
	key = key_dbt(k, id, number);
	return store_db_error(s, s->originals->del(s->originals, s->txn, &key, 0));
}

enum store_err
store_originals_cut(struct store *s, uint64_t id, uint64_t upto, bool *some)
{
	uint64_t end = upto == UINT64_MAX ? UINT64_MAX : (upto + 1) / RECORD_CHUNK; /* the first that may hold a later version */
	uint8_t k[STORE_CHANGESET_KEY];
	DBT key = key_dbt(k, id, 0), data = { .flags = DB_DBT_PARTIAL };
	enum store_err err = STORE_OK;
	DBC *c;
	int ret, closed;

	if ((ret = s->originals->cursor(s->originals, s->txn, &c, 0)) != 0)
		return store_db_error(s, ret);
	for (ret = c->get(c, &key, &data, DB_SET_RANGE); ret == 0; ret = c->get(c, &key, &data, DB_NEXT)) {
		if (key.size != STORE_CHANGESET_KEY || be_get64(key.data) != id || be_get64((const uint8_t *)key.data + 8) >= end)
			break;
		if ((ret = c->del(c, 0)) != 0)
			break;
		*some = true;
	}
	if (ret != 0 && ret != DB_NOTFOUND)
		err = store_db_error(s, ret);
	if ((closed = c->close(c)) != 0 && err == STORE_OK)
		err = store_db_error(s, closed);
	return err == STORE_OK && end != UINT64_MAX ? chunk_cut(s, id, end, upto, some) : err;
}

/* ---- whole records, for export, import and the ladder ---- */

enum store_err
store_originals_after(struct store *s, uint64_t id, uint64_t number, uint8_t out[STORE_PACK_ORIGINALS_MAX], size_t *len,
		      struct store_originals_place *at)
{
	uint8_t k[STORE_CHANGESET_KEY];
	DBT key = key_dbt(k, id, number), data = { 0 };
	enum store_err err = store_may_read(s);
	DBC *c;
	int ret;

	_Static_assert(RECORD_ORIGINALS_MAX <= STORE_PACK_ORIGINALS_MAX, "packed originals fit");
	if (err != STORE_OK)
		return err;
	if ((ret = s->originals->cursor(s->originals, s->txn, &c, 0)) != 0)
		return store_db_error(s, ret);
	*len = 0;
	if ((ret = c->get(c, &key, &data, DB_SET_RANGE)) == 0 && key.size == STORE_CHANGESET_KEY) {
		*at = (struct store_originals_place){ be_get64(key.data), be_get64((const uint8_t *)key.data + 8) };
		if (data.size <= STORE_PACK_ORIGINALS_MAX)
			memcpy(out, data.data, *len = data.size);
	}
	(void)c->close(c);
	return ret != 0 ? store_db_error(s, ret) : *len == 0 ? STORE_CORRUPT : STORE_OK;
}

enum store_err
store_originals_put(struct store *s, uint64_t id, const uint8_t *buf, size_t len)
{
	struct chunk c;
	enum store_err err = store_may_write(s);

	if (err != STORE_OK)
		return err;
	if (len < RECORD_HEAD_LEN || record_decode_originals(buf, len, be_get64(buf + 16), be_get64(buf + 24), c.o, &c.n) != STORE_OK)
		return STORE_INVALID;
	return store_originals_note(s, id, c.o, c.n);
}
