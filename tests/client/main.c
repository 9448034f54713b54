/* client: scripted devices that speak the sync protocol as real ones do, and judge all that the server sends (rules C1-C9).
 *
 *	client --url ws://HOST:PORT[/TARGET] [options]		commands on stdin, one a line; each is answered with one line, "ok ..." or
 *	"fail ...". Options: see usage() below. Empty lines and lines that begin with # are not answered.
 *
 * NAME is a device, or a pattern for several ("dev*", "*"). Commands:
 *
 *	device NAME path=/P [conn=C] [token=T] [size=BYTES] [subserver] [flx [schema=N]]	a device; its state is taken up from --state when it has one. Devices
 *		with equal conn=C share a connection. size: text in each local write that names no size.
 *	fleet PREFIX N path=/P [conn=C] [token=T] [size=BYTES]	devices PREFIX0 ... PREFIX(N-1); %d in a value becomes the number
 *	connect NAME		connect and bind; from now on it reconnects by itself
 *	bind NAME [same]	the same; for a session that was unbound. same: with the session ident it had (if UNBOUND has come)
 *	unbind NAME		UNBIND; the connection stays
 *	leave NAME		UNBIND; the connection closes when UNBOUND has come (--leave-ms at most) and nobody else is on it
 *	cut NAME [away]		the connection is thrown away (RST); it comes back by itself unless away
 *	stall NAME on|off	stop reading / go on
 *	write NAME [N] [size=BYTES] [mode=create|update]	N local changesets now (1): each makes a new object, or writes the
 *		device's first object again (update)
 *	auto NAME RATE COUNT [mode=...]	COUNT local changesets at RATE a second, from now on; 0 stops, "endless" is until then
 *	query NAME		flexible sync: a new query, whose version is one higher, and a MARK behind it; sent when all that was
 *				written before is uploaded (a device made with flx; path=/flx)
 *	mark NAME / ping NAME	send a MARK / a PING
 *	wait NAME CONDITION MS	until it holds for all of them at once, at most MS milliseconds:
 *		connected	the WebSocket is open		disconnected	it is not
 *		bound		IDENT is sent			error		an error has come since connect (session, connection, HTTP)
 *		uploaded	every local write (auto's too) is acknowledged by upload_client_version
 *		downloaded	a MARK that this command sends is answered
 *		idle		bound, uploaded, every MARK answered, all progress told to the server
 *	backdate NAME K [whole]	as if the last K DOWNLOADs had not been stored: older cursors, what they brought is forgotten. Own
 *		versions stay; whole: they are gone as well, as in a file restored from a copy, and will be made anew with other
 *		contents. Only while it is not bound. A server that was told of the later cursors will answer 209 (S1); to lose
 *		DOWNLOADs that the server only sent, use stall and cut.
 *	amnesia NAME		forget everything: a first-time client. Only while it is not bound.
 *	status NAME		state=W ident=N client_version=N uploaded=CV/SV download=SV/CV latest=SV writes=N acked=N received=N
 *		marks=ANSWERED/ASKED reconnects=N error=CODE answers=N answer=A partial=BYTES query=ACTIVE complete=VERSION asked=NEWEST query_errors=BITS logs=N batches=N last_close=CODE [in-message] WORDS; for several: totals
 *	content NAME		content=CRC newest=CV: what all its own changesets come to (not for several)
 *	acked NAME FILE [all]	write "CLIENT_VERSION LEN CRC32" of each acknowledged (all: each own) changeset, in order
 *	received NAME FILE	write "SERVER_VERSION ORIGIN_FILE_IDENT CRC32 LEN" of each changeset received, in order
 *	ask NAME WHAT ...	a question, as clients of older versions have them; status shows answers=COUNT answer=KIND:VALUE
 *		transact SIZE		a changeset of SIZE bytes		-> transact:STATUS
 *		state [recent] [formats=MIN-MAX]	the state file, from where the last answer ended	-> state:VERSION:CRC32
 *		version [IDENT SALT]	CLIENT_VERSION_REQUEST, for itself	-> version:CLIENT_VERSION
 *		alloc			(a device made with subserver)		-> alloc:IDENT
 *		test TEXT		TEST_COMMAND				-> test:TEXT
 *		refresh TOKEN, json-error CODE	REFRESH, JSON_ERROR: no answer
 *	transcript NAME FILE|off	from now on: each message as "> HEAD LEN CRC32" or "< HEAD LEN CRC32" with S as session ident,
 *		without PING and PONG, LOG_MESSAGE by name only. With a pattern for NAME, FILE is a folder in these three.
 *	violations		"ok N TEXT; TEXT": rules the server broke. Each ended its connection.
 *	versions 14,13,8-12...	protocol versions and ranges to offer from now on
 *	bad NAME HEX		send these bytes as one message
 *	quit
 *
 * Like a real client: UPLOADs wait until the session's first MARKs are answered, unless it reconnects within --fast-ms; an UPLOAD
 * holds about 128 KiB; an error with try_again binds again after --resume-ms, one without suspends the session until connect; HTTP
 * 403 and the like, a connection error without try_again, and close code 1009 halt until connect. Not like one: origin_timestamps
 * come from a clock that depends on name and version only, so that equal scripts send equal bytes.
 *
 * Never: merges (what is received is counted, not applied), or ends by itself before stdin does. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/resource.h>

#include <event2/buffer.h>
#include <event2/event.h>

#include "tests/client/auto.h"
#include "tests/client/commands.h"
#include "tests/client/conn.h"
#include "tests/client/session.h"
#include "tests/client/world.h"

struct input {
	struct evbuffer *buf;
	struct event *ev; /* NULL: stdin is a file and was read at once */
	bool ended;
};

static void
usage(void)
{
	fputs("usage: client --url ws://HOST:PORT[/TARGET] [--tls-ca FILE] [--state DIR|none] [--token T] [--auth-header] [--seed N]\n"
	      "	[--ping-ms N] [--pong-ms N] [--connect-ms N] [--backoff-ms MIN-MAX] [--fast-ms N] [--resume-ms N] [--leave-ms N]\n",
	      stderr);
	exit(2);
}

static uint64_t
number(const char *text)
{
	char *end;
	uint64_t value = strtoull(text, &end, 10);

	if (*text < '0' || *text > '9' || *end != '\0')
		usage();
	return value;
}

/* Takes url apart where it stands: HOST becomes a string of its own, TARGET is the rest of it. */
static void
parse_url(struct options *o, char *url)
{
	char *host = strstr(url, "://"), *port, *end;

	if (host == NULL || (strncmp(url, "ws://", 5) != 0 && strncmp(url, "wss://", 6) != 0))
		usage();
	host += 3;
	if ((port = strchr(host, ':')) == NULL)
		usage();
	*port++ = '\0';
	o->host = host;
	o->port = (unsigned)strtoul(port, &end, 10);
	if (end == port || (*end != '\0' && *end != '/'))
		usage();
	o->target = end[0] == '/' && end[1] != '\0' ? end : "/realm-sync";
}

static void
parse_backoff(struct options *o, char *text)
{
	char *dash = strchr(text, '-');

	if (dash == NULL)
		usage();
	*dash = '\0';
	o->backoff_min_ms = number(text);
	o->backoff_max_ms = number(dash + 1);
}

static void
parse_options(struct options *o, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "url", 1, NULL, 'u' },	 { "tls-ca", 1, NULL, 'c' },   { "state", 1, NULL, 's' },     { "token", 1, NULL, 't' },
		{ "auth-header", 0, NULL, 'a' }, { "seed", 1, NULL, 'r' },     { "ping-ms", 1, NULL, 'p' },   { "pong-ms", 1, NULL, 'P' },
		{ "connect-ms", 1, NULL, 'C' },	 { "backoff-ms", 1, NULL, 'b' }, { "fast-ms", 1, NULL, 'f' }, { "resume-ms", 1, NULL, 'R' },
		{ "leave-ms", 1, NULL, 'l' },	 { NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 'u': parse_url(o, optarg); break;
		case 'c': o->tls_ca = optarg; break;
		case 's': o->state = strcmp(optarg, "none") != 0 ? optarg : NULL; break;
		case 't': o->token = optarg; break;
		case 'a': o->auth_header = true; break;
		case 'r': o->seed = number(optarg); break;
		case 'p': o->ping_ms = number(optarg); break;
		case 'P': o->pong_ms = number(optarg); break;
		case 'C': o->connect_ms = number(optarg); break;
		case 'b': parse_backoff(o, optarg); break;
		case 'f': o->fast_ms = number(optarg); break;
		case 'R': o->resume_ms = number(optarg); break;
		case 'l': o->leave_ms = number(optarg); break;
		default: usage();
		}
	}
	if (o->host == NULL || optind != argc)
		usage();
}

static void
read_input(struct input *in)
{
	int n = evbuffer_read(in->buf, STDIN_FILENO, 65536);

	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
		in->ended = true;
		if (in->ev != NULL)
			event_del(in->ev);
	}
}

static void
input_cb(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	read_input(arg);
}

static void
open_input(struct input *in, struct event_base *base)
{
	in->buf = evbuffer_new();
	in->ev = event_new(base, STDIN_FILENO, EV_READ | EV_PERSIST, input_cb, in);
	if (event_add(in->ev, NULL) == -1) { /* a regular file, which epoll does not take */
		event_free(in->ev);
		in->ev = NULL;
		while (!in->ended)
			read_input(in);
	}
}

/* Carries out the lines that are there, up to a wait. False: the program is to end. */
static bool
run_lines(struct input *in, struct commands *commands)
{
	char *line;
	bool go_on = true;

	while (go_on && !commands_waiting(commands) && (line = evbuffer_readln(in->buf, NULL, EVBUFFER_EOL_LF)) != NULL) {
		go_on = commands_run(commands, line);
		commands_poll(commands);
		free(line);
	}
	return go_on && (!in->ended || commands_waiting(commands));
}

/* Each device has a socket and a journal. */
static void
raise_fd_limit(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
		r.rlim_cur = r.rlim_max;
		setrlimit(RLIMIT_NOFILE, &r);
	}
}

static void
free_world(struct world *w)
{
	auto_close(w);
	for (int round = 0; round < 2; round++) { /* a timer that was due may open one more in the first */
		for (size_t i = 0; i < w->nconn; i++)
			conn_cut(w->conn[i]);
		event_base_loop(w->base, EVLOOP_NONBLOCK); /* the on_close calls, which free what wsio holds */
	}
	for (size_t i = 0; i < w->nconn; i++)
		conn_free(w->conn[i]);
	for (size_t i = 0; i < w->nsession; i++)
		session_free(w->session[i]);
	for (size_t i = 0; i < w->nviolation; i++)
		free(w->violation[i]);
	free(w->conn);
	free(w->session);
	free(w->violation);
	event_base_free(w->base);
}

int
main(int argc, char **argv)
{
	struct world w = { .opt = { .token = "dG9rZW4=:c2ln", .versions = "14,13,12,11,10,9,8,7,6,5,4,3,2", .ping_ms = 60000,
				    .pong_ms = 120000, .connect_ms = 120000, .backoff_min_ms = 50, .backoff_max_ms = 2000,
				    .fast_ms = 60000, .resume_ms = 200, .leave_ms = 1000, .seed = 1 } };
	struct input in = { 0 };
	struct commands *commands;

	parse_options(&w.opt, argc, argv);
	signal(SIGPIPE, SIG_IGN);
	raise_fd_limit();
	w.rng = w.opt.seed * 2 + 1;
	if ((w.base = event_base_new()) == NULL)
		abort();
	commands = commands_new(&w);
	auto_open(&w);
	open_input(&in, w.base);
	while (run_lines(&in, commands)) {
		event_base_loop(w.base, EVLOOP_ONCE);
		commands_poll(commands);
	}
	commands_free(commands);
	evbuffer_free(in.buf);
	if (in.ev != NULL)
		event_free(in.ev);
	free_world(&w);
	return 0;
}
