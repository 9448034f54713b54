/* A device and its journal; see device.h. It never sends anything; session.c calls it before the messages that depend on what
 * is kept here leave.
 *
 * The idea: the journal holds the calls, not the state. Each device_* operation applies itself in memory and appends one record
 * { length, CRC-32, kind, arguments } with a single write(); device_open repeats them. A record torn by kill -9 is the last one
 * and is cut off at the next start, as a database would drop an unfinished transaction. There is no fsync: the test kills
 * processes, not the machine. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/stat.h>

#include <zlib.h>

#include "tests/peer/changeset_maker.h"

#include "tests/client/device.h"

#define EPOCH_MS 375321800000 /* origin_timestamp (ms since 2015) of the recorded traces; the devices' clock is deterministic */
#define RECORD_MAX (64u << 20) /* bytes: a 16 MB changeset and room */

enum { RECORD_IDENT = 'I', RECORD_WRITE = 'W', RECORD_DOWNLOAD = 'D', RECORD_BACKDATE = 'B' };

struct record_head {
	uint32_t len; /* of what follows the head */
	uint32_t crc; /* of kind and what follows the head */
	uint32_t kind;
};

static void *
grown(void *p, size_t size)
{
	p = realloc(p, size);
	if (p == NULL)
		abort();
	return p;
}

static uint32_t
crc_of(const void *data, size_t len, uint32_t crc)
{
	return (uint32_t)crc32_z(crc, data, len);
}

static void
append(struct device *d, uint32_t kind, const void *a, size_t a_len, const void *b, size_t b_len)
{
	struct record_head head = { .len = (uint32_t)(a_len + b_len), .kind = kind };
	uint8_t *buf = grown(NULL, sizeof head + a_len + b_len);
	ssize_t n;

	memcpy(buf + sizeof head, a, a_len);
	if (b_len > 0)
		memcpy(buf + sizeof head + a_len, b, b_len);
	head.crc = crc_of(buf + sizeof head, a_len + b_len, kind);
	memcpy(buf, &head, sizeof head);
	n = d->journal == -1 ? 0 : write(d->journal, buf, sizeof head + a_len + b_len);
	if (d->journal != -1 && n != (ssize_t)(sizeof head + a_len + b_len)) {
		fprintf(stderr, "client: journal of %s: %s\n", d->name, n < 0 ? strerror(errno) : "short write");
		abort();
	}
	free(buf);
}

/* ---- operations, in memory ---- */

static void
apply_download(struct device *d, const struct client_progress *p, const struct received *rec, size_t n)
{
	if (d->nsnapshot == d->snapshot_cap) {
		d->snapshot_cap = d->snapshot_cap * 2 + 16;
		d->snapshot = grown(d->snapshot, d->snapshot_cap * sizeof *d->snapshot);
	}
	d->snapshot[d->nsnapshot++] = (struct snapshot){ d->file.cur, client_file_newest(&d->file), d->nreceived };
	if (d->nreceived + n > d->received_cap) {
		d->received_cap = (d->nreceived + n) * 2;
		d->received = grown(d->received, d->received_cap * sizeof *d->received);
	}
	if (n > 0)
		memcpy(d->received + d->nreceived, rec, n * sizeof *rec);
	d->nreceived += n;
	client_file_download(&d->file, p, n > 0 ? rec[n - 1].server_version : 0);
}

static bool
apply_backdate(struct device *d, uint64_t k, bool whole)
{
	const struct snapshot *s;

	if (k == 0 || k > d->nsnapshot)
		return false;
	d->nsnapshot -= k;
	s = &d->snapshot[d->nsnapshot];
	d->file.cur = s->cur;
	d->nreceived = s->nreceived;
	if (whole) {
		client_file_truncate(&d->file, s->newest);
		d->life++;
	}
	return true;
}

static void
apply_amnesia(struct device *d)
{
	client_file_free(&d->file);
	d->nreceived = d->nsnapshot = 0;
	d->life++;
}

/* ---- the journal ---- */

static uint64_t
word(const uint8_t *p, size_t i)
{
	uint64_t v;

	memcpy(&v, p + i * sizeof v, sizeof v);
	return v;
}

static bool
replay_download(struct device *d, const uint8_t *p, size_t len)
{
	struct client_progress progress;
	struct received *rec;
	size_t n;

	if (len < sizeof progress || (len - sizeof progress) % sizeof *rec != 0)
		return false;
	n = (len - sizeof progress) / sizeof *rec;
	rec = grown(NULL, n * sizeof *rec + 1);
	memcpy(&progress, p, sizeof progress);
	memcpy(rec, p + sizeof progress, n * sizeof *rec);
	apply_download(d, &progress, rec, n);
	free(rec);
	return true;
}

static bool
replay_record(struct device *d, uint32_t kind, const uint8_t *p, size_t len)
{
	uint8_t *copy;

	switch (kind) {
	case RECORD_IDENT:
		if (len != 2 * sizeof(uint64_t))
			return false;
		client_file_ident(&d->file, word(p, 0), word(p, 1));
		return true;
	case RECORD_WRITE:
		if (len < sizeof(uint64_t))
			return false;
		copy = grown(NULL, len);
		memcpy(copy, p + sizeof(uint64_t), len - sizeof(uint64_t));
		client_file_write(&d->file, copy, len - sizeof(uint64_t), word(p, 0));
		return true;
	case RECORD_DOWNLOAD:
		return replay_download(d, p, len);
	case RECORD_BACKDATE:
		return len == 2 * sizeof(uint64_t) && apply_backdate(d, word(p, 0), word(p, 1) != 0);
	default:
		return false;
	}
}

/* Repeats the records in buf; returns how many bytes of it are whole records. */
static size_t
replay(struct device *d, const uint8_t *buf, size_t len)
{
	struct record_head head;
	size_t pos = 0;

	while (len - pos >= sizeof head) {
		memcpy(&head, buf + pos, sizeof head);
		if (head.len > RECORD_MAX || head.len > len - pos - sizeof head)
			break;
		if (crc_of(buf + pos + sizeof head, head.len, head.kind) != head.crc ||
		    !replay_record(d, head.kind, buf + pos + sizeof head, head.len))
			break;
		pos += sizeof head + head.len;
	}
	return pos;
}

static bool
take_up(struct device *d)
{
	struct stat st;
	uint8_t *buf;
	size_t len, good;
	ssize_t n;

	if (fstat(d->journal, &st) == -1)
		return false;
	buf = grown(NULL, (size_t)st.st_size + 1);
	for (len = 0; len < (size_t)st.st_size; len += (size_t)n)
		if ((n = read(d->journal, buf + len, (size_t)st.st_size - len)) <= 0)
			break;
	good = replay(d, buf, len);
	free(buf);
	return ftruncate(d->journal, (off_t)good) == 0;
}

bool
device_open(struct device *d, const char *name, const char *path, uint64_t seed, const char *dir)
{
	char file[4096];

	memset(d, 0, sizeof *d);
	d->journal = -1;
	d->seed = seed;
	if ((d->name = strdup(name)) == NULL || (d->path = strdup(path)) == NULL)
		abort();
	client_file_init(&d->file);
	if (dir == NULL)
		return true;
	if ((mkdir(dir, 0700) == -1 && errno != EEXIST) ||
	    snprintf(file, sizeof file, "%s/%s.state", dir, name) >= (int)sizeof file ||
	    (d->journal = open(file, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600)) == -1)
		return false;
	return take_up(d);
}

void
device_close(struct device *d)
{
	if (d->journal != -1)
		close(d->journal);
	client_file_free(&d->file);
	free(d->received);
	free(d->snapshot);
	free(d->name);
	free(d->path);
}

/* ---- operations ---- */

void
device_ident(struct device *d, uint64_t ident, uint64_t salt)
{
	uint64_t args[] = { ident, salt };

	client_file_ident(&d->file, ident, salt);
	append(d, RECORD_IDENT, args, sizeof args, NULL, 0);
}

void
device_download(struct device *d, const struct client_progress *p, struct view entries)
{
	struct received *rec = NULL;
	struct download_entry e;
	size_t n = 0, cap = 0;

	while (download_entry_next(&entries, &e) == PROTO_OK) {
		if (n == cap) {
			cap = cap * 2 + 16;
			rec = grown(rec, cap * sizeof *rec);
		}
		rec[n++] = (struct received){ e.server_version, e.client_version, e.origin_timestamp, e.origin_file_ident,
					      e.changeset.len, crc_of(e.changeset.ptr, e.changeset.len, 0) };
	}
	apply_download(d, p, rec, n);
	append(d, RECORD_DOWNLOAD, p, sizeof *p, rec, n * sizeof *rec);
	free(rec);
}

bool
device_backdate(struct device *d, uint64_t k, bool whole)
{
	uint64_t args[] = { k, whole };

	if (!apply_backdate(d, k, whole))
		return false;
	append(d, RECORD_BACKDATE, args, sizeof args, NULL, 0);
	return true;
}

void
device_amnesia(struct device *d)
{
	apply_amnesia(d);
	if (d->journal != -1 && ftruncate(d->journal, 0) == -1) {
		fprintf(stderr, "client: journal of %s: %s\n", d->name, strerror(errno));
		abort();
	}
}

/* ---- local writes ---- */

static uint64_t
next_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u; /* splitmix64 */

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

/* "NAME/VERSION/" and then letters, size bytes in all (more when the beginning alone is longer). malloc'd. */
static char *
unique_text(const struct device *d, uint64_t version, size_t size, uint64_t *rng)
{
	char *text = grown(NULL, size + strlen(d->name) + 32);
	size_t len = (size_t)sprintf(text, "%s/%llu/", d->name, (unsigned long long)version);

	while (len < size)
		text[len++] = (char)('a' + next_random(rng) % 26);
	text[len] = '\0';
	return text;
}

static void
put_schema(struct changeset *c)
{
	static const struct changeset_column columns[] = {
		{ "name", CHANGESET_STRING, true, CHANGESET_SINGLE, NULL },
		{ "n", CHANGESET_INT, false, CHANGESET_SINGLE, NULL },
	};

	changeset_add_table(c, "Item", "_id");
	for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++)
		changeset_add_column(c, "Item", &columns[i]);
}

void
device_write(struct device *d, enum device_write kind, size_t size)
{
	uint64_t version = client_file_newest(&d->file) + 1;
	uint64_t base = crc_of(d->name, strlen(d->name), 0), rng = d->seed ^ base << 32 ^ d->life << 56 ^ version;
	uint64_t timestamp = EPOCH_MS + base % 1000000 + version;
	bool first = client_file_newest_write(&d->file) == 0;
	bool create = first || kind == DEVICE_CREATE;
	int64_t key = (int64_t)((base & 0x3fffffff) << 24 | (first || kind == DEVICE_UPDATE ? 0 : version));
	char *text = unique_text(d, version, size, &rng);
	struct changeset c;

	changeset_init(&c);
	if (first)
		put_schema(&c);
	if (create)
		changeset_create_object(&c, "Item", key);
	changeset_update(&c, &(struct changeset_path){ .table = "Item", .key = key, .field = "name" },
			 &(struct changeset_payload){ .type = CHANGESET_STRING, .data = text, .len = strlen(text) }, 0);
	changeset_update(&c, &(struct changeset_path){ .table = "Item", .key = key, .field = "n" },
			 &(struct changeset_payload){ .type = CHANGESET_INT, .integer = (int64_t)(next_random(&rng) >> 2) }, 0);
	append(d, RECORD_WRITE, &timestamp, sizeof timestamp, c.buf, c.len);
	client_file_write(&d->file, c.buf, c.len, timestamp);
	c.buf = NULL;
	changeset_free(&c);
	free(text);
}
