/* STATE sets on disk; see statedisk.h.
 *
 * The head is written first, as incomplete, and again when the last segment is there; it is removed last: what a crash leaves behind is found
 * by its head at the next start.  Never logs, and knows nothing of who is served. */
#include <stdlib.h>
#include <string.h>

#include "relay/be64.h"
#include "relay/relay.h"
#include "relay/statedisk.h"

#define HEAD_NUMBERS 9
#define EMPTY_MAX (STATEDISK_PENDING_MAX / STATEDISK_CHUNK) /* chunks missing in a row (their commit failed) behind which there are no more */

static size_t
chunk_key(uint8_t key[13], uint64_t id, uint32_t chunk)
{
	key[0] = 'S';
	be64_put(key + 1, id);
	for (unsigned i = 0; i < 4; i++)
		key[9 + i] = (uint8_t)(chunk >> (24 - 8 * i));
	return 13;
}

static size_t
head_key(uint8_t key[9], uint64_t id)
{
	key[0] = 'H';
	be64_put(key + 1, id);
	return 9;
}

/* Head: numbers, then endpoint and path, each with its NUL. */
static size_t
format_head(const struct stateset *set, uint8_t *out)
{
	const uint64_t numbers[HEAD_NUMBERS] = { set->version, set->salt, set->latest_salt, set->limits[0], set->limits[1],
		set->limits[2], set->limits[3], set->bytes, set->max_offset };
	size_t len = 0, n;

	for (size_t i = 0; i < HEAD_NUMBERS; i++, len += 8)
		be64_put(out + len, numbers[i]);
	out[len++] = set->complete;
	n = strlen(set->endpoint) + 1;
	memcpy(out + len, set->endpoint, n);
	len += n;
	n = strlen(set->path) + 1;
	memcpy(out + len, set->path, n);
	return len + n;
}

uint8_t *
statedisk_head(const struct stateset *set, size_t *len)
{
	uint8_t *out = relay_alloc(HEAD_NUMBERS * 8 + 1 + strlen(set->endpoint) + strlen(set->path) + 2);

	*len = format_head(set, out);
	return out;
}

void
statedisk_set_free(struct stateset *set)
{
	free(set->endpoint);
	free(set->path);
	free(set);
}

/* NULL: it is not a head. */
static struct stateset *
parse_head(const uint8_t *key, size_t key_len, const uint8_t *val, size_t len)
{
	const size_t text = HEAD_NUMBERS * 8 + 1;
	const uint8_t *endpoint = val + text, *path;
	struct stateset *set;

	if (key_len != 9 || len < text + 2 || val[len - 1] != 0 || (path = memchr(endpoint, 0, len - text)) == val + len - 1)
		return NULL;
	path++;
	set = relay_alloc(sizeof(*set));
	set->id = be64_get(key + 1);
	set->version = be64_get(val);
	set->salt = be64_get(val + 8);
	set->latest_salt = be64_get(val + 16);
	for (size_t i = 0; i < 4; i++)
		set->limits[i] = be64_get(val + 24 + 8 * i);
	set->bytes = be64_get(val + 56);
	set->max_offset = be64_get(val + 64);
	set->complete = val[72] != 0;
	set->endpoint = relay_strndup(endpoint, strlen((const char *)endpoint));
	set->path = relay_strndup(path, strlen((const char *)path));
	return set;
}

static bool
found_head(void *arg, const void *key, size_t key_len, const void *val, size_t val_len)
{
	struct statedisk_step *st = arg;
	struct stateset *set;

	if (*(const uint8_t *)key != 'H')
		return false;
	set = parse_head(key, key_len, val, val_len);
	if (set != NULL)
		TAILQ_INSERT_TAIL(&st->found, set, link);
	return true;
}

static enum store_err
put_chunks(struct statedisk_step *st, struct store *store)
{
	uint8_t key[13];
	enum store_err err = STORE_OK;

	if (st->kind == STEP_HEAD)
		return store_put(store, STORE_STATES, key, head_key(key, st->id), st->data, st->len);
	for (size_t at = 0; at < st->len && err == STORE_OK; at += STATEDISK_CHUNK) {
		size_t n = st->len - at < STATEDISK_CHUNK ? st->len - at : STATEDISK_CHUNK;

		err = store_put(store, STORE_STATES, key, chunk_key(key, st->id, st->chunk++), st->data + at, n);
	}
	return err;
}

/* The head goes last, so that a crash between two steps leaves something to be found. */
static enum store_err
drop_chunks(struct statedisk_step *st, struct store *store)
{
	uint8_t key[13];
	enum store_err err = STORE_OK;

	for (unsigned n = 0; n < STATEDISK_STEP_CHUNKS && (err == STORE_OK || err == STORE_NOTFOUND); n++) {
		err = store_del(store, STORE_STATES, key, chunk_key(key, st->id, st->chunk++));
		st->missing = err == STORE_NOTFOUND ? st->missing + 1 : 0;
	}
	st->more = st->missing < EMPTY_MAX;
	if (err == STORE_NOTFOUND && !st->more)
		err = store_del(store, STORE_STATES, key, head_key(key, st->id));
	return err == STORE_NOTFOUND ? STORE_OK : err;
}

static enum store_err
read_chunks(struct statedisk_step *st, struct store *store)
{
	uint8_t key[13];
	enum store_err err = STORE_OK;

	st->data = relay_alloc(STATEDISK_STEP_BYTES);
	for (unsigned n = 0; n < STATEDISK_STEP_CHUNKS; n++) {
		size_t len = STATEDISK_CHUNK;

		err = store_get(store, STORE_STATES, key, chunk_key(key, st->id, st->chunk++), st->data + st->len, &len);
		if (err != STORE_OK)
			break;
		st->len += len;
	}
	st->more = err == STORE_OK;
	return err == STORE_NOTFOUND ? STORE_OK : err;
}

void
statedisk_run(void *arg, struct store *store)
{
	struct statedisk_step *st = arg;

	if (st->kind == STEP_LOAD) {
		st->err = store_each(store, STORE_STATES, found_head, st);
		return;
	}
	if (st->kind == STEP_READ) {
		st->err = read_chunks(st, store);
		return;
	}
	st->err = store_begin(store);
	if (st->err != STORE_OK)
		return;
	st->err = st->kind == STEP_DROP ? drop_chunks(st, store) : put_chunks(st, store);
	if (st->err == STORE_OK)
		st->err = store_commit(store, false);
	else
		store_abort(store);
}

static enum store_err
drop_set(struct store *s, uint64_t id)
{
	struct statedisk_step drop = { .kind = STEP_DROP, .id = id };

	do
		statedisk_run(&drop, s);
	while (drop.err == STORE_OK && drop.more);
	return drop.err;
}

enum store_err
statedisk_drop_if(struct store *s, bool (*match)(void *arg, const struct stateset *set), void *arg, uint64_t *sets, uint64_t *bytes)
{
	struct statedisk_step load = { .kind = STEP_LOAD };
	struct stateset *set;
	enum store_err err;

	TAILQ_INIT(&load.found);
	statedisk_run(&load, s);
	err = load.err;
	while ((set = TAILQ_FIRST(&load.found)) != NULL) {
		TAILQ_REMOVE(&load.found, set, link);
		if (err == STORE_OK && match(arg, set) && (err = drop_set(s, set->id)) == STORE_OK) {
			++*sets;
			*bytes += set->bytes;
		}
		statedisk_set_free(set);
	}
	return err;
}
