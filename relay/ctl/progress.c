/* How far a long command is: how much, how fast, how long it will take, on standard error, once a second on a terminal and every ten seconds
 * elsewhere.  A command that is done within a second says nothing, and with --json none does: the final object tells it all. */
#include <stdio.h>
#include <unistd.h>

#include "relay/clock.h"
#include "relay/ctl/ctl.h"

#define TERMINAL_MS 1000
#define ELSEWHERE_MS 10000

void
progress_begin(struct progress *p, const struct ctl *c, const char *what, bool bytes, uint64_t total)
{
	*p = (struct progress){ .what = what, .bytes = bytes, .total = total, .began_ms = clock_now_ms(), .silent = c->json };
	p->shown_ms = p->began_ms;
	p->terminal = isatty(STDERR_FILENO);
}

static const char *
amount(const struct progress *p, char out[TEXT_MAX], uint64_t n)
{
	if (p->bytes)
		return text_bytes(out, n);
	snprintf(out, TEXT_MAX, "%llu", (unsigned long long)n);
	return out;
}

static void
show(const struct progress *p, uint64_t ms)
{
	uint64_t rate = p->done * 1000 / ms;
	char a[TEXT_MAX], b[TEXT_MAX];

	fprintf(stderr, "%s%s: %s", p->terminal ? "\r" : "", p->what, amount(p, a, p->done));
	if (p->total > 0)
		fprintf(stderr, " of %s", amount(p, b, p->total));
	fprintf(stderr, ", %s/s", amount(p, a, rate));
	if (p->total > p->done && rate > 0)
		fprintf(stderr, ", %s left", text_span(b, (p->total - p->done) / rate));
	fputs(p->terminal ? "\033[K" : "\n", stderr);
}

void
progress_add(struct progress *p, uint64_t n)
{
	uint64_t now = clock_now_ms();

	p->done += n;
	if (p->silent || now - p->shown_ms < (p->terminal ? TERMINAL_MS : ELSEWHERE_MS))
		return;
	show(p, now - p->began_ms);
	p->shown_ms = now;
	p->shown = true;
}

void
progress_end(struct progress *p)
{
	if (p->shown && p->terminal)
		fputs("\r\033[K", stderr);
}
