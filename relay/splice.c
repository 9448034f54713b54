/* See splice.h.
 *
 * Why not parse and write anew: what upstream says beside the few members that matter here is for somebody else, numbers of any size and
 * order of members included, and must reach him as it is. */
#include <stdlib.h>
#include <string.h>

#include "relay/claims.h"
#include "relay/relay.h"
#include "relay/splice.h"

struct text {
	char *at;
};

static void
put(struct text *t, const void *bytes, size_t len)
{
	if (len > 0)
		memcpy(t->at, bytes, len);
	t->at += len;
}

static void
put_value(struct text *t, const struct splice *s)
{
	if (s->string)
		put(t, "\"", 1);
	put(t, s->text, strlen(s->text));
	if (s->string)
		put(t, "\"", 1);
}

static bool
needs_escape(const char *text)
{
	for (; *text != '\0'; text++)
		if ((unsigned char)*text < 0x20 || (unsigned char)*text >= 0x7F || *text == '"' || *text == '\\')
			return true;
	return false;
}

/* Where the value of c stands, quotes included. */
static struct view
place(const struct claim *c)
{
	return c->kind == CLAIM_STRING ? (struct view){ c->raw.ptr - 1, c->raw.len + 2 } : c->raw;
}

static bool
may(const struct splice *s, const struct claim *c)
{
	if (s->text == NULL || c->kind == CLAIM_ABSENT)
		return true;
	return !needs_escape(s->text) && (!s->string || c->kind == CLAIM_STRING);
}

/* The replaced one that stands first behind `from`; n when there is none. */
static size_t
next_place(const struct splice *s, const struct claim *c, size_t n, const uint8_t *from)
{
	size_t best = n;

	for (size_t i = 0; i < n; i++)
		if (s[i].text != NULL && c[i].kind != CLAIM_ABSENT && place(&c[i]).ptr >= from &&
		    (best == n || place(&c[i]).ptr < place(&c[best]).ptr))
			best = i;
	return best;
}

/* The members that are added, in front of the closing bracket. */
static void
put_added(struct text *t, const struct splice *s, const struct claim *c, size_t n, bool empty)
{
	for (size_t i = 0; i < n; i++) {
		if (s[i].text == NULL || !s[i].add || c[i].kind != CLAIM_ABSENT)
			continue;
		put(t, empty ? "\"" : ",\"", empty ? 1 : 2);
		put(t, s[i].name, strlen(s[i].name));
		put(t, "\":", 2);
		put_value(t, &s[i]);
		empty = false;
	}
}

static bool
is_empty(struct view json, const uint8_t *end)
{
	const uint8_t *p = end;

	while (p > json.ptr && (p[-1] == ' ' || p[-1] == '\t' || p[-1] == '\n' || p[-1] == '\r'))
		p--;
	return p > json.ptr && p[-1] == '{';
}

char *
splice_json(struct view json, const struct splice *s, size_t n)
{
	const char *names[SPLICE_MAX] = { NULL };
	struct claim c[SPLICE_MAX];
	const uint8_t *from = json.ptr, *end;
	size_t room = json.len + 1;
	struct text t;
	char *out;

	for (size_t i = 0; i < n; i++) {
		names[i] = s[i].name;
		room += s[i].text != NULL ? strlen(s[i].name) + strlen(s[i].text) + 8 : 0;
	}
	if (!claims_find(json, names, n, c))
		return NULL;
	for (size_t i = 0; i < n; i++)
		if (!may(&s[i], &c[i]))
			return NULL;
	out = relay_alloc(room);
	t.at = out;
	for (size_t i; (i = next_place(s, c, n, from)) < n; from = place(&c[i]).ptr + place(&c[i]).len) {
		put(&t, from, (size_t)(place(&c[i]).ptr - from));
		put_value(&t, &s[i]);
	}
	for (end = json.ptr + json.len; end[-1] != '}'; end--)
		; /* blanks: claims_find saw the bracket */
	end--;
	put(&t, from, (size_t)(end - from));
	put_added(&t, s, c, n, is_empty(json, end));
	put(&t, "}", 1);
	return out;
}
