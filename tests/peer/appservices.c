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

#include "tests/peer/appservices.h"
#include "tests/peer/rawsock.h"

#define HEAD_MAX 16384
#define BODY_MAX (4 << 20)

static struct appservices_state *state;
static unsigned own_port;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

struct request {
	int fd;
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
read_head(int fd, char *head)
{
	size_t n = 0;

	while (n < HEAD_MAX - 1 && recv(fd, head + n, 1, 0) == 1) {
		head[++n] = '\0';
		if (n >= 4 && memcmp(head + n - 4, "\r\n\r\n", 4) == 0)
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
read_exactly(int fd, char *to, size_t len)
{
	return len == 0 || recv(fd, to, len, MSG_WAITALL) == (ssize_t)len;
}

static bool
read_chunks(struct request *r)
{
	char line[32], crlf[2];
	size_t n, size;

	do {
		for (n = 0; n < sizeof line - 1 && recv(r->fd, line + n, 1, 0) == 1 && line[n] != '\n'; n++)
			;
		line[n] = '\0';
		size = strtoul(line, NULL, 16);
		if (size > BODY_MAX - r->len || !read_exactly(r->fd, r->body + r->len, size) || !read_exactly(r->fd, crlf, 2))
			return false;
		r->len += size;
	} while (size > 0);
	return true;
}

static bool
read_request(struct request *r)
{
	const char *length, *coding;

	r->len = 0;
	if (!read_head(r->fd, r->head))
		return false;
	length = header(r->head, "Content-Length");
	coding = header(r->head, "Transfer-Encoding");
	r->chunked = coding != NULL;
	if (r->chunked)
		return read_chunks(r);
	r->len = length != NULL ? strtoul(length, NULL, 10) : 0;
	return r->len <= BODY_MAX && read_exactly(r->fd, r->body, r->len);
}

static void
say(int fd, const char *text)
{
	(void)rawsock_send(fd, text, strlen(text));
}

static void
answer(int fd, const char *status, const char *body)
{
	char head[256];

	snprintf(head, sizeof head, "HTTP/1.1 %s\r\nContent-Type: application/json\r\nX-Server: stand-in\r\nContent-Length: %zu\r\n\r\n", status,
		 strlen(body));
	say(fd, head);
	say(fd, body);
}

/* ---- what is asked ---- */

static void
login(int fd)
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
	answer(fd, "201 Created", body);
}

static void
session(int fd, const char *head)
{
	const char *token = header(head, "Authorization");
	char body[2048];

	state->sessions++;
	if (state->down) {
		answer(fd, "503 Service Unavailable", "{\"error\":\"later\"}");
		return;
	}
	if (state->revoked || token == NULL || strstr(token, "SECRET-refresh-") == NULL) {
		answer(fd, "401 Unauthorized", "{\"error\":\"invalid session\",\"error_code\":\"InvalidSession\",\"link\":\"\"}");
		return;
	}
	pthread_mutex_lock(&mutex);
	make_token("access", 1, state->life_s, state->access, sizeof state->access);
	snprintf(body, sizeof body, "{\"access_token\":\"%s\"}", state->access);
	pthread_mutex_unlock(&mutex);
	answer(fd, "201 Created", body);
}

static void
big(int fd, size_t len, bool until_close)
{
	char piece[4096], size[16];

	memset(piece, 'x', sizeof piece);
	say(fd, until_close ? "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" : "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
	for (size_t n; len > 0; len -= n) {
		n = len < sizeof piece ? len : sizeof piece;
		snprintf(size, sizeof size, "%zx\r\n", n);
		if (!until_close)
			say(fd, size);
		(void)rawsock_send(fd, piece, n);
		if (!until_close)
			say(fd, "\r\n");
	}
	if (!until_close)
		say(fd, "0\r\n\r\n");
}

static void
echo(const struct request *r)
{
	char head[128];

	snprintf(head, sizeof head, r->chunked ? "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%zx\r\n" : "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n",
		 r->len);
	say(r->fd, head);
	(void)rawsock_send(r->fd, r->body, r->len);
	if (r->chunked)
		say(r->fd, "\r\n0\r\n\r\n");
}

static void
location(int fd)
{
	char body[512];

	snprintf(body, sizeof body,
		 "{\"deployment_model\":\"LOCAL\",\"location\":\"IE\",\"hostname\":\"http://127.0.0.1:%u\",\"ws_hostname\":\"ws://127.0.0.1:%u\"}",
		 own_port, own_port);
	answer(fd, "200 OK", body);
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
		big(r->fd, strtoul(r->head + strlen("GET /big/"), NULL, 10), false);
	} else if (asks(r, "GET", "/until-close")) {
		big(r->fd, 10000, true);
		return false;
	} else if (asks(r, "GET", "/redirect")) {
		snprintf(text, sizeof text, "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:%u/there\r\nContent-Length: 0\r\n\r\n", own_port);
		say(r->fd, text);
	} else if (asks(r, "GET", "/elsewhere")) {
		say(r->fd, "HTTP/1.1 302 Found\r\nLocation: https://example.com/there\r\nContent-Length: 0\r\n\r\n");
	} else if (asks(r, "GET", "/both")) {
		say(r->fd, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
	} else if (asks(r, "GET", "/broken")) {
		say(r->fd, "HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\nabc");
		return false;
	} else if (asks(r, "GET", "/silent")) {
		(void)recv(r->fd, text, 1, 0); /* until the other side has enough of it */
		return false;
	} else {
		echo(r);
	}
	return true;
}

static bool
serve(const struct request *r)
{
	bool app = strstr(r->head, " /api/client/v2.0/app/") != NULL;

	state->requests++;
	if (state->portal)
		say(r->fd, "HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\nportal");
	else if (app && strstr(r->head, "/location HTTP") != NULL)
		location(r->fd);
	else if (app && strstr(r->head, "/login") != NULL)
		login(r->fd);
	else if (asks(r, "POST", "/api/client/v2.0/auth/session"))
		session(r->fd, r->head);
	else if (asks(r, "DELETE", "/api/client/v2.0/auth/session"))
		say(r->fd, "HTTP/1.1 204 No Content\r\n\r\n");
	else if (asks(r, "GET", "/api/client/v2.0/auth/profile"))
		answer(r->fd, "200 OK", "{\"user_id\":\"u1\",\"data\":{\"name\":\"SECRET-name\"},\"identities\":[{\"id\":\"i1\",\"provider_type\":\"local-userpass\"}]}");
	else
		return serve_special(r);
	return true;
}

static void *
connection(void *arg)
{
	struct request *r = arg;

	while (read_request(r) && serve(r))
		;
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

bool
appservices_start(struct appservices *a)
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
