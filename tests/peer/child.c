/* Starts a peer program and talks to it by lines; see child.h.
 *
 * For: unit tests of the peer programs.  Never: parses what is said.
 *
 * The one idea: everything blocks with a deadline (poll), because the program under test answers at once or is broken. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/prctl.h>
#include <sys/wait.h>

#include "tests/peer/child.h"

#define DEADLINE_MS 10000
#define ARGS_MAX 16

struct child {
	pid_t pid;
	int in, out;	 /* its stdin, our end; its stdout, our end */
	char buf[65536]; /* buf[0..len): read; the first line of it was given out, given bytes long */
	size_t len, given;
};

/* The folder that holds tests/: the running test is tests/unit/test_x. */
static bool
program_path(const char *name, char *path, size_t size)
{
	char self[512];
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
	char *slash;

	if (n <= 0)
		return false;
	self[n] = '\0';
	slash = strrchr(self, '/');
	*slash = '\0';
	return (size_t)snprintf(path, size, "%s/../%s/%s", self, name, name) < size;
}

struct child *
child_start(const char *name, const char *const args[])
{
	struct child *c = calloc(1, sizeof *c);
	int in[2] = { -1, -1 }, out[2] = { -1, -1 };
	char path[1024], *argv[ARGS_MAX];
	size_t n;

	for (n = 0; n + 2 < ARGS_MAX && args[n] != NULL; n++)
		argv[n + 1] = strdup(args[n]);
	argv[n + 1] = NULL;
	argv[0] = path;
	if (c == NULL || !program_path(name, path, sizeof path) || access(path, X_OK) != 0 || pipe(in) != 0 || pipe(out) != 0)
		goto fail;
	signal(SIGPIPE, SIG_IGN);
	fflush(NULL);
	c->pid = fork();
	if (c->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (dup2(in[0], STDIN_FILENO) >= 0 && dup2(out[1], STDOUT_FILENO) >= 0) {
			close(in[0]), close(in[1]), close(out[0]), close(out[1]);
			execv(path, argv);
		}
		_exit(127);
	}
	if (c->pid < 0)
		goto fail;
	close(in[0]);
	close(out[1]);
	c->in = in[1];
	c->out = out[0];
	for (; n > 0; n--)
		free(argv[n]);
	return c;
fail:
	for (; n > 0; n--)
		free(argv[n]);
	close(in[0]), close(in[1]), close(out[0]), close(out[1]);
	free(c);
	return NULL;
}

const char *
child_line(struct child *c)
{
	struct pollfd pfd = { .fd = c->out, .events = POLLIN };
	char *end;
	ssize_t n;

	c->len -= c->given;
	memmove(c->buf, c->buf + c->given, c->len);
	c->given = 0;
	while ((end = memchr(c->buf, '\n', c->len)) == NULL) {
		if (c->len == sizeof c->buf || poll(&pfd, 1, DEADLINE_MS) <= 0)
			return NULL;
		n = read(c->out, c->buf + c->len, sizeof c->buf - c->len);
		if (n <= 0)
			return NULL;
		c->len += (size_t)n;
	}
	*end = '\0';
	c->given = (size_t)(end + 1 - c->buf);
	return c->buf;
}

const char *
child_ask(struct child *c, const char *fmt, ...)
{
	char line[4096];
	const char *answer;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof line - 1, fmt, ap);
	va_end(ap);
	line[n++] = '\n';
	if (write(c->in, line, (size_t)n) != n)
		return NULL;
	do
		answer = child_line(c);
	while (answer != NULL && answer[0] == '*');
	return answer;
}

bool
child_stop(struct child *c)
{
	struct pollfd pfd = { .fd = c->out, .events = POLLIN };
	int status = -1;

	(void)!write(c->in, "quit\n", 5);
	close(c->in);
	while (poll(&pfd, 1, DEADLINE_MS) > 0 && read(c->out, c->buf, sizeof c->buf) > 0)
		;
	close(c->out);
	/* its output has ended, so it is about to; if not, it is stuck */
	if (pfd.revents == 0)
		kill(c->pid, SIGKILL);
	waitpid(c->pid, &status, 0);
	free(c);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

void
child_kill(struct child *c)
{
	kill(c->pid, SIGKILL);
	waitpid(c->pid, NULL, 0);
	close(c->in);
	close(c->out);
	free(c);
}
