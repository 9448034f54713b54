/* TLS contexts from configuration, and the few cryptographic helpers relay/ needs.
 *
 * TLS 1.3 only, on both sides: no renegotiation, no compression, no choice of weak ciphers, and nothing to configure.  The flags
 * that shape reading and writing are set here and relied on in relay/rawio:
 *   PARTIAL_WRITE + MOVING_WRITE_BUFFER  a record is retried from a queue whose chunks may have moved meanwhile
 *   RELEASE_BUFFERS                      an idle connection holds no 16 KiB record buffers
 *   IGNORE_UNEXPECTED_EOF                a peer that closes without close_notify is a plain EOF: messages carry their lengths
 *   no session tickets                   they cost 8 KiB a connection here, and devices do not come back with them
 * Key files are read while the configuration is checked, so that a daemon that started can serve. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "relay/log.h"
#include "relay/tls.h"

struct tls_context {
	SSL_CTX *ctx;
	bool server;
	bool verify;
};

/* The sentence: "what file: OpenSSL's reason"; empties the error queue. */
static void
explain(char *why, size_t why_len, const char *what, const char *file)
{
	unsigned long code = ERR_peek_error();
	const char *reason = ERR_SYSTEM_ERROR(code) ? strerror(ERR_GET_REASON(code)) : ERR_reason_error_string(code);

	snprintf(why, why_len, "%s%s%s: %s", what, file[0] != '\0' ? " " : "", file, reason != NULL ? reason : "failed");
	ERR_clear_error();
}

static struct tls_context *
context_new(bool server, bool verify)
{
	struct tls_context *t = calloc(1, sizeof *t);

	if (t == NULL)
		return NULL;
	ERR_clear_error();
	t->server = server;
	t->verify = verify;
	t->ctx = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
	if (t->ctx == NULL || SSL_CTX_set_min_proto_version(t->ctx, TLS1_3_VERSION) != 1) {
		tls_free(t);
		return NULL;
	}
	SSL_CTX_set_mode(t->ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_options(t->ctx, SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_num_tickets(t->ctx, 0);
	SSL_CTX_set_verify(t->ctx, verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
	return t;
}

struct tls_context *
tls_server_new(const char *cert_file, const char *key_file, char *why, size_t why_len)
{
	struct tls_context *t = context_new(true, false);

	if (t == NULL)
		explain(why, why_len, "cannot set up TLS", "");
	else if (SSL_CTX_use_certificate_chain_file(t->ctx, cert_file) != 1)
		explain(why, why_len, "certificate", cert_file);
	else if (SSL_CTX_use_PrivateKey_file(t->ctx, key_file, SSL_FILETYPE_PEM) != 1)
		explain(why, why_len, "private key", key_file);
	else if (SSL_CTX_check_private_key(t->ctx) != 1)
		explain(why, why_len, "private key does not belong to the certificate", key_file);
	else
		return t;
	tls_free(t);
	return NULL;
}

struct tls_context *
tls_client_new(const char *ca_file, bool verify, char *why, size_t why_len)
{
	struct tls_context *t = context_new(false, verify);

	if (t == NULL)
		explain(why, why_len, "cannot set up TLS", "");
	else if (ca_file[0] != '\0' && SSL_CTX_load_verify_file(t->ctx, ca_file) != 1)
		explain(why, why_len, "authorities", ca_file);
	else if (ca_file[0] == '\0' && verify && SSL_CTX_set_default_verify_paths(t->ctx) != 1)
		explain(why, why_len, "the system's authorities", "");
	else
		return t;
	tls_free(t);
	return NULL;
}

void
tls_free(struct tls_context *t)
{
	if (t == NULL)
		return;
	SSL_CTX_free(t->ctx);
	free(t);
}

/* Name for SNI and verification.  A literal address has no SNI and is compared with the certificate's IP entries. */
static bool
set_host(SSL *ssl, const char *host)
{
	char name[256];
	unsigned char ip[sizeof(struct in6_addr)];
	size_t len = strlen(host);

	if (inet_pton(AF_INET, host, ip) == 1 || inet_pton(AF_INET6, host, ip) == 1)
		return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
	if (len > 0 && host[len - 1] == '.') /* a fully qualified name's root; certificates have none */
		len--;
	if (len == 0 || len >= sizeof name)
		return false;
	memcpy(name, host, len);
	name[len] = '\0';
	SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	return SSL_set1_host(ssl, name) == 1 && SSL_set_tlsext_host_name(ssl, name) == 1;
}

struct ssl_st *
tls_start(const struct tls_context *t, int fd, const char *host)
{
	SSL *ssl = SSL_new(t->ctx);

	if (ssl == NULL)
		return NULL;
	if (SSL_set_fd(ssl, fd) != 1 || (!t->server && (host == NULL || !set_host(ssl, host)))) {
		SSL_free(ssl);
		return NULL;
	}
	if (t->server)
		SSL_set_accept_state(ssl);
	else
		SSL_set_connect_state(ssl);
	return ssl;
}

void
tls_ws_accept(const char *key, size_t key_len, char out[29])
{
	static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; /* RFC 6455 1.3 */
	unsigned char digest[EVP_MAX_MD_SIZE];
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	unsigned int len = 0;

	if (md == NULL || EVP_DigestInit_ex(md, EVP_sha1(), NULL) != 1 || EVP_DigestUpdate(md, key, key_len) != 1 ||
	    EVP_DigestUpdate(md, guid, sizeof guid - 1) != 1 || EVP_DigestFinal_ex(md, digest, &len) != 1)
		log_fatal("crypto_failed", "what=sha1");
	EVP_MD_CTX_free(md);
	EVP_EncodeBlock((unsigned char *)out, digest, (int)len);
}

void
tls_ws_key(char out[25])
{
	unsigned char nonce[16];

	tls_random(nonce, sizeof nonce);
	EVP_EncodeBlock((unsigned char *)out, nonce, sizeof nonce);
}

void
tls_random(void *out, size_t len)
{
	if (len > INT32_MAX || RAND_bytes(out, (int)len) != 1)
		log_fatal("crypto_failed", "what=random"); /* masks and keys must not be guessable: there is no going on */
}

void
tls_sha256(const void *data, size_t len, unsigned char out[32])
{
	if (EVP_Digest(data, len, out, NULL, EVP_sha256(), NULL) != 1)
		log_fatal("crypto_failed", "what=sha256");
}
