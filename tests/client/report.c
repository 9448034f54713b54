/* Status lines and lists of changesets; see report.h. Reads the state of devices, changes nothing. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <zlib.h>

#include "tests/client/conn.h"
#include "tests/client/report.h"
#include "tests/client/session.h"
#include "tests/peer/content.h"

static uint64_t
count_writes(const struct session *s, uint64_t up_to)
{
	uint64_t n = 0;

	for (uint64_t v = 2; v <= up_to && v <= client_file_newest(&s->dev.file); v++)
		n += client_file_version(&s->dev.file, v)->changeset != NULL;
	return n;
}

void
report_status(const struct session *s, char *line)
{
	const struct client_file *f = &s->dev.file;
	const struct client_progress *cur = &f->cur;

	snprintf(line, REPORT_LINE_MAX,
		 "state=%s ident=%" PRIu64 " client_version=%" PRIu64 " uploaded=%" PRIu64 "/%" PRIu64 " download=%" PRIu64 "/%" PRIu64
		 " latest=%" PRIu64 " writes=%" PRIu64 " acked=%" PRIu64 " received=%zu marks=%" PRIu64 "/%" PRIu64
		 " reconnects=%" PRIu64 " error=%" PRIu64 " answers=%" PRIu64 " answer=%s partial=%" PRIu64 " query=%" PRIu64 " complete=%" PRIu64 " asked=%" PRIu64 " query_errors=%" PRIu64 " logs=%" PRIu64 " batches=%u last_close=%s",
		 session_state(s), f->ident, client_file_newest(f), cur->upload_client, cur->upload_server, cur->download_server,
		 cur->download_client, cur->latest, count_writes(s, client_file_newest(f)), count_writes(s, cur->upload_client),
		 s->dev.nreceived, s->rules.mark_received, s->mark_target, s->reconnects, s->error_code,
		 s->answers, s->answer[0] != '\0' ? s->answer : "none", s->state_offset,
		 s->query_active, s->query_complete, s->query_newest, s->query_errors, s->log_messages, s->boot_batches, conn_last_close(s->conn));
}

void
report_totals(struct session *const *s, size_t n, char *line)
{
	uint64_t bound = 0, idle = 0, writes = 0, acked = 0, received = 0, reconnects = 0, errors = 0;

	for (size_t i = 0; i < n; i++) {
		bound += session_is_live(s[i]);
		idle += session_is_idle(s[i]);
		writes += count_writes(s[i], client_file_newest(&s[i]->dev.file));
		acked += count_writes(s[i], s[i]->dev.file.cur.upload_client);
		received += s[i]->dev.nreceived;
		reconnects += s[i]->reconnects;
		errors += s[i]->error_code != 0;
	}
	snprintf(line, REPORT_LINE_MAX,
		 "devices=%zu bound=%" PRIu64 " idle=%" PRIu64 " writes=%" PRIu64 " acked=%" PRIu64 " received=%" PRIu64
		 " reconnects=%" PRIu64 " errors=%" PRIu64,
		 n, bound, idle, writes, acked, received, reconnects, errors);
}

void
report_content(const struct session *s, char *line)
{
	const struct client_file *f = &s->dev.file;
	struct content content = { 0 };
	const char *fault = NULL;

	for (uint64_t v = 2; v <= client_file_newest(f) && fault == NULL; v++) {
		const struct client_version *ver = client_file_version(f, v);

		if (ver->changeset != NULL)
			fault = content_apply(&content, ver->changeset, ver->len);
	}
	snprintf(line, REPORT_LINE_MAX, "content=%08" PRIx32 " newest=%" PRIu64 "%s%s", content_crc(&content),
		 client_file_newest_write(f), fault != NULL ? " fault=" : "", fault != NULL ? fault : "");
	content_free(&content);
}

bool
report_acked(const struct session *s, const char *path, bool all)
{
	const struct client_file *f = &s->dev.file;
	FILE *out = fopen(path, "we");
	bool ok;

	if (out == NULL)
		return false;
	for (uint64_t v = 2; v <= client_file_newest(f) && (all || v <= f->cur.upload_client); v++) {
		const struct client_version *ver = client_file_version(f, v);

		if (ver->changeset != NULL)
			fprintf(out, "%" PRIu64 " %zu %08lx\n", v, ver->len, (unsigned long)crc32_z(0, ver->changeset, ver->len));
	}
	ok = !ferror(out);
	return fclose(out) == 0 && ok;
}

bool
report_received(const struct session *s, const char *path)
{
	FILE *out = fopen(path, "we");
	bool ok;

	if (out == NULL)
		return false;
	for (size_t i = 0; i < s->dev.nreceived; i++) {
		const struct received *r = &s->dev.received[i];

		fprintf(out, "%" PRIu64 " %" PRIu64 " %08lx %" PRIu64 "\n", r->server_version, r->origin_file_ident,
			(unsigned long)r->crc, r->len);
	}
	ok = !ferror(out);
	return fclose(out) == 0 && ok;
}
