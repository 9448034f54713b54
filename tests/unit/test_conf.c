/* Tests relay/conf and relay/options: what a file sets, and every complaint, word by word with its line. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/harness.h"

#include "relay/conf.h"
#include "relay/log.h"

#define URL "[upstream]\nurl = ws://h:1\n" /* the one option that must be given; two lines */

/* The complaints about text, as conf_errors_print writes them; "" = accepted. The sections are in *all then. */
static const char *
complaints_in(const char *text, size_t len, struct sections *all)
{
	static char out[CONF_ERRORS_MAX * 600];
	struct conf_errors errs;
	FILE *f = fmemopen(out, sizeof(out), "w");

	memset(out, 0, sizeof(out));
	if (conf_parse("f", text, len, all, &errs) != (errs.n == 0))
		harness_fail(__FILE__, __LINE__, "got true with errors or false without");
	conf_errors_print(&errs, f);
	conf_errors_free(&errs);
	fclose(f);
	return out;
}

/* The options of a configuration with one listener and one upstream; all is empty then. */
static struct options
only_options(struct sections *all)
{
	struct options o = { 0 };

	if (all->n > 0) {
		o = sections_global(all)->opt;
		memset(&sections_global(all)->opt, 0, sizeof(o));
	}
	sections_free(all);
	return o;
}

/* The same, of a configuration with one listener and one upstream: its options are in *o. */
static const char *
complaints_about(const char *text, size_t len, struct options *o)
{
	struct sections all;
	const char *out = complaints_in(text, len, &all);

	*o = only_options(&all);
	return out;
}

static const struct bad_case {
	const char *text, *complaints;
} bad_cases[] = {
	/* lines */
	{ URL "[listener]\n address = 1.2.3.4:5\n",
	  "f:4: indented line: keys, sections and comments begin in the first column\n" },
	{ URL "\tverify = yes\n", "f:3: indented line: keys, sections and comments begin in the first column\n" },
	{ URL "verify\n", "f:3: neither [section] nor key = value nor a comment\n" },
	{ URL "verify: yes\n", "f:3: neither [section] nor key = value nor a comment\n" },
	{ URL "= yes\n", "f:3: key empty or longer than 49 bytes\n" },
	{ URL "verify = yes ; really\n", "f:3: ' ;' within a line: a comment must have its own line\n" },
	{ URL "verify = y\x01s\n", "f:3: control character (byte 11 of the line)\n" },
	{ URL "verify = yes\x7f\n", "f:3: control character (byte 13 of the line)\n" },
	{ URL "# comment with \x1b\n", "f:3: control character (byte 16 of the line)\n" },
	/* sections */
	{ "url = ws://h:1\n", "f:1: key before the first [section]\n" },
	{ URL "[limits\nmax_sessions = 9\n", "f:3: section without its ]\n" },
	{ URL "[limits] # text\n", "f:3: text behind the ] of a section\n" },
	{ URL "[]\n", "f:3: section name empty or longer than 49 bytes\n" },
	{ URL "[limit]\nmax_sessions = 9\nnonsense = 1\n", "f:3: unknown section [limit]; did you mean [limits]?\n" },
	{ URL "[quite different]\n", "f:3: unknown section [quite?different]\n" },
	{ URL "[upstream]\nverify = no\n", "f:3: section [upstream] again; it began on line 1\n" },
	{ URL "[buffer big]\n", "f:3: unknown section [buffer?big]\n" },
	{ URL "[listner crew]\nack = relay\n", "f:3: unknown section [listner?crew]; did you mean [listener]?\n" },
	{ URL "[listener crew cabin]\n", "f:3: the name of a section [listener NAME] is 1 to 32 letters, digits, - and _\n" },
	{ URL "[listener ]\n", "f:3: the name of a section [listener NAME] is 1 to 32 letters, digits, - and _\n" },
	{ URL "[upstream a.b]\n", "f:3: the name of a section [upstream NAME] is 1 to 32 letters, digits, - and _\n" },
	{ URL "[upstream abcdefghijklmnopqrstuvwxyz-012345]\nurl = ws://h\n",
	  "f:3: the name of a section [upstream NAME] is 1 to 32 letters, digits, - and _\n" },
	{ URL "[upstream b]\nurl = ws://h\n[listener b]\nack = relay\n[upstream b]\nverify = no\n",
	  "f:7: section [upstream b] again; it began on line 3\n" },
	/* keys */
	{ URL "verfy = no\n", "f:3: unknown key verfy in [upstream]; did you mean verify in [upstream]?\n" },
	{ URL "max_sessions = 1\n", "f:3: unknown key max_sessions in [upstream]; did you mean max_sessions in [limits]?\n" },
	{ URL "zzzzzzzz = 1\n", "f:3: unknown key zzzzzzzz in [upstream]\n" },
	{ URL "verify = no\nverify = no\n", "f:4: verify again; it was set on line 3\n" },
	{ URL "VERIFY = no\n", "f:3: unknown key VERIFY in [upstream]\n" },
	/* values */
	{ URL "verify = true\n", "f:3: verify must be yes or no\n" },
	{ URL "connect_timeout = 30\n", "f:3: connect_timeout must be a duration: digits, then ms, s, min, h or d\n" },
	{ URL "connect_timeout = -1s\n", "f:3: connect_timeout must be a duration: digits, then ms, s, min, h or d\n" },
	{ URL "connect_timeout = 1.5s\n", "f:3: connect_timeout must be a duration: digits, then ms, s, min, h or d\n" },
	{ URL "connect_timeout =\n", "f:3: connect_timeout must be a duration: digits, then ms, s, min, h or d\n" },
	{ URL "connect_timeout = 99999999999999999999s\n",
	  "f:3: connect_timeout must be a duration: digits, then ms, s, min, h or d\n" },
	{ URL "connect_timeout = 18446744073709551615min\n",
	  "f:3: connect_timeout must be a duration: digits, then ms, s, min, h or d\n" },
	{ URL "connect_timeout = 9ms\n", "f:3: connect_timeout is out of range: 10ms to 10min\n" },
	{ URL "connect_timeout = 601s\n", "f:3: connect_timeout is out of range: 10ms to 10min\n" },
	{ URL "reconnect_rate = 10001\n", "f:3: reconnect_rate is out of range: 1 to 10000\n" },
	{ URL "reconnect_rate = 5s\n", "f:3: reconnect_rate must be a plain number\n" },
	{ URL "[buffer]\nmax_bytes = 1GB\n", "f:4: max_bytes must be a size: digits, then KiB, MiB, GiB or nothing for bytes\n" },
	{ URL "[buffer]\nmax_bytes = 65535\n", "f:4: max_bytes is out of range: 64KiB to 1024GiB\n" },
	{ URL "[listener]\nack = both\n", "f:4: ack is none of upstream|relay\n" },
	{ URL "[listener]\nack = up\n", "f:4: ack is none of upstream|relay\n" },
	{ URL "[listener]\naddress =\n", "f:4: address must not be empty\n" },
	{ URL "[listener]\naddress = localhost:80\n", "f:4: address must be IPv4:port or [IPv6]:port, in numbers\n" },
	{ URL "[listener]\noffline_versions = 14-2\n", "f:4: offline_versions must be a version or low-high\n" },
	{ "", "f: [upstream] url must be given\n" },
	{ "[upstream]\nurl = http://h\n", "f:2: url: must start with ws:// or wss://\n" },
	/* pairs */
	{ URL "[listener]\ntls_key = k\n", "f:4: tls_key needs tls_certificate as well\n" },
	{ URL "[listener]\ntls_certificate = c\n", "f:4: tls_certificate needs tls_key as well\n" },
	{ URL "[limits]\nout_low = 10KiB\nout_high = 10KiB\n", "f:4: out_low must be less than out_high\n" },
	{ URL "[limits]\nout_high = 10KiB\n", "f:4: out_low must be less than out_high\n" },
	{ URL "backoff_min = 2min\n", "f:3: backoff_min must not be more than backoff_max\n" },
	{ URL "[replay]\nreplay_batch = 2MiB\n", "f:4: replay_batch must not be more than replay_window\n" },
	/* several listeners and upstreams */
	{ URL "[listener]\n[listener crew]\n", "f:4: address is that of [listener] already\n" },
	{ URL "[listener a]\naddress = 127.0.0.1:1\n[listener b]\naddress = 127.0.0.1:1\n", "f:6: address is that of [listener a] already\n" },
	{ URL "[upstream b]\nverify = no\n", "f:3: [upstream b] url must be given\n" },
	{ URL "[upstream b]\nurl = ws://h\nbackoff_min = 2min\n", "f:5: backoff_min must not be more than backoff_max\n" },
	{ URL "[upstream b]\nurl = ws://h\nbackof_min = 2min\n",
	  "f:5: unknown key backof_min in [upstream b]; did you mean backoff_min in [upstream b]?\n" },
	{ URL "[listener b]\ntls_key = k\nupstream = up\n",
	  "f:4: tls_key needs tls_certificate as well\nf:5: upstream: there is no [upstream up]\n" },
	{ "[upstream a]\nurl = ws://h\n[upstream b]\nurl = ws://h\n[listener]\nack = relay\n",
	  "f:5: [listener] must say which upstream it is for: there are several, and all have names\n" },
	/* no complaint that only follows from another one */
	{ URL "[limits]\nout_high = 1\n", "f:4: out_high is out of range: 4KiB to 256MiB\n" },
	{ "[upstream]\n url = ws://h:1\n", "f:2: indented line: keys, sections and comments begin in the first column\n" },
	/* all of them, in the file's order, the ones across options too */
	{ "[limits]\nout_low = 10KiB\nmax_sesions = 5\nout_high = 10KiB\n[upstream]\nverify = maybe\nurl = ws://h:0\n",
	  "f:2: out_low must be less than out_high\n"
	  "f:3: unknown key max_sesions in [limits]; did you mean max_sessions in [limits]?\n"
	  "f:6: verify must be yes or no\n"
	  "f:7: url: port is not a number from 1 to 65535\n" },
};

TEST(complaints)
{
	for (size_t i = 0; i < sizeof(bad_cases) / sizeof(bad_cases[0]) && !harness_failed(); i++) {
		struct options o;

		CHECK_STR(complaints_about(bad_cases[i].text, strlen(bad_cases[i].text), &o), bad_cases[i].complaints);
		options_free(&o);
	}
}

TEST(values)
{
	static const char text[] = "\xef\xbb\xbf# a comment\r\n"
				   "; another ; one\r\n"
				   "\r\n"
				   "   \t\n"
				   "[upstream]   \n"
				   "url=wss://host.example\n"
				   "verify = no\n"
				   "ca_file = /a path/with=equal;signs # and this\n"
				   "connect_timeout\t=\t90 s\n"
				   "backoff_min = 0002s\n"
				   "[listener]\n"
				   "ack = relay\n"
				   "token_grace = 0\n"
				   "address = [::1]:0\n"
				   "[buffer]\n"
				   "max_bytes = 3MiB\n"
				   "cache_bytes = 300000\n"
				   "[limits]\n"
				   "max_connections = 1000000"; /* no newline at the end */
	struct options o;

	CHECK_STR(complaints_about(text, sizeof(text) - 1, &o), "");
	CHECK_STR(o.upstream_url, "wss://host.example");
	CHECK(!o.upstream_verify);
	CHECK_STR(o.upstream_ca_file, "/a path/with=equal;signs # and this");
	CHECK_U64(o.connect_timeout_ms, 90000);
	CHECK_U64(o.backoff_min_ms, 2000);
	CHECK_U64(o.ack, ACK_RELAY);
	CHECK_U64(o.token_grace_ms, 0);
	CHECK_STR(o.listen_address, "[::1]:0");
	CHECK_U64(o.buffer_max_bytes, 3 << 20);
	CHECK_U64(o.buffer_cache_bytes, 300000);
	CHECK_U64(o.max_connections, 1000000);
	CHECK_U64(o.upstream_ping_ms, 30000); /* a default */
	options_free(&o);
	options_free(&o);
}

TEST(long_lines)
{
	char text[1000], want[100];
	struct options o;

	for (size_t len = CONF_LINE_MAX - 2; len <= CONF_LINE_MAX + 2; len++) {
		int n = snprintf(text, sizeof(text), URL "[holdfast]\nstate_dir = /");

		for (size_t i = strlen("state_dir = /"); i < len; i++)
			text[n++] = 'x';
		text[n++] = '\n';
		if (len <= CONF_LINE_MAX) {
			CHECK_STR(complaints_about(text, (size_t)n, &o), "");
			CHECK_U64(strlen(o.state_dir), len - strlen("state_dir = "));
		} else {
			snprintf(want, sizeof(want), "f:4: line longer than %d bytes\n", CONF_LINE_MAX);
			CHECK_STR(complaints_about(text, (size_t)n, &o), want);
		}
		options_free(&o);
	}
}

TEST(long_comments_are_fine)
{
	static char text[5000] = URL "#";
	struct options o;

	memset(text + strlen(text), 'c', 4000);
	CHECK_STR(complaints_about(text, strlen(text), &o), "");
	options_free(&o);
}

TEST(nul_bytes)
{
	static const char text[] = URL "verify = no\0yes\n";
	struct options o;

	CHECK_STR(complaints_about(text, sizeof(text) - 1, &o), "f:3: control character (byte 12 of the line)\n");
	CHECK(o.upstream_url == NULL); /* nothing is left of a refused file */
}

TEST(errors_are_bounded)
{
	static char text[400 * 2 + 1];
	const char *out;
	struct options o;

	for (int i = 0; i < 400; i++)
		memcpy(text + 2L * i, "x\n", 2);
	out = complaints_about(text, sizeof(text) - 1, &o);
	CHECK(strncmp(out, "f:1: ", 5) == 0);
	CHECK(strstr(out, "f:100: ") != NULL && strstr(out, "f:101: ") == NULL);
	CHECK(strstr(out, "f: 300 more errors\n") != NULL);
}

TEST(files)
{
	char path[600];
	struct conf_errors errs;
	struct sections all;

	CHECK(!conf_load("/nonexistent/f.ini", &all, &errs));
	CHECK_U64(errs.n, 1);
	CHECK_STR(errs.v[0].text, "No such file or directory");
	conf_errors_free(&errs);
	CHECK(!conf_load(harness_tmpdir(), &all, &errs));
	CHECK_STR(errs.v[0].text, "Is a directory");
	conf_errors_free(&errs);
	CHECK(!conf_load("/dev/zero", &all, &errs));
	CHECK_STR(errs.v[0].text, "larger than 1048576 bytes");
	conf_errors_free(&errs);
	snprintf(path, sizeof(path), "%s/etc/holdfast.ini", harness_srcdir());
	CHECK(conf_load(path, &all, &errs));
	conf_errors_free(&errs);
	sections_free(&all);
}

static void
write_file(const char *dir, const char *name, const char *text)
{
	char path[700];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "we");
	CHECK(f != NULL);
	fputs(text, f);
	fclose(f);
}

/* The files of conf.d come after the main one, in the order of their names; others there do not count. */
TEST(fragments)
{
	const char *dir = harness_tmpdir();
	char path[600], sub[600];
	struct conf_errors errs;
	struct sections all;
	const struct section *global, *up;

	snprintf(path, sizeof(path), "%s/main.ini", dir);
	snprintf(sub, sizeof(sub), "%s/conf.d", dir);
	write_file(dir, "main.ini", URL "backoff_min = 5s\n[limits]\nmax_sessions = 1\n");
	CHECK(conf_load(path, &all, &errs)); /* no conf.d at all */
	global = sections_global(&all);
	CHECK_U64(global->opt.max_sessions, 1);
	CHECK_U64(global->origin[OPTION_max_sessions].line, 5);
	conf_errors_free(&errs);
	sections_free(&all);

	CHECK(mkdir(sub, 0700) == 0);
	write_file(sub, "20.ini", "[limits]\n\nmax_sessions = 3\n");
	write_file(sub, "10.ini", "[limits]\nmax_sessions = 2\nmax_connections = 7\n");
	write_file(sub, "30.ini~", "[limits]\nmax_sessions = 4\n");
	write_file(sub, ".40.ini", "[limits]\nmax_sessions = 5\n");
	CHECK(conf_load(path, &all, &errs));
	global = sections_global(&all);
	up = sections_find(&all, SECTION_UPSTREAM, "");
	CHECK(up != NULL);
	CHECK_U64(global->opt.max_sessions, 3);
	CHECK_U64(global->opt.max_connections, 7);
	CHECK_U64(up->opt.backoff_min_ms, 5000);
	CHECK_U64(global->origin[OPTION_max_sessions].line, 3);
	CHECK(strstr(global->origin[OPTION_max_sessions].path, "/conf.d/20.ini") != NULL);
	CHECK(strstr(global->origin[OPTION_max_connections].path, "/conf.d/10.ini") != NULL);
	CHECK_STR(up->origin[OPTION_backoff_min_ms].path, path);
	CHECK(global->origin[OPTION_out_low].path == NULL);
	conf_errors_free(&errs);
	sections_free(&all);
}

/* All errors of all files, with the file of each, also when it takes two files to make one. */
TEST(errors_of_fragments)
{
	const char *dir = harness_tmpdir();
	char path[600], sub[600], out[4000] = "", want[4000];
	struct conf_errors errs;
	struct sections all;
	FILE *f;

	snprintf(path, sizeof(path), "%s/main.ini", dir);
	snprintf(sub, sizeof(sub), "%s/conf.d", dir);
	CHECK(mkdir(sub, 0700) == 0);
	write_file(dir, "main.ini", URL "backoff_max = 5s\nverfy = no\n");
	write_file(sub, "a.ini", "[upstream]\nverify = no\nverify = yes\n[limits]\nmax_sessions = none\n");
	write_file(sub, "b.ini", "[upstream]\nbackoff_min = 6s\n");
	CHECK(mkdir(strcat(strcpy(out, sub), "/c.ini"), 0700) == 0);
	CHECK(!conf_load(path, &all, &errs));
	memset(out, 0, sizeof(out));
	f = fmemopen(out, sizeof(out), "w");
	conf_errors_print(&errs, f);
	fclose(f);
	snprintf(want, sizeof(want),
		 "%s:4: unknown key verfy in [upstream]; did you mean verify in [upstream]?\n"
		 "%s/a.ini:3: verify again; it was set on line 2\n"
		 "%s/a.ini:5: max_sessions must be a plain number\n"
		 "%s/b.ini:2: backoff_min must not be more than backoff_max\n"
		 "%s/c.ini: Is a directory\n",
		 path, sub, sub, sub, sub);
	CHECK_STR(out, want);
	conf_errors_free(&errs);
}

static char *
dump(const struct sections *all, size_t *len)
{
	char *text = NULL;
	FILE *f = open_memstream(&text, len);

	sections_dump(all, false, f);
	fclose(f);
	return text;
}

/* What sections_dump writes is a configuration file that gives the same sections. */
TEST(dump_is_a_configuration)
{
	static const char text[] = URL "backoff_min = 1500ms\n[listener]\nack = relay\n[buffer]\nmax_bytes = 65537\n[replay]\nreplay_level = 0\n"
				       "[listener crew]\naddress = 127.0.0.1:0\nupstream = shore-2\n[upstream shore-2]\nurl = wss://s\n";
	size_t first_len = 0, second_len = 0;
	struct sections all, again;
	char *first, *second;

	CHECK_STR(complaints_in(text, strlen(text), &all), "");
	first = dump(&all, &first_len);
	CHECK(strstr(first, "\nbackoff_min = 1500ms\n") != NULL);
	CHECK(strstr(first, "\nmax_bytes = 65537\n") != NULL);
	CHECK(strstr(first, "\n[listener crew]\n") != NULL);
	CHECK_STR(complaints_in(first, first_len, &again), "");
	second = dump(&again, &second_len);
	CHECK_MEM(second, second_len, first, first_len);
	CHECK_U64(sections_global(&again)->opt.ack, ACK_RELAY);
	CHECK_STR(sections_find(&again, SECTION_LISTENER, "crew")->opt.upstream_url, "wss://s");
	free(first);
	free(second);
	sections_free(&all);
	sections_free(&again);
}

/* The longest value that a line can hold, too. */
TEST(dump_of_a_long_value)
{
	char text[300], *out;
	size_t out_len = 0;
	struct sections all, again;

	snprintf(text, sizeof(text), URL "ca_file=%0*d\n", CONF_LINE_MAX - 8, 0);
	CHECK_STR(complaints_in(text, strlen(text), &all), "");
	out = dump(&all, &out_len);
	CHECK_STR(complaints_in(out, out_len, &again), "");
	CHECK_STR(sections_global(&again)->opt.upstream_ca_file, sections_global(&all)->opt.upstream_ca_file);
	free(out);
	sections_free(&all);
	sections_free(&again);
}

/* Each listener and upstream has its own options, those of its counterpart and all the others. */
TEST(combinations)
{
	static const char text[] = "[upstream]\nurl = ws://a\nbackoff_min = 2s\n[upstream b]\nurl = ws://b\n[listener]\n"
				   "[listener two]\naddress = [::1]:1\nupstream = b\nack = relay\n[listener three]\naddress = [::1]:2\nupstream = b\n"
				   "[buffer]\nmax_bytes = 1MiB\n";
	struct sections all;
	const struct section *s;

	CHECK_STR(complaints_in(text, strlen(text), &all), "");
	s = sections_find(&all, SECTION_LISTENER, "");
	CHECK_STR(s->opt.upstream_url, "ws://a");
	CHECK_U64(s->opt.backoff_min_ms, 2000);
	CHECK_U64(s->opt.ack, ACK_UPSTREAM);
	CHECK_U64(s->opt.buffer_max_bytes, 1 << 20);
	s = sections_find(&all, SECTION_LISTENER, "three");
	CHECK_STR(s->opt.upstream_url, "ws://b");
	CHECK_U64(s->opt.backoff_min_ms, 1000);
	CHECK_U64(s->opt.ack, ACK_UPSTREAM);
	s = sections_find(&all, SECTION_UPSTREAM, "b"); /* as the first listener that names it has it */
	CHECK_U64(s->opt.ack, ACK_RELAY);
	CHECK_U64(s->opt.buffer_max_bytes, 1 << 20);
	CHECK_STR(sections_global(&all)->opt.upstream_url, "ws://a");
	sections_free(&all);
}

/* A listener without `upstream` is for the unnamed one, or for the only one. */
TEST(which_upstream)
{
	static const char only[] = "[upstream far]\nurl = ws://far\n[listener a]\n", two[] = "[upstream far]\nurl = ws://far\n" URL "[listener a]\n";
	struct sections all;

	CHECK_STR(complaints_in(only, strlen(only), &all), "");
	CHECK_STR(sections_find(&all, SECTION_LISTENER, "a")->upstream->name, "far");
	CHECK(sections_find(&all, SECTION_LISTENER, "") == NULL); /* there is one, so there is none of itself */
	sections_free(&all);
	CHECK_STR(complaints_in(two, strlen(two), &all), "");
	CHECK_STR(sections_find(&all, SECTION_LISTENER, "a")->upstream->name, "");
	sections_free(&all);
}

TEST(too_many_sections)
{
	static char text[200 * (SECTIONS_MAX + 3)];
	struct sections all;
	size_t n = 0;

	for (int i = 0; i < SECTIONS_MAX + 2; i++)
		n += (size_t)sprintf(text + n, "[upstream u%d]\nurl = ws://h\n", i);
	CHECK_STR(complaints_in(text, n, &all), "f:129: more than 64 sections of listeners and upstreams\n"
						"f:131: more than 64 sections of listeners and upstreams\n");
}

/* The names in options.h stand in the order of the table's values. */
TEST(enumerators)
{
	static const struct {
		enum option_id id;
		const char *value;
		int want;
	} t[] = { { OPTION_ack, "upstream", ACK_UPSTREAM }, { OPTION_ack, "relay", ACK_RELAY },
		  { OPTION_offline_admit, "known", ADMIT_KNOWN }, { OPTION_offline_admit, "any", ADMIT_ANY },
		  { OPTION_offline_admit, "none", ADMIT_NONE }, { OPTION_offline_mark, "answer", OFFLINE_MARK_ANSWER },
		  { OPTION_offline_mark, "hold", OFFLINE_MARK_HOLD }, { OPTION_on_reset, "hold", ON_RESET_HOLD },
		  { OPTION_on_reset, "pass", ON_RESET_PASS }, { OPTION_log_level, "error", LOG_ERROR },
		  { OPTION_log_level, "warn", LOG_WARN }, { OPTION_log_level, "info", LOG_INFO }, { OPTION_log_level, "debug", LOG_DEBUG } };
	struct options o;
	char why[200];

	options_defaults(&o);
	CHECK_U64(o.log_level, LOG_INFO);
	CHECK_U64(o.ack, ACK_UPSTREAM);
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		const int *at = t[i].id == OPTION_ack ? &o.ack : t[i].id == OPTION_offline_admit ? &o.offline_admit :
				t[i].id == OPTION_offline_mark				   ? &o.offline_mark :
				t[i].id == OPTION_on_reset				   ? &o.on_reset :
												     &o.log_level;

		CHECK(options_set(&o, t[i].id, t[i].value, why, sizeof(why)));
		CHECK_U64(*at, t[i].want);
	}
	options_free(&o);
}

TEST(versions)
{
	static const struct {
		const char *text;
		bool ok;
		unsigned low, high;
	} t[] = { { "2-14", true, 2, 14 }, { "7", true, 7, 7 }, { "1-1", true, 1, 1 }, { "", false, 0, 0 }, { "0-3", false, 0, 0 },
		  { "3-2", false, 0, 0 }, { "-3", false, 0, 0 }, { "2-", false, 0, 0 }, { "2-x", false, 0, 0 }, { "2 - 3", false, 0, 0 },
		  { "12345678", false, 0, 0 } };

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		unsigned low = 0, high = 0;

		CHECK_U64(options_versions(t[i].text, &low, &high), t[i].ok);
		if (t[i].ok)
			CHECK(low == t[i].low && high == t[i].high);
	}
}
