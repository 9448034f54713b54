/* The unit in which uploads travel through the relay.
 *
 * An UPLOAD is checked here once, whole, before anything is forwarded, stored or counted: whoever walks its entries later
 * (committer, replay, session) may rely on them.  The entries are not copied out; the body is walked again where they are
 * needed, which keeps a 16 MiB message of tiny entries at 16 MiB. */
#include <stdlib.h>
#include <string.h>

#include "protocol/zbody.h"

#include "relay/upload.h"

static enum proto_err
body_copy(const struct message *m, struct view body, uint64_t max_inflated, uint64_t max_ratio, struct upload *u)
{
	const struct msg_upload *up = &m->upload;

	if (up->uncompressed_size > max_inflated)
		return PROTO_MSG_LIMIT;
	if (up->is_compressed && !zbody_plausible(body.len, up->uncompressed_size))
		return PROTO_Z_SIZE;
	if (up->is_compressed && up->uncompressed_size > body.len * max_ratio)
		return PROTO_MSG_LIMIT;
	u->len = (size_t)up->uncompressed_size;
	u->body = malloc(u->len ? u->len : 1);
	if (u->body == NULL)
		return PROTO_Z_MEMORY;
	if (up->is_compressed)
		return zbody_inflate(body.ptr, body.len, u->body, u->len);
	if (body.len != u->len)
		return PROTO_MSG_LENGTH;
	if (u->len > 0)
		memcpy(u->body, body.ptr, u->len);
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
upload_parse(const struct message *m, struct view body, uint64_t max_inflated, uint64_t max_ratio, uint64_t now_wall_ms,
	     struct upload **out)
{
	struct upload *u = calloc(1, sizeof(*u));
	enum proto_err err;

	*out = NULL;
	if (u == NULL)
		return PROTO_Z_MEMORY;
	u->refs = 1;
	u->progress_client_version = m->upload.progress_client_version;
	u->progress_server_version = m->upload.progress_server_version;
	u->locked_server_version = m->upload.locked_server_version;
	u->received_ms = now_wall_ms;
	err = body_copy(m, body, max_inflated, max_ratio, u);
	if (err == PROTO_OK)
		err = entries_check(u);
	if (err != PROTO_OK) {
		upload_unref(u);
		return err;
	}
	*out = u;
	return PROTO_OK;
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
	free(u->body);
	free(u);
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
