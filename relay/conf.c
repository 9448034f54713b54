/* Reads the configuration (INI files) into its sections; see conf.h.
 *
 * inih splits lines into section, key and value, but it is lenient where an operator's mistake should be seen (facts.md): it
 * cuts long lines and names, takes " ;" for a comment, continues a value on an indented line, and puts the keys after an
 * unterminated section into the one before.  So it gets its lines from next_line(), which refuses all that, says so, and hands
 * on an empty line instead: the rest of the file is checked all the same, and nothing is ever taken from a line with an error.
 *
 * Never uses a half-read file: on any error what was read is freed. */
#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <ini.h>

#include "relay/conf.h"
#include "relay/log.h"

struct place {
	size_t file;
	unsigned line; /* 0: nowhere */
};

/* What is known of a section while it is read. */
struct part {
	struct section *section;
	struct place begun;		/* where it began last */
	struct place set[OPTION_COUNT]; /* where an option was set last */
	bool failed[OPTION_COUNT];	/* its value there was refused */
};

/* All files together. */
struct loading {
	struct sections *sections;
	struct conf_errors *errs;
	struct part *part[SECTIONS_MAX + 3]; /* the first is the global one; two may be added that no file has */
	size_t npart;
	bool lost; /* a line was refused whole: what is not set may have been on it */
};

/* One of them. */
struct reader {
	struct loading *all;
	size_t file;
	const char *at, *end; /* what is not read yet */
	unsigned line;	      /* number of the line inih has now, from 1 */
	bool skip_keys;	      /* below a section that is in error */
	bool in_section;
	struct part *part;	       /* the section that keys are for */
	unsigned begun[OPTION_COUNT]; /* line that a global section began on, kept at its first option */
};

/* ---- errors ---- */

static void __attribute__((format(printf, 4, 5)))
add_error(struct conf_errors *errs, size_t file, unsigned line, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	errs->total++;
	if (errs->n == CONF_ERRORS_MAX)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	errs->v[errs->n].file = file;
	errs->v[errs->n].line = line;
	errs->v[errs->n].text = strdup(text);
	if (errs->v[errs->n].text == NULL)
		log_fatal("out_of_memory", "what=conf");
	errs->n++;
}

/* About the line that r is at. */
#define complain(r, ...) add_error((r)->all->errs, (r)->file, (r)->line, __VA_ARGS__)

static int
by_place(const void *a, const void *b)
{
	const struct conf_error *ea = a, *eb = b;

	if (ea->file != eb->file)
		return ea->file < eb->file ? -1 : 1;
	return (ea->line > eb->line) - (ea->line < eb->line);
}

void
conf_errors_print(const struct conf_errors *errs, FILE *out)
{
	for (size_t i = 0; i < errs->n; i++)
		if (errs->v[i].line > 0)
			fprintf(out, "%s:%u: %s\n", errs->path[errs->v[i].file], errs->v[i].line, errs->v[i].text);
		else
			fprintf(out, "%s: %s\n", errs->path[errs->v[i].file], errs->v[i].text);
	if (errs->total > errs->n)
		fprintf(out, "%s: %zu more errors\n", errs->path[0], errs->total - errs->n);
}

void
conf_errors_free(struct conf_errors *errs)
{
	for (size_t i = 0; i < errs->n; i++)
		free(errs->v[i].text);
	for (size_t i = 0; i < errs->npath; i++)
		free(errs->path[i]);
	memset(errs, 0, sizeof *errs);
}

/* ---- lines ---- */

/* Quotes up to 30 characters of something from the file, printable. */
static const char *
shown(const char *text, char out[32])
{
	size_t n = 0;

	for (; text[n] != '\0' && n < 30; n++)
		out[n] = text[n] > ' ' && text[n] < 0x7f ? text[n] : '?';
	out[n] = '\0';
	return out;
}

/* The one of that kind and name, or NULL. */
static struct part *
find_part(const struct loading *all, enum section_kind kind, const char *name)
{
	for (size_t i = 0; i < all->npart; i++)
		if (all->part[i]->section->kind == kind && strcmp(all->part[i]->section->name, name) == 0)
			return all->part[i];
	return NULL;
}

static struct part *
add_part(struct loading *all, enum section_kind kind, const char *name)
{
	struct part *p = calloc(1, sizeof *p);

	if (p == NULL)
		log_fatal("out_of_memory", "what=conf");
	p->section = kind == SECTION_GLOBAL ? sections_global(all->sections) : sections_add(all->sections, kind, name);
	all->part[all->npart++] = p;
	return p;
}

/* The kind of section that word, the first of title, names; *first is its first option.  False: unknown, and said so. */
static bool
find_kind(struct reader *r, const char *title, const char *word, enum section_kind *kind, enum option_id *first)
{
	char quoted[32];
	const char *near = NULL;
	bool known = options_has_section(word, &near);

	for (*first = 0; known && strcmp(options_section(*first), word) != 0;)
		(*first)++;
	*kind = known ? section_owner(*first) : SECTION_GLOBAL;
	if (known && (*kind != SECTION_GLOBAL || strcmp(title, word) == 0)) /* only listeners and upstreams have names */
		return true;
	complain(r, !known && near != NULL ? "unknown section [%s]; did you mean [%s]?" : "unknown section [%s]", shown(title, quoted), near);
	return false;
}

/* In one file a section stands once; another file may go on with it. */
static bool
begin_section(struct reader *r, const char *title, const char *name, enum section_kind kind, enum option_id first)
{
	unsigned again;

	r->part = find_part(r->all, kind, name);
	if (r->part == NULL && r->all->npart > SECTIONS_MAX) {
		complain(r, "more than %d sections of listeners and upstreams", SECTIONS_MAX);
		return false;
	}
	if (r->part == NULL)
		r->part = add_part(r->all, kind, name);
	again = kind == SECTION_GLOBAL ? r->begun[first] : r->part->begun.file == r->file ? r->part->begun.line : 0;
	if (again != 0) {
		complain(r, "section [%s] again; it began on line %u", title, again);
		return false;
	}
	r->begun[first] = r->line;
	r->part->begun = (struct place){ r->file, r->line };
	return true;
}

/* A line that begins with '['; line has no newline.  False: in error. */
static bool
check_section(struct reader *r, const char *line)
{
	char title[CONF_NAME_MAX + 1], word[CONF_NAME_MAX + 1];
	const char *close = strchr(line, ']'), *name;
	enum section_kind kind;
	enum option_id first;
	size_t len;

	r->in_section = true;
	r->skip_keys = true;
	if (close == NULL || close[1 + strspn(close + 1, " \t")] != '\0') {
		complain(r, close == NULL ? "section without its ]" : "text behind the ] of a section");
		return false;
	}
	len = (size_t)(close - line - 1);
	if (len == 0 || len > CONF_NAME_MAX) {
		complain(r, "section name empty or longer than %d bytes", CONF_NAME_MAX);
		return false;
	}
	snprintf(title, sizeof title, "%.*s", (int)len, line + 1);
	snprintf(word, sizeof word, "%.*s", (int)strcspn(title, " "), title);
	name = title + strlen(word);
	name += name[0] == ' ';
	if (!find_kind(r, title, word, &kind, &first))
		return false;
	if (title[strlen(word)] != '\0' && !section_name_ok(name)) {
		complain(r, "the name of a section [%s NAME] is 1 to %d letters, digits, - and _", word, SECTION_NAME_MAX);
		return false;
	}
	r->skip_keys = !begin_section(r, title, name, kind, first);
	return !r->skip_keys;
}

/* A line that is no section and no comment.  False: in error, or to be skipped. */
static bool
check_key(struct reader *r, const char *line)
{
	size_t len = strcspn(line, "=:");

	if (line[len] != '=') {
		complain(r, "neither [section] nor key = value nor a comment");
		return false;
	}
	while (len > 0 && (line[len - 1] == ' ' || line[len - 1] == '\t'))
		len--;
	if (len == 0 || len > CONF_NAME_MAX) {
		complain(r, "key empty or longer than %d bytes", CONF_NAME_MAX);
		return false;
	}
	for (const char *p = line + 1; *p != '\0'; p++) {
		if (*p == ';' && (p[-1] == ' ' || p[-1] == '\t')) {
			complain(r, "' ;' within a line: a comment must have its own line");
			return false;
		}
	}
	if (!r->in_section) {
		complain(r, "key before the first [section]");
		return false;
	}
	return !r->skip_keys; /* one error for a bad section, not one for each of its keys */
}

/* raw[0..len): a line without its newline.  True: well-formed, to be given to inih. */
static bool
check_line(struct reader *r, const char *raw, size_t len, char line[CONF_LINE_MAX + 1])
{
	for (size_t i = 0; i < len; i++) {
		if (((unsigned char)raw[i] < ' ' && raw[i] != '\t') || raw[i] == 0x7f) {
			complain(r, "control character (byte %u of the line)", (unsigned)i + 1);
			return false;
		}
	}
	if (len > 0 && (raw[0] == '#' || raw[0] == ';'))
		return false;
	if (len > CONF_LINE_MAX) {
		complain(r, "line longer than %d bytes", CONF_LINE_MAX);
		return false;
	}
	memcpy(line, raw, len);
	line[len] = '\0';
	if (line[strspn(line, " \t")] == '\0')
		return false;
	if (line[0] == ' ' || line[0] == '\t') {
		complain(r, "indented line: keys, sections and comments begin in the first column");
		return false;
	}
	return line[0] == '[' ? check_section(r, line) : check_key(r, line);
}

/* inih's reader: like fgets.  Every line of the file gives one line, empty if it is in error. */
static char *
next_line(char *str, int num, void *stream)
{
	struct reader *r = stream;
	char line[CONF_LINE_MAX + 1];
	const char *raw = r->at, *newline;
	size_t len, errors = r->all->errs->total;

	if (num < CONF_LINE_MAX + 2)
		PANIC("inih was built with a shorter line than the packaged one");
	if (r->at == r->end)
		return NULL;
	newline = memchr(raw, '\n', (size_t)(r->end - raw));
	len = (size_t)((newline != NULL ? newline : r->end) - raw);
	r->at = newline != NULL ? newline + 1 : r->end;
	r->line++;
	if (r->line == 1 && len >= 3 && memcmp(raw, "\xef\xbb\xbf", 3) == 0) { /* an editor's byte order mark */
		raw += 3;
		len -= 3;
	}
	if (len > 0 && raw[len - 1] == '\r')
		len--;
	if (!check_line(r, raw, len, line))
		line[0] = '\0';
	r->all->lost = r->all->lost || r->all->errs->total > errors;
	snprintf(str, (size_t)num, "%s\n", line);
	return str;
}

/* inih's handler: one well-formed key = value, in the section that next_line() saw last.  1 = go on. */
static int
take(void *user, const char *title, const char *name, const char *value)
{
	struct reader *r = user;
	struct part *p = r->part;
	char why[256], quoted[32], word[CONF_NAME_MAX + 1];
	int near, id;

	snprintf(word, sizeof word, "%.*s", (int)strcspn(title, " "), title);
	id = options_find(word, name, &near);
	if (id < 0) {
		shown(name, quoted);
		if (near < 0)
			complain(r, "unknown key %s in [%s]", quoted, title);
		else
			complain(r, "unknown key %s in [%s]; did you mean %s in [%s]?", quoted, title, options_name((enum option_id)near),
				 section_owner((enum option_id)near) == p->section->kind && p->section->name[0] != '\0' ?
					 title :
					 options_section((enum option_id)near));
	} else if (p->set[id].line != 0 && p->set[id].file == r->file) {
		complain(r, "%s again; it was set on line %u", name, p->set[id].line);
	} else {
		p->set[id] = (struct place){ r->file, r->line };
		p->failed[id] = !options_set(&p->section->opt, (enum option_id)id, value, why, sizeof why);
		if (p->failed[id])
			complain(r, "%s", why);
	}
	return 1;
}

/* ---- files ---- */

static void
begin(struct loading *all, struct sections *sections, struct conf_errors *errs)
{
	memset(all, 0, sizeof *all);
	memset(errs, 0, sizeof *errs);
	sections_init(sections);
	all->sections = sections;
	all->errs = errs;
	(void)add_part(all, SECTION_GLOBAL, "");
}

/* The index of one more file; path is copied. */
static size_t
add_path(struct conf_errors *errs, const char *path)
{
	errs->path[errs->npath] = strdup(path);
	if (errs->path[errs->npath] == NULL)
		log_fatal("out_of_memory", "what=conf");
	return errs->npath++;
}

static void
parse(struct loading *all, size_t file, const char *text, size_t len)
{
	struct reader r = { .all = all, .file = file, .at = text, .end = text + len };
	int bad;

	if (len > CONF_FILE_MAX) {
		add_error(all->errs, file, 0, "larger than %d bytes", CONF_FILE_MAX);
		all->lost = true;
		return;
	}
	bad = ini_parse_stream(next_line, &r, take, &r);
	if (bad != 0)
		add_error(all->errs, file, bad > 0 ? (unsigned)bad : 0, "cannot be read as key = value"); /* inih saw what we did not */
}

static void
load(struct loading *all, const char *path)
{
	size_t file = add_path(all->errs, path), len = 0;
	char *text = malloc(CONF_FILE_MAX + 1);
	FILE *in = fopen(path, "re");

	if (text == NULL)
		log_fatal("out_of_memory", "what=conf");
	if (in != NULL)
		len = fread(text, 1, CONF_FILE_MAX + 1, in);
	if (in == NULL || ferror(in)) {
		add_error(all->errs, file, 0, "%s", strerror(errno));
		all->lost = true;
	} else {
		parse(all, file, text, len);
	}
	if (in != NULL)
		fclose(in);
	free(text);
}

static int
is_fragment(const struct dirent *e)
{
	size_t len = strlen(e->d_name);

	return e->d_name[0] != '.' && len > 4 && strcmp(e->d_name + len - 4, ".ini") == 0;
}

/* In the order of the bytes of their names, whatever the locale. */
static int
by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static void
load_fragments(struct loading *all, const char *beside)
{
	const char *slash = strrchr(beside, '/');
	size_t len = slash != NULL ? (size_t)(slash - beside) + 1 : 0;
	char path[4096];
	struct dirent **list;
	int n;

	snprintf(path, sizeof path, "%.*sconf.d", (int)len, beside);
	n = scandir(path, &list, is_fragment, by_name);
	if (n < 0) {
		if (errno != ENOENT)
			add_error(all->errs, add_path(all->errs, path), 0, "%s", strerror(errno));
		return;
	}
	for (int i = 0; i < n; i++) {
		snprintf(path, sizeof path, "%.*sconf.d/%s", (int)len, beside, list[i]->d_name);
		free(list[i]);
		if (i < CONF_FILES_MAX - 1)
			load(all, path);
		else if (i == CONF_FILES_MAX - 1)
			add_error(all->errs, 0, 0, "conf.d has more than %d files", CONF_FILES_MAX - 1);
	}
	free(list);
}

/* ---- all of it together ---- */

/* Where option id of what s stands for is set; *failed: and in error. */
static struct place
place_of(const struct loading *all, const struct section *s, enum option_id id, bool *failed)
{
	const struct section *owner = section_owner(id) == SECTION_GLOBAL ? sections_global(all->sections) :
				      section_owner(id) == s->kind	  ? s :
									    s->upstream;
	size_t i = 0;

	while (all->part[i]->section != owner)
		i++;
	*failed = *failed || all->part[i]->failed[id];
	return all->part[i]->set[id];
}

/* An option whose own line is in error has its default for now: what follows from that is no news. */
static void
cross_check(void *arg, const struct section *s, enum option_id id, enum option_id other, const char *text)
{
	struct loading *all = arg;
	bool failed = false;
	struct place at = place_of(all, s, id, &failed), second = place_of(all, s, other, &failed);

	if (failed || (all->lost && (at.line == 0 || second.line == 0)))
		return;
	if (at.line == 0)
		at = second;
	if (at.line == 0 && s->name[0] != '\0') /* where it ought to stand */
		at = find_part(all, s->kind, s->name)->begun;
	add_error(all->errs, at.file, at.line, "%s", text);
}

/* The upstream that a listener means, or the first, with an error, so that all else can be checked. */
static struct section *
find_upstream(struct loading *all, const struct part *p)
{
	const char *want = p->section->opt.listener_upstream;
	struct section *first = sections_next(all->sections, NULL, SECTION_UPSTREAM);
	struct section *u = sections_find(all->sections, SECTION_UPSTREAM, want);
	struct place at = p->set[OPTION_listener_upstream].line != 0 ? p->set[OPTION_listener_upstream] : p->begun;
	char title[SECTION_TITLE_MAX], quoted[32];

	if (u != NULL || (want[0] == '\0' && sections_next(all->sections, first, SECTION_UPSTREAM) == NULL))
		return u != NULL ? u : first;
	if (all->lost)
		return first; /* it may be what is missing */
	section_title(p->section, OPTION_listener_upstream, title);
	if (want[0] == '\0')
		add_error(all->errs, at.file, at.line, "[%s] must say which upstream it is for: there are several, and all have names", title);
	else
		add_error(all->errs, at.file, at.line, "upstream: there is no [upstream %s]", shown(want, quoted));
	return first;
}

/* A file without a section has it with its defaults. */
static void
wire(struct loading *all)
{
	if (sections_next(all->sections, NULL, SECTION_LISTENER) == NULL)
		(void)add_part(all, SECTION_LISTENER, "");
	if (sections_next(all->sections, NULL, SECTION_UPSTREAM) == NULL)
		(void)add_part(all, SECTION_UPSTREAM, "");
	for (size_t i = 0; i < all->npart; i++)
		if (all->part[i]->section->kind == SECTION_LISTENER)
			all->part[i]->section->upstream = find_upstream(all, all->part[i]);
}

static void
note_origins(const struct loading *all)
{
	for (size_t i = 0; i < all->npart; i++) {
		struct section *s = all->part[i]->section;

		for (int id = 0; id < OPTION_COUNT; id++) {
			const struct place *at = &all->part[i]->set[id];

			if (at->line == 0)
				continue;
			s->origin[id].line = at->line;
			s->origin[id].path = strdup(all->errs->path[at->file]);
			if (s->origin[id].path == NULL)
				log_fatal("out_of_memory", "what=conf");
		}
	}
}

static bool
finish(struct loading *all)
{
	struct conf_errors *errs = all->errs;

	wire(all);
	sections_combine(all->sections);
	sections_check(all->sections, cross_check, all);
	qsort(errs->v, errs->n, sizeof errs->v[0], by_place);
	if (errs->n > 0)
		sections_free(all->sections);
	else
		note_origins(all);
	for (size_t i = 0; i < all->npart; i++)
		free(all->part[i]);
	return errs->n == 0;
}

bool
conf_parse(const char *name, const void *text, size_t len, struct sections *out, struct conf_errors *errs)
{
	struct loading all;

	begin(&all, out, errs);
	parse(&all, add_path(errs, name), text, len);
	return finish(&all);
}

bool
conf_load(const char *path, struct sections *out, struct conf_errors *errs)
{
	struct loading all;

	begin(&all, out, errs);
	load(&all, path);
	load_fragments(&all, path);
	return finish(&all);
}
