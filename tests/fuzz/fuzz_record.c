/* Feeds arbitrary bytes to the record decoders.  Whatever is accepted must encode back: a changeset of this version to the very
 * same bytes, a file to a record that decodes to the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "buffer/be.h"
#include "buffer/crc32c.h"
#include "buffer/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void
try_changeset(const uint8_t *data, size_t len)
{
	struct store_record r;
	uint8_t *again;

	if (len < RECORD_HEAD_LEN || record_decode_changeset(data, len, be_get64(data + 16), be_get64(data + 24), &r) != STORE_OK)
		return;
	if (record_changeset_size(r.len) != len)
		return; /* it has fields that we do not know */
	if ((again = malloc(len)) == NULL)
		return;
	record_encode_changeset(again, be_get64(data + 16), &r);
	if (memcmp(again, data, len) != 0)
		abort();
	free(again);
}

static void
try_query(const uint8_t *data, size_t len)
{
	struct store_query q;
	uint8_t *again;

	if (len < RECORD_HEAD_LEN || record_decode_query(data, len, be_get64(data + 16), be_get64(data + 24), &q) != STORE_OK ||
	    record_query_size(q.len) != len || (again = malloc(len)) == NULL)
		return;
	record_encode_query(again, be_get64(data + 16), &q);
	if (memcmp(again, data, len) != 0)
		abort();
	free(again);
}

static void
try_file(const uint8_t *data, size_t len)
{
	static struct store_file f, again;
	static uint8_t one[RECORD_FILE_MAX], two[RECORD_FILE_MAX];
	size_t one_len;

	if (len < RECORD_HEAD_LEN || record_decode_file(data, len, be_get64(data + 16), &f) != STORE_OK)
		return;
	one_len = record_encode_file(one, &f);
	if (record_decode_file(one, one_len, f.id, &again) != STORE_OK || record_encode_file(two, &again) != one_len ||
	    memcmp(one, two, one_len) != 0)
		abort();
}

/* A walk, around whatever is bad, ends, and gives rising versions whose bytes lie within the record. */
static void
try_walk(const uint8_t *data, size_t len)
{
	uint64_t file = len >= RECORD_HEAD_LEN ? be_get64(data + 16) : 1, first = len >= RECORD_HEAD_LEN ? be_get64(data + 24) : 1, after = 0;
	struct store_record r;
	struct record_walk w;
	enum store_err err;

	for (unsigned rounds = 0; rounds < 1000; rounds++) {
		err = record_walk_begin(&w, data, len, file, first, after);
		while (err == STORE_OK && (err = record_walk_next(&w, after, &r)) == STORE_OK) {
			if (r.client_version <= after || (r.len > 0 && (r.data < data || r.data + r.len > data + len)))
				abort();
			after = r.client_version;
		}
		if (err == STORE_NOTFOUND || w.bad_version <= after)
			return;
		after = w.bad_version;
	}
}

static void
try_all(const uint8_t *data, size_t len)
{
	try_changeset(data, len);
	try_query(data, len);
	try_file(data, len);
	try_walk(data, len);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	uint8_t *sealed;

	try_all(data, len);
	/* Once more with a right checksum: else hardly an input would get past it. */
	if (len < RECORD_HEAD_LEN || (sealed = malloc(len)) == NULL)
		return 0;
	memcpy(sealed, data, len);
	be_put32(sealed + 12, crc32c(crc32c(0, sealed, 12), sealed + 16, len - 16));
	try_all(sealed, len);
	free(sealed);
	return 0;
}
