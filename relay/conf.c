/* Reads the configuration (INI files) into struct options; see conf.h.
 *
 * inih splits lines into section, key and value, but it is lenient where an operator's mistake should be seen (facts.md): it
 * cuts long lines and names, takes " ;" for a comment, continues a value on an indented line, and puts the keys after an
 * unterminated section into the one before.  So it gets its lines from next_line(), which refuses all that, says so, and hands
 * on an empty line instead: the rest of the file is checked all the same, and nothing is ever taken from a line with an error.
 *
 * Never uses a half-read file: on any error the options are freed. */
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

/* All files together. */
struct loading {
	struct options *options;
	struct conf_errors *errs;
	struct place set[OPTION_COUNT]; /* where an option was set last */
	bool failed[OPTION_COUNT];	/* its value there was refused */
	bool lost;			/* a line was refused whole: what is not set may have been on it */
};

/* One of them. */
struct reader {
	struct loading *all;
	size_t file;
	const char *at, *end; /* what is not read yet */
	unsigned line;	      /* number of the line inih has now, from 1 */
	bool skip_keys;	      /* below a section that is in error */
	bool in_section;
	unsigned sections[OPTION_COUNT]; /* line a section began on, kept at its first option */
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

/* A line that begins with '['; line has no newline.  False: in error. */
static bool
check_section(struct reader *r, const char *line)
{
	char name[CONF_NAME_MAX + 1], quoted[32];
	const char *close = strchr(line, ']'), *near;
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
	memcpy(name, line + 1, len);
	name[len] = '\0';
	if (!options_has_section(name, &near)) {
		complain(r, near != NULL ? "unknown section [%s]; did you mean [%s]?" : "unknown section [%s]",
			 shown(name, quoted), near);
		return false;
	}
	for (int i = 0; i < OPTION_COUNT; i++) {
		if (strcmp(options_section((enum option_id)i), name) != 0)
			continue;
		if (r->sections[i] != 0) {
			complain(r, "section [%s] again; it began on line %u", name, r->sections[i]);
			return false;
		}
		r->sections[i] = r->line;
		break;
	}
	r->skip_keys = false;
	return true;
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

/* inih's handler: one well-formed key = value.  1 = go on. */
static int
take(void *user, const char *section, const char *name, const char *value)
{
	struct reader *r = user;
	struct loading *all = r->all;
	char why[256], quoted[32];
	int near, id = options_find(section, name, &near);

	if (id < 0) {
		shown(name, quoted);
		if (near < 0)
			complain(r, "unknown key %s in [%s]", quoted, section);
		else
			complain(r, "unknown key %s in [%s]; did you mean %s in [%s]?", quoted, section,
				 options_name((enum option_id)near), options_section((enum option_id)near));
	} else if (all->set[id].line != 0 && all->set[id].file == r->file) {
		complain(r, "%s again; it was set on line %u", name, all->set[id].line);
	} else {
		all->set[id] = (struct place){ r->file, r->line };
		all->failed[id] = !options_set(all->options, (enum option_id)id, value, why, sizeof why);
		if (all->failed[id])
			complain(r, "%s", why);
	}
	return 1;
}

/* ---- files ---- */

static void
begin(struct loading *all, struct options *o, struct conf_errors *errs)
{
	memset(all, 0, sizeof *all);
	memset(errs, 0, sizeof *errs);
	options_defaults(o);
	all->options = o;
	all->errs = errs;
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

/* An option whose own line is in error has its default for now: what follows from that is no news. */
static void
cross_check(void *arg, enum option_id id, enum option_id other, const char *text)
{
	struct loading *all = arg;
	struct place at = all->set[id].line > 0 ? all->set[id] : all->set[other];

	if (!all->failed[id] && !all->failed[other] && !(all->lost && (all->set[id].line == 0 || all->set[other].line == 0)))
		add_error(all->errs, at.file, at.line, "%s", text);
}

static bool
finish(struct loading *all)
{
	struct conf_errors *errs = all->errs;

	options_check(all->options, cross_check, all);
	qsort(errs->v, errs->n, sizeof errs->v[0], by_place);
	if (errs->n > 0)
		options_free(all->options);
	return errs->n == 0;
}

bool
conf_parse(const char *name, const void *text, size_t len, struct options *o, struct conf_errors *errs)
{
	struct loading all;

	begin(&all, o, errs);
	parse(&all, add_path(errs, name), text, len);
	return finish(&all);
}

bool
conf_load(const char *path, struct options *o, struct conf_origins *origins, struct conf_errors *errs)
{
	struct loading all;
	bool ok;

	begin(&all, o, errs);
	load(&all, path);
	load_fragments(&all, path);
	ok = finish(&all);
	if (origins == NULL)
		return ok;
	memset(origins, 0, sizeof *origins);
	for (int i = 0; ok && i < OPTION_COUNT; i++) {
		if (all.set[i].line == 0)
			continue;
		origins->of[i].line = all.set[i].line;
		origins->of[i].path = strdup(errs->path[all.set[i].file]);
		if (origins->of[i].path == NULL)
			log_fatal("out_of_memory", "what=conf");
	}
	return ok;
}

/* ---- origins ---- */

void
conf_origins_free(struct conf_origins *origins)
{
	for (int i = 0; i < OPTION_COUNT; i++)
		free(origins->of[i].path);
	memset(origins, 0, sizeof *origins);
}

void
conf_origins_note(void *origins, enum option_id id, FILE *out)
{
	const struct conf_origins *from = origins;

	if (from->of[id].path != NULL)
		fprintf(out, "# set in %s:%u\n", from->of[id].path, from->of[id].line);
	else
		fputs("# not set\n", out);
}
