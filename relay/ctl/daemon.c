/* The commands that look at the daemon. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "relay/ctl/ctl.h"
#include "relay/word.h"

typedef unsigned long long ull;

static const char *
field(const struct json_object *o, const char *key)
{
	const char *v = json_get(o, key);

	return v != NULL ? v : "";
}

static bool
is(const struct json_object *o, const char *key, const char *value)
{
	return strcmp(field(o, key), value) == 0;
}

/* ---- status ---- */

const char *
ctl_upstream_of(const char *field, const char *key, int *len)
{
	const char *dot = strrchr(field, '.');

	*len = 0;
	if (strcmp(field, key) == 0)
		return field;
	if (dot == NULL || strncmp(field, CTL_NAMED, strlen(CTL_NAMED)) != 0 || strcmp(dot + 1, key) != 0)
		return NULL;
	*len = (int)(dot - field - (long)strlen(CTL_NAMED));
	return field + strlen(CTL_NAMED);
}

static bool
all_are(const struct json_object *o, const char *key, const char *value)
{
	int len;

	for (size_t i = 0; i < o->n; i++)
		if (ctl_upstream_of(o->field[i].key, key, &len) != NULL && strcmp(o->field[i].value, value) != 0)
			return false;
	return true;
}

/* 2: nothing is taken, or something waits for a person.  1: something waits. */
static int
judge(const struct json_object *o)
{
	if (json_get_u64(o, "attention") > 0 || !is(o, "buffer", "ok"))
		return CTL_FAILED;
	return !all_are(o, "link", "up") || json_get_u64(o, "backlog_records") > 0 || !all_are(o, "replay", "on") || !is(o, "draining", "no")
		       ? CTL_LOOK
		       : CTL_OK;
}

/* prefix: that of its keys. */
static void
print_link(const struct json_object *o, const char *prefix, size_t len)
{
	static const char *const keys[] = { "link", "since_s", "link_mode", "cause", "replay" };
	const char *v[5] = { NULL };
	char key[128], span[TEXT_MAX];

	for (size_t i = 0; i < 5; i++) {
		snprintf(key, sizeof(key), "%.*s%s", (int)len, prefix, keys[i]);
		v[i] = json_get(o, key);
	}
	snprintf(key, sizeof(key), "%.*sconns", (int)len, prefix);
	if (len > 0)
		printf("           %.*s: ", (int)(len - strlen(CTL_NAMED) - 1), prefix + strlen(CTL_NAMED));
	printf("%s for %s", v[0], text_span(span, v[1] != NULL ? strtoull(v[1], NULL, 10) : 0));
	if (v[2] != NULL && strcmp(v[2], "auto") != 0)
		printf(", set %s", v[2]);
	if (len > 0 && v[4] != NULL && strcmp(v[4], "on") != 0)
		printf(", replay %s", v[4]);
	if (len > 0)
		printf(", %llu clients", (ull)json_get_u64(o, key));
	snprintf(key, sizeof(key), "%.*s%sbacklog_records", (int)len, prefix, len > 0 ? "" : "link_");
	if (json_get_u64(o, key) > 0)
		printf(", %llu changesets waiting", (ull)json_get_u64(o, key));
	if (len > 0)
		(void)text_print_budget(", budget ", o, prefix, len);
	if (v[3] != NULL) {
		fputs(": ", stdout);
		text_print(v[3]);
	}
	putchar('\n');
}

static void
print_links(const struct json_object *o)
{
	int len;

	fputs("link       ", stdout);
	if (json_get(o, "link") != NULL)
		print_link(o, "", 0);
	else
		puts("of each upstream:");
	for (size_t i = 0; i < o->n; i++)
		if (ctl_upstream_of(o->field[i].key, "link", &len) != NULL && len > 0)
			print_link(o, o->field[i].key, strlen(o->field[i].key) - strlen("link"));
	if (text_print_budget("budget     ", o, "", 0))
		putchar('\n');
	printf("replay     %s%s\n", all_are(o, "replay", "on") ? "on" : "paused", is(o, "draining", "yes") ? ", draining" : "");
}

/* What the option's words bound, and how full each is. */
static void
print_quotas(const struct json_object *o)
{
	static const char *const keys[] = { "pattern", "state", "bytes", "limit", "refused" };
	char key[32], a[TEXT_MAX], b[TEXT_MAX];
	const char *v[5];

	for (unsigned q = 1;; q++) {
		for (size_t i = 0; i < 5; i++) {
			snprintf(key, sizeof(key), "quota.%u.%s", q, keys[i]);
			if ((v[i] = json_get(o, key)) == NULL)
				return;
		}
		printf("%-10s %s of %s, %s", q == 1 ? "quotas" : "", text_bytes(a, strtoull(v[2], NULL, 10)), text_bytes(b, strtoull(v[3], NULL, 10)), v[1]);
		if (strcmp(v[4], "0") != 0)
			printf(", %s uploads refused", v[4]);
		fputs(": ", stdout);
		text_print(v[0]);
		putchar('\n');
	}
}

static void
print_status(const struct json_object *o)
{
	uint64_t attention = json_get_u64(o, "attention");
	char a[TEXT_MAX], b[TEXT_MAX];

	print_links(o);
	printf("backlog    %llu changesets of %llu files, %s", (ull)json_get_u64(o, "backlog_records"), (ull)json_get_u64(o, "backlog_files"),
	       text_bytes(a, json_get_u64(o, "backlog_bytes")));
	if (json_get_u64(o, "backlog_records") > 0)
		printf("; the oldest is %s old", text_span(a, json_get_u64(o, "oldest_s")));
	if (json_get(o, "drained_in_s") != NULL)
		printf("; %s/s, done in about %s", text_bytes(a, json_get_u64(o, "drain_rate")), text_span(b, json_get_u64(o, "drained_in_s")));
	printf("\nbuffer     %s", field(o, "buffer"));
	if (json_get(o, "full_by") != NULL)
		printf(" (%s)", field(o, "full_by"));
	printf(", %s on disk, %s free\n", text_bytes(a, json_get_u64(o, "disk_bytes")), text_bytes(b, json_get_u64(o, "disk_free")));
	print_quotas(o);
	printf("clients    %llu connections, %llu sessions; %llu connections to the server\n", (ull)json_get_u64(o, "conns"),
	       (ull)json_get_u64(o, "sessions"), (ull)json_get_u64(o, "upstreams"));
	printf("attention  %llu files%s\n", (ull)attention, attention > 0 ? "; see holdfastctl files" : "");
	printf("daemon     %s, process %llu, for %s; recovery %s\n", field(o, "version"), (ull)json_get_u64(o, "pid"),
	       text_span(a, json_get_u64(o, "uptime_s")), field(o, "recovery"));
}

/* Asks and prints; with --json the fields go to end. */
static void
show_status(struct ctl *c, struct json *end)
{
	struct reply r = { 0 };

	ctl_daemon(c, &r, "status");
	c->status = judge(&r.end);
	json_copy(end, &r.end, "status");
	if (!c->json)
		print_status(&r.end);
	reply_free(&r);
}

void
ctl_status(struct ctl *c)
{
	show_status(c, &c->end);
}

/* Repaints until it is interrupted. */
void
ctl_watch(struct ctl *c)
{
	uint64_t s = 2;

	if (c->argc == 1 && (!word_number(c->argv[0], &s) || s == 0 || s > 86400))
		ctl_die(CTL_FAILED, "want seconds: 1 to 86400");
	setvbuf(stdout, NULL, _IOFBF, 65536); /* a screen is painted at once */
	for (;;) {
		struct json j = { 0 };

		if (!c->json && isatty(STDOUT_FILENO))
			fputs("\033[H\033[2J", stdout); /* home, erase */
		json_begin(&j);
		show_status(c, &j);
		json_end(&j);
		if (c->json && !j.failed)
			fputs(j.text, stdout);
		else if (!isatty(STDOUT_FILENO))
			putchar('\n');
		json_free(&j);
		if (fflush(stdout) != 0)
			ctl_die(CTL_FAILED, "standard output: %s", strerror(errno));
		nanosleep(&(struct timespec){ (time_t)s, 0 }, NULL);
	}
}

/* ---- sessions ---- */

void
ctl_sessions(struct ctl *c)
{
	struct reply r = { 0 };
	struct json_object row;
	char span[TEXT_MAX];
	bool first = true;

	ctl_daemon(c, &r, "sessions");
	while (reply_row(&r, &row)) {
		if (c->json) {
			ctl_print_row(&row);
			continue;
		}
		if (first)
			printf("%6s %7s %8s %-10s %-10s %7s %8s %-22s %s\n", "CONN", "SESSION", "AGE", "STATE", "UPSTREAM", "FILE", "IDENT",
			       "PEER", "PATH");
		first = false;
		printf("%6s %7s %8s %-10s %-10s %7s %8s %-22s ", field(&row, "conn"), field(&row, "session"),
		       text_span(span, json_get_u64(&row, "age_s")), field(&row, "state"), field(&row, "upstream"),
		       json_get(&row, "file") != NULL ? field(&row, "file") : "-", json_get(&row, "ident") != NULL ? field(&row, "ident") : "-",
		       field(&row, "peer"));
		text_print_at(field(&row, "endpoint"), field(&row, "path"));
		putchar('\n');
	}
	json_copy(&c->end, &r.end, "status");
	if (!c->json)
		printf("%s connections, %s sessions\n", field(&r.end, "conns"), field(&r.end, "sessions"));
	reply_free(&r);
}

/* ---- config, version ---- */

void
ctl_config(struct ctl *c)
{
	struct reply r = { 0 };
	struct json_object row;

	ctl_daemon(c, &r, "config");
	if (!c->json)
		printf("%-28s %-24s %-16s %-6s %s\n", "OPTION", "VALUE", "DEFAULT", "RELOAD", "SET IN");
	while (reply_row(&r, &row)) {
		if (c->json) {
			ctl_print_row(&row);
			continue;
		}
		printf("%-28s %-24s %-16s %-6s %s", field(&row, "option"), field(&row, "value"), field(&row, "default"),
		       json_get_bool(&row, "reloadable") ? "yes" : "no", field(&row, "file"));
		if (json_get_u64(&row, "line") > 0)
			printf(":%s", field(&row, "line"));
		putchar('\n');
	}
	json_copy(&c->end, &r.end, "status");
	reply_free(&r);
}

void
ctl_version(struct ctl *c)
{
	struct reply r = { 0 };

	ctl_daemon(c, &r, "version");
	json_copy(&c->end, &r.end, "status");
	if (!c->json)
		printf("holdfastctl " HOLDFAST_VERSION "\nholdfast %s, process %s\n", field(&r.end, "version"), field(&r.end, "pid"));
	reply_free(&r);
}
