/* Tests relay/resolver with a look-up of our own behind a gate, so that "is being looked up" lasts as long as a test wants. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "tests/harness.h"

#include "relay/address.h"
#include "relay/clock.h"
#include "relay/resolver.h"

#define LIMIT_MS 10000

static struct event_base *base;
static struct event *tick;
static struct resolver *resolver;

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER; /* held: look-ups hang */
static _Atomic unsigned lookups, returned;

static void
gated_lookup(const char *host, uint16_t port, struct resolver_result *out)
{
	struct sockaddr_in *sa = (struct sockaddr_in *)&out->addr[0].addr;

	lookups++;
	pthread_mutex_lock(&gate);
	pthread_mutex_unlock(&gate);
	if (strncmp(host, "bad", 3) == 0) {
		out->why = "no such host";
	} else {
		sa->sin_family = AF_INET;
		sa->sin_addr.s_addr = htonl(0x0a000001 + lookups); /* each look-up finds another one */
		sa->sin_port = htons(port);
		out->addr[0].len = sizeof(*sa);
		out->n = 1;
	}
	returned++;
}

struct answer {
	unsigned calls;
	char text[ADDRESS_TEXT_MAX + 100];
	struct resolver_query *cancel; /* cancelled from inside */
	const char *ask;	       /* asked from inside */
	struct answer *ask_answer;
};

static void
answer_cb(void *arg, const struct resolver_result *r)
{
	struct answer *a = arg;

	a->calls++;
	if (r->why != NULL)
		snprintf(a->text, sizeof(a->text), "%s", r->why);
	else
		address_format((const struct sockaddr *)&r->addr[0].addr, r->addr[0].len, a->text);
	if (a->cancel != NULL)
		resolver_cancel(a->cancel);
	a->cancel = NULL;
	if (a->ask != NULL)
		resolver_ask(resolver, a->ask, 1, answer_cb, a->ask_answer);
	a->ask = NULL;
}

static void
tick_cb(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
}

static void
stage_open(resolver_lookup *lookup)
{
	static const struct timeval tv = { 0, 5000 };

	base = event_base_new();
	tick = event_new(base, -1, EV_PERSIST, tick_cb, NULL);
	event_add(tick, &tv);
	resolver = resolver_new(base, lookup);
	lookups = returned = 0;
}

static void
stage_close(void)
{
	if (resolver != NULL)
		resolver_free(resolver);
	resolver = NULL;
	event_free(tick);
	event_base_free(base);
	clock_real();
}

#define RUN_UNTIL(cond) \
	do { \
		for (int tries_ = LIMIT_MS / 5; !(cond); tries_--) { \
			event_base_loop(base, EVLOOP_ONCE); \
			if (tries_ == 0) { \
				harness_fail(__FILE__, __LINE__, "waited in vain for %s", #cond); \
				return; \
			} \
		} \
	} while (0)

TEST(numeric_addresses)
{
	struct answer a = { 0 }, b = { 0 };

	stage_open(gated_lookup);
	resolver_ask(resolver, "192.0.2.7", 443, answer_cb, &a);
	resolver_ask(resolver, "2001:db8::7", 80, answer_cb, &b);
	CHECK_U64(a.calls + b.calls, 0); /* not from inside */
	RUN_UNTIL(a.calls == 1 && b.calls == 1);
	CHECK_STR(a.text, "192.0.2.7:443");
	CHECK_STR(b.text, "[2001:db8::7]:80");
	CHECK_U64(lookups, 0);
	stage_close();
}

TEST(one_look_up_for_many)
{
	struct answer a[5] = { 0 };

	clock_set(1000, 1000);
	stage_open(gated_lookup);
	pthread_mutex_lock(&gate);
	for (int i = 0; i < 5; i++)
		resolver_ask(resolver, "sync.example", 443, answer_cb, &a[i]);
	RUN_UNTIL(lookups == 1);
	for (int i = 0; i < 3; i++)
		event_base_loop(base, EVLOOP_ONCE);
	pthread_mutex_unlock(&gate);
	RUN_UNTIL(a[0].calls + a[1].calls + a[2].calls + a[3].calls + a[4].calls == 5);
	CHECK_U64(lookups, 1);
	for (int i = 0; i < 5; i++)
		CHECK_STR(a[i].text, "10.0.0.2:443");
	stage_close();
}

TEST(answers_are_kept_for_a_while)
{
	struct answer a = { 0 };

	clock_set(1000, 1000);
	stage_open(gated_lookup);
	resolver_ask(resolver, "sync.example", 443, answer_cb, &a);
	RUN_UNTIL(a.calls == 1);
	clock_advance(RESOLVER_TTL_MS - 1);
	resolver_ask(resolver, "sync.example", 443, answer_cb, &a);
	CHECK_U64(a.calls, 1);
	RUN_UNTIL(a.calls == 2);
	CHECK_U64(lookups, 1);
	resolver_ask(resolver, "sync.example", 80, answer_cb, &a); /* another port is another question */
	RUN_UNTIL(a.calls == 3);
	CHECK_U64(lookups, 2);
	clock_advance(1);
	resolver_ask(resolver, "sync.example", 443, answer_cb, &a);
	RUN_UNTIL(a.calls == 4);
	CHECK_U64(lookups, 3);
	CHECK_STR(a.text, "10.0.0.4:443");
	stage_close();
}

TEST(failures_are_kept_shortly)
{
	struct answer a = { 0 };

	clock_set(1000, 1000);
	stage_open(gated_lookup);
	resolver_ask(resolver, "bad.example", 443, answer_cb, &a);
	RUN_UNTIL(a.calls == 1);
	CHECK_STR(a.text, "no such host");
	clock_advance(RESOLVER_FAIL_TTL_MS - 1);
	resolver_ask(resolver, "bad.example", 443, answer_cb, &a);
	RUN_UNTIL(a.calls == 2);
	CHECK_U64(lookups, 1);
	clock_advance(1);
	resolver_ask(resolver, "bad.example", 443, answer_cb, &a);
	RUN_UNTIL(a.calls == 3);
	CHECK_U64(lookups, 2);
	stage_close();
}

TEST(cancelled_queries_are_not_answered)
{
	struct answer a = { 0 }, b = { 0 }, c = { 0 }, d = { 0 };
	struct resolver_query *qa, *qd;

	stage_open(gated_lookup);
	pthread_mutex_lock(&gate);
	qa = resolver_ask(resolver, "sync.example", 1, answer_cb, &a); /* cancelled while looked up */
	resolver_ask(resolver, "sync.example", 1, answer_cb, &b);
	qd = resolver_ask(resolver, "192.0.2.1", 1, answer_cb, &d); /* cancelled while due */
	resolver_cancel(qa);
	resolver_cancel(qd);
	resolver_ask(resolver, "192.0.2.2", 1, answer_cb, &c);
	pthread_mutex_unlock(&gate);
	RUN_UNTIL(b.calls == 1 && c.calls == 1);
	CHECK_U64(a.calls + d.calls, 0);
	stage_close();
}

TEST(ask_and_cancel_inside_a_callback)
{
	struct answer a = { 0 }, b = { 0 }, c = { 0 };

	stage_open(gated_lookup);
	a.ask = "192.0.2.3";
	a.ask_answer = &c;
	resolver_ask(resolver, "192.0.2.1", 1, answer_cb, &a);
	a.cancel = resolver_ask(resolver, "192.0.2.2", 1, answer_cb, &b);
	RUN_UNTIL(c.calls == 1);
	CHECK_U64(a.calls, 1);
	CHECK_U64(b.calls, 0);
	CHECK_STR(c.text, "192.0.2.3:1");
	stage_close();
}

TEST(too_many_names)
{
	struct answer a = { 0 }, last = { 0 };
	char name[32];

	stage_open(gated_lookup);
	pthread_mutex_lock(&gate);
	for (int i = 0; i < RESOLVER_NAMES; i++) {
		snprintf(name, sizeof(name), "name%d.example", i);
		resolver_ask(resolver, name, 1, answer_cb, &a);
	}
	resolver_ask(resolver, "one-more.example", 1, answer_cb, &last);
	RUN_UNTIL(last.calls == 1);
	CHECK_STR(last.text, "too many names are being looked up");
	CHECK_U64(a.calls, 0);
	pthread_mutex_unlock(&gate);
	RUN_UNTIL(a.calls == RESOLVER_NAMES);
	resolver_ask(resolver, "one-more.example", 1, answer_cb, &last); /* in the place of one that is only remembered */
	RUN_UNTIL(last.calls == 2);
	CHECK(strncmp(last.text, "10.0.", 5) == 0);
	stage_close();
}

TEST(long_names)
{
	struct answer a = { 0 };
	char name[400];

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	stage_open(gated_lookup);
	resolver_ask(resolver, name, 1, answer_cb, &a);
	RUN_UNTIL(a.calls == 1);
	CHECK_STR(a.text, "host name too long");
	stage_close();
}

/* resolver_free must not wait for a look-up that hangs; what is left behind frees itself (LeakSanitizer watches). */
TEST(free_while_looking_up)
{
	struct answer a = { 0 };

	stage_open(gated_lookup);
	pthread_mutex_lock(&gate);
	resolver_ask(resolver, "slow.example", 1, answer_cb, &a);
	resolver_ask(resolver, "next.example", 1, answer_cb, &a);
	resolver_ask(resolver, "192.0.2.1", 1, answer_cb, &a);
	RUN_UNTIL(lookups == 1);
	a.calls = 0;
	resolver_free(resolver);
	resolver = NULL;
	pthread_mutex_unlock(&gate);
	RUN_UNTIL(returned == 1);
	CHECK_U64(a.calls, 0);
	stage_close();
}

TEST(getaddrinfo_finds_localhost)
{
	struct answer a = { 0 };

	stage_open(NULL);
	resolver_ask(resolver, "localhost", 7800, answer_cb, &a);
	RUN_UNTIL(a.calls == 1);
	CHECK(strcmp(a.text, "127.0.0.1:7800") == 0 || strcmp(a.text, "[::1]:7800") == 0);
	stage_close();
}
