/* A stand-in for App Services: the HTTP side of the server, in a process of its own.
 *
 *	GET  /api/client/v2.0/app/APP/location		itself, as hostname and ws_hostname
 *	POST /api/client/v2.0/app/APP/auth/providers/PROVIDER/login	201: a refresh token and an access token for user "u<number>"
 *	POST /api/client/v2.0/auth/session		201: another access token; 401 for an unknown refresh token, or when revoked
 *	DELETE /api/client/v2.0/auth/session		204
 *	GET  /api/client/v2.0/auth/profile		200
 *	     /echo		the body that came, framed as it came
 *	     /sink		the length of the body that came, which may be of any length
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

enum portal { PORTAL_NONE, PORTAL_401, PORTAL_403, PORTAL_302, PORTAL_308, PORTAL_200, PORTALS };

struct appservices_state { /* shared with the process */
	atomic_bool revoked; /* auth/session is answered 401 */
	atomic_bool down;    /* auth/session is answered 503 */
	atomic_bool closes;  /* each connection is closed when its next request has come, unanswered */
	atomic_uint portal;  /* enum portal: everything is a portal's, HTML */
	atomic_int life_s;   /* of access tokens from now on */
	atomic_int refresh_life_s;
	atomic_int slow_ms;  /* auth/session takes so long */
	atomic_uint requests, logins, sessions; /* that came */
	atomic_uint at_once, most_at_once;	/* auth/session under way: now, and at most so far */
	atomic_ullong written;			/* bytes of bodies of /big */
	char access[1024];   /* the newest access token */
	char refresh[1024];  /* and the newest refresh token */
};

struct appservices {
	pid_t pid;
	unsigned port;
	struct appservices_state *state;
};

/* With TLS if there is a certificate (PEM files).  False: it cannot be started. */
bool appservices_start(struct appservices *a, const char *certificate, const char *key);
void appservices_stop(struct appservices *a);

#endif
