/* Bytes over one non-blocking TCP socket, plain or TLS 1.3; see sockio.h.
 *
 * For: tests/peer/wsio.c only.  Never: calls back, waits (but to resolve a name), retries, or reads ahead.
 *
 * The one idea: OpenSSL is driven directly with SSL_read_ex and SSL_write_ex; what it waits for is left in two flags, so that the
 * caller's event loop is the same for plain and TLS.  The TLS handshake happens inside the first write or read.
 *
 * SSL_CTXs are kept for the life of the process by file name, because hundreds of connections share them; a test that needs
 * other contents uses another name.  SIGPIPE is ignored from the first socket on: OpenSSL writes with write(). */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <linux/sockios.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <event2/buffer.h>
#include <event2/util.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "tests/peer/sockio.h"

static enum sockio_result
ended(struct sockio *s, enum sockio_result result, const char *why)
{
	snprintf(s->why, sizeof s->why, "%s", why);
	return result;
}

/* A TLS operation failed for good; says why. */
static enum sockio_result
ended_tls(struct sockio *s, const char *doing)
{
	unsigned long e = ERR_get_error();
	long verify = SSL_get_verify_result(s->ssl);

	if (verify != X509_V_OK)
		snprintf(s->why, sizeof s->why, "%s: certificate: %s", doing, X509_verify_cert_error_string(verify));
	else if (e != 0 && ERR_reason_error_string(e) != NULL)
		snprintf(s->why, sizeof s->why, "%s: %s", doing, ERR_reason_error_string(e));
	else
		snprintf(s->why, sizeof s->why, "%s: %s", doing, errno != 0 ? strerror(errno) : "cut");
	ERR_clear_error();
	return SOCKIO_FAILED;
}

/* ---- opening ---- */

/* The context for these files (server: certificate and key; client: CA), made once.  A bad file is a test set-up error: exits. */
static SSL_CTX *
tls_context(bool server, const char *cert_or_ca, const char *key)
{
	static struct kept {
		struct kept *next;
		bool server;
		char *file;
		SSL_CTX *ctx;
	} *all;
	struct kept *k;
	bool ok;

	for (k = all; k != NULL; k = k->next)
		if (k->server == server && strcmp(k->file, cert_or_ca) == 0)
			return k->ctx;
	k = calloc(1, sizeof *k);
	if (k == NULL || (k->file = strdup(cert_or_ca)) == NULL ||
	    (k->ctx = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method())) == NULL)
		abort();
	k->server = server;
	k->next = all;
	all = k;
	SSL_CTX_set_min_proto_version(k->ctx, TLS1_3_VERSION);
	SSL_CTX_set_options(k->ctx, SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_mode(k->ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
	if (server) {
		ok = SSL_CTX_use_certificate_chain_file(k->ctx, cert_or_ca) == 1 &&
		     SSL_CTX_use_PrivateKey_file(k->ctx, key, SSL_FILETYPE_PEM) == 1;
	} else {
		SSL_CTX_set_verify(k->ctx, SSL_VERIFY_PEER, NULL);
		ok = SSL_CTX_load_verify_locations(k->ctx, cert_or_ca, NULL) == 1;
	}
	if (!ok) {
		fprintf(stderr, "sockio: %s: ", cert_or_ca);
		ERR_print_errors_fp(stderr);
		exit(1);
	}
	return k->ctx;
}

static void
take_fd(struct sockio *s, int fd)
{
	int one = 1;

	memset(s, 0, sizeof *s);
	s->fd = fd;
	signal(SIGPIPE, SIG_IGN);
	if (fd >= 0) {
		evutil_make_socket_nonblocking(fd);
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	}
}

static void
start_tls(struct sockio *s, SSL_CTX *ctx)
{
	s->ssl = SSL_new(ctx);
	if (s->ssl == NULL || SSL_set_fd(s->ssl, s->fd) != 1)
		abort();
}

/* Client: demands that the certificate is for host. */
static void
expect_host(struct sockio *s, const char *host)
{
	struct in6_addr addr;
	char name[256];

	if (inet_pton(AF_INET, host, &addr) == 1 || inet_pton(AF_INET6, host, &addr) == 1) {
		X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(s->ssl), host);
		return;
	}
	snprintf(name, sizeof name, "%s", host);
	SSL_set1_host(s->ssl, name);
	SSL_set_tlsext_host_name(s->ssl, name);
}

enum sockio_result
sockio_connect(struct sockio *s, const char *host, unsigned port, const char *tls_ca)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found;
	char service[16];
	int rc, err;

	take_fd(s, -1);
	snprintf(service, sizeof service, "%u", port);
	rc = getaddrinfo(host, service, &hints, &found);
	if (rc != 0)
		return ended(s, SOCKIO_FAILED, gai_strerror(rc));
	take_fd(s, socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
	rc = s->fd < 0 ? -1 : connect(s->fd, found->ai_addr, found->ai_addrlen);
	err = errno;
	freeaddrinfo(found);
	if (rc != 0 && err != EINPROGRESS) {
		sockio_close(s, false);
		return ended(s, SOCKIO_FAILED, strerror(err));
	}
	if (tls_ca != NULL) {
		start_tls(s, tls_context(false, tls_ca, NULL));
		SSL_set_connect_state(s->ssl);
		expect_host(s, host);
	}
	return SOCKIO_OK;
}

enum sockio_result
sockio_connected(struct sockio *s)
{
	socklen_t len = sizeof(int);
	int err = 0;

	if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &err, &len) != 0)
		err = errno;
	return err == 0 ? SOCKIO_OK : ended(s, SOCKIO_FAILED, strerror(err));
}

void
sockio_accept(struct sockio *s, int fd, const char *cert, const char *key)
{
	take_fd(s, fd);
	if (cert != NULL) {
		start_tls(s, tls_context(true, cert, key));
		SSL_set_accept_state(s->ssl);
	}
}

/* ---- bytes ---- */

enum sockio_result
sockio_read(struct sockio *s, uint8_t *buf, size_t cap, size_t *len)
{
	ssize_t n;

	if (s->ssl == NULL) {
		n = recv(s->fd, buf, cap, 0);
		if (n > 0) {
			*len = (size_t)n;
			return SOCKIO_OK;
		}
		if (n == 0)
			return ended(s, SOCKIO_EOF, "end of stream");
		return errno == EAGAIN || errno == EINTR ? SOCKIO_AGAIN : ended(s, SOCKIO_FAILED, strerror(errno));
	}
	ERR_clear_error();
	errno = 0;
	s->read_wants_write = false;
	if (SSL_read_ex(s->ssl, buf, cap, len))
		return SOCKIO_OK;
	switch (SSL_get_error(s->ssl, 0)) {
	case SSL_ERROR_WANT_READ:
		return SOCKIO_AGAIN;
	case SSL_ERROR_WANT_WRITE:
		s->read_wants_write = true;
		return SOCKIO_AGAIN;
	case SSL_ERROR_ZERO_RETURN:
		return ended(s, SOCKIO_EOF, "end of stream");
	default:
		return ended_tls(s, "read");
	}
}

static enum sockio_result
write_tls(struct sockio *s, struct evbuffer *out)
{
	struct evbuffer_iovec vec;
	size_t done;

	s->write_wants_read = false;
	while (evbuffer_peek(out, -1, NULL, &vec, 1) > 0) {
		ERR_clear_error();
		errno = 0;
		if (SSL_write_ex(s->ssl, vec.iov_base, vec.iov_len, &done)) {
			evbuffer_drain(out, done);
			continue;
		}
		switch (SSL_get_error(s->ssl, 0)) {
		case SSL_ERROR_WANT_WRITE:
			return SOCKIO_AGAIN;
		case SSL_ERROR_WANT_READ:
			s->write_wants_read = true;
			return SOCKIO_AGAIN;
		default:
			return ended_tls(s, "write");
		}
	}
	return SOCKIO_OK;
}

enum sockio_result
sockio_write(struct sockio *s, struct evbuffer *out)
{
	if (s->ssl != NULL)
		return write_tls(s, out);
	while (evbuffer_get_length(out) > 0) {
		if (evbuffer_write(out, s->fd) >= 0)
			continue;
		return errno == EAGAIN || errno == EINTR ? SOCKIO_AGAIN : ended(s, SOCKIO_FAILED, strerror(errno));
	}
	return SOCKIO_OK;
}

bool
sockio_pending(const struct sockio *s)
{
	return s->ssl != NULL && SSL_has_pending(s->ssl);
}

size_t
sockio_unsent(const struct sockio *s)
{
	int queued = 0;

	return ioctl(s->fd, SIOCOUTQ, &queued) == 0 && queued > 0 ? (size_t)queued : 0;
}

/* ---- ends ---- */

void
sockio_close(struct sockio *s, bool rst)
{
	struct linger no_linger = { .l_onoff = 1, .l_linger = 0 };

	if (s->fd < 0)
		return;
	if (rst)
		(void)setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &no_linger, sizeof no_linger);
	else if (s->ssl != NULL && SSL_is_init_finished(s->ssl))
		(void)SSL_shutdown(s->ssl);
	ERR_clear_error();
	close(s->fd);
	s->fd = -1;
}

void
sockio_free(struct sockio *s)
{
	sockio_close(s, false);
	SSL_free(s->ssl);
	s->ssl = NULL;
}
