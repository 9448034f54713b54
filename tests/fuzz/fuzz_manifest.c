/* Fuzz target of the export format: the reader of its manifest (relay/ctl/manifest; the records behind it are fuzz_record's).
 *
 * Input: byte 0 = whether the right "end HASH" is put behind the rest (bit 0), then a MANIFEST.  An accepted one must be well-formed,
 * and when it is written again be read as the same. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "relay/ctl/ctl.h"
#include "relay/ctl/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static char folder[] = "/dev/shm/fuzz-manifest.XXXXXX";

static void
must(bool condition)
{
	if (!condition)
		abort();
}

/* In the place of holdfastctl's own, which ends the program: here it is a finding. */
void
ctl_die(int status, const char *fmt, ...)
{
	(void)status;
	(void)fmt;
	abort();
}

static void
remove_folder(void)
{
	char path[sizeof folder + 16];

	snprintf(path, sizeof path, "%s/" MANIFEST_NAME, folder);
	(void)unlink(path);
	(void)rmdir(folder);
}

static int
open_folder(void)
{
	static int dir = -1;

	if (dir >= 0)
		return dir;
	if (access("/dev/shm", W_OK) != 0)
		memcpy(folder, "/tmp/fuz", 8);
	must(mkdtemp(folder) != NULL);
	atexit(remove_folder);
	dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(dir >= 0);
	return dir;
}

static void
put(int dir, const uint8_t *data, size_t len, bool seal)
{
	int fd = openat(dir, MANIFEST_NAME, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	char hex[MANIFEST_HASH + 1], end[MANIFEST_HASH + 8];
	struct manifest_hash *h = hash_new();

	hash_add(h, data, len);
	hash_end(h, hex);
	snprintf(end, sizeof end, "end %s\n", hex);
	must(fd >= 0 && write(fd, data, len) == (ssize_t)len);
	must(!seal || write(fd, end, strlen(end)) == (ssize_t)strlen(end));
	(void)close(fd);
}

static void
check(const struct manifest *m)
{
	must(strlen(m->lease) == MANIFEST_LEASE);
	for (size_t i = 0; i < m->n; i++)
		must(m->file[i].name[0] != '\0' && strchr(m->file[i].name, '/') == NULL && strlen(m->file[i].hash) == MANIFEST_HASH);
}

static bool
same(const struct manifest_file *a, const struct manifest_file *b)
{
	return strcmp(a->name, b->name) == 0 && strcmp(a->hash, b->hash) == 0 && a->id == b->id && a->records == b->records &&
	       a->bytes == b->bytes && a->size == b->size;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	int dir = open_folder();
	struct manifest m, again;
	char why[200] = "";

	if (len == 0)
		return 0;
	put(dir, data + 1, len - 1, (data[0] & 1) != 0);
	if (!manifest_read(&m, dir, why, sizeof why)) {
		must(why[0] != '\0' && m.file == NULL);
		return 0;
	}
	check(&m);
	must(manifest_write(&m, dir) && manifest_read(&again, dir, why, sizeof why));
	must(again.n == m.n && again.created_ms == m.created_ms && strcmp(again.lease, m.lease) == 0);
	for (size_t i = 0; i < m.n; i++)
		must(same(&m.file[i], &again.file[i]));
	manifest_free(&again);
	manifest_free(&m);
	return 0;
}
