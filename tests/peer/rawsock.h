/* A socket without any rules, for what no client would do: bytes as a test writes them, in whatever pieces, against the daemon.
 *
 * Blocking, with a deadline of 10 s in each call. */
#ifndef TESTS_PEER_RAWSOCK_H
#define TESTS_PEER_RAWSOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Connects to 127.0.0.1:port, from the loopback address from ("127.0.0.2"; NULL: any).  -1: it cannot. */
int rawsock_connect(unsigned port, const char *from);

bool rawsock_send(int fd, const void *buf, size_t len);

/* Reads an HTTP head (and no byte more); its status, 0 when the connection ended before. */
unsigned rawsock_status(int fd);

/* Sends an upgrade request for target with more header lines (each with CRLF) and reads the answer: its status. */
unsigned rawsock_upgrade(int fd, const char *target, const char *headers);

/* The same with another subprotocol than that of PBS, and no more lines. */
unsigned rawsock_offer(int fd, const char *target, const char *protocol);

/* A masked binary frame with head, LF and body; whole: its payload is so long although less of it follows. */
bool rawsock_message(int fd, const char *head, const void *body, size_t len, uint64_t whole);

/* Reads whole frames up to a message whose head begins so; the rest of them is dropped.  False: the connection ended. */
bool rawsock_await(int fd, const char *begins);

/* Has it ended, or does it end within ms?  What comes is dropped. */
bool rawsock_ended(int fd, unsigned ms);

#endif
