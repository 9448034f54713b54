/* A test client's file; see client_file.h. It never judges what a server says (client_rules does) and never touches a disk.
 *
 * The idea needed to read it: a version is one commit in the client's file. The pair (client version, server_version of that
 * version) is what entries and the progress of an UPLOAD consist of, so an UPLOAD is nothing but a walk over the versions above
 * the cursor that collects those with a changeset and ends with the pair of the last version walked over. */
#include <stdlib.h>
#include <string.h>

#include "protocol/zbody.h"

#include "tests/peer/client_file.h"

#define DEFLATE_LEVEL 6

static void *
grown(void *p, size_t size)
{
	p = realloc(p, size);
	if (p == NULL)
		abort();
	return p;
}

void
client_file_init(struct client_file *f)
{
	memset(f, 0, sizeof *f);
}

void
client_file_free(struct client_file *f)
{
	client_file_truncate(f, 1);
	free(f->version);
	client_file_init(f);
}

uint64_t
client_file_newest(const struct client_file *f)
{
	return f->nversion + 1;
}

const struct client_version *
client_file_version(const struct client_file *f, uint64_t v)
{
	return &f->version[v - 2];
}

uint64_t
client_file_newest_write(const struct client_file *f)
{
	uint64_t v;

	for (v = client_file_newest(f); v > 1; v--)
		if (client_file_version(f, v)->changeset != NULL)
			return v;
	return 0;
}

static struct client_version *
add_version(struct client_file *f)
{
	struct client_version *v;

	if (f->nversion == f->cap) {
		f->cap = f->cap * 2 + 16;
		f->version = grown(f->version, f->cap * sizeof *f->version);
	}
	v = &f->version[f->nversion++];
	*v = (struct client_version){ .server_version = f->cur.download_server };
	return v;
}

void
client_file_ident(struct client_file *f, uint64_t ident, uint64_t salt)
{
	f->ident = ident;
	f->salt = salt;
	f->cur.download_client = f->cur.upload_client = 0;
	add_version(f);
}

uint64_t
client_file_write(struct client_file *f, uint8_t *changeset, size_t len, uint64_t timestamp)
{
	struct client_version *v = add_version(f);

	v->changeset = changeset;
	v->len = len;
	v->timestamp = timestamp;
	return client_file_newest(f);
}

void
client_file_download(struct client_file *f, const struct client_progress *p, uint64_t last_entry)
{
	struct client_version *v;

	f->cur = *p;
	v = add_version(f);
	if (last_entry != 0)
		v->server_version = last_entry;
}

void
client_file_truncate(struct client_file *f, uint64_t v)
{
	while (client_file_newest(f) > v)
		free(f->version[--f->nversion].changeset);
}

static struct upload_entry
entry_of(const struct client_file *f, uint64_t v)
{
	const struct client_version *ver = client_file_version(f, v);

	return (struct upload_entry){ .client_version = v, .server_version = ver->server_version, .origin_timestamp = ver->timestamp,
				      .changeset = { ver->changeset, ver->len } };
}

/* Walks from *cursor to the end, to limit or to a full message; returns how many changesets lie on the way and their bytes. */
static size_t
walk(const struct client_file *f, struct client_cursor *cursor, uint64_t limit, size_t *bytes)
{
	uint64_t v = cursor->client > 1 ? cursor->client : 1, newest = client_file_newest(f);
	size_t n = 0;

	*bytes = 0;
	if (newest > limit)
		newest = limit;
	while (v < newest && *bytes < CLIENT_UPLOAD_SOFT) {
		const struct client_version *ver = client_file_version(f, v + 1);

		if (ver->changeset != NULL && n > 0 && *bytes + ver->len >= CLIENT_UPLOAD_HARD)
			break;
		v++;
		cursor->server = ver->server_version;
		if (ver->changeset != NULL) {
			*bytes += ver->len;
			n++;
		}
	}
	cursor->client = v;
	return n;
}

/* Writes the entries of the versions in (from, to]; room suffices. Returns the bytes written. */
static size_t
put_entries(const struct client_file *f, uint64_t from, uint64_t to, uint8_t *out)
{
	size_t len = 0;

	for (uint64_t v = from > 1 ? from + 1 : 2; v <= to; v++) {
		struct upload_entry e = entry_of(f, v);

		if (e.changeset.ptr == NULL)
			continue;
		len += upload_entry_format(&e, (char *)out + len);
		memcpy(out + len, e.changeset.ptr, e.changeset.len);
		len += e.changeset.len;
	}
	return len;
}

static void
compress(struct client_upload *up)
{
	uint8_t *packed;
	size_t packed_len;

	up->head.uncompressed_size = up->len;
	if (up->len <= ZBODY_MIN)
		return;
	packed = grown(NULL, up->len);
	if (zbody_deflate(DEFLATE_LEVEL, up->body, up->len, packed, up->len - 1, &packed_len) != PROTO_OK) {
		free(packed);
		return;
	}
	free(up->body);
	up->body = packed;
	up->len = packed_len;
	up->head.is_compressed = 1;
	up->head.compressed_size = packed_len;
}

bool
client_file_next_upload(const struct client_file *f, struct client_cursor *cursor, uint64_t limit, struct client_upload *up)
{
	uint64_t from = cursor->client;
	bool to_acknowledge = limit == UINT64_MAX && cursor->server < f->cur.download_server;
	size_t bytes;

	memset(up, 0, sizeof *up);
	up->nentry = walk(f, cursor, limit, &bytes);
	if (up->nentry == 0 && !to_acknowledge)
		return false;
	up->body = grown(NULL, bytes + up->nentry * MSG_ENTRY_HEAD_MAX + 1);
	up->len = put_entries(f, from, cursor->client, up->body);
	up->head.progress_client_version = cursor->client;
	up->head.progress_server_version = cursor->server;
	up->head.locked_server_version = f->cur.download_server;
	compress(up);
	return true;
}
