/* Accepts connections and hands their descriptors on.
 *
 * Out of descriptors (EMFILE, ENFILE, or fewer than LISTENER_RESERVE left): accepting stops LISTENER_PAUSE_MS, so that the
 * store and the upstream leg keep what they need and the loop does not spin.  At max connections it stops until one is released;
 * who waits meanwhile waits in the kernel's queue. */
#ifndef RELAY_LISTENER_H
#define RELAY_LISTENER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define LISTENER_RESERVE 32   /* Berkeley DB's files and logs, upstream and resolver sockets, certificates, /dev/log ... */
#define LISTENER_PAUSE_MS 100
#define LISTENER_BATCH 64     /* accepted per pass at most: a storm of connects must not starve those already there */

struct event_base;
struct listener;

/* Takes over fd (non-blocking, close-on-exec).  peer lives for the call only.  May call anything here but
 * listener_close. */
typedef void listener_cb(void *arg, int fd, const struct sockaddr *peer, socklen_t peer_len);

/* address as in address_parse; port 0 picks one. max: connections open at once (see listener_release).  Logs event=listening
 * with the real port.  NULL with a sentence in why. */
struct listener *listener_open(struct event_base *base, const char *address, uint64_t max, listener_cb *cb, void *arg, char *why,
			       size_t why_len);
void listener_close(struct listener *l); /* NULL allowed */

/* Closes the socket for good: who connects is refused.  Connections handed on are not touched. */
void listener_stop(struct listener *l);

/* A connection handed on by l has ended. */
void listener_release(struct listener *l);
/* No further connection is accepted for now; whoever comes waits in the kernel's queue. */
void listener_hold(struct listener *l, bool hold);
void listener_set_max(struct listener *l, uint64_t max);
const char *listener_address(const struct listener *l); /* "addr:port" with the real port */
uint64_t listener_count(const struct listener *l);	/* handed on and not yet released */

#endif
