/* The commands that look at the buffer, and those that decide about one file. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "protocol/changeset.h"
#include "protocol/changeset_text.h"

#include "buffer/store.h"

#include "relay/ctl/ctl.h"

typedef unsigned long long ull;

static bool
is_state(const struct json_object *row, const char *state)
{
	const char *s = json_get(row, "state");

	return s != NULL && strcmp(s, state) == 0;
}

/* ---- stat, list ---- */

struct sums {
	struct ctl *c;
	uint64_t files, records, bytes, attention;
};

static void
add_up(struct sums *x, const struct json_object *row)
{
	x->files++;
	x->records += json_get_u64(row, "records");
	x->bytes += json_get_u64(row, "bytes");
	x->attention += !is_state(row, "ok");
}

static void
stat_row(void *arg, const struct json_object *row)
{
	add_up(arg, row);
}

void
ctl_stat(struct ctl *c)
{
	static const char *const fields[] = { "files", "files_with_backlog", "records", "bytes", "oldest_ms", "disk_bytes" };
	struct sums x = { .c = c };
	struct reply r = { 0 };
	char a[TEXT_MAX], b[TEXT_MAX];

	ctl_each_file(c, stat_row, &x);
	ctl_must(c, &r, NULL, 0, "stat");
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		json_u64(&c->end, fields[i], json_get_u64(&r.end, fields[i]));
	json_u64(&c->end, "attention", x.attention);
	ctl_raise(c, x.attention > 0 ? CTL_LOOK : CTL_OK);
	if (!c->json) {
		printf("daemon         %s\n", source_is_live(c->src) ? "running" : "stopped");
		printf("files          %llu, %llu with a backlog\n", (ull)json_get_u64(&r.end, "files"),
		       (ull)json_get_u64(&r.end, "files_with_backlog"));
		printf("backlog        %llu changesets, %s\n", (ull)json_get_u64(&r.end, "records"),
		       text_bytes(a, json_get_u64(&r.end, "bytes")));
		printf("oldest         %s\n", text_age(a, json_get_u64(&r.end, "oldest_ms")));
		printf("on disk        %s\n", text_bytes(b, json_get_u64(&r.end, "disk_bytes")));
		printf("need attention %llu\n", (ull)x.attention);
	}
	reply_free(&r);
}

static void
list_row(void *arg, const struct json_object *row)
{
	struct sums *x = arg;
	char bytes[TEXT_MAX], age[TEXT_MAX];
	const char *path = json_get(row, "path"), *endpoint = json_get(row, "endpoint"), *state = json_get(row, "state");

	add_up(x, row);
	if (x->c->json) {
		ctl_print_row(row);
		return;
	}
	if (x->files == 1)
		printf("%6s %-9s %9s %10s %8s %8s  %s\n", "ID", "STATE", "RECORDS", "BYTES", "OLDEST", "IDENT", "PATH  ENDPOINT");
	printf("%6llu %-9s %9llu %10s %8s %8llu  ", (ull)json_get_u64(row, "id"), state != NULL ? state : "?",
	       (ull)json_get_u64(row, "records"), text_bytes(bytes, json_get_u64(row, "bytes")),
	       text_age(age, json_get_u64(row, "oldest_ms")), (ull)json_get_u64(row, "ident"));
	text_print(path != NULL ? path : "?");
	fputs("  ", stdout);
	text_print(endpoint != NULL ? endpoint : "?");
	putchar('\n');
}

void
ctl_list(struct ctl *c)
{
	struct sums x = { .c = c };
	char bytes[TEXT_MAX];

	ctl_each_file(c, list_row, &x);
	json_u64(&c->end, "files", x.files);
	json_u64(&c->end, "records", x.records);
	json_u64(&c->end, "bytes", x.bytes);
	json_u64(&c->end, "attention", x.attention);
	ctl_raise(c, x.attention > 0 ? CTL_LOOK : CTL_OK);
	if (!c->json)
		printf("%llu files, %llu changesets, %s; %llu need attention\n", (ull)x.files, (ull)x.records, text_bytes(bytes, x.bytes),
		       (ull)x.attention);
}

/* ---- show ---- */

static void
show_file(const struct ctl *c, const struct json_object *row)
{
	static const struct {
		const char *label, *field;
		bool time;
	} lines[] = {
		{ "id", "id", false },		      { "state", "state", false },
		{ "reason", "reason", false },	      { "error code", "code", false },
		{ "since", "state_time_ms", true },   { "endpoint", "endpoint", false },
		{ "path", "path", false },	      { "client file", "ident", false },
		{ "acknowledged by", "ack", false },  { "backlog", "records", false },
		{ "bytes", "bytes", false },	      { "oldest", "oldest_ms", true },
		{ "held up to", "held_client_version", false },
		{ "upstream has", "upstream_client_version", false },
		{ "relay told", "shown_client_version", false },
		{ "downloaded", "download_server_version", false },
		{ "last seen", "seen_ms", true },     { "first seen", "created_ms", true },
	};
	char text[TEXT_MAX];

	if (c->json) {
		ctl_print_row(row);
		return;
	}
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		const char *v = json_get(row, lines[i].field);

		if (v == NULL || *v == '\0')
			continue;
		printf("%-16s ", lines[i].label);
		text_print(lines[i].time ? text_time(text, strtoull(v, NULL, 10)) : v);
		putchar('\n');
	}
}

static void
show_hex(struct json *j, const struct store_record *rec)
{
	char *hex;

	if (j == NULL) {
		for (uint32_t i = 0; i < rec->len; i++)
			printf("%s%02x%s", i % 32 == 0 ? "    " : "", rec->data[i], i % 32 == 31 || i + 1 == rec->len ? "\n" : "");
		return;
	}
	if ((hex = malloc((size_t)rec->len * 2 + 1)) == NULL)
		ctl_die(CTL_FAILED, "out of memory");
	hex[0] = '\0';
	for (uint32_t i = 0; i < rec->len; i++)
		snprintf(hex + (size_t)i * 2, 3, "%02x", rec->data[i]);
	json_str(j, "hex", hex);
	free(hex);
}

static void
print_instructions(FILE *f, const char *before, const struct cs_parsed *parsed)
{
	char text[CS_TEXT_MAX];

	for (size_t i = 0; i < parsed->n; i++) {
		cs_text(parsed, i, text);
		if (text[0] != '\0')
			fprintf(f, "%s%s\n", before, text);
	}
}

/* A line each; with --json as one string. */
static void
show_instructions(struct json *j, const struct cs_parsed *parsed)
{
	char *all = NULL;
	size_t len;
	FILE *f;

	if (j == NULL) {
		print_instructions(stdout, "    ", parsed);
		return;
	}
	if ((f = open_memstream(&all, &len)) == NULL)
		ctl_die(CTL_FAILED, "out of memory");
	print_instructions(f, "", parsed);
	if (fclose(f) != 0)
		ctl_die(CTL_FAILED, "out of memory");
	json_str(j, "instructions", all);
	free(all);
}

/* The one place where the contents of a changeset are shown; j is NULL where it is for people. */
static void
show_changeset(const struct ctl *c, struct json *j, const struct store_record *rec)
{
	struct cs_parsed parsed = { 0 };
	enum proto_err err;

	if (c->hex) {
		show_hex(j, rec);
	} else if ((err = cs_parse(&parsed, rec->data, rec->len)) == PROTO_OK) {
		show_instructions(j, &parsed);
	} else if (j != NULL) {
		json_str(j, "unreadable", proto_strerror(err));
	} else {
		printf("    unreadable: %s\n", proto_strerror(err));
	}
	cs_free(&parsed);
}

static void
show_record(const struct ctl *c, const struct store_record *rec)
{
	struct json j = { 0 };
	char when[TEXT_MAX], bytes[TEXT_MAX];

	if (c->json) {
		json_begin(&j);
		json_u64(&j, "client_version", rec->client_version);
		json_u64(&j, "server_version", rec->server_version);
		json_u64(&j, "origin_timestamp", rec->origin_timestamp);
		json_u64(&j, "origin_file_ident", rec->origin_file_ident);
		json_u64(&j, "received_ms", rec->received_ms);
		json_u64(&j, "bytes", rec->len);
		show_changeset(c, &j, rec);
		json_end(&j);
		if (!j.failed)
			fputs(j.text, stdout);
		json_free(&j);
		return;
	}
	printf("%10llu %10llu  %-21s %10s\n", (ull)rec->client_version, (ull)rec->server_version, text_time(when, rec->received_ms),
	       text_bytes(bytes, rec->len));
	show_changeset(c, NULL, rec);
}

/* One slice; returns the records in it. */
static uint64_t
show_slice(const struct ctl *c, const struct reply *r)
{
	struct store_packed p;
	uint64_t n = 0;

	for (size_t at = 0; at < r->len; at += p.len, n++) {
		if (store_unpack(r->data + at, r->len - at, &p) != STORE_OK)
			ctl_die(CTL_FAILED, "the answer is malformed");
		show_record(c, &p.record);
	}
	return n;
}

void
ctl_show(struct ctl *c)
{
	struct reply r = { 0 };
	struct json_object row;
	uint64_t id, after = 0, bad, records = 0, damaged = 0, n;

	ctl_file(c, &r, &row);
	id = json_get_u64(&row, "id");
	ctl_raise(c, is_state(&row, "ok") ? CTL_OK : CTL_LOOK);
	show_file(c, &row);
	if (!c->json && json_get_u64(&row, "records") > 0)
		printf("\n%10s %10s  %-21s %10s\n", "VERSION", "ON SERVER", "RECEIVED", "BYTES");
	do {
		ctl_must(c, &r, NULL, 0, "read %llu %llu", (ull)id, (ull)after);
		n = show_slice(c, &r);
		records += n;
		if (n > 0)
			after = json_get_u64(&r.end, "last");
		if ((bad = json_get_u64(&r.end, "bad")) != 0) {
			after = bad;
			damaged++;
			if (!c->json)
				printf("%10llu   damaged\n", (ull)bad);
		}
	} while (n > 0 || bad != 0);
	json_u64(&c->end, "id", id);
	json_u64(&c->end, "records", records);
	json_u64(&c->end, "damaged", damaged);
	ctl_raise(c, damaged > 0 ? CTL_LOOK : CTL_OK);
	reply_free(&r);
}

/* ---- verify, compact ---- */

void
ctl_verify(struct ctl *c)
{
	uint64_t v[7] = { 0 }, problems = 0;
	static const char *const names[] = { "phase", "id", "after", "records", "bytes", "count0", "bytes0" };
	struct reply r = { 0 };
	struct json_object row;
	struct progress progress;

	ctl_must(c, &r, NULL, 0, "stat");
	progress_begin(&progress, c, "verify", true, json_get_u64(&r.end, "bytes"));
	do {
		ctl_must(c, &r, NULL, 0, "verify %llu %llu %llu %llu %llu %llu %llu", (ull)v[0], (ull)v[1], (ull)v[2], (ull)v[3],
			 (ull)v[4], (ull)v[5], (ull)v[6]);
		for (size_t i = 0; i < 7; i++)
			v[i] = json_get_u64(&r.end, names[i]);
		progress_add(&progress, json_get_u64(&r.end, "read"));
		while (reply_row(&r, &row)) {
			problems++;
			if (c->json) {
				ctl_print_row(&row);
				continue;
			}
			printf("file %llu", (ull)json_get_u64(&row, "file"));
			if (json_get(&row, "client_version") != NULL)
				printf(", client_version %llu", (ull)json_get_u64(&row, "client_version"));
			printf(": %s\n", json_get(&row, "problem") != NULL ? json_get(&row, "problem") : "?");
		}
	} while (!json_get_bool(&r.end, "done"));
	progress_end(&progress);
	ctl_must(c, &r, NULL, 0, "stat");
	json_u64(&c->end, "files", json_get_u64(&r.end, "files"));
	json_u64(&c->end, "records", json_get_u64(&r.end, "records"));
	json_u64(&c->end, "problems", problems);
	ctl_raise(c, problems > 0 ? CTL_LOOK : CTL_OK);
	if (!c->json)
		printf("%llu files, %llu changesets: %llu problems\n", (ull)json_get_u64(&r.end, "files"),
		       (ull)json_get_u64(&r.end, "records"), (ull)problems);
	reply_free(&r);
}

uint64_t
ctl_compact_all(struct ctl *c)
{
	uint64_t table = 0, id = 0, version = 0, freed = 0;
	struct reply r = { 0 };
	struct progress progress;

	progress_begin(&progress, c, "compact, pages freed", false, 0);
	do {
		ctl_must(c, &r, NULL, 0, "compact %llu %llu %llu", (ull)table, (ull)id, (ull)version);
		table = json_get_u64(&r.end, "table");
		id = json_get_u64(&r.end, "id");
		version = json_get_u64(&r.end, "version");
		freed += json_get_u64(&r.end, "pages_freed");
		progress_add(&progress, json_get_u64(&r.end, "pages_freed"));
	} while (!json_get_bool(&r.end, "done"));
	progress_end(&progress);
	reply_free(&r);
	return freed;
}

void
ctl_compact(struct ctl *c)
{
	uint64_t freed, before;
	struct reply r = { 0 };
	char a[TEXT_MAX], b[TEXT_MAX];

	ctl_must(c, &r, NULL, 0, "stat");
	before = json_get_u64(&r.end, "disk_bytes");
	freed = ctl_compact_all(c);
	ctl_must(c, &r, NULL, 0, "stat");
	json_u64(&c->end, "pages_freed", freed);
	json_u64(&c->end, "disk_bytes_before", before);
	json_u64(&c->end, "disk_bytes", json_get_u64(&r.end, "disk_bytes"));
	if (!c->json)
		printf("on disk %s, before %s\n", text_bytes(a, json_get_u64(&r.end, "disk_bytes")), text_bytes(b, before));
	reply_free(&r);
}

/* ---- discard, retry ---- */

static void
ask_to_discard(const struct ctl *c, const struct json_object *row)
{
	char bytes[TEXT_MAX], answer[16];

	if (c->yes)
		return;
	if (!isatty(STDIN_FILENO))
		ctl_die(CTL_FAILED, "this throws data away: confirm with --yes");
	fprintf(stderr, "Throw away %llu changesets (%s) of file %llu that the server does not have? [y/N] ",
		(ull)json_get_u64(row, "records"), text_bytes(bytes, json_get_u64(row, "bytes")), (ull)json_get_u64(row, "id"));
	if (fgets(answer, sizeof(answer), stdin) == NULL || (answer[0] != 'y' && answer[0] != 'Y'))
		ctl_die(CTL_FAILED, "nothing was discarded");
}

void
ctl_discard(struct ctl *c)
{
	struct reply r = { 0 };
	struct json_object row;
	uint64_t id, removed = 0;

	ctl_file(c, &r, &row);
	id = json_get_u64(&row, "id");
	ask_to_discard(c, &row);
	do {
		ctl_must(c, &r, NULL, 0, "discard %llu", (ull)id);
		removed += json_get_u64(&r.end, "removed");
	} while (json_get_u64(&r.end, "left") > 0);
	json_u64(&c->end, "id", id);
	json_u64(&c->end, "removed", removed);
	json_u64(&c->end, "shown_client_version", json_get_u64(&r.end, "shown_client_version"));
	if (!c->json) {
		printf("file %llu: %llu changesets discarded\n", (ull)id, (ull)removed);
		if (json_get_u64(&r.end, "shown_client_version") > 0)
			printf("what the device was told stays known: uploaded up to %llu\n",
			       (ull)json_get_u64(&r.end, "shown_client_version"));
	}
	reply_free(&r);
}

void
ctl_retry(struct ctl *c)
{
	struct reply r = { 0 };
	struct json_object row;
	uint64_t id;
	const char *was;

	ctl_file(c, &r, &row);
	id = json_get_u64(&row, "id");
	ctl_must(c, &r, NULL, 0, c->force ? "retry %llu force" : "retry %llu", (ull)id);
	was = json_get(&r.end, "was");
	json_u64(&c->end, "id", id);
	json_str(&c->end, "was", was != NULL ? was : "");
	if (!c->json)
		printf("file %llu: was %s, is ok\n", (ull)id, was != NULL ? was : "?");
	reply_free(&r);
}
