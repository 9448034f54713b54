/* The App Services door: a client's HTTP requests on the listener, one exchange at a time on each connection.
 *
 *             link UP                                   answer's head
 *   begun --------------> FORWARD (body goes up) ---------------------> ANSWER (body comes down) --> over
 *     |                      | no answer, a portal's, or too late                                     ^
 *     | link DOWN            v                                                                        |
 *     `------------------> LOCAL (body is dropped) --> location, auth/session, auth/profile, or 503 --'
 *
 * conn owns the connection and reads heads; what is no upgrade comes here with its body, and when the exchange is over the next head is read
 * (conn_http_over).  A pipelined request waits, unread, for the answer to the one before. */
#ifndef RELAY_DOOR_H
#define RELAY_DOOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct conn;
struct door;
struct http_head;
struct options;
struct services;
struct stream;

/* Of a connection, while it lives; all but services and opt are borrowed until door_free.  tls: the client came by TLS. */
struct door *door_new(struct services *services, const struct options *opt, struct conn *conn, struct stream *stream, bool tls);
/* The connection ends: what is under way ends with it, and nothing calls back any more.  door_free later, outside of its functions.  NULL
 * allowed, in both. */
void door_close(struct door *d);
void door_free(struct door *d);

/* A request; head lives for the call.  Its body follows. */
void door_begin(struct door *d, const struct http_head *head);
/* Bytes behind the head; returns how many were consumed. */
size_t door_data(struct door *d, const uint8_t *buf, size_t len);
/* The client has taken what was queued for it. */
void door_drained(struct door *d);
uint64_t door_held(const struct door *d); /* bytes held for the client; NULL: 0 */

/* A refusal in App Services' words, which SDKs read: JSON in out. */
void door_error(char *out, size_t len, const char *text);

#endif
