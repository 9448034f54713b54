/* upstream: a stand-in for the sync server, for the tests of the relay and of the scripted client.
 *
 *	upstream [--port N] [--tls CERT KEY] [--versions 2-14] [--dump FILE] [--stay]
 *
 * It speaks partition-based and flexible sync on 127.0.0.1 (port 0 or none: any), enforces S1-S8 of protocol.md with the real error codes, keeps
 * a linear history per path in memory, acknowledges, and hands changes to the other clients of the path.  It does not merge: every
 * changeset goes out as it came in (session.c), and a file ident is not tied to a user (223 comes by order only).
 * Nothing of it is shared with relay/; it is a second reading of the same page.
 *
 * It prints "port N", then reads commands from stdin, one a line, and answers each with one line that begins with "ok" or "fail".
 * Lines that begin with "* " are events (`events on`) and stand between answers.  It ends at `quit`, and when stdin ends, unless
 * --stay is given.  --dump FILE: each integrated changeset as it comes, in the format of `dump`.
 *
 * Questions
 *	status			ok conns= sessions= files= changesets= bytes= errors= paths= uploads= superseded= transacts= refreshes= client_errors= queries=
 *				(errors: ERRORs sent, ordered or not; superseded: connections killed by S2)
 *	violations [forget]	ok 0 | ok N text; text...	each protocol error that it had to send without an order, S8 included
 *	paths			ok PATH...
 *	files PATH		ok IDENT...
 *	file PATH IDENT		ok progress= entries= last= crc= server= locked= queries=VERSION@ENTRIES,...
 *				crc: CRC-32 over (client_version as 8 bytes big-endian, changeset) of its changesets in order
 *	history PATH		ok versions= crc=		crc: CRC-32 over all changesets of the path in order
 *	content PATH IDENT	ok content= newest=	what the changesets of this file come to by themselves (peer/content.h); newest: the last
 *				one's client_version
 *	dump FILE		ok N; a line for each changeset: path ident client_version server_version origin_timestamp length crc32
 *	order			ok N | fail ...			do client versions rise strictly, per file, in the order of integration?
 *	before PATTERN PATH	ok N | fail ...	how many changesets of paths like PATTERN (fnmatch) came before the newest of PATH
 * Upgrades
 *	http STATUS [body=BYTES] [Header: v] | http off	answer upgrades with this; Transfer-Encoding: chunked: so
 *	raw TEXT | raw off	with these bytes: \r \n \t \xHH as in C, %A for the right Sec-WebSocket-Accept; then the connection ends
 *	token allow|deny TOKEN	TOKEN * = all others.  A denied one gets 401, in BIND or REFRESH error 202.  At first all are allowed.
 *	silent on|off		accept TCP, never answer the upgrade (those not answered stay so)
 * Errors (201 and so on end the session, 100-199 the connection; 231 only warns)
 *	error CODE bind|ident|upload [/PATH] [COUNT|always]		refuse the next such messages (default: one) with ERROR
 *	jsonerror CODE ACTION bind|ident|upload [/PATH] [COUNT|always]	the same with JSON_ERROR
 *	error off		take all of these back
 * Slowness
 *	stall on|off		after the upgrade read and act, but say nothing, not even PONG; off: say it all
 *	frozen on|off		do not even read
 *	delay MS		wait before each outgoing message
 *	hold-marks on|off	do not answer MARK
 *	hold-acks on|off	integrate, but send no DOWNLOAD that would acknowledge it (the first of a session is always sent)
 *	no-unbound on|off	do not answer UNBIND
 * Cuts (always RST)
 *	cut [all|now]		ok N; every connection
 *	cut-download N|off	the next DOWNLOAD with entries, after N bytes of the message
 *	cut-upload N|off	when N bytes of an UPLOAD have come, which is then not integrated (shorter ones pass)
 *	cut-after-upload [off]	right after the next UPLOAD with new entries was integrated, before any answer
 *	stop-state N|off		the next answer to STATE_REQUEST ends after N STATEs
 * Flexible sync (whoever offers it gets it; one file for all, whatever the query; an IDENT may only state a query that was bootstrapped)
 *	bootstrap N [STOP]	each QUERY is answered by N DOWNLOADs (default 1), the last with batch_state 1; STOP: after so many
 *				nothing more is said in that session until the next bootstrap command
 *	query-error N		the next N QUERYs are answered by QUERY_ERROR
 * Older messages
 *	state PATH N SIZE	ok crc= version=; PATH has a state file of N STATEs of SIZE bytes each, of its newest version
 *	transact STATUS		answer TRANSACT with this (default 3: not supported); nothing is integrated
 *	say HEX			these bytes as one message on each connection
 * State
 *	reset			forget everything, cut every connection: as if restarted empty
 *	save FILE, load FILE	go back in time: cuts every connection; versions made after load have new salts
 *	inject PATH N SIZE	ok ident= versions=; N changesets of SIZE bytes from a client of its own
 *	log-message TEXT	a LOG_MESSAGE to each connection of version 10 or newer
 *	limit ping SECONDS	S8: cut a connection without PING for so long (default 660, 0 = never)
 *	limit batch BYTES	soft limit of the changesets in one DOWNLOAD (default 131072)
 *	events on|off		request, open, bind, ident, upload, unbind, error, violation, superseded, close
 *	quit */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "tests/peer/wsio.h"
#include "tests/upstream/commands.h"
#include "tests/upstream/conn.h"

#define LINE_MAX_BYTES 8192 /* a longer command line is a mistake of the test: the program ends */

struct options {
	unsigned port;
	bool stay;
};

static struct server server;
static struct options options;

static void
accept_cb(evutil_socket_t fd, short what, void *arg)
{
	int conn;

	(void)what, (void)arg;
	while ((conn = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
		conn_accept(&server, conn);
}

/* Reads from stdin: whole lines are run, the rest waits in line[].  Returns false at the end of stdin. */
static bool
read_commands(void)
{
	static char line[LINE_MAX_BYTES];
	static size_t len;
	ssize_t n = read(STDIN_FILENO, line + len, sizeof line - len);
	char *end;

	if (n <= 0)
		return false;
	len += (size_t)n;
	while ((end = memchr(line, '\n', len)) != NULL) {
		*end = '\0';
		commands_run(&server, line);
		len -= (size_t)(end + 1 - line);
		memmove(line, end + 1, len);
	}
	if (len == sizeof line) {
		fprintf(stderr, "upstream: command line too long\n");
		exit(1);
	}
	return true;
}

static void
stdin_cb(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	if (!read_commands()) {
		event_del(*(struct event **)arg);
		server.quit = !options.stay;
	}
}

/* Listens to stdin.  A file or /dev/null, which epoll does not take, is read to its end at once. */
static void
take_commands(struct event *commands)
{
	struct stat st;

	if (fstat(STDIN_FILENO, &st) == 0 && (S_ISREG(st.st_mode) || (S_ISCHR(st.st_mode) && !isatty(STDIN_FILENO)))) {
		while (!server.quit && read_commands())
			;
		server.quit = server.quit || !options.stay;
	} else {
		event_add(commands, NULL);
	}
}

static void
usage(void)
{
	fprintf(stderr, "usage: upstream [--port N] [--tls CERT KEY] [--versions MIN-MAX] [--dump FILE] [--stay]\n");
	exit(2);
}

static void
parse_options(char **argv)
{
	for (argv++; *argv != NULL; argv++) {
		if (strcmp(*argv, "--port") == 0 && argv[1] != NULL) {
			options.port = (unsigned)strtoul(*++argv, NULL, 10);
		} else if (strcmp(*argv, "--tls") == 0 && argv[1] != NULL && argv[2] != NULL) {
			server.cert = *++argv;
			server.key = *++argv;
		} else if (strcmp(*argv, "--versions") == 0 && argv[1] != NULL &&
			   sscanf(argv[1], "%u-%u", &server.min_version, &server.max_version) == 2) {
			argv++;
		} else if (strcmp(*argv, "--dump") == 0 && argv[1] != NULL && (server.dump = fopen(*++argv, "w")) != NULL) {
			continue;
		} else if (strcmp(*argv, "--stay") == 0) {
			options.stay = true;
		} else {
			usage();
		}
	}
}

/* Hundreds of clients: as many descriptors as we may have. */
static void
raise_fd_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}

int
main(int argc, char **argv)
{
	struct event_base *base = event_base_new();
	struct event *listening, *commands;
	int fd;

	(void)argc;
	raise_fd_limit();
	server_init(&server, base);
	server.min_version = 2;
	server.max_version = 14;
	server.ping_limit_s = 660;
	server.batch = 131072;
	parse_options(argv);
	fd = wsio_listen(&options.port);
	if (fd < 0) {
		fprintf(stderr, "upstream: cannot listen on port %u: %s\n", options.port, strerror(errno));
		return 1;
	}
	listening = event_new(base, fd, EV_READ | EV_PERSIST, accept_cb, NULL);
	commands = event_new(base, STDIN_FILENO, EV_READ | EV_PERSIST, stdin_cb, &commands);
	event_add(listening, NULL);
	printf("port %u\n", options.port);
	fflush(stdout);
	take_commands(commands);
	while (!server.quit)
		event_base_loop(base, EVLOOP_ONCE);

	event_free(commands);
	event_free(listening);
	server_clear(&server);
	if (server.dump != NULL)
		fclose(server.dump);
	event_base_free(base);
	return 0;
}
