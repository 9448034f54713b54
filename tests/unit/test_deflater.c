/* Tests relay/deflater: what is taken comes back deflated and in order, there is an end to what is taken, and nothing taken is lost at the end. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "tests/harness.h"

#include "protocol/zbody.h"

#include "relay/deflater.h"
#include "relay/spool.h"

#define BODY 100000 /* bytes */

struct seen {
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct spool_op *op[64];
	unsigned n;
	bool hold; /* who is done waits */
};

static void
done(void *arg, struct spool_op *op)
{
	struct seen *s = arg;

	pthread_mutex_lock(&s->lock);
	while (s->hold)
		pthread_cond_wait(&s->more, &s->lock);
	s->op[s->n++] = op;
	pthread_cond_broadcast(&s->more);
	pthread_mutex_unlock(&s->lock);
}

static void
let_go(struct seen *s)
{
	pthread_mutex_lock(&s->lock);
	s->hold = false;
	pthread_cond_broadcast(&s->more);
	pthread_mutex_unlock(&s->lock);
}

static void
await(struct seen *s, unsigned n)
{
	pthread_mutex_lock(&s->lock);
	while (s->n < n)
		pthread_cond_wait(&s->more, &s->lock);
	pthread_mutex_unlock(&s->lock);
}

static uint8_t
byte_of(unsigned nth, size_t i)
{
	return (uint8_t)(i % 7 + nth);
}

static struct spool_op *
batch(unsigned nth)
{
	struct spool_op *op = calloc(1, sizeof(*op));

	if (op == NULL || (op->batch.body = malloc(BODY)) == NULL)
		abort();
	op->kind = SPOOL_READ;
	op->level = 6;
	op->batch.len = op->batch.uncompressed_size = BODY;
	for (size_t i = 0; i < BODY; i++)
		op->batch.body[i] = byte_of(nth, i);
	return op;
}

static void
check_and_free(struct spool_op *op, unsigned nth)
{
	static uint8_t body[BODY];

	CHECK(op->batch.is_compressed);
	CHECK(op->batch.len < BODY / 10);
	CHECK_U64(op->batch.uncompressed_size, BODY);
	CHECK_U64(zbody_inflate(op->batch.body, op->batch.len, body, BODY), PROTO_OK);
	for (size_t i = 0; i < BODY; i++)
		CHECK_U64(body[i], byte_of(nth, i));
	free(op->batch.body);
	free(op);
}

TEST(taken_and_given_back_in_order)
{
	struct seen s = { .lock = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER };
	struct deflater *d = deflater_new(done, &s);

	CHECK(d != NULL);
	for (unsigned i = 0; i < 64; i++) {
		struct spool_op *op = batch(i);

		while (!deflater_take(d, op))
			await(&s, i + 1 - DEFLATER_PLACES); /* there is a place again, or will be in no time */
	}
	await(&s, 64);
	deflater_free(d);
	for (unsigned i = 0; i < 64; i++)
		check_and_free(s.op[i], i);
}

/* I6: no more than its places; and what has one is done before it ends. */
TEST(no_more_than_its_places)
{
	struct seen s = { .lock = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER, .hold = true };
	struct deflater *d = deflater_new(done, &s);
	struct spool_op *own = batch(DEFLATER_PLACES);

	CHECK(d != NULL);
	for (unsigned i = 0; i < DEFLATER_PLACES; i++)
		CHECK(deflater_take(d, batch(i)));
	CHECK(!deflater_take(d, own));
	deflater_run(own);
	check_and_free(own, DEFLATER_PLACES);
	let_go(&s);
	deflater_free(d);
	CHECK_U64(s.n, DEFLATER_PLACES);
	for (unsigned i = 0; i < s.n; i++)
		check_and_free(s.op[i], i);
}

TEST(what_there_is_to_deflate)
{
	struct spool_op op = { .kind = SPOOL_READ, .err = STORE_OK, .level = 1, .batch = { .len = ZBODY_MIN + 1 } };

	CHECK(deflater_wants(&op));
	op.level = 0;
	CHECK(!deflater_wants(&op));
	op.level = 1;
	op.batch.len = ZBODY_MIN;
	CHECK(!deflater_wants(&op));
	op.batch.len = ZBODY_MIN + 1;
	op.err = STORE_CORRUPT;
	CHECK(!deflater_wants(&op));
	op.err = STORE_OK;
	op.kind = SPOOL_GET;
	CHECK(!deflater_wants(&op));
}

/* What does not become smaller stays as it was. */
TEST(what_does_not_shrink_stays)
{
	static uint8_t noise[BODY];
	struct spool_op *op = batch(0);
	uint64_t x = 88172645463325252u;

	for (size_t i = 0; i < BODY; i++) { /* xorshift: no byte is to be foreseen */
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		noise[i] = (uint8_t)(x >> 32);
	}
	memcpy(op->batch.body, noise, BODY);
	deflater_run(op);
	CHECK(!op->batch.is_compressed);
	CHECK_MEM(op->batch.body, op->batch.len, noise, BODY);
	free(op->batch.body);
	free(op);
	deflater_free(NULL);
}
