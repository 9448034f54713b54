/* Tests relay/quota: what the option may say, and which quota a file falls under. What they do to uploads: tests/scenarios/quota.scn. */
#include <stdio.h>
#include <string.h>

#include "tests/harness.h"

#include "relay/quota.h"
#include "relay/session.h"

TEST(refused)
{
	static const struct {
		const char *text, *why;
	} bad[] = {
		{ "/a", "is no quota" },
		{ "=1MiB", "is no pattern" },
		{ "/a\"b=1MiB", "is no pattern" },
		{ "/a\\*=1MiB", "is no pattern" },
		{ "/\xc3\xa4=1MiB", "is no pattern" },
		{ "/a=", "has no size" },
		{ "/a=x", "has no size" },
		{ "/a=65535", "has no size" },
		{ "/a=1025GiB", "has no size" },
		{ "/a=-1", "has no size" },
		{ "/a=1MiB /b", "\"/b\" is no quota" },
		{ "/a=1MiB /b=1MiB /a=2MiB", "\"/a=2MiB\" is there twice" },
		{ "0=1MiB 1=1MiB 2=1MiB 3=1MiB 4=1MiB 5=1MiB 6=1MiB 7=1MiB 8=1MiB 9=1MiB a=1MiB b=1MiB c=1MiB d=1MiB e=1MiB f=1MiB g=1MiB",
		  "is one too many" },
	};
	struct quotas q;
	char why[200], text[400];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		why[0] = '\0';
		if (quotas_parse(bad[i].text, &q, why, sizeof(why)))
			harness_fail(__FILE__, __LINE__, "got accepted, want refused: %s", bad[i].text);
		if (strstr(why, bad[i].why) == NULL)
			harness_fail(__FILE__, __LINE__, "got %s, want %s: %s", why, bad[i].why, bad[i].text);
		CHECK_U64(q.n, 0);
	}
	snprintf(text, sizeof(text), "%0*d=1MiB", QUOTA_PATTERN_MAX + 1, 1);
	CHECK(!quotas_parse(text, &q, why, sizeof(why)));
	snprintf(text, sizeof(text), "%0*d=1MiB", 390, 1);
	CHECK(!quotas_parse(text, &q, why, sizeof(why)));
	CHECK(strstr(why, "is too long") != NULL);
}

TEST(accepted)
{
	struct quotas q;
	char why[200], text[400];

	CHECK(quotas_parse("", &q, why, sizeof(why)));
	CHECK_U64(q.n, 0);
	CHECK(quotas_parse("  ", &q, why, sizeof(why)));
	CHECK_U64(q.n, 0);
	CHECK(quotas_parse(" /telemetry/*=64MiB\t/p=q=65536  *=1024GiB ", &q, why, sizeof(why)));
	CHECK_U64(q.n, 3);
	CHECK(strcmp(q.of[0].pattern, "/telemetry/*") == 0);
	CHECK_U64(q.of[0].limit, 64u << 20);
	CHECK(strcmp(q.of[1].pattern, "/p=q") == 0);
	CHECK_U64(q.of[1].limit, QUOTA_MIN);
	CHECK_U64(q.of[2].limit, 1ull << 40);
	CHECK_U64(q.of[QUOTAS_MAX].limit, 0);
	snprintf(text, sizeof(text), "%0*d=1MiB", QUOTA_PATTERN_MAX, 1);
	CHECK(quotas_parse(text, &q, why, sizeof(why)));
	CHECK_U64(strlen(q.of[0].pattern), QUOTA_PATTERN_MAX);
}

TEST(first_match)
{
	static const struct {
		const char *endpoint, *path;
		unsigned want;
	} t[] = {
		{ "upstream/realm-sync", "/telemetry/a", 0 },
		{ "upstream:shore/realm-sync", "/telemetry/a/b", 0 },
		{ "upstream/realm-sync", "/telemetry", QUOTAS_MAX },
		{ "upstream/realm-sync", "/video/1", 1 },
		{ "upstream/realm-sync", "/video/12", 2 },
		{ "upstream/realm-sync", "/work", QUOTAS_MAX },
		{ "upstream/realm-sync", "", QUOTAS_MAX },
		{ "upstream/app/chat/realm-sync", "/x", QUOTAS_MAX }, /* not its own path */
		{ "upstream/app/chat/realm-sync", SESSION_FLX_PATH, 3 },
		{ "upstream:shore/app/chat/realm-sync", SESSION_FLX_PATH, 3 },
		{ "upstream/app/other/realm-sync", SESSION_FLX_PATH, QUOTAS_MAX },
	};
	struct quotas q;
	char why[200];

	CHECK(quotas_parse("/telemetry/*=1MiB /video/?=1MiB /video/*=2MiB /app/chat/*=3MiB", &q, why, sizeof(why)));
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		unsigned got = quota_find(&q, t[i].endpoint, t[i].path);

		if (got != t[i].want)
			harness_fail(__FILE__, __LINE__, "got %u, want %u: %s %s", got, t[i].want, t[i].endpoint, t[i].path);
	}
}
