/* See upload.h.  The mask of the frames is zero (RFC 6455 section 5.3 leaves the choice to the client), so digits are patched as they are. */
#include <err.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/message.h"
#include "protocol/ws.h"

#include "tests/bench/load/upload.h"

#define ROW_BYTES 16384 /* small messages are sent so many at a time, as far as the window lets */
#define DIGITS 10
#define POOL (4u << 20)

static void
put_digits(uint8_t *at, uint64_t version)
{
	for (int i = DIGITS; i-- > 0; version /= 10)
		at[i] = (uint8_t)('0' + version % 10);
}

static size_t
find(const uint8_t *buf, size_t len, size_t from)
{
	const char text[] = "1000000000";
	const uint8_t *p = memmem(buf + from, len - from, text, DIGITS);

	if (p == NULL)
		errx(1, "a head without its version");
	return (size_t)(p - buf);
}

/* The first frame; returns its bytes. */
static uint8_t *
make_frame(struct upload_row *r)
{
	static const uint8_t zero_mask[4];
	struct upload_entry e = { .client_version = UPLOAD_FIRST, .server_version = 1, .origin_timestamp = 300000000000 };
	struct message m = { .type = MSG_C_UPLOAD, .session_ident = 1 };
	char entry[MSG_ENTRY_HEAD_MAX], head[MSG_HEAD_MAX];
	size_t entry_len, head_len, n, payload;
	uint8_t *buf;

	e.changeset.len = r->changeset;
	entry_len = upload_entry_format(&e, entry);
	m.upload = (struct msg_upload){ .uncompressed_size = entry_len + r->changeset, .progress_client_version = UPLOAD_FIRST,
		.progress_server_version = 1 };
	head_len = msg_format_head(&m, head);
	payload = head_len + entry_len + r->changeset;
	if ((buf = malloc(WS_HEAD_MAX + payload)) == NULL)
		err(1, "upload");
	n = ws_format_head(buf, WS_CLIENT, true, WS_BINARY, payload, zero_mask);
	memcpy(buf + n, head, head_len);
	memcpy(buf + n + head_len, entry, entry_len);
	r->version_at[0] = find(buf, n + head_len, 0);
	r->version_at[1] = find(buf, n + head_len + entry_len, n + head_len);
	n += head_len + entry_len;
	for (size_t i = 0; i < r->changeset; i++)
		buf[n + i] = (uint8_t)(i * 2654435761U >> 24);
	r->frame = n + r->changeset;
	return buf;
}

void
upload_row_make(struct upload_row *r, size_t changeset, bool varied)
{
	uint8_t *one;

	memset(r, 0, sizeof(*r));
	r->changeset = changeset;
	r->varied = varied;
	one = make_frame(r);
	r->n = r->frame < ROW_BYTES ? (unsigned)(ROW_BYTES / r->frame) : 1;
	if ((r->buf = malloc(r->n * r->frame)) == NULL)
		err(1, "upload");
	for (unsigned i = 0; i < r->n; i++)
		memcpy(r->buf + i * r->frame, one, r->frame);
	free(one);
}

void
upload_row_free(struct upload_row *r)
{
	free(r->buf);
	r->buf = NULL;
}

void
upload_digits(uint8_t *out, size_t len, uint64_t version)
{
	static uint8_t pool[POOL];
	uint64_t x = 88172645463325252U, at = version % POOL * len % POOL;

	for (size_t i = 0; pool[POOL - 1] == 0 && i < POOL; i++) {
		x ^= x << 13; /* Marsaglia's xorshift */
		x ^= x >> 7;
		x ^= x << 17;
		pool[i] = (uint8_t)"0123456789abcdef"[x >> 60];
	}
	for (size_t done = 0, n; done < len; done += n, at = 0) {
		n = len - done < POOL - at ? len - done : POOL - at;
		memcpy(out + done, pool + at, n);
	}
}

void
upload_row_patch(struct upload_row *r, uint64_t first, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		put_digits(r->buf + i * r->frame + r->version_at[0], first + i);
		put_digits(r->buf + i * r->frame + r->version_at[1], first + i);
		if (r->varied)
			upload_digits(r->buf + (i + 1) * r->frame - r->changeset, r->changeset, first + i);
	}
}
