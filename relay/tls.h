/* TLS contexts from configuration; relay/stream drives the connections. */
#ifndef RELAY_TLS_H
#define RELAY_TLS_H

#include <stdbool.h>
#include <stddef.h>

struct tls_context; /* an SSL_CTX, what it was made from, and (client) the session to resume */
struct ssl_st;	    /* OpenSSL's SSL */

enum tls_file { TLS_CERTIFICATE, TLS_KEY, TLS_CA };

struct tls_settings { /* NULL is "" */
	const char *certificate, *key; /* PEM files; a client may have none */
	const char *ca;	  /* PEM file; client: "" = the system's; server: authorities of client certificates, "" = none are asked for */
	const char *pin;  /* client: base64 of the SHA-256 of a SubjectPublicKeyInfo, up to 4 of them; one must be the server's */
	bool verify;	  /* client: chain and host name; server: a client must have a certificate */
	bool tls12;	  /* TLS 1.2 is allowed, too */
};

/* For a listener, for an upstream.  s is copied.  NULL on failure with a sentence in why. */
struct tls_context *tls_server_new(const struct tls_settings *s, char *why, size_t why_len);
struct tls_context *tls_client_new(const struct tls_settings *s, char *why, size_t why_len);
void tls_free(struct tls_context *t); /* NULL allowed */

/* Are the files others than when they were read last (well or not)? */
bool tls_changed(const struct tls_context *t);
/* Reads them again, for connections that begin from now on.  False with a sentence in why: all is as it was. */
bool tls_reload(struct tls_context *t, char *why, size_t why_len);

/* Does a connection prove who its peer is (chain and name, or pin)?  NULL: it does not. */
bool tls_verifies(const struct tls_context *t);

/* A session over fd (which stays the caller's), ready to shake hands; host: for SNI and verification (copied), clients only.  The context
 * may be freed before it.  Only for relay/rawio.  NULL when out of memory or host is no possible name. */
struct ssl_st *tls_start(const struct tls_context *t, int fd, const char *host);
/* Its handshake failed: what it was resumed from is not tried again. */
void tls_failed(struct ssl_st *ssl);

/* Sec-WebSocket-Accept for key (RFC 6455 4.2.2): base64 of SHA-1; out has 29 bytes of room. */
void tls_ws_accept(const char *key, size_t key_len, char out[29]);
/* A fresh Sec-WebSocket-Key; out has 25 bytes of room. */
void tls_ws_key(char out[25]);
/* Cryptographically random bytes (masks, keys). */
void tls_random(void *out, size_t len);
void tls_mask(uint8_t mask[4]); /* a fresh key for a frame (RFC 6455 section 5.3) */
/* SHA-256. */
void tls_sha256(const void *data, size_t len, unsigned char out[32]);

#endif
