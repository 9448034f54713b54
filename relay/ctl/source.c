/* Asks the daemon, or the store; see source.h.
 *
 * When root works on a stopped buffer that belongs to the daemon's user, the store is used with that user's rights: what
 * Berkeley DB creates must be the daemon's.  Everything else, such as writing an export to a stick, is done as who called. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "buffer/store.h"

#include "relay/admin.h"
#include "relay/control.h"
#include "relay/ctl/source.h"
#include "relay/journal.h"
#include "relay/options.h"
#include "relay/recover.h"
#include "relay/word.h"

#define LINE_MAX_BYTES CONTROL_LINE_MAX

struct source {
	int fd; /* of the socket; -1: local */
	struct store *store;
	char state_dir[4096]; /* with a store */
	uid_t uid, owner; /* ours, and that of the buffer */
	gid_t gid, group;
	char buf[65536]; /* 0 .. pos -- taken, pos .. len -- received */
	size_t pos, len;
	void (*ended)(void *arg); /* NULL: it is not expected */
	void *ended_arg;
};

/* ---- the store, here ---- */

/* owner: with the rights of the buffer's owner, else with our own. */
static void
switch_user(const struct source *src, bool owner)
{
	if (src->uid != 0 || src->owner == 0)
		return;
	if (owner ? (setegid(src->group) != 0 || seteuid(src->owner) != 0) : (seteuid(src->uid) != 0 || setegid(src->gid) != 0))
		ctl_die(CTL_FAILED, "cannot change to user %u: %s", (unsigned)(owner ? src->owner : src->uid), strerror(errno));
}

static void
store_error(void *arg, const char *text)
{
	(void)arg;
	fprintf(stderr, "holdfastctl: store: %s\n", text);
}

static void
store_fatal(const char *text)
{
	ssize_t n = write(STDERR_FILENO, text, strlen(text));

	(void)n;
}

/* The key of the options, read as who called. */
static bool
read_key(const struct options *o, uint8_t key[STORE_KEY_BYTES], char *why, size_t why_len)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();
	bool switched = uid != getuid(), ok;

	if (switched && (seteuid(getuid()) != 0 || setegid(getgid()) != 0))
		ctl_die(CTL_FAILED, "cannot change to user %u: %s", (unsigned)getuid(), strerror(errno));
	ok = recover_key(o->buffer_key_file, key, why, why_len);
	if (switched && (setegid(gid) != 0 || seteuid(uid) != 0))
		ctl_die(CTL_FAILED, "cannot change to user %u: %s", (unsigned)uid, strerror(errno));
	return ok;
}

struct store *
source_store(const struct options *o, const char *dir, int *status, char *why, size_t why_len)
{
	uint8_t key[STORE_KEY_BYTES];
	struct store_options so = { .dir = dir,
		.max_bytes = o->buffer_max_bytes,
		.max_bytes_per_file = o->buffer_max_file_bytes,
		.min_free = o->buffer_min_free,
		.ballast_bytes = strcmp(dir, o->state_dir) == 0 ? o->buffer_ballast : 0,
		.max_log_bytes = o->buffer_max_log_bytes,
		.cache_bytes = (uint32_t)o->buffer_cache_bytes,
		.log_file_bytes = 4u << 20,
		.checkpoint_bytes = 4u << 20,
		.on_error = store_error,
		.on_fatal = store_fatal };
	struct store *s;
	char text[512];
	enum store_err err;

	*status = CTL_FAILED;
	if (o->buffer_key_file[0] != '\0') {
		if (!read_key(o, key, why, why_len))
			return NULL;
		so.key = key;
	}
	err = store_open(&so, &s, text, sizeof(text));
	explicit_bzero(key, sizeof(key));
	if (err == STORE_OK)
		return s;
	if (err == STORE_LOCKED)
		snprintf(why, why_len, "%s, which does not answer on its control socket", text);
	else
		snprintf(why, why_len, "cannot open the buffer in %s: %s%s%s%s", dir, store_strerror(err), text[0] != '\0' ? ": " : "", text,
			 err == STORE_CORRUPT ? "; the daemon recovers it when it starts" : "");
	return NULL;
}

static bool
open_local(struct source *src, const struct options *o, int *status, char *why, size_t why_len)
{
	char path[4200];
	struct stat st;

	snprintf(path, sizeof(path), "%s/meta.db", o->state_dir);
	if (stat(path, &st) != 0) { /* store_open would make one */
		*status = errno == ENOENT || errno == ENOTDIR ? CTL_NOT_RUNNING : CTL_FAILED;
		if (*status == CTL_NOT_RUNNING)
			snprintf(why, why_len, "not running, and there is no buffer in %s", o->state_dir);
		else
			snprintf(why, why_len, "%s: %s", path, strerror(errno));
		return false;
	}
	snprintf(src->state_dir, sizeof(src->state_dir), "%s", o->state_dir);
	src->owner = st.st_uid;
	src->group = st.st_gid;
	switch_user(src, true);
	src->store = source_store(o, o->state_dir, status, why, why_len);
	switch_user(src, false);
	return src->store != NULL;
}

/* ---- the daemon ---- */

/* 1 connected, 0 nobody there, -1 failed. */
static int
connect_live(struct source *src, const char *path)
{
	struct sockaddr_un sun;

	if (!control_address(path, &sun))
		return 0;
	src->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (src->fd < 0)
		return -1;
	if (connect(src->fd, (struct sockaddr *)&sun, sizeof(sun)) == 0)
		return 1;
	close(src->fd);
	src->fd = -1;
	return errno == ENOENT || errno == ECONNREFUSED || errno == ENOTDIR ? 0 : -1;
}

struct source *
source_open_live(const struct options *o, int *status, char *why, size_t why_len)
{
	struct source *src = calloc(1, sizeof(*src));
	char path[4200];
	int live;

	if (src == NULL)
		ctl_die(CTL_FAILED, "out of memory");
	src->fd = -1;
	control_path(o->state_dir, o->control, path, sizeof(path));
	live = connect_live(src, path);
	if (live == 1)
		return src;
	*status = live == 0 ? CTL_NOT_RUNNING : CTL_FAILED;
	snprintf(why, why_len, live == 0 ? "%s: the daemon is not running" : "%s: %s", path, strerror(errno));
	free(src);
	return NULL;
}

struct source *
source_open(const struct options *o, int *status, char *why, size_t why_len)
{
	struct source *src = calloc(1, sizeof(*src));
	char path[4200];
	int live;

	if (src == NULL)
		ctl_die(CTL_FAILED, "out of memory");
	src->uid = geteuid();
	src->gid = getegid();
	src->fd = -1;
	control_path(o->state_dir, o->control, path, sizeof(path));
	live = connect_live(src, path);
	if (live == 1 || (live == 0 && open_local(src, o, status, why, why_len)))
		return src;
	if (live < 0) {
		*status = CTL_FAILED;
		snprintf(why, why_len, "%s: %s", path, strerror(errno));
	}
	free(src);
	return NULL;
}

bool
source_is_live(const struct source *src)
{
	return src->store == NULL;
}

void
source_close(struct source *src)
{
	if (src == NULL)
		return;
	if (src->store != NULL) {
		switch_user(src, true);
		store_close(src->store);
		switch_user(src, false);
	} else {
		close(src->fd);
	}
	free(src);
}

void
source_ending(struct source *src, void (*ended)(void *arg), void *arg)
{
	src->ended = ended;
	src->ended_arg = arg;
}

static void __attribute__((noreturn))
went_away(struct source *src, const char *why)
{
	if (src->ended != NULL)
		src->ended(src->ended_arg);
	ctl_die(CTL_FAILED, "the daemon went away%s", why);
}

static void
send_all(struct source *src, const void *data, size_t len)
{
	const char *p = data;

	while (len > 0) {
		ssize_t n = send(src->fd, p, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			went_away(src, " while it was asked");
		p += n;
		len -= (size_t)n;
	}
}

static void
receive(struct source *src)
{
	ssize_t n;

	do
		n = recv(src->fd, src->buf, sizeof(src->buf), 0);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		went_away(src, "");
	src->pos = 0;
	src->len = (size_t)n;
}

static void *
grown(void *p, size_t len)
{
	p = realloc(p, len);
	if (p == NULL)
		ctl_die(CTL_FAILED, "out of memory");
	return p;
}

/* Appends the next line, with its newline, to text; true when it was the final one. */
static bool
receive_line(struct source *src, char **text, size_t *len)
{
	size_t start = *len, n;
	struct json_object o;
	char *copy, *end = NULL;
	bool final;

	while (end == NULL) {
		if (src->pos == src->len)
			receive(src);
		end = memchr(src->buf + src->pos, '\n', src->len - src->pos);
		n = end != NULL ? (size_t)(end - (src->buf + src->pos)) + 1 : src->len - src->pos;
		*text = grown(*text, *len + n + 1);
		memcpy(*text + *len, src->buf + src->pos, n);
		*len += n;
		(*text)[*len] = '\0';
		src->pos += n;
	}
	copy = strdup(*text + start);
	if (copy == NULL || !json_parse(copy, &o))
		ctl_die(CTL_FAILED, "the daemon's answer is malformed");
	final = json_get(&o, "status") != NULL;
	free(copy);
	return final;
}

static void
receive_data(struct source *src, uint8_t *p, size_t len)
{
	while (len > 0) {
		size_t n;

		if (src->pos == src->len)
			receive(src);
		n = src->len - src->pos < len ? src->len - src->pos : len;
		memcpy(p, src->buf + src->pos, n);
		src->pos += n;
		p += n;
		len -= n;
	}
}

/* ---- both ---- */

void
reply_free(struct reply *r)
{
	free(r->text);
	free(r->last);
	free(r->data);
	memset(r, 0, sizeof(*r));
}

/* text: all lines, the final one last. */
static void
set_text(struct reply *r, char *text)
{
	size_t len = strlen(text), at = len > 0 ? len - 1 : 0;
	const char *status;

	while (at > 0 && text[at - 1] != '\n')
		at--;
	r->text = text;
	r->last = strdup(text + at);
	text[at] = '\0';
	r->next = text;
	if (r->last == NULL || !json_parse(r->last, &r->end))
		ctl_die(CTL_FAILED, "the answer is malformed");
	status = json_get(&r->end, "status");
	r->ok = status != NULL && strcmp(status, "ok") == 0;
}

static void
ask_live(struct source *src, struct reply *r, const char *part, const char *line, const void *data, size_t len)
{
	char head[LINE_MAX_BYTES + 64], *text = NULL;
	size_t text_len = 0;

	if (len > 0)
		snprintf(head, sizeof(head), "%s%s +%zu\n", part, line, len);
	else
		snprintf(head, sizeof(head), "%s%s\n", part, line);
	send_all(src, head, strlen(head));
	send_all(src, data, len);
	while (!receive_line(src, &text, &text_len))
		;
	set_text(r, text);
	r->len = json_get_u64(&r->end, "data");
	if (r->len > (size_t)1 << 31)
		ctl_die(CTL_FAILED, "the daemon's answer is too large");
	r->data = grown(NULL, r->len + 1);
	receive_data(src, r->data, r->len);
}

/* What was taken out of the store is no promise any more. */
static void
disown(const struct source *src, const struct store_file *f)
{
	char path[4200], why[4400];
	struct journal *j;

	snprintf(path, sizeof(path), "%s/" JOURNAL_NAME, src->state_dir);
	if (access(path, F_OK) != 0)
		return;
	if ((j = journal_open(path, why, sizeof(why))) == NULL)
		ctl_die(CTL_FAILED, "%s", why);
	journal_forget(j, f);
	journal_close(j);
}

static void
ask_local(struct source *src, struct reply *r, char *line, const void *data, size_t len)
{
	struct admin_request q = { .data = data, .len = len };
	struct admin_answer a;
	int n = word_split(line, q.word, ADMIN_WORDS_MAX);
	char *text;

	if (n < 0)
		ctl_die(CTL_FAILED, "malformed request");
	q.nword = (size_t)n;
	switch_user(src, true);
	admin_run(src->store, &q, &a);
	if (a.forgotten.id != 0)
		disown(src, &a.forgotten);
	switch_user(src, false);
	text = grown(NULL, a.rows.len + a.last.len + 1);
	memcpy(text, a.rows.len > 0 ? a.rows.text : "", a.rows.len);
	memcpy(text + a.rows.len, a.last.text, a.last.len + 1);
	r->data = a.data;
	r->len = a.len;
	a.data = NULL;
	admin_free(&a);
	set_text(r, text);
}

bool
source_ask(struct source *src, struct reply *r, const void *data, size_t len, const char *fmt, ...)
{
	char line[LINE_MAX_BYTES];
	va_list ap;
	int n;

	reply_free(r);
	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof(line))
		ctl_die(CTL_FAILED, "the arguments are too long");
	if (src->store == NULL)
		ask_live(src, r, "buffer ", line, data, len);
	else
		ask_local(src, r, line, data, len);
	return r->ok;
}

bool
source_ask_daemon(struct source *src, struct reply *r, const char *line)
{
	reply_free(r);
	ask_live(src, r, "", line, NULL, 0);
	return r->ok;
}

bool
reply_row(struct reply *r, struct json_object *row)
{
	char *line = r->next, *end;

	if (*line == '\0')
		return false;
	end = strchr(line, '\n');
	if (end == NULL)
		return false;
	*end = '\0';
	r->next = end + 1;
	if (!json_parse(line, row))
		ctl_die(CTL_FAILED, "the answer is malformed");
	return true;
}

const char *
reply_error(const struct reply *r)
{
	const char *text = json_get(&r->end, "error");

	return text != NULL ? text : "unknown error";
}
