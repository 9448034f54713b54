/* Each rule C1-C9 broken once, and the border cases that must pass. One row of the table is one message after one state. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/zbody.h"

#include "tests/harness.h"
#include "tests/peer/client_rules.h"

/* A live session of file 5 at newest version 20, with progress download 10/8, latest 12, upload 9/7, MARKs 1-3 sent, 1 answered. */
static struct client_rules
live(void)
{
	struct client_rules r = { .file_ident = 5, .newest = 20, .cur = { 10, 8, 12, 77, 9, 7 } };

	client_rules_bind(&r, false);
	r.ident_sent = true;
	r.mark_received = 1;
	r.mark_sent = 3;
	return r;
}

enum state {
	LIVE,
	UNBOUND_YET,	/* before BIND */
	BOUND,		/* BIND sent, IDENT not; no ident was asked for */
	ASKED,		/* BIND asked for an ident */
	ASKED_KNOWN,	/* and it came */
	UNBINDING,
	OVER,		/* UNBOUND came */
	FAILED,		/* a session ERROR came */
	FLX,
};

static struct client_rules
in_state(enum state state)
{
	struct client_rules r = live();

	switch (state) {
	case LIVE:
		break;
	case UNBOUND_YET:
		r.bound = r.ident_sent = false;
		break;
	case BOUND:
		r.ident_sent = false;
		break;
	case ASKED:
		r.ident_sent = false;
		r.asked_ident = true;
		r.file_ident = 0;
		break;
	case ASKED_KNOWN:
		r.asked_ident = true;
		break;
	case UNBINDING:
		r.unbind_sent = true;
		break;
	case OVER:
		r.unbind_sent = r.unbound = true;
		break;
	case FAILED:
		r.failed = true;
		break;
	case FLX:
		r.flavour = MSG_FLX;
		break;
	}
	return r;
}

/* want: NULL = accepted, "ignore", or how the words begin. message: with '|' where its LF is. */
static const struct {
	enum state state;
	const char *message, *want;
} rows[] = {
	/* the session's life: C8 */
	{ ASKED, "ident 1 6 99|", NULL },
	{ BOUND, "ident 1 6 99|", "C8: IDENT, but" },
	{ ASKED_KNOWN, "ident 1 6 99|", "C8: a second IDENT" },
	{ UNBOUND_YET, "ident 1 6 99|", "C8: ident before BIND" },
	{ UNBOUND_YET, "download 1 10 8 12 77 9 7 0 0 0 0|", "C8: download before BIND" },
	{ BOUND, "download 1 10 8 12 77 9 7 0 0 0 0|", "C8: download before the client's IDENT" },
	{ BOUND, "mark 1 2|", "C8: mark before the client's IDENT" },
	{ LIVE, "unbound 1|", "C8: UNBOUND without UNBIND" },
	{ UNBINDING, "unbound 1|", NULL },
	{ UNBINDING, "download 1 1 1 1 1 1 1 0 0 0 0|", "ignore" },
	{ UNBINDING, "mark 1 9|", "ignore" },
	{ UNBINDING, "error 208 0 0 1|", NULL },
	{ OVER, "unbound 1|", "C8: unbound after UNBOUND" },
	{ OVER, "mark 1 2|", "C8: mark after UNBOUND" },
	{ OVER, "error 208 0 0 1|", "C8: a session error" },
	{ FAILED, "download 1 10 8 12 77 9 7 0 0 0 0|", "C8: download after a session ERROR" },
	{ FAILED, "unbound 1|", "C8: unbound after a session ERROR" },
	{ FAILED, "error 208 0 0 1|", "C8: a session error" },
	{ UNBOUND_YET, "error 208 0 0 1|", "C8: error before BIND" },
	{ BOUND, "error 208 0 0 1|", NULL },
	{ LIVE, "error 102 0 0 1|", "C8: session error with the connection's code" },
	{ LIVE, "json_error 102 0 1|", "C8: session error with the connection's code" },
	{ LIVE, "json_error 217 0 1|", NULL },
	{ UNBOUND_YET, "log_message 1 2|{}", NULL },
	/* progress: C1-C4 */
	{ LIVE, "download 1 10 8 12 77 9 7 0 0 0 0|", NULL },
	{ LIVE, "download 1 10 8 11 77 9 7 0 0 0 0|", "C1: stored latest_server_version 12 > latest_server_version 11" },
	{ LIVE, "download 1 13 8 12 77 9 7 0 0 0 0|", "C1: download_server_version 13 >" },
	{ LIVE, "download 1 10 8 12 77 8 7 0 0 0 0|", "C2: stored upload_client_version 9 > upload_client_version 8" },
	{ LIVE, "download 1 10 8 12 77 20 7 0 0 0 0|", NULL },
	{ LIVE, "download 1 10 8 12 77 21 7 0 0 0 0|", "C2: upload_client_version 21 > newest" },
	{ LIVE, "download 1 10 8 12 77 9 6 0 0 0 0|", "C2: stored upload_server_version 7 >" },
	{ LIVE, "download 1 10 8 12 77 9 0 0 0 0 0|", NULL },
	{ LIVE, "download 1 9 8 12 77 9 7 0 0 0 0|", "C3: stored download_server_version 10 >" },
	{ LIVE, "download 1 10 7 12 77 9 7 0 0 0 0|", "C3: stored download_client_version 8 >" },
	{ LIVE, "download 1 10 10 12 77 9 7 0 0 0 0|", "C4: download_client_version 10 > upload_client_version 9" },
	{ LIVE, "download 1 10 8 12 77 9 11 0 0 0 0|", "C4: upload_server_version 11 > download_server_version 10" },
	/* entries: C5, C6 */
	{ LIVE, "download 1 12 9 12 77 9 7 0 0 30 0|11 8 1 6 2 2 ab12 9 1 7 2 2 cd", NULL },
	{ LIVE, "download 1 12 9 12 77 9 7 0 0 15 0|10 8 1 6 2 2 ab", "C5: entry with server_version 10 after 10" },
	{ LIVE, "download 1 12 9 12 77 9 7 0 0 30 0|11 8 1 6 2 2 ab11 9 1 7 2 2 cd", "C5: entry with server_version 11 after 11" },
	{ LIVE, "download 1 11 9 12 77 9 7 0 0 15 0|12 8 1 6 2 2 ab", "C5: entry with server_version 12 after 10, download" },
	{ LIVE, "download 1 12 9 12 77 9 7 0 0 15 0|11 7 1 6 2 2 ab", "C5: entry with client_version 7" },
	{ LIVE, "download 1 12 8 12 77 9 7 0 0 15 0|11 9 1 6 2 2 ab", "C5: entry with client_version 9" },
	{ LIVE, "download 1 12 9 12 77 9 7 0 0 30 0|11 9 1 6 2 2 ab12 8 1 7 2 2 cd", "C5: entry with client_version 8 after 9" },
	{ LIVE, "download 1 12 9 12 77 9 7 0 0 15 0|11 8 1 0 2 2 ab", "C5: entry with origin_file_ident 0" },
	{ LIVE, "download 1 12 9 12 77 9 7 0 0 15 0|11 8 1 5 2 2 ab", "C5: entry with origin_file_ident 5" },
	{ FLX, "download 1 12 9 12 77 9 7 1 0 0 0 30 0|11 8 1 6 2 2 ab11 9 1 7 2 2 cd", NULL },
	{ FLX, "download 1 12 9 12 77 9 7 1 2 0.5 0 15 0|10 8 1 6 2 2 ab", NULL },
	{ FLX, "download 1 12 9 12 77 9 7 1 2 1 0 14 0|9 8 1 6 2 2 ab", "C6: entry with server_version 9 after 10" },
	/* marks: C7 */
	{ LIVE, "mark 1 2|", NULL },
	{ LIVE, "mark 1 3|", NULL },
	{ LIVE, "mark 1 1|", "C7: MARK 1" },
	{ LIVE, "mark 1 4|", "C7: MARK 4" },
	/* form: C9 */
	{ LIVE, "download 1 12 9 12 77 9 7 0 0 15 0|11 8 1 6 2 3 ab", "C9: DOWNLOAD entry refused" },
	{ LIVE, "download 1 12 9 12 77 9 7 0 1 14 4|abcd", "C9: DOWNLOAD body" },
	{ LIVE, "download 1 12 9 12 77 9 7 0 1 99999 4|abcd", "C9: DOWNLOAD claims" },
	{ LIVE, "download 1 10 8 12 77 9 7 0 0 0 0|x", "C9: message of" },
	{ LIVE, "mark 1 2 3|", "C9: message of" },
	{ LIVE, "hello 1|", "C9: message of" },
	{ LIVE, "alloc 1 9|", "C9: alloc was not asked for" },
	{ LIVE, "query_error 226 0 1 1|", "C9: message of" },
	{ FLX, "query_error 226 0 1 1|", NULL },
};

/* Judges text as one message for a session in this state; why is "" when it is accepted. */
static void
judge(enum state state, const char *text, char *why)
{
	struct client_rules r = in_state(state), before = r;
	struct message m;
	struct view body, entries;
	uint8_t *owned = NULL, buf[512];
	size_t len = strlen(text);
	enum rules_verdict verdict;

	for (size_t i = 0; i < len; i++)
		buf[i] = (uint8_t)(text[i] == '|' ? '\n' : text[i]);
	why[0] = '\0';
	verdict = client_rules_parse(r.flavour, buf, len, &m, &body, why);
	entries = body;
	if (verdict == RULES_OK && m.type == MSG_S_DOWNLOAD)
		verdict = client_rules_inflate(&m, body, &entries, &owned, why);
	if (verdict == RULES_OK)
		verdict = client_rules_check(&r, &m, entries, why);
	if (verdict == RULES_IGNORE)
		strcpy(why, "ignore");
	free(owned);
	CHECK(verdict != RULES_BROKEN || why[0] == 'C');
	CHECK_MEM(&r, sizeof r, &before, sizeof before); /* judging changes nothing */
}

TEST(client_rules_table)
{
	char why[RULES_WHY_MAX], text[2 * RULES_WHY_MAX];

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		judge(rows[i].state, rows[i].message, why);
		if (rows[i].want == NULL ? why[0] == '\0' : strncmp(why, rows[i].want, strlen(rows[i].want)) == 0)
			continue;
		snprintf(text, sizeof text, "%s -> %s", rows[i].message, why);
		CHECK_STR(text, rows[i].want != NULL ? rows[i].want : "accepted");
	}
}

static const struct {
	const char *message, *want;
} conn_rows[] = {
	{ "pong 5|", NULL },
	{ "log_message 0 2|{}", NULL },
	{ "error 100 0 1 0|", NULL },
	{ "json_error 103 0 0|", NULL },
	{ "error 208 0 0 0|", "C8: session error 208" },
	{ "mark 7 1|", "C8: mark for session 7" },
	{ "error 208 0 0 7|", "C8: error for session 7" },
};

TEST(client_rules_connection)
{
	char why[RULES_WHY_MAX];

	for (size_t i = 0; i < sizeof conn_rows / sizeof conn_rows[0]; i++) {
		uint8_t buf[128];
		size_t len = strlen(conn_rows[i].message);
		struct message m;
		struct view body;

		for (size_t j = 0; j < len; j++)
			buf[j] = (uint8_t)(conn_rows[i].message[j] == '|' ? '\n' : conn_rows[i].message[j]);
		why[0] = '\0';
		CHECK(client_rules_parse(MSG_PBS, buf, len, &m, &body, why) == RULES_OK);
		CHECK(client_rules_check_conn(&m, why) == (conn_rows[i].want == NULL ? RULES_OK : RULES_BROKEN));
		if (conn_rows[i].want != NULL)
			CHECK_MEM(why, strlen(conn_rows[i].want), conn_rows[i].want, strlen(conn_rows[i].want));
	}
}

TEST(client_rules_apply_moves_the_state)
{
	struct client_rules r = in_state(ASKED);
	struct message m = { .type = MSG_S_IDENT, .s_ident = { 6, 99 } };

	r.newest = 1;
	r.cur = (struct client_progress){ 0 };
	client_rules_apply(&r, &m);
	CHECK_U64(r.file_ident, 6);
	CHECK_U64(r.newest, 2);
	m = (struct message){ .type = MSG_S_DOWNLOAD, .download = { .download_server_version = 3, .latest_server_version = 4,
								     .latest_server_version_salt = 5 } };
	client_rules_apply(&r, &m);
	CHECK_U64(r.newest, 3);
	CHECK_U64(r.cur.download_server, 3);
	CHECK_U64(r.cur.latest, 4);
	CHECK_U64(r.cur.latest_salt, 5);
	m = (struct message){ .type = MSG_S_MARK, .s_mark = { 2 } };
	client_rules_apply(&r, &m);
	CHECK_U64(r.mark_received, 2);
	m = (struct message){ .type = MSG_S_ERROR, .error = { .error_code = 231 } };
	client_rules_apply(&r, &m);
	CHECK(!r.failed);
	m.error.error_code = 209;
	client_rules_apply(&r, &m);
	CHECK(r.failed);
	client_rules_bind(&r, false);
	CHECK(r.bound && !r.failed && !r.ident_sent);
	CHECK_U64(r.mark_sent, 2);
}
