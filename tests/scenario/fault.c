/* Orders for badhost; see fault.h.  Knows the words of an order, and no program. */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "tests/badhost/orders.h"
#include "tests/peer/badhost.h"

#include "tests/scenario/fail.h"
#include "tests/scenario/fault.h"
#include "tests/scenario/text.h"

struct orders *
fault_open(const char *path)
{
	struct orders *o = badhost_orders(path);

	if (o == NULL)
		fail("%s: %s", path, strerror(errno));
	return o;
}

static uint64_t
number(char **rest, const char *what)
{
	const char *word = text_word(rest);
	uint64_t n;

	if (word == NULL || !text_number(word, &n))
		fail("want a number: %s", what);
	return n;
}

static unsigned
call_named(const char *word)
{
	static const char *const names[CALLS] = CALL_NAMES;
	unsigned call = CALL_MALLOC;

	while (call < CALLS && strcmp(names[call], word) != 0)
		call++;
	if (call == CALLS)
		fail("no such call: %s", word);
	return call;
}

static unsigned
error_named(const char *word)
{
	static const struct {
		const char *name;
		unsigned error;
	} names[] = {
		{ "EMFILE", EMFILE }, { "ENFILE", ENFILE },	{ "ECONNABORTED", ECONNABORTED }, { "ENOBUFS", ENOBUFS },
		{ "ENOMEM", ENOMEM }, { "EINTR", EINTR },	{ "EAGAIN", EAGAIN },		  { "ECONNRESET", ECONNRESET },
		{ "EPIPE", EPIPE },   { "ETIMEDOUT", ETIMEDOUT }, { "ENETUNREACH", ENETUNREACH }, { "EIO", EIO },
	};

	for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
		if (word != NULL && strcmp(names[i].name, word) == 0)
			return names[i].error;
	}
	fail("want an error, as EMFILE");
}

static void
set_clock(struct orders *o, char *rest)
{
	const char *which = text_word(&rest), *ms = text_word(&rest);

	if (which == NULL || ms == NULL)
		fail("want clock real|mono MS");
	if (strcmp(which, "real") == 0)
		o->real_ms = atoll(ms);
	else
		o->mono_ms = atoll(ms);
}

struct fault_count
fault_give(struct orders *o, char *order)
{
	struct fault_count before = { o->seen, o->failed };
	const char *word = text_word(&order);

	if (word == NULL)
		fail("want an order");
	if (strcmp(word, "pieces") == 0) {
		o->piece = (unsigned)number(&order, "bytes");
	} else if (strcmp(word, "clock") == 0) {
		set_clock(o, order);
	} else {
		o->call = CALL_NONE;
		o->seen = o->failed = 0;
		if (strcmp(word, "off") == 0)
			return before;
		o->from = (unsigned)number(&order, "which call");
		o->count = (unsigned)number(&order, "how many");
		o->error = strstr(word, "malloc") != NULL ? ENOMEM : error_named(text_word(&order));
		o->call = call_named(word);
	}
	return before;
}
