/* Names to addresses, off the loop: one helper thread calls getaddrinfo.
 *
 * Answers come on the loop, never from inside resolver_ask, numeric addresses too.  Questions for the same name wait for one
 * look-up; answers are kept a few seconds.  The queue is bounded. */
#ifndef RELAY_RESOLVER_H
#define RELAY_RESOLVER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define RESOLVER_ADDRESSES 8	    /* kept per name, in getaddrinfo's order (RFC 6724) */
#define RESOLVER_NAMES 16	    /* names known or waiting at once: one upstream needs one */
#define RESOLVER_TTL_MS 10000	    /* getaddrinfo tells no TTL; short, as the upstream may move */
#define RESOLVER_FAIL_TTL_MS 1000   /* a failure is kept just long enough to serve one wave of reconnects */

struct event_base;
struct resolver;
struct resolver_query;

struct resolver_address {
	struct sockaddr_storage addr;
	socklen_t len;
};

struct resolver_result {
	const char *why; /* NULL: found; else words for the operator, static text */
	size_t n;	 /* at least 1 if found */
	struct resolver_address addr[RESOLVER_ADDRESSES];
};

/* r lives for the call only.  The query is gone by then; new questions and cancels may be made from inside, not resolver_free. */
typedef void resolver_cb(void *arg, const struct resolver_result *r);

/* Looks a name up, blocking: getaddrinfo, or what a test puts in its place. */
typedef void resolver_lookup(const char *host, uint16_t port, struct resolver_result *out);

/* base is borrowed. lookup NULL = getaddrinfo.  The thread starts with the first name that needs it.  NULL when out of
 * descriptors. */
struct resolver *resolver_new(struct event_base *base, resolver_lookup *lookup);
/* Drops all queries without calling back.  Does not wait for a look-up in progress. */
void resolver_free(struct resolver *r);

/* Never NULL: a full queue is answered like a failed look-up. */
struct resolver_query *resolver_ask(struct resolver *r, const char *host, uint16_t port, resolver_cb *cb, void *arg);
/* Its callback will not be called.  Only before that; q is gone afterwards. */
void resolver_cancel(struct resolver_query *q);

#endif
