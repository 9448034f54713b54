/* Tests what relay/stream does with many streams that can go on at the same time: they are read together and written together, so what the callback
 * of one does to another meets bytes that have been read already.  With a ring and without it must come to the same.
 *
 * recv(2), send(2) and sendmsg(2) of the program are counted: with a ring there are none. */
#include "tests/unit/stream_pair.h"

#include <stdlib.h>

#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "relay/ring.h"

#define NEVER .close_on = -1
#define MANY 32 /* two bursts */

/* ---- the stage: MANY streams of ours, each with a raw peer ---- */

static unsigned calls; /* by relay/stream: the peers of the tests read and write */

ssize_t
recv(int fd, void *buf, size_t len, int flags)
{
	calls++;
	return syscall(SYS_recvfrom, fd, buf, len, flags, NULL, NULL);
}

ssize_t
send(int fd, const void *buf, size_t len, int flags)
{
	calls++;
	return syscall(SYS_sendto, fd, buf, len, flags, NULL, 0);
}

ssize_t
sendmsg(int fd, const struct msghdr *msg, int flags)
{
	calls++;
	return syscall(SYS_sendmsg, fd, msg, flags);
}

static struct end ends[MANY];
static int peers[MANY];
static uint64_t peer_got[MANY];
static bool peer_over[MANY], peer_reset[MANY], peer_bad; /* over: by FIN or RST */
static void (*deed)(struct end *doer); /* done once, by the first callback with.. */
static enum stream_event deed_on;      /* ..this: STREAM_DATA, or STREAM_DRAINED */

static size_t
many_cb(void *arg, struct stream *s, enum stream_event ev, uint8_t *buf, size_t len)
{
	void (*now)(struct end *) = deed;

	if (ev == deed_on && now != NULL) {
		deed = NULL;
		now(arg);
	}
	return end_cb(arg, s, ev, buf, len);
}

/* False: there is no ring to be had. */
static bool
many_open(bool ring)
{
	struct sockaddr_in sa;
	int lfd, size = 400000; /* for what long_ones has unread */
	unsigned opens;

	if (ring && !ring_init())
		return false;
	deed = NULL;
	deed_on = STREAM_DATA;
	peer_bad = false;
	stage_open();
	lfd = listen_loopback(&sa);
	setsockopt(lfd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	for (int i = 0; i < MANY; i++) {
		ends[i] = (struct end){ NEVER };
		peer_got[i] = 0;
		peer_over[i] = peer_reset[i] = false;
		peers[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (connect(peers[i], (struct sockaddr *)&sa, sizeof(sa)) == 0)
			ends[i].s = stream_accept(accept(lfd, NULL, NULL), NULL, many_cb, &ends[i]);
	}
	close(lfd);
	for (int n = 0; n < 1000; n++) {
		pass();
		opens = 0;
		for (int i = 0; i < MANY; i++)
			opens += ends[i].opens;
		if (opens == MANY)
			break;
	}
	calls = 0;
	return true;
}

static void
many_close(void)
{
	for (int i = 0; i < MANY; i++) {
		end_close(&ends[i]);
		if (peers[i] >= 0)
			close(peers[i]);
	}
	stage_close();
	ring_fini();
}

#define NO_RING "this kernel has no io_uring for us"

/* Runs body(false), then body(true), each on an open stage. */
#define BOTH(name) \
	static void both_##name(bool ring); \
	TEST(name##_one_by_one) \
	{ \
		if (many_open(false)) \
			both_##name(false); \
		many_close(); \
	} \
	TEST(name##_together) \
	{ \
		if (!many_open(true)) \
			SKIP(NO_RING); \
		both_##name(true); \
		many_close(); \
	} \
	static void both_##name(bool ring)

/* Bytes from..to of the pattern, to all of ours; their kernels have them when it returns, as far as they take them. */
static void
peers_say(uint64_t from, uint64_t to)
{
	uint8_t buf[4096];
	int unsent;

	for (int i = 0; i < MANY; i++)
		for (uint64_t at = from; at < to && peers[i] >= 0;) {
			size_t n = to - at < sizeof(buf) ? (size_t)(to - at) : sizeof(buf);

			for (size_t b = 0; b < n; b++)
				buf[b] = pattern(at + b);
			if (write(peers[i], buf, n) != (ssize_t)n)
				harness_fail(__FILE__, __LINE__, "peer %d cannot write", i);
			at += n;
		}
	for (int i = 0; i < MANY; i++)
		for (int tries = 0; tries < 100 && peers[i] >= 0; tries++) /* not for ever: their window may be shut */
			if (ioctl(peers[i], SIOCOUTQNSD, &unsent) != 0 || unsent == 0)
				break;
}

static void
peers_hear(void)
{
	uint8_t buf[65536];

	for (int i = 0; i < MANY; i++) {
		ssize_t n = 1;

		while (n > 0 && peers[i] >= 0 && !peer_over[i]) {
			n = syscall(SYS_recvfrom, peers[i], buf, sizeof(buf), MSG_DONTWAIT, NULL, NULL);
			peer_reset[i] = n < 0 && errno == ECONNRESET;
			peer_over[i] = n == 0 || peer_reset[i];
			for (ssize_t b = 0; b < n; b++)
				peer_bad = peer_bad || buf[b] != pattern(peer_got[i] + (uint64_t)b);
			peer_got[i] += n > 0 ? (uint64_t)n : 0;
		}
	}
}

/* How many of ours have got so much. */
static int
have_got(uint64_t got)
{
	int n = 0;

	for (int i = 0; i < MANY; i++)
		n += ends[i].got == got ? 1 : 0;
	return n;
}

/* How many peers have got so much, and are at the end, or not. */
static int
have_heard(uint64_t got, bool over)
{
	int n = 0;

	peers_hear();
	for (int i = 0; i < MANY; i++)
		n += peer_got[i] == got && peer_over[i] == over ? 1 : 0;
	return n;
}

static bool
any_bad(void)
{
	for (int i = 0; i < MANY; i++)
		if (ends[i].bad || ends[i].late > 0)
			return true;
	return peer_bad;
}

/* ---- what is read and written together ---- */

BOTH(read_and_answered)
{
	for (uint64_t round = 0; round < 5; round++) {
		calls = 0;
		peers_say(round * 1000, (round + 1) * 1000);
		RUN_UNTIL(have_got((round + 1) * 1000) == MANY);
		for (int i = 0; i < MANY; i++) {
			ends[i].to_send += 500;
			feed(&ends[i]);
		}
		RUN_UNTIL(have_heard((round + 1) * 500, false) == MANY);
		CHECK(ring ? calls == 0 : calls >= MANY * 2);
	}
	CHECK(!any_bad());
}

/* More than one read takes, and more than the kernel takes. */
BOTH(long_ones)
{
	const uint64_t out = 2000000;

	peers_say(0, 150000);
	RUN_UNTIL(have_got(150000) == MANY);
	for (int i = 0; i < MANY; i++) {
		ends[i].to_send = out;
		stream_set_low_water(ends[i].s, 20000);
		feed(&ends[i]);
	}
	run_passes(3); /* nobody hears: they are blocked */
	RUN_UNTIL(have_heard(out, false) == MANY);
	for (int i = 0; i < MANY; i++)
		CHECK(ends[i].drained >= out / 100000 - 1 && stream_sent(ends[i].s) == out);
	CHECK(!any_bad());
	(void)ring;
}

BOTH(ends_behind_their_bytes)
{
	peers_say(0, 300);
	for (int i = 0; i < MANY; i++) {
		if (i % 2 == 0)
			CHECK(shutdown(peers[i], SHUT_WR) == 0);
		else
			raw_reset(peers[i]);
		peers[i] = i % 2 == 0 ? peers[i] : -1;
	}
	RUN_UNTIL(have_got(300) >= MANY / 2 && ends[MANY - 1].errors == 1 && ends[MANY - 2].ends == 1);
	run_passes(3);
	for (int i = 0; i < MANY; i++) {
		CHECK_U64(ends[i].ends, i % 2 == 0 ? 1 : 0);
		CHECK_U64(ends[i].errors, i % 2 == 0 ? 0 : 1);
		if (i % 2 != 0)
			CHECK_STR(ends[i].why, "read: Connection reset by peer");
	}
	CHECK(!any_bad());
	(void)ring;
}

/* ---- what the callback of one does to the others ---- */

#define EACH_OTHER(doer, e) \
	for (struct end * (e) = ends; (e) < ends + MANY; (e)++) \
		if ((e) != (doer) && (e)->s != NULL)

static void
close_others(struct end *doer)
{
	EACH_OTHER(doer, e)
	{
		struct stream *s = e->s;
		bool flush = (e - ends) % 2 == 0;

		e->to_send = 700;
		feed(e);
		e->s = NULL;
		e->closed = true;
		stream_close(s, flush, LIMIT_MS);
	}
}

BOTH(closed_by_another)
{
	deed = close_others;
	peers_say(0, 1000);
	RUN_UNTIL(deed == NULL);
	run_passes(3);
	CHECK_U64(have_got(1000), 1);
	for (int i = 0; i < MANY; i++)
		(void)shutdown(peers[i], SHUT_WR); /* what is flushed ends when its peer does */
	RUN_UNTIL(have_heard(700, true) + have_heard(0, true) == MANY - 1); /* the doer is open */
	CHECK(have_heard(700, true) >= MANY / 2 - 1 && have_heard(0, true) >= MANY / 2 - 1);
	for (int i = 0; i < MANY; i++) /* nobody may take what was cut for all that there was */
		CHECK(!peer_over[i] || peer_reset[i] == (peer_got[i] == 0));
	CHECK(!any_bad());
	(void)ring;
}

static void
cut_others(struct end *doer)
{
	EACH_OTHER(doer, e)
		end_close(e);
}

static void
all_say(int n)
{
	for (int i = 0; i < n; i++) {
		ends[i].to_send = 100;
		feed(&ends[i]);
	}
}

BOTH(closed_by_one_that_drained)
{
	deed = cut_others;
	deed_on = STREAM_DRAINED;
	all_say(MANY);
	RUN_UNTIL(deed == NULL);
	RUN_UNTIL(have_heard(100, true) + have_heard(0, true) == MANY - 1);
	CHECK_U64(have_heard(100, false), 1);
	CHECK_U64(have_heard(100, true), RING_MAX - 1); /* sent with the one that closed them */
	CHECK(!any_bad());
	(void)ring;
}

/* One with TLS is sent to by itself, while the others wait for being sent to together. */
BOTH(closed_by_one_with_tls)
{
	struct end client = { NEVER }, server = { NEVER, .to_send = 100 };
	int fd = connect_stream(&client, tls_of(false), "localhost");

	server.s = stream_accept(fd, tls_of(true), many_cb, &server);
	RUN_UNTIL(client.got == 100);
	deed = cut_others;
	deed_on = STREAM_DRAINED;
	server.to_send = 200;
	feed(&server);
	all_say(RING_MAX - 1);
	RUN_UNTIL(deed == NULL);
	RUN_UNTIL(have_heard(0, true) == MANY);
	CHECK(!any_bad());
	end_close(&client);
	end_close(&server);
	(void)ring;
}

static void
suspend_others(struct end *doer)
{
	EACH_OTHER(doer, e)
		stream_suspend(e->s, SUSPEND_SPOOL);
}

BOTH(suspended_by_another)
{
	deed = suspend_others;
	peers_say(0, 1000);
	RUN_UNTIL(deed == NULL);
	run_passes(3);
	CHECK_U64(have_got(1000), 1);
	peers_say(1000, 60000); /* behind what was read and is kept */
	run_passes(3);
	CHECK_U64(have_got(0), MANY - 1);
	for (int i = 0; i < MANY; i++)
		stream_resume(ends[i].s, SUSPEND_SPOOL);
	RUN_UNTIL(have_got(60000) == MANY);
	CHECK(!any_bad());
	(void)ring;
}

static void
suspend_and_resume_others(struct end *doer)
{
	suspend_others(doer);
	EACH_OTHER(doer, e)
		stream_resume(e->s, SUSPEND_SPOOL);
}

BOTH(resumed_by_another)
{
	deed = suspend_and_resume_others;
	peers_say(0, 1000);
	RUN_UNTIL(have_got(1000) == MANY);
	run_passes(3);
	for (int i = 0; i < MANY; i++)
		CHECK_U64(ends[i].datas, 1);
	CHECK(!any_bad());
	(void)ring;
}

/* Their bytes and their end have come: kept, and both given when they are resumed. */
BOTH(suspended_at_the_end)
{
	deed = suspend_others;
	peers_say(0, 1000);
	for (int i = 0; i < MANY; i++)
		CHECK(shutdown(peers[i], SHUT_WR) == 0);
	RUN_UNTIL(deed == NULL && have_got(1000) == 1);
	run_passes(3);
	CHECK_U64(have_got(0), MANY - 1);
	for (int i = 0; i < MANY; i++)
		stream_resume(ends[i].s, SUSPEND_SPOOL);
	RUN_UNTIL(have_got(1000) == MANY && ends[0].ends == 1 && ends[MANY - 1].ends == 1);
	run_passes(3);
	for (int i = 0; i < MANY; i++)
		CHECK_U64(ends[i].ends, 1);
	CHECK(!any_bad());
	(void)ring;
}

static void
fail_others(struct end *doer)
{
	EACH_OTHER(doer, e)
		stream_fail(e->s, "by another");
}

BOTH(failed_by_another)
{
	unsigned errors = 0;

	deed = fail_others;
	peers_say(0, 1000);
	RUN_UNTIL(deed == NULL && ends[0].errors + ends[MANY - 1].errors > 0);
	run_passes(3);
	for (int i = 0; i < MANY; i++) {
		errors += ends[i].errors;
		CHECK(ends[i].errors == 0 || strcmp(ends[i].why, "by another") == 0);
	}
	CHECK_U64(errors, MANY - 1);
	CHECK(!any_bad());
	(void)ring;
}

static void
write_to_all(void)
{
	for (int i = 0; i < MANY; i++) {
		ends[i].to_send += 100;
		feed(&ends[i]);
	}
}

/* Writing to them fails while what their peers said last is unread: that comes first, all of it. */
BOTH(last_words)
{
	peers_say(0, 1000);
	for (int i = 0; i < MANY; i++)
		stream_suspend(ends[i].s, SUSPEND_OPEN);
	for (int i = 0; i < MANY; i++) {
		close(peers[i]); /* what is written to it makes its kernel send RST */
		peers[i] = -1;
	}
	write_to_all();
	run_passes(3);
	write_to_all(); /* fails */
	run_passes(3);
	for (int i = 0; i < MANY; i++)
		stream_resume(ends[i].s, SUSPEND_OPEN);
	RUN_UNTIL(ends[0].errors == 1 && ends[MANY - 1].errors == 1);
	run_passes(3);
	for (int i = 0; i < MANY; i++)
		CHECK_U64(ends[i].errors, 1);
	CHECK_U64(have_got(1000), MANY);
	CHECK(!any_bad());
	(void)ring;
}

/* ---- all of it at random ---- */

static unsigned seed;

static void
random_deed(struct end *doer)
{
	deed = random_deed;
	for (int n = 0; n < 3; n++) {
		struct end *e = &ends[(unsigned)rand_r(&seed) % MANY];

		if (e == doer || e->s == NULL)
			continue;
		switch (rand_r(&seed) % 8) {
		case 0:
			if (rand_r(&seed) % 8 == 0)
				end_close(e);
			break;
		case 1:
		case 2:
			stream_suspend(e->s, SUSPEND_SPOOL);
			break;
		case 3:
		case 4:
			stream_resume(e->s, SUSPEND_SPOOL);
			break;
		case 5:
			e->to_send += 30000;
			feed(e);
			break;
		case 6:
			stream_set_low_water(e->s, (size_t)rand_r(&seed) % 20000);
			break;
		default:
			break;
		}
	}
}

BOTH(at_random)
{
	uint64_t said = 0;

	seed = 7;
	deed = random_deed;
	for (int round = 0; round < 300; round++) {
		uint64_t more = (uint64_t)rand_r(&seed) % 9000;

		peers_say(said, said + more);
		said += more;
		pass();
		peers_hear();
		if (rand_r(&seed) % 4 == 0) /* so that what is kept does not grow without end */
			for (int i = 0; i < MANY; i++)
				if (ends[i].s != NULL)
					stream_resume(ends[i].s, SUSPEND_SPOOL);
		for (int i = 0; i < MANY; i++) /* nobody reads for it any more */
			if (ends[i].s == NULL && peers[i] >= 0) {
				close(peers[i]);
				peers[i] = -1;
			}
		CHECK(!any_bad());
	}
	deed = NULL;
	for (int i = 0; i < MANY; i++)
		if (ends[i].s != NULL)
			stream_resume(ends[i].s, SUSPEND_SPOOL);
	for (int i = 0; i < MANY; i++) {
		if (ends[i].s == NULL)
			continue;
		RUN_UNTIL((peers_hear(), ends[i].got == said && peer_got[i] == ends[i].to_send));
		CHECK_U64(ends[i].errors + ends[i].ends, 0);
	}
	CHECK(!any_bad());
	(void)ring;
}
