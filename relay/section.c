/* The sections of the configuration and their combinations; see section.h. Reads no file (relay/conf does), never logs. */
#include <stdlib.h>
#include <string.h>

#include "relay/log.h"
#include "relay/section.h"

static const char *const kind_names[] = { [SECTION_GLOBAL] = "", [SECTION_LISTENER] = "listener", [SECTION_UPSTREAM] = "upstream" };

/* ---- the list ---- */

void
sections_init(struct sections *all)
{
	TAILQ_INIT(&all->list);
	all->n = 0;
	sections_add(all, SECTION_GLOBAL, "");
}

void
sections_free(struct sections *all)
{
	struct section *s;

	while (all->n > 0) {
		s = TAILQ_FIRST(&all->list);
		sections_remove(all, s);
		section_free(s);
	}
	memset(all, 0, sizeof *all);
}

/* Unnamed ones stand before named ones, so that "the first" is the one that was there before others had names. */
static void
insert(struct sections *all, struct section *s)
{
	struct section *at;

	TAILQ_FOREACH (at, &all->list, entry)
		if (s->name[0] == '\0' && at->name[0] != '\0')
			break;
	if (at != NULL)
		TAILQ_INSERT_BEFORE(at, s, entry);
	else
		TAILQ_INSERT_TAIL(&all->list, s, entry);
	all->n++;
}

struct section *
sections_add(struct sections *all, enum section_kind kind, const char *name)
{
	struct section *s = calloc(1, sizeof *s);

	if (s == NULL)
		log_fatal("out_of_memory", "what=section");
	s->kind = kind;
	snprintf(s->name, sizeof s->name, "%s", name);
	options_defaults(&s->opt);
	insert(all, s);
	return s;
}

void
sections_remove(struct sections *all, struct section *s)
{
	TAILQ_REMOVE(&all->list, s, entry);
	all->n--;
}

void
section_free(struct section *s)
{
	options_free(&s->opt);
	for (int i = 0; i < OPTION_COUNT; i++)
		free(s->origin[i].path);
	free(s);
}

struct section *
sections_find(const struct sections *all, enum section_kind kind, const char *name)
{
	struct section *s;

	TAILQ_FOREACH (s, &all->list, entry)
		if (s->kind == kind && strcmp(s->name, name) == 0)
			return s;
	return NULL;
}

struct section *
sections_global(const struct sections *all)
{
	return sections_next(all, NULL, SECTION_GLOBAL);
}

struct section *
sections_next(const struct sections *all, const struct section *s, enum section_kind kind)
{
	struct section *next = s == NULL ? TAILQ_FIRST(&all->list) : TAILQ_NEXT(s, entry);

	while (next != NULL && next->kind != kind)
		next = TAILQ_NEXT(next, entry);
	return next;
}

/* ---- whose options ---- */

enum section_kind
section_owner(enum option_id id)
{
	const char *name = options_section(id);

	if (strcmp(name, kind_names[SECTION_LISTENER]) == 0)
		return SECTION_LISTENER;
	return strcmp(name, kind_names[SECTION_UPSTREAM]) == 0 ? SECTION_UPSTREAM : SECTION_GLOBAL;
}

void
section_title(const struct section *s, enum option_id id, char out[SECTION_TITLE_MAX])
{
	snprintf(out, SECTION_TITLE_MAX, s->name[0] != '\0' ? "%s %s" : "%s",
		 s->kind == SECTION_GLOBAL ? options_section(id) : kind_names[s->kind], s->name);
}

bool
section_name_ok(const char *name)
{
	size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_");

	return n > 0 && n <= SECTION_NAME_MAX && name[n] == '\0';
}

/* Those of one kind. */
static void
copy_kind(struct options *o, const struct options *from, enum section_kind kind)
{
	for (int i = 0; i < OPTION_COUNT; i++)
		if (section_owner((enum option_id)i) == kind)
			options_copy(o, from, (enum option_id)i);
}

void
section_take(struct section *s, const struct options *from, bool reloadable_only)
{
	for (int i = 0; i < OPTION_COUNT; i++) {
		enum option_id id = (enum option_id)i;

		if (section_owner(id) == s->kind && (!reloadable_only || options_reloadable(id)))
			options_copy(&s->opt, from, id);
	}
}

/* The first listener that names upstream; NULL: none does. */
static const struct section *
first_listener(const struct sections *all, const struct section *upstream)
{
	const struct section *s = NULL;

	while ((s = sections_next(all, s, SECTION_LISTENER)) != NULL)
		if (s->upstream == upstream)
			return s;
	return NULL;
}

void
sections_combine(struct sections *all)
{
	struct section *global = sections_global(all), *s = NULL;
	const struct section *first;

	while ((s = sections_next(all, s, SECTION_LISTENER)) != NULL) {
		copy_kind(&s->opt, &global->opt, SECTION_GLOBAL);
		copy_kind(&s->opt, &s->upstream->opt, SECTION_UPSTREAM);
	}
	while ((s = sections_next(all, s, SECTION_UPSTREAM)) != NULL) {
		copy_kind(&s->opt, &global->opt, SECTION_GLOBAL);
		first = first_listener(all, s);
		if (first != NULL)
			copy_kind(&s->opt, &first->opt, SECTION_LISTENER);
	}
	first = sections_next(all, NULL, SECTION_LISTENER);
	if (first == NULL)
		return;
	copy_kind(&global->opt, &first->opt, SECTION_LISTENER);
	copy_kind(&global->opt, &first->opt, SECTION_UPSTREAM);
}

/* ---- checks ---- */

struct check {
	section_complain *complain;
	void *arg;
	const struct section *s;
};

/* Of a pair the listener tells, then the upstream: so nothing is told by all that have a copy of it. */
static enum section_kind
teller(enum option_id id, enum option_id other)
{
	enum section_kind a = section_owner(id), b = section_owner(other);

	if (a == SECTION_LISTENER || b == SECTION_LISTENER)
		return SECTION_LISTENER;
	return a == SECTION_UPSTREAM || b == SECTION_UPSTREAM ? SECTION_UPSTREAM : SECTION_GLOBAL;
}

static void
tell(void *arg, enum option_id id, enum option_id other, const char *text)
{
	const struct check *c = arg;
	char title[SECTION_TITLE_MAX], long_text[300];
	size_t n = strlen(kind_names[c->s->kind]);

	if (teller(id, other) != c->s->kind)
		return;
	section_title(c->s, id, title);
	if (c->s->name[0] != '\0' && text[0] == '[' && strncmp(text + 1, kind_names[c->s->kind], n) == 0 && text[n + 1] == ']') {
		snprintf(long_text, sizeof long_text, "[%s%s", title, text + n + 1);
		text = long_text;
	}
	c->complain(c->arg, c->s, id, other, text);
}

bool
section_same_address(const struct section *a, const struct section *b)
{
	const char *port = strrchr(a->opt.listen_address, ':');

	return strcmp(a->opt.listen_address, b->opt.listen_address) == 0 && (port == NULL || strcmp(port, ":0") != 0);
}

static void
check_addresses(const struct sections *all, section_complain *complain, void *arg)
{
	const struct section *a, *b = NULL;
	char title[SECTION_TITLE_MAX], text[200];

	while ((b = sections_next(all, b, SECTION_LISTENER)) != NULL) {
		for (a = sections_next(all, NULL, SECTION_LISTENER); a != b; a = sections_next(all, a, SECTION_LISTENER)) {
			if (!section_same_address(a, b))
				continue;
			section_title(a, OPTION_listen_address, title);
			snprintf(text, sizeof text, "address is that of [%s] already", title);
			complain(arg, b, OPTION_listen_address, OPTION_listen_address, text);
			break;
		}
	}
}

void
sections_check(const struct sections *all, section_complain *complain, void *arg)
{
	struct check c = { complain, arg, NULL };

	TAILQ_FOREACH (c.s, &all->list, entry)
		options_check(&c.s->opt, tell, &c);
	check_addresses(all, complain, arg);
}

/* ---- dump ---- */

static void
note_origin(void *arg, enum option_id id, FILE *out)
{
	const struct section *s = arg;

	if (s->origin[id].path != NULL)
		fprintf(out, "# set in %s:%u\n", s->origin[id].path, s->origin[id].line);
	else
		fputs("# not set\n", out);
}

void
sections_dump(const struct sections *all, bool origins, FILE *out)
{
	char title[SECTION_TITLE_MAX];

	for (int i = 0; i < OPTION_COUNT; i++) {
		enum option_id id = (enum option_id)i;
		enum section_kind kind = section_owner(id);
		struct section *s = NULL;

		if (i > 0 && strcmp(options_section(id), options_section((enum option_id)(i - 1))) == 0)
			continue;
		while ((s = sections_next(all, s, kind)) != NULL) {
			section_title(s, id, title);
			fprintf(out, "%s[%s]\n", i > 0 ? "\n" : "", title);
			options_dump(&s->opt, options_section(id), origins ? note_origin : NULL, s, out);
		}
	}
}
