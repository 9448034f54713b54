/* Fuzz target of the entries in UPLOAD and DOWNLOAD bodies (protocol/message.c).
 *
 * Input: byte 0 = which of the two (bit 0), then a body.  It is walked to its end or its first fault.  Each entry must be
 * formatted back to the bytes it came from and be followed at once by the next, and a fault must leave the walk where it was. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void
must(bool condition)
{
	if (!condition)
		abort();
}

/* Takes one entry off *rest, writes its head back to out and tells its changeset. */
static enum proto_err
step(bool upload, struct view *rest, char *out, size_t *out_len, struct view *changeset)
{
	struct upload_entry u;
	struct download_entry d;
	enum proto_err err;

	err = upload ? upload_entry_next(rest, &u) : download_entry_next(rest, &d);
	if (err != PROTO_OK)
		return err;
	*out_len = upload ? upload_entry_format(&u, out) : download_entry_format(&d, out);
	*changeset = upload ? u.changeset : d.changeset;
	return PROTO_OK;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct view rest, before, changeset;
	char head[MSG_ENTRY_HEAD_MAX];
	size_t head_len;
	enum proto_err err;

	if (len < 1)
		return 0;
	rest = (struct view){ data + 1, len - 1 };
	for (;;) {
		before = rest;
		err = step((data[0] & 1) != 0, &rest, head, &head_len, &changeset);
		if (err != PROTO_OK)
			break;
		must(head_len <= sizeof(head) && head_len <= before.len && memcmp(head, before.ptr, head_len) == 0);
		must(changeset.ptr == before.ptr + head_len);
		must(rest.ptr == changeset.ptr + changeset.len);
		must(rest.len == before.len - head_len - changeset.len);
	}
	must(rest.ptr == before.ptr && rest.len == before.len);
	must(err == (rest.len == 0 ? PROTO_MORE : PROTO_MSG_ENTRY));
	return 0;
}
