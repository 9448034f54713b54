/* Non-blocking bytes over a socket, plain or TLS: the private lower half of relay/stream.
 *
 * One idea: whatever OpenSSL or the kernel say is turned into five results here, so that the state machine above is the same for
 * plain and TLS.  Never blocks, allocates nothing of its own, never closes by itself.
 *
 * TLS writing.  OpenSSL encrypts a record, and if the kernel does not take all of it, wants to be called again with the same
 * bytes.  They come from the front of a queue that only grows behind, so they are the same bytes, though perhaps elsewhere
 * (MOVING_WRITE_BUFFER); `retry` keeps the length the same too.  Queues come as many small pieces: up to 16 KiB of them are
 * gathered into one record.
 *
 * SIGPIPE: OpenSSL writes with write(2), so stream_init ignores the signal. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <linux/sockios.h>
#include <sys/ioctl.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "relay/rawio.h"
#include "relay/ring.h"
#include "relay/tls.h"

/* Unsent bytes the kernel holds at most.  What is in there cannot be overtaken: 32 KiB are 4 s at 64 kbit/s, in which a PING
 * waits behind a batch (design.md section 5), and two TLS records.  Where they are gone in no time, more saves waking up for each of them (with
 * BBR, whose timer paces what is unsent, half of the processor); if such a link grows thin all of a sudden, a PING waits half a minute at 64 kbit/s,
 * once, and what the peer acknowledges meanwhile (rawio_delivered) says that the link lives. */
#define UNSENT_THIN 32768
#define UNSENT_FAST 262144

bool
rawio_setup(int fd)
{
	int flags = fcntl(fd, F_GETFL), one = 1, unsent = UNSENT_THIN;

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return false;
	/* these fail on a socket pair, which tests use */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof unsent);
	return true;
}

void
rawio_unsent(const struct rawio *io, bool fast)
{
	int unsent = fast ? UNSENT_FAST : UNSENT_THIN;

	(void)setsockopt(io->fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof unsent);
}

int
rawio_connect(struct rawio *io, const struct sockaddr *addr, socklen_t len)
{
	if (connect(io->fd, addr, len) == 0)
		return 0;
	return errno == EINTR ? EINPROGRESS : errno;
}

int
rawio_connected(struct rawio *io)
{
	int err = 0;
	socklen_t len = sizeof err;

	return getsockopt(io->fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0 ? errno : err;
}

/* The result of an SSL_ call that returned ret, which was not success. */
static enum rawio_result
ssl_result(const struct rawio *io, int ret)
{
	int saved = errno;

	switch (SSL_get_error(io->ssl, ret)) {
	case SSL_ERROR_WANT_READ:
		return RAWIO_READ;
	case SSL_ERROR_WANT_WRITE:
		return RAWIO_WRITE;
	case SSL_ERROR_ZERO_RETURN:
		return RAWIO_EOF;
	case SSL_ERROR_SYSCALL:
		errno = saved;
		return RAWIO_FAIL;
	default:
		errno = 0; /* the reason is in OpenSSL's queue */
		return RAWIO_FAIL;
	}
}

enum rawio_result
rawio_handshake(struct rawio *io)
{
	enum rawio_result result;
	int ret;

	ERR_clear_error();
	errno = 0;
	ret = SSL_do_handshake(io->ssl);
	if (ret == 1)
		return RAWIO_OK;
	result = ssl_result(io, ret);
	if (result == RAWIO_FAIL || result == RAWIO_EOF)
		tls_failed(io->ssl);
	return result;
}

struct ring_op
rawio_op(const struct rawio *io, bool send, const struct iovec *iov, int n)
{
	return (struct ring_op){ .fd = io->fd, .send = send, .iov = iov, .n = n };
}

static size_t
length(const struct ring_op *op)
{
	size_t sum = 0;

	for (int i = 0; i < op->n; i++)
		sum += op->iov[i].iov_len;
	return sum;
}

enum rawio_result
rawio_op_result(struct rawio *io, const struct ring_op *op, size_t *moved)
{
	enum rawio_result later = op->send ? RAWIO_WRITE : RAWIO_READ;

	*moved = 0;
	if (op->result < 0) {
		errno = (int)-op->result;
		return errno == EAGAIN || errno == EWOULDBLOCK ? later : RAWIO_FAIL;
	}
	if (op->result == 0 && !op->send)
		return RAWIO_EOF;
	*moved = (size_t)op->result;
	*(op->send ? &io->sent : &io->received) += *moved;
	return *moved == length(op) ? RAWIO_OK : later;
}

static enum rawio_result
plain_op(struct rawio *io, bool send, const struct iovec *iov, int n, size_t *moved)
{
	struct ring_op op = rawio_op(io, send, iov, n);

	ring_run(&op, 1);
	return rawio_op_result(io, &op, moved);
}

static enum rawio_result
plain_read(struct rawio *io, uint8_t *buf, size_t len, bool all, size_t *got)
{
	enum rawio_result result = RAWIO_OK;
	size_t n;

	do {
		const struct iovec rest = { buf + *got, len - *got };

		result = plain_op(io, false, &rest, 1, &n);
		*got += n;
	} while (result == RAWIO_READ && n > 0 && all);
	return result;
}

/* A short record alone is mostly all that the peer wrote: what else there may be the descriptor tells of.  Behind a full one more has likely come. */
static enum rawio_result
tls_read(struct rawio *io, uint8_t *buf, size_t len, bool all, size_t *got)
{
	while (*got < len) {
		size_t n = 0;
		int ret;

		ERR_clear_error();
		errno = 0;
		ret = SSL_read_ex(io->ssl, buf + *got, len - *got, &n);
		if (ret != 1)
			return ssl_result(io, ret);
		*got += n;
		if (*got < RAWIO_RECORD && *got < len && !all && !rawio_pending(io))
			return RAWIO_READ;
	}
	return RAWIO_OK;
}

enum rawio_result
rawio_read(struct rawio *io, uint8_t *buf, size_t len, bool all, size_t *got)
{
	*got = 0;
	return io->ssl != NULL ? tls_read(io, buf, len, all, got) : plain_read(io, buf, len, all, got);
}

/* The next record's bytes: in place if the first piece has them all, else gathered in scratch (one loop, one thread: shared). */
static const void *
gather(const struct iovec *iov, int n, size_t want, size_t *len)
{
	static uint8_t scratch[RAWIO_RECORD];
	size_t have = 0;

	if (n == 1 || iov[0].iov_len >= want) {
		*len = iov[0].iov_len < want ? iov[0].iov_len : want;
		return iov[0].iov_base;
	}
	for (int i = 0; i < n && have < want; i++) {
		size_t part = iov[i].iov_len < want - have ? iov[i].iov_len : want - have;

		memcpy(scratch + have, iov[i].iov_base, part);
		have += part;
	}
	*len = have;
	return scratch;
}

static enum rawio_result
tls_write(struct rawio *io, const struct iovec *iov, int n, size_t *put)
{
	enum rawio_result result;
	const void *bytes;
	size_t len;
	int ret;

	bytes = gather(iov, n, io->retry > 0 ? io->retry : RAWIO_RECORD, &len);
	ERR_clear_error();
	errno = 0;
	ret = SSL_write_ex(io->ssl, bytes, len, put);
	if (bytes != iov[0].iov_base)
		explicit_bzero((void *)(uintptr_t)bytes, len); /* the copy: it may be an upgrade request (I9) */
	if (ret == 1) {
		io->retry = 0;
		return RAWIO_OK;
	}
	*put = 0;
	result = ssl_result(io, ret);
	io->retry = (uint32_t)len;
	return result;
}

enum rawio_result
rawio_write(struct rawio *io, const struct iovec *iov, int n, size_t *put)
{
	*put = 0;
	return io->ssl != NULL ? tls_write(io, iov, n, put) : plain_op(io, true, iov, n, put);
}

enum rawio_result
rawio_discard(struct rawio *io, uint8_t *buf, size_t len)
{
	size_t got = 0;

	return plain_read(io, buf, len, false, &got);
}

bool
rawio_pending(const struct rawio *io)
{
	return io->ssl != NULL && SSL_has_pending(io->ssl) == 1;
}

void
rawio_wire(const struct rawio *io, uint64_t *received, uint64_t *sent)
{
	*received = io->received;
	*sent = io->sent;
	if (io->ssl != NULL) {
		*received += BIO_number_read(SSL_get_rbio(io->ssl));
		*sent += BIO_number_written(SSL_get_wbio(io->ssl));
	}
}

uint64_t
rawio_delivered(const struct rawio *io, uint64_t *unacknowledged)
{
	uint64_t received, sent;
	int queued = 0;

	rawio_wire(io, &received, &sent);
	if (io->fd < 0 || ioctl(io->fd, SIOCOUTQ, &queued) != 0 || (uint64_t)queued > sent)
		queued = 0;
	*unacknowledged = (uint64_t)queued;
	return sent - *unacknowledged;
}

enum rawio_result
rawio_shutdown(struct rawio *io)
{
	if (io->ssl != NULL && SSL_is_init_finished(io->ssl) && io->retry == 0) {
		enum rawio_result result;
		int ret;

		ERR_clear_error();
		errno = 0;
		ret = SSL_shutdown(io->ssl);
		result = ret < 0 ? ssl_result(io, ret) : RAWIO_OK;
		if (result == RAWIO_WRITE || result == RAWIO_FAIL)
			return result;
	}
	return shutdown(io->fd, SHUT_WR) == 0 ? RAWIO_OK : RAWIO_FAIL;
}

void
rawio_cut(const struct rawio *io)
{
	const struct linger none = { .l_onoff = 1 };

	(void)setsockopt(io->fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
}

void
rawio_close(struct rawio *io)
{
	uint64_t received, sent;

	rawio_wire(io, &received, &sent);
	io->received = received;
	io->sent = sent;
	SSL_free(io->ssl);
	io->ssl = NULL;
	if (io->fd >= 0)
		close(io->fd);
	io->fd = -1;
}

void
rawio_explain(const struct rawio *io, const char *what, char *why, size_t why_len, bool *cert)
{
	int err = errno;
	const char *reason;
	long verify;

	*cert = false;
	if (io->ssl == NULL || err != 0) {
		snprintf(why, why_len, "%s: %s", what, err != 0 ? strerror(err) : "failed");
		return;
	}
	verify = SSL_get_verify_result(io->ssl);
	if (!SSL_is_init_finished(io->ssl) && (SSL_get_verify_mode(io->ssl) & SSL_VERIFY_PEER) != 0 && verify != X509_V_OK) {
		*cert = true;
		if (verify == X509_V_ERR_APPLICATION_VERIFICATION)
			snprintf(why, why_len, "tls: certificate verify failed: its public key is none that is pinned");
		else
			snprintf(why, why_len, "tls: certificate verify failed: %s", X509_verify_cert_error_string(verify));
	} else {
		reason = ERR_reason_error_string(ERR_peek_error());
		snprintf(why, why_len, "tls: %s", reason != NULL ? reason : "closed by peer during the handshake");
	}
	ERR_clear_error();
}

bool
rawio_verified(const struct rawio *io)
{
	return io->ssl != NULL && SSL_is_init_finished(io->ssl) && (SSL_get_verify_mode(io->ssl) & SSL_VERIFY_PEER) != 0 &&
	       SSL_get_verify_result(io->ssl) == X509_V_OK;
}

bool
rawio_subject(const struct rawio *io, char *text, size_t size)
{
	X509 *cert = rawio_verified(io) ? SSL_get0_peer_certificate(io->ssl) : NULL;
	BIO *mem = cert != NULL ? BIO_new(BIO_s_mem()) : NULL;
	int n = -1;

	if (mem != NULL && X509_NAME_print_ex(mem, X509_get_subject_name(cert), 0, XN_FLAG_RFC2253) >= 0)
		n = BIO_pending(mem) > 0 ? BIO_read(mem, text, (int)size - 1) : 0;
	BIO_free(mem);
	if (n < 0)
		return false;
	text[n] = '\0';
	return true;
}

bool
rawio_resumed(const struct rawio *io)
{
	return io->ssl != NULL && SSL_session_reused(io->ssl) == 1;
}
