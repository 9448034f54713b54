/* The daemon's options, every function an expansion of relay/options.def.
 *
 * The table is expanded once into rows[]; the rest walks it.  A field is reached by its offset, so adding an option is one line
 * in the table.  Never reads a file, never logs (but for running out of memory). */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "relay/address.h"
#include "relay/log.h"
#include "relay/options.h"
#include "relay/period.h"
#include "relay/priority.h"
#include "relay/quota.h"
#include "relay/schedule.h"

enum type { TYPE_STRING, TYPE_BOOL, TYPE_SIZE, TYPE_DURATION, TYPE_COUNT, TYPE_ENUM };

struct row {
	const char *section, *name;
	enum type type;
	size_t offset;	 /* of the field in struct options */
	const char *def; /* NULL for an enum */
	int def_index;
	uint64_t min, max;
	bool reload;
	const char *values; /* "a|b|c" of an enum */
	const char *help;
};

static const struct row rows[] = {
#define OPT(section, name, type, field, def, min, max, reload, help) \
	{ #section, #name, TYPE_##type, offsetof(struct options, field), def, 0, min, max, reload, NULL, help },
#define OPT_ENUM(section, name, field, def, values, reload, help) \
	{ #section, #name, TYPE_ENUM, offsetof(struct options, field), NULL, def, 0, 0, reload, values, help },
#include "relay/options.def"
};

struct unit {
	const char *suffix;
	uint64_t factor;
};

/* Largest first, which is the order to format in. */
static const struct unit size_units[] = {
	{ "GiB", 1ULL << 30 }, { "MiB", 1ULL << 20 }, { "KiB", 1ULL << 10 }, { "", 1 }, { NULL, 0 },
};
static const struct unit duration_units[] = {
	{ "d", 86400000 }, { "h", 3600000 }, { "min", 60000 }, { "s", 1000 }, { "ms", 1 }, { NULL, 0 },
};
static const struct unit count_units[] = { { "", 1 }, { NULL, 0 } };

static const struct unit *
units_of(enum type type)
{
	return type == TYPE_SIZE ? size_units : type == TYPE_DURATION ? duration_units : count_units;
}

static void *
field(struct options *o, const struct row *r)
{
	return (char *)o + r->offset;
}

static const void *
field_const(const struct options *o, const struct row *r)
{
	return (const char *)o + r->offset;
}

static void
set_string(char **at, const char *value)
{
	char *copy = strdup(value);

	if (copy == NULL)
		log_fatal("out_of_memory", "what=options");
	free(*at);
	*at = copy;
}

/* ---- values as text ---- */

/* Formats v in the largest unit that is exact. */
static void
format_number(enum type type, uint64_t v, char *text, size_t len)
{
	const struct unit *u = units_of(type);

	while (v % u->factor != 0 || (v == 0 && u->factor != 1))
		u++;
	snprintf(text, len, "%llu%s", (unsigned long long)(v / u->factor), u->suffix);
}

/* The index'th of "a|b|c" as (start, length); false past the end. */
static bool
enum_value(const char *values, int index, const char **start, size_t *len)
{
	while (index-- > 0) {
		values = strchr(values, '|');
		if (values == NULL)
			return false;
		values++;
	}
	*start = values;
	*len = strcspn(values, "|");
	return true;
}

void
options_text(const struct options *o, enum option_id id, char *out, size_t out_len)
{
	const struct row *r = &rows[id];
	const void *at = field_const(o, r);
	const char *start = "";
	size_t len = 0;

	switch (r->type) {
	case TYPE_STRING:
		snprintf(out, out_len, "%s", *(char *const *)at);
		break;
	case TYPE_BOOL:
		snprintf(out, out_len, "%s", *(const bool *)at ? "yes" : "no");
		break;
	case TYPE_ENUM:
		enum_value(r->values, *(const int *)at, &start, &len);
		snprintf(out, out_len, "%.*s", (int)len, start);
		break;
	case TYPE_SIZE:
	case TYPE_DURATION:
	case TYPE_COUNT:
		format_number(r->type, *(const uint64_t *)at, out, out_len);
		break;
	default:
		PANIC("option type");
	}
}

/* ---- text to values ---- */

static bool
set_enum(int *at, const struct row *r, const char *value, char *why, size_t why_len)
{
	const char *start;
	size_t len;

	for (int i = 0; enum_value(r->values, i, &start, &len); i++) {
		if (len == strlen(value) && memcmp(start, value, len) == 0) {
			*at = i;
			return true;
		}
	}
	snprintf(why, why_len, "%s is none of %s", r->name, r->values);
	return false;
}

/* Digits and a unit; false if that is not what value is, or it does not fit 64 bits. */
static bool
parse_number(enum type type, const char *value, uint64_t *out)
{
	uint64_t v = 0;
	const char *p = value;
	const struct unit *u;

	if (*p < '0' || *p > '9')
		return false;
	for (; *p >= '0' && *p <= '9'; p++) {
		if (v > (UINT64_MAX - 9) / 10)
			return false;
		v = v * 10 + (uint64_t)(*p - '0');
	}
	if (v == 0 && *p == '\0') {
		*out = 0; /* zero needs no unit */
		return true;
	}
	while (*p == ' ')
		p++;
	for (u = units_of(type); u->suffix != NULL; u++) {
		if (strcmp(p, u->suffix) == 0) {
			if (v > UINT64_MAX / u->factor)
				return false;
			*out = v * u->factor;
			return true;
		}
	}
	return false;
}

bool
options_size(const char *text, uint64_t *bytes)
{
	return parse_number(TYPE_SIZE, text, bytes);
}

static bool
set_number(uint64_t *at, const struct row *r, const char *value, char *why, size_t why_len)
{
	static const char *const form[] = { [TYPE_SIZE] = "a size: digits, then KiB, MiB, GiB or nothing for bytes",
		[TYPE_DURATION] = "a duration: digits, then ms, s, min, h or d", [TYPE_COUNT] = "a plain number" };
	char low[32], high[32];
	uint64_t v;

	if (!parse_number(r->type, value, &v)) {
		snprintf(why, why_len, "%s must be %s", r->name, form[r->type]);
		return false;
	}
	if (v < r->min || v > r->max) {
		format_number(r->type, r->min, low, sizeof low);
		format_number(r->type, r->max, high, sizeof high);
		snprintf(why, why_len, "%s is out of range: %s to %s", r->name, low, high);
		return false;
	}
	*at = v;
	return true;
}

bool
options_set(struct options *o, enum option_id id, const char *value, char *why, size_t why_len)
{
	const struct row *r = &rows[id];
	void *at = field(o, r);

	switch (r->type) {
	case TYPE_STRING:
		if (strlen(value) < r->min || strlen(value) > r->max) {
			snprintf(why, why_len, value[0] == '\0' ? "%s must not be empty" : "%s is longer than %llu bytes", r->name,
				 (unsigned long long)r->max);
			return false;
		}
		set_string(at, value);
		return true;
	case TYPE_BOOL:
		if (strcmp(value, "yes") != 0 && strcmp(value, "no") != 0) {
			snprintf(why, why_len, "%s must be yes or no", r->name);
			return false;
		}
		*(bool *)at = value[0] == 'y';
		return true;
	case TYPE_ENUM:
		return set_enum(at, r, value, why, why_len);
	case TYPE_SIZE:
	case TYPE_DURATION:
	case TYPE_COUNT:
		return set_number(at, r, value, why, why_len);
	default:
		PANIC("option type");
	}
}

void
options_defaults(struct options *o)
{
	char why[128];

	memset(o, 0, sizeof *o);
	for (int i = 0; i < OPTION_COUNT; i++) {
		const struct row *r = &rows[i];

		if (r->type == TYPE_ENUM)
			*(int *)field(o, r) = r->def_index;
		else if (r->type == TYPE_STRING)
			set_string(field(o, r), r->def); /* may be shorter than min: then it must be given */
		else if (!options_set(o, (enum option_id)i, r->def, why, sizeof why))
			PANIC(why);
	}
}

void
options_free(struct options *o)
{
	for (int i = 0; i < OPTION_COUNT; i++)
		if (rows[i].type == TYPE_STRING)
			free(*(char **)field(o, &rows[i]));
	memset(o, 0, sizeof *o);
}

/* ---- names ---- */

const char *
options_section(enum option_id id)
{
	return rows[id].section;
}

const char *
options_name(enum option_id id)
{
	return rows[id].name;
}

bool
options_reloadable(enum option_id id)
{
	return rows[id].reload;
}

#define NAME_MAX_NEAR 40 /* longer names are near to nothing we have */

/* Edits (insert, delete, replace) from a to b; large if either is too long to be a typing mistake. */
static unsigned
distance(const char *a, const char *b)
{
	unsigned line[NAME_MAX_NEAR + 1];
	size_t la = strlen(a), lb = strlen(b);

	if (la > NAME_MAX_NEAR || lb > NAME_MAX_NEAR)
		return 1000;
	for (size_t j = 0; j <= lb; j++)
		line[j] = (unsigned)j;
	for (size_t i = 1; i <= la; i++) {
		unsigned diagonal = line[0];

		line[0] = (unsigned)i;
		for (size_t j = 1; j <= lb; j++) {
			unsigned replace = diagonal + (a[i - 1] != b[j - 1]), step = line[j] < line[j - 1] ? line[j] : line[j - 1];

			diagonal = line[j];
			line[j] = replace < step + 1 ? replace : step + 1;
		}
	}
	return line[lb];
}

/* How far off a word may be and still be taken for a mistyped one. */
static unsigned
tolerance(const char *word)
{
	size_t len = strlen(word);

	return len < 6 ? 2 : (unsigned)(len / 3);
}

bool
options_has_section(const char *section, const char **near)
{
	unsigned best = tolerance(section) + 1;

	*near = NULL;
	for (int i = 0; i < OPTION_COUNT; i++) {
		unsigned d = distance(section, rows[i].section);

		if (d == 0)
			return true;
		if (d < best) {
			best = d;
			*near = rows[i].section;
		}
	}
	return false;
}

int
options_find(const char *section, const char *name, int *near)
{
	unsigned best = (tolerance(name) + 1) * 2;

	*near = -1;
	for (int i = 0; i < OPTION_COUNT; i++) {
		bool here = strcmp(rows[i].section, section) == 0;
		unsigned d = distance(name, rows[i].name) * 2 + !here; /* of two equally near names the one in the same section */

		if (d == 0)
			return i;
		if (d < best) {
			best = d;
			*near = i;
		}
	}
	return -1;
}

/* ---- checks across options ---- */

bool
options_versions(const char *text, unsigned *low, unsigned *high)
{
	char *end;

	if (text[0] < '0' || text[0] > '9' || strlen(text) > 7)
		return false;
	*low = *high = (unsigned)strtoul(text, &end, 10);
	if (*end == '-' && end[1] >= '0' && end[1] <= '9')
		*high = (unsigned)strtoul(end + 1, &end, 10);
	return *end == '\0' && *low >= 1 && *low <= *high;
}

static void
check_pairs(const struct options *o, options_complain *complain, void *arg)
{
	if (o->tls_certificate[0] != '\0' && o->tls_key[0] == '\0')
		complain(arg, OPTION_tls_certificate, OPTION_tls_key, "tls_certificate needs tls_key as well");
	if (o->tls_certificate[0] == '\0' && o->tls_key[0] != '\0')
		complain(arg, OPTION_tls_key, OPTION_tls_certificate, "tls_key needs tls_certificate as well");
	if ((o->upstream_certificate[0] == '\0') != (o->upstream_key[0] == '\0'))
		complain(arg, OPTION_upstream_certificate, OPTION_upstream_key, "[upstream] tls_certificate and tls_key need each other");
	if (o->client_ca[0] != '\0' && o->tls_certificate[0] == '\0')
		complain(arg, OPTION_client_ca, OPTION_tls_certificate, "client_ca needs tls_certificate as well");
	if (o->offline_admit == ADMIT_CERTIFICATE && o->client_ca[0] == '\0')
		complain(arg, OPTION_offline_admit, OPTION_client_ca, "offline_admit = certificate needs client_ca as well");
	if (o->offline_admit == ADMIT_SIGNED && o->jwt_key_file[0] == '\0')
		complain(arg, OPTION_offline_admit, OPTION_jwt_key_file, "offline_admit = signed needs jwt_key as well");
	if (o->control_group[0] != '\0' && o->control[0] == '\0')
		complain(arg, OPTION_control_group, OPTION_control, "control_group needs control, in a folder that the group can enter: state_dir is none");
	if (o->out_low >= o->out_high)
		complain(arg, OPTION_out_low, OPTION_out_high, "out_low must be less than out_high");
	if (o->backoff_min_ms > o->backoff_max_ms)
		complain(arg, OPTION_backoff_min_ms, OPTION_backoff_max_ms, "backoff_min must not be more than backoff_max");
	if (o->api_url[0] != '\0' && strncasecmp(o->upstream_url, "wss:", 4) == 0 && strncasecmp(o->api_url, "https:", 6) != 0)
		complain(arg, OPTION_api_url, OPTION_upstream_url, "api_url must be https:// when url is wss://: tokens would go out in the clear");
	if (o->replay_batch > o->replay_window)
		complain(arg, OPTION_replay_batch, OPTION_replay_window, "replay_batch must not be more than replay_window");
}

/* NULL: all words of formerly are places. */
static const char *
check_formerly(const char *text)
{
	char place[ADDRESS_PLACE_MAX];
	size_t len;

	for (; *(text += strspn(text, " \t")) != '\0'; text += len) {
		len = strcspn(text, " \t");
		snprintf(place, sizeof place, "%.*s", (int)len, text);
		if (len >= sizeof place || !address_place_ok(place))
			return "formerly: want host:port, without a scheme";
	}
	return NULL;
}

static void
check_texts(const struct options *o, options_complain *complain, void *arg)
{
	struct sockaddr_storage sa;
	struct address_urls urls;
	struct address_url url;
	struct schedule schedule;
	struct period period;
	struct priority priority;
	struct quotas quotas;
	char text[200], why[128];
	unsigned low, high;
	socklen_t len;

	if (o->upstream_url[0] != '\0' && !address_url_list(o->upstream_url, &urls, why, sizeof why)) {
		snprintf(text, sizeof text, "url: %s", why);
		complain(arg, OPTION_upstream_url, OPTION_upstream_url, text);
	}
	if (check_formerly(o->upstream_formerly) != NULL)
		complain(arg, OPTION_upstream_formerly, OPTION_upstream_formerly, check_formerly(o->upstream_formerly));
	if (o->api_url[0] != '\0' && !address_http_url(o->api_url, &url, why, sizeof why)) {
		snprintf(text, sizeof text, "api_url: %s", why);
		complain(arg, OPTION_api_url, OPTION_api_url, text);
	}
	if (o->public_url[0] != '\0' && !address_http_url(o->public_url, &url, why, sizeof why)) {
		snprintf(text, sizeof text, "public_url: %s", why);
		complain(arg, OPTION_public_url, OPTION_public_url, text);
	}
	if (!address_parse(o->listen_address, &sa, &len))
		complain(arg, OPTION_listen_address, OPTION_listen_address, "address must be IPv4:port or [IPv6]:port, in numbers");
	if (o->monitor_listen[0] != '\0' && !address_parse(o->monitor_listen, &sa, &len))
		complain(arg, OPTION_monitor_listen, OPTION_monitor_listen, "listen must be IPv4:port or [IPv6]:port, in numbers");
	if (!schedule_parse(o->schedule, &schedule, why, sizeof why)) {
		snprintf(text, sizeof text, "schedule: %s", why);
		complain(arg, OPTION_schedule, OPTION_schedule, text);
	}
	if (!quotas_parse(o->buffer_quotas, &quotas, why, sizeof why)) {
		snprintf(text, sizeof text, "quotas: %s", why);
		complain(arg, OPTION_buffer_quotas, OPTION_buffer_quotas, text);
	}
	if (!period_parse(o->budget_period, &period, why, sizeof why)) {
		snprintf(text, sizeof text, "budget_period: %s", why);
		complain(arg, OPTION_budget_period, OPTION_budget_period, text);
	}
	if (!priority_parse(o->first, &priority, why, sizeof why)) {
		snprintf(text, sizeof text, "first: %s", why);
		complain(arg, OPTION_first, OPTION_first, text);
	}
	if (!options_versions(o->offline_versions, &low, &high))
		complain(arg, OPTION_offline_versions, OPTION_offline_versions, "offline_versions must be a version or low-high");
}

void
options_check(const struct options *o, options_complain *complain, void *arg)
{
	char text[200];

	for (int i = 0; i < OPTION_COUNT; i++) {
		const struct row *r = &rows[i];

		if (r->type == TYPE_STRING && r->min > 0 && (*(char *const *)field_const(o, r))[0] == '\0') {
			snprintf(text, sizeof text, "[%s] %s must be given", r->section, r->name);
			complain(arg, (enum option_id)i, (enum option_id)i, text);
		}
	}
	check_texts(o, complain, arg);
	check_pairs(o, complain, arg);
}

/* ---- from one struct to another ---- */

bool
options_same(const struct options *a, const struct options *b, enum option_id id)
{
	const struct row *r = &rows[id];
	const void *at = field_const(a, r), *bt = field_const(b, r);

	switch (r->type) {
	case TYPE_STRING:
		return strcmp(*(char *const *)at, *(char *const *)bt) == 0;
	case TYPE_BOOL:
		return *(const bool *)at == *(const bool *)bt;
	case TYPE_ENUM:
		return *(const int *)at == *(const int *)bt;
	case TYPE_SIZE:
	case TYPE_DURATION:
	case TYPE_COUNT:
		return *(const uint64_t *)at == *(const uint64_t *)bt;
	default:
		PANIC("option type");
	}
}

void
options_copy(struct options *o, const struct options *from, enum option_id id)
{
	const struct row *r = &rows[id];
	void *to = field(o, r);
	const void *at = field_const(from, r);

	switch (r->type) {
	case TYPE_STRING:
		set_string(to, *(char *const *)at);
		break;
	case TYPE_BOOL:
		*(bool *)to = *(const bool *)at;
		break;
	case TYPE_ENUM:
		*(int *)to = *(const int *)at;
		break;
	case TYPE_SIZE:
	case TYPE_DURATION:
	case TYPE_COUNT:
		*(uint64_t *)to = *(const uint64_t *)at;
		break;
	default:
		PANIC("option type");
	}
}

/* ---- dump ---- */

static void
print_range(const struct row *r, FILE *out)
{
	char low[32], high[32];

	if (r->type == TYPE_ENUM) {
		fprintf(out, "; %s", r->values);
	} else if (r->type == TYPE_BOOL) {
		fprintf(out, "; yes|no");
	} else if (r->type != TYPE_STRING) {
		format_number(r->type, r->min, low, sizeof low);
		format_number(r->type, r->max, high, sizeof high);
		fprintf(out, "; %s to %s", low, high);
	}
}

/* The dump of any options must be readable again, and lines have a limit (conf.h): no blanks where they could be too many. */
static void
print_value(const struct options *o, const struct row *r, const char *equals, FILE *out)
{
	char text[4096];

	options_text(o, (enum option_id)(r - rows), text, sizeof text);
	fprintf(out, "%s%s", strlen(text) > 100 && equals[0] != '\0' ? "=" : equals, text);
}

void
options_dump(const struct options *o, const char *section, options_note *note, void *arg, FILE *out)
{
	struct options defaults;

	options_defaults(&defaults);
	for (int i = 0; i < OPTION_COUNT; i++) {
		const struct row *r = &rows[i];

		if (strcmp(section, r->section) != 0)
			continue;
		fprintf(out, "# %s\n# default: ", r->help);
		print_value(&defaults, r, "", out);
		print_range(r, out);
		fprintf(out, "; %s\n", r->reload ? "reloadable" : "needs a restart");
		if (note != NULL)
			note(arg, (enum option_id)i, out);
		fputs(r->name, out);
		print_value(o, r, " = ", out);
		fputc('\n', out);
	}
	options_free(&defaults);
}
