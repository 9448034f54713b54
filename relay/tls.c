/* TLS contexts from configuration, and the few cryptographic helpers relay/ needs.
 *
 * TLS 1.3 by default; where tls_min allows 1.2, only with forward secrecy and authenticated encryption.  No renegotiation, no compression.
 * The flags that shape reading and writing are set here and relied on in relay/rawio:
 *   PARTIAL_WRITE + MOVING_WRITE_BUFFER  a record is retried from a queue whose chunks may have moved meanwhile
 *   RELEASE_BUFFERS                      an idle connection holds no 16 KiB record buffers
 *   IGNORE_UNEXPECTED_EOF                a peer that closes without close_notify is a plain EOF: messages carry their lengths
 *   a server gives no session tickets    they cost 8 KiB a connection here, and devices do not come back with them
 * Key files are read while the configuration is checked, so that a daemon that started can serve.  They are read again by tls_reload, into a
 * new SSL_CTX which takes the place of the old one only when all of it is good; connections keep the one they began with.
 *
 * Upstream, a session is resumed: the newest ticket is kept and offered by every connection until a newer one comes (that an observer can
 * tell two of them to be of one client, RFC 8446 C.4, says nothing new of a relay).  An SSL_CTX points back at its context and keeps it
 * alive: one that was replaced, or whose context was freed, still judges its last handshakes by it (pins, verify), but leaves no ticket.
 *
 * Never touches a socket (relay/rawio does) and never logs a key. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "relay/log.h"
#include "relay/same_file.h"
#include "relay/tls.h"

#define PINS_MAX 4    /* the server's key, the next one, and two more */
#define HASH_LEN 32   /* SHA-256 */
#define BASE64_LEN 44 /* of that */
#define NFILES 3
#define TLS12_CIPHERS "ECDHE+AESGCM:ECDHE+CHACHA20" /* forward secrecy, authenticated encryption */

struct tls_context {
	unsigned refs; /* its owner, and each SSL_CTX that was made of it */
	SSL_CTX *ctx;
	bool server;
	char *file[NFILES]; /* certificate, key, authorities; "" = none */
	bool verify, tls12;
	struct stat seen[NFILES]; /* of the files when they were read last */
	uint8_t pin[PINS_MAX][HASH_LEN];
	unsigned npin;
	SSL_SESSION *session; /* to resume; NULL: none */
	char session_host[256];
};

static const uint8_t alpn[] = { 8, 'h', 't', 't', 'p', '/', '1', '.', '1' }; /* RFC 7301 3.1, RFC 6455 runs over HTTP/1.1 */

/* The sentence: "what file: OpenSSL's reason"; empties the error queue. */
static void
explain(char *why, size_t why_len, const char *what, const char *file)
{
	unsigned long code = ERR_peek_error();
	const char *reason = ERR_SYSTEM_ERROR(code) ? strerror(ERR_GET_REASON(code)) : ERR_reason_error_string(code);

	snprintf(why, why_len, "%s%s%s: %s", what, file[0] != '\0' ? " " : "", file, reason != NULL ? reason : "failed");
	ERR_clear_error();
}

static void
unref(struct tls_context *t)
{
	if (--t->refs > 0)
		return;
	for (int i = 0; i < NFILES; i++)
		free(t->file[i]);
	free(t);
}

/* ---- callbacks of OpenSSL ---- */

static void
free_owner(void *parent, void *owner, CRYPTO_EX_DATA *data, int index, long argl, void *argp)
{
	(void)parent;
	(void)data;
	(void)index;
	(void)argl;
	(void)argp;
	if (owner != NULL)
		unref(owner);
}

/* Where an SSL_CTX keeps what it was made of. */
static int
owner_index(void)
{
	static int index = -1;

	if (index < 0)
		index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, free_owner);
	return index;
}

static struct tls_context *
owner_of(const SSL *ssl)
{
	return SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), owner_index());
}

static void
free_host(void *parent, void *host, CRYPTO_EX_DATA *data, int index, long argl, void *argp)
{
	(void)parent;
	(void)data;
	(void)index;
	(void)argl;
	(void)argp;
	free(host);
}

/* Where an SSL keeps the host it was made for. */
static int
host_index(void)
{
	static int index = -1;

	if (index < 0)
		index = SSL_get_ex_new_index(0, NULL, NULL, NULL, free_host);
	return index;
}

/* A key file that wants a passphrase fails; OpenSSL would ask for it at the terminal. */
static int
no_passphrase(char *buf, int size, int rwflag, void *arg)
{
	(void)buf;
	(void)size;
	(void)rwflag;
	(void)arg;
	return -1;
}

/* A client that offers protocols must offer ours. */
static int
select_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in, unsigned in_len, void *arg)
{
	unsigned char *chosen;

	(void)ssl;
	(void)arg;
	if (SSL_select_next_proto(&chosen, out_len, alpn, sizeof alpn, in, in_len) != OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

static bool
is_pinned(const struct tls_context *t, X509 *cert)
{
	uint8_t hash[HASH_LEN], *der = NULL;
	int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);
	bool found = false;

	if (len <= 0)
		return false;
	tls_sha256(der, (size_t)len, hash);
	OPENSSL_free(der);
	for (unsigned i = 0; i < t->npin; i++)
		found = found || memcmp(t->pin[i], hash, HASH_LEN) == 0;
	return found;
}

/* The last word about each certificate of the server's, its own (depth 0) last.  A pin is asked for on top of verify, and stands alone
 * without it. */
static int
verify_cb(int ok, X509_STORE_CTX *store)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	const struct tls_context *t = owner_of(ssl);

	if (!t->verify) {
		X509_STORE_CTX_set_error(store, X509_V_OK);
		ok = 1;
	}
	if (!ok || X509_STORE_CTX_get_error_depth(store) > 0)
		return ok;
	if (is_pinned(t, X509_STORE_CTX_get_current_cert(store)))
		return 1;
	X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
	return 0;
}

/* A ticket came: kept in place of the one before. Returns 1 when it keeps the reference. */
static int
new_session(SSL *ssl, SSL_SESSION *session)
{
	struct tls_context *t = owner_of(ssl);
	const char *host = SSL_get_ex_data(ssl, host_index());

	if (t->ctx != SSL_get_SSL_CTX(ssl) || host == NULL || !SSL_SESSION_is_resumable(session))
		return 0;
	SSL_SESSION_free(t->session);
	t->session = session;
	snprintf(t->session_host, sizeof t->session_host, "%s", host);
	return 1;
}

/* ---- contexts ---- */

static SSL_CTX *
ctx_new(struct tls_context *t)
{
	SSL_CTX *ctx = SSL_CTX_new(t->server ? TLS_server_method() : TLS_client_method());

	if (ctx == NULL || SSL_CTX_set_min_proto_version(ctx, t->tls12 ? TLS1_2_VERSION : TLS1_3_VERSION) != 1 ||
	    SSL_CTX_set_cipher_list(ctx, TLS12_CIPHERS) != 1 || SSL_CTX_set_ex_data(ctx, owner_index(), t) != 1) {
		SSL_CTX_free(ctx);
		return NULL;
	}
	t->refs++;
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_read_ahead(ctx, 1); /* else each record is two system calls */
	SSL_CTX_set_options(ctx, SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CLEANSE_PLAINTEXT |
				 (t->server ? SSL_OP_NO_TICKET | SSL_OP_CIPHER_SERVER_PREFERENCE : 0));
	SSL_CTX_set_num_tickets(ctx, 0);
	SSL_CTX_set_session_cache_mode(ctx, t->server ? SSL_SESS_CACHE_OFF : SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_set_default_passwd_cb(ctx, no_passphrase);
	return ctx;
}

/* What a server's context has beyond its certificate. */
static bool
set_up_server(struct tls_context *t, SSL_CTX *ctx, char *why, size_t why_len)
{
	const char *ca = t->file[TLS_CA];
	STACK_OF(X509_NAME) *names = NULL;

	SSL_CTX_set_alpn_select_cb(ctx, select_alpn, NULL);
	if (ca[0] == '\0')
		return true;
	names = SSL_load_client_CA_file(ca);
	if (names == NULL || SSL_CTX_load_verify_file(ctx, ca) != 1) {
		sk_X509_NAME_pop_free(names, X509_NAME_free);
		explain(why, why_len, "authorities", ca);
		return false;
	}
	SSL_CTX_set_client_CA_list(ctx, names);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | (t->verify ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0), NULL);
	return true;
}

static bool
set_up_client(struct tls_context *t, SSL_CTX *ctx, char *why, size_t why_len)
{
	const char *ca = t->file[TLS_CA];

	if (SSL_CTX_set_alpn_protos(ctx, alpn, sizeof alpn) != 0)
		explain(why, why_len, "cannot set up TLS", "");
	else if (ca[0] != '\0' && SSL_CTX_load_verify_file(ctx, ca) != 1)
		explain(why, why_len, "authorities", ca);
	else if (ca[0] == '\0' && t->verify && SSL_CTX_set_default_verify_paths(ctx) != 1)
		explain(why, why_len, "the system's authorities", "");
	else {
		SSL_CTX_set_verify(ctx, t->verify || t->npin > 0 ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, t->npin > 0 ? verify_cb : NULL);
		SSL_CTX_sess_set_new_cb(ctx, new_session);
		return true;
	}
	return false;
}

static bool
use_certificate(SSL_CTX *ctx, const char *cert, const char *key, char *why, size_t why_len)
{
	if (SSL_CTX_use_certificate_chain_file(ctx, cert) != 1)
		explain(why, why_len, "certificate", cert);
	else if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1)
		explain(why, why_len, "private key", key);
	else if (SSL_CTX_check_private_key(ctx) != 1)
		explain(why, why_len, "private key does not belong to the certificate", key);
	else
		return true;
	return false;
}

static void
look_at(const struct tls_context *t, struct stat seen[NFILES])
{
	memset(seen, 0, NFILES * sizeof *seen);
	for (int i = 0; i < NFILES; i++)
		if (t->file[i][0] != '\0')
			(void)stat(t->file[i], &seen[i]); /* not there: zeros */
}

/* A context from the files as they are now; NULL with why. */
static SSL_CTX *
load(struct tls_context *t, char *why, size_t why_len)
{
	SSL_CTX *ctx;

	ERR_clear_error();
	look_at(t, t->seen); /* before: what changes while it is read is read again */
	ctx = ctx_new(t);
	if (ctx == NULL)
		explain(why, why_len, "cannot set up TLS", "");
	else if ((t->file[TLS_CERTIFICATE][0] == '\0' ||
		  use_certificate(ctx, t->file[TLS_CERTIFICATE], t->file[TLS_KEY], why, why_len)) &&
		 (t->server ? set_up_server(t, ctx, why, why_len) : set_up_client(t, ctx, why, why_len)))
		return ctx;
	SSL_CTX_free(ctx);
	return NULL;
}

/* "BASE64 BASE64 ..." into t->pin. */
static bool
read_pins(struct tls_context *t, const char *text)
{
	static const char between[] = " ,";
	uint8_t raw[BASE64_LEN];

	for (text += strspn(text, between); *text != '\0'; text += strspn(text, between)) {
		size_t len = strcspn(text, between);

		if (t->npin == PINS_MAX || len != BASE64_LEN || text[len - 1] != '=' || text[len - 2] == '=' ||
		    EVP_DecodeBlock(raw, (const unsigned char *)text, BASE64_LEN) != HASH_LEN + 1)
			return false;
		memcpy(t->pin[t->npin++], raw, HASH_LEN);
		text += len;
	}
	return true;
}

static struct tls_context *
context_new(bool server, const struct tls_settings *s, char *why, size_t why_len)
{
	const char *file[NFILES] = { [TLS_CERTIFICATE] = s->certificate, [TLS_KEY] = s->key, [TLS_CA] = s->ca };
	struct tls_context *t = calloc(1, sizeof *t);

	if (t == NULL)
		log_fatal("out_of_memory", "what=tls");
	t->refs = 1;
	t->server = server;
	t->verify = s->verify;
	t->tls12 = s->tls12;
	for (int i = 0; i < NFILES; i++) {
		t->file[i] = strdup(file[i] != NULL ? file[i] : "");
		if (t->file[i] == NULL)
			log_fatal("out_of_memory", "what=tls");
	}
	if (s->pin != NULL && !read_pins(t, s->pin))
		snprintf(why, why_len, "pin: want base64 of a SHA-256, at most %d of them", PINS_MAX);
	else
		t->ctx = load(t, why, why_len);
	if (t->ctx != NULL)
		return t;
	tls_free(t);
	return NULL;
}

struct tls_context *
tls_server_new(const struct tls_settings *s, char *why, size_t why_len)
{
	return context_new(true, s, why, why_len);
}

struct tls_context *
tls_client_new(const struct tls_settings *s, char *why, size_t why_len)
{
	return context_new(false, s, why, why_len);
}

static void
forget_session(struct tls_context *t)
{
	SSL_SESSION_free(t->session); /* wipes its secret */
	t->session = NULL;
}

/* ctx takes the place of what t had, which connections may hold on to. */
static void
replace(struct tls_context *t, SSL_CTX *ctx)
{
	SSL_CTX_free(t->ctx);
	t->ctx = ctx;
	forget_session(t);
}

void
tls_free(struct tls_context *t)
{
	if (t == NULL)
		return;
	replace(t, NULL);
	unref(t);
}

bool
tls_verifies(const struct tls_context *t)
{
	return t != NULL && (t->verify || t->npin > 0);
}

bool
tls_changed(const struct tls_context *t)
{
	struct stat now[NFILES];

	look_at(t, now);
	for (int i = 0; i < NFILES; i++)
		if (!same_file(&now[i], &t->seen[i]))
			return true;
	return false;
}

bool
tls_reload(struct tls_context *t, char *why, size_t why_len)
{
	SSL_CTX *ctx = load(t, why, why_len);

	if (ctx == NULL)
		return false;
	replace(t, ctx);
	return true;
}

/* ---- connections ---- */

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

static bool
set_up_connection(const struct tls_context *t, SSL *ssl, const char *host)
{
	char *copy;

	if (host == NULL || !set_host(ssl, host))
		return false;
	copy = strdup(host);
	if (copy == NULL || SSL_set_ex_data(ssl, host_index(), copy) != 1) {
		free(copy);
		return false;
	}
	if (t->session != NULL && strcmp(t->session_host, host) == 0)
		(void)SSL_set_session(ssl, t->session); /* or else the whole handshake */
	return true;
}

struct ssl_st *
tls_start(const struct tls_context *t, int fd, const char *host)
{
	SSL *ssl = SSL_new(t->ctx);

	if (ssl == NULL)
		return NULL;
	if (SSL_set_fd(ssl, fd) != 1 || (!t->server && !set_up_connection(t, ssl, host))) {
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
tls_failed(struct ssl_st *ssl)
{
	struct tls_context *t = owner_of(ssl);

	if (t->ctx == SSL_get_SSL_CTX(ssl))
		forget_session(t);
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

/* A call of RAND_bytes costs more than everything else about a short frame: masks are taken from a store of random bytes.  Each is used
 * once. */
void
tls_mask(uint8_t mask[4])
{
	static uint8_t store[4096];
	static size_t used = sizeof(store);

	if (used == sizeof(store)) {
		tls_random(store, sizeof(store));
		used = 0;
	}
	memcpy(mask, store + used, 4);
	used += 4;
}

void
tls_sha256(const void *data, size_t len, unsigned char out[32])
{
	if (EVP_Digest(data, len, out, NULL, EVP_sha256(), NULL) != 1)
		log_fatal("crypto_failed", "what=sha256");
}
