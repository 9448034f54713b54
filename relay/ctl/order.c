/* The commands that tell the daemon to do something; each is one request. */
#include <stdio.h>
#include <string.h>

#include "relay/ctl/ctl.h"
#include "relay/word.h"

/* Asks "verb" with the command's arguments and what (may be NULL) behind them; the answer's last fields go to the final object. */
static void
order(struct ctl *c, struct reply *r, const char *verb, const char *what)
{
	char words[16384], *p = words;

	*p = '\0';
	for (int i = 0; i < c->argc; i++) {
		if (strlen(c->argv[i]) > 2048)
			ctl_die(CTL_FAILED, "the argument is too long");
		*p++ = ' ';
		p = word_escape(p, c->argv[i]);
	}
	ctl_daemon(c, r, "%s%s%s%s", verb, words, what != NULL ? " " : "", what != NULL ? what : "");
	json_copy(&c->end, &r->end, "status");
}

static const char *
field_of(const struct json_object *o, const char *key)
{
	const char *v = json_get(o, key);

	return v != NULL ? v : "";
}

static const char *
field(const struct reply *r, const char *key)
{
	return field_of(&r->end, key);
}

static void
print_link(const struct json_object *o)
{
	const char *name = json_get(o, "upstream");

	if (name != NULL)
		printf("%-16s ", name[0] != '\0' ? name : "(no name)");
	printf("link %s, mode %s", field_of(o, "link"), field_of(o, "link_mode"));
	(void)text_print_budget(", budget ", o, "", 0);
	if (field_of(o, "cause")[0] != '\0') {
		fputs(": ", stdout);
		text_print(field_of(o, "cause"));
	}
	putchar('\n');
}

static void
print_replay(const struct json_object *o)
{
	const char *name = json_get(o, "upstream");

	if (name != NULL)
		printf("%-16s ", name[0] != '\0' ? name : "(no name)");
	printf("replay %s\n", field_of(o, "replay"));
}

/* What it says of one upstream, or row by row of all.  Returns how many links are not up. */
static unsigned
show_links(struct ctl *c, struct reply *r, void (*print)(const struct json_object *o))
{
	struct json_object row;
	unsigned down = 0;

	while (reply_row(r, &row)) {
		down += strcmp(field_of(&row, "link"), "up") != 0;
		if (c->json)
			ctl_print_row(&row);
		else
			print(&row);
	}
	if (json_get(&r->end, "link") == NULL)
		return down;
	if (!c->json)
		print(&r->end);
	return strcmp(field(r, "link"), "up") != 0;
}

/* The last argument of a command that does something: the state of the link says nothing about how that went. */
static bool
is_order(const struct ctl *c)
{
	const char *word = c->argc > 0 ? c->argv[c->argc - 1] : "";

	return c->argc > 2 || strcmp(word, "online") == 0 || strcmp(word, "offline") == 0 || strcmp(word, "auto") == 0;
}

void
ctl_link(struct ctl *c)
{
	struct reply r = { 0 };

	order(c, &r, "link", NULL);
	if (show_links(c, &r, print_link) > 0 && !is_order(c))
		ctl_raise(c, CTL_LOOK);
	reply_free(&r);
}

static void
replay(struct ctl *c, const char *what)
{
	struct reply r = { 0 };

	order(c, &r, "replay", what);
	(void)show_links(c, &r, print_replay);
	reply_free(&r);
}

void
ctl_pause(struct ctl *c)
{
	replay(c, "pause");
}

void
ctl_resume(struct ctl *c)
{
	replay(c, "resume");
}

void
ctl_kill(struct ctl *c)
{
	struct reply r = { 0 };

	order(c, &r, "kill", NULL);
	if (!c->json)
		printf("connection %s of %s closed\n", field(&r, "conn"), field(&r, "peer"));
	reply_free(&r);
}

void
ctl_log_level(struct ctl *c)
{
	struct reply r = { 0 };

	order(c, &r, "log-level", NULL);
	if (!c->json)
		printf("%s\n", field(&r, "log_level"));
	reply_free(&r);
}

void
ctl_rotate(struct ctl *c)
{
	struct reply r = { 0 };

	order(c, &r, "rotate", NULL);
	if (!c->json)
		printf("the log goes to %s\n", field(&r, "log_file"));
	reply_free(&r);
}

static void
show_reload_row(const struct json_object *row)
{
	const char *error = json_get(row, "error"), *file = json_get(row, "file"), *option = json_get(row, "option"), *section = json_get(row, "section");
	const char *was = json_get(row, "was"), *now = json_get(row, "now");

	if (error != NULL && file != NULL)
		fprintf(stderr, "%s:%llu: %s\n", file, (unsigned long long)json_get_u64(row, "line"), error);
	else if (option != NULL && was != NULL && now != NULL)
		printf("%s: %s, was %s%s\n", option, now, was, json_get_bool(row, "applied") ? "" : "; needs a restart");
	else if (section != NULL && now != NULL)
		printf("[%s] %s%s\n", section, now, json_get_bool(row, "applied") ? "" : "; needs a restart");
}

/* With errors the rows tell them, and the answer is "error". */
void
ctl_reload(struct ctl *c)
{
	struct reply r = { 0 };
	struct json_object row;
	bool ok = source_ask_daemon(c->src, &r, "reload");

	while (reply_row(&r, &row)) {
		if (c->json)
			ctl_print_row(&row);
		else
			show_reload_row(&row);
	}
	if (!ok)
		ctl_die(CTL_FAILED, "%s", reply_error(&r));
	json_copy(&c->end, &r.end, "status");
	ctl_raise(c, json_get_u64(&r.end, "restart") > 0 ? CTL_LOOK : CTL_OK);
	if (!c->json)
		printf("%s changed, %s need a restart\n", field(&r, "changed"), field(&r, "restart"));
	reply_free(&r);
}
