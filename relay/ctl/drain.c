/* drain: tells the daemon to leave, and shows how far it is until it has gone.
 *
 * That the daemon went away is not taken for success: the buffer it left is opened and looked at. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "relay/ctl/ctl.h"

#define WAIT_S 60 /* for the daemon to let go of the buffer, once it does not answer */
#define LINE_S 10 /* where there is no terminal, which has one line that is painted over each second */

typedef unsigned long long ull;

static void
pause_a_second(void)
{
	nanosleep(&(struct timespec){ 1, 0 }, NULL);
}

/* The daemon does not answer any more.  Looks at what it left, and ends the program. */
static void
ended(void *arg)
{
	struct ctl *c = arg;
	struct source *left = NULL;
	struct reply r = { 0 };
	char why[4400] = "";
	int status = CTL_FAILED;
	uint64_t records;
	bool live, ok;

	if (!c->json && isatty(STDOUT_FILENO))
		fputs("\r\033[K", stdout);
	for (int i = 0; i < WAIT_S && (left = source_open(c->opt, &status, why, sizeof(why))) == NULL; i++)
		pause_a_second();
	if (left == NULL)
		ctl_die(status, "the daemon has ended, but its buffer cannot be looked at: %s", why);
	live = source_is_live(left);
	ok = !live && source_ask(left, &r, NULL, 0, "stat");
	records = ok ? json_get_u64(&r.end, "records") : 0;
	reply_free(&r);
	source_close(left);
	if (!ok)
		ctl_die(CTL_FAILED, live ? "the daemon was started again" : "the daemon has ended, but its buffer cannot be read");
	if (records > 0)
		ctl_die(CTL_FAILED, "the daemon has ended with %llu changesets in its buffer", (ull)records);
	json_u64(&c->end, "records", records);
	if (!c->json)
		puts("drained: the buffer is empty and the daemon has ended");
	ctl_finish(c);
	exit(fflush(stdout) == 0 ? CTL_OK : CTL_FAILED);
}

static void
show_progress(const struct ctl *c, const struct reply *r, unsigned second)
{
	bool terminal = isatty(STDOUT_FILENO);
	char bytes[TEXT_MAX], rate[TEXT_MAX], span[TEXT_MAX];

	if (c->json) {
		ctl_print_row(&r->end);
		return;
	}
	if (!terminal && second % LINE_S != 0)
		return;
	printf("%s%llu changesets, %s left", terminal ? "\r" : "", (ull)json_get_u64(&r->end, "backlog_records"),
	       text_bytes(bytes, json_get_u64(&r->end, "backlog_bytes")));
	for (size_t i = 0; i < r->end.n; i++) {
		int len;
		const char *name = ctl_upstream_of(r->end.field[i].key, "link", &len);

		if (name != NULL)
			printf("; %s%.*s %s", len > 0 ? "" : "link", len, name, r->end.field[i].value);
	}
	if (json_get(&r->end, "drained_in_s") != NULL)
		printf("; %s/s, done in about %s", text_bytes(rate, json_get_u64(&r->end, "drain_rate")),
		       text_span(span, json_get_u64(&r->end, "drained_in_s")));
	fputs(terminal ? "\033[K" : "\n", stdout);
	fflush(stdout);
}

void
ctl_drain(struct ctl *c)
{
	struct reply r = { 0 };

	ctl_daemon(c, &r, "drain");
	source_ending(c->src, ended, c);
	for (unsigned second = 0;; second++) {
		ctl_daemon(c, &r, "status");
		show_progress(c, &r, second);
		pause_a_second();
	}
}
