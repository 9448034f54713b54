/* The client program, driven through its stdin as scenarios drive it, against a server of this test's own that does the least a
 * server must: idents, an acknowledging DOWNLOAD per IDENT and UPLOAD, MARK, UNBOUND, PONG; no changes are handed to others.
 * Each test says by struct manners how the server is to misbehave. The program is looked for below HOLDFAST_BIN. */
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/socket.h>
#include <sys/wait.h>

#include <event2/buffer.h>
#include <event2/event.h>

#include "protocol/message.h"
#include "protocol/zbody.h"

#include "tests/harness.h"
#include "tests/peer/wsio.h"

#define DEADLINE_S 20
#define FILES_MAX 512
#define SEEN_MAX 8192

struct fake_file { /* what the server knows of a client file; its ident is the index + 1 */
	uint64_t client_version, server_version; /* integrated, and the newest */
	uint64_t entries, crossed; /* changesets taken; entries or progress that came twice or out of order */
};

struct manners {
	bool mute_mark, mute_pong, mute_upload;
	unsigned refuse;	 /* HTTP status for upgrades */
	const char *on_upload;	 /* sent instead of the acknowledgement, '|' where the LF is */
};

struct fake {
	struct event_base *base;
	struct event *accept;
	unsigned port;
	struct wsio *last; /* the connection that said something last */
	size_t nopen;
	struct fake_file file[FILES_MAX];
	size_t nfile;
	struct manners manners;
	char seen[SEEN_MAX]; /* the names of all messages received, and the numbers of some */
	size_t seen_len;
	/* the client program */
	pid_t pid;
	int to, from;
	struct event *answer_ev;
	struct evbuffer *answers;
	char answer[2048];
};

struct peer { /* one connection */
	uint64_t file[64]; /* the file ident by session ident */
	bool failed[64];   /* an error was sent: nothing more for this session until it is bound again */
};

static struct fake fake;

static void
note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static void
note(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (fake.seen_len < SEEN_MAX)
		fake.seen_len += (size_t)vsnprintf(fake.seen + fake.seen_len, SEEN_MAX - fake.seen_len, fmt, ap);
	va_end(ap);
}

static void
answer(struct wsio *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void
answer(struct wsio *w, const char *fmt, ...)
{
	char text[512];
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	for (int i = 0; i < len; i++)
		if (text[i] == '|')
			text[i] = '\n';
	wsio_send(w, text, (size_t)len, NULL, 0);
}

static void
acknowledge(struct wsio *w, uint64_t session, const struct fake_file *f)
{
	answer(w, "download %lu %lu %lu %lu %lu %lu 0 0 0 0 0|", session, f->server_version, f->client_version, f->server_version,
	       f->server_version > 0 ? 77ul : 0ul, f->client_version);
}

static void
take_upload(struct wsio *w, const struct message *m, struct view body, struct fake_file *f)
{
	struct view rest = body;
	uint8_t *plain = NULL;
	struct upload_entry e;

	if (m->upload.is_compressed) {
		plain = malloc(m->upload.uncompressed_size + 1);
		CHECK(zbody_inflate(body.ptr, body.len, plain, m->upload.uncompressed_size) == PROTO_OK);
		rest = (struct view){ plain, m->upload.uncompressed_size };
	}
	while (upload_entry_next(&rest, &e) == PROTO_OK) {
		if (e.client_version <= f->client_version) {
			f->crossed++;
			continue;
		}
		f->client_version = e.client_version;
		f->entries++;
		f->server_version++;
	}
	free(plain);
	if (m->upload.progress_client_version < f->client_version)
		f->crossed++;
	else
		f->client_version = m->upload.progress_client_version;
	if (fake.manners.on_upload != NULL)
		answer(w, "%s", fake.manners.on_upload);
	else if (m->upload.uncompressed_size > 0) /* as real servers do: mere progress is not answered */
		acknowledge(w, m->session_ident, f);
}

static void
on_session_message(struct peer *p, struct wsio *w, const struct message *m, struct view body)
{
	uint64_t *ident = &p->file[m->session_ident % 64];
	bool *failed = &p->failed[m->session_ident % 64];

	*failed = *failed && m->type != MSG_C_BIND;
	if (*failed)
		return;

	if (m->type == MSG_C_BIND && m->bind.need_client_file_ident) {
		fake.nfile++;
		answer(w, "ident %lu %zu 9|", m->session_ident, fake.nfile);
	} else if (m->type == MSG_C_IDENT) {
		note("(%lu %lu/%lu)", m->c_ident.file_ident, m->c_ident.scan_server_version, m->c_ident.scan_client_version);
		*ident = m->c_ident.file_ident;
		acknowledge(w, m->session_ident, &fake.file[m->c_ident.file_ident - 1]);
	} else if (m->type == MSG_C_UPLOAD) {
		note("(%lu)", m->upload.progress_client_version);
		*failed = fake.manners.on_upload != NULL && strstr(fake.manners.on_upload, "error") != NULL;
		if (!fake.manners.mute_upload)
			take_upload(w, m, body, &fake.file[*ident - 1]);
	} else if (m->type == MSG_C_MARK && !fake.manners.mute_mark) {
		answer(w, "mark %lu %lu|", m->session_ident, m->c_mark.request_ident);
	} else if (m->type == MSG_C_UNBIND) {
		answer(w, "unbound %lu|", m->session_ident);
	}
}

static void
on_message(void *arg, struct wsio *w, const uint8_t *buf, size_t len)
{
	struct message m;
	struct view body;

	fake.last = w;
	CHECK(msg_parse(MSG_C2S, MSG_PBS, buf, len, &m, &body) == PROTO_OK);
	note(" %s", msg_name(m.type));
	if (m.type == MSG_C_PING && !fake.manners.mute_pong)
		answer(w, "pong %lu|", m.ping.timestamp);
	else if (m.type != MSG_C_PING)
		on_session_message(arg, w, &m, body);
}

static void
on_request(void *arg, struct wsio *w, const struct http_head *head)
{
	(void)arg, (void)head;
	if (fake.manners.refuse != 0)
		wsio_answer_refuse(w, fake.manners.refuse, NULL, "no");
	else
		wsio_answer_101(w, "com.mongodb.realm-sync#14");
}

static void
on_close(void *arg, struct wsio *w, int code, const char *why, bool in_message)
{
	(void)code, (void)why, (void)in_message;
	free(arg);
	(void)w;
	note(" closed");
	fake.nopen--;
}

static const struct wsio_ops ops = { .on_request = on_request, .on_message = on_message, .on_close = on_close };

static void
accept_cb(evutil_socket_t fd, short what, void *arg)
{
	int conn = accept(fd, NULL, NULL);

	(void)what, (void)arg;
	if (conn == -1)
		return;
	fake.nopen++;
	wsio_accept(fake.base, conn, NULL, NULL, &ops, calloc(1, sizeof(struct peer)));
}

static void
answer_cb(evutil_socket_t fd, short what, void *arg)
{
	(void)what, (void)arg;
	if (evbuffer_read(fake.answers, fd, 4096) <= 0)
		event_del(fake.answer_ev);
}

/* ---- the program under test ---- */

static bool
find_client(char *path, size_t cap)
{
	const char *bin = getenv("HOLDFAST_BIN");

	snprintf(path, cap, "%s/obj/tests/client/client", bin != NULL ? bin : ".");
	return access(path, X_OK) == 0;
}

/* Starts it; state: folder or "none"; more: one further option with its value, or NULL. */
static void
start_client(const char *state, const char *more, const char *value)
{
	char path[4096], url[64];
	int in[2], out[2];

	find_client(path, sizeof path);
	snprintf(url, sizeof url, "ws://127.0.0.1:%u/realm-sync", fake.port);
	if (pipe2(in, O_CLOEXEC) == -1 || pipe2(out, O_CLOEXEC) == -1)
		abort();
	if ((fake.pid = fork()) == 0) {
		dup2(in[0], STDIN_FILENO);
		dup2(out[1], STDOUT_FILENO);
		if (getenv("TEST_VERBOSE") == NULL && freopen("/dev/null", "w", stderr) == NULL)
			_exit(126);
		execl(path, "client", "--url", url, "--state", state, more, value, (char *)NULL);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	fake.to = in[1];
	fake.from = out[0];
	fake.answers = evbuffer_new();
	fake.answer_ev = event_new(fake.base, fake.from, EV_READ | EV_PERSIST, answer_cb, NULL);
	event_add(fake.answer_ev, NULL);
}

static void
end_client(int sig)
{
	int status;

	if (sig != 0)
		kill(fake.pid, sig);
	close(fake.to);
	waitpid(fake.pid, &status, 0);
	event_free(fake.answer_ev);
	evbuffer_free(fake.answers);
	close(fake.from);
	if (sig == 0)
		CHECK_U64(status, 0);
}

static void
late_cb(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	*(bool *)arg = true;
}

/* Runs the loop until done says so; false: the deadline came first. */
static bool
run_until(bool (*done)(void))
{
	struct timeval deadline = { .tv_sec = DEADLINE_S };
	bool late = false;
	struct event *ev = evtimer_new(fake.base, late_cb, &late);

	event_add(ev, &deadline);
	while (!done() && !late)
		event_base_loop(fake.base, EVLOOP_ONCE);
	event_free(ev);
	return !late;
}

static bool
has_answer(void)
{
	char *line = evbuffer_readln(fake.answers, NULL, EVBUFFER_EOL_LF);

	if (line == NULL)
		return false;
	snprintf(fake.answer, sizeof fake.answer, "%s", line);
	free(line);
	return true;
}

/* One command; its answer must begin with want. */
static void
command(const char *line, const char *want)
{
	if (dprintf(fake.to, "%s\n", line) < 0)
		abort();
	CHECK(run_until(has_answer));
	if (strncmp(fake.answer, want, strlen(want)) != 0)
		CHECK_STR(fake.answer, want);
}

static void
commands(const char *const *lines)
{
	for (; *lines != NULL && !harness_failed(); lines++)
		command(*lines, "ok");
}

#define RUN(...) commands((const char *const[]){ __VA_ARGS__, NULL })

static bool
start(const struct manners *manners)
{
	char path[4096];
	int fd;

	if (!find_client(path, sizeof path)) {
		harness_skip("the client program is not built (HOLDFAST_BIN)");
		return false;
	}
	signal(SIGPIPE, SIG_IGN);
	memset(&fake, 0, sizeof fake);
	fake.base = event_base_new();
	fd = wsio_listen(&fake.port);
	fake.accept = event_new(fake.base, fd, EV_READ | EV_PERSIST, accept_cb, NULL);
	event_add(fake.accept, NULL);
	if (manners != NULL)
		fake.manners = *manners;
	return true;
}

static bool
all_closed(void)
{
	return fake.nopen == 0;
}

static void
stop(void)
{
	run_until(all_closed);
	close(event_get_fd(fake.accept));
	event_free(fake.accept);
	event_base_free(fake.base);
}

/* The file at path as text. */
static const char *
slurp(const char *path)
{
	static char text[8192];
	FILE *f = fopen(path, "r");
	size_t len = f != NULL ? fread(text, 1, sizeof text - 1, f) : 0;

	if (f != NULL)
		fclose(f);
	text[len] = '\0';
	return text;
}

/* ---- tests ---- */

TEST(client_first_sync)
{
	char line[512], path[256];

	if (!start(NULL))
		return;
	snprintf(path, sizeof path, "%s/t", harness_tmpdir());
	snprintf(line, sizeof line, "transcript a %s", path);
	start_client("none", NULL, NULL);
	RUN("device a path=/ships/alpha", "write a 2", line, "connect a", "wait a idle 5000", "write a", "wait a idle 5000");
	CHECK(strncmp(slurp(path), "> bind S 12 0 1 0 12 ", 21) == 0);
	CHECK(strstr(slurp(path), "< ident S 1 9 0 00000000\n> ident S 1 9 0 0 0 0 0 00000000\n> mark S 1 0 00000000\n"
				  "< download S 0 0 0 0 0 0 0 0 0 0 0 00000000\n< mark S 1 0 00000000\n> upload S 0 ") != NULL);
	command("status a", "ok state=bound ident=1 client_version=8 uploaded=7/0 download=3/7 latest=3 writes=3 acked=3");
	command("violations", "ok 0");
	RUN("leave a", "wait a disconnected 5000", "quit");
	end_client(0);
	stop();
	CHECK_STR(fake.seen, " bind ident(1 0/0) mark upload(5) upload(6) upload(7) upload(8) unbind closed");
	CHECK_U64(fake.file[0].entries, 3);
	CHECK_U64(fake.file[0].crossed, 0);
}

TEST(client_holds_uploads_until_the_mark)
{
	if (!start(&(struct manners){ .mute_mark = true }))
		return;
	start_client("none", NULL, NULL);
	RUN("device a path=/a", "write a 5", "connect a", "wait a bound 5000");
	command("wait a uploaded 200", "fail 1 of 1 not uploaded");
	CHECK_STR(fake.seen, " bind ident(1 0/0) mark");
	fake.manners.mute_mark = false;
	answer(fake.last, "mark 1 1|");
	RUN("wait a idle 5000", "quit");
	end_client(0);
	stop();
	CHECK_U64(fake.file[0].entries, 5);
}

TEST(client_resumes_after_a_cut)
{
	if (!start(&(struct manners){ .mute_upload = true }))
		return;
	start_client("none", NULL, NULL);
	RUN("device a path=/a", "write a 2", "connect a", "wait a bound 5000", "wait a downloaded 5000");
	RUN("wait a downloaded 5000"); /* its MARK goes behind the UPLOAD, which so has come */
	fake.manners.mute_upload = false;
	RUN("cut a", "wait a idle 5000");
	CHECK(strstr(fake.seen, " bind ident(1 0/0) upload(") != NULL); /* no MARK: a fast reconnect */
	CHECK_U64(fake.file[0].entries, 2);
	command("status a", "ok state=bound ident=1");
	CHECK(strstr(fake.answer, "reconnects=1") != NULL);
	RUN("quit");
	end_client(0);
	stop();
}

/* Half a record at the end of a's journal, as kill -9 may leave it. */
static void
tear_journal(const char *dir)
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof path, "%s/a.state", dir);
	CHECK((f = fopen(path, "a")) != NULL);
	fwrite("\x20\0\0\0abcdW\0\0\0torn", 1, 16, f);
	fclose(f);
}

TEST(client_survives_kill_9)
{
	const char *dir = harness_tmpdir();
	char line[512], before[8192], path[256];

	if (!start(NULL))
		return;
	snprintf(path, sizeof path, "%s/acked", dir);
	snprintf(line, sizeof line, "acked a %s all", path);
	start_client(dir, NULL, NULL);
	RUN("device a path=/a", "connect a", "write a 3", "wait a idle 5000", "leave a", "wait a disconnected 5000", "write a 4", line);
	snprintf(before, sizeof before, "%s", slurp(path));
	end_client(SIGKILL);
	tear_journal(dir);
	start_client(dir, NULL, NULL);
	RUN("device a path=/a", line);
	CHECK_STR(slurp(path), before);
	RUN("connect a", "wait a idle 5000", "quit");
	end_client(0);
	stop();
	CHECK_U64(fake.nfile, 1);
	CHECK_U64(fake.file[0].entries, 7);
	CHECK_U64(fake.file[0].crossed, 0);
}

TEST(client_reports_a_broken_rule)
{
	if (!start(&(struct manners){ .on_upload = "download 1 1 1 1 77 99 0 0 0 0 0|" }))
		return;
	start_client("none", NULL, NULL);
	RUN("device a path=/a", "connect a", "write a 1", "wait a disconnected 5000");
	command("violations", "ok 1 a: C2: upload_client_version 99 > newest client version");
	RUN("quit");
	end_client(0);
	stop();
}

TEST(client_session_error)
{
	if (!start(&(struct manners){ .on_upload = "error 209 2 0 1|no" }))
		return;
	start_client("none", NULL, NULL);
	RUN("device a path=/a", "connect a", "write a 1", "wait a error 5000", "wait a disconnected 5000");
	command("status a", "ok state=suspended");
	CHECK(strstr(fake.answer, "error=209") != NULL);
	CHECK(strstr(fake.seen, " unbind closed") != NULL);
	fake.manners.on_upload = "json_error 201 17 1|{\"tryAgain\":true}";
	RUN("connect a", "wait a error 5000");
	fake.manners.on_upload = NULL;
	RUN("wait a idle 5000"); /* binds again by itself, on the same connection */
	command("violations", "ok 0");
	RUN("quit");
	end_client(0);
	stop();
}

TEST(client_halts_when_refused)
{
	if (!start(&(struct manners){ .refuse = 403 }))
		return;
	start_client("none", NULL, NULL);
	RUN("device a path=/a", "connect a", "wait a error 5000");
	command("status a", "ok state=halted");
	CHECK(strstr(fake.answer, "error=403") != NULL);
	fake.manners.refuse = 503;
	RUN("connect a", "wait a error 5000");
	fake.manners.refuse = 0;
	RUN("wait a idle 5000", "quit"); /* 503 is tried again */
	end_client(0);
	stop();
}

TEST(client_sessions_share_a_connection)
{
	if (!start(NULL))
		return;
	start_client("none", NULL, NULL);
	RUN("device a path=/a conn=x", "device b path=/b conn=x", "connect *", "write * 2", "wait * idle 5000");
	CHECK(strstr(fake.seen, "closed") == NULL);
	RUN("unbind a", "bind a", "write a", "wait * idle 5000"); /* a new session while the old one drains */
	CHECK(strstr(fake.seen, " unbind bind ident(1 ") != NULL);
	RUN("leave a", "write b", "wait b idle 5000");
	CHECK(strstr(fake.seen, "closed") == NULL);
	command("violations", "ok 0");
	RUN("leave b", "wait b disconnected 5000", "quit");
	end_client(0);
	stop();
	CHECK_U64(fake.file[0].entries, 3);
	CHECK_U64(fake.file[1].entries, 3);
}

TEST(client_pings)
{
	if (!start(NULL))
		return;
	start_client("none", "--pong-ms", "100");
	RUN("device a path=/a", "connect a", "wait a idle 5000", "ping a", "wait a downloaded 5000");
	CHECK(strstr(fake.seen, " ping mark") != NULL);
	fake.manners.mute_pong = true;
	RUN("ping a", "wait a disconnected 5000");
	command("status a", "ok");
	CHECK(strstr(fake.answer, "no PONG") != NULL);
	command("violations", "ok 0");
	RUN("quit");
	end_client(0);
	stop();
}

TEST(client_goes_back_in_time)
{
	if (!start(NULL))
		return;
	start_client("none", NULL, NULL);
	RUN("device a path=/a", "connect a", "write a 1", "wait a idle 5000", "leave a", "wait a disconnected 5000");
	command("backdate a 99", "fail a had fewer");
	RUN("backdate a 1", "connect a", "wait a idle 5000", "leave a", "wait a disconnected 5000");
	CHECK(strstr(fake.seen, " closed bind ident(1 0/0)") != NULL);
	RUN("amnesia a", "connect a", "write a 1", "wait a idle 5000", "quit");
	end_client(0);
	stop();
	CHECK_U64(fake.nfile, 2);
	CHECK_U64(fake.file[1].entries, 1);
}

TEST(client_fleet)
{
	if (!start(NULL))
		return;
	start_client("none", NULL, NULL);
	RUN("fleet d 200 path=/d/%d size=100", "connect *", "write * 5", "auto * 200 5", "wait * idle 20000");
	command("status *", "ok devices=200 bound=200 idle=200 writes=2000 acked=2000");
	command("violations", "ok 0");
	RUN("quit");
	end_client(0);
	stop();
	CHECK_U64(fake.nfile, 200);
	for (size_t i = 0; i < fake.nfile; i++)
		CHECK(fake.file[i].entries == 10 && fake.file[i].crossed == 0);
}

TEST(client_refuses_bad_commands)
{
	if (!start(NULL))
		return;
	start_client("none", NULL, NULL);
	command("nonsense", "fail unknown command");
	command("connect nobody", "fail no device nobody");
	command("device ../x path=/a", "fail a name");
	command("device a path=/a", "ok");
	command("device a path=/a", "fail a exists");
	command("wait a happy 10", "fail wait for what");
	command("wait a", "fail wait needs 3 words");
	command("bad a 0", "ok");
	command("quit", "ok");
	end_client(0);
	stop();
}
