/* Log lines in logfmt on stderr.
 *
 * A line is built on the caller's stack and written with one write(2), so lines of several threads never mix and nothing is
 * allocated on the way to telling that memory is out.  Whatever came from outside goes through put_value(): printable ASCII and
 * valid UTF-8 from U+00A0 on pass, everything else is written as \xNN.  Under systemd (stderr is the journal) a line starts with
 * its level as "<N>".
 *
 * Never logs payload or secrets: that is the callers' duty, no function here can tell. */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "relay/clock.h"
#include "relay/log.h"

#define CUT_MARK " cut=1\n"
#define ROOM (LOG_LINE_MAX - sizeof CUT_MARK) /* bytes for fields: the mark always fits behind */

static _Atomic int level_max = LOG_INFO;
static const char *const level_names[] = { "error", "warn", "info", "debug" };
static const char level_journal[] = { '3', '4', '6', '7' }; /* syslog's numbers */

void
log_set_level(enum log_level level)
{
	level_max = level;
}

enum log_level
log_get_level(void)
{
	return (enum log_level)level_max;
}

const char *
log_level_name(enum log_level level)
{
	return level_names[level];
}

bool
log_level_find(const char *name, enum log_level *level)
{
	for (int i = LOG_ERROR; i <= LOG_DEBUG; i++) {
		if (strcmp(level_names[i], name) == 0) {
			*level = (enum log_level)i;
			return true;
		}
	}
	return false;
}

bool
log_enabled(enum log_level level)
{
	return (int)level <= level_max;
}

/* systemd sets JOURNAL_STREAM to device:inode of the socket it made our stderr; a redirected stderr is another inode. */
static bool
stderr_is_journal(void)
{
	static _Atomic int known; /* 0 unknown, 1 no, 2 yes */
	unsigned long long dev, ino;
	const char *text;
	struct stat st;
	bool yes;

	if (known != 0)
		return known == 2;
	text = getenv("JOURNAL_STREAM");
	yes = text != NULL && sscanf(text, "%llu:%llu", &dev, &ino) == 2 && fstat(STDERR_FILENO, &st) == 0 && st.st_dev == dev &&
	      st.st_ino == ino;
	known = yes ? 2 : 1;
	return yes;
}

static void
put(struct log_line *l, const char *bytes, size_t len)
{
	if (len > ROOM - l->len)
		l->cut = true;
	if (l->cut)
		return;
	memcpy(l->text + l->len, bytes, len);
	l->len += len;
}

static void
put_key(struct log_line *l, const char *key)
{
	put(l, " ", 1);
	put(l, key, strlen(key));
	put(l, "=", 1);
}

/* Length of the valid UTF-8 sequence at p that may be shown as it is; 0 if there is none. */
static size_t
utf8_len(const uint8_t *p, size_t len)
{
	size_t n = p[0] >= 0xc2 && p[0] <= 0xdf ? 2 : (p[0] & 0xf0) == 0xe0 ? 3 : p[0] >= 0xf0 && p[0] <= 0xf4 ? 4 : 0;

	if (n == 0 || n > len)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if (p[0] == 0xc2 && p[1] < 0xa0) /* C1 */
		return 0;
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xf0 && p[1] < 0x90)) /* not the shortest form */
		return 0;
	if ((p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf4 && p[1] > 0x8f)) /* surrogates, over U+10FFFF */
		return 0;
	return n;
}

/* Writes one character of p (escaped if need be); returns how many bytes of p it was. */
static size_t
put_char(struct log_line *l, const uint8_t *p, size_t len)
{
	char esc[5];
	size_t n;

	if (p[0] >= 0x80) {
		n = utf8_len(p, len);
		if (n > 0) {
			put(l, (const char *)p, n);
			return n;
		}
	} else if (p[0] == '"' || p[0] == '\\') {
		put(l, "\\", 1);
		put(l, (const char *)p, 1);
		return 1;
	} else if (p[0] >= 0x20 && p[0] != 0x7f) {
		put(l, (const char *)p, 1);
		return 1;
	}
	snprintf(esc, sizeof esc, "\\x%02x", p[0]);
	put(l, esc, 4);
	return 1;
}

static bool
needs_quotes(const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (p[i] <= ' ' || p[i] >= 0x7f || p[i] == '"' || p[i] == '=' || p[i] == '\\')
			return true;
	return len == 0;
}

static void
put_value(struct log_line *l, const char *key, const uint8_t *p, size_t len)
{
	size_t start = l->len;
	bool quotes = needs_quotes(p, len);

	if (!l->on || l->cut)
		return;
	put_key(l, key);
	if (quotes)
		put(l, "\"", 1);
	for (size_t i = 0; i < len && !l->cut;)
		i += put_char(l, p + i, len - i);
	if (quotes)
		put(l, "\"", 1);
	if (l->cut)
		l->len = start; /* cut at a field, never within one */
}

void
log_begin(struct log_line *l, enum log_level level, const char *event)
{
	uint64_t ms;
	time_t sec;
	struct tm tm;
	char ts[64];
	int n;

	l->on = log_enabled(level);
	l->cut = false;
	l->len = 0;
	if (!l->on)
		return;
	ms = clock_wall_now_ms();
	sec = (time_t)(ms / 1000);
	gmtime_r(&sec, &tm);
	if (stderr_is_journal())
		n = snprintf(ts, sizeof ts, "<%c>", level_journal[level]);
	else
		n = 0;
	n += (int)strftime(ts + n, sizeof ts - (size_t)n, "ts=%Y-%m-%dT%H:%M:%S", &tm);
	put(l, ts, (size_t)n);
	n = snprintf(ts, sizeof ts, ".%03uZ level=%s", (unsigned)(ms % 1000), level_names[level]);
	put(l, ts, (size_t)n);
	put_key(l, "event");
	put(l, event, strlen(event));
}

void
log_str(struct log_line *l, const char *key, const char *value)
{
	put_value(l, key, (const uint8_t *)value, strlen(value));
}

void
log_view(struct log_line *l, const char *key, struct view value)
{
	put_value(l, key, value.ptr, value.len);
}

void
log_u64(struct log_line *l, const char *key, uint64_t value)
{
	char text[24];
	int n = snprintf(text, sizeof text, "%llu", (unsigned long long)value);

	put_value(l, key, (const uint8_t *)text, (size_t)n);
}

void
log_fmt(struct log_line *l, const char *key, const char *fmt, ...)
{
	char text[LOG_LINE_MAX];
	va_list ap;
	int n;

	if (!l->on)
		return;
	va_start(ap, fmt);
	n = vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (n < 0)
		n = 0;
	put_value(l, key, (const uint8_t *)text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}

void
log_end(struct log_line *l)
{
	int saved = errno;
	const char *tail = l->cut ? CUT_MARK : "\n";

	if (!l->on)
		return;
	memcpy(l->text + l->len, tail, strlen(tail));
	l->len += strlen(tail);
	while (write(STDERR_FILENO, l->text, l->len) < 0 && errno == EINTR)
		;
	l->on = false;
	errno = saved;
}

/* Appends ready logfmt; a control character in it would be a bug of the caller's and is blunted. */
static void
put_ready(struct log_line *l, const char *fmt, va_list ap)
{
	char text[LOG_LINE_MAX];
	int n = vsnprintf(text, sizeof text, fmt, ap);

	if (n <= 0)
		return;
	if ((size_t)n >= sizeof text) {
		l->cut = true;
		return;
	}
	for (char *p = text; *p != '\0'; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = '?';
	if (l->len + 1 + (size_t)n > ROOM) {
		l->cut = true;
		return;
	}
	put(l, " ", 1);
	put(l, text, (size_t)n);
}

void
log_event(enum log_level level, const char *event, const char *fmt, ...)
{
	struct log_line l;
	va_list ap;

	log_begin(&l, level, event);
	if (!l.on)
		return;
	va_start(ap, fmt);
	put_ready(&l, fmt, ap);
	va_end(ap);
	log_end(&l);
}

bool
log_quota(struct log_quota *q)
{
	uint64_t now = clock_ms();

	if (q->since_ms == 0 || now - q->since_ms >= LOG_QUOTA_MS) {
		q->since_ms = now;
		q->written = 0;
	}
	if (q->written < LOG_QUOTA) {
		q->written++;
		return true;
	}
	q->dropped++;
	return false;
}

uint64_t
log_quota_dropped(struct log_quota *q)
{
	uint64_t n = q->dropped;

	q->dropped = 0;
	return n;
}

void
log_panic(const char *file, int line, const char *what)
{
	struct log_line l;

	log_begin(&l, LOG_ERROR, "panic");
	log_fmt(&l, "at", "%s:%d", file, line);
	log_str(&l, "what", what);
	log_end(&l);
	abort();
}

void
log_fatal(const char *event, const char *fmt, ...)
{
	struct log_line l;
	va_list ap;

	log_begin(&l, LOG_ERROR, event);
	va_start(ap, fmt);
	put_ready(&l, fmt, ap);
	va_end(ap);
	log_end(&l);
	fflush(NULL);
	_exit(1); /* not exit(): other threads may be at work on what its handlers would take down */
}
