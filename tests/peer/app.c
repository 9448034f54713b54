/* See app.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/peer/app.h"
#include "tests/peer/rawsock.h"

#define BODY_MAX (3 << 20)

struct app app;

const char *
app_header(const char *name)
{
	const char *line = app.head;
	size_t n = strlen(name);

	while ((line = strstr(line, "\r\n")) != NULL) {
		line += 2;
		if (strncasecmp(line, name, n) == 0 && line[n] == ':')
			return line + n + 1 + strspn(line + n + 1, " ");
	}
	return NULL;
}

bool
app_header_is(const char *name, const char *begin)
{
	const char *value = app_header(name);

	return value != NULL && strncmp(value, begin, strlen(begin)) == 0;
}

static bool
read_line(int fd, char *line, size_t size)
{
	for (size_t n = 0; n < size - 1 && recv(fd, line + n, 1, 0) == 1; n++)
		if (line[n] == '\n') {
			line[n + 1] = '\0';
			return true;
		}
	return false;
}

static bool
read_exactly(int fd, size_t len)
{
	if (app.len + len >= BODY_MAX || (len > 0 && recv(fd, app.body + app.len, len, MSG_WAITALL) != (ssize_t)len))
		return false;
	app.len += len;
	return true;
}

static bool
read_chunks(int fd)
{
	char line[64];
	size_t size;

	do {
		if (!read_line(fd, line, sizeof line))
			return false;
		size = strtoul(line, NULL, 16);
		if (!read_exactly(fd, size) || !read_line(fd, line, sizeof line))
			return false;
	} while (size > 0);
	return true;
}

static void
read_head(int fd)
{
	size_t n = 0;

	app.head[0] = '\0';
	while (n < sizeof app.head - 1 && recv(fd, app.head + n, 1, 0) == 1) {
		app.head[++n] = '\0';
		if (n >= 4 && memcmp(app.head + n - 4, "\r\n\r\n", 4) == 0)
			break;
	}
}

bool
app_read(int fd)
{
	const char *length;
	bool whole;

	if (app.body == NULL)
		app.body = malloc(BODY_MAX);
	app.status = 0;
	app.len = 0;
	read_head(fd);
	if (sscanf(app.head, "HTTP/1.1 %u", &app.status) != 1)
		return false;
	length = app_header("Content-Length");
	whole = (length == NULL || read_exactly(fd, strtoul(length, NULL, 10))) && (app_header("Transfer-Encoding") == NULL || read_chunks(fd));
	app.body[app.len] = '\0';
	return whole;
}

unsigned
app_ask_on(int fd, const char *method, const char *path, const char *token, const char *body)
{
	char head[8192];
	int n = snprintf(head, sizeof head, "%s %s HTTP/1.1\r\nHost: edge:1\r\n%s%s%sContent-Length: %zu\r\n\r\n", method, path,
			 token != NULL ? "Authorization: Bearer " : "", token != NULL ? token : "", token != NULL ? "\r\n" : "", strlen(body));

	return rawsock_send(fd, head, (size_t)n) && rawsock_send(fd, body, strlen(body)) && app_read(fd) ? app.status : 0;
}

unsigned
app_ask(const char *method, const char *path, const char *token, const char *body)
{
	int fd = rawsock_connect(app.port, NULL);
	unsigned status = fd >= 0 ? app_ask_on(fd, method, path, token, body) : 0;

	close(fd);
	return status;
}

/* The value of a string member of the answer. */
static bool
member(const char *name, char *out)
{
	char key[64];
	const char *at;
	size_t n;

	snprintf(key, sizeof key, "\"%s\":\"", name);
	at = strstr(app.body, key);
	n = at != NULL ? strcspn(at + strlen(key), "\"") : APP_TOKEN_MAX;
	if (n >= APP_TOKEN_MAX)
		return false;
	memcpy(out, at + strlen(key), n);
	out[n] = '\0';
	return true;
}

bool
app_log_in(void)
{
	return app_ask("POST", APP_PATH "/auth/providers/local-userpass/login", NULL, "{\"username\":\"a\",\"password\":\"SECRET-password\"}") == 201 &&
	       member("access_token", app.access) && member("refresh_token", app.refresh);
}

unsigned
app_renew(void)
{
	unsigned status = app_ask("POST", APP_SESSION, app.refresh, "");

	return status == 201 && !member("access_token", app.own) ? 0 : status;
}

unsigned
app_upgrade(const char *token)
{
	char headers[APP_TOKEN_MAX + 64];
	int fd = rawsock_connect(app.port, NULL);
	unsigned status;

	snprintf(headers, sizeof headers, "Authorization: Bearer %s\r\n", token);
	status = rawsock_upgrade(fd, APP_PATH "/realm-sync", headers);
	close(fd);
	return status;
}
