/* The sync messages: every row of message.def by examples, and what must be refused.
 *
 * An example is parsed whole, with every shorter prefix (so also byte by byte) and with bytes behind it; formatted back it must
 * be the same bytes.  From each example wrong ones are then made field by field, so a new row is tested by adding its
 * example alone.  Inputs are copied to blocks of exactly their length, for the address sanitizer to see a read too far. */
#include "tests/harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/message.h"

#define MAX "9223372036854775807"  /* 2^63 - 1 */
#define OVER "9223372036854775808" /* 2^63 */

struct example {
	enum msg_type type;
	enum msg_flavour flavour;
	uint64_t session;
	const char *head; /* without LF */
	const char *body;
};

static const struct example examples[] = {
	{ MSG_C_BIND, MSG_PBS, 1, "bind 1 12 0 1 0", "/ships/alpha" },
	{ MSG_C_BIND, MSG_PBS, 77, "bind 77 4 9 0 0", "/a/beyJ.e30.x" },
	{ MSG_C_BIND, MSG_PBS, 3, "bind 3 1 0 0 1", "/" },
	{ MSG_C_BIND, MSG_FLX, 2, "bind 2 37 0 1 0", "{\"schemaVersion\":0,\"sessionReason\":0}" },
	{ MSG_C_IDENT, MSG_PBS, 1, "ident 1 2 3009526856690272149 0 0 0 0", "" },
	{ MSG_C_IDENT, MSG_PBS, 4, "ident 4 7 " MAX " 15 19 15 2613025293790291216", "" },
	{ MSG_C_IDENT, MSG_FLX, 1, "ident 1 2 5 0 0 0 0 0 2", "{}" },
	{ MSG_C_IDENT, MSG_FLX, 1, "ident 1 2 5 4 3 4 99 12 26", "{\"Item\":\"owner == \\\"me\\\"\"}" },
	{ MSG_C_UPLOAD, MSG_PBS, 1, "upload 1 0 0 0 17 10 10", "" },
	{ MSG_C_UPLOAD, MSG_PBS, 1, "upload 1 0 25 0 3 0 0", "3 0 375321802856 0 4 \1\2\3\4" },
	{ MSG_C_UPLOAD, MSG_FLX, 9, "upload 9 0 25 0 3 0 0", "3 0 375321802856 0 4 \1\2\3\4" },
	{ MSG_C_UPLOAD, MSG_PBS, 1, "upload 1 1 300200 3 3 0 0", "abc" },
	{ MSG_C_TRANSACT, MSG_PBS, 1, "transact 1 12 9 5", "bytes" },
	{ MSG_C_TRANSACT, MSG_PBS, 1, "transact 1 0 0 0", "" },
	{ MSG_C_UNBIND, MSG_PBS, 1, "unbind 1", "" },
	{ MSG_C_UNBIND, MSG_FLX, INT64_MAX, "unbind " MAX, "" },
	{ MSG_C_MARK, MSG_PBS, 1, "mark 1 1", "" },
	{ MSG_C_MARK, MSG_FLX, 12, "mark 12 345", "" },
	{ MSG_C_REFRESH, MSG_PBS, 1, "refresh 1 5", "token" },
	{ MSG_C_STATE_REQUEST, MSG_PBS, 1, "state_request 1 0 0 0 1 20 24 10 12", "" },
	{ MSG_C_STATE_REQUEST, MSG_PBS, 1, "state_request 1 55 8812374 1048576 0 20 24 10 12", "" },
	{ MSG_C_CLIENT_VERSION_REQUEST, MSG_PBS, 2, "client_version_request 2 7 123456789", "" },
	{ MSG_C_ALLOC, MSG_PBS, 5, "alloc 5", "" },
	{ MSG_C_PING, MSG_PBS, 0, "ping 1718000123 0", "" },
	{ MSG_C_PING, MSG_FLX, 0, "ping 0 31", "" },
	{ MSG_C_QUERY, MSG_FLX, 1, "query 1 2 16", "{\"Item\":\"a > 5\"}" },
	{ MSG_C_JSON_ERROR, MSG_PBS, 6, "json_error 112 18 6", "{\"message\":\"oops\"}" },
	{ MSG_C_TEST_COMMAND, MSG_PBS, 1, "test_command 1 2 5", "PAUSE" },
	{ MSG_S_IDENT, MSG_PBS, 1, "ident 1 2 2066716312343359667", "" },
	{ MSG_S_IDENT, MSG_FLX, 8, "ident 8 1 1", "" },
	{ MSG_S_DOWNLOAD, MSG_PBS, 1, "download 1 0 0 0 0 0 0 0 0 0 0", "" },
	{ MSG_S_DOWNLOAD, MSG_PBS, 1, "download 1 15 18 15 4458050767240107086 19 2 0 0 0 0", "" },
	{ MSG_S_DOWNLOAD, MSG_PBS, 2, "download 2 16 18 16 99 19 2 4096 0 28 0", "16 18 375321802856 3 9 3 \1\2\3" },
	{ MSG_S_DOWNLOAD, MSG_PBS, 2, "download 2 16 18 16 99 19 2 4096 1 5000 5", "abcde" },
	{ MSG_S_DOWNLOAD, MSG_FLX, 1, "download 1 0 0 0 0 0 0 0 2 0 0 0 0", "" },
	{ MSG_S_DOWNLOAD, MSG_FLX, 1, "download 1 16 18 16 99 19 2 3 0 0.25 0 28 0", "16 18 375321802856 3 9 3 \1\2\3" },
	{ MSG_S_DOWNLOAD, MSG_FLX, 1, "download 1 16 18 16 99 19 2 3 1 1.0 1 5000 5", "abcde" },
	{ MSG_S_DOWNLOAD, MSG_FLX, 1, "download 1 16 18 16 99 19 2 3 0 1e-05 0 0 0", "" },
	{ MSG_S_DOWNLOAD, MSG_FLX, 1, "download 1 16 18 16 99 19 2 3 0 0.010752688172043012 0 0 0", "" },
	{ MSG_S_DOWNLOAD, MSG_FLX, 1, "download 1 16 18 16 99 19 2 3 0 2.2250738585072014E-308 0 0 0", "" },
	{ MSG_S_UNBOUND, MSG_PBS, 1, "unbound 1", "" },
	{ MSG_S_TRANSACT, MSG_PBS, 1, "transact 1 1 44 555 375321802856 3 4", "subs" },
	{ MSG_S_TRANSACT, MSG_PBS, 1, "transact 1 2 0 0 0 0 0", "" },
	{ MSG_S_MARK, MSG_PBS, 1, "mark 1 1", "" },
	{ MSG_S_STATE, MSG_PBS, 1, "state 1 10 77 0 6 12 6", "part 1" },
	{ MSG_S_CLIENT_VERSION, MSG_PBS, 1, "client_version 1 19", "" },
	{ MSG_S_ALLOC, MSG_PBS, 1, "alloc 1 21", "" },
	{ MSG_S_ERROR, MSG_PBS, 1, "error 204 25 0 1", "Illegal Realm path (BIND)" },
	{ MSG_S_ERROR, MSG_PBS, 0, "error 100 5 1 0", "Again" },
	{ MSG_S_JSON_ERROR, MSG_PBS, 1, "json_error 231 16 1", "{\"tryAgain\":true" },
	{ MSG_S_JSON_ERROR, MSG_FLX, 0, "json_error 113 2 0", "{}" },
	{ MSG_S_QUERY_ERROR, MSG_FLX, 1, "query_error 300 9 1 2", "bad query" },
	{ MSG_S_LOG_MESSAGE, MSG_PBS, 0, "log_message 0 2", "{}" },
	{ MSG_S_LOG_MESSAGE, MSG_PBS, 1, "log_message 1 13", "{\"msg\":\"hi\"} " },
	{ MSG_S_PONG, MSG_PBS, 0, "pong 1718000123", "" },
	{ MSG_S_TEST_COMMAND, MSG_PBS, 1, "test_command 1 2 2", "{}" },
};
#define NEXAMPLES (sizeof(examples) / sizeof(examples[0]))

static enum msg_dir
dir_of(enum msg_type type)
{
	return type < MSG_S_IDENT ? MSG_C2S : MSG_S2C;
}

/* Parses a copy of text[0..len) in a block of its own; views in *m are void afterwards. */
static enum proto_err
parse_head_copy(enum msg_dir dir, enum msg_flavour flavour, const char *text, size_t len, struct message *m)
{
	uint8_t *copy = malloc(len > 0 ? len : 1);
	enum proto_err err;

	if (copy == NULL)
		abort();
	memcpy(copy, text, len);
	err = msg_parse_head(dir, flavour, copy, len, m);
	free(copy);
	return err;
}

static enum proto_err
parse_copy(const struct example *ex, const char *text, size_t len)
{
	uint8_t *copy = malloc(len > 0 ? len : 1);
	struct message m;
	struct view body;
	enum proto_err err;

	if (copy == NULL)
		abort();
	memcpy(copy, text, len);
	err = msg_parse(dir_of(ex->type), ex->flavour, copy, len, &m, &body);
	free(copy);
	return err;
}

/* A head that is copied is the one that would be written, with whatever session ident. */
static void
check_copied_head(const struct message *m, const char *text)
{
	const uint64_t idents[] = { m->session_ident, 1, 10, 4711, MSG_NUMBER_MAX };

	for (size_t i = 0; i < sizeof(idents) / sizeof(idents[0]); i++) {
		char written[MSG_HEAD_MAX], copied[MSG_HEAD_MAX];
		struct message other = *m;
		size_t len;

		if (m->session_ident != 0)
			other.session_ident = idents[i];
		len = msg_format_head(&other, written);
		other.head = (const uint8_t *)text;
		CHECK_MEM(copied, msg_format_head(&other, copied), written, len);
	}
}

static void
check_example(const struct example *ex)
{
	const enum msg_dir dir = dir_of(ex->type);
	const size_t head_len = strlen(ex->head) + 1, len = head_len + strlen(ex->body);
	char text[1024], out[MSG_HEAD_MAX];
	struct message m;
	struct view body;

	snprintf(text, sizeof(text), "%s\n%s", ex->head, ex->body);
	CHECK_U64(msg_parse(dir, ex->flavour, (const uint8_t *)text, len, &m, &body), PROTO_OK);
	CHECK_U64(m.type, ex->type);
	CHECK_U64(m.flavour, ex->flavour);
	CHECK_U64(m.session_ident, ex->session);
	CHECK_U64(m.head_len, head_len);
	CHECK_U64(m.body_len, strlen(ex->body));
	CHECK_U64(msg_body_len(&m), m.body_len);
	CHECK_MEM(body.ptr, body.len, ex->body, strlen(ex->body));
	CHECK_MEM(msg_name(m.type), strlen(msg_name(m.type)), text, strcspn(text, " "));
	CHECK_MEM(out, msg_format_head(&m, out), text, head_len);
	check_copied_head(&m, text);

	for (size_t n = 0; n < head_len; n++) {
		CHECK_U64(parse_head_copy(dir, ex->flavour, text, n, &m), PROTO_MORE);
		CHECK_U64(parse_copy(ex, text, n), PROTO_MSG_SYNTAX);
	}
	for (size_t n = head_len; n <= len; n++) {
		CHECK_U64(parse_head_copy(dir, ex->flavour, text, n, &m), PROTO_OK);
		CHECK_U64(m.head_len, head_len);
		CHECK_U64(parse_copy(ex, text, n), n == len ? PROTO_OK : PROTO_MSG_LENGTH);
	}
	CHECK_U64(parse_copy(ex, text, len + 1), PROTO_MSG_LENGTH); /* the NUL is one byte too many */
}

TEST(examples_come_back_byte_identical)
{
	for (size_t i = 0; i < NEXAMPLES && !harness_failed(); i++) {
		check_example(&examples[i]);
		if (harness_failed())
			harness_fail(__FILE__, __LINE__, "in \"%s\"", examples[i].head);
	}
}

TEST(every_type_has_an_example)
{
	for (unsigned type = 0; type < MSG_NTYPES; type++) {
		unsigned n = 0;

		for (size_t i = 0; i < NEXAMPLES; i++)
			n += examples[i].type == type;
		if (n == 0)
			harness_fail(__FILE__, __LINE__, "no example of type %u", type);
	}
}

/* A message is known to say a token as soon as its name can be seen. */
TEST(who_tells_a_token)
{
	for (size_t i = 0; i < NEXAMPLES; i++) {
		const uint8_t *head = (const uint8_t *)examples[i].head;
		bool want = msg_has_token(examples[i].type);

		if (strlen(examples[i].head) >= MSG_TELLS_BY && msg_tells_token(head, MSG_TELLS_BY) != want)
			harness_fail(__FILE__, __LINE__, "got %s: %s", want ? "no token" : "a token", examples[i].head);
		if (msg_tells_token(head, MSG_TELLS_BY - 1))
			harness_fail(__FILE__, __LINE__, "got a token by %u bytes: %s", MSG_TELLS_BY - 1, examples[i].head);
	}
	CHECK(!msg_tells_token((const uint8_t *)"binding 1", 9) && !msg_tells_token((const uint8_t *)"refreshes", 9));
}

/* The start of field number n of head (0 is the name); *len is the field's length. */
static const char *
field_of(const char *head, size_t n, size_t *len)
{
	for (; n > 0; n--)
		head += strcspn(head, " ") + 1;
	*len = strcspn(head, " ");
	return head;
}

static size_t
field_count(const char *head)
{
	size_t n = 0;

	for (; *head != '\0'; head++)
		n += *head == ' ';
	return n;
}

/* Writes head with what stands between its fields n - 1 and n + 1 replaced, then an LF. */
static void
replace_field(char *out, size_t cap, const char *head, size_t n, const char *before, const char *with, const char *after)
{
	size_t len;
	const char *field = field_of(head, n, &len);

	if (with != NULL)
		snprintf(out, cap, "%.*s%s%s%s%s\n", (int)(field - head), head, before, with, after, field + len);
	else
		snprintf(out, cap, "%.*s%s%.*s%s%s\n", (int)(field - head), head, before, (int)len, field, after, field + len);
}

static const struct {
	const char *before, *with, *after; /* with NULL: the field as it was */
	bool fraction_too;		   /* wrong for a fraction as well */
} wrong_fields[] = {
	{ "0", NULL, "", true }, /* leading zero */
	{ "00", NULL, "", true },
	{ "+", NULL, "", true },
	{ "-", NULL, "", true },
	{ " ", NULL, "", true },  /* two spaces */
	{ "\t", NULL, "", true },
	{ "", NULL, " ", true },  /* two spaces, or one at the end */
	{ "", NULL, "\r", true },
	{ "", NULL, "x", true },
	{ "", NULL, ".", true },
	{ "", NULL, "\n", true }, /* LF too early */
	{ "", "", "", true },
	{ "", "0x1", "", true },
	{ "", "1_0", "", true },
	{ "", "-1", "", true },
	{ "", OVER, "", false },
	{ "", "18446744073709551615", "", false }, /* 2^64 - 1 */
	{ "", "18446744073709551616", "", false }, /* 2^64: wraps to 0 */
	{ "", "18446744073709551617", "", false }, /* wraps to 1 */
	{ "", "9999999999999999999", "", false },
	{ "", "99999999999999999999999999999999999999999999", "", true },
	{ "", "1e3", "", false },
	{ "", "1.0", "", false },
};

static void
check_wrong_fields(const struct example *ex)
{
	const bool flx_download = ex->type == MSG_S_DOWNLOAD && ex->flavour == MSG_FLX;

	for (size_t n = 1; n <= field_count(ex->head); n++) {
		for (size_t i = 0; i < sizeof(wrong_fields) / sizeof(wrong_fields[0]); i++) {
			const bool last_lf = wrong_fields[i].after[0] == '\n' && n == field_count(ex->head);
			char text[1024];
			struct message m;

			if ((flx_download && n == 10 && !wrong_fields[i].fraction_too) || last_lf)
				continue;
			replace_field(text, sizeof(text), ex->head, n, wrong_fields[i].before, wrong_fields[i].with, wrong_fields[i].after);
			if (parse_head_copy(dir_of(ex->type), ex->flavour, text, strlen(text), &m) != PROTO_MSG_SYNTAX) {
				harness_fail(__FILE__, __LINE__, "field %zu, wrong way %zu: accepted \"%s\"", n, i, text);
				return;
			}
		}
	}
}

TEST(every_field_is_strict)
{
	for (size_t i = 0; i < NEXAMPLES && !harness_failed(); i++)
		check_wrong_fields(&examples[i]);
}

TEST(every_field_is_needed_and_no_more)
{
	for (size_t i = 0; i < NEXAMPLES; i++) {
		const struct example *ex = &examples[i];
		const size_t len = strlen(ex->head);
		const char *last = strrchr(ex->head, ' ');
		char text[1024];
		struct message m;

		CHECK(last != NULL);
		snprintf(text, sizeof(text), "%.*s\n", (int)(last - ex->head), ex->head);
		CHECK_U64(parse_head_copy(dir_of(ex->type), ex->flavour, text, strlen(text), &m), PROTO_MSG_SYNTAX);
		snprintf(text, sizeof(text), "%s 0\n", ex->head);
		CHECK_U64(parse_head_copy(dir_of(ex->type), ex->flavour, text, len + 3, &m), PROTO_MSG_SYNTAX);
		snprintf(text, sizeof(text), "%.*s\n", (int)strcspn(ex->head, " "), ex->head);
		CHECK_U64(parse_head_copy(dir_of(ex->type), ex->flavour, text, strlen(text), &m), PROTO_MSG_SYNTAX);
		snprintf(text, sizeof(text), "%.*s \n", (int)strcspn(ex->head, " "), ex->head);
		CHECK_U64(parse_head_copy(dir_of(ex->type), ex->flavour, text, strlen(text), &m), PROTO_MSG_SYNTAX);
		snprintf(text, sizeof(text), " %s\n", ex->head);
		CHECK_U64(parse_head_copy(dir_of(ex->type), ex->flavour, text, strlen(text), &m), PROTO_MSG_UNKNOWN);
	}
}

/* A name that the other direction or flavour has is unknown here; where both have it, the fields differ or the types do. */
TEST(direction_and_flavour_count)
{
	for (size_t i = 0; i < NEXAMPLES; i++) {
		const struct example *ex = &examples[i];
		const enum msg_dir other = dir_of(ex->type) == MSG_C2S ? MSG_S2C : MSG_C2S;
		const size_t name_len = strcspn(ex->head, " ");
		bool both = false;
		char text[1024];
		struct message m;
		enum proto_err err;

		for (size_t k = 0; k < NEXAMPLES; k++)
			both |= dir_of(examples[k].type) == other && strncmp(examples[k].head, ex->head, name_len + 1) == 0;
		snprintf(text, sizeof(text), "%s\n", ex->head);
		err = parse_head_copy(other, ex->flavour, text, strlen(text), &m);
		if (!both)
			CHECK_U64(err, PROTO_MSG_UNKNOWN);
		else
			CHECK(err == PROTO_MSG_SYNTAX || (err == PROTO_OK && m.type != ex->type));
	}
}

struct bad {
	enum msg_dir dir;
	enum msg_flavour flavour;
	enum proto_err err;
	const char *text;
};

static const struct bad bad_heads[] = {
	/* names */
	{ MSG_C2S, MSG_PBS, PROTO_MSG_UNKNOWN, "bin 1\n" },
	{ MSG_C2S, MSG_PBS, PROTO_MSG_UNKNOWN, "binds 1 1 0 0 0\n" },
	{ MSG_C2S, MSG_PBS, PROTO_MSG_UNKNOWN, "Bind 1 1 0 0 0\n" },
	{ MSG_C2S, MSG_PBS, PROTO_MSG_UNKNOWN, "hello" " " },
	{ MSG_C2S, MSG_PBS, PROTO_MSG_UNKNOWN, "\n" },
	{ MSG_C2S, MSG_PBS, PROTO_MSG_UNKNOWN, "\r\n" },
	{ MSG_C2S, MSG_PBS, PROTO_MSG_UNKNOWN, "GET / HTTP/1.1\r\n" },
	{ MSG_C2S, MSG_PBS, PROTO_MSG_SYNTAX, "ping\t1 2\n" },
	{ MSG_C2S, MSG_PBS, PROTO_MSG_UNKNOWN, "client_version_requests" }, /* one longer than the longest: no need to wait */
	{ MSG_C2S, MSG_PBS, PROTO_MSG_UNKNOWN, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" },
	{ MSG_C2S, MSG_PBS, PROTO_MORE, "aaaaaaaaaaaaaaaaaaaaaa" },
	{ MSG_C2S, MSG_PBS, PROTO_MORE, "" },
	/* direction */
	{ MSG_C2S, MSG_PBS, PROTO_MSG_UNKNOWN, "download 1 0 0 0 0 0 0 0 0 0 0\n" },
	{ MSG_C2S, MSG_PBS, PROTO_MSG_UNKNOWN, "pong 1\n" },
	{ MSG_C2S, MSG_PBS, PROTO_MSG_UNKNOWN, "error 100 0 0 0\n" },
	{ MSG_S2C, MSG_PBS, PROTO_MSG_UNKNOWN, "bind 1 1 0 0 0\n" },
	{ MSG_S2C, MSG_PBS, PROTO_MSG_UNKNOWN, "upload 1 0 0 0 17 10 10\n" },
	{ MSG_S2C, MSG_PBS, PROTO_MSG_UNKNOWN, "unbind 1\n" },
	{ MSG_S2C, MSG_PBS, PROTO_MSG_SYNTAX, "ident 1 2 3 0 0 0 0\n" },
	{ MSG_C2S, MSG_PBS, PROTO_MSG_SYNTAX, "ident 1 2 3\n" },
	{ MSG_C2S, MSG_PBS, PROTO_MSG_SYNTAX, "alloc 1 2\n" },
	{ MSG_S2C, MSG_PBS, PROTO_MSG_SYNTAX, "alloc 1\n" },
	/* flavour */
	{ MSG_C2S, MSG_PBS, PROTO_MSG_UNKNOWN, "query 1 2 0\n" },
	{ MSG_S2C, MSG_PBS, PROTO_MSG_UNKNOWN, "query_error 300 0 1 2\n" },
	{ MSG_C2S, MSG_PBS, PROTO_MSG_SYNTAX, "ident 1 2 5 0 0 0 0 0 2\n" },
	{ MSG_C2S, MSG_FLX, PROTO_MSG_SYNTAX, "ident 1 2 5 0 0 0 0\n" },
	{ MSG_S2C, MSG_PBS, PROTO_MSG_SYNTAX, "download 1 0 0 0 0 0 0 0 2 0 0 0 0\n" },
	{ MSG_S2C, MSG_FLX, PROTO_MSG_SYNTAX, "download 1 0 0 0 0 0 0 0 0 0 0\n" },
	{ MSG_S2C, MSG_PBS, PROTO_MSG_SYNTAX, "download 1 0 0 0 0 0 0 0.5 0 0 0\n" },
	/* wrong as soon as it is wrong, LF or not */
	{ MSG_C2S, MSG_PBS, PROTO_MSG_SYNTAX, "unbind 01" },
	{ MSG_C2S, MSG_PBS, PROTO_MSG_SYNTAX, "unbind x" },
	{ MSG_C2S, MSG_PBS, PROTO_MSG_SYNTAX, "unbind  " },
	{ MSG_C2S, MSG_PBS, PROTO_MSG_SYNTAX, "unbind\n" },
	{ MSG_C2S, MSG_PBS, PROTO_MSG_SYNTAX, "unbind 1 " },
	{ MSG_C2S, MSG_PBS, PROTO_MSG_SYNTAX, "unbind " OVER },
	{ MSG_C2S, MSG_PBS, PROTO_MSG_SYNTAX, "unbind 10000000000000000000" },
	{ MSG_C2S, MSG_PBS, PROTO_MORE, "unbind 1000000000000000000" },
	/* session idents */
	{ MSG_C2S, MSG_PBS, PROTO_MSG_SYNTAX, "bind 0 1 0 0 0\n" },
	{ MSG_C2S, MSG_PBS, PROTO_MSG_SYNTAX, "unbind 0\n" },
	{ MSG_C2S, MSG_PBS, PROTO_MSG_SYNTAX, "mark 0 1\n" },
	{ MSG_C2S, MSG_PBS, PROTO_MSG_SYNTAX, "json_error 112 2 0\n" },
	{ MSG_S2C, MSG_PBS, PROTO_MSG_SYNTAX, "unbound 0\n" },
	{ MSG_S2C, MSG_PBS, PROTO_MSG_SYNTAX, "download 0 0 0 0 0 0 0 0 0 0 0\n" },
	{ MSG_S2C, MSG_FLX, PROTO_MSG_SYNTAX, "query_error 300 0 0 2\n" },
	/* idents and salts that a server gives are non-zero; what a client says of itself the server judges (208, 211) */
	{ MSG_S2C, MSG_PBS, PROTO_MSG_SYNTAX, "ident 1 0 5\n" },
	{ MSG_S2C, MSG_PBS, PROTO_MSG_SYNTAX, "ident 1 5 0\n" },
	{ MSG_S2C, MSG_PBS, PROTO_MSG_SYNTAX, "alloc 1 0\n" },
	{ MSG_C2S, MSG_PBS, PROTO_OK, "ident 1 0 0 0 0 0 0\n" },
	/* flags and small ranges */
	{ MSG_C2S, MSG_PBS, PROTO_MSG_SYNTAX, "bind 1 1 0 2 0\n" },
	{ MSG_C2S, MSG_PBS, PROTO_MSG_SYNTAX, "bind 1 1 0 0 2\n" },
	{ MSG_C2S, MSG_PBS, PROTO_MSG_SYNTAX, "upload 1 2 10 5 0 0 0\n" },
	{ MSG_C2S, MSG_PBS, PROTO_MSG_SYNTAX, "upload 1 0 10 5 0 0 0\n" }, /* not compressed, yet a compressed size */
	{ MSG_S2C, MSG_PBS, PROTO_MSG_SYNTAX, "download 1 0 0 0 0 0 0 0 0 10 5\n" },
	{ MSG_S2C, MSG_FLX, PROTO_MSG_SYNTAX, "download 1 0 0 0 0 0 0 0 3 0 0 0 0\n" },
	{ MSG_S2C, MSG_PBS, PROTO_MSG_SYNTAX, "error 100 0 2 0\n" },
	{ MSG_S2C, MSG_PBS, PROTO_MSG_SYNTAX, "error 2147483648 0 0 0\n" },
	{ MSG_S2C, MSG_PBS, PROTO_OK, "error 2147483647 0 0 0\n" },
	{ MSG_S2C, MSG_PBS, PROTO_MSG_SYNTAX, "transact 1 0 0 0 0 0 0\n" },
	{ MSG_S2C, MSG_PBS, PROTO_MSG_SYNTAX, "transact 1 4 0 0 0 0 0\n" },
	/* limits */
	{ MSG_C2S, MSG_PBS, PROTO_MSG_SYNTAX, "bind 1 0 0 0 0\n" },
	{ MSG_C2S, MSG_PBS, PROTO_OK, "bind 1 1024 2048 0 0\n" },
	{ MSG_C2S, MSG_PBS, PROTO_MSG_LIMIT, "bind 1 1025 0 0 0\n" },
	{ MSG_C2S, MSG_PBS, PROTO_MSG_LIMIT, "bind 1 1024 2049 0 0\n" },
	{ MSG_C2S, MSG_PBS, PROTO_MSG_LIMIT, "refresh 1 2049\n" },
	{ MSG_C2S, MSG_PBS, PROTO_OK, "refresh 1 2048\n" },
	/* fractions */
	{ MSG_S2C, MSG_FLX, PROTO_MSG_SYNTAX, "download 1 0 0 0 0 0 0 0 2 .5 0 0 0\n" },
	{ MSG_S2C, MSG_FLX, PROTO_MSG_SYNTAX, "download 1 0 0 0 0 0 0 0 2 1. 0 0 0\n" },
	{ MSG_S2C, MSG_FLX, PROTO_MSG_SYNTAX, "download 1 0 0 0 0 0 0 0 2 0.5.1 0 0 0\n" },
	{ MSG_S2C, MSG_FLX, PROTO_MSG_SYNTAX, "download 1 0 0 0 0 0 0 0 2 1e 0 0 0\n" },
	{ MSG_S2C, MSG_FLX, PROTO_MSG_SYNTAX, "download 1 0 0 0 0 0 0 0 2 1e+ 0 0 0\n" },
	{ MSG_S2C, MSG_FLX, PROTO_MSG_SYNTAX, "download 1 0 0 0 0 0 0 0 2 1e5e5 0 0 0\n" },
	{ MSG_S2C, MSG_FLX, PROTO_MSG_SYNTAX, "download 1 0 0 0 0 0 0 0 2 e5 0 0 0\n" },
	{ MSG_S2C, MSG_FLX, PROTO_MSG_SYNTAX, "download 1 0 0 0 0 0 0 0 2 nan 0 0 0\n" },
	{ MSG_S2C, MSG_FLX, PROTO_MSG_SYNTAX, "download 1 0 0 0 0 0 0 0 2 inf 0 0 0\n" },
	{ MSG_S2C, MSG_FLX, PROTO_MSG_SYNTAX, "download 1 0 0 0 0 0 0 0 2 0.5\n" },
	{ MSG_S2C, MSG_FLX, PROTO_OK, "download 1 0 0 0 0 0 0 0 2 0.123456789012345678901234567890 0 0 0\n" },
	{ MSG_S2C, MSG_FLX, PROTO_MSG_SYNTAX, "download 1 0 0 0 0 0 0 0 2 0.1234567890123456789012345678901 0 0 0\n" },
};

TEST(bad_heads)
{
	for (size_t i = 0; i < sizeof(bad_heads) / sizeof(bad_heads[0]); i++) {
		const struct bad *bad = &bad_heads[i];
		struct message m;
		enum proto_err err = parse_head_copy(bad->dir, bad->flavour, bad->text, strlen(bad->text), &m);

		if (err != bad->err)
			harness_fail(__FILE__, __LINE__, "got %d, want %d for \"%s\"", (int)err, (int)bad->err, bad->text);
	}
}

/* Byte by byte a bad head is refused with the same error, once, and never accepted before. */
TEST(bad_heads_byte_by_byte)
{
	for (size_t i = 0; i < sizeof(bad_heads) / sizeof(bad_heads[0]); i++) {
		const struct bad *bad = &bad_heads[i];
		enum proto_err err = PROTO_MORE;

		for (size_t n = 0; n <= strlen(bad->text) && err == PROTO_MORE; n++) {
			struct message m;

			err = parse_head_copy(bad->dir, bad->flavour, bad->text, n, &m);
		}
		if (err != bad->err)
			harness_fail(__FILE__, __LINE__, "got %d, want %d for \"%s\"", (int)err, (int)bad->err, bad->text);
	}
}

TEST(head_length_limit)
{
	char text[MSG_HEAD_MAX + 2];
	struct message m;

	for (unsigned dir = MSG_C2S; dir <= MSG_S2C; dir++) {
		const size_t limit = dir == MSG_C2S ? MSG_HEAD_MAX_C2S : MSG_HEAD_MAX;

		memset(text, '1', sizeof(text));
		memcpy(text, dir == MSG_C2S ? "unbind " : "unbound ", 7 + (dir == MSG_S2C));
		CHECK_U64(parse_head_copy(dir, MSG_PBS, text, limit - 1, &m), PROTO_MSG_SYNTAX);
		CHECK_U64(parse_head_copy(dir, MSG_PBS, text, limit, &m), PROTO_MSG_HEAD_TOO_LONG);
		text[limit] = '\n'; /* too late */
		CHECK_U64(parse_head_copy(dir, MSG_PBS, text, limit + 1, &m), PROTO_MSG_HEAD_TOO_LONG);
		text[limit - 1] = '\n';
		CHECK_U64(parse_head_copy(dir, MSG_PBS, text, limit + 1, &m), PROTO_MSG_SYNTAX);
	}
}

/* The largest numbers there are fit the room that callers provide, parse back, and stay below what a server accepts. */
TEST(longest_heads_fit)
{
	static const char fraction[] = "0.123456789012345678901234567890";

	for (unsigned type = 0; type < MSG_NTYPES; type++) {
		for (unsigned flavour = MSG_PBS; flavour <= MSG_FLX; flavour++) {
			char out[MSG_HEAD_MAX];
			struct message m;
			size_t len;

			memset(&m, 0xff, sizeof(m));
			m.head = NULL;
			m.type = type;
			m.flavour = flavour;
			if (type == MSG_S_DOWNLOAD)
				m.download.progress_estimate = view_of(fraction);
			len = msg_format_head(&m, out);
			CHECK(len <= (dir_of(type) == MSG_C2S ? MSG_HEAD_MAX_C2S : MSG_HEAD_MAX));
			CHECK(memchr(out, '\n', len) == out + len - 1);
		}
	}
}

TEST(empty_fraction_is_written_as_zero)
{
	struct message m = { .type = MSG_S_DOWNLOAD, .flavour = MSG_FLX, .session_ident = 1 };
	char out[MSG_HEAD_MAX];

	CHECK_MEM(out, msg_format_head(&m, out), "download 1 0 0 0 0 0 0 0 0 0 0 0 0\n", 35);
}

/* What libc writes, and read again, at both ends of each number of digits and with every digit in each place. */
static void
number_comes_back(uint64_t value)
{
	struct message m = { .type = MSG_C_PING, .ping.timestamp = value }, back;
	char head[MSG_HEAD_MAX], text[64];
	size_t n = msg_format_head(&m, head);

	snprintf(text, sizeof(text), "ping %llu 0\n", (unsigned long long)value);
	CHECK(n == strlen(text) && memcmp(head, text, n) == 0);
	CHECK(msg_parse_head(MSG_C2S, MSG_PBS, (const uint8_t *)head, n, &back) == PROTO_OK);
	CHECK_U64(back.ping.timestamp, value);
}

TEST(numbers_of_all_lengths)
{
	number_comes_back(0);
	number_comes_back(MSG_NUMBER_MAX);
	for (uint64_t power = 1; power <= MSG_NUMBER_MAX; power *= 10) {
		number_comes_back(power - 1);
		for (uint64_t digit = 1; digit <= 9 && digit <= MSG_NUMBER_MAX / power; digit++) {
			number_comes_back(digit * power);
			number_comes_back(digit * power + power / 7);
		}
	}
}

/* Each field lands in the member of its name: numbers are distinct, so a swapped pair shows. */
static struct message
parsed(enum msg_dir dir, enum msg_flavour flavour, const char *text)
{
	struct message m;

	memset(&m, 0, sizeof(m));
	if (msg_parse_head(dir, flavour, (const uint8_t *)text, strlen(text), &m) != PROTO_OK)
		harness_fail(__FILE__, __LINE__, "refused: %s", text);
	return m;
}

TEST(members_bind_and_ident)
{
	struct message m = parsed(MSG_C2S, MSG_PBS, "bind 1 2 3 1 0\n");

	CHECK_U64(m.session_ident, 1);
	CHECK_U64(m.bind.path_size, 2);
	CHECK_U64(m.bind.token_size, 3);
	CHECK_U64(m.bind.need_client_file_ident, 1);
	CHECK_U64(m.bind.is_subserver, 0);
	CHECK_U64(m.body_len, 5);
	m = parsed(MSG_C2S, MSG_PBS, "bind 1 2 3 0 1\n");
	CHECK_U64(m.bind.need_client_file_ident, 0);
	CHECK_U64(m.bind.is_subserver, 1);
	m = parsed(MSG_C2S, MSG_FLX, "ident 1 2 3 4 5 6 7 8 9\n");
	CHECK_U64(m.c_ident.file_ident, 2);
	CHECK_U64(m.c_ident.file_ident_salt, 3);
	CHECK_U64(m.c_ident.scan_server_version, 4);
	CHECK_U64(m.c_ident.scan_client_version, 5);
	CHECK_U64(m.c_ident.latest_server_version, 6);
	CHECK_U64(m.c_ident.latest_server_version_salt, 7);
	CHECK_U64(m.c_ident.query_version, 8);
	CHECK_U64(m.c_ident.query_size, 9);
	m = parsed(MSG_C2S, MSG_PBS, "ident 1 2 3 4 5 6 7\n");
	CHECK_U64(m.c_ident.file_ident, 2);
	CHECK_U64(m.c_ident.latest_server_version_salt, 7);
	CHECK_U64(m.c_ident.query_size, 0);
	m = parsed(MSG_S2C, MSG_PBS, "ident 1 2 3\n");
	CHECK_U64(m.s_ident.file_ident, 2);
	CHECK_U64(m.s_ident.file_ident_salt, 3);
}

TEST(members_upload_and_download)
{
	struct message m = parsed(MSG_C2S, MSG_PBS, "upload 1 1 3 4 5 6 7\n");

	CHECK_U64(m.upload.is_compressed, 1);
	CHECK_U64(m.upload.uncompressed_size, 3);
	CHECK_U64(m.upload.compressed_size, 4);
	CHECK_U64(m.upload.progress_client_version, 5);
	CHECK_U64(m.upload.progress_server_version, 6);
	CHECK_U64(m.upload.locked_server_version, 7);
	CHECK_U64(m.body_len, 4);
	m = parsed(MSG_S2C, MSG_PBS, "download 1 2 3 4 5 6 7 8 1 10 11\n");
	CHECK_U64(m.download.download_server_version, 2);
	CHECK_U64(m.download.download_client_version, 3);
	CHECK_U64(m.download.latest_server_version, 4);
	CHECK_U64(m.download.latest_server_version_salt, 5);
	CHECK_U64(m.download.upload_client_version, 6);
	CHECK_U64(m.download.upload_server_version, 7);
	CHECK_U64(m.download.downloadable_bytes, 8);
	CHECK_U64(m.download.is_compressed, 1);
	CHECK_U64(m.download.uncompressed_size, 10);
	CHECK_U64(m.download.compressed_size, 11);
	CHECK_U64(m.body_len, 11);
	m = parsed(MSG_S2C, MSG_FLX, "download 1 2 3 4 5 6 7 8 2 0.75 0 10 0\n");
	CHECK_U64(m.download.upload_server_version, 7);
	CHECK_U64(m.download.downloadable_bytes, 0);
	CHECK_U64(m.download.query_version, 8);
	CHECK_U64(m.download.batch_state, 2);
	CHECK_MEM(m.download.progress_estimate.ptr, m.download.progress_estimate.len, "0.75", 4);
	CHECK_U64(m.download.uncompressed_size, 10);
	CHECK_U64(m.body_len, 10);
}

TEST(members_of_the_other_client_messages)
{
	struct message m = parsed(MSG_C2S, MSG_PBS, "transact 1 2 3 4\n");

	CHECK_U64(m.c_transact.client_version, 2);
	CHECK_U64(m.c_transact.server_version, 3);
	CHECK_U64(m.c_transact.size, 4);
	m = parsed(MSG_C2S, MSG_PBS, "mark 1 2\n");
	CHECK_U64(m.c_mark.request_ident, 2);
	m = parsed(MSG_C2S, MSG_PBS, "refresh 1 2\n");
	CHECK_U64(m.refresh.token_size, 2);
	m = parsed(MSG_C2S, MSG_PBS, "state_request 1 2 3 4 1 6 7 8 9\n");
	CHECK_U64(m.state_request.partial_version, 2);
	CHECK_U64(m.state_request.partial_salt, 3);
	CHECK_U64(m.state_request.offset, 4);
	CHECK_U64(m.state_request.need_recent, 1);
	CHECK_U64(m.state_request.min_file_format, 6);
	CHECK_U64(m.state_request.max_file_format, 7);
	CHECK_U64(m.state_request.min_history_schema, 8);
	CHECK_U64(m.state_request.max_history_schema, 9);
	m = parsed(MSG_C2S, MSG_PBS, "client_version_request 1 2 3\n");
	CHECK_U64(m.client_version_request.file_ident, 2);
	CHECK_U64(m.client_version_request.file_ident_salt, 3);
	m = parsed(MSG_C2S, MSG_PBS, "ping 1 2\n");
	CHECK_U64(m.session_ident, 0);
	CHECK_U64(m.ping.timestamp, 1);
	CHECK_U64(m.ping.rtt, 2);
	m = parsed(MSG_C2S, MSG_FLX, "query 1 2 3\n");
	CHECK_U64(m.query.query_version, 2);
	CHECK_U64(m.query.query_size, 3);
}

TEST(members_of_the_other_server_messages)
{
	struct message m = parsed(MSG_S2C, MSG_PBS, "transact 1 2 3 4 5 6 7\n");

	CHECK_U64(m.s_transact.status, 2);
	CHECK_U64(m.s_transact.server_version, 3);
	CHECK_U64(m.s_transact.server_version_salt, 4);
	CHECK_U64(m.s_transact.origin_timestamp, 5);
	CHECK_U64(m.s_transact.origin_file_ident, 6);
	CHECK_U64(m.s_transact.substitutions_size, 7);
	m = parsed(MSG_S2C, MSG_PBS, "mark 1 2\n");
	CHECK_U64(m.s_mark.request_ident, 2);
	m = parsed(MSG_S2C, MSG_PBS, "state 1 2 3 4 5 6 7\n");
	CHECK_U64(m.state.server_version, 2);
	CHECK_U64(m.state.server_version_salt, 3);
	CHECK_U64(m.state.begin_offset, 4);
	CHECK_U64(m.state.end_offset, 5);
	CHECK_U64(m.state.max_offset, 6);
	CHECK_U64(m.state.size, 7);
	m = parsed(MSG_S2C, MSG_PBS, "client_version 1 2\n");
	CHECK_U64(m.client_version.client_version, 2);
	m = parsed(MSG_S2C, MSG_PBS, "alloc 1 2\n");
	CHECK_U64(m.s_alloc.file_ident, 2);
	m = parsed(MSG_S2C, MSG_PBS, "pong 1\n");
	CHECK_U64(m.session_ident, 0);
	CHECK_U64(m.pong.timestamp, 1);
}

/* In these the session ident is not the first field. */
TEST(members_of_errors_and_logs)
{
	struct message m = parsed(MSG_S2C, MSG_PBS, "error 102 3 1 4\n");

	CHECK_U64(m.error.error_code, 102);
	CHECK_U64(m.error.size, 3);
	CHECK_U64(m.error.try_again, 1);
	CHECK_U64(m.session_ident, 4);
	for (unsigned dir = MSG_C2S; dir <= MSG_S2C; dir++) {
		m = parsed(dir, MSG_PBS, "json_error 231 3 4\n");
		CHECK_U64(m.type, dir == MSG_C2S ? MSG_C_JSON_ERROR : MSG_S_JSON_ERROR);
		CHECK_U64(m.json_error.error_code, 231);
		CHECK_U64(m.json_error.size, 3);
		CHECK_U64(m.session_ident, 4);
		m = parsed(dir, MSG_PBS, "test_command 4 3 2\n");
		CHECK_U64(m.session_ident, 4);
		CHECK_U64(m.test_command.request_ident, 3);
		CHECK_U64(m.test_command.size, 2);
	}
	m = parsed(MSG_S2C, MSG_FLX, "query_error 300 3 4 5\n");
	CHECK_U64(m.query_error.error_code, 300);
	CHECK_U64(m.query_error.size, 3);
	CHECK_U64(m.session_ident, 4);
	CHECK_U64(m.query_error.query_version, 5);
	m = parsed(MSG_S2C, MSG_PBS, "log_message 4 3\n");
	CHECK_U64(m.session_ident, 4);
	CHECK_U64(m.log_message.size, 3);
}
