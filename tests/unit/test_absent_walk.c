/* Tests relay/absent_walk: which service token is known after the option that names its file has changed. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/harness.h"
#include "tests/storekit.h"

#include "relay/absent_walk.h"

static void
write_token(const char *path, const char *token)
{
	FILE *f = fopen(path, "we");

	CHECK(f != NULL && fputs(token, f) >= 0 && fclose(f) == 0 && chmod(path, 0600) == 0);
}

TEST(a_service_token_that_is_configured_no_more)
{
	static struct absent_step step;
	const char *dir = harness_tmpdir();
	char state[200], one[200], two[200];
	struct store *s;
	unsigned serial;

	snprintf(state, sizeof(state), "%s/s", dir);
	snprintf(one, sizeof(one), "%s/one", dir);
	snprintf(two, sizeof(two), "%s/two", dir);
	write_token(one, "FIRST\n");
	write_token(two, "SECOND\n");
	CHECK((s = kit_open(state)) != NULL);
	snprintf(step.service.path, sizeof(step.service.path), "%s", one);
	absent_step(&step, s);
	CHECK_STR(step.service.token, "FIRST");
	snprintf(step.service.path, sizeof(step.service.path), "%s", two);
	absent_step(&step, s);
	CHECK_STR(step.service.token, "SECOND");
	serial = step.service.serial;
	step.service.path[0] = '\0';
	absent_step(&step, s);
	CHECK_STR(step.service.token, "");
	snprintf(step.service.path, sizeof(step.service.path), "%s", two);
	absent_step(&step, s);
	CHECK_STR(step.service.token, "SECOND");
	CHECK(step.service.serial > serial);
	store_close(s);
}
