/* backup DIR: a copy of the buffer's environment, while it is in use or not, which is then opened once to prove that it opens.
 *
 * The order is Berkeley DB's: the tables' files, then the log (buffer/store_admin.c tells why an ordinary recovery is enough).  The
 * copy is a buffer like any other: put in the place of a lost one it starts where the backup was made.  What was replayed since
 * then is replayed again, which upstream skips; what devices uploaded since then comes again from those that were not told by the
 * relay.  Small values of the relay go with it, but not the reserved idents: some will have been given out by the time that the copy is
 * used, and none may be given twice. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "buffer/store.h"

#include "relay/ctl/ctl.h"
#include "relay/options.h"
#include "relay/word.h"

static uint64_t
copy_file(struct ctl *c, struct progress *progress, int dir, const char *name)
{
	char word[256 * 3 + 2];
	struct reply r = { 0 };
	uint64_t offset = 0;
	int fd = dir_file(dir, name);

	if (fd < 0)
		ctl_die(CTL_FAILED, "%s: %s", name, strerror(errno));
	word_escape(word, name);
	do {
		ctl_must(c, &r, NULL, 0, "backup-read %s %llu", word, (unsigned long long)offset);
		if (!file_write(fd, r.data, r.len))
			ctl_die(CTL_FAILED, "%s: %s", name, strerror(errno));
		offset += r.len;
		progress_add(progress, r.len);
	} while (r.len > 0);
	reply_free(&r);
	if (!file_done(fd))
		ctl_die(CTL_FAILED, "%s: %s", name, strerror(errno));
	return offset;
}

static uint64_t
copy_kind(struct ctl *c, struct progress *progress, int dir, const char *kind, unsigned *files)
{
	char name[256] = "-", word[256 * 3 + 2];
	struct reply r = { 0 };
	const char *next;
	uint64_t bytes = 0;

	for (;;) {
		word_escape(word, name);
		ctl_must(c, &r, NULL, 0, "backup-next %s %s", kind, word);
		next = json_get(&r.end, "name");
		if (next == NULL || *next == '\0' || strchr(next, '/') != NULL || strlen(next) >= sizeof(name))
			break;
		snprintf(name, sizeof(name), "%s", next);
		bytes += copy_file(c, progress, dir, name);
		++*files;
	}
	reply_free(&r);
	return bytes;
}

/* Opens the copy, which recovers it, takes the reserved idents out, and closes it. */
static void
prove(struct ctl *c, const char *dir)
{
	struct store_stat st = { 0 };
	char why[1024];
	int status;
	struct store *s = source_store(c->opt, dir, &status, why, sizeof(why));

	if (s == NULL)
		ctl_die(CTL_FAILED, "the copy does not open: %s", why);
	if (store_begin(s) != STORE_OK || store_clear(s, STORE_IDENTS) != STORE_OK || store_commit(s, true) != STORE_OK ||
	    store_stat(s, &st) != STORE_OK)
		ctl_die(CTL_FAILED, "the copy cannot be used");
	store_close(s);
	json_u64(&c->end, "records", st.records);
	json_u64(&c->end, "bytes", st.bytes);
	if (!c->json)
		printf("%llu changesets of %llu files are in the copy, which opens\n", (unsigned long long)st.records,
		       (unsigned long long)st.files);
}

void
ctl_backup(struct ctl *c)
{
	struct reply r = { 0 };
	struct progress progress;
	unsigned files = 0;
	uint64_t bytes;
	int dir = dir_make(c->argv[0]);

	ctl_must(c, &r, NULL, 0, "stat");
	progress_begin(&progress, c, "backup", true, json_get_u64(&r.end, "disk_bytes"));
	ctl_must(c, &r, NULL, 0, "backup-begin");
	bytes = copy_kind(c, &progress, dir, "tables", &files);
	bytes += copy_kind(c, &progress, dir, "logs", &files);
	progress_end(&progress);
	ctl_must(c, &r, NULL, 0, "backup-end");
	reply_free(&r);
	if (fsync(dir) != 0)
		ctl_die(CTL_FAILED, "%s: %s", c->argv[0], strerror(errno));
	close(dir);
	json_u64(&c->end, "copied_files", files);
	json_u64(&c->end, "copied_bytes", bytes);
	prove(c, c->argv[0]);
}
