/* The App Services door to a server with TLS: only who proves to be it by its certificate and the name in it is believed; from anybody else nothing
 * reaches an app, and the relay answers as while the link is DOWN (design section 6). */
#include <stdio.h>
#include <string.h>

#include "tests/harness.h"
#include "tests/peer/app.h"
#include "tests/peer/cert.h"
#include "tests/peer/child.h"
#include "tests/peer/doorstage.h"

static struct cert_files own, foreign;
static char authority[700];

static bool
make_certificates(void)
{
	if (!cert_make(harness_tmpdir(), "own", &own) || !cert_make(harness_tmpdir(), "foreign", &foreign))
		return false;
	snprintf(authority, sizeof(authority), "ca_file = %s\n", own.ca);
	return true;
}

/* The app has logged in before: what it asks is answered here, and what cannot be, is put off. */
#define CHECK_ANSWERED_HERE() \
	do { \
		unsigned before = stage.api.state->requests; \
		CHECK_U64(app_renew(), 201); \
		CHECK(strcmp(app.own, stage.api.state->access) != 0); \
		CHECK_U64(app_upgrade(app.own), 503); /* there is no exchange; later */ \
		CHECK_U64(app_ask("GET", APP_LOCATION, NULL, ""), 200); \
		CHECK_U64(app_ask("GET", APP_PROFILE, app.access, ""), 200); \
		CHECK_U64(app_ask("POST", APP_PATH "/auth/providers/anon-user/login", NULL, "{}"), 503); \
		CHECK_U64(app_ask("POST", "/echo", NULL, "x"), 503); \
		CHECK_U64(stage.api.state->requests, before); \
		CHECK_U64(daemon_count(&stage.d, "event=user_revoked"), 0); \
	} while (0)

static void
log_in_and_look(void)
{
	CHECK(app_log_in());
	CHECK_U64(app_ask("GET", APP_LOCATION, NULL, ""), 200);
	CHECK(strstr(app.body, "\"hostname\":\"http://edge:1\",\"ws_hostname\":\"ws://edge:1\"") != NULL);
	CHECK_U64(app_ask("GET", APP_PROFILE, app.access, ""), 200);
}

TEST(the_right_server)
{
	CHECK(make_certificates());
	START(.key = true, .certificate = own.cert, .certificate_key = own.key, .upstream = authority);
	log_in_and_look();
	CHECK_U64(app_ask("GET", "/big/300000", NULL, ""), 200);
	CHECK_U64(app.len, 300000);
	CHECK_U64(app_ask("GET", "/until-close", NULL, ""), 200);
	CHECK_U64(app.len, 10000);
	CHECK_U64(app_renew(), 201);
	CHECK_STR(app.own, stage.api.state->access);
	stage.api.state->portal = PORTAL_403; /* it has proved itself, so this is its own word */
	CHECK_U64(app_renew(), 403);
	stage.api.state->portal = PORTAL_NONE;
	stage.api.state->revoked = true;
	CHECK_U64(app_renew(), 401);
	CHECK(daemon_logged(&stage.d, "event=user_revoked") != NULL);
	CHECK(doorstage_stop());
}

TEST(a_certificate_of_another_authority)
{
	CHECK(make_certificates());
	START(.key = true, .certificate = own.cert, .certificate_key = own.key, .upstream = authority);
	log_in_and_look();
	CHECK(doorstage_change(own.ca, foreign.ca));
	CHECK_ANSWERED_HERE();
	CHECK(daemon_logged(&stage.d, "certificate") != NULL);
	CHECK(doorstage_stop());
}

/* "127.1" is 127.0.0.1 as well, but no certificate says so.  (Another name is another server: nothing is known of its users here.) */
TEST(a_certificate_of_another_name)
{
	unsigned before;

	CHECK(make_certificates());
	START(.key = true, .certificate = own.cert, .certificate_key = own.key, .upstream = authority);
	log_in_and_look();
	CHECK(doorstage_change("https://127.0.0.1:", "https://127.1:"));
	before = stage.api.state->requests;
	CHECK_U64(app_ask("POST", APP_PATH "/auth/providers/anon-user/login", NULL, "{}"), 503);
	CHECK_U64(app_ask("POST", "/echo", NULL, "x"), 503);
	CHECK_U64(app_ask("POST", APP_SESSION, app.refresh, ""), 503);
	CHECK_U64(stage.api.state->requests, before);
	CHECK(doorstage_stop());
}

/* A portal that answers in the clear where TLS is spoken. */
TEST(no_tls_at_all)
{
	CHECK(make_certificates());
	START(.key = true, .upstream = authority);
	log_in_and_look();
	CHECK(doorstage_change("api_url = http://", "api_url = https://"));
	stage.api.state->portal = PORTAL_302;
	CHECK_ANSWERED_HERE();
	CHECK(doorstage_stop());
}
