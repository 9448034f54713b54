/* A stand-in for App Services: the HTTP side of the server, in a process of its own.
 *
 *	GET  /api/client/v2.0/app/APP/location		itself, as hostname and ws_hostname
 *	POST /api/client/v2.0/app/APP/auth/providers/PROVIDER/login	201: a refresh token and an access token for user "u<number>"
 *	POST /api/client/v2.0/auth/session		201: another access token; 401 for an unknown refresh token, or when revoked
 *	DELETE /api/client/v2.0/auth/session		204
 *	GET  /api/client/v2.0/auth/profile		200
 *	     /echo		the body that came, framed as it came
 *	     /big/BYTES		that many bytes, chunked;  /until-close likewise, up to the end of the connection
 *	     /redirect		302 to itself;  /elsewhere: 302 to another host
 *	     /both		an answer with Content-Length and Transfer-Encoding;  /broken: one that ends too early
 *	     /silent		no answer
 *
 * Tokens are JWTs whose signature is not worth anything. */
#ifndef TESTS_PEER_APPSERVICES_H
#define TESTS_PEER_APPSERVICES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct appservices_state { /* shared with the process */
	atomic_bool revoked; /* auth/session is answered 401 */
	atomic_bool down;    /* auth/session is answered 503 */
	atomic_bool portal;  /* everything is a portal's: 403 and HTML */
	atomic_int life_s;   /* of access tokens from now on */
	atomic_int refresh_life_s;
	atomic_uint requests, logins, sessions; /* that came */
	char access[1024];   /* the newest access token */
	char refresh[1024];  /* and the newest refresh token */
};

struct appservices {
	pid_t pid;
	unsigned port;
	struct appservices_state *state;
};

/* False: it cannot be started. */
bool appservices_start(struct appservices *a);
void appservices_stop(struct appservices *a);

#endif
