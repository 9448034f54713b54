/* Who may come in before anything is known of it: connections by address, and handshakes in flight.
 *
 * An address is an IPv4 address, or the first 64 bits of an IPv6 address: whoever has one of these has all behind it.  A handshake is
 * everything from accept to the complete upgrade request. */
#ifndef RELAY_GATE_H
#define RELAY_GATE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct gate;
struct gate_address; /* an address with connections */
struct options;

/* opt is borrowed and outlives the gate. */
struct gate *gate_new(const struct options *opt);
void gate_free(struct gate *g); /* NULL allowed; everybody has left */

/* A connection from peer, and with it a handshake.  NULL: there are max_per_address from there (logged, not each time).  Else to be given back
 * with gate_leave. */
struct gate_address *gate_enter(struct gate *g, const struct sockaddr *peer);
void gate_leave(struct gate *g, struct gate_address *from);

/* A handshake that was entered is over, in whatever way. */
void gate_shaken(struct gate *g);
/* No further one may begin. */
bool gate_is_shut(const struct gate *g);
/* How long, in milliseconds, a handshake that begins now may take: handshake_timeout, or a third of it when there are many. */
uint64_t gate_patience_ms(const struct gate *g);

#endif
