/* An app of a stock SDK, as far as HTTP goes: what it asks before and beside its WebSocket, and the tokens that it is given.
 *
 * Blocking, with the deadlines of rawsock.h.  Of one app at a time: what was answered last is in app. */
#ifndef TESTS_PEER_APP_H
#define TESTS_PEER_APP_H

#include <stdbool.h>
#include <stddef.h>

#define APP_PATH "/api/client/v2.0/app/app-1"
#define APP_LOCATION APP_PATH "/location"
#define APP_SESSION "/api/client/v2.0/auth/session"
#define APP_PROFILE "/api/client/v2.0/auth/profile"
#define APP_TOKEN_MAX 4096

struct app {
	unsigned port;	  /* of the relay */
	/* the last answer */
	unsigned status;  /* 0: none, or no whole one */
	char head[16384];
	char *body;	  /* NUL terminated */
	size_t len;
	/* what the last login and the last app_renew gave */
	char access[APP_TOKEN_MAX], refresh[APP_TOKEN_MAX], own[APP_TOKEN_MAX];
};

extern struct app app;

/* One request, on a connection of its own or on fd, its token NULL or a bearer's; returns the status. */
unsigned app_ask(const char *method, const char *path, const char *token, const char *body);
unsigned app_ask_on(int fd, const char *method, const char *path, const char *token, const char *body);
/* The answer to what was sent by hand; false: there is no whole one. */
bool app_read(int fd);
/* The value of a header of the last answer (it goes on to the end of the head), NULL: it has none; whether it begins so. */
const char *app_header(const char *name);
bool app_header_is(const char *name, const char *begin);

/* Logs in with a password: true when that worked. */
bool app_log_in(void);
/* POST auth/session with the refresh token: its status; the new access token is app.own then. */
unsigned app_renew(void);
/* Presents a token at the upgrade of the sync connection: its status. */
unsigned app_upgrade(const char *token);

#endif
