/* tests/peer/wsio: both ends of a connection in one loop, plain and TLS.
 *
 * One idea: a struct end records what its callbacks saw; run_until() turns the loop until a condition holds or a deadline
 * passes.  Each case states what it wants to have seen at both ends. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>
#include <event2/listener.h>
#include <sys/socket.h>

#include "protocol/http.h"

#include "tests/harness.h"
#include "tests/peer/cert.h"
#include "tests/peer/wsio.h"

#define DEADLINE_S 10
#define BIG (16u << 20)

struct end {
	struct wsio *w; /* NULL once closed */
	unsigned requests, messages;
	unsigned status;
	char protocol[64], why[160];
	size_t bytes, last_len;
	uint32_t sum; /* over all payload bytes, order counts */
	bool closed, in_message;
	int code;
	unsigned refuse; /* server: answer with this status */
	bool wait;	 /* server: do not answer by itself */
	bool echo;
};

static struct {
	struct event_base *base;
	int fd;
	unsigned port;
	struct cert_files files;
	bool tls;
	struct end server, client;
	struct event *accept;
} t;

static void
on_request(void *arg, struct wsio *w, const struct http_head *head)
{
	struct end *e = arg;

	e->requests++;
	snprintf(e->protocol, sizeof e->protocol, "%.*s", (int)head->protocol.len, (const char *)head->protocol.ptr);
	if (e->refuse != 0)
		wsio_answer_refuse(w, e->refuse, "Retry-After: 1\r\n", "no");
	else if (!e->wait)
		wsio_answer_101(w, "proto#1");
}

static void
on_answer(void *arg, struct wsio *w, unsigned status, const char *subprotocol)
{
	struct end *e = arg;

	(void)w;
	e->status = status;
	snprintf(e->protocol, sizeof e->protocol, "%s", subprotocol != NULL ? subprotocol : "");
}

static void
on_message(void *arg, struct wsio *w, const uint8_t *buf, size_t len)
{
	struct end *e = arg;
	size_t i;

	e->messages++;
	e->bytes += len;
	e->last_len = len;
	for (i = 0; i < len; i++)
		e->sum = e->sum * 31 + buf[i];
	if (e->echo && len > 0)
		wsio_send(w, buf, len / 2, buf + len / 2, len - len / 2);
	else if (e->echo)
		wsio_send(w, "", 0, "", 0);
}

static void
on_close(void *arg, struct wsio *w, int code, const char *why, bool in_message)
{
	struct end *e = arg;

	(void)w;
	e->w = NULL;
	e->closed = true;
	e->code = code;
	e->in_message = in_message;
	snprintf(e->why, sizeof e->why, "%s", why);
}

static const struct wsio_ops ops = { on_request, on_answer, on_message, on_close };

static void
accept_cb(evutil_socket_t fd, short what, void *arg)
{
	int conn = accept(fd, NULL, NULL);

	(void)what, (void)arg;
	if (conn >= 0)
		t.server.w = wsio_accept(t.base, conn, t.tls ? t.files.cert : NULL, t.files.key, &ops, &t.server);
}

static void
set_up(bool tls)
{
	memset(&t, 0, sizeof t);
	t.base = event_base_new();
	t.fd = wsio_listen(&t.port);
	t.tls = tls;
	if (t.fd < 0 || (tls && !cert_make(harness_tmpdir(), "ws", &t.files)))
		abort();
	t.accept = event_new(t.base, t.fd, EV_READ | EV_PERSIST, accept_cb, NULL);
	event_add(t.accept, NULL);
}

static void
dial(const char *ca)
{
	t.client.w = wsio_connect(t.base, "127.0.0.1", t.port, "/x?y=z", "proto#2, proto#1", "X-Extra: 1\r\n", ca, &ops, &t.client);
}

static bool
run_until(bool (*cond)(void))
{
	struct timeval now, limit, tick = { .tv_usec = 5000 };

	event_base_gettimeofday_cached(t.base, &limit);
	limit.tv_sec += DEADLINE_S;
	while (!cond()) {
		event_base_loopexit(t.base, &tick);
		event_base_loop(t.base, EVLOOP_ONCE);
		gettimeofday(&now, NULL);
		if (timercmp(&now, &limit, >))
			return false;
	}
	return true;
}

static bool
both_closed(void)
{
	return t.client.closed && t.server.closed;
}

static bool
client_closed(void)
{
	return t.client.closed;
}

static bool
is_open(void)
{
	return t.client.status == 101 && t.server.w != NULL;
}

static bool
asked(void)
{
	return t.server.requests == 1;
}

static void
tear_down(void)
{
	if (t.client.w != NULL)
		wsio_cut(t.client.w);
	if (t.server.w != NULL)
		wsio_cut(t.server.w);
	while (t.client.w != NULL || t.server.w != NULL)
		event_base_loop(t.base, EVLOOP_ONCE);
	event_free(t.accept);
	close(t.fd);
	event_base_free(t.base);
}

static bool
client_has_all(void)
{
	return t.client.messages == 4;
}

static void
echo_all(void)
{
	static const size_t size[] = { 0, 1, 70000, BIG };
	uint8_t *buf = malloc(BIG);
	uint32_t sum = 0;
	size_t i, j;

	dial(t.tls ? t.files.ca : NULL);
	CHECK(run_until(is_open));
	CHECK_STR(t.server.protocol, "proto#2, proto#1");
	CHECK_STR(t.client.protocol, "proto#1");
	t.server.echo = true;
	for (j = 0; j < BIG; j++)
		buf[j] = (uint8_t)(j * 7 + j / 251);
	for (i = 0; i < 4; i++) {
		wsio_send(t.client.w, buf, size[i], NULL, 0);
		for (j = 0; j < size[i]; j++)
			sum = sum * 31 + buf[j];
	}
	free(buf);
	CHECK(run_until(client_has_all));
	CHECK_U64(t.client.sum, sum);
	CHECK_U64(t.server.sum, sum);
	CHECK_U64(t.client.last_len, BIG);
	wsio_close(t.client.w, 1000);
	CHECK(run_until(both_closed));
	CHECK_U64(t.server.code, 1000);
	CHECK_U64(t.client.code, 1000);
	CHECK(!t.server.in_message);
}

TEST(wsio_echo_plain)
{
	set_up(false);
	echo_all();
	tear_down();
}

TEST(wsio_echo_tls)
{
	set_up(true);
	echo_all();
	tear_down();
}

TEST(wsio_refusal)
{
	set_up(false);
	t.server.refuse = 503;
	dial(NULL);
	CHECK(run_until(both_closed));
	CHECK_U64(t.client.status, 503);
	CHECK(t.client.code == -1 && t.server.code == -1);
	tear_down();
}

TEST(wsio_never_connected)
{
	set_up(false);
	close(t.fd);
	t.fd = -1;
	event_del(t.accept);
	dial(NULL);
	CHECK(run_until(client_closed));
	CHECK(t.client.code == -1);
	tear_down();
}

TEST(wsio_wrong_certificate)
{
	struct cert_files other;

	set_up(true);
	CHECK(cert_make(harness_tmpdir(), "other", &other));
	dial(other.ca);
	CHECK(run_until(both_closed));
	CHECK(t.client.code == -1);
	CHECK(strstr(t.client.why, "certificate") != NULL);
	tear_down();
}

/* Exactly the bytes asked for arrive before the cut. */
static void
cut_after(size_t part)
{
	static uint8_t buf[300000];

	dial(t.tls ? t.files.ca : NULL);
	CHECK(run_until(is_open));
	wsio_send(t.server.w, buf, 10, buf, 5);
	wsio_send_cut(t.server.w, buf, sizeof buf, part);
	CHECK(run_until(both_closed));
	CHECK_U64(t.client.messages, 1);
	CHECK_U64(t.client.last_len, 15);
	CHECK(t.client.code == 0);
	CHECK(t.client.in_message);
	CHECK(!t.server.in_message);
}

TEST(wsio_send_cut)
{
	static const size_t part[] = { 0, 1, 5000, 299999 };
	size_t i;

	for (i = 0; i < 8 && !harness_failed(); i++) {
		set_up(i >= 4);
		cut_after(part[i % 4]);
		tear_down();
	}
}

static bool
server_has_one(void)
{
	return t.server.messages == 1;
}

static bool
queue_is_stuck(void)
{
	static size_t last;
	static unsigned same;
	size_t now = wsio_queued(t.client.w);

	same = now == last ? same + 1 : 0;
	last = now;
	return same >= 20;
}

TEST(wsio_stall)
{
	uint8_t *buf = calloc(1, BIG);

	set_up(false);
	dial(NULL);
	CHECK(run_until(is_open));
	wsio_stall(t.server.w, true);
	wsio_send(t.client.w, buf, BIG, NULL, 0);
	free(buf);
	CHECK(run_until(queue_is_stuck));
	CHECK(wsio_queued(t.client.w) > 0);
	CHECK_U64(t.server.messages, 0);
	wsio_stall(t.server.w, false);
	CHECK(run_until(server_has_one));
	CHECK_U64(t.server.last_len, BIG);
	tear_down();
}

/* Requests answered late, by 101 and by nothing; the client's end is noticed meanwhile. */
TEST(wsio_late_answer)
{
	set_up(false);
	t.server.wait = true;
	dial(NULL);
	CHECK(run_until(asked));
	wsio_answer_101(t.server.w, "proto#2");
	CHECK(run_until(is_open));
	CHECK_STR(t.client.protocol, "proto#2");
	wsio_send(t.client.w, "hello", 5, NULL, 0);
	CHECK(run_until(server_has_one));
	tear_down();

	set_up(false);
	t.server.wait = true;
	dial(NULL);
	CHECK(run_until(asked));
	wsio_cut(t.client.w);
	CHECK(run_until(both_closed));
	CHECK(t.server.code == -1);
	tear_down();
}
