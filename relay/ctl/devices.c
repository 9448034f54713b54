/* devices: what of each client file still waits here, and whether its device may leave.
 *
 *   yes   nothing waits
 *   kept  something waits, and the relay has it on its disk and sends it up without the device
 *   no    something is only on the device, or a person has to look first
 *
 * Of a device that is not connected the relay knows only what it has itself. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/ctl/ctl.h"

struct device {
	uint64_t file, ident, conn, records, bytes, oldest_ms, unwritten; /* file 0: nothing of it was ever stored; conn 0: not connected */
	bool refused, kept, waiting, ok;
	char *path, *endpoint; /* owned */
	char *full_quota;      /* its pattern, owned; NULL: it is not that which is full */
};

struct devices {
	struct ctl *c;
	struct device *connected;
	size_t n, cap;
	uint64_t files, staying;
};

static char *
copy(const struct json_object *row, const char *key)
{
	const char *v = json_get(row, key);
	char *s = strdup(v != NULL ? v : "?");

	if (s == NULL)
		ctl_die(CTL_FAILED, "out of memory");
	return s;
}

static void
read_sessions(struct devices *d)
{
	struct reply r = { 0 };
	struct json_object row;

	ctl_daemon(d->c, &r, "sessions");
	while (reply_row(&r, &row)) {
		if (json_get(&row, "file") == NULL)
			continue; /* it has not said yet who it is */
		if (d->n == d->cap) {
			d->cap = d->cap != 0 ? 2 * d->cap : 64;
			d->connected = realloc(d->connected, d->cap * sizeof(*d->connected));
			if (d->connected == NULL)
				ctl_die(CTL_FAILED, "out of memory");
		}
		d->connected[d->n++] = (struct device){ .file = json_get_u64(&row, "file"), .ident = json_get_u64(&row, "ident"),
			.conn = json_get_u64(&row, "conn"), .unwritten = json_get_u64(&row, "unwritten_bytes"),
			.refused = json_get_bool(&row, "refused"), .kept = json_get_bool(&row, "kept"),
			.full_quota = json_get(&row, "full_quota") != NULL ? copy(&row, "full_quota") : NULL,
			.waiting = json_get_bool(&row, "waiting"), .ok = true, .path = copy(&row, "path"), .endpoint = copy(&row, "endpoint") };
	}
	reply_free(&r);
}

/* *why: in words, "" for yes. */
static const char *
judge(const struct device *v, const char **why)
{
	*why = "";
	if (!v->ok)
		*why = "set aside: somebody must look";
	else if (v->refused && v->full_quota != NULL)
		*why = "its quota was full: what it uploaded last is only there";
	else if (v->refused)
		*why = "the buffer was full: what it uploaded last is only there";
	else if (v->conn != 0 && v->waiting && !v->kept)
		*why = "not kept here";
	else if (v->conn != 0 && v->waiting && v->unwritten > 0)
		*why = "not on the disk yet";
	if (**why != '\0')
		return "no";
	if (v->records == 0)
		return "yes";
	*why = "on its way by the relay";
	return "kept";
}

static void
print_json(const struct device *v, const char *leave, const char *why)
{
	struct json j = { 0 };

	json_begin(&j);
	json_u64(&j, "file", v->file);
	json_u64(&j, "ident", v->ident);
	json_u64(&j, "conn", v->conn);
	json_str(&j, "endpoint", v->endpoint);
	json_str(&j, "path", v->path);
	json_u64(&j, "records", v->records);
	json_u64(&j, "bytes", v->bytes);
	json_u64(&j, "oldest_ms", v->oldest_ms);
	json_str(&j, "leave", leave);
	json_str(&j, "why", why);
	if (v->full_quota != NULL)
		json_str(&j, "full_quota", v->full_quota);
	json_end(&j);
	if (!j.failed)
		fputs(j.text, stdout);
	json_free(&j);
}

static void
print_text(const struct device *v, const char *leave, const char *why, bool first)
{
	char bytes[TEXT_MAX], age[TEXT_MAX], conn[24] = "-";

	if (first)
		printf("%6s %8s %6s %9s %10s %8s %-5s %s\n", "FILE", "IDENT", "CONN", "RECORDS", "BYTES", "OLDEST", "LEAVE", "PATH");
	if (v->conn != 0)
		snprintf(conn, sizeof(conn), "%llu", (unsigned long long)v->conn);
	printf("%6llu %8llu %6s %9llu %10s %8s %-5s ", (unsigned long long)v->file, (unsigned long long)v->ident, conn,
	       (unsigned long long)v->records, text_bytes(bytes, v->bytes), text_age(age, v->oldest_ms), leave);
	text_print_at(v->endpoint, v->path);
	printf("%s%s%s%s\n", why[0] != '\0' ? "  " : "", why, v->ok && v->full_quota != NULL ? ": " : "", v->ok && v->full_quota != NULL ? v->full_quota : "");
}

static void
show(struct devices *d, const struct device *v)
{
	const char *why, *leave = judge(v, &why);

	if (d->c->json)
		print_json(v, leave, why);
	else
		print_text(v, leave, why, d->files == 0);
	d->files++;
	d->staying += strcmp(leave, "no") == 0;
}

/* A file that the buffer knows, with what its session says if it has one, which then is done with. */
static void
each_file(void *arg, const struct json_object *row)
{
	struct devices *d = arg;
	struct device v = { .file = json_get_u64(row, "id") };
	const char *state = json_get(row, "state");

	for (size_t i = 0; i < d->n && v.conn == 0; i++) {
		if (d->connected[i].file != v.file)
			continue;
		v = d->connected[i];
		d->connected[i] = d->connected[--d->n];
		free(v.path);
		free(v.endpoint);
	}
	v.ident = json_get_u64(row, "ident");
	v.records = json_get_u64(row, "records");
	v.bytes = json_get_u64(row, "bytes");
	v.oldest_ms = json_get_u64(row, "oldest_ms");
	v.ok = state != NULL && strcmp(state, "ok") == 0;
	v.path = copy(row, "path");
	v.endpoint = copy(row, "endpoint");
	show(d, &v);
	free(v.path);
	free(v.endpoint);
	free(v.full_quota);
}

void
ctl_devices(struct ctl *c)
{
	struct devices d = { .c = c };

	read_sessions(&d);
	ctl_each_file(c, each_file, &d);
	for (size_t i = 0; i < d.n; i++) { /* of these nothing was ever stored */
		show(&d, &d.connected[i]);
		free(d.connected[i].path);
		free(d.connected[i].endpoint);
		free(d.connected[i].full_quota);
	}
	json_u64(&c->end, "files", d.files);
	json_u64(&c->end, "staying", d.staying);
	ctl_raise(c, d.staying > 0 ? CTL_LOOK : CTL_OK);
	if (!c->json)
		printf("%llu files; %llu devices should stay\n", (unsigned long long)d.files, (unsigned long long)d.staying);
	free(d.connected);
}
