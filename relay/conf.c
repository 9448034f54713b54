/* Reads a configuration file (INI) into struct options.
 *
 * inih splits lines into section, key and value, but it is lenient where an operator's mistake should be seen (facts.md): it
 * cuts long lines and names, takes " ;" for a comment, continues a value on an indented line, and puts the keys after an
 * unterminated section into the one before.  So it gets its lines from next_line(), which refuses all that, says so, and hands
 * on an empty line instead: the rest of the file is checked all the same, and nothing is ever taken from a line with an error.
 *
 * Never uses a half-read file: on any error the options are freed. */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <ini.h>

#include "relay/conf.h"
#include "relay/log.h"

struct reader {
	const char *at, *end; /* what is not read yet */
	unsigned line;	      /* number of the line inih has now, from 1 */
	bool skip_keys;	      /* below a section that is in error */
	bool in_section;
	bool lost;	      /* a line was refused whole: what is not set may have been on it */
	struct options *options;
	struct conf_errors *errs;
	unsigned seen[OPTION_COUNT];	/* line an option was set on, 0 = not */
	bool failed[OPTION_COUNT];	/* that line's value was refused */
	unsigned sections[OPTION_COUNT]; /* line a section began on, kept at its first option */
};

/* ---- errors ---- */

static void __attribute__((format(printf, 3, 4)))
complain(struct conf_errors *errs, unsigned line, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	errs->total++;
	if (errs->n == CONF_ERRORS_MAX)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	errs->v[errs->n].line = line;
	errs->v[errs->n].text = strdup(text);
	if (errs->v[errs->n].text == NULL)
		log_fatal("out_of_memory", "what=conf");
	errs->n++;
}

static int
by_line(const void *a, const void *b)
{
	unsigned la = ((const struct conf_error *)a)->line, lb = ((const struct conf_error *)b)->line;

	return (la > lb) - (la < lb);
}

void
conf_errors_print(const struct conf_errors *errs, FILE *out)
{
	for (size_t i = 0; i < errs->n; i++)
		if (errs->v[i].line > 0)
			fprintf(out, "%s:%u: %s\n", errs->path, errs->v[i].line, errs->v[i].text);
		else
			fprintf(out, "%s: %s\n", errs->path, errs->v[i].text);
	if (errs->total > errs->n)
		fprintf(out, "%s: %zu more errors\n", errs->path, errs->total - errs->n);
}

void
conf_errors_free(struct conf_errors *errs)
{
	for (size_t i = 0; i < errs->n; i++)
		free(errs->v[i].text);
	free(errs->path);
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
		complain(r->errs, r->line, close == NULL ? "section without its ]" : "text behind the ] of a section");
		return false;
	}
	len = (size_t)(close - line - 1);
	if (len == 0 || len > CONF_NAME_MAX) {
		complain(r->errs, r->line, "section name empty or longer than %d bytes", CONF_NAME_MAX);
		return false;
	}
	memcpy(name, line + 1, len);
	name[len] = '\0';
	if (!options_has_section(name, &near)) {
		complain(r->errs, r->line, near != NULL ? "unknown section [%s]; did you mean [%s]?" : "unknown section [%s]",
			 shown(name, quoted), near);
		return false;
	}
	for (int i = 0; i < OPTION_COUNT; i++) {
		if (strcmp(options_section((enum option_id)i), name) != 0)
			continue;
		if (r->sections[i] != 0) {
			complain(r->errs, r->line, "section [%s] again; it began on line %u", name, r->sections[i]);
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
		complain(r->errs, r->line, "neither [section] nor key = value nor a comment");
		return false;
	}
	while (len > 0 && (line[len - 1] == ' ' || line[len - 1] == '\t'))
		len--;
	if (len == 0 || len > CONF_NAME_MAX) {
		complain(r->errs, r->line, "key empty or longer than %d bytes", CONF_NAME_MAX);
		return false;
	}
	for (const char *p = line + 1; *p != '\0'; p++) {
		if (*p == ';' && (p[-1] == ' ' || p[-1] == '\t')) {
			complain(r->errs, r->line, "' ;' within a line: a comment must have its own line");
			return false;
		}
	}
	if (!r->in_section) {
		complain(r->errs, r->line, "key before the first [section]");
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
			complain(r->errs, r->line, "control character (byte %u of the line)", (unsigned)i + 1);
			return false;
		}
	}
	if (len > 0 && (raw[0] == '#' || raw[0] == ';'))
		return false;
	if (len > CONF_LINE_MAX) {
		complain(r->errs, r->line, "line longer than %d bytes", CONF_LINE_MAX);
		return false;
	}
	memcpy(line, raw, len);
	line[len] = '\0';
	if (line[strspn(line, " \t")] == '\0')
		return false;
	if (line[0] == ' ' || line[0] == '\t') {
		complain(r->errs, r->line, "indented line: keys, sections and comments begin in the first column");
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
	size_t len, errors = r->errs->total;

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
	r->lost = r->lost || r->errs->total > errors;
	snprintf(str, (size_t)num, "%s\n", line);
	return str;
}

/* inih's handler: one well-formed key = value.  1 = go on. */
static int
take(void *user, const char *section, const char *name, const char *value)
{
	struct reader *r = user;
	char why[256], quoted[32];
	int near, id = options_find(section, name, &near);

	if (id < 0) {
		shown(name, quoted);
		if (near < 0)
			complain(r->errs, r->line, "unknown key %s in [%s]", quoted, section);
		else
			complain(r->errs, r->line, "unknown key %s in [%s]; did you mean %s in [%s]?", quoted, section,
				 options_name((enum option_id)near), options_section((enum option_id)near));
	} else if (r->seen[id] != 0) {
		complain(r->errs, r->line, "%s again; it was set on line %u", name, r->seen[id]);
	} else {
		r->seen[id] = r->line;
		r->failed[id] = !options_set(r->options, (enum option_id)id, value, why, sizeof why);
		if (r->failed[id])
			complain(r->errs, r->line, "%s", why);
	}
	return 1;
}

/* ---- files ---- */

/* An option whose own line is in error has its default for now: what follows from that is no news. */
static void
cross_check(void *arg, enum option_id id, enum option_id other, const char *text)
{
	struct reader *r = arg;
	unsigned line = r->seen[id] > 0 ? r->seen[id] : r->seen[other];

	if (!r->failed[id] && !r->failed[other] && !(r->lost && (r->seen[id] == 0 || r->seen[other] == 0)))
		complain(r->errs, line, "%s", text);
}

static void
errors_begin(struct conf_errors *errs, const char *path)
{
	memset(errs, 0, sizeof *errs);
	errs->path = strdup(path);
	if (errs->path == NULL)
		log_fatal("out_of_memory", "what=conf");
}

static void
parse(const char *text, size_t len, struct options *o, struct conf_errors *errs)
{
	struct reader r = { .at = text, .end = text + len, .options = o, .errs = errs };
	int bad = ini_parse_stream(next_line, &r, take, &r);

	if (bad != 0)
		complain(errs, bad > 0 ? (unsigned)bad : 0, "cannot be read as key = value"); /* inih saw what we did not */
	options_check(o, cross_check, &r);
	qsort(errs->v, errs->n, sizeof errs->v[0], by_line);
}

bool
conf_parse(const char *name, const void *text, size_t len, struct options *o, struct conf_errors *errs)
{
	errors_begin(errs, name);
	options_defaults(o);
	if (len > CONF_FILE_MAX)
		complain(errs, 0, "larger than %d bytes", CONF_FILE_MAX);
	else
		parse(text, len, o, errs);
	if (errs->n > 0)
		options_free(o);
	return errs->n == 0;
}

bool
conf_load(const char *path, struct options *o, struct conf_errors *errs)
{
	char *text = malloc(CONF_FILE_MAX + 1);
	FILE *in = NULL;
	size_t len = 0;
	bool ok;

	if (text == NULL)
		log_fatal("out_of_memory", "what=conf");
	in = fopen(path, "r");
	if (in != NULL)
		len = fread(text, 1, CONF_FILE_MAX + 1, in);
	if (in == NULL || ferror(in)) {
		memset(o, 0, sizeof *o);
		errors_begin(errs, path);
		complain(errs, 0, "%s", strerror(errno));
		ok = false;
	} else {
		ok = conf_parse(path, text, len, o, errs);
	}
	if (in != NULL)
		fclose(in);
	free(text);
	return ok;
}
