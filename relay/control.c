/* The daemon's side of the control socket; see control.h, and relay/CONTROL for the language.
 *
 *   LINE --a line--> (its data) DATA --all of it--> BUSY --answered--> WRITING --all written--> LINE
 *            \---------------------------------------^
 *   any --the other side is gone, or broke the rules--> closed; freed when the committer is done with it
 *
 * While BUSY a connection belongs to the committer's thread as far as request and answer go (spool_call); everything else is the
 * loop's.  A connection that ends meanwhile is freed by the operation's completion. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>

#include "relay/admin.h"
#include "relay/command.h"
#include "relay/control.h"
#include "relay/forget.h"
#include "relay/listener.h"
#include "relay/log.h"
#include "relay/relay.h"
#include "relay/session.h"
#include "relay/spool.h"
#include "relay/word.h"

enum conn_state { CTL_LINE, CTL_DATA, CTL_BUSY, CTL_WRITING, CTL_ENDING };

struct ctl_conn {
	TAILQ_ENTRY(ctl_conn) link;
	struct control *control;
	struct bufferevent *bev; /* NULL: gone */
	enum conn_state state;
	char *line;		 /* what the request's words point into; owned */
	uint8_t *data;		 /* owned */
	size_t want;		 /* bytes of data that belong to the request */
	struct admin_request request;
	struct admin_answer answer;
	bool holds;		 /* it has a backup under way */
};

TAILQ_HEAD(ctl_list, ctl_conn);

struct control {
	struct relay *relay;
	struct event *accept, *pause;
	int fd;
	char *path;
	struct ctl_list conns;
	unsigned nconn;	       /* of these and of those that the committer still has */
	struct ctl_conn *data; /* the one that may send data: so much of it is in memory once only */
	bool closing;
};

static void read_on(struct ctl_conn *c);

/* ---- life ---- */

static void
control_free(struct control *ct)
{
	if (!ct->closing || ct->nconn > 0)
		return;
	free(ct->path);
	free(ct);
}

static void
release_cb(void *arg, struct store *store)
{
	(void)arg;
	store_release(store);
}

static void
request_forget(struct ctl_conn *c)
{
	free(c->line);
	free(c->data);
	c->line = NULL;
	c->data = NULL;
	c->want = 0;
	admin_free(&c->answer);
	if (c->control->data == c)
		c->control->data = NULL;
}

static void
conn_free(struct ctl_conn *c)
{
	struct control *ct = c->control;

	if (c->holds)
		spool_call(ct->relay->spool, release_cb, NULL, NULL);
	request_forget(c);
	free(c);
	ct->nconn--;
	control_free(ct);
}

/* The connection is over.  What the committer has of it comes back later. */
static void
conn_end(struct ctl_conn *c)
{
	bool busy = c->state == CTL_BUSY;

	if (c->bev == NULL)
		return;
	bufferevent_free(c->bev);
	c->bev = NULL;
	TAILQ_REMOVE(&c->control->conns, c, link);
	if (!busy)
		conn_free(c);
}

/* ---- answering ---- */

static void
answer_free_cb(const void *data, size_t len, void *arg)
{
	(void)data;
	(void)len;
	free(arg);
}

/* Sends c->answer; the data goes without a copy. */
static void
send_answer(struct ctl_conn *c)
{
	struct admin_answer *a = &c->answer;
	struct evbuffer *out = bufferevent_get_output(c->bev);
	int bad = 0;

	if (a->rows.len > 0)
		bad = evbuffer_add(out, a->rows.text, a->rows.len);
	bad |= a->last.failed || evbuffer_add(out, a->last.text, a->last.len) != 0;
	if (!bad && a->len > 0) {
		bad = evbuffer_add_reference(out, a->data, a->len, answer_free_cb, a->data);
		if (!bad)
			a->data = NULL;
	}
	request_forget(c);
	if (bad) {
		conn_end(c);
		return;
	}
	if (c->state != CTL_ENDING)
		c->state = CTL_WRITING; /* written_cb goes on */
}

/* Says no.  end: what follows cannot be understood any more. */
static void
refuse(struct ctl_conn *c, const char *why, bool end)
{
	admin_free(&c->answer);
	admin_refuse(&c->answer, why);
	if (end) {
		c->state = CTL_ENDING;
		bufferevent_disable(c->bev, EV_READ);
	}
	send_answer(c);
}

static void
written_cb(struct bufferevent *bev, void *arg)
{
	struct ctl_conn *c = arg;

	if (c->state == CTL_ENDING) {
		conn_end(c);
	} else if (c->state == CTL_WRITING && evbuffer_get_length(bufferevent_get_output(bev)) == 0) {
		c->state = CTL_LINE;
		bufferevent_setwatermark(bev, EV_READ, 0, CONTROL_LINE_MAX + 1);
		bufferevent_enable(bev, EV_READ);
		read_on(c);
	}
}

/* ---- requests ---- */

/* In the committer's thread. */
static void
work_cb(void *arg, struct store *store)
{
	struct ctl_conn *c = arg;

	admin_run(store, &c->request, &c->answer);
}

static void
done_cb(void *arg, struct spool_op *op)
{
	struct ctl_conn *c = arg;
	struct relay *relay = c->control->relay;
	const char *verb = c->request.word[0];

	(void)op;
	if (c->answer.ok && strcmp(verb, "backup-begin") == 0)
		c->holds = true;
	if (c->answer.ok && strcmp(verb, "backup-end") == 0)
		c->holds = false;
	if (c->answer.ok && c->answer.touched.id != 0 && !relay->stopping) {
		spool_find(relay->spool, &c->answer.touched, NULL, NULL); /* for the journal: it may owe what another gateway acknowledged */
		session_start_anew(relay, &c->answer.touched);
	}
	if (c->answer.ok && c->answer.forgotten.id != 0 && !relay->stopping)
		forget_file(relay, &c->answer.forgotten, c->answer.states_gone);
	if (c->bev == NULL)
		conn_free(c);
	else
		send_answer(c);
}

/* "buffer WORD...": the committer's. */
static void
do_buffer(struct ctl_conn *c)
{
	const char *verb;

	c->request.nword--;
	memmove(c->request.word, c->request.word + 1, c->request.nword * sizeof(c->request.word[0]));
	verb = c->request.nword > 0 ? c->request.word[0] : "";
	if (strncmp(verb, "backup-", 7) == 0 && strcmp(verb, "backup-begin") != 0 && !c->holds) {
		refuse(c, "begin a backup first", false);
		return;
	}
	c->state = CTL_BUSY;
	bufferevent_disable(c->bev, EV_READ);
	spool_call(c->control->relay->spool, work_cb, done_cb, c);
}

static void
run_request(struct ctl_conn *c)
{
	memset(&c->answer, 0, sizeof(c->answer));
	if (strcmp(c->request.word[0], "buffer") == 0)
		do_buffer(c);
	else if (command_run(c->control->relay, &c->request, &c->answer))
		send_answer(c);
	else
		refuse(c, "unknown command", false);
}

/* The request's line is in c->line.  False: it was refused. */
static bool
take_line(struct ctl_conn *c, size_t len)
{
	struct admin_request *q = &c->request;
	uint64_t n;
	int nword;

	memset(q, 0, sizeof(*q));
	if (len > CONTROL_LINE_MAX || strlen(c->line) != len || (nword = word_split(c->line, q->word, ADMIN_WORDS_MAX)) <= 0) {
		refuse(c, "malformed line", true);
		return false;
	}
	q->nword = (size_t)nword;
	if (q->word[q->nword - 1][0] != '+' || !word_number(q->word[q->nword - 1] + 1, &n))
		return true;
	if (q->nword == 1 || n == 0 || n > ADMIN_DATA_MAX) {
		refuse(c, "malformed data", true);
		return false;
	}
	if (c->control->data != NULL) {
		refuse(c, "busy: another tool is sending data", true);
		return false;
	}
	c->control->data = c;
	q->nword--;
	c->want = (size_t)n;
	bufferevent_setwatermark(c->bev, EV_READ, 0, c->want);
	return true;
}

/* Takes what has arrived, as long as the connection is not doing something else. */
static void
read_on(struct ctl_conn *c)
{
	struct evbuffer *in = bufferevent_get_input(c->bev);
	size_t len = 0;

	if (c->state == CTL_LINE) {
		if ((c->line = evbuffer_readln(in, &len, EVBUFFER_EOL_LF)) == NULL) {
			if (evbuffer_get_length(in) > CONTROL_LINE_MAX)
				refuse(c, "the line is too long", true);
			return;
		}
		if (!take_line(c, len))
			return;
		c->state = CTL_DATA;
	}
	if (c->state != CTL_DATA || evbuffer_get_length(in) < c->want)
		return;
	if (c->want > 0) {
		if ((c->data = malloc(c->want)) == NULL) {
			refuse(c, "out of memory", true);
			return;
		}
		evbuffer_remove(in, c->data, c->want);
		c->request.data = c->data;
		c->request.len = c->want;
	}
	run_request(c);
}

static void
read_cb(struct bufferevent *bev, void *arg)
{
	(void)bev;
	read_on(arg);
}

static void
event_cb(struct bufferevent *bev, short what, void *arg)
{
	(void)bev;
	(void)what; /* its end, an error or a timeout: all the same */
	conn_end(arg);
}

/* ---- the socket ---- */

static void
pause_cb(evutil_socket_t fd, short what, void *arg)
{
	const struct control *ct = arg;

	(void)fd;
	(void)what;
	event_add(ct->accept, NULL);
}

/* Out of descriptors or memory: the socket stays readable, and a loop that just went on would spin (as in listener.c). */
static void
pause_accepting(struct control *ct)
{
	event_del(ct->accept);
	relay_after_ms(ct->pause, LISTENER_PAUSE_MS);
}

static void
accept_cb(evutil_socket_t fd, short what, void *arg)
{
	static const struct timeval idle = { CONTROL_IDLE_S, 0 };
	struct control *ct = arg;
	struct ctl_conn *c;
	int s = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)what;
	if (s < 0) {
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
			pause_accepting(ct);
		return;
	}
	if (ct->nconn >= CONTROL_CONNS) {
		static const char no[] = "{\"status\":\"error\",\"error\":\"too many connections to the control socket\"}\n";

		if (send(s, no, sizeof(no) - 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
			log_event(LOG_WARN, "control_full", "connections=%u", ct->nconn);
		close(s);
		return;
	}
	c = relay_alloc(sizeof(*c));
	c->control = ct;
	c->bev = bufferevent_socket_new(ct->relay->base, s, BEV_OPT_CLOSE_ON_FREE);
	if (c->bev == NULL)
		log_fatal("out_of_memory", "bytes=0");
	ct->nconn++;
	TAILQ_INSERT_TAIL(&ct->conns, c, link);
	bufferevent_setcb(c->bev, read_cb, written_cb, event_cb, c);
	bufferevent_setwatermark(c->bev, EV_READ, 0, CONTROL_LINE_MAX + 1);
	bufferevent_set_timeouts(c->bev, &idle, &idle);
	if (bufferevent_enable(c->bev, EV_READ | EV_WRITE) != 0)
		conn_end(c); /* it cannot be watched */
}

void
control_path(const char *state_dir, const char *option, char *path, size_t len)
{
	if (option[0] != '\0')
		snprintf(path, len, "%s", option);
	else
		snprintf(path, len, "%s/%s", state_dir, CONTROL_SOCKET);
}

bool
control_address(const char *path, struct sockaddr_un *sun)
{
	memset(sun, 0, sizeof(*sun));
	sun->sun_family = AF_UNIX;
	if (strlen(path) >= sizeof(sun->sun_path))
		return false;
	memcpy(sun->sun_path, path, strlen(path));
	return true;
}

/* Makes way: a socket that nobody listens on is one that a process left behind when it died. */
static bool
clear_path(const struct sockaddr_un *sun, char *why, size_t why_len)
{
	struct stat st;
	bool taken;
	int fd;

	if (lstat(sun->sun_path, &st) != 0)
		return true;
	if (!S_ISSOCK(st.st_mode)) {
		snprintf(why, why_len, "%s is there and no socket", sun->sun_path);
		return false;
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		snprintf(why, why_len, "socket: %s", strerror(errno));
		return false;
	}
	taken = connect(fd, (const struct sockaddr *)sun, sizeof(*sun)) == 0 || errno == EAGAIN;
	close(fd);
	if (taken)
		snprintf(why, why_len, "another process listens on %s", sun->sun_path);
	else
		unlink(sun->sun_path);
	return !taken;
}

static int
listen_on(const char *path, char *why, size_t why_len)
{
	struct sockaddr_un sun;
	int fd;

	if (!control_address(path, &sun)) {
		snprintf(why, why_len, "the path is longer than %zu bytes", sizeof(sun.sun_path) - 1);
		return -1;
	}
	if (!clear_path(&sun, why, why_len))
		return -1;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	/* fchmod before bind sets what bind creates: nobody else can connect in between. */
	if (fd < 0 || fchmod(fd, S_IRUSR | S_IWUSR) != 0 || bind(fd, (struct sockaddr *)&sun, sizeof(sun)) != 0 ||
	    chmod(path, S_IRUSR | S_IWUSR) != 0 || listen(fd, CONTROL_CONNS) != 0) {
		snprintf(why, why_len, "%s: %s", path, strerror(errno));
		if (fd >= 0)
			close(fd);
		return -1;
	}
	return fd;
}

/* The socket is there and nobody's but ours: opens it to a group.  What does not work is said, and leaves it as it is. */
static void
open_to_group(const char *path, const char *name)
{
	const struct group *g = NULL;
	struct log_line l;

	errno = 0;
	if (name[0] == '\0' || ((g = getgrnam(name)) != NULL && chown(path, (uid_t)-1, g->gr_gid) == 0 &&
				chmod(path, S_IRUSR | S_IWUSR | S_IRGRP | S_IWGRP) == 0))
		return;
	log_begin(&l, LOG_WARN, "control_group");
	log_str(&l, "group", name);
	log_str(&l, "reason", g == NULL && errno == 0 ? "there is no such group" : errno == EPERM ? "the daemon's user is no member" : strerror(errno));
	log_end(&l);
}

struct control *
control_open(struct relay *relay, const char *path, const char *group, char *why, size_t why_len)
{
	struct control *ct;
	int fd = listen_on(path, why, why_len);

	if (fd < 0)
		return NULL;
	open_to_group(path, group);
	ct = relay_alloc(sizeof(*ct));
	ct->relay = relay;
	ct->fd = fd;
	ct->path = relay_strndup(path, strlen(path));
	TAILQ_INIT(&ct->conns);
	ct->accept = event_new(relay->base, fd, EV_READ | EV_PERSIST, accept_cb, ct);
	ct->pause = evtimer_new(relay->base, pause_cb, ct);
	if (ct->accept == NULL || ct->pause == NULL || event_add(ct->accept, NULL) != 0)
		log_fatal("out_of_memory", "bytes=0");
	return ct;
}

void
control_close(struct control *ct)
{
	struct ctl_conn *c;

	if (ct == NULL)
		return;
	event_free(ct->accept);
	event_free(ct->pause);
	close(ct->fd);
	unlink(ct->path);
	ct->nconn++; /* a reference of our own while the connections go */
	ct->closing = true;
	while ((c = TAILQ_FIRST(&ct->conns)) != NULL)
		conn_end(c);
	ct->nconn--;
	control_free(ct);
}
