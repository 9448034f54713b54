/* What all devices of one client program share: options, the event loop, the lists of sessions and connections, the violations. */
#ifndef TESTS_CLIENT_WORLD_H
#define TESTS_CLIENT_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct conn;
struct event;
struct event_base;
struct session;

struct options { /* times in milliseconds */
	const char *host;
	unsigned port;
	const char *target;   /* path of the request, without the token */
	const char *tls_ca;   /* NULL: plain TCP */
	const char *state;    /* folder, NULL: memory */
	const char *token;
	const char *versions; /* protocol versions offered, "14,13,..." */
	bool auth_header;     /* send Authorization as well */
	uint64_t seed;
	uint64_t ping_ms, pong_ms, connect_ms;
	uint64_t backoff_min_ms, backoff_max_ms;
	uint64_t fast_ms;   /* a reconnect within this time after the last connection does not hold UPLOADs back */
	uint64_t resume_ms; /* a session is bound again this long after an error with try_again */
	uint64_t leave_ms;  /* a device that leaves waits so long for UNBOUND */
};

struct world {
	struct event_base *base;
	struct options opt;
	struct session **session; /* owned, in the order of the device commands */
	size_t nsession, session_cap;
	struct conn **conn; /* owned */
	size_t nconn, conn_cap;
	char **violation; /* "DEVICE: words" */
	size_t nviolation, violation_cap;
	uint64_t rng;
	struct event *tick; /* auto.c */
	uint64_t tick_ms;
};

uint64_t world_now_ms(void);
/* A number in [0, below); 0 when below is 0. Depends on --seed only. */
uint64_t world_random(struct world *w, uint64_t below);
/* realloc or abort. */
void *world_grown(void *p, size_t size);
void world_violation(struct world *w, const char *device, const char *why);
struct session *world_find(const struct world *w, const char *name);
void world_add_session(struct world *w, struct session *s);
/* The connection of this key, made when it does not exist; key NULL: one of its own. */
struct conn *world_conn(struct world *w, const char *key);

#endif
