/* Programs under test; see proc.h. Ends only what it has started, by process id. A program also dies with the scenario that
 * started it (PR_SET_PDEATHSIG), so an interrupted run leaves nothing behind.
 *
 * Every wait has a deadline. What cannot be polled (a growing log, the end of a process) is looked at every few milliseconds. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/scenario/proc.h"

#define BREATH_NS 3000000

uint64_t
proc_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void
proc_breathe(void)
{
	struct timespec t = { .tv_nsec = BREATH_NS };

	nanosleep(&t, NULL);
}

void
proc_init(struct proc *p, const char *name, const char *dir)
{
	memset(p, 0, sizeof *p);
	snprintf(p->name, sizeof p->name, "%s", name);
	p->in = p->out = -1;
	if (asprintf(&p->log, "%s/%s.log", dir, name) < 0)
		abort();
}

/* In the child: never returns. */
static void
become(const struct proc *p, int in, int out, char *const argv[])
{
	int err = open(p->log, O_WRONLY | O_CREAT | O_APPEND, 0600);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGPIPE, SIG_DFL);
	if (err >= 0 && dup2(in, 0) == 0 && dup2(out, 1) == 1 && dup2(err, 2) == 2) {
		execv(argv[0], argv);
		fprintf(stderr, "%s: %s\n", argv[0], strerror(errno));
	}
	_exit(127);
}

bool
proc_start(struct proc *p, char *const argv[])
{
	int in[2], out[2];

	if (pipe2(in, O_CLOEXEC) != 0)
		return false;
	if (pipe2(out, O_CLOEXEC) != 0) {
		close(in[0]);
		close(in[1]);
		return false;
	}
	fflush(stdout);
	p->pid = fork();
	if (p->pid == 0)
		become(p, in[0], out[1], argv);
	close(in[0]);
	close(out[1]);
	p->in = in[1];
	p->out = out[0];
	p->len = 0;
	return p->pid > 0;
}

bool
proc_say(struct proc *p, const char *line)
{
	size_t len = strlen(line);
	char buf[TEXT_MAX + 1];

	if (p->in < 0 || len >= TEXT_MAX)
		return false;
	memcpy(buf, line, len);
	buf[len++] = '\n';
	return write(p->in, buf, len) == (ssize_t)len;
}

int
proc_line(struct proc *p, char line[TEXT_MAX], uint64_t timeout_ms)
{
	uint64_t end = proc_now_ms() + timeout_ms, now;

	for (;;) {
		char *nl = memchr(p->buf, '\n', p->len);
		struct pollfd pfd = { .fd = p->out, .events = POLLIN };
		ssize_t n;

		if (nl != NULL) {
			size_t len = (size_t)(nl - p->buf);

			memcpy(line, p->buf, len);
			line[len] = '\0';
			p->len -= len + 1;
			memmove(p->buf, nl + 1, p->len);
			return (int)len;
		}
		now = proc_now_ms();
		if (p->out < 0 || p->len == sizeof p->buf)
			return PROC_GONE;
		if (now >= end || poll(&pfd, 1, (int)(end - now)) <= 0)
			return PROC_TIMEOUT;
		n = read(p->out, p->buf + p->len, sizeof p->buf - p->len);
		if (n <= 0)
			return PROC_GONE;
		p->len += (size_t)n;
	}
}

/* It has ended: lets go of its pipes. */
static void
ended(struct proc *p)
{
	p->pid = 0;
	close(p->in);
	close(p->out);
	p->in = p->out = -1;
}

bool
proc_alive(struct proc *p)
{
	if (p->pid == 0)
		return false;
	if (waitpid(p->pid, &p->status, WNOHANG) == 0)
		return true;
	ended(p);
	return false;
}

int
proc_wait(struct proc *p, uint64_t timeout_ms)
{
	uint64_t end = proc_now_ms() + timeout_ms;

	while (proc_alive(p)) {
		if (proc_now_ms() >= end)
			return PROC_TIMEOUT;
		proc_breathe();
	}
	return 0;
}

void
proc_kill(struct proc *p)
{
	if (p->pid == 0)
		return;
	kill(p->pid, SIGKILL);
	waitpid(p->pid, &p->status, 0);
	ended(p);
}

const char *
proc_state(const struct proc *p, char text[64])
{
	if (p->pid != 0)
		snprintf(text, 64, "running");
	else if (WIFSIGNALED(p->status))
		snprintf(text, 64, "signal %d", WTERMSIG(p->status));
	else
		snprintf(text, 64, "exit %d", WEXITSTATUS(p->status));
	return text;
}

/* ---- the log ---- */

/* The next complete line of f, without its end and cut at TEXT_MAX; *next: the offset behind it. False: none, or not yet whole. */
static bool
log_line(FILE *f, char line[TEXT_MAX], off_t *next)
{
	size_t len = 0;
	int c;

	while ((c = getc(f)) != '\n') {
		if (c == EOF)
			return false;
		if (len + 1 < TEXT_MAX)
			line[len++] = (char)c;
	}
	line[len] = '\0';
	*next = ftello(f);
	return true;
}

bool
proc_expect(struct proc *p, const regex_t *re, uint64_t timeout_ms, char line[TEXT_MAX])
{
	uint64_t end = proc_now_ms() + timeout_ms;
	bool last = false;

	for (;;) {
		FILE *f = fopen(p->log, "re");

		if (f != NULL) {
			bool found = false;

			fseeko(f, p->seen, SEEK_SET);
			while (!found && log_line(f, line, &p->seen))
				found = regexec(re, line, 0, NULL, 0) == 0;
			fclose(f);
			if (found)
				return true;
		}
		if (last)
			return false;
		last = !proc_alive(p) || proc_now_ms() >= end;
		proc_breathe();
	}
}

uint64_t
proc_logged(const struct proc *p, const regex_t *re, char first[TEXT_MAX])
{
	FILE *f = fopen(p->log, "re");
	char line[TEXT_MAX];
	uint64_t n = 0;
	off_t next;

	if (f == NULL)
		return 0;
	while (log_line(f, line, &next)) {
		if (regexec(re, line, 0, NULL, 0) != 0)
			continue;
		if (n++ == 0 && first != NULL)
			memcpy(first, line, TEXT_MAX);
	}
	fclose(f);
	return n;
}

bool
proc_last(const struct proc *p, char line[TEXT_MAX])
{
	FILE *f = fopen(p->log, "re");
	off_t next;
	bool any = false;

	line[0] = '\0';
	if (f == NULL)
		return false;
	while (log_line(f, line, &next))
		any = true;
	fclose(f);
	return any;
}

void
proc_skip_log(struct proc *p)
{
	struct stat st;

	if (stat(p->log, &st) == 0)
		p->seen = st.st_size;
}

bool
proc_show(const struct proc *p, const regex_t *re, unsigned lines)
{
	FILE *f = fopen(p->log, "re");
	char line[TEXT_MAX];
	unsigned shown = 0;
	off_t next;

	if (f == NULL)
		return false;
	while (shown < lines && log_line(f, line, &next)) {
		if (shown == 0 && regexec(re, line, 0, NULL, 0) != 0)
			continue;
		printf("  | %s: %s\n", p->name, line);
		shown++;
	}
	fclose(f);
	return shown != 0;
}

void
proc_tail(const struct proc *p, unsigned lines, const char *without)
{
	FILE *f = fopen(p->log, "re");
	char line[TEXT_MAX];
	unsigned n = 0, skip;

	if (f == NULL)
		return;
	while (fgets(line, sizeof line, f) != NULL)
		n += strstr(line, without) == NULL;
	skip = n > lines ? n - lines : 0;
	rewind(f);
	for (n = 0; fgets(line, sizeof line, f) != NULL;) {
		if (strstr(line, without) == NULL && n++ >= skip)
			printf("  | %s: %s%s", p->name, line, strchr(line, '\n') != NULL ? "" : "\n");
	}
	fclose(f);
}
