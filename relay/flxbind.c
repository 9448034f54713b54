/* See flxbind.h.  Fields in the order in which SDKs write them, each value as it came: nothing is decoded, so nothing changes its meaning. */
#include <string.h>

#include "relay/flxbind.h"
#include "relay/jsonread.h"

/* Bytes that do not fit latch full. */
struct writer {
	char *out;
	size_t len;
	bool full;
};

static void
put(struct writer *w, struct view v)
{
	w->full = w->full || v.len > STORE_BIND_MAX - w->len;
	if (w->full)
		return;
	memcpy(w->out + w->len, v.ptr, v.len);
	w->len += v.len;
}

static void
put_field(struct writer *w, const char *key, const struct jsonread_value *value)
{
	struct view quote = view_of(value->kind == JSONREAD_STRING ? "\"" : "");

	put(w, view_of(w->len == 0 ? "{\"" : ",\""));
	put(w, view_of(key));
	put(w, view_of("\":"));
	put(w, quote);
	put(w, value->text);
	put(w, quote);
}

size_t
flxbind_lasting(struct view json, char out[STORE_BIND_MAX + 1])
{
	static const char *const keys[] = { "migratedPartition", "schemaVersion", "sessionReason" };
	static const struct jsonread_value no_reason = { JSONREAD_NUMBER, { (const uint8_t *)"0", 1 } };
	struct writer w = { .out = out };
	struct jsonread_value value;
	bool some = false;

	for (size_t i = 0; i < 2; i++)
		if (jsonread_get(json, keys[i], &value)) {
			put_field(&w, keys[i], &value);
			some = true;
		}
	some = jsonread_get(json, keys[2], &value) || some;
	put_field(&w, keys[2], &no_reason);
	put(&w, view_of("}"));
	if (!some || w.full || memchr(out, '\0', w.len) != NULL)
		w.len = 0;
	out[w.len] = '\0';
	return w.len;
}
