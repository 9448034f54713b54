/* Tests relay/schedule: what a schedule may look like, and when it is open. */
#include <stdio.h>
#include <string.h>

#include "tests/harness.h"

#include "relay/schedule.h"

TEST(refused)
{
	static const char *const bad[] = { "mon", "mon 08:00", "mon 08:00-25:00", "mon 8:00-9:00", "mon 08:60-09:00", "mo 08:00-09:00", "mond 08:00-09:00",
		"mon-fr 08:00-09:00", "mon 08:00-09:00 64", "mon 08:00-09:00 64KiB", "mon 08:00-09:00 0KiB/s", "mon 08:00-09:00 1GiB/s", ",", "daily 08:00-09:00,",
		"mon 24:00-09:00", "mon 08:00-09:00 1KiB/s x", "weekly 08:00-09:00",
		"mon 08:00-09:00                                                              " };
	struct schedule s;
	char why[200];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		why[0] = '\0';
		if (schedule_parse(bad[i], &s, why, sizeof(why)))
			harness_fail(__FILE__, __LINE__, "got accepted, want refused: %s", bad[i]);
		CHECK(strstr(why, "is no window") != NULL);
	}
}

/* d: days after Monday, 5 January 1970. */
static uint64_t
at(unsigned d, unsigned h, unsigned m)
{
	return (4 + d) * 86400ull + h * 3600ull + m * 60ull;
}

TEST(windows)
{
	static const struct {
		const char *text;
		unsigned d, h, m;
		bool open;
		uint64_t rate;
	} t[] = {
		{ "", 0, 0, 0, true, 0 },
		{ "daily 08:00-10:00", 3, 7, 59, false, 0 },
		{ "daily 08:00-10:00", 3, 8, 0, true, 0 },
		{ "daily 08:00-10:00", 3, 9, 59, true, 0 },
		{ "daily 08:00-10:00", 3, 10, 0, false, 0 },
		{ "mon-fri 08:00-10:00", 4, 9, 0, true, 0 },
		{ "mon-fri 08:00-10:00", 5, 9, 0, false, 0 },
		{ "fri-mon 08:00-10:00", 6, 9, 0, true, 0 },
		{ "fri-mon 08:00-10:00", 0, 9, 0, true, 0 },
		{ "fri-mon 08:00-10:00", 1, 9, 0, false, 0 },
		{ "sun 22:00-06:00", 6, 23, 0, true, 0 }, /* over midnight, and over the end of the week */
		{ "sun 22:00-06:00", 7, 5, 59, true, 0 },
		{ "sun 22:00-06:00", 7, 6, 0, false, 0 },
		{ "sun 22:00-06:00", 6, 5, 0, false, 0 },
		{ "wed 00:00-24:00", 2, 23, 59, true, 0 },
		{ "wed 00:00-24:00", 3, 0, 0, false, 0 },
		{ "daily 08:00-10:00 64KiB/s", 0, 9, 0, true, 65536 },
		{ "daily 08:00-10:00 64KiB/s, daily 09:00-10:00 2MiB/s", 0, 8, 30, true, 65536 },
		{ "daily 08:00-10:00 64KiB/s, daily 09:00-10:00 2MiB/s", 0, 9, 30, true, 2 << 20 },
		{ "daily 08:00-10:00 500/s,daily 09:00-10:00", 0, 9, 30, true, 0 },
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct schedule s;
		uint64_t rate = 77;
		char why[200];

		CHECK(schedule_parse(t[i].text, &s, why, sizeof(why)));
		if (schedule_open(&s, at(t[i].d, t[i].h, t[i].m), &rate) != t[i].open)
			harness_fail(__FILE__, __LINE__, "got the opposite, want open=%d: %s, row %zu", t[i].open, t[i].text, i);
		CHECK_U64(rate, t[i].rate);
	}
}
