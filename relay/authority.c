/* Whose backlog it is; see authority.h.
 *
 * What is forgotten goes first, the new place is noted last: a crash in between finds the old place still noted, and begins again. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>

#include "relay/authority.h"
#include "relay/link.h"
#include "relay/log.h"
#include "relay/options.h"
#include "relay/promise.h"
#include "relay/purge.h"
#include "relay/relay.h"
#include "relay/section.h"

#define KEY "authority"
#define BEFORE_KEY "authorit" /* a walk that begins behind this meets KEY first */
#define URL_LINE "url "
#define API_URL_LINE "api_url "

/* ---- places ---- */

static void
add_place(char *list, size_t room, const struct address_url *u)
{
	size_t n = strlen(list);
	char place[ADDRESS_PLACE_MAX];

	address_place(u, place);
	snprintf(list + n, room - n, n > 0 ? " %s" : "%s", place);
}

void
authority_of(const struct options *o, struct authority *out)
{
	struct address_urls urls;
	struct address_url api;
	char why[200];

	memset(out, 0, sizeof(*out));
	if (!address_url_list(o->upstream_url, &urls, why, sizeof(why)))
		PANIC(why); /* options_check lets none pass */
	for (size_t i = 0; i < urls.n; i++)
		add_place(out->url, sizeof(out->url), &urls.url[i]);
	if (o->api_url[0] != '\0' && address_http_url(o->api_url, &api, why, sizeof(why)))
		add_place(out->api_url, sizeof(out->api_url), &api);
}

size_t
authority_format(const struct authority *a, char out[STORE_VALUE_MAX])
{
	int n = snprintf(out, STORE_VALUE_MAX, URL_LINE "%s\n" API_URL_LINE "%s\n", a->url, a->api_url);

	return n > 0 && n < STORE_VALUE_MAX ? (size_t)n : 0;
}

/* Takes a line that begins with name off *val. */
static bool
take_line(struct view *val, const char *name, char *out, size_t room)
{
	const uint8_t *end = memchr(val->ptr, '\n', val->len);
	size_t n = strlen(name), len = end != NULL ? (size_t)(end - val->ptr) : 0;

	if (end == NULL || len < n || memcmp(val->ptr, name, n) != 0 || len - n >= room || memchr(val->ptr, '\0', len) != NULL)
		return false;
	snprintf(out, room, "%.*s", (int)(len - n), (const char *)val->ptr + n);
	val->ptr += len + 1;
	val->len -= len + 1;
	return true;
}

bool
authority_parse(struct authority *a, struct view val)
{
	return take_line(&val, URL_LINE, a->url, sizeof(a->url)) && take_line(&val, API_URL_LINE, a->api_url, sizeof(a->api_url));
}

/* Do two lists have a place in common? */
static bool
meet(const char *a, const char *b)
{
	size_t len, other;

	for (; *(a += strspn(a, " \t")) != '\0'; a += len) {
		len = strcspn(a, " \t");
		for (const char *p = b; *(p += strspn(p, " \t")) != '\0'; p += other) {
			other = strcspn(p, " \t");
			if (len == other && strncasecmp(a, p, len) == 0)
				return true;
		}
	}
	return false;
}

/* None before, or none now: nothing has moved. */
static bool
moved(const char *before, const char *now, const char *formerly)
{
	return before[0] != '\0' && now[0] != '\0' && !meet(before, now) && !meet(before, formerly);
}

unsigned
authority_moved(const struct authority *before, const struct authority *now, const char *formerly)
{
	return (moved(before->url, now->url, formerly) ? AUTHORITY_URL : 0) |
	       (moved(before->api_url, now->api_url, formerly) ? AUTHORITY_API_URL : 0);
}

/* ---- what the buffer holds ---- */

struct waiting {
	uint64_t files, records, bytes;
	uint64_t owed;	/* files of which this relay acknowledged changesets that upstream has not */
	uint64_t aside; /* files set aside */
};

struct home { /* an upstream of the configuration, or one that the buffer knows of */
	STAILQ_ENTRY(home) entry;
	char *prefix;	      /* what endpoints have before their path; owned */
	const struct link *l; /* NULL: it is not in the configuration */
	struct authority before;
	bool known; /* before is */
	struct waiting waiting;
};

STAILQ_HEAD(home_list, home);

struct settling {
	struct relay *relay;
	struct store *s;
	struct journal *j;
	struct home_list homes;
};

static struct home *
home_of(struct settling *x, const char *prefix, size_t n)
{
	struct home *h;

	STAILQ_FOREACH (h, &x->homes, entry)
		if (strlen(h->prefix) == n && memcmp(h->prefix, prefix, n) == 0)
			return h;
	h = relay_alloc(sizeof(*h));
	h->prefix = relay_strndup(prefix, n);
	STAILQ_INSERT_TAIL(&x->homes, h, entry);
	return h;
}

static bool
known_cb(void *arg, const void *key, size_t key_len, const void *val, size_t val_len)
{
	struct settling *x = arg;
	const char *k = key;
	size_t n = sizeof(KEY) - 1;
	char prefix[sizeof("upstream:") + SECTION_NAME_MAX];
	struct home *h;

	if (key_len < n || memcmp(k, KEY, n) != 0)
		return false;
	if (key_len > n && (k[n] != ' ' || key_len - n - 1 > SECTION_NAME_MAX))
		return true;
	snprintf(prefix, sizeof(prefix), key_len > n ? "upstream:%.*s" : "upstream", (int)(key_len - n - 1), k + n + 1);
	h = home_of(x, prefix, strlen(prefix));
	h->known = authority_parse(&h->before, (struct view){ val, val_len });
	return true;
}

static void
count(struct settling *x, const struct store_file *f, bool damaged)
{
	struct waiting *w = &home_of(x, f->endpoint, strcspn(f->endpoint, "/"))->waiting;
	bool aside = damaged || f->state != STORE_FILE_OK;

	if (f->state == STORE_FILE_EXPORTED || (f->backlog_records == 0 && !aside))
		return;
	w->files++;
	w->records += f->backlog_records;
	w->bytes += f->backlog_bytes;
	w->owed += promise_is_owed(f);
	w->aside += aside;
}

static enum store_err
count_all(struct settling *x)
{
	struct store_file *f = relay_alloc(sizeof(*f));
	enum store_err err = STORE_OK;
	uint64_t id = 0;

	while (err == STORE_OK) {
		err = store_file_after(x->s, id, f);
		if ((err == STORE_CORRUPT || err == STORE_VERSION) && f->id > id) {
			id = f->id;
			if (store_name_of(x->s, id, f) == STORE_OK) /* else nobody knows whose it is, and it stops no other (I7) */
				count(x, f, true);
			err = STORE_OK;
			continue;
		}
		id = f->id;
		if (err == STORE_OK)
			count(x, f, false);
	}
	free(f);
	return err == STORE_NOTFOUND ? STORE_OK : err;
}

/* Most starts find nothing that waits, and need not read each file for it. */
static bool
nothing_waits(const struct store_stat *st)
{
	return st->records == 0 && st->files_aside == 0 && st->damaged == 0;
}

static enum store_err
look(struct settling *x)
{
	struct store_stat st;
	enum store_err err;
	struct link *l;
	char *prefix;

	TAILQ_FOREACH (l, &x->relay->links, entry) {
		prefix = link_endpoint(l, view_of(""));
		home_of(x, prefix, strlen(prefix))->l = l;
		free(prefix);
	}
	err = store_each_after(x->s, STORE_META, BEFORE_KEY, strlen(BEFORE_KEY), known_cb, x);
	if (err == STORE_OK)
		err = store_stat(x->s, &st);
	return err == STORE_OK && !nothing_waits(&st) ? count_all(x) : err;
}

/* ---- the words ---- */

#define WAY_OUT                                                                                                                          \
	"put it back and drain (holdfastctl drain); or take them out (holdfastctl buffer export, or discard); or, if it is the same server " \
	"under another name, say so with formerly in [upstream]"

static void
log_waiting(struct log_line *line, const struct waiting *w)
{
	log_u64(line, "files", w->files);
	log_u64(line, "records", w->records);
	log_u64(line, "bytes", w->bytes);
	log_u64(line, "owed_files", w->owed);
	log_u64(line, "aside_files", w->aside);
}

static void
log_places(struct log_line *line, const char *was, const char *now)
{
	log_str(line, "was", was);
	log_str(line, "now", now);
}

/* The buffer's upstream is not configured any more.  One that was never used here came with an import, and can wait. */
static bool
may_be_missing(const struct home *h)
{
	struct log_line line;

	if (h->waiting.files == 0)
		return true;
	log_begin(&line, h->known ? LOG_ERROR : LOG_WARN, "upstream_missing");
	log_str(&line, "upstream", strchr(h->prefix, ':') != NULL ? strchr(h->prefix, ':') + 1 : "");
	log_str(&line, "was", h->before.url);
	log_waiting(&line, &h->waiting);
	log_str(&line, "text", h->known ? "changes wait here for a server that is not in the configuration any more, or under another name of its "
					  "section: put it back, and drain, export or discard them first"
					: "changes of an import wait here for a server that is not in the configuration");
	log_end(&line);
	return !h->known;
}

static unsigned
moved_of(const struct home *h, struct authority *now)
{
	authority_of(h->l->opt, now);
	return h->known ? authority_moved(&h->before, now, h->l->opt->upstream_formerly) : 0;
}

static bool
is_refused(const struct home *h)
{
	struct authority now;
	unsigned what = moved_of(h, &now);
	struct log_line line;

	if (what == 0 || h->waiting.files == 0)
		return false;
	log_begin(&line, LOG_ERROR, "upstream_changed");
	link_log_name(h->l, &line);
	log_str(&line, "option", (what & AUTHORITY_URL) != 0 ? "url" : "api_url");
	log_places(&line, (what & AUTHORITY_URL) != 0 ? h->before.url : h->before.api_url, (what & AUTHORITY_URL) != 0 ? now.url : now.api_url);
	log_waiting(&line, &h->waiting);
	log_str(&line, "text", "changes wait here for the server of before: " WAY_OUT);
	log_end(&line);
	return true;
}

/* ---- the steps ---- */

static enum store_err
note(const struct settling *x, const struct link *l, const struct authority *a)
{
	char key[LINK_KEY_MAX], val[STORE_VALUE_MAX];
	size_t n = authority_format(a, val);
	enum store_err err = store_begin(x->s);

	link_meta_key(l, KEY, key);
	if (err == STORE_OK)
		err = store_put(x->s, STORE_META, key, strlen(key), val, n);
	if (err == STORE_OK)
		return store_commit(x->s, true);
	store_abort(x->s);
	return err;
}

static enum store_err
forget(const struct settling *x, const struct home *h, unsigned what, const struct authority *now)
{
	struct purge_sum sum;
	struct log_line line;
	enum store_err err = purge_upstream(x->s, x->j, h->l, (what & AUTHORITY_URL) != 0, &sum);

	if (err != STORE_OK)
		return err;
	log_begin(&line, LOG_WARN, "upstream_forgotten");
	link_log_name(h->l, &line);
	log_places(&line, h->before.url, now->url);
	log_u64(&line, "files", sum.files);
	log_u64(&line, "states", sum.states);
	log_u64(&line, "tokens", sum.tokens);
	log_u64(&line, "versions", sum.versions);
	log_u64(&line, "locations", sum.locations);
	log_end(&line);
	return STORE_OK;
}

static enum store_err
settle(const struct settling *x, const struct home *h)
{
	struct authority now;
	unsigned what = moved_of(h, &now);
	struct log_line line;
	enum store_err err;

	if (now.api_url[0] == '\0')
		memcpy(now.api_url, h->before.api_url, sizeof(now.api_url)); /* what is kept for them waits for their return */
	if (h->known && strcmp(now.url, h->before.url) == 0 && strcmp(now.api_url, h->before.api_url) == 0)
		return STORE_OK;
	if (what != 0 && (err = forget(x, h, what, &now)) != STORE_OK)
		return err;
	err = note(x, h->l, &now);
	if (err == STORE_OK && h->known && what == 0) {
		log_begin(&line, LOG_INFO, "upstream_renamed");
		link_log_name(h->l, &line);
		log_places(&line, h->before.url, now.url);
		log_end(&line);
	}
	return err;
}

/* All that is refused is told, not only the first. */
static bool
settle_all(struct settling *x)
{
	enum store_err err = look(x);
	bool good = true;
	struct home *h;

	if (err == STORE_OK)
		STAILQ_FOREACH (h, &x->homes, entry)
			good = (h->l == NULL ? may_be_missing(h) : !is_refused(h)) && good;
	if (err == STORE_OK && good)
		STAILQ_FOREACH (h, &x->homes, entry)
			if (h->l != NULL && err == STORE_OK)
				err = settle(x, h);
	if (err != STORE_OK)
		log_event(LOG_ERROR, "store_failed", "reason=\"%s\"", store_strerror(err));
	return good && err == STORE_OK;
}

bool
authority_settle(struct relay *relay, struct store *s, struct journal *j)
{
	struct settling x = { .relay = relay, .s = s, .j = j, .homes = STAILQ_HEAD_INITIALIZER(x.homes) };
	bool good = settle_all(&x);
	struct home *h;

	while ((h = STAILQ_FIRST(&x.homes)) != NULL) {
		STAILQ_REMOVE_HEAD(&x.homes, entry);
		free(h->prefix);
		free(h);
	}
	return good;
}

bool
authority_refuses(const struct section *s, const struct section *fresh, const struct store_stat *st, char *why, size_t why_len)
{
	unsigned long long records = st->records - st->exported_records;
	struct authority before, now;
	char title[SECTION_TITLE_MAX];
	unsigned what;

	if (records == 0 && st->files_aside == st->files_exported)
		return false;
	section_title(s, OPTION_upstream_url, title);
	if (fresh == NULL) {
		snprintf(why, why_len, "[%s] is gone, and %llu changesets wait here: put it back, and drain, export or discard them first", title, records);
		return true;
	}
	authority_of(&s->opt, &before);
	authority_of(&fresh->opt, &now);
	what = authority_moved(&before, &now, fresh->opt.upstream_formerly);
	if (what != 0)
		snprintf(why, why_len, "[%s] %s leads to another server than before, and %llu changesets wait here: " WAY_OUT, title,
			 (what & AUTHORITY_URL) != 0 ? "url" : "api_url", records);
	return what != 0;
}
