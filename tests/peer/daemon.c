/* Starts the daemon under test; see daemon.h.
 *
 * For: unit tests of what shows only in the whole program.  Never: looks into it; what it knows it reads from the log.
 *
 * The one idea: the log is a file, so that the daemon never waits for its reader and everything can be read again. */
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/peer/daemon.h"

#define DEADLINE_MS 10000
#define STEP_MS 5

/* The folder of the running test, obj/tests/unit in the build folder, and what lies so relative to it. */
static const char *
beside_test(const char *relative, char path[static PATH_MAX + 64])
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);

	self[n > 0 ? n : 0] = '\0';
	if (strrchr(self, '/') != NULL)
		*strrchr(self, '/') = '\0';
	snprintf(path, PATH_MAX + 64, "%s/%s", self, relative);
	return path;
}

/* In HOLDFAST_BIN, else in the build folder. */
static const char *
find_program(const char *name)
{
	static char path[PATH_MAX + 64];
	const char *bin = getenv("HOLDFAST_BIN");
	char relative[64];

	if (bin != NULL) {
		snprintf(path, sizeof path, "%s/%s", bin, name);
		return path;
	}
	snprintf(relative, sizeof relative, "../../../%s", name);
	return beside_test(relative, path);
}

static const char *
program(void)
{
	return find_program("holdfast");
}

const char *
daemon_ctl(void)
{
	return find_program("holdfastctl");
}

bool
daemon_is_built(void)
{
	return access(program(), X_OK) == 0;
}

static void
breathe(void)
{
	struct timespec ts = { 0, STEP_MS * 1000000L };

	nanosleep(&ts, NULL);
}

static bool
write_config(const struct daemon *d, const char *config)
{
	char path[512];
	FILE *f;
	bool ok;

	snprintf(path, sizeof path, "%s/holdfast.ini", d->dir);
	f = fopen(path, "we");
	ok = f != NULL && fprintf(f, "[holdfast]\nuser = root\nstate_dir = %s/state\n[listener]\naddress = 127.0.0.1:0\n%s", d->dir, config) > 0;
	return (f == NULL || fclose(f) == 0) && ok;
}

bool
daemon_also(const char *dir, const char *lines)
{
	char path[512];
	FILE *f;
	bool ok;

	snprintf(path, sizeof path, "%s/conf.d", dir);
	(void)mkdir(path, 0700);
	snprintf(path, sizeof path, "%s/conf.d/also.ini", dir);
	f = fopen(path, "we");
	ok = f != NULL && fputs(lines, f) >= 0;
	return (f == NULL || fclose(f) == 0) && ok;
}

static FILE *
open_log(const struct daemon *d)
{
	char path[512];

	snprintf(path, sizeof path, "%s/log", d->dir);
	return fopen(path, "re");
}

/* variable NULL: the program itself; else the one of that name, in small letters, which has its orders from there. */
static void
exec_daemon(const struct daemon *d, const char *variable, const char *orders)
{
	bool on_disk = variable != NULL && strcmp(variable, "BADDISK") == 0;
	char ini[512], log[512], bad[PATH_MAX + 64];
	int fd;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	snprintf(ini, sizeof ini, "%s/holdfast.ini", d->dir);
	snprintf(log, sizeof log, "%s/log", d->dir);
	fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
	if (fd >= 0 && dup2(fd, STDERR_FILENO) >= 0) {
		close(fd);
		if (variable != NULL)
			setenv(variable, orders, 1);
		execl(variable == NULL ? program() : beside_test(on_disk ? "../baddisk/baddisk" : "../badhost/badhost", bad), "holdfast", "-c", ini,
		      (char *)NULL);
	}
	_exit(127);
}

static bool
start(struct daemon *d, const char *dir, const char *config, const char *variable, const char *orders)
{
	const char *line;

	memset(d, 0, sizeof *d);
	d->pid = -1;
	snprintf(d->dir, sizeof d->dir, "%s", dir);
	if (!write_config(d, config))
		return false;
	fflush(NULL);
	d->pid = fork();
	if (d->pid == 0)
		exec_daemon(d, variable, orders);
	line = d->pid > 0 ? daemon_logged(d, "event=listening ") : NULL;
	if (line != NULL && sscanf(strrchr(line, ':'), ":%u", &d->port) == 1)
		return true;
	daemon_stop(d);
	return false;
}

bool
daemon_start(struct daemon *d, const char *dir, const char *config)
{
	return start(d, dir, config, NULL, NULL);
}

bool
daemon_start_with(struct daemon *d, const char *dir, const char *config, const char *orders)
{
	return start(d, dir, config, orders != NULL ? "BADHOST" : NULL, orders);
}

bool
daemon_start_on(struct daemon *d, const char *dir, const char *config, const char *disk)
{
	return start(d, dir, config, "BADDISK", disk);
}

static bool
find_line(struct daemon *d, const char *text)
{
	FILE *f = open_log(d);
	bool found = false;

	while (f != NULL && !found && fgets(d->line, sizeof d->line, f) != NULL)
		found = strstr(d->line, text) != NULL && strchr(d->line, '\n') != NULL;
	if (f != NULL)
		fclose(f);
	return found;
}

static void
show_log(const struct daemon *d)
{
	FILE *f = open_log(d);
	char line[2048];

	while (f != NULL && fgets(line, sizeof line, f) != NULL)
		printf("# %s", line);
	if (f != NULL)
		fclose(f);
}

const char *
daemon_logged(struct daemon *d, const char *text)
{
	for (int waited = 0; waited < DEADLINE_MS; waited += STEP_MS) {
		bool over = d->pid > 0 && waitpid(d->pid, NULL, WNOHANG) == d->pid;

		if (over)
			d->pid = -1;
		if (find_line(d, text))
			return d->line;
		if (d->pid < 0)
			break;
		breathe();
	}
	printf("# not in the log: %s\n", text);
	show_log(d);
	return NULL;
}

unsigned
daemon_count(const struct daemon *d, const char *text)
{
	FILE *f = open_log(d);
	char line[2048];
	unsigned n = 0;

	while (f != NULL && fgets(line, sizeof line, f) != NULL)
		n += strstr(line, text) != NULL;
	if (f != NULL)
		fclose(f);
	return n;
}

size_t
daemon_peak(const struct daemon *d)
{
	char path[64], line[256];
	unsigned long kib = 0;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/status", (int)d->pid);
	f = fopen(path, "re");
	while (f != NULL && fgets(line, sizeof line, f) != NULL)
		(void)sscanf(line, "VmHWM: %lu", &kib);
	if (f != NULL)
		fclose(f);
	return kib * 1024;
}

bool
daemon_stop(struct daemon *d)
{
	int status = -1, waited = 0;

	if (d->pid < 0)
		return false;
	kill(d->pid, SIGTERM);
	while (waitpid(d->pid, &status, WNOHANG) == 0) {
		if ((waited += STEP_MS) == DEADLINE_MS)
			kill(d->pid, SIGKILL);
		breathe();
	}
	d->pid = -1;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return true;
	show_log(d);
	return false;
}

void
daemon_kill(struct daemon *d)
{
	if (d->pid < 0)
		return;
	kill(d->pid, SIGKILL);
	waitpid(d->pid, NULL, 0);
	d->pid = -1;
}
