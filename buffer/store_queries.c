/* The table `queries`: what clients of flexible sync asked for.
 *
 *      file id (8 bytes) query version (8 bytes)  ->  record of one query (record.h)
 *
 * A query has its place among the changesets of its file: it comes behind client version `place`.  Places never fall as query
 * versions rise, so the order of the table is the client's order.  The queries of a file are few (the relay bounds them) and are not
 * part of its backlog counters.
 *
 * The least of a file is the query that its client stands on; the others wait to be sent in their places.  The relay keeps it so, the
 * store does not mind. */
#include <string.h>

#include "buffer/be.h"
#include "buffer/record.h"
#include "buffer/store_int.h"

#define QUERY_KEY 16

static DBT
key_dbt(uint8_t *k, uint64_t id, uint64_t query_version)
{
	be_put64(k, id);
	be_put64(k + 8, query_version);
	return store_dbt(k, QUERY_KEY);
}

/* A walk over the queries of one file. */
struct walk {
	struct store *s;
	DBC *c;
	uint64_t id;
	int ret; /* of the last move */
	DBT key, data;
};

static void
walk_next(struct walk *w)
{
	w->ret = w->c->get(w->c, &w->key, &w->data, DB_NEXT);
}

/* To the first query of a version of at least low. */
static enum store_err
walk_begin(struct walk *w, struct store *s, uint64_t id, uint64_t low)
{
	static const DBT none;
	uint8_t k[QUERY_KEY];
	int ret;

	*w = (struct walk){ .s = s, .id = id };
	if ((ret = s->queries->cursor(s->queries, s->txn, &w->c, 0)) != 0)
		return store_db_error(s, ret);
	w->key = key_dbt(k, id, low);
	w->data = none;
	w->ret = w->c->get(w->c, &w->key, &w->data, DB_SET_RANGE); /* key points to libdb's memory from here on */
	return STORE_OK;
}

/* The query where the walk stands: STORE_NOTFOUND behind the last of the file. */
static enum store_err
walk_get(struct walk *w, struct store_query *out)
{
	if (w->ret != 0)
		return store_db_error(w->s, w->ret);
	if (w->key.size != QUERY_KEY)
		return STORE_CORRUPT;
	if (be_get64(w->key.data) != w->id)
		return STORE_NOTFOUND;
	return record_decode_query(w->data.data, w->data.size, w->id, be_get64((const uint8_t *)w->key.data + 8), out);
}

static enum store_err
walk_end(struct walk *w, enum store_err err)
{
	(void)w->c->close(w->c);
	return err == STORE_NOTFOUND ? STORE_OK : err;
}

enum store_err
store_query_each(struct store *s, uint64_t id, bool (*each)(void *arg, const struct store_query *q), void *arg)
{
	enum store_err err = store_may_read(s);
	struct store_query q;
	struct walk w;

	if (err != STORE_OK || (err = walk_begin(&w, s, id, 0)) != STORE_OK)
		return err;
	s->walking++;
	for (; (err = walk_get(&w, &q)) == STORE_OK && each(arg, &q); walk_next(&w))
		;
	s->walking--;
	return walk_end(&w, err);
}

struct barrier {
	uint64_t from, place;
};

static bool
nearest(void *arg, const struct store_query *q)
{
	struct barrier *b = arg;

	if (q->place >= b->from && q->place < b->place)
		b->place = q->place;
	return true;
}

enum store_err
store_query_barrier(struct store *s, uint64_t id, uint64_t from, uint64_t *place)
{
	struct barrier b = { from, UINT64_MAX };
	enum store_err err = store_query_each(s, id, nearest, &b);

	*place = b.place;
	return err;
}

/* Whether the query is held in these very bytes. */
static enum store_err
is_held(struct store *s, uint64_t id, const struct store_query *q, bool *held)
{
	struct store_query known;
	struct walk w;
	enum store_err err = walk_begin(&w, s, id, q->query_version);

	if (err != STORE_OK)
		return err;
	err = walk_get(&w, &known);
	*held = err == STORE_OK && known.query_version == q->query_version && known.place == q->place && known.len == q->len &&
		(q->len == 0 || memcmp(known.text, q->text, q->len) == 0);
	return walk_end(&w, err == STORE_CORRUPT ? STORE_OK : err); /* a damaged one is written anew */
}

enum store_err
store_query_put(struct store *s, uint64_t id, const struct store_query *q)
{
	uint8_t k[QUERY_KEY], *rec;
	DBT key = key_dbt(k, id, q->query_version), data;
	struct tally_row row;
	bool held;
	enum store_err err = store_may_write(s);

	if (err != STORE_OK)
		return err;
	if (q->len > STORE_QUERY_MAX || (q->len > 0 && q->text == NULL))
		return STORE_INVALID;
	if ((err = store_row_get(s, id, &row)) != STORE_OK || (err = is_held(s, id, q, &held)) != STORE_OK || held)
		return err;
	if (!store_has_room(s, &row, q->len))
		return STORE_FULL;
	if ((rec = store_scratch(s, record_query_size(q->len))) == NULL)
		return STORE_NOMEM;
	record_encode_query(rec, id, q);
	data = store_dbt(rec, record_query_size(q->len));
	return store_db_error(s, s->queries->put(s->queries, s->txn, &key, &data, 0));
}

enum store_err
store_query_cut(struct store *s, uint64_t id, uint64_t low, uint64_t high)
{
	enum store_err err = store_may_write(s);
	struct store_query q;
	struct walk w;
	int ret;

	if (err != STORE_OK || (err = walk_begin(&w, s, id, low)) != STORE_OK)
		return err;
	for (; (err = walk_get(&w, &q)) == STORE_OK || (err == STORE_CORRUPT && w.ret == 0); walk_next(&w)) {
		if (w.key.size != QUERY_KEY || be_get64((const uint8_t *)w.key.data + 8) > high)
			break;
		if ((ret = w.c->del(w.c, 0)) != 0)
			return walk_end(&w, store_db_error(s, ret));
	}
	return walk_end(&w, w.ret == 0 && err == STORE_CORRUPT && w.key.size == QUERY_KEY ? STORE_OK : err);
}
