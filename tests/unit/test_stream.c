/* Tests relay/stream, plain and TLS alike where both can be: every test that takes a `tls` runs twice.
 *
 * What TLS adds - certificates, handshakes, records - is in test_stream_tls.c. */
#include "tests/unit/stream_pair.h"

#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define NEVER .close_on = -1

/* Runs body(false), then body(true). */
#define BOTH(name) \
	static void both_##name(bool tls); \
	TEST(name##_plain) \
	{ \
		both_##name(false); \
	} \
	TEST(name##_tls) \
	{ \
		both_##name(true); \
	} \
	static void both_##name(bool tls)

BOTH(opens_and_talks)
{
	struct end c = { NEVER, .to_send = 10 }, s = { NEVER, .to_send = 20 };

	stage_open();
	connect_pair(&c, &s, tls);
	CHECK_U64(c.opens + s.opens, 0);
	RUN_UNTIL(s.got == 10 && c.got == 20);
	CHECK(!c.bad && !s.bad);
	CHECK_U64(c.opens, 1);
	CHECK_U64(s.opens, 1);
	CHECK_U64(c.drained, 1);
	CHECK_U64(stream_sent(c.s), 10);
	CHECK_U64(stream_received(c.s), 20);
	CHECK_U64(stream_queued(c.s), 0);
	CHECK(c.verified == tls);
	end_close(&c);
	RUN_UNTIL(s.ends == 1);
	CHECK_STR(s.why, "closed by peer");
	CHECK_U64(c.late, 0);
	end_close(&s);
	stage_close();
}

/* Both directions at once through tiny kernel buffers, consumed and suspended at random. */
BOTH(large_both_ways)
{
	const uint64_t total = 1500000;
	struct end c = { NEVER, .to_send = total, .random = 4711 }, s = { NEVER, .to_send = total, .random = 815 };
	struct sockaddr_in sa;
	int lfd, fd;

	stage_open();
	lfd = listen_loopback(&sa);
	small_buffers(lfd);
	c.s = stream_connect((struct sockaddr *)&sa, sizeof sa, tls ? tls_of(false) : NULL, "localhost", end_cb, &c);
	fd = accept(lfd, NULL, NULL);
	close(lfd);
	small_buffers(fd);
	s.s = stream_accept(fd, tls ? tls_of(true) : NULL, end_cb, &s);
	for (uint64_t give_up = clock_now_ms() + LIMIT_MS * 3; (c.got < total || s.got < total) && clock_now_ms() < give_up;) {
		feed(&c);
		feed(&s);
		pass();
		if (next_random(&c) % 2 == 0)
			stream_resume(c.s, SUSPEND_OUTBUF);
		if (next_random(&s) % 2 == 0)
			stream_resume(s.s, SUSPEND_OUTBUF);
		CHECK(!c.bad && !s.bad);
	}
	CHECK_U64(c.got, total);
	CHECK_U64(s.got, total);
	CHECK_U64(c.errors + s.errors + c.ends + s.ends, 0);
	end_close(&c);
	end_close(&s);
	stage_close();
}

BOTH(partial_consumption_keeps_the_rest)
{
	struct end c = { NEVER, .to_send = 1000 }, s = { NEVER, .take = 7 };

	stage_open();
	connect_pair(&c, &s, tls);
	RUN_UNTIL(s.got == 7);
	run_passes(3);
	CHECK_U64(s.datas, 1); /* not offered again without a reason */
	while (s.got < 1000 - 6) {
		uint64_t before = s.got;

		stream_suspend(s.s, SUSPEND_SPOOL);
		stream_resume(s.s, SUSPEND_SPOOL);
		CHECK_U64(s.got, before); /* not from inside the call */
		RUN_UNTIL(s.got > before);
		CHECK_U64(s.got, before + 7);
	}
	c.to_send = 1001; /* the rest comes with the next bytes */
	s.take = 0;
	feed(&c);
	RUN_UNTIL(s.got == 1001);
	CHECK(!s.bad);
	end_close(&c);
	end_close(&s);
	stage_close();
}

/* Everything has arrived (and, with TLS, lies inside OpenSSL) when reading is suspended: resume must bring it up. */
BOTH(suspended_bytes_are_not_forgotten)
{
	struct end c = { NEVER, .to_send = 90000 }, s = { NEVER, .hold = 2 };

	stage_open();
	connect_pair(&c, &s, tls);
	RUN_UNTIL(s.datas == 1);
	RUN_UNTIL(c.sent == 90000 && stream_queued(c.s) == 0);
	run_passes(5);
	CHECK_U64(s.datas, 1);
	stream_suspend(s.s, SUSPEND_SPOOL);
	stream_resume(s.s, SUSPEND_OPEN);
	run_passes(5);
	CHECK_U64(s.datas, 1); /* the other reason still stands */
	stream_resume(s.s, SUSPEND_SPOOL);
	RUN_UNTIL(s.datas == 2);
	stream_resume(s.s, SUSPEND_OPEN);
	RUN_UNTIL(s.got == 90000);
	CHECK(!s.bad);
	end_close(&c);
	end_close(&s);
	stage_close();
}

/* More than the stream's own buffer holds may be read to the owner's place at once, and the owner may suspend when it has it. */
BOTH(a_place_of_the_owners)
{
	static uint8_t place[300000];
	struct end c = { NEVER, .to_send = 3000000 }, s = { NEVER, .place = place, .place_len = sizeof place };

	stage_open();
	connect_pair(&c, &s, tls);
	while (s.got < 3000000) {
		unsigned placed = s.placed;

		RUN_UNTIL(s.got == 3000000 || s.placed / 3 > placed / 3);
		run_passes(2);
		stream_resume(s.s, SUSPEND_SPOOL);
	}
	CHECK(!s.bad);
	CHECK(s.placed > 5);
	end_close(&c);
	end_close(&s);
	stage_close();
}

BOTH(resume_inside_the_callback)
{
	struct end c = { NEVER, .to_send = 500 }, s = { NEVER, .hold = 3, .hold_resume = true };

	stage_open();
	connect_pair(&c, &s, tls);
	RUN_UNTIL(s.got == 500);
	CHECK_U64(s.hold, 0);
	CHECK(!s.bad);
	end_close(&c);
	end_close(&s);
	stage_close();
}

/* Data and the end of it arrive while reading is suspended: first the data, then, once, the end. */
BOTH(end_waits_for_data)
{
	struct end c = { .close_on = STREAM_DRAINED, .to_send = 30000 }, s = { NEVER, .hold = 1 };

	stage_open();
	connect_pair(&c, &s, tls);
	RUN_UNTIL(s.datas == 1 && c.closed);
	run_passes(5);
	CHECK_U64(s.ends + s.errors, 0);
	s.take = 29000;
	stream_resume(s.s, SUSPEND_OPEN);
	RUN_UNTIL(s.ends == 1);
	CHECK_U64(s.got, 29000); /* 1000 bytes were offered, were not wanted, and no more can come */
	CHECK(!s.bad);
	run_passes(3);
	CHECK_U64(s.ends, 1);
	end_close(&s);
	stage_close();
}

BOTH(input_that_is_never_consumed)
{
	struct end c = { NEVER, .to_send = 300000 }, s = { NEVER, .deaf = true };

	stage_open();
	connect_pair(&c, &s, tls);
	RUN_UNTIL(s.errors == 1);
	CHECK_STR(s.why, "input is not consumed");
	end_close(&c);
	end_close(&s);
	stage_close();
}

/* ---- closing inside each callback ---- */

BOTH(close_on_open)
{
	struct end c = { .close_on = STREAM_OPEN, .to_send = 5 }, s = { NEVER };

	stage_open();
	connect_pair(&c, &s, tls);
	RUN_UNTIL(s.ends + s.errors == 1);
	CHECK_U64(c.late, 0);
	CHECK_U64(s.got, 0);
	end_close(&s);
	stage_close();
}

BOTH(close_on_data)
{
	struct end c = { NEVER, .to_send = 400000 }, s = { .close_on = STREAM_DATA };

	stage_open();
	connect_pair(&c, &s, tls);
	RUN_UNTIL(c.ends + c.errors == 1);
	CHECK_U64(s.datas, 1);
	CHECK_U64(s.late, 0);
	end_close(&c);
	stage_close();
}

BOTH(close_on_end)
{
	struct end c = { .close_on = STREAM_DRAINED, .to_send = 5 }, s = { .close_on = STREAM_EOF };

	stage_open();
	connect_pair(&c, &s, tls);
	RUN_UNTIL(s.closed);
	CHECK_U64(s.got, 5);
	CHECK_U64(s.late + c.late, 0);
	stage_close();
}

BOTH(close_on_error)
{
	struct end c = { .close_on = STREAM_ERROR };
	int fd;

	stage_open();
	fd = connect_stream(&c, tls ? tls_of(false) : NULL, "localhost");
	if (!tls)
		RUN_UNTIL(c.opens == 1);
	raw_reset(fd);
	RUN_UNTIL(c.closed);
	CHECK_U64(c.late, 0);
	CHECK(strstr(c.why, "Connection reset by peer") != NULL);
	stage_close();
}

/* ---- output ---- */

BOTH(drained_once_per_rise)
{
	static uint8_t block[50000];
	struct end c = { NEVER }, s = { NEVER };

	stage_open();
	for (size_t i = 0; i < sizeof block; i++)
		block[i] = pattern(i);
	connect_pair(&c, &s, tls);
	RUN_UNTIL(c.opens == 1 && s.opens == 1);
	stream_set_low_water(c.s, 1000);
	stream_write(c.s, block, 1000);
	RUN_UNTIL(s.got == 1000);
	CHECK_U64(c.drained, 0); /* was never above */
	stream_write(c.s, block + 1000, 2000);
	stream_write(c.s, block + 3000, 2000);
	RUN_UNTIL(s.got == 5000);
	CHECK_U64(c.drained, 1);
	stream_write(c.s, block + 5000, 1500);
	stream_set_low_water(c.s, 2000); /* raised above the queue */
	run_passes(2);
	CHECK_U64(c.drained, 2);
	RUN_UNTIL(s.got == 6500);
	CHECK(!s.bad);
	end_close(&c);
	end_close(&s);
	stage_close();
}

/* Written when the pass has already flushed, and from inside STREAM_DRAINED: must not wait for another event. */
BOTH(written_outside_a_pass)
{
	struct end c = { NEVER, .to_send = 1 }, s = { NEVER };
	uint64_t start = clock_now_ms();

	stage_open();
	connect_pair(&c, &s, tls);
	RUN_UNTIL(s.got == 1);
	event_del(tick);
	c.to_send = 200000; /* more than feed() queues at once: the rest is queued by STREAM_DRAINED */
	feed(&c);
	while (s.got < 200000 && clock_now_ms() - start < LIMIT_MS)
		pass();
	CHECK_U64(s.got, 200000);
	end_close(&c);
	end_close(&s);
	stage_close();
}

TEST(idle_streams_let_the_loop_wait)
{
	struct end c = { NEVER, .to_send = 1 }, s = { NEVER };
	unsigned passes = 0;
	uint64_t start;

	stage_open();
	connect_pair(&c, &s, false);
	RUN_UNTIL(s.got == 1);
	run_passes(5);
	start = clock_now_ms();
	for (; clock_now_ms() - start < 100; passes++)
		pass();
	CHECK(passes <= 25); /* tick alone makes 20 */
	end_close(&c);
	end_close(&s);
	stage_close();
}

/* ---- closing with output left ---- */

BOTH(flush_close_sends_all)
{
	struct end c = { NEVER, .to_send = 80000 }, s = { NEVER };

	stage_open();
	connect_pair(&c, &s, tls);
	RUN_UNTIL(c.opens == 1 && s.opens == 1);
	c.to_send = 160000;
	feed(&c);
	c.closed = true;
	stream_close(c.s, true, LIMIT_MS);
	RUN_UNTIL(s.ends == 1);
	CHECK_U64(s.got, c.sent);
	CHECK(!s.bad);
	CHECK_U64(c.late, 0);
	end_close(&s);
	stage_close();
}

/* The peer goes on sending while we close: what we said last must still reach it, so the kernel must have no reason for a RST. */
BOTH(flush_close_against_traffic)
{
	struct end c = { NEVER, .to_send = 1000 }, s = { NEVER, .to_send = 3000000 };

	stage_open();
	connect_pair(&c, &s, tls);
	RUN_UNTIL(c.opens == 1 && s.opens == 1);
	stream_suspend(c.s, SUSPEND_DRAIN);
	RUN_UNTIL(s.sent > 200000);
	c.closed = true;
	stream_close(c.s, true, LIMIT_MS);
	RUN_UNTIL(s.ends == 1);
	CHECK_U64(s.got, 1000);
	CHECK_U64(s.errors, 0);
	end_close(&s);
	stage_close();
}

TEST(flush_close_has_a_deadline)
{
	static uint8_t block[3000000];
	struct end c = { NEVER };
	uint64_t start = clock_now_ms();
	uint8_t buf[65536];
	bool eof = false;
	ssize_t n = 0;
	int fd;

	stage_open();
	fd = connect_stream(&c, NULL, NULL);
	RUN_UNTIL(c.opens == 1);
	stream_write(c.s, block, sizeof block);
	stream_close(c.s, true, 100);
	RUN_UNTIL(stream_lingering() == 0); /* nobody reads */
	for (size_t total = 0; !eof && n >= 0; total += n > 0 ? (size_t)n : 0) {
		pass();
		n = raw_read(fd, buf, sizeof buf, &eof);
		CHECK(total < sizeof block); /* cut */
		CHECK(clock_now_ms() - start < LIMIT_MS);
	}
	close(fd);
	stage_close();
}

TEST(fini_ends_what_lingers)
{
	static uint8_t block[3000000];
	struct end c = { NEVER }, d = { NEVER };
	int fd, fd2;

	stage_open();
	fd = connect_stream(&c, NULL, NULL);
	fd2 = connect_stream(&d, NULL, NULL);
	RUN_UNTIL(c.opens == 1 && d.opens == 1);
	stream_write(c.s, block, sizeof block);
	stream_close(c.s, true, LIMIT_MS);
	stream_write(d.s, block, 10); /* never flushed, never closed */
	stage_close();
	close(fd);
	close(fd2);
	CHECK_U64(c.late + d.ends + d.errors, 0);
}

/* ---- raw peers, plain only ---- */

TEST(half_close_still_writes)
{
	struct end c = { NEVER };
	uint8_t buf[16], want[5];
	bool eof;
	int fd;

	stage_open();
	fd = connect_stream(&c, NULL, NULL);
	RUN_UNTIL(c.opens == 1);
	shutdown(fd, SHUT_WR);
	RUN_UNTIL(c.ends == 1);
	stream_write(c.s, "after", 5);
	stream_close(c.s, true, LIMIT_MS);
	for (int i = 0; i < 5; i++)
		want[i] = (uint8_t)"after"[i];
	run_passes(3);
	CHECK_MEM(buf, raw_read(fd, buf, sizeof buf, &eof), want, 5);
	CHECK_U64(raw_read(fd, buf, sizeof buf, &eof), 0);
	CHECK(eof);
	close(fd);
	stage_close();
}

TEST(reset_is_an_error)
{
	struct end c = { NEVER };
	int fd;

	stage_open();
	fd = connect_stream(&c, NULL, NULL);
	RUN_UNTIL(c.opens == 1);
	raw_reset(fd);
	RUN_UNTIL(c.errors == 1);
	CHECK_STR(c.why, "read: Connection reset by peer");
	CHECK_U64(c.ends, 0);
	CHECK(!c.cert_failed);
	run_passes(3);
	stream_write(c.s, "x", 1); /* goes nowhere */
	CHECK_U64(stream_queued(c.s), 0);
	end_close(&c);
	stage_close();
}

/* The peer says something and is gone; we learn it by a write that fails.  What it said comes first. */
static void
write_fails_with_input_pending(bool suspended)
{
	struct end c = { NEVER, .hold = suspended ? 1 : 0 };
	uint8_t last[100];
	int fd;

	stage_open();
	fd = connect_stream(&c, NULL, NULL);
	RUN_UNTIL(c.opens == 1);
	for (size_t i = 0; i < sizeof last; i++)
		last[i] = pattern(i);
	stream_suspend(c.s, SUSPEND_SPOOL);
	CHECK_U64(send(fd, last, sizeof last, 0), sizeof last);
	close(fd);
	for (int i = 0; i < 20; i++) { /* the first one is answered with a RST */
		stream_write(c.s, "ping", 4);
		pass();
	}
	CHECK_U64(stream_queued(c.s), 0);
	CHECK(c.drained > 0); /* who waits for room must not wait for ever */
	CHECK_U64(c.errors + c.datas, 0);
	stream_resume(c.s, SUSPEND_SPOOL);
	if (suspended) {
		RUN_UNTIL(c.datas == 1);
		run_passes(3);
		CHECK_U64(c.errors, 0);
		stream_resume(c.s, SUSPEND_OPEN);
	}
	RUN_UNTIL(c.errors == 1);
	CHECK_U64(c.got, sizeof last);
	CHECK(!c.bad);
	CHECK_U64(c.ends, 0);
	CHECK(strncmp(c.why, "write: ", 7) == 0);
	end_close(&c);
	stage_close();
}

TEST(write_failure_gives_input_first)
{
	write_fails_with_input_pending(false);
}

TEST(write_failure_waits_for_resume)
{
	write_fails_with_input_pending(true);
}

/* ---- connecting ---- */

TEST(connect_refused)
{
	struct end c = { NEVER, .to_send = 10 };
	struct sockaddr_in sa;

	stage_open();
	close(listen_loopback(&sa)); /* a port nobody listens on now */
	c.s = stream_connect((struct sockaddr *)&sa, sizeof sa, NULL, NULL, end_cb, &c);
	CHECK_U64(c.errors, 0);
	stream_write(c.s, "early", 5);
	RUN_UNTIL(c.errors == 1);
	CHECK_STR(c.why, "connect: Connection refused");
	CHECK_U64(c.opens, 0);
	end_close(&c);
	stage_close();
}

/* connect(2) itself fails: still told from the loop. */
TEST(connect_fails_at_once)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons(9) };
	struct end c = { NEVER };

	stage_open();
	sa.sin_addr.s_addr = htonl(INADDR_BROADCAST);
	c.s = stream_connect((struct sockaddr *)&sa, sizeof sa, NULL, NULL, end_cb, &c);
	CHECK(c.s != NULL);
	CHECK_U64(c.errors, 0);
	RUN_UNTIL(c.errors == 1);
	CHECK(strncmp(c.why, "connect: ", 9) == 0);
	end_close(&c);
	stage_close();
}

TEST(close_before_open)
{
	struct end c = { NEVER, .to_send = 10 };
	int fd;

	stage_open();
	fd = connect_stream(&c, NULL, NULL);
	stream_write(c.s, "x", 1);
	c.closed = true;
	stream_close(c.s, true, LIMIT_MS);
	run_passes(5);
	CHECK_U64(c.late + c.opens + c.errors, 0);
	close(fd);
	stage_close();
}

TEST(no_descriptors_left)
{
	struct rlimit old, none;
	struct sockaddr_in sa;
	struct end c = { NEVER };
	int lfd;

	stage_open();
	lfd = listen_loopback(&sa);
	getrlimit(RLIMIT_NOFILE, &old);
	none = old;
	none.rlim_cur = 3;
	setrlimit(RLIMIT_NOFILE, &none);
	c.s = stream_connect((struct sockaddr *)&sa, sizeof sa, NULL, NULL, end_cb, &c);
	setrlimit(RLIMIT_NOFILE, &old);
	CHECK(c.s == NULL);
	close(lfd);
	stage_close();
}

/* A stream that can always be read must not keep the others waiting. */
TEST(one_fast_peer_does_not_starve_others)
{
	struct end a = { NEVER }, b = { NEVER };
	static uint8_t block[1 << 20];
	int fa, fb, size = 4 << 20;

	stage_open();
	for (size_t i = 0; i < sizeof block; i++)
		block[i] = pattern(i);
	fa = connect_stream(&a, NULL, NULL);
	fb = connect_stream(&b, NULL, NULL);
	RUN_UNTIL(a.opens == 1 && b.opens == 1);
	stream_suspend(a.s, SUSPEND_OPEN);
	setsockopt(fa, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
	CHECK(send(fa, block, sizeof block, MSG_DONTWAIT) > 300000);
	CHECK_U64(send(fb, block, 10, 0), 10);
	stream_resume(a.s, SUSPEND_OPEN);
	RUN_UNTIL(b.got == 10);
	CHECK(a.got <= 2 * 256 * 1024);
	close(fa);
	close(fb);
	RUN_UNTIL(a.ends == 1);
	end_close(&a);
	end_close(&b);
	stage_close();
}

/* ---- memory that runs out ---- */

static long fail_at;   /* of the next calls the one that fails; 0 = none: */
static bool fail_ctl;  /* epoll_ctl(2), else libevent's allocations of some size */

/* Only what streams ask for: events.  libevent's own bookkeeping is smaller. */
static void *
failing_malloc(size_t n)
{
	return n >= 128 && !fail_ctl && fail_at > 0 && --fail_at == 0 ? NULL : malloc(n);
}

int
epoll_ctl(int epoll, int op, int fd, struct epoll_event *event)
{
	if (!fail_ctl || fail_at <= 0 || --fail_at > 0)
		return (int)syscall(SYS_epoll_ctl, epoll, op, fd, event);
	errno = ENOMEM;
	return -1;
}

__attribute__((constructor)) static void
take_over_allocation(void)
{
	event_set_mem_functions(failing_malloc, realloc, free);
}

/* Fails the Nth call, N = 1, 2, 3 ... until none is left to fail.  The ends see an error or a shorter stream, never a wrong byte. */
static void
fail_each(bool tls, bool ctl)
{
	long n = 1, fault_left;
	bool told = false;

	stage_open();
	fail_ctl = ctl;
	do {
		struct end c = { NEVER, .to_send = 30000 }, s = { NEVER, .to_send = 30000 };

		connect_pair(&c, &s, tls);
		fail_at = n++;
		RUN_UNTIL((c.got == 30000 && s.got == 30000) || c.errors + c.ends + s.errors + s.ends > 0);
		c.closed = s.closed = true;
		stream_close(c.s, true, LIMIT_MS);
		stream_close(s.s, true, LIMIT_MS);
		run_passes(3);
		fault_left = fail_at;
		fail_at = 0;
		CHECK(!c.bad && !s.bad);
		CHECK_U64(c.late + s.late, 0);
		told = told || strcmp(c.why, "cannot watch the socket") == 0 || strcmp(s.why, "cannot watch the socket") == 0;
	} while (fault_left == 0 && n < 1000);
	CHECK(n > 3 && n < 1000);
	CHECK(told == ctl);
	stage_close();
}

BOTH(out_of_memory_for_an_event)
{
	fail_each(tls, false);
}

/* Nobody would tell when it can go on, so it ends. */
BOTH(out_of_memory_in_the_kernel)
{
	fail_each(tls, true);
}
