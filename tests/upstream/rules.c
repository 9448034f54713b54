/* Rules S1, S3, S4 of the stand-in upstream; see rules.h.
 *
 * For: session.c.  Never: changes anything; sends; shares code with relay/ (that is the point: a second reading of protocol.md).
 *
 * The one idea: the checks stand in the order in which the reference server makes them, because the first that fails gives the
 * code.  Each refusal says its rule and the numbers, so a failed test explains itself.
 *
 * Cursors: a pair (client version, server version) is consistent when client version 0 has server version 0; two pairs are
 * consistent with each other when they are ordered alike in both members, equal client versions having equal server versions. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tests/upstream/rules.h"

enum { BAD_SYNTAX = 103, BAD_FILE_IDENT = 208, BAD_SERVER_VERSION = 209, BAD_CLIENT_VERSION = 210, DIVERGING = 211, BAD_ORIGIN = 216 };

__attribute__((format(printf, 3, 4))) static void
refuse(struct verdict *v, unsigned code, const char *fmt, ...)
{
	va_list ap;

	v->code = code;
	va_start(ap, fmt);
	vsnprintf(v->text, sizeof v->text, fmt, ap);
	va_end(ap);
}

/* ---- BIND ---- */

static bool
ends_with(struct view s, const char *end)
{
	size_t n = strlen(end);

	return s.len >= n && memcmp(s.ptr + s.len - n, end, n) == 0;
}

static bool
good_segment(struct view s)
{
	size_t i;
	char c;

	if (s.len == 0 || s.ptr[0] == '.')
		return false;
	for (i = 0; i < s.len; i++) {
		c = (char)s.ptr[i];
		if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '-' || c == '.' ||
		      c == '"'))
			return false;
	}
	return !ends_with(s, ".realm") && !ends_with(s, ".realm.lock") && !ends_with(s, ".realm.management");
}

bool
rules_path(struct view name)
{
	struct view rest = name;
	const uint8_t *slash;
	size_t n;

	if (rest.len > 0 && rest.ptr[0] == '/') {
		rest.ptr++;
		rest.len--;
	}
	for (;;) {
		slash = rest.len > 0 ? memchr(rest.ptr, '/', rest.len) : NULL;
		n = slash != NULL ? (size_t)(slash - rest.ptr) : rest.len;
		if (!good_segment((struct view){ rest.ptr, n }))
			return false;
		if (slash == NULL)
			return true;
		rest.ptr += n + 1;
		rest.len -= n + 1;
	}
}

/* ---- IDENT ---- */

void
rules_ident(const struct path *p, const struct msg_c_ident *m, bool subserver, struct file **f, struct verdict *v)
{
	uint64_t newest = p->nchanges;

	v->code = 0;
	*f = history_file(p, m->file_ident);
	if (m->latest_server_version > newest)
		refuse(v, BAD_SERVER_VERSION, "S1 latest server version %" PRIu64 " is above the newest %" PRIu64, m->latest_server_version,
		       newest);
	else if (m->file_ident == 1) /* the server's own: it exists, but no salt fits */
		refuse(v, DIVERGING, "S1 file ident 1 is the server's own");
	else if (*f == NULL)
		refuse(v, BAD_FILE_IDENT, "S1 file ident %" PRIu64 " was never issued", m->file_ident);
	else if (m->file_ident_salt != (*f)->salt)
		refuse(v, DIVERGING, "S1 file ident %" PRIu64 " has another salt", m->file_ident);
	else if (m->scan_server_version < (*f)->progress.server_version)
		refuse(v, BAD_SERVER_VERSION, "S1 scan server version %" PRIu64 " is below the base %" PRIu64, m->scan_server_version,
		       (*f)->progress.server_version);
	else if (m->scan_server_version > newest)
		refuse(v, BAD_SERVER_VERSION, "S1 scan server version %" PRIu64 " is above the newest %" PRIu64, m->scan_server_version,
		       newest);
	else if (m->scan_client_version > (*f)->progress.client_version)
		refuse(v, BAD_CLIENT_VERSION, "S1 scan client version %" PRIu64 " is above what was integrated %" PRIu64,
		       m->scan_client_version, (*f)->progress.client_version);
	else if (m->latest_server_version < m->scan_server_version)
		refuse(v, BAD_SERVER_VERSION, "S1 latest server version %" PRIu64 " is below scan server version %" PRIu64,
		       m->latest_server_version, m->scan_server_version);
	else if (m->latest_server_version_salt != history_version_salt(p, m->latest_server_version))
		refuse(v, DIVERGING, "S1 server version %" PRIu64 " has another salt", m->latest_server_version);
	else if ((*f)->subserver != subserver)
		refuse(v, BAD_FILE_IDENT, "S1 file ident %" PRIu64 " is of the other client type", m->file_ident);
}

/* ---- UPLOAD ---- */

static bool
consistent(struct cursor c)
{
	return c.client_version != 0 || c.server_version == 0;
}

static bool
consistent_pair(struct cursor a, struct cursor b)
{
	if (a.client_version < b.client_version)
		return a.server_version <= b.server_version;
	if (a.client_version > b.client_version)
		return a.server_version >= b.server_version;
	return a.server_version == b.server_version;
}

static void
refuse_pair(struct verdict *v, const char *what, struct cursor c, const char *against, struct cursor other)
{
	refuse(v, BAD_SERVER_VERSION, "S4 %s (%" PRIu64 ", %" PRIu64 ") is inconsistent with %s (%" PRIu64 ", %" PRIu64 ")", what,
	       c.client_version, c.server_version, against, other.client_version, other.server_version);
}

static void
check_progress(const struct upload_state *st, const struct msg_upload *m, struct cursor progress, struct verdict *v)
{
	if (progress.client_version < st->progress.client_version)
		refuse(v, BAD_CLIENT_VERSION, "S3 progress client version fell from %" PRIu64 " to %" PRIu64, st->progress.client_version,
		       progress.client_version);
	else if (progress.server_version > st->downloaded)
		refuse(v, BAD_SERVER_VERSION, "S3 progress server version %" PRIu64 " is above what this session downloaded %" PRIu64,
		       progress.server_version, st->downloaded);
	else if (!consistent(progress))
		refuse_pair(v, "progress", progress, "client version", (struct cursor){ 0, 0 });
	else if (!consistent_pair(progress, st->threshold))
		refuse_pair(v, "progress", progress, "the threshold", st->threshold);
	else if (!consistent_pair(progress, st->progress))
		refuse_pair(v, "progress", progress, "the progress before", st->progress);
	else if (m->locked_server_version < st->locked_version)
		refuse(v, BAD_SERVER_VERSION, "S3 locked server version fell from %" PRIu64 " to %" PRIu64, st->locked_version,
		       m->locked_server_version);
	else if (m->locked_server_version > st->downloaded)
		refuse(v, BAD_SERVER_VERSION, "S3 locked server version %" PRIu64 " is above what this session downloaded %" PRIu64,
		       m->locked_server_version, st->downloaded);
}

static void
check_entry(const struct path *p, const struct file *f, const struct upload_state *st, const struct upload_entry *e, struct cursor before,
	    struct verdict *v)
{
	struct cursor at = { e->client_version, e->server_version };
	const struct file *origin;

	if (at.client_version <= before.client_version)
		refuse(v, BAD_CLIENT_VERSION, "S4 entry's client version %" PRIu64 " does not rise above %" PRIu64, at.client_version,
		       before.client_version);
	else if (!consistent(at))
		refuse_pair(v, "entry", at, "client version", (struct cursor){ 0, 0 });
	else if (!consistent_pair(at, before))
		refuse_pair(v, "entry", at, "the one before", before);
	else if (!consistent_pair(at, st->threshold))
		refuse_pair(v, "entry", at, "the threshold", st->threshold);
	else if (e->origin_file_ident != 0 && ((origin = history_file(p, e->origin_file_ident)) == NULL || origin->proxy != f->ident))
		refuse(v, BAD_ORIGIN, "S4 origin file ident %" PRIu64 " is not one of this client's", e->origin_file_ident);
}

void
rules_upload(const struct path *p, const struct file *f, const struct upload_state *st, const struct msg_upload *m, struct view body,
	     struct verdict *v)
{
	struct cursor progress = { m->progress_client_version, m->progress_server_version }, at = st->progress;
	struct upload_entry e;
	enum proto_err err;
	bool any = false;

	v->code = 0;
	check_progress(st, m, progress, v);
	while (v->code == 0 && (err = upload_entry_next(&body, &e)) != PROTO_MORE) {
		if (err != PROTO_OK) {
			refuse(v, BAD_SYNTAX, "bad entry: %s", proto_strerror(err));
			return;
		}
		check_entry(p, f, st, &e, at, v);
		at = (struct cursor){ e.client_version, e.server_version };
		any = true;
	}
	if (v->code != 0 || !any)
		return;
	if (at.client_version > progress.client_version)
		refuse(v, BAD_CLIENT_VERSION, "S4 progress client version %" PRIu64 " is below the last entry's %" PRIu64,
		       progress.client_version, at.client_version);
	else if (!consistent_pair(at, progress))
		refuse_pair(v, "last entry", at, "the progress", progress);
}
