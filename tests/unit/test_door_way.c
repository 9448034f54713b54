/* The App Services door, the whole way: an app logs in, its device syncs, the link is lost, the app renews its session with the relay, its device
 * goes on with a token of the relay's own, and the link returns. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/peer/app.h"
#include "tests/peer/child.h"
#include "tests/peer/doorstage.h"
#include "tests/peer/rawsock.h"

/* Login, token expiry while DOWN, refresh, bind, upload, the link's return, exchange, replay, and on as ever. */
TEST(the_whole_way)
{
	struct child *c;

	START(.key = true);
	CHECK_U64(app_ask("GET", APP_LOCATION, NULL, ""), 200);
	CHECK((c = doorstage_go_offline()) != NULL);
	CHECK_U64(app_ask("GET", APP_LOCATION, NULL, ""), 200);
	CHECK(doorstage_ok(child_ask(stage.up, "token deny %s", app.access))); /* it has expired meanwhile */
	CHECK(doorstage_heal());
	CHECK(doorstage_ok(child_ask(c, "wait a idle 15000")));
	CHECK(daemon_logged(&stage.d, "event=token_exchange") != NULL);
	CHECK(strstr(stage.d.line, "result=ok") != NULL);
	CHECK(doorstage_has(5));
	CHECK_U64(stage.api.state->sessions, 1);
	CHECK(doorstage_ok(child_ask(c, "write a 1")) && doorstage_ok(child_ask(c, "wait a idle 15000")));
	CHECK(doorstage_has(6));
	CHECK(strstr(child_ask(c, "status a"), " reconnects=0 ") != NULL); /* nor did it notice */
	CHECK(child_stop(c));
	CHECK(strcmp(child_ask(stage.up, "violations"), "ok 0") == 0);
	CHECK(doorstage_stop());
}

/* The daemon is killed where it hurts: with the token given out and changesets taken, and again before the link returns. */
TEST(killed_on_the_way)
{
	struct child *c;

	START(.key = true, .listener = "ack = relay\n");
	CHECK((c = doorstage_go_offline()) != NULL);
	CHECK(doorstage_ok(child_ask(c, "wait a uploaded 10000")));
	CHECK(doorstage_crash());
	CHECK(child_stop(c));
	CHECK(daemon_logged(&stage.d, "event=link state=down") != NULL);
	CHECK_U64(app_upgrade(app.own), 101); /* its key and its user are known */
	CHECK((c = doorstage_device(app.own)) != NULL);
	CHECK(doorstage_ok(child_ask(c, "wait a bound 10000")) && doorstage_ok(child_ask(c, "write a 1")) && doorstage_ok(child_ask(c, "wait a uploaded 10000")));
	CHECK(doorstage_crash());
	CHECK(child_stop(c));
	CHECK(doorstage_heal());
	CHECK(daemon_logged(&stage.d, "event=link state=up") != NULL);
	CHECK((c = doorstage_device(app.own)) != NULL);
	CHECK(doorstage_ok(child_ask(c, "wait a idle 15000")));
	CHECK(doorstage_has(6));
	CHECK(child_stop(c));
	CHECK(strcmp(child_ask(stage.up, "violations"), "ok 0") == 0);
	CHECK(doorstage_stop());
}

/* An SDK of an older protocol version tells its new token on the connection that it has (REFRESH), or in the BIND of a further session. */
TEST(tokens_told_on_the_connection)
{
	struct child *c;
	char url[128];

	START(.key = true);
	CHECK(app_log_in());
	snprintf(url, sizeof(url), "ws://127.0.0.1:%u%s/realm-sync", app.port, APP_PATH);
	c = child_start("client", (const char *const[]){ "--url", url, "--state", "none", "--token", app.access, NULL });
	CHECK(c != NULL && doorstage_ok(child_ask(c, "device a path=/p conn=x")) && doorstage_ok(child_ask(c, "connect a")));
	CHECK(doorstage_ok(child_ask(c, "write a 2")) && doorstage_ok(child_ask(c, "wait a idle 10000")));
	CHECK(doorstage_cut());
	CHECK_U64(app_renew(), 201);
	CHECK(doorstage_ok(child_ask(stage.up, "token deny %s", app.own)) && doorstage_ok(child_ask(stage.up, "token deny %s", app.access)));
	CHECK(doorstage_ok(child_ask(c, "ask a refresh %s", app.own)));
	CHECK(doorstage_ok(child_ask(c, "write a 3")) && doorstage_ok(child_ask(c, "wait a downloaded 10000")));
	CHECK(doorstage_heal());
	CHECK(doorstage_ok(child_ask(c, "wait a idle 15000")));
	CHECK(doorstage_has(5));
	CHECK(doorstage_ok(child_ask(c, "device b path=/q conn=x token=%s", app.own)) && doorstage_ok(child_ask(c, "connect b")));
	CHECK(doorstage_ok(child_ask(c, "write b 1")) && doorstage_ok(child_ask(c, "wait b idle 10000")));
	CHECK(doorstage_ok(child_ask(c, "ask a refresh %s", app.own))); /* upstream must not see it */
	CHECK(doorstage_ok(child_ask(c, "write a 1")) && doorstage_ok(child_ask(c, "wait a idle 10000")));
	CHECK(doorstage_has(7));
	CHECK(strstr(child_ask(c, "status a"), " reconnects=0 ") != NULL && strstr(child_ask(c, "status b"), " reconnects=0 ") != NULL);
	CHECK(strcmp(child_ask(stage.up, "violations"), "ok 0") == 0);
	CHECK(child_stop(c));
	CHECK(doorstage_stop());
}

/* ... or only there: its upgrade has none. */
TEST(a_token_in_bind_alone)
{
	char bind[128];
	int fd;

	START(.key = true, .listener = "offline_admit = any\n");
	CHECK(app_log_in());
	CHECK_U64(app_upgrade(app.access), 101); /* so that a version is known */
	CHECK(doorstage_cut());
	CHECK_U64(app_renew(), 201);
	CHECK(doorstage_ok(child_ask(stage.up, "token deny %s", app.own)));
	fd = rawsock_connect(app.port, NULL);
	CHECK_U64(rawsock_upgrade(fd, APP_PATH "/realm-sync", ""), 101);
	snprintf(bind, sizeof(bind), "bind 1 2 %zu 0 0", strlen(app.own));
	snprintf(app.body, 8192, "/p%s", app.own);
	CHECK(rawsock_message(fd, bind, app.body, strlen(app.body), strlen(bind) + 1 + strlen(app.body)));
	CHECK(rawsock_message(fd, "ping 1 0", "", 0, strlen("ping 1 0") + 1) && rawsock_await(fd, "pong 1")); /* it was taken */
	CHECK(doorstage_heal());
	CHECK(daemon_logged(&stage.d, "event=token_exchange") != NULL);
	CHECK(strstr(stage.d.line, "result=ok") != NULL);
	CHECK(daemon_logged(&stage.d, "event=conn_resumed") != NULL);
	close(fd);
	CHECK(doorstage_stop());
}

/* N users come back at once, and no more than max_token_exchanges of their tokens are exchanged at a time. */
static void
exchange_many(unsigned n)
{
	enum { MANY = 7 };
	char token[MANY][APP_TOKEN_MAX], refresh[MANY][APP_TOKEN_MAX];
	int fd[MANY];

	for (unsigned i = 0; i < n; i++) {
		CHECK(app_log_in());
		strcpy(refresh[i], app.refresh);
	}
	CHECK_U64(app_upgrade(app.access), 101);
	CHECK(doorstage_cut());
	for (unsigned i = 0; i < n; i++) {
		char headers[APP_TOKEN_MAX + 64];

		strcpy(app.refresh, refresh[i]);
		CHECK_U64(app_renew(), 201);
		strcpy(token[i], app.own);
		snprintf(headers, sizeof(headers), "Authorization: Bearer %s\r\n", token[i]);
		fd[i] = rawsock_connect(app.port, NULL);
		CHECK_U64(rawsock_upgrade(fd[i], APP_PATH "/realm-sync", headers), 101);
	}
	stage.api.state->slow_ms = 100;
	CHECK(doorstage_heal());
	for (int i = 0; daemon_count(&stage.d, "event=conn_resumed") < n; i++) {
		CHECK(i < 1000);
		usleep(10000);
	}
	CHECK_U64(daemon_count(&stage.d, "event=token_exchange"), n);
	CHECK_U64(stage.api.state->sessions, n);
	for (unsigned i = 0; i < n; i++)
		close(fd[i]);
}

TEST(fewer_exchanges_than_may_be)
{
	START(.key = true, .upstream = "reconnect_rate = 1000\n", .more = "max_token_exchanges = 3\n");
	exchange_many(2);
	CHECK(stage.api.state->most_at_once <= 2);
	CHECK(doorstage_stop());
}

TEST(as_many_exchanges_as_may_be)
{
	START(.key = true, .upstream = "reconnect_rate = 1000\n", .more = "max_token_exchanges = 3\n");
	exchange_many(3);
	CHECK(stage.api.state->most_at_once <= 3);
	CHECK(doorstage_stop());
}

TEST(more_exchanges_than_may_be)
{
	START(.key = true, .upstream = "reconnect_rate = 1000\n", .more = "max_token_exchanges = 3\n");
	exchange_many(7);
	CHECK_U64(stage.api.state->most_at_once, 3);
	CHECK(doorstage_stop());
}

/* One that gets "later" speaks for those that wait: they are not sent either, and all come again by and by. */
TEST(exchanges_put_off)
{
	struct child *c;

	START(.key = true);
	CHECK((c = doorstage_go_offline()) != NULL);
	stage.api.state->down = true;
	CHECK(doorstage_heal());
	CHECK(daemon_logged(&stage.d, "result=unreached") != NULL);
	stage.api.state->down = false;
	CHECK(doorstage_ok(child_ask(c, "wait a idle 15000")));
	CHECK(doorstage_has(5));
	CHECK(child_stop(c));
	CHECK(doorstage_stop());
}

/* Without a key the refresh token is not kept: the client is closed, and asks itself. */
TEST(the_client_asks_itself)
{
	struct child *c;

	START(.key = false);
	CHECK((c = doorstage_go_offline()) != NULL);
	CHECK(doorstage_heal());
	CHECK(daemon_logged(&stage.d, "it needs a token of upstream's") != NULL);
	CHECK_U64(app_upgrade(app.own), 401);
	CHECK_U64(app_renew(), 201);
	CHECK(child_stop(c));
	CHECK((c = doorstage_device(app.own)) != NULL);
	CHECK(doorstage_ok(child_ask(c, "wait a idle 15000")));
	CHECK(doorstage_has(5));
	CHECK(child_stop(c));
	CHECK(doorstage_stop());
}

TEST(revoked)
{
	struct child *c;

	START(.key = true);
	CHECK((c = doorstage_go_offline()) != NULL);
	stage.api.state->revoked = true;
	CHECK(doorstage_heal());
	CHECK(daemon_logged(&stage.d, "event=user_revoked") != NULL);
	CHECK(daemon_logged(&stage.d, "does not accept this user any more") != NULL);
	CHECK_U64(app_upgrade(app.own), 401);
	CHECK_U64(app_renew(), 401); /* upstream's own word */
	CHECK(doorstage_has(2));
	CHECK(child_stop(c));
	CHECK(doorstage_listed("rejected"));
	CHECK(doorstage_cut());
	CHECK_U64(app_upgrade(app.own), 401);
	CHECK_U64(app_ask("POST", APP_SESSION, app.refresh, ""), 503);
	CHECK(doorstage_stop());
}

/* The device left before the link came back. */
TEST(absent)
{
	struct child *c;

	START(.key = true);
	CHECK((c = doorstage_go_offline()) != NULL);
	CHECK(child_stop(c));
	CHECK(doorstage_heal());
	CHECK(daemon_logged(&stage.d, "how=drained") != NULL);
	CHECK(doorstage_has(5));
	CHECK(doorstage_stop());
}

/* Its user is revoked while it is away. */
TEST(absent_and_revoked)
{
	struct child *c;

	START(.key = true);
	CHECK((c = doorstage_go_offline()) != NULL);
	CHECK(child_stop(c));
	stage.api.state->revoked = true;
	CHECK(doorstage_heal());
	CHECK(daemon_logged(&stage.d, "event=user_revoked") != NULL);
	CHECK(doorstage_listed("rejected") && doorstage_listed("does not accept this user any more"));
	CHECK(doorstage_has(2));
	CHECK(doorstage_stop());
}

/* A connection that spoke HTTP first and is a WebSocket now counts as one: how far those that come back are spread depends on it. */
TEST(upgraded_after_a_request)
{
	char headers[APP_TOKEN_MAX + 64];
	int fd;

	START(.key = true);
	CHECK(app_log_in());
	fd = rawsock_connect(app.port, NULL);
	CHECK_U64(app_ask_on(fd, "GET", APP_LOCATION, NULL, ""), 200);
	CHECK(doorstage_measured("holdfast_link_http_clients 1\n"));
	snprintf(headers, sizeof(headers), "Authorization: Bearer %s\r\n", app.access);
	CHECK_U64(rawsock_upgrade(fd, APP_PATH "/realm-sync", headers), 101);
	CHECK(rawsock_message(fd, "ping 1 0", "", 0, strlen("ping 1 0") + 1) && rawsock_await(fd, "pong 1"));
	CHECK(doorstage_measured("holdfast_link_http_clients 0\n"));
	CHECK(doorstage_cut());
	CHECK(rawsock_message(fd, "ping 2 0", "", 0, strlen("ping 2 0") + 1) && rawsock_await(fd, "pong 2"));
	CHECK(doorstage_heal());
	CHECK(daemon_logged(&stage.d, "event=conn_resumed") != NULL);
	close(fd);
	CHECK(doorstage_stop());
}
