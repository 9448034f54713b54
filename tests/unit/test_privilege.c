/* Tests what is left of what the process may do: of the whole daemon as the kernel shows it, and, in children of the test, what opening files
 * and binding ports says afterwards. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/harness.h"
#include "tests/peer/daemon.h"
#include "tests/peer/rawsock.h"

#include "protocol/ws.h"

#include "relay/log.h"
#include "relay/section.h"
#include "relay/privilege.h"

/* The value of a line "Name:\tvalue" of a file of /proc, or of limits; "" when it is not there. */
static const char *
line_of(const char *path, const char *name)
{
	static char line[512];
	FILE *f = fopen(path, "re");
	bool found = false;

	while (f != NULL && !found && fgets(line, sizeof line, f) != NULL)
		found = strncmp(line, name, strlen(name)) == 0;
	if (f != NULL)
		fclose(f);
	if (!found)
		return "";
	line[strcspn(line, "\n")] = '\0';
	return line + strlen(name) + strspn(line + strlen(name), " \t");
}

static void
check_thread(const char *status)
{
	CHECK_STR(line_of(status, "CapInh:"), "0000000000000000");
	CHECK_STR(line_of(status, "CapPrm:"), "0000000000000000");
	CHECK_STR(line_of(status, "CapEff:"), "0000000000000000");
	CHECK_STR(line_of(status, "CapAmb:"), "0000000000000000");
	if (geteuid() == 0)
		CHECK_STR(line_of(status, "CapBnd:"), "0000000000000000");
	CHECK_STR(line_of(status, "NoNewPrivs:"), "1");
}

static void
check_threads(int pid)
{
	char path[300];
	unsigned n = 0;
	struct dirent *e;
	DIR *d;

	snprintf(path, sizeof path, "/proc/%d/task", pid);
	d = opendir(path);
	CHECK(d != NULL);
	while ((e = readdir(d)) != NULL && !harness_failed()) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof path, "/proc/%d/task/%.20s/status", pid, e->d_name);
		check_thread(path);
		n++;
	}
	closedir(d);
	CHECK(n >= 3); /* the loop, the committer, the deflater */
}

TEST(the_daemon_keeps_nothing)
{
	struct daemon d;
	char path[64];

	if (HARNESS_TSAN)
		SKIP("ThreadSanitizer's own thread keeps its capabilities");
	if (!daemon_is_built())
		SKIP("the daemon is not built");
	CHECK(daemon_start(&d, harness_tmpdir(), "[upstream]\nurl = ws://127.0.0.1:1\n"));
	CHECK(daemon_logged(&d, "event=status") != NULL);
	check_threads(d.pid);
	snprintf(path, sizeof path, "/proc/%d/status", d.pid);
	CHECK_STR(line_of(path, "Umask:"), "0077");
	snprintf(path, sizeof path, "/proc/%d/limits", d.pid);
	CHECK(strncmp(line_of(path, "Max core file size"), "0 ", 2) == 0);
	CHECK(daemon_stop(&d));
}

/* ---- in children ---- */

static char dir[300]; /* the test's: etc/ with a configuration, state/ and other/ */
static struct sections all;
static struct options *o; /* of its global section */

static void
lay_out(const char *user)
{
	char path[400];

	snprintf(dir, sizeof dir, "%s", harness_tmpdir());
	sections_init(&all);
	o = &sections_global(&all)->opt;
	free(o->state_dir);
	free(o->user);
	o->user = strdup(user);
	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof path, "%s/%s", dir, i == 0 ? "etc" : "other");
		CHECK(mkdir(path, 0755) == 0);
		snprintf(path, sizeof path, "%s/%s/file", dir, i == 0 ? "etc" : "other");
		CHECK(close(open(path, O_WRONLY | O_CREAT, 0644)) == 0);
	}
	snprintf(path, sizeof path, "%s/state", dir);
	o->state_dir = strdup(path);
	CHECK(chmod(dir, 0777) == 0);
	snprintf(path, sizeof path, "%s/..", dir); /* private to who runs the test, which may be root */
	CHECK(chmod(path, 0711) == 0);
}

/* Drops privileges in a child and returns what check says there (0: well). */
static int
child_says(int (*check)(void))
{
	char config[400];
	int status = -1;
	pid_t pid;

	snprintf(config, sizeof config, "%s/etc/file", dir);
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		log_set_level(LOG_ERROR);
		privilege_begin();
		privilege_drop(&all, config);
		_exit(check());
	}
	waitpid(pid, &status, 0);
	sections_free(&all);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000;
}

static bool
opens(const char *name, int flags)
{
	char path[400];
	int fd;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	fd = open(path, flags, 0600);
	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static int
check_files(void)
{
	char from[400], to[400];

	if (!opens("state/new", O_WRONLY | O_CREAT | O_TRUNC) || !opens("etc/file", O_RDONLY))
		return 1;
	snprintf(from, sizeof from, "%s/state/sub", dir);
	if (mkdir(from, 0700) != 0)
		return 2;
	snprintf(from, sizeof from, "%s/state/new", dir);
	snprintf(to, sizeof to, "%s/state/sub/new", dir);
	if (rename(from, to) != 0 || unlink(to) != 0)
		return 3;
	if (opens("etc/file", O_WRONLY) || errno != EACCES || opens("etc/new", O_WRONLY | O_CREAT))
		return 4;
	if (opens("other/file", O_RDONLY) || errno != EACCES || opens("other/new", O_WRONLY | O_CREAT))
		return 5;
	return access("/etc/passwd", R_OK) == 0 && fopen("/etc/passwd", "re") != NULL ? 0 : 6;
}

static int
is_locked(void)
{
	return opens("other/file", O_RDONLY) ? 1 : 0;
}

TEST(files_that_can_be_opened)
{
	lay_out("root");
	if (child_says(is_locked) != 0)
		SKIP("the kernel has no Landlock");
	lay_out("root");
	CHECK_U64(child_says(check_files), 0);
}

static int
is_open(void)
{
	return opens("other/file", O_RDONLY) && opens("state/new", O_WRONLY | O_CREAT) ? 0 : 1;
}

TEST(without_a_sandbox)
{
	lay_out("root");
	o->sandbox = false;
	CHECK_U64(child_says(is_open), 0);
}

/* Binds a port below 1024 that nobody has; EACCES, or 0. */
static int
bind_low(void)
{
	for (uint16_t port = 1023; port > 512; port--) {
		struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), err = bind(fd, (struct sockaddr *)&sa, sizeof sa) == 0 ? 0 : errno;

		close(fd);
		if (err == 0 || err == EACCES)
			return err;
	}
	return EADDRINUSE;
}

static int
check_user(void)
{
	struct stat st;

	if (getuid() == 0 || geteuid() == 0 || getgid() == 0 || setuid(0) == 0)
		return 1;
	if (stat(o->state_dir, &st) != 0 || st.st_uid != geteuid() || (st.st_mode & 0777) != 0700)
		return 2;
	if (bind_low() != 0) /* the one thing left */
		return 3;
	privilege_end();
	return bind_low() == EACCES ? 0 : 4;
}

TEST(root_becomes_the_user)
{
	if (geteuid() != 0)
		SKIP("only root can become somebody else");
	lay_out("nobody");
	CHECK_U64(child_says(check_user), 0);
}

static int
never(void)
{
	return 0;
}

TEST(user_that_is_none)
{
	if (geteuid() != 0)
		SKIP("only root can become somebody else");
	lay_out("no-such-user-here");
	CHECK_U64(child_says(never), 1);
}

/* ---- secrets in memory ---- */

/* How often text stands in the writable memory of pid; -1: it cannot be read. */
static int
memory_holds(int pid, const char *text)
{
	static char buf[1 << 20];
	char path[64], line[512], perms[8];
	unsigned long from, to;
	int found = 0, mem;
	FILE *maps;

	snprintf(path, sizeof path, "/proc/%d/mem", pid);
	mem = open(path, O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof path, "/proc/%d/maps", pid);
	maps = fopen(path, "re");
	while (mem >= 0 && maps != NULL && fgets(line, sizeof line, maps) != NULL) {
		if (sscanf(line, "%lx-%lx %7s", &from, &to, perms) != 3 || perms[1] != 'w')
			continue;
		for (unsigned long at = from; at < to; at += sizeof buf / 2) { /* halves, so that nothing is cut in two */
			ssize_t n = pread(mem, buf, to - at < sizeof buf ? to - at : sizeof buf, (off_t)at);
			char *hit = n > 0 ? memmem(buf, (size_t)n, text, strlen(text)) : NULL;

			found += hit != NULL && hit < buf + sizeof buf / 2;
		}
	}
	if (maps != NULL)
		fclose(maps);
	if (mem >= 0)
		close(mem);
	return mem >= 0 ? found : -1;
}

/* A token in a header, in the target, and in BIND and REFRESH, whole and in pieces: when the clients have left, no memory holds it. */
TEST(tokens_are_wiped)
{
	static const char in_header[] = "SECRET-in-the-header", in_target[] = "SECRET-in-the-target", in_bind[] = "SECRET-in-the-bind",
			  half[] = "GET /p HTTP/1.1\r\nAuthorization: SECRET-in-a-half\r\n";
	char body[64], target[64], header[64];
	struct daemon d;
	int fd, cut;

	if (HARNESS_SANITIZED)
		SKIP("a sanitizer keeps what is freed");
	if (!daemon_is_built())
		SKIP("the daemon is not built");
	CHECK(daemon_start(&d, harness_tmpdir(), "offline_admit = any\n[upstream]\nurl = ws://127.0.0.1:1\n"));
	CHECK(daemon_logged(&d, "state=down") != NULL);
	fd = rawsock_connect(d.port, NULL);
	cut = rawsock_connect(d.port, NULL);
	CHECK(rawsock_send(cut, half, strlen(half)));
	snprintf(target, sizeof target, "/p?baas_at=%s", in_target);
	snprintf(header, sizeof header, "Authorization: Bearer %s\r\n", in_header);
	CHECK_U64(rawsock_upgrade(fd, target, header), 101);
	snprintf(body, sizeof body, "/p%s", in_bind);
	CHECK(rawsock_message(fd, "bind 1 2 18 0 0", body, 20, 0));
	CHECK(rawsock_message(fd, "ping 7 0", "", 0, 0) && rawsock_await(fd, "pong 7"));
	if (memory_holds(d.pid, in_bind) < 0) {
		close(fd), close(cut);
		CHECK(daemon_stop(&d));
		SKIP("the memory of another process cannot be read here");
	}
	CHECK(memory_holds(d.pid, in_bind) > 0); /* the search finds what is there */
	close(fd), close(cut);
	CHECK(daemon_logged(&d, "event=conn_closed conn=1 ") != NULL && daemon_logged(&d, "event=conn_closed conn=2 ") != NULL);
	fd = rawsock_connect(d.port, NULL); /* and once around the loop */
	CHECK_U64(rawsock_upgrade(fd, "/p", ""), 101);
	CHECK_U64(memory_holds(d.pid, in_header), 0);
	CHECK_U64(memory_holds(d.pid, in_target), 0);
	CHECK_U64(memory_holds(d.pid, in_bind), 0);
	CHECK_U64(memory_holds(d.pid, "SECRET-in-a-half"), 0);
	close(fd);
	CHECK(daemon_stop(&d));
}

/* A frame with these bytes, masked with zeros. */
static bool
send_frame(int fd, bool fin, enum ws_opcode opcode, const char *bytes, size_t len)
{
	static const uint8_t mask[4];
	uint8_t head[WS_HEAD_MAX];

	return rawsock_send(fd, head, ws_format_head(head, WS_CLIENT, fin, opcode, len, mask)) && rawsock_send(fd, bytes, len);
}

/* A BIND whose token is longer than any can be, in pieces: it is refused at the first by which it shows, and no memory that it grew through holds it. */
TEST(tokens_too_long_are_wiped)
{
	static const char secret[] = "SECRET-and-far-too-long", head[] = "bind 1 2 20000 0 0\n/p";
	static char text[3000];
	struct daemon d;
	int fd;

	if (HARNESS_SANITIZED)
		SKIP("a sanitizer keeps what is freed");
	if (!daemon_is_built())
		SKIP("the daemon is not built");
	CHECK(daemon_start(&d, harness_tmpdir(), "offline_admit = any\n[upstream]\nurl = ws://127.0.0.1:1\n"));
	CHECK(daemon_logged(&d, "state=down") != NULL);
	if (memory_holds(d.pid, secret) < 0) {
		CHECK(daemon_stop(&d));
		SKIP("the memory of another process cannot be read here");
	}
	memset(text, 'x', sizeof text);
	memcpy(text + sizeof text / 2, secret, strlen(secret)); /* the allocator writes over the beginning of what is freed */
	fd = rawsock_connect(d.port, NULL); /* one frame, of which this comes */
	CHECK_U64(rawsock_upgrade(fd, "/p", ""), 101);
	CHECK(rawsock_message(fd, "bind 1 2 20000 0 0", text, sizeof text, 20021));
	CHECK(rawsock_await(fd, "error 104 "));
	close(fd);
	fd = rawsock_connect(d.port, NULL); /* fragments: only the second makes it too long */
	CHECK_U64(rawsock_upgrade(fd, "/p", ""), 101);
	CHECK(send_frame(fd, false, WS_BINARY, head, 3) && send_frame(fd, false, WS_CONTINUATION, head + 3, strlen(head) - 3));
	CHECK(send_frame(fd, false, WS_CONTINUATION, text, sizeof text));
	CHECK(send_frame(fd, false, WS_CONTINUATION, text, sizeof text));
	CHECK(rawsock_await(fd, "error 104 "));
	close(fd);
	CHECK(daemon_logged(&d, "event=conn_closed conn=1 ") != NULL && daemon_logged(&d, "event=conn_closed conn=2 ") != NULL);
	fd = rawsock_connect(d.port, NULL); /* and once around the loop */
	CHECK_U64(rawsock_upgrade(fd, "/p", ""), 101);
	CHECK_U64(memory_holds(d.pid, secret), 0);
	close(fd);
	CHECK(daemon_stop(&d));
}
