/* Tests relay/verdict: every row of its tables, and which of action, try_again and code decides. */
#include <stdio.h>
#include <string.h>

#include "tests/harness.h"

#include "relay/verdict.h"

static struct verdict_error
error_of(unsigned code, bool clean, bool try_again)
{
	struct message m = { .type = MSG_S_ERROR };
	struct verdict_error e;

	m.error.error_code = code;
	m.error.try_again = try_again;
	verdict_read(&m, view_of("some text"), clean, &e);
	return e;
}

static struct verdict_error
json_error_of(unsigned code, const char *body)
{
	struct message m = { .type = MSG_S_JSON_ERROR };
	struct verdict_error e;

	m.json_error.error_code = code;
	verdict_read(&m, view_of(body), false, &e);
	return e;
}

TEST(verdict_by_code)
{
	static const struct {
		unsigned code;
		const char *at_ident, *at_upload;
		bool resets;
	} t[] = {
		{ 100, "retry", "retry", false },     { 113, "client", "client", false },   { 114, "client", "client", false },
		{ 202, "token", "token", false },     { 203, "token", "token", false },	    { 208, "reject", "unknown", true },
		{ 209, "reject", "reject", true },    { 210, "reject", "reject", false },   { 211, "reject", "unknown", true },
		{ 212, "unknown", "reject", false },  { 216, "unknown", "reject", false },  { 217, "reject", "unknown", true },
		{ 222, "reject", "unknown", true },   { 223, "reject", "unknown", false },  { 225, "unknown", "reject", false },
		{ 230, "unknown", "reject", false },  { 231, "go_on", "go_on", false },	    { 232, "client", "client", false },
		{ 234, "client", "client", false },   { 236, "go_on", "go_on", false },	    { 201, "unknown", "unknown", false },
		{ 204, "unknown", "unknown", false }, { 206, "unknown", "unknown", false }, { 299, "unknown", "unknown", false },
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct verdict_error e = error_of(t[i].code, false, false), again = error_of(t[i].code, false, true);

		CHECK_STR(verdict_name(verdict_of(&e)), t[i].at_ident);
		CHECK(verdict_resets_client(&e) == t[i].resets);
		CHECK(!verdict_resets_client(&again));
		CHECK_STR(verdict_name(verdict_of(&again)), strcmp(t[i].at_ident, "go_on") == 0 ? "go_on" : "retry");
		e = error_of(t[i].code, true, false);
		CHECK_STR(verdict_name(verdict_of(&e)), t[i].at_upload);
	}
}

TEST(verdict_by_action)
{
	static const struct {
		const char *action, *verdict; /* for code 299, try_again = false */
		bool resets;
	} t[] = {
		{ "ClientReset", "reject", true },	 { "ClientResetNoRecovery", "reject", true }, { "DeleteRealm", "reject", true },
		{ "LogOutUser", "token", false },	 { "MigrateSchema", "go_on", false },	      { "MigrateToFLX", "client", false },
		{ "RefreshLocation", "retry", false },	 { "RefreshUser", "token", false },	      { "RevertToPBS", "client", false },
		{ "Transient", "retry", false },	 { "Warning", "go_on", false },		      { "ProtocolViolation", "unknown", false },
		{ "ApplicationBug", "unknown", false },	 { "NoAction", "unknown", false },	      { "SomethingNew", "unknown", false },
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		char body[200];
		struct verdict_error e;

		snprintf(body, sizeof(body), "{\"tryAgain\":false,\"message\":\"\\\"action\\\":\\\"Warning\\\"\",\"action\":\"%s\"}", t[i].action);
		e = json_error_of(299, body);
		CHECK_STR(verdict_name(verdict_of(&e)), t[i].verdict);
		CHECK(verdict_resets_client(&e) == t[i].resets);
	}
}

/* The action before try_again, try_again before the code; an action that leaves it open, and a broken body, leave it to what follows. */
TEST(verdict_order)
{
	static const struct {
		unsigned code;
		const char *body, *verdict;
	} t[] = {
		{ 209, "{\"tryAgain\":true,\"action\":\"RefreshUser\"}", "token" },
		{ 209, "{\"tryAgain\":true,\"action\":\"ProtocolViolation\"}", "retry" },
		{ 209, "{\"tryAgain\":false,\"action\":\"ProtocolViolation\"}", "reject" },
		{ 209, "{\"tryAgain\":false,\"action\":\"Transient\"}", "retry" },
		{ 202, "{\"action\":\"ClientReset\"}", "reject" },
		{ 231, "{\"tryAgain\":false,\"action\":\"ClientReset\"}", "go_on" },
		{ 209, "{\"tryAgain\":true,\"action\":\"Transient\"", "reject" },
		{ 209, "{\"tryAgain\":\"true\"}", "reject" },
		{ 299, "", "unknown" },
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct verdict_error e = json_error_of(t[i].code, t[i].body);

		CHECK_STR(verdict_name(verdict_of(&e)), t[i].verdict);
	}
}

TEST(verdict_of_http_status)
{
	CHECK_STR(verdict_name(verdict_of_status(401)), "token");
	CHECK_STR(verdict_name(verdict_of_status(403)), "token");
	CHECK_STR(verdict_name(verdict_of_status(500)), "retry");
	CHECK_STR(verdict_name(verdict_of_status(503)), "retry");
	CHECK_STR(verdict_name(verdict_of_status(301)), "unknown");
	CHECK_STR(verdict_name(verdict_of_status(404)), "unknown");
}

/* It grows while the same error comes, up to its maximum; another error, one without a delay and a server that works begin anew. */
TEST(verdict_delay_grows)
{
	static const char growing[] = "{\"backoffIntervalSec\":2,\"backoffMaxDelaySec\":15,\"backoffMultiplier\":3}";
	struct verdict_error e = json_error_of(100, growing), other = json_error_of(201, growing), none = json_error_of(100, "{}"),
			     flat = json_error_of(100, "{\"backoffIntervalSec\":2}"),
			     wild = json_error_of(100, "{\"backoffIntervalSec\":2,\"backoffMaxDelaySec\":9999999,\"backoffMultiplier\":"
						       "18446744073709551615}"),
			     upside_down = json_error_of(100, "{\"backoffIntervalSec\":9,\"backoffMaxDelaySec\":3,\"backoffMultiplier\":2}");
	struct verdict_delay d = { 0 };

	CHECK_U64(verdict_delay(&d, &e), 2000);
	CHECK_U64(verdict_delay(&d, &e), 6000);
	CHECK_U64(verdict_delay(&d, &e), 15000);
	CHECK_U64(verdict_delay(&d, &e), 15000);
	CHECK_U64(verdict_delay(&d, &other), 2000);
	CHECK_U64(verdict_delay(&d, &e), 2000);
	CHECK_U64(verdict_delay(&d, &none), 0);
	CHECK_U64(verdict_delay(&d, &e), 2000);
	d = (struct verdict_delay){ 0 };
	CHECK_U64(verdict_delay(&d, &flat), 2000);
	CHECK_U64(verdict_delay(&d, &flat), 2000);
	CHECK_U64(verdict_delay(&d, &wild), VERDICT_DELAY_MAX_MS);
	d = (struct verdict_delay){ 0 };
	CHECK_U64(verdict_delay(&d, &upside_down), 9000);
	CHECK_U64(verdict_delay(&d, &upside_down), 9000);
}

TEST(verdict_delay)
{
	CHECK_U64(json_error_of(100, "{\"tryAgain\":true,\"backoffIntervalSec\":7}").delay_ms, 7000);
	CHECK_U64(json_error_of(100, "{\"backoffIntervalSec\":18446744073709551615}").delay_ms, VERDICT_DELAY_MAX_MS);
	CHECK_U64(json_error_of(100, "{\"backoffIntervalSec\":-7}").delay_ms, 0);
	CHECK_U64(json_error_of(100, "{}").delay_ms, 0);
}
