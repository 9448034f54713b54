/* import: the other end of an export, in steps.
 *
 *   import-begin LEASE            none|exported|importing -> importing
 *   for each file:
 *     import-file LEASE [QUERY] +file   finds or makes it, sets it IMPORTING: nobody touches it meanwhile
 *     import-records LEASE ID +records   any number of times; a record that is there already is passed over
 *     import-end LEASE ID [conflict] +file   progress, cursors and state become what both gateways know
 *   import-done LEASE             importing -> imported, for good
 *
 * A lease may be imported once.  An import that was interrupted is repeated from its beginning and ends the same (every step may be
 * repeated).  On the gateway that made the export, the import takes the backlog back.
 *
 * Queries of flexible sync: of the two gateways the one whose client stood on the newer query (QUERY: the exported one's) was the last that it
 * used; older queries are of no use any more.
 *
 * When the two gateways disagree (other bytes under the same version; upstream moved past what only a relay acknowledged), the
 * records are kept and the file is set aside as CONFLICT: the operator decides. */
#include <stdio.h>
#include <string.h>

#include "relay/admin_int.h"
#include "relay/userid.h"

static size_t
lease_key(char *key, size_t key_len, const char *lease)
{
	return (size_t)snprintf(key, key_len, "lease %s", lease);
}

enum store_err
admin_lease_get(struct store *s, const char *lease, char *state, size_t state_len)
{
	char key[64];
	size_t len = state_len - 1, key_len = lease_key(key, sizeof(key), lease);
	enum store_err err = store_get(s, STORE_META, key, key_len, state, &len);

	if (err == STORE_OK)
		state[len] = '\0';
	else if (err == STORE_NOTFOUND)
		snprintf(state, state_len, "none");
	return err == STORE_NOTFOUND ? STORE_OK : err;
}

enum store_err
admin_lease_put(struct store *s, const char *lease, const char *state)
{
	char key[64];
	size_t key_len = lease_key(key, sizeof(key), lease);

	return store_put(s, STORE_META, key, key_len, state, strlen(state));
}

enum store_err
admin_lease(struct admin_op *op)
{
	const char *lease = admin_lease_of(op, 1);
	char state[16];
	enum store_err err;

	if (lease == NULL)
		return STORE_INVALID;
	if ((err = admin_lease_get(op->s, lease, state, sizeof(state))) == STORE_OK)
		json_str(&op->a->last, "lease", state);
	return err;
}

/* Whether file id was brought in completely under this lease: a repeated import passes over it, for replay may have gone on since. */
static bool
file_is_done(struct store *s, const char *lease, uint64_t id)
{
	char key[96], val[8];
	size_t len = sizeof(val);
	int n = snprintf(key, sizeof(key), "lease %s file %llu", lease, (unsigned long long)id);

	return store_get(s, STORE_META, key, (size_t)n, val, &len) == STORE_OK;
}

static enum store_err
file_set_done(struct store *s, const char *lease, uint64_t id)
{
	char key[96];
	int n = snprintf(key, sizeof(key), "lease %s file %llu", lease, (unsigned long long)id);

	return store_put(s, STORE_META, key, (size_t)n, "done", 4);
}

static enum store_err
put_lease(struct admin_op *op, const char *lease, const char *state)
{
	enum store_err err = store_begin(op->s);

	if (err == STORE_OK)
		err = admin_lease_put(op->s, lease, state);
	return err == STORE_OK ? store_commit(op->s, true) : err;
}

enum store_err
admin_import_begin(struct admin_op *op)
{
	const char *lease = admin_lease_of(op, 1);
	char state[16];
	enum store_err err;

	if (lease == NULL)
		return STORE_INVALID;
	if ((err = admin_lease_get(op->s, lease, state, sizeof(state))) != STORE_OK)
		return err;
	if (strcmp(state, "imported") == 0)
		return admin_no(op, "this export was imported here before");
	/* Whoever imports may be a gateway that was set up anew from an older state: no reserved ident is given out twice. */
	if ((err = store_begin(op->s)) != STORE_OK || (err = store_clear(op->s, STORE_IDENTS)) != STORE_OK ||
	    (err = admin_lease_put(op->s, lease, "importing")) != STORE_OK)
		return err;
	return store_commit(op->s, true);
}

/* The lease in word 1, if it is being imported. */
static enum store_err
need_lease(struct admin_op *op, const char **lease)
{
	char state[16];
	enum store_err err;

	if ((*lease = admin_lease_of(op, 1)) == NULL)
		return STORE_INVALID;
	if ((err = admin_lease_get(op->s, *lease, state, sizeof(state))) != STORE_OK)
		return err;
	return strcmp(state, "importing") == 0 ? STORE_OK : admin_no(op, "begin the import first");
}

/* The file in word 2, if it is being imported under the lease. */
static enum store_err
need_file(struct admin_op *op, const char **lease_out, struct store_file *f)
{
	const char *lease;
	char text[64];
	uint64_t id = admin_number(op, 2);
	enum store_err err;

	if (op->why != NULL)
		return STORE_INVALID;
	if ((err = need_lease(op, &lease)) != STORE_OK || (err = store_file_get(op->s, id, f)) != STORE_OK)
		return err;
	snprintf(text, sizeof(text), "importing %s", lease);
	if (f->state != STORE_FILE_IMPORTING || strcmp(f->state_text, text) != 0)
		return admin_no(op, "this file is not being imported");
	*lease_out = lease;
	return STORE_OK;
}

static void
raise(uint64_t *client, uint64_t *server, uint64_t in_client, uint64_t in_server)
{
	if (in_client > *client) {
		*client = in_client;
		*server = in_server;
	}
}

/* A file that this gateway did not know: nothing is held yet, everything else is as the exporting one knew it.  What a
 * relay acknowledged counts from the beginning, so that its device cannot overtake the backlog meanwhile (file_owes). */
static void
as_new(struct store_file *f)
{
	f->id = 0;
	f->held_client_version = f->upstream_client_version;
	f->held_server_version = f->upstream_server_version;
	f->final_client_version = f->final_server_version = 0;
	f->state = STORE_FILE_OK;
}

enum store_err
admin_import_file(struct admin_op *op)
{
	uint64_t query = op->q->nword > 2 ? admin_number(op, 2) : 0;
	struct store_file in, f;
	const char *lease;
	char text[64], own[64];
	uint32_t was;
	enum store_err err;

	if (op->why != NULL)
		return STORE_INVALID;
	if ((err = need_lease(op, &lease)) != STORE_OK || (err = admin_packed_file(op, &in)) != STORE_OK ||
	    (err = store_begin(op->s)) != STORE_OK)
		return err;
	err = store_file_find(op->s, in.endpoint, in.path, in.file_ident, in.file_ident_salt, &f);
	if (err == STORE_NOTFOUND) {
		f = in;
		as_new(&f);
	} else if (err != STORE_OK) {
		return err;
	}
	if (f.id != 0 && file_is_done(op->s, lease, f.id)) {
		json_u64(&op->a->last, "id", f.id);
		json_bool(&op->a->last, "done", true);
		store_abort(op->s);
		return STORE_OK;
	}
	snprintf(text, sizeof(text), "importing %s", lease);
	snprintf(own, sizeof(own), "export %s", lease);
	was = f.state == STORE_FILE_EXPORTED || f.state == STORE_FILE_IMPORTING ? f.state_code : (uint32_t)f.state;
	if ((f.state == STORE_FILE_EXPORTED && strcmp(f.state_text, own) != 0) ||
	    (f.state == STORE_FILE_IMPORTING && strcmp(f.state_text, text) != 0))
		return admin_no(op, "this file's backlog was exported from here under another lease, or is being imported");
	admin_set_state(&f, STORE_FILE_IMPORTING, was, text);
	raise(&f.shown_client_version, &f.shown_server_version, in.shown_client_version, in.shown_server_version);
	if (f.id != 0 && query > 0 && (err = store_query_cut(op->s, f.id, 0, query - 1)) != STORE_OK)
		return err;
	if ((err = admin_keep(op, &f)) != STORE_OK)
		return err;
	json_u64(&op->a->last, "id", f.id);
	return STORE_OK;
}

/* What upstream acknowledged here and no relay did there needs no bringing in. */
static bool
is_old(const struct store_file *f, const struct store_record *r)
{
	return r->client_version <= f->upstream_client_version && f->ack != STORE_ACK_RELAY;
}

static bool
first_query(void *arg, const struct store_query *q)
{
	*(uint64_t *)arg = q->query_version;
	return false;
}

/* One that is older than what the client stands on here is passed over. */
static enum store_err
import_query(struct store *s, uint64_t id, const struct store_query *q)
{
	uint64_t least = 0;
	enum store_err err = store_query_each(s, id, first_query, &least);

	return err == STORE_OK && q->query_version >= least ? store_query_put(s, id, q) : err;
}

enum store_err
admin_import_records(struct admin_op *op)
{
	const uint8_t *p = op->q->data;
	size_t left = op->q->len;
	uint64_t nadded = 0;
	struct store_file f;
	struct store_packed in;
	const char *lease;
	bool added, conflict = false;
	enum store_err err;

	if ((err = need_file(op, &lease, &f)) != STORE_OK || (err = store_begin(op->s)) != STORE_OK)
		return err;
	for (; left > 0 && err == STORE_OK; p += in.len, left -= in.len) {
		if (store_unpack(p, left, &in) != STORE_OK || in.is_file)
			return admin_no(op, "a record of the export is damaged");
		if (in.is_originals) {
			err = store_originals_put(op->s, f.id, p, in.len);
			continue;
		}
		if (in.is_query) {
			err = import_query(op->s, f.id, &in.query);
			continue;
		}
		if (is_old(&f, &in.record))
			continue;
		err = store_append(op->s, f.id, &in.record, &added);
		nadded += err == STORE_OK && added;
		if (err == STORE_DIFFERS) {
			conflict = true; /* the one here stays */
			err = STORE_OK;
		}
	}
	if (err == STORE_OK)
		err = store_commit(op->s, true);
	json_u64(&op->a->last, "added", nadded);
	json_bool(&op->a->last, "conflict", conflict);
	return err;
}

/* Progress never falls (I4), whichever of the two gateways knows more. */
static void
merge(struct store_file *f, const struct store_file *in)
{
	raise(&f->upstream_client_version, &f->upstream_server_version, in->upstream_client_version, in->upstream_server_version);
	raise(&f->shown_client_version, &f->shown_server_version, in->shown_client_version, in->shown_server_version);
	raise(&f->final_client_version, &f->final_server_version, in->final_client_version, in->final_server_version);
	raise(&f->held_client_version, &f->held_server_version, in->held_client_version, in->held_server_version);
	raise(&f->held_client_version, &f->held_server_version, f->upstream_client_version, f->upstream_server_version);
	if (in->offered_client_version > f->offered_client_version)
		f->offered_client_version = in->offered_client_version;
	if (in->locked_server_version > f->locked_server_version)
		f->locked_server_version = in->locked_server_version;
	if (in->download_server_version > f->download_server_version) {
		f->download_server_version = in->download_server_version;
		f->download_client_version = in->download_client_version;
		f->latest_server_version = in->latest_server_version;
		f->latest_server_version_salt = in->latest_server_version_salt;
	}
	f->downloaded = f->downloaded || in->downloaded;
	if (f->bind[0] == '\0')
		memcpy(f->bind, in->bind, sizeof(f->bind));
	if (!userid_known(f->user))
		memcpy(f->user, in->user, STORE_USER);
	if (in->ack == STORE_ACK_RELAY)
		f->ack = STORE_ACK_RELAY;
}

enum store_err
admin_import_end(struct admin_op *op)
{
	bool conflict = op->q->nword > 3 && strcmp(op->q->word[3], "conflict") == 0;
	struct store_file f, in;
	enum store_file_state was;
	const char *lease;
	enum store_err err;
	bool moved;

	if ((err = need_file(op, &lease, &f)) != STORE_OK || (err = admin_packed_file(op, &in)) != STORE_OK ||
	    (err = store_begin(op->s)) != STORE_OK)
		return err;
	was = (enum store_file_state)f.state_code;
	moved = in.ack == STORE_ACK_RELAY && in.backlog_records > 0 && f.upstream_client_version > in.upstream_client_version &&
		f.upstream_client_version > in.offered_client_version;
	merge(&f, &in);
	if (conflict)
		admin_set_state(&f, STORE_FILE_CONFLICT, 0, "the import has other bytes under a client_version that is held here");
	else if (moved)
		admin_set_state(&f, STORE_FILE_CONFLICT, 0, "upstream moved on while a relay-acknowledged backlog was exported");
	else if (in.state != STORE_FILE_OK)
		admin_set_state(&f, in.state, in.state_code, in.state_text);
	else
		admin_set_state(&f, was, 0, was == STORE_FILE_OK ? "" : "as before an import");
	json_str(&op->a->last, "state", admin_state_name(f.state));
	err = file_set_done(op->s, lease, f.id);
	return err == STORE_OK ? admin_keep(op, &f) : err;
}

enum store_err
admin_import_done(struct admin_op *op)
{
	const char *lease;
	enum store_err err = need_lease(op, &lease);

	return err == STORE_OK ? put_lease(op, lease, "imported") : err;
}
