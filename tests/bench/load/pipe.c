/* See pipe.h.  A write that TLS could not finish is asked again with the same bytes at another address (moving buffer), in part (partial
 * writes): so a message may be sent from a template that others use in between. */
#include <err.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include <openssl/ssl.h>

#include "tests/bench/load/pipe.h"

static void
no_delay(int fd)
{
	int one = 1;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

void
pipe_connect(struct pipe *p, unsigned port, struct ssl_ctx_st *tls)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	if ((p->fd.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) < 0)
		err(1, "socket");
	no_delay(p->fd.fd);
	if (connect(p->fd.fd, (struct sockaddr *)&to, sizeof(to)) != 0 && errno != EINPROGRESS)
		err(1, "connect");
	if (tls == NULL)
		return;
	p->ssl = SSL_new(tls);
	if (p->ssl == NULL || SSL_set_fd(p->ssl, p->fd.fd) != 1)
		errx(1, "TLS");
	SSL_set_mode(p->ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
	SSL_set_connect_state(p->ssl);
}

void
pipe_accepted(struct pipe *p, int fd)
{
	p->fd.fd = fd;
	no_delay(fd);
}

void
pipe_close(struct pipe *p)
{
	SSL_free(p->ssl);
	p->ssl = NULL;
	loop_forget(&p->fd);
}

/* What a TLS call that gave nothing means. */
static ssize_t
nothing(struct pipe *p, int ret)
{
	int why = SSL_get_error(p->ssl, ret);

	return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

bool
pipe_shaken(struct pipe *p)
{
	int ret = p->ssl != NULL ? SSL_do_handshake(p->ssl) : 1;

	if (ret == 1)
		return true;
	if (nothing(p, ret) < 0)
		errx(1, "the TLS handshake failed");
	loop_watch(&p->fd, SSL_want_write(p->ssl) ? EPOLLOUT : EPOLLIN);
	return false;
}

static ssize_t
plain(ssize_t n)
{
	if (n > 0)
		return n;
	return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
}

ssize_t
pipe_read(struct pipe *p, void *buf, size_t len)
{
	size_t n;
	int ret;

	if (p->ssl == NULL)
		return plain(recv(p->fd.fd, buf, len, 0));
	ret = SSL_read_ex(p->ssl, buf, len, &n);
	return ret == 1 ? (ssize_t)n : nothing(p, ret);
}

ssize_t
pipe_write(struct pipe *p, const void *buf, size_t len)
{
	size_t n;
	int ret;

	if (p->ssl == NULL)
		return plain(send(p->fd.fd, buf, len, MSG_NOSIGNAL));
	ret = SSL_write_ex(p->ssl, buf, len, &n);
	return ret == 1 ? (ssize_t)n : nothing(p, ret);
}

ssize_t
pipe_skip(struct pipe *p, size_t len)
{
	return p->ssl == NULL ? plain(recv(p->fd.fd, NULL, len, MSG_TRUNC)) : 0;
}
