/* Every message of the recorded traffic goes through the codec: parsed in its direction, formatted back, and compared byte by
 * byte, heads and entries alike; compressed bodies are inflated first.  The recordings are all PBS.
 * Skipped when the recordings are not there (they lie beside the repository, not in it). */
#include "tests/harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/http.h"
#include "protocol/message.h"
#include "protocol/zbody.h"
#include "tests/peer/trace.h"

static size_t nmessages, nentries, ncompressed, nheads; /* of all files together */
static size_t by_type[MSG_NTYPES];

/* Walks the entries of an UPLOAD or DOWNLOAD body and checks that each is formatted back as it stood. */
static void
check_entries(const struct message *m, struct view body)
{
	struct view rest = body;
	enum proto_err err;

	for (;;) {
		const uint8_t *start = rest.ptr;
		struct upload_entry up;
		struct download_entry down;
		struct view changeset;
		char head[MSG_ENTRY_HEAD_MAX];
		size_t len;

		err = m->type == MSG_C_UPLOAD ? upload_entry_next(&rest, &up) : download_entry_next(&rest, &down);
		if (err != PROTO_OK)
			break;
		if (m->type == MSG_C_UPLOAD) {
			len = upload_entry_format(&up, head);
			changeset = up.changeset;
		} else {
			len = download_entry_format(&down, head);
			changeset = down.changeset;
		}
		CHECK_MEM(head, len, start, (size_t)(changeset.ptr - start));
		CHECK(changeset.ptr + changeset.len == rest.ptr);
		nentries++;
	}
	CHECK_U64(err, PROTO_MORE);
	CHECK_U64(rest.len, 0);
}

static void
check_body(const struct message *m, struct view body)
{
	const bool up = m->type == MSG_C_UPLOAD;
	const uint64_t plain_len = up ? m->upload.uncompressed_size : m->download.uncompressed_size;
	uint8_t *plain;

	if (!up && m->type != MSG_S_DOWNLOAD)
		return;
	if ((up ? m->upload.is_compressed : m->download.is_compressed) == 0) {
		check_entries(m, body);
		return;
	}
	CHECK(zbody_plausible(body.len, plain_len));
	plain = malloc((size_t)plain_len);
	CHECK(plain != NULL);
	if (zbody_inflate(body.ptr, body.len, plain, (size_t)plain_len) == PROTO_OK)
		check_entries(m, (struct view){ plain, (size_t)plain_len });
	else
		harness_fail(__FILE__, __LINE__, "body does not inflate");
	free(plain);
	ncompressed++;
}

static void
check_message(const struct trace_event *ev)
{
	const enum msg_dir dir = ev->from_client ? MSG_C2S : MSG_S2C;
	char head[MSG_HEAD_MAX];
	struct message m;
	struct view body;

	CHECK_U64(msg_parse(dir, MSG_PBS, ev->message.ptr, ev->message.len, &m, &body), PROTO_OK);
	CHECK_U64(m.head_len, ev->head.len + 1);
	CHECK_MEM(body.ptr, body.len, ev->body.ptr, ev->body.len);
	CHECK_MEM(head, msg_format_head(&m, head), ev->message.ptr, ev->head.len + 1);
	check_body(&m, body);
	nmessages++;
	by_type[m.type]++;
}

/* The subprotocol offers and answers; the heads themselves are http's test. */
static void
check_http(const struct trace_event *ev)
{
	struct http_head head;
	struct view rest, item;
	size_t used;
	enum proto_err err;

	err = ev->from_client ? http_parse_request(ev->text.ptr, ev->text.len, &head, &used)
			      : http_parse_response(ev->text.ptr, ev->text.len, &head, &used);
	CHECK_U64(err, PROTO_OK);
	CHECK_U64(used, ev->text.len);
	rest = head.protocol;
	while (http_list_next(&rest, &item)) {
		struct msg_subprotocol sp;

		CHECK_U64(msg_parse_subprotocol(item, &sp), PROTO_OK);
		CHECK_U64(sp.flavour, MSG_PBS);
		CHECK_U64(sp.min, sp.max);
		CHECK(sp.max <= 14);
	}
	nheads++;
}

static void
check_file(const char *path)
{
	struct trace *tr = trace_open(path);
	struct trace_event ev;
	int more;

	CHECK(tr != NULL);
	while ((more = trace_next(tr, &ev)) == 1 && !harness_failed()) {
		if (ev.kind == TRACE_MESSAGE)
			check_message(&ev);
		else if (ev.kind == TRACE_HTTP)
			check_http(&ev);
	}
	if (more != 0)
		harness_fail(path, (int)trace_line(tr), more < 0 ? "not a trace line" : "failed at this line");
	trace_close(tr);
}

TEST(every_recorded_message_comes_back_byte_identical)
{
	glob_t files;
	size_t nfiles = trace_files(harness_shared(), &files);

	for (size_t i = 0; i < nfiles && !harness_failed(); i++)
		check_file(files.gl_pathv[i]);
	globfree(&files);
	if (nfiles == 0)
		SKIP("no recorded traffic beside the repository");
	if (harness_failed())
		return;
	printf("# %zu files: %zu messages, %zu entries, %zu compressed bodies, %zu HTTP heads\n", nfiles, nmessages, nentries,
	    ncompressed, nheads);
	for (unsigned i = 0; i < MSG_NTYPES; i++)
		if (by_type[i] > 0)
			printf("# %5zu %s %s\n", by_type[i], i < MSG_S_IDENT ? "c2s" : "s2c", msg_name((enum msg_type)i));
	CHECK(nmessages > 0);
	CHECK(nentries > 0);
	CHECK(ncompressed > 0);
	CHECK(nheads > 0);
}
