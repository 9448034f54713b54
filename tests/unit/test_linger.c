/* Tests relay/linger: how long uploads wait for their acknowledgement before they are written. */
#include "tests/harness.h"

#include "relay/linger.h"
#include "relay/options.h"

static const struct options options = { .linger_ms = 50, .linger_max_ms = 10000 };

TEST(linger_is_the_option_until_something_is_known)
{
	struct lingering l;

	linger_init(&l);
	CHECK(TAILQ_EMPTY(&l.files));
	CHECK_U64(linger_ms(&l, &options), 50);
}

TEST(linger_stays_at_the_option_where_acknowledgements_are_fast)
{
	struct lingering l;

	linger_init(&l);
	for (int i = 0; i < 1000; i++)
		linger_learn(&l, (uint64_t)(i % 10));
	CHECK_U64(linger_ms(&l, &options), 50);
}

TEST(linger_covers_what_acknowledgements_take_after_the_first)
{
	static const uint64_t took[] = { 51, 300, 700, 2500 };

	for (size_t i = 0; i < sizeof(took) / sizeof(took[0]); i++) {
		struct lingering l;

		linger_init(&l);
		for (int n = 0; n < 100; n++) {
			linger_learn(&l, took[i] + (uint64_t)(n % 2 == 0 ? 0 : took[i] / 4));
			CHECK(linger_ms(&l, &options) > took[i] + took[i] / 4);
		}
		CHECK(linger_ms(&l, &options) <= took[i] * 3);
	}
}

TEST(linger_never_exceeds_its_maximum_and_comes_back)
{
	struct lingering l;
	struct options fixed = { .linger_ms = 50, .linger_max_ms = 0 };

	linger_init(&l);
	for (int i = 0; i < 100; i++)
		linger_learn(&l, UINT64_MAX);
	CHECK_U64(linger_ms(&l, &options), 10000);
	CHECK_U64(linger_ms(&l, &fixed), 50);
	for (int i = 0; i < 200; i++)
		linger_learn(&l, 1);
	CHECK_U64(linger_ms(&l, &options), 50);
}
