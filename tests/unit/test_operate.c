/* Tests what an operator's machine relies on, on a daemon of its own: log file and rotation, status file, the socket's group; and relay/stop. */
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/peer/daemon.h"

#include "relay/clock.h"
#include "relay/json.h"
#include "relay/stop.h"

static struct daemon d;
static const char *dir; /* of the test under way */

static const char *
in_dir(const char *name)
{
	static char path[2][500];
	static int turn;

	turn = !turn;
	snprintf(path[turn], sizeof(path[turn]), "%s/%s", dir, name);
	return path[turn];
}

static bool
also(const char *group)
{
	char lines[2500];

	dir = harness_tmpdir();
	snprintf(lines, sizeof(lines), "[holdfast]\nstatus_interval = 100ms\nlog_file = %s/log\nstatus_file = %s/status.json\ncontrol = %s/socket\n"
		 "control_group = %s\n", dir, dir, dir, group);
	return daemon_also(dir, lines);
}

/* The status file: always whole, whenever it is looked at. */
static void
check_status_file(void)
{
	char text[8192];
	struct json_object o;
	struct stat st;
	ssize_t n;
	int fd;

	for (int i = 0; access(in_dir("status.json"), R_OK) != 0 && i < 1000; i++) /* it comes after its first line */
		usleep(10000);
	for (int i = 0; i < 200; i++) {
		fd = open(in_dir("status.json"), O_RDONLY | O_CLOEXEC);
		CHECK(fd >= 0);
		CHECK(fstat(fd, &st) == 0 && (st.st_mode & 07777) == 0644);
		n = read(fd, text, sizeof(text) - 1);
		close(fd);
		text[n > 0 ? n : 0] = '\0';
		CHECK(json_parse(text, &o));
		CHECK_U64(json_get_u64(&o, "pid"), (uint64_t)d.pid);
		CHECK(json_get(&o, "link") != NULL && json_get(&o, "backlog_records") != NULL && json_get_u64(&o, "time_ms") > 0);
	}
}

TEST(files)
{
	const struct group *g = getgrgid(getegid());
	struct stat st;

	if (!daemon_is_built())
		SKIP("holdfast is not built here");
	if (g == NULL)
		SKIP("our group has no name");
	CHECK(also(g->gr_name));
	CHECK(daemon_start(&d, dir, "[upstream]\nurl = ws://127.0.0.1:1\n"));
	CHECK(daemon_logged(&d, "event=status ") != NULL);
	check_status_file();
	CHECK(stat(in_dir("socket"), &st) == 0 && (st.st_mode & 07777) == 0660 && st.st_gid == getegid());

	CHECK(rename(in_dir("log"), in_dir("log.1")) == 0);
	CHECK(kill(d.pid, SIGUSR1) == 0);
	CHECK(daemon_logged(&d, "event=log_opened by=signal") != NULL);
	CHECK(daemon_logged(&d, "event=status ") != NULL);
	CHECK(stat(in_dir("log"), &st) == 0 && (st.st_mode & 07777 & ~0640U) == 0);
	CHECK(daemon_stop(&d));
	CHECK_U64(daemon_count(&d, "event=stopped"), 1);
	CHECK(stat(in_dir("status.json"), &st) != 0 && stat(in_dir("status.json.new"), &st) != 0);
}

/* A group that there is not: said, and the socket stays its owner's. */
TEST(no_such_group)
{
	struct stat st;

	if (!daemon_is_built())
		SKIP("holdfast is not built here");
	CHECK(also("no-such-group-here"));
	CHECK(daemon_start(&d, dir, "[upstream]\nurl = ws://127.0.0.1:1\n"));
	CHECK(daemon_logged(&d, "event=control_group group=no-such-group-here reason=\"there is no such group\"") != NULL);
	CHECK(stat(in_dir("socket"), &st) == 0 && (st.st_mode & 07777) == 0600);
	CHECK(daemon_stop(&d));
}

TEST(stop_within_ends_what_hangs)
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), STDERR_FILENO);
		stop_within(20);
		for (;;)
			pause();
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 1);
}
