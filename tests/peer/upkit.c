/* The usual first steps of a client against the stand-in upstream; see upkit.h.
 *
 * For: tests/unit/test_upstream*.c.  Never: checks; that is the tests' part.
 *
 * The one idea: a client file is nothing but the last DOWNLOAD's cursors, which is all a client needs to come back. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "protocol/zbody.h"

#include "tests/peer/upkit.h"

#define WAIT_MS 5000

bool
upkit_start(struct upkit *k, const char *const args[])
{
	const char *line;

	memset(k, 0, sizeof *k);
	k->base = event_base_new();
	k->up = child_start("upstream", args);
	line = k->up != NULL ? child_line(k->up) : NULL;
	return line != NULL && sscanf(line, "port %u", &k->port) == 1;
}

bool
upkit_stop(struct upkit *k)
{
	bool ok = k->up != NULL && child_stop(k->up);

	event_base_free(k->base);
	return ok;
}

bool
upkit_bind(struct upkit *k, struct rawclient *c, struct upfile *f)
{
	const struct raw_message *r;
	char head[100];

	rawclient_open(c, k->base, k->port, "/realm-sync?baas_at=t", "com.mongodb.realm-sync#14", k->ca);
	snprintf(head, sizeof head, "bind 1 %zu 0 %d 0", strlen(f->path), f->ident == 0);
	rawclient_send(c, head, f->path, strlen(f->path));
	if (f->ident != 0)
		return c->status == 101;
	while ((r = rawclient_next(c, WAIT_MS)) != NULL && r->m.type != MSG_S_IDENT)
		;
	if (r == NULL)
		return false;
	f->ident = r->m.s_ident.file_ident;
	f->salt = r->m.s_ident.file_ident_salt;
	return true;
}

void
upkit_ident(struct rawclient *c, const struct upfile *f)
{
	const struct msg_download *p = &f->progress;
	char head[200];

	snprintf(head, sizeof head, "ident 1 %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64, f->ident, f->salt,
		 p->download_server_version, p->download_client_version, p->latest_server_version, p->latest_server_version_salt);
	rawclient_send(c, head, NULL, 0);
}

/* Notes a DOWNLOAD and counts its entries. */
static void
note(struct upfile *f, const struct raw_message *r)
{
	size_t len = (size_t)r->m.download.uncompressed_size;
	struct view body = r->body;
	struct download_entry e;
	uint8_t *plain = NULL;

	f->progress = r->m.download;
	if (r->m.download.is_compressed != 0) {
		plain = malloc(len + 1);
		if (zbody_inflate(body.ptr, body.len, plain, len) != PROTO_OK)
			len = 0;
		body = (struct view){ plain, len };
	}
	while (download_entry_next(&body, &e) == PROTO_OK) {
		f->nentries++;
		f->entry_bytes += e.changeset.len;
	}
	free(plain);
}

bool
upkit_mark(struct rawclient *c, struct upfile *f, uint64_t request)
{
	const struct raw_message *r;
	char head[64];

	snprintf(head, sizeof head, "mark 1 %" PRIu64, request);
	rawclient_send(c, head, NULL, 0);
	while ((r = rawclient_next(c, WAIT_MS)) != NULL) {
		if (r->m.type == MSG_S_DOWNLOAD)
			note(f, r);
		if (r->m.type == MSG_S_MARK)
			return r->m.s_mark.request_ident == request;
	}
	return false;
}

bool
upkit_join(struct upkit *k, struct rawclient *c, struct upfile *f)
{
	if (!upkit_bind(k, c, f))
		return false;
	upkit_ident(c, f);
	return upkit_mark(c, f, 1);
}

void
upkit_upload(struct rawclient *c, const char *what)
{
	uint64_t progress_client, progress_server, locked;
	char body[8192], head[160], entry[128];
	struct upload_entry e = { 0 };
	size_t len = 0, n;
	int used;

	sscanf(what, "%" SCNu64 " %" SCNu64 " %" SCNu64 "%n", &progress_client, &progress_server, &locked, &used);
	for (what += used; sscanf(what, " %" SCNu64 ",%" SCNu64 "%n", &e.client_version, &e.server_version, &used) == 2; what += used) {
		e.origin_file_ident = 0;
		if (what[used] == ',') {
			what += used + 1;
			sscanf(what, "%" SCNu64 "%n", &e.origin_file_ident, &used);
		}
		e.origin_timestamp = 375000000000 + e.client_version;
		n = (size_t)snprintf(entry, sizeof entry, "change %" PRIu64, e.client_version);
		e.changeset = (struct view){ (const uint8_t *)entry, n };
		len += upload_entry_format(&e, body + len);
		memcpy(body + len, entry, n);
		len += n;
	}
	snprintf(head, sizeof head, "upload 1 0 %zu 0 %" PRIu64 " %" PRIu64 " %" PRIu64, len, progress_client, progress_server, locked);
	rawclient_send(c, head, body, len);
}

unsigned
upkit_code(struct rawclient *c, struct upfile *f)
{
	const struct raw_message *r;
	unsigned code = 0;

	rawclient_send(c, "ping 1 1", NULL, 0);
	while ((r = rawclient_next(c, WAIT_MS)) != NULL && r->m.type != MSG_S_PONG) {
		if (code == 0 && r->m.type == MSG_S_ERROR)
			code = (unsigned)r->m.error.error_code;
		if (code == 0 && r->m.type == MSG_S_JSON_ERROR)
			code = (unsigned)r->m.json_error.error_code;
		if (f != NULL && r->m.type == MSG_S_DOWNLOAD)
			note(f, r);
	}
	return r == NULL && code == 0 ? 1 : code;
}

uint64_t
upkit_number(struct upkit *k, const char *name, const char *fmt, ...)
{
	char command[400], key[64];
	const char *at;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(command, sizeof command, fmt, ap);
	va_end(ap);
	snprintf(key, sizeof key, " %s=", name);
	at = child_ask(k->up, "%s", command);
	at = at != NULL ? strstr(at, key) : NULL;
	return at != NULL ? strtoull(at + strlen(key), NULL, 10) : UINT64_MAX;
}
