/* TLS contexts from configuration; relay/stream drives the connections. */
#ifndef RELAY_TLS_H
#define RELAY_TLS_H

#include <stdbool.h>
#include <stddef.h>

struct tls_context; /* an SSL_CTX, its role and whether to verify */
struct ssl_st;	    /* OpenSSL's SSL */

/* For a listener.  NULL on failure with a sentence in why. */
struct tls_context *tls_server_new(const char *cert_file, const char *key_file, char *why, size_t why_len);
/* For an upstream.  ca_file "" = the system's.  verify: chain and host name. */
struct tls_context *tls_client_new(const char *ca_file, bool verify, char *why, size_t why_len);
void tls_free(struct tls_context *t); /* NULL allowed */

/* A session over fd (which stays the caller's), ready to shake hands; host: for SNI and verification, clients only.  The context
 * may be freed before it.  Only for relay/rawio.  NULL when out of memory or host is no possible name. */
struct ssl_st *tls_start(const struct tls_context *t, int fd, const char *host);

/* Sec-WebSocket-Accept for key (RFC 6455 4.2.2): base64 of SHA-1; out has 29 bytes of room. */
void tls_ws_accept(const char *key, size_t key_len, char out[29]);
/* A fresh Sec-WebSocket-Key; out has 25 bytes of room. */
void tls_ws_key(char out[25]);
/* Cryptographically random bytes (masks, keys). */
void tls_random(void *out, size_t len);
/* SHA-256. */
void tls_sha256(const void *data, size_t len, unsigned char out[32]);

#endif
