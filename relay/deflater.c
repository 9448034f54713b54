/* See deflater.h.  A ring of places behind one mutex; ops are filled in by whoever has them. */
#include <pthread.h>
#include <stdlib.h>

#include "protocol/zbody.h"

#include "relay/deflater.h"
#include "relay/privilege.h"
#include "relay/spool.h"

struct deflater {
	deflater_done *done;
	void *arg;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	/* under lock */
	struct spool_op *place[DEFLATER_PLACES];
	unsigned first, n; /* the first is being deflated */
	bool stop;
};

bool
deflater_wants(const struct spool_op *op)
{
	return op->kind == SPOOL_READ && op->err == STORE_OK && op->level != 0 && op->batch.len > ZBODY_MIN;
}

void
deflater_run(struct spool_op *op)
{
	struct spool_batch *b = &op->batch;
	uint8_t *z = malloc(b->len);
	size_t z_len;

	if (z == NULL)
		return;
	if (zbody_deflate(op->level, b->body, b->len, z, b->len - 1, &z_len) != PROTO_OK) {
		free(z);
		return;
	}
	free(b->body);
	b->body = z;
	b->len = z_len;
	b->is_compressed = true;
}

static void *
deflater_main(void *arg)
{
	struct deflater *d = arg;

	privilege_end();
	pthread_mutex_lock(&d->lock);
	for (;;) {
		struct spool_op *op;

		while (d->n == 0 && !d->stop)
			pthread_cond_wait(&d->wake, &d->lock);
		if (d->n == 0)
			break;
		op = d->place[d->first];
		pthread_mutex_unlock(&d->lock);

		deflater_run(op);
		d->done(d->arg, op);

		pthread_mutex_lock(&d->lock);
		d->first = (d->first + 1) % DEFLATER_PLACES;
		d->n--;
	}
	pthread_mutex_unlock(&d->lock);
	return NULL;
}

bool
deflater_take(struct deflater *d, struct spool_op *op)
{
	bool room;

	pthread_mutex_lock(&d->lock);
	room = d->n < DEFLATER_PLACES;
	if (room) {
		d->place[(d->first + d->n++) % DEFLATER_PLACES] = op;
		pthread_cond_signal(&d->wake);
	}
	pthread_mutex_unlock(&d->lock);
	return room;
}

struct deflater *
deflater_new(deflater_done *done, void *arg)
{
	struct deflater *d = calloc(1, sizeof(*d));

	if (d == NULL)
		return NULL;
	d->done = done;
	d->arg = arg;
	pthread_mutex_init(&d->lock, NULL);
	pthread_cond_init(&d->wake, NULL);
	if (pthread_create(&d->thread, NULL, deflater_main, d) == 0)
		return d;
	pthread_mutex_destroy(&d->lock);
	pthread_cond_destroy(&d->wake);
	free(d);
	return NULL;
}

void
deflater_free(struct deflater *d)
{
	if (d == NULL)
		return;
	pthread_mutex_lock(&d->lock);
	d->stop = true;
	pthread_cond_signal(&d->wake);
	pthread_mutex_unlock(&d->lock);
	pthread_join(d->thread, NULL);
	pthread_mutex_destroy(&d->lock);
	pthread_cond_destroy(&d->wake);
	free(d);
}
