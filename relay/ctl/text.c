/* Numbers and strings for people; and the little that export and backup need of directories. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <dirent.h>

#include "relay/clock.h"
#include "relay/ctl/ctl.h"

const char *
text_bytes(char out[TEXT_MAX], uint64_t bytes)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	double v = (double)bytes;
	size_t u = 0;

	while (v >= 1024 && u + 1 < sizeof(units) / sizeof(units[0])) {
		v /= 1024;
		u++;
	}
	snprintf(out, TEXT_MAX, u == 0 ? "%.0f %s" : "%.1f %s", v, units[u]);
	return out;
}

const char *
text_span(char out[TEXT_MAX], uint64_t s)
{
	if (s < 3600)
		snprintf(out, TEXT_MAX, "%um%02us", (unsigned)(s / 60), (unsigned)(s % 60));
	else if (s < 86400)
		snprintf(out, TEXT_MAX, "%uh%02um", (unsigned)(s / 3600), (unsigned)(s / 60 % 60));
	else
		snprintf(out, TEXT_MAX, "%llud%02uh", (unsigned long long)(s / 86400), (unsigned)(s / 3600 % 24));
	return out;
}

const char *
text_age(char out[TEXT_MAX], uint64_t since_ms)
{
	uint64_t now = clock_wall_now_ms();

	if (since_ms != 0)
		return text_span(out, now > since_ms ? (now - since_ms) / 1000 : 0);
	snprintf(out, TEXT_MAX, "-");
	return out;
}

const char *
text_time(char out[TEXT_MAX], uint64_t ms)
{
	time_t t = (time_t)(ms / 1000);
	struct tm tm;

	if (ms == 0 || gmtime_r(&t, &tm) == NULL || strftime(out, TEXT_MAX, "%Y-%m-%d %H:%M:%SZ", &tm) == 0)
		snprintf(out, TEXT_MAX, "-");
	return out;
}

bool
text_print_budget(const char *before, const struct json_object *o, const char *prefix, size_t len)
{
	static const char *const keys[] = { "budget", "budget_used", "budget_bytes", "budget_ends_in_s" };
	const char *v[4];
	char key[128], used[TEXT_MAX], all[TEXT_MAX], span[TEXT_MAX];

	for (size_t i = 0; i < 4; i++) {
		snprintf(key, sizeof(key), "%.*s%s", (int)len, prefix, keys[i]);
		v[i] = json_get(o, key);
	}
	if (v[0] == NULL || v[1] == NULL || v[2] == NULL)
		return false;
	printf("%s%s, %s of %s used", before, v[0], text_bytes(used, strtoull(v[1], NULL, 10)), text_bytes(all, strtoull(v[2], NULL, 10)));
	if (v[3] != NULL && strcmp(v[3], "0") != 0)
		printf(", anew in %s", text_span(span, strtoull(v[3], NULL, 10)));
	return true;
}

/* Bytes of UTF-8 pass but for C1 controls (c2 80 .. c2 9f), which some terminals obey. */
void
text_print(const char *s)
{
	for (; *s != '\0'; s++) {
		unsigned char c = (unsigned char)*s;

		if (c == 0xc2 && (unsigned char)s[1] >= 0x80 && (unsigned char)s[1] < 0xa0) {
			s++;
			c = 0;
		}
		putchar(c < 0x20 || c == 0x7f ? '?' : c);
	}
}

void
text_print_at(const char *endpoint, const char *path)
{
	size_t head = strcspn(endpoint, "/");
	const char *colon = memchr(endpoint, ':', head);

	if (colon != NULL)
		printf("%.*s:", (int)(endpoint + head - colon - 1), colon + 1);
	text_print(path);
}

/* ---- directories ---- */

static bool
is_empty(int dir)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	bool empty = d != NULL;

	if (d == NULL)
		return false;
	while ((e = readdir(d)) != NULL)
		empty = empty && (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0);
	closedir(d);
	return empty;
}

int
dir_make(const char *dir)
{
	int fd;

	if (mkdir(dir, S_IRWXU) != 0 && errno != EEXIST)
		ctl_die(CTL_FAILED, "%s: %s", dir, strerror(errno));
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		ctl_die(CTL_FAILED, "%s: %s", dir, strerror(errno));
	if (!is_empty(fd))
		ctl_die(CTL_FAILED, "%s is not empty", dir);
	return fd;
}

int
dir_file(int dir, const char *name)
{
	return openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, S_IRUSR | S_IWUSR);
}

bool
file_write(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len > 0) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

bool
file_done(int fd)
{
	bool ok = fsync(fd) == 0;
	int err = errno;

	if (close(fd) != 0 && ok)
		return false;
	errno = err;
	return ok;
}
