/* See appservices.h.  One thread a connection, blocking; it reads what a strict proxy sends and no more, so it parses with little care: that it sees
 * as many requests as were made is what tests look at. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <openssl/ssl.h>

#include "tests/peer/appservices.h"
#include "tests/peer/rawsock.h"

#define HEAD_MAX 16384
#define BODY_MAX (4 << 20)

static struct appservices_state *state;
static unsigned own_port;
static SSL_CTX *tls; /* NULL: plain */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

struct request {
	int fd;
	SSL *ssl; /* NULL: plain */
	char head[HEAD_MAX];
	char *body;
	size_t len;
	bool chunked;
};

/* ---- tokens ---- */

static void
base64url(const char *text, char *out)
{
	static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	unsigned bits = 0, n = 0;

	for (; *text != '\0'; text++) {
		bits = (bits << 8 | (unsigned char)*text) & 0xffffff;
		for (n += 8; n >= 6; n -= 6)
			*out++ = digit[bits >> (n - 6) & 63];
	}
	if (n > 0)
		*out++ = digit[bits << (6 - n) & 63];
	*out = '\0';
}

static void
make_token(const char *kind, unsigned user, int life_s, char *out, size_t size)
{
	static unsigned serial;
	char claims[512], payload[720];
	long now = (long)time(NULL);

	snprintf(claims, sizeof claims,
		 "{\"baas_device_id\":\"d1\",\"exp\":%ld,\"iat\":%ld,\"iss\":\"SECRET-iss\",\"sub\":\"u%u\",\"typ\":\"%s\",\"user_data\":{\"n\":%u}}",
		 now + life_s, now, user, kind, user);
	base64url(claims, payload);
	snprintf(out, size, "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.%s.SECRET-%s-%u", payload, kind, ++serial);
}

/* ---- reading and writing ---- */

static bool
read_exactly(const struct request *r, char *to, size_t len)
{
	size_t got = 0;

	if (r->ssl == NULL)
		return len == 0 || recv(r->fd, to, len, MSG_WAITALL) == (ssize_t)len;
	for (size_t n = 0; n < len; n += got)
		if (SSL_read_ex(r->ssl, to + n, len - n, &got) != 1)
			return false;
	return true;
}

static void
put(const struct request *r, const char *bytes, size_t len)
{
	size_t done;

	if (r->ssl == NULL)
		(void)rawsock_send(r->fd, bytes, len);
	else if (len > 0)
		(void)SSL_write_ex(r->ssl, bytes, len, &done);
}

static void
say(const struct request *r, const char *text)
{
	put(r, text, strlen(text));
}

static bool
read_head(struct request *r)
{
	size_t n = 0;

	while (n < HEAD_MAX - 1 && read_exactly(r, r->head + n, 1)) {
		r->head[++n] = '\0';
		if (n >= 4 && memcmp(r->head + n - 4, "\r\n\r\n", 4) == 0)
			return true;
	}
	return false;
}

static const char *
header(const char *head, const char *name)
{
	const char *line = head;
	size_t n = strlen(name);

	while ((line = strstr(line, "\r\n")) != NULL) {
		line += 2;
		if (strncasecmp(line, name, n) == 0 && line[n] == ':')
			return line + n + 1 + strspn(line + n + 1, " ");
	}
	return NULL;
}

static bool
read_chunks(struct request *r)
{
	char line[32], crlf[2];
	size_t n, size;

	do {
		for (n = 0; n < sizeof line - 1 && read_exactly(r, line + n, 1) && line[n] != '\n'; n++)
			;
		line[n] = '\0';
		size = strtoul(line, NULL, 16);
		if (size > BODY_MAX - r->len || !read_exactly(r, r->body + r->len, size) || !read_exactly(r, crlf, 2))
			return false;
		r->len += size;
	} while (size > 0);
	return true;
}

static bool
read_and_drop(struct request *r)
{
	size_t left = r->len, n;

	for (; left > 0; left -= n) {
		n = left < BODY_MAX ? left : BODY_MAX;
		if (!read_exactly(r, r->body, n))
			return false;
	}
	return true;
}

static bool
read_request(struct request *r)
{
	const char *length, *coding;

	r->len = 0;
	if (!read_head(r))
		return false;
	length = header(r->head, "Content-Length");
	coding = header(r->head, "Transfer-Encoding");
	r->chunked = coding != NULL;
	if (r->chunked)
		return read_chunks(r);
	r->len = length != NULL ? strtoul(length, NULL, 10) : 0;
	if (strncmp(r->head, "POST /sink ", 11) == 0)
		return read_and_drop(r);
	return r->len <= BODY_MAX && read_exactly(r, r->body, r->len);
}

static void
answer(const struct request *r, const char *status, const char *body)
{
	char head[256];

	snprintf(head, sizeof head, "HTTP/1.1 %s\r\nContent-Type: application/json\r\nX-Server: stand-in\r\nContent-Length: %zu\r\n\r\n", status,
		 strlen(body));
	say(r, head);
	say(r, body);
}

/* ---- what is asked ---- */

static void
login(const struct request *r)
{
	char body[4096];
	unsigned user;

	pthread_mutex_lock(&mutex);
	user = ++state->logins;
	make_token("access", user, state->life_s, state->access, sizeof state->access);
	make_token("refresh", user, state->refresh_life_s, state->refresh, sizeof state->refresh);
	snprintf(body, sizeof body, "{\"access_token\":\"%s\",\"refresh_token\":\"%s\",\"user_id\":\"u%u\",\"device_id\":\"d1\"}", state->access,
		 state->refresh, user);
	pthread_mutex_unlock(&mutex);
	answer(r, "201 Created", body);
}

static void
session(const struct request *r)
{
	const char *token = header(r->head, "Authorization");
	unsigned now, most;
	char body[2048];

	state->sessions++;
	now = ++state->at_once;
	for (most = state->most_at_once; now > most && !atomic_compare_exchange_weak(&state->most_at_once, &most, now);)
		;
	if (state->slow_ms > 0)
		usleep((unsigned)state->slow_ms * 1000);
	state->at_once--;
	if (state->down) {
		answer(r, "503 Service Unavailable", "{\"error\":\"later\"}");
		return;
	}
	if (state->revoked || token == NULL || strstr(token, "SECRET-refresh-") == NULL) {
		answer(r, "401 Unauthorized", "{\"error\":\"invalid session\",\"error_code\":\"InvalidSession\",\"link\":\"\"}");
		return;
	}
	pthread_mutex_lock(&mutex);
	make_token("access", 1, state->life_s, state->access, sizeof state->access);
	snprintf(body, sizeof body, "{\"access_token\":\"%s\"}", state->access);
	pthread_mutex_unlock(&mutex);
	answer(r, "201 Created", body);
}

static void
big(const struct request *r, size_t len, bool until_close)
{
	char piece[4096], size[16];

	memset(piece, 'x', sizeof piece);
	say(r, until_close ? "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" : "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
	for (size_t n; len > 0; len -= n) {
		n = len < sizeof piece ? len : sizeof piece;
		snprintf(size, sizeof size, "%zx\r\n", n);
		if (!until_close)
			say(r, size);
		put(r, piece, n);
		state->written += n;
		if (!until_close)
			say(r, "\r\n");
	}
	if (!until_close)
		say(r, "0\r\n\r\n");
}

static void
echo(const struct request *r)
{
	char head[128];

	snprintf(head, sizeof head, r->chunked ? "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%zx\r\n" : "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n",
		 r->len);
	say(r, head);
	put(r, r->body, r->len);
	if (r->chunked)
		say(r, "\r\n0\r\n\r\n");
}

static void
location(const struct request *r)
{
	char body[512];

	snprintf(body, sizeof body,
		 "{\"deployment_model\":\"LOCAL\",\"location\":\"IE\",\"hostname\":\"http%s://127.0.0.1:%u\",\"ws_hostname\":\"ws%s://127.0.0.1:%u\"}",
		 tls != NULL ? "s" : "", own_port, tls != NULL ? "s" : "", own_port);
	answer(r, "200 OK", body);
}

static bool
asks(const struct request *r, const char *method, const char *path)
{
	size_t m = strlen(method), p = strlen(path);

	return strncmp(r->head, method, m) == 0 && r->head[m] == ' ' && strncmp(r->head + m + 1, path, p) == 0;
}

/* False: the connection ends. */
static bool
serve_special(const struct request *r)
{
	char text[256];

	if (asks(r, "GET", "/big/")) {
		big(r, strtoul(r->head + strlen("GET /big/"), NULL, 10), false);
	} else if (asks(r, "GET", "/until-close")) {
		big(r, 10000, true);
		return false;
	} else if (asks(r, "GET", "/redirect")) {
		snprintf(text, sizeof text, "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:%u/there\r\nContent-Length: 0\r\n\r\n", own_port);
		say(r, text);
	} else if (asks(r, "GET", "/elsewhere")) {
		say(r, "HTTP/1.1 302 Found\r\nLocation: https://example.com/there\r\nContent-Length: 0\r\n\r\n");
	} else if (asks(r, "GET", "/both")) {
		say(r, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
	} else if (asks(r, "GET", "/broken")) {
		say(r, "HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\nabc");
		return false;
	} else if (asks(r, "POST", "/sink")) {
		snprintf(text, sizeof text, "%zu", r->len);
		answer(r, "200 OK", text);
	} else if (asks(r, "GET", "/silent")) {
		(void)read_exactly(r, text, 1); /* until the other side has enough of it */
		return false;
	} else {
		echo(r);
	}
	return true;
}

static void
portal(const struct request *r)
{
	static const char *const heads[] = { [PORTAL_401] = "401 Unauthorized",
		[PORTAL_403] = "403 Forbidden",
		[PORTAL_302] = "302 Found\r\nLocation: http://portal.example/login",
		[PORTAL_308] = "308 Permanent Redirect\r\nLocation: http://portal.example/login",
		[PORTAL_200] = "200 OK" };
	char text[256];

	snprintf(text, sizeof text, "HTTP/1.1 %s\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\nportal", heads[state->portal]);
	say(r, text);
}

static bool
serve(const struct request *r)
{
	bool app = strstr(r->head, " /api/client/v2.0/app/") != NULL;

	state->requests++;
	if (state->closes)
		return false;
	if (state->portal != PORTAL_NONE)
		portal(r);
	else if (app && strstr(r->head, "/location HTTP") != NULL)
		location(r);
	else if (app && strstr(r->head, "/login") != NULL)
		login(r);
	else if (asks(r, "POST", "/api/client/v2.0/auth/session"))
		session(r);
	else if (asks(r, "DELETE", "/api/client/v2.0/auth/session"))
		say(r, "HTTP/1.1 204 No Content\r\n\r\n");
	else if (asks(r, "GET", "/api/client/v2.0/auth/profile"))
		answer(r, "200 OK", "{\"user_id\":\"u1\",\"data\":{\"name\":\"SECRET-name\"},\"identities\":[{\"id\":\"i1\",\"provider_type\":\"local-userpass\"}]}");
	else
		return serve_special(r);
	return true;
}

static void *
connection(void *arg)
{
	struct request *r = arg;

	if (tls != NULL) {
		r->ssl = SSL_new(tls);
		SSL_set_fd(r->ssl, r->fd);
	}
	if (r->ssl == NULL || SSL_accept(r->ssl) == 1)
		while (read_request(r) && serve(r))
			;
	if (r->ssl != NULL)
		(void)SSL_shutdown(r->ssl);
	SSL_free(r->ssl);
	close(r->fd);
	free(r->body);
	free(r);
	return NULL;
}

static void
run(int fd)
{
	pthread_t thread;
	int one = 1;

	for (int client; (client = accept(fd, NULL, NULL)) >= 0;) {
		struct request *r = calloc(1, sizeof *r);

		setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
		r->fd = client;
		r->body = malloc(BODY_MAX);
		if (pthread_create(&thread, NULL, connection, r) == 0)
			pthread_detach(thread);
	}
}

static bool
load_tls(const char *certificate, const char *key)
{
	tls = certificate != NULL ? SSL_CTX_new(TLS_server_method()) : NULL;
	return certificate == NULL || (SSL_CTX_use_certificate_chain_file(tls, certificate) == 1 &&
				       SSL_CTX_use_PrivateKey_file(tls, key, SSL_FILETYPE_PEM) == 1);
}

bool
appservices_start(struct appservices *a, const char *certificate, const char *key)
{
	struct sockaddr_in sa = { .sin_family = AF_INET };
	socklen_t len = sizeof sa;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	state = mmap(NULL, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (state == MAP_FAILED || fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof sa) != 0 || listen(fd, 64) != 0 ||
	    getsockname(fd, (struct sockaddr *)&sa, &len) != 0)
		return false;
	state->life_s = 1800;
	state->refresh_life_s = 86400 * 60;
	own_port = ntohs(sa.sin_port);
	*a = (struct appservices){ .port = own_port, .state = state, .pid = fork() };
	if (a->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		signal(SIGPIPE, SIG_IGN);
		if (load_tls(certificate, key))
			run(fd);
		_exit(0);
	}
	close(fd);
	return a->pid > 0;
}

void
appservices_stop(struct appservices *a)
{
	if (a->pid > 0) {
		kill(a->pid, SIGKILL);
		waitpid(a->pid, NULL, 0);
	}
	munmap(a->state, sizeof *a->state);
	a->pid = -1;
}
