/* Tests relay/listener: the limit of connections, and what happens when descriptors run out. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <event2/event.h>

#include "tests/harness.h"

#include "relay/address.h"
#include "relay/clock.h"
#include "relay/listener.h"
#include "relay/log.h"

#define LIMIT_MS 10000
#define MANY 150

static struct event_base *base;
static struct event *tick;
static struct listener *listener;
static int accepted[MANY], naccepted, clients[MANY], nclients;

static void
tick_cb(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
}

static void
accept_cb(void *arg, int fd, const struct sockaddr *peer, socklen_t peer_len)
{
	char text[ADDRESS_TEXT_MAX];

	(void)arg;
	address_format(peer, peer_len, text);
	if (strncmp(text, "127.0.0.1:", 10) != 0)
		harness_fail(__FILE__, __LINE__, "got peer %s", text);
	accepted[naccepted++] = fd;
}

static void
stage_open(uint64_t max)
{
	static const struct timeval tv = { 0, 5000 };
	char why[200];

	log_set_level(LOG_ERROR);
	base = event_base_new();
	tick = event_new(base, -1, EV_PERSIST, tick_cb, NULL);
	event_add(tick, &tv);
	naccepted = nclients = 0;
	listener = listener_open(base, "127.0.0.1:0", max, accept_cb, NULL, why, sizeof(why));
}

static void
stage_close(void)
{
	listener_close(listener);
	event_free(tick);
	event_base_free(base);
	while (naccepted > 0)
		close(accepted[--naccepted]);
	while (nclients > 0)
		close(clients[--nclients]);
	log_set_level(LOG_INFO);
}

static void
connect_one(void)
{
	struct sockaddr_storage sa;
	socklen_t len;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK(address_parse(listener_address(listener), &sa, &len));
	CHECK_U64(connect(fd, (struct sockaddr *)&sa, len), 0);
	clients[nclients++] = fd;
}

#define RUN_UNTIL(cond) \
	do { \
		uint64_t give_up_ = clock_now_ms() + LIMIT_MS; \
		while (!(cond)) { \
			event_base_loop(base, EVLOOP_ONCE); \
			if (clock_now_ms() > give_up_) { \
				harness_fail(__FILE__, __LINE__, "waited in vain for %s", #cond); \
				return; \
			} \
		} \
	} while (0)

static void
run_passes(int n)
{
	while (n-- > 0)
		event_base_loop(base, EVLOOP_ONCE);
}

TEST(accepts)
{
	stage_open(1000);
	CHECK(listener != NULL);
	for (int i = 0; i < MANY; i++) /* more than one batch */
		connect_one();
	RUN_UNTIL(naccepted == MANY);
	CHECK_U64(listener_count(listener), MANY);
	stage_close();
}

TEST(limit_of_connections)
{
	stage_open(2);
	for (int i = 0; i < 4; i++)
		connect_one();
	RUN_UNTIL(naccepted == 2);
	run_passes(5);
	CHECK_U64(naccepted, 2);
	listener_release(listener);
	RUN_UNTIL(naccepted == 3);
	run_passes(5);
	CHECK_U64(naccepted, 3);
	listener_set_max(listener, 10);
	RUN_UNTIL(naccepted == 4);
	CHECK_U64(listener_count(listener), 3);
	stage_close();
}

/* Nearly out of descriptors: what comes is turned away, and accepting goes on when there are some again. */
TEST(keeps_a_reserve_of_descriptors)
{
	struct rlimit old, low;
	char c;

	stage_open(1000);
	getrlimit(RLIMIT_NOFILE, &old);
	low = old;
	connect_one();
	low.rlim_cur = (rlim_t)clients[0] + LISTENER_RESERVE;
	setrlimit(RLIMIT_NOFILE, &low);
	RUN_UNTIL(recv(clients[0], &c, 1, MSG_DONTWAIT) == 0);
	CHECK_U64(naccepted, 0);
	setrlimit(RLIMIT_NOFILE, &old);
	connect_one();
	RUN_UNTIL(naccepted == 1);
	stage_close();
}

/* Really out of them: the connection stays in the kernel's queue, and the loop does not spin over it. */
TEST(out_of_descriptors)
{
	struct rlimit old, low;
	unsigned passes = 0;
	uint64_t start;

	stage_open(1000);
	connect_one();
	getrlimit(RLIMIT_NOFILE, &old);
	low = old;
	low.rlim_cur = 3;
	setrlimit(RLIMIT_NOFILE, &low);
	start = clock_now_ms();
	for (; clock_now_ms() - start < 150; passes++)
		event_base_loop(base, EVLOOP_ONCE);
	setrlimit(RLIMIT_NOFILE, &old);
	CHECK_U64(naccepted, 0);
	CHECK(passes <= 40); /* tick alone makes 30 */
	RUN_UNTIL(naccepted == 1);
	stage_close();
}

TEST(says_why_it_cannot_listen)
{
	struct listener *second;
	char why[200], want[200];

	stage_open(10);
	CHECK(listener_open(base, "nonsense", 10, accept_cb, NULL, why, sizeof(why)) == NULL);
	CHECK_STR(why, "nonsense: not an address and port");
	second = listener_open(base, listener_address(listener), 10, accept_cb, NULL, why, sizeof(why));
	CHECK(second == NULL);
	snprintf(want, sizeof(want), "%s: Address already in use", listener_address(listener));
	CHECK_STR(why, want);
	stage_close();
}
