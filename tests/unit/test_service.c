/* Tests relay/service: which service token is known after its file, or the option that names it, has changed. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <event2/event.h>

#include "tests/harness.h"

#include "relay/link.h"
#include "relay/options.h"
#include "relay/relay.h"
#include "relay/service.h"

static struct options opt;
static struct relay relay;
static struct link way = { .relay = &relay, .opt = &opt };

static void
write_token(const char *path, const char *token)
{
	char fresh[300];
	FILE *f;

	snprintf(fresh, sizeof(fresh), "%s.new", path);
	f = fopen(fresh, "we");
	CHECK(f != NULL && fputs(token, f) >= 0 && fclose(f) == 0 && chmod(fresh, 0600) == 0 && rename(fresh, path) == 0);
}

TEST(a_token_that_changes)
{
	const char *dir = harness_tmpdir();
	char one[200], two[200], none[] = "";
	struct service *sv;
	unsigned serial;

	snprintf(one, sizeof(one), "%s/one", dir);
	snprintf(two, sizeof(two), "%s/two", dir);
	write_token(one, " FIRST\n");
	write_token(two, "SECOND\n");
	CHECK((relay.base = event_base_new()) != NULL);
	opt.service_token_file = one;
	sv = service_new(&way);
	CHECK_STR(service_token(sv), "FIRST");
	serial = service_serial(sv);
	CHECK(serial != 0);
	service_look(sv);
	CHECK_U64(service_serial(sv), serial); /* the same as before */
	opt.service_token_file = two;
	service_look(sv);
	CHECK_STR(service_token(sv), "SECOND");
	CHECK(service_serial(sv) > serial);
	opt.service_token_file = none; /* configured no more */
	service_look(sv);
	CHECK_STR(service_token(sv), "");
	CHECK_U64(service_serial(sv), 0);
	opt.service_token_file = two;
	service_look(sv);
	CHECK_STR(service_token(sv), "SECOND");
	write_token(two, "two words\n");
	service_look(sv);
	CHECK_STR(service_token(sv), "");
	CHECK_U64(remove(two), 0);
	service_look(sv);
	CHECK_U64(service_serial(sv), 0);
	write_token(two, "THIRD");
	service_look(sv);
	CHECK_STR(service_token(sv), "THIRD");
	service_free(sv);
	event_base_free(relay.base);
}
