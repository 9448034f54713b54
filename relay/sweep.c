/* The slices; see sweep.h.  What a crash brings back is swept next time as well: so no slice is synced by itself. */
#include <stdlib.h>
#include <string.h>

#include "relay/relay.h"
#include "relay/sweep.h"

struct slice {
	struct sweep *w;
	sweep_judge *judge;
	void *arg;
	unsigned looked_at;
	bool more;
	size_t n; /* to be removed */
	struct {
		uint8_t key[STORE_KEY_MAX];
		size_t len, bytes;
	} v[SWEEP_SLICE];
};

static bool
look_cb(void *arg, const void *key, size_t key_len, const void *val, size_t val_len)
{
	struct slice *x = arg;
	struct sweep *w = x->w;
	enum sweep_verdict verdict = x->judge(x->arg, key, key_len, val, val_len);

	if (verdict == SWEEP_END)
		return false;
	memcpy(w->after, key, key_len);
	w->after_len = key_len;
	if (verdict == SWEEP_REMOVE) {
		memcpy(x->v[x->n].key, key, key_len);
		x->v[x->n].bytes = key_len + val_len;
		x->v[x->n++].len = key_len;
	}
	x->more = ++x->looked_at == SWEEP_SLICE;
	return !x->more;
}

static enum store_err
remove_them(struct store *s, const struct slice *x)
{
	enum store_err err = store_begin(s);

	if (err != STORE_OK)
		return err;
	for (size_t i = 0; i < x->n; i++) {
		err = store_del(s, x->w->table, x->v[i].key, x->v[i].len);
		if (err != STORE_OK && err != STORE_NOTFOUND) {
			store_abort(s);
			return err;
		}
	}
	return store_commit(s, false);
}

enum store_err
sweep_slice(struct sweep *w, struct store *s, sweep_judge *judge, sweep_confirm *confirm, void *arg)
{
	struct slice *x = relay_alloc(sizeof(*x));
	enum store_err err;
	size_t n = 0;

	x->w = w;
	x->judge = judge;
	x->arg = arg;
	err = store_each_after(s, w->table, w->after, w->after_len, look_cb, x);
	for (size_t i = 0; err == STORE_OK && i < x->n; i++)
		if (confirm == NULL || confirm(arg, s, x->v[i].key, x->v[i].len))
			x->v[n++] = x->v[i];
	x->n = n;
	if (err == STORE_OK && n > 0 && !w->look)
		err = remove_them(s, x);
	for (size_t i = 0; err == STORE_OK && i < n; i++)
		w->bytes += x->v[i].bytes;
	if (err == STORE_OK)
		w->removed += n;
	w->done = !x->more;
	free(x);
	return err;
}

enum store_err
sweep_all(struct sweep *w, struct store *s, sweep_judge *judge, sweep_confirm *confirm, void *arg)
{
	enum store_err err = STORE_OK;

	while (err == STORE_OK && !w->done)
		err = sweep_slice(w, s, judge, confirm, arg);
	return err;
}
