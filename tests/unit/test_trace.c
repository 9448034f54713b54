/* The reader of recorded traffic (tests/peer/trace.h), on lines made here: what a trace says arrives, and a line that is not
 * what a recorder writes is an error with its number, never skipped. */
#include "tests/harness.h"

#include <stdio.h>
#include <string.h>

#include "tests/peer/trace.h"

/* Opens a trace with the given content. */
static struct trace *
trace_of(const char *content)
{
	char path[4096];
	FILE *f;

	snprintf(path, sizeof(path), "%s/x.jsonl", harness_tmpdir());
	f = fopen(path, "we");
	if (f == NULL)
		return NULL;
	fputs(content, f);
	fclose(f);
	return trace_open(path);
}

static void
check_events(struct trace *tr)
{
	struct trace_event ev;

	CHECK_U64(trace_next(tr, &ev), 1);
	CHECK_U64(ev.kind, TRACE_HTTP);
	CHECK(ev.t > 0.24 && ev.t < 0.26 && ev.conn == 3 && ev.from_client);
	CHECK_MEM(ev.text.ptr, ev.text.len, "GET / \"\\\r\n\303\251 \360\237\230\200", 17);
	CHECK_U64(trace_next(tr, &ev), 1);
	CHECK_U64(ev.kind, TRACE_MESSAGE);
	CHECK(!ev.from_client && ev.conn == 12);
	CHECK_MEM(ev.head.ptr, ev.head.len, "error 204 4 0 1", 15);
	CHECK_MEM(ev.body.ptr, ev.body.len, "\0\1\376\377", 4);
	CHECK_MEM(ev.message.ptr, ev.message.len, "error 204 4 0 1\n\0\1\376\377", 20);
	CHECK_U64(trace_next(tr, &ev), 1);
	CHECK_MEM(ev.message.ptr, ev.message.len, "unbind 1\n", 9);
	CHECK_U64(ev.body.len, 0);
	CHECK_U64(trace_next(tr, &ev), 1);
	CHECK_U64(ev.kind, TRACE_CLOSED);
	CHECK_MEM(ev.text.ptr, ev.text.len, "1000", 4);
	CHECK_U64(trace_line(tr), 4);
	CHECK_U64(trace_next(tr, &ev), 0);
}

TEST(events_arrive_as_recorded)
{
	struct trace *tr = trace_of(
	    "{\"t\": 0.25, \"conn\": 3, \"dir\": \"c2s\", \"kind\": \"http\", \"text\": \"GET \\/ \\\"\\\\\\r\\n\\u00e9 \\ud83d\\ude00\"}\n"
	    "{\"body_b64\":\"AAH+/w==\",\"head\":\"error 204 4 0 1\",\"kind\":\"message\",\"dir\":\"s2c\",\"conn\":12,\"t\":1e0}\r\n"
	    " { \"t\" : 2 , \"conn\" : 1 , \"dir\":\"c2s\" , \"kind\":\"message\",\"head\":\"unbind 1\",\"body_b64\":\"\" } \n"
	    "{\"t\": 3, \"conn\": 1, \"dir\": \"c2s\", \"kind\": \"closed\", \"code\": \"1000\"}");

	CHECK(tr != NULL);
	check_events(tr);
	trace_close(tr);
}

TEST(base64_of_every_length)
{
	static const struct {
		const char *b64, *plain;
	} cases[] = {
		{ "", "" }, { "Zg==", "f" }, { "Zm8=", "fo" }, { "Zm9v", "foo" }, { "Zm9vYg==", "foob" }, { "Zm9vYmE=", "fooba" },
		{ "Zm9vYmFy", "foobar" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char line[256];
		struct trace *tr;
		struct trace_event ev;
		int got;

		snprintf(line, sizeof(line), "{\"t\":0,\"conn\":1,\"dir\":\"c2s\",\"kind\":\"message\",\"head\":\"h\",\"body_b64\":\"%s\"}\n",
		    cases[i].b64);
		tr = trace_of(line);
		CHECK(tr != NULL);
		got = trace_next(tr, &ev);
		if (got != 1 || !view_eq(ev.body, view_of(cases[i].plain)))
			harness_fail(__FILE__, __LINE__, "\"%s\" is not decoded", cases[i].b64);
		trace_close(tr);
	}
}

TEST(other_lines_are_errors)
{
#define MESSAGE "{\"t\":0,\"conn\":1,\"dir\":\"c2s\",\"kind\":\"message\","
	static const char *const bad[] = {
		"\n",
		"{}\n",
		"[]\n",
		"{\"t\":0}\n",
		MESSAGE "\"head\":\"h\"}\n",					   /* no body */
		MESSAGE "\"body_b64\":\"\"}\n",					   /* no head */
		MESSAGE "\"head\":\"h\",\"body_b64\":\"\"\n",			   /* no brace */
		MESSAGE "\"head\":\"h\",\"body_b64\":\"\"} x\n",		   /* more behind it */
		MESSAGE "\"head\":\"h\",\"body_b64\":\"\",\"head\":\"h\"}\n",	   /* twice */
		MESSAGE "\"head\":\"h\",\"body_b64\":\"\",\"mood\":\"fine\"}\n",   /* unknown member */
		MESSAGE "\"head\":\"h\",\"body_b64\":\"Zg=\"}\n",		   /* base64: length */
		MESSAGE "\"head\":\"h\",\"body_b64\":\"Z===\"}\n",		   /* base64: padding */
		MESSAGE "\"head\":\"h\",\"body_b64\":\"Zg!=\"}\n",		   /* base64: character */
		MESSAGE "\"head\":\"\\x\",\"body_b64\":\"\"}\n",		   /* escape */
		MESSAGE "\"head\":\"\\u12\",\"body_b64\":\"\"}\n",
		MESSAGE "\"head\":\"\\ud800\",\"body_b64\":\"\"}\n",		   /* half a pair */
		MESSAGE "\"head\":true,\"body_b64\":\"\"}\n",
		MESSAGE "\"head\":\"h",
		MESSAGE "\"head\":\"h\\",
		"{\"t\":0,\"conn\":1,\"dir\":\"up\",\"kind\":\"http\",\"text\":\"x\"}\n",
		"{\"t\":0,\"conn\":1,\"dir\":\"c2s\",\"kind\":\"smoke\",\"text\":\"x\"}\n",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct trace *tr = trace_of(bad[i]);
		struct trace_event ev;
		int got;

		CHECK(tr != NULL);
		got = trace_next(tr, &ev);
		if (got != -1 || trace_line(tr) != 1)
			harness_fail(__FILE__, __LINE__, "got %d for %s", got, bad[i]);
		trace_close(tr);
	}
}

TEST(no_such_file)
{
	glob_t files;

	CHECK(trace_open("/nonexistent/x.jsonl") == NULL);
	CHECK_U64(trace_files(NULL, &files), 0);
	globfree(&files);
	CHECK_U64(trace_files("/nonexistent", &files), 0);
	globfree(&files);
	trace_close(NULL);
}
