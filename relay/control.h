/* The control socket: a Unix stream socket on which an operator's tool asks and orders.  The language is described in relay/CONTROL.
 *
 * On the event loop.  A request that needs the store is done by the committer between two groups of commits; nothing here waits.  A
 * connection has one request under way, at most CONTROL_LINE_MAX bytes of line or ADMIN_DATA_MAX of data waiting, and is closed when it
 * does not read its answer or says nothing for CONTROL_IDLE_S. */
#ifndef RELAY_CONTROL_H
#define RELAY_CONTROL_H

#include <stdbool.h>
#include <stddef.h>

#define CONTROL_LINE_MAX 16384 /* an endpoint and a path, each byte as %XX, are 6.7 KB */
#define CONTROL_CONNS 8	       /* tools at a time; they hold memory, and there is one committer */
#define CONTROL_IDLE_S 600     /* a tool may be writing a slice to a slow stick meanwhile */
#define CONTROL_SOCKET "control" /* in state_dir, unless [holdfast] control says otherwise */

struct relay;
struct control;
struct sockaddr_un;

/* Binds and listens; a socket left by a process that died is replaced.  group: may use it as well, unless it is "" or that fails (logged).
 * NULL with a sentence in why.  relay->spool must be there. */
struct control *control_open(struct relay *relay, const char *path, const char *group, char *why, size_t why_len);

/* Ends it and every connection, and removes the socket; what the committer has under way comes to nothing.  Before spool_free; NULL is
 * allowed. */
void control_close(struct control *ct);

/* The path of the socket for these two options, in path (len bytes). */
void control_path(const char *state_dir, const char *option, char *path, size_t len);

/* For daemon and tool: false when path is too long for a socket. */
bool control_address(const char *path, struct sockaddr_un *sun);

#endif
