/* Steps of the walk over the files with a backlog, and the service token.  See absent_walk.h.
 *
 * The walk goes by the keys of the records (store_backlog_after), so files without a backlog cost nothing.  The token's file is looked at
 * with each step, and read when it changed (inode, size, time): whoever renews it writes a new file and renames it.  A file that cannot
 * be used leaves no token: an old one is not kept beyond the operator's wish. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "relay/absent_walk.h"
#include "relay/credential.h"
#include "relay/same_file.h"

/* The token without the white space around it; what does not belong into a request line is no token. */
static const char *
take_token(struct service_token *t, char *text, size_t n)
{
	size_t from = 0;

	while (n > 0 && strchr(" \t\r\n", text[n - 1]) != NULL)
		n--;
	while (from < n && strchr(" \t", text[from]) != NULL)
		from++;
	if (from == n)
		return "it is empty";
	if (n - from > MSG_TOKEN_MAX)
		return "it is too long";
	for (size_t i = from; i < n; i++)
		if (text[i] <= ' ' || text[i] > '~')
			return "it holds something else than one token";
	memcpy(t->token, text + from, n - from);
	t->token[n - from] = '\0';
	return NULL;
}

static const char *
read_token(struct service_token *t, int fd)
{
	char text[MSG_TOKEN_MAX + 64];
	ssize_t n = read(fd, text, sizeof(text));
	const char *why = n < 0 ? "it cannot be read" : take_token(t, text, (size_t)n);

	explicit_bzero(text, sizeof(text));
	return why;
}

static void
look_at_token(struct service_token *t)
{
	struct stat st;
	int fd;

	if (t->path[0] == '\0') { /* as configured, or no longer: what was read is not used any more */
		explicit_bzero(t->token, sizeof(t->token));
		memset(&t->seen, 0, sizeof(t->seen));
		t->complaint = NULL;
		return;
	}
	fd = open(t->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
		explicit_bzero(t->token, sizeof(t->token));
		memset(&t->seen, 0, sizeof(t->seen));
		t->complaint = "it cannot be opened, or is no plain file";
	} else if (!same_file(&st, &t->seen)) {
		explicit_bzero(t->token, sizeof(t->token));
		t->seen = st;
		t->serial++;
		t->complaint = read_token(t, fd);
		if (t->complaint == NULL && (st.st_mode & 077) != 0)
			t->complaint = "others than its owner may open it";
	}
	if (fd >= 0)
		close(fd);
}

static void
read_credential(struct absent_file *f, struct store *store)
{
	uint8_t key[CREDENTIAL_KEY];
	size_t len = sizeof(f->credential);

	credential_key(key, f->file.id);
	f->credential_len = store_get(store, STORE_TOKENS, key, sizeof(key), f->credential, &len) == STORE_OK ? len : 0;
}

void
absent_step(void *arg, struct store *store)
{
	struct absent_step *w = arg;
	struct absent_file *f;
	uint64_t id;

	look_at_token(&w->service);
	w->nfile = 0;
	for (unsigned i = 0; i < ABSENT_STEP; i++) {
		f = &w->file[w->nfile];
		if (store_backlog_after(store, w->after, &id) != STORE_OK) {
			w->end = true;
			return;
		}
		w->after = id;
		f->credential_len = 0;
		if (store_file_get(store, id, &f->file) != STORE_OK || f->file.state != STORE_FILE_OK || f->file.backlog_records == 0)
			continue;
		if (w->credentials)
			read_credential(f, store);
		w->nfile++;
	}
}
