/* The unit in which uploads travel through the relay.
 *
 * An UPLOAD is checked here once, whole, before anything is forwarded, stored or counted: whoever walks its entries later
 * (committer, replay, session) may rely on them.  The entries are not copied out; the body is walked again where they are
 * needed, which keeps a 16 MiB message of tiny entries at 16 MiB; nor is a message that was gathered in memory of its own. */
#include <stdlib.h>
#include <string.h>

#include "protocol/zbody.h"

#include "relay/chunk.h"
#include "relay/upload.h"

_Static_assert(sizeof(struct upload) <= CHUNK_HEAD, "an upload is a chunk");

/* May the body of m be what it claims? */
static enum proto_err
claim_check(const struct msg_upload *up, size_t body_len, uint64_t max_inflated, uint64_t max_ratio)
{
	if (up->uncompressed_size > max_inflated)
		return PROTO_MSG_LIMIT;
	if (!up->is_compressed)
		return body_len == up->uncompressed_size ? PROTO_OK : PROTO_MSG_LENGTH;
	if (!zbody_plausible(body_len, up->uncompressed_size))
		return PROTO_Z_SIZE;
	return up->uncompressed_size > body_len * max_ratio ? PROTO_MSG_LIMIT : PROTO_OK;
}

/* An upload whose body is still to be filled in: it lies in whole, else behind the struct.  NULL: out of memory. */
static struct upload *
upload_new(const struct msg_upload *up, uint8_t *whole, uint64_t now_wall_ms)
{
	size_t len = (size_t)up->uncompressed_size;
	uint8_t chunk;
	struct upload *u = chunk_take(whole == NULL ? len : 0, &chunk);

	if (u == NULL)
		return NULL;
	*u = (struct upload){ .refs = 1,
		.chunk = chunk,
		.whole = whole,
		.len = len,
		.progress_client_version = up->progress_client_version,
		.progress_server_version = up->progress_server_version,
		.locked_server_version = up->locked_server_version,
		.received_ms = now_wall_ms };
	return u;
}

static enum proto_err
body_fill(struct upload *u, bool is_compressed, struct view body)
{
	uint8_t *own = (uint8_t *)(u + 1);

	u->body = u->whole != NULL ? body.ptr : own;
	if (is_compressed)
		return zbody_inflate(body.ptr, body.len, own, u->len);
	if (u->whole == NULL && u->len > 0)
		memcpy(own, body.ptr, u->len);
	return PROTO_OK;
}

static enum proto_err
entries_check(struct upload *u)
{
	struct view rest = { u->body, u->len };
	struct upload_entry e;
	enum proto_err err;

	while ((err = upload_entry_next(&rest, &e)) == PROTO_OK) {
		if (e.client_version <= u->last.client_version || e.server_version < u->last.server_version)
			return PROTO_MSG_ENTRY;
		if (u->nentry++ == 0)
			u->first = e;
		u->last = e;
	}
	if (err != PROTO_MORE)
		return err;
	if (u->progress_client_version < u->last.client_version || u->progress_server_version < u->last.server_version)
		return PROTO_MSG_ENTRY;
	return PROTO_OK;
}

enum proto_err
upload_parse(const struct message *m, struct view body, uint8_t *whole, uint64_t max_inflated, uint64_t max_ratio, uint64_t now_wall_ms,
	     struct upload **out)
{
	const struct msg_upload *up = &m->upload;
	enum proto_err err = claim_check(up, body.len, max_inflated, max_ratio);
	struct upload *u = err == PROTO_OK ? upload_new(up, whole, now_wall_ms) : NULL;

	*out = NULL;
	if (u != NULL) {
		err = body_fill(u, up->is_compressed, body);
		if (err == PROTO_OK)
			err = entries_check(u);
	} else if (err == PROTO_OK) {
		err = PROTO_Z_MEMORY;
	}
	if (u == NULL)
		free(whole);
	if (err == PROTO_OK)
		*out = u;
	else
		upload_unref(u);
	return err;
}

struct upload *
upload_ref(struct upload *u)
{
	u->refs++;
	return u;
}

void
upload_unref(struct upload *u)
{
	if (u == NULL || --u->refs > 0)
		return;
	free(u->whole);
	chunk_give(u, u->chunk);
}

struct view
upload_after(const struct upload *u, uint64_t after, size_t *nentry)
{
	struct view rest = { u->body, u->len }, from = rest;
	struct upload_entry e;
	size_t left = u->nentry;

	while (upload_entry_next(&rest, &e) == PROTO_OK) {
		if (e.client_version > after)
			break;
		from = rest;
		left--;
	}
	*nentry = left;
	return from;
}
