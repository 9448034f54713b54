/* The App Services door and time: clocks that jump (a badhost daemon's), keys that rotate, users that give way.  Design section 7: ages are judged by
 * the wall clock only when that is above the last good time kept on the disk, else by boot time. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/peer/app.h"
#include "tests/peer/child.h"
#include "tests/peer/doorstage.h"

#define MINUTE 60LL
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)
#define YEAR (365 * DAY)

/* How long a session lasts without upstream's word. */
TEST(offline_for_too_long)
{
	START(.key = true, .clocks = true, .listener = "offline_session_days = 30\n");
	CHECK(app_log_in());
	CHECK(doorstage_cut());
	doorstage_clocks(29 * DAY, 0);
	CHECK_U64(app_renew(), 201);
	doorstage_clocks(31 * DAY, 0);
	CHECK_U64(app_renew(), 503);
	CHECK(daemon_logged(&stage.d, "offline for longer than offline_session_days") != NULL);
	doorstage_clocks(0, 0); /* that was a jump: the true time is not above the last good one by so much */
	CHECK_U64(app_renew(), 201);
	doorstage_clocks(-YEAR, 29 * DAY); /* behind the last good time: by boot time */
	CHECK_U64(app_renew(), 201);
	doorstage_clocks(-YEAR, 31 * DAY);
	CHECK_U64(app_renew(), 503);
	CHECK(doorstage_stop());
}

/* The last good time outlives a restart in 1970. */
TEST(started_in_1970)
{
	START(.key = true, .clocks = true);
	CHECK(app_log_in());
	CHECK(doorstage_cut());
	CHECK_U64(app_renew(), 201);
	doorstage_clocks(-55 * YEAR, 0);
	CHECK(doorstage_restart());
	CHECK(daemon_logged(&stage.d, "event=link state=down") != NULL);
	CHECK(daemon_logged(&stage.d, "event=clock_behind") != NULL);
	CHECK_U64(app_upgrade(app.own), 101);
	CHECK_U64(app_renew(), 201);
	CHECK_U64(app_upgrade(app.own), 101);
	doorstage_clocks(0, 0);
	CHECK_U64(app_upgrade(app.own), 101);
	CHECK(doorstage_stop());
}

/* exp of a refresh token, and of the relay's own. */
TEST(expiry)
{
	START(.key = true, .clocks = true, .listener = "offline_token_minutes = 30\n");
	stage.api.state->refresh_life_s = 2 * HOUR;
	CHECK(app_log_in());
	CHECK(doorstage_cut());
	CHECK_U64(app_renew(), 201);
	CHECK_U64(app_upgrade(app.own), 101);
	doorstage_clocks(25 * MINUTE, 0);
	CHECK_U64(app_upgrade(app.own), 101);
	doorstage_clocks(40 * MINUTE, 0);
	CHECK_U64(app_upgrade(app.own), 401); /* its bearer asks for another */
	CHECK_U64(app_renew(), 201);
	CHECK_U64(app_upgrade(app.own), 101);
	doorstage_clocks(-DAY, 20 * MINUTE); /* behind: by boot time */
	CHECK_U64(app_upgrade(app.own), 101);
	doorstage_clocks(-DAY, 90 * MINUTE);
	CHECK_U64(app_upgrade(app.own), 401);
	CHECK_U64(app_renew(), 201);
	doorstage_clocks(-DAY, 3 * HOUR);
	CHECK_U64(app_renew(), 503);
	CHECK(daemon_logged(&stage.d, "the refresh token has expired") != NULL);
	CHECK(doorstage_stop());
}

/* The hourly pass forgets nobody while DOWN, when a clock far ahead could not be made good again by upstream's word. */
TEST(a_clock_far_ahead)
{
	START(.key = true, .clocks = true);
	CHECK(app_log_in());
	CHECK(doorstage_cut());
	doorstage_clocks(2 * YEAR, 0);
	CHECK_U64(app_renew(), 503);
	doorstage_clocks(2 * YEAR, 2 * HOUR); /* the pass, and the last good time is of the year after next from now on */
	CHECK_U64(app_renew(), 503);
	CHECK(doorstage_restart());
	CHECK(daemon_logged(&stage.d, "event=link state=down") != NULL);
	CHECK_U64(app_renew(), 503);
	CHECK_U64(daemon_count(&stage.d, "the server never honoured this refresh token here"), 0);
	CHECK(daemon_logged(&stage.d, "answer=\"the refresh token has expired\"") != NULL);
	CHECK(doorstage_stop());
}

/* Whether two tokens were signed with the same key, which their headers name. */
static bool
same_key(const char *a, const char *b)
{
	size_t n = strcspn(a, ".");

	return n == strcspn(b, ".") && strncmp(a, b, n) == 0;
}

TEST(keys_rotate)
{
	char older[APP_TOKEN_MAX], newer[APP_TOKEN_MAX];

	START(.key = true, .clocks = true, .listener = "offline_session_days = 365\noffline_token_minutes = 1440\n");
	stage.api.state->refresh_life_s = (int)YEAR;
	CHECK(app_log_in());
	CHECK(doorstage_cut());
	doorstage_clocks(30 * DAY - HOUR, 0);
	CHECK_U64(app_renew(), 201);
	strcpy(older, app.own);
	doorstage_clocks(30 * DAY + HOUR, 2 * HOUR); /* the pass */
	for (int i = 0; daemon_count(&stage.d, "event=signing_key") < 2; i++) {
		CHECK(i < 1000);
		usleep(10000);
	}
	CHECK_U64(app_upgrade(older), 101);
	CHECK_U64(app_renew(), 201);
	strcpy(newer, app.own);
	CHECK(!same_key(older, newer));
	CHECK_U64(app_upgrade(newer), 101);
	CHECK(doorstage_crash()); /* both are on the disk */
	CHECK(daemon_logged(&stage.d, "event=link state=down") != NULL);
	CHECK_U64(app_upgrade(older), 101);
	CHECK_U64(app_upgrade(newer), 101);
	CHECK_U64(app_renew(), 201);
	CHECK(same_key(newer, app.own));
	doorstage_clocks(31 * DAY, 2 * HOUR);
	CHECK_U64(app_upgrade(older), 401); /* its own end */
	CHECK(doorstage_stop());
}

/* ---- users give way ---- */

static char refresh[4][APP_TOKEN_MAX];

static bool
log_in_as(int n)
{
	bool in = app_log_in();

	strcpy(refresh[n], app.refresh);
	return in;
}

static unsigned
renew_as(int n)
{
	strcpy(app.refresh, refresh[n]);
	return app_renew();
}

/* Below max_users, at it, and above. */
TEST(users_give_way)
{
	START(.key = true, .more = "max_users = 3\n");
	CHECK(log_in_as(0) && log_in_as(1));
	CHECK(doorstage_cut());
	CHECK(renew_as(0) == 201 && renew_as(1) == 201);
	CHECK(doorstage_heal());
	CHECK(daemon_logged(&stage.d, "event=link state=up was=down") != NULL);
	CHECK(log_in_as(2));
	CHECK_U64(renew_as(0), 201); /* honoured last from now on: the next to go is user 1 */
	CHECK_U64(stage.api.state->sessions, 1);
	CHECK(doorstage_restart()); /* the order is on the disk */
	CHECK(daemon_logged(&stage.d, "event=link state=up") != NULL);
	CHECK(log_in_as(3));
	CHECK(doorstage_cut());
	CHECK_U64(renew_as(0), 201);
	CHECK_U64(renew_as(1), 503);
	CHECK_U64(renew_as(2), 201);
	CHECK_U64(renew_as(3), 201);
	CHECK(doorstage_restart());
	CHECK(daemon_logged(&stage.d, "event=link state=down") != NULL);
	CHECK_U64(renew_as(0), 201);
	CHECK_U64(renew_as(1), 503);
	CHECK(doorstage_stop());
}

/* Not the one with whose refresh token a backlog will go up. */
TEST(a_backlog_keeps_its_user)
{
	struct child *c;

	START(.key = true, .more = "max_users = 2\n", .absent_quiet = "1h");
	CHECK((c = doorstage_go_offline()) != NULL);
	CHECK(child_stop(c));
	strcpy(refresh[0], app.refresh);
	CHECK(doorstage_heal());
	CHECK(daemon_logged(&stage.d, "event=link state=up was=down") != NULL);
	CHECK(log_in_as(1) && log_in_as(2) && log_in_as(3));
	CHECK(doorstage_cut());
	CHECK_U64(renew_as(0), 201);
	CHECK_U64(renew_as(1), 503);
	CHECK_U64(renew_as(2), 503);
	CHECK_U64(renew_as(3), 201);
	CHECK(doorstage_stop());
}
