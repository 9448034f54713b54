/* The bytes of a relay/stream: reading, writing, and the last bytes of one that is closing.
 *
 * - Reading is capped at READ_MAX bytes an event (but for stream_read_into), so that one fast peer cannot starve the others.
 * - Input wins over output failures: after a failed write the rest of the input is read and given first, then STREAM_ERROR.  A
 *   server says why it closes, and that may stand unread in the kernel when our next PING fails.
 * - After the callback closed the stream nothing of it is touched but s->state: every call of s->cb is followed by that test.
 *
 * Never waits, never calls back from inside a public function. */
#include <stdlib.h>
#include <string.h>

#include "relay/clock.h"
#include "relay/hot.h"
#include "relay/log.h"
#include "relay/stream_impl.h"

#define SHARED_BUF 65536 /* also the most that one stream can keep */
#define READ_MAX SHARED_BUF /* bytes of one stream an event, but for what its owner wants in one read (stream_read_into) */
#define WRITE_MAX (512 * 1024) /* bytes of one stream at once: a message of 256 KiB with its head leaves whole */
#define FAST_MS 20	  /* for half of what may stay unsent: some 800 KiB/s */
#define THIN_MS 500	  /* likewise: below 256 KiB/s */
#define PIECES 32 /* WRITE_MAX of the queue, given to the kernel or gathered into a record at once */

#define EARLY_STEP (SHARED_BUF + 1344) /* so that not all places begin at the same one of a processor's cache */
#define PARTS (RING_MAX * 8) /* of the queues that are sent together; of each, PIECES at most */

static uint8_t shared[SHARED_BUF]; /* one loop, one thread: no two streams read to it at once */

static struct { /* what is read of several at once */
	struct ring_op op[RING_MAX];
	struct iovec place[RING_MAX];
	uint8_t bytes[RING_MAX][EARLY_STEP];
} early;

/* ---- reading ---- */

/* Tells the callback of the end once, unless it asked not to be given anything now. */
static void
tell_end(struct stream *s)
{
	if (s->state != ST_OPEN || s->end == s->told || s->suspended != 0)
		return;
	s->told = s->end;
	s->cb(s->arg, s, s->end == END_EOF ? STREAM_EOF : STREAM_ERROR, NULL, 0);
}

/* What was read early: got bytes.  It was read as if writing had not failed, which may have been found out since. */
static enum rawio_result
read_early(struct stream *s, size_t *got)
{
	enum rawio_result result = rawio_op_result(&s->io, s->early, got);

	s->early = NULL;
	return result == RAWIO_READ && s->write_failed ? RAWIO_OK : result;
}

/* What came and was not consumed is wiped: it is mostly a half of an upgrade request, with its token (I9). */
void
stream_drop_input(struct stream *s)
{
	if (s->kept != NULL)
		explicit_bzero(s->kept, s->kept_len);
	free(s->kept);
	s->kept = NULL;
	s->kept_len = 0;
	if (s->early != NULL) {
		uint8_t *buf = s->early->iov->iov_base;
		size_t got;

		(void)read_early(s, &got); /* it came over the wire */
		explicit_bzero(buf, got);
	}
}

static void
keep(struct stream *s, const uint8_t *rest, size_t len)
{
	uint8_t *p;

	if (len == 0) {
		stream_drop_input(s);
		return;
	}
	p = malloc(len);
	if (p == NULL) {
		stream_fail_later(s, "out of memory");
		return;
	}
	memcpy(p, rest, len);
	stream_drop_input(s);
	s->kept = p;
	s->kept_len = (uint32_t)len;
}

/* Gives the first len bytes of buf and keeps what is not consumed.  False: s is closed. */
static bool
deliver(struct stream *s, uint8_t *buf, size_t len)
{
	bool own = buf == s->into;
	size_t used;

	s->offer = false;
	s->harmless = false;
	s->into = NULL;
	s->into_len = 0;
	used = s->cb(s->arg, s, STREAM_DATA, buf, len);
	if (s->state == ST_OPEN) {
		if (used > len || (used < len && own))
			PANIC("stream callback consumed more than it was given, or not all at the place it asked for");
		keep(s, buf + used, len - used);
	}
	if (!own) { /* I9: requests and BINDs hold tokens, and this buffer is never freed */
		size_t harmless = s->harmless ? used : 0;

		explicit_bzero(buf + harmless, len - harmless);
	}
	return s->state == ST_OPEN;
}

/* Reads up to room bytes to buf, unless that was done early; returns how many came and sets the end. */
static size_t
fill(struct stream *s, uint8_t *buf, size_t room, enum rawio_result *result)
{
	size_t got = 0;

	*result = s->early != NULL ? read_early(s, &got) : rawio_read(&s->io, buf, room, s->write_failed, &got);
	s->received += got;
	stream_count_moved(got);
	s->read_wants_write = *result == RAWIO_WRITE;
	if (*result == RAWIO_FAIL) {
		stream_explain(s, "read");
		s->end = END_ERROR;
	} else if (*result == RAWIO_EOF) {
		stream_set_why(s, "closed by peer");
		s->end = s->write_failed ? END_ERROR : END_EOF;
	} else if (*result == RAWIO_READ && s->write_failed) {
		s->end = END_ERROR; /* nothing more to save */
	}
	return got;
}

/* How many bytes may be read to buf, behind the have that are in it. */
static size_t
room_in(const struct stream *s, const uint8_t *buf, size_t have)
{
	size_t room = SHARED_BUF - have;

	if (buf != shared)
		return s->into_len;
	return s->into == NULL && s->into_len > 0 && s->into_len < room ? s->into_len : room;
}

/* Whether the next step of s, which waits for input, would begin with a system call that reads to the shared buffer. */
static bool
reads_early(const struct stream *s)
{
	return s->state == ST_OPEN && s->io.ssl == NULL && s->kept_len == 0 && s->into == NULL && !s->write_failed;
}

void
stream_read_early(struct stream *const *s, int n)
{
	int reads = 0;

	for (int i = 0; i < n; i++) {
		struct iovec *place = &early.place[reads];

		if (!reads_early(s[i]))
			continue;
		soon(s[i]->arg);
		*place = (struct iovec){ early.bytes[reads], room_in(s[i], shared, 0) };
		early.op[reads] = rawio_op(&s[i]->io, false, place, 1);
		s[i]->early = &early.op[reads++];
	}
	ring_run(early.op, reads);
}

/* The callback of another stream had s suspended meanwhile: what came is kept.  Or s failed: it is as if nothing had been read. */
static void
keep_early(struct stream *s)
{
	uint8_t *buf = s->early->iov->iov_base;
	enum rawio_result result;
	size_t got;

	if (s->end != END_NONE) {
		stream_drop_input(s);
		return;
	}
	got = fill(s, NULL, 0, &result);
	keep(s, buf, got);
	explicit_bzero(buf, got);
}

void
stream_read_ready(struct stream *s)
{
	enum rawio_result result = RAWIO_OK;
	size_t total = 0;

	if (s->early != NULL && (s->suspended != 0 || s->end != END_NONE))
		keep_early(s);
	while (s->suspended == 0 && result == RAWIO_OK) {
		size_t have = s->kept_len, got = 0;
		uint8_t *buf = s->early != NULL ? s->early->iov->iov_base : have == 0 && s->into != NULL ? s->into : shared;
		bool offer = s->offer && have > 0;

		if (total >= READ_MAX) { /* others first */
			if (s->write_failed || rawio_pending(&s->io))
				stream_ready(s); /* no descriptor tells of what is inside OpenSSL, or that the end is due */
			break;
		}
		soon(s->arg);
		if (have > 0)
			memcpy(shared, s->kept, have); /* buf is shared */
		if (s->end != END_NONE)
			result = RAWIO_READ;
		else if (have < SHARED_BUF)
			got = fill(s, buf + have, room_in(s, buf, have), &result);
		else if (!offer)
			stream_fail_later(s, "input is not consumed");
		total += got;
		if ((got > 0 || offer) && !deliver(s, buf, have + got))
			return;
	}
	tell_end(s);
	if (s->state == ST_OPEN)
		stream_arm(s);
}

/* ---- writing ---- */

/* The output is lost, the input is not: what has come is given first (read_ready). */
static void
write_failed(struct stream *s)
{
	stream_explain(s, "write");
	s->write_failed = true;
	s->blocked = false;
	outqueue_clear(&s->out);
	if (s->end == END_EOF)
		s->end = END_ERROR;
	stream_ready(s);
}

/* put bytes of the front are sent, with that result, and *total so far.  False: the connection is broken. */
static bool
took(struct stream *s, enum rawio_result result, size_t put, size_t *total)
{
	if (result == RAWIO_FAIL || result == RAWIO_EOF)
		return false;
	outqueue_drain(&s->out, put);
	s->sent += put;
	*total += put;
	s->write_wants_read = result == RAWIO_READ;
	s->blocked = s->out.len > 0 && (result != RAWIO_OK || *total >= WRITE_MAX);
	if (s->blocked)
		s->blocked_at = (uint32_t)clock_ms();
	return true;
}

/* Sends from the queue's front until the kernel takes no more or WRITE_MAX is reached, of which total is sent.  False: the connection is broken. */
static bool
pump(struct stream *s, size_t total)
{
	s->blocked = s->write_wants_read = false;
	while (s->out.len > 0 && !s->blocked) {
		UNWIPED struct iovec iov[PIECES];
		enum rawio_result result;
		size_t put;

		result = rawio_write(&s->io, iov, outqueue_peek(&s->out, iov, PIECES), &put);
		if (!took(s, result, put, &total))
			return false;
	}
	return true;
}

/* The kernel takes output again: how much it may hold goes by how soon that was. */
static void
unblocked(struct stream *s)
{
	uint32_t waited = (uint32_t)clock_ms() - s->blocked_at;
	bool fast = waited < (s->fast ? THIN_MS : FAST_MS);

	if (fast != s->fast)
		rawio_unsent(&s->io, fast);
	s->fast = fast;
}

/* Behind a write. */
static void
flushed(struct stream *s)
{
	if (s->above && stream_queued(s) <= s->low) {
		s->above = false;
		s->cb(s->arg, s, STREAM_DRAINED, NULL, 0);
	}
	if (s->state == ST_OPEN)
		stream_arm(s);
}

void
stream_flush(struct stream *s)
{
	if (s->blocked)
		unblocked(s);
	if (!pump(s, 0))
		write_failed(s);
	flushed(s);
}

void
stream_flush_many(struct stream *const *s, int n)
{
	UNWIPED struct iovec part[PARTS];
	UNWIPED struct ring_op op[RING_MAX];
	int used = 0, parts = PARTS / n < PIECES ? PARTS / n : PIECES;

	for (int i = 0; i < n; i++) {
		int k = outqueue_peek(&s[i]->out, part + used, parts);

		op[i] = rawio_op(&s[i]->io, true, part + used, k);
		used += k;
	}
	ring_run(op, n);
	for (int i = 0; i < n; i++) { /* nobody is told before all know what of theirs is sent */
		size_t put, total = 0;
		enum rawio_result result = rawio_op_result(&s[i]->io, &op[i], &put);

		if (!took(s[i], result, put, &total) || (!s[i]->blocked && !pump(s[i], total)))
			write_failed(s[i]);
	}
	for (int i = 0; i < n; i++)
		if (s[i]->state == ST_OPEN)
			flushed(s[i]);
}

static bool
takes_output(const struct stream *s)
{
	return s->state <= ST_OPEN && !s->write_failed && s->end != END_ERROR;
}

/* ---- closing with output left ---- */

/* The peer may still be sending.  Closing with unread input makes the kernel send RST, which can take away from the peer what we
 * said last; so its bytes are read and dropped until it closes as well. */
static void
closing_read(struct stream *s)
{
	enum rawio_result result;
	int rounds = READ_MAX / SHARED_BUF;

	do {
		result = rawio_discard(&s->io, shared, sizeof shared);
	} while (result == RAWIO_OK && --rounds > 0);
	if (result == RAWIO_FAIL)
		s->end = END_ERROR;
	else if (result == RAWIO_EOF)
		s->end = END_EOF;
}

void
stream_closing_step(struct stream *s, short what)
{
	enum rawio_result result = RAWIO_OK;

	if ((what & EV_READ) != 0)
		closing_read(s);
	if ((what & EV_WRITE) != 0 && !s->said_bye) {
		if (!pump(s, 0) || s->write_wants_read)
			s->end = END_ERROR;
		else if (s->out.len == 0)
			result = rawio_shutdown(&s->io);
		s->said_bye = s->end != END_ERROR && s->out.len == 0 && result == RAWIO_OK;
		s->blocked = s->blocked || result == RAWIO_WRITE;
	}
	if (s->end == END_ERROR || result == RAWIO_FAIL || (s->end == END_EOF && s->said_bye))
		stream_finish(s);
	else
		stream_arm(s);
}

/* ---- public ---- */

struct outqueue *
stream_output(struct stream *s)
{
	return takes_output(s) ? &s->out : NULL;
}

void
stream_appended(struct stream *s, size_t len)
{
	stream_count_moved(len);
	if (s->out.len > s->low)
		s->above = true;
	if (len > 0)
		stream_dirty(s);
}

/* ok: it is in out.  A message that is missing cannot be made up for: the stream ends. */
static void
appended_or_failed(struct stream *s, size_t len, bool ok)
{
	if (ok)
		stream_appended(s, len);
	else
		stream_fail(s, "out of memory");
}

void
stream_write(struct stream *s, const void *buf, size_t len)
{
	if (takes_output(s))
		appended_or_failed(s, len, outqueue_add(&s->out, buf, len));
}

void
stream_write_secret(struct stream *s, const void *buf, size_t len)
{
	if (takes_output(s))
		appended_or_failed(s, len, outqueue_add_secret(&s->out, buf, len));
}

void
stream_write_queue(struct stream *s, struct outqueue *src)
{
	size_t len = src->len;

	if (!takes_output(s)) {
		outqueue_clear(src);
		return;
	}
	appended_or_failed(s, len, outqueue_move(&s->out, src));
}

void
stream_read_into(struct stream *s, uint8_t *buf, size_t len)
{
	s->into = buf;
	s->into_len = (uint32_t)len;
}

void
stream_harmless(struct stream *s)
{
	s->harmless = true;
}

void
stream_fail(struct stream *s, const char *why)
{
	if (takes_output(s))
		stream_fail_later(s, why);
}

size_t
stream_queued(const struct stream *s)
{
	return s->out.len;
}

size_t
stream_held(const struct stream *s)
{
	return s->kept_len + stream_queued(s);
}

uint64_t
stream_sent(const struct stream *s)
{
	return s->sent;
}

uint64_t
stream_delivered(const struct stream *s, uint64_t *unacknowledged)
{
	return rawio_delivered(&s->io, unacknowledged);
}

uint64_t
stream_received(const struct stream *s)
{
	return s->received;
}

void
stream_set_low_water(struct stream *s, size_t low)
{
	s->low = low;
	s->above = s->above || stream_queued(s) > low;
	if (s->above)
		stream_dirty(s); /* a raised mark may lie above the queue now */
}

void
stream_suspend(struct stream *s, unsigned reason)
{
	s->suspended |= (uint8_t)reason;
	stream_arm(s);
}

void
stream_resume(struct stream *s, unsigned reason)
{
	if ((s->suspended & reason) == 0)
		return;
	s->suspended &= (uint8_t)~reason;
	if (s->suspended != 0 || s->state != ST_OPEN)
		return;
	/* kept bytes, bytes inside OpenSSL or an end not told yet: nothing else would bring them up.  Within the callback kept is not
	 * known yet, so always. */
	s->offer = true;
	stream_ready(s);
	stream_arm(s);
}

