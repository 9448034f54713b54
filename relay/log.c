/* Log lines: built, bounded in number, written.
 *
 * A line is built in logfmt on the caller's stack and written with one writev(2), so lines of several threads never mix and nothing is
 * allocated on the way to telling that memory is out; the other formats are made of it at the very end (logform).  Whatever came from outside goes through put_value(): printable ASCII and
 * valid UTF-8 from U+00A0 on pass, everything else is written as \xNN.  Under systemd (stderr is the journal) a line starts with
 * its level as "<N>".  The file is always the same descriptor, which reopening moves (dup2): no thread ever holds a closed one.
 *
 * Never logs payload or secrets: that is the callers' duty, no function here can tell. */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "relay/clock.h"
#include "relay/flood.h"
#include "relay/log.h"
#include "relay/logform.h"

#define CUT_MARK " cut=1\n"
#define ROOM (LOG_LINE_MAX - sizeof CUT_MARK) /* bytes for fields: the mark always fits behind */

static _Atomic int level_max = LOG_INFO;
static const char *const level_names[] = { "error", "warn", "info", "debug" };
static const char level_journal[] = { '3', '4', '6', '7' }; /* syslog's numbers */
static _Atomic int format;				    /* enum log_format */
static _Atomic uint64_t burst;				    /* 0: no bound */
static _Atomic int file_fd = -1;
static char *file_path;
static _Atomic uint64_t lost; /* lines that could not be written */
static atomic_bool over;      /* the last word is being said: no other thread has one behind it */

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

void
log_set_format(enum log_format f)
{
	format = f;
}

void
log_set_burst(uint64_t lines)
{
	burst = lines;
}

/* ---- where it goes ---- */

bool
log_reopen(void)
{
	int fd, to = file_fd;

	if (file_path == NULL)
		return true;
	fd = open(file_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, S_IRUSR | S_IWUSR | S_IRGRP);
	if (fd < 0)
		return false;
	if (to < 0) {
		file_fd = fd;
		return true;
	}
	dup3(fd, to, O_CLOEXEC);
	close(fd);
	return true;
}

bool
log_to_file(const char *path)
{
	file_path = strdup(path);
	if (file_path != NULL && log_reopen())
		return true;
	free(file_path);
	file_path = NULL;
	return false;
}

bool
log_has_file(void)
{
	return file_fd >= 0;
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

static bool
write_to(int fd, const char *prefix, const char *text, size_t len)
{
	struct iovec v[2] = { { (void *)(uintptr_t)prefix, strlen(prefix) }, { (void *)(uintptr_t)text, len } };
	ssize_t n;

	do
		n = writev(fd, v, 2);
	while (n < 0 && errno == EINTR);
	return n >= 0;
}

static void
write_line(enum log_level level, const char *text, size_t len)
{
	char shown[LOGFORM_MAX], prefix[4] = "";
	int fd = file_fd;

	if (format != LOG_LOGFMT) {
		size_t n = logform(format == LOG_JSON, text, len, shown);

		text = n > 0 ? shown : text;
		len = n > 0 ? n : len;
	}
	if ((fd < 0 || level == LOG_ERROR) && stderr_is_journal())
		snprintf(prefix, sizeof(prefix), "<%c>", level_journal[level]);
	if (fd < 0 || level == LOG_ERROR)
		lost += !write_to(STDERR_FILENO, prefix, text, len) && fd < 0;
	if (fd >= 0)
		lost += !write_to(fd, "", text, len);
}

/* ---- a line ---- */

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

/* A text of digits gets them as well: what is bare is a number, also for whoever reads the line as JSON. */
static bool
needs_quotes(const uint8_t *p, size_t len)
{
	bool digits = true;

	for (size_t i = 0; i < len; i++) {
		if (p[i] <= ' ' || p[i] >= 0x7f || p[i] == '"' || p[i] == '=' || p[i] == '\\')
			return true;
		digits = digits && p[i] >= '0' && p[i] <= '9';
	}
	return digits;
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

	l->on = log_enabled(level) && (burst == 0 || level == LOG_ERROR || level == LOG_DEBUG || flood_event(event, burst, LOG_WINDOW_MS));
	l->level = level;
	l->cut = false;
	l->len = 0;
	if (!l->on)
		return;
	ms = clock_wall_now_ms();
	sec = (time_t)(ms / 1000);
	gmtime_r(&sec, &tm);
	n = (int)strftime(ts, sizeof ts, "ts=%Y-%m-%dT%H:%M:%S", &tm);
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
	size_t start = l->len;
	char text[24];
	int n = snprintf(text, sizeof text, "%llu", (unsigned long long)value);

	if (!l->on || l->cut)
		return;
	put_key(l, key);
	put(l, text, (size_t)n);
	if (l->cut)
		l->len = start;
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

static void
finish_line(struct log_line *l)
{
	int saved = errno;
	const char *tail = l->cut ? CUT_MARK : "\n";

	memcpy(l->text + l->len, tail, strlen(tail));
	l->len += strlen(tail);
	write_line(l->level, l->text, l->len);
	l->on = false;
	errno = saved;
}

void
log_end(struct log_line *l)
{
	if (l->on && !atomic_load(&over))
		finish_line(l);
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

static void
tell_suppressed(void *arg, const char *event, uint64_t lines)
{
	struct log_line l;

	(void)arg;
	log_begin(&l, LOG_WARN, "suppressed");
	log_str(&l, "of", event);
	log_u64(&l, "lines", lines);
	log_end(&l);
}

void
log_tick(void)
{
	uint64_t n = atomic_exchange(&lost, 0);

	flood_ended(LOG_WINDOW_MS, tell_suppressed, NULL);
	if (n > 0)
		log_event(LOG_WARN, "log_lost", "lines=%llu", (unsigned long long)n);
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

	while (atomic_exchange(&over, true))
		pause(); /* another thread is at it */
	log_begin(&l, LOG_ERROR, event);
	va_start(ap, fmt);
	put_ready(&l, fmt, ap);
	va_end(ap);
	finish_line(&l);
	fflush(NULL);
	_exit(1); /* not exit(): other threads may be at work on what its handlers would take down */
}
