/* Tests relay/pace: the bucket. Turns and totals are the scenario replay-rate's. */
#include "tests/harness.h"

#include "relay/pace.h"

TEST(pace_starts_full)
{
	struct pace_bucket b = { .bytes = 0 };

	pace_fill(&b, 1000, 86400000);
	CHECK_U64(b.bytes, 1000);
	CHECK_U64(pace_wait_ms(&b, 1000), 0);
}

TEST(pace_fills_at_its_rate)
{
	static const uint64_t rates[] = { 1, 7, 999, 1000, 1001, 65536, 1073741824 };

	for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
		struct pace_bucket b = { .bytes = -(int64_t)(rates[i] * 10), .at_ms = 5000 };
		int64_t before = b.bytes;

		for (uint64_t now = 5000; now <= 9000; now += 3) /* no fraction of a byte gets lost on the way */
			pace_fill(&b, rates[i], now);
		CHECK((uint64_t)(b.bytes - before) <= rates[i] * 4);
		CHECK((uint64_t)(b.bytes - before) >= rates[i] * 4 - rates[i] * 4 / 1000 - 1);
	}
}

TEST(pace_never_holds_more_than_a_second)
{
	struct pace_bucket b = { .bytes = 500, .at_ms = 1000 };

	pace_fill(&b, 1000, 1400);
	CHECK_U64(b.bytes, 900);
	pace_fill(&b, 1000, 90000);
	CHECK_U64(b.bytes, 1000);
	pace_fill(&b, 10, 90001); /* the rate was lowered by a reload */
	CHECK_U64(b.bytes, 10);
	pace_fill(&b, 10, 80000); /* a clock that does not go on takes nothing away */
	CHECK_U64(b.bytes, 10);
}

TEST(pace_waits_for_its_debt)
{
	struct pace_bucket b = { .bytes = -131072, .at_ms = 1000 };
	uint64_t ms = pace_wait_ms(&b, 1024);

	CHECK(ms >= 128000 && ms < 128010);
	pace_fill(&b, 1024, 1000 + ms);
	CHECK(b.bytes >= 0 && b.bytes <= 10);
	b.bytes = 0;
	CHECK(pace_wait_ms(&b, 1024) > 0);
}
