/* Writes and reads the manifest of an export; see manifest.h and buffer/EXPORT.
 *
 * It is written last, under another name and then renamed, so a directory without one is not an export; and its own last line holds the
 * hash of all others, so one that was cut or edited is refused. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/rand.h>

#include "relay/ctl/ctl.h"
#include "relay/ctl/manifest.h"

#define HEAD_LINE "holdfast-export 1"
#define HEAD_LINE_2 "holdfast-export 2" /* with queries */
#define MANIFEST_MAX (16u << 20) /* 100,000 files */

static void
to_hex(char *out, const unsigned char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		snprintf(out + 2 * i, 3, "%02x", p[i]);
}

/* ---- hash ---- */

struct manifest_hash {
	EVP_MD_CTX *md;
};

struct manifest_hash *
hash_new(void)
{
	struct manifest_hash *h = malloc(sizeof(*h));

	if (h == NULL || (h->md = EVP_MD_CTX_new()) == NULL || EVP_DigestInit_ex(h->md, EVP_sha256(), NULL) != 1)
		ctl_die(CTL_FAILED, "no SHA-256");
	return h;
}

void
hash_add(struct manifest_hash *h, const void *data, size_t len)
{
	if (EVP_DigestUpdate(h->md, data, len) != 1)
		ctl_die(CTL_FAILED, "no SHA-256");
}

void
hash_end(struct manifest_hash *h, char hex[MANIFEST_HASH + 1])
{
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned len = 0;

	if (EVP_DigestFinal_ex(h->md, md, &len) != 1 || len * 2 != MANIFEST_HASH)
		ctl_die(CTL_FAILED, "no SHA-256");
	if (hex != NULL)
		to_hex(hex, md, len);
	EVP_MD_CTX_free(h->md);
	free(h);
}

void
manifest_lease(char lease[MANIFEST_LEASE + 1])
{
	unsigned char bytes[MANIFEST_LEASE / 2];

	if (RAND_bytes(bytes, sizeof(bytes)) != 1)
		ctl_die(CTL_FAILED, "no random numbers");
	to_hex(lease, bytes, sizeof(bytes));
}

struct manifest_file *
manifest_add(struct manifest *m)
{
	struct manifest_file *p = realloc(m->file, (m->n + 1) * sizeof(*p));

	if (p == NULL)
		ctl_die(CTL_FAILED, "out of memory");
	m->file = p;
	memset(&p[m->n], 0, sizeof(*p));
	return &p[m->n++];
}

void
manifest_free(struct manifest *m)
{
	free(m->file);
	memset(m, 0, sizeof(*m));
}

/* ---- writing ---- */

bool
manifest_write(const struct manifest *m, int dir)
{
	char *text = NULL, hex[MANIFEST_HASH + 1];
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);
	struct manifest_hash *h = hash_new();
	int fd;
	bool ok;

	if (f == NULL)
		return false;
	fprintf(f, "%s\n# Backlogs of client files; described in buffer/EXPORT of holdfast. They are in clear text.\n",
		m->queries ? HEAD_LINE_2 : HEAD_LINE);
	fprintf(f, "lease %s\ncreated_ms %llu\n# file NAME ID RECORDS BYTES SIZE SHA256\n", m->lease, (unsigned long long)m->created_ms);
	for (size_t i = 0; i < m->n; i++) {
		const struct manifest_file *x = &m->file[i];

		fprintf(f, "file %s %llu %llu %llu %llu %s\n", x->name, (unsigned long long)x->id, (unsigned long long)x->records,
			(unsigned long long)x->bytes, (unsigned long long)x->size, x->hash);
	}
	ok = fflush(f) == 0;
	hash_add(h, text, len);
	hash_end(h, hex);
	fprintf(f, "end %s\n", hex);
	ok = fclose(f) == 0 && ok;
	fd = ok ? dir_file(dir, MANIFEST_NAME ".new") : -1;
	ok = fd >= 0 && file_write(fd, text, len);
	ok = fd >= 0 && file_done(fd) && ok;
	free(text);
	return ok && renameat(dir, MANIFEST_NAME ".new", dir, MANIFEST_NAME) == 0 && fsync(dir) == 0;
}

/* ---- reading ---- */

/* The whole file, NUL terminated; NULL with errno. */
static char *
read_all(int dir, size_t *len)
{
	int fd = openat(dir, MANIFEST_NAME, O_RDONLY | O_CLOEXEC);
	struct stat st;
	size_t size;
	char *text;
	ssize_t n;

	if (fd < 0)
		return NULL;
	if (fstat(fd, &st) != 0 || st.st_size > MANIFEST_MAX) {
		close(fd);
		errno = EFBIG;
		return NULL;
	}
	size = (size_t)st.st_size;
	text = malloc(size + 1);
	if (text == NULL)
		ctl_die(CTL_FAILED, "out of memory");
	*len = 0;
	while (*len < size && (n = read(fd, text + *len, size - *len)) > 0)
		*len += (size_t)n;
	close(fd);
	text[*len] = '\0';
	return text;
}

static bool
read_file_line(struct manifest *m, const char *line)
{
	struct manifest_file x = { .size = 0 };
	unsigned long long id, records, bytes, size;
	int end = 0;

	if (sscanf(line, "file %31s %llu %llu %llu %llu %64s%n", x.name, &id, &records, &bytes, &size, x.hash, &end) != 6 || line[end] != '\0' ||
	    strchr(x.name, '/') != NULL || strlen(x.hash) != MANIFEST_HASH)
		return false;
	x.id = id;
	x.records = records;
	x.bytes = bytes;
	x.size = size;
	*manifest_add(m) = x;
	return true;
}

static bool
read_line(struct manifest *m, const char *line)
{
	unsigned long long ms;

	if (line[0] == '#' || strcmp(line, HEAD_LINE) == 0 || strcmp(line, HEAD_LINE_2) == 0)
		return true;
	if (strncmp(line, "file ", 5) == 0)
		return read_file_line(m, line);
	if (sscanf(line, "created_ms %llu", &ms) == 1) {
		m->created_ms = ms;
		return true;
	}
	return sscanf(line, "lease %32s", m->lease) == 1;
}

/* The last line, "end HASH": whether it tells the hash of what stands before; cuts it off. */
static bool
check_end(char *text, size_t len)
{
	char hex[MANIFEST_HASH + 1];
	struct manifest_hash *h;
	size_t at = len - (5 + MANIFEST_HASH);

	if (len < 5 + MANIFEST_HASH || strncmp(text + at, "end ", 4) != 0 || text[len - 1] != '\n')
		return false;
	h = hash_new();
	hash_add(h, text, at);
	hash_end(h, hex);
	if (strncmp(text + at + 4, hex, MANIFEST_HASH) != 0)
		return false;
	text[at] = '\0';
	return true;
}

bool
manifest_read(struct manifest *m, int dir, char *why, size_t why_len)
{
	size_t len;
	char *text = read_all(dir, &len), *line, *next;
	bool ok;

	memset(m, 0, sizeof(*m));
	if (text == NULL) {
		snprintf(why, why_len, "no export there: " MANIFEST_NAME ": %s", strerror(errno));
		return false;
	}
	m->queries = strncmp(text, HEAD_LINE_2 "\n", sizeof(HEAD_LINE_2)) == 0;
	ok = m->queries || strncmp(text, HEAD_LINE "\n", sizeof(HEAD_LINE)) == 0;
	snprintf(why, why_len, ok ? MANIFEST_NAME " is damaged" : MANIFEST_NAME " is not of a version that this program knows");
	ok = ok && check_end(text, len);
	for (line = text; ok && *line != '\0'; line = next) {
		next = strchr(line, '\n');
		if (next == NULL)
			break;
		*next++ = '\0';
		ok = read_line(m, line);
	}
	free(text);
	if (ok && strlen(m->lease) == MANIFEST_LEASE)
		return true;
	manifest_free(m);
	return false;
}
