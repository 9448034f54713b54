/* Fuzz target of pre-merge (protocol/premerge.c).
 *
 * Input: a byte that chooses the bound of memory, then changesets, the newest first: a byte (bits 0-1: the server_version falls by so
 * much, bits 2-3: origin_file_ident, but for 1 in 4 it is 0; bits 4-7: origin_timestamp), two bytes for the length, least significant
 * first, and the bytes. Nothing may grow, what comes out must be well formed, and pre-merging it again must change nothing. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/changeset.h"
#include "protocol/premerge.h"

#define ENTRIES_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct backlog {
	struct upload_entry e[ENTRIES_MAX];
	uint8_t *owned[ENTRIES_MAX];
	size_t n;
};

static void
must(bool condition)
{
	if (!condition)
		abort();
}

static void
read_backlog(struct backlog *b, const uint8_t *data, size_t len)
{
	uint64_t server_version = 1000;

	for (b->n = 0; len >= 3 && b->n < ENTRIES_MAX; b->n++) {
		size_t want = data[1] | (size_t)data[2] << 8;

		want = want < len - 3 ? want : len - 3;
		server_version -= data[0] & 3;
		b->e[b->n] = (struct upload_entry){ .client_version = 1000 - b->n, .server_version = server_version,
			.origin_timestamp = data[0] >> 4, .origin_file_ident = (data[0] >> 2 & 3) == 3 ? 5 : 0,
			.changeset = { data + 3, want } };
		data += 3 + want;
		len -= 3 + want;
	}
}

/* Puts the verdict about entry i into effect. */
static void
take(struct backlog *b, size_t i, enum premerge_verdict verdict, struct view out)
{
	struct cs_parsed c = { 0 };

	if (verdict == PREMERGE_EMPTY)
		b->e[i].changeset.len = 0;
	if (verdict != PREMERGE_REPLACE)
		return;
	must(out.len > 0 && out.len <= b->e[i].changeset.len);
	must(cs_parse(&c, out.ptr, out.len) == PROTO_OK);
	cs_free(&c);
	b->owned[i] = malloc(out.len);
	must(b->owned[i] != NULL);
	memcpy(b->owned[i], out.ptr, out.len);
	b->e[i].changeset = (struct view){ b->owned[i], out.len };
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct backlog b;
	struct premerge *p;
	struct view out = { NULL, 0 };
	struct premerge_stats s;

	if (len < 1)
		return 0;
	memset(&b, 0, sizeof(b));
	read_backlog(&b, data + 1, len - 1);
	p = premerge_new((size_t)256 << (data[0] & 15));
	must(p != NULL);
	for (size_t i = 0; i < b.n; i++)
		take(&b, i, premerge_feed(p, &b.e[i], &out), out);
	s = premerge_stats(p);
	must(s.bytes_out <= s.bytes_in && s.dropped <= s.instructions);
	premerge_forget(p);
	for (size_t i = 0; i < b.n; i++)
		must(premerge_feed(p, &b.e[i], &out) == PREMERGE_KEEP);
	premerge_free(p);
	for (size_t i = 0; i < b.n; i++)
		free(b.owned[i]);
	return 0;
}
