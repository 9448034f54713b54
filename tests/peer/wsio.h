/* WebSocket I/O for the test peers: whole messages in, whole (or deliberately broken) messages out, over plain TCP or TLS.
 * Built on libevent, OpenSSL and protocol/ws, protocol/http only; knows nothing of relay/ and shares no code with it. */
#ifndef TESTS_PEER_WSIO_H
#define TESTS_PEER_WSIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event_base;
struct wsio;
struct http_head;

struct wsio_ops {
	/* server: a complete upgrade request arrived; call wsio_answer_101 or wsio_answer_refuse (now or later). */
	void (*on_request)(void *arg, struct wsio *w, const struct http_head *head);
	/* client: the answer arrived; status 101 = open, subprotocol is what was agreed to; other = refused (a close follows). */
	void (*on_answer)(void *arg, struct wsio *w, unsigned status, const char *subprotocol);
	/* a whole binary message; buf lives for the call only */
	void (*on_message)(void *arg, struct wsio *w, const uint8_t *buf, size_t len);
	/* the connection ended: code = WebSocket close code, 0 = cut without one, -1 = never connected; why = words.
	 * in_message: it was cut in the middle of a message.  w is freed after the call. */
	void (*on_close)(void *arg, struct wsio *w, int code, const char *why, bool in_message);
};

/* Client.  tls_ca: PEM file to verify the server with, NULL = plain TCP.  headers: extra header lines ("Authorization: Bearer x\r\n") or NULL.
 * Never calls back from inside. */
struct wsio *wsio_connect(struct event_base *base, const char *host, unsigned port, const char *target, const char *subprotocols,
			  const char *headers, const char *tls_ca, const struct wsio_ops *ops, void *arg);
/* Server: takes over an accepted fd. cert/key NULL = plain. */
struct wsio *wsio_accept(struct event_base *base, int fd, const char *cert, const char *key, const struct wsio_ops *ops, void *arg);
void wsio_answer_101(struct wsio *w, const char *subprotocol);
void wsio_answer_refuse(struct wsio *w, unsigned status, const char *headers, const char *body);
/* Answers with any bytes, %A in them being the right Sec-WebSocket-Accept, and ends the connection. */
void wsio_answer_raw(struct wsio *w, const void *bytes, size_t len);

void wsio_send(struct wsio *w, const void *head, size_t head_len, const void *body, size_t body_len);
/* Sends the frame's head and only the first part bytes of the message, then cuts the TCP connection (RST) when they have left. */
void wsio_send_cut(struct wsio *w, const void *buf, size_t len, size_t part);
void wsio_stall(struct wsio *w, bool stalled);	/* stop reading (TCP window fills) / go on */
void wsio_close(struct wsio *w, int code);	/* WebSocket close, then TCP; on_close follows */
void wsio_end(struct wsio *w);			/* flush, then close TCP without a WebSocket close; on_close follows */
void wsio_cut(struct wsio *w);			/* RST at once; on_close follows from the loop */
/* From now on part is called with what there is so far of each message under way; it may cut the connection. */
void wsio_watch(struct wsio *w, void (*part)(void *arg, struct wsio *w, const uint8_t *buf, size_t len));
size_t wsio_queued(const struct wsio *w);
void wsio_ping(struct wsio *w);			/* a WebSocket ping; received ones are answered and counted */
unsigned wsio_pinged(const struct wsio *w);

/* Binds 127.0.0.1:port (0 = any), listens; returns the fd and *port. -1 on failure. */
int wsio_listen(unsigned *port);

#endif
