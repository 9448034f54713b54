/* The key check value, so that a wrong key is called a wrong key: to Berkeley DB it looks like damage, and the start-up ladder would set
 * a sound buffer aside.
 *
 *      key     "holdfast key check 1 " and 32 hexadecimal digits: the first half of SHA-256("holdfast key check 1" key)
 *
 * With 256 random bits in the key the value tells nothing about it.  The file is made before the environment and never changed: there is
 * no re-keying, and no way to turn encryption on or off for what is there. */
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "buffer/hooks.h"
#include "buffer/key.h"
#include "buffer/sha256.h"

#define NAME "key"
#define LABEL "holdfast key check 1"
#define CHECK_BYTES 16
#define TEXT_LEN (sizeof(LABEL) + 2 * CHECK_BYTES + 1) /* with the blank and the newline */

/* In the first page of a table: the magic number of a BTREE (in the machine's order), and which cipher: 1 AES, 0 none. */
enum { MAGIC_AT = 12, ENCRYPT_ALG_AT = 24 };
#define BTREE_MAGIC 0x053162u

static void
hex(char *out, const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		(void)snprintf(out + 2 * i, 3, "%02x", p[i]);
}

void
key_phrase(const uint8_t *key, char out[KEY_PHRASE_LEN + 1])
{
	hex(out, key, STORE_KEY_BYTES);
}

static void
check_text(const uint8_t *key, char out[TEXT_LEN + 1])
{
	uint8_t in[sizeof(LABEL) - 1 + STORE_KEY_BYTES], digest[32];
	char digits[2 * CHECK_BYTES + 1];

	memcpy(in, LABEL, sizeof(LABEL) - 1);
	memcpy(in + sizeof(LABEL) - 1, key, STORE_KEY_BYTES);
	sha256(in, sizeof(in), digest);
	explicit_bzero(in, sizeof(in));
	hex(digits, digest, CHECK_BYTES);
	(void)snprintf(out, TEXT_LEN + 1, LABEL " %s\n", digits);
}

/* Reads the beginning of a file; -1: there is none. */
static ssize_t
read_file(const struct dir *d, const char *name, void *buf, size_t cap)
{
	int fd = openat(d->fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	ssize_t n;

	if (fd == -1)
		return -1;
	n = read(fd, buf, cap);
	(void)close(fd);
	return n;
}

static enum store_err
write_check(const struct dir *d, const char *text, char *why, size_t why_len)
{
	int fd = openat(d->fd, NAME ".new", O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, S_IRUSR | S_IWUSR), err = 0;

	if (fd == -1 || write(fd, text, strlen(text)) != (ssize_t)strlen(text) || fdatasync(fd) == -1 ||
	    renameat(d->fd, NAME ".new", d->fd, NAME) == -1 || fsync(d->fd) == -1)
		err = errno;
	if (fd != -1)
		(void)close(fd);
	if (err == 0)
		return STORE_OK;
	(void)snprintf(why, why_len, "cannot write %s/" NAME ": %s", d->path, strerror(err));
	return hooks_is_full(err) ? STORE_NOSPACE : STORE_IO;
}

static int
has_log_cb(void *arg, int dir_fd, const char *name)
{
	(void)dir_fd;
	*(bool *)arg |= dir_log_number(name) != 0;
	return 0;
}

enum store_err
key_check(const struct dir *d, const uint8_t *key, char *why, size_t why_len)
{
	char want[TEXT_LEN + 1], got[TEXT_LEN + 1] = "";
	uint8_t page[ENCRYPT_ALG_AT + 1] = { 0 };
	bool has_check = read_file(d, NAME, got, TEXT_LEN) >= 0, has_log = false;
	ssize_t n = read_file(d, "meta.db", page, sizeof(page));
	bool encrypted = has_check;
	uint32_t magic;

	memcpy(&magic, page + MAGIC_AT, sizeof(magic));
	encrypted |= magic == BTREE_MAGIC && page[ENCRYPT_ALG_AT] == 1; /* the check value may be lost */

	(void)dir_each(d, has_log_cb, &has_log);
	if (key == NULL) {
		if (!encrypted)
			return STORE_OK;
		(void)snprintf(why, why_len, "%s is encrypted: give its key ([buffer] key_file)", d->path);
		return STORE_KEY;
	}
	if (!encrypted && (n >= 0 || has_log)) {
		(void)snprintf(why, why_len,
			       "%s was written without a key, and nothing there can be encrypted later: start without key_file "
			       "until the backlog is drained, or move the directory away",
			       d->path);
		return STORE_KEY;
	}
	check_text(key, want);
	if (has_check && strcmp(got, want) != 0) {
		(void)snprintf(why, why_len, "the key is not the one that %s was written with (see its file " NAME ")", d->path);
		return STORE_KEY;
	}
	return has_check || n >= 0 || has_log ? STORE_OK : write_check(d, want, why, why_len);
}
