/* The commands that tell the daemon to do something; each is one request. */
#include <stdio.h>
#include <string.h>

#include "relay/ctl/ctl.h"
#include "relay/word.h"

/* Asks "verb" with the command's arguments; the answer's fields go to the final object. */
static void
order(struct ctl *c, struct reply *r, const char *verb)
{
	char words[16384], *p = words;

	*p = '\0';
	for (int i = 0; i < c->argc; i++) {
		if (strlen(c->argv[i]) > 2048)
			ctl_die(CTL_FAILED, "the argument is too long");
		*p++ = ' ';
		p = word_escape(p, c->argv[i]);
	}
	ctl_daemon(c, r, "%s%s", verb, words);
	json_copy(&c->end, &r->end, "status");
}

static const char *
field(const struct reply *r, const char *key)
{
	const char *v = json_get(&r->end, key);

	return v != NULL ? v : "";
}

void
ctl_link(struct ctl *c)
{
	struct reply r = { 0 };

	order(c, &r, "link");
	if (!c->json) {
		printf("link %s, mode %s", field(&r, "link"), field(&r, "link_mode"));
		if (field(&r, "cause")[0] != '\0') {
			fputs(": ", stdout);
			text_print(field(&r, "cause"));
		}
		putchar('\n');
	}
	ctl_raise(c, strcmp(field(&r, "link"), "up") == 0 || c->argc > 0 ? CTL_OK : CTL_LOOK);
	reply_free(&r);
}

static void
replay(struct ctl *c, const char *verb)
{
	struct reply r = { 0 };

	order(c, &r, verb);
	if (!c->json)
		printf("replay %s\n", field(&r, "replay"));
	reply_free(&r);
}

void
ctl_pause(struct ctl *c)
{
	replay(c, "replay pause");
}

void
ctl_resume(struct ctl *c)
{
	replay(c, "replay resume");
}

void
ctl_kill(struct ctl *c)
{
	struct reply r = { 0 };

	order(c, &r, "kill");
	if (!c->json)
		printf("connection %s of %s closed\n", field(&r, "conn"), field(&r, "peer"));
	reply_free(&r);
}

void
ctl_log_level(struct ctl *c)
{
	struct reply r = { 0 };

	order(c, &r, "log-level");
	if (!c->json)
		printf("%s\n", field(&r, "log_level"));
	reply_free(&r);
}

void
ctl_rotate(struct ctl *c)
{
	struct reply r = { 0 };

	order(c, &r, "rotate");
	if (!c->json)
		printf("the log goes to %s\n", field(&r, "log_file"));
	reply_free(&r);
}

static void
show_reload_row(const struct json_object *row)
{
	const char *error = json_get(row, "error"), *file = json_get(row, "file"), *option = json_get(row, "option");
	const char *was = json_get(row, "was"), *now = json_get(row, "now");

	if (error != NULL && file != NULL)
		fprintf(stderr, "%s:%llu: %s\n", file, (unsigned long long)json_get_u64(row, "line"), error);
	else if (option != NULL && was != NULL && now != NULL)
		printf("%s: %s, was %s%s\n", option, now, was, json_get_bool(row, "applied") ? "" : "; needs a restart");
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
